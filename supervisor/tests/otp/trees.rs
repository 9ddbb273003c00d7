//! Supervisors below supervisors: how a tree ends, and how a part of it comes back.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::time::now;
use actors::{
    Address, ExitReason, Id, Lane, NotAMailbox, Role, Runtime, is_alive, join, kill, sleep, spawn, timeout, yield_now,
};
use laneway_supervisor::{Chaos, ChildSpec, IntoChild, Strategy, Supervisor};

use crate::support::*;

#[test]
fn otp_075_the_end_of_the_parent_ends_the_tree_in_order_and_strangers_do_not() {
    in_virtual_time(async {
        let log = Log::default();
        let kept = log.clone();
        let cell = Arc::new(OnceLock::new());
        let there = cell.clone();
        let parent = spawn(async move |mut lane: Lane<()>| {
            let builder = Supervisor::builder("s").child(worker("a", &kept)).child(worker("b", &kept));
            there.set(builder.start().await.unwrap()).unwrap();
            let _ = lane.recv().await;
            ExitReason::error("the parent's own")
        });
        settle().await;
        let supervisor = *cell.get().unwrap();
        // One that is linked with it, and one that only signals.
        let stranger = spawn(async move |lane: Lane<()>| {
            lane.link(supervisor);
            yield_now().await;
            actors::exit(supervisor.id(), ExitReason::Shutdown);
            ExitReason::error("the stranger's")
        });
        join(stranger.unwrap().id()).await;
        settle().await;
        assert!(is_alive(supervisor.id()));
        log.take();
        let cause = async { parent.unwrap().send(()).await.unwrap() };
        assert_eq!(end_of(supervisor.id(), cause).await, ExitReason::error("the parent's own"));
        assert_eq!(log.take(), ["-b shutdown", "-a shutdown"]);
    });
}

#[test]
fn otp_076_a_middle_supervisor_is_rebuilt_from_its_first_specs() {
    in_virtual_time(async {
        let log = Log::default();
        let kept = log.clone();
        let role = Role::<Word>::new();
        let middle = ChildSpec::supervisor("middle", move || {
            Supervisor::builder("middle").child(worker("a", &kept).role(role)).child(worker("b", &kept))
        });
        let root = Supervisor::builder("root").child(middle).start().await.unwrap();
        let before = Supervisor::of(lane_of(root, "middle").await.unwrap()).unwrap();
        before.start_child(worker("added", &log)).await.unwrap();
        let old: Vec<Id> = lanes(before).await.into_values().collect();
        assert_eq!(old.len(), 3);
        assert!(kill(before.id()));
        join(before.id()).await;
        settle().await;
        assert!(old.iter().all(|lane| !is_alive(*lane)), "those of the dead went with it");
        let after = Supervisor::of(lane_of(root, "middle").await.unwrap()).unwrap();
        let new = lanes(after).await;
        assert_eq!(new.keys().map(|id| &**id).collect::<Vec<_>>(), ["a", "b"]);
        assert!(new.values().all(|lane| !old.contains(lane)));
        assert!(matches!(Supervisor::of(before.id()), Err(NotAMailbox::Stale(_))));
        log.take();
        role.send(Word::Note).await.expect("a role outlives the middle supervisor");
        settle().await;
        assert_eq!(log.take(), ["a notes"]);
        root.shutdown().await;
        assert!(role.address().is_err(), "nobody will fill it any more");
    });
}

/// A supervisor three deep, with a worker before and after the next one at each depth.
fn nested(depth: u32, log: &Log) -> laneway_supervisor::SupervisorBuilder {
    const NAMES: [[&str; 2]; 3] = [["a1", "z1"], ["a2", "z2"], ["a3", "z3"]];
    let [first, last] = NAMES[depth as usize];
    let mut builder = Supervisor::builder(first).child(worker(first, log));
    if depth < 2 {
        let log = log.clone();
        builder = builder.child(ChildSpec::supervisor("next", move || nested(depth + 1, &log)));
    }
    builder.child(worker(last, log))
}

const NESTED_STARTS: [&str; 6] = ["+a1", "+a2", "+a3", "+z3", "+z2", "+z1"];

