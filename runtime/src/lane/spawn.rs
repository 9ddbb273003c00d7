//! How a lane is spawned.
//!
//! Owns: [`Spawn`], what it refuses, and the order in which a lane comes to be.

use std::any::type_name;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame::{Frame, LaneType};
use super::own::{COUNTS_AWAITS, HAS_NAMES, Own, TRAPS_EXITS};
use super::{budget, death, watch, word};
use crate::admission::cost::Cost;
use crate::admission::waiting::SpawnWhenAdmitted;
use crate::admission::{self, NoRoom};
use crate::alloc;
use crate::context;
use crate::exit::IntoExit;
use crate::fault::Spawned;
use crate::id::Id;
use crate::mailbox::node::{self, Node};
use crate::mailbox::{DEFAULT_BOUND, Inbox, MAX_BOUND, MailboxId};
use crate::name::NameTaken;
use crate::runtime::NotInRuntime;
use crate::sched::Scheduler;
use crate::signal::{MonitorRef, Signal};
use crate::wait_graph::note::hands_out_of;

/// Why a lane was not spawned. Nothing of it remains; what its future owned is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The caller is in no runtime.
    NotInRuntime,
    /// A link or a monitor was asked for, and the caller is no lane.
    NotInLane,
    /// The runtime is shutting down.
    ShuttingDown,
    /// The caller is a lane that [is abandoned](super::is_abandoned).
    Abandoned,
    /// As many lanes live as the runtime may have.
    TooManyLanes {
        /// The limit, set by [`Builder::max_lanes`](crate::Builder::max_lanes).
        limit: u32,
    },
    /// It does not fit in what is left of the [memory limit](crate::Builder::memory_limit), or others have waited for that for
    /// longer. A supervisor takes it for a start that failed: it counts as a restart, and does not wait.
    NoMemory(NoRoom),
    /// The name is another lane's.
    NameTaken(NameTaken),
    /// The mailbox's bound is 0 or above [`MAX_BOUND`].
    BadBound {
        /// The bound asked for.
        bound: u32,
    },
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NotInRuntime => NotInRuntime.fmt(f),
            SpawnError::NotInLane => f.write_str("links and monitors are between lanes, and the caller is no lane"),
            SpawnError::ShuttingDown => f.write_str("the runtime is shutting down"),
            SpawnError::Abandoned => f.write_str("the lane that spawns was killed while it was stuck"),
            SpawnError::TooManyLanes { limit } => write!(f, "the runtime has its {limit} lanes"),
            SpawnError::NoMemory(no_room) => no_room.fmt(f),
            SpawnError::NameTaken(taken) => taken.fmt(f),
            SpawnError::BadBound { bound } => {
                write!(
                    f,
                    "a mailbox's bound is from 1 to {MAX_BOUND}, or the mailbox is unbounded; {bound} was asked for"
                )
            }
        }
    }
}

impl std::error::Error for SpawnError {}

/// How to spawn a lane.
#[derive(Clone, Debug)]
#[must_use = "nothing is spawned before `spawn`"]
pub struct Spawn {
    name: Option<Arc<str>>,
    /// `None`: unbounded.
    bound: Option<u32>,
    linked: bool,
    monitored: Option<bool>,
    trap_exits: bool,
    memory: budget::Wish,
}

/// A new lane, as its spawner knows it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct NewLane<M> {
    /// Its mailbox.
    pub mailbox: MailboxId<M>,
    /// The monitor that was asked for.
    pub monitor: Option<MonitorRef>,
}

impl Default for Spawn {
    fn default() -> Spawn {
        Spawn::new()
    }
}

impl Spawn {
    /// A lane with no name, a mailbox of [`DEFAULT_BOUND`] messages, no link and no monitor.
    pub const fn new() -> Spawn {
        let (bound, memory) = (Some(DEFAULT_BOUND), budget::Wish::AS_PARENT);
        Spawn { name: None, bound, linked: false, monitored: None, trap_exits: false, memory }
    }

