//! A mutex whose waiters are lanes, and which knows what became of its holder.
//!
//! Owns: [`Mutex`], its futures and its guards. The word is in `exclusive.rs`, who holds it in `owner.rs`.
//!
//! | the lock is | by | a comer gets |
//! | --- | --- | --- |
//! | free | | it |
//! | held, or on offer to somebody in line | | a place in line |
//! | free and marked | a guard dropped by a panic, or by the death of its lane | it, as [`OwnerDied`] |
//! | abandoned | the death of a lane whose guard was leaked, or moved to another lane | [`Abandoned`], as do all in line |
//! | free and marked | the drop of a guard that was moved, after that | it, as [`OwnerDied`] |
//!
//! A mark stays until somebody [recovers](OwnerDied::recover).

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::error::{Abandoned, Deadlocked, LockError, Marked, OwnerDied, TryLockError};
use super::exclusive::{Exclusive, Granted, LeftBehind};
use super::guarded::{Access, Guarded, Home};
use super::holder::{Holder, Waiter};
use super::owner::{Core, Owner};
use super::pool::Lasting;
use super::rollback::Rollback;
use super::seat::Seat;
use super::waiters;
use crate::lane::Pooled;
use crate::lane::index;
use crate::panic::contain;
use crate::sched::turn::poll_share;
use crate::wait_graph::note::{self, Number};
use crate::wait_graph::record::Wait;
use crate::wait_list::line::Taker;

/// One value for many lanes, one at a time.
///
/// Fair: who comes first is served first. A guard may be kept across awaits. A lane that dies while it has the lock leaves it
/// to the next, who is told so: [`LockError::OwnerDied`].
///
/// ```
/// use laneway_runtime::sync::Mutex;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// static TOTAL: Mutex<u64> = Mutex::new(40);
/// runtime.block_on(async {
///     let mut total = TOTAL.lock().await?;
///     *total += 2;
///     assert!(TOTAL.try_lock().is_err());
///     drop(total);
///     assert_eq!(*TOTAL.lock().await?, 42);
///     Ok::<(), laneway_runtime::sync::LockError<_>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mutex<T> {
    core: Lasting<Core>,
    rollback: Option<Arc<Rollback<T>>>,
    value: Guarded<T>,
}

type Locked<G> = Result<G, LockError<G>>;

impl<T> Mutex<T> {
    /// A mutex that nobody holds. It may be a static.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { core: Lasting::new(), rollback: None, value: Guarded::new(value) }
    }

    /// A mutex whose value is put right when a holder dies with it, so that the next one gets it as if nothing had been.
    ///
    /// Where the guard of a lane that died was leaked, nothing can be put right: the lock is
    /// [abandoned](LockError::Abandoned).
    ///
    /// ```
    /// use laneway_runtime::sync::{Mutex, Rollback};
    ///
    /// let sorted = Mutex::with_rollback(vec![1, 2, 3], Rollback::snapshot());
    /// let counted = Mutex::with_rollback((0, 0), Rollback::run(|(left, right)| *right = *left));
    /// assert!(sorted.holder().is_none() && counted.holder().is_none());
    /// ```
    pub fn with_rollback(value: T, rollback: Rollback<T>) -> Mutex<T> {
        Mutex { core: Lasting::new(), rollback: Some(Arc::new(rollback)), value: Guarded::new(value) }
    }

    #[inline]
    fn core(&self) -> &'static Core {
        self.core.get_or(|_| ())
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// [`LockError`], at once also for those in line.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in line.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Lock<'_, T> {
        self.lock_at(Location::caller())
    }

    /// As [`Mutex::lock`], on behalf of whoever is at `place`.
    #[inline]
    pub(super) fn lock_at(&self, place: &'static Location<'static>) -> Lock<'_, T> {
        Lock { mutex: self, waiting: Waiting::new(place) }
    }

    /// As [`Mutex::lock`], for a guard that owns its share of the mutex.
    ///
    /// # Errors
    /// [`LockError`].
    ///
    /// # Cancellation
    /// As [`Mutex::lock`].
    #[track_caller]
    pub fn lock_owned(self: Arc<Self>) -> LockOwned<T> {
        LockOwned { waiting: Waiting::new(Location::caller()), mutex: self }
    }

    /// The lock, if nobody has it and nobody waits.
    ///
    /// # Errors
    /// [`TryLockError`].
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError<MutexGuard<'_, T>>> {
        try_lock(self.core(), Location::caller(), |owner| MutexGuard::new(self, owner))
    }

    /// As [`Mutex::try_lock`], for a guard that owns its share of the mutex.
    ///
    /// # Errors
    /// [`TryLockError`].
    #[track_caller]
    pub fn try_lock_owned(self: Arc<Self>) -> Result<OwnedMutexGuard<T>, TryLockError<OwnedMutexGuard<T>>> {
        try_lock(self.core(), Location::caller(), |owner| OwnedMutexGuard::new(self.clone(), owner))
    }

    /// The value, which nobody else can get at meanwhile. It is not said whether a holder has died.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value. It is not said whether a holder has died.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Who has the lock, and where he took it, for people who look into it.
    pub fn holder(&self) -> Option<Holder> {
        self.core.get()?.holder()
    }

    /// Who died with the lock, where nobody has recovered from that.
    pub fn dead_holder(&self) -> Option<Holder> {
        let core = self.core.get().filter(|core| core.word().is_marked())?;
        core.line.look(Exclusive::died).map(|died| (*died).clone())
    }

    /// Who waits, in order, for people who look into it.
    pub fn waiters(&self) -> Vec<Waiter> {
        self.core.get().map_or_else(Vec::new, |core| waiters(&core.line))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.core.get().map_or(0, |core| core.line.waiting())
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("holder", &self.holder()).finish_non_exhaustive()
    }
}

