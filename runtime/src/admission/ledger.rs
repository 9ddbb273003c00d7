//! What is reserved of the node's memory: one sum, and what each pool keeps.
//!
//! Owns: [`Ledger`], the part of admission that is changed without a lock. Knows nothing of lanes, nor of who waits.
//!
//! A lane's budget is reserved from its spawn until it is dead and has left nothing behind. What it fills of pools that all
//! lanes share (nodes, blocks for futures, slots) never goes back to the system: so there the most that was ever out at a
//! time stays reserved, on a *shelf*, and whoever comes next takes it from there. What stands on a shelf and no pool has
//! ever made is taken off when somebody needs the bytes ([`Ledger::trim`]).
//!
//! # The words
//!
//! | word | bits | is |
//! | --- | --- | --- |
//! | sum | 0 | queued: somebody waits in the row, so that who gives back must look there, and who comes must not try |
//! | | 1.. | reserved bytes, those of shelves included |
//! | shelf | 0..32 | things that are out: reserved for lanes that live |
//! | | 32..64 | things that are kept: out, or on the shelf for the next |
//!
//! # Invariants
//! 1. The sum is that of all kept things and of all budgets. It passes the limit only by what lanes had left behind, when
//!    they died, beyond their budgets ([`Ledger::settle`]).
//! 2. A shelf keeps no fewer things than are out, at any time: it grows in the step that takes them, the bytes for it being
//!    reserved before; it is trimmed in a step that sees what is out.
//! 3. `queued` is set and taken back under the lock of the line only, and while it is set nobody takes bytes without that lock.
//!    Who is refused for what somebody held for a moment is the line's; who held it looks for `queued` when he lets go.
//!
//! Model: `model/admission.rs`.

use super::cost::{Cost, SHELVES, unit};
use crate::shim::{AtomicU64, Ordering};

const QUEUED: u64 = 1;
const BYTE: u64 = 2;

/// The most that a limit can be.
pub(crate) const MOST: u64 = u64::MAX / BYTE / 2;

/// By which way somebody takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Past the line, if nobody is in it.
    Free,
    /// As the first in it, under its lock.
    InLine,
}

/// What is reserved.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: AtomicU64,
    sum: AtomicU64,
    /// What lanes that are dead have left behind, as far as it is not freed. A number for those who look.
    left: AtomicU64,
    shelves: [Shelf; SHELVES],
}

impl Default for Ledger {
    fn default() -> Ledger {
        let shelves = std::array::from_fn(|_| Shelf(AtomicU64::new(0)));
        Ledger { limit: AtomicU64::new(0), sum: AtomicU64::new(0), left: AtomicU64::new(0), shelves }
    }
}

impl Ledger {
    /// Nothing is reserved yet of so much.
    pub(crate) fn begin(&self, limit: u64) {
        // ORDER: Relaxed: whoever else gets to see it gets it by ways that publish this.
        self.limit.store(limit.min(MOST), Ordering::Relaxed);
    }

    /// How much may be reserved.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How much is.
    pub(crate) fn reserved(&self) -> u64 {
        // ORDER: Relaxed: a number that is old when it is read.
        self.sum.load(Ordering::Relaxed) / BYTE
    }

    /// What the dead have left behind.
    pub(crate) fn left(&self) -> u64 {
        // ORDER: Acquire pairs with the Release of `note_freed`: who finds all of it freed finds what was said of that. It may
        // be credited before it was counted.
        let left = self.left.load(Ordering::Acquire);
        if left > MOST { 0 } else { left }
    }

    /// Things of a shelf that are out, and that are kept.
    pub(crate) fn shelf(&self, shelf: usize) -> (u32, u32) {
        parts(self.shelves[shelf].0.load(Ordering::Relaxed))
    }

    /// Whether somebody waits in the row, as far as one look tells.
    pub(crate) fn is_queued(&self) -> bool {
        // ORDER: Acquire, with `set_queued`.
        self.sum.load(Ordering::Acquire) & QUEUED != 0
    }

    /// Whether somebody waits in the row, for one who has let go of what he held for a moment (invariant 3).
    pub(crate) fn is_queued_after_all(&self) -> bool {
        // ORDER: AcqRel, and a change, as in `settle`: who sets `queued` later finds what we have let go of, and of one who has
        // set it before we learn here. A load might be older than that.
        self.sum.fetch_add(0, Ordering::AcqRel) & QUEUED != 0
    }

