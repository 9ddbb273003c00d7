//! Who sleeps in a driver and who without one: two workers and a stand-in that leaves.
//!
//! A worker whose turn it is to sleep stops here, as in `model/idle.rs`. Once all have stopped, those that were given a
//! token go on one after the other. In the end each driver has a sleeper in it, or sockets and timers are nobody's.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::explore;
use crate::sched::idle::Idle;

const PLACES: usize = 3;
/// The place of the stand-in.
const STAND_IN: usize = 2;

/// As the `Scheduler` of `sched.rs`.
struct Pool {
    idle: Idle,
    tokens: [AtomicBool; PLACES],
    /// Whether somebody holds the lock of each.
    drivers: Vec<AtomicBool>,
    /// As `Parker::is_in_driver`.
    in_driver: [AtomicBool; PLACES],
}

/// As the `Local` of `sched/worker.rs`.
struct Worker {
    pool: Arc<Pool>,
    index: usize,
    searching: bool,
    leaves: bool,
    is: Is,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Awake,
    InDriver(usize),
    OnCondvar,
    Gone,
}

impl Pool {
    fn new(drivers: usize) -> Arc<Pool> {
        let idle = Idle::new(2);
        idle.join();
        let drivers = (0..drivers).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Pool { idle, tokens: Default::default(), drivers, in_driver: Default::default() })
    }

    fn unpark(&self, worker: usize) {
        self.tokens[worker].swap(true, Ordering::Release);
    }

    fn takes_token(&self, worker: usize) -> bool {
        self.tokens[worker].swap(false, Ordering::Acquire)
    }

    fn try_lock(&self, driver: usize) -> bool {
        self.drivers[driver].compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn unlock(&self, driver: usize) {
        self.drivers[driver].swap(false, Ordering::Release);
    }

    /// As `Scheduler::drivers_from`.
    fn drivers_from(&self, worker: usize) -> impl Iterator<Item = usize> {
        let count = self.drivers.len();
        (0..count).map(move |step| (worker + step) % count)
    }

    /// As `Scheduler::mind_others`.
    fn mind_others(&self, worker: usize) {
        if self.drivers.len() > 1 && self.drivers.iter().any(|driver| !driver.load(Ordering::Relaxed)) {
            self.rouse_outside(worker);
        }
    }

    /// As `Scheduler::rouse_outside`.
    fn rouse_outside(&self, worker: usize) {
        let sleepers = self.idle.sleepers();
        let sleeps_outside = |other: &usize| *other != worker && sleepers >> *other & 1 != 0;
        let outside =
            (0..PLACES).filter(sleeps_outside).filter(|other| !self.in_driver[*other].load(Ordering::Relaxed));
        outside.take(self.drivers.len()).for_each(|other| self.unpark(other));
    }
}

impl Worker {
    fn new(pool: &Arc<Pool>, index: usize) -> Worker {
        Worker { pool: pool.clone(), index, searching: false, leaves: false, is: Is::Awake }
    }

    /// As `Local::serve`, where there is never anything to run.
    fn work(mut self) -> Worker {
        while self.is == Is::Awake {
            if self.leaves {
                self.leave();
            } else {
                self.searching = self.searching || self.pool.idle.try_start_searching();
                self.turn_drivers();
                self.sleep();
            }
        }
        self
    }

    /// As `Scheduler::turn_driver`.
    fn turn_drivers(&self) {
        for driver in self.pool.drivers_from(self.index) {
            if self.pool.try_lock(driver) {
                self.pool.unlock(driver);
            }
        }
    }

    /// As `Local::sleep` and the first half of `Scheduler::park`.
    fn sleep(&mut self) {
        let was_searching = std::mem::take(&mut self.searching);
        self.pool.idle.transition_to_sleeping(self.index, was_searching);
        if self.pool.takes_token(self.index) {
            self.searching = self.pool.idle.transition_from_sleeping(self.index);
            return;
        }
        let free = self.pool.drivers_from(self.index).find(|driver| self.pool.try_lock(*driver));
        self.is = free.map_or(Is::OnCondvar, Is::InDriver);
        if free.is_some() {
            self.pool.mind_others(self.index);
            self.pool.in_driver[self.index].swap(true, Ordering::AcqRel);
        }
    }

    /// The second half of `Scheduler::park`, if the token has come.
    fn wake_up(mut self) -> Worker {
        if !matches!(self.is, Is::InDriver(_) | Is::OnCondvar) || !self.pool.takes_token(self.index) {
            return self;
        }
        self.pool.in_driver[self.index].swap(false, Ordering::AcqRel);
        self.searching = self.pool.idle.transition_from_sleeping(self.index);
        if let Is::InDriver(driver) = self.is {
            self.pool.unlock(driver);
        }
        self.is = Is::Awake;
        self.work()
    }

    /// As the end of `Local::serve`, and `Scheduler::leave`.
    fn leave(&mut self) {
        if std::mem::take(&mut self.searching) {
            let _ = self.pool.idle.stop_searching();
            if let Some(worker) = self.pool.idle.wake_one() {
                self.pool.unpark(worker);
            }
        }
        self.pool.rouse_outside(self.index);
        self.pool.idle.leave();
        self.is = Is::Gone;
    }
}

fn settle(pool: &Pool, mut workers: [Worker; PLACES]) {
    let goes_on = |worker: &Worker| worker.is != Is::Gone && pool.tokens[worker.index].load(Ordering::Relaxed);
    while workers.iter().any(goes_on) {
        workers = workers.map(Worker::wake_up);
    }
    for driver in 0..pool.drivers.len() {
        let is_minded = workers.iter().any(|worker| worker.is == Is::InDriver(driver));
        assert!(is_minded, "all sleep, and nobody minds driver {driver}");
    }
}

/// Each looks into one driver after the other before it sleeps, and so may find the other's taken, and then its own.
#[test]
fn each_driver_is_minded_when_all_workers_have_gone_to_sleep() {
    for drivers in [1, 2] {
        explore(move || {
            let pool = Pool::new(drivers);
            let workers = [0, 1].map(|index| {
                let worker = Worker::new(&pool, index);
                thread::spawn(|| worker.work())
            });
            let [first, second] = workers.map(|worker| worker.join().unwrap());
            let mut nobody = Worker::new(&pool, STAND_IN);
            nobody.is = Is::Gone;
            settle(&pool, [first, second, nobody]);
        });
    }
}

/// The first worker sleeps, in a driver of its own where there are two; so does the stand-in. The second worker, for which
/// it stood in, is back and has nothing to do.
#[test]
fn each_driver_is_minded_when_a_stand_in_has_left() {
    for drivers in [1, 2] {
        for stand_in_sleeps_first in [false, true] {
            explore(move || {
                let pool = Pool::new(drivers);
                let back = Worker::new(&pool, 1);
                let [mut stand_in, first] = if stand_in_sleeps_first {
                    let stand_in = Worker::new(&pool, STAND_IN).work();
                    [stand_in, Worker::new(&pool, 0).work()]
                } else {
                    let first = Worker::new(&pool, 0).work();
                    [Worker::new(&pool, STAND_IN).work(), first]
                };
                stand_in.leaves = true;
                pool.unpark(STAND_IN);
                let back = thread::spawn(|| back.work());
                let stand_in = thread::spawn(|| stand_in.wake_up());
                let first = first.wake_up();
                let workers = [first, back.join().unwrap(), stand_in.join().unwrap()];
                settle(&pool, workers);
            });
        }
    }
}
