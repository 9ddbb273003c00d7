//! A lane's budget of memory, as its code sees it.
//!
//! Owns: [`Memory`], [`check_memory`], and how a budget is inherited. What is charged to whom is in `alloc.rs`.

use std::fmt;
use std::sync::Once;

use super::frame::Frame;
use super::own::{DOOMED, Own};
use crate::alloc::account::{Account, Overrun};
use crate::alloc::{self, Budget};
use crate::exit::ExitReason;
use crate::id::Id;
use crate::sched::Scheduler;

/// What is charged to a lane, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// What is charged now, the lane's future included.
    pub used: u64,
    /// Its [budget](crate::lane::Spawn::memory).
    pub limit: u64,
}

impl Memory {
    pub(crate) fn of(account: &Account) -> Memory {
        Memory { used: account.used(), limit: account.limit() }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.used, self.limit)
    }
}

/// What is charged to the current lane; `None` where it has no [budget](crate::lane::Spawn::memory), and outside of lanes.
pub fn memory() -> Option<Memory> {
    alloc::charged().map(Memory::of)
}

/// So much more does not fit in the lane's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoMemory {
    /// What was asked for, in bytes.
    pub requested: u64,
    /// What the lane has.
    pub memory: Memory,
}

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} more bytes do not fit in the lane's budget: it has {}", self.requested, self.memory)
    }
}

impl std::error::Error for NoMemory {}

impl From<Overrun> for NoMemory {
    fn from(Overrun { requested, used, limit }: Overrun) -> NoMemory {
        NoMemory { requested, memory: Memory { used, limit } }
    }
}

impl NoMemory {
    /// Ends the lane that runs here, by unwinding, with [`ExitReason::OutOfMemory`]: for code that cannot give an error. No
    /// panic hook hears of it. It is for the code of lanes; elsewhere it unwinds as a panic with this value does, as
    /// `std::panic::panic_any` with it does in a lane. As any panic, it ends the process in a destructor that runs because of
    /// another: [`std::thread::panicking`] says so.
    pub fn unwind(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }
}

