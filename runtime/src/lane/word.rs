//! The one word of a lane: who may poll it, whether it must be polled again, and what was sent to it.
//!
//! Owns: the word's layout and every change of it. Knows nothing of queues, of futures, or of what nodes hold: a node
//! is a number here, and the caller links it.
//!
//! | bits | field | meaning |
//! | --- | --- | --- |
//! | 0..30 | head | [`EMPTY`], or the node pushed last |
//! | 30 | `SCHEDULED` | the lane must be polled (again) |
//! | 31 | `RUNNING` | a worker polls it, or ends it |
//! | 32 | `KILL` | it must end |
//! | 33 | `SIGNAL` | a signal lies in the mailbox that must take effect though the lane may not be receiving |
//! | 34 | `MAIL` | the lane waits for mail: a push also schedules it |
//! | 35..47 | count | messages pushed since the receiver last took all; signals do not count |
//! | 47 | `WAITERS` | senders wait for room; nobody may overtake them |
//! | 48..64 | generation | whose word it is; what is meant for another is refused |
//!
//! A word of generation 0 is closed: bits 0..16 say which generation comes next, 0 for none; `RUNNING` is set until what
//! the tenant before it held is released, `KILL` that it was killed meanwhile, and `LATE` (bit 36) says that somebody came
//! late who wants to hear of that.
//! All-zero is closed, released, and never opened again.
//!
//! That life-cycle and mailbox share a word makes a message cost three read-modify-writes on its way: the push, which
//! schedules; the worker's [`LaneWord::transition_to_running_for_mail`], which takes; and [`LaneWord::transition_to_idle`],
//! which waits for more.
//!
//! # Invariants
//! 1. At most one worker holds `RUNNING`, and only that worker touches the future and what the slot keeps for its owner.
//! 2. A lane is in exactly one run queue while `SCHEDULED` is set and `RUNNING` is not, once it was born. Who takes it
//!    out of the queue may take `RUNNING`.
//! 3. A push succeeds only while the word bears the generation it is for; [`LaneWord::close`] takes the generation out
//!    and the list with it in one step. So a node is in the list before death, or its sender still has it.
//! 4. Only the holder of `RUNNING`, or who took the lane from him (`sched/hold.rs`), or the spawner before the lane is
//!    queued, calls `take`, `close`, `transition_to_idle`, `transition_to_dead` and `open`; and who has taken a lane out of
//!    a queue that was killed calls `close`, which is `RUNNING` as well.
//! 5. `KILL` and `SIGNAL` are only set together with `SCHEDULED`, so that somebody will look; and `MAIL` is set while the
//!    list is empty and the count 0, or together with `SCHEDULED`. So no lane sleeps over what it waits for.
//! 6. Every change but `open` is a read-modify-write, so the changes of one word have one order.
//!
//! Models: `model/word.rs`, `model/mailbox.rs`, `model/slot.rs`.

use crate::shim::{AtomicU64, Ordering, spin};

/// No node.
pub(crate) const EMPTY: u32 = 0;
/// The first number that names a node.
pub(crate) const FIRST_NODE: u32 = 1;
/// The last number that names a node.
pub(crate) const LAST_NODE: u32 = HEAD as u32;

/// A bound that is never reached.
pub(crate) const UNBOUNDED: u32 = u32::MAX;
/// The largest bound that can be told from "unbounded".
pub(crate) const MAX_BOUND: u32 = 0xFFF;

const HEAD: u64 = (1 << 30) - 1;
const SCHEDULED: u64 = 1 << 30;
const RUNNING: u64 = 1 << 31;
const KILL: u64 = 1 << 32;
const SIGNAL: u64 = 1 << 33;
const MAIL: u64 = 1 << 34;
const COUNT_SHIFT: u32 = 35;
const COUNT_ONE: u64 = 1 << COUNT_SHIFT;
const COUNT: u64 = (MAX_BOUND as u64) << COUNT_SHIFT;
const WAITERS: u64 = 1 << 47;
const GENERATION_SHIFT: u32 = 48;
const GENERATION: u64 = u64::MAX << GENERATION_SHIFT;

/// In a closed word.
const LATE: u64 = 1 << 36;
const NEXT: u64 = 0xFFFF;

/// The packed word.
#[derive(Debug)]
pub(crate) struct LaneWord(AtomicU64);

