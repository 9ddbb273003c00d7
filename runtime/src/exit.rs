//! Why a lane ended, and which of the reasons count as ordinary.
//!
//! Owns: [`ExitReason`] and its classes. Knows nothing of who is told.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a lane ended.
///
/// The words are those of Erlang/OTP. A reason travels to whoever is linked to the lane or monitors it, on this node
/// and on others, so it owns what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// The lane did its work.
    Normal,
    /// The lane was asked to end, as by its supervisor.
    Shutdown,
    /// The lane ended in order, and says more.
    ShutdownWith(Arc<str>),
    /// The lane was killed: what [`ExitReason::Kill`] turns into on arrival.
    Killed,
    /// As a signal: end at once, trapped or not. As a lane's own choice: an ordinary abnormal reason.
    Kill,
    /// There is no such lane (any more).
    NoProc,
    /// The link to the lane's node is gone; the lane itself may live on.
    NodeDown,
    /// The lane's code panicked.
    Panicked {
        /// What the panic said.
        message: Arc<str>,
        /// `file:line:column` of the panic; empty where it is not known.
        location: Arc<str>,
    },
    /// The lane ended with an error of its own.
    Error(Arc<str>),
    /// The lane took more memory than its budget, as set by `Spawn::memory`.
    OutOfMemory {
        /// The budget, in bytes.
        budget: u64,
        /// What was asked for when the budget was used up, in bytes, with what the allocator adds.
        requested: u64,
    },
}

impl ExitReason {
    /// An error of the lane's own, in words.
    pub fn error(what: impl fmt::Display) -> ExitReason {
        ExitReason::Error(what.to_string().into())
    }

    /// Whether the lane ended as it should: [`Normal`](ExitReason::Normal), [`Shutdown`](ExitReason::Shutdown) or
    /// [`ShutdownWith`](ExitReason::ShutdownWith). A transient child is restarted after all others.
    ///
    /// ```
    /// use laneway_runtime::ExitReason;
    /// assert!(ExitReason::Shutdown.is_ordinary());
    /// assert!(!ExitReason::Killed.is_ordinary());
    /// ```
    pub fn is_ordinary(&self) -> bool {
        matches!(self, ExitReason::Normal | ExitReason::Shutdown | ExitReason::ShutdownWith(_))
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("normal"),
            ExitReason::Shutdown => f.write_str("shutdown"),
            ExitReason::ShutdownWith(what) => write!(f, "shutdown: {what}"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::Kill => f.write_str("kill"),
            ExitReason::NoProc => f.write_str("no such lane"),
            ExitReason::NodeDown => f.write_str("the link to its node went down"),
            ExitReason::Panicked { message, location } if location.is_empty() => write!(f, "panicked: {message}"),
            ExitReason::Panicked { message, location } => write!(f, "panicked at {location}: {message}"),
            ExitReason::Error(what) => write!(f, "error: {what}"),
            ExitReason::OutOfMemory { budget, requested } => {
                write!(f, "out of memory: {requested} bytes asked for with a budget of {budget}")
            }
        }
    }
}

/// So that `?` ends a lane with the error's words.
impl<E: std::error::Error> From<E> for ExitReason {
    fn from(error: E) -> ExitReason {
        ExitReason::error(error)
    }
}

/// What the future of a lane may return: each value says how the lane ended.
pub trait IntoExit {
    /// The reason with which the lane ends.
    fn into_exit(self) -> ExitReason;
}

impl IntoExit for () {
    fn into_exit(self) -> ExitReason {
        ExitReason::Normal
    }
}

impl IntoExit for ExitReason {
    fn into_exit(self) -> ExitReason {
        self
    }
}

impl<E: fmt::Display> IntoExit for Result<(), E> {
    fn into_exit(self) -> ExitReason {
        match self {
            Ok(()) => ExitReason::Normal,
            Err(error) => ExitReason::error(error),
        }
    }
}

/// The type of what never returns, which stable Rust lets nobody write in an `impl`.
type Never = <fn() -> ! as Returns>::Value;

/// What a function returns, as an associated type.
#[doc(hidden)]
pub trait Returns {
    /// It.
    type Value;
}

impl<T> Returns for fn() -> T {
    type Value = T;
}

/// For lanes that only loop, or only panic.
impl IntoExit for Never {
    fn into_exit(self) -> ExitReason {
        self
    }
}
