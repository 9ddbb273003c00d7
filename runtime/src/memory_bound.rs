//! What a runtime may come to take of memory, as a sum of terms, and what of it there is today.
//!
//! Owns: [`MemoryTable`], with [`MemoryTerm`]s that say how each is computed. It counts what others keep; it keeps nothing. How
//! many lanes fit is `memory_bound/plan.rs`'s.
//!
//! Pools that all runtimes of a process share count as if this were the only one.

use std::fmt;
use std::sync::atomic::Ordering;

pub(crate) mod plan;

pub use plan::{MemoryPlan, ParseBytesError, display_bytes, parse_bytes};

use crate::admission::cost::{self, BLOCKS, LANES, NODE, NODES, POOLED_MAX, SHELVES};
use crate::alloc;
use crate::alloc::account::Account;
use crate::lane::memory;
use crate::mailbox::node;
use crate::sched::{Scheduler, queue};
use crate::slot;
use crate::time;

/// One row of a [`MemoryTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryTerm {
    /// What it is.
    pub name: &'static str,
    /// How much; `None` where nothing bounds it, or nobody counts it.
    pub bytes: Option<u64>,
    /// How that is computed, or why it is not.
    pub how: String,
}

/// The rows of [`Handle::memory_bound`](crate::Handle::memory_bound) and [`Handle::memory_used`](crate::Handle::memory_used): the
/// same ones in both. Shown, it is a table with the sum in its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryTable {
    /// The rows.
    pub terms: Vec<MemoryTerm>,
}

/// The names of rows, so that both tables have the same.
const LANES_ROW: &str = "lanes";
const FREE_NODES: &str = "free message nodes";
const FREE_BLOCKS: &str = "free blocks for futures";
const FREE_SLOTS: &str = "free slots";
const FREE_CHUNKS: &str = "free chunks of arenas";
const QUEUES: &str = "run queues";
const CHRONICLE: &str = "when turns were over";
const WORKERS: &str = "stacks of workers";
const BLOCKING: &str = "stacks of blocking threads";
const TABLES: &str = "tables for all lanes";
const PROGRAM: &str = "the program";

/// Bytes of a slot and its record, of which a worker keeps some free.
const SLOT: u64 = 256;
/// A place in a backlog, whose buffer is twice as long as needed and may be about to move.
const QUEUED: u64 = 32;
/// What is noted of a timer, a descriptor, a name; not to the byte.
const TIMER: u64 = time::wheel::ENTRY as u64;
const DESCRIPTOR: u64 = 512;
const NAME: u64 = 128;

impl MemoryTable {
    /// The sum of all rows that have one.
    pub fn total(&self) -> u64 {
        self.terms.iter().filter_map(|term| term.bytes).fold(0, u64::saturating_add)
    }

    /// The row of this name.
    pub fn get(&self, name: &str) -> Option<&MemoryTerm> {
        self.terms.iter().find(|term| term.name == name)
    }

    /// The rows that nothing bounds, or nobody counts: they come on top of the [sum](MemoryTable::total).
    pub fn beside(&self) -> impl Iterator<Item = &MemoryTerm> {
        self.terms.iter().filter(|term| term.bytes.is_none())
    }

    fn row(&mut self, name: &'static str, bytes: impl Into<Option<u64>>, how: impl Into<String>) {
        self.terms.push(MemoryTerm { name, bytes: bytes.into(), how: how.into() });
    }

    /// What a runtime may come to take.
    pub(crate) fn bound(scheduler: &Scheduler) -> MemoryTable {
        let mut table = MemoryTable { terms: Vec::new() };
        let places = scheduler.parkers.len() as u64;
        let stack = scheduler.env.thread_stack();
        let limit = scheduler.admission().map(|admission| admission.ledger().limit());
        let lanes = match limit {
            Some(limit) => plan::most_lanes(limit).min(u64::from(scheduler.max_lanes)),
            None => u64::from(scheduler.max_lanes),
        };
        table.row(
            LANES_ROW,
            limit,
            match limit {
                Some(_) => "the limit: budgets, and what lanes fill of nodes, blocks and slots".to_owned(),
                None => "no bound: no `Builder::memory_limit`".to_owned(),
            },
        );
        // And the pack that it may be the last to have to do with.
        let nodes = u64::from(node::CACHED_MAX) + 1;
        table.row(
            FREE_NODES,
            (places + 1) * nodes * NODE,
            format!("{places} workers + 1 of making, {nodes} nodes of {NODE} bytes"),
        );
        let blocks: u64 = (0..POOLED_MAX).map(|class| cost::unit(BLOCKS + class)).sum();
        let most = u64::from(memory::CACHED_MAX);
        table.row(
            FREE_BLOCKS,
            (places + 1) * most * blocks,
            format!("{places} workers + 1 of making, {most} blocks of each of {POOLED_MAX} lengths"),
        );
        let free_slots = 3 * u64::from(slot::batch(scheduler.max_lanes));
        table.row(
            FREE_SLOTS,
            (places + 1) * free_slots * SLOT,
            format!("{places} workers + 1 of making, {free_slots} slots of {SLOT} bytes"),
        );
        table.row(FREE_CHUNKS, scheduler.vat.most_kept(), "what the vat keeps warm, and its workers' caches");
        table.row(
            QUEUES,
            lanes.saturating_mul(2 * places + 1).saturating_mul(QUEUED).saturating_add(places * queue::KEPT),
            format!(
                "{} for each of {places} workers; 2 a worker + 1 for all, {QUEUED} bytes for each of {lanes} lanes",
                display_bytes(queue::KEPT)
            ),
        );
        table.row(CHRONICLE, scheduler.chronicle.bytes(), format!("some seconds, for {places} workers"));
        table.row(WORKERS, (places + 1) * stack, format!("{places} workers, stand-ins included, and a watchdog"));
        let blocking = blocking_threads();
        table.row(BLOCKING, blocking * stack, format!("{blocking} threads, as `BLOCKING_MAX_THREADS` allows"));
        table.row(
            TABLES,
            None,
            "no bound: names, links, monitors, groups; timers, waits and asks are bounded by the futures that wait",
        );
        table.row(
            PROGRAM,
            None,
            "not counted: code, libc, what is allocated outside of lanes, and what an allocator adds to blocks",
        );
        table
    }

