//! The [`Actor`] trait: a lane written as state and callbacks, and the loop that runs it.
//!
//! The loop is one future of one type; no message is boxed and no callback is called through a table.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use runtime::lane::{self, SpawnError};
use runtime::mailbox::{Inbox, Received};
use runtime::reply::{self, Answer, Answerer};
use runtime::time::Deadline;
use runtime::{Down, Exit, ExitReason, Id};

use crate::address::Address;
use crate::context::Context;
use crate::error::StartError;
use crate::group::Change;

/// What a callback may answer: go on, or end the actor with a reason. `?` turns any error into one.
pub type Outcome = Result<(), ExitReason>;

/// What `init` decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Take messages.
    Ready,
    /// Decline: the lane ends normally, and its starter gets [`StartError::Ignored`].
    Ignore,
}

/// State and callbacks that together are a lane.
///
/// Callbacks run one at a time. While one waits, messages queue.
///
/// ```
/// use laneway_actors::{Actor, Context, Outcome, Reply, start};
///
/// #[derive(Default)]
/// struct Counter(u64);
///
/// enum Msg { Add(u64), Total(Reply<u64>) }
///
/// impl Actor for Counter {
///     type Msg = Msg;
///
///     async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Outcome {
///         match message {
///             Msg::Add(number) => self.0 += number,
///             Msg::Total(reply) => _ = reply.send(self.0),
///         }
///         Ok(())
///     }
/// }
///
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let counter = start(Counter::default()).await?;
/// counter.send(Msg::Add(2)).await?;
/// counter.send(Msg::Add(3)).await?;
/// assert_eq!(counter.ask(Msg::Total).await?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Actor: Send + Sized + 'static {
    /// What it is told.
    type Msg: Send + 'static;

    /// Runs first. Its failure, or its wish not to start, is reported to whoever starts the actor.
    fn init(&mut self, cx: &mut Context<Self::Msg>) -> impl Future<Output = Result<Init, ExitReason>> + Send {
        let _ = cx;
        async { Ok(Init::Ready) }
    }

    /// Runs once `init` is through and the starter has its address, before any message: the place for work that the
    /// starter need not wait for. Does nothing unless it is written.
    fn started(&mut self, cx: &mut Context<Self::Msg>) -> impl Future<Output = Outcome> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Handles a message.
    fn handle(&mut self, message: Self::Msg, cx: &mut Context<Self::Msg>) -> impl Future<Output = Outcome> + Send;

    /// A lane that is watched has ended. Does nothing unless it is written.
    fn down(&mut self, down: Down, cx: &mut Context<Self::Msg>) -> impl Future<Output = Outcome> + Send {
        let _ = (down, cx);
        async { Ok(()) }
    }

    /// An exit signal came, and [`Context::trap_exits`] is on. Does nothing unless it is written. The exit of the
    /// lane that spawned the actor does not come here: it ends the actor with the same reason.
    fn exit(&mut self, exit: Exit, cx: &mut Context<Self::Msg>) -> impl Future<Output = Outcome> + Send {
        let _ = (exit, cx);
        async { Ok(()) }
    }

    /// A group that is watched has changed, see [`Context::monitor_group`]. Does nothing unless it is written.
    fn group(&mut self, change: Change, cx: &mut Context<Self::Msg>) -> impl Future<Output = Outcome> + Send {
        let _ = (change, cx);
        async { Ok(()) }
    }

    /// No message came within the time set by [`Context::idle_after`]. Ends the actor normally unless it is written.
    fn idle(&mut self, cx: &mut Context<Self::Msg>) -> impl Future<Output = Outcome> + Send {
        let _ = cx;
        async { Err(ExitReason::Normal) }
    }

    /// Runs last: after a callback that ended the actor or panicked, after a stop, and after the parent's exit while
    /// trapping. It does not run after a kill, nor after an exit signal that was not trapped. A panic in here replaces
    /// the reason.
    fn stopped(&mut self, reason: &ExitReason, cx: &mut Context<Self::Msg>) -> impl Future<Output = ()> + Send {
        let _ = (reason, cx);
        async {}
    }
}

