//! Blocks freed elsewhere: each is had back once, as it was left.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use loom::thread;

use super::explore;
use crate::arena::elsewhere::Elsewhere;

/// A block: what it links to, and what was written in it by its user.
struct Block {
    next: AtomicUsize,
    content: AtomicU32,
}

struct Heap {
    list: Elsewhere<Block>,
    blocks: [Block; 3],
}

impl Heap {
    fn new() -> Arc<Heap> {
        let block = |_| Block { next: AtomicUsize::new(0), content: AtomicU32::new(0) };
        Arc::new(Heap { list: Elsewhere::new(), blocks: std::array::from_fn(block) })
    }

    fn free(&self, number: usize) {
        let block = &self.blocks[number];
        block.content.store(7, Ordering::Relaxed);
        self.list.push(std::ptr::from_ref(block).cast_mut(), |next| block.next.store(next.addr(), Ordering::Relaxed));
    }

    /// As `Core::take_back`: which of the blocks they are.
    fn take_back(&self) -> Vec<usize> {
        let mut numbers = Vec::new();
        let mut at = self.list.take_all().addr();
        while at != 0 {
            let is_it = |block: &Block| std::ptr::from_ref(block).addr() == at;
            let number = self.blocks.iter().position(is_it).expect("a link leads to a block");
            let block = &self.blocks[number];
            assert_eq!(block.content.load(Ordering::Relaxed), 7, "its user was not done with it");
            assert!(!numbers.contains(&number), "a circle");
            numbers.push(number);
            at = block.next.load(Ordering::Relaxed);
        }
        numbers
    }
}

#[test]
fn what_two_lanes_free_the_owner_has_back_once() {
    explore(|| {
        let heap = Heap::new();
        let others: Vec<_> = [vec![0, 1], vec![2]]
            .into_iter()
            .map(|numbers| {
                let heap = heap.clone();
                thread::spawn(move || numbers.into_iter().for_each(|number| heap.free(number)))
            })
            .collect();
        let mut back = heap.take_back();
        back.extend(heap.take_back());
        for other in others {
            other.join().unwrap();
        }
        back.extend(heap.take_back());
        back.sort_unstable();
        assert_eq!(back, [0, 1, 2]);
    });
}
