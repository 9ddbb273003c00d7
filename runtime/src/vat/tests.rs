//! Chunks as memory.

use super::class::PAGE;
use super::*;

/// Writes all of a chunk.
fn write(chunk: &Chunk, byte: u8) {
    // SAFETY: the chunk is the test's.
    unsafe { mapping::fill(chunk.start(), chunk.length(), byte) };
}

fn bytes(chunk: &Chunk) -> &[u8] {
    // SAFETY: the chunk is the test's, and its pages are there.
    unsafe { std::slice::from_raw_parts(chunk.start().pointer().as_ptr(), chunk.length()) }
}

#[test]
fn chunks_in_hands_do_not_overlap() {
    let vat = Vat::new(None, 0);
    let lengths = [PAGE, 2 * PAGE, 3 * PAGE, 64 << 10, 1 << 20, (1 << 20) + PAGE, 3 << 20];
    let chunks: Vec<_> = (0..70).map(|number| vat.take(lengths[number % lengths.len()], false).unwrap()).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        write(chunk, number as u8);
    }
    for (number, chunk) in chunks.iter().enumerate() {
        assert!(bytes(chunk).iter().all(|byte| *byte == number as u8));
        assert!(chunk.start().pointer().addr().get().is_multiple_of(PAGE as usize));
    }
    let all = chunks.iter().map(Chunk::bytes).sum::<u64>();
    assert_eq!(vat.level().used, all);
    for chunk in chunks {
        vat.give(chunk, false);
    }
    assert_eq!(vat.level().used, 0);
    assert!(vat.level().resident <= KEPT_MAX, "{:?}", vat.level());
}

#[test]
fn a_chunk_that_is_wiped_says_nothing_to_the_next_owner() {
    let vat = Vat::new(None, 0);
    for length in [PAGE, 3 * PAGE, 64 << 10, 1 << 20] {
        let chunk = vat.take(length, false).unwrap();
        write(&chunk, 0x5A);
        vat.give(chunk, true);
        let again = vat.take(length, false).unwrap();
        assert!(bytes(&again).iter().all(|byte| *byte == 0), "{length}");
        vat.give(again, false);
    }
}

#[test]
fn threads_that_take_and_give_at_a_time_never_pass_the_limit() {
    let limit = 64 * PAGE;
    let vat = Vat::new(Some(limit), 0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let vat = &vat;
            scope.spawn(move || {
                let mut held = Vec::new();
                for step in 0..4000 {
                    if (step + thread) % 5 < 3 {
                        held.extend(vat.take((1 + (step * 7 + thread) % 20) * PAGE, false).inspect(|chunk| {
                            write(chunk, thread as u8);
                        }));
                    } else if let Some(chunk) = held.pop() {
                        assert!(bytes(&chunk).iter().all(|byte| *byte == thread as u8));
                        vat.give(chunk, false);
                    }
                    let level = vat.level();
                    assert!(level.resident <= limit, "{level:?}");
                }
                for chunk in held {
                    vat.give(chunk, false);
                }
            });
        }
    });
    assert_eq!(vat.level().used, 0);
}
