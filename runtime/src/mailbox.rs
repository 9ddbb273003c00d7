//! A bounded mailbox as its two ends see it: [`MailboxId`] sends, [`Inbox`] receives.
//!
//! Owns: the types of both ends and the promise between them: a message is in the mailbox before the lane's death (and
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
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

mod error;
mod extra;
pub(crate) mod node;
pub(crate) mod wait;

use node::{List, Node};

pub use error::{TrySendError, Undelivered, Unsent};

use crate::context;
use crate::exit::ExitReason;
use crate::id::{Id, StaleId};
use crate::lane::own::{DOOMED, Own, RECEIVES_BY_WAKER, RECEIVES_NO_MORE, WANTS_MAIL};
use crate::lane::waker::is_of;
use crate::lane::word::{self, Pushed, Refused, Taken, Weight};
use crate::sched;
use crate::sched::turn::Share;
use crate::sched::worker::Local;
use crate::signal::{self, Exit, Fate, MonitorRef, Notified, Signal};
use crate::slot::{self, SlotRef, slot_of};
use crate::wait_graph::Question;
use crate::wait_graph::note::{self, hands_out};

/// The bound of a mailbox that was not given another.
pub const DEFAULT_BOUND: u32 = 1024;
/// The largest bound; beyond it only "unbounded" is left.
pub const MAX_BOUND: u32 = word::MAX_BOUND;

/// The id of a lane that takes messages of type `M`: 8 bytes, `Copy`, checked at every use.
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
    pub(crate) fn new_unchecked(id: Id) -> MailboxId<M> {
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
        Ok(MailboxId::new_unchecked(id))
    }

    /// The mailbox of a lane of a peer node; `None` for local ids. Sending to it by this type gives the message back:
    /// the layer above knows the way.
    pub fn of_peer(id: Id) -> Option<MailboxId<M>> {
        id.namespace().is_peer().then(|| MailboxId::new_unchecked(id))
    }

    /// The mailbox of a lane that once was and is gone: sending to it gives the message back, for ever. `None` for an id
    /// that never was or still is.
    pub fn of_gone(id: Id) -> Option<MailboxId<M>> {
        slot::is_past(id).then(|| MailboxId::new_unchecked(id))
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
        let Some(slot) = slot_of(self.id) else { return Err(TrySendError::Gone(message)) };
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
        let Some(slot) = slot_of(self.id) else { return Err(TrySendError::Gone(message)) };
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

    #[inline]
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

    // Always: with it the whole way of a message into a mailbox is part of the lane's own code.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        let sent = self.get_mut().poll_send(cx, None);
        if let Poll::Ready(Ok(())) = sent {
            hands_out::<M>();
        }
        sent
    }
}

impl<M: Send + 'static> SendFuture<M> {
    /// As its `poll`, of a message that holds the port of a question and no other: nothing else is handed out by it.
    #[inline(always)]
    pub fn poll_question(&mut self, question: &Question, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<M>>> {
        self.poll_send(cx, Some(question))
    }

    #[inline(always)]
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
        let Some(slot) = slot_of(to.id) else { return Poll::Ready(Err(Unsent::Gone(message))) };
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
            Step::Waits(waiter) => waiter.to().map(MailboxId::new_unchecked),
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

/// What comes out of a mailbox.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// A lane that is watched has ended.
    Down(Notified),
    /// An exit signal, trapped.
    Exit(Exit),
    /// Somebody asked the lane to stop; all that was queued before has been received.
    Stop(ExitReason),
}

/// The receiving end of a lane's mailbox; given to the lane's future, and of use only there.
pub struct Inbox<M> {
    id: Id,
    gives: PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({}, {})", self.id, type_name::<M>())
    }
}

