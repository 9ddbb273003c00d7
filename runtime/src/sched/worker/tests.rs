//! What a worker sees to between two turns.

use std::sync::mpsc;

use crate::lane::{self, Spawn};
use crate::mailbox::Inbox;
use crate::runtime::Runtime;
use crate::{context, yield_now};

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).watchdog(None).build().unwrap()
}

#[test]
fn a_worker_that_was_woken_to_search_does_not_search_while_it_runs_what_it_found() {
    let runtime = one_worker();
    let (tell, told) = mpsc::channel();
    // So many that some are found by a look outside, and most by the search.
    for _ in 0..400 {
        let tell = tell.clone();
        let looks = async move |_: Inbox<()>| {
            let scheduler = context::with_local(|local| local.unwrap().scheduler.clone());
            tell.send((scheduler.idle.searchers(), scheduler)).unwrap();
        };
        runtime.block_on(async { lane::join(Spawn::new().spawn(looks).unwrap().mailbox.id()).await });
        let (searchers, scheduler) = told.recv().unwrap();
        assert_eq!(searchers, 0);
        while !scheduler.idle.all_asleep() {
            std::thread::yield_now();
        }
    }
}

/// Tells when the lane has ended whose future has it.
struct Ends(mpsc::Sender<&'static str>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send("dead").unwrap();
    }
}

#[test]
fn who_was_killed_dies_before_the_turn_of_the_next_and_four_between_two_turns() {
    let runtime = one_worker();
    let (tell, told) = mpsc::channel();
    let kills = async move |_: Inbox<()>| {
        let mut victims = Vec::new();
        for _ in 0..12 {
            let ends = Ends(tell.clone());
            let waits = async move |_: Inbox<()>| {
                let _ends = ends;
                std::future::pending::<()>().await;
            };
            victims.push(Spawn::new().spawn(waits).unwrap().mailbox.id());
        }
        yield_now().await;
        for _ in 0..12 {
            let tell = tell.clone();
            Spawn::new().spawn(async move |_: Inbox<()>| tell.send("turn").unwrap()).unwrap();
        }
        assert!(victims.into_iter().all(lane::kill));
    };
    runtime.block_on(async { lane::join(Spawn::new().spawn(kills).unwrap().mailbox.id()).await });
    let order: Vec<_> = told.iter().collect();
    let turns_before_the_last_death = order.iter().rposition(|what| *what == "dead").unwrap() - 11;
    assert!((order.len(), order[0]) == (24, "dead") && turns_before_the_last_death <= 2, "{order:?}");
}

#[test]
fn more_lanes_than_a_ring_has_places_have_their_turns_in_order() {
    let runtime = one_worker();
    let (tell, told) = mpsc::channel();
    let spawns = async move |_: Inbox<()>| {
        for number in 0..5000 {
            let tell = tell.clone();
            Spawn::new().spawn(async move |_: Inbox<()>| tell.send(number).unwrap()).unwrap();
        }
    };
    runtime.block_on(async { lane::join(Spawn::new().spawn(spawns).unwrap().mailbox.id()).await });
    assert!(told.iter().eq(0..5000));
}

#[test]
fn a_sleeper_comes_for_what_a_worker_queues_and_does_not_get_to() {
    let runtime = Runtime::builder().workers(2).watchdog(None).build().unwrap();
    let (end, ended) = mpsc::channel();
    let blocks = async move |_: Inbox<()>| {
        let scheduler = context::with_local(|local| local.unwrap().scheduler.clone());
        while scheduler.idle.sleepers() == 0 {
            std::thread::yield_now();
        }
        let (tell, told) = mpsc::channel();
        Spawn::new().spawn(async move |_: Inbox<()>| tell.send(()).unwrap()).unwrap();
        told.recv().unwrap();
        end.send(()).unwrap();
    };
    for _ in 0..20 {
        runtime.block_on(async { Spawn::new().spawn(blocks.clone()).unwrap() });
        ended.recv().unwrap();
    }
}
