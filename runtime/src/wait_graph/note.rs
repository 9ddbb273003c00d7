//! What a lane notes while it is polled, and what its worker makes of that when the turn is over.
//!
//! Owns: [`Notes`], the worker's part in the wait graph. Knows nothing of chains.
//!
//! A lane that parks in an operation which waits for another lane notes that; one that parks in anything else that may wake
//! its code notes that much. When the turn is over, and the lane was not woken meanwhile, its worker writes the record. The
//! wait counts as *alone* where nothing else can have the lane's code go on:
//!
//! * one such operation was polled in the turn and not given up, by the lane's own waker and not by that of a set of
//!   futures within it;
//! * the lane does not wait for mail, a timer, a socket or a role, or for a port that is none of these operations;
//! * nobody has a copy of the lane's waker but what the runtime itself has made one for ([`Slot::lent`]): a future that the
//!   runtime does not know cannot wake a lane without one.
//!
//! [`Slot::lent`]: crate::slot::Slot

use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::task::Context;

use super::record::{ALONE, Record, Wait};
use super::{Deadlock, claim};
use crate::context;
use crate::id::Id;
use crate::lane::own::{HAS_SENT_AHEAD, HAS_WAITED, Own};
use crate::lane::resources::LaneWait;
use crate::lane::waker;
use crate::sched::worker::{Local, PARKED};
use crate::slot::{Slot, SlotRef, Table, slot_of};

/// No lane has handed out so much, or one has and is not known any more.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// How many times a lane has handed something out in which a port could be. It stays at [`UNKNOWN`] when it gets there.
pub(crate) fn handed_out_by(lane: Id) -> u32 {
    handed_out_in(slot_of(lane))
}

/// As [`handed_out_by`], of the lane in a slot.
#[inline]
pub(crate) fn handed_out_in(slot: Option<SlotRef>) -> u32 {
    // ORDER: Acquire: the claim that reads this has seen the lane's present wait, which publishes it; whoever is about to
    // ask reads it before its question is pushed.
    slot.map_or(UNKNOWN, |slot| slot.handed_out.load(Ordering::Acquire))
}

/// The same of the lane that runs here.
#[inline]
pub(crate) fn handed_out_by_this(slot: SlotRef) -> u32 {
    // ORDER: Relaxed: written by this worker.
    slot.handed_out.load(Ordering::Relaxed)
}

/// The current lane hands something out by the runtime that may hold the port of a question: from now on nobody can say
/// any more that what was asked of it lies with it.
#[inline]
pub(crate) fn hands_out<T: ?Sized>() {
    // What has no destructor holds no port.
    if std::mem::needs_drop::<T>() {
        hands_out_something();
    }
}

/// The current lane has a closure make what it hands out, an `R`.
#[inline]
pub(crate) fn hands_out_of<F, R>(_: &F) {
    if may_hand_out::<F, R>() {
        hands_out_something();
    }
}

/// Whether there may be a port in an `R` that such a closure makes, since it could come by one: by what it owns, or by what it
/// borrows.
#[inline(always)]
pub(crate) const fn may_hand_out<F, R>() -> bool {
    let borrows = size_of::<F>() >= size_of::<&()>() && std::mem::needs_drop::<R>();
    borrows || std::mem::needs_drop::<F>()
}

#[inline]
pub(crate) fn hands_out_something() {
    // In a borrow, as in `park`: the slot is not another's meanwhile.
    context::with_current(|_, slot, _| count(slot));
}

/// The lane that runs here, in this slot, hands something out.
#[inline]
pub(crate) fn count(slot: SlotRef) {
    // ORDER: Relaxed, Release: only the lane's own worker writes it; see `handed_out_by`.
    let before = slot.handed_out.load(Ordering::Relaxed);
    slot.handed_out.store(before.saturating_add(1), Ordering::Release);
}

/// The current lane makes a send at this place.
#[inline]
pub(crate) fn sends(to: Id, at: &'static Location<'static>) {
    context::with_local(|local| {
        if let Some(local) = local {
            local.notes.sending.set(Some((to, at)));
        }
    });
}

/// Where the current lane has made the send to a lane, if that was its last.
pub(crate) fn place_of_send(to: Id) -> Option<&'static Location<'static>> {
    let last = context::with_local(|local| local.and_then(|local| local.notes.sending.get()));
    last.and_then(|(lane, at)| (lane == to).then_some(at))
}

/// Which wait an operation is in: no two of a runtime have the same number. 0 before the first. Dropped, it gives the wait
/// up: a lane that does so in the poll in which it parked in it does not wait for that any more.
#[derive(Debug, Default)]
pub(crate) struct Number {
    number: u64,
    /// That of the lane which was the first to park in it.
    record: Option<&'static Record>,
}

