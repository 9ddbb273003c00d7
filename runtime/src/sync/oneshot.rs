//! One value, from one sender to one receiver.
//!
//! Owns: [`Sender`] and [`Receiver`]. What they share is two cells of `reply/cell.rs`, which are message nodes from the
//! worker's pool: one for the value, one in which the receiver says that it is gone. Neither is a box.
//!
//! # Invariants
//! 1. The sender settles the value's cell once: with the value, or with none when it is dropped. So a receiver hears of
//!    its end at once.
//! 2. The receiver settles the other cell when it closes or is dropped, after it has left the value's cell. So a sender that
//!    hears of it gets its value back.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::error::came_back;
use crate::mailbox::node;
use crate::panic::contain;
use crate::reply::cell::{self, AnswererEnd, WaiterEnd};
use crate::sched::turn::poll_share;
use crate::wait_graph::note::{hands_out, parks_otherwise};

/// A channel for one value.
///
/// ```
/// use laneway_runtime::sync::oneshot;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// let (sender, receiver) = oneshot::channel();
/// sender.send(7)?;
/// assert_eq!(runtime.block_on(receiver), Ok(7));
///
/// let (sender, receiver) = oneshot::channel::<u32>();
/// drop(sender);
/// assert_eq!(runtime.block_on(receiver), Err(oneshot::RecvError));
///
/// let (sender, receiver) = oneshot::channel();
/// drop(receiver);
/// assert_eq!(sender.send(7), Err(oneshot::SendError(7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn channel<T: Send>() -> (Sender<T>, Receiver<T>) {
    let (value, from_sender) = cell::pair(node::lend(), None);
    let (gone, from_receiver) = cell::pair(node::lend(), None);
    let sender = Sender { value: Some(value), closed: Some(from_receiver) };
    (sender, Receiver { value: from_sender, gone: Some(gone), state: State::Open })
}

/// The end that sends. Dropped without a value, it tells the receiver so.
pub struct Sender<T> {
    value: Option<AnswererEnd<Option<T>>>,
    /// `None` once it was found that the receiver is gone.
    closed: Option<WaiterEnd<()>>,
}

/// The end that receives: a future of the value.
///
/// It takes nothing before it is ready; so a lane may await `&mut receiver` several times.
#[must_use = "nothing is received before it is awaited"]
pub struct Receiver<T> {
    value: WaiterEnd<Option<T>>,
    gone: Option<AnswererEnd<()>>,
    state: State<T>,
}

/// What the receiver's end was last found to be.
enum State<T> {
    Open,
    /// Closed, with what had been sent before; `None` where it was nothing.
    Closed(Option<T>),
    Done,
}

/// The receiver is gone, or has closed the channel; the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The sender is gone, and has sent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// Why there was no value at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// It may come.
    Empty,
    /// It never will: the sender is gone, or the value was received.
    Closed,
}

impl<T> Sender<T> {
    /// Sends.
    ///
    /// # Errors
    /// The value, where the receiver is gone. What was sent to a receiver that goes later is dropped with it.
    pub fn send(mut self, value: T) -> Result<(), SendError<T>> {
        hands_out::<T>();
        match self.value.take().map(|end| end.settle(Some(value))) {
            Some(Ok(waker)) => {
                if let Some(waker) = waker {
                    contain(|| waker.wake());
                }
                Ok(())
            }
            Some(Err(Some(value))) => Err(SendError(value)),
            Some(Err(None)) | None => Ok(()),
        }
    }

    /// Whether the receiver is gone, or has closed the channel.
    pub fn is_closed(&self) -> bool {
        !self.value.as_ref().is_some_and(AnswererEnd::is_awaited)
    }

    /// Waits until the receiver is gone, or has closed the channel.
    pub async fn closed(&mut self) {
        poll_fn(|cx| self.poll_closed(cx)).await;
    }

    /// As [`Sender::closed`], for futures that are written by hand.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(poll_share(cx));
        if let Some(end) = &mut self.closed {
            ready!(or_park(end.poll(cx)));
            self.closed = None;
        }
        Poll::Ready(())
    }
}

/// What is pending is noted as something for which nobody in particular is waited.
fn or_park<R>(polled: Poll<R>) -> Poll<R> {
    if polled.is_pending() {
        parks_otherwise();
    }
    polled
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(end) = self.value.take()
            && let Ok(Some(waker)) = end.settle(None)
        {
            contain(|| waker.wake());
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl<T> Receiver<T> {
    /// The value, if it is there.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let value = match &mut self.state {
            State::Open => self.value.try_take().ok_or(TryRecvError::Empty)?,
            State::Closed(value) => value.take(),
            State::Done => None,
        };
        self.finish();
        value.ok_or(TryRecvError::Closed)
    }

    /// Lets no value in. One that was sent before can be received.
    pub fn close(&mut self) {
        if let State::Open = self.state {
            self.state = State::Closed(self.value.leave().flatten());
            self.tell();
        }
    }

    /// Whether there is a value to be received.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done | State::Closed(None))
    }

    fn finish(&mut self) {
        self.state = State::Done;
        self.tell();
    }

    /// Lets the sender know that nobody receives any more.
    fn tell(&mut self) {
        if let Some(Ok(Some(waker))) = self.gone.take().map(|end| end.settle(())) {
            contain(|| waker.wake());
        }
    }
}

impl<T> Unpin for Receiver<T> {}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    /// # Panics
    /// After it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        ready!(poll_share(cx));
        let value = match &mut self.state {
            State::Open => ready!(or_park(self.value.poll(cx))),
            State::Closed(value) => value.take(),
            State::Done => panic!("a receiver was polled after it was ready"),
        };
        self.finish();
        Poll::Ready(value.ok_or(RecvError))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Dropped after the sender was told: its destructor may panic.
        let value = self.value.leave();
        self.tell();
        drop(value);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("is_terminated", &self.is_terminated()).finish_non_exhaustive()
    }
}

came_back!("nobody receives; the value came back");

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender is gone and has sent nothing")
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "nothing was sent so far",
            TryRecvError::Closed => "nothing was sent, and nothing will be",
        })
    }
}

impl Error for RecvError {}
impl Error for TryRecvError {}

#[cfg(test)]
mod tests;
