//! Loom's models: the words and hand-shakes of the runtime, run in every interleaving within a bound.
//!
//! Each model drives the code that ships (`lane/word.rs`, `mailbox/node/fill.rs`, `reply/word.rs`, `sched/idle.rs`,
//! `sched/crew.rs`, `sched/chronicle.rs`, `sched/parker.rs`, `sched/pulse.rs`, `sched/queue.rs`, `sched/notices.rs`, `sched/hold.rs`, `wait_graph/word.rs`,
//! `alloc/balance.rs`, `admission/ledger.rs`) with as few threads and steps as still meet each other in every way. What
//! a word guards is written and read `Relaxed`, so that a model fails if the word itself does not publish it. What
//! stands around the words in production (slots, wait lists, the workers' loop) is drawn here in outline; each outline
//! names the function it follows.
//!
//! The lane's word has three files: `word` has wakers, workers and a kill; `mailbox` has senders and a lane that only
//! receives; `slot` has all of them, signals, and one tenant after the other. `giving` has a lane that dies while it is given
//! a descriptor.
//!
//! Bounds: `ci/model.sh` explores all interleavings of at most two preemptions, and prints how many those were. Loom keeps
//! the last seven values of an atomic and lets no compare-and-swap fail without cause or read an old value.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::lane::word::{EMPTY, FIRST_NODE, LaneWord, Pushed, Refused, Weight};

mod admission;
mod balance;
mod broadcast;
mod chronicle;
mod crew;
mod elsewhere;
mod giving;
mod hold;
mod idle;
mod mailbox;
mod notices;
mod notify;
mod pack;
mod park;
mod parker;
mod pulse;
mod queue;
mod reply;
mod room;
mod slot;
mod vat;
mod wait_graph;
mod wait_list;
mod word;

/// Runs a model in all its interleavings and says how many there were.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = executions.clone();
    let counted = move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    };
    if std::env::var_os("LOOM_LOG").is_some() {
        // With a trace of each step; all bounds are those of the environment.
        loom::model(counted);
    } else {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(2));
        builder.check(counted);
    }
    println!("{} executions", executions.load(Ordering::Relaxed));
}

/// A run queue as one lane sees it: the lane is in it or it is not.
struct RunQueue(AtomicBool);

impl RunQueue {
    fn new() -> RunQueue {
        RunQueue(AtomicBool::new(false))
    }

    fn push(&self) {
        // ORDER: as in a real queue, a push is seen by the pop that takes it; nothing else is promised.
        assert!(!self.0.swap(true, Ordering::Release), "the lane is queued twice");
    }

    fn pop(&self) -> bool {
        self.0.swap(false, Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

const A: u32 = FIRST_NODE;
const B: u32 = FIRST_NODE + 1;
const C: u32 = FIRST_NODE + 2;
const D: u32 = FIRST_NODE + 3;

/// Message nodes: links and contents, published by nothing but the lane's word.
struct Nodes {
    next: [AtomicU32; 4],
    content: [AtomicU32; 4],
}

fn index(node: u32) -> usize {
    (node - FIRST_NODE) as usize
}

impl Nodes {
    fn new() -> Nodes {
        Nodes {
            next: std::array::from_fn(|_| AtomicU32::new(EMPTY)),
            content: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// As `node::push`.
    fn push(&self, word: &LaneWord, generation: u16, node: u32, weigh: impl Fn() -> Weight) -> Result<Pushed, Refused> {
        self.content[index(node)].store(100 + node, Ordering::Relaxed);
        word.push(generation, node, weigh, |next| self.next[index(node)].store(next, Ordering::Relaxed))
    }

    /// As `node::drain`: the nodes in the order in which they were pushed.
    fn drain(&self, head: u32) -> Vec<u32> {
        let (mut nodes, mut node) = (Vec::new(), head);
        while node != EMPTY {
            assert!(nodes.len() < self.next.len(), "a node is in the list twice");
            assert_eq!(self.content[index(node)].load(Ordering::Relaxed), 100 + node, "the node was not published");
            nodes.push(node);
            node = self.next[index(node)].load(Ordering::Relaxed);
        }
        nodes.reverse();
        nodes
    }
}

fn sorted(mut nodes: Vec<u32>) -> Vec<u32> {
    nodes.sort_unstable();
    nodes
}
