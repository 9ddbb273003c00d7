//! Lanes that wait behind a lock, in the order in which they came.
//!
//! Owns: [`Backlog`], for lanes that come from outside, that were killed while they waited, or for which there is no room in a
//! ring. There may be any number of these, and a lock is little for what each of them costs anyway.

use std::collections::VecDeque;

use super::{BATCH, Batch};
use crate::shim::{AtomicUsize, Mutex, Ordering};
use crate::slot::SlotRef;

/// Room for so many is kept when the last one has gone.
const KEPT: usize = 1024;
pub(super) const KEPT_BYTES: usize = KEPT * size_of::<SlotRef>();

/// A queue that anybody puts lanes in and takes them from.
pub(crate) struct Backlog {
    lanes: Mutex<VecDeque<SlotRef>>,
    /// How many there are, for a look without the lock.
    len: AtomicUsize,
}

impl Backlog {
    pub(crate) fn new() -> Backlog {
        Backlog { lanes: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0) }
    }

    /// May allocate.
    pub(crate) fn push(&self, lane: SlotRef) {
        let mut lanes = self.lanes.lock();
        lanes.push_back(lane);
        self.note_len(&lanes);
    }

    /// Takes the first lane.
    pub(crate) fn pop(&self) -> Option<SlotRef> {
        let mut first = None;
        self.take(1, |lane| first = Some(lane));
        first
    }

    /// Takes the first half of the lanes, and `most` or [`BATCH`] at most.
    pub(crate) fn steal(&self, most: usize) -> Batch {
        let mut batch = Batch::default();
        let mut places = batch.iter_mut();
        self.take(self.len().div_ceil(2).min(most).min(BATCH), |lane| {
            places.by_ref().take(1).for_each(|place| *place = Some(lane));
        });
        batch
    }

    /// Takes the first so many lanes, or all that there are, each of which it hands to `take` under the lock.
    pub(crate) fn take(&self, most: usize, take: impl FnMut(SlotRef)) {
        if self.is_empty() {
            return;
        }
        let mut lanes = self.lanes.lock();
        let count = most.min(lanes.len());
        lanes.drain(..count).for_each(take);
        if lanes.is_empty() {
            lanes.shrink_to(KEPT);
        }
        self.note_len(&lanes);
    }

    fn note_len(&self, lanes: &VecDeque<SlotRef>) {
        // ORDER: Release, and Acquire below: what `idle.rs` orders between who pushes and who looks.
        self.len.store(lanes.len(), Ordering::Release);
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sched::queue::tests::{keys, lanes};

    #[test]
    fn half_of_the_lanes_are_taken_and_no_more_than_a_batch() {
        let lanes = lanes(200);
        let backlog = Backlog::new();
        let steal = |most| keys(backlog.steal(most).into_iter().flatten());
        assert_eq!(steal(BATCH), []);
        lanes.iter().take(5).for_each(|lane| backlog.push(lane));
        assert_eq!(steal(BATCH), keys(lanes[..3].iter().copied()));
        assert_eq!(steal(0), []);
        assert_eq!(steal(1), keys(lanes[3..4].iter().copied()));
        assert_eq!(backlog.pop().map(|lane| lane.key()), Some(lanes[4].key()));
        assert!(backlog.is_empty() && backlog.pop().is_none());
        lanes.iter().for_each(|lane| backlog.push(lane));
        assert_eq!(steal(200), keys(lanes[..BATCH].iter().copied()));
        assert_eq!(backlog.len(), 200 - BATCH);
    }

    #[test]
    fn room_that_nobody_needs_is_given_back() {
        let lanes = lanes(4 * KEPT as u32);
        let backlog = Backlog::new();
        lanes.iter().for_each(|lane| backlog.push(lane));
        backlog.take(usize::MAX, |_| ());
        assert!(backlog.is_empty() && backlog.lanes.lock().capacity() <= 2 * KEPT);
    }
}
