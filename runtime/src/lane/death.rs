//! The end of a lane, in the order of its six steps. The only place that ends one.
//!
//! 1. The mailbox closes: from here on nothing is queued, and the id is stale for senders.
//! 2. The future is dropped, and what the layer above kept with the lane; their destructors may do what they like.
//!    Its arenas go with it; what others have of them is in quarantine from then on.
//! 3. What the lane held is released: timers, descriptors, names, groups, green locks and its places in their lines.
//! 4. What was queued is dropped, and with it what it may have brought (`giving.rs`); waiting senders get their message
//!    back.
//! 5. The slot goes back, under its next generation or never, and the lane counts as dead.
//! 6. Only now do links, watchers and callers hear of it, who so find its name free and room for another lane.
//!
//! A lane that is killed while it is stuck in its poll, or in its destructors, is taken from its worker (`sched/hold.rs`)
//! and ends without it ([`bury`]): all steps but the second, and the slot does not go back. The future is on the worker's
//! stack, where its code runs: it is dropped, and the slot goes back, when the poll has returned ([`depart`]). Until then
//! the lane counts as abandoned, and the green locks that it holds stay locked: its code may be at what they guard. Its
//! places in the lines of others' locks it leaves at once. What others still find taken is what the code itself holds:
//! memory, locks of the system, reply ports in its hands, whose callers hear of it then, and sockets that it has made its
//! own.

mod killed;

use std::cell::LazyCell;
use std::mem;
use std::sync::Arc;

use super::Pooled;
use super::frame::Frame;
use super::index::Index;
use super::own::{
    AtEnd, COUNTS_AWAITS, HAS_ARENAS, HAS_BUDGET, HAS_DESCRIPTORS, HAS_NAMES, HAS_TIMERS, IN_GROUPS, More, Own,
    watcher_of,
};
use super::watch;
use crate::admission::Reserved;
use crate::alloc::account::Account;
use crate::alloc::{self, Budget};
use crate::context;
use crate::exit::ExitReason;
use crate::fault::Ended;
use crate::id::Id;
use crate::lane::word::{self, Taken};
use crate::mailbox::node::{self, List, Node};
use crate::mailbox::wait;
use crate::panic::contain;
use crate::receipt::ExitReceipt;
use crate::reply::NoAnswer;
use crate::sched::abandoned::{Leftovers, Remains};
use crate::sched::hold::{self, Left};
use crate::sched::worker::Local;
use crate::signal::{self, MonitorRef, Signal};
use crate::slot::{SlotRef, Table};
use crate::wait_list::By;

/// Ends the lane that `local` runs.
#[inline(always)]
pub(crate) fn end(local: &Local, slot: SlotRef, reason: ExitReason) {
    let Some(id) = slot.tenant() else { return };
    if let Some(plan) = &local.scheduler.faults {
        plan.dying(id);
    }

    // 1.
    let taken = close(slot, id);
    if matches!(reason, ExitReason::Killed)
        && context::with_own(local, slot, |own| killed::has_nothing(local, own, &taken))
    {
        return killed::end(local, slot, id);
    }
    end_closed(local, slot, id, reason, taken);
}

/// Ends a lane that was killed while it waited, which `local` has taken out of a queue.
#[inline]
pub(crate) fn end_killed(local: &Local, slot: SlotRef) {
    end(local, slot, ExitReason::Killed);
}

