//! How long a lane may go on before others have their turn: so many operations, or so much time.
//!
//! An operation is whatever might have had to wait: a receive, a send, a read from a socket that keeps being ready. A
//! lane over its share is queued behind all others and goes on where it was.
//!
//! A lane that sends to one which has many messages waiting has a short turn, so that those who produce do not run ahead of
//! those who consume. (Erlang's schedulers long did the same, by a price in reductions.) One that receives them has a turn for as
//! many as some dozens of senders make in theirs.

use std::cell::Cell;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::context;
use crate::env::Instant;

/// Operations in a turn: of the shortest, what takes some ten microseconds.
const OPERATIONS: u32 = 1024;
/// Time in a turn, looked at once in [`CLOCK_EVERY`] operations, or more seldom while they are quick, and not at all in a turn
/// that is shorter than that.
const TIME: Duration = Duration::from_millis(1);
const CLOCK_EVERY: u32 = 16;
/// A turn that has taken no longer than this is looked at again when it has had twice the operations, or so many more: one that
/// turns slow is not noticed before.
const QUICK: Duration = Duration::from_micros(100);
const CLOCK_EVERY_AT_MOST: u32 = 128;

/// Where the worker stands in the number of a turn; the highest bit is never set.
const WORKER_SHIFT: u32 = 56;

/// What is left of the present turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Which turn it is: no two of a runtime have the same number.
    number: Cell<u64>,
    /// Operations until the next look at the clock.
    left: Cell<u32>,
    /// Operations after that look.
    beyond: Cell<u32>,
    began: Cell<Option<Instant>>,
    /// The turn that was shortened last, by its number.
    shortened: Cell<u64>,
    /// Operations that were left in turns that are over, since it was last asked what was done.
    unused: Cell<u64>,
    /// The turn in which it was.
    asked_in: Cell<u64>,
}

impl Turn {
    /// For the turns that this worker gives.
    pub(crate) fn of_worker(index: usize) -> Turn {
        let number = (index as u64) << WORKER_SHIFT;
        Turn { number: Cell::new(number), asked_in: Cell::new(number), ..Turn::default() }
    }

    /// Which turn it is.
    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }

    /// Which turn will be the next.
    #[inline]
    pub(crate) fn next_number(&self) -> u64 {
        self.number.get() + 1
    }

    /// Which worker gave the turn of this number, and how many it had given then, with this one.
    pub(crate) fn worker_and_count(number: u64) -> (usize, u64) {
        ((number >> WORKER_SHIFT) as usize, number & ((1 << WORKER_SHIFT) - 1))
    }

    /// A lane begins its turn.
    #[inline]
    pub(crate) fn begin(&self) {
        self.number.set(self.number.get() + 1);
        self.left.set(CLOCK_EVERY);
        self.beyond.set(OPERATIONS - CLOCK_EVERY);
        self.began.set(None);
    }

    /// Takes one operation; false where the turn is over.
    #[inline]
    pub(crate) fn take(&self, now: impl FnOnce() -> Instant) -> bool {
        let left = self.left.get();
        if left == 0 {
            return self.look(now);
        }
        self.left.set(left - 1);
        true
    }

    /// Whether there are operations left until the next look at the clock.
    #[inline]
    pub(crate) fn has_left(&self) -> bool {
        self.left.get() != 0
    }

    /// Takes one of the operations that are [left](Turn::has_left).
    #[inline]
    pub(crate) fn take_left(&self) {
        debug_assert!(self.has_left());
        self.left.set(self.left.get().wrapping_sub(1));
    }

    /// Takes so many more operations, which were done at once; more than there are end the turn.
    pub(crate) fn charge(&self, operations: u32) {
        let left = self.left.get();
        self.left.set(left.saturating_sub(operations));
        if operations > left {
            // What is beyond goes by whole looks at the clock.
            let more = (operations - left).div_ceil(CLOCK_EVERY).saturating_mul(CLOCK_EVERY);
            self.beyond.set(self.beyond.get().saturating_sub(more));
        }
    }

    /// The turn is over after so many operations as are between two looks at the clock at first.
    #[inline]
    pub(crate) fn shorten(&self) {
        let (left, beyond) = (self.left.get(), self.beyond.get());
        let kept = left.min(CLOCK_EVERY);
        self.unused.set(self.unused.get() + u64::from(left - kept + beyond));
        self.left.set(kept);
        self.beyond.set(0);
        self.shortened.set(self.number.get());
    }

    /// The turn is over, whatever was left of it.
    pub(crate) fn exhaust(&self) {
        self.left.set(0);
        self.beyond.set(0);
        // It counts as a long one, also where it was to be short.
        self.shortened.set(0);
    }

    /// As `take`, where it is time to look at the clock.
    #[cold]
    fn look(&self, now: impl FnOnce() -> Instant) -> bool {
        let beyond = self.beyond.get();
        if beyond == 0 {
            return false;
        }
        let now = now();
        let mut step = CLOCK_EVERY;
        match self.began.get() {
            None => self.began.set(Some(now)),
            Some(began) if now - began >= TIME => {
                self.beyond.set(0);
                return false;
            }
            Some(began) if now - began <= QUICK => step = (OPERATIONS - beyond).min(beyond).min(CLOCK_EVERY_AT_MOST),
            Some(_) => {}
        }
        self.beyond.set(beyond - step);
        self.left.set(step - 1);
        true
    }

    /// The turn ends, with this lane or without it: whether it was a long one that was used up.
    #[inline]
    pub(crate) fn end(&self) -> bool {
        let unused = self.left.get() + self.beyond.get();
        self.unused.set(self.unused.get() + u64::from(unused));
        unused == 0 && self.shortened.get() != self.number.get()
    }

    /// The operations of the turns that have ended since this was asked for, once there are so many, asked between two turns. The
    /// turn itself counts as one, so that a lane that only ends counts as well; one whose time was over first counts as if it had
    /// had them all.
    #[inline]
    pub(crate) fn take_done(&self, at_least: u64) -> Option<u64> {
        let turns = self.number.get() - self.asked_in.get();
        let done = turns * u64::from(OPERATIONS + 1) - self.unused.get();
        if done < at_least {
            return None;
        }
        self.asked_in.set(self.number.get());
        self.unused.set(0);
        Some(done)
    }

    /// Whether the lane has used up its turn.
    #[cfg(test)]
    fn is_over(&self) -> bool {
        self.left.get() == 0 && self.beyond.get() == 0
    }
}

