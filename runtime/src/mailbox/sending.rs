//! A send that waits for room where there is none: [`SendFuture`].
//!
//! Owns: the future, and how a message gets from it into a node or a pack. Knows nothing of what is awaited where there is no
//! room, which is `wait.rs`.
//!
//! # Invariant
//! `step` says what lies in `rest`: the message while it bears an id, the waiter while it is [`WAITS`], nothing while it is
//! [`THROUGH`]. It is changed before what it speaks of is used elsewhere.

use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::node::{self, Node};
use super::wait::{self, Waiter};
use super::{MailboxId, Undelivered, Unsent, message_of};
use crate::context;
use crate::id::Namespace;
use crate::lane::word::{Pushed, Refused};
use crate::question::Question;
use crate::sched;
use crate::sched::turn::{Share, Turn};
use crate::sched::worker::Local;
use crate::slot::{KnownId, SlotRef};
use crate::wait_graph::note::{self, hands_out};

/// The future of [`MailboxId::send`]; `Err` hands the message back.
// A lane that waits in a send holds one of these: 8 bytes besides the message. That the step is a word of its own lets a
// send that is through say so by one store. With an enum it took two at once, which are slow where they lie in two cache lines.
#[must_use = "nothing is sent before it is awaited"]
pub struct SendFuture<M: Send + 'static> {
    /// How far it has come: [`THROUGH`], [`WAITS`], or else the bits of the id that it is for.
    step: u64,
    /// The message while it is for an id, and the waiter while it waits.
    rest: Rest<M>,
}

type Place = &'static Location<'static>;

/// Not set in the ids of lanes that are here: one look at it tells a send to such a lane that has not begun from all else.
const ELSEWHERE: u64 = (Namespace::FIRST_PEER as u64) << 32;
/// It was ready, and nothing is left.
const THROUGH: u64 = ELSEWHERE;
/// It has left the message with a seat.
const WAITS: u64 = ELSEWHERE | 1;

union Rest<M> {
    message: ManuallyDrop<M>,
    waiter: ManuallyDrop<Waiter>,
}

/// What was in a send.
enum Taken<M> {
    Message(MailboxId<M>, M),
    Waiter(Waiter),
    Nothing,
}

impl<M: Send + 'static> SendFuture<M> {
    #[inline]
    pub(super) fn new(to: MailboxId<M>, message: M) -> SendFuture<M> {
        // An id is larger than the two other steps, since no generation is 0.
        SendFuture { step: to.id.to_bits(), rest: Rest { message: ManuallyDrop::new(message) } }
    }

    /// Whom it is for, while it has the message.
    #[inline]
    fn holds(&self) -> Option<MailboxId<M>> {
        // SAFETY: neither of the two other steps, so the bits of an id that was known.
        (self.step > WAITS).then(|| MailboxId::new(unsafe { KnownId::from_bits(self.step) }))
    }

    /// As `holds`, where it is somebody here.
    #[inline(always)]
    fn holds_for_here(&self) -> Option<MailboxId<M>> {
        // SAFETY: as above.
        (self.step & ELSEWHERE == 0).then(|| MailboxId::new(unsafe { KnownId::from_bits(self.step) }))
    }

    /// Takes out what is there.
    #[inline]
    fn take(&mut self) -> Taken<M> {
        let to = self.holds();
        let step = mem::replace(&mut self.step, THROUGH);
        if let Some(to) = to {
            // SAFETY: the invariant: the step said that it is there, and does so no more.
            let message = unsafe { ptr::read(&raw const self.rest.message) };
            Taken::Message(to, ManuallyDrop::into_inner(message))
        } else if step == WAITS {
            // SAFETY: as above.
            let waiter = unsafe { ptr::read(&raw const self.rest.waiter) };
            Taken::Waiter(ManuallyDrop::into_inner(waiter))
        } else {
            Taken::Nothing
        }
    }

    /// Has it wait, where nothing is there.
    fn set_waiter(&mut self, waiter: Waiter) {
        debug_assert_eq!(self.step, THROUGH);
        self.rest = Rest { waiter: ManuallyDrop::new(waiter) };
        self.step = WAITS;
    }

    /// Few sends are dropped before they are through.
    #[cold]
    fn drop_rest(&mut self) {
        drop(self.take());
    }
}

impl<M: Send + 'static> Drop for SendFuture<M> {
    #[inline]
    fn drop(&mut self) {
        if self.step != THROUGH {
            self.drop_rest();
        }
    }
}

impl<M: Send + 'static> fmt::Debug for SendFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to() {
            Some(to) => write!(f, "SendFuture({})", to.id()),
            None => f.write_str("SendFuture(ready)"),
        }
    }
}

impl<M: Send + 'static> Unpin for SendFuture<M> {}

impl<M: Send + 'static> Future for SendFuture<M> {
    type Output = Result<(), Unsent<M>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        let this = self.get_mut();
        if this.send_now() {
            return Poll::Ready(Ok(()));
        }
        let mut unsent = None;
        this.poll_closely(cx, &mut unsent).map(|()| unsent.map_or(Ok(()), Err))
    }
}

