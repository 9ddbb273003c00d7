//! Lanes that lock, wait and die, and what those who come after them are told.

use std::future::{pending, poll_fn};
use std::mem::forget;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use super::*;
use crate::lane::{self, resources};
use crate::sync::testing::{ended, poll_once, runtime, spawn, until};
use crate::yield_now;

fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn guards_and_futures_go_where_the_value_may() {
    is_send_and_sync::<Mutex<std::cell::Cell<u8>>>();
    is_send_and_sync::<MutexGuard<'_, u8>>();
    is_send_and_sync::<OwnedMutexGuard<u8>>();
    is_send_and_sync::<Lock<'_, u8>>();
    is_send_and_sync::<LockOwned<u8>>();
}

#[test]
fn one_at_a_time_has_the_value_in_the_order_in_which_they_came() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let first = mutex.lock().await.unwrap();
        let lanes: Vec<_> = (0..8)
            .map(|number| {
                let mutex = mutex.clone();
                spawn(async move {
                    let mut order = mutex.lock().await.unwrap();
                    order.push(number);
                    yield_now().await;
                })
            })
            .collect();
        until(|| mutex.waiting() == 8).await;
        let waiters = mutex.waiters();
        assert!(waiters.iter().map(|waiter| waiter.lane).eq(lanes.iter().map(|lane| Some(lane.id))));
        assert!(waiters.iter().all(|waiter| waiter.waits_at.file() == file!()));
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Locked)));
        drop(first);
        for lane in &lanes {
            lane.finish().await;
        }
        assert_eq!(*mutex.lock().await.unwrap(), (0..8).collect::<Vec<_>>());
        assert!(mutex.try_lock().is_ok() && mutex.holder().is_none() && mutex.waiting() == 0);
    });
}

#[test]
fn a_holder_shows_with_his_lane_and_the_place() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let theirs = mutex.clone();
        let lane = spawn(async move {
            let _held = theirs.lock().await.unwrap();
            pending::<()>().await;
        });
        until(|| mutex.holder().is_some()).await;
        let holder = mutex.holder().unwrap();
        assert_eq!((holder.lane, holder.taken_at.file()), (Some(lane.id), file!()));
        lane.kill().await;
        let guard = mutex.lock().await.or_else(LockError::recover).unwrap();
        assert_eq!(mutex.holder().map(|holder| holder.lane), Some(None), "this is no lane");
        drop(guard);
        assert_eq!(mutex.holder(), None);
    });
}

#[test]
fn the_next_after_a_dead_holder_gets_the_value_with_that_word_until_one_recovers() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(1));
        let theirs = mutex.clone();
        let lane = spawn(async move {
            let mut value = theirs.lock().await.unwrap();
            *value = 2;
            pending::<()>().await;
        });
        until(|| mutex.holder().is_some()).await;
        let (waiter, id) = (mutex.clone(), lane.id);
        let waiter = spawn(async move {
            let Err(LockError::OwnerDied(died)) = waiter.lock().await else { panic!("the holder died") };
            assert_eq!((**died.get_ref(), died.holder().lane), (2, Some(id)));
            // Not recovered: the next one is told as well.
            drop(died.into_inner());
        });
        until(|| mutex.waiting() == 1).await;
        lane.kill().await;
        waiter.finish().await;
        assert_eq!(mutex.dead_holder().and_then(|holder| holder.lane), Some(lane.id));
        let Err(TryLockError::Failed(LockError::OwnerDied(died))) = mutex.try_lock() else { panic!("it is marked") };
        let mut value = died.recover();
        *value += 1;
        drop(value);
        assert_eq!((*mutex.lock().await.unwrap(), mutex.dead_holder()), (3, None));
    });
}

