//! `lookup`, `dup_for` and `transfer_to`, between lanes.

use std::future::pending;
use std::io::ErrorKind;

use laneway_net::{OnStale, TcpListener, TcpStream};
use runtime::env::Busy;
use runtime::lane::giving::GiveError;
use runtime::{ExitReason, Handle, StaleId};

use super::*;

/// Two ends of one connection, both of the lane that calls.
async fn connection() -> (TcpStream, TcpStream) {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    (ours, theirs)
}

#[test]
fn a_duplicate_works_on_after_the_first_owner_is_dead_and_the_peer_sees_the_end_with_the_last() {
    on_all_nodes(async |_| {
        let (ours, mut theirs) = connection().await;
        // A lane that writes by an id of its own, when it is told to.
        let writer = Spawn::new().spawn(async |mut lane: Lane<Id>| {
            let Some(id) = lane.recv().await else { return };
            let mut shared = TcpStream::from_id(id).unwrap();
            shared.write_all(b"mine").await.unwrap();
            pending::<()>().await;
        });
        let writer = writer.unwrap();
        let (tell, given) = reply::port();
        let first = Spawn::new().spawn(move |_: Lane<()>| async move {
            ours.adopt().unwrap();
            let _heard = tell.answer(ours.dup_for(writer).unwrap());
            pending::<()>().await;
        });
        let id = answered(given).await;
        kill_and_join(first.unwrap().id()).await;
        writer.send(id).await.unwrap();
        let mut four = [0; 4];
        theirs.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"mine");
        kill_and_join(writer.id()).await;
        assert_eq!(theirs.read(&mut four).await.unwrap(), 0);
    });
}

#[test]
fn a_transferred_listener_goes_on_with_its_new_owner() {
    on_all_nodes(async |_| {
        let heir = Spawn::new().spawn(async |mut lane: Lane<Id>| {
            let Some(id) = lane.recv().await else { return };
            let mut listener = TcpListener::from_id(id).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"heir").await.unwrap();
        });
        let heir = heir.unwrap();
        let (tell, address) = reply::port();
        let founder = Spawn::new().spawn(move |_: Lane<()>| async move {
            let listener = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
            let _heard = tell.answer(listener.local_addr().unwrap());
            let id = listener.transfer_to(heir).unwrap();
            heir.send(id).await.unwrap();
        });
        let address = answered(address).await;
        actors::join(founder.unwrap().id()).await;
        let mut four = [0; 4];
        TcpStream::connect(address).await.unwrap().read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"heir");
        actors::join(heir.id()).await;
    });
}

