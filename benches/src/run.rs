//! One run: from the words of the command line to the result line.
//!
//! Owns: [`Keys`], [`Work`], [`Measured`], and the form of the result line. Knows nothing of what the work is.

use std::fmt;
use std::process::{ExitCode, exit};
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actors::{IntoExit, Lane, Runtime, spawn};
use serde_json::{Map, Value, json};

use crate::{process, workloads};

/// The words of the command line make no sense.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Usage(String);

impl Usage {
    pub(crate) fn new(what: impl fmt::Display) -> Usage {
        Usage(what.to_string())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `key=value` words of a command line.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Those that nobody has asked for yet.
    left: Vec<(String, String)>,
    /// The keys that were asked for.
    known: Vec<String>,
    /// The number of workers, which every workload has.
    pub(crate) workers: usize,
    /// Whether that was given.
    workers_given: bool,
    /// The number of drivers, likewise.
    pub(crate) drivers: usize,
    /// Whether time is virtual, likewise: for counts of instructions, on which no clock then has an influence.
    pub(crate) virtual_time: bool,
    /// The budget of memory of each lane, in bytes, likewise; 0 for none.
    pub(crate) lane_memory: u64,
}

impl Keys {
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Result<Keys, Usage> {
        let pair = |word: String| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Usage::new(format_args!("{word} is not key=value"))),
        };
        let left: Vec<(String, String)> = words.map(pair).collect::<Result<_, _>>()?;
        for (place, (key, _)) in left.iter().enumerate() {
            if left[..place].iter().any(|(before, _)| before == key) {
                return Err(Usage::new(format_args!("{key} is given twice")));
            }
        }
        let workers_given = left.iter().any(|(key, _)| key == "workers");
        let mut keys = Keys {
            left,
            known: Vec::new(),
            workers: 0,
            workers_given,
            drivers: 0,
            virtual_time: false,
            lane_memory: 0,
        };
        keys.workers = keys.number("workers", 2)?;
        keys.drivers = keys.number("drivers", 1)?;
        keys.virtual_time = keys.number("virtual", 0)? != 0;
        keys.lane_memory = keys.number("memory", 0)?;
        Ok(keys)
    }

    /// The number given for a key, or else its default.
    pub(crate) fn number<T: FromStr>(&mut self, key: &str, default: T) -> Result<T, Usage> {
        self.known.push(key.to_owned());
        let Some(place) = self.left.iter().position(|(given, _)| given == key) else { return Ok(default) };
        let (_, value) = self.left.remove(place);
        value.parse().map_err(|_| Usage::new(format_args!("{key}={value} is no number that {key} may be")))
    }

    /// As [`Keys::number`], for one that must not be 0.
    pub(crate) fn count(&mut self, key: &str, default: u64) -> Result<u64, Usage> {
        match self.number(key, default)? {
            0 => Err(Usage::new(format_args!("{key} must not be 0"))),
            count => Ok(count),
        }
    }

    /// One worker unless told otherwise, and no other number will do.
    pub(crate) fn only_one_worker(&mut self) -> Result<(), Usage> {
        if self.workers_given && self.workers != 1 {
            return Err(Usage::new("this is done by one worker: workers must be 1"));
        }
        self.workers = 1;
        Ok(())
    }

    /// Refuses what nobody asked for.
    pub(crate) fn end(&self) -> Result<(), Usage> {
        match self.left.first() {
            Some((key, _)) => Err(Usage::new(format_args!("unknown key {key}; there are: {}", self.known.join(", ")))),
            None => Ok(()),
        }
    }
}

/// What a workload did, once it has found that right.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Units of work.
    ops: u64,
    /// From the first unit to the last result.
    took: Duration,
    /// What else there is to say.
    extra: Map<String, Value>,
}

impl Measured {
    /// So many units since `start`, which is to be called as soon as the last result is there.
    pub(crate) fn since(start: Instant, ops: u64) -> Measured {
        let took = start.elapsed();
        let mut extra = Map::new();
        extra.insert("mailbox".into(), "bounded 1024".into());
        Measured { ops, took, extra }
    }

    /// Says one thing more.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Measured {
        self.extra.insert(key.into(), value.into());
        self
    }

    /// Units of work a second.
    pub(crate) fn ops_per_s(&self) -> u64 {
        (self.ops as f64 / self.took.as_secs_f64()).round() as u64
    }

    /// The result line.
    pub(crate) fn line(self, (peer, version): Peer, workload: &str, workers: usize) -> Value {
        json!({
            "peer": peer,
            "version": version,
            "workload": workload,
            "workers": workers,
            "ops": self.ops,
            "seconds": rounded(self.took.as_secs_f64(), 6),
            "ops_per_s": self.ops_per_s(),
            "rss_peak_kib": process::resident_peak_kib(),
            "extra": self.extra,
        })
    }
}

/// A workload with its keys filled in, to be done on a runtime. A server has no result: it is done when its standard
/// input is closed.
pub(crate) type Work = Box<dyn FnOnce(&Runtime) -> Option<Measured>>;

