//! What the machine tells: actions to carry out, reports to write, answers to give.

use std::fmt;
use std::sync::Arc;

use runtime::{ExitReason, Id};

use super::ChildKey;
use crate::child_spec::{ChildKind, Shutdown, SpecError};

/// What the supervisor's lane must do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action<T> {
    /// Start this child, and say what came of it: `handle_started`, `handle_ignored` or `handle_start_failed`.
    Start {
        /// The child.
        child: ChildKey,
    },
    /// The start under way is no longer wanted: end that lane as `how` says. What came of the start must still be said.
    CancelStart {
        /// The child.
        child: ChildKey,
        /// How to end what there is of it.
        how: Shutdown,
    },
    /// Ask this lane to end, by the signal [`ExitReason::Shutdown`].
    Stop {
        /// The lane.
        lane: Id,
    },
    /// Kill this lane, by the signal [`ExitReason::Kill`].
    Kill {
        /// The lane.
        lane: Id,
    },
    /// All children of the first start are there: tell whoever started the supervisor.
    Ready,
    /// Answer a command.
    Answer {
        /// Who asked.
        to: T,
        /// The lane of the child, where there is one to tell.
        reply: Result<Option<Id>, ChildError>,
    },
    /// Write this into the log.
    Report(Report),
    /// No child is left: end with [`Ending::reason`]. The last action of all.
    Exit(Ending),
}

/// Why a supervisor ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was asked to, with this reason.
    Asked(ExitReason),
    /// A child of the first start could not be started; those before it have been stopped.
    FailedToStart {
        /// The child's id.
        child: Arc<str>,
        /// Why it did not start.
        reason: ExitReason,
    },
    /// There were more restarts than its intensity allows.
    IntensityReached,
    /// Its significant children are done.
    AutoShutdown,
}

impl Ending {
    /// The reason with which the supervisor's lane ends.
    pub fn reason(&self) -> ExitReason {
        match self {
            Ending::Asked(reason) => reason.clone(),
            Ending::FailedToStart { child, reason } => {
                ExitReason::ShutdownWith(format!("child {child:?} failed to start: {reason}").into())
            }
            Ending::IntensityReached | Ending::AutoShutdown => ExitReason::Shutdown,
        }
    }
}

/// What deserves a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub kind: ReportKind,
    /// The id of the child that it happened to.
    pub child: Arc<str>,
    /// How many such children ended with this reason; above 1 only where many are stopped at once.
    pub count: u64,
    /// The reason that the child gave.
    pub reason: ExitReason,
}

/// What a [`Report`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportKind {
    /// The child did not start.
    StartError,
    /// The child ended of its own.
    ChildTerminated,
    /// The child was to be stopped, and ended otherwise than asked.
    ShutdownError,
    /// The child's end, or failed start, was one too many: the supervisor gives up.
    IntensityReached,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ReportKind::StartError => "failed to start",
            ReportKind::ChildTerminated => "ended",
            ReportKind::ShutdownError => "ended otherwise than asked",
            ReportKind::IntensityReached => "failed once too often, its supervisor gives up",
        };
        write!(f, "child {:?} {what}: {}", self.child, self.reason)?;
        if self.count > 1 { write!(f, " ({} times)", self.count) } else { Ok(()) }
    }
}

/// A command to a supervisor was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildError {
    /// There is no such child; nothing was done.
    NotFound,
    /// A child with this id is there, as this lane; the new spec was dropped.
    AlreadyStarted(Id),
    /// A child with this id is known, without a lane; the new spec was dropped.
    AlreadyPresent,
    /// The child runs as this lane; nothing was done.
    Running(Id),
    /// The child is being started again; nothing was done.
    Restarting,
    /// The supervisor has as many children as it may have; nothing was started.
    TooManyChildren,
    /// The spec makes no sense under this supervisor; it was dropped.
    Spec(SpecError),
    /// The child did not start, for this reason. A new child is not kept; a known one keeps its spec.
    Failed(ExitReason),
    /// The supervisor is ending, and the child with it.
    ShuttingDown,
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildError::NotFound => f.write_str("there is no such child"),
            ChildError::AlreadyStarted(lane) => write!(f, "a child with this id runs already, as lane {lane}"),
            ChildError::AlreadyPresent => f.write_str("a child with this id is known already, but does not run"),
            ChildError::Running(lane) => write!(f, "the child is running, as lane {lane}"),
            ChildError::Restarting => f.write_str("the child is being started again"),
            ChildError::TooManyChildren => f.write_str("the supervisor has as many children as it may have"),
            ChildError::Spec(_) => f.write_str("the child spec makes no sense under this supervisor"),
            ChildError::Failed(reason) => write!(f, "the child did not start: {reason}"),
            ChildError::ShuttingDown => f.write_str("the supervisor is ending"),
        }
    }
}

impl std::error::Error for ChildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ChildError::Spec(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SpecError> for ChildError {
    fn from(error: SpecError) -> ChildError {
        ChildError::Spec(error)
    }
}

/// Whether a child has a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It runs as this lane.
    Running(Id),
    /// It has ended, or failed to start, and is about to be started again.
    Restarting,
    /// It has none: not started yet, declined, ended for good, or terminated.
    Absent,
}

/// One child, as a supervisor lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInfo {
    /// What the child is called.
    pub id: Arc<str>,
    /// Whether it has a lane.
    pub presence: Presence,
    /// What it is.
    pub kind: ChildKind,
}

/// How many children a supervisor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// Child specs, running or not.
    pub specs: usize,
    /// Children with a lane.
    pub active: usize,
    /// Children that are supervisors, running or not.
    pub supervisors: usize,
    /// Children that are workers, running or not.
    pub workers: usize,
}
