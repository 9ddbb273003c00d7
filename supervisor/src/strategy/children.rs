//! The machine: children and events in, actions out.
//!
//! Owns: who is a child, in which order they were started, and what must be done next. Starts, stops and kills nothing:
//! whoever drives it does, one action after the other. Reads no clock: `now` is a time since any fixed start. How it
//! looks from outside is in `children/views.rs`.
//!
//! # Invariants
//! 1. A child has at most one lane: a start is asked for only where there is none, and none is under way.
//! 2. One thing is under way at a time (`Wait`). What arrives meanwhile waits its turn in `queue`, in order, but for a
//!    request to end, which comes before all that has not begun.
//! 3. Children are stopped in the reverse of the order in which they were started, each gone before the next is asked.
//! 4. `by_lane` holds exactly the lanes of the children that are `Running`.
//! 5. Once `ending` is set nothing is started, and it is not changed.

mod views;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use runtime::{ExitReason, Id};

use super::{Action, AutoShutdown, ChildError, Command, Ending, Flags, Report, ReportKind, Strategy};
use crate::child_spec::{ChildSpec, Restart, Shutdown, SpecError};
use crate::intensity::Intensity;

/// The place of a child in the start order; kept over restarts, never used again for another child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildKey(u64);

impl ChildKey {
    const FIRST: ChildKey = ChildKey(0);
    /// Above every key that is given out.
    const END: ChildKey = ChildKey(u64::MAX);
}

/// The children of one supervisor, and what must be done next. `S` is how a child is started, `T` whom to answer.
///
/// Input comes by `handle_*`. After each, carry out what [`poll_action`](Children::poll_action) gives until it gives
/// `None`, and see that [`handle_timeout`](Children::handle_timeout) is called at
/// [`poll_timeout`](Children::poll_timeout).
///
/// ```
/// use laneway_supervisor::{Action, ChildSpec, Children, Flags};
/// use std::time::Duration;
///
/// let now = Duration::ZERO;
/// let specs = vec![ChildSpec::worker("db", "how").build()?];
/// let mut children: Children<&str, ()> = Children::new(Flags::default(), specs)?;
/// children.handle_start(now);
/// let Some(Action::Start { child }) = children.poll_action() else { panic!() };
/// assert_eq!(children.spec(child).unwrap().start(), &"how");
/// children.handle_started(now, child, "7.1@1".parse().unwrap());
/// assert!(matches!(children.poll_action(), Some(Action::Ready)));
/// assert_eq!(children.count().active, 1);
/// # Ok::<(), laneway_supervisor::SpecError>(())
/// ```
pub struct Children<S, T> {
    flags: Flags,
    restarts: Intensity,
    children: BTreeMap<ChildKey, Child<S>>,
    by_name: BTreeMap<Arc<str>, ChildKey>,
    by_lane: BTreeMap<Id, ChildKey>,
    next: ChildKey,
    job: Job,
    wait: Wait<T>,
    ending: Option<Ending>,
    queue: VecDeque<Event<S, T>>,
    actions: VecDeque<Action<T>>,
}

struct Child<S> {
    spec: ChildSpec<S>,
    state: State,
}

enum State {
    Absent,
    Running(Id),
    /// It ended of its own, and its turn to be dealt with has not come.
    Ended(Id, ExitReason),
    /// Its restart failed for this reason, and is to be tried again.
    Restarting(ExitReason),
}

/// What is done child by child; it goes on whenever nothing is waited for.
enum Job {
    Unborn,
    Idle,
    /// First half of a group restart: stop the children of this range, from its end.
    Lower(Range<ChildKey>),
    /// Start the children from this one on: the first start, or the second half of a group restart.
    Raise {
        from: ChildKey,
        first: bool,
    },
    /// Stop the children below this one, from the last, and end.
    Close(ChildKey),
    Over,
}

enum Wait<T> {
    Nothing,
    Start { child: ChildKey, cause: Cause<T> },
    Stop { child: ChildKey, deadline: Option<Duration>, answer: Option<T> },
}