/// As [`end`], of a lane whose mailbox is closed and had this in it.
#[inline(never)]
fn end_closed(local: &Local, slot: SlotRef, id: Id, reason: ExitReason, taken: Taken) {
    // What destructors do from here on they do outside of any lane: nothing new can be held by the dead. What stays in the
    // owner's half may be buried elsewhere while they run.
    let (frame, extra, flags, in_index) = context::with_own(local, slot, |own| {
        if taken.head != word::EMPTY {
            own.inbox.append(node::list(List::default(), taken.head, |_| true));
        }
        // It comes last, and a lane that waited for long is in no cache.
        own.watch.prefetch();
        let extra = own.more.as_mut().and_then(|more| more.extra.take());
        let in_index = own.index.as_ref().map_or((0, 0), |index| index.count(By::Lane(id)));
        // The lane's destructors are its code, too: they are charged to it.
        if own.has(HAS_BUDGET) {
            alloc::charge(own.account(slot));
        }
        (own.frame.take(), extra, own.flags, in_index)
    });
    let is_killed = matches!(reason, ExitReason::Killed);
    // Its place while destructors run, who may ask for it.
    let outer = local.ending.replace(Some(reason));
    let mut dying = Dying {
        slot,
        id,
        flags,
        watch: None,
        more: None,
        receipt: ExitReceipt::new(ExitReason::Normal),
        reserved: None,
    };
    (dying.receipt.locks, dying.receipt.wait_entries) = in_index;
    if flags & (HAS_TIMERS | HAS_DESCRIPTORS | HAS_BUDGET) != 0 {
        dying.count_held(local);
        dying.receipt.memory = alloc::charged().map_or(0, Account::note_end);
    }
    dying.note_for_burial(local);
    make_room(local, &dying.receipt);

    // 2.
    local.pulse.hold.enter_destructors(slot, is_killed);
    if let Some(frame) = frame {
        dying.receipt.bytes = frame.size() as u64;
        dying.receipt.destructor_panics += guarded(|| drop(frame));
    }
    if let Some(extra) = extra {
        dying.receipt.destructor_panics += guarded(|| drop(extra));
    }
    if local.pulse.hold.leave_destructors() == Left::TakenAway {
        local.ending.replace(outer);
        return part(local, slot, dying.receipt.bytes, dying.receipt.destructor_panics);
    }
    if flags & (HAS_BUDGET | HAS_ARENAS) != 0 {
        dying.close_memory(local);
    }

    // 3, 4.
    let (mut inbox, index) = context::with_own(local, slot, |own| {
        (dying.watch, dying.more) = (own.watch.take(), own.more.take());
        (mem::take(&mut own.inbox), own.index.take())
    });
    // Locks first: who finds one left is told the names of the dead.
    release_index(index, id);
    dying.release(local);
    let mut signals = Vec::new();
    while let Some(node) = inbox.pop_front() {
        dying.discard(node, &mut signals);
    }
    if !signals.is_empty() {
        dying.release_given(local, &signals);
    }
    if taken.waiters {
        dying.receipt.senders_refused = wait::refuse_all(id);
    }
    dying.receipt.reason = local.ending.replace(outer).unwrap_or(ExitReason::Normal);

    // 5. Whoever looks at this worker sees no lane from here on. In this order: who finds the lane dead finds room for
    // another. That one waits for the word.
    local.pulse.clear_lane();
    local.running.set(None);
    dying.report();
    let is_last = slot.word.next_generation() == 0;
    local.give_back(slot, is_last);
    dying.end_reservation(local);
    if slot.word.transition_to_dead() {
        signals.extend(watch::take_late(id));
    }
    if is_last {
        Table::retire(slot);
    }

    // 6.
    dying.tell_all(local, signals, if is_killed { Some(local) } else { None });
}

/// Ends a lane that was killed while it was stuck in its poll, or in its destructors, and was taken from its worker. All
/// steps are taken here but what the worker alone can do ([`depart`]): its future is dropped, and its slot goes back, when
/// the poll has returned.
pub(crate) fn bury(local: &Local, remains: Remains) {
    let Remains { id, slot, taken, own, mail } = remains;
    let account = own.account(slot);
    let Own { frame, mut inbox, mut watch, mut more, mut index, flags, .. } = own;
    if let Some(plan) = local.scheduler.faults.as_ref().filter(|_| taken == hold::Taken::InPoll) {
        plan.dying(id);
    }
    let outer = local.ending.replace(Some(ExitReason::Killed));
    let extra = more.as_mut().and_then(|more| more.extra.take());
    // The code that is stuck goes on to be charged, where it is.
    let budget = account.map(Budget::of);
    let watch = watch.take();
    let mut dying =
        Dying { slot, id, flags, watch, more, receipt: ExitReceipt::new(ExitReason::Killed), reserved: None };
    match dying.more.as_mut().and_then(|more| more.at_end.take()) {
        Some(held) => dying.receive(held),
        None => {
            let in_index = index.as_ref().map_or((0, 0), |index| index.count(By::Lane(id)));
            (dying.receipt.locks, dying.receipt.wait_entries) = in_index;
            dying.count_held(local);
        }
    }
    if let Some(account) = account {
        let receipt = &mut dying.receipt;
        receipt.memory_left = account.used();
        receipt.memory = if taken == hold::Taken::InPoll { receipt.memory_left } else { account.at_end() };
        receipt.memory_reserved = Reserved::of(slot, account).map_or(0, |reserved| reserved.bytes());
    }
    make_room(local, &dying.receipt);
    dying.receipt.destructor_panics += guarded(|| drop((frame, extra)));
    if let Some(memory) = dying.more.as_mut().and_then(|more| more.memory.take()) {
        memory.close();
    }
    // What is offered to the dead would wait for the poll, and all who are behind in the line with it.
    if let Some(index) = &mut index {
        index.leave_lines(By::Lane(id));
    }
    dying.release(local);
    let mut signals = Vec::new();
    while let Some(node) = inbox.pop_front() {
        dying.discard(node, &mut signals);
    }
    node::drain(mail, |node| dying.discard(node, &mut signals));
    dying.release_given(local, &signals);
    dying.receipt.senders_refused = wait::refuse_all(id);
    local.ending.replace(outer);
    dying.report();
    if slot.word.transition_to_dead() {
        signals.extend(watch::take_late(id));
    }
    dying.tell_all(local, signals, None);
    if let Some(left) = local.scheduler.abandoned.is_buried(slot, index, budget) {
        release_leftovers(local, slot, left);
    }
}

