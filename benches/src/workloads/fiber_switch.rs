//! `fiber_switch`: what it costs to go from one fiber to another, where fibers have stacks worth the name: by default 10 000
//! of them, 16 to 30 frames deep, each with 2 to 16 KiB of live frames. An operation is one switch.
//!
//! The same fibers in four ways, in one run and in turns, so that what else the machine does meets all of them:
//!
//! - `lanes`: a lane each, whose future has the frames nested in it; each fiber wakes the next one by its waker;
//! - `futures`: the same futures without a runtime, polled in a loop: what lanes pay for their frames alone;
//! - `coroutines`: a stack of its own each (corosensei), resumed in a loop, so without a scheduler as well;
//! - `copies`: one stack for all, from which the live part of who stops is copied to a block of its own, and that of who
//!   goes on back (`copies` says what of that is modelled).
//!
//! In its turn a fiber reads and writes some words of its two top frames. *Warm* are the turns of `few` fibers, round and
//! round. *Cold* are `cold` turns of each fiber, in an order that has nothing to do with where they lie, `batch` fibers after
//! each walk through memory that no cache holds (`flush_mib`); the walk is not in the time. The larger a batch, the less the
//! code and what the runtime always has at hand are cold as well. The times are medians of batches, in nanoseconds a switch. In the end each fiber
//! says what is in all its frames, and that must be what a plain replay of its turns gives.

mod copies;
mod coroutines;
mod frames;
mod futures;
mod lanes;
mod shape;
mod traffic;

use std::ops::Range;
use std::time::{Duration, Instant};

use actors::Runtime;
use serde_json::{Value, json};

use self::copies::Copies;
use self::coroutines::Coroutines;
use self::futures::Futures;
use self::lanes::Lanes;
use self::shape::Shape;
use self::traffic::Traffic;
use crate::check::expect_eq;
use crate::process::resident_kib;
use crate::random::Random;
use crate::run::{Keys, Measured, Usage, Work, rounded};

/// Turns in a batch of warm ones.
const WARM_BATCH: usize = 1000;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
struct Plan {
    fibers: usize,
    few: usize,
    warm: usize,
    cold: usize,
    batch: usize,
    rounds: usize,
    flush_mib: usize,
    seed: u64,
}

/// All fibers in one of the ways. They are known by their *places*: the order in which they have their turns.
trait Fibers {
    /// Gives turns to those in `places`, one after the other and round and round, and says how long that took. Before it
    /// the caches are flushed, if so told.
    fn switch(&mut self, places: Range<usize>, turns: usize, flush: bool) -> Duration;

    /// Ends all, and says by place what was in their frames.
    fn end(self: Box<Self>) -> Vec<u64>;
}

/// One of the ways, and what was seen of it.
struct Contestant<'a> {
    name: &'static str,
    fibers: Box<dyn Fibers + 'a>,
    bytes: u64,
    /// Turns had, by place.
    turns: Vec<u64>,
    warm: Vec<f64>,
    cold: Vec<f64>,
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    keys.only_one_worker()?;
    let mut size = |key, default| keys.count(key, default).map(|count| count as usize);
    let plan = Plan {
        fibers: size("n", 10_000)?,
        few: size("few", 8)?,
        warm: size("warm", 400_000)?,
        cold: size("cold", 1)?,
        batch: size("batch", 16)?,
        rounds: size("rounds", 10)?,
        flush_mib: size("flush_mib", 64)?,
        seed: keys.number("seed", 1)?,
    };
    if plan.few > plan.fibers {
        return Err(Usage::new("few must not be more than n"));
    }
    Ok(Box::new(move |runtime| Some(measure(runtime, plan))))
}

