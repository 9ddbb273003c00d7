//! Reading, writing and waiting, on sockets of the OS.

use std::io::{Read, Write};

use super::*;

#[test]
fn a_listener_and_a_stream_talk() {
    let mut rig = Rig::new(1);
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let source = rig.env.tcp_listen(any, &ListenOptions::new().backlog(16)).unwrap();
    let listener = rig.table.insert(source, Some(lane(1)), 0).unwrap();
    let address = listener.local_addr().unwrap();

    let mut client = {
        let accept = listener.accept();
        let mut accept = pin!(accept);
        let (woken, waker) = counting_waker();
        assert!(accept.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let client = net::TcpStream::connect(address).unwrap();
        rig.turn_until(|| woken.get() == 1);
        let (source, peer) = rig.run(accept).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        (client, rig.table.insert(source, Some(lane(1)), 0).unwrap())
    };
    client.0.write_all(b"ping").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(rig.run(client.1.read(&mut buffer)).unwrap(), 4);
    assert_eq!(&buffer[..4], b"ping");
    assert_eq!(rig.run(client.1.write(b"pong")).unwrap(), 4);
    client.1.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    client.0.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"pong");
    drop(client.0);
    assert_eq!(rig.run(client.1.read(&mut buffer)).unwrap(), 0);
    // The end stays the end.
    assert_eq!(rig.run(client.1.read(&mut buffer)).unwrap(), 0);
}

#[test]
fn the_rest_after_a_partial_read_needs_no_new_edge() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    theirs.write_all(b"0123456789").unwrap();
    let mut buffer = [0; 4];
    assert_eq!(rig.run(ours.read(&mut buffer)).unwrap(), 4);
    rig.settle();
    let mut rest = [0; 16];
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(ours.poll_read(cx, &mut rest), Poll::Ready(Ok(6))));
    assert_eq!(&rest[..6], b"456789");
    assert!(ours.poll_read(cx, &mut rest).is_pending());
}

#[test]
fn vectored_reads_and_writes_go_through_in_order() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.stream(lane(1));
    let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
    assert_eq!(rig.run(poll_fn(|cx| ours.poll_write_vectored(cx, &parts))).unwrap(), 5);
    let mut got = [0; 5];
    theirs.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"abcde");
    theirs.write_all(b"vwxyz").unwrap();
    let (mut one, mut two) = ([0; 2], [0; 3]);
    let parts = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    assert_eq!(rig.run(poll_fn(|cx| ours.poll_read_vectored(cx, parts))).unwrap(), 5);
    assert_eq!((&one, &two), (b"vw", b"xyz"));
}

#[test]
fn a_writer_waits_for_room() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.stream(lane(1));
    let block = vec![7; 1 << 16];
    let (woken, waker) = counting_waker();
    let mut sent = 0;
    while let Poll::Ready(count) = ours.poll_write(&mut Context::from_waker(&waker), &block) {
        sent += count.unwrap();
    }
    assert_eq!(woken.get(), 0);
    let mut received = vec![0; sent];
    theirs.read_exact(&mut received).unwrap();
    rig.turn_until(|| woken.get() == 1);
    assert!(rig.run(ours.write(&block)).unwrap() > 0);
}

#[test]
fn a_refused_connection_is_an_error_of_connected() {
    let mut rig = Rig::new(1);
    let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let source = rig.env.tcp_connect(address).unwrap();
    let ours = rig.table.insert(source, None, 0).unwrap();
    let error = rig.run(ours.connected()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    // The OS tells the reason once; a later call still ends.
    assert!(rig.run(ours.connected()).is_err());
}

#[test]
fn a_port_in_use_is_refused_and_free_once_closed() {
    let rig = Rig::new(1);
    let listen = |address| rig.env.tcp_listen(address, &ListenOptions::new());
    let source = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = rig.table.insert(source, Some(lane(1)), 0).unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(listen(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    rig.table.release_owner(lane(1));
    listen(address).unwrap();
}

#[test]
fn a_second_waiter_is_told_that_the_place_is_taken() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let other = rig.table.lookup(ours.id()).unwrap();
    let (first, waker) = counting_waker();
    let mut buffer = [0; 8];
    assert!(ours.poll_read(&mut Context::from_waker(&waker), &mut buffer).is_pending());

    // Told apart as waiters, even though both would be woken by the same waker.
    let refused = other.poll_read(&mut Context::from_waker(&waker), &mut buffer);
    assert!(matches!(refused, Poll::Ready(Err(error)) if is_busy(&error)));
    let refused = rig.run(ours.readable()).unwrap_err();
    assert!(is_busy(&refused));
    // The other direction is free.
    rig.run(other.writable()).unwrap();

    theirs.write_all(b"x").unwrap();
    rig.turn_until(|| first.get() == 1);
    assert!(matches!(ours.poll_read(&mut Context::from_waker(&waker), &mut buffer), Poll::Ready(Ok(1))));
}

#[test]
fn a_handle_that_comes_with_another_waker_is_still_the_same_waiter() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let (old, old_waker) = counting_waker();
    let (new, new_waker) = counting_waker();
    assert!(ours.poll_read_ready(&mut Context::from_waker(&old_waker)).is_pending());
    assert!(ours.poll_read_ready(&mut Context::from_waker(&new_waker)).is_pending());
    assert_eq!(old.get(), 1, "the displaced one is woken");
    theirs.write_all(b"x").unwrap();
    rig.turn_until(|| new.get() == 1);
    assert_eq!(old.get(), 1);
}

#[test]
fn a_dropped_read_leaves_its_place_to_another() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let other = rig.table.lookup(ours.id()).unwrap();
    let (count, waker) = counting_waker();
    {
        let mut buffer = [0; 1];
        let mut read = pin!(ours.read(&mut buffer));
        assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(matches!(
            other.poll_read_ready(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Err(error)) if is_busy(&error)
        ));
    }
    theirs.write_all(b"x").unwrap();
    rig.run(other.readable()).unwrap();
    assert_eq!(count.get(), 0, "who has left is not woken");
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1, "no waker is left behind");
}

#[test]
fn a_dropped_handle_leaves_its_place_to_another() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.idle_stream(lane(1));
    let other = rig.table.lookup(ours.id()).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(other.poll_read_ready(cx).is_pending());
    drop(other);
    assert!(ours.poll_read_ready(cx).is_pending());
    assert!(ours.is_open());
}

#[test]
fn what_is_no_stream_or_no_listener_says_so() {
    let mut rig = Rig::new(1);
    let (stream, _theirs) = rig.stream(lane(1));
    let source = rig.env.tcp_listen((Ipv4Addr::LOCALHOST, 0).into(), &ListenOptions::new()).unwrap();
    let listener = rig.table.insert(source, None, 0).unwrap();
    let kind = |error: io::Error| error.kind();
    assert_eq!(rig.run(stream.accept()).map(drop).map_err(kind), Err(io::ErrorKind::InvalidInput));
    assert_eq!(rig.run(listener.read(&mut [0])).map_err(kind), Err(io::ErrorKind::InvalidInput));
}

#[test]
fn futures_of_a_descriptor_may_move_between_workers() {
    fn is_send(_: &impl Send) {}
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.stream(lane(1));
    is_send(&ours.read(&mut [0; 4]));
    is_send(&ours.write(&[0; 4]));
    is_send(&ours.accept());
    is_send(&ours.connected());
}
