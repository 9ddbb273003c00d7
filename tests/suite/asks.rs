//! Asks: what a call promises when all goes well, and what when it does not.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use laneway::time::now;
use laneway::{Actor, Address, AskError, Context, ExitReason, Lane, Outcome, Reply, SendError, Spawn};

use crate::support::*;

/// Keeps the reply ports it gets and never answers.
async fn mute(mut lane: Lane<Reply<u64>>) {
    let mut kept = Vec::new();
    while let Some(reply) = lane.recv().await {
        kept.push(reply);
    }
}

#[test]
fn otp_034_an_ask_of_a_dead_lane_fails_at_once() {
    test(async |mut lane: Lane<News>| {
        let dead = laneway::spawn(mute).unwrap();
        dead.kill();
        reason_of(&mut lane, dead).await;
        let before = now();
        assert_eq!(dead.ask(|reply| reply).await, Err(AskError::NoProc));
        assert_eq!(dead.ask(|reply| reply).no_timeout().await, Err(AskError::NoProc));
        assert_eq!(dead.ask(|reply| reply).timeout(Duration::ZERO).await, Err(AskError::NoProc));
        assert_eq!(now(), before, "the ask waited");
    });
}

#[test]
fn otp_035_an_ask_whose_lane_dies_fails_at_once_with_its_reason() {
    test(async |_: Lane<News>| {
        for reason in [oops(), ExitReason::Shutdown, ExitReason::Killed] {
            let ends = reason.clone();
            let server = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
                let _kept = lane.recv().await;
                laneway::yield_now().await;
                ends
            })
            .unwrap();
            let before = now();
            assert_eq!(server.ask(|reply| reply).await, Err(AskError::Ended(reason)));
            assert_eq!(now(), before, "the ask waited");
        }
    });
}

#[test]
fn otp_035_an_ask_whose_lane_panics_over_it_hears_of_the_panic_and_finds_its_name_free() {
    struct Panics;
    impl Actor for Panics {
        type Msg = Reply<u64>;
        async fn handle(&mut self, _: Reply<u64>, _: &mut Context<Reply<u64>>) -> Outcome {
            panic!("over the question");
        }
    }
    race(100, async |_: Lane<News>| {
        let lane = Spawn::new().name("panics").spawn(async |mut lane: Lane<Reply<u64>>| {
            let _reply = lane.recv().await;
            panic!("over the question");
        });
        let by_function = lane.unwrap().ask(|reply| reply).await;
        assert_eq!(laneway::whereis::<Reply<u64>>("panics"), Ok(None), "the caller heard before the name was free");
        let actor = Spawn::new().name("panics").start(Panics).await.unwrap();
        let by_actor = actor.ask(|reply| reply).await;
        for answer in [by_function, by_actor] {
            let Err(AskError::Ended(ExitReason::Panicked { message, .. })) = &answer else { panic!("{answer:?}") };
            assert_eq!(&**message, "over the question");
        }
    });
}

#[test]
fn otp_035_an_ask_that_is_still_queued_when_its_lane_dies_fails_at_once() {
    test(async |_: Lane<News>| {
        let before = now();
        let server = laneway::spawn(async |_: Lane<Reply<u64>>| {
            laneway::sleep(Duration::from_millis(10)).await;
            oops()
        })
        .unwrap();
        let answer = server.ask(|reply| reply).await;
        assert_eq!(answer, Err(AskError::Ended(oops())));
        assert!(now() - before < Duration::from_millis(20), "it waited for {:?}", now() - before);
    });
}

#[test]
fn otp_035_an_ask_that_waits_for_room_when_its_lane_dies_fails_at_once() {
    test(async |_: Lane<News>| {
        let server = Spawn::new().mailbox(1).spawn(async |_: Lane<Reply<u64>>| {
            laneway::sleep(Duration::from_millis(10)).await;
        });
        let server = server.unwrap();
        let mut queued = server.ask(|reply| reply);
        assert!(poll_once(&mut queued).await.is_pending());
        let before = now();
        assert_eq!(server.ask(|reply| reply).await, Err(AskError::NoProc), "its question was never in the mailbox");
        assert_eq!(queued.await, Err(AskError::Ended(ExitReason::Normal)));
        assert!(now() - before < Duration::from_millis(20), "they waited for {:?}", now() - before);
    });
}

