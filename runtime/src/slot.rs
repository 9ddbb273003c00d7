//! Slots and the tables they live in: memory that an id's key names for as long as the process lives.
//!
//! Owns: [`Region`] (chunks of zeroed memory that are never unmapped), [`Slot`] (what one lane is to the scheduler and
//! to senders), [`Table`] (the slots of one namespace, their reuse and their retirement) and the list of all tables.
//! Knows nothing of queues, of what a mailbox holds or of what a lane does.
//!
//! # Invariants
//! 1. A pointer to a slot stays valid for ever; its atomics may be read at any time by anyone, with any stale key.
//! 2. [`Slot::own`] is touched only by whoever holds `RUNNING` of `state` (see `lane/state.rs`), or by the spawner
//!    before it queues the lane for the first time.
//! 3. A slot is in at most one free list, and only while it is dead.
//! 4. A generation is used by one tenant only. After 65 535 the slot is retired: no free list holds it ever again.
//! 5. A page whose slots are all retired may be zeroed at any time: a zeroed slot has generation 0, which no id bears,
//!    and is dead.

use std::alloc::{Layout, handle_alloc_error};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZeroU16;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::id::{Id, Namespace};
use crate::lane::frame::LaneType;
use crate::lane::own::Own;
use crate::lane::state::State;
use crate::mailbox::word::MailboxWord;
use crate::sched::Scheduler;

const PAGE: usize = 4096;
/// Items in the first chunk of a region, as a power of two; each further chunk doubles what there is.
const FIRST_CHUNK_BITS: u32 = 10;
const CHUNKS: usize = (u32::BITS - FIRST_CHUNK_BITS) as usize + 1;

/// Chunks of zeroed memory for items that are valid when all their bytes are zero. Never unmapped.
pub(crate) struct Region<T> {
    chunks: [AtomicPtr<T>; CHUNKS],
    grow: Mutex<()>,
    items: PhantomData<T>,
}

impl<T: Zeroed> Region<T> {
    pub(crate) const fn new() -> Region<T> {
        Region { chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS], grow: Mutex::new(()), items: PhantomData }
    }

    /// Chunk, place in it, and length of the chunk that item `index` is in.
    fn place(index: u32) -> (usize, usize, usize) {
        // The first chunk holds 2^10 items, the next 2^10, then 2^11, 2^12 …
        let bits = u32::BITS - (index >> FIRST_CHUNK_BITS).leading_zeros();
        let start = if bits == 0 { 0 } else { 1usize << (FIRST_CHUNK_BITS + bits - 1) };
        (bits as usize, index as usize - start, start.max(1 << FIRST_CHUNK_BITS))
    }

    /// The item at `index`, where its chunk is there.
    pub(crate) fn at(&self, index: u32) -> Option<&'static T> {
        let (chunk, place, _) = Region::<T>::place(index);
        // ORDER: Acquire pairs with the Release in `reach`, which publishes the zeroed chunk.
        let chunk = NonNull::new(self.chunks[chunk].load(Ordering::Acquire))?;
        // SAFETY: `place` is below the chunk's length, by the arithmetic above.
        let item = unsafe { chunk.add(place) };
        // SAFETY: a chunk is never unmapped, and its zeroed bytes are a valid `T` (trait `Zeroed`).
        Some(unsafe { item.as_ref() })
    }

    /// Sees to it that `index` has its chunk.
    pub(crate) fn reach(&self, index: u32) -> Option<&'static T> {
        if let Some(item) = self.at(index) {
            return Some(item);
        }
        let (chunk, _, length) = Region::<T>::place(index);
        let _growing = self.grow.lock();
        if self.chunks.get(chunk)?.load(Ordering::Acquire).is_null() {
            let memory = map_zeroed(length.checked_mul(size_of::<T>())?)?;
            self.chunks[chunk].store(memory.cast().as_ptr(), Ordering::Release);
        }
        self.at(index)
    }
}

/// Types whose all-zero bytes are a valid value, and which may be shared between threads.
///
/// # Safety
/// Both must hold.
pub(crate) unsafe trait Zeroed: Sync {}

// SAFETY: an array of atomics of which each is zero.
unsafe impl<const N: usize> Zeroed for [AtomicU64; N] {}

fn map_zeroed(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: a fresh anonymous mapping at no particular address touches nothing that exists.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED { None } else { NonNull::new(memory.cast()) }
}

