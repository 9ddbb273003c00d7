//! The list alone, with wants that are numbers and a stock of them.

use std::num::NonZeroU16;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;
use crate::Namespace;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct Woken(Arc<Count>);

impl Woken {
    pub(super) fn times(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Wakers that are alive.
    pub(super) fn wakers(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

pub(super) fn lane(key: u32) -> By {
    By::Lane(Id::new(key, Namespace::new(1).unwrap(), NonZeroU16::MIN))
}

#[track_caller]
pub(super) fn party(by: By) -> (Party, Woken) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let party = Party { by, waker: Waker::from(count.clone()), also: None, place: Location::caller() };
    (party, Woken(count))
}

/// Offers out of `stock`, and wakes.
fn offer(list: &mut WaitList<u32>, stock: &mut u32) {
    let mut wakes = Wakes::default();
    list.offer(None, |want| stock.checked_sub(want).map(|left| *stock = left).is_some(), &mut wakes);
    wakes.wake_all();
}

#[test]
fn offers_go_out_in_order_and_stop_at_the_first_who_wants_more_than_there_is() {
    let mut list = WaitList::default();
    let tickets: Vec<(Ticket, Woken)> = [1, 3, 1]
        .into_iter()
        .zip(1..)
        .map(|(want, key)| {
            let (party, woken) = party(lane(key));
            (list.enqueue(want, party), woken)
        })
        .collect();
    offer(&mut list, &mut 3);
    assert_eq!(tickets.iter().map(|(_, woken)| woken.times()).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!((list.offers(), list.row_is_empty(), list.len()), (1, false, 3));
    assert_eq!(list.take_up(tickets[1].0), None, "it has no offer");
    assert_eq!(list.take_up(tickets[0].0), Some(1));
    offer(&mut list, &mut 4);
    assert_eq!(tickets.iter().map(|(_, woken)| woken.times()).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(list.row_is_empty());
}

#[test]
fn who_is_passed_over_has_his_old_place_once_he_is_polled_again() {
    let mut list = WaitList::default();
    let tickets: Vec<Ticket> = (1..=4).map(|key| list.enqueue(1, party(lane(key)).0)).collect();
    offer(&mut list, &mut 2);
    // A turn of another lane is none of theirs.
    assert_eq!(list.pass_over(tickets[0], lane(2)), None);
    assert_eq!(list.pass_over(tickets[0], lane(1)), Some(Some(1)));
    assert_eq!(list.pass_over(tickets[1], lane(2)), Some(Some(1)));
    assert_eq!(list.pass_over(tickets[1], lane(2)), Some(None), "there is nothing left to pass on");
    // The second comes back first, and yet stands behind the first and before the others.
    for key in [2, 1] {
        let (again, _) = party(lane(key));
        assert!(matches!(list.poll(tickets[key as usize - 1], again), Looked::Woken));
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        offer(&mut list, &mut 1);
        order.extend(tickets.iter().position(|ticket| list.take_up(*ticket).is_some()));
    }
    assert_eq!(order, [0, 1, 2, 3]);
    assert_eq!(list.len(), 0);
}

#[test]
fn who_leaves_takes_his_wakers_along_and_leaves_his_offer() {
    let mut list = WaitList::default();
    let (first, woken) = party(lane(1));
    let ticket = list.enqueue(2, first);
    assert_eq!(woken.wakers(), 1);
    let left = list.leave(ticket).unwrap();
    assert_eq!((left.offered, woken.wakers()), (None, 1), "the list has dropped none");
    drop(left);
    assert_eq!(woken.wakers(), 0);
    assert!(list.leave(ticket).is_none(), "a ticket is good once");
    let (other, _) = party(lane(2));
    let other = list.enqueue(2, other);
    assert_eq!(other.at, ticket.at, "the seat is another's, and the old ticket not good for it");
    assert!(!list.is_seat_of(ticket, lane(2)) && list.is_seat_of(other, lane(2)));
    offer(&mut list, &mut 2);
    assert_eq!(list.leave(other).unwrap().offered, Some(2));
}

#[test]
fn a_seat_is_his_who_polled_it_last() {
    let mut list = WaitList::default();
    let ticket = list.enqueue(1, party(lane(1)).0);
    let (second, woken) = party(lane(2));
    assert!(matches!(list.poll(ticket, second), Looked::Waiting(_)));
    assert!(!list.is_seat_of(ticket, lane(1)) && list.is_seat_of(ticket, lane(2)));
    offer(&mut list, &mut 1);
    assert_eq!((woken.times(), list.pass_over(ticket, lane(1))), (1, None));
    assert!(matches!(list.poll(ticket, party(lane(3)).0), Looked::Taken(1, _)));
}
