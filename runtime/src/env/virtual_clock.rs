//! The operating system with a clock that jumps, for tests that must not wait.
//!
//! Owns: the virtual clock and the seeded entropy. Signals are virtual as well; threads, sockets, files and processes are
//! those of [`OsEnv`].

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::virtual_signal::Signals;
use super::{
    Env, FileOptions, FileSource, Idle, Instant, Leaving, ListenOptions, ListenerSource, OsEnv, Reactor,
    StartedProcess, StreamSource, nanos,
};

/// An [`OsEnv`] whose time is virtual and whose entropy comes from a seed.
///
/// The clock starts at 0 and moves only when nothing can run (to the next deadline, at once) or by
/// [`advance`](VirtualEnv::advance). Sockets are real: while bytes are on their way through the OS, the clock may jump past
/// a deadline that a real clock would not have reached, so a test that uses both sets no deadline on I/O. Signals are those
/// of [`raise`](Env::raise) alone: the process's own do not get in here, nor these out.
///
/// ```
/// use laneway_runtime::env::{Env, Idle, Instant, VirtualEnv};
/// use std::time::Duration;
/// let env = VirtualEnv::new(7);
/// let deadline = env.now() + Duration::from_secs(3600);
/// assert_eq!(env.idle_until(Some(deadline)), Idle::Advanced);
/// assert_eq!(env.now(), deadline);
/// ```
#[derive(Debug)]
pub struct VirtualEnv {
    os: OsEnv,
    clock: AtomicU64,
    entropy: AtomicU64,
    signals: Signals,
}

impl VirtualEnv {
    /// An env at instant 0 whose entropy follows from `seed`.
    pub fn new(seed: u64) -> VirtualEnv {
        VirtualEnv {
            os: OsEnv::new(),
            clock: AtomicU64::new(0),
            entropy: AtomicU64::new(seed),
            signals: Signals::default(),
        }
    }

    /// Moves the clock on by `length`.
    ///
    /// Fires nothing by itself: timers that are due then fire when their driver is next turned.
    pub fn advance(&self, length: Duration) {
        // ORDER: as in `now`.
        self.clock.update(Ordering::AcqRel, Ordering::Acquire, |now| now.saturating_add(nanos(length)));
    }
}

impl Env for VirtualEnv {
    fn now(&self) -> Instant {
        // ORDER: Acquire pairs with the Release of whoever moved the clock, so that one who sees a later time also sees
        // what was done before the clock was moved there.
        Instant::from_nanos(self.clock.load(Ordering::Acquire))
    }

    /// 2000-01-01 00:00 UTC and as much as the clock has moved.
    fn unix_time(&self) -> Duration {
        const YEAR_2000: Duration = Duration::from_secs(946_684_800);
        YEAR_2000 + (self.now() - Instant::ZERO)
    }

    /// The next bytes that follow from the seed. Threads that draw at the same time share one sequence.
    fn fill_entropy(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // ORDER: Relaxed: the draws of one word are ordered by being read-modify-writes, and order nothing else.
            let state = self.entropy.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
            chunk.copy_from_slice(&mix(state).to_le_bytes()[..chunk.len()]);
        }
    }

    fn spawn_thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        self.os.spawn_thread(name, work)
    }

    fn reactor(&self) -> io::Result<Reactor> {
        self.os.reactor()
    }

    fn tcp_listen(&self, address: SocketAddr, options: &ListenOptions) -> io::Result<Box<dyn ListenerSource>> {
        self.os.tcp_listen(address, options)
    }

    fn tcp_connect(&self, address: SocketAddr) -> io::Result<Box<dyn StreamSource>> {
        self.os.tcp_connect(address)
    }

    fn open_file(&self, path: &Path, options: &FileOptions) -> io::Result<Box<dyn FileSource>> {
        self.os.open_file(path, options)
    }

    fn start_process(&self, command: &mut Command, leaving: Leaving) -> io::Result<StartedProcess> {
        self.os.start_process(command, leaving)
    }

    fn processes_left(&self) -> usize {
        self.os.processes_left()
    }

    fn signals(&self, number: i32) -> io::Result<Box<dyn StreamSource>> {
        Ok(self.signals.subscribe(number))
    }

    fn raise(&self, number: i32) -> io::Result<()> {
        self.signals.raise(number);
        Ok(())
    }

    /// Moves the clock to `next`, if there is one and it lies ahead.
    fn idle_until(&self, next: Option<Instant>) -> Idle {
        match next {
            Some(next) => {
                // ORDER: as in `now`.
                self.clock.fetch_max(next.as_nanos(), Ordering::AcqRel);
                Idle::Advanced
            }
            None => Idle::Block,
        }
    }
}

/// The odd number nearest to 2^64 divided by the golden ratio: the step of the SplitMix64 generator.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
