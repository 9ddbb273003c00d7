//! Run queues: one a worker, from which others steal, and one for lanes woken from outside.
//!
//! Owns: the queues of `crossbeam_deque`, behind the few calls that the scheduler makes. Knows nothing of lanes' states.

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use crate::slot::SlotRef;

/// A worker's own end of its queue, first in first out.
pub(crate) struct Queue(Worker<SlotRef>);

/// The queues as all workers see them.
pub(crate) struct Shared {
    injector: Injector<SlotRef>,
    stealers: Vec<Stealer<SlotRef>>,
}

/// A queue a worker, and what they share.
pub(crate) fn queues(workers: usize) -> (Vec<Queue>, Shared) {
    let queues: Vec<_> = (0..workers).map(|_| Worker::new_fifo()).collect();
    let stealers = queues.iter().map(Worker::stealer).collect();
    (queues.into_iter().map(Queue).collect(), Shared { injector: Injector::new(), stealers })
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
}

impl Shared {
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
        let victims = self.stealers.len();
        (0..victims)
            .map(|step| (first + step) % victims)
            .filter(|victim| *victim != thief)
            .find_map(|victim| until_settled(|| self.stealers[victim].steal_batch_and_pop(&queue.0)))
    }

    /// Whether there is nothing to take anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.injector.is_empty() && self.stealers.iter().all(Stealer::is_empty)
    }
}

fn until_settled(mut attempt: impl FnMut() -> Steal<SlotRef>) -> Option<SlotRef> {
    loop {
        match attempt() {
            Steal::Success(slot) => return Some(slot),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}
