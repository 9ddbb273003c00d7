//! What a worker lets others see of its present turn, and the hand-over place that others may empty while it is stuck.
//!
//! Owns: [`Pulse`], one a worker. Knows nothing of queues, clocks and reports.
//!
//! | bits of the beat | field | meaning |
//! | --- | --- | --- |
//! | 0 | `AWAY` | code runs that is not the scheduler's: a poll, a destructor, a waker, a call of a timer |
//! | 1..32 | section | which stretch of such code it is; none has the number of the one before |
//!
//! The section's number wraps after 2³¹ turns, which take minutes; nobody compares two that are further apart than a
//! few of the watchdog's looks.
//!
//! # Who may touch the hand-over place
//!
//! The worker, with plain loads and stores, while its beat does not say `AWAY`. Code that is not the scheduler's reaches
//! the place too, when it wakes a lane; for that the worker takes `AWAY` back for a moment ([`Pulse::touch`]).
//!
//! Another thread, once, when it has robbed the worker ([`Pulse::rob`]): it raises `robbed`, passes the heavy half of the
//! barrier of `barrier.rs`, and then finds the beat that it had seen before, which says `AWAY`.
//!
//! Both cannot be. Whenever the worker takes `AWAY` back, it passes the light half after that, and then looks at `robbed`.
//! So either the worker sees `robbed`, and stays off the place; or the robber sees the beat without `AWAY`, or a later
//! one, and stays off. If what the robber sees is a later one, with `AWAY` and the same section, then the worker has done
//! with the place what it wanted, which the robber sees as well (Release, Acquire), and everything that it might want
//! later comes after a look that sees `robbed`: if one did not, the robber would have seen that one's beat.
//!
//! Who is robbed puts what it wakes where all can take it, and settles when its section is over ([`Pulse::settle`]), under
//! the lock that the robber held: the place is its own again after that.
//!
//! Where the system lacks the barrier, nobody takes what lies in the hand-over place: it waits for the end of the poll.
//!
//! Model: `model/pulse.rs`.

use super::barrier;
use crate::shim::{AtomicBool, AtomicU32, Mutex, Ordering};
use crate::slot::{AtomicSlot, SlotRef};

const AWAY: u32 = 1;
const SECTION_ONE: u32 = 2;

/// What others see of a worker; `R` is what a robber notes for it.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Pulse<R> {
    beat: AtomicU32,
    /// Whose code runs.
    lane: AtomicSlot,
    /// The lane woken last, which runs next: what it needs is still in the cache.
    next: AtomicSlot,
    robbed: AtomicBool,
    /// The worker is to go.
    leave: AtomicBool,
    note: Mutex<Option<R>>,
}

/// One stretch of code that is not the scheduler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section(u32);

impl<R> Pulse<R> {
    pub(crate) fn new() -> Pulse<R> {
        Pulse {
            beat: AtomicU32::new(0),
            lane: AtomicSlot::empty(),
            next: AtomicSlot::empty(),
            robbed: AtomicBool::new(false),
            leave: AtomicBool::new(false),
            note: Mutex::new(None),
        }
    }

    /// The worker begins to run code that is not its own: that of a lane, or of nobody in particular.
    #[inline]
    pub(crate) fn begin(&self, lane: Option<SlotRef>) {
        // ORDER: Relaxed, here and in `clear_lane`: published by the beat, and for a report only.
        self.lane.store(lane, Ordering::Relaxed);
        let beat = self.beat.load(Ordering::Relaxed).wrapping_add(SECTION_ONE) | AWAY;
        // ORDER: Release: who sees the beat sees what the worker put in its place before.
        self.beat.store(beat, Ordering::Release);
    }

    /// What runs from here on is no longer the lane's.
    #[inline]
    pub(crate) fn clear_lane(&self) {
        self.lane.store(None, Ordering::Relaxed);
    }

    /// The section is over; true where the worker was robbed meanwhile and must settle.
    #[inline]
    pub(crate) fn end(&self) -> bool {
        // ORDER: Relaxed: the light half orders it before the look, which is all that counts (header).
        self.beat.store(self.beat.load(Ordering::Relaxed) & !AWAY, Ordering::Relaxed);
        self.is_robbed_now()
    }

