//! `kill`: lanes that wait are killed from outside, and their parent hears of every death.

use std::time::Instant;

use actors::{Actor, Address, Context, Down, ExitReason, Lane, Outcome, Reply, Spawn, spawn, start};

use crate::check::{expect_eq, sum_below};
use crate::run::{Keys, Measured, Usage, Work, on_lane};

/// The parent of all, told of each death by a monitor.
#[derive(Default)]
struct Parent {
    children: Vec<Address<u64>>,
    killed: u64,
    done: Option<Reply<u64>>,
}

enum Order {
    /// Spawn so many children that send what they are sent to the collector and then wait.
    Spawn(u64, Address<u64>),
    /// Kill them all; the answer is how many were heard to have been killed.
    Kill(Reply<u64>),
}

impl Actor for Parent {
    type Msg = Order;

    async fn handle(&mut self, order: Order, _: &mut Context<Order>) -> Outcome {
        match order {
            Order::Spawn(n, collector) => {
                for number in 0..n {
                    let body = move |lane| super::idle::forward(lane, collector);
                    let child = Spawn::new().monitor().spawn(body)?;
                    child.send(number).await?;
                    self.children.push(child);
                }
            }
            Order::Kill(done) => {
                self.done = Some(done);
                for child in &self.children {
                    child.kill();
                }
            }
        }
        Ok(())
    }

    async fn down(&mut self, down: Down, _: &mut Context<Order>) -> Outcome {
        if down.reason == ExitReason::Killed {
            self.killed += 1;
        }
        if self.killed == self.children.len() as u64
            && let Some(done) = self.done.take()
        {
            // The main lane waits for it without a limit.
            let _ = done.send(self.killed);
        }
        Ok(())
    }
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 100_000)?;
    Ok(on_lane(move |lane| measure(lane, n)))
}

async fn measure(mut main: Lane<u64>, n: u64) -> Measured {
    let parent = start(Parent::default()).await.expect("a parent");
    parent.send(Order::Spawn(n, collector(n, main.address()))).await.expect("the parent");
    expect_eq("the sum", main.recv().await, Some(sum_below(n)));

    let start = Instant::now();
    let killed = parent.ask(Order::Kill).no_timeout().await.expect("the parent");
    let measured = Measured::since(start, n);
    expect_eq("the number of lanes killed", killed, n);
    measured
}

/// Sums what the children forward, so that all of them are known to wait.
fn collector(n: u64, done: Address<u64>) -> Address<u64> {
    let collector = async move |mut lane: Lane<u64>| {
        let mut sum = 0;
        for _ in 0..n {
            sum += lane.recv().await.expect("a number");
        }
        done.send(sum).await.expect("the main lane");
    };
    spawn(collector).expect("a collector")
}
