//! The lane's word as senders use it, with a lane that only receives: mail, waiting senders, death and the next tenant.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;

use super::{A, B, C, D, Nodes, RunQueue, explore, sorted};
use crate::lane::word::{Announced, EMPTY, LaneWord, OnIdle, OnWake, Pushed, Refused, Taken, UNBOUNDED, Weight};

/// A mailbox with its nodes and its wait list.
struct Mailbox {
    word: LaneWord,
    queue: RunQueue,
    bound: AtomicU32,
    nodes: Nodes,
    /// As the list of one lane in `mailbox/wait.rs`.
    seats: Mutex<VecDeque<u32>>,
}

/// What became of a message, to its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Queued,
    Seated,
    HandedBack,
}

impl Mailbox {
    /// That of a lane of generation 1 in its first turn.
    fn running(bound: u32) -> Arc<Mailbox> {
        let mailbox = Mailbox {
            word: LaneWord::new(),
            queue: RunQueue::new(),
            bound: AtomicU32::new(bound),
            nodes: Nodes::new(),
            seats: Mutex::new(VecDeque::new()),
        };
        mailbox.word.open(1);
        assert!(mailbox.word.transition_to_running().taken().is_none());
        Arc::new(mailbox)
    }

    /// That of a lane that sleeps until mail comes.
    fn asleep(bound: u32) -> Arc<Mailbox> {
        let mailbox = Mailbox::running(bound);
        assert_eq!(mailbox.word.transition_to_idle(true), OnIdle::Parked);
        mailbox
    }

    fn push(&self, generation: u16, node: u32) -> Result<Pushed, Refused> {
        self.nodes.push(&self.word, generation, node, || Weight::Counted { bound: self.bound.load(Relaxed) })
    }

    /// As `mailbox::after_push`.
    fn after_push(&self, pushed: Pushed) {
        if pushed == Pushed::Schedule {
            self.queue.push();
        }
    }

    /// As `sched::act`.
    fn act(&self, on: OnWake) {
        if on == OnWake::Schedule {
            self.queue.push();
        }
    }

