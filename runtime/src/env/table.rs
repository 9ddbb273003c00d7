//! The descriptors of a runtime: which there are, who owns them, which driver serves them.
//!
//! Owns: the table from keys to entries, the index from owners to ids, and the counters. Knows nothing of lanes but
//! their ids: that an owner is alive is for its caller to check.
//!
//! # Invariants
//! 1. A key's generations go up from 1; when they are used up the key is retired. Freed keys are reused in the order in
//!    which they were freed.
//! 2. An entry is in the index under exactly the owner that it names, from the end of `insert` or `dup_entry` until it is
//!    closed. Both change together, under the entry's owner lock.
//! 3. An entry is marked as closed under its owner lock, before anything of it is released, and by one caller only. Its
//!    key is freed then, or, where its source is registered under it, when the thing closes.
//! 4. Locks are taken in this order: an entry's owner, a shard of the index; the rest are taken alone. The wakers of a
//!    closed entry are woken when all are released.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};

use super::descriptor::{Descriptor, OnDrop};
use super::reactor::{Registrar, Token};
use super::readiness::{Busy, Ready};
use super::socket::Source;
use super::thing::{Bound, Entry, Thing};
use crate::alloc;
use crate::{Id, Namespace, StaleId};

/// The descriptors of one runtime.
pub struct Descriptors {
    table: RwLock<Table<Arc<Entry>>>,
    owners: Owners,
    registrars: Box<[Registrar]>,
    opened: AtomicU64,
    duplicated: AtomicU64,
    closed: AtomicU64,
    close_errors: AtomicU64,
}

/// How many descriptors there were and are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Opened since the start, by whatever way.
    pub opened: u64,
    /// Those of them that were opened by [`dup`](Descriptor::dup), on a thing that had a descriptor before.
    pub duplicated: u64,
    /// Closed since the start.
    pub closed: u64,
    /// Open now.
    pub open: u64,
    /// Errors on the way of closing; the descriptors were closed all the same.
    pub close_errors: u64,
}

/// What a release gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReleaseCount {
    /// Descriptors that were closed.
    pub descriptors: u64,
    /// Errors on the way.
    pub errors: u64,
}

impl Descriptors {
    /// A table whose ids are of `namespace`, served by the reactors of these registrars, numbered from 0.
    pub fn new(namespace: Namespace, registrars: impl IntoIterator<Item = Registrar>) -> Arc<Descriptors> {
        Descriptors::with_last_generation(namespace, registrars, NonZeroU16::MAX)
    }

    /// As `new`, with fewer generations to each key, so that a test can use them up.
    pub(crate) fn with_last_generation(
        namespace: Namespace,
        registrars: impl IntoIterator<Item = Registrar>,
        last_generation: NonZeroU16,
    ) -> Arc<Descriptors> {
        Arc::new(Descriptors {
            table: RwLock::new(Table::new(namespace, last_generation)),
            owners: Owners::default(),
            registrars: registrars.into_iter().collect(),
            opened: AtomicU64::new(0),
            duplicated: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            close_errors: AtomicU64::new(0),
        })
    }