/// Takes one operation of the current lane's turn: pending, with the lane queued behind the others, where it is over.
/// Always ready outside of lanes.
///
/// Futures that can be ready many times in a row call this before they look, so that their lane cannot keep a worker
/// to itself.
#[inline]
pub fn poll_share(cx: &mut Context<'_>) -> Poll<()> {
    if share() == Share::Over { over(cx) } else { Poll::Ready(()) }
}

/// The current lane has done so many operations more, in the one that it took.
#[inline]
pub(crate) fn charge(operations: u32) {
    context::with_local(|local| {
        if let Some(local) = local
            && local.current().is_some()
        {
            local.turn.charge(operations);
        }
    });
}

/// Whether the current lane has operations left until the next look at the clock; never outside of lanes.
#[inline]
pub(crate) fn has_left() -> bool {
    context::with_local(|local| local.is_some_and(|local| local.current().is_some() && local.turn.has_left()))
}

/// What comes of the wish for an operation of the current lane's turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// It is granted, as always outside of lanes.
    Granted,
    /// The turn is over.
    Over,
    /// The lane is abandoned.
    Abandoned,
}

#[inline]
pub(crate) fn share() -> Share {
    context::with_local(|local| match local {
        Some(local) if local.current().is_some() => {
            if local.takes_operation() {
                Share::Granted
            } else {
                Share::Over
            }
        }
        Some(local) if local.is_abandoned() => Share::Abandoned,
        _ => Share::Granted,
    })
}