/// Work whose main program is a lane as well, so that no thread but the workers takes part.
pub(crate) fn on_lane<M, F>(main: impl FnOnce(Lane<M>) -> F + 'static) -> Work
where
    M: Send + 'static,
    F: Future<Output = Measured> + Send + 'static,
{
    Box::new(move |runtime| {
        let (say, said) = mpsc::channel();
        spawn_from_outside(runtime, |lane| {
            let main = main(lane);
            async move {
                // Whoever started the lane waits for it.
                let _ = say.send(main.await);
            }
        });
        Some(said.recv().expect("the main lane ends with a result, or in a panic that ends the process"))
    })
}

/// Spawns a lane from a thread that is none.
pub(crate) fn spawn_from_outside<M, F>(runtime: &Runtime, body: impl FnOnce(Lane<M>) -> F)
where
    M: Send + 'static,
    F: Future<Output: IntoExit> + Send + 'static,
{
    let _inside = runtime.handle().enter();
    spawn(body).expect("a first lane");
}

/// What the command line asks for.
pub(crate) struct Run {
    workload: String,
    workers: usize,
    drivers: usize,
    virtual_time: bool,
    lane_memory: u64,
    work: Work,
}

impl Run {
    /// Reads `WORKLOAD [key=value ...]`.
    pub(crate) fn from_args(mut words: impl Iterator<Item = String>) -> Result<Run, Usage> {
        let workload = words.next().ok_or_else(|| Usage::new("which workload?"))?;
        let mut keys = Keys::new(words)?;
        let prepare = workloads::named(&workload)?;
        let work = prepare(&mut keys)?;
        keys.end()?;
        let Keys { workers, drivers, virtual_time, lane_memory, .. } = keys;
        Ok(Run { workload, workers, drivers, virtual_time, lane_memory, work })
    }

    /// Does the work and prints the result line.
    pub(crate) fn carry_out(self) -> ExitCode {
        let mut builder = Runtime::builder().workers(self.workers).drivers(self.drivers);
        if self.lane_memory != 0 {
            builder = builder.lane_memory(self.lane_memory);
        }
        if self.virtual_time {
            builder = builder.virtual_time(1);
        }
        let runtime = match builder.build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        end_process_on_panic();
        if let Some(measured) = (self.work)(&runtime) {
            println!("{}", measured.line(LANEWAY, &self.workload, self.workers));
        }
        // To end a million lanes one by one is no part of the work. The runtime stays in its place meanwhile, where
        // those who look for leaks find it.
        exit(0)
    }
}

/// A panic in a lane ends only that lane, and its workload would wait for it. Here it is a run that failed.
fn end_process_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        exit(1)
    }));
}

/// Whose result it is: name and version.
pub(crate) type Peer = (&'static str, &'static str);

const LANEWAY: Peer = ("laneway", env!("CARGO_PKG_VERSION"));

/// A number with so many digits behind the point.
pub(crate) fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Run, Usage> {
        Run::from_args(line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned))
    }

    fn refusal(line: &str) -> String {
        read(line).err().unwrap_or_else(|| panic!("{line} was taken")).0
    }

    #[test]
    fn there_are_two_workers_unless_told_otherwise() {
        assert_eq!(read("pingpong").map(|run| run.workers), Ok(2));
        assert_eq!(read("pingpong n=5 workers=1").map(|run| run.workers), Ok(1));
        assert_eq!(read("fiber_switch").map(|run| run.workers), Ok(1));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert_eq!(refusal(""), "which workload?");
        assert_eq!(refusal("nonsense"), "unknown workload nonsense");
        assert_eq!(refusal("pingpong hops=1"), "unknown key hops; there are: workers, drivers, virtual, memory, n");
        assert_eq!(refusal("pingpong n"), "n is not key=value");
        assert_eq!(refusal("pingpong n=many"), "n=many is no number that n may be");
        assert_eq!(refusal("pingpong n=0"), "n must not be 0");
        assert_eq!(refusal("pingpong n=1 n=2"), "n is given twice");
        assert_eq!(refusal("skynet leaves=12"), "leaves must be a power of ten");
        assert_eq!(refusal("fiber_switch workers=2"), "this is done by one worker: workers must be 1");
        assert_eq!(refusal("fiber_switch n=10 few=11"), "few must not be more than n");
    }

    #[test]
    fn the_result_line_holds_what_was_measured() {
        let mut measured = Measured::since(Instant::now(), 30).with("more", 7);
        measured.took = Duration::from_millis(1500);
        let line = measured.line(LANEWAY, "ring", 2);
        assert_eq!((&line["workload"], &line["ops"], &line["seconds"]), (&json!("ring"), &json!(30), &json!(1.5)));
        assert_eq!(line["ops_per_s"], 20);
        assert_eq!(line["extra"], json!({ "mailbox": "bounded 1024", "more": 7 }));
    }

    #[test]
    fn work_on_a_lane_gives_its_result() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let work = on_lane(async |_: Lane<()>| Measured::since(Instant::now(), 3));
        assert_eq!(work(&runtime).map(|measured| measured.ops), Some(3));
    }
}
