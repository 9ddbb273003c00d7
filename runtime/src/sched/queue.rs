//! Run queues: two a worker, from which others steal, and one for lanes woken from outside.
//!
//! Owns: the queues of `crossbeam_deque`, behind the few calls that the scheduler makes. Knows nothing of lanes' states.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use crate::slot::SlotRef;

/// A worker's own end of its queues, each first in first out.
pub(crate) struct Queue {
    lanes: Worker<SlotRef>,
    /// Lanes that waited when they were killed, and have only to be ended. Thousands may be killed at once: in one queue
    /// with the others, all would wait for their deaths.
    killed: Worker<SlotRef>,
}

/// The queues as all workers see them.
pub(crate) struct Shared {
    injector: Injector<SlotRef>,
    stealers: Vec<Stealer<SlotRef>>,
    /// Those of the killed.
    killed: Vec<Stealer<SlotRef>>,
    /// How many of the queues have ever had a worker; nothing is in the others.
    open: AtomicUsize,
}

/// A queue for each of `places`, and what they share. The first `workers` are in use from the start.
pub(crate) fn queues(workers: usize, places: usize) -> (Vec<Queue>, Shared) {
    let queue = |_| Queue { lanes: Worker::new_fifo(), killed: Worker::new_fifo() };
    let queues: Vec<_> = (0..places).map(queue).collect();
    let stealers = queues.iter().map(|queue| queue.lanes.stealer()).collect();
    let killed = queues.iter().map(|queue| queue.killed.stealer()).collect();
    (queues, Shared { injector: Injector::new(), stealers, killed, open: AtomicUsize::new(workers) })
}

impl Queue {
    pub(crate) fn push(&self, slot: SlotRef) {
        self.lanes.push(slot);
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
}

impl Shared {
    /// The queue of a worker is about to be used.
    pub(crate) fn open(&self, worker: usize) {
        // ORDER: Relaxed, here and below. Who does not see a queue yet misses what its worker pushes, and that worker is
        // awake and comes to it; should it be stuck there, whoever is hired for it comes after this.
        self.open.fetch_max(worker + 1, Ordering::Relaxed);
    }

    fn stealers(&self) -> &[Stealer<SlotRef>] {
        &self.stealers[..self.open.load(Ordering::Relaxed)]
    }

    fn of_killed(&self) -> &[Stealer<SlotRef>] {
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
        until_settled(|| self.injector.steal_batch_and_pop(&queue.lanes))
    }

    /// A lane of another worker's, with up to half of its queue; `first` says with whom to begin.
    pub(crate) fn steal(&self, thief: usize, first: usize, queue: &Queue) -> Option<SlotRef> {
        steal_from(self.stealers(), thief, first, &queue.lanes)
    }

    /// As [`Shared::steal`], of those that were killed.
    pub(crate) fn steal_killed(&self, thief: usize, first: usize, queue: &Queue) -> Option<SlotRef> {
        steal_from(self.of_killed(), thief, first, &queue.killed)
    }

    /// How many queues there may be something in.
    pub(crate) fn in_use(&self) -> usize {
        self.stealers().len()
    }

    /// Moves up to half of a worker's queue to that of another, and so many lanes at most.
    pub(crate) fn move_from(&self, victim: usize, limit: usize, queue: &Queue) {
        let _ = until_settled(|| self.stealers[victim].steal_batch_with_limit(&queue.lanes, limit));
    }

    /// Moves all that waits in a worker's queue to where the others look even while they have work of their own.
    pub(crate) fn spill(&self, worker: usize) {
        for queue in [&self.stealers[worker], &self.killed[worker]] {
            while let Some(slot) = until_settled(|| queue.steal()) {
                self.injector.push(slot);
            }
        }
    }

    /// Whether there is nothing to take anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.injector.is_empty() && self.stealers().iter().chain(self.of_killed()).all(Stealer::is_empty)
    }
}

fn steal_from(stealers: &[Stealer<SlotRef>], thief: usize, first: usize, queue: &Worker<SlotRef>) -> Option<SlotRef> {
    let victims = stealers.len();
    (0..victims)
        .map(|step| (first + step) % victims)
        .filter(|victim| *victim != thief)
        .find_map(|victim| until_settled(|| stealers[victim].steal_batch_and_pop(queue)))
}

fn until_settled<T>(mut attempt: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match attempt() {
            Steal::Success(stolen) => return Some(stolen),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}
