//! The life-cycle word of a lane: who may poll it, and whether it must be polled again.
//!
//! Owns: the `State` word inside a slot. Knows nothing of queues, futures or arenas.
//!
//! | bits | field | meaning |
//! | --- | --- | --- |
//! | 0 | `SCHEDULED` | it is in a run queue, or, beside `RUNNING`, must be queued again when the poll returns |
//! | 1 | `RUNNING` | a worker polls it or ends it |
//! | 2 | `KILL` | it must end before the next poll |
//! | 3 | `SIGNAL` | signals in its mailbox must take effect before the next poll |
//! | 4 | `LIVE` | it has a tenant; an all-zero word is a dead lane |
//! | 5 | `LATE` | somebody wants to hear of its end, who came after its mailbox had closed |
//! | 48..64 | generation | which tenant |
//!
//! # Invariants
//! 1. At most one worker holds `RUNNING`, and only that worker touches what the slot keeps for its owner.
//! 2. A slot is in a run queue exactly while `SCHEDULED` is set and `RUNNING` is not.
//! 3. Without `LIVE` nothing but `revive` changes the word, and nobody is told to schedule.
//! 4. `KILL` and `SIGNAL` are only set together with `SCHEDULED`, so that somebody will look.
//!
//! Models: `model/state.rs`.

use crate::shim::{AtomicU64, Ordering};

const SCHEDULED: u64 = 1;
const RUNNING: u64 = 2;
const KILL: u64 = 4;
const SIGNAL: u64 = 8;
const LIVE: u64 = 16;
const LATE: u64 = 32;
const GENERATION_SHIFT: u32 = 48;

/// The packed word.
#[derive(Debug)]
pub(crate) struct State(AtomicU64);

/// What a waker must do next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnWake {
    /// Push the lane on a run queue.
    Schedule,
    /// Nothing: it is queued, or its worker sees the bit when the poll returns.
    Nothing,
    /// Nothing, ever: the lane is gone.
    Stale,
}

/// What the worker that took the lane from a queue must do before it polls.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnRun {
    /// End it.
    pub(crate) kill: bool,
    /// Let its signals take effect.
    pub(crate) signal: bool,
}

/// What the worker whose poll returned must do next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnIdle {
    /// Nothing: the lane is parked and no longer ours.
    Parked,
    /// Push it on a run queue: it was woken meanwhile.
    Schedule,
}

fn generation_of(word: u64) -> u16 {
    (word >> GENERATION_SHIFT) as u16
}