#[test]
fn a_panic_marks_and_a_lock_taken_by_a_destructor_meanwhile_does_not() {
    struct Locks(Arc<Mutex<u32>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            *self.0.try_lock().unwrap() += 1;
        }
    }
    runtime().block_on(async {
        let (marked, unmarked) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        for dies_by_panic in [true, false] {
            let (theirs, locks) = (marked.clone(), Locks(unmarked.clone()));
            let lane = spawn(async move {
                let _locks = locks;
                let _held = theirs.lock().await.unwrap();
                assert!(!dies_by_panic, "as it was to be");
                pending::<()>().await;
            });
            if dies_by_panic {
                lane.end().await;
            } else {
                until(|| marked.holder().is_some()).await;
                lane.kill().await;
            }
            assert_eq!(marked.dead_holder().and_then(|holder| holder.lane), Some(lane.id));
            drop(marked.lock().await.unwrap_err().recover().unwrap());
        }
        assert_eq!(*unmarked.lock().await.unwrap(), 2);
    });
}

#[test]
fn a_leaked_guard_abandons_the_lock_for_those_in_line_and_those_who_come() {
    let runtime = runtime();
    runtime.block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let (theirs, waiters) = (mutex.clone(), mutex.clone());
        let lane = spawn(async move {
            lane::register("leaky").unwrap();
            forget(theirs.lock().await.unwrap());
            pending::<()>().await;
        });
        until(|| mutex.holder().is_some()).await;
        let id = lane.id;
        let waiter = spawn(async move {
            let Err(LockError::Abandoned(abandoned)) = waiters.lock().await else { panic!("it is abandoned") };
            assert_eq!((abandoned.holder().lane, abandoned.holder().name.as_deref()), (Some(id), Some("leaky")));
        });
        until(|| mutex.waiting() == 1).await;
        lane.kill().await;
        // Before it is asked to tell, which would wake it.
        until(|| mutex.waiting() == 0).await;
        waiter.finish().await;
        assert_eq!(crate::sync::had_by(id), (0, 0));
        let error = mutex.lock().await.unwrap_err().recover().unwrap_err();
        assert!(matches!(error, LockError::Abandoned(_)) && error.holder().and_then(|holder| holder.lane) == Some(id));
        assert_eq!(mutex.waiting(), 0);
    });
    assert_eq!(ended(runtime).locks_released, 1);
}

#[test]
fn a_guard_that_was_moved_gives_the_lock_back_marked_when_it_is_dropped_after_its_takers_death() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let (theirs, place) = (mutex.clone(), Arc::new(parking_lot::Mutex::new(None)));
        let moved = place.clone();
        let lane = spawn(async move {
            *moved.lock() = Some(theirs.lock_owned().await.unwrap());
            pending::<()>().await;
        });
        until(|| place.lock().is_some()).await;
        lane.kill().await;
        assert!(matches!(mutex.lock().await, Err(LockError::Abandoned(_))));
        let mut guard = place.lock().take().unwrap();
        *guard = 7;
        drop(guard);
        assert_eq!(*mutex.lock().await.unwrap_err().recover().unwrap(), 7);
        assert!(mutex.lock().await.is_ok());
    });
}

#[test]
fn a_guard_that_was_moved_and_dropped_before_its_takers_death_leaves_nothing_to_that() {
    let runtime = runtime();
    runtime.block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let (theirs, place) = (mutex.clone(), Arc::new(parking_lot::Mutex::new(None)));
        let moved = place.clone();
        let lane = spawn(async move {
            *moved.lock() = Some(theirs.lock_owned().await.unwrap());
            pending::<()>().await;
        });
        until(|| place.lock().is_some()).await;
        drop(place.lock().take());
        let held = mutex.lock().await.unwrap();
        lane.kill().await;
        drop(held);
        assert!(mutex.lock().await.is_ok());
    });
    assert_eq!(ended(runtime).locks_released, 0);
}

#[test]
fn an_index_of_guards_that_ended_elsewhere_does_not_grow() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let theirs = mutex.clone();
        spawn(async move {
            for _ in 0..10_000 {
                let guard = theirs.clone().lock_owned().await.unwrap();
                let elsewhere = spawn(async move { drop(guard) });
                elsewhere.finish().await;
            }
            let capacity = crate::context::with_current(|_, _, own| own.index().room());
            assert!(capacity < Some(64), "{capacity:?}");
        })
        .finish()
        .await;
    });
}

