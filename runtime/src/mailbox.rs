//! A bounded mailbox as its two ends see it: [`MailboxId`] sends, [`Inbox`] receives (`mailbox/inbox.rs`).
//!
//! Owns: the sending end, and the promise between the two: a message is in the mailbox before the lane's death (and
//! is dropped by it), or is handed back to its sender. There is no third case. Knows nothing of asks or addresses.
//!
//! A bound of n means that at most n messages are queued and at most n more are in the receiver's hands, plus one for
//! each sender that waits. What a selective receive has skipped comes on top.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

mod error;
mod extra;
mod inbox;
pub(crate) mod node;
pub(crate) mod wait;

use node::Node;

pub use error::{TrySendError, Undelivered, Unsent};
pub(crate) use inbox::let_in;
pub use inbox::{Inbox, Received};

use crate::context;
use crate::id::{Id, StaleId};
use crate::lane::word::{self, Pushed, Refused, Weight};
use crate::sched;
use crate::sched::turn::Share;
use crate::sched::worker::Local;
use crate::slot::{self, SlotRef, slot_of};
use crate::wait_graph::Question;
use crate::wait_graph::note::{self, hands_out};

/// The bound of a mailbox that was not given another.
pub const DEFAULT_BOUND: u32 = 1024;
/// The largest bound; beyond it only "unbounded" is left.
pub const MAX_BOUND: u32 = word::MAX_BOUND;

/// The id of a lane that takes messages of type `M`: 8 bytes, `Copy`, checked at every use.
///
/// The id is a peer's, or names a slot that is there, with the namespace that is the slot's for ever: see
/// [`MailboxId::slot`].
pub struct MailboxId<M> {
    id: Id,
    takes: PhantomData<fn(M)>,
}

impl<M> Clone for MailboxId<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for MailboxId<M> {}

impl<M> PartialEq for MailboxId<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<M> Eq for MailboxId<M> {}

impl<M> fmt::Debug for MailboxId<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailboxId({}, {})", self.id, type_name::<M>())
    }
}

/// Why an id cannot be used to send messages of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAMailbox {
    /// The lane is gone; this will never succeed again.
    Stale(StaleId),
    /// The lane takes messages of another type.
    OtherType {
        /// The type that the lane takes.
        takes: &'static str,
    },
}

impl fmt::Display for NotAMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAMailbox::Stale(stale) => stale.fmt(f),
            NotAMailbox::OtherType { takes } => write!(f, "the lane takes messages of type {takes}"),
        }
    }
}

impl std::error::Error for NotAMailbox {}

