//! The memory that the two halves of a port share: a message node, put to another use.
//!
//! Owns: [`AnswererEnd`] and [`WaiterEnd`], and every access to what lies in the cell. Knows nothing of answers.
//!
//! # Invariants
//! 1. `word.rs` says at each moment which end may touch the waker, and which the value.
//! 2. The cell is freed once: by the waiter that found it `FILLED`, or by the answerer that found it `LEFT`.
//! 3. The value lies in the cell itself where it fits, else boxed: its type alone decides.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::task::{Context, Poll, Waker};

use super::word::{OnFill, OnLook, Word};
use crate::lane::waker::keep;
use crate::mailbox::node::{self, Lent};

/// What lies in a cell's 48 bytes.
#[repr(C)]
struct Content<V> {
    waker: ManuallyDrop<Waker>,
    value: V,
}

struct Cell<V> {
    unit: Lent,
    value: PhantomData<fn() -> V>,
}

impl<V> Cell<V> {
    const INLINE: bool = size_of::<Content<V>>() <= node::LENT_BYTES && align_of::<Content<V>>() <= align_of::<u64>();

    fn word(&self) -> Word<'_> {
        Word(self.unit.word())
    }

    fn waker(&self) -> *mut Waker {
        self.unit.bytes().cast()
    }

    /// Where the value is; valid for `V` itself where it is stored inline, else for a box of it.
    fn value(&self) -> *mut u8 {
        let offset = if Self::INLINE { std::mem::offset_of!(Content<V>, value) } else { size_of::<Waker>() };
        self.unit.bytes().wrapping_add(offset)
    }

    /// # Safety
    /// The caller may touch the value, and none is there.
    unsafe fn put_value(&self, value: V) {
        if Self::INLINE {
            // SAFETY: the caller's promise; the place is large and aligned enough, which `INLINE` says.
            unsafe { self.value().cast::<V>().write(value) }
        } else {
            // SAFETY: as above, for a word.
            unsafe { self.value().cast::<Box<V>>().write(Box::new(value)) }
        }
    }

    /// # Safety
    /// The caller may touch the value, and one is there.
    unsafe fn peek_value(&self) -> &V {
        if Self::INLINE {
            // SAFETY: the caller's promise.
            unsafe { &*self.value().cast::<V>() }
        } else {
            // SAFETY: the caller's promise.
            unsafe { &*self.value().cast::<Box<V>>() }
        }
    }

    /// # Safety
    /// The caller may touch the value, and one is there; it is not there afterwards.
    unsafe fn take_value(&self) -> V {
        if Self::INLINE {
            // SAFETY: the caller's promise.
            unsafe { self.value().cast::<V>().read() }
        } else {
            // SAFETY: the caller's promise.
            *unsafe { self.value().cast::<Box<V>>().read() }
        }
    }
}

/// The end that settles.
pub(crate) struct AnswererEnd<V>(Cell<V>);

/// The end that waits.
pub(crate) struct WaiterEnd<V>(Option<Cell<V>>);

// SAFETY: the ends touch what they share in turn, as `word.rs` says; the value crosses threads, and is `Send`.
unsafe impl<V: Send> Send for AnswererEnd<V> {}
// SAFETY: as above.
unsafe impl<V: Send> Send for WaiterEnd<V> {}
// SAFETY: through a shared reference one can only look at the atomic word, and at the address of the waiter's waker, which the
// waiter writes by `&mut` alone and the answerer reads.
unsafe impl<V: Send> Sync for AnswererEnd<V> {}
// SAFETY: as above.
unsafe impl<V: Send> Sync for WaiterEnd<V> {}

/// Both ends of a fresh cell in what was lent to both, in which there may be the waiter's waker from the start.
#[inline(always)]
pub(crate) fn pair<V>((one, other): (Lent, Lent), waker: Option<Waker>) -> (AnswererEnd<V>, WaiterEnd<V>) {
    let cell = |unit| Cell { unit, value: PhantomData };
    let (one, other) = (cell(one), cell(other));
    one.word().reset(waker.is_some());
    if let Some(waker) = waker {
        // SAFETY: both halves are ours still, and no waker is there.
        unsafe { one.waker().write(waker) };
    }
    (AnswererEnd(one), WaiterEnd(Some(other)))
}

impl<V> AnswererEnd<V> {
    /// Leaves the value for the waiter: the waker to wake, or the value where the waiter has left.
    #[inline]
    pub(crate) fn settle(self, value: V) -> Result<Option<Waker>, V> {
        let cell = self.0;
        // SAFETY: until it is filled, the value is the answerer's, and there is none: an answerer settles once.
        unsafe { cell.put_value(value) };
        match cell.word().fill() {
            OnFill::Done => Ok(None),
            OnFill::TakeWaker => {
                // SAFETY: `TAKEN`: the waker is there and ours.
                let waker = unsafe { cell.waker().read() };
                cell.word().filled();
                Ok(Some(waker))
            }
            OnFill::Left => {
                // SAFETY: `LEFT`: the value is still ours.
                let value = unsafe { cell.take_value() };
                node::take_back(cell.unit);
                Err(value)
            }
        }
    }

