//! A port for one answer: the answerer's half always answers, also when it is dropped.
//!
//! Owns: the two halves and what they promise. The memory that they share is `cell`'s, its life-cycle `word`'s. Knows
//! nothing of asks or timeouts.

use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::task::{Context, Poll, Waker};

pub(crate) mod cell;
pub(crate) mod verdict;
pub(crate) mod word;

use cell::{AnswererEnd, WaiterEnd};
use verdict::Verdict;

use crate::context;
use crate::exit::ExitReason;
use crate::lane::waker::slot_of_waker;
use crate::mailbox::node;
use crate::panic::contain;
use crate::question::Question;
use crate::sched;
use crate::sched::worker::Local;
use crate::wait_graph::Deadlock;
use crate::wait_graph::note::{hands_out, parks_otherwise};

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
    /// The lane that was asked waits, itself or by others, for the one that asks: nobody would ever answer.
    Deadlock(Deadlock),
    /// The answerer's node did not let the question in, in words.
    Refused(&'static str),
}

/// The answer, or why there is none. The latter is rare, and boxed so that small answers stay small.
type Outcome<T> = Result<T, Box<Why>>;

/// Why there will be no answer.
enum Why {
    Known(NoAnswer),
    /// It will be known when the turn of the lane that dropped the port is over.
    Open(Verdict),
}

/// The answerer's half.
pub struct Answerer<T>(Option<AnswererEnd<Outcome<T>>>);

/// The half of whoever waits.
pub struct Answer<T> {
    end: WaiterEnd<Outcome<T>>,
    /// What the end gave, where it is a verdict that has yet to fall.
    verdict: Option<Verdict>,
}

/// Both halves of a new port.
pub fn port<T: Send>() -> (Answerer<T>, Answer<T>) {
    of_ends(cell::pair(node::lend(), None))
}

/// As [`port`], for a worker with these free nodes, and with the waker that is to be woken for the answer until another is
/// given.
#[inline(always)]
pub(crate) fn port_awaited_by<T: Send>(free: &node::Cache, waker: Waker) -> (Answerer<T>, Answer<T>) {
    of_ends(cell::pair(node::lend_from(free), Some(waker)))
}

#[inline(always)]
fn of_ends<T>((answerer, waiter): (AnswererEnd<Outcome<T>>, WaiterEnd<Outcome<T>>)) -> (Answerer<T>, Answer<T>) {
    (Answerer(Some(answerer)), Answer { end: waiter, verdict: None })
}

impl<T> Answerer<T> {
    /// Answers; gives the value back where nobody waits any more.
    ///
    /// # Errors
    /// The value.
    #[inline(always)]
    pub fn answer(self, value: T) -> Result<(), T> {
        hands_out::<T>();
        match self.into_end().map(|end| end.settle(Ok(value))) {
            Some(Ok(waker)) => {
                wake(waker);
                Ok(())
            }
            Some(Err(Ok(value))) => Err(value),
            Some(Err(Err(_))) | None => Ok(()),
        }
    }

    /// Nothing is left to drop.
    #[inline]
    fn into_end(self) -> Option<AnswererEnd<Outcome<T>>> {
        ManuallyDrop::new(self).0.take()
    }

    /// As [`Answerer::answer`], for those who may not call user code: whoever waits is woken a little later.
    pub(crate) fn answer_later(self, value: T) {
        if let Some(end) = self.into_end()
            && let Ok(Some(waker)) = end.settle(Ok(value))
        {
            sched::wake_later(waker);
        }
    }

    /// Says that there will be no answer, and why.
    pub fn refuse(self, why: NoAnswer) {
        if let Some(end) = self.into_end()
            && let Ok(waker) = end.settle(Err(Box::new(Why::Known(why))))
        {
            wake(waker);
        }
    }

    /// Whether somebody still waits.
    pub fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(AnswererEnd::is_awaited)
    }
}

/// Wakes whoever waits. A waker is that one's code: if it panics, the lane that answers is not to blame, and neither is
/// the worker that ends a lane with an answerer in its hands.
#[inline]
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        match slot_of_waker(&waker) {
            // That of a lane is ours, and its destructor does nothing.
            Some(slot) => {
                mem::forget(waker);
                sched::wake(slot);
            }
            None => wake_other(waker),
        }
    }
}

#[cold]
fn wake_other(waker: Waker) {
    contain(|| waker.wake());
}

impl<T> Drop for Answerer<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            Answerer::give_up(end);
        }
    }
}

impl<T> Answerer<T> {
    /// It was dropped.
    #[inline(never)]
    fn give_up(end: AnswererEnd<Outcome<T>>) {
        let verdict = context::with_local(|local| local.and_then(Local::verdict));
        let Some(verdict) = verdict else {
            if let Ok(waker) = end.settle(Err(Box::new(Why::Known(NoAnswer::Dropped)))) {
                wake(waker);
            }
            return;
        };
        if let Ok(Some(waker)) = end.settle(Err(Box::new(Why::Open(verdict.clone())))) {
            verdict.await_by(waker);
        }
    }
}

impl<T> fmt::Debug for Answerer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}

impl<T> Answer<T> {
    /// The answer, where it is there. `None` also where it has been taken, and where there is none to come: to be polled for.
    #[inline(always)]
    pub fn take_now(&mut self) -> Option<T> {
        self.end.take_if(Result::is_ok)?.ok()
    }

    /// Whether the answer is to come, and will wake by a waker that `is` the one.
    #[inline(always)]
    pub(crate) fn wakes_by(&self, is: impl FnOnce(&Waker) -> bool) -> bool {
        self.end.wakes_by(is)
    }

