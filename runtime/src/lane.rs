//! A lane from outside: how it is spawned, and what others may do to it by its id.
//!
//! Everything here is a request by id. Nothing touches another lane's memory: requests are bits in its word or
//! nodes in its mailbox, both checked by generation.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) mod budget;
pub(crate) mod death;
pub(crate) mod ending;
pub(crate) mod few;
pub(crate) mod frame;
pub mod giving;
pub(crate) mod index;
pub(crate) mod memory;
pub(crate) mod own;
pub(crate) mod pooled;
pub(crate) mod resources;
pub(crate) mod spawn;
pub(crate) mod waker;
pub(crate) mod watch;
pub(crate) mod watching;
pub(crate) mod word;

use own::{HAS_DESCRIPTORS, HAS_NAMES, TRAPS_EXITS};

pub use crate::admission::waiting::SpawnWhenAdmitted;
pub use budget::{Charge, Memory, NoMemory, check_memory, memory, try_charge};
pub use pooled::Pooled;
pub use resources::{LaneWait, LockUse, Resources, resources};
pub use spawn::{NewLane, Spawn, SpawnError};

use crate::context;
use crate::exit::ExitReason;
use crate::id::{Id, StaleId};
use crate::name::NameTaken;
use crate::peer;
use crate::reply::{Answer, NoAnswer};
use crate::sched;
use crate::sched::worker::Local;
use crate::signal::MonitorRef;
use crate::slot::slot_of;
use crate::wait_graph::note::{self, Number, UNKNOWN};
use crate::wait_graph::record::Wait;
use crate::wait_graph::{Awaits, Deadlock};

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
        sched::act_on_killed(slot, on);
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
    context::with_local(|local| local.and_then(|local| local.ending.reason()))
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
/// [`Inbox::flush_down`](crate::mailbox::Inbox::flush_down).
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
