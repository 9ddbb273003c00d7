//! A mutex's word and its line: who comes, who unlocks, who waits, is passed over, leaves, and whose lane dies.

use std::num::NonZeroU16;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::explore;
use crate::id::{Id, Namespace};
use crate::shim::Unparker;
use crate::sync::exclusive::{Exclusive, Granted, LeftBehind, unlock};
use crate::sync::holder::Holder;
use crate::wait_list::line::{Line, Taker, Waits};
use crate::wait_list::{By, Party, Ticket};

/// A mutex, and what it guards: a number that nothing but the lock publishes.
#[derive(Default)]
struct Lock {
    line: Line<Exclusive>,
    value: Value,
}

struct Value(AtomicU32);

impl Default for Value {
    fn default() -> Value {
        Value(AtomicU32::new(0))
    }
}

/// A lane's waker, for which the lane can wait.
#[derive(Default)]
struct Woken(Unparker);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A future in line.
struct Waiter {
    by: By,
    ticket: Option<Ticket>,
    woken: Arc<Woken>,
}

impl Waiter {
    fn new(key: u32) -> Waiter {
        let namespace = Namespace::new(1).expect("it is not 0");
        Waiter { by: By::Lane(Id::new(key, namespace, NonZeroU16::MIN)), ticket: None, woken: Arc::default() }
    }

    /// As `sync/seat.rs` does.
    fn poll(&mut self, lock: &Lock) -> Poll<Result<Granted, LeftBehind>> {
        let taker = Taker { by: self.by, place: Location::caller() };
        if self.ticket.is_some()
            && lock.line.has_offers()
            && let Some(granted) = lock.line.take_offer(&mut self.ticket, (), taker)
        {
            return Poll::Ready(Ok(granted));
        }
        let waker = Waker::from(self.woken.clone());
        lock.line.poll(&mut self.ticket, (), Party { by: self.by, waker, also: None, place: Location::caller() })
    }

    /// Waits to be woken, and is polled, until it has the lock, or will not get it.
    fn wait(&mut self, lock: &Lock) -> Result<Granted, LeftBehind> {
        loop {
            match self.poll(lock) {
                Poll::Ready(granted) => return granted,
                Poll::Pending => self.woken.0.wait(),
            }
        }
    }
}

impl Lock {
    fn lock(&self, key: u32) {
        if self.line.fast().try_lock().is_none() {
            assert!(Waiter::new(key).wait(self).is_ok(), "nobody dies");
        }
    }

    fn unlock(&self) {
        if !self.line.fast().try_unlock() {
            unlock(&self.line, false);
        }
    }

    fn add(&self) {
        let value = self.value.0.load(Ordering::Relaxed);
        self.value.0.store(value + 1, Ordering::Relaxed);
    }

    /// Nothing is left of those who had it, or waited for it.
    fn assert_at_rest(&self, value: u32) {
        assert!(self.line.fast().try_lock().is_some(), "nobody has it, and nobody is left in line");
        assert_eq!(self.value.0.load(Ordering::Relaxed), value, "what one did under the lock was lost");
        assert_eq!(self.line.waiting(), 0);
    }
}

#[test]
fn one_at_a_time_has_the_lock_and_nobody_sleeps_over_it() {
    explore(|| {
        let lock = Arc::new(Lock::default());
        let threads = [1, 2].map(|key| {
            let lock = lock.clone();
            thread::spawn(move || {
                lock.lock(key);
                lock.add();
                lock.unlock();
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        lock.assert_at_rest(2);
    });
}

#[test]
fn one_who_comes_while_it_is_handed_over_does_not_get_between() {
    explore(|| {
        let lock = Arc::new(Lock::default());
        lock.lock(1);
        let mut waiter = Waiter::new(2);
        assert!(waiter.poll(&lock).is_pending());
        let comer = {
            let lock = lock.clone();
            thread::spawn(move || {
                if lock.line.fast().try_lock().is_some() {
                    // The one in line has had it.
                    assert_eq!(lock.value.0.load(Ordering::Relaxed), 1);
                    lock.unlock();
                }
            })
        };
        lock.unlock();
        assert!(waiter.wait(&lock).is_ok());
        lock.add();
        lock.unlock();
        comer.join().unwrap();
        lock.assert_at_rest(1);
    });
}

#[test]
fn what_a_lane_does_not_poll_in_its_turns_passes_on() {
    explore(|| {
        let lock = Arc::new(Lock::default());
        lock.lock(1);
        let (mut idle, mut waiter) = (Waiter::new(2), Waiter::new(3));
        assert!(idle.poll(&lock).is_pending() && waiter.poll(&lock).is_pending());
        let turns = {
            let lock = lock.clone();
            thread::spawn(move || {
                // A turn at any time, and one since it was woken.
                let ticket = idle.ticket.expect("it is in line");
                assert!(lock.line.pass_over(ticket, idle.by));
                idle.woken.0.wait();
                assert!(lock.line.pass_over(ticket, idle.by));
                idle
            })
        };
        lock.unlock();
        assert!(waiter.wait(&lock).is_ok());
        lock.add();
        lock.unlock();
        let mut idle = turns.join().unwrap();
        // It is polled again after all.
        assert!(idle.wait(&lock).is_ok());
        lock.add();
        lock.unlock();
        lock.assert_at_rest(2);
    });
}

#[test]
fn who_leaves_or_dies_while_it_is_offered_leaves_it_to_the_next() {
    explore(|| {
        let lock = Arc::new(Lock::default());
        lock.lock(1);
        let (mut first, mut second) = (Waiter::new(2), Waiter::new(3));
        assert!(first.poll(&lock).is_pending() && second.poll(&lock).is_pending());
        let leaves = {
            let lock = lock.clone();
            thread::spawn(move || {
                let ticket = first.ticket.expect("it is in line");
                assert!(lock.line.leave_dead(ticket, first.by) && !lock.line.leave_dead(ticket, first.by));
            })
        };
        lock.unlock();
        assert!(second.wait(&lock).is_ok());
        lock.unlock();
        leaves.join().unwrap();
        lock.assert_at_rest(0);
    });
}

#[test]
fn a_guard_dropped_while_its_lane_dies_leaves_a_lock_that_can_be_got() {
    let with_one = |is_in_line: bool| {
        let lock = Arc::new(Lock::default());
        let number = lock.line.fast().try_lock().expect("nobody is there");
        let mut waiter = Waiter::new(2);
        assert!(!is_in_line || waiter.poll(&lock).is_pending());
        let death = {
            let lock = lock.clone();
            thread::spawn(move || {
                let holder = Holder { lane: None, name: None, taken_at: Location::caller() };
                let stood = lock.line.change(|exclusive, word| exclusive.abandon(word, number, holder));
                if stood {
                    lock.line.wake_all();
                }
                stood
            })
        };
        // Elsewhere, its guard is dropped.
        lock.unlock();
        let waited = waiter.wait(&lock);
        let got = waited.as_ref().is_ok_and(|granted| granted.died.is_none());
        if waited.is_ok() {
            lock.unlock();
        }
        let stood = death.join().unwrap();
        assert!(stood || got, "there was nothing to tell");
        assert_eq!(lock.line.fast().is_marked(), stood, "the mark stays until one recovers");
        lock.line.change(Exclusive::recover);
        lock.assert_at_rest(0);
    };
    explore(move || with_one(true));
    explore(move || with_one(false));
}