    /// Registers the lane under a name before it runs.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Spawn {
        self.name = Some(name.into());
        self
    }

    /// The most messages that may be queued, from 1 to [`MAX_BOUND`]; [`DEFAULT_BOUND`] by default.
    pub fn mailbox(mut self, bound: u32) -> Spawn {
        self.bound = Some(bound);
        self
    }

    /// Lets the mailbox grow without bound: senders never wait, and memory is the only limit.
    pub fn unbounded(mut self) -> Spawn {
        self.bound = None;
        self
    }

    /// Links the lane with the spawner before it runs.
    pub fn link(mut self) -> Spawn {
        self.linked = true;
        self
    }

    /// Lets the spawner watch the lane before it runs, so that the true reason is told, however early it ends.
    pub fn monitor(mut self) -> Spawn {
        self.monitored = Some(false);
        self
    }

    /// As [`Spawn::monitor`]; the notice brings the [`ExitReceipt`](crate::ExitReceipt).
    pub fn monitor_with_receipt(mut self) -> Spawn {
        self.monitored = Some(true);
        self
    }

    /// Turns exit signals into messages from the first moment.
    pub fn trap_exits(mut self) -> Spawn {
        self.trap_exits = true;
        self
    }

    /// A hard budget of memory, in bytes: a lane that has passed it ends when its poll returns, with
    /// [`ExitReason::OutOfMemory`](crate::ExitReason::OutOfMemory). By default it is as large as that of the lane that spawns, each lane having its own; none
    /// where that has none; and what [`Builder::lane_memory`](crate::Builder::lane_memory) says where no lane spawns.
    ///
    /// Charged are the lane's future and, where the program has the allocator [`Accounting`](crate::alloc::Accounting), what the lane's code
    /// allocates; that page says what this can stop and what not, and what is not charged, of which the mailbox is the
    /// most: see [`Spawn::mailbox_bytes`]. With [`u64::MAX`] it is counted and ends nothing.
    ///
    /// ```
    /// use laneway_runtime::{lane::{self, Spawn}, mailbox::Inbox};
    /// # let runtime = laneway_runtime::Runtime::builder().build()?;
    /// # runtime.block_on(async {
    /// let lane = Spawn::new().memory(1 << 20).spawn(|_: Inbox<()>| async {
    ///     assert_eq!(lane::memory().unwrap().limit, 1 << 20);
    ///     assert!(lane::check_memory(2 << 20).is_err());
    /// })?;
    /// # let end = lane::join(lane.mailbox.id()).await;
    /// # assert!(end.is_ordinary() || end == laneway_runtime::ExitReason::NoProc, "{end}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory(mut self, bytes: u64) -> Spawn {
        self.memory = budget::Wish::limit(bytes);
        self
    }

    /// No budget of memory, whatever the spawner's is.
    pub fn unlimited_memory(mut self) -> Spawn {
        self.memory = budget::Wish::UNLIMITED;
        self
    }

    /// The most memory that the mailbox of such a lane can take, in bytes, if its messages are of type `M`: it comes on top of the
    /// [budget](Spawn::memory). `None` where the mailbox has no bound.
    ///
    /// That is twice the bound of messages, since a receiver takes what is queued at once and senders fill the mailbox
    /// again meanwhile, each in a node of 64 bytes and, where it does not fit in there, memory of its own. Senders that wait
    /// for room hold one more each, and what a message owns is charged to whoever made it.
    ///
    /// ```
    /// use laneway_runtime::lane::Spawn;
    ///
    /// assert_eq!(Spawn::new().mailbox(16).mailbox_bytes::<u64>(), Some(2048));
    /// assert_eq!(Spawn::new().mailbox(16).mailbox_bytes::<[u64; 10]>(), Some(6144));
    /// ```
    pub fn mailbox_bytes<M: Send + 'static>(&self) -> Option<u64> {
        self.bound.map(|bound| (2 * u64::from(bound)).saturating_mul(node::bytes_of::<M>()))
    }

    /// Spawns a lane whose future `make` makes of the receiving end of its mailbox.
    ///
    /// # Errors
    /// [`SpawnError`].
    #[track_caller]
    pub fn spawn<M, F>(self, make: impl FnOnce(Inbox<M>) -> F) -> Result<NewLane<M>, SpawnError>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        self.spawn_at(Location::caller(), make)
    }

    /// As [`Spawn::spawn`], and where it does not fit in what is left of the [memory limit](crate::Builder::memory_limit) now, it
    /// waits until it does: first come, first served, so that no smaller lane that comes later gets in before. Without a
    /// limit it waits for nothing. What the lane inherits is looked up when this is first polled.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use laneway_runtime::lane::{self, Spawn};
    /// use laneway_runtime::{Runtime, mailbox::Inbox, time::timeout};
    ///
    /// let runtime = Runtime::builder().workers(1).memory_limit(1 << 20).lane_memory(400 << 10).build()?;
    /// runtime.block_on(async {
    ///     let spawn = Spawn::new().mailbox(8);
    ///     let first = spawn.clone().spawn(|_: Inbox<()>| std::future::pending::<()>())?;
    ///     let _second = spawn.clone().spawn(|_: Inbox<()>| std::future::pending::<()>())?;
    ///     let third = spawn.spawn_when_admitted(|_: Inbox<()>| async {});
    ///     let mut third = std::pin::pin!(third);
    ///     assert!(timeout(Duration::from_millis(1), third.as_mut()).await.is_err(), "there is no room");
    ///     lane::kill(first.mailbox.id());
    ///     third.await?;
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SpawnError`]; at once, with [`SpawnError::NoMemory`], where it could never be admitted.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in line, and nothing is spawned. [`timeout`](crate::time::timeout) bounds
    /// the wait.
    #[track_caller]
    pub fn spawn_when_admitted<M, F, Make>(self, make: Make) -> SpawnWhenAdmitted<M, F, Make>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
        Make: FnOnce(Inbox<M>) -> F,
    {
        SpawnWhenAdmitted::new(self, make, Location::caller())
    }

    /// As [`Spawn::spawn`], in the name of another place in the source.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn spawn_at<M, F>(
        self,
        at: &'static Location<'static>,
        make: impl FnOnce(Inbox<M>) -> F,
    ) -> Result<NewLane<M>, SpawnError>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        hands_out_of::<_, F>(&make);
        context::with_scheduler(|scheduler| self.spawn_on(scheduler.ok_or(SpawnError::NotInRuntime)?, at, make))
    }

    fn spawn_on<M, F>(
        self,
        scheduler: &Arc<Scheduler>,
        at: &'static Location<'static>,
        make: impl FnOnce(Inbox<M>) -> F,
    ) -> Result<NewLane<M>, SpawnError>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        self.check_bound()?;
        let admitted = match scheduler.admission() {
            None => None,
            Some(admission) => Some(admission.try_admit(self.cost::<M, F>(scheduler))?),
        };
        let lane = self.spawn_now(scheduler, at, make)?;
        if let Some(admitted) = admitted {
            admitted.belong_to_lane();
        }
        Ok(lane)
    }

    pub(crate) fn check_bound(&self) -> Result<(), SpawnError> {
        match self.bound.filter(|bound| !(1..=MAX_BOUND).contains(bound)) {
            Some(bound) => Err(SpawnError::BadBound { bound }),
            None => Ok(()),
        }
    }

    /// Whatever is inherited of the budget is what it is now, and here.
    pub(crate) fn settle_memory(&mut self, scheduler: &Scheduler) {
        self.memory.settle(scheduler, context::current_id().is_none());
    }

    /// What the lane would cost; `None` where that has no bound.
    pub(crate) fn cost<M, F>(&self, scheduler: &Scheduler) -> Option<Cost>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        let budget = self.memory.of(scheduler, context::current_id().is_none());
        admission::cost_of(LaneType::of::<F, M>().shape, budget, self.bound.unwrap_or(word::UNBOUNDED))
    }

    /// Spawns a lane for which is reserved what it may come to take, where there is a limit. If it is spawned, that is the
    /// lane's, which may have ended already.
    #[inline]
    pub(crate) fn spawn_now<M, F>(
        self,
        scheduler: &Arc<Scheduler>,
        at: &'static Location<'static>,
        make: impl FnOnce(Inbox<M>) -> F,
    ) -> Result<NewLane<M>, SpawnError>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        let bound = self.bound.unwrap_or(word::UNBOUNDED);
        if scheduler.closing.load(Ordering::Acquire) {
            return Err(SpawnError::ShuttingDown);
        }
        let parent = context::current_id();
        if parent.is_none() && context::is_abandoned() {
            return Err(SpawnError::Abandoned);
        }
        if parent.is_none() && (self.linked || self.monitored.is_some()) {
            return Err(SpawnError::NotInLane);
        }
        let too_many = SpawnError::TooManyLanes { limit: scheduler.max_lanes };
        let unborn = scheduler
            .vacant()
            .and_then(|vacant| vacant.publish(LaneType::of::<F, M>(), bound, parent, at, death::abandon))
            .ok_or(too_many)?;
        let id = unborn.id;
        // Should `make` panic, the lane is abandoned.
        let known = unborn.known_id();
        let frame = Frame::new::<F, M>(make(Inbox::new(known)));
        // From here on the runtime waits for the lane, if it did not end while `make` ran.
        let counted = scheduler.count_new().ok_or(SpawnError::ShuttingDown)?;
        let mut own = Own { frame: Some(frame), ..Own::default() };
        if self.trap_exits {
            own.flags |= TRAPS_EXITS;
        }
        if let Some(name) = &self.name {
            alloc::uncharged(|| scheduler.names.register(name, id)).map_err(SpawnError::NameTaken)?;
            own.flags |= HAS_NAMES;
            alloc::uncharged(|| own.more().names.push(name.clone()));
        }
        if let Some(plan) = &scheduler.faults {
            let lane = Spawned { id, name: self.name.as_deref(), spawned_at: at, message: type_name::<M>() };
            if let Some(awaits) = plan.kill_at_await(lane) {
                own.flags |= COUNTS_AWAITS;
                own.more().awaits_left = awaits.max(1);
            }
        }
        if self.memory.may_limit(scheduler.lane_memory) {
            self.memory.apply(scheduler, id, &mut own, parent.is_none());
        }
        let tied = self.linked || self.monitored.is_some();
        let monitor = parent.filter(|_| tied).and_then(|parent| self.tie(parent, id, &mut own));
        counted.queue(unborn.born(own));
        Ok(NewLane { mailbox: MailboxId::new(known), monitor })
    }

    /// Links the new lane and its parent, before the lane can do anything.
    fn tie(&self, parent: Id, child: Id, own: &mut Own) -> Option<MonitorRef> {
        if self.linked {
            own.more().links.insert(parent, ());
            let is_noted = context::with_current(|_, _, mine| mine.more().links.insert(child, ()));
            if is_noted.is_none() {
                // The parent was taken away in this very moment, and cannot tell the child.
                watch::send_exit_of_gone(child, parent);
            }
        }
        let receipt = self.monitored?;
        let number = context::with_current(|_, _, mine| mine.more().watching.insert(child))?;
        own.watched_by(Node::new(Signal::Monitor { watcher: parent, number, receipt }));
        Some(MonitorRef { watcher: parent, number })
    }
}
