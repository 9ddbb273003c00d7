//! [`Ask`]: a question, its way to the lane, and the wait for the answer.

use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use runtime::lane;
use runtime::question::{self, Asked, Question};
use runtime::reply::Answer;
use runtime::time::Deadline;

use crate::address::{Address, Sending};
use crate::error::AskError;
use crate::reply::Reply;

/// How long an ask waits unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A time that is never over: it is longer than the clock has.
const NEVER: u64 = u64::MAX;

/// The future of [`Address::ask`].
#[must_use = "nothing is asked before it is awaited"]
pub struct Ask<M: Send + 'static, T> {
    /// Dropped before the question, or the lane would be woken for the end of a port that went unsent.
    answer: Answer<T>,
    sending: Sending<M>,
    /// In nanoseconds; [`NEVER`] for none.
    timeout: u64,
    deadline: Deadline,
    asked: Question,
}

impl<M: Send + 'static, T: Send + 'static> Ask<M, T> {
    #[inline]
    #[track_caller]
    pub(crate) fn new<F: FnOnce(Reply<T>) -> M>(to: Address<M>, question: F) -> Ask<M, T> {
        let asked = to.question(Location::caller(), &question);
        let (answerer, answer) = question::port();
        let sending = to.send_question(question(Reply::local(answerer)));
        Ask { answer, sending, timeout: DEFAULT_TIMEOUT.as_nanos() as u64, deadline: Deadline::unset(), asked }
    }

    /// How long to wait for the answer, from the first poll on; zero is over at once unless the answer is there. Where it is a
    /// second or more, some milliseconds more may pass, and as much as the turn goes on in which it is asked: what blocks in the
    /// same turn, as in a `join`, adds to it.
    pub fn timeout(mut self, length: Duration) -> Ask<M, T> {
        self.timeout = u64::try_from(length.as_nanos()).unwrap_or(NEVER);
        self
    }

    /// Waits as long as it takes. The end of the lane, or of the link to it, still ends the wait.
    pub fn no_timeout(mut self) -> Ask<M, T> {
        self.timeout = NEVER;
        self
    }

    /// What it brings has a place of its own: so an answer that is there already need not go by memory.
    #[inline(never)]
    fn poll_closely(&mut self, cx: &mut Context<'_>, outcome: &mut Option<Result<T, AskError>>) {
        if let Poll::Ready(polled) = self.poll_steps(cx) {
            *outcome = Some(polled);
        }
    }

    #[inline]
    fn poll_steps(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, AskError>> {
        if !self.sending.is_through()
            && let Err(unsent) = ready!(self.poll_sending(cx))
        {
            return Poll::Ready(Err(unsent));
        }
        match self.answer.poll_answer_to(&mut self.asked, cx) {
            Poll::Ready(answered) => Poll::Ready(answered.map_err(AskError::from)),
            Poll::Pending => self.poll_timeout(cx),
        }
    }

    /// The short way to ask, which most asks go: whether the lane waits for the answer now.
    // Always: with it the whole way of a question is part of the lane's own code.
    #[inline(always)]
    fn asks_now(&mut self, cx: &Context<'_>) -> bool {
        let limit = (self.timeout != NEVER).then_some((&mut self.deadline, self.timeout));
        self.asked.ask_now(self.sending.inner(), &self.answer, limit, cx) == Asked::Awaited
    }

    #[inline]
    fn is_to_self(&self) -> bool {
        self.sending.to().is_some_and(|to| lane::is_current(to.id()))
    }

    #[cold]
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        if self.is_to_self() {
            return Poll::Ready(Err(AskError::ToSelf));
        }
        match self.sending.poll_question(&mut self.asked, cx) {
            Poll::Pending => self.poll_timeout(cx),
            Poll::Ready(sent) => Poll::Ready(sent.map_err(AskError::from)),
        }
    }

    /// Pending until the time is over.
    #[inline]
    fn poll_timeout<U>(&mut self, cx: &mut Context<'_>) -> Poll<Result<U, AskError>> {
        if self.timeout == NEVER {
            return Poll::Pending;
        }
        let polled = self.asked.poll_limit(&mut self.deadline, self.timeout, cx);
        polled.map(|()| Err(AskError::Timeout(Duration::from_nanos(self.timeout))))
    }
}

impl<M: Send + 'static, T: Send + 'static> Future for Ask<M, T> {
    type Output = Result<T, AskError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, AskError>> {
        let this = self.get_mut();
        if this.sending.is_through() {
            if let Some(answer) = this.answer.take_now() {
                return Poll::Ready(Ok(answer));
            }
        } else if this.asks_now(cx) {
            return Poll::Pending;
        }
        let mut outcome = None;
        this.poll_closely(cx, &mut outcome);
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<M: Send + 'static, T> fmt::Debug for Ask<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("sending", &self.sending).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Asks many lanes the same at once, and waits for all answers, but no longer than `length`: what came of each ask, in
/// the order of the lanes. Answers that come later go nowhere.
///
/// ```
/// use laneway_actors::{AskError, Lane, Reply, ask_all, spawn};
/// use std::time::Duration;
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let says = |number: u64| spawn(async move |mut lane: Lane<Reply<u64>>| {
///     while let Some(reply) = lane.recv().await {
///         let _: Result<(), u64> = reply.send(number);
///     }
/// });
/// let (one, two) = (says(1)?, says(2)?);
/// let answers = ask_all([one, two], Duration::from_secs(1), |reply| reply).await;
/// assert_eq!(answers, [(one, Ok(1)), (two, Ok(2))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancellation
/// As for each [`Ask`].
pub async fn ask_all<M, T>(
    lanes: impl IntoIterator<Item = Address<M>>,
    length: Duration,
    mut question: impl FnMut(Reply<T>) -> M,
) -> Vec<(Address<M>, Result<T, AskError>)>
where
    M: Send + 'static,
    T: Send + 'static,
{
    let ask = |to: Address<M>| (to, to.ask(&mut question).timeout(length));
    let mut asks: Vec<_> = lanes.into_iter().map(ask).collect();
    let mut answers: Vec<Option<Result<T, AskError>>> = asks.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut waits = false;
        for ((_, ask), answer) in asks.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            match Pin::new(ask).poll(cx) {
                Poll::Ready(outcome) => *answer = Some(outcome),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    asks.into_iter().zip(answers).filter_map(|((to, _), answer)| Some((to, answer?))).collect()
}