    /// The answer, once it is there.
    ///
    /// # Panics
    /// After it was ready.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, NoAnswer>> {
        let polled = self.poll_end(cx);
        if polled.is_pending() {
            // Nobody knows who has the port.
            parks_otherwise();
        }
        polled
    }

    /// The answer to this question, once it is there; [`NoAnswer::Deadlock`] where the lane that was asked waits for the
    /// current one.
    ///
    /// # Panics
    /// After it was ready.
    #[inline]
    pub fn poll_answer_to(&mut self, question: &mut Question, cx: &mut Context<'_>) -> Poll<Result<T, NoAnswer>> {
        self.poll_parking(cx, |cx| question.park(cx))
    }

    /// As `poll_answer`, for an operation that notes what it waits for by `park`.
    #[inline]
    pub(crate) fn poll_parking(
        &mut self,
        cx: &mut Context<'_>,
        park: impl FnOnce(&Context<'_>) -> Option<Deadlock>,
    ) -> Poll<Result<T, NoAnswer>> {
        let polled = self.poll_end(cx);
        if polled.is_pending()
            && let Some(deadlock) = park(cx)
        {
            return Poll::Ready(Err(NoAnswer::Deadlock(deadlock)));
        }
        polled
    }

    #[inline]
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, NoAnswer>> {
        if self.verdict.is_some() {
            return self.poll_verdict(cx);
        }
        match std::task::ready!(self.end.poll(cx)) {
            Ok(answer) => Poll::Ready(Ok(answer)),
            Err(why) => self.poll_why(*why, cx),
        }
    }

    #[cold]
    fn poll_why(&mut self, why: Why, cx: &mut Context<'_>) -> Poll<Result<T, NoAnswer>> {
        match why {
            Why::Known(why) => Poll::Ready(Err(why)),
            Why::Open(verdict) => {
                self.verdict = Some(verdict);
                self.poll_verdict(cx)
            }
        }
    }

    #[cold]
    fn poll_verdict(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, NoAnswer>> {
        let verdict = self.verdict.as_ref().map(|verdict| verdict.poll(cx));
        verdict.unwrap_or(Poll::Pending).map(Err)
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

    fn poll<T: Send>(answer: &mut Answer<T>) -> Poll<Result<T, NoAnswer>> {
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

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn the_waker_of_the_last_poll_is_woken_and_none_is_lost() {
        let wakers = [std::sync::Arc::<Count>::default(), std::sync::Arc::default()];
        let (answerer, mut answer) = port();
        for waker in wakers.iter().chain(&wakers) {
            assert!(answer.poll_answer(&mut Context::from_waker(&waker.clone().into())).is_pending());
        }
        answerer.answer([1_u64; 9]).unwrap();
        let woken = wakers.each_ref().map(|count| count.0.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
        assert_eq!(poll(&mut answer), Poll::Ready(Ok([1; 9])));
        assert!(wakers.iter().all(|waker| std::sync::Arc::strong_count(waker) == 1), "a waker was kept");
    }

    #[test]
    fn an_answer_wakes_by_the_waker_of_the_last_poll_until_it_is_there() {
        let wakers: [Waker; 2] = [(); 2].map(|()| std::sync::Arc::<Count>::default().into());
        let wakes = |answer: &Answer<_>| wakers.each_ref().map(|waker| answer.wakes_by(|kept| kept.will_wake(waker)));
        for is_answered in [true, false] {
            let (answerer, mut answer) = port();
            assert_eq!(wakes(&answer), [false; 2], "none is there");
            for (waker, expected) in wakers.iter().zip([[true, false], [false, true]]) {
                assert!(answer.poll_answer(&mut Context::from_waker(waker)).is_pending());
                assert_eq!(wakes(&answer), expected);
            }
            if is_answered {
                assert_eq!(answerer.answer([1_u64; 9]), Ok(()));
            } else {
                drop(answerer);
            }
            assert_eq!(wakes(&answer), [false; 2], "it has been woken");
            assert_eq!(poll(&mut answer), Poll::Ready(if is_answered { Ok([1; 9]) } else { Err(NoAnswer::Dropped) }));
            assert_eq!(wakes(&answer), [false; 2], "nothing is to come");
        }
    }

    #[test]
    fn whether_an_answer_wakes_may_be_asked_while_it_comes() {
        for number in 0..300 {
            let (answerer, mut answer) = port();
            assert!(poll(&mut answer).is_pending());
            std::thread::scope(|scope| {
                scope.spawn(move || answerer.answer(number));
                while answer.wakes_by(|kept| kept.will_wake(Waker::noop())) {
                    std::hint::spin_loop();
                }
            });
            assert_eq!(poll(&mut answer), Poll::Ready(Ok(number)));
        }
    }

    #[test]
    fn what_nobody_took_is_dropped() {
        let witness = std::sync::Arc::new(());
        let (answerer, answer) = port();
        answerer.answer(witness.clone()).unwrap();
        drop(answer);
        let (answerer, answer) = port();
        drop(answer);
        drop(answerer.answer((witness.clone(), [0_u8; 100])));
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
    }

    #[test]
    fn halves_on_two_threads_meet() {
        for number in 0..2000_u64 {
            let (answerer, mut answer) = port();
            std::thread::scope(|scope| {
                scope.spawn(move || answerer.answer(number));
                let outcome = loop {
                    if let Poll::Ready(outcome) = poll(&mut answer) {
                        break outcome;
                    }
                    std::hint::spin_loop();
                };
                assert_eq!(outcome, Ok(number));
            });
        }
    }
}
