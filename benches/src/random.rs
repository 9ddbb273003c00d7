//! A seeded generator: the same seed, the same work.

use std::time::Duration;

/// Marsaglia's xorshift on 64 bits.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Neighbouring seeds give unlike sequences.
    pub(crate) fn seeded(seed: u64) -> Random {
        // The multiplier is odd, so seeds stay apart; the state must not be 0, from which xorshift never leaves.
        Random(seed.wrapping_add(1).wrapping_mul(0xD134_2543_DE82_EF95).max(1))
    }

    fn next(&mut self) -> u64 {
        let mut state = self.0;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0 = state;
        state
    }

    /// A number from 0 to `limit` - 1.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From one millisecond to `most`.
    pub(crate) fn milliseconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_own_sequence_again_and_again() {
        let sequence = |seed| {
            let mut random = Random::seeded(seed);
            (0..100).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
        assert!(sequence(0).iter().any(|&number| number > 500));
    }

    #[test]
    fn milliseconds_are_from_one_to_the_most() {
        let mut random = Random::seeded(3);
        let drawn: Vec<_> = (0..1000).map(|_| random.milliseconds(3).as_millis()).collect();
        assert!((1..=3).all(|length| drawn.contains(&length)));
        assert!(drawn.iter().all(|length| (1..=3).contains(length)));
    }
}
