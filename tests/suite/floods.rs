//! Mailboxes in which messages gather: what is sent to them goes in packs, and nobody can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use laneway::{Address, ExitReason, Lane, Runtime, SendError, Spawn, spawn};

use crate::support::*;

/// Of whom a message is, and which of his.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    from: usize,
    number: u64,
}

/// Which comes next of each sender.
struct Expected(Vec<u64>);

impl Expected {
    fn of(senders: usize) -> Expected {
        Expected(vec![0; senders])
    }

    fn note(&mut self, Numbered { from, number }: Numbered) {
        assert_eq!(number, self.0[from], "of sender {from}");
        self.0[from] += 1;
    }

    /// All have sent so many.
    fn is_over(&self, many: u64) -> bool {
        self.0.iter().all(|next| *next == many)
    }
}

/// A lane whose end is heard.
fn watched<M, F>(lane: &mut Lane<News>, spawn: Spawn, body: impl FnOnce(Lane<M>) -> F) -> Address<M>
where
    M: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (address, reference) = spawn.monitor().spawn_monitored(body).unwrap();
    lane.on_down(reference.unwrap(), News::Down);
    address
}

async fn ends_well(lane: &mut Lane<News>) {
    assert_eq!(down(lane).await.reason, ExitReason::Normal);
}

/// A lane that receives so many of each sender, in their order.
fn receiver_of(lane: &mut Lane<News>, senders: usize, many: u64) -> Address<Numbered> {
    watched(lane, Spawn::new(), async move |mut lane: Lane<Numbered>| {
        let mut expected = Expected::of(senders);
        while !expected.is_over(many) {
            expected.note(lane.recv().await.unwrap());
        }
    })
}

/// A lane that sends so many, and now and then does something else.
fn send_many(to: Address<Numbered>, from: usize, many: u64) {
    let sender = async move |_: Lane<()>| {
        for number in 0..many {
            let message = Numbered { from, number };
            match number % 97 {
                13 => laneway::yield_now().await,
                50 if to.try_send(message).is_ok() => continue,
                _ => {}
            }
            to.send(message).await.unwrap();
        }
    };
    spawn(sender).unwrap();
}

#[test]
fn what_many_send_at_once_comes_in_the_order_of_each() {
    const SENDERS: usize = 6;
    const MANY: u64 = 3000;
    race(10, async |mut lane: Lane<News>| {
        let receiver = receiver_of(&mut lane, SENDERS, MANY);
        (0..SENDERS).for_each(|from| send_many(receiver, from, MANY));
        ends_well(&mut lane).await;
    });
}

#[test]
fn who_sends_to_two_in_turn_sends_to_each_in_order() {
    const MANY: u64 = 5000;
    race(10, async |mut lane: Lane<News>| {
        let receivers = [(); 2].map(|()| receiver_of(&mut lane, 1, MANY));
        let mut next = [0; 2];
        for turn in 0.. {
            // Runs of all lengths, so that packs are left at every fill.
            let which = turn % 2;
            for _ in 0..turn % 15 {
                if next[which] < MANY {
                    receivers[which].send(Numbered { from: 0, number: next[which] }).await.unwrap();
                    next[which] += 1;
                }
            }
            if next == [MANY; 2] {
                break;
            }
        }
        ends_well(&mut lane).await;
        ends_well(&mut lane).await;
    });
}

#[test]
fn who_is_told_of_a_message_does_not_overtake_it() {
    const MANY: u64 = 2000;
    race(10, async |mut lane: Lane<News>| {
        let receiver = async |mut lane: Lane<Numbered>| {
            let mut last = 0;
            let mut echoes = 0;
            while echoes != MANY {
                match lane.recv().await.unwrap() {
                    Numbered { from: 0, number } => last = number,
                    Numbered { number, .. } => {
                        assert!(number <= last, "{number} was sent when {last} had not been received");
                        echoes += 1;
                    }
                }
            }
        };
        let receiver = watched(&mut lane, Spawn::new(), receiver);
        let echo = async move |mut lane: Lane<u64>| {
            while let Some(number) = lane.recv().await {
                receiver.send(Numbered { from: 1, number }).await.unwrap();
            }
        };
        let echo = spawn(echo).unwrap();
        for number in 1..=MANY {
            receiver.send(Numbered { from: 0, number }).await.unwrap();
            echo.send(number).await.unwrap();
        }
        ends_well(&mut lane).await;
        echo.kill();
        laneway::join(echo.id()).await;
    });
}

#[test]
fn a_notice_of_death_comes_after_all_that_the_dead_has_sent() {
    enum Heard {
        Number(u64),
        Down,
    }
    const MANY: u64 = 700;
    race(50, async |mut lane: Lane<News>| {
        let receiver = async |mut lane: Lane<Heard>| {
            for _ in 0..4 {
                let me = lane.address();
                let sender = spawn(async move |_: Lane<()>| {
                    for number in 0..MANY {
                        me.send(Heard::Number(number)).await.unwrap();
                    }
                });
                lane.monitor(sender.unwrap(), |_| Heard::Down);
                for expected in 0..MANY {
                    assert!(matches!(lane.recv().await, Some(Heard::Number(number)) if number == expected));
                }
                assert!(matches!(lane.recv().await, Some(Heard::Down)));
            }
        };
        watched(&mut lane, Spawn::new(), receiver);
        ends_well(&mut lane).await;
    });
}

