//! What the OS will not do on demand: operations that take until the test lets them end.

use std::io::SeekFrom;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use actors::{Lane, Spawn};
use futures_io::{AsyncRead, AsyncWrite};
use parking_lot::{Condvar, Mutex};
use runtime::env::{Env, Idle, Instant, ListenOptions, ListenerSource, OsEnv, Reactor, StreamSource};
use runtime::{Runtime, StaleId, reply, yield_now};

use super::*;

/// The OS, with one file that is in memory and whose operations wait at a gate.
#[derive(Debug)]
struct Gated {
    os: OsEnv,
    paper: Arc<Paper>,
}

#[derive(Debug, Default)]
struct Paper {
    state: Mutex<State>,
    gate: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Operations that may pass.
    permits: usize,
    /// Operations that wait for that.
    waiting: usize,
    passed: usize,
    /// Handles on it.
    open: usize,
}

impl Paper {
    fn permit(&self, count: usize) {
        self.state.lock().permits += count;
        self.gate.notify_all();
    }

    /// Passes the gate and does `what` with the bytes.
    fn pass<T>(&self, what: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.gate.wait_while(&mut state, |state| state.permits == 0);
        state.waiting -= 1;
        state.permits -= 1;
        state.passed += 1;
        Ok(what(&mut state.bytes))
    }

    fn passed(&self) -> usize {
        self.state.lock().passed
    }

    fn open(&self) -> usize {
        self.state.lock().open
    }

    fn text(&self) -> String {
        String::from_utf8(self.state.lock().bytes.clone()).unwrap()
    }
}

#[derive(Debug)]
struct Page(Arc<Paper>);

impl Drop for Page {
    fn drop(&mut self) {
        self.0.state.lock().open -= 1;
    }
}

impl FileSource for Page {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.pass(|bytes| {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        })
    }

    fn write_at(&self, new: &[u8], offset: u64) -> io::Result<usize> {
        self.0.pass(|bytes| {
            let end = offset as usize + new.len();
            let length = bytes.len().max(end);
            bytes.resize(length, b'.');
            bytes[offset as usize..end].copy_from_slice(new);
            new.len()
        })
    }

    fn sync(&self, _: bool) -> io::Result<()> {
        self.0.pass(|_| ())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.pass(|bytes| bytes.resize(length as usize, b'.'))
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        let length = self.0.pass(|bytes| bytes.len() as u64)?;
        let mut metadata = FileMetadata::default();
        metadata.length = length;
        Ok(metadata)
    }
}

impl Env for Gated {
    fn now(&self) -> Instant {
        self.os.now()
    }

    fn unix_time(&self) -> Duration {
        self.os.unix_time()
    }

    fn fill_entropy(&self, bytes: &mut [u8]) {
        self.os.fill_entropy(bytes);
    }

    fn spawn_thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        self.os.spawn_thread(name, work)
    }

    fn reactor(&self) -> io::Result<Reactor> {
        self.os.reactor()
    }

    fn tcp_listen(&self, address: SocketAddr, options: &ListenOptions) -> io::Result<Box<dyn ListenerSource>> {
        self.os.tcp_listen(address, options)
    }

    fn tcp_connect(&self, address: SocketAddr) -> io::Result<Box<dyn StreamSource>> {
        self.os.tcp_connect(address)
    }

    fn open_file(&self, _: &Path, _: &FileOptions) -> io::Result<Box<dyn FileSource>> {
        self.paper.state.lock().open += 1;
        Ok(Box::new(Page(self.paper.clone())))
    }

    fn idle_until(&self, next: Option<Instant>) -> Idle {
        self.os.idle_until(next)
    }
}

fn gated(text: &str) -> (Runtime, Arc<Paper>) {
    let paper = Arc::<Paper>::default();
    paper.state.lock().bytes = text.into();
    let env = Gated { os: OsEnv::new(), paper: paper.clone() };
    (Runtime::builder().workers(1).env(Arc::new(env)).build().unwrap(), paper)
}

