//! Channels, and what lanes wait for beside locks: in order, never lost, given back by every death, inside and outside of
//! lanes and under other people's combinators.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, select};
use laneway::sync::{Barrier, Condvar, Mutex, Notify, OnceCell, broadcast, mpsc, oneshot, watch};
use laneway::testing::{Canaries, Canary, KillSweep, SweepReport, Victim, kill_sweep};
use laneway::{Lane, Spawn, SpawnError, join, timeout, yield_now};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

type Spawned = Result<(), SpawnError>;

/// Each await was struck once, and each strike left a receipt.
fn assert_whole(report: &SweepReport, at_least: u64) {
    assert_eq!((report.kills, report.runs), (report.awaits, report.awaits + 2), "{report}");
    assert!(report.kills >= at_least, "{report}");
}

#[test]
fn a_send_that_times_out_queues_nothing_and_leaves_its_place() {
    test(async |_: Lane<News>| {
        let (sender, mut receiver) = mpsc::channel(1);
        sender.send(1).await.unwrap();
        assert!(timeout(MS, sender.send(2)).await.is_err());
        assert_eq!((sender.waiting(), receiver.recv().await), (0, Some(1)));
        sender.send(3).await.unwrap();
        assert_eq!(receiver.recv().await, Some(3));
        assert!(timeout(MS, receiver.recv()).await.is_err());
        drop(sender);
        assert_eq!(receiver.recv().await, None);
    });
}

#[test]
fn a_receive_that_loses_a_select_loses_no_message() {
    test(async |_: Lane<News>| {
        let (sender, mut receiver) = mpsc::channel(4);
        laneway::spawn(async move |_: Lane<()>| {
            for number in 0..50 {
                sender.send(number).await.unwrap();
                laneway::sleep(MS * 3).await;
            }
        })
        .unwrap();
        let (mut next, mut ticks) = (0, 0);
        while next < 50 {
            select! {
                number = receiver.recv().fuse() => {
                    assert_eq!(number, Some(next));
                    next += 1;
                }
                () = Box::pin(laneway::sleep(MS)).fuse() => ticks += 1,
            }
        }
        assert!(ticks > 50);
    });
}

#[test]
fn many_sends_of_one_lane_in_a_set_of_futures_all_arrive() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        in_lane(&runtime, async |_: Lane<News>| {
            let (sender, receiver) = mpsc::channel(2);
            let sends: FuturesUnordered<_> = (0..100_u64).map(|number| sender.send(number)).collect();
            let receives = receiver.take(100).fold(0, async |sum, number| sum + number);
            let (sent, sum) = futures_util::join!(sends.collect::<Vec<_>>(), receives);
            assert!(sent.iter().all(Result::is_ok) && sum == 4950);
        });
        end(runtime);
    }
}

#[test]
fn all_of_it_works_outside_of_lanes() {
    let runtime = virtual_runtime();
    let (sender, mut receiver) = mpsc::channel(1);
    let (watched, mut watch) = watch::channel(0);
    let (said, mut heard) = broadcast::channel(2);
    let (answer, answered) = oneshot::channel();
    let lane = {
        let _entered = runtime.handle().enter();
        laneway::spawn(async move |_: Lane<()>| {
            for number in 0..3 {
                sender.send(number).await.unwrap();
                watched.send(number + 1).unwrap();
                said.send(number).unwrap();
            }
            answer.send(7).unwrap();
        })
        .unwrap()
    };
    runtime.block_on(async {
        for number in 0..3 {
            assert_eq!(receiver.recv().await, Some(number));
        }
        assert_eq!(receiver.recv().await, None);
        assert_eq!(*watch.wait_for(|value| *value == 3).await.unwrap(), 3);
        assert_eq!(heard.recv().await, Err(broadcast::RecvError::Lagged(1)));
        assert_eq!((heard.recv().await, heard.recv().await), (Ok(1), Ok(2)));
        assert_eq!(answered.await, Ok(7));
        join(lane.id()).await;
    });
    // An executor that nobody knows: a thread that polls.
    let (sender, mut receiver) = mpsc::channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1000 {
                let mut send = pin!(sender.send(number));
                while send.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    std::thread::yield_now();
                }
            }
        });
        runtime.block_on(async {
            for number in 0..1000 {
                assert_eq!(receiver.recv().await, Some(number));
            }
        });
    });
    end(runtime);
}