impl<M: Send + 'static> MailboxId<M> {
    /// # Safety
    /// The id is that of a peer's lane, or of one that is or was here.
    #[inline]
    pub(crate) unsafe fn new_unchecked(id: Id) -> MailboxId<M> {
        MailboxId { id, takes: PhantomData }
    }

    /// The slot, whoever lives in it now; `None` for peers.
    #[inline]
    fn slot(self) -> Option<SlotRef> {
        if self.id.namespace().is_peer() {
            return None;
        }
        // SAFETY: the promise made to `new_unchecked`: the lane had the slot.
        Some(unsafe { slot::slot_of_tenant(self.id) })
    }

    /// The mailbox of the local lane `id`, where it lives and takes messages of type `M`.
    ///
    /// # Errors
    /// [`NotAMailbox`]: the lane is gone, was never here, or takes another type.
    pub fn of(id: Id) -> Result<MailboxId<M>, NotAMailbox> {
        let stale = NotAMailbox::Stale(StaleId(id));
        let slot = slot_of(id).ok_or(stale)?;
        let generation = id.generation().get();
        // The type is read between two looks at the generation, so it is that of this very tenant.
        if slot.word.generation() != generation {
            return Err(stale);
        }
        let kind = slot.kind().ok_or(stale)?;
        if slot.word.generation() != generation {
            return Err(stale);
        }
        if kind.message != TypeId::of::<M>() {
            return Err(NotAMailbox::OtherType { takes: (kind.message_name)() });
        }
        // SAFETY: the lane was in its slot just now.
        Ok(unsafe { MailboxId::new_unchecked(id) })
    }

    /// The mailbox of a lane of a peer node; `None` for local ids. Sending to it by this type gives the message back:
    /// the layer above knows the way.
    pub fn of_peer(id: Id) -> Option<MailboxId<M>> {
        // SAFETY: it is a peer's.
        id.namespace().is_peer().then(|| unsafe { MailboxId::new_unchecked(id) })
    }

    /// The mailbox of a lane that once was and is gone: sending to it gives the message back, for ever. `None` for an id
    /// that never was or still is.
    pub fn of_gone(id: Id) -> Option<MailboxId<M>> {
        // SAFETY: it was here.
        slot::is_past(id).then(|| unsafe { MailboxId::new_unchecked(id) })
    }

    /// The bare id.
    pub fn id(self) -> Id {
        self.id
    }

    /// Queues a message if there is room.
    ///
    /// # Errors
    /// [`TrySendError`] hands the message back.
    pub fn try_send(self, message: M) -> Result<(), TrySendError<M>> {
        let Some(slot) = self.slot() else { return Err(TrySendError::Gone(message)) };
        // ORDER: Relaxed: as in `push`.
        let weigh = || Weight::Counted { bound: slot.bound.load(Ordering::Relaxed) };
        match push_unless_abandoned(slot, self.id.generation().get(), weigh, Node::new(message)) {
            Ok(()) => {
                hands_out::<M>();
                Ok(())
            }
            Err((Refused::Full, node)) => Err(TrySendError::Full(message_of(node))),
            Err((Refused::Stale, node)) => Err(TrySendError::Gone(message_of(node))),
        }
    }

    /// Queues a message whether there is room or not: for what was promised to be delivered, as by a timer.
    ///
    /// # Errors
    /// [`TrySendError::Gone`] hands the message back.
    pub fn send_exempt(self, message: M) -> Result<(), TrySendError<M>> {
        hands_out::<M>();
        let Some(slot) = self.slot() else { return Err(TrySendError::Gone(message)) };
        let generation = self.id.generation().get();
        let pushed = push_unless_abandoned(slot, generation, || Weight::Exempt, Node::new(message));
        pushed.map_err(|(_, node)| TrySendError::Gone(message_of(node)))
    }

    /// Queues a message as soon as there is room, in the order in which senders came. In a lane that
    /// [is abandoned](crate::lane::is_abandoned) it hands the message back.
    ///
    /// # Cancellation
    /// Dropped before it is ready, the future drops the message, and nothing was queued.
    #[inline]
    #[track_caller]
    pub fn send(self, message: M) -> SendFuture<M> {
        note::sends(self.id, Location::caller());
        SendFuture(Step::Holds { to: self, message })
    }

    /// As [`MailboxId::send`], of a message that holds the port of a question and no other: to be polled by
    /// [`SendFuture::poll_question`].
    #[inline]
    pub fn send_question(self, message: M) -> SendFuture<M> {
        SendFuture(Step::Holds { to: self, message })
    }

    #[inline(always)]
    fn push(self, slot: SlotRef, node: Node) -> Result<(), (Refused, Node)> {
        let generation = self.id.generation().get();
        // ORDER: Relaxed: `push` reads the bound between two looks at the generation.
        let weigh = || Weight::Counted { bound: slot.bound.load(Ordering::Relaxed) };
        let pushed = node::push(&slot.word, generation, weigh, node)?;
        after_push(slot, pushed);
        Ok(())
    }
}

/// As [`MailboxId::push`], in one piece with the look whether the lane that sends is abandoned: so nothing that a lane
/// sends by this comes after the word of its end.
#[inline]
fn push_unless_abandoned(
    slot: SlotRef,
    generation: u16,
    weigh: impl Fn() -> Weight,
    node: Node,
) -> Result<(), (Refused, Node)> {
    let pushed = context::with_local(|local| {
        let _call = local.map(|local| local.pulse.hold.short_call());
        if local.is_some_and(Local::is_abandoned) {
            return Err((Refused::Stale, node));
        }
        node::push(&slot.word, generation, weigh, node)
    });
    after_push(slot, pushed?);
    Ok(())
}

#[inline]
fn after_push(slot: SlotRef, pushed: Pushed) {
    if pushed == Pushed::Schedule {
        sched::schedule(slot);
    }
}

fn message_of<M: Send + 'static>(node: Node) -> M {
    match node.take() {
        Ok(message) => message,
        Err(_) => unreachable!("the node was made from this very message"),
    }
}

