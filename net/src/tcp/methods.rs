//! What streams and halves have in common, written once: reading, writing, and the questions.
//!
//! All waiting is by the handle's own `poll_*` methods. They take the stream by `&mut`, so each direction has one waiter;
//! a future that was dropped half-way leaves the handle's own place behind, which the next one takes over.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use runtime::env::Descriptor;
use runtime::poll_share;

pub(crate) fn poll_read(from: &Descriptor, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    ready!(poll_share(cx));
    from.poll_read(cx, buffer)
}

pub(crate) fn poll_read_vectored(
    from: &Descriptor,
    cx: &mut Context<'_>,
    buffers: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>> {
    ready!(poll_share(cx));
    from.poll_read_vectored(cx, buffers)
}

pub(crate) fn poll_readable(from: &Descriptor, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    ready!(poll_share(cx));
    from.poll_read_ready(cx)
}

pub(crate) async fn read_exact(from: &Descriptor, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match poll_fn(|cx| poll_read(from, cx, &mut buffer[filled..])).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}

pub(crate) fn poll_write(to: &Descriptor, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    ready!(poll_share(cx));
    to.poll_write(cx, bytes)
}

pub(crate) fn poll_write_vectored(
    to: &Descriptor,
    cx: &mut Context<'_>,
    buffers: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    ready!(poll_share(cx));
    to.poll_write_vectored(cx, buffers)
}

pub(crate) fn poll_writable(to: &Descriptor, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    ready!(poll_share(cx));
    to.poll_write_ready(cx)
}

pub(crate) async fn write_all(to: &Descriptor, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match poll_fn(|cx| poll_write(to, cx, bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

/// Ends the direction of writing; what has no other, as a pipe, closes.
pub(crate) fn close(to: &Descriptor) -> io::Result<()> {
    match to.shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(to.close_now()?),
        // The OS says that the peer has gone, so there is nothing left to end. A descriptor that is closed is an error of
        // the same kind, but not the OS's.
        Err(error) if error.kind() == io::ErrorKind::NotConnected && error.raw_os_error().is_some() => Ok(()),
        other => other,
    }
}

/// The questions, for a type with a method `descriptor`.
macro_rules! answers {
    ($type:ty) => {
        impl $type {
            /// The address of this end.
            ///
            /// # Errors
            ///
            /// The stream is closed, or as the OS gives them.
            pub fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
                self.descriptor().local_addr()
            }

            /// The address of the other end.
            ///
            /// # Errors
            ///
            /// The stream is closed, or the peer has gone, or as the OS gives them.
            pub fn peer_addr(&self) -> std::io::Result<std::net::SocketAddr> {
                self.descriptor().peer_addr()
            }
        }
    };
}

/// Reading, for a type with a method `descriptor`.
macro_rules! reads {
    ($type:ty) => {
        impl $type {
            /// Reads some bytes; 0 is the end of the stream, or an empty `buffer`.
            ///
            /// *Cancellation*: nothing was read.
            ///
            /// # Errors
            ///
            /// The stream is closed ([`StaleId`](runtime::StaleId)), somebody else waits to read it by its id
            /// ([`Busy`](runtime::env::Busy)), or as the OS gives them.
            pub async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let from = self.descriptor();
                std::future::poll_fn(|cx| $crate::tcp::methods::poll_read(from, cx, buffer)).await
            }

            /// Fills `buffer`.
            ///
            /// *Cancellation*: what was read until then is in `buffer`, and how much that is is lost.
            ///
            /// # Errors
            ///
            /// `UnexpectedEof` if the stream ends first; or as [`read`](Self::read).
            pub async fn read_exact(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
                $crate::tcp::methods::read_exact(self.descriptor(), buffer).await
            }

            /// Waits until reading is worth a try. That is a hint: the read may wait all the same.
            ///
            /// *Cancellation*: nothing is lost.
            ///
            /// # Errors
            ///
            /// The stream is closed, or somebody else waits to read it by its id.
            pub async fn readable(&mut self) -> std::io::Result<()> {
                let from = self.descriptor();
                std::future::poll_fn(|cx| $crate::tcp::methods::poll_readable(from, cx)).await
            }
        }

        impl futures_io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffer: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::tcp::methods::poll_read(self.descriptor(), cx, buffer)
            }

            fn poll_read_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffers: &mut [std::io::IoSliceMut<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::tcp::methods::poll_read_vectored(self.descriptor(), cx, buffers)
            }
        }
    };
}

/// Writing, for a type with a method `descriptor`.
macro_rules! writes {
    ($type:ty) => {
        impl $type {
            /// Writes some bytes and says how many.
            ///
            /// *Cancellation*: nothing was written.
            ///
            /// # Errors
            ///
            /// The stream is closed ([`StaleId`](runtime::StaleId)), somebody else waits to write to it by its id
            /// ([`Busy`](runtime::env::Busy)), or as the OS gives them.
            pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let to = self.descriptor();
                std::future::poll_fn(|cx| $crate::tcp::methods::poll_write(to, cx, bytes)).await
            }

            /// Writes from several buffers in order, as [`write`](Self::write) does.
            ///
            /// *Cancellation*: nothing was written.
            ///
            /// # Errors
            ///
            /// As `write`.
            pub async fn write_vectored(&mut self, buffers: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                let to = self.descriptor();
                std::future::poll_fn(|cx| $crate::tcp::methods::poll_write_vectored(to, cx, buffers)).await
            }

            /// Writes all of `bytes`. They are with the OS then, not with the peer.
            ///
            /// *Cancellation*: a part may have been written, and how much is not known.
            ///
            /// # Errors
            ///
            /// As [`write`](Self::write); a part may have been written.
            pub async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
                $crate::tcp::methods::write_all(self.descriptor(), bytes).await
            }

            /// Waits until writing is worth a try. That is a hint: the write may wait all the same.
            ///
            /// *Cancellation*: nothing is lost.
            ///
            /// # Errors
            ///
            /// The stream is closed, or somebody else waits to write to it by its id.
            pub async fn writable(&mut self) -> std::io::Result<()> {
                let to = self.descriptor();
                std::future::poll_fn(|cx| $crate::tcp::methods::poll_writable(to, cx)).await
            }
        }

        impl futures_io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::tcp::methods::poll_write(self.descriptor(), cx, bytes)
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffers: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $crate::tcp::methods::poll_write_vectored(self.descriptor(), cx, buffers)
            }

            /// Ready at once: nothing is kept back here.
            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }

            /// Ends the direction of writing, as `shutdown(Shutdown::Write)`; fine also where the peer has gone.
            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                _cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready($crate::tcp::methods::close(self.descriptor()))
            }
        }
    };
}

pub(crate) use {answers, reads, writes};
