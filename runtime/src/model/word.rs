//! The lane's word as wakers, workers and a kill use it: no mail, and a lane that waits for something else.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::{RunQueue, explore};
use crate::lane::word::{EMPTY, LaneWord, OnIdle, OnWake};

/// A lane whose poll looks for two pieces of news and ends only by a kill.
struct Lane {
    word: LaneWord,
    queue: RunQueue,
    running: AtomicBool,
    /// Read and written in two steps by whoever runs the lane, as what the slot keeps for its owner is.
    turns: AtomicUsize,
    polls: AtomicUsize,
    news: [AtomicBool; 2],
    seen: [AtomicBool; 2],
    ends: AtomicUsize,
}

impl Lane {
    /// A lane that was just spawned and queued.
    fn spawned() -> Arc<Lane> {
        let lane = Arc::new(Lane {
            word: LaneWord::new(),
            queue: RunQueue::new(),
            running: AtomicBool::new(false),
            turns: AtomicUsize::new(0),
            polls: AtomicUsize::new(0),
            news: [AtomicBool::new(false), AtomicBool::new(false)],
            seen: [AtomicBool::new(false), AtomicBool::new(false)],
            ends: AtomicUsize::new(0),
        });
        lane.spawn(1);
        lane
    }

    /// A lane that has had its first turn.
    fn parked() -> Arc<Lane> {
        let lane = Lane::spawned();
        assert!(lane.turn());
        lane
    }

    fn spawn(&self, generation: u16) {
        self.word.open(generation);
        self.queue.push();
    }

    /// As `sched::act`.
    fn act(&self, on: OnWake) {
        if on == OnWake::Schedule {
            // As `Woken::prefetch`: until it is queued, the lane is its waker's.
            self.turns.store(self.turns.load(Relaxed), Relaxed);
            self.queue.push();
        }
    }

    /// News and a wake.
    fn tell(&self, news: usize) -> OnWake {
        self.news[news].store(true, Relaxed);
        let on = self.word.wake();
        self.act(on);
        on
    }

    fn kill(&self, generation: u16) -> OnWake {
        let on = self.word.kill(generation);
        self.act(on);
        on
    }

    /// One turn, or false where the lane is not queued.
    fn turn(&self) -> bool {
        self.turn_in_which(false)
    }

    /// As `Local::run`: a turn in which the lane's future is ready, or not.
    fn turn_in_which(&self, it_is_ready: bool) -> bool {
        if !self.queue.pop() {
            return false;
        }
        let on = self.word.transition_to_running();
        assert!(on.taken().is_none(), "nothing was sent");
        assert!(!self.running.swap(true, Relaxed), "two workers run one lane");
        self.turns.store(self.turns.load(Relaxed) + 1, Relaxed);
        if on.kill() || self.poll_is_killed() || it_is_ready {
            self.ends.fetch_add(1, Relaxed);
            self.running.store(false, Relaxed);
            self.end();
        } else {
            self.running.store(false, Relaxed);
            match self.word.transition_to_idle(false) {
                OnIdle::Parked => {}
                OnIdle::Schedule => self.queue.push(),
                OnIdle::Kill => {
                    self.ends.fetch_add(1, Relaxed);
                    self.end();
                }
            }
        }
        true
    }

    /// As the first and the fifth step of `death::end`.
    fn end(&self) {
        assert_eq!(self.word.close(self.word.generation() + 1).head, EMPTY);
        assert!(!self.word.transition_to_dead(), "nobody wanted to hear of it");
    }

    fn poll_is_killed(&self) -> bool {
        self.polls.fetch_add(1, Relaxed);
        for (news, seen) in self.news.iter().zip(&self.seen) {
            if news.load(Relaxed) {
                seen.store(true, Relaxed);
            }
        }
        self.word.is_killed()
    }

    /// Runs the lane until it is in no queue; the number of turns.
    fn settle(&self) -> usize {
        std::iter::from_fn(|| self.turn().then_some(())).count()
    }

    fn has_seen(&self, news: usize) -> bool {
        self.seen[news].load(Relaxed)
    }
}

#[test]
fn no_wake_is_lost() {
    explore(|| {
        let lane = Lane::spawned();
        let wakers = [0, 1].map(|news| {
            let lane = lane.clone();
            thread::spawn(move || assert_ne!(lane.tell(news), OnWake::Stale))
        });
        let poller = {
            let lane = lane.clone();
            thread::spawn(move || {
                lane.turn();
                lane.turn();
            })
        };
        for waker in wakers {
            waker.join().unwrap();
        }
        poller.join().unwrap();
        lane.settle();
        assert!(lane.has_seen(0) && lane.has_seen(1), "a lane sleeps and has not seen what it was woken for");
    });
}

