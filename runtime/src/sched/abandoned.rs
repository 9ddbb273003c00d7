//! Lanes that were killed while they were stuck, and taken from their workers: they end at once, and their polls go on.
//!
//! Owns: [`Abandoned`], the list of them. What their end is lies in `lane/death.rs`: [`death::bury`] is all of it but what
//! the worker has on its stack, [`death::depart`] is the rest.
//!
//! # Invariants
//! 1. A lane is in the list from the moment in which it was taken until it is buried and its poll has returned. Whoever
//!    does the later of the two gives its slot back; until then the slot has no other tenant.
//! 2. It is buried once, by whichever worker comes first, or by one that leaves.
//!
//! [`death::bury`]: crate::lane::death::bury
//! [`death::depart`]: crate::lane::death::depart

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::alloc::Budget;
use crate::id::Id;
use crate::lane::Pooled;
use crate::lane::index::Index;
use crate::lane::own::Own;
use crate::runtime::LaneInfo;
use crate::sched::hold;
use crate::slot::{SlotRef, is_same};

/// The abandoned lanes of a runtime.
#[derive(Default)]
pub(crate) struct Abandoned {
    lanes: Mutex<Vec<Entry>>,
    unburied: AtomicUsize,
    total: AtomicU64,
}

struct Entry {
    lane: LaneInfo,
    slot: SlotRef,
    /// What is to be buried, until somebody does.
    remains: Option<Remains>,
    is_buried: bool,
    /// What the lane holds of green locks, once it is buried: it is released when the poll has returned.
    index: Option<Pooled<Index>>,
    /// Who pays for what its code allocates until then.
    budget: Option<Budget>,
    has_returned: bool,
}

/// What there is of a lane that was taken away.
pub(crate) struct Remains {
    pub(crate) id: Id,
    pub(crate) slot: SlotRef,
    pub(crate) taken: hold::Taken,
    pub(crate) own: Own,
    /// The list of the mailbox, where that was open.
    pub(crate) mail: u32,
}

/// What is left of a lane whose poll has returned.
pub(crate) struct Leftovers {
    pub(crate) id: Id,
    /// What it held of green locks.
    pub(crate) index: Option<Pooled<Index>>,
    /// Who paid for its memory.
    pub(crate) budget: Option<Budget>,
}

impl Abandoned {
    /// A lane was taken. Called in the time in which its worker is kept from leaving it.
    pub(crate) fn insert(&self, lane: LaneInfo, remains: Remains) {
        let entry = Entry {
            lane,
            slot: remains.slot,
            remains: Some(remains),
            is_buried: false,
            index: None,
            budget: None,
            has_returned: false,
        };
        self.lanes.lock().push(entry);
        // ORDER: Relaxed: it counts.
        self.total.fetch_add(1, Ordering::Relaxed);
        // ORDER: Release pairs with the Acquire in `are_unburied`. The worker that is woken for it hears of it by the idle
        // word, as of a lane that is queued (`idle.rs`).
        self.unburied.fetch_add(1, Ordering::Release);
    }

    /// Whether there are lanes to be buried.
    #[inline]
    pub(crate) fn are_unburied(&self) -> bool {
        self.unburied.load(Ordering::Acquire) != 0
    }

    /// Takes a lane that is to be buried; the caller does it.
    pub(crate) fn next_to_bury(&self) -> Option<Remains> {
        if !self.are_unburied() {
            return None;
        }
        let remains = self.lanes.lock().iter_mut().find_map(|entry| entry.remains.take())?;
        self.unburied.fetch_sub(1, Ordering::Relaxed);
        Some(remains)
    }

    /// A lane is buried. Where its poll has returned, the caller is to release what comes back, and the slot.
    pub(crate) fn is_buried(
        &self,
        slot: SlotRef,
        index: Option<Pooled<Index>>,
        budget: Option<Budget>,
    ) -> Option<Leftovers> {
        self.settle(slot, |entry| {
            entry.is_buried = true;
            entry.index = index;
            entry.budget = budget;
        })
    }

    /// A lane's poll has returned. Where it is buried, the caller is to release what comes back, and the slot.
    pub(crate) fn has_returned(&self, slot: SlotRef) -> Option<Leftovers> {
        self.settle(slot, |entry| entry.has_returned = true)
    }

    fn settle(&self, slot: SlotRef, note: impl FnOnce(&mut Entry)) -> Option<Leftovers> {
        let mut lanes = self.lanes.lock();
        let at = lanes.iter().position(|entry| is_same(entry.slot, slot))?;
        note(&mut lanes[at]);
        let is_over = lanes[at].is_buried && lanes[at].has_returned;
        is_over.then(|| lanes.swap_remove(at)).map(|entry| Leftovers {
            id: entry.lane.id,
            index: entry.index,
            budget: entry.budget,
        })
    }

    /// How many there are whose poll has not returned.
    pub(crate) fn count(&self) -> usize {
        self.lanes.lock().iter().filter(|entry| !entry.has_returned).count()
    }

    /// Which they are.
    pub(crate) fn lanes(&self) -> Vec<LaneInfo> {
        let lanes = self.lanes.lock();
        lanes.iter().filter(|entry| !entry.has_returned).map(|entry| entry.lane.clone()).collect()
    }

    /// How many there have been.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}
