//! A pack: its packer adds to it and leaves, its owner receives from it and leaves, others push.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use loom::thread;

use super::{A, B, Nodes, explore};
use crate::lane::word::{EMPTY, LaneWord, Pushed, Weight};
use crate::mailbox::node::fill::{Fill, OnLeave};

const ROOM: u8 = 3;
/// What somebody else sends.
const OTHER: u32 = 90;

/// A place for a message, to which two that are not in order may not come.
struct Place(UnsafeCell<u32>);

// SAFETY: the model fails where one comes to it that may meet another.
unsafe impl Sync for Place {}

impl Place {
    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|place| unsafe { *place })
    }

    fn set(&self, message: u32) {
        // SAFETY: as above.
        self.0.with_mut(|place| unsafe { *place = message });
    }
}

/// The mailbox of a lane that runs, and the pack `A`.
struct World {
    word: LaneWord,
    nodes: Nodes,
    fill: AtomicU8,
    /// The places of the pack, published by nothing but `fill` and the mailbox's word; 0 where nothing is.
    places: [Place; ROOM as usize],
    freed: AtomicUsize,
    told: AtomicBool,
}

/// What came of the wish to add.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Added {
    There,
    /// The pack does not come last any more: it is still the packer's.
    NotLast,
    /// The owner had left.
    Freed,
}

impl World {
    /// With a pack of one message pushed.
    fn new() -> Arc<World> {
        let world = World {
            word: LaneWord::new(),
            nodes: Nodes::new(),
            fill: AtomicU8::new(99),
            places: std::array::from_fn(|_| Place(UnsafeCell::new(0))),
            freed: AtomicUsize::new(0),
            told: AtomicBool::new(false),
        };
        world.word.open(1);
        assert!(world.word.transition_to_running().taken().is_none());
        world.places[0].set(1);
        world.fill().begin();
        let pushed = world.nodes.push(&world.word, 1, A, || Weight::Pack { bound: 8, room: u32::from(ROOM) });
        assert_eq!(pushed, Ok(Pushed::Nothing));
        Arc::new(world)
    }

    fn fill(&self) -> Fill<'_> {
        Fill(&self.fill)
    }

    fn assert_not_free(&self) {
        assert_eq!(self.freed.load(Ordering::Relaxed), 0, "the pack is free");
    }

    /// What is free is used again, for something else.
    fn free(&self) {
        assert_eq!(self.freed.fetch_add(1, Ordering::Relaxed), 0, "the pack is freed twice");
        self.places.iter().for_each(|place| place.set(0));
    }

    /// As `Packer::add`, of the message that comes after `count` others.
    fn add(&self, count: u8) -> Added {
        if !self.word.ends_with(1, A) {
            return Added::NotLast;
        }
        self.assert_not_free();
        self.places[usize::from(count)].set(u32::from(count) + 1);
        if self.fill().add(count) {
            return Added::There;
        }
        self.free();
        Added::Freed
    }

    /// As a worker that sends `most` more, and then something to others: how many are in the pack in the end.
    fn pack(&self, most: u8) -> u8 {
        let mut count = 1;
        while count <= most {
            match self.add(count) {
                Added::There => count += 1,
                Added::NotLast => break,
                Added::Freed => return count,
            }
        }
        // As `Packer::close`.
        if count != ROOM && self.fill().give_up() {
            self.free();
        }
        count
    }

    fn packer(self: &Arc<World>, most: u8) -> thread::JoinHandle<u8> {
        let world = self.clone();
        thread::spawn(move || world.pack(most))
    }

    /// As `List::pop_front`, until there is nothing more.
    fn receive(&self, received: &mut Vec<u32>) {
        let head = self.word.take(true).head;
        for node in if head == EMPTY { Vec::new() } else { self.nodes.drain(head) } {
            if node == A {
                self.unpack(received);
            } else {
                received.push(OTHER);
            }
        }
    }

    fn unpack(&self, received: &mut Vec<u32>) {
        let mut taken = 0;
        loop {
            self.assert_not_free();
            let count = self.fill().count();
            received.push(self.places[usize::from(taken)].get());
            taken += 1;
            if taken == ROOM {
                return self.free();
            }
            if taken == count {
                match self.fill().leave(count) {
                    OnLeave::Left => return,
                    OnLeave::Alone => return self.free(),
                    OnLeave::More => {}
                }
            }
        }
    }

    /// All is over: what was received.
    fn assert_received(&self, received: &[u32], sent: u8) {
        let expected: Vec<u32> = (1..=u32::from(sent)).collect();
        let from_packer: Vec<u32> = received.iter().copied().filter(|message| *message != OTHER).collect();
        assert_eq!(from_packer, expected, "each message once, in the order in which they were sent");
        assert_eq!(self.freed.load(Ordering::Relaxed), 1, "the pack is lost");
    }
}

fn explore_received(most: u8) {
    explore(move || {
        let world = World::new();
        let packer = world.packer(most);
        let mut received = Vec::new();
        world.receive(&mut received);
        let sent = packer.join().unwrap();
        world.receive(&mut received);
        world.assert_received(&received, sent);
    });
}

#[test]
fn a_pack_is_received_once_and_freed_once_while_it_is_added_to() {
    explore_received(1);
}

#[test]
fn a_pack_is_received_once_and_freed_once_while_it_is_filled_up() {
    explore_received(2);
}

#[test]
fn who_leaves_last_frees_a_pack_to_which_nothing_is_added() {
    explore_received(0);
}

#[test]
fn nothing_is_added_to_a_pack_once_its_packer_knows_of_a_push_behind_it() {
    explore(|| {
        let world = World::new();
        let other = world.clone();
        let other = thread::spawn(move || {
            assert_eq!(other.nodes.push(&other.word, 1, B, || Weight::Counted { bound: 8 }), Ok(Pushed::Nothing));
            other.told.store(true, Ordering::Release);
        });
        let packer = world.clone();
        let packer = thread::spawn(move || {
            let is_told = packer.told.load(Ordering::Acquire);
            let added = packer.add(1);
            assert!(!is_told || added != Added::There, "it overtakes what its sender may have been told of");
            if added == Added::NotLast {
                assert!(!packer.fill().give_up(), "nobody has received anything");
            }
            added
        });
        let added = packer.join().unwrap();
        other.join().unwrap();
        let mut received = Vec::new();
        if added == Added::There {
            assert!(!world.fill().give_up());
        }
        world.receive(&mut received);
        world.assert_received(&received, if added == Added::There { 2 } else { 1 });
        assert!(received.contains(&OTHER));
    });
}

#[test]
fn a_pack_that_others_push_behind_is_received_in_order() {
    explore(|| {
        let world = World::new();
        let packer = world.packer(2);
        let other = world.clone();
        let other = thread::spawn(move || {
            assert_eq!(other.nodes.push(&other.word, 1, B, || Weight::Counted { bound: 8 }), Ok(Pushed::Nothing));
        });
        let mut received = Vec::new();
        world.receive(&mut received);
        let sent = packer.join().unwrap();
        other.join().unwrap();
        world.receive(&mut received);
        world.assert_received(&received, sent);
        assert_eq!(received.iter().filter(|message| **message == OTHER).count(), 1);
    });
}
