//! Fibers as lanes: each one wakes the next, and its worker goes from one to the other.
//!
//! One lane more, the *starter*, walks through memory where caches are to be flushed, wakes the first fiber of a batch
//! and is woken by the last; its own turn is in the time. As it lets others have their turns in the course of its walk,
//! some of the worker's own code and data is warmer than the walk would leave it.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actors::{Address, Lane, Runtime, spawn, yield_now};

use super::Fibers;
use super::frames::{Begin, Frames, Turns, begin, fiber};
use super::shape::Shape;
use super::traffic::Traffic;
use crate::run::spawn_from_outside;

/// A lane each, seen from the main thread.
pub(super) struct Lanes<'a> {
    runtime: &'a Runtime,
    starter: Address<Order>,
    heard: mpsc::Receiver<Duration>,
    baton: Arc<Baton>,
    order: Vec<usize>,
}

/// What the starter is told.
enum Order {
    Switch { places: Range<usize>, turns: usize, flush: bool },
    End,
}

impl<'a> Lanes<'a> {
    pub(super) fn new(runtime: &'a Runtime, shapes: &[Shape], order: &[usize], traffic: Traffic) -> Lanes<'a> {
        let (say, heard) = mpsc::channel();
        let (found, starter) = mpsc::channel();
        let baton = Arc::new(Baton::new(shapes.len()));
        let (for_starter, shapes, by_place) = (baton.clone(), shapes.to_vec(), order.to_vec());
        spawn_from_outside(runtime, |lane| {
            // Whoever started the lane waits for both.
            let _ = found.send(lane.address());
            start(lane, for_starter, shapes, by_place, traffic, say)
        });
        let starter = starter.recv().expect("the starter has an address");
        heard.recv().expect("all fibers are there");
        Lanes { runtime, starter, heard, baton, order: order.to_vec() }
    }

    fn tell(&self, order: Order) -> Duration {
        self.runtime.block_on(self.starter.send(order)).expect("the starter lives");
        self.heard.recv().expect("the starter answers")
    }
}

impl Fibers for Lanes<'_> {
    fn switch(&mut self, places: Range<usize>, turns: usize, flush: bool) -> Duration {
        self.tell(Order::Switch { places, turns, flush })
    }

    fn end(self: Box<Self>) -> Vec<u64> {
        self.tell(Order::End);
        self.order.iter().map(|&fiber| self.baton.digests[fiber].load(Ordering::Relaxed)).collect()
    }
}

async fn start(
    mut lane: Lane<Order>,
    baton: Arc<Baton>,
    shapes: Vec<Shape>,
    order: Vec<usize>,
    mut traffic: Traffic,
    say: mpsc::Sender<Duration>,
) {
    poll_fn(|cx| Poll::Ready(baton.starter.get_or_init(|| cx.waker().clone()).will_wake(cx.waker()))).await;
    for (number, shape) in shapes.into_iter().enumerate() {
        begin(OnLane, shape, Holder { number, baton: baton.clone() });
        yield_now().await;
    }
    baton.all_have(|| baton.arrived.load(Ordering::Relaxed)).await;
    let waker = |&fiber: &usize| baton.wakers[fiber].get().expect("all are there").clone();
    baton.in_turn.get_or_init(|| order.iter().map(waker).collect());
    say.send(Duration::ZERO).expect("the main thread waits");
    while let Some(order) = lane.recv().await {
        let took = match order {
            Order::Switch { places, turns, flush } => {
                if flush {
                    for () in traffic.steps() {
                        yield_now().await;
                    }
                }
                let start = Instant::now();
                baton.go_round(places, turns).await;
                start.elapsed()
            }
            Order::End => {
                baton.over.store(true, Ordering::Relaxed);
                for waker in baton.in_turn.get().into_iter().flatten() {
                    waker.wake_by_ref();
                    yield_now().await;
                }
                baton.all_have(|| baton.ended.load(Ordering::Relaxed)).await;
                Duration::ZERO
            }
        };
        say.send(took).expect("the main thread waits");
    }
}

/// Whose turn it is. All of it is touched by one worker only; its atomics order nothing.
struct Baton {
    /// By fiber.
    wakers: Box<[OnceLock<Waker>]>,
    /// By place.
    in_turn: OnceLock<Vec<Waker>>,
    starter: OnceLock<Waker>,
    /// The place of the next one, and the first and the one after the last of the batch.
    next: AtomicUsize,
    first: AtomicUsize,
    end: AtomicUsize,
    /// Turns that are to come.
    left: AtomicUsize,
    /// The last turn was had.
    back: AtomicBool,
    arrived: AtomicUsize,
    ended: AtomicUsize,
    over: AtomicBool,
    /// By fiber.
    digests: Box<[AtomicU64]>,
}

impl Baton {
    fn new(fibers: usize) -> Baton {
        Baton {
            wakers: (0..fibers).map(|_| OnceLock::new()).collect(),
            in_turn: OnceLock::new(),
            starter: OnceLock::new(),
            next: AtomicUsize::new(0),
            first: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            back: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            digests: (0..fibers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Lets others have their turns until so many as there are have done something.
    async fn all_have(&self, count: impl Fn() -> usize) {
        while count() < self.digests.len() {
            yield_now().await;
        }
    }

    async fn go_round(&self, places: Range<usize>, turns: usize) {
        self.next.store(places.start, Ordering::Relaxed);
        self.first.store(places.start, Ordering::Relaxed);
        self.end.store(places.end, Ordering::Relaxed);
        self.left.store(turns, Ordering::Relaxed);
        self.back.store(false, Ordering::Relaxed);
        self.hand_on();
        poll_fn(|_| if self.back.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn hand_on(&self) {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            self.back.store(true, Ordering::Relaxed);
            self.starter.get().expect("the starter came first").wake_by_ref();
            return;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        let place = self.next.load(Ordering::Relaxed);
        let is_last = place + 1 == self.end.load(Ordering::Relaxed);
        self.next.store(if is_last { self.first.load(Ordering::Relaxed) } else { place + 1 }, Ordering::Relaxed);
        self.in_turn.get().expect("all are there")[place].wake_by_ref();
    }
}

/// What a fiber has of the baton.
struct Holder {
    number: usize,
    baton: Arc<Baton>,
}

impl Turns for Holder {
    fn arrive(&self, cx: &Context<'_>) {
        self.baton.wakers[self.number].get_or_init(|| cx.waker().clone());
        self.baton.arrived.fetch_add(1, Ordering::Relaxed);
    }

    fn pass(&self) {
        self.baton.hand_on();
    }

    fn are_over(&self) -> bool {
        self.baton.over.load(Ordering::Relaxed)
    }
}

/// Begins a fiber on a lane.
struct OnLane;

impl Begin<Holder> for OnLane {
    type Begun = ();

    fn begin<F: Frames, const WORDS: usize>(self, shape: Shape, turns: Holder) {
        let (baton, number) = (turns.baton.clone(), turns.number);
        let body = move |_: Lane<()>| async move {
            let digest = fiber::<F, Holder, WORDS>(shape, turns).await;
            baton.digests[number].store(digest, Ordering::Relaxed);
            baton.ended.fetch_add(1, Ordering::Relaxed);
        };
        spawn(body).expect("a lane");
    }
}
