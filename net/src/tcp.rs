//! TCP for lanes: listeners and streams over IPv4 and IPv6.
//!
//! Owns: [`TcpListener`], [`TcpStream`] and its halves. Knows nothing of what the bytes
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
//! Sockets can also be given to a lane by its id, for good or to be shared: see [`handle`](crate::handle).
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
pub(crate) mod methods;
mod split;
mod stream;

pub use listener::TcpListener;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use stream::TcpStream;

#[cfg(all(test, target_os = "linux"))]
mod tests;
