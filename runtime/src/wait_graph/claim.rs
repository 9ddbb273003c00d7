//! A circle of waits that somebody has run into: whether it stands, and who breaks it.
//!
//! Owns: the decision that there is a deadlock, and what is done about it. It is made under one lock, by the worker of a
//! lane of the circle at the end of that lane's turn, so that each circle is broken once.
//!
//! # When it is certain
//!
//! A circle is claimed only where nothing that the runtime or the lanes in it may still do can undo it. Of each lane of it:
//!
//! 1. It waits *alone* for what it waits for (see `note.rs`), and does not go on before the next lane has done something:
//!    that one is in its way, maybe beside others.
//! 2. It was not woken in this wait (invariant 3 of `word.rs`), nor killed.
//! 3. Only the next lane can do that. Room is made in a mailbox by its lane alone, and its end is its own. Whoever has the
//!    port of a question can answer it, and whoever has the guard of a lock can drop it: so the next lane must have handed
//!    nothing out since before it was asked, or since it took the lock, in which the port or the guard could be. One who
//!    stands before it in line leaves his seat only if he does not wait alone there; so that must be what he waits for.
//!
//! All that is looked at after the waits of all have been seen, and the waits are looked at once more afterwards. A lane
//! that had been woken by another of the circle would show it: the other began its wait after that, and its wait was seen
//! before the look. Who is in whose way is asked of the lock, in between: as all of the circle stand still meanwhile, so
//! does what they have.
//!
//! Not looked at is what those do who are in the way as well and not of the circle. What they may do is to let the lane get an
//! error instead: a writer that waits for several who read, of whom one leaks his guard and dies.
//!
//! What the runtime does not see is a port that is handed on by memory that is not the runtime's, as a channel of another
//! crate or a static: see [`hand_over`](super::hand_over).
//!
//! # Several circles
//!
//! Who waits for several may close as many circles at once. So it is looked again until none is left: whoever was told,
//! killed or woken is not parked any more, and not found again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashSet;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxBuildHasher;

use super::lock::{Face, Obstacle, Way};
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
    while let Some(circle) = find_circle(me) {
        let claims = CLAIMS.lock();
        // Where it does not stand, one of it was woken, and looks for itself at the end of the turn that it gets.
        if let Some(links) = confirm(&circle)
            && !break_circle(local, slot, record, &links, claims)
        {
            return;
        }
    }
}

/// Breaks a circle that stands, or leaves that to another of it: false where nobody can.
fn break_circle(
    local: &Local,
    slot: SlotRef,
    record: &Record,
    links: &[Link],
    mut claims: MutexGuard<'static, ()>,
) -> bool {
    if let Some(other) = better_placed(links) {
        drop(claims);
        // It looks for itself, at the end of the turn that it now gets.
        sched::wake(other);
        return true;
    }
    let me = &links[0].seen;
    let deadlock = Deadlock(Arc::new(links.iter().map(|link| describe(&link.seen, Some(&link.obstacle))).collect()));
    let victim = match &local.scheduler.deadlocks {
        DeadlockPolicy::Choose(choose) => {
            record.mark(IN_HAND, true);
            drop(claims);
            local.pulse.clear_lane();
            let chosen = catch_unwind(AssertUnwindSafe(|| choose(&deadlock)));
            let chosen = chosen.unwrap_or_else(|payload| {
                crate::panic::contain(|| drop(payload));
                None
            });
            claims = CLAIMS.lock();
            record.mark(IN_HAND, false);
            if !stands_still(links) {
                return true;
            }
            chosen.filter(|victim| links.iter().any(|link| link.seen.lane == *victim))
        }
        DeadlockPolicy::KillNewcomer => Some(me.lane),
        _ => None,
    };
    if let Some(victim) = victim {
        crate::lane::kill(victim);
    } else if me.takes_errors() {
        tell(local, slot, record, &deadlock);
    }
    drop(claims);
    local.counters.note_deadlock();
    match victim {
        Some(victim) => tracing::warn!(%victim, %deadlock, "lanes wait for each other; one was killed"),
        None if me.takes_errors() => {
            tracing::warn!(told = %me.lane, %deadlock, "lanes wait for each other; one was told")
        }
        None => tracing::error!(%deadlock, "lanes wait for each other, and none of them can be told"),
    }
    victim.is_some() || me.takes_errors()
}

/// One lane of a circle, and what the next has to do with it.
struct Link {
    seen: Seen,
    obstacle: Obstacle,
}

