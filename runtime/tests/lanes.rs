//! Lanes as the crates above see them.

use std::future::poll_fn;
use std::time::Duration;

use laneway_runtime::lane::{self, Spawn};
use laneway_runtime::mailbox::{Inbox, MailboxId, Received, TrySendError};
use laneway_runtime::reply::{self, Answerer};
use laneway_runtime::{ExitReason, Runtime, time};

async fn recv<M: Send + 'static>(inbox: &mut Inbox<M>) -> Received<M> {
    poll_fn(|cx| inbox.poll_recv(cx)).await
}

async fn message<M: Send + 'static>(inbox: &mut Inbox<M>) -> M {
    match recv(inbox).await {
        Received::Message(message) => message,
        other => panic!("not a message: {}", std::any::type_name_of_val(&other)),
    }
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Runs a lane to its end and gives what it answered.
fn in_lane<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    runtime: &Runtime,
    body: impl FnOnce(Inbox<u64>) -> F,
) -> T {
    let (answerer, mut answer) = reply::port();
    let _entered = runtime.handle().enter();
    Spawn::new()
        .spawn(|inbox| {
            let body = body(inbox);
            async move {
                let _ = answerer.answer(body.await);
            }
        })
        .unwrap();
    runtime.block_on(poll_fn(move |cx| answer.poll_answer(cx))).unwrap()
}

#[test]
fn messages_arrive_in_order_across_workers() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let sum = in_lane(&runtime, |mut inbox| async move {
            let me = inbox.mailbox();
            for _ in 0..4 {
                Spawn::new()
                    .spawn(move |_: Inbox<()>| async move {
                        for number in 0..10_000 {
                            me.send(number).await.unwrap();
                        }
                    })
                    .unwrap();
            }
            let mut sum = 0;
            for _ in 0..40_000 {
                sum += message(&mut inbox).await;
            }
            sum
        });
        assert_eq!(sum, 4 * 9_999 * 10_000 / 2);
        assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
    }
}

#[test]
fn a_full_mailbox_hands_the_message_back() {
    let runtime = runtime(1);
    in_lane(&runtime, |_| async {
        let lane = Spawn::new().mailbox(2).spawn(|_: Inbox<u8>| std::future::pending::<()>()).unwrap();
        lane.mailbox.try_send(1).unwrap();
        lane.mailbox.try_send(2).unwrap();
        assert_eq!(lane.mailbox.try_send(3), Err(TrySendError::Full(3)));
        lane::kill(lane.mailbox.id());
        while lane::is_alive(lane.mailbox.id()) {
            laneway_runtime::yield_now().await;
        }
        assert_eq!(lane.mailbox.try_send(4), Err(TrySendError::Gone(4)));
    });
}

#[test]
fn waiting_senders_are_served_in_order_and_get_their_message_back_at_death() {
    let runtime = runtime(2);
    in_lane(&runtime, |mut inbox| async move {
        let me = inbox.mailbox();
        let receiver = Spawn::new()
            .mailbox(1)
            .spawn(move |mut inbox: Inbox<u64>| async move {
                for _ in 0..50 {
                    let number = message(&mut inbox).await;
                    me.send(number).await.unwrap();
                }
            })
            .unwrap()
            .mailbox;
        let sender = Spawn::new()
            .monitor()
            .spawn(move |_: Inbox<()>| async move {
                for number in 0.. {
                    if let Err(back) = receiver.send(number).await {
                        assert_eq!(back.into_message(), number);
                        return;
                    }
                }
            })
            .unwrap();
        for number in 0..50 {
            assert_eq!(message(&mut inbox).await, number);
        }
        let Received::Down(notified) = recv(&mut inbox).await else { panic!("no notice") };
        let down = notified.into_down();
        assert_eq!((down.id, &down.reason), (sender.mailbox.id(), &ExitReason::Normal));
    });
}

#[test]
fn a_reply_port_in_a_dead_mailbox_answers_with_the_reason() {
    let runtime = runtime(1);
    in_lane(&runtime, |_| async {
        let lane: MailboxId<Answerer<u8>> =
            Spawn::new().spawn(|_: Inbox<Answerer<u8>>| std::future::pending::<()>()).unwrap().mailbox;
        let (answerer, mut answer) = reply::port();
        lane.try_send(answerer).unwrap();
        lane::kill(lane.id());
        let outcome = poll_fn(|cx| answer.poll_answer(cx)).await;
        assert_eq!(outcome, Err(reply::NoAnswer::Ended(ExitReason::Killed)));
    });
}

