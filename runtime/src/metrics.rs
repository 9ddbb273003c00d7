//! Counters, a cache line pair a worker, and their sums.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::receipt::ExitReceipt;

const COUNT: usize = 16;

/// A worker's own counters.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct Line([AtomicU64; COUNT]);

/// The counters of a runtime. Each worker adds to its own line, so that nothing is shared on the way.
#[derive(Debug)]
pub(crate) struct Counters {
    /// One a worker, and a last one for threads outside.
    lines: Vec<Arc<Line>>,
}

const SPAWNED: usize = 0;
const ENDED: usize = 1;
const TURNS: usize = 2;
const ABNORMAL: usize = 3;
const TIMERS: usize = 4;
const DESCRIPTORS: usize = 5;
const NAMES: usize = 6;
const DROPPED: usize = 7;
const REFUSED: usize = 8;
const PANICS: usize = 9;
const ERRORS: usize = 10;
const BYTES: usize = 11;
const TOO_LONG: usize = 12;
const LOCKS: usize = 13;
const WAITS: usize = 14;
const DEADLOCKS: usize = 15;

/// What a runtime has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Lanes spawned.
    pub spawned: u64,
    /// Lanes ended.
    pub ended: u64,
    /// Lanes alive: spawned and not ended.
    pub alive: u64,
    /// Turns given to lanes.
    pub turns: u64,
    /// Workers that share the work now; the others stand by (see [`Builder::adaptive`](crate::Builder::adaptive)).
    pub workers_at_work: u64,
    /// Polls that took longer than the watchdog's limit.
    pub polls_too_long: u64,
    /// Lanes that were killed while they were stuck in a poll, or in their destructors, and still are: they have ended for
    /// all others, and their memory is not given back yet.
    pub abandoned_lanes: u64,
    /// Lanes that were ever among those.
    pub abandoned_total: u64,
    /// Circles of lanes that waited for each other, found and broken.
    pub deadlocks: u64,
    /// Lanes that ended otherwise than normally or by shutdown.
    pub abnormal: u64,
    /// Those of them that ended because they had passed their [budget](crate::lane::Spawn::memory).
    pub out_of_memory: u64,
    /// Bytes that are reserved for lanes that live, or left by dead ones, under the
    /// [memory limit](crate::Builder::memory_limit); 0 without one.
    pub memory_reserved: u64,
    /// Those of them that dead lanes have left.
    pub memory_left: u64,
    /// Bytes under that limit that pools keep for lanes to come.
    pub memory_kept: u64,
    /// Lanes that were not spawned as there was no room under the limit.
    pub memory_refused: u64,
    /// Spawns that wait for room under the limit.
    pub memory_waiting: u64,
    /// Spawns that have ever waited for it.
    pub memory_waited: u64,
    /// Timers standing.
    pub timers: u64,
    /// Descriptors open.
    pub descriptors: u64,
    /// Descriptors opened.
    pub descriptors_opened: u64,
    /// Those of them that were opened on a thing which had one before.
    pub descriptors_duplicated: u64,
    /// Descriptors closed, by whatever way.
    pub descriptors_closed: u64,
    /// Names taken.
    pub names: u64,
    /// Memberships of groups; one that was joined several times counts as often.
    pub memberships: u64,
    /// How often a group was joined.
    pub groups_joined: u64,
    /// How often one was left, by whatever way.
    pub groups_left: u64,
    /// Timers that deaths cancelled.
    pub timers_released: u64,
    /// Descriptors that deaths closed.
    pub descriptors_released: u64,
    /// Names that deaths gave up.
    pub names_released: u64,
    /// How often a group was left by a death.
    pub groups_released: u64,
    /// Green locks and permits that deaths gave back or left to others.
    pub locks_released: u64,
    /// Places in line for green locks that deaths gave up.
    pub wait_entries_released: u64,
    /// Messages that deaths dropped.
    pub messages_dropped: u64,
    /// Waiting senders that deaths sent away.
    pub senders_refused: u64,
    /// Destructors that panicked during a death.
    pub destructor_panics: u64,
    /// Releases that failed.
    pub release_errors: u64,
    /// Bytes of futures that deaths gave back.
    pub bytes_released: u64,
    /// Bytes that [arenas](crate::arena) have.
    pub arena_bytes: u64,
    /// Bytes that none has and that are kept for the next one.
    pub arena_bytes_cached: u64,
    /// Bytes that were given back to the system.
    pub arena_bytes_returned: u64,
    /// How often an arena was refused memory for the [limit](crate::Builder::arena_limit) of the runtime.
    pub arena_refusals: u64,
    /// Arenas whose lane is dead, as somebody else has something of them.
    pub arenas_quarantined: u64,
    /// Bytes that those have.
    pub arena_bytes_quarantined: u64,
}

