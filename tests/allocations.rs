//! What is done over and over calls no allocator: messages, questions, channels, lanes that come and go. Counted over the whole
//! process, so this is a program of its own, with one test.

use std::time::Duration;

use laneway::prelude::*;
use laneway::sync::{Notify, mpsc, oneshot};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Blocks allocated in a thousand rounds, once there were enough of them to fill pools and queues. A macro, as the future
/// of an async closure that is passed to a function is not known to be `Send`.
macro_rules! blocks {
    ($round:block) => {{
        for _ in 0..3000 $round
        let before = dhat::HeapStats::get().total_blocks;
        for _ in 0..1000 $round
        dhat::HeapStats::get().total_blocks - before
    }};
}

enum Ping {
    Count(u64, Address<u64>),
    Ask(Reply<u64>),
    Large([u64; 20]),
}

#[test]
fn messages_questions_and_lanes_that_come_and_go_allocate_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let runtime = Runtime::builder().workers(1).virtual_time(1).build().unwrap();
    let (say, said) = std::sync::mpsc::channel();
    runtime.block_on(async {
        laneway::spawn(async move |mut lane: Lane<u64>| {
            let ponger = laneway::spawn(async |mut lane: Lane<Ping>| {
                while let Some(ping) = lane.recv().await {
                    match ping {
                        Ping::Count(count, to) => to.send(count + 1).await.unwrap(),
                        Ping::Ask(reply) => reply.send(7).unwrap(),
                        Ping::Large(numbers) => assert_eq!(numbers, [3; 20]),
                    }
                }
            })
            .unwrap();
            let me = lane.address();
            let messages = blocks!({
                ponger.send(Ping::Count(1, me)).await.unwrap();
                assert_eq!(lane.recv().await, Some(2));
            });
            let large = blocks!({
                ponger.send(Ping::Large([3; 20])).await.unwrap();
                assert_eq!(ponger.ask(Ping::Ask).await, Ok(7));
            });
            let questions = blocks!({
                assert_eq!(ponger.ask(Ping::Ask).timeout(Duration::from_secs(60)).await, Ok(7));
            });
            let lives = blocks!({
                laneway::spawn(async move |_: Lane<()>| me.send(5).await.unwrap()).unwrap();
                assert_eq!(lane.recv().await, Some(5));
            });
            let deaths = blocks!({
                let child =
                    Spawn::new().monitor().spawn(async |mut lane: Lane<()>| while lane.recv().await.is_some() {});
                let child = child.unwrap();
                child.kill();
                while child.is_alive() {
                    laneway::yield_now().await;
                }
                // What nobody turns into a message is dropped on the way.
                assert_eq!(lane.try_recv(), None);
            });
            let notify = Notify::new();
            let (sender, mut receiver) = mpsc::channel(1);
            let theirs = sender.clone();
            laneway::spawn(async move |_: Lane<()>| while theirs.send(1).await.is_ok() {}).unwrap();
            // The other lane waits for room each time, and this one for its message.
            let channel = blocks!({
                assert_eq!(receiver.recv().await, Some(1));
                laneway::yield_now().await;
            });
            let oneshots = blocks!({
                let (sender, receiver) = oneshot::channel();
                sender.send(7).unwrap();
                assert_eq!(receiver.await, Ok(7));
            });
            let notified = blocks!({
                notify.notify_one();
                notify.notified().await;
            });
            drop((sender, receiver));
            let sleeps = blocks!({ sleep(Duration::from_micros(1)).await });
            let counts = [
                ("messages", messages),
                ("large messages", large),
                ("questions", questions),
                ("lives", lives),
                ("deaths that are watched", deaths),
                ("messages by a channel", channel),
                ("oneshots", oneshots),
                ("notifications", notified),
            ];
            say.send((counts, sleeps)).unwrap();
        })
        .unwrap();
    });
    let (counts, sleeps) = said.recv().unwrap();
    // A slot of the wheel gets its memory when it is first used, and keeps it.
    assert!(sleeps < 64, "{sleeps} blocks in 1000 sleeps");
    assert!(counts.iter().all(|(_, blocks)| *blocks == 0), "blocks in 1000 rounds: {counts:?}");
}
