//! Which shard a key lives on, and how a command that names several is taken apart and its replies put together.
//!
//! Owns: the placing of keys. It is the same in every process and every run, so that a shard that is started again, or
//! its standby, finds the same keys its own. Knows nothing of who the shards are.
//!
//! A command over several shards is one change on each of them and not one as a whole: who reads while an `MSET` is
//! under way may see it done on one shard and not yet on another. Redis Cluster refuses such a command instead.

use bytes::Bytes;

use crate::command::{Read, Write};
use crate::resp::Reply;

/// What one shard is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Answered by `Store::read`.
    Read(Read),
    /// Answered by `Store::apply`.
    Write(Write),
}

/// Where a command goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// To one shard, whose reply is the reply.
    One(usize, Request),
    /// To several, each named once; [`Join::finish`] makes one reply of theirs.
    Many(Vec<(usize, Request)>, Join),
}

/// How the replies of several shards become one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// They are numbers of keys.
    Sum,
    /// Each is `OK`.
    AllOk,
    /// They are lists: the items of the n-th reply go to the positions in the n-th list.
    Scatter(Vec<Vec<usize>>),
}

impl Join {
    /// One reply from those of all shards, in the order of the plan. If one is an error, or is missing, the whole is
    /// an error.
    pub(crate) fn finish(self, replies: Vec<Reply>) -> Reply {
        if let Some(error) = replies.iter().find(|reply| matches!(reply, Reply::Error(_))) {
            return error.clone();
        }
        let joined = match self {
            Self::AllOk => Some(Reply::OK),
            Self::Sum => replies
                .iter()
                .map(|reply| if let Reply::Integer(number) = reply { Some(*number) } else { None })
                .sum::<Option<i64>>()
                .map(Reply::Integer),
            Self::Scatter(positions) => scatter(positions, replies).map(Reply::Array),
        };
        joined.unwrap_or(Reply::error("ERR a shard gave a reply of the wrong kind"))
    }
}

fn scatter(positions: Vec<Vec<usize>>, replies: Vec<Reply>) -> Option<Vec<Reply>> {
    let total = positions.iter().map(Vec::len).sum();
    let mut joined = vec![Reply::Null; total];
    if positions.len() != replies.len() {
        return None;
    }
    for (places, reply) in positions.into_iter().zip(replies) {
        let Reply::Array(items) = reply else { return None };
        if items.len() != places.len() {
            return None;
        }
        for (place, item) in places.into_iter().zip(items) {
            *joined.get_mut(place)? = item;
        }
    }
    Some(joined)
}

/// Shards, each once, and what belongs on each.
type Parts<T> = Vec<(usize, Vec<T>)>;

/// Places keys on a fixed number of shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Router {
    shards: usize,
}

impl Router {
    /// For shards `0..shards`.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn new(shards: usize) -> Self {
        assert!(shards > 0, "a key needs a shard to live on");
        Self { shards }
    }

    /// The shard of a key.
    pub(crate) fn shard(&self, key: &[u8]) -> usize {
        // The high half of the product takes from all bits of the hash, without a division.
        ((u128::from(hash(key)) * self.shards as u128) >> 64) as usize
    }

    /// Where a read goes.
    pub(crate) fn read(&self, read: Read) -> Plan {
        let one = |key: &Bytes| self.shard(key);
        let shard = match &read {
            Read::Get(key) | Read::Strlen(key) | Read::Type(key) | Read::Ttl(key) | Read::Pttl(key) => one(key),
            Read::Mget(_) | Read::Exists(_) | Read::Dbsize => return self.read_many(read),
        };
        Plan::One(shard, Request::Read(read))
    }

    /// Where a write goes.
    pub(crate) fn write(&self, write: Write) -> Plan {
        let shard = match &write {
            Write::Set(set) => self.shard(&set.key),
            Write::IncrBy(key, _) | Write::Append(key, _) | Write::Expire(key, ..) => self.shard(key),
            Write::Mset(_) | Write::Del(_) | Write::Clear => return self.write_many(write),
        };
        Plan::One(shard, Request::Write(write))
    }

    fn read_many(&self, read: Read) -> Plan {
        match read {
            Read::Mget(keys) => {
                let (parts, positions) = self.split(keys, |key| key);
                plan(parts, |keys| Request::Read(Read::Mget(keys)), Join::Scatter(positions))
            }
            Read::Exists(keys) => {
                plan(self.split(keys, |key| key).0, |keys| Request::Read(Read::Exists(keys)), Join::Sum)
            }
            other => plan(self.everywhere(), |()| Request::Read(other.clone()), Join::Sum),
        }
    }

    fn write_many(&self, write: Write) -> Plan {
        match write {
            Write::Mset(pairs) => {
                let (parts, _) = self.split(pairs, |(key, _)| key);
                plan(parts, |pairs| Request::Write(Write::Mset(pairs)), Join::AllOk)
            }
            Write::Del(keys) => plan(self.split(keys, |key| key).0, |keys| Request::Write(Write::Del(keys)), Join::Sum),
            other => plan(self.everywhere(), |()| Request::Write(other.clone()), Join::AllOk),
        }
    }

    fn everywhere(&self) -> Vec<(usize, ())> {
        (0..self.shards).map(|shard| (shard, ())).collect()
    }

    /// Groups `items` by the shard of their key, in their order, and says where in `items` each stood.
    fn split<T>(&self, items: Vec<T>, key: impl Fn(&T) -> &Bytes) -> (Parts<T>, Vec<Vec<usize>>) {
        let mut parts: Parts<T> = Vec::new();
        let mut positions: Vec<Vec<usize>> = Vec::new();
        let mut part_of = vec![usize::MAX; self.shards];
        for (position, item) in items.into_iter().enumerate() {
            let shard = self.shard(key(&item));
            if part_of[shard] == usize::MAX {
                part_of[shard] = parts.len();
                parts.push((shard, Vec::new()));
                positions.push(Vec::new());
            }
            parts[part_of[shard]].1.push(item);
            positions[part_of[shard]].push(position);
        }
        (parts, positions)
    }
}