#[test]
fn otp_035_asks_of_a_lane_that_is_killed_meanwhile_all_come_back() {
    race(100, async |_: Lane<News>| {
        let server = Spawn::new().mailbox(2).spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                let _ = reply.send(1);
                laneway::yield_now().await;
            }
        });
        let server = server.unwrap();
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let asker = laneway::spawn(async move |_: Lane<()>| {
                    loop {
                        match server.ask(|reply| reply).no_timeout().await {
                            Ok(answer) => assert_eq!(answer, 1),
                            Err(AskError::NoProc | AskError::Ended(ExitReason::Killed)) => return,
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
                asker.unwrap().id()
            })
            .collect();
        for _ in 0..20 {
            laneway::yield_now().await;
        }
        server.kill();
        for asker in asking {
            let reason = laneway::join(asker).await;
            assert!(matches!(reason, ExitReason::Normal | ExitReason::NoProc), "{reason}");
        }
    });
}

#[test]
fn an_answer_that_comes_from_another_worker_while_the_ask_is_polled_is_not_lost() {
    const ROUNDS: u64 = 1000;
    let runtime = runtime(2);
    in_lane(&runtime, async |mut lane: Lane<News>| {
        let answered = Arc::new(AtomicU64::new(0));
        let told = answered.clone();
        let me = lane.address();
        // It keeps its worker until all is answered, so that the lane that asks has the other.
        let server = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            me.send(News::Number(0)).await.expect("the test waits");
            for number in 1..=2 * ROUNDS {
                let reply = loop {
                    match lane.try_recv() {
                        Some(reply) => break reply,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(reply.send(number), Ok(()));
                told.store(number, Ordering::Release);
            }
        });
        let server = server.expect("a lane");
        assert_eq!(number(&mut lane).await, 0);
        for round in 1..=ROUNDS {
            // While the ask is polled for the first time, or soon after.
            assert_eq!(server.ask(|reply| reply).timeout(LONG).await, Ok(2 * round - 1));
            // Then or later, but in the same poll of the lane, which finds the answer by itself, or is woken for nothing.
            let mut ask = server.ask(|reply| reply).timeout(LONG);
            let mut polled = poll_once(&mut ask).await;
            while answered.load(Ordering::Acquire) < 2 * round {
                std::thread::yield_now();
            }
            if polled.is_pending() {
                polled = poll_once(&mut ask).await;
            }
            assert_eq!(polled, Poll::Ready(Ok(2 * round)));
        }
    });
    end(runtime);
}

#[test]
fn otp_036_a_timeout_ends_the_ask_alone_and_the_late_answer_goes_nowhere() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let server = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                assert!(reply.is_awaited());
                laneway::sleep(Duration::from_millis(20)).await;
                assert!(!reply.is_awaited(), "nobody waits, and it is not known");
                assert_eq!(reply.send(5), Err(5), "a late answer was taken");
                me.send(News::Number(1)).await.unwrap();
            }
        })
        .unwrap();
        let before = now();
        let limit = Duration::from_millis(10);
        assert_eq!(server.ask(|reply| reply).timeout(limit).await, Err(AskError::Timeout(limit)));
        assert_eq!(now() - before, limit);
        assert_eq!(number(&mut lane).await, 1, "the server was to carry on");
        assert_silence(&mut lane).await;
        assert!(server.is_alive());
    });
}

#[test]
fn otp_037_a_lane_that_asks_itself_is_told_so_at_once() {
    test(async |mut lane: Lane<News>| {
        let before = now();
        assert_eq!(lane.address().ask(News::Ask).await, Err(AskError::ToSelf));
        assert_eq!(lane.address().ask(News::Ask).no_timeout().await, Err(AskError::ToSelf));
        assert_eq!(now(), before);
        assert_silence(&mut lane).await;
    });
}

#[test]
fn otp_038_an_ask_waits_five_seconds_or_not_at_all_or_for_ever() {
    test(async |_: Lane<News>| {
        let server = laneway::spawn(mute).unwrap();
        let five = Duration::from_secs(5);
        let before = now();
        assert_eq!(server.ask(|reply| reply).await, Err(AskError::Timeout(five)));
        assert_eq!(now() - before, five);

        let before = now();
        let none = server.ask(|reply| reply).timeout(Duration::ZERO).await;
        assert_eq!(none, Err(AskError::Timeout(Duration::ZERO)));
        assert_eq!(now(), before);

        let slow = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                laneway::sleep(Duration::from_secs(3_000_000)).await;
                let _ = reply.send(9);
            }
        });
        let slow = slow.unwrap();
        assert_eq!(slow.ask(|reply| reply).no_timeout().await, Ok(9));
        assert_eq!(slow.ask(|reply| reply).timeout(Duration::MAX).await, Ok(9), "the longest time overflowed");
    });
}

