//! What fibers are like, and what they do in their turns, whichever way they are switched.
//!
//! Owns: [`Shape`], [`fill`], [`touch`] and [`digest`]. A fiber's frames after so many turns follow from its shape alone.

use crate::random::Random;

/// Words of state in a frame.
const WORDS: [usize; 5] = [16, 24, 32, 48, 60];

/// Frames from the bottom to the top.
const DEPTHS: [usize; 8] = [16, 18, 20, 22, 24, 26, 28, 30];

/// One fiber: all its frames are of one size. What a frame holds beside its state is the compiler's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) seed: u64,
    pub(super) depth: usize,
    pub(super) words: usize,
}

impl Shape {
    pub(super) fn drawn(number: u64, random: &mut Random) -> Shape {
        let words = WORDS[random.below(WORDS.len() as u64) as usize];
        let depth = DEPTHS[random.below(DEPTHS.len() as u64) as usize];
        Shape { seed: mixed(number), depth, words }
    }

    /// One of each kind.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Shape> {
        let kinds = WORDS.into_iter().flat_map(|words| DEPTHS.map(|depth| (words, depth)));
        kinds.zip(0..).map(|((words, depth), number)| Shape { seed: mixed(number), depth, words })
    }

    /// The state in all its frames.
    pub(super) fn live_bytes(self) -> usize {
        self.depth * self.words * size_of::<u64>()
    }

    /// The sum of the digests of all its frames after so many turns.
    pub(super) fn replayed(self, turns: u64) -> u64 {
        let mut frames = vec![0; self.depth * self.words];
        for (from_bottom, frame) in frames.chunks_exact_mut(self.words).enumerate() {
            fill(frame, self.seed, self.depth - from_bottom);
        }
        for turn in 0..turns {
            let (caller, own) = top_frames(&mut frames, self.words);
            touch(own, caller, turn);
        }
        frames.chunks_exact(self.words).fold(0, |sum, frame| sum.wrapping_add(digest(frame)))
    }
}

/// The two frames at the end: the caller's, and that of the function that it called.
pub(super) fn top_frames(frames: &mut [u64], words: usize) -> (&mut [u64], &mut [u64]) {
    let from = frames.len() - 2 * words;
    frames[from..].split_at_mut(words)
}

/// The state of a frame when its function begins; `level` 1 is the top.
#[inline(always)]
pub(super) fn fill(frame: &mut [u64], seed: u64, level: usize) {
    let first = seed ^ mixed(level as u64);
    for (index, word) in frame.iter_mut().enumerate() {
        *word = first.wrapping_add(index as u64);
    }
}

/// What a turn does: it reads and writes two words of the top frame and two of its caller's.
#[inline(always)]
pub(super) fn touch(own: &mut [u64], caller: &mut [u64], turn: u64) {
    let place = |of: u64, len: usize| (((mixed(turn.wrapping_add(of)) >> 32) * len as u64) >> 32) as usize;
    let (one, other) = (place(0, own.len()), place(1 << 40, own.len()));
    let (theirs, also) = (place(2 << 40, caller.len()), place(3 << 40, caller.len()));
    own[one] = own[one].wrapping_add(caller[theirs]);
    own[other] ^= turn;
    caller[theirs] = caller[theirs].rotate_left(7) ^ own[other];
    caller[also] = caller[also].wrapping_add(1);
}

/// A number that tells one state of a frame from another.
pub(super) fn digest(frame: &[u64]) -> u64 {
    frame.iter().fold(0, |sum, word| mixed(sum ^ word))
}

/// Unlike for neighbours, and never the same for two.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    number ^ (number >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fibers_are_of_2_to_16_kib() {
        let sizes = || Shape::all().map(Shape::live_bytes);
        assert_eq!((sizes().min(), sizes().max()), (Some(2048), Some(14_400)));
    }

    #[test]
    fn each_turn_shows_in_the_digest_and_so_does_another_fiber() {
        let mut random = Random::seeded(1);
        let shape = Shape::drawn(1, &mut random);
        let mut digests: Vec<u64> = (0..100).map(|turns| shape.replayed(turns)).collect();
        digests.push(Shape { seed: mixed(2), ..shape }.replayed(0));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 101);
    }

    #[test]
    fn a_turn_leaves_all_but_the_two_top_frames_alone() {
        let mut frames: Vec<u64> = (0..64).collect();
        for turn in 0..1000 {
            let (caller, own) = top_frames(&mut frames, 16);
            touch(own, caller, turn);
        }
        assert_eq!(frames[..32], (0..32).collect::<Vec<u64>>());
        assert!((32..64).all(|index| frames[index] != index as u64), "turns should get everywhere");
    }
}
