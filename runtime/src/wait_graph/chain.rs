//! The walk along who waits for whom: pure, over whatever tells the next of a lane.
//!
//! Owns: [`follow`]. Each waits for one other, so a walk from one of them is a line that ends, or runs into a circle.

/// The longest walk. A chain is never that long; one that seems to be is one that others change while it is walked.
const MOST_STEPS: usize = 1 << 22;

/// The circle that begins and ends with `start`, in the order of waiting: `start` first, each waiting for the next and the
/// last for the first. `None` where the walk ends, or turns in a circle of others.
///
/// Takes as many steps as the chain is long, and at most three times as many where it runs into a circle of others.
pub(crate) fn follow<L: Copy + Eq>(start: L, mut next: impl FnMut(L) -> Option<L>) -> Option<Vec<L>> {
    let mut chain = vec![start];
    // Brent's way to see a circle of others: a stone is left at every place whose number is a power of two.
    let (mut stone, mut power) = (start, 1);
    loop {
        let lane = next(chain[chain.len() - 1])?;
        if lane == start {
            return Some(chain);
        }
        if lane == stone || chain.len() == MOST_STEPS {
            return None;
        }
        if chain.len() == power {
            stone = lane;
            power *= 2;
        }
        chain.push(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(edges: &[(u32, u32)], start: u32) -> Option<Vec<u32>> {
        follow(start, |lane| edges.iter().find(|(from, _)| *from == lane).map(|(_, to)| *to))
    }

    #[test]
    fn a_walk_finds_the_circle_that_its_start_is_in() {
        assert_eq!(walk(&[(1, 1)], 1), Some(vec![1]));
        assert_eq!(walk(&[(1, 2), (2, 1)], 2), Some(vec![2, 1]));
        assert_eq!(walk(&[(1, 2), (2, 3), (3, 1), (9, 1)], 1), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_walk_that_ends_or_runs_into_a_circle_of_others_finds_none() {
        assert_eq!(walk(&[], 1), None);
        assert_eq!(walk(&[(1, 2), (2, 3)], 1), None);
        assert_eq!(walk(&[(1, 2), (2, 2)], 1), None);
        assert_eq!(walk(&[(1, 2), (2, 3), (3, 4), (4, 5), (5, 3)], 1), None);
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
        for round in 0..3000 {
            let count = 1 + draw(40);
            // One in eight waits for nobody.
            let edges: Vec<Option<u64>> = (0..count).map(|_| (draw(8) != 0).then(|| draw(count))).collect();
            for start in 0..count {
                let mut steps = 0_u64;
                let found = follow(start, |lane| {
                    steps += 1;
                    edges[lane as usize]
                });
                // Whoever is in a circle is back after as many steps as there are lanes, at most.
                let mut at = start;
                let back = (0..count).find_map(|step| {
                    at = edges.get(at as usize).copied().flatten().unwrap_or(count);
                    (at == start).then_some(step as usize + 1)
                });
                assert_eq!(found.as_ref().map(Vec::len), back, "round {round}, from {start}: {edges:?}");
                assert!(steps <= 3 * count + 3, "{steps} steps for {count} lanes: {edges:?}");
                let mut pairs = found.iter().flat_map(|chain| chain.iter().zip(chain.iter().cycle().skip(1)));
                assert!(pairs.all(|(from, to)| edges[*from as usize] == Some(*to)), "{found:?} in {edges:?}");
            }
        }
    }
}
