//! Supervision trees for Laneway: who starts a lane, who notices its end, and what is done about it.
//!
//! A supervisor is a lane whose only work is other lanes, its children. It starts them in order, hears of every end,
//! and answers by the rules of Erlang/OTP: leave it, start it again, start a group again, or give up and end itself, so
//! that the supervisor above decides.
//!
//! The rules live apart from the lane that carries them out. Everything listed here is pure: no clock (time comes in as
//! `now`), no lanes, no I/O. Input goes in by `handle_*`, what must be done comes out of `poll_action`.
//!
//! Read the modules in this order:
//!
//! 1. [`child_spec`]: what is known of one child, and which combinations are refused.
//! 2. [`intensity`]: how many restarts in which time are still a cure.
//! 3. [`strategy`]: the options of a supervisor and [`Children`], the machine that decides.
//! 4. [`dynamic`]: [`DynamicChildren`], the same for children of one spec by the million.

#![forbid(unsafe_code)]

pub mod child_spec;
pub mod dynamic;
pub mod intensity;
pub mod strategy;

pub use child_spec::{ChildKind, ChildSpec, ChildSpecBuilder, Restart, Shutdown, SpecError};
pub use dynamic::{DynamicAction, DynamicChildren, DynamicFlags, StartKey};
pub use intensity::Intensity;
pub use strategy::{
    Action, AutoShutdown, ChildCounts, ChildError, ChildInfo, ChildKey, Children, Command, Ending, Flags, Presence,
    Report, ReportKind, Strategy,
};