impl Number {
    /// That of a wait which the current lane has parked in before.
    #[cold]
    pub(crate) fn again(number: u64) -> Number {
        let record = context::with_local(|local| local.and_then(Local::current).and_then(Record::of));
        Number { number, record: record.filter(|_| number != 0) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The table of the lane that was the first to park in it; `None` where nobody has.
    pub(crate) fn table(&self) -> Option<&'static Table> {
        self.record.and_then(Record::slot).and_then(Slot::table)
    }
}

impl Drop for Number {
    #[inline]
    fn drop(&mut self) {
        let Some(record) = self.record else { return };
        // In another lane, or outside of lanes, where its future has gone there: then the number is looked at and, at worst,
        // the list of what is under way is not true any more.
        if record.ends(self.number) {
            one_of_several_ends(record, self.number);
        }
        context::with_local(|local| {
            if let Some(local) = local
                && local.notes.parked.get().is_some_and(|record| record.number() == self.number)
            {
                local.notes.parked.set(None);
            }
        });
    }
}

/// Of several waits that are under way this one is over.
#[cold]
fn one_of_several_ends(record: &Record, number: u64) {
    context::with_current(|_, slot, own| {
        let is_ours = Record::of(slot).is_some_and(|ours| std::ptr::eq(ours, record));
        let Some(more) = own.more.as_mut().filter(|_| is_ours) else { return };
        more.pending.remove(&number);
        if more.pending.is_empty() {
            record.none_is_under_way();
        }
    });
}

/// This wait begins while others are under way: all are listed with the lane.
#[cold]
fn one_of_several_begins(own: &mut Own, record: &Record, number: u64, this: Option<LaneWait>) {
    let pending = &mut own.more().pending;
    pending.extend(record.several());
    pending.extend(this.map(|this| (number, this)));
}

/// Which waits of the current lane for other lanes are under way.
pub(crate) fn pending(slot: SlotRef, own: &Own) -> Vec<LaneWait> {
    if !own.has(HAS_WAITED) {
        return Vec::new();
    }
    let only = Record::of(slot).and_then(Record::only).map(|(_, pending)| pending);
    only.into_iter().chain(own.more.iter().flat_map(|more| more.pending.values().copied())).collect()
}

/// What the lane that has its turn has noted, beside what stands in its record.
#[derive(Debug)]
pub(crate) struct Notes {
    /// The lane's record, where it parks in a wait.
    parked: Cell<Option<&'static Record>>,
    /// The turn in which something was noted that makes the wait one of several.
    mixed_in: Cell<u64>,
    /// The lane's wait of before this turn is to end with an error, which lies with the lane.
    told: Cell<bool>,
    next_number: Cell<u64>,
    /// Where the lane has last made a send, and to whom: a send has no room for that itself.
    sending: Cell<Option<(Id, &'static Location<'static>)>>,
}

impl Notes {
    pub(crate) fn of_worker(index: usize) -> Notes {
        Notes {
            parked: Cell::new(None),
            mixed_in: Cell::new(u64::MAX),
            told: Cell::new(false),
            next_number: Cell::new((index as u64) << 48 | 1),
            sending: Cell::new(None),
        }
    }
}

/// The current lane is about to park in an operation that waits for another, or does so again. The error with which the
/// operation is to end instead, where there is one.
#[inline]
pub(crate) fn park(cx: &Context<'_>, number: &mut Number, wait: Wait) -> Option<Deadlock> {
    context::with_local(
        #[inline(always)]
        |local| {
            let local = local?;
            let notes = &local.notes;
            let mut mark = local.pulse.hold.borrow();
            let (slot, own) = context::current_within(&local.pulse.hold, &mut mark)?;
            let fresh = number.record.is_none();
            if !fresh
                && notes.told.get()
                && let Some(deadlock) = take_told(own, number.number)
            {
                return Some(deadlock);
            }
            let record = Record::of(slot)?;
            note_wait(local, slot, own, record, number, wait);
            if !waker::is_of(cx.waker(), slot) {
                mix(local);
            }
            None
        },
    )
}

/// Notes what the current lane is about to wait for.
#[inline]
fn note_wait(local: &Local, slot: SlotRef, own: &mut Own, record: &'static Record, number: &mut Number, wait: Wait) {
    if number.record.is_none() {
        return note_first_wait(local, slot, own, record, number, wait);
    }
    mind_first_and_ahead(slot, own, record, number.number);
    if !record.goes_on(number.number) {
        one_of_several_begins(own, record, number.number, None);
    }
    write(local, own, record, number.number, false, wait);
}

/// As `note_wait`, in an operation that has not parked before.
#[inline(always)]
pub(crate) fn note_first_wait(
    local: &Local,
    slot: SlotRef,
    own: &mut Own,
    record: &'static Record,
    number: &mut Number,
    wait: Wait,
) {
    let fresh = local.notes.next_number.get();
    local.notes.next_number.set(fresh + 1);
    number.number = fresh;
    number.record = Some(record);
    mind_first_and_ahead(slot, own, record, fresh);
    if !record.begins(fresh) {
        let this = wait.of.map(|of| LaneWait { of, awaits: wait.awaits, at: wait.at });
        one_of_several_begins(own, record, fresh, this);
    }
    write(local, own, record, fresh, true, wait);
}

#[inline(always)]
fn mind_first_and_ahead(slot: SlotRef, own: &mut Own, record: &Record, number: u64) {
    if own.flags & (HAS_SENT_AHEAD | HAS_WAITED) != HAS_WAITED {
        waits_first_or_has_sent_ahead(slot, own, record, number);
    }
}

#[inline(always)]
fn write(local: &Local, own: &mut Own, record: &'static Record, number: u64, fresh: bool, wait: Wait) {
    if wait.has_port() {
        own.flags |= HAS_SENT_AHEAD;
    }
    let before = record.write(number, fresh, wait);
    let parked_before = local.notes.parked.replace(Some(record)).is_some();
    if parked_before && before != number {
        mix(local);
    }
    local.note_news(PARKED);
}

/// The lane that is about to park has not done so in its life, or has left a message ahead that waits for room. Such a message
/// is in the lane's hands while the lane waits for just that. One that the lane leaves there for another wait may be let in,
/// with a port, before the lane knows.
#[cold]
fn waits_first_or_has_sent_ahead(slot: SlotRef, own: &mut Own, record: &Record, number: u64) {
    if own.has(HAS_SENT_AHEAD) && record.number() != number {
        count(slot);
        own.flags &= !HAS_SENT_AHEAD;
    }
    if !own.has(HAS_WAITED) {
        record.none_is_under_way();
        own.flags |= HAS_WAITED;
    }
}

/// The current lane knows what came of a message that waited for room, in the wait of this number.
#[cold]
pub(crate) fn comes_back(number: u64) {
    context::with_current(|_, slot, own| {
        if own.has(HAS_SENT_AHEAD) && Record::of(slot).is_some_and(|record| record.number() == number) {
            own.flags &= !HAS_SENT_AHEAD;
        }
    });
}

#[cold]
fn take_told(own: &mut Own, number: u64) -> Option<Deadlock> {
    own.more.as_mut()?.told.take_if(|(of, _)| *of == number).map(|(_, deadlock)| deadlock)
}

/// As [`park`], in an operation that others than those whom it waits for may end: it is shown, and nothing is claimed of it.
pub(crate) fn park_among_others(cx: &Context<'_>, number: &mut Number, wait: Wait) {
    // Nobody is told of such a wait.
    let _: Option<Deadlock> = park(cx, number, wait);
    parks_otherwise();
}

/// The current lane parks in something else that may have its code go on.
#[inline]
pub(crate) fn parks_otherwise() {
    context::with_local(|local| {
        if let Some(local) = local {
            mix(local);
        }
    });
}

#[inline]
fn mix(local: &Local) {
    local.notes.mixed_in.set(local.turn.number());
}

/// The worker has taken a lane that is in a wait from its queue: the wait is over, or about to be polled again.
#[inline]
pub(crate) fn get_up(local: &Local, slot: SlotRef) {
    if slot.waits.end() {
        local.notes.told.set(true);
        local.note_news(PARKED);
    }
}

/// The poll is over, and all that were to be woken in it are: lets others see what the lane waits for, and looks whether it
/// waits for itself. `goes_on` is whether it waits for mail as well; `None` where it has ended.
pub(crate) fn settle_down(local: &Local, slot: SlotRef, goes_on: Option<bool>) {
    let notes = &local.notes;
    if notes.told.get() {
        drop_told(local, slot, goes_on.is_some());
    }
    if goes_on == Some(false) && settles_alone(local, slot) {
        return;
    }
    let Some(record) = notes.parked.take() else { return };
    if goes_on.is_some() && !slot.word.is_scheduled() {
        record.mark(ALONE, false);
        slot.waits.begin();
    }
}

/// The short way of [`settle_down`], for a lane that goes on and waits for no mail: false, and nothing was done, where it waits
/// for nothing, or for several things, was woken meanwhile, or was told of a wait.
#[inline(always)]
pub(crate) fn settles_alone(local: &Local, slot: SlotRef) -> bool {
    let notes = &local.notes;
    let Some(record) = notes.parked.get() else { return false };
    // ORDER: Relaxed: set by copies that were made in this poll, or so long ago that it is known here.
    let is_mixed = notes.mixed_in.get() == local.turn.number() || slot.lent.load(Ordering::Relaxed);
    if is_mixed || notes.told.get() || slot.word.is_scheduled() {
        return false;
    }
    notes.parked.set(None);
    local.clear_news();
    slot.waits.begin();
    if record.leads_on() {
        look_for_circle(local, slot, record);
    }
    true
}

#[cold]
fn look_for_circle(local: &Local, slot: SlotRef, record: &'static Record) {
    claim::look_for_circle(local, slot, record);
    // Whoever chooses a victim is code of others, and may have brought some.
    local.tell_others();
}

/// The wait that was to end with an error ended otherwise, or is about to.
#[cold]
fn drop_told(local: &Local, slot: SlotRef, goes_on: bool) {
    local.notes.told.set(false);
    if !goes_on {
        return;
    }
    let told = context::with_own(local, slot, |own| own.more.as_mut().and_then(|more| more.told.take()));
    drop(told);
}
