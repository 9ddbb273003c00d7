//! hyper on lanes: HTTP over our sockets by the crate that most of Rust's HTTP is built on.
//!
//! Owns: hyper's `rt` traits for [`TcpStream`], and [`LaneTimer`] and [`LaneExecutor`]. Knows nothing of HTTP. The feature
//! `hyper` turns it on.
//!
//! hyper runs unchanged: it is given a stream, a timer where it is to have timeouts, and an executor where it wants to
//! spawn, which HTTP/1 does not. One lane a connection: it adopts the stream, and its death, at whatever await of a handler,
//! closes the socket and drops all that hyper had of it.
//!
//! ```
//! use hyper::service::service_fn;
//! use hyper::{Request, Response, body::Incoming, server::conn::http1};
//! use laneway_net::http::LaneTimer;
//! use laneway_net::tcp::{TcpListener, TcpStream};
//! use runtime::lane::Spawn;
//! use runtime::mailbox::Inbox;
//!
//! let node = runtime::Runtime::builder().workers(1).build()?;
//! let answer = node.block_on(async {
//!     let mut listener = TcpListener::bind(([127, 0, 0, 1], 0))?;
//!     let address = listener.local_addr()?;
//!     let serve = |_inbox: Inbox<()>| async move {
//!         while let Ok((stream, _peer)) = listener.accept().await {
//!             let connection = |_inbox: Inbox<()>| async move {
//!                 stream.adopt().map_err(std::io::Error::other)?;
//!                 let hello = service_fn(async |_request: Request<Incoming>| {
//!                     Ok::<_, std::convert::Infallible>(Response::new("hello".to_owned()))
//!                 });
//!                 let mut server = http1::Builder::new();
//!                 server.timer(LaneTimer::new());
//!                 server.serve_connection(stream, hello).await.map_err(std::io::Error::other)
//!             };
//!             let _lane = Spawn::new().spawn(connection);
//!         }
//!     };
//!     Spawn::new().spawn(serve).map_err(std::io::Error::other)?;
//!
//!     let mut client = TcpStream::connect(address).await?;
//!     client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await?;
//!     let mut answer = Vec::new();
//!     let mut some = [0; 512];
//!     while let count @ 1.. = client.read(&mut some).await? {
//!         answer.extend_from_slice(&some[..count]);
//!     }
//!     std::io::Result::Ok(answer)
//! })?;
//! assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"\r\n\r\nhello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Executor, Read, ReadBufCursor, Timer, Write};
use runtime::lane::Spawn;
use runtime::mailbox::Inbox;
use runtime::{env, time};

use crate::tcp::TcpStream;

/// The most that one read takes.
const READ_MAX: usize = 16 * 1024;

thread_local! {
    /// Where reads go first. hyper lends memory that nobody has written yet, which safe code can only copy into; a buffer a
    /// thread, not one a connection, so that a connection that waits costs none, and none is filled with zeros for a read. It
    /// is the thread's own memory, not the allocator's, which would charge it to the lane that reads first.
    static BUFFER: RefCell<[u8; READ_MAX]> = const { RefCell::new([0; READ_MAX]) };
}

impl Read for TcpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let room = to.remaining().min(READ_MAX);
        let mut read = |buffer: &mut [u8]| {
            let count = ready!(AsyncRead::poll_read(self.as_mut(), cx, &mut buffer[..room]))?;
            to.put_slice(&buffer[..count]);
            Poll::Ready(Ok(()))
        };
        BUFFER.with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut buffer) => read(&mut *buffer),
            // A read within a read, by the waker of some future.
            Err(_) => read(&mut vec![0; room]),
        })
    }
}

impl Write for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(self, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, cx, buffers)
    }
}

/// hyper's timer on the runtime's clock, so that its timeouts keep to virtual time as well.
///
/// ```
/// use std::time::Duration;
/// use hyper::rt::Timer;
/// use laneway_net::http::LaneTimer;
///
/// let node = runtime::Runtime::builder().workers(1).virtual_time(1).build()?;
/// node.block_on(async {
///     let timer = LaneTimer::new();
///     let begun = timer.now();
///     timer.sleep(Duration::from_secs(3600)).await;
///     assert!(timer.now() - begun >= Duration::from_secs(3600));
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LaneTimer {
    /// The same moment by both clocks: hyper counts in `std`'s instants, whose only use here is to be so far from this one.
    std: std::time::Instant,
    lane: env::Instant,
}

impl LaneTimer {
    /// A timer of the runtime that this code runs in.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[expect(clippy::new_without_default, reason = "it panics outside of a runtime")]
    pub fn new() -> LaneTimer {
        LaneTimer { std: AnyMoment.now(), lane: time::now() }
    }
}

/// Has hyper's own idea of now, from which [`LaneTimer`] counts.
struct AnyMoment;

impl Timer for AnyMoment {
    fn sleep(&self, length: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(time::sleep(length)))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}

impl Timer for LaneTimer {
    fn sleep(&self, length: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(time::sleep(length)))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(time::sleep_until(self.lane + deadline.saturating_duration_since(self.std))))
    }

    fn now(&self) -> std::time::Instant {
        self.std + (time::now() - self.lane)
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: std::time::Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(sleep) => sleep.get_mut().0.reset(self.lane + deadline.saturating_duration_since(self.std)),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// What [`LaneTimer`] gives out.
struct Sleep(time::Sleep);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.get_mut().0).poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}

/// Spawns a lane for each future that hyper wants to have run. HTTP/1 wants none.
///
/// ```
/// use hyper::rt::Executor;
/// use laneway_net::http::LaneExecutor;
/// use runtime::reply;
///
/// let node = runtime::Runtime::builder().workers(1).build()?;
/// let answer = node.block_on(async {
///     let (answerer, mut answer) = reply::port();
///     LaneExecutor.execute(async move { _ = answerer.answer(7) });
///     std::future::poll_fn(|cx| answer.poll_answer(cx)).await
/// });
/// assert!(matches!(answer, Ok(7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneExecutor;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for LaneExecutor {
    /// Where no lane can be spawned (there are as many as may be, or no runtime), the future is dropped unpolled: to
    /// hyper that is a connection that broke. An event of `tracing` says why.
    fn execute(&self, future: F) {
        let lane = |_inbox: Inbox<()>| async move {
            future.await;
        };
        if let Err(error) = Spawn::new().spawn(lane) {
            tracing::error!(%error, "no lane for a future of hyper's");
        }
    }
}
