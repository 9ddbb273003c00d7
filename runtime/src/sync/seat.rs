//! The place of a future in a line, as the future keeps it: noted with the lane that polls it, left when it is dropped.
//!
//! Owns: [`Seat`]. Every green lock's future has one.

use std::fmt;
use std::panic::Location;
use std::task::{Context, Poll};

use crate::lane::index;
use crate::lane::waker::keep;
use crate::wait_graph::Awaits;
use crate::wait_graph::lock::Face;
use crate::wait_graph::note::parks_otherwise;
use crate::wait_graph::record::Wait;
use crate::wait_list::line::{Line, Source, Taker, Waits};
use crate::wait_list::{By, Party, Ticket};

/// A place in a line, or none yet.
pub(crate) struct Seat<S: Source + 'static>
where
    Line<S>: Waits,
{
    line: &'static Line<S>,
    ticket: Option<Ticket>,
    noted: Option<Noted>,
}

/// With whom the place is noted, and where in his index.
#[derive(Clone, Copy)]
struct Noted {
    by: By,
    ticket: Ticket,
    at: u32,
}

impl<S: Source> Seat<S>
where
    Line<S>: Waits,
{
    pub(crate) fn new(line: &'static Line<S>) -> Seat<S> {
        Seat { line, ticket: None, noted: None }
    }

    /// As [`Seat::poll_parking`], for a lock of which it is not known who would have to give back what.
    pub(crate) fn poll(
        &mut self,
        cx: &Context<'_>,
        want: S::Want,
        place: &'static Location<'static>,
    ) -> Poll<Result<S::Grant, S::Refusal>> {
        let polled = self.poll_parking(cx, want, place);
        if polled.is_pending() {
            parks_otherwise();
        }
        polled
    }

    /// Waits for what is wanted. Whoever polls it with another waker, or in another lane, has the place from then on, and
    /// notes what he parks in.
    pub(crate) fn poll_parking(
        &mut self,
        cx: &Context<'_>,
        want: S::Want,
        place: &'static Location<'static>,
    ) -> Poll<Result<S::Grant, S::Refusal>> {
        if self.ticket.is_some()
            && self.line.has_offers()
            && let Some(granted) = self.line.take_offer(&mut self.ticket, want, Taker { by: index::who_runs(), place })
        {
            self.forget();
            return Poll::Ready(Ok(granted));
        }
        let (by, also) = index::who(cx);
        let before = self.ticket;
        let polled = self.line.poll(&mut self.ticket, want, Party { by, waker: keep(cx.waker()), also, place });
        match (self.ticket, self.noted) {
            (Some(ticket), Some(noted)) if noted.by == by && noted.ticket == ticket => {
                index::note_polled(noted.at, self.line, ticket);
            }
            (ticket, _) => {
                self.forget();
                if let Some(ticket) = ticket
                    && by != By::Foreign
                {
                    let at = index::note_wait(by, self.line, ticket, before == Some(ticket));
                    self.noted = Some(Noted { by, ticket, at });
                }
            }
        }
        polled
    }

    /// What the lane that polls it waits for by it, where it has a place.
    pub(crate) fn wait(&self, awaits: Awaits, lock: &'static Face, place: &'static Location<'static>) -> Option<Wait> {
        self.ticket.map(|ticket| Wait::in_line(awaits, lock, ticket, place))
    }

    /// Whether it has been in the line.
    pub(crate) fn has_waited(&self) -> bool {
        self.ticket.is_some()
    }

    fn forget(&mut self) {
        if let Some(noted) = self.noted.take() {
            // Where it is another's, that one finds out by himself.
            index::forget_wait(noted.at, self.line, noted.ticket);
        }
    }
}

impl<S: Source> Drop for Seat<S>
where
    Line<S>: Waits,
{
    fn drop(&mut self) {
        self.forget();
        if let Some(ticket) = self.ticket.take() {
            self.line.leave(ticket);
        }
    }
}

impl<S: Source> fmt::Debug for Seat<S>
where
    Line<S>: Waits,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
