//! What a lock says when the last who had it died, and what the channels say alike.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::holder::Holder;
use super::name_of;
use crate::wait_graph::{Deadlock, Waiting};

/// Why a lock was not simply got.
///
/// A program that need not care for what a dead lane left behind goes on with [`LockError::recover`], which fails only
/// where there is nothing to go on with:
///
/// ```
/// use laneway_runtime::sync::{LockError, Mutex};
///
/// async fn increment(counter: &Mutex<u64>) -> Result<u64, LockError<()>> {
///     let mut counter = counter.lock().await.or_else(LockError::recover)?;
///     *counter += 1;
///     Ok(*counter)
/// }
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// assert_eq!(runtime.block_on(increment(&Mutex::new(41)))?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
pub enum LockError<G> {
    /// The last who had the lock died with it. It is got all the same, with what he left, which may be in the middle of a
    /// change.
    OwnerDied(OwnerDied<G>),
    /// Whoever had the lock has died, and his guard was leaked or moved to another lane: as it may be in use, nobody gets
    /// the lock before that guard is dropped.
    Abandoned(Abandoned),
    /// Whoever has the lock, or one of those who read it, or one before in line waits, himself or by others, for the lane that
    /// would wait for it: it was not got. Only to lanes.
    Deadlock(Deadlocked),
}

/// A lock whose last holder died, got with what he left.
///
/// Dropped, it gives the lock back marked as it was; so the next one gets the same word.
pub struct OwnerDied<G>(Box<Left<G>>);

/// It lies elsewhere, so that a lock that is got without a word is told in no more than its guard's words and one more.
struct Left<G> {
    guard: G,
    holder: Arc<Holder>,
    /// Takes the mark from the guard's lock. It goes by the guard that is there, which may be another's by then.
    unmark: fn(&G),
}

/// A guard of a lock that can be marked.
pub(super) trait Marked {
    /// What a dead holder left is put right.
    fn unmark(&self);
}

/// Whoever had the lock has died, and his guard was leaked or moved: the lock was not got.
#[derive(Clone, Debug)]
pub struct Abandoned {
    holder: Arc<Holder>,
}

/// A lock whose holder waits for the one who would wait for it: the lock was not got, and the place in line is given up.
#[derive(Clone, Debug)]
pub struct Deadlocked {
    holder: Arc<Holder>,
    deadlock: Deadlock,
}

impl Deadlocked {
    pub(super) fn new(holder: Option<Holder>, deadlock: Deadlock) -> Deadlocked {
        // Where the first waits for one who is before it in line, that one waits for a holder.
        let has_it = |waiting: &&Waiting| waiting.held_since.is_some();
        let words = || {
            let link = deadlock.chain().iter().find(has_it).unwrap_or(&deadlock.chain()[0]);
            let taken_at = link.held_since.unwrap_or(Location::caller());
            Holder { lane: link.of, name: link.of.and_then(name_of), taken_at }
        };
        Deadlocked { holder: Arc::new(holder.unwrap_or_else(words)), deadlock }
    }

    /// Who has the lock, and where he took it; of several who read, the one that is part of the circle.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Who waits for whom.
    pub fn deadlock(&self) -> &Deadlock {
        &self.deadlock
    }
}

impl fmt::Display for Deadlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lock was not got: {}", self.deadlock)
    }
}

impl<G> OwnerDied<G> {
    pub(super) fn new(guard: G, holder: Arc<Holder>) -> OwnerDied<G>
    where
        G: Marked,
    {
        OwnerDied(Box::new(Left { guard, holder, unmark: G::unmark }))
    }

    /// Who died, and where he had taken the lock. Of a guard that was moved it is the lane that took it which is named,
    /// also where it was dropped by the death of another.
    pub fn holder(&self) -> &Holder {
        &self.0.holder
    }

    /// What was left is right, or will be before the guard is dropped: whoever comes next is told nothing.
    pub fn recover(self) -> G {
        (self.0.unmark)(&self.0.guard);
        self.0.guard
    }

