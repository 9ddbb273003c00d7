//! What one at a time may have: the word of a mutex, and how it is offered to those in line.
//!
//! Owns: [`LockWord`] and [`Exclusive`], its source for a line. Knows nothing of data, guards or lanes.
//!
//! # The word
//!
//! | bits | is |
//! | --- | --- |
//! | 0 | locked: held, or set aside for somebody in line |
//! | 1 | queued: somebody waits in the row, so that who unlocks must look there, and who comes must not try |
//! | 2 | marked: a holder died, and nobody has put right what he left |
//! | 3 | abandoned: its holder has died, and the guard may be alive. Only with locked |
//! | 8.. | the number of the last locking, of which there is never another with the same |
//!
//! | from | to | by |
//! | --- | --- | --- |
//! | no bit | locked, next number | who comes: one compare-and-swap |
//! | locked, neither queued nor abandoned | not locked | who unlocks: one compare-and-swap |
//! | all else | | whoever has the lock of the line |
//!
//! # Invariants
//! 1. There is one locking at a time: from the swap that set the bit to the one that clears it. Only who made the first, or
//!    to whom it was passed on by the line, makes the second.
//! 2. Queued and abandoned change under the lock of the line only, and with either nothing changes without that lock. So
//!    who has it and sees queued sees all that becomes of the word.

use std::sync::Arc;

use super::holder::Holder;
use crate::shim::{AtomicU64, Ordering};
use crate::wait_list::Next;
use crate::wait_list::line::{Line, Source, Taker};

const LOCKED: u64 = 1;
const QUEUED: u64 = 2;
const MARKED: u64 = 4;
const ABANDONED: u64 = 8;
const BITS: u64 = 0xff;
const ONE: u64 = 0x100;

/// The word of a mutex.
#[derive(Debug)]
pub(crate) struct LockWord(AtomicU64);

/// The word as it was when somebody looked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(u64);

impl Seen {
    /// Nobody is in the way, and nothing is to be said of an earlier holder.
    #[inline(always)]
    pub(crate) fn is_free(self) -> bool {
        self.0 & BITS == 0
    }

    /// Who has the lock need not look at the line to unlock.
    #[inline(always)]
    pub(crate) fn is_free_to_unlock(self) -> bool {
        self.0 & (QUEUED | ABANDONED) == 0
    }

    /// The number of the last locking.
    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        self.0 / ONE
    }

    /// The number of the locking that comes next.
    #[inline(always)]
    pub(crate) fn next(self) -> u64 {
        self.number() + 1
    }
}

impl Default for LockWord {
    fn default() -> LockWord {
        LockWord(AtomicU64::new(0))
    }
}

impl LockWord {
    /// Lets the numbers begin after this one, before the first locking.
    pub(crate) fn begin_after(&self, number: u64) {
        // ORDER: Relaxed: nobody else knows the word yet.
        self.0.store(number * ONE, Ordering::Relaxed);
    }

    /// Locks, where nobody is in the way and nothing is to be said of an earlier holder: the number of the locking.
    pub(crate) fn try_lock(&self) -> Option<u64> {
        loop {
            let seen = self.see();
            if !seen.is_free() {
                return None;
            }
            if self.lock_from(seen) {
                return Some(seen.next());
            }
        }
    }

    /// Unlocks; false where that must be done under the lock of the line.
    pub(crate) fn try_unlock(&self) -> bool {
        loop {
            let seen = self.see();
            if !seen.is_free_to_unlock() {
                return false;
            }
            if self.unlock_from(seen) {
                return true;
            }
        }
    }

    /// A look at the word, before it is changed from what was seen.
    #[inline(always)]
    pub(crate) fn see(&self) -> Seen {
        // ORDER: Relaxed: the change that follows orders.
        Seen(self.0.load(Ordering::Relaxed))
    }

