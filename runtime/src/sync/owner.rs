//! Who has a mutex, from the moment that he got it to the one in which he gives it back or dies.
//!
//! Owns: [`Core`], the lasting part of a mutex, and [`Owner`], what its guards hold.
//!
//! # Invariants
//! 1. An `Owner` is made for one locking, just after it, and unlocks when it is dropped. Nothing else unlocks.
//! 2. `holder` is 0 while nobody has the lock, and for a moment after somebody got it. So who reads a locking's number, the
//!    holder, and the same number again, has read nothing of another locking.

use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::exclusive::{self, Exclusive, LockWord};
use super::guarded::{Excludes, Opens};
use super::holder::Holder;
use super::name_of;
use super::pool::{Pool, Pooled};
use crate::context;
use crate::id::Id;
use crate::lane::index::Held;
use crate::sched::worker::Local;
use crate::slot::AtomicPlace;
use crate::wait_graph::lock::{Awaited, Face, Obstacle};
use crate::wait_graph::note::{UNKNOWN, handed_out_by_this};
use crate::wait_list::line::{Line, Source};
use crate::wait_list::{By, Ticket};

/// The lasting part of a mutex.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Core {
    pub(crate) line: Line<Exclusive>,
    /// The bits of the lane's id, 0 for none.
    holder: AtomicU64,
    taken_at: AtomicPlace,
    /// What the holder alone uses: where the lock stands in the index of the lane that took it, and three bits.
    notes: AtomicU64,
    /// What the lane had handed out when it took the lock: while that is all, the guard is in its hands.
    handed_out: AtomicU32,
    /// The lock as the wait graph knows it, once somebody has waited for it.
    face: Face,
}

/// Where in the notes the trouble stands in which it was got: two bits.
const TROUBLE: u32 = 32;
/// What is guarded is as it was, whatever happens.
const CLEAN: u64 = 1 << 34;

static POOL: Pool<Core> = Pool::new();

impl Pooled for Core {
    fn pool() -> &'static Pool<Core> {
        &POOL
    }

    fn renew(&'static self) {
        // A guard that was leaked said nothing.
        self.holder.store(0, Ordering::Release);
        self.line.renew();
    }

    fn had_by(&self, by: By) -> (usize, usize) {
        let holder = self.read().filter(|_| !self.word().is_abandoned()).and_then(|(lane, _)| lane);
        (usize::from(holder.map(By::Lane) == Some(by)), self.line.waiting_by(by))
    }
}

impl Core {
    #[inline]
    pub(crate) fn word(&self) -> &LockWord {
        self.line.fast()
    }

    /// Notes who has got the lock.
    #[inline(always)]
    fn note(&self, lane: u64, place: &'static Location<'static>, at: u32, trouble: Trouble, handed_out: u32) {
        // ORDER: Relaxed: `holder`, which is stored last, publishes it.
        self.handed_out.store(handed_out, Ordering::Relaxed);
        // ORDER: Relaxed: who gets the guard from this thread sees what it wrote.
        self.notes.store(u64::from(at) | u64::from(trouble.0) << TROUBLE, Ordering::Relaxed);
        // ORDER: Release, here and below, with the Acquires in `read`: who reads either reads, after it, the number of this
        // locking or of a later one (invariant 2).
        self.taken_at.store(place, Ordering::Release);
        self.holder.store(lane, Ordering::Release);
    }

    /// Who has the lock, and where he took it; `None` also for a moment after he did.
    fn read(&self) -> Option<(Option<Id>, &'static Location<'static>)> {
        let number = self.word().locking()?;
        // ORDER: Acquire, see `note`.
        let lane = self.holder.load(Ordering::Acquire);
        let place = self.taken_at.load(Ordering::Acquire)?;
        (lane != 0 && self.word().is_locked_as(number)).then(|| (lane_of(lane), place))
    }

    /// The lock as the wait graph knows it.
    pub(crate) fn face(&'static self) -> &'static Face {
        self.face.of(self)
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        let (lane, taken_at) = self.read()?;
        Some(Holder { lane, name: lane.and_then(name_of), taken_at })
    }

    /// What a holder left who died is put right.
    pub(crate) fn recover(&self) {
        self.line.change(Exclusive::recover);
    }

    /// Who has the lock, and is dying with it, as those will be told who find it left.
    fn last_words(&self) -> Holder {
        self.words_of(lane_of(self.holder.load(Ordering::Relaxed)))
    }

    fn words_of(&self, lane: Option<Id>) -> Holder {
        let taken_at = self.taken_at.load(Ordering::Relaxed).unwrap_or(Location::caller());
        Holder { lane, name: lane.and_then(name_of), taken_at }
    }
}

/// In place of an id where the lock was taken outside of lanes. It is none: its namespace is 0.
const NO_LANE: u64 = 1;

/// The lane whose bits are noted.
fn lane_of(holder: u64) -> Option<Id> {
    Id::from_bits(holder)
}

impl Awaited for Core {
    fn in_the_way(&self, _: Ticket, tell: &mut dyn FnMut(Obstacle)) {
        if let Some(number) = self.word().locking()
            && let Some((lane, taken_at)) = self.read()
        {
            let handed_out = self.handed_out.load(Ordering::Relaxed);
            // Of no other locking, see `read`.
            if self.word().is_locked_as(number) {
                tell(Obstacle::holder(lane, taken_at, handed_out));
            }
        }
    }
}

impl Held for Core {
    fn is_held_by(&self, grant: Ticket, by: By) -> bool {
        let By::Lane(id) = by else { return false };
        self.word().is_locked_as(grant.number) && self.holder.load(Ordering::Relaxed) == id.to_bits()
    }

