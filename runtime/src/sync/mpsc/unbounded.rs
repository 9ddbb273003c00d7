//! The ends of a channel without a bound.
//!
//! Owns: [`UnboundedSender`] and [`UnboundedReceiver`]. Underneath is the same channel, with more permits than memory.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::chan::{Chan, Closed, Recv, RecvMany, Rx, Tx, pair};
use super::{SendError, TryRecvError};
use crate::sync::room::UNBOUNDED;

/// A channel that takes all that is sent.
///
/// Nothing keeps a sender that is faster than the receiver from filling the memory: mind that elsewhere, or use
/// [`channel`](super::channel).
///
/// ```
/// use laneway_runtime::sync::mpsc;
///
/// let (sender, mut receiver) = mpsc::unbounded_channel();
/// sender.send(7)?;
/// assert_eq!(receiver.try_recv(), Ok(7));
/// # Ok::<(), mpsc::SendError<u32>>(())
/// ```
pub fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    let (tx, rx) = pair(UNBOUNDED);
    (UnboundedSender(tx), UnboundedReceiver(rx))
}

/// The end that sends. With the last of its clones the channel ends, after what was queued.
pub struct UnboundedSender<T>(Tx<T>);

impl<T> UnboundedSender<T> {
    /// Sends.
    ///
    /// # Errors
    /// [`SendError`], with the message.
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.0.try_send(message).map_err(|(_closed, message)| SendError(message))
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

    /// Whether both are of the same channel.
    pub fn same_channel(&self, other: &UnboundedSender<T>) -> bool {
        Arc::ptr_eq(&self.0.0, &other.0.0)
    }

    /// A sender that does not keep the channel from ending.
    pub fn downgrade(&self) -> WeakUnboundedSender<T> {
        WeakUnboundedSender(self.0.0.clone())
    }

    /// How many senders there are.
    pub fn strong_count(&self) -> usize {
        self.0.0.senders()
    }
}

impl<T> Clone for UnboundedSender<T> {
    fn clone(&self) -> UnboundedSender<T> {
        UnboundedSender(self.0.clone())
    }
}

impl<T> fmt::Debug for UnboundedSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnboundedSender").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// A sender that does not keep the channel from ending.
pub struct WeakUnboundedSender<T>(Arc<Chan<T>>);

impl<T> WeakUnboundedSender<T> {
    /// A sender, while there is another.
    pub fn upgrade(&self) -> Option<UnboundedSender<T>> {
        self.0.upgrade().map(UnboundedSender)
    }
}

impl<T> Clone for WeakUnboundedSender<T> {
    fn clone(&self) -> WeakUnboundedSender<T> {
        WeakUnboundedSender(self.0.clone())
    }
}

impl<T> fmt::Debug for WeakUnboundedSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakUnboundedSender").finish_non_exhaustive()
    }
}

/// The end that receives. Dropped, it drops what is queued, and senders get their messages back.
pub struct UnboundedReceiver<T>(Rx<T>);

impl<T> UnboundedReceiver<T> {
    /// The next message; `None` once all senders are gone, or the channel is closed, and nothing is left.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it has taken nothing.
    pub fn recv(&mut self) -> Recv<'_, T> {
        self.0.recv()
    }

    /// Waits for messages and appends up to `limit` of them to `buffer`: how many, none where there will be none. Each
    /// counts as an operation of the lane's turn, so that who takes many lets others run before he takes more.
    ///
    /// # Cancellation
    /// As [`UnboundedReceiver::recv`].
    pub fn recv_many<'a>(&'a mut self, buffer: &'a mut Vec<T>, limit: usize) -> RecvMany<'a, T> {
        RecvMany { receiver: &mut self.0, buffer, limit }
    }

    /// The next message, if one is queued.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// As [`UnboundedReceiver::recv`], for futures that are written by hand.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }

    /// As [`UnboundedReceiver::recv_many`], for futures that are written by hand.
    pub fn poll_recv_many(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<T>, limit: usize) -> Poll<usize> {
        self.0.poll_recv_many(cx, buffer, limit)
    }

    /// Lets no more messages in. What is queued can be received.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// Whether the channel was closed, or all senders are gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// How many messages are queued.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no message is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many senders there are.
    pub fn sender_strong_count(&self) -> usize {
        self.0.chan.senders()
    }
}

impl<T> Stream for UnboundedReceiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx)
    }
}

impl<T> fmt::Debug for UnboundedReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("UnboundedReceiver");
        fields.field("len", &self.len()).field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl<T> UnboundedReceiver<T> {
    /// For how many messages the channel has memory.
    pub(super) fn capacity_kept(&self) -> usize {
        self.0.capacity_kept()
    }
}
