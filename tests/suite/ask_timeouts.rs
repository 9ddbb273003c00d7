//! When the time of an ask is over: by the virtual clock, to the tick, whatever alarm of the lane it has relied on.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use laneway::time::now;
use laneway::{Address, Ask, AskError, ExitReason, Lane, Reply, Runtime, Spawn};

use crate::support::*;

const MILLI: Duration = Duration::from_millis(1);

/// What a server is asked: to answer so much later, or never.
type Question = (Option<Duration>, Reply<u64>);

/// Answers each question when it is to, and others meanwhile.
fn server() -> Address<Question> {
    let server = Spawn::new().mailbox(4000).spawn(async |mut lane: Lane<Question>| {
        let mut kept = Vec::new();
        while let Some((delay, reply)) = lane.recv().await {
            match delay {
                Some(delay) => {
                    laneway::time::call_at(now() + delay, move || _ = reply.send(1));
                }
                None => kept.push(reply),
            }
        }
    });
    server.expect("a lane")
}

type Asked = Ask<Question, u64>;

/// A question that is never answered.
fn in_vain(server: Address<Question>, limit: Duration) -> Asked {
    server.ask(|reply| (None, reply)).timeout(limit)
}

/// An ask that is answered after `answered`, and whose time would be over after `limit`: that leaves an alarm behind.
async fn leave_alarm(server: Address<Question>, answered: Duration, limit: Duration) {
    assert!(answered < limit);
    let before = now();
    assert_eq!(server.ask(|reply| (Some(answered), reply)).timeout(limit).await, Ok(1));
    assert_eq!(now() - before, answered);
}

/// Waits for one that is never answered: the time must be over exactly then.
async fn assert_times_out_after(limit: Duration, ask: impl Future<Output = Result<u64, AskError>>) {
    let before = now();
    assert_eq!(ask.await, Err(AskError::Timeout(limit)));
    assert_eq!(now() - before, limit);
}

#[test]
fn a_timeout_is_neither_early_nor_late_for_an_alarm_that_an_earlier_ask_has_left() {
    // Of less than a second, and more; the alarm early, just before, at the same tick, just after, and late.
    let lengths = [1, 2, 3, 10, 99, 100, 101, 998, 999, 1000, 1001, 1002, 2000, 5000, 60_000];
    test(async move |_: Lane<News>| {
        let server = server();
        for alarm in lengths {
            for answered in [0, 1, alarm / 2, alarm - 1] {
                for limit in lengths {
                    if answered < alarm {
                        leave_alarm(server, MILLI * answered, MILLI * alarm).await;
                        assert_times_out_after(MILLI * limit, in_vain(server, MILLI * limit)).await;
                    }
                }
            }
        }
    });
}

#[test]
fn asks_that_rely_on_one_alarm_one_after_the_other_all_have_their_time() {
    test(async |_: Lane<News>| {
        let server = server();
        // The alarm of the first is passed in the midst of them.
        for round in 0..50 {
            leave_alarm(server, MILLI * 30, MILLI * (100 + round)).await;
        }
        assert_times_out_after(MILLI * 1500, in_vain(server, MILLI * 1500)).await;
        // That one has fired, and stands no more.
        assert_times_out_after(MILLI * 70, in_vain(server, MILLI * 70)).await;
        assert_times_out_after(MILLI * 70, in_vain(server, MILLI * 70)).await;
    });
}

#[test]
fn by_a_real_clock_no_ask_times_out_early_however_long_its_alarm_has_stood() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.block_on(async {
        let server = server();
        let asker = |busy: u32| {
            let asker = async move |_: Lane<()>| {
                let limit = MILLI * 1000;
                let begun = now();
                while now() - begun < MILLI * busy {
                    assert_eq!(server.ask(|reply| (Some(Duration::ZERO), reply)).timeout(limit).await, Ok(1));
                }
                let before = now();
                assert_eq!(in_vain(server, limit).await, Err(AskError::Timeout(limit)));
                assert!(now() - before >= limit, "after {busy} ms: {:?}", now() - before);
            };
            laneway::spawn(asker).unwrap()
        };
        let askers: Vec<_> = (0..60).map(|index| laneway::join(asker(3 * index).id())).collect();
        for reason in join_all(askers).await {
            assert_eq!(reason, ExitReason::Normal);
        }
    });
}

