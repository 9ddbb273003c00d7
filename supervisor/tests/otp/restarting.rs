//! Who is started again after what, with whom, and how often.

use actors::{Address, ExitReason, Id, Lane, Role, is_alive, join, sleep};
use laneway_supervisor::{ChildSpec, Restart, Strategy, Supervisor, SupervisorError};

use crate::support::*;

#[test]
fn otp_054_to_056_who_is_started_again_after_what() {
    use Restart::{Permanent, Temporary, Transient};
    in_virtual_time(async {
        for (restart, word, again, kept) in [
            (Permanent, Word::Normal, true, true),
            (Permanent, Word::Shutdown, true, true),
            (Permanent, Word::Panic, true, true),
            (Transient, Word::Normal, false, true),
            (Transient, Word::Shutdown, false, true),
            (Transient, Word::Panic, true, true),
            (Temporary, Word::Normal, false, false),
            (Temporary, Word::Panic, false, false),
        ] {
            let log = Log::default();
            let supervisor = Supervisor::builder("s").child(worker("w", &log).restart(restart)).start().await.unwrap();
            tell(supervisor, "w", word).await;
            assert_eq!(lane_of(supervisor, "w").await.is_some(), again, "{restart:?} {word:?}");
            let specs = supervisor.count_children().await.unwrap().specs;
            assert_eq!(specs == 1, kept, "{restart:?} {word:?}");
            if kept && !again {
                assert!(supervisor.restart_child("w").await.unwrap().is_some());
            }
            if !kept {
                assert!(supervisor.start_child(worker("w", &log)).await.unwrap().is_some(), "the id is free again");
            }
            supervisor.shutdown().await;
        }
    });
}

#[test]
fn otp_057_one_restart_too_many_stops_all_in_reverse_and_the_supervisor_with_shutdown() {
    in_virtual_time(async {
        for intensity in [0, 1, 3] {
            let log = Log::default();
            let supervisor = Supervisor::builder("s")
                .intensity(intensity, s(5))
                .child(worker("a", &log))
                .child(worker("b", &log))
                .child(worker("c", &log))
                .start()
                .await
                .unwrap();
            for _ in 0..intensity {
                tell(supervisor, "b", Word::Panic).await;
                assert!(lane_of(supervisor, "b").await.is_some());
            }
            log.take();
            let b = lane_of(supervisor, "b").await.unwrap();
            let cause = async { Address::<Word>::of(b).unwrap().send(Word::Panic).await.unwrap() };
            assert_eq!(end_of(supervisor.id(), cause).await, ExitReason::Shutdown);
            assert_eq!(log.take(), ["-b panicked", "-c shutdown", "-a shutdown"]);
        }
    });
}

#[test]
fn otp_058_restarts_older_than_the_period_do_not_count() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").intensity(1, s(5)).child(worker("a", &log)).start().await.unwrap();
        for _ in 0..5 {
            tell(supervisor, "a", Word::Panic).await;
            sleep(s(6)).await;
        }
        assert!(lane_of(supervisor, "a").await.is_some());
        assert_eq!(log.take().iter().filter(|what| *what == "+a").count(), 6);
    });
}

/// A supervisor of `a`, `b` and `c`, and their lanes.
async fn three(strategy: Strategy, log: &Log) -> (Supervisor, [Id; 3]) {
    let supervisor = Supervisor::builder("s")
        .strategy(strategy)
        .child(worker("a", log))
        .child(worker("b", log))
        .child(worker("c", log))
        .start()
        .await
        .unwrap();
    log.take();
    (supervisor, three_lanes(supervisor).await)
}

async fn three_lanes(supervisor: Supervisor) -> [Id; 3] {
    let mut lanes = [supervisor.id(); 3];
    for (lane, name) in lanes.iter_mut().zip(["a", "b", "c"]) {
        *lane = lane_of(supervisor, name).await.expect("it runs");
    }
    lanes
}

