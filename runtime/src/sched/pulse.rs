//! What a worker lets others see of its present turn, and the hand-over place that another may empty while it is stuck.
//!
//! Owns: [`Pulse`], one a worker. Knows nothing of queues, clocks and reports. Whose the lane is that runs is told in
//! `hold.rs`.
//!
//! | bits of the beat | field | meaning |
//! | --- | --- | --- |
//! | 0 | `AWAY` | code runs that is not the scheduler's: a poll, a destructor, a waker, a call of a timer |
//! | 1..32 | section | which stretch of such code it is; none has the number of the one before |
//!
//! The section's number wraps after 2³¹ turns, which take minutes; nobody compares two that are further apart than a
//! few of the watchdog's looks.
//!
//! # How a worker is robbed
//!
//! The worker alone writes to the hand-over place, with plain loads and stores. A robber ([`Pulse::rob`]) only reads it,
//! and notes under the lock what it has taken. It says that it comes (`ROBBED`), passes the heavy half of the barrier of
//! `barrier.rs`, looks whether the worker is still in the section in which it was seen, and then reads the place.
//!
//! The worker looks at `ROBBED` at the end of a section before it takes from the place ([`Pulse::orders`]), and after
//! each lane that it puts there ([`Pulse::hand_over`]). Before the look it has stored what it did, and it has passed the
//! light half. So of the two looks, the worker's and the robber's, one at least sees what the other did:
//!
//! 1. If the robber finds the section, the worker's look at its end finds `ROBBED`. If it does not find it, it takes
//!    nothing.
//! 2. If a look after a hand-over misses `ROBBED`, the robber reads the lane that was handed over, or a later one; so what
//!    was displaced is the worker's.
//! 3. A worker that finds `ROBBED` asks under the lock what was taken: the lane that lies in the place, or the one that it
//!    has just displaced, or neither. It leaves nothing in the place then, until it has settled ([`Pulse::settle`]).
//!
//! As the robber reads the place once, and a lane is in no two places, the answer is one of these. The same look serves
//! what a worker pushes on its queue: if it misses `ROBBED`, whoever comes for the robber finds the push (`worker.rs`).
//!
//! Where the system lacks the barrier, nobody takes what lies in the hand-over place: it waits for the end of the poll.
//!
//! Model: `model/pulse.rs`.

use super::barrier;
use super::hold::Hold;
use super::notices::Notices;
use crate::shim::{AtomicU8, AtomicU32, Mutex, Ordering};
use crate::slot::{AtomicSlot, SlotRef, is_same};

const AWAY: u32 = 1;
/// From the end of one section into the next.
const BEGIN: u32 = 3;

/// A robber was here, and the worker must settle.
const ROBBED: u8 = 1;
/// The worker is to go.
const LEAVE: u8 = 2;

/// What others see of a worker; `R` is what a robber notes for it.
#[repr(align(128))]
pub(crate) struct Pulse<R> {
    beat: AtomicU32,
    orders: AtomicU8,
    /// Whose code runs.
    lane: AtomicSlot,
    /// The lane woken last, which runs next: what it needs is still in the cache.
    next: AtomicSlot,
    /// The system's number of the worker's thread, 0 where it is not known.
    thread: AtomicU32,
    /// Whose the lane is that it runs.
    pub(crate) hold: Hold,
    /// Notices of death that it has not sent.
    pub(crate) notices: Notices,
    robbery: Mutex<Option<Robbery<R>>>,
}

struct Robbery<R> {
    section: Section,
    note: R,
    /// What lay in the hand-over place, until the worker knows of it.
    taken: Option<SlotRef>,
}

/// One stretch of code that is not the scheduler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section(u32);

/// Where a lane went that was to be handed over.
#[must_use]
pub(crate) enum HandedOver {
    /// It lies in the hand-over place, or somebody took it from there; this one must be queued, who lay there before.
    Displaced(Option<SlotRef>),
    /// The worker is robbed: both must be queued.
    Robbed(SlotRef, Option<SlotRef>),
}

impl<R> Pulse<R> {
    pub(crate) fn new() -> Pulse<R> {
        Pulse {
            beat: AtomicU32::new(0),
            orders: AtomicU8::new(0),
            lane: AtomicSlot::empty(),
            next: AtomicSlot::empty(),
            thread: AtomicU32::new(0),
            hold: Hold::new(),
            notices: Notices::new(),
            robbery: Mutex::new(None),
        }
    }

