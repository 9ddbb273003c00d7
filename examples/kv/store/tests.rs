use super::*;
use crate::command::Command;

/// A primary and the standby that follows its log.
struct Pair {
    primary: Store,
    standby: Store,
    log: Vec<Effect>,
}

impl Pair {
    fn new() -> Self {
        Self { primary: Store::new(1000), standby: Store::new(1000), log: Vec::new() }
    }

    /// Runs a command as a client words it, and lets the standby follow.
    fn run(&mut self, now: u64, line: &str) -> Reply {
        self.run_args(now, line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect())
    }

    fn run_args(&mut self, now: u64, args: Vec<Bytes>) -> Reply {
        let shown = format!("{args:?}");
        let reply = match Command::parse(args) {
            Ok(Command::Read(read)) => self.primary.read(now, &read),
            Ok(Command::Write(write)) => self.primary.apply(now, &write, &mut self.log),
            other => panic!("{shown} gave {other:?}"),
        };
        self.follow();
        reply
    }

    fn follow(&mut self) {
        for effect in self.log.drain(..) {
            self.standby.replay(&effect);
        }
        assert_eq!(self.primary, self.standby);
    }
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text)
}

fn check_accounts(store: &Store) {
    let bytes = store.entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum::<usize>();
    assert_eq!(store.bytes, bytes);
    let deadlines: BTreeSet<_> =
        store.entries.iter().filter_map(|(key, entry)| entry.expires_at.map(|at| (at, key.clone()))).collect();
    assert_eq!(store.deadlines, deadlines);
}

#[test]
fn each_command_answers_as_redis_does() {
    let mut db = Pair::new();
    for (line, reply) in [
        ("GET k", Reply::Null),
        ("SET k v", Reply::OK),
        ("GET k", bulk("v")),
        ("SET k w NX", Reply::Null),
        ("SET other w XX", Reply::Null),
        ("SET k w XX GET", bulk("v")),
        ("SET k x NX GET", bulk("w")),
        ("SET new x NX GET", Reply::Null),
        ("EXISTS k k new nope", Reply::Integer(3)),
        ("MGET k nope new k", Reply::Array(vec![bulk("w"), Reply::Null, bulk("x"), bulk("w")])),
        ("MSET a 1 b 2 a 3", Reply::OK),
        ("MGET a b", Reply::Array(vec![bulk("3"), bulk("2")])),
        ("INCR a", Reply::Integer(4)),
        ("INCRBY a 10", Reply::Integer(14)),
        ("DECR a", Reply::Integer(13)),
        ("DECRBY a 20", Reply::Integer(-7)),
        ("INCR fresh", Reply::Integer(1)),
        ("GET fresh", bulk("1")),
        ("INCR k", Reply::error("ERR value is not an integer or out of range")),
        ("APPEND k yz", Reply::Integer(3)),
        ("APPEND k2 yz", Reply::Integer(2)),
        ("GET k", bulk("wyz")),
        ("STRLEN k", Reply::Integer(3)),
        ("STRLEN nope", Reply::Integer(0)),
        ("TYPE k", Reply::Simple("string")),
        ("TYPE nope", Reply::Simple("none")),
        ("TTL k", Reply::Integer(-1)),
        ("TTL nope", Reply::Integer(-2)),
        ("EXPIRE nope 1", Reply::Integer(0)),
        ("DBSIZE", Reply::Integer(6)),
        ("DEL k k nope a", Reply::Integer(2)),
        ("DBSIZE", Reply::Integer(4)),
        ("FLUSHALL", Reply::OK),
        ("DBSIZE", Reply::Integer(0)),
    ] {
        assert_eq!(db.run(1000, line), reply, "{line}");
        check_accounts(&db.primary);
    }
    assert_eq!(db.primary.usage(), Usage::default());
}

