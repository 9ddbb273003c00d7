//! [`Supervisor`]: the lane that starts children, hears of their ends, and does what [`Children`] decides.
//!
//! Owns: the words by which a supervisor is built and told, and its lane. Decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actors::{Address, Reply};
use runtime::lane::{self, Spawn};
use runtime::mailbox::{Inbox, NotAMailbox};
use runtime::{ExitReason, Id, StaleId, reply, role};

use crate::child_spec::{ChildSpec, Shutdown, SpecError};
use crate::shell::{
    Answered, COMMANDS_MAX, CommandError, Input, Shell, Starter, StartingSupervisor, SupervisorError, Underway, begun,
    now, shut_down,
};
use crate::start::{Begin, Begun, ChildStart, IntoChild, Outcome, Place, Progress};
use crate::strategy::{
    Action, AutoShutdown, ChildCounts, ChildInfo, ChildKey, Children, Command, Ending, Flags, Strategy,
};

/// A supervisor that runs: 8 bytes, `Copy`, checked at every use like any [`Address`].
///
/// Commands are carried out one after the other, each when what is under way is done; they have no timeout.
///
/// ```
/// use actors::{Lane, Reply, Role, Runtime, join};
/// use laneway_supervisor::{ChildSpec, Supervisor};
///
/// let runtime = Runtime::builder().build()?;
/// runtime.block_on(async {
///     let doubler = Role::new();
///     let supervisor = Supervisor::builder("numbers")
///         .intensity(3, std::time::Duration::from_secs(5))
///         .child(
///             ChildSpec::lane("doubler", || async |mut lane: Lane<(u32, Reply<u32>)>| {
///                 while let Some((number, reply)) = lane.recv().await {
///                     let doubled = number.checked_mul(2).expect("a number that has a double");
///                     let _ = reply.send(doubled);
///                 }
///             })
///             .role(doubler),
///         )
///         .start()
///         .await?;
///     let first = doubler.filled().await?;
///     assert!(doubler.ask(|reply| (u32::MAX, reply)).await.is_err());
///     join(first.id()).await;
///     assert_eq!(doubler.ask(|reply| (21, reply)).await?, 42);
///     supervisor.shutdown().await;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Supervisor(Address<Message>);

enum Message {
    Command(Command<ChildStart>, Reply<Answered>),
    List(Reply<Vec<ChildInfo>>),
    Find(Arc<str>, Reply<Option<ChildInfo>>),
    Count(Reply<ChildCounts>),
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supervisor({})", self.id())
    }
}

impl From<Supervisor> for Id {
    fn from(supervisor: Supervisor) -> Id {
        supervisor.id()
    }
}

impl Supervisor {
    /// Begins a supervisor with no children, [`Flags::default`], and this label in its reports.
    pub fn builder(label: impl Into<Arc<str>>) -> SupervisorBuilder {
        SupervisorBuilder {
            label: label.into(),
            name: None,
            flags: Flags::default(),
            specs: Vec::new(),
            refused: None,
            place: None,
        }
    }

    /// The supervisor whose lane this is, as one that is listed by another's [`which_children`](Self::which_children).
    ///
    /// # Errors
    /// [`NotAMailbox`]: the lane is gone, or is no supervisor of this kind.
    pub fn of(id: Id) -> Result<Supervisor, NotAMailbox> {
        Address::of(id).map(Supervisor)
    }

    /// The bare id.
    pub fn id(self) -> Id {
        self.0.id()
    }

    /// The children in start order, also while something is under way.
    ///
    /// # Errors
    /// [`CommandError::Supervisor`]; so for the other questions.
    pub async fn which_children(self) -> Result<Vec<ChildInfo>, CommandError> {
        Ok(self.0.ask(Message::List).no_timeout().await?)
    }

    /// The child of this id, also while something is under way; `None` where there is none.
    ///
    /// # Errors
    /// As for [`Supervisor::which_children`].
    pub async fn find_child(self, id: impl Into<Arc<str>>) -> Result<Option<ChildInfo>, CommandError> {
        let id = id.into();
        Ok(self.0.ask(|reply| Message::Find(id, reply)).no_timeout().await?)
    }

    /// How many children there are, also while something is under way.
    ///
    /// # Errors
    /// As for [`Supervisor::which_children`].
    pub async fn count_children(self) -> Result<ChildCounts, CommandError> {
        Ok(self.0.ask(Message::Count).no_timeout().await?)
    }

    /// Starts one more child, after all others: its lane; `None` if it declined.
    ///
    /// # Errors
    /// [`CommandError`]; the child is not kept.
    pub async fn start_child(self, child: impl IntoChild) -> Result<Option<Id>, CommandError> {
        let spec = child.into_child()?;
        self.command(Command::Start(spec)).await
    }

