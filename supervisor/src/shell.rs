//! What the lanes of both kinds of supervisor share: what they wait for, how they are started, and how they are told.
//!
//! Owns: [`Shell`], which turns all that can happen to a supervisor's lane into one [`Input`] at a time, and
//! [`StartingSupervisor`], the wait for it from outside.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actors::{AskError, StartError};
use runtime::env::Instant;
use runtime::lane::SpawnError;
use runtime::mailbox::{Inbox, Received};
use runtime::reply::{Answer, Answerer, NoAnswer};
use runtime::time::{self, Sleep};
use runtime::{Exit, ExitReason, Id, lane};

use crate::child_spec::SpecError;
use crate::start::{Begun, Launch, Outcome, Starts};
use crate::strategy::{ChildError, Ending, Report, ReportKind};

/// Commands that a supervisor has taken in and not answered; others wait in its mailbox.
pub(crate) const COMMANDS_MAX: usize = 64;

/// The answer to a command.
pub(crate) type Answered = Result<Option<Id>, ChildError>;

/// Time as the machines count it.
pub(crate) fn now() -> Duration {
    time::now() - Instant::ZERO
}

/// Why a supervisor was not started. No lane of it and of its children remains.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisorError {
    /// Its options or specs make no sense; nothing was started.
    Spec(SpecError),
    /// There was no room or no place for its lane.
    Spawn(SpawnError),
    /// Its name is that of this lane; nothing was started.
    AlreadyStarted(Id),
    /// A child did not start; those before it have been stopped, the last started first.
    FailedToStart {
        /// The child's id.
        child: Arc<str>,
        /// Why it did not start.
        reason: ExitReason,
    },
    /// The supervisor ended before all its children were there.
    Ended(ExitReason),
}

impl fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SupervisorError::Spec(error) => write!(f, "the options or specs of the supervisor make no sense: {error}"),
            SupervisorError::Spawn(_) => f.write_str("the supervisor's lane was not spawned"),
            SupervisorError::AlreadyStarted(id) => write!(f, "the name is that of lane {id}; nothing was started"),
            SupervisorError::FailedToStart { child, reason } => write!(f, "child {child:?} failed to start: {reason}"),
            SupervisorError::Ended(reason) => {
                write!(f, "the supervisor ended before all children were there: {reason}")
            }
        }
    }
}

