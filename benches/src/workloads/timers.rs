//! `timers`: lanes that sleep in place, again and again.

use std::time::Instant;

use actors::{Address, Lane, sleep, spawn};

use crate::check::{expect_eq, wrong};
use crate::process::cpu_time;
use crate::random::Random;
use crate::run::{Keys, Measured, Usage, Work, on_lane, rounded};

/// How late the sleeps of one lane ended, in microseconds each.
type Late = Vec<u32>;

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let actors = keys.count("actors", 100_000)?;
    let each = keys.count("each", 10)?;
    let max_ms = keys.count("max_ms", 1000)?;
    Ok(on_lane(move |lane| measure(lane, actors, each, max_ms)))
}

async fn measure(mut main: Lane<Late>, actors: u64, each: u64, max_ms: u64) -> Measured {
    let sleepers: Vec<_> = (0..actors).map(|seed| sleeper(seed, each, max_ms, main.address())).collect();
    let cpu_before = cpu_time();
    let start = Instant::now();
    for sleeper in sleepers {
        sleeper.send(()).await.expect("a sleeper");
    }
    let mut late = Vec::new();
    for _ in 0..actors {
        late.extend(main.recv().await.expect("a sleeper's report"));
    }
    let measured = Measured::since(start, actors * each);
    let cpu = cpu_time() - cpu_before;
    expect_eq("the number of sleeps", late.len() as u64, actors * each);
    late.sort_unstable();
    let quantile = |part: f64| f64::from(late[((late.len() - 1) as f64 * part) as usize]) / 1000.0;
    measured
        .with("cpu_s", rounded(cpu.as_secs_f64(), 3))
        .with("late_p50_ms", quantile(0.5))
        .with("late_p99_ms", quantile(0.99))
}

fn sleeper(seed: u64, each: u64, max_ms: u64, done: Address<Late>) -> Address<()> {
    let sleeper = async move |mut lane: Lane<()>| {
        let mut random = Random::seeded(seed);
        while lane.recv().await.is_some() {
            let mut late = Vec::with_capacity(each as usize);
            for _ in 0..each {
                let length = random.milliseconds(max_ms);
                let start = Instant::now();
                sleep(length).await;
                let slept = start.elapsed();
                match slept.checked_sub(length) {
                    Some(beyond) => late.push(beyond.as_micros() as u32),
                    None => wrong(format_args!("a sleep of {length:?} ended after {slept:?}")),
                }
            }
            done.send(late).await.expect("the main program");
        }
    };
    spawn(sleeper).expect("a sleeper")
}
