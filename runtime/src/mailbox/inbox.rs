//! The receiving end of a mailbox: [`Inbox`], and how what was taken from the lane's word comes to whoever receives.
//!
//! Owns: [`Inbox`] and [`Received`]. What is taken lies in a list with the lane's owner (`lane/own.rs`), from which a
//! receive has it one by one. Knows nothing of senders but that some wait for room.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::MailboxId;
use super::node::{self, List, Node, NodeOf, Packed};
use super::wait;
use crate::context;
use crate::exit::ExitReason;
use crate::group::{Changed, GroupRef};
use crate::id::Id;
use crate::lane::own::{DOOMED, Own, RECEIVES_BY_WAKER, RECEIVES_NO_MORE, WANTS_MAIL};
use crate::lane::waker::is_of;
use crate::lane::word::{EMPTY, Taken};
use crate::sched;
use crate::sched::hold::Mark;
use crate::sched::worker::Local;
use crate::signal::{self, Exit, Fate, MonitorRef, Notified, Signal};
use crate::slot::{KnownId, SlotRef};

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
    /// A group that is monitored has changed.
    Group(Changed),
    /// Somebody asked the lane to stop; all that was queued before has been received.
    Stop(ExitReason),
}

/// The receiving end of a lane's mailbox; given to the lane's future, and of use only there.
pub struct Inbox<M> {
    pub(super) id: KnownId,
    gives: PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({}, {})", self.id.id(), type_name::<M>())
    }
}

