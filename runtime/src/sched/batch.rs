//! Lanes that are woken all at once, as by a tick of the timers.
//!
//! Owns: how such a batch gets into a worker's queue, and when a second worker is woken for it. A tick's lanes have as a
//! rule little to do each, and to wake a thread costs as much as some dozens of them. So a worker begins alone, and looks
//! at the clock after 1, 2, 4, 8 … turns: once the batch has taken longer than a wake-up is worth, the others help.
//! Until then the work has this worker, as where `Idle::wake_one_hint` misses a sleeper (see `idle.rs`).
//!
//! # Who goes ahead
//!
//! A lane that waited for its time goes ahead of those that wait for their turn: where turns are long and lanes many, it
//! would else be late by a round of the queue, and by more on a worker whose thread the system has just put off. The same
//! holds for one that a look at I/O has woken, and for those that are taken from a worker that is held up. What goes ahead
//! is bounded, or lanes that wait for one tick after the other would leave the rest nothing: every fourth turn at least is
//! for who waits ([`Ahead`]).

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::Duration;

use super::worker::Local;
use crate::env::Instant;
use crate::slot::Woken;
use crate::time::timers::Room;

/// A batch of more lanes than this is not begun alone.
const ALONE: usize = 256;
/// How long a worker works on a batch alone.
const PATIENCE: Duration = Duration::from_micros(100);
/// So many lanes are fetched to the cache before they are woken.
const FETCHED: usize = 16;
/// Nobody goes ahead of more lanes than these, each of which is moved behind him.
pub(super) const MOVED: usize = 1024;

/// What a worker knows of a batch on which it works alone.
#[derive(Default)]
pub(super) struct Batch {
    /// The number of the turn before which somebody has to look at the clock.
    look_at: Cell<Option<NonZeroU64>>,
    /// Turns between the last look and the next.
    step: Cell<u64>,
    /// Of the batch: when it was begun.
    began: Cell<Instant>,
    /// Of lanes that this worker wakes when it looks outside.
    pub(super) woken_ahead: Ahead<2, 64>,
    /// Of lanes that it takes from one that is held up.
    pub(super) taken_ahead: Ahead<1, 16>,
    /// For the timers that fire here.
    pub(super) room: Room,
}

impl Batch {
    /// The number of the turn before which it has to be looked at.
    pub(super) fn look_at(&self) -> u64 {
        self.look_at.get().map_or(u64::MAX, NonZeroU64::get)
    }
}

/// How many lanes may go ahead of those that wait: some of every four turns, and no more than `MOST` where none has for
/// long. Kept in quarters of a lane.
#[derive(Default)]
pub(super) struct Ahead<const OF_FOUR: u32, const MOST: u32>(Cell<u32>);

impl<const OF_FOUR: u32, const MOST: u32> Ahead<OF_FOUR, MOST> {
    /// The worker has given so many turns.
    pub(super) fn note_turns(&self, turns: u32) {
        self.0.set((self.0.get() + OF_FOUR * turns).min(4 * MOST));
    }

    /// How many may.
    pub(super) fn left(&self) -> u32 {
        self.0.get() / 4
    }

    /// So many do, if they may.
    pub(super) fn take(&self, lanes: u32) -> bool {
        let may = lanes <= self.left();
        if may {
            self.0.set(self.0.get() - 4 * lanes);
        }
        may
    }
}

impl Local {
    /// Wakes the lanes with these keys. As many of them as may go ahead of those that are queued; one alone is to run
    /// next, as if a message had woken it.
    pub(super) fn wake_batch(&self, keys: impl Iterator<Item = u32> + Clone) {
        let slots = keys.filter_map(|key| self.scheduler.table.at(key));
        let mut fetched = slots.clone();
        fetched.by_ref().take(FETCHED).for_each(|slot| slot.prefetch());
        let waiting = self.queue.len();
        let ahead = if (1..=MOVED).contains(&waiting) { self.batch.woken_ahead.left() } else { 0 };
        let mut queued = 0;
        let mut first = None;
        for slot in slots {
            if let Some(next) = fetched.next() {
                next.prefetch();
            }
            let Some(woken) = Woken::wake(slot) else { continue };
            if queued < ALONE {
                woken.prefetch();
            }
            queued += 1;
            if queued == 1 {
                first = Some(woken.into_slot());
                continue;
            }
            if let Some(first) = first.take() {
                self.queue.push(first);
            }
            self.queue.push(woken.into_slot());
            if queued == ahead as usize && self.batch.woken_ahead.take(ahead) {
                self.move_behind(waiting);
            }
        }
        match first {
            Some(first) => self.push_next(first),
            None if queued != 0 && queued < ahead as usize && self.batch.woken_ahead.take(queued as u32) => {
                self.move_behind(waiting);
            }
            None => {}
        }
        if self.pulse.orders().is_robbed() {
            // Whoever was stuck before in this section may be so again.
            self.pass_on();
        } else if queued > ALONE {
            self.call_for_help();
        } else if queued > 1 {
            self.batch.began.set(self.scheduler.env.now());
            self.batch.step.set(1);
            self.look_at_batch_after(1);
        }
    }

    /// Moves those who waited behind the lanes that have come after them and go ahead.
    #[cold]
    pub(super) fn move_behind(&self, waiting: usize) {
        for _ in 0..waiting {
            // Others may have taken some meanwhile.
            let Some(slot) = self.queue.pop() else { return };
            self.queue.push(slot);
        }
    }

    /// Has another worker woken where the present batch takes long. Called before a turn.
    pub(super) fn mind_batch(&self) {
        if self.turn.next_number() >= self.batch.look_at() {
            self.batch.look_at.set(None);
            self.look_at_batch();
        }
    }

    /// The batch is looked at after so many turns.
    fn look_at_batch_after(&self, turns: u64) {
        let look_at = self.turn.next_number() + turns;
        self.batch.look_at.set(NonZeroU64::new(look_at));
        self.attend_at.set(self.attend_at.get().min(look_at));
    }

    #[cold]
    fn look_at_batch(&self) {
        if self.queue.is_empty() {
            return;
        }
        if self.scheduler.env.now() - self.batch.began.get() >= PATIENCE {
            self.call_for_help();
        } else {
            let step = self.batch.step.get();
            self.look_at_batch_after(step);
            self.batch.step.set(2 * step);
        }
    }

    #[inline(never)]
    pub(super) fn call_for_help(&self) {
        if let Some(worker) = self.scheduler.idle.wake_one_hint() {
            self.scheduler.unpark(worker);
        }
    }
}