#[test]
fn a_timeout_between_two_ticks_ends_with_the_tick_that_follows() {
    test(async |_: Lane<News>| {
        let server = server();
        for micros in [1, 999, 1000, 1001, 1500, 1999] {
            leave_alarm(server, Duration::ZERO, Duration::from_micros(1900)).await;
            let (before, limit) = (now(), Duration::from_micros(micros));
            assert_eq!(in_vain(server, limit).await, Err(AskError::Timeout(limit)));
            assert_eq!(now() - before, MILLI * (micros as u32).div_ceil(1000), "{limit:?}");
        }
    });
}

#[test]
fn no_time_at_all_is_over_at_once_though_an_alarm_stands() {
    test(async |_: Lane<News>| {
        let server = server();
        leave_alarm(server, MILLI, MILLI * 100).await;
        assert_times_out_after(Duration::ZERO, in_vain(server, Duration::ZERO)).await;
        let for_ever = server.ask(|reply| (Some(Duration::from_secs(86_400)), reply)).timeout(Duration::MAX);
        assert_eq!(for_ever.await, Ok(1), "the longest time overflowed");
    });
}

#[test]
fn the_longest_times_are_longer_than_any_alarm_and_never_over() {
    test(async |_: Lane<News>| {
        let server = server();
        let most = Duration::from_nanos(u64::MAX);
        for limit in [most - Duration::from_nanos(1), most, most + Duration::from_nanos(1), Duration::MAX] {
            // With an alarm that stands, with one that has fired, and with one of the very last tick.
            leave_alarm(server, MILLI, MILLI * 100).await;
            for delay in [50, 200, 10] {
                assert_eq!(server.ask(|reply| (Some(MILLI * delay), reply)).timeout(limit).await, Ok(1), "{limit:?}");
            }
            assert_times_out_after(MILLI * 70, in_vain(server, MILLI * 70)).await;
        }
    });
}

#[test]
fn two_asks_joined_in_one_lane_have_each_its_own_time() {
    test(async |_: Lane<News>| {
        let server = server();
        for alarm in [None, Some(20), Some(40), Some(500), Some(3000)] {
            for (one, other) in [(50, 2000), (2000, 50), (50, 50), (1500, 1501), (1501, 1500), (30, 10)] {
                if let Some(alarm) = alarm {
                    leave_alarm(server, MILLI, MILLI * alarm).await;
                }
                let [one, other] = [one, other].map(|millis| MILLI * millis);
                join(
                    assert_times_out_after(one, in_vain(server, one)),
                    assert_times_out_after(other, in_vain(server, other)),
                )
                .await;
                // By wakers of their own.
                let mut set = FuturesUnordered::new();
                set.push(assert_times_out_after(one, in_vain(server, one)));
                set.push(assert_times_out_after(other, in_vain(server, other)));
                while set.next().await.is_some() {}
            }
        }
    });
}

