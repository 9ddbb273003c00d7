//! The workloads by which Laneway is measured, as two programs: `laneway-bench`, and `laneway-bench-tokio`, which does
//! the few that are told apart only by the same program on another runtime.
//!
//! Each is called `WORKLOAD [key=value ...]`, does one piece of work, checks its result, and says how long it took. The
//! last line of standard output is one JSON object. A wrong result or a panic anywhere is exit status 1 with a word on
//! standard error, an unknown workload or key is 2, a workload that Laneway cannot do is 3.
//!
//! Read in this order: `run` (from the command line to the result line), `process` (what the OS says of this process),
//! `check` (right or wrong), `random`, `lateness` (how late, by quantiles), `workloads` (the work), `tokio_twin`.

#![forbid(unsafe_code)]
// `fiber_switch` has futures thirty deep.
#![recursion_limit = "256"]

mod check;
mod lateness;
mod process;
mod random;
mod run;
mod tokio_twin;
mod workloads;

use std::process::ExitCode;

/// `laneway-bench` with the words of a command line, its own name left out.
pub fn on_laneway(words: impl Iterator<Item = String>) -> ExitCode {
    match run::Run::from_args(words) {
        Ok(run) => run.carry_out(),
        Err(usage) => {
            eprintln!("{usage}\nusage: laneway-bench WORKLOAD [key=value ...]\nworkloads:{}", workloads::listed());
            ExitCode::from(2)
        }
    }
}

/// `laneway-bench-tokio` with the words of a command line, its own name left out.
pub fn on_tokio(words: impl Iterator<Item = String>) -> ExitCode {
    match tokio_twin::run(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(usage) => {
            eprintln!("{usage}\nusage: laneway-bench-tokio WORKLOAD [key=value ...]\nworkloads: latency lock");
            ExitCode::from(2)
        }
    }
}
