//! How many workers share the work: all of them, unless fewer get more done.
//!
//! Lanes that do next to nothing but send to one another are slower on two cores than on one: each message to the other
//! core moves the lane's word, its node and its future from cache to cache, which takes longer than what the message
//! makes the lane do. Whether that is so for the present load cannot be known in advance, so it is tried: while the
//! workers are busy with very short operations, a smaller or a larger crew works for a moment, and the size that gets
//! more operations done stays. Hill climbing of this kind sizes the thread pool of .NET, too.
//!
//! Owns: [`Crew`], which decides, with `now` and the count of operations passed in; and [`StandBy`], where those who are
//! not of the crew wait. Knows nothing of queues.
//!
//! # What always holds
//! 1. The crew is only small while its operations are short. Once they take long, once the crew has nothing left to do,
//!    or once it makes no progress though there is work, all workers are of it.
//! 2. A worker that finds no work while the others go on with many short operations does not sleep but naps: it is not
//!    woken for a lane that is done before it is awake.
//! 3. Who stands by or naps looks every [`LOOK_EVERY`] whether the crew makes progress, so no lane waits much longer than that
//!    for a crew that is held up.
//! 4. Not all workers that are awake rest at a time ([`StandBy::rest`]): one of them comes to what was pushed, or goes to
//!    sleep as `idle.rs` has it, and minds the driver. So whoever rests need not be woken for anything. One that is stuck,
//!    or a stand-in that leaves, may make that untrue until the rest is over.
//!
//! Model: `model/crew.rs`.

use std::time::Duration;

use crate::env::Instant;
use crate::shim::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering};

/// Fewer operations than so many in a second are not worth the trial: they take long, or there are few.
const BUSY: u64 = 3_000_000;
/// How long a size works before its pace is taken, and for how long that is.
const SETTLE: Duration = Duration::from_micros(500);
const MEASURE: Duration = Duration::from_millis(1);
/// A pace over a longer time has a pause in it and says nothing.
const STALE: Duration = Duration::from_millis(20);
/// The pause between two trials: the first after a change, growing while trials find nothing better.
const PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// In percent, by how much another size must be better.
const GAIN: u64 = 8;
/// How often those who stand by look whether the crew makes progress.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A worker reports so many operations at a time.
pub(crate) const REPORT_EVERY: u64 = 1 << 13;

/// Decides how many workers share the work.
#[derive(Debug)]
pub(crate) struct Crew {
    /// As many as there are.
    all: usize,
    size: usize,
    step: Step,
    /// The size that was, and its pace, while another is tried.
    trial: Option<(usize, u64)>,
    pause: Duration,
    /// Which way the next trial goes, where both are open.
    smaller_next: bool,
    /// When operations were reported last, and how many there were.
    reported: (Instant, u64),
}

#[derive(Debug)]
enum Step {
    Pause { until: Instant },
    Settle { until: Instant },
    Measure { since: Instant, operations: u64 },
}

impl Crew {
    pub(crate) fn new(all: usize, now: Instant) -> Crew {
        let step = Step::Pause { until: now };
        Crew { all, size: all, step, trial: None, pause: PAUSE, smaller_next: true, reported: (now, 0) }
    }

    /// Whether the pace since the last report is that of short operations.
    fn is_brisk(&mut self, now: Instant, operations: u64) -> bool {
        let (then, before) = std::mem::replace(&mut self.reported, (now, operations));
        pace(operations - before, now - then) >= BUSY
    }

    /// So many operations have been done in all; the size of the crew from now on.
    pub(crate) fn observe(&mut self, now: Instant, operations: u64) -> usize {
        match self.step {
            Step::Pause { until } | Step::Settle { until } if now < until => {}
            Step::Pause { .. } | Step::Settle { .. } => self.step = Step::Measure { since: now, operations },
            Step::Measure { since, .. } if now - since < MEASURE => {}
            Step::Measure { since, .. } if now - since > STALE => self.all_hands(now),
            Step::Measure { since, operations: before } => {
                let pace = pace(operations - before, now - since);
                match self.trial.take() {
                    Some((was, its_pace)) => self.judge(now, pace, was, its_pace),
                    None if pace < BUSY => self.all_hands(now),
                    None => self.begin_trial(now, pace),
                }
            }
        }
        self.size
    }

    fn begin_trial(&mut self, now: Instant, pace: u64) {
        let (smaller, larger) = (self.size / 2, (self.size * 2).min(self.all));
        let goes_down = if smaller == 0 { false } else { larger == self.size || self.smaller_next };
        self.smaller_next = !goes_down;
        self.trial = Some((self.size, pace));
        self.size = if goes_down { smaller } else { larger };
        self.step = Step::Settle { until: now + SETTLE };
    }

    fn judge(&mut self, now: Instant, pace: u64, was: usize, its_pace: u64) {
        if pace.saturating_mul(100) >= its_pace.saturating_mul(100 + GAIN) {
            self.pause = PAUSE;
        } else {
            self.size = was;
            self.pause = (self.pause * 4).min(LONGEST_PAUSE);
        }
        self.step = Step::Pause { until: now + self.pause };
    }

    /// The crew has nothing to do, or does not get on: all workers are of it, for a while at least.
    pub(crate) fn all_hands(&mut self, now: Instant) {
        self.size = self.all;
        self.trial = None;
        self.step = Step::Pause { until: now + self.pause };
    }
}

