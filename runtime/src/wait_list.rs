//! First come, first served: who waits for one thing, in order, and to whom it is offered.
//!
//! Owns: [`WaitList`], the seats of those who wait. Knows nothing of what they wait for, nor of lanes. [`line`](mod@line)
//! puts it, with the thing itself, behind a lock: that is what green locks and their kin use.
//!
//! What becomes free is not given but *offered* to the first in the row, who is woken. He takes it when he is polled. A
//! lane that ends a turn without having polled the future that it was offered to may never poll it again, while it waits
//! for the same thing by another: so the offer goes on to the next, and the one passed over dozes.
//!
//! | seat | in the row | what is set aside for it | becomes |
//! | --- | --- | --- | --- |
//! | waiting | yes | nothing | offered, by its turn; dozing, where all are woken |
//! | offered | no | what it wants | gone with what it wants, when polled; dozing, when passed over |
//! | dozing | no | nothing | waiting, at its old place, when polled |
//!
//! # Invariants
//! 1. The row holds the waiting seats and no others, in the order of their numbers. Numbers rise, and none is used twice.
//! 2. A waker comes in as a value and goes out as one: none is cloned, woken or dropped here, as here is under a lock.
//! 3. A seat that is offered has no waker left, as it was woken; nor has one that dozes.

use std::panic::Location;
use std::task::Waker;

use crate::id::Id;
use crate::panic::contain;
use crate::shim::{is_a_lanes, wake_lane};
use crate::slab::Slab;

pub(crate) mod line;

const NONE: u32 = u32::MAX;

/// Names a seat, or what was taken from a line, for ever: nothing else of the same line has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Where to look.
    pub(crate) at: u32,
    pub(crate) number: u64,
}

/// Whose turns are watched for what was offered and not polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Lane(Id),
    /// A thread in `block_on`, by its number.
    Root(u64),
    /// An executor that tells us nothing of its turns: what is offered to it waits for it.
    Foreign,
}

impl By {
    /// The lane, where it is one.
    pub(crate) fn lane(self) -> Option<Id> {
        match self {
            By::Lane(id) => Some(id),
            By::Root(_) | By::Foreign => None,
        }
    }
}

/// One who polls.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) by: By,
    /// Wakes the future.
    pub(crate) waker: Waker,
    /// Wakes the lane or thread that polls, where `waker` may wake only a part of it: it is to have a turn, at whose end it
    /// is seen that the future was not polled.
    pub(crate) also: Option<Waker>,
    pub(crate) place: &'static Location<'static>,
}

/// One seat.
struct Seat<W> {
    number: u64,
    want: W,
    party: Seated,
    state: State,
    /// Neighbours in the row.
    before: u32,
    after: u32,
}

#[derive(Debug)]
struct Seated {
    by: By,
    place: &'static Location<'static>,
    wakers: Wakers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Offered,
    Dozing,
}

/// The wakers of a seat, on their way in or out.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Option<Waker>, Option<Waker>);

/// What becomes of a seat that is polled.
#[must_use]
pub(crate) enum Looked<W> {
    /// It had an offer; it is gone, and what it wants is its owner's.
    Taken(W, Wakers),
    /// It waits; its last wakers.
    Waiting(Wakers),
    /// It had dozed, and waits again.
    Woken,
    /// There is no such seat: its lane has died, or its thread has left.
    Gone(Party),
}

/// A seat that was left.
#[must_use]
pub(crate) struct Left<W> {
    /// What was set aside for it.
    pub(crate) offered: Option<W>,
    pub(crate) wakers: Wakers,
}

/// Who is next in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nobody,
    /// One, and nobody behind him.
    Last,
    /// One of several.
    First,
}

/// One who waits, as others are told of him.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) by: By,
    pub(crate) place: &'static Location<'static>,
}

/// One who waits in the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InRow<W> {
    pub(crate) ticket: Ticket,
    pub(crate) want: W,
    pub(crate) by: By,
    pub(crate) place: &'static Location<'static>,
}

/// Who waits for one thing, in order.
pub(crate) struct WaitList<W> {
    seats: Slab<Seat<W>>,
    first: u32,
    last: u32,
    next_number: u64,
    offers: u32,
}

