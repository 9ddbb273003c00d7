//! One worker: pick a lane, give it a turn (`run.rs`), sleep when there is none.
//!
//! Owns: [`Local`], all that a worker keeps to itself, and the main loop.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::Scheduler;
use super::batch::Batch;
use super::crew::REPORT_EVERY;
use super::pulse::{HandedOver, Pulse};
use super::queue::Queue;
use super::rounds::{LOOK_OUTSIDE_EVERY, Rounds};
use super::turn::Turn;
use super::watchdog::{self, Stuck};
use crate::alloc;
use crate::context;
use crate::id::Id;
use crate::lane::death;
use crate::lane::ending::Ending;
use crate::lane::index::Unpolled;
use crate::lane::memory;
use crate::lane::watch;
use crate::mailbox::node::{self, Node};
use crate::metrics::Line;
use crate::reply::NoAnswer;
use crate::reply::verdict::Verdict;
use crate::sched;
use crate::slot::{SlotRef, Table, Vacant, batch};
use crate::wait_graph::note::Notes;

/// Lanes that may run from the hand-over place in a row before the queue has its turn.
const NEXT_IN_A_ROW: u32 = 3;
/// Rounds of searching before a worker sleeps. More of them cost the others more, whose queues are looked at, than they
/// saved in wake-ups.
const SEARCH_ROUNDS: u32 = 4;
/// A worker for whom more lanes wait than so many does not stand by: it would take too long to give them to the others.
const HANDED_OVER: usize = 1024;

/// `verdict`, `late_wakers` or `unpolled` are not empty.
pub(super) const NEWS: u8 = 1;
/// The lane has something for [`settle_down`](crate::wait_graph::note::settle_down).
pub(crate) const PARKED: u8 = 2;

/// What came of a look at all that comes between two turns.
enum Attended {
    /// It is the turn of whoever is next.
    Nothing,
    /// It is this lane's.
    Found(SlotRef),
    /// The worker is to stand by.
    StandBy,
    /// There are orders.
    Orders,
}

/// All that a worker keeps to itself.
pub(crate) struct Local {
    pub(crate) scheduler: Arc<Scheduler>,
    /// The scheduler's.
    pub(super) table: &'static Table,
    pub(crate) index: usize,
    pub(super) queue: Queue,
    /// What this worker has woken at once and keeps to itself for now.
    pub(super) batch: Batch,
    /// What others see of this worker, with the lane woken last, which runs next.
    pub(crate) pulse: Arc<Pulse<Stuck>>,
    /// Free message nodes.
    pub(crate) nodes: node::Cache,
    /// What this worker has of a mailbox in which messages gather.
    pub(crate) packer: node::Packer,
    /// Free memory for futures.
    pub(crate) frames: memory::Cache,
    /// Free slots.
    slots: RefCell<VecDeque<u32>>,
    /// The lane of which this worker holds `RUNNING`.
    pub(crate) running: Cell<Option<SlotRef>>,
    /// The future of `running` is polled.
    pub(crate) polls: Cell<bool>,
    /// Why the lane ends whose destructors run.
    pub(crate) ending: Ending,
    /// What reply ports that are dropped in the present turn answer with.
    verdict: RefCell<Option<Verdict>>,
    /// What the panic hook saw last.
    pub(crate) panic_place: RefCell<Option<Arc<str>>>,
    pub(crate) turn: Turn,
    /// What the lane that has its turn waits for.
    pub(crate) notes: Notes,
    pub(super) late_wakers: RefCell<Vec<Waker>>,
    /// What was offered to the lane whose turn is over, and passes on.
    pub(super) unpolled: RefCell<Vec<Unpolled>>,
    /// The turn before which there is something else to look at than whose it is, by its number: [`Local::attend`].
    pub(super) attend_at: Cell<u64>,
    /// There may be lanes that were killed in the queue, or notices that are not sent.
    pub(super) minds_dead: Cell<bool>,
    /// What is to be looked at when the turn is over: [`NEWS`], [`PARKED`].
    pub(super) has_news: Cell<u8>,
    pub(crate) counters: Arc<Line>,
    random: Cell<u64>,
}

