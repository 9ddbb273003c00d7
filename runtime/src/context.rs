//! Where the running code is: on which worker, in which lane, under which runtime.
//!
//! Owns: the two thread-locals of the crate. They are `const`-initialised and the one on the hot path has no
//! destructor, so that they work on threads that are ending, too.
//!
//! # Invariants
//! 1. `LOCAL` points to a `Local` on the stack of this thread's worker loop, and `HOLD` to that one's hold, from
//!    `enter_worker` to the end of its guard, and they are null otherwise.
//! 2. `running` of a `Local` is set only between `transition_to_running` and the end of that run, so that its thread
//!    holds `RUNNING` of that slot; the lane that its hold has as current is the same slot or none.
//! 3. While the lane of `running` may be taken away (`sched/hold.rs`, invariant 1), its owner's half is reached through
//!    [`with_current`] and [`with_current_of`] alone; by [`with_own`] only before and after that, and never after the
//!    lane was taken (invariant 3 there).

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use crate::id::Id;
use crate::lane::own::Own;
use crate::sched::Scheduler;
use crate::sched::hold::{Hold, Mark, Taken};
use crate::sched::worker::Local;
use crate::slot::SlotRef;

thread_local! {
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
    /// What the worker holds, which is looked at most often.
    static HOLD: Cell<*const Hold> = const { Cell::new(ptr::null()) };
    /// The runtimes that the thread has entered, the innermost last; `None` for one it left before an inner one.
    static ENTERED: RefCell<Vec<Option<Arc<Scheduler>>>> = const { RefCell::new(Vec::new()) };
}

/// Ends the time in which this thread is a worker.
pub(crate) struct WorkerGuard<'a>(PhantomData<&'a Local>);

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        HOLD.set(ptr::null());
        LOCAL.set(ptr::null());
    }
}

/// Makes this thread a worker until the guard is dropped.
pub(crate) fn enter_worker(local: &Local) -> WorkerGuard<'_> {
    assert!(LOCAL.get().is_null(), "a worker loop cannot run inside another");
    LOCAL.set(local);
    HOLD.set(&raw const local.pulse.hold);
    WorkerGuard(PhantomData)
}

/// The worker that this thread is, if it is one.
#[inline(always)]
pub(crate) fn with_local<R>(f: impl FnOnce(Option<&Local>) -> R) -> R {
    // SAFETY: invariant 1: not null means alive, and `f` runs within the time of the guard, since the guard lives on
    // the stack below us.
    f(unsafe { LOCAL.get().as_ref() })
}

/// Ends the time in which this thread is in a runtime. It stays on its thread.
pub(crate) struct EnterGuard {
    depth: usize,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        let left = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let left = entered.get_mut(self.depth).and_then(Option::take);
            while entered.last().is_some_and(Option::is_none) {
                entered.pop();
            }
            left
        });
        drop(left);
    }
}

/// Makes `scheduler` the one that spawns and sleeps on this thread go to, until the guard is dropped.
pub(crate) fn enter(scheduler: Arc<Scheduler>) -> EnterGuard {
    let depth = ENTERED.with(|entered| {
        let mut entered = entered.borrow_mut();
        entered.push(Some(scheduler));
        entered.len() - 1
    });
    EnterGuard { depth, of_this_thread: PhantomData }
}

/// The scheduler of this thread.
pub(crate) fn scheduler() -> Option<Arc<Scheduler>> {
    with_local(|local| local.map(|local| local.scheduler.clone()))
        .or_else(|| ENTERED.try_with(|entered| entered.borrow().last().cloned().flatten()).ok().flatten())
}

/// Runs `f` with the scheduler of this thread.
#[inline]
pub(crate) fn with_scheduler<R>(f: impl FnOnce(Option<&Arc<Scheduler>>) -> R) -> R {
    with_local(|local| match local {
        Some(local) => f(Some(&local.scheduler)),
        None => f(scheduler().as_ref()),
    })
}

/// The lane that this code runs in; `None` outside of lanes, and in destructors of a lane that is ending.
pub(crate) fn current_id() -> Option<Id> {
    with_local(|local| local.and_then(Local::current).and_then(|slot| slot.id()))
}

/// Runs `f` with what the slot of the current lane keeps for its owner; `None` outside of lanes. `f` calls no user code.
///
/// # Panics
/// Where it is called within itself.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Local, SlotRef, &mut Own) -> R) -> Option<R> {
    with_local(|local| {
        let local = local?;
        with_current_of(local, |current| current.map(|(slot, own)| f(local, slot, own)))
    })
}

