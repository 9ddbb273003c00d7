//! Run queues: one a worker, from which others steal, and one for lanes woken from outside.
//!
//! Owns: the queues of `crossbeam_deque`, behind the few calls that the scheduler makes. Knows nothing of lanes' states.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use crate::slot::SlotRef;

/// A worker's own end of its queue, first in first out.
pub(crate) struct Queue(Worker<SlotRef>);

/// The queues as all workers see them.
pub(crate) struct Shared {
    injector: Injector<SlotRef>,
    stealers: Vec<Stealer<SlotRef>>,
    /// How many of the queues have ever had a worker; nothing is in the others.
    open: AtomicUsize,
}

/// A queue for each of `places`, and what they share. The first `workers` are in use from the start.
pub(crate) fn queues(workers: usize, places: usize) -> (Vec<Queue>, Shared) {
    let queues: Vec<_> = (0..places).map(|_| Worker::new_fifo()).collect();
    let stealers = queues.iter().map(Worker::stealer).collect();
    (
        queues.into_iter().map(Queue).collect(),
        Shared { injector: Injector::new(), stealers, open: AtomicUsize::new(workers) },
    )
}

impl Queue {
    pub(crate) fn push(&self, slot: SlotRef) {
        self.0.push(slot);
    }

    pub(crate) fn pop(&self) -> Option<SlotRef> {
        self.0.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait here; fewer by now, where others steal.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
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

    /// Queues a lane for whichever worker comes first.
    pub(crate) fn inject(&self, slot: SlotRef) {
        self.injector.push(slot);
    }

    /// A lane from outside; more of them move to the worker's queue on the way.
    pub(crate) fn take_injected(&self, queue: &Queue) -> Option<SlotRef> {
        if self.injector.is_empty() {
            return None;
        }
        until_settled(|| self.injector.steal_batch_and_pop(&queue.0))
    }

    /// A lane of another worker's, with up to half of its queue; `first` says with whom to begin.
    pub(crate) fn steal(&self, thief: usize, first: usize, queue: &Queue) -> Option<SlotRef> {
        let stealers = self.stealers();
        let victims = stealers.len();
        (0..victims)
            .map(|step| (first + step) % victims)
            .filter(|victim| *victim != thief)
            .find_map(|victim| until_settled(|| stealers[victim].steal_batch_and_pop(&queue.0)))
    }

    /// How many queues there may be something in.
    pub(crate) fn in_use(&self) -> usize {
        self.stealers().len()
    }

    /// Moves up to half of a worker's queue to that of another, and so many lanes at most.
    pub(crate) fn move_from(&self, victim: usize, limit: usize, queue: &Queue) {
        let _ = until_settled(|| self.stealers[victim].steal_batch_with_limit(&queue.0, limit));
    }

    /// Moves all that waits in a worker's queue to where the others look even while they have work of their own.
    pub(crate) fn spill(&self, worker: usize) {
        while let Some(slot) = until_settled(|| self.stealers[worker].steal()) {
            self.injector.push(slot);
        }
    }

    /// Whether there is nothing to take anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.injector.is_empty() && self.stealers().iter().all(Stealer::is_empty)
    }
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
