//! What a lane may come to take of the node's memory: its budget, and what it fills of the pools that all lanes share.
//!
//! Owns: [`Cost`], and how long each thing of a [shelf](crate::admission::ledger) is. Pure.
//!
//! | shelf | holds | a lane takes |
//! | --- | --- | --- |
//! | 0 | what each lane has by itself: slot, account, records, places in queues | one |
//! | 1 | message nodes | two a place of its mailbox, as a batch may be in its hands while others fill it again; some for signals |
//! | 2.. | blocks of 1 to 16 cache lines | one for its future, one for each message that is too long for a node |

use std::alloc::Layout;

/// How many shelves there are.
pub(crate) const SHELVES: usize = if cfg!(loom) { 1 } else { BLOCKS + POOLED_MAX };

/// What each lane has by itself.
pub(crate) const LANES: usize = 0;
/// Message nodes.
pub(crate) const NODES: usize = 1;
/// Blocks of one cache line; those of `n` follow `n - 1` behind.
pub(crate) const BLOCKS: usize = 2;

const LINE: usize = 64;
/// The longest block that comes from a pool, in cache lines (`lane/memory.rs`).
pub(crate) const POOLED_MAX: usize = 16;

/// Bytes of what each lane has by itself: a slot of 128, its record in the wait graph of 128 at most, an account of 64, a
/// place in a queue and in the lists of free slots, 64 with the room that these keep to grow; and two blocks for what few
/// lanes have, links or names and green locks, of 512 each at most.
pub(crate) const LANE: u64 = 128 + 128 + 64 + 64 + 2 * 512;
/// Bytes of a message node, and of the place of its number in the list of the free, with the room that this keeps to grow.
pub(crate) const NODE: u64 = LINE as u64 + 8;

/// Nodes beside those of the mailbox's bound: a message that is on its way, the wish of a watcher, an exit signal, a port.
const BESIDE: u32 = 8;

/// Bytes of one thing of a shelf.
pub(crate) const fn unit(shelf: usize) -> u64 {
    match shelf {
        LANES => LANE,
        NODES => NODE,
        block => ((block - BLOCKS + 1) * LINE) as u64,
    }
}

/// The shelf of the block for a value of this layout; `None` where it comes from the allocator or there is nothing in it.
pub(crate) const fn shelf_of(layout: Layout) -> Option<usize> {
    let lines = layout.size().div_ceil(LINE);
    let is_pooled = lines >= 1 && lines <= POOLED_MAX && layout.align() <= LINE;
    if is_pooled { Some(BLOCKS + lines - 1) } else { None }
}

/// What the types of a lane's future and of its messages say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Where the future lies.
    pub(crate) future: Option<usize>,
    /// Where its messages lie that are too long for a node.
    pub(crate) message: Option<usize>,
    /// Bytes of such a message where it comes from the allocator.
    pub(crate) message_bytes: u64,
}

impl Shape {
    /// Of a future and messages of these layouts.
    pub(crate) const fn of(future: Layout, message: Layout, message_is_inline: bool) -> Shape {
        let in_pool = if message_is_inline { None } else { shelf_of(message) };
        let from_allocator = !message_is_inline && in_pool.is_none();
        Shape {
            future: shelf_of(future),
            message: in_pool,
            message_bytes: if from_allocator { message.size() as u64 } else { 0 },
        }
    }
}

/// What a lane may come to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Bytes that come back when they are freed.
    pub(crate) bytes: u64,
    /// So many things of these shelves.
    pub(crate) things: [(usize, u32); 4],
}

impl Cost {
    /// Of a lane of this shape, with this budget and a mailbox for so many messages; `None` where that is more than can be.
    pub(crate) fn of(shape: Shape, budget: u64, bound: u32) -> Option<Cost> {
        let messages = bound.checked_mul(2)?;
        let in_mail = shape.message_bytes.checked_mul(u64::from(messages))?;
        let mut things = [(LANES, 1), (NODES, messages.checked_add(BESIDE)?), (LANES, 0), (LANES, 0)];
        if let Some(shelf) = shape.future {
            things[2] = (shelf, 1);
        }
        if let Some(shelf) = shape.message {
            things[3] = (shelf, messages);
        }
        let cost = Cost { bytes: budget.checked_add(in_mail)?, things };
        (cost.total() < u64::MAX).then_some(cost)
    }

    /// In bytes.
    pub(crate) fn total(&self) -> u64 {
        let pooled = self.things.iter().map(|(shelf, count)| unit(*shelf) * u64::from(*count));
        pooled.fold(self.bytes, u64::saturating_add)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn shape(future: usize, message: usize) -> Shape {
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        Shape::of(layout(future), layout(message), message <= 48)
    }

    #[test]
    fn a_short_message_takes_a_node_and_a_long_one_a_block_as_well() {
        let short = Cost::of(shape(100, 48), 1000, 16).unwrap();
        assert_eq!(short.total(), 1000 + LANE + (32 + u64::from(BESIDE)) * NODE + 128);
        let long = Cost::of(shape(100, 200), 1000, 16).unwrap();
        assert_eq!(long.total() - short.total(), 32 * 256);
        let huge = Cost::of(shape(100, 5000), 1000, 16).unwrap();
        assert_eq!(huge.total() - short.total(), 32 * 5000);
    }

    #[test]
    fn a_future_beyond_the_pools_is_in_the_budget_alone() {
        let pooled = Cost::of(shape(1024, 8), 1 << 20, 1).unwrap();
        let other = Cost::of(shape(1025, 8), 1 << 20, 1).unwrap();
        assert_eq!(pooled.total() - other.total(), 1024);
    }

    #[test]
    fn what_no_number_holds_costs_nothing_that_could_be_paid() {
        assert_eq!(Cost::of(shape(8, 8), u64::MAX, 1), None);
        assert_eq!(Cost::of(shape(8, 8), 0, u32::MAX), None);
    }
}
