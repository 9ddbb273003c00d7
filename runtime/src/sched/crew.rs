//! How many workers share the work, and what those do who find none: all of them and sleep, unless something else gets
//! more done.
//!
//! Lanes that do next to nothing but send to one another are often slower on two cores than on one: each message to the
//! other core moves the lane's word, its node and its future from cache to cache, which takes longer than what the message
//! makes the lane do; and a worker that is woken for one such lane comes when it is done. Whether that is so for the
//! present load cannot be known in advance, so it is tried: while the workers are busy with very short operations,
//! another [`Plan`] is at work for a moment, and stays if it gets more operations done. Hill climbing of this kind sizes
//! the thread pool of .NET, too.
//!
//! Owns: [`Crew`], which decides, with `now` and the counts of operations and of workers that ran dry passed in; and
//! [`StandBy`], where those who are not of the crew wait. Knows nothing of queues.
//!
//! # What always holds
//! 1. The crew is only small while its operations are short. Once they take long, once the crew has nothing left to do,
//!    or once it makes no progress though there is work, all workers are of it.
//! 2. A worker that finds no work while the others go on with many short operations may nap instead of going to sleep: it is
//!    then not woken for a lane that is done before it is awake.
//! 3. Who stands by or naps looks every [`LOOK_EVERY`] whether the crew makes progress, so no lane waits much longer than that
//!    for a crew that is held up. One who found little to do after the last nap goes on napping for up to four looks that find
//!    progress ([`Naps`]).
//! 4. Not all workers that are awake rest at a time ([`StandBy::rest`]): one of them comes to what was pushed, or goes to
//!    sleep as `idle.rs` has it, and minds the driver. So whoever rests need not be woken for anything. One that is stuck,
//!    or a stand-in that leaves, may make that untrue until the rest is over.
//!
//! Model: `model/crew.rs`.

use std::time::Duration;

use crate::env::Instant;
use crate::shim::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};

/// Fewer operations than so many in a second are not worth the trial: they take long, or there are few.
const BUSY: u64 = 3_000_000;
/// How long a size works before its pace is taken, and for how long that is.
const SETTLE: Duration = Duration::from_micros(500);
const MEASURE: Duration = Duration::from_millis(1);
/// A trial that is far back after so long is over: below 60 percent of the pace that was while it settles, below 75 afterwards.
const GIVE_UP: Duration = Duration::from_micros(250);
const FAR_BACK: u64 = 75;
const TOO_FAR_BACK: u64 = 60;
/// A pace over a longer time has a pause in it and says nothing.
const STALE: Duration = Duration::from_millis(20);
/// The pause after a trial that has found something better, as there may be more of that kind.
const SOON: Duration = Duration::from_millis(4);
/// The pause after one that has not, growing while that goes on. Sizes are also not tried sooner in the beginning: they
/// are seldom of use where naps are not, and a trial costs a part of the throughput for as long as it lasts. Naps are not
/// tried where nobody runs dry.
const PAUSE: Duration = Duration::from_millis(16);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// In percent, by how much a smaller crew, a larger one than before, or naps must be better.
const GAIN: u64 = 8;
/// How often those who stand by look whether the crew makes progress.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// So many turns between two naps make it worth to nap for as short as that again.
const WORTH: u64 = 1024;
/// The most looks in a nap.
const LONGEST_NAP: u32 = 4;
/// A worker reports so many operations at a time.
pub(crate) const REPORT_EVERY: u64 = 1 << 13;

/// How the workers share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Workers of this index and above stand by.
    pub(crate) size: usize,
    /// Whether a worker that finds no work naps.
    pub(crate) naps: bool,
}

/// Decides on the plan.
#[derive(Debug)]
pub(crate) struct Crew {
    /// As many as there are.
    all: usize,
    plan: Plan,
    step: Step,
    trial: Option<Trial>,
    naps: Trials,
    sizes: Trials,
    /// Which way the next trial of a size goes, where both are open.
    smaller_next: bool,
    /// When operations were reported last, and how many there were.
    reported: (Instant, u64),
}

/// Another plan is tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// The plan that was, and its pace.
    was: Plan,
    pace: u64,
    /// When the trial began, and how many operations had been done by then.
    since: Instant,
    operations: u64,
}

#[derive(Debug)]
enum Step {
    Pause { until: Instant },
    Settle { until: Instant },
    Measure { since: Instant, operations: u64, dry: u64 },
}

/// When something is tried again.
#[derive(Debug)]
struct Trials {
    pause: Duration,
    next: Instant,
}

impl Trials {
    fn new(next: Instant) -> Trials {
        Trials { pause: PAUSE, next }
    }

    /// A trial has found something better, or has not.
    fn note(&mut self, now: Instant, was_better: bool) {
        if was_better {
            self.pause = PAUSE;
            self.next = now + SOON;
        } else {
            self.next = now + self.pause;
            self.pause = (self.pause * 8).min(LONGEST_PAUSE);
        }
    }
}

