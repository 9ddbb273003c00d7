//! What the runtime itself puts in a mailbox, in order with the messages.
//!
//! Owns: [`Signal`] and what becomes of one on arrival ([`take_effect`]). Knows nothing of message types.

use std::sync::Arc;

use crate::exit::ExitReason;
use crate::id::Id;
use crate::inspect::Inspection;
use crate::lane::own::{DOOMED, More, Own, TRAPS_EXITS};
use crate::receipt::ExitReceipt;
use crate::reply::Answerer;

/// Names one act of monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MonitorRef {
    /// The lane that watches.
    pub watcher: Id,
    /// Its number for it; unique in the watcher's life.
    pub number: u64,
}

/// A monitored lane has ended, or cannot be reached any more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Down {
    /// What [`monitor`](crate::lane::monitor) answered.
    pub reference: MonitorRef,
    /// The lane that ended.
    pub id: Id,
    /// Why; [`ExitReason::NoProc`] where it was gone before it was monitored.
    pub reason: ExitReason,
    /// What its end released, where the monitor asked for that.
    pub receipt: Option<Arc<ExitReceipt>>,
}

/// An exit signal that a trapping lane got.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exit {
    /// Who sent it: the linked lane that ended, or whoever called [`exit`](crate::lane::exit).
    pub from: Id,
    /// Why.
    pub reason: ExitReason,
}

/// A node of a mailbox that is no message.
#[derive(Debug)]
pub(crate) enum Signal {
    /// End, unless it is trapped; `linked`: because a linked lane ended.
    Exit {
        from: Id,
        reason: ExitReason,
        linked: bool,
    },
    Link {
        from: Id,
    },
    Unlink {
        from: Id,
    },
    Monitor {
        watcher: Id,
        number: u64,
        receipt: bool,
    },
    Demonitor {
        watcher: Id,
        number: u64,
    },
    Down(Box<Down>),
    /// Answer once the lane is gone.
    Join(Answerer<ExitReason>),
    /// Say whom the lane is tied to.
    Inspect(Answerer<Inspection>),
    /// End once what was queued before is handled.
    Stop(ExitReason),
}

/// What remains of a signal after it took effect.
pub(crate) enum Effect {
    /// Nothing.
    Done,
    /// It waits in the inbox for whoever receives.
    Deliver(Signal),
}

/// Lets a signal take effect on the lane `own` with id `me`.
pub(crate) fn take_effect(me: Id, own: &mut Own, signal: Signal) -> Effect {
    match signal {
        Signal::Exit { from, reason, linked } => exit(me, own, from, reason, linked),
        Signal::Down(down) => {
            // One that was demonitored meanwhile is not delivered.
            let known = own.more.as_mut().and_then(|more| more.watching.remove(&down.reference.number));
            if known.is_some() { Effect::Deliver(Signal::Down(down)) } else { Effect::Done }
        }
        Signal::Inspect(answerer) => {
            answerer.answer_later(Inspection::of(me, own));
            Effect::Done
        }
        Signal::Stop(reason) => Effect::Deliver(Signal::Stop(reason)),
        Signal::Unlink { .. } | Signal::Demonitor { .. } if own.more.is_none() => Effect::Done,
        tie => {
            take_note(own.more(), tie);
            Effect::Done
        }
    }
}

/// Lets a signal change whom the lane's end must tell. It is all that an unread signal can still do to a lane that has
/// ended: whoever sent it hears of the end with the others.
pub(crate) fn take_note(more: &mut More, signal: Signal) {
    match signal {
        Signal::Link { from } => _ = more.links.insert(from),
        Signal::Unlink { from } => _ = more.links.remove(&from),
        Signal::Monitor { watcher, number, receipt } => _ = more.watchers.insert((watcher, number), receipt),
        Signal::Demonitor { watcher, number } => _ = more.watchers.remove(&(watcher, number)),
        Signal::Join(answerer) => more.joiners.push(answerer),
        // An answerer that is dropped says so.
        Signal::Inspect(_) | Signal::Exit { .. } | Signal::Down(_) | Signal::Stop(_) => {}
    }
}

fn exit(me: Id, own: &mut Own, from: Id, reason: ExitReason, linked: bool) -> Effect {
    if linked && !own.more.as_mut().is_some_and(|more| more.links.remove(&from)) {
        // The link was taken back while the signal was under way.
        return Effect::Done;
    }
    if !linked && reason == ExitReason::Kill {
        return doom(own, ExitReason::Killed);
    }
    if own.has(TRAPS_EXITS) {
        return Effect::Deliver(Signal::Exit { from, reason, linked });
    }
    if reason == ExitReason::Normal && from != me {
        return Effect::Done;
    }
    doom(own, reason)
}

fn doom(own: &mut Own, reason: ExitReason) -> Effect {
    own.flags |= DOOMED;
    own.more().doomed.get_or_insert(reason);
    Effect::Done
}
