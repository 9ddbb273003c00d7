//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::Parser;
use laneway::runtime::memory_bound::parse_bytes;

/// A web server whose memory is bounded by arithmetic: each request is a lane with a bucket of its own.
///
/// Try `/`, `/json`, `/work?kib=64`, `/work?kib=64&ms=20`, `/leak?kib=64`, `/panic`, `/spin`, `/spin?hard=1` and `/metrics`.
#[derive(Clone, Debug, Parser)]
#[command(name = "webserver")]
pub(crate) struct Options {
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) listen: IpAddr,
    /// TCP port; 0 lets the system choose, and it is printed.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// What the lanes of connections and requests may have together, as in `64MiB`.
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes)]
    pub(crate) memory: u64,
    /// What one request may have.
    #[arg(long, default_value = "256KiB", value_parser = parse_bytes)]
    pub(crate) bucket: u64,
    /// Connections at a time; the others wait in the listener's backlog. By default as many as a quarter of the memory is
    /// enough for.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: Option<u32>,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=48))]
    pub(crate) workers: u16,
    /// How long a request waits for a bucket before it is sent away.
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Duration,
    /// How long a request that has its bucket may take before its lane is killed.
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Duration,
    /// How long the head of a request may take to come in, and a connection may do nothing.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) idle: Duration,
    /// Stop after so many seconds; without it, run until a signal.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) run_for: Option<Duration>,
    /// Print what the memory is enough for, and exit.
    #[arg(long)]
    pub(crate) plan: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Err("it must be more than 0".into()),
        Ok(length) => Ok(length),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_working_defaults_and_refuse_nonsense() {
        let options = Options::try_parse_from(["webserver", "--memory", "64MiB", "--bucket", "256KiB"]).unwrap();
        assert_eq!((options.memory, options.bucket, options.port), (64 << 20, 256 << 10, 8080));
        assert_eq!((options.connections, options.run_for, options.plan), (None, None, false));
        for bad in
            [["--memory", "64MB"], ["--bucket", "-1"], ["--wait", "0"], ["--workers", "0"], ["--connections", "0"]]
        {
            assert!(Options::try_parse_from([&["webserver"][..], &bad].concat()).is_err(), "{bad:?}");
        }
    }
}