/// What a node is to the bound, and to the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A message under this bound.
    Counted {
        /// At most so many messages may be queued.
        bound: u32,
    },
    /// A message under this bound, in a node in which others may follow it.
    Pack {
        /// As above.
        bound: u32,
        /// So many it has room for, which all count.
        room: u32,
    },
    /// Always let in.
    Exempt,
    /// Always let in, and the lane must look before its next poll.
    Urgent,
}

/// What the pusher must do next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Push the lane on a run queue.
    Schedule,
    /// Nothing: the lane will look.
    Nothing,
}

/// Why nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The lane is gone.
    Stale,
    /// The bound is reached, or others wait before us.
    Full,
}

/// What a waker must do next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnWake {
    /// Push the lane on a run queue.
    Schedule,
    /// Nothing: it is queued, or its worker sees the bit when the poll returns, or it is ending.
    Nothing,
    /// Nothing, ever: the lane is gone.
    Stale,
}

/// What was in the mailbox.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The node pushed last, [`EMPTY`] where there was none.
    pub(crate) head: u32,
    /// Messages, signals aside; [`MAX_BOUND`] stands for as many and more.
    pub(crate) count: u32,
    /// Whether senders wait for room, and are to be let in.
    pub(crate) waiters: bool,
    /// Whether the lane had waited for mail. It does not any more.
    pub(crate) had_waited: bool,
}

/// What the worker that took the lane from a queue must do before it polls.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnRun {
    /// Nothing.
    Poll,
    /// Let this in: what the lane waited for, or what must take effect.
    LetIn(Taken),
    /// End it. Nothing was taken.
    Kill,
}

#[cfg(any(test, loom))]
impl OnRun {
    /// What is to be let in.
    pub(crate) fn taken(self) -> Option<Taken> {
        if let OnRun::LetIn(taken) = self { Some(taken) } else { None }
    }

    /// Whether the lane is to end.
    pub(crate) fn kill(self) -> bool {
        matches!(self, OnRun::Kill)
    }
}

/// What the worker whose poll returned must do next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnIdle {
    /// Nothing: the lane sleeps and is no longer ours.
    Parked,
    /// Push it on a run queue: it was woken meanwhile, or what it waits for is there.
    Schedule,
    /// End it. It is still ours.
    Kill,
}

/// What became of the wish to wait for room.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The owner will see at its next take that somebody waits.
    Waiting,
    /// There is room by now: push.
    Room,
    /// The lane is gone.
    Stale,
}

fn generation_of(word: u64) -> u16 {
    (word >> GENERATION_SHIFT) as u16
}

fn head_of(word: u64) -> u32 {
    (word & HEAD) as u32
}

/// How many messages there are to a sender: more than any bound allows where others wait before him.
#[inline]
fn filled(word: u64) -> u32 {
    const { assert!(WAITERS / COUNT_ONE > MAX_BOUND as u64, "read as one number, it is above all counts") };
    ((word & (COUNT | WAITERS)) >> COUNT_SHIFT) as u32
}

/// Never with [`UNBOUNDED`].
fn is_full(word: u64, bound: u32) -> bool {
    filled(word) >= bound
}

fn has_mail(word: u64) -> bool {
    word & (HEAD | WAITERS) != 0
}

/// What a worker that takes the lane from its queue takes out of the word.
#[inline]
fn cleared_by_run(word: u64) -> u64 {
    if word & KILL != 0 {
        0
    } else if word & MAIL != 0 && has_mail(word) {
        HEAD | MAIL | SIGNAL | COUNT
    } else if word & SIGNAL != 0 {
        HEAD | MAIL | SIGNAL
    } else {
        0
    }
}

/// The word of a lane whose turn is over.
#[inline]
fn idle_after(word: u64, waits_for_mail: bool) -> u64 {
    let next = word & !RUNNING;
    if !waits_for_mail {
        next
    } else if has_mail(word) {
        next | MAIL | SCHEDULED
    } else {
        // All that was received: a sender that found it full would wait for a lane that sleeps.
        (next | MAIL) & !COUNT
    }
}

