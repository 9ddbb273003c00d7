//! The cases of Erlang/OTP's supervisors, by number, on real lanes in virtual time.

mod auto_shutdown;
mod commands;
mod dynamic;
mod restarting;
mod starting;
mod stopping;
mod support;
mod trees;