impl<M: Send + 'static> Inbox<M> {
    pub(crate) fn new(id: KnownId) -> Inbox<M> {
        Inbox { id, gives: PhantomData }
    }

    /// The lane's own mailbox, as others see it.
    pub fn mailbox(&self) -> MailboxId<M> {
        MailboxId::new(self.id)
    }

    /// The next thing in the mailbox, in the order in which they came. In a lane that
    /// [is abandoned](crate::lane::is_abandoned) nothing comes any more: pending, here and in the others.
    ///
    /// # Panics
    /// Outside of the lane to which it belongs.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received<M>> {
        context::with_local(
            #[inline(always)]
            |local| {
                let Some(local) = local else { return self.poll_closely(cx) };
                match self.find_now(local, cx) {
                    Short::Message(node) => Poll::Ready(Received::Message(node.into_message(&local.nodes))),
                    Short::Packed(packed, mark) => {
                        Poll::Ready(Received::Message(packed.into_message(&local.nodes, mark)))
                    }
                    Short::Pending => Poll::Pending,
                    Short::Closer => self.poll_closely(cx),
                }
            },
        )
    }

    /// As [`Inbox::poll_recv`], without the short way of [`Inbox::poll_message_or`]: for whoever has tried that.
    #[inline]
    pub fn poll_closely(&mut self, cx: &mut Context<'_>) -> Poll<Received<M>> {
        self.poll_next(cx, List::pop_front)
    }

    /// The next message by a short way, which most receives go: pending also where there is none. What `closer` says where it
    /// takes a closer look, as by [`Inbox::poll_closely`].
    // Always: with it the whole way of a message out of a mailbox is part of the lane's own code.
    #[inline(always)]
    pub fn poll_message_or(
        &mut self,
        cx: &mut Context<'_>,
        closer: impl FnOnce(&mut Inbox<M>, &mut Context<'_>) -> Poll<Option<M>>,
    ) -> Poll<Option<M>> {
        context::with_local(
            #[inline(always)]
            |local| {
                let Some(local) = local else { return closer(self, cx) };
                match self.find_now(local, cx) {
                    // Taken here, where it is to go: on the way it need not be told from what else there could have been.
                    Short::Message(node) => Poll::Ready(Some(node.into_message(&local.nodes))),
                    Short::Packed(packed, mark) => Poll::Ready(Some(packed.into_message(&local.nodes, mark))),
                    Short::Pending => Poll::Pending,
                    Short::Closer => closer(self, cx),
                }
            },
        )
    }

    #[inline(always)]
    fn find_now<'a>(&mut self, local: &'a Local, cx: &Context<'_>) -> Short<'a, M> {
        if !local.turn.has_left() {
            return Short::Closer;
        }
        let hold = &local.pulse.hold;
        let mut mark = hold.borrow();
        let current = context::current_within(hold, &mut mark);
        let Some((slot, own)) = current.filter(|(slot, _)| slot.is_or_was(self.id.id())) else {
            return Short::Closer;
        };
        if own.has(DOOMED | RECEIVES_NO_MORE) {
            return Short::Closer;
        }
        if own.inbox.is_empty() && slot.word.has_mail() {
            take_all_in(slot, own, true);
            if own.has(DOOMED) {
                return Short::Closer;
            }
        }
        if own.inbox.is_empty() {
            if !is_of(cx.waker(), slot) {
                return Short::Closer;
            }
            own.flags |= WANTS_MAIL;
            local.turn.take_left();
            return Short::Pending;
        }
        if let Some(node) = own.inbox.pop_front_of::<M>() {
            local.turn.take_left();
            return Short::Message(node);
        }
        let Some(packed) = own.inbox.pop_packed::<M>() else { return Short::Closer };
        local.turn.take_left();
        Short::Packed(packed, mark)
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

    /// Drops the changes that `reference` came to, where they are queued already.
    pub fn flush_group(&mut self, reference: GroupRef) {
        let is_of = |node: &Node| matches!(node.peek::<Signal>(), Some(Signal::Group(notice)) if notice.number == reference.number);
        let flushed = self.within(|slot, own| {
            take_in(slot, own, false);
            own.inbox.remove_all(is_of)
        });
        drop(flushed);
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
    pub(super) fn within<R>(&self, f: impl FnOnce(SlotRef, &mut Own) -> R) -> Option<R> {
        let inside = context::with_current(|_, slot, own| slot.is_or_was(self.id.id()).then(|| f(slot, own)));
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
    pub(super) fn must_be_abandoned(&self) {
        assert!(context::is_abandoned(), "an inbox is of use only in its own lane, {}", self.id.id());
    }

    #[inline(never)]
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
                let Some((slot, own)) = current.filter(|(slot, _)| slot.is_or_was(self.id.id())) else {
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

    fn open(&self, node: Node) -> Received<M> {
        match node.take::<M>() {
            Ok(message) => Received::Message(message),
            Err(node) => self.open_signal(node),
        }
    }

    #[cold]
    fn open_signal(&self, node: Node) -> Received<M> {
        match node.peek() {
            Some(Signal::Down(_)) => return Received::Down(Notified::new(self.id.id(), node)),
            Some(Signal::Group(_)) => return Received::Group(Changed::new(self.id.id(), node)),
            _ => {}
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

/// What the short way to a message led to.
enum Short<'a, M> {
    Message(NodeOf<M>),
    /// While the mark is there, nobody else has the list that the pack is in.
    Packed(Packed<M>, Mark<'a>),
    Pending,
    Closer,
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
    if !taken.waiters
        && let Some(message) = node::only_message(taken.head)
    {
        own.inbox.push_last(message);
        return true;
    }
    let came = let_all_in(slot, own, taken.head);
    if taken.waiters {
        admit(slot, own);
    }
    came || taken.waiters
}

#[inline(never)]
fn let_all_in(slot: SlotRef, own: &mut Own, head: u32) -> bool {
    let (list, rest) = node::messages(head);
    if rest != EMPTY {
        return let_signals_in(slot, own, list, rest);
    }
    let came = !list.is_empty();
    own.inbox.append(list);
    came
}

/// Lets in what is mixed with signals: `list`, and before that what there is from `head` on. Each node is touched once, unless
/// there are some that must act in their order.
#[inline(never)]
fn let_signals_in(slot: SlotRef, own: &mut Own, list: List, head: u32) -> bool {
    let mut some_act = false;
    let mut nodes = node::list(list, head, |node| {
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
