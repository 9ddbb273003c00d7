//! Files as an env offers them, and those of the OS.
//!
//! Owns: [`FileSource`] and [`FileOptions`], what keeps the operations on a file apart ([`FileUse`]), and the files of the
//! OS. Knows nothing of threads: all calls block, and it is for the caller to make them where they may.
//!
//! An operation says where in the file it is to be done, so there is no position to be lost with one that nobody waited
//! for.
//!
//! # Invariants
//! 1. `busy` is set while a [`FileUse`] is about, and there is one at a time. So one operation runs on a file at a time,
//!    by however many ids it is reached, and at most one when its last id closes: it ends, and then the file closes.
//! 2. Who finds the file busy waits for it as for an edge of readability, which the end of the use is.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::readiness::Ready;
use super::thing::Entry;

/// A file. All methods may block.
pub trait FileSource: Debug + Send + Sync {
    /// Reads some bytes from `offset` on; `Ok(0)` is the end, or an empty `buffer`.
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes from `offset` on, or at the end where the file was opened to append, and says how many.
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Has what was written reach the disk, with the file's metadata (`all`) or with as much of it as reading back needs.
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn sync(&self, all: bool) -> io::Result<()>;

    /// Cuts the file off, or fills it up with zeros.
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// What is known of the file.
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn metadata(&self) -> io::Result<FileMetadata>;
}

/// What is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileMetadata {
    /// Its length in bytes.
    pub length: u64,
    /// Whether it is a regular file, and so no folder, pipe or device.
    pub is_file: bool,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether nobody may write to it.
    pub is_read_only: bool,
    /// When it was last written to, from 1970-01-01 00:00 UTC on, where that is known.
    pub modified: Option<Duration>,
}

/// How to open a file; by itself it opens nothing, as neither reading nor writing is asked for.
///
/// ```
/// use laneway_runtime::env::FileOptions;
/// let options = FileOptions::new().write(true).create(true);
/// assert!(options.write && options.create && !options.read);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileOptions {
    /// To read. Default `false`, as all that follow.
    pub read: bool,
    /// To write.
    pub write: bool,
    /// To write at the end, wherever that is by then.
    pub append: bool,
    /// Emptied first.
    pub truncate: bool,
    /// Made, if it is not there.
    pub create: bool,
    /// Made, and an error if it is there.
    pub create_new: bool,
}

impl FileOptions {
    /// Nothing is asked for.
    pub const fn new() -> FileOptions {
        FileOptions { read: false, write: false, append: false, truncate: false, create: false, create_new: false }
    }

    /// Whether to read.
    pub const fn read(mut self, read: bool) -> FileOptions {
        self.read = read;
        self
    }

    /// Whether to write.
    pub const fn write(mut self, write: bool) -> FileOptions {
        self.write = write;
        self
    }

    /// Whether to write at the end, wherever that is by then.
    pub const fn append(mut self, append: bool) -> FileOptions {
        self.append = append;
        self
    }

    /// Whether to empty the file first.
    pub const fn truncate(mut self, truncate: bool) -> FileOptions {
        self.truncate = truncate;
        self
    }

    /// Whether to make the file, if it is not there.
    pub const fn create(mut self, create: bool) -> FileOptions {
        self.create = create;
        self
    }

    /// Whether to make the file and to fail if it is there.
    pub const fn create_new(mut self, create_new: bool) -> FileOptions {
        self.create_new = create_new;
        self
    }
}

/// A file on which one operation runs at a time.
#[derive(Clone, Debug)]
pub struct SharedFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    busy: AtomicBool,
    source: Box<dyn FileSource>,
}

impl SharedFile {
    /// A file on which no operation runs yet.
    pub fn new(source: Box<dyn FileSource>) -> SharedFile {
        SharedFile(Arc::new(Shared { busy: AtomicBool::new(false), source }))
    }

    /// Begins an operation.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: another runs.
    pub(crate) fn begin(&self, entry: &Arc<Entry>) -> io::Result<FileUse> {
        // ORDER: Acquire pairs with the Release of the use before: what that one did to the file is done.
        if self.0.busy.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(FileUse { shared: Some(Arc::clone(&self.0)), entry: Arc::clone(entry) })
    }
}

/// The right to do one operation on a file, to be taken to where it may block. Dropped, it makes way for the next one, or
/// closes the file if its last id is closed by then.
#[derive(Debug)]
pub struct FileUse {
    /// There until the drop.
    shared: Option<Arc<Shared>>,
    entry: Arc<Entry>,
}

impl Deref for FileUse {
    type Target = dyn FileSource;

    fn deref(&self) -> &(dyn FileSource + 'static) {
        match &self.shared {
            Some(shared) => &*shared.source,
            None => unreachable!("a use has its file until it is dropped"),
        }
    }
}

impl Drop for FileUse {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            // ORDER: Release, see `begin`. Before the edge, so that who is woken by it finds the file free.
            shared.busy.store(false, Ordering::Release);
        }
        self.entry.thing.announce(Ready::READABLE);
    }
}

/// Opens a file of the OS. May block.
pub(crate) fn open_file(path: &Path, options: &FileOptions) -> io::Result<Box<dyn FileSource>> {
    let FileOptions { read, write, append, truncate, create, create_new } = *options;
    let mut open = fs::OpenOptions::new();
    open.read(read).write(write).append(append).truncate(truncate).create(create).create_new(create_new);
    Ok(Box::new(OsFile(open.open(path)?)))
}

#[derive(Debug)]
struct OsFile(fs::File);

impl FileSource for OsFile {
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)
    }

    fn sync(&self, all: bool) -> io::Result<()> {
        if all { self.0.sync_all() } else { self.0.sync_data() }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        let metadata = self.0.metadata()?;
        Ok(FileMetadata {
            length: metadata.len(),
            is_file: metadata.is_file(),
            is_folder: metadata.is_dir(),
            is_read_only: metadata.permissions().readonly(),
            modified: metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()),
        })
    }
}

#[cfg(test)]
mod tests;