/// A circle that a lane is in, as far as a first look tells.
fn find_circle(me: Id) -> Option<Vec<Id>> {
    // Locks that somebody who was met waits to write: all who are in his way were met as well, and in that of the next one.
    let mut met: HashSet<*const Face, FxBuildHasher> = HashSet::with_hasher(FxBuildHasher);
    chain::search(me, |lane, next| {
        let Some(seen) = Seen::of(lane).filter(may_be_in_circle) else { return };
        if seen.awaits == Awaits::Write && seen.lock().is_some_and(|lock| !met.insert(lock)) {
            return;
        }
        seen.in_the_way(&mut |obstacle| next.extend(obstacle.lane.filter(|_| is_sure(&seen, &obstacle))));
    })
}

/// What the lanes of a circle wait for, where it stands for certain.
fn confirm(circle: &[Id]) -> Option<Vec<Link>> {
    let seen: Vec<Seen> = circle.iter().map(|lane| Seen::of(*lane)).collect::<Option<_>>()?;
    let pairs = seen.iter().zip(circle.iter().cycle().skip(1));
    let links: Vec<Link> = pairs.map(|(lane, next)| link(lane, *next)).collect::<Option<_>>()?;
    seen.iter().all(Seen::is_still).then_some(links)
}

/// Whether a circle that stood does so still, and has all the time.
fn stands_still(links: &[Link]) -> bool {
    let pairs = links.iter().zip(links.iter().cycle().skip(1));
    pairs.clone().all(|(lane, next)| lane.seen.is_still() && link(&lane.seen, next.seen.lane).is_some())
        && links.iter().all(|lane| lane.seen.is_still())
}

/// What makes a lane wait for the next of a circle, where that is certain.
fn link(seen: &Seen, next: Id) -> Option<Link> {
    let mut found = None;
    seen.in_the_way(&mut |obstacle| {
        if obstacle.lane == Some(next) && is_sure(seen, &obstacle) {
            found = Some(obstacle);
        }
    });
    found.filter(|_| may_be_in_circle(seen)).map(|obstacle| Link { seen: *seen, obstacle })
}

/// Whether nothing but what it waits for has a lane go on, as far as one look tells.
fn may_be_in_circle(seen: &Seen) -> bool {
    seen.is_alone() && !seen.is_in_hand() && seen.slot.word.is_parked(seen.lane.generation().get())
}

/// Whether only the one who is in the way can do what is awaited.
fn is_sure(seen: &Seen, obstacle: &Obstacle) -> bool {
    let Some(of) = obstacle.lane else { return false };
    match obstacle.way {
        Way::Himself => true,
        Way::Has { handed_out, .. } => handed_out != UNKNOWN && handed_out == handed_out_by(of),
        Way::IsFirst { seat, .. } => {
            let waits_there = |other: Seen| seen.lock().is_some_and(|lock| other.is_in_seat(lock, seat));
            Seen::of(of).is_some_and(waits_there)
        }
    }
}

/// Somebody else of the circle, who should be told rather than the first of it. It is not told here, as only its own worker
/// may do so, but woken, to find the circle by itself.
fn better_placed(circle: &[Link]) -> Option<SlotRef> {
    let (Link { seen: me, .. }, others) = circle.split_first()?;
    if !me.takes_errors() {
        return others.iter().find(|other| other.seen.takes_errors()).map(|other| other.seen.slot);
    }
    // A join that closes a circle wakes the lane that it waits for, which so finds the circle first.
    let Link { seen: last, .. } = others.last()?;
    (!me.is_fresh() && last.is_fresh() && last.takes_errors()).then_some(last.slot)
}

/// Ends the wait of the lane that runs here with an error.
fn tell(local: &Local, slot: SlotRef, record: &Record, deadlock: &Deadlock) {
    let told = (record.number(), deadlock.clone());
    let before = context::with_own(local, slot, |own| own.more().told.replace(told));
    drop(before);
    slot.waits.tell();
    // It runs still, so that its worker queues it.
    sched::wake(slot);
}

/// What a lane waits for, in words for people: of one who is in its way.
pub(super) fn describe(seen: &Seen, obstacle: Option<&Obstacle>) -> Waiting {
    let names = |lane: Id| {
        let scheduler = crate::slot::table_of(lane.namespace()).and_then(|table| table.scheduler());
        scheduler.map(|scheduler| scheduler.names.of(lane)).unwrap_or_default()
    };
    let (held_since, in_line_since) = match obstacle.map(|obstacle| obstacle.way) {
        Some(Way::Has { since, .. }) => (since, None),
        Some(Way::IsFirst { since, .. }) => (None, Some(since)),
        Some(Way::Himself) | None => (None, None),
    };
    Waiting {
        lane: seen.lane,
        names: names(seen.lane),
        spawned_at: seen.slot.spawned_at(),
        awaits: seen.awaits,
        of: obstacle.and_then(|obstacle| obstacle.lane),
        awaited_at: seen.at,
        held_since,
        in_line_since,
        alone: seen.is_alone(),
    }
}
