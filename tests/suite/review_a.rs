//! Findings of a review, as tests.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use laneway::{AskError, DeadlockPolicy, ExitReason, Handle, Lane, Reply, Runtime};

use crate::deadlocks::asks_back;
use crate::support::*;

#[test]
fn the_next_tenant_of_the_slot_of_a_killed_newcomer_is_not_shown_as_waiting() {
    let policy = DeadlockPolicy::KillNewcomer;
    let builder = Runtime::builder().workers(1).virtual_time(7).max_lanes(8);
    let runtime = builder.on_deadlock(policy).build().expect("a runtime");
    in_lane(&runtime, async |lane: Lane<News>| {
        let peer = asks_back(lane.address());
        assert_eq!(peer.ask(|reply| reply).await, Err(AskError::Ended(ExitReason::Killed)));
        let runtime = Handle::current().expect("a runtime");
        let fresh: Vec<_> = (0..7).filter_map(|_| laneway::spawn(async move |_: Lane<()>| ()).ok()).collect();
        assert!(fresh.iter().any(|one| one.id().key() == peer.id().key()), "the slot is used again");
        let graph = runtime.wait_graph();
        let shown: Vec<_> = graph.waits().iter().map(|wait| (wait.lane, wait.awaits, wait.of)).collect();
        assert!(shown.is_empty(), "nobody waits: {shown:?}; the killed one was {}", peer.id());
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
    let policy = DeadlockPolicy::choose(|deadlock| deadlock.chain().first().map(|first| first.lane));
    let builder = Runtime::builder().workers(1).watchdog(Duration::from_millis(1));
    let runtime = builder.on_deadlock(policy).build().expect("a runtime");
    let in_time = Arc::<AtomicBool>::default();
    let seen = in_time.clone();
    in_lane(&runtime, async move |lane: Lane<News>| {
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
