//! Deadlines that hardly ever come, as those of asks.
//!
//! Owns: [`Deadline`], and when a lane's own alarm stands for it.

use std::task::{Context, Poll};
use std::time::Duration;

use super::timers::{is_after, tick_of};
use super::{Sleep, rouse, sleep_until, turn_for};
use crate::context;
use crate::env::{Instant, nanos};
use crate::lane::Pooled;
use crate::lane::own::{HAS_TIMERS, Own};
use crate::lane::waker::is_of;
use crate::runtime::NotInRuntime;
use crate::sched::Scheduler;
use crate::sched::worker::Local;
use crate::wait_graph::note::parks_otherwise;

/// From this length on, in nanoseconds, a deadline may be set by the cheaper clock.
const LENIENT: u64 = 1_000_000_000;

/// A deadline that hardly ever comes, as that of an ask: waiting for it sets no timer of its own where the lane has one
/// that is early enough.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    /// The turn in which the deadline was reckoned from the clock and lay ahead, which spares a first poll in that turn a
    /// look; 0 for none, and [`POLLED`] after that.
    ahead_in: u64,
    /// Where the lane's own alarm will not do. Few deadlines need it, and all are smaller for it.
    sleep: Option<Pooled<Sleep>>,
}

/// No turn has this number, nor the next.
const POLLED: u64 = u64::MAX;
/// It is not known yet when the time begins.
const UNSET: u64 = u64::MAX - 1;

impl Deadline {
    /// The deadline `length` from now.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[inline]
    pub fn after(length: Duration) -> Deadline {
        let mut deadline = Deadline::unset();
        deadline.set(length);
        deadline
    }

    /// One that is yet to be set, by [`Deadline::poll_passed_of_wait_for`].
    #[inline]
    pub const fn unset() -> Deadline {
        Deadline { at: Instant::ZERO, ahead_in: UNSET, sleep: None }
    }

    #[inline]
    fn set(&mut self, length: Duration) {
        context::with_local(
            #[inline(always)]
            |local| match local {
                Some(local) => {
                    self.at = lenient_now(&local.scheduler, nanos(length)) + length;
                    self.ahead_in = turn_for(length);
                }
                None => self.set_elsewhere(length),
            },
        );
    }

    #[cold]
    fn set_elsewhere(&mut self, length: Duration) {
        let now = context::with_scheduler(|scheduler| match scheduler {
            Some(scheduler) => lenient_now(scheduler, nanos(length)),
            None => panic!("{NotInRuntime}"),
        });
        self.at = now + length;
        self.ahead_in = 0;
    }

    /// Ready once it has come. A pending answer may wake the lane early, which is to be expected of any future.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = if self.is_covered(cx) { Poll::Pending } else { self.poll_closely(cx) };
        if polled.is_pending() {
            parks_otherwise();
        }
        polled
    }

    /// As [`Deadline::poll_passed`], for an operation that fails once its own time is over, which begins with the first poll.
    /// Should it be part of a deadlock, that is said at once, and not only then.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[inline]
    pub fn poll_passed_of_wait_for(&mut self, length: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if self.ahead_in == UNSET {
            self.set(length);
        }
        if self.is_covered(cx) { Poll::Pending } else { self.poll_closely(cx) }
    }

    /// Sets it so many nanoseconds from now where it is not set yet and the current lane, whose owner's half it is, has an
    /// alarm that is early enough: whether that was so. It is as if it had been polled, and was not there yet.
    #[inline(always)]
    pub(crate) fn begin_within_alarm(&mut self, length: u64, local: &Local, own: &Own) -> bool {
        if self.ahead_in != UNSET || length == 0 {
            return false;
        }
        let now = lenient_now(&local.scheduler, length);
        let at = Instant::from_nanos(now.as_nanos().saturating_add(length));
        let covered = own.alarm > local.scheduler.timers.fired() && is_after(at, own.alarm - 1);
        if covered {
            self.at = at;
            self.ahead_in = POLLED;
        }
        covered
    }

    /// Whether the deadline lies ahead and the lane has an alarm that is early enough, as far as that is seen without a look
    /// at the clock.
    #[inline]
    fn is_covered(&mut self, cx: &Context<'_>) -> bool {
        context::with_local(
            #[inline(always)]
            |local| {
                let Some(local) = local else { return false };
                if self.ahead_in != local.turn.number() && self.ahead_in != POLLED || self.sleep.is_some() {
                    return false;
                }
                let mut mark = local.pulse.hold.borrow();
                let Some((slot, own)) = context::current_within(&local.pulse.hold, &mut mark) else { return false };
                let fired = local.scheduler.timers.fired();
                // An alarm whose tick has not fired stands, or is about to wake the lane.
                let covered = is_of(cx.waker(), slot)
                    && own.alarm > fired
                    && is_after(self.at, fired)
                    && is_after(self.at, own.alarm - 1);
                if covered {
                    self.ahead_in = POLLED;
                }
                covered
            },
        )
    }

    #[inline(never)]
    fn poll_closely(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.sleep {
            return sleep.poll_at_home(cx);
        }
        let at = self.at;
        let alarmed = context::with_current(|local, slot, own| {
            if !is_of(cx.waker(), slot) {
                return None;
            }
            let Scheduler { timers, env, .. } = &*local.scheduler;
            let (tick, fired) = (tick_of(at), timers.fired());
            let ahead_in = std::mem::replace(&mut self.ahead_in, POLLED);
            let lies_ahead = ahead_in == local.turn.number() || ahead_in == POLLED;
            if tick <= fired || !lies_ahead && env.now() >= at {
                return Some(Poll::Ready(()));
            }
            let stands = own.alarm > fired;
            if stands && own.alarm <= tick {
                return Some(Poll::Pending);
            }
            let Some(set) = timers.set_wake(at, slot.key()) else { return Some(Poll::Ready(())) };
            own.alarm = tick;
            own.flags |= HAS_TIMERS;
            // One alarm a lane: who relied on a later one is polled at this one, and sets the next.
            if let Some(later) = own.alarm_key.replace(set.key)
                && stands
            {
                timers.cancel(later);
            }
            rouse(&local.scheduler, &set);
            Some(Poll::Pending)
        });
        match alarmed.flatten() {
            Some(polled) => polled,
            None => self.sleep.insert(Pooled::new(sleep_until(at))).poll_at_home(cx),
        }
    }
}

/// Whoever gives a second or more does not mind some milliseconds.
#[inline]
fn lenient_now(scheduler: &Scheduler, length: u64) -> Instant {
    if length >= LENIENT { scheduler.env.now_or_soon() } else { scheduler.env.now() }
}
