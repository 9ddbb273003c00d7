//! Lanes that were killed while they waited: how a worker ends them, one after the other.
//!
//! Owns: when they have their last turns, for which they stand in a queue of their own, and when the notices of their deaths,
//! which gather meanwhile (`notices.rs`), go out. While others wait for a turn, [`IN_A_ROW`] deaths are followed by one of
//! theirs.

use super::rounds::Rounds;
use super::worker::Local;
use crate::lane::death;
use crate::slot::SlotRef;
use crate::wait_graph::note;

/// Deaths between two turns of others.
const IN_A_ROW: u32 = 4;

impl Local {
    /// Gives lanes that were killed their last turns until it is time for something else, and sends the notices that have
    /// gathered. False where that is a pick; true where there are orders, which come first, and the notices may wait.
    #[inline(never)]
    pub(super) fn end_killed(&self, rounds: &mut Rounds) -> bool {
        let mut ended = 0;
        while !self.notices_are_late() {
            if rounds.killed_in_a_row == IN_A_ROW {
                rounds.killed_in_a_row = 0;
                if self.pulse.has_next() || !self.queue.is_empty() {
                    break;
                }
            }
            // Where turns are long, a look outside is due after each of them, and nobody would end here if that came first.
            if rounds.until_look == 0 && ended >= IN_A_ROW {
                break;
            }
            let Some(slot) = self.queue.pop_killed() else {
                self.minds_dead.set(false);
                break;
            };
            if rounds.searching {
                self.scheduler.found_work(&mut rounds.searching);
            }
            rounds.until_look = rounds.until_look.saturating_sub(1);
            rounds.killed_in_a_row += 1;
            ended += 1;
            if self.end_one(slot) {
                self.send_notices();
                self.look_after_long_turn(rounds);
                // Else that has left it to the next pick.
                if rounds.until_look == 0 {
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

    fn notices_are_late(&self) -> bool {
        self.pulse.notices.are_late(&self.notices_late_after, || self.scheduler.env.now())
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
