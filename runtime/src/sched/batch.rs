//! Lanes that are woken all at once, as by a tick of the timers.
//!
//! Owns: how such a batch gets into a worker's queue, and when a second worker is woken for it. A tick's lanes have as a
//! rule little to do each, and to wake a thread costs as much as some dozens of them. So a worker begins alone, and looks
//! at the clock after 1, 2, 4, 8 … turns: once the batch has taken longer than a wake-up is worth, the others help.
//! Until then the work has this worker, as where `Idle::wake_one_hint` misses a sleeper (see `idle.rs`).

use std::cell::Cell;
use std::time::Duration;

use super::worker::Local;
use crate::env::Instant;
use crate::slot::Woken;
use crate::time::timers::Room;

/// A batch of more lanes than this is not begun alone.
const ALONE: usize = 256;
/// How long a worker works on a batch alone.
const PATIENCE: Duration = Duration::from_micros(100);
/// So many lanes ahead are fetched to the cache while one is woken.
const AHEAD: usize = 16;

/// What a worker knows of a batch on which it works alone.
#[derive(Default)]
pub(super) struct Batch {
    /// Turns until the next look at the clock; 0 where nobody has to look.
    countdown: Cell<u32>,
    /// Turns between the last look and the next.
    step: Cell<u32>,
    /// Of the batch: when it was begun.
    began: Cell<Instant>,
    /// For the timers that fire here.
    pub(super) room: Room,
}

impl Local {
    /// Wakes the lanes with these keys, which run behind those that are queued; one alone runs next, as if a message had
    /// woken it.
    pub(super) fn wake_batch(&self, keys: impl Iterator<Item = u32> + Clone) {
        let slots = keys.filter_map(|key| self.scheduler.table.at(key));
        let mut ahead = slots.clone();
        ahead.by_ref().take(AHEAD).for_each(|slot| slot.prefetch());
        let mut queued = 0;
        let mut first = None;
        for slot in slots {
            if let Some(ahead) = ahead.next() {
                ahead.prefetch();
            }
            if let Some(woken) = Woken::wake(slot) {
                if queued < ALONE {
                    woken.prefetch();
                }
                if queued == 0 {
                    first = Some(woken.into_slot());
                } else {
                    self.queue.push(woken.into_slot());
                }
                queued += 1;
            }
        }
        match first {
            Some(first) if queued == 1 => self.push_next(first),
            Some(first) => self.queue.push(first),
            None => {}
        }
        if queued > ALONE {
            self.call_for_help();
        } else if queued > 1 {
            self.batch.began.set(self.scheduler.env.now());
            self.batch.step.set(1);
            self.batch.countdown.set(2);
        }
    }

    /// Has another worker woken where the present batch takes long. To be called before each turn.
    pub(super) fn mind_batch(&self) {
        let countdown = self.batch.countdown.get();
        if countdown != 0 {
            self.batch.countdown.set(countdown - 1);
            if countdown == 1 {
                self.look_at_batch();
            }
        }
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
            self.batch.countdown.set(step);
            self.batch.step.set(2 * step);
        }
    }

    fn call_for_help(&self) {
        if let Some(worker) = self.scheduler.idle.wake_one_hint() {
            self.scheduler.unpark(worker);
        }
    }
}
