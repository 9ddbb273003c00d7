//! Dining philosophers on green locks, who all reach for their left fork first.
//!
//! The first course shows what becomes of that: all hold one fork and wait for the next, and the one who closes the ring
//! is told so, with the whole chain, puts its fork down and lets the others eat. In the second course philosophers are
//! killed with forks in their hands, for ten seconds or as long as `--for SECONDS` says: their supervisor starts them
//! again, and the forks come back, each with the word that its holder died. Ends with an error if somebody has not eaten,
//! or a fork is not back.
//!
//! ```sh
//! cargo run --release --example philosophers -- --for 10
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use laneway::prelude::*;
use laneway::supervisor::Chaos;
use laneway::sync::{Barrier, LockError, Mutex, MutexGuard};
use laneway::yield_now;

const SEATS: usize = 5;
const NAMES: [&str; SEATS] = ["Aristotle", "Hypatia", "Kant", "Arendt", "Spinoza"];

/// What one eats with: how often it was used, and whether somebody is at it.
#[derive(Default)]
struct Fork {
    used: u64,
    in_use: bool,
}

#[derive(Default)]
struct Table {
    forks: [Mutex<Fork>; SEATS],
    meals: [AtomicU64; SEATS],
    deadlocks: AtomicU64,
    /// Forks that were got from one who had died.
    inherited: AtomicU64,
}

/// Why a philosopher did not get its forks.
enum NoForks {
    Deadlock(String),
    /// As only a leaked guard could cause.
    Lost(String),
}

impl Table {
    fn left(&self, seat: usize) -> &Mutex<Fork> {
        &self.forks[seat]
    }

    fn right(&self, seat: usize) -> &Mutex<Fork> {
        &self.forks[(seat + 1) % SEATS]
    }

    /// Takes one fork, whatever its last holder left it like.
    #[track_caller]
    fn take<'a>(&'a self, fork: &'a Mutex<Fork>) -> impl Future<Output = Result<MutexGuard<'a, Fork>, NoForks>> {
        // Asked for here, so that what is told of it names the caller's line.
        let fork = fork.lock();
        async {
            match fork.await {
                Ok(fork) => Ok(fork),
                Err(LockError::OwnerDied(mut died)) => {
                    self.inherited.fetch_add(1, Ordering::Relaxed);
                    died.get_mut().in_use = false;
                    Ok(died.recover())
                }
                Err(LockError::Deadlock(deadlock)) => {
                    self.deadlocks.fetch_add(1, Ordering::Relaxed);
                    Err(NoForks::Deadlock(deadlock.to_string()))
                }
                Err(other) => Err(NoForks::Lost(other.to_string())),
            }
        }
    }

