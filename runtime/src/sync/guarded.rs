//! The one cell that hands out `&mut T` under a green lock.
//!
//! Owns: [`Guarded`], the cell, and [`Access`], what a guard is made of: a hold of the lock, and the way to the cell. Knows
//! nothing of how one comes to hold a lock.
//!
//! # Invariants
//! 1. A hold, which [opens](Opens) its lock, is made when the lock was got, and gives it back when it is dropped, not
//!    before. It is neither copied nor made of nothing: its makers, `owner.rs` and `sharing.rs`, see to that. While a hold
//!    that [excludes](Excludes) is there, no other hold of the same lock is.
//! 2. An `Access` has a hold of the lock that its home is guarded by, for as long as it lives: who makes one has just got the
//!    hold of that home, and neither is replaced. Homes lead to the same cell all their life.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ptr;

use crate::wait_graph::note::hands_out;

/// What a lock guards.
#[derive(Debug, Default)]
pub(crate) struct Guarded<T: ?Sized>(UnsafeCell<T>);

// SAFETY: who has a reference to the cell gets to the value only by an `Access`, and to `&mut T` only by one that excludes
// all others (invariants 1 and 2); so it goes from thread to thread as `T` itself would. What gives several threads `&T`
// at a time, as a read-write lock, is not `Sync` by this alone: it has a marker for it.
unsafe impl<T: ?Sized + Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Guarded<T> {
        Guarded(UnsafeCell::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Guarded<T> {
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

/// A share in a lock, given back when it is dropped.
pub(crate) trait Opens {
    /// Where the lock's lasting part is.
    fn of(&self) -> *const ();
}

/// A hold beside which there is no other.
pub(crate) trait Excludes: Opens {}

/// A lock as its guards keep it: by reference, or by a share of it.
pub(crate) trait Home {
    type Value: ?Sized;

    fn guarded(&self) -> &Guarded<Self::Value>;

    /// Where the lock's lasting part is.
    fn lasting(&self) -> *const ();
}

/// The way to what a lock guards, for as long as the lock is held.
#[derive(Debug)]
pub(crate) struct Access<M: Home, H: Opens> {
    // Given back before the home is let go of.
    pub(crate) hold: H,
    home: M,
    /// It is to be as `Send` and `Sync` as the value.
    _value: HandsOut<M::Value>,
}

/// Whoever gives a lock back may have left something in what it guards.
#[derive(Debug)]
struct HandsOut<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized> Drop for HandsOut<T> {
    #[inline(always)]
    fn drop(&mut self) {
        hands_out::<T>();
    }
}

impl<M: Home, H: Opens> Access<M, H> {
    /// `hold` is one of `home`'s lock.
    #[inline(always)]
    pub(crate) fn new(home: M, hold: H) -> Access<M, H> {
        debug_assert!(ptr::eq(home.lasting(), hold.of()), "a hold opens its own lock");
        Access { hold, home, _value: HandsOut(PhantomData) }
    }

    #[inline]
    pub(crate) fn home(&self) -> &M {
        &self.home
    }

    #[inline]
    pub(crate) fn get(&self) -> &M::Value {
        // SAFETY: invariant 2: the lock is held while `self` lives; so nobody has `&mut` to the value but by `self`, which is
        // borrowed.
        unsafe { &*self.home.guarded().0.get() }
    }
}

impl<M: Home, H: Excludes> Access<M, H> {
    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut M::Value {
        // SAFETY: invariants 1 and 2: no other hold of the lock is there, and so no other `Access`; this one is borrowed.
        unsafe { &mut *self.home.guarded().0.get() }
    }
}
