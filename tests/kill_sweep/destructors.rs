//! Lanes whose destructors do what they like, and killers that are killed.

use std::sync::Arc;

use laneway::Handle;
use laneway::prelude::*;
use laneway::sync::Mutex;
use laneway::testing::{Victim, kill_sweep};
use laneway::{join, yield_now};

use super::{Spawned, assert_whole, beside_others};

/// Sends, spawns, locks and lets go of the runtime when it is dropped.
struct Busy {
    friend: Address<u32>,
    mutex: Arc<Mutex<u32>>,
    handle: Option<Handle>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.friend.try_send(1).expect("the friend lives, and has room");
        let friend = self.friend;
        laneway::spawn(async move |_: Lane<()>| friend.send(2).await).expect("the runtime goes on");
        match self.mutex.try_lock() {
            Ok(mut value) => *value += 1,
            Err(error) => panic!("nobody else has it: {error}"),
        }
        drop(self.handle.take());
    }
}

#[test]
fn a_destructor_may_send_spawn_lock_and_let_go_of_the_runtime() {
    let _beside = beside_others();
    let report = kill_sweep(Victim::named("busy"), || async {
        let friend = laneway::spawn(async |mut lane: Lane<u32>| {
            let mut heard = [lane.recv().await, lane.recv().await];
            heard.sort_unstable();
            assert_eq!(heard, [Some(1), Some(2)], "what the destructor sent, and what the lane that it spawned did");
        })?;
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.clone();
        let busy = Spawn::new().name("busy").spawn(async move |_: Lane<()>| {
            let _busy = Busy { friend, mutex: held, handle: Handle::current().ok() };
            for _ in 0..4 {
                yield_now().await;
            }
        })?;
        join(busy.id()).await;
        join(friend.id()).await;
        // Whoever takes a lock in a destructor and gives it back leaves no mark.
        assert_eq!(mutex.lock().await.map(|value| *value).ok(), Some(1));
        Spawned::Ok(())
    });
    assert_whole(&report, 4);
}

#[test]
fn a_killer_that_is_killed_leaves_nothing_whomever_it_has_struck() {
    let _beside = beside_others();
    let report = kill_sweep(Victim::named("killer"), || async {
        let mutex = Arc::new(Mutex::new(()));
        let mut victims = Vec::new();
        for _ in 0..3 {
            let mutex = mutex.clone();
            let victim = laneway::spawn(async move |_: Lane<()>| {
                let _held = mutex.lock().await;
                std::future::pending::<()>().await;
            })?;
            victims.push(victim);
        }
        let struck = victims.clone();
        let killer = Spawn::new().name("killer").spawn(async move |mut lane: Lane<()>| {
            for victim in struck {
                lane.monitor(victim, |_| ());
                victim.kill();
                yield_now().await;
                lane.recv().await;
            }
        })?;
        join(killer.id()).await;
        for victim in victims {
            victim.kill();
            join(victim.id()).await;
        }
        assert!(mutex.holder().is_none() && mutex.waiting() == 0, "the dead hold no lock and wait for none");
        Spawned::Ok(())
    });
    assert_whole(&report, 3);
}
