//! What a lane holds of green locks and what it waits for: one entry a thing, gone through at its death, and, as to waits,
//! at the end of each of its turns.
//!
//! Owns: [`Index`], and for threads in `block_on`, which are no lanes, the waits of their futures. Knows nothing of the
//! locks but what [`Held`] and [`Waits`] say.
//!
//! # Invariants
//! 1. Whatever an entry names is never freed, and an entry is believed only after its number was compared: a guard or a
//!    future may have moved to another lane, and ended there, without a word to this index.
//! 2. Entries that are not true any more are taken out before an index grows, so that it stays within a few times what was
//!    true at once.
//! 3. What `held` of a lane does at its death, and what a wait does when it is passed over or left, wakes others: nothing
//!    is borrowed then.

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use super::own::{Own, WAITS};
use super::waker::{keep, waker};
use crate::alloc;
use crate::context;
use crate::slab::Slab;
use crate::slot::SlotRef;
use crate::wait_list::line::Waits;
use crate::wait_list::{By, Ticket};

/// What the index of a lane knows of a lock that the lane holds.
pub(crate) trait Held: Sync {
    /// Whether the grant stands and is `by`'s.
    fn is_held_by(&self, grant: Ticket, by: By) -> bool;

    /// What it is, in a word, and where `by` took it, whose the grant must be.
    fn describe(&self, grant: Ticket, by: By) -> Option<(&'static str, &'static Location<'static>)>;

    /// `by` has died, and its guard was leaked or moved: ends what can be ended of the grant. False where it did not stand.
    fn abandon(&self, grant: Ticket, by: By) -> bool;
}

/// A lock that the lane took.
#[derive(Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) lock: &'static dyn Held,
    pub(crate) grant: Ticket,
}

/// A place in a line that the lane took.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) line: &'static dyn Waits,
    pub(crate) ticket: Ticket,
    /// The turn in which its future was polled last.
    polled_in: u64,
}

/// What a lane holds of green locks, and what it waits for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The lock that was taken when no other was held: most lanes hold one at a time.
    first: Option<Hold>,
    /// The others.
    more: Slab<Hold>,
    pub(crate) waits: Slab<Wait>,
}

/// Where [`Index::first`] stands. Of what is further behind, the place in the slab is one less.
const FIRST: u32 = 0;

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.grant).finish()
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wait").field(&self.ticket).finish()
    }
}

impl Own {
    /// Notes a lock that the lane in `slot`, whose half this is, has taken: where.
    #[inline(always)]
    pub(crate) fn note_hold(&mut self, slot: SlotRef, lock: &'static dyn Held, grant: Ticket) -> u32 {
        match self.note_first_hold(lock, grant) {
            Some(at) => at,
            None => self.note_one_more(slot, lock, grant),
        }
    }

    /// As [`Own::note_hold`], where no other is noted.
    #[inline(always)]
    pub(crate) fn note_first_hold(&mut self, lock: &'static dyn Held, grant: Ticket) -> Option<u32> {
        let index = self.index.as_deref_mut().filter(|index| index.first.is_none())?;
        index.first = Some(Hold { lock, grant });
        Some(FIRST)
    }

    #[inline(never)]
    fn note_one_more(&mut self, slot: SlotRef, lock: &'static dyn Held, grant: Ticket) -> u32 {
        self.index().note_one_more(slot, Hold { lock, grant })
    }

    /// The lock is given back.
    pub(crate) fn forget_hold(&mut self, at: u32, lock: &dyn Held, grant: Ticket) {
        if let Some(index) = &mut self.index {
            if index.first.is_some_and(|first| is_hold(&first, lock, grant)) {
                index.first = None;
            } else if at != FIRST {
                index.more.forget_if(at - 1, |hold| is_hold(hold, lock, grant));
            }
        }
    }

    /// As [`Own::forget_hold`], of a lock that one holds at a time: an entry of it is either of this grant or of none any more.
    #[inline(always)]
    pub(crate) fn forget_only_hold(&mut self, at: u32, lock: &dyn Held, number: u64) {
        if let Some(index) = &mut self.index
            && ptr::addr_eq(index.first.map_or(ptr::null(), |first| ptr::from_ref(first.lock).cast::<()>()), lock)
        {
            index.first = None;
        } else if at != FIRST {
            self.forget_one_of_more(at, lock, number);
        }
    }

    #[inline(never)]
    fn forget_one_of_more(&mut self, at: u32, lock: &dyn Held, number: u64) {
        self.forget_hold(at, lock, Ticket { at: 0, number });
    }
}

