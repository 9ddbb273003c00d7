//! Other work on the same processor, as far as fibers notice it: their memory is in no cache afterwards.

use std::hint::black_box;

/// Words in a cache line.
const LINE: usize = 8;

/// Words in a mebibyte.
const MEBIBYTE: usize = 1 << 17;

/// Memory of which each line is read and written.
#[derive(Debug)]
pub(super) struct Traffic(Vec<u64>);

impl Traffic {
    pub(super) fn new(mebibytes: usize) -> Traffic {
        // All of one value but zero, which would be one page for all until it is written.
        Traffic(vec![1; mebibytes * MEBIBYTE])
    }

    /// The walk, a mebibyte a step, for those who must let others have their turns in between.
    pub(super) fn steps(&mut self) -> impl Iterator<Item = ()> {
        self.0.chunks_mut(MEBIBYTE).map(|part| {
            for word in part.iter_mut().step_by(LINE) {
                *word = word.wrapping_add(1);
            }
            black_box(part);
        })
    }

    pub(super) fn walk(&mut self) {
        self.steps().for_each(drop);
    }
}