impl<W> Default for WaitList<W> {
    fn default() -> WaitList<W> {
        WaitList { seats: Slab::default(), first: NONE, last: NONE, next_number: 0, offers: 0 }
    }
}

impl<W: Copy> WaitList<W> {
    /// A number that nothing of this list has, had or will have.
    pub(crate) fn fresh_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Whether nobody waits, those aside who doze or were made an offer.
    #[inline]
    pub(crate) fn row_is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Who is next in the row.
    pub(crate) fn next(&self) -> Next {
        match self.first {
            NONE => Next::Nobody,
            first if first == self.last => Next::Last,
            _ => Next::First,
        }
    }

    /// Offers that stand.
    #[inline]
    pub(crate) fn offers(&self) -> u32 {
        self.offers
    }

    /// All who have a seat.
    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// How many seats are his.
    pub(crate) fn waiting_by(&self, by: By) -> usize {
        self.seats.iter().filter(|(_, seat)| seat.party.by == by).count()
    }

    /// All who have a seat, in order.
    pub(crate) fn waiters(&self) -> Vec<Waiter> {
        let mut seats: Vec<&Seat<W>> = self.seats.iter().map(|(_, seat)| seat).collect();
        seats.sort_unstable_by_key(|seat| seat.number);
        seats.iter().map(|seat| Waiter { by: seat.party.by, place: seat.party.place }).collect()
    }

    /// What the one in a seat wants, and those before him in the row, from the first on; `None` where he is not in the row.
    pub(crate) fn before(&self, ticket: Ticket) -> Option<(W, impl Iterator<Item = InRow<W>>)> {
        let is_meant = |seat: &&Seat<W>| seat.number == ticket.number && seat.state == State::Waiting;
        let want = self.seats.at(ticket.at).filter(is_meant)?.want;
        let mut next = self.first;
        let before = std::iter::from_fn(move || {
            let at = next;
            let seat = self.seats.at(at).filter(|seat| seat.number != ticket.number)?;
            next = seat.after;
            let ticket = Ticket { at, number: seat.number };
            Some(InRow { ticket, want: seat.want, by: seat.party.by, place: seat.party.place })
        });
        Some((want, before))
    }

    /// Takes the last place in the row.
    pub(crate) fn enqueue(&mut self, want: W, party: Party) -> Ticket {
        let number = self.fresh_number();
        let (before, after) = (self.last, NONE);
        let at = self.seats.insert(Seat { number, want, party: party.into(), state: State::Waiting, before, after });
        match self.seats.at_mut(before) {
            Some(before) => before.after = at,
            None => self.first = at,
        }
        self.last = at;
        Ticket { at, number }
    }

    /// The future of a seat is polled.
    pub(crate) fn poll(&mut self, ticket: Ticket, party: Party) -> Looked<W> {
        let Some(seat) = self.seat(ticket) else { return Looked::Gone(party) };
        match seat.state {
            State::Offered => match self.take_up(ticket) {
                Some(want) => Looked::Taken(want, party.into_wakers()),
                None => Looked::Gone(party),
            },
            State::Waiting => Looked::Waiting(std::mem::replace(&mut seat.party, party.into()).wakers),
            State::Dozing => {
                // Invariant 3: of its last wakers none is left.
                seat.party = party.into();
                seat.state = State::Waiting;
                // Where it was: behind the last that came before it. It is older than all others, as a rule, or, where all
                // were woken, younger.
                let is_youngest = self.seats.at(self.last).is_some_and(|last| last.number < ticket.number);
                let (mut before, mut after) = if is_youngest { (self.last, NONE) } else { (NONE, self.first) };
                while let Some(other) = self.seats.at(after)
                    && other.number < ticket.number
                {
                    (before, after) = (after, other.after);
                }
                if let Some(seat) = self.seats.at_mut(ticket.at) {
                    (seat.before, seat.after) = (before, after);
                }
                self.link(ticket.at);
                Looked::Woken
            }
        }
    }

