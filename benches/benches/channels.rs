//! What channels cost, by the wall clock: `cargo bench -p laneway-bench --bench channels`.
//!
//! Each is timed inside a lane, on one worker, so that no thread but that one takes part. Tokio's run in lanes as well: a
//! channel of that kind needs no runtime, and so nothing but the channels differ.

mod timed;

use std::time::{Duration, Instant};

use actors::sync::{Notify, broadcast, mpsc, oneshot, watch};
use actors::{Lane, Runtime, spawn};
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

/// The same program over one kind of channels and the other.
macro_rules! programs {
    ($name:ident, $($path:ident)::+) => {
        mod $name {
            use super::*;
            use $($path)::+::{Notify, broadcast, mpsc, oneshot, watch};

            /// A message to oneself.
            pub(super) async fn alone(_: Lane<()>, n: u64) -> Duration {
                let (sender, mut receiver) = mpsc::channel(16);
                rounds!(n, {
                    sender.send(7_u64).await.expect("it receives");
                    assert_eq!(receiver.recv().await, Some(7));
                })
            }

            /// Messages from lane to lane, as many at a time as there is room for.
            pub(super) async fn stream(_: Lane<()>, n: u64) -> Duration {
                let (sender, mut receiver) = mpsc::channel(64);
                spawn(async move |_: Lane<()>| {
                    for number in 0..n {
                        sender.send(number).await.expect("it receives");
                    }
                })
                .expect("a lane");
                rounds!(n, assert!(receiver.recv().await.is_some()))
            }

            /// There and back from lane to lane.
            pub(super) async fn round_trip(_: Lane<()>, n: u64) -> Duration {
                let ((there, mut arrives), (back, mut returns)) = (mpsc::channel(1), mpsc::channel(1));
                spawn(async move |_: Lane<()>| {
                    while let Some(number) = arrives.recv().await {
                        let _gone = back.send(number).await;
                    }
                })
                .expect("a lane");
                rounds!(n, {
                    there.send(7_u64).await.expect("it receives");
                    assert_eq!(returns.recv().await, Some(7));
                })
            }

            pub(super) async fn unbounded(_: Lane<()>, n: u64) -> Duration {
                let (sender, mut receiver) = mpsc::unbounded_channel();
                rounds!(n, {
                    sender.send(7_u64).expect("it receives");
                    assert_eq!(receiver.recv().await, Some(7));
                })
            }

            pub(super) async fn once(_: Lane<()>, n: u64) -> Duration {
                rounds!(n, {
                    let (sender, receiver) = oneshot::channel();
                    sender.send(7_u64).expect("it receives");
                    assert_eq!(receiver.await, Ok(7));
                })
            }

            pub(super) async fn notify(_: Lane<()>, n: u64) -> Duration {
                let notify = Notify::new();
                rounds!(n, {
                    notify.notify_one();
                    notify.notified().await;
                })
            }

            /// Two lanes that notify each other.
            pub(super) async fn notify_round_trip(_: Lane<()>, n: u64) -> Duration {
                let ends = std::sync::Arc::new([Notify::new(), Notify::new()]);
                let theirs = ends.clone();
                spawn(async move |_: Lane<()>| {
                    for _ in 0..n {
                        theirs[0].notified().await;
                        theirs[1].notify_one();
                    }
                })
                .expect("a lane");
                rounds!(n, {
                    ends[0].notify_one();
                    ends[1].notified().await;
                })
            }

            pub(super) async fn to_all(_: Lane<()>, n: u64) -> Duration {
                let (sender, mut one) = broadcast::channel(16);
                let mut other = sender.subscribe();
                rounds!(n, {
                    sender.send(7_u64).expect("they receive");
                    assert_eq!((one.recv().await, other.recv().await), (Ok(7), Ok(7)));
                })
            }

            pub(super) async fn watched(_: Lane<()>, n: u64) -> Duration {
                let (sender, mut receiver) = watch::channel(0_u64);
                rounds!(n, {
                    sender.send(7).expect("it looks");
                    receiver.changed().await.expect("it sends");
                    assert_eq!(*receiver.borrow_and_update(), 7);
                })
            }
        }
    };
}

programs!(ours, super);
programs!(tokios, tokio::sync);

fn channels(criterion: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    macro_rules! both {
        ($name:literal, $program:ident) => {
            criterion.bench_function($name, |bencher| {
                bencher.iter_custom(|n| timed(&runtime, move |lane| ours::$program(lane, n)));
            });
            criterion.bench_function(concat!($name, " of tokio"), |bencher| {
                bencher.iter_custom(|n| timed(&runtime, move |lane| tokios::$program(lane, n)));
            });
        };
    }
    both!("mpsc alone", alone);
    both!("mpsc stream", stream);
    both!("mpsc round trip", round_trip);
    both!("mpsc unbounded", unbounded);
    both!("oneshot", once);
    both!("notify", notify);
    both!("notify round trip", notify_round_trip);
    both!("broadcast to two", to_all);
    both!("watch", watched);
}

criterion_group! {
    name = all;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = channels
}
criterion_main!(all);
