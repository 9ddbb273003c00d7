//! The workloads: what each is called, and which keys it has.
//!
//! Each reads its keys and gives the [`Work`], in which a lane is what a user would write: a function over its mailbox of
//! 1024 messages, which waits where another's mailbox is full. The main program is a lane as well. Whoever sends expects
//! the other to live: where it does not, the run has failed.

mod alloc;
mod ask;
mod big;
mod churn;
mod drivers;
mod echo;
mod fanin;
mod fiber_switch;
mod http;
mod idle;
mod kill;
pub(crate) mod latency;
pub(crate) mod lock;
mod monitors;
mod names;
mod pairs;
mod philosophers;
mod ring;
mod skynet;
mod spawn;
mod timeouts;
mod timers;
mod uneven;

use std::process::exit;

use crate::run::{Keys, Usage, Work};

/// Reads a workload's keys.
pub(crate) type Prepare = fn(&mut Keys) -> Result<Work, Usage>;

/// All workloads, by name.
const ALL: [(&str, Prepare); 26] = [
    ("pingpong", pairs::one),
    ("pairs", pairs::many),
    ("ring", ring::prepare),
    ("spawn", spawn::prepare),
    ("skynet", skynet::prepare),
    ("fanin", fanin::prepare),
    ("big", big::prepare),
    ("ask", ask::prepare),
    ("alloc", alloc::prepare),
    ("idle", idle::prepare),
    ("kill", kill::prepare),
    ("timers", timers::prepare),
    ("churn", churn::prepare),
    ("timeouts", timeouts::prepare),
    ("names", names::prepare),
    ("monitors", monitors::prepare),
    ("uneven", uneven::prepare),
    ("latency", latency::prepare),
    ("lock", lock::prepare),
    ("philosophers", philosophers::prepare),
    ("drivers", drivers::prepare),
    ("fiber_switch", fiber_switch::prepare),
    ("echo", echo::prepare),
    ("http", http::prepare),
    ("remote_tell", remote_tell),
    ("remote_ask", remote_ask),
];

/// The workload of this name.
pub(crate) fn named(name: &str) -> Result<Prepare, Usage> {
    let known = ALL.iter().find(|(known, _)| *known == name);
    known.map(|(_, prepare)| *prepare).ok_or_else(|| Usage::new(format_args!("unknown workload {name}")))
}

/// What there is, for the usage line: each with a space before it.
pub(crate) fn listed() -> String {
    ALL.iter().flat_map(|(name, _)| [" ", name]).collect()
}

fn remote_tell(keys: &mut Keys) -> Result<Work, Usage> {
    keys.count("n", 1_000_000)?;
    keys.number::<usize>("size", 64)?;
    Ok(not_supported())
}

fn remote_ask(keys: &mut Keys) -> Result<Work, Usage> {
    keys.count("n", 100_000)?;
    keys.number::<usize>("size", 64)?;
    keys.count("inflight", 1)?;
    Ok(not_supported())
}

/// Work that Laneway cannot do.
fn not_supported() -> Work {
    Box::new(|_| {
        eprintln!("not supported");
        exit(3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_there() {
        let listed = listed();
        let names: Vec<&str> = listed.split_whitespace().collect();
        assert!(names.contains(&"skynet") && names.iter().all(|name| named(name).is_ok()), "{listed}");
    }
}