    /// Offers, from the first on, to all for whom `set_aside` has what they want, until it has not. Their wakers go to
    /// `wakes`; those of `own`, who is being polled, are not needed.
    pub(crate) fn offer(&mut self, own: Option<Ticket>, mut set_aside: impl FnMut(W) -> bool, wakes: &mut Wakes) {
        while let Some(seat) = self.seats.at_mut(self.first) {
            if !set_aside(seat.want) {
                return;
            }
            seat.state = State::Offered;
            let wakers = std::mem::take(&mut seat.party.wakers);
            if own.is_some_and(|own| own.number == seat.number) {
                wakes.drop(wakers);
            } else {
                wakes.wake(wakers);
            }
            self.offers += 1;
            self.unlink(self.first);
        }
    }

    /// Makes the first an offer, whatever he wants, if there is one.
    pub(crate) fn offer_first(&mut self, wakes: &mut Wakes) {
        let Some(seat) = self.seats.at_mut(self.first) else { return };
        seat.state = State::Offered;
        wakes.wake(std::mem::take(&mut seat.party.wakers));
        self.offers += 1;
        self.first = seat.after;
        match self.seats.at_mut(self.first) {
            Some(next) => next.before = NONE,
            None => self.last = NONE,
        }
    }

    /// Takes up an offer, where there is one.
    pub(crate) fn take_up(&mut self, ticket: Ticket) -> Option<W> {
        let is_offered = |seat: &Seat<W>| seat.number == ticket.number && seat.state == State::Offered;
        // Invariant 3: it has no waker left.
        let seat = self.seats.remove_if(ticket.at, is_offered)?;
        self.offers -= 1;
        Some(seat.want)
    }

    /// A turn of `by` is over in which the seat was not polled. `None` where it is not, or no longer, his; else what
    /// was set aside for him, if anything was, and is now for others.
    pub(crate) fn pass_over(&mut self, ticket: Ticket, by: By) -> Option<Option<W>> {
        let seat = self.seat(ticket).filter(|seat| seat.party.by == by)?;
        if seat.state != State::Offered {
            return Some(None);
        }
        seat.state = State::Dozing;
        let want = seat.want;
        self.offers -= 1;
        Some(Some(want))
    }

    /// Whether the seat is there and `by`'s.
    pub(crate) fn is_seat_of(&self, ticket: Ticket, by: By) -> bool {
        self.seats.at(ticket.at).is_some_and(|seat| seat.number == ticket.number && seat.party.by == by)
    }

    /// Where the one asked whose seat it is.
    pub(crate) fn place_of(&self, ticket: Ticket, by: By) -> Option<&'static Location<'static>> {
        let seat = self.seats.at(ticket.at).filter(|seat| seat.number == ticket.number && seat.party.by == by)?;
        Some(seat.party.place)
    }

    /// Wakes the future of a seat that its lane or thread will not look at any more. What would only wake that one, which is
    /// gone, is not woken, but for a thread, which may go on with an outer call.
    pub(crate) fn wake_left(&mut self, ticket: Ticket, wakes: &mut Wakes) {
        if let Some(seat) = self.seat(ticket)
            && (seat.party.wakers.1.is_some() || !matches!(seat.party.by, By::Lane(_)))
        {
            wakes.wake(Wakers(seat.party.wakers.0.take(), None));
        }
    }

