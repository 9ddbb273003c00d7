use std::collections::VecDeque;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{self, Ipv4Addr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::Wake;
use std::thread;
use std::time::Duration;

use super::*;
use crate::Namespace;
use crate::env::reactor::Token;
use crate::env::{Busy, Driver, Env, EventSource, ListenOptions, OsEnv, Reactor, Registrar, ReleaseCount};

/// Longer than any event takes; a test that waits as long has failed.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn counting_waker() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}

fn lane(key: u32) -> Id {
    Id::new(key, Namespace::new(1).unwrap(), NonZeroU16::MIN)
}

fn is_stale(error: &io::Error, id: Id) -> bool {
    error.kind() == io::ErrorKind::NotConnected
        && error.get_ref().and_then(|inner| inner.downcast_ref()) == Some(&StaleId(id))
}

fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy && error.get_ref().is_some_and(|inner| inner.is::<Busy>())
}

/// The OS, and its drivers turned by hand.
struct Rig {
    env: OsEnv,
    table: Arc<Descriptors>,
    drivers: Vec<Driver>,
}

impl Rig {
    fn new(drivers: usize) -> Rig {
        let env = OsEnv::new();
        let count = NonZeroUsize::new(drivers).unwrap();
        let (table, drivers) = Driver::start(&env, Namespace::new(2).unwrap(), count).unwrap();
        Rig { env, table, drivers }
    }

    /// Polls one driver once, wakes whom that concerns, and gives the number of events.
    fn turn(&mut self, driver: usize, timeout: Duration) -> usize {
        let mut wakers = Vec::new();
        let events = self.drivers[driver].park(Some(timeout), &mut wakers).unwrap();
        wakers.into_iter().for_each(Waker::wake);
        events
    }

    /// Turns driver 0 until `done`.
    fn turn_until(&mut self, mut done: impl FnMut() -> bool) {
        while !done() {
            assert!(self.turn(0, LIMIT) > 0, "no event came");
        }
    }

    /// Takes what events there are, so that what comes later is new.
    fn settle(&mut self) {
        while self.turn(0, Duration::ZERO) > 0 {}
    }

    /// Runs a future to its end on driver 0.
    fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let (count, waker) = counting_waker();
        loop {
            let woken = count.get();
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            self.turn_until(|| count.get() > woken);
        }
    }

    /// A connected stream of ours, owned by `owner`, and the other end of it, which blocks.
    fn stream(&mut self, owner: Id) -> (Descriptor, net::TcpStream) {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let source = self.env.tcp_connect(listener.local_addr().unwrap()).unwrap();
        let ours = self.table.insert(source, Some(owner), 0).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        self.run(ours.connected()).unwrap();
        (ours, theirs)
    }

    /// As `stream`, and found unreadable by an attempt.
    fn idle_stream(&mut self, owner: Id) -> (Descriptor, net::TcpStream) {
        let (ours, theirs) = self.stream(owner);
        self.settle();
        assert!(ours.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0]).is_pending());
        ours.entry.slot(Direction::Read).leave(ours.waiter);
        (ours, theirs)
    }
}

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
fn closing_wakes_who_waits_and_makes_every_handle_stale() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let id = ours.id();
    let other = rig.table.lookup(id).unwrap();
    let (woken, waker) = counting_waker();
    let cx = &mut Context::from_waker(&waker);
    assert!(other.poll_read(cx, &mut [0; 8]).is_pending());

    ours.close().unwrap();
    assert_eq!(woken.get(), 1);
    assert!(matches!(other.poll_read(cx, &mut [0; 8]), Poll::Ready(Err(error)) if is_stale(&error, id)));
    assert!(matches!(other.poll_write(cx, b"x"), Poll::Ready(Err(error)) if is_stale(&error, id)));
    assert!(is_stale(&other.local_addr().unwrap_err(), id));
    assert!(is_stale(&other.shutdown(Shutdown::Both).unwrap_err(), id));
    assert_eq!(rig.table.close(id), Err(StaleId(id)));
    assert_eq!(rig.table.transfer(id, lane(2)), Err(StaleId(id)));
    assert!(is_stale(&rig.table.rebind(id, 0).unwrap_err(), id));
    assert_eq!(rig.table.lookup(id).unwrap_err(), StaleId(id));
    assert_eq!((other.owner(), other.raw_fd(), other.is_open()), (None, None, false));
    // The peer sees the end although a handle is left.
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    let counts = rig.table.counts();
    assert_eq!((counts.opened, counts.closed, counts.open, counts.close_errors), (1, 1, 0, 0));
}

