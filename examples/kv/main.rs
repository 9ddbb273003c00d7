//! A key-value server for real Redis clients, as a supervised tree of lanes.
//!
//! Read it in this order. The parts that decide are pure: `resp` (the wire), `command` (what is asked), `session` (a
//! connection's own state), `route` (which shard), `store` (a shard's data and its log of effects), `info` (`INFO`). The
//! lanes stand on them: `standby` and `shard` (the two members of a shard), `pair` (what they share), `connection` (one
//! client), `server` (what all lanes share), `tree` (who supervises whom), `chaos` (who may be killed). `selftest` is
//! clients that check every answer while chaos goes on.
//!
//! What it promises: a write that was acknowledged is on both members of its shard, and stays while either lives. A
//! client whose lane or shard dies is disconnected, or told that the outcome of its command is not known; it is never
//! told a wrong value. Nothing is written to disk.
#![forbid(unsafe_code)]

mod chaos;
mod command;
mod connection;
mod info;
mod pair;
mod random;
mod resp;
mod route;
mod selftest;
mod server;
mod session;
mod shard;
mod standby;
mod store;
mod tree;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use laneway::{Runtime, ShutdownReport, join, timeout};

use crate::chaos::KillCounts;
use crate::server::Server;

/// A key-value server for Redis clients that keeps every acknowledged write while its lanes are killed.
///
/// Each shard is two lanes, and a write is acknowledged when both have it. Nothing is written to disk, so a shard whose
/// lanes both die at once has lost its data; chaos therefore kills neither of them while the other has not caught up.
#[derive(Clone, Debug, Parser)]
#[command(name = "kv")]
struct Options {
    /// TCP port on the loopback address; 0 lets the system choose, and it is printed.
    #[arg(long, default_value_t = 6380)]
    port: u16,
    /// Shard actors that hold the data, each with a standby.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: u16,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=48))]
    workers: u16,
    /// Kill this many random lanes a second, of connections and of shards, but never the only member of a shard that has
    /// all its data. 0 by default; 50 in the self-test.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    chaos: Option<u32>,
    /// Stop after so many seconds; without it, run until a signal, and the self-test for 10.
    #[arg(long = "for", value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    run_for: Option<Duration>,
    /// Serve clients of its own under chaos, check every answer, print a table and exit; with an error if an acknowledged
    /// write was lost, a wrong value was read, or anything leaked.
    #[arg(long)]
    selftest: bool,
}

/// How long lanes get to end when the server stops.
const SHUTDOWN: Duration = Duration::from_secs(5);

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Err("it must be more than 0".into()),
        Ok(length) => Ok(length),
        Err(error) => Err(error.to_string()),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = if options.selftest { selftest::run(&options) } else { serve(&options) };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A seed that nobody can guess.
fn draw_seed(runtime: &Runtime) -> u64 {
    let mut bytes = [0; 8];
    runtime.handle().env().fill_entropy(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn serve(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = Runtime::builder().workers(options.workers.into()).build()?;
    let seed = draw_seed(&runtime);
    let rate = options.chaos.unwrap_or(0);
    let (code, server, kills) = runtime.block_on(async {
        let socket = tree::bind(options.port).map_err(|error| format!("port {}: {error}", options.port))?;
        let port = socket.local_addr()?.port();
        let server = Arc::new(Server::new(options.shards.into(), port, runtime.handle().env()));
        let root = tree::start(&server, socket, rate).await?;
        println!("kv: listening on 127.0.0.1:{port}, {} shards, {} workers", options.shards, options.workers);
        let chaos = if rate > 0 { Some(chaos::start(&server, rate, seed)?) } else { None };
        if chaos.is_some() {
            println!("kv: chaos kills {rate} lanes a second, seed {seed}");
        }
        // Without supervisor there is no server, so its end is the end.
        let ended = match options.run_for {
            Some(length) => timeout(length, join(root.id())).await.ok(),
            None => Some(join(root.id()).await),
        };
        if let Some(reason) = &ended {
            eprintln!("kv: the server ended: {reason}");
        }
        let kills = chaos.map(|(_, kills)| kills.counts());
        let code = if ended.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        Ok::<_, Box<dyn Error>>((code, server, kills.unwrap_or_default()))
    })?;
    report(&runtime.shutdown(SHUTDOWN), &server, kills);
    Ok(code)
}

fn report(report: &ShutdownReport, server: &Server, kills: KillCounts) {
    let starts = server.starts();
    let metrics = &report.metrics;
    println!("kv: {} connections, {} commands", server.entered(), server.commands());
    println!(
        "kv: killed {} connections, {} primaries, {} standbys; started {} primaries and {} standbys; lost {} shards",
        kills.connections, kills.primaries, kills.standbys, starts.primaries, starts.standbys, starts.losses
    );
    println!(
        "kv: {} lanes ended of {} spawned, {} descriptors closed of {} opened, {} late",
        metrics.ended,
        metrics.spawned,
        metrics.descriptors_closed,
        metrics.descriptors_opened,
        report.late.len()
    );
    report.late.iter().for_each(|lane| println!("kv: late: {lane}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_working_defaults_and_refuse_nonsense() {
        let options = Options::try_parse_from(["kv", "--for", "1.5", "--chaos", "50"]).unwrap();
        assert_eq!((options.port, options.shards, options.workers, options.chaos), (6380, 4, 2, Some(50)));
        assert_eq!((options.run_for, options.selftest), (Some(Duration::from_millis(1500)), false));
        for bad in [["--shards", "0"], ["--port", "65536"], ["--for", "-1"], ["--workers", "x"], ["--for", "0"]] {
            assert!(Options::try_parse_from([&["kv"][..], &bad].concat()).is_err(), "{bad:?}");
        }
        let negative = Options::try_parse_from(["kv", "--chaos", "-3"]).unwrap_err().to_string();
        assert!(negative.contains("-3 is not in 0..=100000"), "{negative}");
    }
}
