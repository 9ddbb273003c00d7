//! Fibers as futures that are polled in a loop, by nobody's scheduler.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Fibers;
use super::frames::{Begin, Frames, Turns, begin, fiber};
use super::shape::Shape;
use super::traffic::Traffic;

/// A future each.
pub(super) struct Futures {
    /// By place.
    all: Vec<Fiber>,
    over: Arc<AtomicBool>,
    traffic: Traffic,
}

type Fiber = Pin<Box<dyn Future<Output = u64>>>;

impl Futures {
    pub(super) fn new(shapes: &[Shape], order: &[usize], traffic: Traffic) -> Futures {
        let over = Arc::new(AtomicBool::new(false));
        let made = shapes.iter().map(|&shape| begin(Boxed, shape, Polled(over.clone())));
        let mut made: Vec<Option<Fiber>> = made.map(Some).collect();
        let all = order.iter().map(|&fiber| made[fiber].take().expect("each has one place")).collect();
        let mut futures = Futures { all, over, traffic };
        for place in 0..futures.all.len() {
            assert!(futures.poll(place).is_pending());
        }
        futures
    }

    fn poll(&mut self, place: usize) -> Poll<u64> {
        self.all[place].as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }
}

impl Fibers for Futures {
    fn switch(&mut self, places: Range<usize>, turns: usize, flush: bool) -> Duration {
        if flush {
            self.traffic.walk();
        }
        let start = Instant::now();
        for place in places.cycle().take(turns) {
            assert!(self.poll(place).is_pending());
        }
        start.elapsed()
    }

    fn end(mut self: Box<Self>) -> Vec<u64> {
        self.over.store(true, Ordering::Relaxed);
        let fibers = self.all.len();
        let last = |place| match self.poll(place) {
            Poll::Ready(digest) => digest,
            Poll::Pending => unreachable!("a fiber ends when it is told to"),
        };
        (0..fibers).map(last).collect()
    }
}

/// Begins a fiber in a box.
struct Boxed;

impl Begin<Polled> for Boxed {
    type Begun = Fiber;

    fn begin<F: Frames, const WORDS: usize>(self, shape: Shape, turns: Polled) -> Fiber {
        Box::pin(fiber::<F, Polled, WORDS>(shape, turns))
    }
}

/// Whoever is polled has its turn.
struct Polled(Arc<AtomicBool>);

impl Turns for Polled {
    fn arrive(&self, _: &Context<'_>) {}

    fn pass(&self) {}

    fn are_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fibers_of_every_shape_have_in_their_frames_what_a_replay_says() {
        let shapes: Vec<Shape> = Shape::all().collect();
        let order: Vec<usize> = (0..shapes.len()).rev().collect();
        let mut fibers = Box::new(Futures::new(&shapes, &order, Traffic::new(1)));
        fibers.switch(0..shapes.len(), shapes.len(), true);
        fibers.switch(0..3, 100, false);
        // A hundred turns among three: the first has one more.
        let turns = |place| 1 + [34, 33, 33].get(place).copied().unwrap_or(0);
        let replayed = order.iter().enumerate().map(|(place, &fiber)| shapes[fiber].replayed(turns(place)));
        assert_eq!(fibers.end(), replayed.collect::<Vec<u64>>());
    }
}
