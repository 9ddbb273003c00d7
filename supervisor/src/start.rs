//! How children come to life: what a spec starts, and the starts that are under way.
//!
//! Owns: [`ChildStart`], the ways to write one, and `Starts`, which sees each start through. Knows nothing of
//! strategies.
//!
//! # Invariants
//! 1. A child is spawned while its supervisor's lane runs, and linked with it before it can do anything.
//! 2. Each start has one outcome, also after it was cancelled.
//! 3. The end of a child is told after the outcome of its start: one that comes earlier is held back.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actors::{Actor, Lane, Role, Spawn, StartError, Starting};
use parking_lot::Mutex;
use runtime::{Exit, ExitReason, Id, IntoExit, lane, role};

use crate::child_spec::{ChildSpec, ChildSpecBuilder, Shutdown, SpecError};

/// A start under way.
pub(crate) trait Launch: Send {
    fn poll_launched(&mut self, cx: &mut Context<'_>) -> Poll<Result<Id, StartError>>;

    /// The lane that is being started, where it is there and known.
    fn lane(&self) -> Option<Id>;
}

impl<A: Actor> Launch for Starting<A> {
    fn poll_launched(&mut self, cx: &mut Context<'_>) -> Poll<Result<Id, StartError>> {
        Pin::new(self).poll(cx).map_ok(Id::from)
    }

    fn lane(&self) -> Option<Id> {
        Starting::lane(self)
    }
}

/// The start of whoever wrote a start function.
struct Foreign(Pin<Box<dyn Future<Output = Result<Id, StartError>> + Send>>);

impl Launch for Foreign {
    fn poll_launched(&mut self, cx: &mut Context<'_>) -> Poll<Result<Id, StartError>> {
        let started = self.0.as_mut().poll(cx);
        if let Poll::Ready(Ok(id)) = started {
            // Whoever wrote it may have forgotten; a second link changes nothing. A supervisor is a lane.
            let _ = lane::link(id);
        }
        started
    }

    fn lane(&self) -> Option<Id> {
        None
    }
}

/// A start that has begun.
pub struct Begun(pub(crate) Progress);

pub(crate) enum Progress {
    There(Result<Id, StartError>),
    UnderWay(Box<dyn Launch>),
}

impl Begun {
    pub(crate) fn there(outcome: Result<Id, StartError>) -> Begun {
        Begun(Progress::There(outcome))
    }

    pub(crate) fn under_way(launch: impl Launch + 'static) -> Begun {
        Begun(Progress::UnderWay(Box::new(launch)))
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Progress::There(outcome) => f.debug_tuple("There").field(outcome).finish(),
            Progress::UnderWay(launch) => f.debug_tuple("UnderWay").field(&launch.lane()).finish(),
        }
    }
}

/// Where in a tree a child is started.
#[derive(Clone, Debug, Default)]
pub struct Place(pub(crate) Arc<Keeper>);

/// Retires roles once nobody will fill them any more.
#[derive(Debug, Default)]
pub(crate) struct Keeper(Mutex<BTreeSet<Id>>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.get_mut().iter().copied().for_each(role::retire);
    }
}

/// What the start function of a child may give: a future of a lane, or a supervisor that is to be started.
pub trait Begin {
    /// Begins the start; called in the lane of the supervisor.
    fn begin(self, place: &Place) -> Begun;
}

impl<F, T, E> Begin for F
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Id>,
    E: Into<StartError>,
{
    fn begin(self, _: &Place) -> Begun {
        Begun::under_way(Foreign(Box::pin(async move { self.await.map(T::into).map_err(E::into) })))
    }
}

/// How a supervisor starts one child: what all ways to write a spec end in.
pub struct ChildStart {
    begin: Box<dyn FnMut(&Place) -> Begun + Send>,
    role: Option<Id>,
    /// The child's id.
    child: Arc<str>,
    place: Place,
    starts: u64,
}

impl ChildStart {
    fn new(child: Arc<str>, role: Option<Id>, begin: impl FnMut(&Place) -> Begun + Send + 'static) -> ChildStart {
        ChildStart { begin: Box::new(begin), role, child, place: Place::default(), starts: 0 }
    }

    /// From now on the child is this supervisor's. Below a supervisor that may be started again its role is kept until
    /// that one's spec is gone.
    pub(crate) fn adopt(&mut self, place: Option<&Place>) {
        if let Some(place) = place {
            self.place = place.clone();
        }
        self.place.0.0.lock().extend(self.role);
    }