#[test]
fn a_counter_at_its_end_stays_there() {
    let mut db = Pair::new();
    let overflow = Reply::error("ERR increment or decrement would overflow");
    db.run(0, "SET n 9223372036854775807");
    assert_eq!(db.run(0, "INCR n"), overflow);
    assert_eq!(db.run(0, "GET n"), bulk("9223372036854775807"));
    db.run(0, "SET n -9223372036854775808");
    assert_eq!(db.run(0, "DECR n"), overflow);
    assert_eq!(db.run(0, "INCRBY n 9223372036854775807"), Reply::Integer(-1));
}

#[test]
fn a_value_does_not_grow_beyond_the_limit() {
    let mut db = Pair::new();
    db.run(0, &format!("SET k {}", "x".repeat(999)));
    assert_eq!(db.run(0, "APPEND k y"), Reply::Integer(1000));
    let refused = Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_eq!(db.run(0, "APPEND k z"), refused);
    assert_eq!(db.run(0, "STRLEN k"), Reply::Integer(1000));
}

#[test]
fn a_key_is_gone_at_its_time_and_not_before() {
    let mut db = Pair::new();
    db.run(1000, "SET k v PX 500");
    assert_eq!(db.run(1499, "GET k"), bulk("v"));
    assert_eq!(db.run(1499, "PTTL k"), Reply::Integer(1));
    for (line, reply) in [
        ("GET k", Reply::Null),
        ("EXISTS k", Reply::Integer(0)),
        ("PTTL k", Reply::Integer(-2)),
        ("TYPE k", Reply::Simple("none")),
        ("EXPIRE k 10", Reply::Integer(0)),
        ("SET k w XX", Reply::Null),
        ("APPEND k tail", Reply::Integer(4)),
        ("PTTL k", Reply::Integer(-1)),
    ] {
        assert_eq!(db.run(1500, line), reply, "{line}");
    }
    db.run(1000, "SET k v PX 500");
    assert_eq!(db.run(1500, "DEL k"), Reply::Integer(0), "an expired key does not count");
    assert_eq!(db.primary.usage().keys, 0, "and is removed all the same");
}

#[test]
fn commands_keep_or_drop_an_expiry_as_in_redis() {
    let mut db = Pair::new();
    for (line, ttl) in [
        ("SET k 1 EX 10", 10),
        ("INCR k", 10),
        ("APPEND k 5", 10),
        ("SET k 1 KEEPTTL", 10),
        ("EXPIRE k 20", 20),
        ("EXPIRE k 5 GT", 20),
        ("EXPIRE k 30 LT", 20),
        ("EXPIRE k 30 NX", 20),
        ("EXPIRE k 30 XX GT", 30),
        ("PEXPIRE k 1499", 1),
        ("PEXPIRE k 1500", 2),
        ("SET k 1 EXAT 101", 1),
        ("SET k 1", -1),
        ("EXPIRE k 5 XX", -1),
        ("EXPIRE k 5 GT", -1),
        ("EXPIRE k 5 LT", 5),
        ("MSET k 1", -1),
        ("EXPIRE k 0", -2),
        ("SET k 1", -1),
        ("SET k 2 PXAT 99999", -2),
        ("SET k 1", -1),
        ("PEXPIRE k -9223372036854775808", -2),
    ] {
        db.run(100_000, line);
        assert_eq!(db.run(100_000, "TTL k"), Reply::Integer(ttl), "after {line}");
        check_accounts(&db.primary);
    }
    assert_eq!(db.run(100_000, "SET k 1 PX 9223372036854775807"), Reply::OK);
    assert_eq!(db.run(100_000, "PTTL k"), Reply::Integer(i64::MAX));
}

#[test]
fn expired_keys_are_removed_oldest_first_and_no_more_than_asked() {
    let mut db = Pair::new();
    for i in 0..10 {
        db.run(0, &format!("SET k{i} v PX {}", 100 - i));
    }
    assert_eq!(db.primary.next_deadline(), Some(91));
    assert_eq!(db.primary.expire_due(90, 100, &mut db.log), 0);
    assert_eq!(db.primary.expire_due(95, 3, &mut db.log), 3);
    assert_eq!(db.log, [9, 8, 7].map(|i| Effect::Del { key: Bytes::from(format!("k{i}")) }));
    db.follow();
    assert_eq!(db.primary.expire_due(95, 3, &mut db.log), 2);
    db.follow();
    assert_eq!(db.primary.usage(), Usage { keys: 5, expiring: 5, bytes: 15, expired: 5 });
    assert_eq!(db.primary.next_deadline(), Some(96));
}

