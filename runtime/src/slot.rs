//! Slots and the tables they live in: memory that an id's key names for as long as the process lives.
//!
//! Owns: [`Slot`] (what one lane is to the scheduler and to senders), [`Table`] (the slots of one namespace, their reuse
//! and their retirement) and the list of all tables. The slots of all tables lie in one [`Region`].
//! Knows nothing of queues, of what a mailbox holds or of what a lane does.
//!
//! # Invariants
//! 1. A pointer to a slot stays valid for ever; its atomics may be read at any time by anyone, with any stale key.
//! 2. [`Slot::own`] is touched only by whoever holds `RUNNING` of `word` (see `lane/word.rs`), or by the spawner
//!    before it queues the lane for the first time, or by whoever has woken the lane and not queued it yet ([`Woken`]).
//! 3. A slot is in at most one free list, and only while it is dead or its worker is about to say so: who finds a lane
//!    dead finds its slot free.
//! 4. A generation is used by one tenant only. After 65 535 the slot is retired: no free list holds it ever again.
//! 5. A page whose slots are all retired may be zeroed at any time: a zeroed slot has generation 0, which no id bears,
//!    and is dead.

use std::alloc::{Layout, handle_alloc_error};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};
use std::num::NonZeroU16;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::alloc;
use crate::id::{Id, Namespace};
use crate::lane::frame::{Frame, LaneType};
use crate::lane::memory;
use crate::lane::own::Own;
use crate::lane::word::{LaneWord, OnWake};
use crate::region::{Region, Zeroed};
use crate::sched::Scheduler;
use crate::wait_graph::record::Record;
use crate::wait_graph::word::WaitWord;

const PAGE: usize = 4096;
/// Messages with which a lane still profits from waiting: a quarter of a mailbox of the default bound.
const COLLECTED_MAX: u32 = 256;

/// The slots of all tables. An id's namespace says which table it means, and the slot says which table it is of.
static SLOTS: Region<Slot> = Region::new();

// SAFETY: an array of atomics of which each is zero.
unsafe impl<const N: usize> Zeroed for [AtomicU64; N] {}

/// What one lane is to those who send to it, wake it and run it.
///
/// The first cache line is everybody's, the second the owner's.
#[repr(C, align(128))]
pub(crate) struct Slot {
    /// The life-cycle and the mailbox.
    pub(crate) word: LaneWord,
    /// The bits of the present or the last tenant's id; before the first one's, those of key and namespace.
    id: AtomicU64,
    /// How to poll, drop and type-check the present tenant.
    kind: AtomicPtr<LaneType>,
    table: AtomicPtr<Table>,
    /// The mailbox's bound.
    pub(crate) bound: AtomicU32,
    /// Whether messages gather while the lane waits for its turn (see [`Slot::note_taken`]).
    collects: AtomicBool,
    /// Whether somebody may have a copy of the lane's waker whom the runtime does not know (see `lane/waker.rs`).
    pub(crate) lent: AtomicBool,
    /// The bits of the parent's id, 0 for none.
    parent: AtomicU64,
    spawned_at: AtomicPlace,
    /// Whether the lane waits for another (see `wait_graph.rs`).
    pub(crate) waits: WaitWord,
    /// How many times the lane has handed something out in which a port could be (see `wait_graph/note.rs`).
    pub(crate) handed_out: AtomicU32,
    own: OwnCell,
}

/// Something that stays for ever, and which of it several threads look at.
#[derive(Debug)]
pub(crate) struct AtomicStatic<T: 'static>(AtomicPtr<T>);

/// A place in the source.
pub(crate) type AtomicPlace = AtomicStatic<Location<'static>>;

impl<T> Default for AtomicStatic<T> {
    fn default() -> AtomicStatic<T> {
        AtomicStatic::empty()
    }
}

impl<T> AtomicStatic<T> {
    pub(crate) const fn empty() -> AtomicStatic<T> {
        AtomicStatic(AtomicPtr::new(ptr::null_mut()))
    }
}

