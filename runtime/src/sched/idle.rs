//! Who searches, who sleeps, whom to wake.
//!
//! Owns: one word for all workers. Knows nothing of queues and threads: it answers whom to wake, the caller does it.
//!
//! | bits | field | meaning |
//! | --- | --- | --- |
//! | 0..56 | sleeping | one bit a worker: it sleeps, or has said that it is about to |
//! | 56..64 | searching | how many awake workers look for work and have none |
//!
//! # Why no wake-up is lost
//!
//! Who makes work visible first pushes it and then does a read-modify-write on the word ([`Idle::wake_one`]). Who goes
//! to sleep first does a read-modify-write on the word ([`Idle::transition_to_sleeping`]) and then looks at all queues
//! once more. The two changes of the one word have an order. If the sleeper's came first, the pusher sees the bit, or
//! sees a searcher, who will look at the queues after that. If the pusher's came first, the sleeper's change reads from
//! it (Acquire, Release), so its second look at the queues finds the work. The last searcher always looks once more
//! before it sleeps, so that "somebody searches" is a promise that is kept.
//!
//! A worker that pushes on its own queue may use [`Idle::wake_one_hint`], a mere load: should it miss a sleeper, the
//! work still has the pusher itself, who is awake and comes to it when its present turn is over.
//!
//! Model: `model/idle.rs`.

use crate::shim::{AtomicU32, AtomicU64, Ordering};

/// The largest number of workers.
pub(crate) const MAX_WORKERS: usize = 48;
/// The largest number of workers and stand-ins: one bit each.
pub(crate) const MAX_PLACES: usize = 56;

/// The searching are counted in the highest bits.
const SEARCHING_BITS: u32 = 8;
const SEARCHING_ONE: u64 = 1 << (u64::BITS - SEARCHING_BITS);
const SLEEPING: u64 = SEARCHING_ONE - 1;

/// The packed word.
#[derive(Debug)]
pub(crate) struct Idle {
    word: AtomicU64,
    /// How many there are, stand-ins included that serve now.
    workers: AtomicU32,
}

fn searching(word: u64) -> u64 {
    word >> (u64::BITS - SEARCHING_BITS)
}

impl Idle {
    /// All `workers` awake, none searching.
    pub(crate) fn new(workers: usize) -> Idle {
        debug_assert!(workers <= MAX_WORKERS);
        Idle { word: AtomicU64::new(0), workers: AtomicU32::new(workers as u32) }
    }

    /// One more worker is about to come, awake.
    pub(crate) fn join(&self) {
        // ORDER: Relaxed, here and below: the number is for economy, and for a watchdog that changes it itself.
        self.workers.fetch_add(1, Ordering::Relaxed);
    }

    /// A worker is gone. It is awake, does not search, and has handed over what it had.
    pub(crate) fn leave(&self) {
        self.workers.fetch_sub(1, Ordering::Relaxed);
    }

    fn awake(&self, word: u64) -> u32 {
        // One that has left since the word was read may still be asleep in it.
        self.workers.load(Ordering::Relaxed).saturating_sub((word & SLEEPING).count_ones())
    }

    /// Work was pushed where any worker can take it: the worker to unpark, which then counts as searching.
    #[must_use]
    pub(crate) fn wake_one(&self) -> Option<usize> {
        // ORDER: a read-modify-write, see the header; AcqRel for both directions of the argument.
        let word = self.word.fetch_add(0, Ordering::AcqRel);
        self.wake_from(word)
    }

    /// As [`Idle::wake_one`], for work that the calling worker would come to by itself.
    #[must_use]
    #[inline]
    pub(crate) fn wake_one_hint(&self) -> Option<usize> {
        // ORDER: Relaxed: a miss costs parallelism until the pusher's turn is over, not progress (header).
        let word = self.word.load(Ordering::Relaxed);
        if word << SEARCHING_BITS == 0 { None } else { self.wake_from(word) }
    }

    /// Whether [`Idle::wake_one_hint`] may wake somebody.
    #[inline]
    pub(crate) fn some_sleep(&self) -> bool {
        // ORDER: Relaxed: as there.
        self.word.load(Ordering::Relaxed) << SEARCHING_BITS != 0
    }

