//! Admission under a limit: lanes that take by the ledger alone or wait in line, lanes that end, and an allocator that gives
//! back what was left.
//!
//! As `admission.rs`, of whose source the one here has what bears on the words.

use std::num::NonZeroU16;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;

use super::explore;
use crate::admission::cost::{Cost, LANE, LANES};
use crate::admission::ledger::{Ledger, Way};
use crate::id::{Id, Namespace};
use crate::shim::Unparker;
use crate::wait_list::line::{Line, Source, Taker};
use crate::wait_list::{By, Party, Ticket};

/// A waker for which a thread can wait.
#[derive(Default)]
struct Woken(Unparker);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As `Gate`, without an end, and with pools that have made nothing.
#[derive(Default)]
struct Gate;

impl Source for Gate {
    type Fast = Ledger;
    type Want = Cost;
    type Grant = ();
    type Refusal = ();

    const KIND: &'static str = "admission";

    fn refusal(&self, _: &Ledger, _: Cost) -> Option<()> {
        None
    }

    fn set_aside(&mut self, ledger: &Ledger, cost: Cost) -> bool {
        if ledger.try_take(&cost, Way::InLine) {
            return true;
        }
        ledger.set_queued(true);
        ledger.trim(|_| 0);
        ledger.try_take(&cost, Way::InLine)
    }

    fn put_back(&mut self, ledger: &Ledger, cost: Cost) {
        let _is_queued = ledger.give(&cost);
    }

    fn take(&mut self, _: &Ledger, _: Cost, _: Taker, _: u64) {}

    fn row_is_empty(&mut self, ledger: &Ledger) {
        if ledger.is_queued() {
            ledger.set_queued(false);
        }
    }

    fn renew(&mut self, ledger: &Ledger) {
        ledger.clear();
    }
}

struct Admission {
    line: Line<Gate>,
    limit: u64,
    /// What those have who were admitted, which nothing but the ledger bounds.
    out: AtomicU64,
}

/// Of one lane with this budget.
fn lane(bytes: u64) -> Cost {
    Cost { bytes, things: [(LANES, 1), (LANES, 0), (LANES, 0), (LANES, 0)] }
}

impl Admission {
    fn new(limit: u64) -> Arc<Admission> {
        let line = Line::<Gate>::default();
        line.fast().begin(limit);
        Arc::new(Admission { line, limit, out: AtomicU64::new(0) })
    }

    fn holds(&self, cost: &Cost) {
        let out = self.out.fetch_add(cost.total(), Relaxed) + cost.total();
        assert!(out <= self.limit, "more is out than there is");
    }

    /// As `Admission::try_admit`.
    fn try_admit(&self, cost: Cost) -> bool {
        let admitted = self.line.fast().try_take(&cost, Way::Free) || self.try_in_line(cost);
        if admitted {
            self.holds(&cost);
        }
        admitted
    }

    /// As `Admission::try_in_line`.
    fn try_in_line(&self, cost: Cost) -> bool {
        if self.line.fast().is_queued_after_all() {
            self.offer();
        }
        matches!(self.line.try_take(cost, Taker { by: By::Foreign, place: Location::caller() }), Some(Ok(())))
    }

    fn offer(&self) {
        self.line.change(|_, _| ());
    }

    /// As `SpawnWhenAdmitted`, until it is admitted. `gives_up` after it was polled so often.
    fn wait(&self, cost: Cost, gives_up: Option<u32>) -> bool {
        let by = By::Lane(Id::new(1, Namespace::new(1).expect("it is not 0"), NonZeroU16::MIN));
        let (woken, mut ticket) = (Arc::<Woken>::default(), None::<Ticket>);
        let mut polls = 0;
        loop {
            let party = Party { by, waker: Waker::from(woken.clone()), also: None, place: Location::caller() };
            if let Poll::Ready(Ok(())) = self.line.poll(&mut ticket, cost, party) {
                self.holds(&cost);
                return true;
            }
            polls += 1;
            if gives_up == Some(polls) {
                if let Some(ticket) = ticket {
                    self.line.leave(ticket);
                }
                return false;
            }
            woken.0.wait();
        }
    }

