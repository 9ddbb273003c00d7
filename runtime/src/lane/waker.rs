//! Wakers without counts: a slot's address and a static table, so that clone and drop are free.
//!
//! A waker that outlives its lane wakes the slot's next tenant at most once a call, which every future must allow, or
//! nobody: slots are never unmapped (invariant 1 of `slot.rs`), so looking is always sound.

use std::ptr;
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

fn clone(slot: *const ()) -> RawWaker {
    raw(slot)
}

fn wake(slot: *const ()) {
    // SAFETY: only `waker` makes wakers with this table, from a `SlotRef`.
    let slot: SlotRef = unsafe { &*slot.cast::<Slot>() };
    sched::wake(slot);
}

fn forget(_: *const ()) {}
