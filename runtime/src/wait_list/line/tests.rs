//! A line over a stock of things.

use std::panic::Location;
use std::task::Poll;

use super::*;
use crate::wait_list::tests::{Woken, lane, party};

#[derive(Default)]
struct Stock {
    left: u32,
    closed: bool,
}

impl Source for Stock {
    type Fast = ();
    type Want = u32;
    type Grant = u32;
    type Refusal = &'static str;

    const KIND: &'static str = "stock";

    fn refusal(&self, (): &(), _: u32) -> Option<&'static str> {
        self.closed.then_some("closed")
    }

    fn set_aside(&mut self, (): &(), want: u32) -> bool {
        let left = self.left.checked_sub(want);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    fn put_back(&mut self, (): &(), want: u32) {
        self.left += want;
    }

    fn take(&mut self, (): &(), want: u32, _: Taker, _: u64) -> u32 {
        want
    }

    fn renew(&mut self, (): &()) {
        *self = Stock::default();
    }
}

/// A future in a line.
struct Waiter {
    by: By,
    ticket: Option<Ticket>,
    woken: Option<Woken>,
}

impl Waiter {
    fn new(key: u32) -> Waiter {
        Waiter { by: lane(key), ticket: None, woken: None }
    }

    fn poll(&mut self, line: &Line<Stock>) -> Poll<Result<u32, &'static str>> {
        let (party, woken) = party(self.by);
        self.woken = Some(woken);
        line.poll(&mut self.ticket, 1, party)
    }

    fn is_woken(&self) -> bool {
        self.woken.as_ref().is_some_and(|woken| woken.times() == 1)
    }

    fn end_turn(&self, line: &Line<Stock>) -> bool {
        line.pass_over(self.ticket.unwrap(), self.by)
    }
}

fn taker() -> Taker {
    Taker { by: By::Foreign, place: Location::caller() }
}

fn add(line: &Line<Stock>, count: u32) {
    line.change(|stock, ()| stock.left += count);
}

#[test]
fn nobody_overtakes_but_those_who_doze_are_overtaken() {
    let line = Line::<Stock>::default();
    let (mut first, mut second) = (Waiter::new(1), Waiter::new(2));
    assert!(first.poll(&line).is_pending() && second.poll(&line).is_pending());
    add(&line, 1);
    assert!(first.is_woken() && !second.is_woken());
    assert!(line.try_take(1, taker()).is_none(), "it is the first's");
    // The first ends a turn without a look, and the second as well.
    assert!(first.end_turn(&line) && second.is_woken());
    assert!(line.try_take(1, taker()).is_none(), "it is the second's");
    assert!(second.end_turn(&line));
    // Both doze: it is whoever's who comes.
    assert_eq!(line.try_take(1, taker()), Some(Ok(1)));
    assert!(first.poll(&line).is_pending());
    add(&line, 1);
    assert!(first.is_woken() && first.poll(&line) == Poll::Ready(Ok(1)));
    assert_eq!(line.waiting(), 1);
    assert!(second.poll(&line).is_pending());
    line.leave(second.ticket.unwrap());
    assert_eq!((line.waiting(), line.has_offers()), (0, false));
}

#[test]
fn what_was_offered_to_one_who_leaves_or_dies_goes_to_the_next() {
    let line = Line::<Stock>::default();
    let mut waiters: Vec<Waiter> = (1..=3).map(Waiter::new).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll(&line).is_pending()));
    add(&line, 1);
    line.leave(waiters[0].ticket.unwrap());
    assert!(waiters[1].is_woken() && !waiters[2].is_woken());
    let dead = waiters[1].ticket.unwrap();
    assert!(!line.leave_dead(dead, lane(3)), "it is not the third's");
    assert!(line.leave_dead(dead, lane(2)) && !line.leave_dead(dead, lane(2)));
    assert!(waiters[2].is_woken() && waiters[2].poll(&line) == Poll::Ready(Ok(1)) && !line.has_offers());
    // The future of the dead lane is polled in another one.
    waiters[1].by = lane(4);
    assert!(waiters[1].poll(&line).is_pending());
    add(&line, 1);
    assert_eq!(waiters[1].poll(&line), Poll::Ready(Ok(1)));
}

#[test]
fn one_that_wakes_from_a_doze_takes_what_nobody_else_wants() {
    let line = Line::<Stock>::default();
    let mut waiter = Waiter::new(1);
    assert!(waiter.poll(&line).is_pending());
    add(&line, 1);
    assert!(waiter.end_turn(&line));
    assert_eq!(waiter.poll(&line), Poll::Ready(Ok(1)));
    assert!(waiter.woken.as_ref().is_some_and(|woken| woken.times() == 0 && woken.wakers() == 0));
    assert_eq!(line.look(|stock| stock.left), 0);
}

