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
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::alloc;
use crate::context;
use crate::slot;

const LINE: usize = 64;
/// The largest block that is pooled, in lines; what lanes cost is counted by it.
const POOLED_MAX: usize = crate::admission::cost::POOLED_MAX;
/// Lines of a future that are fetched ahead of a poll: most are no longer.
const PREFETCHED_MAX: usize = 6;
/// Blocks that move between a worker and the common pool at a time, and that are made at a time.
const BATCH: u32 = 64;

/// The most blocks of a class that a worker keeps free, and that are made at a time.
pub(crate) const CACHED_MAX: u32 = 4 * BATCH;

/// Free blocks of one class, each of which holds the address of the next.
struct Chain {
    first: Option<NonNull<u8>>,
    length: u32,
}

// SAFETY: invariant 1: free blocks have one owner, the chain, and hold nothing else.
unsafe impl Send for Chain {}

impl Chain {
    const EMPTY: Chain = Chain { first: None, length: 0 };

    #[inline]
    fn push(&mut self, block: NonNull<u8>) {
        // SAFETY: invariants 1 and 2: the block is ours, and has room for an address at its start.
        unsafe { block.cast::<Option<NonNull<u8>>>().write(self.first) };
        self.first = Some(block);
        self.length += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let block = self.first?;
        // SAFETY: a block in a chain was written to by `push`, and not since.
        self.first = unsafe { block.cast::<Option<NonNull<u8>>>().read() };
        self.length -= 1;
        Some(block)
    }

    /// Takes the first `length` blocks off, or all there are.
    fn split(&mut self, length: u32) -> Chain {
        let mut off = Chain::EMPTY;
        while off.length < length
            && let Some(block) = self.pop()
        {
            off.push(block);
        }
        off
    }
}

/// What all workers have in common, in chains that are passed on whole.
type Common = [Vec<Chain>; POOLED_MAX];

static COMMON: Mutex<Common> = Mutex::new([const { Vec::new() }; POOLED_MAX]);

/// A worker's own free blocks, by their number of lines less one.
pub(crate) struct Cache([Cell<Chain>; POOLED_MAX]);

impl Default for Cache {
    fn default() -> Cache {
        Cache([const { Cell::new(Chain::EMPTY) }; POOLED_MAX])
    }
}

impl Cache {
    /// Gives everything to the others.
    pub(crate) fn flush(&self) {
        let mut common = COMMON.lock();
        for (class, chain) in self.0.iter().enumerate() {
            let chain = chain.replace(Chain::EMPTY);
            if chain.length != 0 {
                common[class].push(chain);
            }
        }
    }

    #[inline]
    fn pop(&self, class: usize) -> NonNull<u8> {
        let mut chain = self.0[class].replace(Chain::EMPTY);
        let block = match chain.pop() {
            Some(block) => block,
            None => refill(&mut chain, class),
        };
        self.0[class].set(chain);
        block
    }

    #[inline]
    fn push(&self, class: usize, block: NonNull<u8>) {
        let mut chain = self.0[class].replace(Chain::EMPTY);
        chain.push(block);
        if chain.length >= 4 * BATCH {
            spill(&mut chain, class);
        }
        self.0[class].set(chain);
    }
}

/// Gets a chain from the common pool, or makes one; takes one block off it.
#[cold]
fn refill(chain: &mut Chain, class: usize) -> NonNull<u8> {
    let known = COMMON.lock()[class].pop();
    *chain = known.unwrap_or_else(|| make(class));
    chain.pop().unwrap_or_else(|| unreachable!("no chain in the common pool is empty"))
}

#[cold]
fn spill(chain: &mut Chain, class: usize) {
    for _ in 0..2 {
        give(class, chain.split(BATCH));
    }
}

/// Gives a chain to the common pool, whose memory is no lane's.
fn give(class: usize, chain: Chain) {
    let mut common = COMMON.lock();
    alloc::uncharged(|| common[class].push(chain));
}

/// Blocks of each class that there are in the process.
static MADE: [AtomicU32; POOLED_MAX] = [const { AtomicU32::new(0) }; POOLED_MAX];

/// How many blocks of a class there are in the process.
pub(crate) fn made(class: usize) -> u32 {
    // ORDER: Relaxed, here and below: it counts.
    MADE[class].load(Ordering::Relaxed)
}

/// A batch of fresh blocks.
fn make(class: usize) -> Chain {
    MADE[class].fetch_add(BATCH, Ordering::Relaxed);
    let lines = class + 1;
    let memory = slot::allocate(lines_layout(lines * BATCH as usize));
    let mut chain = Chain::EMPTY;
    // The lowest address comes out first.
    for number in (0..BATCH as usize).rev() {
        // SAFETY: below the length that was allocated just now.
        chain.push(unsafe { memory.add(number * lines * LINE) });
    }
    chain
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

/// The memory that is taken for a layout: whole lines, where it is pooled.
pub(crate) fn taken_by(layout: Layout) -> usize {
    class_of(layout).map_or_else(|| layout.size(), |class| (class + 1) * LINE)
}

/// What the allocator is asked for where `layout` is not pooled. That may be of no bytes, with an alignment beyond a line, and
/// the allocator gives one at least.
fn of_a_byte(layout: Layout) -> Layout {
    if layout.size() == 0 { Layout::from_size_align(1, layout.align()).unwrap_or(layout) } else { layout }
}

/// Memory for `layout`, with nothing in it.
#[inline]
pub(crate) fn allocate(layout: Layout) -> NonNull<u8> {
    let Some(class) = class_of(layout) else { return slot::allocate(of_a_byte(layout)) };
    context::with_local(|local| match local {
        Some(local) => local.frames.pop(class),
        None => allocate_outside(class),
    })
}

/// For a thread that is no worker.
#[cold]
fn allocate_outside(class: usize) -> NonNull<u8> {
    let mut chain = Chain::EMPTY;
    let block = refill(&mut chain, class);
    if chain.length != 0 {
        give(class, chain);
    }
    block
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
#[inline]
pub(crate) unsafe fn release(memory: NonNull<u8>, layout: Layout) {
    match class_of(layout) {
        // SAFETY: the caller's promise; what is not pooled came from the allocator with this layout.
        None => unsafe { std::alloc::dealloc(memory.as_ptr(), of_a_byte(layout)) },
        Some(class) => context::with_local(|local| match local {
            Some(local) => local.frames.push(class, memory),
            None => release_outside(class, memory),
        }),
    }
}

#[cold]
fn release_outside(class: usize, memory: NonNull<u8>) {
    let mut chain = Chain::EMPTY;
    chain.push(memory);
    give(class, chain);
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
