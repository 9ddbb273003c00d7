//! Who may come in: under a limit for the whole node, what a lane may come to take is reserved before it is spawned.
//!
//! Owns: `Admission`, one a runtime that has a limit, and `Admitted`, a reservation that no lane has yet. What is
//! reserved is in `admission/ledger.rs`, what a lane costs in `admission/cost.rs`, and how one waits for it in
//! `admission/waiting.rs`. Knows nothing of what is charged to lanes while they live.
//!
//! # From spawn to end
//!
//! | when | what |
//! | --- | --- |
//! | before anything of the lane exists | `Admitted`: dropped, as where a name is taken, all of it comes back |
//! | the lane is about to be queued | it is the lane's, whose account names this |
//! | the lane is dead and its slot free | all comes back but for what it has left behind (`Reserved::end`) |
//! | something that was left is freed, wherever that is | so much comes back (`Admission::credit`) |
//!
//! The last happens within the allocator, which may neither lock nor wake: where somebody waits, it leaves a mark, and a
//! worker's next look at what comes from outside sees to it (`Admission::look`). While somebody waits and something that
//! was left is outstanding, a driver sleeps for no longer than `LOOK_EVERY`.
//!
//! # Invariants
//! 1. What was reserved comes back once: with the `Admitted`, or with the lane's end and the credits of what it left.
//! 2. An admission in which anything is reserved for a lane, or left by one, has no other owner.

use std::alloc::Layout;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) mod cost;
pub(crate) mod ledger;
pub(crate) mod waiting;

use cost::{BLOCKS, Cost, LANES, NODES};
use ledger::{Ledger, Way};

use crate::alloc::account::{Account, HEADER};
use crate::lane::SpawnError;
use crate::lane::index::Index;
use crate::lane::memory;
use crate::lane::own::More;
use crate::lane::word::UNBOUNDED;
use crate::mailbox::node;
use crate::sched::Scheduler;
use crate::slot::{self, SlotRef};
use crate::sync::pool::{self, Pool};
use crate::wait_graph::record::Record;
use crate::wait_list::By;
use crate::wait_list::line::{Line, Source, Taker};

/// The budget of a lane under a limit for which nobody has said one: 256 KiB.
pub const DEFAULT_LANE_MEMORY: u64 = 256 << 10;

/// How long it may take until those who wait hear that memory was freed which a dead lane had left behind.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

const _: () = assert!(size_of::<More>() <= 512 && size_of::<Index>() <= 512 && size_of::<Record>() <= 128);

/// A lane does not fit in what is left of the [limit](crate::Builder::memory_limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoRoom {
    /// What the lane may come to take, in bytes: its budget, its mailbox full twice, and what each lane has. [`u64::MAX`] for
    /// one whose budget or mailbox has no bound, which no limit can hold.
    pub requested: u64,
    /// What is not reserved. It may be enough, where others have waited for longer.
    pub free: u64,
    /// The limit.
    pub limit: u64,
    /// What the pools of the process have taken for good that such a lane has no use for: it is reserved, whoever lives.
    pub kept: u64,
    /// How many wait for memory to be free.
    pub waiting: u64,
}

impl NoRoom {
    /// Whether it could not be admitted though no other lane lived.
    pub fn is_final(&self) -> bool {
        self.requested.saturating_add(self.kept) > self.limit
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoRoom { requested, free, limit, kept, waiting } = self;
        if *requested == u64::MAX {
            return write!(
                f,
                "a lane whose memory or mailbox has no bound, or one beyond all numbers, fits under no limit; it is {limit} bytes"
            );
        }
        write!(f, "the lane may take {requested} bytes, and {free} of {limit} are free")?;
        if *kept != 0 && self.is_final() {
            write!(f, ", as {kept} are taken for good by pools")?;
        }
        if *waiting != 0 { write!(f, ", for which {waiting} wait") } else { Ok(()) }
    }
}

impl std::error::Error for NoRoom {}

/// Why there is no use in waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ShuttingDown,
    /// It is more than the limit.
    NeverFits,
}

/// What those who wait wait for.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// No new lanes.
    closed: bool,
    /// The first in the row waits for what can no longer be.
    hopeless: bool,
}

impl Source for Gate {
    type Fast = Ledger;
    type Want = Cost;
    type Grant = ();
    type Refusal = Refusal;

    const KIND: &'static str = "admission";

    fn refusal(&self, ledger: &Ledger, cost: Cost) -> Option<Refusal> {
        if self.closed { Some(Refusal::ShuttingDown) } else { never_fits(ledger, &cost).then_some(Refusal::NeverFits) }
    }

