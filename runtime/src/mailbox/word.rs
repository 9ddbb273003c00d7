//! The one word of a mailbox: a list of nodes that senders push on and the lane takes whole.
//!
//! Owns: the word's layout and every change of it. Knows nothing of what nodes hold: a node is a number here, and the
//! caller links it.
//!
//! | bits | field | meaning |
//! | --- | --- | --- |
//! | 0..32 | head | [`EMPTY`], [`PARKED`] (empty, and the lane sleeps on it), or the node pushed last |
//! | 32..47 | count | messages pushed since the last take; signals do not count |
//! | 47 | waiters | senders wait for room; nobody may overtake them |
//! | 48..64 | generation | whose mailbox it is; a push for another is refused. 0: closed, and the head says which generation comes next |
//!
//! # Invariants
//! 1. A push succeeds only while the word bears the generation it is for; [`MailboxWord::close`] takes the generation
//!    out and the list with it in one step. So a node is in the list before death, or its sender still has it.
//! 2. Only the owner of the lane calls `take`, `park`, `close` and `open`, never two at a time.
//! 3. `PARKED` is replaced by exactly one push, and that push is told to schedule the lane.
//!
//! Models: `model/mailbox.rs`.

use crate::shim::{AtomicU64, Ordering};

/// No node.
pub(crate) const EMPTY: u32 = 0;
/// No node, and whoever pushes must schedule the lane.
pub(crate) const PARKED: u32 = 1;
/// The first number that names a node.
pub(crate) const FIRST_NODE: u32 = 2;

/// A bound that is never reached.
pub(crate) const UNBOUNDED: u32 = u32::MAX;
/// The largest bound that can be told from "unbounded".
pub(crate) const MAX_BOUND: u32 = COUNT_MAX as u32;

const HEAD: u64 = 0xFFFF_FFFF;
const COUNT_ONE: u64 = 1 << 32;
const COUNT_MAX: u64 = 0x7FFF;
const WAITERS: u64 = 1 << 47;
const GENERATION_SHIFT: u32 = 48;

/// The packed word.
#[derive(Debug)]
pub(crate) struct MailboxWord(AtomicU64);

/// What a node is to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A message under this bound.
    Counted {
        /// At most so many messages may be queued.
        bound: u32,
    },
    /// A signal: always let in.
    Exempt,
}

/// What the pusher must do next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Schedule the lane: it slept on the empty mailbox.
    Schedule,
    /// Nothing: the lane will look.
    Nothing,
}

/// Why nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The lane is gone.
    Stale,
    /// The bound is reached, or others wait before us.
    Full,
}

/// What was in the mailbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The node pushed last, [`EMPTY`] where there was none.
    pub(crate) head: u32,
    /// Whether senders wait for room.
    pub(crate) waiters: bool,
}

/// What became of the wish to wait.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The owner will see at its next take that somebody waits.
    Waiting,
    /// There is room by now: push.
    Room,
    /// The lane is gone.
    Stale,
}

fn generation_of(word: u64) -> u16 {
    (word >> GENERATION_SHIFT) as u16
}

fn head_of(word: u64) -> u32 {
    (word & HEAD) as u32
}

fn count_of(word: u64) -> u64 {
    (word >> 32) & COUNT_MAX
}

fn is_full(word: u64, bound: u32) -> bool {
    word & WAITERS != 0 || (bound != UNBOUNDED && count_of(word) >= u64::from(bound))
}

fn fresh(generation: u16, head: u32) -> u64 {
    u64::from(generation) << GENERATION_SHIFT | u64::from(head)
}

impl MailboxWord {
    /// An open mailbox.
    #[cfg(any(test, loom))]
    pub(crate) fn new(generation: u16) -> MailboxWord {
        MailboxWord(AtomicU64::new(fresh(generation, EMPTY)))
    }

    /// The generation that the word bears, 0 while it is closed.
    pub(crate) fn generation(&self) -> u16 {
        // ORDER: Acquire pairs with the Release of `open`: who sees the generation sees the slot made ready for it.
        generation_of(self.0.load(Ordering::Acquire))
    }

