//! Groups: lanes under a common name, to be found, told something all at once, and watched.
//!
//! After OTP's `pg`, for the lanes of one runtime. A lane joins by [`join`], any number of groups and each any number of
//! times, and is in each until it has called [`leave`] as often or has ended. What is in a group takes messages of whatever
//! type; [`members`] and [`broadcast`] mean those that take `M`. [`Lane::monitor_group`](crate::Lane::monitor_group) and
//! [`Context::monitor_group`](crate::Context::monitor_group) tell a lane of who joins and leaves.
//!
//! ```
//! use laneway_actors::{Lane, Reply, group, spawn};
//! # let runtime = laneway_actors::Runtime::builder().build()?;
//! # runtime.block_on(async {
//! #[derive(Clone)]
//! enum Msg { Count(u64) }
//! let mut counters = Vec::new();
//! for _ in 0..3 {
//!     let (there, is_there) = std::sync::mpsc::channel();
//!     let counter = spawn(async move |mut lane: Lane<Msg>| {
//!         group::join("counters").unwrap();
//!         there.send(()).unwrap();
//!         let Some(Msg::Count(n)) = lane.recv().await else { return };
//!         assert_eq!(n, 7);
//!     })?;
//!     is_there.recv()?;
//!     counters.push(counter);
//! }
//! assert_eq!(group::members::<Msg>("counters").len(), 3);
//! assert_eq!(group::broadcast("counters", &Msg::Count(7)).sent, 3);
//! for counter in counters {
//!     laneway_actors::join(counter.id()).await;
//! }
//! assert!(group::all().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use runtime::Id;

use crate::address::Address;
use crate::error::SendError;

pub use runtime::group::{Change, ChangeKind, GroupRef, LeaveError, all, join, leave, of};

/// The members of a group, of whatever type; see [`runtime::group::members`].
///
/// ```
/// # let runtime = laneway_actors::Runtime::builder().build().unwrap();
/// # runtime.block_on(async {
/// assert!(laneway_actors::group::ids("nobody's").is_empty());
/// # });
/// ```
pub fn ids(name: &str) -> Vec<Id> {
    runtime::group::members(name)
}

/// The members of a group that take messages of type `M` and live, as the group is at one moment; one that joined several
/// times comes as often, in a row. Others are left out. Outside of a runtime there are none.
///
/// ```
/// use laneway_actors::{Lane, group, spawn};
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let member = spawn(async |lane: Lane<u64>| {
///     group::join("numbers").unwrap();
///     assert_eq!(group::members::<u64>("numbers"), [lane.address()]);
///     assert!(group::members::<String>("numbers").is_empty());
/// })?;
/// # laneway_actors::join(member.id()).await;
/// # Ok::<(), laneway_actors::SpawnError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn members<M: Send + 'static>(name: &str) -> Vec<Address<M>> {
    ids(name).into_iter().filter_map(|id| Address::of(id).ok()).collect()
}

/// What became of a [`broadcast`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// Lanes whose mailbox has the message.
    pub sent: usize,
    /// Lanes that did not get it, as their mailbox is full.
    pub full: usize,
    /// Lanes that did not get it, as they take another type or are gone.
    pub passed_over: usize,
}

/// Sends a clone of a message to each lane in a group that takes it and has [room](Address::try_send): once, however often
/// it has joined, and to the caller as well where that is a member. Nobody is waited for; the answer says how many have it.
///
/// The group is as it was at one moment: who joins meanwhile gets nothing, who leaves meanwhile may still get it.
///
/// # Panics
/// Where the message's `clone` does. Some have got it then.
///
/// ```
/// use laneway_actors::{Lane, group, spawn};
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let member = spawn(async |mut lane: Lane<String>| {
///     group::join("chat").unwrap();
///     group::join("chat").unwrap();
///     let sent = group::broadcast("chat", &"to myself".to_owned());
///     assert_eq!((sent.sent, sent.full, sent.passed_over), (1, 0, 0));
///     assert_eq!(lane.recv().await.unwrap(), "to myself");
///     assert_eq!(group::broadcast("chat", &7_u64).passed_over, 1);
/// })?;
/// # laneway_actors::join(member.id()).await;
/// # Ok::<(), laneway_actors::SpawnError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn broadcast<M: Clone + Send + 'static>(name: &str, message: &M) -> Broadcast {
    let mut ids = ids(name);
    // Those of one lane come in a row.
    ids.dedup();
    let mut became = Broadcast::default();
    for id in ids {
        match Address::<M>::of(id).map(|address| address.try_send(message.clone())) {
            Ok(Ok(())) => became.sent += 1,
            Ok(Err(SendError::Full(_))) => became.full += 1,
            _ => became.passed_over += 1,
        }
    }
    became
}
