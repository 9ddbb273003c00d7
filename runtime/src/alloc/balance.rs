//! What is charged to one account: by its lane, which is one thread at a time, and credited by it and by all others.
//!
//! Owns: [`Balance`]. Knows nothing of memory, limits or lanes.
//!
//! The lane's own sum is a plain counter, as nobody else writes it. What others free is subtracted from a word of its own,
//! which begins at [`OPEN`] and so is not zero before the account is closed. Closing moves the lane's sum over and takes
//! `OPEN` off: from then on the word is what is outstanding, and whoever brings it to zero, by closing or by a credit, is
//! the last who knows of the account.
//!
//! # Invariants
//! 1. `here` is written by whoever has the lane, from `open` to `close`; the lane's word orders one after the other.
//! 2. Each charge is of more than nothing, and is credited once, never before it.
//! 3. `elsewhere` is zero exactly while the account is nobody's: the one who made it so owns it.
//!
//! Model: `model/balance.rs`.

use crate::shim::{AtomicU64, Ordering};

/// More than can be freed elsewhere before it is noted with the lane's own.
const OPEN: u64 = 1 << 62;

/// More than there is memory, and than an account can add up to.
pub(crate) const MOST: u64 = OPEN >> 1;

/// What became of an account to which others gave something back.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credited {
    /// It is that of a lane that lives.
    Open,
    /// It is closed, and more is outstanding.
    Closed,
    /// It is closed, and this was the last: it is the caller's.
    Last,
}

/// The balance of an account.
#[derive(Debug)]
pub(crate) struct Balance {
    /// Charged by the lane, less what it has credited, and what is noted of `elsewhere`.
    here: AtomicU64,
    /// `OPEN`, less what others credited since it was noted; once it is closed, what is outstanding.
    elsewhere: AtomicU64,
}

impl Balance {
    /// That of an account that is nobody's.
    pub(crate) fn new() -> Balance {
        Balance { here: AtomicU64::new(0), elsewhere: AtomicU64::new(0) }
    }

    /// Whether it is nobody's, so that the one who may have it next has it.
    #[inline]
    pub(crate) fn is_nobodys(&self) -> bool {
        // ORDER: Acquire pairs with the Release of whoever brought it to zero: all who knew of it come before.
        self.elsewhere.load(Ordering::Acquire) == 0
    }

    /// Begins anew, with so much charged. For the owner of an account that is nobody's.
    #[inline]
    pub(crate) fn open(&self, charged: u64) {
        // ORDER: Relaxed, here and in all that touches `here`: invariant 1.
        self.here.store(charged, Ordering::Relaxed);
        // ORDER: Relaxed: who credits comes after the charge, which its thread was handed.
        self.elsewhere.store(OPEN, Ordering::Relaxed);
    }

    /// The lane takes so much: its sum then, before what others have credited lately.
    #[inline]
    pub(crate) fn charge(&self, size: u64) -> u64 {
        let sum = self.here.load(Ordering::Relaxed).wrapping_add(size);
        self.here.store(sum, Ordering::Relaxed);
        sum
    }

    /// For the lane: its sum, before what others have credited lately.
    #[inline]
    pub(crate) fn noted(&self) -> u64 {
        self.here.load(Ordering::Relaxed)
    }

    /// The lane itself gives so much back.
    #[inline]
    pub(crate) fn credit_here(&self, size: u64) {
        self.here.store(self.here.load(Ordering::Relaxed).wrapping_sub(size), Ordering::Relaxed);
    }

    /// Others give so much back.
    #[inline]
    pub(crate) fn credit_elsewhere(&self, size: u64) -> Credited {
        // ORDER: AcqRel: whoever has the account next comes after all who knew of it.
        match self.elsewhere.fetch_sub(size, Ordering::AcqRel) {
            before if before == size => Credited::Last,
            // No account adds up to more, so that of an open one more is left of `OPEN`.
            before if before <= MOST => Credited::Closed,
            _ => Credited::Open,
        }
    }

    /// For the lane: notes what others have credited; its true sum.
    pub(crate) fn settle(&self) -> u64 {
        // ORDER: Relaxed: a number, which orders nothing.
        let credited = OPEN.wrapping_sub(self.elsewhere.swap(OPEN, Ordering::Relaxed));
        self.credit_here(credited);
        self.noted()
    }

    /// What is charged, or outstanding where it is closed, as far as another thread can tell.
    pub(crate) fn sum(&self) -> u64 {
        let elsewhere = self.elsewhere.load(Ordering::Relaxed);
        if elsewhere <= MOST {
            return elsewhere;
        }
        let credited = OPEN.wrapping_sub(elsewhere);
        // What others free between the two looks may make it less than nothing.
        let sum = self.here.load(Ordering::Relaxed).wrapping_sub(credited);
        if sum > OPEN { 0 } else { sum }
    }

    /// The lane is dead: what is outstanding. Where that is nothing, the account is the caller's.
    #[inline]
    pub(crate) fn close(&self) -> u64 {
        let owed = self.noted().wrapping_sub(OPEN);
        // ORDER: Acquire: as the step below. Where all that was charged is credited, there is nobody left who could come in
        // between, and no step is needed.
        if self.elsewhere.load(Ordering::Acquire).wrapping_add(owed) == 0 {
            // ORDER: Release: whoever has the account next comes after us.
            self.elsewhere.store(0, Ordering::Release);
            return 0;
        }
        // ORDER: AcqRel, as in `credit_elsewhere`.
        self.elsewhere.fetch_add(owed, Ordering::AcqRel).wrapping_add(owed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_here_and_elsewhere_is_credited_once() {
        let balance = Balance::new();
        balance.open(0);
        assert_eq!(balance.charge(100), 100);
        balance.credit_here(30);
        assert_eq!(balance.credit_elsewhere(50), Credited::Open);
        assert_eq!((balance.sum(), balance.settle(), balance.sum()), (20, 20, 20));
        assert_eq!(balance.charge(1), 21);
    }

    #[test]
    fn the_last_credit_after_the_end_has_the_account() {
        let balance = Balance::new();
        balance.open(0);
        balance.charge(100);
        assert_eq!(balance.credit_elsewhere(60), Credited::Open);
        assert_eq!(balance.close(), 40);
        assert_eq!(balance.credit_elsewhere(39), Credited::Closed);
        assert_eq!(balance.credit_elsewhere(1), Credited::Last);
        balance.open(0);
        assert_eq!(balance.sum(), 0);
        assert_eq!(balance.close(), 0);
    }
}