/// The poll has returned whose lane was taken away: drops the future.
#[cold]
pub(crate) fn depart(local: &Local, slot: SlotRef, frame: Frame) {
    let outer = local.ending.replace(Some(ExitReason::Killed));
    let bytes = frame.size() as u64;
    let panics = guarded(|| drop(frame));
    local.ending.replace(outer);
    part(local, slot, bytes, panics);
}

/// The worker has nothing more of the lane that was taken away.
#[cold]
fn part(local: &Local, slot: SlotRef, bytes: u64, panics: u64) {
    alloc::charge(None);
    local.pulse.clear_lane();
    local.running.set(None);
    local.counters.note_departure(bytes, panics);
    local.pass_verdict(|| NoAnswer::Ended(ExitReason::Killed));
    if let Some(left) = local.scheduler.abandoned.has_returned(slot) {
        release_leftovers(local, slot, left);
    }
}

/// What is left of a lane that was buried and whose poll has returned.
fn release_leftovers(local: &Local, slot: SlotRef, left: Leftovers) {
    release_index(left.index, left.id);
    let reserved = left.budget.map(|budget| (Reserved::of(slot, budget.account()), budget.close()));
    give_back(local, slot);
    if let Some((Some(reserved), left)) = reserved {
        reserved.but_for(left).end(&local.scheduler);
    }
}

/// Leaves the green locks that a lane held, and its places in their lines.
fn release_index(index: Option<Pooled<Index>>, id: Id) {
    if let Some(index) = index {
        index.into_inner().release(By::Lane(id));
    }
}

/// Gives back the slot of a lane that is dead.
fn give_back(local: &Local, slot: SlotRef) {
    let is_last = slot.word.next_generation() == 0;
    local.give_back(slot, is_last);
    if is_last {
        Table::retire(slot);
    }
}

/// Takes the id out of use: nothing is queued from here on.
pub(crate) fn close(slot: SlotRef, id: Id) -> Taken {
    // A generation that is used up is followed by 0, which no id bears.
    slot.word.close(id.generation().get().wrapping_add(1))
}

/// A lane on its way through the steps.
struct Dying {
    slot: SlotRef,
    id: Id,
    flags: u32,
    watch: Option<Node>,
    more: Option<Pooled<More>>,
    receipt: ExitReceipt,
    /// What is reserved for it.
    reserved: Option<Reserved>,
}

impl Dying {
    /// Counts what goes with the future, or with the code that is stuck in it.
    #[inline(always)]
    fn count_held(&mut self, local: &Local) {
        if self.flags & HAS_TIMERS != 0 {
            self.receipt.timers = local.scheduler.timers.owned_by(self.slot.key()) as u64;
        }
        if self.flags & HAS_DESCRIPTORS != 0 {
            self.receipt.descriptors = local.scheduler.descriptors.count_of(self.id) as u64;
        }
    }

