//! Where the running code is: on which worker, in which lane, under which runtime.
//!
//! Owns: the two thread-locals of the crate. They are `const`-initialised and the one on the hot path has no
//! destructor, so that they work on threads that are ending, too.
//!
//! # Invariants
//! 1. `LOCAL` points to a `Local` on the stack of this thread's worker loop, from `enter_worker` to the end of its
//!    guard, and is null otherwise.
//! 2. `running` of a `Local` is set only between `transition_to_running` and the end of that run, so that its thread
//!    holds `RUNNING` of that slot; `current` is the same slot or none.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use crate::id::Id;
use crate::lane::own::Own;
use crate::sched::Scheduler;
use crate::sched::worker::Local;
use crate::slot::SlotRef;

thread_local! {
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
    /// The runtimes that the thread has entered, the innermost last; `None` for one it left before an inner one.
    static ENTERED: RefCell<Vec<Option<Arc<Scheduler>>>> = const { RefCell::new(Vec::new()) };
}

/// Ends the time in which this thread is a worker.
pub(crate) struct WorkerGuard<'a>(PhantomData<&'a Local>);

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        LOCAL.set(ptr::null());
    }
}

/// Makes this thread a worker until the guard is dropped.
pub(crate) fn enter_worker(local: &Local) -> WorkerGuard<'_> {
    assert!(LOCAL.get().is_null(), "a worker loop cannot run inside another");
    LOCAL.set(local);
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
    with_local(|local| local.and_then(|local| local.current.get()).and_then(|slot| slot.id()))
}

/// Runs `f` with what the slot of the current lane keeps for its owner; `None` outside of lanes.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Local, SlotRef, &mut Own) -> R) -> Option<R> {
    with_local(|local| {
        let local = local?;
        let slot = local.current.get()?;
        Some(borrow(local, slot, |own| f(local, slot, own)))
    })
}

/// Runs `f` with the owner's half of the lane whose code runs here. `f` calls no user code.
///
/// # Panics
/// Where it is called within itself, or `slot` is not `current`.
#[inline(always)]
pub(crate) fn with_own_of_current<R>(local: &Local, slot: SlotRef, f: impl FnOnce(&mut Own) -> R) -> R {
    assert!(local.current.get().is_some_and(|current| ptr::eq(current, slot)), "not the lane whose code runs here");
    borrow(local, slot, f)
}

/// Runs `f` with the owner's half of the lane that this worker runs. `f` calls no user code.
///
/// # Panics
/// Where it is called within itself, or for a slot that this worker does not run.
#[inline(always)]
pub(crate) fn with_own<R>(local: &Local, slot: SlotRef, f: impl FnOnce(&mut Own) -> R) -> R {
    assert!(local.running.get().is_some_and(|running| ptr::eq(running, slot)), "not the lane that runs here");
    borrow(local, slot, f)
}

/// As `with_own`, for the slot of `current` or `running`.
#[inline(always)]
fn borrow<R>(local: &Local, slot: SlotRef, f: impl FnOnce(&mut Own) -> R) -> R {
    /// Notes the end of the borrow also where `f` panics.
    struct Borrow<'a>(&'a Local);
    impl Drop for Borrow<'_> {
        fn drop(&mut self) {
            self.0.borrowed.set(false);
        }
    }
    assert!(!local.borrowed.replace(true), "the owner's half is borrowed already");
    let _borrow = Borrow(local);
    // SAFETY: invariant 2: the slot is that of `running`, so we hold `RUNNING`; the flag keeps out a second reference
    // on this thread.
    f(unsafe { slot.own() })
}
