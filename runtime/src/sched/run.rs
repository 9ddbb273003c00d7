//! A lane's turn: from the word that says it must be polled, through the poll, to the word that says it waits.
//!
//! Owns: what a worker does with the lane that it has picked. Knows nothing of where lanes come from.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use super::hold::Left;
use super::worker::{Local, NEWS, PARKED};
use crate::alloc;
use crate::alloc::account::Account;
use crate::context;
use crate::exit::ExitReason;
use crate::lane::death;
use crate::lane::frame::{Frame, Polled};
use crate::lane::index;
use crate::lane::own::{COUNTS_AWAITS, DOOMED, HAS_BUDGET, Own, RECEIVES_BY_WAKER, WAITS, WANTS_MAIL};
use crate::lane::waker::waker;
use crate::lane::word::{OnIdle, OnRun, Taken};
use crate::mailbox;
use crate::panic::{self, contain};
use crate::reply::NoAnswer;
use crate::slot::SlotRef;
use crate::wait_graph::note;

impl Local {
    /// Gives a lane its turn: whether it used that up.
    #[inline]
    pub(super) fn run(&self, slot: SlotRef) -> bool {
        if slot.waits.is_in_wait() {
            note::get_up(self, slot);
        }
        match self.turn_of(slot) {
            Goes::On { wants_mail } => self.go_on(slot, wants_mail),
            Goes::NoMore => self.tell_of_dead(slot),
        }
        self.end_turn()
    }

    #[inline(always)]
    fn begin_turn(&self, slot: SlotRef) {
        self.pulse.begin(Some(slot));
        self.running.set(Some(slot));
        self.turn.begin();
    }

    /// What follows each turn: whether the lane used it up.
    #[inline(always)]
    pub(super) fn end_turn(&self) -> bool {
        self.counters.note_turn();
        self.pulse.end();
        self.turn.end()
    }

    /// What is left to tell is that of a lane that has ended.
    #[inline]
    pub(super) fn tell_of_dead(&self, slot: SlotRef) {
        if self.has_news.get() != 0 {
            self.tell_news(slot, None);
        }
    }

    /// The last part of a turn of a lane that goes on living: all that came of its poll is told to others, and the word says
    /// that it waits.
    #[inline]
    fn go_on(&self, slot: SlotRef, wants_mail: bool) {
        if self.has_news.get() != 0 {
            let settles = !wants_mail && self.has_news.get() == PARKED && note::settles_alone(self, slot);
            if !settles && !self.tell_before_idle(slot, wants_mail) {
                return;
            }
        }
        self.running.set(None);
        // From here on the lane may run elsewhere.
        match slot.word.transition_to_idle(wants_mail) {
            OnIdle::Parked => {}
            OnIdle::Schedule => self.push_again(slot, wants_mail),
            OnIdle::Kill => {
                self.running.set(Some(slot));
                // What was told may have begun a wait, and may have been code of nobody in particular.
                if slot.waits.is_in_wait() {
                    note::get_up(self, slot);
                }
                self.pulse.set_lane(slot);
                let _ = self.end(slot, ExitReason::Killed);
                self.tell_of_dead(slot);
            }
        }
    }

    /// Tells the news of a lane that goes on; false where it does not, since it was killed: then those who hear of it hear
    /// that.
    #[inline(never)]
    fn tell_before_idle(&self, slot: SlotRef, wants_mail: bool) -> bool {
        if slot.word.is_killed() {
            let _ = self.end(slot, ExitReason::Killed);
            self.tell_of_dead(slot);
            return false;
        }
        if self.has_news.get() == PARKED {
            self.has_news.set(0);
            note::settle_down(self, slot, Some(wants_mail));
        } else {
            self.tell_news(slot, Some(wants_mail));
        }
        true
    }