    /// Ends a child, and keeps its spec unless it is temporary.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn terminate_child(self, id: impl Into<Arc<str>>) -> Result<(), CommandError> {
        self.command(Command::Terminate(id.into())).await.map(drop)
    }

    /// Starts a child that has no lane: its lane; `None` if it declined.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn restart_child(self, id: impl Into<Arc<str>>) -> Result<Option<Id>, CommandError> {
        self.command(Command::Restart(id.into())).await
    }

    /// Forgets a child that has no lane.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn delete_child(self, id: impl Into<Arc<str>>) -> Result<(), CommandError> {
        self.command(Command::Delete(id.into())).await.map(drop)
    }

    /// Asks the supervisor to end its children, the last started first, and then itself, with
    /// [`ExitReason::Shutdown`].
    ///
    /// # Errors
    /// It was gone.
    pub fn stop(self) -> Result<(), StaleId> {
        lane::stop(self.id(), ExitReason::Shutdown)
    }

    /// As [`Supervisor::stop`], and waits until the supervisor is gone: why it ended, [`ExitReason::NoProc`] where it
    /// was gone before.
    pub async fn shutdown(self) -> ExitReason {
        shut_down(self.id()).await
    }

    async fn command(self, command: Command<ChildStart>) -> Result<Option<Id>, CommandError> {
        Ok(self.0.ask(|reply| Message::Command(command, reply)).no_timeout().await??)
    }
}

/// A [`Supervisor`] in the making.
#[must_use = "nothing is started before `start`"]
pub struct SupervisorBuilder {
    label: Arc<str>,
    name: Option<Arc<str>>,
    flags: Flags,
    specs: Vec<ChildSpec<ChildStart>>,
    refused: Option<SpecError>,
    place: Option<Place>,
}

impl fmt::Debug for SupervisorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder")
            .field("label", &self.label)
            .field("flags", &self.flags)
            .field("specs", &self.specs)
            .finish_non_exhaustive()
    }
}

impl SupervisorBuilder {
    /// Whom the failure of a child concerns; [`Strategy::OneForOne`] by default.
    pub fn strategy(mut self, strategy: Strategy) -> SupervisorBuilder {
        self.flags.strategy = strategy;
        self
    }

    /// How many restarts within which time are borne; one within 5 s by default. One more ends the supervisor.
    pub fn intensity(mut self, restarts: u32, period: Duration) -> SupervisorBuilder {
        self.flags.intensity = restarts;
        self.flags.period = period;
        self
    }

    /// When the supervisor shuts down by itself; [`AutoShutdown::Never`] by default.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> SupervisorBuilder {
        self.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// Registers the supervisor under a name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> SupervisorBuilder {
        self.name = Some(name.into());
        self
    }

    /// Adds a child, to be started after those before it. What is wrong with its spec is said by the start.
    pub fn child(mut self, child: impl IntoChild) -> SupervisorBuilder {
        match child.into_child() {
            Ok(spec) => self.specs.push(spec),
            Err(error) => _ = self.refused.get_or_insert(error),
        }
        self
    }

    /// Starts the supervisor and then its children in order, each when the one before is there.
    ///
    /// Within a lane the supervisor is linked with it: that lane's end, however it ends, ends the tree in order, and the
    /// supervisor's end, once it was there, is an exit signal to that lane. Elsewhere it is the root of a tree of its
    /// own, which ends with the runtime.
    ///
    /// # Errors
    /// [`SupervisorError`].
    ///
    /// # Cancellation
    /// Dropped before it is ready, the future ends the supervisor in order.
    pub fn start(self) -> StartingSupervisor<Supervisor> {
        StartingSupervisor::new(|| self.spawn())
    }

    fn spawn(self) -> Result<Underway<Supervisor>, SupervisorError> {
        let SupervisorBuilder { label, name, flags, mut specs, refused, place } = self;
        if let Some(error) = refused {
            return Err(error.into());
        }
        for spec in &mut specs {
            spec.start_mut().adopt(place.as_ref());
        }
        let children = Children::new(flags, specs)?;
        let (starter, answer) = reply::port();
        let lane = spawn_options(name).spawn(|inbox| Tree::run(label, inbox, children, starter))?;
        let address = Address::from(lane.mailbox);
        Ok(Underway { lane: address.id(), handle: Supervisor(address), answer })
    }
}

/// How the lane of a supervisor is spawned.
pub(crate) fn spawn_options(name: Option<Arc<str>>) -> Spawn {
    let mut spawn = Spawn::new().trap_exits();
    if lane::current().is_some() {
        spawn = spawn.link();
    }
    match name {
        Some(name) => spawn.name(name),
        None => spawn,
    }
}

impl Begin for SupervisorBuilder {
    fn begin(mut self, place: &Place) -> Begun {
        self.place = Some(place.clone());
        begun(self.start())
    }
}

/// The lane of a supervisor.
struct Tree {
    shell: Shell<Message, ChildKey>,
    children: Children<ChildStart, Reply<Answered>>,
    /// The roles that lanes fill.
    filled: BTreeMap<Id, Id>,
    starter: Option<Starter>,
    /// Commands that wait for their answer.
    asked: usize,
}

