//! `alloc`: messages that each need some short-lived memory, from the lane's scratch or from the global allocator.

use std::time::Instant;

use actors::{Lane, arena, spawn};

use crate::check::expect_eq;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

/// The longest piece, in words.
const LONGEST: u64 = 16;

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 200_000)?;
    let pieces = keys.number("pieces", 64_u64)?;
    let in_scratch = keys.number("scratch", 1_u32)? != 0;
    Ok(on_lane(move |lane| measure(lane, n, pieces, in_scratch)))
}

/// How long a piece is, in words: 16 to 128 bytes.
fn length(piece: u64) -> usize {
    (2 + piece * 7 % (LONGEST - 1)) as usize
}

async fn measure(mut main: Lane<u64>, n: u64, pieces: u64, in_scratch: bool) -> Measured {
    let done = main.address();
    let start = Instant::now();
    let handler = spawn(async move |mut lane: Lane<u64>| {
        let mut scratch = lane.scratch();
        let mut sum = 0;
        for _ in 0..n {
            let number = lane.recv().await.expect("a message");
            let words = [number; LONGEST as usize];
            if in_scratch {
                let mut list = arena::Vec::with_capacity_in(pieces as usize, &scratch);
                list.extend((0..pieces).map(|piece| &*scratch.alloc_slice(&words[..length(piece)])));
                sum += list.iter().map(|piece| piece[piece.len() - 1]).sum::<u64>();
                drop(list);
                scratch.reset();
            } else {
                let mut list = Vec::with_capacity(pieces as usize);
                list.extend((0..pieces).map(|piece| Box::<[u64]>::from(&words[..length(piece)])));
                sum += list.iter().map(|piece| piece[piece.len() - 1]).sum::<u64>();
            }
        }
        done.send(sum).await.expect("the main program");
    });
    let handler = handler.expect("the handler");
    for number in 0..n {
        handler.send(number).await.expect("the handler");
    }
    let sum = main.recv().await.expect("the sum");
    let measured = Measured::since(start, n);
    expect_eq("the sum", sum, pieces * (n * (n - 1) / 2));
    measured
}