#[test]
fn a_waiter_that_comes_after_the_close_does_not_stay() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.idle_stream(lane(1));
    let other = rig.table.lookup(ours.id()).unwrap();
    ours.close().unwrap();
    let (count, waker) = counting_waker();
    assert!(other.poll_read_ready(&mut Context::from_waker(&waker)).is_ready());
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn releasing_an_owner_closes_its_sockets_in_the_os_and_no_others() {
    // What the OS's number leads to, as `socket:[inode]`, which is not used again as the number is.
    let links = || -> Vec<std::path::PathBuf> {
        let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
        numbers.filter_map(|number| std::fs::read_link(number.unwrap().path()).ok()).collect()
    };
    let link = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();

    let mut rig = Rig::new(1);
    let peers: Vec<_> = (0..3).map(|_| rig.stream(lane(1))).collect();
    let (kept, _peer) = rig.stream(lane(2));
    let fds = rig.table.raw_fds();
    assert_eq!(fds.len(), 4);
    let (theirs, ours): (Vec<_>, Vec<_>) = fds.into_iter().partition(|(id, _)| *id == kept.id());
    let gone: Vec<_> = ours.iter().map(|(_, fd)| link(*fd)).collect();
    assert!(gone.iter().all(|link| links().contains(link)));
    let mut owned = rig.table.owned_by(lane(1));
    owned.sort();
    assert_eq!(owned, peers.iter().map(|(ours, _)| ours.id()).collect::<Vec<_>>());

    // The handles are still about.
    assert_eq!(rig.table.release_owner(lane(1)), ReleaseCount { descriptors: 3, errors: 0 });
    let links = links();
    assert!(gone.iter().all(|link| !links.contains(link)));
    assert!(links.contains(&link(theirs[0].1)));
    assert_eq!(rig.table.raw_fds(), theirs);
    assert!(rig.table.owned_by(lane(1)).is_empty());
    assert_eq!(rig.table.release_owner(lane(1)), ReleaseCount::default());
    drop(peers);
    assert_eq!(rig.table.counts().closed, 3, "nothing is closed twice");
    assert_eq!(rig.table.close_all(), ReleaseCount { descriptors: 1, errors: 0 });
    assert_eq!(rig.table.counts().open, 0);
}

#[test]
fn who_owns_a_descriptor_decides_whose_death_closes_it() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.stream(lane(1));
    let id = ours.id();
    rig.table.transfer(id, lane(2)).unwrap();
    assert_eq!(ours.owner(), Some(lane(2)));
    assert!(rig.table.owned_by(lane(1)).is_empty());
    assert_eq!(rig.table.owned_by(lane(2)), [id]);
    assert_eq!(rig.table.release_owner(lane(1)).descriptors, 0);
    drop(ours);
    let other = rig.table.lookup(id).expect("the handle of an owner before leaves it open");
    assert_eq!(rig.table.release_owner(lane(2)).descriptors, 1);
    assert!(!other.is_open());
}

#[test]
fn a_handle_that_goes_along_with_the_transfer_closes_for_the_new_owner() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.stream(lane(1));
    let id = ours.id();
    ours.transfer(lane(2)).unwrap();
    assert_eq!(rig.table.owned_by(lane(2)), [id]);
    drop(ours);
    assert_eq!(rig.table.lookup(id).unwrap_err(), StaleId(id));
    assert!(rig.table.owned_by(lane(2)).is_empty());
}

#[test]
fn an_adopted_descriptor_closes_with_the_handle_of_its_new_owner() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.stream(lane(1));
    let id = ours.into_id();
    assert_eq!(rig.table.owned_by(lane(1)), [id], "giving up the handle leaves it to its owner");
    let adopted = rig.table.adopt(id, lane(2)).unwrap();
    assert_eq!(rig.table.release_owner(lane(1)).descriptors, 0);
    drop(adopted);
    assert_eq!(rig.table.adopt(id, lane(2)).unwrap_err(), StaleId(id));
}

