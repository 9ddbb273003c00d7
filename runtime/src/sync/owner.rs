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
use std::sync::atomic::{AtomicU64, Ordering};

use super::exclusive::{self, Exclusive, LockWord};
use super::guarded::{Excludes, Opens};
use super::holder::Holder;
use super::name_of;
use super::pool::{Pool, Pooled};
use crate::context;
use crate::id::Id;
use crate::lane::index::Held;
use crate::lane::own::Own;
use crate::sched::worker::Local;
use crate::slot::{AtomicPlace, SlotRef};
use crate::wait_graph::lock::{Awaited, Face, Obstacle};
use crate::wait_graph::note::{UNKNOWN, handed_out_by_this};
use crate::wait_list::line::{Line, Source};
use crate::wait_list::{By, Ticket};

/// The lasting part of a mutex.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Core {
    pub(crate) line: Line<Exclusive>,
    /// The bits of the lane's id, 0 for none.
    holder: AtomicU64,
    taken_at: AtomicPlace,
    notes: AtomicU64,
    /// The lock as the wait graph knows it, once somebody has waited for it.
    face: Face,
}

/// The notes hold, from below: where the lock stands in the index of the lane that took it, as far as there are so many;
const AT: u32 = (1 << TROUBLE) - 1;
/// the trouble in which it was got, two bits;
const TROUBLE: u32 = 29;
/// whether what is guarded is as it was, whatever happens;
const CLEAN: u64 = 1 << 31;
/// and what the lane had handed out when it took the lock: while that is all, the guard is in its hands.
const HANDED_OUT: u32 = 32;

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

/// How many were made.
static MADE: AtomicU64 = AtomicU64::new(0);

