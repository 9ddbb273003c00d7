//! Regions: one range of addresses for all items of a kind, so that an item's number and its address are a shift apart.
//!
//! Owns: [`Region`]. Knows nothing of what the items are.
//!
//! The range is reserved whole, which costs no memory, when the first item is wanted, and made usable in steps as it
//! fills. Where the system does not lend that many addresses (a limit on address space, some tools), a smaller range
//! is taken, and with it a smaller number of items can be.
//!
//! # Invariants
//! 1. `base` is set once, before `length` rises above 0, and never changes.
//! 2. All items below `length` are mapped, readable and writable, and stay so for ever. `length` only rises.
//! 3. An item that nobody wrote to is all zeroes.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use parking_lot::Mutex;

/// What is made usable at a time: as much as there is already, within these bounds.
const STEP: std::ops::RangeInclusive<usize> = (64 << 10)..=(64 << 20);
/// What is made usable at a time, and touched by the system, where every item is about to be used.
const EAGER_STEP: usize = 128 << 10;
/// What is reserved where less than everything is to be had, the first that is.
const MODEST: [usize; 4] = [16 << 30, 1 << 30, 128 << 20, 16 << 20];

/// Zeroed memory for items that are valid when all their bytes are zero. Never unmapped.
pub(crate) struct Region<T> {
    base: AtomicPtr<T>,
    /// Items that may be looked at.
    length: AtomicU32,
    /// Bytes that are reserved.
    reserved: Mutex<usize>,
    /// Items are fetched from the system ahead: for those that are small and used almost as soon as they are reached, for
    /// which a fault each page would cost more than all else.
    is_eager: bool,
    items: PhantomData<T>,
}

/// Types whose all-zero bytes are a valid value, and which may be shared between threads.
///
/// # Safety
/// Both must hold.
pub(crate) unsafe trait Zeroed: Sync {}

impl<T: Zeroed> Region<T> {
    pub(crate) const fn new() -> Region<T> {
        Region {
            base: AtomicPtr::new(ptr::null_mut()),
            length: AtomicU32::new(0),
            reserved: Mutex::new(0),
            is_eager: false,
            items: PhantomData,
        }
    }

    /// One whose items are fetched from the system a batch ahead.
    pub(crate) const fn eager() -> Region<T> {
        Region { is_eager: true, ..Region::new() }
    }

