//! Actors on lanes: what users of Laneway write and call.
//!
//! A **lane** is a green process: one future with a mailbox, an id, and everything it holds. It is written either as a
//! function over a [`Lane`] or as an [`Actor`] with state and callbacks; [`spawn()`], [`start`] and [`Spawn`] bring it to
//! life. Others know it by its [`Address`]: 8 bytes, copied freely, that take [`send`](Address::send),
//! [`try_send`](Address::try_send), [`ask`](Address::ask), [`stop`](Address::stop) and [`kill`](Address::kill), and say
//! so when the lane is gone. A [`Role`] is an address that survives restarts.
//!
//! Lanes watch each other: by [`monitor`](Lane::monitor) one hears of another's end, by [`link`](Lane::link) two share
//! their fate, by [`trap_exits`](Lane::trap_exits) a lane takes the fate of others as news. The words and their meaning
//! are those of Erlang/OTP.
//!
//! Read on in this order: [`spawn`](mod@spawn), [`lane`], [`actor`], [`context`], [`address`], [`ask`], [`reply`],
//! [`role`], [`name`], [`group`], [`error`]; last [`remote`], by which messages reach other nodes.

#![forbid(unsafe_code)]

pub mod actor;
pub mod address;
pub mod ask;
pub mod context;
pub mod error;
pub mod group;
pub mod lane;
pub mod name;
pub mod remote;
pub mod reply;
pub mod role;
pub mod spawn;

pub use actor::{Actor, Init, Outcome, Starting};
pub use address::{Address, Recipient, Sending};
pub use ask::{Ask, ask_all};
pub use context::Context;
pub use error::{AskError, SendError, StartError, StopError};
pub use lane::{Lane, Recv};
pub use name::whereis;
pub use reply::Reply;
pub use role::Role;
pub use spawn::{Spawn, spawn, start};

pub use runtime::arena;
pub use runtime::lane::{
    Charge, DemonitorError, JoinError, LaneWait, LockUse, Memory, NameError, NoMemory, NotInLane, Resources,
    SpawnError, check_memory, current, demonitor, exit, is_abandoned, is_alive, join, kill, link, memory, monitor,
    parent, stop, trap_exits, try_charge, try_join, unlink,
};
pub use runtime::mailbox::{NotAMailbox, Received, Undelivered};
pub use runtime::sync;
pub use runtime::time::{self, Elapsed, interval, sleep, sleep_until, timeout};
pub use runtime::{
    BuildError, Builder, Deadlock, DeadlockPolicy, Down, Exit, ExitReason, ExitReceipt, Handle, Id, IntoExit, Metrics,
    MonitorRef, NameTaken, Namespace, NotInRuntime, Notified, Runtime, ShutdownReport, StaleId, Stuck, WaitGraph,
    spawn_blocking, yield_now,
};
