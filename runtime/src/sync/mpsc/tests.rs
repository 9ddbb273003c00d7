//! Channels by example, against a model, and under threads.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

use super::*;
use crate::sync::testing::{
    Random, Spawned, for_seeds, on_two_workers, poll_once, poll_outside, runtime, spawn, until,
};

#[test]
fn senders_wait_for_room_in_order_and_nobody_overtakes_them() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(0).unwrap();
    let (mut one, mut two) = (pin!(sender.send(1)), pin!(sender.send(2)));
    assert!(poll_outside(one.as_mut()).is_pending() && poll_outside(two.as_mut()).is_pending());
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!((sender.try_send(3), sender.waiting()), (Err(TrySendError::Full(3)), 2));
    assert!(poll_outside(two.as_mut()).is_pending());
    assert_eq!(poll_outside(one), Poll::Ready(Ok(())));
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(poll_outside(two), Poll::Ready(Ok(())));
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok(2), Err(TryRecvError::Empty)));
    assert_eq!((sender.capacity(), sender.max_capacity()), (1, 1));
}

#[test]
fn a_sender_that_gives_up_leaves_its_room_to_the_next() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(0).unwrap();
    let mut two = pin!(sender.send(2));
    {
        let mut one = pin!(sender.send(1));
        assert!(poll_outside(one.as_mut()).is_pending() && poll_outside(two.as_mut()).is_pending());
        assert_eq!(receiver.try_recv(), Ok(0));
    }
    assert_eq!(poll_outside(two), Poll::Ready(Ok(())));
    assert_eq!((receiver.try_recv(), receiver.is_empty()), (Ok(2), true));
}

#[test]
fn a_send_that_its_lane_does_not_poll_holds_up_nobody() {
    runtime().block_on(async {
        let (sender, mut receiver) = channel(1);
        sender.send(0).await.unwrap();
        let theirs = sender.clone();
        let lane = spawn(async move {
            let mut unpolled = pin!(theirs.send(1));
            assert!(poll_once(unpolled.as_mut()).await.is_none());
            theirs.send(2).await.unwrap();
            unpolled.await.unwrap();
        });
        until(|| sender.waiting() == 2).await;
        assert_eq!([receiver.recv().await, receiver.recv().await, receiver.recv().await], [Some(0), Some(2), Some(1)]);
        lane.finish().await;
    });
}

#[test]
fn a_receiver_that_goes_refuses_those_who_wait_with_their_message_and_drops_what_is_queued() {
    runtime().block_on(async {
        let witness = Arc::new(());
        let (sender, receiver) = channel(1);
        sender.send(witness.clone()).await.unwrap();
        let (theirs, mine) = (sender.clone(), witness.clone());
        let waits = spawn(async move {
            let SendError(back) = theirs.send(mine.clone()).await.unwrap_err();
            assert!(Arc::ptr_eq(&back, &mine));
            theirs.closed().await;
        });
        let lane = spawn(async {
            let _held = receiver;
            std::future::pending::<()>().await;
        });
        until(|| sender.waiting() == 1).await;
        lane.kill().await;
        waits.finish().await;
        assert!(sender.is_closed() && Arc::strong_count(&witness) == 1);
        assert_eq!(sender.try_send(witness.clone()), Err(TrySendError::Closed(witness)));
    });
}

