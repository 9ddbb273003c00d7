//! Notices of death that a worker keeps: it adds and sends, and a watchdog robs it.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::{A, B, C, D, Nodes, explore, index};
use crate::sched::notices::{Kept, Notices};

const HERE: u64 = 1;
const THERE: u64 = 2;

struct World {
    notices: Notices,
    nodes: Nodes,
    /// For whom each node was added, plainly written.
    meant_for: [AtomicU32; 4],
    /// How often each has come out.
    sent: [AtomicU32; 4],
}

impl World {
    fn new() -> Arc<World> {
        let counts = || std::array::from_fn(|_| AtomicU32::new(0));
        Arc::new(World { notices: Notices::new(), nodes: Nodes::new(), meant_for: counts(), sent: counts() })
    }

    /// As `Local::keep_notice`.
    fn keep(&self, watcher: u64, node: u32) {
        if !self.notices.may_be_for(watcher) {
            self.send(self.notices.take());
        }
        self.nodes.content[index(node)].store(100 + node, Ordering::Relaxed);
        self.meant_for[index(node)].store(watcher as u32, Ordering::Relaxed);
        self.notices.add(watcher, node, |before| self.nodes.next[index(node)].store(before, Ordering::Relaxed));
    }

    /// As `watch::send_kept`.
    fn send(&self, kept: Option<Kept>) {
        let Some(Kept { watcher, last, first }) = kept else { return };
        let nodes = self.nodes.drain(last);
        assert_eq!(nodes.first(), Some(&first), "the chain begins elsewhere");
        for node in nodes {
            assert_eq!(self.meant_for[index(node)].load(Ordering::Relaxed), watcher as u32, "it was for another");
            self.sent[index(node)].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn assert_all_sent_once(&self, nodes: &[u32]) {
        for node in nodes {
            assert_eq!(self.sent[index(*node)].load(Ordering::Relaxed), 1, "node {node}");
        }
    }
}

fn explore_robbed(worker: impl Fn(&World) + Send + Sync + 'static, robberies: usize, nodes: &'static [u32]) {
    let worker = Arc::new(worker);
    explore(move || {
        let world = World::new();
        let robbed = world.clone();
        let robber = thread::spawn(move || {
            for _ in 0..robberies {
                robbed.send(robbed.notices.rob());
            }
        });
        worker(&world);
        world.send(world.notices.take());
        assert!(world.notices.rob().is_none(), "something was left");
        robber.join().unwrap();
        world.assert_all_sent_once(nodes);
    });
}

#[test]
fn each_notice_goes_out_once_by_its_worker_or_a_robber() {
    let worker = |world: &World| {
        for node in [A, B, C] {
            world.keep(HERE, node);
        }
    };
    explore_robbed(worker, 2, &[A, B, C]);
}

#[test]
fn a_robber_does_not_take_one_watcher_for_another() {
    let worker = |world: &World| {
        world.keep(HERE, A);
        world.keep(THERE, B);
        world.keep(HERE, C);
        world.keep(HERE, D);
    };
    explore_robbed(worker, 2, &[A, B, C, D]);
}
