//! A slot and its tenants: senders, signals, wakers and kills meet the lane's word from one death to the next birth.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{
    AtomicBool, AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use loom::thread;

use super::{A, B, C, D, Nodes, RunQueue, explore, sorted};
use crate::lane::word::{LaneWord, OnIdle, OnWake, Pushed, Taken, Weight};

/// What the lane in the slot does when it is polled.
#[derive(Clone, Copy, PartialEq)]
enum Poll {
    /// It receives all there is, and waits for more.
    Receive,
    /// The same, by a receiver with a waker of its own: it looks only if it is woken.
    ReceiveIfWoken,
    /// Before that, another part of the lane takes in what came, as `Inbox::flush_down` does.
    FlushAndReceiveIfWoken,
    /// It waits for something else.
    Wait,
    /// It is ready, so that the lane ends.
    Ready,
}

/// As the `Slot` of `slot.rs`.
struct Slot {
    word: LaneWord,
    queue: RunQueue,
    bound: AtomicU32,
    nodes: Nodes,
    own: Own,
    /// As `LATE` in `lane/watch.rs`.
    late: Mutex<Vec<u32>>,
    /// What a waker wakes the lane for, and whether the lane has seen it.
    news: AtomicBool,
    saw_news: AtomicBool,
    /// Whether the slot is in a free list.
    is_free: AtomicBool,
    /// Whether the first tenant has released what it held.
    released: AtomicBool,
    /// Who received which message or heard which signal, and what deaths dropped or answered. Not modelled.
    received: std::sync::Mutex<Vec<(u16, u32)>>,
    dropped: std::sync::Mutex<Vec<u32>>,
}

/// As the `Own` of `lane/own.rs`: published by nothing but the lane's word.
struct Own {
    /// For whom this was written.
    tenant: AtomicU32,
    turns: AtomicUsize,
    /// The messages in the inbox, a bit for each node.
    inbox: AtomicU32,
    wants_mail: AtomicBool,
    receives_by_waker: AtomicBool,
    /// The receiver's waker was called.
    is_woken: AtomicBool,
    /// It is to be called when the turn is over, as by `sched::wake_later`.
    is_woken_later: AtomicBool,
}

impl Own {
    fn take_inbox(&self) -> Vec<u32> {
        let inbox = self.inbox.load(Relaxed);
        self.inbox.store(0, Relaxed);
        [A, B, C, D].into_iter().filter(|node| inbox & 1 << node != 0).collect()
    }
}

impl Slot {
    /// A slot whose first tenant has not come yet.
    fn vacant() -> Arc<Slot> {
        Arc::new(Slot {
            word: LaneWord::new(),
            queue: RunQueue::new(),
            bound: AtomicU32::new(0),
            nodes: Nodes::new(),
            own: Own {
                tenant: AtomicU32::new(0),
                turns: AtomicUsize::new(0),
                inbox: AtomicU32::new(0),
                wants_mail: AtomicBool::new(false),
                receives_by_waker: AtomicBool::new(false),
                is_woken: AtomicBool::new(false),
                is_woken_later: AtomicBool::new(false),
            },
            late: Mutex::default(),
            news: AtomicBool::new(false),
            saw_news: AtomicBool::new(false),
            is_free: AtomicBool::new(true),
            released: AtomicBool::new(false),
            received: std::sync::Mutex::default(),
            dropped: std::sync::Mutex::default(),
        })
    }

    /// A slot whose first tenant has had its first turn.
    fn asleep(poll: Poll) -> Arc<Slot> {
        let slot = Slot::vacant();
        slot.publish();
        slot.born();
        assert!(slot.turn(poll));
        slot
    }

    /// As `Vacant::publish`.
    fn publish(&self) {
        // As the locks around a free list: the push is seen by the pop, and nothing else is promised.
        assert!(self.is_free.swap(false, Acquire), "the slot has two tenants");
        self.word.wait_until_released();
        let generation = self.word.next_generation();
        self.bound.store(u32::from(generation) * 10, Relaxed);
        self.word.open(generation);
    }

    /// As `Unborn::born` and `Counted::queue`.
    fn born(&self) {
        self.own.tenant.store(u32::from(self.word.generation()), Relaxed);
        self.own.turns.store(0, Relaxed);
        self.own.is_woken.store(true, Relaxed);
        self.queue.push();
    }

