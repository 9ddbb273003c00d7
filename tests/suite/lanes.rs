//! Lanes and their ids: what is stale stays stale, and what a death runs into does not stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use laneway::runtime::lane::{register, whereis};
use laneway::{
    Address, AskError, BuildError, ExitReason, Id, Lane, NotAMailbox, Reply, Role, Runtime, SendError, Spawn,
    SpawnError,
};

use crate::support::*;

/// Runs something where it is dropped.
struct AtDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_destructor_may_send_and_spawn_and_ask_what_it_likes() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let target = Spawn::new().name("sends").spawn(move |mut lane: Lane<u64>| async move {
            let own = lane.address();
            let _at_drop = AtDrop(move || {
                me.try_send(News::Number(1)).expect("others take messages");
                assert_eq!(own.try_send(5), Err(SendError::NoProc(5)), "a dying lane took a message");
                assert!(own.stop().is_err());
                own.kill();
                laneway::exit(own.id(), oops());
                assert!(laneway::current().is_none(), "a destructor runs in no lane");
                assert!(laneway::link(me.id()).is_err());
                assert!(register("another").is_err());
                let refused = Spawn::new().link().spawn(async |_: Lane<()>| {});
                assert_eq!(refused.err(), Some(SpawnError::NotInLane));
                laneway::spawn(async move |_: Lane<()>| me.send(News::Number(2)).await).expect("others may be spawned");
                me.send_after(Duration::from_secs(1), News::Number(3));
                drop(laneway::sleep(LONG));
            });
            lane.recv().await;
        });
        let target = target.unwrap();
        settle().await;
        lane.monitor_with_receipt(target, News::Down);
        target.kill();
        assert_eq!(number(&mut lane).await, 1);
        let mut rest = Vec::new();
        for _ in 0..3 {
            rest.push(match news(&mut lane).await {
                News::Down(down) => {
                    let receipt = down.receipt.expect("it was asked for");
                    assert_eq!((receipt.destructor_panics, receipt.names), (0, 1), "{receipt:?}");
                    0
                }
                News::Number(number) => number,
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(rest, [0, 2, 3]);
    });
}

#[test]
fn what_notices_turn_into_is_dropped_with_the_lane() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let target = Spawn::new().name("watches").spawn(move |mut lane: Lane<News>| async move {
            let at_drop = AtDrop(move || {
                assert!(whereis("watches").is_some(), "its name went first");
                me.try_send(News::Number(1)).expect("others take messages");
                panic!("a destructor, on purpose");
            });
            lane.monitor(me, move |down| {
                let _kept = &at_drop;
                News::Down(down)
            });
            lane.recv().await;
        });
        let target = target.unwrap();
        settle().await;
        lane.monitor_with_receipt(target, News::Down);
        target.kill();
        assert_eq!(number(&mut lane).await, 1);
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!((receipt.destructor_panics, receipt.monitors), (1, 1));
    });
}

#[test]
fn panics_of_destructors_are_counted_and_do_not_stop_a_death() {
    struct Bomb(Arc<AtomicU64>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a destructor, on purpose");
        }
    }
    test(async |mut lane: Lane<News>| {
        let went_off = Arc::new(AtomicU64::new(0));
        let bomb = Bomb(went_off.clone());
        let target = Spawn::new().name("bombs").spawn(move |_: Lane<Bomb>| async move {
            let _bomb = bomb;
            std::future::pending::<()>().await;
        });
        let target = target.unwrap();
        settle().await;
        for _ in 0..3 {
            assert!(target.try_send(Bomb(went_off.clone())).is_ok());
        }
        lane.monitor_with_receipt(target, News::Down);
        target.kill();
        let down = down(&mut lane).await;
        let receipt = down.receipt.expect("it was asked for");
        assert_eq!((down.reason, receipt.destructor_panics, receipt.messages_dropped), (ExitReason::Killed, 4, 3));
        assert_eq!(went_off.load(Ordering::Relaxed), 4);
        assert_eq!(lane.register("bombs"), Ok(()));
        // The worker is still there.
        assert_eq!(tell(puppet(), |_| 1).await, 1);
    });
}

#[test]
fn otp_087_a_stale_id_is_refused_by_all_that_takes_ids_and_never_reaches_the_next_tenant() {
    let runtime = runtime_with_fresh_slots(2);
    in_lane(&runtime, async |mut lane: Lane<News>| {
        let respawn = async || {
            laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
                let mut asked = 0;
                while let Some(reply) = lane.recv().await {
                    asked += 1;
                    let _ = reply.send(asked);
                }
            })
        };
        let first: Address<Reply<u64>> = respawn().await.unwrap();
        let mut stale = first;
        stale.kill();
        laneway::join(stale.id()).await;
        let mut keys = std::collections::BTreeSet::from([first.id().key()]);
        for round in 0..100_000_u32 {
            let next = respawn().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
            keys.insert(next.id().key());
            assert_ne!(next.id(), stale.id());
            assert!(next.id() != first.id(), "the first id came again in round {round}");
            for old in [first, stale] {
                assert_eq!(old.ask(|reply| reply).await, Err(AskError::NoProc), "round {round}");
                assert!(!old.is_alive() && !old.kill() && old.stop().is_err(), "round {round}");
                laneway::exit(old.id(), oops());
                assert!(matches!(Address::<Reply<u64>>::of(old.id()), Err(NotAMailbox::Stale(_))), "round {round}");
            }
            assert_eq!(next.ask(|reply| reply).await, Ok(1), "round {round}: a stale id reached the next tenant");
            next.kill();
            assert_eq!(laneway::join(next.id()).await, ExitReason::Killed, "round {round}");
            stale = next;
        }
        assert_eq!(reason_of(&mut lane, first).await, ExitReason::NoProc);
        // 65 535 lives to a slot: one slot is not enough for so many, and another took its place.
        assert!(keys.len() == 2 || keys.len() == 3, "slots used: {keys:?}");
    });
    end(runtime);
}

