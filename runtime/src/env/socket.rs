//! Streams and listeners as an env offers them, and the sockets of the OS.
//!
//! Owns: the traits of a source that is waited for, and their implementations on sockets of `mio`. Knows nothing of ids' owners, waiters or lanes: a
//! source is tried, and answers at once.

use std::fmt::Debug;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};

use mio::Interest;
use mio::net::{TcpListener, TcpStream};

use super::file::SharedFile;
use super::process::ChildSource;
use super::reactor::{Registrar, Token};

/// What can be registered with a reactor.
///
/// All methods are called under the descriptor's lock: they must not block, wake anybody or call back.
pub trait EventSource: Debug + Send + Sync {
    /// Has all edges of this source, for reading and writing, reported under `token`, and its present state at once.
    ///
    /// # Errors
    ///
    /// It is registered already, or the host has no room; nothing changed.
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()>;

    /// Has no more edges reported. What is under way may still come; its token is stale then.
    ///
    /// # Errors
    ///
    /// It is not registered with this registrar.
    fn deregister(&mut self, registrar: &Registrar) -> io::Result<()>;

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// As the OS gives them; `Unsupported` for what has no address.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The OS's number for this source, where it has one of its own: only to be compared with what the OS lists.
    fn raw_fd(&self) -> Option<i32>;
}

/// A stream of bytes that never blocks: what cannot be done now gives `WouldBlock`, and what never can, as a read of what
/// is only written to, `Unsupported`.
pub trait StreamSource: EventSource {
    /// Reads some bytes; `Ok(0)` is the end, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `Interrupted`, or as the OS gives them.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Reads into several buffers in order, as [`read`](StreamSource::read) does.
    ///
    /// # Errors
    ///
    /// As `read`.
    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;

    /// Writes some bytes and says how many.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `Interrupted`, or as the OS gives them.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes from several buffers in order, as [`write`](StreamSource::write) does.
    ///
    /// # Errors
    ///
    /// As `write`.
    fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends one direction or both; what was written before still goes out.
    ///
    /// # Errors
    ///
    /// As the OS gives them; `NotConnected` if the peer has gone.
    fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The error that is pending, taken away.
    ///
    /// # Errors
    ///
    /// It could not be asked for.
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` while the connection is still to come.
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn nodelay(&self) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sets whether small writes go out at once.
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn set_nodelay(&self, _nodelay: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether a transfer of fewer bytes than asked for proves that the next would give `WouldBlock` and that an edge
    /// will come when it would not: it then saves the attempt. If in doubt, `false`.
    fn short_means_drained(&self) -> bool {
        false
    }
}

/// A source of streams.
pub trait ListenerSource: EventSource {
    /// The next connection and where it came from.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if none is waiting. Others, as `ConnectionAborted` or the lack of file descriptors, concern that one
    /// connection: the listener stays usable.
    fn accept(&self) -> io::Result<(Box<dyn StreamSource>, SocketAddr)>;
}

/// What a descriptor stands for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// A stream of bytes.
    Stream(Box<dyn StreamSource>),
    /// A source of streams.
    Listener(Box<dyn ListenerSource>),
    /// A file.
    File(SharedFile),
    /// A process that this one has started.
    Child(Box<dyn ChildSource>),
}

impl From<Box<dyn StreamSource>> for Source {
    fn from(stream: Box<dyn StreamSource>) -> Source {
        Source::Stream(stream)
    }
}

impl From<Box<dyn ListenerSource>> for Source {
    fn from(listener: Box<dyn ListenerSource>) -> Source {
        Source::Listener(listener)
    }
}

impl From<SharedFile> for Source {
    fn from(file: SharedFile) -> Source {
        Source::File(file)
    }
}

impl From<Box<dyn ChildSource>> for Source {
    fn from(child: Box<dyn ChildSource>) -> Source {
        Source::Child(child)
    }
}

impl Source {
    /// What of it is registered; nothing of a file, which is always ready, as far as the OS knows.
    fn events(&self) -> Option<&dyn EventSource> {
        match self {
            Source::Stream(stream) => Some(&**stream),
            Source::Listener(listener) => Some(&**listener),
            Source::File(_) => None,
            Source::Child(child) => Some(&**child),
        }
    }

    fn events_mut(&mut self) -> Option<&mut dyn EventSource> {
        match self {
            Source::Stream(stream) => Some(&mut **stream),
            Source::Listener(listener) => Some(&mut **listener),
            Source::File(_) => None,
            Source::Child(child) => Some(&mut **child),
        }
    }

    pub(crate) fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        self.events_mut().map_or(Ok(()), |events| events.register(registrar, token))
    }

    pub(crate) fn deregister(&mut self, registrar: &Registrar) -> io::Result<()> {
        self.events_mut().map_or(Ok(()), |events| events.deregister(registrar))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.events().ok_or(io::ErrorKind::Unsupported)?.local_addr()
    }

    pub(crate) fn raw_fd(&self) -> Option<i32> {
        self.events()?.raw_fd()
    }

    pub(crate) fn stream(&self) -> io::Result<&dyn StreamSource> {
        match self {
            Source::Stream(stream) => Ok(&**stream),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no stream")),
        }
    }

    pub(crate) fn listener(&self) -> io::Result<&dyn ListenerSource> {
        match self {
            Source::Listener(listener) => Ok(&**listener),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no listener")),
        }
    }

    pub(crate) fn file(&self) -> io::Result<&SharedFile> {
        match self {
            Source::File(file) => Ok(file),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no file")),
        }
    }

    pub(crate) fn child(&self) -> io::Result<&dyn ChildSource> {
        match self {
            Source::Child(child) => Ok(&**child),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no child process")),
        }
    }
}

/// How to listen.
///
/// ```
/// use laneway_runtime::env::ListenOptions;
/// assert_eq!(ListenOptions::new().backlog(64), ListenOptions { backlog: 64 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// How many connections may wait to be accepted; the OS may allow fewer. Default 1024.
    pub backlog: u16,
}