    /// The generation under which a closed mailbox is opened next; 0: never again.
    pub(crate) fn next_generation(&self) -> u16 {
        let word = self.0.load(Ordering::Acquire);
        debug_assert_eq!(generation_of(word), 0, "the mailbox is open");
        word as u16
    }

    /// Whether the mailbox of `generation` was open once and will never be again.
    pub(crate) fn is_past(&self, generation: u16) -> bool {
        let word = self.0.load(Ordering::Acquire);
        match generation_of(word) {
            0 => word as u16 == 0 || word as u16 > generation,
            now => now > generation,
        }
    }

    /// Pushes `node`. `link` is told what the node comes before and may be called more than once; `weigh` is asked
    /// once the generation has been seen, so what it reads of the slot belongs to that generation if the push succeeds.
    pub(crate) fn push(
        &self,
        generation: u16,
        node: u32,
        weigh: impl Fn() -> Weight,
        mut link: impl FnMut(u32),
    ) -> Result<Pushed, Refused> {
        debug_assert!(node >= FIRST_NODE);
        // ORDER: Acquire, so that what `weigh` reads is not older than the generation seen here.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if generation_of(word) != generation {
                return Err(Refused::Stale);
            }
            let mut next = word & !HEAD | u64::from(node);
            if let Weight::Counted { bound } = weigh() {
                if is_full(word, bound) {
                    return Err(Refused::Full);
                }
                if count_of(word) < COUNT_MAX {
                    next += COUNT_ONE;
                }
            }
            let head = head_of(word);
            link(if head == PARKED { EMPTY } else { head });
            // ORDER: Release publishes the node (its content and its link) to the taker; Acquire on success lets the
            // pusher that replaced `PARKED` see all that the lane did before it parked.
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if head == PARKED => return Ok(Pushed::Schedule),
                Ok(_) => return Ok(Pushed::Nothing),
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes all nodes; who waits for room keeps waiting until [`MailboxWord::no_more_waiters`].
    pub(crate) fn take(&self) -> Taken {
        // ORDER: Acquire sees the nodes that were pushed with Release.
        let word = self.0.fetch_and(!(HEAD | COUNT_MAX << 32), Ordering::AcqRel);
        let head = head_of(word);
        Taken { head: if head == PARKED { EMPTY } else { head }, waiters: word & WAITERS != 0 }
    }

    /// Whether there is nothing to take, as far as one look tells.
    pub(crate) fn looks_empty(&self) -> bool {
        // ORDER: Relaxed: a hint; who acts on "empty" goes through `park`.
        let word = self.0.load(Ordering::Relaxed);
        head_of(word) < FIRST_NODE && word & WAITERS == 0
    }

    /// Whether the next push will schedule the lane, as far as one look tells.
    pub(crate) fn is_parked(&self) -> bool {
        // ORDER: Relaxed: only the owner, who asks, parks; a push that comes meanwhile schedules the lane.
        head_of(self.0.load(Ordering::Relaxed)) == PARKED
    }

    /// Goes to sleep on the empty mailbox: true, or false where there is something to take.
    #[must_use]
    pub(crate) fn park(&self, generation: u16) -> bool {
        let empty = fresh(generation, EMPTY);
        // ORDER: Release hands the lane to the pusher that replaces `PARKED`; Acquire on failure is not needed, as
        // `take` follows.
        match self.0.compare_exchange(empty, fresh(generation, PARKED), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => true,
            Err(seen) => seen == fresh(generation, PARKED),
        }
    }