    pub(crate) fn begin(&mut self) -> Begun {
        self.starts += 1;
        if self.role.is_some_and(|role| role::current(role).is_err()) {
            // Those who know the child by its role would never reach it.
            let retired = ExitReason::error(format_args!("the role of child {:?} is retired", self.child));
            return Begun::there(Err(StartError::Failed(retired)));
        }
        guarded(|| (self.begin)(&self.place)).unwrap_or_else(|reason| Begun::there(Err(StartError::Failed(reason))))
    }

    pub(crate) fn role(&self) -> Option<Id> {
        self.role
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }
}

impl fmt::Debug for ChildStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildStart").field("role", &self.role).field("starts", &self.starts).finish_non_exhaustive()
    }
}

/// How a lane or an actor that takes messages of type `M` is started as a child.
pub struct LaneStart<M> {
    ties: Ties,
    begin: Box<dyn FnMut(&Ties) -> Begun + Send>,
    role: Option<Id>,
    takes: PhantomData<fn(M)>,
}

/// How a child is spawned.
#[derive(Clone, Debug)]
pub(crate) struct Ties {
    pub(crate) spawn: Spawn,
    pub(crate) timeout: Option<Option<Duration>>,
}

impl Default for Ties {
    fn default() -> Ties {
        Ties { spawn: Spawn::new().link(), timeout: None }
    }
}

impl Ties {
    pub(crate) fn change(&mut self, f: impl FnOnce(Spawn) -> Spawn) {
        self.spawn = f(std::mem::take(&mut self.spawn));
    }

    pub(crate) fn lane<M, F>(&self, body: impl FnOnce(Lane<M>) -> F) -> Begun
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        Begun::there(self.spawn.clone().spawn(body).map(Id::from).map_err(StartError::from))
    }

    pub(crate) fn actor<A: Actor>(&self, actor: A) -> Begun {
        let starting = self.spawn.clone().start(actor);
        Begun::under_way(match self.timeout {
            None => starting,
            Some(None) => starting.no_timeout(),
            Some(Some(length)) => starting.timeout(length),
        })
    }
}

impl<M> fmt::Debug for LaneStart<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneStart").field("ties", &self.ties).field("role", &self.role).finish_non_exhaustive()
    }
}

impl ChildSpec<ChildStart> {
    /// Begins the spec of an actor: each start makes a new one, and is over when its `init` is.
    ///
    /// ```
    /// use actors::{Actor, Context, Outcome};
    /// use laneway_supervisor::{ChildSpec, Restart};
    ///
    /// #[derive(Default)]
    /// struct Cache;
    ///
    /// impl Actor for Cache {
    ///     type Msg = u32;
    ///     async fn handle(&mut self, _: u32, _: &mut Context<u32>) -> Outcome { Ok(()) }
    /// }
    ///
    /// let spec = ChildSpec::actor("cache", Cache::default).restart(Restart::Transient).mailbox(64);
    /// assert_eq!(&**spec.build()?.id(), "cache");
    /// # Ok::<(), laneway_supervisor::SpecError>(())
    /// ```
    pub fn actor<A: Actor>(
        id: impl Into<Arc<str>>,
        mut actor: impl FnMut() -> A + Send + 'static,
    ) -> ChildSpecBuilder<LaneStart<A::Msg>> {
        LaneStart::spec(id.into(), move |ties| ties.actor(actor()))
    }

    /// Begins the spec of a lane that runs a function: each start makes a new one by calling `lane`.
    ///
    /// ```
    /// use actors::Lane;
    /// use laneway_supervisor::ChildSpec;
    ///
    /// let spec = ChildSpec::lane("sink", || async |mut lane: Lane<u32>| while lane.recv().await.is_some() {});
    /// assert_eq!(&**spec.build()?.id(), "sink");
    /// # Ok::<(), laneway_supervisor::SpecError>(())
    /// ```
    pub fn lane<M, B, F>(
        id: impl Into<Arc<str>>,
        mut lane: impl FnMut() -> B + Send + 'static,
    ) -> ChildSpecBuilder<LaneStart<M>>
    where
        M: Send + 'static,
        B: FnOnce(Lane<M>) -> F,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        LaneStart::spec(id.into(), move |ties| ties.lane(lane()))
    }
}

