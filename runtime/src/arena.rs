//! Arenas: memory that is one lane's own, in chunks from the vat of its runtime, charged to its budget.
//!
//! A [`Scratch`] is for what the message in hand needs: its memory is handed out by adding to a pointer, and had back all at
//! once, when the message has been handled. A [`Heap`] is for collections that stay: what is freed in it is used again by
//! the same lane. Collections are those of others, [`Vec`], [`Box`], [`HashMap`]; [`String`] is a vector that is text.
//!
//! ```
//! use laneway_runtime::arena::{self, Scratch, TryGrow, Vec};
//! use laneway_runtime::{Runtime, lane::Spawn, mailbox::Inbox};
//!
//! let runtime = Runtime::builder().build()?;
//! let (tell, told) = std::sync::mpsc::channel();
//! runtime.block_on(async {
//!     Spawn::new().spawn(|_: Inbox<()>| async move {
//!         let mut seen = Vec::new_in(arena::heap().unwrap());
//!         let mut scratch = Scratch::new();
//!         for round in 0..3 {
//!             let line = scratch.format(format_args!("round {round}"));
//!             seen.push(line.len());
//!             scratch.reset();
//!         }
//!         seen.try_grow(1 << 10).expect("the lane has no budget");
//!         tell.send(seen.iter().sum::<usize>()).unwrap();
//!     })
//! })?;
//! assert_eq!(told.recv()?, 3 * "round 0".len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where there is no more memory
//!
//! What has `try_` in its name gives an [`ArenaError`], and so does [`TryGrow::try_grow`] for collections: what was put in by then
//! is there as before, and what it has made room for can be put in without fear. All else unwinds. That ends the lane alone,
//! with [`ExitReason::OutOfMemory`]; guards are dropped on the way as in a panic, and locks
//! left as by one. The collections would abort the process where an allocator refuses. Ours does not refuse them: it unwinds
//! itself, before it has changed anything, which the contract of `Allocator` allows. So a vector that is extended by many
//! may have got some of them by then; a [`String`] has got all of a text, or nothing.
//!
//! In destructors that run while the lane unwinds already, a second one would end the process. What they ask for they get,
//! past the budget and past the limit of arenas; it is charged all the same.
//!
//! # Whose an arena is
//!
//! Each is one lane's, and memory is taken from it only where that lane's code runs (`context::runs`): in its polls, in its
//! destructors, and in a poll that was stuck and goes on after the lane was killed. That is one thread at a time, and the
//! lane's word orders one after the other. So a handle may go with the lane from worker to worker, and a reference to it may
//! be used anywhere, without a lock: elsewhere it gives [`ArenaError::NotHere`], or panics. What lies in the memory is
//! nobody's business here; it may be read, moved and dropped wherever its types allow.
//!
//! # What is left of an arena
//!
//! A scratch lends its memory: what is in it cannot outlive the message, since the reset takes the scratch whole. A heap is
//! kept by each handle and each collection in it. One that is sent to another lane, leaked, or kept in a static keeps the
//! memory of the whole heap, also when the lane is dead: then that is in **quarantine**, still charged, still counted as used,
//! and counted by [`Metrics::arenas_quarantined`](crate::Metrics::arenas_quarantined). It goes back to the vat with the last
//! of them, or never; nothing dangles.
//!
//! A lane that never asks for an arena pays nothing. One that does has its first chunk, of 4 KiB, with the first byte, and each
//! further one is as long as all so far, up to 256 KiB, if no more is asked for; the last is as long as the budget has whole pages left.

use std::alloc::Layout;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::context;
use crate::exit::ExitReason;
use crate::lane::{NoMemory, NotInLane};

pub(crate) mod elsewhere;
mod heap;
mod scratch;
mod string;
pub(crate) mod tenancy;

pub use allocator_api2::boxed::Box;
pub use allocator_api2::vec::Vec;
pub use heap::Heap;
pub use scratch::Scratch;
pub use string::String;

