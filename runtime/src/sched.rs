//! The scheduler: workers that run lanes, and how a lane that was woken gets to one of them.
//!
//! Owns: [`Scheduler`], what the workers of a runtime share. Read on in `worker` (the main loop), `run` (a turn), `idle` (who sleeps),
//! `queue`, `batch`, `turn`, `parker`; then in `watchdog` and `pulse` (what becomes of a worker that is stuck), `hold` and
//! `abandoned` (and of a lane that is killed there).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

pub(crate) mod abandoned;
pub(crate) mod barrier;
pub(crate) mod batch;
pub(crate) mod chronicle;
pub(crate) mod crew;
pub(crate) mod hold;
pub(crate) mod idle;
pub(crate) mod killed;
pub(crate) mod neighbour;
pub(crate) mod notices;
pub(crate) mod parker;
pub(crate) mod pulse;
pub(crate) mod queue;
pub(crate) mod rounds;
pub(crate) mod run;
pub(crate) mod turn;
pub(crate) mod watchdog;
pub(crate) mod worker;

use crate::admission::{self, Admission, LOOK_EVERY};
use crate::alloc;
use crate::context;
use crate::env::{Descriptors, Driver, Env, Instant, Unparker};
use crate::fault::FaultPlan;
use crate::group::table::Groups;
use crate::id::Namespace;
use crate::lane::word::OnWake;
use crate::metrics::{Counters, Metrics};
use crate::name::Names;
use crate::panic::contain;
use crate::slot::{SlotRef, Table, Vacant};
use crate::time::timers::{Due, Timers};
use crate::vat::Vat;
use crate::wait_graph::DeadlockPolicy;
use worker::Local;

/// What the workers of a runtime share.
pub(crate) struct Scheduler {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) table: &'static Table,
    /// The namespace of the descriptors. No other runtime of the process ever has it.
    pub(crate) namespace: Namespace,
    pub(crate) max_lanes: u32,
    pub(crate) queues: queue::Shared,
    pub(crate) idle: idle::Idle,
    pub(crate) stand_by: crew::StandBy,
    pub(crate) parkers: Vec<parker::Parker>,
    pub(crate) pulses: Vec<Arc<pulse::Pulse<watchdog::Stuck>>>,
    pub(crate) watchdog: watchdog::Watchdog,
    pub(crate) chronicle: chronicle::Chronicle,
    pub(crate) abandoned: abandoned::Abandoned,
    pub(crate) drivers: Vec<Mutex<Driver>>,
    pub(crate) unparkers: Vec<Unparker>,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) timers: Timers,
    pub(crate) names: Names,
    pub(crate) groups: Groups,
    pub(crate) metrics: Counters,
    /// No new lanes.
    pub(crate) closing: AtomicBool,
    /// No more turns.
    pub(crate) stopped: AtomicBool,
    /// Threads outside of the workers that are about to give them work: a clock that jumps must wait for them.
    pub(crate) busy_outside: AtomicUsize,
    /// The env's clock moves only when nothing can run.
    pub(crate) clock_jumps: bool,
    pub(crate) faults: Option<Arc<dyn FaultPlan>>,
    /// Stuck workers are asked where they are.
    pub(crate) stuck_stacks: bool,
    pub(crate) deadlocks: DeadlockPolicy,
    /// Where arenas have their memory from, which may outlive the runtime.
    pub(crate) vat: Arc<Vat>,
    /// The budget of lanes that no lane spawns.
    pub(crate) lane_memory: Option<u64>,
    /// What the memory limit allows, where there is one.
    pub(crate) admission: Option<admission::Owner>,
    /// Lanes that have passed their budget.
    pub(crate) out_of_memory: AtomicU64,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("namespace", &self.table.namespace).finish_non_exhaustive()
    }
}

/// Wakes whoever lives in a slot.
#[inline]
pub(crate) fn wake(slot: SlotRef) {
    act(slot, slot.word.wake());
}

/// Does what a change of the lane's word asks for.
#[inline]
pub(crate) fn act(slot: SlotRef, on: OnWake) {
    if on == OnWake::Schedule {
        schedule(slot);
    }
}