    /// Eats with two forks for some turns.
    async fn eat(&self, seat: usize, mut forks: [MutexGuard<'_, Fork>; 2]) {
        for fork in &mut forks {
            assert!(!fork.in_use, "two eat with one fork");
            fork.in_use = true;
            fork.used += 1;
        }
        for _ in 0..3 {
            yield_now().await;
        }
        for fork in &mut forks {
            fork.in_use = false;
        }
        self.meals[seat].fetch_add(1, Ordering::Relaxed);
    }

    fn meals(&self) -> [u64; SEATS] {
        self.meals.each_ref().map(|meals| meals.load(Ordering::Relaxed))
    }

    /// The lanes that hold a fork now.
    fn holders(&self) -> Vec<Id> {
        self.forks.iter().filter_map(|fork| fork.holder()?.lane).collect()
    }
}

/// The first course: everybody takes the left fork before anybody takes the right one.
async fn first_course(table: Arc<Table>) -> Result<(), Box<dyn Error>> {
    let all_have_one = Arc::new(Barrier::new(SEATS));
    let mut philosophers = Vec::new();
    for (seat, name) in NAMES.into_iter().enumerate() {
        let (table, all_have_one) = (table.clone(), all_have_one.clone());
        let body = async move |_: Lane<()>| {
            let Ok(mut left) = table.take(table.left(seat)).await else { return ExitReason::error("no left fork") };
            all_have_one.wait().await;
            loop {
                match table.take(table.right(seat)).await {
                    Ok(right) => {
                        table.eat(seat, [left, right]).await;
                        return ExitReason::Normal;
                    }
                    Err(NoForks::Deadlock(chain)) => {
                        println!("{name} is told: {}", chain.replace("; ", "\n    "));
                        drop(left);
                        left = match table.take(table.left(seat)).await {
                            Ok(left) => left,
                            Err(_) => return ExitReason::error("no left fork any more"),
                        };
                    }
                    Err(NoForks::Lost(why)) => return ExitReason::error(why),
                }
            }
        };
        philosophers.push(Spawn::new().name(name).spawn(body)?);
    }
    for philosopher in philosophers {
        laneway::join(philosopher.id()).await;
    }
    println!(
        "after the first course: meals {:?}, deadlocks {}",
        table.meals(),
        table.deadlocks.load(Ordering::Relaxed)
    );
    if table.meals() != [1; SEATS] || table.deadlocks.load(Ordering::Relaxed) == 0 {
        return Err("five meals and a deadlock were due".into());
    }
    Ok(())
}

/// A philosopher of the second course, who eats until it is killed or asked to go.
async fn dine(table: Arc<Table>, seat: usize, mut lane: Lane<()>) -> ExitReason {
    loop {
        let forks = async {
            let left = table.take(table.left(seat)).await?;
            yield_now().await;
            Ok([left, table.take(table.right(seat)).await?])
        };
        match forks.await {
            Ok(forks) => table.eat(seat, forks).await,
            // The left fork is back on the table by now.
            Err(NoForks::Deadlock(_)) => {}
            Err(NoForks::Lost(why)) => return ExitReason::error(why),
        }
        if let Ok(None) = timeout(Duration::from_millis(1), lane.recv()).await {
            return ExitReason::Normal;
        }
    }
}

async fn second_course(table: Arc<Table>, length: Duration) -> Result<(), Box<dyn Error>> {
    let mut seats = Supervisor::builder("table").intensity(1_000_000, Duration::from_secs(1));
    for (seat, name) in NAMES.into_iter().enumerate() {
        let table = table.clone();
        let start = move || {
            let table = table.clone();
            async move |lane: Lane<()>| dine(table, seat, lane).await
        };
        seats = seats.child(ChildSpec::lane(name, start));
    }
    let supervisor = seats.start().await?;
    let held = table.clone();
    let chaos = Chaos::builder().rate(200.0).targets(move || held.holders()).start()?;
    let mut before = table.meals();
    // Somebody who does not eat any more shows in each part.
    for _ in 0..4 {
        sleep(length / 4).await;
        let now = table.meals();
        println!("meals: {now:?}");
        if before.iter().zip(now).any(|(before, now)| now <= *before) {
            return Err("somebody has not eaten".into());
        }
        before = now;
    }
    let report = chaos.stop().await?;
    supervisor.shutdown().await;
    let inherited = table.inherited.load(Ordering::Relaxed);
    let deadlocks = table.deadlocks.load(Ordering::Relaxed);
    println!("killed with a fork in hand {}, forks inherited {inherited}, deadlocks broken {deadlocks}", report.kills);
    let not_back = table.forks.iter().filter(|fork| fork.holder().is_some() || fork.waiting() > 0).count();
    if not_back > 0 || inherited == 0 {
        return Err(format!("forks that are not back: {not_back}").into());
    }
    println!("all forks are back");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let length = match arguments.iter().position(|argument| argument == "--for") {
        Some(at) => arguments.get(at + 1).ok_or("--for needs seconds")?.parse()?,
        None => 10,
    };
    let runtime = Runtime::builder().workers(2).build()?;
    let table = Arc::new(Table::default());
    runtime.block_on(async {
        first_course(table.clone()).await?;
        second_course(table.clone(), Duration::from_secs(length)).await
    })?;
    let report = runtime.shutdown(Duration::from_secs(5));
    if report.is_clean() { Ok(()) } else { Err(format!("lanes were left behind: {:?}", report.late).into()) }
}
