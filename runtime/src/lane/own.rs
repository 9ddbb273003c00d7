//! What a slot keeps for the one who runs the lane: its future, what was taken from its mailbox, and what it holds.
//!
//! All-zero bytes are a valid `Own`: no future, nothing taken, nothing held. (`slot.rs` relies on it.)

use std::any::Any;
use std::sync::Arc;
use std::task::Waker;

use super::Pooled;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::few::Few;
use super::frame::Frame;
use super::index::Index;
use super::resources::LaneWait;
use super::watching::Watching;
use crate::alloc::account::Account;
use crate::alloc::{self, Budget};
use crate::arena::tenancy::LaneMemory;
use crate::exit::ExitReason;
use crate::id::Id;
use crate::mailbox::node::{List, Node, Place};
use crate::reply::Answerer;
use crate::signal::{self, Signal};
use crate::slot::SlotRef;
use crate::time::wheel::TimerKey;
use crate::wait_graph::Deadlock;

/// The owner's half of a slot: one cache line.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// The future; out of here while it is polled, and after the end.
    pub(crate) frame: Option<Frame>,
    /// What was taken from the mailbox and not handled yet.
    pub(crate) inbox: List,
    /// What most lanes do not need.
    pub(crate) more: Option<Pooled<More>>,
    /// The locks that the lane holds, and those it waits for.
    pub(crate) index: Option<Pooled<Index>>,
    /// The tick for which an alarm stands in the timer wheel, 0 for none (see `time.rs`).
    pub(crate) alarm: u64,
    /// The timer behind `alarm`; one that has fired names nothing.
    pub(crate) alarm_key: Option<TimerKey>,
    /// Bits that spare a look into tables at death, see the constants.
    pub(crate) flags: u32,
    /// The wish of the first who watches the lane: the node goes back to him with the notice of the end. The wishes of
    /// others are in `More::watchers`.
    pub(crate) watch: Place,
}

const _: () = assert!(size_of::<Own>() <= 64, "the owner's half is one cache line");

/// Exit signals become messages.
pub(crate) const TRAPS_EXITS: u32 = 1;
/// The wheel may hold timers of the lane.
pub(crate) const HAS_TIMERS: u32 = 2;
/// The descriptor table may hold descriptors of the lane.
pub(crate) const HAS_DESCRIPTORS: u32 = 4;
/// `More::names` is not empty.
pub(crate) const HAS_NAMES: u32 = 8;
/// `More::doomed` says why the lane must end now.
pub(crate) const DOOMED: u32 = 16;
/// `More::receiver` must be woken when something comes.
pub(crate) const RECEIVES_BY_WAKER: u32 = 64;
/// The receiver waits: when the turn is over, the word says so.
pub(crate) const WANTS_MAIL: u32 = 128;
/// The lane has received that it is to stop, `More::stopped`, and receives nothing else any more.
pub(crate) const RECEIVES_NO_MORE: u32 = 256;
/// `Index::waits` may not be empty: it is gone through at the end of each turn.
pub(crate) const WAITS: u32 = 512;
/// `More::awaits_left` counts down.
pub(crate) const COUNTS_AWAITS: u32 = 32;
/// The wait that the lane's record was last written for is that of a message which waits for room and may hold a port.
pub(crate) const HAS_SENT_AHEAD: u32 = 1024;
/// The lane's record in the wait graph is its own, not what the last tenant of the slot left.
pub(crate) const HAS_WAITED: u32 = 2048;

/// The tables of groups may know the lane.
pub(crate) const IN_GROUPS: u32 = 4096;
/// `More::memory` says what the lane has of arenas.
pub(crate) const HAS_ARENAS: u32 = 32_768;

/// The lane has an account of memory: that of its slot.
pub(crate) const HAS_BUDGET: u32 = 8192;
/// The account is another, `More::account`.
pub(crate) const HAS_OTHER_ACCOUNT: u32 = 16384;