/// hashbrown's map in an arena. Its hasher is quick and the same everywhere, not safe against keys that an enemy chooses; `S` is another.
pub type HashMap<K, V, A, S = rustc_hash::FxBuildHasher> = hashbrown::HashMap<K, V, S, A>;
/// hashbrown's set in an arena; see [`HashMap`].
pub type HashSet<T, A, S = rustc_hash::FxBuildHasher> = hashbrown::HashSet<T, S, A>;

/// Why an arena gave no memory. Nothing was changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArenaError {
    /// The lane's budget has no room for it.
    Budget(NoMemory),
    /// The [limit of arenas](crate::Builder::arena_limit) of the runtime has no room for it.
    Limit {
        /// What was asked for, in bytes.
        requested: u64,
        /// What is left, in bytes.
        available: u64,
        /// The limit.
        limit: u64,
    },
    /// The system has no more memory.
    System {
        /// What was asked for, in bytes.
        requested: u64,
    },
    /// The arena is another lane's, or no lane runs here.
    NotHere,
    /// No memory is as long as this.
    TooLong,
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArenaError::Budget(no_memory) => no_memory.fmt(f),
            ArenaError::Limit { requested, available, limit } => {
                write!(f, "{requested} bytes asked for, {available} left of the runtime's {limit}")
            }
            ArenaError::System { requested } => write!(f, "the system has no {requested} bytes left"),
            ArenaError::NotHere => f.write_str("the arena is another lane's, or no lane runs here"),
            ArenaError::TooLong => f.write_str("no memory is as long as that"),
        }
    }
}

impl std::error::Error for ArenaError {}

impl ArenaError {
    /// Ends the lane that runs here, by unwinding with this.
    #[cold]
    fn unwind(self) -> ! {
        match self {
            ArenaError::NotHere => panic!("{self}"),
            _ => resume_unwind(std::boxed::Box::new(self)),
        }
    }

    /// What the lane ends with whom it unwound; `None` where that is a panic.
    pub(crate) fn reason(&self) -> Option<ExitReason> {
        let (budget, requested) = match *self {
            ArenaError::Budget(NoMemory { requested, memory, .. }) => (memory.limit, requested),
            ArenaError::Limit { requested, limit, .. } => (limit, requested),
            ArenaError::System { requested } => (u64::MAX, requested),
            ArenaError::NotHere | ArenaError::TooLong => return None,
        };
        Some(ExitReason::OutOfMemory { budget, requested })
    }
}

mod sealed {
    use super::ArenaError;

    /// What [`super::TryGrow`] asks of an arena, so that none but ours is one.
    #[expect(unnameable_types, reason = "so that `Arena` is for ours alone")]
    pub trait Ours {
        /// Whether memory may be taken here.
        fn is_here(&self) -> Result<(), ArenaError>;
    }
}
use sealed::Ours;

/// Arenas, as allocators: [`Heap`] and references to [`Scratch`].
pub trait Arena: Allocator + Clone + Ours {}

impl Arena for Heap {}
impl Arena for &Scratch {}

/// Room in collections, asked for without unwinding.
pub trait TryGrow {
    /// Sees to it that so many more fit in without another look for memory.
    ///
    /// The collections' own `try_reserve` does not do: they unwind from an arena, as all that is not ours.
    ///
    /// # Errors
    /// [`ArenaError`]: the collection is as it was. Where it is the hasher of a map that was refused, while that map moved
    /// its elements, some of them may be gone, as after a panic of a hasher.
    ///
    /// ```
    /// use laneway_runtime::arena::{ArenaError, Scratch, TryGrow};
    ///
    /// let scratch = Scratch::new();
    /// let mut numbers = scratch.vec::<u8>();
    /// assert_eq!(numbers.try_grow(1), Err(ArenaError::NotHere), "no lane runs here");
    /// ```
    fn try_grow(&mut self, additional: usize) -> Result<(), ArenaError>;
}

