//! Supervision trees for Laneway: who starts a lane, who notices its end, and what is done about it.
//!
//! A supervisor is a lane whose only work is other lanes, its children. It starts them in order, hears of every end,
//! and answers by the rules of Erlang/OTP: leave it, start it again, start a group again, or give up and end itself, so
//! that the supervisor above decides.
//!
//! * [`Supervisor`] has the children that it was built with, one after the other, and those that are added later.
//! * [`DynamicSupervisor`] has any number of children of one spec, as one for each connection.
//! * [`Chaos`] kills lanes at random, to see whether all of this holds.
//!
//! Children are described by a [`ChildSpec`]; [`ChildSpec::actor`] and [`ChildSpec::lane`] are the ways to begin one, and
//! a [`Role`](actors::Role) given to a child leads to its present incarnation for ever. Supervisors are children of
//! supervisors by [`ChildSpec::supervisor`].
//!
//! The rules live apart from the lanes that carry them out. Time comes in as `now`, input goes in by `handle_*`, what
//! must be done comes out of `poll_action`.
//!
//! Read the modules in this order. Pure, without clock, lanes or I/O:
//!
//! 1. [`child_spec`]: what is known of one child, and which combinations are refused.
//! 2. [`intensity`]: how many restarts in which time are still a cure.
//! 3. [`strategy`]: the options of a supervisor and [`Children`], the machine that decides.
//! 4. [`dynamic`]: [`DynamicChildren`], the same for children of one spec by the million.
//!
//! And the lanes around them:
//!
//! 5. [`start`]: what a spec starts, and the starts that are under way.
//! 6. `shell`: what a supervisor's lane waits for.
//! 7. [`supervisor`] and [`pool`]: the two kinds of supervisor.
//! 8. [`chaos`].

#![forbid(unsafe_code)]

pub mod chaos;
pub mod child_spec;
pub mod dynamic;
pub mod intensity;
pub mod pool;
mod shell;
pub mod start;
pub mod strategy;
pub mod supervisor;

pub use chaos::{Chaos, ChaosBuilder, ChaosReport};
pub use child_spec::{ChildKind, ChildSpec, ChildSpecBuilder, Restart, Shutdown, SpecError};
pub use dynamic::{DynamicAction, DynamicChildren, DynamicFlags, StartKey};
pub use intensity::Intensity;
pub use pool::{DynamicBuilder, DynamicSupervisor};
pub use shell::{CommandError, StartingSupervisor, SupervisorError};
pub use start::{Begin, Begun, ChildStart, IntoChild, LaneStart, Place};
pub use strategy::{
    Action, AutoShutdown, ChildCounts, ChildError, ChildInfo, ChildKey, Children, Command, Ending, Flags, Presence,
    Report, ReportKind, Strategy,
};
pub use supervisor::{Supervisor, SupervisorBuilder};