impl<T: Sync> AtomicStatic<T> {
    #[inline]
    pub(crate) fn load(&self, order: Ordering) -> Option<&'static T> {
        let item = NonNull::new(self.0.load(order))?;
        // SAFETY: only references for ever are stored.
        Some(unsafe { item.as_ref() })
    }

    #[inline]
    pub(crate) fn store(&self, item: &'static T, order: Ordering) {
        self.0.store(ptr::from_ref(item).cast_mut(), order);
    }

    /// Stores it where nothing is: what is there then.
    pub(crate) fn store_first(&self, item: &'static T) -> &'static T {
        let new = ptr::from_ref(item).cast_mut();
        // ORDER: AcqRel: what is stored was made before, for whoever loads it.
        match self.0.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => item,
            // SAFETY: only references for ever are stored, and what is there is not null.
            Err(there) => unsafe { &*there },
        }
    }

    /// Stores it, or nothing.
    pub(crate) fn set(&self, item: Option<&'static T>, order: Ordering) {
        self.0.store(pointer_to(item), order);
    }

    /// Stores `new` where `current` is; else gives what is there.
    pub(crate) fn exchange(
        &self,
        current: Option<&'static T>,
        new: Option<&'static T>,
    ) -> Result<(), Option<&'static T>> {
        // ORDER: AcqRel: what is stored was made before, for whoever loads it.
        let there = self.0.compare_exchange(pointer_to(current), pointer_to(new), Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: only references for ever are stored.
        there.map(drop).map_err(|there| unsafe { there.as_ref() })
    }

    /// Takes out what is there.
    pub(crate) fn take(&self) -> Option<&'static T> {
        // ORDER: AcqRel, as in `exchange`. SAFETY: only references for ever are stored.
        unsafe { self.0.swap(ptr::null_mut(), Ordering::AcqRel).as_ref() }
    }

    #[inline]
    pub(crate) fn clear(&self, order: Ordering) {
        self.0.store(ptr::null_mut(), order);
    }
}

fn pointer_to<T>(item: Option<&'static T>) -> *mut T {
    item.map_or(ptr::null_mut(), |item| ptr::from_ref(item).cast_mut())
}

#[repr(align(64))]
struct OwnCell(UnsafeCell<Own>);

const _: () = assert!(size_of::<Slot>() == 128, "a slot is two cache lines");

// SAFETY: all fields but `own` are atomics, and `own` is reached under invariant 2 only.
unsafe impl Sync for Slot {}

// SAFETY: zero is a closed mailbox of generation 0, a dead state, no wait, null pointers, and `Own` says so of itself.
unsafe impl Zeroed for Slot {}

// SAFETY: atomics, each of which may be zero: a number, ids' bits and marks, and pointers to no place and no lock.
unsafe impl Zeroed for Record {}

/// A slot, wherever it is kept.
pub(crate) type SlotRef = &'static Slot;

/// Whether two are the same slot.
pub(crate) fn is_same(one: SlotRef, other: SlotRef) -> bool {
    ptr::eq(one, other)
}

/// A place for a slot that several threads look at.
#[derive(Debug)]
pub(crate) struct AtomicSlot(AtomicPtr<Slot>);

