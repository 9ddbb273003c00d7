//! The lanes that wait for a turn at a worker: it puts them in at one end and takes them out at the other, where others
//! take some as well.
//!
//! Owns: [`End`], the worker's, and [`Ring`], what others see of it. Lanes come out in the order in which they came; those
//! for whom there is no room in the ring stand in a [`Backlog`] behind it. Knows nothing of who is to be woken for them.
//!
//! To go through here is a good part of what a turn costs. So there is nothing on the common way but a place and a raised
//! number each, and no more places are used than the lanes need: what is used all passes through the first level of the
//! cache again and again.
//!
//! # Why no lane is taken twice
//!
//! Lanes are numbered as they come. That of number `n` lies in place `n & mask`. Those who wait have the numbers from
//! `head`, which whoever takes some raises by a compare-and-swap, up to `tail`, which only the worker raises.
//!
//! 1. Who takes some reads their places, and then raises `head` from what it was before that. If it still was, nobody else
//!    has taken them, and they were not written again: the worker uses a place again once it has seen that `head` is
//!    above the number that lay there. If it was not, what was read is forgotten.
//! 2. Who sees a `head` sees a `tail` that is no lower, as who raised it had seen such a one.
//! 3. When the ring changes its size, the worker copies all who wait to where they lie by the new mask, stores that, and
//!    then raises `head` and `tail` alike, by so much that the places are the same ([`SIZED`]). Who has seen the old `head`
//!    fails from then on. Up to then no place by either mask is written but with what belongs there; and who sees the new
//!    mask sees the copies, whatever `head` he has.
//!
//! Model: `model/queue.rs`. The run queues of Go and Tokio are such rings, of one size, with the rest in a queue that is
//! everybody's.

use std::cell::Cell;
use std::sync::Arc;

use super::backlog::Backlog;
use super::{BATCH, Batch};
#[cfg(not(loom))]
use crate::mailbox::node;
use crate::shim::{AtomicUsize, Ordering, Place, spin, uncharged};
use crate::slot::SlotRef;

/// Places in a ring, and those that are used where few lanes wait.
const MOST: usize = if cfg!(loom) { 4 } else { 2048 };
const FEW: usize = if cfg!(loom) { 2 } else { 64 };
/// A ring has twice as many places in use as lanes once waited, and goes down when it has so many times as many.
const SPARSE: usize = if cfg!(loom) { 2 } else { 8 };
/// Where more places are in use than this, lanes leave the first level of the cache before their next turn, and are
/// fetched ahead: so many turns ahead the lane, and its last message.
const MANY: usize = FEW;
const LANES_AHEAD: usize = 4;
const MAIL_AHEAD: usize = 2;
/// What is above these bits of a number says how often the ring has changed its size. They are enough for all who wait.
const SIZED: u32 = 32;

const _: () = assert!(BATCH <= MOST || cfg!(loom));

/// What others see of a worker's lanes.
#[repr(align(128))]
pub(crate) struct Ring {
    head: AtomicUsize,
    tail: AtomicUsize,
    mask: AtomicUsize,
    /// Who came when there was no room, or after such a one.
    rest: Backlog,
    places: [Place; MOST],
}

/// The worker's end.
pub(crate) struct End {
    ring: Arc<Ring>,
    /// The ring's.
    mask: Cell<usize>,
    /// The number for which one has to look whether there is room.
    until: Cell<usize>,
}

impl End {
    pub(crate) fn new() -> End {
        let ring = Ring {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            mask: AtomicUsize::new(FEW - 1),
            rest: Backlog::new(),
            places: std::array::from_fn(|_| Place::empty()),
        };
        End { ring: Arc::new(ring), mask: Cell::new(FEW - 1), until: Cell::new(FEW) }
    }

    /// What others are to see of it.
    pub(crate) fn ring(&self) -> Arc<Ring> {
        self.ring.clone()
    }

    /// Queues a lane.
    #[inline(always)]
    pub(crate) fn push(&self, lane: SlotRef) {
        // ORDER: Relaxed, here and below: only this worker writes here.
        let tail = self.ring.tail.load(Ordering::Relaxed);
        if tail == self.until.get() {
            return self.push_closely(lane);
        }
        self.put(tail, lane);
    }

    #[inline(always)]
    fn put(&self, tail: usize, lane: SlotRef) {
        // ORDER: Relaxed: published by the next store.
        self.ring.place(tail, self.mask.get()).store(Some(lane), Ordering::Relaxed);
        // ORDER: Release: who takes the lane sees it in its place, and what its waker did.
        self.ring.tail.store(tail.wrapping_add(1), Ordering::Release);
    }

