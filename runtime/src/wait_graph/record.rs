//! What is known of a lane's wait: one cache line a lane, beside its slot, touched by lanes that wait for others and by
//! who looks at them.
//!
//! Owns: the records of all slots, and what is written in them. Knows nothing of searches.
//!
//! # Invariants
//! 1. Only the worker that has the lane writes its record, and but for two of the marks only while the lane's
//!    [`WaitWord`](super::word::WaitWord) is even, as it is while the lane is polled.
//! 2. So what was read between two looks at the word that found the same wait belongs to that wait.

use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Awaits;
use super::lock::{Face, Obstacle, Way};
use super::note::UNKNOWN;
use crate::id::Id;
use crate::lane::resources::LaneWait;
use crate::region::Region;
use crate::slot::{self, AtomicPlace, AtomicStatic, SlotRef, slot_of};
use crate::wait_list::Ticket;

/// In place of the number of the one that is under way: several are, which are listed with the lane.
const SEVERAL: u64 = u64::MAX;

/// One a slot, by its key.
static RECORDS: Region<Record> = Region::new();

/// The present wait of a slot's tenant. All zeroes say nothing.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Record {
    /// The wait's number, see [`Number`](super::note::Number).
    number: AtomicU64,
    /// The lane that is waited for.
    of: AtomicU64,
    at: AtomicPlace,
    /// The lock that is waited for, where it is one.
    lock: AtomicStatic<Face>,
    /// The lane's seat in the line for it.
    seat: AtomicU64,
    /// Which of the lane's waits are under way: see [`Record::begins`].
    under_way: AtomicU64,
    seat_at: AtomicU32,
    /// What is awaited of it, marks, and in the high half [`Wait::handed_out`].
    info: AtomicU64,
}

/// What a lane waits for in one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) awaits: Awaits,
    /// The lane that is waited for, if it is known.
    pub(crate) of: Option<Id>,
    /// The lock, and the seat in its line, which knows whom it is that is waited for.
    pub(crate) lock: Option<(&'static Face, Ticket)>,
    /// Where the operation was called, where that is known.
    pub(crate) at: Option<&'static Location<'static>>,
    /// What [`handed_out_by`](super::note::handed_out_by) that lane was before it got what it is to answer by. Of a message
    /// that waits for room, 0 where that holds no port but that of its own question, and else [`UNKNOWN`].
    pub(crate) handed_out: u32,
    /// The operation cannot end with an error.
    pub(crate) mute: bool,
}

impl Wait {
    /// Whether it is that of a message that may hold a port.
    #[inline]
    pub(crate) fn has_port(&self) -> bool {
        self.awaits == Awaits::Room && self.handed_out == UNKNOWN
    }

    /// For a lock's holder, whoever that is.
    pub(crate) fn for_lock(lock: &'static Face, at: &'static Location<'static>) -> Wait {
        Wait::in_line(Awaits::Lock, lock, Ticket { at: 0, number: 0 }, at)
    }

    /// For all who are in the way of a seat in a lock's line.
    pub(crate) fn in_line(awaits: Awaits, lock: &'static Face, seat: Ticket, at: &'static Location<'static>) -> Wait {
        Wait { awaits, of: None, lock: Some((lock, seat)), at: Some(at), handed_out: UNKNOWN, mute: false }
    }
}

const _: () = assert!(size_of::<Record>() == 64, "a record is one cache line");

const AWAITS: u64 = 0xFF;
/// Nothing but this can wake the lane's code.
pub(crate) const ALONE: u64 = 1 << 8;
/// The wait is published for the first time.
const FRESH: u64 = 1 << 9;
/// The wait cannot end with an error.
const MUTE: u64 = 1 << 10;
/// Somebody decides how the circle is to be broken.
pub(crate) const IN_HAND: u64 = 1 << 11;
const HANDED_OUT_SHIFT: u32 = 32;

#[inline]
fn code_of(awaits: Awaits) -> u64 {
    match awaits {
        Awaits::Answer => 1,
        Awaits::Room => 2,
        Awaits::End => 3,
        Awaits::Lock => 4,
        Awaits::Read => 5,
        Awaits::Write => 6,
        Awaits::Permits => 7,
    }
}

fn awaits_of(code: u64) -> Option<Awaits> {
    match code {
        1 => Some(Awaits::Answer),
        2 => Some(Awaits::Room),
        3 => Some(Awaits::End),
        4 => Some(Awaits::Lock),
        5 => Some(Awaits::Read),
        6 => Some(Awaits::Write),
        7 => Some(Awaits::Permits),
        _ => None,
    }
}

