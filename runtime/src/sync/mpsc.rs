//! A queue with many senders and one receiver.
//!
//! Owns: the story and the errors. The parts: `mpsc/chan.rs`, what both ends share; `mpsc/bounded.rs` and
//! `mpsc/unbounded.rs`, the ends as users have them; `mpsc/permit.rs`, room that was reserved; `mpsc/ready.rs`, a sender for those who poll.
//!
//! A lane has a mailbox, and most lanes need no other channel. This one is for what is not a lane's: work shared out inside
//! a lane, a stream handed to a library, an end that goes from hand to hand.
//!
//! ```
//! use laneway_runtime::sync::mpsc;
//!
//! let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
//! runtime.block_on(async {
//!     let (sender, mut receiver) = mpsc::channel(2);
//!     sender.send("one").await?;
//!     sender.send("two").await?;
//!     assert_eq!(sender.try_send("three"), Err(mpsc::TrySendError::Full("three")));
//!     drop(sender);
//!     assert_eq!((receiver.recv().await, receiver.recv().await), (Some("one"), Some("two")));
//!     assert_eq!(receiver.recv().await, None);
//!     Ok::<(), mpsc::SendError<&str>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::error::Error;
use std::fmt;

use super::error::came_back;
use super::pool;
use crate::wait_list::By;

mod bounded;
mod chan;
mod permit;
mod ready;
mod receiver;
mod unbounded;

pub use bounded::{Receiver, Reserve, ReserveMany, ReserveOwned, Sender, Sending, WeakSender, channel};
pub use chan::{Closed, Recv, RecvMany};
pub use permit::{OwnedPermit, Permit, Permits};
pub use ready::PollSender;
pub use unbounded::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};

/// The receiver is gone, or has closed the channel: the message comes back, and nothing was queued.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Why a message was not queued at once; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room, or somebody else is first in line for it.
    Full(T),
    /// The receiver is gone, or has closed the channel.
    Closed(T),
}

/// Why there was no message at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// None is queued; one may come.
    Empty,
    /// None is queued, and none will be.
    Disconnected,
}

impl<T> SendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> TrySendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(message) | TrySendError::Closed(message) => message,
        }
    }
}

const CLOSED: &str = "the channel is closed; the message came back";

came_back!(CLOSED);

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full",
            TrySendError::Closed(_) => "Closed",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full; the message came back",
            TrySendError::Closed(_) => CLOSED,
        })
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "no message is queued",
            TryRecvError::Disconnected => "no message is queued, and none will be",
        })
    }
}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(SendError(message): SendError<T>) -> TrySendError<T> {
        TrySendError::Closed(message)
    }
}

impl<T> Error for TrySendError<T> {}
impl Error for TryRecvError {}

/// As [`pool::had_by`], for all channels of this kind.
pub(super) fn had_by(by: By) -> (usize, usize) {
    pool::had_by::<chan::Core>(by)
}

#[cfg(test)]
mod tests;