/// Operations a second.
fn pace(operations: u64, time: Duration) -> u64 {
    let pace = u128::from(operations) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(pace).unwrap_or(u64::MAX)
}

/// Where the workers meet the decision.
#[derive(Debug)]
pub(crate) struct StandBy {
    /// Workers of this index and above stand by.
    size: AtomicUsize,
    crew: Mutex<Crew>,
    changed: Condvar,
    /// Operations that workers have reported.
    operations: AtomicU64,
    /// As many workers as there are.
    all: usize,
    /// Whether operations are many and short.
    brisk: AtomicBool,
    /// Workers that stand by or nap.
    resting: AtomicUsize,
    enabled: bool,
}

impl StandBy {
    pub(crate) fn new(all: usize, enabled: bool, now: Instant) -> StandBy {
        StandBy {
            size: AtomicUsize::new(all),
            crew: Mutex::new(Crew::new(all, now)),
            changed: Condvar::new(),
            operations: AtomicU64::new(0),
            all,
            brisk: AtomicBool::new(false),
            resting: AtomicUsize::new(0),
            enabled: enabled && all > 1,
        }
    }

    /// Whether this worker is of the crew; stand-ins, who are beyond the workers, always are.
    #[inline]
    pub(crate) fn includes(&self, worker: usize) -> bool {
        // ORDER: Relaxed: a matter of economy; who sees a change late does no harm.
        worker < self.size.load(Ordering::Relaxed) || worker >= self.all
    }

    /// How many workers are of the crew.
    pub(crate) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// A worker has done so many operations more.
    #[cold]
    pub(crate) fn report(&self, operations: u64, now: impl FnOnce() -> Instant) {
        if !self.enabled {
            return;
        }
        let operations = self.operations.fetch_add(operations, Ordering::Relaxed) + operations;
        // Who finds another at it leaves it to them.
        let Some(mut crew) = self.crew.try_lock() else { return };
        let now = now();
        self.brisk.store(crew.is_brisk(now, operations), Ordering::Relaxed);
        let size = crew.observe(now, operations);
        self.set(size);
    }

    /// Waits for a moment, where operations are many and short, if the worker may rest; false where it is to sleep, as
    /// nobody else minds sockets and timers. `at_work` and `begin` are as in [`StandBy::wait`].
    ///
    /// A worker that finds no work is so spared to be put to sleep and woken for a lane that is done before it is awake.
    pub(crate) fn nap<T>(&self, at_work: impl FnOnce() -> usize, begin: impl FnOnce() -> T) -> bool {
        if !self.brisk.load(Ordering::Relaxed) {
            return false;
        }
        let mut before = 0;
        let naps = self.rest(at_work, begin, || {
            before = self.operations.load(Ordering::Relaxed);
            true
        });
        if naps && self.operations.load(Ordering::Relaxed) == before {
            self.brisk.store(false, Ordering::Relaxed);
        }
        naps
    }

    /// Waits for a moment, less where the crew grows; false where the worker must not rest, though it is not of the crew,
    /// as nobody else is at work. `at_work` counts the workers that neither sleep nor search, and this one, from a change
    /// of the word of `idle.rs`; `begin` is called before it rests, and what it gives is dropped afterwards.
    pub(crate) fn wait<T>(&self, at_work: impl FnOnce() -> usize, begin: impl FnOnce() -> T) -> bool {
        self.rest(at_work, begin, || self.size.load(Ordering::Relaxed) < self.all)
    }

    /// See invariant 4. Under the lock, without which no crew grows, `still` says whether to wait at all.
    fn rest<T>(
        &self,
        at_work: impl FnOnce() -> usize,
        begin: impl FnOnce() -> T,
        still: impl FnOnce() -> bool,
    ) -> bool {
        // ORDER: Relaxed: of two who do this at a time the later change sees the earlier, and goes on. Model:
        // `not_all_rest_at_a_time`.
        let resting = self.resting.fetch_add(1, Ordering::Relaxed) + 1;
        let rests = at_work() > resting;
        if rests {
            let begun = begin();
            let mut crew = self.crew.lock();
            if still() {
                self.changed.wait_for(&mut crew, LOOK_EVERY);
            }
            drop(crew);
            drop(begun);
        }
        self.resting.fetch_sub(1, Ordering::Relaxed);
        rests
    }

    /// Sees to it that all workers are of the crew.
    pub(crate) fn all_hands(&self, now: impl FnOnce() -> Instant) {
        if self.size.load(Ordering::Relaxed) != self.all {
            let mut crew = self.crew.lock();
            crew.all_hands(now());
            self.set(crew.size);
        }
    }

    fn set(&self, size: usize) {
        if self.size.swap(size, Ordering::Relaxed) < size {
            self.changed.notify_all();
        }
    }

    /// Lets everybody go who stands by.
    pub(crate) fn dismiss(&self) {
        // Who is between the look and the wait misses it, and looks again after a moment.
        self.changed.notify_all();
    }

    /// As if a report had decided so.
    #[cfg(all(test, loom))]
    pub(crate) fn decide(&self, size: usize, brisk: bool) {
        let _crew = self.crew.lock();
        self.brisk.store(brisk, Ordering::Relaxed);
        self.set(size);
    }

    /// Has those who rest wait until the crew grows.
    #[cfg(all(test, loom))]
    pub(crate) fn without_time_outs(self) -> StandBy {
        StandBy { changed: self.changed.without_time_outs(), ..self }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