    /// Locks where nothing has happened since the lock was seen free; it may fail without that.
    #[inline(always)]
    pub(crate) fn lock_from(&self, Seen(word): Seen) -> bool {
        // ORDER: Acquire pairs with the Release of whoever unlocked: we see what he did to the data.
        self.0.compare_exchange_weak(word, word + (ONE | LOCKED), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Unlocks where nothing has happened since the word was seen; it may fail without that.
    #[inline(always)]
    pub(crate) fn unlock_from(&self, Seen(word): Seen) -> bool {
        // ORDER: Release, see `lock_from`.
        self.0.compare_exchange_weak(word, word & !LOCKED, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Whether a locking stands.
    pub(crate) fn is_locked_as(&self, number: u64) -> bool {
        // ORDER: Acquire: who finds it standing sees who holds it; see `owner.rs`.
        let word = self.0.load(Ordering::Acquire);
        word & LOCKED != 0 && word / ONE == number
    }

    /// The number of the locking that stands, for whoever has it.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / ONE
    }

    /// The number of the locking that stands.
    pub(crate) fn locking(&self) -> Option<u64> {
        // ORDER: Acquire, as above.
        let word = self.0.load(Ordering::Acquire);
        (word & LOCKED != 0).then_some(word / ONE)
    }

    /// Whether an earlier holder has died, and nobody has put right what he left; or whoever holds it now.
    pub(crate) fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed) & (MARKED | ABANDONED) != 0
    }

    /// Whether its holder has died and his guard has not been dropped.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ABANDONED != 0
    }

    /// Changes the word, with the lock of the line held: what it was, where it was to be changed.
    fn change(&self, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let new = change(word)?;
            // ORDER: AcqRel: of what is locked here on behalf of another, and unlocked on behalf of its holder, the data
            // goes from thread to thread.
            match self.0.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(old) => return Some(old),
                Err(now) => word = now,
            }
        }
    }

    /// Locks for somebody in line, or sees to it that whoever unlocks looks there.
    fn lock_or_queue(&self) -> bool {
        let was = self.change(|word| match word & (LOCKED | QUEUED) {
            0 | QUEUED => Some(word + (ONE | LOCKED)),
            LOCKED => Some(word | QUEUED),
            _ => None,
        });
        was.is_some_and(|word| word & LOCKED == 0)
    }

    /// Unlocks, or locks at once for whoever is `next` in line. One that was abandoned is marked by that, unless it is
    /// `clean`.
    fn pass(&self, next: Next, mark: bool, clean: bool) {
        let passed = |word: u64| {
            let marked = if (mark || word & ABANDONED != 0) && !clean { MARKED } else { 0 };
            let word = word & !ABANDONED | marked;
            match next {
                Next::Nobody => word & !LOCKED,
                Next::Last => (word & !QUEUED) + ONE,
                Next::First => word + ONE,
            }
        };
        // ORDER: Relaxed: where it matters, we have written it or got the lock of the line since.
        let word = self.0.load(Ordering::Relaxed);
        if word & QUEUED == 0 {
            self.change(|word| Some(passed(word)));
        } else {
            // ORDER: Release, as in `change`. Nobody changes it meanwhile (invariant 2), so that a store will do; what was
            // published before it was locked, whoever unlocks has seen.
            self.0.store(passed(word), Ordering::Release);
        }
    }

    /// The holder has died, and the guard may be alive: false where the locking is over.
    fn abandon(&self, number: u64) -> bool {
        let stands = |word: u64| word & (LOCKED | ABANDONED) == LOCKED && word / ONE == number;
        self.change(|word| stands(word).then_some(word | ABANDONED)).is_some()
    }
}

/// The source of a mutex: itself, once.
#[derive(Debug, Default)]
pub(crate) struct Exclusive {
    /// The holder that died last. It matters while the word is marked or abandoned.
    died: Option<Arc<Holder>>,
}

/// A locking that was given to somebody in line, or to one who came when somebody had died.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) number: u64,
    /// Who left it marked.
    pub(crate) died: Option<Arc<Holder>>,
}

/// The holder has died, and his guard may be alive: nobody gets the lock.
#[derive(Debug)]
pub(crate) struct LeftBehind(pub(crate) Arc<Holder>);

/// Unlocks under the lock of the line; marked where the holder had been declared dead, unless what is guarded is `clean` all
/// the same.
pub(crate) fn unlock(line: &Line<Exclusive>, clean: bool) {
    line.hand_over(|_, word, next| word.pass(next, false, clean));
}

/// As [`unlock`], marked as the holder has died.
#[cold]
pub(crate) fn unlock_dying(line: &Line<Exclusive>, died: Holder) {
    let died = Some(Arc::new(died));
    line.hand_over(|exclusive, word, next| {
        word.pass(next, true, false);
        exclusive.died = died;
    });
}