impl<M: Send + 'static> SendFuture<M> {
    /// The short way of its `poll`, which most sends go: true where the message was sent; else the future is as it was, and to
    /// be polled.
    // Always: with it the whole way of a message into a mailbox is part of the lane's own code.
    #[inline(always)]
    pub fn send_now(&mut self) -> bool {
        let sent = self.push_now();
        if sent {
            hands_out::<M>();
        }
        sent
    }

    /// As [`SendFuture::send_now`], for the worker that this is, of a message that holds the port of a question and no other:
    /// nothing else is handed out by it. `looks` at whom it is sent to, right before that.
    #[inline(always)]
    pub(crate) fn push_question(&mut self, local: &Local, looks: impl FnOnce(SlotRef)) -> bool {
        let Some(to) = self.holds_for_here() else { return false };
        let Some(slot) = to.slot() else { return false };
        looks(slot);
        local.turn.has_left() && self.push_at(local, to, slot, Turn::take_left)
    }

    #[inline(always)]
    fn push_now(&mut self) -> bool {
        // First of all: what a future that was just made holds the compiler knows, up to the first atomic load.
        let Some(to) = self.holds_for_here() else { return false };
        context::with_local(
            #[inline(always)]
            |local| {
                let Some(local) = local else { return false };
                local.current().is_some() && local.turn.has_left() && self.push_by(local, to, Turn::take_left)
            },
        )
    }

    /// As `push_now`, with the operation of the turn that it takes granted.
    // Under a mark: what a lane asks or sends here is in the mailbox before somebody else ends it, or not at all.
    fn push_granted(&mut self) -> bool {
        let Some(to) = self.holds_for_here() else { return false };
        context::with_current(|local, _, _| self.push_by(local, to, |_| ())).unwrap_or(false)
    }

    /// Pushes the message, where the mailbox takes it; once it has, it `counts` with the turn.
    #[inline(always)]
    fn push_by(&mut self, local: &Local, to: MailboxId<M>, counts: impl Fn(&Turn)) -> bool {
        let Some(slot) = to.slot() else { return false };
        self.push_at(local, to, slot, counts)
    }

    /// As `push_by`, where it is known which slot it is.
    #[inline(always)]
    fn push_at(&mut self, local: &Local, to: MailboxId<M>, slot: SlotRef, counts: impl Fn(&Turn)) -> bool {
        let message = (&raw const self.rest.message).cast::<M>();
        if local.packer.is_for::<M>(self.step) {
            // SAFETY: the packer is for this mailbox, which takes this type; or it is gone, and its word takes nothing. The
            // message is there, and forgotten here as soon as the mailbox has it.
            let packed = unsafe { local.packer.add(&slot.word, to.id().generation_number(), message) };
            // SAFETY: as above; it was not added.
            if packed || unsafe { to.open_pack(local, slot, message) } {
                self.step = THROUGH;
                counts(&local.turn);
                return true;
            }
        }
        // SAFETY: the message is there. It is forgotten here as soon as the mailbox has it, and stays here otherwise.
        let node = unsafe { Node::of_copy::<M>(&local.nodes, message) };
        let number = node.number();
        match to.put(slot, node) {
            Ok(pushed) => {
                // The message is the mailbox's, whatever becomes of what is left to do.
                self.step = THROUGH;
                counts(&local.turn);
                match pushed {
                    Pushed::Schedule => sched::schedule_on(local, slot),
                    Pushed::Nothing if slot.word.has_at_least(MailboxId::<M>::GATHERED) => {
                        to.gathers(local, slot, number)
                    }
                    Pushed::Nothing => {}
                }
                true
            }
            Err((_, node)) => {
                // SAFETY: it was made from the copy, which nobody uses.
                unsafe { node.forget_copy::<M>() };
                false
            }
        }
    }

    /// What is not sent has a place of its own, or whoever sends would copy it around where all is well, too.
    #[inline(never)]
    fn poll_closely(&mut self, cx: &mut Context<'_>, unsent: &mut Option<Unsent<M>>) -> Poll<()> {
        self.poll_send(cx, None).map(|sent| match sent {
            Ok(()) => hands_out::<M>(),
            Err(why) => *unsent = Some(why),
        })
    }

    /// Whether it was ready.
    #[inline]
    pub fn is_through(&self) -> bool {
        self.step == THROUGH
    }

    /// As its `poll`, of a message that holds the port of a question and no other.
    pub fn poll_question(&mut self, question: &mut Question, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        if self.holds().is_some() {
            question.note_sending();
        }
        self.poll_send(cx, Some(question.at()))
    }

    /// `asked_at` is the place of the question, where it is one.
    fn poll_send(&mut self, cx: &mut Context<'_>, asked_at: Option<Place>) -> Poll<Result<(), Unsent<M>>> {
        let is_first = self.holds().is_some();
        // Where the short way was not even tried, it is now.
        let is_untried = is_first && !sched::turn::has_left();
        let share = if is_first { sched::turn::share() } else { Share::Granted };
        if share == Share::Over {
            return sched::turn::over(cx);
        }
        if is_untried && share == Share::Granted && self.push_granted() {
            return Poll::Ready(Ok(()));
        }
        let (to, message) = match self.take() {
            Taken::Message(to, message) => (to, message),
            Taken::Waiter(waiter) => return self.poll_waiter(waiter, cx),
            Taken::Nothing => panic!("a send was polled after it was ready"),
        };
        if share == Share::Abandoned {
            return Poll::Ready(Err(Unsent::Gone(message)));
        }
        let Some(slot) = to.id.slot() else { return Poll::Ready(Err(Unsent::Gone(message))) };
        match to.push(slot, Node::new(message)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err((refused, node)) => self.was_refused(to, slot, refused, node, cx, asked_at),
        }
    }

    /// The mailbox that is sent to; `None` once the send was ready.
    #[inline]
    pub fn to(&self) -> Option<MailboxId<M>> {
        if self.step == WAITS {
            // SAFETY: it is there.
            return unsafe { &self.rest.waiter }.to().map(MailboxId::new);
        }
        self.holds()
    }

    #[cold]
    fn poll_waiter(&mut self, mut waiter: Waiter, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        let settled = waiter.poll(cx);
        if settled.is_pending() {
            self.set_waiter(waiter);
        }
        settled.map_err(|unsent| match unsent {
            Unsent::Gone(node) => Unsent::Gone(message_of(node)),
            Unsent::Deadlock(undelivered) => {
                let Undelivered { message, deadlock } = *undelivered;
                Unsent::Deadlock(Box::new(Undelivered { message: message_of(message), deadlock }))
            }
        })
    }

    #[cold]
    fn was_refused(
        &mut self,
        to: MailboxId<M>,
        slot: SlotRef,
        mut refused: Refused,
        mut node: Node,
        cx: &mut Context<'_>,
        asked_at: Option<Place>,
    ) -> Poll<Result<(), Unsent<M>>> {
        let at = asked_at.or_else(|| note::place_of_send(to.id()));
        let has_port = asked_at.is_none() && mem::needs_drop::<M>();
        while refused == Refused::Full {
            let bound = slot.bound.load(Ordering::Relaxed);
            node = match wait::take_seat(to.id, slot, bound, node, cx.waker(), at, has_port) {
                // It notes what it waits for.
                wait::Seated::Waiting(waiter) => return self.poll_waiter(waiter, cx),
                wait::Seated::Stale(node) => return Poll::Ready(Err(Unsent::Gone(message_of(node)))),
                wait::Seated::Room(node) => node,
            };
            (refused, node) = match to.push(slot, node) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(again) => again,
            };
        }
        Poll::Ready(Err(Unsent::Gone(message_of(node))))
    }
}

