//! `churn`: lanes that spawn others, write to lanes that may be gone, kill at random and end at random; all must add up.
//!
//! A board holds where lanes were last seen: half of what stands there is stale, and many of those slots have tenants
//! again. Each lane has a number that no other ever has, and each letter says the number of the lane that it is for, so
//! one that reached the next tenant would be found. Letters count themselves when they are written and when they are
//! dropped, lanes when they are spawned and when their future is dropped, so at the end:
//!
//! - births are deaths, which are ends and kills, by our count and by the runtime's;
//! - what was written was received, refused, or dropped with a mailbox or a sender that was killed or gave up;
//! - what `try_send` took was received or dropped, and what it did not take came back;
//! - nobody but the main lane lives, and no timer stands.
//!
//! The seed fixes what each lane does at each of its steps; which lane meets which is the schedule's. With `secs` it goes
//! on for that long instead of for `n` lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actors::{
    Address, AskError, Handle, Lane, Metrics, Reply, SendError, Spawn, SpawnError, sleep, timeout, yield_now,
};

use parking_lot::Mutex;

use crate::check::{expect_eq, wrong};
use crate::random::Random;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

/// Short, so that letters are refused for want of room as well.
const MAILBOX: u32 = 2;
/// That of one lane in four, in which letters gather, so that they come in packs.
const ROOMY: u32 = 64;
/// Letters that one writes in a row.
const FLOOD: usize = 40;
/// The longest that one waits for room or for an answer.
const PATIENCE: Duration = Duration::from_millis(2);

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 300_000)?;
    let alive = keys.count("alive", 1000)?;
    let seed = keys.number("seed", 1)?;
    let secs: u64 = keys.number("secs", 0)?;
    let limit = if secs == 0 { Limit::Births(n) } else { Limit::Until(Instant::now() + Duration::from_secs(secs)) };
    Ok(on_lane(move |lane| measure(lane, World::new(limit, alive, seed))))
}

/// When nobody is born any more.
enum Limit {
    Births(u64),
    Until(Instant),
}

/// What all share.
struct World {
    limit: Limit,
    alive: u64,
    seed: u64,
    board: Vec<Mutex<Option<Seen>>>,
    counts: Counts,
}

/// Where a lane was last seen, and its number.
#[derive(Clone, Copy)]
struct Seen {
    address: Address<Box<Letter>>,
    number: u64,
}

/// Only ever added to; read when all is over.
#[derive(Default)]
struct Counts {
    births: AtomicU64,
    ended: AtomicU64,
    killed: AtomicU64,
    kills: AtomicU64,
    written: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    tried_taken: AtomicU64,
    tried_received: AtomicU64,
    tried_dropped: AtomicU64,
    gone: AtomicU64,
    full: AtomicU64,
    asks: AtomicU64,
    answers: AtomicU64,
    no_answers: AtomicU64,
    misdirected: AtomicU64,
}

fn note(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Acquire)
}

impl World {
    fn new(limit: Limit, alive: u64, seed: u64) -> Arc<World> {
        let board = (0..alive * 2).map(|_| Mutex::new(None)).collect();
        Arc::new(World { limit, alive, seed, board, counts: Counts::default() })
    }

    fn lives(&self) -> u64 {
        // Deaths first, so that it is never less than nothing.
        let deaths = read(&self.counts.ended) + read(&self.counts.killed);
        read(&self.counts.births) - deaths
    }

    fn is_over(&self) -> bool {
        match self.limit {
            Limit::Births(n) => n <= read(&self.counts.births),
            Limit::Until(end) => end <= Instant::now(),
        }
    }

    /// Someone who was seen, dead or alive.
    fn someone(&self, random: &mut Random) -> Option<Seen> {
        *self.place(random).lock()
    }

    fn place(&self, random: &mut Random) -> &Mutex<Option<Seen>> {
        &self.board[random.below(self.board.len() as u64) as usize]
    }