#[test]
fn one_who_picks_his_messages_gets_the_others_later_in_their_order() {
    const MANY: u64 = 900;
    race(10, async |mut lane: Lane<News>| {
        let receiver = async |mut lane: Lane<u64>| {
            // Each third in front of the others.
            for expected in (0..MANY).step_by(3) {
                assert_eq!(lane.recv_match(|number| number % 3 == 0).await, Some(expected));
            }
            for expected in (0..MANY).filter(|number| number % 3 != 0) {
                assert_eq!(lane.recv().await, Some(expected));
            }
        };
        let receiver = watched(&mut lane, Spawn::new().unbounded(), receiver);
        for number in 0..MANY {
            receiver.send(number).await.unwrap();
        }
        ends_well(&mut lane).await;
    });
}

#[test]
fn a_bound_holds_whoever_keeps_places_under_it() {
    const BOUND: u32 = 100;
    test(async |_: Lane<News>| {
        let deaf = Spawn::new().mailbox(BOUND).spawn(async |_: Lane<u64>| std::future::pending::<()>().await).unwrap();
        for number in 0..50 {
            deaf.send(number).await.unwrap();
        }
        // A thread that is no worker fills up what is not kept for this one.
        let fills = move || (0..).take_while(|number| deaf.try_send(*number).is_ok()).count();
        let outside = std::thread::scope(|scope| scope.spawn(fills).join().unwrap());
        assert!((45..=50).contains(&outside), "{outside}");
        assert!(matches!(deaf.try_send(7), Err(SendError::Full(7))));
        let mut sending = Box::pin(deaf.send(8));
        assert!(poll_once(&mut sending).await.is_pending());
        deaf.kill();
        assert!(matches!(sending.await, Err(SendError::NoProc(8))));
    });
}

