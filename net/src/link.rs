//! One connection between two nodes.
//!
//! Owns what travels and in what order; the rules are pure, without sockets and without a clock. In the order to read:
//! [`hello`] (who may link to whom), [`frame`] (what is said, as bytes), [`proto`] (the machine that says and hears it).
//! Last, with a socket and a clock, `lane`.

pub mod frame;
pub mod hello;
pub(crate) mod lane;
pub mod proto;
