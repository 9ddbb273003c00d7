//! Lanes that hold much are killed all at once, and a table says what that took: how many there were, what each held, how
//! long it was until the last of their deaths was heard of, and how late a neighbour was that ticks a thousand times a
//! second. What they leave behind is counted, and has to be nothing.
//!
//! `cargo run --release --example bulk_release`, with `-- --quick` for a hundredth of it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use laneway::prelude::*;
use laneway::sync::Mutex;
use laneway::{Down, Handle, SpawnError, time};

/// What a row of the table is about.
#[derive(Clone, Copy, Debug)]
struct Load {
    lanes: usize,
    locks: usize,
    timers: usize,
    sockets: usize,
    names: usize,
}

const ROWS: [Load; 5] = [
    Load { lanes: 100_000, locks: 0, timers: 0, sockets: 0, names: 0 },
    Load { lanes: 50_000, locks: 4, timers: 4, sockets: 0, names: 1 },
    Load { lanes: 1_000, locks: 100, timers: 1_000, sockets: 0, names: 10 },
    Load { lanes: 100, locks: 10, timers: 10, sockets: 80, names: 0 },
    Load { lanes: 1, locks: 10_000, timers: 1_000_000, sockets: 8_000, names: 0 },
];

impl Load {
    /// A hundredth of it.
    fn quick(self) -> Load {
        let part = |count: usize| count.div_ceil(100);
        if self.lanes > 1 {
            Load { lanes: part(self.lanes), ..self }
        } else {
            Load { locks: part(self.locks), timers: part(self.timers), sockets: part(self.sockets), ..self }
        }
    }

    /// Things that all hold together.
    fn held(self) -> usize {
        self.lanes * (self.locks + self.timers + self.sockets + self.names)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { locks, timers, sockets, names, .. } = *self;
        let kinds = [(locks, "locks"), (timers, "timers"), (sockets, "sockets"), (names, "names")];
        let words: Vec<_> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
        f.pad(&if words.is_empty() { "nothing".to_owned() } else { words.join(", ") })
    }
}

/// What the main lane hears.
enum Told {
    /// A lane holds all that it is to hold.
    Ready,
    Died(Down),
}

/// A neighbour, which notes how late it comes to its ticks.
#[derive(Default)]
struct Neighbour {
    phase: AtomicU8,
    /// The latest tick of each phase, in nanoseconds.
    latest: [AtomicU64; 4],
}

/// The phases after the lanes have got what they are to hold.
const BEFORE: u8 = 1;
const DURING: u8 = 2;
const AFTER: u8 = 3;
const OVER: u8 = 4;

impl Neighbour {
    fn start() -> Result<Arc<Neighbour>, SpawnError> {
        let neighbour = Arc::new(Neighbour::default());
        let ticking = neighbour.clone();
        laneway::spawn(async move |_: Lane<()>| {
            let mut ticks = interval(Duration::from_millis(1)).missed_tick(time::MissedTick::Skip);
            loop {
                let due = ticks.tick().await;
                let late = u64::try_from((time::now() - due).as_nanos()).unwrap_or(u64::MAX);
                match ticking.latest.get(usize::from(ticking.phase.load(Ordering::Relaxed))) {
                    Some(latest) => _ = latest.fetch_max(late, Ordering::Relaxed),
                    None => break,
                }
            }
        })?;
        Ok(neighbour)
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn latest(&self, phase: u8) -> Duration {
        Duration::from_nanos(self.latest[usize::from(phase)].load(Ordering::Relaxed))
    }
}

/// Holds what `load` says, and waits to be killed.
async fn hold(load: Load, number: usize, lane: Lane<()>, main: Address<Told>) -> Outcome {
    let mut guards = Vec::with_capacity(load.locks);
    for _ in 0..load.locks {
        guards.push(Arc::new(Mutex::new(())).lock_owned().await);
    }
    let mut timers: Vec<time::Sleep> = Vec::with_capacity(load.timers);
    while timers.len() < load.timers {
        let mut timer = sleep(Duration::from_secs(3600));
        // A timer stands once it was polled.
        let is_set = poll_fn(|cx| Poll::Ready(Pin::new(&mut timer).poll(cx).is_pending())).await;
        assert!(is_set);
        timers.push(timer);
        if timers.len().is_multiple_of(256) {
            laneway::yield_now().await;
        }
    }
    let mut sockets = Vec::with_capacity(load.sockets);
    while sockets.len() < load.sockets {
        sockets.push(TcpListener::bind(([127, 0, 0, 1], 0))?);
        laneway::yield_now().await;
    }
    for name in 0..load.names {
        lane.register(&format!("name {name} of lane {number}"))?;
    }
    main.send(Told::Ready).await?;
    std::future::pending().await
}

/// What a row has come to.
struct Row {
    load: Load,
    took: Duration,
    before: Duration,
    during: Duration,
    after: Duration,
    leaks: u64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { load, took, before, during, after, leaks } = self;
        let held = (load.held() + load.lanes) as f64 / took.as_secs_f64() / 1e6;
        let millis = |length: &Duration| length.as_secs_f64() * 1e3;
        write!(
            f,
            "{:>7}  {:<44}  {:>9.2}  {held:>12.2}  {:>6.2}  {:>6.2}  {:>6.2}  {leaks:>5}",
            load.lanes,
            load,
            millis(took),
            millis(before),
            millis(during),
            millis(after),
        )
    }
}

