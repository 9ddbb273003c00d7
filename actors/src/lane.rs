//! Function lanes: a lane written as one `async` function over its [`Lane`].

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use runtime::arena::{self, Heap, Scratch};
use runtime::lane::{self, NameError, NotInLane, Resources};
use runtime::mailbox::{Inbox, Received};
use runtime::time::{self, Elapsed};
use runtime::{Down, Exit, ExitReason, Id, MonitorRef};

use crate::address::Address;
use crate::group::{Change, GroupRef};

mod downs;
mod groups;
mod receiving;

use downs::{Downs, MakeDown};
use groups::Groups;

/// A lane as its own code knows it: what it receives, whom it watches, what it is called.
///
/// What comes in order with messages and is no `M`, as the end of a lane that is watched, is turned into one where it
/// is asked for.
///
/// ```
/// use laneway_actors::{Lane, spawn};
/// enum Msg { Died(String) }
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let watcher = spawn(async |mut lane: Lane<Msg>| {
///     let short = spawn(async |_: Lane<()>| panic!("on purpose")).unwrap();
///     lane.monitor(short, |down| Msg::Died(down.reason.to_string()));
///     let Some(Msg::Died(why)) = lane.recv().await else { return };
///     assert!(why.contains("no such lane") || why.contains("on purpose"));
/// })?;
/// # laneway_actors::join(watcher.id()).await;
/// # Ok::<(), laneway_actors::SpawnError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is as large as an id: what notices turn into is kept with the lane, and only the lane itself can say it.
pub struct Lane<M> {
    inbox: Inbox<M>,
}

type MakeExit<M> = Box<dyn FnMut(Exit) -> M + Send>;

/// What most lanes do not need: what the runtime keeps for us with the lane.
struct More<M> {
    downs: Downs<M>,
    exits: Option<MakeExit<M>>,
    groups: Groups<M>,
}

impl<M> Default for More<M> {
    fn default() -> More<M> {
        More { downs: Downs::default(), exits: None, groups: Groups::default() }
    }
}

/// The future of [`Lane::recv`].
#[derive(Debug)]
#[must_use = "nothing is received before it is awaited"]
pub struct Recv<'a, M>(&'a mut Lane<M>);

impl<M: Send + 'static> Future for Recv<'_, M> {
    type Output = Option<M>;

    // Always: with it the whole way of a message out of a mailbox is part of the lane's own code.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.get_mut().0.poll_recv(cx)
    }
}

impl<M> fmt::Debug for Lane<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

