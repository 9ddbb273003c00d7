//! Order, number and size, alone and among threads.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::slot;

/// So many lanes, none of which lives.
pub(super) fn lanes(count: u32) -> Vec<SlotRef> {
    let table = slot::take_table().unwrap();
    let mut keys = VecDeque::new();
    table.allocate(&mut keys, count, u32::MAX);
    keys.into_iter().map(|key| table.at(key).unwrap()).collect()
}

pub(super) fn keys(lanes: impl IntoIterator<Item = SlotRef>) -> Vec<u32> {
    lanes.into_iter().map(|lane| lane.key()).collect()
}

fn one_worker() -> (Queue, Shared) {
    let (mut queues, shared) = queues(1, 1);
    (queues.pop().unwrap(), shared)
}

fn two_workers() -> (Queue, Queue, Shared) {
    let (mut queues, shared) = queues(2, 2);
    let second = queues.pop().unwrap();
    (queues.pop().unwrap(), second, shared)
}

#[test]
fn lanes_come_out_in_the_order_in_which_they_came_however_many_they_are() {
    let lanes = lanes(20_000);
    let (queue, shared) = one_worker();
    for count in [1, 2, 63, 64, 65, 1000, 2048, 2049, 20_000, 10] {
        lanes[..count].iter().for_each(|lane| queue.push(lane));
        assert_eq!((queue.len(), shared.is_empty()), (count, false));
        let out: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert!(keys(out) == keys(lanes[..count].iter().copied()), "{count} lanes");
        assert!(queue.is_empty() && shared.is_empty());
    }
}

/// Xorshift64.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn whatever_is_done_in_turn_lanes_leave_in_their_order() {
    let lanes = lanes(6000);
    for seed in 1..=60 {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed);
        let (queue, thief, shared) = two_workers();
        let mut expected = VecDeque::new();
        let mut fresh = lanes.iter().copied().cycle();
        // It fills and empties by turns, and overflows.
        let overflows = seed % 3 == 0;
        for round in 0..40 {
            let fills = round % 2 == 0;
            for _ in 0..draw(&mut state) % if overflows { 3000 } else { 200 } {
                match draw(&mut state) % 8 {
                    0..=3 if fills => {
                        for lane in fresh.by_ref().take(if overflows { 8 } else { 1 }) {
                            queue.push(lane);
                            expected.push_back(lane.key());
                        }
                    }
                    0 => {
                        let before = expected.len();
                        let first = shared.steal(1, 0, &thief);
                        let stolen = keys(first.into_iter().chain(std::iter::from_fn(|| thief.pop())));
                        assert_eq!(stolen, expected.drain(..stolen.len()).collect::<Vec<_>>(), "seed {seed}");
                        assert!(stolen.len() <= before.div_ceil(2).min(BATCH) && stolen.is_empty() == (before == 0));
                    }
                    1 | 2 => assert_eq!(queue.pop().map(|lane| lane.key()), expected.pop_front(), "seed {seed}"),
                    3 | 4 => {
                        // It does not look behind the ring.
                        let sees = queue.lanes.ring().waiting() != 0;
                        let first = if sees { expected.pop_front() } else { None };
                        assert_eq!(queue.pop_soon().map(|lane| lane.key()), first, "seed {seed}");
                    }
                    _ => {
                        let is_empty = expected.is_empty();
                        assert_eq!(
                            (queue.len(), queue.is_empty(), shared.is_empty()),
                            (expected.len(), is_empty, is_empty)
                        );
                    }
                }
            }
        }
        assert!(keys(std::iter::from_fn(|| queue.pop())).into_iter().eq(expected), "seed {seed}");
    }
}

