//! Free nodes: a worker's own, and those of all.
//!
//! Owns: [`Cache`] and the common pool. Invariants 1 and 3 of the module above.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{UNITS, unit};
use crate::alloc;
use crate::context;
use crate::lane::word::{EMPTY, FIRST_NODE, LAST_NODE};

/// How many nodes move between a worker and the common pool at a time.
const BATCH: u32 = 128;

/// The most nodes that a worker keeps free, and that are made at a time.
pub(crate) const CACHED_MAX: u32 = 2 * BATCH;

/// A worker's own free nodes.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    head: Cell<u32>,
    count: Cell<u32>,
}

impl Cache {
    #[inline]
    fn pop(&self) -> Option<u32> {
        let index = self.head.get();
        if index == EMPTY {
            return None;
        }
        self.head.set(unit(index).next.load(Ordering::Relaxed));
        self.count.set(self.count.get() - 1);
        Some(index)
    }

    /// Takes back a node, which is the next that is taken; before that it gives some of the others away where there are too
    /// many.
    #[inline]
    pub(super) fn release(&self, index: u32) {
        if self.count.get() < CACHED_MAX - 1 { self.push(index) } else { self.release_into_full(index) }
    }

    #[cold]
    fn release_into_full(&self, index: u32) {
        self.spill();
        self.push(index);
    }

    #[inline]
    fn push(&self, index: u32) {
        unit(index).next.store(self.head.get(), Ordering::Relaxed);
        self.head.set(index);
        self.count.set(self.count.get() + 1);
    }

    /// A free node.
    #[inline]
    pub(super) fn take(&self) -> u32 {
        loop {
            if let Some(index) = self.pop() {
                return index;
            }
            self.refill();
        }
    }

    #[cold]
    fn refill(&self) {
        let mut pool = POOL.lock();
        if let Some((head, count)) = pool.batches.pop() {
            drop(pool);
            self.head.set(head);
            self.count.set(count);
            return;
        }
        for _ in 0..BATCH {
            self.push(pool.fresh());
        }
    }

    /// Gives a batch to the others.
    #[cold]
    fn spill(&self) {
        let head = self.head.get();
        let mut last = head;
        for _ in 1..BATCH {
            last = unit(last).next.load(Ordering::Relaxed);
        }
        self.head.set(unit(last).next.swap(EMPTY, Ordering::Relaxed));
        self.count.set(self.count.get() - BATCH);
        POOL.lock().push(head, BATCH);
    }

    /// Gives everything back.
    pub(crate) fn flush(&self) {
        let (head, count) = (self.head.replace(EMPTY), self.count.replace(0));
        if head != EMPTY {
            POOL.lock().push(head, count);
        }
    }
}

struct Pool {
    /// Heads and lengths of lists of free nodes.
    batches: Vec<(u32, u32)>,
    fresh: u32,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { batches: Vec::new(), fresh: FIRST_NODE });

/// How many nodes there are in the process.
pub(crate) fn made() -> u32 {
    POOL.lock().fresh - FIRST_NODE
}

impl Pool {
    fn push(&mut self, head: u32, count: u32) {
        alloc::uncharged(|| self.batches.push((head, count)));
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
    let mut pool = POOL.lock();
    match pool.batches.pop() {
        Some((head, count)) => {
            let rest = unit(head).next.load(Ordering::Relaxed);
            if count > 1 {
                pool.batches.push((rest, count - 1));
            }
            head
        }
        None => pool.fresh(),
    }
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
    unit(index).next.store(EMPTY, Ordering::Relaxed);
    POOL.lock().push(index, 1);
}