#[inline]
fn try_lock<G: Marked>(
    core: &'static Core,
    place: &'static Location<'static>,
    guard: impl FnOnce(Owner) -> G,
) -> Result<G, TryLockError<G>> {
    match Owner::attempt(core, place, false) {
        Some(owner) => Ok(guard(owner)),
        None => try_in_line(core, place, guard),
    }
}

/// Where it is not just free, the line knows why.
#[cold]
fn try_in_line<G: Marked>(
    core: &'static Core,
    place: &'static Location<'static>,
    guard: impl FnOnce(Owner) -> G,
) -> Result<G, TryLockError<G>> {
    match core.line.try_take((), Taker { by: index::who_runs(), place }) {
        Some(granted) => locked(core, place, granted, guard).map_err(TryLockError::Failed),
        None => Err(TryLockError::Locked),
    }
}

/// What the line granted, as its user gets it.
fn locked<G: Marked>(
    core: &'static Core,
    place: &'static Location<'static>,
    granted: Result<Granted, LeftBehind>,
    guard: impl FnOnce(Owner) -> G,
) -> Locked<G> {
    match granted {
        Ok(Granted { number, died }) => {
            let guard = guard(Owner::granted(core, number, place));
            match died {
                None => Ok(guard),
                Some(holder) => Err(LockError::OwnerDied(OwnerDied::new(guard, holder))),
            }
        }
        Err(LeftBehind(holder)) => Err(LockError::Abandoned(Abandoned::new(holder))),
    }
}

/// One who wants the lock, and may have to wait for it.
#[derive(Debug)]
struct Waiting {
    place: &'static Location<'static>,
    /// Most need none. It is in the hands of [`Waiting::leave`], so that where there is none nothing is to be dropped.
    waits: Option<ManuallyDrop<Pooled<Waits>>>,
}

/// What one has who waits.
#[derive(Debug)]
struct Waits {
    seat: Seat<Exclusive>,
    /// Which wait it is.
    number: Number,
}

impl Waiting {
    #[inline(always)]
    fn new(place: &'static Location<'static>) -> Waiting {
        Waiting { place, waits: None }
    }

    #[inline(always)]
    fn poll<G: Marked>(
        &mut self,
        core: &'static Core,
        cx: &mut Context<'_>,
        guard: impl FnOnce(Owner) -> G,
    ) -> Poll<Locked<G>> {
        if self.waits.is_none()
            && let Some(owner) = Owner::attempt(core, self.place, true)
        {
            return Poll::Ready(Ok(guard(owner)));
        }
        self.wait(core, cx, guard)
    }

    #[inline(never)]
    fn wait<G: Marked>(
        &mut self,
        core: &'static Core,
        cx: &mut Context<'_>,
        guard: impl FnOnce(Owner) -> G,
    ) -> Poll<Locked<G>> {
        // An offer is taken whatever is left of the turn, or it would be passed on.
        if self.waits.is_none() {
            ready!(poll_share(cx));
        }
        let waits = self.waits.get_or_insert_with(|| {
            ManuallyDrop::new(Pooled::new(Waits { seat: Seat::new(&core.line), number: Number::default() }))
        });
        let Poll::Ready(granted) = waits.seat.poll_parking(cx, (), self.place) else {
            let wait = Wait::for_lock(core.face(), self.place);
            let Some(deadlock) = note::park(cx, &mut waits.number, wait) else { return Poll::Pending };
            self.leave();
            return Poll::Ready(Err(LockError::Deadlock(Deadlocked::new(core.holder(), deadlock))));
        };
        self.leave();
        Poll::Ready(locked(core, self.place, granted, guard))
    }

