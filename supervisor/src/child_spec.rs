//! What a supervisor knows of one child: how it is started, when it is started again, and how it is ended.
//!
//! Owns: [`ChildSpec`] and which combinations are refused. How a child is started is a type parameter, so that nothing
//! here knows of lanes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use runtime::ExitReason;
use runtime::mailbox::MAX_BOUND;

use crate::strategy::AutoShutdown;

/// When a child that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// After a failure; after an [ordinary](ExitReason::is_ordinary) end its spec stays, without a lane.
    Transient,
    /// Never, not even with a group; its spec goes when it ends.
    Temporary,
}

impl Restart {
    /// Whether a child that ended of its own with this reason is started again.
    pub fn applies_to(self, reason: &ExitReason) -> bool {
        match self {
            Restart::Permanent => true,
            Restart::Transient => !reason.is_ordinary(),
            Restart::Temporary => false,
        }
    }
}

/// How a child is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// It is killed at once.
    Brutal,
    /// It is asked to end, and killed if it has not ended after this time.
    Timeout(Duration),
    /// It is asked to end, and waited for as long as it takes.
    Infinite,
}

impl Shutdown {
    /// What a worker gets unless its spec says otherwise: 5 s.
    pub const WORKER: Shutdown = Shutdown::Timeout(Duration::from_secs(5));
    /// What a supervisor gets unless its spec says otherwise: all the time that its own children need.
    pub const SUPERVISOR: Shutdown = Shutdown::Infinite;
}

impl From<Duration> for Shutdown {
    fn from(limit: Duration) -> Shutdown {
        Shutdown::Timeout(limit)
    }
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildKind {
    /// It does work.
    Worker,
    /// It has children of its own.
    Supervisor,
}

/// Everything a supervisor must know of one child. `S` is how it is started.
///
/// ```
/// use laneway_supervisor::{ChildSpec, Restart, Shutdown, SpecError};
/// use std::time::Duration;
///
/// let spec = ChildSpec::worker("cache", ()).restart(Restart::Transient).build().unwrap();
/// assert_eq!(spec.shutdown(), Shutdown::Timeout(Duration::from_secs(5)));
/// assert_eq!(ChildSpec::worker("", ()).build().unwrap_err(), SpecError::EmptyId);
/// ```
#[derive(Clone)]
pub struct ChildSpec<S> {
    id: Arc<str>,
    start: S,
    restart: Restart,
    shutdown: Shutdown,
    significant: bool,
    kind: ChildKind,
}

impl<S> ChildSpec<S> {
    /// Begins the spec of a child that does work: permanent, with 5 s to shut down, unless said otherwise.
    pub fn worker(id: impl Into<Arc<str>>, start: S) -> ChildSpecBuilder<S> {
        ChildSpecBuilder::new(id.into(), start, ChildKind::Worker, Shutdown::WORKER)
    }

    /// Begins the spec of a child that is a supervisor: permanent, with unlimited time to shut down, unless said
    /// otherwise.
    pub fn supervisor(id: impl Into<Arc<str>>, start: S) -> ChildSpecBuilder<S> {
        ChildSpecBuilder::new(id.into(), start, ChildKind::Supervisor, Shutdown::SUPERVISOR)
    }

    /// What the child is called among its siblings.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How the child is started.
    pub fn start(&self) -> &S {
        &self.start
    }

    /// How the child is started, for those whose start changes them.
    pub fn start_mut(&mut self) -> &mut S {
        &mut self.start
    }

    /// When the child is started again.
    pub fn restart(&self) -> Restart {
        self.restart
    }

    /// How the child is ended.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown
    }

    /// Whether the child's own ordinary end may end the supervisor.
    pub fn is_significant(&self) -> bool {
        self.significant
    }

    /// What the child is.
    pub fn kind(&self) -> ChildKind {
        self.kind
    }

    /// Refuses what would never have an effect under this supervisor.
    pub(crate) fn check_under(&self, auto_shutdown: AutoShutdown) -> Result<(), SpecError> {
        if self.significant && auto_shutdown == AutoShutdown::Never {
            return Err(SpecError::SignificantWithoutAutoShutdown(self.id.clone()));
        }
        Ok(())
    }

    /// Whether an end with this reason is what was asked for; otherwise it deserves a report.
    pub(crate) fn ended_as_asked(&self, reason: &ExitReason) -> bool {
        // A permanent child has no business to end in an order of its own, even when it was about to be asked.
        let may_end = self.restart != Restart::Permanent;
        match reason {
            ExitReason::Killed => self.shutdown == Shutdown::Brutal,
            ExitReason::Shutdown => may_end || self.shutdown != Shutdown::Brutal,
            ExitReason::Normal | ExitReason::ShutdownWith(_) => may_end,
            _ => false,
        }
    }
}

impl<S> fmt::Debug for ChildSpec<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("significant", &self.significant)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A [`ChildSpec`] in the making.
#[must_use = "a builder does nothing until `build`"]
pub struct ChildSpecBuilder<S> {
    spec: ChildSpec<S>,
    /// A bound that no mailbox may have, where that is what was asked for.
    bad_mailbox: Option<u32>,
}

impl<S> ChildSpecBuilder<S> {
    fn new(id: Arc<str>, start: S, kind: ChildKind, shutdown: Shutdown) -> ChildSpecBuilder<S> {
        let spec = ChildSpec { id, start, restart: Restart::default(), shutdown, significant: false, kind };
        ChildSpecBuilder { spec, bad_mailbox: None }
    }

    /// When the child is started again; [`Restart::Permanent`] by default.
    pub fn restart(mut self, restart: Restart) -> ChildSpecBuilder<S> {
        self.spec.restart = restart;
        self
    }