/// The future of [`MailboxId::send`]; `Err` hands the message back.
#[must_use = "nothing is sent before it is awaited"]
#[repr(align(16))]
pub struct SendFuture<M: Send + 'static>(Step<M>);

/// How far a send has come. A lane that waits in a send holds one of these, so they share their place: 8 bytes besides
/// the message.
enum Step<M> {
    /// It has the message.
    Holds { to: MailboxId<M>, message: M },
    /// It has left the message with a seat, or is through.
    Waits(wait::Waiter),
}

impl<M: Send + 'static> fmt::Debug for SendFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to() {
            Some(to) => write!(f, "SendFuture({})", to.id),
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
        if this.send_now() { Poll::Ready(Ok(())) } else { this.poll_closely(cx) }
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

    /// As [`SendFuture::send_now`], of a message that holds the port of a question and no other: nothing else is handed out
    /// by it.
    #[inline(always)]
    pub fn send_question_now(&mut self) -> bool {
        self.push_now()
    }

    #[inline(always)]
    fn push_now(&mut self) -> bool {
        // SAFETY: it is not used beyond this call.
        let Some(local) = (unsafe { context::local() }) else { return false };
        if local.current().is_none() || !local.turn.has_left() {
            return false;
        }
        let Step::Holds { to, message } = &mut self.0 else { return false };
        let to = *to;
        let Some(slot) = to.slot() else { return false };
        // SAFETY: the message is forgotten here once the push has succeeded, and stays here otherwise.
        let node = unsafe { Node::of_copy(&local.nodes, message) };
        match to.push(slot, node) {
            Ok(()) => {
                // SAFETY: the message is the mailbox's, so that it must not be dropped here.
                unsafe { ptr::write(&mut self.0, Step::Waits(wait::Waiter::GONE)) };
                local.turn.take_left();
                true
            }
            Err((_, node)) => {
                // SAFETY: it was made from the copy, which nobody uses.
                unsafe { node.forget_copy::<M>() };
                false
            }
        }
    }

    #[inline(never)]
    fn poll_closely(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        let sent = self.poll_send(cx, None);
        if let Poll::Ready(Ok(())) = sent {
            hands_out::<M>();
        }
        sent
    }

    /// Whether it was ready.
    #[inline]
    pub fn is_through(&self) -> bool {
        matches!(&self.0, Step::Waits(waiter) if waiter.is_gone())
    }

    /// As its `poll`, of a message that holds the port of a question and no other.
    pub fn poll_question(&mut self, question: &Question, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        self.poll_send(cx, Some(question))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, question: Option<&Question>) -> Poll<Result<(), Unsent<M>>> {
        let (to, message) = match mem::replace(&mut self.0, Step::Waits(wait::Waiter::GONE)) {
            Step::Holds { to, message } => (to, message),
            Step::Waits(waiter) => return self.poll_waiter(waiter, cx),
        };
        match sched::turn::share() {
            Share::Granted => {}
            Share::Over => {
                self.0 = Step::Holds { to, message };
                return sched::turn::over(cx);
            }
            Share::Abandoned => return Poll::Ready(Err(Unsent::Gone(message))),
        }
        let Some(slot) = to.slot() else { return Poll::Ready(Err(Unsent::Gone(message))) };
        match to.push(slot, Node::new(message)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err((refused, node)) => self.was_refused(to, slot, refused, node, cx, question),
        }
    }

    /// The mailbox that is sent to; `None` once the send was ready.
    #[inline]
    pub fn to(&self) -> Option<MailboxId<M>> {
        match &self.0 {
            Step::Holds { to, .. } => Some(*to),
            // SAFETY: it is that of the `MailboxId` that was sent to.
            Step::Waits(waiter) => waiter.to().map(|id| unsafe { MailboxId::new_unchecked(id) }),
        }
    }

    #[cold]
    fn poll_waiter(&mut self, mut waiter: wait::Waiter, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        let settled = waiter.poll(cx);
        self.0 = Step::Waits(waiter);
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
        question: Option<&Question>,
    ) -> Poll<Result<(), Unsent<M>>> {
        let at = question.map(Question::at).or_else(|| note::place_of_send(to.id));
        let has_port = question.is_none() && mem::needs_drop::<M>();
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