/// A lane is flooded until it is killed, at the latest when it is stuck in the message that comes after so many.
async fn flood(mut lane: Lane<News>, stuck_after: u64) {
    const SENDERS: usize = 4;
    const MANY: u64 = 2000;
    let (witness, received, back) = (Arc::new(()), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (counter, (release, released)) = (received.clone(), mpsc::channel());
    let receiver = Spawn::new().monitor_with_receipt().spawn_monitored(async move |mut lane: Lane<Arc<()>>| {
        while let Some(message) = lane.recv().await {
            if counter.fetch_add(1, SeqCst) == stuck_after {
                released.recv_timeout(LONG).expect("somebody lets go");
            }
            drop(message);
        }
    });
    let (receiver, reference) = receiver.unwrap();
    lane.on_down(reference.unwrap(), News::Down);
    let senders = [(); SENDERS].map(|()| {
        let (witness, back) = (witness.clone(), back.clone());
        let sender = async move |_: Lane<()>| {
            for _ in 0..MANY {
                if receiver.send(witness.clone()).await.is_err() {
                    back.fetch_add(1, SeqCst);
                }
            }
        };
        spawn(sender).unwrap()
    });
    while received.load(SeqCst) <= stuck_after.min(100) {
        laneway::yield_now().await;
    }
    receiver.kill();
    let receipt = down(&mut lane).await.receipt.expect("it was asked for");
    // It hears of it, or has not got so far.
    _ = release.send(());
    for sender in senders {
        laneway::join(sender.id()).await;
    }
    // A lane that was killed while it was stuck has its last message yet when its end is heard of. Nothing else has any.
    let all_gone = async {
        while Arc::strong_count(&witness) != 1 {
            laneway::yield_now().await;
        }
    };
    laneway::timeout(LONG, all_gone).await.expect("messages are somewhere still");
    let (received, back) = (received.load(SeqCst), back.load(SeqCst));
    let all = received + back + receipt.messages_dropped;
    assert_eq!(all, SENDERS as u64 * MANY, "{received} received, {back} back, {receipt:?}");
}

#[test]
fn a_flood_that_a_death_meets_is_received_dropped_or_handed_back() {
    race(40, async |lane: Lane<News>| flood(lane, u64::MAX).await);
}

#[test]
fn a_flood_of_a_lane_that_is_buried_is_received_dropped_or_handed_back() {
    let runtime = Runtime::builder().workers(2).watchdog(Duration::from_millis(1)).build().expect("a runtime");
    for stuck_after in 0..60 {
        in_lane(&runtime, async move |lane: Lane<News>| flood(lane, stuck_after).await);
    }
    end(runtime);
}

#[test]
fn what_a_lane_that_is_stuck_has_not_received_is_dropped_when_it_is_killed() {
    const MANY: usize = 400;
    for received in 0..20 {
        let runtime = Runtime::builder().workers(2).watchdog(Duration::from_millis(1)).build().expect("a runtime");
        in_lane(&runtime, async move |_: Lane<()>| {
            let witness = Arc::new(());
            let (is_stuck, (release, released)) = (Arc::<AtomicBool>::default(), mpsc::channel());
            let (stuck, are_sent) = (is_stuck.clone(), Arc::<AtomicBool>::default());
            let are_there = are_sent.clone();
            let receiver = async move |mut lane: Lane<Arc<()>>| {
                let first = lane.recv().await;
                while !are_there.load(SeqCst) {
                    laneway::yield_now().await;
                }
                for _ in 0..received {
                    lane.recv().await.unwrap();
                }
                stuck.store(true, SeqCst);
                released.recv_timeout(LONG).expect("somebody lets go");
                assert!(lane.try_recv().is_none(), "nothing comes to an abandoned lane");
                drop(first);
            };
            let receiver = Spawn::new().spawn(receiver).unwrap();
            for _ in 0..MANY {
                receiver.send(witness.clone()).await.unwrap();
            }
            are_sent.store(true, SeqCst);
            while !is_stuck.load(SeqCst) {
                laneway::yield_now().await;
            }
            receiver.kill();
            assert_eq!(laneway::join(receiver.id()).await, ExitReason::Killed);
            assert_eq!(Arc::strong_count(&witness), 2, "all but the one that the stuck code has");
            release.send(()).unwrap();
            while Arc::strong_count(&witness) != 1 {
                laneway::yield_now().await;
            }
        });
        end(runtime);
    }
}

#[test]
fn who_sends_to_two_in_turn_uses_all_places_of_both() {
    const BOUND: u64 = 200;
    test(async |_: Lane<News>| {
        let deaf = async |_: Lane<u64>| std::future::pending::<()>().await;
        let deaf = [(); 2].map(|()| Spawn::new().mailbox(BOUND as u32).spawn(deaf).unwrap());
        for number in 0..BOUND / 2 {
            for to in deaf {
                for number in [2 * number, 2 * number + 1] {
                    let mut sending = Box::pin(to.send(number));
                    assert!(poll_once(&mut sending).await.is_ready(), "{number} are all");
                }
            }
        }
        for to in deaf {
            assert!(poll_once(&mut Box::pin(to.send(0))).await.is_pending(), "there are more than {BOUND}");
        }
    });
}

#[test]
fn what_is_in_packs_needs_no_more_memory_when_its_receiver_dies() {
    const MANY: u64 = 400_000;
    let runtime = runtime(1);
    let nodes = || runtime.memory_used().get("free message nodes").and_then(|row| row.bytes).expect("it is counted");
    let (tell, told) = mpsc::channel();
    let before = nodes();
    in_lane(&runtime, async move |_: Lane<()>| {
        let deaf = Spawn::new().unbounded().spawn(async |_: Lane<u64>| std::future::pending::<()>().await).unwrap();
        for number in 0..MANY {
            deaf.send(number).await.unwrap();
        }
        tell.send(deaf).unwrap();
    });
    let (deaf, full) = (told.recv().unwrap(), nodes());
    assert!(full - before < MANY * 72 / 3, "they are in packs");
    deaf.kill();
    runtime.block_on(laneway::join(deaf.id()));
    assert!(nodes() - full < MANY * 72 / 3, "{} and then {}", full - before, nodes() - full);
    end(runtime);
}

#[test]
fn messages_in_packs_that_panic_as_they_are_dropped_are_dropped_once_each() {
    struct Bomb(Arc<AtomicU64>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            panic!("as a message is dropped");
        }
    }
    const MANY: u64 = 40;
    test(async |mut lane: Lane<News>| {
        let dropped = Arc::<AtomicU64>::default();
        let deaf = async |_: Lane<Bomb>| std::future::pending::<()>().await;
        let (deaf, reference) = Spawn::new().monitor_with_receipt().spawn_monitored(deaf).unwrap();
        lane.on_down(reference.unwrap(), News::Down);
        for _ in 0..MANY {
            deaf.send(Bomb(dropped.clone())).await.unwrap();
        }
        deaf.kill();
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!((receipt.messages_dropped, receipt.destructor_panics), (MANY, MANY));
        assert_eq!((dropped.load(SeqCst), Arc::strong_count(&dropped)), (MANY, 1));
    });
}

#[test]
fn one_who_panics_as_he_picks_has_all_messages_dropped_once() {
    const MANY: u64 = 40;
    test(async |mut lane: Lane<News>| {
        let witness = Arc::new(());
        let picks = async |mut lane: Lane<Arc<()>>| {
            let mut seen = 0;
            lane.recv_match(|_| {
                seen += 1;
                assert!(seen != 27, "in the middle of a pack");
                false
            })
            .await;
        };
        let (receiver, reference) = Spawn::new().monitor_with_receipt().spawn_monitored(picks).unwrap();
        lane.on_down(reference.unwrap(), News::Down);
        for _ in 0..MANY {
            receiver.send(witness.clone()).await.unwrap();
        }
        let end = down(&mut lane).await;
        assert!(matches!(end.reason, ExitReason::Panicked { .. }), "{}", end.reason);
        assert_eq!(end.receipt.expect("it was asked for").messages_dropped, MANY);
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}
