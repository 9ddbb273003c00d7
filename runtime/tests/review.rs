//! What a hostile reader tried: wakers and destructors that panic, ids that were never given out, runtimes that end
//! while others use them.

use std::future::{pending, poll_fn};
use std::num::NonZeroU16;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use laneway_runtime::env::VirtualEnv;
use laneway_runtime::lane::{self, Spawn, SpawnError};
use laneway_runtime::mailbox::{Inbox, MailboxId, Received};
use laneway_runtime::{ExitReason, Id, Runtime, inspect, reply, time};

const HOUR: Duration = Duration::from_secs(3600);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn virtual_runtime(workers: usize) -> Runtime {
    Runtime::builder().virtual_time(1).workers(workers).build().unwrap()
}

/// A waker that panics when it is woken.
struct PanicsWhenWoken;

impl Wake for PanicsWhenWoken {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// A waker that panics when it is dropped.
struct PanicsWhenDropped;

impl Wake for PanicsWhenDropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a waker whose destructor panics");
    }
}

#[test]
fn a_joiner_whose_waker_panics_harms_no_worker() {
    let runtime = runtime(1);
    let _entered = runtime.handle().enter();
    let lane = Spawn::new().spawn(|_: Inbox<()>| pending::<()>()).unwrap();
    let mut join = pin!(lane::join(lane.mailbox.id()));
    let waker = Waker::from(Arc::new(PanicsWhenWoken));
    assert!(join.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    lane::kill(lane.mailbox.id());
    let second = Spawn::new().spawn(|_: Inbox<()>| async {}).unwrap();
    drop(_entered);
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean(), "{report:?}");
    assert!(!lane::is_alive(second.mailbox.id()));
    assert_eq!(join.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(ExitReason::Killed));
}

#[test]
fn a_receiver_whose_waker_panics_when_dropped_harms_no_worker() {
    let runtime = runtime(1);
    runtime.block_on(async {
        let (answerer, mut answer) = reply::port();
        let mut answerer = Some(answerer);
        Spawn::new()
            .spawn(|mut inbox: Inbox<()>| {
                poll_fn(move |_| {
                    let waker = Waker::from(Arc::new(PanicsWhenDropped));
                    assert!(inbox.poll_recv(&mut Context::from_waker(&waker)).is_pending());
                    // The mailbox holds the last one.
                    drop(waker);
                    answerer.take().map_or(Poll::Pending, |answerer| Poll::Ready(_ = answerer.answer(())))
                })
            })
            .unwrap();
        poll_fn(|cx| answer.poll_answer(cx)).await.unwrap();
    });
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.metrics.destructor_panics, 1);
}

/// Polls a future only when its own waker was woken, as sets of futures do.
struct WhenWoken<F> {
    future: Pin<Box<F>>,
    nudge: Arc<Nudge>,
}

struct Nudge {
    woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(outer) = self.outer.lock().unwrap().take() {
            outer.wake();
        }
    }
}

