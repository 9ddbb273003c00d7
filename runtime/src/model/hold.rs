//! A worker whose lane is polled, and a watchdog that takes the lane away when it is killed.
//!
//! `membarrier` is drawn as in `pulse.rs`. The lane's word is the one that ships, and what its slot keeps for the owner is
//! a counter that is read and written in two steps, so that two who have it at a time are found out.

use std::num::NonZeroU32;
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::{A, Nodes, RunQueue, explore};
use crate::lane::word::{EMPTY, LaneWord, OnIdle, OnWake, Pushed, Weight};
use crate::sched::hold::{Hold, Left, Taken};

const LANE: NonZeroU32 = NonZeroU32::MIN;
const GENERATION: u16 = 1;

struct World {
    word: LaneWord,
    queue: RunQueue,
    nodes: Nodes,
    hold: Hold,
    /// What the slot keeps for the owner: how often it was touched, in two steps.
    own: AtomicUsize,
    touched: AtomicUsize,
    /// What the lane did to others, of which its end must tell.
    ties: AtomicUsize,
    /// Ends of the lane: those of its worker, and those by whoever took it.
    ended: AtomicUsize,
    buried: AtomicUsize,
    /// Somebody was told of the end.
    is_told: AtomicBool,
    messages: AtomicUsize,
}

impl World {
    /// A lane that was just spawned and queued, by whoever runs it first.
    fn new() -> Arc<World> {
        let world = World {
            word: LaneWord::new(),
            queue: RunQueue::new(),
            nodes: Nodes::new(),
            hold: Hold::new(),
            own: AtomicUsize::new(0),
            touched: AtomicUsize::new(0),
            ties: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            buried: AtomicUsize::new(0),
            is_told: AtomicBool::new(false),
            messages: AtomicUsize::new(0),
        };
        world.word.open(GENERATION);
        world.queue.push();
        Arc::new(world)
    }

    /// What only one may do at a time, and sees the others' doing of.
    fn touch(&self) {
        let before = self.own.load(Relaxed);
        assert_eq!(before, self.touched.load(Relaxed), "somebody else's writes are not seen");
        self.own.store(before + 1, Relaxed);
        self.touched.store(before + 1, Relaxed);
    }

    /// As `context::with_current`: whether there was a lane.
    fn calls(&self) -> bool {
        let _mark = self.hold.borrow();
        let is_there = self.hold.current() == Some(LANE);
        if is_there {
            self.touch();
        }
        is_there
    }

    /// As `context::unless_abandoned`, in which the lane does something to another.
    fn sends(&self) -> bool {
        let _mark = self.hold.call();
        if self.hold.current().is_none() {
            return false;
        }
        self.ties.fetch_add(1, Relaxed);
        assert!(!self.is_told.load(Relaxed), "something comes after the word of the end");
        true
    }

    fn drop_mail(&self, head: u32) {
        self.messages.fetch_add(self.nodes.drain(head).len(), Relaxed);
    }

    /// As `Local::run`, in which the lane calls the runtime twice.
    fn turn(&self) {
        if !self.queue.pop() {
            return;
        }
        let on = self.word.transition_to_running();
        if let Some(taken) = on.taken() {
            self.drop_mail(taken.head);
        }
        self.touch();
        if on.kill() {
            return self.end(true);
        }
        self.hold.enter(LANE);
        let (first, second) = (self.calls(), self.sends());
        assert!(first || !second, "what was taken away is back");
        match self.hold.leave() {
            Left::Kept => {}
            Left::CutOff => return self.end(true),
            Left::TakenAway => return,
        }
        self.touch();
        match self.word.transition_to_idle(true) {
            OnIdle::Parked => {}
            OnIdle::Schedule => self.queue.push(),
            OnIdle::Kill => self.end(true),
        }
    }

    /// As `death::end`.
    fn end(&self, is_killed: bool) {
        let taken = self.word.close(GENERATION + 1);
        self.touch();
        self.drop_mail(taken.head);
        self.hold.enter_destructors(LANE, is_killed);
        assert!(self.hold.current().is_none(), "destructors run in no lane");
        if self.hold.leave_destructors() == Left::TakenAway {
            return;
        }
        self.touch();
        let _ = self.word.transition_to_dead();
        self.ended.fetch_add(1, Relaxed);
    }

