//! `lock`: lanes that take one mutex again and again. An operation is one taking.
//!
//! With `lanes=1` nobody is in the way; then as many takings of a `parking_lot::Mutex` are timed in the same lane, and
//! compared. With more lanes and `yields` above 0 each lets others run so often while it has the lock, so that all of them
//! stand in line and each taking is a hand-over; with `yields=0` they meet only where there are several workers. The same
//! program for Tokio is in `tokio_twin`, on the same [`Plan`].

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use actors::sync::Mutex;
use actors::{Lane, spawn, yield_now};

use crate::check::{expect_eq, shares};
use crate::run::{Keys, Measured, Usage, Work, on_lane, rounded};

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) lanes: u64,
    pub(crate) n: u64,
    pub(crate) yields: u64,
}

impl Plan {
    pub(crate) fn read(keys: &mut Keys) -> Result<Plan, Usage> {
        let lanes = keys.count("lanes", 8)?;
        let n = keys.count("n", 1_000_000)?;
        Ok(Plan { lanes, n, yields: keys.number("yields", 1)? })
    }

    /// All is done, and counted.
    pub(crate) fn measured(self, start: Instant, counted: u64) -> Measured {
        let measured = Measured::since(start, self.n);
        expect_eq("what was counted under the lock", counted, self.n);
        measured.with("lanes", self.lanes).with("yields", self.yields)
    }
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let plan = Plan::read(keys)?;
    Ok(on_lane(move |lane| measure(lane, plan)))
}

async fn measure(mut main: Lane<()>, plan: Plan) -> Measured {
    let mutex = Arc::new(Mutex::new(0));
    let to = main.address();
    let start = Instant::now();
    for share in shares(plan.n, plan.lanes) {
        let mutex = mutex.clone();
        let body = async move |_: Lane<()>| {
            for _ in 0..share {
                let mut count = mutex.lock().await.expect("nobody dies");
                *count += 1;
                for _ in 0..plan.yields {
                    yield_now().await;
                }
            }
            to.send(()).await.expect("the main program");
        };
        spawn(body).expect("a lane");
    }
    for _ in 0..plan.lanes {
        main.recv().await.expect("a lane that is done");
    }
    let counted = *mutex.lock().await.expect("nobody dies");
    let measured = plan.measured(start, counted);
    if plan.lanes == 1 && plan.yields == 0 { compared(measured, plan.n) } else { measured }
}

/// Says how it compares with a lock that blocks its thread.
fn compared(measured: Measured, n: u64) -> Measured {
    let mutex = parking_lot::Mutex::new(0);
    let start = Instant::now();
    for _ in 0..n {
        *black_box(&mutex).lock() += 1;
    }
    let theirs = start.elapsed().as_secs_f64() / n as f64;
    expect_eq("what was counted under the other lock", mutex.into_inner(), n);
    let ours = 1.0 / measured.ops_per_s() as f64;
    measured
        .with("ns", rounded(ours * 1e9, 2))
        .with("parking_lot_ns", rounded(theirs * 1e9, 2))
        .with("times_parking_lot", rounded(ours / theirs, 2))
}