impl AtomicSlot {
    pub(crate) const fn empty() -> AtomicSlot {
        AtomicSlot(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn load(&self, order: Ordering) -> Option<SlotRef> {
        let slot = NonNull::new(self.0.load(order))?;
        // SAFETY: only `SlotRef`s are stored.
        Some(unsafe { slot.as_ref() })
    }

    #[inline]
    pub(crate) fn store(&self, slot: Option<SlotRef>, order: Ordering) {
        self.0.store(slot.map_or(ptr::null_mut(), |slot| ptr::from_ref(slot).cast_mut()), order);
    }
}

impl Slot {
    pub(crate) fn key(&self) -> u32 {
        // ORDER: Relaxed, here and in `table`: written before the slot's first generation was published, and the same ever
        // since.
        self.id.load(Ordering::Relaxed) as u32
    }

    #[inline]
    pub(crate) fn table(&self) -> Option<&'static Table> {
        let table = NonNull::new(self.table.load(Ordering::Relaxed))?;
        // SAFETY: tables are leaked on purpose (`Tables::take`), so the pointer is valid for ever.
        Some(unsafe { table.as_ref() })
    }

    /// Whether it is one of this table's.
    #[inline]
    pub(crate) fn is_of(&self, table: &'static Table) -> bool {
        ptr::eq(self.table.load(Ordering::Relaxed), table)
    }

    /// The id of the present tenant; `None` where there is none.
    pub(crate) fn id(&self) -> Option<Id> {
        let generation = self.word.generation();
        // ORDER: Relaxed: published by `open`, whose generation was seen above. That of a later tenant does not match.
        Id::from_bits(self.id.load(Ordering::Relaxed)).filter(|id| id.generation().get() == generation)
    }

    /// As [`Slot::id`], also that of a tenant that is ending: for whoever holds `RUNNING`, or checks that it lives.
    #[inline]
    pub(crate) fn tenant(&self) -> Option<Id> {
        Id::from_bits(self.id.load(Ordering::Relaxed))
    }

    /// The bits of [`Slot::tenant`], for whoever runs it: they are an id's.
    #[inline]
    pub(crate) fn tenant_bits(&self) -> u64 {
        // ORDER: Relaxed: whoever runs the lane was handed it after this was written.
        self.id.load(Ordering::Relaxed)
    }

    /// The lane has got so many messages with its turn. One that got some is better off to wait behind the others again:
    /// a turn for several messages costs little more than one for a single message. One that got a great many is
    /// better off to be soon at it, before its mailbox is full.
    #[inline]
    pub(crate) fn note_taken(&self, count: u32) {
        // ORDER: Relaxed: a hint, written by whoever runs the lane.
        self.collects.store((2..=COLLECTED_MAX).contains(&count), Ordering::Relaxed);
    }

    /// Whether the lane should wait behind the others when a message wakes it.
    #[inline]
    pub(crate) fn collects(&self) -> bool {
        self.collects.load(Ordering::Relaxed)
    }

    /// Whether `id` is that of the present or the last tenant.
    #[inline]
    pub(crate) fn is_or_was(&self, id: Id) -> bool {
        self.id.load(Ordering::Relaxed) == id.to_bits()
    }

    pub(crate) fn kind(&self) -> Option<&'static LaneType> {
        // ORDER: Acquire: pairs with `set_kind`. Who needs it to belong to a generation checks that afterwards.
        let kind = NonNull::new(self.kind.load(Ordering::Acquire))?;
        // SAFETY: only `&'static LaneType`s are stored.
        Some(unsafe { kind.as_ref() })
    }

    pub(crate) fn set_kind(&self, kind: &'static LaneType) {
        self.kind.store(ptr::from_ref(kind).cast_mut(), Ordering::Release);
    }

    /// The lane that spawned the tenant. Not checked: who must be sure looks at the id again afterwards.
    pub(crate) fn parent(&self) -> Option<Id> {
        // ORDER: Acquire, here and below: pairs with the Release in `publish`. Who reads what is a later tenant's finds
        // afterwards that the earlier one is gone.
        Id::from_bits(self.parent.load(Ordering::Acquire))
    }

    /// Where the tenant was spawned.
    pub(crate) fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.spawned_at.load(Ordering::Acquire)
    }

    /// Has the processor fetch the slot, which is about to be needed.
    pub(crate) fn prefetch(&self) {
        memory::prefetch_lines(ptr::from_ref(self).cast(), size_of::<Slot>());
    }

    /// What the slot keeps for its owner.
    ///
    /// # Safety
    /// The caller holds `RUNNING` of this slot, has allocated it and not published it yet, or has woken it and not queued
    /// it yet (invariant 2), and lets the reference end before it calls anything that may ask for another.
    #[expect(clippy::mut_from_ref, reason = "the caller owns the cell by the lane's word, not by a borrow")]
    pub(crate) unsafe fn own(&self) -> &mut Own {
        // SAFETY: the caller's promise excludes every other reference.
        unsafe { &mut *self.own.0.get() }
    }
}

/// A lane that was woken and is in no queue yet: its holder alone may queue it.
#[must_use]
pub(crate) struct Woken(SlotRef);

impl Woken {
    /// Wakes whoever lives in a slot; `None` where there is nothing to queue.
    pub(crate) fn wake(slot: SlotRef) -> Option<Woken> {
        (slot.word.wake() == OnWake::Schedule).then_some(Woken(slot))
    }

    /// Has the processor fetch the lane's future.
    pub(crate) fn prefetch(&self) {
        // SAFETY: invariant 2: the lane is woken and in no queue, so nobody runs it before our holder queues it.
        let own = unsafe { self.0.own() };
        own.frame.iter().for_each(Frame::prefetch);
    }

