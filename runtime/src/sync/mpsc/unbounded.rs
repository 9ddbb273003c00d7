//! The ends of a channel without a bound.
//!
//! Owns: [`UnboundedSender`] and [`UnboundedReceiver`]. Underneath is the same channel, with more permits than memory.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::chan::{Chan, Closed, Recv, RecvMany, Rx, Tx, pair};
use super::receiver::receiver;
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

receiver!(UnboundedReceiver);

impl<T> UnboundedReceiver<T> {
    /// Lets no more messages in. What is queued can be received.
    pub fn close(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
impl<T> UnboundedReceiver<T> {
    /// For how many messages the channel has memory.
    pub(super) fn capacity_kept(&self) -> usize {
        self.0.capacity_kept()
    }
}