#[test]
fn transfer_leaves_who_waits_waiting() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let (woken, waker) = counting_waker();
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    ours.transfer(lane(2)).unwrap();
    theirs.write_all(b"x").unwrap();
    rig.turn_until(|| woken.get() == 1);
}

#[test]
fn rebinding_loses_no_edge() {
    let mut rig = Rig::new(2);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let id = ours.id();
    assert_eq!(rig.table.driver_of(id), Ok(0));
    // The edge comes while driver 0 has it, and nobody polls that driver any more.
    theirs.write_all(b"x").unwrap();
    rig.table.rebind(id, 1).unwrap();
    assert_eq!(rig.table.driver_of(id), Ok(1));
    let (woken, waker) = counting_waker();
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    assert!(rig.turn(1, LIMIT) > 0);
    assert_eq!(woken.get(), 1);
    assert!(matches!(ours.poll_read(&mut Context::from_waker(&waker), &mut [0; 8]), Poll::Ready(Ok(1))));
    // Later edges come there as well, and it closes without an error.
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    theirs.write_all(b"y").unwrap();
    assert!(rig.turn(1, LIMIT) > 0);
    assert_eq!(woken.get(), 2);
    drop(ours);
    assert_eq!(rig.table.counts().close_errors, 0);
}

#[test]
fn rebinding_is_refused_while_somebody_waits() {
    let mut rig = Rig::new(2);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let (woken, waker) = counting_waker();
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    assert!(is_busy(&rig.table.rebind(ours.id(), 1).unwrap_err()));
    assert_eq!(rig.table.driver_of(ours.id()), Ok(0));
    theirs.write_all(b"x").unwrap();
    rig.turn_until(|| woken.get() == 1);
    assert_eq!(rig.table.rebind(ours.id(), 2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
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

/// A stream in memory: what its reads give, how often it was tried. Its edges are posted.
#[derive(Debug, Default)]
struct Script {
    reads: Mutex<VecDeque<usize>>,
    attempts: AtomicUsize,
    refuses_to_register: bool,
    refuses_to_deregister: bool,
}

#[derive(Debug)]
struct Scripted(Arc<Script>);

impl Scripted {
    fn stream(script: &Arc<Script>) -> Source {
        Source::Stream(Box::new(Scripted(Arc::clone(script))))
    }
}

impl EventSource for Scripted {
    fn register(&mut self, _: &Registrar, _: Token) -> io::Result<()> {
        if self.0.refuses_to_register { Err(io::Error::other("refused")) } else { Ok(()) }
    }

    fn deregister(&mut self, _: &Registrar) -> io::Result<()> {
        if self.0.refuses_to_deregister { Err(io::Error::other("refused")) } else { Ok(()) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn raw_fd(&self) -> Option<i32> {
        None
    }
}

impl StreamSource for Scripted {
    fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        self.0.attempts.fetch_add(1, Ordering::AcqRel);
        self.0.reads.lock().pop_front().ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn read_vectored(&self, _: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read(&mut [])
    }

    fn write(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write_vectored(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        Ok(())
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn nodelay(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn short_means_drained(&self) -> bool {
        true
    }
}

/// A reactor and a table of scripted streams.
fn scripted(last_generation: u16) -> (Reactor, Arc<Descriptors>) {
    let reactor = Reactor::new().unwrap();
    let last_generation = NonZeroU16::new(last_generation).unwrap();
    let namespace = Namespace::new(2).unwrap();
    let table = Descriptors::with_last_generation(namespace, [reactor.registrar()], last_generation);
    (reactor, table)
}

#[test]
fn a_short_read_saves_the_attempt_that_would_block() {
    let (mut reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script { reads: Mutex::new([8, 3].into()), ..Script::default() });
    let ours = table.insert(Scripted::stream(&script), None, 0).unwrap();
    let (woken, waker) = counting_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut buffer = [0; 8];
    assert!(matches!(ours.poll_read(cx, &mut buffer), Poll::Ready(Ok(8))));
    assert!(matches!(ours.poll_read(cx, &mut buffer), Poll::Ready(Ok(3))));
    assert!(ours.poll_read(cx, &mut buffer).is_pending());
    assert_eq!(script.attempts.load(Ordering::Acquire), 2);

    // Once the peer is known to have closed, every attempt is made: no edge will come any more.
    script.reads.lock().extend([3, 0]);
    reactor.registrar().post(Token::of(ours.id()), Ready::READABLE | Ready::READ_CLOSED);
    let mut wakers = Vec::new();
    assert_eq!(reactor.poll(None, &table, &mut wakers).unwrap(), 1);
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!(woken.get(), 1);
    assert!(matches!(ours.poll_read(cx, &mut buffer), Poll::Ready(Ok(3))));
    assert!(matches!(ours.poll_read(cx, &mut buffer), Poll::Ready(Ok(0))));
}

#[test]
fn the_end_of_a_stream_is_read_again_without_an_edge() {
    let (_reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script { reads: Mutex::new([0, 0].into()), ..Script::default() });
    let ours = table.insert(Scripted::stream(&script), None, 0).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(ours.poll_read(cx, &mut [0; 8]), Poll::Ready(Ok(0))));
    assert!(matches!(ours.poll_read(cx, &mut [0; 8]), Poll::Ready(Ok(0))));
}

#[test]
fn a_closed_hint_that_proves_wrong_is_not_tried_for_ever() {
    let (mut reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script::default());
    let ours = table.insert(Scripted::stream(&script), None, 0).unwrap();
    reactor.registrar().post(Token::of(ours.id()), Ready::READ_CLOSED | Ready::WRITE_CLOSED);
    reactor.poll(None, &table, &mut Vec::new()).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(ours.poll_read(cx, &mut [0; 8]).is_pending());
    assert!(ours.poll_write(cx, b"x").is_pending());
}

#[test]
fn an_edge_during_an_attempt_leads_to_another() {
    let (_reactor, table) = scripted(u16::MAX);
    let ours = table.insert(Scripted::stream(&Arc::default()), None, 0).unwrap();
    let mut attempts = 0;
    let mut wakers = Vec::new();
    let answer = ours.entry.poll_io(&mut Context::from_waker(Waker::noop()), Direction::Read, ours.waiter, |_| {
        attempts += 1;
        if attempts == 1 {
            // The data comes right after the OS has said that there is none.
            assert_eq!(table.deliver([(Token::of(ours.id()), Ready::READABLE)].into_iter(), &mut wakers), 1);
            return Err::<(), _>(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    assert!(matches!(answer, Poll::Ready(Ok(_))));
    assert_eq!(attempts, 2);
}

#[test]
fn an_event_of_a_tenant_before_does_not_reach_the_next() {
    let (mut reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script::default());
    let old = table.insert(Scripted::stream(&script), None, 0).unwrap();
    let old_token = Token::of(old.id());
    drop(old);
    let new = table.insert(Scripted::stream(&script), None, 0).unwrap();
    assert_eq!(new.id().key(), old_token.key());
    let (woken, waker) = counting_waker();
    assert!(new.poll_read(&mut Context::from_waker(&waker), &mut [0; 8]).is_pending());

    reactor.registrar().post(old_token, Ready::READABLE);
    assert_eq!(reactor.poll(None, &table, &mut Vec::new()).unwrap(), 0);
    assert_eq!(new.entry.readiness.load().ready(), Ready::WRITABLE);
    let mut wakers = Vec::new();
    reactor.registrar().post(Token::of(new.id()), Ready::READABLE);
    assert_eq!(reactor.poll(None, &table, &mut wakers).unwrap(), 1);
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!(woken.get(), 1);
}

#[test]
fn a_retired_key_stays_stale_for_all_its_ids() {
    let (_reactor, table) = scripted(2);
    let script = Arc::new(Script::default());
    let open = || table.insert(Scripted::stream(&script), None, 0).unwrap();
    let ids: Vec<Id> = (0..2).map(|_| open().id()).collect();
    assert!(ids.iter().all(|id| id.key() == 0));
    let next = open();
    assert_eq!(next.id().key(), 1);
    for id in ids {
        assert_eq!(table.lookup(id).unwrap_err(), StaleId(id));
    }
}

#[test]
fn what_cannot_be_registered_leaves_nothing_behind() {
    let (_reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script { refuses_to_register: true, ..Script::default() });
    assert_eq!(table.insert(Scripted::stream(&script), Some(lane(1)), 0).unwrap_err().to_string(), "refused");
    assert_eq!(table.counts().open, 0);
    assert!(table.owned_by(lane(1)).is_empty());
    assert_eq!(Arc::strong_count(&script), 1, "the source is dropped");
    let script = Arc::new(Script::default());
    let nowhere = table.insert(Scripted::stream(&script), Some(lane(1)), 1).unwrap_err();
    assert_eq!(nowhere.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn an_error_on_closing_is_counted_and_closes_all_the_same() {
    let (_reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script { refuses_to_deregister: true, ..Script::default() });
    let ours = table.insert(Scripted::stream(&script), Some(lane(1)), 0).unwrap();
    assert_eq!(table.release_owner(lane(1)), ReleaseCount { descriptors: 1, errors: 1 });
    assert!(!ours.is_open());
    assert_eq!(Arc::strong_count(&script), 1);
    assert_eq!(table.counts().close_errors, 1);
}

#[test]
fn an_unpark_ends_the_next_poll_and_only_that() {
    let (mut reactor, table) = scripted(u16::MAX);
    let unparker = reactor.unparker();
    for _ in 0..2 {
        unparker.unpark();
        unparker.clone().unpark();
        // Would block for ever otherwise.
        assert_eq!(reactor.poll(None, &table, &mut Vec::new()).unwrap(), 0);
        assert!(!reactor.is_unparked());
    }
}

#[test]
fn an_unpark_from_another_thread_ends_a_poll_under_way() {
    let (mut reactor, table) = scripted(u16::MAX);
    let unparker = reactor.unparker();
    let said = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 1..=1000 {
                said.store(turn, Ordering::Relaxed);
                unparker.unpark();
            }
        });
        while said.load(Ordering::Relaxed) < 1000 {
            reactor.poll(None, &table, &mut Vec::new()).unwrap();
        }
    });
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn no_edge_is_lost_between_threads() {
    const EDGES: usize = 50_000;
    let env = OsEnv::new();
    let (_reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script::default());
    let ours = table.insert(Scripted::stream(&script), None, 0).unwrap();
    let (read, given_up) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut wakers = Vec::new();
            for edge in 0..EDGES {
                // One edge at a time, so that no later one makes up for it, and each as the reader is about to park.
                while read.load(Ordering::Acquire) < edge && !given_up.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                script.reads.lock().push_back(1);
                table.deliver([(Token::of(ours.id()), Ready::READABLE)].into_iter(), &mut wakers);
                wakers.drain(..).for_each(Waker::wake);
            }
        });
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut last = env.now();
        while read.load(Ordering::Acquire) < EDGES {
            match ours.poll_read(&mut Context::from_waker(&waker), &mut [0; 8]) {
                Poll::Ready(count) => {
                    read.fetch_add(count.unwrap(), Ordering::AcqRel);
                    last = env.now();
                }
                Poll::Pending => {
                    thread::park_timeout(LIMIT);
                    given_up.store(env.now() - last >= LIMIT, Ordering::Release);
                    assert!(!given_up.load(Ordering::Acquire), "the wake-up after {read:?} edges was lost");
                }
            }
        }
    });
}

#[test]
fn close_transfer_and_release_at_once_leave_nothing_owned() {
    let (_reactor, table) = scripted(u16::MAX);
    let script = Arc::new(Script::default());
    for round in 0..500 {
        let ids: Vec<Id> =
            (0..4).map(|_| table.insert(Scripted::stream(&script), Some(lane(1)), 0).unwrap().into_id()).collect();
        let released = thread::scope(|scope| {
            let one = scope.spawn(|| table.release_owner(lane(1)).descriptors);
            scope.spawn(|| ids.iter().filter(|id| table.transfer(**id, lane(2)).is_ok()).count());
            let closed = ids.iter().rev().take(2).filter(|id| table.close(**id).is_ok()).count() as u64;
            one.join().unwrap() + closed
        });
        let rest = table.release_owner(lane(2)).descriptors;
        assert_eq!(released + rest, 4, "each is closed exactly once, in round {round}");
        assert!(table.owned_by(lane(1)).is_empty() && table.owned_by(lane(2)).is_empty());
        assert_eq!(table.counts().open, 0);
    }
    assert_eq!(Arc::strong_count(&script), 1);
}