/// As [`with_current`], in as few instructions as can be, for what takes but a few: a closure that is marked
/// `#[inline(always)]`, or the compiler may think otherwise.
#[inline(always)]
pub(crate) fn in_current<R>(f: impl FnOnce(&Local, SlotRef, &mut Own) -> R) -> Option<R> {
    // SAFETY: invariant 1: not null means alive, and nothing of it is kept beyond this call, below which the guard lives.
    let hold = unsafe { HOLD.get().as_ref() }?;
    let mut mark = hold.borrow();
    let slot = hold.current()?;
    // SAFETY: as above, and one is null where the other is.
    let local = unsafe { &*LOCAL.get() };
    Some(f(local, slot, own_within(&mut mark, slot)))
}

/// As [`with_current`], where the worker is known.
#[inline(always)]
pub(crate) fn with_current_of<R>(local: &Local, f: impl FnOnce(Option<(SlotRef, &mut Own)>) -> R) -> R {
    let hold = &local.pulse.hold;
    let mut mark = hold.borrow();
    f(current_within(hold, &mut mark))
}

/// The current lane and its owner's half, for the time of a mark of the `borrow` of this worker's `hold`.
#[inline(always)]
pub(crate) fn current_within<'a>(hold: &Hold, mark: &'a mut Mark<'_>) -> Option<(SlotRef, &'a mut Own)> {
    hold.current().map(|slot| (slot, own_within(mark, slot)))
}

/// Runs `f` with the owner's half of the lane that this worker runs, outside of the code of that lane. `f` calls no user
/// code.
///
/// # Panics
/// Where it is called within itself, or for a slot that this worker does not run.
#[inline(always)]
pub(crate) fn with_own<R>(local: &Local, slot: SlotRef, f: impl FnOnce(&mut Own) -> R) -> R {
    assert!(local.running.get().is_some_and(|running| ptr::eq(running, slot)), "not the lane that runs here");
    debug_assert!(!local.polls.get(), "the lane may be taken away");
    let mut mark = local.pulse.hold.borrow();
    f(own_within(&mut mark, slot))
}

/// The owner's half, for the time of a mark of `borrow`: of the slot of `running`, which was found to be current after the
/// mark if it may be taken away.
#[inline(always)]
fn own_within<'a>(_: &'a mut Mark<'_>, slot: SlotRef) -> &'a mut Own {
    // SAFETY: invariants 2 and 3: the slot is that of `running`, so we hold `RUNNING`, and where somebody could take the
    // lane, the mark keeps him from its owner's half; there is no second reference on this thread, as there is one such
    // mark at a time.
    unsafe { slot.own() }
}

/// Whether this thread is where that lane runs: its polls, its destructors at the end, and a poll that goes on though the
/// lane was taken away from it. One thread at a time answers true, and one after the other by the order of the lane's word.
#[inline]
pub(crate) fn runs(lane: Id) -> bool {
    // Invariant 2: `running` is set until the end of the run; a slot whose lane was taken away has no other tenant before
    // that (invariant 1 of `sched/abandoned.rs`). The thread says whose turn it is before it gives up `RUNNING`.
    with_local(|local| local.and_then(|local| local.running.get()).is_some_and(|slot| slot.is_or_was(lane)))
}

/// The lane of which [`runs`] is true here.
pub(crate) fn runs_what() -> Option<Id> {
    with_local(|local| local.and_then(|local| local.running.get()).and_then(|slot| slot.tenant()))
}

/// Takes a lane away from the worker whose `hold` it is, as `Hold::take`: what `f` makes of its owner's half.
pub(crate) fn take_away<R>(
    hold: &Hold,
    slot: SlotRef,
    is_due: impl Fn() -> bool,
    f: impl FnOnce(Taken, Own) -> R,
) -> Option<R> {
    hold.take(slot, is_due, |taken| {
        // SAFETY: invariants 1 to 3 of `sched/hold.rs`: within `take` the owner's half is ours, and the worker does not touch
        // it again.
        let own = std::mem::take(unsafe { slot.own() });
        f(taken, own)
    })
}

/// Whether the runtime itself is at work on this thread, in a call of the lane that runs here.
#[inline]
pub(crate) fn is_in_call() -> bool {
    // SAFETY: invariant 1: not null means alive, and nothing of it is kept beyond this call.
    unsafe { HOLD.get().as_ref() }.is_some_and(Hold::is_marked)
}

/// Whether the code that runs here is that of a lane that was killed while it was stuck, and ended without it.
pub(crate) fn is_abandoned() -> bool {
    with_local(|local| local.is_some_and(Local::is_abandoned))
}

/// Runs what a lane does to others, so that it is done before the lane ends elsewhere; `None` where the lane has ended.
/// Outside of lanes, and within another such call, it is just done. `f` calls no user code.
#[inline(always)]
pub(crate) fn unless_abandoned<R>(f: impl FnOnce() -> R) -> Option<R> {
    with_local(|local| {
        let Some(local) = local else { return Some(f()) };
        let mark = local.pulse.hold.call();
        // What has begun in one piece goes on, though somebody wants the lane meanwhile.
        let may = !local.is_abandoned() || mark.is_within_another();
        may.then(f)
    })
}
