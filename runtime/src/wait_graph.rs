//! Who waits for whom, and what becomes of lanes that wait for each other in a circle.
//!
//! Owns: what users see of it ([`Deadlock`], [`WaitGraph`], [`DeadlockPolicy`]). Read on in `note` (what a lane notes and
//! its worker writes down), `word` and `record` (where that stands), `chain` (the search) and `claim` (what is done about a
//! circle, and when it is certain).
//!
//! Each lane waits in one place at a time, or else nothing is said of it. There it waits for one other, as a rule, and for
//! several where several have to let go of a lock: of all of them, so that any one who waits for the lane closes a circle.
//! The lane that closes it finds it by a search along those whom it waits for. That costs a look at each of these, where
//! they do not wait themselves, and is linear in all lanes and edges that it comes to where they do.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

mod chain;
mod claim;
pub(crate) mod lock;
pub(crate) mod note;
pub(crate) mod record;
pub(crate) mod word;

use record::Seen;

use crate::id::Id;
use crate::slot::SlotRef;

/// What a lane waits for another to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaits {
    /// To answer its question.
    Answer,
    /// To make room in its mailbox.
    Room,
    /// To end.
    End,
    /// To give back the mutex that it holds.
    Lock,
    /// To give back the read-write lock that it writes, or wants to write and is first in line for, so that the one who waits
    /// may read.
    Read,
    /// To give back the read-write lock that it reads or writes, so that the one who waits may write.
    Write,
    /// To give back permits of a semaphore. Of such a wait no deadlock is ever claimed: whoever has a reference to the
    /// semaphore can add permits, and nobody knows who that is.
    Permits,
}

impl fmt::Display for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Awaits::Answer => "an answer",
            Awaits::Room => "room in the mailbox",
            Awaits::End => "the end",
            Awaits::Lock => "the mutex",
            Awaits::Read => "the read-write lock, to read,",
            Awaits::Write => "the read-write lock, to write,",
            Awaits::Permits => "permits",
        })
    }
}

/// One lane that waits for another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// The lane.
    pub lane: Id,
    /// The names that it has registered.
    pub names: Vec<Arc<str>>,
    /// Where it was spawned.
    pub spawned_at: Option<&'static Location<'static>>,
    /// What it waits for.
    pub awaits: Awaits,
    /// The lane that is to do that, which so holds what this one waits for, or is before it in line; `None` for a lock that
    /// is held outside of lanes, or is on its way.
    pub of: Option<Id>,
    /// Where that lane took the lock or the permits, where it is that which is awaited.
    pub held_since: Option<&'static Location<'static>>,
    /// Where that lane asked for the lock, where it does not have it but stands before this one in line.
    pub in_line_since: Option<&'static Location<'static>>,
    /// Where it called what it waits in, where that is known.
    pub awaited_at: Option<&'static Location<'static>>,
    /// Whether nothing else can have its code go on. Where something can, as in a `select`, no deadlock is claimed.
    pub alone: bool,
}

impl Waiting {
    fn label(&self) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(f, "lane {}", self.lane)?;
            self.names.iter().try_for_each(|name| write!(f, " {name:?}"))
        })
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} awaits {}", self.label(), self.awaits)?;
        match self.of {
            Some(of) => write!(f, " of lane {of}")?,
            None => f.write_str(" of nobody that is a lane")?,
        }
        if let Some(since) = self.held_since {
            write!(f, ", taken at {since},")?;
        }
        if let Some(since) = self.in_line_since {
            write!(f, ", which is before it in line since {since},")?;
        }
        if let Some(at) = self.awaited_at {
            write!(f, " at {at}")?;
        }
        if self.alone { Ok(()) } else { f.write_str(", among others") }
    }
}

/// Lanes that wait for each other in a circle, so that none of them would ever go on.
///
/// It is the error of the wait that closed the circle; those of the other lanes stand, and go on once that lane has acted on
/// it. What the lane holds that others wait for is its own to let go of.
#[derive(Clone, PartialEq, Eq)]
pub struct Deadlock(Arc<Vec<Waiting>>);

impl Deadlock {
    /// The lanes in the order of waiting: first the one that was told, each waiting for the next and the last for the first.
    pub fn chain(&self) -> &[Waiting] {
        &self.0
    }
}

impl fmt::Debug for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlock").field("chain", &self.0).finish()
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock: ")?;
        for (index, waiting) in self.0.iter().enumerate() {
            if index != 0 {
                f.write_str("; ")?;
            }
            waiting.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Deadlock {}

type Choose = dyn Fn(&Deadlock) -> Option<Id> + Send + Sync;

/// What is done about lanes that wait for each other in a circle; [`Builder::on_deadlock`](crate::Builder::on_deadlock).
///
/// ```
/// use laneway_runtime::{DeadlockPolicy, Runtime};
///
/// // The lane whose wait closed the circle dies, and its supervisor starts it anew.
/// let runtime = Runtime::builder().workers(1).on_deadlock(DeadlockPolicy::KillNewcomer).build()?;
/// assert!(runtime.handle().wait_graph().waits().is_empty());
/// # Ok::<(), laneway_runtime::BuildError>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum DeadlockPolicy {
    /// The lane that closed the circle gets the [`Deadlock`] as the error of its wait.
    #[default]
    Report,
    /// The lane that closed the circle is killed.
    KillNewcomer,
    /// The lane of the circle that this gives is killed. For `None`, or a lane that is not of the circle, as [`Report`];
    /// where it panics as well. It is called by a worker, and must neither block nor take long. Where the circle does not
    /// stand any more when it returns, as one of its lanes was killed or woken meanwhile, nothing is done; it is called again
    /// for one that still stands then.
    ///
    /// [`Report`]: DeadlockPolicy::Report
    Choose(Arc<Choose>),
    /// Nothing: the lanes wait. The [`WaitGraph`] shows them.
    Ignore,
}

