//! A slot and its tenants: mailbox word and life-cycle word together, from one death to the next birth.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::{A, B, C, Nodes, RunQueue, explore, sorted};
use crate::lane::state::{OnIdle, OnWake, State};
use crate::mailbox::word::{EMPTY, MailboxWord, Pushed, Weight};

/// What the lane in the slot does when it is polled.
#[derive(Clone, Copy)]
enum Poll {
    /// It receives all there is, and waits for more.
    Receive,
    /// It waits for something else.
    Wait,
    /// It is ready, so that the lane ends.
    Ready,
}

/// As the `Slot` of `slot.rs`.
struct Slot {
    word: MailboxWord,
    state: State,
    queue: RunQueue,
    bound: AtomicU32,
    nodes: Nodes,
    /// The owner's: for whom this was written, and how often that tenant had its turn.
    own: (AtomicU32, AtomicUsize),
    /// As `LATE` in `lane/watch.rs`.
    late: Mutex<Vec<u32>>,
    /// Whether the first tenant has released what it held.
    released: AtomicBool,
    /// Who got which message, and what deaths dropped or answered. Not modelled.
    received: std::sync::Mutex<Vec<(u16, u32)>>,
    dropped: std::sync::Mutex<Vec<u32>>,
}

impl Slot {
    /// A slot whose first tenant has not come yet.
    fn vacant() -> Arc<Slot> {
        let slot = Slot {
            word: MailboxWord::new(0),
            state: State::new(),
            queue: RunQueue::new(),
            bound: AtomicU32::new(0),
            nodes: Nodes::new(),
            own: (AtomicU32::new(0), AtomicUsize::new(0)),
            late: Mutex::default(),
            released: AtomicBool::new(false),
            received: std::sync::Mutex::default(),
            dropped: std::sync::Mutex::default(),
        };
        assert_eq!(slot.word.close(1).head, EMPTY);
        Arc::new(slot)
    }

    /// A slot whose first tenant sleeps on its empty mailbox.
    fn parked() -> Arc<Slot> {
        let slot = Slot::vacant();
        slot.publish();
        slot.born();
        assert!(slot.turn(Poll::Receive));
        slot
    }

    /// As `Vacant::publish`.
    fn publish(&self) {
        let generation = self.word.next_generation();
        self.bound.store(u32::from(generation) * 10, Relaxed);
        self.state.revive(generation);
        self.word.open(generation);
    }

    /// As `Unborn::born` and `Scheduler::queue_new`.
    fn born(&self) {
        self.own.0.store(u32::from(self.word.generation()), Relaxed);
        self.own.1.store(0, Relaxed);
        self.queue.push();
    }

    /// As `sched::act`.
    fn act(&self, on: OnWake) -> OnWake {
        if on == OnWake::Schedule {
            self.queue.push();
        }
        on
    }

    /// As `MailboxId::push` and `after_push`; false where the message was handed back.
    fn send(&self, generation: u16, node: u32) -> bool {
        let weigh = || {
            let bound = self.bound.load(Relaxed);
            assert!(bound >= u32::from(generation) * 10, "the bound is older than the generation");
            Weight::Counted { bound }
        };
        let pushed = self.nodes.push(&self.word, generation, node, weigh);
        if pushed == Ok(Pushed::Schedule) {
            let _ = self.act(self.state.transition_to_scheduled_exact(generation));
        }
        pushed.is_ok()
    }

    /// As the `deliver` of `lane/watch.rs` for what is urgent.
    fn signal(&self, generation: u16, node: u32) -> bool {
        let pushed = self.nodes.push(&self.word, generation, node, || Weight::Exempt);
        if pushed.is_ok() {
            let _ = self.act(self.state.transition_to_signalled(generation));
        }
        pushed.is_ok()
    }

    /// As `deliver` for a signal by which somebody wants to hear of the end; false where it is over.
    fn join(&self, generation: u16, node: u32) -> bool {
        if self.signal(generation, node) {
            return true;
        }
        // As `deliver_late`.
        let mut late = self.late.lock().unwrap();
        let in_time = self.state.transition_to_awaited(generation);
        if in_time {
            late.push(node);
        }
        in_time
    }

    fn kill(&self, generation: u16) -> OnWake {
        self.act(self.state.transition_to_killed(generation))
    }

    /// As `mailbox::take_in`.
    fn take_in(&self, me: u16) -> bool {
        if self.word.looks_empty() {
            return false;
        }
        let nodes = self.nodes.drain(self.word.take().head);
        self.received.lock().unwrap().extend(nodes.into_iter().map(|node| (me, node)));
        true
    }

