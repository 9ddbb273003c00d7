//! A bounded mailbox as its two ends see it: [`MailboxId`] sends, [`Inbox`] receives (`mailbox/inbox.rs`).
//!
//! Owns: the sending end, and the promise between the two: a message is in the mailbox before the lane's death (and
//! is dropped by it), or is handed back to its sender. There is no third case. Knows nothing of asks or addresses.
//!
//! A bound of n means that at most n messages are queued and at most n more are in the receiver's hands, plus one for
//! each sender that waits. What a selective receive has skipped comes on top. Where messages gather, a worker keeps up to
//! five places of a mailbox for what its lanes may send next (`mailbox/node/pack.rs`): to others it is full that much sooner. It
//! gives them back when its lanes send elsewhere, but not where others have sent something in between: then they count until
//! the receiver has taken what is there. At worst two places in seven are used.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::Ordering;

mod error;
mod extra;
mod inbox;
pub(crate) mod node;
mod sending;
pub(crate) mod wait;

use node::Node;

pub use error::{TrySendError, Undelivered, Unsent};
pub(crate) use inbox::let_in;
pub use inbox::{Inbox, Received};
pub use sending::SendFuture;

use crate::context;
use crate::id::{Id, StaleId};
use crate::lane::word::{self, Pushed, Refused, Weight};
use crate::sched;
use crate::sched::worker::Local;
use crate::slot::{KnownId, SlotRef, slot_of};
use crate::wait_graph::note::{self, hands_out};

/// The bound of a mailbox that was not given another.
pub const DEFAULT_BOUND: u32 = 1024;
/// The largest bound; beyond it only "unbounded" is left.
pub const MAX_BOUND: u32 = word::MAX_BOUND;

/// The id of a lane that takes messages of type `M`: 8 bytes, `Copy`, checked at every use.
pub struct MailboxId<M> {
    id: KnownId,
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
        write!(f, "MailboxId({}, {})", self.id.id(), type_name::<M>())
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
    #[inline]
    pub(crate) fn new(id: KnownId) -> MailboxId<M> {
        MailboxId { id, takes: PhantomData }
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
        KnownId::of(id).map(MailboxId::new).ok_or(stale)
    }

    /// The mailbox of a lane of a peer node; `None` for local ids. Sending to it by this type gives the message back:
    /// the layer above knows the way.
    pub fn of_peer(id: Id) -> Option<MailboxId<M>> {
        KnownId::of(id).filter(|_| id.namespace().is_peer()).map(MailboxId::new)
    }

    /// The mailbox of a lane that once was and is gone: sending to it gives the message back, for ever. `None` for an id
    /// that never was or still is.
    pub fn of_gone(id: Id) -> Option<MailboxId<M>> {
        KnownId::of_gone(id).map(MailboxId::new)
    }

    /// The bare id.
    pub fn id(self) -> Id {
        self.id.id()
    }

    /// The lane's slot, whoever lives in it now; `None` for lanes of peers.
    #[inline]
    pub(crate) fn slot(self) -> Option<SlotRef> {
        self.id.slot()
    }

    /// Queues a message if there is room. Where messages of several senders gather there may be less of it than the bound
    /// says, by the places that were kept for lanes which had just sent something.
    ///
    /// # Errors
    /// [`TrySendError`] hands the message back.
    pub fn try_send(self, message: M) -> Result<(), TrySendError<M>> {
        let Some(slot) = self.id.slot() else { return Err(TrySendError::Gone(message)) };
        // ORDER: Relaxed: as in `push`.
        let weigh = || Weight::Counted { bound: slot.bound.load(Ordering::Relaxed) };
        match push_unless_abandoned(slot, self.id().generation().get(), weigh, Node::new(message)) {
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
        let Some(slot) = self.id.slot() else { return Err(TrySendError::Gone(message)) };
        let generation = self.id().generation().get();
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
        note::sends(self.id(), Location::caller());
        SendFuture::new(self, message)
    }

    /// As [`MailboxId::send`], of a message that holds the port of a question and no other: to be polled by
    /// [`SendFuture::poll_question`].
    #[inline]
    pub fn send_question(self, message: M) -> SendFuture<M> {
        SendFuture::new(self, message)
    }

    #[inline(always)]
    fn push(self, slot: SlotRef, node: Node) -> Result<(), (Refused, Node)> {
        // ORDER: Relaxed: as in `put`.
        let weigh = || Weight::Counted { bound: slot.bound.load(Ordering::Relaxed) };
        push_unless_abandoned(slot, self.id().generation_number(), weigh, node)
    }

    /// As [`MailboxId::push`], up to [`after_push`], which is the caller's.
    #[inline(always)]
    fn put(self, slot: SlotRef, node: Node) -> Result<Pushed, (Refused, Node)> {
        let generation = self.id().generation_number();
        // ORDER: Relaxed: `push` reads the bound between two looks at the generation.
        let weigh = || Weight::Counted { bound: slot.bound.load(Ordering::Relaxed) };
        node::push(&slot.word, generation, weigh, node)
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
