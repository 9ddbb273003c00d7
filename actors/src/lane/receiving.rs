//! How a lane receives: a message by the short way, all else by a closer look, which turns notices into messages.
//!
//! Owns: both ways, and what notices turn into while that is the user's code ([`TakenExits`], [`TakenChanges`]).

use std::task::{Context, Poll};

use runtime::mailbox::{Inbox, Received};

use super::groups::MakeChange;
use super::{MakeExit, More};
use crate::group::Change;

/// Bytes of a message that the compiler keeps in registers, from its mailbox to whoever receives it.
const IN_REGISTERS: usize = 2 * size_of::<u64>();

/// What comes next; `None` once the lane is to stop.
#[inline(always)]
pub(super) fn poll<M: Send + 'static>(inbox: &mut Inbox<M>, cx: &mut Context<'_>) -> Poll<Option<M>> {
    inbox.poll_message_or(
        cx,
        #[inline(always)]
        |inbox, cx| {
            if size_of::<M>() > IN_REGISTERS {
                return poll_closely(inbox, cx);
            }
            let mut outcome = None;
            poll_apart(inbox, cx, &mut outcome).map(|()| outcome)
        },
    )
}

/// Where it is no message of the lane's that comes next, or not by the short way.
#[inline(never)]
fn poll_closely<M: Send + 'static>(inbox: &mut Inbox<M>, cx: &mut Context<'_>) -> Poll<Option<M>> {
    poll_by(inbox, cx, Inbox::poll_closely)
}

/// As `poll_closely`, but what it brings has a place of its own: so a message that comes by the short way need not go by
/// memory.
#[inline(never)]
fn poll_apart<M: Send + 'static>(inbox: &mut Inbox<M>, cx: &mut Context<'_>, outcome: &mut Option<M>) -> Poll<()> {
    poll_closely(inbox, cx).map(|polled| *outcome = polled)
}

/// What comes next by `poll`.
pub(super) fn poll_by<M: Send + 'static>(
    inbox: &mut Inbox<M>,
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Inbox<M>, &mut Context<'_>) -> Poll<Received<M>>,
) -> Poll<Option<M>> {
    loop {
        match poll(inbox, cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Received::Message(message)) => return Poll::Ready(Some(message)),
            Poll::Ready(other) => {
                if let Some(outcome) = turn_into_message(inbox, other) {
                    return Poll::Ready(outcome);
                }
            }
        }
    }
}

/// `None`: nobody asked for it. `Some(None)`: the lane is to stop.
pub(super) fn turn_into_message<M: Send + 'static>(inbox: &mut Inbox<M>, received: Received<M>) -> Option<Option<M>> {
    match received {
        Received::Message(message) => Some(Some(message)),
        Received::Down(notified) => {
            let down = notified.into_down();
            let number = down.reference.number;
            let make = inbox.with_extra(|more: &mut More<M>| more.downs.remove(number))?;
            Some(Some(make(down)))
        }
        Received::Exit(exit) => {
            let make = inbox.with_extra(|more: &mut More<M>| more.exits.take())?;
            let mut taken = TakenExits { inbox, make: Some(make) };
            let make = taken.make.as_mut()?;
            Some(Some(make(exit)))
        }
        Received::Group(changed) => turn_change_into_message(inbox, changed.into_change()).map(Some),
        Received::Stop(_) => {
            inbox.receive_no_more();
            Some(None)
        }
        _ => None,
    }
}

// Never: the way of a notice of death would be longer for it.
#[inline(never)]
fn turn_change_into_message<M: Send + 'static>(inbox: &mut Inbox<M>, change: Change) -> Option<M> {
    let number = change.reference.number;
    let make = inbox.with_extra(|more: &mut More<M>| more.groups.remove(number))?;
    let mut taken = TakenChanges { inbox, number, make: Some(make) };
    let make = taken.make.as_mut()?;
    Some(make(change))
}

/// What exit signals turn into, taken out while it is called, which is the user's code; put back also where it panics.
struct TakenExits<'a, M: Send + 'static> {
    inbox: &'a mut Inbox<M>,
    make: Option<MakeExit<M>>,
}

impl<M: Send + 'static> Drop for TakenExits<'_, M> {
    fn drop(&mut self) {
        let make = self.make.take();
        self.inbox.with_extra(|more: &mut More<M>| more.exits = make);
    }
}

/// What the changes of a group turn into, as [`TakenExits`].
struct TakenChanges<'a, M: Send + 'static> {
    inbox: &'a mut Inbox<M>,
    number: u64,
    make: Option<MakeChange<M>>,
}

impl<M: Send + 'static> Drop for TakenChanges<'_, M> {
    fn drop(&mut self) {
        let (number, Some(make)) = (self.number, self.make.take()) else { return };
        let before = self.inbox.with_extra(|more: &mut More<M>| more.groups.insert(number, make));
        drop(before);
    }
}
