//! A lane that times itself.

use std::sync::mpsc;
use std::time::Duration;

use actors::{Lane, Runtime, spawn};

/// Runs a lane to its end and hands out what it measured.
pub(crate) fn timed<M, F>(runtime: &Runtime, body: impl FnOnce(Lane<M>) -> F) -> Duration
where
    M: Send + 'static,
    F: Future<Output = Duration> + Send + 'static,
{
    let (say, said) = mpsc::channel();
    let _inside = runtime.handle().enter();
    let body = |lane| {
        let body = body(lane);
        async move { say.send(body.await).expect("who waits for it") }
    };
    spawn(body).expect("a lane");
    said.recv().expect("a lane that ends well")
}
