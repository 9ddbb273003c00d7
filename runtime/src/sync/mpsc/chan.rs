//! What both ends of a channel share: the queue, and the line of those who wait for room in it.
//!
//! Owns: [`Chan`], and its two ends, [`Tx`] and [`Rx`], of which those of users are made.
//!
//! The receiver takes all that is queued by one swap, and hands it out from its own hands: so it locks the queue once a
//! batch. What it has in hand still counts against the bound.
//!
//! # Invariants
//! 1. Whoever pushes has a permit, which is given back when the message is received. `room.rs` says what follows from it.
//! 2. A waker that is in the queue is woken by whatever the receiver waits for: a message, the last sender's end, and, of a
//!    channel that is closed, the last permit's return. Each of them changes what the receiver looks at before it locks the
//!    queue to take the waker; the receiver looks again after it put the waker in.
//! 3. No message is dropped and no waker is cloned, woken or dropped while the queue is locked.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;

use super::TryRecvError;
use crate::lane::waker::keep;
use crate::panic::contain;
use crate::sched::turn::{charge, poll_share};
use crate::sync::crowd::{Count, raise};
use crate::sync::doors::poll_passed;
use crate::sync::pool::{Lasting, Pool, Pooled};
use crate::sync::room::{OnGive, OnTake, Room, RoomWord};
use crate::sync::seat::Seat;
use crate::wait_graph::note::{hands_out, parks_otherwise};
use crate::wait_list::By;
use crate::wait_list::line::Line;

/// What an empty queue keeps of the memory that it had.
const KEPT: usize = 1024;

/// The lasting part of a channel.
#[derive(Debug, Default)]
pub(super) struct Core {
    pub(super) room: Line<Room>,
    /// 1 once the channel is closed.
    closed: Line<Count>,
}

static POOL: Pool<Core> = Pool::new();

impl Pooled for Core {
    fn pool() -> &'static Pool<Core> {
        &POOL
    }

    fn renew(&'static self) {
        self.room.renew();
        self.closed.renew();
    }

    fn had_by(&self, by: By) -> (usize, usize) {
        (0, self.room.waiting_by(by) + self.closed.waiting_by(by))
    }
}

/// A channel.
pub(super) struct Chan<T> {
    pub(super) core: &'static Core,
    _lasting: Lasting<Core>,
    pub(super) permits: u64,
    queue: Mutex<Queue<T>>,
}

struct Queue<T> {
    messages: VecDeque<T>,
    /// Of a receiver that waits.
    waker: Option<Waker>,
    senders: usize,
    /// The receiver was dropped.
    is_gone: bool,
}

/// Both ends of a new channel.
pub(super) fn pair<T>(permits: u64) -> (Tx<T>, Rx<T>) {
    let lasting = Lasting::new();
    let core: &'static Core = lasting.get_or(|core: &'static Core| core.room.fast().begin(permits));
    let queue = Queue { messages: VecDeque::new(), waker: None, senders: 1, is_gone: false };
    let chan = Arc::new(Chan { core, _lasting: lasting, permits, queue: Mutex::new(queue) });
    (Tx(chan.clone()), Rx { chan, in_hand: VecDeque::new(), last_batch: 0 })
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        contain(|| waker.wake());
    }
}

