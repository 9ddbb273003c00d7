//! Children of one spec by the million: a machine of its own, not a mode of the other.
//!
//! Owns: which lanes are children, and the arguments that a restart will need. As [`Children`](crate::Children) it only
//! decides; whoever drives it starts, stops and kills. Children have no ids but their lanes', no order, and nothing in
//! common but spec and intensity, so starts, restarts and stops go on side by side.
//!
//! # Invariants
//! 1. A lane is in `lanes` or in `stopping`, never in both; a start under way is in `starts`, and has no lane yet.
//! 2. A temporary child costs its id in one table and nothing else: its arguments go when it has started.
//! 3. Once `ending` is set nothing is started, and every lane has been asked to end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use runtime::{ExitReason, Id};

use crate::child_spec::{ChildKind, ChildSpec, Restart, Shutdown, SpecError};
use crate::intensity::Intensity;
use crate::strategy::{AutoShutdown, ChildCounts, ChildError, Ending, Report, ReportKind};

#[cfg(test)]
mod tests;

/// How many different reasons are told apart in the reports of a shutdown; the others share the last report.
const REASONS_MAX: usize = 16;

/// The options of a dynamic supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicFlags {
    /// How many restarts, of all children together, within `period` are borne; 1 by default.
    pub intensity: u32,
    /// The time in which restarts are counted, above zero; 5 s by default.
    pub period: Duration,
    /// When the supervisor shuts down by itself; [`AutoShutdown::Never`] by default.
    pub auto_shutdown: AutoShutdown,
    /// How many children there may be, starts under way included; no limit by default.
    pub children_max: usize,
}

impl Default for DynamicFlags {
    fn default() -> DynamicFlags {
        DynamicFlags {
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
            children_max: usize::MAX,
        }
    }
}

/// One start under way; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartKey(u64);

/// What the dynamic supervisor's lane must do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum DynamicAction<T> {
    /// Start a child with the arguments of this start, and say what came of it: `handle_started`, `handle_ignored` or
    /// `handle_start_failed`. Others may be under way.
    Start {
        /// The start.
        start: StartKey,
    },
    /// The start under way is no longer wanted: end that lane as `how` says. What came of the start must still be said.
    CancelStart {
        /// The start.
        start: StartKey,
        /// How to end what there is of it.
        how: Shutdown,
    },
    /// Ask this lane to end, by the signal [`ExitReason::Shutdown`].
    Stop {
        /// The lane.
        lane: Id,
    },
    /// Kill this lane, by the signal [`ExitReason::Kill`].
    Kill {
        /// The lane.
        lane: Id,
    },
    /// Ask every lane of [`DynamicChildren::lanes`] to end.
    StopAll,
    /// Kill every lane of [`DynamicChildren::lanes`].
    KillAll,
    /// Answer a command.
    Answer {
        /// Who asked.
        to: T,
        /// The lane of the child, where there is one to tell.
        reply: Result<Option<Id>, ChildError>,
    },
    /// Write this into the log.
    Report(Report),
    /// No child is left: end with [`Ending::reason`]. The last action of all.
    Exit(Ending),
}

/// Any number of children of one spec. `S` is how they are started, `A` what each start is given, `T` whom to answer.
///
/// It is driven as [`Children`](crate::Children) is.
///
/// ```
/// use laneway_supervisor::{ChildSpec, DynamicAction, DynamicChildren, DynamicFlags, Restart};
/// use std::time::Duration;
///
/// let now = Duration::ZERO;
/// let spec = ChildSpec::worker("connection", ()).restart(Restart::Temporary).build()?;
/// let mut children: DynamicChildren<(), &str, ()> = DynamicChildren::new(DynamicFlags::default(), spec)?;
/// children.handle_start_child(now, (), "10.0.0.7");
/// let Some(DynamicAction::Start { start }) = children.poll_action() else { panic!() };
/// assert_eq!(children.arguments(start), Some(&"10.0.0.7"));
/// children.handle_started(now, start, "7.1@1".parse().unwrap());
/// assert_eq!(children.count().active, 1);
/// # Ok::<(), laneway_supervisor::SpecError>(())
/// ```
pub struct DynamicChildren<S, A, T> {
    flags: DynamicFlags,
    spec: ChildSpec<S>,
    restarts: Intensity,
    lanes: Lanes<A>,
    starts: BTreeMap<StartKey, Start<A, T>>,
    next: u64,
    stopping: BTreeMap<Id, Vec<T>>,
    /// When those of `stopping` are killed. All have the same limit, so the first is the earliest; what ended in time
    /// leaves its entry behind until then.
    deadlines: VecDeque<(Duration, Id)>,
    ending: Option<Closing>,
    actions: VecDeque<DynamicAction<T>>,
}

