//! The life-cycle of a port's cell: who may touch its waker and its value, and who frees it.
//!
//! Owns: the word. Knows nothing of memory.
//!
//! | state | the waker is | the value is | next |
//! | --- | --- | --- | --- |
//! | `OPEN` | the waiter's, and not there | the answerer's, and not there | any but `TAKEN` |
//! | `WAITING` | there, nobody's until taken | the answerer's | `OPEN` by the waiter, `TAKEN` by the answerer |
//! | `TAKEN` | the answerer's | the answerer's | `FILLED`, at once |
//! | `FILLED` | gone | the waiter's, with the cell | none |
//! | `LEFT` | gone | the answerer's, with the cell | none |
//!
//! Model: `model/reply.rs`.

use crate::shim::{AtomicU32, Ordering};

const OPEN: u32 = 0;
const WAITING: u32 = 1;
const TAKEN: u32 = 2;
const FILLED: u32 = 3;
const LEFT: u32 = 4;

/// The word of a cell, wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a>(pub(crate) &'a AtomicU32);

/// What an answerer that has written its value must do next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFill {
    /// Nothing: the cell is the waiter's.
    Done,
    /// Take the waker out, call [`Word::filled`], then wake.
    TakeWaker,
    /// Take the value back and free the cell: the waiter has left.
    Left,
}

/// What the waiter finds.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLook {
    /// No answer; no waker is there.
    Open,
    /// No answer; its waker is there.
    Waiting,
    /// The answer; the cell is the waiter's.
    Filled,
}

impl Word<'_> {
    /// A fresh cell, with a waker in it or none. The caller owns it whole.
    pub(crate) fn reset(self, has_waker: bool) {
        // ORDER: Relaxed: the halves reach their threads by other ways, which publish this.
        self.0.store(if has_waker { WAITING } else { OPEN }, Ordering::Relaxed);
    }

    /// The answerer has written the value.
    pub(crate) fn fill(self) -> OnFill {
        // ORDER: Acquire, here and below, sees the waker that was put in before `WAITING`, and that the waiter has left;
        // Release publishes the value with `FILLED`.
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let (next, done) = match seen {
                OPEN => (FILLED, OnFill::Done),
                WAITING => (TAKEN, OnFill::TakeWaker),
                _ => return OnFill::Left,
            };
            match self.0.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return done,
                Err(other) => seen = other,
            }
        }
    }

    /// The answerer has taken the waker out.
    pub(crate) fn filled(self) {
        // ORDER: Release publishes the value, and that the waker is gone.
        self.0.store(FILLED, Ordering::Release);
    }

    /// Whether the waiter is still there.
    pub(crate) fn is_awaited(self) -> bool {
        // ORDER: Relaxed: a hint.
        self.0.load(Ordering::Relaxed) != LEFT
    }

    /// Whether the answer is there, for the waiter.
    #[inline]
    pub(crate) fn is_filled(self) -> bool {
        // ORDER: Acquire sees the value.
        self.0.load(Ordering::Acquire) == FILLED
    }

    /// Whether the waiter's waker lies there, for the waiter.
    #[inline]
    pub(crate) fn is_waiting(self) -> bool {
        // ORDER: Relaxed: the waker is what the waiter itself has put there.
        self.0.load(Ordering::Relaxed) == WAITING
    }

    /// The waiter looks. Between the taking of its waker and `FILLED` it waits for the answerer, who is at work.
    pub(crate) fn look(self) -> OnLook {
        loop {
            // ORDER: Acquire sees the value.
            match self.0.load(Ordering::Acquire) {
                OPEN => return OnLook::Open,
                WAITING => return OnLook::Waiting,
                FILLED => return OnLook::Filled,
                _ => crate::shim::spin(),
            }
        }
    }

    /// The waiter has put its waker in: false where the answer came first, and the waker is the waiter's again.
    #[must_use]
    pub(crate) fn wait(self) -> bool {
        // ORDER: Release publishes the waker.
        self.0.compare_exchange(OPEN, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The waiter wants its waker back: false where the answerer has it.
    #[must_use]
    pub(crate) fn withdraw(self) -> bool {
        self.0.compare_exchange(WAITING, OPEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The waiter leaves, with no waker in the cell: false where the answer came first, and the cell is the waiter's.
    #[must_use]
    pub(crate) fn leave(self) -> bool {
        self.0.compare_exchange(OPEN, LEFT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
