//! Run queues: two a worker, from which others steal, and one for lanes woken from outside.
//!
//! Owns: which of them a lane comes to, and from which it is taken. Knows nothing of lanes' states. Read on in `ring` (a
//! worker's own lanes) and `backlog` (all others).

use std::sync::Arc;

pub(crate) mod backlog;
pub(crate) mod ring;

use crate::shim::{AtomicUsize, Ordering};
use crate::slot::SlotRef;
use backlog::Backlog;
use ring::{End, Ring};

/// So many lanes at most go from one queue to another at once, held by none of them meanwhile.
const BATCH: usize = 32;
/// Those that do, from the first place on.
type Batch = [Option<SlotRef>; BATCH];

/// Bytes that the queues of a worker take with few lanes in them, and its share of those for all.
#[cfg(not(loom))]
pub(crate) const KEPT: u64 = (size_of::<Ring>() + 3 * backlog::KEPT_BYTES) as u64;

/// A worker's own end of its queues, each first in first out.
pub(crate) struct Queue {
    pub(super) lanes: End,
    /// Lanes that waited when they were killed, and have only to be ended. Thousands may be killed at once: in one queue
    /// with the others, all would wait for their deaths.
    killed: Arc<Backlog>,
}

/// The queues as all workers see them.
pub(crate) struct Shared {
    injector: Backlog,
    rings: Vec<Arc<Ring>>,
    /// Those of the killed.
    killed: Vec<Arc<Backlog>>,
    /// How many of the queues have ever had a worker; nothing is in the others.
    open: AtomicUsize,
}

/// A queue for each of `places`, and what they share. The first `workers` are in use from the start.
pub(crate) fn queues(workers: usize, places: usize) -> (Vec<Queue>, Shared) {
    let queue = |_| Queue { lanes: End::new(), killed: Arc::new(Backlog::new()) };
    let queues: Vec<_> = (0..places).map(queue).collect();
    let rings = queues.iter().map(|queue| queue.lanes.ring()).collect();
    let killed = queues.iter().map(|queue| queue.killed.clone()).collect();
    (queues, Shared { injector: Backlog::new(), rings, killed, open: AtomicUsize::new(workers) })
}

impl Queue {
    #[inline]
    pub(crate) fn push(&self, slot: SlotRef) {
        self.lanes.push(slot);
    }

    /// As [`Queue::pop`]; it may find none although there are some.
    #[inline(always)]
    pub(crate) fn pop_soon(&self) -> Option<SlotRef> {
        self.lanes.pop_soon()
    }

    pub(crate) fn pop(&self) -> Option<SlotRef> {
        self.lanes.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How many wait here; fewer by now, where others steal.
    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Queues a lane that was killed.
    pub(crate) fn push_killed(&self, slot: SlotRef) {
        self.killed.push(slot);
    }

    /// The lane that was killed first.
    pub(crate) fn pop_killed(&self) -> Option<SlotRef> {
        self.killed.pop()
    }

    /// A lane, one that lives if there is one.
    pub(crate) fn pop_any(&self) -> Option<SlotRef> {
        self.pop().or_else(|| self.pop_killed())
    }

    /// As [`Queue::len`], with those that were killed.
    pub(crate) fn len_of_all(&self) -> usize {
        self.len() + self.killed.len()
    }

    /// The first of a batch; the others are queued here.
    fn keep_all_but_first(&self, batch: Batch) -> Option<SlotRef> {
        let mut lanes = batch.into_iter().flatten();
        let first = lanes.next();
        lanes.for_each(|slot| self.push(slot));
        first
    }
}

impl Shared {
    /// The queue of a worker is about to be used.
    pub(crate) fn open(&self, worker: usize) {
        // ORDER: Relaxed, here and below. Who does not see a queue yet misses what its worker pushes, and that worker is
        // awake and comes to it; should it be stuck there, whoever is hired for it comes after this.
        self.open.fetch_max(worker + 1, Ordering::Relaxed);
    }

    fn rings(&self) -> &[Arc<Ring>] {
        &self.rings[..self.open.load(Ordering::Relaxed)]
    }

    fn of_killed(&self) -> &[Arc<Backlog>] {
        &self.killed[..self.open.load(Ordering::Relaxed)]
    }

    /// Queues a lane for whichever worker comes first.
    pub(crate) fn inject(&self, slot: SlotRef) {
        self.injector.push(slot);
    }

    /// A lane from outside; more of them move to the worker's queue on the way.
    pub(crate) fn take_injected(&self, queue: &Queue) -> Option<SlotRef> {
        if self.injector.is_empty() {
            return None;
        }
        queue.keep_all_but_first(self.injector.steal(BATCH))
    }

    /// A lane of another worker's, with up to half of its queue; `first` says with whom to begin.
    pub(crate) fn steal(&self, thief: usize, first: usize, queue: &Queue) -> Option<SlotRef> {
        let rings = self.rings();
        others(thief, first, rings.len()).find_map(|victim| queue.keep_all_but_first(rings[victim].steal(BATCH)))
    }

    /// As [`Shared::steal`], of those that were killed.
    pub(crate) fn steal_killed(&self, thief: usize, first: usize, queue: &Queue) -> Option<SlotRef> {
        let killed = self.of_killed();
        others(thief, first, killed.len()).find_map(|victim| {
            let mut stolen = killed[victim].steal(BATCH).into_iter().flatten();
            let first = stolen.next();
            stolen.for_each(|slot| queue.push_killed(slot));
            first
        })
    }

    /// How many queues there may be something in.
    pub(crate) fn in_use(&self) -> usize {
        self.rings().len()
    }

    /// Moves up to half of a worker's queue to that of another, and so many lanes at most.
    pub(crate) fn move_from(&self, victim: usize, limit: usize, queue: &Queue) {
        self.rings[victim].steal(limit).into_iter().flatten().for_each(|slot| queue.push(slot));
    }

    /// Moves all that waits in a worker's queue to where the others look even while they have work of their own.
    pub(crate) fn spill(&self, worker: usize) {
        let take = || Some(self.rings[worker].steal(BATCH)).filter(|batch| batch[0].is_some());
        while let Some(batch) = take() {
            batch.into_iter().flatten().for_each(|slot| self.inject(slot));
        }
        while let Some(slot) = self.killed[worker].pop() {
            self.inject(slot);
        }
    }

    /// Whether there is nothing to take anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.injector.is_empty()
            && self.rings().iter().all(|ring| ring.is_empty())
            && self.of_killed().iter().all(|killed| killed.is_empty())
    }
}

/// All workers but the thief.
fn others(thief: usize, first: usize, workers: usize) -> impl Iterator<Item = usize> {
    (0..workers).map(move |step| (first + step) % workers).filter(move |victim| *victim != thief)
}

#[cfg(all(test, not(loom)))]
mod tests;
