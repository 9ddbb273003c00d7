//! The world as the runtime sees it: clock, entropy, threads, sockets, files, processes, signals.
//!
//! Owns: the [`Env`] trait and its [`Instant`]. Knows nothing of lanes, workers or timers.
//!
//! The runtime declares this interface and its host satisfies it. [`OsEnv`] is the operating system; [`VirtualEnv`] is
//! the same with a clock that moves only when it is told to. Nothing else in the runtime may read a clock, draw entropy,
//! start a thread or open a socket.
//!
//! Read on in this order: [`reactor`] (readiness to ids), [`descriptor`] (what a lane holds), [`socket`] (what an env
//! offers to wait for), [`file`](mod@file) and [`process`] (what else it offers), [`driver`] (where a worker waits).
//!
//! # Readiness and completion
//!
//! What a lane sees is readiness: "you may try". An env whose world completes operations instead (a ring, a completion
//! port, a simulator) keeps the finished operation's bytes in its [`StreamSource`], says so with [`Registrar::post`], and
//! lets the `read` that follows copy them out; a `write` hands over the bytes and gives `WouldBlock` until there is room.
//! So both styles meet at one place, and whoever uses a descriptor cannot tell them apart.

pub mod descriptor;
pub mod driver;
pub mod file;
mod os;
#[cfg(unix)]
mod os_process;
#[cfg(unix)]
mod os_signal;
pub mod process;
pub mod reactor;
mod readiness;
pub mod socket;
mod table;
mod thing;
mod virtual_clock;
mod virtual_signal;

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::ops::{Add, AddAssign, Sub};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::descriptor::{Descriptor, OnStale};
pub use self::driver::Driver;
pub use self::file::{FileMetadata, FileOptions, FileSource, FileUse, SharedFile};
pub use self::os::OsEnv;
pub use self::process::{ChildSource, Leaving, StartedProcess};
pub use self::reactor::{Reactor, Registrar, Unparker};
pub use self::readiness::{Busy, Ready};
pub use self::socket::{EventSource, ListenOptions, ListenerSource, Source, StreamSource};
pub use self::table::{Counts, Descriptors, ReleaseCount};
pub use self::virtual_clock::VirtualEnv;