#[test]
fn more_asks_in_one_lane_than_a_turn_has_operations_have_each_its_own_time() {
    test(async |_: Lane<News>| {
        let server = server();
        leave_alarm(server, MILLI, MILLI * 450).await;
        let before = now();
        let limit = |number: u32| MILLI * (number % 11 * 100 + 7);
        let mut asks: Vec<_> = (0..1000).map(|number| Some(in_vain(server, limit(number)))).collect();
        poll_fn(|cx| {
            for (number, ask) in (0..).zip(&mut asks) {
                let polled = ask.as_mut().map(|ask| Pin::new(ask).poll(cx));
                if let Some(Poll::Ready(outcome)) = polled {
                    assert_eq!((outcome, now() - before), (Err(AskError::Timeout(limit(number))), limit(number)));
                    *ask = None;
                }
            }
            if asks.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
}

#[test]
fn an_ask_whose_alarm_gave_way_to_an_earlier_one_still_has_its_time() {
    test(async |_: Lane<News>| {
        let server = server();
        let before = now();
        leave_alarm(server, MILLI, MILLI * 1000).await;
        // It relies on the alarm at 1000, which gives way to one at 101, which nobody but the second waits for.
        let mut first = in_vain(server, MILLI * 1500);
        assert!(poll_once(&mut first).await.is_pending());
        assert_times_out_after(MILLI * 100, in_vain(server, MILLI * 100)).await;
        assert_eq!(first.await, Err(AskError::Timeout(MILLI * 1500)));
        assert_eq!(now() - before, MILLI * 1501);
        // The same where the second was given up, and its alarm has fired.
        leave_alarm(server, MILLI, MILLI * 1000).await;
        let before = now();
        let mut first = in_vain(server, MILLI * 1500);
        assert!(poll_once(&mut first).await.is_pending());
        assert!(poll_once(&mut in_vain(server, MILLI * 100)).await.is_pending());
        assert_eq!(first.await, Err(AskError::Timeout(MILLI * 1500)));
        assert_eq!(now() - before, MILLI * 1500);
    });
}

#[test]
fn an_ask_that_moves_to_another_lane_takes_its_time_and_its_answer_with_it() {
    test(async |mut lane: Lane<News>| {
        let server = server();
        for (others_alarm, answered) in [(0, None), (20, None), (5000, None), (0, Some(70)), (5000, Some(70))] {
            leave_alarm(server, MILLI, MILLI * 300).await;
            let before = now();
            let limit = MILLI * 400;
            let mut ask = server.ask(|reply| (answered.map(|millis| MILLI * millis), reply)).timeout(limit);
            assert!(poll_once(&mut ask).await.is_pending());
            let me = lane.address();
            laneway::spawn(async move |_: Lane<()>| {
                if others_alarm != 0 {
                    leave_alarm(server, MILLI, MILLI * others_alarm).await;
                }
                let outcome = ask.await;
                let expected = match answered {
                    Some(millis) => (Ok(1), MILLI * millis),
                    None => (Err(AskError::Timeout(limit)), limit),
                };
                assert_eq!((outcome, now() - before), expected);
                me.send(News::Number(1)).await.expect("the test waits");
            })
            .expect("a lane");
            assert_eq!(number(&mut lane).await, 1);
        }
    });
}

#[test]
fn an_ask_that_was_made_elsewhere_wakes_the_lane_that_waits_in_it() {
    /// Sees that both are over in time, in a lane with an alarm that comes between the two.
    async fn assert_wakes(server: Address<Question>, answered: Asked, in_vain: Asked) {
        leave_alarm(server, MILLI, MILLI * 30).await;
        let before = now();
        assert_eq!((answered.await, now() - before), (Ok(1), MILLI * 10));
        leave_alarm(server, MILLI, MILLI * 30).await;
        assert_times_out_after(MILLI * 50, in_vain).await;
    }
    let make = |server: Address<Question>| {
        let answered = server.ask(|reply| (Some(MILLI * 10), reply)).timeout(MILLI * 50);
        (answered, in_vain(server, MILLI * 50))
    };
    // In another lane.
    test(async move |_: Lane<News>| {
        let server = server();
        let (answered, in_vain) = make(server);
        let waits = laneway::spawn(async move |_: Lane<()>| assert_wakes(server, answered, in_vain).await);
        assert_eq!(laneway::join(waits.expect("a lane").id()).await, ExitReason::Normal);
    });
    // Outside of lanes.
    let runtime = virtual_runtime();
    let server = runtime.block_on(async { server() });
    let (answered, in_vain) = make(server);
    in_lane(&runtime, async move |_: Lane<()>| assert_wakes(server, answered, in_vain).await);
    end(runtime);
}

#[test]
fn the_time_of_an_ask_that_had_to_wait_for_room_runs_from_its_first_poll() {
    test(async |_: Lane<News>| {
        let quick = server();
        for others_alarm in [20, 90, 5000] {
            let slow = Spawn::new().mailbox(1).spawn(async |mut lane: Lane<Question>| {
                let mut kept = Vec::new();
                loop {
                    laneway::sleep(MILLI * 30).await;
                    kept.extend(lane.try_recv());
                }
            });
            let slow = slow.expect("a lane");
            leave_alarm(quick, MILLI, MILLI * others_alarm).await;
            let mut fills = pin!(in_vain(slow, LONG));
            assert!(poll_once(&mut fills).await.is_pending());
            assert_times_out_after(MILLI * 100, in_vain(slow, MILLI * 100)).await;
            slow.kill();
        }
    });
}

#[test]
fn the_time_of_an_ask_that_had_to_wait_for_a_turn_runs_from_its_first_poll() {
    test(async |_: Lane<News>| {
        let server = server();
        for alarm in [20, 90, 5000] {
            leave_alarm(server, MILLI, MILLI * alarm).await;
            // More than the turn has operations: the last is not sent in this poll.
            let mut asks: Vec<_> = (0..3000).map(|_| in_vain(server, MILLI * 100)).collect();
            let before = now();
            poll_fn(|cx| {
                assert!(asks.iter_mut().all(|ask| Pin::new(ask).poll(cx).is_pending()));
                Poll::Ready(())
            })
            .await;
            let last = asks.pop().expect("one of them");
            drop(asks);
            laneway::sleep(MILLI * 10).await;
            assert_eq!(last.await, Err(AskError::Timeout(MILLI * 100)));
            assert_eq!(now() - before, MILLI * 100, "an alarm after {alarm}");
        }
    });
}

#[test]
fn a_time_that_is_set_or_taken_back_while_it_waits_holds() {
    test(async |_: Lane<News>| {
        let server = server();
        leave_alarm(server, MILLI, MILLI * 300).await;
        // One that had no time yet begins to have it.
        let mut ask = server.ask(|reply| (None, reply)).no_timeout();
        assert!(poll_once(&mut ask).await.is_pending());
        laneway::sleep(MILLI * 100).await;
        assert_times_out_after(MILLI * 500, ask.timeout(MILLI * 500)).await;
        // One that had it loses it.
        leave_alarm(server, MILLI, MILLI * 300).await;
        let mut ask = server.ask(|reply| (Some(MILLI * 2000), reply)).timeout(MILLI * 400);
        assert!(poll_once(&mut ask).await.is_pending());
        assert_eq!(ask.no_timeout().await, Ok(1));
    });
}

#[test]
fn one_that_is_moved_to_another_runtime_when_its_own_has_ended_is_not_early() {
    let (here, there) = (runtime(1), runtime(1));
    let server = in_lane(&there, async |_: Lane<()>| {
        // More turns than the other runtime gives, and long ago.
        for _ in 0..100 {
            laneway::yield_now().await;
        }
        laneway::sleep(MILLI * 200).await;
        server()
    });
    let limit = MILLI * 1000;
    let (ask, before) = in_lane(&here, async move |_: Lane<()>| {
        assert_eq!(server.ask(|reply| (Some(MILLI), reply)).timeout(limit - MILLI * 10).await, Ok(1));
        laneway::sleep(MILLI * 30).await;
        let before = now();
        let mut ask = in_vain(server, limit);
        assert!(poll_once(&mut ask).await.is_pending());
        (ask, before)
    });
    end(here);
    in_lane(&there, async move |_: Lane<()>| {
        assert_eq!(ask.await, Err(AskError::Timeout(limit)));
        assert!(now() - before >= limit, "{:?}", now() - before);
    });
}
