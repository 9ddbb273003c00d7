//! One value that changes, and many who look at it.
//!
//! Owns: [`Sender`] and [`Receiver`]. Who waits for a change is in a line that counts versions.
//!
//! The value is shared out, not locked: [`Ref`] is a share of it as it was, so that one may keep it across an await, and
//! nobody waits for it. What changes the value makes a new one and puts it in the old one's place. So no code of users runs
//! under a lock, that of [`Sender::send_modify`] and its kin neither: where two of them make a new value of the same old
//! one, the second to be done begins anew with what the first has made. One of several always gets on.
//!
//! # Invariants
//! 1. `version` rises with each value that is put in its place. A receiver's `seen` is the version that it has seen.
//! 2. `changes` rises with each change by a closure. What a closure made of a value counts only if no other has counted since
//!    it got that. Where a [`Sender::send`] or [`Sender::send_replace`] has put another in place since, what the closure
//!    made is older than that, and was replaced already.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;

use super::crowd::{Count, raise};
use super::doors::{Doors, poll_passed};
use super::error::came_back;
use super::pool::Lasting;
use super::seat::Seat;
use crate::alloc;
use crate::sched::turn::poll_share;
use crate::wait_graph::note::hands_out;

/// A channel for the latest of a value.
///
/// ```
/// use laneway_runtime::sync::watch;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// runtime.block_on(async {
///     let (sender, mut receiver) = watch::channel(1);
///     sender.send(2).unwrap();
///     sender.send_modify(|value| *value += 1);
///     receiver.changed().await?;
///     assert_eq!(*receiver.borrow_and_update(), 3);
///     drop(sender);
///     assert!(receiver.changed().await.is_err());
///     Ok::<(), watch::RecvError>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

struct Shared<T> {
    doors: &'static Doors,
    _lasting: Lasting<Doors>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    version: u64,
    /// How often a closure has changed it.
    changes: u64,
    senders: usize,
    receivers: usize,
    /// How often the last receiver went.
    desertions: u64,
}

impl<T> Shared<T> {
    /// Puts a value in the place of the present one, which comes back, and lets all know.
    fn put(&self, value: Arc<T>) -> Arc<T> {
        hands_out::<T>();
        let mut state = self.state.lock();
        let old = std::mem::replace(&mut state.value, value);
        state.version += 1;
        let version = state.version;
        drop(state);
        raise(&self.doors.news, version);
        old
    }

    fn look(&self, seen: u64) -> Ref<T> {
        let state = self.state.lock();
        Ref { value: state.value.clone(), has_changed: state.version != seen }
    }
}

/// The end that changes the value. It may be cloned.
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that looks at the value, and knows which version it has seen.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value as it was when it was looked at.
///
/// It keeps nobody waiting: that the value has changed since does not show in it.
pub struct Ref<T> {
    value: Arc<T>,
    has_changed: bool,
}

/// Nobody looks: the value comes back, and the present one stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// All senders are gone, and what they left was seen: the value will not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

impl<T> Sender<T> {
    /// A channel without a receiver, as [`channel`].
    pub fn new(value: T) -> Sender<T> {
        let lasting = Lasting::new();
        let doors = lasting.get_or(|_| ());
        let state = State { value: Arc::new(value), version: 0, changes: 0, senders: 1, receivers: 0, desertions: 0 };
        Sender(Arc::new(Shared { doors, _lasting: lasting, state: Mutex::new(state) }))
    }

