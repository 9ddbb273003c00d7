//! What a mutex costs, by the wall clock: `cargo bench -p laneway-bench --bench locks`.
//!
//! Each is timed inside a lane, on one worker, so that no thread but that one takes part. Tokio's runs in a lane as well:
//! a lock of that kind needs no runtime.

mod timed;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::sync::{Mutex, RwLock, Semaphore};
use actors::{Lane, Runtime, spawn, yield_now};
use criterion::{Criterion, criterion_group, criterion_main};
use timed::timed;

/// Times `n` rounds of something.
macro_rules! rounds {
    ($n:expr, $round:expr) => {{
        let start = Instant::now();
        for _ in 0..$n {
            $round
        }
        start.elapsed()
    }};
}

async fn ours(_main: Lane<()>, n: u64) -> Duration {
    let mutex = Mutex::new(0_u64);
    rounds!(n, *black_box(&mutex).lock().await.expect("nobody dies") += 1)
}

async fn parking_lots(_main: Lane<()>, n: u64) -> Duration {
    let mutex = parking_lot::Mutex::new(0_u64);
    rounds!(n, *black_box(&mutex).lock() += 1)
}

async fn tokios(_main: Lane<()>, n: u64) -> Duration {
    let mutex = tokio::sync::Mutex::new(0_u64);
    rounds!(n, *black_box(&mutex).lock().await += 1)
}

async fn reads(_main: Lane<()>, n: u64) -> Duration {
    let lock = RwLock::new(7_u64);
    rounds!(n, assert_eq!(*black_box(&lock).read().await.expect("nobody dies"), 7))
}

async fn permits(_main: Lane<()>, n: u64) -> Duration {
    let semaphore = Semaphore::new(1);
    rounds!(n, drop(black_box(&semaphore).acquire().await))
}

/// A lock that goes from one of eight lanes to the next.
async fn hand_overs(mut main: Lane<()>, n: u64) -> Duration {
    let mutex = Arc::new(Mutex::new(0));
    let to = main.address();
    let start = Instant::now();
    for _ in 0..8 {
        let mutex = mutex.clone();
        let body = async move |_: Lane<()>| {
            for _ in 0..n.div_ceil(8) {
                let mut count = mutex.lock().await.expect("nobody dies");
                *count += 1;
                yield_now().await;
            }
            to.send(()).await.expect("the main program");
        };
        spawn(body).expect("a lane");
    }
    for _ in 0..8 {
        main.recv().await.expect("a lane that is done");
    }
    start.elapsed()
}

fn locks(criterion: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let mut bench = |name: &str, run: &dyn Fn(u64) -> Duration| {
        criterion.bench_function(name, |bencher| bencher.iter_custom(run));
    };
    bench("mutex", &|n| timed(&runtime, move |lane| ours(lane, n)));
    bench("mutex of parking_lot", &|n| timed(&runtime, move |lane| parking_lots(lane, n)));
    bench("mutex of tokio", &|n| timed(&runtime, move |lane| tokios(lane, n)));
    bench("mutex handed over", &|n| timed(&runtime, move |lane| hand_overs(lane, n)));
    bench("read lock", &|n| timed(&runtime, move |lane| reads(lane, n)));
    bench("permit", &|n| timed(&runtime, move |lane| permits(lane, n)));
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = locks
}
criterion_main!(all);
