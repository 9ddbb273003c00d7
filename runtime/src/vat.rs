//! The vat: where the arenas of lanes have their chunks from, under the limit of arenas of the runtime.
//!
//! Owns: [`Vat`], one a runtime, and [`Chunk`]. Who has which chunk is `stock.rs`'s business, and their memory that of
//! `mapping.rs`. Knows nothing of lanes and of what lies in chunks.
//!
//! A chunk is whole pages, of a power of two of them or of as many as were asked for. Those of a power of two, up to 64 KiB,
//! go through a cache of the worker; what a lane on it gives back, the next one takes, while it is warm.
//!
//! # What goes back to the system, and when
//!
//! | chunk | when its pages go |
//! | --- | --- |
//! | of odd length, or longer than 256 KiB | as it is given back |
//! | of 4 to 64 KiB | it stays with the worker, 64 KiB of each length; then with those of all |
//! | with those of all | as it is given back where 16 MiB, or an eighth of the limit, are there already |
//! | free, wherever it is | when somebody needs its pages for another length and the limit is reached |
//! | any | when the runtime is gone, and the last lane's memory with it |
//!
//! No timer is in it: what is kept is bounded, and counts as `cached`.
//!
//! # Invariants
//! 1. An arena has the vat for as long as it has a chunk of it, so the mapping outlives all chunks in hands.
//! 2. A chunk is one owner's alone from `take` to `give`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::alloc;
use crate::context;
use crate::metrics::Metrics;

pub(crate) mod class;
pub(crate) mod mapping;
pub(crate) mod stock;

use mapping::{Mapping, Start};
pub(crate) use stock::{Level, Refused};

/// What is kept warm at all.
const KEPT_LONGEST: u64 = 256 << 10;
/// What all keep warm between them, where the limit allows eight times as much.
const KEPT_MAX: u64 = 16 << 20;

/// The chunks of a runtime.
#[derive(Debug)]
pub(crate) struct Vat {
    stock: stock::Stock<Start>,
    mapping: Mapping,
    pub(crate) quarantine: Quarantine,
}

/// Arenas that are left of lanes which are dead, and the bytes of their chunks.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    arenas: AtomicU64,
    bytes: AtomicU64,
}

impl Quarantine {
    /// What there was of a lane is now so much.
    pub(crate) fn change(&self, (arenas, bytes): (u64, u64), (new_arenas, new_bytes): (u64, u64)) {
        // ORDER: Relaxed: counts, which order nothing. What is added wraps where it is less, and the sum is right.
        self.arenas.fetch_add(new_arenas.wrapping_sub(arenas), Ordering::Relaxed);
        self.bytes.fetch_add(new_bytes.wrapping_sub(bytes), Ordering::Relaxed);
    }

    /// Arenas and bytes.
    pub(crate) fn count(&self) -> (u64, u64) {
        (self.arenas.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Memory in somebody's hands: to be given back to the vat that it is of.
#[derive(Debug)]
#[must_use = "a chunk that is dropped is lost to the vat"]
pub(crate) struct Chunk {
    start: Start,
    bytes: u64,
}

impl Chunk {
    pub(crate) fn start(&self) -> Start {
        self.start
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// As an address length; `class.rs` has no chunk that has none.
    pub(crate) fn length(&self) -> usize {
        self.bytes as usize
    }
}

impl Vat {
    /// For so many workers, each of which may keep some chunks to itself.
    pub(crate) fn new(limit: Option<u64>, workers: usize) -> Arc<Vat> {
        let limit = limit.unwrap_or(u64::MAX);
        let stock = stock::Stock::new(limit, KEPT_MAX.min(limit / 8), workers);
        Arc::new(Vat { stock, mapping: Mapping::default(), quarantine: Quarantine::default() })
    }

    /// What may be in hands together.
    pub(crate) fn limit(&self) -> u64 {
        self.stock.limit()
    }

    /// Adds what is known here.
    pub(crate) fn count(&self, metrics: Metrics) -> Metrics {
        let level = self.level();
        let (arenas_quarantined, arena_bytes_quarantined) = self.quarantine.count();
        Metrics {
            arena_bytes: level.used,
            arena_bytes_cached: level.resident.saturating_sub(level.used),
            arena_bytes_returned: level.cooled,
            arena_refusals: level.refused,
            arenas_quarantined,
            arena_bytes_quarantined,
            ..metrics
        }
    }

    /// The most that is kept while it is in nobody's hands.
    pub(crate) fn most_kept(&self) -> u64 {
        self.stock.most_kept()
    }

    /// What is in hands, and what is kept.
    pub(crate) fn level(&self) -> Level {
        self.stock.level()
    }

    /// A chunk of `bytes`, which are whole pages (`class::in_pages`). What is in it is anybody's guess. By `force` the limit
    /// does not count.
    pub(crate) fn take(&self, bytes: u64, force: bool) -> Result<Chunk, Refused> {
        // What grows here is for all lanes.
        let start = alloc::uncharged(|| self.stock.take(&self.mapping, self.worker(), bytes, force))?;
        let chunk = Chunk { start, bytes };
        mapping::unpoison(start, chunk.length());
        Ok(chunk)
    }

    /// Takes a chunk back; by `wipe` with nothing left in it.
    pub(crate) fn give(&self, chunk: Chunk, wipe: bool) {
        // One that is longer than what is kept loses its pages, of which many may have never been touched.
        if (wipe || cfg!(debug_assertions)) && chunk.bytes <= KEPT_LONGEST {
            let byte = if wipe { 0 } else { 0xDD };
            mapping::unpoison(chunk.start, chunk.length());
            // SAFETY: invariant 2: it is the caller's, who has given it up to us.
            unsafe { mapping::fill(chunk.start, chunk.length(), byte) };
        }
        mapping::poison(chunk.start, chunk.length());
        self.stock.give(&self.mapping, self.worker(), chunk.start, chunk.bytes);
    }

    /// The cache that is ours.
    fn worker(&self) -> Option<usize> {
        context::with_local(|local| {
            local.filter(|local| std::ptr::eq(&*local.scheduler.vat, self)).map(|local| local.index)
        })
    }
}

#[cfg(test)]
mod tests;
