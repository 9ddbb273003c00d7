//! The mailbox word: senders, the lane that takes and parks, death and the next tenant.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use loom::thread;

use super::{A, B, C, D, Nodes, explore, sorted};
use crate::mailbox::word::{Announced, MailboxWord, Pushed, Refused, UNBOUNDED, Weight};

/// A mailbox with its nodes and its wait list.
struct Mailbox {
    word: MailboxWord,
    bound: AtomicU32,
    nodes: Nodes,
    /// As the list of one lane in `mailbox/wait.rs`.
    seats: Mutex<VecDeque<u32>>,
    /// Whether the lane is to run again.
    scheduled: AtomicBool,
}

/// What became of a message, to its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Queued,
    Seated,
    HandedBack,
}

impl Mailbox {
    /// The open mailbox of generation 1.
    fn open(bound: u32) -> Arc<Mailbox> {
        Arc::new(Mailbox {
            word: MailboxWord::new(1),
            bound: AtomicU32::new(bound),
            nodes: Nodes::new(),
            seats: Mutex::new(VecDeque::new()),
            scheduled: AtomicBool::new(false),
        })
    }

    fn push(&self, generation: u16, node: u32) -> Result<Pushed, Refused> {
        self.nodes.push(&self.word, generation, node, || Weight::Counted { bound: self.bound.load(Relaxed) })
    }

    /// As the poll of a `SendFuture` that comes for the first time.
    fn send(&self, generation: u16, node: u32) -> Sent {
        loop {
            match self.push(generation, node) {
                Ok(Pushed::Nothing) => return Sent::Queued,
                Ok(Pushed::Schedule) => {
                    assert!(!self.scheduled.swap(true, Relaxed), "the lane is scheduled twice");
                    return Sent::Queued;
                }
                Err(Refused::Stale) => return Sent::HandedBack,
                Err(Refused::Full) => {}
            }
            // As `wait::take_seat`.
            let mut seats = self.seats.lock().unwrap();
            match self.word.announce_waiter(generation, self.bound.load(Relaxed)) {
                Announced::Room => {}
                Announced::Stale => return Sent::HandedBack,
                Announced::Waiting => {
                    seats.push_back(node);
                    return Sent::Seated;
                }
            }
        }
    }

    fn sender(mailbox: &Arc<Mailbox>, node: u32) -> thread::JoinHandle<Sent> {
        let mailbox = mailbox.clone();
        thread::spawn(move || mailbox.send(1, node))
    }

    /// As `mailbox::take_in` and `wait::admit`: whether anything came.
    fn take_in(&self, inbox: &mut Vec<u32>) -> bool {
        if self.word.looks_empty() {
            return false;
        }
        let taken = self.word.take();
        let nodes = self.nodes.drain(taken.head);
        assert!(nodes.len() <= self.bound.load(Relaxed) as usize, "more were queued than the bound allows");
        inbox.extend(nodes);
        if taken.waiters {
            let mut seats = self.seats.lock().unwrap();
            let room = seats.len().min(self.bound.load(Relaxed) as usize);
            inbox.extend(seats.drain(..room));
            if seats.is_empty() {
                self.word.no_more_waiters(1);
            }
        }
        true
    }

    /// As a lane that only receives: all there is, and then it parks.
    fn receive(&self, inbox: &mut Vec<u32>) {
        while self.take_in(inbox) || !self.word.park(1) {}
    }

    /// The same, if somebody woke it.
    fn receive_if_scheduled(&self, inbox: &mut Vec<u32>) {
        if self.scheduled.swap(false, Relaxed) {
            self.receive(inbox);
        }
    }

    /// As the first and the fourth step of `lane/death.rs`: what was queued, and what is handed back to who waits.
    fn close(&self) -> (Vec<u32>, Vec<u32>) {
        let taken = self.word.close(2);
        let queued = self.nodes.drain(taken.head);
        let seated = if taken.waiters { self.seats.lock().unwrap().drain(..).collect() } else { Vec::new() };
        (queued, seated)
    }
}

