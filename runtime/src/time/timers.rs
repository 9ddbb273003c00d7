//! The timers of a runtime: the wheel behind its lock, who fires what is due, and until when the drivers sleep.
//!
//! Owns: [`Timers`]. Knows nothing of the futures that set timers, nor of how a lane gets to a worker.
//!
//! # Invariants
//! 1. All timers up to the tick `fired` are out of the wheel, and no timer up to there gets in that only wakes.
//! 2. Whoever is woken by a timer finds its tick in `fired`. So who has set one, and knows that it was not taken back,
//!    needs no clock: the timer stands, or is about to wake him, exactly while its tick is after `fired`.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::wheel::{self, TimerKey, Wheel};
use crate::env::{Env, Instant};
use crate::panic::contain;

const NANOS_PER_TICK: u64 = 1_000_000;
/// Timers that are fired or released between two releases of the wheel's lock.
const SLICE: usize = 256;
/// The tick of "never".
const NEVER: u64 = u64::MAX;

/// What a timer does that is more than to wake the lane whose it is.
pub(crate) enum Call {
    Wake(Waker),
    Run(Box<dyn FnOnce() + Send>),
}

/// What came out of the wheel: a lane's key, or what is to be called.
pub(crate) type Due = wheel::Due<Call>;

/// Timers for which a [`Room`] is kept.
const ROOM_MAX: usize = 4096;

/// Room for what is due at a tick, which a worker keeps from one to the next.
#[derive(Default)]
pub(crate) struct Room(Cell<Vec<Due>>);

/// The timers of a runtime.
pub(crate) struct Timers {
    wheel: Mutex<Wheel<Call>>,
    /// No timer fires before this tick.
    next: AtomicU64,
    /// See invariants 1 and 2. Changed under the lock of the wheel, and never goes back.
    fired: AtomicU64,
    /// Until when each driver sleeps, in nanoseconds; 0 while it does not. Changed under the lock of the wheel, so that
    /// a timer is either seen by the driver that goes to sleep, or its setter sees the sleeper.
    sleepers: Vec<AtomicU64>,
}

/// The tick at which a deadline is over.
pub(super) fn tick_of(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(NANOS_PER_TICK)
}

/// Whether the tick of a deadline comes after `tick`, which is one that a clock has, or before one that a timer has: all its
/// nanoseconds are a number.
#[inline]
pub(super) fn is_after(deadline: Instant, tick: u64) -> bool {
    deadline.as_nanos() > tick * NANOS_PER_TICK
}

/// A timer that was set, and the driver that sleeps too long for it.
#[must_use]
pub(super) struct Set {
    pub(super) key: TimerKey,
    pub(super) sleeper: Option<usize>,
}

