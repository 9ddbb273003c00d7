//! What can be seen of the children.
//!
//! Owns: what each state is called outside. Changes nothing.

use std::fmt;

use super::{Cause, Child, ChildKey, Children, Job, State, Wait};
use crate::child_spec::{ChildKind, ChildSpec};
use crate::strategy::{ChildCounts, ChildInfo, Presence};

impl<S, T> Children<S, T> {
    /// Whether nothing is under way and nothing waits; not so before the start and after the end.
    pub fn is_idle(&self) -> bool {
        matches!((&self.job, &self.wait), (Job::Idle, Wait::Nothing))
    }

    /// The spec of a child; `None` where it is forgotten.
    pub fn spec(&self, child: ChildKey) -> Option<&ChildSpec<S>> {
        self.children.get(&child).map(|child| &child.spec)
    }

    /// The place of the child with this id; `None` where there is none.
    pub fn key(&self, id: &str) -> Option<ChildKey> {
        self.by_name.get(id).copied()
    }

    /// The child of this id; `None` where there is none.
    pub fn find(&self, id: &str) -> Option<ChildInfo> {
        let child = *self.by_name.get(id)?;
        Some(self.info(child, &self.children[&child]))
    }

    /// The children in start order, as they are now, also while something is under way.
    pub fn list(&self) -> impl Iterator<Item = ChildInfo> {
        self.children.iter().map(|(&key, child)| self.info(key, child))
    }

    /// How many children there are now, also while something is under way.
    pub fn count(&self) -> ChildCounts {
        let supervisors = self.children.values().filter(|child| child.spec.kind() == ChildKind::Supervisor).count();
        let specs = self.children.len();
        ChildCounts { specs, active: self.by_lane.len(), supervisors, workers: specs - supervisors }
    }

    fn info(&self, key: ChildKey, child: &Child<S>) -> ChildInfo {
        let presence = match &child.state {
            State::Running(lane) => Presence::Running(*lane),
            _ if self.ending.is_some() => Presence::Absent,
            State::Restarting(_) => Presence::Restarting,
            State::Ended(_, reason) if child.spec.restart().applies_to(reason) => Presence::Restarting,
            State::Absent if self.is_in_restart(key) => Presence::Restarting,
            State::Ended(..) | State::Absent => Presence::Absent,
        };
        ChildInfo { id: child.spec.id().clone(), presence, kind: child.spec.kind() }
    }

    /// Whether a child without a lane is to get one by the restart under way.
    fn is_in_restart(&self, key: ChildKey) -> bool {
        let in_group = match &self.job {
            // Those above the range have been stopped already.
            Job::Lower(range) => key >= range.start,
            Job::Raise { from, first: false } => key >= *from,
            _ => false,
        };
        in_group || matches!(self.wait, Wait::Start { child, cause: Cause::Restart } if child == key)
    }
}

impl<S, T> fmt::Debug for Children<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children")
            .field("flags", &self.flags)
            .field("count", &self.count())
            .field("ending", &self.ending)
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}
