//! Capacity by arithmetic: what the memory is enough for, and the most that the process can come to.
//!
//! Pure but for `program`, which asks the system how long the program is.

use laneway::Handle;
use laneway::runtime::memory_bound::{MemoryPlan, MemoryTable, display_bytes};

use crate::options::Options;
use crate::request::{self, Said};
use crate::server;

/// What a connection's lane may have: hyper's buffers of 8 KiB, of which two can be there for reading (the one that a
/// request's fields still lie in, and the next) and one for writing, the fields, its future, and a page of metrics.
pub(crate) const CONNECTION: u64 = 64 << 10;
/// The mailbox of a connection's lane: one request is under way at a time, and says one thing.
pub(crate) const CONNECTION_MAILBOX: u32 = 2;
/// A bucket has to hold a lane with its future, and something to work with.
const LEAST_BUCKET: u64 = 16 << 10;
/// The part of the memory that connections may have together unless told otherwise.
const SHARE_OF_CONNECTIONS: u64 = 4;

/// What the runtime notes beside lanes' memory for a connection or a request: a descriptor, timers, a monitor.
const NOTED: u64 = 1 << 10;
/// What is allocated outside of lanes: options, the subscriber of the log, this table.
const OUTSIDE: u64 = 1 << 20;

/// A part of a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    pub(crate) how: String,
}

/// How the memory is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) memory: u64,
    pub(crate) bucket: u64,
    pub(crate) connections: u64,
}

impl Plan {
    /// # Errors
    /// Why it does not work, in words.
    pub(crate) fn new(options: &Options) -> Result<Plan, String> {
        let Options { memory, bucket, .. } = *options;
        if bucket < LEAST_BUCKET {
            return Err(format!(
                "a bucket of {} is too small: {} is the least",
                display_bytes(bucket),
                display_bytes(LEAST_BUCKET)
            ));
        }
        let by_default = (memory / SHARE_OF_CONNECTIONS / connection_cost()).max(1);
        let connections = options.connections.map_or(by_default, u64::from);
        let plan = Plan { memory, bucket, connections };
        if plan.buckets() == 0 {
            return Err(format!(
                "{} are not enough for {} connections of {} and a bucket of {}",
                display_bytes(memory),
                plan.connections,
                display_bytes(connection_cost()),
                display_bytes(bucket)
            ));
        }
        Ok(plan)
    }

    /// How many buckets there are: what is left beside all connections, and the lane that listens.
    pub(crate) fn buckets(&self) -> u64 {
        let taken = self.connections.saturating_mul(connection_cost()).saturating_add(server::cost(self.connections));
        self.memory.saturating_sub(taken) / self.bucket_cost()
    }

    /// More lanes than there can be: what the runtime sizes its queues by.
    pub(crate) fn lanes(&self) -> u32 {
        u32::try_from(self.connections + self.buckets() + 64).unwrap_or(u32::MAX)
    }

    /// What is reserved for a request: its bucket, and what a lane has by itself.
    fn bucket_cost(&self) -> u64 {
        MemoryPlan::new(self.memory).budget(self.bucket).mailbox(request::MAILBOX).lane()
    }

    /// The greatest that the process can come to, by term: the runtime's own sum, and what this program adds to it.
    pub(crate) fn bound(&self, handle: &Handle) -> Vec<Term> {
        let mut terms: Vec<Term> = of_runtime(&handle.memory_bound()).collect();
        let busiest = u64::from(self.lanes());
        let mut add = |name, bytes, how: &str| terms.push(Term { name, bytes, how: how.to_owned() });
        add(
            "tables",
            busiest * NOTED,
            "a kibibyte for each connection and each request: descriptors, timers, monitors",
        );
        add("program", program(), "what is mapped of files");
        add("outside of lanes", OUTSIDE, "assumed");
        let kept = self.connections * CONNECTION / 4;
        add("kept by malloc", kept, "assumed: a quarter of what connections may have");
        terms
    }

    /// What there is now, by the runtime's terms.
    pub(crate) fn used(&self, handle: &Handle) -> Vec<Term> {
        of_runtime(&handle.memory_used()).collect()
    }
}

/// What is reserved for a connection.
fn connection_cost() -> u64 {
    let plan = MemoryPlan::new(0).budget(CONNECTION).mailbox(CONNECTION_MAILBOX);
    plan.messages_of(size_of::<Said>()).lane()
}

/// Rows of the runtime that are left out: threads for blocking work, as nothing here asks for any; and what it does not
/// bound and only estimates, for which there is a row here.
const LEFT_OUT: [&str; 2] = ["stacks of blocking threads", "tables for all lanes"];

/// The rows that the runtime has a number for.
fn of_runtime(table: &MemoryTable) -> impl Iterator<Item = Term> {
    let rows = table.terms.iter().filter(|row| !LEFT_OUT.contains(&row.name));
    rows.filter_map(|row| Some(Term { name: row.name, bytes: row.bytes?, how: row.how.clone() }))
}

/// What the process has mapped of files: the program, and the libraries that it is linked with. All of it can come to be
/// resident.
fn program() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(of_file).sum()
}

/// The length of a mapping of a file: `55d0c8a00000-55d0c8a21000 r--p 00000000 fe:00 1234 /usr/bin/x`.
fn of_file(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    words.nth(4)?.starts_with('/').then_some(())?;
    u64::from_str_radix(to, 16).ok()?.checked_sub(u64::from_str_radix(from, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, String> {
        Plan::new(&Options::parse_from([&["webserver"][..], arguments].concat()))
    }

    #[test]
    fn the_memory_is_divided_without_rest_unaccounted() {
        let plan = plan(&["--memory", "64MiB", "--bucket", "256KiB"]).unwrap();
        let buckets = plan.buckets();
        let (taken, left) = (plan.connections * connection_cost() + buckets * plan.bucket_cost(), plan.bucket_cost());
        assert!(taken <= plan.memory && taken + left + server::cost(plan.connections) > plan.memory, "{plan:?}");
        assert!(buckets > 150 && plan.connections > 200, "{plan:?}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(plan(&["--memory", "64KiB"]).unwrap_err().contains("not enough"));
        assert!(plan(&["--memory", "1MiB", "--connections", "16"]).is_err());
        assert!(plan(&["--bucket", "1KiB"]).unwrap_err().contains("too small"));
        assert!(plan(&["--memory", "512KiB", "--connections", "1"]).is_ok());
    }

    #[test]
    fn what_the_runtime_counts_is_in_the_sum_but_for_what_is_left_out() {
        let runtime = laneway::Runtime::builder().workers(1).memory_limit(64 << 20).build().unwrap();
        let table = runtime.handle().memory_bound();
        assert!(LEFT_OUT.iter().all(|name| table.get(name).is_some()), "{table}");
        let bound = plan(&[]).unwrap().bound(runtime.handle());
        let has = |name: &str| bound.iter().any(|term| term.name == name && term.bytes > 0);
        assert!(["lanes", "stacks of workers", "tables", "program"].into_iter().all(has), "{bound:?}");
        assert!(!bound.iter().any(|term| LEFT_OUT.contains(&term.name)), "{bound:?}");
    }

    #[test]
    fn mappings_of_files_count() {
        assert_eq!(of_file("55d0c8a00000-55d0c8a21000 r--p 00000000 fe:00 1234   /usr/bin/x"), Some(0x21000));
        assert_eq!(of_file("7f00-7f10 rw-p 00000000 00:00 0 [heap]"), None);
        assert_eq!(of_file("7f00-7f10 rw-p 00000000 00:00 0"), None);
    }
}
