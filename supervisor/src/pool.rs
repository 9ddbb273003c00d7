//! [`DynamicSupervisor`]: the lane that starts any number of children of one spec.
//!
//! Owns: the words by which it is built and told, and its lane. [`DynamicChildren`] decides. Starts that take time go on
//! side by side, up to [`STARTS_MAX`] of them; many children are stopped a slice at a time, so that other lanes run.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use actors::{Actor, Address, Lane, Reply};
use runtime::mailbox::{Inbox, NotAMailbox};
use runtime::{ExitReason, Id, IntoExit, StaleId, lane};

use crate::child_spec::{ChildSpec, ChildSpecBuilder, Restart, Shutdown};
use crate::dynamic::{DynamicAction, DynamicChildren, DynamicFlags, StartKey};
use crate::shell::{Answered, COMMANDS_MAX, CommandError, Input, Shell, SupervisorError, now, shut_down};
use crate::start::{Begin, Begun, Outcome, Place, Progress, Ties, guarded};
use crate::strategy::{AutoShutdown, ChildCounts, Ending};
use crate::supervisor::spawn_options;

/// The most starts that go on side by side; others wait in line.
pub const STARTS_MAX: usize = 64;
/// The most lanes that are asked to end between two polls.
const SLICE: usize = 256;

/// A dynamic supervisor that runs: children of one spec, each started with an `A` of its own and taking messages of type
/// `M`. 8 bytes, `Copy`, checked at every use.
///
/// Children have no order and no ids but their lanes'. They are temporary unless said otherwise, and are stopped side by
/// side. Commands have no timeout.
///
/// ```
/// use actors::{Lane, Reply, Runtime};
/// use laneway_supervisor::DynamicSupervisor;
///
/// let runtime = Runtime::builder().build()?;
/// runtime.block_on(async {
///     let greeters = DynamicSupervisor::lane("greeter", |greeting: &'static str| {
///         async move |mut lane: Lane<(&'static str, Reply<String>)>| {
///             while let Some((whom, reply)) = lane.recv().await {
///                 let _ = reply.send(format!("{greeting}, {whom}"));
///             }
///         }
///     })
///     .start()?;
///     let polite = greeters.start_child("Good day").await?;
///     let short = greeters.start_child("Hi").await?;
///     assert_eq!(polite.ask(|reply| ("Joe", reply)).await?, "Good day, Joe");
///     assert_eq!(short.ask(|reply| ("Mike", reply)).await?, "Hi, Mike");
///     assert_eq!(greeters.count_children().await?.active, 2);
///     greeters.shutdown().await;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DynamicSupervisor<A, M> {
    address: Address<Message<A>>,
    children_take: PhantomData<fn(M)>,
}

enum Message<A> {
    Start(A, Reply<Answered>),
    Terminate(Id, Reply<Answered>),
    List(Reply<Vec<Id>>),
    Count(Reply<ChildCounts>),
}

impl<A, M> Clone for DynamicSupervisor<A, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, M> Copy for DynamicSupervisor<A, M> {}

impl<A, M> PartialEq for DynamicSupervisor<A, M> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl<A, M> Eq for DynamicSupervisor<A, M> {}

impl<A: Send + 'static, M> fmt::Debug for DynamicSupervisor<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamicSupervisor({})", self.id())
    }
}

impl<A: Send + 'static, M> From<DynamicSupervisor<A, M>> for Id {
    fn from(supervisor: DynamicSupervisor<A, M>) -> Id {
        supervisor.id()
    }
}

impl<A: Send + 'static, M> DynamicSupervisor<A, M> {
    /// The bare id.
    pub fn id(self) -> Id {
        self.address.id()
    }
}

impl<A: Send + 'static, M: Send + 'static> DynamicSupervisor<A, M> {
    /// Begins a dynamic supervisor whose children are lanes that run the function that `lane` makes of their argument.
    /// `label` is what they are called in reports.
    pub fn lane<B, F>(label: impl Into<Arc<str>>, mut lane: impl FnMut(A) -> B + Send + 'static) -> DynamicBuilder<A, M>
    where
        B: FnOnce(Lane<M>) -> F,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        DynamicBuilder::new(label.into(), move |ties, argument| ties.lane(lane(argument)))
    }

