//! The short way to the end of a lane that was killed and holds nothing: no timers, names or locks, no mail, no ties but
//! one watcher.
//!
//! The steps are those of `death.rs`, in the same order, less those for which there would be nothing to do. Where thousands
//! are killed at once, most are such lanes.

use super::{guarded, part, report, tell};
use crate::context;
use crate::exit::ExitReason;
use crate::id::Id;
use crate::lane::own::{COUNTS_AWAITS, HAS_ARENAS, HAS_BUDGET, HAS_DESCRIPTORS, HAS_NAMES, HAS_TIMERS, IN_GROUPS, Own};
use crate::lane::watch;
use crate::lane::word::{EMPTY, Taken};
use crate::receipt::ExitReceipt;
use crate::reply::NoAnswer;
use crate::sched::hold::Left;
use crate::sched::worker::Local;
use crate::slot::{SlotRef, Table};

const HOLDS: u32 = HAS_TIMERS | HAS_DESCRIPTORS | HAS_NAMES | HAS_BUDGET | HAS_ARENAS | IN_GROUPS | COUNTS_AWAITS;

/// Whether a lane that was killed goes the short way, whose word is closed; `taken` was in its mailbox.
#[inline]
pub(super) fn has_nothing(local: &Local, own: &Own, taken: &Taken) -> bool {
    taken.head == EMPTY
        && !taken.waiters
        && !own.has(HOLDS)
        && own.inbox.is_empty()
        && own.more.is_none()
        && own.index.is_none()
        && local.scheduler.faults.is_none()
}

/// Ends a lane that was killed, whose word is closed, and that [has nothing](has_nothing).
#[inline(always)]
pub(super) fn end(local: &Local, slot: SlotRef, id: Id) {
    // 2. Nobody is being ended here but this lane.
    local.ending.set_killed(true);
    let frame = context::with_own(local, slot, |own| {
        own.watch.prefetch();
        own.frame.take()
    });
    local.pulse.hold.enter_destructors(slot, true);
    let (mut bytes, mut panics) = (0, 0);
    if let Some(frame) = frame {
        bytes = frame.size() as u64;
        panics = guarded(|| drop(frame));
    }
    let left = local.pulse.hold.leave_destructors();
    local.ending.set_killed(false);
    if left == Left::TakenAway {
        return part(local, slot, bytes, panics);
    }

    // 5.
    let watch = context::with_own(local, slot, |own| own.watch.take());
    local.pulse.clear_lane();
    local.running.set(None);
    report(slot, id, &[], &ExitReason::Killed);
    let is_last = slot.word.next_generation() == 0;
    local.give_back(slot, is_last);
    let is_awaited = slot.word.transition_to_dead();
    if is_last {
        Table::retire(slot);
    }

    // 6.
    if local.has_news() {
        local.pass_verdict(|| NoAnswer::Ended(ExitReason::Killed));
    }
    let watch = match watch {
        Some(watch) if !is_awaited => watch::answer_with_death(watch, id, local),
        watch => watch,
    };
    if watch.is_some() || is_awaited {
        let mut receipt = ExitReceipt::new(ExitReason::Killed);
        (receipt.bytes, receipt.destructor_panics) = (bytes, panics);
        let signals = if is_awaited { watch::take_late(id) } else { Vec::new() };
        tell(id, watch, None, signals, &mut receipt, Some(local));
        panics = receipt.destructor_panics;
    }
    local.counters.note_killed(bytes, panics);
}