#[test]
fn a_mutex_with_a_way_back_is_got_as_if_its_dead_holder_had_not_been() {
    runtime().block_on(async {
        let snapshot = Mutex::with_rollback(vec![1], Rollback::snapshot());
        let closure = Mutex::with_rollback(vec![1], Rollback::run(|value: &mut Vec<i32>| value.truncate(1)));
        for mutex in [Arc::new(snapshot), Arc::new(closure)] {
            for round in 0..2 {
                let theirs = mutex.clone();
                let lane = spawn(async move {
                    theirs.lock().await.unwrap().push(2);
                    theirs.lock().await.unwrap().pop();
                    let mut value = theirs.lock().await.unwrap();
                    value.push(3);
                    assert!(round == 0, "as it was to be");
                    pending::<()>().await;
                });
                if round == 0 {
                    until(|| mutex.holder().is_some()).await;
                    lane.kill().await;
                } else {
                    lane.end().await;
                }
                assert_eq!((&**mutex.lock().await.unwrap(), mutex.dead_holder()), (&[1][..], None));
            }
        }
    });
}

#[test]
fn a_way_back_that_panics_leaves_the_mark() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::with_rollback(1, Rollback::run(|_| panic!("as it was to be"))));
        let theirs = mutex.clone();
        let lane = spawn(async move {
            let _held = theirs.lock().await.unwrap();
            pending::<()>().await;
        });
        until(|| mutex.holder().is_some()).await;
        lane.kill().await;
        assert!(matches!(mutex.lock().await, Err(LockError::OwnerDied(_))));
    });
}

#[test]
fn a_lane_that_waits_twice_gets_the_lock_by_the_future_that_it_polls() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock().await.unwrap();
        let theirs = mutex.clone();
        let lane = spawn(async move {
            let mut first = pin!(theirs.lock());
            assert!(poll_once(first.as_mut()).await.is_none());
            *theirs.lock().await.unwrap() += 1;
            *first.await.unwrap() += 1;
        });
        until(|| mutex.waiting() == 2).await;
        drop(held);
        lane.finish().await;
        assert_eq!(*mutex.lock().await.unwrap(), 2);
    });
}

#[test]
fn a_lock_that_is_free_again_and_again_does_not_keep_others_from_their_turn() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let theirs = mutex.clone();
        let greedy = spawn(async move {
            loop {
                *theirs.lock().await.unwrap() += 1;
            }
        });
        spawn(async { yield_now().await }).finish().await;
        greedy.kill().await;
        assert!(*mutex.lock().await.unwrap() > 0);
    });
}

#[test]
fn locks_that_are_made_for_one_locking_each_do_not_keep_others_from_their_turn() {
    runtime().block_on(async {
        for lockings in [1, 7, 8, 15] {
            let greedy = spawn(async move {
                loop {
                    let mutex = Mutex::new(0);
                    for _ in 0..lockings {
                        *mutex.lock().await.unwrap() += 1;
                    }
                }
            });
            spawn(async { yield_now().await }).finish().await;
            greedy.kill().await;
        }
    });
}

#[test]
fn locks_are_noted_until_they_are_given_back_in_whatever_order() {
    runtime().block_on(async {
        spawn(async move {
            let mutexes = [const { Mutex::new(0) }; 4];
            let noted = || crate::context::with_current(|_, _, own| own.index().holds().count()).unwrap();
            for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
                let mut guards = Vec::new();
                for mutex in &mutexes {
                    guards.push(Some(mutex.lock().await.unwrap()));
                    assert_eq!(noted(), guards.len());
                    assert_eq!(resources().unwrap().locks.len(), guards.len());
                }
                for (given_back, which) in order.into_iter().enumerate() {
                    drop(guards[which].take());
                    assert_eq!(noted(), 3 - given_back);
                    if given_back == 1 {
                        // One more, where another was.
                        drop(mutexes[which].lock().await.unwrap());
                        assert_eq!(noted(), 2);
                    }
                }
            }
        })
        .finish()
        .await;
    });
}