/// A plan of its parts; with a single one there is nothing to join, since all is in the order of the command.
fn plan<T>(mut parts: Vec<(usize, T)>, request: impl Fn(T) -> Request, join: Join) -> Plan {
    match parts.pop() {
        Some((shard, part)) if parts.is_empty() => Plan::One(shard, request(part)),
        last => Plan::Many(parts.into_iter().chain(last).map(|(shard, part)| (shard, request(part))).collect(), join),
    }
}

/// FNV-1a of the key under a fixed seed, its bits then mixed, since those of short keys differ little.
fn hash(key: &[u8]) -> u64 {
    const SEED: u64 = 0x6c61_6e65_7761_7921;
    let fnv = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ SEED, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(words: &[&'static str]) -> Vec<Bytes> {
        words.iter().map(|word| Bytes::from_static(word.as_bytes())).collect()
    }

    #[test]
    fn a_key_stays_on_its_shard_from_run_to_run() {
        let router = Router::new(4);
        let placed: Vec<usize> = (0..12).map(|i| router.shard(format!("key:{i}").as_bytes())).collect();
        assert_eq!(placed, [0, 2, 0, 0, 3, 1, 3, 2, 0, 3, 2, 0], "moving a key loses it to those who wrote it before");
    }

    #[test]
    fn keys_spread_evenly_over_the_shards() {
        for shards in [1, 3, 4, 16] {
            let router = Router::new(shards);
            let mut count = vec![0usize; shards];
            (0..16_000).for_each(|i| count[router.shard(format!("key:{i:012}").as_bytes())] += 1);
            let even = 16_000 / shards;
            assert!(count.iter().all(|n| n.abs_diff(even) < even / 5 + 1), "{count:?}");
        }
    }

    #[test]
    fn mget_over_shards_answers_in_the_order_of_its_keys() {
        let router = Router::new(4);
        let asked: Vec<Bytes> = (0..40).map(|i| Bytes::from(format!("key:{}", i % 30))).collect();
        let Plan::Many(parts, join) = router.read(Read::Mget(asked.clone())) else { panic!("30 keys on one shard") };
        let replies = parts
            .into_iter()
            .map(|(shard, request)| {
                let Request::Read(Read::Mget(keys)) = request else { panic!("{request:?}") };
                assert!(keys.iter().all(|key| router.shard(key) == shard));
                Reply::Array(keys.into_iter().map(Reply::Bulk).collect())
            })
            .collect();
        assert_eq!(join.finish(replies), Reply::Array(asked.into_iter().map(Reply::Bulk).collect()));
    }

    #[test]
    fn mset_keeps_the_order_of_values_for_one_key() {
        let router = Router::new(2);
        let pairs: Vec<_> = (0..20).map(|i| (Bytes::from(format!("k{}", i % 5)), Bytes::from(i.to_string()))).collect();
        let Plan::Many(parts, Join::AllOk) = router.write(Write::Mset(pairs.clone())) else { panic!() };
        let mut count = 0;
        for (shard, request) in parts {
            let Request::Write(Write::Mset(part)) = request else { panic!("{request:?}") };
            let expected: Vec<_> = pairs.iter().filter(|(key, _)| router.shard(key) == shard).cloned().collect();
            count += part.len();
            assert_eq!(part, expected);
        }
        assert_eq!(count, 20);
    }

    #[test]
    fn what_concerns_one_shard_goes_there_whole() {
        let router = Router::new(4);
        let del = Write::Del(keys(&["a", "a"]));
        assert_eq!(router.write(del.clone()), Plan::One(router.shard(b"a"), Request::Write(del)));
        let mget = Read::Mget(keys(&["x", "y", "z"]));
        assert_eq!(Router::new(1).read(mget.clone()), Plan::One(0, Request::Read(mget)));
        assert_eq!(Router::new(1).read(Read::Dbsize), Plan::One(0, Request::Read(Read::Dbsize)));
    }

    #[test]
    fn counting_and_clearing_ask_every_shard_once() {
        let router = Router::new(3);
        let Plan::Many(parts, join) = router.read(Read::Dbsize) else { panic!() };
        assert_eq!(parts.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(join.finish(vec![Reply::Integer(1), Reply::Integer(2), Reply::Integer(4)]), Reply::Integer(7));
        let Plan::Many(parts, Join::AllOk) = router.write(Write::Clear) else { panic!() };
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn an_error_of_one_shard_is_the_error_of_the_whole() {
        let error = Reply::error("ERR shard 1 is gone");
        for join in [Join::Sum, Join::AllOk, Join::Scatter(vec![vec![0], vec![1]])] {
            assert_eq!(join.finish(vec![Reply::Integer(1), error.clone()]), error);
        }
    }

    #[test]
    fn a_reply_of_the_wrong_kind_is_an_error_and_no_wrong_value() {
        let bad = [
            Join::Sum.finish(vec![Reply::Integer(1), Reply::OK]),
            Join::Scatter(vec![vec![0], vec![1]]).finish(vec![Reply::Array(vec![Reply::Null])]),
            Join::Scatter(vec![vec![0]]).finish(vec![Reply::Array(vec![])]),
        ];
        assert!(bad.iter().all(|reply| matches!(reply, Reply::Error(_))), "{bad:?}");
    }
}
