use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use super::*;
use crate::env::{Busy, ListenOptions};
use crate::lane::{self, Spawn};
use crate::mailbox::Inbox;
use crate::{Handle, Runtime, yield_now};

/// A listener of the runtime that this code runs in, owned by the lane that calls, if it is one.
fn listener() -> Descriptor {
    let node = Handle::current().unwrap();
    let source = node.env().tcp_listen(([127, 0, 0, 1], 0).into(), &ListenOptions::new()).unwrap();
    node.descriptors().insert(source, lane::owner_of_descriptors(), 0).unwrap()
}

fn idle_lane() -> Id {
    Spawn::new().spawn(|_: Inbox<()>| pending::<()>()).unwrap().mailbox.id()
}

async fn kill_and_join(lane: Id) {
    lane::kill(lane);
    lane::join(lane).await;
}

#[test]
fn what_was_transferred_lives_and_dies_with_the_lane_that_got_it() {
    let node = Runtime::builder().workers(1).build().unwrap();
    node.block_on(async {
        let table = node.handle().descriptors();
        let heir = idle_lane();
        let (tell, mut answer) = crate::reply::port();
        let giver = Spawn::new().spawn(move |_: Inbox<()>| async move {
            let mut given = listener();
            transfer(&mut given, heir).unwrap();
            let _heard = tell.answer(given.id());
            drop(given);
        });
        let id = std::future::poll_fn(|cx| answer.poll_answer(cx)).await.unwrap();
        lane::join(giver.unwrap().mailbox.id()).await;
        assert_eq!(table.owned_by(heir), [id]);
        assert_eq!(table.lookup(id).unwrap().owner(), Some(heir));
        kill_and_join(heir).await;
        assert_eq!(table.lookup(id).unwrap_err(), StaleId(id));
        assert_eq!(node.handle().metrics().descriptors, 0);
    });
}

#[test]
fn what_a_lane_was_given_and_never_heard_of_closes_with_it() {
    let node = Runtime::builder().workers(1).build().unwrap();
    node.block_on(async {
        // The one worker runs this lane, so that the heir is killed before its first turn.
        let giver = Spawn::new().spawn(|_: Inbox<()>| async {
            let heir = idle_lane();
            let mut given = listener();
            dup(&given, heir).unwrap();
            transfer(&mut given, heir).unwrap();
            kill_and_join(heir).await;
            let held = Handle::current().unwrap().held_by(heir);
            assert_eq!(held, crate::runtime::Held::default());
        });
        lane::join(giver.unwrap().mailbox.id()).await;
    });
    let metrics = node.shutdown(std::time::Duration::from_secs(5)).metrics;
    assert_eq!((metrics.descriptors_opened, metrics.descriptors_closed, metrics.descriptors_released), (2, 2, 2));
    assert_eq!(metrics.descriptors_duplicated, 1);
}

#[test]
fn a_lane_that_is_gone_or_elsewhere_gets_nothing_and_the_giver_keeps_it() {
    let node = Runtime::builder().workers(1).build().unwrap();
    let other = Runtime::builder().workers(1).build().unwrap();
    let stranger = other.block_on(async { idle_lane() });
    node.block_on(async {
        let gone = idle_lane();
        kill_and_join(gone).await;
        let mut ours = listener();
        assert!(matches!(transfer(&mut ours, gone), Err(GiveError::NoLane(StaleId(id))) if id == gone));
        assert!(matches!(dup(&ours, gone), Err(GiveError::NoLane(StaleId(id))) if id == gone));
        assert!(matches!(transfer(&mut ours, stranger), Err(GiveError::Elsewhere(id)) if id == stranger));
        let no_lane = ours.id();
        assert!(matches!(dup(&ours, no_lane), Err(GiveError::Elsewhere(id)) if id == no_lane));
        assert!(ours.is_open() && ours.shared_by() == 1);

        let here = idle_lane();
        ours.close_now().unwrap();
        assert!(matches!(transfer(&mut ours, here), Err(GiveError::Closed(StaleId(id))) if id == ours.id()));
        assert!(matches!(dup(&ours, here), Err(GiveError::Closed(StaleId(id))) if id == ours.id()));
        assert_eq!(node.handle().metrics().descriptors, 0);
    });
}

