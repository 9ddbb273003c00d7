//! What is done about lanes that wait for each other in a circle: who is killed, and who decides.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use laneway::runtime::wait_graph::Awaits;
use laneway::{AskError, DeadlockPolicy, ExitReason, Handle, Id, Lane, Reply, Runtime};

use crate::deadlocks::{By, asks_back, assert_broken_once, close, length, waits_for_next};
use crate::support::*;

#[test]
fn a_policy_chooses_whom_to_kill() {
    let chosen: Arc<Mutex<Vec<Id>>> = Arc::default();
    let seen = chosen.clone();
    let policy = DeadlockPolicy::choose(move |deadlock| {
        let victim = deadlock.chain().iter().map(|waiting| waiting.lane).max_by_key(|id| id.key());
        seen.lock().unwrap().extend(victim);
        victim
    });
    let runtime = Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
    let chosen = in_lane(&runtime, async move |mut lane: Lane<News>| {
        let ways = [By::Asking, By::MuteJoining, By::Asking];
        let lanes = ways.map(|way| waits_for_next(way, lane.address(), length));
        for one in lanes {
            lane.monitor(one, News::Down);
        }
        close(&lanes).await;
        let mut killed = Vec::new();
        for _ in lanes {
            let down = down(&mut lane).await;
            if down.reason == ExitReason::Killed {
                killed.push(down.id);
            }
        }
        // Those who had asked it end with its reason.
        let victim = chosen.lock().unwrap().clone();
        assert!(victim.iter().all(|victim| killed.contains(victim)), "{victim:?} of {killed:?}");
        assert!(lane.try_recv().is_none(), "one was told");
        victim
    });
    assert_eq!(chosen.len(), 1);
    assert_eq!(runtime.handle().metrics().deadlocks, 1);
    end(runtime);
}

#[test]
fn who_was_chosen_is_left_alone_where_the_circle_does_not_stand_any_more() {
    // The policy breaks it by itself, and names another.
    let policy = DeadlockPolicy::choose(|deadlock| {
        let [first, second] = deadlock.chain() else { panic!("{deadlock}") };
        runtime::lane::kill(second.lane);
        Some(first.lane)
    });
    let runtime = Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
    in_lane(&runtime, async |mut lane: Lane<News>| {
        let lanes = [By::Joining; 2].map(|way| waits_for_next(way, lane.address(), length));
        for one in lanes {
            lane.monitor(one, News::Down);
        }
        close(&lanes).await;
        let reasons = [down(&mut lane).await.reason, down(&mut lane).await.reason];
        assert_eq!(reasons, [ExitReason::Killed, ExitReason::Normal], "both were killed, or one was told");
        assert_eq!(
            Handle::current().expect("a runtime").metrics().deadlocks,
            0,
            "nothing is counted that was not done"
        );
    });
    end(runtime);
}

#[test]
fn a_policy_that_panics_or_names_a_stranger_leaves_the_newcomer_to_be_told() {
    for policy in [
        DeadlockPolicy::choose(|_| None),
        DeadlockPolicy::choose(|_| laneway::current()),
        DeadlockPolicy::choose(|_| panic!("no choice")),
    ] {
        let runtime = Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
        in_lane(&runtime, async |mut lane: Lane<News>| assert_broken_once(&mut lane, &[By::Asking; 3]).await);
        end(runtime);
    }
}

#[test]
fn who_gets_the_slot_of_a_newcomer_that_was_killed_waits_for_nobody() {
    let policy = DeadlockPolicy::KillNewcomer;
    let runtime = Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
    in_lane(&runtime, async |lane: Lane<News>| {
        let peer = asks_back(lane.address());
        assert_eq!(peer.ask(|reply| reply).await, Err(AskError::Ended(ExitReason::Killed)));
        for _ in 0..100_000 {
            let next = laneway::spawn(async |_: Lane<()>| ()).expect("a lane");
            if next.id().key() == peer.id().key() {
                // It has had no turn yet.
                let graph = Handle::current().expect("a runtime").wait_graph();
                assert!(graph.waits().is_empty(), "{graph}");
                return;
            }
            laneway::join(next.id()).await;
        }
        panic!("the slot is not used again");
    });
    end(runtime);
}

#[test]
fn a_policy_kills_the_newcomer() {
    let policy = DeadlockPolicy::KillNewcomer;
    let runtime = Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
    in_lane(&runtime, async |lane: Lane<News>| {
        let peer = asks_back(lane.address());
        assert_eq!(peer.ask(|reply| reply).await, Err(AskError::Ended(ExitReason::Killed)));
    });
    end(runtime);
}

