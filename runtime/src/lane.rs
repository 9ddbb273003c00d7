//! A lane from outside: how it is spawned, and what others may do to it by its id.
//!
//! Everything here is a request by id. Nothing touches another lane's memory: requests are bits in its word or
//! nodes in its mailbox, both checked by generation.

use std::any::{Any, type_name};
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

pub(crate) mod budget;
pub(crate) mod death;
pub(crate) mod few;
pub(crate) mod frame;
pub mod giving;
pub(crate) mod index;
pub(crate) mod memory;
pub(crate) mod own;
pub(crate) mod pooled;
pub(crate) mod resources;
pub(crate) mod waker;
pub(crate) mod watch;
pub(crate) mod watching;
pub(crate) mod word;

use frame::{Frame, LaneType};
use own::{COUNTS_AWAITS, HAS_DESCRIPTORS, HAS_NAMES, Own, TRAPS_EXITS};

pub use budget::{Charge, Memory, NoMemory, check_memory, memory, try_charge};
pub use pooled::Pooled;
pub use resources::{LaneWait, LockUse, Resources, resources};

use crate::alloc;
use crate::context;
use crate::exit::{ExitReason, IntoExit};
use crate::fault::Spawned;
use crate::id::{Id, StaleId};
use crate::mailbox::node::{self, Node};
use crate::mailbox::{DEFAULT_BOUND, Inbox, MAX_BOUND, MailboxId};
use crate::name::NameTaken;
use crate::peer;
use crate::reply::{Answer, NoAnswer};
use crate::runtime::NotInRuntime;
use crate::sched;
use crate::sched::Scheduler;
use crate::sched::worker::Local;
use crate::signal::{MonitorRef, Signal};
use crate::slot::slot_of;
use crate::wait_graph::note::{self, Number, UNKNOWN, hands_out_of};
use crate::wait_graph::record::Wait;
use crate::wait_graph::{Awaits, Deadlock};

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
    /// The caller is a lane that [is abandoned](is_abandoned).
    Abandoned,
    /// As many lanes live as the runtime may have.
    TooManyLanes {
        /// The limit, set by [`Builder::max_lanes`](crate::Builder::max_lanes).
        limit: u32,
    },
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
    /// [`ExitReason::OutOfMemory`]. By default it is as large as that of the lane that spawns, each lane having its own; none
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
    /// # assert!(lane::join(lane.mailbox.id()).await.is_ordinary());
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
        self.bound.map(|bound| 2 * u64::from(bound) * node::bytes_of::<M>())
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
        if let Some(bound) = self.bound.filter(|bound| !(1..=MAX_BOUND).contains(bound)) {
            return Err(SpawnError::BadBound { bound });
        }
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

/// The caller is no lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInLane;

impl fmt::Display for NotInLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is for lanes, and the caller is none")
    }
}

impl std::error::Error for NotInLane {}

/// The lane that this code runs in.
pub fn current() -> Option<Id> {
    context::current_id()
}

/// Whether this code runs in that lane; as a comparison with [`current`], and cheaper.
#[inline]
pub fn is_current(id: Id) -> bool {
    context::with_local(|local| local.and_then(Local::current).is_some_and(|slot| slot.is_or_was(id)))
}

/// The lane that spawned the one this code runs in.
pub fn parent() -> Option<Id> {
    context::with_current(|_, slot, _| slot.parent()).flatten()
}

/// Whether a local lane lives. One that is ending lives until what it held is released.
pub fn is_alive(id: Id) -> bool {
    slot_of(id).is_some_and(|slot| slot.word.is_live(id.generation().get()))
}

/// Ends a lane, trapping or not, before its next poll: with [`ExitReason::Killed`]. False where it was gone.
///
/// The call only asks; the end shows in a [`monitor`]. A lane that does not leave its poll, or is stuck in its destructors,
/// ends all the same once the [watchdog](crate::Builder::watchdog) has found it: see [`is_abandoned`].
pub fn kill(id: Id) -> bool {
    if context::is_abandoned() {
        return false;
    }
    if let Some(route) = peer::route(id) {
        route.exit(id, current().unwrap_or(id), ExitReason::Kill);
        return true;
    }
    let Some(slot) = slot_of(id) else { return false };
    let kill = || {
        let on = slot.word.kill(id.generation().get());
        sched::act(slot, on);
        on != word::OnWake::Stale
    };
    context::unless_abandoned(kill).unwrap_or(false)
}

