//! Accounts: to which lane the code that runs here is charged, and what becomes of an account when its lane is dead.
//!
//! Owns: [`Account`], [`Budget`] (an account as its lane has it) and the thread-local that says who pays. Knows nothing of
//! blocks.
//!
//! An account stays for ever, as headers of blocks name it. It is used again once its lane is dead and all that was charged to it
//! is freed; before that nobody else can be taken for it, so a header needs no generation.
//!
//! Each slot has an account of its own, which its tenants have one after the other: it is found by the slot's number, and
//! nobody looks for it or gives it back. A tenant that comes while something of one before is not freed yet has another,
//! from a list for all.
//!
//! # Invariants
//! 1. `CHARGED` names an account only on the thread that runs code of its lane, and no more when its [`Budget`] is dropped.
//! 2. An account that is no slot's is in a free list exactly while it is nobody's (`balance.rs`, invariant 3). One that is a
//!    slot's is in none, and whoever may make a lane of the slot may take it while it is nobody's.
//! 3. [`Account::charge`] and [`Account::credit`] allocate nothing, free nothing and take no lock.

use std::cell::Cell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::balance::{self, Balance, Credited};
use crate::admission::Admission;
use crate::context;
use crate::exit::ExitReason;
use crate::region::Region;
use crate::slot::{AtomicStatic, SlotRef};

thread_local! {
    /// Who pays for what the code that runs here allocates.
    static CHARGED: Cell<Option<&'static Account>> = const { Cell::new(None) };
}

/// What one lane has of memory. All-zero bytes are an account that is nobody's (`alloc.rs` relies on it).
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Account {
    balance: Balance,
    limit: AtomicU64,
    /// What was asked for when the limit was passed, 0 before that.
    asked: AtomicU64,
    /// Charged from the beginning to the end, for the lane's future.
    future: AtomicU64,
    /// What was charged when the lane's destructors began to run.
    at_end: AtomicU64,
    /// Where the limit is reserved, if it is: what is left of a lane that is dead comes back there.
    admission: AtomicStatic<Admission>,
    /// The next of a free list.
    next: AtomicStatic<Account>,
}

const _: () = assert!(size_of::<Account>() == 64, "an account is one cache line");

/// What an account takes that stays for what its lane has left.
pub(crate) const HEADER: u64 = size_of::<Account>() as u64;

/// So much more would have passed the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrun {
    pub(crate) requested: u64,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

/// The accounts of slots, by their numbers. Without budgets it takes no memory.
static OF_SLOTS: Region<Account> = Region::eager();

/// Free accounts, of which each names the next.
static FREE: Mutex<Option<&'static Account>> = Mutex::new(None);
/// Those that came back since `FREE` was empty. Whoever frees memory puts them here, by one step.
static RETURNED: AtomicStatic<Account> = AtomicStatic::empty();

impl Account {
    /// The lane to which the account belongs, and which runs here, takes so much.
    #[inline]
    pub(crate) fn charge(&self, size: u64) {
        // ORDER: Relaxed, here and below: written before the lane ran, or by whoever has the lane.
        if self.balance.charge(size) > self.limit.load(Ordering::Relaxed) {
            self.pass(size);
        }
    }

    /// As [`Account::charge`], unless that would pass the limit: then nothing is charged. It is exact, counting all that
    /// was freed elsewhere until now.
    pub(crate) fn try_charge(&self, size: u64) -> Result<(), Overrun> {
        let limit = self.limit();
        let most = limit.min(balance::MOST);
        let fits = |used: u64| used <= most && size <= most - used;
        // What others have freed since the lane last noted it counts where it matters.
        if fits(self.balance.noted()) || fits(self.balance.settle()) {
            self.balance.charge(size);
            return Ok(());
        }
        Err(Overrun { requested: size, used: self.balance.noted(), limit })
    }