/// Polls once and drops, with the gate closed.
fn begin(future: impl Future) {
    assert!(std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// As `begin`, and drops only when the operation stands at the gate: one that waits for a thread is called off by the drop.
async fn begin_for_good(paper: &Paper, future: impl Future) {
    let mut future = std::pin::pin!(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    until(paper, |state| state.waiting == 1).await;
}

async fn until(paper: &Paper, mut is_so: impl FnMut(&State) -> bool) {
    while !is_so(&paper.state.lock()) {
        yield_now().await;
    }
}

#[test]
fn an_operation_that_was_dropped_leaves_the_position_and_the_next_one_waits_for_its_end() {
    let (node, paper) = gated("abcdef");
    node.block_on(async {
        let mut file = File::open("paper").await.unwrap();
        let mut two = [0; 2];
        begin_for_good(&paper, file.read(&mut two)).await;
        // The one that runs is not called off, and keeps the next one from the file.
        begin(file.read(&mut two));
        assert_eq!((file.position(), paper.state.lock().waiting), (0, 1));
        paper.permit(2);
        file.read_exact(&mut two).await.unwrap();
        assert_eq!((&two, paper.passed()), (b"ab", 2));

        begin_for_good(&paper, file.write(b"XX")).await;
        paper.permit(2);
        file.write_all(b"YY").await.unwrap();
        // In this order, at one position.
        assert_eq!((paper.text().as_str(), paper.passed(), file.position()), ("abYYef", 4, 4));

        begin_for_good(&paper, file.set_len(3)).await;
        paper.permit(2);
        assert_eq!(file.metadata().await.unwrap().length, 3);
        begin_for_good(&paper, file.sync_all()).await;
        drop(file);
        assert_eq!((paper.open(), node.handle().metrics().descriptors), (1, 0));
        paper.permit(1);
        until(&paper, |state| state.open == 0).await;
    });
}

#[test]
fn by_the_traits_what_has_the_same_bytes_takes_a_write_up_and_others_do_not() {
    let (node, paper) = gated("");
    node.block_on(async {
        let mut file = File::create("paper").await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        let write = async |file: &mut File, bytes: &[u8]| {
            std::future::poll_fn(|cx| Pin::new(&mut *file).poll_write(cx, bytes)).await.unwrap()
        };
        assert!(Pin::new(&mut file).poll_write(cx, b"12").is_pending());
        until(&paper, |state| state.waiting == 1).await;
        paper.permit(1);
        assert_eq!((write(&mut file, b"123").await, file.position()), (2, 2));
        assert_eq!((paper.text().as_str(), paper.passed()), ("12", 1));

        assert!(Pin::new(&mut file).poll_write(cx, b"34").is_pending());
        until(&paper, |state| state.waiting == 1).await;
        paper.permit(2);
        assert_eq!((write(&mut file, b"5").await, file.position()), (1, 3));
        assert_eq!((paper.text().as_str(), paper.passed()), ("1254", 3));

        // A read that comes between drops the write, and waits for it.
        assert!(Pin::new(&mut file).poll_write(cx, b"6").is_pending());
        until(&paper, |state| state.waiting == 1).await;
        paper.permit(2);
        let mut one = [0; 1];
        let count = std::future::poll_fn(|cx| Pin::new(&mut file).poll_read(cx, &mut one)).await.unwrap();
        assert_eq!((count, one[0], file.position()), (1, b'6', 4));

        // A read that is taken up with less room gives what fits, and the rest again.
        file.seek(SeekFrom::Start(0)).await.unwrap();
        let mut four = [0; 4];
        assert!(Pin::new(&mut file).poll_read(cx, &mut four).is_pending());
        until(&paper, |state| state.waiting == 1).await;
        paper.permit(1);
        let count = std::future::poll_fn(|cx| Pin::new(&mut file).poll_read(cx, &mut one)).await.unwrap();
        assert_eq!((count, one[0], file.position()), (1, b'1', 1));
        paper.permit(1);
        let count = file.read(&mut four).await.unwrap();
        assert_eq!((count, &four[..3]), (3, &b"256"[..]));
    });
}

#[test]
fn a_killed_lane_s_operation_ends_and_then_the_file_closes() {
    let (node, paper) = gated("");
    node.block_on(async {
        let lane = Spawn::new().spawn(async |_: Lane<()>| {
            let mut file = File::create("paper").await?;
            file.write_all(b"last words").await
        });
        until(&paper, |state| state.waiting == 1).await;
        let lane = lane.unwrap().id();
        actors::kill(lane);
        actors::join(lane).await;
        assert_eq!(node.handle().metrics().descriptors, 0);
        assert_eq!((paper.open(), paper.text().as_str()), (1, ""));
        paper.permit(1);
        until(&paper, |state| state.open == 0).await;
        assert_eq!(paper.text(), "last words");
    });
}

#[test]
fn whoever_has_another_id_of_the_file_waits_for_what_the_dead_began() {
    let (node, paper) = gated("");
    node.block_on(async {
        let mut ours = File::create("paper").await.unwrap();
        let (tell, mut told) = reply::port();
        let lane = Spawn::new().spawn(async |mut lane: Lane<runtime::Id>| {
            let Some(id) = lane.recv().await else { return io::Result::Ok(()) };
            let mut file = File::from_id(id)?;
            let _heard = tell.answer(());
            file.write_all(b"theirs").await
        });
        let lane = lane.unwrap();
        let id = ours.dup_for(lane).unwrap();
        lane.send(id).await.unwrap();
        std::future::poll_fn(|cx| told.poll_answer(cx)).await.unwrap();
        until(&paper, |state| state.waiting == 1).await;
        actors::kill(lane.id());
        actors::join(lane.id()).await;
        let stale = File::lookup(id).unwrap_err();
        assert_eq!(stale.get_ref().and_then(|inner| inner.downcast_ref()), Some(&StaleId(id)));
        begin(ours.metadata());
        paper.permit(2);
        assert_eq!(ours.metadata().await.unwrap().length, 6);
    });
}
