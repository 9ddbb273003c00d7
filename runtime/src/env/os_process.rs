//! The OS's processes as children of this one.
//!
//! Owns: the child of the OS, its pipes, how its end is heard of, and the **reaper**, to which those come that nobody has
//! any more and that have not ended yet. Knows nothing of lanes.
//!
//! # How an end is heard of
//!
//! By a descriptor of the process itself, where the OS has such (Linux since 5.3). Elsewhere by the signal that the OS sends
//! for every child: each of ours has a pipe for it, and looks again whenever it comes.
//!
//! # Invariants
//! 1. A process is signalled only under the lock under which it is waited for, and not once it was: its number cannot be
//!    another's by then.
//! 2. A child is in one place: in an `OsChild`, or with the reaper, or ended and waited for.
//! 3. While the reaper has children, `runs` is set and its thread either is about to look at them all or waits for the
//!    next signal of a child's end. Who brings a child looks himself after it is in the list; if it lived then, its
//!    signal comes later than that look, and finds it there.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};

use mio::Interest;
use mio::unix::{SourceFd, pipe};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGCHLD;

use super::os_signal;
use super::process::{ChildSource, Leaving, StartedProcess};
use super::reactor::{Registrar, Token};
use super::socket::{EventSource, StreamSource};
use crate::alloc;

/// Starts a process. May block, until it has become the program that it is to be.
pub(crate) fn start(command: &mut Command, leaving: Leaving) -> io::Result<StartedProcess> {
    start_with(command, leaving, watch_by_descriptor)
}

fn start_with(
    command: &mut Command,
    leaving: Leaving,
    by_descriptor: fn(Pid) -> io::Result<OwnedFd>,
) -> io::Result<StartedProcess> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // Should anything go wrong from here on, its drop ends it.
    let mut child = OsChild { pid: child.id(), leaving, state: Mutex::new(State::Runs(child)), watch: Watch::None };
    child.watch = match by_descriptor(child.as_pid()?) {
        Ok(descriptor) => Watch::Descriptor(descriptor),
        Err(_) => Watch::Signal(os_signal::subscribe(SIGCHLD)?),
    };
    Ok(StartedProcess {
        stdin: stdin.map(|pipe| writer(pipe.into())).transpose()?,
        stdout: stdout.map(|pipe| reader(pipe.into())).transpose()?,
        stderr: stderr.map(|pipe| reader(pipe.into())).transpose()?,
        child: Box::new(child),
    })
}

#[cfg(target_os = "linux")]
fn watch_by_descriptor(pid: Pid) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn watch_by_descriptor(_: Pid) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[derive(Debug)]
struct OsChild {
    pid: u32,
    leaving: Leaving,
    state: Mutex<State>,
    watch: Watch,
}

#[derive(Debug)]
enum State {
    Runs(Child),
    Ended(ExitStatus),
    /// It is with the reaper: the `OsChild` is being dropped.
    Left,
}

/// How the end is heard of.
#[derive(Debug)]
enum Watch {
    None,
    /// Readable once the process has ended.
    Descriptor(OwnedFd),
    /// Readable whenever some child has ended.
    Signal(Box<dyn StreamSource>),
}