#[inline]
fn waits(lane: Id) -> bool {
    slot_of(lane).is_some_and(|slot| slot.waits.look().is_some())
}

#[cold]
fn reach(slot: SlotRef) -> Option<&'static Record> {
    RECORDS.reach(slot.key())
}

/// What a record said in one wait.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) lane: Id,
    pub(crate) slot: SlotRef,
    pub(crate) ticket: super::word::Ticket,
    pub(crate) awaits: Awaits,
    pub(crate) at: Option<&'static Location<'static>>,
    of: Option<Id>,
    lock: Option<(&'static Face, Ticket)>,
    info: u64,
}

impl Record {
    /// The record of a slot; `None` where there is no memory for it.
    #[inline]
    pub(crate) fn of(slot: SlotRef) -> Option<&'static Record> {
        match RECORDS.at(slot.key()) {
            Some(record) => Some(record),
            None => reach(slot),
        }
    }

    /// The slot that it is the record of.
    pub(crate) fn slot(&'static self) -> Option<SlotRef> {
        slot::at_key_of(RECORDS.index_of(self).into())
    }

    /// Writes what the lane that is polled is about to wait for, as wait of this number and as if it were alone; the number
    /// before, which is the same where it waits for that again.
    #[inline]
    pub(crate) fn write(&self, number: u64, fresh: bool, wait: Wait) -> u64 {
        // ORDER: Release, here and below: whoever reads what is written for this wait, looking for an earlier one, then
        // finds the word changed (invariant 2). Relaxed: our own.
        let before = self.number.load(Ordering::Relaxed);
        self.number.store(number, Ordering::Release);
        self.of.store(wait.of.map_or(0, Id::to_bits), Ordering::Release);
        if let Some((lock, seat)) = wait.lock {
            self.lock.store(lock, Ordering::Release);
            self.seat.store(seat.number, Ordering::Release);
            self.seat_at.store(seat.at, Ordering::Release);
        }
        match wait.at {
            Some(at) => self.at.store(at, Ordering::Release),
            None => self.at.clear(Ordering::Release),
        }
        let fresh = if fresh { FRESH } else { 0 };
        let mute = if wait.mute { MUTE } else { 0 };
        let handed_out = u64::from(wait.handed_out) << HANDED_OUT_SHIFT;
        self.info.store(code_of(wait.awaits) | ALONE | fresh | mute | handed_out, Ordering::Release);
        before
    }

    /// Whether somebody whom the lane waits for waits as well, for the worker of the lane, which has just begun to wait. It may
    /// say so of a lane of another node; who then follows the chain finds that there is none.
    #[inline(always)]
    pub(crate) fn leads_on(&self) -> bool {
        // ORDER: Relaxed, here and below: our own.
        let of = self.of.load(Ordering::Relaxed);
        if of == 0 {
            return self.leads_on_by_lock();
        }
        slot::at_key_of(of).is_some_and(|slot| slot.waits.look().is_some())
    }

    #[cold]
    fn leads_on_by_lock(&self) -> bool {
        let Some(lock) = self.lock.load(Ordering::Relaxed) else { return false };
        let mut leads_on = false;
        lock.in_the_way(self.seat_in_line(Ordering::Relaxed), &mut |obstacle| {
            leads_on = leads_on || obstacle.lane.is_some_and(waits);
        });
        leads_on
    }

    fn seat_in_line(&self, order: Ordering) -> Ticket {
        Ticket { at: self.seat_at.load(order), number: self.seat.load(order) }
    }

    /// Sets or takes back a mark, for the lane's worker.
    #[inline]
    pub(crate) fn mark(&self, mark: u64, set: bool) {
        // ORDER: Relaxed: our own. Release, as in `write`.
        let info = self.info.load(Ordering::Relaxed);
        self.info.store(if set { info | mark } else { info & !mark }, Ordering::Release);
    }

    /// None of them is.
    pub(crate) fn none_is_under_way(&self) {
        self.under_way.store(0, Ordering::Relaxed);
    }

    /// The lane is about to park for the first time in the wait of this number, which the record is about to be written for.
    /// Of the one wait that is under way, as a rule, the record knows all: its number stands in `under_way`. Where there are
    /// more of them, they go to a list, and this says so: false where the caller must see to that.
    #[inline]
    pub(crate) fn begins(&self, number: u64) -> bool {
        // ORDER: Relaxed, here and below: only the lane's worker touches it.
        let is_only = self.under_way.load(Ordering::Relaxed) == 0;
        if is_only {
            self.under_way.store(number, Ordering::Relaxed);
        }
        is_only
    }

    /// As [`Record::begins`], of a wait in which the lane has parked before.
    #[inline]
    pub(crate) fn goes_on(&self, number: u64) -> bool {
        matches!(self.under_way.load(Ordering::Relaxed), one if one == number || one == 0 || one == SEVERAL)
    }

    /// Several are under way: the one of which the record knows all, if there is such a one, as it was when it was parked in.
    pub(crate) fn several(&self) -> Option<(u64, LaneWait)> {
        let one = self.only();
        self.under_way.store(SEVERAL, Ordering::Relaxed);
        one
    }

    /// The one wait that is under way, where there is one and it is for another lane.
    pub(crate) fn only(&self) -> Option<(u64, LaneWait)> {
        let number = self.under_way.load(Ordering::Relaxed);
        if number != self.number() || number == 0 {
            return None;
        }
        let of = Id::from_bits(self.of.load(Ordering::Relaxed))?;
        let awaits = awaits_of(self.info.load(Ordering::Relaxed) & AWAITS)?;
        Some((number, LaneWait { of, awaits, at: self.at.load(Ordering::Relaxed) }))
    }

    /// The wait of this number is over: true where it may be one of several, which the caller must see to.
    #[inline]
    pub(crate) fn ends(&self, number: u64) -> bool {
        match self.under_way.load(Ordering::Relaxed) {
            one if one == number => {
                self.under_way.store(0, Ordering::Relaxed);
                false
            }
            SEVERAL => true,
            _ => false,
        }
    }

    /// The present wait's number, for the worker that has the lane.
    pub(crate) fn number(&self) -> u64 {
        // ORDER: Relaxed: written by this worker.
        self.number.load(Ordering::Relaxed)
    }
}

