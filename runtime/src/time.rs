//! Time as lanes use it: sleep, timeout, interval, and calls to be made later.
//!
//! Owns: a runtime's timer wheel and the futures on it. The wheel ticks in milliseconds; nothing fires early, and a
//! deadline between two ticks fires at the later one. A timer belongs to the lane that set it and goes with it.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

pub(crate) mod wheel;

use wheel::{TimerKey, Wheel};

use crate::context;
use crate::env::{Env, Instant};
use crate::id::{Id, Namespace};
use crate::lane::own::HAS_TIMERS;
use crate::lane::waker::waker;
use crate::panic::contain;
use crate::runtime::NotInRuntime;
use crate::sched::Scheduler;
use crate::slot;

const NANOS_PER_TICK: u64 = 1_000_000;
/// Timers that are fired or released between two releases of the wheel's lock.
const SLICE: usize = 256;
/// From this length on a deadline may be set by the cheaper clock.
const LENIENT: Duration = Duration::from_secs(1);
/// The tick of "never".
const NEVER: u64 = u64::MAX;

/// What happens when a timer fires.
enum Due {
    Wake(Waker),
    Run(Box<dyn FnOnce() + Send>),
}

/// The timers of a runtime.
pub(crate) struct Timers {
    wheel: Mutex<Wheel<Due>>,
    /// No timer fires before this tick.
    next: AtomicU64,
    /// Until when each driver sleeps, in nanoseconds; 0 while it does not. Changed under the lock of the wheel, so that
    /// a timer is either seen by the driver that goes to sleep, or its setter sees the sleeper.
    sleepers: Vec<AtomicU64>,
}

fn tick_of(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(NANOS_PER_TICK)
}

