//! `latency`: how late lanes are that tick a thousand times a second, while others keep the workers busy.
//!
//! The others work in short turns: each spins for `turn_us` and lets others go first. With `stuck=1` one more lane spins
//! for `stuck_ms` in one poll, from a third of the time on (for another third unless told otherwise), and the ticks are
//! told apart by whether they were due before, meanwhile, or after. What waits in the queue of the worker that is held up
//! then is chance: with `tickers` above 1, some of them do in every run. An operation is a tick.
//!
//! Lateness is from the tick's deadline, on the interval's grid, to where the lane goes on; both runtimes' timers go by
//! milliseconds, which is in it. The same program for Tokio is in `tokio_twin`, on the same [`Plan`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actors::{Address, Lane, interval, sleep, spawn, time, yield_now};

use crate::check::expect_eq;
use crate::lateness::Lateness;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

pub(crate) const PERIOD: Duration = Duration::from_millis(1);

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) tickers: u64,
    /// The ticks of each.
    pub(crate) ticks: u64,
    /// How many work.
    pub(crate) lanes: u64,
    pub(crate) turn: Duration,
    pub(crate) stuck: Option<Stuck>,
}

/// When one lane does not let its worker go, counted from the first tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stuck {
    pub(crate) from: Duration,
    pub(crate) length: Duration,
}

impl Plan {
    pub(crate) fn read(keys: &mut Keys) -> Result<Plan, Usage> {
        let secs = keys.count("secs", 5)?;
        let tickers = keys.count("tickers", 1)?;
        let lanes = keys.number("lanes", 64)?;
        let turn = Duration::from_micros(keys.count("turn_us", 50)?);
        let third = secs * 1000 / 3;
        let length = Duration::from_millis(keys.count("stuck_ms", third)?);
        let stuck = match keys.number("stuck", 0)? {
            0 => None,
            1 => Some(Stuck { from: Duration::from_millis(third), length }),
            _ => return Err(Usage::new("stuck is 0 or 1")),
        };
        Ok(Plan { tickers, ticks: secs * 1000, lanes, turn, stuck })
    }
}

/// Ticks, by when they were due.
#[derive(Debug, Default)]
pub(crate) struct Ticks {
    before: Lateness,
    during: Lateness,
    after: Lateness,
}

impl Ticks {
    /// One tick that was due so long after the first.
    pub(crate) fn note(&mut self, plan: &Plan, due: Duration, late: Duration) {
        let phase = match plan.stuck {
            Some(stuck) if stuck.from + stuck.length <= due => &mut self.after,
            Some(stuck) if stuck.from <= due => &mut self.during,
            _ => &mut self.before,
        };
        phase.note(late);
    }

    /// Adds those of another.
    pub(crate) fn join(&mut self, other: Ticks) {
        self.before.join(other.before);
        self.during.join(other.during);
        self.after.join(other.after);
    }

    /// What there is to say, once all has been done.
    pub(crate) fn measured(mut self, plan: &Plan, start: Instant, turns: u64) -> Measured {
        let ticks = plan.tickers * plan.ticks;
        let mut measured = Measured::since(start, ticks).with("turns", turns);
        let counted = self.before.count() + self.during.count() + self.after.count();
        expect_eq("the number of ticks", counted, ticks);
        if plan.stuck.is_some() {
            for (phase, late) in
                [("before", &mut self.before), ("during", &mut self.during), ("after", &mut self.after)]
            {
                let quantiles = late.quantiles();
                measured = measured
                    .with(&format!("{phase}_p50_us"), quantiles.p50)
                    .with(&format!("{phase}_p99_us"), quantiles.p99)
                    .with(&format!("{phase}_max_us"), quantiles.max);
            }
        }
        let mut all = self.before;
        all.join(self.during);
        all.join(self.after);
        let quantiles = all.quantiles();
        measured
            .with("p50_us", quantiles.p50)
            .with("p99_us", quantiles.p99)
            .with("p999_us", quantiles.p999)
            .with("max_us", quantiles.max)
    }
}

/// What busy ones share with the one that ticks.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    over: AtomicBool,
    turns: AtomicU64,
}

impl Busy {
    /// One of them has had so many turns.
    pub(crate) fn add(&self, turns: u64) {
        self.turns.fetch_add(turns, Ordering::Relaxed);
    }

    /// No more work is to be done.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The turns of all that have ended.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

/// Work that cannot be seen through.
pub(crate) fn spin(length: Duration) {
    let start = Instant::now();
    while start.elapsed() < length {
        std::hint::spin_loop();
    }
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let plan = Plan::read(keys)?;
    Ok(on_lane(move |lane| measure(lane, plan)))
}

/// What the main lane is told.
enum Told {
    Ticks(Ticks),
    /// A lane that was busy has ended.
    Over,
}

async fn measure(mut main: Lane<Told>, plan: Plan) -> Measured {
    let busy = Arc::new(Busy::default());
    let start = Instant::now();
    for _ in 0..plan.lanes {
        worker(busy.clone(), plan.turn, main.address());
    }
    for _ in 0..plan.tickers {
        ticker(plan, main.address());
    }
    if let Some(stuck) = plan.stuck {
        let body = async move |_: Lane<()>| {
            sleep(stuck.from).await;
            spin(stuck.length);
        };
        spawn(body).expect("a lane that sticks");
    }
    let mut all = Ticks::default();
    let (mut tickers, mut workers) = (plan.tickers, plan.lanes);
    while tickers > 0 || workers > 0 {
        match main.recv().await.expect("a word from a lane") {
            Told::Over => workers -= 1,
            Told::Ticks(ticks) => {
                all.join(ticks);
                tickers -= 1;
            }
        }
        if tickers == 0 {
            busy.end();
        }
    }
    all.measured(&plan, start, busy.turns())
}

fn worker(busy: Arc<Busy>, turn: Duration, main: Address<Told>) {
    let worker = async move |_: Lane<()>| {
        let mut turns = 0;
        while !busy.is_over() {
            spin(turn);
            turns += 1;
            yield_now().await;
        }
        busy.add(turns);
        main.send(Told::Over).await.expect("the main program");
    };
    spawn(worker).expect("a lane that is busy");
}

fn ticker(plan: Plan, main: Address<Told>) {
    let ticker = async move |_: Lane<()>| {
        let mut interval = interval(PERIOD);
        let mut ticks = Ticks::default();
        let first = interval.tick().await;
        ticks.note(&plan, Duration::ZERO, time::now() - first);
        for _ in 1..plan.ticks {
            let due = interval.tick().await;
            ticks.note(&plan, due - first, time::now() - due);
        }
        main.send(Told::Ticks(ticks)).await.expect("the main program");
    };
    spawn(ticker).expect("a lane that ticks");
}
