//! The self-test: a server under chaos, clients that check every answer, and a look at what is left when all is over.
//!
//! Server and clients are two runtimes of one process that talk over TCP. So what the server's runtime counts is the
//! server's alone, and what the process has open at the end is what either of them forgot.

mod client;
mod model;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use laneway::runtime::env::Instant;
use laneway::supervisor::Chaos;
use laneway::{Address, Lane, Metrics, Runtime, ShutdownReport, Spawn, sleep, sleep_until, time};

use crate::chaos::{KillCounts, Kills};
use crate::pair::Starts;
use crate::server::Server;
use crate::{Options, SHUTDOWN, chaos, draw_seed, tree};
use client::{Board, Tally, Verify, client};

/// Clients that work at a time.
const CLIENTS: usize = 16;
/// How long to work unless told otherwise.
const LENGTH: Duration = Duration::from_secs(10);
/// Kills a second unless told otherwise.
const RATE: u32 = 50;
/// How long shards may take to be whole again when chaos has ended.
const RECOVERY: Duration = Duration::from_secs(10);

/// Runs it: success if nothing was lost, wrong, or left.
///
/// # Errors
/// It could not be begun, as where there is no port.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let files_before = open_files();
    let host = Runtime::builder().workers(options.workers.into()).build()?;
    let guests = Runtime::builder().workers(1).build()?;
    let seed = draw_seed(&host);
    let rate = options.chaos.unwrap_or(RATE);
    let length = options.run_for.unwrap_or(LENGTH);

    let (server, chaos) = host.block_on(async {
        let socket = tree::bind(0)?;
        let port = socket.local_addr()?.port();
        let server = Arc::new(Server::new(options.shards.into(), port, host.handle().env()));
        tree::start(&server, socket, rate).await?;
        let chaos = if rate > 0 { Some(chaos::start(&server, rate, seed)?) } else { None };
        Ok::<_, Box<dyn Error>>((server, chaos))
    })?;
    let kills = chaos.as_ref().map(|(_, kills)| kills.clone()).unwrap_or_default();
    println!(
        "selftest: {CLIENTS} clients, {} shards, {} workers, {rate} kills a second, {length:?}, seed {seed}",
        options.shards, options.workers
    );

    let board = Arc::new(Board::default());
    let clients = guests.block_on(start_clients(server.port(), seed, &board))?;
    let began = guests.block_on(watch(length, &server, &kills, &board));
    board.stop.store(true, Ordering::Relaxed);
    let worked = guests.handle().env().now() - began;

    let is_whole = host.block_on(recover(&server, chaos.map(|(chaos, _)| chaos)));
    let tally = guests.block_on(verify(clients));
    let guests = guests.shutdown(SHUTDOWN);
    let host = host.shutdown(SHUTDOWN);
    let end = End {
        tally: tally?,
        worked,
        operations: board.operations.load(Ordering::Relaxed),
        disconnects: board.disconnects.load(Ordering::Relaxed),
        kills: kills.counts(),
        starts: server.starts(),
        shards: options.shards.into(),
        is_whole,
        files: files_before.zip(open_files()),
        host,
        guests,
    };
    Ok(end.tell())
}

async fn start_clients(port: u16, seed: u64, board: &Arc<Board>) -> Result<Vec<Address<Verify>>, Box<dyn Error>> {
    let start = |number| {
        let board = board.clone();
        Spawn::new().spawn(async move |lane: Lane<Verify>| client(lane, number, port, seed, board).await)
    };
    Ok((0..CLIENTS).map(start).collect::<Result<_, _>>()?)
}

/// Shows how it goes, a line a second: when it began.
async fn watch(length: Duration, server: &Server, kills: &Kills, board: &Board) -> Instant {
    let began = time::now();
    let mut before = 0;
    let mut second = 0;
    while time::now() - began < length {
        second += 1;
        sleep_until((began + Duration::from_secs(second)).min(began + length)).await;
        let operations = board.operations.load(Ordering::Relaxed);
        let (killed, starts) = (kills.counts(), server.starts());
        println!(
            "{second:>4} s  {:>8} operations  killed {:>4} connections {:>4} primaries {:>4} standbys  {:>4} disconnects  \
             {}/{} shards redundant",
            operations - before,
            killed.connections,
            killed.primaries,
            killed.standbys,
            board.disconnects.load(Ordering::Relaxed),
            server.redundant(),
            server.pairs().len(),
        );
        before = operations;
        if starts.losses > 0 {
            println!("        {} shards have lost both members at once", starts.losses);
        }
    }
    began
}

/// Ends chaos and waits until each shard has both its members again.
async fn recover(server: &Server, chaos: Option<Chaos>) -> bool {
    if let Some(chaos) = chaos
        && chaos.stop().await.is_err()
    {
        return false;
    }
    let until = time::now() + RECOVERY;
    while server.redundant() < server.pairs().len() && time::now() < until {
        sleep(Duration::from_millis(5)).await;
    }
    server.redundant() == server.pairs().len()
}

async fn verify(clients: Vec<Address<Verify>>) -> Result<Tally, Box<dyn Error>> {
    let mut all = Tally::default();
    for client in clients {
        all.add(client.ask(|reply| reply).timeout(Duration::from_secs(120)).await?);
    }
    Ok(all)
}