/// What one lane is to those who send to it, wake it and run it.
///
/// The first cache line is everybody's, the second the owner's.
#[repr(C, align(128))]
pub(crate) struct Slot {
    /// The mailbox.
    pub(crate) word: MailboxWord,
    /// The life-cycle.
    pub(crate) state: State,
    /// How to poll, drop and type-check the present tenant.
    kind: AtomicPtr<LaneType>,
    /// The mailbox's bound.
    pub(crate) bound: AtomicU32,
    key: AtomicU32,
    table: AtomicPtr<Table>,
    /// The bits of the parent's id, 0 for none.
    parent: AtomicU64,
    spawned_at: AtomicPtr<Location<'static>>,
    own: OwnCell,
}

#[repr(align(64))]
struct OwnCell(UnsafeCell<Own>);

const _: () = assert!(size_of::<Slot>() == 128, "a slot is two cache lines");

// SAFETY: all fields but `own` are atomics, and `own` is reached under invariant 2 only.
unsafe impl Sync for Slot {}

// SAFETY: zero is a closed mailbox of generation 0, a dead state, null pointers, and `Own` says so of itself.
unsafe impl Zeroed for Slot {}

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
        // ORDER: Relaxed, here and in `table`: written once, before the slot's first generation was published.
        self.key.load(Ordering::Relaxed)
    }

    pub(crate) fn table(&self) -> Option<&'static Table> {
        let table = NonNull::new(self.table.load(Ordering::Relaxed))?;
        // SAFETY: tables are leaked on purpose (`Tables::take`), so the pointer is valid for ever.
        Some(unsafe { table.as_ref() })
    }

    /// The id of the present tenant; `None` where there is none.
    pub(crate) fn id(&self) -> Option<Id> {
        let generation = NonZeroU16::new(self.word.generation())?;
        Some(Id::new(self.key(), self.table()?.namespace, generation))
    }

    /// As [`Slot::id`]; also that of a tenant that is about to end and whose mailbox has closed.
    pub(crate) fn tenant(&self) -> Option<Id> {
        Some(Id::new(self.key(), self.table()?.namespace, self.state.tenant()?))
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
        Id::from_bits(self.parent.load(Ordering::Relaxed))
    }

    /// Where the tenant was spawned.
    pub(crate) fn spawned_at(&self) -> Option<&'static Location<'static>> {
        let place = NonNull::new(self.spawned_at.load(Ordering::Relaxed))?;
        // SAFETY: only `&'static` places are stored.
        Some(unsafe { place.as_ref() })
    }

    /// What the slot keeps for its owner.
    ///
    /// # Safety
    /// The caller holds `RUNNING` of this slot or has allocated it and not published it yet (invariant 2), and lets
    /// the reference end before it calls anything that may ask for another.
    #[expect(clippy::mut_from_ref, reason = "the caller owns the cell by the state word, not by a borrow")]
    pub(crate) unsafe fn own(&self) -> &mut Own {
        // SAFETY: the caller's promise excludes every other reference.
        unsafe { &mut *self.own.0.get() }
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
        let generation = NonZeroU16::new(slot.word.next_generation())?;
        let id = Id::new(slot.key(), slot.table()?.namespace, generation);
        // ORDER: Relaxed where a store says so: all of it is published by `open`.
        slot.set_kind(kind);
        slot.bound.store(bound, Ordering::Relaxed);
        slot.parent.store(parent.map_or(0, Id::to_bits), Ordering::Relaxed);
        slot.spawned_at.store(ptr::from_ref(spawned_at).cast_mut(), Ordering::Relaxed);
        // `revive` comes first: who gets through the mailbox's generation must find a state that can be raised. The
        // lane counts as scheduled from now on, so nobody else queues it.
        slot.state.revive(generation.get());
        slot.word.open(generation.get());
        Some(Unborn { slot, id, abandon })
    }
}