impl Local {
    fn new(scheduler: Arc<Scheduler>, index: usize, queue: Queue) -> Local {
        let mut seed = [0; 8];
        scheduler.env.fill_entropy(&mut seed);
        let counters = scheduler.metrics.line(index);
        Local {
            pulse: scheduler.pulses[index].clone(),
            table: scheduler.table,
            scheduler,
            index,
            queue,
            batch: Batch::default(),
            nodes: node::Cache::default(),
            packer: node::Packer::default(),
            frames: memory::Cache::default(),
            slots: RefCell::default(),
            running: Cell::new(None),
            polls: Cell::new(false),
            ending: Ending::default(),
            verdict: RefCell::new(None),
            panic_place: RefCell::new(None),
            turn: Turn::of_worker(index),
            notes: Notes::of_worker(index),
            late_wakers: RefCell::default(),
            unpolled: RefCell::default(),
            attend_at: Cell::new(0),
            minds_dead: Cell::new(false),
            has_news: Cell::new(0),
            counters,
            random: Cell::new(u64::from_ne_bytes(seed) | 1),
        }
    }

    /// The lane whose code runs; `None` also while a lane is being ended, and in a poll whose lane was taken away.
    #[inline]
    pub(crate) fn current(&self) -> Option<SlotRef> {
        self.pulse.hold.current()
    }

    /// Whether the code that runs is that of a lane that was taken away while it was stuck in this poll.
    #[inline]
    pub(crate) fn is_abandoned(&self) -> bool {
        self.polls.get() && self.current().is_none()
    }

    /// Queues a lane that was woken: it runs next, but for one for which messages gather while it waits for its turn.
    #[inline(always)]
    pub(crate) fn push_woken(&self, slot: SlotRef) {
        if slot.collects() { self.push_back(slot) } else { self.push_next(slot) }
    }

    /// Queues a lane to run next; whoever was to run next goes to the queue.
    #[inline(always)]
    pub(super) fn push_next(&self, slot: SlotRef) {
        let displaced = match self.pulse.hand_over(slot) {
            HandedOver::Displaced(displaced) => displaced,
            // The worker is stuck in the poll that wakes.
            HandedOver::Robbed(slot, displaced) => {
                self.push_back(slot);
                displaced
            }
        };
        if let Some(displaced) = displaced {
            self.push_back(displaced);
        }
    }

    /// Queues a lane that was woken in its turn.
    pub(super) fn push_again(&self, slot: SlotRef, wants_mail: bool) {
        // Who waits for notices of death would else find them all at once when those before it in the queue are dead.
        if wants_mail && slot.word.has_signals_alone() { self.push_next(slot) } else { self.push_back(slot) }
    }

    /// Keeps a notice of death until there are more for the same lane, or something else is to be done.
    #[inline]
    pub(crate) fn keep_notice(&self, watcher: Id, notice: Node) {
        if !self.pulse.notices.may_be_for(watcher.to_bits()) {
            self.send_notices();
        }
        self.mind_dead();
        node::keep(&self.pulse.notices, watcher, notice);
    }

    /// Sends what is kept. Of many at once the lane is to hear next.
    #[inline(never)]
    pub(super) fn send_notices(&self) {
        let many = self.pulse.notices.count() > 1;
        let Some(slot) = self.pulse.notices.take().and_then(watch::send_kept) else { return };
        if many && slot.is_of(self.table) { self.push_next(slot) } else { sched::schedule(slot) }
    }

    /// Queues a lane behind all others of this worker.
    #[inline(never)]
    pub(crate) fn push_back(&self, slot: SlotRef) {
        self.queue.push(slot);
        self.tell_of_pushed();
    }

    /// Queues a lane that was killed while it waited.
    #[inline]
    pub(crate) fn push_killed(&self, slot: SlotRef) {
        self.mind_dead();
        // The queue may grow, and is not the lane's that kills.
        alloc::uncharged(|| self.queue.push_killed(slot));
        self.tell_of_pushed();
    }

    /// There are lanes that were killed in the queue, or notices that are not sent.
    #[inline]
    fn mind_dead(&self) {
        self.minds_dead.set(true);
        self.attend_at.set(0);
    }

    /// Others may want to have what was queued.
    #[inline]
    fn tell_of_pushed(&self) {
        // A hint will do for a worker that comes to the lane by itself. This one may be stuck: then it sees here that it
        // was robbed, or whoever robs it finds the lane (`pulse.rs`).
        if self.pulse.orders().is_robbed() {
            self.pass_on();
        } else if self.scheduler.idle.some_sleep() {
            self.call_for_help();
        }
    }

    /// This worker is stuck in the poll that wakes others: they are for those who are not.
    #[cold]
    pub(super) fn pass_on(&self) {
        while let Some(slot) = self.queue.pop_any() {
            self.scheduler.inject(slot);
        }
    }

    /// The present turn takes as long as so many others: of those whom looks outside wake meanwhile, more may go ahead.
    pub(crate) fn note_long_turn(&self, turns: u32) {
        self.turn.exhaust();
        self.batch.woken_ahead.note_turns(turns);
    }