    /// The lane, which must now be queued.
    pub(crate) fn into_slot(self) -> SlotRef {
        self.0
    }
}

/// A slot that was taken from the free list: its holder alone may make it a lane.
#[must_use]
pub(crate) struct Vacant(SlotRef);

/// A lane that has its id, can be sent to and killed, and has no future yet, so that it is in no queue.
#[must_use]
pub(crate) struct Unborn {
    slot: SlotRef,
    pub(crate) id: Id,
    /// Ends the lane should it never be born.
    abandon: fn(SlotRef, Id),
}

impl Vacant {
    /// Publishes the lane's id. What is sent to it from now on waits for it; `abandon` ends it should it not be born.
    pub(crate) fn publish(
        self,
        kind: &'static LaneType,
        bound: u32,
        parent: Option<Id>,
        spawned_at: &'static Location<'static>,
        abandon: fn(SlotRef, Id),
    ) -> Option<Unborn> {
        let slot = self.0;
        slot.word.wait_until_released();
        let generation = NonZeroU16::new(slot.word.next_generation())?;
        let id = Id::new(slot.key(), slot.table()?.namespace, generation);
        // ORDER: Relaxed where a store says so: all of it is published by `open`. Release for what others read before they
        // look at the word once more.
        slot.set_kind(kind);
        slot.id.store(id.to_bits(), Ordering::Relaxed);
        slot.bound.store(bound, Ordering::Relaxed);
        slot.collects.store(false, Ordering::Relaxed);
        slot.parent.store(parent.map_or(0, Id::to_bits), Ordering::Release);
        slot.spawned_at.store(spawned_at, Ordering::Release);
        slot.lent.store(false, Ordering::Relaxed);
        slot.handed_out.store(0, Ordering::Relaxed);
        // The lane counts as scheduled from now on, so nobody else queues it.
        slot.word.open(generation.get());
        Some(Unborn { slot, id, abandon })
    }
}

impl Unborn {
    /// The lane's id.
    pub(crate) fn known_id(&self) -> KnownId {
        KnownId(self.id)
    }

    /// Gives the lane its owner's half; it must now be queued.
    pub(crate) fn born(self, own: Own) -> SlotRef {
        let slot = ManuallyDrop::new(self).slot;
        // SAFETY: invariant 3: no other free list holds the slot; and nobody runs it, as only who queues it lets it
        // run, and that is our caller.
        let old = mem::replace(unsafe { slot.own() }, own);
        // Its death took out all that there was to drop. The compiler does not know that.
        mem::forget(old);
        slot
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        (self.abandon)(self.slot, self.id);
    }
}

/// The slots of one namespace.
pub(crate) struct Table {
    pub(crate) namespace: Namespace,
    free: Mutex<Free>,
    /// The runtime that runs the lanes; `None` while no runtime uses the table.
    scheduler: RwLock<Option<Arc<Scheduler>>>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

struct Free {
    keys: VecDeque<u32>,
    /// Keys that were taken and neither given back nor retired.
    out: u32,
}

/// Slots that move between a worker and its table at a time, in a runtime that may have so many lanes. With a low
/// limit no worker keeps free slots to itself, or the others would meet the limit too early.
pub(crate) const fn batch(max_lanes: u32) -> u32 {
    if max_lanes < 1 << 16 { 1 } else { 256 }
}

impl Table {
    /// The scheduler that runs the lanes of this table.
    pub(crate) fn scheduler(&self) -> Option<Arc<Scheduler>> {
        self.scheduler.read().clone()
    }

    /// Runs `f` with it, of which no share is made that could be the last. `f` must take no lock of the table.
    pub(crate) fn with_scheduler<R>(&self, f: impl FnOnce(&Scheduler) -> R) -> Option<R> {
        self.scheduler.read().as_deref().map(f)
    }

    pub(crate) fn set_scheduler(&self, scheduler: Option<Arc<Scheduler>>) {
        let old = mem::replace(&mut *self.scheduler.write(), scheduler);
        drop(old);
    }

    /// The slot with this key, where it is one of the table's.
    pub(crate) fn at(&self, key: u32) -> Option<SlotRef> {
        slot_of_namespace(key, self.namespace)
    }

    /// The slot of a key that the caller took by [`Table::allocate`].
    pub(crate) fn vacant(&self, key: u32) -> Option<Vacant> {
        self.at(key).map(Vacant)
    }

