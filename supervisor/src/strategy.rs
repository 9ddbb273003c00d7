//! What a supervisor does when a child ends: its options, its words, and the machine that decides.
//!
//! Owns: the options ([`Flags`]), and what the machine is told and tells. The machine is [`Children`], in
//! `strategy/children.rs`; what it tells is in `strategy/outcome.rs`.

mod children;
mod outcome;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use children::{ChildKey, Children};
pub use outcome::{Action, ChildCounts, ChildError, ChildInfo, Ending, Presence, Report, ReportKind};

use crate::child_spec::{ChildSpec, SpecError};

/// Whom the failure of a child concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// That child alone.
    #[default]
    OneForOne,
    /// All children: the others are stopped, then all are started again.
    OneForAll,
    /// That child and those started after it.
    RestForOne,
}

/// When the ordinary ends of significant children end the supervisor.
///
/// An end counts where the child is not started again. Children that the supervisor itself stops do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// They do not.
    #[default]
    Never,
    /// The first one does.
    AnySignificant,
    /// The one that leaves no significant child running does.
    AllSignificant,
}

/// The options of a supervisor.
///
/// ```
/// use laneway_supervisor::{Flags, Strategy};
/// let flags = Flags { strategy: Strategy::RestForOne, intensity: 3, ..Flags::default() };
/// assert_eq!(flags.period.as_secs(), 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Whom the failure of a child concerns; [`Strategy::OneForOne`] by default.
    pub strategy: Strategy,
    /// How many restarts within `period` are borne; 1 by default. With 0 the first failure ends the supervisor.
    pub intensity: u32,
    /// The time in which restarts are counted, above zero; 5 s by default.
    pub period: Duration,
    /// When the supervisor shuts down by itself; [`AutoShutdown::Never`] by default.
    pub auto_shutdown: AutoShutdown,
}

impl Flags {
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        if self.period.is_zero() { Err(SpecError::ZeroPeriod) } else { Ok(()) }
    }
}

impl Default for Flags {
    fn default() -> Flags {
        Flags {
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
        }
    }
}

/// What a supervisor may be asked to do with its children.
///
/// Each is answered by one [`Action::Answer`]; the errors are those of [`ChildError`].
#[non_exhaustive]
pub enum Command<S> {
    /// Start one more child, after all others. Answer: its lane; `None` if it declined.
    ///
    /// A child that fails to start is not kept.
    Start(ChildSpec<S>),
    /// End the child with this id, and keep its spec unless it is temporary. Answer: `None`, once it is gone.
    Terminate(Arc<str>),
    /// Start the child with this id, which has no lane. Answer: its lane; `None` if it declined.
    Restart(Arc<str>),
    /// Forget the child with this id, which has no lane. Answer: `None`.
    Delete(Arc<str>),
}

impl<S> fmt::Debug for Command<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Start(spec) => f.debug_tuple("Start").field(spec).finish(),
            Command::Terminate(id) => f.debug_tuple("Terminate").field(id).finish(),
            Command::Restart(id) => f.debug_tuple("Restart").field(id).finish(),
            Command::Delete(id) => f.debug_tuple("Delete").field(id).finish(),
        }
    }
}
