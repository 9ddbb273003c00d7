//! What notices of ended lanes turn into, by the numbers of their monitors.
//!
//! The lower half of a number is a place that is used again once its monitor is over, so a table by places serves a
//! hundred thousand monitors without hashing. A notice may still be on its way when its place has another monitor: who
//! finds a place taken goes to a map. Nothing here depends on what a number looks like but the time it takes.

use hashbrown::HashMap;
use runtime::Down;
use rustc_hash::FxBuildHasher;

/// Makes a message of a notice.
pub(super) type MakeDown<M> = Box<dyn FnOnce(Down) -> M + Send>;

/// The makers of a lane. They are the user's code: what is not needed any more is given back, to be dropped elsewhere.
pub(super) struct Downs<M> {
    places: Vec<Option<(u64, MakeDown<M>)>>,
    /// Those whose place was taken, or far beyond the others.
    strays: HashMap<u64, MakeDown<M>, FxBuildHasher>,
}

impl<M> Default for Downs<M> {
    fn default() -> Downs<M> {
        Downs { places: Vec::new(), strays: HashMap::default() }
    }
}

impl<M> Downs<M> {
    /// Keeps a maker: the one that was kept for this number before.
    pub(super) fn insert(&mut self, number: u64, make: MakeDown<M>) -> Option<MakeDown<M>> {
        let before = self.remove(number);
        let (place, end) = (number as u32 as usize, self.places.len());
        match self.places.get_mut(place) {
            Some(free @ None) => *free = Some((number, make)),
            None if place == end => self.places.push(Some((number, make))),
            _ => _ = self.strays.insert(number, make),
        }
        before
    }

    /// Takes a maker out.
    pub(super) fn remove(&mut self, number: u64) -> Option<MakeDown<M>> {
        if let Some(at) = self.places.get_mut(number as u32 as usize)
            && at.as_ref().is_some_and(|(held, _)| *held == number)
        {
            return at.take().map(|(_, make)| make);
        }
        if self.strays.is_empty() { None } else { self.strays.remove(&number) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ROUND: u64 = 1 << 32;

    /// A maker that can be told from others by what it holds.
    fn maker(mark: &Arc<()>) -> MakeDown<()> {
        let mark = mark.clone();
        Box::new(move |_| drop(mark))
    }

    #[test]
    fn a_number_has_the_maker_that_was_kept_last() {
        let mut downs = Downs::default();
        // In order, at a place that is taken, far away.
        let numbers = [0, 1, ROUND, 2, u64::MAX];
        let marks = numbers.map(|_| Arc::new(()));
        for (number, mark) in numbers.iter().zip(&marks) {
            assert!(downs.insert(*number, maker(mark)).is_none());
        }
        let later = Arc::new(());
        for number in [1, ROUND] {
            assert!(downs.insert(number, maker(&later)).is_some());
        }
        assert_eq!(Arc::strong_count(&later), 3);
        assert_eq!(marks.each_ref().map(Arc::strong_count), [2, 1, 1, 2, 2]);
        assert!(downs.remove(ROUND + 1).is_none() && downs.remove(7).is_none());
        for (number, mark) in numbers.iter().zip(&marks) {
            assert!(downs.remove(*number).is_some() && downs.remove(*number).is_none());
            assert_eq!(Arc::strong_count(mark), 1);
        }
        assert_eq!(Arc::strong_count(&later), 1);
    }
}
