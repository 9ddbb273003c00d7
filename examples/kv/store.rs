//! The data of one shard, as pure state: commands and the time go in, replies and effects come out.
//!
//! Owns: keys, values, expiries and their accounts. Knows nothing of lanes, sockets or clocks: `now` is handed in, in
//! milliseconds of the Unix epoch.
//!
//! # Invariants
//! 1. Nothing changes but through [`Store::replay`] of an [`Effect`]; what a command did is the effects it put in the
//!    log. So a standby that replays the log in order is equal to its primary, by construction.
//! 2. An effect is a result and not a command: absolute times, whole values. Replaying a run of them twice ends where
//!    replaying it once does.
//! 3. A standby never lets a key expire by itself: that a key went is in the log. Reads see the clock, so both answer
//!    alike.
//! 4. `deadlines` has an entry for each expiry in `entries` and no other; `bytes` is the sum over `entries`.
//! 5. What is stored owns its memory. The arguments of a command are slices of a connection's buffer, and keeping one
//!    would keep all of that buffer.
//!
//! The map is ordered. It costs a few comparisons more than hashing would, and gives a snapshot a cursor that stays
//! right while keys come and go, an order that is the same in every run, and keys that an attacker cannot make collide.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, Bound};

use bytes::{Bytes, BytesMut};

use crate::command::{ExpireIf, Expiry, Read, Set, SetExpiry, SetIf, Write};
use crate::resp::{Reply, parse_integer};

/// A change of a shard, as its standby is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The key has this value and this expiry now.
    Set { key: Bytes, value: Bytes, expires_at: Option<u64> },
    /// The key is gone.
    Del { key: Bytes },
    /// The key has this expiry now, if it is there.
    Expire { key: Bytes, expires_at: Option<u64> },
    /// All keys are gone.
    Clear,
}

impl Effect {
    /// Bytes of keys and values in it, for limits on what is on its way to a standby.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Set { key, value, .. } => key.len() + value.len(),
            Self::Del { key } | Self::Expire { key, .. } => key.len(),
            Self::Clear => 0,
        }
    }
}

/// How far a snapshot has come; [`Cursor::default`] is its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor(Option<Bytes>);

/// A piece of a snapshot.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// To be replayed by the new standby, in order.
    pub(crate) effects: Vec<Effect>,
    /// Where the next piece begins; `None` if this was the last.
    pub(crate) next: Option<Cursor>,
}

/// What a shard holds, for `INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Keys, those included whose time has come but that are not removed yet.
    pub(crate) keys: usize,
    /// Keys with an expiry.
    pub(crate) expiring: usize,
    /// Bytes of keys and values.
    pub(crate) bytes: usize,
    /// Keys that this store has removed because their time had come.
    pub(crate) expired: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.expiring += other.expiring;
        self.bytes += other.bytes;
        self.expired += other.expired;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: Bytes,
    expires_at: Option<u64>,
}

