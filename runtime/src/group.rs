//! Groups: any number of lanes under one name, found by it and by lane, and told of.
//!
//! After OTP's `pg`, for the lanes of one runtime. A lane [joins](join) as many groups as it likes, also one several times,
//! and is in each until it has [left](leave) it as often or has died; its death takes it out of all of them before anybody
//! hears of it. A group needs no making: one that nobody is in and one that never was are the same.
//!
//! Whoever [monitors](monitor) a group gets its members as they are, and from then on each change as a signal in its
//! mailbox, in the order in which they were made, with none missing and none twice.
//!
//! Owns: the calls, and the notices of changes. What is kept lies in `group/table.rs`.
//!
//! ```
//! use laneway_runtime::{group, lane, mailbox::Inbox};
//! # let runtime = laneway_runtime::Runtime::builder().build()?;
//! # runtime.block_on(async {
//! let worker = lane::Spawn::new().spawn(|_: Inbox<()>| async {
//!     group::join("workers").unwrap();
//!     assert_eq!(group::members("workers"), [lane::current().unwrap()]);
//! })?;
//! lane::join(worker.mailbox.id()).await;
//! assert!(group::members("workers").is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::Arc;

use crate::context;
use crate::id::Id;
use crate::lane::own::IN_GROUPS;
use crate::lane::{DemonitorError, NotInLane};
use crate::mailbox::node::Node;
use crate::sched::Scheduler;
use crate::signal::Signal;

pub(crate) mod table;

/// Names one act of monitoring a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupRef {
    /// The lane that is told.
    pub watcher: Id,
    /// Its number for it; unique in the watcher's life, among those for groups.
    pub number: u64,
}

impl GroupRef {
    /// A monitor of which no change comes: that of a lane which [is abandoned](crate::lane::is_abandoned).
    pub fn of_nothing(watcher: Id) -> GroupRef {
        GroupRef { watcher, number: u64::MAX }
    }
}

/// A group that is monitored has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What [`monitor`] answered.
    pub reference: GroupRef,
    /// The group.
    pub group: Arc<str>,
    /// The lane that joined or left.
    pub id: Id,
    /// Which of the two.
    pub kind: ChangeKind,
}

/// What a lane did to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It joined, perhaps once more.
    Joined,
    /// It left, or died: then this comes as often as it had joined, and before any notice of its death.
    Left,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did = match self.kind {
            ChangeKind::Joined => "joined",
            ChangeKind::Left => "left",
        };
        write!(f, "lane {} {did} the group {:?}", self.id, self.group)
    }
}

/// A change as it lies in a node of its watcher's mailbox.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The watcher's number for its monitor.
    pub(crate) number: u64,
    pub(crate) group: Arc<str>,
    pub(crate) id: Id,
    pub(crate) kind: ChangeKind,
}

/// The notice of a change, as it came. It is small, and what it says is put together where it is wanted.
pub struct Changed {
    watcher: Id,
    /// It holds a [`Signal::Group`].
    node: Node,
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.peek::<Signal>().fmt(f)
    }
}

impl Changed {
    /// The notice that lies in `node`, and came for `watcher`.
    pub(crate) fn new(watcher: Id, node: Node) -> Changed {
        Changed { watcher, node }
    }

    /// What the notice says.
    pub fn into_change(self) -> Change {
        match self.node.take() {
            Ok(Signal::Group(Notice { number, group, id, kind })) => {
                Change { reference: GroupRef { watcher: self.watcher, number }, group, id, kind }
            }
            _ => unreachable!("seen to be a change of a group"),
        }
    }
}

/// Why a group was not left. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveError {
    /// The current lane is not in the group: it has not joined, or has left as often as it had.
    NotJoined,
    /// The caller is no lane.
    NotInLane,
}

impl fmt::Display for LeaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaveError::NotJoined => f.write_str("the lane is not in the group"),
            LeaveError::NotInLane => NotInLane.fmt(f),
        }
    }
}

impl std::error::Error for LeaveError {}

/// Runs what the current lane does to groups, in one piece: should the lane be taken away, its death finds all of it or
/// nothing of it is done. `f` calls no user code.
fn within<R>(f: impl FnOnce(&Scheduler, Id) -> R) -> Option<R> {
    let done = context::unless_abandoned(|| {
        let me = context::with_current(|_, slot, own| {
            own.flags |= IN_GROUPS;
            slot.tenant()
        });
        let me = me.flatten()?;
        context::with_local(|local| local.map(|local| f(&local.scheduler, me)))
    });
    done.flatten()
}

