//! What the two members of a shard, and those who deal with it, know of each other: roles, and how safe the data is.
//!
//! Owns: [`Pair`], which outlives every incarnation of its members. It holds no data of clients.
//!
//! # Invariants
//! 1. While the state is `Redundant`, each member holds every write that was acknowledged. Only the primary enters this
//!    state, when its standby has said that it has everything.
//! 2. Who means to kill a member takes the redundancy away first, and kills only if it was there. So between two kills
//!    the survivor has brought its new partner up to date, and no acknowledged write is ever with nobody.
//! 3. Failures that do not ask (a panic, a bug) are not held back by that: if they take both members at once, what the
//!    shard held is gone, the next primary counts it in `losses` and begins empty.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use laneway::Role;

use crate::shard::ShardMsg;
use crate::standby::StandbyMsg;
use crate::store::Usage;

/// No primary has ever served: there is nothing to lose.
const FOUNDING: u8 = 0;
/// One member at most is known to hold everything.
const SINGLE: u8 = 1;
/// Both do.
const REDUNDANT: u8 = 2;

/// One shard: the ways to its members.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Whom clients ask.
    pub(crate) primary: Role<ShardMsg>,
    /// Who has every acknowledged write too.
    pub(crate) standby: Role<StandbyMsg>,
    state: AtomicU8,
    primaries: AtomicU64,
    standbys: AtomicU64,
    losses: AtomicU64,
    usage: Mutex<Usage>,
}

/// How often the members of a shard were started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts {
    /// Primaries, the first one included.
    pub(crate) primaries: u64,
    /// Standbys, the first one included.
    pub(crate) standbys: u64,
    /// How often both were gone at once, and the data with them.
    pub(crate) losses: u64,
}

impl Pair {
    /// A shard whose members are yet to be started.
    pub(crate) fn new() -> Self {
        Self {
            primary: Role::new(),
            standby: Role::new(),
            state: AtomicU8::new(FOUNDING),
            primaries: AtomicU64::new(0),
            standbys: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            usage: Mutex::default(),
        }
    }

    /// The term of a new primary: above those of all before it.
    pub(crate) fn begin_term(&self) -> u64 {
        // ORDER: Relaxed: the number alone matters, and each is given once.
        self.primaries.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a new standby.
    pub(crate) fn note_standby(&self) {
        self.standbys.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a time when both members were gone.
    pub(crate) fn note_loss(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether some primary has served, so that there may be data to look for.
    pub(crate) fn is_founded(&self) -> bool {
        // ORDER: Acquire here and Release below: whoever sees the state sees what made it so. The members themselves
        // talk by messages, which order what they do.
        self.state.load(Ordering::Acquire) != FOUNDING
    }

    /// Whether each member has every acknowledged write.
    pub(crate) fn is_redundant(&self) -> bool {
        self.state.load(Ordering::Acquire) == REDUNDANT
    }

    /// The primary says that the standby has everything.
    pub(crate) fn transition_to_redundant(&self) {
        self.state.store(REDUNDANT, Ordering::Release);
    }

    /// Ends the redundancy: true for one caller at most each time that there was one, who may then kill one member.
    #[must_use]
    pub(crate) fn take_redundancy(&self) -> bool {
        self.state.compare_exchange(REDUNDANT, SINGLE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// How often members were started.
    pub(crate) fn starts(&self) -> Starts {
        Starts {
            primaries: self.primaries.load(Ordering::Relaxed),
            standbys: self.standbys.load(Ordering::Relaxed),
            losses: self.losses.load(Ordering::Relaxed),
        }
    }

    /// The primary says what it holds.
    pub(crate) fn publish(&self, usage: Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    }

    /// What the primary held when it last answered.
    pub(crate) fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.primary.retire();
        self.standby.retire();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redundancy_is_taken_once_and_only_where_there_is_some() {
        let pair = Pair::new();
        assert!(!pair.take_redundancy() && !pair.is_founded());
        pair.transition_to_redundant();
        assert!(pair.is_founded() && pair.is_redundant());
        assert!(pair.take_redundancy());
        assert!(!pair.take_redundancy() && pair.is_founded(), "what was founded stays so while one member is left");
    }

    #[test]
    fn a_pair_that_is_dropped_retires_its_roles() {
        let pair = Pair::new();
        let (primary, standby) = (pair.primary, pair.standby);
        drop(pair);
        assert!(primary.address().is_err() && standby.address().is_err());
    }
}