    /// The first half of a turn: it begins, what is taken with it is let in, and the future is polled.
    #[inline]
    fn turn_of(&self, slot: SlotRef) -> Goes {
        let mut came = false;
        // The common case first: the lane waited for mail, which has come.
        match slot.word.transition_to_running_for_mail() {
            Ok(taken) => {
                self.begin_turn(slot);
                came = self.let_in(slot, taken);
            }
            Err(seen) => {
                let on = slot.word.transition_to_running_from(seen);
                self.begin_turn(slot);
                match on {
                    OnRun::LetIn(taken) => came = self.let_in(slot, taken),
                    OnRun::Poll => {}
                    OnRun::Kill => return self.end(slot, ExitReason::Killed),
                }
            }
        }
        // SAFETY: this worker has `RUNNING`, and the lane's code, within which somebody may take the lane, does not run yet
        // (`sched/hold.rs`, invariant 1). What is called while this is in use calls none, nor asks for another such reference.
        let own = unsafe { slot.own() };
        if own.has(DOOMED | RECEIVES_BY_WAKER | HAS_BUDGET) {
            alloc::charge(own.account(slot));
            if own.has(DOOMED | RECEIVES_BY_WAKER)
                && let Some(reason) = self.before_poll(slot, came)
            {
                return self.end(slot, reason);
            }
        }
        // SAFETY: as above. Another, as `before_poll` has had one in between.
        let own = unsafe { slot.own() };
        match own.frame.take() {
            Some(frame) => self.poll(slot, frame),
            None => self.end(slot, ExitReason::Killed),
        }
    }

    /// Lets in what was taken with the turn that begins: whether there is something new to receive.
    #[inline(always)]
    fn let_in(&self, slot: SlotRef, taken: Taken) -> bool {
        // SAFETY: as in `turn_of`.
        let own = unsafe { slot.own() };
        slot.note_taken(taken.count);
        let came = mailbox::let_in(slot, own, taken);
        // A signal may take effect without a trace: whoever waited for mail still does.
        if !came && taken.had_waited {
            own.flags |= WANTS_MAIL;
        }
        came
    }

    /// Wakes whoever waits for the mail that came by a waker of his own; the reason for which the lane must end instead of
    /// being polled.
    #[cold]
    fn before_poll(&self, slot: SlotRef, came: bool) -> Option<ExitReason> {
        let (doomed, receiver) = context::with_own(self, slot, |own| {
            let receives = came && own.has(RECEIVES_BY_WAKER);
            let doomed = own.has(DOOMED).then(|| own.more().doomed.take().unwrap_or(ExitReason::Killed));
            if !receives {
                return (doomed, None);
            }
            own.flags &= !RECEIVES_BY_WAKER;
            (doomed, own.more().receiver.take())
        });
        if let Some(receiver) = receiver {
            contain(|| receiver.wake());
        }
        doomed
    }

    /// Why a lane ends whose code threw this.
    #[cold]
    fn reason_of(&self, thrown: Box<dyn Any + Send>) -> Box<ExitReason> {
        let reason = panic::reason(thrown);
        if matches!(reason, ExitReason::OutOfMemory { .. }) {
            self.scheduler.note_overrun();
        }
        Box::new(reason)
    }

    #[inline(never)]
    fn end(&self, slot: SlotRef, reason: ExitReason) -> Goes {
        death::end(self, slot, reason);
        Goes::NoMore
    }

