//! `laneway-bench-accounting WORKLOAD [key=value ...]`: as `laneway-bench`, with the allocator that charges lanes for what
//! they take, where `memory=BYTES` gives them a budget.

#![forbid(unsafe_code)]

use std::alloc::System;

#[global_allocator]
static ALLOCATOR: runtime::alloc::Accounting<System> = runtime::alloc::Accounting::new(System);

fn main() -> std::process::ExitCode {
    laneway_bench::on_laneway(std::env::args().skip(1))
}
