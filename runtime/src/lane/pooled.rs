//! [`Pooled`]: a value in memory from the lanes' pools, where a `Box` would go to the allocator.
//!
//! What one lane makes and another takes apart, as the notice of a death, is most often freed on another core than the
//! one that made it. The pools pass such memory on in chains; the system's allocator takes a lock for each.
//!
//! # Invariants
//! 1. `place` is memory of the layout of `T` from `memory::allocate`, holds a `T`, and is this value's alone.

use std::alloc::Layout;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::memory;

/// A value in memory from the lanes' pools; in all else as a `Box`.
///
/// ```
/// # use laneway_runtime::lane::Pooled;
/// let mut number = Pooled::new(41);
/// *number += 1;
/// assert_eq!(number.into_inner(), 42);
/// ```
pub struct Pooled<T>(NonNull<T>);

// SAFETY: invariant 1: as for a `Box`, who has it has the value.
unsafe impl<T: Send> Send for Pooled<T> {}
// SAFETY: as above; a shared reference to it gives one to the value.
unsafe impl<T: Sync> Sync for Pooled<T> {}

impl<T> Pooled<T> {
    /// Puts a value in memory of its own.
    pub fn new(value: T) -> Pooled<T> {
        let place = memory::allocate(Layout::new::<T>()).cast::<T>();
        // SAFETY: fresh memory of the layout of `T`.
        unsafe { place.write(value) };
        Pooled(place)
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        let pooled = ManuallyDrop::new(self);
        // SAFETY: invariant 1; the memory is released below, and the value is not dropped in it.
        let value = unsafe { pooled.0.read() };
        // SAFETY: invariant 1; nothing in it is used again.
        unsafe { memory::release(pooled.0.cast(), Layout::new::<T>()) };
        value
    }
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: invariant 1.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: invariant 1.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Pooled<T> {
    // Never: where there may be one and as a rule is none, to see that is all that is inlined.
    #[inline(never)]
    fn drop(&mut self) {
        /// Frees the memory also where the value's destructor panics.
        struct Release<T>(NonNull<T>);
        impl<T> Drop for Release<T> {
            fn drop(&mut self) {
                // SAFETY: invariant 1; what was in it is dropped.
                unsafe { memory::release(self.0.cast(), Layout::new::<T>()) }
            }
        }
        let release = Release(self.0);
        // SAFETY: invariant 1, for the last time.
        unsafe { release.0.drop_in_place() }
    }
}

impl<T: Default> Default for Pooled<T> {
    fn default() -> Pooled<T> {
        Pooled::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_value_comes_out_or_is_dropped_once() {
        let witness = Arc::new(());
        drop(Pooled::new((witness.clone(), [0_u8; 100])));
        drop(Pooled::new(witness.clone()).into_inner());
        drop(Pooled::new((witness.clone(), [0_u8; 2000])));
        assert_eq!(Arc::strong_count(&witness), 1);
        let mut nothing = Pooled::new(());
        *nothing = ();
    }
}
