//! A lock as the wait graph sees it: who holds it now, since where, and whether the guard can have left that lane.
//!
//! Owns: [`Awaited`], what a lock says of itself that one lane holds at a time, and [`Face`], by which a record names it.
//! Locks that several hold, or that anybody may give back, are not of this kind: of them nothing is claimed.

use std::panic::Location;
use std::sync::OnceLock;

use crate::id::Id;

/// Who holds a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldBy {
    /// The lane; `None` for somebody outside of lanes.
    pub(crate) lane: Option<Id>,
    pub(crate) taken_at: &'static Location<'static>,
    /// What the lane had [handed out](super::note::handed_out_by) when it took the lock.
    pub(crate) handed_out: u32,
}

/// A lock that one holds at a time, and that only he gives back.
pub(crate) trait Awaited: Sync {
    /// Who holds it; `None` where nobody does, or it is on its way to the next.
    fn held(&self) -> Option<HeldBy>;
}

/// A lock of any kind, in one word for whoever knows where it is.
#[derive(Default)]
pub(crate) struct Face(OnceLock<&'static dyn Awaited>);

impl Face {
    /// That of this lock, which it lies in.
    pub(crate) fn of(&'static self, lock: &'static dyn Awaited) -> &'static Face {
        self.0.get_or_init(|| lock);
        self
    }

    /// Who holds it.
    pub(crate) fn held(&self) -> Option<HeldBy> {
        self.0.get()?.held()
    }
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Face")
    }
}