    /// The item at `index`, where there is one.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&'static T> {
        // ORDER: Acquire pairs with the Release in `reach`: who sees the length sees `base`, and the memory made usable.
        if index >= self.length.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: below `length`, as was seen just now.
        Some(unsafe { self.at_unchecked(index) })
    }

    /// The item at `index`.
    ///
    /// # Safety
    /// `index` is below `length`, and this thread knows it by something that was published after `reach`.
    #[inline]
    pub(crate) unsafe fn at_unchecked(&self, index: u32) -> &'static T {
        // SAFETY: written once, before whatever told the caller of `index` (invariant 1). A plain load, so that the compiler
        // may keep what it has loaded: it does not do so with an atomic one.
        let base = unsafe { *self.base.as_ptr() };
        // SAFETY: the caller's promise: within the reserved range.
        let item = unsafe { base.add(index as usize) };
        // SAFETY: invariant 2, and invariant 3 with the trait `Zeroed`.
        unsafe { &*item }
    }

    /// Where the item at `index` is, or would be.
    #[inline]
    pub(crate) fn address_of(&self, index: u32) -> *const T {
        // ORDER: Relaxed: nobody may look there by this alone.
        self.base.load(Ordering::Relaxed).wrapping_add(index as usize)
    }

    /// Whether the item is one of the region's.
    #[inline]
    pub(crate) fn has(&self, item: &'static T) -> bool {
        // ORDER: Relaxed: as in `index_of`; another item lies beyond the length, whatever it is just now.
        let bytes = ptr::from_ref(item).addr().wrapping_sub(self.base.load(Ordering::Relaxed).addr());
        bytes / size_of::<T>() < self.length.load(Ordering::Relaxed) as usize
    }

    /// The number of one of the region's items.
    #[inline]
    pub(crate) fn index_of(&self, item: &'static T) -> u32 {
        // ORDER: Relaxed: whoever has an item was told of it after `base` was set (invariant 1).
        let bytes = ptr::from_ref(item).addr() - self.base.load(Ordering::Relaxed).addr();
        (bytes / size_of::<T>()) as u32
    }

    /// Sees to it that there is an item at `index`; `None` where the range, or memory, is used up.
    pub(crate) fn reach(&self, index: u32) -> Option<&'static T> {
        if let Some(item) = self.at(index) {
            return Some(item);
        }
        let mut reserved = self.reserved.lock();
        if *reserved == 0 {
            let (base, bytes) = reserve((u32::MAX as usize + 1).checked_mul(size_of::<T>())?)?;
            // ORDER: Relaxed: `length` publishes it.
            self.base.store(base.cast().as_ptr(), Ordering::Relaxed);
            *reserved = bytes;
        }
        // ORDER: Relaxed: written under the lock that we hold.
        let usable = self.length.load(Ordering::Relaxed) as usize * size_of::<T>();
        let wanted = (index as usize + 1) * size_of::<T>();
        if wanted > usable {
            let step = if self.is_eager { EAGER_STEP } else { usable.clamp(*STEP.start(), *STEP.end()) };
            let length = (usable + step).max(wanted).next_multiple_of(*STEP.start()).min(*reserved);
            if length < wanted {
                return None;
            }
            let start = NonNull::new(self.base.load(Ordering::Relaxed))?;
            make_usable(start.cast(), usable, length).then_some(())?;
            if self.is_eager {
                let ahead = wanted.saturating_sub(EAGER_STEP).max(usable);
                fetch(start.cast(), ahead - ahead % *STEP.start(), length);
            }
            // ORDER: Release, see `at`. The last item of all has no number above it: one less is no loss.
            let items = u32::try_from(length / size_of::<T>()).unwrap_or(u32::MAX);
            self.length.store(items, Ordering::Release);
        }
        drop(reserved);
        self.at(index)
    }
}

/// Reserves `bytes` addresses, or fewer.
fn reserve(bytes: usize) -> Option<(NonNull<u8>, usize)> {
    std::iter::once(bytes).chain(MODEST.into_iter().filter(|fewer| *fewer < bytes)).find_map(|bytes| {
        // SAFETY: a fresh anonymous mapping at no particular address touches nothing that exists.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED { None } else { Some((NonNull::new(memory.cast())?, bytes)) }
    })
}

/// Makes the bytes `from..to` of a reserved range usable.
fn make_usable(start: NonNull<u8>, from: usize, to: usize) -> bool {
    let at = start.as_ptr().wrapping_add(from);
    // SAFETY: the pages are part of a range that `reserve` mapped and nobody uses yet.
    unsafe { libc::mprotect(at.cast(), to - from, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// Has the system give the bytes `from..to` of a usable range memory at once. Where it does not, it does so at their first use.
fn fetch(start: NonNull<u8>, from: usize, to: usize) {
    #[cfg(target_os = "linux")]
    {
        let at = start.as_ptr().wrapping_add(from);
        // SAFETY: the pages are part of a usable range; what is in them stays.
        let _ = unsafe { libc::madvise(at.cast(), to - from, libc::MADV_POPULATE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, from, to);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    static NUMBERS: Region<[AtomicU64; 2]> = Region::new();

    #[test]
    fn items_are_there_once_they_were_reached_and_stay_where_they_are() {
        assert!(NUMBERS.at(0).is_none());
        let first = NUMBERS.reach(0).unwrap();
        first[1].store(7, Ordering::Relaxed);
        for index in [1, 4095, 4096, 5000, 1 << 20] {
            let item = NUMBERS.reach(index).unwrap();
            assert_eq!(ptr::from_ref(item).addr(), ptr::from_ref(first).addr() + index as usize * 16);
            assert_eq!(item[0].load(Ordering::Relaxed), 0);
        }
        assert_eq!(NUMBERS.at(0).unwrap()[1].load(Ordering::Relaxed), 7);
        assert_eq!(NUMBERS.index_of(NUMBERS.at(5000).unwrap()), 5000);
        assert!(NUMBERS.at(u32::MAX).is_none());
    }
}
