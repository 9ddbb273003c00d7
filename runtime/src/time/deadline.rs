//! Deadlines that hardly ever come, as those of asks.
//!
//! Owns: [`Deadline`], and when a lane's own alarm stands for it.

use std::task::{Context, Poll};
use std::time::Duration;

use super::timers::{is_after, tick_of};
use super::{Sleep, now, rouse, sleep_until, turn_for};
use crate::context;
use crate::env::{Instant, nanos};
use crate::lane::Pooled;
use crate::lane::own::{HAS_TIMERS, Own};
use crate::lane::waker::is_of;
use crate::runtime::NotInRuntime;
use crate::sched::Scheduler;
use crate::sched::turn::Turn;
use crate::sched::worker::Local;
use crate::slot::Table;
use crate::wait_graph::note::parks_otherwise;

/// From this length on, in nanoseconds, a deadline may be set by the cheaper clock.
const LENIENT: u64 = 1_000_000_000;

/// A deadline that hardly ever comes, as that of an ask: waiting for it sets no timer of its own where the lane has one
/// that is early enough.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    /// The turn in which the deadline was reckoned from the clock and lay ahead, which spares a first poll in that turn a
    /// look; 0 for none, and [`POLLED`] after that. With [`SET_IN`], the turn in which it was set, with no look at the clock: then
    /// `at` is some milliseconds too early, until it is reckoned ([`Deadline::reckon`]).
    ahead_in: u64,
    /// Where the lane's own alarm will not do. Few deadlines need it, and all are smaller for it.
    sleep: Option<Pooled<Sleep>>,
}

