//! Where a worker's thread sleeps: on a condition variable, or in a driver, whichever it says.
//!
//! Owns: the hand-shake between one sleeper and many wakers. A token is kept, so an unpark before the park is not lost.
//!
//! Model: `model/parker.rs`.

use crate::env::Unparker;
use crate::shim::{AtomicU8, Condvar, Mutex, Ordering};

const AWAKE: u8 = 0;
const NOTIFIED: u8 = 1;
const ON_CONDVAR: u8 = 2;
/// `IN_DRIVER + n`: in driver n.
const IN_DRIVER: u8 = 3;

/// One worker's place.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    state: AtomicU8,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Parker {
    /// Sleeps until an unpark.
    pub(crate) fn park(&self) {
        let mut guard = self.lock.lock();
        if self.announce(ON_CONDVAR) {
            // ORDER: Acquire, here and below: who is unparked sees what the waker did before.
            while self.state.load(Ordering::Acquire) == ON_CONDVAR {
                self.condvar.wait(&mut guard);
            }
        }
        self.take_token();
    }

    /// Sleeps by `wait`, which an unpark of driver `driver` ends.
    pub(crate) fn park_in(&self, driver: usize, wait: impl FnOnce()) {
        if self.announce(IN_DRIVER + driver as u8) {
            wait();
        }
        self.take_token();
    }

    /// Whether the sleeper is in a driver, as far as another thread can tell.
    pub(crate) fn is_in_driver(&self) -> bool {
        // ORDER: Relaxed: who asks has learnt from the word of `idle.rs` that it sleeps, and sees what it did before.
        self.state.load(Ordering::Relaxed) >= IN_DRIVER
    }

    /// False where an unpark came first.
    fn announce(&self, state: u8) -> bool {
        self.state.compare_exchange(AWAKE, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn take_token(&self) {
        // ORDER: AcqRel, and a read-modify-write: a second unpark that found the token given is seen with all before it.
        // A store would wipe it out unseen. Model: `no_unpark_is_lost_on_the_condition_variable`.
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Ends the present park, or the next one.
    pub(crate) fn unpark(&self, drivers: &[Unparker]) {
        // ORDER: AcqRel: Release publishes what the waker did to the sleeper.
        match self.state.swap(NOTIFIED, Ordering::AcqRel) {
            AWAKE | NOTIFIED => {}
            ON_CONDVAR => {
                // The sleeper holds the lock from its announcement until it waits, so the signal cannot fall between.
                drop(self.lock.lock());
                self.condvar.notify_one();
            }
            driver => drivers[usize::from(driver - IN_DRIVER)].unpark(),
        }
    }
}
