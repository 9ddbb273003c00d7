//! Green locks: they park the lane, not its worker, and know who holds them.
//!
//! Owns: what all of them share: who [holds](Holder) one, and where it was taken. Each lock has a file of its own below.
//!
//! All of them are fair: first come, first served. What becomes free is offered to the first in line; a lane that ends a
//! turn without having polled the future that it was offered to is passed over, and keeps its place for when it polls
//! that future again. So a future that waits in a lane which looks at another one meanwhile holds nobody up. A future that
//! is polled by an executor other than a lane or [`block_on`](crate::Runtime::block_on) is offered its turn for as long as
//! it likes, since such an executor does not tell of its turns: do not keep it unpolled.
//!
//! What a lane holds when it dies is given back, whatever became of the guards.

use std::panic::Location;
use std::sync::Arc;

use crate::id::Id;
use crate::slot;
use crate::wait_list::By;
use crate::wait_list::line::Taker;

pub(crate) mod hold;
mod pool;
pub(crate) mod seat;
mod semaphore;

pub use semaphore::{Acquire, AcquireOwned, Closed, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};

/// One who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The lane; `None` where the lock was taken outside of lanes.
    pub lane: Option<Id>,
    /// The first of the names that the lane has now.
    pub name: Option<Arc<str>>,
    /// Where it was taken.
    pub taken_at: &'static Location<'static>,
}

impl Holder {
    fn of(taker: Taker) -> Holder {
        let lane = lane_of(taker.by);
        Holder { lane, name: lane.and_then(name_of), taken_at: taker.place }
    }
}

/// The lane among those who wait or hold.
fn lane_of(by: By) -> Option<Id> {
    match by {
        By::Lane(id) => Some(id),
        By::Root(_) | By::Foreign => None,
    }
}

/// The first name of a lane that lives, or is ending and has not given it up yet.
fn name_of(lane: Id) -> Option<Arc<str>> {
    slot::table_of(lane.namespace())?.scheduler()?.names.of(lane).into_iter().next()
}
