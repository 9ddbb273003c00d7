//! What the watchdog says of a worker that is stuck.

use super::stack::{Stack, Thread};
use crate::env::Instant;
use crate::runtime::LaneInfo;

/// A worker that is in one poll for too long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stuck {
    /// The lane that is polled, or whose destructors run; `None` where a waker, or a call of a timer, of no lane takes so
    /// long.
    pub lane: Option<LaneInfo>,
    /// The number of the worker. Those from the number of workers on are stand-ins.
    pub worker: usize,
    /// Since when at least, by the clock of the runtime's env.
    pub since: Instant,
    pub(crate) why: Why,
    /// The worker's thread and what it does, where the system tells: whether it computes, or waits and for what.
    pub thread: Option<Thread>,
    pub(super) stack: Option<Stack>,
    /// How often the watchdog looked for these two.
    pub(super) looks: u32,
}

/// Why somebody stands in for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It has been in one poll for a quarter of what is too long: nobody is to wait for it, and nothing is said of it yet.
    TakesLong,
    /// It has been in one poll for too long.
    TakesTooLong,
    /// It is not stuck, but stepped aside to release what a lane held.
    Releases,
}

impl Stuck {
    /// Whether it has been for too long.
    pub(crate) fn is_too_long(&self) -> bool {
        self.why == Why::TakesTooLong
    }

    /// Where the worker's code is, where stacks were [asked for](crate::Builder::stuck_stacks) and this one was had.
    pub fn stack(&self) -> Option<&Stack> {
        self.stack.as_ref()
    }

    /// Says that a worker is stuck.
    pub(crate) fn report(&self, now: Instant) {
        let (worker, for_ms) = (self.worker, self.milliseconds_until(now));
        let thread = self.thread.as_ref().map(tracing::field::display);
        let stack = self.stack.as_ref().map(tracing::field::display);
        match &self.lane {
            Some(LaneInfo { id, names, spawned_at, .. }) => {
                tracing::warn!(lane = %id, ?names, %spawned_at, worker, for_ms, thread, stack, "a poll takes too long");
            }
            None => tracing::warn!(worker, for_ms, thread, stack, "a waker or a call of a timer takes too long"),
        }
    }

    /// Says that it has come back.
    pub(crate) fn report_return(&self, now: Instant) {
        let (worker, for_ms) = (self.worker, self.milliseconds_until(now));
        match &self.lane {
            Some(LaneInfo { id, names, spawned_at, .. }) => {
                tracing::warn!(lane = %id, ?names, %spawned_at, worker, for_ms, "a poll that took too long is over");
            }
            None => tracing::warn!(worker, for_ms, "a waker or a call of a timer that took too long is over"),
        }
    }

    fn milliseconds_until(&self, now: Instant) -> u64 {
        (now - self.since).as_millis() as u64
    }
}