    /// What a runtime takes now.
    pub(crate) fn used(scheduler: &Scheduler) -> MemoryTable {
        let mut table = MemoryTable { terms: Vec::new() };
        let stack = scheduler.env.thread_stack();
        let ledger = scheduler.admission().map(|admission| admission.ledger());
        let kept = |shelf| ledger.map_or(0, |ledger| ledger.shelf(shelf).1);
        let beyond = |made: u32, shelf| u64::from(made.saturating_sub(kept(shelf)));
        let reserved = ledger.map(|ledger| ledger.reserved());
        // A lane whose slot's account still counts what one before has left is not seen; what is left is.
        let charged = scheduler.table.slots().filter_map(alloc::of_slot).map(Account::used).sum();
        let charged = display_bytes(charged);
        table.row(
            LANES_ROW,
            reserved,
            format!("reserved, left by the dead or kept in pools; {charged} are charged to budgets"),
        );
        table.row(FREE_NODES, beyond(node::made(), NODES) * NODE, "made, and reserved for nobody");
        let blocks = (0..POOLED_MAX).map(|class| {
            let shelf = BLOCKS + class;
            beyond(memory::made(class), shelf) * cost::unit(shelf)
        });
        table.row(FREE_BLOCKS, blocks.sum::<u64>(), "made, and reserved for nobody");
        table.row(FREE_SLOTS, beyond(slot::made(), LANES) * SLOT, "made, and reserved for nobody");
        let level = scheduler.vat.level();
        table.row(FREE_CHUNKS, level.resident.saturating_sub(level.used), "kept warm");
        let alive = scheduler.metrics.alive();
        let places = scheduler.parkers.len() as u64;
        table.row(QUEUES, alive * QUEUED + places * queue::KEPT, format!("{places} workers, {alive} lanes"));
        table.row(CHRONICLE, scheduler.chronicle.bytes(), "all of it");
        let threads = scheduler.threads();
        table.row(WORKERS, threads * stack, format!("{threads} threads, of whose stacks not all may be in use"));
        let busy = scheduler.busy_outside.load(Ordering::Relaxed) as u64;
        table.row(BLOCKING, busy * stack, format!("{busy} threads at work"));
        let (timers, descriptors) = (scheduler.timers.count() as u64, scheduler.descriptors.counts().open);
        let names = scheduler.names.count() as u64;
        table.row(
            TABLES,
            timers * TIMER + descriptors * DESCRIPTOR + names * NAME,
            format!("some {timers} timers, {descriptors} descriptors, {names} names"),
        );
        table.row(PROGRAM, None, "not counted");
        table
    }
}

const _: () = assert!(SHELVES == BLOCKS + POOLED_MAX);

/// How many threads the crate `blocking` starts at most: as it reads its variable.
fn blocking_threads() -> u64 {
    let told = std::env::var("BLOCKING_MAX_THREADS").ok().and_then(|told| told.parse::<u64>().ok());
    told.map_or(500, |told| told.clamp(1, 10_000))
}

impl fmt::Display for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: Option<u64>| bytes.map_or("?".to_owned(), display_bytes);
        let name = self.terms.iter().map(|term| term.name.len()).max().unwrap_or(0);
        for term in &self.terms {
            writeln!(f, "{:name$}  {:>10}  {}", term.name, shown(term.bytes), term.how)?;
        }
        let beside = self.beside().count();
        write!(f, "{:name$}  {:>10}", "sum", display_bytes(self.total()))?;
        if beside != 0 { write!(f, "  and {beside} rows beside it") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
