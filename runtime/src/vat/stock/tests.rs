//! The stock against a simple model of it: exact at the limit, whatever lies warm where.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::super::class::{PAGE, in_pages};
use super::*;

/// Names for chunks, and which of them have pages.
#[derive(Default)]
struct Names {
    last: Cell<u64>,
    /// How many more regions there are.
    ends: Cell<Option<u64>>,
    cooled: RefCell<Vec<(u64, u64)>>,
}

impl Source<u64> for Names {
    fn map(&self, _: usize) -> Option<Vec<u64>> {
        if let Some(left) = self.ends.get() {
            self.ends.set(Some(left.checked_sub(1)?));
        }
        let first = self.last.get();
        self.last.set(first + 3);
        Some(vec![first, first + 1, first + 2])
    }

    fn cool(&self, chunk: u64, bytes: u64) {
        self.cooled.borrow_mut().push((chunk, bytes));
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_request_is_refused_exactly_where_the_limit_would_be_passed() {
    for seed in 1..=40_u64 {
        let limit = [64 << 10, 300 << 10, 1 << 20][seed as usize % 3];
        let (names, stock) = (Names::default(), Stock::new(limit, limit / 8, 2));
        let mut state = seed * 0x9E37_79B9;
        let mut held: BTreeMap<u64, u64> = BTreeMap::new();
        for step in 0..3000 {
            let worker = [None, Some(0), Some(1)][random(&mut state) as usize % 3];
            let used: u64 = held.values().sum();
            if !random(&mut state).is_multiple_of(3) {
                let bytes = in_pages(random(&mut state) % [5000, 40_000, 400_000][step % 3]).unwrap();
                match stock.take(&names, worker, bytes, false) {
                    Ok(chunk) => {
                        assert!(used + bytes <= limit, "seed {seed}: passed the limit");
                        assert!(held.insert(chunk, bytes).is_none(), "seed {seed}: chunk {chunk} twice");
                    }
                    Err(refused) => {
                        assert_eq!(refused, Refused::Limit { available: limit - used }, "seed {seed}");
                        assert!(used + bytes > limit, "seed {seed}: refused {bytes} with {used} of {limit} used");
                    }
                }
            } else if let Some((&chunk, _)) = held.iter().nth(random(&mut state) as usize % held.len().max(1)) {
                let bytes = held.remove(&chunk).unwrap();
                stock.give(&names, worker, chunk, bytes);
            }
            let level = stock.level();
            assert_eq!(level.used, held.values().sum::<u64>(), "seed {seed}");
            assert!((level.used..=limit).contains(&level.resident), "seed {seed}: {level:?}");
        }
        for (chunk, bytes) in held {
            stock.give(&names, None, chunk, bytes);
        }
        let (level, cooled) = (stock.level(), names.cooled.borrow().iter().map(|(_, bytes)| bytes).sum::<u64>());
        assert_eq!((level.used, level.cooled), (0, cooled), "seed {seed}");
        assert!(level.refused > 0, "seed {seed}: the limit was never reached");
    }
}

#[test]
fn what_is_warm_for_one_length_makes_room_for_another() {
    let (names, stock) = (Names::default(), Stock::new(8 * PAGE, PAGE, 1));
    let small: Vec<_> = (0..8).map(|_| stock.take(&names, Some(0), PAGE, false).unwrap()).collect();
    for chunk in small {
        stock.give(&names, Some(0), chunk, PAGE);
    }
    assert_eq!((stock.level().used, stock.level().resident), (0, 8 * PAGE));
    // Another worker's cache has all of it.
    assert!(stock.take(&names, None, 8 * PAGE, false).is_ok());
    assert_eq!((stock.level().used, stock.level().resident, stock.level().cooled), (8 * PAGE, 8 * PAGE, 8 * PAGE));
}

#[test]
fn by_force_the_limit_does_not_count_and_all_others_are_refused_meanwhile() {
    let (names, stock) = (Names::default(), Stock::new(2 * PAGE, 0, 0));
    let first = stock.take(&names, None, 2 * PAGE, false).unwrap();
    let beyond = stock.take(&names, None, PAGE, true).unwrap();
    assert_eq!(stock.level().used, 3 * PAGE);
    stock.give(&names, None, first, 2 * PAGE);
    assert_eq!(stock.take(&names, None, 2 * PAGE, false), Err(Refused::Limit { available: PAGE }));
    stock.give(&names, None, beyond, PAGE);
    assert!(stock.take(&names, None, 2 * PAGE, false).is_ok());
}

#[test]
fn where_there_are_no_addresses_the_request_is_not_counted() {
    let (names, stock) = (Names::default(), Stock::new(u64::MAX, 0, 0));
    names.ends.set(Some(0));
    assert_eq!(stock.take(&names, None, PAGE, false), Err(Refused::System));
    assert_eq!((stock.level().used, stock.level().resident), (0, 0));
    names.ends.set(None);
    assert!(stock.take(&names, None, PAGE, false).is_ok());
}
