//! What becomes of the data of a mutex whose holder dies: as it was before, or as a closure leaves it.

use std::fmt;

use parking_lot::Mutex;

/// How a mutex gets its data right when a holder dies with it; see [`Mutex::with_rollback`](super::Mutex::with_rollback).
pub struct Rollback<T>(Kind<T>);

enum Kind<T> {
    /// The clone, and what it made of the value when the lock was got.
    Snapshot(fn(&T) -> T, Mutex<Option<T>>),
    Run(Box<dyn Fn(&mut T) + Send + Sync>),
}

impl<T> Rollback<T> {
    /// The value is cloned each time that the lock is got, and put back if the holder dies.
    pub fn snapshot() -> Rollback<T>
    where
        T: Clone,
    {
        Rollback(Kind::Snapshot(T::clone, Mutex::new(None)))
    }

    /// The closure puts the value right if the holder dies. Should it panic, the next one gets the lock as
    /// [`OwnerDied`](super::OwnerDied).
    pub fn run(closure: impl Fn(&mut T) + Send + Sync + 'static) -> Rollback<T> {
        Rollback(Kind::Run(Box::new(closure)))
    }

    /// The lock was got. Calls code of users, as do the two below.
    pub(super) fn begin(&self, value: &T) {
        if let Kind::Snapshot(clone, place) = &self.0 {
            let snapshot = clone(value);
            let old = place.lock().replace(snapshot);
            drop(old);
        }
    }

    /// The lock is given back by one who lives.
    pub(super) fn end(&self) {
        if let Kind::Snapshot(_, place) = &self.0 {
            let old = place.lock().take();
            drop(old);
        }
    }

    /// The lock is given back by a death.
    pub(super) fn undo(&self, value: &mut T) {
        match &self.0 {
            Kind::Snapshot(_, place) => {
                let snapshot = place.lock().take();
                // Without one, its clone has panicked, and the value has not been touched.
                if let Some(snapshot) = snapshot {
                    *value = snapshot;
                }
            }
            Kind::Run(closure) => closure(value),
        }
    }
}

impl<T> fmt::Debug for Rollback<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Snapshot(..) => "Rollback::snapshot()",
            Kind::Run(_) => "Rollback::run(..)",
        })
    }
}
