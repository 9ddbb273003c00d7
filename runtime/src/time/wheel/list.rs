//! The timers of one slot: their keys in the order of insertion, one behind the other.
//!
//! Owns: [`List`]. Knows nothing of entries: whether a key still names a timer is asked.
//!
//! # Invariants
//! 1. From `first` on, `set` keys name timers that are set; the others were cancelled.
//! 2. A list of no timer holds no key; else the last key names a timer, and of those from `first` on no more than half
//!    and [`IDLE`] are of timers that were cancelled. So what a call skips was paid for by cancels.

use super::TimerKey;

/// Keys of cancelled timers that a list may hold beside as many as it has timers.
pub(super) const IDLE: usize = 8;
/// How many calls later.
const AHEAD: usize = 8;
/// The largest room, in keys, that is kept for another list.
const SPARE_MAX: usize = 4096;

/// The timers of a slot.
#[derive(Default)]
pub(super) struct List {
    keys: Vec<TimerKey>,
    /// How many keys were taken off the front.
    first: usize,
    set: usize,
}

impl List {
    /// Whether no timer is on it.
    pub(super) const fn is_empty(&self) -> bool {
        self.set == 0
    }

    /// The keys that were not taken, some of cancelled timers.
    pub(super) fn keys(&self) -> &[TimerKey] {
        &self.keys[self.first..]
    }

    /// Adds a timer, in the room `spare` where the list has none.
    pub(super) fn push(&mut self, key: TimerKey, spare: &mut Vec<TimerKey>) {
        if self.keys.capacity() == 0 {
            self.keys = std::mem::take(spare);
        }
        self.keys.push(key);
        self.set += 1;
    }

    /// Takes off the first timer of a list that is not empty, and says by `soon` which is to be expected some calls later.
    pub(super) fn take_first(&mut self, soon: impl FnOnce(TimerKey), is_set: impl Fn(TimerKey) -> bool) -> TimerKey {
        self.set -= 1;
        if let Some(key) = self.keys.get(self.first + AHEAD) {
            soon(*key);
        }
        loop {
            let key = self.keys[self.first];
            self.first += 1;
            if is_set(key) {
                return key;
            }
        }
    }

    /// One timer of the list is set no more.
    pub(super) fn forget_one(&mut self, is_set: impl Fn(TimerKey) -> bool) {
        self.set -= 1;
        if self.set == 0 {
            return;
        }
        while self.keys.last().is_some_and(|last| !is_set(*last)) {
            self.keys.pop();
        }
        if self.keys().len() > 2 * self.set + IDLE {
            self.keys.drain(..self.first);
            self.first = 0;
            self.keys.retain(|key| is_set(*key));
        }
    }

    /// The timer of a list that has just one.
    pub(super) fn only(&self, is_set: impl Fn(TimerKey) -> bool) -> Option<TimerKey> {
        if self.set == 1 { self.keys().iter().copied().find(|key| is_set(*key)) } else { None }
    }

    /// Gives up the room of a list that has become empty, to `spare` where that is of use.
    pub(super) fn clear(&mut self, spare: &mut Vec<TimerKey>) {
        let mut room = std::mem::take(&mut self.keys);
        self.first = 0;
        room.clear();
        if (spare.capacity()..=SPARE_MAX).contains(&room.capacity()) {
            *spare = room;
        }
    }
}
