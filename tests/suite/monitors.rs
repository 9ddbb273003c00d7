//! Monitors: hearing of an end without sharing it.

use std::collections::BTreeSet;
use std::time::Duration;

use laneway::runtime::inspect;
use laneway::{DemonitorError, ExitReason, Id, Lane, Spawn};

use crate::support::*;

#[test]
fn otp_020_one_monitor_gives_one_down_with_the_true_reason_and_kills_nobody() {
    test(async |mut lane: Lane<News>| {
        for reason in [oops(), ExitReason::Shutdown, ExitReason::Normal] {
            let told = reason.clone();
            let target = laneway::spawn(async move |mut lane: Lane<()>| {
                lane.recv().await;
                told
            })
            .unwrap();
            let reference = lane.monitor(target, News::Down);
            target.send(()).await.unwrap();
            let down = down(&mut lane).await;
            assert_eq!((down.reference, down.id, down.reason), (reference, target.id(), reason));
            assert_silence(&mut lane).await;
        }
    });
}

#[test]
fn otp_021_n_monitors_on_one_lane_give_n_downs_with_n_references() {
    test(async |mut lane: Lane<News>| {
        let target = puppet();
        let given: BTreeSet<u64> = (0..100).map(|_| lane.monitor(target, News::Down).number).collect();
        assert_eq!(given.len(), 100);
        target.kill();
        let mut told = BTreeSet::new();
        for _ in 0..100 {
            told.insert(down(&mut lane).await.reference.number);
        }
        assert_eq!(told, given);
        assert_silence(&mut lane).await;
    });
}

#[test]
fn otp_022_monitoring_a_dead_lane_gives_no_proc() {
    test(async |mut lane: Lane<News>| {
        let target = puppet();
        target.kill();
        assert_eq!(laneway::join(target.id()).await, ExitReason::Killed);
        assert_eq!(reason_of(&mut lane, target).await, ExitReason::NoProc);
        assert_eq!(laneway::join(target.id()).await, ExitReason::NoProc);
    });
}

#[test]
fn otp_023_spawn_monitor_tells_the_true_reason_however_fast_the_child_dies() {
    race(300, async |mut lane: Lane<News>| {
        let spawn = Spawn::new().monitor();
        let (child, reference) = spawn.spawn_monitored(async |_: Lane<()>| oops()).unwrap();
        laneway::yield_now().await;
        lane.on_down(reference.unwrap(), News::Down);
        let down = down(&mut lane).await;
        assert_eq!((Some(down.reference), down.id, down.reason), (reference, child.id(), oops()));
    });
}

#[test]
fn otp_024_monitoring_by_name_binds_to_who_bears_it_then() {
    test(async |mut lane: Lane<News>| {
        assert_eq!(lane.monitor_name("borne", News::Down), None, "nobody bears the name");
        let first = Spawn::new().name("borne").spawn(obey).unwrap();
        let name = "borne";
        let reference = lane.monitor_name(name, move |down| {
            assert_eq!(name, "borne");
            News::Down(down)
        });
        assert!(reference.is_some());
        // The name goes to another, whose end does not matter.
        tell(first, |lane| assert!(lane.unregister("borne"))).await;
        let second = Spawn::new().name("borne").spawn(obey).unwrap();
        second.kill();
        assert_silence(&mut lane).await;
        laneway::exit(first.id(), oops());
        let down = down(&mut lane).await;
        assert_eq!((Some(down.reference), down.id, down.reason), (reference, first.id(), oops()));
    });
}

#[test]
fn otp_025_a_monitor_that_was_taken_back_never_tells() {
    test(async |mut lane: Lane<News>| {
        let target = puppet();
        let reference = lane.monitor(target, News::Down);
        assert_eq!(lane.demonitor(reference), Ok(true));
        assert_eq!(lane.demonitor(reference), Ok(false), "a second time it is nothing");
        target.kill();
        assert_silence(&mut lane).await;
        assert_eq!(lane.demonitor(reference), Ok(false));
    });
}