    /// Begins a dynamic supervisor whose children are the actors that `actor` makes of their argument. `label` is what
    /// they are called in reports.
    pub fn actor<T>(label: impl Into<Arc<str>>, mut actor: impl FnMut(A) -> T + Send + 'static) -> DynamicBuilder<A, M>
    where
        T: Actor<Msg = M>,
    {
        DynamicBuilder::new(label.into(), move |ties, argument| ties.actor(actor(argument)))
    }

    /// The dynamic supervisor whose lane this is.
    ///
    /// # Errors
    /// [`NotAMailbox`]: the lane is gone, or its children are started with something else than an `A`. What they take is
    /// not checked here, but by [`DynamicSupervisor::start_child`].
    pub fn of(id: Id) -> Result<DynamicSupervisor<A, M>, NotAMailbox> {
        Ok(DynamicSupervisor { address: Address::of(id)?, children_take: PhantomData })
    }

    /// The dynamic supervisor of this name; `Ok(None)` where there is no such lane now.
    ///
    /// # Errors
    /// As for [`DynamicSupervisor::of`].
    pub fn whereis(name: &str) -> Result<Option<DynamicSupervisor<A, M>>, NotAMailbox> {
        let address = actors::whereis(name)?;
        Ok(address.map(|address| DynamicSupervisor { address, children_take: PhantomData }))
    }

    /// Starts one more child.
    ///
    /// # Errors
    /// [`CommandError`]; the child is not kept, and the argument is dropped.
    ///
    /// # Cancellation
    /// Dropped before it is ready, the future leaves open whether the child is started.
    pub async fn start_child(self, argument: A) -> Result<Address<M>, CommandError> {
        let started = self.address.ask(|reply| Message::Start(argument, reply)).no_timeout().await??;
        let id = started.ok_or(CommandError::Ignored)?;
        Address::of(id).map_err(|_| CommandError::Gone(id))
    }

    /// Ends the child with this lane, or the one that is being started in its place, for good.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn terminate_child(self, child: impl Into<Id>) -> Result<(), CommandError> {
        let child = child.into();
        self.address.ask(|reply| Message::Terminate(child, reply)).no_timeout().await??;
        Ok(())
    }

    /// The lanes of the children, in no order.
    ///
    /// # Errors
    /// [`CommandError::Supervisor`].
    pub async fn which_children(self) -> Result<Vec<Id>, CommandError> {
        Ok(self.address.ask(Message::List).no_timeout().await?)
    }

    /// How many children there are.
    ///
    /// # Errors
    /// [`CommandError::Supervisor`].
    pub async fn count_children(self) -> Result<ChildCounts, CommandError> {
        Ok(self.address.ask(Message::Count).no_timeout().await?)
    }

    /// Asks the supervisor to end its children, side by side, and then itself, with [`ExitReason::Shutdown`].
    ///
    /// # Errors
    /// It was gone.
    pub fn stop(self) -> Result<(), StaleId> {
        lane::stop(self.id(), ExitReason::Shutdown)
    }

    /// As [`DynamicSupervisor::stop`], and waits until the supervisor is gone: why it ended, [`ExitReason::NoProc`]
    /// where it was gone before.
    pub async fn shutdown(self) -> ExitReason {
        shut_down(self.id()).await
    }
}

/// A [`DynamicSupervisor`] in the making.
#[must_use = "nothing is started before `start`"]
pub struct DynamicBuilder<A, M> {
    name: Option<Arc<str>>,
    flags: DynamicFlags,
    spec: ChildSpecBuilder<Recipe<A>>,
    children_take: PhantomData<fn(M)>,
}

type Make<A> = Box<dyn FnMut(&Ties, A) -> Begun + Send>;

/// How children are made of arguments.
struct Recipe<A> {
    ties: Ties,
    begin: Make<A>,
    /// Where children are started again, and so need their argument again.
    copy: Option<fn(&A) -> A>,
    /// Restarts that were begun, of all children together.
    restarts: u64,
}