impl Line {
    /// Adds to a counter of this thread's own line.
    #[inline]
    fn add(&self, which: usize, count: u64) {
        let counter = &self.0[which];
        // One thread writes each line, so load and store will do. ORDER: Release, for `alive`: who sees that a lane has
        // ended sees those that it had spawned.
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Release);
    }

    #[inline]
    pub(crate) fn note_turn(&self) {
        self.add(TURNS, 1);
    }

    pub(crate) fn note_deadlock(&self) {
        self.add(DEADLOCKS, 1);
    }

    pub(crate) fn note_death(&self, receipt: &ExitReceipt) {
        self.add(ENDED, 1);
        self.add(BYTES, receipt.bytes);
        if !receipt.reason.is_ordinary() {
            self.add(ABNORMAL, 1);
        }
        let ExitReceipt { timers, descriptors, names, locks, wait_entries, messages_dropped, senders_refused, .. } =
            receipt;
        let held = timers | descriptors | names | locks | wait_entries | messages_dropped | senders_refused;
        if held | receipt.destructor_panics | receipt.errors != 0 {
            self.note_released(receipt);
        }
    }

    /// As [`Line::note_death`], of a lane that was killed and had nothing.
    pub(crate) fn note_killed(&self, bytes: u64, panics: u64) {
        self.add(ENDED, 1);
        self.add(ABNORMAL, 1);
        self.add(BYTES, bytes);
        if panics != 0 {
            self.add(PANICS, panics);
        }
    }

    /// A lane that was buried elsewhere has left this worker.
    pub(crate) fn note_departure(&self, bytes: u64, panics: u64) {
        self.add(BYTES, bytes);
        self.add(PANICS, panics);
    }

    #[cold]
    fn note_released(&self, receipt: &ExitReceipt) {
        for (which, count) in [
            (TIMERS, receipt.timers),
            (DESCRIPTORS, receipt.descriptors),
            (NAMES, receipt.names),
            (LOCKS, receipt.locks),
            (WAITS, receipt.wait_entries),
            (DROPPED, receipt.messages_dropped),
            (REFUSED, receipt.senders_refused),
            (PANICS, receipt.destructor_panics),
            (ERRORS, receipt.errors),
        ] {
            if count != 0 {
                self.add(which, count);
            }
        }
    }
}

impl Counters {
    pub(crate) fn new(workers: usize) -> Counters {
        Counters { lines: (0..=workers).map(|_| Arc::default()).collect() }
    }

    /// A worker's own line.
    pub(crate) fn line(&self, worker: usize) -> Arc<Line> {
        self.lines[worker].clone()
    }

    /// Counts a lane that a lane spawns.
    pub(crate) fn note_spawn(&self, worker: usize) {
        self.lines[worker].add(SPAWNED, 1);
    }

    /// Counts a lane that is not spawned by a lane; no other lane then keeps the runtime from ending.
    pub(crate) fn note_spawn_by_none(&self, worker: Option<usize>) {
        // ORDER: SeqCst: of this and the look at `closing` that follows, and of the setting of `closing` and the look
        // at this that follows, one look sees what the other did.
        self.spawned_by(worker).fetch_add(1, Ordering::SeqCst);
    }

    /// Takes back what one of the two above counted.
    pub(crate) fn forget_spawn(&self, worker: Option<usize>) {
        self.spawned_by(worker).fetch_sub(1, Ordering::SeqCst);
    }

    /// Threads outside share the last line.
    fn spawned_by(&self, worker: Option<usize>) -> &AtomicU64 {
        &self.lines[worker.unwrap_or(self.lines.len() - 1)].0[SPAWNED]
    }

    /// Counts a poll that takes too long; for the watchdog, which is no worker.
    pub(crate) fn note_too_long(&self) {
        // ORDER: Relaxed: a count, which orders nothing.
        self.lines[self.lines.len() - 1].0[TOO_LONG].fetch_add(1, Ordering::Relaxed);
    }

    /// Turns that a worker has given, all of which are over.
    pub(crate) fn turns_of(&self, worker: usize) -> u64 {
        // ORDER: Acquire: what was done in them was done before.
        self.lines[worker].0[TURNS].load(Ordering::Acquire)
    }

    /// Turns given so far.
    pub(crate) fn turns(&self) -> u64 {
        self.sum(TURNS)
    }

    /// Lanes alive, as far as one look at all lines tells.
    pub(crate) fn alive(&self) -> u64 {
        // Ends first: a lane that ends between the two sums then counts as alive rather than as less than nothing.
        let ended = self.sum(ENDED);
        self.sum(SPAWNED).saturating_sub(ended)
    }

    /// Lanes spawned.
    pub(crate) fn spawned(&self) -> u64 {
        self.sum(SPAWNED)
    }

    // ORDER: SeqCst, see `note_spawn_by_none`.
    fn sum(&self, which: usize) -> u64 {
        self.lines.iter().map(|line| line.0[which].load(Ordering::SeqCst)).sum()
    }

    pub(crate) fn snapshot(&self) -> Metrics {
        let ended = self.sum(ENDED);
        let spawned = self.sum(SPAWNED);
        Metrics {
            spawned,
            ended,
            alive: spawned.saturating_sub(ended),
            turns: self.sum(TURNS),
            polls_too_long: self.sum(TOO_LONG),
            deadlocks: self.sum(DEADLOCKS),
            abnormal: self.sum(ABNORMAL),
            timers_released: self.sum(TIMERS),
            descriptors_released: self.sum(DESCRIPTORS),
            names_released: self.sum(NAMES),
            locks_released: self.sum(LOCKS),
            wait_entries_released: self.sum(WAITS),
            messages_dropped: self.sum(DROPPED),
            senders_refused: self.sum(REFUSED),
            destructor_panics: self.sum(PANICS),
            release_errors: self.sum(ERRORS),
            bytes_released: self.sum(BYTES),
            ..Metrics::default()
        }
    }
}