impl Timers {
    pub(crate) fn new(now: Instant, drivers: usize) -> Timers {
        let tick = now.as_nanos() / NANOS_PER_TICK;
        Timers {
            wheel: Mutex::new(Wheel::new(tick)),
            next: AtomicU64::new(NEVER),
            fired: AtomicU64::new(tick),
            sleepers: (0..drivers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The tick up to which all timers have fired.
    pub(super) fn fired(&self) -> u64 {
        // ORDER: Acquire pairs with the Release in `take_due`: who hears that a deadline is over sees no clock that is
        // before it.
        self.fired.load(Ordering::Acquire)
    }

    fn note_next(&self, wheel: &Wheel<Call>) {
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

    /// Fires what is due, without holding the lock meanwhile. Calls are made here; the keys of lanes to be woken go to
    /// `wake`, all at once.
    pub(crate) fn fire(&self, now: Instant, room: &Room, wake: impl FnOnce(&[Due])) {
        let mut due = room.0.take();
        self.take_due(now, &mut due);
        wake(&due);
        for due in due.drain(..) {
            let Due::Value(call) = due else { continue };
            let unharmed = contain(|| match call {
                Call::Wake(waker) => waker.wake(),
                Call::Run(call) => call(),
            });
            if !unharmed {
                tracing::error!("what a timer called panicked");
            }
        }
        if due.capacity() <= ROOM_MAX {
            room.0.set(due);
        }
    }

    /// Takes out all that is due before any of it is woken, as invariant 2 has it.
    fn take_due(&self, now: Instant, due: &mut Vec<Due>) {
        loop {
            let mut wheel = self.wheel.lock();
            let more = wheel.advance(now.as_nanos() / NANOS_PER_TICK, SLICE, due);
            self.note_next(&wheel);
            if !more {
                // ORDER: Release, see `fired`.
                self.fired.store(wheel.elapsed(), Ordering::Release);
                return;
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

    /// How many timers stand.
    pub(crate) fn count(&self) -> usize {
        self.wheel.lock().len()
    }

    /// How many timers a lane has.
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

    /// A driver has stopped sleeping.
    pub(crate) fn awake(&self, driver: usize) {
        self.sleepers[driver].store(0, Ordering::Relaxed);
    }

    /// Has `owner` woken at a tick; `None` where that has come already.
    pub(super) fn set_wake(&self, deadline: Instant, owner: u32) -> Option<Set> {
        self.set_unless_fired(deadline, |wheel, tick| wheel.insert_bare(tick, owner))
    }

    /// Has a waker woken at a tick; `None` where that has come already, and the waker is not asked for.
    pub(super) fn set_waker(
        &self,
        deadline: Instant,
        owner: Option<u32>,
        waker: impl FnOnce() -> Waker,
    ) -> Option<Set> {
        self.set_unless_fired(deadline, |wheel, tick| wheel.insert(tick, owner, Call::Wake(waker())))
    }

    /// Has a call made at a tick, or soon where that has come already.
    pub(super) fn set_call(&self, deadline: Instant, owner: Option<u32>, call: Box<dyn FnOnce() + Send>) -> Set {
        self.set_in(&mut self.wheel.lock(), deadline, |wheel, tick| wheel.insert(tick, owner, Call::Run(call)))
    }

    fn set_unless_fired(
        &self,
        deadline: Instant,
        insert: impl FnOnce(&mut Wheel<Call>, u64) -> TimerKey,
    ) -> Option<Set> {
        let mut wheel = self.wheel.lock();
        // ORDER: Relaxed: the lock orders it.
        if tick_of(deadline) <= self.fired.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.set_in(&mut wheel, deadline, insert))
    }

    fn set_in(
        &self,
        wheel: &mut Wheel<Call>,
        deadline: Instant,
        insert: impl FnOnce(&mut Wheel<Call>, u64) -> TimerKey,
    ) -> Set {
        let tick = tick_of(deadline);
        let key = insert(wheel, tick);
        let mut sleeper = None;
        if tick < self.next.load(Ordering::Relaxed) {
            self.note_next(wheel);
            sleeper = self.sleeper_beyond(deadline);
        }
        Set { key, sleeper }
    }

    /// The driver that wakes first, where that is after a deadline. Under the lock of the wheel.
    fn sleeper_beyond(&self, deadline: Instant) -> Option<usize> {
        let until = |driver: &AtomicU64| driver.load(Ordering::Relaxed);
        let earliest = self.sleepers.iter().enumerate().filter(|(_, d)| until(d) != 0).min_by_key(|(_, d)| until(d));
        earliest.filter(|(_, d)| until(d) > deadline.as_nanos()).map(|(driver, _)| driver)
    }

    /// Takes a timer back: true if it had not fired.
    pub(super) fn cancel(&self, key: TimerKey) -> bool {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * NANOS_PER_TICK)
    }

    fn set(timers: &Timers, millis: u64) -> Set {
        timers.set_waker(at(millis), None, || Waker::noop().clone()).expect("a tick that has not come")
    }

    #[test]
    fn whoever_sleeps_until_the_next_timer_finds_something_due() {
        let timers = Timers::new(Instant::ZERO, 1);
        let mut now = Instant::ZERO;
        for millis in [5000, 5005] {
            let _ = timers.set_call(Instant::ZERO + Duration::from_millis(millis), None, Box::new(|| {}));
        }
        for _ in 0..8 {
            let Some(next) = timers.sleep_until(0) else { break };
            now = now.max(next);
            assert!(timers.next.load(Ordering::Relaxed) <= now.as_nanos() / NANOS_PER_TICK, "{timers:?} at {now:?}");
            timers.fire(now, &Room::default(), |_| {});
        }
        assert_eq!((timers.count(), now), (0, Instant::ZERO + Duration::from_millis(5005)));
    }

    #[test]
    fn a_driver_that_sleeps_for_ever_is_woken_for_a_timer_later_than_one_that_was_cancelled() {
        let timers = Timers::new(Instant::ZERO, 1);
        assert!(timers.cancel(set(&timers, 10).key));
        assert_eq!(timers.sleep_until(0), None);
        assert_eq!(set(&timers, 20).sleeper, Some(0));
    }

    #[test]
    fn a_driver_that_wakes_early_enough_sleeps_on() {
        let timers = Timers::new(Instant::ZERO, 1);
        let _ = set(&timers, 10);
        assert_eq!(timers.sleep_until(0), Some(at(10)));
        assert_eq!(set(&timers, 20).sleeper, None);
        assert_eq!(set(&timers, 5).sleeper, Some(0));
    }

    #[test]
    fn all_lanes_that_are_due_are_woken_at_once_and_find_their_tick_fired() {
        let timers = Timers::new(Instant::ZERO, 1);
        let lanes = 3 * SLICE as u32;
        for lane in 0..lanes {
            let _ = timers.set_wake(at(7), lane).expect("a tick that has not come");
        }
        let room = Room::default();
        timers.fire(at(6), &room, |due| assert!(due.is_empty()));
        assert!(timers.set_wake(at(6), 1).is_none(), "a tick that has come");
        timers.fire(at(7), &room, |due| {
            assert_eq!(timers.fired(), 7);
            let lane = |due: &Due| if let Due::Owner(lane) = due { Some(*lane) } else { None };
            assert!(due.iter().map(lane).eq((0..lanes).map(Some)));
        });
    }
}
