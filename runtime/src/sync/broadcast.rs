//! A queue whose every message goes to every receiver.
//!
//! Owns: [`Sender`] and [`Receiver`]; the messages are in `broadcast/ring.rs`. The line of those who wait counts what was
//! sent.
//!
//! ```
//! use laneway_runtime::sync::broadcast;
//!
//! let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
//! runtime.block_on(async {
//!     let (sender, mut one) = broadcast::channel(2);
//!     let mut other = sender.subscribe();
//!     sender.send(1)?;
//!     sender.send(2)?;
//!     assert_eq!((one.recv().await, one.recv().await), (Ok(1), Ok(2)));
//!     // The channel has room for two: who has not received the first by now has missed it.
//!     sender.send(3)?;
//!     assert_eq!(other.recv().await, Err(broadcast::RecvError::Lagged(1)));
//!     assert_eq!((other.recv().await, other.recv().await), (Ok(2), Ok(3)));
//!     Ok::<(), broadcast::SendError<u32>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;

use self::ring::{Next, Ring};
use super::crowd::{Count, raise};
use super::doors::{Doors, poll_passed};
use super::error::came_back;
use super::pool::Lasting;
use super::seat::Seat;
use crate::sched::turn::poll_share;
use crate::wait_graph::note::hands_out;

mod ring;

/// A channel that keeps so many messages for receivers that have not received them.
///
/// A sender never waits: where all room is taken, the oldest message goes, and who has not received it is told how many he
/// missed. A message is shared by all who receive it, and each of them gets a clone; the last gets the message itself.
/// It is dropped as soon as nobody will receive it.
///
/// # Panics
/// With a bound of 0.
pub fn channel<T: Clone>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(bound);
    let receiver = sender.subscribe();
    (sender, receiver)
}

struct Shared<T> {
    doors: &'static Doors,
    _lasting: Lasting<Doors>,
    ring: Mutex<Ring<T>>,
}

/// The end that sends. With the last of its clones the channel ends, after what was sent.
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that receives all that was sent since it was made.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    next: u64,
}

/// Nobody receives: the message comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Why no message was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// All senders are gone, and all they sent was received.
    Closed,
    /// So many messages were missed, as this receiver was too slow. The next is the oldest that is left.
    Lagged(u64),
}

/// Why no message was received at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is none; one may come.
    Empty,
    /// All senders are gone, and all they sent was received.
    Closed,
    /// So many messages were missed, as this receiver was too slow. The next is the oldest that is left.
    Lagged(u64),
}

impl<T> Sender<T> {
    /// A channel without a receiver, as [`channel`].
    ///
    /// # Panics
    /// With a bound of 0.
    pub fn new(bound: usize) -> Sender<T> {
        assert!(bound > 0, "a channel needs room for one message at least");
        let lasting = Lasting::new();
        let doors = lasting.get_or(|_| ());
        Sender(Arc::new(Shared { doors, _lasting: lasting, ring: Mutex::new(Ring::new(bound)) }))
    }

    /// Sends to all receivers that there are: how many.
    ///
    /// # Errors
    /// [`SendError`], with the message.
    pub fn send(&self, message: T) -> Result<usize, SendError<T>> {
        hands_out::<T>();
        let mut ring = self.0.ring.lock();
        let receivers = ring.receivers();
        if receivers == 0 {
            drop(ring);
            return Err(SendError(message));
        }
        let (oldest, sent) = ring.push(message);
        drop(ring);
        if let Some(sent) = sent {
            raise(&self.0.doors.news, sent);
        }
        // Its destructor may panic, or take long.
        drop(oldest);
        Ok(receivers)
    }