/// Whether the code that calls is that of a lane which was killed while it was stuck in this very poll.
///
/// Such a lane has ended for all others: its id is stale, its names are free, its mailbox is closed, its timers and
/// descriptors are released, and whoever was linked with it or watched it has heard. Its code cannot be stopped. What it
/// still asks of the runtime fails, with the errors that code outside of lanes gets: sends hand the message back as if the
/// receiver were gone, signals go nowhere, nothing is spawned, received or registered. Its future is dropped, and its
/// memory given back, when the poll returns; [`Metrics::abandoned_lanes`](crate::Metrics::abandoned_lanes) counts it until
/// then. Code that computes for long may look here now and then, and return.
///
/// ```
/// assert!(!laneway_runtime::lane::is_abandoned());
/// ```
pub fn is_abandoned() -> bool {
    context::is_abandoned()
}

/// Sends an exit signal, as Erlang's `exit/2`: a lane that traps exits gets it as a message, another one ends with the
/// reason, unless that is [`ExitReason::Normal`]; [`ExitReason::Kill`] ends both.
pub fn exit(id: Id, reason: ExitReason) {
    exit_from(id, current().unwrap_or(id), reason);
}

/// As [`exit`], in the name of another lane; for those who carry signals between nodes.
pub fn exit_from(id: Id, from: Id, reason: ExitReason) {
    context::unless_abandoned(|| watch::send_exit(id, from, reason, false));
}

/// Asks a lane to end with `reason` once it has handled what is queued now.
///
/// # Errors
/// It was gone.
pub fn stop(id: Id, reason: ExitReason) -> Result<(), StaleId> {
    if context::is_abandoned() {
        return Err(StaleId(id));
    }
    if let Some(route) = peer::route(id) {
        route.stop(id, reason);
        return Ok(());
    }
    let sent = context::unless_abandoned(|| watch::send_stop(id, reason));
    if sent == Some(true) { Ok(()) } else { Err(StaleId(id)) }
}

/// Waits until a local lane is gone and what it held is released: why it ended, [`ExitReason::NoProc`] where it was gone
/// before.
///
/// Unlike a monitor this needs no lane to wait in. A lane that waits, itself or by others, for the one that joins it never
/// ends: [`try_join`] says so.
#[track_caller]
pub fn join(id: Id) -> Join {
    Join(Joining::new(id, Location::caller(), true))
}

/// As [`join`], with an error where the lane waits, itself or by others, for the current one.
///
/// ```
/// use laneway_runtime::lane::{self, JoinError};
/// # let runtime = laneway_runtime::Runtime::builder().build().unwrap();
/// # runtime.block_on(async {
/// let lane = lane::Spawn::new().spawn(|_: laneway_runtime::mailbox::Inbox<()>| async {
///     let me = lane::current().unwrap();
///     let Err(JoinError::Deadlock(deadlock)) = lane::try_join(me).await else { panic!("a lane that outlives itself") };
///     assert_eq!(deadlock.chain()[0].of, Some(me));
/// });
/// lane::join(lane.unwrap().mailbox.id()).await;
/// # });
/// ```
///
/// # Errors
/// [`JoinError`].
#[track_caller]
pub fn try_join(id: Id) -> TryJoin {
    TryJoin(Joining::new(id, Location::caller(), false))
}

/// Why the end of a lane is not waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The lane waits, itself or by others, for the one that would wait for its end. It lives on.
    Deadlock(Deadlock),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Deadlock(deadlock) => deadlock.fmt(f),
        }
    }
}

impl std::error::Error for JoinError {}

/// The future of [`join`].
#[derive(Debug)]
#[must_use = "nobody waits before it is awaited"]
pub struct Join(Joining);

/// The future of [`try_join`].
#[derive(Debug)]
#[must_use = "nobody waits before it is awaited"]
pub struct TryJoin(Joining);

#[derive(Debug)]
struct Joining {
    id: Id,
    at: &'static Location<'static>,
    number: Number,
    mute: bool,
    answer: Option<Answer<ExitReason>>,
}

