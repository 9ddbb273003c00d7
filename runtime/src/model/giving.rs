//! A descriptor given to a lane that dies meanwhile (`lane/giving.rs`): it is closed, by whichever side, or was not given.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use super::{A, Nodes, explore};
use crate::lane::word::{LaneWord, Weight};

/// One lane, and the shard of the table's index in which what it owns is.
struct Lane {
    word: LaneWord,
    nodes: Nodes,
    owned: Mutex<Vec<u32>>,
    closed: Mutex<Vec<u32>>,
}

impl Lane {
    /// A lane that is in a turn, its first.
    fn running() -> Arc<Lane> {
        let (owned, closed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let lane = Lane { word: LaneWord::new(), nodes: Nodes::new(), owned, closed };
        lane.word.open(1);
        let _on = lane.word.transition_to_running();
        Arc::new(lane)
    }

    /// As `giving::transfer`: whether it was given.
    fn give(&self, descriptor: u32, looks_after: bool) -> bool {
        if self.nodes.push(&self.word, 1, A, || Weight::Exempt).is_err() {
            return false;
        }
        self.owned.lock().unwrap().push(descriptor);
        if looks_after && self.word.is_past(1) {
            self.release();
        }
        true
    }

    /// As `Descriptors::release_owner`: what was taken from the index is closed with no lock held.
    fn release(&self) {
        let taken = std::mem::take(&mut *self.owned.lock().unwrap());
        self.closed.lock().unwrap().extend(taken);
    }

    /// As `death::end`, of a lane that has no descriptors of its own.
    fn die(&self) {
        let taken = self.word.close(2);
        if !self.nodes.drain(taken.head).is_empty() {
            self.release();
        }
        let _late = self.word.transition_to_dead();
    }
}

fn give_to_the_dying(looks_after: bool) {
    explore(move || {
        let lane = Lane::running();
        let giver = {
            let lane = lane.clone();
            thread::spawn(move || lane.give(7, looks_after))
        };
        lane.die();
        let given = giver.join().unwrap();
        let closed = std::mem::take(&mut *lane.closed.lock().unwrap());
        assert_eq!(closed, if given { vec![7] } else { Vec::new() });
        assert!(lane.owned.lock().unwrap().is_empty());
    });
}

#[test]
fn what_is_given_to_a_lane_that_dies_meanwhile_is_closed_once_or_was_not_given() {
    give_to_the_dying(true);
}

/// Without the giver's look the model finds what stays open.
#[test]
#[should_panic(expected = "assertion")]
fn a_giver_who_does_not_look_after_it_leaves_it_open() {
    give_to_the_dying(false);
}
