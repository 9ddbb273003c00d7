//! By what time a turn was over, for deadlines that are set without a look at the clock.
//!
//! Owns: [`Chronicle`], which the watchdog writes: how many turns each worker had given, and the time at which it looked at
//! the clock after that. Whoever notes in which turn something was done can be told later when that was, a few milliseconds
//! late at most while the watchdog gets its processor, and never early. Looks at no clock.
//!
//! # Invariants
//! 1. What a row says of a turn stays true: its time only grows, and is written before a count that grows.
//! 2. The rows after the newest one, once round, are older than that one, the nearer the older.
//!
//! Model: `model/chronicle.rs`.

use crate::env::Instant;
use crate::shim::{AtomicU64, AtomicUsize, Ordering};

/// So many nanoseconds a row is written again before the next one is begun.
const SPAN: u64 = 16_000_000;
const ROWS: usize = 512;
/// The longest time between two looks of a watchdog whose chronicle is of use.
const LONGEST_PERIOD: u64 = 16_000_000;

/// When turns were over.
#[derive(Debug)]
pub(crate) struct Chronicle {
    /// The time of the last look.
    seen: AtomicU64,
    /// For deadlines that are no further away, in nanoseconds: others would be asked for when their rows are gone. 0 where
    /// nobody writes.
    reach: u64,
    newest: AtomicUsize,
    rows: Box<[Row]>,
}

/// What was seen at one time.
#[derive(Debug)]
struct Row {
    at: AtomicU64,
    /// The turns that each worker had given.
    turns: Box<[AtomicU64]>,
}

impl Chronicle {
    /// For so many workers, where a watchdog looks every `period` nanoseconds.
    pub(crate) fn new(workers: usize, period: Option<u64>) -> Chronicle {
        let is_of_use = period.is_some_and(|period| period <= LONGEST_PERIOD);
        Chronicle::of_rows(if is_of_use { ROWS } else { 0 }, workers)
    }

    pub(crate) fn of_rows(rows: usize, workers: usize) -> Chronicle {
        let turns = || (0..workers).map(|_| AtomicU64::new(0)).collect();
        Chronicle {
            seen: AtomicU64::new(0),
            // What is asked late, after a look that was late, is to be there still.
            reach: rows as u64 * SPAN / 16 * 15,
            newest: AtomicUsize::new(0),
            rows: (0..rows).map(|_| Row { at: AtomicU64::new(0), turns: turns() }).collect(),
        }
    }

    /// What it takes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        let row = |row: &Row| (size_of::<Row>() + size_of_val(&*row.turns)) as u64;
        self.rows.iter().map(row).sum()
    }

    /// Whether a deadline so many nanoseconds away may be set by the turn in which it was.
    #[inline]
    pub(crate) fn reaches(&self, length: u64) -> bool {
        length <= self.reach
    }

    /// It is this time at least.
    #[inline]
    pub(crate) fn seen(&self) -> Instant {
        // ORDER: Relaxed: any time that it has been.
        Instant::from_nanos(self.seen.load(Ordering::Relaxed))
    }

    /// The workers have given so many turns, each, and then it was `now`. For one thread alone.
    pub(crate) fn note(&self, turns: impl Iterator<Item = u64>, now: Instant) {
        if self.rows.is_empty() {
            return;
        }
        #[allow(clippy::unnecessary_cast, reason = "in models it is not")]
        let now = now.as_nanos() as u64;
        self.seen.store(now, Ordering::Relaxed);
        // ORDER: Relaxed: only this thread writes here.
        let mut newest = self.newest.load(Ordering::Relaxed);
        let is_over = self.rows[newest].at.load(Ordering::Relaxed) / SPAN != now / SPAN;
        newest = if is_over { (newest + 1) % self.rows.len() } else { newest };
        let row = &self.rows[newest];
        row.at.store(now, Ordering::Relaxed);
        for (place, turns) in row.turns.iter().zip(turns) {
            // ORDER: Release: who sees the count sees the time, or a later one (invariant 1).
            place.store(turns, Ordering::Release);
        }
        // ORDER: Release: who begins here sees what was written to the rows before.
        self.newest.store(newest, Ordering::Release);
    }

    /// A time at which this worker had given so many turns, as early a one as is known; `None` where none is known.
    pub(crate) fn had_given(&self, worker: usize, turns: u64) -> Option<Instant> {
        let newest = self.newest.load(Ordering::Acquire);
        let rows = (0..self.rows.len()).map(|back| &self.rows[(newest + self.rows.len() - back) % self.rows.len()]);
        let had = |row: &&Row| row.turns.get(worker).is_some_and(|given| given.load(Ordering::Acquire) >= turns);
        let earliest = rows.take_while(had).last()?;
        Some(Instant::from_nanos(earliest.at.load(Ordering::Relaxed)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_turn_was_over_by_the_end_of_the_row_in_which_it_was_first_seen_to_be() {
        let chronicle = Chronicle::of_rows(8, 2);
        assert_eq!(chronicle.had_given(0, 1), None);
        for (time, turns) in [(33, [0, 1]), (40, [1, 1]), (47, [2, 1]), (50, [3, 1]), (70, [3, 9])] {
            chronicle.note(turns.into_iter(), at(time));
            assert_eq!(chronicle.seen(), at(time));
        }
        let given = |worker, turns| chronicle.had_given(worker, turns);
        assert_eq!([1, 2, 3, 4].map(|turns| given(0, turns)), [Some(at(47)), Some(at(47)), Some(at(50)), None]);
        assert_eq!([1, 2, 9, 10].map(|turns| given(1, turns)), [Some(at(47)), Some(at(70)), Some(at(70)), None]);
        assert_eq!(given(2, 1), None, "there is no such worker");
    }

    #[test]
    fn what_is_too_long_ago_was_over_by_the_oldest_row() {
        let chronicle = Chronicle::of_rows(4, 1);
        for turn in 1..=10 {
            chronicle.note([turn].into_iter(), at(20 * turn));
        }
        assert_eq!(
            [1, 7, 8, 10, 11].map(|turns| chronicle.had_given(0, turns)),
            [Some(at(140)), Some(at(140)), Some(at(160)), Some(at(200)), None]
        );
    }

    #[test]
    fn it_reaches_as_far_as_its_rows_do_and_nowhere_without_a_watchdog_that_looks_often() {
        let chronicle = Chronicle::new(1, Some(2_500_000));
        assert!(chronicle.reaches(7_000_000_000) && !chronicle.reaches(9_000_000_000));
        assert_eq!(chronicle.bytes(), 512 * 32);
        for period in [None, Some(50_000_000)] {
            let chronicle = Chronicle::new(1, period);
            assert!(!chronicle.reaches(1));
            chronicle.note([1].into_iter(), at(1));
            assert_eq!(chronicle.had_given(0, 1), None);
        }
    }
}
