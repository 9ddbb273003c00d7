//! Links and monitors: whom a death must tell, kept as bare ids on both sides.
//!
//! Everything here is a signal in the other lane's mailbox, so it comes in order with messages, and no lane ever
//! touches what another holds.

use std::mem;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

use crate::alloc;
use crate::context;
use crate::exit::ExitReason;
use crate::group;
use crate::id::Id;
use crate::inspect::Inspection;
use crate::lane::word::{Pushed, Weight};
use crate::mailbox::node::{self, Node};
use crate::peer;
use crate::receipt::ExitReceipt;
use crate::reply::{self, Answer};
use crate::sched;
use crate::sched::notices::Kept;
use crate::sched::worker::Local;
use crate::signal::{Brief, ExitSignal, MonitorRef, Notice, Signal};
use crate::slot::{SlotRef, slot_of};

/// Puts a signal in the mailbox of a local lane, to take effect before its next poll ([`Weight::Urgent`]) or when it is
/// received; false where the lane is gone.
fn deliver(to: Id, signal: Signal, weight: Weight) -> bool {
    let Some(slot) = slot_of(to) else { return false };
    deliver_node(to, slot, Node::new_signal(signal), weight)
}

/// As [`deliver`], of a signal that lies in its node.
fn deliver_node(to: Id, slot: SlotRef, node: Node, weight: Weight) -> bool {
    let generation = to.generation().get();
    match node::push(&slot.word, generation, || weight, node) {
        Ok(pushed) => {
            if pushed == Pushed::Schedule {
                sched::schedule(slot);
            }
            true
        }
        Err((_, node)) => node.take::<Signal>().is_ok_and(|signal| deliver_late(slot, to, signal)),
    }
}

const SHARDS: usize = 16;

type Late = Mutex<HashMap<Id, Vec<Signal>, FxBuildHasher>>;

/// Signals for lanes that are ending: their mailbox is closed, and what they held is not all released.
static LATE: [Late; SHARDS] = [const { Mutex::new(HashMap::with_hasher(FxBuildHasher)) }; SHARDS];

fn late(id: Id) -> &'static Late {
    &LATE[id.key() as usize % SHARDS]
}

/// Leaves a signal, by which somebody wants to hear of a lane's end, for the end that is under way; false where it is
/// over. Told at once, they would find its name still taken.
fn deliver_late(slot: SlotRef, to: Id, signal: Signal) -> bool {
    if !matches!(signal, Signal::Link { .. } | Signal::Monitor { .. } | Signal::Join(_) | Signal::Demonitor { .. }) {
        return false;
    }
    // Under the lock, so that a death that saw the mark finds the signal.
    let mut late = late(to).lock();
    let in_time = slot.word.transition_to_awaited(to.generation().get());
    if in_time {
        // The table is all lanes'.
        alloc::uncharged(|| late.entry(to).or_default().push(signal));
    }
    in_time
}

/// What came for a lane after its mailbox had closed.
pub(crate) fn take_late(id: Id) -> Vec<Signal> {
    late(id).lock().remove(&id).unwrap_or_default()
}

/// Sends an exit signal; a lane that is gone does not hear it.
pub(crate) fn send_exit(to: Id, from: Id, reason: ExitReason, linked: bool) {
    if let Some(route) = peer::route(to) {
        route.exit(to, from, reason);
        return;
    }
    let to_itself = context::current_id() == Some(to);
    let kills = reason == ExitReason::Kill && !linked && !to_itself;
    let signal = ExitSignal { from, reason: reason.into(), linked, to_itself };
    deliver(to, Signal::Exit(signal), Weight::Urgent);
    if kills && let Some(slot) = slot_of(to) {
        // A lane that does not leave its poll does not come to the signal.
        slot.word.kill_running(to.generation().get());
    }
}

/// Tells a new lane that the one it is linked with is gone, in the name of that one, which is the caller and abandoned.
pub(crate) fn send_exit_of_gone(to: Id, from: Id) {
    let Some(slot) = slot_of(to) else { return };
    let signal = ExitSignal { from, reason: Brief::Killed, linked: true, to_itself: false };
    // The lane is not born yet: it counts as scheduled, and whoever bears it queues it.
    let node = Node::new_signal(Signal::Exit(signal));
    drop(node::push(&slot.word, to.generation().get(), || Weight::Urgent, node));
}

/// Tells a watcher that what it watched is gone; a watcher that is gone does not hear it.
pub(crate) fn send_down(reference: MonitorRef, id: Id, reason: ExitReason, receipt: Option<Arc<ExitReceipt>>) {
    let MonitorRef { watcher, number } = reference;
    deliver(watcher, Signal::Down(Notice { number, id, reason: reason.into(), receipt }), Weight::Exempt);
}

/// As [`send_down`], to the watcher whose wish lies in `node`: the node goes back with the notice, and nothing has to be
/// found for it. `receipt` is asked where that is wanted. `keeper` may send it with others that come.
#[inline]
pub(crate) fn answer_with_down(
    mut node: Node,
    id: Id,
    reason: ExitReason,
    receipt: impl FnOnce() -> Arc<ExitReceipt>,
    keeper: Option<&Local>,
) {
    let Some(signal) = node.peek_mut::<Signal>() else { return };
    let Signal::Monitor { watcher, number, receipt: wanted } = *signal else { return };
    let receipt = if wanted { Some(receipt()) } else { None };
    *signal = Signal::Down(Notice { number, id, reason: reason.into(), receipt });
    if let Some(keeper) = keeper {
        keeper.keep_notice(watcher, node);
    } else if let Some(slot) = slot_of(watcher) {
        deliver_node(watcher, slot, node, Weight::Exempt);
    }
}