/// What a lane has when it is linked, watched, named or tested.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// Lanes whose end is ours and ours theirs.
    pub(crate) links: Few<Id, ()>,
    /// Who is told of our end, besides the one of `Own::watch`: the watcher, its number for this, and whether it wants the
    /// receipt.
    pub(crate) watchers: Few<(Id, u64), bool>,
    /// Whom we watch, by our numbers.
    pub(crate) watching: Watching,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) doomed: Option<ExitReason>,
    /// With what reason the lane was asked to stop; what it ends with if its future is ready without a word.
    pub(crate) stopped: Option<ExitReason>,
    /// Who waits, outside of any mailbox, for the end.
    pub(crate) joiners: Vec<Answerer<ExitReason>>,
    /// Who waits for the mailbox, where it is not the lane itself.
    pub(crate) receiver: Option<Waker>,
    /// With what error the wait of this number is to end.
    pub(crate) told: Option<(u64, Deadlock)>,
    /// Waits for other lanes that are under way, by their numbers, where there are several.
    pub(crate) pending: HashMap<u64, LaneWait, FxBuildHasher>,
    /// Awaits that the lane may still reach before it is killed.
    pub(crate) awaits_left: u64,
    /// What the lane held when its destructors began to run, which give a part of it back.
    pub(crate) at_end: Option<AtEnd>,
    /// What the lane has of arenas.
    pub(crate) memory: Option<LaneMemory>,
    /// Who pays for what the lane's code allocates, where it is not the slot's account.
    pub(crate) account: Option<&'static Account>,
    /// What the layer above keeps with the lane. User code may be in it: it is dropped with nothing borrowed.
    pub(crate) extra: Option<Extra>,
}

/// How much a lane held that is counted before its destructors run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtEnd {
    pub(crate) timers: u64,
    pub(crate) descriptors: u64,
    pub(crate) locks: u64,
    pub(crate) wait_entries: u64,
}

/// What the layer above keeps with a lane: a value of one type, which only it knows.
pub(crate) type Extra = Box<dyn Any + Send>;

#[cold]
fn make_more(place: &mut Option<Pooled<More>>) -> &mut More {
    place.insert(Pooled::default())
}

#[cold]
fn make_index(place: &mut Option<Pooled<Index>>) -> &mut Index {
    place.insert(Pooled::default())
}

/// Whose wish to hear of an end lies in a node, with his number for it.
pub(crate) fn watcher_of(wish: &Node) -> Option<(Id, u64)> {
    match wish.peek::<Signal>()? {
        Signal::Monitor { watcher, number, .. } => Some((*watcher, *number)),
        _ => None,
    }
}

impl Own {
    /// What most lanes do not need.
    #[inline]
    pub(crate) fn more(&mut self) -> &mut More {
        match &mut self.more {
            Some(more) => more,
            none => make_more(none),
        }
    }

    /// The locks that the lane holds, and those it waits for.
    #[inline]
    pub(crate) fn index(&mut self) -> &mut Index {
        match &mut self.index {
            Some(index) => index,
            none => make_index(none),
        }
    }

    /// Keeps the wish of a lane, a [`Signal::Monitor`], to hear of the end.
    pub(crate) fn watched_by(&mut self, wish: Node) {
        if self.watch.is_empty() {
            self.watch.put(wish);
        } else if let Ok(wish) = wish.take() {
            signal::take_note(self.more(), wish);
        }
    }

    /// Forgets such a wish.
    pub(crate) fn watched_no_more_by(&mut self, watcher: Id, number: u64) {
        if self.watch.get().and_then(watcher_of) == Some((watcher, number)) {
            drop(self.watch.take());
        } else if let Some(more) = &mut self.more {
            more.watchers.remove(&(watcher, number));
        }
    }

    /// Who watches the lane; one who does so twice comes twice.
    pub(crate) fn watchers(&self) -> impl Iterator<Item = Id> {
        let others = self.more.iter().flat_map(|more| more.watchers.keys());
        self.watch.get().and_then(watcher_of).into_iter().chain(others.copied()).map(|(watcher, _)| watcher)
    }

    /// Who pays for what the lane's code allocates.
    #[inline]
    pub(crate) fn account(&self, slot: SlotRef) -> Option<&'static Account> {
        if !self.has(HAS_BUDGET) {
            None
        } else if self.has(HAS_OTHER_ACCOUNT) {
            self.more.as_ref()?.account
        } else {
            alloc::of_slot(slot)
        }
    }

    /// Has the budget's account pay for what the lane's code allocates.
    #[inline]
    pub(crate) fn is_limited_by(&mut self, (budget, is_the_slots): (Budget, bool)) {
        let account = budget.keep();
        self.flags |= HAS_BUDGET;
        if !is_the_slots {
            self.flags |= HAS_OTHER_ACCOUNT;
            self.more().account = Some(account);
        }
    }

    /// Puts the future back after a poll.
    #[inline]
    pub(crate) fn put_back(&mut self, frame: Frame) {
        // There is none to drop. The compiler does not know that.
        std::mem::forget(self.frame.replace(frame));
    }

    #[inline]
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}