#[test]
fn a_mutex_that_is_dropped_with_a_guard_leaked_leaves_its_place_free_to_another() {
    runtime().block_on(async {
        let mutex = Box::new(Mutex::new(0));
        let lane = spawn(async move {
            forget(mutex.lock().await.unwrap());
            let mut leaked = Box::pin(mutex.lock());
            assert!(poll_fn(|cx| Poll::Ready(leaked.as_mut().poll(cx).is_pending())).await);
            forget(leaked);
            drop(mutex);
            // Very likely in the same place, as the last that was given back.
            let mutex = Mutex::new(0);
            // Whoever has just got it has not said so yet.
            assert!(mutex.core().word().try_lock().is_some() && mutex.holder().is_none());
            assert!(mutex.core().word().try_unlock());
            for _ in 0..3 {
                *mutex.lock().await.unwrap() += 1;
            }
            assert!(mutex.holder().is_none() && mutex.waiting() == 0);
            assert!(mutex.core().word().try_lock().is_some() && mutex.holder().is_none());
            let noted = crate::context::with_current(|_, _, own| own.index().holds().count());
            assert_eq!(noted, Some(0), "that of the guard that was leaked has made room");
        });
        lane.finish().await;
    });
}

/// A lock that a lane died with.
async fn left_behind<T: Send + 'static>(value: T) -> Arc<Mutex<T>> {
    let mutex = Arc::new(Mutex::new(value));
    let theirs = mutex.clone();
    let lane = spawn(async move {
        let _held = theirs.lock().await.unwrap();
        pending::<()>().await;
    });
    until(|| mutex.holder().is_some()).await;
    lane.kill().await;
    mutex
}

#[test]
fn a_word_of_a_death_that_is_taken_back_after_another_leaves_the_lock_abandoned() {
    runtime().block_on(async {
        let mutex = left_behind(0).await;
        let (theirs, place) = (mutex.clone(), Arc::new(parking_lot::Mutex::new(None)));
        let moved = place.clone();
        let lane = spawn(async move {
            *moved.lock() = Some(theirs.lock_owned().await.unwrap_err());
            pending::<()>().await;
        });
        until(|| place.lock().is_some()).await;
        lane.kill().await;
        let guard = place.lock().take().unwrap().recover().unwrap();
        let Err(TryLockError::Failed(LockError::Abandoned(abandoned))) = mutex.try_lock() else {
            panic!("its second holder died as well")
        };
        assert_eq!(abandoned.holder().lane, Some(lane.id));
        drop(guard);
        let Err(LockError::OwnerDied(died)) = mutex.lock().await else { panic!("its second holder died") };
        assert_eq!(died.holder().lane, Some(lane.id));
    });
}

#[test]
fn what_is_put_right_is_the_lock_of_the_guard_that_is_there() {
    runtime().block_on(async {
        let (one, two) = (left_behind(1).await, left_behind(2).await);
        let Err(LockError::OwnerDied(mut of_one)) = one.lock().await else { panic!("its holder died") };
        let Err(LockError::OwnerDied(mut of_two)) = two.lock().await else { panic!("its holder died") };
        std::mem::swap(of_one.get_mut(), of_two.get_mut());
        drop(of_two);
        assert_eq!(*of_one.recover(), 2);
        assert!(one.dead_holder().is_some() && two.dead_holder().is_none());
    });
}

#[test]
fn a_destructor_that_panics_with_a_lock_it_took_at_the_death_of_its_lane_marks_it() {
    struct Locks(Arc<Mutex<u32>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            let _half_done = self.0.try_lock().unwrap();
            panic!("as it was to be");
        }
    }
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let locks = Locks(mutex.clone());
        let lane = spawn(async move {
            let _locks = locks;
            pending::<()>().await;
        });
        yield_now().await;
        lane.kill().await;
        assert!(matches!(mutex.lock().await, Err(LockError::OwnerDied(_))));
    });
}

