//! How a runtime is built.
//!
//! Owns: [`Builder`], what it refuses, and the order in which what a runtime is made of starts.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Handle, Runtime};
use crate::admission::{self, DEFAULT_LANE_MEMORY};
use crate::env::{Driver, Env, OsEnv, Unparker, VirtualEnv, nanos};
use crate::fault::FaultPlan;
use crate::group::table::Groups;
use crate::memory_bound::MemoryPlan;
use crate::metrics::Counters;
use crate::name::Names;
use crate::panic;
use crate::sched::abandoned::Abandoned;
use crate::sched::barrier;
use crate::sched::chronicle::Chronicle;
use crate::sched::crew::StandBy;
use crate::sched::idle::{Idle, MAX_PLACES, MAX_WORKERS};
use crate::sched::parker::Parker;
use crate::sched::pulse::Pulse;
use crate::sched::queue::queues;
use crate::sched::watchdog::{self, Watchdog};
use crate::sched::{Scheduler, worker};
use crate::slot;
use crate::time::timers::Timers;
use crate::vat::Vat;
use crate::wait_graph::DeadlockPolicy;

/// How to build a [`Runtime`].
#[derive(Debug)]
#[must_use = "nothing is built before `build`"]
pub struct Builder {
    workers: Option<usize>,
    drivers: usize,
    max_lanes: u32,
    env: Option<Arc<dyn Env>>,
    clock_jumps: bool,
    adaptive: bool,
    faults: Option<Arc<dyn FaultPlan>>,
    deadlocks: DeadlockPolicy,
    watchdog: Option<Duration>,
    stuck_stacks: bool,
    lane_memory: Option<u64>,
    memory_limit: Option<u64>,
    arena_limit: Option<u64>,
}

