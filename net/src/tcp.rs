//! TCP for lanes: listeners and streams over IPv4 and IPv6.
//!
//! Owns: [`TcpListener`], [`TcpStream`] and its halves, and who owns their descriptors. Knows nothing of what the bytes
//! mean, of names (addresses are numbers here) or of how the env makes a socket.
//!
//! # Who owns a socket
//!
//! A socket belongs to the lane that opened it: it is closed when dropped, and also when that lane dies, even if it was
//! forgotten or is in other hands by then; what uses it afterwards gets an error of kind `NotConnected` with a
//! [`StaleId`](runtime::StaleId) inside. An accepted stream belongs to the lane that accepted it, so a lane made for the
//! connection begins with [`TcpStream::adopt`]. Until it has, the stream dies with either of the two: with the listener's
//! lane as its owner, with the new one as the holder of the value.
//!
//! There is no giving to another lane, only taking: a lane looks for its descriptors when it dies only if it knows that
//! it has some, and that nobody can tell it from outside.
//!
//! A socket that was opened outside of lanes, as in [`block_on`](runtime::Runtime::block_on), belongs to nobody but its
//! value.
//!
//! # Turns and drivers
//!
//! Each attempt takes a share of the lane's turn, so that a stream that never runs dry does not keep a worker to itself.
//! Reading and writing allocate nothing. With several drivers, sockets go round among them in the order in which they are
//! opened.
//!
//! ```
//! use laneway_net::tcp::{TcpListener, TcpStream};
//! use runtime::lane::Spawn;
//! use runtime::mailbox::Inbox;
//!
//! let node = runtime::Runtime::builder().workers(1).build()?;
//! let answer = node.block_on(async {
//!     let mut listener = TcpListener::bind(([127, 0, 0, 1], 0))?;
//!     let address = listener.local_addr()?;
//!     let serve = |_inbox: Inbox<()>| async move {
//!         let Ok((mut stream, _peer)) = listener.accept().await else { return };
//!         let connection = |_inbox: Inbox<()>| async move {
//!             // From here on the stream's life is this lane's.
//!             if stream.adopt().is_ok() {
//!                 let _gone = stream.write_all(b"hello").await;
//!             }
//!         };
//!         let _lane = Spawn::new().spawn(connection);
//!         std::future::pending::<()>().await;
//!     };
//!     Spawn::new().spawn(serve).map_err(std::io::Error::other)?;
//!
//!     let mut client = TcpStream::connect(address).await?;
//!     let mut answer = [0; 5];
//!     client.read_exact(&mut answer).await?;
//!     std::io::Result::Ok(answer)
//! })?;
//! assert_eq!(&answer, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod listener;
mod methods;
mod split;
mod stream;

use std::io;

use runtime::env::{Descriptor, Source};
use runtime::lane::{self, NotInLane};
use runtime::{Handle, Id};

pub use listener::TcpListener;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use stream::TcpStream;

/// The runtime of this code; [`NotInRuntime`](runtime::NotInRuntime) in an error of kind `Other`.
fn here() -> io::Result<Handle> {
    Handle::current().map_err(io::Error::other)
}

/// Puts a source in the table, for the lane that calls.
fn open(node: &Handle, source: impl Into<Source>) -> io::Result<Descriptor> {
    let descriptors = node.descriptors();
    // In turn, by a count that is the runtime's own, so that a run can be repeated. Two that open at once may get the
    // same driver, which does no harm.
    let driver = descriptors.counts().opened % descriptors.drivers() as u64;
    let descriptor = descriptors.insert(source, lane::owner_of_descriptors(), driver as usize)?;
    // Asked after it is in the table: before, the lane's end finds it there.
    if lane::is_abandoned() { Err(io::Error::other(NotInLane)) } else { Ok(descriptor) }
}

/// Makes the lane that calls the owner.
fn adopt(descriptor: &Descriptor) -> io::Result<()> {
    let me = owner()?;
    // A lane's death looks only in its own runtime: this finds no descriptor of another.
    here()?.descriptors().driver_of(descriptor.id())?;
    descriptor.transfer(me)?;
    Ok(())
}

/// The handle of a descriptor that comes as an id, owned by the lane that calls.
fn take(id: Id) -> io::Result<Descriptor> {
    let me = owner()?;
    Ok(here()?.descriptors().adopt(id, me)?)
}

fn owner() -> io::Result<Id> {
    lane::owner_of_descriptors().ok_or_else(|| io::Error::other(NotInLane))
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
