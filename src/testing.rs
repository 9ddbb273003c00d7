//! For tests of your own lanes and actors: kill them wherever they can be killed, and see that nothing of them remains.
//!
//! A lane can be killed at any of its awaits. An **await** is here a poll of the lane's future that is pending: an
//! `.await` that is ready at once is none, and one that is woken for nothing is several. [`kill_sweep`] tries them all: it runs a **scenario** (an `async` function
//! that spawns some lanes and works with them) once undisturbed, and then again and again, each time in a runtime of its
//! own, killing the **victim** at its first await, its second, its third, until it runs to its end unharmed. After each
//! death, and at the end of each run, it checks the invariant of Laneway's deaths: no timer, descriptor, name, link,
//! monitor or place in a queue is held by the dead, and no caller waits for them.
//!
//! ```
//! use laneway::prelude::*;
//! use laneway::testing::{Victim, kill_sweep};
//!
//! struct Counter(u64);
//!
//! enum Msg {
//!     Add(u64),
//!     Total(Reply<u64>),
//! }
//!
//! impl Actor for Counter {
//!     type Msg = Msg;
//!
//!     async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Outcome {
//!         match message {
//!             Msg::Add(number) => self.0 += number,
//!             Msg::Total(reply) => {
//!                 // A pause in the middle of things is where a kill hurts.
//!                 sleep(std::time::Duration::from_millis(5)).await;
//!                 let _ = reply.send(self.0);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let report = kill_sweep(Victim::named("counter"), || async {
//!     let counter = Spawn::new().name("counter").start(Counter(0)).await?;
//!     // It may be killed before, while or after it handles these. What must not happen is that we wait for ever, or
//!     // that we are told a wrong total.
//!     let added = counter.send(Msg::Add(2)).await.is_ok();
//!     match counter.ask(Msg::Total).no_timeout().await {
//!         Ok(total) => assert!(added && total == 2),
//!         Err(error) => assert!(matches!(error, AskError::NoProc | AskError::Ended(_))),
//!     }
//!     Ok::<(), laneway::StartError>(())
//! });
//! assert_eq!((report.kills, report.awaits), (3, 3));
//! ```
//!
//! # How to write a scenario
//!
//! * It runs as a lane, so that it may link and monitor, and it is started afresh for each kill; so it is a function that
//!   returns a future, and what the future needs it clones: `move || { let it = it.clone(); async move { … } }`.
//! * It takes errors of its calls as they come, since its victim may be dead at any point; and it returns `Ok` or `()` if
//!   all was as it should be. A panic, an error and any other abnormal end, as by a link with the victim, fail the sweep.
//! * It waits for what it starts, so that a caller who is left waiting shows: the scenario then never ends, and the sweep
//!   says so, with who was alive. Asks have a timeout of five seconds unless told otherwise, which would hide that:
//!   [`no_timeout`](crate::Ask::no_timeout).
//! * It ends what it starts (`stop`, then `join`) where that end is to be swept too: the sweep is over when the scenario
//!   is, and awaits that come later do not count. A victim that is alive by then is asked to end as all others are; in the
//!   last run, which tells the number of its awaits, it is killed at once.
//! * It uses a runtime's time, not the clock's on the wall. Time is virtual: an hour's sleep takes none. Where sockets are
//!   used it must be real; see [`KillSweep::real_time`].
//!
//! # What is checked
//!
//! | of whom | when | what |
//! | --- | --- | --- |
//! | each lane that ends | at once, before any other lane runs (on one worker) | it counts as dead and takes no more signals; no timer, descriptor, name, green lock, place in line or waiting sender is left to it; the OS has closed its sockets; no destructor panicked and no release failed |
//! | each victim | soon after, by a lane that watches it | no lane is linked with it, watched by it or watching it any more |
//! | each victim | at the end of the scenario | whoever watched it heard of it exactly once, with the true reason and receipt |
//! | the runtime | once all lanes have ended | none was late; what was opened is closed, what was spawned has ended, no timer or name is left, and the receipts add up to what the metrics say |
//! | your [`Canaries`] | after the runtime is gone | none is alive: no message, future or closure was forgotten |
//! | the process | after the runtime is gone, with [`KillSweep::alone`] | it has the descriptors that it had before |

mod canary;
mod plan;
mod probe;
mod report;
mod run;
mod violation;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use runtime::IntoExit;