impl<T> Chan<T> {
    #[inline]
    pub(super) fn word(&self) -> &'static RoomWord {
        self.core.room.fast()
    }

    /// Queues a message, for which there is a permit; it comes back where nobody will ever receive it.
    #[inline]
    pub(super) fn push(&self, message: T) -> Result<(), T> {
        hands_out::<T>();
        let mut queue = self.queue.lock();
        if queue.is_gone {
            drop(queue);
            self.give(1);
            return Err(message);
        }
        queue.messages.push_back(message);
        let waker = queue.waker.take();
        drop(queue);
        wake(waker);
        Ok(())
    }

    /// Permits come back of messages that were received, or that will not be sent.
    #[inline]
    pub(super) fn give(&self, count: u32) {
        let closed = match self.word().try_give(count) {
            OnGive::Given { closed } => closed,
            OnGive::Queued => self.core.room.change(|_, word| Room::give(word, count)),
        };
        if closed {
            self.wake_receiver();
        }
    }

    fn wake_receiver(&self) {
        let waker = self.queue.lock().waker.take();
        wake(waker);
    }

    /// Lets no more messages in than have permits.
    fn close(&self) {
        self.core.room.close(Room::close);
        raise(&self.core.closed, 1);
    }

    pub(super) fn free(&self) -> usize {
        usize::try_from(self.word().free()).unwrap_or(usize::MAX)
    }

    pub(super) fn senders(&self) -> usize {
        self.queue.lock().senders
    }

    /// One more sender, where there is one.
    pub(super) fn upgrade(self: &Arc<Self>) -> Option<Tx<T>> {
        let mut queue = self.queue.lock();
        if queue.senders == 0 {
            return None;
        }
        queue.senders += 1;
        drop(queue);
        Some(Tx(self.clone()))
    }
}

impl<T> fmt::Debug for Chan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Chan");
        fields.field("free", &self.word().free()).field("closed", &self.word().is_closed()).finish_non_exhaustive()
    }
}

/// The end that sends: one of the senders that are counted.
#[derive(Debug)]
pub(super) struct Tx<T>(pub(super) Arc<Chan<T>>);

impl<T> Tx<T> {
    /// Sends, where a permit is free.
    #[inline]
    pub(super) fn try_send(&self, message: T) -> Result<(), (OnTake, T)> {
        match self.0.word().try_take(1) {
            OnTake::Taken => self.0.push(message).map_err(|message| (OnTake::Closed, message)),
            not => Err((not, message)),
        }
    }

    #[track_caller]
    pub(super) fn closed(&self) -> Closed<'_, T> {
        Closed { chan: &self.0, seat: Seat::new(&self.0.core.closed), place: Location::caller() }
    }
}

impl<T> Clone for Tx<T> {
    fn clone(&self) -> Tx<T> {
        self.0.queue.lock().senders += 1;
        Tx(self.0.clone())
    }
}

impl<T> Drop for Tx<T> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.senders -= 1;
        let waker = if queue.senders == 0 { queue.waker.take() } else { None };
        drop(queue);
        wake(waker);
    }
}

/// The end that receives.
pub(super) struct Rx<T> {
    pub(super) chan: Arc<Chan<T>>,
    /// The rest of the last batch.
    in_hand: VecDeque<T>,
    last_batch: usize,
}