impl<M: Send + 'static> Inbox<M> {
    pub(crate) fn new(id: Id) -> Inbox<M> {
        Inbox { id, gives: PhantomData }
    }

    /// The lane's own mailbox, as others see it.
    pub fn mailbox(&self) -> MailboxId<M> {
        MailboxId::new_unchecked(self.id)
    }

    /// The next thing in the mailbox, in the order in which they came. In a lane that
    /// [is abandoned](crate::lane::is_abandoned) nothing comes any more: pending, here and in the others.
    ///
    /// # Panics
    /// Outside of the lane to which it belongs.
    #[inline(always)]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received<M>> {
        self.poll_next(cx, List::pop_front)
    }

    /// The first message that `wanted` likes, with what came before it left in place; or the first thing that is no
    /// message.
    ///
    /// # Panics
    /// Outside of the lane to which it belongs. `wanted` must not call back into the runtime.
    pub fn poll_recv_match(&mut self, cx: &mut Context<'_>, mut wanted: impl FnMut(&M) -> bool) -> Poll<Received<M>> {
        self.poll_next(cx, |inbox| inbox.remove_first(|node| node.peek::<M>().is_none_or(&mut wanted)))
    }

    /// The next thing, if there is one now.
    ///
    /// # Panics
    /// Outside of the lane to which it belongs.
    pub fn try_recv(&mut self) -> Option<Received<M>> {
        let found = self.within(|slot, own| {
            if own.inbox.is_empty() {
                take_in(slot, own, true);
            }
            if own.has(DOOMED | RECEIVES_NO_MORE) {
                return nothing_more(own);
            }
            own.inbox.pop_front().map_or(Found::Nothing, Found::Node)
        });
        match found {
            Some(Found::Node(node)) => Some(self.open(node)),
            Some(Found::Stop(reason)) => Some(Received::Stop(reason)),
            _ => None,
        }
    }

    /// Drops the notice that `reference` came to, where it is queued already.
    pub fn flush_down(&mut self, reference: MonitorRef) {
        let node = self.within(|slot, own| {
            take_in(slot, own, false);
            own.inbox.remove_first(
                |node| matches!(node.peek::<Signal>(), Some(Signal::Down(notice)) if notice.number == reference.number),
            )
        });
        drop(node);
    }

    /// Drops the exit of `from` where it is queued already.
    pub fn flush_exit(&mut self, from: Id) {
        let node = self.within(|slot, own| {
            take_in(slot, own, false);
            own.inbox
                .remove_first(|node| matches!(node.peek::<Signal>(), Some(Signal::Exit(signal)) if signal.from == from))
        });
        drop(node);
    }

    /// `None` where the lane is abandoned.
    #[inline]
    fn within<R>(&self, f: impl FnOnce(SlotRef, &mut Own) -> R) -> Option<R> {
        let inside = context::with_current(|_, slot, own| slot.is_or_was(self.id).then(|| f(slot, own)));
        match inside.flatten() {
            Some(result) => Some(result),
            None => {
                self.must_be_abandoned();
                None
            }
        }
    }

    /// What an abandoned lane receives.
    #[cold]
    fn nothing_elsewhere(&self) -> Found {
        self.must_be_abandoned();
        Found::Nothing
    }

    #[cold]
    fn must_be_abandoned(&self) {
        assert!(context::is_abandoned(), "an inbox is of use only in its own lane, {}", self.id);
    }

    #[inline(always)]
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut find: impl FnMut(&mut List) -> Option<Node>,
    ) -> Poll<Received<M>> {
        let found = context::with_local(|local| {
            let Some(local) = local else { return self.nothing_elsewhere() };
            if !local.takes_operation() {
                return Found::Over;
            }
            context::with_current_of(local, |current| {
                let Some((slot, own)) = current.filter(|(slot, _)| slot.is_or_was(self.id)) else {
                    return self.nothing_elsewhere();
                };
                // What came after an exit signal that took effect is not received, though it is in our hands.
                if own.has(DOOMED | RECEIVES_NO_MORE) {
                    return nothing_more(own);
                }
                match find(&mut own.inbox) {
                    Some(node) => Found::Node(node),
                    None => find_more(slot, own, cx, &mut find),
                }
            })
        });
        match found {
            Found::Node(node) => Poll::Ready(self.open(node)),
            Found::Nothing => Poll::Pending,
            Found::Over => sched::turn::over(cx),
            Found::Stop(reason) => Poll::Ready(Received::Stop(reason)),
            Found::Displaced(waker) => {
                drop(waker);
                Poll::Pending
            }
        }
    }

    #[inline]
    fn open(&self, node: Node) -> Received<M> {
        match node.take::<M>() {
            Ok(message) => Received::Message(message),
            Err(node) => self.open_signal(node),
        }
    }

    #[cold]
    fn open_signal(&self, node: Node) -> Received<M> {
        if let Some(Signal::Down(_)) = node.peek() {
            return Received::Down(Notified::new(self.id, node));
        }
        match node.take::<Signal>() {
            Ok(Signal::Exit(signal)) => Received::Exit(Exit { from: signal.from, reason: signal.reason.into() }),
            Ok(Signal::Stop(reason)) => {
                let before = self.within(|_, own| own.more().stopped.replace(reason.clone()));
                drop(before);
                Received::Stop(reason)
            }
            Ok(other) => unreachable!("{other:?} takes effect on arrival"),
            Err(_) => unreachable!("a mailbox holds messages of one type, and signals"),
        }
    }
}

/// What a look into the mailbox brought.
enum Found {
    Node(Node),
    Nothing,
    /// Nothing, and this waker waits for it no more.
    Displaced(Waker),
    /// The turn is over.
    Over,
    /// Nothing for ever but that the lane is to stop.
    Stop(ExitReason),
}

