//! What becomes of a lane in the poll in which it drops a reply port, told to who waits once it is known.
//!
//! The locals of a lane that returns or panics are dropped before its end is known. Whoever asked it is to hear why it
//! ended, and not that it "dropped the port and lives on"; so a port that is dropped in a poll, or in the destructors
//! of a lane that ends, answers with a [`Verdict`] that falls when the poll, or the death, is over.
//!
//! Owns: [`Verdict`]. Knows nothing of ports or lanes.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::NoAnswer;
use crate::lane::waker::keep;
use crate::panic::contain;

/// One verdict, shared by all ports that one lane drops in one turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    Open(Vec<Waker>),
    Fallen(NoAnswer),
}

impl Default for State {
    fn default() -> State {
        State::Open(Vec::new())
    }
}

impl Verdict {
    /// Has somebody woken when it falls.
    pub(crate) fn await_by(&self, waker: Waker) {
        let mut state = self.0.lock();
        if let State::Open(wakers) = &mut *state {
            wakers.push(waker);
        } else {
            drop(state);
            waker.wake();
        }
    }

    /// It falls.
    pub(crate) fn fall(&self, why: NoAnswer) {
        let before = mem::replace(&mut *self.0.lock(), State::Fallen(why));
        if let State::Open(wakers) = before {
            for waker in wakers {
                contain(|| waker.wake());
            }
        }
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<NoAnswer> {
        // Copied outside of the lock: what a waker does then is the user's.
        let waker = keep(cx.waker());
        let mut state = self.0.lock();
        match &mut *state {
            State::Fallen(why) => Poll::Ready(why.clone()),
            State::Open(wakers) => {
                if !wakers.iter().any(|other| other.will_wake(&waker)) {
                    wakers.push(waker);
                }
                Poll::Pending
            }
        }
    }
}
