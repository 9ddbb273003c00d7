//! Names: one lane a name, one registry a runtime.
//!
//! Owns: [`Names`], which are found by name and by lane.

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
pub(crate) struct Names(Mutex<Registry>);

/// Each name is in both maps, under the same lane, or in neither. A lane without a name is in none.
#[derive(Debug, Default)]
struct Registry {
    lanes: HashMap<Arc<str>, Id, FxBuildHasher>,
    names: HashMap<Id, OfLane, FxBuildHasher>,
}

/// The names of a lane, in the order in which it got them. Most have one, for which nothing is allocated.
#[derive(Debug, Default)]
struct OfLane {
    first: Option<Arc<str>>,
    others: Vec<Arc<str>>,
}

impl OfLane {
    fn insert(&mut self, name: &Arc<str>) {
        match self.first {
            None => self.first = Some(name.clone()),
            Some(_) => self.others.push(name.clone()),
        }
    }

    fn remove(&mut self, name: &Arc<str>) {
        if self.first.as_ref() == Some(name) {
            self.first = if self.others.is_empty() { None } else { Some(self.others.remove(0)) };
        } else {
            self.others.retain(|other| other != name);
        }
    }
}

impl Names {
    pub(crate) fn register(&self, name: &Arc<str>, id: Id) -> Result<(), NameTaken> {
        let Registry { lanes, names } = &mut *self.0.lock();
        match lanes.get(name) {
            Some(holder) => Err(NameTaken { name: name.clone(), holder: *holder }),
            None => {
                lanes.insert(name.clone(), id);
                names.entry(id).or_default().insert(name);
                Ok(())
            }
        }
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Id> {
        self.0.lock().lanes.get(name).copied()
    }

    /// Gives up those of `held` that are still `id`'s: how many.
    pub(crate) fn release(&self, id: Id, held: &[Arc<str>]) -> u64 {
        let Registry { lanes, names } = &mut *self.0.lock();
        let mut count = 0;
        for name in held {
            if lanes.get(name) != Some(&id) {
                continue;
            }
            lanes.remove(name);
            count += 1;
            if let Some(own) = names.get_mut(&id) {
                own.remove(name);
                if own.first.is_none() {
                    names.remove(&id);
                }
            }
        }
        count
    }

    /// The names of a lane, in the order in which it got them. It takes no longer where there are many lanes.
    pub(crate) fn of(&self, id: Id) -> Vec<Arc<str>> {
        let registry = self.0.lock();
        registry.names.get(&id).into_iter().flat_map(|own| own.first.iter().chain(&own.others)).cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().lanes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bits: u64) -> Id {
        Id::from_bits(1 << 48 | 1 << 32 | bits).expect("an id")
    }

    fn name(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn names_are_found_both_ways_until_they_are_given_up() {
        let names = Names::default();
        let [one, other] = [id(1), id(2)];
        for (lane, taken) in [(one, "a"), (other, "b"), (one, "c")] {
            names.register(&name(taken), lane).unwrap();
        }
        assert_eq!(names.register(&name("b"), one), Err(NameTaken { name: name("b"), holder: other }));
        assert_eq!(
            (names.lookup("c"), names.of(one), names.of(other)),
            (Some(one), vec![name("a"), name("c")], vec![name("b")])
        );
        // Only what is its own, and once.
        assert_eq!(names.release(one, &[name("a"), name("b"), name("a")]), 1);
        assert_eq!((names.lookup("a"), names.lookup("b"), names.of(one)), (None, Some(other), vec![name("c")]));
        assert_eq!(names.release(one, &[name("c")]), 1);
        assert_eq!((names.of(one), names.release(one, &[name("c")]), names.count()), (vec![], 0, 1));
    }
}
