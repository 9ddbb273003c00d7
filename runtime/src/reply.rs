//! A port for one answer: the answerer's half always answers, also when it is dropped.
//!
//! Owns: the state that both halves share. Knows nothing of asks, timeouts or nodes.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::exit::ExitReason;
use crate::lane;
use crate::sched;

/// Why there will be no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The answerer's half was dropped by a lane that lives on.
    Dropped,
    /// The answerer's half went with a lane that ended.
    Ended(ExitReason),
    /// The link to the answerer's node is gone.
    NodeDown,
    /// The answerer's node did not let the question in, in words.
    Refused(&'static str),
}

enum State<T> {
    Open(Option<Waker>),
    Answered(Result<T, NoAnswer>),
    /// One half is gone, or the answer was taken.
    Closed,
}

type Shared<T> = Arc<Mutex<State<T>>>;

/// The answerer's half.
pub struct Answerer<T>(Option<Shared<T>>);

/// The half of whoever waits.
pub struct Answer<T>(Shared<T>);

/// Both halves of a new port.
pub fn port<T>() -> (Answerer<T>, Answer<T>) {
    let shared = Arc::new(Mutex::new(State::Open(None)));
    (Answerer(Some(shared.clone())), Answer(shared))
}

impl<T> Answerer<T> {
    /// Answers; gives the value back where nobody waits any more.
    ///
    /// # Errors
    /// The value.
    pub fn answer(mut self, value: T) -> Result<(), T> {
        match self.0.take().map(|shared| settle(&shared, Ok(value))) {
            Some(Err(Ok(value))) => Err(value),
            _ => Ok(()),
        }
    }

    /// As [`Answerer::answer`], for those who may not call user code: whoever waits is woken a little later.
    pub(crate) fn answer_later(mut self, value: T) {
        if let Some(shared) = self.0.take()
            && let Ok(Some(waker)) = place(&shared, Ok(value))
        {
            sched::wake_later(waker);
        }
    }

    /// Says that there will be no answer, and why.
    pub fn refuse(mut self, why: NoAnswer) {
        if let Some(shared) = self.0.take() {
            let _ = settle(&shared, Err(why));
        }
    }

    /// Whether somebody still waits.
    pub fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| matches!(*shared.lock(), State::Open(_)))
    }
}

fn settle<T>(shared: &Shared<T>, outcome: Result<T, NoAnswer>) -> Result<(), Result<T, NoAnswer>> {
    if let Some(waker) = place(shared, outcome)? {
        waker.wake();
    }
    Ok(())
}

/// Leaves the outcome for whoever waits: the waker that the caller must wake.
fn place<T>(shared: &Shared<T>, outcome: Result<T, NoAnswer>) -> Result<Option<Waker>, Result<T, NoAnswer>> {
    let mut state = shared.lock();
    let State::Open(waker) = &mut *state else { return Err(outcome) };
    let waker = waker.take();
    *state = State::Answered(outcome);
    Ok(waker)
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            let _ = settle(&shared, Err(lane::ending().map_or(NoAnswer::Dropped, NoAnswer::Ended)));
        }
    }
}

impl<T> fmt::Debug for Answerer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}

impl<T> Answer<T> {
    /// The answer, once it is there.
    ///
    /// # Panics
    /// After it was ready.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, NoAnswer>> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Open(waker) => {
                let old = match waker {
                    Some(waker) if waker.will_wake(cx.waker()) => None,
                    other => other.replace(cx.waker().clone()),
                };
                drop(state);
                drop(old);
                Poll::Pending
            }
            State::Answered(_) => match mem::replace(&mut *state, State::Closed) {
                State::Answered(outcome) => Poll::Ready(outcome),
                State::Open(_) | State::Closed => unreachable!("seen a moment ago, under the same lock"),
            },
            State::Closed => panic!("an answer was polled after it was ready"),
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let last = mem::replace(&mut *self.0.lock(), State::Closed);
        drop(last);
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(answer: &mut Answer<T>) -> Poll<Result<T, NoAnswer>> {
        answer.poll_answer(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_dropped_answerer_answers() {
        let (answerer, mut answer) = port::<u8>();
        assert!(poll(&mut answer).is_pending());
        drop(answerer);
        assert_eq!(poll(&mut answer), Poll::Ready(Err(NoAnswer::Dropped)));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_comes_back() {
        let (answerer, answer) = port();
        assert!(answerer.is_awaited());
        drop(answer);
        assert!(!answerer.is_awaited());
        assert_eq!(answerer.answer(7), Err(7));
    }

    #[test]
    fn an_answer_arrives_once() {
        let (answerer, mut answer) = port();
        assert_eq!(answerer.answer(7), Ok(()));
        assert_eq!(poll(&mut answer), Poll::Ready(Ok(7)));
    }
}