impl<M: Send + 'static> MailboxId<M> {
    /// With so many messages a mailbox is one in which messages gather; those that are not packed are left alone until they are
    /// many.
    const GATHERED: u32 = if node::room_of::<M>() == 0 { Self::MANY } else { 16 };

    /// With so many messages a mailbox has enough for the present: what more is sent to it lies about, and is no longer in the
    /// cache by the time that it is received. In packs they lie closer.
    const MANY: u32 = match node::room_of::<M>() {
        0 => 128,
        room @ 1..=3 => 128 * room as u32,
        _ => 512,
    };

    /// The lane that has its turn has just pushed `node`, and there are others before it: what comes next may come in packs, and
    /// the receiver may need time.
    #[inline(never)]
    fn gathers(self, local: &Local, slot: SlotRef, node: u32) {
        local.packer.has_in_mind::<M>(&local.nodes, self.id.to_bits(), node);
        if slot.word.has_at_least(Self::MANY) {
            local.turn.shorten();
        }
    }

    /// Pushes a pack that begins with the message, if that is worth while: whether it did.
    ///
    /// # Safety
    /// The packer is for this mailbox, and the slot is its. Of the message the caller's is forgotten where this was done.
    #[inline(never)]
    unsafe fn open_pack(self, local: &Local, slot: SlotRef, message: *const M) -> bool {
        let generation = self.id().generation_number();
        // ORDER: Relaxed: as in `push`.
        let bound = || slot.bound.load(Ordering::Relaxed);
        // SAFETY: the caller's promise.
        let pushed = unsafe { local.packer.open(&local.nodes, &slot.word, generation, bound, message) };
        match pushed {
            Some(Pushed::Schedule) => sched::schedule_on(local, slot),
            Some(Pushed::Nothing) if slot.word.has_at_least(Self::MANY) => local.turn.shorten(),
            Some(Pushed::Nothing) => {}
            None => return false,
        }
        true
    }
}
