//! [`Address<M>`]: an id that is known to take messages of type `M`, of this node or of another.

use std::any::type_name;
use std::fmt;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use runtime::mailbox::{MailboxId, NotAMailbox, SendFuture, TrySendError, Unsent};
use runtime::question::Question;
use runtime::time::{self, TimerId};
use runtime::wait_graph;
use runtime::{ExitReason, Id, StaleId, lane, peer};

use crate::ask::Ask;
use crate::error::{SendError, StopError};
use crate::reply::Reply;

/// The id of a lane that takes messages of type `M`: 8 bytes, `Copy`, checked at every use.
///
/// An address keeps nothing alive. Used after its lane has ended it says so, and never reaches a later one.
///
/// ```
/// use laneway_actors::{Address, Lane, spawn};
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let doubler: Address<(u32, laneway_actors::Reply<u32>)> = spawn(async |mut lane: Lane<_>| {
///     while let Some((number, reply)) = lane.recv().await {
///         let _: Result<(), u32> = laneway_actors::Reply::send(reply, number * 2);
///     }
/// })?;
/// assert_eq!(doubler.ask(|reply| (21, reply)).await?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Address<M>(MailboxId<M>);

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Address<M> {}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<M> Eq for Address<M> {}

impl<M: Send + 'static> Hash for Address<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address<{}>({:?})", type_name::<M>(), self.0)
    }
}

impl<M: Send + 'static> From<MailboxId<M>> for Address<M> {
    fn from(mailbox: MailboxId<M>) -> Address<M> {
        Address(mailbox)
    }
}

impl<M: Send + 'static> From<Address<M>> for Id {
    fn from(address: Address<M>) -> Id {
        address.id()
    }
}