#[test]
fn what_was_given_and_never_taken_up_closes_with_the_lane_that_got_it() {
    on_all_nodes(async |_| {
        let (ours, mut theirs) = connection().await;
        let heir = idle_lane();
        ours.dup_for(heir).unwrap();
        let id = ours.transfer_to(heir).unwrap();
        assert!(TcpStream::lookup(id).is_ok());
        kill_and_join(heir).await;
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(TcpStream::lookup(id).unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn a_lane_that_is_gone_gets_nothing_and_the_stream_comes_back() {
    on_all_nodes(async |_| {
        let (ours, mut theirs) = connection().await;
        let gone = idle_lane();
        kill_and_join(gone).await;
        assert!(matches!(ours.dup_for(gone), Err(GiveError::NoLane(StaleId(id))) if id == gone));
        let error = ours.transfer_to(gone).unwrap_err();
        assert!(matches!(error.why, GiveError::NoLane(StaleId(id)) if id == gone), "{error}");
        let mut ours = error.kept;
        ours.write_all(b"x").await.unwrap();
        assert_eq!(theirs.read(&mut [0; 4]).await.unwrap(), 1);
        drop(ours);
        assert_eq!(theirs.read(&mut [0; 4]).await.unwrap(), 0);
    });
}

#[test]
fn one_reads_and_another_closes_its_own_id_and_a_second_reader_is_busy() {
    on_all_nodes(async |_| {
        let (mut ours, mut theirs) = connection().await;
        let reader = idle_lane();
        let id = ours.dup_for(reader).unwrap();
        let mut shared = TcpStream::lookup(id).unwrap();
        let read = async {
            let mut one = [0; 1];
            let count = ours.read(&mut one).await.unwrap();
            (count, one[0])
        };
        let others = async {
            let busy = shared.read(&mut [0]).await.unwrap_err();
            assert!(busy.get_ref().is_some_and(|inner| inner.is::<Busy>()), "{busy}");
            kill_and_join(reader).await;
            let stale = shared.read(&mut [0]).await.unwrap_err();
            assert_eq!(stale.get_ref().and_then(|inner| inner.downcast_ref()), Some(&StaleId(id)));
            theirs.write_all(b"!").await.unwrap();
        };
        let ((count, byte), ()) = futures_util::join!(read, others);
        assert_eq!((count, byte), (1, b'!'));
    });
}

#[test]
fn the_ids_that_were_opened_are_those_that_were_closed() {
    let node = Runtime::builder().workers(1).build().unwrap();
    on(&node, async |_| {
        let (ours, theirs) = connection().await;
        let again = ours.dup().unwrap();
        let once_more = again.dup().unwrap();
        assert_eq!(again.local_addr().unwrap(), ours.local_addr().unwrap());
        let metrics = Handle::current().unwrap().metrics();
        assert_eq!((metrics.descriptors, metrics.descriptors_duplicated), (4, 2));
        drop((ours, again));
        assert_eq!(once_more.peer_addr().unwrap(), theirs.local_addr().unwrap());
    });
    let metrics = node.shutdown(Duration::from_secs(10)).metrics;
    // A listener, two ends of a connection, two duplicates.
    assert_eq!((metrics.descriptors_opened, metrics.descriptors_closed), (5, 5));
    assert_eq!(metrics.descriptors_duplicated, 2);
}

#[test]
fn a_receipt_counts_each_id_that_a_death_closed() {
    let node = Runtime::builder().workers(1).build().unwrap();
    on(&node, async |mut lane| {
        let (ours, _theirs) = connection().await;
        let holder = idle_lane();
        for _ in 0..3 {
            ours.dup_for(holder).unwrap();
        }
        let (tell, receipt) = reply::port();
        let watcher = Spawn::new().spawn(move |mut lane: Lane<Option<u64>>| async move {
            lane.monitor_with_receipt(holder, |down| down.receipt.map(|receipt| receipt.descriptors));
            // The monitor stands by the time that the answer is here.
            let _heard = tell.answer(());
            let Some(counted) = lane.recv().await else { panic!("asked to stop") };
            assert_eq!(counted, Some(3));
            ExitReason::ShutdownWith("counted".into())
        });
        answered(receipt).await;
        lane.monitor(watcher.as_ref().unwrap().id(), |down| {
            assert_eq!(down.reason, ExitReason::ShutdownWith("counted".into()));
        });
        actors::kill(holder);
        lane.recv().await.unwrap();
    });
}

#[test]
fn a_user_of_what_is_gone_gets_the_error_or_ends_as_it_chose() {
    on_all_nodes(async |_| {
        for what in [OnStale::Error, OnStale::Die] {
            // The other end stays open: what it would do to the stream is no matter of ids.
            let (ours, _theirs) = connection().await;
            let owner = idle_lane();
            let id = ours.transfer_to(owner).unwrap();
            let (tell, uses) = reply::port();
            let (tell_after, mut after) = reply::port();
            let user = Spawn::new().trap_exits().spawn(move |_: Lane<()>| async move {
                let mut theirs = TcpStream::lookup(id).unwrap().on_stale(what);
                theirs.write_all(b"x").await.unwrap();
                let _heard = tell.answer(());
                let error = theirs.read(&mut [0]).await.unwrap_err();
                let _heard = tell_after.answer(error.kind());
            });
            answered(uses).await;
            kill_and_join(owner).await;
            let goes_on = poll_fn(|cx| after.poll_answer(cx)).await;
            match what {
                OnStale::Die => assert!(goes_on.is_err(), "it ended, and its port with it: {goes_on:?}"),
                _ => assert!(matches!(goes_on, Ok(ErrorKind::NotConnected)), "{goes_on:?}"),
            }
            actors::join(user.unwrap().id()).await;
        }
    });
}
