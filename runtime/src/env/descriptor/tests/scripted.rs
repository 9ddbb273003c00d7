//! What needs an OS that answers to the point: short reads, wrong hints, edges between two steps, threads at once.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::env::reactor::Token;
use crate::env::{EventSource, Reactor, Registrar};

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
    assert_eq!(new.entry.thing.readiness.load().ready(), Ready::WRITABLE);
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

#[test]
fn without_a_key_for_the_duplicate_the_thing_is_as_it_was() {
    let (_reactor, table) = scripted(1);
    let script = Arc::new(Script::default());
    let first = table.insert(Scripted::stream(&script), None, 0).unwrap();
    let second = first.dup(None).unwrap();
    assert_eq!(first.shared_by(), 2);
    drop(second);
    // Each key serves once, so the thing still closes with its last id.
    assert_eq!(first.shared_by(), 1);
    drop(first);
    assert_eq!(Arc::strong_count(&script), 1, "the source is dropped");
    assert_eq!(table.counts().open, 0);
}
