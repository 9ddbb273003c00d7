//! `pingpong` and `pairs`: two lanes with one message between them; one such pair, or many at once.

use std::time::Instant;

use actors::{Address, Lane, spawn};

use crate::check::expect_eq;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

struct Ping {
    count: u64,
    from: Address<u64>,
}

/// One pair: `pingpong`.
pub(super) fn one(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 1_000_000)?;
    Ok(on_lane(move |lane| measure(lane, 1, n)))
}

/// Many pairs: `pairs`.
pub(super) fn many(keys: &mut Keys) -> Result<Work, Usage> {
    let pairs = keys.count("pairs", 1000)?;
    let n = keys.count("n", 1000)?;
    Ok(on_lane(move |lane| measure(lane, pairs, n)))
}

async fn measure(mut main: Lane<u64>, pairs: u64, n: u64) -> Measured {
    let done = main.address();
    let pingers: Vec<_> = (0..pairs).map(|_| pinger(ponger(), n, done)).collect();
    let start = Instant::now();
    for pinger in pingers {
        pinger.send(0).await.expect("a pinger");
    }
    let mut pongs = 0;
    for _ in 0..pairs {
        pongs += main.recv().await.expect("a pinger's last pong");
    }
    let measured = Measured::since(start, pongs);
    expect_eq("the number of pongs", pongs, pairs * n);
    measured
}

/// A pong is the count of its ping plus one, so that the last one proves how many there were.
fn ponger() -> Address<Ping> {
    let ponger = async |mut lane: Lane<Ping>| {
        while let Some(Ping { count, from }) = lane.recv().await {
            from.send(count + 1).await.expect("the pinger");
        }
    };
    spawn(ponger).expect("a ponger")
}

fn pinger(ponger: Address<Ping>, n: u64, done: Address<u64>) -> Address<u64> {
    let pinger = async move |mut lane: Lane<u64>| {
        let from = lane.address();
        while let Some(count) = lane.recv().await {
            if count < n {
                ponger.send(Ping { count, from }).await.expect("the ponger");
            } else {
                done.send(count).await.expect("the main program");
            }
        }
    };
    spawn(pinger).expect("a pinger")
}
