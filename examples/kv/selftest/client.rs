//! A client of the self-test: it writes keys of its own, reads them back, and judges every answer by its `model`.
//!
//! Owns: its keys, and the steps that it takes with them. It is a lane that speaks over TCP like any other client, in
//! pipelines of random length; a connection that breaks leaves in doubt what was not answered, and it comes again.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use laneway::net::TcpStream;
use laneway::{Lane, Reply as Port, sleep, time, timeout};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use super::model::{Answer, BriefKey, Change, Fault, Key, Value};
use crate::random::Random;

/// Keys for `SET` alone.
const SETS: Range<usize> = 0..8;
/// Keys for `INCR`.
const COUNTERS: Range<usize> = 8..12;
/// Keys for `APPEND`.
const LOGS: Range<usize> = 12..16;
/// Keys for `MSET`, in groups.
const GROUPED: Range<usize> = 16..24;
/// Keys of one `MSET`.
const GROUP: usize = 4;
/// Keys for `SET … PX`.
const BRIEF: usize = 4;
/// A log that is longer is deleted.
const LONGEST_LOG: usize = 500;
/// Commands of one pipeline at most.
const PIPELINE: usize = 16;
/// Whoever is not answered within this time never will be.
const PATIENCE: Duration = Duration::from_secs(45);

/// What clients share with those who watch them.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Clients stop working when this is true.
    pub(crate) stop: AtomicBool,
    /// Commands answered.
    pub(crate) operations: AtomicU64,
    /// Connections that broke.
    pub(crate) disconnects: AtomicU64,
}

/// What a client has seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Writes that were acknowledged.
    pub(crate) writes: u64,
    /// Reads that were judged.
    pub(crate) reads: u64,
    /// Commands of which the server said that the outcome is not known.
    pub(crate) told_doubts: u64,
    /// Commands that a broken connection left without answer.
    pub(crate) unanswered: u64,
    /// Keys read back at the end.
    pub(crate) verified: u64,
    /// Acknowledged writes that were lost.
    pub(crate) lost: Vec<String>,
    /// Values that never were, and answers that make no sense.
    pub(crate) wrong: Vec<String>,
    /// Times at which no answer came and the connection stayed.
    pub(crate) stuck: u64,
}

impl Tally {
    /// Adds what another has seen.
    pub(crate) fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.reads += other.reads;
        self.told_doubts += other.told_doubts;
        self.unanswered += other.unanswered;
        self.verified += other.verified;
        self.stuck += other.stuck;
        self.lost.extend(other.lost);
        self.wrong.extend(other.wrong);
    }

    fn note(&mut self, judged: Result<(), Fault>) {
        match judged {
            Ok(()) => {}
            Err(Fault::Lost(what)) => self.lost.push(what),
            Err(Fault::Wrong(what)) => self.wrong.push(what),
        }
    }
}

/// Asks a client that has stopped working to read everything back, and says what it has seen.
pub(crate) type Verify = Port<Tally>;

/// The lane of a client.
pub(crate) async fn client(mut lane: Lane<Verify>, number: usize, port: u16, seed: u64, board: Arc<Board>) {
    let name = |kind: &str, key: usize| format!("client:{number}:{kind}:{key}");
    let kind = |key| match key {
        key if SETS.contains(&key) => "set",
        key if COUNTERS.contains(&key) => "counter",
        key if LOGS.contains(&key) => "log",
        _ => "group",
    };
    let mut client = Client {
        keys: (0..GROUPED.end).map(|key| Key::new(name(kind(key), key))).collect(),
        briefs: (0..BRIEF).map(|key| BriefKey::new(name("brief", key))).collect(),
        random: Random::new(seed ^ number as u64),
        sequence: 0,
        port,
        tally: Tally::default(),
        board,
    };
    client.work().await;
    if let Some(reply) = lane.recv().await {
        client.verify().await;
        // Whoever asked waits until the end.
        _ = reply.send(client.tally);
    }
}

/// One command, by the places of its keys.
enum Step {
    Change(usize, Change),
    Get(usize),
    Mset(Vec<(usize, Change)>),
    Mget(Vec<usize>),
    SetBrief { key: usize, value: Vec<u8>, millis: u64 },
    GetBrief(usize),
}

struct Client {
    keys: Vec<Key>,
    briefs: Vec<BriefKey>,
    random: Random,
    sequence: u64,
    port: u16,
    tally: Tally,
    board: Arc<Board>,
}

