//! What the tests of green locks share: lanes that say whether they came to the end of their code.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::lane::{self, Spawn};
use crate::mailbox::Inbox;
use crate::{Id, Metrics, Runtime, yield_now};

/// A lane, and whether it came to the end of its code.
pub(super) struct Spawned {
    pub(super) id: Id,
    done: Arc<AtomicBool>,
}

impl Spawned {
    pub(super) async fn finish(&self) {
        lane::join(self.id).await;
        assert!(self.done.load(Ordering::Relaxed), "the lane ended too early");
    }

    /// It ends before it is done.
    pub(super) async fn end(&self) {
        lane::join(self.id).await;
        assert!(!self.done.load(Ordering::Relaxed), "the lane came to its end");
    }

    pub(super) async fn kill(&self) {
        lane::kill(self.id);
        self.end().await;
    }
}

pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Spawned {
    let done = Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let work = async move {
        work.await;
        is_done.store(true, Ordering::Relaxed);
    };
    Spawned { id: Spawn::new().spawn(|_: Inbox<()>| work).unwrap().mailbox.id(), done }
}

pub(super) fn runtime() -> Runtime {
    Runtime::builder().workers(1).virtual_time(1).build().unwrap()
}

/// What the runtime did in its life, its last death included.
pub(super) fn ended(runtime: Runtime) -> Metrics {
    runtime.shutdown(Duration::from_secs(5)).metrics
}

pub(super) async fn until(mut fact: impl FnMut() -> bool) {
    while !fact() {
        yield_now().await;
    }
}

/// One poll of a future; `None` where it is pending.
pub(super) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// One poll of a future outside of lanes, by an executor that nobody knows.
pub(super) fn poll_outside<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Choices that follow from a seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// Runs a test for many seeds, or for the one of `LANEWAY_SEED`; a failure says which it was.
pub(super) fn for_seeds(seeds: u64, test: impl Fn(Random)) {
    let only = std::env::var("LANEWAY_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(Random::new(seed))));
        assert!(ran.is_ok(), "failed; to run it again: LANEWAY_SEED={seed} cargo test -p laneway-runtime NAME");
    }
}

/// Several lanes' work on two workers, to its end.
pub(super) fn on_two_workers(work: impl IntoIterator<Item = impl Future<Output = ()> + Send + 'static>) {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.block_on(async {
        let lanes: Vec<Spawned> = work.into_iter().map(spawn).collect();
        for lane in lanes {
            lane.finish().await;
        }
    });
}