    fn describe(&self, grant: Ticket, by: By) -> Option<(&'static str, &'static Location<'static>)> {
        let (_, place) = self.read().filter(|_| self.is_held_by(grant, by))?;
        Some((Exclusive::KIND, place))
    }

    fn abandon(&self, grant: Ticket, by: By) -> bool {
        let By::Lane(id) = by else { return false };
        if !self.is_held_by(grant, by) {
            return false;
        }
        // Should its guard be dropped elsewhere just now, the place may be another's; then so is the number by the time
        // that it is compared.
        let holder = self.words_of(Some(id));
        let stood = self.line.change(|exclusive, word| exclusive.abandon(word, grant.number, holder));
        if stood {
            self.line.wake_all();
        }
        stood
    }
}

/// The lock, held. All that is to be known of that is in the core, so that a guard is two words, which fit in registers.
#[derive(Debug)]
pub(crate) struct Owner(&'static Core);

impl Owner {
    /// Gets the lock if nobody has it, nobody waits, and nobody died with it. In a lane it `counts` as an operation of the
    /// turn, and fails where that is over.
    #[inline(always)]
    pub(crate) fn attempt(core: &'static Core, place: &'static Location<'static>, counts: bool) -> Option<Owner> {
        let in_lane = context::with_current(|local, slot, own| {
            if counts && !local.takes_operation() {
                return false;
            }
            let Some(number) = core.word().try_lock() else { return false };
            let at = own.index().note_hold(slot, core, Ticket { at: 0, number });
            core.note(slot.tenant_bits(), place, at, Trouble::of_panic(), handed_out_by_this(slot));
            true
        });
        match in_lane {
            Some(true) => Some(Owner(core)),
            Some(false) => None,
            None => Owner::attempt_outside(core, place),
        }
    }

    #[cold]
    #[inline(never)]
    fn attempt_outside(core: &'static Core, place: &'static Location<'static>) -> Option<Owner> {
        core.word().try_lock()?;
        Some(Owner::outside(core, place))
    }

    fn outside(core: &'static Core, place: &'static Location<'static>) -> Owner {
        core.note(NO_LANE, place, u32::MAX, Trouble::now(), UNKNOWN);
        Owner(core)
    }

    /// What was granted to somebody in line, who runs here.
    pub(crate) fn granted(core: &'static Core, number: u64, place: &'static Location<'static>) -> Owner {
        let noted = context::with_current(|_, slot, own| {
            let at = own.index().note_hold(slot, core, Ticket { at: 0, number });
            core.note(slot.tenant_bits(), place, at, Trouble::of_panic(), handed_out_by_this(slot));
        });
        if noted.is_some() { Owner(core) } else { Owner::outside(core, place) }
    }

    fn notes(&self) -> u64 {
        // ORDER: Relaxed, see `note`.
        self.0.notes.load(Ordering::Relaxed)
    }

    /// Whether it is given back by the death of who has it, now or before: what is guarded may be in the middle of a change.
    pub(crate) fn is_left(&self) -> bool {
        self.dies() || self.0.word().is_abandoned()
    }

    fn dies(&self) -> bool {
        Trouble::now().is_beyond(Trouble((self.notes() >> TROUBLE) as u8 & 3))
    }

    pub(super) fn core(&self) -> &'static Core {
        self.0
    }

    /// What is guarded is as it was, whatever happens: no mark.
    pub(crate) fn set_clean(&mut self) {
        self.0.notes.store(self.notes() | CLEAN, Ordering::Relaxed);
    }

    /// Unlocks, where it is not enough to say so in the word.
    #[cold]
    #[inline(never)]
    fn unlock(&self, dies: bool) {
        let is_clean = self.notes() & CLEAN != 0;
        let died = if dies && !is_clean { Some(self.0.last_words()) } else { None };
        self.unnote();
        if died.is_some() || !self.0.word().try_unlock() {
            exclusive::unlock(&self.0.line, died, is_clean);
        }
    }

    /// Nobody is the holder.
    #[inline(always)]
    fn unnote(&self) {
        // ORDER: Release: before the unlocking, as who gets the lock next notes himself after it.
        self.0.holder.store(0, Ordering::Release);
    }
}

/// Why code runs that is none of a lane's ordinary life: for each of a panic and a death a bit. A lock that was got in such
/// trouble is not left by it, but by what comes on top of it: a destructor may panic at the death of its lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble(u8);

impl Trouble {
    pub(super) fn now() -> Trouble {
        let is_ending = |local: Option<&Local>| {
            local.is_some_and(|local| local.current().is_none() && local.ending.borrow().is_some())
        };
        Trouble(Trouble::of_panic().0 | u8::from(context::with_local(is_ending)) << 1)
    }

    /// In a lane's own turn nothing else can be.
    #[inline(always)]
    fn of_panic() -> Trouble {
        Trouble(u8::from(std::thread::panicking()))
    }

    pub(super) fn is_beyond(self, earlier: Trouble) -> bool {
        self.0 & !earlier.0 != 0
    }
}

impl Drop for Owner {
    #[inline(always)]
    fn drop(&mut self) {
        let in_lane = context::with_current(|_, _, own| {
            if let Some(index) = &mut own.index {
                let grant = Ticket { at: 0, number: self.0.word().number() };
                index.forget_hold(self.notes() as u32, self.0, grant);
            }
        });
        if in_lane.is_some() && !std::thread::panicking() {
            self.unnote();
            if self.0.word().try_unlock() {
                return;
            }
            self.unlock(false);
        } else {
            self.unlock(self.dies());
        }
    }
}

impl Opens for Owner {
    #[inline]
    fn of(&self) -> *const () {
        ptr::from_ref(self.0).cast()
    }
}

impl Excludes for Owner {}