struct Start<A, T> {
    arguments: A,
    /// The lane that this start is to follow, where it is a restart.
    was: Option<Id>,
    answer: Option<T>,
    /// Whom to tell when it is gone again, where it was terminated before it was there.
    cancelled: Option<Vec<T>>,
}

struct Closing {
    why: Ending,
    deadline: Option<Duration>,
    /// Ends otherwise than asked.
    errors: Vec<(ExitReason, u64)>,
    is_over: bool,
}

impl<S, A, T> DynamicChildren<S, A, T> {
    /// No children yet.
    ///
    /// # Errors
    /// A zero period, or a significant spec where the supervisor never shuts down by itself.
    pub fn new(flags: DynamicFlags, spec: ChildSpec<S>) -> Result<DynamicChildren<S, A, T>, SpecError> {
        if flags.period.is_zero() {
            return Err(SpecError::ZeroPeriod);
        }
        spec.check_under(flags.auto_shutdown)?;
        Ok(DynamicChildren {
            flags,
            restarts: Intensity::new(flags.intensity, flags.period),
            lanes: Lanes::new(spec.restart()),
            spec,
            starts: BTreeMap::new(),
            next: 0,
            stopping: BTreeMap::new(),
            deadlines: VecDeque::new(),
            ending: None,
            actions: VecDeque::new(),
        })
    }

