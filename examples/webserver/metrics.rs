//! What is counted, and the page that shows it, as Prometheus reads it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;
use laneway::{ExitReason, Handle};

use crate::plan::Term;

/// How a request's lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Normal,
    OutOfMemory,
    Panicked,
    Killed,
    Other,
}

impl Death {
    const ALL: [(Death, &'static str); 5] = [
        (Death::Normal, "normal"),
        (Death::OutOfMemory, "out_of_memory"),
        (Death::Panicked, "panicked"),
        (Death::Killed, "killed"),
        (Death::Other, "other"),
    ];

    pub(crate) fn of(reason: &ExitReason) -> Death {
        match reason {
            ExitReason::OutOfMemory { .. } => Death::OutOfMemory,
            ExitReason::Panicked { .. } => Death::Panicked,
            ExitReason::Kill | ExitReason::Killed => Death::Killed,
            reason if reason.is_ordinary() => Death::Normal,
            _ => Death::Other,
        }
    }
}

/// The statuses that are given here, and last all others: hyper's own refusals of what is no HTTP do not come by.
const STATUSES: [u16; 8] = [200, 400, 404, 405, 500, 503, 504, 0];

/// The counters. ORDER: Relaxed for all of them: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) connections: Gauge,
    pub(crate) connections_broken: Gauge,
    pub(crate) refused: Gauge,
    /// Buckets that were given, and what of them was used: the rest is what buckets of one size cost.
    pub(crate) given: Gauge,
    pub(crate) bytes_used: Gauge,
    statuses: [Gauge; STATUSES.len()],
    deaths: [Gauge; Death::ALL.len()],
}

/// A number that lanes change.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, for as long as the guard lives.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.add(1);
        Entered(self)
    }

    /// One less.
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One that is counted.
#[must_use]
pub(crate) struct Entered<'a>(&'a Gauge);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Board {
    pub(crate) fn note_status(&self, status: StatusCode) {
        let known = STATUSES.iter().position(|known| *known == status.as_u16());
        self.statuses[known.unwrap_or(STATUSES.len() - 1)].add(1);
    }

    pub(crate) fn note_death(&self, death: Death) {
        self.deaths[death as usize].add(1);
    }

    pub(crate) fn answered(&self) -> u64 {
        self.statuses.iter().map(Gauge::get).sum()
    }

    pub(crate) fn deaths(&self, of: Death) -> u64 {
        self.deaths[of as usize].get()
    }

    /// Requests that had a bucket, and have ended.
    pub(crate) fn requests(&self) -> u64 {
        self.deaths.iter().map(Gauge::get).sum()
    }
}

/// What stands on the page beside the counters.
pub(crate) struct Page<'a> {
    pub(crate) board: &'a Board,
    pub(crate) handle: &'a Handle,
    pub(crate) buckets: u64,
    pub(crate) free: u64,
    pub(crate) waiting: u64,
    pub(crate) bound: &'a [Term],
    pub(crate) used: &'a [Term],
}

