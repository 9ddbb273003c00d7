//! Timers: sleeps, intervals, timeouts and messages put off; all of them gone with their lane.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use laneway::time::{MissedTick, now};
use laneway::{Handle, Lane};

use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_sleep_lasts_as_long_as_it_says() {
    test(async |_: Lane<News>| {
        for length in [Duration::from_millis(1), SECOND, Duration::from_secs(86_400 * 365)] {
            let before = now();
            laneway::sleep(length).await;
            assert_eq!(now() - before, length);
        }
        let before = now();
        laneway::sleep(Duration::ZERO).await;
        assert_eq!(now(), before);
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        for number in [5, 1, 4, 2, 3] {
            laneway::spawn(async move |_: Lane<()>| {
                laneway::sleep(SECOND * number).await;
                me.send(News::Number(number.into())).await.unwrap();
            })
            .unwrap();
        }
        for expected in 1..=5 {
            assert_eq!(number(&mut lane).await, expected);
        }
    });
}

#[test]
fn no_sleep_is_lost_or_too_short_while_workers_share_the_timers() {
    const LANES: u64 = 400;
    race(5, async |mut lane: Lane<News>| {
        let me = lane.address();
        for number in 0..LANES {
            let sleeper = async move |_: Lane<()>| {
                let length = Duration::from_micros(500 + 700 * (number % 4));
                for _ in 0..2 {
                    let before = now();
                    laneway::sleep(length).await;
                    assert!(now() - before >= length);
                    assert!(laneway::timeout(length, pending::<()>()).await.is_err());
                    assert!(now() - before >= length * 2);
                }
                // Enough of them for a waker that is not the lane's own.
                futures_util::future::join_all((0..40).map(|_| laneway::sleep(length))).await;
                me.send(News::Number(number)).await.unwrap();
            };
            laneway::spawn(sleeper).unwrap();
        }
        let mut sum = 0;
        for _ in 0..LANES {
            sum += number(&mut lane).await;
        }
        assert_eq!(sum, LANES * (LANES - 1) / 2);
    });
}

#[test]
fn death_cancels_the_timers_of_a_lane_and_of_no_other() {
    test(async |mut lane: Lane<News>| {
        let fired = Arc::new(AtomicU64::new(0));
        let fires = fired.clone();
        let me = lane.address();
        let target = laneway::spawn(async move |_: Lane<()>| {
            for _ in 0..10 {
                let fires = fires.clone();
                laneway::time::call_at(now() + SECOND, move || _ = fires.fetch_add(1, Ordering::Relaxed));
                me.send_after(SECOND, News::Number(1));
            }
            laneway::sleep(SECOND).await;
        })
        .unwrap();
        lane.monitor_with_receipt(target, News::Down);
        me.send_after(SECOND * 2, News::Number(2));
        settle().await;
        let handle = Handle::current().unwrap();
        assert_eq!(handle.held_by(target.id()).timers, 21);
        target.kill();
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert!(receipt.timers >= 20, "{receipt:?}");
        assert_eq!(handle.held_by(target.id()).timers, 0);
        assert_eq!(number(&mut lane).await, 2, "a timer of the dead lane went off");
        assert_eq!(fired.load(Ordering::Relaxed), 0);
        settle().await;
        // What still stands is the test's own, which waited with a time limit.
        assert_eq!(handle.metrics().timers, handle.held_by(lane.id()).timers as u64);
    });
}

#[test]
fn send_after_sends_then_and_not_once_it_was_cancelled() {
    test(async |mut lane: Lane<News>| {
        let before = now();
        let me = lane.address();
        let cancelled = me.send_after(SECOND, News::Number(1));
        me.send_after(SECOND * 2, News::Number(2));
        assert!(cancelled.cancel());
        assert!(!cancelled.cancel());
        assert_eq!(number(&mut lane).await, 2);
        assert_eq!(now() - before, SECOND * 2);
    });
}