impl<A, M> fmt::Debug for DynamicBuilder<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicBuilder").field("flags", &self.flags).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl<A: Send + 'static, M: Send + 'static> DynamicBuilder<A, M> {
    fn new(label: Arc<str>, begin: impl FnMut(&Ties, A) -> Begun + Send + 'static) -> DynamicBuilder<A, M> {
        let recipe = Recipe { ties: Ties::default(), begin: Box::new(begin), copy: None, restarts: 0 };
        DynamicBuilder {
            name: None,
            flags: DynamicFlags::default(),
            spec: ChildSpec::worker(label, recipe).restart(Restart::Temporary),
            children_take: PhantomData,
        }
    }

    /// When children are started again, with the argument that they had; [`Restart::Temporary`] by default.
    pub fn restart(mut self, restart: Restart) -> DynamicBuilder<A, M>
    where
        A: Clone,
    {
        self.spec.start_mut().copy = (restart != Restart::Temporary).then_some(A::clone);
        self.spec = self.spec.restart(restart);
        self
    }

    /// How children are ended, or how long they may take; 5 s by default.
    pub fn shutdown(mut self, shutdown: impl Into<Shutdown>) -> DynamicBuilder<A, M> {
        self.spec = self.spec.shutdown(shutdown);
        self
    }

    /// Whether the children's own ends may end the supervisor; false by default.
    pub fn significant(mut self, significant: bool) -> DynamicBuilder<A, M> {
        self.spec = self.spec.significant(significant);
        self
    }

    /// The most messages that may be queued for a child, from 1 to 4095; 1024 by default.
    pub fn mailbox(mut self, bound: u32) -> DynamicBuilder<A, M> {
        self.spec.start_mut().ties.change(|spawn| spawn.mailbox(bound));
        self
    }

    /// The budget of memory of each child, in bytes; as large as that of the supervisor's lane by default. See
    /// [`Spawn::memory`](actors::Spawn::memory).
    pub fn memory(mut self, bytes: u64) -> DynamicBuilder<A, M> {
        self.spec.start_mut().ties.change(|spawn| spawn.memory(bytes));
        self
    }

    /// How long an actor's `init` may take, `None` for as long as it wants; 5 s by default.
    pub fn start_timeout(mut self, length: impl Into<Option<Duration>>) -> DynamicBuilder<A, M> {
        self.spec.start_mut().ties.timeout = Some(length.into());
        self
    }

    /// How many restarts, of all children together, within which time are borne; one within 5 s by default.
    pub fn intensity(mut self, restarts: u32, period: Duration) -> DynamicBuilder<A, M> {
        self.flags.intensity = restarts;
        self.flags.period = period;
        self
    }

    /// When the supervisor shuts down by itself; [`AutoShutdown::Never`] by default.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> DynamicBuilder<A, M> {
        self.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// How many children there may be; no limit by default.
    pub fn children_max(mut self, count: usize) -> DynamicBuilder<A, M> {
        self.flags.children_max = count;
        self
    }

    /// Registers the supervisor under a name, by which [`DynamicSupervisor::whereis`] finds it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> DynamicBuilder<A, M> {
        self.name = Some(name.into());
        self
    }

    /// Starts the supervisor, without children. Within a lane it is linked with it, as by
    /// [`SupervisorBuilder::start`](crate::SupervisorBuilder::start).
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub fn start(self) -> Result<DynamicSupervisor<A, M>, SupervisorError> {
        let DynamicBuilder { name, flags, spec, .. } = self;
        let spec = spec.build()?;
        let label = spec.id().clone();
        let children = DynamicChildren::new(flags, spec)?;
        let lane = spawn_options(name).spawn(|inbox| Pool::run(label, inbox, children))?;
        Ok(DynamicSupervisor { address: lane.mailbox.into(), children_take: PhantomData })
    }
}

impl<A: Send + 'static, M: Send + 'static> Begin for DynamicBuilder<A, M> {
    fn begin(self, _: &Place) -> Begun {
        Begun::there(self.start().map(Id::from).map_err(SupervisorError::into))
    }
}

/// The lane of a dynamic supervisor. An argument is taken out of the machine where its child is started only once.
struct Pool<A> {
    shell: Shell<Message<A>, StartKey>,
    children: DynamicChildren<Recipe<A>, Option<A>, Reply<Answered>>,
    /// Starts that wait for those under way.
    in_line: VecDeque<StartKey>,
    /// Lanes that are still to be ended, and whether by a kill.
    sweep: std::vec::IntoIter<Id>,
    sweep_kills: bool,
    /// Commands that wait for their answer.
    asked: usize,
}