    /// As `Local::run`: one turn, or false where the lane is not queued.
    fn turn(&self, poll: Poll) -> bool {
        if !self.queue.pop() {
            return false;
        }
        let on = self.state.transition_to_running();
        let me = self.word.generation();
        assert_eq!(self.own.0.load(Relaxed), u32::from(me), "the lane runs and was not born");
        let turns = self.own.1.load(Relaxed);
        self.own.1.store(turns + 1, Relaxed);
        if on.kill {
            self.end(me);
            return true;
        }
        // As `Local::let_signals_in`.
        if on.signal {
            self.state.clear_signal();
            self.take_in(me);
        }
        // As `Local::wake_receiver`, for a receiver that waits by a waker of its own: it looks only if it is told to.
        let receiver_looks = turns == 0 || !self.word.is_parked();
        match poll {
            Poll::Ready => {
                self.end(me);
                return true;
            }
            Poll::Receive if receiver_looks => while self.take_in(me) || !self.word.park(me) {},
            Poll::Receive | Poll::Wait => {}
        }
        if self.state.is_killed() {
            self.end(me);
        } else if self.state.transition_to_idle() == OnIdle::Schedule {
            self.queue.push();
        }
        true
    }

    fn settle(&self, poll: Poll) {
        while self.turn(poll) {}
    }

    /// As `death::end`, and as `death::abandon` where the lane was not born.
    fn end(&self, me: u16) {
        let taken = self.word.close(me + 1);
        self.dropped.lock().unwrap().extend(self.nodes.drain(taken.head));
        self.released.store(true, Relaxed);
        if self.state.transition_to_dead() {
            let late = std::mem::take(&mut *self.late.lock().unwrap());
            self.dropped.lock().unwrap().extend(late);
        }
    }

    fn received(&self) -> Vec<(u16, u32)> {
        self.received.lock().unwrap().clone()
    }

    fn dropped(&self) -> Vec<u32> {
        self.dropped.lock().unwrap().clone()
    }
}

fn beside<R: 'static>(slot: &Arc<Slot>, act: impl FnOnce(&Slot) -> R + 'static) -> thread::JoinHandle<R> {
    let slot = slot.clone();
    thread::spawn(move || act(&slot))
}

/// Sender and killer have the id of the first tenant. It ends, and the second moves in.
#[test]
fn what_comes_late_for_one_tenant_never_disturbs_the_next() {
    explore(|| {
        let slot = Slot::parked();
        assert_eq!(slot.act(slot.state.transition_to_scheduled()), OnWake::Schedule);
        let sender = beside(&slot, |slot| slot.send(1, A));
        let killer = beside(&slot, |slot| slot.kill(1));
        assert!(slot.turn(Poll::Ready));
        slot.publish();
        slot.born();
        assert!(slot.turn(Poll::Receive));
        let was_queued = sender.join().unwrap();
        assert_ne!(killer.join().unwrap(), OnWake::Schedule, "the first tenant was queued when it met its end");
        assert!(slot.state.is_live(2), "the kill was for the first tenant");
        assert!(slot.queue.is_empty(), "the second tenant was woken for the first");
        assert!(slot.received().is_empty(), "the message was for the first tenant");
        assert_eq!(slot.dropped(), if was_queued { vec![A] } else { vec![] });
        assert!(slot.word.park(2));
    });
}

#[test]
fn a_late_signal_is_dropped_or_handed_back() {
    explore(|| {
        let slot = Slot::parked();
        assert_eq!(slot.act(slot.state.transition_to_scheduled()), OnWake::Schedule);
        let signaller = beside(&slot, |slot| slot.signal(1, A));
        let other = beside(&slot, |slot| slot.signal(1, B));
        assert!(slot.turn(Poll::Ready));
        slot.publish();
        slot.born();
        assert!(slot.turn(Poll::Receive));
        let queued = [(A, signaller.join().unwrap()), (B, other.join().unwrap())];
        assert!(slot.state.is_live(2) && slot.queue.is_empty());
        let of_the_first = slot.received().into_iter().map(|(tenant, node)| {
            assert_eq!(tenant, 1, "the signal was for the first tenant");
            node
        });
        let all = [of_the_first.collect(), slot.dropped()].concat();
        let expected = queued.iter().filter(|(_, queued)| *queued).map(|(node, _)| *node).collect::<Vec<_>>();
        assert_eq!(sorted(all), expected, "each signal has one fate");
        assert!(slot.word.park(2));
    });
}

/// As those do who list lanes: they find the id in the slot itself.
#[test]
fn who_sees_an_id_finds_a_lane_that_can_be_sent_to_and_woken() {
    explore(|| {
        let slot = Slot::vacant();
        let sender = beside(&slot, |slot| slot.word.generation() == 1 && slot.send(1, A));
        let signaller = beside(&slot, |slot| {
            let sees = slot.word.generation() == 1;
            if sees {
                assert_ne!(slot.act(slot.state.transition_to_scheduled_exact(1)), OnWake::Stale);
                assert!(slot.signal(1, B));
            }
            sees
        });
        slot.publish();
        slot.born();
        slot.turn(Poll::Receive);
        let sent = [(A, sender.join().unwrap()), (B, signaller.join().unwrap())];
        slot.settle(Poll::Receive);
        let expected = sent.iter().filter(|(_, sent)| *sent).map(|(node, _)| *node).collect::<Vec<_>>();
        assert_eq!(sorted(slot.received().into_iter().map(|(_, node)| node).collect()), expected);
        assert!(slot.word.park(1));
    });
}