    /// The slots that the table has ever used.
    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotRef> {
        let fresh = *FRESH.lock();
        (0..fresh).filter_map(|key| self.at(key))
    }

    /// Takes up to `most` free keys, the longest free first; fresh ones where none is free. No more than `max_keys` are
    /// out at a time.
    pub(crate) fn allocate(&'static self, keys: &mut VecDeque<u32>, most: u32, max_keys: u32) {
        let mut free = self.free.lock();
        let most = most.min(max_keys.saturating_sub(free.out));
        let known = free.keys.len().min(most as usize);
        keys.extend(free.keys.drain(..known));
        free.out += known as u32;
        if known == 0 {
            let mut fresh = FRESH.lock();
            let first = *fresh;
            for key in first..first.saturating_add(most) {
                let Some(slot) = SLOTS.reach(key) else { return };
                slot.id.store(u64::from(key) | u64::from(self.namespace.number()) << 32, Ordering::Relaxed);
                slot.table.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
                slot.word.prepare();
                keys.push_back(key);
                *fresh = key + 1;
                free.out += 1;
            }
        }
    }

    /// Gives keys back.
    pub(crate) fn give_back(&self, keys: impl Iterator<Item = u32>) {
        let mut free = self.free.lock();
        let before = free.keys.len();
        free.keys.extend(keys);
        free.out -= (free.keys.len() - before) as u32;
    }

    /// A key that was taken is not given back, as its slot will be retired.
    pub(crate) fn forget_key(&self) {
        self.free.lock().out -= 1;
    }

    /// The slot's generations are used up: it is never used again. Its key was forgotten before.
    pub(crate) fn retire(slot: SlotRef) {
        let page = ptr::from_ref(slot).addr() / PAGE;
        let mut retired = RETIRED_IN_PAGE.lock();
        let count = retired.entry(page).or_insert(0);
        *count += 1;
        if usize::from(*count) == PAGE / size_of::<Slot>() {
            retired.remove(&page);
            // SAFETY: it reads a constant of the system. Where its pages are larger than ours (some ARM machines), zeroing
            // one would take living slots along.
            if unsafe { libc::sysconf(libc::_SC_PAGESIZE) } != PAGE as libc::c_long {
                return;
            }
            let start = ptr::from_ref(slot).map_addr(|address| address / PAGE * PAGE).cast_mut();
            // SAFETY: the page lies within the region of slots (which begins with a page), it stays mapped and reads as
            // zeros from now on, and invariant 5 says that this is sound while others look at it.
            unsafe { libc::madvise(start.cast(), PAGE, libc::MADV_DONTNEED) };
        }
    }
}

/// One more than the largest key ever used.
static FRESH: Mutex<u32> = Mutex::new(0);

/// How many slots there are in the process.
pub(crate) fn made() -> u32 {
    *FRESH.lock()
}

static RETIRED_IN_PAGE: Mutex<hashbrown::HashMap<usize, u8, rustc_hash::FxBuildHasher>> =
    Mutex::new(hashbrown::HashMap::with_hasher(rustc_hash::FxBuildHasher));

/// All tables of the process, by namespace.
struct Tables {
    by_namespace: Box<[AtomicPtr<Table>]>,
    idle: Mutex<IdleTables>,
}

struct IdleTables {
    tables: Vec<&'static Table>,
    next_namespace: u16,
}

/// The first namespace of lanes; those below name other local things.
const FIRST_LANES: u16 = 1;

static TABLES: OnceLock<Tables> = OnceLock::new();

fn tables() -> &'static Tables {
    TABLES.get_or_init(|| Tables {
        by_namespace: (0..Namespace::FIRST_PEER).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
        idle: Mutex::new(IdleTables { tables: Vec::new(), next_namespace: FIRST_LANES }),
    })
}

/// A namespace that no table, and nothing else of this process, has had; `None` when all local ones are used up.
pub(crate) fn fresh_namespace() -> Option<Namespace> {
    let mut idle = tables().idle.lock();
    let number = idle.next_namespace;
    if number >= Namespace::FIRST_PEER {
        return None;
    }
    idle.next_namespace += 1;
    Namespace::new(number)
}

/// A table for a new runtime: one that an ended runtime left, whose generations go on, or a new one.
pub(crate) fn take_table() -> Option<&'static Table> {
    let left = tables().idle.lock().tables.pop();
    left.or_else(new_table)
}

