//! How much room a channel has: the word of its permits, and how they are offered to those in line.
//!
//! Owns: [`RoomWord`] and [`Room`], its source for a line. Knows nothing of messages.
//!
//! # The word
//!
//! | bits | is |
//! | --- | --- |
//! | 0 | queued: somebody waits in the row, so that who gives room back must look there, and who comes must not try |
//! | 1 | closed: there is no more room, ever |
//! | 2.. | free permits |
//!
//! | from | to | by |
//! | --- | --- | --- |
//! | neither bit, n free | n - k free | who comes: one compare-and-swap |
//! | not queued, n free | n + k free | who gives back: one compare-and-swap |
//! | all else | | whoever has the lock of the line |
//!
//! # Invariants
//! 1. Queued and closed change under the lock of the line only, and while either is set permits are taken there alone; while
//!    queued is, they are given back there alone. So nobody who comes later gets what one in the row waits for.
//! 2. A message has its permit from before it is queued until it is received. So when all permits are free, nothing is
//!    queued, and once the channel is closed nothing will be.
//! 3. `offered` is what the line has set aside and nobody has taken. Closing takes it back, as those for whom it was will be
//!    refused; so whoever waits for all permits waits for none but those in somebody's hands.

use crate::shim::{AtomicU64, Ordering};
use crate::wait_list::line::{Source, Taker};

const QUEUED: u64 = 1;
const CLOSED: u64 = 2;
const ONE: u64 = 4;

/// Permits of a channel without a bound: more than there can be messages.
pub(crate) const UNBOUNDED: u64 = u64::MAX / ONE / 2;

/// The permits of a channel.
#[derive(Debug)]
pub(crate) struct RoomWord(AtomicU64);

impl Default for RoomWord {
    fn default() -> RoomWord {
        RoomWord(AtomicU64::new(0))
    }
}

/// What became of an attempt to take permits.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTake {
    Taken,
    /// Too few are free, or somebody is first in line.
    Full,
    Closed,
}

/// What became of an attempt to give permits back.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnGive {
    /// They are free.
    Given {
        /// No more will be taken: whoever waits for the last of them must look.
        closed: bool,
    },
    /// Somebody waits: they must be given under the lock of the line.
    Queued,
}

impl RoomWord {
    /// The channel is new, with so many permits.
    pub(crate) fn begin(&self, permits: u64) {
        // ORDER: Relaxed: whoever else gets to see the channel gets it by ways that publish this.
        self.0.store(permits * ONE, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn try_take(&self, count: u32) -> OnTake {
        let want = u64::from(count) * ONE;
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return OnTake::Closed;
            }
            if word & QUEUED != 0 || word < want {
                return OnTake::Full;
            }
            // ORDER: Acquire pairs with the Release of `try_give`: what the permits were for before is over.
            match self.0.compare_exchange_weak(word, word - want, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return OnTake::Taken,
                Err(now) => word = now,
            }
        }
    }

    #[inline]
    pub(crate) fn try_give(&self, count: u32) -> OnGive {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & QUEUED == 0 {
            let new = word + u64::from(count) * ONE;
            // ORDER: Release, see `try_take` and `is_over`.
            match self.0.compare_exchange_weak(word, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return OnGive::Given { closed: word & CLOSED != 0 },
                Err(now) => word = now,
            }
        }
        OnGive::Queued
    }

    /// Whether it is closed, and all of so many permits are back.
    pub(crate) fn is_over(&self, permits: u64) -> bool {
        // ORDER: Acquire pairs with the Release of whoever gave the last permit back: what he queued before is seen.
        let word = self.0.load(Ordering::Acquire);
        word & CLOSED != 0 && word / ONE == permits
    }

    pub(crate) fn is_closed(&self) -> bool {
        // ORDER: Acquire: who finds it closed sees what was done before.
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(crate) fn free(&self) -> u64 {
        // ORDER: Relaxed: a number that is old when it is read.
        self.0.load(Ordering::Relaxed) / ONE
    }

    /// Changes the word, with the lock of the line held.
    fn change(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            // ORDER: AcqRel: permits are given and taken here as in `try_give` and `try_take`.
            match self.0.compare_exchange_weak(word, change(word), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(old) => return old,
                Err(now) => word = now,
            }
        }
    }
}

