//! Signals of the OS. Each test has one of its own, since they reach the whole process.

use std::future::pending;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use laneway_net::signal::{self, SignalKind, Signals};
use runtime::{ExitReason, Handle, StaleId};

use super::*;

#[test]
fn each_subscriber_hears_each_signal_and_none_after_its_lane_is_dead() {
    on_all_nodes(async |_| {
        let kind = SignalKind::user_defined1();
        let mut ours = signal::subscribe(kind).unwrap();
        let (tell, id) = reply::port();
        let other = Spawn::new().spawn(move |_: Lane<()>| async move {
            let theirs = signal::subscribe(kind).unwrap();
            let _heard = tell.answer(theirs.id());
            std::mem::forget(theirs);
            pending::<()>().await;
        });
        let id = answered(id).await;
        let mut theirs = Signals::lookup(id).unwrap();
        for _ in 0..3 {
            signal::raise(kind).unwrap();
        }
        for _ in 0..3 {
            ours.recv().await.unwrap();
            theirs.recv().await.unwrap();
        }
        let recv = async {
            let stale = theirs.recv().await.unwrap_err();
            assert_eq!(stale.get_ref().and_then(|inner| inner.downcast_ref()), Some(&StaleId(id)));
        };
        futures_util::join!(recv, kill_and_join(other.unwrap().id()));
        signal::raise(kind).unwrap();
        ours.recv().await.unwrap();
        assert_eq!(Handle::current().unwrap().metrics().descriptors, 1);
    });
}

#[test]
fn signals_come_as_messages_until_the_lane_ends() {
    on_all_nodes(async |_| {
        let kind = SignalKind::user_defined2();
        let target = Spawn::new().mailbox(1).spawn(async |mut lane: Lane<SignalKind>| {
            for _ in 0..5 {
                let Some(heard) = lane.recv().await else { panic!("asked to stop") };
                assert_eq!(heard, SignalKind::user_defined2());
            }
        });
        let target = target.unwrap();
        let (tell, forwarder) = reply::port();
        let caller = Spawn::new().spawn(move |_: Lane<()>| async move {
            // Its end does not end the forwarding.
            let _heard = tell.answer(signal::forward(kind, target, |kind| kind).unwrap());
        });
        let forwarder = answered(forwarder).await;
        actors::join(caller.unwrap().id()).await;
        for _ in 0..5 {
            signal::raise(kind).unwrap();
        }
        actors::join(target.id()).await;
        // It hears of that and ends as well.
        actors::join(forwarder).await;
        assert_eq!(Handle::current().unwrap().metrics().descriptors, 0);
    });
}

#[test]
fn a_forwarding_lane_that_is_killed_forwards_no_more() {
    on_all_nodes(async |_| {
        let target = Spawn::new().spawn(async |mut lane: Lane<()>| while lane.recv().await.is_some() {}).unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let kind = SignalKind::window_change();
        let forwarder = signal::forward(kind, target, move |_| _ = count.fetch_add(1, Ordering::Relaxed)).unwrap();
        signal::raise(kind).unwrap();
        until(|| made.load(Ordering::Relaxed) == 1).await;
        kill_and_join(forwarder).await;
        assert_eq!(Handle::current().unwrap().metrics().descriptors, 0);
        signal::raise(kind).unwrap();
        assert_eq!(Arc::strong_count(&made), 1, "what would make the message is gone");
    });
}

#[test]
fn ctrl_c_is_the_interrupt() {
    on_all_nodes(async |_| {
        let heard = async { signal::ctrl_c().await.unwrap() };
        let raised = async { signal::raise(SignalKind::interrupt()).unwrap() };
        futures_util::join!(heard, raised);
    });
}

#[test]
fn what_cannot_be_caught_is_an_error() {
    on_all_nodes(async |_| {
        for number in [9, 19, 11, 0, -4, 4711] {
            assert!(signal::subscribe(SignalKind::from_number(number)).is_err(), "{number}");
        }
        let target = Spawn::new().spawn(async |_: Lane<()>| ()).unwrap();
        let refused = signal::forward(SignalKind::from_number(9), target, |_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(Handle::current().unwrap().metrics().descriptors, 0);
    });
    assert!(signal::subscribe(SignalKind::hangup()).is_err(), "outside of a runtime");
}

/// `SIGALRM`.
const ALARM: i32 = 14;

#[test]
fn in_virtual_time_a_signal_stays_in_its_runtime() {
    let node = Runtime::builder().workers(1).virtual_time(7).build().unwrap();
    let other = Runtime::builder().workers(1).virtual_time(7).build().unwrap();
    // One that would end the process, had it got out.
    let kind = SignalKind::from_number(ALARM);
    let waits = other.block_on(async {
        Spawn::new().spawn(move |_: Lane<()>| async move {
            signal::subscribe(kind).unwrap().recv().await.unwrap();
            ExitReason::Normal
        })
    });
    on(&node, async move |_| {
        let mut ours = signal::subscribe(kind).unwrap();
        let mut again = ours.dup().unwrap();
        let dead = signal::subscribe(kind).unwrap();
        drop(dead);
        for _ in 0..2 {
            signal::raise(kind).unwrap();
        }
        ours.recv().await.unwrap();
        again.recv().await.unwrap();
        let third = runtime::time::timeout(Duration::from_secs(60), ours.recv()).await;
        assert!(third.is_err(), "there were two");
    });
    assert!(actors::is_alive(waits.unwrap().id()));
}