    /// The limit may be passed.
    #[cold]
    fn pass(&self, size: u64) {
        let is_passed = self.balance.settle() > self.limit.load(Ordering::Relaxed);
        if is_passed && self.asked.load(Ordering::Relaxed) == 0 {
            self.asked.store(size, Ordering::Relaxed);
        }
    }

    /// So much is given back, by whomever.
    #[inline]
    pub(crate) fn credit(&'static self, size: u64) {
        if CHARGED.get().is_some_and(|charged| ptr::eq(charged, self)) {
            self.balance.credit_here(size);
        } else {
            // With the last of it the account may be another's at once.
            let admission = self.admission();
            match self.balance.credit_elsewhere(size) {
                Credited::Open => {}
                Credited::Closed => credit_left(admission, size),
                Credited::Last => {
                    self.give_back();
                    credit_left(admission, size + HEADER);
                }
            }
        }
    }

    /// Where the limit is reserved, if it is.
    pub(crate) fn admission(&self) -> Option<&'static Admission> {
        // ORDER: Relaxed: written before the lane ran; whoever credits it comes after.
        self.admission.load(Ordering::Relaxed)
    }

    /// The limit is reserved there. For whoever makes the lane, before it runs.
    pub(crate) fn is_reserved_in(&self, admission: &'static Admission) {
        self.admission.store(admission, Ordering::Relaxed);
    }

    /// What is charged now.
    pub(crate) fn used(&self) -> u64 {
        self.balance.sum()
    }

    /// How much may be.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether the lane has passed its limit and must end.
    #[inline]
    pub(crate) fn is_overrun(&self) -> bool {
        self.asked.load(Ordering::Relaxed) != 0
    }

    /// Why the lane must end, if it has passed its limit.
    pub(crate) fn overrun(&self) -> Option<ExitReason> {
        let requested = self.asked.load(Ordering::Relaxed);
        (requested != 0).then(|| ExitReason::OutOfMemory { budget: self.limit(), requested })
    }

    /// The lane's destructors are about to run: what is charged now.
    #[inline]
    pub(crate) fn note_end(&self) -> u64 {
        let used = self.used();
        self.at_end.store(used, Ordering::Relaxed);
        used
    }

    /// What [`Account::note_end`] has noted.
    pub(crate) fn at_end(&self) -> u64 {
        self.at_end.load(Ordering::Relaxed)
    }

    /// It is nobody's.
    fn give_back(&'static self) {
        if !OF_SLOTS.has(self) {
            self.put_in_list();
        }
    }

    #[cold]
    fn put_in_list(&'static self) {
        let mut first = RETURNED.load(Ordering::Relaxed);
        loop {
            // ORDER: Relaxed: published by the exchange.
            self.next.set(first, Ordering::Relaxed);
            match RETURNED.exchange(first, Some(self)) {
                Ok(()) => return,
                Err(there) => first = there,
            }
        }
    }

    /// An account that is nobody's and no slot's.
    #[cold]
    fn obtain() -> &'static Account {
        let mut free = FREE.lock();
        // Whoever takes all of them cannot mistake one that came back for one that never left.
        let first = free.take().or_else(|| RETURNED.take());
        match first {
            Some(account) => {
                *free = account.next.load(Ordering::Relaxed);
                account
            }
            None => uncharged(|| {
                Box::leak(Box::new(Account {
                    balance: Balance::new(),
                    limit: AtomicU64::new(0),
                    asked: AtomicU64::new(0),
                    future: AtomicU64::new(0),
                    at_end: AtomicU64::new(0),
                    admission: AtomicStatic::empty(),
                    next: AtomicStatic::empty(),
                }))
            }),
        }
    }
}

/// So much less is left of a lane that is dead.
#[cold]
fn credit_left(admission: Option<&'static Admission>, size: u64) {
    if let Some(admission) = admission {
        admission.credit(size);
    }
}

/// The account of a lane that lives: dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Budget(&'static Account);

impl Budget {
    /// An account of a lane whose future is so long.
    pub(crate) fn new(limit: u64, future: u64) -> Budget {
        Budget::open(Account::obtain(), limit, future)
    }

