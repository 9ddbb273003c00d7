//! Exits, exit signals and their order; what is written of a crash.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use laneway::runtime::lane::whereis;
use laneway::runtime::runtime::Held;
use laneway::{ExitReason, Handle, Lane, Spawn};

use crate::reports::Reports;
use crate::support::*;

#[test]
fn otp_001_a_body_that_returns_exits_normally_and_a_panic_names_its_message_and_place() {
    test(async |mut lane: Lane<News>| {
        let returns = laneway::spawn(async |_: Lane<()>| {}).unwrap();
        assert_eq!(reason_of(&mut lane, returns).await, ExitReason::Normal);

        let panics = laneway::spawn(async |_: Lane<()>| panic!("on {}", "purpose")).unwrap();
        let ExitReason::Panicked { message, location } = reason_of(&mut lane, panics).await else {
            panic!("a panic has a reason of its own");
        };
        assert_eq!(&*message, "on purpose");
        assert!(location.contains("tests/suite/exits.rs:"), "{location}");

        // The one worker is still there.
        let after = laneway::spawn(async |_: Lane<()>| {}).unwrap();
        assert_eq!(reason_of(&mut lane, after).await, ExitReason::Normal);
    });
}

#[test]
fn otp_001_a_panic_with_a_value_whose_destructor_panics_ends_the_lane_alone() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the destructor of what was thrown");
        }
    }
    test(async |mut lane: Lane<News>| {
        let panics = laneway::spawn(async |_: Lane<()>| std::panic::panic_any(Bomb)).unwrap();
        let reason = reason_of(&mut lane, panics).await;
        assert!(matches!(reason, ExitReason::Panicked { .. }), "{reason:?}");
        let after = laneway::spawn(async |_: Lane<()>| {}).unwrap();
        assert_eq!(reason_of(&mut lane, after).await, ExitReason::Normal);
    });
}

#[test]
fn otp_002_messages_exits_and_downs_from_one_lane_come_in_the_order_in_which_it_made_them() {
    race(200, async |mut lane: Lane<News>| {
        lane.trap_exits(News::Exit);
        let me = lane.address();
        let sender = Spawn::new().monitor();
        let (sender, reference) = sender
            .spawn_monitored(async move |_: Lane<()>| {
                for round in 0..3 {
                    me.send(News::Number(round)).await.unwrap();
                    laneway::exit(me.id(), ExitReason::error(round));
                }
                laneway::link(me.id()).unwrap();
                me.send(News::Number(3)).await.unwrap();
                oops()
            })
            .unwrap();
        lane.on_down(reference.unwrap(), News::Down);
        for round in 0..3 {
            assert_eq!(number(&mut lane).await, round);
            let exit = exit(&mut lane).await;
            assert_eq!((exit.from, exit.reason), (sender.id(), ExitReason::error(round)));
        }
        assert_eq!(number(&mut lane).await, 3);
        // Link and monitor are both told of the end, after all else.
        let mut last = [format!("{:?}", news(&mut lane).await), format!("{:?}", news(&mut lane).await)];
        last.sort();
        let expected = [format!("a Down of {sender:?}: error: oops"), format!("an exit from {sender:?}: error: oops")];
        let expected = expected.map(|text| text.replace(&format!("{sender:?}"), &sender.id().to_string()));
        assert_eq!(last, expected);
    });
}

#[test]
fn otp_002_a_demonitor_is_not_overtaken_by_the_death_that_follows_it() {
    race(200, async |mut lane: Lane<News>| {
        let target = puppet();
        let reference = lane.monitor(target, News::Down);
        assert_eq!(lane.demonitor(reference), Ok(true));
        laneway::exit(target.id(), oops());
        let second = lane.monitor(target, News::Down);
        let down = down(&mut lane).await;
        assert_eq!(down.reference, second, "the first monitor was taken back, and yet it told");
    });
}

#[test]
fn otp_003_nothing_sent_after_an_exit_signal_is_handled() {
    race(1000, async |mut lane: Lane<News>| {
        let highest = Arc::new(AtomicU64::new(0));
        let seen = highest.clone();
        let target = laneway::spawn(async move |mut lane: Lane<u64>| {
            loop {
                // Both ways of receiving, so that one does not mend what the other breaks.
                if let Some(number) = lane.try_recv() {
                    seen.fetch_max(number, Ordering::Relaxed);
                }
                if let Ok(Some(number)) = lane.recv_timeout(Duration::from_millis(1)).await {
                    seen.fetch_max(number, Ordering::Relaxed);
                }
            }
        })
        .unwrap();
        let reference = lane.monitor(target, News::Down);
        for before in 1..=3 {
            target.try_send(before).unwrap();
        }
        laneway::exit(target.id(), oops());
        for after in 4..=6 {
            let _ = target.try_send(after);
        }
        let down = down(&mut lane).await;
        assert_eq!((down.reference, down.reason), (reference, oops()));
        let highest = highest.load(Ordering::Relaxed);
        assert!(highest <= 3, "message {highest} was sent after the exit signal and handled");
    });
}

