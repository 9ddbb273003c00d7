//! A lock that many may have to read, or one to write.
//!
//! Owns: [`RwLock`], its futures and its guards. The state is in `sharing.rs`.
//!
//! | the lock is | by | who would read gets | who would write gets |
//! | --- | --- | --- | --- |
//! | free | | it | it |
//! | held to read, nobody in line | | it | a place in line |
//! | held to read, somebody in line | | a place in line | a place in line |
//! | held to write | | a place in line | a place in line |
//! | marked | a guard to write dropped by a panic, or by the death of its lane | it, as [`OwnerDied`] | the same |
//! | abandoned | the death of a lane whose guard to write was leaked or moved | [`Abandoned`] | [`Abandoned`] |
//! | half abandoned | the same, with a guard to read | it | [`Abandoned`] |
//!
//! A guard to read that is dropped by a death marks nothing: it has changed nothing.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::error::{Abandoned, Deadlocked, LockError, Marked, OwnerDied, TryLockError};
use super::guarded::{Access, Guarded, Home};
use super::holder::{Holder, Waiter};
use super::pool::Lasting;
use super::seat::Seat;
use super::sharing::{self, Core, Granted, OfGrant, Share, Sharing, Sole, Want};
use super::waiters;
use crate::sched::turn::poll_share;
use crate::wait_graph::Awaits;
use crate::wait_graph::note::{self, Number};

/// One value for many lanes: some read it, or one writes it.
///
/// Fair: who comes first is served first, so a writer is not overtaken by readers who come after it. Hence a lane that has
/// it to read must not wait for it to read once more, as a writer may stand in line between; nor to write, as it would wait for
/// itself. In a lane these waits end with [`LockError::Deadlock`]. A lane that dies while it writes
/// leaves it to the next, who is told so: [`LockError::OwnerDied`].
///
/// ```
/// use laneway_runtime::sync::RwLock;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// static NAMES: RwLock<Vec<&str>> = RwLock::new(Vec::new());
/// runtime.block_on(async {
///     NAMES.write().await?.push("Ada");
///     let (one, two) = (NAMES.read().await.unwrap(), NAMES.read().await.unwrap());
///     assert_eq!((one.len(), two[0]), (1, "Ada"));
///     assert!(NAMES.try_write().is_err());
///     Ok::<(), laneway_runtime::sync::LockError<_>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RwLock<T> {
    core: Lasting<Core>,
    value: Guarded<T>,
    /// Several threads have `&T` at a time: the lock is no more `Sync` than that.
    shared: PhantomData<T>,
}

type Locked<G> = Result<G, LockError<G>>;
type TryLocked<G> = Result<G, TryLockError<G>>;