impl<M: Send + 'static> Lane<M> {
    pub(crate) fn new(inbox: Inbox<M>) -> Lane<M> {
        Lane { inbox }
    }

    /// The lane's id.
    pub fn id(&self) -> Id {
        self.inbox.mailbox().id()
    }

    /// The lane's own address.
    pub fn address(&self) -> Address<M> {
        self.inbox.mailbox().into()
    }

    /// The lane that spawned this one.
    pub fn parent(&self) -> Option<Id> {
        lane::parent()
    }

    /// The next message; `None` once somebody asked the lane to stop and all that was queued before is received.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it has taken nothing.
    ///
    /// # Panics
    /// Where another lane than its own polls it; so do all receives.
    pub fn recv(&mut self) -> Recv<'_, M> {
        Recv(self)
    }

    /// As [`Lane::recv`], for those who poll.
    #[inline(always)]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        receiving::poll(&mut self.inbox, cx)
    }

    /// The first message that `wanted` likes; what came before it stays, in order. Notices, as of the end of a lane that
    /// is watched, come out whether wanted or not. `None` once somebody asked the lane to stop: what was skipped until
    /// then is not received any more.
    ///
    /// `wanted` must not call the runtime.
    pub async fn recv_match(&mut self, mut wanted: impl FnMut(&M) -> bool) -> Option<M> {
        let poll = |cx: &mut Context<'_>| {
            receiving::poll_by(&mut self.inbox, cx, |inbox, cx| inbox.poll_recv_match(cx, &mut wanted))
        };
        poll_fn(poll).await
    }

    /// As [`Lane::recv`], but waits no longer than `length`.
    ///
    /// # Errors
    /// [`Elapsed`]: nothing was taken.
    pub async fn recv_timeout(&mut self, length: Duration) -> Result<Option<M>, Elapsed> {
        time::timeout(length, self.recv()).await
    }

    /// The next message if there is one now; notices count where they were asked for as messages.
    pub fn try_recv(&mut self) -> Option<M> {
        loop {
            match self.inbox.try_recv()? {
                Received::Message(message) => return Some(message),
                other => {
                    if let Some(outcome) = receiving::turn_into_message(&mut self.inbox, other) {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Why the lane was asked to stop, once [`Lane::recv`] has said so; `None` also where another lane asks. A lane that
    /// then returns `()` ends with this reason.
    pub fn stop_reason(&self) -> Option<ExitReason> {
        self.inbox.stop_reason()
    }

    /// Watches a lane: its end comes as the message that `message` makes of it. One that is gone says so with
    /// [`ExitReason::NoProc`].
    pub fn monitor(&mut self, id: impl Into<Id>, message: impl FnOnce(Down) -> M + Send + 'static) -> MonitorRef {
        let reference = self.inside(lane::monitor(id.into()), MonitorRef::of_nothing);
        self.on_down(reference, message);
        reference
    }

    /// As [`Lane::monitor`]; the notice brings the [`ExitReceipt`](runtime::ExitReceipt).
    pub fn monitor_with_receipt(
        &mut self,
        id: impl Into<Id>,
        message: impl FnOnce(Down) -> M + Send + 'static,
    ) -> MonitorRef {
        let reference = self.inside(lane::monitor_with_receipt(id.into()), MonitorRef::of_nothing);
        self.on_down(reference, message);
        reference
    }

    /// Watches the lane that has `name` now, as [`Lane::monitor`]; who has the name later does not matter. `None` where
    /// nobody has it.
    pub fn monitor_name(&mut self, name: &str, message: impl FnOnce(Down) -> M + Send + 'static) -> Option<MonitorRef> {
        lane::whereis(name).map(|id| self.monitor(id, message))
    }

    /// Says what the notice of a monitor that stands already, as one from [`Spawn::monitor`](crate::Spawn::monitor),
    /// is turned into.
    ///
    /// # Panics
    /// Outside of the lane that this is.
    pub fn on_down(&mut self, reference: MonitorRef, message: impl FnOnce(Down) -> M + Send + 'static) {
        let message: MakeDown<M> = Box::new(message);
        let before = self.inbox.with_extra(|more: &mut More<M>| more.downs.insert(reference.number, message));
        drop(before);
    }

    /// Takes a monitor back; no notice of it comes after this. True if it stood.
    ///
    /// # Errors
    /// The monitor is another lane's.
    pub fn demonitor(&mut self, reference: MonitorRef) -> Result<bool, lane::DemonitorError> {
        let stood = lane::demonitor(reference)?;
        self.inbox.flush_down(reference);
        let unused = self.inbox.with_extra(|more: &mut More<M>| more.downs.remove(reference.number));
        drop(unused);
        Ok(stood)
    }

    /// Watches a group: each change of it after this comes as the message that `message` makes of it. The members as they
    /// are now come with the answer, those of all types; see [`runtime::group::monitor`].
    ///
    /// ```
    /// use laneway_actors::{Lane, group, spawn};
    /// # let runtime = laneway_actors::Runtime::builder().build()?;
    /// # runtime.block_on(async {
    /// let watcher = spawn(async |mut lane: Lane<group::Change>| {
    ///     let (reference, members) = lane.monitor_group("workers", |change| change);
    ///     assert!(members.is_empty());
    ///     let worker = spawn(async |_: Lane<()>| group::join("workers").unwrap()).unwrap();
    ///     for kind in [group::ChangeKind::Joined, group::ChangeKind::Left] {
    ///         let change = lane.recv().await.unwrap();
    ///         assert_eq!((change.id, change.kind), (worker.id(), kind));
    ///     }
    ///     assert_eq!(lane.demonitor_group(reference), Ok(true));
    /// })?;
    /// # laneway_actors::join(watcher.id()).await;
    /// # Ok::<(), laneway_actors::SpawnError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// Outside of the lane that this is.
    pub fn monitor_group(
        &mut self,
        name: &str,
        message: impl FnMut(Change) -> M + Send + 'static,
    ) -> (GroupRef, Vec<Id>) {
        let nothing = |me| (GroupRef::of_nothing(me), Vec::new());
        let (reference, members) = self.inside(runtime::group::monitor(name), nothing);
        let before =
            self.inbox.with_extra(|more: &mut More<M>| more.groups.insert(reference.number, Box::new(message)));
        drop(before);
        (reference, members)
    }

    /// Takes a monitor of a group back; no change of it comes after this. True if it stood.
    ///
    /// # Errors
    /// The monitor is another lane's.
    pub fn demonitor_group(&mut self, reference: GroupRef) -> Result<bool, lane::DemonitorError> {
        let stood = runtime::group::demonitor(reference)?;
        self.inbox.flush_group(reference);
        let unused = self.inbox.with_extra(|more: &mut More<M>| more.groups.remove(reference.number));
        drop(unused);
        Ok(stood)
    }

    /// Ties the fates of this lane and another; see [`link`](runtime::lane::link).
    pub fn link(&self, id: impl Into<Id>) {
        self.inside(lane::link(id.into()), |_| ());
    }

    /// Takes a link back; it has no effect on this lane after this.
    pub fn unlink(&mut self, id: impl Into<Id>) {
        let id = id.into();
        self.inside(lane::unlink(id), |_| ());
        self.inbox.flush_exit(id);
    }

    /// Traps exit signals: from now on they come as the message that `message` makes of them, and only a kill ends the
    /// lane from outside.
    pub fn trap_exits(&mut self, message: impl FnMut(Exit) -> M + Send + 'static) {
        self.inside(lane::trap_exits(true), |_| ());
        let message: MakeExit<M> = Box::new(message);
        let before = self.inbox.with_extra(|more: &mut More<M>| more.exits.replace(message));
        drop(before);
    }

    /// Memory for a while: what is put in it is had back all at once, by [`Scratch::reset`] or as it is dropped. Each call gives
    /// one of its own. One a lane, which is reset after each message, is what most need.
    ///
    /// ```
    /// use laneway_actors::{Lane, Reply, spawn};
    /// # let runtime = laneway_actors::Runtime::builder().build()?;
    /// # runtime.block_on(async {
    /// let lane = spawn(async |mut lane: Lane<(u32, Reply<usize>)>| {
    ///     let mut scratch = lane.scratch();
    ///     while let Some((number, reply)) = lane.recv().await {
    ///         let text = scratch.format(format_args!("{number:b}"));
    ///         reply.send(text.len()).ok();
    ///         scratch.reset();
    ///     }
    /// })?;
    /// assert_eq!(lane.ask(|reply| (255, reply)).await?, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scratch(&self) -> Scratch {
        Scratch::new()
    }

    /// The lane's heap: an allocator for collections that stay; see [`Heap`].
    ///
    /// # Panics
    /// Outside of lanes.
    pub fn heap(&self) -> Heap {
        self.inside(arena::heap(), |_| unreachable!("a lane that was taken away has a heap all the same"))
    }

    /// What the lane holds now; see [`resources`](runtime::lane::resources).
    ///
    /// # Panics
    /// Outside of the lane that this is.
    pub fn resources(&self) -> Resources {
        self.inside(lane::resources(), Resources::of_nothing)
    }

    /// Gives the lane a name, until it ends or unregisters.
    ///
    /// # Errors
    /// [`NameError::Taken`].
    pub fn register(&self, name: &str) -> Result<(), NameError> {
        lane::register(name)
    }

    /// Gives up a name: true if it was this lane's.
    pub fn unregister(&self, name: &str) -> bool {
        lane::unregister(name)
    }

    /// What was asked of the lane; `abandoned` in one that was killed while it was stuck here.
    fn inside<T>(&self, result: Result<T, NotInLane>, abandoned: impl FnOnce(Id) -> T) -> T {
        match result {
            Ok(value) => value,
            Err(NotInLane) if lane::is_abandoned() => abandoned(self.id()),
            Err(NotInLane) => panic!("a `Lane` is of use only in the lane that it is, {}", self.id()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Sending;

    /// What most lanes wait in. With more in it, the future of a lane that receives and sends takes a cache line more, and
    /// so does each of a million lanes that wait.
    #[test]
    fn a_lane_is_an_id_and_a_send_is_one_and_its_message() {
        assert_eq!(size_of::<Lane<u64>>(), 8);
        assert_eq!(size_of::<Recv<'_, u64>>(), 8);
        assert_eq!(size_of::<Sending<u64>>(), 16);
        assert_eq!(size_of::<Sending<[u64; 5]>>(), 48);
    }
}