#[test]
fn otp_088_a_slot_lives_through_65535_generations_of_which_none_is_0_and_is_then_retired() {
    let runtime = runtime_with_fresh_slots(1);
    let spawn_and_end = || {
        runtime.block_on(async {
            let lane = laneway::spawn(async |_: Lane<()>| {}).expect("there is room for one");
            laneway::join(lane.id()).await;
            lane.id()
        })
    };
    let first = spawn_and_end();
    let mut last = first;
    // Past the end of at least one slot, wherever its generations began.
    for round in 0..70_000_u32 {
        let next = spawn_and_end();
        if next.key() == last.key() {
            assert_eq!(next.generation().get(), last.generation().get() + 1, "round {round}");
        }
        last = next;
    }
    assert_ne!(last.key(), first.key(), "a slot was used beyond its generations");
    assert!(!laneway::is_alive(first));
    end(runtime);
}

#[test]
fn no_more_lanes_live_than_the_runtime_may_have() {
    // Tables are handed on from runtime to runtime, with more slots than the next one may use.
    let large = runtime(1);
    large.block_on(async {
        for _ in 0..1000 {
            laneway::spawn(async |_: Lane<()>| std::future::pending::<()>().await).unwrap();
        }
    });
    drop(large);
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).max_lanes(10).build().unwrap();
        runtime.block_on(async {
            for round in 0..3 {
                let lanes: Vec<_> = (0..10)
                    .map(|_| laneway::spawn(async |_: Lane<()>| std::future::pending::<()>().await))
                    .collect::<Result<_, _>>()
                    .unwrap_or_else(|error| panic!("round {round}: {error}"));
                let refused = laneway::spawn(async |_: Lane<()>| {});
                assert_eq!(refused.err(), Some(SpawnError::TooManyLanes { limit: 10 }));
                for lane in lanes {
                    lane.kill();
                    laneway::join(lane.id()).await;
                }
            }
        });
        end(runtime);
    }
}

#[test]
fn what_cannot_be_spawned_or_built_is_a_typed_error() {
    assert_eq!(laneway::spawn(async |_: Lane<()>| {}).err(), Some(SpawnError::NotInRuntime));
    assert!(matches!(Runtime::builder().workers(0).build(), Err(BuildError::BadWorkers(0))));
    assert!(matches!(Runtime::builder().workers(49).build(), Err(BuildError::BadWorkers(49))));
    assert!(matches!(Runtime::builder().workers(2).drivers(3).build(), Err(BuildError::BadDrivers(3))));
    let runtime = virtual_runtime();
    runtime.block_on(async {
        assert_eq!(Spawn::new().link().spawn(async |_: Lane<()>| {}).err(), Some(SpawnError::NotInLane));
        assert_eq!(Spawn::new().monitor().spawn(async |_: Lane<()>| {}).err(), Some(SpawnError::NotInLane));
    });
    let handle = runtime.handle().clone();
    end(runtime);
    let _entered = handle.enter();
    assert_eq!(laneway::spawn(async |_: Lane<()>| {}).err(), Some(SpawnError::ShuttingDown));
}

#[test]
fn several_runtimes_live_in_one_process_and_their_lanes_reach_each_other() {
    let (one, other) = (virtual_runtime(), runtime(2));
    let counts = async |mut lane: Lane<Reply<u64>>| {
        let mut asked = 0;
        while let Some(reply) = lane.recv().await {
            asked += 1;
            let _ = reply.send(asked);
        }
    };
    let here = one.block_on(async { Spawn::new().name("counts").spawn(counts).unwrap() });
    let there = other.block_on(async { Spawn::new().name("counts").spawn(counts).unwrap() });
    assert_ne!(here.id().namespace(), there.id().namespace());
    // Names belong to a runtime, ids to the process.
    assert_eq!(one.block_on(async { laneway::whereis("counts") }), Ok(Some(here)));
    assert_eq!(other.block_on(async { laneway::whereis("counts") }), Ok(Some(there)));
    let asked = in_lane(&one, async move |mut lane: Lane<News>| {
        lane.monitor(there, News::Down);
        there.ask(|reply| reply).no_timeout().await
    });
    assert_eq!(asked, Ok(1));
    assert_eq!(in_lane(&other, async move |_: Lane<News>| here.ask(|reply| reply).await), Ok(1));

    // A monitor and a link across, and the end of a whole runtime.
    let heard = in_lane(&other, async move |mut lane: Lane<News>| {
        lane.trap_exits(News::Exit);
        lane.link(here);
        here.kill();
        let exit = exit(&mut lane).await;
        (exit.from, exit.reason)
    });
    assert_eq!(heard, (here.id(), ExitReason::Killed));
    end(other);
    assert!(!there.is_alive());
    let gone = in_lane(&one, async move |mut lane: Lane<News>| {
        let asked = there.ask(|reply| reply).await;
        (asked, reason_of(&mut lane, there).await)
    });
    assert_eq!(gone, (Err(AskError::NoProc), ExitReason::NoProc));
    end(one);
}

