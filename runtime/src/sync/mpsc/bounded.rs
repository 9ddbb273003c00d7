//! The ends of a channel with a bound.
//!
//! Owns: [`Sender`] and [`Receiver`], and the futures of those who wait for room.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::chan::{Chan, Closed, Recv, RecvMany, Rx, Tx, pair};
use super::permit::{OwnedPermit, Permit, Permits};
use super::receiver::receiver;
use super::{SendError, TryRecvError, TrySendError};
use crate::sched::turn::poll_share;
use crate::sync::room::{OnTake, Room};
use crate::sync::seat::Seat;

/// A channel with room for so many messages that were not received.
///
/// First come, first served, also among the senders that wait for room. What a sender reserved is his until he drops it.
///
/// # Panics
/// With a bound of 0.
pub fn channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    assert!(bound > 0, "a channel needs room for one message at least");
    let (tx, rx) = pair((bound as u64).min(crate::sync::room::UNBOUNDED));
    (Sender(tx), Receiver(rx))
}

/// The end that sends. With the last of its clones the channel ends, after what was queued.
pub struct Sender<T>(pub(super) Tx<T>);

impl<T> Sender<T> {
    /// Sends, and waits for room where there is none.
    ///
    /// # Errors
    /// [`SendError`], with the message, also where the receiver goes while this waits.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in line and has queued nothing.
    #[track_caller]
    pub fn send(&self, message: T) -> Sending<'_, T> {
        Sending { room: Waiting::new(&self.0.0, 1), message: Some(message) }
    }

    /// Sends, if there is room and nobody waits for it.
    ///
    /// # Errors
    /// [`TrySendError`], with the message.
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(message).map_err(|(why, message)| match why {
            OnTake::Closed => TrySendError::Closed(message),
            OnTake::Full | OnTake::Taken => TrySendError::Full(message),
        })
    }

    /// Waits for room for a message, to be sent when it likes.
    ///
    /// # Errors
    /// [`SendError`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn reserve(&self) -> Reserve<'_, T> {
        Reserve(Waiting::new(&self.0.0, 1))
    }

    /// Waits for room for several messages at once.
    ///
    /// # Errors
    /// [`SendError`], also where the channel is smaller than that.
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn reserve_many(&self, count: u32) -> ReserveMany<'_, T> {
        ReserveMany(Waiting::new(&self.0.0, count))
    }

    /// As [`Sender::reserve`], for a permit that has the sender in it.
    ///
    /// # Errors
    /// [`SendError`].
    ///
    /// # Cancellation
    /// As [`Sender::send`]; the sender is dropped with it.
    #[track_caller]
    pub fn reserve_owned(self) -> ReserveOwned<T> {
        ReserveOwned { seat: Seat::new(&self.0.0.core.room), place: Location::caller(), tx: Some(self.0) }
    }

    /// Room for a message, if there is some and nobody waits for it.
    ///
    /// # Errors
    /// [`TrySendError`].
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, TrySendError<()>> {
        self.try_take(1).map(|()| Permit::new(&self.0.0))
    }

    /// Room for several messages, if there is so much and nobody waits for it.
    ///
    /// # Errors
    /// [`TrySendError`].
    pub fn try_reserve_many(&self, count: u32) -> Result<Permits<'_, T>, TrySendError<()>> {
        self.try_take(count).map(|()| Permits::new(&self.0.0, count))
    }

    /// As [`Sender::try_reserve`], for a permit that has the sender in it.
    ///
    /// # Errors
    /// [`TrySendError`], with the sender.
    pub fn try_reserve_owned(self) -> Result<OwnedPermit<T>, TrySendError<Sender<T>>> {
        match self.try_take(1) {
            Ok(()) => Ok(OwnedPermit::new(self.0)),
            Err(TrySendError::Full(())) => Err(TrySendError::Full(self)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(self)),
        }
    }

    fn try_take(&self, count: u32) -> Result<(), TrySendError<()>> {
        match self.0.0.word().try_take(count) {
            OnTake::Taken => Ok(()),
            OnTake::Full => Err(TrySendError::Full(())),
            OnTake::Closed => Err(TrySendError::Closed(())),
        }
    }

    /// Waits until the receiver is gone, or has closed the channel.
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        self.0.closed()
    }

    /// Whether the receiver is gone, or has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.0.0.word().is_closed()
    }

    /// For how many messages there is room.
    pub fn capacity(&self) -> usize {
        self.0.0.free()
    }

    /// For how many messages there is room when none is queued.
    pub fn max_capacity(&self) -> usize {
        self.0.0.permits as usize
    }

    /// How many wait for room.
    pub fn waiting(&self) -> usize {
        self.0.0.core.room.waiting()
    }

    /// Whether both are of the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.0.0, &other.0.0)
    }

    /// A sender that does not keep the channel from ending.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender(self.0.0.clone())
    }

    /// How many senders there are.
    pub fn strong_count(&self) -> usize {
        self.0.0.senders()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Sender");
        fields.field("capacity", &self.capacity()).field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// A sender that does not keep the channel from ending.
pub struct WeakSender<T>(Arc<Chan<T>>);

impl<T> WeakSender<T> {
    /// A sender, while there is another.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        self.0.upgrade().map(Sender)
    }

    /// How many senders there are that are not weak.
    pub fn strong_count(&self) -> usize {
        self.0.senders()
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

/// The end that receives. Dropped, it drops what is queued, and senders get their messages back.
pub struct Receiver<T>(Rx<T>);

receiver!(Receiver);

impl<T> Receiver<T> {
    /// Lets no more messages in, but for those for which room was reserved. What is queued can be received.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// For how many messages there is room.
    pub fn capacity(&self) -> usize {
        self.0.chan.free()
    }

    /// For how many messages there is room when none is queued.
    pub fn max_capacity(&self) -> usize {
        self.0.chan.permits as usize
    }
}

/// One who waits for room.
#[derive(Debug)]
struct Waiting<'a, T> {
    chan: &'a Chan<T>,
    seat: Seat<Room>,
    count: u32,
    place: &'static Location<'static>,
}

impl<'a, T> Waiting<'a, T> {
    #[inline]
    #[track_caller]
    fn new(chan: &'a Chan<T>, count: u32) -> Waiting<'a, T> {
        Waiting { chan, seat: Seat::new(&chan.core.room), count, place: Location::caller() }
    }

    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        poll_room(self.chan, &mut self.seat, self.count, self.place, cx)
    }
}

/// Waits for so many permits.
#[inline]
pub(super) fn poll_room<T>(
    chan: &Chan<T>,
    seat: &mut Seat<Room>,
    count: u32,
    place: &'static Location<'static>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), SendError<()>>> {
    // An offer is taken whatever is left of the turn, or it would be passed on.
    if !seat.has_waited() {
        ready!(poll_share(cx));
        match chan.word().try_take(count) {
            OnTake::Taken => return Poll::Ready(Ok(())),
            OnTake::Closed => return Poll::Ready(Err(SendError(()))),
            OnTake::Full => {}
        }
        if u64::from(count) > chan.permits {
            return Poll::Ready(Err(SendError(())));
        }
    }
    seat.poll(cx, count, place).map_err(|_| SendError(()))
}

/// The future of [`Sender::send`].
#[must_use = "nothing is sent before it is awaited"]
pub struct Sending<'a, T> {
    room: Waiting<'a, T>,
    message: Option<T>,
}

