//! Those who wait, those who stop waiting, and calls that must not be lost.

use std::pin::pin;
use std::sync::Arc;

use super::*;
use crate::sync::testing::{on_two_workers, poll_once, poll_outside, runtime, spawn, until};

fn is_notified(notified: Pin<&mut Notified<'_>>) -> bool {
    poll_outside(notified).is_ready()
}

/// How many are notified without a further call.
fn kept(notify: &Notify) -> usize {
    let mut count = 0;
    while is_notified(pin!(notify.notified())) {
        count += 1;
    }
    count
}

#[test]
fn one_notification_is_kept_where_nobody_waits_and_none_of_those_to_all() {
    let notify = Notify::new();
    notify.notify_waiters();
    assert_eq!(kept(&notify), 0);
    notify.notify_one();
    notify.notify_one();
    assert_eq!(kept(&notify), 1);
}

#[test]
fn those_who_wait_are_notified_in_order() {
    let notify = Notify::new();
    let (mut one, mut two) = (pin!(notify.notified()), pin!(notify.notified()));
    assert!(!is_notified(one.as_mut()) && !is_notified(two.as_mut()));
    notify.notify_one();
    assert!(!is_notified(two.as_mut()) && is_notified(one.as_mut()));
    notify.notify_one();
    assert!(is_notified(two.as_mut()) && is_notified(two.as_mut()), "it stays ready");
    assert_eq!((kept(&notify), notify.waiting()), (0, 0));
}

#[test]
fn all_are_notified_who_had_asked_also_where_nobody_had_polled_them() {
    let notify = Notify::new();
    let (mut polled, mut fresh) = (pin!(notify.notified()), pin!(notify.notified()));
    assert!(!is_notified(polled.as_mut()));
    notify.notify_waiters();
    let mut late = pin!(notify.notified());
    assert!(is_notified(polled) && is_notified(fresh.as_mut()) && !is_notified(late.as_mut()));
}

#[test]
fn what_one_is_notified_of_goes_to_the_next_when_he_is_dropped() {
    let notify = Notify::new();
    let mut two = pin!(notify.notified());
    {
        let mut one = pin!(notify.notified());
        assert!(!is_notified(one.as_mut()) && !is_notified(two.as_mut()));
        notify.notify_one();
    }
    assert!(is_notified(two.as_mut()));
    {
        let (mut one, mut two) = (pin!(notify.notified()), pin!(notify.notified()));
        assert!(!is_notified(one.as_mut()) && !is_notified(two.as_mut()));
        notify.notify_one();
        notify.notify_one();
    }
    assert_eq!(kept(&notify), 1, "nobody waits: one is kept");
}

#[test]
fn one_who_was_notified_alone_and_then_with_all_leaves_the_first_to_another() {
    let notify = Notify::new();
    let mut one = pin!(notify.notified());
    assert!(!is_notified(one.as_mut()));
    notify.notify_one();
    notify.notify_waiters();
    let mut next = pin!(notify.notified());
    assert!(!is_notified(next.as_mut()), "the first has not looked");
    assert!(is_notified(one) && is_notified(next));
    assert_eq!(kept(&notify), 0);
}

#[test]
fn one_that_is_enabled_misses_nothing_before_it_is_polled() {
    let notify = Notify::new();
    let (mut one, mut two) = (pin!(notify.notified()), pin!(notify.notified()));
    assert!(!one.as_mut().enable() && !two.as_mut().enable());
    notify.notify_one();
    assert!(!two.as_mut().enable() && is_notified(one));
    notify.notify_one();
    assert!(two.as_mut().enable() && is_notified(two));
}

#[test]
fn a_future_that_its_lane_does_not_poll_holds_up_nobody_and_loses_nothing() {
    runtime().block_on(async {
        let notify = Arc::new(Notify::new());
        let theirs = notify.clone();
        let lane = spawn(async move {
            let mut first = pin!(theirs.notified());
            assert!(poll_once(first.as_mut()).await.is_none());
            // It is notified, and nobody polls it: the other is, by what was passed on.
            theirs.notified().await;
            // Two more: one for it, and one to be kept.
            first.await;
        });
        until(|| notify.waiting() == 2).await;
        notify.notify_one();
        until(|| notify.waiting() == 1).await;
        notify.notify_one();
        lane.finish().await;
        assert_eq!(kept(&notify), 0);
    });
}

#[test]
fn one_that_was_passed_over_counts_as_notified_where_nobody_else_waits() {
    runtime().block_on(async {
        let notify = Arc::new(Notify::new());
        let theirs = notify.clone();
        let (go, mut gone) = crate::sync::oneshot::channel();
        let lane = spawn(async move {
            let mut notified = pin!(theirs.notified());
            assert!(poll_once(notified.as_mut()).await.is_none());
            (&mut gone).await.unwrap();
            notified.await;
            // The second call was kept beside it.
            theirs.notified().await;
        });
        until(|| notify.waiting() == 1).await;
        notify.notify_one();
        for _ in 0..3 {
            crate::yield_now().await;
        }
        notify.notify_one();
        go.send(()).unwrap();
        lane.finish().await;
        assert_eq!(kept(&notify), 0);
    });
}

#[test]
fn what_a_lane_was_notified_of_that_is_killed_goes_to_the_next_also_where_its_future_was_leaked() {
    runtime().block_on(async {
        let notify: &'static Notify = Box::leak(Box::default());
        let lane = spawn(async {
            let mut leaked = Box::pin(notify.notified());
            assert!(poll_once(leaked.as_mut()).await.is_none());
            std::mem::forget(leaked);
            std::future::pending::<()>().await;
        });
        until(|| notify.waiting() == 1).await;
        let next = spawn(notify.notified());
        until(|| notify.waiting() == 2).await;
        crate::lane::kill(lane.id);
        notify.notify_one();
        next.finish().await;
        lane.kill().await;
        assert_eq!((notify.waiting(), kept(notify)), (0, 0));
    });
}

#[test]
fn two_lanes_that_notify_each_other_on_two_workers_miss_nothing() {
    static TURNS: [Notify; 2] = [Notify::new(), Notify::new()];
    on_two_workers([0, 1].map(|me: usize| async move {
        for _ in 0..3000 {
            // In turns: of two calls in a row that nobody has taken yet, one is kept.
            if me == 0 {
                TURNS[1].notify_one();
            }
            TURNS[me].notified().await;
            if me == 1 {
                TURNS[0].notify_one();
            }
        }
    }));
    assert_eq!([kept(&TURNS[0]), kept(&TURNS[1])], [0, 0]);
}
