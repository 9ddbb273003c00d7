//! Those who wait for a number to be passed: all of them are let through at once.
//!
//! Owns: [`Count`], the number, as the source of a line. What it counts is its user's: messages, versions, rounds.
//!
//! A line offers in order, and stops at the first whose want is not there; here one who comes later may have seen less, as
//! he looked before the number rose. So nothing is offered: whoever has seen less than there is gets a *refusal* of his
//! place, at once or when he is polled, and a rise wakes all who have one.
//!
//! # Invariants
//! 1. The number never falls while its line has an owner. So what was once passed stays passed.

use std::panic::Location;
use std::task::{Context, Poll};

use super::pool::{Pool, Pooled};
use super::seat::Seat;
use crate::wait_list::By;
use crate::wait_list::line::{Line, Source, Taker};

/// A number that rises. Whoever has seen less than it goes on.
#[derive(Debug, Default)]
pub(crate) struct Count(u64);

/// There is more than he had seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed;

impl Source for Count {
    type Fast = ();
    type Want = u64;
    type Grant = ();
    type Refusal = Passed;

    const KIND: &'static str = "news";

    fn refusal(&self, (): &(), seen: u64) -> Option<Passed> {
        (seen < self.0).then_some(Passed)
    }

    fn set_aside(&mut self, (): &(), _: u64) -> bool {
        false
    }

    fn put_back(&mut self, (): &(), _: u64) {}

    fn take(&mut self, (): &(), _: u64, _: Taker, _: u64) {}

    fn renew(&mut self, (): &()) {
        self.0 = 0;
    }
}

/// Raises the number, and wakes all who had seen less.
pub(crate) fn raise(line: &Line<Count>, to: u64) {
    line.close(|count, ()| count.0 = count.0.max(to));
}

/// One who waits until more than `seen` is there.
pub(crate) fn poll_passed(
    seat: &mut Seat<Count>,
    cx: &Context<'_>,
    seen: u64,
    place: &'static Location<'static>,
) -> Poll<()> {
    seat.poll(cx, seen, place).map(|(Ok(()) | Err(Passed))| ())
}

/// The lasting part of a channel whose messages go to all.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// What was sent; all there is once the last sender is gone.
    pub(crate) news: Line<Count>,
    /// How often the last receiver went.
    pub(crate) desertions: Line<Count>,
}

static POOL: Pool<Doors> = Pool::new();

impl Pooled for Doors {
    fn pool() -> &'static Pool<Doors> {
        &POOL
    }

    fn renew(&'static self) {
        self.news.renew();
        self.desertions.renew();
    }

    fn had_by(&self, by: By) -> (usize, usize) {
        (0, self.news.waiting_by(by) + self.desertions.waiting_by(by))
    }
}