    /// Takes one operation of the present turn; false where the turn is over.
    #[inline]
    pub(crate) fn takes_operation(&self) -> bool {
        self.turn.take(|| self.scheduler.env.now())
    }

    /// A slot for a new lane.
    pub(crate) fn vacant(&self) -> Option<Vacant> {
        let mut slots = self.slots.borrow_mut();
        if slots.is_empty() {
            self.get_slots(&mut slots);
        }
        self.scheduler.table.vacant(slots.pop_front()?)
    }

    /// They are the worker's, whichever lane it is that spawns.
    #[cold]
    fn get_slots(&self, slots: &mut VecDeque<u32>) {
        let max_lanes = self.scheduler.max_lanes;
        alloc::uncharged(|| self.scheduler.table.allocate(slots, batch(max_lanes), max_lanes));
    }

    /// Takes back the slot of a lane that is about to be dead, or forgets it where it was the last of its tenants.
    pub(crate) fn give_back(&self, slot: SlotRef, is_last: bool) {
        if is_last {
            self.scheduler.table.forget_key();
            return;
        }
        let mut slots = self.slots.borrow_mut();
        slots.push_back(slot.key());
        let batch = batch(self.scheduler.max_lanes) as usize;
        if batch == 1 || slots.len() > 2 * batch {
            self.scheduler.table.give_back(slots.drain(..batch));
        }
    }

    /// Wakes a waker that is not ours once the present poll is over.
    pub(crate) fn wake_later(&self, waker: Waker) {
        alloc::uncharged(|| self.late_wakers.borrow_mut().push(waker));
        self.note_news(NEWS);
    }

    /// Has something looked at when the turn is over.
    #[inline]
    pub(crate) fn note_news(&self, what: u8) {
        self.has_news.set(self.has_news.get() | what);
    }

    /// There is nothing any more that is to be looked at.
    #[inline]
    pub(crate) fn clear_news(&self) {
        self.has_news.set(0);
    }

    /// Whether there may be something to be looked at: no verdict comes without it.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.has_news.get() != 0
    }

    /// What will have become of the lane that has its turn or dies here; `None` where there is none.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        // A lane that is buried is none that runs here.
        if self.running.get().is_none() && !self.ending.is_some() {
            return None;
        }
        self.note_news(NEWS);
        let mut verdict = self.verdict.borrow_mut();
        Some(verdict.get_or_insert_with(|| alloc::uncharged(Verdict::default)).clone())
    }

    /// Tells those whose reply port was dropped in this turn.
    pub(crate) fn pass_verdict(&self, why: impl FnOnce() -> NoAnswer) {
        if let Some(verdict) = self.verdict.take() {
            self.pulse.clear_lane();
            verdict.fall(why());
        }
    }

    /// Xorshift64: whom to steal from first.
    fn draw(&self) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x as usize
    }
}

/// The thread of a worker, or of a stand-in, which serves when it is hired.
pub(crate) fn work(scheduler: Arc<Scheduler>, index: usize, queue: Queue) {
    let local = Local::new(scheduler, index, queue);
    local.pulse.set_thread(watchdog::this_thread());
    let guard = context::enter_worker(&local);
    while local.scheduler.await_hire(index) {
        local.serve();
        local.flush();
    }
    drop(guard);
    local.flush();
}

impl Local {
    /// The main loop: runs lanes until the worker must go.
    #[inline(always)]
    fn serve(&self) {
        let mut rounds = Rounds::new(self.scheduler.env.now(), self.turn.next_number());
        self.attend_at.set(0);
        loop {
            let orders = self.pulse.orders();
            if !orders.are_none() {
                if orders.is_robbed() {
                    self.scheduler.settle(self.index);
                }
                if orders.leave() {
                    break;
                }
            }
            let attended = if self.turn.next_number() < self.attend_at.get() {
                Attended::Nothing
            } else {
                self.attend(&mut rounds)
            };
            let picked = match attended {
                Attended::Nothing => self.pick(&mut rounds),
                Attended::Found(slot) => Some(slot),
                Attended::StandBy => None,
                Attended::Orders => continue,
            };
            match picked {
                Some(slot) => {
                    // Or nobody would be woken, should it be stuck there.
                    debug_assert!(!rounds.searching);
                    if self.run(slot) {
                        self.look_after_long_turn(&mut rounds);
                    }
                }
                None => self.sleep(&mut rounds),
            }
        }
        self.send_notices();
        if self.scheduler.abandoned.are_unburied() {
            // There may be nobody else to do it.
            self.scheduler.bury(self.index);
        }
        // Who still waits here is taken over by others, or by whoever stops the runtime.
        self.hand_over();
        self.give_up_search(&mut rounds);
        self.scheduler.leave_drivers(self.index);
    }