    /// Leaves what was counted with the lane: should it be buried while its destructors run, there would be less to count.
    #[inline(always)]
    fn note_for_burial(&self, local: &Local) {
        let ExitReceipt { timers, descriptors, locks, wait_entries, .. } = self.receipt;
        if timers | descriptors | locks | wait_entries != 0 {
            let held = AtEnd { timers, descriptors, locks, wait_entries };
            context::with_own(local, self.slot, |own| own.more().at_end = Some(held));
        }
    }

    /// Takes over what was counted before the destructors.
    fn receive(&mut self, AtEnd { timers, descriptors, locks, wait_entries }: AtEnd) {
        let receipt = &mut self.receipt;
        (receipt.timers, receipt.descriptors) = (timers, descriptors);
        (receipt.locks, receipt.wait_entries) = (locks, wait_entries);
    }

    /// The lane's destructors have run: what it alone has of arenas goes, and nothing more is charged to it.
    #[inline]
    fn close_memory(&mut self, local: &Local) {
        if self.flags & HAS_ARENAS != 0 {
            self.close_arenas(local);
        }
        if let Some(account) = alloc::charge_nobody() {
            let reserved = Reserved::of(self.slot, account);
            let left = Budget::of(account).close();
            self.receipt.memory_left = left;
            if let Some(reserved) = reserved {
                self.receipt.memory_reserved = reserved.bytes();
                self.reserved = Some(reserved.but_for(left));
            }
        }
    }

    /// The slot is free: what was reserved is for others.
    #[inline(always)]
    fn end_reservation(&mut self, local: &Local) {
        if self.flags & HAS_BUDGET != 0
            && let Some(reserved) = self.reserved.take()
        {
            reserved.end(&local.scheduler);
        }
    }

    #[cold]
    fn close_arenas(&self, local: &Local) {
        let memory = context::with_own(local, self.slot, |own| own.more.as_mut().and_then(|more| more.memory.take()));
        if let Some(memory) = memory {
            memory.close();
        }
    }

    /// Step 3.
    #[inline(always)]
    fn release(&mut self, local: &Local) {
        if self.flags & (HAS_TIMERS | HAS_DESCRIPTORS | HAS_NAMES | IN_GROUPS) != 0 {
            self.release_held(local);
        }
    }

    #[cold]
    fn release_held(&mut self, local: &Local) {
        let Dying { slot, id, flags, receipt, .. } = self;
        if *flags & HAS_TIMERS != 0 {
            receipt.destructor_panics += local.scheduler.timers.release_owner(slot.key());
        }
        if *flags & HAS_DESCRIPTORS != 0 {
            receipt.errors += local.scheduler.descriptors.release_owner(*id).errors;
        }
        if *flags & HAS_NAMES != 0 {
            let names = self.more.as_ref().map_or(&[][..], |more| &more.names);
            receipt.names = local.scheduler.names.release(*id, names);
        }
        if *flags & IN_GROUPS != 0 {
            let groups = &local.scheduler.groups;
            make_room_for(local, GROUP * groups.weight_of(*id));
            let released = groups.release(*id);
            (receipt.memberships, receipt.monitors) = (released.memberships, released.monitors);
        }
    }

    /// Step 4, for one of the nodes.
    #[inline(always)]
    fn discard(&mut self, node: Node, signals: &mut Vec<Signal>) {
        discard(node, signals, &mut self.receipt);
    }

    /// Closes what the lane was given and had not heard of.
    #[cold]
    fn release_given(&mut self, local: &Local, signals: &[Signal]) {
        let descriptors = &local.scheduler.descriptors;
        let given = if was_given(signals) { descriptors.count_of(self.id) as u64 } else { 0 };
        if given != 0 {
            self.receipt.descriptors += given;
            make_room(local, &self.receipt);
            self.receipt.errors += descriptors.release_owner(self.id).errors;
        }
    }

    /// Writes of an end that was no ordinary one.
    #[inline(always)]
    fn report(&self) {
        if !self.receipt.reason.is_ordinary() {
            let names = self.more.as_ref().map_or(&[][..], |more| &more.names);
            report(self.slot, self.id, names, &self.receipt.reason);
        }
    }