    /// The worker, which is in no section, begins to run code that is not its own: that of a lane, or of nobody in
    /// particular.
    #[inline]
    pub(crate) fn begin(&self, lane: Option<SlotRef>) {
        // ORDER: Relaxed, here and in `clear_lane`: published by the beat, and for a report only.
        self.lane.store(lane, Ordering::Relaxed);
        let beat = self.beat.load(Ordering::Relaxed);
        debug_assert!(beat & AWAY == 0);
        // ORDER: Release: who sees the beat sees what the worker did with its place before.
        self.beat.store(beat.wrapping_add(BEGIN), Ordering::Release);
    }

    /// What runs from here on is no longer the lane's.
    #[inline]
    pub(crate) fn clear_lane(&self) {
        self.lane.store(None, Ordering::Relaxed);
    }

    /// What runs from here on is this lane's again.
    #[inline]
    pub(crate) fn set_lane(&self, lane: SlotRef) {
        self.lane.store(Some(lane), Ordering::Relaxed);
    }

    /// The section is over. The worker must look at its [`orders`](Pulse::orders) before it takes from the hand-over place.
    #[inline]
    pub(crate) fn end(&self) {
        let beat = self.beat.load(Ordering::Relaxed);
        debug_assert!(beat & AWAY != 0);
        // ORDER: Relaxed: the barrier in `orders` orders it before the look (header, 1).
        self.beat.store(beat.wrapping_sub(AWAY), Ordering::Relaxed);
    }

    /// What the worker has been told, for a look after what it did last.
    #[inline]
    pub(crate) fn orders(&self) -> Orders {
        barrier::light();
        // ORDER: Acquire: who goes sees what was decided before.
        Orders(self.orders.load(Ordering::Acquire))
    }

    /// Puts a lane in the hand-over place.
    #[inline]
    pub(crate) fn hand_over(&self, slot: SlotRef) -> HandedOver {
        let displaced = self.next.load(Ordering::Relaxed);
        // ORDER: Release: who takes the lane sees what its waker did.
        self.next.store(Some(slot), Ordering::Release);
        if self.orders().is_robbed() { self.take_back(slot, displaced) } else { HandedOver::Displaced(displaced) }
    }

    /// Leaves nothing in the hand-over place of a worker that may be robbed (header, 3).
    #[cold]
    fn take_back(&self, slot: SlotRef, displaced: Option<SlotRef>) -> HandedOver {
        let mut robbery = self.robbery.lock();
        let Some(robbery) = &mut *robbery else {
            // The robber has found another section.
            return HandedOver::Displaced(displaced);
        };
        self.next.store(None, Ordering::Relaxed);
        match robbery.taken.take() {
            Some(taken) if is_same(taken, slot) => HandedOver::Displaced(displaced),
            Some(_) => HandedOver::Robbed(slot, None),
            None => HandedOver::Robbed(slot, displaced),
        }
    }

