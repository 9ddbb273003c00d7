//! A sender for futures that are written by hand: room first, then the message.
//!
//! Owns: [`PollSender`].

use std::fmt;
use std::panic::Location;
use std::task::{Context, Poll, ready};

use super::SendError;
use super::bounded::{Sender, poll_room};
use crate::sync::room::Room;
use crate::sync::seat::Seat;

/// A sender that is polled for room, and sends when it has it.
///
/// Dropped, it gives back its place in line, or the room that it has.
///
/// ```
/// use std::future::poll_fn;
///
/// use laneway_runtime::sync::mpsc;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// runtime.block_on(async {
///     let (sender, mut receiver) = mpsc::channel(1);
///     let mut sender = mpsc::PollSender::new(sender);
///     assert_eq!(poll_fn(|cx| sender.poll_ready(cx)).await, Ok(()));
///     assert_eq!(sender.send_item(7), Ok(()));
///     assert_eq!(receiver.recv().await, Some(7));
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PollSender<T> {
    // Left before the channel is let go of.
    seat: Seat<Room>,
    has_room: bool,
    sender: Sender<T>,
}

impl<T> PollSender<T> {
    /// One that has no room yet.
    pub fn new(sender: Sender<T>) -> PollSender<T> {
        PollSender { seat: Seat::new(&sender.0.0.core.room), has_room: false, sender }
    }

    /// Waits for room for one message, and keeps it.
    ///
    /// # Errors
    /// [`SendError`]: the receiver is gone, or has closed the channel.
    #[track_caller]
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        if !self.has_room {
            let place = Location::caller();
            ready!(poll_room(&self.sender.0.0, &mut self.seat, 1, place, cx))?;
            self.has_room = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends, with the room that it has.
    ///
    /// # Errors
    /// [`SendError`], with the message: the receiver is gone.
    ///
    /// # Panics
    /// Where [`PollSender::poll_ready`] was not ready since the last message.
    pub fn send_item(&mut self, message: T) -> Result<(), SendError<T>> {
        assert!(self.has_room, "a message was sent before there was room for it");
        self.has_room = false;
        self.sender.0.0.push(message).map_err(SendError)
    }

    /// Gives back the place in line or the room that it has: whether it had any.
    pub fn abort(&mut self) -> bool {
        let had = self.has_room || self.seat.has_waited();
        self.seat = Seat::new(&self.sender.0.0.core.room);
        if std::mem::take(&mut self.has_room) {
            self.sender.0.0.give(1);
        }
        had
    }

    /// The sender.
    pub fn sender(&self) -> &Sender<T> {
        &self.sender
    }
}

impl<T> Drop for PollSender<T> {
    fn drop(&mut self) {
        self.abort();
    }
}

impl<T> Clone for PollSender<T> {
    fn clone(&self) -> PollSender<T> {
        PollSender::new(self.sender.clone())
    }
}

impl<T> fmt::Debug for PollSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollSender").field("sender", &self.sender).finish_non_exhaustive()
    }
}
