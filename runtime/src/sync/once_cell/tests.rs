//! Those who make the value, those who fail to, and those who wait for it.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::*;
use crate::sync::testing::{on_two_workers, poll_once, poll_outside, runtime, spawn, until};

#[test]
fn the_value_is_made_once_however_many_need_it() {
    static MADE: OnceCell<u32> = OnceCell::new();
    static TIMES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    on_two_workers((0..8).map(|_| async {
        let make = async || {
            crate::yield_now().await;
            TIMES.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        };
        assert_eq!(*MADE.get_or_init(make).await, 0);
    }));
    assert_eq!(MADE.get(), Some(&0));
}

#[test]
fn one_who_fails_or_panics_or_is_dropped_leaves_the_turn_to_the_next() {
    let cell = OnceCell::new();
    let failed: Poll<Result<&u32, &str>> = poll_outside(pin!(cell.get_or_try_init(async || Err("no"))));
    assert_eq!(failed, Poll::Ready(Err("no")));
    let panics = pin!(cell.get_or_init(async || panic!("a panic for the test")));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_outside(panics).is_ready())).is_err());
    {
        let mut dropped = pin!(cell.get_or_init(std::future::pending));
        assert!(poll_outside(dropped.as_mut()).is_pending());
        let mut next = pin!(cell.get_or_init(async || 1));
        assert!(poll_outside(next.as_mut()).is_pending());
        assert_eq!(cell.set(2), Err(SetError::Initializing(2)));
    }
    assert_eq!(poll_outside(pin!(cell.get_or_init(async || 3))), Poll::Ready(&3));
    assert_eq!(cell.set(4), Err(SetError::AlreadyInitialized(4)));
}

#[test]
fn a_lane_that_is_killed_while_it_makes_the_value_leaves_the_turn_to_the_next() {
    for leaks in [false, true] {
        runtime().block_on(async {
            let cell: &'static OnceCell<u32> = Box::leak(Box::default());
            let (say, said) = crate::sync::oneshot::channel();
            let first = spawn(async move {
                let mut make = Box::pin(cell.get_or_init(async || {
                    say.send(()).unwrap();
                    std::future::pending().await
                }));
                assert!(poll_once(make.as_mut()).await.is_none());
                if leaks {
                    std::mem::forget(make);
                }
                std::future::pending::<()>().await;
            });
            said.await.unwrap();
            let second = spawn(async { assert_eq!(*cell.get_or_init(async || 2).await, 2) });
            until(|| cell.turn.waiting() == 1).await;
            first.kill().await;
            second.finish().await;
        });
    }
}

#[test]
fn a_value_that_is_set_lets_all_go_on_and_can_be_taken_out() {
    let mut cell = OnceCell::new();
    assert_eq!((cell.get(), cell.is_initialized(), cell.set(1)), (None, false, Ok(())));
    assert_eq!(poll_outside(pin!(cell.get_or_init(async || 2))), Poll::Ready(&1));
    *cell.get_mut().unwrap() = 3;
    assert_eq!((cell.take(), cell.get()), (Some(3), None));
    assert_eq!(cell.set(4), Ok(()));
    assert_eq!(cell.into_inner(), Some(4));
    let shared = Arc::new(OnceCell::from(5));
    assert_eq!(poll_outside(pin!(shared.get_or_init(async || 6))), Poll::Ready(&5));
}
