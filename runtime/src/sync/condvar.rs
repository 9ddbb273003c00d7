//! Waiting, with a mutex, until what it guards is as one wants it.
//!
//! Owns: [`Condvar`] and its future. What becomes of a call is `calls.rs`'s.
//!
//! | the future | has | dropped then |
//! | --- | --- | --- |
//! | is new | the guard | unlocks |
//! | waits | a place in the condition variable's line | leaves it; a call that it was offered goes to the next |
//! | locks | a place in the mutex's line, or the lock on offer | leaves it; the call that it was given goes to the next |

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::calls::{Calls, Core, Kept, Since};
use super::error::LockError;
use super::mutex::{Lock, Mutex, MutexGuard};
use super::pool::Lasting;
use super::seat::Seat;

/// Lets lanes wait for what a [`Mutex`] guards to become what they need.
///
/// A lane that waits has unlocked the mutex and is in line by one step: a notification by whoever has locked it since is
/// not missed. A wait may also end without one, and whoever was notified may find that another was quicker: so look
/// again, as [`Condvar::wait_while`] does.
///
/// ```
/// use laneway_runtime::sync::{Condvar, Mutex};
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// static QUEUE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// static FILLED: Condvar = Condvar::new();
/// # use laneway_runtime::{lane::Spawn, mailbox::Inbox};
/// runtime.block_on(async {
///     let filler = async {
///         QUEUE.lock().await.unwrap().push(7);
///         FILLED.notify_one();
///     };
///     Spawn::new().spawn(|_: Inbox<()>| filler).unwrap();
///     let queue = QUEUE.lock().await.unwrap();
///     let mut queue = FILLED.wait_while(queue, |queue| queue.is_empty()).await.unwrap();
///     assert_eq!(queue.pop(), Some(7));
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Condvar {
    core: Lasting<Core>,
}

impl Condvar {
    /// One that nobody waits for. It may be a static.
    pub const fn new() -> Condvar {
        Condvar { core: Lasting::new() }
    }

    fn core(&self) -> &'static Core {
        self.core.get_or(|_| ())
    }

    /// Unlocks, waits for a notification, and locks again.
    ///
    /// It unlocks when it is first polled.
    ///
    /// # Errors
    /// [`LockError`]: the mutex was locked again, or not, as [`Mutex::lock`] would have said it.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it leaves the mutex unlocked. A notification to one that it had goes to the next.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> Wait<'_, 'a, T> {
        let core = self.core();
        let (seat, place) = (Seat::new(&core.line), Location::caller());
        Wait { condvar: self, core, seat, since: core.as_of_now(), place, stage: Stage::New(guard) }
    }

    /// As [`Condvar::wait`], again and again while `condition` says so of the value. It is asked first.
    ///
    /// # Errors
    /// [`LockError`], as [`Condvar::wait`].
    ///
    /// # Cancellation
    /// As [`Condvar::wait`].
    #[track_caller]
    pub fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> impl Future<Output = Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>>> {
        let place = Location::caller();
        async move {
            while condition(&mut guard) {
                let mut wait = self.wait(guard);
                wait.place = place;
                guard = wait.await?;
            }
            Ok(guard)
        }
    }

    /// Notifies the first in line; nobody where nobody waits.
    pub fn notify_one(&self) {
        if let Some(core) = self.core.get() {
            core.call_one(Kept::None);
        }
    }

    /// Notifies all who wait.
    pub fn notify_all(&self) {
        if let Some(core) = self.core.get() {
            core.call_all();
        }
    }

    /// How many wait for a notification.
    pub fn waiting(&self) -> usize {
        self.core.get().map_or(0, |core| core.line.waiting())
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// How far a wait has come.
#[derive(Debug)]
enum Stage<'a, T> {
    New(MutexGuard<'a, T>),
    Waiting(&'a Mutex<T>),
    Locking {
        lock: Lock<'a, T>,
        /// It was called alone.
        by_one: bool,
    },
    Done,
}

/// The future of [`Condvar::wait`].
#[must_use = "the mutex stays locked until it is awaited or dropped"]
pub struct Wait<'c, 'a, T> {
    condvar: &'c Condvar,
    core: &'static Core,
    seat: Seat<Calls>,
    since: Since,
    place: &'static Location<'static>,
    stage: Stage<'a, T>,
}

impl<'a, T> Wait<'_, 'a, T> {
    /// The mutex is locked: takes its place in line first, so that whoever locks next finds it there.
    fn begin(&mut self, cx: &Context<'_>) -> Poll<MutexGuard<'a, T>> {
        let Stage::New(guard) = std::mem::replace(&mut self.stage, Stage::Done) else { return Poll::Pending };
        self.since = self.core.as_of_now();
        if self.seat.poll(cx, self.since, self.place).is_ready() {
            return Poll::Ready(guard);
        }
        self.stage = Stage::Waiting(MutexGuard::mutex(&guard));
        drop(guard);
        Poll::Pending
    }
}

impl<T> Unpin for Wait<'_, '_, T> {}

impl<'a, T> Future for Wait<'_, 'a, T> {
    type Output = Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::New(_) = this.stage {
            return this.begin(cx).map(Ok);
        }
        if let Stage::Waiting(mutex) = this.stage {
            let called = ready!(this.seat.poll(cx, this.since, this.place));
            this.stage = Stage::Locking { lock: mutex.lock_at(this.place), by_one: called.is_ok() };
            this.core.cut_down(Kept::None);
        }
        let Stage::Locking { lock, .. } = &mut this.stage else { panic!("a wait was polled after it was ready") };
        let locked = ready!(Pin::new(lock).poll(cx));
        this.stage = Stage::Done;
        Poll::Ready(locked)
    }
}

impl<T> Drop for Wait<'_, '_, T> {
    fn drop(&mut self) {
        match self.stage {
            Stage::Waiting(_) => {
                self.seat = Seat::new(&self.core.line);
                self.core.cut_down(Kept::None);
            }
            Stage::Locking { by_one: true, .. } => {
                self.stage = Stage::Done;
                self.core.call_one(Kept::None);
            }
            _ => {}
        }
    }
}

impl<T> fmt::Debug for Wait<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("condvar", self.condvar).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
