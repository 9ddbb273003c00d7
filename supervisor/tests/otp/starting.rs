//! How children start, and what a start that fails leaves.

use std::time::Duration;

use actors::{ExitReason, Id, Init, Lane, Spawn, StartError, is_alive, join, kill, sleep, spawn, whereis, yield_now};
use laneway_supervisor::{
    ChildSpec, CommandError, DynamicSupervisor, Presence, Restart, SpecError, Supervisor, SupervisorError,
};

use crate::support::*;

#[test]
fn otp_049_children_start_in_order_each_after_the_inits_before_it() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = |name| Plan { init_takes: s(1), ..Plan::new(name, &log) }.child();
        let supervisor = Supervisor::builder("s").child(slow("a")).child(slow("b")).start().await.unwrap();
        assert_eq!(log.take(), ["init a", "+a", "init b", "+b"]);
        supervisor.shutdown().await;
        assert_eq!(log.take(), ["-b shutdown", "-a shutdown"]);
    });
}

#[test]
fn otp_050_a_child_that_fails_stops_those_before_it_in_reverse_and_the_starter_is_told() {
    in_virtual_time(async {
        let log = Log::default();
        let bad = Plan { init: |_| Err(ExitReason::error("no luck")), ..Plan::new("bad", &log) }.child();
        let starting = Supervisor::builder("s")
            .name("fails")
            .child(worker("a", &log))
            .child(worker("b", &log))
            .child(bad)
            .child(worker("c", &log))
            .start();
        let error = starting.await.unwrap_err();
        let reason = ExitReason::error("no luck");
        assert_eq!(error, SupervisorError::FailedToStart { child: "bad".into(), reason });
        assert_eq!(log.take(), ["+a", "+b", "-b shutdown", "-a shutdown"]);
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0);
    });
}

#[test]
fn otp_050_a_starter_that_is_a_lane_outlives_the_start_that_failed() {
    in_virtual_time(async {
        let starter = spawn(async |_: Lane<()>| {
            let never = ChildSpec::worker("never", || async { Err::<Id, _>(StartError::Failed(ExitReason::Killed)) });
            assert!(Supervisor::builder("s").child(never).start().await.is_err());
            sleep(s(1)).await;
            ExitReason::ShutdownWith("it lived".into())
        });
        assert_eq!(join(starter.unwrap().id()).await, ExitReason::ShutdownWith("it lived".into()));
    });
}

#[test]
fn otp_051_a_child_that_declines_keeps_its_spec_unless_temporary() {
    in_virtual_time(async {
        let log = Log::default();
        let shy = |name| Plan { init: |_| Ok(Init::Ignore), ..Plan::new(name, &log) }.child();
        let supervisor = Supervisor::builder("s")
            .child(shy("kept"))
            .child(shy("dropped").restart(Restart::Temporary))
            .start()
            .await
            .unwrap();
        let children = supervisor.which_children().await.unwrap();
        assert_eq!(children.len(), 1);
        assert_eq!((&*children[0].id, children[0].presence), ("kept", Presence::Absent));
        assert_eq!(supervisor.start_child(shy("later")).await, Ok(None));
        let pool = DynamicSupervisor::actor("shy", |plan: Plan| Worker(plan)).start().unwrap();
        let plan = Plan { init: |_| Ok(Init::Ignore), ..Plan::new("shy", &log) };
        assert_eq!(pool.start_child(plan).await, Err(CommandError::Ignored));
        assert_eq!(pool.count_children().await.unwrap().active, 0);
    });
}

#[test]
fn otp_053_senseless_specs_are_refused_before_anything_starts() {
    in_virtual_time(async {
        let log = Log::default();
        let twice = Supervisor::builder("s").child(worker("a", &log)).child(worker("a", &log)).start().await;
        assert_eq!(twice, Err(SupervisorError::Spec(SpecError::DuplicateId("a".into()))));
        let unnamed = Supervisor::builder("s").child(worker("", &log)).start().await;
        assert_eq!(unnamed, Err(SupervisorError::Spec(SpecError::EmptyId)));
        let no_period = Supervisor::builder("s").intensity(1, Duration::ZERO).start().await;
        assert_eq!(no_period, Err(SupervisorError::Spec(SpecError::ZeroPeriod)));
        assert!(log.take().is_empty());
    });
}

#[test]
fn a_child_killed_in_init_is_a_start_that_failed() {
    in_virtual_time(async {
        let log = Log::default();
        let killed = ChildSpec::actor("k", {
            let log = log.clone();
            move || Worker(Plan { init_takes: s(1), ..Plan::new("k", &log) })
        });
        let cut = async {
            sleep(Duration::from_millis(500)).await;
            let handle = actors::Handle::current().unwrap();
            let lane = handle.lanes().into_iter().max_by_key(|lane| lane.parent.is_some()).unwrap();
            assert!(kill(lane.id));
        };
        let starting = Supervisor::builder("s").child(killed).start();
        let killer = spawn(async move |_: Lane<()>| {
            sleep(Duration::from_millis(1)).await;
            cut.await;
        });
        let error = starting.await.unwrap_err();
        assert_eq!(error, SupervisorError::FailedToStart { child: "k".into(), reason: ExitReason::Killed });
        assert!(killer.is_ok());
    });
}

#[test]
fn a_start_function_that_panics_or_forgets_the_link_is_borne() {
    in_virtual_time(async {
        let panics = ChildSpec::worker("p", || async {
            yield_now().await;
            if is_alive(actors::current().expect("a start function runs in the supervisor's lane")) {
                panic!("in the start");
            }
            Err::<Id, _>(StartError::Ignored)
        });
        let error = Supervisor::builder("s").child(panics).start().await.unwrap_err();
        let SupervisorError::FailedToStart { reason: ExitReason::Panicked { message, .. }, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(&*message, "in the start");
        let forgets = ChildSpec::worker("f", || async {
            Ok::<_, StartError>(Spawn::new().name("f").spawn(async |mut lane: Lane<()>| _ = lane.recv().await)?)
        });
        let supervisor = Supervisor::builder("s").child(forgets).start().await.unwrap();
        let before = lane_of(supervisor, "f").await.unwrap();
        kill(before);
        join(before).await;
        settle().await;
        assert!(lane_of(supervisor, "f").await.is_some_and(|after| after != before));
        supervisor.shutdown().await;
        assert_eq!(whereis::<()>("f"), Ok(None));
    });
}
