//! Lanes that wait for each other: who is told, and that nobody is told of what does not stand.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, Ordering::Relaxed};
use loom::thread;

use super::{RunQueue, explore};
use crate::lane::word::{LaneWord, OnIdle, OnWake};
use crate::wait_graph::word::WaitWord;

const GENERATION: u16 = 1;
/// It waits for nobody, as the lane reads its record.
const NOBODY: usize = usize::MAX;
/// It waits for all who have the lock, as one who would write.
const HOLDERS: usize = usize::MAX - 1;

/// A lane that asks another and waits for the answer, or waits for the lock.
struct Lane {
    word: LaneWord,
    waits: WaitWord,
    /// The record: whom it waits for.
    of: AtomicUsize,
    queue: RunQueue,
    answered: AtomicBool,
    told: AtomicBool,
}

struct World {
    lanes: Vec<Lane>,
    claims: Mutex<()>,
    told: AtomicUsize,
    /// A lock that several may have: who has it, and who would write it, in line.
    lock: Mutex<(Vec<usize>, Option<usize>)>,
}

impl World {
    fn new(count: usize) -> Arc<World> {
        let lane = |_| Lane {
            word: LaneWord::new(),
            waits: WaitWord::new(),
            of: AtomicUsize::new(NOBODY),
            queue: RunQueue::new(),
            answered: AtomicBool::new(false),
            told: AtomicBool::new(false),
        };
        let lanes = (0..count).map(lane).collect();
        let lock = Mutex::new((Vec::new(), None));
        Arc::new(World { lanes, claims: Mutex::new(()), told: AtomicUsize::new(0), lock })
    }

    /// Queues a lane for its first turn.
    fn spawn(&self, me: usize) {
        self.lanes[me].word.open(GENERATION);
        self.lanes[me].queue.push();
    }

    /// As `Local::run` does before the poll; false where the lane is not queued.
    fn begin_turn(&self, me: usize) -> bool {
        let lane = &self.lanes[me];
        if !lane.queue.pop() {
            return false;
        }
        if lane.waits.is_in_wait() && lane.waits.end() {
            lane.told.store(true, Relaxed);
        }
        let _ = lane.word.transition_to_running();
        true
    }

    /// As `note::settle_down` and what follows it, for a lane that waits for another.
    fn end_turn(&self, me: usize, of: usize) {
        let lane = &self.lanes[me];
        if !lane.word.is_scheduled() {
            // ORDER: as in `Record::write`.
            lane.of.store(of, Ordering::Release);
            lane.waits.begin();
            if self.in_the_way(of).iter().any(|of| self.lanes[*of].waits.look().is_some()) {
                self.look_for_circle(me);
            }
        }
        match lane.word.transition_to_idle(false) {
            OnIdle::Parked => {}
            OnIdle::Schedule => lane.queue.push(),
            OnIdle::Kill => unreachable!("nobody is killed here"),
        }
    }

    /// As `Seen::of`: the wait, and for whom.
    fn seen(&self, lane: usize) -> Option<(crate::wait_graph::word::Ticket, usize)> {
        let lane = &self.lanes[lane];
        let ticket = lane.waits.look()?;
        let of = lane.of.load(Ordering::Acquire);
        lane.waits.still(ticket).then_some((ticket, of))
    }

    /// As `Seen::in_the_way`, of what is in a record.
    fn in_the_way(&self, of: usize) -> Vec<usize> {
        match of {
            HOLDERS => self.lock.lock().expect("no model panics under a lock").0.clone(),
            of => vec![of],
        }
    }

    /// The way back from a lane to `me`, by any of those that each waits for.
    fn way_back(&self, me: usize, way: &mut Vec<usize>) -> bool {
        let Some((_, of)) = self.seen(way[way.len() - 1]) else { return false };
        for next in self.in_the_way(of) {
            if next == me {
                return true;
            }
            if !way.contains(&next) {
                way.push(next);
                if self.way_back(me, way) {
                    return true;
                }
                way.pop();
            }
        }
        false
    }