#[test]
fn otp_038_the_same_times_hold_for_a_thread_that_asks() {
    let runtime = virtual_runtime();
    runtime.block_on(async {
        let server = laneway::spawn(mute).unwrap();
        let before = now();
        let five = Duration::from_secs(5);
        assert_eq!(server.ask(|reply| reply).await, Err(AskError::Timeout(five)));
        assert_eq!(now() - before, five);
        let none = server.ask(|reply| reply).timeout(Duration::ZERO).await;
        assert_eq!(none, Err(AskError::Timeout(Duration::ZERO)));
    });
    end(runtime);
}

#[test]
fn otp_039_a_reply_port_may_be_handed_on_and_answered_later_by_another_lane() {
    test(async |_: Lane<News>| {
        let server = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                laneway::spawn(async move |_: Lane<()>| {
                    laneway::sleep(Duration::from_millis(10)).await;
                    assert_eq!(reply.send(3), Ok(()));
                })
                .unwrap();
            }
        })
        .unwrap();
        let mut first = server.ask(|reply| reply);
        assert!(poll_once(&mut first).await.is_pending());
        settle().await;
        // The answer comes though the lane that was asked is gone by then: the port is with another.
        server.kill();
        assert_eq!(first.await, Ok(3));
    });
}

#[test]
fn a_reply_port_that_is_dropped_answers_no_reply_or_the_reason_of_the_lane_that_dropped_it() {
    test(async |_: Lane<News>| {
        let drops = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                drop(reply);
            }
        })
        .unwrap();
        let before = now();
        assert_eq!(drops.ask(|reply| reply).await, Err(AskError::NoReply));
        assert_eq!(now(), before);

        let hands_on = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                laneway::spawn(async move |_: Lane<()>| {
                    let _held = reply;
                    panic!("on purpose");
                })
                .unwrap();
            }
        })
        .unwrap();
        let answer = hands_on.ask(|reply| reply).await;
        assert!(
            matches!(&answer, Err(AskError::Ended(ExitReason::Panicked { message, .. })) if &**message == "on purpose"),
            "{answer:?}"
        );
        assert!(hands_on.is_alive());
    });
}

#[test]
fn a_lane_sends_no_more_questions_in_one_poll_than_its_turn_has_operations() {
    test(async |_: Lane<News>| {
        let came = Arc::<AtomicU64>::default();
        let counts = came.clone();
        let server = Spawn::new().mailbox(4000).spawn(async move |mut lane: Lane<Reply<u64>>| {
            while lane.recv().await.is_some() {
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        let server = server.unwrap();
        laneway::spawn(async move |_: Lane<()>| {
            let mut asks: Vec<_> = (0..4000).map(|_| server.ask(|reply| reply)).collect();
            poll_fn(|cx| {
                assert!(asks.iter_mut().all(|ask| pin!(ask).poll(cx).is_pending()));
                Poll::Ready(())
            })
            .await;
        })
        .unwrap();
        settle().await;
        let came = came.load(Ordering::Relaxed);
        assert!((1..=1024).contains(&came), "{came} were sent at once");
    });
}

#[test]
fn asks_that_a_set_of_futures_polls_by_wakers_of_its_own_are_answered_and_end_by_these() {
    test(async |_: Lane<News>| {
        let late = laneway::spawn(async |mut lane: Lane<(Duration, Reply<u64>)>| {
            while let Some((delay, reply)) = lane.recv().await {
                laneway::time::call_at(now() + delay, move || _ = reply.send(1));
            }
        });
        let late = late.unwrap();
        let (short, limit) = (Duration::from_millis(10), Duration::from_millis(200));
        let ask = |delay: Duration| late.ask(move |reply| (delay, reply));
        for limited in [false, true] {
            // That leaves an alarm, which is earlier than what follows.
            assert_eq!(ask(Duration::ZERO).timeout(limit / 2).await, Ok(1));
            let mut set = FuturesUnordered::new();
            for _ in 0..3 {
                set.push(if limited { ask(short).timeout(limit) } else { ask(short).no_timeout() });
            }
            for _ in 0..3 {
                let answered = laneway::timeout(LONG, set.next()).await.expect("the set is woken for an answer");
                assert_eq!(answered, Some(Ok(1)));
            }
            assert_eq!(ask(Duration::ZERO).timeout(limit / 2).await, Ok(1));
            let before = now();
            set.push(ask(LONG * 2).timeout(limit));
            let late = laneway::timeout(LONG, set.next()).await.expect("the set is woken for the end of the time");
            assert_eq!((late, now() - before), (Some(Err(AskError::Timeout(limit))), limit));
        }
    });
}

#[test]
fn an_ask_that_is_dropped_is_over() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let server = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                me.send(News::Number(u64::from(reply.is_awaited()))).await.unwrap();
                assert_eq!(reply.send(1), Err(1));
            }
        })
        .unwrap();
        // Dropped before it was sent: the server hears nothing.
        drop(server.ask(|reply| reply));
        assert_silence(&mut lane).await;
        // Dropped after: the server may handle it, and its answer goes nowhere.
        let mut ask = server.ask(|reply| reply);
        assert!(poll_once(&mut ask).await.is_pending());
        drop(ask);
        assert_eq!(number(&mut lane).await, 0);
        assert_silence(&mut lane).await;
    });
}