/// Whom to tell how `init` went.
type Starter = Answerer<Result<Init, ExitReason>>;

/// Runs a callback and catches its panic, so that `stopped` can run. No function, which would have the callback's future
/// twice, as it came and as it is polled, and move it from the one place to the other.
macro_rules! caught {
    ($callback:expr) => {{
        let mut callback = std::pin::pin!($callback);
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| callback.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err::<_, Box<dyn Any + Send>>(payload)),
        })
        .await
    }};
}

/// The loop of an actor.
pub(crate) async fn run<A: Actor>(mut actor: A, inbox: Inbox<A::Msg>, starter: Option<Starter>) -> ExitReason {
    let mut cx = Context::new(inbox);
    let begun = caught!(actor.init(&mut cx)).unwrap_or_else(|payload| Err(lane::panic_reason(payload)));
    cx.reset_scratch();
    let failed = match &begun {
        Ok(Init::Ready) => None,
        Ok(Init::Ignore) => Some(ExitReason::Normal),
        Err(reason) => Some(reason.clone()),
    };
    if let Some(starter) = starter {
        // A starter that left has killed us, which takes effect at the next await.
        let _ = starter.answer(begun);
    }
    if let Some(reason) = failed {
        return reason;
    }
    let reason = serve(&mut actor, &mut cx).await;
    actor.stopped(&reason, &mut cx).await;
    reason
}

/// Handles what comes until something ends the actor: what it was.
async fn serve<A: Actor>(actor: &mut A, cx: &mut Context<A::Msg>) -> ExitReason {
    let mut outcome = caught!(actor.started(cx));
    // Notices of death often come in numbers.
    let mut is_down = false;
    loop {
        cx.reset_scratch();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return reason,
            Err(payload) => return lane::panic_reason(payload),
        }
        if let Some(reason) = cx.take_stop() {
            return reason;
        }
        let more = if is_down { cx.next_down() } else { None };
        let received = match more {
            Some(notified) => Some(Received::Down(notified)),
            None => cx.next().await,
        };
        is_down = matches!(received, Some(Received::Down(_)));
        outcome = match received {
            None => caught!(actor.idle(cx)),
            Some(Received::Message(message)) => caught!(actor.handle(message, cx)),
            Some(Received::Down(notified)) => caught!(actor.down(notified.into_down(), cx)),
            Some(Received::Exit(exit)) if Some(exit.from) == lane::parent() => return exit.reason,
            Some(Received::Exit(exit)) => caught!(actor.exit(exit, cx)),
            Some(Received::Group(changed)) => caught!(actor.group(changed.into_change(), cx)),
            Some(Received::Stop(reason)) => return reason,
            Some(_) => Ok(Ok(())),
        };
    }
}

/// How long `init` may take unless told otherwise.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// The future of [`Spawn::start`](crate::Spawn::start): the actor's address once `init` is through.
#[must_use = "nothing is started before it is awaited"]
pub struct Starting<A: Actor> {
    step: Step<A>,
    timeout: Option<Duration>,
    deadline: Option<Deadline>,
    at: &'static Location<'static>,
    /// For room, where there is none.
    waits: bool,
}

/// What comes of a spawn.
type Spawned<A> = Result<Address<<A as Actor>::Msg>, SpawnError>;

enum Step<A: Actor> {
    Before(lane::Spawn, A),
    /// It waits for room.
    Admission(Pin<Box<dyn Future<Output = Spawned<A>> + Send>>, Answer<Result<Init, ExitReason>>),
    Initialising(Address<A::Msg>, Answer<Result<Init, ExitReason>>),
    /// It did not start; its lane is waited for, so that nothing of it remains.
    Ending(Pin<Box<dyn Future<Output = ExitReason> + Send>>, StartError),
    Done,
}