impl Exclusive {
    /// The holder has died, and the guard may be alive: false where the locking is over.
    pub(crate) fn abandon(&mut self, word: &LockWord, number: u64, holder: Holder) -> bool {
        let stood = word.abandon(number);
        if stood {
            self.died = Some(Arc::new(holder));
        }
        stood
    }

    /// What an earlier holder left is put right. The one who has it now may have died since.
    pub(crate) fn recover(&mut self, word: &LockWord) {
        word.change(|word| Some(word & !MARKED));
        if !word.is_abandoned() {
            self.died = None;
        }
    }

    /// Who has died last and left the lock marked or abandoned.
    pub(crate) fn died(&self) -> Option<Arc<Holder>> {
        self.died.clone()
    }
}

impl Source for Exclusive {
    type Fast = LockWord;
    type Want = ();
    type Grant = Granted;
    type Refusal = LeftBehind;

    const KIND: &'static str = "mutex";

    fn refusal(&self, word: &LockWord, (): ()) -> Option<LeftBehind> {
        if word.is_abandoned() { self.died.clone().map(LeftBehind) } else { None }
    }

    fn set_aside(&mut self, word: &LockWord, (): ()) -> bool {
        word.lock_or_queue()
    }

    fn put_back(&mut self, word: &LockWord, (): ()) {
        word.pass(Next::Nobody, false, false);
    }

    fn take(&mut self, word: &LockWord, (): (), _: Taker, _: u64) -> Granted {
        let now = word.0.load(Ordering::Relaxed);
        Granted { number: now / ONE, died: self.died.clone().filter(|_| now & MARKED != 0) }
    }

    fn row_is_empty(&mut self, word: &LockWord) {
        word.change(|word| (word & QUEUED != 0).then_some(word & !QUEUED));
    }

    fn renew(&mut self, word: &LockWord) {
        // Under the next number, so that a locking that was leaked is over.
        word.change(|word| Some((word & !BITS) + ONE));
        self.died = None;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::Location;
    use std::task::{Poll, Waker};

    use super::*;
    use crate::wait_list::{By, Party, Ticket};

    fn poll(line: &Line<Exclusive>, ticket: &mut Option<Ticket>) -> Poll<Result<Granted, LeftBehind>> {
        let (waker, place) = (Waker::noop().clone(), Location::caller());
        line.poll(ticket, (), Party { by: By::Foreign, waker, also: None, place })
    }

    #[test]
    fn who_unlocks_looks_at_the_line_only_where_somebody_waits_in_it() {
        let line = Line::<Exclusive>::default();
        let word = line.fast();
        assert!(word.try_lock().is_some());
        assert!(line.try_take((), Taker { by: By::Foreign, place: Location::caller() }).is_none());
        assert!(word.try_unlock() && word.try_lock().is_some(), "who only tried is gone");

        let mut left = None;
        assert!(poll(&line, &mut left).is_pending() && !word.try_unlock());
        line.leave(left.unwrap());
        assert!(word.try_unlock() && word.try_lock().is_some(), "who waited has left");

        let mut dozing = None;
        assert!(poll(&line, &mut dozing).is_pending() && !word.try_unlock());
        line.wake_all();
        assert!(word.try_unlock() && word.try_lock().is_some(), "who waited dozes");

        assert!(poll(&line, &mut dozing).is_pending() && !word.try_unlock());
        unlock(&line, false);
        assert!(matches!(poll(&line, &mut dozing), Poll::Ready(Ok(_))));
        assert!(word.try_unlock(), "who was the last in line has it");
    }

    #[test]
    fn the_death_of_a_holder_abandons_his_locking_once_and_no_other() {
        let line = Line::<Exclusive>::default();
        let number = line.fast().try_lock().unwrap();
        let dies = |number| {
            let holder = Holder { lane: None, name: None, taken_at: Location::caller() };
            line.change(|exclusive, word| exclusive.abandon(word, number, holder))
        };
        assert!(!dies(number - 1) && !line.fast().is_abandoned());
        assert!(dies(number) && !dies(number) && line.fast().is_abandoned());
    }
}
