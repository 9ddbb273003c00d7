//! [`Role<M>`]: an address that survives restarts.

use std::any::type_name;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::time::Duration;

use runtime::{Id, StaleId, role, time};

use crate::address::Address;
use crate::ask::DEFAULT_TIMEOUT;
use crate::error::{AskError, SendError};
use crate::reply::Reply;

/// An id of a namespace of its own that always leads to the present incarnation of a child: 8 bytes, `Copy`.
///
/// A supervisor gives the role to each incarnation in turn. Between two of them it is vacant: [`Role::send`] and
/// [`Role::ask`] wait, [`Role::try_send`] says so.
///
/// ```
/// use laneway_actors::{Lane, Role, SendError, spawn};
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let role = Role::<u32>::new();
/// assert_eq!(role.try_send(1), Err(SendError::Vacant(1)));
/// let first = spawn(async |mut lane: Lane<u32>| _ = lane.recv().await)?;
/// role.fill(first)?;
/// role.send(2).await?;
/// role.retire();
/// assert_eq!(role.try_send(3), Err(SendError::NoProc(3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Role<M> {
    id: Id,
    takes: PhantomData<fn(M)>,
}

impl<M> Clone for Role<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Role<M> {}

impl<M> PartialEq for Role<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<M> Eq for Role<M> {}

impl<M> fmt::Debug for Role<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role<{}>({})", type_name::<M>(), self.id)
    }
}

impl<M: Send + 'static> Default for Role<M> {
    fn default() -> Self {
        Role::new()
    }
}

impl<M: Send + 'static> Role<M> {
    /// A new role, which nobody fills yet.
    ///
    /// # Panics
    /// Where the process is out of ids for roles: after some 280 billion of them.
    pub fn new() -> Role<M> {
        Role { id: role::create().expect("an id for a role"), takes: PhantomData }
    }

    /// The bare id.
    pub fn id(self) -> Id {
        self.id
    }

    /// The present incarnation; `Ok(None)` between two of them.
    ///
    /// # Errors
    /// The role was retired.
    pub fn address(self) -> Result<Option<Address<M>>, StaleId> {
        // A lane that has ended and was not replaced yet fills nothing.
        Ok(role::current(self.id)?.and_then(|lane| Address::of(lane).ok()))
    }

    /// Gives the role to a lane.
    ///
    /// # Errors
    /// The role was retired.
    pub fn fill(self, by: Address<M>) -> Result<(), StaleId> {
        role::fill(self.id, Some(by.id()))
    }

    /// Takes the role from whoever fills it.
    ///
    /// # Errors
    /// The role was retired.
    pub fn vacate(self) -> Result<(), StaleId> {
        role::fill(self.id, None)
    }

    /// Ends the role: it is stale for ever, and whoever waits for it hears so.
    pub fn retire(self) {
        role::retire(self.id);
    }

    /// The present incarnation, once there is one.
    ///
    /// # Errors
    /// The role was retired.
    pub async fn filled(self) -> Result<Address<M>, StaleId> {
        loop {
            let lane = poll_fn(|cx| role::poll_filled(self.id, cx)).await?;
            match Address::of(lane) {
                Ok(address) => return Ok(address),
                Err(_) => {
                    // The incarnation has ended, and whoever fills the role has not heard of it yet. So that it is not
                    // asked in a circle, others run first.
                    runtime::lane::join(lane).await;
                    time::sleep(GAP).await;
                }
            }
        }
    }

    /// Sends a message to the present incarnation if there is one, and room.
    ///
    /// # Errors
    /// [`SendError`] hands the message back.
    pub fn try_send(self, message: M) -> Result<(), SendError<M>> {
        match self.address() {
            Ok(Some(address)) => address.try_send(message).map_err(|error| match error {
                SendError::NoProc(message) => SendError::Vacant(message),
                other => other,
            }),
            Ok(None) => Err(SendError::Vacant(message)),
            Err(_) => Err(SendError::NoProc(message)),
        }
    }

    /// Sends a message to the present incarnation or, where there is none, to the next one; waits for room.
    ///
    /// # Errors
    /// [`SendError::NoProc`]: the role was retired.
    ///
    /// # Cancellation
    /// Dropped before it is ready, the future drops the message, and nothing was sent.
    pub async fn send(self, message: M) -> Result<(), SendError<M>> {
        let mut message = message;
        loop {
            let Ok(address) = self.filled().await else { return Err(SendError::NoProc(message)) };
            message = match address.send(message).await {
                Err(SendError::NoProc(message)) => message,
                other => return other,
            };
        }
    }

    /// Asks the present incarnation or, where there is none, the next one; waits for five seconds in all.
    /// [`Role::ask_within`] takes another time.
    ///
    /// A question that an incarnation took with it is not asked again: whether it was handled is not known.
    ///
    /// # Errors
    /// [`AskError`]; [`AskError::Retired`] where the role was retired first, as when its supervisor has given up.
    ///
    /// # Cancellation
    /// Dropped, the ask is over. Whether the question was sent by then is not known.
    pub async fn ask<T: Send + 'static>(self, question: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError> {
        self.ask_within(DEFAULT_TIMEOUT, question).await
    }

    /// As [`Role::ask`], with another time.
    ///
    /// # Errors
    /// As for [`Role::ask`].
    ///
    /// # Cancellation
    /// As for [`Role::ask`].
    pub async fn ask_within<T: Send + 'static>(
        self,
        length: Duration,
        question: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, AskError> {
        let asking = async {
            let (answerer, mut answer) = runtime::reply::port();
            match self.send(question(Reply::local(answerer))).await {
                Ok(()) => Ok(poll_fn(|cx| answer.poll_answer(cx)).await?),
                Err(SendError::NoProc(_)) => Err(AskError::Retired),
                Err(error) => Err(error.into()),
            }
        };
        time::timeout(length, asking).await.unwrap_or(Err(AskError::Timeout(length)))
    }
}

/// How long to leave to whoever fills a role whose lane has just ended.
const GAP: Duration = Duration::from_millis(1);
