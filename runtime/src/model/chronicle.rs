//! Something is done in a turn, the turn ends, and the watchdog notes that; whoever asks when it was is told no time before it.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::explore;
use crate::env::Instant;
use crate::sched::chronicle::Chronicle;

/// More than a row spans.
const STEP: u64 = 20_000_000;

#[test]
fn what_was_done_in_a_turn_was_not_done_after_it_was_seen_to_be_over() {
    explore(|| {
        let chronicle = Arc::new(Chronicle::of_rows(2, 1));
        let clock = Arc::new(AtomicU64::new(STEP));
        let turns = Arc::new(AtomicU64::new(0));
        let worker = {
            let (clock, turns) = (clock.clone(), turns.clone());
            thread::spawn(move || {
                let done_at = clock.load(Ordering::Relaxed);
                turns.store(1, Ordering::Release);
                done_at
            })
        };
        let watchdog = {
            let (chronicle, turns) = (chronicle.clone(), turns.clone());
            thread::spawn(move || {
                // In the same row, in the next, and in the first again.
                for step in [1, 2, STEP, STEP] {
                    let given = turns.load(Ordering::Acquire);
                    let now = clock.fetch_add(step, Ordering::Relaxed);
                    chronicle.note([given].into_iter(), Instant::from_nanos(now));
                }
            })
        };
        let first = chronicle.had_given(0, 1);
        let done_at = Instant::from_nanos(worker.join().unwrap());
        watchdog.join().unwrap();
        for told in [first, chronicle.had_given(0, 1)].into_iter().flatten() {
            assert!(told >= done_at, "{told:?} is before {done_at:?}");
        }
    });
}
