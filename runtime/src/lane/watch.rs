//! Links and monitors: whom a death must tell, kept as bare ids on both sides.
//!
//! Everything here is a signal in the other lane's mailbox, so it comes in order with messages, and no lane ever
//! touches what another holds.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

use crate::context;
use crate::exit::ExitReason;
use crate::id::Id;
use crate::inspect::Inspection;
use crate::lane::Pooled;
use crate::lane::word::{Pushed, Weight};
use crate::mailbox::node::{self, Node};
use crate::peer;
use crate::receipt::ExitReceipt;
use crate::reply::{self, Answer};
use crate::sched;
use crate::signal::{Down, ExitSignal, MonitorRef, Signal};
use crate::slot::{SlotRef, slot_of};

/// Puts a signal in the mailbox of a local lane, to take effect before its next poll ([`Weight::Urgent`]) or when it is
/// received; false where the lane is gone.
fn deliver(to: Id, signal: Signal, weight: Weight) -> bool {
    let Some(slot) = slot_of(to) else { return false };
    let generation = to.generation().get();
    match node::push(&slot.word, generation, || weight, Node::new(signal)) {
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
        late.entry(to).or_default().push(signal);
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
    } else {
        let to_itself = context::current_id() == Some(to);
        deliver(to, Signal::Exit(Pooled::new(ExitSignal { from, reason, linked, to_itself })), Weight::Urgent);
    }
}

/// Tells a watcher that what it watched is gone; a watcher that is gone does not hear it.
pub(crate) fn send_down(reference: MonitorRef, id: Id, reason: ExitReason, receipt: Option<Arc<ExitReceipt>>) {
    let down = Pooled::new(Down { reference, id, reason, receipt });
    deliver(reference.watcher, Signal::Down(down), Weight::Exempt);
}

/// Asks a lane to end once it has handled what was queued before; false where it is gone.
pub(crate) fn send_stop(to: Id, reason: ExitReason) -> bool {
    deliver(to, Signal::Stop(reason), Weight::Exempt)
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
    context::with_current(|_, _, own| own.more().links.insert(to, ()))?;
    // Also where we have the link: it may be one of the other's, that crossed with our unlink and that it has not any more.
    if !deliver(to, Signal::Link { from: me }, Weight::Urgent) {
        let reason = if to.namespace().is_peer() { ExitReason::NodeDown } else { ExitReason::NoProc };
        send_exit(me, to, reason, true);
    }
    Some(())
}

/// Takes a link of the current lane back. `None` outside of lanes.
pub(crate) fn unlink(from: Id) -> Option<()> {
    let me = context::current_id()?;
    let was =
        context::with_current(|_, _, own| own.more.as_mut().is_some_and(|more| more.links.remove(&from).is_some()))?;
    if was {
        deliver(from, Signal::Unlink { from: me }, Weight::Urgent);
    }
    Some(())
}

/// Lets the current lane watch another. `None` outside of lanes.
pub(crate) fn monitor(target: Id, receipt: bool) -> Option<MonitorRef> {
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
    let target =
        context::with_current(|_, _, own| own.more.as_mut().and_then(|more| more.watching.remove(reference.number)));
    match target.flatten() {
        Some(target) => {
            forget(target, reference);
            true
        }
        None => false,
    }
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