    /// What must be done next; `None` until there is more input.
    pub fn poll_action(&mut self) -> Option<DynamicAction<T>> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](DynamicChildren::handle_timeout) must be called.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let one = self.deadlines.front().map(|&(deadline, _)| deadline);
        let all = self.ending.as_ref().and_then(|closing| closing.deadline);
        one.into_iter().chain(all).min()
    }

    /// Starts one more child with these arguments. Answer: its lane; `None` if it declined, and is not kept.
    ///
    /// The errors are [`ChildError::TooManyChildren`], [`ChildError::Failed`] and [`ChildError::ShuttingDown`]; the
    /// child is not kept then.
    pub fn handle_start_child(&mut self, _now: Duration, to: T, arguments: A) {
        let refused = if self.ending.is_some() {
            ChildError::ShuttingDown
        } else if self.lanes.len() + self.starts.len() + self.stopping.len() >= self.flags.children_max {
            ChildError::TooManyChildren
        } else {
            return self.start(arguments, None, Some(to));
        };
        self.answer(to, Err(refused));
    }

    /// Ends the child with this lane, or the one that is being started in its place, for good. Answer: `None`, once it
    /// is gone; [`ChildError::NotFound`] where there is no such child.
    ///
    /// Neither this nor the child's end counts toward the intensity.
    pub fn handle_terminate_child(&mut self, now: Duration, to: T, lane: Id) {
        if let Some(asking) = self.stopping.get_mut(&lane) {
            return asking.push(to);
        }
        // A supervisor that ends has asked every lane of `lanes` already.
        if self.ending.is_some() {
            return self.answer(to, Err(ChildError::ShuttingDown));
        }
        if self.lanes.remove(lane).is_some() {
            return self.stop(now, lane, vec![to]);
        }
        match self.starts.iter_mut().find(|(_, start)| start.was == Some(lane)) {
            Some((&key, start)) => match &mut start.cancelled {
                Some(asking) => asking.push(to),
                None => {
                    start.cancelled = Some(vec![to]);
                    let how = self.spec.shutdown();
                    self.actions.push_back(DynamicAction::CancelStart { start: key, how });
                }
            },
            None => self.answer(to, Err(ChildError::NotFound)),
        }
    }

    /// The start has succeeded: the child runs as `lane`.
    ///
    /// # Panics
    /// If the start is not under way, or if `lane` is a child already.
    pub fn handle_started(&mut self, now: Duration, start: StartKey, lane: Id) {
        let Start { arguments, answer, cancelled, .. } = self.end_of_start(start);
        assert!(!self.lanes.contains(lane) && !self.stopping.contains_key(&lane), "lane {lane} is a child already");
        if self.ending.is_some() || cancelled.is_some() {
            if let Some(to) = answer {
                self.answer(to, Err(ChildError::ShuttingDown));
            }
            return self.stop(now, lane, cancelled.unwrap_or_default());
        }
        self.lanes.insert(lane, arguments);
        if let Some(to) = answer {
            self.answer(to, Ok(Some(lane)));
        }
    }

    /// The child has declined to run, and is forgotten.
    ///
    /// # Panics
    /// If the start is not under way.
    pub fn handle_ignored(&mut self, _now: Duration, start: StartKey) {
        let start = self.end_of_start(start);
        self.start_came_to_nothing(start, Ok(None));
    }

    /// The start has failed; no lane of it is left. A restart is tried again, as one more restart.
    ///
    /// # Panics
    /// If the start is not under way.
    pub fn handle_start_failed(&mut self, now: Duration, start: StartKey, reason: ExitReason) {
        let start = self.end_of_start(start);
        if start.was.is_none() || start.cancelled.is_some() || self.ending.is_some() {
            return self.start_came_to_nothing(start, Err(ChildError::Failed(reason)));
        }
        self.report(ReportKind::StartError, reason.clone());
        self.restart(now, start.arguments, start.was, reason);
    }

    /// A lane has ended. False where it was no child: then nothing changes.
    pub fn handle_exited(&mut self, now: Duration, lane: Id, reason: ExitReason) -> bool {
        if let Some(asking) = self.stopping.remove(&lane) {
            self.ended_after_stop(reason);
            for to in asking {
                self.answer(to, Ok(None));
            }
            self.drop_spent_deadlines();
        } else {
            let Some(arguments) = self.lanes.remove(lane) else { return false };
            if self.ending.is_some() {
                self.ended_after_stop(reason);
            } else {
                self.ended(now, lane, arguments, reason);
            }
        }
        self.exit_if_empty();
        true
    }

    /// The time of [`poll_timeout`](DynamicChildren::poll_timeout) has come: who has not ended by now is killed.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some((_, lane)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            if self.stopping.contains_key(&lane) {
                self.actions.push_back(DynamicAction::Kill { lane });
            }
        }
        self.drop_spent_deadlines();
        if let Some(closing) = &mut self.ending
            && closing.deadline.is_some_and(|deadline| deadline <= now)
        {
            closing.deadline = None;
            self.actions.push_back(DynamicAction::KillAll);
        }
    }

    /// Ends the supervisor: all children are stopped, side by side, then [`DynamicAction::Exit`] comes.
    ///
    /// Where the supervisor is ending already, nothing changes.
    pub fn handle_shutdown(&mut self, now: Duration, reason: ExitReason) {
        self.end(now, Ending::Asked(reason));
        self.exit_if_empty();
    }

    /// The one spec.
    pub fn spec(&self) -> &ChildSpec<S> {
        &self.spec
    }

    /// How children are started, for those whose start changes it.
    pub fn start_mut(&mut self) -> &mut S {
        self.spec.start_mut()
    }

    /// What a start under way is given; `None` where it is not under way.
    pub fn arguments(&self, start: StartKey) -> Option<&A> {
        self.starts.get(&start).map(|start| &start.arguments)
    }

    /// The lane in whose place a start under way puts a new one; `None` where it is no restart.
    pub fn predecessor(&self, start: StartKey) -> Option<Id> {
        self.starts.get(&start).and_then(|start| start.was)
    }

    /// As [`arguments`](DynamicChildren::arguments), for those whose start uses them up.
    pub fn arguments_mut(&mut self, start: StartKey) -> Option<&mut A> {
        self.starts.get_mut(&start).map(|start| &mut start.arguments)
    }

    /// The lanes of all children but those that have been stopped one by one, in no order.
    pub fn lanes(&self) -> impl Iterator<Item = Id> {
        let (temporary, kept) = match &self.lanes {
            Lanes::Temporary(ids) => (Some(ids.iter()), None),
            Lanes::Kept(children) => (None, Some(children.keys())),
        };
        temporary.into_iter().flatten().chain(kept.into_iter().flatten()).copied()
    }

    /// How many children there are; those being started or started again are not active. There is one spec.
    pub fn count(&self) -> ChildCounts {
        let active = self.lanes.len() + self.stopping.len();
        let all = active + self.starts.len();
        let (supervisors, workers) = match self.spec.kind() {
            ChildKind::Supervisor => (all, 0),
            ChildKind::Worker => (0, all),
        };
        ChildCounts { specs: 1, active, supervisors, workers }
    }

    fn start(&mut self, arguments: A, was: Option<Id>, answer: Option<T>) {
        let start = StartKey(self.next);
        self.next += 1;
        self.starts.insert(start, Start { arguments, was, answer, cancelled: None });
        self.actions.push_back(DynamicAction::Start { start });
    }

    fn end_of_start(&mut self, start: StartKey) -> Start<A, T> {
        self.starts.remove(&start).unwrap_or_else(|| panic!("{start:?} is not under way"))
    }

    fn start_came_to_nothing(&mut self, start: Start<A, T>, reply: Result<Option<Id>, ChildError>) {
        let reply = if self.ending.is_some() { Err(ChildError::ShuttingDown) } else { reply };
        if let Some(to) = start.answer {
            self.answer(to, reply);
        }
        for to in start.cancelled.into_iter().flatten() {
            self.answer(to, Ok(None));
        }
        self.exit_if_empty();
    }

    /// A child has ended of its own.
    fn ended(&mut self, now: Duration, lane: Id, arguments: Option<A>, reason: ExitReason) {
        let restart = self.spec.restart();
        if restart == Restart::Permanent || !reason.is_ordinary() {
            self.report(ReportKind::ChildTerminated, reason.clone());
        }
        match arguments {
            Some(arguments) if restart.applies_to(&reason) => self.restart(now, arguments, Some(lane), reason),
            _ if self.spec.is_significant() && self.is_significant_end() => self.end(now, Ending::AutoShutdown),
            _ => {}
        }
    }

    fn is_significant_end(&self) -> bool {
        match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => self.lanes.len() + self.starts.len() + self.stopping.len() == 0,
        }
    }

    fn restart(&mut self, now: Duration, arguments: A, was: Option<Id>, reason: ExitReason) {
        if self.restarts.admit(now) {
            self.start(arguments, was, None);
        } else {
            self.report(ReportKind::IntensityReached, reason);
            self.end(now, Ending::IntensityReached);
            self.exit_if_empty();
        }
    }

    fn stop(&mut self, now: Duration, lane: Id, asking: Vec<T>) {
        self.stopping.insert(lane, asking);
        let action = match self.spec.shutdown() {
            Shutdown::Brutal => DynamicAction::Kill { lane },
            Shutdown::Infinite => DynamicAction::Stop { lane },
            Shutdown::Timeout(limit) => {
                if let Some(deadline) = now.checked_add(limit) {
                    self.deadlines.push_back((deadline, lane));
                }
                DynamicAction::Stop { lane }
            }
        };
        self.actions.push_back(action);
    }

    fn drop_spent_deadlines(&mut self) {
        while self.deadlines.pop_front_if(|(_, lane)| !self.stopping.contains_key(lane)).is_some() {}
    }

    fn ended_after_stop(&mut self, reason: ExitReason) {
        if self.spec.ended_as_asked(&reason) {
            return;
        }
        let Some(closing) = &mut self.ending else { return self.report(ReportKind::ShutdownError, reason) };
        let is_full = closing.errors.len() == REASONS_MAX;
        match closing.errors.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None if is_full => closing.errors[REASONS_MAX - 1].1 += 1,
            None => closing.errors.push((reason, 1)),
        }
    }

    fn end(&mut self, now: Duration, why: Ending) {
        if self.ending.is_some() {
            return;
        }
        let how = self.spec.shutdown();
        let deadline = match how {
            Shutdown::Timeout(limit) => now.checked_add(limit),
            Shutdown::Brutal | Shutdown::Infinite => None,
        };
        let has_lanes = self.lanes.len() > 0;
        let deadline = deadline.filter(|_| has_lanes);
        self.ending = Some(Closing { why, deadline, errors: Vec::new(), is_over: false });
        if has_lanes {
            self.actions.push_back(match how {
                Shutdown::Brutal => DynamicAction::KillAll,
                Shutdown::Timeout(_) | Shutdown::Infinite => DynamicAction::StopAll,
            });
        }
        for (&start, _) in self.starts.iter().filter(|(_, start)| start.cancelled.is_none()) {
            self.actions.push_back(DynamicAction::CancelStart { start, how });
        }
    }

    fn exit_if_empty(&mut self) {
        let is_empty = self.lanes.len() + self.starts.len() + self.stopping.len() == 0;
        let Some(closing) = self.ending.as_mut().filter(|closing| is_empty && !closing.is_over) else { return };
        closing.is_over = true;
        closing.deadline = None;
        let (why, errors) = (closing.why.clone(), mem::take(&mut closing.errors));
        for (reason, count) in errors {
            let child = self.spec.id().clone();
            let report = Report { kind: ReportKind::ShutdownError, child, count, reason };
            self.actions.push_back(DynamicAction::Report(report));
        }
        self.actions.push_back(DynamicAction::Exit(why));
    }

    fn answer(&mut self, to: T, reply: Result<Option<Id>, ChildError>) {
        self.actions.push_back(DynamicAction::Answer { to, reply });
    }

    fn report(&mut self, kind: ReportKind, reason: ExitReason) {
        let child = self.spec.id().clone();
        self.actions.push_back(DynamicAction::Report(Report { kind, child, count: 1, reason }));
    }
}

