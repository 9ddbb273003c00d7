//! Who sleeps and whom to wake: two workers, or one and a stand-in; and work from outside and from the workers themselves.
//!
//! A worker whose turn it is to sleep stops here. Once all have stopped, those that were given a token go on one after
//! the other. What is left in a queue then is work that nobody is awake to do. That the token arrives is the business of
//! `model/parker.rs`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::explore;
use crate::sched::idle::Idle;

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

/// As the `Scheduler` of `sched.rs`.
struct Pool {
    idle: Idle,
    tokens: [AtomicBool; 2],
    injector: Queue,
    own: [Queue; 2],
    begun: AtomicUsize,
}

/// As the `Local` of `sched/worker.rs`.
struct Worker {
    pool: Arc<Pool>,
    index: usize,
    searching: bool,
    /// Runs one piece of work; false where that takes for ever.
    run: fn(&Worker) -> bool,
    rests: Rests,
    /// A stand-in that was told to leave.
    leaves: bool,
}

#[derive(PartialEq, Eq)]
enum Rests {
    No,
    /// Until it gets its token.
    Asleep,
    /// For ever, in a poll.
    Busy,
    /// For ever, as it has left.
    Gone,
}

impl Pool {
    fn new() -> Arc<Pool> {
        Arc::new(Pool {
            idle: Idle::new(2),
            tokens: Default::default(),
            injector: Queue::default(),
            own: Default::default(),
            begun: AtomicUsize::new(0),
        })
    }

    /// As `Scheduler::unpark`.
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

    fn has_nothing_to_do(&self) -> bool {
        self.injector.is_empty() && self.own.iter().all(Queue::is_empty)
    }
}

impl Worker {
    fn new(pool: &Arc<Pool>, index: usize, run: fn(&Worker) -> bool) -> Worker {
        Worker { pool: pool.clone(), index, searching: false, run, rests: Rests::No, leaves: false }
    }

    /// As `sched::worker::work`, up to where the thread would block.
    fn work(mut self) -> Worker {
        while self.rests == Rests::No {
            if self.pick() {
                self.found_work();
                if !(self.run)(&self) {
                    self.rests = Rests::Busy;
                }
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

    /// As `Local::found_work`.
    fn found_work(&mut self) {
        if std::mem::take(&mut self.searching) && self.pool.idle.stop_searching() {
            self.pool.unpark(self.pool.idle.wake_one_hint());
        }
    }

    /// As `Local::sleep`.
    fn sleep(&mut self) {
        let was_searching = std::mem::take(&mut self.searching);
        self.pool.idle.transition_to_sleeping(self.index, was_searching);
        let found = !self.pool.has_nothing_to_do();
        if !found && !self.pool.takes_token(self.index) {
            self.rests = Rests::Asleep;
            return;
        }
        self.searching = self.pool.idle.transition_from_sleeping(self.index);
        if was_searching && found && !self.searching {
            self.pool.unpark(self.pool.idle.wake_one());
        }
    }

    /// The park is over, if the token has come.
    fn wake_up(mut self) -> Worker {
        if self.rests != Rests::Asleep || !self.pool.takes_token(self.index) {
            return self;
        }
        self.rests = Rests::No;
        self.searching = self.pool.idle.transition_from_sleeping(self.index);
        if self.leaves { self.leave() } else { self.work() }
    }

    /// As the end of `Local::serve`, and `Scheduler::leave`.
    fn leave(mut self) -> Worker {
        while self.pool.own[self.index].take() {
            self.pool.inject();
        }
        if self.searching {
            let _ = self.pool.idle.stop_searching();
            self.pool.unpark(self.pool.idle.wake_one());
        }
        self.pool.idle.leave();
        self.rests = Rests::Gone;
        self
    }

    /// As `Local::push_back`.
    fn push_back(&self) {
        self.pool.own[self.index].push();
        self.pool.unpark(self.pool.idle.wake_one_hint());
    }
}

/// Lets those work that may, until all rest for good; how much was begun.
fn settle(pool: &Pool, mut workers: [Worker; 2]) -> usize {
    loop {
        workers = workers.map(Worker::wake_up);
        let has_token = |worker: &Worker| pool.tokens[worker.index].load(Ordering::Relaxed);
        if !workers.iter().any(|worker| worker.rests == Rests::Asleep && has_token(worker)) {
            return pool.begun.load(Ordering::Relaxed);
        }
    }
}

#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let pool = Pool::new();
        let workers = [0, 1].map(|index| {
            let worker = Worker::new(&pool, index, |_| true);
            thread::spawn(|| worker.work())
        });
        pool.inject();
        pool.inject();
        let workers = workers.map(|worker| worker.join().unwrap());
        assert_eq!(settle(&pool, workers), 2, "all sleep, and there is work");
        assert!(pool.has_nothing_to_do() && pool.idle.all_asleep());
    });
}