    #[inline]
    fn is_robbed_now(&self) -> bool {
        barrier::light();
        // ORDER: Acquire: a robber that gave up has left nothing half done.
        self.robbed.load(Ordering::Acquire)
    }

    /// Runs `f`, in which nobody robs this worker; not at all where it is robbed.
    #[inline]
    pub(crate) fn touch<T>(&self, f: impl FnOnce() -> T) -> Option<T> {
        let beat = self.beat.load(Ordering::Relaxed);
        self.beat.store(beat & !AWAY, Ordering::Relaxed);
        let touched = if self.is_robbed_now() { None } else { Some(f()) };
        // ORDER: Release: who sees the beat sees what `f` did.
        self.beat.store(beat, Ordering::Release);
        touched
    }

    /// Puts a lane in the hand-over place: the one that lay there; the lane itself comes back where the worker is robbed.
    #[inline]
    pub(crate) fn hand_over(&self, slot: SlotRef) -> Result<Option<SlotRef>, SlotRef> {
        let replace = || {
            let displaced = self.next.load(Ordering::Relaxed);
            // ORDER: Release: who runs the lane sees what its waker did.
            self.next.store(Some(slot), Ordering::Release);
            displaced
        };
        self.touch(replace).ok_or(slot)
    }

    /// Takes the lane out of the hand-over place, between two sections.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<SlotRef> {
        // ORDER: Relaxed: by the header nobody else touches it now. What a robber did was published by the lock.
        let next = self.next.load(Ordering::Relaxed);
        if next.is_some() {
            self.next.store(None, Ordering::Relaxed);
        }
        next
    }

    /// Whether a lane lies there; for the worker itself.
    pub(crate) fn has_next(&self) -> bool {
        self.next.load(Ordering::Relaxed).is_some()
    }

    /// The section that the worker is in, as far as another thread can tell.
    pub(crate) fn section(&self) -> Option<Section> {
        // ORDER: Acquire: the lane is that of the section, or of a later one.
        let beat = self.beat.load(Ordering::Acquire);
        (beat & AWAY != 0).then_some(Section(beat))
    }

    /// Whose code runs, as far as another thread can tell.
    pub(crate) fn lane(&self) -> Option<SlotRef> {
        self.lane.load(Ordering::Acquire)
    }

    /// Robs a worker that is still in `section`: what lay in its hand-over place, if anything did and it could be taken.
    /// `None` where the section is over, or the worker just now has its hands on the place.
    pub(crate) fn rob(&self, section: Section, note: R) -> Option<Option<SlotRef>> {
        let mut place = self.note.lock();
        if place.is_some() {
            return None;
        }
        // ORDER: Relaxed: the heavy half orders it before the look.
        self.robbed.store(true, Ordering::Relaxed);
        let is_ordered = barrier::heavy();
        // ORDER: Acquire: we see what the worker put in the place before.
        if self.beat.load(Ordering::Acquire) != section.0 {
            // ORDER: Release, see `is_robbed_now`.
            self.robbed.store(false, Ordering::Release);
            return None;
        }
        *place = Some(note);
        let next = if is_ordered { self.next.load(Ordering::Acquire) } else { None };
        if next.is_some() {
            // ORDER: Relaxed: the worker does not look before it has had the lock.
            self.next.store(None, Ordering::Relaxed);
        }
        Some(next)
    }

    /// The worker is back: what its robber noted, unless that gave up. The hand-over place is its own again.
    pub(crate) fn settle(&self) -> Option<R> {
        let mut place = self.note.lock();
        // ORDER: Relaxed: only the worker looks at it without the lock, and for its orders.
        self.robbed.store(false, Ordering::Relaxed);
        place.take()
    }

    /// Whether the worker is robbed and has not settled.
    pub(crate) fn is_robbed(&self) -> bool {
        self.note.lock().is_some()
    }

    /// What its robber noted.
    pub(crate) fn note(&self) -> Option<R>
    where
        R: Clone,
    {
        self.note.lock().clone()
    }

    /// Whether the worker is to go.
    #[inline]
    pub(crate) fn must_leave(&self) -> bool {
        // ORDER: Acquire: a worker that goes sees what was decided before.
        self.leave.load(Ordering::Acquire)
    }

    /// Tells the worker to go, or to stay after all.
    pub(crate) fn set_leave(&self, leave: bool) {
        self.leave.store(leave, Ordering::Release);
    }
}