/// Queues a lane: with this worker where it is one of the lane's runtime, else for any of them.
#[inline]
pub(crate) fn schedule(slot: SlotRef) {
    context::with_local(|local| match local {
        Some(local) => schedule_on(local, slot),
        None => schedule_elsewhere(slot),
    });
}

/// As [`schedule`], where the worker is known.
#[inline(always)]
pub(crate) fn schedule_on(local: &Local, slot: SlotRef) {
    if slot.is_of(local.table) { local.push_woken(slot) } else { schedule_elsewhere(slot) }
}

/// As [`act`], of a lane that was killed.
pub(crate) fn act_on_killed(slot: SlotRef, on: OnWake) {
    if on == OnWake::Schedule {
        context::with_local(|local| match local {
            Some(local) if slot.is_of(local.table) => local.push_killed(slot),
            _ => schedule_elsewhere(slot),
        });
    }
}

#[cold]
fn schedule_elsewhere(slot: SlotRef) {
    // A lane that lives has a scheduler: tables are left only once all their lanes are dead.
    if let Some(table) = slot.table() {
        // Not by a share, which may be the last, and then runs destructors here: within a mark, maybe.
        table.with_scheduler(|scheduler| scheduler.inject(slot));
    }
}

/// Wakes a waker of unknown kind as soon as the running lane's poll is over, or now where there is none.
pub(crate) fn wake_later(waker: Waker) {
    context::with_local(|local| match local {
        Some(local) if local.running.get().is_some() => local.wake_later(waker),
        _ => waker.wake(),
    });
}

/// Wakes those who waited for I/O.
fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        contain(|| waker.wake());
    }
}

/// A lane that is counted and not queued yet; not counted any more if this is dropped.
pub(crate) struct Counted<'a> {
    scheduler: &'a Arc<Scheduler>,
    worker: Option<usize>,
}

impl Counted<'_> {
    /// Queues the lane.
    pub(crate) fn queue(self, slot: SlotRef) {
        let scheduler = std::mem::ManuallyDrop::new(self).scheduler;
        context::with_local(|local| match local {
            Some(local) if Arc::ptr_eq(&local.scheduler, scheduler) => local.push_back(slot),
            _ => scheduler.inject(slot),
        });
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.scheduler.metrics.forget_spawn(self.worker);
    }
}

impl Scheduler {
    /// A slot for a new lane.
    pub(crate) fn vacant(self: &Arc<Self>) -> Option<Vacant> {
        context::with_local(|local| match local {
            Some(local) if Arc::ptr_eq(&local.scheduler, self) => local.vacant(),
            _ => {
                let mut keys = VecDeque::new();
                self.table.allocate(&mut keys, 1, self.max_lanes);
                self.table.vacant(keys.pop_front()?)
            }
        })
    }