/// Puts the current lane in a group, once more where it is in it. It leaves by as many calls of [`leave`], or by its death.
///
/// # Errors
/// [`NotInLane`].
pub fn join(name: impl Into<Arc<str>>) -> Result<(), NotInLane> {
    let name = name.into();
    within(|scheduler, me| scheduler.groups.join(&name, me)).ok_or(NotInLane)
}

/// Takes one [`join`] of the current lane back.
///
/// # Errors
/// [`LeaveError`].
pub fn leave(name: &str) -> Result<(), LeaveError> {
    match within(|scheduler, me| scheduler.groups.leave(name, me)) {
        Some(true) => Ok(()),
        Some(false) => Err(LeaveError::NotJoined),
        None => Err(LeaveError::NotInLane),
    }
}

/// Runs `f` with the runtime that this code runs in; outside of all, nothing is found.
fn look<R: Default>(f: impl FnOnce(&Scheduler) -> R) -> R {
    context::with_scheduler(|scheduler| scheduler.map(|scheduler| f(scheduler)).unwrap_or_default())
}

/// The lanes in a group, as it is at one moment; one that joined several times comes as often, in a row. Else they are in no
/// order.
///
/// A lane that has died since is refused by whatever takes its id. Of a lane whose end was heard of, by a notice or a
/// [`join`](crate::lane::join), nothing is in any group.
pub fn members(name: &str) -> Vec<Id> {
    look(|scheduler| scheduler.groups.members(name))
}

/// The groups that a lane is in, sorted; one that it joined several times comes as often.
pub fn of(id: Id) -> Vec<Arc<str>> {
    look(|scheduler| scheduler.groups.of(id))
}

/// The groups that somebody is in, sorted. Others may come and go while the runtime is gone through.
pub fn all() -> Vec<Arc<str>> {
    look(|scheduler| scheduler.groups.all())
}

/// Lets the current lane hear of each [`Change`] of a group, until it [demonitors](demonitor) or dies: the members as they are
/// now, and as they come in [`members`]. All that changes after that comes as
/// [`Received::Group`](crate::mailbox::Received::Group), exempt from the mailbox's bound; also what the lane does itself.
///
/// Monitoring twice tells twice. Nobody need be in the group.
///
/// ```
/// use laneway_runtime::group::{self, ChangeKind};
/// use laneway_runtime::lane::Spawn;
/// use laneway_runtime::mailbox::{Inbox, Received};
/// # let runtime = laneway_runtime::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let watcher = Spawn::new().spawn(|mut inbox: Inbox<()>| async move {
///     let (reference, members) = group::monitor("workers").unwrap();
///     assert!(members.is_empty());
///     group::join("workers").unwrap();
///     let Some(Received::Group(changed)) = inbox.try_recv() else { panic!("it is told at once") };
///     let change = changed.into_change();
///     assert_eq!((change.reference, change.id, change.kind), (reference, reference.watcher, ChangeKind::Joined));
///     group::leave("workers").unwrap();
///     group::demonitor(reference).unwrap();
///     inbox.flush_group(reference);
///     assert!(inbox.try_recv().is_none());
/// })?;
/// # laneway_runtime::lane::join(watcher.mailbox.id()).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`NotInLane`].
pub fn monitor(name: impl Into<Arc<str>>) -> Result<(GroupRef, Vec<Id>), NotInLane> {
    let name = name.into();
    within(|scheduler, me| scheduler.groups.monitor(&name, me)).ok_or(NotInLane)
}

/// Takes a monitor of the current lane back: true if it stood. No change that is made after this comes; what is queued
/// already stays, see [`Inbox::flush_group`](crate::mailbox::Inbox::flush_group).
///
/// # Errors
/// [`DemonitorError::NotYours`].
pub fn demonitor(reference: GroupRef) -> Result<bool, DemonitorError> {
    if context::current_id() != Some(reference.watcher) {
        return Err(DemonitorError::NotYours);
    }
    let stood = within(|scheduler, me| scheduler.groups.demonitor(me, reference.number));
    stood.ok_or(DemonitorError::NotYours)
}