impl<T> RwLock<T> {
    /// A lock that nobody holds. It may be a static.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock { core: Lasting::new(), value: Guarded::new(value), shared: PhantomData }
    }

    fn core(&self) -> &'static Core {
        self.core.get_or(|_| ())
    }

    /// Waits for the lock, to read.
    ///
    /// # Errors
    /// [`LockError`], at once also for those in line.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in line.
    #[track_caller]
    pub fn read(&self) -> Read<'_, T> {
        Read { waiting: Waiting::new(self.core(), Location::caller()), lock: self }
    }

    /// Waits for the lock, to write.
    ///
    /// # Errors
    /// [`LockError`], at once also for those in line.
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    #[track_caller]
    pub fn write(&self) -> Write<'_, T> {
        Write { waiting: Waiting::new(self.core(), Location::caller()), lock: self }
    }

    /// As [`RwLock::read`], for a guard that owns its share of the lock.
    ///
    /// # Errors
    /// [`LockError`].
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    #[track_caller]
    pub fn read_owned(self: Arc<Self>) -> ReadOwned<T> {
        ReadOwned { waiting: Waiting::new(self.core(), Location::caller()), lock: self }
    }

    /// As [`RwLock::write`], for a guard that owns its share of the lock.
    ///
    /// # Errors
    /// [`LockError`].
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    #[track_caller]
    pub fn write_owned(self: Arc<Self>) -> WriteOwned<T> {
        WriteOwned { waiting: Waiting::new(self.core(), Location::caller()), lock: self }
    }

    /// The lock to read, if nobody writes and nobody waits.
    ///
    /// # Errors
    /// [`TryLockError`].
    #[track_caller]
    pub fn try_read(&self) -> TryLocked<RwLockReadGuard<'_, T>> {
        try_lock(self.core(), Location::caller(), |hold| RwLockReadGuard(Access::new(self, hold)))
    }

    /// The lock to write, if nobody has it and nobody waits.
    ///
    /// # Errors
    /// [`TryLockError`].
    #[track_caller]
    pub fn try_write(&self) -> TryLocked<RwLockWriteGuard<'_, T>> {
        try_lock(self.core(), Location::caller(), |hold| RwLockWriteGuard(Access::new(self, hold)))
    }

    /// As [`RwLock::try_read`], for a guard that owns its share of the lock.
    ///
    /// # Errors
    /// [`TryLockError`].
    #[track_caller]
    pub fn try_read_owned(self: Arc<Self>) -> TryLocked<OwnedRwLockReadGuard<T>> {
        try_lock(self.core(), Location::caller(), |hold| OwnedRwLockReadGuard(Access::new(self.clone(), hold)))
    }

    /// As [`RwLock::try_write`], for a guard that owns its share of the lock.
    ///
    /// # Errors
    /// [`TryLockError`].
    #[track_caller]
    pub fn try_write_owned(self: Arc<Self>) -> TryLocked<OwnedRwLockWriteGuard<T>> {
        try_lock(self.core(), Location::caller(), |hold| OwnedRwLockWriteGuard(Access::new(self.clone(), hold)))
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
    pub fn holders(&self) -> Vec<Holder> {
        self.core.get().map_or_else(Vec::new, Core::holders)
    }

    /// Who died with the lock, where nobody has recovered from that.
    pub fn dead_holder(&self) -> Option<Holder> {
        self.core.get()?.died().map(|died| (*died).clone())
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

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("holders", &self.holders()).finish_non_exhaustive()
    }
}

fn try_lock<H: OfGrant, G: Marked>(
    core: &'static Core,
    place: &'static Location<'static>,
    guard: impl FnOnce(H) -> G,
) -> TryLocked<G> {
    match core.line.try_take(H::WANT, sharing::taker(place)) {
        Some(granted) => locked(core, granted, guard).map_err(TryLockError::Failed),
        None => Err(TryLockError::Locked),
    }
}

/// What the line granted, as its user gets it.
fn locked<H: OfGrant, G: Marked>(
    core: &'static Core,
    granted: Result<Granted, Arc<Holder>>,
    guard: impl FnOnce(H) -> G,
) -> Locked<G> {
    match granted {
        Ok(granted) => {
            let guard = guard(H::granted(core, &granted));
            match granted.died {
                None => Ok(guard),
                Some(holder) => Err(LockError::OwnerDied(OwnerDied::new(guard, holder))),
            }
        }
        Err(holder) => Err(LockError::Abandoned(Abandoned::new(holder))),
    }
}

/// One who waits for the lock.
#[derive(Debug)]
struct Waiting {
    core: &'static Core,
    seat: Seat<Sharing>,
    place: &'static Location<'static>,
    /// Which wait it is.
    number: Number,
}

impl Waiting {
    fn new(core: &'static Core, place: &'static Location<'static>) -> Waiting {
        Waiting { core, seat: Seat::new(&core.line), place, number: Number::default() }
    }

    fn poll<H: OfGrant, G: Marked>(&mut self, cx: &mut Context<'_>, guard: impl FnOnce(H) -> G) -> Poll<Locked<G>> {
        // An offer is taken whatever is left of the turn, or it would be passed on.
        if !self.seat.has_waited() {
            ready!(poll_share(cx));
        }
        let Poll::Ready(granted) = self.seat.poll_parking(cx, H::WANT, self.place) else {
            return self.park::<H, G>(cx);
        };
        Poll::Ready(locked(self.core, granted, guard))
    }

    /// Notes for whom it waits.
    fn park<H: OfGrant, G>(&mut self, cx: &Context<'_>) -> Poll<Locked<G>> {
        let awaits = match H::WANT {
            Want::Read => Awaits::Read,
            Want::Write => Awaits::Write,
        };
        let wait = self.seat.wait(awaits, self.core.face(), self.place);
        let Some(deadlock) = wait.and_then(|wait| note::park(cx, &mut self.number, wait)) else { return Poll::Pending };
        self.seat = Seat::new(&self.core.line);
        Poll::Ready(Err(LockError::Deadlock(Deadlocked::new(None, deadlock))))
    }
}