impl<M> LaneStart<M> {
    fn spec(id: Arc<str>, begin: impl FnMut(&Ties) -> Begun + Send + 'static) -> ChildSpecBuilder<LaneStart<M>> {
        let start = LaneStart { ties: Ties::default(), begin: Box::new(begin), role: None, takes: PhantomData };
        ChildSpec::worker(id, start)
    }
}

impl<M: Send + 'static> ChildSpecBuilder<LaneStart<M>> {
    /// Gives each incarnation of the child this role in turn.
    ///
    /// The role is vacant from the child's end to the end of its next start, and retired once there will be none: when
    /// the child is deleted, and when its supervisor is gone for good. A supervisor that is a child itself keeps the
    /// roles of the children that it was built with until its own spec is gone. So a role is for one child: it must not
    /// be given to a second, nor to the next child of the same id. A child whose role is retired when it is started, or
    /// started again, fails to start.
    pub fn role(mut self, role: Role<M>) -> ChildSpecBuilder<LaneStart<M>> {
        self.start_mut().role = Some(role.id());
        self
    }

    /// Registers each incarnation of the child under a name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> ChildSpecBuilder<LaneStart<M>> {
        self.start_mut().ties.change(|spawn| spawn.name(name));
        self
    }

    /// The most messages that may be queued for the child, from 1 to 4095; 1024 by default. Another bound is refused
    /// when the spec is built.
    pub fn mailbox(mut self, bound: u32) -> ChildSpecBuilder<LaneStart<M>> {
        self.note_mailbox(bound);
        self.start_mut().ties.change(|spawn| spawn.mailbox(bound));
        self
    }

    /// The budget of memory of each incarnation of the child, in bytes; as large as that of the supervisor's lane by
    /// default. See [`Spawn::memory`].
    pub fn memory(mut self, bytes: u64) -> ChildSpecBuilder<LaneStart<M>> {
        self.start_mut().ties.change(|spawn| spawn.memory(bytes));
        self
    }

    /// How long an actor's `init` may take, `None` for as long as it wants; 5 s by default. Without effect on function
    /// lanes, which have no `init`.
    pub fn start_timeout(mut self, length: impl Into<Option<Duration>>) -> ChildSpecBuilder<LaneStart<M>> {
        self.start_mut().ties.timeout = Some(length.into());
        self
    }
}

/// What a supervisor takes as a child: a spec by [`ChildSpec::actor`] or [`ChildSpec::lane`], or by
/// [`ChildSpec::worker`] or [`ChildSpec::supervisor`] with a start function.
///
/// A start function is called in the supervisor's lane for each start, and gives what [`Begin`] says: most often
/// a future of an [`Address`](actors::Address), which is polled in that lane too, and which, dropped before it is ready,
/// must end what it has begun.
pub trait IntoChild {
    /// The spec.
    ///
    /// # Errors
    /// As for [`ChildSpecBuilder::build`].
    fn into_child(self) -> Result<ChildSpec<ChildStart>, SpecError>;
}

impl IntoChild for ChildSpec<ChildStart> {
    fn into_child(self) -> Result<ChildSpec<ChildStart>, SpecError> {
        Ok(self)
    }
}

impl<M: 'static> IntoChild for ChildSpecBuilder<LaneStart<M>> {
    fn into_child(self) -> Result<ChildSpec<ChildStart>, SpecError> {
        let id = self.id().clone();
        self.map_start(|LaneStart { ties, mut begin, role, .. }| ChildStart::new(id, role, move |_| begin(&ties)))
            .build()
    }
}

impl<F, B> IntoChild for ChildSpecBuilder<F>
where
    F: FnMut() -> B + Send + 'static,
    B: Begin,
{
    fn into_child(self) -> Result<ChildSpec<ChildStart>, SpecError> {
        let id = self.id().clone();
        self.map_start(|mut start| ChildStart::new(id, None, move |place| start().begin(place))).build()
    }
}

/// Runs what a user wrote; a panic is why it failed.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, ExitReason> {
    catch_unwind(AssertUnwindSafe(f)).map_err(lane::panic_reason)
}

/// What came of a start.
pub(crate) enum Outcome {
    Started(Id),
    Ignored,
    Failed(ExitReason),
}

