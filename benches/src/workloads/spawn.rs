//! `spawn`: lanes that live for one message.

use std::time::Instant;

use actors::{Address, Lane};

use crate::check::{expect_eq, sum_below};
use crate::process::resident_kib;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

/// Where the tables should have their final size; beyond that, lanes that come and go must not cost memory.
const SETTLED: u64 = 2_000_000;

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 1_000_000)?;
    let batch = keys.count("batch", 1000)?;
    Ok(on_lane(move |lane| measure(lane, n, batch)))
}

async fn measure(mut main: Lane<u64>, n: u64, batch: u64) -> Measured {
    let parent = main.address();
    let (mut sum, mut spawned) = (0, 0);
    let mut settled = None;
    let start = Instant::now();
    while spawned < n {
        let until = n.min(spawned + batch);
        for number in spawned..until {
            child(parent).send(number).await.expect("a child");
        }
        for _ in spawned..until {
            sum += main.recv().await.expect("a child's reply");
        }
        spawned = until;
        if settled.is_none() && SETTLED <= spawned && spawned < n {
            settled = Some(resident_kib());
        }
    }
    let measured = Measured::since(start, n);
    expect_eq("the sum", sum, sum_below(n));
    match settled {
        Some(kib) => measured.with("rss_at_2m_kib", kib).with("rss_at_end_kib", resident_kib()),
        None => measured,
    }
}

fn child(parent: Address<u64>) -> Address<u64> {
    let child = async move |mut lane: Lane<u64>| {
        let number = lane.recv().await.expect("a message");
        parent.send(number).await.expect("the parent");
    };
    actors::spawn(child).expect("a child")
}
