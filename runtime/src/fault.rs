//! Where faults may enter: hooks that chaos drives and that a simulator can replay.
//!
//! A [`FaultPlan`] is asked at each spawn whether the new lane shall be killed at one of its awaits. Kills from outside
//! need no hook: [`kill`](crate::lane::kill) is one.

use std::fmt;
use std::panic::Location;

use crate::id::Id;

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

/// Decides which faults strike. Called by any worker; must not block.
pub trait FaultPlan: Send + Sync + fmt::Debug {
    /// `Some(n)`: kill the lane at its n-th await, counted from 1: when its future is pending for the n-th time.
    fn kill_at_await(&self, lane: Spawned<'_>) -> Option<u64>;
}
