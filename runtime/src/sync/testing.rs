//! What the tests of green locks share: lanes that say whether they came to the end of their code.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
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