const NESTED_ENDS: [&str; 6] =
    ["-z1 shutdown", "-z2 shutdown", "-z3 shutdown", "-a3 shutdown", "-a2 shutdown", "-a1 shutdown"];

#[test]
fn supervisors_three_deep_shut_down_in_order() {
    in_virtual_time(async {
        let log = Log::default();
        let root = nested(0, &log).start().await.unwrap();
        assert_eq!(log.take(), NESTED_STARTS);
        assert_eq!(root.shutdown().await, ExitReason::Shutdown);
        assert_eq!(log.take(), NESTED_ENDS);
    });
}

#[test]
fn the_end_of_the_runtime_takes_a_tree_down_in_order() {
    let log = Log::default();
    let runtime = Runtime::builder().workers(1).virtual_time(49).build().unwrap();
    runtime.block_on(async { nested(0, &log).start().await.unwrap() });
    log.take();
    let report = runtime.shutdown(s(10));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(log.take(), NESTED_ENDS);
}

#[test]
fn children_of_a_supervisor_that_is_killed_die_with_it() {
    in_virtual_time(async {
        let log = Log::default();
        let root = nested(0, &log).start().await.unwrap();
        assert_eq!(end_of(root.id(), async { assert!(kill(root.id())) }).await, ExitReason::Killed);
        sleep(s(20)).await;
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0);
    });
}

#[test]
fn shutdown_cancels_the_start_under_way_and_leaves_nothing() {
    in_virtual_time(async {
        let log = Log::default();
        let deaf = Plan { init_takes: s(1000), ..Plan::new("deaf", &log) }.child().start_timeout(None).shutdown(s(3));
        let inner = deaf.into_child().unwrap();
        let mut inner = Some(inner);
        let middle = ChildSpec::supervisor("middle", move || {
            Supervisor::builder("middle").child(inner.take().expect("one start"))
        });
        let root = Supervisor::builder("root").name("root").child(middle);
        let since = now();
        let gave_up = timeout(s(10), root.start()).await;
        assert!(gave_up.is_err());
        sleep(s(5)).await;
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0, "the start was dropped, and all ended");
        assert!(now() - since < s(20));
        assert_eq!(log.take(), ["init deaf"]);
    });
}

#[test]
fn a_tree_under_chaos_has_all_its_children_in_the_end() {
    in_virtual_time(async {
        let log = Log::default();
        let roles: Vec<Role<Word>> = (0..8).map(|_| Role::new()).collect();
        let (few, many) = roles.split_at(2);
        let of = |roles: &[Role<Word>], log: &Log| {
            let names = ["a", "b", "c", "d", "e", "f"];
            let children = roles.iter().zip(names).map(|(role, name)| worker(name, log).role(*role));
            children.fold(Supervisor::builder("calm").intensity(1 << 20, s(5)), |builder, child| builder.child(child))
        };
        let (inner, kept) = (few.to_vec(), log.clone());
        let middle = ChildSpec::supervisor("middle", move || of(&inner, &kept).strategy(Strategy::OneForAll));
        let root = of(many, &log).child(middle).start().await.unwrap();
        let handle = actors::Handle::current().unwrap();
        let targets = move || handle.lanes().iter().map(|lane| lane.id).filter(|&id| id != root.id()).collect();
        let chaos = Chaos::builder().rate(200.0).seed(3).targets(targets).start().unwrap();
        for round in 0..100 {
            let role = roles[round % roles.len()];
            role.send(Word::Note).await.expect("a role is there until the root is gone");
            sleep(Duration::from_millis(30)).await;
        }
        let report = chaos.stop().await.unwrap();
        assert!(report.kills > 300, "{report:?}");
        settle().await;
        let middle = Supervisor::of(lane_of(root, "middle").await.unwrap()).unwrap();
        assert_eq!((lanes(root).await.len(), lanes(middle).await.len()), (7, 2), "{report:?}");
        for role in roles {
            assert!(role.address().unwrap().is_some_and(Address::is_alive), "{report:?}");
        }
    });
}