    /// As `sched::act`.
    fn act(&self, on: OnWake) -> OnWake {
        if on == OnWake::Schedule {
            self.queue.push();
        }
        on
    }

    fn wake(&self) -> OnWake {
        self.act(self.word.wake())
    }

    fn kill(&self, generation: u16) -> OnWake {
        self.act(self.word.kill(generation))
    }

    fn push(&self, generation: u16, node: u32, weigh: impl Fn() -> Weight) -> bool {
        let pushed = self.nodes.push(&self.word, generation, node, weigh);
        if pushed == Ok(Pushed::Schedule) {
            self.queue.push();
        }
        pushed.is_ok()
    }

    /// As `MailboxId::push`; false where the message was handed back.
    fn send(&self, generation: u16, node: u32) -> bool {
        self.push(generation, node, || {
            let bound = self.bound.load(Relaxed);
            assert!(bound >= u32::from(generation) * 10, "the bound is older than the generation");
            Weight::Counted { bound }
        })
    }

    /// As the `deliver` of `lane/watch.rs` for what is urgent.
    fn signal(&self, generation: u16, node: u32) -> bool {
        self.push(generation, node, || Weight::Urgent)
    }

    /// As `deliver` for a signal by which somebody wants to hear of the end; false where it is over.
    fn join(&self, generation: u16, node: u32) -> bool {
        if self.signal(generation, node) {
            return true;
        }
        // As `deliver_late`.
        let mut late = self.late.lock().unwrap();
        let in_time = self.word.transition_to_awaited(generation);
        if in_time {
            late.push(node);
        }
        in_time
    }

    /// As `mailbox::take_in`, with `mail_came`.
    fn take_in(&self, me: u16, receives: bool) -> bool {
        if !self.word.has_mail() {
            return false;
        }
        let taken = self.word.take(receives);
        let waited = taken.had_waited || self.own.wants_mail.load(Relaxed);
        let came = self.let_in(me, taken);
        if waited {
            self.own.wants_mail.store(!came, Relaxed);
            if came {
                assert_eq!(self.word.wake(), OnWake::Nothing, "the lane runs");
                if self.own.receives_by_waker.load(Relaxed) {
                    self.own.receives_by_waker.store(false, Relaxed);
                    self.own.is_woken_later.store(true, Relaxed);
                }
            }
        }
        true
    }

    /// As `mailbox::let_in`: `C` and `D` are signals that take effect without a trace.
    fn let_in(&self, me: u16, taken: Taken) -> bool {
        let nodes = self.nodes.drain(taken.head);
        let (messages, signals): (Vec<u32>, Vec<u32>) = nodes.into_iter().partition(|node| *node < C);
        self.received.lock().unwrap().extend(signals.into_iter().map(|node| (me, node)));
        let bits = messages.iter().fold(0, |bits, node| bits | 1 << node);
        self.own.inbox.store(self.own.inbox.load(Relaxed) | bits, Relaxed);
        bits != 0
    }

    /// As the `let_in` of `sched/worker.rs`.
    fn let_in_with_the_turn(&self, me: u16, taken: Taken) {
        let had_waited = taken.had_waited;
        if !self.let_in(me, taken) {
            if had_waited {
                self.own.wants_mail.store(true, Relaxed);
            }
        } else if self.own.receives_by_waker.load(Relaxed) {
            self.own.receives_by_waker.store(false, Relaxed);
            self.own.is_woken.store(true, Relaxed);
        }
    }

    /// As `Inbox::poll_next`, again and again until it is pending.
    fn receive(&self, me: u16, by_waker: bool) {
        self.own.is_woken.store(false, Relaxed);
        loop {
            let inbox = self.own.take_inbox();
            if inbox.is_empty() && !self.take_in(me, true) {
                break;
            }
            self.received.lock().unwrap().extend(inbox.into_iter().map(|node| (me, node)));
        }
        self.own.wants_mail.store(true, Relaxed);
        self.own.receives_by_waker.store(by_waker, Relaxed);
    }

