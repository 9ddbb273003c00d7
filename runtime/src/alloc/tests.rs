use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;

/// An allocator over the system's, called by hand: tests in one process do not see what others allocate.
static ALLOCATOR: Accounting<System> = Accounting::new(System);

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// What a block of this layout is charged as.
fn cost(layout: Layout) -> u64 {
    with_header(layout).unwrap().0.size() as u64
}

/// Runs `f` as code of a lane.
fn pays<R>(budget: &Budget, f: impl FnOnce() -> R) -> R {
    charge(Some(budget.account()));
    let result = f();
    charge(None);
    result
}

#[test]
fn blocks_are_aligned_and_apart_and_keep_what_is_in_them() {
    let budget = Budget::new(u64::MAX, 0);
    let mut blocks = Vec::new();
    for (number, (size, align)) in
        [(1, 1), (8, 8), (3, 2), (100, 16), (64, 64), (5000, 4096), (24, 8), (1, 128)].into_iter().enumerate()
    {
        let layout = layout(size, align);
        // SAFETY: not of length zero.
        let block = pays(&budget, || unsafe { ALLOCATOR.alloc(layout) });
        assert!(!block.is_null() && block.addr().is_multiple_of(align));
        // SAFETY: the block is ours and so long.
        unsafe { block.write_bytes(number as u8 + 1, size) };
        blocks.push((block, layout));
    }
    let sum: u64 = blocks.iter().map(|(_, layout)| cost(*layout)).sum();
    assert_eq!(budget.account().used(), sum);
    for (number, (block, layout)) in blocks.into_iter().enumerate() {
        // SAFETY: as above, and written to.
        let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == number as u8 + 1));
        // SAFETY: handed out with this layout, and not used again.
        pays(&budget, || unsafe { ALLOCATOR.dealloc(block, layout) });
    }
    assert_eq!(budget.close(), 0);
}

#[test]
fn zeroed_memory_is_zero_and_charged() {
    let budget = Budget::new(u64::MAX, 0);
    let layout = layout(300, 32);
    // SAFETY: not of length zero.
    let block = pays(&budget, || unsafe { ALLOCATOR.alloc_zeroed(layout) });
    // SAFETY: the block is ours and so long.
    assert!(unsafe { std::slice::from_raw_parts(block, 300) }.iter().all(|byte| *byte == 0));
    assert_eq!(budget.account().used(), 332);
    // SAFETY: handed out with this layout, and not used again.
    unsafe { ALLOCATOR.dealloc(block, layout) };
    assert_eq!(budget.close(), 0);
}

#[test]
fn a_block_that_is_resized_belongs_to_whoever_did_it_last() {
    let (one, other) = (Budget::new(u64::MAX, 0), Budget::new(u64::MAX, 0));
    // SAFETY: not of length zero.
    let block = pays(&one, || unsafe { ALLOCATOR.alloc(layout(100, 8)) });
    // SAFETY: the block is ours and so long.
    unsafe { block.write_bytes(7, 100) };
    // SAFETY: handed out with this layout; the new one is no overflow.
    let block = pays(&one, || unsafe { ALLOCATOR.realloc(block, layout(100, 8), 200) });
    assert_eq!((one.account().used(), other.account().used()), (208, 0));
    // SAFETY: as above.
    let block = pays(&other, || unsafe { ALLOCATOR.realloc(block, layout(200, 8), 400) });
    assert_eq!((one.account().used(), other.account().used()), (0, 408));
    // SAFETY: as above.
    let block = unsafe { ALLOCATOR.realloc(block, layout(400, 8), 100) };
    assert_eq!((one.account().used(), other.account().used()), (0, 0));
    // SAFETY: the block is ours and so long.
    assert!(unsafe { std::slice::from_raw_parts(block, 100) }.iter().all(|byte| *byte == 7));
    // SAFETY: handed out with this layout, and not used again.
    unsafe { ALLOCATOR.dealloc(block, layout(100, 8)) };
    assert_eq!((one.close(), other.close()), (0, 0));
}

#[test]
fn what_is_too_long_is_refused_and_not_charged() {
    let budget = Budget::new(u64::MAX, 0);
    let longest = layout(isize::MAX as usize - 7, 8);
    // SAFETY: not of length zero.
    assert!(pays(&budget, || unsafe { ALLOCATOR.alloc(longest) }).is_null());
    // SAFETY: as above.
    let block = pays(&budget, || unsafe { ALLOCATOR.alloc(layout(8, 8)) });
    // SAFETY: handed out with this layout; the new one is no overflow.
    assert!(pays(&budget, || unsafe { ALLOCATOR.realloc(block, layout(8, 8), longest.size()) }).is_null());
    assert_eq!(budget.account().used(), 16);
    // SAFETY: it stayed as it was.
    unsafe { ALLOCATOR.dealloc(block, layout(8, 8)) };
    assert_eq!(budget.close(), 0);
}

#[test]
fn an_account_is_used_again_only_when_nothing_names_it() {
    let budget = Budget::new(u64::MAX, 0);
    let account = ptr::from_ref(budget.account());
    // SAFETY: not of length zero.
    let left = pays(&budget, || unsafe { ALLOCATOR.alloc(layout(64, 8)) });
    assert_eq!(budget.close(), 72);
    // Other tests take accounts as well; this one cannot be among those that are free.
    let others: Vec<_> = (0..1000).map(|_| Budget::new(1, 0)).collect();
    assert!(others.iter().all(|other| !ptr::eq(other.account(), account)));
    let addresses: BTreeSet<_> = others.iter().map(|other| ptr::from_ref(other.account())).collect();
    assert_eq!(addresses.len(), others.len());
    // SAFETY: handed out with this layout, and not used again.
    unsafe { ALLOCATOR.dealloc(left, layout(64, 8)) };
    // SAFETY: an account stays for ever.
    assert_eq!(unsafe { &*account }.used(), 0);
}

#[test]
fn accounts_that_come_back_on_many_threads_are_each_had_by_one() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 2000 };
    let in_use = Mutex::new(BTreeSet::new());
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..ROUNDS {
                    let budget = Budget::new(u64::MAX, 0);
                    let key = ptr::from_ref(budget.account()).addr();
                    assert!(in_use.lock().unwrap().insert(key), "an account is had by two");
                    // SAFETY: not of length zero.
                    let block = pays(&budget, || unsafe { ALLOCATOR.alloc(layout(32, 8)) });
                    assert_eq!(budget.account().used(), 40);
                    assert!(in_use.lock().unwrap().remove(&key));
                    drop(budget);
                    // SAFETY: handed out with this layout, and not used again.
                    unsafe { ALLOCATOR.dealloc(block, layout(32, 8)) };
                }
            });
        }
    });
}
