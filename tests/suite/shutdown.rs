//! The end of a runtime: in order, in time, and with the names of those who were not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use laneway::{ExitReason, Lane, Spawn, SpawnError};

use crate::support::*;

#[test]
fn shutdown_ends_lanes_from_the_top_of_their_trees() {
    let runtime = runtime(2);
    let order = Arc::new(Mutex::new(Vec::new()));
    struct Says(&'static str, Arc<Mutex<Vec<&'static str>>>);
    impl Drop for Says {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0);
        }
    }
    let (ready, is_ready) = mpsc::channel();
    let says = order.clone();
    runtime.block_on(async move {
        laneway::spawn(async move |_: Lane<()>| {
            let _top = Says("top", says.clone());
            let child = laneway::spawn(async move |_: Lane<()>| {
                let _child = Says("child", says);
                ready.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            child.unwrap();
            std::future::pending::<()>().await;
        })
        .unwrap();
    });
    is_ready.recv_timeout(LONG).expect("both run");
    end(runtime);
    assert_eq!(*order.lock().unwrap(), ["top", "child"]);
}

#[test]
fn shutdown_is_a_signal_that_a_lane_may_trap_to_end_in_order() {
    let runtime = virtual_runtime();
    let ended = Arc::new(AtomicBool::new(false));
    let ends = ended.clone();
    runtime.block_on(async move {
        let lane = Spawn::new().trap_exits().spawn(async move |mut lane: Lane<ExitReason>| {
            lane.trap_exits(|exit| exit.reason);
            assert_eq!(lane.recv().await, Some(ExitReason::Shutdown));
            laneway::sleep(Duration::from_secs(1)).await;
            ends.store(true, Ordering::Relaxed);
        });
        lane.unwrap();
    });
    end(runtime);
    assert!(ended.load(Ordering::Relaxed), "it was not left the time to end");
}

#[test]
fn shutdown_kills_and_names_who_is_late() {
    let runtime = runtime(1);
    let late = runtime.block_on(async {
        laneway::spawn(async |_: Lane<()>| std::future::pending::<()>().await).unwrap();
        let spawn = Spawn::new().name("stays").trap_exits();
        spawn.spawn(async |_: Lane<()>| std::future::pending::<()>().await).unwrap()
    });
    let report = runtime.shutdown(Duration::from_secs(1));
    let named: Vec<_> = report.late.iter().map(|info| info.id).collect();
    assert_eq!(named, [late.id()], "{report:?}");
    assert!(!report.is_clean() && report.stuck.is_empty(), "{report:?}");
    let said = report.late[0].to_string();
    assert!(said.contains("\"stays\"") && said.contains("tests/suite/shutdown.rs"), "{said}");
    assert!(!late.is_alive());
    assert_eq!(report.metrics.alive, 0);
}

#[test]
fn shutdown_names_who_never_leaves_its_poll_and_does_not_wait_for_it() {
    let runtime = runtime(1);
    let (let_go, go_on) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let stuck = runtime.block_on(async move {
        let spawned = Spawn::new().name("stuck").spawn(async move |_: Lane<()>| {
            begun.send(()).expect("the test listens");
            let _ = go_on.recv();
        });
        spawned.unwrap()
    });
    has_begun.recv_timeout(LONG).expect("it runs");
    let report = runtime.shutdown(Duration::ZERO);
    let named: Vec<_> = report.stuck.iter().map(|info| (info.id, info.names.len())).collect();
    assert_eq!(named, [(stuck.id(), 1)], "{report:?}");
    assert!(report.stuck[0].to_string().contains("\"stuck\""), "{report:?}");
    drop(let_go);
}

#[test]
fn nothing_is_spawned_once_shutdown_began() {
    let runtime = virtual_runtime();
    let (told, tell) = mpsc::channel();
    runtime.block_on(async move {
        let lane = Spawn::new().trap_exits().spawn(async move |mut lane: Lane<()>| {
            lane.trap_exits(|_| ());
            lane.recv().await;
            let refused = laneway::spawn(async |_: Lane<()>| {});
            told.send(refused.err()).expect("the test listens");
        });
        lane.unwrap();
    });
    end(runtime);
    assert_eq!(tell.try_recv(), Ok(Some(SpawnError::ShuttingDown)));
}

#[test]
fn a_runtime_that_is_dropped_ends_its_lanes() {
    let runtime = runtime(2);
    let owned = Arc::new(());
    let lanes: Vec<_> = runtime.block_on(async {
        let spawn = |_| {
            let owns = owned.clone();
            laneway::spawn(async move |mut lane: Lane<()>| {
                let _owns = owns;
                lane.recv().await;
            })
        };
        (0..100).map(|number| spawn(number).unwrap()).collect()
    });
    drop(runtime);
    assert!(lanes.iter().all(|lane| !lane.is_alive()));
    assert_eq!(Arc::strong_count(&owned), 1, "what lanes owned is not dropped");
}