    /// As the poll of a `SendFuture` that comes for the first time.
    fn send(&self, generation: u16, node: u32) -> Sent {
        loop {
            match self.push(generation, node) {
                Ok(pushed) => {
                    self.after_push(pushed);
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

    /// As `mailbox::take_in`: whether anything came.
    fn take_in(&self, inbox: &mut Vec<u32>) -> bool {
        if !self.word.has_mail() {
            return false;
        }
        self.let_in(self.word.take(true), inbox);
        true
    }

    /// As `mailbox::let_in` and `wait::admit`.
    fn let_in(&self, taken: Taken, inbox: &mut Vec<u32>) {
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
    }

    /// As the first half of `Local::run`, for a lane that is queued: it takes what it waited for.
    fn begin(&self, inbox: &mut Vec<u32>) -> bool {
        let queued = self.queue.pop();
        if queued && let Some(taken) = self.word.transition_to_running().taken() {
            self.let_in(taken, inbox);
        }
        queued
    }

    /// As the second half: the lane has received all there is, and sleeps until more comes.
    fn sleep(&self, inbox: &mut Vec<u32>) {
        while self.take_in(inbox) {}
        self.idle();
    }

    fn idle(&self) {
        if self.word.transition_to_idle(true) == OnIdle::Schedule {
            self.queue.push();
        }
    }

    /// Both halves, if the lane is queued.
    fn turn(&self, inbox: &mut Vec<u32>) -> bool {
        let queued = self.begin(inbox);
        if queued {
            self.sleep(inbox);
        }
        queued
    }

    fn settle(&self, inbox: &mut Vec<u32>) {
        while self.turn(inbox) {}
    }

    /// Sees that nobody waits and that the lane sleeps until the next message.
    fn assert_asleep(&self) {
        assert!(self.queue.is_empty() && self.seats.lock().unwrap().is_empty());
        assert!(!self.word.has_mail(), "the lane sleeps over what it waits for");
        assert_eq!(self.push(1, D), Ok(Pushed::Schedule), "nobody waits, and the lane does not know");
    }

    /// As the first and the fourth step of `lane/death.rs`: what was queued, and what is handed back to who waits.
    fn close(&self) -> (Vec<u32>, Vec<u32>) {
        let taken = self.word.close(2);
        let queued = self.nodes.drain(taken.head);
        let seated = if taken.waiters { self.seats.lock().unwrap().drain(..).collect() } else { Vec::new() };
        let _ = self.word.transition_to_dead();
        (queued, seated)
    }
}

/// The lane sleeps in between, and is killed.
#[test]
fn a_message_is_received_or_dropped_by_death_or_handed_back() {
    explore(|| {
        let mailbox = Mailbox::running(UNBOUNDED);
        let senders = [A, B].map(|node| (node, Mailbox::sender(&mailbox, node)));
        let mut inbox = Vec::new();
        mailbox.sleep(&mut inbox);
        mailbox.act(mailbox.word.kill(1));
        let end_if_queued = || {
            mailbox.queue.pop().then(|| {
                let on = mailbox.word.transition_to_running();
                assert!(on.kill() && on.taken().is_none(), "the dying takes nothing");
                mailbox.close()
            })
        };
        let ended = end_if_queued();
        let handed_back = senders.map(|(node, sender)| (sender.join().unwrap() == Sent::HandedBack).then_some(node));
        let (dropped, waited) = ended.or_else(end_if_queued).expect("a lane that must end is queued");
        assert_eq!(mailbox.push(1, C), Err(Refused::Stale));
        assert!(waited.is_empty() && mailbox.queue.is_empty());
        assert_eq!((mailbox.word.generation(), mailbox.word.next_generation()), (0, 2));
        let all = [inbox, dropped, handed_back.into_iter().flatten().collect()].concat();
        assert_eq!(sorted(all), [A, B], "each message has one fate");
    });
}

/// The lane looks, and goes to sleep, while two push.
#[test]
fn exactly_one_push_schedules_a_lane_that_waits_for_mail() {
    explore(|| {
        let mailbox = Mailbox::running(UNBOUNDED);
        let turns = Arc::new(AtomicU32::new(0));
        let senders = [A, B].map(|node| {
            let (mailbox, turns) = (mailbox.clone(), turns.clone());
            thread::spawn(move || {
                let schedules = mailbox.push(1, node) == Ok(Pushed::Schedule);
                if schedules {
                    assert_eq!(turns.load(Relaxed), 1, "who schedules the lane sees all that it did before it slept");
                }
                schedules
            })
        });
        let mut inbox = Vec::new();
        turns.store(1, Relaxed);
        while mailbox.take_in(&mut inbox) {}
        let mut scheduled = usize::from(mailbox.word.transition_to_idle(true) == OnIdle::Schedule);
        for sender in senders {
            scheduled += usize::from(sender.join().unwrap());
        }
        assert_eq!(scheduled, usize::from(inbox.len() < 2), "somebody has to run the lane, and one only");
        if scheduled != 0 {
            let taken =
                mailbox.word.transition_to_running().taken().expect("what it waited for is taken with the turn");
            assert!(taken.had_waited);
            mailbox.let_in(taken, &mut inbox);
            assert!(!mailbox.word.has_mail());
            assert_eq!(mailbox.word.transition_to_idle(true), OnIdle::Parked);
        }
        assert_eq!(sorted(inbox), [A, B]);
        mailbox.assert_asleep();
    });
}

#[test]
fn mail_that_comes_between_the_look_and_the_sleep_brings_another_turn() {
    explore(|| {
        let mailbox = Mailbox::running(UNBOUNDED);
        let senders = [A, B].map(|node| Mailbox::sender(&mailbox, node));
        let mut inbox = Vec::new();
        let looked_empty = !mailbox.word.has_mail();
        mailbox.idle();
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Sent::Queued);
        }
        assert!(mailbox.turn(&mut inbox), "the lane sleeps over its mail");
        assert_eq!(sorted(inbox), [A, B]);
        assert!(looked_empty || !mailbox.turn(&mut Vec::new()));
        mailbox.assert_asleep();
    });
}

/// The lane is woken for another reason, and may find a message before the turn that came with it.
#[test]
fn a_lane_that_waits_anew_is_scheduled_anew() {
    explore(|| {
        let mailbox = Mailbox::asleep(UNBOUNDED);
        let senders = [A, B].map(|node| Mailbox::sender(&mailbox, node));
        let mut inbox = Vec::new();
        mailbox.act(mailbox.word.wake());
        mailbox.turn(&mut inbox);
        mailbox.turn(&mut inbox);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Sent::Queued);
        }
        mailbox.settle(&mut inbox);
        assert_eq!(sorted(inbox), [A, B]);
        mailbox.assert_asleep();
    });
}

