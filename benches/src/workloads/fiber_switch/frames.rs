//! Fibers as futures: each frame is an `async fn` that has the next one's future in its own, down to the one that waits.
//!
//! Owns: [`Frames`], which is how deep futures come out of one generic function, and [`begin`]. Whoever polls decides when
//! a fiber has its turn; how it tells that its turn is over is a [`Turns`].

use std::future::poll_fn;
use std::hint::black_box;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use super::shape::{Shape, digest, fill, touch};

/// What a fiber has of those who give it its turns.
pub(super) trait Turns: Send + Sync + 'static {
    /// The fiber is there and waits for its first turn.
    fn arrive(&self, cx: &Context<'_>);
    /// The turn is over.
    fn pass(&self);
    /// Whether no turn is to come: the fiber was polled for the last time.
    fn are_over(&self) -> bool;
}

/// So many frames below whoever calls.
pub(super) trait Frames: 'static {
    /// How many.
    const DEPTH: usize;

    /// Runs them, and gives the sum of their digests in the end.
    fn run<T: Turns, const WORDS: usize>(
        caller: &mut [u64; WORDS],
        seed: u64,
        turns: &T,
    ) -> impl Future<Output = u64> + Send;
}

/// The frame in which turns are waited for.
pub(super) struct Top;

impl Frames for Top {
    const DEPTH: usize = 1;

    async fn run<T: Turns, const WORDS: usize>(caller: &mut [u64; WORDS], seed: u64, turns: &T) -> u64 {
        let mut own = [0; WORDS];
        fill(&mut own, seed, Self::DEPTH);
        black_box(&mut own);
        let mut arrived = false;
        for turn in 0.. {
            let mut asked = false;
            poll_fn(|cx| {
                if !arrived {
                    arrived = true;
                    turns.arrive(cx);
                }
                if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            if turns.are_over() {
                break;
            }
            touch(&mut own, caller, turn);
            turns.pass();
        }
        digest(&own)
    }
}

/// A frame whose function calls `F`.
pub(super) struct Over<F>(PhantomData<F>);

impl<F: Frames> Frames for Over<F> {
    const DEPTH: usize = F::DEPTH + 1;

    async fn run<T: Turns, const WORDS: usize>(caller: &mut [u64; WORDS], seed: u64, turns: &T) -> u64 {
        let mut own = [0; WORDS];
        fill(&mut own, seed, Self::DEPTH);
        black_box((&mut own, caller));
        let of_others = F::run(&mut own, seed, turns).await;
        digest(&own).wrapping_add(of_others)
    }
}

type Two<F> = Over<Over<F>>;
type Eight<F> = Two<Two<Two<Two<F>>>>;
/// With the frame of [`fiber`], sixteen.
pub(super) type Of16 = Eight<Two<Two<Two<Top>>>>;
pub(super) type Of18 = Two<Of16>;
pub(super) type Of20 = Two<Of18>;
pub(super) type Of22 = Two<Of20>;
pub(super) type Of24 = Two<Of22>;
pub(super) type Of26 = Two<Of24>;
pub(super) type Of28 = Two<Of26>;
pub(super) type Of30 = Two<Of28>;

/// All frames of a fiber: its own, and `F` below it.
pub(super) async fn fiber<F: Frames, T: Turns, const WORDS: usize>(shape: Shape, turns: T) -> u64 {
    let mut own = [0; WORDS];
    fill(&mut own, shape.seed, F::DEPTH + 1);
    black_box(&mut own);
    let of_others = F::run(&mut own, shape.seed, &turns).await;
    digest(&own).wrapping_add(of_others)
}

/// Who can begin a fiber of any shape.
pub(super) trait Begin<T: Turns>: Sized {
    /// What has become of the fiber.
    type Begun;

    /// Begins this one.
    fn begin<F: Frames, const WORDS: usize>(self, shape: Shape, turns: T) -> Self::Begun;
}

/// Begins a fiber of this shape: the way from the numbers of a shape to the type of a future.
pub(super) fn begin<B: Begin<T>, T: Turns>(by: B, shape: Shape, turns: T) -> B::Begun {
    match shape.words {
        16 => of_words::<B, T, 16>(by, shape, turns),
        24 => of_words::<B, T, 24>(by, shape, turns),
        32 => of_words::<B, T, 32>(by, shape, turns),
        48 => of_words::<B, T, 48>(by, shape, turns),
        60 => of_words::<B, T, 60>(by, shape, turns),
        words => unreachable!("no fiber has frames of {words} words"),
    }
}

fn of_words<B: Begin<T>, T: Turns, const WORDS: usize>(by: B, shape: Shape, turns: T) -> B::Begun {
    match shape.depth {
        16 => by.begin::<Of16, WORDS>(shape, turns),
        18 => by.begin::<Of18, WORDS>(shape, turns),
        20 => by.begin::<Of20, WORDS>(shape, turns),
        22 => by.begin::<Of22, WORDS>(shape, turns),
        24 => by.begin::<Of24, WORDS>(shape, turns),
        26 => by.begin::<Of26, WORDS>(shape, turns),
        28 => by.begin::<Of28, WORDS>(shape, turns),
        30 => by.begin::<Of30, WORDS>(shape, turns),
        depth => unreachable!("no fiber is {depth} frames deep"),
    }
}