#[test]
fn otp_059_one_for_all_stops_in_reverse_and_restarts_in_order() {
    in_virtual_time(async {
        let log = Log::default();
        let (supervisor, before) = three(Strategy::OneForAll, &log).await;
        tell(supervisor, "b", Word::Panic).await;
        assert_eq!(log.take(), ["-b panicked", "-c shutdown", "-a shutdown", "+a", "+b", "+c"]);
        let after = three_lanes(supervisor).await;
        assert!(before.iter().all(|lane| !after.contains(lane) && !is_alive(*lane)));
        assert!(is_alive(supervisor.id()), "the whole round is one restart");
    });
}

#[test]
fn otp_060_rest_for_one_leaves_earlier_children_alone() {
    in_virtual_time(async {
        let log = Log::default();
        let (supervisor, before) = three(Strategy::RestForOne, &log).await;
        tell(supervisor, "b", Word::Panic).await;
        assert_eq!(log.take(), ["-b panicked", "-c shutdown", "+b", "+c"]);
        let after = three_lanes(supervisor).await;
        assert_eq!(before[0], after[0]);
        assert!(before[1] != after[1] && before[2] != after[2]);
    });
}

#[test]
fn otp_061_one_for_one_leaves_siblings_alone() {
    in_virtual_time(async {
        let log = Log::default();
        let (supervisor, before) = three(Strategy::OneForOne, &log).await;
        tell(supervisor, "b", Word::Panic).await;
        assert_eq!(log.take(), ["-b panicked", "+b"]);
        let after = three_lanes(supervisor).await;
        assert_eq!((before[0], before[2]), (after[0], after[2]));
        assert!(before[1] != after[1]);
    });
}

#[test]
fn a_role_survives_restarts_and_what_is_sent_in_the_gap_reaches_the_next_incarnation() {
    in_virtual_time(async {
        let log = Log::default();
        let role = Role::<Word>::new();
        let slow = Plan { init_takes: s(2), ..Plan::new("w", &log) }.child().role(role);
        let supervisor = Supervisor::builder("s").child(slow).start().await.unwrap();
        role.send(Word::Panic).await.unwrap();
        settle().await;
        assert_eq!(role.address(), Ok(None), "it is being started again");
        log.take();
        role.send(Word::Note).await.unwrap();
        settle().await;
        assert_eq!(log.take(), ["+w", "w notes"]);
        supervisor.terminate_child("w").await.unwrap();
        assert_eq!(role.address(), Ok(None));
        supervisor.delete_child("w").await.unwrap();
        assert!(role.address().is_err());
    });
}

#[test]
fn a_child_whose_role_is_retired_fails_to_start_and_to_start_again() {
    in_virtual_time(async {
        let log = Log::default();
        let retired = ExitReason::error("the role of child \"w\" is retired");
        let role = Role::<Word>::new();
        let supervisor = Supervisor::builder("s").child(worker("w", &log).role(role)).start().await.unwrap();
        role.retire();
        log.take();
        supervisor.terminate_child("w").await.unwrap();
        let again = supervisor.restart_child("w").await.unwrap_err();
        assert!(again.to_string().contains(&retired.to_string()), "{again}");
        assert_eq!((log.take(), lane_of(supervisor, "w").await), (vec!["-w shutdown".into()], None));
        let first = Supervisor::builder("s").child(worker("w", &log).role(role)).start().await.unwrap_err();
        assert_eq!(first, SupervisorError::FailedToStart { child: "w".into(), reason: retired });
    });
}

#[test]
fn a_lane_that_ends_at_once_is_still_noticed() {
    in_virtual_time(async {
        let hasty = ChildSpec::lane("hasty", || async |_: Lane<()>| ExitReason::error("at once"));
        let supervisor = Supervisor::builder("s").intensity(3, s(5)).child(hasty).start().await.unwrap();
        // It may be gone before it is asked.
        assert!(matches!(join(supervisor.id()).await, ExitReason::Shutdown | ExitReason::NoProc));
    });
}
