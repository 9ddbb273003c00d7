//! Lanes that were killed while they waited: how a worker ends them, one after the other.
//!
//! Owns: when they have their last turns, for which they stand in a queue of their own, and when the notices of their deaths,
//! which gather meanwhile (`notices.rs`), go out. While others wait for a turn, [`IN_A_ROW`] deaths are followed by one of
//! theirs, or more deaths where such turns are long: else a hundred thousand deaths of a third of a microsecond each would
//! take as long as 25 000 turns.

use std::time::Duration;

use super::rounds::{LOOK_OUTSIDE_EVERY, Rounds};
use super::worker::Local;
use crate::env::Instant;
use crate::lane::death;
use crate::slot::SlotRef;
use crate::wait_graph::note;

/// Deaths between two turns of others, where those are short.
const IN_A_ROW: u32 = 4;
/// How long deaths may follow each other and their notices are kept, as far as single deaths allow: the clock is looked at
/// after 4, 8, 16 … deaths.
const PATIENCE: Duration = Duration::from_micros(100);

impl Local {
    /// Gives lanes that were killed their last turns until it is time for something else, and sends the notices that have
    /// gathered. False where that is a pick; true where there are orders, which come first, and the notices may wait.
    #[inline(never)]
    pub(super) fn end_killed(&self, rounds: &mut Rounds) -> bool {
        // Where turns are long, so many deaths take little beside one; and a look outside is due after each turn, so that
        // nobody would end here if that came first.
        let in_a_row = IN_A_ROW * (LOOK_OUTSIDE_EVERY / rounds.look_every);
        let (mut ended, mut began) = (0, None);
        loop {
            let others_wait = || self.looks_now(rounds) || self.pulse.has_next() || !self.queue.is_empty();
            if ended >= in_a_row && others_wait() || self.takes_long(ended, &mut began) {
                break;
            }
            let Some(slot) = self.queue.pop_killed() else {
                self.minds_dead.set(false);
                break;
            };
            if rounds.searching {
                self.scheduler.found_work(&mut rounds.searching);
            }
            ended += 1;
            if self.end_one(slot) {
                self.send_notices();
                self.look_after_long_turn(rounds);
                // Else that has left it to the next pick.
                if self.looks_now(rounds) {
                    break;
                }
            }
            if !self.pulse.orders().are_none() {
                return true;
            }
        }
        self.send_notices();
        false
    }

    /// Whether so many deaths have taken long enough. The first look at the clock only says when they began.
    #[inline]
    fn takes_long(&self, ended: u32, began: &mut Option<Instant>) -> bool {
        if ended < IN_A_ROW || !ended.is_power_of_two() {
            return false;
        }
        let now = self.scheduler.env.now();
        now - *began.get_or_insert(now) >= PATIENCE
    }

    /// The turn of a lane that was killed: whether it was a long one.
    fn end_one(&self, slot: SlotRef) -> bool {
        if slot.waits.is_in_wait() {
            note::get_up(self, slot);
        }
        self.pulse.begin(Some(slot));
        self.running.set(Some(slot));
        self.turn.begin();
        death::end_killed(self, slot);
        self.tell_of_dead(slot);
        self.end_turn()
    }
}