    /// Whether the waiter is still there.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.word().is_awaited()
    }
}

impl<V> WaiterEnd<V> {
    /// The value, once it is there.
    ///
    /// # Panics
    /// After it was ready.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<V> {
        let cell = self.0.as_ref().expect("an answer was polled after it was ready");
        // Copied before anything is decided: a copy of a waker that is not a lane's is the user's code and may panic.
        let mut mine = None;
        loop {
            match cell.word().look() {
                OnLook::Filled => break,
                OnLook::Waiting => {
                    // SAFETY: the waker was put there by us and stays there while we may look: the answerer takes it
                    // by copying, and does not write to it. What it has taken is compared by address alone.
                    let same = unsafe { (*cell.waker().cast::<ManuallyDrop<Waker>>()).will_wake(cx.waker()) };
                    if same {
                        return Poll::Pending;
                    }
                    if cell.word().withdraw() {
                        // SAFETY: `OPEN` again: the waker is ours.
                        drop(unsafe { cell.waker().read() });
                    }
                }
                OnLook::Open => {
                    let waker = mine.take().unwrap_or_else(|| keep(cx.waker()));
                    // SAFETY: `OPEN`: the waker is ours, and there is none.
                    unsafe { cell.waker().write(waker) };
                    if cell.word().wait() {
                        return Poll::Pending;
                    }
                    // SAFETY: `WAITING` was not reached: the waker is still ours.
                    mine = Some(unsafe { cell.waker().read() });
                }
            }
        }
        // SAFETY: `FILLED`: the value is there and ours, and nobody looks for it again.
        let value = unsafe { cell.take_value() };
        let cell = self.0.take();
        cell.into_iter().for_each(|cell| node::take_back(cell.unit));
        Poll::Ready(value)
    }
}

impl<V> WaiterEnd<V> {
    /// The value, where it is there already and `wanted`.
    #[inline(always)]
    pub(crate) fn take_if(&mut self, wanted: impl FnOnce(&V) -> bool) -> Option<V> {
        let is_wanted = |cell: &mut Cell<V>| {
            // SAFETY: `FILLED`: the value is there and ours.
            cell.word().is_filled() && wanted(unsafe { cell.peek_value() })
        };
        let cell = self.0.take_if(is_wanted)?;
        // SAFETY: as above; with the cell it is gone.
        let value = unsafe { cell.take_value() };
        node::take_back(cell.unit);
        Some(value)
    }

    /// Whether there is no value yet and a waker that `is` the one is to be woken for it.
    #[inline(always)]
    pub(crate) fn wakes_by(&self, is: impl FnOnce(&Waker) -> bool) -> bool {
        let Some(cell) = self.0.as_ref().filter(|cell| cell.word().is_waiting()) else { return false };
        // SAFETY: as in `poll`: a waker that was seen there stays, and is compared by address alone.
        is(unsafe { &*cell.waker().cast::<ManuallyDrop<Waker>>() })
    }

    /// The value, where it is there already. Whoever was to be woken for it still is.
    pub(crate) fn try_take(&mut self) -> Option<V> {
        let cell = self.0.take_if(|cell| cell.word().look() == OnLook::Filled)?;
        // SAFETY: `FILLED`: the value is there and ours.
        let value = unsafe { cell.take_value() };
        node::take_back(cell.unit);
        Some(value)
    }

    /// Nobody waits any more: a value that came first.
    pub(crate) fn leave(&mut self) -> Option<V> {
        loop {
            let cell = self.0.as_ref()?;
            match cell.word().look() {
                OnLook::Open => {
                    if cell.word().leave() {
                        self.0 = None;
                        return None;
                    }
                }
                OnLook::Waiting => {
                    if cell.word().withdraw() {
                        // SAFETY: `OPEN` again: the waker is ours.
                        let waker = unsafe { cell.waker().read() };
                        // Its destructor is the user's and may panic: leave first.
                        if cell.word().leave() {
                            self.0 = None;
                        }
                        drop(waker);
                    }
                }
                OnLook::Filled => return self.try_take(),
            }
        }
    }
}

impl<V> WaiterEnd<V> {
    #[inline(never)]
    fn leave_for_good(&mut self) {
        drop(self.leave());
    }
}

impl<V> Drop for WaiterEnd<V> {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.leave_for_good();
        }
    }
}
