//! The timer wheel: which timers are due at a tick, without looking at those that are not.
//!
//! Owns: the timers (deadline, owner, value), their order, the lists of what each owner has, and the keys that name
//! them. Knows nothing of clocks, wakers, locks or how long a tick is: `now` comes in, values come out, and what a
//! value means is the caller's. A timer may do without a value: its owner's number comes out then. Values are handed
//! out, never dropped inside, so a caller may hold a lock around every call.
//!
//! # Levels and slots
//!
//! A tick is a number of eleven digits to the base 64, and each digit has a level of 64 slots: level 0 for the last
//! digit, level 10 for the first (whose digit has only four bits). A timer stands at the level of the *first digit in
//! which its deadline differs from `elapsed`*, in the slot of the deadline's own digit there:
//!
//! | level | a slot spans | the level reaches |
//! | --- | --- | --- |
//! | 0 | 1 tick | to the end of the current 64 ticks |
//! | 1 | 64 ticks | … 4096 ticks (4 s, where a tick is 1 ms) |
//! | 2 | 4096 ticks | … 2^18 ticks (4 min) |
//! | 3 | 2^18 ticks | … 2^24 ticks (5 h) |
//! | L | 2^6L ticks | … 2^(6L+6) ticks |
//! | 10 | 2^60 ticks | all of `u64` |
//!
//! No deadline lies beyond the top, so none needs clamping. Because the deadline is later, its digit is the larger one:
//! a slot never wraps, and every timer of a level comes before every timer of the levels above. The next slot is
//! therefore the lowest bit of the lowest level with any bit set: two `trailing_zeros`, however far away it is.
//!
//! When `elapsed` enters a slot of level 0, all timers in it are due. When it enters one of level L, its timers are
//! *cascaded*: put in their places below L, at most once a level in the life of a timer. Both start by moving the whole
//! list in O(1), so that a call may stop after `limit` timers and the next go on.
//!
//! A list holds keys, one behind the other in memory (see [`list`]): a walk over it waits for no entry to learn where
//! the next one is. Entries are 32 bytes. Values lie apart, as most timers have none.
//!
//! # Invariants
//! 1. Outside of `CASCADING`, a timer stands where `list_for` puts it for the *present* `elapsed`: in `DUE` if its
//!    deadline is not after `elapsed`, else in the slot described above. So timers of one deadline share a list, in the
//!    order of their insertion.
//! 2. `CASCADING` holds only deadlines up to `cascade_end`. While it is not empty every new timer up to there joins it,
//!    and nothing fires: nobody overtakes.
//! 3. A bit of `occupied` is set exactly while its list is not empty; a bit of `rows` exactly while its row of
//!    `occupied` is not 0.
//! 4. An entry is set exactly while its present key is on one of the lists, and while it has an owner on that owner's
//!    list as well. Otherwise it is on the free list, or retired. It says on which list it is, but for the lists that
//!    were moved as a whole: theirs are found by `moved_to`.
//! 5. The generation of an entry grows at every removal. One that has no generation left is retired with generation 0,
//!    which no key has: no key ever names two timers.

use std::num::NonZeroU32;

mod list;
#[cfg(test)]
mod tests;

use list::List;

use crate::lane::memory;

/// Levels that hold deadlines; 6 bits each cover the 64 of a tick.
const LEVELS: usize = 11;
/// The lists of work that waits for nothing but the next `advance` form a row of their own, above the levels.
const NOW_ROW: usize = LEVELS;
/// Timers that fire next, in their order.
const DUE: usize = NOW_ROW * 64;
/// The timers of the slot that is being spread over the levels below.
const CASCADING: usize = DUE + 1;
const LISTS: usize = CASCADING + 1;

/// No list.
const NOWHERE: u16 = u16::MAX;

/// No entry: the end of an owner's list or of the free list, and the owner of a timer that has none.
const NONE: u32 = u32::MAX;

/// Names one timer of one wheel, for ever: a key whose timer has fired or was cancelled names nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    index: u32,
    generation: NonZeroU32,
}

