//! How many lanes fit: `cargo run --example plan -- --memory 64MiB --budget 256KiB`. Shows what a runtime with that limit may
//! come to take of memory, too.

use clap::Parser;
use laneway::Runtime;
use laneway::memory_bound::{MemoryPlan, parse_bytes};

/// How many lanes of a budget fit under a memory limit, and what a runtime with that limit may come to take.
#[derive(Parser)]
struct Options {
    /// The memory limit, as in 64MiB.
    #[arg(long, value_parser = parse_bytes)]
    memory: u64,
    /// The budget of each lane, as in 256KiB.
    #[arg(long, value_parser = parse_bytes)]
    budget: u64,
    /// The bound of each mailbox.
    #[arg(long, default_value_t = 1024)]
    mailbox: u32,
    /// The length of a message: one of more than 48 bytes takes a block beside its node.
    #[arg(long, default_value = "48B", value_parser = parse_bytes)]
    message: u64,
    /// The number of workers; one a processor unless told.
    #[arg(long)]
    workers: Option<usize>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let plan = MemoryPlan::new(options.memory).budget(options.budget).mailbox(options.mailbox);
    println!("{}", plan.messages_of(usize::try_from(options.message)?));
    let builder = Runtime::builder().memory_limit(options.memory).lane_memory(options.budget);
    let runtime = match options.workers {
        Some(workers) => builder.workers(workers).build()?,
        None => builder.build()?,
    };
    println!("\nA runtime with this limit takes no more than:\n{}", runtime.memory_bound());
    Ok(())
}