    /// As `Local::run`: one turn, or false where the lane is not queued.
    fn turn(&self, poll: Poll) -> bool {
        if !self.queue.pop() {
            return false;
        }
        if self.word.is_killed() {
            // As `Local::end_one`.
            let me = self.word.generation();
            self.own.turns.store(self.own.turns.load(Relaxed) + 1, Relaxed);
            self.end(me);
            return true;
        }
        let on = self.word.transition_to_running();
        let me = self.word.generation();
        assert_eq!(self.own.tenant.load(Relaxed), u32::from(me), "the lane runs and was not born");
        self.own.turns.store(self.own.turns.load(Relaxed) + 1, Relaxed);
        if on.kill() {
            assert!(on.taken().is_none(), "the dying takes nothing");
            self.end(me);
            return true;
        }
        if let Some(taken) = on.taken() {
            self.let_in_with_the_turn(me, taken);
        }
        if self.news.load(Relaxed) {
            self.saw_news.store(true, Relaxed);
        }
        if poll == Poll::FlushAndReceiveIfWoken {
            self.take_in(me, false);
        }
        match poll {
            Poll::Ready => {
                self.end(me);
                return true;
            }
            Poll::Receive => self.receive(me, false),
            Poll::ReceiveIfWoken | Poll::FlushAndReceiveIfWoken => {
                if self.own.is_woken.load(Relaxed) {
                    self.receive(me, true);
                }
            }
            Poll::Wait => {}
        }
        let wants_mail = self.own.wants_mail.load(Relaxed);
        self.own.wants_mail.store(false, Relaxed);
        // As `Local::tell_before_idle`, which in truth comes a little later: what it wakes is the lane's own set of futures.
        let wakes = self.own.is_woken_later.load(Relaxed);
        if wakes && self.word.is_killed() {
            self.end(me);
            return true;
        }
        if wakes {
            self.own.is_woken_later.store(false, Relaxed);
            self.own.is_woken.store(true, Relaxed);
        }
        match self.word.transition_to_idle(wants_mail) {
            OnIdle::Parked => {}
            OnIdle::Schedule => self.queue.push(),
            OnIdle::Kill => {
                self.end(me);
                return true;
            }
        }
        if wakes {
            let _ = self.wake();
        }
        true
    }

    fn settle(&self, poll: Poll) {
        while self.turn(poll) {}
    }

    /// As `death::end`, and as `death::abandon` where the lane was not born.
    fn end(&self, me: u16) {
        let taken = self.word.close(me + 1);
        for flag in [&self.own.wants_mail, &self.own.receives_by_waker, &self.own.is_woken_later] {
            flag.store(false, Relaxed);
        }
        let inbox = self.own.take_inbox();
        self.dropped.lock().unwrap().extend([inbox, self.nodes.drain(taken.head)].concat());
        self.released.store(true, Relaxed);
        self.is_free.store(true, Release);
        if self.word.transition_to_dead() {
            let late = std::mem::take(&mut *self.late.lock().unwrap());
            self.dropped.lock().unwrap().extend(late);
        }
    }

    fn received(&self) -> Vec<(u16, u32)> {
        self.received.lock().unwrap().clone()
    }

    /// The same without the tenants.
    fn received_nodes(&self) -> Vec<u32> {
        sorted(self.received().into_iter().map(|(_, node)| node).collect())
    }

    fn dropped(&self) -> Vec<u32> {
        self.dropped.lock().unwrap().clone()
    }

    /// Sees that the tenant sleeps until the next message.
    fn assert_waits_for_mail(&self, generation: u16) {
        assert!(self.queue.is_empty() && !self.word.has_mail() && self.word.is_live(generation));
        assert!(self.send(generation, D));
        assert!(!self.queue.is_empty(), "the lane waits for mail, and its word does not say so");
    }
}

fn beside<R: 'static>(slot: &Arc<Slot>, act: impl FnOnce(&Slot) -> R + 'static) -> thread::JoinHandle<R> {
    let slot = slot.clone();
    thread::spawn(move || act(&slot))
}

/// Those of `nodes` that were queued.
fn queued(nodes: impl IntoIterator<Item = (u32, bool)>) -> Vec<u32> {
    nodes.into_iter().filter(|(_, queued)| *queued).map(|(node, _)| node).collect()
}

