//! [`Ask`]: a question, its way to the lane, and the wait for the answer.

use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use runtime::lane;
use runtime::reply::{self, Answer};
use runtime::time::Deadline;
use runtime::wait_graph::{self, Question};

use crate::address::{Address, Sending};
use crate::error::AskError;
use crate::reply::Reply;

/// How long an ask waits unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The future of [`Address::ask`].
#[must_use = "nothing is asked before it is awaited"]
pub struct Ask<M: Send + 'static, T> {
    sending: Option<Sending<M>>,
    answer: Answer<T>,
    timeout: Option<Duration>,
    deadline: Option<Deadline>,
    asked: Question,
}

impl<M: Send + 'static, T: Send + 'static> Ask<M, T> {
    #[inline]
    #[track_caller]
    pub(crate) fn new<F: FnOnce(Reply<T>) -> M>(to: Address<M>, question: F) -> Ask<M, T> {
        let asked = Question::to(to.id(), Location::caller());
        let (answerer, answer) = reply::port();
        wait_graph::hands_over_what_is_made_by(&question);
        let sending = to.send_question(question(Reply::local(answerer)));
        Ask { sending: Some(sending), answer, timeout: Some(DEFAULT_TIMEOUT), deadline: None, asked }
    }

    /// How long to wait for the answer, from the first poll on; zero is over at once unless the answer is there.
    pub fn timeout(mut self, length: Duration) -> Ask<M, T> {
        self.timeout = Some(length);
        self
    }

    /// Waits as long as it takes. The end of the lane, or of the link to it, still ends the wait.
    pub fn no_timeout(mut self) -> Ask<M, T> {
        self.timeout = None;
        self
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<AskError> {
        let Some(length) = self.timeout else { return Poll::Pending };
        let deadline = self.deadline.get_or_insert_with(|| Deadline::after(length));
        deadline.poll_passed_of_wait(cx).map(|()| AskError::Timeout(length))
    }
}

impl<M: Send + 'static, T: Send + 'static> Future for Ask<M, T> {
    type Output = Result<T, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, AskError>> {
        let this = self.get_mut();
        if let Some(sending) = &mut this.sending {
            if sending.to().is_some_and(|to| lane::current() == Some(to.id())) {
                return Poll::Ready(Err(AskError::ToSelf));
            }
            match sending.poll_question(&this.asked, cx) {
                Poll::Pending => return this.poll_timeout(cx).map(Err),
                Poll::Ready(sent) => {
                    this.sending = None;
                    sent?;
                }
            }
        }
        match this.answer.poll_answer_to(&mut this.asked, cx) {
            Poll::Ready(answered) => Poll::Ready(answered.map_err(AskError::from)),
            Poll::Pending => Poll::Ready(Err(ready!(this.poll_timeout(cx)))),
        }
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
