//! What a death released: one [`ExitReceipt`] a lane, and the sums over a runtime.

use crate::exit::ExitReason;

/// What the end of a lane gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExitReceipt {
    /// Why the lane ended.
    pub reason: ExitReason,
    /// Bytes of the lane's future.
    pub bytes: u64,
    /// Bytes charged to the lane when it ended, its future included; 0 for one without a [budget](crate::lane::Spawn::memory).
    pub memory: u64,
    /// Those of them that its destructors did not free: what others have of it, or nobody any more.
    pub memory_left: u64,
    /// Bytes that were reserved for it under the [memory limit](crate::Builder::memory_limit): all of them came back, but for
    /// `memory_left` and the account that counts it.
    pub memory_reserved: u64,
    /// Timers cancelled, whether by destructors or after them.
    pub timers: u64,
    /// Descriptors closed, whether by destructors or after them.
    pub descriptors: u64,
    /// Names given up.
    pub names: u64,
    /// Memberships of groups given up; of one that was joined several times, as many.
    pub memberships: u64,
    /// Green locks and permits given back or left to others, whether by destructors or after them.
    pub locks: u64,
    /// Places in line for green locks given up, whether by destructors or after them.
    pub wait_entries: u64,
    /// Links cut, each with an exit signal to the other side.
    pub links: u64,
    /// Watchers told.
    pub watchers: u64,
    /// Monitors on others, and on groups, taken back.
    pub monitors: u64,
    /// Messages that were queued and not handled.
    pub messages_dropped: u64,
    /// Senders that waited for room and got their message back.
    pub senders_refused: u64,
    /// Destructors that panicked on the way.
    pub destructor_panics: u64,
    /// Releases that failed, as a `close` that the OS refused.
    pub errors: u64,
}

impl ExitReceipt {
    pub(crate) fn new(reason: ExitReason) -> ExitReceipt {
        ExitReceipt {
            reason,
            bytes: 0,
            memory: 0,
            memory_left: 0,
            memory_reserved: 0,
            timers: 0,
            descriptors: 0,
            names: 0,
            memberships: 0,
            locks: 0,
            wait_entries: 0,
            links: 0,
            watchers: 0,
            monitors: 0,
            messages_dropped: 0,
            senders_refused: 0,
            destructor_panics: 0,
            errors: 0,
        }
    }
}
