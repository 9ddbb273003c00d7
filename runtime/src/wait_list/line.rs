//! A wait list with what is waited for, behind one small lock.
//!
//! Owns: [`Line`], and [`Source`], what a kind of lock says of itself to have one. Knows nothing of lanes: [`Waits`] is what
//! a lane's index knows of it.
//!
//! # Invariants
//! 1. While somebody waits in the row, what he wants is not there: whatever changes that offers it to the first before it
//!    lets go of the lock. So nobody who comes later overtakes him.
//! 2. The lock is never held while a waker is cloned, woken or dropped, nor while code of users runs. What a source does
//!    under it is its own arithmetic.

use std::fmt;
use std::panic::Location;
use std::task::Poll;

use super::{By, InRow, Left, Looked, Next, Party, Ticket, WaitList, Waiter, Wakes};
use crate::shim::{AtomicU32, Mutex, Ordering};

/// What is waited for.
pub(crate) trait Source: Default {
    /// The part that is changed without the lock; `()` where there is none.
    type Fast: Default;
    /// How much of it, or in which way.
    type Want: Copy;
    /// What he has who got it.
    type Grant;
    /// Why nobody gets it any more.
    type Refusal;

    /// What it is, in a word, for those who look into what a lane waits for.
    const KIND: &'static str;

    /// Why there is no use in waiting.
    fn refusal(&self, fast: &Self::Fast, want: Self::Want) -> Option<Self::Refusal>;

    /// Sets aside what is wanted, if it is there. May note in `fast` that somebody waits where it is not.
    fn set_aside(&mut self, fast: &Self::Fast, want: Self::Want) -> bool;

    /// What was set aside is not wanted after all.
    fn put_back(&mut self, fast: &Self::Fast, want: Self::Want);

    /// What was set aside is `taker`'s from now on, under a number that no other grant of this line ever has.
    fn take(&mut self, fast: &Self::Fast, want: Self::Want, taker: Taker, number: u64) -> Self::Grant;

    /// Nobody waits in the row.
    fn row_is_empty(&mut self, fast: &Self::Fast) {
        let _ = fast;
    }

    /// Its owner is gone. Whatever was taken is void.
    fn renew(&mut self, fast: &Self::Fast);
}

/// Who takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taker {
    pub(crate) by: By,
    pub(crate) place: &'static Location<'static>,
}

/// How many are in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seats {
    /// Those who were made no offer, dozing or not.
    pub(crate) idle: usize,
    pub(crate) offered: usize,
}

impl Seats {
    pub(crate) fn are_empty(self) -> bool {
        self.idle + self.offered == 0
    }
}

/// What the index of a lane knows of a line in which the lane waits.
pub(crate) trait Waits: Sync {
    /// Whether any offer stands, to whomever.
    fn has_offers(&self) -> bool;

    /// A turn of `by` is over in which the seat was not polled: an offer passes on. False where the seat is gone, or is
    /// another's. It wakes; so nothing may be borrowed.
    fn pass_over(&self, ticket: Ticket, by: By) -> bool;

    /// `by` is gone: so is the seat. False where it was gone, or is another's. Its future may be alive, and somebody may
    /// wait for it by its waker, without having polled it: he is woken. It wakes; so nothing may be borrowed.
    fn leave_dead(&self, ticket: Ticket, by: By) -> bool;

    /// Whether the seat is there, and `by`'s.
    fn is_seat_of(&self, ticket: Ticket, by: By) -> bool;

    /// What the line is for, in a word, and where `by` asked for it, whose seat it must be.
    fn describe(&self, ticket: Ticket, by: By) -> Option<(&'static str, &'static Location<'static>)>;
}

/// A thing, and who waits for it.
pub(crate) struct Line<S: Source> {
    fast: S::Fast,
    /// Offers that stand, for a look without the lock.
    offers: AtomicU32,
    inner: Mutex<Inner<S>>,
}

struct Inner<S: Source> {
    source: S,
    list: WaitList<S::Want>,
}

impl<S: Source> Default for Line<S> {
    fn default() -> Line<S> {
        let inner = Inner { source: S::default(), list: WaitList::default() };
        Line { fast: S::Fast::default(), offers: AtomicU32::new(0), inner: Mutex::new(inner) }
    }
}

impl<S: Source> fmt::Debug for Line<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl<S: Source> Line<S> {
    /// The part that is changed without the lock.
    #[inline]
    pub(crate) fn fast(&self) -> &S::Fast {
        &self.fast
    }

    /// Takes what is wanted, unless somebody else is first: `None`.
    pub(crate) fn try_take(&self, want: S::Want, taker: Taker) -> Option<Result<S::Grant, S::Refusal>> {
        let mut inner = self.inner.lock();
        let Inner { source, list } = &mut *inner;
        if let Some(refusal) = source.refusal(&self.fast, want) {
            return Some(Err(refusal));
        }
        // Where somebody waits, what he wants is not there; what we want may be.
        if !list.row_is_empty() || !source.set_aside(&self.fast, want) {
            if list.row_is_empty() {
                source.row_is_empty(&self.fast);
            }
            return None;
        }
        let number = list.fresh_number();
        Some(Ok(source.take(&self.fast, want, taker, number)))
    }

