//! The search for a circle of those who wait for each other: pure, over whatever tells whom one waits for.
//!
//! Owns: [`search`]. Whoever waits for several does not go on before all of them have; so a circle is a way from one to the
//! next, by any of those that each waits for, which leads back to where it began.

use std::hash::Hash;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

/// The longest search. There are never so many lanes; one that seems to meet more is one under which others change all.
const MOST: usize = 1 << 22;
/// So many are looked through faster than looked up.
const FEW: usize = 16;

/// A circle that begins and ends with `start`, in the order of waiting: `start` first, each waiting for the next and the
/// last for the first. `None` where no way leads back, though there may be circles of others.
///
/// `next` adds those for whom one waits. It is asked once of each who is met.
pub(crate) fn search<L: Copy + Eq + Hash>(start: L, mut next: impl FnMut(L, &mut Vec<L>)) -> Option<Vec<L>> {
    // The way from the start to where the search is, and for each on it where those begin in `open` whom he waits for and
    // who are still to be met.
    let (mut way, mut from) = (vec![start], vec![0]);
    let mut open = Vec::new();
    let mut met = Met { few: Vec::new(), many: HashSet::with_hasher(FxBuildHasher) };
    next(start, &mut open);
    if open.contains(&start) {
        return Some(way);
    }
    while let Some(&begin) = from.last() {
        if open.len() == begin {
            // No way leads back from here.
            way.pop();
            from.pop();
            continue;
        }
        let Some(lane) = open.pop().filter(|lane| met.insert(*lane)) else { continue };
        if way.len() == MOST {
            return None;
        }
        way.push(lane);
        from.push(open.len());
        next(lane, &mut open);
        if open[from[from.len() - 1]..].contains(&start) {
            return Some(way);
        }
    }
    None
}

/// Those who were met.
struct Met<L> {
    few: Vec<L>,
    many: HashSet<L, FxBuildHasher>,
}

impl<L: Copy + Eq + Hash> Met<L> {
    /// False for one who was met before.
    fn insert(&mut self, lane: L) -> bool {
        if self.few.contains(&lane) {
            return false;
        }
        if self.few.len() == FEW {
            return self.many.insert(lane);
        }
        self.few.push(lane);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(edges: &[(u32, u32)], start: u32) -> Option<Vec<u32>> {
        let next =
            |lane, open: &mut Vec<u32>| open.extend(edges.iter().filter(|(from, _)| *from == lane).map(|edge| edge.1));
        search(start, next)
    }

    #[test]
    fn a_search_finds_the_circle_that_its_start_is_in() {
        assert_eq!(find(&[(1, 1)], 1), Some(vec![1]));
        assert_eq!(find(&[(1, 2), (2, 1)], 2), Some(vec![2, 1]));
        assert_eq!(find(&[(1, 2), (2, 3), (3, 1), (9, 1)], 1), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_search_that_ends_or_runs_into_a_circle_of_others_finds_none() {
        assert_eq!(find(&[], 1), None);
        assert_eq!(find(&[(1, 2), (2, 3)], 1), None);
        assert_eq!(find(&[(1, 2), (2, 2)], 1), None);
        assert_eq!(find(&[(1, 2), (2, 3), (3, 4), (4, 5), (5, 3)], 1), None);
    }

    #[test]
    fn one_of_several_that_one_waits_for_is_enough_for_a_circle() {
        assert_eq!(find(&[(1, 2), (1, 3), (1, 4), (3, 5), (5, 1)], 1), Some(vec![1, 3, 5]));
        // Whichever is met first.
        assert_eq!(find(&[(1, 4), (1, 3), (1, 2), (4, 2), (2, 4), (3, 5), (5, 1)], 1), Some(vec![1, 3, 5]));
        assert_eq!(find(&[(1, 2), (1, 3), (2, 4), (3, 4), (4, 3)], 1), None);
    }

    #[test]
    fn random_graphs_have_the_circles_that_a_plain_search_finds() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut draw = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let (mut circles, mut none) = (0, 0);
        for round in 0..3000 {
            let count = 1 + draw(40);
            let most = 1 + draw(3);
            let edges: Vec<Vec<u64>> = (0..count).map(|_| (0..draw(most + 1)).map(|_| draw(count)).collect()).collect();
            for start in 0..count {
                let mut asked = vec![0; count as usize];
                let found = search(start, |lane, open| {
                    asked[lane as usize] += 1;
                    open.extend(&edges[lane as usize]);
                });
                // All that can be come to from the start, in as many rounds as it takes.
                let mut reached = edges[start as usize].clone();
                let mut at = 0;
                while let Some(lane) = reached.get(at) {
                    let more: Vec<u64> =
                        edges[*lane as usize].iter().copied().filter(|next| !reached.contains(next)).collect();
                    reached.extend(more);
                    at += 1;
                }
                assert_eq!(found.is_some(), reached.contains(&start), "round {round}, from {start}: {edges:?}");
                assert!(asked.iter().all(|times| *times <= 1), "one was asked twice: {edges:?}");
                let Some(circle) = found else {
                    none += 1;
                    continue;
                };
                circles += 1;
                assert_eq!(circle[0], start);
                let mut pairs = circle.iter().zip(circle.iter().cycle().skip(1));
                assert!(pairs.all(|(from, to)| edges[*from as usize].contains(to)), "{circle:?} in {edges:?}");
            }
        }
        assert!(circles > 1000 && none > 1000, "{circles} circles, {none} without");
    }
}
