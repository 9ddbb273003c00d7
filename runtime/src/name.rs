//! Names: one lane a name, one registry a runtime.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

use crate::id::Id;

/// The name is another lane's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken {
    /// The name.
    pub name: Arc<str>,
    /// Whose it is.
    pub holder: Id,
}

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name {:?} is that of lane {}", self.name, self.holder)
    }
}

impl std::error::Error for NameTaken {}

/// The names of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<Arc<str>, Id, FxBuildHasher>>);

impl Names {
    pub(crate) fn register(&self, name: &Arc<str>, id: Id) -> Result<(), NameTaken> {
        let mut names = self.0.lock();
        match names.get(name) {
            Some(holder) => Err(NameTaken { name: name.clone(), holder: *holder }),
            None => {
                names.insert(name.clone(), id);
                Ok(())
            }
        }
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Id> {
        self.0.lock().get(name).copied()
    }

    /// Gives up those of `held` that are still `id`'s: how many.
    pub(crate) fn release(&self, id: Id, held: &[Arc<str>]) -> u64 {
        let mut names = self.0.lock();
        let mut count = 0;
        for name in held {
            if names.get(name) == Some(&id) {
                names.remove(name);
                count += 1;
            }
        }
        count
    }

    pub(crate) fn of(&self, id: Id) -> Vec<Arc<str>> {
        self.0.lock().iter().filter(|(_, holder)| **holder == id).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().len()
    }
}