#[test]
fn no_lane_is_lost_or_taken_twice_among_threads() {
    const LANES: u32 = 30_000;
    let lanes = lanes(LANES);
    let (mut queues, shared) = queues(3, 3);
    let (second, first) = (queues.pop().unwrap(), queues.pop().unwrap());
    let ours = queues.pop().unwrap();
    let is_over = AtomicBool::new(false);
    let mut taken = Vec::new();
    thread::scope(|scope| {
        let thieves = [(1, first), (2, second)].map(|(index, queue)| {
            let (shared, is_over) = (&shared, &is_over);
            scope.spawn(move || {
                let mut taken = Vec::new();
                loop {
                    // Who looks before it looks again sees all that was there when it was over.
                    let was_over = is_over.load(Ordering::Acquire);
                    let stolen = shared.steal(index, 0, &queue);
                    if stolen.is_none() && was_over {
                        return taken;
                    }
                    taken.extend(stolen.into_iter().chain(std::iter::from_fn(|| queue.pop())));
                }
            })
        });
        let mut state = 1;
        let mut rest = lanes.iter();
        while rest.len() != 0 {
            // Some bursts do not fit in the ring.
            let burst = if draw(&mut state).is_multiple_of(16) { 5000 } else { draw(&mut state) % 100 };
            rest.by_ref().take(burst as usize).for_each(|lane| ours.push(lane));
            for _ in 0..draw(&mut state) % 100 {
                taken.extend(ours.pop_soon().or_else(|| ours.pop()));
            }
        }
        taken.extend(std::iter::from_fn(|| ours.pop()));
        is_over.store(true, Ordering::Release);
        thieves.into_iter().for_each(|thief| taken.extend(thief.join().unwrap()));
    });
    let different: BTreeSet<_> = taken.iter().map(|lane| lane.key()).collect();
    assert_eq!((taken.len(), different.len()), (LANES as usize, LANES as usize));
    assert!(shared.is_empty());
}

#[test]
fn those_who_were_killed_are_taken_from_a_queue_of_their_own() {
    let lanes = lanes(10);
    let (queue, thief, shared) = two_workers();
    queue.push(lanes[0]);
    lanes[1..].iter().for_each(|lane| queue.push_killed(lane));
    assert_eq!((queue.len(), queue.len_of_all()), (1, 10));
    let first = shared.steal_killed(1, 0, &thief);
    assert_eq!(
        keys(first.into_iter().chain(std::iter::from_fn(|| thief.pop_killed()))),
        keys(lanes[1..6].iter().copied())
    );
    assert_eq!(queue.pop_any().map(|lane| lane.key()), Some(lanes[0].key()), "who lives comes first");
    assert_eq!(keys(std::iter::from_fn(|| queue.pop_any())), keys(lanes[6..].iter().copied()));
    assert!(shared.steal_killed(1, 0, &thief).is_none() && shared.steal(1, 0, &thief).is_none());
}

#[test]
fn all_that_waits_at_a_worker_is_spilled() {
    let lanes = lanes(5000);
    let (queue, thief, shared) = two_workers();
    lanes[..4000].iter().for_each(|lane| queue.push(lane));
    lanes[4000..].iter().for_each(|lane| queue.push_killed(lane));
    shared.spill(0);
    assert_eq!((queue.len_of_all(), shared.is_empty()), (0, false));
    let mut out = Vec::new();
    while let Some(lane) = shared.take_injected(&thief) {
        out.push(lane);
        out.extend(std::iter::from_fn(|| thief.pop()));
    }
    assert!(keys(out) == keys(lanes));
    assert!(shared.is_empty());
}

#[test]
fn no_more_lanes_are_moved_than_asked_for() {
    let lanes = lanes(100);
    let (queue, other, shared) = two_workers();
    lanes.iter().for_each(|lane| queue.push(lane));
    for (limit, moved) in [(0, 0), (3, 3), (1000, BATCH)] {
        let before = other.len();
        shared.move_from(0, limit, &other);
        assert_eq!(other.len() - before, moved);
    }
    assert_eq!(queue.len(), 100 - 3 - BATCH);
}