impl State {
    /// The word of a slot that never had a tenant.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> State {
        State(AtomicU64::new(0))
    }

    /// Whether the tenant of `generation` lives.
    pub(crate) fn is_live(&self, generation: u16) -> bool {
        // ORDER: Acquire: who hears "dead" sees what the death released.
        let word = self.0.load(Ordering::Acquire);
        word & LIVE != 0 && generation_of(word) == generation
    }

    /// The generation of the tenant that lives or is about to end.
    #[cfg(not(loom))]
    pub(crate) fn tenant(&self) -> Option<std::num::NonZeroU16> {
        // ORDER: Acquire, as in `is_live`.
        let word = self.0.load(Ordering::Acquire);
        if word & LIVE == 0 { None } else { std::num::NonZeroU16::new(generation_of(word)) }
    }

    /// Puts a new tenant in, to be queued by the caller.
    pub(crate) fn revive(&self, generation: u16) {
        // ORDER: Release publishes the slot made ready to whoever runs or wakes it. A plain store is right: by
        // invariant 3 nobody else changes the word of a dead lane.
        let word = u64::from(generation) << GENERATION_SHIFT | LIVE | SCHEDULED;
        self.0.store(word, Ordering::Release);
    }

    /// A wake by whoever holds a waker, which may be one of an earlier tenant.
    pub(crate) fn transition_to_scheduled(&self) -> OnWake {
        self.raise(None, SCHEDULED)
    }

    /// A wake that is meant for one tenant.
    pub(crate) fn transition_to_scheduled_exact(&self, generation: u16) -> OnWake {
        self.raise(Some(generation), SCHEDULED)
    }

    /// A kill.
    pub(crate) fn transition_to_killed(&self, generation: u16) -> OnWake {
        self.raise(Some(generation), KILL | SCHEDULED)
    }

    /// A signal lies in the mailbox that must take effect soon.
    pub(crate) fn transition_to_signalled(&self, generation: u16) -> OnWake {
        self.raise(Some(generation), SIGNAL | SCHEDULED)
    }

    /// Somebody who found the mailbox closed wants to hear of the end: false where it is over.
    pub(crate) fn transition_to_awaited(&self, generation: u16) -> bool {
        self.raise(Some(generation), LATE) != OnWake::Stale
    }

    fn raise(&self, generation: Option<u16>, bits: u64) -> OnWake {
        // ORDER: Acquire, and AcqRel below: Release publishes what the waker wrote to the worker that polls next and
        // pairs with `transition_to_running`. The write happens even where the bit was set already: a load alone
        // would publish nothing. Model: `no_wake_is_lost`.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if word & LIVE == 0 || generation.is_some_and(|wanted| wanted != generation_of(word)) {
                return OnWake::Stale;
            }
            match self.0.compare_exchange_weak(word, word | bits, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if word & (SCHEDULED | RUNNING) == 0 => return OnWake::Schedule,
                Ok(_) => return OnWake::Nothing,
                Err(seen) => word = seen,
            }
        }
    }

    /// The lane was taken from a queue: from `SCHEDULED` to `RUNNING`.
    pub(crate) fn transition_to_running(&self) -> OnRun {
        // ORDER: Acquire sees what the wakers wrote and what the last worker left. Adding `SCHEDULED` to itself
        // carries into `RUNNING`: invariant 2 says that the one is set and the other is not.
        let word = self.0.fetch_add(SCHEDULED, Ordering::AcqRel);
        debug_assert_eq!(word & (SCHEDULED | RUNNING | LIVE), SCHEDULED | LIVE);
        OnRun { kill: word & KILL != 0, signal: word & SIGNAL != 0 }
    }

    /// The worker is about to let the signals take effect.
    pub(crate) fn clear_signal(&self) {
        // ORDER: AcqRel: a signal that is raised after this is either seen by the take that follows, or raises the
        // bit again.
        self.0.fetch_and(!SIGNAL, Ordering::AcqRel);
    }

    /// Whether a kill came in while the lane ran.
    pub(crate) fn is_killed(&self) -> bool {
        // ORDER: Relaxed: a hint that spares a turn through the queue; the bit is seen again by the next run.
        self.0.load(Ordering::Relaxed) & KILL != 0
    }

    /// The poll returned and the lane goes on living.
    pub(crate) fn transition_to_idle(&self) -> OnIdle {
        // ORDER: Release publishes what the poll wrote to the worker that runs the lane next.
        let word = self.0.fetch_sub(RUNNING, Ordering::AcqRel);
        debug_assert_eq!(word & (RUNNING | LIVE), RUNNING | LIVE);
        if word & SCHEDULED != 0 { OnIdle::Schedule } else { OnIdle::Parked }
    }

    /// The lane has ended and what it held is released: whether somebody came late who wants to hear of it.
    pub(crate) fn transition_to_dead(&self) -> bool {
        // ORDER: AcqRel: Release, as who sees the lane dead sees its resources free; Acquire pairs with the Release of
        // `transition_to_awaited`.
        self.0.swap(0, Ordering::AcqRel) & LATE != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_zeroed_word_is_dead_and_schedules_nobody() {
        let state = State::new();
        assert!(!state.is_live(0));
        assert_eq!(state.transition_to_scheduled(), OnWake::Stale);
        assert_eq!(state.transition_to_killed(0), OnWake::Stale);
    }

    #[test]
    fn a_wake_while_running_queues_again() {
        let state = State::new();
        state.revive(1);
        assert_eq!(state.transition_to_scheduled(), OnWake::Nothing);
        assert_eq!(state.transition_to_running(), OnRun { kill: false, signal: false });
        assert_eq!(state.transition_to_scheduled(), OnWake::Nothing);
        assert_eq!(state.transition_to_idle(), OnIdle::Schedule);
        assert_eq!(state.transition_to_running(), OnRun { kill: false, signal: false });
        assert_eq!(state.transition_to_idle(), OnIdle::Parked);
        assert_eq!(state.transition_to_scheduled(), OnWake::Schedule);
    }

    #[test]
    fn a_kill_for_an_earlier_tenant_misses() {
        let state = State::new();
        state.revive(2);
        assert_eq!(state.transition_to_killed(1), OnWake::Stale);
        assert_eq!(state.transition_to_killed(2), OnWake::Nothing);
        assert!(state.transition_to_running().kill);
        assert!(state.is_live(2));
        assert!(!state.transition_to_dead());
        assert!(!state.is_live(2));
    }
}
