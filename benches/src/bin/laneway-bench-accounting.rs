//! `laneway-bench-accounting WORKLOAD [key=value ...]`: as `laneway-bench`, with the allocator that charges lanes for what
//! they take, where `memory=BYTES` gives them a budget.
//!
//! With the feature `mimalloc` it is over that allocator, else over the system's.

#![forbid(unsafe_code)]

use runtime::alloc::Accounting;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: Accounting<mimalloc::MiMalloc> = Accounting::new(mimalloc::MiMalloc);

#[cfg(not(feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: Accounting<std::alloc::System> = Accounting::new(std::alloc::System);

fn main() -> std::process::ExitCode {
    laneway_bench::on_laneway(std::env::args().skip(1))
}