#[test]
fn a_message_is_received_or_dropped_by_death_or_handed_back() {
    explore(|| {
        let mailbox = Mailbox::open(UNBOUNDED);
        let senders = [A, B].map(|node| (node, Mailbox::sender(&mailbox, node)));
        let mut inbox = Vec::new();
        if !mailbox.take_in(&mut inbox) && !mailbox.word.park(1) {
            assert!(mailbox.take_in(&mut inbox), "there was something in the way of parking");
        }
        let (dropped, waited) = mailbox.close();
        let handed_back = senders.map(|(node, sender)| (sender.join().unwrap() == Sent::HandedBack).then_some(node));
        assert_eq!(mailbox.push(1, C), Err(Refused::Stale));
        assert!(waited.is_empty());
        assert_eq!((mailbox.word.generation(), mailbox.word.next_generation()), (0, 2));
        let all = [inbox, dropped, handed_back.into_iter().flatten().collect()].concat();
        assert_eq!(sorted(all), [A, B], "each message has one fate");
    });
}

/// The lane parks, perhaps not for the first time, while two push.
#[test]
fn exactly_the_push_that_replaces_parked_schedules() {
    explore(|| {
        let mailbox = Mailbox::open(UNBOUNDED);
        let turns = Arc::new(AtomicU32::new(0));
        let senders = [A, B].map(|node| {
            let (mailbox, turns) = (mailbox.clone(), turns.clone());
            thread::spawn(move || {
                let schedules = mailbox.push(1, node) == Ok(Pushed::Schedule);
                if schedules {
                    assert_eq!(turns.load(Relaxed), 1, "who schedules the lane sees all that it did before it parked");
                }
                schedules
            })
        });
        let mut inbox = Vec::new();
        turns.store(1, Relaxed);
        while !mailbox.word.park(1) {
            assert!(mailbox.take_in(&mut inbox));
        }
        let schedules = senders.map(|sender| sender.join().unwrap());
        let asleep = mailbox.word.looks_empty();
        assert_eq!(schedules.iter().filter(|schedules| **schedules).count(), usize::from(!asleep));
        assert!(asleep || mailbox.take_in(&mut inbox));
        assert_eq!(sorted(inbox), [A, B]);
        assert!(mailbox.word.park(1));
    });
}

/// The lane wakes for another reason, and may find a message before the wake that came with it.
#[test]
fn a_lane_that_parks_anew_is_scheduled_anew() {
    explore(|| {
        let mailbox = Mailbox::open(UNBOUNDED);
        assert!(mailbox.word.park(1));
        let senders = [A, B].map(|node| {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.push(1, node) == Ok(Pushed::Schedule))
        });
        let mut inbox = Vec::new();
        while mailbox.take_in(&mut inbox) {}
        let parks_anew = !inbox.is_empty() && mailbox.word.park(1);
        let schedules = senders.map(|sender| sender.join().unwrap());
        let finds_it_parked_anew = parks_anew && !mailbox.word.looks_empty();
        while mailbox.take_in(&mut inbox) {}
        assert_eq!(schedules.iter().filter(|schedules| **schedules).count(), 1 + usize::from(finds_it_parked_anew));
        assert_eq!(sorted(inbox), [A, B]);
    });
}

#[test]
fn the_bound_holds_and_signals_pass() {
    explore(|| {
        let mailbox = Mailbox::open(1);
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.push(1, A).is_ok())
        };
        let signaller = {
            let mailbox = mailbox.clone();
            thread::spawn(move || assert!(mailbox.nodes.push(&mailbox.word, 1, B, || Weight::Exempt).is_ok()))
        };
        let c_came = mailbox.push(1, C).is_ok();
        let mut inbox = mailbox.nodes.drain(mailbox.word.take().head);
        let counted = |nodes: &[u32]| nodes.iter().filter(|node| **node != B).count();
        assert!(counted(&inbox) <= 1, "two messages under a bound of 1");
        let a_came = sender.join().unwrap();
        signaller.join().unwrap();
        let rest = mailbox.nodes.drain(mailbox.word.take().head);
        assert!(counted(&rest) <= 1);
        inbox.extend(rest);
        assert!(a_came || c_came, "one of the two found room");
        let expected = [a_came.then_some(A), Some(B), c_came.then_some(C)];
        assert_eq!(sorted(inbox), expected.into_iter().flatten().collect::<Vec<_>>());
    });
}

/// A lane that goes on receiving admits whoever found the mailbox full.
#[test]
fn no_waiting_sender_is_forgotten() {
    explore(|| {
        let mailbox = Mailbox::open(1);
        assert_eq!(mailbox.send(1, A), Sent::Queued);
        let senders = [B, C].map(|node| Mailbox::sender(&mailbox, node));
        let mut inbox = Vec::new();
        mailbox.receive(&mut inbox);
        mailbox.receive_if_scheduled(&mut inbox);
        for sender in senders {
            assert_ne!(sender.join().unwrap(), Sent::HandedBack);
        }
        mailbox.receive_if_scheduled(&mut inbox);
        assert!(mailbox.seats.lock().unwrap().is_empty(), "somebody waits, and the lane sleeps");
        assert_eq!(inbox[0], A);
        assert_eq!(sorted(inbox), [A, B, C]);
        assert!(mailbox.word.park(1), "nobody waits, and the lane does not know");
    });
}

