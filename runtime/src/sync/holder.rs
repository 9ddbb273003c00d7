//! Who holds a lock and who waits for it, for people and for whoever finds the lock left behind.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::id::Id;

/// One who holds a lock, or held it when he died.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The lane; `None` where the lock was taken outside of lanes.
    pub lane: Option<Id>,
    /// The first of the lane's names, while it has one; of one that died, the first of those that it had.
    pub name: Option<Arc<str>>,
    /// Where it was taken.
    pub taken_at: &'static Location<'static>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lane {
            Some(lane) => write!(f, "lane {lane}")?,
            None => f.write_str("a thread outside of lanes")?,
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, ", which took it at {}", self.taken_at)
    }
}

/// One who waits in line for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// The lane; `None` where it is a future outside of lanes.
    pub lane: Option<Id>,
    /// The first of the names that the lane has now.
    pub name: Option<Arc<str>>,
    /// Where it asked for the lock.
    pub waits_at: &'static Location<'static>,
}
