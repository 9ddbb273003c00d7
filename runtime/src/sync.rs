//! Green locks and channels: they park the lane, not its worker. Locks know who holds them.
//!
//! Owns: what all of them share: who [holds](Holder) one, and where it was taken. Each lock has a file of its own below.
//!
//! All of them are fair: first come, first served. What becomes free is offered to the first in line; a lane that ends a
//! turn without having polled the future that it was offered to is passed over, and keeps its place for when it polls
//! that future again. So a future that waits in a lane which looks at another one meanwhile holds nobody up. A future that
//! is polled by an executor other than a lane or [`block_on`](crate::Runtime::block_on) is offered its turn for as long as
//! it likes, since such an executor does not tell of its turns: do not keep it unpolled.
//!
//! What a lane holds when it dies is given back with its guards, which are dropped. A guard that was leaked, or moved to
//! another lane, may be in use: its mutex or read-write lock is [`Abandoned`] until it is dropped, while permits of a
//! semaphore, which guard no data, come back at once. The lane is the one that took the lock. What is taken outside of
//! lanes, as in `block_on` or by a destructor that runs at the death of a lane, is nobody's: where its guard is leaked,
//! nobody gets the lock any more.

use std::sync::Arc;

use crate::admission::Admission;
use crate::id::Id;
use crate::slot;
use crate::wait_list::By;
use crate::wait_list::line::{Line, Source, Taker};

mod barrier;
pub mod broadcast;
pub(crate) mod calls;
mod condvar;
pub(crate) mod crowd;
mod doors;
mod error;
pub(crate) mod exclusive;
mod guarded;
pub(crate) mod hold;
pub(crate) mod holder;
pub mod mpsc;
mod mutex;
mod notify;
mod once_cell;
pub mod oneshot;
mod owner;
pub(crate) mod pool;
mod records;
mod rollback;
pub(crate) mod room;
mod rwlock;
pub(crate) mod seat;
mod semaphore;
mod sharing;
#[cfg(test)]
mod testing;
pub mod watch;

pub use barrier::{Barrier, BarrierWait, BarrierWaitResult};
pub use condvar::{Condvar, Wait};
pub use error::{Abandoned, Deadlocked, LockError, OwnerDied, TryLockError};
pub use holder::{Holder, Waiter};
pub use mutex::{Lock, LockOwned, Mutex, MutexGuard, OwnedMutexGuard};
pub use notify::{Notified, Notify};
pub use once_cell::{OnceCell, SetError};
pub use rollback::Rollback;
pub use rwlock::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, Read, ReadOwned, RwLock, RwLockReadGuard, RwLockWriteGuard, Write,
    WriteOwned,
};
pub use semaphore::{Acquire, AcquireOwned, Closed, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};

impl Holder {
    fn of(taker: Taker) -> Holder {
        let lane = taker.by.lane();
        Holder { lane, name: lane.and_then(name_of), taken_at: taker.place }
    }
}

/// Those who wait in a line, in order, as others are told of them.
fn waiters<S: Source>(line: &Line<S>) -> Vec<Waiter> {
    let waiter = |by: By, waits_at| {
        let lane = by.lane();
        Waiter { lane, name: lane.and_then(name_of), waits_at }
    };
    line.waiters().into_iter().map(|seat| waiter(seat.by, seat.place)).collect()
}

/// How many locks of all kinds a lane has, and in how many lines it waits.
pub(crate) fn had_by(lane: Id) -> (usize, usize) {
    let by = By::Lane(lane);
    let kinds = [
        pool::had_by::<owner::Core>(by),
        pool::had_by::<records::Core<sharing::Sharing>>(by),
        pool::had_by::<records::Core<semaphore::Permits>>(by),
        pool::had_by::<records::Core<barrier::Gate>>(by),
        pool::had_by::<calls::Core>(by),
        pool::had_by::<doors::Doors>(by),
        mpsc::had_by(by),
        pool::had_by::<Admission>(by),
    ];
    kinds.into_iter().fold((0, 0), |(locks, waits), (more_locks, more_waits)| (locks + more_locks, waits + more_waits))
}

/// The first name of a lane that lives, or is ending and has not given it up yet.
fn name_of(lane: Id) -> Option<Arc<str>> {
    slot::table_of(lane.namespace())?.scheduler()?.names.of(lane).into_iter().next()
}