impl From<Result<Id, StartError>> for Outcome {
    fn from(result: Result<Id, StartError>) -> Outcome {
        match result {
            Ok(id) => Outcome::Started(id),
            Err(StartError::Ignored) => Outcome::Ignored,
            Err(StartError::Failed(reason)) => Outcome::Failed(reason),
            Err(error) => Outcome::Failed(ExitReason::error(error)),
        }
    }
}

/// The starts of one supervisor that are under way.
pub(crate) struct Starts<K> {
    under_way: Vec<UnderWay<K>>,
    early: Vec<Exit>,
}

struct UnderWay<K> {
    key: K,
    launch: Box<dyn Launch>,
    /// When the lane is killed, where it was asked to end.
    deadline: Option<Duration>,
}

impl<K> Default for Starts<K> {
    fn default() -> Starts<K> {
        Starts { under_way: Vec::new(), early: Vec::new() }
    }
}

impl<K: Copy + Eq> Starts<K> {
    pub(crate) fn insert(&mut self, key: K, launch: Box<dyn Launch>) {
        self.under_way.push(UnderWay { key, launch, deadline: None });
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Ends what there is of a start. Its outcome, where there is one at once: a lane that nobody knows cannot be asked.
    pub(crate) fn cancel(&mut self, now: Duration, key: K, how: Shutdown) -> Option<Outcome> {
        let at = self.under_way.iter().position(|start| start.key == key)?;
        let start = &mut self.under_way[at];
        let Some(lane) = start.launch.lane() else {
            drop(self.under_way.swap_remove(at));
            self.forget(None);
            return Some(Outcome::Failed(ExitReason::Shutdown));
        };
        match how {
            Shutdown::Brutal => _ = lane::kill(lane),
            Shutdown::Infinite => lane::exit(lane, ExitReason::Shutdown),
            Shutdown::Timeout(limit) => {
                start.deadline = now.checked_add(limit);
                lane::exit(lane, ExitReason::Shutdown);
            }
        }
        None
    }

    /// The next outcome.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(K, Outcome)> {
        for at in 0..self.under_way.len() {
            let start = &mut self.under_way[at];
            let lane = start.launch.lane();
            let outcome = match guarded(|| start.launch.poll_launched(cx)) {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(result)) => result.into(),
                Err(reason) => Outcome::Failed(reason),
            };
            let key = self.under_way.swap_remove(at).key;
            if !matches!(outcome, Outcome::Started(_)) {
                self.forget(lane);
            }
            return Poll::Ready((key, outcome));
        }
        Poll::Pending
    }

    /// Keeps the end of a lane that may be about to turn out a child; false where it cannot be one.
    pub(crate) fn hold(&mut self, exit: &Exit) -> bool {
        let may_be = self.under_way.iter().any(|start| start.launch.lane().is_none_or(|lane| lane == exit.from));
        if may_be {
            self.early.push(exit.clone());
        }
        may_be
    }

    /// How this lane, which has just turned out a child, has ended meanwhile.
    pub(crate) fn take_early(&mut self, lane: Id) -> Option<ExitReason> {
        let at = self.early.iter().position(|exit| exit.from == lane);
        let exit = at.map(|at| self.early.swap_remove(at));
        self.forget(None);
        exit.map(|exit| exit.reason)
    }

    fn forget(&mut self, lane: Option<Id>) {
        if self.under_way.is_empty() {
            self.early.clear();
        } else {
            self.early.retain(|exit| Some(exit.from) != lane);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.under_way.iter().filter_map(|start| start.deadline).min()
    }

    /// Kills what was asked to end and has not by now.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        for start in &mut self.under_way {
            if start.deadline.is_some_and(|deadline| deadline <= now) {
                start.deadline = None;
                if let Some(lane) = start.launch.lane() {
                    lane::kill(lane);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_no_mailbox_may_have_is_refused_before_anything_starts() {
        let child = |bound| ChildSpec::lane("w", || async |_: Lane<()>| ()).mailbox(bound);
        for bound in [0, 4096] {
            let refused = SpecError::BadMailbox { id: "w".into(), bound };
            assert_eq!(child(bound).build().unwrap_err(), refused);
            assert_eq!(child(bound).into_child().unwrap_err(), refused);
        }
        assert!(child(4095).into_child().is_ok());
        assert!(child(0).mailbox(1).into_child().is_ok(), "the last word counts");
    }
}