    /// Opens a descriptor on `source`, owned by `owner`, served by the driver of that number. Dropping what this returns
    /// closes it.
    ///
    /// If `owner` is not the lane that calls, it may die meanwhile: check that it lives *after* this, and if it does
    /// not, call [`release_owner`](Descriptors::release_owner).
    ///
    /// # Errors
    ///
    /// The source cannot be registered, there is no such driver, or all keys are in use; the source is closed.
    pub fn insert(
        self: &Arc<Self>,
        source: impl Into<Source>,
        owner: Option<Id>,
        driver: usize,
    ) -> io::Result<Descriptor> {
        let registrar = self.registrar(driver)?;
        let mut source = source.into();
        let entry = self.table.write().insert_with(|id| Arc::new(Entry::new(id)));
        let entry = entry.ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, "all keys are in use"))?;
        self.opened.fetch_add(1, Ordering::Relaxed);

        // The entry is in the table by now, so that no event is missed.
        let registered = source.register(registrar, Token::of(entry.id));
        if let Err(error) = registered {
            self.close_entry(&entry, None);
            return Err(error);
        }
        *entry.thing.bound.write() = Some(Bound { source, driver });
        if let Err(stale) = self.give_first_owner(&entry, owner) {
            // It was perhaps closed before the source was in its place.
            let bound = entry.thing.bound.write().take();
            self.unbind(bound);
            return Err(stale.into());
        }
        Ok(Descriptor::new(Arc::clone(self), entry, OnDrop::CloseFor(owner)))
    }

    /// A further entry for the thing of `entry`.
    pub(crate) fn dup_entry(&self, entry: &Entry, owner: Option<Id>) -> io::Result<Arc<Entry>> {
        entry.count_another()?;
        let dup = self.table.write().insert_with(|id| Arc::new(Entry::of(id, Arc::clone(&entry.thing))));
        let Some(dup) = dup else {
            // What was counted may have become the last that holds the thing.
            self.leave(&entry.thing, None);
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "all keys are in use"));
        };
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.duplicated.fetch_add(1, Ordering::Relaxed);
        self.give_first_owner(&dup, owner)?;
        Ok(dup)
    }

    /// Enters a new entry's owner in the index.
    ///
    /// # Errors
    ///
    /// All were closed meanwhile.
    fn give_first_owner(&self, entry: &Entry, owner: Option<Id>) -> Result<(), StaleId> {
        let mut present = entry.owner.lock();
        if entry.is_closed() {
            return Err(StaleId(entry.id));
        }
        if let Some(owner) = owner {
            self.owners.insert(owner, entry.id);
        }
        *present = owner;
        Ok(())
    }

    /// The descriptor with this id, to be used by a lane that need not own it. Dropping what this returns closes nothing.
    ///
    /// # Errors
    ///
    /// It is closed.
    pub fn lookup(self: &Arc<Self>, id: Id) -> Result<Descriptor, StaleId> {
        let entry = self.find(id)?;
        Ok(Descriptor::new(Arc::clone(self), entry, OnDrop::Leave))
    }

    /// Takes over the descriptor with this id: [`transfer`](Descriptors::transfer) to `owner`, and a handle that closes it
    /// when dropped. The handle of the owner before leaves it open from now on.
    ///
    /// # Errors
    ///
    /// It is closed.
    pub fn adopt(self: &Arc<Self>, id: Id, owner: Id) -> Result<Descriptor, StaleId> {
        let entry = self.find(id)?;
        self.transfer_entry(&entry, owner)?;
        Ok(Descriptor::new(Arc::clone(self), entry, OnDrop::CloseFor(Some(owner))))
    }

    /// Closes the descriptor with this id, whoever owns it: the OS's handle is closed when this returns, and whoever waits
    /// on it is woken and finds it stale.
    ///
    /// # Errors
    ///
    /// It was closed before.
    pub fn close(&self, id: Id) -> Result<(), StaleId> {
        let entry = self.find(id)?;
        self.close_entry(&entry, None).map(drop).ok_or(StaleId(id))
    }

    /// Makes `owner` the owner of the descriptor with this id. Who waits on it goes on waiting.
    ///
    /// The new owner may die meanwhile: check that it lives *after* this, and if it does not, call
    /// [`release_owner`](Descriptors::release_owner).
    ///
    /// # Errors
    ///
    /// It is closed.
    pub fn transfer(&self, id: Id, owner: Id) -> Result<(), StaleId> {
        let entry = self.find(id)?;
        self.transfer_entry(&entry, owner)
    }

    /// What the lane with this id owns, in no order.
    pub fn owned_by(&self, lane: Id) -> Vec<Id> {
        self.owners.list(lane)
    }

    /// How many the lane with this id owns.
    pub(crate) fn count_of(&self, lane: Id) -> usize {
        self.owners.count(lane)
    }

    /// Closes all that the lane with this id owns, and says how much that was. Linear in that, however much is open.
    pub fn release_owner(&self, lane: Id) -> ReleaseCount {
        let mut count = ReleaseCount::default();
        for id in self.owners.take(lane) {
            // What has been closed or transferred since it was taken from the index is none of ours.
            if let Ok(entry) = self.find(id)
                && let Some(errors) = self.close_entry(&entry, Some(Some(lane)))
            {
                count.descriptors += 1;
                count.errors += errors;
            }
        }
        count
    }

    /// Closes all descriptors, as at the end of a runtime.
    pub fn close_all(&self) -> ReleaseCount {
        let mut count = ReleaseCount::default();
        let entries: Vec<Arc<Entry>> = self.table.read().tenants().cloned().collect();
        for entry in entries {
            if let Some(errors) = self.close_entry(&entry, None) {
                count.descriptors += 1;
                count.errors += errors;
            }
        }
        count
    }

    /// Has the descriptor with this id served by another driver from now on.
    ///
    /// No edge is lost: the new driver reports the present state.
    ///
    /// # Errors
    ///
    /// [`StaleId`] if it is closed; [`Busy`] if somebody waits on it, and nothing changed; or the OS's error, after which it is
    /// served by the driver as before, or, if even that failed, closed, and stale by its other ids.
    pub fn rebind(&self, id: Id, driver: usize) -> io::Result<()> {
        let registrar = self.registrar(driver)?;
        let entry = self.find(id)?;
        let thing = &entry.thing;
        let token = Token::of(thing.first);
        let mut guard = thing.bound.write();
        let Some(bound) = guard.as_mut() else { return Err(StaleId(id).into()) };
        if bound.driver == driver {
            return Ok(());
        }
        if thing.is_waited_for() {
            return Err(Busy.into());
        }
        let before = self.registrar(bound.driver)?;
        let source = &mut bound.source;
        // In this order: `mio` cannot have a source in two places at once.
        source.deregister(before)?;
        // A new tick, so that who tried before this cannot clear what the new driver reports.
        let _alive = thing.readiness.add(Ready::NONE);
        let Err(error) = source.register(registrar, token) else {
            bound.driver = driver;
            return Ok(());
        };
        if source.register(before, token).is_err() {
            // No driver serves it: who waits on it would wait for ever. Its other ids are of no use any more, either, and
            // are closed by those who have them.
            drop(guard);
            thing.end();
            self.close_entry(&entry, None);
        }
        Err(error)
    }

    /// The driver that serves the descriptor with this id.
    ///
    /// # Errors
    ///
    /// It is closed.
    pub fn driver_of(&self, id: Id) -> Result<usize, StaleId> {
        self.find(id)?.thing.bound.read().as_ref().map(|bound| bound.driver).ok_or(StaleId(id))
    }

    /// How many drivers there are.
    pub fn drivers(&self) -> usize {
        self.registrars.len()
    }

    /// The counters; while others open and close, they may be of slightly different moments.
    pub fn counts(&self) -> Counts {
        // ORDER: Relaxed: statistics, which order nothing. `closed` first, so that `open` is not taken below 0 by one that
        // was opened and closed between the two.
        let closed = self.closed.load(Ordering::Relaxed);
        let opened = self.opened.load(Ordering::Relaxed);
        let close_errors = self.close_errors.load(Ordering::Relaxed);
        let duplicated = self.duplicated.load(Ordering::Relaxed);
        Counts { opened, duplicated, closed, open: opened.saturating_sub(closed), close_errors }
    }

    /// Each open descriptor with the OS's number for its thing, where it has one: for tests that compare with what the OS lists.
    pub fn raw_fds(&self) -> Vec<(Id, i32)> {
        let entries: Vec<Arc<Entry>> = self.table.read().tenants().cloned().collect();
        let raw_fd = |entry: &Entry| entry.with_source(|source| Ok(source.raw_fd())).ok().flatten();
        entries.iter().filter_map(|entry| Some((entry.id, raw_fd(entry)?))).collect()
    }

    /// Makes ready what the events say, and adds to `wakers` those who waited for it. Gives the number of events that
    /// reached a descriptor that is open.
    pub(crate) fn deliver(&self, events: impl Iterator<Item = (Token, Ready)>, wakers: &mut Vec<Waker>) -> usize {
        let mut reached = 0;
        // One lock for the whole batch. Wakers are only moved under it.
        let table = self.table.read();
        for (token, ready) in events {
            if let Some(entry) = table.find(token.key(), token.generation())
                && entry.thing.readiness.add(ready)
            {
                reached += 1;
                entry.thing.take_waiters(ready, wakers);
            }
        }
        reached
    }

    fn find(&self, id: Id) -> Result<Arc<Entry>, StaleId> {
        let entry = self.table.read().lookup(id).cloned();
        entry.filter(|entry| entry.is_open()).ok_or(StaleId(id))
    }

    fn registrar(&self, driver: usize) -> io::Result<&Registrar> {
        self.registrars
            .get(driver)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("there is no driver {driver}")))
    }

    pub(crate) fn transfer_entry(&self, entry: &Entry, owner: Id) -> Result<(), StaleId> {
        let mut present = entry.owner.lock();
        if !entry.is_open() {
            return Err(StaleId(entry.id));
        }
        if let Some(before) = present.replace(owner) {
            self.owners.remove(before, entry.id);
        }
        self.owners.insert(owner, entry.id);
        Ok(())
    }

    /// Closes `entry`, if `only_of` is its owner or does not matter, and its thing, if this was the last. Gives the number
    /// of errors on the way; `None` if it did not close it.
    pub(crate) fn close_entry(&self, entry: &Entry, only_of: Option<Option<Id>>) -> Option<u64> {
        {
            let mut owner = entry.owner.lock();
            if only_of.is_some_and(|expected| *owner != expected) || !entry.mark_closed() {
                return None;
            }
            if let Some(lane) = owner.take() {
                self.owners.remove(lane, entry.id);
            }
        }
        // From here on every use of the id is stale, so nothing new begins; what has begun ends without blocking.
        let errors = self.leave(&entry.thing, Some(entry.id));
        self.closed.fetch_add(1, Ordering::Relaxed);
        let mut wakers = Vec::new();
        entry.take_own_waiters(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        Some(errors)
    }

    /// One of those that lead to `thing` does no more: its key is freed. The last one closes it. Gives the number of errors.
    fn leave(&self, thing: &Thing, id: Option<Id>) -> u64 {
        let is_last = thing.forget_entry();
        let mut errors = 0;
        if is_last {
            let _first = thing.readiness.kill();
            let bound = thing.bound.write().take();
            errors = self.unbind(bound);
        }
        // Only now may a key have its next tenant: events of this one could not reach it, but one who lists the OS's
        // handles would find two for one key.
        let own = id.filter(|id| *id != thing.first);
        let first = is_last.then_some(thing.first);
        let freed = {
            let mut table = self.table.write();
            [own, first].map(|id| table.remove(id?))
        };
        drop(freed);
        errors
    }

    /// Deregisters and closes. No lock is held.
    fn unbind(&self, bound: Option<Bound>) -> u64 {
        let Some(Bound { mut source, driver }) = bound else { return 0 };
        let deregistered = self.registrar(driver).and_then(|registrar| source.deregister(registrar));
        let errors = u64::from(deregistered.is_err());
        self.close_errors.fetch_add(errors, Ordering::Relaxed);
        errors
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptors").field("counts", &self.counts()).field("drivers", &self.drivers()).finish()
    }
}

