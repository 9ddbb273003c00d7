//! Lanes that take permits, wait for them, and die.

use std::pin::pin;
use std::sync::Arc;

use super::*;
use crate::sync::testing::{ended, poll_once, runtime, spawn, until};

#[test]
fn a_permit_that_was_leaked_comes_back_at_the_death_of_its_lane() {
    let semaphore = Arc::new(Semaphore::new(3));
    let ours = semaphore.clone();
    let runtime = runtime();
    runtime.block_on(async move {
        let theirs = ours.clone();
        let holder = spawn(async move {
            std::mem::forget(theirs.acquire_many(2).await.unwrap());
            let _dropped = theirs.acquire().await.unwrap();
            std::future::pending::<()>().await;
        });
        until(|| ours.available_permits() == 0).await;
        assert!(ours.holders().iter().all(|by| by.lane == Some(holder.id) && by.taken_at.file() == file!()));
        holder.kill().await;
        assert_eq!((ours.available_permits(), ours.holders()), (3, vec![]));
    });
    assert_eq!(ended(runtime).locks_released, 2);
}

#[test]
fn a_lane_that_dies_in_line_leaves_it_also_where_its_future_was_leaked() {
    let semaphore = Arc::new(Semaphore::new(1));
    let ours = semaphore.clone();
    let runtime = runtime();
    runtime.block_on(async move {
        let held = ours.acquire().await.unwrap();
        let theirs = ours.clone();
        let waiter = spawn(async move {
            let mut leaked = Box::pin(theirs.clone().acquire_owned());
            assert!(poll_once(leaked.as_mut()).await.is_none());
            std::mem::forget(leaked);
            let _never = theirs.acquire().await;
        });
        until(|| ours.waiting() == 2).await;
        waiter.kill().await;
        assert_eq!(ours.waiting(), 0);
        drop(held);
        assert_eq!(ours.available_permits(), 1);
    });
    assert_eq!(ended(runtime).wait_entries_released, 2);
}

#[test]
fn a_future_that_its_lane_does_not_poll_is_passed_over() {
    runtime().block_on(async {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.acquire().await.unwrap();
        let theirs = semaphore.clone();
        let lane = spawn(async move {
            let mut first = pin!(theirs.acquire());
            assert!(poll_once(first.as_mut()).await.is_none());
            // The first stays alive, and nobody polls it.
            drop(theirs.acquire().await.unwrap());
            drop(first.await.unwrap());
        });
        until(|| semaphore.waiting() == 2).await;
        drop(held);
        lane.finish().await;
        assert_eq!((semaphore.waiting(), semaphore.available_permits()), (0, 1));
    });
}

#[test]
fn a_future_that_block_on_does_not_poll_is_passed_over() {
    runtime().block_on(async {
        let semaphore = Arc::new(Semaphore::new(1));
        let theirs = semaphore.clone();
        let held = spawn(async move {
            let _held = theirs.acquire().await.unwrap();
            until(|| theirs.waiting() == 2).await;
        });
        until(|| semaphore.available_permits() == 0).await;
        let mut first = pin!(semaphore.acquire());
        assert!(poll_once(first.as_mut()).await.is_none());
        drop(semaphore.acquire().await.unwrap());
        drop(first.await.unwrap());
        held.finish().await;
    });
}

#[test]
fn a_semaphore_that_is_closed_refuses_those_in_line_and_keeps_what_is_held() {
    runtime().block_on(async {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.acquire().await.unwrap();
        let theirs = semaphore.clone();
        let waiter = spawn(async move { assert!(theirs.acquire().await.is_err()) });
        until(|| semaphore.waiting() == 1).await;
        semaphore.close();
        waiter.finish().await;
        assert_eq!(semaphore.try_acquire().err(), Some(TryAcquireError::Closed));
        drop(held);
        assert_eq!((semaphore.available_permits(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn permits_are_added_and_forgotten() {
    let semaphore = Semaphore::new(1);
    semaphore.add_permits(2);
    semaphore.try_acquire_many(2).unwrap().forget();
    assert_eq!((semaphore.available_permits(), semaphore.forget_permits(5), semaphore.forget_permits(1)), (1, 1, 0));
    assert_eq!(semaphore.try_acquire().err(), Some(TryAcquireError::NoPermits));
    semaphore.add_permits(usize::MAX);
    semaphore.add_permits(1);
    assert_eq!(semaphore.available_permits(), usize::MAX);
}
