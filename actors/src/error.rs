//! What can go wrong between actors. Each variant says what became of the message.

use std::fmt;
use std::time::Duration;

use runtime::lane::SpawnError;
use runtime::mailbox::Undelivered;
use runtime::reply::NoAnswer;
use runtime::{Deadlock, ExitReason, Id};

/// Why a message was not sent. It is handed back in every case.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// The mailbox is full, or others wait before us; the message is returned, nothing was queued. Only from
    /// `try_send`: `send` waits.
    Full(M),
    /// The lane is gone, or the caller's [is abandoned](runtime::lane::is_abandoned); the message is returned, and this
    /// will never succeed again.
    NoProc(M),
    /// Nobody fills the role now; the message is returned. Only from `try_send`: `send` waits.
    Vacant(M),
    /// The link to the lane's node is gone; the message is returned, and this will never succeed again.
    NodeDown(M),
    /// More is queued for the lane's node than may be; the message is returned, nothing was queued.
    Congested(M),
    /// The message cannot be encoded for its way to another node, or is too large for it; it is returned, but reply
    /// ports in it may have been used up.
    Unsendable(M),
    /// The mailbox is full, and its lane waits, itself or by others, for the one that sends: there would never be room. The
    /// message is returned, nothing was queued. Only from `send`, of a lane.
    Deadlock(Box<Undelivered<M>>),
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            SendError::Full(message)
            | SendError::NoProc(message)
            | SendError::Vacant(message)
            | SendError::NodeDown(message)
            | SendError::Congested(message)
            | SendError::Unsendable(message) => message,
            SendError::Deadlock(undelivered) => undelivered.message,
        }
    }

    /// The same error about another message.
    pub fn map<N>(self, f: impl FnOnce(M) -> N) -> SendError<N> {
        match self {
            SendError::Full(message) => SendError::Full(f(message)),
            SendError::NoProc(message) => SendError::NoProc(f(message)),
            SendError::Vacant(message) => SendError::Vacant(f(message)),
            SendError::NodeDown(message) => SendError::NodeDown(f(message)),
            SendError::Congested(message) => SendError::Congested(f(message)),
            SendError::Unsendable(message) => SendError::Unsendable(f(message)),
            SendError::Deadlock(undelivered) => {
                let Undelivered { message, deadlock } = *undelivered;
                SendError::Deadlock(Box::new(Undelivered { message: f(message), deadlock }))
            }
        }
    }

    fn what(&self) -> (&'static str, &'static str) {
        match self {
            SendError::Full(_) => ("Full", "the mailbox is full; the message is returned"),
            SendError::NoProc(_) => ("NoProc", "the lane is gone; the message is returned"),
            SendError::Vacant(_) => ("Vacant", "nobody fills the role now; the message is returned"),
            SendError::NodeDown(_) => ("NodeDown", "the link to the lane's node is gone; the message is returned"),
            SendError::Congested(_) => ("Congested", "too much is queued for the lane's node; the message is returned"),
            SendError::Unsendable(_) => {
                ("Unsendable", "the message cannot be encoded for another node; it is returned")
            }
            SendError::Deadlock(..) => {
                ("Deadlock", "the mailbox is full and its lane waits for the sender; the message is returned")
            }
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.what().0)
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what().1)?;
        if let SendError::Deadlock(undelivered) = self { write!(f, "; {}", undelivered.deadlock) } else { Ok(()) }
    }
}

impl<M> std::error::Error for SendError<M> {}