    /// Marks that somebody waits for room. The caller holds the lock of the wait list.
    pub(crate) fn announce_waiter(&self, generation: u16, bound: u32) -> Announced {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if generation_of(word) != generation {
                return Announced::Stale;
            }
            if !is_full(word, bound) {
                return Announced::Room;
            }
            // ORDER: AcqRel keeps the changes of the word in one order with `take`, which must see the bit.
            match self.0.compare_exchange_weak(word, word | WAITERS, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Announced::Waiting,
                Err(seen) => word = seen,
            }
        }
    }

    /// Says that nobody waits any more. The owner holds the lock of the wait list.
    pub(crate) fn no_more_waiters(&self, generation: u16) {
        let mut word = self.0.load(Ordering::Acquire);
        while generation_of(word) == generation && word & WAITERS != 0 {
            match self.0.compare_exchange_weak(word, word & !WAITERS, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Closes the mailbox for ever for its generation and takes what is in it.
    pub(crate) fn close(&self, next_generation: u16) -> Taken {
        // ORDER: as `take`; Release so that a sender that finds it closed sees the lane as it ended.
        let word = self.0.swap(u64::from(next_generation), Ordering::AcqRel);
        let head = head_of(word);
        Taken { head: if head == PARKED { EMPTY } else { head }, waiters: word & WAITERS != 0 }
    }

    /// Opens the mailbox for the tenant of `generation`, which `close` left here.
    pub(crate) fn open(&self, generation: u16) {
        debug_assert_eq!(self.0.load(Ordering::Relaxed), u64::from(generation), "not closed for this generation");
        // ORDER: Release publishes the slot made ready; pairs with the Acquire of `push` and `generation`.
        self.0.store(fresh(generation, EMPTY), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn bound(bound: u32) -> impl Fn() -> Weight {
        move || Weight::Counted { bound }
    }

    #[test]
    fn a_push_under_another_generation_is_refused() {
        let word = MailboxWord::new(3);
        assert_eq!(word.push(2, 5, bound(9), |_| ()), Err(Refused::Stale));
        assert_eq!(word.push(3, 5, bound(9), |_| ()), Ok(Pushed::Nothing));
        assert!(!word.is_past(3));
        assert_eq!(word.close(4).head, 5);
        assert!(word.is_past(3) && !word.is_past(4));
        assert_eq!(word.push(3, 6, bound(9), |_| ()), Err(Refused::Stale));
        assert_eq!(word.push(4, 6, bound(9), |_| ()), Err(Refused::Stale), "closed until it is opened");
        word.open(4);
        assert_eq!(word.push(4, 6, bound(9), |_| ()), Ok(Pushed::Nothing));
        assert!(word.is_past(3) && !word.is_past(4));
    }

    #[test]
    fn only_the_push_that_replaces_parked_schedules() {
        let word = MailboxWord::new(1);
        assert!(word.park(1));
        assert_eq!(word.push(1, 7, bound(9), |next| assert_eq!(next, EMPTY)), Ok(Pushed::Schedule));
        assert_eq!(word.push(1, 8, bound(9), |next| assert_eq!(next, 7)), Ok(Pushed::Nothing));
        assert!(!word.park(1));
        assert_eq!(word.take().head, 8);
    }

    #[test]
    fn the_bound_counts_messages_and_not_signals() {
        let word = MailboxWord::new(1);
        assert_eq!(word.push(1, 2, bound(1), |_| ()), Ok(Pushed::Nothing));
        assert_eq!(word.push(1, 3, || Weight::Exempt, |_| ()), Ok(Pushed::Nothing));
        assert_eq!(word.push(1, 4, bound(1), |_| ()), Err(Refused::Full));
        assert_eq!(word.take().head, 3);
        assert_eq!(word.push(1, 4, bound(1), |_| ()), Ok(Pushed::Nothing));
    }

    #[test]
    fn nobody_overtakes_a_waiter() {
        let word = MailboxWord::new(1);
        assert_eq!(word.announce_waiter(1, 1), Announced::Room);
        assert_eq!(word.push(1, 2, bound(1), |_| ()), Ok(Pushed::Nothing));
        assert_eq!(word.announce_waiter(1, 1), Announced::Waiting);
        assert!(word.take().waiters);
        assert_eq!(word.push(1, 3, bound(1), |_| ()), Err(Refused::Full));
        word.no_more_waiters(1);
        assert_eq!(word.push(1, 3, bound(1), |_| ()), Ok(Pushed::Nothing));
        assert_eq!(word.announce_waiter(2, 1), Announced::Stale);
    }

    #[test]
    fn an_unbounded_mailbox_outgrows_the_counter() {
        let word = MailboxWord::new(1);
        for node in 0..=COUNT_MAX as u32 + 1 {
            assert!(word.push(1, FIRST_NODE + node, bound(UNBOUNDED), |_| ()).is_ok());
        }
        assert_eq!(generation_of(word.0.load(Ordering::Relaxed)), 1);
        assert!(!word.take().waiters);
    }
}
