//! [`Spawn`]: how a lane or an actor is brought to life.

use std::sync::Arc;

use runtime::lane::{self, SpawnError};
use runtime::{IntoExit, MonitorRef};

use crate::actor::{Actor, Starting};
use crate::address::Address;
use crate::lane::Lane;

/// How to spawn a lane: its name, its mailbox, and its ties to the spawner.
///
/// ```
/// use laneway_actors::{Lane, Spawn, whereis};
/// # let runtime = laneway_actors::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let address = Spawn::new().name("sink").mailbox(16).spawn(async |mut lane: Lane<String>| {
///     while lane.recv().await.is_some() {}
/// })?;
/// assert_eq!(whereis::<String>("sink")?, Some(address));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is spawned before `spawn` or `start`"]
pub struct Spawn(lane::Spawn);

impl Spawn {
    /// A lane with no name, a mailbox of 1024 messages, no link and no monitor.
    pub const fn new() -> Spawn {
        Spawn(lane::Spawn::new())
    }

    /// Registers the lane under a name before it runs.
    pub fn name(self, name: impl Into<Arc<str>>) -> Spawn {
        Spawn(self.0.name(name))
    }

    /// The most messages that may be queued, from 1 to 4095; 1024 by default.
    pub fn mailbox(self, bound: u32) -> Spawn {
        Spawn(self.0.mailbox(bound))
    }

    /// Lets the mailbox grow without bound: senders never wait, and memory is the only limit.
    pub fn unbounded(self) -> Spawn {
        Spawn(self.0.unbounded())
    }

    /// Links the lane with the spawner before it runs.
    pub fn link(self) -> Spawn {
        Spawn(self.0.link())
    }

    /// Lets the spawner watch the lane before it runs, so that the true reason is told, however early it ends. What
    /// the notice is turned into is said by [`Lane::on_down`], or it comes to [`Actor::down`].
    pub fn monitor(self) -> Spawn {
        Spawn(self.0.monitor())
    }

    /// As [`Spawn::monitor`]; the notice brings the [`ExitReceipt`](runtime::ExitReceipt).
    pub fn monitor_with_receipt(self) -> Spawn {
        Spawn(self.0.monitor_with_receipt())
    }

    /// Turns exit signals into messages from the first moment; see [`Lane::trap_exits`].
    pub fn trap_exits(self) -> Spawn {
        Spawn(self.0.trap_exits())
    }

    /// A hard budget of memory, in bytes, past which the lane ends at its next await, with
    /// [`ExitReason::OutOfMemory`](runtime::ExitReason::OutOfMemory); as large as the spawner's by default. See
    /// [`runtime::lane::Spawn::memory`], and [`runtime::alloc::Accounting`] for what it can stop.
    pub fn memory(self, bytes: u64) -> Spawn {
        Spawn(self.0.memory(bytes))
    }

    /// No budget of memory, whatever the spawner's is.
    pub fn unlimited_memory(self) -> Spawn {
        Spawn(self.0.unlimited_memory())
    }

    /// Spawns a lane that runs a function.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing of the lane remains.
    #[track_caller]
    pub fn spawn<M, F>(self, body: impl FnOnce(Lane<M>) -> F) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        Ok(self.0.spawn(|inbox| body(Lane::new(inbox)))?.mailbox.into())
    }

    /// As [`Spawn::spawn`], and where there is no room for the lane under the [memory limit](runtime::Builder::memory_limit), it
    /// waits until there is: first come, first served.
    ///
    /// ```
    /// use laneway_actors::{Lane, Runtime, Spawn, SpawnError};
    ///
    /// let runtime = Runtime::builder().workers(1).memory_limit(1 << 20).build()?;
    /// runtime.block_on(async {
    ///     let spawn = Spawn::new().mailbox(8).memory(600 << 10);
    ///     let first = spawn.clone().spawn(async |mut lane: Lane<()>| while lane.recv().await.is_some() {})?;
    ///     let body = async |_: Lane<()>| {};
    ///     assert!(matches!(spawn.clone().spawn(body), Err(SpawnError::NoMemory(_))));
    ///     first.kill();
    ///     spawn.spawn_when_admitted(body).await?;
    ///     Ok::<(), SpawnError>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SpawnError`]; nothing of the lane remains. Where it could never be admitted, at once.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in line, and nothing is spawned.
    #[track_caller]
    pub fn spawn_when_admitted<M, F, B>(
        self,
        body: B,
    ) -> impl Future<Output = Result<Address<M>, SpawnError>> + use<M, F, B>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
        B: FnOnce(Lane<M>) -> F,
    {
        let spawning = self.0.spawn_when_admitted(|inbox| body(Lane::new(inbox)));
        async move { Ok(spawning.await?.mailbox.into()) }
    }

    /// As [`Spawn::spawn_when_admitted`], for those who asked for a monitor and want to tell notices apart.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    #[track_caller]
    pub fn spawn_monitored_when_admitted<M, F, B>(
        self,
        body: B,
    ) -> impl Future<Output = Result<(Address<M>, Option<MonitorRef>), SpawnError>> + use<M, F, B>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
        B: FnOnce(Lane<M>) -> F,
    {
        let spawning = self.0.spawn_when_admitted(|inbox| body(Lane::new(inbox)));
        async move {
            let lane = spawning.await?;
            Ok((lane.mailbox.into(), lane.monitor))
        }
    }

    /// As [`Spawn::spawn`], for those who asked for a monitor and want to tell notices apart.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing of the lane remains.
    #[track_caller]
    pub fn spawn_monitored<M, F>(
        self,
        body: impl FnOnce(Lane<M>) -> F,
    ) -> Result<(Address<M>, Option<MonitorRef>), SpawnError>
    where
        M: Send + 'static,
        F: Future<Output: IntoExit> + Send + 'static,
    {
        let lane = self.0.spawn(|inbox| body(Lane::new(inbox)))?;
        Ok((lane.mailbox.into(), lane.monitor))
    }

    /// Starts an actor: the future is ready once `init` is through, five seconds at most unless told otherwise.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it kills the half-started lane.
    #[track_caller]
    pub fn start<A: Actor>(self, actor: A) -> Starting<A> {
        Starting::new(self.0, actor)
    }

    /// Spawns an actor without waiting for its `init`, of whose failure only a link or a monitor will tell.
    ///
    /// # Errors
    /// [`SpawnError`]; the actor is dropped.
    #[track_caller]
    pub fn spawn_actor<A: Actor>(self, actor: A) -> Result<Address<A::Msg>, SpawnError> {
        Ok(self.0.spawn(|inbox| crate::actor::run(actor, inbox, None))?.mailbox.into())
    }
}

/// Spawns a lane that runs a function, with no name, a mailbox of 1024 messages, no link and no monitor.
///
/// # Errors
/// [`SpawnError`]; nothing of the lane remains.
#[track_caller]
pub fn spawn<M, F>(body: impl FnOnce(Lane<M>) -> F) -> Result<Address<M>, SpawnError>
where
    M: Send + 'static,
    F: Future<Output: IntoExit> + Send + 'static,
{
    Spawn::new().spawn(body)
}

/// Starts an actor; see [`Spawn::start`].
#[track_caller]
pub fn start<A: Actor>(actor: A) -> Starting<A> {
    Spawn::new().start(actor)
}
