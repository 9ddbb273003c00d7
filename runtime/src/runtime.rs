//! A runtime: its workers, from the first to the last.
//!
//! Owns: [`Builder`], [`Runtime`], and the order in which a runtime ends.

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use parking_lot::Mutex;

use crate::blocking::Busy;
use crate::context;
use crate::env::{Descriptors, Driver, Env, Instant, OsEnv, Unparker, VirtualEnv};
use crate::exit::ExitReason;
use crate::fault::FaultPlan;
use crate::group::table::Groups;
use crate::id::Id;
use crate::lane::index::RootGuard;
use crate::lane::watch;
use crate::mailbox::wait;
use crate::metrics::{Counters, Metrics};
use crate::name::Names;
use crate::panic;
use crate::sched::abandoned::Abandoned;
use crate::sched::barrier;
use crate::sched::crew::StandBy;
use crate::sched::idle::{Idle, MAX_PLACES, MAX_WORKERS};
use crate::sched::parker::Parker;
use crate::sched::pulse::Pulse;
use crate::sched::queue::queues;
use crate::sched::watchdog::{Stuck, Watchdog};
use crate::sched::{Scheduler, worker};
use crate::slot::{self, SlotRef, Table};
use crate::sync;
use crate::time::timers::Timers;
use crate::vat::Vat;
use crate::wait_graph::{DeadlockPolicy, WaitGraph};

mod error;

pub use error::{BuildError, NotInRuntime};

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
    memory_limit: Option<u64>,
    lane_memory: Option<u64>,
}

/// How long a poll may take before the watchdog acts, unless told otherwise.
const WATCHDOG_LIMIT: Duration = Duration::from_millis(10);

impl Builder {
    fn new() -> Builder {
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
            memory_limit: None,
            lane_memory: None,
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

    /// Whether some of the workers may stand by while fewer get more done, as lanes do that only send to one another:
    /// true by default. It is tried while the workers are busy with very short operations, for a millisecond now and
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

    /// How long a poll may take before the watchdog acts, 10 milliseconds by default and one at least; `None` for no
    /// watchdog. There is none under [`virtual_time`](Builder::virtual_time).
    ///
    /// A lane that is in one poll for longer, or for half as long again, keeps a worker from all others. The watchdog then
    /// says so by `tracing`, with the lane's names and where it was spawned; [`Handle::stuck`] shows it and
    /// [`Metrics::polls_too_long`] counts it. A stand-in worker takes over until the poll returns: there may be as many of
    /// them as there are workers, and 56 of both. For work that is known to block there is
    /// [`spawn_blocking`](crate::spawn_blocking).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = laneway_runtime::Runtime::builder().workers(1).watchdog(Duration::from_millis(5)).build()?;
    /// assert!(runtime.handle().stuck().is_empty());
    /// # Ok::<(), laneway_runtime::BuildError>(())
    /// ```
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
    pub fn stuck_stacks(mut self, wanted: bool) -> Builder {
        self.stuck_stacks = wanted;
        self
    }

    /// The most bytes that the [arenas](crate::arena) of all lanes may have together; as many as there are by default.
    pub fn memory_limit(mut self, bytes: u64) -> Builder {
        self.memory_limit = Some(bytes);
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
            vat: Vat::new(self.memory_limit, places),
            lane_memory: self.lane_memory,
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

/// Workers that run lanes. Dropped, it ends them all at once, as [`Runtime::shutdown`] with no time.
///
/// ```
/// let runtime = laneway_runtime::Runtime::builder().workers(2).build()?;
/// assert_eq!(runtime.block_on(async { 6 * 7 }), 42);
/// # Ok::<(), laneway_runtime::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    /// The watchdog, which waits for the stand-ins before it ends.
    watchdog: Option<JoinHandle<()>>,
    table: &'static Table,
}

/// A runtime, as those know it who neither build nor end it.
#[derive(Clone)]
pub struct Handle(Arc<Scheduler>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({:?})", self.0.table.namespace)
    }
}

/// Ends the time in which a thread is in a runtime.
#[must_use = "the thread is in the runtime until this is dropped"]
pub struct EnterGuard<'a> {
    _entered: context::EnterGuard,
    _handle: &'a Handle,
}

impl fmt::Debug for EnterGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnterGuard")
    }
}

impl Handle {
    /// The runtime that this code runs in.
    ///
    /// # Errors
    /// [`NotInRuntime`].
    pub fn current() -> Result<Handle, NotInRuntime> {
        context::scheduler().map(Handle).ok_or(NotInRuntime)
    }

