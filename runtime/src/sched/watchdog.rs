//! The watchdog: a thread that sees a worker that has been in one poll for long, lets another thread stand in for it, and, if
//! it is for too long, says so.
//!
//! Owns: [`Watchdog`], the thread's half and the stand-ins' half of it. Which section is too long is decided in `watch`;
//! how a stuck worker is robbed of what waits for it is told in `pulse.rs`, and how of its lane, should that be killed, in
//! `hold.rs`.
//!
//! # Invariants
//! 1. As many stand-ins serve as workers are robbed, as far as there are seats; one too many is told to leave as soon as a
//!    robbed worker settles, whichever of the two it is that goes on. [`Scheduler::balance`] is the only place that hires
//!    and dismisses, under the lock of the seats.
//! 2. A stand-in has a place of its own in every table of the workers, from the start of the runtime; its thread is started
//!    when it is hired first, kept in reserve when it has left, and ends with the runtime.
//! 3. While it sleeps, all workers do: who wakes from then on wakes it, too ([`Watchdog::note_awake`]). Whoever sleeps
//!    changes the one word of `idle.rs` when it wakes and looks at `asleep` after that; the watchdog sets `asleep`, and
//!    reads the word by a change after that. So the worker sees the one or the watchdog the other.
//!
//! # What a stuck worker holds
//!
//! Its queue and its hand-over place, which are emptied: a thief comes only when he has nothing else to do. No driver, as no code but the
//! system's runs while one is held. No place among the searchers: who found something stops to search before it runs it.
//! Free slots, nodes and memory, a batch of each. In a section of wakers or timers that are of no lane also the rest of
//! those that came with the one that is stuck; they wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

mod stack;
mod stuck;
mod watch;

pub use self::stack::{Does, Stack, Thread};
pub use self::stuck::Stuck;
use self::stuck::Why;
pub(crate) use self::watch::period;
use self::watch::{Verdict, Watch};
use super::abandoned::Remains;
use super::hold;
use super::pulse::Section;
use super::queue::Queue;
use super::{Scheduler, worker};
use crate::context;
use crate::env::Instant;
use crate::lane::watch::send_kept;
use crate::lane::{death, word};
use crate::panic::contain;
use crate::runtime::{LaneInfo, describe};

/// How often the watchdog tries to get the stack of a worker that is stuck.
const LOOKS_MAX: u32 = 20;

/// The system's number of this thread; 0 where threads have none.
pub(crate) fn this_thread() -> u32 {
    #[cfg(target_os = "linux")]
    return rustix::thread::gettid().as_raw_nonzero().get() as u32;
    #[cfg(not(target_os = "linux"))]
    return 0;
}

/// The watchdog of a runtime.
pub(crate) struct Watchdog {
    /// The thread sleeps, and is to be told when a worker wakes.
    asleep: AtomicBool,
    thread: OnceLock<std::thread::Thread>,
    seats: Mutex<Vec<Seat>>,
}

/// A place for a stand-in.
struct Seat {
    is: Is,
    /// The stand-in's end of its queue, before its thread has it.
    queue: Option<Queue>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    /// There is no thread for it.
    Vacant,
    /// Its thread waits to be hired.
    InReserve,
    Serving,
    /// It was told to leave and has not left.
    Leaving,
}

impl Watchdog {
    /// With the queues of the stand-ins that there may be.
    pub(crate) fn new(queues: Vec<Queue>) -> Watchdog {
        let seat = |queue| Seat { is: Is::Vacant, queue: Some(queue) };
        let seats = Mutex::new(queues.into_iter().map(seat).collect());
        Watchdog { asleep: AtomicBool::new(false), thread: OnceLock::new(), seats }
    }

