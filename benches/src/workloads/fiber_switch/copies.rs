//! Fibers that share one stack: at a switch the live part is copied to a block of who stops, and that of who goes on is
//! copied back, as with `setjmp` and `longjmp`.
//!
//! It is a model, as Rust has no such thing. The stack is a vector on which the states of the frames lie as they would on a
//! stack, the copies are real, and the jump is that of one coroutine, to the code that has its turn and back. What a
//! compiler keeps in a frame beside its state is not copied, which is to the advantage of these figures.

use std::ops::Range;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};

use super::Fibers;
use super::shape::{Shape, digest, fill, top_frames, touch};
use super::traffic::Traffic;

/// A block each, and one stack.
pub(super) struct Copies {
    /// By place.
    all: Vec<Fiber>,
    /// Whose frames are on the stack.
    here: usize,
    /// The stack, but for the time in which code runs on it.
    stack: Vec<u64>,
    code: Coroutine<Job, Job, ()>,
    traffic: Traffic,
}

struct Fiber {
    /// What was on the stack when the fiber stopped.
    saved: Box<[u64]>,
    words: usize,
    turn: u64,
}

/// One turn.
struct Job {
    stack: Vec<u64>,
    live: usize,
    words: usize,
    turn: u64,
}

impl Copies {
    pub(super) fn new(shapes: &[Shape], order: &[usize], traffic: Traffic) -> Copies {
        let mut made: Vec<Option<Fiber>> = shapes.iter().map(|&shape| Some(begin(shape))).collect();
        let all: Vec<Fiber> = order.iter().map(|&fiber| made[fiber].take().expect("each has one place")).collect();
        let mut stack = vec![0; all.iter().map(|fiber| fiber.saved.len()).max().unwrap_or(0)];
        stack[..all[0].saved.len()].copy_from_slice(&all[0].saved);
        let code = Coroutine::new(|turns, mut job: Job| {
            loop {
                let (caller, own) = top_frames(&mut job.stack[..job.live], job.words);
                touch(own, caller, job.turn);
                job = turns.suspend(job);
            }
        });
        Copies { all, here: 0, stack, code, traffic }
    }

    fn bring(&mut self, place: usize) {
        let saved = &mut self.all[self.here].saved;
        saved.copy_from_slice(&self.stack[..saved.len()]);
        let saved = &self.all[place].saved;
        self.stack[..saved.len()].copy_from_slice(saved);
        self.here = place;
    }

    fn turn(&mut self) {
        let fiber = &mut self.all[self.here];
        let stack = std::mem::take(&mut self.stack);
        let job = Job { stack, live: fiber.saved.len(), words: fiber.words, turn: fiber.turn };
        fiber.turn += 1;
        match self.code.resume(job) {
            CoroutineResult::Yield(job) => self.stack = job.stack,
            CoroutineResult::Return(()) => unreachable!("the code never ends"),
        }
    }
}

impl Fibers for Copies {
    fn switch(&mut self, places: Range<usize>, turns: usize, flush: bool) -> Duration {
        if flush {
            self.traffic.walk();
        }
        let start = Instant::now();
        for place in places.cycle().take(turns) {
            self.bring(place);
            self.turn();
        }
        start.elapsed()
    }

    fn end(mut self: Box<Self>) -> Vec<u64> {
        self.bring(0);
        let frames = |fiber: &Fiber| fiber.saved.chunks_exact(fiber.words).map(digest).fold(0, u64::wrapping_add);
        self.all.iter().map(frames).collect()
    }
}

fn begin(shape: Shape) -> Fiber {
    let mut saved = vec![0; shape.depth * shape.words].into_boxed_slice();
    for (from_bottom, frame) in saved.chunks_exact_mut(shape.words).enumerate() {
        fill(frame, shape.seed, shape.depth - from_bottom);
    }
    Fiber { saved, words: shape.words, turn: 0 }
}