/// Its receiver may be anywhere in a set of futures; the wish for mail is that of the lane.
#[test]
fn a_wish_for_mail_outlives_turns_that_do_not_look() {
    explore(|| {
        let mailbox = Mailbox::asleep(UNBOUNDED);
        let sender = Mailbox::sender(&mailbox, A);
        let waker = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.act(mailbox.word.wake()))
        };
        let mut inbox = Vec::new();
        while mailbox.begin(&mut inbox) {
            if mailbox.word.transition_to_idle(false) == OnIdle::Schedule {
                mailbox.queue.push();
            }
        }
        assert_eq!(sender.join().unwrap(), Sent::Queued);
        waker.join().unwrap();
        while mailbox.begin(&mut inbox) {
            assert_eq!(mailbox.word.transition_to_idle(false), OnIdle::Parked);
        }
        assert_eq!(inbox, [A], "the lane sleeps over what it waits for");
        assert_eq!(mailbox.push(1, B), Ok(Pushed::Nothing), "the wish was fulfilled");
    });
}

/// The lane waits for something else.
#[test]
fn a_message_that_nobody_waits_for_stays_where_it_is_and_wakes_nobody() {
    explore(|| {
        let mailbox = Mailbox::running(1);
        assert_eq!(mailbox.word.transition_to_idle(false), OnIdle::Parked);
        let senders = [A, B].map(|node| Mailbox::sender(&mailbox, node));
        mailbox.act(mailbox.word.wake());
        assert!(mailbox.queue.pop());
        let on = mailbox.word.transition_to_running();
        assert!(!on.kill() && on.taken().is_none(), "what nobody waited for was taken");
        assert_eq!(mailbox.word.transition_to_idle(false), OnIdle::Parked, "a message wakes who does not wait for it");
        let sent = senders.map(|sender| sender.join().unwrap());
        assert!(sent == [Sent::Queued, Sent::Seated] || sent == [Sent::Seated, Sent::Queued]);
        assert!(mailbox.queue.is_empty());
        mailbox.act(mailbox.word.wake());
        let mut inbox = Vec::new();
        mailbox.settle(&mut inbox);
        assert_eq!(sorted(inbox), [A, B]);
        mailbox.assert_asleep();
    });
}

#[test]
fn the_bound_holds_and_signals_pass() {
    explore(|| {
        let mailbox = Mailbox::asleep(1);
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.push(1, A).map(|pushed| mailbox.after_push(pushed)).is_ok())
        };
        let signaller = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                let pushed = mailbox.nodes.push(&mailbox.word, 1, B, || Weight::Exempt);
                mailbox.after_push(pushed.expect("a signal passes"));
            })
        };
        let c_came = mailbox.push(1, C).map(|pushed| mailbox.after_push(pushed)).is_ok();
        let counted = |nodes: &[u32]| nodes.iter().filter(|node| **node != B).count();
        let mut inbox = Vec::new();
        if mailbox.queue.pop() {
            let taken = mailbox.word.transition_to_running().taken();
            inbox = mailbox.nodes.drain(taken.expect("something came").head);
            assert!(counted(&inbox) <= 1, "two messages under a bound of 1");
            mailbox.idle();
        }
        let a_came = sender.join().unwrap();
        signaller.join().unwrap();
        let rest = mailbox.nodes.drain(mailbox.word.take(true).head);
        assert!(counted(&rest) <= 1);
        inbox.extend(rest);
        assert!(a_came || c_came, "one of the two found room");
        let expected = [a_came.then_some(A), Some(B), c_came.then_some(C)];
        assert_eq!(sorted(inbox), expected.into_iter().flatten().collect::<Vec<_>>());
    });
}