#[test]
fn otp_025_the_monitor_of_another_lane_cannot_be_taken_back() {
    test(async |mut lane: Lane<News>| {
        let (target, thief) = (puppet(), puppet());
        let reference = lane.monitor(target, News::Down);
        let tried = tell(thief, move |lane| lane.demonitor(reference)).await;
        assert_eq!(tried, Err(DemonitorError::NotYours));
        target.kill();
        assert_eq!(down(&mut lane).await.reference, reference);
    });
}

#[test]
fn of_several_monitors_any_may_be_taken_back_before_or_after_it_is_known_and_the_others_tell() {
    test(async |mut lane: Lane<News>| {
        let me = lane.id();
        for taken_back in 0..3 {
            for is_known in [false, true] {
                let target = puppet();
                let watched = async |by: usize| {
                    let found = inspect::inspect(target.id()).await.expect("it lives");
                    assert_eq!(found.watchers, vec![me; by]);
                };
                let mut given: Vec<_> = (0..3).map(|_| lane.monitor_with_receipt(target, News::Down)).collect();
                if is_known {
                    watched(3).await;
                }
                assert_eq!(lane.demonitor(given.remove(taken_back)), Ok(true));
                watched(2).await;
                given.push(lane.monitor_with_receipt(target, News::Down));
                target.kill();
                let mut told = BTreeSet::new();
                for _ in 0..3 {
                    let down = down(&mut lane).await;
                    assert_eq!(down.receipt.expect("it was asked for").watchers, 3);
                    told.insert(down.reference.number);
                }
                assert_eq!(told, given.iter().map(|reference| reference.number).collect());
                assert_silence(&mut lane).await;
            }
        }
    });
}

#[test]
fn otp_026_demonitor_flushes_the_down_that_is_queued_and_no_other() {
    test(async |mut lane: Lane<News>| {
        let target = puppet();
        let [before, taken_back, after] = [(); 3].map(|()| lane.monitor(target, News::Down));
        target.kill();
        lane.address().try_send(News::Number(1)).unwrap();
        settle().await;
        assert!(!target.is_alive());
        lane.demonitor(taken_back).unwrap();
        assert_eq!(number(&mut lane).await, 1);
        let mut told = [down(&mut lane).await.reference.number, down(&mut lane).await.reference.number];
        told.sort_unstable();
        assert_eq!(told, [before.number, after.number]);
        assert_silence(&mut lane).await;
    });
}

#[test]
fn otp_027_watchers_that_die_leave_nothing_behind_on_what_they_watched() {
    test(async |mut lane: Lane<News>| {
        let target = puppet();
        for _ in 0..100 {
            let watchers: Vec<_> = (0..1000)
                .map(|_| {
                    let watcher = laneway::spawn(async move |_: Lane<()>| {
                        laneway::monitor(target.id()).unwrap();
                    });
                    watcher.unwrap().id()
                })
                .collect();
            settle().await;
            assert!(watchers.iter().all(|watcher| !laneway::is_alive(*watcher)));
        }
        lane.monitor_with_receipt(target, News::Down);
        target.kill();
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!(receipt.watchers, 1, "{receipt:?}");
    });
}

#[test]
fn otp_028_a_watcher_that_kills_what_it_watches_ends_well_whoever_ends_first() {
    race(200, async |mut lane: Lane<News>| {
        for watcher_first in [true, false] {
            let target = puppet();
            let (watcher, reference) = Spawn::new()
                .monitor()
                .spawn_monitored(async move |mut lane: Lane<News>| {
                    let reference = lane.monitor(target, News::Down);
                    target.kill();
                    if !watcher_first {
                        assert_eq!(down(&mut lane).await.reference, reference);
                    }
                })
                .unwrap();
            lane.on_down(reference.unwrap(), News::Down);
            let heard = down(&mut lane).await;
            assert_eq!((heard.id, heard.reason), (watcher.id(), ExitReason::Normal));
            laneway::join(target.id()).await;
        }
    });
}

