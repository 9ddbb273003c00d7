use std::num::NonZeroU16;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use super::*;
use crate::env::{Busy, Descriptors, Reactor};
use crate::{Id, Namespace, StaleId};

/// A file that says when it is closed.
#[derive(Debug, Default)]
struct Paper {
    bytes: Mutex<Vec<u8>>,
    closed: Arc<AtomicBool>,
}

impl Drop for Paper {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl FileSource for Paper {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut all = self.bytes.lock();
        let end = offset as usize + bytes.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[offset as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes.lock().resize(length as usize, 0);
        Ok(())
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        Ok(FileMetadata { length: self.bytes.lock().len() as u64, is_file: true, ..FileMetadata::default() })
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn lane(key: u32) -> Id {
    Id::new(key, Namespace::new(1).unwrap(), NonZeroU16::MIN)
}

fn paper() -> (Arc<Descriptors>, SharedFile, Arc<AtomicBool>) {
    let reactor = Reactor::new().unwrap();
    let table = Descriptors::new(Namespace::new(2).unwrap(), [reactor.registrar()]);
    let paper = Paper::default();
    let closed = paper.closed.clone();
    (table, SharedFile::new(Box::new(paper)), closed)
}

#[test]
fn the_next_operation_waits_for_the_one_that_runs_and_a_third_is_busy() {
    let (table, file, _) = paper();
    let ours = table.insert(file, Some(lane(1)), 0).unwrap();
    let theirs = ours.dup(Some(lane(2))).unwrap();
    let third = theirs.dup(None).unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let cx = &mut Context::from_waker(&waker);
    let Poll::Ready(Ok(first)) = ours.poll_begin(cx) else { panic!("nobody uses it") };
    assert_eq!(first.write_at(b"ink", 0).unwrap(), 3);
    assert!(theirs.poll_begin(cx).is_pending());
    let Poll::Ready(Err(busy)) = third.poll_begin(cx) else { panic!("two wait") };
    assert!(busy.get_ref().is_some_and(|inner| inner.is::<Busy>()));
    // The end of an operation may come from another thread.
    std::thread::scope(|threads| _ = threads.spawn(|| drop(first)));
    assert_eq!(count.0.load(Ordering::Acquire), 1);
    let Poll::Ready(Ok(second)) = theirs.poll_begin(cx) else { panic!("it was woken for nothing") };
    assert_eq!(second.metadata().unwrap().length, 3);
    drop(second);
    assert!(matches!(third.poll_begin(cx), Poll::Ready(Ok(_))));
}

#[test]
fn a_file_whose_last_id_closes_under_an_operation_closes_with_that() {
    let (table, file, closed) = paper();
    let ours = table.insert(file, Some(lane(1)), 0).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(running)) = ours.poll_begin(cx) else { panic!("nobody uses it") };
    assert_eq!(table.release_owner(lane(1)).descriptors, 1);
    assert_eq!(table.counts().open, 0);
    assert!(!closed.load(Ordering::Acquire));
    let Poll::Ready(Err(error)) = ours.poll_begin(cx) else { panic!("it is closed") };
    let stale = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(stale, Some(&StaleId(ours.id())));
    running.write_at(b"last", 0).unwrap();
    drop(running);
    assert!(closed.load(Ordering::Acquire), "though a handle is left");
}

#[test]
fn who_waits_for_a_file_that_closes_is_told() {
    let (table, file, closed) = paper();
    let ours = table.insert(file, None, 0).unwrap();
    let by_id = table.lookup(ours.id()).unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let cx = &mut Context::from_waker(&waker);
    let Poll::Ready(Ok(running)) = ours.poll_begin(cx) else { panic!("nobody uses it") };
    assert!(by_id.poll_begin(cx).is_pending());
    drop(ours);
    assert_eq!(count.0.load(Ordering::Acquire), 1);
    assert!(matches!(by_id.poll_begin(cx), Poll::Ready(Err(_))));
    assert!(!closed.load(Ordering::Acquire));
    drop(running);
    assert!(closed.load(Ordering::Acquire));
}

#[test]
fn a_file_is_no_stream_and_no_child() {
    let (table, file, _) = paper();
    let ours = table.insert(file, None, 0).unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) = ours.poll_read(cx, &mut [0]) else { panic!("read by readiness") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(ours.with_child(|child| Ok(child.pid())).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!((ours.raw_fd(), ours.local_addr().unwrap_err().kind()), (None, io::ErrorKind::Unsupported));
}

/// Two threads that take turns: nobody sleeps for ever, and no two are at it at once.
#[test]
fn operations_of_two_threads_exclude_each_other_and_none_is_lost() {
    let (table, file, _) = paper();
    let first = table.insert(file, None, 0).unwrap();
    let second = first.dup(None).unwrap();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for ours in [&first, &second] {
            threads.spawn(|| {
                for _ in 0..2000 {
                    let used = futures_block_on(ours.begin()).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0);
                    inside.fetch_sub(1, Ordering::AcqRel);
                    drop(used);
                }
            });
        }
    });
}

/// A waiter that sleeps until it is woken, so that a lost wake-up hangs.
fn futures_block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