#[cfg(test)]
impl TimerKey {
    /// The key as 64 bits, never 0: the index below, the generation above.
    pub(crate) const fn to_bits(self) -> u64 {
        self.index as u64 | (self.generation.get() as u64) << 32
    }

    /// The key with these bits; `None` where the generation is 0.
    pub(crate) const fn from_bits(bits: u64) -> Option<TimerKey> {
        match NonZeroU32::new((bits >> 32) as u32) {
            Some(generation) => Some(TimerKey { index: bits as u32, generation }),
            None => None,
        }
    }
}

/// Timers in the order of their deadlines; see the module for how.
pub(crate) struct Wheel<T> {
    /// The tick up to which everything has been looked at.
    elapsed: u64,
    /// The last tick of the slot in `CASCADING`; without meaning while that is empty.
    cascade_end: u64,
    /// Bit `r`: row `r` of `occupied` is not 0.
    rows: u16,
    /// Bit `s` of row `r`: list `64 * r + s` is not empty.
    occupied: [u64; LEVELS + 1],
    /// Empty until the first insertion, so that an idle wheel costs nothing.
    lists: Vec<List>,
    /// The slot whose list is now `DUE`, and the one whose list is `CASCADING`; `NOWHERE` once those are empty.
    moved: [u16; 2],
    /// Room of a list that ran empty, for the next that has none.
    spare: Vec<TimerKey>,
    entries: Vec<Entry>,
    /// What the timers have that were set with a value, by the index of their entries.
    values: Vec<Option<T>>,
    /// The free entry that was used last; the others follow through `owner_next`.
    free: u32,
    len: usize,
    /// What each owner has.
    owners: Vec<Owned>,
}

impl<T> Wheel<T> {
    /// An empty wheel that stands at tick `now`. Allocates nothing.
    pub(crate) const fn new(now: u64) -> Wheel<T> {
        Wheel {
            elapsed: now,
            cascade_end: 0,
            rows: 0,
            occupied: [0; LEVELS + 1],
            lists: Vec::new(),
            moved: [NOWHERE; 2],
            spare: Vec::new(),
            entries: Vec::new(),
            values: Vec::new(),
            free: NONE,
            len: 0,
            owners: Vec::new(),
        }
    }

    /// How many timers have neither fired nor been cancelled.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is left.
    #[cfg(test)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tick up to which the wheel has looked.
    pub(crate) const fn elapsed(&self) -> u64 {
        self.elapsed
    }

    /// Sets a timer. One whose deadline is past fires at the next `advance`, and counts in the order of firing as if
    /// its deadline were the tick at which the wheel stands.
    ///
    /// # Panics
    /// At 2^32 - 1 timers, and if `owner` is `u32::MAX`. Owners are expected to be dense: the wheel keeps 4 bytes for
    /// each number up to the highest it has seen.
    pub(crate) fn insert(&mut self, deadline: u64, owner: Option<u32>, value: T) -> TimerKey {
        let key = self.insert_entry(deadline, owner);
        let index = key.index as usize;
        self.entries[index].has_value = true;
        if self.values.len() <= index {
            self.values.resize_with(index + 1, || None);
        }
        self.values[index] = Some(value);
        key
    }

    /// As [`Wheel::insert`], for a timer whose owner is all that is to come out.
    pub(crate) fn insert_bare(&mut self, deadline: u64, owner: u32) -> TimerKey {
        self.insert_entry(deadline, Some(owner))
    }