    /// Counts a lane that is about to be queued, so that the runtime does not end before it; `None` where it may have
    /// ended already.
    pub(crate) fn count_new(self: &Arc<Self>) -> Option<Counted<'_>> {
        let (worker, in_lane) = context::with_local(|local| match local {
            Some(local) if Arc::ptr_eq(&local.scheduler, self) => (Some(local.index), local.current().is_some()),
            _ => (None, false),
        });
        match worker {
            // The runtime waits for the lane that spawns.
            Some(worker) if in_lane => self.metrics.note_spawn(worker),
            _ => self.metrics.note_spawn_by_none(worker),
        }
        let counted = Counted { scheduler: self, worker };
        // ORDER: SeqCst, see `Counters::note_spawn_by_none`.
        if !in_lane && self.closing.load(Ordering::SeqCst) { None } else { Some(counted) }
    }

    /// Queues a lane for whichever worker comes first.
    pub(crate) fn inject(&self, slot: SlotRef) {
        alloc::uncharged(|| self.queues.inject(slot));
        if let Some(worker) = self.idle.wake_one() {
            self.unpark(worker);
        }
    }

    pub(crate) fn unpark(&self, worker: usize) {
        self.parkers[worker].unpark(&self.unparkers);
    }

    /// A lane has passed its budget.
    #[cold]
    pub(crate) fn note_overrun(&self) {
        // ORDER: Relaxed: it counts.
        self.out_of_memory.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the workers must go.
    pub(crate) fn is_stopped(&self) -> bool {
        // ORDER: Acquire: a worker that goes sees what was decided before.
        self.stopped.load(Ordering::Acquire)
    }

    /// The drivers in the order in which a worker tries them: its own first.
    fn drivers_from(&self, worker: usize) -> impl Iterator<Item = usize> {
        let count = self.drivers.len();
        (0..count).map(move |step| (worker + step) % count)
    }

    /// Takes what I/O and timers there are, without waiting. A driver that somebody else turns is left to them.
    pub(crate) fn turn_driver(&self, worker: usize, searching: &mut bool) {
        let mut wakers = Vec::new();
        // Without a descriptor there is nothing that a reactor could report, and a look costs a system call.
        if self.descriptors.counts().open != 0 {
            for index in self.drivers_from(worker) {
                if let Some(mut driver) = self.drivers[index].try_lock()
                    && let Err(error) = driver.poll_now(&mut wakers)
                {
                    tracing::error!(%error, "the reactor cannot be polled");
                }
            }
        }
        self.spread(worker, wakers, searching);
    }

    /// Fires the timers that are due; what they wake is this worker's.
    pub(crate) fn fire_timers(&self, worker: usize, searching: &mut bool) {
        self.spread(worker, Vec::new(), searching);
    }

    /// Wakes those who waited for I/O, and fires the timers that are due. Both may be code of others, which may take its
    /// time: a worker that searches has found something, and stops.
    fn spread(&self, worker: usize, wakers: Vec<Waker>, searching: &mut bool) {
        if self.abandoned.are_unburied() {
            self.found_work(searching);
            self.bury(worker);
        }
        self.admission().into_iter().for_each(Admission::look);
        let due = self.timers.due(&*self.env);
        if wakers.is_empty() && due.is_none() {
            return;
        }
        self.found_work(searching);
        let pulse = &self.pulses[worker];
        pulse.begin(None);
        wake_all(wakers);
        if let Some(now) = due {
            context::with_local(|local| {
                if let Some(local) = local {
                    let lanes = |due: &[Due]| {
                        let key = |due: &Due| if let Due::Owner(key) = due { Some(*key) } else { None };
                        local.wake_batch(due.iter().filter_map(key));
                    };
                    self.timers.fire(now, &local.batch.room, lanes);
                }
            });
        }
        pulse.end();
        if pulse.orders().is_robbed() {
            self.settle(worker);
        }
    }

    /// Ends the lanes that were taken from their workers. That is code of others, too.
    #[cold]
    fn bury(&self, worker: usize) {
        let pulse = &self.pulses[worker];
        pulse.begin(None);
        context::with_local(|local| local.into_iter().for_each(Local::bury_all));
        pulse.end();
        if pulse.orders().is_robbed() {
            self.settle(worker);
        }
    }

    /// A worker has found something to do: if it searched it does no more, and somebody else goes on.
    fn found_work(&self, searching: &mut bool) {
        if std::mem::take(searching)
            && self.idle.stop_searching()
            && let Some(worker) = self.idle.wake_one_hint()
        {
            self.unpark(worker);
        }
    }

    /// Sleeps until there is work: in a driver where one is free, which then also minds the timers. The worker counts as
    /// sleeping before, and not any more afterwards: true if it was woken to search.
    pub(crate) fn park(&self, worker: usize) -> bool {
        let mut wakers = Vec::new();
        let free = self.drivers_from(worker).find_map(|index| Some((index, self.drivers[index].try_lock()?)));
        match free {
            None => {
                if self.may_jump() {
                    // Whoever sleeps in a driver does so for real, as we were awake then. It is to look again.
                    self.unparkers.iter().for_each(Unparker::unpark);
                }
                self.parkers[worker].park();
                let searches = self.idle.transition_from_sleeping(worker);
                self.watchdog.note_awake();
                searches
            }
            Some((index, mut driver)) => {
                self.mind_others(worker);
                self.parkers[worker].park_in(index, || {
                    // In this order: who was busy until now has set its timers by now.
                    let may_jump = self.may_jump();
                    let next = self.earlier_look(self.timers.sleep_until(index));
                    let polled = if may_jump {
                        driver.idle(&*self.env, next, &mut wakers)
                    } else {
                        driver.park(next.map(|next| next - self.env.now()), &mut wakers)
                    };
                    self.timers.awake(index);
                    if let Err(error) = polled {
                        tracing::error!(%error, "the reactor cannot be polled");
                    }
                });
                // Awake before another can have the driver, or it would think that nobody is about to wake anything.
                let mut searches = self.idle.transition_from_sleeping(worker);
                self.watchdog.note_awake();
                drop(driver);
                if !wakers.is_empty()
                    && let Some(other) = self.idle.wake_one_hint()
                {
                    // Somebody else is to mind the driver while this worker runs what it brought.
                    self.unpark(other);
                }
                self.spread(worker, wakers, &mut searches);
                searches
            }
        }
    }

    /// A worker goes that has slept in a driver or looked into one: see [`Scheduler::rouse_outside`].
    pub(crate) fn leave_drivers(&self, worker: usize) {
        self.rouse_outside(worker, self.idle.sleepers());
    }

    /// A worker goes to sleep in a driver: whether there is another for one that sleeps outside, which may have come just
    /// when somebody looked into it, or into one driver after the other.
    fn mind_others(&self, worker: usize) {
        if self.drivers.len() > 1 && self.drivers.iter().any(|driver| !driver.is_locked()) {
            self.rouse_outside(worker, self.idle.sleepers());
        }
    }

    /// Has as many look for a driver once more as there are drivers, of those who found all taken when they went to sleep: by
    /// this worker for one, which has let go of them since and has looked for `sleepers` after that. So nobody minds only
    /// those drivers that were free all the time. Who is missing among the sleepers goes to sleep later, and finds a driver.
    ///
    /// Model: `model/park.rs`.
    fn rouse_outside(&self, worker: usize, sleepers: u64) {
        let sleeps_outside = |other: &usize| *other != worker && sleepers >> *other & 1 != 0;
        let outside =
            (0..self.parkers.len()).filter(sleeps_outside).filter(|other| !self.parkers[*other].is_in_driver());
        outside.take(self.drivers.len()).for_each(|other| self.unpark(other));
    }

    /// Until when a driver sleeps that would sleep until `next`: no longer than those may wait who wait for memory that the
    /// dead have left. A clock that jumps would be moved by that.
    fn earlier_look(&self, next: Option<Instant>) -> Option<Instant> {
        if self.clock_jumps || !self.admission().is_some_and(Admission::must_look) {
            return next;
        }
        let look = self.env.now() + LOOK_EVERY;
        Some(next.map_or(look, |next| next.min(look)))
    }

    /// What the memory limit allows, where there is one.
    #[inline]
    pub(crate) fn admission(&self) -> Option<&'static Admission> {
        self.admission.as_ref().map(admission::Owner::get)
    }

    /// Somebody waits for what the dead have left: a driver that sleeps for long sleeps for less from now on.
    pub(crate) fn look_sooner(&self) {
        if self.admission().is_some_and(Admission::must_look) {
            self.unpark_all();
        }
    }

    /// Threads that serve or have served, as far as the system numbers them, and the watchdog's.
    pub(crate) fn threads(&self) -> u64 {
        self.pulses.iter().filter(|pulse| pulse.thread().is_some()).count() as u64 + 1
    }

    /// Adds what there is to say of admission.
    pub(crate) fn admission_counts(&self, mut metrics: Metrics) -> Metrics {
        if let Some(admission) = self.admission() {
            metrics.memory_kept = admission.ledger().idle();
            metrics.memory_reserved = admission.ledger().reserved().saturating_sub(metrics.memory_kept);
            metrics.memory_left = admission.ledger().left();
            (metrics.memory_refused, metrics.memory_waited) = admission.counts();
            metrics.memory_waiting = admission.waiting();
        }
        metrics
    }

    /// Whether nothing can happen but by a timer: no worker is awake, no thread outside is about to act.
    fn may_jump(&self) -> bool {
        // In this order: who was busy and is no more has woken a worker by then, which the look at the sleepers sees.
        self.clock_jumps && self.busy_outside.load(Ordering::Acquire) == 0 && self.idle.all_asleep()
    }

    /// Wakes all workers, to see that they must stop or that the world changed.
    pub(crate) fn unpark_all(&self) {
        for parker in &self.parkers {
            parker.unpark(&self.unparkers);
        }
        self.stand_by.dismiss();
    }
}
