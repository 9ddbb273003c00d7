//! A question of a lane to another: its port, its way there, and the wait for the answer.
//!
//! Owns: [`Question`], and the short way of an ask ([`Question::ask_now`]), which takes one look at the worker and one at the
//! lane for all that is done step by step else. Knows nothing of what users see of asks.

use std::panic::Location;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::context;
use crate::id::Id;
use crate::lane::own::Own;
use crate::lane::waker::{is_of, waker};
use crate::mailbox::{MailboxId, SendFuture};
use crate::reply::{self, Answer, Answerer};
use crate::sched::worker::Local;
use crate::slot::SlotRef;
use crate::time::Deadline;
use crate::wait_graph::note::{self, Number, UNKNOWN};
use crate::wait_graph::record::{Record, Wait};
use crate::wait_graph::{Awaits, Deadlock};

/// A question that the current lane is about to ask another, for those who build asks.
#[derive(Debug)]
pub struct Question {
    of: Id,
    at: &'static Location<'static>,
    number: Number,
    /// How much the lane that is asked had handed out before the question was sent.
    handed_out: u32,
    /// There may be other ports in the question than its own.
    hands_out: bool,
}

/// How far [`Question::ask_now`] came.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing was done: the question is to be sent step by step.
    Not,
    /// The question is sent, and the wait for the answer is to be begun step by step.
    Sent,
    /// The question is sent, and the lane waits for the answer, which is to wake it.
    Awaited,
}

/// Both halves of a port for a question of the current lane. The answer wakes that also if it comes before the wait for it was
/// polled; outside of lanes, whoever polls is woken, as by [`reply::port`].
#[inline]
pub fn port<T: Send>() -> (Answerer<T>, Answer<T>) {
    context::with_local(
        #[inline(always)]
        |local| match local.and_then(|local| Some((local, local.current()?))) {
            Some((local, this)) => reply::port_awaited_by(&local.nodes, waker(this)),
            None => reply::port(),
        },
    )
}

impl Question {
    /// A question to a lane, asked from a place in the source, that a closure is about to make.
    ///
    /// The closure may put another port into the question than its own, one that it owns, or takes out of what it borrows: that
    /// is noted when it is sent, as by [`hand_over`](crate::wait_graph::hand_over).
    #[inline]
    pub fn to<M: Send + 'static, F: FnOnce(A) -> M, A>(
        lane: MailboxId<M>,
        at: &'static Location<'static>,
        _: &F,
    ) -> Question {
        let hands_out = note::may_hand_out::<F, M>();
        Question { of: lane.id(), at, number: Number::default(), handed_out: UNKNOWN, hands_out }
    }

    /// The place from which it is asked.
    pub(crate) fn at(&self) -> &'static Location<'static> {
        self.at
    }

    /// It is about to be sent: looks at whom it is sent to, and then notes what it hands out. In this order: of two that ask each
    /// other at the same time, by closures that may hand something out, one at least is then not certain to wait for the other.
    pub(crate) fn note_sending(&mut self) {
        self.handed_out = note::handed_out_by(self.of);
        if self.hands_out {
            note::hands_out_something();
        }
    }

    /// Sends the question by the short way, and begins to wait for the answer, no longer than so many nanoseconds from now where
    /// there is a limit. [`Asked::Not`] also outside of lanes, to the lane itself, and where the turn or the room in the mailbox
    /// is used up.
    ///
    /// The message holds the port of `answer`; neither that nor the deadline has been polled yet, and the question was not sent
    /// before. A wait that is noted for another may be taken for part of a deadlock.
    #[inline(always)]
    pub fn ask_now<M: Send + 'static, T>(
        &mut self,
        sending: &mut SendFuture<M>,
        answer: &Answer<T>,
        limit: Option<(&mut Deadline, u64)>,
        cx: &Context<'_>,
    ) -> Asked {
        context::with_local(
            #[inline(always)]
            |local| {
                let Some(local) = local else { return Asked::Not };
                context::with_current_of(
                    local,
                    #[inline(always)]
                    |current| {
                        let Some((this, own)) = current else { return Asked::Not };
                        // As `note_sending`.
                        let looks = |slot: SlotRef| {
                            self.handed_out = note::handed_out_in(Some(slot));
                            if self.hands_out {
                                note::count(this);
                            }
                        };
                        if this.tenant_bits() == self.of.to_bits() || !sending.push_question(local, looks) {
                            return Asked::Not;
                        }
                        let by_own = is_of(cx.waker(), this) && answer.wakes_by(|kept| is_of(kept, this));
                        let covered =
                            |(deadline, length): (&mut Deadline, u64)| deadline.begin_within_alarm(length, local, own);
                        if !by_own || !limit.is_none_or(covered) {
                            return Asked::Sent;
                        }
                        if self.begins(local, this, own) { Asked::Awaited } else { Asked::Sent }
                    },
                )
            },
        )
    }

    /// Notes that the current lane begins to wait for the answer; false where there is no memory for that.
    #[inline(always)]
    fn begins(&mut self, local: &Local, this: SlotRef, own: &mut Own) -> bool {
        let Some(record) = Record::of(this) else { return false };
        let wait = self.wait();
        note::note_first_wait(local, this, own, record, &mut self.number, wait);
        true
    }

    /// The current lane waits for the answer; the error with which that is to end instead, where there is one.
    #[inline]
    pub(crate) fn park(&mut self, cx: &Context<'_>) -> Option<Deadlock> {
        let wait = self.wait();
        note::park(cx, &mut self.number, wait)
    }

    /// Ready once the time for the answer is over, so many nanoseconds after the first poll of this or of
    /// [`ask_now`](Question::ask_now). A pending answer may wake the lane early, which is to be expected of any future.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn poll_limit(&self, deadline: &mut Deadline, length: u64, cx: &mut Context<'_>) -> Poll<()> {
        deadline.poll_passed_of_wait_for(Duration::from_nanos(length), || self.number.table(), cx)
    }

    #[inline]
    fn wait(&self) -> Wait {
        let Question { of, at, handed_out, .. } = *self;
        Wait { awaits: Awaits::Answer, of: Some(of), lock: None, at: Some(at), handed_out, mute: false }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;
    use crate::lane::{self, Spawn};
    use crate::mailbox::Inbox;
    use crate::runtime::Runtime;

    #[test]
    fn who_is_asked_is_looked_at_before_the_question_is_in_the_mailbox() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        runtime.block_on(async {
            let receives_nothing = |inbox: Inbox<u8>| async move {
                let _kept = inbox;
                pending::<()>().await;
            };
            let asked = Spawn::new().spawn(receives_nothing).unwrap().mailbox;
            let asks = async move {
                let (slot, mut sending) = (asked.slot().unwrap(), asked.send_question(1));
                let looked = Cell::new(0);
                let looks = |_: SlotRef| {
                    assert!(!slot.word.has_mail());
                    looked.set(looked.get() + 1);
                };
                assert!(context::with_local(|local| sending.push_question(local.unwrap(), looks)));
                assert!(looked.get() == 1 && slot.word.has_mail());
                tell.send(()).unwrap();
            };
            lane::join(Spawn::new().spawn(|_: Inbox<()>| asks).unwrap().mailbox.id()).await;
        });
        told.try_recv().expect("the lane that asks came to its end");
    }
}