#[test]
fn a_command_that_changes_nothing_logs_nothing() {
    let mut store = Store::new(1000);
    let mut log = Vec::new();
    for line in ["DEL a", "SET a v XX", "EXPIRE a 1", "FLUSHALL", "SET a v EXAT 1"] {
        let args = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let Ok(Command::Write(write)) = Command::parse(args) else { panic!("{line}") };
        store.apply(5000, &write, &mut log);
        assert_eq!(log, [], "{line}");
    }
}

#[test]
fn what_is_stored_does_not_hold_the_clients_buffer() {
    let mut store = Store::new(1000);
    let mut buffer = BytesMut::zeroed(1 << 20);
    let command = buffer.split_to(100).freeze();
    let mut log = Vec::new();
    store.apply(0, &Write::Mset(vec![(command.slice(0..3), command.slice(3..9))]), &mut log);
    store.apply(0, &Write::Append(command.slice(9..20), command.slice(20..30)), &mut log);
    drop(buffer);
    assert!(command.is_unique(), "the store or its log still shares the buffer");
}

/// A small generator of its own, so that the seed in a failure message is all there is to know.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn command(&mut self) -> String {
        let (k, l, n) = (self.roll(12), self.roll(12), self.roll(60) as i64 - 10);
        match self.roll(14) {
            0..=2 => format!("SET k{k} {n}"),
            3 => format!("SET k{k} {n} PX {}", n.max(1)),
            4 => format!("SET k{k} {n} XX KEEPTTL GET"),
            5 => format!("SET k{k} {n} NX"),
            6 => format!("MSET k{k} {n} k{l} x"),
            7 => format!("DEL k{k} k{l}"),
            8 => format!("INCRBY k{k} {n}"),
            9 => format!("APPEND k{k} {n}"),
            10..=11 => format!("PEXPIRE k{k} {n}"),
            12 => format!("PEXPIRE k{k} {n} GT"),
            _ if self.roll(20) == 0 => "FLUSHALL".into(),
            _ => format!("GET k{k}"),
        }
    }
}

#[test]
fn a_standby_that_joins_late_and_hears_some_things_twice_is_equal() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut primary = Store::new(1000);
        let mut standby = Store::new(1000);
        standby.replay(&Effect::Set { key: "left over".into(), value: "x".into(), expires_at: None });
        let mut cursor = None;
        let mut now = 0;
        for step in 0..400 {
            now += dice.roll(4);
            let mut log = Vec::new();
            let args = dice.command().split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
            match Command::parse(args) {
                Ok(Command::Write(write)) => drop(primary.apply(now, &write, &mut log)),
                Ok(Command::Read(read)) => drop(primary.read(now, &read)),
                other => panic!("{other:?}"),
            }
            if dice.roll(3) == 0 {
                primary.expire_due(now, 2, &mut log);
            }
            if step == 100 {
                cursor = Some(Cursor::default());
            }
            if step >= 100 {
                let times = 1 + dice.roll(2);
                (0..times).for_each(|_| log.iter().for_each(|effect| standby.replay(effect)));
            }
            if let Some(from) = cursor.take() {
                let chunk = primary.snapshot(&from, dice.roll(8) as usize);
                chunk.effects.iter().for_each(|effect| standby.replay(effect));
                cursor = chunk.next;
            }
            check_accounts(&primary);
        }
        assert_eq!(cursor, None, "seed {seed}: the snapshot came to its end");
        assert_eq!(primary, standby, "seed {seed}");
        check_accounts(&standby);
    }
}

#[test]
fn a_snapshot_of_nothing_empties_the_standby() {
    let chunk = Store::new(10).snapshot(&Cursor::default(), 1);
    assert_eq!((chunk.effects, chunk.next), (vec![Effect::Clear], None));
}
