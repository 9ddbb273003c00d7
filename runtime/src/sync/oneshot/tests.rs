//! Values sent, received, refused and taken back, and ends that go.

use std::pin::pin;
use std::sync::Arc;
use std::task::Waker;

use super::*;
use crate::sync::testing::{poll_once, poll_outside, runtime, spawn, until};

#[test]
fn a_value_is_received_once_whatever_its_size() {
    let (sender, mut receiver) = channel();
    assert_eq!((receiver.try_recv(), receiver.is_terminated()), (Err(TryRecvError::Empty), false));
    sender.send([7_u64; 20]).unwrap();
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Ok([7; 20]), Err(TryRecvError::Closed)));
    let (sender, mut receiver) = channel();
    assert!(poll_outside(Pin::new(&mut receiver)).is_pending());
    sender.send(7_u8).unwrap();
    assert_eq!(poll_outside(Pin::new(&mut receiver)), Poll::Ready(Ok(7)));
    assert!(receiver.is_terminated());
}

#[test]
fn a_sender_that_goes_tells_the_receiver_at_once() {
    runtime().block_on(async {
        let (sender, receiver) = channel::<u8>();
        let lane = spawn(async {
            let _goes_with_the_lane = sender;
            std::future::pending::<()>().await;
        });
        let told = spawn(async { assert_eq!(receiver.await, Err(RecvError)) });
        crate::yield_now().await;
        lane.kill().await;
        told.finish().await;
    });
}

#[test]
fn a_receiver_that_goes_or_closes_tells_the_sender_and_refuses_the_value() {
    runtime().block_on(async {
        let (mut sender, receiver) = channel();
        assert!(poll_once(pin!(sender.closed())).await.is_none() && !sender.is_closed());
        let lane = spawn(async {
            let _never = receiver.await;
        });
        let (tell, told) = channel();
        let waits = spawn(async {
            sender.closed().await;
            sender.closed().await;
            tell.send((sender.is_closed(), sender.send(7))).unwrap();
        });
        crate::yield_now().await;
        lane.kill().await;
        waits.finish().await;
        assert_eq!(told.await, Ok((true, Err(SendError(7)))));
        let (mut sender, mut receiver) = channel();
        receiver.close();
        sender.closed().await;
        assert_eq!((sender.send(7), receiver.try_recv()), (Err(SendError(7)), Err(TryRecvError::Closed)));
    });
}

#[test]
fn what_was_sent_before_the_receiver_closed_is_received() {
    let (sender, mut receiver) = channel();
    sender.send(7).unwrap();
    receiver.close();
    assert_eq!(poll_outside(Pin::new(&mut receiver)), Poll::Ready(Ok(7)));
    assert!(receiver.is_terminated());
}

#[test]
fn a_look_does_not_forget_who_is_to_be_woken() {
    runtime().block_on(async {
        let (sender, mut receiver) = channel();
        let (tell, mut told) = channel();
        let waits = spawn(async move {
            let mut tell = Some(tell);
            poll_fn(|cx| {
                let polled = Pin::new(&mut receiver).poll(cx).is_ready();
                // The lane waits by the poll before this look.
                assert!(polled || receiver.try_recv() == Err(TryRecvError::Empty));
                tell.take().map(|tell| tell.send(()));
                if polled { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        until(|| told.try_recv().is_ok()).await;
        sender.send(7).unwrap();
        waits.finish().await;
    });
}

#[test]
fn nothing_is_lost_or_doubled_where_both_ends_act_at_once() {
    for round in 0..2000 {
        let witness = Arc::new(());
        let (sender, mut receiver) = channel();
        std::thread::scope(|scope| {
            let value = witness.clone();
            let sends = scope.spawn(move || sender.send(value).is_ok());
            let received = match round % 3 {
                0 => {
                    receiver.close();
                    receiver.try_recv().is_ok()
                }
                1 => {
                    let mut cx = Context::from_waker(Waker::noop());
                    while Pin::new(&mut receiver).poll(&mut cx).is_pending() {
                        std::hint::spin_loop();
                    }
                    true
                }
                _ => {
                    drop(receiver);
                    return;
                }
            };
            assert_eq!(sends.join().unwrap(), received, "round {round}");
        });
        assert_eq!(Arc::strong_count(&witness), 1, "round {round}");
    }
}