impl Unborn {
    /// Gives the lane its owner's half; it must now be queued.
    pub(crate) fn born(self, own: Own) -> SlotRef {
        let slot = ManuallyDrop::new(self).slot;
        // SAFETY: invariant 3: no other free list holds the slot; and nobody runs it, as only who queues it lets it
        // run, and that is our caller.
        *unsafe { slot.own() } = own;
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
    slots: Region<Slot>,
    free: Mutex<Free>,
    retired_in_page: Mutex<hashbrown::HashMap<usize, AtomicU8, rustc_hash::FxBuildHasher>>,
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
    fresh: u32,
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

    pub(crate) fn set_scheduler(&self, scheduler: Option<Arc<Scheduler>>) {
        let old = std::mem::replace(&mut *self.scheduler.write(), scheduler);
        drop(old);
    }

    pub(crate) fn at(&self, key: u32) -> Option<SlotRef> {
        self.slots.at(key)
    }

    /// The slot of a key that the caller took by [`Table::allocate`].
    pub(crate) fn vacant(&self, key: u32) -> Option<Vacant> {
        self.slots.at(key).map(Vacant)
    }

    /// One more than the largest key ever used.
    pub(crate) fn highest(&self) -> u32 {
        self.free.lock().fresh
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
            let first = free.fresh;
            for key in first..first.saturating_add(most) {
                let Some(slot) = self.slots.reach(key) else { return };
                slot.key.store(key, Ordering::Relaxed);
                slot.table.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
                // A zeroed word has generation 0: the first tenant gets 1.
                slot.word.close(1);
                keys.push_back(key);
                free.fresh = key + 1;
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

    /// The slot's generations are used up: it is never used again.
    pub(crate) fn retire(&self, slot: SlotRef) {
        self.free.lock().out -= 1;
        let page = ptr::from_ref(slot).addr() / PAGE;
        let mut retired = self.retired_in_page.lock();
        let count = retired.entry(page).or_insert(AtomicU8::new(0));
        *count.get_mut() += 1;
        if usize::from(*count.get_mut()) == PAGE / size_of::<Slot>() {
            retired.remove(&page);
            // SAFETY: it reads a constant of the system. Where its pages are larger than ours (some ARM machines), zeroing
            // one would take living slots along.
            if unsafe { libc::sysconf(libc::_SC_PAGESIZE) } != PAGE as libc::c_long {
                return;
            }
            let start = ptr::from_ref(slot).map_addr(|address| address / PAGE * PAGE).cast_mut();
            // SAFETY: the page lies within one chunk of ours (chunks are whole pages), it stays mapped and reads as
            // zeros from now on, and invariant 5 says that this is sound while others look at it.
            unsafe { libc::madvise(start.cast(), PAGE, libc::MADV_DONTNEED) };
        }
    }
}

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
        slots: Region::new(),
        free: Mutex::new(Free { keys: VecDeque::new(), fresh: 0, out: 0 }),
        retired_in_page: Mutex::default(),
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
pub(crate) fn slot_of(id: Id) -> Option<SlotRef> {
    table_of(id.namespace())?.at(id.key())
}

/// The table of a namespace of lanes.
pub(crate) fn table_of(namespace: Namespace) -> Option<&'static Table> {
    let table = TABLES.get()?.by_namespace.get(usize::from(namespace.number()))?;
    let table = NonNull::new(table.load(Ordering::Acquire))?;
    // SAFETY: tables are leaked on purpose.
    Some(unsafe { table.as_ref() })
}

/// Memory for `layout`, or the process ends as it does for `Box`.
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() != 0, "a future's layout is that of a byte at least");
    // SAFETY: the size is not zero, as was checked just now.
    let memory = unsafe { std::alloc::alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_one_place() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            let (chunk, place, length) = Region::<Slot>::place(index);
            assert_eq!((chunk, place), expected, "{index}");
            expected = if place + 1 == length { (chunk + 1, 0) } else { (chunk, place + 1) };
        }
        assert!(Region::<Slot>::place(u32::MAX).0 < CHUNKS);
    }

    #[test]
    fn a_namespace_is_given_out_once() {
        let a = fresh_namespace().unwrap();
        let b = fresh_namespace().unwrap();
        assert_ne!(a, b);
        assert!(!a.is_peer());
    }

    #[test]
    fn a_page_of_retired_slots_reads_as_dead() {
        let table = new_table().unwrap();
        let mut keys = VecDeque::new();
        table.allocate(&mut keys, 256, u32::MAX);
        let per_page = (PAGE / size_of::<Slot>()) as u32;
        for key in 0..per_page {
            let slot = table.at(key).unwrap();
            slot.word.close(9);
            table.retire(slot);
        }
        let slot = table.at(0).unwrap();
        assert_eq!((slot.word.next_generation(), slot.id()), (0, None));
        assert_eq!(table.at(per_page).unwrap().word.next_generation(), 1);
    }
}
