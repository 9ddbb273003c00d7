//! Mailboxes: a message is in the mailbox before the lane's death, or handed back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use laneway::{Address, ExitReason, Lane, NotAMailbox, Reply, SendError, Spawn, SpawnError};

use crate::support::*;

/// A lane that receives nothing until it is told to by its death.
fn deaf(bound: u32) -> Address<News> {
    Spawn::new().mailbox(bound).spawn(async |_: Lane<News>| std::future::pending::<()>().await).unwrap()
}

#[test]
fn a_full_mailbox_returns_the_message() {
    test(async |_: Lane<News>| {
        let target = deaf(2);
        target.try_send(News::Number(0)).unwrap();
        target.try_send(News::Number(1)).unwrap();
        let refused = target.try_send(News::Number(2));
        assert!(matches!(refused, Err(SendError::Full(News::Number(2)))), "{refused:?}");
    });
}

#[test]
fn a_bound_of_n_lets_n_queue_and_n_more_into_the_receivers_hands() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let target = Spawn::new().mailbox(3).spawn(async move |mut lane: Lane<u64>| {
            while let Some(number) = lane.recv().await {
                me.send(News::Number(number)).await.unwrap();
                if number == 1 {
                    std::future::pending::<()>().await;
                }
            }
        });
        let target = target.unwrap();
        let fill = |from: u64| (from..100).take_while(|number| target.try_send(*number).is_ok()).count();
        assert_eq!(fill(1), 3);
        assert_eq!(number(&mut lane).await, 1);
        assert_eq!(fill(4), 3, "with two in its hands, three more may queue");
        settle().await;
        assert_eq!(fill(7), 0);
    });
}

#[test]
fn an_unbounded_mailbox_takes_all() {
    test(async |mut lane: Lane<News>| {
        let target = Spawn::new().unbounded().spawn(async |_: Lane<u64>| std::future::pending::<()>().await).unwrap();
        for number in 0..100_000 {
            target.try_send(number).unwrap();
        }
        lane.monitor_with_receipt(target, News::Down);
        target.kill();
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!(receipt.messages_dropped, 100_000);
    });
}

#[test]
fn who_sends_to_a_lane_that_has_many_messages_lets_others_run_soon() {
    const SHORT: u64 = 32;
    /// In each turn of a lane that sends these to one which receives nothing: how many it sends.
    async fn sent_in_turns<M: Copy + Send + Sync + 'static>(message: M) -> Vec<u64> {
        const ALL: u64 = 2560;
        let target = Spawn::new().unbounded().spawn(async |_: Lane<M>| std::future::pending::<()>().await).unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let sender = laneway::spawn(async move |_: Lane<()>| {
            for _ in 0..ALL {
                target.send(message).await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        sender.unwrap();
        let mut turns = Vec::new();
        while turns.iter().sum::<u64>() < ALL {
            laneway::yield_now().await;
            turns.push(sent.swap(0, Ordering::Relaxed));
        }
        turns.retain(|sent| *sent != 0);
        turns
    }
    test(async |_: Lane<News>| {
        // What goes in packs takes less room, so there may be more of it.
        for (many, turns) in [(128, sent_in_turns([0_u64; 9]).await), (512, sent_in_turns(0_u64).await)] {
            let (first, others) = turns.split_first().unwrap();
            assert!((many..many + SHORT).contains(first), "{turns:?}");
            assert!(others.iter().all(|sent| *sent < SHORT), "{turns:?}");
        }
    });
}

#[test]
fn waiting_senders_are_served_first_come_first_served_and_nobody_gets_between() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let target = Spawn::new().mailbox(1).spawn(async move |mut lane: Lane<u64>| {
            laneway::sleep(Duration::from_millis(10)).await;
            while let Some(number) = lane.recv().await {
                me.send(News::Number(number)).await.unwrap();
                laneway::yield_now().await;
            }
        });
        let target = target.unwrap();
        target.try_send(0).unwrap();
        let mut waiting: Vec<_> = (1..=50).map(|number| Box::pin(target.send(number))).collect();
        for sending in &mut waiting {
            assert!(poll_once(sending).await.is_pending());
        }
        let refused = target.try_send(99);
        assert_eq!(refused, Err(SendError::Full(99)), "a late sender got between those that wait");
        for sending in waiting {
            assert_eq!(sending.await, Ok(()));
        }
        for expected in 0..=50 {
            assert_eq!(number(&mut lane).await, expected);
        }
    });
}

