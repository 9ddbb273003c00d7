//! Notifications, to the first in line or to all: what [`Notify`](super::Notify) and [`Condvar`](super::Condvar) share.
//!
//! Owns: [`Calls`], the source, and [`Core`], which names the three kinds of call. Knows nothing of mutexes.
//!
//! | a call | is | a waiter who leaves it untaken |
//! | --- | --- | --- |
//! | to one, while somebody waits | offered to the first in line | passes it on to the next, or it is kept for one who dozes |
//! | to one, while nobody waits | kept, one at most, where calls are kept; else nothing | |
//! | to all | a number that rises: who saw a smaller one is done when he is polled | takes nothing from anybody |
//!
//! What is kept is a word, [`Marks`]:
//!
//! | bits | is |
//! | --- | --- |
//! | 0 | in line: somebody may have a seat, so that who calls must look there, and who comes must not take what is kept |
//! | 1.. | how many calls to one nobody has taken |
//!
//! | from | to | by |
//! | --- | --- | --- |
//! | not in line | not in line, one | who calls one: one compare-and-swap |
//! | not in line, one | not in line, none | who comes: one compare-and-swap |
//! | all else | | whoever has the lock of the line |
//!
//! # Invariants
//! 1. At most as many calls to one are kept as there are seats that were made no offer, and one more where calls are kept
//!    for those to come. After a waiter left there can be more than one that should not: whoever comes and sees that cuts
//!    them down before he takes one.
//! 2. Who began to wait after the last call to one gets none of those before it, where calls are not kept.
//! 3. The word changes without the lock of the line only while it is not in line. It is in line while anybody has a seat:
//!    whoever takes one has set that before, under the lock, and it is cleared under the lock where nobody has one.

use crate::shim::{AtomicU64, Ordering};
use crate::wait_list::line::{Line, Seats, Source, Taker};

const IN_LINE: u64 = 1;
const ONE: u64 = 2;

/// What is looked at without the lock.
#[derive(Debug)]
pub(crate) struct Marks {
    /// Written under the lock, as is the next.
    to_all: AtomicU64,
    to_one: AtomicU64,
    /// The word.
    kept: AtomicU64,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { to_all: AtomicU64::new(0), to_one: AtomicU64::new(0), kept: AtomicU64::new(0) }
    }
}