/// The turn is over: the lane goes on when it has another.
#[cold]
pub(crate) fn over<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Lets all other lanes that are ready run before this one goes on.
///
/// ```
/// # let runtime = laneway_runtime::Runtime::builder().build().unwrap();
/// runtime.block_on(laneway_runtime::yield_now());
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{self, Spawn};
    use crate::mailbox::Inbox;
    use crate::runtime::Runtime;

    #[test]
    fn the_number_of_a_turn_says_which_worker_gave_it() {
        for worker in [0, 1, 55] {
            let turn = Turn::of_worker(worker);
            for count in 1..4 {
                turn.begin();
                assert_eq!(Turn::worker_and_count(turn.number()), (worker, count));
            }
        }
    }

    #[test]
    fn the_number_of_a_turn_says_how_many_its_worker_has_given_whatever_became_of_their_lanes() {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        runtime.block_on(async {
            let (tell, told) = std::sync::mpsc::channel();
            let looks = async move |_: Inbox<()>| {
                for _ in 0..3 {
                    yield_now().await;
                    let (number, given) = context::with_local(|local| {
                        let local = local.unwrap();
                        (local.turn.number(), (local.index, local.scheduler.metrics.turns_of(local.index) + 1))
                    });
                    // The present turn is not over.
                    tell.send((Turn::worker_and_count(number), given)).unwrap();
                }
            };
            for _ in 0..20 {
                let waits = Spawn::new().spawn(async |_: Inbox<()>| std::future::pending::<()>().await).unwrap();
                let panics = Spawn::new().spawn(async |_: Inbox<()>| panic!("as planned")).unwrap();
                yield_now().await;
                // By a worker, which then ends it apart from others.
                let waits = waits.mailbox.id();
                let kills = Spawn::new().spawn(async move |_: Inbox<()>| assert!(lane::kill(waits))).unwrap();
                lane::join(kills.mailbox.id()).await;
                lane::join(waits).await;
                lane::join(panics.mailbox.id()).await;
                lane::join(Spawn::new().spawn(looks.clone()).unwrap().mailbox.id()).await;
            }
            drop(looks);
            let looks: Vec<_> = told.iter().collect();
            assert_eq!(looks.len(), 60);
            assert!(looks.iter().all(|(number, given)| number == given), "{looks:?}");
        });
    }

    #[test]
    fn a_turn_ends_after_its_operations() {
        let turn = Turn::default();
        turn.begin();
        assert_eq!((0..2 * OPERATIONS).filter(|_| turn.take(|| Instant::ZERO)).count(), OPERATIONS as usize);
        assert!(turn.is_over());
        turn.begin();
        assert!(turn.take(|| Instant::ZERO));
    }

    #[test]
    fn what_is_done_at_once_counts_as_often_as_it_was_done() {
        for charged in [0, 1, CLOCK_EVERY - 1, CLOCK_EVERY, 100, OPERATIONS - 1, OPERATIONS, OPERATIONS + 1, u32::MAX] {
            for before in [0, 1, 20] {
                let turn = Turn::default();
                turn.begin();
                assert!((0..before).all(|_| turn.take(|| Instant::ZERO)));
                turn.charge(charged);
                let left = (0..2 * OPERATIONS).filter(|_| turn.take(|| Instant::ZERO)).count() as u32;
                let due = OPERATIONS.saturating_sub(charged.saturating_add(before));
                assert!(left <= due && due < left + CLOCK_EVERY, "{left} left after {before} and {charged}");
                assert!(turn.end(), "{before} and {charged}");
                assert_eq!(turn.take_done(0), Some(u64::from(OPERATIONS) + 1));
            }
        }
    }

    #[test]
    fn quick_operations_are_looked_at_seldom_and_slow_ones_often() {
        let looks = |each: Duration| {
            let (turn, now, looks) = (Turn::default(), Cell::new(Instant::ZERO), Cell::new(0));
            turn.begin();
            let look = || {
                looks.set(looks.get() + 1);
                now.get()
            };
            let mut taken = 0;
            while turn.take(look) {
                taken += 1;
                now.set(now.get() + each);
            }
            (taken, looks.get())
        };
        assert_eq!(looks(Duration::from_nanos(50)), (OPERATIONS, 10));
        assert_eq!(looks(Duration::from_micros(3)), (352, 21));
        // One that turns slow is not noticed before it has had as many operations again.
        assert_eq!(looks(Duration::from_micros(20)).0, 80);
    }

    #[test]
    fn a_turn_that_is_shortened_ends_soon() {
        for before in [0, 3, 40, 200] {
            let turn = Turn::default();
            turn.begin();
            assert!((0..before).all(|_| turn.take(|| Instant::ZERO)));
            turn.shorten();
            let left = (0..OPERATIONS).filter(|_| turn.take(|| Instant::ZERO)).count();
            assert!(left <= CLOCK_EVERY as usize, "{left} left after {before}");
            assert!(turn.is_over() && !turn.end(), "it is over, and was no long one");
        }
    }

    #[test]
    fn a_turn_that_was_to_be_short_and_is_exhausted_was_a_long_one() {
        let turn = Turn::default();
        turn.begin();
        turn.shorten();
        turn.exhaust();
        assert!(turn.end());
    }

    #[test]
    fn a_turn_that_is_shortened_counts_what_was_done_in_it() {
        let turn = Turn::default();
        turn.begin();
        turn.take_left();
        turn.shorten();
        assert!((0..5).all(|_| turn.take(|| Instant::ZERO)));
        // It parks: six operations and the turn itself.
        let _ = turn.end();
        assert_eq!(turn.take_done(0), Some(7));
        turn.begin();
        turn.take_left();
        turn.shorten();
        assert_eq!((0..300).filter(|_| turn.take(|| Instant::ZERO)).count(), 15);
        let _ = turn.end();
        assert_eq!(turn.take_done(0), Some(17));
        // Also where more was left until the next look at the clock.
        for before in 0..400 {
            turn.begin();
            assert!((0..before).all(|_| turn.take(|| Instant::ZERO)));
            turn.shorten();
            let after = (0..300).filter(|_| turn.take(|| Instant::ZERO)).count() as u64;
            let _ = turn.end();
            assert_eq!(turn.take_done(0), Some(before + after + 1));
        }
    }

    #[test]
    fn what_was_done_is_told_once_there_is_enough_of_it() {
        let turn = Turn::default();
        for operations in [0, 5, 17, 2 * OPERATIONS] {
            turn.begin();
            let _ = (0..operations).all(|_| turn.take(|| Instant::ZERO));
            assert_eq!(turn.end(), operations > OPERATIONS);
        }
        let done = u64::from(4 + 5 + 17 + OPERATIONS);
        assert_eq!((turn.take_done(done + 1), turn.take_done(done), turn.take_done(1)), (None, Some(done), None));
    }

    #[test]
    fn a_turn_ends_after_its_time() {
        let turn = Turn::default();
        turn.begin();
        let mut now = Instant::ZERO;
        let mut taken = 0;
        while turn.take(|| now) {
            taken += 1;
            now += Duration::from_micros(100);
        }
        assert!(taken <= 3 * CLOCK_EVERY, "{taken}");
    }
}