#[test]
fn a_channel_ends_after_what_was_queued_when_its_last_sender_goes() {
    runtime().block_on(async {
        let (sender, mut receiver) = channel(4);
        let (weak, other) = (sender.downgrade(), sender.clone());
        assert_eq!((sender.strong_count(), receiver.sender_strong_count()), (2, 2));
        assert!(sender.same_channel(&other) && weak.upgrade().is_some());
        drop(other);
        let lane = spawn(async move {
            sender.send(1).await.unwrap();
            std::future::pending::<()>().await;
        });
        assert_eq!(receiver.recv().await, Some(1));
        let ended = spawn(async move {
            assert_eq!((receiver.recv().await, receiver.recv().await), (None, None));
            assert!(receiver.is_closed() && receiver.try_recv() == Err(TryRecvError::Disconnected));
        });
        crate::yield_now().await;
        lane.kill().await;
        ended.finish().await;
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn a_channel_that_is_closed_ends_after_what_has_room() {
    let (sender, mut receiver) = channel(3);
    let (one, two) = (sender.try_reserve().unwrap(), sender.clone().try_reserve_owned().unwrap());
    sender.try_send(1).unwrap();
    let mut waits = pin!(sender.send(9));
    assert!(poll_outside(waits.as_mut()).is_pending());
    receiver.close();
    assert_eq!(poll_outside(waits), Poll::Ready(Err(SendError(9))));
    assert_eq!(sender.try_send(9), Err(TrySendError::Closed(9)));
    assert_eq!(receiver.try_recv(), Ok(1));
    assert!(poll_outside(Pin::new(&mut receiver.recv())).is_pending());
    one.send(2);
    assert_eq!(poll_outside(Pin::new(&mut receiver.recv())), Poll::Ready(Some(2)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    drop(two);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(poll_outside(Pin::new(&mut receiver.recv())), Poll::Ready(None));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whatever_the_receiver_waits_for_wakes_it_once() {
    let wakes = |act: &dyn Fn(Sender<u8>, Permit<'_, u8>)| {
        let (sender, mut receiver) = channel(1);
        let count = Arc::new(Count::default());
        let other = sender.clone();
        let permit = other.try_reserve().unwrap();
        receiver.close();
        let waker = count.clone().into();
        assert!(receiver.poll_recv(&mut Context::from_waker(&waker)).is_pending());
        act(sender, permit);
        assert!(poll_outside(Pin::new(&mut receiver.recv())).is_ready());
        count.0.load(Ordering::Relaxed)
    };
    assert_eq!(wakes(&|_, permit| drop(permit)), 1, "the last permit of a channel that is closed");
    assert_eq!(wakes(&|_, permit| permit.send(7)), 1, "a message");
    let (sender, mut receiver) = channel::<u8>(1);
    let count = Arc::new(Count::default());
    let waker = count.clone().into();
    assert!(receiver.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    drop(sender.clone());
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    drop(sender);
    assert_eq!(count.0.load(Ordering::Relaxed), 1, "the end of the last sender");
}

#[test]
fn room_that_was_on_offer_when_the_channel_was_closed_does_not_keep_it_from_ending() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(0).unwrap();
    let mut waits = pin!(sender.send(1));
    assert!(poll_outside(waits.as_mut()).is_pending());
    assert_eq!(receiver.try_recv(), Ok(0));
    receiver.close();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(poll_outside(waits), Poll::Ready(Err(SendError(1))));
}

#[test]
fn room_is_reserved_for_one_or_several_and_given_back_unused() {
    runtime().block_on(async {
        let (sender, mut receiver) = channel(3);
        let mut permits = sender.reserve_many(3).await.unwrap();
        assert_eq!((permits.len(), sender.capacity()), (3, 0));
        permits.next().unwrap().send(1);
        drop(permits);
        assert_eq!(sender.capacity(), 2);
        assert!(sender.reserve_many(4).await.is_err(), "it never will be that large");
        assert_eq!(sender.try_reserve_many(3).err(), Some(TrySendError::Full(())));
        let other = sender.clone().reserve_owned().await.unwrap().send(2);
        let owned = other.clone().reserve_owned().await.unwrap();
        assert!(matches!(other.try_reserve_owned(), Err(TrySendError::Full(_))));
        let back = owned.release();
        assert_eq!((back.capacity(), receiver.len()), (1, 2));
        let mut buffer = vec![0];
        assert_eq!((receiver.recv_many(&mut buffer, 10).await, &buffer[..]), (2, &[0, 1, 2][..]));
        assert_eq!((sender.capacity(), receiver.recv_many(&mut buffer, 0).await), (3, 0));
        drop((sender, back));
        assert_eq!(receiver.recv_many(&mut buffer, 1).await, 0);
    });
}

#[test]
fn who_takes_thousands_at_once_lets_others_run_before_he_takes_more() {
    for (at_once, goes_on) in [(4000, false), (100, true)] {
        runtime().block_on(async {
            let (sender, mut receiver) = unbounded_channel();
            (0..5000).for_each(|number| sender.send(number).unwrap());
            let turns = Arc::new(AtomicUsize::new(0));
            let takes = spawn(async move {
                let seen = turns.clone();
                // It is ready to run, on the one worker, when this one lets it.
                let other = spawn(async move { _ = turns.fetch_add(1, Ordering::Relaxed) });
                let mut buffer = Vec::new();
                assert_eq!(receiver.recv_many(&mut buffer, at_once).await, at_once);
                assert_eq!(receiver.recv().await, Some(at_once));
                assert_eq!(seen.load(Ordering::Relaxed) == 0, goes_on, "{at_once} at once");
                other.finish().await;
            });
            takes.finish().await;
        });
    }
}

#[test]
fn one_that_polls_for_room_keeps_it_until_it_sends_or_aborts() {
    let (sender, mut receiver) = channel(1);
    let mut one = PollSender::new(sender.clone());
    let mut other = one.clone();
    let ready = |sender: &mut PollSender<u8>| poll_outside(pin!(poll_fn(|cx| sender.poll_ready(cx))));
    assert!(ready(&mut one).is_ready() && ready(&mut one).is_ready() && ready(&mut other).is_pending());
    assert!(one.abort() && !one.abort());
    assert!(ready(&mut other).is_ready());
    assert_eq!((other.send_item(7), receiver.try_recv()), (Ok(()), Ok(7)));
    assert!(ready(&mut one).is_ready());
    drop(receiver);
    assert_eq!(one.send_item(8), Err(SendError(8)));
    assert!(ready(&mut other) == Poll::Ready(Err(SendError(()))) && other.sender().is_closed());
}

#[test]
fn a_channel_without_a_bound_takes_all_and_lets_go_of_its_memory() {
    let (sender, mut receiver) = unbounded_channel();
    let weak = sender.downgrade();
    for number in 0..100_000 {
        sender.send(number).unwrap();
    }
    assert_eq!(receiver.len(), 100_000);
    for number in 0..100_000 {
        assert_eq!(receiver.try_recv(), Ok(number));
    }
    for _ in 0..4 {
        sender.send(7).unwrap();
        assert_eq!(receiver.try_recv(), Ok(7));
    }
    assert!(receiver.capacity_kept() <= 4096, "{}", receiver.capacity_kept());
    receiver.close();
    assert_eq!((sender.send(1), receiver.try_recv()), (Err(SendError(1)), Err(TryRecvError::Disconnected)));
    drop(sender);
    assert!(weak.upgrade().is_none() && receiver.is_closed());
}

/// One who sends, in the model: what he sends, and whether room was set aside for him.
struct Waiting {
    message: usize,
    has_room: bool,
}

/// A bounded channel as one would draw it.
struct Model {
    queue: VecDeque<usize>,
    waiting: Vec<Waiting>,
    free: usize,
    closed: bool,
}

impl Model {
    fn offer(&mut self) {
        for waiting in self.waiting.iter_mut().filter(|waiting| !waiting.has_room) {
            if self.free == 0 || self.closed {
                return;
            }
            self.free -= 1;
            waiting.has_room = true;
        }
    }

    fn may_enter(&self) -> bool {
        self.free > 0 && self.waiting.iter().all(|waiting| waiting.has_room)
    }
}

#[test]
fn any_sequence_of_sends_receives_and_ends_does_what_the_model_does() {
    for_seeds(2000, |mut random: Random| {
        let bound = 1 + random.below(3);
        let (sender, mut receiver) = channel(bound);
        let mut model = Model { queue: VecDeque::new(), waiting: Vec::new(), free: bound, closed: false };
        let mut sends: Vec<Pin<Box<Sending<'_, usize>>>> = Vec::new();
        for message in 0..60 {
            match random.below(12) {
                0..4 => {
                    let mut send = Box::pin(sender.send(message));
                    let polled = poll_outside(send.as_mut());
                    if model.closed {
                        assert_eq!(polled, Poll::Ready(Err(SendError(message))));
                    } else if model.may_enter() {
                        assert_eq!(polled, Poll::Ready(Ok(())));
                        model.free -= 1;
                        model.queue.push_back(message);
                    } else {
                        assert!(polled.is_pending());
                        model.waiting.push(Waiting { message, has_room: false });
                        sends.push(send);
                    }
                }
                4 => {
                    let right = match (model.closed, model.may_enter()) {
                        (true, _) => Err(TrySendError::Closed(message)),
                        (false, false) => Err(TrySendError::Full(message)),
                        (false, true) => {
                            model.free -= 1;
                            model.queue.push_back(message);
                            Ok(())
                        }
                    };
                    assert_eq!(sender.try_send(message), right);
                }
                5..7 if !sends.is_empty() => {
                    let at = random.below(sends.len());
                    let polled = poll_outside(sends[at].as_mut());
                    let waiting = &model.waiting[at];
                    if model.closed {
                        assert_eq!(polled, Poll::Ready(Err(SendError(waiting.message))));
                    } else if waiting.has_room {
                        assert_eq!(polled, Poll::Ready(Ok(())));
                        model.queue.push_back(waiting.message);
                    } else {
                        assert!(polled.is_pending());
                        continue;
                    }
                    model.waiting.remove(at);
                    drop(sends.remove(at));
                }
                7 if !sends.is_empty() => {
                    let at = random.below(sends.len());
                    drop(sends.remove(at));
                    model.free += usize::from(model.waiting.remove(at).has_room);
                    model.offer();
                }
                8 if random.below(10) == 0 => {
                    receiver.close();
                    model.closed = true;
                    for waiting in &mut model.waiting {
                        model.free += usize::from(std::mem::take(&mut waiting.has_room));
                    }
                }
                _ => {
                    let right = match model.queue.pop_front() {
                        Some(message) => {
                            model.free += 1;
                            model.offer();
                            Ok(message)
                        }
                        None if model.closed && model.free == bound => Err(TryRecvError::Disconnected),
                        None => Err(TryRecvError::Empty),
                    };
                    let by_poll = poll_outside(Pin::new(&mut receiver.recv_unless(random.below(2) == 0)));
                    match (by_poll, right) {
                        (Poll::Ready(Some(message)), right) => assert_eq!(Ok(message), right),
                        (Poll::Ready(None), right) => assert_eq!(right, Err(TryRecvError::Disconnected)),
                        (Poll::Pending, right) => assert_eq!(right, Err(TryRecvError::Empty)),
                    }
                }
            }
            assert_eq!((receiver.len(), sender.capacity()), (model.queue.len(), model.free));
        }
    });
}

impl<T> Receiver<T> {
    /// Receives by one of the two ways.
    fn recv_unless(&mut self, tries: bool) -> impl Future<Output = Option<T>> + Unpin {
        poll_fn(move |cx| match if tries { Some(self.try_recv()) } else { None } {
            None => self.poll_recv(cx),
            Some(Ok(message)) => Poll::Ready(Some(message)),
            Some(Err(TryRecvError::Empty)) => Poll::Pending,
            Some(Err(TryRecvError::Disconnected)) => Poll::Ready(None),
        })
    }
}

#[test]
fn each_senders_messages_arrive_once_and_in_order_on_two_workers() {
    for bound in [1, 7] {
        let (sender, mut receiver) = channel(bound);
        let senders = (0..4_usize).map(|me| {
            let sender = sender.clone();
            Box::pin(async move {
                for number in 0..1000 {
                    match number % 3 {
                        0 => sender.send((me, number)).await.unwrap(),
                        1 => sender.reserve().await.unwrap().send((me, number)),
                        _ => {
                            // Sent by a future that is dropped and made again until it has room.
                            while poll_once(pin!(sender.send((me, number)))).await.is_none() {
                                crate::yield_now().await;
                            }
                        }
                    }
                }
            }) as Pin<Box<dyn Future<Output = ()> + Send>>
        });
        let receives = Box::pin(async move {
            let mut next = [0; 4];
            while let Some((sender, number)) = receiver.recv().await {
                assert_eq!(next[sender], number);
                next[sender] += 1;
            }
            assert_eq!(next, [1000; 4]);
        });
        let senders: Vec<_> = senders.collect();
        drop(sender);
        on_two_workers(senders.into_iter().chain([receives as Pin<Box<dyn Future<Output = ()> + Send>>]));
    }
}

#[test]
fn a_lane_that_only_receives_what_is_always_there_lets_others_run() {
    runtime().block_on(async {
        let (sender, mut receiver) = unbounded_channel();
        let (stop, mut stopped) = crate::sync::oneshot::channel();
        let busy = spawn(async move {
            while stopped.try_recv().is_err() {
                sender.send(()).unwrap();
                receiver.recv().await;
            }
        });
        let others: Vec<Spawned> = (0..3).map(|_| spawn(crate::yield_now())).collect();
        for other in others {
            other.finish().await;
        }
        stop.send(()).unwrap();
        busy.finish().await;
    });
}