#[test]
fn send_after_is_exempt_from_the_bound_and_forgets_a_dead_lane() {
    test(async |mut lane: Lane<News>| {
        let target = laneway::Spawn::new().mailbox(1).spawn(async |_: Lane<u64>| pending::<()>().await);
        let target = target.unwrap();
        for number in 0..5 {
            target.send_after(SECOND, number);
        }
        laneway::sleep(SECOND * 2).await;
        target.send_after(SECOND, 9);
        lane.monitor_with_receipt(target, News::Down);
        target.kill();
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!(receipt.messages_dropped, 5, "{receipt:?}");
        laneway::sleep(SECOND * 2).await;
        let handle = Handle::current().unwrap();
        assert_eq!(handle.metrics().timers, handle.held_by(lane.id()).timers as u64);
    });
}

#[test]
fn send_after_by_a_thread_is_nobodys_timer() {
    let runtime = virtual_runtime();
    runtime.block_on(async {
        let (asked, answer) = (laneway::spawn(obey).unwrap(), Arc::new(AtomicU64::new(0)));
        let answers = answer.clone();
        asked.send_after(SECOND, order(move |_| _ = answers.fetch_add(1, Ordering::Relaxed)));
        laneway::sleep(SECOND * 2).await;
        assert_eq!(answer.load(Ordering::Relaxed), 1);
    });
    end(runtime);
}

#[test]
fn an_interval_ticks_at_once_and_by_its_deadlines() {
    test(async |_: Lane<News>| {
        let start = now();
        let mut ticks = laneway::interval(SECOND);
        for tick in 0..5 {
            assert_eq!(ticks.tick().await - start, SECOND * tick);
            assert_eq!(now() - start, SECOND * tick);
            // Work between the ticks does not shift them.
            laneway::sleep(SECOND / 2).await;
        }
        // A tick that was not waited for is not used up.
        assert!(laneway::timeout(SECOND / 4, ticks.tick()).await.is_err());
        assert_eq!(ticks.tick().await - start, SECOND * 5);
    });
}

#[test]
fn an_interval_makes_up_for_missed_ticks_or_skips_them() {
    test(async |_: Lane<News>| {
        let start = now();
        let mut bursts = laneway::interval(SECOND);
        let mut skips = laneway::interval(SECOND).missed_tick(MissedTick::Skip);
        bursts.tick().await;
        skips.tick().await;
        laneway::sleep(SECOND * 7 / 2).await;
        for tick in 1..=3 {
            assert_eq!(bursts.tick().await - start, SECOND * tick);
            assert_eq!(now() - start, SECOND * 7 / 2);
        }
        assert_eq!(skips.tick().await - start, SECOND, "the tick that was due first comes late");
        assert_eq!(now() - start, SECOND * 7 / 2);
        assert_eq!(skips.tick().await - start, SECOND * 4, "the next is at a multiple of the period");
        assert_eq!(bursts.tick().await - start, SECOND * 4);
        assert_eq!(now() - start, SECOND * 4);
    });
}

#[test]
fn a_timeout_drops_what_is_late_and_gives_what_is_in_time() {
    test(async |_: Lane<News>| {
        let owned = Arc::new(());
        let owns = owned.clone();
        let late = async move {
            laneway::sleep(SECOND * 2).await;
            drop(owns);
        };
        let before = now();
        assert!(laneway::timeout(SECOND, late).await.is_err());
        assert_eq!((now() - before, Arc::strong_count(&owned)), (SECOND, 1));
        assert_eq!(laneway::timeout(SECOND, async { 5 }).await.ok(), Some(5));
        assert_eq!(laneway::timeout(Duration::ZERO, async { 6 }).await.ok(), Some(6), "what is ready is in time");
        let before = now();
        let inner = laneway::timeout(SECOND * 3, laneway::timeout(SECOND, pending::<()>())).await;
        assert!(matches!(inner, Ok(Err(_))), "{inner:?}");
        assert_eq!(now() - before, SECOND);
        // An early deadline that was dropped does not hold up a later one.
        let later = laneway::timeout(SECOND * 5, pending::<()>()).await;
        assert!(later.is_err());
        assert_eq!(now() - before, SECOND * 6);
    });
}
