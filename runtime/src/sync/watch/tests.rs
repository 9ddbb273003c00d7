//! A value that changes under the eyes of many, and a model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};

use super::*;
use crate::sync::testing::{Random, for_seeds, on_two_workers, poll_once, poll_outside, runtime, spawn};

#[test]
fn a_change_is_seen_once_and_only_the_latest_value() {
    let (sender, mut receiver) = channel(1);
    assert!(poll_outside(pin!(receiver.changed())).is_pending());
    sender.send(2).unwrap();
    sender.send(3).unwrap();
    assert!(receiver.borrow().has_changed() && receiver.has_changed() == Ok(true));
    assert_eq!(poll_outside(pin!(receiver.changed())), Poll::Ready(Ok(())));
    assert!(poll_outside(pin!(receiver.changed())).is_pending());
    assert_eq!((*receiver.borrow(), receiver.has_changed()), (3, Ok(false)));
    receiver.mark_changed();
    assert!(receiver.borrow_and_update().has_changed() && !receiver.borrow_and_update().has_changed());
    let late = sender.subscribe();
    assert_eq!((late.has_changed(), sender.receiver_count(), sender.sender_count()), (Ok(false), 2, 1));
}

#[test]
fn what_one_looks_at_stays_as_it_was_and_keeps_nobody_waiting() {
    let (sender, mut receiver) = channel(String::from("old"));
    let old = receiver.borrow_and_update();
    sender.send("new".to_owned()).unwrap();
    sender.send_modify(|value| value.push_str("er"));
    assert_eq!((&**old, &**receiver.borrow(), &**sender.borrow()), ("old", "newer", "newer"));
    assert_eq!(*sender.send_replace("newest".to_owned()), "newer");
    assert_eq!(*old.into_shared(), "old");
}

#[test]
fn a_closure_that_changes_nothing_or_panics_changes_nothing() {
    let (sender, receiver) = channel(1);
    assert!(!sender.send_if_modified(|value| {
        *value = 9;
        false
    }));
    let panics = || sender.send_modify(|_| panic!("a panic for the test"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!((*receiver.borrow(), receiver.has_changed()), (1, Ok(false)));
    sender.send_modify(|value| *value = 2);
    assert_eq!(*receiver.borrow(), 2);
}

#[test]
fn what_is_sent_while_a_closure_changes_the_value_replaces_its_change() {
    let (sender, receiver) = channel(1);
    sender.send_modify(|value| {
        sender.send(5).unwrap();
        assert_eq!(*receiver.borrow(), 5);
        *value += 1;
    });
    assert_eq!(*receiver.borrow(), 5);
    let nested = || sender.send_modify(|_| sender.send_modify(|_| ()));
    assert!(catch_unwind(AssertUnwindSafe(nested)).is_err(), "it would wait for itself");
    sender.send_modify(|value| *value += 1);
    assert_eq!(*receiver.borrow(), 6);
}

#[test]
fn a_closure_keeps_nobody_waiting_and_begins_anew_where_another_was_done_before_it() {
    let (sender, mut receiver) = channel(vec![0]);
    let mut seen = Vec::new();
    // It can look at its channel, and others can change it, from any thread.
    sender.send_modify(|value| {
        seen.push(value.clone());
        if seen.len() == 1 {
            std::thread::scope(|scope| {
                scope.spawn(|| sender.send_modify(|value| value.push(1))).join().unwrap();
            });
            assert_eq!((&**sender.borrow(), sender.receiver_count()), (&[0, 1][..], 1));
            drop(sender.subscribe());
        }
        value.push(2);
    });
    assert_eq!((seen, &**receiver.borrow_and_update()), (vec![vec![0], vec![0, 1]], &[0, 1, 2][..]));
    // One that then panics has changed nothing, and is in nobody's way.
    let panics = || {
        sender.send_modify(|value| {
            value.clear();
            std::thread::scope(|scope| {
                scope.spawn(|| sender.send_modify(|value| value.push(3))).join().unwrap();
            });
            panic!("a panic for the test");
        });
    };
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(**receiver.borrow_and_update(), [0, 1, 2, 3]);
    // One that changes nothing and is late does not begin anew.
    assert!(!sender.send_if_modified(|_| {
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send_modify(|value| value.push(4))).join().unwrap();
        });
        false
    }));
    assert_eq!(**receiver.borrow_and_update(), [0, 1, 2, 3, 4]);
}

