//! When a worker looks at what comes from outside: how many turns there are between two looks.
//!
//! Owns: [`Rounds`], what the main loop keeps between its rounds. Looks at no clock: `now` is passed in.

use std::time::Duration;

use super::crew::Naps;
use super::neighbour::Neighbour;
use crate::env::Instant;

/// Turns between two looks at what comes from outside (injected lanes, I/O, timers) where turns are short. Where so many
/// take longer than [`TIMERS_WITHIN`], the looks come closer. An odd number, so that where two lanes take turns, each is
/// met by every other look.
pub(super) const LOOK_OUTSIDE_EVERY: u32 = 61;
/// Time between two looks at injected lanes and timers, as far as single turns allow.
pub(super) const TIMERS_WITHIN: Duration = Duration::from_micros(250);
/// The same for I/O, where a look costs a system call.
const IO_WITHIN: Duration = Duration::from_millis(1);

/// What the main loop keeps between its rounds.
pub(super) struct Rounds {
    /// The number of the turn before which a look outside is due.
    pub(super) look_at: u64,
    /// Turns between the last look and the next.
    pub(super) look_every: u32,
    pub(super) looked_at: Instant,
    /// Turns until the next look at I/O, and when the last one was.
    pub(super) until_io: u32,
    pub(super) io_at: Instant,
    pub(super) from_next: u32,
    pub(super) searching: bool,
    pub(super) naps: Naps,
    pub(super) neighbour: Neighbour,
}

impl Rounds {
    /// For a worker that is about to give the turn `next`.
    pub(super) fn new(now: Instant, next: u64) -> Rounds {
        let look_every = LOOK_OUTSIDE_EVERY;
        let until_io = LOOK_OUTSIDE_EVERY;
        Rounds {
            look_at: next + u64::from(look_every) - 1,
            look_every,
            looked_at: now,
            until_io,
            io_at: now,
            from_next: 0,
            searching: false,
            naps: Naps::default(),
            neighbour: Neighbour::default(),
        }
    }

    /// A look outside before the turn `next`: whether at I/O, too.
    pub(super) fn note_look(&mut self, now: Instant, next: u64) -> bool {
        let since = now - std::mem::replace(&mut self.looked_at, now);
        self.until_io = self.until_io.saturating_sub(self.look_every);
        if since > TIMERS_WITHIN {
            self.look_every = (self.look_every / 2).max(1);
        } else if since < TIMERS_WITHIN / 3 {
            self.look_every = (self.look_every * 2).min(LOOK_OUTSIDE_EVERY);
        }
        self.look_at = next + u64::from(self.look_every);
        let looks_at_io = self.until_io == 0 || now - self.io_at >= IO_WITHIN;
        if looks_at_io {
            self.until_io = LOOK_OUTSIDE_EVERY;
            self.io_at = now;
        }
        looks_at_io
    }
}
