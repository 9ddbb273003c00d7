//! [`File`]: one file, with a position.
//!
//! # Invariants
//! 1. The position moves when the outcome of a read or a write is given to the caller. Until then the operation is as if it
//!    had not been, but for the bytes that a write left on the disk.
//! 2. `under_way` is what a `poll_*` of the traits has begun and not told of. All others drop it first and begin after it:
//!    the file itself keeps the order, since one operation runs on it at a time.

use std::fmt;
use std::io::{self, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};
use runtime::env::{Descriptor, FileMetadata, FileOptions, FileSource, FileUse, SharedFile};
use runtime::{poll_share, spawn_blocking};

use super::{CHUNK, retry};
use crate::handle::{self, handles, here, identity};

/// A file. Closed when dropped, and at the death of the lane that owns it.
pub struct File {
    descriptor: Descriptor,
    position: u64,
    under_way: Option<UnderWay>,
}

/// What was begun by a `poll_*` of the traits.
struct UnderWay {
    what: What,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Read,
    Write,
    Length,
    Sync,
}

/// What came of it, with the bytes that were read, or were to be written.
struct Outcome {
    bytes: Vec<u8>,
    result: io::Result<u64>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("descriptor", &self.descriptor)
            .field("position", &self.position)
            .field("under_way", &self.under_way.is_some())
            .finish()
    }
}

impl File {
    /// Opens a file to read it.
    ///
    /// *Cancellation*: it may be opened all the same, and is closed.
    ///
    /// # Errors
    ///
    /// `NotFound`, and others as the OS gives them; [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(path, FileOptions::new().read(true)).await
    }

    /// Opens a file to write to it: made if it is not there, emptied if it is.
    ///
    /// *Cancellation*: as [`open`](File::open).
    ///
    /// # Errors
    ///
    /// As [`open`](File::open).
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(path, FileOptions::new().write(true).create(true).truncate(true)).await
    }

    /// Opens a file as `options` say.
    ///
    /// *Cancellation*: as [`open`](File::open).
    ///
    /// # Errors
    ///
    /// As [`open`](File::open); `InvalidInput` for options that make no sense together.
    pub async fn open_with(path: impl AsRef<Path>, options: FileOptions) -> io::Result<File> {
        let node = here()?;
        let (env, path) = (node.env(), path.as_ref().to_owned());
        let source = spawn_blocking(move || env.open_file(&path, &options)).await?;
        Ok(File::of(handle::open(&node, SharedFile::new(source))?))
    }

    /// Reads some bytes; 0 is the end of the file, or an empty `buffer`.
    ///
    /// *Cancellation*: nothing was read.
    ///
    /// # Errors
    ///
    /// The file is closed ([`StaleId`](runtime::StaleId)), somebody else waits for their turn at it
    /// ([`Busy`](runtime::env::Busy)), or as the OS gives them.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (position, wanted) = (self.position, buffer.len().min(CHUNK));
        let Outcome { bytes, result } = self.operate(move |file| read_at(file, wanted, position)).await?;
        let count = result? as usize;
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }

    /// Fills `buffer`.
    ///
    /// *Cancellation*: what was read until then is in `buffer`, and the position is behind it.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the file ends first; or as [`read`](File::read).
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// Writes some bytes and says how many. They are with the OS then, not on the disk.
    ///
    /// *Cancellation*: they may have been written; the position is as it was.
    ///
    /// # Errors
    ///
    /// As [`read`](File::read).
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (position, bytes) = (self.position, bytes[..bytes.len().min(CHUNK)].to_vec());
        let outcome = self.operate(move |file| write_at(file, bytes, position)).await?;
        let count = outcome.result?;
        self.position += count;
        Ok(count as usize)
    }

    /// Writes all of `bytes`.
    ///
    /// *Cancellation*: a part may have been written, and the position is behind what is known of it.
    ///
    /// # Errors
    ///
    /// As [`write`](File::write); a part may have been written.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    /// Sets the position, which may be behind the end, and says where it is then.
    ///
    /// *Cancellation*: it is as it was.
    ///
    /// # Errors
    ///
    /// `InvalidInput` before the beginning; or as [`read`](File::read).
    pub async fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = match to {
            SeekFrom::End(_) => self.metadata().await?.length,
            _ => 0,
        };
        self.seek_to(to, end)
    }

    /// The position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Has all that was written reach the disk, and what is known of the file as well.
    ///
    /// *Cancellation*: it may be done all the same.
    ///
    /// # Errors
    ///
    /// As [`read`](File::read).
    pub async fn sync_all(&mut self) -> io::Result<()> {
        self.operate(|file| file.sync(true)).await?
    }

    /// Has all that was written reach the disk, and of what is known of the file only what reading it needs.
    ///
    /// *Cancellation*: as [`sync_all`](File::sync_all).
    ///
    /// # Errors
    ///
    /// As [`read`](File::read).
    pub async fn sync_data(&mut self) -> io::Result<()> {
        self.operate(|file| file.sync(false)).await?
    }

    /// Cuts the file off, or fills it up with zeros. The position stays.
    ///
    /// *Cancellation*: it may be done all the same.
    ///
    /// # Errors
    ///
    /// As [`read`](File::read).
    pub async fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.operate(move |file| file.set_len(length)).await?
    }

    /// What is known of the file.
    ///
    /// *Cancellation*: nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`read`](File::read).
    pub async fn metadata(&mut self) -> io::Result<FileMetadata> {
        self.operate(|file| file.metadata()).await?
    }

    fn of(descriptor: Descriptor) -> File {
        File { descriptor, position: 0, under_way: None }
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

    /// Does an operation where it may block, after all that were begun before.
    async fn operate<T: Send + 'static>(
        &mut self,
        operation: impl FnOnce(&dyn FileSource) -> T + Send + 'static,
    ) -> io::Result<T> {
        self.under_way = None;
        std::future::poll_fn(poll_share).await;
        let file = self.descriptor.begin().await?;
        Ok(spawn_blocking(move || operation(&*file)).await)
    }

    fn seek_to(&mut self, to: SeekFrom, end: u64) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => end.checked_add_signed(offset),
        };
        let position = position.filter(|position| i64::try_from(*position).is_ok());
        self.position = position.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such position"))?;
        Ok(self.position)
    }

    /// For the traits: begins an operation, if it is not under way yet, and is ready with what comes of it.
    fn poll_operate(
        &mut self,
        cx: &mut Context<'_>,
        what: What,
        operation: impl FnOnce(FileUse) -> Outcome + Send + 'static,
    ) -> Poll<io::Result<Outcome>> {
        // What nobody came back for ends where nobody hears of it.
        self.under_way.take_if(|under_way| under_way.what != what);
        if self.under_way.is_none() {
            ready!(poll_share(cx));
            let file = ready!(self.descriptor.poll_begin(cx))?;
            self.under_way = Some(UnderWay { what, outcome: Box::pin(spawn_blocking(move || operation(file))) });
        }
        let Some(under_way) = &mut self.under_way else { unreachable!("begun above") };
        let outcome = ready!(under_way.outcome.as_mut().poll(cx));
        self.under_way = None;
        Poll::Ready(Ok(outcome))
    }
}