/// A connection and what was read from it.
struct Wire {
    stream: TcpStream,
    input: BytesMut,
}

impl Client {
    async fn work(&mut self) {
        while !self.board.stop.load(Ordering::Relaxed) {
            let mut wire = self.connect().await;
            while !self.board.stop.load(Ordering::Relaxed) {
                let steps = (0..=self.random.below(PIPELINE)).map(|_| self.step()).collect();
                if self.run(&mut wire, steps).await.is_err() {
                    self.board.disconnects.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }

    /// Reads every key back.
    async fn verify(&mut self) {
        loop {
            let mut wire = self.connect().await;
            let steps = (0..self.keys.len()).map(Step::Get).chain((0..self.briefs.len()).map(Step::GetBrief));
            let before = self.tally.reads;
            if self.run(&mut wire, steps.collect()).await.is_ok() {
                self.tally.verified = self.tally.reads - before;
                return;
            }
        }
    }

    async fn connect(&self) -> Wire {
        loop {
            if let Ok(stream) = TcpStream::connect(([127, 0, 0, 1], self.port)).await {
                let _ = stream.set_nodelay(true);
                return Wire { stream, input: BytesMut::new() };
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn step(&mut self) -> Step {
        let key = |random: &mut Random, keys: Range<usize>| keys.start + random.below(keys.len());
        let group = |random: &mut Random| {
            let first = GROUPED.start + GROUP * random.below(GROUPED.len() / GROUP);
            first..first + GROUP
        };
        match self.random.below(10) {
            0 | 1 => Step::Change(key(&mut self.random, SETS), Change::Set(self.value())),
            2 | 3 => Step::Change(key(&mut self.random, COUNTERS), Change::Incr),
            4 => {
                let key = key(&mut self.random, LOGS);
                let is_long = self.keys[key].longest() > LONGEST_LOG;
                let tail = format!("{},", self.next());
                Step::Change(key, if is_long { Change::Del } else { Change::Append(tail.into_bytes()) })
            }
            5 => Step::Mset(group(&mut self.random).map(|key| (key, Change::Set(self.value()))).collect()),
            6 => Step::Mget(group(&mut self.random).collect()),
            7 => Step::Get(key(&mut self.random, 0..GROUPED.end)),
            8 => {
                let millis = 1 + self.random.below(2000) as u64;
                Step::SetBrief { key: self.random.below(BRIEF), value: self.value(), millis }
            }
            _ => Step::GetBrief(self.random.below(BRIEF)),
        }
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A value that was never used before, now and then a large one.
    fn value(&mut self) -> Vec<u8> {
        let padding = if self.random.below(50) == 0 { self.random.below(40_000) } else { self.random.below(40) };
        let mut value = self.next().to_string().into_bytes();
        value.resize(value.len() + padding, b'.');
        value
    }

    /// Sends the steps together and judges the answers. An error is that of the connection.
    async fn run(&mut self, wire: &mut Wire, steps: Vec<Step>) -> io::Result<()> {
        let mut output = BytesMut::new();
        steps.iter().for_each(|step| self.encode(step, &mut output));
        let sent = millis();
        let mut steps = steps.into_iter();
        let outcome = timeout(PATIENCE, async {
            wire.stream.write_all(&output).await?;
            while !steps.as_slice().is_empty() {
                let answer = wire.answer().await?;
                let Some(step) = steps.next() else { break };
                self.board.operations.fetch_add(1, Ordering::Relaxed);
                self.settle(step, answer, sent);
            }
            Ok(())
        })
        .await;
        for step in steps {
            self.tally.unanswered += 1;
            self.doubt(step, sent);
        }
        outcome.unwrap_or_else(|_| {
            self.tally.stuck += 1;
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    fn encode(&self, step: &Step, out: &mut BytesMut) {
        let name = |key: &usize| self.keys[*key].name().as_bytes().to_vec();
        let words: Vec<Vec<u8>> = match step {
            Step::Change(key, Change::Set(value)) => vec![b"SET".into(), name(key), value.clone()],
            Step::Change(key, Change::Incr) => vec![b"INCR".into(), name(key)],
            Step::Change(key, Change::Append(tail)) => vec![b"APPEND".into(), name(key), tail.clone()],
            Step::Change(key, Change::Del) => vec![b"DEL".into(), name(key)],
            Step::Get(key) => vec![b"GET".into(), name(key)],
            Step::Mset(changes) => {
                let mut words = vec![b"MSET".to_vec()];
                for (key, change) in changes {
                    let Change::Set(value) = change else { unreachable!("`step` makes no others") };
                    words.extend([name(key), value.clone()]);
                }
                words
            }
            Step::Mget(keys) => std::iter::once(b"MGET".to_vec()).chain(keys.iter().map(name)).collect(),
            Step::SetBrief { key, value, millis } => {
                let name = self.briefs[*key].name().into();
                vec![b"SET".into(), name, value.clone(), b"PX".into(), millis.to_string().into()]
            }
            Step::GetBrief(key) => vec![b"GET".into(), self.briefs[*key].name().into()],
        };
        out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(&word);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Judges an answer.
    fn settle(&mut self, step: Step, answer: OwnedFrame, sent: u64) {
        if let OwnedFrame::Error(text) = &answer {
            if ["ERR not known", "ERR the server is shutting down"].iter().any(|known| text.starts_with(known)) {
                self.tally.told_doubts += 1;
            } else {
                self.tally.wrong.push(format!("an error that does not belong here: {text}"));
            }
            return self.doubt(step, sent);
        }
        match (step, answer) {
            (Step::Change(key, change), answer) => {
                let answer = match answer {
                    OwnedFrame::SimpleString(text) if text == b"OK" => Answer::Ok,
                    OwnedFrame::Integer(number) => Answer::Number(number),
                    other => return self.refuse(&other),
                };
                self.tally.writes += 1;
                self.tally.note(self.keys[key].acknowledge(&change, &answer));
            }
            (Step::Mset(changes), OwnedFrame::SimpleString(text)) if text == b"OK" => {
                self.tally.writes += 1;
                for (key, change) in changes {
                    self.tally.note(self.keys[key].acknowledge(&change, &Answer::Ok));
                }
            }
            (Step::SetBrief { key, value, millis: length }, OwnedFrame::SimpleString(text)) if text == b"OK" => {
                self.tally.writes += 1;
                self.briefs[key].acknowledge(value, length, sent, millis());
            }
            (Step::Get(key), answer) => self.judge(&[key], vec![answer]),
            (Step::Mget(keys), OwnedFrame::Array(answers)) if answers.len() == keys.len() => self.judge(&keys, answers),
            (Step::GetBrief(key), answer) => match value_of(answer) {
                Ok(value) => {
                    self.tally.reads += 1;
                    self.tally.note(self.briefs[key].read(value, sent, millis()));
                }
                Err(other) => self.refuse(&other),
            },
            (_, other) => self.refuse(&other),
        }
    }

    fn judge(&mut self, keys: &[usize], answers: Vec<OwnedFrame>) {
        for (key, answer) in keys.iter().zip(answers) {
            match value_of(answer) {
                Ok(value) => {
                    self.tally.reads += 1;
                    self.tally.note(self.keys[*key].read(value));
                }
                Err(other) => self.refuse(&other),
            }
        }
    }

    fn refuse(&mut self, answer: &OwnedFrame) {
        self.tally.wrong.push(format!("an answer of the wrong kind: {answer:?}"));
    }

    /// No answer came, or one that leaves it open.
    fn doubt(&mut self, step: Step, sent: u64) {
        match step {
            Step::Change(key, change) => self.keys[key].doubt(&change),
            Step::Mset(changes) => changes.iter().for_each(|(key, change)| self.keys[*key].doubt(change)),
            Step::SetBrief { key, value, millis } => self.briefs[key].doubt(value, millis, sent),
            Step::Get(_) | Step::Mget(_) | Step::GetBrief(_) => {}
        }
    }
}

fn value_of(answer: OwnedFrame) -> Result<Value, OwnedFrame> {
    match answer {
        OwnedFrame::BulkString(bytes) => Ok(Some(bytes)),
        OwnedFrame::Null => Ok(None),
        other => Err(other),
    }
}

/// Milliseconds of this runtime's clock.
fn millis() -> u64 {
    time::now().as_nanos() / 1_000_000
}

impl Wire {
    /// The next answer.
    async fn answer(&mut self) -> io::Result<OwnedFrame> {
        loop {
            let decoded = decode(&self.input).map_err(|error| io::Error::other(error.to_string()))?;
            if let Some((frame, length)) = decoded {
                self.input.advance(length);
                return Ok(frame);
            }
            let held = self.input.len();
            self.input.resize(held + 16_384, 0);
            let read = self.stream.read(&mut self.input[held..]).await;
            self.input.truncate(held + read.as_ref().copied().unwrap_or(0));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
