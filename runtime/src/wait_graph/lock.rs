//! Who is in the way of a lane that waits; and a lock as the wait graph sees it, which says that of its line.
//!
//! Owns: [`Obstacle`], [`Awaited`], what a lock says of itself, and [`Face`], by which a record names it. Knows nothing of
//! searches.
//!
//! A lane may have several in its way, as a writer all who read. Each of them is in its way for certain, or is told of as
//! one of whom nothing can be said: the lane does not go on before *all* have done what is awaited of them. So it is enough
//! for a circle that one of them waits for the lane.
//!
//! Permits of a semaphore are of the other kind: *any* that come back will do. A claim over them would have to know all who
//! can give one, and these are not only the holders: whoever has a reference to the semaphore may add permits, from a lane,
//! a thread or a timer, and nobody knows who has one. So holders of permits are told of, for people, and never for certain.

use std::panic::Location;
use std::sync::OnceLock;

use super::note::UNKNOWN;
use crate::id::Id;
use crate::wait_list::line::Taker;
use crate::wait_list::{InRow, Ticket};

/// One who is in the way of a lane that waits: it does not go on before he has done something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obstacle {
    /// The lane; `None` for somebody outside of lanes.
    pub(crate) lane: Option<Id>,
    pub(crate) way: Way,
}

/// In which way somebody is in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// What is awaited only he himself can do.
    Himself,
    /// He has what is awaited, and got it when he had [handed out](super::note::handed_out_by) so much: while that is all, it
    /// is in his hands. Of a lock, where he took it.
    Has { handed_out: u32, since: Option<&'static Location<'static>> },
    /// He stands in line for the same, in a seat before the lane's, which he asked for there.
    IsFirst { seat: Ticket, since: &'static Location<'static> },
}

impl Obstacle {
    /// One who has a lock.
    pub(crate) fn holder(lane: Option<Id>, taken_at: &'static Location<'static>, handed_out: u32) -> Obstacle {
        Obstacle { lane, way: Way::Has { handed_out, since: Some(taken_at) } }
    }

    /// One who has some of what anybody may give.
    pub(crate) fn one_of_many(taker: Taker) -> Obstacle {
        Obstacle::holder(taker.by.lane(), taker.place, UNKNOWN)
    }

    /// One who stands before others.
    pub(crate) fn first<W>(seat: &InRow<W>) -> Obstacle {
        Obstacle { lane: seat.by.lane(), way: Way::IsFirst { seat: seat.ticket, since: seat.place } }
    }
}

/// A lock, or whatever else has a line.
pub(crate) trait Awaited: Sync {
    /// Tells of those who are in the way of whoever has this seat in the line. Of none where it is on its way to him.
    ///
    /// `tell` may be called with the line locked: it does no more than to look at atomic words and to note.
    fn in_the_way(&self, seat: Ticket, tell: &mut dyn FnMut(Obstacle));
}

/// A lock of any kind, in one word for whoever knows where it is.
#[derive(Default)]
pub(crate) struct Face(OnceLock<&'static dyn Awaited>);

impl Face {
    /// That of this lock, which it lies in.
    pub(crate) fn of(&'static self, lock: &'static dyn Awaited) -> &'static Face {
        self.0.get_or_init(|| lock);
        self
    }

    /// Tells of those who are in the way of whoever has this seat.
    pub(crate) fn in_the_way(&self, seat: Ticket, tell: &mut dyn FnMut(Obstacle)) {
        if let Some(lock) = self.0.get() {
            lock.in_the_way(seat, tell);
        }
    }
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Face")
    }
}