#[test]
fn waiting_senders_get_their_message_back_from_the_dead() {
    explore(|| {
        let mailbox = Mailbox::open(1);
        assert_eq!(mailbox.send(1, A), Sent::Queued);
        let senders = [B, C].map(|node| (node, Mailbox::sender(&mailbox, node)));
        let mut inbox = Vec::new();
        mailbox.take_in(&mut inbox);
        let (dropped, refused) = mailbox.close();
        let handed_back = senders.map(|(node, sender)| (sender.join().unwrap() == Sent::HandedBack).then_some(node));
        assert!(mailbox.seats.lock().unwrap().is_empty(), "a sender waits for the dead");
        let all = [inbox, dropped, refused, handed_back.into_iter().flatten().collect()].concat();
        assert_eq!(sorted(all), [A, B, C], "each message has one fate");
    });
}

/// The sender that waits gives up, as `wait::leave`; its bit in the word stays until the lane looks.
#[test]
fn a_waiting_sender_that_leaves_keeps_nobody_waiting() {
    explore(|| {
        let mailbox = Mailbox::open(1);
        assert_eq!(mailbox.send(1, A), Sent::Queued);
        assert_eq!(mailbox.send(1, B), Sent::Seated);
        let sender = Mailbox::sender(&mailbox, C);
        let leaver = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                let mut seats = mailbox.seats.lock().unwrap();
                let place = seats.iter().position(|node| *node == B);
                place.and_then(|place| seats.remove(place)).is_some()
            })
        };
        let mut inbox = Vec::new();
        mailbox.take_in(&mut inbox);
        assert_ne!(sender.join().unwrap(), Sent::HandedBack);
        let left = leaver.join().unwrap();
        while mailbox.take_in(&mut inbox) {}
        assert_eq!(inbox, if left { vec![A, C] } else { vec![A, B, C] });
        assert!(mailbox.word.park(1), "nobody waits, and the lane does not know");
    });
}

#[test]
fn nobody_overtakes_a_waiting_sender() {
    explore(|| {
        let mailbox = Mailbox::open(1);
        assert_eq!([A, B, C].map(|node| mailbox.send(1, node)), [Sent::Queued, Sent::Seated, Sent::Seated]);
        let sender = Mailbox::sender(&mailbox, D);
        let mut inbox = Vec::new();
        mailbox.take_in(&mut inbox);
        mailbox.take_in(&mut inbox);
        assert_ne!(sender.join().unwrap(), Sent::HandedBack);
        while mailbox.take_in(&mut inbox) {}
        assert_eq!(inbox, [A, B, C, D]);
    });
}

/// Two senders of the first tenant's, one of the second's; the second tenant has another bound.
#[test]
fn a_late_sender_never_gets_into_the_next_tenants_mailbox() {
    explore(|| {
        let mailbox = Mailbox::open(2);
        let late = [A, B].map(|node| (node, Mailbox::sender(&mailbox, node)));
        let (dropped, waited) = mailbox.close();
        assert!(waited.is_empty());
        assert!(mailbox.word.is_past(1) && !mailbox.word.is_past(2));
        // As `Vacant::publish`.
        mailbox.bound.store(1, Relaxed);
        mailbox.word.open(2);
        let early = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                let weigh = || {
                    assert_eq!(mailbox.bound.load(Relaxed), 1, "the bound is that of the generation seen");
                    Weight::Counted { bound: 1 }
                };
                assert!(mailbox.nodes.push(&mailbox.word, 2, C, weigh).is_ok());
            })
        };
        let mut inbox = mailbox.nodes.drain(mailbox.word.take().head);
        let handed_back = late.map(|(node, sender)| match sender.join().unwrap() {
            Sent::Queued => None,
            Sent::HandedBack => Some(node),
            Sent::Seated => panic!("the first tenant had room for both"),
        });
        early.join().unwrap();
        inbox.extend(mailbox.nodes.drain(mailbox.word.take().head));
        assert_eq!(inbox, [C], "the second tenant gets what is for it");
        let all = [dropped, handed_back.into_iter().flatten().collect()].concat();
        assert_eq!(sorted(all), [A, B], "each message has one fate");
    });
}
