//! What single messages cost, by the wall clock: `cargo bench -p laneway-bench --bench messages`.
//!
//! Each is timed inside a lane, on one worker, so that no thread but that one takes part.

mod timed;

use std::time::{Duration, Instant};

use actors::{Address, Lane, Reply, Runtime, spawn};
use criterion::{Criterion, criterion_group, criterion_main};
use timed::timed;

/// Sends on what it gets.
fn forwarder(to: Address<u64>) -> Address<u64> {
    let body = async move |mut lane: Lane<u64>| {
        while let Some(number) = lane.recv().await {
            to.send(number).await.expect("who is next");
        }
    };
    spawn(body).expect("a lane")
}

/// One message in flight through so many lanes and back; an operation is a round.
async fn round(mut main: Lane<u64>, lanes: u64, rounds: u64) -> Duration {
    let first = (0..lanes).fold(main.address(), |next, _| forwarder(next));
    let start = Instant::now();
    for number in 0..rounds {
        first.send(number).await.expect("the first lane");
        assert_eq!(main.recv().await, Some(number));
    }
    let took = start.elapsed();
    first.kill();
    took
}

async fn asks(_main: Lane<()>, n: u64) -> Duration {
    let server = spawn(async |mut lane: Lane<Reply<u64>>| {
        while let Some(reply) = lane.recv().await {
            reply.send(7).expect("who asked");
        }
    });
    let server = server.expect("a server");
    let start = Instant::now();
    for _ in 0..n {
        assert_eq!(server.ask(|reply| reply).await, Ok(7));
    }
    let took = start.elapsed();
    server.kill();
    took
}

async fn fan_in(mut main: Lane<u64>, n: u64) -> Duration {
    let to = main.address();
    let start = Instant::now();
    for producer in 0..8 {
        let share = n / 8 + u64::from(producer < n % 8);
        spawn(async move |_: Lane<()>| {
            for number in 0..share {
                to.send(number).await.expect("the consumer");
            }
        })
        .expect("a producer");
    }
    for _ in 0..n {
        main.recv().await.expect("a number");
    }
    start.elapsed()
}

fn messages(criterion: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    let mut bench = |name: &str, run: &dyn Fn(u64) -> Duration| {
        criterion.bench_function(name, |bencher| bencher.iter_custom(run));
    };
    bench("ping-pong", &|n| timed(&runtime, move |lane| round(lane, 1, n)));
    // A hop's share of rings of 100 lanes and the main one.
    bench("ring hop", &|n| timed(&runtime, move |lane| round(lane, 100, n.div_ceil(101))));
    bench("ask", &|n| timed(&runtime, move |lane| asks(lane, n)));
    bench("fan-in of 8", &|n| timed(&runtime, move |lane| fan_in(lane, n)));
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = messages
}
criterion_main!(all);