impl<T, A: Arena> TryGrow for Vec<T, A> {
    fn try_grow(&mut self, additional: usize) -> Result<(), ArenaError> {
        let arena = self.allocator().clone();
        leniently(&arena, || self.try_reserve(additional))
    }
}

impl<A: Arena> TryGrow for String<A> {
    fn try_grow(&mut self, additional: usize) -> Result<(), ArenaError> {
        self.bytes_mut().try_grow(additional)
    }
}

impl<K: Eq + Hash, V, S: BuildHasher, A: Arena> TryGrow for hashbrown::HashMap<K, V, S, A> {
    fn try_grow(&mut self, additional: usize) -> Result<(), ArenaError> {
        let arena = self.allocator().clone();
        leniently(&arena, || self.try_reserve(additional))
    }
}

impl<T: Eq + Hash, S: BuildHasher, A: Arena> TryGrow for hashbrown::HashSet<T, S, A> {
    fn try_grow(&mut self, additional: usize) -> Result<(), ArenaError> {
        let arena = self.allocator().clone();
        leniently(&arena, || self.try_reserve(additional))
    }
}

/// Runs what asks an arena, and makes an error of its refusal. That unwinds here as elsewhere: an error in the allocator's own
/// words would go to whoever asks, as a hasher within, who would abort the process for it.
fn leniently<E>(arena: &impl Arena, grow: impl FnOnce() -> Result<(), E>) -> Result<(), ArenaError> {
    arena.is_here()?;
    // The collections are as they were when their allocator unwinds, or as hashbrown leaves a map whose hasher does.
    match catch_unwind(AssertUnwindSafe(grow)) {
        Ok(grown) => grown.map_err(|_| ArenaError::TooLong),
        Err(thrown) => match thrown.downcast::<ArenaError>() {
            Ok(refused) => Err(*refused),
            Err(thrown) => resume_unwind(thrown),
        },
    }
}

/// What an allocator says to a request: it never refuses, but unwinds.
#[inline]
fn answer(layout: Layout, result: Result<NonNull<u8>, ArenaError>) -> Result<NonNull<[u8]>, AllocError> {
    match result {
        Ok(block) => Ok(NonNull::slice_from_raw_parts(block, layout.size())),
        Err(error) => error.unwind(),
    }
}

/// Where nothing lies that is so aligned: what has no bytes is no block, wherever it is.
fn no_bytes(layout: Layout) -> NonNull<u8> {
    NonNull::without_provenance(NonZero::new(layout.align()).unwrap_or(NonZero::<usize>::MIN))
}

/// The heap of the lane that runs here, which is made when it is asked for first.
///
/// ```
/// use laneway_runtime::arena;
/// assert!(arena::heap().is_err(), "no lane runs here");
/// ```
///
/// # Errors
/// [`NotInLane`].
pub fn heap() -> Result<Heap, NotInLane> {
    let known =
        context::with_current(|_, _, own| own.more.as_ref().and_then(|more| more.memory.as_ref()?.heap.clone()));
    if let Some(Some(heap)) = known {
        return Ok(heap);
    }
    let heap = Heap::new(tenancy::current().ok_or(NotInLane)?);
    context::with_current(|_, _, own| {
        if let Some(memory) = &mut own.more().memory {
            memory.heap = Some(heap.clone());
        }
    });
    Ok(heap)
}

/// From now on, whatever the arenas of the lane that runs here give back is overwritten with zeroes, so that no other lane
/// finds what was in it. Else a chunk is handed on as it is; nobody can read it by safe code before he has written it.
///
/// # Errors
/// [`NotInLane`].
pub fn wipe() -> Result<(), NotInLane> {
    tenancy::current().ok_or(NotInLane)?.wipe();
    Ok(())
}

#[cfg(test)]
mod tests;
