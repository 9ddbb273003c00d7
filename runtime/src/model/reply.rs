//! The cell of a port: an answerer, and a waiter that polls with one waker or another, or leaves.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use loom::thread;

use super::explore;
use crate::reply::word::{OnFill, OnLook, Word};

/// Nothing lies in the place.
const NONE: u32 = 0;
/// The answer.
const VALUE: u32 = 7;

/// As `reply/cell.rs`. What lies in the cell is published by nothing but the word.
struct Cell {
    word: AtomicU32,
    waker: AtomicU32,
    /// The bits of the waker put in last, which stay when it is taken.
    bits_of_waker: AtomicU32,
    value: AtomicU32,
    freed: AtomicUsize,
    /// By the number of the waker: whether it was woken.
    woken: [AtomicBool; 3],
}

impl Cell {
    fn new() -> Arc<Cell> {
        Cell::with_waker(NONE)
    }

    /// As `cell::pair`: with that waker in it from the start, if it is one.
    fn with_waker(waker: u32) -> Arc<Cell> {
        let cell = Cell {
            word: AtomicU32::new(99),
            waker: AtomicU32::new(waker),
            bits_of_waker: AtomicU32::new(waker),
            value: AtomicU32::new(NONE),
            freed: AtomicUsize::new(0),
            woken: Default::default(),
        };
        cell.word().reset(waker != NONE);
        Arc::new(cell)
    }

    fn word(&self) -> Word<'_> {
        Word(&self.word)
    }

    fn put(place: &AtomicU32, what: u32) {
        assert_eq!(place.load(Ordering::Relaxed), NONE, "something is there already");
        place.store(what, Ordering::Relaxed);
    }

    fn take(place: &AtomicU32) -> u32 {
        let what = place.load(Ordering::Relaxed);
        assert_ne!(what, NONE, "nothing is there");
        place.store(NONE, Ordering::Relaxed);
        what
    }

    fn free(&self) {
        assert_eq!(self.waker.load(Ordering::Relaxed), NONE, "a waker is lost with the cell");
        assert_eq!(self.value.load(Ordering::Relaxed), NONE, "a value is lost with the cell");
        assert_eq!(self.freed.fetch_add(1, Ordering::Relaxed), 0, "the cell is freed twice");
    }

    /// As `AnswererEnd::settle` and the wake that follows: false where the value came back.
    fn settle(&self) -> bool {
        Cell::put(&self.value, VALUE);
        match self.word().fill() {
            OnFill::Done => true,
            OnFill::TakeWaker => {
                let waker = Cell::take(&self.waker);
                self.word().filled();
                self.woken[waker as usize].store(true, Ordering::Relaxed);
                true
            }
            OnFill::Left => {
                assert_eq!(Cell::take(&self.value), VALUE);
                self.free();
                false
            }
        }
    }

    fn answerer(cell: &Arc<Cell>) -> thread::JoinHandle<bool> {
        let cell = cell.clone();
        thread::spawn(move || cell.settle())
    }

    /// As `WaiterEnd::poll`: whether it is ready.
    fn poll(&self, waker: u32) -> bool {
        loop {
            match self.word().look() {
                OnLook::Filled => {
                    assert_eq!(Cell::take(&self.value), VALUE);
                    self.free();
                    return true;
                }
                OnLook::Waiting => {
                    // The answerer may be taking it, and wakes it then.
                    if self.bits_of_waker.load(Ordering::Relaxed) == waker {
                        return false;
                    }
                    if self.word().withdraw() {
                        Cell::take(&self.waker);
                    }
                }
                OnLook::Open => {
                    Cell::put(&self.waker, waker);
                    self.bits_of_waker.store(waker, Ordering::Relaxed);
                    if self.word().wait() {
                        return false;
                    }
                    assert_eq!(Cell::take(&self.waker), waker);
                }
            }
        }
    }

    /// As the drop of a `WaiterEnd`.
    fn leave(&self) {
        loop {
            match self.word().look() {
                OnLook::Open => {
                    if self.word().leave() {
                        return;
                    }
                }
                OnLook::Waiting => {
                    if self.word().withdraw() {
                        Cell::take(&self.waker);
                        if self.word().leave() {
                            return;
                        }
                    }
                }
                OnLook::Filled => {
                    assert_eq!(Cell::take(&self.value), VALUE);
                    self.free();
                    return;
                }
            }
        }
    }

    fn is_freed(&self) -> bool {
        self.freed.load(Ordering::Relaxed) == 1
    }
}

#[test]
fn an_answer_wakes_who_waits_for_it_and_is_received() {
    explore(|| {
        let cell = Cell::new();
        let answerer = Cell::answerer(&cell);
        let ready = cell.poll(1);
        assert!(answerer.join().unwrap(), "the waiter is there");
        assert!(ready || cell.woken[1].load(Ordering::Relaxed), "the waiter sleeps over an answer");
        assert!(ready || cell.poll(1));
        assert!(cell.is_freed());
    });
}

#[test]
fn an_answer_wakes_the_waker_that_was_given_last() {
    explore(|| {
        let cell = Cell::new();
        let answerer = Cell::answerer(&cell);
        let ready = cell.poll(1) || cell.poll(2);
        assert!(answerer.join().unwrap(), "the waiter is there");
        assert!(ready || cell.woken[2].load(Ordering::Relaxed), "the waiter sleeps over an answer");
        assert!(ready || cell.poll(2));
        assert!(cell.is_freed());
    });
}

#[test]
fn an_answer_to_who_has_left_comes_back_or_goes_with_the_cell() {
    explore(|| {
        let cell = Cell::new();
        let answerer = Cell::answerer(&cell);
        cell.leave();
        answerer.join().unwrap();
        assert!(cell.is_freed());
    });
}

#[test]
fn a_waiter_that_leaves_takes_its_waker_with_it() {
    explore(|| {
        let cell = Cell::new();
        assert!(!cell.poll(1));
        let answerer = Cell::answerer(&cell);
        cell.leave();
        let woken = cell.woken[1].load(Ordering::Relaxed);
        let was_taken = answerer.join().unwrap();
        assert!(was_taken || !woken, "the waker was gone before the answer came");
        assert!(cell.is_freed());
    });
}

#[test]
fn a_waker_that_is_there_from_the_start_is_woken_or_replaced() {
    explore(|| {
        let cell = Cell::with_waker(1);
        let answerer = Cell::answerer(&cell);
        let ready = cell.poll(2);
        assert!(answerer.join().unwrap(), "the waiter is there");
        assert!(ready || cell.woken[2].load(Ordering::Relaxed), "the waiter sleeps over an answer");
        assert!(ready || cell.poll(2));
        assert!(cell.is_freed());
    });
    explore(|| {
        let cell = Cell::with_waker(1);
        let answerer = Cell::answerer(&cell);
        cell.leave();
        answerer.join().unwrap();
        assert!(cell.is_freed());
    });
}
