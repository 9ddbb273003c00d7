//! [`Context`]: what a callback of an actor may do.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use runtime::arena::{self, Heap, Scratch};
use runtime::lane::{self, DemonitorError, NameError, NotInLane, Resources};
use runtime::mailbox::{Inbox, Received};
use runtime::time::Deadline;
use runtime::{ExitReason, Id, MonitorRef, Notified};

use crate::address::Address;
use crate::group::GroupRef;

/// An actor's own view of the lane that it is.
pub struct Context<M> {
    inbox: Inbox<M>,
    stop: Option<ExitReason>,
    idle_after: Option<Duration>,
    scratch: Scratch,
}

impl<M> fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("inbox", &self.inbox).field("idle_after", &self.idle_after).finish()
    }
}

impl<M: Send + 'static> Context<M> {
    pub(crate) fn new(inbox: Inbox<M>) -> Context<M> {
        Context { inbox, stop: None, idle_after: None, scratch: Scratch::new() }
    }

    /// The actor's id.
    pub fn id(&self) -> Id {
        self.inbox.mailbox().id()
    }

    /// The actor's own address.
    pub fn address(&self) -> Address<M> {
        self.inbox.mailbox().into()
    }

    /// The lane that spawned the actor.
    pub fn parent(&self) -> Option<Id> {
        lane::parent()
    }

    /// Ends the actor normally once the present callback returns; what is queued is dropped.
    pub fn stop(&mut self) {
        self.stop_with(ExitReason::Normal);
    }

    /// Ends the actor with this reason once the present callback returns; what is queued is dropped.
    pub fn stop_with(&mut self, reason: ExitReason) {
        self.stop.get_or_insert(reason);
    }

    /// Calls [`Actor::idle`](crate::Actor::idle) whenever nothing came for this long; `None`, the default: never.
    pub fn idle_after(&mut self, length: Option<Duration>) {
        self.idle_after = length;
    }

    /// Watches a lane: its end comes to [`Actor::down`](crate::Actor::down). One that is gone says so with
    /// [`ExitReason::NoProc`].
    pub fn monitor(&mut self, id: impl Into<Id>) -> MonitorRef {
        self.inside(lane::monitor(id.into()), MonitorRef::of_nothing)
    }

    /// Watches the lane that has `name` now, as [`Context::monitor`]; who has the name later does not matter. `None`
    /// where nobody has it.
    pub fn monitor_name(&mut self, name: &str) -> Option<MonitorRef> {
        lane::whereis(name).map(|id| self.monitor(id))
    }

    /// As [`Context::monitor`]; the notice brings the [`ExitReceipt`](runtime::ExitReceipt).
    pub fn monitor_with_receipt(&mut self, id: impl Into<Id>) -> MonitorRef {
        self.inside(lane::monitor_with_receipt(id.into()), MonitorRef::of_nothing)
    }

    /// Takes a monitor back; no notice of it comes after this. True if it stood.
    ///
    /// # Errors
    /// The monitor is another lane's.
    pub fn demonitor(&mut self, reference: MonitorRef) -> Result<bool, DemonitorError> {
        let stood = lane::demonitor(reference)?;
        self.inbox.flush_down(reference);
        Ok(stood)
    }

    /// Watches a group: each change of it after this comes to [`Actor::group`](crate::Actor::group). The members as they
    /// are now come with the answer, those of all types; see [`runtime::group::monitor`].
    pub fn monitor_group(&mut self, name: &str) -> (GroupRef, Vec<Id>) {
        self.inside(runtime::group::monitor(name), |me| (GroupRef::of_nothing(me), Vec::new()))
    }

    /// Takes a monitor of a group back; no change of it comes after this. True if it stood.
    ///
    /// # Errors
    /// The monitor is another lane's.
    pub fn demonitor_group(&mut self, reference: GroupRef) -> Result<bool, DemonitorError> {
        let stood = runtime::group::demonitor(reference)?;
        self.inbox.flush_group(reference);
        Ok(stood)
    }

    /// Ties the fates of this actor and a lane; see [`link`](runtime::lane::link).
    pub fn link(&self, id: impl Into<Id>) {
        self.inside(lane::link(id.into()), |_| ());
    }

    /// Takes a link back; it has no effect on this actor after this.
    pub fn unlink(&mut self, id: impl Into<Id>) {
        let id = id.into();
        self.inside(lane::unlink(id), |_| ());
        self.inbox.flush_exit(id);
    }

    /// Lets exit signals come to [`Actor::exit`](crate::Actor::exit), or lets them end the actor, as they do at first.
    pub fn trap_exits(&self, trap: bool) {
        self.inside(lane::trap_exits(trap), |_| ());
    }

    /// What the actor holds now; see [`resources`](runtime::lane::resources).
    pub fn resources(&self) -> Resources {
        self.inside(lane::resources(), Resources::of_nothing)
    }

    /// Gives the actor a name, until it ends or unregisters.
    ///
    /// # Errors
    /// [`NameError::Taken`].
    pub fn register(&self, name: &str) -> Result<(), NameError> {
        lane::register(name)
    }

    /// Gives up a name: true if it was this actor's.
    pub fn unregister(&self, name: &str) -> bool {
        lane::unregister(name)
    }

    /// Memory for the message in hand, or whatever else the callback is about: it is reset when the callback has returned,
    /// so after the reply went out, in O(1).
    ///
    /// ```
    /// use laneway_actors::{Actor, Context, Outcome, Reply, start};
    ///
    /// struct Words;
    ///
    /// impl Actor for Words {
    ///     type Msg = (String, Reply<usize>);
    ///
    ///     async fn handle(&mut self, (text, reply): Self::Msg, cx: &mut Context<Self::Msg>) -> Outcome {
    ///         let scratch = cx.scratch();
    ///         let mut words = scratch.vec();
    ///         words.extend(text.split_whitespace());
    ///         words.sort_unstable();
    ///         words.dedup();
    ///         reply.send(words.len()).ok();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let runtime = laneway_actors::Runtime::builder().build()?;
    /// # runtime.block_on(async {
    /// let words = start(Words).await?;
    /// assert_eq!(words.ask(|reply| ("to be or not to be".into(), reply)).await?, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It borrows the context, so that nothing of it outlives the callback. The actor cannot keep it:
    ///
    /// ```compile_fail
    /// use laneway_actors::{Actor, Context, Outcome};
    ///
    /// struct Keeper(&'static str);
    ///
    /// impl Actor for Keeper {
    ///     type Msg = String;
    ///
    ///     async fn handle(&mut self, text: String, cx: &mut Context<String>) -> Outcome {
    ///         self.0 = cx.scratch().alloc_str(&text);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// and no other lane can have it:
    ///
    /// ```compile_fail
    /// use laneway_actors::{Actor, Context, Lane, Outcome, spawn};
    ///
    /// struct Giver;
    ///
    /// impl Actor for Giver {
    ///     type Msg = String;
    ///
    ///     async fn handle(&mut self, text: String, cx: &mut Context<String>) -> Outcome {
    ///         let text = cx.scratch().alloc_str(&text);
    ///         spawn(move |_: Lane<()>| async move { assert!(!text.is_empty()) })?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// nor can it be sent:
    ///
    /// ```compile_fail,E0521
    /// use laneway_actors::{Actor, Address, Context, Outcome};
    ///
    /// struct Sender(Address<&'static str>);
    ///
    /// impl Actor for Sender {
    ///     type Msg = String;
    ///
    ///     async fn handle(&mut self, text: String, cx: &mut Context<String>) -> Outcome {
    ///         self.0.try_send(cx.scratch().alloc_str(&text)).ok();
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// While something of it is in use, so is the context: what changes that, as [`Context::monitor`], comes before or after.
    #[inline]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The actor's heap: an allocator for collections that its state is made of; see [`Heap`].
    pub fn heap(&self) -> Heap {
        self.inside(arena::heap(), |_| unreachable!("a lane that was taken away has a heap all the same"))
    }

    /// A callback has returned.
    #[inline]
    pub(crate) fn reset_scratch(&mut self) {
        self.scratch.reset();
    }

    /// The next message that `wanted` likes, before any other; those that came earlier stay, in order. `None` where
    /// something else than a message came first, which is then dropped unless it is a wish to stop.
    ///
    /// `wanted` must not call the runtime.
    pub async fn recv_match(&mut self, mut wanted: impl FnMut(&M) -> bool) -> Option<M> {
        match poll_fn(|cx| self.inbox.poll_recv_match(cx, &mut wanted)).await {
            Received::Message(message) => Some(message),
            Received::Stop(reason) => {
                self.stop_with(reason);
                None
            }
            _ => None,
        }
    }

    pub(crate) fn take_stop(&mut self) -> Option<ExitReason> {
        self.stop.take()
    }

    /// The next notice of death, where it is what comes next and lies ready.
    #[inline]
    pub(crate) fn next_down(&mut self) -> Option<Notified> {
        self.inbox.next_down()
    }

    /// What comes next; `None` where the actor was idle for too long.
    pub(crate) async fn next(&mut self) -> Option<Received<M>> {
        let mut idle: Option<Deadline> = None;
        poll_fn(|cx| {
            if let Poll::Ready(received) = self.inbox.poll_recv(cx) {
                return Poll::Ready(Some(received));
            }
            let Some(length) = self.idle_after else { return Poll::Pending };
            idle.get_or_insert_with(|| Deadline::after(length)).poll_passed(cx).map(|()| None)
        })
        .await
    }

    /// What was asked of the lane; `abandoned` in one that was killed while it was stuck here.
    fn inside<T>(&self, result: Result<T, NotInLane>, abandoned: impl FnOnce(Id) -> T) -> T {
        match result {
            Ok(value) => value,
            Err(NotInLane) if lane::is_abandoned() => abandoned(self.id()),
            Err(NotInLane) => panic!("a `Context` is of use only in the actor that it is of, {}", self.id()),
        }
    }
}