impl ListenOptions {
    /// The defaults.
    pub const fn new() -> ListenOptions {
        ListenOptions { backlog: 1024 }
    }

    /// Sets how many connections may wait to be accepted.
    pub const fn backlog(self, backlog: u16) -> ListenOptions {
        ListenOptions { backlog }
    }
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions::new()
    }
}

/// A listener of the OS. Its address can be taken again at once after it was closed (`SO_REUSEADDR`, but on Windows,
/// where that word would allow two listeners on one address).
pub(crate) fn tcp_listen(address: SocketAddr, options: &ListenOptions) -> io::Result<Box<dyn ListenerSource>> {
    use socket2::{Domain, Protocol, Socket, Type};

    // `mio` fixes the backlog at 128, which a burst of clients overruns; each one too many waits for a second or more.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if cfg!(not(windows)) {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog.into())?;
    Ok(Box::new(OsListener(TcpListener::from_std(net::TcpListener::from(socket)))))
}

/// A stream of the OS whose connection has been begun.
pub(crate) fn tcp_connect(address: SocketAddr) -> io::Result<Box<dyn StreamSource>> {
    Ok(Box::new(OsStream(TcpStream::connect(address)?)))
}

#[derive(Debug)]
struct OsListener(TcpListener);

impl EventSource for OsListener {
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        registrar.mio().register(&mut self.0, token.to_mio(), Interest::READABLE)
    }

    fn deregister(&mut self, registrar: &Registrar) -> io::Result<()> {
        registrar.mio().deregister(&mut self.0)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn raw_fd(&self) -> Option<i32> {
        raw_fd(&self.0)
    }
}

impl ListenerSource for OsListener {
    fn accept(&self) -> io::Result<(Box<dyn StreamSource>, SocketAddr)> {
        let (stream, peer) = self.0.accept()?;
        Ok((Box::new(OsStream(stream)), peer))
    }
}

#[derive(Debug)]
struct OsStream(TcpStream);

impl EventSource for OsStream {
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        registrar.mio().register(&mut self.0, token.to_mio(), Interest::READABLE | Interest::WRITABLE)
    }

    fn deregister(&mut self, registrar: &Registrar) -> io::Result<()> {
        registrar.mio().deregister(&mut self.0)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn raw_fd(&self) -> Option<i32> {
        raw_fd(&self.0)
    }
}

impl StreamSource for OsStream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.0).read_vectored(buffers)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(buffers)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.take_error()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    fn nodelay(&self) -> io::Result<bool> {
        self.0.nodelay()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.set_nodelay(nodelay)
    }

    fn short_means_drained(&self) -> bool {
        // True of epoll and kqueue with edges (epoll(7), question 9); other pollers of `mio` emulate edges.
        cfg!(any(
            target_os = "linux",
            target_os = "android",
            target_os = "macos",
            target_os = "ios",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "dragonfly",
        ))
    }
}

#[cfg(unix)]
fn raw_fd(socket: &impl std::os::fd::AsRawFd) -> Option<i32> {
    Some(socket.as_raw_fd())
}

#[cfg(not(unix))]
fn raw_fd<T>(_socket: &T) -> Option<i32> {
    None
}
