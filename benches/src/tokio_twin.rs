//! The same programs on Tokio, for comparison on the same machine and by the same clock.
//!
//! Owns: [`run`] and what it does on Tokio. What is measured, and how it is told, is the workload's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::{interval, sleep};

use crate::check::shares;
use crate::run::{Keys, Measured, Peer, Usage};
use crate::workloads::latency::{Busy, PERIOD, Plan, Ticks, spin};
use crate::workloads::lock;

/// Reads `WORKLOAD [key=value ...]`, does the work and prints the result line.
pub(crate) fn run(mut words: impl Iterator<Item = String>) -> Result<(), Usage> {
    let workload = words.next().ok_or_else(|| Usage::new("which workload?"))?;
    let mut keys = Keys::new(words)?;
    let plan = match &*workload {
        "latency" => Twin::Latency(Plan::read(&mut keys)?),
        "lock" => Twin::Lock(lock::Plan::read(&mut keys)?),
        _ => return Err(Usage::new(format_args!("unknown workload {workload}"))),
    };
    keys.end()?;
    if keys.workers == 0 || keys.drivers != 1 {
        return Err(Usage::new("here are one or more workers, and one driver"));
    }
    let runtime = Builder::new_multi_thread().worker_threads(keys.workers).enable_time().build();
    let runtime = runtime.map_err(|error| Usage::new(format_args!("no runtime: {error}")))?;
    // The main program is a task as well, so that no thread but the workers takes part.
    let work = async {
        match plan {
            Twin::Latency(plan) => tokio::spawn(latency(plan)).await,
            Twin::Lock(plan) => tokio::spawn(locks(plan)).await,
        }
    };
    let measured = runtime.block_on(work).expect("a result");
    println!("{}", measured.line(peer(), &workload, keys.workers));
    Ok(())
}

/// What there is to be done.
enum Twin {
    Latency(Plan),
    Lock(lock::Plan),
}

async fn locks(plan: lock::Plan) -> Measured {
    let mutex = Arc::new(Mutex::new(0));
    let start = Instant::now();
    let tasks = shares(plan.n, plan.lanes).map(|share| {
        let mutex = mutex.clone();
        tokio::spawn(async move {
            for _ in 0..share {
                let mut count = mutex.lock().await;
                *count += 1;
                for _ in 0..plan.yields {
                    yield_now().await;
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task that counts");
    }
    let counted = *mutex.lock().await;
    plan.measured(start, counted)
}

async fn latency(plan: Plan) -> Measured {
    let busy = Arc::new(Busy::default());
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..plan.lanes {
        let busy = busy.clone();
        tasks.push(tokio::spawn(async move {
            let mut turns = 0;
            while !busy.is_over() {
                spin(plan.turn);
                turns += 1;
                yield_now().await;
            }
            busy.add(turns);
        }));
    }
    let tickers: Vec<_> = (0..plan.tickers).map(|_| tokio::spawn(tick(plan))).collect();
    if let Some(stuck) = plan.stuck {
        tokio::spawn(async move {
            sleep(stuck.from).await;
            spin(stuck.length);
        });
    }
    let mut all = Ticks::default();
    for ticker in tickers {
        all.join(ticker.await.expect("a task that ticks"));
    }
    busy.end();
    for task in tasks {
        task.await.expect("a task that was busy");
    }
    all.measured(&plan, start, busy.turns())
}

async fn tick(plan: Plan) -> Ticks {
    let mut interval = interval(PERIOD);
    let mut ticks = Ticks::default();
    let first = interval.tick().await;
    ticks.note(&plan, Duration::ZERO, first.elapsed());
    for _ in 1..plan.ticks {
        let due = interval.tick().await;
        ticks.note(&plan, due - first, due.elapsed());
    }
    ticks
}

/// Tokio, in the version that the lock file names.
fn peer() -> Peer {
    let lock = include_str!("../../Cargo.lock");
    let package = lock.split("[[package]]").find(|package| package.contains("\nname = \"tokio\"\n"));
    let version = package.and_then(|package| package.split("version = \"").nth(1)?.split('"').next());
    ("tokio", version.unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_the_lock_file() {
        let (name, version) = peer();
        assert_eq!(name, "tokio");
        assert!(version.starts_with("1."), "{version}");
    }

    #[test]
    fn what_is_unknown_is_refused() {
        let refused = |line: &str| run(line.split(' ').map(str::to_owned)).is_err();
        assert!(refused("pingpong") && refused("latency n=1") && refused("latency workers=0"));
        assert!(refused("lock lanes=0") && refused("lock actors=2"));
        assert!(refused("latency stuck=2"));
    }
}