/// What a receiver took makes room. What is taken only because of the signals in it does not, or every signal would let
/// as many messages in as the bound has.
fn taken(word: u64, receives: bool) -> Taken {
    let count = ((word & COUNT) >> COUNT_SHIFT) as u32;
    Taken { head: head_of(word), count, waiters: receives && word & WAITERS != 0, had_waited: word & MAIL != 0 }
}

/// Whether a closed word is that of a tenant of `generation` that is ending.
fn is_ending(word: u64, generation: u16) -> bool {
    word & RUNNING != 0 && (word as u16).wrapping_sub(1) == generation
}

impl LaneWord {
    /// The word of a slot that never had a tenant and waits for its first.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> LaneWord {
        LaneWord(AtomicU64::new(1))
    }

    /// Makes the all-zero word of fresh memory one that waits for its first tenant.
    pub(crate) fn prepare(&self) {
        debug_assert_eq!(self.0.load(Ordering::Relaxed), 0, "somebody was here");
        // ORDER: Relaxed: nobody knows the slot yet but who prepares it.
        self.0.store(1, Ordering::Relaxed);
    }

    /// The generation that the word bears, 0 while it is closed.
    #[inline]
    pub(crate) fn generation(&self) -> u16 {
        // ORDER: Acquire pairs with the Release of `open`: who sees the generation sees the slot made ready for it.
        generation_of(self.0.load(Ordering::Acquire))
    }

    /// The generation under which a closed word is opened next; 0: never again.
    pub(crate) fn next_generation(&self) -> u16 {
        let word = self.0.load(Ordering::Acquire);
        debug_assert_eq!(generation_of(word), 0, "the word is open");
        (word & NEXT) as u16
    }

    /// Waits until the last tenant's end is over. The slot was given back, so its worker is about to say so.
    pub(crate) fn wait_until_released(&self) {
        // ORDER: Acquire pairs with the Release of `transition_to_dead`.
        while self.0.load(Ordering::Acquire) & RUNNING != 0 {
            spin();
        }
    }

    /// Whether the tenant of `generation` was there once and will never be again.
    pub(crate) fn is_past(&self, generation: u16) -> bool {
        let word = self.0.load(Ordering::Acquire);
        match generation_of(word) {
            0 => word as u16 == 0 || word as u16 > generation,
            now => now > generation,
        }
    }

    /// Whether the tenant of `generation` lives; one that is ending lives until what it held is released.
    pub(crate) fn is_live(&self, generation: u16) -> bool {
        // ORDER: Acquire: who hears "dead" sees what the death released.
        let word = self.0.load(Ordering::Acquire);
        match generation_of(word) {
            0 => is_ending(word, generation),
            now => now == generation,
        }
    }

    /// Whether the tenant of `generation` was killed, and its end is not over.
    pub(crate) fn is_killed_for(&self, generation: u16) -> bool {
        // ORDER: Acquire, so that what is looked at next is not older.
        let word = self.0.load(Ordering::Acquire);
        let is_its = match generation_of(word) {
            0 => is_ending(word, generation),
            now => now == generation,
        };
        is_its && word & KILL != 0
    }

    /// Whether a kill came in while the lane ran.
    #[inline]
    pub(crate) fn is_killed(&self) -> bool {
        // ORDER: Relaxed: a hint; the bit is seen again by the next step of the word.
        self.0.load(Ordering::Relaxed) & KILL != 0
    }

    /// Whether the lane is to be polled (again).
    #[inline]
    pub(crate) fn is_scheduled(&self) -> bool {
        // ORDER: Relaxed: a hint, for the worker that runs it.
        self.0.load(Ordering::Relaxed) & SCHEDULED != 0
    }

    /// Whether the tenant of `generation` lives and was neither woken nor killed since its last poll, which may be on its
    /// way out.
    pub(crate) fn is_parked(&self, generation: u16) -> bool {
        // ORDER: Acquire: who does not find `SCHEDULED` any more sees what its worker did before it took the bit out.
        let word = self.0.load(Ordering::Acquire);
        generation_of(word) == generation && word & (SCHEDULED | KILL) == 0
    }

    /// Whether there is something to take, or room to be made, as far as one look tells; who acts on "no" goes through
    /// [`LaneWord::transition_to_idle`].
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        // ORDER: Relaxed: a hint.
        self.0.load(Ordering::Relaxed) & (HEAD | WAITERS | COUNT) != 0
    }

    /// The node that was pushed last, as far as one look tells; `EMPTY` where all were taken.
    #[inline]
    pub(crate) fn last_node(&self) -> u32 {
        // ORDER: Relaxed: a hint.
        head_of(self.0.load(Ordering::Relaxed))
    }

    /// Whether so many messages were pushed since the receiver last took all, as far as one look tells.
    #[inline]
    pub(crate) fn has_at_least(&self, messages: u32) -> bool {
        // ORDER: Relaxed: a hint.
        filled(self.0.load(Ordering::Relaxed)) >= messages
    }

    /// Whether `node` was pushed last and is still there, in the mailbox of the tenant of `generation`, and nobody waits for
    /// room.
    #[inline(always)]
    pub(crate) fn ends_with(&self, generation: u16, node: u32) -> bool {
        // ORDER: Relaxed: what was pushed before the caller came, by anybody of whom it knows, it sees by any load.
        let word = self.0.load(Ordering::Relaxed);
        word & (GENERATION | WAITERS | HEAD) == u64::from(generation) << GENERATION_SHIFT | u64::from(node)
    }

    /// Whether nothing has come but signals.
    pub(crate) fn has_signals_alone(&self) -> bool {
        // ORDER: Relaxed: a hint.
        let word = self.0.load(Ordering::Relaxed);
        word & (WAITERS | COUNT) == 0 && head_of(word) != EMPTY
    }

    /// Gives back so many of the places that came with `node`, where that was pushed last and is still there: then they still
    /// count.
    pub(crate) fn give_places_back(&self, generation: u16, node: u32, places: u32) {
        let ends = u64::from(generation) << GENERATION_SHIFT | u64::from(node);
        // ORDER: Relaxed: whether it is so still is known by the exchange.
        let mut word = self.0.load(Ordering::Relaxed);
        while word & (GENERATION | HEAD) == ends {
            // With more messages than can be counted they may be fewer.
            let count = ((word & COUNT) >> COUNT_SHIFT) as u32;
            let next = word - u64::from(places.min(count)) * COUNT_ONE;
            // ORDER: AcqRel keeps the changes of the word in one order.
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Puts a new tenant in, which `close` left room for. It counts as scheduled, so nobody else queues it: the caller
    /// does once it is born.
    pub(crate) fn open(&self, generation: u16) {
        debug_assert_eq!(self.0.load(Ordering::Relaxed), u64::from(generation), "not closed for this generation");
        // ORDER: Release publishes the slot made ready; pairs with the Acquire of `push`, `raise` and `generation`. A
        // plain store is right: nobody changes a closed and released word.
        self.0.store(u64::from(generation) << GENERATION_SHIFT | SCHEDULED, Ordering::Release);
    }

    /// Pushes `node`. `link` is told what the node comes before and may be called more than once; `weigh` is asked
    /// once the generation has been seen, so what it reads of the slot belongs to that generation if the push succeeds.
    #[inline]
    pub(crate) fn push(
        &self,
        generation: u16,
        node: u32,
        weigh: impl Fn() -> Weight,
        mut link: impl FnMut(u32),
    ) -> Result<Pushed, Refused> {
        debug_assert!((FIRST_NODE..=LAST_NODE).contains(&node));
        // ORDER: Acquire, so that what `weigh` reads is not older than the generation seen here.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if generation_of(word) != generation {
                return Err(Refused::Stale);
            }
            let mut next = word & !HEAD | u64::from(node);
            match weigh() {
                Weight::Counted { bound } => {
                    let filled = filled(word);
                    if filled >= bound {
                        return Err(Refused::Full);
                    }
                    if filled != MAX_BOUND {
                        next += COUNT_ONE;
                    }
                }
                Weight::Pack { bound, room } => {
                    let filled = filled(word);
                    if filled + room > bound {
                        return Err(Refused::Full);
                    }
                    next += u64::from(room.min(MAX_BOUND - filled)) << COUNT_SHIFT;
                }
                Weight::Exempt => {}
                Weight::Urgent => next |= SIGNAL | SCHEDULED,
            }
            if word & MAIL != 0 {
                next |= SCHEDULED;
            }
            link(head_of(word));
            // ORDER: Release publishes the node (its content and its link) to the taker; Acquire on success lets the
            // pusher that schedules see all that the lane did before it went to sleep.
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if next & SCHEDULED != 0 && word & (SCHEDULED | RUNNING) == 0 => return Ok(Pushed::Schedule),
                Ok(_) => return Ok(Pushed::Nothing),
                Err(seen) => word = seen,
            }
        }
    }

    /// A wake by whoever holds a waker, which may be one of an earlier tenant.
    #[inline]
    pub(crate) fn wake(&self) -> OnWake {
        self.raise(None, SCHEDULED)
    }

    /// The lane must end.
    pub(crate) fn kill(&self, generation: u16) -> OnWake {
        self.raise(Some(generation), KILL | SCHEDULED)
    }

    /// As [`LaneWord::kill`], for a lane that runs and would not come to the signal that kills it; nothing where it does not
    /// run.
    pub(crate) fn kill_running(&self, generation: u16) {
        let mut word = self.0.load(Ordering::Acquire);
        while generation_of(word) == generation && word & (RUNNING | KILL) == RUNNING {
            // ORDER: as in `raise`. It runs, so nobody need queue it.
            match self.0.compare_exchange_weak(word, word | KILL | SCHEDULED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
        if generation_of(word) == 0 && is_ending(word, generation) {
            let _ = self.raise_in_ending(generation);
        }
    }

    #[inline]
    fn raise(&self, generation: Option<u16>, bits: u64) -> OnWake {
        // ORDER: Acquire, and AcqRel below: Release publishes what the waker wrote to the worker that polls next and
        // pairs with `transition_to_running`. The write happens even where the bit was set already: a load alone
        // would publish nothing. Model: `no_wake_is_lost`.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let now = generation_of(word);
            if now == 0 {
                match generation {
                    Some(wanted) if is_ending(word, wanted) => return self.raise_in_ending(wanted),
                    _ => return OnWake::Stale,
                }
            }
            if generation.is_some_and(|wanted| wanted != now) {
                return OnWake::Stale;
            }
            match self.0.compare_exchange_weak(word, word | bits, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if word & (SCHEDULED | RUNNING) == 0 => return OnWake::Schedule,
                Ok(_) => return OnWake::Nothing,
                Err(seen) => word = seen,
            }
        }
    }

    /// Notes that a lane is killed while it ends, for one who may not wait for its destructors. It is for `kill` alone,
    /// which alone names a generation.
    #[cold]
    fn raise_in_ending(&self, generation: u16) -> OnWake {
        let mut word = self.0.load(Ordering::Acquire);
        while generation_of(word) == 0 && is_ending(word, generation) {
            // ORDER: AcqRel: as in `raise`.
            match self.0.compare_exchange_weak(word, word | KILL, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return OnWake::Nothing,
                Err(seen) => word = seen,
            }
        }
        OnWake::Stale
    }

    /// Both of the following.
    #[cfg(any(test, loom))]
    pub(crate) fn transition_to_running(&self) -> OnRun {
        match self.transition_to_running_for_mail() {
            Ok(taken) => OnRun::LetIn(taken),
            Err(seen) => self.transition_to_running_from(seen),
        }
    }

    /// The lane was taken from a queue, and had waited for mail: from `SCHEDULED` to `RUNNING`, with what has come taken by the
    /// same step. Where that is not all that is to be seen to, nothing is done, and the word that was seen is given, for
    /// [`LaneWord::transition_to_running_from`].
    #[inline(always)]
    pub(crate) fn transition_to_running_for_mail(&self) -> Result<Taken, u64> {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & (KILL | SIGNAL | WAITERS | MAIL) == MAIL && head_of(word) != EMPTY {
            debug_assert_eq!(word & (SCHEDULED | RUNNING), SCHEDULED, "invariant 2");
            // ORDER: as in `transition_to_running_from`.
            match self.0.compare_exchange_weak(word, word & GENERATION | RUNNING, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(taken(word, true)),
                Err(seen) => word = seen,
            }
        }
        Err(word)
    }

    /// The lane was taken from a queue, with its word as `word` just now: from `SCHEDULED` to `RUNNING`. What it waited for, and
    /// signals that must take effect, are taken by the same step.
    #[inline]
    pub(crate) fn transition_to_running_from(&self, mut word: u64) -> OnRun {
        loop {
            debug_assert_eq!(word & (SCHEDULED | RUNNING), SCHEDULED, "invariant 2");
            let cleared = if word & (KILL | SIGNAL | MAIL) == 0 { 0 } else { cleared_by_run(word) };
            let next = (word ^ (SCHEDULED | RUNNING)) & !cleared;
            // ORDER: Acquire sees the nodes and what the wakers wrote, and what the last worker left. Release keeps
            // the chain of changes whole for those who read later ones.
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if word & KILL != 0 => return OnRun::Kill,
                Ok(_) if cleared == 0 => return OnRun::Poll,
                Ok(_) => return OnRun::LetIn(taken(word, cleared & COUNT != 0)),
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes all nodes. Where that `receives` them, it makes room for others; who waits for that keeps waiting until
    /// [`LaneWord::no_more_waiters`].
    pub(crate) fn take(&self, receives: bool) -> Taken {
        let bits = if receives { HEAD | MAIL | COUNT } else { HEAD | MAIL };
        // ORDER: Acquire sees the nodes that were pushed with Release. `SIGNAL` stays: a turn too many does no harm.
        taken(self.0.fetch_and(!bits, Ordering::AcqRel), receives)
    }

    /// The poll returned and the lane goes on living, unless it was killed; `waits_for_mail` is whether a push is to schedule
    /// it.
    #[inline]
    pub(crate) fn transition_to_idle(&self, waits_for_mail: bool) -> OnIdle {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            debug_assert_eq!(word & RUNNING, RUNNING, "invariant 1");
            // The common case first: nothing has come, and it waits for mail.
            let next = if waits_for_mail && word & !GENERATION == RUNNING {
                word ^ (RUNNING | MAIL)
            } else if word & KILL != 0 {
                return OnIdle::Kill;
            } else {
                idle_after(word, waits_for_mail)
            };
            // ORDER: Release publishes what the poll wrote to the worker that runs the lane next, by whoever schedules
            // it; Acquire, so that where we schedule it ourselves all wakers' writes are behind us.
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if next & SCHEDULED != 0 => return OnIdle::Schedule,
                Ok(_) => return OnIdle::Parked,
                Err(seen) => word = seen,
            }
        }
    }

    /// Closes the word for ever for its generation and takes what is in the mailbox. The lane is ending from now on.
    pub(crate) fn close(&self, next_generation: u16) -> Taken {
        // ORDER: as `take`; Release so that a sender that finds it closed sees the lane as it ended.
        taken(self.0.swap(u64::from(next_generation) | RUNNING, Ordering::AcqRel), true)
    }

    /// Somebody who found the word closed wants to hear of the end: false where it is over.
    pub(crate) fn transition_to_awaited(&self, generation: u16) -> bool {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if generation_of(word) != 0 || !is_ending(word, generation) {
                return false;
            }
            // ORDER: Release pairs with the Acquire of `transition_to_dead`.
            match self.0.compare_exchange_weak(word, word | LATE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }

    /// The lane has ended and what it held is released: whether somebody came late who wants to hear of it.
    pub(crate) fn transition_to_dead(&self) -> bool {
        // Of a closed word these bits stay as they are, whoever comes late.
        let next = self.0.load(Ordering::Relaxed) & NEXT;
        // ORDER: AcqRel: Release, as who sees the lane dead sees its resources free; Acquire pairs with the Release of
        // `transition_to_awaited`.
        self.0.swap(next, Ordering::AcqRel) & LATE != 0
    }

    /// Marks that somebody waits for room. The caller holds the lock of the wait list.
    pub(crate) fn announce_waiter(&self, generation: u16, bound: u32) -> Announced {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if generation_of(word) != generation {
                return Announced::Stale;
            }
            if !is_full(word, bound) {
                return Announced::Room;
            }
            // ORDER: AcqRel keeps the changes of the word in one order with `take`, which must see the bit.
            match self.0.compare_exchange_weak(word, word | WAITERS, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Announced::Waiting,
                Err(seen) => word = seen,
            }
        }
    }

    /// Says that nobody waits any more. The owner holds the lock of the wait list.
    pub(crate) fn no_more_waiters(&self, generation: u16) {
        let mut word = self.0.load(Ordering::Acquire);
        while generation_of(word) == generation && word & WAITERS != 0 {
            match self.0.compare_exchange_weak(word, word & !WAITERS, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
