//! What a lane holds is listed while it lives, and given back when it dies.

use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use laneway::net::TcpListener;
use laneway::runtime::wait_graph::Awaits;
use laneway::sync::{Mutex, Semaphore};
use laneway::{Down, ExitReason, Lane, Reply, Resources, Spawn};

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

enum Msg {
    Holds(Box<Resources>),
    Died(Down),
}

#[test]
fn a_lane_lists_what_it_holds_and_its_receipt_gives_back_as_much() {
    let runtime = runtime(2);
    let (listed, receipt, me) = in_lane(&runtime, async |mut main: Lane<Msg>| {
        let (address, me) = (main.address(), main.id());
        let spawn = Spawn::new().name("rich").link().trap_exits().monitor_with_receipt();
        let (rich, reference) = spawn
            .spawn_monitored(async move |lane: Lane<()>| {
                let [mine, others] = [(); 2].map(|()| Arc::new(Mutex::new(())));
                let permits = Arc::new(Semaphore::new(1));
                let line = hold_elsewhere(others.clone()).await;
                let _held = (mine.lock_owned().await.unwrap(), permits.acquire_owned().await.unwrap());
                let mut waits = Box::pin(others.lock_owned());
                assert!(poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx).is_pending())).await);
                let mut sleeps = [(); 3].map(|()| Box::pin(laneway::sleep(HOUR)));
                for sleep in &mut sleeps {
                    assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
                }
                let _socket = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
                lane.register("wealthy").unwrap();
                laneway::monitor(line).unwrap();
                address.send(Msg::Holds(Box::new(lane.resources()))).await.unwrap();
                std::future::pending::<()>().await;
            })
            .unwrap();
        main.on_down(reference.unwrap(), Msg::Died);
        main.trap_exits(|exit| panic!("the link was taken back, and yet: {exit:?}"));
        let Some(Msg::Holds(listed)) = main.recv().await else { panic!("what it holds comes first") };
        main.unlink(rich);
        rich.kill();
        let Some(Msg::Died(down)) = main.recv().await else { panic!("then its death") };
        assert_eq!(down.reason, ExitReason::Killed);
        (listed, down.receipt.unwrap(), me)
    });
    let kinds = |uses: &[laneway::LockUse]| uses.iter().map(|lock| lock.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&listed.locks), ["mutex", "semaphore"]);
    assert_eq!(kinds(&listed.waits), ["mutex"]);
    assert!(listed.locks.iter().chain(&listed.waits).all(|lock| lock.at.file().ends_with("resources.rs")));
    assert_eq!((listed.timers, listed.descriptors.len(), listed.names.len()), (3, 1, 2));
    assert_eq!((&*listed.links, &*listed.watchers), (&[me][..], &[me][..]));
    assert_eq!((listed.monitors.len(), listed.children.len()), (1, 1));
    assert_eq!(listed.monitors[0].1, listed.children[0]);
    assert_eq!(listed.count(), 2 + 1 + 3 + 1 + 2 + 1 + 1, "{listed}");

    assert_eq!((receipt.locks, receipt.wait_entries), (2, 1));
    assert_eq!((receipt.timers, receipt.descriptors, receipt.names), (3, 1, 2));
    assert_eq!((receipt.monitors, receipt.watchers), (1, 1));
    end(runtime);
}

/// Locks in a lane of its own, which keeps the lock as long as it lives.
async fn hold_elsewhere(mutex: Arc<Mutex<()>>) -> laneway::Id {
    let (locked, mut is_locked) = runtime::reply::port();
    let holder = laneway::spawn(async move |_: Lane<()>| {
        let _guard = mutex.lock_owned().await.unwrap();
        locked.answer(()).unwrap();
        std::future::pending::<()>().await;
    });
    poll_fn(|cx| is_locked.poll_answer(cx)).await.unwrap();
    holder.unwrap().id()
}

