//! Free nodes: a worker's own, and those of all.
//!
//! Owns: [`Cache`] and the common pool. Invariants 1 and 3 of the module above. Their numbers lie in rows, not in the nodes
//! themselves: a free node is not touched before it is used, and the next can be fetched ahead.

use std::array;
use std::cell::Cell;

use parking_lot::Mutex;

use super::{UNITS, unit};
use crate::alloc;
use crate::context;
use crate::lane::memory;
use crate::lane::word::{FIRST_NODE, LAST_NODE};

/// How many nodes move between a worker and the common pool at a time.
const BATCH: usize = 128;

/// The most nodes that a worker keeps free, and that are made at a time: how many there are is a `u8`, so that no place need
/// be checked to be within the row.
pub(crate) const CACHED_MAX: u32 = u8::MAX as u32;

/// A worker's own free nodes.
#[derive(Debug)]
pub(crate) struct Cache {
    /// The first `count` of these.
    row: [Cell<u32>; CACHED_MAX as usize + 1],
    count: Cell<u8>,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache { row: array::from_fn(|_| Cell::default()), count: Cell::new(0) }
    }
}

impl Cache {
    /// Takes back a node, which is the next that is taken; before that it gives some of the others away where there are too
    /// many.
    #[inline]
    pub(super) fn release(&self, index: u32) {
        let count = self.count.get();
        if u32::from(count) == CACHED_MAX {
            return self.release_into_full(index);
        }
        self.row[usize::from(count)].set(index);
        self.count.set(count + 1);
    }

    #[cold]
    fn release_into_full(&self, index: u32) {
        self.spill();
        self.release(index);
    }

    /// A free node.
    #[inline]
    pub(super) fn take(&self) -> u32 {
        let mut count = self.count.get();
        if count == 0 {
            self.refill();
            count = self.count.get();
        }
        // It has been refilled.
        let count = count.wrapping_sub(1);
        self.count.set(count);
        self.row[usize::from(count)].get()
    }

    /// Has the processor fetch the node that is taken next.
    #[inline]
    pub(super) fn prefetch_next(&self) {
        // Where there is none, it is one that there was, or the first of all, which is never used.
        memory::prefetch(unit(self.row[usize::from(self.count.get().wrapping_sub(1))].get()));
    }

    #[cold]
    fn refill(&self) {
        let mut pool = POOL.lock();
        for place in &self.row[..BATCH] {
            place.set(pool.take());
        }
        self.count.set(BATCH as u8);
    }

    /// Gives a batch to the others: of those that were taken back first.
    #[cold]
    fn spill(&self) {
        let count = usize::from(self.count.get());
        POOL.lock().put(&self.row[..BATCH]);
        for (to, from) in self.row.iter().zip(&self.row[BATCH..count]) {
            to.set(from.get());
        }
        self.count.set((count - BATCH) as u8);
    }

    /// Gives everything back.
    pub(crate) fn flush(&self) {
        let count = self.count.replace(0);
        POOL.lock().put(&self.row[..usize::from(count)]);
    }
}

struct Pool {
    free: Vec<u32>,
    /// The first that was never used.
    fresh: u32,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), fresh: FIRST_NODE });

/// How many nodes there are in the process.
pub(crate) fn made() -> u32 {
    POOL.lock().fresh - FIRST_NODE
}

impl Pool {
    fn put(&mut self, nodes: &[Cell<u32>]) {
        alloc::uncharged(|| self.free.extend(nodes.iter().map(Cell::get)));
    }

    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| self.fresh())
    }

    fn fresh(&mut self) -> u32 {
        let index = self.fresh;
        let unit = if index > LAST_NODE { None } else { UNITS.reach(index) };
        unit.expect("memory for message nodes");
        self.fresh += 1;
        index
    }
}

#[inline]
pub(super) fn allocate() -> u32 {
    context::with_local(|local| match local {
        Some(local) => local.nodes.take(),
        None => allocate_outside(),
    })
}

/// For a thread that is no worker.
#[cold]
fn allocate_outside() -> u32 {
    POOL.lock().take()
}

#[inline]
pub(super) fn release(index: u32) {
    context::with_local(|local| match local {
        Some(local) => local.nodes.release(index),
        None => release_outside(index),
    });
}

#[cold]
fn release_outside(index: u32) {
    POOL.lock().put(&[Cell::new(index)]);
}
