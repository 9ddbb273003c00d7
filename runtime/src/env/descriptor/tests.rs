use std::future::Future;
use std::net::{self, Ipv4Addr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::*;
use crate::Namespace;
use crate::env::{Busy, Driver, Env, ListenOptions, OsEnv, ReleaseCount};

mod io_and_waiting;
mod owning;
mod scripted;
mod sharing;

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