/// The files that this process has open, where the system says.
fn open_files() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

/// How it ended.
struct End {
    tally: Tally,
    worked: Duration,
    operations: u64,
    disconnects: u64,
    kills: KillCounts,
    starts: Starts,
    shards: u64,
    is_whole: bool,
    files: Option<(usize, usize)>,
    host: ShutdownReport,
    guests: ShutdownReport,
}

impl End {
    /// Prints the table: whether all is well.
    fn tell(&self) -> ExitCode {
        let Self { tally, kills, starts, .. } = self;
        let metrics = &self.host.metrics;
        let rate = self.operations as f64 / self.worked.as_secs_f64().max(0.001);
        let row = |name: &str, what: String| println!("{name:<14} {what}");
        println!();
        row("operations", format!("{} in {:.1} s, {rate:.0} a second", self.operations, self.worked.as_secs_f64()));
        row("", format!("{} writes acknowledged, {} values read and judged", tally.writes, tally.reads));
        row(
            "in doubt",
            format!("{} told so, {} cut off by {} disconnects", tally.told_doubts, tally.unanswered, self.disconnects),
        );
        row("verified", format!("{} keys read back after chaos", tally.verified));
        row(
            "killed",
            format!(
                "{} connections, {} primaries, {} standbys; {} strikes found nobody",
                kills.connections, kills.primaries, kills.standbys, kills.spared
            ),
        );
        row(
            "restarted",
            format!("{} primaries, {} standbys", starts.primaries - self.shards, starts.standbys - self.shards),
        );
        row(
            "receipts",
            format!(
                "{} lanes ended, {} of them abnormally; released {} descriptors, {} timers, {} names, {} bytes",
                metrics.ended,
                metrics.abnormal,
                metrics.descriptors_released,
                metrics.timers_released,
                metrics.names_released,
                metrics.bytes_released
            ),
        );
        row(
            "",
            format!(
                "{} messages dropped, {} senders sent away, {} destructors panicked, {} releases failed",
                metrics.messages_dropped, metrics.senders_refused, metrics.destructor_panics, metrics.release_errors
            ),
        );
        row(
            "descriptors",
            format!("{} opened, {} closed by the server", metrics.descriptors_opened, metrics.descriptors_closed),
        );
        if let Some((before, after)) = self.files {
            row("open files", format!("{before} before, {after} after"));
        }
        let faults = self.faults();
        row("lost writes", tally.lost.len().to_string());
        row("wrong values", tally.wrong.len().to_string());
        row("leaks", self.leaks().len().to_string());
        println!();
        if faults.is_empty() {
            println!("selftest: passed");
            return ExitCode::SUCCESS;
        }
        faults.iter().take(20).for_each(|fault| println!("FAULT {fault}"));
        println!("selftest: FAILED, {} faults", faults.len());
        ExitCode::FAILURE
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.leaks();
        faults.extend(self.tally.lost.iter().map(|what| format!("lost write: {what}")));
        faults.extend(self.tally.wrong.iter().map(|what| format!("wrong value: {what}")));
        if self.tally.stuck > 0 {
            faults.push(format!("{} pipelines were neither answered nor cut off", self.tally.stuck));
        }
        if self.starts.losses > 0 {
            faults.push(format!("{} times both members of a shard were gone", self.starts.losses));
        }
        if !self.is_whole {
            faults.push(format!("not all shards had both members {RECOVERY:?} after chaos ended"));
        }
        if self.tally.writes == 0 || self.tally.verified == 0 {
            faults.push("nothing was written and read back, so nothing was tested".into());
        }
        faults
    }

    /// What is left that should not be.
    fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (whose, report) in [("server", &self.host), ("clients", &self.guests)] {
            leaks.extend(left(&report.metrics).into_iter().map(|leak| format!("leak of the {whose}: {leak}")));
            leaks.extend(report.late.iter().map(|lane| format!("late to end, {whose}: {lane}")));
        }
        if let Some((before, after)) = self.files.filter(|(before, after)| before != after) {
            leaks.push(format!("leak: {before} open files before, {after} after"));
        }
        leaks
    }
}

fn left(metrics: &Metrics) -> Vec<String> {
    let pairs = [
        ("lanes alive", metrics.alive, 0),
        ("lanes ended", metrics.ended, metrics.spawned),
        ("timers standing", metrics.timers, 0),
        ("descriptors open", metrics.descriptors, 0),
        ("descriptors closed", metrics.descriptors_closed, metrics.descriptors_opened),
        ("names taken", metrics.names, 0),
        ("destructors that panicked", metrics.destructor_panics, 0),
        ("releases that failed", metrics.release_errors, 0),
    ];
    let wrong = pairs.into_iter().filter(|(_, is, should_be)| is != should_be);
    wrong.map(|(what, is, should_be)| format!("{is} {what}, not {should_be}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named() {
        let mut metrics = Metrics::default();
        assert_eq!(left(&metrics), Vec::<String>::new());
        metrics.timers = 2;
        metrics.spawned = 3;
        assert_eq!(left(&metrics), ["0 lanes ended, not 3", "2 timers standing, not 0"]);
    }
}
