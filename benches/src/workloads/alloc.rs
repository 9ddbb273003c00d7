//! `alloc`: messages that each need some short-lived memory, from the lane's scratch or from the global allocator.
//!
//! A message makes lists of nodes of three lengths, walks them, and lets go of all.

use std::time::Instant;

use actors::arena::Scratch;
use actors::{Lane, spawn};

use crate::check::expect_eq;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let n = keys.count("n", 200_000)?;
    let pieces = keys.count("pieces", 64)?;
    let in_scratch = keys.number("scratch", 1_u32)? != 0;
    Ok(on_lane(move |lane| measure(lane, n, pieces, in_scratch)))
}

/// A node in the scratch, of `N` words and a link.
struct Lent<'a, const N: usize> {
    words: [u64; N],
    next: Option<&'a Lent<'a, N>>,
}

fn lent<'a, const N: usize>(scratch: &'a Scratch, number: u64, next: Option<&'a Lent<'a, N>>) -> &'a Lent<'a, N> {
    scratch.alloc(Lent { words: [number; N], next })
}

fn sum_lent<const N: usize>(mut list: Option<&Lent<'_, N>>) -> u64 {
    let mut sum = 0;
    while let Some(node) = list {
        sum += node.words[N - 1];
        list = node.next;
    }
    sum
}

/// The same in a box.
struct Boxed<const N: usize> {
    words: [u64; N],
    next: Option<Box<Boxed<N>>>,
}

fn boxed<const N: usize>(number: u64, next: Option<Box<Boxed<N>>>) -> Box<Boxed<N>> {
    Box::new(Boxed { words: [number; N], next })
}

/// And frees it.
fn sum_boxed<const N: usize>(mut list: Option<Box<Boxed<N>>>) -> u64 {
    let mut sum = 0;
    while let Some(node) = list {
        sum += node.words[N - 1];
        list = node.next;
    }
    sum
}

/// Makes so many nodes in each way: the sum of what was written in them.
fn with_scratch(scratch: &Scratch, number: u64, pieces: u64) -> u64 {
    let (mut short, mut middle, mut long) = (None, None, None);
    for piece in 0..pieces {
        match piece % 3 {
            0 => short = Some(lent::<1>(scratch, number, short)),
            1 => middle = Some(lent::<5>(scratch, number, middle)),
            _ => long = Some(lent::<13>(scratch, number, long)),
        }
    }
    sum_lent(short) + sum_lent(middle) + sum_lent(long)
}

fn with_boxes(number: u64, pieces: u64) -> u64 {
    let (mut short, mut middle, mut long) = (None, None, None);
    for piece in 0..pieces {
        match piece % 3 {
            0 => short = Some(boxed::<1>(number, short)),
            1 => middle = Some(boxed::<5>(number, middle)),
            _ => long = Some(boxed::<13>(number, long)),
        }
    }
    sum_boxed(short) + sum_boxed(middle) + sum_boxed(long)
}

async fn measure(mut main: Lane<u64>, n: u64, pieces: u64, in_scratch: bool) -> Measured {
    let done = main.address();
    let start = Instant::now();
    let handler = spawn(async move |mut lane: Lane<u64>| {
        let mut scratch = lane.scratch();
        let mut sum = 0;
        for _ in 0..n {
            let number = lane.recv().await.expect("a message");
            if in_scratch {
                sum += with_scratch(&scratch, number, pieces);
                scratch.reset();
            } else {
                sum += with_boxes(number, pieces);
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