#[test]
fn no_change_is_lost_and_none_is_seen_twice_by_those_that_count() {
    let (sender, receiver) = channel(0_u64);
    let numbers = std::thread::scope(|scope| {
        let draw = || {
            let one = || {
                let mut number = 0;
                sender.send_modify(|value| {
                    *value += 1;
                    number = *value;
                });
                number
            };
            (0..2000).map(|_| one()).collect::<Vec<u64>>()
        };
        let threads = [(); 4].map(|()| scope.spawn(draw));
        let mut numbers: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    });
    assert_eq!((*receiver.borrow(), numbers), (8000, (1..=8000).collect()));
}

#[test]
fn those_who_wait_are_told_of_changes_and_of_the_end() {
    runtime().block_on(async {
        let (sender, receiver) = channel(0);
        let waits = |target: u32| {
            let mut receiver = receiver.clone();
            spawn(async move {
                assert!(*receiver.wait_for(|value| *value >= target).await.unwrap() >= target);
                assert_eq!(receiver.wait_for(|value| *value > 100).await.err(), Some(RecvError));
                assert!(receiver.is_closed() && receiver.changed().await == Err(RecvError));
            })
        };
        let lanes = [waits(0), waits(1), waits(2)];
        for value in 1..=2 {
            crate::yield_now().await;
            sender.send(value).unwrap();
        }
        crate::yield_now().await;
        drop(sender);
        for lane in lanes {
            lane.finish().await;
        }
    });
}

#[test]
fn a_sender_is_told_when_nobody_looks_any_more() {
    runtime().block_on(async {
        let (sender, receiver) = channel(0);
        let mut closed = pin!(sender.closed());
        assert!(poll_once(closed.as_mut()).await.is_none() && !sender.is_closed());
        let lane = spawn(async move {
            let mut receiver = receiver;
            let _never = receiver.changed().await;
        });
        crate::yield_now().await;
        lane.kill().await;
        closed.await;
        assert_eq!(sender.send(1), Err(SendError(1)));
        assert_eq!((*sender.send_replace(2), *sender.subscribe().borrow()), (0, 2));
    });
}

#[test]
fn any_sequence_of_changes_and_looks_does_what_the_model_does() {
    for_seeds(2000, |mut random: Random| {
        let (sender, first) = channel(0);
        let (mut value, mut version) = (0, 0);
        let mut receivers = vec![(first, 0)];
        for number in 1..60 {
            let at = random.below(receivers.len());
            match random.below(8) {
                0 => {
                    sender.send(number).unwrap();
                    (value, version) = (number, version + 1);
                }
                1 => {
                    let changes = random.below(2) == 0;
                    sender.send_if_modified(|value| {
                        *value += 1000;
                        changes
                    });
                    (value, version) = (value + usize::from(changes) * 1000, version + usize::from(changes));
                }
                2 if receivers.len() < 4 => receivers.push((sender.subscribe(), version)),
                3 if receivers.len() > 1 => drop(receivers.swap_remove(at)),
                4 => {
                    let seen = receivers[at].1;
                    let cloned = receivers[at].0.clone();
                    receivers.push((cloned, seen));
                }
                5 => {
                    let (receiver, seen) = &mut receivers[at];
                    let polled = poll_outside(Pin::new(&mut receiver.changed()));
                    assert_eq!(polled.is_ready(), *seen != version);
                    *seen = version;
                }
                6 => {
                    let (receiver, seen) = &mut receivers[at];
                    let found = receiver.borrow_and_update();
                    assert_eq!((*found, found.has_changed()), (value, *seen != version));
                    *seen = version;
                }
                _ => {
                    let (receiver, seen) = &receivers[at];
                    assert_eq!((*receiver.borrow(), receiver.has_changed()), (value, Ok(*seen != version)));
                }
            }
        }
    });
}

#[test]
fn changes_from_two_workers_are_none_lost_and_all_told_of() {
    let (sender, receiver) = channel(0_u32);
    let mut lanes: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
    for _ in 0..2 {
        let (sender, mut receiver) = (sender.clone(), receiver.clone());
        lanes.push(Box::pin(async move {
            for _ in 0..1000 {
                sender.send_modify(|value| *value += 1);
                crate::yield_now().await;
            }
        }));
        lanes.push(Box::pin(async move {
            let mut last = 0;
            while receiver.changed().await.is_ok() {
                let value = *receiver.borrow();
                assert!(value >= last);
                last = value;
            }
            assert_eq!(last, 2000);
        }));
    }
    drop((sender, receiver));
    on_two_workers(lanes);
}