/// Signals are let in while the lane waits for something else, with the messages among which they lie.
#[test]
fn signals_make_no_room() {
    explore(|| {
        let mailbox = Mailbox::running(1);
        assert_eq!(mailbox.word.transition_to_idle(false), OnIdle::Parked);
        let signaller = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                let pushed = mailbox.nodes.push(&mailbox.word, 1, C, || Weight::Urgent);
                mailbox.after_push(pushed.expect("a signal passes"));
            })
        };
        let senders = [A, B].map(|node| Mailbox::sender(&mailbox, node));
        let mut inbox = Vec::new();
        for _ in 0..2 {
            if mailbox.queue.pop() {
                if let Some(taken) = mailbox.word.transition_to_running().taken() {
                    assert!(!taken.waiters, "who waits for room was let in");
                    inbox.extend(mailbox.nodes.drain(taken.head));
                }
                inbox.extend(mailbox.nodes.drain(mailbox.word.take(false).head));
                if mailbox.word.transition_to_idle(false) == OnIdle::Schedule {
                    mailbox.queue.push();
                }
            }
        }
        signaller.join().unwrap();
        let sent = senders.map(|sender| sender.join().unwrap());
        assert!(sent.contains(&Sent::Queued) && sent.contains(&Sent::Seated), "two were let in under a bound of 1");
        mailbox.act(mailbox.word.wake());
        if mailbox.queue.pop() {
            let on = mailbox.word.transition_to_running();
            inbox.extend(on.taken().into_iter().flat_map(|taken| mailbox.nodes.drain(taken.head)));
        }
        mailbox.sleep(&mut inbox);
        mailbox.settle(&mut inbox);
        assert_eq!(sorted(inbox), [A, B, C]);
        mailbox.assert_asleep();
    });
}

/// A lane that goes on receiving admits whoever found the mailbox full.
#[test]
fn no_waiting_sender_is_forgotten() {
    explore(|| {
        let mailbox = Mailbox::asleep(1);
        assert_eq!(mailbox.send(1, A), Sent::Queued);
        let senders = [B, C].map(|node| Mailbox::sender(&mailbox, node));
        let mut inbox = Vec::new();
        assert!(mailbox.turn(&mut inbox));
        mailbox.turn(&mut inbox);
        for sender in senders {
            assert_ne!(sender.join().unwrap(), Sent::HandedBack);
        }
        mailbox.settle(&mut inbox);
        assert!(mailbox.seats.lock().unwrap().is_empty(), "somebody waits, and the lane sleeps");
        assert_eq!(inbox[0], A);
        assert_eq!(sorted(inbox), [A, B, C]);
        mailbox.assert_asleep();
    });
}

/// It does not say any more that it waits for mail, as who only calls `Inbox::try_recv`; and has flushed before.
#[test]
fn who_only_looks_lets_waiting_senders_in() {
    explore(|| {
        let mailbox = Mailbox::asleep(1);
        mailbox.act(mailbox.word.wake());
        assert!(mailbox.begin(&mut Vec::new()));
        let senders = [A, B, C].map(|node| Mailbox::sender(&mailbox, node));
        let mut inbox = mailbox.nodes.drain(mailbox.word.take(false).head);
        mailbox.take_in(&mut inbox);
        for sender in senders {
            assert_ne!(sender.join().unwrap(), Sent::HandedBack);
        }
        while mailbox.take_in(&mut inbox) {}
        assert_eq!(sorted(inbox), [A, B, C], "somebody waits for room that is there");
        while mailbox.word.transition_to_idle(false) == OnIdle::Schedule {
            assert!(mailbox.word.transition_to_running().taken().is_none());
        }
        assert_eq!(mailbox.push(1, D), Ok(Pushed::Nothing), "there is room, and nobody waits for it or for mail");
        let early = mailbox.nodes.drain(mailbox.word.take(false).head);
        assert!(
            early == [D] && mailbox.take_in(&mut Vec::new()),
            "the room that a flush left to the receiver is forgotten"
        );
        assert_eq!(mailbox.push(1, A), Ok(Pushed::Nothing));
    });
}