/// Tenants by key and generation (invariant 1).
pub(crate) struct Table<T> {
    namespace: Namespace,
    last_generation: NonZeroU16,
    slots: Vec<Slot<T>>,
    free: VecDeque<u32>,
}

struct Slot<T> {
    /// Of the tenant, or, where there is none, of the next one; of the last one if the key is retired.
    generation: NonZeroU16,
    tenant: Option<T>,
}

impl<T> Table<T> {
    pub(crate) fn new(namespace: Namespace, last_generation: NonZeroU16) -> Table<T> {
        Table { namespace, last_generation, slots: Vec::new(), free: VecDeque::new() }
    }

    /// Puts in what `make` gives for the id, and gives a copy; `None` if all keys are in use. What `make` allocates is the
    /// caller's, the table all lanes'.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Id) -> T) -> Option<T>
    where
        T: Clone,
    {
        let key = match self.free.pop_front() {
            Some(key) => key,
            None => {
                let key = u32::try_from(self.slots.len()).ok()?;
                alloc::uncharged(|| self.slots.push(Slot { generation: NonZeroU16::MIN, tenant: None }));
                key
            }
        };
        let slot = &mut self.slots[key as usize];
        let tenant = make(Id::new(key, self.namespace, slot.generation));
        assert!(slot.tenant.replace(tenant.clone()).is_none(), "a free key has no tenant");
        Some(tenant)
    }