    /// Gives all that is cached here to the others.
    fn flush(&self) {
        self.scheduler.table.give_back(self.slots.borrow_mut().drain(..));
        self.packer.close(&self.nodes);
        self.nodes.flush();
        self.frames.flush();
    }

    /// Sees to all that comes now and then between two turns.
    #[inline(never)]
    fn attend(&self, rounds: &mut Rounds) -> Attended {
        if self.minds_dead.get() && self.end_killed(rounds) {
            return Attended::Orders;
        }
        self.mind_batch();
        let mut found = None;
        if self.looks_now(rounds) {
            if !self.scheduler.stand_by.includes(self.index) && self.queue.len_of_all() <= HANDED_OVER {
                // The look is still due, also where the crew has grown by the time that this is seen.
                return Attended::StandBy;
            }
            found = self.look_outside(rounds);
        }
        if rounds.searching && (found.is_some() || self.pulse.has_next() || !self.queue.is_empty()) {
            self.scheduler.found_work(&mut rounds.searching);
        }
        let next = if self.minds_dead.get() { 0 } else { rounds.look_at.min(self.batch.look_at()) };
        self.attend_at.set(next);
        found.map_or(Attended::Nothing, Attended::Found)
    }

    /// Whether a look outside is due before the next turn.
    pub(super) fn looks_now(&self, rounds: &Rounds) -> bool {
        self.turn.next_number() >= rounds.look_at
    }

    /// The look at what comes from outside; of what it brings, a lane that was injected has the next turn.
    fn look_outside(&self, rounds: &mut Rounds) -> Option<SlotRef> {
        if let Some(operations) = self.turn.take_done(REPORT_EVERY) {
            self.scheduler.stand_by.report(operations, || self.scheduler.env.now());
        }
        self.batch.woken_ahead.note_turns(rounds.look_every);
        // Whoever is to run next waits for once, which shows whether messages gather for it meanwhile.
        if let Some(slot) = self.pulse.take_next() {
            self.queue.push(slot);
        }
        if rounds.note_look(self.scheduler.env.now(), self.turn.next_number()) {
            self.scheduler.turn_driver(self.index, &mut rounds.searching);
        } else {
            self.scheduler.fire_timers(self.index, &mut rounds.searching);
        }
        if let Some(slot) = self.scheduler.queues.take_injected(&self.queue) {
            return Some(slot);
        }
        if rounds.look_every < LOOK_OUTSIDE_EVERY {
            self.help(&mut rounds.neighbour, rounds.looked_at, rounds.look_every);
        }
        // Whom the look has woken goes ahead of the others, if not too often (`batch.rs`).
        let goes_ahead = self.pulse.has_next() && self.batch.woken_ahead.take(1);
        rounds.from_next = if goes_ahead { 0 } else { NEXT_IN_A_ROW };
        None
    }

    #[inline(always)]
    fn pick(&self, rounds: &mut Rounds) -> Option<SlotRef> {
        // Where nobody waits in the queue, nobody has to wait longer for it.
        if rounds.from_next < NEXT_IN_A_ROW || self.queue.is_empty() {
            if let Some(slot) = self.pulse.take_next() {
                rounds.from_next = rounds.from_next.wrapping_add(1);
                return Some(slot);
            }
        } else if let Some(slot) = self.pulse.take_next() {
            self.queue.push(slot);
        }
        rounds.from_next = 0;
        match self.queue.pop_soon() {
            None => self.search(rounds),
            picked => picked,
        }
    }

    /// Looks outside after a turn that was used up. Where the next pick looks anyway, that is left to it: it would move who
    /// was woken here behind the others.
    #[cold]
    pub(super) fn look_after_long_turn(&self, rounds: &mut Rounds) {
        if self.looks_now(rounds) {
            return;
        }
        self.scheduler.turn_driver(self.index, &mut false);
        if self.pulse.has_next() && self.batch.woken_ahead.take(1) {
            rounds.from_next = 0;
        }
    }

    #[inline(never)]
    fn search(&self, rounds: &mut Rounds) -> Option<SlotRef> {
        let found = self.search_all(rounds);
        if found.is_some() && rounds.searching {
            self.scheduler.found_work(&mut rounds.searching);
        }
        found
    }