pub use canary::{Canaries, Canary};
pub use report::{SweepFailure, SweepReport, Totals};
pub use runtime::fault::Spawned;
pub use violation::{Tie, Violation};

/// Sweeps with the usual settings: virtual time, one worker; see the [module's page](self).
///
/// # Panics
/// With the [`SweepFailure`] in words, where a run went wrong.
#[track_caller]
pub fn kill_sweep<S, F>(victim: Victim, scenario: S) -> SweepReport
where
    S: Fn() -> F,
    F: Future<Output: IntoExit> + Send + 'static,
{
    match KillSweep::new(victim).run(scenario) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

type Wanted = Arc<dyn Fn(&Spawned<'_>) -> bool + Send + Sync>;

/// Whom to kill: the first lane that fits, unless told otherwise.
#[derive(Clone)]
pub struct Victim {
    wanted: Wanted,
    what: String,
    which: Which,
}

/// Which of the lanes that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// The one with this number, from 1, in the order in which they are spawned.
    Nth(u64),
    Every,
}

impl Victim {
    /// A lane that is spawned under this name. (A name that it registers later does not count.)
    pub fn named(name: impl Into<String>) -> Victim {
        let name = name.into();
        let what = format!("the lane named {name:?}");
        Victim::new(what, move |lane| lane.name == Some(name.as_str()))
    }

    /// A lane that takes messages of type `M`.
    pub fn receiving<M>() -> Victim {
        let name = std::any::type_name::<M>();
        Victim::new(format!("the lane that receives {name}"), move |lane| lane.message == name)
    }

    /// A lane that the predicate likes. It is asked at each spawn, by the spawning lane, and must not call the runtime.
    ///
    /// ```
    /// use laneway::testing::Victim;
    /// let spawned_here = Victim::matching(|lane| lane.spawned_at.file() == file!());
    /// ```
    pub fn matching(wanted: impl Fn(&Spawned<'_>) -> bool + Send + Sync + 'static) -> Victim {
        Victim::new("the lane that matches".into(), wanted)
    }

    fn new(what: String, wanted: impl Fn(&Spawned<'_>) -> bool + Send + Sync + 'static) -> Victim {
        Victim { wanted: Arc::new(wanted), what, which: Which::Nth(1) }
    }

    /// The `number`-th lane that fits, counted from 1 in the order of spawning; by default the first.
    #[must_use]
    pub fn nth(mut self, number: u64) -> Victim {
        self.which = Which::Nth(number);
        self
    }

    /// Every lane that fits, each at its own n-th await; so also each incarnation that a supervisor starts.
    #[must_use]
    pub fn every(mut self) -> Victim {
        self.which = Which::Every;
        self
    }

    /// Whether this is it, `before` others having fitted.
    fn is(&self, lane: &Spawned<'_>, before: &mut u64) -> bool {
        if !(self.wanted)(lane) {
            return false;
        }
        *before += 1;
        match self.which {
            Which::Nth(number) => *before == number,
            Which::Every => true,
        }
    }
}

impl fmt::Debug for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Victim({self})")
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.which {
            Which::Nth(1) => f.write_str(&self.what),
            Which::Nth(number) => write!(f, "{}, number {number}", self.what),
            Which::Every => write!(f, "{}, every one", self.what),
        }
    }
}

/// Where the runs' time comes from.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Virtual { seed: u64 },
    Real,
}

/// How to sweep.
///
/// ```
/// use laneway::testing::{Canaries, KillSweep, Victim};
/// use laneway::{Lane, Spawn};
///
/// let canaries = Canaries::new();
/// let for_runs = canaries.clone();
/// let report = KillSweep::new(Victim::named("sink")).canaries(&canaries).run(move || {
///     let canary = for_runs.canary();
///     async move {
///         let sink = Spawn::new().name("sink").spawn(async |mut lane: Lane<laneway::testing::Canary>| {
///             while lane.recv().await.is_some() {}
///         })?;
///         let _dead_or_not = sink.send(canary).await;
///         let _dead_or_not = sink.stop();
///         laneway::join(sink.id()).await;
///         Ok::<(), laneway::SpawnError>(())
///     }
/// })?;
/// assert_eq!(report.victims.len() as u64, report.kills);
/// # Ok::<(), laneway::testing::SweepFailure>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is swept before `run`"]
pub struct KillSweep {
    victim: Victim,
    workers: usize,
    clock: Clock,
    patience: Option<Duration>,
    grace: Duration,
    limit: u64,
    memory_limit: Option<u64>,
    only: Option<u64>,
    canaries: Vec<Canaries>,
    alone: bool,
}