    /// Takes the lane out of the hand-over place, between two sections.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<SlotRef> {
        // ORDER: Relaxed, here and below: nobody else writes here.
        let next = self.next.load(Ordering::Relaxed);
        if next.is_some() {
            self.next.store(None, Ordering::Relaxed);
        }
        next
    }

    /// Whether a lane lies there; for the worker itself, between two sections.
    pub(crate) fn has_next(&self) -> bool {
        self.next.load(Ordering::Relaxed).is_some()
    }

    /// The section that the worker is in, as far as another thread can tell.
    pub(crate) fn section(&self) -> Option<Section> {
        // ORDER: Acquire: the lane is that of the section, or of a later one.
        let beat = self.beat.load(Ordering::Acquire);
        (beat & AWAY != 0).then_some(Section(beat))
    }

    /// Changes with each section, for somebody who only wants to know whether there was one.
    pub(crate) fn beat(&self) -> u32 {
        // ORDER: Relaxed: nothing hangs on it.
        self.beat.load(Ordering::Relaxed)
    }

    /// Whose code runs, as far as another thread can tell.
    pub(crate) fn lane(&self) -> Option<SlotRef> {
        self.lane.load(Ordering::Relaxed)
    }

    /// Robs a worker that is still in `section`: what lay in its hand-over place, if anything did and it could be taken.
    /// `None` where the section is over, or the worker is robbed already.
    pub(crate) fn rob(&self, section: Section, note: R) -> Option<Option<SlotRef>> {
        let mut robbery = self.robbery.lock();
        if robbery.is_some() {
            return None;
        }
        // ORDER: Relaxed: the heavy half orders it before the looks. Who sees it asks under the lock.
        self.orders.fetch_or(ROBBED, Ordering::Relaxed);
        let is_ordered = barrier::heavy();
        // ORDER: Acquire: in this section we see what the worker did with its place before it.
        if self.beat.load(Ordering::Acquire) != section.0 {
            self.orders.fetch_and(!ROBBED, Ordering::Relaxed);
            return None;
        }
        // ORDER: Acquire: whoever runs the lane sees what its waker did.
        let taken = if is_ordered { self.next.load(Ordering::Acquire) } else { None };
        *robbery = Some(Robbery { section, note, taken });
        Some(taken)
    }

    /// The worker is back in its loop: what its robber noted, unless that found another section. The hand-over place is
    /// its own again.
    pub(crate) fn settle(&self) -> Option<R> {
        let mut robbery = self.robbery.lock();
        self.orders.fetch_and(!ROBBED, Ordering::Relaxed);
        let Robbery { note, taken, .. } = robbery.take()?;
        if taken.is_some() {
            self.next.store(None, Ordering::Relaxed);
        }
        Some(note)
    }

    /// Whether the worker is robbed and has not settled.
    pub(crate) fn is_robbed(&self) -> bool {
        self.robbery.lock().is_some()
    }

    /// The section in which it was robbed, and which is not over.
    pub(crate) fn robbed_in(&self) -> Option<Section> {
        let section = self.robbery.lock().as_ref().map(|robbery| robbery.section)?;
        (self.section() == Some(section)).then_some(section)
    }

    /// Puts another note in the place of the robber's, if the worker has not settled since it was robbed in `section`.
    pub(crate) fn set_note(&self, section: Section, note: R) {
        if let Some(robbery) = self.robbery.lock().as_mut().filter(|robbery| robbery.section == section) {
            robbery.note = note;
        }
    }

    /// The system's number of the worker's thread.
    pub(crate) fn thread(&self) -> Option<u32> {
        // ORDER: Relaxed, here and below: for a report only.
        Some(self.thread.load(Ordering::Relaxed)).filter(|thread| *thread != 0)
    }

    /// The worker says which thread it is.
    pub(crate) fn set_thread(&self, thread: u32) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// What its robber noted.
    pub(crate) fn note(&self) -> Option<R>
    where
        R: Clone,
    {
        self.robbery.lock().as_ref().map(|robbery| robbery.note.clone())
    }

    /// Tells the worker to go, or to stay after all.
    pub(crate) fn set_leave(&self, leave: bool) {
        // ORDER: Release, see `orders`.
        if leave {
            self.orders.fetch_or(LEAVE, Ordering::Release);
        } else {
            self.orders.fetch_and(!LEAVE, Ordering::Release);
        }
    }
}

/// What a worker has been told.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders(u8);

impl Orders {
    /// Go on.
    #[inline]
    pub(crate) fn are_none(self) -> bool {
        self.0 == 0
    }

    /// Settle.
    #[inline]
    pub(crate) fn is_robbed(self) -> bool {
        self.0 & ROBBED != 0
    }

    /// Go.
    #[inline]
    pub(crate) fn leave(self) -> bool {
        self.0 & LEAVE != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_note_on_a_robbery_does_not_become_that_of_the_next() {
        let pulse = Pulse::new();
        let rob = |note| {
            pulse.begin(None);
            let section = pulse.section().unwrap();
            assert!(pulse.rob(section, note).is_some());
            section
        };
        let first = rob("stuck");
        pulse.set_note(first, "stuck, and looked at");
        pulse.end();
        assert_eq!(pulse.settle(), Some("stuck, and looked at"));
        let _second = rob("stepped aside");
        pulse.set_note(first, "stuck, and looked at once more");
        assert_eq!(pulse.note(), Some("stepped aside"));
    }
}