impl<A: Send + 'static> Pool<A> {
    async fn run(
        label: Arc<str>,
        inbox: Inbox<Message<A>>,
        children: DynamicChildren<Recipe<A>, Option<A>, Reply<Answered>>,
    ) -> ExitReason {
        let shell = Shell::new(label, inbox);
        let sweep = Vec::new().into_iter();
        let mut pool = Pool { shell, children, in_line: VecDeque::new(), sweep, sweep_kills: false, asked: 0 };
        loop {
            if let Some(ending) = pool.act() {
                return ending.reason();
            }
            let has_room = pool.asked < COMMANDS_MAX;
            let wanted =
                |message: &Message<A>| has_room || !matches!(message, Message::Start(..) | Message::Terminate(..));
            let input = pool.shell.next(pool.children.poll_timeout(), pool.sweep.len() > 0, wanted).await;
            pool.take(input).await;
        }
    }

    async fn take(&mut self, input: Input<Message<A>, StartKey>) {
        let now = now();
        match input {
            Input::Message(Message::Start(argument, reply)) => {
                self.asked += 1;
                self.children.handle_start_child(now, reply, Some(argument));
            }
            Input::Message(Message::Terminate(lane, reply)) => {
                self.asked += 1;
                self.children.handle_terminate_child(now, reply, lane);
            }
            // Whoever asked may have left.
            Input::Message(Message::List(reply)) => _ = reply.send(self.children.lanes().collect()),
            Input::Message(Message::Count(reply)) => _ = reply.send(self.children.count()),
            Input::Exited(exit) => self.exited(exit.from, exit.reason),
            Input::Shutdown(reason) => self.children.handle_shutdown(now, reason),
            Input::Started(start, outcome) => self.started(start, outcome),
            Input::Timeout => {
                self.shell.starts.handle_timeout(now);
                self.children.handle_timeout(now);
            }
            Input::More => {
                if self.sweep.len() > 0 {
                    self.sweep_slice();
                    runtime::yield_now().await;
                }
            }
        }
    }

    /// Carries out what the machine wants.
    fn act(&mut self) -> Option<Ending> {
        loop {
            let Some(action) = self.children.poll_action() else {
                match self.in_line.pop_front_if(|_| self.shell.starts.len() < STARTS_MAX) {
                    Some(start) => self.start(start),
                    None => return None,
                }
                continue;
            };
            match action {
                DynamicAction::Start { start } => self.in_line.push_back(start),
                DynamicAction::CancelStart { start, how } => self.cancel(start, how),
                DynamicAction::Stop { lane } => lane::exit(lane, ExitReason::Shutdown),
                DynamicAction::Kill { lane } => _ = lane::kill(lane),
                DynamicAction::StopAll => self.sweep_all(false),
                DynamicAction::KillAll => self.sweep_all(true),
                DynamicAction::Answer { to, reply } => {
                    self.asked -= 1;
                    let _ = to.send(reply);
                }
                DynamicAction::Report(report) => {
                    self.shell.report(&report, self.children.spec().start().restarts);
                }
                DynamicAction::Exit(ending) => return Some(ending),
            }
        }
    }

    fn start(&mut self, start: StartKey) {
        let copy = self.children.spec().start().copy;
        let argument = self.children.arguments_mut(start).and_then(|argument| match copy {
            Some(copy) => argument.as_ref().map(copy),
            None => argument.take(),
        });
        let Some(argument) = argument else {
            unreachable!("an argument is there until its child was started for good")
        };
        let is_restart = self.children.predecessor(start).is_some();
        let recipe = self.children.start_mut();
        recipe.restarts += u64::from(is_restart);
        let begun = guarded(|| (recipe.begin)(&recipe.ties, argument));
        match begun.map(|begun| begun.0) {
            Ok(Progress::There(outcome)) => self.started(start, outcome.into()),
            Ok(Progress::UnderWay(launch)) => self.shell.starts.insert(start, launch),
            Err(reason) => self.started(start, Outcome::Failed(reason)),
        }
    }

    fn cancel(&mut self, start: StartKey, how: Shutdown) {
        let in_line = self.in_line.iter().position(|&waiting| waiting == start);
        let outcome = match in_line.and_then(|at| self.in_line.remove(at)) {
            Some(_) => Some(Outcome::Failed(ExitReason::Shutdown)),
            None => self.shell.starts.cancel(now(), start, how),
        };
        if let Some(outcome) = outcome {
            self.started(start, outcome);
        }
    }

    fn started(&mut self, start: StartKey, outcome: Outcome) {
        match outcome {
            Outcome::Started(lane) => {
                self.children.handle_started(now(), start, lane);
                if let Some(reason) = self.shell.starts.take_early(lane) {
                    self.exited(lane, reason);
                }
            }
            Outcome::Ignored => self.children.handle_ignored(now(), start),
            Outcome::Failed(reason) => self.children.handle_start_failed(now(), start, reason),
        }
    }

    fn exited(&mut self, lane: Id, reason: ExitReason) {
        if !self.children.handle_exited(now(), lane, reason) {
            self.shell.note_stranger(lane);
        }
    }

    fn sweep_all(&mut self, kills: bool) {
        self.sweep = self.children.lanes().collect::<Vec<_>>().into_iter();
        self.sweep_kills = kills;
    }

    fn sweep_slice(&mut self) {
        for lane in self.sweep.by_ref().take(SLICE) {
            if self.sweep_kills {
                lane::kill(lane);
            } else {
                lane::exit(lane, ExitReason::Shutdown);
            }
        }
    }
}
