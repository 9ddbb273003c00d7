//! Lanes that wait with a mutex, are notified, give up, and die.

use std::pin::pin;
use std::sync::Arc;

use super::*;
use crate::sync::testing::{Spawned, on_two_workers, poll_once, poll_outside, runtime, spawn, until};

type Shared = Arc<(Mutex<u32>, Condvar)>;

fn shared(value: u32) -> Shared {
    Arc::new((Mutex::new(value), Condvar::new()))
}

/// Waits for the value not to be 0, and takes one from it.
fn taker(shared: &Shared) -> Spawned {
    let shared = shared.clone();
    spawn(async move {
        let (mutex, condvar) = &*shared;
        let value = mutex.lock().await.unwrap();
        let mut value = condvar.wait_while(value, |value| *value == 0).await.unwrap();
        *value -= 1;
    })
}

#[test]
fn those_who_wait_are_notified_in_order_and_nothing_is_kept() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    condvar.notify_one();
    condvar.notify_all();
    let lock = || mutex.try_lock().unwrap();
    let mut one = pin!(condvar.wait(lock()));
    assert!(poll_outside(one.as_mut()).is_pending());
    let mut two = pin!(condvar.wait(lock()));
    assert!(poll_outside(two.as_mut()).is_pending());
    assert_eq!(condvar.waiting(), 2);
    condvar.notify_one();
    assert!(poll_outside(two.as_mut()).is_pending());
    let Poll::Ready(Ok(held)) = poll_outside(one.as_mut()) else { panic!("the first was notified") };
    condvar.notify_one();
    assert!(poll_outside(two.as_mut()).is_pending(), "the mutex is locked");
    drop(held);
    assert!(is_locked(two.as_mut()));
    let mut late = pin!(condvar.wait(lock()));
    assert!(poll_outside(late.as_mut()).is_pending());
}

/// Whether a wait is over, with the mutex locked as it should be.
fn is_locked<T>(wait: Pin<&mut Wait<'_, '_, T>>) -> bool {
    matches!(poll_outside(wait), Poll::Ready(Ok(_)))
}

#[test]
fn one_that_is_dropped_before_it_is_polled_unlocks() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    drop(condvar.wait(mutex.try_lock().unwrap()));
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_notification_goes_to_the_next_when_its_waiter_gives_up_waiting_or_locking() {
    for locking in [false, true] {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let mut one = Box::pin(condvar.wait(mutex.try_lock().unwrap()));
        assert!(poll_outside(one.as_mut()).is_pending());
        let mut two = Box::pin(condvar.wait(mutex.try_lock().unwrap()));
        assert!(poll_outside(two.as_mut()).is_pending());
        let held = mutex.try_lock().unwrap();
        condvar.notify_one();
        if locking {
            assert!(poll_outside(one.as_mut()).is_pending());
            assert_eq!(mutex.waiting(), 1);
        }
        drop(one);
        assert!(poll_outside(two.as_mut()).is_pending());
        assert_eq!((mutex.waiting(), condvar.waiting()), (1, 0), "the second locks");
        drop(held);
        assert!(is_locked(two.as_mut()));
    }
}

#[test]
fn all_are_notified_and_lock_one_after_the_other() {
    runtime().block_on(async {
        let shared = shared(0);
        let takers: Vec<Spawned> = (0..5).map(|_| taker(&shared)).collect();
        until(|| shared.1.waiting() == 5).await;
        *shared.0.lock().await.unwrap() = 5;
        shared.1.notify_all();
        for taker in takers {
            taker.finish().await;
        }
        assert_eq!(*shared.0.lock().await.unwrap(), 0);
    });
}

#[test]
fn one_who_comes_later_does_not_take_what_another_was_notified_of() {
    runtime().block_on(async {
        let shared = shared(0);
        let theirs = shared.clone();
        let (go, mut gone) = crate::sync::oneshot::channel();
        let lane = spawn(async move {
            let (mutex, condvar) = &*theirs;
            let mut first = pin!(condvar.wait(mutex.lock().await.unwrap()));
            assert!(poll_once(first.as_mut()).await.is_none());
            // Notified meanwhile, it is passed over.
            (&mut gone).await.unwrap();
            drop(first.await.unwrap());
        });
        until(|| shared.1.waiting() == 1).await;
        shared.1.notify_one();
        for _ in 0..3 {
            crate::yield_now().await;
        }
        let mut late = pin!(shared.1.wait(shared.0.lock().await.unwrap()));
        assert!(poll_once(late.as_mut()).await.is_none());
        crate::yield_now().await;
        assert!(poll_once(late.as_mut()).await.is_none());
        go.send(()).unwrap();
        lane.finish().await;
        assert!(poll_once(late.as_mut()).await.is_none());
        assert_eq!(shared.1.waiting(), 1);
    });
}

#[test]
fn a_lane_that_is_killed_while_it_waits_or_locks_leaves_both_lines_and_its_notification() {
    runtime().block_on(async {
        let shared = shared(0);
        let (first, second) = (taker(&shared), taker(&shared));
        until(|| shared.1.waiting() == 2).await;
        let mut held = shared.0.lock().await.unwrap();
        *held = 1;
        shared.1.notify_one();
        until(|| shared.0.waiting() == 1).await;
        first.kill().await;
        until(|| shared.0.waiting() == 1 && shared.1.waiting() == 0).await;
        drop(held);
        second.finish().await;
        assert_eq!((shared.0.waiting(), shared.1.waiting(), *shared.0.lock().await.unwrap()), (0, 0, 0));
        let third = taker(&shared);
        until(|| shared.1.waiting() == 1).await;
        third.kill().await;
        assert_eq!(shared.1.waiting(), 0);
    });
}

#[test]
fn one_who_is_notified_is_told_that_a_holder_died() {
    runtime().block_on(async {
        let shared = shared(0);
        let theirs = shared.clone();
        let waiter = spawn(async move {
            let (mutex, condvar) = &*theirs;
            let error = condvar.wait(mutex.lock().await.unwrap()).await.unwrap_err();
            assert!(matches!(error, LockError::OwnerDied(_)), "{error}");
            drop(error.recover().unwrap());
        });
        until(|| shared.1.waiting() == 1).await;
        let theirs = shared.clone();
        let holder = spawn(async move {
            let _held = theirs.0.lock().await.unwrap();
            theirs.1.notify_one();
            std::future::pending::<()>().await;
        });
        until(|| shared.0.waiting() == 1).await;
        holder.kill().await;
        waiter.finish().await;
        assert!(shared.0.try_lock().is_ok());
    });
}

#[test]
fn makers_and_takers_on_two_workers_miss_nothing() {
    static ROOM: Mutex<u32> = Mutex::new(0);
    static FILLED: Condvar = Condvar::new();
    static EMPTIED: Condvar = Condvar::new();
    on_two_workers((0..6).map(|number| async move {
        for _ in 0..500 {
            let room = ROOM.lock().await.unwrap();
            if number % 2 == 0 {
                *EMPTIED.wait_while(room, |room| *room == 2).await.unwrap() += 1;
                FILLED.notify_one();
            } else {
                *FILLED.wait_while(room, |room| *room == 0).await.unwrap() -= 1;
                EMPTIED.notify_one();
            }
        }
    }));
    assert_eq!((FILLED.waiting(), EMPTIED.waiting(), *ROOM.try_lock().unwrap()), (0, 0, 0));
}