    /// As `Reserved::end`.
    fn ends(&self, cost: &Cost, left: u64) {
        self.out.fetch_sub(cost.total() - left, Relaxed);
        if self.line.fast().settle(cost, left) {
            self.offer();
        }
    }

    /// As `Admission::credit`, and the look that follows.
    fn credit(&self, left: u64) {
        self.out.fetch_sub(left, Relaxed);
        let waits = self.line.fast().credit(left);
        self.line.fast().note_freed(left);
        if waits {
            self.offer();
        }
    }

    fn is_settled(&self) {
        assert!(self.line.fast().is_settled() && self.out.load(Relaxed) == 0);
        assert!(!self.line.fast().is_queued(), "nobody waits");
    }
}

#[test]
fn whoever_waits_is_admitted_when_the_dead_make_room() {
    explore(|| {
        let admission = Admission::new(2 * LANE + 10);
        let (one, two) = (lane(10), lane(5));
        assert!(admission.try_admit(one));
        let waiter = {
            let admission = admission.clone();
            thread::spawn(move || {
                assert!(admission.wait(two, None));
                admission.ends(&two, 0);
            })
        };
        let dead = {
            let admission = admission.clone();
            thread::spawn(move || admission.ends(&one, 4))
        };
        dead.join().unwrap();
        admission.credit(4);
        waiter.join().unwrap();
        admission.is_settled();
    });
}

#[test]
fn one_who_tries_and_is_refused_keeps_nobody_waiting() {
    explore(|| {
        let admission = Admission::new(2 * LANE);
        let (large, small) = (lane(LANE), lane(1));
        let waiter = {
            let admission = admission.clone();
            thread::spawn(move || {
                assert!(admission.wait(large, None));
                admission.ends(&large, 0);
            })
        };
        if admission.try_admit(small) {
            admission.ends(&small, 0);
        }
        waiter.join().unwrap();
        admission.is_settled();
    });
}

#[test]
fn one_who_leaves_the_line_lets_the_next_one_in() {
    explore(|| {
        let admission = Admission::new(2 * LANE);
        let (large, small) = (lane(LANE), lane(1));
        assert!(admission.try_admit(small));
        let leaver = {
            let admission = admission.clone();
            thread::spawn(move || {
                if admission.wait(large, Some(1)) {
                    admission.ends(&large, 0);
                }
            })
        };
        let waiter = {
            let admission = admission.clone();
            thread::spawn(move || {
                assert!(admission.wait(lane(2), None));
                admission.ends(&lane(2), 0);
            })
        };
        admission.ends(&small, 0);
        leaver.join().unwrap();
        waiter.join().unwrap();
        admission.is_settled();
    });
}

#[test]
fn what_is_trimmed_off_a_shelf_is_taken_once() {
    explore(|| {
        let admission = Admission::new(3 * LANE);
        let (short, long) = (lane(0), lane(2 * LANE - 1));
        assert!(admission.try_admit(short));
        let other = {
            let admission = admission.clone();
            thread::spawn(move || {
                if admission.try_admit(short) {
                    admission.ends(&short, 0);
                }
            })
        };
        admission.line.fast().trim(|_| 0);
        let admitted = admission.try_admit(long);
        other.join().unwrap();
        admission.ends(&short, 0);
        if admitted {
            admission.ends(&long, 0);
        }
        admission.line.fast().trim(|_| 0);
        assert_eq!(admission.line.fast().reserved(), 0);
        admission.is_settled();
    });
}

/// One is refused after he has held, for a moment, things that nobody had to ask bytes for; who comes next is not kept waiting.
#[test]
fn one_who_holds_things_alone_for_a_moment_keeps_nobody_waiting() {
    explore(|| {
        let admission = Admission::new(2 * LANE - 1);
        let (large, small) = (lane(LANE), lane(1));
        let waiter = {
            let admission = admission.clone();
            thread::spawn(move || {
                assert!(admission.wait(small, None));
                admission.ends(&small, 0);
            })
        };
        if admission.try_admit(large) {
            admission.ends(&large, 0);
        }
        waiter.join().unwrap();
        admission.is_settled();
    });
}