/// What was charged to a lane by hand: see [`try_charge`]. Dropped, wherever that is, it is credited.
#[derive(Debug)]
#[must_use = "dropped, it is credited at once"]
pub struct Charge(Option<(&'static Account, u64)>);

impl Charge {
    /// How much is charged, in bytes; 0 where there was no budget.
    pub fn bytes(&self) -> u64 {
        self.0.map_or(0, |(_, bytes)| bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some((account, bytes)) = self.0 {
            account.credit(bytes);
        }
    }
}

/// Charges so much to the current lane, for memory that does not come from the global allocator, as mapped memory or that
/// of a C library. Where the lane has no budget, and outside of lanes, nothing is charged to anybody.
///
/// ```
/// use laneway_runtime::{lane::{self, Spawn}, mailbox::Inbox};
/// # let runtime = laneway_runtime::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let lane = Spawn::new().memory(1 << 20).spawn(|_: Inbox<()>| async {
///     let charge = lane::try_charge(1000 << 10).expect("it fits");
///     assert!(lane::memory().unwrap().used >= charge.bytes());
///     assert!(lane::try_charge(1000 << 10).is_err());
///     drop(charge);
///     assert!(lane::try_charge(1000 << 10).is_ok());
/// })?;
/// # let end = lane::join(lane.mailbox.id()).await;
/// # assert!(end.is_ordinary() || end == laneway_runtime::ExitReason::NoProc, "{end}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`NoMemory`]: with it the lane would be past its budget, counting all that was freed until now. Nothing is charged.
pub fn try_charge(bytes: u64) -> Result<Charge, NoMemory> {
    // A charge of nothing would not be in the account's balance, and so could outlast it.
    let Some(account) = alloc::charged().filter(|_| bytes != 0) else { return Ok(Charge(None)) };
    if bytes > MOST {
        return Err(NoMemory { requested: bytes, memory: Memory::of(account) });
    }
    account.try_charge(bytes)?;
    Ok(Charge(Some((account, bytes))))
}

/// More than any memory has, and less than an account counts.
const MOST: u64 = 1 << 56;

/// As [`try_charge`], past the budget if need be: the lane then ends for it, if it does not end otherwise first.
pub(crate) fn charge(bytes: u64) -> Charge {
    let account = alloc::charged().filter(|_| bytes != 0);
    Charge(account.inspect(|account| account.charge(bytes)).map(|account| (account, bytes)))
}

/// Whether so many bytes more would fit in the budget of the current lane, for code that would rather refuse than end.
/// Nothing is set aside. It always fits where there is no budget, and outside of lanes.
///
/// ```
/// use laneway_runtime::lane::{NoMemory, check_memory};
///
/// fn buffer(length: usize) -> Result<Vec<u8>, NoMemory> {
///     check_memory(length as u64)?;
///     Ok(Vec::with_capacity(length))
/// }
/// assert_eq!(buffer(512).unwrap().len(), 0);
/// ```
///
/// # Errors
/// [`NoMemory`]: with it the lane would be past its budget.
pub fn check_memory(bytes: u64) -> Result<(), NoMemory> {
    let Some(memory) = memory() else { return Ok(()) };
    let fits = memory.used.checked_add(bytes).is_some_and(|sum| sum <= memory.limit);
    if fits { Ok(()) } else { Err(NoMemory { requested: bytes, memory }) }
}

/// What a spawn says of the budget: the limit, or one of two numbers that are beyond all memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish(u64);

impl Wish {
    pub(crate) const AS_PARENT: Wish = Wish(u64::MAX - 1);
    pub(crate) const UNLIMITED: Wish = Wish(u64::MAX - 2);

    pub(crate) const fn limit(bytes: u64) -> Wish {
        Wish(if bytes < Wish::UNLIMITED.0 { bytes } else { u64::MAX })
    }

    /// Whether a lane that is spawned here may have a budget.
    #[inline(always)]
    pub(crate) fn may_limit(self, default: Option<u64>) -> bool {
        self != Wish::AS_PARENT || alloc::charged().is_some() || default.is_some()
    }

    /// The same budget, wherever and whenever the lane is spawned.
    pub(crate) fn settle(&mut self, scheduler: &Scheduler, by_none: bool) {
        *self = self.of(scheduler, by_none).map_or(Wish::UNLIMITED, Wish::limit);
    }

    /// What budget a lane gets that is spawned by no lane, where a default holds, or by the one that runs. Under a memory
    /// limit the default holds also for one that has none.
    #[inline]
    pub(crate) fn of(self, scheduler: &Scheduler, by_none: bool) -> Option<u64> {
        match self {
            Wish::UNLIMITED => None,
            Wish::AS_PARENT => {
                let default = scheduler.lane_memory.filter(|_| by_none || scheduler.admission.is_some());
                alloc::charged().map(Account::limit).or(default)
            }
            Wish(limit) => Some(limit),
        }
    }

    /// Gives a lane its budget, if it has one. From here on the lane must be born.
    #[inline(never)]
    pub(crate) fn apply(self, scheduler: &Scheduler, id: Id, own: &mut Own, by_none: bool) {
        let Some(limit) = self.of(scheduler, by_none) else { return };
        warn_of_no_accounting();
        let future = own.frame.as_ref().map_or(0, Frame::size) as u64;
        let budget = Budget::in_slot(id.key(), limit, future);
        if let Some(admission) = scheduler.admission() {
            budget.0.account().is_reserved_in(admission);
        }
        own.is_limited_by(budget);
        if future > limit {
            // It never runs.
            scheduler.note_overrun();
            own.flags |= DOOMED;
            own.more().doomed = Some(ExitReason::OutOfMemory { budget: limit, requested: future });
        }
    }
}

/// Says once that budgets count futures alone.
fn warn_of_no_accounting() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !alloc::is_installed() {
            tracing::warn!("lanes have budgets of memory, and the program has no accounting allocator: see `alloc`");
        }
    });
}