/// Why an ask has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The lane was gone; nothing was asked.
    NoProc,
    /// The lane that had the question ended, for this reason. Whether it had handled the question is not known.
    Ended(ExitReason),
    /// The lane that had the question dropped the reply port and lives on.
    NoReply,
    /// No answer came within this time. One that comes later goes nowhere.
    Timeout(Duration),
    /// A lane asked itself, which could never be answered; nothing was asked.
    ToSelf,
    /// The role was retired; nothing was asked.
    Retired,
    /// The link to the lane's node is gone. Whether the lane had handled the question is not known.
    NodeDown,
    /// The lane's node did not let the question in, in words: its mailbox was full, it takes messages of another type, or
    /// it is not open to this node. Nothing was asked.
    Refused(&'static str),
    /// Too much is queued for the lane's node; nothing was asked.
    Congested,
    /// The question cannot be encoded for another node; nothing was asked.
    Unsendable,
    /// The lane that was asked waits, itself or by others, for the one that asks: there would never be an answer. Whether
    /// it had begun to handle the question is not known; when it does, its answer goes nowhere.
    Deadlock(Deadlock),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::NoProc => f.write_str("the lane is gone; nothing was asked"),
            AskError::Ended(reason) => write!(f, "the lane that was asked ended: {reason}"),
            AskError::NoReply => f.write_str("the lane that was asked dropped the reply port"),
            AskError::Timeout(length) => write!(f, "no answer within {length:?}"),
            AskError::ToSelf => f.write_str("a lane asked itself; nothing was asked"),
            AskError::Retired => f.write_str("the role is retired; nothing was asked"),
            AskError::NodeDown => f.write_str("the link to the lane's node is gone"),
            AskError::Refused(why) => write!(f, "the lane's node did not let the question in: {why}"),
            AskError::Congested => f.write_str("too much is queued for the lane's node; nothing was asked"),
            AskError::Unsendable => f.write_str("the question cannot be encoded for another node; nothing was asked"),
            AskError::Deadlock(deadlock) => deadlock.fmt(f),
        }
    }
}

impl std::error::Error for AskError {}

impl From<NoAnswer> for AskError {
    fn from(why: NoAnswer) -> AskError {
        match why {
            NoAnswer::Ended(reason) => AskError::Ended(reason),
            NoAnswer::NodeDown => AskError::NodeDown,
            NoAnswer::Refused(why) => AskError::Refused(why),
            NoAnswer::Deadlock(deadlock) => AskError::Deadlock(deadlock),
            _ => AskError::NoReply,
        }
    }
}

impl<M> From<SendError<M>> for AskError {
    fn from(error: SendError<M>) -> AskError {
        match error {
            // `ask` waits for room and for roles to be filled, so neither can come from it.
            SendError::Full(_) | SendError::Congested(_) | SendError::Vacant(_) => AskError::Congested,
            SendError::NoProc(_) => AskError::NoProc,
            SendError::NodeDown(_) => AskError::NodeDown,
            SendError::Unsendable(_) => AskError::Unsendable,
            SendError::Deadlock(undelivered) => AskError::Deadlock(undelivered.deadlock),
        }
    }
}

/// Why a lane is not known to have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopError {
    /// It was gone before.
    NoProc,
    /// It did not end within this time. It has been asked to, and may yet.
    Timeout(Duration),
    /// A lane would have waited for its own end; it was not asked.
    ToSelf,
    /// It is of another node, whose lanes can be stopped but not waited for; it was not asked.
    Elsewhere,
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopError::NoProc => f.write_str("the lane was gone before"),
            StopError::Timeout(length) => write!(f, "the lane was asked to end and did not within {length:?}"),
            StopError::ToSelf => f.write_str("a lane cannot wait for its own end; it was not asked to end"),
            StopError::Elsewhere => f.write_str("the lane is of another node; it was not asked to end"),
        }
    }
}

impl std::error::Error for StopError {}

/// Why an actor was not started. No lane and no name of it remain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// There was no room or no place for its lane.
    Spawn(SpawnError),
    /// Its name is that of this lane; `init` was not run.
    AlreadyStarted(Id),
    /// `init` failed, or the lane ended before it was through.
    Failed(ExitReason),
    /// `init` declined.
    Ignored,
    /// `init` took longer than this, and the lane was killed.
    Timeout(Duration),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Spawn(error) => error.fmt(f),
            StartError::AlreadyStarted(id) => write!(f, "the name is that of lane {id}; init was not run"),
            StartError::Failed(reason) => write!(f, "init failed: {reason}"),
            StartError::Ignored => f.write_str("init declined"),
            StartError::Timeout(length) => write!(f, "init took longer than {length:?}; the lane was killed"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Spawn(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SpawnError> for StartError {
    fn from(error: SpawnError) -> StartError {
        match error {
            SpawnError::NameTaken(taken) => StartError::AlreadyStarted(taken.holder),
            other => StartError::Spawn(other),
        }
    }
}
