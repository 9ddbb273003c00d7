//! One worker: pick a lane, give it a turn, sleep when there is none.
//!
//! Owns: [`Local`], all that a worker keeps to itself, and the main loop.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Scheduler;
use super::pulse::{HandedOver, Pulse};
use super::queue::Queue;
use super::turn::Turn;
use super::watchdog::Stuck;
use crate::context;
use crate::exit::ExitReason;
use crate::id::Id;
use crate::lane::death;
use crate::lane::memory;
use crate::lane::own::{COUNTS_AWAITS, DOOMED, RECEIVES_BY_WAKER};
use crate::lane::state::OnIdle;
use crate::lane::waker::waker;
use crate::mailbox::{node, take_in};
use crate::panic::{self, contain};
use crate::reply::NoAnswer;
use crate::reply::verdict::Verdict;
use crate::slot::{SlotRef, Vacant, batch};

/// Lanes that may run from the hand-over place in a row before the queue has its turn.
const NEXT_IN_A_ROW: u32 = 3;
/// Turns between two looks at what comes from outside: injected lanes, I/O, timers.
const LOOK_OUTSIDE_EVERY: u32 = 61;
/// Rounds of searching before a worker sleeps. More of them cost the others more, whose queues are looked at, than they
/// saved in wake-ups.
const SEARCH_ROUNDS: u32 = 4;

/// All that a worker keeps to itself.
pub(crate) struct Local {
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) index: usize,
    queue: Queue,
    /// What others see of this worker, with the lane woken last, which runs next.
    pub(crate) pulse: Arc<Pulse<Stuck>>,
    /// Free message nodes.
    pub(crate) nodes: node::Cache,
    /// Free memory for futures.
    pub(crate) frames: memory::Cache,
    /// Free slots.
    slots: RefCell<VecDeque<u32>>,
    /// The lane whose code runs; `None` also while a lane is being ended.
    pub(crate) current: Cell<Option<SlotRef>>,
    /// The lane of which this worker holds `RUNNING`.
    pub(crate) running: Cell<Option<SlotRef>>,
    /// Whether somebody has the owner's half of `running`.
    pub(crate) borrowed: Cell<bool>,
    /// Why the lane ends whose destructors run.
    pub(crate) ending: RefCell<Option<ExitReason>>,
    /// What reply ports that are dropped in the present turn answer with.
    verdict: RefCell<Option<Verdict>>,
    /// What the panic hook saw last.
    pub(crate) panic_place: RefCell<Option<Arc<str>>>,
    pub(crate) turn: Turn,
    late_wakers: RefCell<Vec<Waker>>,
    random: Cell<u64>,
}

impl Local {
    fn new(scheduler: Arc<Scheduler>, index: usize, queue: Queue) -> Local {
        let mut seed = [0; 8];
        scheduler.env.fill_entropy(&mut seed);
        Local {
            pulse: scheduler.pulses[index].clone(),
            scheduler,
            index,
            queue,
            nodes: node::Cache::default(),
            frames: memory::Cache::default(),
            slots: RefCell::default(),
            current: Cell::new(None),
            running: Cell::new(None),
            borrowed: Cell::new(false),
            ending: RefCell::new(None),
            verdict: RefCell::new(None),
            panic_place: RefCell::new(None),
            turn: Turn::of_worker(index),
            late_wakers: RefCell::default(),
            random: Cell::new(u64::from_ne_bytes(seed) | 1),
        }
    }