/// Both sleep, and the first piece of work takes for ever, as one lane's poll may be long.
#[test]
fn who_was_woken_to_search_and_finds_work_wakes_another() {
    explore(|| {
        let pool = Pool::new();
        let [one, other] = [0, 1].map(|index| {
            let is_second = |worker: &Worker| worker.pool.begun.load(Ordering::Relaxed) == 1;
            let worker = Worker::new(&pool, index, is_second).work();
            assert!(worker.rests == Rests::Asleep);
            worker
        });
        pool.inject();
        let one = thread::spawn(|| one.wake_up());
        let other = thread::spawn(|| other.wake_up());
        pool.inject();
        let workers = [one.join().unwrap(), other.join().unwrap()];
        assert_eq!(settle(&pool, workers), 2, "one is busy, the other sleeps, and there is work");
        assert!(pool.has_nothing_to_do());
    });
}

/// The first piece of work takes for ever, whoever gets it, and however close to sleep they are.
#[test]
fn work_from_outside_does_not_wait_for_a_worker_that_is_busy() {
    explore(|| {
        let pool = Pool::new();
        let workers = [0, 1].map(|index| {
            let is_second = |worker: &Worker| worker.pool.begun.load(Ordering::Relaxed) == 1;
            let worker = Worker::new(&pool, index, is_second);
            thread::spawn(|| worker.work())
        });
        pool.inject();
        pool.inject();
        let workers = workers.map(|worker| worker.join().unwrap());
        assert_eq!(settle(&pool, workers), 2, "one is busy, the other sleeps, and there is work");
        assert!(pool.has_nothing_to_do());
    });
}

/// One worker pushes for itself and hints, while the other goes to sleep.
#[test]
fn a_hint_that_is_missed_loses_no_work() {
    explore(|| {
        let pool = Pool::new();
        let other = Worker::new(&pool, 1, |_| true);
        let other = thread::spawn(|| other.work());
        let worker = Worker::new(&pool, 0, |_| true);
        worker.push_back();
        worker.push_back();
        let workers = [worker.work(), other.join().unwrap()];
        assert_eq!(settle(&pool, workers), 2, "all sleep, and there is work");
        assert!(pool.has_nothing_to_do() && pool.idle.all_asleep());
    });
}

/// What wakes it may have counted on its search, and there may be something in its queue.
#[test]
fn a_stand_in_that_leaves_loses_no_work() {
    explore(|| {
        let pool = Pool::new();
        let mut stand_in = Worker::new(&pool, 1, |_| true).work();
        assert!(stand_in.rests == Rests::Asleep);
        stand_in.leaves = true;
        let worker = Worker::new(&pool, 0, |_| true);
        let worker = thread::spawn(|| worker.work());
        let stand_in = thread::spawn(|| {
            let stand_in = stand_in.wake_up();
            if stand_in.rests == Rests::Gone {
                return stand_in;
            }
            // It was told to leave, and nobody had woken it.
            stand_in.pool.tokens[1].swap(true, Ordering::Release);
            stand_in.wake_up()
        });
        pool.inject();
        pool.inject();
        let workers = [worker.join().unwrap(), stand_in.join().unwrap()];
        assert_eq!(settle(&pool, workers), 2, "one sleeps, one is gone, and there is work");
        assert!(pool.has_nothing_to_do() && pool.idle.all_asleep());
    });
}