/// Sender, killer and waker have met the first tenant. It ends, and the second moves in.
#[test]
fn what_comes_late_for_one_tenant_never_disturbs_the_next() {
    explore(|| {
        let slot = Slot::asleep(Poll::Receive);
        assert_eq!(slot.wake(), OnWake::Schedule);
        let sender = beside(&slot, |slot| slot.send(1, A));
        let killer = beside(&slot, |slot| slot.kill(1));
        assert!(slot.turn(Poll::Ready));
        slot.publish();
        slot.born();
        assert!(slot.turn(Poll::Receive));
        let was_queued = sender.join().unwrap();
        assert_ne!(killer.join().unwrap(), OnWake::Schedule, "the first tenant was queued when it met its end");
        assert!(slot.word.is_live(2) && !slot.word.is_killed(), "the kill was for the first tenant");
        assert!(slot.queue.is_empty(), "the second tenant was woken for the first");
        assert!(slot.received().iter().all(|(tenant, _)| *tenant == 1), "the message was for the first tenant");
        let all = [slot.received_nodes(), slot.dropped()].concat();
        assert_eq!(sorted(all), if was_queued { vec![A] } else { vec![] });
        slot.assert_waits_for_mail(2);
    });
}

#[test]
fn a_late_signal_is_dropped_or_handed_back() {
    explore(|| {
        let slot = Slot::asleep(Poll::Receive);
        assert_eq!(slot.wake(), OnWake::Schedule);
        let signallers = [C, D].map(|node| (node, beside(&slot, move |slot| slot.signal(1, node))));
        assert!(slot.turn(Poll::Ready));
        slot.publish();
        slot.born();
        assert!(slot.turn(Poll::Receive));
        let queued = queued(signallers.map(|(node, signaller)| (node, signaller.join().unwrap())));
        assert!(slot.word.is_live(2) && slot.queue.is_empty());
        assert!(slot.received().iter().all(|(tenant, _)| *tenant == 1), "the signal was for the first tenant");
        assert_eq!(sorted([slot.received_nodes(), slot.dropped()].concat()), queued, "each signal has one fate");
    });
}

/// As those do who list lanes: they find the id in the slot itself.
#[test]
fn who_sees_an_id_finds_a_lane_that_can_be_sent_to_and_woken() {
    explore(|| {
        let slot = Slot::vacant();
        let sender = beside(&slot, |slot| slot.send(1, A));
        let signaller = beside(&slot, |slot| {
            let sees = slot.word.generation() == 1;
            if sees {
                assert_eq!(slot.bound.load(Relaxed), 10, "the slot is that of a tenant who is not there yet");
                assert_ne!(slot.wake(), OnWake::Stale);
                assert!(slot.signal(1, C));
            }
            sees
        });
        slot.publish();
        slot.born();
        slot.turn(Poll::Receive);
        let sent = [(A, sender.join().unwrap()), (C, signaller.join().unwrap())];
        slot.settle(Poll::Receive);
        assert_eq!(slot.received_nodes(), queued(sent));
        slot.assert_waits_for_mail(1);
    });
}

/// Whatever comes before that.
#[test]
fn a_lane_runs_only_once_it_is_born() {
    explore(|| {
        let slot = Slot::vacant();
        let worker = beside(&slot, |slot| {
            slot.turn(Poll::Wait);
            slot.turn(Poll::Wait);
        });
        let waker = beside(&slot, |slot| {
            let on = slot.wake();
            (on, slot.signal(1, C))
        });
        slot.publish();
        slot.born();
        worker.join().unwrap();
        let (on, signalled) = waker.join().unwrap();
        slot.settle(Poll::Wait);
        let turns = slot.own.turns.load(Relaxed);
        assert!((1..=3).contains(&turns) && (on != OnWake::Schedule || turns >= 2));
        assert_eq!(slot.received_nodes(), if signalled { vec![C] } else { vec![] });
    });
}

