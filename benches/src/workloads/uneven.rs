//! `uneven`: one lane that is sent to all the time, among many that hear something now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actors::{Address, Lane, Reply, sleep, spawn};

use crate::check::{expect_eq, shares, sum_below};
use crate::lateness::Lateness;
use crate::random::Random;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

/// A question to one of the others, or how many it was asked.
enum Call {
    Question(Reply<()>),
    HowMany(Reply<u64>),
}

enum Told {
    /// The sum of what the hot lane was sent.
    Sum(u64),
    /// How long the others took to answer one who asked.
    Answered(Lateness),
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 10_000_000)?;
    let others = keys.count("others", 10_000)?;
    let producers = keys.count("producers", 4)?;
    let askers = keys.count("askers", 16)?;
    Ok(on_lane(move |lane| measure(lane, n, others, producers, askers)))
}

/// An operation is a message of the hot lane.
async fn measure(mut main: Lane<Told>, n: u64, others: u64, producers: u64, askers: u64) -> Measured {
    let all: Arc<[_]> = (0..others).map(|_| other()).collect();
    let over = Arc::new(AtomicBool::new(false));
    let hot = hot(n, main.address());
    let start = Instant::now();
    let mut expected = 0;
    for share in shares(n, producers) {
        expected += sum_below(share);
        let producer = async move |_: Lane<()>| {
            for number in 0..share {
                hot.send(number).await.expect("the hot lane");
            }
        };
        spawn(producer).expect("a producer");
    }
    for seed in 0..askers {
        asker(seed, all.clone(), over.clone(), main.address());
    }
    let mut late = Lateness::default();
    let mut measured = None;
    for _ in 0..askers + 1 {
        match main.recv().await.expect("a report") {
            Told::Sum(sum) => {
                measured = Some(Measured::since(start, n));
                over.store(true, Ordering::Relaxed);
                expect_eq("the sum", sum, expected);
            }
            Told::Answered(of_one) => late.join(of_one),
        }
    }
    let mut asked = 0;
    for other in all.iter() {
        asked += other.ask(Call::HowMany).await.expect("one of the others");
    }
    expect_eq("the number of questions", asked, late.count());
    let measured = measured.expect("a sum, as it was counted");
    let hot_per_s = measured.ops_per_s();
    let quantiles = late.quantiles();
    measured
        .with("hot_per_s", hot_per_s)
        .with("others_asked", asked)
        .with("others_p50_us", quantiles.p50)
        .with("others_p99_us", quantiles.p99)
        .with("others_max_us", quantiles.max)
}

fn hot(n: u64, main: Address<Told>) -> Address<u64> {
    let hot = async move |mut lane: Lane<u64>| {
        let mut sum = 0;
        for _ in 0..n {
            sum += lane.recv().await.expect("a number");
        }
        main.send(Told::Sum(sum)).await.expect("the main program");
    };
    spawn(hot).expect("the hot lane")
}

fn other() -> Address<Call> {
    let other = async |mut lane: Lane<Call>| {
        let mut asked = 0;
        while let Some(call) = lane.recv().await {
            match call {
                Call::Question(reply) => {
                    asked += 1;
                    reply.send(()).expect("who asked");
                }
                Call::HowMany(reply) => reply.send(asked).expect("the main program"),
            }
        }
    };
    spawn(other).expect("one of the others")
}

fn asker(seed: u64, all: Arc<[Address<Call>]>, over: Arc<AtomicBool>, main: Address<Told>) {
    let asker = async move |_: Lane<()>| {
        let mut random = Random::seeded(seed);
        let mut answered = Lateness::default();
        while !over.load(Ordering::Relaxed) {
            let whom = all[random.below(all.len() as u64) as usize];
            let start = Instant::now();
            whom.ask(Call::Question).await.expect("an answer");
            answered.note(start.elapsed());
            sleep(Duration::from_millis(1)).await;
        }
        main.send(Told::Answered(answered)).await.expect("the main program");
    };
    spawn(asker).expect("an asker");
}
