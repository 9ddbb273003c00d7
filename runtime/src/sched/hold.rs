//! Whose the owner's half of a lane is while code of the lane runs: its worker's, or that of whoever takes the lane away.
//!
//! A worker that is stuck in a poll, or in the destructors of a lane that ends, holds `RUNNING`, and with it what the slot
//! keeps for the lane's owner (`lane/own.rs`). Should the lane be killed meanwhile, the watchdog takes that half away
//! ([`Hold::take`]), so that the lane's end need not wait for the worker.
//!
//! Owns: [`Hold`], one a worker. Knows nothing of what is in the owner's half.
//!
//! # Invariants
//! 1. The owner's half of the lane that a worker runs is the worker's, but between [`Hold::enter`] and [`Hold::leave`],
//!    and between [`Hold::enter_destructors`] and [`Hold::leave_destructors`]. In the first of these stretches the worker
//!    touches it only within a [`Mark`], and only if it finds the lane in `current` then; in the second not at all.
//! 2. Whoever takes the lane touches it only within [`Hold::take`], in such a stretch.
//! 3. A worker whose `leave` answers that the lane was taken touches its owner's half, and the owner's side of its word,
//!    never again.
//!
//! # Why they do not meet
//!
//! The worker pays next to nothing: it stores and loads as it would if it were alone, with the light half of the barrier of
//! `barrier.rs` between a store and a load. Whoever takes the lane passes the heavy half twice.
//!
//! * It stores `asked`, passes the barrier, and looks whether the lane is in `current` (or `ending`). The worker stores that
//!   it leaves, passes the light half, and looks at `asked`. So one sees the other: if the lane was found there, the
//!   worker cannot leave without taking the lock, under which all of this is done.
//! * It empties `current`, passes the barrier, and looks for marks. The worker marks that it is in a call, passes the light
//!   half, and looks at `current`. So a call that found its lane is seen, and the taker comes back later (it never
//!   waits: a worker may lose its processor in a call); and a call that is not seen finds no lane.
//!
//! Where the system lacks the barrier, no lane is taken: it lives until its poll returns.
//!
//! Model: `model/hold.rs`.

use super::barrier;
use crate::shim::{AtomicBool, Mutex, Ordering};
use crate::slot::{AtomicSlot, SlotRef, is_same};

/// The hold that a worker has on the lane that it runs.
pub(crate) struct Hold {
    /// The lane whose code runs; none while it is being ended, or was taken.
    current: AtomicSlot,
    /// The lane whose destructors run as it ends.
    ending: AtomicSlot,
    /// It ends because it was killed.
    ends_killed: AtomicBool,
    /// The worker has the owner's half.
    borrowed: AtomicBool,
    /// A call is under way that must not be cut in two by the lane's end.
    calls: AtomicBool,
    /// Somebody wants the lane, or has it.
    asked: AtomicBool,
    taking: Mutex<Taking>,
}

/// How far somebody has come with the lane of this stretch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taking {
    Nothing,
    /// The lane was found, and the worker cannot leave without the lock.
    Begun(Taken),
    Done,
}

/// In what stretch a lane was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// In its poll: its mailbox is open.
    InPoll,
    /// In its destructors: its mailbox is closed.
    InDestructors,
}

/// What became of the lane while its code ran.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is still the worker's.
    Kept,
    /// It is still the worker's, and has been cut off from the runtime by somebody who did not get to take it: what it
    /// asked for since has failed. It is killed, and must end.
    CutOff,
    /// It is somebody else's (invariant 3).
    TakenAway,
}

/// A time in which nobody takes the worker's lane, if it is there at its beginning.
#[must_use]
pub(crate) struct Mark<'a> {
    place: &'a AtomicBool,
    before: bool,
}

impl Mark<'_> {
    /// Whether this one is within the time of another of its kind.
    #[inline]
    pub(crate) fn is_within_another(&self) -> bool {
        self.before
    }
}

impl Drop for Mark<'_> {
    #[inline]
    fn drop(&mut self) {
        // ORDER: Release: whoever finds no mark sees what was done within it; pairs with the Acquire in `take`.
        self.place.store(self.before, Ordering::Release);
    }
}

impl Hold {
    pub(crate) fn new() -> Hold {
        Hold {
            current: AtomicSlot::empty(),
            ending: AtomicSlot::empty(),
            ends_killed: AtomicBool::new(false),
            borrowed: AtomicBool::new(false),
            calls: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            taking: Mutex::new(Taking::Nothing),
        }
    }

    /// The lane whose code this worker runs, as far as it is not taken at this moment.
    #[inline]
    pub(crate) fn current(&self) -> Option<SlotRef> {
        // ORDER: Relaxed: the worker's own, or emptied by one who touches nothing before the barrier.
        self.current.load(Ordering::Relaxed)
    }

    /// The lane's code begins to run.
    #[inline]
    pub(crate) fn enter(&self, slot: SlotRef) {
        // ORDER: Release: whoever takes the lane sees its owner's half as it is.
        self.current.store(Some(slot), Ordering::Release);
    }

    /// The lane's code has run.
    #[inline]
    pub(crate) fn leave(&self) -> Left {
        // ORDER: Relaxed: the barrier orders it before the look.
        self.current.store(None, Ordering::Relaxed);
        self.look()
    }

