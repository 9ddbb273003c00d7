//! How a thread outside the workers waits for a future.
//!
//! Owns: the waker of a thread in [`Runtime::block_on`].
//!
//! A thread counts as busy from the wake on until it waits again, and one that has left is never woken.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use parking_lot::Mutex;

use super::Runtime;
use crate::blocking::Busy;
use crate::context;
use crate::lane::index::RootGuard;
use crate::sched::Scheduler;

impl Runtime {
    /// Runs a future on this thread until it is ready. It is no lane: it has no mailbox and no id, but it may spawn,
    /// sleep, send and ask.
    ///
    /// # Panics
    /// Within a lane, which it would block.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        assert!(context::with_local(|local| local.is_none()), "block_on would block a worker: await instead");
        let _entered = self.handle.enter();
        let scheduler = self.handle.0.clone();
        let mut busy = Busy::new(scheduler.clone());
        let state = Mutex::new(Blocked::Asleep);
        let unpark = Arc::new(Unpark { thread: std::thread::current(), scheduler, state });
        let waker = Waker::from(unpark.clone());
        let unpark = Leave(unpark);
        let turns = RootGuard::enter(waker.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = std::pin::pin!(future);
        loop {
            turns.begin_turn();
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            turns.end_turn();
            drop(busy);
            busy = unpark.0.wait();
        }
    }
}

/// The waker of a thread in [`Runtime::block_on`].
struct Unpark {
    thread: Thread,
    scheduler: Arc<Scheduler>,
    state: Mutex<Blocked>,
}

/// What a thread in [`Runtime::block_on`] waits for.
enum Blocked {
    Asleep,
    /// It is to poll again. It counts as busy from the wake on, or a clock that jumps would jump before it is up.
    Woken(Busy),
    /// It has left; who wakes it now has a waker that was left over.
    Gone,
}

impl Unpark {
    fn wait(&self) -> Busy {
        loop {
            let mut state = self.state.lock();
            if let Blocked::Woken(busy) = std::mem::replace(&mut *state, Blocked::Asleep) {
                return busy;
            }
            drop(state);
            std::thread::park();
        }
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if matches!(*state, Blocked::Asleep) {
            *state = Blocked::Woken(Busy::new(self.scheduler.clone()));
            drop(state);
            self.thread.unpark();
        }
    }
}

/// Says that the thread has left, however it did.
struct Leave(Arc<Unpark>);

impl Drop for Leave {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut *self.0.state.lock(), Blocked::Gone);
        drop(last);
    }
}