    /// Makes the runtime the one that spawns, sleeps and sockets of this thread go to.
    pub fn enter(&self) -> EnterGuard<'_> {
        EnterGuard { _entered: context::enter(self.0.clone()), _handle: self }
    }

    /// Counters, as of now.
    pub fn metrics(&self) -> Metrics {
        let descriptors = self.0.descriptors.counts();
        Metrics {
            timers: self.0.timers.count() as u64,
            descriptors: descriptors.open,
            descriptors_opened: descriptors.opened,
            descriptors_duplicated: descriptors.duplicated,
            descriptors_closed: descriptors.closed,
            names: self.0.names.count() as u64,
            abandoned_lanes: self.0.abandoned.count() as u64,
            abandoned_total: self.0.abandoned.total(),
            out_of_memory: self.0.out_of_memory.load(Ordering::Relaxed),
            workers_at_work: self.0.stand_by.size() as u64,
            ..self.0.vat.count(self.0.groups.count(self.0.metrics.snapshot()))
        }
    }

    /// The lanes that live, with where they were spawned and what they are called.
    pub fn lanes(&self) -> Vec<LaneInfo> {
        self.slots().filter_map(|slot| describe(&self.0, slot, slot.id()?)).collect()
    }

    /// The workers that are in one poll for too long, as far as the [watchdog](Builder::watchdog) has found them.
    pub fn stuck(&self) -> Vec<Stuck> {
        self.0.pulses.iter().filter_map(|pulse| pulse.note()).filter(|stuck| !stuck.releases).collect()
    }

    /// Which lanes wait for which.
    pub fn wait_graph(&self) -> WaitGraph {
        WaitGraph::of(self.slots())
    }

    /// What a lane, living or dead, still has in the tables of the runtime.
    ///
    /// A green lock whose guard was leaked counts while its lane lives. To find locks takes a look at all there are.
    pub fn held_by(&self, id: Id) -> Held {
        let (locks, wait_entries) = sync::had_by(id);
        Held {
            locks,
            wait_entries,
            timers: self.0.timers.owned_by(id.key()),
            descriptors: self.0.descriptors.owned_by(id).len(),
            names: self.0.names.of(id).len(),
            groups: self.0.groups.had_by(id),
            senders: wait::count(id),
        }
    }

    /// The world that the runtime sees.
    pub fn env(&self) -> Arc<dyn Env> {
        self.0.env.clone()
    }

    /// The descriptors of the runtime, for those who open sockets.
    pub fn descriptors(&self) -> Arc<Descriptors> {
        self.0.descriptors.clone()
    }

    fn slots(&self) -> impl Iterator<Item = SlotRef> {
        self.0.table.slots()
    }
}

/// What is known of a slot's tenant, if that is still `id`.
pub(crate) fn describe(scheduler: &Scheduler, slot: SlotRef, id: Id) -> Option<LaneInfo> {
    let (parent, spawned_at) = (slot.parent(), slot.spawned_at()?);
    // What was read belongs to this tenant if it still lives.
    if !slot.word.is_live(id.generation().get()) {
        return None;
    }
    Some(LaneInfo { id, parent, spawned_at, names: scheduler.names.of(id) })
}

/// A lane that lives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaneInfo {
    /// Its id.
    pub id: Id,
    /// The lane that spawned it.
    pub parent: Option<Id>,
    /// Where that was.
    pub spawned_at: &'static Location<'static>,
    /// The names that it has registered.
    pub names: Vec<Arc<str>>,
}

impl fmt::Display for LaneInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.id)?;
        for name in &self.names {
            write!(f, " {name:?}")?;
        }
        write!(f, ", spawned at {}", self.spawned_at)
    }
}

/// What a lane has in the tables of its runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Timers.
    pub timers: usize,
    /// Descriptors.
    pub descriptors: usize,
    /// Names.
    pub names: usize,
    /// Memberships of groups and monitors on groups.
    pub groups: usize,
    /// Green locks, and permits by the times they were taken.
    pub locks: usize,
    /// Places in line for green locks.
    pub wait_entries: usize,
    /// Senders that wait for room in its mailbox.
    pub senders: usize,
}

/// How a runtime ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Lanes that were asked to end, did not by the deadline, and were killed.
    pub late: Vec<LaneInfo>,
    /// Lanes, most of them of those, that have not left their poll though they were killed. Their threads go on.
    pub stuck: Vec<LaneInfo>,
    /// What the runtime did in its life.
    pub metrics: Metrics,
}

impl ShutdownReport {
    /// Whether every lane ended in time.
    pub fn is_clean(&self) -> bool {
        self.late.is_empty() && self.stuck.is_empty()
    }
}

/// How long a killed lane may take to leave its poll before it counts as stuck.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// How often a shutdown looks.
const SHUTDOWN_LOOK: Duration = Duration::from_millis(1);

impl Runtime {
    /// A runtime with as many workers as processors, one driver, on the OS.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The runtime for those who do not own it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future on this thread until it is ready. It is no lane: it has no mailbox and no id, but it may spawn,
    /// sleep, send and ask.
    ///
    /// # Panics
    /// Within a lane, which it would block.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        assert!(context::with_local(|local| local.is_none()), "block_on would block a worker: await instead");
        let _entered = self.handle.enter();
        let scheduler = self.handle.0.clone();
        let mut busy = Busy::new(scheduler.clone());
        let state = Mutex::new(Blocked::Asleep);
        let unpark = Arc::new(Unpark { thread: std::thread::current(), scheduler, state });
        let waker = Waker::from(unpark.clone());
        let unpark = Leave(unpark);
        let turns = RootGuard::enter(waker.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = std::pin::pin!(future);
        loop {
            turns.begin_turn();
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            turns.end_turn();
            drop(busy);
            busy = unpark.0.wait();
        }
    }