#[test]
fn an_ask_that_is_dropped_before_it_was_sent_wakes_nobody() {
    test(async |_: Lane<News>| {
        let server = laneway::spawn(mute).unwrap();
        // A lane of its own, which is joined before it begins: that, too, would have it polled once more.
        let asks = laneway::spawn(async move |_: Lane<()>| {
            let mut polls = 0;
            let drops_one = poll_fn(|_| {
                polls += 1;
                if polls == 1 {
                    drop(server.ask(|reply| reply));
                }
                Poll::<()>::Pending
            });
            assert!(laneway::timeout(Duration::from_secs(1), drops_one).await.is_err());
            assert_eq!(polls, 2, "polled when it began and when the time was over");
        });
        assert_eq!(laneway::join(asks.unwrap().id()).await, ExitReason::Normal);
    });
}

#[test]
fn otp_040_a_cast_never_fails_the_caller_and_comes_before_the_call_that_follows_it() {
    enum Count {
        Add(u64),
        Total(Reply<u64>),
    }
    test(async |mut lane: Lane<News>| {
        let server: Address<Count> = laneway::spawn(async |mut lane: Lane<Count>| {
            let mut total = 0;
            while let Some(message) = lane.recv().await {
                match message {
                    Count::Add(number) => total += number,
                    Count::Total(reply) => _ = reply.send(total),
                }
            }
        })
        .unwrap();
        for round in 1..=100 {
            server.send(Count::Add(1)).await.unwrap();
            assert_eq!(server.ask(Count::Total).await, Ok(round));
        }
        server.kill();
        reason_of(&mut lane, server).await;
        // What a caller does not look at does not touch it.
        let _ = server.try_send(Count::Add(1));
        let _ = server.send(Count::Add(1)).await;
        assert!(matches!(server.try_send(Count::Add(7)), Err(SendError::NoProc(Count::Add(7)))));
    });
}

#[test]
fn otp_048_a_call_of_many_gives_the_replies_and_who_failed() {
    test(async |mut lane: Lane<News>| {
        let late = Arc::new(AtomicU64::new(0));
        let server = |number: u64| {
            let late = late.clone();
            let spawned = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
                while let Some(reply) = lane.recv().await {
                    laneway::sleep(Duration::from_millis(10 * number)).await;
                    late.fetch_add(u64::from(reply.send(number).is_err()), Ordering::Relaxed);
                }
            });
            spawned.unwrap()
        };
        let servers: Vec<_> = (0..5).map(server).collect();
        servers[2].kill();
        reason_of(&mut lane, servers[2]).await;
        let before = now();
        let limit = Duration::from_millis(35);
        let answers = laneway::ask_all(servers.iter().copied(), limit, |reply| reply).await;
        assert_eq!(now() - before, limit, "one wait for all, not one each");
        let timeout = Err(AskError::Timeout(limit));
        let expected = [Ok(0), Ok(1), Err(AskError::NoProc), Ok(3), timeout];
        let expected: Vec<_> = servers.iter().copied().zip(expected).collect();
        assert_eq!(answers, expected);
        // The straggler's answer goes nowhere.
        laneway::sleep(Duration::from_millis(20)).await;
        assert_eq!(late.load(Ordering::Relaxed), 1);
        assert_silence(&mut lane).await;
    });
}
