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
//! # Invariants
//! 1. At most as many calls to one are kept as there are seats that were made no offer, and one more where calls are kept
//!    for those to come. After a waiter left there can be more: `many` says so, and whoever comes cuts them down before
//!    he takes one.
//! 2. Who began to wait after the last call to one gets none of those before it, where calls are not kept.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::pool::{Pool, Pooled};
use crate::wait_list::By;
use crate::wait_list::line::{Line, Source, Taker};

/// What is looked at without the lock; written under it.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    to_all: AtomicU64,
    to_one: AtomicU64,
    /// More calls may be kept than invariant 1 says.
    many: AtomicBool,
}

impl Marks {
    /// One call is never too many: where none is kept for those to come, it is too old for them.
    fn note(&self, calls: &Calls) {
        self.many.store(calls.kept > 1, Ordering::Relaxed);
    }
}

/// The calls to one that nobody has taken.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    kept: usize,
}

/// What had been called when somebody began to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    to_all: u64,
    to_one: u64,
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
        let is_there = self.kept > 0 && since.to_one < marks.to_one.load(Ordering::Relaxed);
        self.kept -= usize::from(is_there);
        is_there
    }

    fn put_back(&mut self, marks: &Marks, _: Since) {
        self.kept += 1;
        marks.note(self);
    }

    fn take(&mut self, _: &Marks, _: Since, _: Taker, _: u64) {}

    fn renew(&mut self, marks: &Marks) {
        self.kept = 0;
        marks.to_all.store(0, Ordering::Relaxed);
        marks.to_one.store(0, Ordering::Relaxed);
        marks.many.store(false, Ordering::Relaxed);
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

static POOL: Pool<Core> = Pool::new();

impl Pooled for Core {
    fn pool() -> &'static Pool<Core> {
        &POOL
    }

    fn renew(&'static self) {
        self.line.renew();
    }

    fn had_by(&self, by: By) -> (usize, usize) {
        (0, self.line.waiting_by(by))
    }
}

impl Core {
    /// Calls the first in line.
    pub(crate) fn call_one(&self, kept: Kept) {
        self.line.change_for(|calls, marks, idle| {
            calls.kept = (calls.kept + 1).min(most(kept, idle));
            marks.note(calls);
            // ORDER: Relaxed: written under the lock, and compared under it.
            marks.to_one.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Calls all who have begun to wait.
    pub(crate) fn call_all(&self) {
        // ORDER: AcqRel: who sees the call by `since` sees what the caller did before.
        self.line.close(|_, marks| marks.to_all.fetch_add(1, Ordering::AcqRel));
    }

    /// What a wait that begins now goes by, where all calls to one are good for it.
    pub(crate) fn since(&self) -> Since {
        // ORDER: Acquire: a call that came before happened before what its waiter does next.
        Since { to_all: self.line.fast().to_all.load(Ordering::Acquire), to_one: 0 }
    }

    /// As [`Core::since`], for a wait for which only those calls to one are good that are yet to come.
    pub(crate) fn as_of_now(&self) -> Since {
        Since { to_one: self.line.fast().to_one.load(Ordering::Acquire), ..self.since() }
    }

    /// Keeps invariant 1 after somebody has left.
    pub(crate) fn cut_down(&self, kept: Kept) {
        // ORDER: Relaxed: who left on this thread has set it before; one who left elsewhere at the same time may be
        // thought to leave a moment later.
        if self.line.fast().many.load(Ordering::Relaxed) {
            self.line.change_for(|calls, marks, idle| {
                calls.kept = calls.kept.min(most(kept, idle));
                marks.note(calls);
            });
        }
    }
}

fn most(kept: Kept, idle: usize) -> usize {
    idle + usize::from(kept == Kept::One)
}