impl<T> Rx<T> {
    #[inline]
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        ready!(poll_share(cx));
        if self.in_hand.is_empty() && !ready!(self.poll_batch(cx)) {
            return Poll::Ready(None);
        }
        Poll::Ready(self.hand_out())
    }

    /// Waits for a batch of messages; false where there will be none.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.shrink();
        let waker = keep(cx.waker());
        let Rx { chan, in_hand, last_batch } = self;
        let mut queue = chan.queue.lock();
        mem::swap(&mut queue.messages, in_hand);
        *last_batch = in_hand.len();
        if *last_batch > 0 {
            drop(queue);
            return Poll::Ready(true);
        }
        if queue.senders == 0 {
            drop(queue);
            return Poll::Ready(false);
        }
        let old = queue.waker.replace(waker);
        drop(queue);
        drop(old);
        // Invariant 2: one who gave the last permit back before the waker was there is seen here.
        if self.is_over() {
            return Poll::Ready(false);
        }
        parks_otherwise();
        Poll::Pending
    }

    /// Does not keep for ever the memory that many messages once needed.
    fn shrink(&mut self) {
        if self.in_hand.capacity() > KEPT && self.in_hand.capacity() / 4 > self.last_batch {
            self.in_hand = VecDeque::new();
        }
    }

    /// As [`Rx::poll_batch`], without waiting.
    fn take_batch(&mut self) -> Result<(), TryRecvError> {
        self.shrink();
        // Looked at before the queue: once it is over, nothing comes into the queue any more.
        let is_over = self.is_over();
        let Rx { chan, in_hand, last_batch } = self;
        let mut queue = chan.queue.lock();
        mem::swap(&mut queue.messages, in_hand);
        *last_batch = in_hand.len();
        if *last_batch > 0 {
            return Ok(());
        }
        Err(if is_over || queue.senders == 0 { TryRecvError::Disconnected } else { TryRecvError::Empty })
    }

    #[inline]
    fn hand_out(&mut self) -> Option<T> {
        let message = self.in_hand.pop_front()?;
        self.chan.give(1);
        Some(message)
    }

    pub(super) fn poll_recv_many(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<T>, limit: usize) -> Poll<usize> {
        ready!(poll_share(cx));
        if limit == 0 || (self.in_hand.is_empty() && !ready!(self.poll_batch(cx))) {
            return Poll::Ready(0);
        }
        let mut taken = 0_u32;
        while (taken as usize) < limit {
            if self.in_hand.is_empty() && self.take_batch().is_err() {
                break;
            }
            let Some(message) = self.in_hand.pop_front() else { break };
            buffer.push(message);
            taken += 1;
            // A batch's permits come back in pieces, so that those who wait for them go on meanwhile.
            if taken == u32::MAX {
                break;
            }
        }
        self.chan.give(taken);
        // One was taken for the call.
        charge(taken.saturating_sub(1));
        Poll::Ready(taken as usize)
    }

    pub(super) fn try_recv(&mut self) -> Result<T, TryRecvError> {
        if self.in_hand.is_empty() {
            self.take_batch()?;
        }
        self.hand_out().ok_or(TryRecvError::Empty)
    }

    /// Whether nothing is queued and nothing will be, as the channel is closed.
    fn is_over(&self) -> bool {
        self.chan.word().is_over(self.chan.permits)
    }

    pub(super) fn close(&mut self) {
        self.chan.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.chan.word().is_closed() || self.chan.senders() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.in_hand.len() + self.chan.queue.lock().messages.len()
    }

    #[cfg(test)]
    pub(super) fn capacity_kept(&self) -> usize {
        self.in_hand.capacity() + self.chan.queue.lock().messages.capacity()
    }

    pub(super) fn recv(&mut self) -> Recv<'_, T> {
        Recv(self)
    }
}

impl<T> Drop for Rx<T> {
    fn drop(&mut self) {
        self.chan.close();
        let mut queue = self.chan.queue.lock();
        queue.is_gone = true;
        let messages = mem::take(&mut queue.messages);
        let waker = queue.waker.take();
        drop(queue);
        drop((messages, waker));
    }
}

impl<T> fmt::Debug for Rx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chan.fmt(f)
    }
}

impl<T> Unpin for Rx<T> {}

/// The future of `recv`: the next message, or `None` where there will be none.
///
/// It takes nothing before it is ready; so dropping it loses nothing.
#[derive(Debug)]
#[must_use = "nothing is received before it is awaited"]
pub struct Recv<'a, T>(&'a mut Rx<T>);

impl<T> Future for Recv<'_, T> {
    type Output = Option<T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

/// The future of `recv_many`: how many messages were put into the buffer, none where there will be none.
///
/// It takes nothing before it is ready; so dropping it loses nothing.
#[derive(Debug)]
#[must_use = "nothing is received before it is awaited"]
pub struct RecvMany<'a, T> {
    pub(super) receiver: &'a mut Rx<T>,
    pub(super) buffer: &'a mut Vec<T>,
    pub(super) limit: usize,
}

impl<T> Unpin for RecvMany<'_, T> {}

impl<T> Future for RecvMany<'_, T> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let this = &mut *self;
        this.receiver.poll_recv_many(cx, this.buffer, this.limit)
    }
}

/// The future of `closed`: ready once the receiver is gone or has closed the channel.
#[derive(Debug)]
#[must_use = "nothing is waited for before it is awaited"]
pub struct Closed<'a, T> {
    seat: Seat<Count>,
    place: &'static Location<'static>,
    chan: &'a Chan<T>,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.chan.word().is_closed() {
            return Poll::Ready(());
        }
        let place = self.place;
        poll_passed(&mut self.seat, cx, 0, place)
    }
}