#[test]
fn a_clock_that_jumps_waits_for_a_thread_outside_that_was_woken() {
    let runtime = Runtime::builder().workers(1).virtual_time(1).build().unwrap();
    runtime.block_on(async {
        let start = time::now();
        for _ in 0..1000 {
            let lane = Spawn::new().spawn(|_: Inbox<()>| async {}).unwrap().mailbox.id();
            time::timeout(Duration::from_secs(3600), lane::join(lane)).await.unwrap();
        }
        assert_eq!(time::now(), start, "there was always somebody who could go on");
    });
}

#[test]
fn virtual_time_jumps_over_a_year() {
    let runtime = Runtime::builder().workers(1).virtual_time(1).build().unwrap();
    let year = Duration::from_secs(365 * 24 * 3600);
    let slept = in_lane(&runtime, move |_| async move {
        let before = time::now();
        time::sleep(year).await;
        time::now() - before
    });
    assert!(slept >= year, "{slept:?}");
}

#[test]
fn a_million_lanes_come_and_go() {
    let runtime = runtime(2);
    in_lane(&runtime, |mut inbox| async move {
        let me = inbox.mailbox();
        for _ in 0..100 {
            for number in 0..1000 {
                let child = Spawn::new().spawn(move |mut inbox: Inbox<u64>| async move {
                    let number = message(&mut inbox).await;
                    me.send(number).await.unwrap();
                });
                child.unwrap().mailbox.try_send(number).unwrap();
            }
            let mut sum = 0;
            for _ in 0..1000 {
                sum += message(&mut inbox).await;
            }
            assert_eq!(sum, 999 * 1000 / 2);
        }
    });
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean());
    assert_eq!((report.metrics.spawned, report.metrics.alive), (100_001, 0));
}

#[test]
fn a_lane_that_never_yields_does_not_starve_its_neighbours() {
    let runtime = runtime(1);
    in_lane(&runtime, |mut inbox| async move {
        let me = inbox.mailbox();
        // It sends to itself for ever: always ready.
        Spawn::new()
            .unbounded()
            .spawn(move |mut inbox: Inbox<u64>| async move {
                let itself = inbox.mailbox();
                itself.try_send(0).unwrap();
                loop {
                    let number = message(&mut inbox).await;
                    itself.try_send(number + 1).unwrap();
                }
            })
            .unwrap();
        Spawn::new().spawn(move |_: Inbox<()>| async move { me.send(7).await.unwrap() }).unwrap();
        assert_eq!(message(&mut inbox).await, 7);
    });
}

#[test]
fn a_panic_ends_the_lane_alone_and_names_its_place() {
    let runtime = runtime(1);
    in_lane(&runtime, |mut inbox| async move {
        Spawn::new().monitor().spawn(|_: Inbox<()>| async { panic!("on purpose {}", 1) }).unwrap();
        let Received::Down(notified) = recv(&mut inbox).await else { panic!("no notice") };
        let down = notified.into_down();
        let ExitReason::Panicked { message, location } = &down.reason else { panic!("{}", down.reason) };
        assert_eq!(&**message, "on purpose 1");
        assert!(location.contains("lanes.rs"), "{location}");
    });
}

#[test]
fn signals_let_no_more_messages_in_than_the_bound_allows() {
    let runtime = runtime(1);
    in_lane(&runtime, |_| async {
        let lane = Spawn::new().mailbox(2).spawn(|_: Inbox<u8>| std::future::pending::<()>()).unwrap().mailbox;
        let mut sent = 0;
        for _ in 0..10 {
            while lane.try_send(0).is_ok() {
                sent += 1;
            }
            // Each takes effect at once, in a turn of its own.
            laneway_runtime::inspect::inspect(lane.id()).await.unwrap();
        }
        assert!(sent <= 4, "a bound of 2 let {sent} messages in");
    });
}

#[test]
fn a_mailbox_that_signals_have_emptied_has_room_once_its_messages_are_received() {
    let runtime = runtime(1);
    in_lane(&runtime, |mut main| async move {
        let me = main.mailbox();
        let lane = Spawn::new()
            .mailbox(2)
            .spawn(move |mut inbox: Inbox<u64>| async move {
                loop {
                    laneway_runtime::yield_now().await;
                    if let Some(Received::Message(number)) = inbox.try_recv() {
                        me.send(number).await.unwrap();
                    }
                }
            })
            .unwrap()
            .mailbox;
        for number in 0..100 {
            lane.send(number).await.unwrap();
            laneway_runtime::inspect::inspect(lane.id()).await.unwrap();
        }
        for number in 0..100 {
            assert_eq!(message(&mut main).await, number);
        }
        lane::kill(lane.id());
    });
}