    /// Somebody waits in the row, or nobody. For those who have the lock of the line.
    pub(crate) fn set_queued(&self, queued: bool) {
        let mut word = self.sum.load(Ordering::Relaxed);
        while (word & QUEUED != 0) != queued {
            // ORDER: AcqRel: who sets it and tries once more finds what was given before; who gives afterwards finds it set.
            match self.sum.compare_exchange_weak(word, word ^ QUEUED, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Reserves all of it, or nothing. Where it is nothing, and the way is free, the caller looks for `queued` (invariant 3).
    #[must_use]
    pub(crate) fn try_take(&self, cost: &Cost, way: Way) -> bool {
        for (done, (shelf, count)) in cost.things.iter().enumerate() {
            if !self.take_things(*shelf, *count, way) {
                self.put_things(&cost.things[..done]);
                return false;
            }
        }
        // Also of no bytes: the line is asked.
        if !self.take_bytes(cost.bytes, way) {
            self.put_things(&cost.things);
            return false;
        }
        true
    }

    /// Gives back what was taken. True where somebody waits: the caller then offers it, by the line.
    #[must_use]
    pub(crate) fn give(&self, cost: &Cost) -> bool {
        self.settle(cost, 0)
    }

    /// Gives back what a lane had that is dead and has left so much of its budget behind. As [`Ledger::give`].
    #[must_use]
    pub(crate) fn settle(&self, cost: &Cost, left: u64) -> bool {
        self.put_things(&cost.things);
        if left != 0 {
            self.left.fetch_add(left, Ordering::Relaxed);
        }
        let back = cost.bytes.wrapping_sub(left).wrapping_mul(BYTE);
        // ORDER: AcqRel: the things above are seen by whoever takes after this; and see `set_queued`. Where more was left than
        // there was, it adds.
        self.sum.fetch_sub(back, Ordering::AcqRel) & QUEUED != 0
    }

    /// Something that a dead lane had left behind is freed. As [`Ledger::give`]; for the allocator, which says so where it is
    /// looked for and then [notes](Ledger::note_freed) it.
    #[must_use]
    pub(crate) fn credit(&self, size: u64) -> bool {
        // ORDER: AcqRel, as in `settle`.
        self.sum.fetch_sub(size * BYTE, Ordering::AcqRel) & QUEUED != 0
    }

    /// So much less is left: the last step of a credit, so that nobody finds nothing left before he can find why.
    pub(crate) fn note_freed(&self, size: u64) {
        // ORDER: Release, see `left`.
        self.left.fetch_sub(size, Ordering::Release);
    }

    /// What stays reserved for good, and is of no use to a lane of this cost: things that pools have made and that are not of
    /// the kinds, or more, than it needs.
    pub(crate) fn of_no_use(&self, cost: &Cost, made: impl Fn(usize) -> u32) -> u64 {
        let of_shelf = |shelf: usize| {
            let needed: u32 = cost.things.iter().filter(|(of, _)| *of == shelf).map(|(_, count)| *count).sum();
            let (_, kept) = self.shelf(shelf);
            u64::from(kept.min(made(shelf)).saturating_sub(needed)) * unit(shelf)
        };
        (0..SHELVES).map(of_shelf).sum()
    }

    /// Takes off the shelves what no pool has ever made: `made` says of a shelf how many things its pool has.
    pub(crate) fn trim(&self, made: impl Fn(usize) -> u32) {
        for (number, shelf) in self.shelves.iter().enumerate() {
            let mut word = shelf.0.load(Ordering::Relaxed);
            loop {
                let (out, kept) = parts(word);
                let less = out.max(kept.min(made(number)));
                if less == kept {
                    break;
                }
                // ORDER: AcqRel: invariant 2.
                match shelf.0.compare_exchange_weak(word, word_of(out, less), Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => {
                        self.put_bytes(u64::from(kept - less) * unit(number));
                        break;
                    }
                    Err(now) => word = now,
                }
            }
        }
    }

    /// Whether nothing is reserved for a lane that lives, nor left by a dead one.
    pub(crate) fn is_settled(&self) -> bool {
        self.reserved() == self.idle()
    }

    /// What is kept for nobody yet.
    pub(crate) fn idle(&self) -> u64 {
        let idle = |shelf| {
            let (out, kept) = self.shelf(shelf);
            u64::from(kept - out) * unit(shelf)
        };
        (0..SHELVES).map(idle).sum()
    }

    /// Nothing is reserved, of nothing.
    pub(crate) fn clear(&self) {
        // ORDER: Relaxed: its owner is gone.
        for word in [&self.limit, &self.sum, &self.left].into_iter().chain(self.shelves.iter().map(|shelf| &shelf.0)) {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn take_bytes(&self, bytes: u64, way: Way) -> bool {
        let mut word = self.sum.load(Ordering::Relaxed);
        loop {
            let after = (word / BYTE).checked_add(bytes).filter(|after| *after <= self.limit());
            // Nothing more can be had where nothing more is asked for.
            let fits = bytes == 0 || after.is_some();
            if !fits || (way == Way::Free && word & QUEUED != 0) {
                return false;
            }
            // ORDER: AcqRel, as in `settle`.
            match self.sum.compare_exchange_weak(word, word + bytes * BYTE, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    fn put_bytes(&self, bytes: u64) {
        // ORDER: AcqRel, as in `settle`.
        self.sum.fetch_sub(bytes * BYTE, Ordering::AcqRel);
    }

    fn take_things(&self, shelf: usize, count: u32, way: Way) -> bool {
        if count == 0 {
            return true;
        }
        let word_of_shelf = &self.shelves[shelf].0;
        let mut word = word_of_shelf.load(Ordering::Relaxed);
        loop {
            let (out, kept) = parts(word);
            let Some(out) = out.checked_add(count) else { return false };
            let growth = u64::from(out.saturating_sub(kept)) * unit(shelf);
            if growth != 0 && !self.take_bytes(growth, way) {
                return false;
            }
            // ORDER: AcqRel: invariant 2.
            match word_of_shelf.compare_exchange_weak(
                word,
                word_of(out, kept.max(out)),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
            if growth != 0 {
                self.put_bytes(growth);
            }
        }
    }

    fn put_things(&self, things: &[(usize, u32)]) {
        for (shelf, count) in things {
            if *count != 0 {
                // What is out stands in the low half, which never has less than is taken off.
                self.shelves[*shelf].0.fetch_sub(u64::from(*count), Ordering::AcqRel);
            }
        }
    }
}

/// How many things are out, and how many are kept.
#[derive(Debug)]
struct Shelf(AtomicU64);

fn parts(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

fn word_of(out: u32, kept: u32) -> u64 {
    u64::from(out) | u64::from(kept) << 32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::cost::{BLOCKS, LANES, NODE, NODES};
    use super::*;

    fn cost(bytes: u64, things: u32) -> Cost {
        Cost { bytes, things: [(NODES, things), (LANES, 0), (BLOCKS, 0), (BLOCKS, 0)] }
    }

    fn ledger(limit: u64) -> Ledger {
        let ledger = Ledger::default();
        ledger.begin(limit);
        ledger
    }

    #[test]
    fn budgets_come_back_and_what_pools_keep_does_not() {
        let ledger = ledger(1000);
        assert!(ledger.try_take(&cost(500, 5), Way::Free));
        assert_eq!(ledger.reserved(), 500 + 5 * NODE);
        assert!(!ledger.try_take(&cost(500, 0), Way::Free));
        assert!(!ledger.give(&cost(500, 5)));
        assert_eq!((ledger.reserved(), ledger.is_settled()), (5 * NODE, true));
        // What is on the shelf is there for the next.
        assert!(ledger.try_take(&cost(1000 - 5 * NODE, 5), Way::Free));
        assert_eq!(ledger.reserved(), 1000);
    }

    #[test]
    fn what_no_pool_has_made_is_taken_off_its_shelf() {
        let ledger = ledger(1000);
        assert!(ledger.try_take(&cost(0, 10), Way::Free));
        ledger.trim(|_| 0);
        assert_eq!(ledger.shelf(NODES), (10, 10), "all of it is out");
        assert!(!ledger.give(&cost(0, 10)));
        ledger.trim(|_| 4);
        assert_eq!((ledger.shelf(NODES), ledger.reserved()), ((0, 4), 4 * NODE));
    }

    #[test]
    fn what_pools_have_made_is_of_use_only_to_who_needs_it() {
        let ledger = ledger(1000);
        assert!(ledger.try_take(&cost(0, 10), Way::Free));
        assert!(!ledger.give(&cost(0, 10)));
        assert_eq!(ledger.of_no_use(&cost(0, 4), |_| 8), 4 * NODE);
        assert_eq!(ledger.of_no_use(&cost(0, 20), |_| 8), 0);
        assert_eq!(ledger.of_no_use(&cost(0, 0), |_| 0), 0, "what no pool has made is nobody's");
    }

    #[test]
    fn nothing_is_taken_where_all_of_it_cannot_be() {
        let ledger = ledger(1000);
        assert!(!ledger.try_take(&cost(900, 5), Way::Free));
        ledger.trim(|_| 0);
        assert_eq!((ledger.reserved(), ledger.shelf(NODES)), (0, (0, 0)));
    }

    #[test]
    fn while_somebody_waits_only_the_line_takes() {
        let ledger = ledger(1000);
        ledger.set_queued(true);
        assert!(!ledger.try_take(&cost(0, 0), Way::Free));
        assert!(ledger.try_take(&cost(10, 1), Way::InLine));
        assert!(ledger.give(&cost(10, 1)), "whoever gives looks after the line");
        ledger.set_queued(false);
        assert!(ledger.try_take(&cost(10, 1), Way::Free));
    }

    #[test]
    fn what_the_dead_leave_stays_reserved_until_it_is_freed() {
        let ledger = ledger(1000);
        assert!(ledger.try_take(&cost(500, 0), Way::Free));
        assert!(!ledger.settle(&cost(500, 0), 200));
        assert_eq!((ledger.reserved(), ledger.left(), ledger.is_settled()), (200, 200, false));
        assert!(!ledger.try_take(&cost(900, 0), Way::Free));
        assert!(!ledger.credit(150));
        ledger.note_freed(150);
        assert!(ledger.try_take(&cost(900, 0), Way::Free));
        assert!(!ledger.credit(50));
        ledger.note_freed(50);
        assert_eq!((ledger.reserved(), ledger.left()), (900, 0));
        // One that went far past its budget in its last poll, and left all of that.
        assert!(!ledger.settle(&cost(900, 0), 5000));
        assert_eq!(ledger.reserved(), 5000);
        assert!(!ledger.try_take(&cost(1, 0), Way::Free));
        assert!(!ledger.credit(5000));
        ledger.note_freed(5000);
        assert_eq!((ledger.reserved(), ledger.is_settled()), (0, true));
    }
}