impl Index {
    fn note_one_more(&mut self, slot: SlotRef, hold: Hold) -> u32 {
        if self.first.is_none() {
            self.first = Some(hold);
            return FIRST;
        }
        let by = slot.tenant().map_or(By::Foreign, By::Lane);
        if self.first.is_some_and(|first| !first.lock.is_held_by(first.grant, by)) {
            // Its guard ended elsewhere.
            self.first = Some(hold);
            return FIRST;
        }
        if self.more.is_full() {
            self.more.make_room(|hold| hold.lock.is_held_by(hold.grant, by));
        }
        self.more.insert(hold) + 1
    }

    /// The locks noted, some of which may not be the lane's any more.
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.first.iter().chain(self.more.iter().map(|(_, hold)| hold))
    }

    /// How many locks can be noted before there must be more memory.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        1 + self.more.capacity()
    }

    /// How many of the locks and waits noted are still the lane's.
    pub(crate) fn count(&self, by: By) -> (u64, u64) {
        let holds = self.holds().filter(|hold| hold.lock.is_held_by(hold.grant, by)).count();
        let waits = self.waits.iter().filter(|(_, wait)| wait.line.is_seat_of(wait.ticket, by)).count();
        (holds as u64, waits as u64)
    }

    /// Leaves the lines in which a lane waits that is gone and whose code is not.
    pub(crate) fn leave_lines(&mut self, by: By) {
        leave_all(std::mem::take(&mut self.waits), by);
    }

    /// Gives back what a lane or a thread leaves that is gone.
    pub(crate) fn release(self, by: By) {
        // First the waits, that nothing is offered to the dead.
        let Index { first, more, waits } = self;
        leave_all(waits, by);
        for hold in first.into_iter().chain(more.into_values().map(|(_, hold)| hold)) {
            hold.lock.abandon(hold.grant, by);
        }
    }
}

/// Nothing else of the same lock has the same number.
fn is_hold(hold: &Hold, lock: &dyn Held, grant: Ticket) -> bool {
    ptr::addr_eq(hold.lock, lock) && hold.grant.number == grant.number
}

fn leave_all(waits: Slab<Wait>, by: By) {
    for (_, wait) in waits.into_values() {
        wait.line.leave_dead(wait.ticket, by);
    }
}

/// Who polls here: by whom the turns are watched, and the waker of that lane or thread where `cx` has another.
pub(crate) fn who(cx: &Context<'_>) -> (By, Option<Waker>) {
    let unless_same = |own: &Waker| (!own.will_wake(cx.waker())).then(|| keep(own));
    let lane = context::with_local(|local| {
        let slot = local?.current()?;
        Some((By::Lane(slot.tenant()?), unless_same(&waker(slot))))
    });
    lane.or_else(|| with_root(|root| (By::Root(root.number), unless_same(&root.waker)))).unwrap_or((By::Foreign, None))
}

/// Who runs here: for those who only try.
pub(crate) fn who_runs() -> By {
    match context::current_id() {
        Some(id) => By::Lane(id),
        None => with_root(|root| By::Root(root.number)).unwrap_or(By::Foreign),
    }
}

/// Notes, with the lane or thread that polls here, a place in a line: where. One that it had before is `known` to somebody,
/// and may be noted here.
pub(crate) fn note_wait(by: By, line: &'static dyn Waits, ticket: Ticket, known: bool) -> u32 {
    let note = |waits: &mut Slab<Wait>, turn| {
        if !known && !waits.is_full() {
            return waits.insert(Wait { line, ticket, polled_in: turn });
        }
        let noted = if known { waits.iter().find(|(_, wait)| is_wait(wait, line, ticket)) } else { None };
        if let Some(at) = noted.map(|(at, _)| at) {
            waits.at_mut(at).into_iter().for_each(|wait| wait.polled_in = turn);
            return at;
        }
        if waits.is_full() {
            waits.make_room(|wait| wait.line.is_seat_of(wait.ticket, by));
        }
        waits.insert(Wait { line, ticket, polled_in: turn })
    };
    let of_lane = context::with_current(|local, _, own| {
        own.flags |= WAITS;
        note(&mut own.index().waits, local.turn.number())
    });
    of_lane.or_else(|| with_root(|root| note(&mut root.waits, root.turn))).unwrap_or(u32::MAX)
}

/// The future of a wait was polled in this turn, and waits on.
pub(crate) fn note_polled(at: u32, line: &dyn Waits, ticket: Ticket) {
    with_waits(|waits, turn| {
        if let Some(wait) = waits.at_mut(at).filter(|wait| is_wait(wait, line, ticket)) {
            wait.polled_in = turn;
        }
    });
}

/// The wait is over. To be called where it was noted, or nothing happens, which does not matter.
pub(crate) fn forget_wait(at: u32, line: &dyn Waits, ticket: Ticket) {
    let forget = |waits: &mut Slab<Wait>| waits.forget_if(at, |wait| is_wait(wait, line, ticket));
    let of_lane = context::with_current(|_, _, own| {
        let Some(index) = &mut own.index else { return };
        forget(&mut index.waits);
        if index.waits.is_empty() {
            own.flags &= !WAITS;
        }
    });
    if of_lane.is_none() {
        with_root(|root| forget(&mut root.waits));
    }
}