/// Senders that crowd before a channel with room for one, and a receiver that takes its time; both ends hold canaries.
async fn crowd(canaries: Canaries) -> Spawned {
    let (sender, mut receiver) = mpsc::channel::<Canary>(1);
    let taker = Spawn::new().name("receiver").spawn(async move |_: Lane<()>| {
        yield_now().await;
        while let Some(_canary) = receiver.recv().await {
            yield_now().await;
        }
    })?;
    let mut senders = Vec::new();
    for number in 0..3 {
        let (sender, canaries) = (sender.clone(), canaries.clone());
        senders.push(Spawn::new().name(format!("sender {number}")).spawn(async move |_: Lane<()>| {
            for round in 0..3 {
                let sent = if round == 1 {
                    sender.reserve().await.map(|permit| permit.send(canaries.canary())).map_err(|_| ())
                } else {
                    sender.send(canaries.canary()).await.map_err(|_| ())
                };
                if sent.is_err() {
                    return sender.closed().await;
                }
                yield_now().await;
            }
        })?);
    }
    for sender in senders {
        join(sender.id()).await;
    }
    assert_eq!((sender.waiting(), sender.is_closed() || sender.capacity() <= 1), (0, true));
    drop(sender);
    join(taker.id()).await;
    assert_eq!(canaries.alive(), 0);
    Ok(())
}

#[test]
fn a_sender_or_a_receiver_killed_at_any_await_leaves_the_channel_in_order() {
    for victim in ["receiver", "sender 0", "sender 1", "sender 2"] {
        let canaries = Canaries::new();
        let ours = canaries.clone();
        let swept = KillSweep::new(Victim::named(victim)).canaries(&canaries).run(move || crowd(ours.clone()));
        assert_whole(&swept.unwrap_or_else(|failure| panic!("{failure}")), 3);
    }
}

/// A lane that answers by a oneshot, and one that waits for the answer.
async fn one_answer() -> Spawned {
    let (answer, mut answered) = oneshot::channel();
    let asker = Spawn::new().name("asker").spawn(async move |_: Lane<()>| {
        if timeout(MS, &mut answered).await.is_err() {
            let late = answered.await;
            assert!(matches!(late, Ok(7) | Err(oneshot::RecvError)));
        }
    })?;
    let mut answer = answer;
    let answerer = Spawn::new().name("answerer").spawn(async move |_: Lane<()>| {
        yield_now().await;
        if timeout(MS * 2, answer.closed()).await.is_err() {
            let _gone_or_not = answer.send(7);
        }
    })?;
    join(asker.id()).await;
    join(answerer.id()).await;
    Ok(())
}

#[test]
fn either_end_of_a_oneshot_may_be_killed_at_any_await() {
    for victim in ["asker", "answerer"] {
        assert_whole(&kill_sweep(Victim::named(victim), one_answer), 2);
    }
}

/// One who says, two who hear and look, by a broadcast and a watch.
async fn news() -> Spawned {
    let (said, heard) = broadcast::channel(2);
    let (shown, seen) = watch::channel(0_u64);
    let mut lanes = Vec::new();
    for number in 0..2 {
        let (mut heard, mut seen) = (heard.resubscribe(), seen.clone());
        lanes.push(Spawn::new().name(format!("hearer {number}")).spawn(async move |_: Lane<()>| {
            let mut next = 0;
            loop {
                match heard.recv().await {
                    Ok(message) => assert_eq!(std::mem::replace(&mut next, message + 1), message),
                    Err(broadcast::RecvError::Lagged(missed)) => next += missed,
                    Err(broadcast::RecvError::Closed) => break,
                }
            }
            let _all_or_less = seen.wait_for(|value| *value == 4).await;
        })?);
    }
    drop((heard, seen));
    lanes.push(Spawn::new().name("sayer").spawn(async move |_: Lane<()>| {
        for number in 0..4 {
            let _heard_or_not = said.send(number);
            shown.send_modify(|value| *value += 1);
            yield_now().await;
        }
        drop(said);
        shown.closed().await;
    })?);
    for lane in lanes {
        join(lane.id()).await;
    }
    Ok(())
}

#[test]
fn whoever_says_hears_or_looks_may_be_killed_at_any_await() {
    for victim in ["sayer", "hearer 0", "hearer 1"] {
        assert_whole(&kill_sweep(Victim::named(victim), news), 3);
    }
}