#[test]
fn of_many_that_are_killed_each_watcher_hears_once_of_each_that_is_his() {
    race(20, async |mut lane: Lane<News>| {
        let puppets: Vec<_> = (0..300).map(|_| puppet()).collect();
        let (mine, others): (Vec<_>, Vec<_>) = puppets.iter().enumerate().partition(|(number, _)| number % 3 != 0);
        let watched: BTreeSet<Id> = mine.iter().map(|(_, puppet)| puppet.id()).collect();
        for (_, puppet) in &mine {
            lane.monitor(**puppet, News::Down);
        }
        let others: BTreeSet<Id> = others.iter().map(|(_, puppet)| puppet.id()).collect();
        let heard = lane.address();
        let their_watcher = laneway::spawn(async move |mut it: Lane<News>| {
            for id in &others {
                it.monitor(*id, News::Down);
            }
            heard.send(News::Number(0)).await.expect("it lives");
            let mut told = BTreeSet::new();
            for _ in 0..others.len() {
                told.insert(down(&mut it).await.id);
            }
            assert_eq!(told, others);
            heard.send(News::Number(1)).await.expect("it lives");
        });
        their_watcher.expect("a lane");
        assert_eq!(number(&mut lane).await, 0);
        for puppet in &puppets {
            puppet.kill();
        }
        let (mut told, mut numbers) = (BTreeSet::new(), 0);
        while told.len() < watched.len() || numbers == 0 {
            match lane.recv().await {
                Some(News::Down(down)) => assert!(told.insert(down.id), "{} was told of twice", down.id),
                Some(News::Number(number)) => numbers += number,
                _ => panic!("neither a notice nor a number"),
            }
        }
        assert_eq!(told, watched);
        assert_silence(&mut lane).await;
    });
}

/// Whoever was killed while he waited does not wait for ever behind those who live, however long their turns are.
#[test]
fn a_lane_that_is_killed_ends_while_others_have_one_long_turn_after_the_other() {
    let runtime = runtime(1);
    in_lane(&runtime, async |mut lane: Lane<News>| {
        async fn long_turns(turns: u32) {
            for _ in 0..turns {
                take_long();
                laneway::yield_now().await;
            }
        }
        let neighbour = laneway::spawn(async |_: Lane<()>| long_turns(u32::MAX).await).expect("a lane");
        // From now on the worker looks at what comes from outside after each turn.
        long_turns(200).await;
        let puppets: Vec<_> = (0..300).map(|_| puppet()).collect();
        long_turns(2).await;
        for puppet in &puppets {
            lane.monitor(*puppet, News::Down);
        }
        long_turns(2).await;
        for puppet in &puppets {
            puppet.kill();
        }
        long_turns(20).await;
        assert!(
            !puppets.iter().any(|puppet| laneway::is_alive(puppet.id())),
            "they would end in a hundredth of that time"
        );
        for _ in &puppets {
            down(&mut lane).await;
        }
        neighbour.kill();
    });
    end(runtime);
}

/// Notices are kept for a moment, not for as long as others take to end.
#[test]
fn whoever_watches_lanes_that_end_slowly_hears_of_the_first_before_most_have_ended() {
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            take_long();
        }
    }
    let runtime = runtime(1);
    in_lane(&runtime, async |mut lane: Lane<News>| {
        let spawn = |_| {
            laneway::spawn(async |mut it: Lane<()>| {
                let _slow = Slow;
                it.recv().await;
            })
        };
        let slow: Vec<_> = (0..24).map(spawn).map(|slow| slow.expect("a lane").id()).collect();
        for id in &slow {
            lane.monitor(*id, News::Down);
        }
        laneway::yield_now().await;
        for id in &slow {
            laneway::kill(*id);
        }
        down(&mut lane).await;
        let alive = slow.iter().filter(|id| laneway::is_alive(**id)).count();
        assert!(alive >= slow.len() / 2, "only {alive} are left");
        for _ in &slow[1..] {
            down(&mut lane).await;
        }
    });
    end(runtime);
}

/// Takes the worker longer than it minds.
#[expect(clippy::disallowed_methods, reason = "the worker is to be kept for real, and nothing is measured")]
fn take_long() {
    std::thread::sleep(Duration::from_micros(300));
}