    /// Step 6.
    #[inline(always)]
    fn tell_all(&mut self, local: &Local, signals: Vec<Signal>, keeper: Option<&Local>) {
        let Dying { id, flags, receipt, .. } = self;
        let (watch, more) = (self.watch.take(), self.more.take());
        let awaits_left = more.as_ref().filter(|_| *flags & COUNTS_AWAITS != 0).map(|more| more.awaits_left);
        local.pass_verdict(|| NoAnswer::Ended(receipt.reason.clone()));
        if watch.is_some() || more.is_some() || !signals.is_empty() {
            tell(*id, watch, more, signals, receipt, keeper);
        }
        local.counters.note_death(receipt);
        if let Some(plan) = &local.scheduler.faults {
            plan.ended(Ended { id: *id, receipt, awaits_left });
        }
    }
}

/// A timer's worth of work in a death whose worker looks at once at what comes from outside, and in one whose worker
/// leaves the others to somebody else meanwhile: some 20 microseconds, and half a millisecond.
const LONG: u64 = 256;
const TOO_LONG: u64 = 8192;
/// What it takes to close a descriptor, in timers.
const DESCRIPTOR: u64 = 16;
/// What it takes to leave a group.
const GROUP: u64 = 4;

/// Sees to it that nobody waits for a death with much to release: the queue is for other workers then. To be called from
/// within a section of the worker.
#[inline]
fn make_room(local: &Local, receipt: &ExitReceipt) {
    make_room_for(local, receipt.timers + receipt.locks + receipt.wait_entries + DESCRIPTOR * receipt.descriptors);
}

/// As [`make_room`], for so many timers' worth of work.
#[inline]
fn make_room_for(local: &Local, much: u64) {
    if much >= LONG {
        local.note_long_turn((much / LONG).min(TOO_LONG / LONG) as u32);
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
    if was_given(&signals)
        && let Some(scheduler) = slot.table().and_then(|table| table.scheduler())
    {
        scheduler.descriptors.release_owner(id);
    }
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
    tell(id, None, None, signals, &mut receipt, None);
}

/// Whether the lane was given descriptors that it had not heard of.
fn was_given(signals: &[Signal]) -> bool {
    signals.iter().any(|signal| matches!(signal, Signal::Given))
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

/// Writes of an end that was no ordinary one.
fn report(slot: SlotRef, id: Id, names: &[Arc<str>], reason: &ExitReason) {
    let spawned_at = slot.spawned_at().map(tracing::field::display);
    tracing::warn!(lane = %id, ?names, spawned_at, %reason, "lane ended");
}

/// Tells all who are tied to the lane, those included whose wish was still unread.
fn tell(
    id: Id,
    mut watch: Option<Node>,
    mut more: Option<Pooled<More>>,
    signals: Vec<Signal>,
    receipt: &mut ExitReceipt,
    keeper: Option<&Local>,
) {
    for signal in signals {
        match signal {
            Signal::Demonitor { watcher, number } if watch.as_ref().and_then(watcher_of) == Some((watcher, number)) => {
                watch = None;
            }
            signal => signal::take_note(more.get_or_insert_default(), signal),
        }
    }
    receipt.watchers = u64::from(watch.is_some());
    match more {
        None => {
            if let Some(watch) = watch {
                watch::answer_with_down(watch, id, receipt.reason.clone(), || Arc::new(receipt.clone()), keeper);
            }
        }
        Some(mut more) => tell_more(id, watch, &mut more, receipt),
    }
}

/// As [`tell`], where there may be many of all kinds.
fn tell_more(id: Id, watch: Option<Node>, more: &mut More, receipt: &mut ExitReceipt) {
    receipt.destructor_panics += guarded(|| drop(more.receiver.take()));
    receipt.links = more.links.len() as u64;
    receipt.watchers += more.watchers.len() as u64;
    receipt.monitors += more.watching.len() as u64;
    let (reason, shared) = (&receipt.reason, LazyCell::new(|| Arc::new(receipt.clone())));
    for (link, ()) in mem::take(&mut more.links) {
        watch::send_exit(link, id, reason.clone(), true);
    }
    if let Some(watch) = watch {
        watch::answer_with_down(watch, id, reason.clone(), || shared.clone(), None);
    }
    for ((watcher, number), wanted) in mem::take(&mut more.watchers) {
        let receipt_for_it = wanted.then(|| shared.clone());
        watch::send_down(MonitorRef { watcher, number }, id, reason.clone(), receipt_for_it);
    }
    for (number, target) in more.watching.iter() {
        watch::forget(target, MonitorRef { watcher: id, number });
    }
    for joiner in more.joiners.drain(..) {
        // Whoever waited may have left.
        let _ = joiner.answer(reason.clone());
    }
}
