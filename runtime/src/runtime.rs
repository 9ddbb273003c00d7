//! A runtime: its workers, from the first to the last.
//!
//! Owns: [`Runtime`], its [`Handle`], and the order in which a runtime ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::context;
use crate::env::{Descriptors, Env, Instant, OsEnv};
use crate::exit::ExitReason;
use crate::id::Id;
use crate::lane::watch;
use crate::mailbox::wait;
use crate::memory_bound::MemoryTable;
use crate::metrics::Metrics;
use crate::sched::Scheduler;
use crate::sched::watchdog::Stuck;
use crate::slot::{self, SlotRef, Table};
use crate::sync;
use crate::wait_graph::WaitGraph;

mod block_on;
mod builder;
mod held;
mod lane_info;

pub use builder::{BuildError, Builder};
pub use held::Held;
pub use lane_info::LaneInfo;
pub(crate) use lane_info::describe;

/// The code runs in no runtime: neither in a lane nor inside [`Runtime::block_on`] or [`Handle::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRuntime;

impl fmt::Display for NotInRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no runtime here: call this in a lane, in block_on, or after Handle::enter")
    }
}

impl std::error::Error for NotInRuntime {}

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
            ..self.0.vat.count(self.0.groups.count(self.0.admission_counts(self.0.metrics.snapshot())))
        }
    }

    /// What the runtime may come to take of memory, as a table with a row for each thing that takes some, and how that is
    /// computed. The sum is an upper bound of what of it is resident, under a [memory limit](Builder::memory_limit), in a program
    /// with the allocator [`Accounting`](crate::alloc::Accounting), for all but the rows that say that they have none, and but for what
    /// a lane takes beyond its budget within one poll, and for messages that wait for room in a full mailbox, of which
    /// eight a lane are reserved for. See [`memory_bound`](crate::memory_bound).
    ///
    /// ```
    /// let runtime = laneway_runtime::Runtime::builder().workers(1).memory_limit(64 << 20).build()?;
    /// let bound = runtime.handle().memory_bound();
    /// println!("{bound}");
    /// assert!(bound.total() > 64 << 20);
    /// # Ok::<(), laneway_runtime::BuildError>(())
    /// ```
    pub fn memory_bound(&self) -> MemoryTable {
        MemoryTable::bound(&self.0)
    }

    /// The same table with what there is of each thing today.
    pub fn memory_used(&self) -> MemoryTable {
        MemoryTable::used(&self.0)
    }

    /// The lanes that live, with where they were spawned and what they are called.
    pub fn lanes(&self) -> Vec<LaneInfo> {
        self.slots().filter_map(|slot| describe(&self.0, slot, slot.id()?)).collect()
    }

    /// The workers that are in one poll for too long, as far as the [watchdog](Builder::watchdog) has found them.
    pub fn stuck(&self) -> Vec<Stuck> {
        self.0.pulses.iter().filter_map(|pulse| pulse.note()).filter(Stuck::is_too_long).collect()
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

    /// As [`Handle::memory_bound`].
    pub fn memory_bound(&self) -> MemoryTable {
        self.handle.memory_bound()
    }

    /// As [`Handle::memory_used`].
    pub fn memory_used(&self) -> MemoryTable {
        self.handle.memory_used()
    }

    /// The runtime for those who do not own it.
    pub fn handle(&self) -> &Handle {
        &self.handle
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
        if let Some(admission) = scheduler.admission() {
            admission.close();
        }
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