    /// Spawns a lane unless there are enough, and writes it on the board.
    fn bear(self: &Arc<Self>, random: &mut Random) {
        if self.alive <= self.lives() || self.is_over() {
            return;
        }
        let number = self.counts.births.fetch_add(1, Ordering::AcqRel);
        if matches!(self.limit, Limit::Births(n) if n <= number) {
            self.counts.births.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let life = Life { world: self.clone(), number, ended: false };
        let bound = if number.is_multiple_of(4) { ROOMY } else { MAILBOX };
        let born = Spawn::new().mailbox(bound).spawn(async move |lane| live(lane, life).await);
        match born {
            Ok(address) => *self.place(random).lock() = Some(Seen { address, number }),
            // The lane that bears was killed while its worker had no processor for so long that it looked stuck. Its child
            // was not born, though its life, which went with the body, is counted.
            Err(SpawnError::Abandoned) => {
                self.counts.killed.fetch_sub(1, Ordering::AcqRel);
                self.counts.births.fetch_sub(1, Ordering::AcqRel);
            }
            Err(error) => panic!("there was room for a lane: {error}"),
        }
    }
}

/// Counts a death where its lane's future is dropped.
struct Life {
    world: Arc<World>,
    number: u64,
    ended: bool,
}

impl Drop for Life {
    fn drop(&mut self) {
        let counts = &self.world.counts;
        (if self.ended { &counts.ended } else { &counts.killed }).fetch_add(1, Ordering::AcqRel);
    }
}

/// A message to the lane of that number, and to no other.
struct Letter {
    world: Arc<World>,
    to: u64,
    tried: bool,
    settled: bool,
    reply: Option<Reply<u64>>,
}

impl Letter {
    /// Boxed, so that several of them fit in a pack.
    fn write(world: &Arc<World>, to: Seen, tried: bool, reply: Option<Reply<u64>>) -> Box<Letter> {
        note(&world.counts.written);
        Box::new(Letter { world: world.clone(), to: to.number, tried, settled: false, reply })
    }

    /// It is with its lane.
    fn receive(mut self, number: u64) {
        self.settled = true;
        let counts = &self.world.counts;
        note(&counts.received);
        if self.tried {
            note(&counts.tried_received);
        }
        if self.to != number {
            note(&counts.misdirected);
        }
        if let Some(reply) = self.reply.take() {
            // Who asked may be gone.
            let _ = reply.send(number);
        }
    }

