//! A lane with a scratch and a heap in use, killed at each of its awaits.

use laneway::arena::{Box, Heap, Scratch, Vec};
use laneway::prelude::*;
use laneway::testing::{Canaries, Canary, Victim, kill_sweep};
use laneway::{join, yield_now};

use super::{Spawned, assert_whole, beside_others};

/// What an actor keeps: values with destructors, in its heap.
struct State(Vec<Box<Canary, Heap>, Heap>);

async fn handle(number: u64, scratch: &Scratch, state: &mut State, canaries: &Canaries) {
    let heap = state.0.allocator().clone();
    let mut words = scratch.vec();
    for step in 0..4 {
        words.push(scratch.format(format_args!("{number}.{step}")));
        let guarded = scratch.boxed(canaries.canary());
        yield_now().await;
        state.0.push(heap.boxed(canaries.canary()));
        drop(guarded);
        yield_now().await;
    }
    assert_eq!(words.join(" "), format!("{number}.0 {number}.1 {number}.2 {number}.3"));
}

#[test]
fn a_lane_that_works_in_its_arenas_leaves_nothing_of_them() {
    let _beside = beside_others();
    let canaries = Canaries::new();
    let scenario_canaries = canaries.clone();
    let report = kill_sweep(Victim::named("worker"), move || {
        let canaries = scenario_canaries.clone();
        async move {
            let worker = Spawn::new().name("worker").memory(1 << 20).spawn(async move |mut lane: Lane<u64>| {
                let (mut scratch, mut state) = (lane.scratch(), State(lane.heap().vec()));
                while let Some(number) = lane.recv().await {
                    handle(number, &scratch, &mut state, &canaries).await;
                    scratch.reset();
                    state.0.truncate(3);
                }
            })?;
            for number in 0..3 {
                let _dead = worker.send(number).await;
            }
            let _dead = worker.stop();
            join(worker.id()).await;
            Spawned::Ok(())
        }
    });
    assert_whole(&report, 24);
    assert_eq!(canaries.alive(), 0);
}
