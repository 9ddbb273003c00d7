//! A busy worker that looks after another: it takes from one that is held up what waits there.
//!
//! Owns: [`Neighbour`], whom a worker looks at, and what it does then. The watchdog acts after milliseconds, and a thief
//! comes only when he has nothing else to do; lanes whose turns are long would feel either.

use super::Scheduler;
use super::batch::MOVED;
use super::pulse::Section;
use super::rounds::TIMERS_WITHIN;
use super::worker::Local;
use crate::env::Instant;

/// Another worker, and in which section it was when it was looked at first.
#[derive(Clone, Copy, Default)]
pub(super) struct Neighbour {
    worker: usize,
    section: Option<Section>,
    since: Instant,
}

impl Neighbour {
    /// The one that is looked at after this.
    fn next(self, own: usize, now: Instant, scheduler: &Scheduler) -> Neighbour {
        let places = scheduler.queues.in_use();
        let after = |worker: usize| (worker + 1) % places;
        let next = after(self.worker);
        let worker = if next == own { after(next) } else { next };
        let section = if worker == own { None } else { scheduler.pulses[worker].section() };
        Neighbour { worker, section, since: now }
    }
}

impl Local {
    /// Takes from a worker that has been in one section for long: its lane does not let it go, or the system has put off
    /// its thread. Not where turns are short, as such a look costs both workers. There were so many turns since the last.
    #[cold]
    pub(super) fn help(&self, neighbour: &mut Neighbour, now: Instant, turns: u32) {
        let ahead = &self.batch.taken_ahead;
        ahead.note_turns(turns);
        let Neighbour { worker, section, since } = *neighbour;
        if section.is_none() || section != self.scheduler.pulses[worker].section() {
            *neighbour = neighbour.next(self.index, now, &self.scheduler);
            return;
        }
        let (waiting, limit) = (self.queue.len(), ahead.left());
        if now - since < TIMERS_WITHIN || limit == 0 || waiting > MOVED {
            return;
        }
        self.scheduler.queues.move_from(worker, limit as usize, &self.queue);
        let taken = self.queue.len().saturating_sub(waiting);
        if taken != 0 && ahead.take(taken as u32) {
            self.move_behind(waiting);
        }
    }
}