    /// Ends the runtime in order: lanes at the top of their trees get the exit signal
    /// [`Shutdown`](ExitReason::Shutdown), then those they leave behind; who still lives at the deadline is killed, and
    /// named.
    ///
    /// Blocks the calling thread, for up to `deadline` and a second more. The deadline is by the clock on the wall, also
    /// where the lanes' time is virtual.
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        self.end(deadline)
    }

    fn end(&mut self, deadline: Duration) -> ShutdownReport {
        let scheduler = self.handle.0.clone();
        // ORDER: SeqCst, see `Counters::note_spawn_by_none`.
        scheduler.closing.store(true, Ordering::SeqCst);
        let mut report = ShutdownReport::default();
        let clock = OsEnv::new();
        if !self.ask_to_end(&clock, deadline) {
            report.late = self.handle.lanes();
        }
        if !self.kill_all(&clock) {
            report.stuck = self.handle.lanes();
            report.stuck.extend(scheduler.abandoned.lanes());
        }
        scheduler.stop();
        // A worker that is stuck in a poll keeps its thread and its share of the runtime; one that itself drops the
        // runtime, as in a call of a timer, goes when it is done with that. A stand-in is waited for by the watchdog.
        let workers = self.threads.len();
        let of_stand_in = context::with_local(|local| {
            local.is_some_and(|local| Arc::ptr_eq(&local.scheduler, &scheduler) && local.index >= workers)
        });
        let watchdog = self.watchdog.take().filter(|_| !of_stand_in);
        for thread in self.threads.drain(..).chain(watchdog) {
            let ours = thread.thread().id() == std::thread::current().id();
            if report.stuck.is_empty() && !ours && thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        report.metrics = self.handle.metrics();
        scheduler.timers.clear();
        scheduler.descriptors.close_all();
        if report.stuck.is_empty() {
            slot::leave_table(self.table);
        }
        report
    }

    /// True once all lanes are gone.
    fn ask_to_end(&self, clock: &OsEnv, deadline: Duration) -> bool {
        let asked_since = clock.now();
        let mut asked = hashbrown::HashSet::with_hasher(rustc_hash::FxBuildHasher);
        loop {
            if self.handle.0.metrics.alive() == 0 {
                return true;
            }
            if clock.now() - asked_since >= deadline {
                return false;
            }
            for slot in self.handle.slots() {
                let Some(id) = slot.id() else { continue };
                let alive = slot.word.is_live(id.generation().get());
                let has_parent = slot.parent().is_some_and(crate::lane::is_alive);
                if alive && !has_parent && asked.insert(id) {
                    watch::send_exit(id, id, ExitReason::Shutdown, false);
                }
            }
            pause();
        }
    }

    /// True once all lanes are gone, abandoned ones included.
    fn kill_all(&self, clock: &OsEnv) -> bool {
        let since: Instant = clock.now();
        while !self.is_left_by_all() {
            for slot in self.handle.slots() {
                // Also one that is ending, and stuck in it.
                if let Some(id) = slot.tenant() {
                    crate::lane::kill(id);
                }
            }
            if clock.now() - since >= KILL_GRACE {
                return false;
            }
            pause();
        }
        true
    }

    /// Whether no lane is left, nor the poll of one.
    fn is_left_by_all(&self) -> bool {
        let Scheduler { metrics, abandoned, .. } = &*self.handle.0;
        // An abandoned lane may have been about to spawn another when it was taken. Once its poll has returned, that one is
        // counted.
        let before = metrics.spawned();
        metrics.alive() == 0 && abandoned.count() == 0 && metrics.spawned() == before
    }
}

/// Leaves the processors to the workers for a moment.
fn pause() {
    std::thread::park_timeout(SHUTDOWN_LOOK);
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.end(Duration::ZERO);
        }
    }
}

/// The waker of a thread in [`Runtime::block_on`].
struct Unpark {
    thread: Thread,
    scheduler: Arc<Scheduler>,
    state: Mutex<Blocked>,
}

/// What a thread in [`Runtime::block_on`] waits for.
enum Blocked {
    Asleep,
    /// It is to poll again. It counts as busy from the wake on, or a clock that jumps would jump before it is up.
    Woken(Busy),
    /// It has left; who wakes it now has a waker that was left over.
    Gone,
}

impl Unpark {
    fn wait(&self) -> Busy {
        loop {
            let mut state = self.state.lock();
            if let Blocked::Woken(busy) = std::mem::replace(&mut *state, Blocked::Asleep) {
                return busy;
            }
            drop(state);
            std::thread::park();
        }
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if matches!(*state, Blocked::Asleep) {
            *state = Blocked::Woken(Busy::new(self.scheduler.clone()));
            drop(state);
            self.thread.unpark();
        }
    }
}

/// Says that the thread has left, however it did.
struct Leave(Arc<Unpark>);

impl Drop for Leave {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut *self.0.state.lock(), Blocked::Gone);
        drop(last);
    }
}