#[test]
fn a_port_that_the_policy_drops_is_not_one_of_the_newcomer_that_it_kills() {
    let kept: Arc<Mutex<Option<Reply<u64>>>> = Arc::default();
    let dropped = kept.clone();
    let policy = DeadlockPolicy::choose(move |deadlock| {
        drop(dropped.lock().unwrap().take());
        Some(deadlock.chain()[0].lane)
    });
    let runtime = Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
    in_lane(&runtime, async move |lane: Lane<News>| {
        let keeps = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            *kept.lock().unwrap() = lane.recv().await;
            lane.recv().await;
        });
        let mut ask = keeps.expect("a lane").ask(|reply| reply).no_timeout();
        assert!(poll_once(&mut ask).await.is_pending());
        settle().await;
        let peer = asks_back(lane.address());
        assert_eq!(peer.ask(|reply| reply).await, Err(AskError::Ended(ExitReason::Killed)));
        assert_eq!(ask.await, Err(AskError::NoReply));
    });
    end(runtime);
}

#[test]
fn where_deadlocks_are_ignored_timeouts_end_them_and_the_graph_shows_them() {
    let policy = DeadlockPolicy::Ignore;
    let runtime = Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
    in_lane(&runtime, async |lane: Lane<News>| {
        let runtime = Handle::current().expect("a runtime");
        let (me, peer) = (lane.id(), asks_back(lane.address()));
        laneway::spawn(async move |_: Lane<()>| {
            settle().await;
            let graph = runtime.wait_graph();
            let waits = graph
                .waits()
                .iter()
                .map(|waiting| (waiting.lane, waiting.awaits, waiting.of.expect("a lane"), waiting.alone));
            let mut waits: Vec<_> = waits.collect();
            waits.sort_by_key(|(lane, ..)| *lane != me);
            assert_eq!(waits, [(me, Awaits::Answer, peer.id(), true), (peer.id(), Awaits::Answer, me, true)]);
        })
        .expect("a lane");
        let asked = peer.ask(|reply| reply).timeout(Duration::from_secs(1)).await;
        assert_eq!(asked, Err(AskError::Timeout(Duration::from_secs(1))));
    });
    end(runtime);
}

#[test]
fn a_chosen_newcomer_that_is_stuck_in_its_destructors_is_told_of_at_once() {
    struct Blocks(mpsc::Receiver<()>, Arc<AtomicBool>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            self.1.store(self.0.recv_timeout(Duration::from_secs(3)).is_ok(), SeqCst);
        }
    }
    // As a rule the other lane comes last; on a busy machine a stand-in may have it ask first.
    let spared: Arc<Mutex<Option<Id>>> = Arc::default();
    let of_policy = spared.clone();
    let policy = DeadlockPolicy::choose(move |deadlock| {
        let spared = *of_policy.lock().unwrap();
        deadlock.chain().iter().map(|waiting| waiting.lane).find(|lane| Some(*lane) != spared)
    });
    let builder = Runtime::builder().workers(1).watchdog(Duration::from_millis(1));
    let runtime = builder.on_deadlock(policy).build().expect("a runtime");
    let in_time = Arc::<AtomicBool>::default();
    let seen = in_time.clone();
    in_lane(&runtime, async move |lane: Lane<News>| {
        *spared.lock().unwrap() = Some(lane.id());
        let (release, released) = mpsc::channel();
        let blocks = Blocks(released, seen);
        let other = lane.address();
        let peer = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            let _blocks = blocks;
            while let Some(reply) = lane.recv().await {
                let heard = other.ask(News::Ask).await;
                reply.send(heard.unwrap_or(0)).ok();
            }
        });
        let peer = peer.expect("a lane");
        laneway::spawn(async move |_: Lane<()>| {
            assert_eq!(laneway::join(peer.id()).await, ExitReason::Killed);
            let _ = release.send(());
        })
        .expect("a lane");
        let heard = peer.ask(|reply| reply).await;
        assert_eq!(heard, Err(AskError::Ended(ExitReason::Killed)));
        while Handle::current().expect("a runtime").metrics().abandoned_lanes != 0 {
            laneway::yield_now().await;
        }
    });
    end(runtime);
    assert!(in_time.load(SeqCst), "who joined it heard of the end only once its destructor was through");
}
