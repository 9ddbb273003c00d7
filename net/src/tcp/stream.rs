//! Streams.
//!
//! Owns: [`TcpStream`]; what it shares with its halves is in `methods`.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};

use runtime::env::Descriptor;

use super::methods::{answers, reads, writes};
use super::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::handle::{self, handles, identity};

/// A connection. Closed when dropped, and at the death of the lane that owns it.
#[derive(Debug)]
pub struct TcpStream {
    descriptor: Descriptor,
}

impl TcpStream {
    pub(super) fn of(descriptor: Descriptor) -> TcpStream {
        TcpStream { descriptor }
    }

    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.descriptor
    }

    fn into_descriptor(self) -> Descriptor {
        self.descriptor
    }

    /// Connects to an address. The OS's patience ends after minutes: put a [`timeout`](runtime::time::timeout) around.
    ///
    /// *Cancellation*: the attempt is given up.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, and others as the OS gives them; [`NotInRuntime`](runtime::NotInRuntime), in one of kind
    /// `Other`; [`StaleId`](runtime::StaleId), in one of kind `NotConnected`, if the owner dies meanwhile.
    pub async fn connect(address: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        let stream = TcpStream::begin(address.into())?;
        poll_fn(|cx| stream.descriptor.poll_connected(cx)).await?;
        Ok(stream)
    }

    /// A stream that is not connected yet.
    fn begin(address: SocketAddr) -> io::Result<TcpStream> {
        let node = handle::here()?;
        let source = node.env().tcp_connect(address)?;
        Ok(TcpStream::of(handle::open(&node, source)?))
    }

    /// Whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The stream is closed, or as the OS gives them.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.descriptor.nodelay()
    }

    /// Sets whether small writes go out at once; at first they do not.
    ///
    /// # Errors
    ///
    /// The stream is closed, or as the OS gives them.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.descriptor.set_nodelay(nodelay)
    }

    /// Ends one direction of the stream or both. What was written before still goes out; this does not wait for it.
    ///
    /// # Errors
    ///
    /// The stream is closed, or as the OS gives them; `NotConnected` if the peer has gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.descriptor.shutdown(how)
    }

    /// Lends the two directions, to be used at the same time within one lane. (It is not called `split`, since where
    /// `futures`' `AsyncReadExt` is in scope that one would be taken, which locks and allocates.)
    pub fn halves(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(&self.descriptor), WriteHalf(&self.descriptor))
    }

    /// Parts the two directions for good. The stream closes when both are dropped, and before that, as ever, when its
    /// owner dies, which stays one lane though the halves be in two.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        super::split::owned(self.descriptor)
    }
}

identity!(TcpStream);
handles!(TcpStream);
answers!(TcpStream);
reads!(TcpStream);
writes!(TcpStream);
