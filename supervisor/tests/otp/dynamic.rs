//! Supervisors of many children of one spec.

use std::future::pending;
use std::sync::Arc;

use actors::time::now;
use actors::{ExitReason, Lane, join};
use laneway_supervisor::{ChildError, DynamicSupervisor, Restart};

use crate::support::*;

#[test]
fn otp_068_a_dynamic_child_restarts_with_its_arguments_and_is_terminated_by_its_lane() {
    in_virtual_time(async {
        let log = Log::default();
        let pool =
            DynamicSupervisor::actor("w", |plan: Plan| Worker(plan)).restart(Restart::Permanent).start().unwrap();
        let x = pool.start_child(Plan::new("x", &log)).await.unwrap();
        let y = pool.start_child(Plan::new("y", &log)).await.unwrap();
        x.send(Word::Panic).await.unwrap();
        join(x.id()).await;
        settle().await;
        assert_eq!(log.take(), ["+x", "+y", "-x panicked", "+x"]);
        let lanes = pool.which_children().await.unwrap();
        assert!(lanes.len() == 2 && lanes.contains(&y.id()) && !lanes.contains(&x.id()));
        pool.terminate_child(y).await.unwrap();
        assert!(!y.is_alive());
        assert_eq!(log.take(), ["-y shutdown"]);
        assert_eq!(pool.terminate_child(y).await, Err(ChildError::NotFound.into()));
        assert_eq!(pool.count_children().await.unwrap().active, 1);
    });
}

#[test]
fn otp_069_a_dynamic_supervisor_stops_its_children_side_by_side() {
    in_virtual_time(async {
        let log = Log::default();
        let pool = DynamicSupervisor::actor("w", |plan: Plan| Worker(plan)).shutdown(s(5)).start().unwrap();
        for takes in [1, 2, 3, 4, 100, 200, 300] {
            pool.start_child(Plan { end_takes: s(takes), ..Plan::new("w", &log) }).await.unwrap();
        }
        log.take();
        let since = now();
        pool.shutdown().await;
        assert_eq!((now() - since).as_secs(), 5, "one limit, not the sum");
        assert_eq!(log.take().len(), 4, "the others were killed");
    });
}

#[test]
fn otp_070_the_arguments_of_temporary_children_are_not_kept() {
    in_virtual_time(async {
        let pool = DynamicSupervisor::lane("w", |_held: Arc<()>| async |_: Lane<()>| pending::<()>().await);
        let pool = pool.start().unwrap();
        let argument = Arc::new(());
        for _ in 0..1000 {
            pool.start_child(argument.clone()).await.unwrap();
        }
        assert_eq!(Arc::strong_count(&argument), 1);
        assert_eq!(pool.count_children().await.unwrap().active, 1000);
    });
}

#[test]
fn otp_071_a_hundred_thousand_children_start_and_stop() {
    in_virtual_time(async {
        let pool = DynamicSupervisor::lane("w", |number: u32| {
            async move |mut lane: Lane<u32>| while lane.recv().await.is_some_and(|other| other != number) {}
        });
        let pool = pool.start().unwrap();
        let mut some = Vec::new();
        for number in 0..100_000 {
            let child = pool.start_child(number).await.unwrap();
            if number % 1000 == 0 {
                some.push((child, number));
            }
        }
        for (child, number) in some {
            child.send(number).await.unwrap();
            join(child.id()).await;
        }
        settle().await;
        assert_eq!(pool.count_children().await.unwrap().active, 99_900);
        let since = now();
        assert_eq!(pool.shutdown().await, ExitReason::Shutdown);
        assert!(now() - since < s(5), "nobody had to be killed");
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0);
    });
}
