//! The room of a channel: senders that take a permit by the word or wait for one in line, a receiver that gives them back,
//! and one that closes the channel and waits for the last.

use std::num::NonZeroU16;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::explore;
use crate::id::{Id, Namespace};
use crate::shim::Unparker;
use crate::sync::room::{NoRoom, OnGive, OnTake, Room};
use crate::wait_list::line::Line;
use crate::wait_list::{By, Party, Ticket};

/// A waker for which a thread can wait.
#[derive(Default)]
struct Woken(Unparker);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As `mpsc/chan.rs`, with a number of messages in place of a queue.
struct Chan {
    permits: u64,
    room: Line<Room>,
    queued: Mutex<u32>,
    /// Of the receiver, while it waits.
    waker: Mutex<Option<Arc<Woken>>>,
    /// Messages and permits that are in somebody's hands, which nothing but the word orders.
    out: AtomicU32,
}

impl Chan {
    fn new(permits: u64) -> Arc<Chan> {
        let room = Line::<Room>::default();
        room.fast().begin(permits);
        let (queued, waker) = (Mutex::new(0), Mutex::new(None));
        Arc::new(Chan { permits, room, queued, waker, out: AtomicU32::new(0) })
    }

    /// As `poll_room`, until there is room or never will be. `gives_up` after it was polled so often.
    fn reserve(&self, key: u32, gives_up: Option<u32>) -> Option<Result<(), NoRoom>> {
        match self.room.fast().try_take(1) {
            OnTake::Taken => return Some(Ok(())),
            OnTake::Closed => return Some(Err(NoRoom)),
            OnTake::Full => {}
        }
        let by = By::Lane(Id::new(key, Namespace::new(1).expect("it is not 0"), NonZeroU16::MIN));
        let (woken, mut ticket) = (Arc::<Woken>::default(), None::<Ticket>);
        let mut polls = 0;
        loop {
            let party = Party { by, waker: Waker::from(woken.clone()), also: None, place: Location::caller() };
            if let Poll::Ready(granted) = self.room.poll(&mut ticket, 1, party) {
                return Some(granted);
            }
            polls += 1;
            if gives_up == Some(polls) {
                if let Some(ticket) = ticket {
                    self.room.leave(ticket);
                }
                return None;
            }
            woken.0.wait();
        }
    }

    /// Whoever has a permit is one of no more than there are.
    fn hold(&self) {
        let others = self.out.load(Ordering::Relaxed);
        self.out.store(others + 1, Ordering::Relaxed);
        assert!(u64::from(others) < self.permits, "more permits are out than there are");
    }

    fn push(&self) {
        *self.queued.lock().unwrap() += 1;
        self.wake_receiver();
    }

    fn wake_receiver(&self) {
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    /// As `Chan::give`.
    fn give(&self) {
        let closed = match self.room.fast().try_give(1) {
            OnGive::Given { closed } => closed,
            OnGive::Queued => self.room.change(|_, word| Room::give(word, 1)),
        };
        if closed {
            self.wake_receiver();
        }
    }

    fn pop(&self) -> bool {
        let mut queued = self.queued.lock().unwrap();
        let is_there = *queued > 0;
        *queued -= u32::from(is_there);
        is_there
    }

    /// As `Rx::poll_recv`, until there is a message, or never will be.
    fn recv(&self) -> bool {
        let woken = Arc::<Woken>::default();
        loop {
            if self.pop() {
                self.give();
                return true;
            }
            *self.waker.lock().unwrap() = Some(woken.clone());
            // One lock in production, and so no message between the look and the waker.
            if self.pop() {
                self.give();
                return true;
            }
            if self.room.fast().is_over(self.permits) {
                return false;
            }
            woken.0.wait();
        }
    }

    fn assert_at_rest(&self) {
        assert_eq!((self.room.fast().free(), self.room.waiting()), (self.permits, 0), "a permit or a seat is lost");
    }
}

#[test]
fn one_permit_goes_from_hand_to_hand_and_nobody_sleeps_over_it() {
    explore(|| {
        let chan = Chan::new(1);
        let threads = [1, 2].map(|key| {
            let chan = chan.clone();
            thread::spawn(move || {
                assert_eq!(chan.reserve(key, None), Some(Ok(())));
                chan.hold();
                chan.out.store(0, Ordering::Relaxed);
                chan.give();
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        chan.assert_at_rest();
    });
}

#[test]
fn room_that_was_on_offer_to_one_who_gives_up_goes_to_the_next() {
    explore(|| {
        let chan = Chan::new(1);
        assert_eq!(chan.reserve(3, None), Some(Ok(())));
        let threads = [(1, Some(1)), (2, None)].map(|(key, gives_up)| {
            let chan = chan.clone();
            thread::spawn(move || {
                if let Some(granted) = chan.reserve(key, gives_up) {
                    assert_eq!(granted, Ok(()));
                    chan.give();
                }
            })
        });
        chan.give();
        for thread in threads {
            thread.join().unwrap();
        }
        chan.assert_at_rest();
    });
}

#[test]
fn a_receiver_that_closes_gets_what_has_room_and_hears_of_the_end() {
    explore(|| {
        let chan = Chan::new(1);
        let senders = [1, 2].map(|key| {
            let chan = chan.clone();
            thread::spawn(move || match chan.reserve(key, None) {
                Some(Ok(())) if key == 1 => {
                    chan.push();
                    1
                }
                Some(Ok(())) => {
                    chan.give();
                    0
                }
                _ => 0,
            })
        });
        chan.room.close(Room::close);
        let mut received = 0;
        while chan.recv() {
            received += 1;
        }
        let sent: u32 = senders.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(received, sent);
        chan.assert_at_rest();
    });
}
