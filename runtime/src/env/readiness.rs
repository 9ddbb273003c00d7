//! What is known of a descriptor's readiness, and who waits for it.
//!
//! Owns: the readiness word and the two waiter slots of a descriptor. Knows nothing of sockets, tables or owners.
//!
//! # The word
//!
//! | bits | field | meaning |
//! | --- | --- | --- |
//! | 0..5 | [`Ready`] | what may be tried |
//! | 5 | dead | the descriptor is closed |
//! | 32..64 | tick | how many edges came so far, modulo 2^32 |
//!
//! # Invariants
//! 1. Dead is final: no bit changes after it.
//! 2. Readiness is cleared only under the tick under which it was seen: an edge that came since stays.
//! 3. A waiter looks at the word again after it has parked, and an edge looks into the slot after it has changed the
//!    word. The slot's mutex orders the two, so one of them sees the other: no wake-up is lost.
//! 4. No waker is cloned, woken or dropped while a slot is locked.

use std::fmt;
use std::io;
use std::ops::BitOr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::Id;
use crate::lane::waker::keep;

/// What may be tried on a descriptor, as a set. All of it is a hint: the attempt tells the truth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    /// Nothing.
    pub const NONE: Ready = Ready(0);
    /// Reading or accepting may succeed.
    pub const READABLE: Ready = Ready(1);
    /// Writing may succeed.
    pub const WRITABLE: Ready = Ready(1 << 1);
    /// The peer will send no more.
    pub const READ_CLOSED: Ready = Ready(1 << 2);
    /// The peer will take no more.
    pub const WRITE_CLOSED: Ready = Ready(1 << 3);
    /// There is an error to be fetched. Told along with `READABLE` and `WRITABLE`, since it takes an attempt to fetch it.
    pub const ERROR: Ready = Ready(1 << 4);

    /// Whether any of `other` is in this set.
    pub const fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Ready {
    type Output = Ready;

    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Ready::READABLE, "readable"),
            (Ready::WRITABLE, "writable"),
            (Ready::READ_CLOSED, "read-closed"),
            (Ready::WRITE_CLOSED, "write-closed"),
            (Ready::ERROR, "error"),
        ];
        f.debug_set().entries(names.iter().filter(|(bit, _)| self.intersects(*bit)).map(|(_, name)| name)).finish()
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    /// What makes an attempt in this direction worth while.
    pub(crate) fn interest(self) -> Ready {
        match self {
            Direction::Read => Ready::READABLE | Ready::READ_CLOSED,
            Direction::Write => Ready::WRITABLE | Ready::WRITE_CLOSED,
        }
    }

    /// What a short transfer disproves.
    pub(crate) fn open(self) -> Ready {
        match self {
            Direction::Read => Ready::READABLE,
            Direction::Write => Ready::WRITABLE,
        }
    }
}

const DEAD: u64 = 1 << 5;
const TICK: u64 = 1 << 32;

/// One look at the word.
#[derive(Clone, Copy)]
pub(crate) struct Seen(u64);

impl Seen {
    pub(crate) fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }

    pub(crate) fn ready(self) -> Ready {
        Ready(self.0 as u8 & 0x1f)
    }

    fn tick(self) -> u64 {
        self.0 / TICK
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dead = if self.is_dead() { " dead" } else { "" };
        write!(f, "{:?} tick {}{dead}", self.ready(), self.tick())
    }
}

/// The readiness word of one descriptor.
pub(crate) struct Readiness(AtomicU64);

impl Readiness {
    pub(crate) fn new(ready: Ready) -> Readiness {
        Readiness(AtomicU64::new(u64::from(ready.0)))
    }

    pub(crate) fn load(&self) -> Seen {
        // ORDER: Acquire pairs with the Release in `add` and `kill`: who sees readiness sees what its source (which may
        // be another thread's memory, see `Registrar::post`) did before it told of it.
        Seen(self.0.load(Ordering::Acquire))
    }

    /// An edge came: adds `ready` under a new tick. Says whether anybody is left to be told.
    #[must_use]
    pub(crate) fn add(&self, ready: Ready) -> bool {
        // ORDER: Release as told in `load`. The slots are looked at afterwards, which their mutex orders (invariant 3).
        self.0
            .try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & DEAD == 0).then(|| word.wrapping_add(TICK) | u64::from(ready.0))
            })
            .is_ok()
    }

    /// An attempt showed that `gone`, seen in `seen`, does not hold any more. Nothing is cleared if an edge came since.
    pub(crate) fn clear(&self, seen: Seen, gone: Ready) {
        // ORDER: AcqRel only to stay in one order with `add`; a failure needs no more than the next `load` gives.
        // Not to have cleared is no error: then there is something new to be tried.
        let _newer = self.0.try_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & DEAD == 0 && Seen(word).tick() == seen.tick()).then_some(word & !u64::from(gone.0))
        });
    }

    /// Closes the descriptor for good. Says whether this call did.
    #[must_use]
    pub(crate) fn kill(&self) -> bool {
        // ORDER: AcqRel: of several who close, the one that wins goes on to release; Release as told in `load`.
        self.0.fetch_or(DEAD, Ordering::AcqRel) & DEAD == 0
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

/// Somebody else waits on this direction of the descriptor (or, on rebinding, on any).
///
/// Nothing was read, written or changed. Inside an [`io::Error`] of kind `ResourceBusy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("somebody else is waiting on this direction of the descriptor")
    }
}