#[test]
fn a_lane_runs_only_once_it_is_born() {
    explore(|| {
        let slot = Slot::vacant();
        let worker = beside(&slot, |slot| {
            slot.turn(Poll::Wait);
            slot.turn(Poll::Wait);
        });
        let waker = beside(&slot, |slot| slot.act(slot.state.transition_to_scheduled()));
        slot.publish();
        slot.born();
        worker.join().unwrap();
        let on = waker.join().unwrap();
        slot.settle(Poll::Wait);
        let turns = slot.own.1.load(Relaxed);
        assert!((1..=2).contains(&turns) && (on != OnWake::Schedule || turns == 2));
    });
}

/// A signal may take effect in between, and leave no trace but that the lane is not parked any more.
#[test]
fn a_message_to_a_sleeping_lane_is_received() {
    explore(|| {
        let slot = Slot::parked();
        let senders = [A, B].map(|node| beside(&slot, move |slot| assert!(slot.send(1, node))));
        let signaller = beside(&slot, |slot| assert!(slot.signal(1, C)));
        slot.turn(Poll::Receive);
        slot.turn(Poll::Receive);
        for thread in senders.into_iter().chain([signaller]) {
            thread.join().unwrap();
        }
        slot.settle(Poll::Receive);
        assert_eq!(sorted(slot.received().into_iter().map(|(_, node)| node).collect()), [A, B, C]);
        assert!(slot.word.park(1), "the lane sleeps on its empty mailbox");
    });
}

/// The bit is up for a signal that was taken along with an earlier one.
#[test]
fn a_signal_takes_effect_though_the_lane_receives_nothing() {
    explore(|| {
        let slot = Slot::parked();
        assert_eq!(slot.act(slot.state.transition_to_signalled(1)), OnWake::Schedule);
        let signallers = [A, B].map(|node| beside(&slot, move |slot| assert!(slot.signal(1, node))));
        slot.turn(Poll::Wait);
        slot.turn(Poll::Wait);
        for signaller in signallers {
            signaller.join().unwrap();
        }
        slot.settle(Poll::Wait);
        let signals = slot.received().into_iter().map(|(_, node)| node).collect();
        assert_eq!(sorted(signals), [A, B], "the lane sleeps over a signal");
        assert_eq!(slot.state.transition_to_scheduled(), OnWake::Schedule);
        assert!(!slot.state.transition_to_running().signal, "all signals have taken effect");
    });
}

#[test]
fn who_wants_to_hear_of_an_end_hears_of_it_or_that_it_is_over() {
    explore(|| {
        let slot = Slot::vacant();
        slot.publish();
        slot.born();
        let joiners = [A, B].map(|node| {
            beside(&slot, move |slot| {
                let in_time = slot.join(1, node);
                assert!(in_time || slot.released.load(Relaxed), "it is over, and not all is released");
                in_time.then_some(node)
            })
        });
        assert!(slot.turn(Poll::Ready));
        slot.publish();
        slot.born();
        let in_time = joiners.map(|joiner| joiner.join().unwrap());
        slot.settle(Poll::Receive);
        let of_the_first = slot.received().into_iter().map(|(tenant, node)| {
            assert_eq!(tenant, 1, "the signal was for the first tenant");
            node
        });
        let heard = [of_the_first.collect(), slot.dropped()].concat();
        assert_eq!(sorted(heard), in_time.into_iter().flatten().collect::<Vec<_>>());
        assert!(slot.late.lock().unwrap().is_empty(), "somebody waits for an end that is over");
        assert!(slot.state.is_live(2) && slot.queue.is_empty());
    });
}

/// The first tenant has an id, and its future is never made.
#[test]
fn a_lane_that_is_never_born_leaves_nothing_to_the_next() {
    explore(|| {
        let slot = Slot::vacant();
        slot.publish();
        let sender = beside(&slot, |slot| slot.send(1, A));
        let killer = beside(&slot, |slot| slot.kill(1));
        slot.end(1);
        assert!(slot.queue.is_empty(), "a lane without a future was queued");
        slot.publish();
        slot.born();
        assert!(slot.turn(Poll::Receive));
        let was_queued = sender.join().unwrap();
        assert_ne!(killer.join().unwrap(), OnWake::Schedule);
        assert!(slot.state.is_live(2) && slot.queue.is_empty());
        assert!(slot.received().is_empty());
        assert_eq!(slot.dropped(), if was_queued { vec![A] } else { vec![] });
    });
}