impl Crew {
    pub(crate) fn new(all: usize, now: Instant) -> Crew {
        Crew {
            all,
            plan: Plan { size: all, naps: true },
            step: Step::Pause { until: now },
            trial: None,
            naps: Trials::new(now),
            sizes: Trials::new(now + PAUSE),
            smaller_next: true,
            reported: (now, 0),
        }
    }

    /// Whether the pace since the last report is that of short operations.
    fn is_brisk(&mut self, now: Instant, operations: u64) -> bool {
        let (then, before) = std::mem::replace(&mut self.reported, (now, operations));
        pace(operations - before, now - then) >= BUSY
    }

    /// So many operations have been done in all, and so often a worker ran dry meanwhile; the plan from now on.
    pub(crate) fn observe(&mut self, now: Instant, operations: u64, dry: u64) -> Plan {
        match self.step {
            Step::Pause { until } if now < until => {}
            Step::Settle { until } if now < until => {
                if let Some(Trial { since, operations: before, .. }) = self.trial {
                    self.give_up_if_lost(now, since, operations - before, TOO_FAR_BACK);
                }
            }
            Step::Pause { .. } | Step::Settle { .. } => self.step = Step::Measure { since: now, operations, dry },
            Step::Measure { since, operations: before, .. } if now - since < MEASURE => {
                self.give_up_if_lost(now, since, operations - before, FAR_BACK);
            }
            Step::Measure { since, .. } if now - since > STALE => self.all_hands(now),
            Step::Measure { since, operations: before, dry: dry_before } => {
                let pace = pace(operations - before, now - since);
                match self.trial.take() {
                    Some(trial) => self.judge(now, pace, trial),
                    None if pace < BUSY => self.all_hands(now),
                    None => self.begin_trial(now, operations, pace, dry != dry_before),
                }
            }
        }
        self.plan
    }

    /// Tries what is due; whether anybody runs dry says whether naps make a difference.
    fn begin_trial(&mut self, now: Instant, operations: u64, pace: u64, runs_dry: bool) {
        let tried = if runs_dry && now >= self.naps.next {
            Plan { naps: !self.plan.naps, ..self.plan }
        } else if now >= self.sizes.next {
            Plan { size: self.next_size(), ..self.plan }
        } else {
            return self.pause(now);
        };
        let was = std::mem::replace(&mut self.plan, tried);
        self.trial = Some(Trial { was, pace, since: now, operations });
        self.step = Step::Settle { until: now + SETTLE };
    }

    fn next_size(&mut self) -> usize {
        let size = self.plan.size;
        let (smaller, larger) = (size / 2, (size * 2).min(self.all));
        let goes_down = smaller != 0 && (larger == size || self.smaller_next);
        self.smaller_next = !goes_down;
        if goes_down { smaller } else { larger }
    }

    fn judge(&mut self, now: Instant, pace: u64, trial: Trial) {
        let Trial { was, pace: its_pace, .. } = trial;
        let is_of_naps = self.plan.naps != was.naps;
        // Without need nobody naps.
        let stays = if is_of_naps && !self.plan.naps {
            pace.saturating_mul(100 + GAIN) >= its_pace.saturating_mul(100)
        } else {
            pace.saturating_mul(100) >= its_pace.saturating_mul(100 + GAIN)
        };
        if !stays {
            self.plan = was;
        }
        let trials = if is_of_naps { &mut self.naps } else { &mut self.sizes };
        trials.note(now, stays);
        self.pause(now);
    }

    /// Ends a trial that has got so many operations done since then, where that is less than so many percent of what is usual:
    /// nothing is gained by a closer look.
    fn give_up_if_lost(&mut self, now: Instant, since: Instant, operations: u64, percent: u64) {
        if now - since < GIVE_UP {
            return;
        }
        let pace = pace(operations, now - since);
        if let Some(trial) = self.trial.take_if(|trial| pace.saturating_mul(100) < trial.pace.saturating_mul(percent)) {
            self.judge(now, 0, trial);
        }
    }

    /// Until something is due again: whether anybody runs dry is looked at now and then.
    fn pause(&mut self, now: Instant) {
        let next = self.sizes.next.min(self.naps.next.max(now + SOON));
        self.step = Step::Pause { until: next };
    }

    /// The crew has nothing to do, or does not get on: all workers are of it, for a while at least.
    pub(crate) fn all_hands(&mut self, now: Instant) {
        if let Some(trial) = self.trial.take() {
            self.plan = trial.was;
        }
        self.plan.size = self.all;
        self.sizes.next = now + self.sizes.pause;
        self.pause(now);
    }
}

/// Operations a second.
fn pace(operations: u64, time: Duration) -> u64 {
    let pace = u128::from(operations) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(pace).unwrap_or(u64::MAX)
}