/// Lanes that fill and empty a place with condition variables, and meet at a barrier that others fill up.
async fn meeting() -> Spawned {
    struct Place {
        full: Mutex<bool>,
        changed: Condvar,
        start: Barrier,
        once: OnceCell<u64>,
        over: Notify,
        made: AtomicU64,
    }
    let place = Arc::new(Place {
        full: Mutex::new(false),
        changed: Condvar::new(),
        start: Barrier::new(3),
        once: OnceCell::new(),
        over: Notify::new(),
        made: AtomicU64::new(0),
    });
    let mut lanes = Vec::new();
    for (name, wants) in [("filler", false), ("emptier", true), ("stander", false)] {
        let place = place.clone();
        lanes.push(Spawn::new().name(name).spawn(async move |_: Lane<()>| {
            place.start.wait().await;
            let made = place.once.get_or_init(async || {
                yield_now().await;
                place.made.fetch_add(1, Ordering::Relaxed)
            });
            assert_eq!(*made.await, 0);
            for _ in 0..2 {
                let Ok(full) = place.full.lock().await.or_else(|error| error.recover()) else { return };
                // Killed, the other one never comes: so nobody waits for it for ever.
                let waited = timeout(MS * 5, place.changed.wait_while(full, |full| *full != wants));
                let Ok(Ok(mut full)) = waited.await.map(|full| full.or_else(|error| error.recover())) else { continue };
                *full = !wants;
                drop(full);
                place.changed.notify_all();
            }
            place.over.notify_one();
        })?);
    }
    // Whoever was killed at the barrier gave his place back; the one who fills it up is never killed.
    let stand_in = place.clone();
    let stand_in = laneway::spawn(async move |_: Lane<()>| {
        let _met_or_not = timeout(MS * 3, stand_in.start.wait()).await;
    })?;
    for lane in &lanes {
        join(lane.id()).await;
    }
    join(stand_in.id()).await;
    place.over.notified().await;
    let here = (place.start.waiting(), place.changed.waiting(), place.full.waiting(), place.over.waiting());
    assert_eq!(here, (0, 0, 0, 0));
    Ok(())
}

#[test]
fn one_at_a_condition_a_barrier_or_a_cell_may_be_killed_at_any_await() {
    for victim in ["filler", "emptier", "stander"] {
        assert_whole(&kill_sweep(Victim::named(victim), meeting), 3);
    }
}

#[test]
fn a_notification_that_a_lane_does_not_look_at_goes_to_another_lane() {
    test(async |mut lane: Lane<News>| {
        let notify = Arc::new(Notify::new());
        let (theirs, me) = (notify.clone(), lane.address());
        let idle = laneway::spawn(async move |mut idle: Lane<()>| {
            let mut first = pin!(theirs.notified());
            assert!(!first.as_mut().enable());
            // It has turns for its mailbox, and does not look.
            idle.recv().await;
            first.await;
            me.send(News::Number(2)).await.unwrap();
        });
        while notify.waiting() < 1 {
            yield_now().await;
        }
        let (theirs, me) = (notify.clone(), lane.address());
        laneway::spawn(async move |_: Lane<()>| {
            theirs.notified().await;
            me.send(News::Number(1)).await.unwrap();
        })
        .unwrap();
        while notify.waiting() < 2 {
            yield_now().await;
        }
        notify.notify_one();
        assert_eq!(number(&mut lane).await, 1);
        idle.unwrap().send(()).await.unwrap();
        notify.notify_one();
        assert_eq!(number(&mut lane).await, 2);
    });
}

#[test]
fn ends_go_between_threads_as_their_messages_do() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let (sender, receiver) = mpsc::channel::<std::cell::Cell<u8>>(1);
    is_send(&sender);
    is_sync(&sender);
    is_send(&receiver);
    let (sender, receiver) = oneshot::channel::<std::cell::Cell<u8>>();
    is_send(&sender);
    is_sync(&sender);
    is_send(&receiver);
    let (sender, receiver) = watch::channel(0_u8);
    is_send(&sender);
    is_sync(&sender);
    is_send(&receiver);
    is_sync(&receiver);
    is_send(&receiver.borrow());
    let (sender, receiver) = broadcast::channel::<u8>(1);
    is_send(&sender);
    is_sync(&sender);
    is_send(&receiver);
    is_sync(&receiver);
    let notified = Notify::new();
    is_send(&notified.notified());
    is_sync(&notified);
    assert!(poll_once_outside(notified.notified()).is_pending());
}

fn poll_once_outside<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