    pub(crate) fn lookup(&self, id: Id) -> Option<&T> {
        if id.namespace() == self.namespace { self.find(id.key(), id.generation().get()) } else { None }
    }

    pub(crate) fn find(&self, key: u32, generation: u16) -> Option<&T> {
        let slot = self.slots.get(key as usize)?;
        if slot.generation.get() == generation { slot.tenant.as_ref() } else { None }
    }

    /// Takes out the tenant with this id and frees its key, or retires it.
    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        self.lookup(id)?;
        let slot = &mut self.slots[id.key() as usize];
        let tenant = slot.tenant.take();
        if slot.generation < self.last_generation {
            slot.generation = slot.generation.saturating_add(1);
            alloc::uncharged(|| self.free.push_back(id.key()));
        }
        tenant
    }

    pub(crate) fn tenants(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.tenant.as_ref())
    }
}

/// Which descriptors each lane owns. A lane that owns none takes no room.
#[derive(Default)]
struct Owners {
    shards: [Mutex<Shard>; 16],
}

type Shard = HashMap<Id, IdSet, FixedState>;
type IdSet = HashSet<Id, FixedState>;

impl Owners {
    fn shard(&self, owner: Id) -> &Mutex<Shard> {
        // Keys are given out in order, so their low bits spread best.
        &self.shards[owner.key() as usize % self.shards.len()]
    }