/// All that a runtime sees of the world.
///
/// # What a host must keep
///
/// 1. [`now`](Env::now) never goes back, on whatever thread it is asked, and does not stand still for ever while
///    somebody blocks on a deadline.
/// 2. [`fill_entropy`](Env::fill_entropy) and the clocks never block and may be called under the runtime's own locks.
/// 3. A thread from [`spawn_thread`](Env::spawn_thread) runs its work exactly once, and its handle can be joined.
/// 4. Sources are non-blocking from the start, are not inherited by child processes, and are registered with nothing yet.
/// 5. A source reports an edge after each `WouldBlock` that it gave, and its present state when it is registered.
/// 6. No method calls back into the runtime, except by [`Registrar::post`] and [`Unparker::unpark`].
/// 7. Only [`open_file`](Env::open_file), [`start_process`](Env::start_process) and what a [`FileSource`] does may block;
///    they are called on threads for that.
///
/// What an env has none of gives an error of kind `Unsupported`.
pub trait Env: Send + Sync + Debug + 'static {
    /// Time since the env's start, which never goes back.
    fn now(&self) -> Instant;

    /// The present or a moment after it, a few milliseconds at most, where that is cheaper to learn than [`now`](Env::now):
    /// for deadlines that nobody minds a little late.
    fn now_or_soon(&self) -> Instant {
        self.now()
    }

    /// Time since 1970-01-01 00:00 UTC by the wall clock; it may jump either way.
    fn unix_time(&self) -> Duration;

    /// Fills `bytes` with bytes that nobody can guess, or, in an env that must repeat its runs, with those of its seed.
    fn fill_entropy(&self, bytes: &mut [u8]);

    /// Starts a thread that does `work` and ends.
    ///
    /// # Errors
    ///
    /// The host has no more threads; `work` was not started.
    fn spawn_thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;

    /// How long the stack of such a thread may grow, in bytes; what `std` asks for unless it is written.
    fn thread_stack(&self) -> u64 {
        let told = std::env::var("RUST_MIN_STACK").ok().and_then(|told| told.parse().ok());
        told.unwrap_or(2 << 20)
    }

    /// A new reactor, to which nothing is registered.
    ///
    /// # Errors
    ///
    /// The host is out of what a reactor needs, as of file descriptors.
    fn reactor(&self) -> io::Result<Reactor>;

    /// A listener on `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The address is taken, is not of this host or may not be used.
    fn tcp_listen(&self, address: SocketAddr, options: &ListenOptions) -> io::Result<Box<dyn ListenerSource>>;

    /// A stream whose connection to `address` has been begun, not awaited: see
    /// [`Descriptor::poll_connected`](descriptor::Descriptor::poll_connected).
    ///
    /// # Errors
    ///
    /// Those that show at once; a refusal comes later, from `poll_connected`.
    fn tcp_connect(&self, address: SocketAddr) -> io::Result<Box<dyn StreamSource>>;

    /// Opens a file. May block.
    ///
    /// # Errors
    ///
    /// As the host gives them.
    fn open_file(&self, path: &Path, options: &FileOptions) -> io::Result<Box<dyn FileSource>> {
        let _ = (path, options);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Starts a process, of which becomes what `leaving` says when it is dropped. May block.
    ///
    /// # Errors
    ///
    /// There is no such program, or as the host gives them; nothing runs.
    fn start_process(&self, command: &mut Command, leaving: Leaving) -> io::Result<StartedProcess> {
        let _ = (command, leaving);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How many processes nobody has any more and have not ended yet: they were killed just now, or let run.
    fn processes_left(&self) -> usize {
        0
    }

    /// Has a signal of the host come as the bytes of a stream, one each time, until that is dropped. Several may subscribe to
    /// one signal, and each gets all of them.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that is none, or that of a signal that nobody may catch; or as the host gives them.
    fn signals(&self, number: i32) -> io::Result<Box<dyn StreamSource>> {
        let _ = number;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Raises a signal for this process. Whoever has subscribed to it has it by the time that this returns.
    ///
    /// # Errors
    ///
    /// As the host gives them.
    fn raise(&self, number: i32) -> io::Result<()> {
        let _ = number;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asked when nothing can run: how to spend the time until `next`, the nearest deadline of any timer.
    ///
    /// With several workers, only the last one to run dry may ask: an env whose clock jumps would take the time from
    /// under the others.
    fn idle_until(&self, next: Option<Instant>) -> Idle;
}

/// How to spend the time while nothing can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Idle {
    /// Block on the reactor until the deadline, an event or an unpark.
    Block,
    /// The clock has been moved to the deadline: fire the timers, do not block.
    Advanced,
}

/// A point in time: nanoseconds since the start of its [`Env`].
///
/// Arithmetic saturates at both ends; 64 bits of nanoseconds last for 584 years.
///
/// ```
/// use laneway_runtime::env::Instant;
/// use std::time::Duration;
/// let noon = Instant::ZERO + Duration::from_secs(1);
/// assert_eq!(noon.as_nanos(), 1_000_000_000);
/// assert_eq!(noon - Instant::ZERO, Duration::from_secs(1));
/// assert_eq!(Instant::ZERO - noon, Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The env's start.
    pub const ZERO: Instant = Instant(0);
    /// The last instant there is: a deadline that never comes.
    pub const MAX: Instant = Instant(u64::MAX);

    /// The instant this many nanoseconds after the env's start.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the env's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// So many nanoseconds later, or [`Instant::MAX`].
    pub(crate) const fn saturating_add_nanos(self, nanos: u64) -> Instant {
        Instant(self.0.saturating_add(nanos))
    }

    /// The time from `earlier` until this; zero where `earlier` is the later one.
    pub const fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, length: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(length)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, length: Duration) {
        *self = *self + length;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, length: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(length)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

/// A length in nanoseconds, or the most there are.
pub(crate) fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