    /// As the function of that name, for `DeadlockPolicy::Report`.
    fn look_for_circle(&self, me: usize) {
        let mut circle = vec![me];
        if !self.way_back(me, &mut circle) {
            return;
        }
        let _claims = self.claims.lock().expect("no model panics under a lock");
        let mut seen = Vec::new();
        for (index, lane) in circle.iter().enumerate() {
            match self.seen(*lane) {
                Some((ticket, of)) if self.in_the_way(of).contains(&circle[(index + 1) % circle.len()]) => {
                    seen.push(ticket);
                }
                _ => return,
            }
        }
        if circle.iter().all(|lane| self.lanes[*lane].word.is_parked(GENERATION))
            && circle.iter().zip(seen).all(|(lane, ticket)| self.lanes[*lane].waits.still(ticket))
        {
            for lane in &circle {
                assert!(!self.lanes[*lane].answered.load(Relaxed), "a deadlock is claimed of one that has its answer");
            }
            self.told.fetch_add(1, Relaxed);
            self.lanes[me].waits.tell();
            self.wake(me);
        }
    }

    /// Another lane's answer.
    fn answer(&self, lane: usize) {
        self.lanes[lane].answered.store(true, Relaxed);
        self.wake(lane);
    }

    /// A lane that was offered its share of the lock takes it.
    fn take(&self, me: usize) {
        self.lock.lock().expect("no model panics under a lock").0.push(me);
    }

    /// A lane would write: true where it has the lock, and else it is in line.
    fn write(&self, me: usize) -> bool {
        let mut lock = self.lock.lock().expect("no model panics under a lock");
        if lock.0.is_empty() {
            lock.0.push(me);
        } else {
            lock.1 = Some(me);
        }
        lock.0 == [me]
    }

    /// A lane gives its share back: to the one in line where it was the last.
    fn give_back(&self, me: usize) {
        let mut lock = self.lock.lock().expect("no model panics under a lock");
        lock.0.retain(|holder| *holder != me);
        let next = if lock.0.is_empty() { lock.1.take() } else { None };
        drop(lock);
        if let Some(next) = next {
            self.answer(next);
        }
    }

    fn wake(&self, lane: usize) {
        if self.lanes[lane].word.wake() == OnWake::Schedule {
            self.lanes[lane].queue.push();
        }
    }
}

#[test]
fn of_two_that_close_a_circle_at_a_time_exactly_one_is_told() {
    explore(|| {
        let world = World::new(2);
        world.spawn(0);
        world.spawn(1);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                assert!(world.begin_turn(1));
                world.end_turn(1, 0);
            })
        };
        assert!(world.begin_turn(0));
        world.end_turn(0, 1);
        other.join().expect("the other worker");
        assert_eq!(world.told.load(Relaxed), 1, "nobody was told, or both");
        let told: Vec<usize> = (0..2).filter(|lane| world.begin_turn(*lane)).collect();
        assert_eq!(told.len(), 1, "whoever is told has a turn, and nobody else");
        assert!(world.lanes[told[0]].told.load(Relaxed), "and hears of it there");
    });
}

#[test]
fn of_three_that_close_a_circle_exactly_one_is_told() {
    explore(|| {
        let world = World::new(3);
        (0..3).for_each(|lane| world.spawn(lane));
        assert!(world.begin_turn(0));
        world.end_turn(0, 1);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                assert!(world.begin_turn(1));
                world.end_turn(1, 2);
            })
        };
        assert!(world.begin_turn(2));
        world.end_turn(2, 0);
        other.join().expect("the other worker");
        assert_eq!(world.told.load(Relaxed), 1, "nobody was told, or two");
    });
}

