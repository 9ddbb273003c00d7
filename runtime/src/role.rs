//! Roles: ids of a namespace of their own that lead to whichever lane fills the role now.
//!
//! A supervisor gives a child's role to each incarnation in turn, so whoever holds the role's id need not hear of
//! restarts. Roles belong to the process, not to one runtime; a lane's id says which runtime it is of.

use std::num::NonZeroU16;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

use crate::alloc;
use crate::id::{Id, Namespace, StaleId};
use crate::lane::waker::keep;
use crate::panic::contain;
use crate::region::Region;
use crate::slot::fresh_namespace;
use crate::wait_graph::note::parks_otherwise;

/// Generation and lane of each role.
static ROLES: Region<[AtomicU64; 2]> = Region::new();

static NAMESPACE: OnceLock<Option<Namespace>> = OnceLock::new();

struct Book {
    free: Vec<u32>,
    fresh: u32,
    waiting: HashMap<Id, Vec<Waker>, FxBuildHasher>,
}

static BOOK: Mutex<Book> =
    Mutex::new(Book { free: Vec::new(), fresh: 0, waiting: HashMap::with_hasher(FxBuildHasher) });

/// A new role, which nobody fills yet. `None` where the process is out of namespaces or of memory.
pub fn create() -> Option<Id> {
    let namespace = (*NAMESPACE.get_or_init(fresh_namespace))?;
    let mut book = BOOK.lock();
    let key = book.free.pop().unwrap_or_else(|| {
        book.fresh += 1;
        book.fresh - 1
    });
    let [generation, lane] = ROLES.reach(key)?;
    // ORDER: Release publishes the emptied role under its generation; pairs with the Acquire in `current`.
    lane.store(0, Ordering::Relaxed);
    let number = NonZeroU16::new(generation.load(Ordering::Relaxed) as u16 + 1)?;
    generation.store(u64::from(number.get()), Ordering::Release);
    Some(Id::new(key, namespace, number))
}

fn cell(role: Id) -> Result<&'static [AtomicU64; 2], StaleId> {
    let ours = NAMESPACE.get().copied().flatten() == Some(role.namespace());
    let cell = ROLES.at(role.key()).filter(|_| ours).ok_or(StaleId(role))?;
    // ORDER: Acquire, see `create`.
    if cell[0].load(Ordering::Acquire) == u64::from(role.generation().get()) { Ok(cell) } else { Err(StaleId(role)) }
}

/// Whether the id is one of a role, present or past.
pub fn is_role(id: Id) -> bool {
    NAMESPACE.get().copied().flatten() == Some(id.namespace())
}

/// The lane that fills the role now; `Ok(None)` between two incarnations.
///
/// # Errors
/// The role was retired.
pub fn current(role: Id) -> Result<Option<Id>, StaleId> {
    let [_, lane] = cell(role)?;
    // ORDER: Acquire: who finds the lane sees it as it was when it was put here.
    let bits = lane.load(Ordering::Acquire);
    // The role may have been retired and given out again between the two looks.
    cell(role)?;
    Ok(Id::from_bits(bits))
}

/// Gives the role to a lane, or to nobody.
///
/// # Errors
/// The role was retired.
pub fn fill(role: Id, by: Option<Id>) -> Result<(), StaleId> {
    let mut book = BOOK.lock();
    let [_, lane] = cell(role)?;
    lane.store(by.map_or(0, Id::to_bits), Ordering::Release);
    let waiting = if by.is_some() { book.waiting.remove(&role) } else { None };
    drop(book);
    wake_all(waiting);
    Ok(())
}

/// Ends the role: its id is stale for ever.
pub fn retire(role: Id) {
    let mut book = BOOK.lock();
    let Ok([generation, lane]) = cell(role) else { return };
    lane.store(0, Ordering::Relaxed);
    // A generation that no id bears, so that the role reads as stale; `create` goes on from the next one.
    let used = u64::from(role.generation().get());
    generation.store(used | 1 << 32, Ordering::Release);
    if role.generation() != NonZeroU16::MAX {
        alloc::uncharged(|| book.free.push(role.key()));
    }
    let waiting = book.waiting.remove(&role);
    drop(book);
    wake_all(waiting);
}

/// Wakes who waited, each whatever the others' wakers do.
fn wake_all(waiting: Option<Vec<Waker>>) {
    for waker in waiting.into_iter().flatten() {
        contain(|| waker.wake());
    }
}

/// Ready with the lane once somebody fills the role.
pub fn poll_filled(role: Id, cx: &mut Context<'_>) -> Poll<Result<Id, StaleId>> {
    let waker = keep(cx.waker());
    let mut book = BOOK.lock();
    match current(role) {
        Err(stale) => Poll::Ready(Err(stale)),
        Ok(Some(lane)) => Poll::Ready(Ok(lane)),
        Ok(None) => {
            // The table and the line are those of all who wait.
            alloc::uncharged(|| {
                let waiting = book.waiting.entry(role).or_default();
                if !waiting.iter().any(|other| other.will_wake(&waker)) {
                    waiting.push(waker);
                }
            });
            parks_otherwise();
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(key: u32) -> Id {
        Id::new(key, Namespace::new(77).unwrap(), NonZeroU16::MIN)
    }

    #[test]
    fn a_role_leads_to_whoever_fills_it() {
        let role = create().unwrap();
        assert_eq!(current(role), Ok(None));
        fill(role, Some(lane(1))).unwrap();
        assert_eq!(current(role), Ok(Some(lane(1))));
        fill(role, Some(lane(2))).unwrap();
        assert_eq!(current(role), Ok(Some(lane(2))));
        retire(role);
        assert_eq!(current(role), Err(StaleId(role)));
        assert_eq!(fill(role, Some(lane(3))), Err(StaleId(role)));
    }

    #[test]
    fn a_retired_role_is_not_its_successor() {
        let old = create().unwrap();
        retire(old);
        let others: Vec<_> = (0..20).map(|_| create().unwrap()).collect();
        assert!(!others.contains(&old));
        assert_eq!(current(old), Err(StaleId(old)));
        others.into_iter().for_each(retire);
    }
}
