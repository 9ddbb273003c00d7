//! The memory of a vat: regions of addresses, cut into chunks, and their pages.
//!
//! Owns: [`Mapping`], the only place that maps memory for chunks and takes it away. Knows nothing of limits.
//!
//! Pages come when they are first touched, and go by `madvise`; the addresses stay until the vat is dropped. Regions of small
//! chunks take no huge pages, which would make a chunk of 4 KiB cost 2 MiB.
//!
//! # Invariants
//! 1. A region is mapped, readable and writable, from `map` until the `Mapping` is dropped.
//! 2. A [`Start`] is that of a chunk within a region, and chunks of one mapping do not overlap.

use std::ptr::{self, NonNull};

use parking_lot::Mutex;

use super::class::size_of;
use super::stock::Source;

/// The least region.
const REGION: u64 = 1 << 20;
/// The length of a huge page.
const HUGE: u64 = 2 << 20;

/// Where a chunk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start(NonNull<u8>);

// SAFETY: an address, which owns nothing.
unsafe impl Send for Start {}
// SAFETY: as above.
unsafe impl Sync for Start {}

impl Start {
    pub(crate) fn pointer(self) -> NonNull<u8> {
        self.0
    }
}

/// Regions of a vat.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    regions: Mutex<Vec<(Start, usize)>>,
}

impl Source<Start> for Mapping {
    fn map(&self, class: usize) -> Option<Vec<Start>> {
        let chunk = usize::try_from(size_of(class)).ok()?;
        let length = usize::try_from(size_of(class).max(REGION)).ok()?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at no particular address touches nothing that exists.
        let memory = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        let region = Start(NonNull::new(memory.cast())?);
        #[cfg(target_os = "linux")]
        if size_of(class) < HUGE {
            // SAFETY: advice on pages that are ours alone. Where the system does not take it, they cost more than is counted.
            unsafe { libc::madvise(memory, length, libc::MADV_NOHUGEPAGE) };
        }
        let chunks: Vec<Start> = (0..length / chunk)
            .rev()
            .map(|number| {
                // SAFETY: within the region that was mapped just now.
                Start(unsafe { region.0.add(number * chunk) })
            })
            .collect();
        for start in &chunks {
            poison(*start, chunk);
        }
        self.regions.lock().push((region, length));
        Some(chunks)
    }

    /// Nothing of what was in the chunk is left. Where pages are longer than 4 KiB, as on some ARM, the system takes only whole
    /// ones: the others stay with us, as all do that are locked in memory.
    fn cool(&self, chunk: Start, bytes: u64) {
        let Ok(length) = usize::try_from(bytes) else { return };
        // SAFETY: the pages are those of a free chunk (invariant 2), which nobody reads before it is written again.
        let result = unsafe { libc::madvise(chunk.0.as_ptr().cast(), length, libc::MADV_DONTNEED) };
        if result != 0 {
            unpoison(chunk, length);
            // SAFETY: as above.
            unsafe { fill(chunk, length, 0) };
            poison(chunk, length);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        for (region, length) in self.regions.get_mut().drain(..) {
            unpoison(region, length);
            // SAFETY: mapped by `map` with this length; who drops the vat has all its chunks back (`vat.rs`, invariant 1).
            unsafe { libc::munmap(region.0.as_ptr().cast(), length) };
        }
    }
}

/// Writes `byte` over a chunk.
///
/// # Safety
/// The chunk is the caller's, and has `length` bytes.
pub(crate) unsafe fn fill(chunk: Start, length: usize, byte: u8) {
    // SAFETY: the caller's promise.
    unsafe { chunk.0.write_bytes(byte, length) };
}

/// Tells the address sanitizer, where the program has one, that nobody may touch these bytes. For memory of chunks alone.
#[inline(always)]
pub(crate) fn poison(start: Start, length: usize) {
    #[cfg(laneway_asan)]
    asan::poison(start.0, length);
    #[cfg(not(laneway_asan))]
    let _ = (start, length);
}

/// Takes that back.
#[inline(always)]
pub(crate) fn unpoison(start: Start, length: usize) {
    #[cfg(laneway_asan)]
    asan::unpoison(start.0, length);
    #[cfg(not(laneway_asan))]
    let _ = (start, length);
}

/// As [`poison`] and [`unpoison`], by pointer.
pub(crate) fn poison_at(start: NonNull<u8>, length: usize) {
    poison(Start(start), length);
}

/// As [`unpoison`], by pointer.
#[inline(always)]
pub(crate) fn unpoison_at(start: NonNull<u8>, length: usize) {
    unpoison(Start(start), length);
}

/// With `--cfg laneway_asan`, which `ci/asan.sh` sets beside the sanitizer itself: no stable `cfg` tells of one.
#[cfg(laneway_asan)]
mod asan {
    use std::ffi::c_void;
    use std::ptr::NonNull;

    unsafe extern "C" {
        fn __asan_poison_memory_region(start: *const c_void, length: usize);
        fn __asan_unpoison_memory_region(start: *const c_void, length: usize);
    }

    pub(super) fn poison(start: NonNull<u8>, length: usize) {
        // SAFETY: marks in the sanitizer's own memory; nothing is accessed.
        unsafe { __asan_poison_memory_region(start.as_ptr().cast(), length) };
    }

    pub(super) fn unpoison(start: NonNull<u8>, length: usize) {
        // SAFETY: as above.
        unsafe { __asan_unpoison_memory_region(start.as_ptr().cast(), length) };
    }
}