impl DeadlockPolicy {
    /// [`DeadlockPolicy::Choose`] of a closure.
    pub fn choose(victim: impl Fn(&Deadlock) -> Option<Id> + Send + Sync + 'static) -> DeadlockPolicy {
        DeadlockPolicy::Choose(Arc::new(victim))
    }
}

impl fmt::Debug for DeadlockPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeadlockPolicy::Report => "Report",
            DeadlockPolicy::KillNewcomer => "KillNewcomer",
            DeadlockPolicy::Choose(_) => "Choose(..)",
            DeadlockPolicy::Ignore => "Ignore",
        })
    }
}

/// Which lanes of a runtime wait for which, as of one look at each.
///
/// Waits for an answer, for room in a mailbox, for a lane's end, for a mutex, a read-write lock and permits of a semaphore are
/// listed, by lanes: a thread in `block_on` is none. Of a lane that waits in several places at a time, one is listed, and
/// marked as not [alone](Waiting::alone). A lane that waits in one for several others is listed once for each of them, up to
/// [`WaitGraph::MOST_OF_ONE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitGraph {
    waits: Vec<Waiting>,
}

impl WaitGraph {
    /// For so many others is a lane listed at the most: of a lock that more have, the first of them are.
    pub const MOST_OF_ONE: usize = 64;

    pub(crate) fn of(slots: impl Iterator<Item = SlotRef>) -> WaitGraph {
        let seen = slots.filter_map(|slot| Seen::of(slot.id()?));
        WaitGraph { waits: seen.flat_map(edges_of).collect() }
    }

    /// Each lane that waits for another, and for whom.
    pub fn waits(&self) -> &[Waiting] {
        &self.waits
    }

    /// The graph in the language of Graphviz: an arrow from each lane that waits to the one it waits for, dashed where it
    /// waits for something else as well.
    pub fn to_dot(&self) -> String {
        let arrows = fmt::from_fn(|f| {
            self.waits.iter().try_for_each(|waiting| {
                let Waiting { lane, awaits, of, .. } = waiting;
                let style = if waiting.alone { "solid" } else { "dashed" };
                writeln!(f, "    \"{lane}\" [label={:?}];", waiting.label().to_string())?;
                let awaits = awaits.to_string();
                let awaits = awaits.trim_end_matches(',');
                let at = waiting.awaited_at.map(|at| format!("\n{at}")).unwrap_or_default();
                let of = of.map_or("outside".to_owned(), |of| of.to_string());
                writeln!(f, "    \"{lane}\" -> \"{of}\" [label={:?}, style={style}];", format!("{awaits}{at}"))
            })
        });
        format!("digraph waits {{\n{arrows}}}\n")
    }
}

impl fmt::Display for WaitGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.waits.iter().try_for_each(|waiting| writeln!(f, "{waiting}"))
    }
}

/// What is known of a lane's wait, for each of those who are in its way.
fn edges_of(seen: Seen) -> Vec<Waiting> {
    let mut obstacles = Vec::new();
    seen.in_the_way(&mut |obstacle| {
        if obstacles.len() < WaitGraph::MOST_OF_ONE {
            obstacles.push(obstacle);
        }
    });
    if !seen.is_still() {
        return Vec::new();
    }
    if obstacles.is_empty() {
        return vec![claim::describe(&seen, None)];
    }
    obstacles.iter().map(|obstacle| claim::describe(&seen, Some(obstacle))).collect()
}

/// Tells the runtime that the current lane has handed something on that may hold the port of a question ([`Reply`]) by a
/// way that the runtime does not see: a channel of another crate, a static, memory that it shares with others, or a message
/// in which it is wrapped as `ManuallyDrop`. The same goes for the guard of a mutex.
///
/// A lane that keeps the port of a question and waits, in its turn, for the one who asked would wait for ever; the runtime
/// claims that as a [`Deadlock`] unless the lane has handed something on in between. What goes by messages, answers, timers
/// and spawns of the runtime it sees by itself; the closure of an ask or a spawn counts where it captures a word or more,
/// which may be a reference to where the port is. It needs this call only where the port leaves the lane by other ways *and*
/// the lane then waits for the one who asked. Outside of lanes nothing happens.
///
/// [`Reply`]: crate::reply::Answerer
pub fn hand_over() {
    note::hands_out_something();
}

/// As [`hand_over`], where a value of this type may hold a port; for those who build what carries values between lanes.
#[inline]
pub fn hands_over_by<T>() {
    note::hands_out::<T>();
}