impl Seen {
    /// The wait that a lane is in now.
    pub(crate) fn of(lane: Id) -> Option<Seen> {
        let slot = slot_of(lane)?;
        let ticket = slot.waits.look()?;
        let record = RECORDS.at(lane.key())?;
        // ORDER: Acquire, here and below: see `write`.
        let info = record.info.load(Ordering::Acquire);
        let awaits = awaits_of(info & AWAITS)?;
        let at = record.at.load(Ordering::Acquire);
        let of = Id::from_bits(record.of.load(Ordering::Acquire));
        let lock = match of {
            None => record.lock.load(Ordering::Acquire).map(|lock| (lock, record.seat_in_line(Ordering::Acquire))),
            Some(_) => None,
        };
        let seen = Seen { lane, slot, ticket, awaits, of, at, lock, info };
        // The record is that of the slot's tenant, which may be another.
        (slot.waits.still(ticket) && slot.word.generation() == lane.generation().get()).then_some(seen)
    }

    /// Whether the lane waits still, for the same.
    pub(crate) fn is_still(&self) -> bool {
        self.slot.waits.still(self.ticket)
    }

    /// Tells of those for whom the lane waits, each of whom must do something before it goes on. With a lock of the runtime
    /// held, maybe: `tell` does no more than to look at atomic words and to note.
    pub(crate) fn in_the_way(&self, tell: &mut dyn FnMut(Obstacle)) {
        match self.lock {
            Some((lock, seat)) => lock.in_the_way(seat, tell),
            None => {
                let way = match self.awaits {
                    Awaits::Room | Awaits::End => Way::Himself,
                    _ => Way::Has { handed_out: (self.info >> HANDED_OUT_SHIFT) as u32, since: None },
                };
                tell(Obstacle { lane: self.of, way });
            }
        }
    }

    /// The lock that the lane waits for, to tell it from others.
    pub(crate) fn lock(&self) -> Option<&'static Face> {
        self.lock.map(|(lock, _)| lock)
    }

    /// Whether what the lane waits for is that of this seat in a lock's line.
    pub(crate) fn is_in_seat(&self, lock: &Face, seat: Ticket) -> bool {
        self.lock.is_some_and(|(mine, at)| std::ptr::eq(mine, lock) && at == seat)
    }

    /// Whether nothing but what is awaited can wake the lane's code. What is awaited of another node is not known here.
    pub(crate) fn is_alone(&self) -> bool {
        self.info & ALONE != 0 && self.of.is_none_or(|of| !of.namespace().is_peer())
    }

    /// Whether this was not said of the same wait before.
    pub(crate) fn is_fresh(&self) -> bool {
        self.info & FRESH != 0
    }

    /// Whether the wait can end with an error.
    pub(crate) fn takes_errors(&self) -> bool {
        self.info & MUTE == 0
    }

    /// Whether somebody decides how the circle that this is part of is to be broken.
    pub(crate) fn is_in_hand(&self) -> bool {
        self.info & IN_HAND != 0
    }
}
