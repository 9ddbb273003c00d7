//! What lanes have of the system besides sockets, and how they share and pass it on, on the OS.
#![cfg(target_os = "linux")]

use std::future::poll_fn;
use std::time::Duration;

use actors::{Lane, Spawn};
use runtime::reply::{self, Answer};
use runtime::{Id, Runtime};

mod files;
mod processes;
mod sharing;
mod signals;

/// Runs a lane to its end on one worker, and on two that each have a driver. Then the node ends and all must be closed.
fn on_all_nodes<F: Future<Output = ()> + Send + 'static>(body: impl Fn(Lane<()>) -> F) {
    for (workers, drivers) in [(1, 1), (2, 2)] {
        let node = Runtime::builder().workers(workers).drivers(drivers).build().unwrap();
        on(&node, &body);
        let report = node.shutdown(Duration::from_secs(10));
        assert!(report.is_clean(), "{report:?}");
        let metrics = report.metrics;
        assert_eq!((metrics.descriptors, metrics.release_errors), (0, 0));
        assert_eq!(metrics.descriptors_opened, metrics.descriptors_closed);
    }
}

/// Runs a lane to its end.
fn on<F: Future<Output = ()> + Send + 'static>(node: &Runtime, body: impl FnOnce(Lane<()>) -> F) {
    let (tell, done) = reply::port();
    let _entered = node.handle().enter();
    let lane = Spawn::new().spawn(|lane: Lane<()>| {
        let body = body(lane);
        async move {
            body.await;
            let _unheard = tell.answer(());
        }
    });
    node.block_on(async {
        // One that panicked has not answered.
        answered(done).await;
        actors::join(lane.unwrap().id()).await;
    });
}

async fn answered<T>(mut answer: Answer<T>) -> T {
    poll_fn(|cx| answer.poll_answer(cx)).await.unwrap()
}

/// A lane that does nothing but live.
fn idle_lane() -> Id {
    Spawn::new().spawn(async |_: Lane<()>| std::future::pending::<()>().await).unwrap().id()
}

async fn kill_and_join(lane: Id) {
    actors::kill(lane);
    actors::join(lane).await;
}

/// Lets the others run until what is asked is so. What is waited for is sure to come, and nothing but the OS knows when.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        runtime::yield_now().await;
    }
}

/// How many descriptors of this process lead to what the OS calls by this name.
fn open_under(name: &str) -> usize {
    let folder = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = folder.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    names.filter(|path| path.to_str() == Some(name)).count()
}