impl Marks {
    /// Calls one where nobody is in line; false where somebody may be.
    #[inline]
    fn try_call_one(&self, kept: Kept) -> bool {
        let mut word = self.kept.load(Ordering::Relaxed);
        while word & IN_LINE == 0 {
            if kept == Kept::None {
                // Whoever is in line and is to be called for certain had his seat before the caller did something that he
                // has seen: so this would have seen him.
                return true;
            }
            // ORDER: Release: whoever takes the call sees what the caller did before. It is a step also where one is kept
            // already: who takes that one, or comes into line, comes before it or sees it.
            match self.kept.compare_exchange_weak(word, ONE, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes the call that is kept where nobody is in line.
    #[inline]
    fn try_take(&self) -> bool {
        let mut word = self.kept.load(Ordering::Relaxed);
        while word == ONE {
            // ORDER: Acquire, see `try_call_one`.
            match self.kept.compare_exchange_weak(word, 0, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// With the lock of the line held: nobody changes the word without it any more. How many calls are kept.
    fn hold(&self) -> u64 {
        let mut word = self.kept.load(Ordering::Relaxed);
        while word & IN_LINE == 0 {
            // ORDER: Acquire, see `try_call_one`.
            match self.kept.compare_exchange_weak(word, word | IN_LINE, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        word / ONE
    }

    /// With the lock of the line held, since [`Marks::hold`]: so many calls are kept. It stays in line where anybody is.
    fn keep(&self, calls: u64, in_line: bool) {
        // ORDER: Release: the lock orders this with all that is done under it; and who takes a call without it sees what the
        // caller did before.
        self.kept.store((calls * ONE) | u64::from(in_line), Ordering::Release);
    }
}

/// The calls to one that nobody has taken. All of that is in the word.
#[derive(Debug, Default)]
pub(crate) struct Calls;

/// What had been called when somebody began to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    to_all: u64,
    /// `None` where all that are kept are good for him.
    to_one: Option<u64>,
}

/// He was called with all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WithAll;

impl Source for Calls {
    type Fast = Marks;
    type Want = Since;
    type Grant = ();
    type Refusal = WithAll;

    const KIND: &'static str = "call";

    /// That all were called is told as a refusal: a call to one that he was offered goes to another.
    fn refusal(&self, marks: &Marks, since: Since) -> Option<WithAll> {
        (since.to_all < marks.to_all.load(Ordering::Relaxed)).then_some(WithAll)
    }

    fn set_aside(&mut self, marks: &Marks, since: Since) -> bool {
        let kept = marks.hold();
        let is_there = kept > 0 && since.to_one.is_none_or(|seen| seen < marks.to_one.load(Ordering::Relaxed));
        if is_there {
            marks.keep(kept - 1, true);
        }
        is_there
    }

    fn put_back(&mut self, marks: &Marks, _: Since) {
        marks.keep(marks.hold() + 1, true);
    }

    fn take(&mut self, _: &Marks, _: Since, _: Taker, _: u64) {}

    fn renew(&mut self, marks: &Marks) {
        marks.to_all.store(0, Ordering::Relaxed);
        marks.to_one.store(0, Ordering::Relaxed);
        marks.kept.store(0, Ordering::Relaxed);
    }
}

/// Whether a call to one is kept for those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    One,
    None,
}

/// The lasting part of whatever notifies.
#[derive(Debug, Default)]
pub(crate) struct Core {
    pub(crate) line: Line<Calls>,
}

impl Core {
    /// Calls the first in line.
    #[inline]
    pub(crate) fn call_one(&self, kept: Kept) {
        if !self.line.fast().try_call_one(kept) {
            self.call_in_line(kept);
        }
    }

    #[inline(never)]
    fn call_in_line(&self, kept: Kept) {
        self.line.change_for(|_, marks, seats| {
            let calls = (marks.hold() + 1).min(most(kept, seats));
            marks.keep(calls, !seats.are_empty());
            // ORDER: Relaxed: written under the lock, and compared under it.
            marks.to_one.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Takes what is kept, or a call to all `since` then, for one who has no seat and needs none to get it.
    #[inline]
    pub(crate) fn try_take(&self, since: Since) -> bool {
        let marks = self.line.fast();
        // ORDER: Acquire, as in `since`.
        since.to_all < marks.to_all.load(Ordering::Acquire) || marks.try_take()
    }

    /// Calls all who have begun to wait.
    pub(crate) fn call_all(&self) {
        // ORDER: AcqRel: who sees the call by `since` sees what the caller did before.
        self.line.close(|_, marks| marks.to_all.fetch_add(1, Ordering::AcqRel));
    }

    /// What a wait that begins now goes by, where all calls to one are good for it.
    pub(crate) fn since(&self) -> Since {
        // ORDER: Acquire: a call that came before happened before what its waiter does next.
        Since { to_all: self.line.fast().to_all.load(Ordering::Acquire), to_one: None }
    }

    /// As [`Core::since`], for a wait for which only those calls to one are good that are yet to come.
    pub(crate) fn as_of_now(&self) -> Since {
        Since { to_one: Some(self.line.fast().to_one.load(Ordering::Acquire)), ..self.since() }
    }

    /// Keeps invariant 1 after somebody has left.
    pub(crate) fn cut_down(&self, kept: Kept) {
        // ORDER: Relaxed: who left on this thread has set it before; one who left elsewhere at the same time may be
        // thought to leave a moment later. One call is never too many: where none is kept for those to come, it is too old
        // for them.
        if self.line.fast().kept.load(Ordering::Relaxed) / ONE > 1 {
            self.line.change_for(|_, marks, seats| {
                marks.keep(marks.hold().min(most(kept, seats)), !seats.are_empty());
            });
        }
    }
}

/// How many calls may be kept.
fn most(kept: Kept, seats: Seats) -> u64 {
    seats.idle as u64 + u64::from(kept == Kept::One)
}
