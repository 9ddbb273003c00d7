//! Who has which chunks: those in use, and the free ones of each worker and of all. Exact at the limit.
//!
//! Owns: [`Stock`]. Knows nothing of memory: chunks are names here, and a [`Source`] maps them and gives their pages back.
//!
//! A chunk is in somebody's hands, or **warm**: free, with its pages, or **cold**: an address without pages. A warm one is in
//! the cache of a worker or with those of all; cold ones are with those of all.
//!
//! # The limit
//!
//! Two numbers stand for memory. `used` is what is in hands, and decides alone who is refused, by one compare-and-swap: a
//! request fails only where `used` and it were more than the limit in that very moment. `resident` is what has pages, and
//! never passes the limit either: whoever needs fresh pages cools warm chunks, of whatever class and whichever worker,
//! until there is room.
//!
//! He finds enough of them. A chunk is counted in `used` before it leaves a list and after it is back in one, or cold;
//! so `resident` is at most `used` and the warm ones. His own request is in `used`, which is within the limit. So where
//! there is no room yet, there are warm chunks for as much; if others move them meanwhile from where he has not looked to
//! where he has, he looks again.
//!
//! A request by force, see `take`, is not refused: then both may pass the limit, and until `used` is back below it all
//! others are refused.
//!
//! # Invariants
//! 1. A chunk is in one list, or in one pair of hands.
//! 2. `resident` is changed under the lock of all, before a chunk's pages come and after they have gone.
//! 3. The locks of caches are taken alone, or within the lock of all.

use crate::shim::{AtomicU64, Mutex, Ordering, spin, uncharged};

use super::class::{CLASSES, class_of, size_of};

/// Classes whose chunks are kept warm: up to 256 KiB.
const WARM_CLASSES: usize = 7;
/// Classes of which workers keep some, up to 64 KiB, and how much of each.
const CACHED_CLASSES: usize = 5;
const CACHED: u64 = 64 << 10;

/// How many chunks of a class a worker keeps.
const fn cached(class: usize) -> usize {
    (CACHED / size_of(class)) as usize
}

/// Where chunks come from.
pub(crate) trait Source<C> {
    /// Addresses for one or more chunks of a class, without pages; `None` where there are no more.
    fn map(&self, class: usize) -> Option<Vec<C>>;

    /// Gives back the pages of a chunk.
    fn cool(&self, chunk: C, bytes: u64);
}

/// Why no chunk is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The limit: so much would have been left.
    Limit { available: u64 },
    /// The system has no more memory, or no more addresses.
    System,
}

/// Free chunks, and counts of all.
#[derive(Debug)]
pub(crate) struct Stock<C> {
    limit: u64,
    /// What all may keep warm between them, besides the caches.
    kept_max: u64,
    used: AtomicU64,
    refused: AtomicU64,
    common: Mutex<Common<C>>,
    caches: Box<[Cache<C>]>,
}

#[derive(Debug)]
struct Common<C> {
    resident: u64,
    /// What is in `warm`, in bytes.
    kept: u64,
    /// What was given back to the system, in bytes, since the beginning.
    cooled: u64,
    warm: [Vec<C>; WARM_CLASSES],
    cold: [Vec<C>; CLASSES],
    /// Chunks of each class, wherever they are: a list with so much room never grows.
    mapped: [usize; CLASSES],
}

/// A worker's own warm chunks, by class.
#[derive(Debug)]
#[repr(align(128))]
struct Cache<C>(Mutex<[Vec<C>; CACHED_CLASSES]>);

/// As of one moment, as far as one look tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) used: u64,
    /// What has pages: what is used, and what is warm.
    pub(crate) resident: u64,
    pub(crate) cooled: u64,
    pub(crate) refused: u64,
}

impl<C: Copy> Stock<C> {
    /// The most that is kept warm, by all and by workers.
    pub(crate) fn most_kept(&self) -> u64 {
        self.kept_max + (self.caches.len() * CACHED_CLASSES) as u64 * CACHED
    }