/// How long a scenario may take by virtual time, which passes at once where nothing can run.
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(3600);
/// How long a scenario may take by real time.
const REAL_PATIENCE: Duration = Duration::from_secs(30);
/// How long lanes may take to end when the runtime asks them to.
const GRACE: Duration = Duration::from_secs(5);

impl KillSweep {
    /// A sweep on one worker in virtual time, so that each run is like the last up to the kill.
    pub fn new(victim: Victim) -> KillSweep {
        KillSweep {
            victim,
            workers: 1,
            clock: Clock::Virtual { seed: 0 },
            patience: None,
            grace: GRACE,
            limit: 10_000,
            memory_limit: None,
            only: None,
            canaries: Vec::new(),
            alone: false,
        }
    }

    /// The number of workers, 1 by default. With more of them lanes run at the same time, so two runs differ, and the
    /// sweep ends with the first in which the victim did not come to the await in question.
    pub fn workers(mut self, count: usize) -> KillSweep {
        self.workers = count;
        self
    }

    /// Virtual time, the default, with this seed for all entropy; 0 by default.
    pub fn virtual_time(mut self, seed: u64) -> KillSweep {
        self.clock = Clock::Virtual { seed };
        self
    }

    /// Real time: for scenarios with sockets, which a clock that jumps would not wait for. Sleeps take their time in
    /// each run, so keep them short. There is no watchdog: a lane that is stuck is not ended early.
    pub fn real_time(mut self) -> KillSweep {
        self.clock = Clock::Real;
        self
    }

    /// The [memory limit](runtime::Builder::memory_limit) of the runtime, none by default. The sweep's own two lanes take
    /// 1.3 MiB of it.
    pub fn memory_limit(mut self, bytes: u64) -> KillSweep {
        self.memory_limit = Some(bytes);
        self
    }

    /// How long a scenario may take before it counts as hung: an hour of virtual time or 30 seconds of real time by
    /// default.
    pub fn patience(mut self, length: Duration) -> KillSweep {
        self.patience = Some(length);
        self
    }

    /// How long, by the clock on the wall, the lanes that the scenario left may take to end when the runtime shuts down;
    /// five seconds by default.
    pub fn grace(mut self, length: Duration) -> KillSweep {
        self.grace = length;
        self
    }

    /// The most kills that are tried, 10 000 by default. A victim that has more awaits fails the sweep, since it was not
    /// swept whole.
    pub fn limit(mut self, kills: u64) -> KillSweep {
        self.limit = kills;
        self
    }

    /// Kills only at this await, counted from 1, as a failed sweep said it: to look at one run closely.
    pub fn only(mut self, at_await: u64) -> KillSweep {
        self.only = Some(at_await);
        self
    }

    /// Checks after each run that none of these is alive.
    pub fn canaries(mut self, canaries: &Canaries) -> KillSweep {
        self.canaries.push(canaries.clone());
        self
    }

    /// Compares the descriptors of the whole process before and after each run, so that also one is found that no
    /// runtime knows of. For tests that have the process to themselves. Does nothing where there is no `/proc`.
    pub fn alone(mut self) -> KillSweep {
        self.alone = true;
        self
    }

    /// Sweeps. Blocks the calling thread, which must not be a lane's.
    ///
    /// # Errors
    /// [`SweepFailure`]: the first run in which something was not as it should be; no other is made after it.
    ///
    /// # Panics
    /// Where the scenario panics before it returns its future.
    pub fn run<S, F>(&self, scenario: S) -> Result<SweepReport, SweepFailure>
    where
        S: Fn() -> F,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        run::sweep(self, scenario)
    }

    fn patience_or_default(&self) -> Duration {
        self.patience.unwrap_or(match self.clock {
            Clock::Virtual { .. } => VIRTUAL_PATIENCE,
            Clock::Real => REAL_PATIENCE,
        })
    }
}

impl fmt::Display for KillSweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} worker(s), ", self.workers)?;
        match self.clock {
            Clock::Virtual { seed } => write!(f, "virtual time with seed {seed}"),
            Clock::Real => f.write_str("real time"),
        }
    }
}
