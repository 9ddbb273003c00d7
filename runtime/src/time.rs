//! Time as lanes use it: sleep, timeout, interval, and calls to be made later.
//!
//! Owns: the futures on a runtime's timers (see `timers`). The wheel ticks in milliseconds; nothing fires early, and a
//! deadline between two ticks fires at the later one. A timer belongs to the lane that set it and goes with it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

mod deadline;
pub(crate) mod timers;
pub(crate) mod wheel;

pub use deadline::Deadline;
use timers::{Set, tick_of};
use wheel::TimerKey;

use crate::context;
use crate::env::Instant;
use crate::id::{Id, Namespace};
use crate::lane::own::{HAS_TIMERS, Own};
use crate::lane::waker::{is_of, keep};
use crate::runtime::NotInRuntime;
use crate::sched::Scheduler;
use crate::sched::worker::Local;
use crate::slot::{self, SlotRef};
use crate::wait_graph::note::{hands_out, parks_otherwise};

/// Wakes the driver that would sleep beyond a timer that was set.
fn rouse(scheduler: &Scheduler, set: &Set) {
    if let Some(driver) = set.sleeper {
        scheduler.unparkers[driver].unpark();
    }
}

/// Runs `f` with the current lane, if it is one of `scheduler`'s: a lane's timers are in the wheel of its own runtime.
fn with_lane_of<R>(scheduler: &Scheduler, f: impl FnOnce(SlotRef, &mut Own) -> R) -> Option<R> {
    let of_ours = |local: &Local, slot, own: &mut Own| {
        let ours = std::ptr::eq(&*local.scheduler, scheduler);
        ours.then(|| f(slot, own))
    };
    context::with_current(of_ours).flatten()
}

/// The turn under way, by its number; 0 where there is none.
#[inline]
fn present_turn() -> u64 {
    context::with_local(|local| match local {
        Some(local) if local.current().is_some() => local.turn.number(),
        _ => 0,
    })
}

/// The turn in which a deadline so far from now needs no look at the clock; 0 for none.
#[inline]
fn turn_for(length: Duration) -> u64 {
    if length.is_zero() { 0 } else { present_turn() }
}

/// What time it is for the runtime that this code runs in.
///
/// # Panics
/// Outside of a runtime.
pub fn now() -> Instant {
    context::with_scheduler(|scheduler| match scheduler {
        Some(scheduler) => scheduler.env.now(),
        None => panic!("{NotInRuntime}"),
    })
}

/// Ready once `length` has passed; up to a millisecond later than that, and more where the workers are busy.
///
/// # Panics
/// Outside of a runtime.
pub fn sleep(length: Duration) -> Sleep {
    let ahead_in = turn_for(length);
    context::with_scheduler(|scheduler| match scheduler {
        Some(scheduler) => {
            Sleep { deadline: scheduler.env.now() + length, home: Home::of(scheduler), ahead_in, registered: None }
        }
        None => panic!("{NotInRuntime}"),
    })
}

/// Ready once `deadline` has come.
///
/// # Panics
/// Outside of a runtime.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, home: Home::current(), ahead_in: 0, registered: None }
}

/// The runtime of a timer, found without counting references: on its own workers at once, elsewhere by its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Home {
    lanes: Namespace,
    /// The namespace of the runtime's descriptors, which no other runtime ever has: that of its lanes is passed on.
    runtime: Namespace,
}

impl Home {
    fn of(scheduler: &Scheduler) -> Home {
        Home { lanes: scheduler.table.namespace, runtime: scheduler.namespace }
    }

    fn current() -> Home {
        context::with_scheduler(|scheduler| match scheduler {
            Some(scheduler) => Home::of(scheduler),
            None => panic!("{NotInRuntime}"),
        })
    }

    /// Runs `f` unless the runtime has ended.
    fn with<R>(self, f: impl FnOnce(&Scheduler) -> R) -> Option<R> {
        context::with_local(|local| match local {
            Some(local) if local.scheduler.namespace == self.runtime => Some(f(&local.scheduler)),
            _ => {
                let scheduler = slot::table_of(self.lanes)?.scheduler()?;
                (scheduler.namespace == self.runtime).then(|| f(&scheduler))
            }
        })
    }
}

/// The future of [`sleep`]. Dropped early, it takes its timer back.
#[must_use = "nothing sleeps before it is awaited"]
pub struct Sleep {
    deadline: Instant,
    home: Home,
    /// The turn in which the deadline was reckoned from the clock and lay ahead, which spares a first poll in that turn a
    /// look; 0 for none.
    ahead_in: u64,
    registered: Option<Registered>,
}

/// A timer that was set for a sleep. While its tick has not fired it stands, or is about to wake the sleeper.
struct Registered {
    key: TimerKey,
    /// Whom it wakes; `None` for the lane itself.
    waker: Option<Waker>,
    /// The lane that set it, whose end takes it back. A later tenant of the slot has the same waker.
    by: Option<Id>,
}

impl Sleep {
    /// When it will be ready.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Lets it be ready at another time.
    pub fn reset(&mut self, deadline: Instant) {
        self.unregister();
        self.deadline = deadline;
        self.ahead_in = 0;
    }

    fn unregister(&mut self) {
        if let Some(registered) = self.registered.take() {
            self.home.with(|scheduler| scheduler.timers.cancel(registered.key));
        }
    }

    fn poll_at_home(&mut self, cx: &Context<'_>) -> Poll<()> {
        let home = self.home;
        // The runtime whose clock this goes by may have ended: then that time never comes.
        home.with(|scheduler| self.poll_on(scheduler, cx)).unwrap_or(Poll::Pending)
    }