/// How long a worker naps: for longer where there was little to do for it after the last time. It would take a part of the
/// lanes from who gets on well with them, be done with these within microseconds, and leave their lines in its cache.
#[derive(Debug, Default)]
pub(crate) struct Naps {
    turns: u64,
    looks: u32,
}

impl Naps {
    /// How many looks are in the next nap of a worker that has given so many turns in its life.
    pub(crate) fn next(&mut self, turns: u64) -> u32 {
        let was_of_use = turns - std::mem::replace(&mut self.turns, turns) >= WORTH;
        self.looks = if was_of_use { 1 } else { (self.looks * 2).clamp(1, LONGEST_NAP) };
        self.looks
    }
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
    /// How often a worker found no work while operations were many and short.
    dry: AtomicU64,
    /// As many workers as there are.
    all: usize,
    /// Whether operations are many and short.
    brisk: AtomicBool,
    /// Whether a worker naps that finds no work then.
    naps: AtomicBool,
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
            dry: AtomicU64::new(0),
            all,
            brisk: AtomicBool::new(false),
            naps: AtomicBool::new(true),
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
        self.operations.fetch_add(operations, Ordering::Relaxed);
        // Who finds another at it leaves it to them.
        let Some(mut crew) = self.crew.try_lock() else { return };
        // ORDER: Relaxed: read under the lock, so that no report tells of less than the one before it.
        let operations = self.operations.load(Ordering::Relaxed);
        let now = now();
        self.brisk.store(crew.is_brisk(now, operations), Ordering::Relaxed);
        let plan = crew.observe(now, operations, self.dry.load(Ordering::Relaxed));
        self.set(plan);
    }

    /// Waits for a moment, where operations are many and short and naps are of the plan, if the worker may rest; false where
    /// it is to sleep. The moment has so many `looks`, of which the first that finds no progress ends it. `at_work` and `begin`
    /// are as in [`StandBy::wait`].
    ///
    /// A worker that finds no work is so spared to be put to sleep and woken for a lane that is done before it is awake.
    pub(crate) fn nap<T>(&self, looks: u32, at_work: impl FnOnce() -> usize, begin: impl FnOnce() -> T) -> bool {
        if !self.brisk.load(Ordering::Relaxed) {
            return false;
        }
        self.dry.fetch_add(1, Ordering::Relaxed);
        if !self.naps.load(Ordering::Relaxed) {
            return false;
        }
        self.rest(at_work, begin, |crew| {
            for _ in 0..looks {
                let before = self.operations.load(Ordering::Relaxed);
                // Under the lock, without which no plan changes.
                if self.naps.load(Ordering::Relaxed) {
                    self.changed.wait_for(crew, LOOK_EVERY);
                }
                if !self.naps.load(Ordering::Relaxed) {
                    return;
                }
                if self.operations.load(Ordering::Relaxed) == before {
                    return self.brisk.store(false, Ordering::Relaxed);
                }
            }
        })
    }

    /// Waits for a moment, less where the crew grows; false where the worker must not rest, though it is not of the crew,
    /// as nobody else is at work. `at_work` counts the workers that neither sleep nor search, and this one, from a change
    /// of the word of `idle.rs`; `begin` is called before it rests, and what it gives is dropped afterwards.
    pub(crate) fn wait<T>(&self, at_work: impl FnOnce() -> usize, begin: impl FnOnce() -> T) -> bool {
        self.rest(at_work, begin, |crew| {
            if self.size.load(Ordering::Relaxed) < self.all {
                self.changed.wait_for(crew, LOOK_EVERY);
            }
        })
    }

    /// See invariant 4. It waits by `pause`, under the lock without which no crew grows.
    fn rest<T>(
        &self,
        at_work: impl FnOnce() -> usize,
        begin: impl FnOnce() -> T,
        pause: impl FnOnce(&mut MutexGuard<'_, Crew>),
    ) -> bool {
        // ORDER: Relaxed: of two who do this at a time the later change sees the earlier, and goes on. Model:
        // `not_all_rest_at_a_time`.
        let resting = self.resting.fetch_add(1, Ordering::Relaxed) + 1;
        let rests = at_work() > resting;
        if rests {
            let begun = begin();
            let mut crew = self.crew.lock();
            pause(&mut crew);
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
            self.set(crew.plan);
        }
    }

    fn set(&self, plan: Plan) {
        let naps_end = self.naps.swap(plan.naps, Ordering::Relaxed) && !plan.naps;
        if self.size.swap(plan.size, Ordering::Relaxed) < plan.size || naps_end {
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
    pub(crate) fn decide(&self, plan: Plan, brisk: bool) {
        let _crew = self.crew.lock();
        self.brisk.store(brisk, Ordering::Relaxed);
        self.set(plan);
    }

    /// Has those who rest wait until the crew grows.
    #[cfg(all(test, loom))]
    pub(crate) fn without_time_outs(self) -> StandBy {
        StandBy { changed: self.changed.without_time_outs(), ..self }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
