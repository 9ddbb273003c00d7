//! The operating system as an [`Env`].
//!
//! Owns: the only calls to the OS's clocks, entropy and threads. Sockets are made in `socket`, pollers in `reactor`, and
//! files, processes and signals in `file`, `os_process` and `os_signal`.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;
use std::thread::{self, JoinHandle};
#[cfg(not(target_os = "linux"))]
use std::time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use rustix::time::ClockId;

use super::file::{self, FileOptions, FileSource};
use super::socket::{ListenOptions, ListenerSource, StreamSource, tcp_connect, tcp_listen};
use super::{Env, Idle, Instant, Reactor};
#[cfg(unix)]
use super::{Leaving, StartedProcess, os_process, os_signal};

/// The operating system: the default [`Env`].
///
/// Its clock starts at 0 when it is made.
#[derive(Debug)]
pub struct OsEnv {
    #[cfg(not(target_os = "linux"))]
    start: time::Instant,
    /// What the OS's clock showed at the start, in nanoseconds.
    #[cfg(target_os = "linux")]
    start: u64,
    /// What is to be added to the OS's coarse clock, which is behind by up to a tick at the start and at any time.
    #[cfg(target_os = "linux")]
    coarse_lead: u64,
}

/// A clock of the OS, as the one number that the env is to give: a `time::Instant` is of two, to be taken apart and put
/// together at each reading.
#[cfg(target_os = "linux")]
fn clock(which: ClockId) -> u64 {
    nanos(rustix::time::clock_gettime(which))
}

#[cfg(target_os = "linux")]
fn nanos(time: rustix::time::Timespec) -> u64 {
    // Neither is negative: these clocks start at 0 with the machine.
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

impl OsEnv {
    /// The operating system, its clock at 0.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(clippy::disallowed_methods, reason = "this is the env through which all others read the clock")
    )]
    pub fn new() -> OsEnv {
        OsEnv {
            // In this order, so that what is reckoned from the coarse clock is not too early by the time between.
            #[cfg(target_os = "linux")]
            coarse_lead: {
                let tick = nanos(rustix::time::clock_getres(ClockId::MonotonicCoarse));
                tick.wrapping_sub(clock(ClockId::MonotonicCoarse))
            },
            #[cfg(target_os = "linux")]
            start: clock(ClockId::Monotonic),
            #[cfg(not(target_os = "linux"))]
            start: time::Instant::now(),
        }
    }
}

impl Default for OsEnv {
    fn default() -> OsEnv {
        OsEnv::new()
    }
}

impl Env for OsEnv {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Instant {
        Instant::from_nanos(clock(ClockId::Monotonic).saturating_sub(self.start))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::disallowed_methods, reason = "this is the env through which all others read the clock")]
    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// At most two ticks of the kernel's late, as a rule eight milliseconds.
    #[cfg(target_os = "linux")]
    fn now_or_soon(&self) -> Instant {
        Instant::from_nanos(clock(ClockId::MonotonicCoarse).wrapping_add(self.coarse_lead))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the env through which all others read the wall clock")]
    fn unix_time(&self) -> Duration {
        // A wall clock that is set before 1970 counts as 1970: `unix_time` has no sign.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// # Panics
    ///
    /// The OS has no source of entropy; nothing that needs one can be done safely then.
    fn fill_entropy(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives entropy");
    }

    #[expect(clippy::disallowed_methods, reason = "this is the env through which all others start threads")]
    fn spawn_thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name.to_owned()).spawn(work)
    }

    fn reactor(&self) -> io::Result<Reactor> {
        Reactor::new()
    }

    fn tcp_listen(&self, address: SocketAddr, options: &ListenOptions) -> io::Result<Box<dyn ListenerSource>> {
        tcp_listen(address, options)
    }

    fn tcp_connect(&self, address: SocketAddr) -> io::Result<Box<dyn StreamSource>> {
        tcp_connect(address)
    }

    fn open_file(&self, path: &Path, options: &FileOptions) -> io::Result<Box<dyn FileSource>> {
        file::open_file(path, options)
    }

    #[cfg(unix)]
    fn start_process(&self, command: &mut Command, leaving: Leaving) -> io::Result<StartedProcess> {
        os_process::start(command, leaving)
    }

    /// Those of this process, whatever runtime they were started by.
    #[cfg(unix)]
    fn processes_left(&self) -> usize {
        os_process::lingering()
    }

    #[cfg(unix)]
    fn signals(&self, number: i32) -> io::Result<Box<dyn StreamSource>> {
        os_signal::subscribe(number)
    }

    #[cfg(unix)]
    fn raise(&self, number: i32) -> io::Result<()> {
        os_signal::raise(number)
    }

    /// Always [`Idle::Block`].
    fn idle_until(&self, _next: Option<Instant>) -> Idle {
        Idle::Block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheap_clock_is_never_behind_and_not_far_ahead() {
        let env = OsEnv::new();
        for _ in 0..10_000 {
            let before = env.now();
            let cheap = env.now_or_soon();
            assert!(cheap >= before, "{cheap:?} is before {before:?}");
            let after = env.now();
            assert!(cheap - after <= Duration::from_millis(100), "{cheap:?} is far from {after:?}");
        }
    }
}