    /// The destructors of a lane that ends begin to run; `killed` is whether it ends because of a kill.
    #[inline]
    pub(crate) fn enter_destructors(&self, slot: SlotRef, killed: bool) {
        // ORDER: Relaxed: published by the next store.
        self.ends_killed.store(killed, Ordering::Relaxed);
        // ORDER: Release: as in `enter`.
        self.ending.store(Some(slot), Ordering::Release);
    }

    /// The destructors have run.
    #[inline]
    pub(crate) fn leave_destructors(&self) -> Left {
        // ORDER: Relaxed: as in `leave`.
        self.ending.store(None, Ordering::Relaxed);
        self.look()
    }

    #[inline]
    fn look(&self) -> Left {
        barrier::light();
        // ORDER: Relaxed: who finds it asks under the lock.
        if self.asked.load(Ordering::Relaxed) { self.settle() } else { Left::Kept }
    }

    /// Somebody wants the lane, wanted it, or has it.
    #[cold]
    fn settle(&self) -> Left {
        let mut taking = self.taking.lock();
        self.asked.store(false, Ordering::Relaxed);
        match std::mem::replace(&mut *taking, Taking::Nothing) {
            Taking::Done => Left::TakenAway,
            Taking::Begun(_) => Left::CutOff,
            Taking::Nothing => Left::Kept,
        }
    }

    /// Begins a time in which this worker touches the owner's half of the lane, which it must look for
    /// ([`Hold::current`]) after this.
    ///
    /// # Panics
    /// Within another such time.
    #[inline(always)]
    pub(crate) fn borrow(&self) -> Mark<'_> {
        // ORDER: Relaxed, here and below: only this worker writes here.
        assert!(!self.borrowed.load(Ordering::Relaxed), "the owner's half is borrowed already");
        self.mark(&self.borrowed, false)
    }

    /// Begins a call of the lane that must be over before the lane ends elsewhere, or fail.
    #[inline(always)]
    pub(crate) fn call(&self) -> Mark<'_> {
        self.mark(&self.calls, self.calls.load(Ordering::Relaxed))
    }

    /// As `call`, outside of others.
    #[inline(always)]
    pub(crate) fn short_call(&self) -> Mark<'_> {
        debug_assert!(!self.calls.load(Ordering::Relaxed), "within another call");
        self.mark(&self.calls, false)
    }

    #[inline(always)]
    fn mark<'a>(&self, place: &'a AtomicBool, before: bool) -> Mark<'a> {
        // ORDER: Relaxed: the barrier orders it before the look.
        place.store(true, Ordering::Relaxed);
        barrier::light();
        Mark { place, before }
    }

    /// Whether the worker is in a call, or touches the owner's half, as far as another thread can tell.
    pub(crate) fn is_marked(&self) -> bool {
        // ORDER: Acquire: what was done within a mark that is over is seen; pairs with the Release of its end.
        self.borrowed.load(Ordering::Acquire) || self.calls.load(Ordering::Acquire)
    }

    /// Whether the lane whose destructors run ends because of a kill, as far as another thread can tell.
    pub(crate) fn ends_killed(&self) -> bool {
        // ORDER: Acquire and Relaxed: if the lane is there, so is the word about it.
        self.ending.load(Ordering::Acquire).is_some() && self.ends_killed.load(Ordering::Relaxed)
    }

    /// Takes the lane away from the worker, if it is in the worker's hands, `is_due` then, and the worker is in no call:
    /// what `take` does with the owner's half, which is the caller's until it returns. It runs no code of others.
    ///
    /// `None` where nothing was taken; worth another try while it is due. For one thread at a time.
    pub(crate) fn take<R>(&self, slot: SlotRef, is_due: impl Fn() -> bool, take: impl FnOnce(Taken) -> R) -> Option<R> {
        let mut taking = self.taking.lock();
        if *taking == Taking::Done || !is_due() {
            return None;
        }
        let found = match *taking {
            Taking::Begun(found) => found,
            _ => {
                let found = self.begin_to_take(slot, is_due)?;
                *taking = Taking::Begun(found);
                found
            }
        };
        self.current.store(None, Ordering::Relaxed);
        if !barrier::heavy() || self.is_marked() {
            return None;
        }
        *taking = Taking::Done;
        Some(take(found))
    }
    /// Finds the lane where its worker cannot leave it without the lock, which the caller has.
    fn begin_to_take(&self, slot: SlotRef, is_due: impl Fn() -> bool) -> Option<Taken> {
        let is_in = |place: &AtomicSlot| {
            // ORDER: Acquire pairs with the Release in `enter` and `enter_destructors`.
            place.load(Ordering::Acquire).is_some_and(|there| is_same(there, slot))
        };
        // ORDER: Relaxed: the barrier orders it before the looks.
        self.asked.store(true, Ordering::Relaxed);
        let found = if !barrier::heavy() {
            None
        } else if is_in(&self.current) {
            Some(Taken::InPoll)
        } else if is_in(&self.ending) {
            Some(Taken::InDestructors)
        } else {
            None
        };
        // Whether it is due is asked once more, of the stretch that cannot end any more.
        let found = found.filter(|_| is_due());
        if found.is_none() {
            self.asked.store(false, Ordering::Relaxed);
        }
        found
    }
}
