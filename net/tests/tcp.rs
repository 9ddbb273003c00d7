//! Sockets as lanes use them, on the OS's loopback.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use laneway_net::tcp::{TcpListener, TcpStream};
use runtime::lane::{self, NotInLane, Spawn};
use runtime::mailbox::{Inbox, MailboxId, Received};
use runtime::reply::{self, Answer};
use runtime::{ExitReason, Id, NotInRuntime, Runtime, StaleId, time};

const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// One worker, two, and two that each have a driver.
const NODES: [(usize, usize); 3] = [(1, 1), (2, 1), (2, 2)];

fn node(workers: usize, drivers: usize) -> Runtime {
    Runtime::builder().workers(workers).drivers(drivers).build().unwrap()
}

/// Runs a lane on each kind of node, and then has the node end in order.
fn on_all_nodes<F: Future<Output = ()> + Send + 'static>(body: impl Fn(Inbox<Event>) -> F) {
    for (workers, drivers) in NODES {
        let node = node(workers, drivers);
        in_lane(&node, &body);
        let report = node.shutdown(Duration::from_secs(10));
        assert_eq!(report.stuck.len(), 0);
        assert_eq!(report.metrics.release_errors, 0);
    }
}

fn in_lane<F: Future<Output = ()> + Send + 'static>(node: &Runtime, body: impl Fn(Inbox<Event>) -> F) {
    let _entered = node.handle().enter();
    let (answerer, answer) = reply::port();
    Spawn::new()
        .spawn(|inbox| {
            let body = body(inbox);
            async move {
                body.await;
                let _unheard = answerer.answer(());
            }
        })
        .unwrap();
    node.block_on(answered(answer));
}

async fn answered<T>(mut answer: Answer<T>) -> T {
    poll_fn(|cx| answer.poll_answer(cx)).await.unwrap()
}

/// What lanes under test tell the one that tests.
#[derive(Debug)]
enum Event {
    Opened(Id),
    Accepted(TcpStream),
    Failed(io::Error),
}

async fn event(inbox: &mut Inbox<Event>) -> Event {
    match poll_fn(|cx| inbox.poll_recv(cx)).await {
        Received::Message(event) => event,
        other => panic!("no event: {other:?}"),
    }
}

async fn opened(inbox: &mut Inbox<Event>) -> Id {
    match event(inbox).await {
        Event::Opened(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn accepted(inbox: &mut Inbox<Event>) -> TcpStream {
    match event(inbox).await {
        Event::Accepted(stream) => stream,
        other => panic!("{other:?}"),
    }
}

/// Kills a lane and waits until what it held is released.
async fn kill(inbox: &mut Inbox<Event>, lane: Id) {
    lane::monitor(lane).unwrap();
    lane::kill(lane);
    match poll_fn(|cx| inbox.poll_recv(cx)).await {
        Received::Down(notified) => {
            let down = notified.into_down();
            assert_eq!((down.id, &down.reason), (lane, &ExitReason::Killed));
        }
        other => panic!("{other:?}"),
    }
}

fn spawn<F: Future<Output = ()> + Send + 'static>(body: F) -> Id {
    Spawn::new().spawn(|_: Inbox<()>| body).unwrap().mailbox.id()
}

/// A lane that accepts streams, owns them, and gives them away.
fn spawn_listener(to: MailboxId<Event>) -> (Id, SocketAddr) {
    let listener = TcpListener::bind(LOCAL).unwrap();
    let address = listener.local_addr().unwrap();
    let lane = spawn(async move {
        listener.adopt().unwrap();
        let mut listener = listener;
        while let Ok((stream, _)) = listener.accept().await {
            to.send(Event::Accepted(stream)).await.unwrap();
        }
    });
    (lane, address)
}

async fn pair() -> (TcpStream, TcpStream) {
    let mut listener = TcpListener::bind(LOCAL).unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = join(TcpStream::connect(address), listener.accept()).await;
    (near.unwrap(), far.unwrap().0)
}

async fn reads_end(stream: &mut TcpStream) {
    let mut rest = [0; 8];
    match stream.read(&mut rest).await {
        Ok(0) => {}
        // Where bytes were on their way to an end that closed.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("not the end: {other:?}"),
    }
}

fn stale(error: &io::Error) -> Option<StaleId> {
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    error.get_ref()?.downcast_ref().copied()
}

fn descriptors() -> u64 {
    runtime::Handle::current().unwrap().metrics().descriptors
}

/// Waits for lanes that nobody watches to be done: a peer reads the end a moment before the socket counts as closed.
async fn nothing_is_open() {
    while descriptors() != 0 {
        runtime::yield_now().await;
    }
}

#[test]
fn a_megabyte_comes_back_from_an_echo() {
    on_all_nodes(|_| async {
        let mut listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.adopt().unwrap();
            let (mut from, mut to) = stream.into_split();
            let mut buffer = vec![0; 10_000];
            loop {
                let count = from.read(&mut buffer).await.unwrap();
                if count == 0 {
                    // Which ends our direction as well, since it drops the writing half.
                    return;
                }
                to.write_all(&buffer[..count]).await.unwrap();
            }
        });
        let sent: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut from, mut to) = stream.halves();
        let write = async {
            to.write_all(&sent).await.unwrap();
            to.close().await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = join(from.read_to_end(&mut got), write).await;
        assert_eq!(read.unwrap(), sent.len());
        assert!(got == sent, "the bytes came back changed");
    });
}

