//! Notifications without a value: one lane tells another that there is something to look at.
//!
//! Owns: [`Notify`] and its future. What becomes of a call is `calls.rs`'s.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use super::calls::{Calls, Core, Kept, Since};
use super::pool::{Lasting, Pool, Pooled};
use super::seat::Seat;
use crate::sched::turn::poll_share;
use crate::wait_list::By;

/// Wakes those who wait for something to happen, one or all of them.
///
/// A notification to one is kept where nobody waits, though never more than one: so a lane that looks, finds nothing and
/// then waits misses nothing.
///
/// ```
/// use laneway_runtime::sync::Notify;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// static READY: Notify = Notify::new();
/// runtime.block_on(async {
///     READY.notify_one();
///     READY.notify_one();
///     READY.notified().await;
///     // The second was the same as the first, which nobody had seen yet.
///     let mut next = std::pin::pin!(READY.notified());
///     assert!(!next.as_mut().enable());
///     READY.notify_waiters();
///     next.await;
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Notify {
    core: Lasting<Core>,
}

impl Notify {
    /// One that nobody waits for and that has nothing to say. It may be a static.
    pub const fn new() -> Notify {
        Notify { core: Lasting::new() }
    }

    #[inline]
    fn core(&self) -> &'static Core {
        self.core.get_or(|_| ())
    }

    /// Notifies the first in line; where nobody waits, the next who comes, once.
    pub fn notify_one(&self) {
        self.core().call_one(Kept::One);
    }

    /// Notifies all whose [`Notify::notified`] was called before, polled or not. Nothing is kept for others.
    pub fn notify_waiters(&self) {
        self.core().call_all();
    }

    /// Waits for a notification.
    ///
    /// It gets those of [`Notify::notify_waiters`] from this call on, and takes its place in line for those of
    /// [`Notify::notify_one`] when it is first polled, or [enabled](Notified::enable).
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place; what it was notified of by `notify_one` goes to the next.
    #[track_caller]
    pub fn notified(&self) -> Notified<'_> {
        let core = self.core();
        let (seat, place) = (Seat::new(&core.line), Location::caller());
        Notified { notify: self, core, seat, since: core.since(), place, is_done: false }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.core.get().map_or(0, |core| core.line.waiting())
    }
}

impl Default for Notify {
    fn default() -> Notify {
        Notify::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// The future of [`Notify::notified`].
#[derive(Debug)]
#[must_use = "nothing is waited for before it is awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    core: &'static Core,
    seat: Seat<Calls>,
    since: Since,
    place: &'static Location<'static>,
    is_done: bool,
}

impl<'a> Notified<'a> {
    /// Takes its place in line without waiting: true where it has been notified already, and is ready.
    ///
    /// A lane that enables it, then looks, then awaits it, misses no notification in between. What it is notified of is
    /// its own for the turn of the lane in which it is polled; a turn in which it is not passes that on to the next in
    /// line.
    pub fn enable(mut self: Pin<&mut Self>) -> bool {
        self.poll_seat(&Context::from_waker(Waker::noop())).is_ready()
    }

    /// What it waits for.
    pub fn notify(&self) -> &'a Notify {
        self.notify
    }

    fn poll_seat(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_done {
            return Poll::Ready(());
        }
        if !self.seat.has_waited() {
            self.core.cut_down(Kept::One);
            if self.core.try_take(self.since) {
                self.is_done = true;
                return Poll::Ready(());
            }
        }
        let called = ready!(self.seat.poll(cx, self.since, self.place));
        self.is_done = true;
        if called.is_err() {
            // He may have had an offer, and given it back.
            self.core.cut_down(Kept::One);
        }
        Poll::Ready(())
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // What was offered is taken whatever is left of the turn, or it would be passed on.
        if !self.seat.has_waited() {
            ready!(poll_share(cx));
        }
        self.poll_seat(cx)
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if self.seat.has_waited() {
            self.seat = Seat::new(&self.core.line);
            self.core.cut_down(Kept::One);
        }
    }
}

static POOL: Pool<Core> = Pool::new();

impl Pooled for Core {
    fn pool() -> &'static Pool<Core> {
        &POOL
    }

    fn renew(&'static self) {
        self.line.renew();
    }

    fn had_by(&self, by: By) -> (usize, usize) {
        (0, self.line.waiting_by(by))
    }
}

#[cfg(test)]
mod tests;
