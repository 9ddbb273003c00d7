//! Why a lane ends whose destructors run, as they may ask.
//!
//! Owns: [`Ending`], one a worker.

use std::cell::{Cell, RefCell};

use crate::exit::ExitReason;

/// What a worker says of the lane that ends there.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    reason: RefCell<Option<ExitReason>>,
    /// A lane that was killed ends, whatever is in `reason`: that is large, and to move it about would be much of a short
    /// death.
    killed: Cell<bool>,
}

impl Ending {
    /// Whether a lane ends.
    pub(crate) fn is_some(&self) -> bool {
        self.killed.get() || self.reason.borrow().is_some()
    }

    /// Why it does.
    pub(crate) fn reason(&self) -> Option<ExitReason> {
        if self.killed.get() { Some(ExitReason::Killed) } else { self.reason.borrow().clone() }
    }

    /// Says why the lane ends that ends from here on, or that the one before it goes on to: what was said before.
    pub(crate) fn replace(&self, reason: Option<ExitReason>) -> Option<ExitReason> {
        self.reason.replace(reason)
    }

    /// Says that the lane that ends from here on was killed, or that it has ended.
    #[inline]
    pub(crate) fn set_killed(&self, killed: bool) {
        self.killed.set(killed);
    }
}
