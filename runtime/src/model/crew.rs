//! Who stands by, who naps, and who sleeps in the driver: two workers, of which one is of the crew.
//!
//! A rest is over at any time, as its time-out may come. A worker rests a few times and stops then, as does one whose turn
//! it is to sleep. Once all have stopped, those that rested go on one after the other, and those that were given a token.
//! Then all sleep: one in the driver, and what is left in a queue is work that nobody is awake to do.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::explore;
use crate::env::Instant;
use crate::sched::crew::{Plan, StandBy};
use crate::sched::idle::Idle;

/// How often a worker rests before it stops.
const RESTS: usize = 2;

/// A queue that publishes nothing by itself, and may look empty to whoever has not been told otherwise.
#[derive(Default)]
struct Queue(AtomicUsize);

impl Queue {
    fn push(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn take(&self) -> bool {
        let one_less = |length: usize| length.checked_sub(1);
        !self.is_empty() && self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// As the `Scheduler` of `sched.rs`, with one driver.
struct Pool {
    idle: Idle,
    stand_by: StandBy,
    tokens: [AtomicBool; 2],
    injector: Queue,
    own: [Queue; 2],
    driver: AtomicBool,
    begun: AtomicUsize,
    /// Workers that rest, or sleep outside of the driver: what the model is about.
    inert: AtomicUsize,
}

/// As the `Local` of `sched/worker.rs`.
struct Worker {
    pool: Arc<Pool>,
    index: usize,
    searching: bool,
    rests_left: usize,
    stopped: Stopped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopped {
    No,
    /// It has rested often enough.
    Rested,
    /// Until it gets its token.
    InDriver,
    OnCondvar,
}

/// Of a worker that is at rest.
struct Inert<'a>(&'a Pool);

impl<'a> Inert<'a> {
    fn begin(pool: &'a Pool) -> Inert<'a> {
        let before = pool.inert.fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "all rest, and nobody is in the driver");
        Inert(pool)
    }
}

impl Drop for Inert<'_> {
    fn drop(&mut self) {
        self.0.inert.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pool {
    /// The crew is of `size`, and operations are many and short.
    fn new(size: usize) -> Arc<Pool> {
        let stand_by = StandBy::new(2, true, Instant::ZERO);
        stand_by.decide(Plan { size, naps: true }, true);
        Arc::new(Pool {
            idle: Idle::new(2),
            stand_by,
            tokens: Default::default(),
            injector: Queue::default(),
            own: Default::default(),
            driver: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            inert: AtomicUsize::new(0),
        })
    }

    fn unpark(&self, worker: Option<usize>) {
        if let Some(worker) = worker {
            self.tokens[worker].swap(true, Ordering::Release);
        }
    }

    fn takes_token(&self, worker: usize) -> bool {
        self.tokens[worker].swap(false, Ordering::Acquire)
    }

    /// As `Scheduler::inject`.
    fn inject(&self) {
        self.injector.push();
        self.unpark(self.idle.wake_one());
    }

    fn takes_driver(&self) -> bool {
        self.driver.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn leaves_driver(&self) {
        // ORDER: as a lock's; a swap, see `shim::AtomicU64`.
        self.driver.swap(false, Ordering::Release);
    }

    fn all_hands(&self) {
        self.stand_by.all_hands(|| Instant::ZERO);
    }
}

impl Worker {
    fn new(pool: &Arc<Pool>, index: usize) -> Worker {
        Worker { pool: pool.clone(), index, searching: false, rests_left: RESTS, stopped: Stopped::No }
    }

    /// As `Local::serve`, up to where the thread would block.
    fn work(mut self) -> Worker {
        while self.stopped == Stopped::No {
            if !self.pool.stand_by.includes(self.index) {
                self.stand_by();
            } else if self.pick() {
                self.found_work();
                self.pool.begun.fetch_add(1, Ordering::Relaxed);
            } else {
                self.sleep();
            }
        }
        self
    }

    /// As `Local::pick` and `Local::search`.
    fn pick(&mut self) -> bool {
        let pool = &self.pool;
        if pool.own[self.index].take() || pool.injector.take() {
            return true;
        }
        self.searching = self.searching || pool.idle.try_start_searching();
        self.searching && (pool.own[1 - self.index].take() || pool.injector.take())
    }

    fn found_work(&mut self) {
        if std::mem::take(&mut self.searching) && self.pool.idle.stop_searching() {
            self.pool.unpark(self.pool.idle.wake_one_hint());
        }
    }

    fn has_rested(&mut self) {
        self.rests_left -= 1;
        if self.rests_left == 0 {
            self.stopped = Stopped::Rested;
        }
    }

    /// As `Local::stand_by`.
    fn stand_by(&mut self) {
        while self.pool.own[self.index].take() {
            self.pool.inject();
        }
        if std::mem::take(&mut self.searching) {
            let _ = self.pool.idle.stop_searching();
            self.pool.unpark(self.pool.idle.wake_one());
        }
        let before = self.pool.begun.load(Ordering::Relaxed);
        let waited = self.pool.stand_by.wait(|| self.pool.idle.at_work(), || Inert::begin(&self.pool));
        if !waited || self.pool.begun.load(Ordering::Relaxed) == before {
            self.pool.all_hands();
        }
        if waited {
            self.has_rested();
        }
    }

    /// As `Local::sleep` and `Scheduler::park`.
    fn sleep(&mut self) {
        let pool = self.pool.clone();
        if pool.takes_driver() {
            pool.leaves_driver();
        }
        let searching = self.searching;
        let begin = || {
            if searching {
                let _ = pool.idle.stop_searching();
            }
            Inert::begin(&pool)
        };
        if pool.stand_by.nap(1, || pool.idle.at_work() + usize::from(searching), begin) {
            self.searching = false;
            return self.has_rested();
        }
        pool.all_hands();
        let was_searching = std::mem::take(&mut self.searching);
        pool.idle.transition_to_sleeping(self.index, was_searching);
        let found = !pool.injector.is_empty() || pool.own.iter().any(|queue| !queue.is_empty());
        if !found && !pool.tokens[self.index].load(Ordering::Acquire) {
            if pool.takes_driver() {
                self.stopped = Stopped::InDriver;
            } else {
                // Whoever has the driver may only be looking, and is awake; but nobody else rests.
                std::mem::forget(Inert::begin(&pool));
                self.stopped = Stopped::OnCondvar;
            }
            return;
        }
        pool.takes_token(self.index);
        self.searching = pool.idle.transition_from_sleeping(self.index);
        if was_searching && found && !self.searching {
            pool.unpark(pool.idle.wake_one());
        }
    }

    fn can_go_on(&self) -> bool {
        match self.stopped {
            Stopped::No => false,
            Stopped::Rested => true,
            Stopped::InDriver | Stopped::OnCondvar => self.pool.tokens[self.index].load(Ordering::Relaxed),
        }
    }

    fn go_on(mut self) -> Worker {
        if !self.can_go_on() {
            return self;
        }
        if self.stopped != Stopped::Rested {
            self.pool.takes_token(self.index);
            self.searching = self.pool.idle.transition_from_sleeping(self.index);
            if self.stopped == Stopped::InDriver {
                self.pool.leaves_driver();
            } else {
                drop(Inert(&self.pool));
            }
        }
        self.stopped = Stopped::No;
        self.rests_left = RESTS;
        self.work()
    }
}

/// Lets those go on who may, until all sleep; how much was begun.
fn settle(pool: &Pool, mut workers: [Worker; 2]) -> usize {
    while workers.iter().any(Worker::can_go_on) {
        workers = workers.map(Worker::go_on);
    }
    let in_driver = workers.iter().filter(|worker| worker.stopped == Stopped::InDriver).count();
    assert_eq!(in_driver, 1, "all sleep, and nobody minds the driver");
    assert!(pool.idle.all_asleep());
    pool.begun.load(Ordering::Relaxed)
}

#[test]
fn not_all_rest_at_a_time() {
    for size in [1, 2] {
        explore(move || {
            let pool = Pool::new(size);
            let workers = [0, 1].map(|index| {
                let worker = Worker::new(&pool, index);
                thread::spawn(|| worker.work())
            });
            let workers = workers.map(|worker| worker.join().unwrap());
            assert_eq!(settle(&pool, workers), 0);
        });
    }
}

#[test]
fn a_lane_that_is_queued_while_workers_go_to_rest_is_run() {
    for size in [1, 2] {
        explore(move || {
            let pool = Pool::new(size);
            // Of the one that stands by, if it does.
            pool.own[1].push();
            let worker = Worker::new(&pool, 1);
            let worker = thread::spawn(|| worker.work());
            let other = Worker::new(&pool, 0);
            let other = thread::spawn(|| other.work());
            pool.inject();
            let workers = [other.join().unwrap(), worker.join().unwrap()];
            assert_eq!(settle(&pool, workers), 2, "all sleep, and there is work");
        });
    }
}

/// It waits for nothing but that the crew grows.
#[test]
fn a_crew_that_grows_finds_who_stands_by() {
    explore(|| {
        let stand_by = StandBy::new(2, true, Instant::ZERO).without_time_outs();
        stand_by.decide(Plan { size: 1, naps: true }, true);
        let stand_by = Arc::new(stand_by);
        let waiting = stand_by.clone();
        let waiting = thread::spawn(move || {
            while !waiting.includes(1) {
                assert!(waiting.wait(|| 2, || ()));
            }
        });
        stand_by.all_hands(|| Instant::ZERO);
        waiting.join().unwrap();
    });
}

/// No decision is made on fewer operations than the one before it.
#[test]
fn reports_at_a_time_are_counted_one_after_the_other() {
    explore(|| {
        let stand_by = Arc::new(StandBy::new(2, true, Instant::ZERO));
        let other = stand_by.clone();
        let other = thread::spawn(move || other.report(1, || Instant::ZERO));
        stand_by.report(1, || Instant::ZERO);
        other.join().unwrap();
    });
}

/// It waits for nothing but that nobody is to nap.
#[test]
fn a_plan_without_naps_finds_who_naps() {
    explore(|| {
        let stand_by = StandBy::new(2, true, Instant::ZERO).without_time_outs();
        stand_by.decide(Plan { size: 2, naps: true }, true);
        let stand_by = Arc::new(stand_by);
        let napping = stand_by.clone();
        let napping = thread::spawn(move || while napping.nap(1, || 2, || ()) {});
        stand_by.decide(Plan { size: 2, naps: false }, true);
        napping.join().unwrap();
    });
}