    /// A receiver of what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.0)
    }

    /// Waits until there is no receiver.
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        Closed { seat: Seat::new(&self.0.doors.desertions), place: Location::caller(), shared: &self.0 }
    }

    /// How many messages are kept for receivers that have not received them.
    pub fn len(&self) -> usize {
        self.0.ring.lock().len()
    }

    /// Whether all that was sent was received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.0.ring.lock().receivers()
    }

    /// Whether both are of the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A sender that does not keep the channel from ending.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender(self.0.clone())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.ring.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut ring = self.0.ring.lock();
        ring.senders -= 1;
        let is_last = ring.senders == 0;
        drop(ring);
        if is_last {
            raise(&self.0.doors.news, u64::MAX);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A sender that does not keep the channel from ending.
pub struct WeakSender<T>(Arc<Shared<T>>);

impl<T> WeakSender<T> {
    /// A sender, while there is another.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        let mut ring = self.0.ring.lock();
        if ring.senders == 0 {
            return None;
        }
        ring.senders += 1;
        drop(ring);
        Some(Sender(self.0.clone()))
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> WeakSender<T> {
        WeakSender(self.0.clone())
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSender").finish_non_exhaustive()
    }
}

impl<T> Receiver<T> {
    fn new(shared: &Arc<Shared<T>>) -> Receiver<T> {
        let next = shared.ring.lock().enter();
        Receiver { shared: shared.clone(), next }
    }

    /// A receiver of what is sent from now on; also where all senders are gone, when it receives nothing.
    pub fn resubscribe(&self) -> Receiver<T> {
        Receiver::new(&self.shared)
    }

    /// How many messages are there for this receiver, missed ones included.
    pub fn len(&self) -> usize {
        (self.shared.ring.lock().sent() - self.next) as usize
    }

    /// Whether no message is there for this receiver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all senders are gone.
    pub fn is_closed(&self) -> bool {
        self.shared.ring.lock().senders == 0
    }

    /// How many senders there are.
    pub fn sender_strong_count(&self) -> usize {
        self.shared.ring.lock().senders
    }

    /// Whether both are of the same channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T: Clone> Receiver<T> {
    /// The next message.
    ///
    /// # Errors
    /// [`RecvError`].
    ///
    /// # Cancellation
    /// Dropped before it is ready, it has taken nothing.
    #[track_caller]
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv { seat: Seat::new(&self.shared.doors.news), place: Location::caller(), receiver: self }
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let next = self.shared.ring.lock().take(&mut self.next);
        received(next)
    }
}

fn received<T: Clone>(next: Next<T>) -> Result<T, TryRecvError> {
    match next {
        // The last of those who share a message has it for himself.
        Next::Message(message) => Ok(Arc::try_unwrap(message).unwrap_or_else(|message| T::clone(&message))),
        Next::Missed(count) => Err(TryRecvError::Lagged(count)),
        Next::Nothing => Err(TryRecvError::Empty),
        Next::Never => Err(TryRecvError::Closed),
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut ring = self.shared.ring.lock();
        let (unread, deserted) = ring.leave(self.next);
        drop(ring);
        if let Some(times) = deserted {
            raise(&self.shared.doors.desertions, times);
        }
        drop(unread);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The future of [`Receiver::recv`].
#[must_use = "nothing is received before it is awaited"]
pub struct Recv<'a, T> {
    // The seat is left before the channel is let go of.
    seat: Seat<Count>,
    place: &'static Location<'static>,
    receiver: &'a mut Receiver<T>,
}

impl<T: Clone> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(poll_share(cx));
        let this = &mut *self;
        loop {
            let Receiver { shared, next } = &mut *this.receiver;
            let next = shared.ring.lock().take_or_await(next);
            match received(next) {
                Ok(message) => return Poll::Ready(Ok(message)),
                Err(TryRecvError::Lagged(count)) => return Poll::Ready(Err(RecvError::Lagged(count))),
                Err(TryRecvError::Closed) => return Poll::Ready(Err(RecvError::Closed)),
                Err(TryRecvError::Empty) => {}
            }
            ready!(poll_passed(&mut this.seat, cx, this.receiver.next, this.place));
        }
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").field("receiver", self.receiver).finish_non_exhaustive()
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
            let Some(times) = self.shared.ring.lock().desertions_so_far() else { return Poll::Ready(()) };
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

came_back!("nobody receives; the message came back");

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Closed => f.write_str("all senders are gone"),
            RecvError::Lagged(count) => write!(f, "{count} messages were missed"),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            TryRecvError::Empty => f.write_str("no message is there"),
            TryRecvError::Closed => RecvError::Closed.fmt(f),
            TryRecvError::Lagged(count) => RecvError::Lagged(count).fmt(f),
        }
    }
}

impl Error for RecvError {}
impl Error for TryRecvError {}

#[cfg(test)]
mod tests;