impl Tree {
    async fn run(
        label: Arc<str>,
        inbox: Inbox<Message>,
        children: Children<ChildStart, Reply<Answered>>,
        starter: Starter,
    ) -> ExitReason {
        let shell = Shell::new(label, inbox);
        let mut tree = Tree { shell, children, filled: BTreeMap::new(), starter: Some(starter), asked: 0 };
        tree.children.handle_start(now());
        loop {
            if let Some(ending) = tree.act() {
                return tree.over(ending);
            }
            let has_room = tree.asked < COMMANDS_MAX;
            let wanted = |message: &Message| has_room || !matches!(message, Message::Command(..));
            let input = tree.shell.next(tree.children.poll_timeout(), false, wanted).await;
            tree.take(input);
        }
    }

    fn take(&mut self, input: Input<Message, ChildKey>) {
        let now = now();
        match input {
            Input::Message(Message::Command(command, reply)) => {
                self.asked += 1;
                self.children.handle_command(now, reply, command);
            }
            // Whoever asked may have left.
            Input::Message(Message::List(reply)) => _ = reply.send(self.children.list().collect()),
            Input::Message(Message::Find(id, reply)) => _ = reply.send(self.children.find(&id)),
            Input::Message(Message::Count(reply)) => _ = reply.send(self.children.count()),
            Input::Exited(exit) => self.exited(exit.from, exit.reason),
            Input::Shutdown(reason) => self.children.handle_shutdown(now, reason),
            Input::Started(child, outcome) => self.started(child, outcome),
            Input::Timeout => {
                self.shell.starts.handle_timeout(now);
                self.children.handle_timeout(now);
            }
            Input::More => {}
        }
    }

    /// Carries out what the machine wants.
    fn act(&mut self) -> Option<Ending> {
        while let Some(action) = self.children.poll_action() {
            match action {
                Action::Start { child } => self.start(child),
                Action::CancelStart { child, how } => self.cancel(child, how),
                Action::Stop { lane } => lane::exit(lane, ExitReason::Shutdown),
                Action::Kill { lane } => _ = lane::kill(lane),
                Action::Ready => {
                    if let Some(starter) = self.starter.take() {
                        // One that left meanwhile has asked us to end.
                        let _ = starter.answer(Ok(()));
                    }
                }
                Action::Answer { to, reply } => {
                    self.asked -= 1;
                    let _ = to.send(reply);
                }
                Action::Report(report) => {
                    let child = self.children.key(&report.child).and_then(|key| self.children.spec(key));
                    // A start that failed was a restart that has been counted, or the first start.
                    self.shell.report(&report, child.map_or(0, |spec| spec.start().restarts()));
                }
                Action::Exit(ending) => return Some(ending),
            }
        }
        None
    }

    fn start(&mut self, child: ChildKey) {
        let Some(start) = self.children.start_mut(child) else { unreachable!("a child that is started is known") };
        start.adopt(None);
        match start.begin().0 {
            Progress::There(outcome) => self.started(child, outcome.into()),
            Progress::UnderWay(launch) => self.shell.starts.insert(child, launch),
        }
    }

    fn cancel(&mut self, child: ChildKey, how: Shutdown) {
        if let Some(outcome) = self.shell.starts.cancel(now(), child, how) {
            self.started(child, outcome);
        }
    }

    fn started(&mut self, child: ChildKey, outcome: Outcome) {
        match outcome {
            Outcome::Started(lane) => {
                if let Some(role) = self.children.spec(child).and_then(|spec| spec.start().role())
                    && role::fill(role, Some(lane)).is_ok()
                {
                    self.filled.insert(lane, role);
                }
                self.children.handle_started(now(), child, lane);
                if let Some(reason) = self.shell.starts.take_early(lane) {
                    self.exited(lane, reason);
                }
            }
            Outcome::Ignored => self.children.handle_ignored(now(), child),
            Outcome::Failed(reason) => self.children.handle_start_failed(now(), child, reason),
        }
    }

    fn exited(&mut self, lane: Id, reason: ExitReason) {
        if let Some(role) = self.filled.remove(&lane)
            && role::current(role) == Ok(Some(lane))
        {
            // A role that is retired needs no emptying.
            let _ = role::fill(role, None);
        }
        if !self.children.handle_exited(now(), lane, reason) {
            self.shell.note_stranger(lane);
        }
    }

    fn over(self, ending: Ending) -> ExitReason {
        let reason = ending.reason();
        if let Some(starter) = self.starter {
            self.shell.leave_parent();
            // One that left meanwhile needs no answer.
            let _ = starter.answer(Err(match ending {
                Ending::FailedToStart { child, reason } => SupervisorError::FailedToStart { child, reason },
                _ => SupervisorError::Ended(reason.clone()),
            }));
        }
        reason
    }
}
