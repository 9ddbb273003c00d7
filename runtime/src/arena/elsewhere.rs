//! Blocks of a heap that were freed where its lane does not run, until the lane takes them.
//!
//! Owns: the list's head. The list goes through the blocks, which `heap.rs` writes and reads.
//!
//! Nobody takes less than the whole list, so no block can leave it and come back while somebody looks at it.
//!
//! # Invariants
//! 1. A block belongs to the list from `push` until the `take_all` that gets it.

use crate::shim::{AtomicPtr, Ordering};

/// A list of blocks, the last first.
#[derive(Debug)]
pub(crate) struct Elsewhere<T>(AtomicPtr<T>);

impl<T> Elsewhere<T> {
    pub(crate) fn new() -> Elsewhere<T> {
        Elsewhere(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Puts a block on the list; `link` writes in it which one comes next, each time it is told.
    pub(crate) fn push(&self, block: *mut T, mut link: impl FnMut(*mut T)) {
        // ORDER: Relaxed: it is compared, and published by the exchange.
        let mut next = self.0.load(Ordering::Relaxed);
        loop {
            link(next);
            // ORDER: Release pairs with the Acquire in `take_all`: the link, and all that was done with the block. Those below go
            // the same way: the exchanges are one release sequence.
            match self.0.compare_exchange_weak(next, block, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => next = now,
            }
        }
    }

    /// Takes all of them: the first, or null.
    pub(crate) fn take_all(&self) -> *mut T {
        // ORDER: Acquire, see `push`.
        self.0.swap(std::ptr::null_mut(), Ordering::Acquire)
    }
}
