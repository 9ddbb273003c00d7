//! A lane that lives, as a listing shows it.
//!
//! Owns: [`LaneInfo`]. What is read of a slot belongs to one tenant, or is not shown.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::id::Id;
use crate::sched::Scheduler;
use crate::slot::SlotRef;

/// A lane that lives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaneInfo {
    /// Its id.
    pub id: Id,
    /// The lane that spawned it.
    pub parent: Option<Id>,
    /// Where that was.
    pub spawned_at: &'static Location<'static>,
    /// The names that it has registered.
    pub names: Vec<Arc<str>>,
}

impl fmt::Display for LaneInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.id)?;
        for name in &self.names {
            write!(f, " {name:?}")?;
        }
        write!(f, ", spawned at {}", self.spawned_at)
    }
}

/// What is known of a slot's tenant, if that is still `id`.
pub(crate) fn describe(scheduler: &Scheduler, slot: SlotRef, id: Id) -> Option<LaneInfo> {
    let (parent, spawned_at) = (slot.parent(), slot.spawned_at()?);
    // What was read belongs to this tenant if it still lives.
    if !slot.word.is_live(id.generation().get()) {
        return None;
    }
    Some(LaneInfo { id, parent, spawned_at, names: scheduler.names.of(id) })
}