    fn set_aside(&mut self, ledger: &Ledger, cost: Cost) -> bool {
        if ledger.try_take(&cost, Way::InLine) {
            return true;
        }
        // From here on whoever gives back looks here; what he gave before is seen now.
        ledger.set_queued(true);
        ledger.trim(made);
        let taken = ledger.try_take(&cost, Way::InLine);
        self.hopeless |= !taken && never_fits(ledger, &cost);
        taken
    }

    fn put_back(&mut self, ledger: &Ledger, cost: Cost) {
        // The line looks after those who wait when this is done.
        let _is_queued = ledger.give(&cost);
    }

    fn take(&mut self, _: &Ledger, _: Cost, _: Taker, _: u64) {}

    fn row_is_empty(&mut self, ledger: &Ledger) {
        if ledger.is_queued() {
            ledger.set_queued(false);
        }
    }

    fn renew(&mut self, ledger: &Ledger) {
        (self.closed, self.hopeless) = (false, false);
        ledger.clear();
    }
}

/// Whether a lane of this cost could not be admitted though no other lane lived. What pools have made stays, and grows: who
/// waits may come to be told so.
fn never_fits(ledger: &Ledger, cost: &Cost) -> bool {
    cost.total().saturating_add(ledger.of_no_use(cost, made)) > ledger.limit()
}

/// How many things of a shelf the pools of the process have ever made. More than a runtime may have needed, as where
/// there are several.
fn made(shelf: usize) -> u32 {
    match shelf {
        LANES => slot::made(),
        NODES => node::made(),
        block => memory::made(block - BLOCKS),
    }
}

/// The memory limit of a runtime, what is reserved of it and who waits.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    line: Line<Gate>,
    refused: AtomicU64,
    waited: AtomicU64,
    /// Somebody waits, and what a dead lane had left was freed.
    look_due: AtomicBool,
}

static POOL: Pool<Admission> = Pool::new();

impl pool::Pooled for Admission {
    fn pool() -> &'static Pool<Admission> {
        &POOL
    }

    fn renew(&'static self) {
        self.line.renew();
        self.refused.store(0, Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
        self.look_due.store(false, Ordering::Relaxed);
    }

    fn had_by(&self, by: By) -> (usize, usize) {
        (0, self.line.waiting_by(by))
    }
}

/// A runtime's admission, for as long as the runtime is known to anybody. Where something is reserved even then, as where a lane's
/// memory was leaked, it is nobody's for ever.
#[derive(Debug)]
pub(crate) struct Owner(&'static Admission);

impl Owner {
    /// One with this limit.
    pub(crate) fn new(limit: u64) -> Owner {
        let admission = POOL.take();
        admission.line.fast().begin(limit);
        Owner(admission)
    }

    pub(crate) fn get(&self) -> &'static Admission {
        self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.ledger().is_settled() {
            pool::give_back(self.0);
        }
    }
}

/// What is reserved, and no lane's yet; dropped, it comes back.
#[derive(Debug)]
#[must_use = "dropped, it comes back at once"]
pub(crate) struct Admitted {
    admission: &'static Admission,
    cost: Cost,
}

impl Admitted {
    /// The lane is spawned: it is the lane's.
    pub(crate) fn belong_to_lane(self) {
        mem::forget(self);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.admission.ledger().give(&self.cost) {
            self.admission.offer();
        }
    }
}

/// What is reserved for a lane that is about to be dead.
#[derive(Debug)]
#[must_use = "what is reserved for the dead is nobody's"]
pub(crate) struct Reserved {
    admission: &'static Admission,
    cost: Cost,
    left: u64,
}

impl Reserved {
    /// Of the tenant of a slot with this account, while it has both; `None` where there is no limit.
    pub(crate) fn of(slot: SlotRef, account: &Account) -> Option<Reserved> {
        let admission = account.admission()?;
        // ORDER: Relaxed: written before the lane ran.
        let bound = slot.bound.load(Ordering::Relaxed);
        let cost = cost_of(slot.kind()?.shape, Some(account.limit()), bound)?;
        Some(Reserved { admission, cost, left: 0 })
    }

    /// In bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.cost.total()
    }

    /// The lane has left so much.
    pub(crate) fn but_for(self, left: u64) -> Reserved {
        Reserved { left: if left == 0 { 0 } else { left + HEADER }, ..self }
    }

    /// The lane is dead, and its slot is free.
    pub(crate) fn end(self, scheduler: &Scheduler) {
        if self.admission.ledger().settle(&self.cost, self.left) {
            self.admission.offer();
            if self.left != 0 {
                scheduler.look_sooner();
            }
        }
    }
}