#[test]
fn a_future_that_is_polled_in_a_lane_and_elsewhere_by_turns_is_noted_once() {
    let (runtime, mutex) = (runtime(), Arc::new(Mutex::new(0)));
    let held = mutex.try_lock().unwrap();
    let shared = Arc::new(parking_lot::Mutex::new(Box::pin(mutex.clone().lock_owned())));
    let (go, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (theirs, told, tells) = (shared.clone(), go.clone(), done.clone());
    let _entered = runtime.handle().enter();
    let lane = spawn(async move {
        for round in 1..=100 {
            until(|| told.load(Ordering::Relaxed) == round).await;
            assert!(poll_fn(|cx| Poll::Ready(theirs.lock().as_mut().poll(cx).is_pending())).await);
            tells.store(round, Ordering::Relaxed);
        }
        assert_eq!(crate::context::with_current(|_, _, own| own.index().waits.len()), Some(1));
    });
    for round in 1..=100 {
        // Of turns outside of lanes and `block_on` nobody hears.
        let mut cx = Context::from_waker(Waker::noop());
        assert!(shared.lock().as_mut().poll(&mut cx).is_pending());
        go.store(round, Ordering::Relaxed);
        runtime.block_on(until(|| done.load(Ordering::Relaxed) == round));
    }
    runtime.block_on(lane.finish());
    drop(held);
}

#[test]
fn a_block_on_within_another_is_not_kept_from_a_lock_by_what_that_one_waits_for() {
    let runtime = runtime();
    runtime.block_on(async {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock().await.unwrap();
        let mut outer = pin!(mutex.lock());
        assert!(poll_once(outer.as_mut()).await.is_none());
        drop(held);
        runtime.block_on(async { *mutex.lock().await.unwrap() += 1 });
        // What it lost by that it gets again, and it is woken for it.
        assert_eq!(*outer.await.unwrap(), 1);
    });
}

#[test]
fn a_block_on_that_polls_a_lock_and_then_another_block_on_is_woken_for_the_lock() {
    let runtime = runtime();
    runtime.block_on(async {
        let mutex = Mutex::new(0);
        let mut held = Some(mutex.lock().await.unwrap());
        let mut outer = pin!(mutex.lock());
        poll_fn(|cx| {
            let polled = outer.as_mut().poll(cx);
            if held.is_some() {
                runtime.block_on(yield_now());
                held = None;
            }
            polled.map(drop)
        })
        .await;
    });
}

#[test]
fn a_lane_that_polls_a_lock_before_it_gives_it_back_in_the_same_turn_has_it_before_those_behind() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let theirs = mutex.clone();
        let first = spawn(async move {
            let held = theirs.lock().await.unwrap();
            let mut again = pin!(theirs.lock());
            assert!(poll_once(again.as_mut()).await.is_none());
            until(|| theirs.waiting() == 2).await;
            // In a later turn than the one in which it came.
            assert!(poll_once(again.as_mut()).await.is_none());
            drop(held);
            // It is offered, and the turn ends in which it was looked at before.
            yield_now().await;
            again.await.unwrap().push(1);
        });
        until(|| mutex.waiting() == 1).await;
        let theirs = mutex.clone();
        let second = spawn(async move { theirs.lock().await.unwrap().push(2) });
        first.finish().await;
        second.finish().await;
        assert_eq!(*mutex.lock().await.unwrap(), [1, 2]);
    });
}

#[test]
fn a_guard_that_was_moved_puts_the_value_back_after_its_takers_death() {
    runtime().block_on(async {
        let mutex = Arc::new(Mutex::with_rollback(1, Rollback::snapshot()));
        let (theirs, place) = (mutex.clone(), Arc::new(parking_lot::Mutex::new(None)));
        let moved = place.clone();
        let lane = spawn(async move {
            let mut guard = theirs.lock_owned().await.unwrap();
            *guard = 2;
            *moved.lock() = Some(guard);
            pending::<()>().await;
        });
        until(|| place.lock().is_some()).await;
        lane.kill().await;
        assert!(matches!(mutex.lock().await, Err(LockError::Abandoned(_))));
        drop(place.lock().take());
        assert_eq!((*mutex.lock().await.unwrap(), mutex.dead_holder()), (1, None));
        // Whoever died before is nobody's business, also where the line grants it.
        let mut again = pin!(mutex.lock());
        let held = mutex.lock().await.unwrap();
        assert!(poll_once(again.as_mut()).await.is_none());
        drop(held);
        assert_eq!(*again.await.unwrap(), 1);
    });
}