impl<S, A, T> fmt::Debug for DynamicChildren<S, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicChildren")
            .field("flags", &self.flags)
            .field("spec", &self.spec)
            .field("count", &self.count())
            .field("ending", &self.ending.as_ref().map(|closing| &closing.why))
            .finish_non_exhaustive()
    }
}

/// The running children, with what their restarts will need.
enum Lanes<A> {
    Temporary(HashSet<Id, FixedState>),
    Kept(HashMap<Id, A, FixedState>),
}

impl<A> Lanes<A> {
    fn new(restart: Restart) -> Lanes<A> {
        match restart {
            Restart::Temporary => Lanes::Temporary(HashSet::default()),
            Restart::Permanent | Restart::Transient => Lanes::Kept(HashMap::default()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Lanes::Temporary(ids) => ids.len(),
            Lanes::Kept(children) => children.len(),
        }
    }

    fn contains(&self, lane: Id) -> bool {
        match self {
            Lanes::Temporary(ids) => ids.contains(&lane),
            Lanes::Kept(children) => children.contains_key(&lane),
        }
    }

    fn insert(&mut self, lane: Id, arguments: A) {
        match self {
            Lanes::Temporary(ids) => drop(ids.insert(lane)),
            Lanes::Kept(children) => drop(children.insert(lane, arguments)),
        }
    }

    /// `None` where the lane is not there; the arguments where they were kept.
    fn remove(&mut self, lane: Id) -> Option<Option<A>> {
        match self {
            Lanes::Temporary(ids) => ids.remove(&lane).then_some(None),
            Lanes::Kept(children) => children.remove(&lane).map(Some),
        }
    }
}

type FixedState = BuildHasherDefault<IdHasher>;

/// Spreads the bits of one id. Ids come from the runtime, not from strangers, and the same run must always take the
/// same course, so there is no seed.
#[derive(Clone, Copy, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, bits: u64) {
        // The table takes its place from the low bits and its tag from the high ones: fold the product so that both
        // depend on every bit.
        let product = u128::from(self.0 ^ bits) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}
