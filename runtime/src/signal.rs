//! What the runtime itself puts in a mailbox, in order with the messages.
//!
//! Owns: `Signal` and what becomes of one on arrival (`take_effect`). Knows nothing of message types.

use std::fmt;
use std::sync::Arc;

use crate::exit::ExitReason;
use crate::group;
use crate::id::Id;
use crate::inspect::Inspection;
use crate::lane::Pooled;
use crate::lane::own::{DOOMED, HAS_DESCRIPTORS, More, Own, TRAPS_EXITS};
use crate::mailbox::node::Node;
use crate::receipt::ExitReceipt;
use crate::reply::Answerer;
use crate::slot::SlotRef;

/// Names one act of monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MonitorRef {
    /// The lane that watches.
    pub watcher: Id,
    /// Its number for it; unique in the watcher's life.
    pub number: u64,
}

impl MonitorRef {
    /// A monitor of which no notice comes: that of a lane which [is abandoned](crate::lane::is_abandoned).
    pub fn of_nothing(watcher: Id) -> MonitorRef {
        MonitorRef { watcher, number: u64::MAX }
    }
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

/// The notice of an end, as it came. It is small, and what it says is put together where it is wanted.
pub struct Notified {
    watcher: Id,
    /// It holds a [`Signal::Down`].
    node: Node,
}

impl fmt::Debug for Notified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.peek::<Signal>().fmt(f)
    }
}

impl Notified {
    /// The notice that lies in `node`, and came for `watcher`.
    pub(crate) fn new(watcher: Id, node: Node) -> Notified {
        Notified { watcher, node }
    }

    /// What the notice says.
    // Always: what it says is put together in its place.
    #[inline(always)]
    pub fn into_down(self) -> Down {
        let Notified { watcher, mut node } = self;
        match node.peek_mut() {
            // Out of its place, as taking out the whole signal first would move what was stored a moment ago.
            Some(Signal::Down(Notice { number, id, reason, receipt })) => Down {
                reference: MonitorRef { watcher, number: *number },
                id: *id,
                reason: std::mem::replace(reason, Brief::Normal).into(),
                receipt: receipt.take(),
            },
            _ => unreachable!("seen to be a notice"),
        }
    }
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
    /// End, unless it is trapped.
    Exit(ExitSignal),
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
    Down(Notice),
    /// A group that is monitored has changed.
    Group(group::Notice),
    /// Answer once the lane is gone.
    Join(Answerer<ExitReason>),
    /// Say whom the lane is tied to.
    Inspect(Answerer<Inspection>),
    /// End once what was queued before is handled.
    Stop(ExitReason),
    /// Own descriptors from now on (see `lane/giving.rs`).
    Given,
}

const _: () = assert!(size_of::<Signal>() <= 48, "a signal lies in its node");

/// A reason in two words, for where it lies in a node of a mailbox: one that says more has memory of its own.
#[derive(Debug)]
pub(crate) enum Brief {
    Normal,
    Shutdown,
    Killed,
    Kill,
    NoProc,
    NodeDown,
    Other(Pooled<ExitReason>),
}

impl From<ExitReason> for Brief {
    #[inline]
    fn from(reason: ExitReason) -> Brief {
        match reason {
            ExitReason::Normal => Brief::Normal,
            ExitReason::Shutdown => Brief::Shutdown,
            ExitReason::Killed => Brief::Killed,
            ExitReason::Kill => Brief::Kill,
            ExitReason::NoProc => Brief::NoProc,
            ExitReason::NodeDown => Brief::NodeDown,
            other => Brief::Other(Pooled::new(other)),
        }
    }
}

impl From<Brief> for ExitReason {
    #[inline]
    fn from(brief: Brief) -> ExitReason {
        match brief {
            Brief::Normal => ExitReason::Normal,
            Brief::Shutdown => ExitReason::Shutdown,
            Brief::Killed => ExitReason::Killed,
            Brief::Kill => ExitReason::Kill,
            Brief::NoProc => ExitReason::NoProc,
            Brief::NodeDown => ExitReason::NodeDown,
            Brief::Other(other) => other.into_inner(),
        }
    }
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The watcher's number for its monitor.
    pub(crate) number: u64,
    pub(crate) id: Id,
    pub(crate) reason: Brief,
    pub(crate) receipt: Option<Arc<ExitReceipt>>,
}

