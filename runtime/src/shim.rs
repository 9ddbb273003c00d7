//! Where the atomics and locks of modelled code come from: `std` and `parking_lot`, or `loom` under `--cfg loom`, so that
//! models run the very code that ships.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use self::atomic::AtomicU64;
#[cfg(loom)]
pub(crate) use self::locks::{Condvar, Mutex, MutexGuard, Unparker};
#[cfg(loom)]
pub(crate) use self::place::Place;
#[cfg(loom)]
pub(crate) use self::slots::{AtomicSlot, SlotRef, is_same};
#[cfg(not(loom))]
pub(crate) use crate::alloc::uncharged;
#[cfg(not(loom))]
pub(crate) use crate::lane::waker::{is_a_lanes, wake_lane};
/// A place in a ring, which one thread writes to.
#[cfg(not(loom))]
pub(crate) use crate::slot::AtomicSlot as Place;
#[cfg(not(loom))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// In models, where no clock runs: all that they ask of an instant a time since the start has as well.
#[cfg(loom)]
pub(crate) type Instant = std::time::Duration;

/// Says to the processor, or to the model, that this thread waits for another that is at work.
pub(crate) fn spin() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}

/// After a store that is sequentially consistent. Loom takes such stores and loads for ones that release and acquire, and
/// knows only fences for what they are.
#[inline(always)]
pub(crate) fn order_for_models() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// As `alloc::uncharged`: no model allocates for anybody.
#[cfg(loom)]
pub(crate) fn uncharged<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// As `panic::contain`: no model's waker panics.
#[cfg(loom)]
pub(crate) fn contain(call: impl FnOnce()) -> bool {
    call();
    true
}

/// As in `lane/waker.rs`: no waker of a model is one of ours.
#[cfg(loom)]
pub(crate) fn is_a_lanes(_: &std::task::Waker) -> bool {
    false
}

/// As [`is_a_lanes`].
#[cfg(loom)]
pub(crate) fn wake_lane(waker: std::task::Waker) -> Option<std::task::Waker> {
    Some(waker)
}

#[cfg(loom)]
mod atomic {
    use loom::sync::atomic::Ordering;

    /// Loom's atomic with stores that are swaps.
    ///
    /// Loom does not know that nothing comes between a read-modify-write and the value that it read. So a
    /// compare-and-swap that came before another thread's plain store might, to loom, be ordered after it, and what the
    /// store wiped out would come back. A swap has one place in the order. What it adds is that the release sequence goes
    /// on through it: no model may hang on a store's breaking one.
    #[derive(Debug)]
    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> AtomicU64 {
            AtomicU64(loom::sync::atomic::AtomicU64::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.0.swap(value, order);
        }

        pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
            self.0.swap(value, order)
        }

        pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_sub(value, order)
        }

        pub(crate) fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
            self.0.fetch_and(value, order)
        }

        pub(crate) fn compare_exchange_weak(
            &self,
            old: u64,
            new: u64,
            ok: Ordering,
            err: Ordering,
        ) -> Result<u64, u64> {
            self.0.compare_exchange_weak(old, new, ok, err)
        }
    }
}

/// What takes the place of lanes in models: a number, which is never 0.
#[cfg(loom)]
mod slots {
    use std::num::NonZeroU32;

    use loom::sync::atomic::{AtomicU32, Ordering};

    pub(crate) type SlotRef = NonZeroU32;

    pub(crate) fn is_same(one: SlotRef, other: SlotRef) -> bool {
        one == other
    }

    #[derive(Debug)]
    pub(crate) struct AtomicSlot(AtomicU32);

    impl AtomicSlot {
        pub(crate) fn empty() -> AtomicSlot {
            AtomicSlot(AtomicU32::new(0))
        }

        pub(crate) fn load(&self, order: Ordering) -> Option<SlotRef> {
            NonZeroU32::new(self.0.load(order))
        }

        pub(crate) fn store(&self, slot: Option<SlotRef>, order: Ordering) {
            self.0.store(slot.map_or(0, NonZeroU32::get), order);
        }
    }
}