impl<T> Unpin for Sending<'_, T> {}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let room = ready!(self.room.poll(cx));
        let message = self.message.take().expect("a send was polled after it was ready");
        Poll::Ready(match room {
            Ok(()) => self.room.chan.push(message).map_err(SendError),
            Err(SendError(())) => Err(SendError(message)),
        })
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("chan", self.room.chan).finish_non_exhaustive()
    }
}

/// The future of [`Sender::reserve`].
#[derive(Debug)]
#[must_use = "nothing is reserved before it is awaited"]
pub struct Reserve<'a, T>(Waiting<'a, T>);

impl<'a, T> Future for Reserve<'a, T> {
    type Output = Result<Permit<'a, T>, SendError<()>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.0.poll(cx))?;
        Poll::Ready(Ok(Permit::new(self.0.chan)))
    }
}

/// The future of [`Sender::reserve_many`].
#[derive(Debug)]
#[must_use = "nothing is reserved before it is awaited"]
pub struct ReserveMany<'a, T>(Waiting<'a, T>);

impl<'a, T> Future for ReserveMany<'a, T> {
    type Output = Result<Permits<'a, T>, SendError<()>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.0.poll(cx))?;
        Poll::Ready(Ok(Permits::new(self.0.chan, self.0.count)))
    }
}

/// The future of [`Sender::reserve_owned`].
#[derive(Debug)]
#[must_use = "nothing is reserved before it is awaited"]
pub struct ReserveOwned<T> {
    // The seat is left before the channel is let go of.
    seat: Seat<Room>,
    place: &'static Location<'static>,
    tx: Option<Tx<T>>,
}

impl<T> Future for ReserveOwned<T> {
    type Output = Result<OwnedPermit<T>, SendError<()>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ReserveOwned { seat, place, tx } = &mut *self;
        let sender = tx.as_ref().expect("a reservation was polled after it was ready");
        ready!(poll_room(&sender.0, seat, 1, place, cx))?;
        let tx = tx.take().expect("it was there just now");
        Poll::Ready(Ok(OwnedPermit::new(tx)))
    }
}
