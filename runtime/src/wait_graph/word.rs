//! The word that says whether a lane waits for another, and in which of its waits it is.
//!
//! Owns: the word in a lane's slot. Knows nothing of what is waited for: that stands beside it, in the lane's record, which
//! its worker writes before [`WaitWord::begin`] and others read between two looks at the word.
//!
//! | bits | meaning |
//! | --- | --- |
//! | 0 | the lane waits, as its record says |
//! | 1 | the wait is to end with an error, which lies with the lane. Only with bit 0 |
//! | 2.. | a number that changes with each wait |
//!
//! All-zero memory says that the lane does not wait.
//!
//! # Invariants
//! 1. Only the worker that has the lane (from its queue, or by `RUNNING`) changes the word, so plain stores will do.
//! 2. The word says no wait while the lane's future is polled: [`WaitWord::end`] comes before the step that takes `RUNNING`
//!    and `SCHEDULED` clears, and [`WaitWord::begin`] comes after the poll.
//! 3. So a lane whose word is found to say the same wait on both sides of a look at its life-cycle that finds it neither
//!    scheduled nor killed was not woken, in that wait, before that look.
//!
//! Model: `model/wait_graph.rs`.

use crate::shim::{AtomicU32, Ordering, order_for_models};

const WAITS: u32 = 1;
const TOLD: u32 = 2;
const NEXT: u32 = 4;

/// The word.
#[derive(Debug)]
pub(crate) struct WaitWord(AtomicU32);

/// One wait of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

impl WaitWord {
    #[cfg(loom)]
    pub(crate) fn new() -> WaitWord {
        WaitWord(AtomicU32::new(0))
    }

    /// The lane, whose record is written, waits from now on.
    #[inline]
    pub(crate) fn begin(&self) {
        let before = self.0.load(Ordering::Relaxed);
        debug_assert_eq!(before & (WAITS | TOLD), 0, "a lane has one wait at a time");
        // ORDER: Release publishes the record and all that the lane did in its turn. SeqCst, with the load in `look`: of two
        // lanes that begin to wait and then look at each other, one at least sees the other.
        self.0.store(before | WAITS, Ordering::SeqCst);
        order_for_models();
    }

    /// The wait that has just begun is to end with an error.
    pub(crate) fn tell(&self) {
        let before = self.0.load(Ordering::Relaxed);
        debug_assert_eq!(before & (WAITS | TOLD), WAITS, "who is told waits, and was not told before");
        // ORDER: Release is more than is needed: the lane's worker reads it alone, and others find the lane scheduled.
        self.0.store(before | TOLD, Ordering::Release);
    }

    /// Whether the lane, for the worker that has it, is in a wait, which then must [end](WaitWord::end).
    #[inline]
    pub(crate) fn is_in_wait(&self) -> bool {
        // ORDER: Relaxed: written by whoever had the lane before us (invariant 1).
        self.0.load(Ordering::Relaxed) & WAITS != 0
    }

    /// The lane is about to run, or to end: whether its wait is to end with an error.
    #[inline]
    pub(crate) fn end(&self) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        // ORDER: Release is more than is needed: the step of the lane's word that follows publishes it (invariant 2).
        self.0.store((before & !(WAITS | TOLD)).wrapping_add(NEXT), Ordering::Release);
        before & TOLD != 0
    }

    /// The wait that the lane is in.
    #[inline]
    pub(crate) fn look(&self) -> Option<Ticket> {
        // ORDER: SeqCst, see `begin`; as an Acquire it shows the record.
        let word = self.0.load(Ordering::SeqCst);
        (word & (WAITS | TOLD) == WAITS).then_some(Ticket(word))
    }

    /// Whether the lane is still in that wait. What was read of its record, by loads that acquire, is then of that wait.
    pub(crate) fn still(&self, ticket: Ticket) -> bool {
        // ORDER: Acquire: what is looked at next is not older than this.
        self.0.load(Ordering::Acquire) == ticket.0
    }
}
