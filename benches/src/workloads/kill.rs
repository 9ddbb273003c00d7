//! `kill`: lanes that wait are killed from outside, and their parent hears of every death.

use std::time::Instant;

use actors::{Address, Down, ExitReason, Lane, Spawn, spawn};

use crate::check::{expect_eq, sum_below};
use crate::run::{Keys, Measured, Usage, Work, on_lane};

enum Message {
    /// All children wait; the sum of what they were sent.
    Ready(u64),
    Died(Down),
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 100_000)?;
    Ok(on_lane(move |lane| measure(lane, n)))
}

async fn measure(mut parent: Lane<Message>, n: u64) -> Measured {
    let collector = collector(n, parent.address());
    let mut children = Vec::with_capacity(n as usize);
    for number in 0..n {
        let body = async move |lane| super::idle::forward(lane, collector).await;
        let (child, monitor) = Spawn::new().monitor().spawn_monitored(body).expect("a child");
        parent.on_down(monitor.expect("the monitor asked for"), Message::Died);
        child.send(number).await.expect("a child that waits");
        children.push(child);
    }
    let Some(Message::Ready(sum)) = parent.recv().await else { panic!("a child died before it was killed") };
    expect_eq("the sum", sum, sum_below(n));

    let start = Instant::now();
    for child in children {
        child.kill();
    }
    let mut killed = 0;
    for _ in 0..n {
        if let Some(Message::Died(Down { reason: ExitReason::Killed, .. })) = parent.recv().await {
            killed += 1;
        }
    }
    let measured = Measured::since(start, n);
    expect_eq("the number of lanes killed", killed, n);
    measured
}

fn collector(n: u64, done: Address<Message>) -> Address<u64> {
    let collector = async move |mut lane: Lane<u64>| {
        let mut sum = 0;
        for _ in 0..n {
            sum += lane.recv().await.expect("a number");
        }
        done.send(Message::Ready(sum)).await.expect("the parent");
    };
    spawn(collector).expect("a collector")
}
