//! The bound of a runtime's memory, against what the system says is resident, while lanes take all that they may: a process
//! of its own.
#![cfg(target_os = "linux")]

use std::alloc::System;
use std::hint::black_box;
use std::process::Command;

use laneway::alloc::Accounting;
use laneway::prelude::*;
use laneway::{Handle, SpawnError, join, yield_now};

#[global_allocator]
static ALLOCATOR: Accounting<System> = Accounting::new(System);

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 64 * MIB;
/// Rows of stacks, which nobody here uses.
const UNUSED: [&str; 2] = ["stacks of workers", "stacks of blocking threads"];
/// For code, libc, the test's own memory, what of stacks is used, and the word or two that an allocator adds to a block: the
/// constant of this program.
const PROGRAM: u64 = 8 * MIB;
/// An allocator that keeps what is free for each thread apart keeps more than what anybody has: here there is one heap.
const HEAPS: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

/// What is resident of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("the system says");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second number");
    pages * 4096
}

/// Takes what it may, holds it, and reads no message.
async fn hog(_: Lane<[u64; 12]>) {
    let mut hoard = Vec::new();
    while laneway::check_memory(4096).is_ok() {
        hoard.push(black_box(vec![1_u8; 1024]));
    }
    std::future::pending::<()>().await;
}

/// Spawns hogs until there is no room.
fn fill(lanes: &mut Vec<Address<[u64; 12]>>) {
    loop {
        match Spawn::new().mailbox(16).memory(256 << 10).spawn(hog) {
            Ok(lane) => lanes.push(lane),
            Err(SpawnError::NoMemory(_)) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn what_is_resident_stays_under_the_bound_while_lanes_take_all_they_may() {
    if std::env::var(HEAPS.0).is_ok_and(|told| told == HEAPS.1) {
        return attack();
    }
    let this = std::env::current_exe().expect("the system says");
    let child = Command::new(this).env(HEAPS.0, HEAPS.1).output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{out}\n{err}");
}

fn attack() {
    let runtime = Runtime::builder().workers(2).memory_limit(LIMIT).build().expect("a runtime");
    let bound = runtime.memory_bound();
    let unused = UNUSED.iter().filter_map(|row| bound.get(row)?.bytes).sum::<u64>();
    let most = bound.total() - unused + PROGRAM;
    let mut highest = 0;
    runtime.block_on(async {
        let mut lanes = Vec::new();
        for round in 0..40 {
            fill(&mut lanes);
            for lane in &lanes {
                while lane.try_send([7; 12]).is_ok() {}
            }
            // They run on other threads than this one.
            for _ in 0..1000 {
                yield_now().await;
            }
            highest = highest.max(resident());
            assert!(highest <= most, "round {round}: {highest} bytes are resident\n{bound}");
            for (bounds, uses) in bound.terms.iter().zip(runtime.memory_used().terms) {
                let is_within = bounds.bytes.is_none_or(|most| uses.bytes.is_some_and(|used| used <= most));
                assert!(is_within, "round {round}: {uses:?} of {bounds:?}");
            }
            // Every second one, and in some rounds all, so that holes of all kinds are filled.
            let mut number = 0;
            let dead: Vec<_> = lanes
                .extract_if(.., |_| {
                    number += 1;
                    number % 2 == 0 || round % 8 == 7
                })
                .collect();
            for lane in dead {
                lane.kill();
                join(lane.id()).await;
            }
        }
    });
    assert!(highest > LIMIT / 2, "they took less than half of it: {highest}");
    let metrics = Handle::metrics(runtime.handle());
    assert!(metrics.out_of_memory == 0 && metrics.memory_refused >= 40, "{metrics:?}");
    println!("{} MiB of {} MiB\n{}", highest / MIB, most / MIB, runtime.memory_used());
}
