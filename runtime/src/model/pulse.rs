//! The hand-over place: a worker whose lane wakes others, and a watchdog that robs it.
//!
//! `membarrier` is drawn as a sequentially consistent fence on both sides (`sched/barrier.rs`): loom cannot run a
//! fence on another thread, and that is what the call comes to.

use std::num::NonZeroU32;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::explore;
use crate::sched::pulse::{HandedOver, Pulse};

const LANES: usize = 4;

struct World {
    pulse: Pulse<()>,
    /// What each lane's waker wrote before the wake, which whoever takes the lane must see.
    woken: [AtomicU32; LANES],
    taken: [AtomicU32; LANES],
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World { pulse: Pulse::new(), woken: Default::default(), taken: Default::default() })
    }

    /// As `Local::push_next`: what is displaced, and what a worker that is robbed wakes, goes to a queue, from which it is
    /// taken at once here.
    fn wake(&self, lane: u32) {
        self.woken[lane as usize].store(1, Ordering::Relaxed);
        let lane = NonZeroU32::new(lane + 1).unwrap();
        let displaced = match self.pulse.hand_over(lane) {
            HandedOver::Displaced(displaced) => displaced,
            HandedOver::Robbed(lane, displaced) => {
                self.take(lane);
                displaced
            }
        };
        if let Some(displaced) = displaced {
            self.take(displaced);
        }
    }

    fn take(&self, lane: NonZeroU32) {
        let lane = lane.get() as usize - 1;
        assert_eq!(self.woken[lane].load(Ordering::Relaxed), 1, "the waker's writes are not seen");
        assert_eq!(self.taken[lane].fetch_add(1, Ordering::Relaxed), 0, "lane {lane} is queued twice");
    }

    /// As `Local::serve` and `Local::pick`.
    fn pick(&self) {
        if self.pulse.orders().is_robbed() {
            let _ = self.pulse.settle();
        }
        if let Some(lane) = self.pulse.take_next() {
            self.take(lane);
        }
    }

    /// As `Local::run`, in which the lane wakes others.
    fn turn(&self, wakes: impl IntoIterator<Item = u32>) {
        self.pulse.begin(None);
        for lane in wakes {
            self.wake(lane);
        }
        self.pulse.end();
    }

    /// As `Watch::look` and `Scheduler::too_long`, with a limit of nothing.
    fn rob(&self) {
        if let Some(section) = self.pulse.section()
            && let Some(Some(lane)) = self.pulse.rob(section, ())
        {
            self.take(lane);
        }
    }

    fn assert_all_taken(&self, lanes: usize) {
        for lane in 0..lanes {
            assert_eq!(self.taken[lane].load(Ordering::Relaxed), 1, "lane {lane} is lost");
        }
    }
}

#[test]
fn a_lane_in_the_hand_over_place_is_taken_once() {
    explore(|| {
        let world = World::new();
        let robber = world.clone();
        let robber = thread::spawn(move || robber.rob());
        world.turn([0, 1]);
        world.pick();
        robber.join().unwrap();
        world.assert_all_taken(2);
    });
}

#[test]
fn a_lane_that_is_woken_between_turns_is_taken_once() {
    explore(|| {
        let world = World::new();
        let robber = world.clone();
        let robber = thread::spawn(move || robber.rob());
        world.turn([0]);
        world.wake(1);
        world.pick();
        world.turn([2]);
        world.pick();
        robber.join().unwrap();
        world.assert_all_taken(3);
    });
}

/// What the robber took runs, parks, and is woken once more in the same poll.
#[test]
fn a_lane_that_was_taken_can_be_handed_over_again() {
    explore(|| {
        let world = World::new();
        let robber = world.clone();
        let robber = thread::spawn(move || robber.rob());
        world.pulse.begin(None);
        world.wake(0);
        world.wake(1);
        for lane in 0..2 {
            if world.taken[lane].swap(0, Ordering::Relaxed) == 1 {
                world.wake(lane as u32);
            }
        }
        world.pulse.end();
        world.pick();
        robber.join().unwrap();
        world.assert_all_taken(2);
    });
}

#[test]
fn a_worker_that_is_robbed_twice_loses_nothing() {
    explore(|| {
        let world = World::new();
        let robber = world.clone();
        let robber = thread::spawn(move || {
            robber.rob();
            robber.rob();
        });
        world.turn([0]);
        world.pick();
        world.turn([1, 2]);
        world.pick();
        robber.join().unwrap();
        world.assert_all_taken(3);
    });
}
