//! What all values have in common that stand for a descriptor: who owns it, who else has it, and what becomes of those
//! who use it when it is gone. Written once, for sockets, files and processes.
//!
//! Owns: [`OnStale`], [`TransferError`] and the methods. Knows nothing of what the descriptors are of.
//!
//! # Three ways to let another lane have a part in it
//!
//! | the lane gets | by | it works until | what the others notice |
//! | --- | --- | --- | --- |
//! | the id, which it looks up | `lookup` | the owner dies | nothing |
//! | an id of its own on the same thing | `dup_for`, then `from_id` | it dies itself | nothing; the thing closes with the last id |
//! | the thing itself | `transfer_to`, then `from_id`; or the value in a message, then `adopt` | it dies itself | the giver has it no more |
//!
//! An id that was given and that nobody takes up is the lane's all the same: it closes when that lane ends.
//!
//! ```
//! use laneway_net::{OnStale, TcpListener, TcpStream};
//! use runtime::ExitReason;
//! use runtime::lane::{self, Spawn};
//! use runtime::mailbox::Inbox;
//! use std::future::{pending, poll_fn};
//!
//! let node = runtime::Runtime::builder().workers(1).build()?;
//! node.block_on(async {
//!     let (tell, mut id) = runtime::reply::port();
//!     let owner = Spawn::new().spawn(|_: Inbox<()>| async move {
//!         let Ok(listener) = TcpListener::bind(([127, 0, 0, 1], 0)) else { return };
//!         let _heard = tell.answer(listener.id());
//!         pending::<()>().await;
//!     })?;
//!     let id = poll_fn(|cx| id.poll_answer(cx)).await.map_err(|_| "it could not listen")?;
//!     // One that lives as long as what it borrows.
//!     let user = Spawn::new().spawn(move |_: Inbox<()>| async move {
//!         let mut theirs = TcpListener::lookup(id)?.on_stale(OnStale::Die);
//!         theirs.accept().await.map(drop)
//!     })?;
//!     let ends = async { lane::kill(owner.mailbox.id()) };
//!     let (reason, _) = futures_util::join!(lane::join(user.mailbox.id()), ends);
//!     assert_eq!(reason, ExitReason::error(runtime::StaleId(id)));
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::io;

use runtime::env::{Descriptor, Source};
use runtime::lane::giving::{self, GiveError};
use runtime::lane::{self, NotInLane};
use runtime::{Handle, Id};

/// What becomes of the lane that uses something which is gone, as by the death of the lane that owned it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnStale {
    /// It gets the error, of kind `NotConnected` with a [`StaleId`](runtime::StaleId) inside: the default.
    #[default]
    Error,
    /// It ends, trapping or not, with [`ExitReason::Error`](runtime::ExitReason::Error) and the words of the `StaleId`: what waits stays pending, and the
    /// lane's future is polled no more. Where there is no waiting the error comes back first. Outside of lanes it is an error.
    Die,
}

/// Something was not transferred: here it is, as it was.
#[derive(Debug)]
#[non_exhaustive]
pub struct TransferError<T> {
    /// What was to be transferred. Its owner is who it was.
    pub kept: T,
    /// Why.
    pub why: GiveError,
}

impl<T> fmt::Display for TransferError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for TransferError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.why.source()
    }
}

/// Drops what was to be transferred.
impl<T> From<TransferError<T>> for io::Error {
    fn from(error: TransferError<T>) -> io::Error {
        error.why.into()
    }
}

/// The runtime of this code; [`NotInRuntime`](runtime::NotInRuntime) in an error of kind `Other`.
pub(crate) fn here() -> io::Result<Handle> {
    Handle::current().map_err(io::Error::other)
}

/// Puts a source in the table, for the lane that calls.
pub(crate) fn open(node: &Handle, source: impl Into<Source>) -> io::Result<Descriptor> {
    let descriptors = node.descriptors();
    // In turn, by a count that is the runtime's own, so that a run can be repeated. Two that open at once may get the
    // same driver, which does no harm.
    let driver = descriptors.counts().opened % descriptors.drivers() as u64;
    of_the_living(descriptors.insert(source, lane::owner_of_descriptors(), driver as usize)?)
}

/// What was opened for the lane that calls, if that is not abandoned by now. Asked after it is in the table: before, the
/// lane's end finds it there.
fn of_the_living(descriptor: Descriptor) -> io::Result<Descriptor> {
    if lane::is_abandoned() { Err(io::Error::other(NotInLane)) } else { Ok(descriptor) }
}

/// Makes the lane that calls the owner.
pub(crate) fn adopt(descriptor: &Descriptor) -> io::Result<()> {
    let me = owner()?;
    // A lane's death looks only in its own runtime: this finds no descriptor of another.
    here()?.descriptors().driver_of(descriptor.id())?;
    descriptor.transfer(me)?;
    Ok(())
}

/// The handle of a descriptor that comes as an id, owned by the lane that calls.
pub(crate) fn take(id: Id) -> io::Result<Descriptor> {
    let me = owner()?;
    Ok(here()?.descriptors().adopt(id, me)?)
}

