//! The workloads: what each is called, and which keys it has.
//!
//! Each reads its keys and gives the [`Work`], in which a lane is what a user would write: a function over its mailbox of
//! 1024 messages, which waits where another's mailbox is full. The main program is a lane as well. Whoever sends expects
//! the other to live: where it does not, the run has failed.

mod ask;
mod big;
mod echo;
mod fanin;
mod idle;
mod kill;
mod pairs;
mod ring;
mod skynet;
mod spawn;
mod timers;

use std::process::exit;

use crate::run::{Keys, Usage, Work};

/// Reads a workload's keys.
pub(crate) type Prepare = fn(&mut Keys) -> Result<Work, Usage>;

/// All workloads, by name.
const ALL: [(&str, Prepare); 15] = [
    ("pingpong", pairs::one),
    ("pairs", pairs::many),
    ("ring", ring::prepare),
    ("spawn", spawn::prepare),
    ("skynet", skynet::prepare),
    ("fanin", fanin::prepare),
    ("big", big::prepare),
    ("ask", ask::prepare),
    ("idle", idle::prepare),
    ("kill", kill::prepare),
    ("timers", timers::prepare),
    ("echo", echo::prepare),
    ("http", http),
    ("remote_tell", remote_tell),
    ("remote_ask", remote_ask),
];

/// The workload of this name.
pub(crate) fn named(name: &str) -> Result<Prepare, Usage> {
    let known = ALL.iter().find(|(known, _)| *known == name);
    known.map(|(_, prepare)| *prepare).ok_or_else(|| Usage::new(format_args!("unknown workload {name}")))
}

/// What there is, for the usage line.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

fn http(keys: &mut Keys) -> Result<Work, Usage> {
    keys.number::<u16>("port", 0)?;
    Ok(not_supported())
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
