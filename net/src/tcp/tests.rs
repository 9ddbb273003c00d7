//! What the OS will not do on demand: errors of `accept`, and a stream that never runs dry.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::env::reactor::Token;
use runtime::env::{
    Env, EventSource, Idle, Instant, ListenOptions, ListenerSource, Reactor, Registrar, StreamSource, VirtualEnv,
};
use runtime::lane::{self, Spawn};
use runtime::mailbox::Inbox;
use runtime::{Runtime, StaleId};

use super::listener::REST;
use super::{TcpListener, TcpStream};

const ANYWHERE: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1));

/// A world whose clock stands still, whose streams are endless, and whose listeners go by a script.
#[derive(Debug)]
struct Staged {
    world: VirtualEnv,
    script: Arc<Script>,
}

#[derive(Debug, Default)]
struct Script {
    /// What accept gives, the last first; then streams.
    errors: Mutex<Vec<io::Error>>,
    attempts: AtomicUsize,
}

impl Staged {
    fn new(errors: impl IntoIterator<Item = io::Error>) -> Arc<Staged> {
        let mut errors: Vec<io::Error> = errors.into_iter().collect();
        errors.reverse();
        let script = Script { errors: Mutex::new(errors), attempts: AtomicUsize::new(0) };
        Arc::new(Staged { world: VirtualEnv::new(1), script: Arc::new(script) })
    }

    fn attempts(&self) -> usize {
        self.script.attempts.load(Ordering::Relaxed)
    }

    fn runtime(self: &Arc<Staged>) -> Runtime {
        Runtime::builder().workers(1).env(self.clone()).build().unwrap()
    }
}

impl Env for Staged {
    fn now(&self) -> Instant {
        self.world.now()
    }

    fn unix_time(&self) -> Duration {
        self.world.unix_time()
    }

    fn fill_entropy(&self, bytes: &mut [u8]) {
        self.world.fill_entropy(bytes);
    }

    fn spawn_thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        self.world.spawn_thread(name, work)
    }

    fn reactor(&self) -> io::Result<Reactor> {
        self.world.reactor()
    }

    fn tcp_listen(&self, _: SocketAddr, _: &ListenOptions) -> io::Result<Box<dyn ListenerSource>> {
        Ok(Box::new(Scripted(self.script.clone())))
    }

    fn tcp_connect(&self, _: SocketAddr) -> io::Result<Box<dyn StreamSource>> {
        Ok(Box::new(Endless))
    }

    fn idle_until(&self, _: Option<Instant>) -> Idle {
        Idle::Block
    }
}

#[derive(Debug)]
struct Scripted(Arc<Script>);

impl EventSource for Scripted {
    fn register(&mut self, _: &Registrar, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registrar) -> io::Result<()> {
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(ANYWHERE)
    }

    fn raw_fd(&self) -> Option<i32> {
        None
    }
}

impl ListenerSource for Scripted {
    fn accept(&self) -> io::Result<(Box<dyn StreamSource>, SocketAddr)> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        match self.0.errors.lock().pop() {
            Some(error) => Err(error),
            None => Ok((Box::new(Endless), ANYWHERE)),
        }
    }
}

#[derive(Debug)]
struct Endless;

impl EventSource for Endless {
    fn register(&mut self, _: &Registrar, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registrar) -> io::Result<()> {
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(ANYWHERE)
    }

    fn raw_fd(&self) -> Option<i32> {
        None
    }
}

impl StreamSource for Endless {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        // As an OS whose peer has gone.
        Err(io::Error::from_raw_os_error(NOT_CONNECTED))
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(ANYWHERE)
    }

    fn nodelay(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}

// Linux's numbers.
const OUT_OF_FILES: i32 = 24;
const ABORTED: i32 = 103;
const NOT_CONNECTED: i32 = 107;

#[test]
fn connections_that_broke_are_passed_over() {
    let world = Staged::new([ABORTED, ABORTED].map(io::Error::from_raw_os_error));
    let node = world.runtime();
    let _entered = node.handle().enter();
    let mut listener = TcpListener::bind(ANYWHERE).unwrap();
    let accepted = listener.poll_accept(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(accepted, Poll::Ready(Ok(_))), "{accepted:?}");
    assert_eq!(world.attempts(), 3);
}

#[test]
fn a_listener_rests_after_an_error_and_then_goes_on() {
    let world = Staged::new([io::Error::from_raw_os_error(OUT_OF_FILES)]);
    let node = world.runtime();
    let _entered = node.handle().enter();
    let mut listener = TcpListener::bind(ANYWHERE).unwrap();
    let mut cx = Context::from_waker(Waker::noop());

    let Poll::Ready(Err(error)) = listener.poll_accept(&mut cx) else { panic!("the error was swallowed") };
    assert_eq!(error.raw_os_error(), Some(OUT_OF_FILES));
    for _ in 0..3 {
        assert!(listener.poll_accept(&mut cx).is_pending());
    }
    assert_eq!((world.attempts(), node.handle().metrics().timers), (1, 1));

    world.world.advance(REST);
    assert!(matches!(listener.poll_accept(&mut cx), Poll::Ready(Ok(_))));
    assert_eq!((world.attempts(), node.handle().metrics().timers), (2, 0));
}

#[test]
fn a_stream_that_never_runs_dry_lets_other_lanes_run() {
    let world = Staged::new([]);
    let node = world.runtime();
    let _entered = node.handle().enter();
    let read = |_: Inbox<()>| async {
        let mut stream = TcpStream::connect(ANYWHERE).await.unwrap();
        let mut buffer = [0; 16];
        while stream.read(&mut buffer).await.is_ok() {}
    };
    let write = |_: Inbox<()>| async {
        let mut stream = TcpStream::connect(ANYWHERE).await.unwrap();
        while stream.write(b"more").await.is_ok() {}
    };
    let lanes = [Spawn::new().spawn(read).unwrap().mailbox.id(), Spawn::new().spawn(write).unwrap().mailbox.id()];
    // On the one worker, which neither of them ever leaves of itself.
    let (answerer, mut answer) = runtime::reply::port();
    let end = |_: Inbox<()>| async move {
        for lane in lanes {
            lane::kill(lane);
            while lane::is_alive(lane) {
                runtime::yield_now().await;
            }
        }
        let _unheard = answerer.answer(());
    };
    Spawn::new().spawn(end).unwrap();
    node.block_on(std::future::poll_fn(|cx| answer.poll_answer(cx))).unwrap();
    assert_eq!(node.handle().metrics().descriptors, 0);
}

#[test]
fn ending_what_the_peer_has_ended_is_no_error_but_ending_what_is_closed_is() {
    let world = Staged::new([]);
    let node = world.runtime();
    node.block_on(async {
        let stream = TcpStream::connect(ANYWHERE).await.unwrap();
        assert!(super::methods::close(stream.descriptor()).is_ok());
        node.handle().descriptors().close(stream.id()).unwrap();
        let error = super::methods::close(stream.descriptor()).unwrap_err();
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&StaleId(stream.id())));
    });
}