impl std::error::Error for SupervisorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SupervisorError::Spec(error) => Some(error),
            SupervisorError::Spawn(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SpecError> for SupervisorError {
    fn from(error: SpecError) -> SupervisorError {
        SupervisorError::Spec(error)
    }
}

impl From<SpawnError> for SupervisorError {
    fn from(error: SpawnError) -> SupervisorError {
        match error {
            SpawnError::NameTaken(taken) => SupervisorError::AlreadyStarted(taken.holder),
            other => SupervisorError::Spawn(other),
        }
    }
}

/// So that a supervisor can be a child.
impl From<SupervisorError> for StartError {
    fn from(error: SupervisorError) -> StartError {
        match error {
            SupervisorError::Spawn(error) => error.into(),
            SupervisorError::AlreadyStarted(id) => StartError::AlreadyStarted(id),
            SupervisorError::Ended(reason) => StartError::Failed(reason),
            SupervisorError::FailedToStart { child, reason } => {
                StartError::Failed(Ending::FailedToStart { child, reason }.reason())
            }
            SupervisorError::Spec(error) => StartError::Failed(ExitReason::error(error)),
        }
    }
}

/// Why a command to a supervisor was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The supervisor refused, or the child failed.
    Child(ChildError),
    /// The child declined to run, and is not kept.
    Ignored,
    /// The child was started as this lane, and has ended since.
    Gone(Id),
    /// The supervisor is gone or ended before it answered; whether it did anything is not known.
    Supervisor(AskError),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Child(error) => error.fmt(f),
            CommandError::Ignored => f.write_str("the child declined to run"),
            CommandError::Gone(id) => write!(f, "the child was started as lane {id}, and has ended since"),
            CommandError::Supervisor(AskError::NoProc) => f.write_str("the supervisor is gone; nothing was asked"),
            CommandError::Supervisor(AskError::Ended(reason)) => {
                write!(f, "the supervisor ended before it answered: {reason}")
            }
            CommandError::Supervisor(error) => write!(f, "the supervisor did not answer: {error}"),
        }
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CommandError::Child(error) => error.source(),
            CommandError::Supervisor(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ChildError> for CommandError {
    fn from(error: ChildError) -> CommandError {
        CommandError::Child(error)
    }
}

impl From<SpecError> for CommandError {
    fn from(error: SpecError) -> CommandError {
        CommandError::Child(error.into())
    }
}

impl From<AskError> for CommandError {
    fn from(error: AskError) -> CommandError {
        CommandError::Supervisor(error)
    }
}

/// What may happen to a supervisor.
pub(crate) enum Input<M, K> {
    Message(M),
    Exited(Exit),
    Shutdown(ExitReason),
    Started(K, Outcome),
    Timeout,
    /// Nothing; but there is more to do that was left for another poll.
    More,
}

/// The lane of a supervisor, but for the machine that decides.
pub(crate) struct Shell<M, K> {
    pub(crate) label: Arc<str>,
    pub(crate) starts: Starts<K>,
    inbox: Inbox<M>,
    parent: Option<Id>,
    alarm: Option<Sleep>,
}

impl<M: Send + 'static, K: Copy + Eq> Shell<M, K> {
    /// To be called in the supervisor's lane.
    pub(crate) fn new(label: Arc<str>, inbox: Inbox<M>) -> Shell<M, K> {
        Shell { label, starts: Starts::default(), inbox, parent: lane::parent(), alarm: None }
    }

    /// Keeps a start that has failed from ending whoever started the supervisor, who is told otherwise.
    pub(crate) fn leave_parent(&self) {
        if let Some(parent) = self.parent {
            // A supervisor is a lane.
            let _ = lane::unlink(parent);
        }
    }

    /// What happens next. Of messages only those that `wanted` likes; `until` is when the machine wants to be called.
    pub(crate) async fn next(
        &mut self,
        until: Option<Duration>,
        has_more: bool,
        mut wanted: impl FnMut(&M) -> bool,
    ) -> Input<M, K> {
        poll_fn(|cx| {
            // Outcomes of starts first: the end of a child must not be told before that it is one.
            if let Poll::Ready((key, outcome)) = self.starts.poll(cx) {
                return Poll::Ready(Input::Started(key, outcome));
            }
            if let Poll::Ready(received) = self.inbox.poll_recv_match(cx, &mut wanted) {
                return Poll::Ready(self.sort(received));
            }
            if has_more {
                return Poll::Ready(Input::More);
            }
            self.poll_alarm(cx, until.into_iter().chain(self.starts.next_deadline()).min()).map(|()| Input::Timeout)
        })
        .await
    }

    fn sort(&mut self, received: Received<M>) -> Input<M, K> {
        let me = self.inbox.mailbox().id();
        match received {
            Received::Message(message) => Input::Message(message),
            Received::Stop(reason) => Input::Shutdown(reason),
            // The runtime, and whoever is no lane, speak in the lane's own name.
            Received::Exit(exit) if exit.from == me || Some(exit.from) == self.parent => Input::Shutdown(exit.reason),
            Received::Exit(exit) => {
                if self.starts.hold(&exit) {
                    Input::More
                } else {
                    Input::Exited(exit)
                }
            }
            other => {
                tracing::debug!(supervisor = %self.label, notice = ?Kind(&other), "a supervisor was told what it did not ask");
                Input::More
            }
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>, at: Option<Duration>) -> Poll<()> {
        let Some(at) = at.map(|at| Instant::ZERO + at) else {
            self.alarm = None;
            return Poll::Pending;
        };
        if self.alarm.as_ref().is_none_or(|alarm| alarm.deadline() != at) {
            self.alarm = Some(time::sleep_until(at));
        }
        let Some(alarm) = &mut self.alarm else { unreachable!("set a moment ago") };
        ready!(Pin::new(alarm).poll(cx));
        self.alarm = None;
        Poll::Ready(())
    }

    /// Writes a report into the log.
    pub(crate) fn report(&self, report: &Report, restarts: u64) {
        let Report { kind, child, count, reason } = report;
        let supervisor = &*self.label;
        if *kind == ReportKind::ChildTerminated && reason.is_ordinary() {
            tracing::info!(supervisor, child = &**child, %reason, restarts, count, "{report}");
        } else {
            tracing::error!(supervisor, child = &**child, %reason, restarts, count, "{report}");
        }
    }

    /// Says that a lane ended which is no child, as one that failed to start.
    pub(crate) fn note_stranger(&self, lane: Id) {
        tracing::trace!(supervisor = %self.label, %lane, "a lane that is no child has ended");
    }
}

/// A notice without what is in it, which need not be `Debug`.
struct Kind<'a, M>(&'a Received<M>);

impl<M> fmt::Debug for Kind<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Received::Down(down) => down.fmt(f),
            _ => f.write_str("other"),
        }
    }
}

/// Who is to be told how the first start went.
pub(crate) type Starter = Answerer<Result<(), SupervisorError>>;

