//! [`Violation`]: the ways in which a run can be wrong.

use std::fmt;
use std::time::Duration;

use runtime::runtime::{Held, LaneInfo};
use runtime::{BuildError, ExitReason, Id};

/// Something that was not as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub enum Violation {
    /// The run had no runtime.
    NotBuilt(BuildError),
    /// No lane fitted: the sweep would have killed nobody.
    NoVictim,
    /// The victim has more awaits than may be swept.
    TooManyAwaits {
        /// How many may.
        limit: u64,
    },
    /// The scenario panicked, gave an error, or was ended by a link.
    Scenario(ExitReason),
    /// The scenario did not end: somebody waits who will not be answered, or works without end.
    Hung {
        /// For how long the sweep waited.
        after: Duration,
        /// Who was alive then.
        alive: Vec<LaneInfo>,
    },
    /// A lane that had ended still counted as alive.
    StillAlive(Id),
    /// A lane that had ended still took a signal.
    StillTakesSignals(Id),
    /// A lane that had ended still held something in the tables of its runtime.
    StillHeld {
        /// The lane.
        lane: Id,
        /// What it held.
        held: Held,
    },
    /// A name still led to a lane that had ended.
    NameLeft {
        /// The lane.
        lane: Id,
        /// The name.
        name: String,
    },
    /// The OS still had a socket open that a lane owned which had ended.
    SocketLeft {
        /// The lane.
        lane: Id,
        /// What the OS calls it.
        socket: String,
    },
    /// Destructors panicked or releases failed when a lane ended.
    BadRelease {
        /// The lane.
        lane: Id,
        /// Destructors that panicked.
        panics: u64,
        /// Releases that failed.
        errors: u64,
    },
    /// A lane that lives was still tied to one that had ended.
    TieLeft {
        /// The lane that lives.
        of: Id,
        /// The lane that had ended.
        to: Id,
        /// What tied them.
        tie: Tie,
    },
    /// A lane that watched a victim heard of its end never, or more than once, or not the truth.
    WrongNotice {
        /// The victim.
        victim: Id,
        /// The reasons that were told; the true one is [`ExitReason::Killed`].
        told: Vec<ExitReason>,
    },
    /// The lanes that watch the run did not answer: a worker never left a poll.
    NoWitness,
    /// A lane ended only when it was killed, and not when the runtime asked it to.
    Late(LaneInfo),
    /// A lane did not end at all: it never left its poll.
    Stuck(LaneInfo),
    /// When all lanes had ended, a count was not what it had to be.
    Count {
        /// Of what.
        what: &'static str,
        /// The count.
        is: u64,
        /// What it had to be.
        should_be: u64,
    },
    /// Canaries were alive when the runtime was gone.
    CanariesAlive(usize),
    /// The process had a descriptor that it had not before the run.
    ProcessDescriptor(String),
}

/// What ties two lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tie {
    /// They are linked.
    Link,
    /// The one that ended watches the one that lives.
    WatchedBy,
    /// The one that lives watches the one that ended.
    Watching,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NotBuilt(error) => error.fmt(f),
            Violation::NoVictim => f.write_str("no lane was spawned that fits: nobody would be killed"),
            Violation::TooManyAwaits { limit } => {
                write!(f, "there are awaits beyond number {limit}, which is the limit of this sweep")
            }
            Violation::Scenario(reason) => write!(f, "the scenario ended with: {reason}"),
            Violation::Hung { after, alive } => {
                write!(f, "the scenario had not ended after {after:?}; alive beside it:")?;
                alive.iter().try_for_each(|lane| write!(f, "\n    {lane}"))?;
                if alive.is_empty() { f.write_str(" nobody") } else { Ok(()) }
            }
            Violation::StillAlive(lane) => write!(f, "lane {lane} had ended and counted as alive"),
            Violation::StillTakesSignals(lane) => write!(f, "lane {lane} had ended and took a signal"),
            Violation::StillHeld { lane, held } => {
                let Held { timers, descriptors, names, groups, locks, wait_entries, senders, .. } = held;
                write!(
                    f,
                    "lane {lane} had ended and held {timers} timers, {descriptors} descriptors, {names} names, "
                )?;
                write!(
                    f,
                    "{groups} memberships or monitors of groups, {locks} locks, {wait_entries} places in line; "
                )?;
                write!(f, "{senders} senders waited for it")
            }
            Violation::NameLeft { lane, name } => write!(f, "lane {lane} had ended and was found by its name {name:?}"),
            Violation::SocketLeft { lane, socket } => write!(f, "lane {lane} had ended and its {socket} was open"),
            Violation::BadRelease { lane, panics, errors } => {
                write!(f, "when lane {lane} ended, {panics} destructors panicked and {errors} releases failed")
            }
            Violation::TieLeft { of, to, tie: Tie::Link } => {
                write!(f, "lane {of} was linked with lane {to}, which had ended")
            }
            Violation::TieLeft { of, to, tie: Tie::WatchedBy } => {
                write!(f, "lane {of} was watched by lane {to}, which had ended")
            }
            Violation::TieLeft { of, to, tie: Tie::Watching } => {
                write!(f, "lane {of} watched lane {to}, which had ended")
            }
            Violation::WrongNotice { victim, told } => {
                write!(f, "a lane that watched {victim}, which was killed, was told {} time(s):", told.len())?;
                told.iter().try_for_each(|reason| write!(f, " {reason};"))
            }
            Violation::NoWitness => f.write_str("a worker never left a poll, so nobody could be asked"),
            Violation::Late(lane) => write!(f, "{lane} did not end when the runtime asked it to, and was killed"),
            Violation::Stuck(lane) => write!(f, "{lane} never left its poll, and could not be ended"),
            Violation::Count { what, is, should_be } => {
                write!(f, "when all lanes had ended, {what} were {is} and not {should_be}")
            }
            Violation::CanariesAlive(count) => write!(f, "{count} canaries outlived the runtime"),
            Violation::ProcessDescriptor(what) => write!(f, "the process had a new descriptor after the run: {what}"),
        }
    }
}