#[test]
fn a_waiting_sender_that_gives_up_sends_nothing_and_holds_nobody_up() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let target = Spawn::new().mailbox(1).spawn(async move |mut lane: Lane<Arc<u64>>| {
            laneway::sleep(Duration::from_millis(10)).await;
            while let Some(number) = lane.recv().await {
                me.send(News::Number(*number)).await.unwrap();
            }
        });
        let target = target.unwrap();
        target.try_send(Arc::new(0)).unwrap();
        let given_up = Arc::new(2);
        let mut first = target.send(Arc::new(1));
        let mut second = target.send(given_up.clone());
        let mut third = target.send(Arc::new(3));
        for sending in [&mut first, &mut second, &mut third] {
            assert!(poll_once(sending).await.is_pending());
        }
        drop(second);
        assert_eq!(Arc::strong_count(&given_up), 1, "the message of a sender that gave up is still somewhere");
        // One that was never polled is not in the list at all.
        drop(target.send(given_up.clone()));
        first.await.unwrap();
        third.await.unwrap();
        for expected in [0, 1, 3] {
            assert_eq!(number(&mut lane).await, expected);
        }
        assert_silence(&mut lane).await;
    });
}

#[test]
fn a_waiting_sender_gets_its_message_back_when_the_lane_dies() {
    test(async |mut lane: Lane<News>| {
        let target = deaf(1);
        target.try_send(News::Number(0)).unwrap();
        let mut waiting: Vec<_> = (1..=3).map(|number| target.send(News::Number(number))).collect();
        for sending in &mut waiting {
            assert!(poll_once(sending).await.is_pending());
        }
        lane.monitor_with_receipt(target, News::Down);
        target.kill();
        for (number, sending) in (1..).zip(waiting) {
            let refused = sending.await;
            assert!(matches!(refused, Err(SendError::NoProc(News::Number(back))) if back == number), "{refused:?}");
        }
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!((receipt.messages_dropped, receipt.senders_refused), (1, 3), "{receipt:?}");
    });
}