fn is_wait(wait: &Wait, line: &dyn Waits, ticket: Ticket) -> bool {
    ptr::addr_eq(wait.line, line) && wait.ticket == ticket
}

/// Runs `f` with the waits of the lane or thread that runs here, and the number of its turn.
fn with_waits<R>(f: impl FnOnce(&mut Slab<Wait>, u64) -> R) -> Option<R> {
    let mut f = Some(f);
    let of_lane =
        context::with_current(|local, _, own| f.take().map(|f| f(&mut own.index().waits, local.turn.number())));
    match of_lane {
        Some(result) => result,
        None => with_root(|root| f.take().map(|f| f(&mut root.waits, root.turn))).flatten(),
    }
}

/// What was offered to one whose turn is over and who has not polled it.
pub(crate) struct Unpolled {
    line: &'static dyn Waits,
    ticket: Ticket,
    by: By,
}

impl Unpolled {
    /// Offers it to the next. It wakes; so nothing may be borrowed.
    pub(crate) fn pass_on(self) {
        self.line.pass_over(self.ticket, self.by);
    }
}

/// What may have been offered to a lane and was not polled in its turn, which is over.
pub(crate) fn unpolled_offers(slot: SlotRef, own: &mut Own, turn: u64) -> Vec<Unpolled> {
    let waits = &mut own.index().waits;
    if waits.iter().all(|(_, wait)| wait.polled_in == turn) {
        return Vec::new();
    }
    slot.tenant().map_or_else(Vec::new, |id| unpolled(waits, By::Lane(id), turn))
}

/// Takes out the waits that are not, or no longer, those of `by`, as far as the look at offers tells.
fn unpolled(waits: &mut Slab<Wait>, by: By, turn: u64) -> Vec<Unpolled> {
    let mut unpolled = Vec::new();
    waits.retain(|wait| {
        if wait.polled_in == turn || !wait.line.has_offers() {
            return true;
        }
        let stands = wait.line.is_seat_of(wait.ticket, by);
        if stands {
            unpolled.push(Unpolled { line: wait.line, ticket: wait.ticket, by });
        }
        stands
    });
    unpolled
}

/// A thread in `block_on`.
struct Root {
    number: u64,
    waker: Waker,
    /// How many polls it has begun.
    turn: u64,
    waits: Slab<Wait>,
}

thread_local! {
    /// The calls of `block_on` under way on this thread, the innermost last.
    static ROOTS: RefCell<Vec<Root>> = const { RefCell::new(Vec::new()) };
}

static NEXT_ROOT: AtomicU64 = AtomicU64::new(0);

fn with_root<R>(f: impl FnOnce(&mut Root) -> R) -> Option<R> {
    ROOTS.try_with(|roots| roots.try_borrow_mut().ok()?.last_mut().map(f)).ok()?
}

/// The time in which a thread is in `block_on`: ends with it what its futures wait for.
pub(crate) struct RootGuard {
    number: u64,
}

impl RootGuard {
    /// `waker` wakes the thread.
    ///
    /// What an outer call on this thread waits for it does not look at before this one is over. It leaves those lines, so
    /// that nothing is kept for it meanwhile, and is woken to wait again.
    pub(crate) fn enter(waker: Waker) -> RootGuard {
        if let Some((number, waits)) = with_root(|root| (root.number, std::mem::take(&mut root.waits))) {
            leave_all(waits, By::Root(number));
        }
        // ORDER: Relaxed: a number that nobody else has.
        let number = NEXT_ROOT.fetch_add(1, Ordering::Relaxed);
        ROOTS.with_borrow_mut(|roots| {
            alloc::uncharged(|| roots.push(Root { number, waker, turn: 0, waits: Slab::default() }));
        });
        RootGuard { number }
    }

    /// The future is about to be polled.
    pub(crate) fn begin_turn(&self) {
        with_root(|root| root.turn += 1);
    }

    /// What was offered to the thread and not polled since then passes on.
    pub(crate) fn end_turn(&self) {
        let by = By::Root(self.number);
        let unpolled = with_root(|root| unpolled(&mut root.waits, by, root.turn)).unwrap_or_default();
        unpolled.into_iter().for_each(Unpolled::pass_on);
    }
}

impl Drop for RootGuard {
    fn drop(&mut self) {
        let root = ROOTS.try_with(|roots| roots.try_borrow_mut().ok()?.pop()).ok().flatten();
        if let Some(Root { number, waits, .. }) = root {
            leave_all(waits, By::Root(number));
        }
    }
}