    /// Queues a lane that was woken: it runs next, and whoever was to run next goes to the queue.
    pub(crate) fn push_next(&self, slot: SlotRef) {
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

    /// Queues a lane behind all others of this worker.
    pub(crate) fn push_back(&self, slot: SlotRef) {
        self.queue.push(slot);
        // A hint will do for a worker that comes to the lane by itself. This one may be stuck: then it sees here that it
        // was robbed, or whoever robs it has somebody come who sees the lane (`pulse.rs`).
        let idle = &self.scheduler.idle;
        let woken = if self.pulse.orders().is_robbed() { idle.wake_one() } else { idle.wake_one_hint() };
        if let Some(worker) = woken {
            self.scheduler.unpark(worker);
        }
    }

    /// A slot for a new lane.
    pub(crate) fn vacant(&self) -> Option<Vacant> {
        let mut slots = self.slots.borrow_mut();
        if slots.is_empty() {
            let max_lanes = self.scheduler.max_lanes;
            self.scheduler.table.allocate(&mut slots, batch(max_lanes), max_lanes);
        }
        self.scheduler.table.vacant(slots.pop_front()?)
    }

    /// Takes back the slot of a lane that has ended.
    pub(crate) fn give_back(&self, slot: SlotRef) {
        if slot.word.next_generation() == 0 {
            self.scheduler.table.retire(slot);
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
        self.late_wakers.borrow_mut().push(waker);
    }

    /// What will have become of the lane that has its turn or dies here; `None` where there is none.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.running.get()?;
        Some(self.verdict.borrow_mut().get_or_insert_default().clone())
    }

    /// Tells those whose reply port was dropped in this turn.
    pub(crate) fn pass_verdict(&self, why: impl FnOnce() -> NoAnswer) {
        if let Some(verdict) = self.verdict.take() {
            self.pulse.clear_lane();
            verdict.fall(why());
        }
    }

    fn wake_late(&self) {
        while let Some(waker) = { self.late_wakers.borrow_mut().pop() } {
            self.pulse.clear_lane();
            contain(|| waker.wake());
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

/// What the main loop keeps between its rounds.
struct Rounds {
    tick: u32,
    from_next: u32,
    searching: bool,
}

/// The thread of a worker, or of a stand-in, which serves when it is hired.
pub(crate) fn work(scheduler: Arc<Scheduler>, index: usize, queue: Queue) {
    let local = Local::new(scheduler, index, queue);
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
        let mut rounds = Rounds { tick: 0, from_next: 0, searching: false };
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
            match self.pick(&mut rounds) {
                Some(slot) => {
                    self.scheduler.found_work(&mut rounds.searching);
                    self.run(slot);
                }
                None => self.sleep(&mut rounds),
            }
        }
        // Who still waits here is taken over by others, or by whoever stops the runtime.
        while let Some(slot) = self.pulse.take_next().or_else(|| self.queue.pop()) {
            self.scheduler.inject(slot);
        }
        // Whoever counted on this search woke nobody.
        if rounds.searching {
            let _ = self.scheduler.idle.stop_searching();
            if let Some(worker) = self.scheduler.idle.wake_one() {
                self.scheduler.unpark(worker);
            }
        }
    }

    /// Gives all that is cached here to the others.
    fn flush(&self) {
        self.scheduler.table.give_back(self.slots.borrow_mut().drain(..));
        self.nodes.flush();
        self.frames.flush();
    }

    fn pick(&self, rounds: &mut Rounds) -> Option<SlotRef> {
        rounds.tick = rounds.tick.wrapping_add(1);
        if rounds.tick.is_multiple_of(LOOK_OUTSIDE_EVERY) {
            self.scheduler.turn_driver(self.index, &mut rounds.searching);
            if let Some(slot) = self.scheduler.queues.take_injected(&self.queue) {
                return Some(slot);
            }
        }
        if rounds.from_next < NEXT_IN_A_ROW {
            if let Some(slot) = self.pulse.take_next() {
                rounds.from_next += 1;
                return Some(slot);
            }
        } else if let Some(slot) = self.pulse.take_next() {
            self.queue.push(slot);
        }
        rounds.from_next = 0;
        self.queue.pop().or_else(|| self.search(rounds))
    }

    fn search(&self, rounds: &mut Rounds) -> Option<SlotRef> {
        let queues = &self.scheduler.queues;
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
            if !self.scheduler.idle.another_is_awake() {
                break;
            }
            std::hint::spin_loop();
        }
        None
    }

    fn sleep(&self, rounds: &mut Rounds) {
        self.scheduler.turn_driver(self.index, &mut rounds.searching);
        if !self.queue.is_empty() || self.pulse.has_next() {
            return;
        }
        let was_searching = std::mem::take(&mut rounds.searching);
        self.scheduler.idle.transition_to_sleeping(self.index, was_searching);
        // The second look of `idle.rs`.
        let found = !self.scheduler.queues.is_empty();
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

    /// Gives a lane its turn.
    fn run(&self, slot: SlotRef) {
        let on = slot.state.transition_to_running();
        self.pulse.begin(Some(slot));
        self.running.set(Some(slot));
        self.current.set(Some(slot));
        self.turn.begin();
        let end = if on.kill {
            Some(ExitReason::Killed)
        } else {
            let doomed = if on.signal { self.let_signals_in(slot) } else { None };
            doomed.or_else(|| self.poll(slot))
        };
        if let Some(reason) = end {
            death::end(self, slot, reason);
            self.current.set(None);
        } else {
            self.current.set(None);
            self.running.set(None);
            // From here on the lane may run elsewhere.
            match slot.state.transition_to_idle() {
                OnIdle::Parked => {}
                OnIdle::Schedule => self.push_back(slot),
            }
            self.pass_verdict(|| NoAnswer::Dropped);
        }
        self.scheduler.metrics.note_turn(self.index);
        self.wake_late();
        self.pulse.end();
        if self.turn.is_over() {
            self.scheduler.turn_driver(self.index, &mut false);
        }
    }

    /// Lets signals take effect before a poll: why the lane must end, if so.
    #[cold]
    fn let_signals_in(&self, slot: SlotRef) -> Option<ExitReason> {
        slot.state.clear_signal();
        let me = slot.id()?;
        context::with_own(self, slot, |own| {
            take_in(me, slot, own);
            if own.has(DOOMED) { own.more().doomed.take() } else { None }
        })
    }

    /// Wakes the receiver that waits by a waker of its own, where something came for it.
    #[cold]
    fn wake_receiver(&self, slot: SlotRef) {
        let receiver = context::with_own(self, slot, |own| {
            // Still parked: nothing has come since the receiver looked. Else something did, and be it a signal that took
            // effect without a trace: no push would schedule the lane until the receiver is polled and parks again.
            if slot.word.is_parked() {
                return None;
            }
            own.flags &= !RECEIVES_BY_WAKER;
            own.more().receiver.take()
        });
        if let Some(receiver) = receiver {
            contain(|| receiver.wake());
        }
    }

    /// Polls the lane's future: why the lane ends, or `None` where it goes on.
    fn poll(&self, slot: SlotRef) -> Option<ExitReason> {
        let (frame, by_waker) = context::with_own(self, slot, |own| (own.frame.take(), own.has(RECEIVES_BY_WAKER)));
        let mut frame = frame?;
        if by_waker {
            self.wake_receiver(slot);
        }
        let waker = waker(slot);
        let mut cx = Context::from_waker(&waker);
        // What a panic threw is dropped here, with nothing borrowed: its destructor is the user's.
        let polled = catch_unwind(AssertUnwindSafe(|| frame.poll(&mut cx))).map_err(panic::reason);
        context::with_own(self, slot, |own| {
            own.frame = Some(frame);
            match polled {
                Ok(Poll::Ready(ExitReason::Normal)) => {
                    let asked = own.more.as_mut().and_then(|more| more.stopped.take());
                    return Some(asked.unwrap_or(ExitReason::Normal));
                }
                Ok(Poll::Ready(reason)) => return Some(reason),
                Ok(Poll::Pending) => {}
                Err(reason) => return Some(reason),
            }
            if own.has(DOOMED) {
                return own.more().doomed.take();
            }
            if own.has(COUNTS_AWAITS) {
                let more = own.more();
                more.awaits_left = more.awaits_left.saturating_sub(1);
                if more.awaits_left == 0 {
                    return Some(ExitReason::Killed);
                }
            }
            slot.state.is_killed().then_some(ExitReason::Killed)
        })
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