#[test]
fn one_that_was_woken_for_nothing_looks_again() {
    explore(|| {
        let world = World::new(2);
        world.spawn(0);
        world.spawn(1);
        assert!(world.begin_turn(0));
        world.end_turn(0, 1);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                // As a signal does.
                world.wake(0);
                if world.begin_turn(0) {
                    if !world.lanes[0].told.load(Relaxed) {
                        world.end_turn(0, 1);
                    }
                }
            })
        };
        assert!(world.begin_turn(1));
        world.end_turn(1, 0);
        other.join().expect("the other worker");
        assert_eq!(world.told.load(Relaxed), 1, "nobody was told, or both");
    });
}

#[test]
fn nothing_is_claimed_of_one_that_was_answered_before_the_other_asked_it() {
    explore(|| {
        let world = World::new(2);
        world.spawn(0);
        world.spawn(1);
        // It has asked the other.
        assert!(world.begin_turn(1));
        world.end_turn(1, 0);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                // It goes on with its answer, and answers in its turn.
                if world.begin_turn(1) {
                    assert!(world.lanes[1].answered.swap(false, Relaxed), "it was woken for its answer");
                    world.answer(0);
                }
            })
        };
        assert!(world.begin_turn(0));
        world.answer(1);
        world.end_turn(0, 1);
        other.join().expect("the other worker");
        if world.begin_turn(1) {
            assert!(world.lanes[1].answered.swap(false, Relaxed), "it was woken for its answer");
            world.answer(0);
        }
        assert!(world.begin_turn(0) && world.lanes[0].answered.load(Relaxed), "the answer was lost");
        assert_eq!(world.told.load(Relaxed), 0, "a deadlock was claimed that is none");
    });
}

#[test]
fn one_who_comes_to_hold_what_another_waits_for_already_closes_the_circle() {
    explore(|| {
        let world = World::new(2);
        world.spawn(0);
        world.spawn(1);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                // It is in line, behind one who was offered his share and has not taken it.
                assert!(world.begin_turn(1));
                world.end_turn(1, HOLDERS);
            })
        };
        assert!(world.begin_turn(0));
        world.take(0);
        world.end_turn(0, 1);
        other.join().expect("the other worker");
        assert_eq!(world.told.load(Relaxed), 1, "nobody was told, or both");
    });
}

#[test]
fn one_of_two_holders_is_enough_for_a_circle() {
    explore(|| {
        let world = World::new(3);
        (0..3).for_each(|lane| world.spawn(lane));
        world.take(2);
        world.take(0);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                assert!(world.begin_turn(1));
                assert!(!world.write(1));
                world.end_turn(1, HOLDERS);
            })
        };
        assert!(world.begin_turn(0));
        world.end_turn(0, 1);
        other.join().expect("the other worker");
        assert_eq!(world.told.load(Relaxed), 1, "nobody was told, or both");
    });
}

#[test]
fn nothing_is_claimed_of_a_holder_that_was_answered_before_the_other_came_into_line() {
    explore(|| {
        let world = World::new(2);
        world.spawn(0);
        world.spawn(1);
        world.take(0);
        // It has the lock and has asked the other.
        assert!(world.begin_turn(0));
        world.end_turn(0, 1);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                // It goes on with its answer, and gives the lock back.
                if world.begin_turn(0) {
                    assert!(world.lanes[0].answered.swap(false, Relaxed), "it was woken for its answer");
                    world.give_back(0);
                }
            })
        };
        assert!(world.begin_turn(1));
        world.answer(0);
        let has_it = world.write(1);
        if !has_it {
            world.end_turn(1, HOLDERS);
        }
        other.join().expect("the other worker");
        if world.begin_turn(0) {
            world.give_back(0);
        }
        assert!(has_it || world.begin_turn(1) && world.lanes[1].answered.load(Relaxed), "the lock was lost");
        assert_eq!(world.told.load(Relaxed), 0, "a deadlock was claimed that is none");
    });
}