/// Places in a ring, which see to it that none is written again before those are done who read what lay there.
///
/// To loom no load reads what is stored after it, so that it does not see the harm itself. But of what another thread stores
/// beside its reading, the writer sees at least as much as it may count on of the reading.
#[cfg(loom)]
mod place {
    use std::sync::Mutex;

    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::thread::{self, ThreadId};

    use super::slots::{AtomicSlot, SlotRef};

    loom::lazy_static! {
        /// Of each lane, whether somebody has read it who did not write it.
        static ref READ: [AtomicU32; 8] = std::array::from_fn(|_| AtomicU32::new(0));
    }

    #[derive(Debug)]
    pub(crate) struct Place {
        lane: AtomicSlot,
        written: Mutex<Option<Written>>,
    }

    #[derive(Debug)]
    struct Written {
        by: ThreadId,
        lane: Option<SlotRef>,
        /// By its writer, which may have taken the lane itself, or moved it.
        is_read: bool,
    }

    fn read_of(lane: SlotRef) -> &'static AtomicU32 {
        &READ[lane.get() as usize]
    }

    impl Place {
        pub(crate) fn empty() -> Place {
            Place { lane: AtomicSlot::empty(), written: Mutex::new(None) }
        }

        pub(crate) fn load(&self, order: Ordering) -> Option<SlotRef> {
            let lane = self.lane.load(order);
            let is_own = match &mut *self.written.lock().expect("no model panics under a lock") {
                Some(written) if written.by == thread::current().id() => {
                    written.is_read = true;
                    true
                }
                _ => false,
            };
            if let Some(lane) = lane.filter(|_| !is_own) {
                read_of(lane).store(1, Ordering::Relaxed);
            }
            lane
        }

        pub(crate) fn store(&self, lane: Option<SlotRef>, order: Ordering) {
            let written = Written { by: thread::current().id(), lane, is_read: false };
            let before = self.written.lock().expect("no model panics under a lock").replace(written);
            if let Some(before) = before.filter(|before| !before.is_read && before.lane != lane)
                && let Some(other) = before.lane
            {
                let is_read = read_of(other).load(Ordering::Relaxed) == 1;
                assert!(is_read, "the place of lane {other} is written again, and may still be read");
            }
            self.lane.store(lane, order);
        }
    }
}

/// Loom's locks with the face of `parking_lot`'s, as far as modelled code looks at it.
#[cfg(loom)]
mod locks {
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    /// A lock; a guard holds loom's own, which a wait takes out and puts back.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>, &'a loom::sync::Mutex<T>);

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("a guard is not used while it waits")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("a guard is not used while it waits")
        }
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(self.0.lock().ok(), &self.0)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            Some(MutexGuard(Some(self.0.try_lock().ok()?), &self.0))
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar {
        inner: loom::sync::Condvar,
        never_times_out: bool,
    }

    impl Condvar {
        pub(crate) fn new() -> Condvar {
            Condvar::default()
        }

        /// One on which a wait with a time-out is as one without.
        #[cfg(test)]
        pub(crate) fn without_time_outs(self) -> Condvar {
            Condvar { never_times_out: true, ..self }
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            guard.0 = guard.0.take().and_then(|guard| self.inner.wait(guard).ok());
        }

        /// The time may be over at once, or whenever the thread goes on.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
            if self.never_times_out {
                return self.wait(guard);
            }
            drop(guard.0.take());
            loom::thread::yield_now();
            guard.0 = guard.1.lock().ok();
        }

        pub(crate) fn notify_one(&self) {
            self.inner.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.inner.notify_all();
        }
    }

    /// What ends the wait in a driver: a token that is kept, as that of the reactor is.
    #[derive(Debug, Default)]
    pub(crate) struct Unparker {
        token: loom::sync::Mutex<bool>,
        given: loom::sync::Condvar,
    }

    impl Unparker {
        pub(crate) fn unpark(&self) {
            *self.token.lock().expect("no model panics under a lock") = true;
            self.given.notify_one();
        }

        /// The driver's wait.
        #[cfg(test)]
        pub(crate) fn wait(&self) {
            let mut token = self.token.lock().expect("no model panics under a lock");
            while !*token {
                token = self.given.wait(token).expect("no model panics under a lock");
            }
            *token = false;
        }
    }
}