/// How long a poll may take before the watchdog says so, unless told otherwise.
const WATCHDOG_LIMIT: Duration = Duration::from_millis(10);

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            workers: None,
            drivers: 1,
            max_lanes: 1 << 26,
            env: None,
            clock_jumps: false,
            adaptive: true,
            faults: None,
            deadlocks: DeadlockPolicy::Report,
            watchdog: Some(WATCHDOG_LIMIT),
            stuck_stacks: false,
            lane_memory: None,
            memory_limit: None,
            arena_limit: None,
        }
    }

    /// The number of workers, 1 to 48; as many as the machine has processors by default.
    pub fn workers(mut self, count: usize) -> Builder {
        self.workers = Some(count);
        self
    }

    /// The number of drivers that wait for I/O, from 1 (the default) to one a worker.
    pub fn drivers(mut self, count: usize) -> Builder {
        self.drivers = count;
        self
    }

    /// Whether some of the workers may stand by while fewer get more done, as lanes do that only send to one another, and
    /// whether those who find no work may rest for a millisecond before they look again:
    /// true by default. Both are tried while the workers are busy with very short operations, for a millisecond now and
    /// then, and what is faster stays. Under [virtual time](Builder::virtual_time) or with several
    /// [drivers](Builder::drivers) all workers always take part.
    pub fn adaptive(mut self, adaptive: bool) -> Builder {
        self.adaptive = adaptive;
        self
    }

    /// The most lanes that may live at a time; 67 108 864 by default.
    pub fn max_lanes(mut self, count: u32) -> Builder {
        self.max_lanes = count;
        self
    }

    /// The budget of lanes whose spawner is no lane, in bytes, as [`Spawn::memory`](crate::lane::Spawn::memory) would set it;
    /// none by default. What they spawn inherits it.
    pub fn lane_memory(mut self, bytes: u64) -> Builder {
        self.lane_memory = Some(bytes);
        self
    }

    /// The most memory that lanes may come to take together, in bytes: what each may need (its budget, its mailbox full twice,
    /// and a kibibyte or two of its own) is reserved when it is spawned, and free again when it is dead and what it
    /// has left behind is freed. The [arenas](crate::arena) of all lanes keep to it as well. A spawn for which too little is left gives
    /// [`SpawnError::NoMemory`](crate::lane::SpawnError::NoMemory), or waits by
    /// [`Spawn::spawn_when_admitted`](crate::lane::Spawn::spawn_when_admitted). No limit by default.
    ///
    /// Each lane then has a budget: where nobody says one, that of [`Builder::lane_memory`], or
    /// [`DEFAULT_LANE_MEMORY`]. One without a budget, or with a mailbox without a bound, is
    /// never admitted. Pools of message nodes, slots and the memory of futures give nothing back to the system: the most
    /// that was reserved of them and used stays reserved, for whoever comes next.
    ///
    /// [`Handle::memory_bound`] says what the runtime as a whole may take.
    ///
    /// ```
    /// use laneway_runtime::lane::{Spawn, SpawnError};
    /// use laneway_runtime::{Runtime, mailbox::Inbox};
    ///
    /// let runtime = Runtime::builder().memory_limit(1 << 20).build()?;
    /// let _entered = runtime.handle().enter();
    /// let refused = Spawn::new().memory(2 << 20).spawn(|_: Inbox<()>| async {});
    /// let Err(SpawnError::NoMemory(error)) = refused else { panic!("it is more than the limit") };
    /// assert!(error.requested > error.limit && error.is_final());
    /// # Ok::<(), laneway_runtime::BuildError>(())
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Builder {
        self.memory_limit = Some(bytes);
        self
    }

    /// The most bytes that the [arenas](crate::arena) of all lanes may have together; the [memory limit](Builder::memory_limit) by
    /// default, under which they have room as lanes have budgets.
    pub fn arena_limit(mut self, bytes: u64) -> Builder {
        self.arena_limit = Some(bytes);
        self
    }

    /// The world that the runtime sees; [`OsEnv`] by default.
    pub fn env(mut self, env: Arc<dyn Env>) -> Builder {
        self.env = Some(env);
        self.clock_jumps = false;
        self
    }

    /// Time is virtual: it stands still while anything can run, and jumps to the next timer when nothing can. For tests
    /// without sockets, whose traffic the clock would not wait for. `seed` is where all entropy comes from.
    pub fn virtual_time(mut self, seed: u64) -> Builder {
        self.env = Some(Arc::new(VirtualEnv::new(seed)));
        self.clock_jumps = true;
        self
    }

    /// How long a poll may take before the watchdog says so, 10 milliseconds by default and one at least; `None` for no
    /// watchdog. There is none under [`virtual_time`](Builder::virtual_time).
    ///
    /// A lane that is in one poll keeps a worker from all others. After a quarter of that time, or half of it, a stand-in
    /// worker takes over until the poll returns: there may be as many of them as there are workers, and 56 of both. After the
    /// whole of it, or a quarter more, the watchdog says by `tracing` that the poll takes too long, with the lane's names and where
    /// it was spawned; [`Handle::stuck`] shows it and [`Metrics::polls_too_long`] counts it; and the lane, if it is killed, ends
    /// without it. For work that is known to block there is
    /// [`spawn_blocking`](crate::spawn_blocking).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = laneway_runtime::Runtime::builder().workers(1).watchdog(Duration::from_millis(5)).build()?;
    /// assert!(runtime.handle().stuck().is_empty());
    /// # Ok::<(), laneway_runtime::BuildError>(())
    /// ```
    ///
    /// [`Metrics::polls_too_long`]: crate::Metrics::polls_too_long
    pub fn watchdog(mut self, limit: impl Into<Option<Duration>>) -> Builder {
        self.watchdog = limit.into().map(|limit| limit.max(Duration::from_millis(1)));
        self
    }

    /// Whether the [watchdog](Builder::watchdog) asks a stuck worker for its stack, which is then in its report and in
    /// [`Stuck::stack`]: false by default. Only with the feature `stacks`, on Linux, on x86-64 and 64-bit ARM; elsewhere
    /// there are none. Without it the report has the lane, where it was spawned, and whether its thread computes or waits.
    ///
    /// It takes a signal: the last real-time signal that has no handler when it is needed first. The handler does nothing but
    /// copy the thread's registers and the top of its stack, so it can be in nobody's way; but a system call in which the
    /// thread waits is interrupted, and code of others that takes `EINTR` for a failure would see one. That is why it
    /// must be asked for.
    ///
    /// [`Stuck::stack`]: crate::Stuck::stack
    pub fn stuck_stacks(mut self, wanted: bool) -> Builder {
        self.stuck_stacks = wanted;
        self
    }

    /// Lets faults strike; see [`fault`](crate::fault).
    pub fn faults(mut self, plan: Arc<dyn FaultPlan>) -> Builder {
        self.faults = Some(plan);
        self
    }

    /// What is done about lanes that wait for each other in a circle; [`DeadlockPolicy::Report`] by default.
    pub fn on_deadlock(mut self, policy: DeadlockPolicy) -> Builder {
        self.deadlocks = policy;
        self
    }

    /// How many lanes of the default budget and mailbox fit under the [memory limit](Builder::memory_limit); `None` without one.
    /// The plan answers for other lanes as well.
    ///
    /// ```
    /// let builder = laneway_runtime::Runtime::builder().memory_limit(64 << 20).lane_memory(100 << 10);
    /// let plan = builder.plan().expect("there is a limit");
    /// assert!(plan.mailbox(8).lanes() > plan.lanes());
    /// ```
    pub fn plan(&self) -> Option<MemoryPlan> {
        let plan = MemoryPlan::new(self.memory_limit?);
        Some(plan.budget(self.lane_memory.unwrap_or(DEFAULT_LANE_MEMORY)))
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// [`BuildError`]; nothing is left running.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let workers = match self.workers {
            Some(count) => count,
            None => std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_WORKERS),
        };
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(BuildError::BadWorkers(workers));
        }
        let drivers = NonZeroUsize::new(self.drivers).filter(|count| count.get() <= workers);
        let drivers = drivers.ok_or(BuildError::BadDrivers(self.drivers))?;
        panic::report_panics_of_lanes();
        let env = self.env.unwrap_or_else(|| Arc::new(OsEnv::new()));
        let namespace = slot::fresh_namespace().ok_or(BuildError::OutOfNamespaces)?;
        let (descriptors, drivers) = Driver::start(&*env, namespace, drivers)?;
        let table = slot::take_table().ok_or(BuildError::OutOfNamespaces)?;
        let watchdog = self.watchdog.filter(|_| !self.clock_jumps);
        if watchdog.is_some() {
            // Where it is not to be had, the watchdog does what it can without.
            barrier::prepare();
        }
        let places = if watchdog.is_some() { (2 * workers).min(MAX_PLACES) } else { workers };
        let (mut queues, shared) = queues(workers, places);
        let stand_ins = queues.split_off(workers);
        // A worker that stands by minds no driver; with one, whoever sleeps minds it.
        let adaptive = self.adaptive && !self.clock_jumps && drivers.len() == 1;
        let scheduler = Arc::new(Scheduler {
            table,
            namespace,
            max_lanes: self.max_lanes,
            queues: shared,
            idle: Idle::new(workers),
            stand_by: StandBy::new(workers, adaptive, env.now()),
            parkers: (0..places).map(|_| Parker::default()).collect(),
            pulses: (0..places).map(|_| Arc::new(Pulse::new())).collect(),
            watchdog: Watchdog::new(stand_ins),
            chronicle: Chronicle::new(places, watchdog.map(|limit| nanos(watchdog::period(limit)))),
            abandoned: Abandoned::default(),
            unparkers: drivers.iter().map(Driver::unparker).collect::<Vec<Unparker>>(),
            timers: Timers::new(env.now(), drivers.len()),
            drivers: drivers.into_iter().map(Mutex::new).collect(),
            descriptors,
            names: Names::default(),
            groups: Groups::default(),
            metrics: Counters::new(places),
            closing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            busy_outside: AtomicUsize::new(0),
            clock_jumps: self.clock_jumps,
            faults: self.faults,
            stuck_stacks: self.stuck_stacks,
            deadlocks: self.deadlocks,
            vat: Vat::new(self.arena_limit.or(self.memory_limit), places),
            lane_memory: self.lane_memory.or(self.memory_limit.map(|_| DEFAULT_LANE_MEMORY)),
            admission: self.memory_limit.map(admission::Owner::new),
            out_of_memory: AtomicU64::new(0),
            env,
        });
        table.set_scheduler(Some(scheduler.clone()));
        let mut runtime = Runtime { handle: Handle(scheduler.clone()), threads: Vec::new(), watchdog: None, table };
        for (index, queue) in queues.into_iter().enumerate() {
            let scheduler = scheduler.clone();
            let work = Box::new(move || worker::work(scheduler, index, queue));
            // Should this fail, dropping `runtime` ends the workers that run.
            runtime.threads.push(runtime.handle.0.env.spawn_thread(&format!("laneway-{index}"), work)?);
        }
        if let Some(limit) = watchdog {
            let work = Box::new(move || scheduler.watch(limit));
            runtime.watchdog = Some(runtime.handle.0.env.spawn_thread("laneway-watchdog", work)?);
        }
        Ok(runtime)
    }
}

/// Why a runtime was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of workers is not from 1 to 48.
    BadWorkers(usize),
    /// The number of drivers is not from 1 to the number of workers.
    BadDrivers(usize),
    /// The process has used up its namespaces, as by building tens of thousands of runtimes.
    OutOfNamespaces,
    /// The OS refused a thread or a poller.
    Os(io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::BadWorkers(count) => write!(f, "a runtime has 1 to {MAX_WORKERS} workers, not {count}"),
            BuildError::BadDrivers(count) => write!(f, "a runtime has 1 driver to one a worker, not {count}"),
            BuildError::OutOfNamespaces => f.write_str("the process is out of namespaces for ids"),
            BuildError::Os(error) => write!(f, "the system refused what a runtime needs: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> BuildError {
        BuildError::Os(error)
    }
}
