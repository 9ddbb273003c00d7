//! Senders that wait for room in a mailbox, first come first served.
//!
//! Owns: the wait lists of all mailboxes. A waiting sender leaves its message here; whoever empties the mailbox moves
//! it on for the sender, so a sender that came later cannot get in between. Wakers are woken outside of the locks.
//!
//! # Invariants
//! 1. A seat leaves `InLine` exactly once: to `Accepted` (the lane has the node), to `Refused` (the sender gets it
//!    back) or by its sender's leaving.
//! 2. While seats wait for a mailbox, its word bears the waiters bit or its owner is on the way through `admit`.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

use super::node::{List, Node};
use super::{Undelivered, Unsent};
use crate::alloc;
use crate::id::Id;
use crate::lane::waker::keep;
use crate::lane::word::{Announced, UNBOUNDED};
use crate::panic::contain;
use crate::slot::{KnownId, SlotRef};
use crate::wait_graph::note::{self, Number, UNKNOWN, hands_out_something};
use crate::wait_graph::record::Wait;
use crate::wait_graph::{Awaits, Deadlock};

const SHARDS: usize = 64;

type Lists = HashMap<Id, VecDeque<(Arc<Seat>, Node)>, FxBuildHasher>;

static LISTS: [Mutex<Lists>; SHARDS] = [const { Mutex::new(HashMap::with_hasher(FxBuildHasher)) }; SHARDS];

fn lists(id: Id) -> &'static Mutex<Lists> {
    &LISTS[id.key() as usize % SHARDS]
}

/// A sender's place in a wait list.
#[derive(Debug)]
struct Seat {
    /// The lane whose mailbox is waited for.
    of: KnownId,
    /// Where the send was called, where that is known.
    at: Option<&'static Location<'static>>,
    /// The message may hold a port, other than that of its own question.
    has_port: bool,
    /// Which wait it is, for the one who sits here.
    number: AtomicU64,
    state: Mutex<Waiting>,
}

#[derive(Debug)]
enum Waiting {
    InLine(Waker),
    Accepted,
    Refused(Option<Node>),
}

/// What came of the wish for a seat.
pub(crate) enum Seated {
    /// Wait with this.
    Waiting(Waiter),
    /// There is room by now.
    Room(Node),
    /// The lane is gone.
    Stale(Node),
}

/// A sender with a seat, until the seat has brought an outcome. Dropped, it leaves its seat, and the message with it.
#[derive(Debug)]
pub(crate) struct Waiter(Option<Arc<Seat>>);

impl Waiter {
    /// The lane whose mailbox it waits for.
    pub(crate) fn to(&self) -> Option<KnownId> {
        self.0.as_ref().map(|seat| seat.of)
    }

    /// Whether the lane has the message; `Err` gives it back where the lane ended first, or waits for the sender.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<Node>>> {
        let seat = self.0.as_ref().expect("a send was polled after it was ready");
        let settled = match seat.poll(cx) {
            Poll::Ready(settled) => settled.map_err(Unsent::Gone),
            Poll::Pending => {
                let Some(deadlock) = seat.park(cx) else { return Poll::Pending };
                let Some(node) = leave(seat) else { return Poll::Pending };
                Err(Unsent::Deadlock(Box::new(Undelivered { message: node, deadlock })))
            }
        };
        // ORDER: Relaxed: as in `park`.
        let number = seat.number.load(Ordering::Relaxed);
        note::comes_back(number);
        drop(Number::again(number));
        self.0 = None;
        Poll::Ready(settled)
    }

    #[cold]
    fn give_up(&mut self) {
        let Some(seat) = self.0.take() else { return };
        // ORDER: Relaxed: as in `park`.
        let number = seat.number.load(Ordering::Relaxed);
        note::comes_back(number);
        drop(Number::again(number));
        if leave(&seat).is_none() {
            // It has been let in since.
            hands_out_something();
        }
    }
}

impl Drop for Waiter {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.give_up();
        }
    }
}

