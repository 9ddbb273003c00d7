//! Laneway: Erlang-like green processes for Rust.
//!
//! A **lane** is a green process: it owns its memory, a mailbox and every id it holds; it talks by messages; supervisors
//! start it, watch it, kill it and restart it; when it goes, everything it held goes with it. Lanes on other machines
//! are reached by the same 64-bit ids.
//!
//! This crate is the face of four others, in the order in which to read them:
//!
//! * [`actors`]: lanes and actors as you write and call them; most of it is re-exported here.
//! * [`supervisor`]: supervision trees.
//! * [`net`]: sockets, files, processes and signals that belong to lanes, and links to other nodes.
//! * [`runtime`]: what all of it stands on.
//!
//! Examples on their pages name those crates. With `laneway` alone, write `use laneway::…` for `laneway_actors::…`,
//! `laneway::supervisor` for `laneway_supervisor`, `laneway::net` for `laneway_net` and `laneway::runtime` for
//! `laneway_runtime`.
//!
//! ```
//! use laneway::prelude::*;
//!
//! enum Msg {
//!     Add(u64),
//!     Total(Reply<u64>),
//! }
//!
//! let runtime = Runtime::builder().build()?;
//! runtime.block_on(async {
//!     let counter = laneway::spawn(async |mut lane: Lane<Msg>| {
//!         let mut total = 0;
//!         while let Some(message) = lane.recv().await {
//!             match message {
//!                 Msg::Add(number) => total += number,
//!                 Msg::Total(reply) => _ = reply.send(total),
//!             }
//!         }
//!     })?;
//!     counter.send(Msg::Add(40)).await?;
//!     counter.send(Msg::Add(2)).await?;
//!     assert_eq!(counter.ask(Msg::Total).await?, 42);
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub use actors::{
    Actor, Address, Ask, AskError, BuildError, Builder, Charge, Context, Deadlock, DeadlockPolicy, DemonitorError,
    Down, Elapsed, Exit, ExitReason, ExitReceipt, Handle, Id, Init, IntoExit, JoinError, Lane, LaneWait, LockUse,
    Memory, Metrics, MonitorRef, NameError, NameTaken, Namespace, NoMemory, NotAMailbox, NotInLane, NotInRuntime,
    Notified, Outcome, Received, Recipient, Recv, Reply, Resources, Role, Runtime, SendError, Sending, ShutdownReport,
    Spawn, SpawnError, StaleId, StartError, Starting, StopError, Stuck, Undelivered, WaitGraph, arena, ask_all,
    check_memory, current, demonitor, exit, group, interval, is_abandoned, is_alive, join, kill, link, memory, monitor,
    parent, sleep, sleep_until, spawn, spawn_blocking, start, stop, sync, time, timeout, trap_exits, try_charge,
    try_join, unlink, whereis, yield_now,
};
pub use net::fs;
#[cfg(unix)]
pub use net::{process, signal};
pub use runtime::{admission, alloc, memory_bound};
pub use {actors, net, runtime, supervisor};

pub mod testing;

/// What most programs use.
pub mod prelude {
    pub use actors::{
        Actor, Address, AskError, Context, Down, Exit, ExitReason, Id, Init, Lane, Outcome, Reply, Role, Runtime,
        SendError, Spawn, interval, sleep, timeout,
    };
    pub use net::{TcpListener, TcpStream};
    pub use supervisor::{ChildSpec, DynamicSupervisor, Restart, Shutdown, Strategy, Supervisor};
}