    #[inline(never)]
    fn wake_from(&self, mut word: u64) -> Option<usize> {
        loop {
            if word & SLEEPING == 0 || searching(word) != 0 {
                return None;
            }
            let worker = (word & SLEEPING).trailing_zeros();
            let next = (word & !(1 << worker)) + SEARCHING_ONE;
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(worker as usize),
                Err(seen) => word = seen,
            }
        }
    }

    /// A worker found nothing in its own queue: whether it may search those of others. At most half of those awake do.
    #[must_use]
    pub(crate) fn try_start_searching(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        if 2 * searching(word) >= u64::from(self.awake(word)) {
            return false;
        }
        // ORDER: AcqRel, as every change of the word. The bound of one half is a matter of economy, so that two who
        // look at once may both start.
        self.word.fetch_add(SEARCHING_ONE, Ordering::AcqRel);
        true
    }

    /// A searcher found work. True if it was the last: somebody else should then be woken to go on searching.
    #[must_use]
    pub(crate) fn stop_searching(&self) -> bool {
        let word = self.word.fetch_sub(SEARCHING_ONE, Ordering::AcqRel);
        debug_assert!(searching(word) > 0);
        searching(word) == 1
    }

    /// A worker will sleep, and must look at all queues once more before it does.
    pub(crate) fn transition_to_sleeping(&self, worker: usize, was_searching: bool) {
        let leaves = if was_searching { SEARCHING_ONE } else { 0 };
        let change = (1_u64 << worker).wrapping_sub(leaves);
        // ORDER: a read-modify-write, see the header. The bit was clear and the count above 0, so that adding is
        // setting the one and lowering the other.
        self.word.fetch_add(change, Ordering::AcqRel);
    }

    /// A worker that had said it would sleep goes on. True if it was woken by [`Idle::wake_one`] and counts as
    /// searching; false if it woke by itself.
    #[must_use]
    pub(crate) fn transition_from_sleeping(&self, worker: usize) -> bool {
        let word = self.word.fetch_and(!(1 << worker), Ordering::AcqRel);
        word & (1 << worker) == 0
    }

    /// How many workers are awake and do not search. One that is counted and goes to sleep does so after this.
    pub(crate) fn at_work(&self) -> usize {
        // ORDER: a read-modify-write, AcqRel: who goes to sleep changes the word after this and sees what we did before, as
        // that we have let go of the driver; or we see it asleep. Model: `model/crew.rs`.
        let word = self.word.fetch_add(0, Ordering::AcqRel);
        (self.awake(word) as usize).saturating_sub(searching(word) as usize)
    }

    /// Who sleeps, one bit each. Who does so after this sees what we did before.
    pub(crate) fn sleepers(&self) -> u64 {
        // ORDER: a read-modify-write, AcqRel, as in `at_work`. Model: `model/park.rs`.
        self.word.fetch_add(0, Ordering::AcqRel) & SLEEPING
    }

    /// Whether, beside the caller, somebody is awake who does not search: a hint.
    pub(crate) fn another_is_awake(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        self.awake(word) > searching(word) as u32
    }

    /// Whether all workers but those that search are asleep; for tests and for clocks that jump.
    pub(crate) fn all_asleep(&self) -> bool {
        self.awake(self.word.load(Ordering::Acquire)) == 0
    }

    /// How many search.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn searchers(&self) -> u64 {
        searching(self.word.load(Ordering::Acquire))
    }

    /// As [`Idle::all_asleep`]: who wakes after this sees what the caller did before, and else the caller sees it awake.
    pub(crate) fn settle_all_asleep(&self) -> bool {
        // ORDER: a read-modify-write, AcqRel, as in `wake_one`: waking changes the same word.
        self.awake(self.word.fetch_add(0, Ordering::AcqRel)) == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_woken_once_and_then_searches() {
        let idle = Idle::new(2);
        assert_eq!(idle.wake_one(), None);
        idle.transition_to_sleeping(1, false);
        assert_eq!(idle.wake_one(), Some(1));
        assert_eq!(idle.wake_one(), None, "one searches already");
        assert!(idle.transition_from_sleeping(1));
        assert!(idle.stop_searching());
    }

    #[test]
    fn a_look_alone_finds_any_sleeper_unless_somebody_searches() {
        let last = MAX_PLACES - 1;
        for worker in [0, 7, 8, last] {
            let idle = Idle::new(2);
            assert_eq!(idle.wake_one_hint(), None);
            assert!(idle.try_start_searching());
            assert_eq!(idle.wake_one_hint(), None, "nobody sleeps");
            idle.transition_to_sleeping(worker, false);
            assert_eq!(idle.wake_one_hint(), None, "one searches");
            assert!(idle.stop_searching());
            assert_eq!(idle.wake_one_hint(), Some(worker));
        }
    }

    #[test]
    fn a_worker_that_wakes_by_itself_does_not_search() {
        let idle = Idle::new(2);
        idle.transition_to_sleeping(0, false);
        assert!(!idle.transition_from_sleeping(0));
        assert_eq!(idle.wake_one(), None);
    }

    #[test]
    fn at_most_half_of_those_awake_search() {
        let idle = Idle::new(2);
        assert!(idle.try_start_searching());
        assert!(!idle.try_start_searching());
        idle.transition_to_sleeping(0, true);
        idle.transition_to_sleeping(1, false);
        assert!(idle.all_asleep());
    }
}
