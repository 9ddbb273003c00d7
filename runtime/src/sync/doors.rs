//! What a channel whose messages go to all has of lines, and how one waits in them.
//!
//! Owns: [`Doors`]. The numbers for which they wait are `crowd.rs`'s.

use std::panic::Location;
use std::task::{Context, Poll};

use super::crowd::{Count, Passed};
use super::pool::{Pool, Pooled};
use super::seat::Seat;
use crate::wait_list::By;
use crate::wait_list::line::Line;

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
