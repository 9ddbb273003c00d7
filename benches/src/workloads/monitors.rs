//! `monitors`: one lane watches others by very many monitors; then the others end, and it hears of each.

use std::time::Instant;

use actors::{Address, Down, ExitReason, Lane, spawn};

use crate::check::{expect_eq, shares};
use crate::process::resident_kib;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 1_000_000)?;
    let targets = keys.count("targets", 1000)?;
    Ok(on_lane(move |lane| measure(lane, n, targets)))
}

/// An operation is a monitor, set and heard of.
async fn measure(mut main: Lane<Down>, n: u64, targets: u64) -> Measured {
    let all: Vec<_> = (0..targets).map(|_| target()).collect();
    let before = resident_kib();
    let start = Instant::now();
    for (target, monitors) in all.iter().zip(shares(n, targets)) {
        for _ in 0..monitors {
            main.monitor(*target, |down| down);
        }
    }
    let set = start.elapsed();
    let after = resident_kib();
    let ending = Instant::now();
    for target in &all {
        target.send(()).await.expect("a target");
    }
    let mut ordinary = 0;
    for _ in 0..n {
        let down = main.recv().await.expect("a notice");
        ordinary += u64::from(down.reason == ExitReason::Normal);
    }
    let notified = ending.elapsed();
    let measured = Measured::since(start, n);
    expect_eq("the number of notices of an ordinary end", ordinary, n);
    expect_eq("whether there is one notice more", main.try_recv().is_some(), false);
    expect_eq("the number of targets that live", all.iter().filter(|target| target.is_alive()).count(), 0);
    let per_s = |took: std::time::Duration| (n as f64 / took.as_secs_f64()).round() as u64;
    measured
        .with("set_per_s", per_s(set))
        .with("notify_per_s", per_s(notified))
        .with("bytes_per_monitor", after.saturating_sub(before) * 1024 / n)
}

/// A lane that ends with the first message.
fn target() -> Address<()> {
    spawn(async |mut lane: Lane<()>| _ = lane.recv().await).expect("a target")
}
