//! The messages of a broadcast channel, each with the number of receivers that have yet to receive it.
//!
//! Owns: [`Ring`]. Knows nothing of waiting. What is taken out is given to the caller, to be dropped when the lock around
//! this is not held.
//!
//! # Invariants
//! 1. The messages kept are those from number `first` on, at most `bound` of them. `left` of one is how many receivers
//!    have a smaller or equal `next`; the first one's is not 0.
//! 2. A receiver's `next` is at most the number of messages sent; where it is smaller than `first`, that receiver missed
//!    those in between, as nothing else takes out what has receivers left.
//! 3. `awaited` is set by whoever goes on to wait as he found nothing, by the step in which he did. Whoever sends then
//!    clears it, and tells all who wait: so who sends where it is not set has nobody to tell.

use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Ring<T> {
    bound: usize,
    messages: VecDeque<Kept<T>>,
    /// The number of the oldest message kept.
    first: u64,
    receivers: usize,
    pub(crate) senders: usize,
    /// How often the last receiver went.
    desertions: u64,
    awaited: bool,
}

#[derive(Debug)]
struct Kept<T> {
    /// `None` once all have received it.
    message: Option<Arc<T>>,
    left: usize,
}

/// What a receiver finds.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Message(Arc<T>),
    /// So many were missed.
    Missed(u64),
    /// Nothing so far.
    Nothing,
    /// Nothing, and no sender.
    Never,
}

impl<T> Ring<T> {
    pub(crate) fn new(bound: usize) -> Ring<T> {
        Ring { bound, messages: VecDeque::new(), first: 0, receivers: 0, senders: 1, desertions: 0, awaited: false }
    }

    /// Adds a message for all receivers, of whom there is one: the message that had to go for it, and how many were sent,
    /// where somebody waits to be told.
    pub(crate) fn push(&mut self, message: T) -> (Option<Arc<T>>, Option<u64>) {
        let is_full = self.messages.len() == self.bound;
        let oldest = if is_full { self.messages.pop_front().and_then(|kept| kept.message) } else { None };
        self.first += u64::from(is_full);
        self.messages.push_back(Kept { message: Some(Arc::new(message)), left: self.receivers });
        self.drop_read();
        let awaited = std::mem::take(&mut self.awaited);
        (oldest, awaited.then(|| self.sent()))
    }

    /// As [`Ring::take`], for a receiver that waits where there is nothing.
    pub(crate) fn take_or_await(&mut self, next: &mut u64) -> Next<T> {
        let found = self.take(next);
        self.awaited |= matches!(found, Next::Nothing);
        found
    }

    /// Takes what is next for a receiver.
    pub(crate) fn take(&mut self, next: &mut u64) -> Next<T> {
        let Some(at) = next.checked_sub(self.first) else {
            let missed = self.first - *next;
            *next = self.first;
            return Next::Missed(missed);
        };
        let Some(message) = self.messages.get_mut(at as usize).and_then(Kept::take) else {
            return if self.senders == 0 { Next::Never } else { Next::Nothing };
        };
        *next += 1;
        self.drop_read();
        Next::Message(message)
    }

    /// One more receiver: what he begins with.
    pub(crate) fn enter(&mut self) -> u64 {
        self.receivers += 1;
        self.sent()
    }

    /// A receiver goes: what nobody else will receive, and, where he was the last, how often that has happened.
    pub(crate) fn leave(&mut self, next: u64) -> (Vec<Arc<T>>, Option<u64>) {
        self.receivers -= 1;
        let had = next.saturating_sub(self.first) as usize;
        let freed = self.messages.iter_mut().skip(had).filter_map(Kept::leave).collect();
        self.drop_read();
        if self.receivers > 0 {
            return (freed, None);
        }
        self.desertions += 1;
        (freed, Some(self.desertions))
    }

    /// Takes out what has nothing left in it.
    fn drop_read(&mut self) {
        while self.messages.front().is_some_and(|kept| kept.left == 0) {
            self.messages.pop_front();
            self.first += 1;
        }
    }

    /// How many messages were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn receivers(&self) -> usize {
        self.receivers
    }

    /// How often the last receiver went, while there is another.
    pub(crate) fn desertions_so_far(&self) -> Option<u64> {
        (self.receivers > 0).then_some(self.desertions)
    }
}

impl<T> Kept<T> {
    /// One receives it.
    fn take(&mut self) -> Option<Arc<T>> {
        self.left -= 1;
        if self.left == 0 { self.message.take() } else { self.message.clone() }
    }

    /// One will not receive it: the message, where nobody will.
    fn leave(&mut self) -> Option<Arc<T>> {
        self.left -= 1;
        if self.left == 0 { self.message.take() } else { None }
    }
}
