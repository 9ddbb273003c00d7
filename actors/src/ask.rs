//! [`Ask`]: a question, its way to the lane, and the wait for the answer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use runtime::lane;
use runtime::reply::{self, Answer};
use runtime::time::Deadline;

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
}

impl<M: Send + 'static, T: Send + 'static> Ask<M, T> {
    pub(crate) fn new(to: Address<M>, question: impl FnOnce(Reply<T>) -> M) -> Ask<M, T> {
        let (answerer, answer) = reply::port();
        let sending = to.send(question(Reply::local(answerer)));
        Ask { sending: Some(sending), answer, timeout: Some(DEFAULT_TIMEOUT), deadline: None }
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
        deadline.poll_passed(cx).map(|()| AskError::Timeout(length))
    }
}

impl<M: Send + 'static, T: Send + 'static> Future for Ask<M, T> {
    type Output = Result<T, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, AskError>> {
        let this = self.get_mut();
        if let Some(sending) = &mut this.sending {
            if lane::current() == Some(sending.to().id()) {
                return Poll::Ready(Err(AskError::ToSelf));
            }
            match Pin::new(sending).poll(cx) {
                Poll::Pending => return this.poll_timeout(cx).map(Err),
                Poll::Ready(sent) => {
                    this.sending = None;
                    sent?;
                }
            }
        }
        match this.answer.poll_answer(cx) {
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
