//! Values under numbers that stay theirs while they are in: what is taken out leaves its number to the next.
//!
//! Owns: [`Slab`]. Knows nothing of what lies in it. Whoever keeps a number for longer than he can be sure of compares what
//! he finds there.

use crate::shim::uncharged;

const NONE: u32 = u32::MAX;
/// So many entries are kept when the last value is taken out: going through them costs nothing.
const FEW: usize = 4;

/// The values.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The first of the free entries.
    free: u32,
    count: u32,
}

#[derive(Debug)]
enum Entry<T> {
    Full(T),
    /// The next free one.
    Free(u32),
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { entries: Vec::new(), free: NONE, count: 0 }
    }
}

impl<T> Slab<T> {
    /// Puts a value in: its number.
    ///
    /// # Panics
    /// With 2^32 - 1 values in, for which no machine has the memory.
    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.count += 1;
        let free = self.free;
        if let Some(entry) = self.entries.get_mut(free as usize)
            && let Entry::Free(next) = *entry
        {
            self.free = next;
            *entry = Entry::Full(value);
            return free;
        }
        let at = u32::try_from(self.entries.len()).ok().filter(|at| *at != NONE).expect("fewer than 2^32 - 1 values");
        if self.entries.len() == self.entries.capacity() {
            self.grow();
        }
        self.entries.push(Entry::Full(value));
        at
    }

    /// The room stays with the slab, which may outlive the lane that needs it.
    #[cold]
    fn grow(&mut self) {
        uncharged(|| self.entries.reserve(1));
    }

    #[inline]
    pub(crate) fn at(&self, at: u32) -> Option<&T> {
        match self.entries.get(at as usize) {
            Some(Entry::Full(value)) => Some(value),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, at: u32) -> Option<&mut T> {
        match self.entries.get_mut(at as usize) {
            Some(Entry::Full(value)) => Some(value),
            _ => None,
        }
    }

    /// Takes a value out if it is the one that is meant.
    #[inline]
    pub(crate) fn remove_if(&mut self, at: u32, is_meant: impl FnOnce(&T) -> bool) -> Option<T> {
        let entry = self.entries.get_mut(at as usize)?;
        match entry {
            Entry::Full(value) if is_meant(value) => {}
            _ => return None,
        }
        let Entry::Full(value) = std::mem::replace(entry, Entry::Free(self.free)) else { return None };
        self.free = at;
        self.count -= 1;
        if self.count == 0 && self.entries.len() > FEW {
            self.begin_anew();
        }
        Some(value)
    }

    /// As [`Slab::remove_if`], for values of which nothing is to be done: true if it was there.
    #[inline]
    pub(crate) fn forget_if(&mut self, at: u32, is_meant: impl FnOnce(&T) -> bool) -> bool
    where
        T: Copy,
    {
        let Some(entry) = self.entries.get_mut(at as usize) else { return false };
        match entry {
            Entry::Full(value) if is_meant(value) => {}
            _ => return false,
        }
        *entry = Entry::Free(self.free);
        self.free = at;
        self.count -= 1;
        if self.count == 0 && self.entries.len() > FEW {
            self.begin_anew();
        }
        true
    }

    /// Looking at all values costs no more than there are, but for a while after there were more.
    #[cold]
    fn begin_anew(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(64);
        self.free = NONE;
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next value needs more memory.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.free == NONE && self.entries.len() == self.entries.capacity()
    }

    /// How many fit in before it grows.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries.iter().enumerate().filter_map(|(at, entry)| match entry {
            Entry::Full(value) => Some((at as u32, value)),
            Entry::Free(_) => None,
        })
    }

    /// All values, with their numbers.
    pub(crate) fn into_values(self) -> impl Iterator<Item = (u32, T)> {
        self.entries.into_iter().enumerate().filter_map(|(at, entry)| match entry {
            Entry::Full(value) => Some((at as u32, value)),
            Entry::Free(_) => None,
        })
    }

    /// Takes out all that `stays` says no to, before more memory is taken; and takes more where that gained little, so that
    /// this is not done again soon.
    #[cold]
    pub(crate) fn make_room(&mut self, stays: impl FnMut(&T) -> bool) {
        self.retain(stays);
        if self.len() * 2 > self.entries.len() {
            self.entries.reserve(self.entries.len());
        }
    }

    /// Takes out all that `stays` says no to.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        for at in 0..self.entries.len() as u32 {
            self.remove_if(at, |value| !stays(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_until_its_value_is_taken_out_and_then_is_the_next_ones() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = "abc".chars().map(|value| slab.insert(value)).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(slab.remove_if(1, |value| *value == 'x'), None);
        assert_eq!(slab.remove_if(1, |value| *value == 'b'), Some('b'));
        assert_eq!((slab.remove_if(1, |_| true), slab.at(1), slab.len()), (None, None, 2));
        assert_eq!(slab.insert('d'), 1);
        assert_eq!(slab.iter().map(|(at, value)| (at, *value)).collect::<Vec<_>>(), [(0, 'a'), (1, 'd'), (2, 'c')]);
    }

    #[test]
    fn room_is_made_by_what_may_go_or_by_more_memory() {
        let mut slab = Slab::default();
        let mut rounds = 0;
        for value in 0..10_000 {
            if slab.is_full() {
                rounds += 1;
                slab.make_room(|old| old % 2 == 0 || *old + 100 > value);
            }
            slab.insert(value);
        }
        assert!(slab.len() > 5000 && rounds < 30, "{rounds} rounds for {} values", slab.len());
    }

    #[test]
    fn one_that_is_empty_again_begins_anew_and_keeps_little() {
        let mut slab = Slab::default();
        for value in 0..1000 {
            slab.insert(value);
        }
        slab.retain(|value| *value == 999);
        assert_eq!((slab.len(), slab.at(999)), (1, Some(&999)));
        slab.retain(|_| false);
        assert!(slab.is_empty() && slab.entries.capacity() <= 64);
        assert_eq!(slab.insert(7), 0);
        assert_eq!(slab.iter().count(), 1);
    }
}