#[test]
fn ids_of_a_runtime_that_ended_stay_stale_in_the_one_that_takes_its_place() {
    let mut past: Vec<Id> = Vec::new();
    for round in 0..20 {
        let runtime = runtime(1);
        let now = runtime.block_on(async {
            let lane = laneway::spawn(async |mut lane: Lane<()>| _ = lane.recv().await).unwrap();
            assert!(!past.contains(&lane.id()), "round {round}: an id came again");
            for old in &past {
                assert!(!laneway::is_alive(*old) && !laneway::kill(*old), "round {round}: {old}");
            }
            assert!(lane.is_alive());
            lane.id()
        });
        past.push(now);
        end(runtime);
    }
}

#[test]
fn blocking_work_gives_its_result_and_its_panic() {
    test(async |mut lane: Lane<News>| {
        assert_eq!(laneway::spawn_blocking(|| 6 * 7).await, 42);
        let panics = laneway::spawn(async |_: Lane<()>| {
            laneway::spawn_blocking(|| panic!("while blocking")).await;
        })
        .unwrap();
        let reason = reason_of(&mut lane, panics).await;
        assert!(
            matches!(&reason, ExitReason::Panicked { message, .. } if &**message == "while blocking"),
            "{reason:?}"
        );
    });
}

#[test]
fn blocking_work_goes_on_without_the_lane_that_wanted_it() {
    let runtime = runtime(1);
    let (let_go, go_on) = std::sync::mpsc::channel::<()>();
    let (done, is_done) = std::sync::mpsc::channel();
    let waits = runtime.block_on(async move {
        laneway::spawn(async move |_: Lane<()>| {
            laneway::spawn_blocking(move || {
                done.send("begun").expect("the test listens");
                go_on.recv().expect("the test lets go");
                done.send("done").expect("the test listens");
            })
            .await;
        })
        .unwrap()
    });
    assert_eq!(is_done.recv_timeout(LONG), Ok("begun"));
    // The worker is free meanwhile.
    assert_eq!(in_lane(&runtime, async |_: Lane<News>| 1), 1);
    waits.kill();
    runtime.block_on(laneway::join(waits.id()));
    let_go.send(()).unwrap();
    assert_eq!(is_done.recv_timeout(LONG), Ok("done"));
    end(runtime);
}

#[test]
fn a_lane_that_always_has_something_to_do_lets_others_run() {
    test(async |mut lane: Lane<News>| {
        let greedy = laneway::spawn(async |mut lane: Lane<u64>| {
            lane.address().try_send(0).unwrap();
            while let Some(number) = lane.recv().await {
                lane.address().send(number + 1).await.unwrap();
            }
        });
        let me = lane.address();
        laneway::spawn(async move |_: Lane<()>| me.send(News::Number(1)).await).unwrap();
        // No time passes by itself while the greedy one can run, so only fairness brings this.
        assert!(matches!(lane.recv().await, Some(News::Number(1))));
        greedy.unwrap().kill();
    });
}

#[test]
fn a_role_leads_to_its_present_incarnation_and_waits_between_two() {
    test(async |mut lane: Lane<News>| {
        let role = Role::<Reply<u64>>::new();
        let answers = |number: u64| {
            laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
                while let Some(reply) = lane.recv().await {
                    let _ = reply.send(number);
                }
            })
            .unwrap()
        };
        let first = answers(1);
        role.fill(first).unwrap();
        assert_eq!(role.ask(|reply| reply).await, Ok(1));
        first.kill();
        reason_of(&mut lane, first).await;
        let asking = laneway::spawn(async move |_: Lane<()>| {
            assert_eq!(role.ask(|reply| reply).await, Ok(2), "it waits for the next");
        })
        .unwrap();
        lane.monitor(asking, News::Down);
        laneway::sleep(Duration::from_secs(1)).await;
        role.fill(answers(2)).unwrap();
        assert_eq!(down(&mut lane).await.reason, ExitReason::Normal);
        role.vacate().unwrap();
        let limit = Duration::from_secs(3);
        assert_eq!(role.ask_within(limit, |reply| reply).await, Err(AskError::Timeout(limit)));
        role.retire();
        assert_eq!(role.ask(|reply| reply).await, Err(AskError::Retired));
        assert!(role.fill(answers(3)).is_err(), "a role that is retired was filled");
    });
}