    fn insert_entry(&mut self, deadline: u64, owner: Option<u32>) -> TimerKey {
        assert!(owner != Some(NONE), "no owner has the number u32::MAX");
        if self.lists.is_empty() {
            self.lists.resize_with(LISTS, List::default);
        }
        let index = self.allocate();
        let list =
            if self.is_cascading() && deadline <= self.cascade_end { CASCADING } else { self.list_for(deadline) };
        let owner_next = match owner {
            Some(owner) => self.push_owned(owner, index),
            None => NONE,
        };
        let entry = &mut self.entries[index as usize];
        entry.deadline = deadline;
        entry.owner = owner.unwrap_or(NONE);
        entry.owner_prev = NONE;
        entry.owner_next = owner_next;
        entry.has_value = false;
        let generation = NonZeroU32::new(entry.generation).expect("a retired entry is never handed out");
        self.append(list, TimerKey { index, generation });
        self.len += 1;
        TimerKey { index, generation }
    }

    /// Takes a timer out before it fires: its deadline and what it was set with. `None` if it fired, was cancelled or
    /// never was. O(1), taken over many calls.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<(u64, Due<T>)> {
        let deadline = self.entry(key)?.deadline;
        Some((deadline, self.take(key)))
    }

    /// When a timer is to fire; `None` if it fired, was cancelled or never was.
    #[cfg(test)]
    pub(crate) fn deadline_of(&self, key: TimerKey) -> Option<u64> {
        self.entry(key).map(|entry| entry.deadline)
    }

    /// The tick at which `advance` has something to do next; `None` when the wheel is empty. No timer is due before it;
    /// where several share a slot it may be too early by less than the slot's span, and following it reaches each timer
    /// in at most a step a level. It is never before the tick at which the wheel stands, so with an overdue timer it is
    /// that tick.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        if self.occupied[NOW_ROW] != 0 {
            return Some(self.elapsed);
        }
        let slot = self.first_slot()?;
        // A timer that is alone is worth the look: a sleeper that waits for one thing wakes once.
        match self.lists[slot.list].only(|key| is_set(&self.entries, key)) {
            Some(only) => Some(self.entries[only.index as usize].deadline),
            None => Some(slot.start),
        }
    }

    /// Moves the wheel on to tick `now` and appends to `expired` what is due, in the order of deadlines and, among
    /// equals, of insertion. Nothing fires early. A `now` before the tick at which the wheel stands counts as that
    /// tick.
    ///
    /// Touches `limit` timers at most (firing and cascading both count), and answers whether it stopped because of
    /// that: then call it again, even if nothing was appended. Between such calls timers may be set and cancelled; the
    /// order holds. Empty spans cost nothing, whatever their length.
    ///
    /// # Panics
    /// If `limit` is 0, with which nobody would get on.
    #[must_use = "when true, more is due"]
    pub(crate) fn advance(&mut self, now: u64, limit: usize, expired: &mut Vec<Due<T>>) -> bool {
        assert!(limit > 0, "a limit of 0 timers");
        let mut left = limit;
        loop {
            while self.has_any(CASCADING) {
                if left == 0 {
                    return true;
                }
                left -= 1;
                let key = self.take_first(CASCADING);
                self.append(self.list_for(self.entries[key.index as usize].deadline), key);
            }
            while self.has_any(DUE) {
                if left == 0 {
                    return true;
                }
                left -= 1;
                let key = self.take_first(DUE);
                expired.push(self.free_entry(key.index));
            }
            match self.first_slot() {
                Some(slot) if slot.start <= now => {
                    self.elapsed = slot.start;
                    self.cascade_end = slot.end;
                    self.move_all(slot.list, if slot.start == slot.end { DUE } else { CASCADING });
                }
                _ => {
                    self.elapsed = self.elapsed.max(now);
                    return false;
                }
            }
        }
    }

    /// Cancels what `owner` still has, newest first, but no more than `limit` timers; their values are appended to
    /// `released`. Answers how many there were: fewer than `limit` means that the owner has none left. O(timers
    /// cancelled).
    pub(crate) fn release_owner(&mut self, owner: u32, limit: usize, released: &mut Vec<Due<T>>) -> usize {
        let mut count = 0;
        while count < limit {
            let Some((newest, _)) = self.owned(owner).next() else { break };
            released.push(self.take(newest));
            count += 1;
        }
        count
    }

    /// How many timers `owner` has. O(1).
    pub(crate) fn owned_by(&self, owner: u32) -> usize {
        self.owners.get(owner as usize).map_or(0, |owned| owned.count as usize)
    }

    /// The timers of `owner` with their deadlines, newest first.
    pub(crate) fn owned(&self, owner: u32) -> impl Iterator<Item = (TimerKey, u64)> + '_ {
        let mut at = self.newest_of(owner);
        std::iter::from_fn(move || {
            let index = at;
            let entry = self.entries.get(index as usize)?;
            at = entry.owner_next;
            Some((TimerKey { index, generation: NonZeroU32::new(entry.generation)? }, entry.deadline))
        })
    }

    // Places.

    /// Invariant 1: the list of a deadline.
    fn list_for(&self, deadline: u64) -> usize {
        if deadline <= self.elapsed {
            return DUE;
        }
        let level = (deadline ^ self.elapsed).ilog2() as usize / 6;
        let digit = (deadline >> (6 * level)) as usize & 63;
        64 * level + digit
    }

    /// The first slot of the levels that holds anything. Only while nothing is due or cascading, which come first.
    fn first_slot(&self) -> Option<Slot> {
        debug_assert_eq!(self.occupied[NOW_ROW], 0);
        if self.rows == 0 {
            return None;
        }
        let level = self.rows.trailing_zeros() as usize;
        let digit = self.occupied[level].trailing_zeros() as usize;
        let below = (1 << (6 * level)) - 1;
        // The digits above are those of `elapsed`: all bits from 6 * level + 6 on, of which the top level has none.
        let above = u64::MAX.checked_shl(6 * level as u32 + 6).unwrap_or(0);
        let start = (self.elapsed & above) | (digit as u64) << (6 * level);
        Some(Slot { list: 64 * level + digit, start, end: start | below })
    }

    const fn is_cascading(&self) -> bool {
        self.occupied[NOW_ROW] & (1 << (CASCADING % 64)) != 0
    }

    // Lists.

    /// Whether there is anything on a list. (An empty wheel may have no lists yet, and its bitmap says so.)
    fn has_any(&self, list: usize) -> bool {
        self.occupied[list / 64] & (1 << (list % 64)) != 0
    }

    fn append(&mut self, list: usize, key: TimerKey) {
        self.lists[list].push(key, &mut self.spare);
        self.entries[key.index as usize].list = list as u16;
        self.mark(list);
    }

    /// Takes the first off a list that has any; its entry stays as it is.
    fn take_first(&mut self, list: usize) -> TimerKey {
        let entries = &self.entries;
        let soon = |key: TimerKey| memory::prefetch(&raw const entries[key.index as usize]);
        let key = self.lists[list].take_first(soon, |key| is_set(entries, key));
        self.settle(list);
        key
    }

    /// Takes a timer that is set off its list, and frees its entry.
    fn take(&mut self, key: TimerKey) -> Due<T> {
        let list = self.moved_to(self.entries[key.index as usize].list);
        let due = self.free_entry(key.index);
        // After the entry was freed, as a key on a list counts only while its entry bears it.
        self.lists[list].forget_one(|key| is_set(&self.entries, key));
        self.settle(list);
        due
    }

    /// Where the timers are that were put on `list`.
    fn moved_to(&self, list: u16) -> usize {
        match self.moved.iter().position(|moved| *moved == list) {
            Some(place) => DUE + place,
            None => usize::from(list),
        }
    }

    /// Notes that a list may have become empty.
    fn settle(&mut self, list: usize) {
        if self.lists[list].is_empty() {
            self.lists[list].clear(&mut self.spare);
            self.unmark(list);
            if list >= DUE {
                self.moved[list - DUE] = NOWHERE;
            }
        }
    }

    /// Makes all of `from`, a slot that has something, the contents of `to`, which has nothing. Until `to` is empty
    /// nothing new comes to `from`: what is due up to its end joins `to`.
    fn move_all(&mut self, from: usize, to: usize) {
        self.lists.swap(from, to);
        self.moved[to - DUE] = from as u16;
        self.unmark(from);
        self.mark(to);
    }

    fn mark(&mut self, list: usize) {
        self.occupied[list / 64] |= 1 << (list % 64);
        self.rows |= 1 << (list / 64);
    }

    fn unmark(&mut self, list: usize) {
        let row = &mut self.occupied[list / 64];
        *row &= !(1 << (list % 64));
        if *row == 0 {
            self.rows &= !(1 << (list / 64));
        }
    }

    // Owners.

    fn newest_of(&self, owner: u32) -> u32 {
        self.owners.get(owner as usize).map_or(NONE, |owned| owned.newest)
    }

    /// Puts `index` at the head of the owner's list; answers what comes after it.
    fn push_owned(&mut self, owner: u32, index: u32) -> u32 {
        if self.owners.len() <= owner as usize {
            self.owners.resize(owner as usize + 1, Owned { newest: NONE, count: 0 });
        }
        let owned = &mut self.owners[owner as usize];
        owned.count += 1;
        let second = std::mem::replace(&mut owned.newest, index);
        if let Some(entry) = self.entries.get_mut(second as usize) {
            entry.owner_prev = index;
        }
        second
    }

    // Entries.

    /// The entry of a timer that is still set.
    fn entry(&self, key: TimerKey) -> Option<&Entry> {
        // Invariant 5: a free entry has a generation that no key has yet.
        self.entries.get(key.index as usize).filter(|entry| entry.generation == key.generation.get())
    }

    fn allocate(&mut self) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.entries[index as usize].owner_next;
            return index;
        }
        let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
        assert!(index != NONE, "2^32 - 1 timers in one wheel");
        self.entries.push(Entry {
            deadline: 0,
            owner: NONE,
            owner_prev: NONE,
            owner_next: NONE,
            generation: 1,
            list: NOWHERE,
            has_value: false,
        });
        index
    }

    /// Takes a timer off its owner's list, frees the entry and hands out what it was set with.
    fn free_entry(&mut self, index: u32) -> Due<T> {
        let Entry { owner, owner_prev, owner_next, has_value, .. } = self.entries[index as usize];
        if owner != NONE {
            let owned = &mut self.owners[owner as usize];
            owned.count -= 1;
            match self.entries.get_mut(owner_prev as usize) {
                Some(newer) => newer.owner_next = owner_next,
                None => owned.newest = owner_next,
            }
            if let Some(older) = self.entries.get_mut(owner_next as usize) {
                older.owner_prev = owner_prev;
            }
        }
        self.len -= 1;
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        if entry.generation != 0 {
            entry.owner_next = std::mem::replace(&mut self.free, index);
        }
        if has_value {
            Due::Value(self.values[index as usize].take().expect("the entry says that it has a value"))
        } else {
            Due::Owner(owner)
        }
    }
}

/// Whether a key on a list still names a timer.
fn is_set(entries: &[Entry], key: TimerKey) -> bool {
    entries[key.index as usize].generation == key.generation.get()
}

/// What comes out of the wheel for a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due<T> {
    /// It was set without a value, and this is its owner.
    Owner(u32),
    /// What it was set with.
    Value(T),
}

/// The timers of one owner, as a list through their entries.
#[derive(Clone, Copy)]
struct Owned {
    newest: u32,
    count: u32,
}

/// Bytes that a timer takes in the wheel.
pub(crate) const ENTRY: usize = size_of::<Entry>();

/// One timer.
#[derive(Clone, Copy)]
struct Entry {
    deadline: u64,
    owner: u32,
    /// The next newer timer of the same owner.
    owner_prev: u32,
    /// The next older timer of the same owner; of a free entry, the next free one.
    owner_next: u32,
    generation: u32,
    /// The list on which it was put.
    list: u16,
    has_value: bool,
}

/// A slot of the levels and the ticks it spans, both included.
struct Slot {
    list: usize,
    start: u64,
    end: u64,
}
