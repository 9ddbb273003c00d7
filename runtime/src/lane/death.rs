//! The end of a lane, in the order of its six steps. The only place that ends one.
//!
//! 1. The mailbox closes: from here on nothing is queued, and the id is stale for senders.
//! 2. The future is dropped, and what the layer above kept with the lane; their destructors may do what they like.
//! 3. What the lane held is released: timers, descriptors, names, green locks and its places in their lines.
//! 4. What was queued is dropped; waiting senders get their message back.
//! 5. The slot goes back, under its next generation or never, and the lane counts as dead.
//! 6. Only now do links, watchers and callers hear of it, who so find its name free and room for another lane.

use std::sync::Arc;

use super::Pooled;
use super::own::{COUNTS_AWAITS, HAS_DESCRIPTORS, HAS_NAMES, HAS_TIMERS, More, Own};
use super::watch;
use crate::context;
use crate::exit::ExitReason;
use crate::fault::Ended;
use crate::id::Id;
use crate::lane::word;
use crate::mailbox::node::{self, Node};
use crate::mailbox::wait;
use crate::panic::contain;
use crate::receipt::ExitReceipt;
use crate::reply::NoAnswer;
use crate::sched::worker::Local;
use crate::signal::{self, MonitorRef, Signal};
use crate::slot::{SlotRef, Table};
use crate::wait_list::By;

/// Ends the lane that `local` runs.
pub(crate) fn end(local: &Local, slot: SlotRef, reason: ExitReason) {
    let Some(id) = slot.tenant() else { return };
    if let Some(plan) = &local.scheduler.faults {
        plan.dying(id);
    }

    // 1. A generation that is used up is followed by 0, which no id bears.
    let taken = slot.word.close(id.generation().get().wrapping_add(1));
    // What destructors do from here on they do outside of any lane: nothing new can be held by the dead.
    local.current.set(None);
    let Own { frame, mut inbox, mut more, index, flags, .. } = context::with_own(local, slot, std::mem::take);
    // Its place while destructors run, who may ask for it.
    let outer = local.ending.replace(Some(reason));
    let mut receipt = ExitReceipt::new(ExitReason::Normal);

    // What the future holds goes with it, and is counted all the same.
    if flags & HAS_TIMERS != 0 {
        receipt.timers = local.scheduler.timers.owned_by(slot.key()) as u64;
    }
    if flags & HAS_DESCRIPTORS != 0 {
        receipt.descriptors = local.scheduler.descriptors.count_of(id) as u64;
    }
    if let Some(index) = &index {
        (receipt.locks, receipt.wait_entries) = index.count(By::Lane(id));
    }

    make_room(local, &receipt);

    // 2.
    if let Some(frame) = frame {
        receipt.bytes = frame.size() as u64;
        receipt.destructor_panics += guarded(|| drop(frame));
    }
    if let Some(extra) = more.as_mut().and_then(|more| more.extra.take()) {
        receipt.destructor_panics += guarded(|| drop(extra));
    }

    // 3. Locks first: who finds one left is told the names of the dead.
    if let Some(index) = index {
        index.into_inner().release(By::Lane(id));
    }
    let names = more.as_ref().map_or(&[][..], |more| &more.names);
    if flags & (HAS_TIMERS | HAS_DESCRIPTORS | HAS_NAMES) != 0 {
        release(local, slot, id, flags, names, &mut receipt);
    }

    // 4.
    let mut signals = Vec::new();
    while let Some(node) = inbox.pop_front() {
        discard(node, &mut signals, &mut receipt);
    }
    if taken.head != word::EMPTY {
        node::drain(taken.head, |node| discard(node, &mut signals, &mut receipt));
    }
    if taken.waiters {
        receipt.senders_refused = wait::refuse_all(id);
    }
    receipt.reason = local.ending.replace(outer).unwrap_or(ExitReason::Normal);

    // 5. Whoever looks at this worker sees no lane from here on. In this order: who finds the lane dead finds room for
    // another. That one waits for the word.
    local.pulse.clear_lane();
    local.running.set(None);
    let awaits_left = more.as_ref().filter(|_| flags & COUNTS_AWAITS != 0).map(|more| more.awaits_left);
    if !receipt.reason.is_ordinary() {
        report(slot, id, names, &receipt);
    }
    let is_last = slot.word.next_generation() == 0;
    local.give_back(slot, is_last);
    if slot.word.transition_to_dead() {
        signals.extend(watch::take_late(id));
    }
    if is_last {
        Table::retire(slot);
    }

    // 6.
    local.pass_verdict(|| NoAnswer::Ended(receipt.reason.clone()));
    if more.is_some() || !signals.is_empty() {
        tell(id, more, signals, &mut receipt);
    }
    local.counters.note_death(&receipt);
    if let Some(plan) = &local.scheduler.faults {
        plan.ended(Ended { id, receipt: &receipt, awaits_left });
    }
}