/// Why a child is being started.
enum Cause<T> {
    FirstStart,
    Restart,
    Added(T),
    Asked(T),
}

enum Event<S, T> {
    Ended(ChildKey, Id),
    TryAgain(ChildKey),
    Command(T, Command<S>),
}

impl<S, T> Children<S, T> {
    /// Children with these specs, to be started in this order by [`handle_start`](Children::handle_start).
    ///
    /// # Errors
    /// A zero period, two children of one id, or a significant child where the supervisor never shuts down by itself.
    pub fn new(flags: Flags, specs: Vec<ChildSpec<S>>) -> Result<Children<S, T>, SpecError> {
        flags.check()?;
        let mut children = Children {
            flags,
            restarts: Intensity::new(flags.intensity, flags.period),
            children: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_lane: BTreeMap::new(),
            next: ChildKey::FIRST,
            job: Job::Unborn,
            wait: Wait::Nothing,
            ending: None,
            queue: VecDeque::new(),
            actions: VecDeque::new(),
        };
        for spec in specs {
            spec.check_under(flags.auto_shutdown)?;
            if children.by_name.contains_key(spec.id()) {
                return Err(SpecError::DuplicateId(spec.id().clone()));
            }
            children.adopt(spec);
        }
        Ok(children)
    }

    /// What must be done next; `None` until there is more input.
    pub fn poll_action(&mut self) -> Option<Action<T>> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Children::handle_timeout) must be called.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.wait {
            Wait::Stop { deadline, .. } => deadline,
            _ => None,
        }
    }

    /// Begins the first start. [`Action::Ready`] or [`Action::Exit`] tells that it is over.
    ///
    /// # Panics
    /// If it is called twice.
    pub fn handle_start(&mut self, now: Duration) {
        assert!(matches!(self.job, Job::Unborn) || self.ending.is_some(), "the children are started once");
        if self.ending.is_none() {
            self.job = Job::Raise { from: ChildKey::FIRST, first: true };
            self.advance(now);
        }
    }

    /// The child has finished its start, and runs as `lane`.
    ///
    /// # Panics
    /// If no start of this child is under way, or if `lane` is a child already.
    pub fn handle_started(&mut self, now: Duration, child: ChildKey, lane: Id) {
        let cause = self.end_of_start(child);
        assert!(self.by_lane.insert(lane, child).is_none(), "lane {lane} is a child already");
        self.set_state(child, State::Running(lane));
        self.answer_start(cause, Ok(Some(lane)));
        self.advance(now);
    }

    /// The child has declined to run. Its spec is kept, without a lane, unless it is temporary.
    ///
    /// # Panics
    /// If no start of this child is under way.
    pub fn handle_ignored(&mut self, now: Duration, child: ChildKey) {
        let cause = self.end_of_start(child);
        self.put_away(child);
        self.answer_start(cause, Ok(None));
        self.advance(now);
    }

    /// The child's start has failed; no lane of it is left.
    ///
    /// # Panics
    /// If no start of this child is under way.
    pub fn handle_start_failed(&mut self, now: Duration, child: ChildKey, reason: ExitReason) {
        match self.end_of_start(child) {
            Cause::FirstStart => {
                self.report(ReportKind::StartError, child, reason.clone());
                let id = self.children[&child].spec.id().clone();
                self.end(Ending::FailedToStart { child: id, reason });
            }
            Cause::Restart => {
                self.report(ReportKind::StartError, child, reason.clone());
                // Not at once: commands and the order to end, which came first, must get their turn between tries.
                self.set_state(child, State::Restarting(reason));
                self.queue.push_back(Event::TryAgain(child));
                self.job = Job::Idle;
            }
            cause @ Cause::Added(_) => {
                self.forget(child);
                self.answer_start(cause, Err(ChildError::Failed(reason)));
            }
            cause @ Cause::Asked(_) => self.answer_start(cause, Err(ChildError::Failed(reason))),
        }
        self.advance(now);
    }

    /// A lane has ended. False where it was no child: then nothing changes.
    pub fn handle_exited(&mut self, now: Duration, lane: Id, reason: ExitReason) -> bool {
        let Some(child) = self.by_lane.remove(&lane) else { return false };
        match mem::replace(&mut self.wait, Wait::Nothing) {
            Wait::Stop { child: stopping, answer, .. } if stopping == child => {
                self.put_down(child, reason);
                if let Some(to) = answer {
                    self.answer(to, Ok(None));
                }
            }
            other => {
                self.wait = other;
                self.set_state(child, State::Ended(lane, reason));
                self.queue.push_back(Event::Ended(child, lane));
            }
        }
        self.advance(now);
        true
    }

    /// The time of [`poll_timeout`](Children::poll_timeout) has come: a child that has not ended by now is killed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if let Wait::Stop { child, deadline, .. } = &mut self.wait
            && deadline.is_some_and(|deadline| deadline <= now)
        {
            *deadline = None;
            let State::Running(lane) = self.children[child].state else { unreachable!("a stopping child runs") };
            self.actions.push_back(Action::Kill { lane });
        }
    }

    /// Takes a command, to be answered `to`; it waits for what is under way, and for what came before it.
    pub fn handle_command(&mut self, now: Duration, to: T, command: Command<S>) {
        if self.ending.is_some() {
            return self.answer(to, Err(ChildError::ShuttingDown));
        }
        self.queue.push_back(Event::Command(to, command));
        self.advance(now);
    }

    /// Ends the supervisor: all children are stopped, the last started first, then [`Action::Exit`] comes.
    ///
    /// A stop under way is waited for, a start under way is cancelled. Where the supervisor is ending already, nothing
    /// changes.
    pub fn handle_shutdown(&mut self, now: Duration, reason: ExitReason) {
        if self.ending.is_some() {
            return;
        }
        self.end(Ending::Asked(reason));
        if let Wait::Start { child, .. } = self.wait {
            let how = self.children[&child].spec.shutdown();
            self.actions.push_back(Action::CancelStart { child, how });
        }
        self.advance(now);
    }

    /// How a child is started, for those whose start changes them; `None` where it is forgotten.
    pub fn start_mut(&mut self, child: ChildKey) -> Option<&mut S> {
        self.children.get_mut(&child).map(|child| child.spec.start_mut())
    }

    /// Does what can be done until something must be waited for.
    fn advance(&mut self, now: Duration) {
        while let Wait::Nothing = self.wait {
            match mem::replace(&mut self.job, Job::Idle) {
                Job::Over => {
                    self.job = Job::Over;
                    return;
                }
                Job::Close(below) => self.close(now, below),
                _ if self.ending.is_some() => self.job = Job::Close(ChildKey::END),
                Job::Unborn => {
                    self.job = Job::Unborn;
                    return;
                }
                Job::Idle => match self.queue.pop_front() {
                    Some(event) => self.take(now, event),
                    None => return,
                },
                Job::Lower(range) => match self.stop_last(now, range.clone()) {
                    Some(stopped) => self.job = Job::Lower(range.start..stopped),
                    None => self.job = Job::Raise { from: range.start, first: false },
                },
                Job::Raise { from, first } => self.raise(from, first),
            }
        }
    }

    fn close(&mut self, now: Duration, below: ChildKey) {
        match (self.stop_last(now, ChildKey::FIRST..below), &self.ending) {
            (Some(stopped), _) => self.job = Job::Close(stopped),
            (None, Some(ending)) => {
                self.job = Job::Over;
                self.actions.push_back(Action::Exit(ending.clone()));
            }
            (None, None) => unreachable!("children are closed only for an ending"),
        }
    }

    /// Stops the last child of the range, whatever there is to stop; `None` where the range is empty.
    fn stop_last(&mut self, now: Duration, range: Range<ChildKey>) -> Option<ChildKey> {
        let (&child, _) = self.children.range(range).next_back()?;
        self.stop(now, child, None);
        Some(child)
    }

    fn raise(&mut self, from: ChildKey, first: bool) {
        match self.children.range(from..).next() {
            Some((&child, _)) => {
                self.job = Job::Raise { from: ChildKey(child.0 + 1), first };
                self.start(child, if first { Cause::FirstStart } else { Cause::Restart });
            }
            None if first => self.actions.push_back(Action::Ready),
            None => {}
        }
    }

    fn take(&mut self, now: Duration, event: Event<S, T>) {
        match event {
            Event::Ended(child, lane) => {
                // Whoever stopped the child meanwhile has dealt with its end.
                if let Some(Child { state, .. }) = self.children.get_mut(&child)
                    && matches!(state, State::Ended(ended, _) if *ended == lane)
                    && let State::Ended(_, reason) = mem::replace(state, State::Absent)
                {
                    self.ended(now, child, reason);
                }
            }
            Event::TryAgain(child) => {
                // Whoever terminated or restarted the child meanwhile has made this try needless.
                if let Some(Child { state: State::Restarting(reason), .. }) = self.children.get(&child) {
                    let reason = reason.clone();
                    self.restart(now, child, reason);
                }
            }
            Event::Command(to, command) => self.command(now, to, command),
        }
    }

    /// A child has ended of its own.
    fn ended(&mut self, now: Duration, child: ChildKey, reason: ExitReason) {
        let spec = &self.children[&child].spec;
        let (restart, significant) = (spec.restart(), spec.is_significant());
        if restart == Restart::Permanent || !reason.is_ordinary() {
            self.report(ReportKind::ChildTerminated, child, reason.clone());
        }
        if restart.applies_to(&reason) {
            return self.restart(now, child, reason);
        }
        self.put_away(child);
        if significant {
            self.significant_child_is_done();
        }
    }

    fn restart(&mut self, now: Duration, child: ChildKey, reason: ExitReason) {
        self.set_state(child, State::Absent);
        if !self.restarts.admit(now) {
            self.report(ReportKind::IntensityReached, child, reason);
            return self.end(Ending::IntensityReached);
        }
        match self.flags.strategy {
            Strategy::OneForOne => self.start(child, Cause::Restart),
            Strategy::OneForAll => self.job = Job::Lower(ChildKey::FIRST..ChildKey::END),
            Strategy::RestForOne => self.job = Job::Lower(child..ChildKey::END),
        }
    }

    fn significant_child_is_done(&mut self) {
        let is_over = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => {
                self.children.values().all(|child| !child.spec.is_significant() || matches!(child.state, State::Absent))
            }
        };
        if is_over {
            self.end(Ending::AutoShutdown);
        }
    }

    fn command(&mut self, now: Duration, to: T, command: Command<S>) {
        let refused = match command {
            Command::Start(spec) => match self.admit(&spec) {
                Ok(()) => {
                    let child = self.adopt(spec);
                    return self.start(child, Cause::Added(to));
                }
                Err(error) => error,
            },
            Command::Terminate(id) => match self.by_name.get(&id) {
                Some(&child) => return self.stop(now, child, Some(to)),
                None => ChildError::NotFound,
            },
            Command::Restart(id) => match self.absent(&id) {
                Ok(child) => return self.start(child, Cause::Asked(to)),
                Err(error) => error,
            },
            Command::Delete(id) => match self.absent(&id) {
                Ok(child) => {
                    self.forget(child);
                    return self.answer(to, Ok(None));
                }
                Err(error) => error,
            },
        };
        self.answer(to, Err(refused));
    }

    /// Whether a child with this spec may be added.
    fn admit(&self, spec: &ChildSpec<S>) -> Result<(), ChildError> {
        spec.check_under(self.flags.auto_shutdown)?;
        match self.absent(spec.id()) {
            Err(ChildError::NotFound) => Ok(()),
            Err(ChildError::Running(lane)) => Err(ChildError::AlreadyStarted(lane)),
            _ => Err(ChildError::AlreadyPresent),
        }
    }

    /// The child of this id, if it has no lane and none is to come by itself.
    fn absent(&self, id: &str) -> Result<ChildKey, ChildError> {
        let &child = self.by_name.get(id).ok_or(ChildError::NotFound)?;
        match self.children[&child].state {
            State::Absent => Ok(child),
            // An end whose turn has not come is later than the command that asks.
            State::Running(lane) | State::Ended(lane, _) => Err(ChildError::Running(lane)),
            State::Restarting(_) => Err(ChildError::Restarting),
        }
    }

    /// Begins a start; there is no lane of this child (invariant 1).
    fn start(&mut self, child: ChildKey, cause: Cause<T>) {
        assert!(matches!(self.children[&child].state, State::Absent), "a child is started only where it has no lane");
        assert!(self.ending.is_none(), "a supervisor that ends starts nothing");
        self.wait = Wait::Start { child, cause };
        self.actions.push_back(Action::Start { child });
    }

    fn end_of_start(&mut self, child: ChildKey) -> Cause<T> {
        match mem::replace(&mut self.wait, Wait::Nothing) {
            Wait::Start { child: starting, cause } if starting == child => cause,
            _ => panic!("no start of {child:?} is under way"),
        }
    }

    /// Begins to stop a child; what has no lane is stopped at once.
    fn stop(&mut self, now: Duration, child: ChildKey, answer: Option<T>) {
        let Child { spec, state } = self.children.get_mut(&child).expect("only known children are stopped");
        if let State::Running(lane) = *state {
            let (deadline, action) = match spec.shutdown() {
                Shutdown::Brutal => (None, Action::Kill { lane }),
                Shutdown::Timeout(limit) => (now.checked_add(limit), Action::Stop { lane }),
                Shutdown::Infinite => (None, Action::Stop { lane }),
            };
            self.wait = Wait::Stop { child, deadline, answer };
            return self.actions.push_back(action);
        }
        match mem::replace(state, State::Absent) {
            State::Ended(_, reason) => self.put_down(child, reason),
            _ => self.put_away(child),
        }
        if let Some(to) = answer {
            self.answer(to, Ok(None));
        }
    }

    /// A child that was to be stopped is gone.
    fn put_down(&mut self, child: ChildKey, reason: ExitReason) {
        if !self.children[&child].spec.ended_as_asked(&reason) {
            self.report(ReportKind::ShutdownError, child, reason);
        }
        self.put_away(child);
    }

    /// A child has no lane any more: its spec stays, unless it is temporary.
    fn put_away(&mut self, child: ChildKey) {
        if self.children[&child].spec.restart() == Restart::Temporary {
            self.forget(child);
        } else {
            self.set_state(child, State::Absent);
        }
    }

    fn adopt(&mut self, spec: ChildSpec<S>) -> ChildKey {
        let child = self.next;
        self.next = ChildKey(child.0 + 1);
        self.by_name.insert(spec.id().clone(), child);
        self.children.insert(child, Child { spec, state: State::Absent });
        child
    }

    fn forget(&mut self, child: ChildKey) {
        if let Some(Child { spec, .. }) = self.children.remove(&child) {
            self.by_name.remove(spec.id());
        }
    }

    fn set_state(&mut self, child: ChildKey, state: State) {
        self.children.get_mut(&child).expect("only known children change").state = state;
    }

    /// Nothing will be started any more; commands that wait are answered, and the ends of children are seen by `close`.
    fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            for event in mem::take(&mut self.queue) {
                if let Event::Command(to, _) = event {
                    self.answer(to, Err(ChildError::ShuttingDown));
                }
            }
        }
    }

    fn answer_start(&mut self, cause: Cause<T>, reply: Result<Option<Id>, ChildError>) {
        if let Cause::Added(to) | Cause::Asked(to) = cause {
            let reply = if self.ending.is_some() { Err(ChildError::ShuttingDown) } else { reply };
            self.answer(to, reply);
        }
    }

    fn answer(&mut self, to: T, reply: Result<Option<Id>, ChildError>) {
        self.actions.push_back(Action::Answer { to, reply });
    }

    fn report(&mut self, kind: ReportKind, child: ChildKey, reason: ExitReason) {
        let child = self.children[&child].spec.id().clone();
        self.actions.push_back(Action::Report(Report { kind, child, count: 1, reason }));
    }
}