impl<F: Future> WhenWoken<F> {
    fn new(future: F) -> WhenWoken<F> {
        let nudge = Nudge { woken: AtomicBool::new(true), outer: Mutex::new(None) };
        WhenWoken { future: Box::pin(future), nudge: Arc::new(nudge) }
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        *self.nudge.outer.lock().unwrap() = Some(cx.waker().clone());
        if !self.nudge.woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let waker = Waker::from(self.nudge.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[test]
fn a_receiver_with_a_waker_of_its_own_hears_what_comes_after_a_signal() {
    let runtime = virtual_runtime(1);
    let got = runtime.block_on(async {
        let (answerer, mut answer) = reply::port();
        let lane = Spawn::new()
            .spawn(|mut inbox: Inbox<u8>| async move {
                let received = WhenWoken::new(poll_fn(|cx| inbox.poll_recv(cx))).await;
                if let Received::Message(message) = received {
                    let _ = answerer.answer(message);
                }
            })
            .unwrap();
        // The first may come before the lane waits; the second comes while it does and is no news for the receiver.
        inspect::inspect(lane.mailbox.id()).await.unwrap();
        inspect::inspect(lane.mailbox.id()).await.unwrap();
        lane.mailbox.try_send(7).unwrap();
        time::timeout(HOUR, poll_fn(|cx| answer.poll_answer(cx))).await
    });
    assert_eq!(got, Ok(Ok(7)));
}

#[test]
fn an_id_that_never_was_is_not_gone() {
    let runtime = runtime(1);
    let _entered = runtime.handle().enter();
    let lane = Spawn::new().spawn(|_: Inbox<()>| pending::<()>()).unwrap().mailbox.id();
    // In the first chunk of slots, and not given out yet.
    let never = Id::new(1023, lane.namespace(), NonZeroU16::MIN);
    assert_eq!(MailboxId::<u64>::of_gone(never), None);
}

#[test]
fn the_virtual_clock_jumps_when_the_last_of_several_workers_falls_asleep() {
    let runtime = virtual_runtime(2);
    runtime.block_on(async {
        for _ in 0..20 {
            let sleeper = Spawn::new().spawn(|_: Inbox<()>| time::sleep(HOUR)).unwrap();
            let busy = Spawn::new()
                .spawn(|_: Inbox<()>| async {
                    // Long enough for the other worker to fall asleep first.
                    (0..1_000_000).for_each(|_| std::hint::spin_loop());
                })
                .unwrap();
            lane::join(busy.mailbox.id()).await;
            lane::join(sleeper.mailbox.id()).await;
        }
    });
}

#[test]
fn a_spawn_that_the_end_of_the_runtime_overtakes_fails_and_leaves_nothing() {
    let witness = Arc::new(());
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let _entered = handle.enter();
    let held = witness.clone();
    let mut id = None;
    let spawned = Spawn::new().spawn(|inbox: Inbox<()>| {
        id = Some(inbox.mailbox().id());
        drop(runtime);
        async move { drop(held) }
    });
    assert_eq!(spawned.err(), Some(SpawnError::ShuttingDown));
    assert!(!lane::is_alive(id.unwrap()));
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn a_timer_of_a_runtime_that_ended_names_none_of_the_next() {
    for _ in 0..10 {
        let old = {
            let runtime = runtime(1);
            let _entered = runtime.handle().enter();
            time::call_at(time::now() + HOUR, || ())
        };
        let runtime = runtime(1);
        let _entered = runtime.handle().enter();
        let new = time::call_at(time::now() + HOUR, || ());
        assert!(!old.cancel());
        assert!(new.cancel());
    }
}

#[test]
fn a_deadline_first_polled_after_an_alarm_of_its_lane_has_passed_still_comes() {
    let runtime = virtual_runtime(1);
    runtime.block_on(async {
        let lane = Spawn::new().spawn(|_: Inbox<()>| async {
            let mut first = time::Deadline::after(Duration::from_millis(10));
            poll_fn(|cx| {
                assert!(first.poll_passed(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            let mut second = time::Deadline::after(Duration::from_millis(100));
            poll_fn(|cx| first.poll_passed(cx)).await;
            poll_fn(|cx| second.poll_passed(cx)).await;
        });
        let joined = time::timeout(HOUR, lane::join(lane.unwrap().mailbox.id())).await;
        assert_eq!(joined, Ok(ExitReason::Normal));
    });
}

#[test]
fn deadlines_that_never_come_leave_one_timer_a_lane() {
    let runtime = virtual_runtime(1);
    let handle = runtime.handle().clone();
    runtime.block_on(async move {
        let lane = Spawn::new().spawn(move |_: Inbox<()>| async move {
            for _ in 0..100 {
                let long = time::timeout(HOUR, laneway_runtime::yield_now());
                let short = time::timeout(Duration::from_millis(1), pending::<()>());
                assert_eq!((long.await, short.await.is_err()), (Ok(()), true));
            }
            assert!(handle.metrics().timers <= 2, "{:?}", handle.metrics());
        });
        assert_eq!(lane::join(lane.unwrap().mailbox.id()).await, ExitReason::Normal);
    });
}

#[test]
fn a_selective_receiver_with_a_waker_of_its_own_does_not_keep_its_lane_running() {
    let runtime = virtual_runtime(1);
    let handle = runtime.handle().clone();
    runtime.block_on(async move {
        let lane = Spawn::new()
            .spawn(|mut inbox: Inbox<u8>| async move {
                WhenWoken::new(poll_fn(|cx| inbox.poll_recv_match(cx, |message| *message == 2))).await;
            })
            .unwrap();
        lane.mailbox.try_send(1).unwrap();
        // The clock jumps only once the lane sleeps.
        time::sleep(HOUR).await;
        assert!(handle.metrics().turns < 10, "{:?}", handle.metrics());
        lane.mailbox.try_send(2).unwrap();
        lane::join(lane.mailbox.id()).await;
    });
}

#[test]
fn runtimes_may_be_left_in_any_order() {
    let (first, second) = (runtime(1), runtime(1));
    let namespace = || {
        let lane = Spawn::new().spawn(|_: Inbox<()>| async {}).unwrap();
        lane.mailbox.id().namespace()
    };
    let one = first.handle().enter();
    let of_first = namespace();
    let two = second.handle().enter();
    let of_second = namespace();
    drop(one);
    assert_ne!(of_first, of_second);
    assert_eq!(namespace(), of_second);
    drop(two);
    assert_eq!(Spawn::new().spawn(|_: Inbox<()>| async {}).err(), Some(SpawnError::NotInRuntime));
}

#[test]
fn a_sleep_that_outlives_its_lane_wakes_the_next_tenant_of_the_slot() {
    let runtime = Runtime::builder().virtual_time(1).workers(1).max_lanes(1).build().unwrap();
    let begun: Arc<Mutex<Option<Pin<Box<time::Sleep>>>>> = Arc::default();
    runtime.block_on(async {
        let mut slept = false;
        for _ in 0..2 {
            let shared = begun.clone();
            // With one slot, the second lane gets that of the first, and so its waker.
            let lane = Spawn::new().spawn(move |_: Inbox<()>| async move {
                let taken = shared.lock().unwrap().take();
                match taken {
                    Some(sleep) => sleep.await,
                    None => {
                        let mut sleep = Box::pin(time::sleep(HOUR));
                        poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await;
                        *shared.lock().unwrap() = Some(sleep);
                    }
                }
            });
            let ended = time::timeout(HOUR * 2, lane::join(lane.unwrap().mailbox.id())).await;
            slept = ended.is_ok();
        }
        assert!(slept);
    });
}

/// Two lanes link each other at the same time, and one of them takes its link back before it has heard of the other's.
#[test]
fn who_links_again_after_links_and_unlinks_crossed_is_linked() {
    let runtime = virtual_runtime(2);
    let _entered = runtime.handle().enter();
    let (both, first) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(Mutex::new(None::<Id>)));
    let (answerer, mut answer) = reply::port();
    let other = Spawn::new()
        .spawn({
            let (both, first) = (both.clone(), first.clone());
            move |mut inbox: Inbox<()>| async move {
                both.wait();
                let first = first.lock().unwrap().unwrap();
                lane::link(first).unwrap();
                both.wait();
                both.wait();
                poll_fn(|cx| inbox.poll_recv(cx)).await;
                let _ = answerer.answer(inspect::inspect(first).await.unwrap().links);
                ExitReason::error("over")
            }
        })
        .unwrap()
        .mailbox;
    let one = Spawn::new()
        .spawn(move |inbox: Inbox<()>| async move {
            *first.lock().unwrap() = Some(inbox.mailbox().id());
            both.wait();
            both.wait();
            lane::link(other.id()).unwrap();
            lane::unlink(other.id()).unwrap();
            both.wait();
            laneway_runtime::yield_now().await;
            // By now both have taken in what the other did.
            inspect::inspect(other.id()).await.unwrap();
            lane::link(other.id()).unwrap();
            other.send(()).await.unwrap();
            pending::<()>().await;
        })
        .unwrap()
        .mailbox;
    let links = runtime.block_on(poll_fn(|cx| answer.poll_answer(cx))).unwrap();
    assert_eq!(links, [other.id()]);
    let end = runtime.block_on(time::timeout(HOUR, lane::join(one.id())));
    assert!(end.is_ok(), "it outlives the lane that it linked");
}

#[test]
fn a_lane_that_waits_for_its_time_is_not_put_behind_all_those_whose_turns_are_long() {
    const LONG: Duration = Duration::from_millis(1);
    const LANES: u32 = 100;
    const ROUNDS: u32 = 10;
    let env = Arc::new(VirtualEnv::new(1));
    let runtime = Runtime::builder().workers(1).watchdog(None).env(env.clone()).build().unwrap();
    let ended = runtime.block_on(async move {
        let begins = Spawn::new().spawn(move |_: Inbox<()>| async move {
            for _ in 0..LANES {
                let env = env.clone();
                let uses_up = move |cx: &mut Context<'_>| {
                    env.advance(LONG);
                    while laneway_runtime::poll_share(cx).is_ready() {}
                };
                let long = move |_: Inbox<()>| async move {
                    for _ in 0..ROUNDS {
                        let mut was = false;
                        poll_fn(|cx| {
                            if std::mem::replace(&mut was, true) {
                                return Poll::Ready(());
                            }
                            uses_up(cx);
                            Poll::Pending
                        })
                        .await;
                    }
                };
                Spawn::new().spawn(long).unwrap();
            }
            // While the worker learns that turns are long.
            time::sleep(LONG * LANES * ROUNDS / 2).await;
            for _ in 0..20 {
                let sleep = time::sleep(5 * LONG);
                let deadline = sleep.deadline();
                sleep.await;
                let late = time::now() - deadline;
                assert!(late < 5 * LONG, "late by {late:?}");
            }
        });
        lane::join(begins.unwrap().mailbox.id()).await
    });
    assert_eq!(ended, ExitReason::Normal);
}

#[test]
fn a_lane_that_takes_the_locks_of_many_mutexes_once_each_lets_others_run() {
    // No stand-in is to run the others.
    let runtime = Runtime::builder().workers(1).watchdog(None).build().unwrap();
    let ran = runtime.block_on(async {
        let (answerer, mut answer) = reply::port();
        Spawn::new()
            .spawn(|_: Inbox<()>| async {
                let other = Arc::new(AtomicBool::new(false));
                let runs = other.clone();
                Spawn::new().spawn(move |_: Inbox<()>| async move { runs.store(true, Ordering::Relaxed) }).unwrap();
                let mutexes: Vec<_> = (0..10_000).map(laneway_runtime::sync::Mutex::new).collect();
                for (number, mutex) in mutexes.iter().enumerate() {
                    assert_eq!(*mutex.lock().await.unwrap(), number);
                }
                answerer.answer(other.load(Ordering::Relaxed)).unwrap();
            })
            .unwrap();
        poll_fn(|cx| answer.poll_answer(cx)).await
    });
    assert_eq!(ran, Ok(true), "ten thousand locks were taken in one turn");
}

#[test]
fn a_message_of_no_bytes_and_wide_alignment_is_dropped_once() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    #[repr(align(256))]
    struct Token;
    impl Drop for Token {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let runtime = runtime(1);
    runtime.block_on(async {
        let receives = |mut inbox: Inbox<Token>| async move {
            let received = poll_fn(|cx| inbox.poll_recv(cx)).await;
            assert!(matches!(received, Received::Message(Token)));
        };
        let to = Spawn::new().spawn(receives).unwrap().mailbox;
        let sends = Spawn::new().spawn(move |_: Inbox<()>| async move { assert!(to.send(Token).await.is_ok()) });
        // One that is gone already has ended in order, or the count below would be another.
        for lane in [sends.unwrap().mailbox.id(), to.id()] {
            let ended = lane::join(lane).await;
            assert!(matches!(ended, ExitReason::Normal | ExitReason::NoProc), "{ended}");
        }
    });
    assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
}

#[test]
fn a_message_of_another_type_for_one_who_is_gone_comes_back_though_a_pack_for_him_is_open() {
    virtual_runtime(1).block_on(async {
        let sender = Spawn::new().spawn(|_: Inbox<()>| async {
            let deaf = Spawn::new().spawn(|_: Inbox<u64>| pending::<()>()).unwrap().mailbox;
            for number in 0..20 {
                deaf.send(number).await.unwrap();
            }
            lane::kill(deaf.id());
            lane::join(deaf.id()).await;
            for number in 0..20 {
                let other = MailboxId::<[u32; 3]>::of_gone(deaf.id()).expect("he is gone");
                assert!(other.send([number; 3]).await.is_err());
                assert!(deaf.send(u64::from(number)).await.is_err());
            }
        });
        assert_eq!(lane::join(sender.unwrap().mailbox.id()).await, ExitReason::Normal);
    });
}