impl<M: Send + 'static> Address<M> {
    /// The address of the local lane `id`, where it lives and takes messages of type `M`.
    ///
    /// # Errors
    /// [`NotAMailbox`]: the lane is gone, was never here, or takes another type.
    pub fn of(id: Id) -> Result<Address<M>, NotAMailbox> {
        MailboxId::of(id).map(Address)
    }

    /// The address of a lane of a peer node; `None` for local ids. That the lane takes `M` is checked there.
    pub(crate) fn of_peer(id: Id) -> Option<Address<M>> {
        MailboxId::of_peer(id).map(Address)
    }

    /// The address of a lane that once was and is gone; `None` for an id that never was.
    pub(crate) fn of_gone(id: Id) -> Option<Address<M>> {
        MailboxId::of_gone(id).map(Address)
    }

    /// The bare id.
    pub fn id(self) -> Id {
        self.0.id()
    }

    /// Sends a message if there is room.
    ///
    /// # Errors
    /// [`SendError`] hands the message back.
    pub fn try_send(self, message: M) -> Result<(), SendError<M>> {
        match self.0.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message)) => Err(SendError::Full(message)),
            Err(error) => self.beyond(error.into_message()),
        }
    }

    /// What no local lane took: for a peer, or for nobody.
    #[cold]
    fn beyond(self, message: M) -> Result<(), SendError<M>> {
        if !self.id().namespace().is_peer() || lane::is_abandoned() {
            return Err(SendError::NoProc(message));
        }
        wait_graph::hands_over_by::<M>();
        let Some(route) = peer::route(self.id()) else { return Err(SendError::NodeDown(message)) };
        let Err((why, message)) = route.tell(self.id(), Box::new(message)) else { return Ok(()) };
        let Ok(message) = message.downcast::<M>() else {
            unreachable!("a route hands back the very message that it was given");
        };
        Err(match why {
            peer::PeerError::Congested => SendError::Congested(*message),
            peer::PeerError::Unsendable => SendError::Unsendable(*message),
            _ => SendError::NodeDown(*message),
        })
    }

    /// Sends a message as soon as there is room, in the order in which senders came.
    ///
    /// To a lane of another node this is ready as soon as the message is queued for the link: messages are delivered
    /// at most once, in order while the link is up.
    ///
    /// # Errors
    /// [`SendError`] hands the message back; never `Full`.
    ///
    /// # Cancellation
    /// Dropped before it is ready, the future drops the message, and nothing was sent.
    #[inline]
    #[track_caller]
    pub fn send(self, message: M) -> Sending<M> {
        Sending(self.0.send(message))
    }

    #[inline]
    pub(crate) fn question<F: FnOnce(A) -> M, A>(self, at: &'static Location<'static>, make: &F) -> Question {
        Question::to(self.0, at, make)
    }

    #[inline]
    pub(crate) fn send_question(self, message: M) -> Sending<M> {
        Sending(self.0.send_question(message))
    }

    /// Asks: sends the message that `question` makes of a reply port, and waits for the answer, for
    /// [five seconds](crate::ask::DEFAULT_TIMEOUT) unless another time is set.
    ///
    /// # Errors
    /// [`AskError`](crate::AskError): at once where the lane is gone or goes before it answered, and not by timeout.
    ///
    /// # Cancellation
    /// Dropped, the ask is over. The lane may handle the question all the same; its answer goes nowhere.
    #[inline]
    #[track_caller]
    pub fn ask<T: Send + 'static>(self, question: impl FnOnce(Reply<T>) -> M) -> Ask<M, T> {
        Ask::new(self, question)
    }

    /// Sends a message after a time. It is exempt from the mailbox's bound. The timer goes with the lane that set it.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn send_after(self, delay: Duration, message: M) -> TimerId {
        time::call_at(time::now() + delay, move || {
            // A lane that is gone by then needs no message.
            if let Err(TrySendError::Gone(message)) = self.0.send_exempt(message) {
                let _ = self.beyond(message);
            }
        })
    }

    /// Asks the lane to end once it has handled what is queued now.
    ///
    /// # Errors
    /// It was gone.
    pub fn stop(self) -> Result<(), StaleId> {
        lane::stop(self.id(), ExitReason::Normal)
    }

    /// Asks the lane, one of this node, to end with `reason` once it has handled what is queued now, and waits until it
    /// is gone and what it held is released: why it ended, which is its own choice.
    ///
    /// # Errors
    /// [`StopError`]; the lane was asked all the same where the time was over first.
    ///
    /// # Cancellation
    /// The lane stays asked.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn stop_and_wait(self, reason: ExitReason, length: Duration) -> Result<ExitReason, StopError> {
        let id = self.id();
        if lane::current() == Some(id) {
            return Err(StopError::ToSelf);
        }
        if id.namespace().is_peer() {
            return Err(StopError::Elsewhere);
        }
        let mut gone = std::pin::pin!(lane::join(id));
        let mut asked = false;
        let stopping = poll_fn(|cx| {
            // The wish to hear of the end goes first: it is lost on a lane that ended in between.
            let ended = gone.as_mut().poll(cx);
            if ended.is_pending() && !asked {
                asked = true;
                // One that ends just now needs no asking.
                let _ = lane::stop(id, reason.clone());
            }
            ended
        });
        match time::timeout(length, stopping).await {
            Ok(ExitReason::NoProc) => Err(StopError::NoProc),
            Ok(ended) => Ok(ended),
            Err(_) => Err(StopError::Timeout(length)),
        }
    }

    /// Ends the lane before its next poll, trapping or not. False where it was gone.
    pub fn kill(self) -> bool {
        lane::kill(self.id())
    }

    /// Whether the lane, one of this node, lives. One that is ending lives until what it held is released.
    pub fn is_alive(self) -> bool {
        lane::is_alive(self.id())
    }

    /// The same lane for those who know only messages that turn into its own.
    ///
    /// ```
    /// use laneway_actors::{Address, Recipient};
    /// enum Msg { Tick(u64) }
    /// impl From<u64> for Msg {
    ///     fn from(number: u64) -> Msg { Msg::Tick(number) }
    /// }
    /// fn narrow(address: Address<Msg>) -> Recipient<u64> { address.recipient() }
    /// ```
    pub fn recipient<N: Send + 'static>(self) -> Recipient<N>
    where
        M: From<N>,
    {
        Recipient {
            id: self.id(),
            send: |id, message| match Address::<M>::of(id).ok().or_else(|| Address::of_peer(id)) {
                Some(address) => address.try_send(M::from(message)).map_err(|error| error.map(drop)),
                None => Err(SendError::NoProc(())),
            },
        }
    }
}