impl OsChild {
    fn as_pid(&self) -> io::Result<Pid> {
        let number = i32::try_from(self.pid).ok();
        number.and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl EventSource for OsChild {
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        match &mut self.watch {
            Watch::None => Ok(()),
            Watch::Descriptor(descriptor) => {
                let raw = descriptor.as_raw_fd();
                registrar.mio().register(&mut SourceFd(&raw), token.to_mio(), Interest::READABLE)
            }
            Watch::Signal(signal) => signal.register(registrar, token),
        }
    }

    fn deregister(&mut self, registrar: &Registrar) -> io::Result<()> {
        match &mut self.watch {
            Watch::None => Ok(()),
            Watch::Descriptor(descriptor) => registrar.mio().deregister(&mut SourceFd(&descriptor.as_raw_fd())),
            Watch::Signal(signal) => signal.deregister(registrar),
        }
    }

    /// None: the OS calls all descriptors of processes by the same name, so that they cannot be told apart.
    fn raw_fd(&self) -> Option<i32> {
        None
    }
}

impl ChildSource for OsChild {
    fn try_wait(&self) -> io::Result<ExitStatus> {
        if let Watch::Signal(signal) = &self.watch {
            // Emptied before the look: an end that comes after it is a new edge.
            while signal.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        }
        let mut state = self.state.lock();
        match &mut *state {
            State::Runs(child) => {
                let status = child.try_wait()?.ok_or(io::ErrorKind::WouldBlock)?;
                *state = State::Ended(status);
                Ok(status)
            }
            State::Ended(status) => Ok(*status),
            State::Left => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn signal(&self, number: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(number).ok_or(io::ErrorKind::InvalidInput)?;
        let pid = self.as_pid()?;
        let state = self.state.lock();
        match &*state {
            // Invariant 1. One that has ended and was not waited for yet takes it without a word.
            State::Runs(_) => Ok(kill_process(pid, signal)?),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn kill(&self) -> io::Result<()> {
        match &mut *self.state.lock() {
            State::Runs(child) => child.kill(),
            _ => Ok(()),
        }
    }

    fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for OsChild {
    fn drop(&mut self) {
        let State::Runs(mut child) = std::mem::replace(self.state.get_mut(), State::Left) else { return };
        if self.leaving == Leaving::Kill && child.kill().is_err() {
            tracing::warn!(pid = self.pid, "a child process could not be killed");
        }
        // One whose end cannot be asked for is somebody else's to wait for.
        if let Ok(None) = child.try_wait() {
            reap(child);
        }
    }
}

/// Children that nobody has any more.
#[derive(Debug)]
struct Reaper {
    children: Vec<Child>,
    /// Its thread is at work.
    runs: bool,
}

static REAPER: Mutex<Reaper> = Mutex::new(Reaper { children: Vec::new(), runs: false });

/// How many child processes nobody has any more and have not ended yet. 0 means that the reaper is at rest, too, and its
/// descriptors are closed.
pub(crate) fn lingering() -> usize {
    let reaper = REAPER.lock();
    reaper.children.len().max(usize::from(reaper.runs))
}

/// Waits for a child, on a thread of the pool that blocks.
fn reap(child: Child) {
    let mut reaper = REAPER.lock();
    alloc::uncharged(|| reaper.children.push(child));
    // Invariant 3.
    let starts = reaper.look() && !std::mem::replace(&mut reaper.runs, true);
    drop(reaper);
    if starts {
        blocking::unblock(reap_all).detach();
    }
}

impl Reaper {
    /// Lets go of those that have ended: whether there are others.
    fn look(&mut self) -> bool {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        !self.children.is_empty()
    }
}

fn reap_all() {
    // In this order: what ends after the first look is heard of.
    let signals = io::pipe().and_then(|(reader, writer)| Ok((reader, os_signal::register(SIGCHLD, writer.into())?)));
    loop {
        let mut reaper = REAPER.lock();
        if !reaper.look() {
            // Under the lock: see `lingering`.
            drop(signals);
            reaper.runs = false;
            return;
        }
        drop(reaper);
        let heard = match &signals {
            Ok((reader, _)) => (&*reader).read(&mut [0; 64]).is_ok_and(|count| count > 0),
            Err(_) => false,
        };
        if !heard {
            wait_for_one();
        }
    }
}

/// What is left where no signal can be heard of, as where the process is out of descriptors: one after the other.
fn wait_for_one() {
    let Some(mut child) = REAPER.lock().children.pop() else { return };
    if let Err(error) = child.wait() {
        tracing::warn!(pid = child.id(), %error, "a child process could not be waited for");
    }
}

fn writer(pipe: OwnedFd) -> io::Result<Box<dyn StreamSource>> {
    let pipe = pipe::Sender::from(pipe);
    pipe.set_nonblocking(true)?;
    Ok(Box::new(Writer(pipe)))
}

fn reader(pipe: OwnedFd) -> io::Result<Box<dyn StreamSource>> {
    let pipe = pipe::Receiver::from(pipe);
    pipe.set_nonblocking(true)?;
    Ok(Box::new(Reader(pipe)))
}

/// Our end of a pipe that a child reads.
#[derive(Debug)]
struct Writer(pipe::Sender);

impl EventSource for Writer {
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        registrar.mio().register(&mut self.0, token.to_mio(), Interest::WRITABLE)
    }

    fn deregister(&mut self, registrar: &Registrar) -> io::Result<()> {
        registrar.mio().deregister(&mut self.0)
    }

    fn raw_fd(&self) -> Option<i32> {
        Some(self.0.as_raw_fd())
    }
}

impl StreamSource for Writer {
    fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_vectored(&self, _: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(buffers)
    }
}

/// Our end of a pipe that a child writes to.
#[derive(Debug)]
struct Reader(pipe::Receiver);

impl EventSource for Reader {
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        registrar.mio().register(&mut self.0, token.to_mio(), Interest::READABLE)
    }

    fn deregister(&mut self, registrar: &Registrar) -> io::Result<()> {
        registrar.mio().deregister(&mut self.0)
    }

    fn raw_fd(&self) -> Option<i32> {
        Some(self.0.as_raw_fd())
    }
}

impl StreamSource for Reader {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.0).read_vectored(buffers)
    }

    fn write(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_vectored(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests;