/// Timers, sockets and names that stand now, and lanes that live.
fn standing(runtime: &Handle) -> u64 {
    let metrics = runtime.metrics();
    metrics.timers + metrics.descriptors + metrics.names + metrics.alive
}

async fn row(runtime: &Handle, load: Load, main: &mut Lane<Told>) -> Result<Row, ExitReason> {
    let neighbour = Neighbour::start()?;
    // Its timer comes and goes; its own sleep stands beside it.
    let others = runtime.metrics().alive;
    let mut lanes = Vec::with_capacity(load.lanes);
    for number in 0..load.lanes {
        let address = main.address();
        let body = async move |lane: Lane<()>| hold(load, number, lane, address).await;
        let (lane, reference) = Spawn::new().monitor_with_receipt().spawn_monitored(body)?;
        main.on_down(reference.expect("a monitor was asked for"), Told::Died);
        lanes.push(lane);
        if number % 256 == 0 {
            laneway::yield_now().await;
        }
    }
    for _ in 0..load.lanes {
        match main.recv().await {
            Some(Told::Ready) => {}
            Some(Told::Died(down)) => return Err(ExitReason::error(format!("a lane ended early: {}", down.reason))),
            None => return Err(ExitReason::error("nobody asked the main lane to stop")),
        }
    }
    neighbour.enter(BEFORE);
    sleep(Duration::from_millis(200)).await;

    neighbour.enter(DURING);
    let begun = time::now();
    for few in lanes.chunks(64) {
        for lane in few {
            lane.kill();
        }
        laneway::yield_now().await;
    }
    let mut released = 0;
    for _ in 0..load.lanes {
        let Some(Told::Died(down)) = main.recv().await else {
            return Err(ExitReason::error("this is no notice of a death"));
        };
        let receipt = down.receipt.ok_or(ExitReason::error("a notice without the receipt that was asked for"))?;
        released += receipt.locks + receipt.timers + receipt.descriptors + receipt.names;
    }
    let took = time::now() - begun;
    neighbour.enter(AFTER);
    sleep(Duration::from_millis(200)).await;
    neighbour.enter(OVER);
    if released != load.held() as u64 {
        return Err(ExitReason::error(format!("{} things were held and {released} given back", load.held())));
    }
    sleep(Duration::from_millis(20)).await;
    let leaks = standing(runtime) - (others - 1);
    let [before, during, after] = [BEFORE, DURING, AFTER].map(|phase| neighbour.latest(phase));
    Ok(Row { load, took, before, during, after, leaks })
}

async fn table(runtime: Handle, is_quick: bool, mut main: Lane<Told>) -> Outcome {
    println!(
        "  lanes  each holds                                       all, ms  M releases/s  latest tick, ms         leaks"
    );
    println!("                                                                                 before  during   after");
    let mut leaks = 0;
    for load in ROWS {
        let row = row(&runtime, if is_quick { load.quick() } else { load }, &mut main).await?;
        println!("{row}");
        leaks += row.leaks;
    }
    if leaks == 0 { Ok(()) } else { Err(ExitReason::error(format!("{leaks} things were left behind"))) }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let runtime = Runtime::builder().workers(2).build()?;
    let handle = runtime.handle().clone();
    let reason = runtime.block_on(async move {
        let main = laneway::spawn(async move |lane| table(handle, is_quick, lane).await)?;
        Ok::<_, SpawnError>(laneway::join(main.id()).await)
    })?;
    if reason != ExitReason::Normal {
        return Err(reason.to_string().into());
    }
    let report = runtime.shutdown(Duration::from_secs(5));
    if report.is_clean() { Ok(()) } else { Err(format!("lanes were left behind: {:?}", report.late).into()) }
}