    pub(crate) fn new(limit: u64, kept_max: u64, workers: usize) -> Stock<C> {
        let common = Common {
            resident: 0,
            kept: 0,
            cooled: 0,
            warm: [const { Vec::new() }; WARM_CLASSES],
            cold: [const { Vec::new() }; CLASSES],
            mapped: [0; CLASSES],
        };
        Stock {
            limit,
            kept_max,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            common: Mutex::new(common),
            caches: (0..workers)
                .map(|_| Cache(Mutex::new(std::array::from_fn(|class| Vec::with_capacity(cached(class))))))
                .collect(),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn level(&self) -> Level {
        let common = self.common.lock();
        // ORDER: Acquire, so that who looks after a chunk was given finds it given.
        let used = self.used.load(Ordering::Acquire);
        let refused = self.refused.load(Ordering::Relaxed);
        Level { used, resident: common.resident, cooled: common.cooled, refused }
    }

    /// A chunk of `bytes`, which are whole pages; for the worker with that cache. By `force` the limit does not count.
    pub(crate) fn take(
        &self,
        source: &impl Source<C>,
        worker: Option<usize>,
        bytes: u64,
        force: bool,
    ) -> Result<C, Refused> {
        if let Err(available) = self.admit(bytes, force) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Limit { available });
        }
        let class = class_of(bytes);
        // One of odd length is never warm: it may not have all pages of its class.
        let is_whole = bytes == size_of(class);
        if is_whole && let Some(chunk) = self.take_cached(worker, class) {
            return Ok(chunk);
        }
        loop {
            let mut common = self.common.lock();
            if is_whole && let Some(chunk) = common.warm.get_mut(class).and_then(Vec::pop) {
                common.kept -= bytes;
                return Ok(chunk);
            }
            while common.resident.saturating_add(bytes) > self.limit && self.cool_one(source, &mut common) {}
            if force || common.resident.saturating_add(bytes) <= self.limit {
                let Some(chunk) = common.take_cold(source, class) else {
                    drop(common);
                    self.release(bytes);
                    return Err(Refused::System);
                };
                common.resident += bytes;
                return Ok(chunk);
            }
            drop(common);
            spin();
        }
    }

    /// Takes back a chunk that was taken with so many bytes.
    pub(crate) fn give(&self, source: &impl Source<C>, worker: Option<usize>, chunk: C, bytes: u64) {
        let class = class_of(bytes);
        if bytes != size_of(class) || !self.keep(worker, class, chunk) {
            source.cool(chunk, bytes);
            let mut common = self.common.lock();
            common.resident -= bytes;
            common.cooled += bytes;
            common.cold[class].push(chunk);
        }
        self.release(bytes);
    }

    /// Counts `bytes` as used, or says how much there would be.
    fn admit(&self, bytes: u64, force: bool) -> Result<(), u64> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let available = self.limit.saturating_sub(used);
            if available < bytes && !force {
                return Err(available);
            }
            // ORDER: Acquire pairs with the Release in `release`: what was given back before is in a list, or cold, for us.
            match self.used.compare_exchange_weak(used, used + bytes, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => used = now,
            }
        }
    }

    fn release(&self, bytes: u64) {
        // ORDER: Release, see `admit`.
        self.used.fetch_sub(bytes, Ordering::Release);
    }

    fn take_cached(&self, worker: Option<usize>, class: usize) -> Option<C> {
        let cache = self.caches.get(worker?)?;
        if class >= CACHED_CLASSES {
            return None;
        }
        cache.0.lock()[class].pop()
    }

    /// Keeps a chunk warm if there is a place for it.
    fn keep(&self, worker: Option<usize>, class: usize, chunk: C) -> bool {
        if class < CACHED_CLASSES
            && let Some(cache) = worker.and_then(|worker| self.caches.get(worker))
        {
            let own = &mut cache.0.lock()[class];
            if own.len() < cached(class) {
                own.push(chunk);
                return true;
            }
        }
        if class >= WARM_CLASSES {
            return false;
        }
        let mut common = self.common.lock();
        if common.kept + size_of(class) > self.kept_max {
            return false;
        }
        common.kept += size_of(class);
        common.warm[class].push(chunk);
        true
    }

    /// Cools one warm chunk, the longest that is found; false where none is.
    fn cool_one(&self, source: &impl Source<C>, common: &mut Common<C>) -> bool {
        let of_all = (0..WARM_CLASSES).rev().find_map(|class| Some((class, common.warm[class].pop()?)));
        let found = match of_all {
            Some((class, chunk)) => {
                common.kept -= size_of(class);
                Some((class, chunk))
            }
            None => self.caches.iter().find_map(|cache| {
                let mut own = cache.0.lock();
                (0..CACHED_CLASSES).rev().find_map(|class| Some((class, own[class].pop()?)))
            }),
        };
        let Some((class, chunk)) = found else { return false };
        source.cool(chunk, size_of(class));
        common.resident -= size_of(class);
        common.cooled += size_of(class);
        common.cold[class].push(chunk);
        true
    }
}

impl<C: Copy> Common<C> {
    /// An address for a chunk.
    fn take_cold(&mut self, source: &impl Source<C>, class: usize) -> Option<C> {
        if let Some(chunk) = self.cold[class].pop() {
            return Some(chunk);
        }
        // The room stays with the vat, whoever needed the one that was too many.
        uncharged(|| self.map(source, class))?;
        self.cold[class].pop()
    }

    fn map(&mut self, source: &impl Source<C>, class: usize) -> Option<()> {
        let fresh = source.map(class)?;
        self.mapped[class] += fresh.len();
        let all = self.mapped[class];
        // All of the class fit in either: what gives a chunk back never allocates.
        if let Some(warm) = self.warm.get_mut(class) {
            warm.reserve(all - warm.len());
        }
        self.cold[class].reserve(all);
        self.cold[class].extend(fresh);
        Some(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