impl Entry {
    /// Whether its time has come.
    fn is_over(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The data of one shard.
#[derive(Debug)]
pub(crate) struct Store {
    entries: BTreeMap<Bytes, Entry>,
    deadlines: BTreeSet<(u64, Bytes)>,
    bytes: usize,
    expired: u64,
    longest_value: usize,
}

/// Two stores are equal if they hold the same; what they did before does not count.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Store {
    /// An empty store that keeps no value longer than `longest_value` bytes.
    pub(crate) fn new(longest_value: usize) -> Self {
        Self { entries: BTreeMap::new(), deadlines: BTreeSet::new(), bytes: 0, expired: 0, longest_value }
    }

    /// Answers a command that changes nothing. A key whose time has come is not there, removed or not.
    pub(crate) fn read(&self, now: u64, read: &Read) -> Reply {
        match read {
            Read::Get(key) => self.value(now, key),
            Read::Mget(keys) => Reply::Array(keys.iter().map(|key| self.value(now, key)).collect()),
            Read::Strlen(key) => Reply::Integer(self.live(now, key).map_or(0, |entry| entry.value.len() as i64)),
            Read::Exists(keys) => {
                Reply::Integer(keys.iter().filter(|key| self.live(now, key).is_some()).count() as i64)
            }
            Read::Type(key) => Reply::Simple(if self.live(now, key).is_some() { "string" } else { "none" }),
            Read::Ttl(key) => self.time_left(now, key, |millis| millis / 1000 + u64::from(millis % 1000 >= 500)),
            Read::Pttl(key) => self.time_left(now, key, |millis| millis),
            Read::Dbsize => Reply::Integer(self.entries.len() as i64),
        }
    }

    /// Carries out a command and appends to `log` what it changed. The reply may be sent when the standby has it.
    pub(crate) fn apply(&mut self, now: u64, write: &Write, log: &mut Vec<Effect>) -> Reply {
        match write {
            Write::Set(set) => self.set(now, set, log),
            Write::Mset(pairs) => {
                for (key, value) in pairs {
                    self.put(key, Bytes::copy_from_slice(value), None, log);
                }
                Reply::OK
            }
            Write::Del(keys) => {
                let mut deleted = 0;
                for key in keys {
                    deleted += i64::from(self.live(now, key).is_some());
                    self.delete(key, log);
                }
                Reply::Integer(deleted)
            }
            Write::IncrBy(key, by) => self.increment(now, key, *by, log),
            Write::Append(key, tail) => self.append(now, key, tail, log),
            Write::Expire(key, expiry, only_if) => self.expire(now, key, *expiry, *only_if, log),
            Write::Clear => {
                if !self.entries.is_empty() {
                    self.commit(Effect::Clear, log);
                }
                Reply::OK
            }
        }
    }

    /// Removes at most `limit` keys whose time has come, oldest first, and answers with their number: less than
    /// `limit` means that there are no more. Only a primary calls this.
    pub(crate) fn expire_due(&mut self, now: u64, limit: usize, log: &mut Vec<Effect>) -> usize {
        for removed in 0..limit {
            match self.deadlines.first() {
                Some((at, key)) if *at <= now => {
                    let key = key.clone();
                    self.expired += 1;
                    self.commit(Effect::Del { key }, log);
                }
                _ => return removed,
            }
        }
        limit
    }

    /// When the next key is to go, for the timer that calls [`expire_due`](Self::expire_due).
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Makes a change that a primary has made.
    pub(crate) fn replay(&mut self, effect: &Effect) {
        match effect {
            Effect::Set { key, value, expires_at } => {
                self.bytes += key.len() + value.len();
                let entry = Entry { value: value.clone(), expires_at: *expires_at };
                if let Some(before) = self.entries.insert(key.clone(), entry) {
                    self.bytes -= key.len() + before.value.len();
                    self.forget_deadline(key, before.expires_at);
                }
                self.note_deadline(key, *expires_at);
            }
            Effect::Del { key } => {
                if let Some(before) = self.entries.remove(key) {
                    self.bytes -= key.len() + before.value.len();
                    self.forget_deadline(key, before.expires_at);
                }
            }
            Effect::Expire { key, expires_at } => {
                if let Some(entry) = self.entries.get_mut(key) {
                    let before = std::mem::replace(&mut entry.expires_at, *expires_at);
                    self.forget_deadline(key, before);
                    self.note_deadline(key, *expires_at);
                }
            }
            Effect::Clear => {
                self.entries.clear();
                self.deadlines.clear();
                self.bytes = 0;
            }
        }
    }

    /// A piece of what the store holds, of some `weight` bytes and at least one key, for a new standby. Pieces and the
    /// log go to it in the order in which they came to be: a change behind the cursor is in the log, one before it is
    /// in both, which does no harm. The first piece empties the standby.
    pub(crate) fn snapshot(&self, from: &Cursor, weight: usize) -> Chunk {
        let (mut effects, start) = match &from.0 {
            None => (vec![Effect::Clear], Bound::Unbounded),
            Some(key) => (Vec::new(), Bound::Excluded(key)),
        };
        let mut taken = 0;
        for (key, entry) in self.entries.range::<Bytes, _>((start, Bound::Unbounded)) {
            let effect = Effect::Set { key: key.clone(), value: entry.value.clone(), expires_at: entry.expires_at };
            taken += effect.weight();
            effects.push(effect);
            if taken >= weight {
                return Chunk { effects, next: Some(Cursor(Some(key.clone()))) };
            }
        }
        Chunk { effects, next: None }
    }

    /// What there is to tell of it.
    pub(crate) fn usage(&self) -> Usage {
        let (keys, expiring) = (self.entries.len(), self.deadlines.len());
        Usage { keys, expiring, bytes: self.bytes, expired: self.expired }
    }

    fn live(&self, now: u64, key: &Bytes) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| !entry.is_over(now))
    }

    fn value(&self, now: u64, key: &Bytes) -> Reply {
        self.live(now, key).map_or(Reply::Null, |entry| Reply::Bulk(entry.value.clone()))
    }

    fn time_left(&self, now: u64, key: &Bytes, unit: impl FnOnce(u64) -> u64) -> Reply {
        Reply::Integer(match self.live(now, key).map(|entry| entry.expires_at) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => i64::try_from(unit(at - now)).unwrap_or(i64::MAX),
        })
    }

    fn set(&mut self, now: u64, set: &Set, log: &mut Vec<Effect>) -> Reply {
        let before = self.live(now, &set.key);
        let allowed = match set.only_if {
            None => true,
            Some(SetIf::Missing) => before.is_none(),
            Some(SetIf::Exists) => before.is_some(),
        };
        let reply = match before {
            _ if !set.get => {
                if allowed {
                    Reply::OK
                } else {
                    Reply::Null
                }
            }
            None => Reply::Null,
            Some(entry) => Reply::Bulk(entry.value.clone()),
        };
        let expires_at = match set.expiry {
            SetExpiry::Never => None,
            SetExpiry::Keep => before.and_then(|entry| entry.expires_at),
            SetExpiry::At(expiry) => Some(resolve(now, expiry)),
        };
        if !allowed {
            return reply;
        }
        if expires_at.is_some_and(|at| at <= now) {
            // Set and gone in the same moment.
            self.delete(&set.key, log);
        } else {
            self.put(&set.key, Bytes::copy_from_slice(&set.value), expires_at, log);
        }
        reply
    }

    fn increment(&mut self, now: u64, key: &Bytes, by: i64, log: &mut Vec<Effect>) -> Reply {
        let (number, expires_at) = match self.live(now, key) {
            None => (Some(0), None),
            Some(entry) => (parse_integer(&entry.value), entry.expires_at),
        };
        let Some(number) = number else { return Reply::error("ERR value is not an integer or out of range") };
        let Some(sum) = number.checked_add(by) else {
            return Reply::error("ERR increment or decrement would overflow");
        };
        self.put(key, Bytes::from(sum.to_string()), expires_at, log);
        Reply::Integer(sum)
    }

    /// Makes a new value, since the old one may be on its way to a standby or a client: appending is linear in what is
    /// there.
    fn append(&mut self, now: u64, key: &Bytes, tail: &Bytes, log: &mut Vec<Effect>) -> Reply {
        let (head, expires_at) = match self.live(now, key) {
            None => (&b""[..], None),
            Some(entry) => (&entry.value[..], entry.expires_at),
        };
        let length = head.len() + tail.len();
        if length > self.longest_value {
            return Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        }
        let mut value = BytesMut::with_capacity(length);
        value.extend_from_slice(head);
        value.extend_from_slice(tail);
        self.put(key, value.freeze(), expires_at, log);
        Reply::Integer(length as i64)
    }

    fn expire(&mut self, now: u64, key: &Bytes, expiry: Expiry, only_if: ExpireIf, log: &mut Vec<Effect>) -> Reply {
        let Some(entry) = self.live(now, key) else { return Reply::Integer(0) };
        let expires_at = resolve(now, expiry);
        let refused = match entry.expires_at {
            None => only_if.set || only_if.later,
            Some(before) => {
                only_if.unset || (only_if.later && expires_at <= before) || (only_if.earlier && expires_at >= before)
            }
        };
        if refused {
            return Reply::Integer(0);
        }
        if expires_at <= now {
            self.delete(key, log);
        } else {
            let key = self.kept(key);
            self.commit(Effect::Expire { key, expires_at: Some(expires_at) }, log);
        }
        Reply::Integer(1)
    }

    /// Stores `value`, which owns its memory.
    fn put(&mut self, key: &Bytes, value: Bytes, expires_at: Option<u64>, log: &mut Vec<Effect>) {
        let key = self.kept(key);
        self.commit(Effect::Set { key, value, expires_at }, log);
    }

    /// Removes the key, also one whose time has come.
    fn delete(&mut self, key: &Bytes, log: &mut Vec<Effect>) {
        if let Some((key, _)) = self.entries.get_key_value(key) {
            let key = key.clone();
            self.commit(Effect::Del { key }, log);
        }
    }

    /// The key as it is stored, or a copy of it that can be.
    fn kept(&self, key: &Bytes) -> Bytes {
        match self.entries.get_key_value(key) {
            Some((stored, _)) => stored.clone(),
            None => Bytes::copy_from_slice(key),
        }
    }

    fn commit(&mut self, effect: Effect, log: &mut Vec<Effect>) {
        self.replay(&effect);
        log.push(effect);
    }

    fn note_deadline(&mut self, key: &Bytes, expires_at: Option<u64>) {
        if let Some(at) = expires_at {
            self.deadlines.insert((at, key.clone()));
        }
    }

    fn forget_deadline(&mut self, key: &Bytes, expires_at: Option<u64>) {
        if let Some(at) = expires_at {
            self.deadlines.remove(&(at, key.clone()));
        }
    }
}

/// The moment that an expiry means; before the epoch is the epoch. Both numbers are below 2^63, so nothing overflows.
fn resolve(now: u64, expiry: Expiry) -> u64 {
    match expiry {
        Expiry::In(millis) => now.saturating_add_signed(millis),
        Expiry::At(millis) => u64::try_from(millis).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