/// More wait than are let in at a time, and nothing is queued: the lane must not wait for mail in vain.
#[test]
fn a_lane_with_waiting_senders_does_not_sleep() {
    explore(|| {
        let mailbox = Mailbox::asleep(1);
        assert_eq!([A, B, C].map(|node| mailbox.send(1, node)), [Sent::Queued, Sent::Seated, Sent::Seated]);
        let waker = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.act(mailbox.word.wake()))
        };
        let mut inbox = Vec::new();
        while mailbox.begin(&mut inbox) {
            // The receiver takes what came with the turn, and is not polled again in it.
            mailbox.idle();
        }
        waker.join().unwrap();
        while mailbox.begin(&mut inbox) {
            mailbox.idle();
        }
        assert_eq!(inbox, [A, B, C]);
        mailbox.assert_asleep();
    });
}

#[test]
fn waiting_senders_get_their_message_back_from_the_dead() {
    explore(|| {
        let mailbox = Mailbox::asleep(1);
        assert_eq!(mailbox.send(1, A), Sent::Queued);
        let senders = [B, C].map(|node| (node, Mailbox::sender(&mailbox, node)));
        let mut inbox = Vec::new();
        assert!(mailbox.begin(&mut inbox));
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
        let mailbox = Mailbox::asleep(1);
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
        assert!(mailbox.begin(&mut inbox));
        mailbox.idle();
        assert_ne!(sender.join().unwrap(), Sent::HandedBack);
        let left = leaver.join().unwrap();
        mailbox.settle(&mut inbox);
        assert_eq!(inbox, if left { vec![A, C] } else { vec![A, B, C] });
        mailbox.assert_asleep();
    });
}

#[test]
fn nobody_overtakes_a_waiting_sender() {
    explore(|| {
        let mailbox = Mailbox::asleep(1);
        assert_eq!([A, B, C].map(|node| mailbox.send(1, node)), [Sent::Queued, Sent::Seated, Sent::Seated]);
        let sender = Mailbox::sender(&mailbox, D);
        let mut inbox = Vec::new();
        assert!(mailbox.begin(&mut inbox));
        mailbox.take_in(&mut inbox);
        assert_ne!(sender.join().unwrap(), Sent::HandedBack);
        mailbox.sleep(&mut inbox);
        mailbox.settle(&mut inbox);
        assert_eq!(inbox, [A, B, C, D]);
    });
}

/// Two senders of the first tenant's, one of the second's; the second tenant has another bound.
#[test]
fn a_late_sender_never_gets_into_the_next_tenants_mailbox() {
    explore(|| {
        let mailbox = Mailbox::running(2);
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
                let pushed = mailbox.nodes.push(&mailbox.word, 2, C, weigh);
                assert_eq!(pushed, Ok(Pushed::Nothing), "who opened it queues it");
            })
        };
        assert!(mailbox.word.transition_to_running().taken().is_none(), "nobody has waited yet");
        let mut inbox = mailbox.nodes.drain(mailbox.word.take(true).head);
        let handed_back = late.map(|(node, sender)| match sender.join().unwrap() {
            Sent::Queued => None,
            Sent::HandedBack => Some(node),
            Sent::Seated => panic!("the first tenant had room for both"),
        });
        early.join().unwrap();
        let rest = mailbox.word.take(true);
        assert!(rest.head == EMPTY || inbox.is_empty());
        inbox.extend(mailbox.nodes.drain(rest.head));
        assert_eq!(inbox, [C], "the second tenant gets what is for it");
        let all = [dropped, handed_back.into_iter().flatten().collect()].concat();
        assert_eq!(sorted(all), [A, B], "each message has one fate");
    });
}