/// An exit signal.
#[derive(Debug)]
pub(crate) struct ExitSignal {
    pub(crate) from: Id,
    pub(crate) reason: Brief,
    /// It comes because a linked lane ended.
    pub(crate) linked: bool,
    /// The lane sent it to itself.
    pub(crate) to_itself: bool,
}

/// What becomes of a node that is let in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits in the inbox for whoever receives.
    Waits,
    /// Nobody wants it any more.
    Void,
    /// It takes effect, in its turn ([`take_effect`]).
    Acts,
}

/// Decides on a node, once. The order in which nodes are decided on does not matter.
#[inline]
pub(crate) fn fate(own: &mut Own, node: &Node) -> Fate {
    match node.peek::<Signal>() {
        // A wish to stop has its turn like a message.
        None | Some(Signal::Stop(_)) => Fate::Waits,
        // One that was demonitored meanwhile is not delivered.
        Some(Signal::Down(notice)) => {
            let known = own.more.as_mut().and_then(|more| more.watching.remove(notice.number));
            if known.is_some() { Fate::Waits } else { Fate::Void }
        }
        Some(_) => Fate::Acts,
    }
}

/// Whether a node [acts](Fate::Acts).
pub(crate) fn acts(node: &Node) -> bool {
    node.is_signal() && node.peek::<Signal>().is_some_and(|signal| !matches!(signal, Signal::Stop(_) | Signal::Down(_)))
}

/// Lets a signal that [acts](Fate::Acts) do so on the lane in `slot`: what of it waits in the inbox for whoever receives.
pub(crate) fn take_effect(slot: SlotRef, own: &mut Own, node: Node) -> Option<Node> {
    if let Some(Signal::Monitor { .. }) = node.peek() {
        own.watched_by(node);
        return None;
    }
    match node.take::<Signal>() {
        Ok(Signal::Exit(signal)) => return exit(own, signal).map(|signal| Node::new_signal(Signal::Exit(signal))),
        // It only waits. To say so in `fate` would make notices of death dearer.
        Ok(Signal::Group(change)) => return Some(Node::new_signal(Signal::Group(change))),
        Ok(Signal::Inspect(answerer)) => {
            if let Some(me) = slot.id() {
                answerer.answer_later(Inspection::of(me, own));
            }
        }
        Ok(Signal::Given) => own.flags |= HAS_DESCRIPTORS,
        Ok(Signal::Demonitor { watcher, number }) => own.watched_no_more_by(watcher, number),
        Ok(Signal::Unlink { .. }) if own.more.is_none() => {}
        Ok(tie) => take_note(own.more(), tie),
        Err(_) => unreachable!("only signals act"),
    }
    None
}

/// Lets a signal change whom the lane's end must tell. It is all that an unread signal can still do to a lane that has
/// ended: whoever sent it hears of the end with the others.
pub(crate) fn take_note(more: &mut More, signal: Signal) {
    match signal {
        Signal::Link { from } => _ = more.links.insert(from, ()),
        Signal::Unlink { from } => _ = more.links.remove(&from),
        Signal::Monitor { watcher, number, receipt } => _ = more.watchers.insert((watcher, number), receipt),
        Signal::Demonitor { watcher, number } => _ = more.watchers.remove(&(watcher, number)),
        Signal::Join(answerer) => more.joiners.push(answerer),
        // An answerer that is dropped says so.
        Signal::Inspect(_) | Signal::Exit(_) | Signal::Down(_) | Signal::Group(_) | Signal::Stop(_) | Signal::Given => {
        }
    }
}

/// What of an exit signal waits in the inbox: all of it where exits are trapped.
fn exit(own: &mut Own, signal: ExitSignal) -> Option<ExitSignal> {
    let from = signal.from;
    if signal.linked && own.more.as_mut().is_none_or(|more| more.links.remove(&from).is_none()) {
        // The link was taken back while the signal was under way.
        return None;
    }
    if !signal.linked && matches!(signal.reason, Brief::Kill) {
        return doom(own, ExitReason::Killed);
    }
    if own.has(TRAPS_EXITS) {
        return Some(signal);
    }
    if matches!(signal.reason, Brief::Normal) && !signal.to_itself {
        return None;
    }
    doom(own, signal.reason.into())
}

fn doom(own: &mut Own, reason: ExitReason) -> Option<ExitSignal> {
    own.flags |= DOOMED;
    own.more().doomed.get_or_insert(reason);
    None
}
