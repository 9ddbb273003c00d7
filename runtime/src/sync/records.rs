//! Holds that stand in a table under the lock of their line: what semaphores, barriers and read-write locks have alike.
//!
//! Owns: [`Core`], the lasting part of such a lock, and [`Records`], what it says of itself to have one. Knows nothing of what
//! is held.

use std::panic::Location;

use super::hold::Holdable;
use super::holder::Holder;
use super::pool::{Pool, Pooled};
use crate::lane::index::Held;
use crate::wait_graph::lock::{Awaited, Face};
use crate::wait_list::line::{Line, Source, Taker};
use crate::wait_list::{By, Ticket};

/// The lasting part of a lock.
#[derive(Debug)]
pub(crate) struct Core<S: Records> {
    pub(crate) line: Line<S>,
    /// The lock as the wait graph knows it, once somebody has waited for it.
    face: Face,
}

/// What has a table of those who hold.
pub(crate) trait Records: Source<Fast = (), Want: Send> + Send + 'static {
    /// Where the free ones of its kind are.
    fn pool() -> &'static Pool<Core<Self>>;

    /// Whose the grant is, while it stands.
    fn taker(&self, grant: Ticket) -> Option<Taker>;

    /// All who hold.
    fn takers(&self) -> impl Iterator<Item = Taker>;

    /// How many of the holds are his, those aside that his death has left behind.
    fn held_by(&self, by: By) -> usize {
        self.takers().filter(|taker| taker.by == by).count()
    }

    /// What was granted is given back: false where it was before.
    fn end(&mut self, grant: Ticket) -> bool;

    /// `by` has died, and the guard may be in use: ends what can be ended. False where the grant did not stand.
    fn abandon(core: &Core<Self>, grant: Ticket, by: By) -> bool {
        core.is_held_by(grant, by) && core.line.change(|records, ()| records.end(grant))
    }
}

impl<S: Records> Default for Core<S> {
    fn default() -> Core<S> {
        Core { line: Line::default(), face: Face::default() }
    }
}

impl<S: Records> Core<S> {
    /// Whose the grant is, while it stands.
    pub(crate) fn taker(&self, grant: Ticket) -> Option<Taker> {
        self.line.look(|records| records.taker(grant))
    }

    /// Who holds it.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let takers = self.line.look(|records| records.takers().collect::<Vec<_>>());
        takers.into_iter().map(Holder::of).collect()
    }

    /// The lock as the wait graph knows it.
    pub(crate) fn face(&'static self) -> &'static Face
    where
        Core<S>: Awaited,
    {
        self.face.of(self)
    }
}

impl<S: Records> Pooled for Core<S> {
    fn pool() -> &'static Pool<Core<S>> {
        S::pool()
    }

    fn renew(&'static self) {
        self.line.renew();
    }

    fn had_by(&self, by: By) -> (usize, usize) {
        (self.line.look(|records| records.held_by(by)), self.line.waiting_by(by))
    }
}

impl<S: Records> Held for Core<S> {
    fn is_held_by(&self, grant: Ticket, by: By) -> bool {
        self.taker(grant).is_some_and(|taker| taker.by == by)
    }

    fn describe(&self, grant: Ticket, by: By) -> Option<(&'static str, &'static Location<'static>)> {
        self.taker(grant).filter(|taker| taker.by == by).map(|taker| (S::KIND, taker.place))
    }

    fn abandon(&self, grant: Ticket, by: By) -> bool {
        S::abandon(self, grant, by)
    }
}

impl<S: Records> Holdable for Core<S> {
    fn give_back(&self, grant: Ticket) {
        self.line.change(|records, ()| records.end(grant));
    }
}
