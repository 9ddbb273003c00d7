//! Listeners.
//!
//! Owns: [`TcpListener`], and what an error of `accept` means for the next call.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use runtime::env::{Descriptor, ListenOptions};
use runtime::poll_share;
use runtime::time::{Sleep, sleep};

use super::stream::TcpStream;
use crate::handle::{self, handles, identity};

/// How long a listener rests after an error, so that a loop that just tries again does not spin while the process is
/// out of file descriptors.
pub(super) const REST: Duration = Duration::from_millis(50);

/// A socket that accepts connections. Closed when dropped, and at the death of the lane that owns it.
///
/// ```
/// use laneway_net::tcp::{TcpListener, TcpStream};
///
/// let node = runtime::Runtime::builder().workers(1).build()?;
/// node.block_on(async {
///     let mut listener = TcpListener::bind(([127, 0, 0, 1], 0))?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (_server, peer) = listener.accept().await?;
///     assert_eq!(peer, client.local_addr()?);
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpListener {
    descriptor: Descriptor,
    rest: Option<Sleep>,
}

impl TcpListener {
    /// Listens on an address, with room for 1024 connections that wait to be accepted; port 0 takes a free one.
    ///
    /// The address can be taken again at once after the listener was closed. Where an IPv6 listener on the unspecified
    /// address takes IPv4 connections as well is for the OS to say.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, and others as the OS gives them; [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`.
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<TcpListener> {
        TcpListener::bind_with(address, ListenOptions::new())
    }

    /// As [`bind`](TcpListener::bind), with another backlog.
    ///
    /// # Errors
    ///
    /// As `bind`.
    pub fn bind_with(address: impl Into<SocketAddr>, options: ListenOptions) -> io::Result<TcpListener> {
        let node = handle::here()?;
        let source = node.env().tcp_listen(address.into(), &options)?;
        Ok(TcpListener::of(handle::open(&node, source)?))
    }

    fn of(descriptor: Descriptor) -> TcpListener {
        TcpListener { descriptor, rest: None }
    }

    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.descriptor
    }

    fn into_descriptor(self) -> Descriptor {
        self.descriptor
    }

    /// The address that is listened on.
    ///
    /// # Errors
    ///
    /// The listener is closed, or as the OS gives them.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.descriptor.local_addr()
    }

    /// Takes the next connection and where it came from. The lane that calls owns the stream: see
    /// [`TcpStream::adopt`].
    ///
    /// Connections that broke before they were taken are passed over. After an error the next call rests for 50 ms
    /// before it tries, so a loop that only goes on does not spin; the listener stays usable.
    ///
    /// *Cancellation*: no connection is lost.
    ///
    /// # Errors
    ///
    /// The listener is closed ([`StaleId`](runtime::StaleId)); the OS is out of file descriptors (`EMFILE`, `ENFILE`) or
    /// memory, and the connection waits on; the runtime cannot take the socket, and the connection is closed;
    /// [`NotInRuntime`](runtime::NotInRuntime), in an error of kind `Other`; or as the OS gives them.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`accept`](TcpListener::accept), for hand-written futures.
    ///
    /// # Errors
    ///
    /// As `accept`.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        if let Some(rest) = &mut self.rest {
            ready!(Pin::new(rest).poll(cx));
            self.rest = None;
        }
        // Before a connection is taken, which would be lost.
        let node = handle::here()?;
        loop {
            ready!(poll_share(cx));
            let taken = ready!(self.descriptor.poll_accept(cx))
                .and_then(|(source, peer)| Ok((TcpStream::of(handle::open(&node, source)?), peer)));
            match taken {
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.rest = Some(sleep(REST));
                    return Poll::Ready(Err(error));
                }
                Ok(connection) => return Poll::Ready(Ok(connection)),
            }
        }
    }
}

identity!(TcpListener);
handles!(TcpListener);

/// Whether the error tells of a connection that broke while it waited, and of nothing that concerns the next one.
/// accept(2) wants these treated as "try again".
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    error.raw_os_error().is_some()
        && matches!(
            error.kind(),
            Kind::ConnectionAborted
                | Kind::ConnectionReset
                | Kind::ConnectionRefused
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NetworkDown
                | Kind::TimedOut
        )
}