#[test]
fn asks_sends_and_joins_under_way_are_listed_until_they_are_over() {
    test(async |lane: Lane<News>| {
        let pending = || {
            let mut pending = lane.resources().pending;
            pending.sort_by_key(|wait| (wait.awaits.to_string(), wait.of));
            pending.iter().map(|wait| (wait.of, wait.awaits)).collect::<Vec<_>>()
        };
        assert!(pending().is_empty());
        let answers = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                assert_eq!(reply.send(7), Ok(()));
            }
        });
        let mute = Spawn::new().mailbox(2).spawn(async |_: Lane<Reply<u64>>| std::future::pending::<()>().await);
        let (answers, mute) = (answers.expect("a lane"), mute.expect("a lane"));
        for _ in 0..3 {
            assert_eq!(answers.ask(|reply| reply).await, Ok(7));
            assert!(pending().is_empty(), "it is over");
        }
        // One, alone.
        let line = line!() + 1;
        let mut one = Box::pin(mute.ask(|reply| reply).no_timeout());
        assert!(pending().is_empty(), "it was not polled");
        assert!(poll_once(&mut one).await.is_pending());
        let listed = lane.resources();
        assert_eq!(listed.pending[0].at.map(|at| (at.file(), at.line())), Some((file!(), line)));
        assert!(listed.to_string().contains(&format!("; waits for an answer of lane {} at {}", mute.id(), file!())));
        assert_eq!(pending(), [(mute.id(), Awaits::Answer)]);
        // It is still under way in later turns, also when others came and went, and the lane waited for locks.
        settle().await;
        assert_eq!(answers.ask(|reply| reply).await, Ok(7));
        let mutex = Arc::new(Mutex::new(()));
        let theirs = mutex.clone();
        laneway::spawn(async move |_: Lane<()>| {
            let _held = theirs.lock().await;
            laneway::sleep(Duration::from_secs(1)).await;
        })
        .expect("a lane");
        settle().await;
        drop(mutex.lock().await.expect("it comes back"));
        assert_eq!(pending(), [(mute.id(), Awaits::Answer)]);
        // Several, of all kinds; polled again, they are still as many.
        let mut two = Box::pin(mute.ask(|reply| reply).no_timeout());
        let mut joins = Box::pin(laneway::try_join(mute.id()));
        for _ in 0..2 {
            assert!(poll_once(&mut two).await.is_pending() && poll_once(&mut joins).await.is_pending());
            laneway::yield_now().await;
        }
        let all = [Awaits::Answer, Awaits::Answer, Awaits::End].map(|awaits| (mute.id(), awaits));
        assert_eq!(pending(), all);
        // There is no room in that mailbox any more.
        let mut three = Box::pin(mute.ask(|reply| reply).no_timeout());
        assert!(poll_once(&mut three).await.is_pending());
        assert_eq!((pending().len(), pending()[2]), (4, (mute.id(), Awaits::Room)));
        drop((two, three));
        assert_eq!(pending(), [(mute.id(), Awaits::Answer), (mute.id(), Awaits::End)]);
        drop(joins);
        // A send that had to wait, and got in.
        let (slow, late) = (Spawn::new().mailbox(1), async |mut lane: Lane<String>| {
            laneway::sleep(Duration::from_secs(1)).await;
            while lane.recv().await.is_some() {}
        });
        let slow = slow.spawn(late).expect("a lane");
        while slow.try_send("words".to_owned()).is_ok() {}
        let mut sends = Box::pin(slow.send("more words".to_owned()));
        assert!(poll_once(&mut sends).await.is_pending());
        assert_eq!(pending(), [(mute.id(), Awaits::Answer), (slow.id(), Awaits::Room)]);
        sends.await.expect("there is room in the end");
        assert_eq!(pending(), [(mute.id(), Awaits::Answer)]);
        mute.kill();
        assert!(one.await.is_err());
        assert!(pending().is_empty());
        assert_eq!(answers.ask(|reply| reply).await, Ok(7));
        assert!(pending().is_empty());
    });
}

/// An answer that nobody gives. It has a type of its own, by which the leaks of the test below are known (`ci/lsan.supp`).
struct Never;

#[test]
fn what_the_last_tenant_of_a_slot_waited_for_is_not_the_next_ones() {
    let runtime = runtime_with_fresh_slots(3);
    in_lane(&runtime, async |mut lane: Lane<News>| {
        let tell = lane.address();
        let mute = laneway::spawn(async |_: Lane<Reply<Never>>| std::future::pending::<()>().await).expect("a lane");
        for asks_of_each in [1, 2, 0, 1] {
            let asks = laneway::spawn(async move |lane: Lane<()>| {
                // Whose futures say nothing at its end.
                let ask = |_| ManuallyDrop::new(mute.ask(|reply| reply).no_timeout());
                let mut asks: Vec<_> = (0..asks_of_each).map(ask).collect();
                for ask in &mut asks {
                    assert!(poll_once(&mut **ask).await.is_pending());
                }
                // A send that is over at once.
                tell.send(News::Number(lane.resources().pending.len() as u64)).await.expect("it is waited for");
                std::future::pending::<()>().await;
            });
            assert_eq!(number(&mut lane).await, asks_of_each);
            asks.expect("a lane").kill();
            settle().await;
        }
        mute.kill();
    });
    end(runtime);
}

#[test]
fn nobody_but_a_lane_has_resources() {
    assert!(runtime::lane::resources().is_err());
}