    /// As `push`, where there may be no room.
    #[cold]
    fn push_closely(&self, lane: SlotRef) {
        if self.finds_room() {
            self.put(self.ring.tail.load(Ordering::Relaxed), lane);
        } else {
            // The backlog may grow, and is not the lane's that wakes.
            uncharged(|| self.ring.rest.push(lane));
        }
    }

    /// Looks for room, of which there is none while others wait for it.
    fn finds_room(&self) -> bool {
        let tail = self.ring.tail.load(Ordering::Relaxed);
        // ORDER: Acquire: what others have read of the places is read before they are written again.
        let head = self.ring.head.load(Ordering::Acquire);
        let (used, waiting) = (self.mask.get() + 1, waiting(head, tail));
        if !self.ring.rest.is_empty() {
            self.until.set(tail);
            return false;
        }
        if waiting > used / 2 && used < MOST {
            self.resize(used * 2);
        } else if waiting * SPARSE < used && used > FEW {
            self.resize(used / 2);
        } else {
            self.until.set(head.wrapping_add(used));
        }
        self.until.get() != self.ring.tail.load(Ordering::Relaxed)
    }

    /// Uses so many places: twice as many, or half of them where fewer lanes wait than that.
    fn resize(&self, used: usize) {
        let (before, mask) = (self.mask.replace(used - 1), used - 1);
        let tail = self.ring.tail.load(Ordering::Relaxed);
        // ORDER: Acquire: as in `finds_room`.
        let mut head = self.ring.head.load(Ordering::Acquire);
        for number in (0..waiting(head, tail)).map(|step| head.wrapping_add(step)) {
            let lane = self.ring.place(number, before).load(Ordering::Relaxed);
            self.ring.place(number, mask).store(lane, Ordering::Relaxed);
        }
        // ORDER: Release: who sees it sees the copies.
        self.ring.mask.store(mask, Ordering::Release);
        let sized = |number: usize| number.wrapping_add(1 << SIZED);
        // ORDER: Release: who sees this `head` sees this mask, and what others have seen who raised it. Acquire: as in
        // `finds_room`.
        while let Err(seen) = self.ring.head.compare_exchange(head, sized(head), Ordering::AcqRel, Ordering::Relaxed) {
            head = seen;
        }
        // ORDER: as in `put`.
        self.ring.tail.store(sized(tail), Ordering::Release);
        self.until.set(sized(head).wrapping_add(used));
    }

    /// Takes the first lane of the ring; `None` where that is empty, or others take from it.
    #[inline(always)]
    pub(crate) fn pop_soon(&self) -> Option<SlotRef> {
        // ORDER: Relaxed, here and below: what lies in the ring is the worker's own doing.
        let head = self.ring.head.load(Ordering::Relaxed);
        if head == self.ring.tail.load(Ordering::Relaxed) {
            return None;
        }
        let mask = self.mask.get();
        let first = self.ring.place(head, mask).load(Ordering::Relaxed);
        if mask >= MANY {
            self.fetch_ahead(head, mask);
        }
        // ORDER: Release: the worker has seen the `tail` that is above this.
        let raised = self.ring.head.compare_exchange(head, head.wrapping_add(1), Ordering::Release, Ordering::Relaxed);
        if raised.is_ok() { first } else { None }
    }

    /// Has the processor fetch what turns after the next will need. Others may have taken these lanes.
    #[inline(always)]
    fn fetch_ahead(&self, head: usize, mask: usize) {
        let at = |step: usize| self.ring.place(head.wrapping_add(step), mask).load(Ordering::Relaxed);
        #[cfg(not(loom))]
        {
            at(MAIL_AHEAD).into_iter().for_each(|lane| node::prefetch(lane.word.last_node()));
            at(LANES_AHEAD).into_iter().for_each(|lane| lane.prefetch());
        }
        #[cfg(loom)]
        let _ = (at, MAIL_AHEAD, LANES_AHEAD);
    }

    /// Takes the first lane.
    pub(crate) fn pop(&self) -> Option<SlotRef> {
        loop {
            // ORDER: Acquire: as in `finds_room`, for `refill`.
            let head = self.ring.head.load(Ordering::Acquire);
            if head == self.ring.tail.load(Ordering::Relaxed) && !self.refill(head) {
                return None;
            }
            match self.pop_soon() {
                None => spin(),
                lane => return lane,
            }
        }
    }

    /// Moves lanes from the rest to the ring, which is empty up to `tail`: whether there were some.
    fn refill(&self, tail: usize) -> bool {
        let half = self.mask.get().div_ceil(2);
        let mut next = tail;
        self.ring.rest.take(half, |lane| {
            // Before the rest says that it has fewer: see `Ring::is_empty`.
            self.put(next, lane);
            next = next.wrapping_add(1);
        });
        if next == tail {
            return false;
        }
        // The next push looks whether there is still some rest.
        self.until.set(next);
        true
    }

