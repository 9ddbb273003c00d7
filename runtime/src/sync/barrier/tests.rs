//! Lanes that come, and lanes that go before the last has come.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::sync::testing::{on_two_workers, poll_once, poll_outside, runtime, spawn, until};

#[test]
fn all_go_on_when_the_last_has_come_and_the_last_is_the_leader() {
    let barrier = Barrier::new(3);
    for _ in 0..3 {
        let (mut one, mut two) = (pin!(barrier.wait()), pin!(barrier.wait()));
        assert!(poll_outside(one.as_mut()).is_pending() && poll_outside(two.as_mut()).is_pending());
        assert_eq!(barrier.waiting(), 2);
        let is_leader = |wait: Pin<&mut BarrierWait<'_>>| poll_outside(wait).map(|result| result.is_leader());
        assert_eq!(is_leader(pin!(barrier.wait())), Poll::Ready(true));
        assert_eq!(barrier.waiting(), 0);
        // One of the next round does not count for this one.
        let mut next = pin!(barrier.wait());
        assert!(poll_outside(next.as_mut()).is_pending());
        assert_eq!((is_leader(one), is_leader(two)), (Poll::Ready(false), Poll::Ready(false)));
    }
}

#[test]
fn a_barrier_for_one_or_for_none_holds_up_nobody() {
    for parties in [0, 1] {
        assert!(poll_outside(pin!(Barrier::new(parties).wait())).is_ready());
    }
}

#[test]
fn one_who_stops_waiting_gives_his_place_back() {
    let barrier = Barrier::new(2);
    {
        let mut gone = pin!(barrier.wait());
        assert!(poll_outside(gone.as_mut()).is_pending());
    }
    assert_eq!(barrier.waiting(), 0);
    let mut one = pin!(barrier.wait());
    assert!(poll_outside(one.as_mut()).is_pending());
    assert!(poll_outside(pin!(barrier.wait())).is_ready() && poll_outside(one).is_ready());
}

#[test]
fn a_lane_that_is_killed_gives_its_place_back_also_where_its_future_was_leaked() {
    let runtime = runtime();
    runtime.block_on(async {
        let barrier: &'static Barrier = Box::leak(Box::new(Barrier::new(2)));
        let waits = spawn(async {
            barrier.wait().await;
        });
        until(|| barrier.waiting() == 1).await;
        waits.kill().await;
        assert_eq!(barrier.waiting(), 0);
        let leaks = spawn(async {
            let mut leaked = Box::pin(barrier.wait());
            assert!(poll_once(leaked.as_mut()).await.is_none());
            std::mem::forget(leaked);
            std::future::pending::<()>().await;
        });
        until(|| barrier.waiting() == 1).await;
        leaks.kill().await;
        assert_eq!(barrier.waiting(), 0);
    });
}

#[test]
fn a_place_goes_with_its_future_from_lane_to_lane() {
    runtime().block_on(async {
        let barrier: &'static Barrier = Box::leak(Box::new(Barrier::new(2)));
        let (give, given) = crate::sync::oneshot::channel();
        let first = spawn(async {
            let mut wait = Box::pin(barrier.wait());
            assert!(poll_once(wait.as_mut()).await.is_none());
            give.send(wait).unwrap_or_else(|_| panic!("somebody takes it"));
            std::future::pending::<()>().await;
        });
        let (say, said) = crate::sync::oneshot::channel();
        let second = spawn(async {
            let mut wait = given.await.unwrap();
            assert!(poll_once(wait.as_mut()).await.is_none());
            say.send(()).unwrap();
            assert!(!wait.await.is_leader());
        });
        said.await.unwrap();
        first.kill().await;
        assert_eq!(barrier.waiting(), 1);
        assert!(barrier.wait().await.is_leader());
        second.finish().await;
    });
}

#[test]
fn many_rounds_on_two_workers_have_one_leader_each() {
    let (barrier, leaders) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)));
    on_two_workers((0..4).map(|_| {
        let (barrier, leaders) = (barrier.clone(), leaders.clone());
        async move {
            for round in 0..500 {
                if barrier.wait().await.is_leader() {
                    leaders.fetch_add(1, Ordering::Relaxed);
                }
                barrier.wait().await;
                assert_eq!(leaders.load(Ordering::Relaxed), round + 1);
                barrier.wait().await;
            }
        }
    }));
}