    fn insert(&self, owner: Id, id: Id) {
        let mut shard = self.shard(owner).lock();
        alloc::uncharged(|| shard.entry(owner).or_default().insert(id));
    }

    fn remove(&self, owner: Id, id: Id) {
        let mut shard = self.shard(owner).lock();
        // A release may have taken the whole set before.
        if let Some(ids) = shard.get_mut(&owner) {
            ids.remove(&id);
            if ids.is_empty() {
                shard.remove(&owner);
            }
        }
    }

    fn take(&self, owner: Id) -> IdSet {
        self.shard(owner).lock().remove(&owner).unwrap_or_default()
    }

    fn count(&self, owner: Id) -> usize {
        self.shard(owner).lock().get(&owner).map_or(0, HashSet::len)
    }

    fn list(&self, owner: Id) -> Vec<Id> {
        self.shard(owner).lock().get(&owner).map(|ids| ids.iter().copied().collect()).unwrap_or_default()
    }
}

type FixedState = BuildHasherDefault<IdHasher>;

/// A hasher for ids without a seed, so that a run can be repeated. Ids are the runtime's own: nobody outside chooses them.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, bits: u64) {
        // The map takes its bits from both ends of the hash; the product's two halves give each of them all of ours.
        let product = u128::from(self.0 ^ bits) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
