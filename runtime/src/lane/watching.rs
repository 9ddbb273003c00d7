//! Whom a lane watches, by the numbers that it gave its monitors.
//!
//! A number is a place in a table and the round in which the place was taken, so that a hundred thousand monitors are
//! found without hashing, most often in the order in which they were set, and a number that was given back names
//! nothing until its place has gone through all rounds.

use crate::id::Id;

/// The monitors of a lane.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    places: Vec<Place>,
    /// Places that are free.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    round: u32,
    target: Option<Id>,
}

fn number(place: usize, round: u32) -> u64 {
    place as u64 | u64::from(round) << 32
}

impl Watching {
    /// Notes that a lane is watched: the number of the monitor.
    pub(crate) fn insert(&mut self, target: Id) -> u64 {
        if let Some(place) = self.free.pop() {
            let at = &mut self.places[place as usize];
            at.round = at.round.wrapping_add(1);
            at.target = Some(target);
            return number(place as usize, at.round);
        }
        self.places.push(Place { round: 0, target: Some(target) });
        number(self.places.len() - 1, 0)
    }

    /// Takes a monitor back: whom it watched.
    pub(crate) fn remove(&mut self, reference: u64) -> Option<Id> {
        let at = self.places.get_mut(reference as u32 as usize)?;
        if at.round != (reference >> 32) as u32 {
            return None;
        }
        let target = at.target.take()?;
        self.free.push(reference as u32);
        Some(target)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The monitors that stand, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Id)> {
        self.places.iter().enumerate().filter_map(|(place, at)| Some((number(place, at.round), at.target?)))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::id::Namespace;

    fn lane(key: u32) -> Id {
        Id::new(key, Namespace::new(9).unwrap(), NonZeroU16::MIN)
    }

    #[test]
    fn a_number_names_one_monitor() {
        let mut watching = Watching::default();
        let (a, b) = (watching.insert(lane(1)), watching.insert(lane(2)));
        assert_eq!((watching.remove(a), watching.remove(a)), (Some(lane(1)), None));
        let c = watching.insert(lane(3));
        assert!(c != a && c != b);
        assert_eq!(watching.remove(a), None);
        assert_eq!(watching.len(), 2);
        assert_eq!(watching.iter().collect::<Vec<_>>(), [(c, lane(3)), (b, lane(2))]);
        assert_eq!(watching.remove(77), None);
    }
}