#[test]
fn a_line_that_is_closed_refuses_all_who_wait_also_those_with_an_offer() {
    let line = Line::<Stock>::default();
    let mut waiters: Vec<Waiter> = (1..=2).map(Waiter::new).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll(&line).is_pending()));
    add(&line, 1);
    line.close(|stock, ()| stock.closed = true);
    assert!(waiters.iter().all(Waiter::is_woken));
    assert!(waiters.iter_mut().all(|waiter| waiter.poll(&line) == Poll::Ready(Err("closed"))));
    assert_eq!((line.waiting(), line.look(|stock| stock.left)), (0, 1));
    assert_eq!(line.try_take(1, taker()), Some(Err("closed")));
}

#[test]
fn who_is_woken_with_all_others_and_does_not_look_is_in_nobodys_way() {
    let line = Line::<Stock>::default();
    let (mut first, mut second) = (Waiter::new(1), Waiter::new(2));
    assert!(first.poll(&line).is_pending() && second.poll(&line).is_pending());
    line.wake_all();
    assert!(first.is_woken() && second.is_woken());
    // The second looks and waits again, the first does not.
    assert!(second.poll(&line).is_pending());
    add(&line, 1);
    assert!(second.is_woken() && second.poll(&line) == Poll::Ready(Ok(1)));
    add(&line, 1);
    assert_eq!(first.poll(&line), Poll::Ready(Ok(1)));
}

#[test]
fn a_change_may_go_by_how_many_wait_who_were_offered_nothing() {
    let line = Line::<Stock>::default();
    let mut waiters: Vec<Waiter> = (1..=3).map(Waiter::new).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll(&line).is_pending()));
    add(&line, 1);
    // As a notice for one that is kept where nobody would get it.
    let waiting = |line: &Line<Stock>| {
        line.change_for(|stock, (), seats| {
            stock.left += u32::from(seats.idle > 0);
            (seats.idle, seats.offered)
        })
    };
    assert_eq!([(); 3].map(|()| waiting(&line)), [(2, 1), (1, 2), (0, 3)]);
    assert!(waiters.iter_mut().all(|waiter| waiter.poll(&line) == Poll::Ready(Ok(1))));
    assert_eq!((line.look(|stock| stock.left), line.waiting()), (0, 0));
}

#[test]
fn a_ticket_of_a_line_that_was_renewed_is_good_for_nothing() {
    let line = Line::<Stock>::default();
    let mut leaked = Waiter::new(1);
    assert!(leaked.poll(&line).is_pending());
    let old = leaked.ticket.unwrap();
    let mut offered = Waiter::new(2);
    line.change(|stock, ()| stock.left = 1);
    assert!(leaked.is_woken() && line.has_offers() && offered.poll(&line).is_pending());
    line.renew();
    assert!(
        offered.woken.as_ref().is_some_and(|woken| woken.times() == 0 && woken.wakers() == 0) && !line.has_offers()
    );
    let mut fresh = Waiter::new(1);
    assert!(fresh.poll(&line).is_pending());
    assert!(!line.is_seat_of(old, lane(1)) && !line.leave_dead(old, lane(1)));
    add(&line, 1);
    assert_eq!(fresh.poll(&line), Poll::Ready(Ok(1)));
}

#[test]
fn a_future_that_outlives_its_lane_is_woken_by_that_death_where_it_has_a_waker_of_its_own() {
    for is_own in [true, false] {
        let line = Line::<Stock>::default();
        let (mut party, woken) = party(lane(1));
        let also = crate::wait_list::tests::party(lane(1));
        if is_own {
            party.also = Some(also.0.waker);
        }
        let mut ticket = None;
        assert!(line.poll(&mut ticket, 1, party).is_pending());
        assert!(line.leave_dead(ticket.unwrap(), lane(1)));
        // Whoever has it now polls it, and has a place again. The dead is not woken.
        assert_eq!((woken.times(), also.1.times()), (usize::from(is_own), 0));
    }
}

#[test]
fn those_who_all_were_woken_stand_where_they_did_in_whatever_order_they_look() {
    let line = Line::<Stock>::default();
    let mut waiters: Vec<Waiter> = (1..=4).map(Waiter::new).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll(&line).is_pending()));
    line.wake_all();
    for which in [1, 3, 2, 0] {
        assert!(waiters[which].poll(&line).is_pending());
    }
    for waiter in &mut waiters {
        add(&line, 1);
        assert!(waiter.is_woken() && waiter.poll(&line) == Poll::Ready(Ok(1)));
    }
}

#[test]
fn an_offer_wakes_the_future_and_the_lane_that_polled_it_with_another_waker() {
    let line = Line::<Stock>::default();
    let (mut party, woken) = party(lane(1));
    let also = crate::wait_list::tests::party(lane(1));
    party.also = Some(also.0.waker);
    let mut ticket = None;
    assert!(line.poll(&mut ticket, 1, party).is_pending());
    add(&line, 1);
    assert_eq!((woken.times(), also.1.times()), (1, 1));
}
