//! What is asked of a supervisor at run time: start, restart, terminate, delete and count.

use actors::time::now;
use actors::{Address, ExitReason, Init, NotAMailbox, is_alive, sleep, whereis};
use laneway_supervisor::{ChildCounts, ChildError, ChildSpec, Presence, Restart, Supervisor};

use crate::support::*;

#[test]
fn otp_064_start_child_with_a_used_id() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").child(worker("a", &log)).start().await.unwrap();
        let lane = lane_of(supervisor, "a").await.unwrap();
        let error = supervisor.start_child(worker("a", &log)).await.unwrap_err();
        assert_eq!(error, ChildError::AlreadyStarted(lane).into());
        supervisor.terminate_child("a").await.unwrap();
        let error = supervisor.start_child(worker("a", &log)).await.unwrap_err();
        assert_eq!(error, ChildError::AlreadyPresent.into());
    });
}

#[test]
fn otp_065_restart_child_and_delete_child_refuse_what_runs_or_is_unknown() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").child(worker("a", &log)).start().await.unwrap();
        let lane = lane_of(supervisor, "a").await.unwrap();
        assert_eq!(supervisor.restart_child("a").await, Err(ChildError::Running(lane).into()));
        assert_eq!(supervisor.delete_child("a").await, Err(ChildError::Running(lane).into()));
        assert_eq!(supervisor.delete_child("b").await, Err(ChildError::NotFound.into()));
        assert_eq!(supervisor.restart_child("b").await, Err(ChildError::NotFound.into()));
        supervisor.terminate_child("a").await.unwrap();
        assert!(supervisor.restart_child("a").await.unwrap().is_some_and(|new| new != lane));
        supervisor.terminate_child("a").await.unwrap();
        supervisor.delete_child("a").await.unwrap();
        assert_eq!(supervisor.count_children().await.unwrap(), ChildCounts::default());
    });
}

#[test]
fn otp_066_terminate_child_keeps_the_spec_and_does_not_count() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").intensity(0, s(5)).child(worker("a", &log)).start().await.unwrap();
        for _ in 0..3 {
            supervisor.terminate_child("a").await.unwrap();
            assert_eq!(supervisor.find_child("a").await.unwrap().unwrap().presence, Presence::Absent);
            supervisor.restart_child("a").await.unwrap();
        }
        supervisor.start_child(worker("t", &log).restart(Restart::Temporary)).await.unwrap();
        supervisor.terminate_child("t").await.unwrap();
        assert_eq!(supervisor.find_child("t").await, Ok(None));
    });
}

#[test]
fn otp_067_counts_are_right_also_while_a_child_is_being_restarted() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = Plan { init_takes: s(2), ..Plan::new("slow", &log) }.child();
        let inner = ChildSpec::supervisor("inner", || Supervisor::builder("inner"));
        let supervisor =
            Supervisor::builder("s").child(worker("a", &log)).child(slow).child(inner).start().await.unwrap();
        let all = ChildCounts { specs: 3, active: 3, supervisors: 1, workers: 2 };
        assert_eq!(supervisor.count_children().await, Ok(all));
        tell(supervisor, "slow", Word::Panic).await;
        assert_eq!(supervisor.count_children().await, Ok(ChildCounts { active: 2, ..all }));
        assert_eq!(supervisor.find_child("slow").await.unwrap().unwrap().presence, Presence::Restarting);
        sleep(s(3)).await;
        assert_eq!(supervisor.count_children().await, Ok(all));
    });
}

#[test]
fn start_child_while_another_restarts_waits_its_turn() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = Plan { init_takes: s(2), ..Plan::new("slow", &log) }.child();
        let supervisor = Supervisor::builder("s").child(slow).start().await.unwrap();
        tell(supervisor, "slow", Word::Panic).await;
        log.take();
        let since = now();
        assert!(supervisor.start_child(worker("next", &log)).await.unwrap().is_some());
        assert_eq!(log.take(), ["+slow", "+next"]);
        assert!(now() - since > s(1));
    });
}

#[test]
fn a_command_ends_the_tries_to_restart_a_child() {
    in_virtual_time(async {
        let log = Log::default();
        let init = |start| if start == 1 { Ok(Init::Ready) } else { Err(ExitReason::error("never again")) };
        let plan = Plan { init, init_takes: s(1), ..Plan::new("w", &log) };
        let supervisor = Supervisor::builder("s").intensity(1000, s(5)).child(plan.child()).start().await.unwrap();
        tell(supervisor, "w", Word::Panic).await;
        supervisor.terminate_child("w").await.unwrap();
        assert_eq!(supervisor.find_child("w").await.unwrap().unwrap().presence, Presence::Absent);
        assert!(is_alive(supervisor.id()));
    });
}

#[test]
fn otp_077_what_a_supervisor_does_not_understand_does_not_reach_it() {
    in_virtual_time(async {
        let supervisor = Supervisor::builder("s").name("s").start().await.unwrap();
        assert!(matches!(whereis::<String>("s"), Err(NotAMailbox::OtherType { .. })));
        assert!(matches!(Address::<String>::of(supervisor.id()), Err(NotAMailbox::OtherType { .. })));
        assert_eq!(supervisor.count_children().await, Ok(ChildCounts::default()));
    });
}