#[test]
fn the_halves_of_a_stream_may_be_in_two_lanes() {
    on_all_nodes(|mut inbox| async move {
        let me = inbox.mailbox();
        let (near, mut far) = pair().await;
        let (mut from, mut to) = near.into_split();
        let reader = spawn(async move {
            let mut bytes = [0; 3];
            from.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"abc");
            me.send(Event::Opened(from.id())).await.unwrap();
            std::future::pending::<()>().await;
        });
        let write = |_: Inbox<()>| async move { to.write_all(b"xyz").await.unwrap() };
        let writer = Spawn::new().monitor().spawn(write).unwrap().mailbox.id();
        let mut bytes = [0; 3];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"xyz");
        // The writing half is dropped with its lane, and the reading half still reads.
        reads_end(&mut far).await;
        // Its share of the stream goes a moment after the end of the direction.
        match poll_fn(|cx| inbox.poll_recv(cx)).await {
            Received::Down(notified) => {
                let down = notified.into_down();
                assert_eq!((down.id, &down.reason), (writer, &ExitReason::Normal));
            }
            other => panic!("{other:?}"),
        }
        far.write_all(b"abc").await.unwrap();
        opened(&mut inbox).await;
        kill(&mut inbox, reader).await;
        drop(far);
        assert_eq!(descriptors(), 0);
    });
}

#[test]
fn many_connections_are_served_at_a_time() {
    const CONNECTIONS: usize = 200;
    on_all_nodes(|_| async {
        let mut listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            listener.adopt().unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                spawn(async move {
                    stream.adopt().unwrap();
                    let mut bytes = [0; 4];
                    while stream.read_exact(&mut bytes).await.is_ok() {
                        stream.write_all(&bytes).await.unwrap();
                    }
                });
            }
        });
        let connect = (0..CONNECTIONS).map(|_| async { TcpStream::connect(address).await.unwrap() });
        let mut clients = join_all(connect).await;
        for round in 0..3_u32 {
            for client in &mut clients {
                client.write_all(&round.to_be_bytes()).await.unwrap();
            }
            for client in &mut clients {
                let mut bytes = [0; 4];
                client.read_exact(&mut bytes).await.unwrap();
                assert_eq!(u32::from_be_bytes(bytes), round);
            }
        }
        assert_eq!(descriptors(), 2 * CONNECTIONS as u64 + 1);
        drop(clients);
        lane::kill(server);
        nothing_is_open().await;
    });
}

