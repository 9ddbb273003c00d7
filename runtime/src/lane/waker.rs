//! Wakers without counts: a slot's address and a static table, so that drop is free and clone all but free: it notes that
//! somebody whom the runtime does not know can wake the lane, for which see `wait_graph/note.rs`.
//!
//! A waker that outlives its lane wakes the slot's next tenant at most once a call, which every future must allow, or
//! nobody: slots are never unmapped (invariant 1 of `slot.rs`), so looking is always sound.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::Ordering;
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::sched;
use crate::slot::{Slot, SlotRef};

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, forget);

/// The waker of whoever lives in the slot.
pub(crate) fn waker(slot: SlotRef) -> Waker {
    // SAFETY: `TABLE` keeps the contract of `RawWaker`: the data is a `SlotRef`, valid for ever and shareable between
    // threads, and the functions only read atomics of it.
    unsafe { Waker::from_raw(raw(ptr::from_ref(slot).cast())) }
}

fn raw(slot: *const ()) -> RawWaker {
    RawWaker::new(slot, &TABLE)
}

/// Whether a waker is that of the slot's lane.
#[inline]
pub(crate) fn is_of(other: &Waker, slot: SlotRef) -> bool {
    // Its destructor does nothing.
    ManuallyDrop::new(waker(slot)).will_wake(other)
}

/// The slot of the lane whose waker it is, if it is one's.
#[inline]
pub(crate) fn slot_of_waker(waker: &Waker) -> Option<SlotRef> {
    // SAFETY: only `waker` makes wakers with this table, from a `SlotRef`.
    ptr::eq(waker.vtable(), &raw const TABLE).then(|| unsafe { &*waker.data().cast::<Slot>() })
}

/// A copy of a waker for the runtime's own use: one of a lane's is not counted as lent.
#[inline]
pub(crate) fn keep(other: &Waker) -> Waker {
    if is_a_lanes(other) {
        // SAFETY: as in `waker`: only that makes wakers with this table.
        return unsafe { Waker::from_raw(raw(other.data())) };
    }
    other.clone()
}

/// Whether it is a lane's: then waking it is no code of others, and dropping it does nothing.
#[inline]
pub(crate) fn is_a_lanes(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &raw const TABLE)
}

/// Wakes a lane; the waker comes back where it is none's.
#[inline]
pub(crate) fn wake_lane(waker: Waker) -> Option<Waker> {
    if !is_a_lanes(&waker) {
        return Some(waker);
    }
    wake(ManuallyDrop::new(waker).data());
    None
}

fn clone(slot: *const ()) -> RawWaker {
    // SAFETY: as in `wake`.
    let of: SlotRef = unsafe { &*slot.cast::<Slot>() };
    // ORDER: Relaxed, here and below: read at the end of the turn by the thread that polls, where copies are made first.
    if !of.lent.load(Ordering::Relaxed) {
        of.lent.store(true, Ordering::Relaxed);
    }
    raw(slot)
}

fn wake(slot: *const ()) {
    // SAFETY: only `waker` makes wakers with this table, from a `SlotRef`.
    let slot: SlotRef = unsafe { &*slot.cast::<Slot>() };
    sched::wake(slot);
}

fn forget(_: *const ()) {}