fn read_at(file: &dyn FileSource, wanted: usize, position: u64) -> Outcome {
    let mut bytes = vec![0; wanted];
    let result = retry(|| file.read_at(&mut bytes, position)).map(|count| count as u64);
    Outcome { bytes, result }
}

fn write_at(file: &dyn FileSource, bytes: Vec<u8>, position: u64) -> Outcome {
    let result = retry(|| file.write_at(&bytes, position)).map(|count| count as u64);
    Outcome { bytes, result }
}

identity!(File);
handles!(File);

/// A read that was begun and not waited for is taken up by the next, which may have another buffer.
impl AsyncRead for File {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let (position, wanted) = (self.position, buffer.len().min(CHUNK));
        let read = move |file: FileUse| read_at(&*file, wanted, position);
        let Outcome { bytes, result } = ready!(self.poll_operate(cx, What::Read, read))?;
        // The position stands behind what fits, so the rest is read again.
        let count = (result? as usize).min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Poll::Ready(Ok(count))
    }
}

/// A write that was begun and not waited for is taken up by the next if that has the same bytes, and is otherwise as if it
/// had not been: the position is where it was.
impl AsyncWrite for File {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let (position, ours) = (self.position, &bytes[..bytes.len().min(CHUNK)]);
            // Copied only where the write begins.
            let begins = self.under_way.as_ref().is_none_or(|under_way| under_way.what != What::Write);
            let copy = if begins { ours.to_vec() } else { Vec::new() };
            let write = move |file: FileUse| write_at(&*file, copy, position);
            let Outcome { bytes: written, result } = ready!(self.poll_operate(cx, What::Write, write))?;
            let of_ours = begins || ours.starts_with(&written) && ours.is_empty() == written.is_empty();
            if of_ours {
                let count = result?;
                self.position += count;
                return Poll::Ready(Ok(count as usize));
            }
        }
    }

    /// Waits for nothing: what was told of is with the OS.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Has what was written reach the disk ([`sync_data`](File::sync_data)). The file closes with the drop.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sync = |file: FileUse| Outcome { bytes: Vec::new(), result: file.sync(false).map(|()| 0) };
        let outcome = ready!(self.poll_operate(cx, What::Sync, sync))?;
        Poll::Ready(outcome.result.map(drop))
    }
}

impl AsyncSeek for File {
    fn poll_seek(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: SeekFrom) -> Poll<io::Result<u64>> {
        let end = match to {
            SeekFrom::End(_) => {
                let length = |file: FileUse| {
                    let result = file.metadata().map(|metadata| metadata.length);
                    Outcome { bytes: Vec::new(), result }
                };
                ready!(self.poll_operate(cx, What::Length, length))?.result?
            }
            _ => {
                // What was to be read or written from elsewhere has nobody who waits for it any more.
                self.under_way = None;
                0
            }
        };
        Poll::Ready(self.seek_to(to, end))
    }
}