#[test]
fn at_most_one_worker_runs_a_lane() {
    explore(|| {
        let lane = Lane::spawned();
        let waker = {
            let lane = lane.clone();
            thread::spawn(move || {
                let _ = (lane.tell(0), lane.tell(1));
            })
        };
        let other = {
            let lane = lane.clone();
            thread::spawn(move || usize::from(lane.turn()) + usize::from(lane.turn()))
        };
        let mut turns = usize::from(lane.turn()) + usize::from(lane.turn());
        waker.join().unwrap();
        turns += other.join().unwrap();
        turns += lane.settle();
        assert_eq!(lane.turns.load(Relaxed), turns, "a worker did not see what the one before it left");
        assert!((1..=3).contains(&turns));
        assert!(lane.has_seen(0) && lane.has_seen(1));
    });
}

#[test]
fn a_kill_always_leads_to_an_end() {
    explore(|| {
        let lane = Lane::parked();
        let wakers = [0, 1].map(|news| {
            let lane = lane.clone();
            thread::spawn(move || lane.tell(news))
        });
        let killer = {
            let lane = lane.clone();
            thread::spawn(move || assert_ne!(lane.kill(1), OnWake::Stale))
        };
        lane.turn();
        lane.turn();
        killer.join().unwrap();
        for waker in wakers {
            let _ = waker.join().unwrap();
        }
        let polls = lane.polls.load(Relaxed);
        lane.settle();
        assert_eq!(lane.polls.load(Relaxed), polls, "the lane was polled after the kill");
        assert_eq!(lane.ends.load(Relaxed), 1, "the lane ends once");
        assert!(!lane.word.is_live(1));
        for on in [lane.tell(0), lane.kill(1)] {
            assert_eq!(on, OnWake::Stale, "nothing wakes the dead");
        }
        assert!(lane.queue.is_empty());
    });
}

/// Waker and killer have met the first tenant; a wake may reach the second, a kill may not.
#[test]
fn a_late_wake_reaches_the_next_tenant_at_most_once_and_a_late_kill_never() {
    explore(|| {
        let lane = Lane::spawned();
        let waker = {
            let lane = lane.clone();
            thread::spawn(move || lane.tell(0))
        };
        let killer = {
            let lane = lane.clone();
            thread::spawn(move || lane.kill(1))
        };
        assert!(lane.turn_in_which(true));
        assert!(!lane.word.is_live(1));
        lane.spawn(2);
        lane.turn();
        let on = waker.join().unwrap();
        assert_ne!(killer.join().unwrap(), OnWake::Schedule, "the first tenant never slept");
        lane.settle();
        assert!(lane.word.is_live(2), "the kill was for the first tenant");
        assert_eq!(lane.ends.load(Relaxed), 1);
        let turns_of_the_second = lane.turns.load(Relaxed) - 1;
        assert!((1..=2).contains(&turns_of_the_second));
        assert!(on == OnWake::Stale || lane.has_seen(0), "one of the two was woken for it");
    });
}

/// A kill that comes while the lane ends, or a wish to hear of it, is neither too late nor of any effect.
#[test]
fn who_hears_that_a_lane_is_dead_sees_what_it_released() {
    explore(|| {
        let lane = Lane::parked();
        assert_eq!(lane.tell(0), OnWake::Schedule);
        let released = Arc::new(AtomicBool::new(false));
        let lookers = [
            (|word| word.is_live(1)) as fn(&LaneWord) -> bool,
            |word| word.kill(1) != OnWake::Stale,
            |word| word.generation() == 1 || word.transition_to_awaited(1),
        ]
        .map(|finds_it_alive| {
            let (lane, released) = (lane.clone(), released.clone());
            thread::spawn(move || {
                assert!(finds_it_alive(&lane.word) || released.load(Relaxed), "dead, and still holds something");
            })
        });
        assert!(lane.queue.pop());
        let _ = lane.word.transition_to_running();
        let _ = lane.word.close(2);
        released.store(true, Relaxed);
        let _ = lane.word.transition_to_dead();
        lane.spawn(2);
        for looker in lookers {
            looker.join().unwrap();
        }
        assert!(lane.word.is_live(2) && !lane.word.is_killed());
    });
}