fn new_table() -> Option<&'static Table> {
    let namespace = fresh_namespace()?;
    let table: &'static Table = Box::leak(Box::new(Table {
        namespace,
        free: Mutex::new(Free { keys: VecDeque::new(), out: 0 }),
        scheduler: RwLock::new(None),
    }));
    // ORDER: Release publishes the table; pairs with the Acquire of `slot_of`.
    tables().by_namespace[usize::from(namespace.number())].store(ptr::from_ref(table).cast_mut(), Ordering::Release);
    Some(table)
}

/// Leaves a table, all of whose lanes are dead, for the next runtime.
pub(crate) fn leave_table(table: &'static Table) {
    table.set_scheduler(None);
    tables().idle.lock().tables.push(table);
}

/// The slot that an id names, whoever lives in it now; `None` for peers, for other things than lanes and for keys
/// that were never used.
#[inline]
pub(crate) fn slot_of(id: Id) -> Option<SlotRef> {
    slot_of_namespace(id.key(), id.namespace())
}

/// The slot of the number that an id has, by its bits, whatever it is the id of: for a hint.
#[inline]
pub(crate) fn at_key_of(bits: u64) -> Option<SlotRef> {
    SLOTS.at(bits as u32)
}

/// An id that is a peer's or was a lane's here, whose slot is found without a look whether there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KnownId(Id);

impl KnownId {
    /// `None` where the id is no peer's and names no slot.
    pub(crate) fn of(id: Id) -> Option<KnownId> {
        (id.namespace().is_peer() || slot_of(id).is_some()).then_some(KnownId(id))
    }

    #[inline]
    pub(crate) fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// # Safety
    /// They are those of a known id.
    #[inline]
    pub(crate) unsafe fn from_bits(bits: u64) -> KnownId {
        // SAFETY: those of an id, which has the same form.
        KnownId(unsafe { mem::transmute::<u64, Id>(bits) })
    }

    /// Of a lane that once was here and is gone.
    pub(crate) fn of_gone(id: Id) -> Option<KnownId> {
        is_past(id).then_some(KnownId(id))
    }

    #[inline]
    pub(crate) fn id(self) -> Id {
        self.0
    }

    /// The slot, whoever lives in it now; `None` for peers.
    #[inline]
    pub(crate) fn slot(self) -> Option<SlotRef> {
        if self.0.namespace().is_peer() {
            return None;
        }
        // SAFETY: an id is given out after its slot was reached, and is passed on by ways that publish: the slot was found
        // when this was made. Its namespace never changes, so it is the id's.
        Some(unsafe { SLOTS.at_unchecked(self.0.key()) })
    }
}

#[inline]
fn slot_of_namespace(key: u32, namespace: Namespace) -> Option<SlotRef> {
    let slot = SLOTS.at(key)?;
    // ORDER: Relaxed: the namespace of a slot never changes. One that is not written yet, or not any more, is 0.
    let of = (slot.id.load(Ordering::Relaxed) >> 32) as u16;
    (of == namespace.number()).then_some(slot)
}

/// Whether the id names a lane that once was and is gone.
pub(crate) fn is_past(id: Id) -> bool {
    match slot_of(id) {
        Some(slot) => slot.word.is_past(id.generation().get()),
        // Of a page whose slots are all retired nothing is left but zeroes.
        None => {
            let zeroed = SLOTS.at(id.key()).is_some_and(|slot| slot.id.load(Ordering::Relaxed) == 0);
            zeroed && id.key() < *FRESH.lock() && table_of(id.namespace()).is_some()
        }
    }
}

/// The table of a namespace of lanes.
pub(crate) fn table_of(namespace: Namespace) -> Option<&'static Table> {
    let table = TABLES.get()?.by_namespace.get(usize::from(namespace.number()))?;
    let table = NonNull::new(table.load(Ordering::Acquire))?;
    // SAFETY: tables are leaked on purpose.
    Some(unsafe { table.as_ref() })
}

/// Memory for `layout`, for which no lane pays, or the process ends as it does for `Box`.
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() != 0, "a future's layout is that of a byte at least");
    // SAFETY: the size is not zero, as was checked just now.
    let memory = alloc::uncharged(|| unsafe { std::alloc::alloc(layout) });
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests;
