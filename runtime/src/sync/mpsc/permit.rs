//! Room in a channel that was reserved for messages to come.
//!
//! Owns: the permits as users have them. Each gives back what it was not used for when it is dropped.
//!
//! A permit may be leaked, as any value may; the channel has so much less room then, and a receiver that closes it waits for
//! the permit for as long as there are senders.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::bounded::Sender;
use super::chan::{Chan, Tx};

/// Room for one message.
///
/// Leaked, as by `mem::forget`, it takes its room from the channel for good, also when its lane dies.
#[must_use = "the room is given back when this is dropped"]
pub struct Permit<'a, T>(Option<&'a Chan<T>>);

impl<'a, T> Permit<'a, T> {
    pub(super) fn new(chan: &'a Chan<T>) -> Permit<'a, T> {
        Permit(Some(chan))
    }

    /// Sends. The message is dropped where the receiver is gone: nobody would have received it.
    pub fn send(mut self, message: T) {
        if let Some(chan) = self.0.take() {
            drop(chan.push(message));
        }
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        if let Some(chan) = self.0.take() {
            chan.give(1);
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// Room for several messages: an iterator of permits.
#[must_use = "the room is given back when this is dropped"]
pub struct Permits<'a, T> {
    chan: &'a Chan<T>,
    left: u32,
}

impl<'a, T> Permits<'a, T> {
    pub(super) fn new(chan: &'a Chan<T>, left: u32) -> Permits<'a, T> {
        Permits { chan, left }
    }
}

impl<'a, T> Iterator for Permits<'a, T> {
    type Item = Permit<'a, T>;

    fn next(&mut self) -> Option<Permit<'a, T>> {
        self.left = self.left.checked_sub(1)?;
        Some(Permit::new(self.chan))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl<T> ExactSizeIterator for Permits<'_, T> {}

impl<T> Drop for Permits<'_, T> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.chan.give(self.left);
        }
    }
}

impl<T> fmt::Debug for Permits<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Room for one message, with the sender that reserved it.
#[must_use = "the room is given back when this is dropped"]
pub struct OwnedPermit<T>(Option<Tx<T>>);

impl<T> OwnedPermit<T> {
    pub(super) fn new(tx: Tx<T>) -> OwnedPermit<T> {
        OwnedPermit(Some(tx))
    }

    /// Sends, and gives the sender back. The message is dropped where the receiver is gone.
    ///
    /// # Panics
    /// Never: the sender is there until the permit is used.
    pub fn send(mut self, message: T) -> Sender<T> {
        let tx = self.0.take().expect("a permit is used once");
        drop(tx.0.push(message));
        Sender(tx)
    }

    /// Gives the room back, and the sender.
    ///
    /// # Panics
    /// Never: the sender is there until the permit is used.
    pub fn release(mut self) -> Sender<T> {
        let tx = self.0.take().expect("a permit is used once");
        tx.0.give(1);
        Sender(tx)
    }

    /// Whether both are of the same channel.
    pub fn same_channel(&self, other: &OwnedPermit<T>) -> bool {
        let chan = |permit: &OwnedPermit<T>| permit.0.as_ref().map(|tx| Arc::as_ptr(&tx.0));
        chan(self) == chan(other)
    }
}

impl<T> Drop for OwnedPermit<T> {
    fn drop(&mut self) {
        if let Some(tx) = mem::take(&mut self.0) {
            tx.0.give(1);
        }
    }
}

impl<T> fmt::Debug for OwnedPermit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").finish_non_exhaustive()
    }
}
