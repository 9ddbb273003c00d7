//! `idle`: lanes that have handled one message and wait for more.

use std::time::Instant;

use actors::{Address, Lane, spawn};

use crate::check::{expect_eq, sum_below};
use crate::process::resident_kib;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 1_000_000)?;
    Ok(on_lane(move |lane| measure(lane, n)))
}

async fn measure(mut main: Lane<u64>, n: u64) -> Measured {
    let collector = collector(n, main.address());
    let before = resident_kib();
    let start = Instant::now();
    // Kept, and counted: whoever is to wake such a lane must know it.
    let mut waiting = Vec::with_capacity(n as usize);
    for number in 0..n {
        let lane = spawn(move |lane| forward(lane, collector)).expect("a lane");
        lane.send(number).await.expect("a lane that waits");
        waiting.push(lane);
    }
    let sum = main.recv().await.expect("the collector's sum");
    let measured = Measured::since(start, n);
    let after = resident_kib();
    expect_eq("the sum", sum, sum_below(n));
    expect_eq("the number of lanes that live", waiting.iter().filter(|lane| lane.is_alive()).count() as u64, n);
    measured.with("bytes_per_actor", after.saturating_sub(before) * 1024 / n)
}

/// A lane that has nothing to do but to pass on what it gets.
pub(super) async fn forward(mut lane: Lane<u64>, to: Address<u64>) {
    while let Some(number) = lane.recv().await {
        to.send(number).await.expect("whom to pass it to");
    }
}

/// A lane that adds up the first `n` numbers it gets, and sends the sum.
pub(super) fn collector(n: u64, done: Address<u64>) -> Address<u64> {
    let collector = async move |mut lane: Lane<u64>| {
        let mut sum = 0;
        for _ in 0..n {
            sum += lane.recv().await.expect("a number");
        }
        done.send(sum).await.expect("the main program");
    };
    spawn(collector).expect("a collector")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_: impl FnOnce(Lane<u64>, Address<u64>) -> F) -> usize {
        size_of::<F>()
    }

    /// Futures lie in whole cache lines: with one byte more than a line, each lane that waits takes another 64. A function
    /// keeps its arguments twice, as they came and as its body has them.
    #[test]
    fn a_lane_that_forwards_fits_in_a_cache_line() {
        assert_eq!(size_of_future(forward), 56);
    }
}