    /// Polls the lane's future.
    #[inline]
    fn poll(&self, slot: SlotRef, mut frame: Frame) -> Goes {
        // Its destructor does nothing.
        let waker = ManuallyDrop::new(waker(slot));
        let mut cx = Context::from_waker(&waker);
        self.pulse.hold.enter(slot);
        self.polls.set(true);
        let polled = match catch_unwind(AssertUnwindSafe(|| frame.poll(&mut cx))) {
            Ok(polled) => polled,
            // What was thrown is dropped here, with nothing borrowed: its destructor is the user's.
            Err(thrown) => Poll::Ready(Some(alloc::uncharged(|| self.reason_of(thrown)))),
        };
        self.polls.set(false);
        match self.pulse.hold.leave() {
            Left::Kept => {}
            left => return self.leave_cut_off(slot, frame, polled, left == Left::TakenAway),
        }
        // SAFETY: as in `turn_of`: the lane's code has run, and nobody has taken the lane.
        let own = unsafe { slot.own() };
        own.put_back(frame);
        match polled {
            Poll::Pending => {}
            Poll::Ready(reason) => {
                let reason = reason.map_or_else(|| asked_reason(own), |reason| *reason);
                return self.end(slot, reason);
            }
        }
        if own.flags & (DOOMED | COUNTS_AWAITS | WAITS | HAS_BUDGET) != 0 {
            let is_overrun = alloc::charge_nobody().is_some_and(Account::is_overrun);
            let is_due = is_overrun || own.has(DOOMED | COUNTS_AWAITS | WAITS);
            if is_due && let Some(reason) = self.due(slot, own) {
                return self.end(slot, reason);
            }
        }
        let flags = own.flags;
        own.flags = flags & !WANTS_MAIL;
        Goes::On { wants_mail: flags & WANTS_MAIL != 0 }
    }

    /// The poll has returned, and the lane was cut off meanwhile, or taken away.
    #[cold]
    fn leave_cut_off(&self, slot: SlotRef, frame: Frame, polled: Polled, taken_away: bool) -> Goes {
        drop(polled);
        if taken_away {
            death::depart(self, slot, frame);
            return Goes::NoMore;
        }
        context::with_own(self, slot, |own| own.put_back(frame));
        self.end(slot, ExitReason::Killed)
    }

    /// Why the lane whose poll is over must end: it has passed its budget, a signal took effect, or it has reached its last
    /// await. Notes what was
    /// offered to it and not polled.
    #[cold]
    fn due(&self, slot: SlotRef, own: &mut Own) -> Option<ExitReason> {
        if own.has(WAITS) {
            let unpolled = index::unpolled_offers(slot, own, self.turn.number());
            if !unpolled.is_empty() {
                self.unpolled.borrow_mut().extend(unpolled);
                self.note_news(NEWS);
            }
        }
        if let Some(reason) = own.account(slot).and_then(Account::overrun) {
            self.scheduler.note_overrun();
            return Some(reason);
        }
        if own.has(DOOMED) {
            return own.more().doomed.take();
        }
        if !own.has(COUNTS_AWAITS) {
            return None;
        }
        let more = own.more();
        more.awaits_left = more.awaits_left.saturating_sub(1);
        (more.awaits_left == 0).then_some(ExitReason::Killed)
    }

    /// Wakes those who must not be woken, and tells those who cannot be told, before the turn is over; then, when all that
    /// the lane did in it has come to those it is for, sees to what the lane itself waits for. `goes_on` is whether it waits
    /// for mail; `None` where it has ended.
    #[inline(never)]
    fn tell_news(&self, slot: SlotRef, goes_on: Option<bool>) {
        if self.has_news.get() & NEWS != 0 {
            self.tell_others();
        }
        if self.has_news.replace(0) & PARKED != 0 {
            note::settle_down(self, slot, goes_on);
        }
    }

    #[cold]
    pub(crate) fn tell_others(&self) {
        // Wakers are code of others as well, which may bring more.
        while self.has_news.get() & NEWS != 0 {
            self.has_news.set(self.has_news.get() & !NEWS);
            self.pass_verdict(|| NoAnswer::Dropped);
            while let Some(waker) = { self.late_wakers.borrow_mut().pop() } {
                self.pulse.clear_lane();
                contain(|| waker.wake());
            }
            while let Some(unpolled) = { self.unpolled.borrow_mut().pop() } {
                self.pulse.clear_lane();
                unpolled.pass_on();
            }
        }
    }
}

/// With what a lane ends that has no reason of its own.
#[inline]
fn asked_reason(own: &mut Own) -> ExitReason {
    own.more.as_mut().and_then(|more| more.stopped.take()).unwrap_or(ExitReason::Normal)
}

/// What a lane does after its turn.
enum Goes {
    On {
        /// A push is to schedule it.
        wants_mail: bool,
    },
    /// It has ended, here or, where it was killed while it was stuck, elsewhere.
    NoMore,
}
