//! A key-value server for real Redis clients, as a supervised tree of lanes.
//!
//! The parts that decide are pure and stand beside this file: `resp` (the wire), `command` (what is asked), `session` (a
//! connection's own state), `route` (which shard), `store` (a shard's data and its log of effects), `info` (`INFO`).
#![forbid(unsafe_code)]
#![cfg_attr(not(test), allow(dead_code, reason = "the modules are pure parts that the server's lanes call"))]

mod command;
mod info;
mod resp;
mod route;
mod session;
mod store;

use std::time::Duration;

use clap::Parser;

/// A key-value server for Redis clients that keeps every acknowledged write while its lanes are killed.
#[derive(Clone, Debug, Parser)]
#[command(name = "kv")]
struct Options {
    /// TCP port on the loopback address; 0 lets the system choose.
    #[arg(long, default_value_t = 6380)]
    port: u16,
    /// Shard actors that hold the data, each with a standby.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: u16,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Kill this many random connection and shard lanes a second.
    #[arg(long, value_name = "RATE", default_value_t = 0)]
    chaos: u32,
    /// Stop after so many seconds; without it, run until a signal.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    run_for: Option<Duration>,
    /// Serve clients of its own under chaos, check every answer, print a table and exit.
    #[arg(long)]
    selftest: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() {
    let options = Options::parse();
    println!("{options:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_working_defaults_and_refuse_nonsense() {
        let options = Options::try_parse_from(["kv", "--for", "1.5", "--chaos", "50"]).unwrap();
        assert_eq!((options.port, options.shards, options.workers, options.chaos), (6380, 4, 2, 50));
        assert_eq!((options.run_for, options.selftest), (Some(Duration::from_millis(1500)), false));
        for bad in [["--shards", "0"], ["--port", "65536"], ["--for", "-1"], ["--workers", "x"]] {
            assert!(Options::try_parse_from([&["kv"][..], &bad].concat()).is_err(), "{bad:?}");
        }
    }
}
