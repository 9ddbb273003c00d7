//! What a lane has, counted.
//!
//! Owns: [`Held`]. Counts what others keep; it keeps nothing.

/// What a lane has in the tables of its runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Timers.
    pub timers: usize,
    /// Descriptors.
    pub descriptors: usize,
    /// Names.
    pub names: usize,
    /// Memberships of groups and monitors on groups.
    pub groups: usize,
    /// Green locks, and permits by the times they were taken.
    pub locks: usize,
    /// Places in line for green locks.
    pub wait_entries: usize,
    /// Senders that wait for room in its mailbox.
    pub senders: usize,
}
