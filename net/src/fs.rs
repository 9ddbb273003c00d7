//! Files that belong to lanes.
//!
//! Owns: [`File`] and the helpers. Knows nothing of how the env reaches a disk; each operation is done on the threads for
//! what blocks, so no worker waits for one.
//!
//! # One operation at a time
//!
//! A file does one operation at a time, by however many ids it is reached; the next one waits, and one more that would
//! wait gets [`Busy`](runtime::env::Busy). An operation cannot be called off once a thread has begun it. Where the lane that
//! waited for it is killed, or the future is dropped, it ends where nobody hears of it, and then the file closes if it
//! was the owner's death. So what a killed lane can leave behind is one write that is done.
//!
//! # Where in the file
//!
//! Each `File` has a position of its own, from 0 on, that moves when a read or a write has been told of, not before. So a
//! read that is dropped half-way has read nothing. The position does not go along with an id: say it in the message.
//! What has no positions, as a terminal or a named pipe, gives an error (`ESPIPE`): that is not what this is for.
//!
//! ```
//! use laneway_net::fs::{self, File};
//! use futures_util::io::SeekFrom;
//!
//! # let path = std::env::temp_dir().join(format!("laneway-fs-{}", std::process::id()));
//! # let _gone = std::fs::remove_file(&path);
//! let node = runtime::Runtime::builder().workers(1).build()?;
//! node.block_on(async {
//!     let mut file = File::create(&path).await?;
//!     file.write_all(b"to be or not to be").await?;
//!     file.sync_all().await?;
//!     drop(file);
//!
//!     let mut file = File::open(&path).await?;
//!     file.seek(SeekFrom::Start(6)).await?;
//!     let mut word = [0; 2];
//!     file.read_exact(&mut word).await?;
//!     assert_eq!(&word, b"or");
//!     assert_eq!(fs::read_to_string(&path).await?.len() as u64, file.metadata().await?.length);
//!     std::io::Result::Ok(())
//! })?;
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file;

use std::io;
use std::path::Path;

pub use file::File;
use runtime::env::FileSource;
pub use runtime::env::{FileMetadata, FileOptions};
use runtime::spawn_blocking;

use crate::handle::here;

/// How many bytes one operation moves at most: what it moves is copied, and nobody can call it off.
const CHUNK: usize = 128 * 1024;

/// All that is in a file, in memory.
///
/// *Cancellation*: it may be read to its end all the same.
///
/// # Errors
///
/// As the OS gives them; [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`.
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    with_file(path.as_ref(), FileOptions::new().read(true), |file| {
        let length = usize::try_from(file.metadata()?.length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut all = Vec::new();
        // One more than it has, so that its end is found without another chunk.
        all.try_reserve_exact(length.saturating_add(1)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        loop {
            let filled = all.len();
            let room = (all.capacity() - filled).clamp(32, CHUNK);
            all.try_reserve(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
            all.resize(filled + room, 0);
            let read = retry(|| file.read_at(&mut all[filled..], filled as u64));
            let count = *read.as_ref().unwrap_or(&0);
            all.truncate(filled + count);
            if read? == 0 {
                return Ok(all);
            }
        }
    })
    .await
}

/// All that is in a file, as text.
///
/// *Cancellation*: as [`read`].
///
/// # Errors
///
/// As [`read`]; `InvalidData` for what is not UTF-8.
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path).await?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Makes `bytes` all that is in a file, which is made if it is not there.
///
/// *Cancellation*: it may be written to its end all the same.
///
/// # Errors
///
/// As the OS gives them, and a part may have been written; [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`.
pub async fn write(path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
    let bytes = bytes.into();
    with_file(path.as_ref(), FileOptions::new().write(true).create(true).truncate(true), move |file| {
        let mut written = 0;
        while written < bytes.len() {
            match retry(|| file.write_at(&bytes[written..], written as u64))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => written += count,
            }
        }
        Ok(())
    })
    .await
}

/// Opens a file, does `work` with it and closes it, all of it where it may block.
async fn with_file<T: Send + 'static>(
    path: &Path,
    options: FileOptions,
    work: impl FnOnce(&dyn FileSource) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (env, path) = (here()?.env(), path.to_owned());
    spawn_blocking(move || work(&*env.open_file(&path, &options)?)).await
}

/// Does it again where a signal came in between.
fn retry(mut operation: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests;