    /// As `Scheduler::abandon_killed`, with a limit of nothing, and `death::bury`: whether the lane was taken.
    fn abandon(&self) -> bool {
        let is_due = || self.word.is_killed_for(GENERATION) || self.hold.ends_killed();
        let taken = self.hold.take(LANE, is_due, |taken| {
            self.touch();
            match taken {
                Taken::InPoll => self.word.close(GENERATION + 1).head,
                Taken::InDestructors => EMPTY,
            }
        });
        let Some(head) = taken else { return false };
        self.drop_mail(head);
        let _ = self.word.transition_to_dead();
        self.is_told.store(true, Relaxed);
        self.buried.fetch_add(1, Relaxed);
        true
    }

    fn kill(&self) {
        if self.word.kill(GENERATION) == OnWake::Schedule {
            self.queue.push();
        }
    }

    fn push(&self) -> bool {
        match self.nodes.push(&self.word, GENERATION, A, || Weight::Exempt) {
            Ok(Pushed::Schedule) => {
                self.queue.push();
                true
            }
            Ok(Pushed::Nothing) => true,
            Err(_) => false,
        }
    }

    /// The lane was killed: it ends once, whoever does it.
    fn assert_ended(&self) {
        while !self.queue.is_empty() {
            self.turn();
        }
        let (ended, buried) = (self.ended.load(Relaxed), self.buried.load(Relaxed));
        assert_eq!(ended + buried, 1, "it ended {ended} times here and {buried} times elsewhere");
        assert!(!self.word.is_live(GENERATION) && self.word.next_generation() == GENERATION + 1);
    }
}

/// The watchdog comes twice: what it does not get at first it may get then.
#[test]
fn a_lane_that_is_killed_in_its_poll_ends_once() {
    explore(|| {
        let world = World::new();
        let watchdog = world.clone();
        let watchdog = thread::spawn(move || {
            watchdog.kill();
            let _ = watchdog.abandon() || watchdog.abandon();
        });
        world.turn();
        watchdog.join().unwrap();
        world.assert_ended();
    });
}

#[test]
fn of_two_killers_and_a_watchdog_one_ends_the_lane() {
    explore(|| {
        let world = World::new();
        let [killer, watchdog] = [world.clone(), world.clone()];
        let killer = thread::spawn(move || killer.kill());
        let watchdog = thread::spawn(move || {
            watchdog.kill();
            watchdog.abandon();
        });
        world.turn();
        killer.join().unwrap();
        watchdog.join().unwrap();
        world.assert_ended();
    });
}

#[test]
fn a_message_to_a_lane_that_is_taken_away_is_dropped_with_it_or_refused() {
    explore(|| {
        let world = World::new();
        let [sender, watchdog] = [world.clone(), world.clone()];
        let sender = thread::spawn(move || sender.push());
        let watchdog = thread::spawn(move || {
            watchdog.kill();
            watchdog.abandon();
        });
        world.turn();
        let was_sent = sender.join().unwrap();
        watchdog.join().unwrap();
        world.assert_ended();
        assert_eq!(world.messages.load(Relaxed), usize::from(was_sent));
    });
}

/// The kill was there first, so that the whole turn is the end.
#[test]
fn a_lane_that_is_stuck_in_its_destructors_ends_once() {
    explore(|| {
        let world = World::new();
        world.kill();
        let watchdog = world.clone();
        let watchdog = thread::spawn(move || watchdog.abandon() || watchdog.abandon());
        world.turn();
        watchdog.join().unwrap();
        world.assert_ended();
    });
}

/// A lane that nobody kills is never taken, and the watchdog's look at it harms none that comes after.
#[test]
fn a_lane_that_is_not_killed_keeps_its_worker() {
    explore(|| {
        let world = World::new();
        let watchdog = world.clone();
        let watchdog = thread::spawn(move || watchdog.abandon());
        world.turn();
        assert!(!watchdog.join().unwrap());
        assert!(world.word.is_live(GENERATION));
        let (calls, touched) = (world.ties.load(Relaxed), world.touched.load(Relaxed));
        assert_eq!((calls, touched), (1, 3), "a call failed");
    });
}