    /// Gives the seat up, whatever it had.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Left<W>> {
        let was_offered = self.seat(ticket)?.state == State::Offered;
        let (want, wakers) = self.take_out(ticket)?;
        Some(Left { offered: was_offered.then_some(want), wakers })
    }

    /// Wakes all who wait. They doze until they are polled: who does not look is in nobody's way.
    pub(crate) fn wake_all(&mut self, wakes: &mut Wakes) {
        while let Some(seat) = self.seats.at_mut(self.first) {
            seat.state = State::Dozing;
            wakes.wake(std::mem::take(&mut seat.party.wakers));
            self.unlink(self.first);
        }
    }

    /// Nobody can come back to any seat: their wakers, to be dropped.
    pub(crate) fn clear(&mut self, wakes: &mut Wakes) {
        for (_, seat) in std::mem::take(&mut self.seats).into_values() {
            wakes.drop(seat.party.wakers);
        }
        (self.first, self.last, self.offers) = (NONE, NONE, 0);
    }

    fn seat(&mut self, ticket: Ticket) -> Option<&mut Seat<W>> {
        self.seats.at_mut(ticket.at).filter(|seat| seat.number == ticket.number)
    }

    fn take_out(&mut self, ticket: Ticket) -> Option<(W, Wakers)> {
        match self.seat(ticket)?.state {
            State::Waiting => self.unlink(ticket.at),
            State::Offered => self.offers -= 1,
            State::Dozing => {}
        }
        let seat = self.seats.remove_if(ticket.at, |seat| seat.number == ticket.number)?;
        Some((seat.want, seat.party.wakers))
    }

    /// Lets the neighbours of a seat know of it.
    fn link(&mut self, at: u32) {
        let Some(&Seat { before, after, .. }) = self.seats.at(at) else { return };
        match self.seats.at_mut(before) {
            Some(before) => before.after = at,
            None => self.first = at,
        }
        match self.seats.at_mut(after) {
            Some(after) => after.before = at,
            None => self.last = at,
        }
    }

    /// Lets the neighbours of a seat know each other.
    fn unlink(&mut self, at: u32) {
        let Some(&Seat { before, after, .. }) = self.seats.at(at) else { return };
        match self.seats.at_mut(before) {
            Some(before) => before.after = after,
            None => self.first = after,
        }
        match self.seats.at_mut(after) {
            Some(after) => after.before = before,
            None => self.last = before,
        }
    }
}

impl Party {
    fn into_wakers(self) -> Wakers {
        Wakers(Some(self.waker), self.also)
    }
}

impl From<Party> for Seated {
    fn from(party: Party) -> Seated {
        let Party { by, waker, also, place } = party;
        Seated { by, place, wakers: Wakers(Some(waker), also) }
    }
}

/// Wakers that came out of a list, for when its lock is released. Dropped, it drops them unwoken.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Wakes {
    /// Most often there is one to be woken, and none to be dropped with which anything is to be done.
    first: Option<Waker>,
    dropped: Option<Waker>,
    others: Option<Box<Others>>,
}

#[derive(Debug, Default)]
struct Others {
    woken: Vec<Waker>,
    dropped: Vec<Waker>,
}

impl Wakes {
    #[inline]
    pub(crate) fn wake(&mut self, wakers: Wakers) {
        let Wakers(waker, also) = wakers;
        if let Some(also) = also {
            self.others.get_or_insert_default().woken.push(also);
        }
        match waker {
            Some(waker) if self.first.is_some() => self.others.get_or_insert_default().woken.push(waker),
            Some(waker) => self.first = Some(waker),
            None => {}
        }
    }

    #[inline]
    pub(crate) fn drop(&mut self, wakers: Wakers) {
        let Wakers(waker, also) = wakers;
        if let Some(also) = also {
            self.others.get_or_insert_default().dropped.push(also);
        }
        match waker {
            Some(waker) if is_a_lanes(&waker) => std::mem::forget(waker),
            Some(waker) if self.dropped.is_some() => self.others.get_or_insert_default().dropped.push(waker),
            waker => self.dropped = self.dropped.take().or(waker),
        }
    }

    /// Wakes them. To be called with no lock held and nothing borrowed: wakers may be anybody's code.
    #[inline(always)]
    pub(crate) fn wake_all(self) {
        let Wakes { first, dropped, others } = self;
        if let Some(waker) = first.and_then(wake_lane) {
            wake_many(vec![waker], Vec::new());
        }
        if let Some(waker) = dropped {
            wake_many(Vec::new(), vec![waker]);
        }
        if let Some(others) = others {
            let Others { woken, dropped } = *others;
            wake_many(woken, dropped);
        }
    }
}

#[cold]
#[inline(never)]
fn wake_many(woken: Vec<Waker>, dropped: Vec<Waker>) {
    for waker in woken {
        contain(|| waker.wake());
    }
    for waker in dropped {
        contain(|| drop(waker));
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