impl<T> Home for &RwLock<T> {
    type Value = T;

    fn guarded(&self) -> &Guarded<T> {
        &self.value
    }

    fn lasting(&self) -> *const () {
        sharing::address(self.core())
    }
}

impl<T> Home for Arc<RwLock<T>> {
    type Value = T;

    fn guarded(&self) -> &Guarded<T> {
        &self.value
    }

    fn lasting(&self) -> *const () {
        sharing::address(self.core())
    }
}

/// The future of [`RwLock::read`].
#[derive(Debug)]
#[must_use = "nothing is locked before it is awaited"]
pub struct Read<'a, T> {
    waiting: Waiting,
    lock: &'a RwLock<T>,
}

/// The future of [`RwLock::write`].
#[derive(Debug)]
#[must_use = "nothing is locked before it is awaited"]
pub struct Write<'a, T> {
    waiting: Waiting,
    lock: &'a RwLock<T>,
}

/// The future of [`RwLock::read_owned`].
#[derive(Debug)]
#[must_use = "nothing is locked before it is awaited"]
pub struct ReadOwned<T> {
    // The seat is left before the lock is let go of.
    waiting: Waiting,
    lock: Arc<RwLock<T>>,
}

/// The future of [`RwLock::write_owned`].
#[derive(Debug)]
#[must_use = "nothing is locked before it is awaited"]
pub struct WriteOwned<T> {
    // The seat is left before the lock is let go of.
    waiting: Waiting,
    lock: Arc<RwLock<T>>,
}

impl<'a, T> Future for Read<'a, T> {
    type Output = Locked<RwLockReadGuard<'a, T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        self.waiting.poll(cx, |hold| RwLockReadGuard(Access::new(lock, hold)))
    }
}

impl<'a, T> Future for Write<'a, T> {
    type Output = Locked<RwLockWriteGuard<'a, T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let lock = self.lock;
        self.waiting.poll(cx, |hold| RwLockWriteGuard(Access::new(lock, hold)))
    }
}

impl<T> Future for ReadOwned<T> {
    type Output = Locked<OwnedRwLockReadGuard<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ReadOwned { waiting, lock } = &mut *self;
        waiting.poll(cx, |hold| OwnedRwLockReadGuard(Access::new(lock.clone(), hold)))
    }
}

impl<T> Future for WriteOwned<T> {
    type Output = Locked<OwnedRwLockWriteGuard<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let WriteOwned { waiting, lock } = &mut *self;
        waiting.poll(cx, |hold| OwnedRwLockWriteGuard(Access::new(lock.clone(), hold)))
    }
}

/// The lock, held to read; given back when it is dropped.
#[must_use = "the lock is given back when this is dropped"]
pub struct RwLockReadGuard<'a, T>(Access<&'a RwLock<T>, Share>);

/// The lock, held to write; given back when it is dropped.
#[must_use = "the lock is given back when this is dropped"]
pub struct RwLockWriteGuard<'a, T>(Access<&'a RwLock<T>, Sole>);

/// As [`RwLockReadGuard`], with a share of the lock in place of a borrow.
#[must_use = "the lock is given back when this is dropped"]
pub struct OwnedRwLockReadGuard<T>(Access<Arc<RwLock<T>>, Share>);

/// As [`RwLockWriteGuard`], with a share of the lock in place of a borrow.
#[must_use = "the lock is given back when this is dropped"]
pub struct OwnedRwLockWriteGuard<T>(Access<Arc<RwLock<T>>, Sole>);

impl<T> Marked for RwLockReadGuard<'_, T> {
    fn unmark(&self) {
        self.0.hold.core().recover();
    }
}

impl<T> Marked for RwLockWriteGuard<'_, T> {
    fn unmark(&self) {
        self.0.hold.core().recover();
    }
}

impl<T> Marked for OwnedRwLockReadGuard<T> {
    fn unmark(&self) {
        self.0.hold.core().recover();
    }
}

impl<T> Marked for OwnedRwLockWriteGuard<T> {
    fn unmark(&self) {
        self.0.hold.core().recover();
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get()
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get()
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> Deref for OwnedRwLockReadGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get()
    }
}

impl<T> Deref for OwnedRwLockWriteGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get()
    }
}

impl<T> DerefMut for OwnedRwLockWriteGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedRwLockReadGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedRwLockWriteGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests;