#[test]
fn half_a_stream_closes_alone() {
    on_all_nodes(|_| async {
        let (mut near, mut far) = pair().await;
        near.write_all(b"question").await.unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut question = String::new();
        far.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        let parts = [IoSlice::new(b"an"), IoSlice::new(b"swer")];
        assert_eq!(far.write_vectored(&parts).await.unwrap(), 6);
        let mut answer = [0; 6];
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        assert_eq!(near.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn an_end_too_early_is_an_error_of_its_own() {
    on_all_nodes(|_| async {
        let (mut near, mut far) = pair().await;
        far.write_all(b"ab").await.unwrap();
        drop(far);
        let mut bytes = [0; 3];
        assert_eq!(near.read_exact(&mut bytes).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(&bytes[..2], b"ab");
    });
}

#[test]
fn both_ends_know_both_addresses() {
    on_all_nodes(|_| async {
        for host in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let mut listener = match TcpListener::bind((host, 0)) {
                Ok(listener) => listener,
                // A machine without IPv6 has nothing to be tried.
                Err(error) if host.is_ipv6() && error.kind() == ErrorKind::AddrNotAvailable => continue,
                Err(error) => panic!("{host}: {error}"),
            };
            let address = listener.local_addr().unwrap();
            let (near, far) = join(TcpStream::connect(address), listener.accept()).await;
            let (near, (far, peer)) = (near.unwrap(), far.unwrap());
            assert_eq!(near.peer_addr().unwrap(), address);
            assert_eq!(far.local_addr().unwrap(), address);
            assert_eq!(near.local_addr().unwrap(), peer);
            assert_eq!(far.peer_addr().unwrap(), peer);
            assert!(!near.nodelay().unwrap());
            near.set_nodelay(true).unwrap();
            assert!(near.nodelay().unwrap());
        }
    });
}

#[test]
fn a_connection_that_is_refused_is_an_error() {
    on_all_nodes(|_| async {
        let listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(descriptors(), 0);
    });
}

#[test]
fn a_port_that_is_taken_is_in_use_until_its_listener_closes() {
    on_all_nodes(|_| async {
        let listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(TcpListener::bind(address).unwrap().local_addr().unwrap(), address);
    });
}

#[test]
fn the_death_of_its_owner_closes_a_stream_though_it_was_forgotten() {
    on_all_nodes(|mut inbox| async move {
        let me = inbox.mailbox();
        let mut listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        for forgotten in [false, true] {
            let owner = spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                me.send(Event::Opened(stream.id())).await.unwrap();
                if forgotten {
                    std::mem::forget(stream);
                    std::future::pending::<()>().await;
                } else {
                    std::future::pending::<()>().await;
                    drop(stream);
                }
            });
            let (mut far, _) = listener.accept().await.unwrap();
            opened(&mut inbox).await;
            assert_eq!(runtime::Handle::current().unwrap().held_by(owner).descriptors, 1);
            kill(&mut inbox, owner).await;
            reads_end(&mut far).await;
            drop(far);
            // The listener.
            assert_eq!(descriptors(), 1);
        }
    });
}

#[test]
fn an_adopted_stream_outlives_the_lane_that_accepted_it() {
    on_all_nodes(|mut inbox| async move {
        let (server, address) = spawn_listener(inbox.mailbox());
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut stream = accepted(&mut inbox).await;
        stream.adopt().unwrap();
        // Nothing changes if it is ours already.
        stream.adopt().unwrap();
        kill(&mut inbox, server).await;
        client.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
        // Dropping it closes it also for its new owner.
        drop(stream);
        reads_end(&mut client).await;
    });
}

#[test]
fn a_stream_that_nobody_adopted_dies_with_the_lane_that_accepted_it() {
    on_all_nodes(|mut inbox| async move {
        let (server, address) = spawn_listener(inbox.mailbox());
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut stream = accepted(&mut inbox).await;
        kill(&mut inbox, server).await;
        reads_end(&mut client).await;
        let gone = Some(StaleId(stream.id()));
        assert_eq!(stale(&stream.adopt().unwrap_err()), gone);
        assert_eq!(stale(&stream.read(&mut [0]).await.unwrap_err()), gone);
        assert_eq!(stale(&stream.write(&[0]).await.unwrap_err()), gone);
        assert_eq!(stale(&stream.readable().await.unwrap_err()), gone);
        assert_eq!(stale(&stream.shutdown(Shutdown::Both).unwrap_err()), gone);
        assert_eq!(stale(&TcpStream::from_id(stream.id()).unwrap_err()), gone);
    });
}

#[test]
fn a_lane_that_dies_before_it_adopts_closes_the_stream_it_holds() {
    on_all_nodes(|mut inbox| async move {
        let (server, address) = spawn_listener(inbox.mailbox());
        let mut client = TcpStream::connect(address).await.unwrap();
        let stream = accepted(&mut inbox).await;
        let holder = spawn(async move {
            std::future::pending::<()>().await;
            stream.adopt().unwrap();
        });
        kill(&mut inbox, holder).await;
        reads_end(&mut client).await;
        assert!(lane::is_alive(server));
        // The client and the listener.
        assert_eq!(descriptors(), 2);
    });
}

#[test]
fn who_waits_on_a_stream_learns_that_its_owner_died() {
    on_all_nodes(|mut inbox| async move {
        let me = inbox.mailbox();
        let (server, address) = spawn_listener(me);
        let _client = TcpStream::connect(address).await.unwrap();
        let mut stream = accepted(&mut inbox).await;
        let id = stream.id();
        spawn(async move {
            me.send(Event::Opened(id)).await.unwrap();
            let error = stream.read(&mut [0]).await.unwrap_err();
            me.send(Event::Failed(error)).await.unwrap();
        });
        opened(&mut inbox).await;
        lane::kill(server);
        match event(&mut inbox).await {
            Event::Failed(error) => assert_eq!(stale(&error), Some(StaleId(id))),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_stream_travels_by_its_id() {
    on_all_nodes(|mut inbox| async move {
        let (server, address) = spawn_listener(inbox.mailbox());
        let mut client = TcpStream::connect(address).await.unwrap();
        let id = accepted(&mut inbox).await.into_id();
        let mut stream = TcpStream::from_id(id).unwrap();
        assert_eq!(stream.id(), id);
        kill(&mut inbox, server).await;
        stream.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();

        let listener = TcpListener::bind(LOCAL).unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = TcpListener::from_id(listener.into_id()).unwrap();
        let (client, server) = join(TcpStream::connect(address), listener.accept()).await;
        assert!(client.is_ok() && server.is_ok());
        let mut no_stream = TcpStream::from_id(listener.id()).unwrap();
        assert_eq!(no_stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn the_death_of_a_listener_refuses_new_connections() {
    on_all_nodes(|mut inbox| async move {
        let (server, address) = spawn_listener(inbox.mailbox());
        kill(&mut inbox, server).await;
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(descriptors(), 0);
    });
}

#[test]
fn a_read_that_was_given_up_leaves_the_stream_as_it_was() {
    // Nobody writes before the time is over, so the jumping clock takes it from no one.
    let node = Runtime::builder().workers(1).virtual_time(7).build().unwrap();
    in_lane(&node, |mut inbox| async move {
        let me = inbox.mailbox();
        let (mut near, mut far) = pair().await;
        for _ in 0..3 {
            assert!(time::timeout(Duration::from_secs(60), near.read(&mut [0])).await.is_err());
        }
        assert!(time::timeout(Duration::from_secs(60), near.readable()).await.is_err());
        // Another lane with another waker takes the place that these left behind.
        spawn(async move {
            near.adopt().unwrap();
            me.send(Event::Opened(near.id())).await.unwrap();
            let mut bytes = [0; 2];
            near.read_exact(&mut bytes).await.unwrap();
            near.write_all(&bytes).await.unwrap();
        });
        opened(&mut inbox).await;
        far.write_all(b"ok").await.unwrap();
        let mut bytes = [0; 2];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ok");
    });
}

#[test]
fn an_accept_that_was_given_up_loses_no_connection() {
    let node = Runtime::builder().workers(1).virtual_time(7).build().unwrap();
    in_lane(&node, |_| async {
        let mut listener = TcpListener::bind(LOCAL).unwrap();
        assert!(time::timeout(Duration::from_secs(60), listener.accept()).await.is_err());
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    });
}

#[test]
fn sockets_work_outside_of_lanes_and_belong_to_nobody_there() {
    for (workers, drivers) in NODES {
        let node = node(workers, drivers);
        node.block_on(async {
            let (mut near, mut far) = pair().await;
            near.write_all(b"hi").await.unwrap();
            let mut bytes = [0; 2];
            far.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"hi");
            let error = near.adopt().unwrap_err();
            assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&NotInLane));
            drop((near, far));
            assert_eq!(descriptors(), 0);
        });
    }
}

#[test]
fn a_stream_from_outside_of_lanes_can_be_adopted() {
    let node = node(2, 1);
    let (near, mut far) = node.block_on(pair());
    let _entered = node.handle().enter();
    spawn(async move {
        near.adopt().unwrap();
        // Only as its owner's can it be closed now.
        std::mem::forget(near);
    });
    node.block_on(async {
        reads_end(&mut far).await;
        drop(far);
        nothing_is_open().await;
    });
}

#[test]
fn a_stream_of_another_runtime_cannot_be_adopted() {
    let (home, abroad) = (node(1, 1), node(1, 1));
    let (near, _far) = home.block_on(pair());
    let (answerer, answer) = reply::port();
    let _entered = abroad.handle().enter();
    let id = near.id();
    spawn(async move {
        let _unheard = answerer.answer(near.adopt().unwrap_err());
    });
    assert_eq!(stale(&abroad.block_on(answered(answer))), Some(StaleId(id)));
}

#[test]
fn there_are_no_sockets_outside_of_a_runtime() {
    let error = TcpListener::bind(LOCAL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&NotInRuntime));
}

#[test]
fn drivers_take_turns() {
    let node = node(2, 2);
    node.block_on(async {
        let (near, far) = pair().await;
        let descriptors = node.handle().descriptors();
        let [near, far] = [near, far].map(|stream| descriptors.driver_of(stream.id()).unwrap());
        assert_ne!(near, far);
    });
}
