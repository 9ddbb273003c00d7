//! Descriptors given to other lanes: theirs for good, or one of their own on the same thing.
//!
//! Owns: nothing. Knows both sides, the table of descriptors and the mailbox of the lane that is given something.
//!
//! # Invariants
//! 1. A lane's death looks for descriptors where the lane itself took one, or where a signal `Given` is in its
//!    mailbox, be it read or not. So the signal is sent first, and where it is refused nothing was given.
//! 2. Whoever gives looks, after he has, whether the mailbox is closed by then, and if so releases in the place of the
//!    death. If the death looked before the descriptor was there, it had closed the mailbox before that, and the giver
//!    sees it: the lock of the table's index is between the two. Model: `what_is_given_to_a_lane_that_dies_meanwhile_is_closed_once_or_was_not_given`.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::watch;
use crate::context;
use crate::env::{Descriptor, Descriptors};
use crate::exit::ExitReason;
use crate::id::{Id, StaleId};
use crate::lane::own::DOOMED;
use crate::slot::{self, slot_of};

/// Why a descriptor was not given. It is as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum GiveError {
    /// The lane that was to get it is gone.
    NoLane(StaleId),
    /// The lane that was to get it is of another runtime, or of another node.
    Elsewhere(Id),
    /// The descriptor itself is closed.
    Closed(StaleId),
    /// There is no room for one more.
    NoRoom(io::Error),
}

impl fmt::Display for GiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GiveError::NoLane(_) => f.write_str("the lane that was to get the descriptor is gone"),
            GiveError::Elsewhere(id) => write!(f, "{id} is no lane of the runtime that the descriptor is of"),
            GiveError::Closed(_) => f.write_str("the descriptor is closed"),
            GiveError::NoRoom(_) => f.write_str("there is no room for another descriptor"),
        }
    }
}

impl std::error::Error for GiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GiveError::NoLane(stale) | GiveError::Closed(stale) => Some(stale),
            GiveError::Elsewhere(_) => None,
            GiveError::NoRoom(error) => Some(error),
        }
    }
}

impl From<GiveError> for io::Error {
    fn from(error: GiveError) -> io::Error {
        let kind = match &error {
            GiveError::NoLane(_) => io::ErrorKind::NotFound,
            GiveError::Elsewhere(_) => io::ErrorKind::InvalidInput,
            GiveError::Closed(_) => io::ErrorKind::NotConnected,
            GiveError::NoRoom(_) => io::ErrorKind::OutOfMemory,
        };
        io::Error::new(kind, error)
    }
}

/// Makes a lane the owner of a descriptor, which its death closes from now on. Dropping `descriptor` closes nothing any more;
/// who waits on it goes on waiting.
///
/// # Errors
/// [`GiveError`].
pub fn transfer(descriptor: &mut Descriptor, to: Id) -> Result<(), GiveError> {
    let table = descriptor.table().clone();
    prepare(&table, to)?;
    table.transfer(descriptor.id(), to).map_err(GiveError::Closed)?;
    descriptor.leave_open();
    see_to_death(&table, to);
    Ok(())
}

/// Gives a lane a descriptor of its own on the same thing, which closes with the last of its descriptors.
///
/// # Errors
/// [`GiveError`].
pub fn dup(descriptor: &Descriptor, to: Id) -> Result<Id, GiveError> {
    let table = descriptor.table();
    prepare(table, to)?;
    let made =
        descriptor.dup(Some(to)).map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(stale) => GiveError::Closed(*stale),
            None => GiveError::NoRoom(error),
        })?;
    let id = made.into_id();
    see_to_death(table, to);
    Ok(id)
}

/// Has the lane's death look for descriptors (invariant 1).
fn prepare(table: &Arc<Descriptors>, to: Id) -> Result<(), GiveError> {
    let scheduler = slot_of(to).and_then(|slot| slot.table()).and_then(|lanes| lanes.scheduler());
    match scheduler {
        Some(scheduler) if Arc::ptr_eq(&scheduler.descriptors, table) => {}
        // Its slot is gone for good, or its runtime.
        None if slot::table_of(to.namespace()).is_some() => return Err(GiveError::NoLane(StaleId(to))),
        _ => return Err(GiveError::Elsewhere(to)),
    }
    if watch::send_given(to) { Ok(()) } else { Err(GiveError::NoLane(StaleId(to))) }
}

/// Releases what was given to a lane whose death may have looked before (invariant 2).
fn see_to_death(table: &Descriptors, to: Id) {
    if slot::is_past(to) {
        table.release_owner(to);
    }
}

/// For [`Descriptor::on_stale`]: ends the lane that uses a descriptor which is gone, once its present poll is over, with
/// [`ExitReason::Error`] and the words of the [`StaleId`]. Traps do not hold it. Outside of lanes there is nobody to end.
pub fn die_of_stale(stale: StaleId) -> bool {
    context::with_current(|_, _, own| {
        own.flags |= DOOMED;
        own.more().doomed.get_or_insert_with(|| ExitReason::error(stale));
    })
    .is_some()
}

#[cfg(test)]
mod tests;