    /// How the child is ended, or how long it may take to end; 5 s for a worker and unlimited for a supervisor by
    /// default.
    pub fn shutdown(mut self, shutdown: impl Into<Shutdown>) -> ChildSpecBuilder<S> {
        self.spec.shutdown = shutdown.into();
        self
    }

    /// Whether the child's own end may end the supervisor, see [`AutoShutdown`]; false by default.
    pub fn significant(mut self, significant: bool) -> ChildSpecBuilder<S> {
        self.spec.significant = significant;
        self
    }

    /// The same spec with another way to start the child.
    pub(crate) fn map_start<T>(self, f: impl FnOnce(S) -> T) -> ChildSpecBuilder<T> {
        let ChildSpec { id, start, restart, shutdown, significant, kind } = self.spec;
        let spec = ChildSpec { id, start: f(start), restart, shutdown, significant, kind };
        ChildSpecBuilder { spec, bad_mailbox: self.bad_mailbox }
    }

    /// What the child is called.
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.spec.id
    }

    /// How the child is started, for those who say more of that.
    pub(crate) fn start_mut(&mut self) -> &mut S {
        &mut self.spec.start
    }

    /// Takes note of the bound that the child's mailbox shall have.
    pub(crate) fn note_mailbox(&mut self, bound: u32) {
        self.bad_mailbox = (!(1..=MAX_BOUND).contains(&bound)).then_some(bound);
    }

    /// The spec.
    ///
    /// # Errors
    /// An empty id, a significant child that is permanent: it would never end for good, and a mailbox's bound that is 0 or
    /// too high.
    pub fn build(self) -> Result<ChildSpec<S>, SpecError> {
        let ChildSpecBuilder { spec, bad_mailbox } = self;
        if spec.id.is_empty() {
            return Err(SpecError::EmptyId);
        }
        if spec.significant && spec.restart == Restart::Permanent {
            return Err(SpecError::SignificantPermanent(spec.id));
        }
        if let Some(bound) = bad_mailbox {
            return Err(SpecError::BadMailbox { id: spec.id, bound });
        }
        Ok(spec)
    }
}

impl<S> fmt::Debug for ChildSpecBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChildSpecBuilder").field(&self.spec).finish()
    }
}

/// A spec, or a set of specs and options, makes no sense; nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// A child has an empty id.
    EmptyId,
    /// Two children have this id.
    DuplicateId(Arc<str>),
    /// The period in which restarts are counted is zero.
    ZeroPeriod,
    /// The child is significant and permanent, so it never ends for good.
    SignificantPermanent(Arc<str>),
    /// The child is significant, but its supervisor never shuts down by itself.
    SignificantWithoutAutoShutdown(Arc<str>),
    /// The bound of the child's mailbox is 0 or above 4095.
    BadMailbox {
        /// The child's id.
        id: Arc<str>,
        /// The bound asked for.
        bound: u32,
    },
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpecError::EmptyId => f.write_str("a child has an empty id"),
            SpecError::DuplicateId(id) => write!(f, "two children have the id {id:?}"),
            SpecError::ZeroPeriod => f.write_str("the period in which restarts are counted is zero"),
            SpecError::SignificantPermanent(id) => {
                write!(f, "child {id:?} is significant and permanent, so it would never end for good")
            }
            SpecError::SignificantWithoutAutoShutdown(id) => {
                write!(f, "child {id:?} is significant, but its supervisor never shuts down by itself")
            }
            SpecError::BadMailbox { id, bound } => {
                write!(f, "the mailbox of child {id:?} has the bound {bound}, which is not from 1 to {MAX_BOUND}")
            }
        }
    }
}

impl std::error::Error for SpecError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otp_052_child_defaults() {
        let worker = ChildSpec::worker("w", ()).build().unwrap();
        assert_eq!(worker.restart(), Restart::Permanent);
        assert_eq!(worker.shutdown(), Shutdown::Timeout(Duration::from_secs(5)));
        assert!(!worker.is_significant());
        assert_eq!(worker.kind(), ChildKind::Worker);
        let supervisor = ChildSpec::supervisor("s", ()).build().unwrap();
        assert_eq!((supervisor.shutdown(), supervisor.kind()), (Shutdown::Infinite, ChildKind::Supervisor));
    }

    #[test]
    fn otp_053_a_spec_without_id_or_significant_and_permanent_does_not_build() {
        assert_eq!(ChildSpec::worker("", ()).build().unwrap_err(), SpecError::EmptyId);
        let refused = ChildSpec::worker("w", ()).significant(true).build().unwrap_err();
        assert_eq!(refused, SpecError::SignificantPermanent("w".into()));
        assert!(ChildSpec::worker("w", ()).restart(Restart::Transient).significant(true).build().is_ok());
    }

    #[test]
    fn otp_063_which_ends_count_as_asked() {
        let spec = |restart, shutdown| ChildSpec::worker("w", ()).restart(restart).shutdown(shutdown).build().unwrap();
        let said = ExitReason::ShutdownWith("done".into());
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            let free = restart != Restart::Permanent;
            let timed = spec(restart, Shutdown::WORKER);
            assert!(timed.ended_as_asked(&ExitReason::Shutdown));
            assert!(!timed.ended_as_asked(&ExitReason::Killed));
            assert_eq!(timed.ended_as_asked(&ExitReason::Normal), free);
            assert_eq!(timed.ended_as_asked(&said), free);
            let brutal = spec(restart, Shutdown::Brutal);
            assert!(brutal.ended_as_asked(&ExitReason::Killed));
            assert_eq!(brutal.ended_as_asked(&ExitReason::Shutdown), free);
            assert!(!brutal.ended_as_asked(&ExitReason::error("x")));
        }
    }
}
