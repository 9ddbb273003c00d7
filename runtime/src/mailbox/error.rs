//! Why a message did not get into a mailbox. It is handed back in every case.

use std::fmt;

use crate::wait_graph::Deadlock;

/// Why a message was not queued. It is handed back in every case.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendError<M> {
    /// The mailbox is full, or others wait before us; the message is returned, nothing was queued.
    Full(M),
    /// The lane is gone, or the caller's [is abandoned](crate::lane::is_abandoned); the message is returned, and this will
    /// never succeed again.
    Gone(M),
}

impl<M> TrySendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            TrySendError::Full(message) | TrySendError::Gone(message) => message,
        }
    }
}

impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Gone(_) => "Gone(..)",
        })
    }
}

impl<M> fmt::Display for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the mailbox is full; the message is returned",
            TrySendError::Gone(_) => "the lane is gone; the message is returned",
        })
    }
}

impl<M> std::error::Error for TrySendError<M> {}

/// Why a message that was to wait for room was not queued. It is handed back in every case.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsent<M> {
    /// The lane is gone, or the caller's [is abandoned](crate::lane::is_abandoned); the message is returned, and this will
    /// never succeed again.
    Gone(M),
    /// The lane's mailbox is full, and it waits, itself or by others, for the one that sends; the message is returned.
    Deadlock(Box<Undelivered<M>>),
}

/// A message that was not queued, as its sender and the lane that it is for would wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered<M> {
    /// The message.
    pub message: M,
    /// Who waits for whom.
    pub deadlock: Deadlock,
}

impl<M> Unsent<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            Unsent::Gone(message) => message,
            Unsent::Deadlock(undelivered) => undelivered.message,
        }
    }
}

impl<M> fmt::Debug for Unsent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsent::Gone(_) => f.write_str("Gone(..)"),
            Unsent::Deadlock(undelivered) => write!(f, "Deadlock(.., {:?})", undelivered.deadlock),
        }
    }
}

impl<M> fmt::Display for Unsent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsent::Gone(_) => f.write_str("the lane is gone; the message is returned"),
            Unsent::Deadlock(undelivered) => write!(f, "{}; the message is returned", undelivered.deadlock),
        }
    }
}

impl<M> std::error::Error for Unsent<M> {}