#[test]
fn a_message_is_handled_or_dropped_by_the_death_or_handed_back() {
    /// Counts its end where it is dropped unhandled.
    struct Counted(Arc<AtomicU64>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    race(200, async |mut lane: Lane<News>| {
        let (dropped, handled, back) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let handles = handled.clone();
        let spawn = Spawn::new().mailbox(16).monitor_with_receipt();
        let (target, reference) = spawn
            .spawn_monitored(async move |mut lane: Lane<Counted>| {
                while let Some(message) = lane.recv().await {
                    handles.fetch_add(1, Ordering::Relaxed);
                    drop(message);
                }
            })
            .unwrap();
        lane.on_down(reference.unwrap(), News::Down);
        let mut sent = 0;
        for round in 0..100 {
            if round == 50 {
                target.kill();
            }
            let outcome = if round % 2 == 0 {
                target.try_send(Counted(dropped.clone()))
            } else {
                target.send(Counted(dropped.clone())).await
            };
            sent += 1;
            back.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
        }
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        let (handled, back) = (handled.load(Ordering::Relaxed), back.load(Ordering::Relaxed));
        assert_eq!(dropped.load(Ordering::Relaxed), sent, "messages are somewhere still");
        assert_eq!(handled + back + receipt.messages_dropped, sent, "{handled} handled, {back} back, {receipt:?}");
    });
}

#[test]
fn a_receive_that_is_dropped_has_taken_nothing() {
    test(async |mut lane: Lane<News>| {
        let mut receiving = Box::pin(lane.recv());
        assert!(poll_once(&mut receiving).await.is_pending());
        drop(receiving);
        for number in 0..10 {
            let me = lane.address();
            laneway::spawn(async move |_: Lane<()>| me.send(News::Number(number)).await).unwrap();
            laneway::timeout(Duration::from_millis(1), std::future::pending::<()>()).await.unwrap_err();
            let mut receiving = Box::pin(lane.recv_match(|_| false));
            assert!(poll_once(&mut receiving).await.is_pending());
            drop(receiving);
        }
        for expected in 0..10 {
            assert_eq!(number(&mut lane).await, expected);
        }
    });
}

#[test]
fn a_receive_that_races_with_a_timer_loses_nothing() {
    race(20, async |mut lane: Lane<News>| {
        let me = lane.address();
        laneway::spawn(async move |_: Lane<()>| {
            for number in 0..200 {
                me.send(News::Number(number)).await.unwrap();
                laneway::yield_now().await;
            }
        })
        .unwrap();
        let mut expected = 0;
        while expected < 200 {
            if let Ok(heard) = lane.recv_timeout(Duration::ZERO).await {
                assert!(matches!(heard, Some(News::Number(number)) if number == expected), "{heard:?}");
                expected += 1;
            } else {
                laneway::yield_now().await;
            }
        }
    });
}

#[test]
fn a_selective_receive_keeps_what_it_skips_in_order() {
    test(async |mut lane: Lane<News>| {
        for number in 0..10 {
            lane.address().try_send(News::Number(number)).unwrap();
        }
        let odd = |news: &News| matches!(news, News::Number(number) if number % 2 == 1);
        for expected in [1, 3] {
            let heard = lane.recv_match(odd).await;
            assert!(matches!(heard, Some(News::Number(number)) if number == expected), "{heard:?}");
        }
        for expected in [0, 2, 4, 5] {
            assert_eq!(number(&mut lane).await, expected);
        }
        let nine = lane.recv_match(|news| matches!(news, News::Number(9))).await;
        assert!(matches!(nine, Some(News::Number(9))), "{nine:?}");
        for expected in [6, 7, 8] {
            assert_eq!(number(&mut lane).await, expected);
        }
        // It waits for what is not there yet, while other things come.
        let me = lane.address();
        laneway::spawn(async move |_: Lane<()>| {
            for number in [20, 21, 22] {
                laneway::sleep(Duration::from_millis(1)).await;
                me.send(News::Number(number)).await.unwrap();
            }
        })
        .unwrap();
        let heard = lane.recv_match(|news| matches!(news, News::Number(22))).await;
        assert!(matches!(heard, Some(News::Number(22))), "{heard:?}");
        assert_eq!((number(&mut lane).await, number(&mut lane).await), (20, 21));
    });
}

#[test]
fn stop_lets_what_is_queued_be_handled_and_nothing_after() {
    test(async |mut lane: Lane<News>| {
        let handled = Arc::new(AtomicU64::new(0));
        let handles = handled.clone();
        let target = laneway::spawn(async move |mut lane: Lane<u64>| {
            while let Some(number) = lane.recv().await {
                handles.fetch_add(number, Ordering::Relaxed);
            }
            assert_eq!(lane.stop_reason(), Some(ExitReason::Normal));
            assert_eq!((lane.recv().await, lane.try_recv()), (None, None), "it was told to stop and received");
        })
        .unwrap();
        lane.monitor(target, News::Down);
        for _ in 0..100 {
            target.try_send(1).unwrap();
        }
        target.stop().unwrap();
        // In the mailbox before the death, and dropped by it.
        target.try_send(1000).unwrap();
        assert_eq!(down(&mut lane).await.reason, ExitReason::Normal);
        assert_eq!(handled.load(Ordering::Relaxed), 100);
        assert!(target.stop().is_err(), "a dead lane was stopped");
    });
}

#[test]
fn a_stop_ends_a_selective_receive_that_waits() {
    test(async |mut lane: Lane<News>| {
        let target = laneway::spawn(async |mut lane: Lane<u64>| {
            assert_eq!(lane.stop_reason(), None);
            assert_eq!(lane.recv_match(|number| *number > 100).await, None);
            assert_eq!(lane.stop_reason(), Some(ExitReason::Normal));
            assert_eq!(lane.recv_match(|_| true).await, None, "it was told to stop and received");
        })
        .unwrap();
        lane.monitor(target, News::Down);
        target.try_send(1).unwrap();
        target.stop().unwrap();
        assert_eq!(down(&mut lane).await.reason, ExitReason::Normal);
    });
}

#[test]
fn a_mailbox_whose_bound_is_out_of_range_is_refused() {
    test(async |_: Lane<News>| {
        for bound in [0, 4096, u32::MAX] {
            let refused = Spawn::new().mailbox(bound).spawn(async |_: Lane<()>| {});
            assert!(matches!(&refused, Err(SpawnError::BadBound { bound: said }) if *said == bound), "{refused:?}");
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(&bound.to_string()) && said.contains("4095"), "{said}");
        }
        assert!(Spawn::new().mailbox(4095).spawn(async |_: Lane<()>| {}).is_ok());
    });
}

