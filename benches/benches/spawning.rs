//! What lives and deaths of lanes cost, by the wall clock: `cargo bench -p laneway-bench --bench spawning`.
//!
//! Each is timed inside a lane, on one worker, so that no thread but that one takes part.

mod timed;

use std::time::{Duration, Instant};

use actors::{Address, Down, ExitReason, Lane, Runtime, spawn};
use criterion::{Criterion, criterion_group, criterion_main};
use timed::timed;

/// So many lanes live at a time.
const BATCH: u64 = 1000;

/// Spawn, a message there, one back, and the end.
async fn lives(mut main: Lane<u64>, n: u64) -> Duration {
    let parent = main.address();
    let start = Instant::now();
    for begun in (0..n).step_by(BATCH as usize) {
        let batch = BATCH.min(n - begun);
        for number in 0..batch {
            let child = spawn(async move |mut lane: Lane<u64>| {
                let number = lane.recv().await.expect("a message");
                parent.send(number).await.expect("the parent");
            });
            child.expect("a child").send(number).await.expect("a child that waits");
        }
        for _ in 0..batch {
            main.recv().await.expect("a child's answer");
        }
    }
    start.elapsed()
}

/// From the kill to the notice of the death; the lanes were there before.
async fn kills(mut main: Lane<Down>, n: u64) -> Duration {
    let mut took = Duration::ZERO;
    for begun in (0..n).step_by(BATCH as usize) {
        let waiting: Vec<Address<()>> = (0..BATCH.min(n - begun)).map(|_| waiting()).collect();
        for lane in &waiting {
            main.monitor(*lane, |down| down);
        }
        let start = Instant::now();
        for lane in &waiting {
            assert!(lane.kill());
        }
        for _ in &waiting {
            assert_eq!(main.recv().await.map(|down| down.reason), Some(ExitReason::Killed));
        }
        took += start.elapsed();
    }
    took
}

fn waiting() -> Address<()> {
    spawn(async |mut lane: Lane<()>| while lane.recv().await.is_some() {}).expect("a lane")
}

fn spawning(criterion: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let mut bench = |name: &str, run: &dyn Fn(u64) -> Duration| {
        criterion.bench_function(name, |bencher| bencher.iter_custom(run));
    };
    bench("spawn, answer, end", &|n| timed(&runtime, move |lane| lives(lane, n)));
    bench("kill", &|n| timed(&runtime, move |lane| kills(lane, n)));
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = spawning
}
criterion_main!(all);
