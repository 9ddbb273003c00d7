//! What the lane of a request does. What it takes lies in its arena, and is gone with the lane, whatever became of it.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use laneway::arena::{Scratch, TryGrow, Vec};
use laneway::{current, memory, sleep, time, yield_now};

use crate::answer::Answer;
use crate::routes::Job;

/// What `/work` and `/leak` take at a time.
const BLOCK: usize = 1 << 10;
/// How long `/spin?hard=1` keeps its worker: for ever would be no example.
const HARD: Duration = Duration::from_secs(2);

/// Does it. The arena is the bucket: where it is full, [`take`] ends the lane.
pub(crate) async fn work(job: Job, arena: &Scratch) -> Answer {
    match job {
        Job::Plain => Answer::text(StatusCode::OK, "Hello, World!\n"),
        Job::Json => json(arena),
        Job::Work { kib, hold } => {
            let taken = take(arena, kib);
            if !hold.is_zero() {
                sleep(hold).await;
            }
            let sum: u64 = taken.iter().flat_map(|block| block.iter()).map(|byte| u64::from(*byte)).sum();
            Answer::text(StatusCode::OK, format!("worked on {kib} KiB: {sum}\n"))
        }
        Job::Leak { kib } => {
            std::mem::forget(take(arena, kib));
            Answer::text(StatusCode::OK, format!("forgot {kib} KiB\n"))
        }
        Job::Panic => panic!("asked to panic"),
        Job::Spin { hard: false } => loop {
            yield_now().await;
        },
        Job::Spin { hard: true } => {
            let until = time::now() + HARD;
            while time::now() < until {
                std::hint::spin_loop();
            }
            Answer::text(StatusCode::OK, "spun\n")
        }
    }
}

/// Memory of the arena, block by block, all of it written. Who wants more than his bucket has all of it before he is ended,
/// by the block that does not fit: there is no way back from here, and no error to be forgotten.
fn take(arena: &Scratch, kib: u64) -> Vec<&mut [u8], &Scratch> {
    let mut blocks = arena.vec();
    let mut left = kib << 10;
    while left > 0 {
        let block = left.min(BLOCK as u64);
        blocks.push(arena.alloc_slice(&[1; BLOCK][..block as usize]));
        left -= block;
    }
    blocks
}

/// Text in the arena, which asks whether there is room: the other way, for code that has something better to do than to end.
fn json(arena: &Scratch) -> Answer {
    let mut text = arena.string();
    if let Err(full) = text.try_grow(256) {
        return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{full}\n"));
    }
    let lane = current().map(|id| id.to_string()).unwrap_or_default();
    let (used, limit) = memory().map_or((0, 0), |memory| (memory.used, memory.limit));
    _ = write!(text, r#"{{"message":"Hello, World!","lane":"{lane}","bucket":{{"used":{used},"limit":{limit}}}}}"#);
    Answer::json(Bytes::copy_from_slice(text.as_bytes()))
}