    fn search_all(&self, rounds: &mut Rounds) -> Option<SlotRef> {
        let queues = &self.scheduler.queues;
        if let Some(slot) = self.queue.pop_any() {
            return Some(slot);
        }
        if let Some(slot) = queues.take_injected(&self.queue) {
            return Some(slot);
        }
        if !rounds.searching {
            rounds.searching = self.scheduler.idle.try_start_searching();
        }
        if !rounds.searching {
            return None;
        }
        for _ in 0..SEARCH_ROUNDS {
            if let Some(slot) = queues.steal(self.index, self.draw(), &self.queue) {
                return Some(slot);
            }
            if let Some(slot) = queues.take_injected(&self.queue) {
                return Some(slot);
            }
            if let Some(slot) = queues.steal_killed(self.index, self.draw(), &self.queue) {
                self.mind_dead();
                return Some(slot);
            }
            if !self.scheduler.idle.another_is_awake() {
                break;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Gives all lanes that wait here to the other workers.
    fn hand_over(&self) {
        while let Some(slot) = self.pulse.take_next().or_else(|| self.queue.pop_any()) {
            self.scheduler.inject(slot);
        }
    }

    /// Waits, not being of the crew, until that changes, or for a moment.
    #[cold]
    fn stand_by(&self, rounds: &mut Rounds) {
        self.hand_over();
        self.give_up_search(rounds);
        // The next pick looks again.
        rounds.look_at = 0;
        let before = self.scheduler.metrics.turns();
        let waited = self.scheduler.stand_by.wait(|| self.scheduler.idle.at_work(), || ());
        // The crew is held up, or has gone to rest: there may be lanes, sockets and timers that nobody sees to.
        if !waited || self.scheduler.metrics.turns() == before {
            self.scheduler.stand_by.all_hands(|| self.scheduler.env.now());
        }
    }

    /// Others may have counted on this search, and woken nobody: somebody else takes it over, unless all are awake.
    fn give_up_search(&self, rounds: &mut Rounds) {
        if std::mem::take(&mut rounds.searching) {
            let _ = self.scheduler.idle.stop_searching();
            if let Some(worker) = self.scheduler.idle.wake_one() {
                self.scheduler.unpark(worker);
            }
        }
    }

    /// There was nothing to pick.
    fn sleep(&self, rounds: &mut Rounds) {
        self.attend_at.set(0);
        if !self.scheduler.stand_by.includes(self.index) {
            return self.stand_by(rounds);
        }
        self.scheduler.turn_driver(self.index, &mut rounds.searching);
        if self.queue.len_of_all() != 0 || self.pulse.has_next() {
            return;
        }
        // Whoever is at work comes to what is pushed, and looks once more before it sleeps: nobody needs our search.
        let at_work = || self.scheduler.idle.at_work() + usize::from(rounds.searching);
        let looks = rounds.naps.next(self.turn.number());
        if self.scheduler.stand_by.nap(looks, at_work, || rounds.searching && self.scheduler.idle.stop_searching()) {
            rounds.searching = false;
            return;
        }
        self.scheduler.stand_by.all_hands(|| self.scheduler.env.now());
        let was_searching = std::mem::take(&mut rounds.searching);
        self.scheduler.idle.transition_to_sleeping(self.index, was_searching);
        // The second look of `idle.rs`.
        let found = !self.scheduler.queues.is_empty() || self.scheduler.abandoned.are_unburied();
        rounds.searching = if !found && !self.pulse.orders().leave() {
            self.scheduler.park(self.index)
        } else {
            let searches = self.scheduler.idle.transition_from_sleeping(self.index);
            self.scheduler.watchdog.note_awake();
            searches
        };
        // Others may have counted on this search and woken nobody; there may be more than the one lane that we run next.
        if was_searching
            && found
            && !rounds.searching
            && let Some(worker) = self.scheduler.idle.wake_one()
        {
            self.scheduler.unpark(worker);
        }
    }

    /// Ends the lanes that were taken from their workers.
    pub(crate) fn bury_all(&self) {
        while let Some(lane) = self.scheduler.abandoned.next_to_bury() {
            death::bury(self, lane);
        }
    }
}

/// The lane that this worker runs, for the panic hook.
pub(crate) fn note_panic(place: &std::panic::Location<'_>) -> Option<Id> {
    context::with_local(|local| {
        let local = local?;
        let slot = local.running.get()?;
        if let Ok(mut noted) = local.panic_place.try_borrow_mut() {
            *noted = Some(place.to_string().into());
        }
        slot.id()
    })
}

#[cfg(test)]
mod tests;