/// As [`answer_with_down`] of a lane that was killed, if the receipt is not wanted: else the wish.
#[inline]
pub(crate) fn answer_with_death(mut node: Node, id: Id, keeper: &Local) -> Option<Node> {
    let Some(signal) = node.peek_mut::<Signal>() else { return Some(node) };
    let Signal::Monitor { watcher, number, receipt: false } = *signal else { return Some(node) };
    // A wish has nothing to drop. The compiler does not know that.
    mem::forget(mem::replace(signal, Signal::Down(Notice { number, id, reason: Brief::Killed, receipt: None })));
    keeper.keep_notice(watcher, node);
    None
}

/// Sends the notices that were kept for a watcher; one that is gone does not hear them. The slot, if it is to be queued.
pub(crate) fn send_kept(kept: Kept) -> Option<SlotRef> {
    let watcher = Id::from_bits(kept.watcher);
    debug_assert!(watcher.is_some(), "the bits of an id");
    let Some((watcher, slot)) = watcher.and_then(|watcher| Some((watcher, slot_of(watcher)?))) else {
        node::drop_kept(kept);
        return None;
    };
    let pushed = node::push_kept(&slot.word, watcher.generation().get(), kept);
    (pushed == Some(Pushed::Schedule)).then_some(slot)
}

/// Tells a lane of a change of a group that it monitors; one that is gone does not hear it.
pub(crate) fn send_change(watcher: Id, change: group::Notice) {
    deliver(watcher, Signal::Group(change), Weight::Exempt);
}

/// Asks a lane to end once it has handled what was queued before; false where it is gone.
pub(crate) fn send_stop(to: Id, reason: ExitReason) -> bool {
    deliver(to, Signal::Stop(reason), Weight::Exempt)
}

/// Lets a local lane know that a descriptor is or will be its; false where it is gone.
pub(crate) fn send_given(to: Id) -> bool {
    deliver(to, Signal::Given, Weight::Exempt)
}

/// Waits for the end of a local lane, from wherever.
pub(crate) fn join(id: Id) -> Answer<ExitReason> {
    let (answerer, answer) = reply::port();
    // A lane that is gone gives the signal back, and dropping it answers.
    deliver(id, Signal::Join(answerer), Weight::Urgent);
    answer
}

/// Asks a local lane whom it is tied to.
pub(crate) fn inspect(id: Id) -> Answer<Inspection> {
    let (answerer, answer) = reply::port();
    // As in `join`.
    deliver(id, Signal::Inspect(answerer), Weight::Urgent);
    answer
}

/// Links the current lane with another. `None` outside of lanes.
pub(crate) fn link(to: Id) -> Option<()> {
    let me = context::current_id()?;
    if me == to {
        return Some(());
    }
    let link = || {
        context::with_current(|_, _, own| own.more().links.insert(to, ()))?;
        // Also where we have the link: it may be one of the other's, that crossed with our unlink and that it has not any
        // more.
        if !deliver(to, Signal::Link { from: me }, Weight::Urgent) {
            let reason = if to.namespace().is_peer() { ExitReason::NodeDown } else { ExitReason::NoProc };
            send_exit(me, to, reason, true);
        }
        Some(())
    };
    // In one piece, here and below: should the lane be taken away, both sides know of the tie or neither.
    context::unless_abandoned(link)?
}

/// Takes a link of the current lane back. `None` outside of lanes.
pub(crate) fn unlink(from: Id) -> Option<()> {
    let me = context::current_id()?;
    let unlink = || {
        let was = context::with_current(|_, _, own| {
            own.more.as_mut().is_some_and(|more| more.links.remove(&from).is_some())
        })?;
        if was {
            deliver(from, Signal::Unlink { from: me }, Weight::Urgent);
        }
        Some(())
    };
    context::unless_abandoned(unlink)?
}

/// Lets the current lane watch another. `None` outside of lanes.
pub(crate) fn monitor(target: Id, receipt: bool) -> Option<MonitorRef> {
    context::unless_abandoned(|| begin_to_monitor(target, receipt))?
}

#[inline(always)]
fn begin_to_monitor(target: Id, receipt: bool) -> Option<MonitorRef> {
    let (watcher, number) =
        context::with_current(|_, slot, own| Some((slot.tenant()?, own.more().watching.insert(target)))).flatten()?;
    let reference = MonitorRef { watcher, number };
    if let Some(route) = peer::route(target) {
        route.monitor(target, reference);
    } else if target.namespace().is_peer() {
        send_down(reference, target, ExitReason::NodeDown, None);
    } else if !deliver(target, Signal::Monitor { watcher, number, receipt }, Weight::Urgent) {
        send_down(reference, target, ExitReason::NoProc, None);
    }
    Some(reference)
}

/// Takes a monitor of the current lane back: whether it stood.
pub(crate) fn demonitor(reference: MonitorRef) -> bool {
    let demonitor = || {
        let target = context::with_current(|_, _, own| {
            own.more.as_mut().and_then(|more| more.watching.remove(reference.number))
        });
        let target = target.flatten()?;
        forget(target, reference);
        Some(())
    };
    context::unless_abandoned(demonitor).flatten().is_some()
}

/// Tells the target that a watcher does not care any more.
pub(crate) fn forget(target: Id, reference: MonitorRef) {
    if let Some(route) = peer::route(target) {
        route.demonitor(target, reference);
    } else {
        let MonitorRef { watcher, number } = reference;
        deliver(target, Signal::Demonitor { watcher, number }, Weight::Urgent);
    }
}