fn measure(runtime: &Runtime, plan: Plan) -> Measured {
    let mut random = Random::seeded(plan.seed);
    let shapes: Vec<Shape> = (0..plan.fibers).map(|number| Shape::drawn(number as u64, &mut random)).collect();
    let mut order: Vec<usize> = (0..plan.fibers).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last as u64 + 1) as usize);
    }
    let mut all = [
        Contestant::new("lanes", plan, |traffic| Box::new(Lanes::new(runtime, &shapes, &order, traffic))),
        Contestant::new("futures", plan, |traffic| Box::new(Futures::new(&shapes, &order, traffic))),
        Contestant::new("coroutines", plan, |traffic| Box::new(Coroutines::new(&shapes, &order, traffic))),
        Contestant::new("copies", plan, |traffic| Box::new(Copies::new(&shapes, &order, traffic))),
    ];
    let start = Instant::now();
    for round in 0..plan.rounds {
        // Whoever begins has the others' leavings in the caches: each in its turn.
        let ways = all.len();
        for step in 0..ways {
            all[(round + step) % ways].be_warm(plan);
        }
        for step in 0..ways {
            all[(round + step) % ways].be_cold(plan, round);
        }
    }
    let turns = all.iter().flat_map(|one| &one.turns).sum();
    let mut measured = Measured::since(start, turns);
    let live = shapes.iter().map(|shape| shape.live_bytes() as u64).sum::<u64>() / plan.fibers as u64;
    measured = measured.with("fibers", plan.fibers).with("live_bytes", live);
    let medians = all.each_mut().map(|one| (quantile(&mut one.warm, 50), quantile(&mut one.cold, 50)));
    let [lanes, ..] = medians;
    for ((warm, cold), one) in medians.into_iter().zip(all) {
        let name = one.name;
        let said = one.said(warm / lanes.0, cold / lanes.1, &shapes, &order);
        measured = measured.with(name, said);
    }
    measured
}

impl<'a> Contestant<'a> {
    fn new(name: &'static str, plan: Plan, make: impl FnOnce(Traffic) -> Box<dyn Fibers + 'a>) -> Contestant<'a> {
        let traffic = Traffic::new(plan.flush_mib);
        let before = resident_kib();
        let mut fibers = make(traffic);
        // The first turn of each, by which all that it will ever touch is there.
        fibers.switch(0..plan.fibers, plan.fibers, false);
        let bytes = resident_kib().saturating_sub(before) * 1024 / plan.fibers as u64;
        Contestant { name, fibers, bytes, turns: vec![1; plan.fibers], warm: Vec::new(), cold: Vec::new() }
    }

    /// A round's share of warm turns, after some that do not count.
    fn be_warm(&mut self, plan: Plan) {
        self.switch(0..plan.few, WARM_BATCH, false);
        for _ in 0..plan.warm.div_ceil(plan.rounds * WARM_BATCH) {
            let took = self.switch(0..plan.few, WARM_BATCH, false);
            self.warm.push(took);
        }
    }

    /// A round's share of the fibers, cold.
    fn be_cold(&mut self, plan: Plan, round: usize) {
        let share = plan.fibers * round / plan.rounds..plan.fibers * (round + 1) / plan.rounds;
        let starts = || share.clone().step_by(plan.batch);
        for first in (0..plan.cold).flat_map(|_| starts()) {
            let batch = first..share.end.min(first + plan.batch);
            let took = self.switch(batch.clone(), batch.len(), true);
            self.cold.push(took);
        }
    }

    /// Nanoseconds a turn.
    fn switch(&mut self, places: Range<usize>, turns: usize, flush: bool) -> f64 {
        let took = self.fibers.switch(places.clone(), turns, flush);
        for place in places.cycle().take(turns) {
            self.turns[place] += 1;
        }
        took.as_nanos() as f64 / turns as f64
    }

    /// What is reported, once each fiber's frames have been found right.
    fn said(mut self, of_warm: f64, of_cold: f64, shapes: &[Shape], order: &[usize]) -> Value {
        let digests = self.fibers.end();
        for ((&fiber, turns), digest) in order.iter().zip(self.turns).zip(digests) {
            let what = format!("what is in the frames of fiber {fiber} of the {}", self.name);
            expect_eq(&what, digest, shapes[fiber].replayed(turns));
        }
        json!({
            "warm_ns": rounded(quantile(&mut self.warm, 50), 1),
            "warm_p90_ns": rounded(quantile(&mut self.warm, 90), 1),
            "cold_ns": rounded(quantile(&mut self.cold, 50), 1),
            "cold_p90_ns": rounded(quantile(&mut self.cold, 90), 1),
            "warm_times_lanes": rounded(of_warm, 3),
            "cold_times_lanes": rounded(of_cold, 3),
            "bytes_per_fiber": self.bytes,
        })
    }
}

/// The smallest that so many of a hundred do not surpass.
fn quantile(times: &mut [f64], part: usize) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[(times.len() * part).div_ceil(100).max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let mut times = [3.0, 1.0, 2.0];
        assert_eq!([1, 50, 90].map(|part| quantile(&mut times, part)), [1.0, 2.0, 3.0]);
        assert_eq!(quantile(&mut [7.0], 50), 7.0);
    }
}