    /// As [`Budget::new`], for a lane in the slot of this number, which the caller is about to fill; and whether it is the
    /// slot's own.
    #[inline]
    pub(crate) fn in_slot(key: u32, limit: u64, future: u64) -> (Budget, bool) {
        match OF_SLOTS.reach(key) {
            Some(account) => {
                // Whosever it is, his lane is dead and looks at no limit any more. Written first, the account is fetched
                // from memory once, to be written.
                account.limit.store(limit, Ordering::Relaxed);
                if account.balance.is_nobodys() {
                    return (Budget::open(account, limit, future), true);
                }
                (Budget::new(limit, future), false)
            }
            None => (Budget::new(limit, future), false),
        }
    }

    #[inline]
    fn open(account: &'static Account, limit: u64, future: u64) -> Budget {
        account.balance.open(future);
        account.limit.store(limit, Ordering::Relaxed);
        account.asked.store(if future > limit { future } else { 0 }, Ordering::Relaxed);
        account.future.store(future, Ordering::Relaxed);
        account.admission.clear(Ordering::Relaxed);
        Budget(account)
    }

    /// That of a lane that was given it by [`Budget::keep`], and has it no more.
    pub(crate) fn of(account: &'static Account) -> Budget {
        Budget(account)
    }

    /// The account.
    pub(crate) fn account(&self) -> &'static Account {
        self.0
    }

    /// It stays open.
    #[inline]
    pub(crate) fn keep(self) -> &'static Account {
        let account = self.0;
        std::mem::forget(self);
        account
    }

    /// The lane is dead: what it has left behind.
    #[inline]
    pub(crate) fn close(self) -> u64 {
        let left = self.settle();
        std::mem::forget(self);
        left
    }

    #[inline]
    fn settle(&self) -> u64 {
        let account = self.0;
        debug_assert!(!charged().is_some_and(|charged| ptr::eq(charged, account)), "it pays here");
        account.balance.credit_here(account.future.load(Ordering::Relaxed));
        let left = account.balance.close();
        if left == 0 {
            account.give_back();
        }
        left
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.settle();
    }
}

/// The account of a slot whose tenant has it, as [`Budget::in_slot`] said.
#[inline]
pub(crate) fn of_slot(slot: SlotRef) -> Option<&'static Account> {
    OF_SLOTS.at(slot.key())
}

/// Who pays for a block that is handed out now. What the runtime allocates within a call of the lane is for tables that
/// all lanes share, and stays there when the lane is gone.
#[inline]
pub(super) fn payer() -> Option<&'static Account> {
    let charged = CHARGED.get()?;
    (!context::is_in_call()).then_some(charged)
}

/// Whose account pays for what the code that runs here does, if one does.
#[inline]
pub(crate) fn charged() -> Option<&'static Account> {
    CHARGED.get()
}

/// Nobody pays from now on: who did before.
#[inline]
pub(crate) fn charge_nobody() -> Option<&'static Account> {
    CHARGED.take()
}

/// From now on this account pays for what this thread allocates, or nobody.
#[inline]
pub(crate) fn charge(account: Option<&'static Account>) {
    CHARGED.set(account);
}

/// Runs what allocates for all lanes.
#[inline]
pub(crate) fn uncharged<R>(f: impl FnOnce() -> R) -> R {
    /// Has the same one pay again, also where `f` panics.
    struct Resume(Option<&'static Account>);
    impl Drop for Resume {
        fn drop(&mut self) {
            CHARGED.set(self.0);
        }
    }
    let _resume = Resume(CHARGED.take());
    f()
}

/// Whether the process has an allocator that charges anybody. It is tried once.
pub(crate) fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let budget = Budget::new(u64::MAX, 0);
        let used = uncharged(|| {
            charge(Some(budget.account()));
            let block = std::hint::black_box(Box::new(0_u64));
            let used = budget.account().used();
            drop(block);
            charge(None);
            used
        });
        used != 0
    })
}

#[cfg(test)]
mod tests;