impl Timers {
    pub(crate) fn new(now: Instant, drivers: usize) -> Timers {
        Timers {
            wheel: Mutex::new(Wheel::new(now.as_nanos() / NANOS_PER_TICK)),
            next: AtomicU64::new(NEVER),
            sleepers: (0..drivers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn note_next(&self, wheel: &Wheel<Due>) {
        // ORDER: Relaxed: a hint. Whoever sleeps computes its deadline from the wheel itself.
        self.next.store(wheel.next_expiry().unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// The present, where something is due by the clock, which is not looked at where nothing stands.
    pub(crate) fn due(&self, env: &dyn Env) -> Option<Instant> {
        let next = self.next.load(Ordering::Relaxed);
        if next == NEVER {
            return None;
        }
        let now = env.now();
        (next <= now.as_nanos() / NANOS_PER_TICK).then_some(now)
    }

    /// Fires what is due, without holding the lock meanwhile.
    pub(crate) fn fire(&self, now: Instant) {
        let mut expired = Vec::new();
        let mut more = true;
        while more {
            let mut wheel = self.wheel.lock();
            more = wheel.advance(now.as_nanos() / NANOS_PER_TICK, SLICE, &mut expired);
            self.note_next(&wheel);
            drop(wheel);
            for due in expired.drain(..) {
                let unharmed = contain(|| match due {
                    Due::Wake(waker) => waker.wake(),
                    Due::Run(call) => call(),
                });
                if !unharmed {
                    tracing::error!("what a timer called panicked");
                }
            }
        }
    }

    /// Cancels what a lane still has: how many destructors of what was to be called panicked.
    pub(crate) fn release_owner(&self, owner: u32) -> u64 {
        let mut released = Vec::new();
        let mut panics = 0;
        loop {
            let in_slice = self.wheel.lock().release_owner(owner, SLICE, &mut released);
            for due in released.drain(..) {
                panics += u64::from(!contain(|| drop(due)));
            }
            if in_slice < SLICE {
                return panics;
            }
        }
    }

    /// Drops all timers: the runtime has ended, and nothing fires any more.
    pub(crate) fn clear(&self) {
        let mut dropped = Vec::new();
        let mut wheel = self.wheel.lock();
        while wheel.advance(NEVER, SLICE, &mut dropped) {}
        drop(wheel);
        for due in dropped {
            contain(|| drop(due));
        }
    }

    /// How many timers stand, and how many of them a lane has.
    pub(crate) fn count(&self) -> usize {
        self.wheel.lock().len()
    }

    pub(crate) fn owned_by(&self, owner: u32) -> usize {
        self.wheel.lock().owned_by(owner)
    }

    /// A driver goes to sleep: until when at the latest.
    pub(crate) fn sleep_until(&self, driver: usize) -> Option<Instant> {
        let wheel = self.wheel.lock();
        let next = wheel.next_expiry().map(|tick| tick.saturating_mul(NANOS_PER_TICK));
        // A timer beside one that was alone in its slot makes the slot due before either: whoever sleeps until then is
        // to find it due, or would sleep until then again, and again. And where timers were cancelled since the last note,
        // one that is set from now on must be compared with how long we sleep, or it passes for later than that.
        self.note_next(&wheel);
        // ORDER: Relaxed, here and in `awake` and `sleeper_beyond`: the lock orders those that must not miss each other.
        self.sleepers[driver].store(next.unwrap_or(NEVER), Ordering::Relaxed);
        drop(wheel);
        next.map(Instant::from_nanos)
    }

    pub(crate) fn awake(&self, driver: usize) {
        self.sleepers[driver].store(0, Ordering::Relaxed);
    }

    fn set(&self, deadline: Instant, owner: Option<u32>, due: Due) -> (TimerKey, Option<usize>) {
        let tick = tick_of(deadline);
        let mut wheel = self.wheel.lock();
        let key = wheel.insert(tick, owner, due);
        let mut sleeper = None;
        if tick < self.next.load(Ordering::Relaxed) {
            self.note_next(&wheel);
            let until = |driver: &AtomicU64| driver.load(Ordering::Relaxed);
            let earliest =
                self.sleepers.iter().enumerate().filter(|(_, d)| until(d) != 0).min_by_key(|(_, d)| until(d));
            sleeper = earliest.filter(|(_, d)| until(d) > deadline.as_nanos()).map(|(driver, _)| driver);
        }
        (key, sleeper)
    }

    fn cancel(&self, key: TimerKey) -> bool {
        let cancelled = self.wheel.lock().cancel(key);
        // Dropped here, outside of the lock: what was to be called is the user's.
        cancelled.is_some()
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("count", &self.count()).finish()
    }
}

/// Sets a timer that the current lane, if any, owns.
fn set(scheduler: &Scheduler, deadline: Instant, due: Due) -> TimerKey {
    let owner = context::with_current(|local, slot, own| {
        // A lane's timers are in the wheel of its own runtime.
        if !std::ptr::eq(&*local.scheduler, scheduler) {
            return None;
        }
        own.flags |= HAS_TIMERS;
        Some(slot.key())
    });
    let (key, sleeper) = scheduler.timers.set(deadline, owner.flatten(), due);
    if let Some(driver) = sleeper {
        scheduler.unparkers[driver].unpark();
    }
    key
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
    sleep_until(now() + length)
}

/// Ready once `deadline` has come.
///
/// # Panics
/// Outside of a runtime.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, home: Home::current(), registered: None }
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
    registered: Option<Registered>,
}

/// A timer that was set for a sleep.
struct Registered {
    key: TimerKey,
    waker: Waker,
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
    }

    fn unregister(&mut self) {
        if let Some(registered) = self.registered.take() {
            self.home.with(|scheduler| scheduler.timers.cancel(registered.key));
        }
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
        let this = &mut *self;
        let Some(now) = this.home.with(|scheduler| scheduler.env.now()) else {
            // The runtime whose clock this goes by has ended: that time never comes.
            return Poll::Pending;
        };
        if now >= this.deadline {
            this.unregister();
            return Poll::Ready(());
        }
        let by = context::current_id();
        if !this.registered.as_ref().is_some_and(|timer| timer.by == by && timer.waker.will_wake(cx.waker())) {
            this.unregister();
            let waker = cx.waker().clone();
            let due = Due::Wake(waker.clone());
            let key = this.home.with(|scheduler| set(scheduler, this.deadline, due));
            this.registered = key.map(|key| Registered { key, waker, by });
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// A deadline that hardly ever comes, as that of an ask: waiting for it sets no timer of its own where the lane has one
/// that is early enough.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    /// What the clock showed when the deadline was set, and in which turn, to spare a first poll in that turn a look. In a
    /// later one the alarm may have come and gone since.
    seen: Option<(Instant, u64)>,
    sleep: Option<Sleep>,
}

impl Deadline {
    /// The deadline `length` from now.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn after(length: Duration) -> Deadline {
        // Whoever gives a second or more does not mind some milliseconds.
        let now = context::with_scheduler(|scheduler| match scheduler {
            Some(scheduler) if length >= LENIENT => scheduler.env.now_or_soon(),
            Some(scheduler) => scheduler.env.now(),
            None => panic!("{NotInRuntime}"),
        });
        let turn = context::with_local(|local| local.map(|local| local.turn.number()));
        Deadline { at: now + length, seen: turn.map(|turn| (now, turn)), sleep: None }
    }

    /// Ready once it has come. A pending answer may wake the lane early, which is to be expected of any future.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.sleep {
            return Pin::new(sleep).poll(cx);
        }
        let at = self.at;
        let seen = self.seen.take();
        let alarmed = context::with_current(|local, slot, own| {
            if !waker(slot).will_wake(cx.waker()) {
                return None;
            }
            let seen = seen.filter(|(_, turn)| *turn == local.turn.number());
            let now = seen.map_or_else(|| local.scheduler.env.now(), |(now, _)| now);
            if now >= at {
                return Some(Poll::Ready(()));
            }
            let tick = tick_of(at);
            if own.alarm <= now.as_nanos() / NANOS_PER_TICK || own.alarm > tick {
                own.alarm = tick;
                own.flags |= HAS_TIMERS;
                let due = Due::Wake(cx.waker().clone());
                let (key, sleeper) = local.scheduler.timers.set(at, Some(slot.key()), due);
                // One alarm a lane: who relied on a later one is polled at this one, and sets the next.
                if let Some(later) = own.alarm_key.replace(key) {
                    local.scheduler.timers.cancel(later);
                }
                if let Some(driver) = sleeper {
                    local.scheduler.unparkers[driver].unpark();
                }
            }
            Some(Poll::Pending)
        });
        match alarmed.flatten() {
            Some(polled) => polled,
            None => Pin::new(self.sleep.insert(sleep_until(at))).poll(cx),
        }
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
/// set it.
///
/// # Panics
/// Outside of a runtime.
pub fn call_at(deadline: Instant, call: impl FnOnce() + Send + 'static) -> TimerId {
    context::with_scheduler(|scheduler| match scheduler {
        Some(scheduler) => {
            let key = set(scheduler, deadline, Due::Run(Box::new(call)));
            TimerId { key, home: Home::of(scheduler) }
        }
        None => panic!("{NotInRuntime}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sleeps_until_the_next_timer_finds_something_due() {
        let timers = Timers::new(Instant::ZERO, 1);
        let mut now = Instant::ZERO;
        for millis in [5000, 5005] {
            timers.set(Instant::ZERO + Duration::from_millis(millis), None, Due::Run(Box::new(|| {})));
        }
        for _ in 0..8 {
            let Some(next) = timers.sleep_until(0) else { break };
            now = now.max(next);
            assert!(timers.next.load(Ordering::Relaxed) <= now.as_nanos() / NANOS_PER_TICK, "{timers:?} at {now:?}");
            timers.fire(now);
        }
        assert_eq!((timers.count(), now), (0, Instant::ZERO + Duration::from_millis(5005)));
    }

    #[test]
    fn a_driver_that_sleeps_for_ever_is_woken_for_a_timer_later_than_one_that_was_cancelled() {
        let timers = Timers::new(Instant::ZERO, 1);
        let at = |millis| Instant::from_nanos(millis * NANOS_PER_TICK);
        let set = |millis| timers.set(at(millis), None, Due::Wake(Waker::noop().clone()));
        let (early, _) = set(10);
        assert!(timers.cancel(early));
        assert_eq!(timers.sleep_until(0), None);
        assert_eq!(set(20).1, Some(0));
    }

    #[test]
    fn a_driver_that_wakes_early_enough_sleeps_on() {
        let timers = Timers::new(Instant::ZERO, 1);
        let at = |millis| Instant::from_nanos(millis * NANOS_PER_TICK);
        let set = |millis| timers.set(at(millis), None, Due::Wake(Waker::noop().clone()));
        set(10);
        assert_eq!(timers.sleep_until(0), Some(at(10)));
        assert_eq!(set(20).1, None);
        assert_eq!(set(5).1, Some(0));
    }
}
