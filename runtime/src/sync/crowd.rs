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
