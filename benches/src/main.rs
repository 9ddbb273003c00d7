//! `laneway-bench WORKLOAD [key=value ...]`: does one piece of work on lanes, checks its result, says how long it took.
//!
//! The last line of standard output is one JSON object. A wrong result or a panic anywhere is exit status 1 with a word
//! on standard error, an unknown workload or key is 2, a workload that Laneway cannot do is 3.
//!
//! Read in this order: [`run`] (from the command line to the result line), [`process`] (what the OS says of this process),
//! [`check`] (right or wrong), [`random`], [`workloads`] (the work).

#![forbid(unsafe_code)]

mod check;
mod process;
mod random;
mod run;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    match run::Run::from_args(std::env::args().skip(1)) {
        Ok(run) => run.carry_out(),
        Err(usage) => {
            eprintln!("{usage}");
            ExitCode::from(2)
        }
    }
}
