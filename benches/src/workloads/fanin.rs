//! `fanin`: many producers, one consumer.

use std::time::Instant;

use actors::{Address, Lane, spawn};

use crate::check::{expect_eq, shares, sum_below};
use crate::run::{Keys, Measured, Usage, Work, on_lane};

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let producers = keys.count("producers", 8)?;
    let n = keys.count("n", 4_000_000)?;
    Ok(on_lane(move |lane| measure(lane, producers, n)))
}

async fn measure(mut main: Lane<u64>, producers: u64, n: u64) -> Measured {
    let consumer = super::idle::collector(n, main.address());
    let start = Instant::now();
    let mut expected = 0;
    for share in shares(n, producers) {
        expected += sum_below(share);
        produce(consumer, share);
    }
    let sum = main.recv().await.expect("the consumer's sum");
    let measured = Measured::since(start, n);
    expect_eq("the sum", sum, expected);
    measured
}

fn produce(consumer: Address<u64>, share: u64) {
    let producer = async move |_: Lane<()>| {
        for number in 0..share {
            consumer.send(number).await.expect("the consumer");
        }
    };
    spawn(producer).expect("a producer");
}
