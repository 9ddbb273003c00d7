//! A circle of waits that somebody has run into: whether it stands, and who breaks it.
//!
//! Owns: the decision that there is a deadlock, and what is done about it. It is made under one lock, by the worker of a
//! lane of the circle at the end of that lane's turn, so that each circle is broken once.
//!
//! # When it is certain
//!
//! A circle is claimed only where nothing that the runtime or the lanes in it may still do can undo it. Of each lane of it:
//!
//! 1. It waits *alone* for the next (see `note.rs`).
//! 2. It was not woken in this wait (invariant 3 of `word.rs`), nor killed.
//! 3. Only the next lane can end its wait. Room is made in a mailbox by its lane alone, and its end is its own. Whoever has
//!    the port of a question can answer it, and whoever has the guard of a mutex can drop it: so the next lane must have
//!    handed nothing out since before it was asked, or since it took the mutex, in which the port or the guard could be.
//!
//! All that is looked at after the waits of all have been seen, and the waits are looked at once more afterwards. A lane
//! that had been woken by another of the circle would show it: the other began its wait after that, and its wait was seen
//! before the look.
//!
//! What the runtime does not see is a port that is handed on by memory that is not the runtime's, as a channel of another
//! crate or a static: see [`hand_over`](super::hand_over).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::note::{UNKNOWN, handed_out_by};
use super::record::{IN_HAND, Record, Seen};
use super::{Awaits, Deadlock, DeadlockPolicy, Waiting, chain};
use crate::context;
use crate::id::Id;
use crate::sched;
use crate::sched::worker::Local;
use crate::slot::SlotRef;

/// Held while a circle is looked at for certain and its breaking is decided; no code of users runs under it.
static CLAIMS: Mutex<()> = Mutex::new(());

/// The lane that `local` has run waits for one that waits: looks whether that leads back to it, and breaks the circle.
#[cold]
pub(super) fn look_for_circle(local: &Local, slot: SlotRef, record: &Record) {
    let policy = &local.scheduler.deadlocks;
    let Some(me) = slot.id().filter(|_| !matches!(policy, DeadlockPolicy::Ignore)) else { return };
    let next = |lane| Seen::of(lane).filter(Seen::is_alone).and_then(|seen| seen.of);
    let Some(circle) = chain::follow(me, next) else { return };
    let claims = CLAIMS.lock();
    let Some(seen) = confirm(&circle) else { return };
    if let Some(other) = better_placed(&seen) {
        drop(claims);
        // It looks for itself, at the end of the turn that it now gets.
        return sched::wake(other);
    }
    let deadlock = Deadlock(Arc::new(seen.iter().map(|seen| describe(seen, true)).collect()));
    let victim = match policy {
        DeadlockPolicy::Choose(choose) => {
            record.mark(IN_HAND, true);
            drop(claims);
            local.pulse.clear_lane();
            let chosen = catch_unwind(AssertUnwindSafe(|| choose(&deadlock)));
            let chosen = chosen.unwrap_or_else(|payload| {
                crate::panic::contain(|| drop(payload));
                None
            });
            let _claims = CLAIMS.lock();
            let victim = chosen.filter(|victim| circle.contains(victim));
            settle(local, slot, record, &seen[0], victim, &deadlock);
            record.mark(IN_HAND, false);
            victim
        }
        _ => {
            let victim = matches!(policy, DeadlockPolicy::KillNewcomer).then_some(me);
            settle(local, slot, record, &seen[0], victim, &deadlock);
            drop(claims);
            victim
        }
    };
    local.counters.note_deadlock();
    match victim {
        Some(victim) => tracing::warn!(%victim, %deadlock, "lanes wait for each other; one was killed"),
        None if seen[0].takes_errors() => {
            tracing::warn!(told = %me, %deadlock, "lanes wait for each other; one was told")
        }
        None => tracing::error!(%deadlock, "lanes wait for each other, and none of them can be told"),
    }
}

/// What the lanes of a circle wait for, where it stands for certain.
fn confirm(circle: &[Id]) -> Option<Vec<Seen>> {
    let seen: Vec<Seen> = circle.iter().map(|lane| Seen::of(*lane)).collect::<Option<_>>()?;
    let stands = |(lane, next): (&Seen, &Seen)| {
        let lies_with_next = match lane.awaits {
            Awaits::Room | Awaits::End => true,
            Awaits::Answer | Awaits::Lock => lane.handed_out != UNKNOWN && lane.handed_out == handed_out_by(next.lane),
        };
        lane.of == Some(next.lane)
            && lane.is_alone()
            && !lane.is_in_hand()
            && lies_with_next
            && lane.slot.word.is_parked(lane.lane.generation().get())
    };
    let pairs = || seen.iter().zip(seen.iter().cycle().skip(1));
    (pairs().all(stands) && seen.iter().all(|lane| lane.slot.waits.still(lane.ticket))).then_some(seen)
}

/// Somebody else of the circle, who should be told rather than the first of it. It is not told here, as only its own worker
/// may do so, but woken, to find the circle by itself.
fn better_placed(circle: &[Seen]) -> Option<SlotRef> {
    let (me, others) = circle.split_first()?;
    if !me.takes_errors() {
        return others.iter().find(|other| other.takes_errors()).map(|other| other.slot);
    }
    // A join that closes a circle wakes the lane that it waits for, which so finds the circle first.
    let newcomer = others.last().filter(|last| !me.is_fresh() && last.is_fresh() && last.takes_errors())?;
    Some(newcomer.slot)
}

/// Ends the wait of the lane that runs here with an error, or kills the victim.
fn settle(local: &Local, slot: SlotRef, record: &Record, me: &Seen, victim: Option<Id>, deadlock: &Deadlock) {
    if let Some(victim) = victim {
        crate::lane::kill(victim);
    } else if me.takes_errors() {
        let told = (record.number(), deadlock.clone());
        let before = context::with_own(local, slot, |own| own.more().told.replace(told));
        drop(before);
        slot.waits.tell();
        // It runs still, so that its worker queues it.
        sched::wake(slot);
    }
}

/// What a lane waits for, in words for people.
pub(super) fn describe(seen: &Seen, alone: bool) -> Waiting {
    let names = |lane: Id| {
        let scheduler = crate::slot::table_of(lane.namespace()).and_then(|table| table.scheduler());
        scheduler.map(|scheduler| scheduler.names.of(lane)).unwrap_or_default()
    };
    Waiting {
        lane: seen.lane,
        names: names(seen.lane),
        spawned_at: seen.slot.spawned_at(),
        awaits: seen.awaits,
        of: seen.of,
        awaited_at: seen.at,
        held_since: seen.held_since,
        alone,
    }
}
