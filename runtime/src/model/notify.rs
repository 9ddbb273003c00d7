//! Calls to one: who calls by the word while others come into line, are called, leave it, and call in their turn.

use std::num::NonZeroU16;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::explore;
use crate::id::{Id, Namespace};
use crate::shim::Unparker;
use crate::sync::calls::{Core, Kept, Since};
use crate::wait_list::line::{Taker, Waits};
use crate::wait_list::{By, Party, Ticket};

/// A waker for which a thread can wait.
#[derive(Default)]
struct Woken(Unparker);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What the calls are about: a number that nothing but they publishes.
struct Bell {
    core: Core,
    news: AtomicU32,
}

impl Bell {
    fn new() -> Arc<Bell> {
        Arc::new(Bell { core: Core::default(), news: AtomicU32::new(0) })
    }

    /// Does something, and calls one.
    fn ring(&self) {
        let news = self.news.load(Ordering::Relaxed);
        self.news.store(news + 1, Ordering::Relaxed);
        self.core.call_one(Kept::One);
    }

    /// So many calls were made, and one is kept, or none; nobody is left in line.
    fn assert_at_rest(&self, news: u32, is_kept: bool) {
        assert_eq!((self.news.load(Ordering::Relaxed), self.core.line.waiting()), (news, 0));
        assert_eq!(Waiter::new(9, &self.core).poll(&self.core).is_ready(), is_kept);
    }
}

/// A future in line.
struct Waiter {
    by: By,
    since: Since,
    ticket: Option<Ticket>,
    woken: Arc<Woken>,
}

impl Waiter {
    fn new(key: u32, core: &Core) -> Waiter {
        let by = By::Lane(Id::new(key, Namespace::new(1).expect("it is not 0"), NonZeroU16::MIN));
        Waiter { by, since: core.since(), ticket: None, woken: Arc::default() }
    }

    /// As `Notified::poll_seat`.
    fn poll(&mut self, core: &Core) -> Poll<()> {
        if self.ticket.is_none() {
            core.cut_down(Kept::One);
            if core.try_take(self.since) {
                return Poll::Ready(());
            }
        }
        self.poll_seat(core)
    }

    /// As `sync/seat.rs`.
    fn poll_seat(&mut self, core: &Core) -> Poll<()> {
        let place = Location::caller();
        let taker = Taker { by: self.by, place };
        if core.line.has_offers() && core.line.take_offer(&mut self.ticket, self.since, taker).is_some() {
            return Poll::Ready(());
        }
        let party = Party { by: self.by, waker: Waker::from(self.woken.clone()), also: None, place };
        core.line.poll(&mut self.ticket, self.since, party).map(|_| ())
    }

    fn wait(&mut self, core: &Core) {
        while self.poll(core).is_pending() {
            self.woken.0.wait();
        }
    }

    /// As the drop of `Notified`.
    fn leave(self, core: &Core) {
        if let Some(ticket) = self.ticket {
            core.line.leave(ticket);
            core.cut_down(Kept::One);
        }
    }
}

#[test]
fn a_call_ends_a_wait_that_begins_before_it_or_after() {
    explore(|| {
        let bell = Bell::new();
        let caller = {
            let bell = bell.clone();
            thread::spawn(move || bell.ring())
        };
        Waiter::new(1, &bell.core).wait(&bell.core);
        assert_eq!(bell.news.load(Ordering::Relaxed), 1, "what was done before the call is not seen");
        caller.join().unwrap();
        bell.assert_at_rest(1, false);
    });
}

#[test]
fn of_those_who_call_one_another_nobody_sleeps() {
    explore(|| {
        let bell = Bell::new();
        let threads = [1, 2].map(|key| {
            let bell = bell.clone();
            thread::spawn(move || {
                Waiter::new(key, &bell.core).wait(&bell.core);
                bell.ring();
            })
        });
        bell.ring();
        for thread in threads {
            thread.join().unwrap();
        }
        bell.assert_at_rest(3, true);
        bell.assert_at_rest(3, false);
    });
}

#[test]
fn a_call_that_one_who_leaves_had_on_offer_goes_to_the_next() {
    explore(|| {
        let bell = Bell::new();
        let mut leaves = Waiter::new(1, &bell.core);
        assert!(leaves.poll(&bell.core).is_pending());
        let threads = [
            thread::spawn({
                let bell = bell.clone();
                move || leaves.leave(&bell.core)
            }),
            thread::spawn({
                let bell = bell.clone();
                move || Waiter::new(2, &bell.core).wait(&bell.core)
            }),
        ];
        bell.ring();
        for thread in threads {
            thread.join().unwrap();
        }
        bell.assert_at_rest(1, false);
    });
}

#[test]
fn who_waits_for_a_condition_before_it_comes_true_is_called() {
    explore(|| {
        let bell = Bell::new();
        let is_true = Arc::new(Mutex::new(false));
        let waiter = {
            let (bell, is_true) = (bell.clone(), is_true.clone());
            thread::spawn(move || {
                let mut waiter = Waiter::new(1, &bell.core);
                loop {
                    let now = is_true.lock().unwrap();
                    if *now {
                        return;
                    }
                    // As `Wait::begin`: in line before the mutex is unlocked.
                    waiter.since = bell.core.as_of_now();
                    let polled = waiter.poll_seat(&bell.core);
                    drop(now);
                    if polled.is_pending() {
                        waiter.woken.0.wait();
                        while waiter.poll_seat(&bell.core).is_pending() {
                            waiter.woken.0.wait();
                        }
                    }
                }
            })
        };
        // One for nothing, which is no use to anybody who waits from now on.
        bell.core.call_one(Kept::None);
        *is_true.lock().unwrap() = true;
        bell.core.call_one(Kept::None);
        waiter.join().unwrap();
        bell.core.cut_down(Kept::None);
        assert_eq!(bell.core.line.waiting(), 0);
    });
}

#[test]
fn of_two_calls_of_which_one_is_kept_both_are_heeded() {
    explore(|| {
        let bell = Bell::new();
        let done = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let callers = [0, 1].map(|which: usize| {
            let (bell, done) = (bell.clone(), done.clone());
            thread::spawn(move || {
                done[which].store(1, Ordering::Relaxed);
                bell.core.call_one(Kept::One);
            })
        });
        while done.iter().any(|done| done.load(Ordering::Relaxed) == 0) {
            Waiter::new(1, &bell.core).wait(&bell.core);
        }
        for caller in callers {
            caller.join().unwrap();
        }
    });
}