impl<A: Actor> fmt::Debug for Starting<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starting").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl<A: Actor> Starting<A> {
    #[track_caller]
    pub(crate) fn new(spawn: lane::Spawn, actor: A) -> Starting<A> {
        Starting {
            step: Step::Before(spawn, actor),
            timeout: Some(START_TIMEOUT),
            deadline: None,
            at: Location::caller(),
            waits: false,
        }
    }

    /// How long `init` may take; five seconds by default.
    pub fn timeout(mut self, length: Duration) -> Starting<A> {
        self.timeout = Some(length);
        self
    }

    /// Waits for room under the [memory limit](runtime::Builder::memory_limit), first come, first served, where there is too
    /// little. That counts for no timeout of `init`; [`timeout`](crate::timeout) around all of it bounds the wait.
    pub fn when_admitted(mut self) -> Starting<A> {
        self.waits = true;
        self
    }

    /// Lets `init` take as long as it wants.
    pub fn no_timeout(mut self) -> Starting<A> {
        self.timeout = None;
        self
    }

    /// The lane whose `init` runs; `None` before the first poll, and once the start is over.
    pub fn lane(&self) -> Option<Id> {
        match &self.step {
            Step::Initialising(address, _) => Some(address.id()),
            _ => None,
        }
    }

    fn give_up(&mut self, id: Id, error: StartError) {
        self.step = Step::Ending(Box::pin(lane::join(id)), error);
    }
}

impl<A: Actor> Unpin for Starting<A> {}

impl<A: Actor> Future for Starting<A> {
    type Output = Result<Address<A::Msg>, StartError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.step {
                Step::Before(..) => {
                    let Step::Before(spawn, actor) = std::mem::replace(&mut this.step, Step::Done) else {
                        unreachable!("seen a moment ago");
                    };
                    let (starter, answer) = reply::port();
                    let make = |inbox| run(actor, inbox, Some(starter));
                    if this.waits {
                        let spawning = spawn.spawn_when_admitted(make).at(this.at);
                        this.step = Step::Admission(Box::pin(async { Ok(spawning.await?.mailbox.into()) }), answer);
                        continue;
                    }
                    match spawn.spawn_at(this.at, make) {
                        Ok(lane) => this.step = Step::Initialising(lane.mailbox.into(), answer),
                        Err(error) => return Poll::Ready(Err(error.into())),
                    }
                }
                Step::Admission(spawning, _) => {
                    let spawned = std::task::ready!(spawning.as_mut().poll(cx));
                    let Step::Admission(_, answer) = std::mem::replace(&mut this.step, Step::Done) else {
                        unreachable!("seen a moment ago");
                    };
                    this.step = Step::Initialising(spawned?, answer);
                }
                Step::Initialising(address, answer) => {
                    let address = *address;
                    match answer.poll_answer(cx) {
                        Poll::Ready(Ok(Ok(Init::Ready))) => {
                            this.step = Step::Done;
                            return Poll::Ready(Ok(address));
                        }
                        Poll::Ready(Ok(Ok(Init::Ignore))) => this.give_up(address.id(), StartError::Ignored),
                        Poll::Ready(Ok(Err(reason))) => this.give_up(address.id(), StartError::Failed(reason)),
                        Poll::Ready(Err(reply::NoAnswer::Ended(reason))) => {
                            this.give_up(address.id(), StartError::Failed(reason));
                        }
                        Poll::Ready(Err(_)) => this.give_up(address.id(), StartError::Failed(ExitReason::NoProc)),
                        Poll::Pending => {
                            let Some(length) = this.timeout else { return Poll::Pending };
                            let deadline = this.deadline.get_or_insert_with(|| Deadline::after(length));
                            std::task::ready!(deadline.poll_passed(cx));
                            address.kill();
                            this.give_up(address.id(), StartError::Timeout(length));
                        }
                    }
                }
                Step::Ending(ended, error) => {
                    std::task::ready!(ended.as_mut().poll(cx));
                    let error = error.clone();
                    this.step = Step::Done;
                    return Poll::Ready(Err(error));
                }
                Step::Done => panic!("a start was polled after it was ready"),
            }
        }
    }
}

impl<A: Actor> Drop for Starting<A> {
    fn drop(&mut self) {
        if let Step::Initialising(address, _) = &self.step {
            address.kill();
        }
    }
}
