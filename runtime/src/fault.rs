//! Where faults may enter: hooks that chaos drives and that a simulator can replay.
//!
//! A [`FaultPlan`] is asked at each spawn whether the new lane shall be killed at one of its awaits. Kills from outside
//! need no hook: [`kill`](crate::lane::kill) is one.

use std::fmt;
use std::panic::Location;

use crate::id::Id;
use crate::receipt::ExitReceipt;

/// A lane that is about to run for the first time.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Spawned<'a> {
    /// Its id.
    pub id: Id,
    /// The name it was spawned under.
    pub name: Option<&'a str>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// The type of its messages.
    pub message: &'static str,
}

/// A lane that has ended and released all it held.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ended<'a> {
    /// Its id, which is stale by now.
    pub id: Id,
    /// Why it ended and what that released.
    pub receipt: &'a ExitReceipt,
    /// Where the plan had wanted it killed at an await: how many it was still short of that. 0: that is how it ended.
    pub awaits_left: Option<u64>,
}

/// Decides which faults strike, and may look at what they did. Called by any worker; must neither block nor panic.
pub trait FaultPlan: Send + Sync + fmt::Debug {
    /// `Some(n)`: kill the lane at its n-th await, counted from 1: when its future is pending for the n-th time.
    fn kill_at_await(&self, lane: Spawned<'_>) -> Option<u64>;

    /// A lane is about to end, for whatever reason, and still holds what it held.
    fn dying(&self, lane: Id) {
        let _ = lane;
    }

    /// A lane has ended: all of it is released and all are told, and its place has no new tenant yet. With one worker
    /// nothing else has run since [`FaultPlan::dying`] but destructors.
    fn ended(&self, lane: Ended<'_>) {
        let _ = lane;
    }
}