    /// It does not wait any more.
    #[inline(never)]
    fn leave(&mut self) {
        drop(self.waits.take().map(ManuallyDrop::into_inner));
    }
}

impl Drop for Waiting {
    #[inline(always)]
    fn drop(&mut self) {
        if self.waits.is_some() {
            self.leave();
        }
    }
}

/// The future of [`Mutex::lock`].
#[derive(Debug)]
#[must_use = "nothing is locked before it is awaited"]
pub struct Lock<'a, T> {
    mutex: &'a Mutex<T>,
    waiting: Waiting,
}

impl<'a, T> Future for Lock<'a, T> {
    type Output = Locked<MutexGuard<'a, T>>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mutex = self.mutex;
        self.waiting.poll(mutex.core(), cx, |owner| MutexGuard::new(mutex, owner))
    }
}

/// The future of [`Mutex::lock_owned`].
#[derive(Debug)]
#[must_use = "nothing is locked before it is awaited"]
pub struct LockOwned<T> {
    // The seat is left before the mutex is let go of.
    waiting: Waiting,
    mutex: Arc<Mutex<T>>,
}

impl<T> Future for LockOwned<T> {
    type Output = Locked<OwnedMutexGuard<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let LockOwned { waiting, mutex } = &mut *self;
        waiting.poll(mutex.core(), cx, |owner| OwnedMutexGuard::new(mutex.clone(), owner))
    }
}

impl<T> Home for &Mutex<T> {
    type Value = T;

    #[inline]
    fn guarded(&self) -> &Guarded<T> {
        &self.value
    }

    #[inline]
    fn lasting(&self) -> *const () {
        ptr::from_ref(Mutex::core(self)).cast()
    }
}

impl<T> Home for Arc<Mutex<T>> {
    type Value = T;

    #[inline]
    fn guarded(&self) -> &Guarded<T> {
        &self.value
    }

    #[inline]
    fn lasting(&self) -> *const () {
        ptr::from_ref(Mutex::core(self)).cast()
    }
}

/// The lock, held, and the way to the value; given back when it is dropped.
#[must_use = "the lock is given back when this is dropped"]
pub struct MutexGuard<'a, T>(Access<&'a Mutex<T>, Owner>);

/// As [`MutexGuard`], with a share of the mutex in place of a borrow.
#[must_use = "the lock is given back when this is dropped"]
pub struct OwnedMutexGuard<T>(Access<Arc<Mutex<T>>, Owner>);

impl<'a, T> MutexGuard<'a, T> {
    #[inline(always)]
    fn new(mutex: &'a Mutex<T>, owner: Owner) -> MutexGuard<'a, T> {
        let guard = MutexGuard(Access::new(mutex, owner));
        begin(&mutex.rollback, &guard);
        guard
    }

    /// The mutex it is of.
    pub fn mutex(guard: &MutexGuard<'a, T>) -> &'a Mutex<T> {
        guard.0.home()
    }
}

impl<T> OwnedMutexGuard<T> {
    fn new(mutex: Arc<Mutex<T>>, owner: Owner) -> OwnedMutexGuard<T> {
        let guard = OwnedMutexGuard(Access::new(mutex, owner));
        begin(&guard.0.home().rollback, &guard);
        guard
    }

    /// The mutex it is of.
    pub fn mutex(guard: &OwnedMutexGuard<T>) -> &Arc<Mutex<T>> {
        guard.0.home()
    }
}

#[inline(always)]
fn begin<T>(rollback: &Option<Arc<Rollback<T>>>, value: &T) {
    if let Some(rollback) = rollback {
        begin_with(rollback, value);
    }
}

#[cold]
#[inline(never)]
fn begin_with<T>(rollback: &Rollback<T>, value: &T) {
    rollback.begin(value);
}

/// The guard is dropped, and the mutex has a way to put its value right.
#[cold]
#[inline(never)]
fn end<M: Home>(rollback: Arc<Rollback<M::Value>>, access: &mut Access<M, Owner>)
where
    M::Value: Sized,
{
    if !access.hold.is_left() {
        rollback.end();
    } else if contain(|| rollback.undo(access.get_mut())) {
        access.hold.set_clean();
    }
}

impl<T> Marked for MutexGuard<'_, T> {
    fn unmark(&self) {
        self.0.hold.core().recover();
    }
}

impl<T> Marked for OwnedMutexGuard<T> {
    fn unmark(&self) {
        self.0.hold.core().recover();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.get()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> Deref for OwnedMutexGuard<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.get()
    }
}

impl<T> DerefMut for OwnedMutexGuard<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(rollback) = &self.0.home().rollback {
            end(rollback.clone(), &mut self.0);
        }
    }
}

impl<T> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        if let Some(rollback) = &self.0.home().rollback {
            end(rollback.clone(), &mut self.0);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedMutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests;
