//! What the arenas of one lane have in common: the vat that they have chunks of, and whether the lane lives.
//!
//! Owns: [`Tenancy`], one a lane that has arenas, made with the first of them; [`Held`], a chunk with what was charged for it;
//! how arenas grow. Whether a budget has room is `lane/budget.rs`'s business.
//!
//! # Invariants
//! 1. `state` counts the arenas that have the tenancy, and the bytes of the chunks that they have. While the lane is dead, all of
//!    that is in the vat's count of what is in quarantine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{ArenaError, Heap};
use crate::context;
use crate::id::Id;
use crate::lane::own::HAS_ARENAS;
use crate::lane::{Charge, budget};
use crate::vat::class::{PAGE, in_pages};
use crate::vat::{Chunk, Refused, Vat};

/// A chunk that an arena grows by is no longer, unless more is asked for.
const LONGEST: u64 = 256 << 10;

/// What arenas of a lane have in common.
#[derive(Debug)]
pub(crate) struct Tenancy {
    lane: Id,
    vat: Arc<Vat>,
    /// Chunks are overwritten as they are given back.
    wipes: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_dead: bool,
    arenas: u64,
    bytes: u64,
}

/// What a lane that has arenas keeps of them.
#[derive(Debug)]
pub(crate) struct LaneMemory {
    pub(crate) tenancy: Arc<Tenancy>,
    /// The lane's own, if it was asked for.
    pub(crate) heap: Option<Heap>,
}

impl LaneMemory {
    /// The lane is dead, or as good as that. What its arenas still have is in quarantine.
    pub(crate) fn close(self) {
        drop(self.heap);
        self.tenancy.end();
    }
}

/// A chunk of an arena, and what its lane pays for it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) chunk: Chunk,
    charge: Charge,
}

/// The tenancy of the lane whose code runs here; `None` where there is none.
pub(crate) fn current() -> Option<Arc<Tenancy>> {
    let known = context::with_current(|_, _, own| {
        own.more.as_ref().and_then(|more| more.memory.as_ref().map(|memory| memory.tenancy.clone()))
    });
    if let Some(Some(tenancy)) = known {
        return Some(tenancy);
    }
    let lane = context::runs_what()?;
    let vat = context::with_local(|local| local.map(|local| local.scheduler.vat.clone()))?;
    let tenancy = Arc::new(Tenancy { lane, vat, wipes: AtomicBool::new(false), state: Mutex::default() });
    let kept = context::with_current(|_, _, own| {
        own.flags |= HAS_ARENAS;
        own.more().memory = Some(LaneMemory { tenancy: tenancy.clone(), heap: None });
    });
    if kept.is_none() {
        // A lane that is ending, or was taken away, keeps nothing any more: what it has from here on outlives it. Whether it
        // has asked for what it gives back to be overwritten is not known here, so that is done.
        tenancy.wipe();
        tenancy.end();
    }
    Some(tenancy)
}

impl Tenancy {
    /// Whose it is.
    pub(crate) fn lane(&self) -> Id {
        self.lane
    }

    /// Chunks are overwritten as they are given back.
    pub(crate) fn wipe(&self) {
        // ORDER: Relaxed: written by the lane; who gives its chunks back elsewhere got them from it.
        self.wipes.store(true, Ordering::Relaxed);
    }

    /// Whether they are.
    pub(super) fn wipes(&self) -> bool {
        self.wipes.load(Ordering::Relaxed)
    }

    /// There is an arena more.
    pub(crate) fn enter(&self) {
        self.change(|state| state.arenas += 1);
    }

    /// There is one less; it has given back its chunks.
    pub(crate) fn leave(&self) {
        self.change(|state| state.arenas -= 1);
    }

    /// The lane is dead.
    fn end(&self) {
        self.change(|state| state.is_dead = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let in_quarantine = |state: &State| if state.is_dead { (state.arenas, state.bytes) } else { (0, 0) };
        let mut state = self.state.lock();
        let before = in_quarantine(&state);
        change(&mut state);
        let after = in_quarantine(&state);
        if before != after {
            self.vat.quarantine.change(before, after);
        }
    }

    /// A chunk for an arena that has `so_far` bytes: as much again where there is room for it, `least` at least.
    pub(crate) fn grow(&self, so_far: u64, least: u64) -> Result<Held, ArenaError> {
        let least = in_pages(least).ok_or(ArenaError::TooLong)?;
        let wanted = so_far.clamp(PAGE, LONGEST).next_power_of_two().max(least);
        let refused = match self.take(wanted) {
            Ok(held) => return Ok(held),
            Err(refused) => refused,
        };
        let left = match refused {
            ArenaError::Budget(no_memory) => no_memory.memory.limit.saturating_sub(no_memory.memory.used),
            ArenaError::Limit { available, .. } => available,
            other => return Err(other),
        };
        // The last chunk is what is left, in whole pages.
        let rest = (left / PAGE * PAGE).min(wanted);
        if rest < least { self.take(least) } else { self.take(rest).or_else(|_| self.take(least)) }
    }

    /// A chunk of so many bytes, which are whole pages.
    pub(crate) fn take(&self, bytes: u64) -> Result<Held, ArenaError> {
        // One that unwinds must not do so twice.
        let force = std::thread::panicking();
        let charge =
            if force { budget::charge(bytes) } else { budget::try_charge(bytes).map_err(ArenaError::Budget)? };
        let chunk = self.vat.take(bytes, force).map_err(|refused| match refused {
            Refused::Limit { available } => ArenaError::Limit { requested: bytes, available, limit: self.vat.limit() },
            Refused::System => ArenaError::System { requested: bytes },
        })?;
        self.change(|state| state.bytes += bytes);
        Ok(Held { chunk, charge })
    }

    /// Takes a chunk back, by whomever.
    pub(crate) fn give(&self, held: Held) {
        let Held { chunk, charge } = held;
        let bytes = chunk.bytes();
        self.vat.give(chunk, self.wipes());
        drop(charge);
        self.change(|state| state.bytes -= bytes);
    }
}