    /// It came back to its sender.
    fn refused(mut self, counter: &AtomicU64) {
        self.settled = true;
        note(counter);
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        if !self.settled {
            note(&self.world.counts.dropped);
            if self.tried {
                note(&self.world.counts.tried_dropped);
            }
        }
    }
}

async fn live(mut lane: Lane<Box<Letter>>, mut life: Life) {
    let world = life.world.clone();
    let mut random = Random::seeded(world.seed ^ life.number);
    // The longest life is some dozens of steps.
    for _ in 0..random.below(64) + 1 {
        while let Some(letter) = lane.try_recv() {
            letter.receive(life.number);
        }
        let someone = world.someone(&mut random).filter(|seen| seen.number != life.number);
        match (random.below(16), someone) {
            (0..3, _) => world.bear(&mut random),
            (3..8, Some(to)) => try_to_send(&world, to),
            (8, Some(to)) => send(&world, to, 1).await,
            (9, Some(to)) => send(&world, to, FLOOD).await,
            (10..12, Some(to)) => ask(&world, to).await,
            (12, Some(victim)) => {
                if victim.address.kill() {
                    note(&world.counts.kills);
                }
            }
            (13, _) => {
                if let Ok(Some(letter)) = lane.recv_timeout(PATIENCE).await {
                    letter.receive(life.number);
                }
            }
            (14, _) => sleep(Duration::from_millis(1)).await,
            _ => yield_now().await,
        }
    }
    life.ended = true;
}

fn try_to_send(world: &Arc<World>, to: Seen) {
    match to.address.try_send(Letter::write(world, to, true, None)) {
        Ok(()) => note(&world.counts.tried_taken),
        Err(SendError::Full(letter)) => letter.refused(&world.counts.full),
        Err(error) => error.into_message().refused(&world.counts.gone),
    }
}

/// Two that wait for each other's room would wait for ever, hence the limit.
async fn send(world: &Arc<World>, to: Seen, letters: usize) {
    let sends = async {
        for _ in 0..letters {
            if let Err(error) = to.address.send(Letter::write(world, to, false, None)).await {
                error.into_message().refused(&world.counts.gone);
                break;
            }
        }
    };
    // What could not be sent in time is dropped.
    let _ = timeout(PATIENCE, sends).await;
}

async fn ask(world: &Arc<World>, to: Seen) {
    note(&world.counts.asks);
    let ask = to.address.ask(|reply| Letter::write(world, to, false, Some(reply))).timeout(PATIENCE);
    match ask.await {
        Ok(number) if number == to.number => note(&world.counts.answers),
        Ok(number) => wrong(format_args!("lane {number} answered what {} was asked", to.number)),
        Err(AskError::NoProc | AskError::Ended(_) | AskError::NoReply | AskError::Timeout(_)) => {
            note(&world.counts.no_answers);
        }
        Err(error) => wrong(error),
    }
}

async fn measure(_main: Lane<()>, world: Arc<World>) -> Measured {
    let handle = Handle::current().expect("a lane is in a runtime");
    let before = handle.metrics();
    let mut random = Random::seeded(world.seed.wrapping_neg());
    let start = Instant::now();
    while !world.is_over() {
        // Lanes bear lanes; here it begins, and begins again where a generation was killed off.
        while world.lives() < world.alive.div_ceil(2) && !world.is_over() {
            world.bear(&mut random);
        }
        sleep(Duration::from_millis(1)).await;
    }
    wait_until(|| world.lives() == 0).await;
    let counts = &world.counts;
    let births = read(&counts.births);
    let measured = Measured::since(start, births);
    // A death is complete a moment after its future was dropped.
    wait_until(|| handle.metrics().alive == before.alive && handle.metrics().timers == 0).await;
    check(counts, &before, &handle.metrics());
    let written = read(&counts.written);
    measured
        .with("mailbox", format!("bounded {MAILBOX} and {ROOMY}"))
        .with("ended", read(&counts.ended))
        .with("killed", read(&counts.killed))
        .with("letters", written)
        .with("received", read(&counts.received))
        .with("refused_gone", read(&counts.gone))
        .with("refused_full", read(&counts.full))
        .with("dropped", read(&counts.dropped))
        .with("asks", read(&counts.asks))
        .with("answers", read(&counts.answers))
        .with("letters_per_s", (written as f64 / start.elapsed().as_secs_f64()).round() as u64)
}

async fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(1)).await;
    }
}

fn check(counts: &Counts, before: &Metrics, after: &Metrics) {
    let births = read(&counts.births);
    let (ended, killed) = (read(&counts.ended), read(&counts.killed));
    expect_eq("the number of deaths", ended + killed, births);
    expect_eq("the runtime's number of births", after.spawned - before.spawned, births);
    expect_eq("the runtime's number of deaths", after.ended - before.ended, births);
    // One that was killed while it looked stuck may have come to its end all the same, and is not believed.
    let abnormal = after.abnormal - before.abnormal;
    let abandoned = after.abandoned_total - before.abandoned_total;
    if !(killed..=killed + abandoned).contains(&abnormal) {
        wrong(format_args!("the runtime's number of kills is {abnormal}, not {killed} and at most {abandoned} more"));
    }
    let kills = read(&counts.kills);
    if kills < killed {
        wrong(format_args!("{killed} lanes died by {kills} kills"));
    }
    let (gone, full) = (read(&counts.gone), read(&counts.full));
    let accounted = read(&counts.received) + gone + full + read(&counts.dropped);
    expect_eq("what became of all letters", accounted, read(&counts.written));
    let taken = read(&counts.tried_taken);
    let kept = read(&counts.tried_received) + read(&counts.tried_dropped);
    expect_eq("what became of the letters that were taken at once", kept, taken);
    expect_eq("the letters that reached another lane", read(&counts.misdirected), 0);
    if read(&counts.asks) < read(&counts.answers) + read(&counts.no_answers) {
        wrong("more asks ended than began");
    }
    expect_eq(
        "the names, errors and panics that are left",
        (after.names, after.release_errors, after.destructor_panics),
        (0, 0, 0),
    );
}
