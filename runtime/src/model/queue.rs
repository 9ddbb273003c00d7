//! Run queues: a worker that queues lanes and runs them, and others that take from it.
//!
//! A ring has four places here, of which two are used at first, so that a few lanes have it grow, go round, overflow and go down.
//! Its places see to it themselves that none is written again too early (`shim.rs`).

use std::num::NonZeroU32;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::explore;
use crate::sched::queue::{Queue, Shared, queues};
use crate::slot::SlotRef;

const LANES: usize = 7;
const VICTIM: usize = 0;
const THIEF: usize = 1;
const OTHER: usize = 2;

struct World {
    shared: Shared,
    /// What each lane's waker wrote before it was queued, which whoever takes the lane must see.
    woken: [AtomicU32; LANES],
    taken: [AtomicU32; LANES],
}

impl World {
    fn new(workers: usize) -> (Arc<World>, Vec<Queue>) {
        let (queues, shared) = queues(workers, workers);
        (Arc::new(World { shared, woken: Default::default(), taken: Default::default() }), queues)
    }

    /// As `Local::push_back`.
    fn push(&self, queue: &Queue, lanes: impl IntoIterator<Item = u32>) {
        for lane in lanes {
            self.woken[lane as usize].store(1, Ordering::Relaxed);
            queue.push(NonZeroU32::new(lane + 1).unwrap());
        }
    }

    fn take(&self, lane: SlotRef) {
        let lane = lane.get() as usize - 1;
        assert_eq!(self.woken[lane].load(Ordering::Relaxed), 1, "the waker's writes are not seen");
        assert_eq!(self.taken[lane].fetch_add(1, Ordering::Relaxed), 0, "lane {lane} is taken twice");
    }

    /// As `Local::pick`: whether there was one.
    fn pick(&self, queue: &Queue) -> bool {
        let picked = queue.pop_soon().or_else(|| queue.pop());
        picked.inspect(|lane| self.take(*lane)).is_some()
    }

    /// As `Local::search`, and then all that came with what was found.
    fn steal(&self, thief: usize, queue: &Queue) {
        if let Some(lane) = self.shared.steal(thief, VICTIM, queue) {
            self.take(lane);
        }
        while self.pick(queue) {}
    }

    fn assert_all_taken(&self, lanes: usize) {
        for lane in 0..lanes {
            assert_eq!(self.taken[lane].load(Ordering::Relaxed), 1, "lane {lane} is lost");
        }
    }
}

/// One who steals so often while the worker does this with its queue: of `lanes`, none is lost.
fn a_thief(steals: usize, before: fn(&World, &Queue), work: fn(&World, &Queue), lanes: usize) {
    explore(move || {
        let (world, mut queues) = World::new(2);
        let (theirs, ours) = (queues.pop().unwrap(), queues.pop().unwrap());
        before(&world, &ours);
        let of_thief = world.clone();
        let thief = thread::spawn(move || {
            for _ in 0..steals {
                of_thief.steal(THIEF, &theirs);
            }
        });
        work(&world, &ours);
        while world.pick(&ours) {}
        thief.join().unwrap();
        assert!(world.shared.is_empty());
        world.assert_all_taken(lanes);
    });
}

#[test]
fn a_lane_is_taken_once_from_a_ring_that_grows() {
    a_thief(1, |_, _| (), |world, queue| world.push(queue, 0..3), 3);
}

#[test]
fn a_lane_is_taken_once_from_a_ring_that_goes_round() {
    let work = |world: &World, queue: &Queue| {
        for lane in 1..5 {
            world.push(queue, [lane]);
            world.pick(queue);
        }
    };
    a_thief(2, |world, queue| world.push(queue, [0]), work, 5);
}

#[test]
fn a_lane_is_taken_once_from_a_ring_that_grows_and_goes_round() {
    let before = |world: &World, queue: &Queue| {
        world.push(queue, 0..3);
        world.pick(queue);
    };
    a_thief(2, before, |world, queue| world.push(queue, 3..6), 6);
}

/// Four places are used and one lane waits, so that the next look for room has it use two.
#[test]
fn a_lane_is_taken_once_from_a_ring_that_goes_down() {
    let before = |world: &World, queue: &Queue| {
        world.push(queue, 0..3);
        world.pick(queue);
        world.pick(queue);
        world.push(queue, [3]);
        world.pick(queue);
    };
    let work = |world: &World, queue: &Queue| {
        world.push(queue, [4]);
        world.pick(queue);
        world.push(queue, [5]);
        world.push(queue, [6]);
    };
    a_thief(1, before, work, 7);
}

#[test]
fn a_lane_is_taken_once_that_had_no_room() {
    a_thief(2, |world, queue| world.push(queue, 0..4), |world, queue| world.push(queue, 4..7), 7);
}

#[test]
fn two_thieves_take_different_lanes() {
    explore(|| {
        let (world, mut queues) = World::new(3);
        let [of_other, of_thief, ours] = std::array::from_fn(|_| queues.pop().unwrap());
        world.push(&ours, 0..3);
        let thieves = [(THIEF, of_thief), (OTHER, of_other)].map(|(thief, queue)| {
            let world = world.clone();
            thread::spawn(move || {
                if let Some(lane) = world.shared.steal(thief, VICTIM, &queue) {
                    world.take(lane);
                }
                queue
            })
        });
        world.pick(&ours);
        for thief in thieves {
            let queue = thief.join().unwrap();
            while world.pick(&queue) {}
        }
        while world.pick(&ours) {}
        world.assert_all_taken(3);
    });
}

/// The second look of `idle.rs`, while lanes move up that had no room: else one sleeps who would be needed.
#[test]
fn lanes_that_move_up_are_seen_in_the_one_place_or_the_other() {
    explore(|| {
        let (world, mut queues) = World::new(2);
        let ours = queues.pop().unwrap();
        world.push(&ours, 0..6);
        for _ in 0..4 {
            assert!(world.pick(&ours));
        }
        let of_other = world.clone();
        let looks = thread::spawn(move || assert!(!of_other.shared.is_empty(), "two lanes wait, or one"));
        assert!(world.pick(&ours));
        looks.join().unwrap();
        assert!(world.pick(&ours));
        world.assert_all_taken(6);
    });
}

/// As the watchdog does with the queue of a stuck worker, whose lane goes on to wake others.
#[test]
fn a_queue_that_is_spilled_loses_nothing() {
    explore(|| {
        let (world, mut queues) = World::new(1);
        let ours = queues.pop().unwrap();
        world.push(&ours, 0..2);
        let of_other = world.clone();
        let watchdog = thread::spawn(move || of_other.shared.spill(VICTIM));
        world.push(&ours, 2..4);
        watchdog.join().unwrap();
        while let Some(lane) = world.shared.take_injected(&ours) {
            world.take(lane);
        }
        while world.pick(&ours) {}
        world.assert_all_taken(4);
    });
}