/// The future of [`SupervisorBuilder::start`](crate::SupervisorBuilder::start): the supervisor, once all its children
/// are there.
///
/// # Cancellation
/// Dropped before it is ready, it ends the supervisor in order.
#[must_use = "nothing is started before it is awaited"]
pub struct StartingSupervisor<H>(Step<H>);

enum Step<H> {
    Before(Box<dyn FnOnce() -> Result<Underway<H>, SupervisorError> + Send>),
    Waiting(Underway<H>),
    /// It did not start; its lane is waited for, so that nothing of it remains.
    Ending(Pin<Box<dyn Future<Output = ExitReason> + Send>>, SupervisorError),
    Done,
}

pub(crate) struct Underway<H> {
    pub(crate) lane: Id,
    pub(crate) handle: H,
    pub(crate) answer: Answer<Result<(), SupervisorError>>,
}

impl<H> StartingSupervisor<H> {
    pub(crate) fn new(
        spawn: impl FnOnce() -> Result<Underway<H>, SupervisorError> + Send + 'static,
    ) -> StartingSupervisor<H> {
        StartingSupervisor(Step::Before(Box::new(spawn)))
    }

    fn lane(&self) -> Option<Id> {
        match &self.0 {
            Step::Waiting(under_way) => Some(under_way.lane),
            _ => None,
        }
    }
}

impl<H> Unpin for StartingSupervisor<H> {}

impl<H: Copy> Future for StartingSupervisor<H> {
    type Output = Result<H, SupervisorError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let step = &mut self.get_mut().0;
        loop {
            match step {
                Step::Before(_) => {
                    let Step::Before(spawn) = std::mem::replace(step, Step::Done) else {
                        unreachable!("seen a moment ago");
                    };
                    *step = Step::Waiting(spawn()?);
                }
                Step::Waiting(under_way) => {
                    let error = match ready!(under_way.answer.poll_answer(cx)) {
                        Ok(Ok(())) => {
                            let handle = under_way.handle;
                            *step = Step::Done;
                            return Poll::Ready(Ok(handle));
                        }
                        Ok(Err(error)) => error,
                        Err(NoAnswer::Ended(reason)) => SupervisorError::Ended(reason),
                        Err(_) => SupervisorError::Ended(ExitReason::NoProc),
                    };
                    *step = Step::Ending(Box::pin(lane::join(under_way.lane)), error);
                }
                Step::Ending(ended, error) => {
                    ready!(ended.as_mut().poll(cx));
                    let error = error.clone();
                    *step = Step::Done;
                    return Poll::Ready(Err(error));
                }
                Step::Done => panic!("a start was polled after it was ready"),
            }
        }
    }
}

impl<H> Drop for StartingSupervisor<H> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane() {
            // One that is gone needs no asking.
            let _ = lane::stop(lane, ExitReason::Shutdown);
        }
    }
}

impl<H> fmt::Debug for StartingSupervisor<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StartingSupervisor").field(&self.lane()).finish()
    }
}

impl<H: Copy + Into<Id> + Send + 'static> Launch for StartingSupervisor<H> {
    fn poll_launched(&mut self, cx: &mut Context<'_>) -> Poll<Result<Id, StartError>> {
        Pin::new(self).poll(cx).map_ok(H::into).map_err(StartError::from)
    }

    fn lane(&self) -> Option<Id> {
        StartingSupervisor::lane(self)
    }
}

/// The start of a supervisor as a child.
pub(crate) fn begun<H: Copy + Into<Id> + Send + 'static>(starting: StartingSupervisor<H>) -> Begun {
    Begun::under_way(starting)
}

/// Asks a supervisor to end, and waits until it has.
pub(crate) async fn shut_down(id: Id) -> ExitReason {
    let mut ended = pin!(lane::join(id));
    let mut asked = false;
    poll_fn(|cx| {
        // The wait begins first, or a quick end would pass for one that was long ago.
        let polled = ended.as_mut().poll(cx);
        if !asked && polled.is_pending() {
            asked = true;
            // One that is gone by now is told by `join`.
            let _ = lane::stop(id, ExitReason::Shutdown);
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_which_child_and_why_the_supervisor_did_not_answer() {
        let twice = SupervisorError::from(SpecError::DuplicateId("w".into())).to_string();
        assert!(twice.contains("two children have the id \"w\""), "{twice}");
        let words = |error: AskError| CommandError::from(error).to_string();
        assert_eq!(words(AskError::NoProc), "the supervisor is gone; nothing was asked");
        assert_eq!(words(AskError::Ended(ExitReason::Killed)), "the supervisor ended before it answered: killed");
        assert!(words(AskError::Timeout(Duration::from_secs(5))).contains("no answer within 5s"));
    }
}