/// Given while it dies, on the other worker: whoever looks last closes it.
#[test]
fn what_is_given_to_a_lane_that_dies_meanwhile_is_closed_by_either_side() {
    static REFUSED: AtomicUsize = AtomicUsize::new(0);
    static DONE: AtomicUsize = AtomicUsize::new(0);
    let node = Runtime::builder().workers(2).adaptive(false).build().unwrap();
    let metrics = node.block_on(async {
        for _ in 0..500 {
            let heir = idle_lane();
            let giver = Spawn::new().spawn(move |_: Inbox<()>| async move {
                let mut ours = listener();
                for _ in 0..3 {
                    if let Err(error) = dup(&ours, heir) {
                        assert!(matches!(error, GiveError::NoLane(_)), "{error}");
                        REFUSED.fetch_add(1, Ordering::Relaxed);
                    }
                }
                if let Err(error) = transfer(&mut ours, heir) {
                    assert!(matches!(error, GiveError::NoLane(_)), "{error}");
                    assert!(ours.is_open(), "it is the giver's still");
                }
                DONE.fetch_add(1, Ordering::Relaxed);
            });
            yield_now().await;
            lane::kill(heir);
            lane::join(heir).await;
            lane::join(giver.unwrap().mailbox.id()).await;
            assert_eq!(node.handle().metrics().descriptors, 0);
        }
        node.handle().metrics()
    });
    assert_eq!(metrics.descriptors_opened, metrics.descriptors_closed);
    assert_eq!(DONE.load(Ordering::Relaxed), 500);
    let refused = REFUSED.load(Ordering::Relaxed) as u64;
    assert_eq!((metrics.descriptors_opened, metrics.descriptors_duplicated), (2000 - refused, 1500 - refused));
}

/// The giver's own steps, with the lane's whole death between two of them.
#[test]
fn what_comes_after_the_death_has_looked_is_closed_by_the_giver() {
    let node = Runtime::builder().workers(1).build().unwrap();
    node.block_on(async {
        let (heir, ours) = (idle_lane(), listener());
        let table = ours.table();
        prepare(table, heir).unwrap();
        kill_and_join(heir).await;
        table.transfer(ours.id(), heir).unwrap();
        assert!(ours.is_open());
        see_to_death(table, heir);
        assert!(!ours.is_open() && table.owned_by(heir).is_empty());
        assert!(matches!(prepare(table, heir), Err(GiveError::NoLane(_))));
    });
}

#[test]
fn a_lane_that_asked_for_it_ends_when_what_it_uses_is_gone() {
    let node = Runtime::builder().workers(1).build().unwrap();
    node.block_on(async {
        let (tell, mut answer) = crate::reply::port();
        let owner = Spawn::new().spawn(move |_: Inbox<()>| async move {
            let ours = listener();
            let _heard = tell.answer(ours.id());
            pending::<()>().await;
        });
        let owner = owner.unwrap().mailbox.id();
        let id = std::future::poll_fn(|cx| answer.poll_answer(cx)).await.unwrap();
        let (tell, mut waits) = crate::reply::port();
        let user = move |_: Inbox<()>| async move {
            let mut theirs = Handle::current().unwrap().descriptors().lookup(id).unwrap();
            theirs.on_stale(Some(die_of_stale));
            let mut accept = std::pin::pin!(theirs.accept());
            let mut tell = Some(tell);
            std::future::poll_fn(|cx| {
                let answer = accept.as_mut().poll(cx);
                if let Some(tell) = tell.take() {
                    let _heard = tell.answer(answer.is_pending());
                }
                answer.map(drop)
            })
            .await;
            panic!("the lane goes on after its end");
        };
        // Traps do not hold it: it is no exit signal.
        let user = Spawn::new().trap_exits().spawn(user).unwrap().mailbox.id();
        assert!(std::future::poll_fn(|cx| waits.poll_answer(cx)).await.unwrap());
        // Whoever has not asked for it gets the error, of whatever kind.
        let mut ours = node.handle().descriptors().lookup(id).unwrap();
        let busy = ours.accept().await.unwrap_err();
        assert!(busy.get_ref().is_some_and(|inner| inner.is::<Busy>()));
        // Asked for before it can be over.
        let mut end = std::pin::pin!(lane::join(user));
        assert!(std::future::poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await);
        kill_and_join(owner).await;
        assert_eq!(end.await, ExitReason::error(StaleId(id)));
        assert_eq!(ours.accept().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        ours.on_stale(Some(die_of_stale));
        assert_eq!(ours.accept().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        // Where there is no waiting, it gets the error and ends with its poll.
        assert!(!die_of_stale(StaleId(id)), "there is no lane to end");

        let (tell, mut goes_on) = crate::reply::port();
        let _lane = Spawn::new().spawn(|_: Inbox<()>| async move {
            let mut ours = listener();
            ours.on_stale(Some(die_of_stale));
            ours.close_now().unwrap();
            assert!(ours.local_addr().is_err());
            yield_now().await;
            let _heard = tell.answer(());
        });
        let ended = std::future::poll_fn(|cx| goes_on.poll_answer(cx)).await.unwrap_err();
        assert!(matches!(ended, crate::reply::NoAnswer::Ended(ExitReason::Error(_))), "{ended:?}");
    });
}
