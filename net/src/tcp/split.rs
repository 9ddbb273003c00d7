//! The two directions of a stream, apart.
//!
//! Owns: the halves. One handle stands behind both: it waits in one place a direction, so they do not get in each other's
//! way.

use std::sync::Arc;

use runtime::env::Descriptor;

use super::methods::{self, answers, reads, writes};
use crate::handle::identity;

/// The reading direction of a stream, lent by [`TcpStream::halves`](super::TcpStream::halves).
#[derive(Debug)]
pub struct ReadHalf<'a>(pub(super) &'a Descriptor);

/// The writing direction of a stream, lent by [`TcpStream::halves`](super::TcpStream::halves). Dropping it ends nothing.
#[derive(Debug)]
pub struct WriteHalf<'a>(pub(super) &'a Descriptor);

/// The reading direction of a stream, from [`TcpStream::into_split`](super::TcpStream::into_split).
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<Descriptor>);

/// The writing direction of a stream, from [`TcpStream::into_split`](super::TcpStream::into_split). Dropping it ends that
/// direction: the peer reads the end of the stream.
#[derive(Debug)]
pub struct OwnedWriteHalf(Arc<Descriptor>);

pub(super) fn owned(descriptor: Descriptor) -> (OwnedReadHalf, OwnedWriteHalf) {
    let shared = Arc::new(descriptor);
    (OwnedReadHalf(Arc::clone(&shared)), OwnedWriteHalf(shared))
}

impl ReadHalf<'_> {
    fn descriptor(&self) -> &Descriptor {
        self.0
    }
}

impl WriteHalf<'_> {
    fn descriptor(&self) -> &Descriptor {
        self.0
    }
}

impl OwnedReadHalf {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

impl OwnedWriteHalf {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        // Whoever drops this has given up the stream; that it was closed already is no news to them.
        let _gone = methods::close(&self.0);
    }
}

identity!(ReadHalf<'_>);
identity!(WriteHalf<'_>);
identity!(OwnedReadHalf);
identity!(OwnedWriteHalf);
answers!(ReadHalf<'_>);
answers!(WriteHalf<'_>);
answers!(OwnedReadHalf);
answers!(OwnedWriteHalf);
reads!(ReadHalf<'_>);
reads!(OwnedReadHalf);
writes!(WriteHalf<'_>);
writes!(OwnedWriteHalf);