    /// Goes on with the lock marked: whoever comes next gets the same word.
    pub fn into_inner(self) -> G {
        self.0.guard
    }

    /// The guard.
    pub fn get_ref(&self) -> &G {
        &self.0.guard
    }

    /// The guard, to put right what was left.
    pub fn get_mut(&mut self) -> &mut G {
        &mut self.0.guard
    }
}

impl Abandoned {
    pub(super) fn new(holder: Arc<Holder>) -> Abandoned {
        Abandoned { holder }
    }

    /// Who died, and where he had taken the lock.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }
}

impl<G> LockError<G> {
    /// Goes on with what was left, as with [`OwnerDied::recover`].
    ///
    /// # Errors
    /// The lock was not got.
    pub fn recover(self) -> Result<G, LockError<()>> {
        match self {
            LockError::OwnerDied(died) => Ok(died.recover()),
            LockError::Abandoned(abandoned) => Err(LockError::Abandoned(abandoned)),
            LockError::Deadlock(deadlocked) => Err(LockError::Deadlock(deadlocked)),
        }
    }

    /// The error alone, which outlives the lock; what was got is given back, marked.
    pub fn without_guard(self) -> LockError<()> {
        match self {
            LockError::OwnerDied(died) => {
                let Left { holder, .. } = *died.0;
                LockError::OwnerDied(OwnerDied(Box::new(Left { guard: (), holder, unmark: |()| () })))
            }
            LockError::Abandoned(abandoned) => LockError::Abandoned(abandoned),
            LockError::Deadlock(deadlocked) => LockError::Deadlock(deadlocked),
        }
    }

    /// Who died, or has the lock, if it is about one, and where he had taken it.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            LockError::OwnerDied(died) => Some(died.holder()),
            LockError::Abandoned(abandoned) => Some(abandoned.holder()),
            LockError::Deadlock(deadlocked) => Some(deadlocked.holder()),
        }
    }
}

/// Why a lock was not got at once.
#[non_exhaustive]
pub enum TryLockError<G> {
    /// Somebody has it, or is first in line.
    Locked,
    /// Whoever had it has died.
    Failed(LockError<G>),
}

impl<G> fmt::Debug for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerDied").field("holder", &self.0.holder).finish_non_exhaustive()
    }
}

impl<G> fmt::Display for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the last holder died with the lock: {}", self.0.holder)
    }
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lock's guard may be in use, though its holder died: {}", self.holder)
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::OwnerDied(died) => died.fmt(f),
            LockError::Abandoned(abandoned) => fmt::Debug::fmt(abandoned, f),
            LockError::Deadlock(deadlocked) => fmt::Debug::fmt(deadlocked, f),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::OwnerDied(died) => died.fmt(f),
            LockError::Abandoned(abandoned) => abandoned.fmt(f),
            LockError::Deadlock(deadlocked) => deadlocked.fmt(f),
        }
    }
}

impl<G> fmt::Debug for TryLockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Locked => f.write_str("Locked"),
            TryLockError::Failed(error) => error.fmt(f),
        }
    }
}

impl<G> fmt::Display for TryLockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Locked => f.write_str("somebody has the lock, or is first in line for it"),
            TryLockError::Failed(error) => error.fmt(f),
        }
    }
}

impl<G> Error for OwnerDied<G> {}
impl Error for Abandoned {}
impl Error for Deadlocked {}
impl<G> Error for LockError<G> {}
impl<G> Error for TryLockError<G> {}

/// The traits of a channel's `SendError`, which says `$why` and shows nothing of what came back.
macro_rules! came_back {
    ($why:expr) => {
        impl<T> std::fmt::Debug for SendError<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("SendError").finish_non_exhaustive()
            }
        }

        impl<T> std::fmt::Display for SendError<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($why)
            }
        }

        impl<T> std::error::Error for SendError<T> {}
    };
}

pub(super) use came_back;