impl Seat {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), Node>> {
        // Copied before the lock is taken: a copy may be made by the user's code.
        let mut new = keep(cx.waker());
        let mut state = self.state.lock();
        match &mut *state {
            Waiting::InLine(waker) => {
                std::mem::swap(waker, &mut new);
                drop(state);
                drop(new);
                Poll::Pending
            }
            Waiting::Accepted => Poll::Ready(Ok(())),
            Waiting::Refused(node) => match node.take() {
                Some(node) => Poll::Ready(Err(node)),
                None => Poll::Ready(Ok(())),
            },
        }
    }

    /// The sender waits; the error with which that is to end instead, where there is one.
    fn park(&self, cx: &Context<'_>) -> Option<Deadlock> {
        // ORDER: Relaxed, here and below: only whoever polls the send looks at it.
        let mut number = Number::again(self.number.load(Ordering::Relaxed));
        let Seat { of, at, has_port, .. } = *self;
        let handed_out = if has_port { UNKNOWN } else { 0 };
        let wait = Wait { awaits: Awaits::Room, of: Some(of.id()), lock: None, at, handed_out, mute: false };
        let deadlock = note::park(cx, &mut number, wait);
        self.number.store(number.number(), Ordering::Relaxed);
        // Given up with the seat only.
        std::mem::forget(number);
        deadlock
    }

    fn settle(&self, outcome: Waiting) -> Option<Waker> {
        match std::mem::replace(&mut *self.state.lock(), outcome) {
            Waiting::InLine(waker) => Some(waker),
            Waiting::Accepted | Waiting::Refused(_) => None,
        }
    }
}

/// Takes the last seat for the mailbox of `of`, unless there is room.
pub(crate) fn take_seat(
    of: KnownId,
    slot: SlotRef,
    bound: u32,
    node: Node,
    waker: &Waker,
    at: Option<&'static Location<'static>>,
    has_port: bool,
) -> Seated {
    let waker = keep(waker);
    let id = of.id();
    let mut lists = lists(id).lock();
    match slot.word.announce_waiter(id.generation().get(), bound) {
        Announced::Room => Seated::Room(node),
        Announced::Stale => Seated::Stale(node),
        Announced::Waiting => {
            let state = Mutex::new(Waiting::InLine(waker));
            let seat = Arc::new(Seat { of, at, has_port, number: AtomicU64::new(0), state });
            // The table and the line are those of all who wait.
            alloc::uncharged(|| lists.entry(id).or_default().push_back((seat.clone(), node)));
            Seated::Waiting(Waiter(Some(seat)))
        }
    }
}

/// The sender does not wait any more; gives back its message where nobody has it yet.
#[cold]
fn leave(seat: &Arc<Seat>) -> Option<Node> {
    let id = seat.of.id();
    let mut lists = lists(id).lock();
    let list = lists.get_mut(&id)?;
    let at = list.iter().position(|(other, _)| Arc::ptr_eq(other, seat))?;
    let (_, node) = list.remove(at)?;
    if list.is_empty() {
        lists.remove(&id);
    }
    Some(node)
}

/// Moves messages of waiting senders to the inbox, as many as the bound allows at a time. The caller owns the lane.
pub(crate) fn admit(id: Id, slot: SlotRef, bound: u32, inbox: &mut List) -> Vec<Waker> {
    let mut wakers = Vec::new();
    let mut lists = lists(id).lock();
    if let Some(list) = lists.get_mut(&id) {
        let room = if bound == UNBOUNDED { list.len() } else { list.len().min(bound as usize) };
        for (seat, node) in list.drain(..room) {
            inbox.push_back(node);
            wakers.extend(seat.settle(Waiting::Accepted));
        }
        if !list.is_empty() {
            return wakers;
        }
        lists.remove(&id);
    }
    slot.word.no_more_waiters(id.generation().get());
    wakers
}

/// How many senders wait for the mailbox.
pub(crate) fn count(id: Id) -> usize {
    lists(id).lock().get(&id).map_or(0, VecDeque::len)
}

/// Gives all waiting senders their message back: the lane is gone. How many there were.
pub(crate) fn refuse_all(id: Id) -> u64 {
    let list = lists(id).lock().remove(&id).unwrap_or_default();
    let count = list.len() as u64;
    for (seat, node) in list {
        if let Some(waker) = seat.settle(Waiting::Refused(Some(node))) {
            contain(|| waker.wake());
        }
        // A sender that left meanwhile has left its message, with its destructor, to us.
        contain(|| drop(seat));
    }
    count
}