/// The handle of a descriptor that stays its owner's.
pub(crate) fn lookup(id: Id) -> io::Result<Descriptor> {
    Ok(here()?.descriptors().lookup(id)?)
}

/// A further descriptor of the same thing, owned by the lane that calls.
pub(crate) fn dup(descriptor: &Descriptor) -> io::Result<Descriptor> {
    // As in `adopt`.
    here()?.descriptors().driver_of(descriptor.id())?;
    of_the_living(descriptor.dup(lane::owner_of_descriptors())?)
}

pub(crate) fn set_on_stale(descriptor: &mut Descriptor, what: OnStale) {
    descriptor.on_stale(match what {
        OnStale::Error => None,
        OnStale::Die => Some(giving::die_of_stale),
    });
}

fn owner() -> io::Result<Id> {
    lane::owner_of_descriptors().ok_or_else(|| io::Error::other(NotInLane))
}

/// What also a part of it can say, for a type with a method `descriptor`.
macro_rules! identity {
    ($type:ty) => {
        impl $type {
            /// Its id, which any lane of the runtime may look up while the owner lives.
            pub fn id(&self) -> runtime::Id {
                self.descriptor().id()
            }

            /// Makes the lane that calls the owner, whose death closes it: the first thing to do in a lane to which the value
            /// was sent. What waits goes on waiting.
            ///
            /// # Errors
            ///
            /// `NotConnected`, with a [`StaleId`](runtime::StaleId), if it is closed, as by the death of its owner, or is
            /// of another runtime; [`NotInLane`](runtime::lane::NotInLane), in one of kind `Other`.
            pub fn adopt(&self) -> std::io::Result<()> {
                $crate::handle::adopt(self.descriptor())
            }

            /// Gives another lane an id of its own on the same thing, which it takes up by `from_id`. The thing closes with
            /// the last of its ids; they share its one place for a reader and one for a writer, at which a second
            /// gets [`Busy`](runtime::env::Busy).
            ///
            /// # Errors
            ///
            /// [`GiveError`](runtime::lane::giving::GiveError); nothing was made.
            pub fn dup_for(
                &self,
                lane: impl Into<runtime::Id>,
            ) -> Result<runtime::Id, runtime::lane::giving::GiveError> {
                runtime::lane::giving::dup(self.descriptor(), lane.into())
            }
        }
    };
}

/// What only the whole of it can, for a type that is made of a descriptor by `of`, and gives it back by `into_descriptor`.
macro_rules! handles {
    ($type:ty) => {
        impl $type {
            /// Takes over what another lane gave by `transfer_to`, `dup_for` or `into_id`, or still has: the lane that calls owns
            /// it from now on.
            ///
            /// # Errors
            ///
            /// As [`adopt`](Self::adopt). An id of something else shows later, as `InvalidInput`.
            pub fn from_id(id: runtime::Id) -> std::io::Result<Self> {
                Ok(Self::of($crate::handle::take(id)?))
            }

            /// What another lane owns, to be used while that lane lives. Dropping this closes nothing.
            ///
            /// # Errors
            ///
            /// `NotConnected`, with a [`StaleId`](runtime::StaleId), if it is closed or of another runtime;
            /// [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`. An id of something else shows later, as
            /// `InvalidInput`.
            pub fn lookup(id: runtime::Id) -> std::io::Result<Self> {
                Ok(Self::of($crate::handle::lookup(id)?))
            }

            /// Gives up the value and leaves the thing to its owner, whose death closes it.
            pub fn into_id(self) -> runtime::Id {
                self.into_descriptor().into_id()
            }

            /// A second value for the same thing, owned by the lane that calls; it closes with the last of them. See
            /// [`dup_for`](Self::dup_for).
            ///
            /// # Errors
            ///
            /// It is closed, of another runtime, or there is no room.
            pub fn dup(&self) -> std::io::Result<Self> {
                Ok(Self::of($crate::handle::dup(self.descriptor())?))
            }

            /// Makes another lane the owner, which takes it up by `from_id`.
            ///
            /// # Errors
            ///
            /// [`TransferError`](crate::TransferError), with the value.
            #[allow(clippy::result_large_err, reason = "what was not transferred comes back, however large")]
            pub fn transfer_to(
                mut self,
                lane: impl Into<runtime::Id>,
            ) -> Result<runtime::Id, $crate::TransferError<Self>> {
                match runtime::lane::giving::transfer(self.descriptor_mut(), lane.into()) {
                    Ok(()) => Ok(self.id()),
                    Err(why) => Err($crate::TransferError { kept: self, why }),
                }
            }

            /// Says what becomes of a lane that uses this when it is gone; [`OnStale::Error`](crate::OnStale::Error) at first.
            #[must_use]
            pub fn on_stale(mut self, what: $crate::OnStale) -> Self {
                $crate::handle::set_on_stale(self.descriptor_mut(), what);
                self
            }
        }
    };
}

pub(crate) use {handles, identity};
