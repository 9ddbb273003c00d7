//! Where a worker's thread sleeps: on a condition variable, or in a driver, whichever it says.
//!
//! Owns: the hand-shake between one sleeper and many wakers. A token is kept, so an unpark before the park is not lost.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::env::Unparker;

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
        self.state.store(AWAKE, Ordering::Release);
    }

    /// Sleeps by `wait`, which an unpark of driver `driver` ends.
    pub(crate) fn park_in(&self, driver: usize, wait: impl FnOnce()) {
        if self.announce(IN_DRIVER + driver as u8) {
            wait();
        }
        // ORDER: AcqRel: an unpark that came by now is seen with all before it.
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// False where an unpark came first.
    fn announce(&self, state: u8) -> bool {
        self.state.compare_exchange(AWAKE, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
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