    /// Waits for what is wanted, in the seat of `ticket`, or one that is put there.
    pub(crate) fn poll(
        &self,
        ticket: &mut Option<Ticket>,
        want: S::Want,
        party: Party,
    ) -> Poll<Result<S::Grant, S::Refusal>> {
        if ticket.is_none() {
            return self.sit_down(ticket, want, party);
        }
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let polled = self.poll_locked(&mut inner, ticket, want, party, &mut wakes);
        drop(inner);
        wakes.wake_all();
        polled
    }

    /// As [`Line::poll`], for one who has no seat.
    #[inline]
    fn sit_down(&self, ticket: &mut Option<Ticket>, want: S::Want, party: Party) -> Poll<Result<S::Grant, S::Refusal>> {
        let mut inner = self.inner.lock();
        let Inner { source, list } = &mut *inner;
        let result = if let Some(refusal) = source.refusal(&self.fast, want) {
            Err(refusal)
        } else if list.row_is_empty() && source.set_aside(&self.fast, want) {
            let number = list.fresh_number();
            Ok(source.take(&self.fast, want, Taker { by: party.by, place: party.place }, number))
        } else {
            // Where somebody waits, what he wants is not there; what we want may be, but he is first.
            *ticket = Some(list.enqueue(want, party));
            return Poll::Pending;
        };
        drop(inner);
        let mut wakes = Wakes::default();
        wakes.drop(party.into_wakers());
        wakes.wake_all();
        Poll::Ready(result)
    }

    fn poll_locked(
        &self,
        inner: &mut Inner<S>,
        place: &mut Option<Ticket>,
        want: S::Want,
        party: Party,
        wakes: &mut Wakes,
    ) -> Poll<Result<S::Grant, S::Refusal>> {
        let Inner { source, list } = inner;
        let taker = Taker { by: party.by, place: party.place };
        if let Some(refusal) = source.refusal(&self.fast, want) {
            wakes.drop(party.into_wakers());
            if let Some(ticket) = place.take() {
                self.give_up(inner, ticket, wakes);
            }
            return Poll::Ready(Err(refusal));
        }
        let looked = match *place {
            Some(ticket) => list.poll(ticket, party),
            // As of one whose seat is gone.
            None => Looked::Gone(party),
        };
        match looked {
            Looked::Taken(want, wakers) => {
                *place = None;
                wakes.drop(wakers);
                self.note_offers(list);
                let number = list.fresh_number();
                Poll::Ready(Ok(source.take(&self.fast, want, taker, number)))
            }
            Looked::Waiting(wakers) => {
                wakes.drop(wakers);
                Poll::Pending
            }
            Looked::Gone(party) => {
                // Where somebody waits, what he wants is not there; what we want may be, but he is first.
                if list.row_is_empty() && source.set_aside(&self.fast, want) {
                    *place = None;
                    wakes.drop(party.into_wakers());
                    let number = list.fresh_number();
                    return Poll::Ready(Ok(source.take(&self.fast, want, taker, number)));
                }
                *place = Some(list.enqueue(want, party));
                Poll::Pending
            }
            // It may have dozed over what came to be there.
            Looked::Woken => {
                self.settle(inner, *place, wakes);
                let Inner { source, list } = inner;
                let Some(want) = place.and_then(|ticket| list.take_up(ticket)) else { return Poll::Pending };
                *place = None;
                self.note_offers(list);
                let number = list.fresh_number();
                Poll::Ready(Ok(source.take(&self.fast, want, taker, number)))
            }
        }
    }

    /// What was offered to the seat of `ticket`, if it was; all else is left to [`Line::poll`]. It wakes nobody.
    pub(crate) fn take_offer(&self, place: &mut Option<Ticket>, want: S::Want, taker: Taker) -> Option<S::Grant> {
        let ticket = (*place)?;
        let mut inner = self.inner.lock();
        let Inner { source, list } = &mut *inner;
        if source.refusal(&self.fast, want).is_some() {
            return None;
        }
        let want = list.take_up(ticket)?;
        *place = None;
        self.note_offers(list);
        let number = list.fresh_number();
        Some(source.take(&self.fast, want, taker, number))
    }

    /// Whoever had the seat does not wait any more.
    pub(crate) fn leave(&self, ticket: Ticket) {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        self.give_up(&mut inner, ticket, &mut wakes);
        drop(inner);
        wakes.wake_all();
    }

    /// Changes the thing; what comes to be there is offered.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut S, &S::Fast) -> R) -> R {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let result = change(&mut inner.source, &self.fast);
        self.settle(&mut inner, None, &mut wakes);
        drop(inner);
        wakes.wake_all();
        result
    }

    /// Who has the whole of the thing gives it back: to the first in the row, where there is one, in one step.
    pub(crate) fn hand_over(&self, pass: impl FnOnce(&mut S, &S::Fast, Next)) {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let Inner { source, list } = &mut *inner;
        pass(source, &self.fast, list.next());
        list.offer_first(&mut wakes);
        self.note_offers(list);
        drop(inner);
        wakes.wake_all();
    }