/// A timer's worth of work in a death whose worker looks at once at what comes from outside, and in one whose worker
/// leaves the others to somebody else meanwhile: some 20 microseconds, and half a millisecond.
const LONG: u64 = 256;
const TOO_LONG: u64 = 8192;
/// What it takes to close a descriptor, in timers.
const DESCRIPTOR: u64 = 16;

/// Sees to it that nobody waits for a death with much to release: the queue is for other workers then.
#[inline]
fn make_room(local: &Local, receipt: &ExitReceipt) {
    let much = receipt.timers + receipt.locks + receipt.wait_entries + DESCRIPTOR * receipt.descriptors;
    if much >= LONG {
        local.turn.exhaust();
        if much >= TOO_LONG {
            local.scheduler.step_aside(local.index);
        }
    }
}

/// Runs a destructor; 1 where it panicked.
fn guarded(destructor: impl FnOnce()) -> u64 {
    u64::from(!contain(destructor))
}

/// Ends a lane that has an id and never got a future.
pub(crate) fn abandon(slot: SlotRef, id: Id) {
    let mut receipt = ExitReceipt::new(ExitReason::NoProc);
    let taken = slot.word.close(id.generation().get().wrapping_add(1));
    let mut signals = Vec::new();
    node::drain(taken.head, |node| discard(node, &mut signals, &mut receipt));
    if taken.waiters {
        wait::refuse_all(id);
    }
    let is_last = slot.word.next_generation() == 0;
    if let Some(table) = slot.table() {
        if is_last {
            table.forget_key();
        } else {
            table.give_back(std::iter::once(slot.key()));
        }
    }
    if slot.word.transition_to_dead() {
        signals.extend(watch::take_late(id));
    }
    if is_last {
        Table::retire(slot);
    }
    tell(id, None, signals, &mut receipt);
}

fn discard(node: Node, signals: &mut Vec<Signal>, receipt: &mut ExitReceipt) {
    match node.take::<Signal>() {
        Ok(signal) => signals.push(signal),
        Err(message) => {
            receipt.messages_dropped += 1;
            receipt.destructor_panics += guarded(|| drop(message));
        }
    }
}

fn release(local: &Local, slot: SlotRef, id: Id, flags: u32, names: &[Arc<str>], receipt: &mut ExitReceipt) {
    if flags & HAS_TIMERS != 0 {
        receipt.destructor_panics += local.scheduler.timers.release_owner(slot.key());
    }
    if flags & HAS_DESCRIPTORS != 0 {
        receipt.errors += local.scheduler.descriptors.release_owner(id).errors;
    }
    if flags & HAS_NAMES != 0 {
        receipt.names = local.scheduler.names.release(id, names);
    }
}

/// Writes of an end that was no ordinary one.
fn report(slot: SlotRef, id: Id, names: &[Arc<str>], receipt: &ExitReceipt) {
    let spawned_at = slot.spawned_at().map(tracing::field::display);
    tracing::warn!(lane = %id, ?names, spawned_at, reason = %receipt.reason, "lane ended");
}

/// Tells all who are tied to the lane, those included whose wish was still unread.
fn tell(id: Id, more: Option<Pooled<More>>, signals: Vec<Signal>, receipt: &mut ExitReceipt) {
    let mut more = more.unwrap_or_default();
    for signal in signals {
        signal::take_note(&mut more, signal);
    }
    let More { links, watchers, watching, joiners, receiver, .. } = more.into_inner();
    receipt.destructor_panics += guarded(|| drop(receiver));
    receipt.links = links.len() as u64;
    receipt.watchers = watchers.len() as u64;
    receipt.monitors = watching.len() as u64;
    let shared = watchers.values().any(|wanted| *wanted).then(|| Arc::new(receipt.clone()));
    for (link, ()) in links {
        watch::send_exit(link, id, receipt.reason.clone(), true);
    }
    for ((watcher, number), wanted) in watchers {
        let receipt_for_it = if wanted { shared.clone() } else { None };
        watch::send_down(MonitorRef { watcher, number }, id, receipt.reason.clone(), receipt_for_it);
    }
    for (number, target) in watching.iter() {
        watch::forget(target, MonitorRef { watcher: id, number });
    }
    for joiner in joiners {
        // Whoever waited may have left.
        let _ = joiner.answer(receipt.reason.clone());
    }
}