#[test]
fn otp_003_a_lane_that_looks_again_in_the_poll_that_dooms_it_receives_nothing() {
    test(async |mut lane: Lane<News>| {
        let (told, tell) = (Arc::new(AtomicU64::new(0)), lane.address());
        let seen = told.clone();
        let target = laneway::spawn(async move |mut lane: Lane<u64>| {
            laneway::exit(lane.id(), oops());
            lane.address().try_send(1).unwrap();
            lane.address().try_send(2).unwrap();
            // Takes in what was queued, the exit signal with it.
            lane.unlink(tell.id());
            for _ in 0..4 {
                if poll_once(&mut std::pin::pin!(lane.recv())).await.is_ready() {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                if lane.try_recv().is_some() {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
            std::future::pending::<()>().await;
        })
        .unwrap();
        assert_eq!(reason_of(&mut lane, target).await, oops());
        let received = told.load(Ordering::Relaxed);
        assert_eq!(received, 0, "messages were received after the exit signal took effect");
    });
}

#[test]
fn otp_004_an_exit_signal_ends_a_lane_that_does_not_trap_with_that_very_reason() {
    test(async |mut lane: Lane<News>| {
        let info = ExitReason::ShutdownWith("done".into());
        for reason in [oops(), ExitReason::Shutdown, info, ExitReason::NoProc, ExitReason::Killed] {
            let target = puppet();
            laneway::exit(target.id(), reason.clone());
            let reference = lane.monitor(target, News::Down);
            let down = down(&mut lane).await;
            assert_eq!((down.reference, down.reason), (reference, reason));
        }
    });
}

#[test]
fn otp_005_a_normal_exit_signal_of_another_lane_is_ignored() {
    test(async |_: Lane<News>| {
        let target = puppet();
        laneway::exit(target.id(), ExitReason::Normal);
        settle().await;
        assert_eq!(tell(target, |_| 1).await, 1);
    });
}

#[test]
fn otp_006_a_trapping_lane_gets_every_reason_but_kill_as_a_message_and_lives() {
    test(async |mut lane: Lane<News>| {
        let target = trapping_puppet(lane.address()).await;
        for reason in [oops(), ExitReason::Normal, ExitReason::Shutdown, ExitReason::Killed, ExitReason::NoProc] {
            laneway::exit(target.id(), reason.clone());
            let exit = exit(&mut lane).await;
            assert_eq!((exit.from, exit.reason), (lane.id(), reason));
        }
        assert_eq!(tell(target, |_| 1).await, 1);
    });
}

#[test]
fn otp_006_a_lane_that_traps_no_longer_dies() {
    test(async |mut lane: Lane<News>| {
        let target = trapping_puppet(lane.address()).await;
        tell(target, |_| laneway::trap_exits(false)).await.unwrap();
        let reference = lane.monitor(target, News::Down);
        laneway::exit(target.id(), oops());
        let down = down(&mut lane).await;
        assert_eq!((down.reference, down.reason), (reference, oops()));
    });
}

#[test]
fn otp_007_a_kill_ends_a_lane_trapping_or_not_and_reads_killed() {
    test(async |mut lane: Lane<News>| {
        for by_signal in [true, false] {
            for target in [puppet(), trapping_puppet(lane.address()).await] {
                lane.monitor(target, News::Down);
                if by_signal {
                    laneway::exit(target.id(), ExitReason::Kill);
                } else {
                    assert!(target.kill());
                }
                assert_eq!(down(&mut lane).await.reason, ExitReason::Killed);
                assert!(!target.kill(), "a dead lane was killed again");
            }
        }
        assert_silence(&mut lane).await;
    });
}

#[test]
fn otp_007_a_lane_that_ends_itself_with_the_reason_kill_is_no_kill_to_its_links() {
    test(async |mut lane: Lane<News>| {
        lane.trap_exits(News::Exit);
        let child = Spawn::new().link().spawn(async |_: Lane<()>| ExitReason::Kill).unwrap();
        let exit = exit(&mut lane).await;
        assert_eq!((exit.from, exit.reason), (child.id(), ExitReason::Kill));
    });
}

#[test]
fn otp_008_a_kill_goes_down_a_chain_of_ten_links_as_killed() {
    test(async |mut lane: Lane<News>| {
        let chain: Vec<Puppet> = (0..10).map(|_| puppet()).collect();
        for pair in chain.windows(2) {
            let next = pair[1];
            tell(pair[0], move |lane| lane.link(next)).await;
        }
        let last = chain[9];
        let end = trapping_puppet(lane.address()).await;
        tell(end, move |lane| lane.link(last)).await;
        for one in &chain {
            lane.monitor(*one, News::Down);
        }
        chain[0].kill();
        let (mut downs, mut trapped) = (0, Vec::new());
        for _ in 0..11 {
            match news(&mut lane).await {
                News::Down(down) => {
                    assert_eq!(down.reason, ExitReason::Killed, "{}", down.id);
                    downs += 1;
                }
                News::Exit(exit) => trapped.push((exit.from, exit.reason)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((downs, trapped), (10, vec![(last.id(), ExitReason::Killed)]));
        assert!(end.is_alive());
    });
}

#[test]
fn otp_009_a_lane_that_sends_itself_a_normal_exit_signal_dies_normally() {
    test(async |mut lane: Lane<News>| {
        let target = laneway::spawn(async |lane: Lane<()>| {
            laneway::exit(lane.id(), ExitReason::Normal);
            std::future::pending::<()>().await;
        })
        .unwrap();
        assert_eq!(reason_of(&mut lane, target).await, ExitReason::Normal);
    });
}

#[test]
fn otp_010_no_code_of_a_lane_runs_after_an_exit_signal_took_effect() {
    for kill in [true, false] {
        test(async move |mut lane: Lane<News>| {
            let ran = Arc::new(AtomicBool::new(false));
            let (runs, runs_too) = (ran.clone(), ran.clone());
            let target = puppet();
            lane.monitor(target, News::Down);
            settle().await;
            // With one worker nothing of it runs before this lane waits. A kill need not be reached in the mailbox.
            if kill {
                target.try_send(order(move |_| runs.store(true, Ordering::Relaxed))).unwrap();
                target.kill();
            } else {
                laneway::exit(target.id(), oops());
            }
            let _ = target.try_send(order(move |_| runs_too.store(true, Ordering::Relaxed)));
            down(&mut lane).await;
            assert!(!ran.load(Ordering::Relaxed), "the lane ran once more; killed: {kill}");
        });
    }
}

#[test]
fn otp_010_a_lane_is_killed_before_its_next_poll_though_it_is_ready() {
    race(100, async |mut lane: Lane<News>| {
        let polls = Arc::new(AtomicU64::new(0));
        let counts = polls.clone();
        let busy = laneway::spawn(async move |_: Lane<()>| {
            loop {
                counts.fetch_add(1, Ordering::SeqCst);
                laneway::yield_now().await;
            }
        })
        .unwrap();
        laneway::yield_now().await;
        lane.monitor(busy, News::Down);
        busy.kill();
        let at_kill = polls.load(Ordering::SeqCst);
        assert_eq!(down(&mut lane).await.reason, ExitReason::Killed);
        let since = polls.load(Ordering::SeqCst) - at_kill;
        // One poll may have been under way on the other worker.
        assert!(since <= 1, "{since} polls after the kill");
    });
}

/// Says when its destructor runs, and holds the death up until it is let go.
struct HoldsUp {
    begun: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Drop for HoldsUp {
    fn drop(&mut self) {
        self.begun.send(()).expect("the test listens");
        self.go_on.recv_timeout(LONG).expect("the test lets go");
    }
}

#[test]
fn otp_011_a_lane_counts_as_dead_only_once_what_it_held_is_released() {
    let runtime = runtime(2);
    let (begun, has_begun) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let _entered = runtime.handle().enter();
    let held = HoldsUp { begun, go_on };
    let dying = Spawn::new().name("dying").spawn(move |mut lane: Lane<()>| async move {
        let _held = held;
        lane.recv().await;
    });
    let dying = dying.unwrap();
    dying.kill();
    has_begun.recv_timeout(LONG).expect("the destructor runs");
    assert!(dying.is_alive(), "it counts as dead while its destructor runs");
    assert_eq!(whereis("dying"), Some(dying.id()));
    // Whoever waits for the end, even one that comes now, waits for all of it.
    let mut joined = Box::pin(laneway::join(dying.id()));
    let early = runtime.block_on(poll_once(&mut joined));
    assert!(early.is_pending(), "a join that came during the death was over before it: {early:?}");
    // So does a watcher that comes now, and one that links.
    let (told, tell) = mpsc::channel();
    let (armed, is_armed) = mpsc::channel();
    let watcher = laneway::spawn(move |mut lane: Lane<News>| async move {
        lane.trap_exits(News::Exit);
        lane.monitor(dying, News::Down);
        lane.link(dying);
        armed.send(()).expect("the test listens");
        for _ in 0..2 {
            let heard = news(&mut lane).await;
            let free = whereis("dying").is_none();
            told.send((format!("{heard:?}"), free)).expect("the test listens");
        }
    });
    let watcher = watcher.unwrap();
    is_armed.recv_timeout(LONG).expect("the watcher runs on the other worker");
    let_go.send(()).unwrap();
    runtime.block_on(joined);
    assert!(!dying.is_alive());
    assert_eq!(whereis("dying"), None);
    runtime.block_on(laneway::join(watcher.id()));
    let heard: Vec<_> = tell.try_iter().collect();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard.iter().all(|(_, free)| *free), "the name was not free when this was heard: {heard:?}");
    drop(_entered);
    end(runtime);
}

#[test]
fn otp_012_who_hears_of_a_death_finds_all_released_and_the_name_free() {
    race(200, async |mut lane: Lane<News>| {
        lane.trap_exits(News::Exit);
        let holder = Spawn::new().name("held").link().monitor();
        let (holder, reference) = holder
            .spawn_monitored(async |_: Lane<()>| {
                laneway::time::call_at(laneway::time::now() + LONG, || ());
                laneway::sleep(LONG).await;
            })
            .unwrap();
        lane.on_down(reference.unwrap(), News::Down);
        laneway::yield_now().await;
        holder.kill();
        for _ in 0..2 {
            let heard = news(&mut lane).await;
            assert!(!holder.is_alive(), "{heard:?}");
            let held = Handle::current().unwrap().held_by(holder.id());
            assert_eq!(held, Held::default(), "when there came {heard:?}");
            assert_eq!(lane.register("held"), Ok(()), "when there came {heard:?}");
            assert!(lane.unregister("held"));
        }
    });
}

#[test]
fn otp_013_a_reason_of_a_mebibyte_arrives_whole_and_outlives_its_sender() {
    test(async |mut lane: Lane<News>| {
        let mut long = String::new();
        while long.len() < 1 << 20 {
            write!(long, "{} ", long.len()).unwrap();
        }
        let (said, thrown) = (long.clone(), long.clone());
        let errs = laneway::spawn(async move |_: Lane<()>| ExitReason::error(&said)).unwrap();
        let first = reason_of(&mut lane, errs).await;
        let panics = laneway::spawn(async move |_: Lane<()>| std::panic::panic_any(thrown)).unwrap();
        let second = reason_of(&mut lane, panics).await;
        assert!(first == ExitReason::error(&long), "an error of {} bytes changed", long.len());
        let ExitReason::Panicked { message, .. } = second else { panic!("not a panic") };
        assert!(*message == *long, "a panic's message of {} bytes changed to one of {}", long.len(), message.len());
    });
}

#[test]
fn otp_046_an_abnormal_exit_writes_one_report_and_an_ordinary_one_writes_none() {
    let reports = Reports::installed();
    test(async |mut lane: Lane<News>| {
        let ended_with = async |lane: &mut Lane<News>, reason: ExitReason| {
            let target = Spawn::new().name("reported").spawn(async move |_: Lane<()>| reason).unwrap();
            reason_of(lane, target).await;
            reports.of(target.id())
        };
        let info = ExitReason::ShutdownWith("done".into());
        for reason in [ExitReason::Normal, ExitReason::Shutdown, info] {
            let written = ended_with(&mut lane, reason.clone()).await;
            assert!(written.is_empty(), "{reason}: {written:?}");
        }
        for reason in [oops(), ExitReason::Killed, ExitReason::Kill, ExitReason::NoProc] {
            let written = ended_with(&mut lane, reason.clone()).await;
            assert_eq!(written.len(), 1, "{reason}: {written:?}");
            assert!(written[0].contains(&format!("reason={reason};")), "{reason}: {written:?}");
            assert!(written[0].contains("reported"), "the lane's name is missing: {written:?}");
            assert!(written[0].contains("tests/suite/exits.rs"), "where it was spawned is missing: {written:?}");
        }
        let killed = puppet();
        lane.monitor(killed, News::Down);
        killed.kill();
        down(&mut lane).await;
        assert_eq!(reports.of(killed.id()).len(), 1);
    });
}