/// The future of [`Address::send`].
#[must_use = "nothing is sent before it is awaited"]
pub struct Sending<M: Send + 'static>(SendFuture<M>);

impl<M: Send + 'static> Sending<M> {
    /// `None` once it was ready.
    #[inline]
    pub(crate) fn to(&self) -> Option<Address<M>> {
        self.0.to().map(Address)
    }
}

/// A question under way. It hands out nothing but its own port.
impl<M: Send + 'static> Sending<M> {
    /// Whether it was ready.
    #[inline]
    pub(crate) fn is_through(&self) -> bool {
        self.0.is_through()
    }

    /// For [`Question::ask_now`].
    #[inline]
    pub(crate) fn inner(&mut self) -> &mut SendFuture<M> {
        &mut self.0
    }

    pub(crate) fn poll_question(
        &mut self,
        question: &mut Question,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<M>>> {
        let to = self.to();
        sent(to, self.0.poll_question(question, cx))
    }
}

impl<M: Send + 'static> fmt::Debug for Sending<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to() {
            Some(to) => write!(f, "Sending(to {})", to.id()),
            None => f.write_str("Sending(ready)"),
        }
    }
}

impl<M: Send + 'static> Future for Sending<M> {
    type Output = Result<(), SendError<M>>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0.send_now() {
            return Poll::Ready(Ok(()));
        }
        let mut failed = None;
        self.poll_closely(cx, &mut failed).map(|()| failed.map_or(Ok(()), Err))
    }
}

impl<M: Send + 'static> Sending<M> {
    /// What is not sent has a place of its own, or whoever sends would copy it around where all is well, too.
    #[inline(never)]
    fn poll_closely(&mut self, cx: &mut Context<'_>, failed: &mut Option<SendError<M>>) -> Poll<()> {
        let to = self.to();
        sent(to, Pin::new(&mut self.0).poll(cx)).map(|sent| *failed = sent.err())
    }
}

fn sent<M: Send + 'static>(
    to: Option<Address<M>>,
    polled: Poll<Result<(), Unsent<M>>>,
) -> Poll<Result<(), SendError<M>>> {
    match polled {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(unsent)) => Poll::Ready(was_not_sent(to, unsent)),
    }
}

#[cold]
fn was_not_sent<M: Send + 'static>(to: Option<Address<M>>, unsent: Unsent<M>) -> Result<(), SendError<M>> {
    match (unsent, to) {
        (Unsent::Deadlock(undelivered), _) => Err(SendError::Deadlock(undelivered)),
        (unsent, Some(to)) => to.beyond(unsent.into_message()),
        // A send that was ready panics when it is polled, so that there is always somebody it was for.
        (unsent, None) => Err(SendError::NoProc(unsent.into_message())),
    }
}

/// An address for messages of one kind among those that a lane takes. 16 bytes, `Copy`.
pub struct Recipient<N> {
    id: Id,
    send: fn(Id, N) -> Result<(), SendError<()>>,
}

impl<N> Clone for Recipient<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for Recipient<N> {}

impl<N> fmt::Debug for Recipient<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient<{}>({})", type_name::<N>(), self.id)
    }
}

impl<N: Send + 'static> Recipient<N> {
    /// The bare id.
    pub fn id(self) -> Id {
        self.id
    }

    /// Sends a message if there is room.
    ///
    /// # Errors
    /// [`SendError`] says why not. The message, which had been turned into one of the lane's, is dropped.
    pub fn try_send(self, message: N) -> Result<(), SendError<()>> {
        (self.send)(self.id, message)
    }
}