#[test]
fn an_address_of_another_type_is_not_given_out() {
    test(async |mut lane: Lane<News>| {
        assert_eq!(Address::<News>::of(lane.id()), Ok(lane.address()));
        let wrong = Address::<String>::of(lane.id());
        assert!(matches!(&wrong, Err(NotAMailbox::OtherType { takes }) if takes.contains("News")), "{wrong:?}");
        let dead = puppet();
        dead.kill();
        reason_of(&mut lane, dead).await;
        let stale = Address::<News>::of(dead.id());
        assert!(matches!(stale, Err(NotAMailbox::Stale(id)) if id.0 == dead.id()), "{stale:?}");
    });
}

#[test]
fn a_recipient_takes_only_its_part_of_what_a_lane_takes() {
    struct Wide(u64);
    impl From<u8> for Wide {
        fn from(narrow: u8) -> Wide {
            Wide(narrow.into())
        }
    }
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let wide = Spawn::new().mailbox(1).spawn(async move |mut lane: Lane<Wide>| {
            while let Some(Wide(number)) = lane.recv().await {
                me.send(News::Number(number)).await.unwrap();
            }
        });
        let wide = wide.unwrap();
        let narrow = wide.recipient::<u8>();
        narrow.try_send(7).unwrap();
        assert!(matches!(narrow.try_send(8), Err(SendError::Full(()))));
        assert_eq!(number(&mut lane).await, 7);
        wide.kill();
        reason_of(&mut lane, wide).await;
        assert!(matches!(narrow.try_send(9), Err(SendError::NoProc(()))));
    });
}

#[test]
fn a_send_to_a_full_mailbox_does_not_keep_a_lane_from_being_killed() {
    test(async |mut lane: Lane<News>| {
        let full = deaf(1);
        full.try_send(News::Number(0)).unwrap();
        let sender = laneway::spawn(async move |_: Lane<()>| full.send(News::Number(1)).await).unwrap();
        settle().await;
        lane.monitor(sender, News::Down);
        sender.kill();
        assert_eq!(down(&mut lane).await.reason, ExitReason::Killed);
        // Its seat is gone with it.
        lane.monitor_with_receipt(full, News::Down);
        full.kill();
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!((receipt.messages_dropped, receipt.senders_refused), (1, 0), "{receipt:?}");
    });
}

#[test]
fn a_lane_polled_by_a_set_of_futures_hears_what_comes() {
    use futures_util::stream::{FuturesUnordered, StreamExt};
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let server = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                laneway::sleep(Duration::from_millis(5)).await;
                let _ = reply.send(1);
            }
        })
        .unwrap();
        laneway::spawn(async move |_: Lane<()>| {
            laneway::sleep(Duration::from_millis(1)).await;
            me.send(News::Number(10)).await.unwrap();
        })
        .unwrap();
        let mut set = FuturesUnordered::new();
        let asks = (0..3).map(|_| Box::pin(async move { server.ask(|reply| reply).await.unwrap() }) as Boxed<'_>);
        set.extend(asks);
        set.push(Box::pin(async { number(&mut lane).await }));
        let mut total = 0;
        while let Some(number) = set.next().await {
            total += number;
        }
        assert_eq!(total, 13);
    });
    type Boxed<'a> = std::pin::Pin<Box<dyn Future<Output = u64> + Send + 'a>>;
}

#[test]
fn a_send_is_ready_at_once_while_there_is_room() {
    test(async |_: Lane<News>| {
        let target = deaf(4);
        for number in 0..4 {
            let sent = poll_once(&mut target.send(News::Number(number))).await;
            assert!(matches!(sent, Poll::Ready(Ok(()))), "{number}: {sent:?}");
        }
    });
}
