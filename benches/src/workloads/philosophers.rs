//! `philosophers`: lanes around a table that eat with the two forks beside them, which are mutexes. An operation is a meal.
//!
//! All reach for the fork at their left first, which ends in a deadlock sooner or later; whoever is told of one puts its fork
//! down and begins again, and `deadlocks` counts them. With `ordered=1` the last of them reaches for its right one first,
//! so that there is none. `yields` is how often a philosopher lets others run between its forks, and as often while it eats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actors::sync::{LockError, Mutex};
use actors::{Lane, spawn, yield_now};

use crate::check::{expect_eq, shares};
use crate::run::{Keys, Measured, Usage, Work, on_lane};

/// What is to be done.
#[derive(Clone, Copy)]
struct Plan {
    seats: u64,
    n: u64,
    yields: u64,
    ordered: bool,
}

/// How often each fork was used, and how often somebody was told of a deadlock.
struct Table {
    forks: Vec<Mutex<u64>>,
    deadlocks: AtomicU64,
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let seats = keys.count("seats", 5)?;
    let n = keys.count("n", 200_000)?;
    let plan = Plan { seats, n, yields: keys.number("yields", 1)?, ordered: keys.number::<u8>("ordered", 0)? != 0 };
    if seats < 2 {
        return Err(Usage::new("two seats are the least for which there are two forks"));
    }
    Ok(on_lane(move |lane| measure(lane, plan)))
}

async fn measure(mut main: Lane<()>, plan: Plan) -> Measured {
    let forks = (0..plan.seats).map(|_| Mutex::new(0)).collect();
    let table = Arc::new(Table { forks, deadlocks: AtomicU64::new(0) });
    let to = main.address();
    let start = Instant::now();
    for (seat, share) in shares(plan.n, plan.seats).enumerate() {
        let table = table.clone();
        let body = async move |_: Lane<()>| {
            for _ in 0..share {
                while !eat(&table, seat, plan).await {
                    table.deadlocks.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            }
            to.send(()).await.expect("the main program");
        };
        spawn(body).expect("a philosopher");
    }
    for _ in 0..plan.seats {
        main.recv().await.expect("a philosopher that is done");
    }
    let measured = Measured::since(start, plan.n);
    let mut used = 0;
    for fork in &table.forks {
        used += *fork.lock().await.expect("nobody dies");
    }
    expect_eq("how often forks were used", used, 2 * plan.n);
    let deadlocks = table.deadlocks.load(Ordering::Relaxed);
    if plan.ordered {
        expect_eq("deadlocks", deadlocks, 0);
    }
    measured.with("seats", plan.seats).with("deadlocks", deadlocks)
}

/// Eats once; false where that would have been a deadlock.
async fn eat(table: &Table, seat: usize, plan: Plan) -> bool {
    let (left, right) = (&table.forks[seat], &table.forks[(seat + 1) % table.forks.len()]);
    let last = seat + 1 == table.forks.len();
    let (first, second) = if plan.ordered && last { (right, left) } else { (left, right) };
    let mut first = match first.lock().await {
        Ok(fork) => fork,
        Err(LockError::Deadlock(_)) => return false,
        Err(error) => panic!("nobody dies: {error}"),
    };
    rest(plan.yields).await;
    let mut second = match second.lock().await {
        Ok(fork) => fork,
        Err(LockError::Deadlock(_)) => return false,
        Err(error) => panic!("nobody dies: {error}"),
    };
    rest(plan.yields).await;
    *first += 1;
    *second += 1;
    true
}

async fn rest(yields: u64) {
    for _ in 0..yields {
        yield_now().await;
    }
}
