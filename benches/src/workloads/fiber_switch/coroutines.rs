//! Fibers with a stack of their own each: coroutines of corosensei, resumed in a loop.
//!
//! A stack is two mappings, one of them its guard page, of which a process may have some 65 000 unless its system is told
//! otherwise: `n` can be about 30 000 here.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::Fibers;
use super::shape::{Shape, digest, fill, touch};
use super::traffic::Traffic;

/// A stack's size. What is not touched of it takes no memory.
const STACK: usize = 64 << 10;

/// A coroutine each.
pub(super) struct Coroutines {
    /// By place.
    all: Vec<Fiber>,
    traffic: Traffic,
}

/// It is told whether no turn is to come.
type Fiber = Coroutine<bool, (), u64>;

impl Coroutines {
    pub(super) fn new(shapes: &[Shape], order: &[usize], traffic: Traffic) -> Coroutines {
        let mut made: Vec<Option<Fiber>> = shapes.iter().map(|&shape| Some(begin(shape))).collect();
        let all = order.iter().map(|&fiber| made[fiber].take().expect("each has one place")).collect();
        let mut coroutines = Coroutines { all, traffic };
        for fiber in &mut coroutines.all {
            fiber.resume(false);
        }
        coroutines
    }
}

impl Fibers for Coroutines {
    fn switch(&mut self, places: Range<usize>, turns: usize, flush: bool) -> Duration {
        if flush {
            self.traffic.walk();
        }
        let start = Instant::now();
        for place in places.cycle().take(turns) {
            self.all[place].resume(false);
        }
        start.elapsed()
    }

    fn end(self: Box<Self>) -> Vec<u64> {
        let last = |mut fiber: Fiber| match fiber.resume(true) {
            CoroutineResult::Return(digest) => digest,
            CoroutineResult::Yield(()) => unreachable!("a fiber ends when it is told to"),
        };
        self.all.into_iter().map(last).collect()
    }
}

fn begin(shape: Shape) -> Fiber {
    match shape.words {
        16 => of_words::<16>(shape),
        24 => of_words::<24>(shape),
        32 => of_words::<32>(shape),
        48 => of_words::<48>(shape),
        60 => of_words::<60>(shape),
        words => unreachable!("no fiber has frames of {words} words"),
    }
}

fn of_words<const WORDS: usize>(shape: Shape) -> Fiber {
    let stack = DefaultStack::new(STACK).expect("memory for a stack, and leave to map it");
    Coroutine::with_stack(stack, move |yielder, _| {
        let mut own = [0; WORDS];
        fill(&mut own, shape.seed, shape.depth);
        black_box(&mut own);
        let of_others = frame(&mut own, shape.depth - 1, shape.seed, yielder);
        digest(&own).wrapping_add(of_others)
    })
}

/// A frame, and those above it up to level 1, in which turns are waited for.
#[inline(never)]
fn frame<const WORDS: usize>(caller: &mut [u64; WORDS], level: usize, seed: u64, turns: &Yielder<bool, ()>) -> u64 {
    let mut own = [0; WORDS];
    fill(&mut own, seed, level);
    black_box(&mut own);
    if level > 1 {
        let of_others = frame(&mut own, level - 1, seed, turns);
        return digest(&own).wrapping_add(of_others);
    }
    for turn in 0.. {
        if turns.suspend(()) {
            break;
        }
        touch(&mut own, caller, turn);
    }
    digest(&own)
}