impl Page<'_> {
    /// The text exposition format, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        let Page { board, handle, buckets, free, waiting, bound, used } = self;
        let lanes = handle.metrics();
        let mut page = Text(String::with_capacity(6 << 10));
        page.gauge("buckets_in_use", "Requests that have a bucket.", buckets - free);
        page.gauge("buckets_limit", "Buckets that there are.", *buckets);
        page.gauge("buckets_waiting", "Requests that wait for one.", *waiting);
        page.counter("buckets_refused_total", "Requests that waited in vain.", board.refused.get());
        page.counter(
            "buckets_given_total",
            "Requests that had a bucket and said what they used of it.",
            board.given.get(),
        );
        page.counter("buckets_used_bytes_total", "What those used.", board.bytes_used.get());
        page.gauge("connections", "Connections that are served.", board.connections.get());
        page.counter("connections_broken_total", "Connections that ended by an error.", board.connections_broken.get());
        let of_status = |(at, status): (usize, &u16)| {
            let name = if *status == 0 { "other".to_owned() } else { status.to_string() };
            (name, board.statuses[at].get())
        };
        page.family(
            "responses_total",
            "counter",
            "Answers by status.",
            "status",
            STATUSES.iter().enumerate().map(of_status),
        );
        let of_death = |(death, name): (Death, &str)| (name.to_owned(), board.deaths(death));
        page.family(
            "request_deaths_total",
            "counter",
            "Lanes of requests by how they ended.",
            "reason",
            Death::ALL.map(of_death),
        );
        page.gauge("lanes", "Lanes that live.", lanes.alive);
        page.counter("lanes_spawned_total", "Lanes that were spawned.", lanes.spawned);
        page.counter("polls_too_long_total", "Polls that the watchdog reported.", lanes.polls_too_long);
        page.gauge("lanes_abandoned", "Lanes that were killed while stuck, and still are.", lanes.abandoned_lanes);
        page.gauge(
            "memory_reserved_bytes",
            "What is reserved for lanes that live, or left by dead ones.",
            lanes.memory_reserved,
        );
        page.gauge("memory_left_bytes", "What of it dead lanes have left.", lanes.memory_left);
        page.gauge("arena_bytes", "What arenas have.", lanes.arena_bytes);
        page.gauge(
            "arenas_quarantined",
            "Arenas of dead lanes that somebody still has a hand on.",
            lanes.arenas_quarantined,
        );
        let terms = |terms: &[Term]| terms.iter().map(|term| (term.name.to_owned(), term.bytes)).collect::<Vec<_>>();
        page.family("memory_bound_bytes", "gauge", "The most that there can be, by term.", "term", terms(bound));
        page.family("memory_used_bytes", "gauge", "What there is, by term.", "term", terms(used));
        if let Some(resident) = resident() {
            page.gauge("resident_bytes", "Resident memory of the process.", resident);
        }
        page.0
    }
}

struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        _ = writeln!(self.0, "webserver_{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        _ = writeln!(self.0, "webserver_{name} {value}");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, label: &str, of: impl IntoIterator<Item = (String, u64)>) {
        self.head(name, kind, help);
        for (which, value) in of {
            _ = writeln!(self.0, "webserver_{name}{{{label}=\"{which}\"}} {value}");
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        _ = writeln!(self.0, "# HELP webserver_{name} {help}\n# TYPE webserver_{name} {kind}");
    }
}

/// Resident memory of this process, where the system says. (It reads no disk: the kernel makes the text up.)
pub(crate) fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use laneway::Runtime;

    use super::*;

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let board = Board::default();
        for status in [StatusCode::OK, StatusCode::BAD_GATEWAY, StatusCode::OK] {
            board.note_status(status);
        }
        board.note_death(Death::of(&ExitReason::Killed));
        let term = |name, bytes| Term { name, bytes, how: String::new() };
        let (bound, used) = ([term("lanes", 7), term("the program", 8)], [term("lanes", 1)]);
        let handle = runtime.handle();
        let page = Page { board: &board, handle, buckets: 3, free: 1, waiting: 0, bound: &bound, used: &used }.render();
        let has =
            |line: &str| assert!(page.lines().any(|other| other == format!("webserver_{line}")), "{line}: {page}");
        has("buckets_in_use 2");
        has("responses_total{status=\"200\"} 2");
        has("responses_total{status=\"other\"} 1");
        has("request_deaths_total{reason=\"killed\"} 1");
        has("memory_bound_bytes{term=\"the program\"} 8");

        let mut types = BTreeSet::new();
        let mut series = BTreeSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(types.insert(rest.split(' ').next().unwrap()), "twice: {line}");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<u64>().is_ok() && series.insert(name), "{line}");
                assert!(types.contains(name.split('{').next().unwrap()), "no type before {line}");
            }
        }
    }
}