    /// How many wait here; fewer by now, where others take some.
    pub(crate) fn len(&self) -> usize {
        self.ring.waiting() + self.ring.rest.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.waiting() == 0 && self.ring.rest.is_empty()
    }
}

impl Ring {
    #[inline(always)]
    fn place(&self, number: usize, mask: usize) -> &Place {
        // What the mask is anyway, so that nobody has to look whether there is such a place.
        &self.places[number & (mask % MOST)]
    }

    /// Takes the first half of the lanes, and `most` or [`BATCH`] at most.
    pub(crate) fn steal(&self, most: usize) -> Batch {
        loop {
            // ORDER: Acquire: whoever raised it had seen a `tail` that is no lower, and the mask.
            let head = self.head.load(Ordering::Acquire);
            // ORDER: Acquire: pairs with the Release in `resize`.
            let mask = self.mask.load(Ordering::Acquire);
            // ORDER: Acquire: pairs with the Release in `put`.
            let waiting = waiting(head, self.tail.load(Ordering::Acquire));
            if waiting == 0 {
                // The worker comes to these when it takes its next, which may be late.
                return self.rest.steal(most);
            }
            let mut batch = Batch::default();
            let count = waiting.div_ceil(2).min(most).min(BATCH);
            for (step, lane) in batch.iter_mut().enumerate().take(count) {
                *lane = self.place(head.wrapping_add(step), mask).load(Ordering::Relaxed);
            }
            // ORDER: Release: the places are read before they are written again, and we have seen a `tail` that is no lower.
            let raised =
                self.head.compare_exchange(head, head.wrapping_add(count), Ordering::Release, Ordering::Relaxed);
            if raised.is_ok() {
                return batch;
            }
            spin();
        }
    }

    /// How many wait in it, without those behind it.
    pub(super) fn waiting(&self) -> usize {
        // ORDER: as in `steal`.
        let head = self.head.load(Ordering::Acquire);
        waiting(head, self.tail.load(Ordering::Acquire))
    }

    /// Whether there is nothing to take. In this order, so that lanes are seen that move from the rest to the ring meanwhile.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.waiting() == 0
    }
}

/// How many numbers there are from `head` up to `tail`, one of which may be that of before a change of size.
#[inline]
fn waiting(head: usize, tail: usize) -> usize {
    tail.wrapping_sub(head) & ((1 << SIZED) - 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::sched::queue::tests::{keys, lanes};

    #[test]
    fn a_ring_uses_more_places_while_many_wait_and_few_afterwards() {
        let lanes = lanes(3000);
        let end = End::new();
        let used = || end.mask.get() + 1;
        let turns = |waiting: usize| {
            lanes[..waiting].iter().for_each(|lane| end.push(lane));
            for lane in lanes.iter().cycle().take(20_000) {
                end.push(lane);
                assert!(end.pop().is_some());
            }
            let used = used();
            assert_eq!(std::iter::from_fn(|| end.pop()).count(), waiting);
            used
        };
        assert_eq!(used(), FEW);
        assert_eq!([1, 30, 100, 900, 3000, 900, 100, 10].map(turns), [64, 64, 256, 2048, 2048, 2048, 512, 64]);
        assert_eq!(end.ring.mask.load(Ordering::Relaxed), end.mask.get());
    }

    /// Four thousand millions of lanes later, and as late as no ring will ever be.
    #[test]
    fn lanes_keep_their_order_where_numbers_begin_anew() {
        let lanes = lanes(3000);
        for first in [u32::MAX as usize - 100, usize::MAX - (1 << SIZED) - 100, usize::MAX - 100] {
            let end = End::new();
            end.ring.head.store(first, Ordering::Relaxed);
            end.ring.tail.store(first, Ordering::Relaxed);
            end.until.set(first.wrapping_add(FEW));
            let mut expected = VecDeque::new();
            // They are few at first, then more than there are places, and then few again.
            for (number, lane) in lanes.iter().enumerate() {
                end.push(lane);
                expected.push_back(lane.key());
                assert_eq!((end.len(), end.is_empty()), (expected.len(), false));
                if number < 300 || number % 100 == 0 {
                    let stolen = keys(end.ring.steal(3).into_iter().flatten());
                    assert_eq!(stolen, expected.drain(..stolen.len()).collect::<Vec<_>>());
                }
            }
            assert!(expected.len() > MOST);
            assert!(keys(std::iter::from_fn(|| end.pop())).into_iter().eq(expected));
            assert!(end.is_empty());
        }
    }
}