impl std::error::Error for Busy {}

impl From<Busy> for io::Error {
    fn from(busy: Busy) -> io::Error {
        io::Error::new(io::ErrorKind::ResourceBusy, busy)
    }
}

/// Who waits, told apart by a number of its own rather than by its waker: one future may come with a new waker each
/// time, and two may come with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId {
    /// The id by which it came to the descriptor.
    pub(crate) by: Id,
    /// Its own among all who ever waited for the same thing.
    pub(crate) number: u64,
}

/// The place for the one who waits on one direction.
#[derive(Default)]
pub(crate) struct WaiterSlot(Mutex<Option<(WaiterId, Waker)>>);

impl WaiterSlot {
    /// Parks `waiter`, and gives the waker with which it had parked before.
    ///
    /// # Errors
    ///
    /// Somebody else is parked here; the slot is as it was.
    pub(crate) fn park(&self, waiter: WaiterId, waker: &Waker) -> Result<Option<Waker>, Busy> {
        let new = Some((waiter, keep(waker)));
        let mut slot = self.0.lock();
        if slot.as_ref().is_some_and(|(present, _)| *present != waiter) {
            // `new` was declared before the guard, so it is dropped after it (invariant 4).
            return Err(Busy);
        }
        let old = std::mem::replace(&mut *slot, new);
        drop(slot);
        Ok(old.map(|(_, waker)| waker))
    }

    /// Takes `waiter` out, if it is the one that is parked here.
    pub(crate) fn leave(&self, waiter: WaiterId) {
        let left = self.0.lock().take_if(|(present, _)| *present == waiter);
        // In a statement of its own: the lock's guard is gone by now (invariant 4).
        drop(left);
    }

    /// Takes out whoever is parked here, to be woken once no lock is held.
    pub(crate) fn take(&self) -> Option<Waker> {
        self.0.lock().take().map(|(_, waker)| waker)
    }

    /// As `take`, if whoever is parked came by this id.
    pub(crate) fn take_of(&self, id: Id) -> Option<Waker> {
        self.0.lock().take_if(|(present, _)| present.by == id).map(|(_, waker)| waker)
    }

    pub(crate) fn is_occupied(&self) -> bool {
        self.0.lock().is_some()
    }
}

impl fmt::Debug for WaiterSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_occupied() { "occupied" } else { "free" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_edge_is_not_cleared() {
        let readiness = Readiness::new(Ready::READABLE);
        let seen = readiness.load();
        assert!(readiness.add(Ready::READABLE));
        readiness.clear(seen, Direction::Read.interest());
        assert!(readiness.load().ready().intersects(Ready::READABLE));
        readiness.clear(readiness.load(), Direction::Read.interest());
        assert_eq!(readiness.load().ready(), Ready::NONE);
    }

    #[test]
    fn clearing_one_direction_leaves_the_other() {
        let readiness = Readiness::new(Ready::READABLE | Ready::WRITABLE | Ready::READ_CLOSED);
        readiness.clear(readiness.load(), Direction::Read.open());
        assert_eq!(readiness.load().ready(), Ready::WRITABLE | Ready::READ_CLOSED);
    }

    #[test]
    fn the_tick_wraps_into_nothing_else() {
        let readiness = Readiness(AtomicU64::new(u64::from(u32::MAX) * TICK));
        assert!(readiness.add(Ready::WRITABLE));
        assert_eq!(readiness.load().0, u64::from(Ready::WRITABLE.0));
    }

    #[test]
    fn the_dead_change_no_more() {
        let readiness = Readiness::new(Ready::WRITABLE);
        assert!(readiness.kill());
        let dead = readiness.load();
        assert!(!readiness.kill());
        assert!(!readiness.add(Ready::READABLE));
        readiness.clear(dead, Ready::WRITABLE);
        assert_eq!(readiness.load().0, dead.0);
    }

    #[test]
    fn a_second_waiter_is_refused_and_the_first_stays() {
        let by: Id = "7.1@2".parse().unwrap();
        let (first, second) = (WaiterId { by, number: 1 }, WaiterId { by, number: 2 });
        let slot = WaiterSlot::default();
        assert!(slot.park(first, Waker::noop()).unwrap().is_none());
        assert_eq!(slot.park(second, Waker::noop()).unwrap_err(), Busy);
        slot.leave(second);
        assert!(slot.is_occupied());
        slot.leave(first);
        assert!(slot.park(second, Waker::noop()).is_ok());
    }

    #[test]
    fn whoever_came_by_another_id_stays() {
        let [mine, other]: [Id; 2] = ["7.1@2", "8.1@2"].map(|id| id.parse().unwrap());
        let slot = WaiterSlot::default();
        slot.park(WaiterId { by: mine, number: 1 }, Waker::noop()).unwrap();
        assert!(slot.take_of(other).is_none() && slot.is_occupied());
        assert!(slot.take_of(mine).is_some() && !slot.is_occupied());
    }
}