    fn poll_on(&mut self, scheduler: &Scheduler, cx: &Context<'_>) -> Poll<()> {
        let timers = &scheduler.timers;
        if tick_of(self.deadline) <= timers.fired() {
            // It fired if it was set: there is nothing to take back.
            self.registered = None;
            return Poll::Ready(());
        }
        let lane = with_lane_of(scheduler, |slot, own| {
            own.flags |= HAS_TIMERS;
            (slot.key(), is_of(cx.waker(), slot))
        });
        let (owner, wakes_owner) = lane.map_or((None, false), |(key, wakes_owner)| (Some(key), wakes_owner));
        let by = context::current_id();
        let stands = self.registered.as_ref().is_some_and(|timer| {
            timer.by == by && timer.waker.as_ref().map_or(wakes_owner, |waker| waker.will_wake(cx.waker()))
        });
        if stands && scheduler.env.now() < self.deadline {
            return Poll::Pending;
        }
        if let Some(timer) = self.registered.take() {
            timers.cancel(timer.key);
        }
        let ahead_in = std::mem::take(&mut self.ahead_in);
        let lies_ahead = ahead_in != 0 && ahead_in == present_turn();
        if !lies_ahead && scheduler.env.now() >= self.deadline {
            return Poll::Ready(());
        }
        let waker = if wakes_owner { None } else { Some(keep(cx.waker())) };
        // Wakers are code of others: they are cloned and dropped outside.
        let mut kept = waker.as_ref().map(keep);
        let mut set = || match &mut kept {
            None => owner.and_then(|owner| timers.set_wake(self.deadline, owner)),
            Some(kept) => timers.set_waker(self.deadline, owner, || std::mem::replace(kept, Waker::noop().clone())),
        };
        // In one piece, so that the end of the lane finds the timer.
        let set = if owner.is_some() { context::unless_abandoned(set) } else { Some(set()) };
        // The lane was taken away since it was looked at: what its code still waits for is nobody's.
        let Some(set) = set else { return self.poll_on(scheduler, cx) };
        let Some(set) = set else { return Poll::Ready(()) };
        rouse(scheduler, &set);
        self.registered = Some(Registered { key: set.key, waker, by });
        Poll::Pending
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll_at_home(cx);
        if polled.is_pending() {
            parks_otherwise();
        }
        polled
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was over first")
    }
}

impl std::error::Error for Elapsed {}

/// Waits for `future`, but not longer than `length`.
///
/// # Errors
/// [`Elapsed`]: the future was dropped unfinished.
///
/// # Panics
/// Outside of a runtime.
pub async fn timeout<F: Future>(length: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut deadline = Deadline::after(length);
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => deadline.poll_passed(cx).map(|()| Err(Elapsed(()))),
    })
    .await
}

/// Ticks at once and then every `period`.
///
/// # Panics
/// Outside of a runtime, and for a period of zero.
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period above zero");
    Interval { period, next: now(), missed: MissedTick::Burst }
}

/// What an [`Interval`] does when its user came too late for one or more ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTick {
    /// Ticks that were missed come at once, one after the other, so that their number is right.
    #[default]
    Burst,
    /// Ticks that were missed are left out; the next comes at the next multiple of the period.
    Skip,
}

/// Ticks by its deadlines, not by when it was asked, so that it does not drift.
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    next: Instant,
    missed: MissedTick,
}

impl Interval {
    /// What to do about ticks that were missed; [`MissedTick::Burst`] by default.
    #[must_use]
    pub fn missed_tick(mut self, missed: MissedTick) -> Interval {
        self.missed = missed;
        self
    }

    /// The next tick: when it was due.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it has used up no tick.
    pub async fn tick(&mut self) -> Instant {
        let due = self.next;
        sleep_until(due).await;
        self.next = due + self.period;
        if self.missed == MissedTick::Skip {
            let late = (now() - due).as_nanos() / self.period.as_nanos();
            self.next += self.period * u32::try_from(late).unwrap_or(u32::MAX);
        }
        due
    }
}

/// Names a call that was put off with [`call_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    key: TimerKey,
    home: Home,
}

impl TimerId {
    /// Takes the call back: true if it will not be made any more.
    pub fn cancel(self) -> bool {
        self.home.with(|scheduler| scheduler.timers.cancel(self.key)).unwrap_or(false)
    }
}

/// Has `call` made at `deadline`, by a worker. It must neither block nor take long. The timer goes with the lane that
/// set it: at once where that lane is [abandoned](crate::lane::is_abandoned).
///
/// # Panics
/// Outside of a runtime.
pub fn call_at<F: FnOnce() + Send + 'static>(deadline: Instant, call: F) -> TimerId {
    hands_out::<F>();
    context::with_scheduler(|scheduler| match scheduler {
        Some(scheduler) => {
            let mut call: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(call));
            // In one piece, so that the end of the lane finds the timer.
            let set = context::unless_abandoned(|| {
                let owner = with_lane_of(scheduler, |slot, own| {
                    own.flags |= HAS_TIMERS;
                    slot.key()
                });
                call.take().map(|call| scheduler.timers.set_call(deadline, owner, call))
            });
            let set = set.flatten().unwrap_or_else(|| {
                // A timer of nobody, which is gone at once.
                let set = scheduler.timers.set_call(Instant::from_nanos(u64::MAX), None, Box::new(|| ()));
                scheduler.timers.cancel(set.key);
                set
            });
            rouse(scheduler, &set);
            TimerId { key: set.key, home: Home::of(scheduler) }
        }
        None => panic!("{NotInRuntime}"),
    })
}