/// The source of a channel's line.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Permits that are set aside for those who have not taken them.
    offered: u64,
}

/// The channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Room {
    /// Gives permits back under the lock of the line: whether the channel is closed.
    pub(crate) fn give(word: &RoomWord, count: u32) -> bool {
        word.change(|word| word + u64::from(count) * ONE) & CLOSED != 0
    }

    /// What is set aside is free again: nobody takes it any more.
    pub(crate) fn close(&mut self, word: &RoomWord) {
        let offered = std::mem::take(&mut self.offered) * ONE;
        word.change(|word| (word | CLOSED) + offered);
    }
}

impl Source for Room {
    type Fast = RoomWord;
    type Want = u32;
    type Grant = ();
    type Refusal = NoRoom;

    const KIND: &'static str = "room in a channel";

    fn refusal(&self, word: &RoomWord, _: u32) -> Option<NoRoom> {
        word.is_closed().then_some(NoRoom)
    }

    fn set_aside(&mut self, word: &RoomWord, count: u32) -> bool {
        let want = u64::from(count) * ONE;
        let is_there = |word: u64| word & CLOSED == 0 && word >= want + (word & QUEUED);
        let was = word.change(|word| if is_there(word) { word - want } else { word | QUEUED });
        self.offered += if is_there(was) { u64::from(count) } else { 0 };
        is_there(was)
    }

    fn put_back(&mut self, word: &RoomWord, count: u32) {
        // Of a channel that is closed it was put back then.
        if !word.is_closed() {
            self.offered -= u64::from(count);
            Room::give(word, count);
        }
    }

    fn take(&mut self, _: &RoomWord, count: u32, _: Taker, _: u64) {
        self.offered -= u64::from(count);
    }

    fn row_is_empty(&mut self, word: &RoomWord) {
        // Without a look first, every change of the line would write the word.
        if word.0.load(Ordering::Relaxed) & QUEUED != 0 {
            word.change(|word| word & !QUEUED);
        }
    }

    fn renew(&mut self, word: &RoomWord) {
        self.offered = 0;
        word.change(|_| 0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::wait_list::line::Line;

    #[test]
    fn permits_are_taken_and_given_back_and_refused_where_there_are_too_few() {
        let word = RoomWord::default();
        word.begin(3);
        assert_eq!(
            [word.try_take(2), word.try_take(2), word.try_take(1)],
            [OnTake::Taken, OnTake::Full, OnTake::Taken]
        );
        assert_eq!((word.try_give(2), word.free()), (OnGive::Given { closed: false }, 2));
        Room::default().close(&word);
        assert_eq!((word.try_take(1), word.is_over(3)), (OnTake::Closed, false));
        assert_eq!((word.try_give(1), word.is_over(3)), (OnGive::Given { closed: true }, true));
    }

    #[test]
    fn while_somebody_is_queued_permits_go_by_the_line_alone() {
        let line = Line::<Room>::default();
        let word = line.fast();
        word.begin(1);
        let mut room = Room::default();
        assert!(!room.set_aside(word, 2));
        assert_eq!((word.try_take(1), word.try_give(1)), (OnTake::Full, OnGive::Queued));
        assert!(!Room::give(word, 1) && room.set_aside(word, 2));
        room.row_is_empty(word);
        assert_eq!((word.free(), word.try_give(2)), (0, OnGive::Given { closed: false }));
    }

    #[test]
    fn what_was_set_aside_when_the_channel_is_closed_is_free_at_once() {
        let word = RoomWord::default();
        word.begin(2);
        let mut room = Room::default();
        assert!(room.set_aside(&word, 1) && !word.is_over(2));
        room.close(&word);
        room.put_back(&word, 1);
        assert!(word.is_over(2) && !room.set_aside(&word, 1) && word.is_over(2));
    }
}