/// What a lane finds that has received all that it will.
#[cold]
fn nothing_more(own: &mut Own) -> Found {
    if own.has(DOOMED) {
        return Found::Nothing;
    }
    Found::Stop(own.more().stopped.clone().unwrap_or(ExitReason::Normal))
}

/// Nothing of what was taken will do: looks for what came since, and waits where there is nothing.
#[inline(never)]
fn find_more(
    slot: SlotRef,
    own: &mut Own,
    cx: &Context<'_>,
    find: &mut impl FnMut(&mut List) -> Option<Node>,
) -> Found {
    while take_in(slot, own, true) {
        if own.has(DOOMED) {
            return Found::Nothing;
        }
        if let Some(node) = find(&mut own.inbox) {
            return Found::Node(node);
        }
    }
    own.flags |= WANTS_MAIL;
    receive_by(slot, own, cx)
}

/// A push schedules the lane. Where the receiver was polled with another waker (it is in a set of futures that polls
/// only those that were woken), that one has to be woken as well: the worker does so before it polls.
#[inline]
fn receive_by(slot: SlotRef, own: &mut Own, cx: &Context<'_>) -> Found {
    if is_of(cx.waker(), slot) { Found::Nothing } else { receive_by_waker(own, cx) }
}

#[cold]
fn receive_by_waker(own: &mut Own, cx: &Context<'_>) -> Found {
    own.flags |= RECEIVES_BY_WAKER;
    let displaced = own.more().receiver.replace(cx.waker().clone());
    displaced.map_or(Found::Nothing, Found::Displaced)
}

/// Takes what was pushed into the inbox and lets signals take effect: whether there was anything to take. Only who
/// `receives` makes room for more.
#[inline]
fn take_in(slot: SlotRef, own: &mut Own, receives: bool) -> bool {
    if !slot.word.has_mail() {
        return false;
    }
    take_all_in(slot, own, receives);
    true
}

#[inline(never)]
fn take_all_in(slot: SlotRef, own: &mut Own, receives: bool) {
    let taken = slot.word.take(receives);
    let waited = taken.had_waited || own.has(WANTS_MAIL);
    let came = let_in(slot, own, taken);
    if waited {
        own.flags |= WANTS_MAIL;
        if came {
            mail_came(slot, own);
        }
    }
}

/// What a receiver waits for was taken by somebody else of its lane: it is to look once more.
#[cold]
fn mail_came(slot: SlotRef, own: &mut Own) {
    own.flags &= !(WANTS_MAIL | RECEIVES_BY_WAKER);
    // The lane runs: the word has it queued when its turn is over.
    sched::act(slot, slot.word.wake());
    if let Some(receiver) = own.more.as_mut().and_then(|more| more.receiver.take()) {
        sched::wake_later(receiver);
    }
}

/// Puts what was taken into the inbox and lets signals take effect: whether there is something new to receive.
#[inline]
pub(crate) fn let_in(slot: SlotRef, own: &mut Own, taken: Taken) -> bool {
    // The common case first: one message.
    let came = match node::only(taken.head) {
        Ok(node) => let_one_in(slot, own, node),
        Err(head) => let_all_in(slot, own, head),
    };
    if taken.waiters {
        admit(slot, own);
    }
    came || taken.waiters
}

#[inline(always)]
fn let_one_in(slot: SlotRef, own: &mut Own, node: Node) -> bool {
    let node = if node.is::<Signal>() { signal::let_in(slot, own, node) } else { Some(node) };
    let came = node.is_some();
    if let Some(node) = node {
        own.inbox.push_back(node);
    }
    came
}

/// As [`let_one_in`], of all nodes of a list. Each is touched once, unless there are some that must act in their order.
#[inline(never)]
fn let_all_in(slot: SlotRef, own: &mut Own, head: u32) -> bool {
    let mut some_act = false;
    let mut nodes = node::list(head, |node| {
        let fate = signal::fate(own, node);
        some_act |= fate == Fate::Acts;
        fate != Fate::Void
    });
    if !some_act {
        let came = !nodes.is_empty();
        own.inbox.append(nodes);
        return came;
    }
    let mut came = false;
    while let Some(node) = nodes.pop_front() {
        let waits = if signal::acts(&node) { signal::take_effect(slot, own, node) } else { Some(node) };
        if let Some(node) = waits {
            own.inbox.push_back(node);
            came = true;
        }
    }
    came
}

#[cold]
fn admit(slot: SlotRef, own: &mut Own) {
    let bound = slot.bound.load(Ordering::Relaxed);
    let Some(me) = slot.id() else { return };
    for waker in wait::admit(me, slot, bound, &mut own.inbox) {
        sched::wake_later(waker);
    }
}