/// A signal may take effect in between, and leave no trace.
fn a_message_to_a_sleeping_lane_is_received(poll: Poll) {
    explore(move || {
        let slot = Slot::asleep(poll);
        let senders = [A, B].map(|node| beside(&slot, move |slot| assert!(slot.send(1, node))));
        let signaller = beside(&slot, |slot| assert!(slot.signal(1, C)));
        slot.turn(poll);
        slot.turn(poll);
        for thread in senders.into_iter().chain([signaller]) {
            thread.join().unwrap();
        }
        slot.settle(poll);
        assert_eq!(slot.received_nodes(), [A, B, C]);
        slot.assert_waits_for_mail(1);
    });
}

#[test]
fn a_message_to_a_lane_that_receives_is_received() {
    a_message_to_a_sleeping_lane_is_received(Poll::Receive);
}

#[test]
fn a_message_to_a_receiver_with_a_waker_of_its_own_is_received() {
    a_message_to_a_sleeping_lane_is_received(Poll::ReceiveIfWoken);
}

#[test]
fn what_another_part_of_the_lane_took_strands_no_receiver() {
    a_message_to_a_sleeping_lane_is_received(Poll::FlushAndReceiveIfWoken);
}

/// Two workers give the turns.
#[test]
fn what_one_worker_took_another_gives_out() {
    explore(|| {
        let slot = Slot::asleep(Poll::ReceiveIfWoken);
        let sender = beside(&slot, |slot| assert!(slot.send(1, A)));
        let waker = beside(&slot, |slot| assert_ne!(slot.wake(), OnWake::Stale));
        let worker = beside(&slot, |slot| {
            slot.turn(Poll::FlushAndReceiveIfWoken);
            slot.turn(Poll::FlushAndReceiveIfWoken);
        });
        slot.turn(Poll::FlushAndReceiveIfWoken);
        for thread in [sender, waker, worker] {
            thread.join().unwrap();
        }
        slot.settle(Poll::FlushAndReceiveIfWoken);
        assert_eq!(slot.received_nodes(), [A]);
        slot.assert_waits_for_mail(1);
    });
}

/// Woken after it has looked for that, the lane takes in what came meanwhile, which is no answer to the wake.
#[test]
fn a_wake_that_comes_before_a_take_is_not_lost() {
    explore(|| {
        let slot = Slot::asleep(Poll::Receive);
        assert!(slot.send(1, A));
        let sender = beside(&slot, |slot| assert!(slot.send(1, B)));
        let waker = beside(&slot, |slot| {
            slot.news.store(true, Relaxed);
            assert_ne!(slot.wake(), OnWake::Stale);
        });
        assert!(slot.turn(Poll::Receive));
        slot.turn(Poll::Receive);
        sender.join().unwrap();
        waker.join().unwrap();
        slot.settle(Poll::Receive);
        assert!(slot.saw_news.load(Relaxed), "the lane sleeps and has not seen what it was woken for");
        assert_eq!(slot.received_nodes(), [A, B]);
        slot.assert_waits_for_mail(1);
    });
}

/// The second may come while the bit of the first is taken down, or be taken along with it.
#[test]
fn a_signal_takes_effect_though_the_lane_receives_nothing() {
    explore(|| {
        let slot = Slot::asleep(Poll::Wait);
        let signallers = [C, D].map(|node| beside(&slot, move |slot| assert!(slot.signal(1, node))));
        let sender = beside(&slot, |slot| assert!(slot.send(1, A)));
        slot.turn(Poll::Wait);
        slot.turn(Poll::Wait);
        for thread in signallers.into_iter().chain([sender]) {
            thread.join().unwrap();
        }
        slot.settle(Poll::Wait);
        assert_eq!(slot.received_nodes(), [C, D], "the lane sleeps over a signal");
        assert!(slot.own.turns.load(Relaxed) <= 3, "a message is no reason for a turn of who does not receive");
        assert_eq!(slot.wake(), OnWake::Schedule);
        assert!(slot.word.transition_to_running().taken().is_none(), "all signals have taken effect");
        slot.receive(1, false);
        assert_eq!(slot.received_nodes(), [A, C, D]);
    });
}

