//! Messages for all, those who are too slow, and a model.

use std::pin::{Pin, pin};
use std::sync::Arc;

use super::*;
use crate::sync::testing::{Random, for_seeds, on_two_workers, poll_once, poll_outside, runtime, spawn, until};

#[test]
fn all_who_subscribed_before_get_a_message_and_nobody_else() {
    let (sender, mut one) = channel(4);
    let mut other = sender.subscribe();
    assert_eq!(sender.send(1), Ok(2));
    let mut late = one.resubscribe();
    assert_eq!(sender.send(2), Ok(3));
    let rest = |receiver: &mut Receiver<u8>| std::iter::from_fn(|| receiver.try_recv().ok()).collect::<Vec<_>>();
    assert_eq!((one.len(), rest(&mut one), rest(&mut other), rest(&mut late)), (2, vec![1, 2], vec![1, 2], vec![2]));
    assert!(sender.is_empty() && one.is_empty());
    drop((one, other, late));
    assert_eq!((sender.send(3), sender.receiver_count()), (Err(SendError(3)), 0));
}

#[test]
fn a_message_is_dropped_once_nobody_will_receive_it() {
    let witness = Arc::new(());
    let (sender, mut one) = channel(2);
    let mut other = sender.subscribe();
    sender.send(witness.clone()).unwrap();
    drop(one.try_recv());
    assert_eq!(Arc::strong_count(&witness), 2);
    drop(other.try_recv());
    assert_eq!(Arc::strong_count(&witness), 1, "both have received it");
    for _ in 0..10 {
        sender.send(witness.clone()).unwrap();
    }
    assert_eq!((Arc::strong_count(&witness), sender.len()), (3, 2), "no more are kept than there is room for");
    drop(one);
    assert_eq!(other.try_recv(), Err(TryRecvError::Lagged(8)));
    drop(other);
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn receivers_that_wait_are_told_of_messages_and_of_the_end() {
    runtime().block_on(async {
        let (sender, receiver) = channel(4);
        let lanes: Vec<_> = (0..3)
            .map(|_| {
                let mut receiver = receiver.resubscribe();
                spawn(async move {
                    assert_eq!([receiver.recv().await, receiver.recv().await], [Ok(1), Err(RecvError::Closed)]);
                    assert!(receiver.is_closed());
                })
            })
            .collect();
        drop(receiver);
        let (weak, theirs) = (sender.downgrade(), sender.clone());
        let waits = spawn(async move { theirs.closed().await });
        crate::yield_now().await;
        sender.send(1).unwrap();
        crate::yield_now().await;
        for lane in &lanes {
            assert!(crate::lane::is_alive(lane.id));
        }
        drop(weak.upgrade());
        drop(sender);
        // `theirs` keeps the channel from ending until its lane is killed.
        waits.kill().await;
        for lane in lanes {
            lane.finish().await;
        }
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn a_sender_is_told_when_the_last_receiver_goes_also_one_that_was_killed() {
    runtime().block_on(async {
        let (sender, receiver) = channel::<u8>(1);
        let mut closed = pin!(sender.closed());
        assert!(poll_once(closed.as_mut()).await.is_none());
        let lane = spawn(async move {
            let mut receiver = receiver;
            let _never = receiver.recv().await;
        });
        let other = sender.subscribe();
        crate::yield_now().await;
        lane.kill().await;
        assert!(poll_once(closed.as_mut()).await.is_none());
        drop(other);
        closed.await;
        until(|| sender.receiver_count() == 0).await;
    });
}

#[test]
fn any_sequence_of_sends_receives_and_subscriptions_does_what_the_model_does() {
    for_seeds(2000, |mut random: Random| {
        let bound = 1 + random.below(4);
        let sender = Sender::new(bound);
        let mut sent: Vec<usize> = Vec::new();
        let mut receivers: Vec<(Receiver<usize>, usize)> = Vec::new();
        for number in 0..80 {
            match random.below(10) {
                0..4 => {
                    let right = if receivers.is_empty() { Err(SendError(number)) } else { Ok(receivers.len()) };
                    assert_eq!(sender.send(number), right);
                    if !receivers.is_empty() {
                        sent.push(number);
                    }
                }
                4 if receivers.len() < 4 => receivers.push((sender.subscribe(), sent.len())),
                5 if !receivers.is_empty() => drop(receivers.swap_remove(random.below(receivers.len()))),
                _ if !receivers.is_empty() => {
                    let at = random.below(receivers.len());
                    let (receiver, next) = &mut receivers[at];
                    let oldest = sent.len().saturating_sub(bound);
                    let received = poll_outside(Pin::new(&mut receiver.recv()));
                    if *next < oldest {
                        assert_eq!(received, Poll::Ready(Err(RecvError::Lagged((oldest - *next) as u64))));
                        *next = oldest;
                    } else if let Some(message) = sent.get(*next) {
                        assert_eq!(received, Poll::Ready(Ok(*message)));
                        *next += 1;
                    } else {
                        assert!(received.is_pending());
                    }
                }
                _ => {}
            }
            let unread = receivers.iter().map(|(_, next)| sent.len() - next).max().unwrap_or(0);
            assert_eq!(sender.len(), unread.min(bound));
        }
    });
}

#[test]
fn receivers_on_two_workers_get_all_in_order_but_for_what_they_are_told_of() {
    let sender = Sender::new(8);
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let mut receiver = sender.subscribe();
            Box::pin(async move {
                let mut next = 0;
                loop {
                    match receiver.recv().await {
                        Ok(number) if number == next => next += 1,
                        Err(RecvError::Lagged(missed)) => next += missed,
                        Err(RecvError::Closed) => break,
                        wrong => panic!("{wrong:?} in place of {next}"),
                    }
                }
                assert_eq!(next, 3000);
            }) as Pin<Box<dyn Future<Output = ()> + Send>>
        })
        .collect();
    let sends = Box::pin(async move {
        for number in 0..3000_u64 {
            sender.send(number).unwrap();
            if number % 5 == 0 {
                crate::yield_now().await;
            }
        }
    });
    on_two_workers(receivers.into_iter().chain([sends as Pin<Box<dyn Future<Output = ()> + Send>>]));
}
