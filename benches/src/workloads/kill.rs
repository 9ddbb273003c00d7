//! `kill`: lanes that wait are killed from outside, and their parent hears of every death.
//!
//! With `locks`, `timers` and `fds` each of them holds so many of these, which its death gives back: `released_per_s` counts
//! them, and the run has failed where one is left. The system's limit on open files bounds `n` times `fds`.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use actors::sync::Mutex;
use actors::{Actor, Address, Context, Down, ExitReason, Handle, Lane, Outcome, Reply, Spawn, sleep, spawn, start};
use net::TcpListener;

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
    /// Spawn so many children that take what they are to hold, send what they are sent to the collector and then wait.
    Spawn(u64, Holds, Address<u64>),
    /// Kill them all; the answer is how many were heard to have been killed.
    Kill(Reply<u64>),
}

impl Actor for Parent {
    type Msg = Order;

    async fn handle(&mut self, order: Order, _: &mut Context<Order>) -> Outcome {
        match order {
            Order::Spawn(n, holds, collector) => {
                for number in 0..n {
                    let spawn = Spawn::new().monitor();
                    let child = if holds.anything() {
                        spawn.spawn(move |lane| hold(holds, lane, collector))?
                    } else {
                        spawn.spawn(move |lane| super::idle::forward(lane, collector))?
                    };
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

/// What each child holds.
#[derive(Clone, Copy)]
struct Holds {
    locks: usize,
    timers: usize,
    fds: usize,
}

impl Holds {
    fn count(self) -> usize {
        self.locks + self.timers + self.fds
    }

    fn anything(self) -> bool {
        self.count() > 0
    }
}

/// Takes what it is to hold and goes on as the others do.
async fn hold(holds: Holds, lane: Lane<u64>, collector: Address<u64>) {
    let mut locks = Vec::with_capacity(holds.locks);
    for _ in 0..holds.locks {
        locks.push(Arc::new(Mutex::new(())).lock_owned().await.expect("a lock that nobody else has"));
    }
    let mut timers = Vec::with_capacity(holds.timers);
    for _ in 0..holds.timers {
        let mut timer = sleep(Duration::from_secs(3600));
        // It stands once it was polled.
        let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut timer).poll(cx))).await;
        timers.push(timer);
    }
    let bind = |_| TcpListener::bind(([127, 0, 0, 1], 0)).expect("a socket; is the limit on open files high enough?");
    let fds: Vec<_> = (0..holds.fds).map(bind).collect();
    super::idle::forward(lane, collector).await;
    drop((locks, timers, fds));
}

/// Children that hold descriptors, unless another number is asked for: some systems allow 1024 open files, and some 20 000.
const WITH_FDS: u64 = 400;

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let holds =
        Holds { locks: keys.number("locks", 0)?, timers: keys.number("timers", 0)?, fds: keys.number("fds", 0)? };
    let n = keys.count("n", if holds.fds == 0 { 100_000 } else { WITH_FDS })?;
    Ok(on_lane(move |lane| measure(lane, n, holds)))
}

async fn measure(mut main: Lane<u64>, n: u64, holds: Holds) -> Measured {
    let parent = start(Parent::default()).await.expect("a parent");
    let before = standing();
    parent.send(Order::Spawn(n, holds, collector(n, main.address()))).await.expect("the parent");
    expect_eq("the sum", main.recv().await, Some(sum_below(n)));

    let start = Instant::now();
    let killed = parent.ask(Order::Kill).no_timeout().await.expect("the parent");
    let measured = Measured::since(start, n);
    expect_eq("the number of lanes killed", killed, n);
    if !holds.anything() {
        return measured;
    }
    let held = n * holds.count() as u64;
    let metrics = Handle::current().expect("a runtime").metrics();
    let released = metrics.locks_released + metrics.timers_released + metrics.descriptors_released;
    expect_eq("what the dead gave back", released, held);
    expect_eq("the timers and descriptors that are left", standing(), before);
    let released_per_s = measured.ops_per_s() * holds.count() as u64;
    measured.with("released_per_s", released_per_s)
}

/// Timers and descriptors that there are.
fn standing() -> u64 {
    let metrics = Handle::current().expect("a runtime").metrics();
    metrics.timers + metrics.descriptors
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