    /// As [`Line::change`], for a change that needs to know how many are in line.
    pub(crate) fn change_for<R>(&self, change: impl FnOnce(&mut S, &S::Fast, Seats) -> R) -> R {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let Inner { source, list } = &mut *inner;
        let offered = list.offers() as usize;
        let result = change(source, &self.fast, Seats { idle: list.len() - offered, offered });
        self.settle(&mut inner, None, &mut wakes);
        drop(inner);
        wakes.wake_all();
        result
    }

    /// Changes the thing so that some or all do not get it any more, and wakes all who wait, who find that out when they are
    /// polled.
    pub(crate) fn close<R>(&self, change: impl FnOnce(&mut S, &S::Fast) -> R) -> R {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let result = change(&mut inner.source, &self.fast);
        inner.list.wake_all(&mut wakes);
        self.settle(&mut inner, None, &mut wakes);
        drop(inner);
        wakes.wake_all();
        result
    }

    /// Wakes all who wait, to find out when they are polled that they do not get it any more.
    pub(crate) fn wake_all(&self) {
        self.close(|_, _| ());
    }

    /// Looks at the thing.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&self.inner.lock().source)
    }

    /// Looks at the thing from a seat in the row: what is wanted there, and who comes before, from the first on. `None`
    /// where the seat is not in the row.
    pub(crate) fn look_from<R>(
        &self,
        seat: Ticket,
        look: impl FnOnce(&S, S::Want, &mut dyn Iterator<Item = InRow<S::Want>>) -> R,
    ) -> Option<R> {
        let inner = self.inner.lock();
        let (want, mut before) = inner.list.before(seat)?;
        Some(look(&inner.source, want, &mut before))
    }

    /// Those who wait, in order.
    pub(crate) fn waiters(&self) -> Vec<Waiter> {
        self.inner.lock().list.waiters()
    }

    /// How many places in the line are a lane's.
    pub(crate) fn waiting_by(&self, by: By) -> usize {
        self.inner.lock().list.waiting_by(by)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().list.len()
    }

    /// The owner of the line is gone, and with him all who could wait, but for futures that were leaked.
    pub(crate) fn renew(&self) {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let Inner { source, list } = &mut *inner;
        list.clear(&mut wakes);
        source.renew(&self.fast);
        source.row_is_empty(&self.fast);
        self.note_offers(list);
        drop(inner);
        wakes.wake_all();
    }

    fn give_up(&self, inner: &mut Inner<S>, ticket: Ticket, wakes: &mut Wakes) {
        let Inner { source, list } = inner;
        if let Some(Left { offered, wakers }) = list.leave(ticket) {
            wakes.drop(wakers);
            if let Some(want) = offered {
                source.put_back(&self.fast, want);
            }
            self.settle(inner, None, wakes);
        }
    }

    /// Keeps invariant 1 after any change.
    fn settle(&self, inner: &mut Inner<S>, own: Option<Ticket>, wakes: &mut Wakes) {
        let Inner { source, list } = inner;
        list.offer(own, |want| source.set_aside(&self.fast, want), wakes);
        if list.row_is_empty() {
            source.row_is_empty(&self.fast);
        }
        self.note_offers(list);
    }

    fn note_offers(&self, list: &WaitList<S::Want>) {
        // ORDER: Relaxed: written under the lock. A lane that must see its offer was woken after this.
        if self.offers.load(Ordering::Relaxed) != list.offers() {
            self.offers.store(list.offers(), Ordering::Relaxed);
        }
    }
}

impl<S: Source> Waits for Line<S>
where
    Line<S>: Sync,
{
    fn has_offers(&self) -> bool {
        // ORDER: Relaxed: an offer wakes the lane after it was written here, and the worker that gives the lane a turn for it
        // is ordered behind that by the lane's word. One that is missed is found at the end of that turn.
        self.offers.load(Ordering::Relaxed) != 0
    }

    fn pass_over(&self, ticket: Ticket, by: By) -> bool {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let Inner { source, list } = &mut *inner;
        let passed = list.pass_over(ticket, by);
        if let Some(Some(want)) = passed {
            source.put_back(&self.fast, want);
            self.settle(&mut inner, None, &mut wakes);
        }
        drop(inner);
        wakes.wake_all();
        passed.is_some()
    }

    fn leave_dead(&self, ticket: Ticket, by: By) -> bool {
        let mut wakes = Wakes::default();
        let mut inner = self.inner.lock();
        let stood = inner.list.is_seat_of(ticket, by);
        if stood {
            inner.list.wake_left(ticket, &mut wakes);
            self.give_up(&mut inner, ticket, &mut wakes);
        }
        drop(inner);
        wakes.wake_all();
        stood
    }

    fn is_seat_of(&self, ticket: Ticket, by: By) -> bool {
        self.inner.lock().list.is_seat_of(ticket, by)
    }

    fn describe(&self, ticket: Ticket, by: By) -> Option<(&'static str, &'static Location<'static>)> {
        Some((S::KIND, self.inner.lock().list.place_of(ticket, by)?))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
