//! `laneway-bench-tokio WORKLOAD [key=value ...]`: the same work on Tokio, for comparison on the same machine.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    laneway_bench::on_tokio(std::env::args().skip(1))
}