    /// A worker that slept is awake.
    pub(crate) fn note_awake(&self) {
        // ORDER: Relaxed: invariant 3; the change of the idle word before this is what orders it.
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // ORDER: Relaxed: unparking orders what there is to order.
        self.asleep.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Scheduler {
    /// The main loop of the watchdog's thread.
    pub(crate) fn watch(self: &Arc<Self>, limit: Duration) {
        let mut watch = Watch::new(self.pulses.len(), limit);
        let mut stand_ins = Vec::new();
        let _ = self.watchdog.thread.set(std::thread::current());
        while !self.is_stopped() {
            let now = self.note_turns();
            let mut found = Vec::new();
            for worker in 0..self.pulses.len() {
                match watch.look(now, worker, self.pulses[worker].section()) {
                    Verdict::Fine => {}
                    Verdict::Long(section, since) => {
                        if self.rob(worker, section, since).is_some() {
                            watch.robbed(worker);
                        }
                    }
                    Verdict::TooLong(section) => {
                        watch.reported(worker);
                        found.extend(self.find_too_long(worker, section));
                    }
                }
            }
            stand_ins.extend(self.hire());
            (0..self.pulses.len()).for_each(|worker| self.abandon_killed(worker));
            for mut stuck in found {
                self.look_closer(&mut stuck);
                // One who is back already has said all there is to say.
                if self.pulses[stuck.worker].is_robbed() {
                    contain(|| stuck.report(self.env.now()));
                }
            }
            self.try_again_to_look_closer();
            let beats = self.pulses.iter().map(|pulse| u64::from(pulse.beat())).sum();
            if watch.end_round(self.idle.all_asleep(), beats) {
                self.sleep_until_one_is_awake();
            } else {
                std::thread::park_timeout(watch.period());
            }
        }
        for stand_in in stand_ins {
            if stand_in.join().is_err() {
                tracing::error!("a stand-in worker panicked");
            }
        }
    }

    /// Notes which turns are over by now.
    fn note_turns(&self) -> Instant {
        // In this order: what is counted was before the time that is noted for it.
        let turns: Vec<u64> = (0..self.pulses.len()).map(|worker| self.metrics.turns_of(worker)).collect();
        let now = self.env.now();
        self.chronicle.note(turns.into_iter(), now);
        now
    }

    fn sleep_until_one_is_awake(&self) {
        let asleep = &self.watchdog.asleep;
        // ORDER: Relaxed, here and below: invariant 3.
        asleep.store(true, Ordering::Relaxed);
        if self.idle.settle_all_asleep() {
            // Turns that were given since the last look, or they would pass for as late as the next.
            self.note_turns();
        } else {
            asleep.store(false, Ordering::Relaxed);
        }
        while asleep.load(Ordering::Relaxed) && !self.is_stopped() {
            std::thread::park();
        }
    }

    /// Takes from a worker that is long in a section what waits for it; `None` where it is not there any more.
    fn rob(&self, worker: usize, section: Section, since: Instant) -> Option<()> {
        let lane = self.pulses[worker].lane().and_then(|slot| describe(self, slot, slot.tenant()?));
        let note = Stuck { lane, worker, since, why: Why::TakesLong, thread: None, stack: None, looks: 0 };
        self.take_from(worker, section, note)
    }

    /// Finds that a worker which was robbed has been too long in its section; `None` where it is not there any more.
    fn find_too_long(&self, worker: usize, section: Section) -> Option<Stuck> {
        let pulse = &self.pulses[worker];
        let mut stuck = pulse.note().filter(|note| note.why == Why::TakesLong)?;
        stuck.why = Why::TakesTooLong;
        pulse.set_note(section, stuck.clone());
        self.metrics.note_too_long();
        Some(stuck)
    }

    /// A worker has much to do that is no lane's turn: what waits for it goes to the others, and somebody stands in for it
    /// until it is back, as if it were stuck. To be called from within its section.
    pub(crate) fn step_aside(&self, worker: usize) {
        let Some(section) = self.pulses[worker].section() else { return };
        if self.watchdog.seats.lock().is_empty() {
            return;
        }
        let since = self.env.now();
        let note = Stuck { lane: None, worker, since, why: Why::Releases, thread: None, stack: None, looks: 0 };
        if self.take_from(worker, section, note).is_some() {
            // It hires, also where it sleeps.
            self.watchdog.wake();
        }
    }

    /// Takes what waits for a worker that is in a section; `None` where it is not any more, or nothing is left to take.
    fn take_from(&self, worker: usize, section: Section, note: Stuck) -> Option<()> {
        if let Some(slot) = self.pulses[worker].rob(section, note)? {
            self.queues.inject(slot);
        }
        if let Some(watcher) = self.pulses[worker].notices.rob().and_then(send_kept) {
            super::schedule(watcher);
        }
        // Left in its queue, they would wait until somebody has nothing else to do.
        self.queues.spill(worker);
        // Nobody stands by while one is stuck.
        self.stand_by.all_hands(|| self.env.now());
        // Also where what lay in its queue is all there is, of which the sleepers may not have heard
        // (`Local::push_back`), and should there be no seat for a stand-in.
        if let Some(sleeper) = self.idle.wake_one() {
            self.unpark(sleeper);
        }
        Some(())
    }

    /// Finds out what the thread of a stuck worker does. The others are helped by now, so this may take a while.
    fn look_closer(&self, stuck: &mut Stuck) {
        let pulse = &self.pulses[stuck.worker];
        let Some((section, thread)) = pulse.robbed_in().zip(pulse.thread()) else { return };
        stuck.looks += 1;
        stuck.thread = Some(Thread::of(thread));
        if self.stuck_stacks {
            // Whoever reads the files of others may stumble over what he finds there.
            contain(|| {
                // One that was taken after the section is that of another.
                stuck.stack = Stack::of(thread).filter(|_| pulse.robbed_in() == Some(section));
                // Looked up here, so that the report is out at once, and nobody who reads it waits.
                stuck.stack.iter().for_each(|stack| _ = stack.functions());
            });
        }
        pulse.set_note(section, stuck.clone());
    }

    /// A thread that had no processor, or would not be interrupted, has not said where it is.
    fn try_again_to_look_closer(&self) {
        let wanted = |stuck: &Stuck| {
            self.stuck_stacks && stuck.is_too_long() && stuck.stack.is_none() && stuck.looks < LOOKS_MAX
        };
        for mut stuck in self.pulses.iter().filter_map(|pulse| pulse.note()).filter(wanted) {
            self.look_closer(&mut stuck);
        }
    }

    /// Takes the lane of a stuck worker away, if it is killed: it is to end at once.
    fn abandon_killed(&self, worker: usize) {
        let pulse = &self.pulses[worker];
        // One that stepped aside is at work on a death, and not stuck; one that is only long may be about to come back.
        if !pulse.note().is_some_and(|note| note.is_too_long()) {
            return;
        }
        let Some(section) = pulse.robbed_in() else { return };
        let Some((slot, id)) = pulse.lane().and_then(|slot| Some((slot, slot.tenant()?))) else { return };
        let is_due = || {
            let is_killed = slot.word.is_killed_for(id.generation().get()) || pulse.hold.ends_killed();
            is_killed && pulse.section() == Some(section)
        };
        let Some(lane) = Some(()).filter(|()| is_due()).and_then(|()| describe(self, slot, id)) else { return };
        let insert = |taken, own| {
            let mail = match taken {
                hold::Taken::InPoll => death::close(slot, id).head,
                hold::Taken::InDestructors => word::EMPTY,
            };
            self.abandoned.insert(lane.clone(), Remains { id, slot, taken, own, mail });
        };
        if context::take_away(&pulse.hold, slot, is_due, insert).is_none() {
            return;
        }
        // Whoever buries it comes also where all were asleep or stood by.
        self.stand_by.all_hands(|| self.env.now());
        if let Some(sleeper) = self.idle.wake_one() {
            self.unpark(sleeper);
        }
        let LaneInfo { id, names, spawned_at, .. } = lane;
        contain(
            || tracing::warn!(lane = %id, ?names, %spawned_at, worker, "a lane was killed while it is stuck, and is abandoned"),
        );
    }

    /// Hires stand-ins for the workers that are stuck: the threads that were started for it.
    fn hire(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let mut started = Vec::new();
        for worker in self.balance(true) {
            let scheduler = self.clone();
            let work = Box::new(move || {
                if let Some(queue) = scheduler.take_queue(worker) {
                    worker::work(scheduler, worker, queue);
                }
            });
            match self.env.spawn_thread(&format!("laneway-{worker}"), work) {
                Ok(thread) => started.push(thread),
                Err(error) => {
                    tracing::error!(%error, "there is no thread for a stand-in worker");
                    let mut seats = self.watchdog.seats.lock();
                    let first = self.pulses.len() - seats.len();
                    self.leave(&mut seats[worker - first], Is::Vacant);
                }
            }
        }
        started
    }

    /// Sees to invariant 1: the stand-ins for which a thread must be started. Hires nobody unless `may_hire`.
    fn balance(&self, may_hire: bool) -> Vec<usize> {
        let (mut start, mut unpark) = (Vec::new(), Vec::new());
        let mut seats = self.watchdog.seats.lock();
        if self.is_stopped() {
            return start;
        }
        let first = self.pulses.len() - seats.len();
        let robbed = self.pulses.iter().filter(|pulse| pulse.is_robbed()).count();
        let mut serving = seats.iter().filter(|seat| seat.is == Is::Serving).count();
        while serving > robbed {
            // Not one that is itself stuck: of those there are as many as are robbed at most.
            let goes = |seat: &usize| seats[*seat].is == Is::Serving && !self.pulses[first + *seat].is_robbed();
            let Some(seat) = (0..seats.len()).rev().find(goes) else { break };
            seats[seat].is = Is::Leaving;
            self.pulses[first + seat].set_leave(true);
            unpark.push(first + seat);
            serving -= 1;
        }
        while may_hire && serving < robbed {
            let is_free = |seat: &Seat| seat.is != Is::Serving;
            let Some(seat) = seats.iter().position(is_free) else { break };
            let worker = first + seat;
            self.pulses[worker].set_leave(false);
            match std::mem::replace(&mut seats[seat].is, Is::Serving) {
                // It is here still.
                Is::Leaving | Is::Serving => {}
                Is::InReserve => {
                    self.idle.join();
                    unpark.push(worker);
                }
                Is::Vacant => {
                    self.idle.join();
                    self.queues.open(worker);
                    start.push(worker);
                }
            }
            serving += 1;
        }
        drop(seats);
        for worker in unpark {
            self.unpark(worker);
        }
        start
    }

    /// Somebody who served, or was to, does no more.
    fn leave(&self, seat: &mut Seat, is: Is) {
        if matches!(seat.is, Is::Serving | Is::Leaving) {
            self.idle.leave();
        }
        seat.is = is;
    }

    /// A worker is to serve at once; a stand-in that serves no more waits until it is hired. False where the runtime has
    /// ended.
    pub(crate) fn await_hire(&self, worker: usize) -> bool {
        loop {
            let mut seats = self.watchdog.seats.lock();
            if self.is_stopped() {
                return false;
            }
            let first = self.pulses.len() - seats.len();
            let Some(seat) = worker.checked_sub(first) else { return true };
            if seats[seat].is == Is::Serving {
                return true;
            }
            self.leave(&mut seats[seat], Is::InReserve);
            drop(seats);
            self.parkers[worker].park();
        }
    }

    /// A stand-in's end of its queue, for its thread.
    pub(crate) fn take_queue(&self, worker: usize) -> Option<Queue> {
        let mut seats = self.watchdog.seats.lock();
        let first = self.pulses.len() - seats.len();
        seats[worker - first].queue.take()
    }

    /// A worker that was robbed is back from its section.
    #[cold]
    pub(crate) fn settle(&self, worker: usize) {
        // Without a note the robber has found another section.
        if let Some(stuck) = self.pulses[worker].settle() {
            self.balance(false);
            if stuck.is_too_long() {
                contain(|| stuck.report_return(self.env.now()));
            }
        }
    }

    /// No more turns: all workers go, and so does the watchdog.
    pub(crate) fn stop(&self) {
        let seats = self.watchdog.seats.lock();
        // ORDER: Release, see `is_stopped`. Under the lock, so that nobody is told to stay after this.
        self.stopped.store(true, Ordering::Release);
        self.pulses.iter().for_each(|pulse| pulse.set_leave(true));
        drop(seats);
        self.unpark_all();
        self.watchdog.wake();
    }
}