impl Admission {
    pub(crate) fn ledger(&self) -> &Ledger {
        self.line.fast()
    }

    /// Reserves what a lane costs, if it is there and nobody waits.
    ///
    /// # Errors
    /// [`SpawnError::NoMemory`] and [`SpawnError::ShuttingDown`].
    pub(crate) fn try_admit(&'static self, cost: Option<Cost>) -> Result<Admitted, SpawnError> {
        let Some(cost) = cost else { return Err(SpawnError::NoMemory(self.refuse_unbounded())) };
        // What can never be had is not tried: others might meet what is held for that moment.
        if cost.total() <= self.ledger().limit() {
            if self.ledger().try_take(&cost, Way::Free) {
                return Ok(Admitted { admission: self, cost });
            }
            match self.try_in_line(cost) {
                Some(Ok(())) => return Ok(Admitted { admission: self, cost }),
                Some(Err(Refusal::ShuttingDown)) => return Err(SpawnError::ShuttingDown),
                Some(Err(Refusal::NeverFits)) | None => {}
            }
        }
        Err(SpawnError::NoMemory(self.refuse(&cost)))
    }

    /// As the first in line, if nobody is in it. Nobody else then holds for a moment what he does not get in the end.
    #[cold]
    fn try_in_line(&self, cost: Cost) -> Option<Result<(), Refusal>> {
        if self.ledger().is_queued_after_all() {
            // Somebody may have been refused for what was taken here just now.
            self.offer();
        }
        let taker = Taker { by: By::Foreign, place: Location::caller() };
        self.line.try_take(cost, taker)
    }

    /// The error of a lane of this cost.
    #[cold]
    fn refuse(&self, cost: &Cost) -> NoRoom {
        NoRoom { requested: cost.total(), kept: self.ledger().of_no_use(cost, made), ..self.refuse_unbounded() }
    }

    /// The error of a lane whose cost has no bound.
    #[cold]
    fn refuse_unbounded(&self) -> NoRoom {
        // ORDER: Relaxed, of all counts: they order nothing.
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (free, limit) = (self.free(), self.ledger().limit());
        NoRoom { requested: u64::MAX, free, limit, kept: 0, waiting: self.line.waiting() as u64 }
    }

    /// What is not reserved, nor kept by pools.
    pub(crate) fn free(&self) -> u64 {
        self.ledger().trim(made);
        if self.ledger().is_queued_after_all() {
            self.offer();
        }
        self.ledger().limit().saturating_sub(self.ledger().reserved())
    }

    /// Something that a dead lane had left is freed. For the allocator.
    pub(crate) fn credit(&self, size: u64) {
        if self.ledger().credit(size) {
            // ORDER: Release: who looks finds it given back.
            self.look_due.store(true, Ordering::Release);
        }
        self.ledger().note_freed(size);
    }

    /// Offers what the allocator has given back since the last look.
    pub(crate) fn look(&self) {
        // ORDER: Relaxed, and Acquire once it is seen: pairs with `credit`.
        if self.look_due.load(Ordering::Relaxed) && self.look_due.swap(false, Ordering::Acquire) {
            self.offer();
        }
    }

    /// Whether somebody may come to be admitted by what the allocator gives back.
    pub(crate) fn must_look(&self) -> bool {
        // In this order: what is freed after the second look is marked before it.
        self.ledger().is_queued() && (self.ledger().left() != 0 || self.look_due.load(Ordering::Relaxed))
    }

    /// Offers what is there to those who wait, and tells who waits in vain.
    fn offer(&self) {
        self.line.change(|_, _| ());
        if self.line.look(|gate| gate.hopeless) {
            // All look again, in their order, and he is told.
            self.line.close(|gate, _| gate.hopeless = false);
        }
    }

    /// No new lanes: who waits is told.
    pub(crate) fn close(&self) {
        self.line.close(|gate, _| gate.closed = true);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.line.waiting() as u64
    }

    /// How many were refused, and how many had to wait.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.waited.load(Ordering::Relaxed))
    }
}

/// What a lane costs with such a mailbox, `None` where it has no bound; and this budget.
pub(crate) fn cost_of(shape: cost::Shape, budget: Option<u64>, bound: u32) -> Option<Cost> {
    if bound == UNBOUNDED { None } else { Cost::of(shape, budget?, bound) }
}

/// What a lane is to the pools whose future and messages have these layouts.
pub(crate) const fn shape_of(future: Layout, message: Layout) -> cost::Shape {
    cost::Shape::of(future, message, node::is_inline(message))
}