/// No turn has this number, nor the next.
const POLLED: u64 = u64::MAX;
/// It is not known yet when the time begins.
const UNSET: u64 = u64::MAX - 1;
/// Not set in the number of a turn.
const SET_IN: u64 = 1 << 63;

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

    /// One that is yet to be set, for [`Question::ask_now`](crate::question::Question::ask_now) and
    /// [`Question::poll_limit`](crate::question::Question::poll_limit).
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

    /// Ready once it has come. A pending answer may wake the lane early, which is to be expected of any future. One that a
    /// [`Question`](crate::question::Question) has begun is for that to poll: here it may pass for earlier than it is.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = if self.is_covered(cx) { Poll::Pending } else { self.poll_closely(cx) };
        if polled.is_pending() {
            parks_otherwise();
        }
        polled
    }

    /// As [`Deadline::poll_passed`], for an operation that fails once its own time is over, which begins with the first poll, in
    /// a lane of the table `home`, if it was [begun](Deadline::begin_within_alarm) there. Should it be part of a deadlock, that is
    /// said at once, and not only then.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[inline]
    pub(crate) fn poll_passed_of_wait_for(
        &mut self,
        length: Duration,
        home: impl FnOnce() -> Option<&'static Table>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.ahead_in == UNSET {
            self.set(length);
        }
        if self.is_covered(cx) {
            return Poll::Pending;
        }
        if self.is_to_be_reckoned() {
            self.reckon(length, home());
        }
        self.poll_closely(cx)
    }

    /// Whether it was set with no look at the clock.
    fn is_to_be_reckoned(&self) -> bool {
        self.ahead_in & SET_IN != 0 && self.ahead_in < UNSET
    }

    /// Sets it to what it is: so far from when the turn was over in which it was set, as far as its runtime knows, or from now.
    /// No other runtime knows of that turn; one that has its table came after it.
    #[cold]
    fn reckon(&mut self, length: Duration, home: Option<&'static Table>) {
        let (worker, turns) = Turn::worker_and_count(self.ahead_in & !SET_IN);
        let now = now();
        let over = home.and_then(|home| home.with_scheduler(|home| home.chronicle.had_given(worker, turns))).flatten();
        self.at = over.map_or(now, |over| over.min(now)) + length;
        self.ahead_in = POLLED;
    }

    /// Sets it so many nanoseconds from now where it is not set yet and the current lane, whose owner's half it is, has an
    /// alarm that is early enough: whether that was so. It is as if it had been polled, and was not there yet.
    #[inline(always)]
    pub(crate) fn begin_within_alarm(&mut self, length: u64, local: &Local, own: &Own) -> bool {
        if self.ahead_in != UNSET || length == 0 {
            return false;
        }
        let Scheduler { chronicle, timers, .. } = &*local.scheduler;
        if own.alarm <= timers.fired() {
            return false;
        }
        if length >= LENIENT && chronicle.reaches(length) {
            let earliest = chronicle.seen().saturating_add_nanos(length);
            if is_after(earliest, own.alarm - 1) {
                self.at = earliest;
                self.ahead_in = SET_IN | local.turn.number();
                return true;
            }
        }
        self.begin_by_clock(length, local, own)
    }

    /// As `begin_within_alarm`, where the lane has an alarm and the clock must be asked.
    #[inline(never)]
    fn begin_by_clock(&mut self, length: u64, local: &Local, own: &Own) -> bool {
        let at = lenient_now(&local.scheduler, length).saturating_add_nanos(length);
        let covered = is_after(at, own.alarm - 1);
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
                let is_reckoned = self.ahead_in == local.turn.number() || self.ahead_in == POLLED;
                if !is_reckoned && !self.is_to_be_reckoned() || self.sleep.is_some() {
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
                if covered && is_reckoned {
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::lane::{self, Spawn};
    use crate::mailbox::Inbox;
    use crate::runtime::Runtime;
    use crate::time::sleep;

    const LENGTH: Duration = Duration::from_secs(2);

    async fn is_pending(deadline: &mut Deadline) -> bool {
        poll_fn(|cx| Poll::Ready(deadline.poll_passed(cx).is_pending())).await
    }

    /// A deadline of a lane that has an alarm, set with no look at the clock, and when that was at the earliest and at the
    /// latest.
    async fn set_in_a_turn() -> (Deadline, Instant, Instant) {
        let mut alarm = Deadline::after(LENGTH);
        assert!(is_pending(&mut alarm).await);
        loop {
            let mut deadline = Deadline::unset();
            let before = now();
            let begins = context::with_current(|local, _, own| deadline.begin_within_alarm(nanos(LENGTH), local, own));
            assert_eq!(begins, Some(true));
            if deadline.is_to_be_reckoned() {
                return (deadline, before, now());
            }
            assert_eq!(deadline.ahead_in, POLLED, "the watchdog has not looked at the clock since the alarm was set");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Runs it in a lane of a runtime with a watchdog.
    fn in_lane<T: Send + 'static>(run: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.block_on(async {
            let (value, outcome) = crate::sync::oneshot::channel();
            let lane = Spawn::new().spawn(|_: Inbox<()>| async { value.send(run.await).map_err(drop).unwrap() });
            lane::join(lane.unwrap().mailbox.id()).await;
            outcome.await.unwrap()
        })
    }

    #[test]
    fn one_that_was_set_with_no_look_at_the_clock_is_reckoned_to_be_neither_early_nor_much_later() {
        in_lane(async {
            let (mut deadline, before, after) = set_in_a_turn().await;
            assert!(deadline.at <= after + LENGTH, "it may pass for earlier, until it is reckoned");
            // The turn is over, and that was seen.
            let home = context::scheduler().unwrap();
            let (worker, turns) = Turn::worker_and_count(deadline.ahead_in & !SET_IN);
            while home.chronicle.had_given(worker, turns).is_none() {
                sleep(Duration::from_millis(1)).await;
            }
            let seen_by = now();
            deadline.reckon(LENGTH, Some(home.table));
            assert!(before + LENGTH <= deadline.at && deadline.at <= seen_by + LENGTH);
            assert!(!deadline.is_to_be_reckoned());
        });
    }

    #[test]
    fn one_whose_turn_is_not_known_to_be_over_or_whose_runtime_is_gone_was_set_just_now() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let (mut deadline, ..) = in_lane(set_in_a_turn());
        runtime.block_on(async {
            let before = now();
            deadline.reckon(LENGTH, None);
            assert!(before + LENGTH <= deadline.at && deadline.at <= now() + LENGTH);
        });
    }

    #[test]
    fn one_whose_runtime_is_gone_is_not_reckoned_by_the_turns_of_another() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let (mut deadline, ..) = in_lane(set_in_a_turn());
        runtime.block_on(async {
            let (worker, turns) = Turn::worker_and_count(deadline.ahead_in & !SET_IN);
            let another = context::scheduler().unwrap();
            while another.chronicle.had_given(worker, turns).is_none() {
                let lane = Spawn::new().spawn(|_: Inbox<()>| async {}).unwrap().mailbox;
                lane::join(lane.id()).await;
            }
            sleep(Duration::from_millis(50)).await;
            let before = now();
            deadline.reckon(LENGTH, None);
            assert!(before + LENGTH <= deadline.at && deadline.at <= now() + LENGTH);
        });
    }

    #[test]
    fn one_that_is_polled_while_its_alarm_stands_is_still_to_be_reckoned() {
        in_lane(async {
            let (mut deadline, ..) = set_in_a_turn().await;
            sleep(Duration::from_millis(1)).await;
            let is_pending =
                poll_fn(|cx| Poll::Ready(deadline.poll_passed_of_wait_for(LENGTH, || unreachable!(), cx).is_pending()));
            assert!(is_pending.await && deadline.is_to_be_reckoned());
        });
    }

    #[test]
    fn without_a_watchdog_and_where_the_length_is_unusual_the_clock_is_asked() {
        let begins_where = |alarm: Duration, length: Duration| async move {
            let mut alarm = Deadline::after(alarm);
            assert!(is_pending(&mut alarm).await);
            // A watchdog has looked at the clock by now.
            let (chronicle, set) = (&context::scheduler().unwrap().chronicle, now());
            while chronicle.reaches(1) && chronicle.seen() < set {
                sleep(Duration::from_millis(1)).await;
            }
            let mut deadline = Deadline::unset();
            let begins = context::with_current(|local, _, own| deadline.begin_within_alarm(nanos(length), local, own));
            (begins, deadline.ahead_in == POLLED, deadline.ahead_in == UNSET)
        };
        let begins = move |length| begins_where(Duration::from_secs(1), length);
        let of = |length| in_lane(begins(length));
        assert_eq!(of(Duration::from_secs(60)), (Some(true), true, false));
        assert_eq!(of(Duration::ZERO), (Some(false), false, true));
        assert_eq!(of(Duration::from_millis(100)), (Some(false), false, true), "the alarm is too late");
        let of = |alarm, length| in_lane(begins_where(Duration::from_millis(alarm), Duration::from_millis(length)));
        assert_eq!(of(4000, 2000), (Some(false), false, true), "the alarm is too late");
        assert_eq!(of(600, 900), (Some(true), true, false), "it is too short to be lenient");
        let runtime = Runtime::builder().workers(1).watchdog(None).build().unwrap();
        let lane = runtime.block_on(async {
            let run =
                async move |_: Inbox<()>| assert_eq!(begins(Duration::from_secs(3)).await, (Some(true), true, false));
            lane::join(Spawn::new().spawn(run).unwrap().mailbox.id()).await
        });
        assert_eq!(lane, crate::exit::ExitReason::Normal);
    }
}
