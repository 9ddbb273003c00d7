//! What a guard keeps of a grant: noted with the lane that took it, given back when it is dropped.
//!
//! Owns: [`Hold`], for locks whose holders stand in a table under the lock of their line.

use std::fmt;
use std::ptr;

use super::guarded::Opens;
use crate::context;
use crate::lane::index::Held;
use crate::wait_list::Ticket;

/// A lock that is held by grants.
pub(crate) trait Holdable: Held {
    /// The guard is dropped: what was granted is given back, where that was not done at the death of its holder.
    fn give_back(&self, grant: Ticket);
}

/// A grant, as its guard keeps it.
pub(crate) struct Hold<C: Holdable + 'static> {
    core: &'static C,
    grant: Ticket,
    /// Where it stands in the index of the lane that took it.
    at: u32,
}

impl<C: Holdable> Hold<C> {
    /// What was granted just now to whoever runs here.
    pub(crate) fn new(core: &'static C, grant: Ticket) -> Hold<C> {
        let noted = context::with_current(|_, slot, own| own.note_hold(slot, core, grant));
        Hold { core, grant, at: noted.unwrap_or(u32::MAX) }
    }

    pub(crate) fn core(&self) -> &'static C {
        self.core
    }

    pub(crate) fn grant(&self) -> Ticket {
        self.grant
    }
}

impl<C: Holdable> Drop for Hold<C> {
    fn drop(&mut self) {
        context::with_current(|_, _, own| {
            own.forget_hold(self.at, self.core, self.grant);
        });
        self.core.give_back(self.grant);
    }
}

impl<C: Holdable> Opens for Hold<C> {
    fn of(&self) -> *const () {
        ptr::from_ref(self.core).cast()
    }
}

impl<C: Holdable> fmt::Debug for Hold<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.grant).finish()
    }
}