impl Joining {
    fn new(id: Id, at: &'static Location<'static>, mute: bool) -> Joining {
        Joining { id, at, number: Number::default(), mute, answer: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ExitReason, Deadlock>> {
        let Joining { id, at, mute, .. } = *self;
        let wait = Wait { awaits: Awaits::End, of: Some(id), lock: None, at: Some(at), handed_out: UNKNOWN, mute };
        let answer = self.answer.get_or_insert_with(|| watch::join(id));
        let ended = std::task::ready!(answer.poll_parking(cx, |cx| note::park(cx, &mut self.number, wait)));
        Poll::Ready(match ended {
            Ok(reason) => Ok(reason),
            Err(NoAnswer::Deadlock(deadlock)) => Err(deadlock),
            Err(_) => Ok(ExitReason::NoProc),
        })
    }
}

impl Future for Join {
    type Output = ExitReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ExitReason> {
        // One that is mute is told of no deadlock.
        self.0.poll(cx).map(|ended| ended.unwrap_or(ExitReason::NoProc))
    }
}

impl Future for TryJoin {
    type Output = Result<ExitReason, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<ExitReason, JoinError>> {
        self.0.poll(cx).map_err(JoinError::Deadlock)
    }
}

/// Turns what a panic threw into the reason with which its lane would have ended.
pub fn panic_reason(payload: Box<dyn Any + Send>) -> ExitReason {
    crate::panic::reason(payload)
}

/// Why the lane ends whose destructors run here; `None` elsewhere.
pub fn ending() -> Option<ExitReason> {
    context::with_local(|local| local.and_then(|local| local.ending.borrow().clone()))
}

/// Ties the fates of the current lane and another: the end of either is an exit signal to the other.
///
/// A lane that is gone answers with [`ExitReason::NoProc`]. Linking twice makes one link.
///
/// # Errors
/// [`NotInLane`].
pub fn link(id: Id) -> Result<(), NotInLane> {
    watch::link(id).ok_or(NotInLane)
}

/// Takes a link back.
///
/// # Errors
/// [`NotInLane`].
pub fn unlink(id: Id) -> Result<(), NotInLane> {
    watch::unlink(id).ok_or(NotInLane)
}

/// Lets the current lane hear of another's end, once, by a [`Down`](crate::Down).
///
/// # Errors
/// [`NotInLane`].
pub fn monitor(id: Id) -> Result<MonitorRef, NotInLane> {
    watch::monitor(id, false).ok_or(NotInLane)
}

/// As [`monitor`]; the notice brings the [`ExitReceipt`](crate::ExitReceipt), where the lane is of this node.
///
/// # Errors
/// [`NotInLane`].
pub fn monitor_with_receipt(id: Id) -> Result<MonitorRef, NotInLane> {
    watch::monitor(id, true).ok_or(NotInLane)
}

/// Why a monitor was not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DemonitorError {
    /// The monitor is that of another lane, or the caller is no lane.
    NotYours,
}

impl fmt::Display for DemonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the monitor is that of another lane")
    }
}

impl std::error::Error for DemonitorError {}

/// Takes a monitor of the current lane back: true if it stood. A notice that is queued already stays; see
/// [`Inbox::flush_down`].
///
/// # Errors
/// [`DemonitorError::NotYours`].
pub fn demonitor(reference: MonitorRef) -> Result<bool, DemonitorError> {
    if current() != Some(reference.watcher) {
        return Err(DemonitorError::NotYours);
    }
    Ok(watch::demonitor(reference))
}

/// Turns exit signals to the current lane into messages, or no longer.
///
/// # Errors
/// [`NotInLane`].
pub fn trap_exits(trap: bool) -> Result<(), NotInLane> {
    context::with_current(|_, _, own| {
        if trap {
            own.flags |= TRAPS_EXITS;
        } else {
            own.flags &= !TRAPS_EXITS;
        }
    })
    .ok_or(NotInLane)
}

/// Why a name was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// It is another lane's.
    Taken(NameTaken),
    /// The caller is no lane.
    NotInLane,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Taken(taken) => taken.fmt(f),
            NameError::NotInLane => NotInLane.fmt(f),
        }
    }
}

impl std::error::Error for NameError {}

/// Gives the current lane a name, until it ends or unregisters.
///
/// # Errors
/// [`NameError`].
pub fn register(name: impl Into<Arc<str>>) -> Result<(), NameError> {
    let name = name.into();
    let me = context::current_id().ok_or(NameError::NotInLane)?;
    let registered = context::with_current(|local, _, own| {
        local.scheduler.names.register(&name, me)?;
        own.flags |= HAS_NAMES;
        own.more().names.push(name);
        Ok(())
    });
    registered.ok_or(NameError::NotInLane)?.map_err(NameError::Taken)
}

/// Gives up a name of the current lane: true if it was its.
pub fn unregister(name: &str) -> bool {
    let Some(me) = context::current_id() else { return false };
    context::with_current(|local, _, own| {
        let Some(more) = &mut own.more else { return false };
        let Some(at) = more.names.iter().position(|held| **held == *name) else { return false };
        let held = more.names.swap_remove(at);
        local.scheduler.names.release(me, &[held]) == 1
    })
    .unwrap_or(false)
}

/// The lane that has a name, in the runtime that this code runs in.
pub fn whereis(name: &str) -> Option<Id> {
    context::with_scheduler(|scheduler| scheduler.and_then(|scheduler| scheduler.names.lookup(name)))
}

/// The current lane, which from now on may own descriptors: its death looks for them. To be called before a descriptor
/// is inserted for the lane or transferred to it.
pub fn owner_of_descriptors() -> Option<Id> {
    let me = context::current_id()?;
    context::with_current(|_, _, own| own.flags |= HAS_DESCRIPTORS)?;
    Some(me)
}