impl Default for Core {
    fn default() -> Core {
        let core = Core {
            line: Line::default(),
            holder: AtomicU64::default(),
            taken_at: AtomicPlace::default(),
            notes: AtomicU64::default(),
            face: Face::default(),
        };
        // No two begin with the same, see `is_operation`.
        // ORDER: Relaxed: a number that nobody else has.
        core.word().begin_after(MADE.fetch_add(1, Ordering::Relaxed));
        core
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
        let notes = u64::from(handed_out) << HANDED_OUT | u64::from(at.min(AT)) | u64::from(trouble.0) << TROUBLE;
        // ORDER: Relaxed: `holder`, which is stored last, publishes it; and who gets the guard from this thread sees what it
        // wrote.
        self.notes.store(notes, Ordering::Relaxed);
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

/// A locking that nobody is in the way of takes a few nanoseconds, which is less than other operations of a turn do: one in so
/// many is one.
const LOCKINGS_AN_OPERATION: u64 = 8;

/// Whether the locking of this number is an operation. Numbers are scattered by the golden ratio, so that those that are lie
/// in every row of numbers at equal distances: somebody may make a lock for every so many lockings, or take every other one. As
/// locks begin with one number after the other, the same holds for who takes many locks once each.
#[inline(always)]
fn is_operation(number: u64) -> bool {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) < u64::MAX / LOCKINGS_AN_OPERATION
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
            let handed_out = (self.notes.load(Ordering::Relaxed) >> HANDED_OUT) as u32;
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
    /// Gets the lock if nobody has it, nobody waits, and nobody died with it. In a lane it `counts` as a part of an operation
    /// of the turn, and fails where that is over.
    #[inline(always)]
    pub(crate) fn attempt(core: &'static Core, place: &'static Location<'static>, counts: bool) -> Option<Owner> {
        // What is rare it leaves to others.
        let attempted = context::in_current(
            #[inline(always)]
            |local, slot, own| {
                let word = core.word();
                let seen = word.see();
                if !seen.is_free() || counts && is_operation(seen.next()) && !local.takes_operation() {
                    return Attempted::InVain;
                }
                if !word.lock_from(seen) {
                    return Attempted::Nothing;
                }
                // A processor locks once all before that is certain. So what need not come before comes after.
                if std::thread::panicking() {
                    return Attempted::Half;
                }
                let grant = Ticket { at: 0, number: seen.next() };
                let Some(at) = own.note_first_hold(core, grant) else { return Attempted::Half };
                core.note(slot.tenant_bits(), place, at, Trouble::NONE, handed_out_by_this(slot));
                Attempted::Done
            },
        );
        match attempted {
            Some(Attempted::Done) => Some(Owner(core)),
            Some(Attempted::InVain) => None,
            Some(Attempted::Half) => Some(Owner::granted(core, core.word().number(), place)),
            Some(Attempted::Nothing) => Owner::attempt_in_full(core, place),
            None => Owner::attempt_outside(core, place),
        }
    }

    #[cold]
    #[inline(never)]
    fn attempt_in_full(core: &'static Core, place: &'static Location<'static>) -> Option<Owner> {
        let in_lane = context::with_current(|_, slot, own| {
            let Some(number) = core.word().try_lock() else { return false };
            Owner::note(core, slot, own, number, place);
            true
        });
        // Made only then: one that is dropped unlocks.
        (in_lane == Some(true)).then(|| Owner(core))
    }

    /// The lane in `slot` has got the lock.
    fn note(core: &'static Core, slot: SlotRef, own: &mut Own, number: u64, place: &'static Location<'static>) {
        let at = own.note_hold(slot, core, Ticket { at: 0, number });
        core.note(slot.tenant_bits(), place, at, Trouble::of_panic(), handed_out_by_this(slot));
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
    #[inline(never)]
    pub(crate) fn granted(core: &'static Core, number: u64, place: &'static Location<'static>) -> Owner {
        let noted = context::with_current(|_, slot, own| Owner::note(core, slot, own, number, place));
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

    /// Unlocks, where that is all there is to do.
    #[inline(always)]
    fn unlock_simply(&self) -> bool {
        if std::thread::panicking() {
            return false;
        }
        let unlocked = context::in_current(
            #[inline(always)]
            |_, _, own| {
                let core = self.0;
                let word = core.word();
                let seen = word.see();
                if !seen.is_free_to_unlock() {
                    return false;
                }
                let at = self.notes() as u32 & AT;
                self.unnote();
                if !word.unlock_from(seen) {
                    return false;
                }
                // After that, as above; meanwhile it is an entry of what is over.
                own.forget_only_hold(at, core, seen.number());
                true
            },
        );
        unlocked == Some(true)
    }

    /// Unlocks, whatever there is to do.
    #[cold]
    #[inline(never)]
    fn unlock(&self) {
        let in_lane = context::with_current(|_, _, own| {
            own.forget_only_hold(self.notes() as u32 & AT, self.0, self.0.word().number());
        });
        // In the turn of a lane nobody dies who does not panic.
        let dies = (in_lane.is_none() || std::thread::panicking()) && self.dies();
        let is_clean = self.notes() & CLEAN != 0;
        if dies && !is_clean {
            let died = self.0.last_words();
            self.unnote();
            return exclusive::unlock_dying(&self.0.line, died);
        }
        self.unnote();
        if !self.0.word().try_unlock() {
            exclusive::unlock(&self.0.line, is_clean);
        }
    }

    /// Nobody is the holder.
    #[inline(always)]
    fn unnote(&self) {
        // ORDER: Release: before the unlocking, as who gets the lock next notes himself after it.
        self.0.holder.store(0, Ordering::Release);
    }
}

/// What came of a first attempt at the lock.
enum Attempted {
    Done,
    /// It is got, and not noted.
    Half,
    Nothing,
    /// It is not free.
    InVain,
}

/// Why code runs that is none of a lane's ordinary life: for each of a panic and a death a bit. A lock that was got in such
/// trouble is not left by it, but by what comes on top of it: a destructor may panic at the death of its lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble(u8);

impl Trouble {
    const NONE: Trouble = Trouble(0);

    pub(super) fn now() -> Trouble {
        let is_ending =
            |local: Option<&Local>| local.is_some_and(|local| local.current().is_none() && local.ending.is_some());
        Trouble(Trouble::of_panic().0 | u8::from(context::with_local(is_ending)) << 1)
    }

    /// In a lane's own turn nothing else can be.
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
        if !self.unlock_simply() {
            self.unlock();
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::testing::{runtime, spawn};

    #[test]
    fn who_comes_too_late_leaves_the_lock_to_whoever_has_it() {
        runtime().block_on(async {
            let core = POOL.take();
            let lane = spawn(async move {
                let place = Location::caller();
                let held = Owner::attempt(core, place, false).expect("it is free");
                let number = core.word().locking().expect("it is locked");
                assert!(Owner::attempt(core, place, true).is_none());
                assert!(Owner::attempt_in_full(core, place).is_none());
                assert!(Owner::attempt_outside(core, place).is_none());
                assert!(core.word().is_locked_as(number));
                drop(held);
                assert_eq!(core.word().locking(), None);
            });
            lane.finish().await;
        });
    }
}
