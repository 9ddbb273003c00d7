//! Memory for lanes' futures: whole cache lines, so that lanes that run on different cores share none, and pools of
//! them, so that a spawn is no call of the allocator.
//!
//! Owns: the pools, by number of lines. What is larger than [`POOLED_MAX`] lines, or wants a stricter alignment, comes
//! from the allocator and goes back to it; pooled memory is kept for further lanes. And the hint that lines are about to
//! be needed. Knows nothing of what is put in.
//!
//! # Invariants
//! 1. A block in a pool is owned by the pool alone: whoever gave it back does not touch it again.
//! 2. The blocks of class `n` are `n` lines long and aligned to a line, and stay valid for ever.

use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;

use parking_lot::Mutex;

use crate::context;
use crate::slot;

const LINE: usize = 64;
/// The largest block that is pooled, in lines.
const POOLED_MAX: usize = 16;
/// Lines of a future that are fetched ahead of a poll: most are no longer.
const PREFETCHED_MAX: usize = 6;
/// Blocks that move between a worker and the common pool at a time, and that are made at a time.
const BATCH: usize = 64;

/// A block that nobody uses.
struct Free(NonNull<u8>);

// SAFETY: invariant 1: a free block has one owner, and holds nothing.
unsafe impl Send for Free {}

/// Free blocks, by their number of lines less one.
type Classes = [Vec<Free>; POOLED_MAX];

static COMMON: Mutex<Classes> = Mutex::new([const { Vec::new() }; POOLED_MAX]);

/// A worker's own free blocks.
#[derive(Default)]
pub(crate) struct Cache(RefCell<Classes>);

impl Cache {
    /// Gives everything to the others.
    pub(crate) fn flush(&self) {
        let mut common = COMMON.lock();
        for (class, blocks) in self.0.borrow_mut().iter_mut().enumerate() {
            common[class].append(blocks);
        }
    }

    fn pop(&self, class: usize) -> Free {
        let blocks = &mut self.0.borrow_mut()[class];
        if blocks.is_empty() {
            refill(&mut COMMON.lock()[class], blocks, class);
        }
        blocks.pop().unwrap_or_else(|| unreachable!("refilled just now"))
    }

    fn push(&self, class: usize, block: Free) {
        let blocks = &mut self.0.borrow_mut()[class];
        blocks.push(block);
        if blocks.len() >= 4 * BATCH {
            COMMON.lock()[class].extend(blocks.drain(..2 * BATCH));
        }
    }
}

/// Moves a batch from the common pool to `blocks`, or makes one.
fn refill(common: &mut Vec<Free>, blocks: &mut Vec<Free>, class: usize) {
    if common.is_empty() {
        let lines = class + 1;
        let layout = lines_layout(lines * BATCH);
        let memory = slot::allocate(layout);
        for number in 0..BATCH {
            // SAFETY: below the length that was allocated just now.
            let block = unsafe { memory.add(number * lines * LINE) };
            blocks.push(Free(block));
        }
    } else {
        let keep = common.len().saturating_sub(BATCH);
        blocks.extend(common.drain(keep..));
    }
}

const fn lines_layout(lines: usize) -> Layout {
    match Layout::from_size_align(lines * LINE, LINE) {
        Ok(layout) => layout,
        Err(_) => panic!("a batch of a kibibyte each is no overflow"),
    }
}

/// The pool for a layout, `None` where it is not pooled.
const fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > LINE || layout.size() > POOLED_MAX * LINE {
        return None;
    }
    Some(if layout.size() == 0 { 0 } else { (layout.size() - 1) / LINE })
}

/// Memory for `layout`, with nothing in it.
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    let Some(class) = class_of(layout) else { return slot::allocate(layout) };
    context::with_local(|local| match local {
        Some(local) => local.frames.pop(class).0,
        None => {
            let mut common = COMMON.lock();
            if common[class].is_empty() {
                let mut fresh = Vec::new();
                refill(&mut common[class], &mut fresh, class);
                common[class].append(&mut fresh);
            }
            common[class].pop().map(|block| block.0).unwrap_or_else(|| unreachable!("refilled just now"))
        }
    })
}

/// Has the processor fetch the first lines of `size` bytes, which are about to be needed.
pub(crate) fn prefetch_lines(start: *const u8, size: usize) {
    let lines = size.div_ceil(LINE).min(PREFETCHED_MAX);
    for line in 0..lines {
        prefetch(start.wrapping_add(line * LINE));
    }
}

/// Has the processor fetch a line that is about to be needed. No access: whatever the address, nothing is read or written
/// as far as the program can tell.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn prefetch<T>(at: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint; the instruction faults at no address, and is part of every processor of this architecture.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn prefetch<T>(_at: *const T) {}

/// Takes memory back.
///
/// # Safety
/// `memory` came from [`allocate`] with this layout, was not taken back before, and nothing in it is used again.
pub(crate) unsafe fn release(memory: NonNull<u8>, layout: Layout) {
    match class_of(layout) {
        // SAFETY: the caller's promise; what is not pooled came from the allocator with this layout.
        None => unsafe { std::alloc::dealloc(memory.as_ptr(), layout) },
        Some(class) => context::with_local(|local| match local {
            Some(local) => local.frames.push(class, Free(memory)),
            None => COMMON.lock()[class].push(Free(memory)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_gets_the_least_number_of_lines_that_holds_it() {
        let class = |size, align| class_of(Layout::from_size_align(size, align).unwrap());
        assert_eq!([class(0, 1), class(1, 1), class(64, 8), class(65, 8)], [Some(0), Some(0), Some(0), Some(1)]);
        assert_eq!([class(1024, 64), class(1025, 8), class(8, 128)], [Some(15), None, None]);
    }

    #[test]
    fn blocks_in_use_do_not_overlap_and_are_aligned() {
        for size in [1, 64, 100, 1000, 5000] {
            let layout = Layout::from_size_align(size, 16).unwrap();
            let mut blocks: Vec<_> = (0..200).map(|_| allocate(layout)).collect();
            for (number, block) in blocks.iter().enumerate() {
                // SAFETY: the block is ours and `size` bytes long.
                unsafe { block.as_ptr().write_bytes(number as u8, size) };
            }
            for (number, block) in blocks.iter().enumerate() {
                // SAFETY: as above, and written to just now.
                let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
                assert!(bytes.iter().all(|byte| *byte == number as u8));
                assert!(block.addr().get().is_multiple_of(16));
            }
            for block in blocks.drain(..) {
                // SAFETY: from `allocate` with this layout, once.
                unsafe { release(block, layout) };
            }
        }
    }
}
