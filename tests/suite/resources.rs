//! What a lane holds is listed while it lives, and given back when it dies.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use laneway::net::TcpListener;
use laneway::sync::{Mutex, Semaphore};
use laneway::{Down, ExitReason, Lane, Resources, Spawn};

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

enum Msg {
    Holds(Resources),
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
                address.send(Msg::Holds(lane.resources())).await.unwrap();
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
fn nobody_but_a_lane_has_resources() {
    assert!(runtime::lane::resources().is_err());
}
