//! The lanes of Laneway: green processes that are scheduled, sent to, watched and killed by 64-bit ids.
//!
//! Users meet this crate through `laneway`, whose actors stand on it. Here is what they are made of, in the order in
//! which to read it:
//!
//! 1. [`id`], `slot` and `region`: what names a lane, and the memory that is looked at when the name is used. An id is
//!    checked at every use and never counted.
//! 2. `lane/word`: the one word of a lane, its life-cycle and its mailbox; [`mailbox`], with `mailbox/node`: what senders
//!    push on it and the lane takes whole.
//! 3. [`lane`], with `lane/frame`, `lane/waker`: the life of a lane; [`signal`]: what others do to it, in
//!    order with messages; `lane/death`: its end, in six steps.
//! 4. `sched`: workers, queues, who sleeps and whom to wake.
//! 5. `wait_list` and [`sync`]: green locks and channels, whose waiters are lanes; `lane/index`: what a lane holds of them.
//! 6. [`env`](mod@env): the world, as clock, entropy, threads and sockets; [`time`]: timers on it.
//! 7. [`wait_graph`]: who waits for whom, and what is done about circles; [`question`]: the wait that is most frequent.
//! 8. [`group`]: lanes under a common name.
//! 9. [`alloc`](mod@alloc): who pays for memory; `vat`: memory in chunks, under the limit of the runtime; [`arena`]: what
//!    lanes put in them.
//! 10. [`admission`] and [`memory_bound`]: who may come in under a limit for the node, and what it adds up to.
//! 11. [`runtime`]: starting and ending all that.
//!
//! # Where unsafe code is
//!
//! In `alloc`, `region`, `slot`, `context`, `mailbox/sending`, `mailbox/node`, `mailbox/node/pack`, `lane/frame`,
//! `lane/memory`, `lane/pooled`, `lane/waker`, `reply/cell`, `sched/run`, `sched/watchdog/stack/snapshot`, `sync/guarded`,
//! `vat`, `vat/mapping`, `arena/scratch`, `arena/heap` and `arena/string` alone. Each says at its head which invariants its
//! blocks rely on.

#[cfg(not(loom))]
pub mod admission;
#[cfg(not(loom))]
pub mod alloc;
#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
mod blocking;
#[cfg(not(loom))]
mod context;
#[cfg(not(loom))]
pub mod env;
pub mod exit;
#[cfg(not(loom))]
pub mod fault;
#[cfg(not(loom))]
pub mod group;
pub mod id;
#[cfg(not(loom))]
pub mod inspect;
#[cfg(not(loom))]
pub mod lane;
#[cfg(not(loom))]
pub mod mailbox;
#[cfg(not(loom))]
pub mod memory_bound;
#[cfg(not(loom))]
mod metrics;
#[cfg(not(loom))]
mod name;
#[cfg(not(loom))]
mod panic;
#[cfg(not(loom))]
pub mod peer;
#[cfg(not(loom))]
pub mod question;
#[cfg(not(loom))]
mod receipt;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
pub mod reply;
#[cfg(not(loom))]
pub mod role;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
mod sched;
mod shim;
#[cfg(not(loom))]
pub mod signal;
mod slab;
#[cfg(not(loom))]
mod slot;
#[cfg(not(loom))]
pub mod sync;
#[cfg(not(loom))]
pub mod time;
#[cfg(not(loom))]
mod vat;
#[cfg(not(loom))]
pub mod wait_graph;
mod wait_list;

/// What the models need, and nothing that cannot be built under loom.
#[cfg(loom)]
mod arena {
    pub(crate) mod elsewhere;
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod admission {
    pub(crate) mod cost;
    pub(crate) mod ledger;
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod alloc {
    pub(crate) mod balance;
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod lane {
    pub(crate) mod word;
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod mailbox {
    pub(crate) mod node {
        pub(crate) mod fill;
    }
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod reply {
    pub(crate) mod word;
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod sched {
    pub(crate) mod barrier;
    pub(crate) mod chronicle;
    pub(crate) mod crew;
    pub(crate) mod hold;
    pub(crate) mod idle;
    pub(crate) mod notices;
    pub(crate) mod parker;
    pub(crate) mod pulse;
    pub(crate) mod queue;
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod vat {
    pub(crate) mod class;
    pub(crate) mod stock;
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod wait_graph {
    pub(crate) mod word;
}
#[cfg(loom)]
mod slot {
    pub(crate) use crate::shim::{AtomicSlot, SlotRef, is_same};
}
#[cfg(loom)]
mod env {
    pub(crate) use crate::shim::{Instant, Unparker};
}
#[cfg(loom)]
#[allow(dead_code, reason = "models do not call all of it")]
mod sync {
    pub(crate) mod broadcast {
        pub(crate) mod ring;
    }
    pub(crate) mod calls;
    pub(crate) mod crowd;
    pub(crate) mod exclusive;
    pub(crate) mod holder;
    pub(crate) mod room;
}
#[cfg(loom)]
mod panic {
    pub(crate) use crate::shim::contain;
}
#[cfg(all(test, loom))]
mod model;

#[cfg(not(loom))]
pub use blocking::spawn_blocking;
pub use exit::{ExitReason, IntoExit};
pub use id::{Id, Namespace, ParseIdError, StaleId};
#[cfg(not(loom))]
pub use metrics::Metrics;
#[cfg(not(loom))]
pub use name::NameTaken;
#[cfg(not(loom))]
pub use receipt::ExitReceipt;
#[cfg(not(loom))]
pub use runtime::{BuildError, Builder, Handle, NotInRuntime, Runtime, ShutdownReport};
#[cfg(not(loom))]
pub use sched::turn::{poll_share, yield_now};
#[cfg(not(loom))]
pub use sched::watchdog::Stuck;

/// What the watchdog finds out about workers that are stuck.
#[cfg(not(loom))]
pub mod stuck {
    pub use crate::sched::watchdog::{Does, Stack, Stuck, Thread};
}
#[cfg(not(loom))]
pub use signal::{Down, Exit, MonitorRef, Notified};
#[cfg(not(loom))]
pub use wait_graph::{Deadlock, DeadlockPolicy, WaitGraph};