    /// Puts a value in the place of the present one.
    ///
    /// # Errors
    /// [`SendError`], with the value, where there is no receiver. [`Sender::send_replace`] does not mind.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.is_closed() {
            return Err(SendError(value));
        }
        self.0.put(Arc::new(value));
        Ok(())
    }

    /// Puts a value in the place of the present one, also where nobody looks: the one that was there.
    pub fn send_replace(&self, value: T) -> Arc<T> {
        self.0.put(Arc::new(value))
    }

    /// Looks at the value.
    pub fn borrow(&self) -> Ref<T> {
        let mut value = self.0.look(0);
        value.has_changed = false;
        value
    }

    /// A receiver that has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut state = self.0.state.lock();
        state.receivers += 1;
        Receiver { seen: state.version, shared: self.0.clone() }
    }

    /// Waits until there is no receiver.
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        Closed { seat: Seat::new(&self.0.doors.desertions), place: Location::caller(), shared: &self.0 }
    }

    /// Whether there is no receiver.
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.0.state.lock().receivers
    }

    /// How many senders there are.
    pub fn sender_count(&self) -> usize {
        self.0.state.lock().senders
    }

    /// Whether both are of the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Clone> Sender<T> {
    /// Changes the value, also where nobody looks.
    ///
    /// The closure changes a copy, which then takes the value's place; if it panics nothing has changed. It runs under no
    /// lock and keeps nobody waiting. Hence it may be called several times, each time with a fresh copy: where another call
    /// of this has changed the value since the copy was made, as no change may be lost. A [`Sender::send`] meanwhile, by
    /// the closure or by others, counts as later: what the closure makes is replaced by that already.
    ///
    /// # Panics
    /// Where the closure of this channel's own `send_modify` or `send_if_modified` calls it, which would begin anew for ever.
    pub fn send_modify(&self, mut change: impl FnMut(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// As [`Sender::send_modify`], where the closure says whether it has changed anything; if not, nobody is told.
    ///
    /// # Panics
    /// As [`Sender::send_modify`].
    pub fn send_if_modified(&self, mut change: impl FnMut(&mut T) -> bool) -> bool {
        hands_out::<T>();
        let shared = &*self.0;
        let _changing = Changing::begin(Arc::as_ptr(&self.0).cast());
        loop {
            let (before, version, changes) = {
                let state = shared.state.lock();
                (state.value.clone(), state.version, state.changes)
            };
            let mut copy = T::clone(&before);
            if !change(&mut copy) {
                return false;
            }
            let copy = Arc::new(copy);
            let mut state = shared.state.lock();
            if state.changes != changes {
                // The copy is code of users as well, when it is dropped.
                drop(state);
                continue;
            }
            // Invariant 2: replaced already, or put in place now.
            let old = if state.version == version { std::mem::replace(&mut state.value, copy) } else { copy };
            state.version += 1;
            state.changes += 1;
            let version = state.version;
            drop(state);
            raise(&shared.doors.news, version);
            drop((old, before));
            return true;
        }
    }
}

thread_local! {
    /// The channels whose values are being changed by closures on this thread.
    static CHANGING: RefCell<Vec<*const ()>> = const { RefCell::new(Vec::new()) };
}

/// The time in which a closure changes a channel's value.
struct Changing(*const ());

impl Changing {
    fn begin(channel: *const ()) -> Changing {
        CHANGING.with_borrow_mut(|changing| {
            assert!(!changing.contains(&channel), "a change of the value within a change of it");
            alloc::uncharged(|| changing.push(channel));
        });
        Changing(channel)
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        CHANGING.with_borrow_mut(|changing| changing.retain(|channel| *channel != self.0));
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Sender<T> {
        Sender::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.state.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.senders -= 1;
        let is_last = state.senders == 0;
        drop(state);
        if is_last {
            raise(&self.0.doors.news, u64::MAX);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("value", &self.borrow()).finish_non_exhaustive()
    }
}

impl<T> Receiver<T> {
    /// Looks at the value.
    pub fn borrow(&self) -> Ref<T> {
        self.shared.look(self.seen)
    }

    /// Looks at the value, which counts as seen then.
    pub fn borrow_and_update(&mut self) -> Ref<T> {
        let state = self.shared.state.lock();
        let has_changed = state.version != self.seen;
        self.seen = state.version;
        Ref { value: state.value.clone(), has_changed }
    }

    /// Whether the value has changed since it was last seen.
    ///
    /// # Errors
    /// [`RecvError`].
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        let state = self.shared.state.lock();
        let has_changed = state.version != self.seen;
        if !has_changed && state.senders == 0 { Err(RecvError) } else { Ok(has_changed) }
    }

    /// Takes the present value as not seen.
    pub fn mark_changed(&mut self) {
        self.seen = u64::MAX;
    }

    /// Takes the present value as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.state.lock().version;
    }

    /// Waits until the value is one that was not seen, which counts as seen then.
    ///
    /// # Errors
    /// [`RecvError`].
    ///
    /// # Cancellation
    /// Dropped before it is ready, it has seen nothing.
    #[track_caller]
    pub fn changed(&mut self) -> Changed<'_, T> {
        Changed { seat: Seat::new(&self.shared.doors.news), place: Location::caller(), receiver: self }
    }

    /// Waits until the value is as `condition` wants it, which is asked of the present one first.
    ///
    /// # Errors
    /// [`RecvError`]: all senders are gone, and the last value is not such.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it has seen the values that `condition` was asked of.
    #[track_caller]
    pub fn wait_for(
        &mut self,
        mut condition: impl FnMut(&T) -> bool,
    ) -> impl Future<Output = Result<Ref<T>, RecvError>> {
        let place = Location::caller();
        async move {
            loop {
                let value = self.borrow_and_update();
                if condition(&value) {
                    return Ok(value);
                }
                drop(value);
                let mut changed = self.changed();
                changed.place = place;
                changed.await?;
            }
        }
    }

    /// Whether all senders are gone.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().senders == 0
    }

    /// Whether both are of the same channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.shared.state.lock().receivers += 1;
        Receiver { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.receivers -= 1;
        let is_last = state.receivers == 0;
        state.desertions += u64::from(is_last);
        let desertions = state.desertions;
        drop(state);
        if is_last {
            raise(&self.shared.doors.desertions, desertions);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("value", &self.borrow()).finish_non_exhaustive()
    }
}

impl<T> Ref<T> {
    /// Whether the receiver had not seen it before.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The share of the value itself.
    pub fn into_shared(self) -> Arc<T> {
        self.value
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The future of [`Receiver::changed`].
#[must_use = "nothing is waited for before it is awaited"]
pub struct Changed<'a, T> {
    // The seat is left before the channel is let go of.
    seat: Seat<Count>,
    place: &'static Location<'static>,
    receiver: &'a mut Receiver<T>,
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_share(cx));
        let this = &mut *self;
        loop {
            if this.receiver.has_changed()? {
                this.receiver.mark_unchanged();
                return Poll::Ready(Ok(()));
            }
            ready!(poll_passed(&mut this.seat, cx, this.receiver.seen, this.place));
        }
    }
}

impl<T> fmt::Debug for Changed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changed").field("seat", &self.seat).finish_non_exhaustive()
    }
}

/// The future of [`Sender::closed`].
#[must_use = "nothing is waited for before it is awaited"]
pub struct Closed<'a, T> {
    seat: Seat<Count>,
    place: &'static Location<'static>,
    shared: &'a Shared<T>,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let times = {
                let state = self.shared.state.lock();
                if state.receivers == 0 {
                    return Poll::Ready(());
                }
                state.desertions
            };
            let place = self.place;
            ready!(poll_passed(&mut self.seat, cx, times, place));
        }
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("seat", &self.seat).finish_non_exhaustive()
    }
}

came_back!("nobody looks at the value; it came back");

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all senders are gone")
    }
}

impl Error for RecvError {}

#[cfg(test)]
mod tests;
