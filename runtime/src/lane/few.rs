//! A map that most often holds one entry or none, and then needs no memory of its own.

use std::hash::Hash;

use hashbrown::HashMap;
use hashbrown::hash_map;
use rustc_hash::FxBuildHasher;

/// The map. With a value of `()`, a set.
#[derive(Debug)]
pub(crate) enum Few<K, V> {
    /// One entry or none.
    One(Option<(K, V)>),
    /// Any number of entries, since there were two once.
    Many(HashMap<K, V, FxBuildHasher>),
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Few<K, V> {
        Few::One(None)
    }
}

impl<K: Eq + Hash, V> Few<K, V> {
    /// Puts an entry in: true if the key was not there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> bool {
        match self {
            Few::One(one @ None) => {
                *one = Some((key, value));
                true
            }
            Few::One(Some((held, old))) if *held == key => {
                *old = value;
                false
            }
            Few::One(one) => {
                let mut many = HashMap::default();
                many.extend(one.take());
                many.insert(key, value);
                *self = Few::Many(many);
                true
            }
            Few::Many(many) => many.insert(key, value).is_none(),
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Few::One(one) => one.take_if(|(held, _)| held == key).map(|(_, value)| value),
            Few::Many(many) => many.remove(key),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Few::One(one) => usize::from(one.is_some()),
            Few::Many(many) => many.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (one, many) = match self {
            Few::One(one) => (one.as_ref(), None),
            Few::Many(many) => (None, Some(many)),
        };
        one.map(|(key, value)| (key, value)).into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }
}

/// The entries of a [`Few`].
pub(crate) enum IntoIter<K, V> {
    One(Option<(K, V)>),
    Many(hash_map::IntoIter<K, V>),
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        match self {
            IntoIter::One(one) => one.take(),
            IntoIter::Many(many) => many.next(),
        }
    }
}

impl<K, V> IntoIterator for Few<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        match self {
            Few::One(one) => IntoIter::One(one),
            Few::Many(many) => IntoIter::Many(many.into_iter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_whatever_its_size() {
        let mut few = Few::default();
        assert_eq!(few.remove(&1), None);
        assert!(few.insert(1, 'a'));
        assert!(!few.insert(1, 'b'));
        assert_eq!((few.len(), few.remove(&2)), (1, None));
        assert!(few.insert(2, 'c') && few.insert(3, 'd'));
        assert!(!few.insert(3, 'e'));
        assert_eq!((few.len(), few.remove(&1), few.remove(&1)), (3, Some('b'), None));
        let mut entries: Vec<_> = few.iter().map(|(key, value)| (*key, *value)).collect();
        entries.sort_unstable();
        assert_eq!(entries, [(2, 'c'), (3, 'e')]);
        let mut owned: Vec<_> = few.into_iter().collect();
        owned.sort_unstable();
        assert_eq!(owned, entries);
    }

    #[test]
    fn one_entry_comes_out_as_it_went_in() {
        let mut few = Few::default();
        few.insert(7, ());
        assert_eq!(few.keys().collect::<Vec<_>>(), [&7]);
        assert_eq!(few.into_iter().collect::<Vec<_>>(), [(7, ())]);
    }
}
