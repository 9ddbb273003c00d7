#![forbid(unsafe_code)]
//! What lanes have of the system (sockets, files, processes, signals), and node links.
//!
//! Read in this order: [`tcp`] (sockets for lanes), [`handle`] (how lanes share and pass on what they have of the system),
//! [`fs`] (files), `process` and `signal` (on Unix: child processes, and the system's signals), `http` (hyper on them, where the feature `hyper` is on), [`codec`]
//! (messages as bytes), [`peer`] (who the other nodes are), [`wire_id`] (ids that cross the border), [`schema`] (which
//! message types agree), [`link`] (one connection between two nodes), [`node`] (what users start), `remote` (what other
//! lanes touch of a link).

pub mod codec;
pub mod fs;
pub mod handle;
#[cfg(feature = "hyper")]
pub mod http;
pub mod link;
pub mod node;
pub mod peer;
#[cfg(unix)]
pub mod process;
mod remote;
pub mod schema;
#[cfg(unix)]
pub mod signal;
pub mod tcp;
pub mod wire_id;

pub use handle::{OnStale, TransferError};
pub use node::Node;
pub use tcp::{TcpListener, TcpStream};
