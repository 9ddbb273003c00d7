//! What the watchdog says of a worker that is stuck.

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
    /// It is not stuck, but stepped aside to release what a lane held.
    pub(crate) releases: bool,
}

impl Stuck {
    /// Says that a worker is stuck.
    pub(crate) fn report(&self, now: Instant) {
        let (worker, for_ms) = (self.worker, self.milliseconds_until(now));
        match &self.lane {
            Some(LaneInfo { id, names, spawned_at, .. }) => {
                tracing::warn!(lane = %id, ?names, %spawned_at, worker, for_ms, "a poll takes too long");
            }
            None => tracing::warn!(worker, for_ms, "a waker or a call of a timer takes too long"),
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
