#![forbid(unsafe_code)]
//! Sockets and node links for Laneway's actors.
//!
//! Read in this order: [`tcp`] (sockets for lanes), `http` (hyper on them, where the feature `hyper` is on), [`codec`]
//! (messages as bytes), [`peer`] (who the other nodes are), [`wire_id`] (ids that cross the border), [`schema`] (which
//! message types agree), [`link`] (one connection between two nodes), [`node`] (what users start), `remote` (what other
//! lanes touch of a link).

pub mod codec;
#[cfg(feature = "hyper")]
pub mod http;
pub mod link;
pub mod node;
pub mod peer;
mod remote;
pub mod schema;
pub mod tcp;
pub mod wire_id;

pub use node::Node;
pub use tcp::{TcpListener, TcpStream};
