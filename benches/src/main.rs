//! `laneway-bench WORKLOAD [key=value ...]`: one piece of work on lanes; what it is, the library says.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    laneway_bench::on_laneway(std::env::args().skip(1))
}