/// Another part of the lane takes the signals in the middle of a turn; their bit stays up.
#[test]
fn a_signal_that_was_taken_early_leaves_nothing_but_a_turn() {
    explore(|| {
        let slot = Slot::asleep(Poll::ReceiveIfWoken);
        assert_eq!(slot.wake(), OnWake::Schedule);
        let signallers = [C, D].map(|node| beside(&slot, move |slot| assert!(slot.signal(1, node))));
        slot.turn(Poll::FlushAndReceiveIfWoken);
        slot.turn(Poll::FlushAndReceiveIfWoken);
        for signaller in signallers {
            signaller.join().unwrap();
        }
        slot.settle(Poll::FlushAndReceiveIfWoken);
        assert_eq!(slot.received_nodes(), [C, D]);
        slot.assert_waits_for_mail(1);
    });
}

#[test]
fn a_killed_lane_receives_nothing_more_and_drops_what_came() {
    explore(|| {
        let slot = Slot::asleep(Poll::Receive);
        let sender = beside(&slot, |slot| slot.send(1, A));
        let signaller = beside(&slot, |slot| slot.signal(1, C));
        assert_ne!(slot.kill(1), OnWake::Stale);
        let before = slot.received_nodes();
        slot.turn(Poll::Receive);
        let sent = [(A, sender.join().unwrap()), (C, signaller.join().unwrap())];
        slot.settle(Poll::Receive);
        assert_eq!(slot.received_nodes(), before, "the lane received after the kill");
        assert!(!slot.word.is_live(1) && slot.queue.is_empty());
        assert_eq!(sorted(slot.dropped()), queued(sent), "each has one fate");
    });
}

#[test]
fn who_wants_to_hear_of_an_end_hears_of_it_or_that_it_is_over() {
    explore(|| {
        let slot = Slot::vacant();
        slot.publish();
        slot.born();
        let joiners = [C, D].map(|node| {
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
        assert!(slot.received().iter().all(|(tenant, _)| *tenant == 1), "the signal was for the first tenant");
        let heard = [slot.received_nodes(), slot.dropped()].concat();
        assert_eq!(sorted(heard), in_time.into_iter().flatten().collect::<Vec<_>>());
        assert!(slot.late.lock().unwrap().is_empty(), "somebody waits for an end that is over");
        slot.assert_waits_for_mail(2);
    });
}

/// As those do who have joined a lane and spawn another under a limit of one.
#[test]
fn who_finds_a_lane_dead_finds_its_slot_free() {
    explore(|| {
        let slot = Slot::asleep(Poll::Receive);
        assert_eq!(slot.wake(), OnWake::Schedule);
        let spawner = beside(&slot, |slot| {
            let is_dead = slot.word.generation() == 0 && !slot.word.transition_to_awaited(1);
            assert!(!is_dead || slot.is_free.load(Relaxed), "dead, and there is no room for another");
            let moves_in = slot.is_free.load(Relaxed);
            if moves_in {
                slot.publish();
                slot.born();
            }
            moves_in
        });
        let sender = beside(&slot, |slot| slot.send(1, A));
        assert!(slot.turn(Poll::Ready));
        if !spawner.join().unwrap() {
            slot.publish();
            slot.born();
        }
        let was_queued = sender.join().unwrap();
        assert!(slot.turn(Poll::Receive));
        assert_eq!([slot.received_nodes(), slot.dropped()].concat(), if was_queued { vec![A] } else { vec![] });
        slot.assert_waits_for_mail(2);
    });
}

/// The first tenant has an id, and its future is never made.
#[test]
fn a_lane_that_is_never_born_leaves_nothing_to_the_next() {
    explore(|| {
        let slot = Slot::vacant();
        slot.publish();
        let sender = beside(&slot, |slot| slot.send(1, A));
        let killer = beside(&slot, |slot| (slot.join(1, C), slot.kill(1)));
        slot.end(1);
        assert!(slot.queue.is_empty(), "a lane without a future was queued");
        slot.publish();
        slot.born();
        assert!(slot.turn(Poll::Receive));
        let was_queued = sender.join().unwrap();
        let (heard, on) = killer.join().unwrap();
        assert_ne!(on, OnWake::Schedule);
        assert!(slot.received().is_empty() && slot.late.lock().unwrap().is_empty());
        assert_eq!(sorted(slot.dropped()), queued([(A, was_queued), (C, heard)]));
        slot.assert_waits_for_mail(2);
    });
}
