//! [`Child`] and the ends of its pipes that are ours.

use std::io;
use std::process::ExitStatus;

use runtime::env::Descriptor;

use crate::handle::{handles, identity};
use crate::signal::SignalKind;
use crate::tcp::methods::{self, reads, writes};

/// A process that this one has started. Killed, unless it is to be let run, when the last of its ids closes: when this is
/// dropped, or the lane that owns it dies.
#[derive(Debug)]
pub struct Child {
    /// What is written to it, where that was [piped](super::Stdio::piped). It reads the end once this is dropped.
    pub stdin: Option<ChildStdin>,
    /// What it writes, where that was piped.
    pub stdout: Option<ChildStdout>,
    /// What it writes of errors, where that was piped.
    pub stderr: Option<ChildStderr>,
    descriptor: Descriptor,
    /// Known already, or else to be asked for.
    pid: Option<u32>,
}

impl Child {
    pub(super) fn new(descriptor: Descriptor, pid: Option<u32>) -> Child {
        Child { stdin: None, stdout: None, stderr: None, descriptor, pid }
    }

    /// The system's number for it. It is another process's once this one has ended and was waited for: use
    /// [`signal`](Child::signal) and [`kill`](Child::kill), which cannot meet a stranger.
    ///
    /// # Errors
    ///
    /// The child is closed.
    pub fn pid(&self) -> io::Result<u32> {
        match self.pid {
            Some(pid) => Ok(pid),
            None => self.descriptor.with_child(|child| Ok(child.pid())),
        }
    }

    /// Waits until it has ended, and says how; the same at each call. Its input is left open: where it reads to the end,
    /// drop that first.
    ///
    /// *Cancellation*: nothing is lost.
    ///
    /// # Errors
    ///
    /// The child is closed ([`StaleId`](runtime::StaleId)), somebody else waits for it by another id
    /// ([`Busy`](runtime::env::Busy)), or as the OS gives them, as where other code of this process has taken its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.descriptor.ended().await
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// The child is closed, or as the OS gives them.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match self.descriptor.with_child(|child| child.try_wait()) {
            Ok(status) => Ok(Some(status)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends it at once (`SIGKILL`); that it has ended already is no error. [`wait`](Child::wait) says when it has.
    ///
    /// # Errors
    ///
    /// The child is closed, or as the OS gives them.
    pub fn kill(&self) -> io::Result<()> {
        self.descriptor.with_child(|child| child.kill())
    }

    /// Sends it a signal, as [`SignalKind::terminate`] to ask it to end.
    ///
    /// # Errors
    ///
    /// `NotFound` if it has ended and was waited for; the child is closed, or as the OS gives them.
    pub fn signal(&self, kind: SignalKind) -> io::Result<()> {
        self.descriptor.with_child(|child| child.signal(kind.number()))
    }

    fn of(descriptor: Descriptor) -> Child {
        Child::new(descriptor, None)
    }

    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.descriptor
    }

    /// The pipes are no part of it: they close here.
    fn into_descriptor(self) -> Descriptor {
        self.descriptor
    }
}

identity!(Child);
handles!(Child);

/// Our end of a pipe to or from a child.
macro_rules! pipe_end {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            descriptor: Descriptor,
        }

        impl $name {
            pub(super) fn of(descriptor: Descriptor) -> $name {
                $name { descriptor }
            }

            fn descriptor(&self) -> &Descriptor {
                &self.descriptor
            }

            fn descriptor_mut(&mut self) -> &mut Descriptor {
                &mut self.descriptor
            }

            fn into_descriptor(self) -> Descriptor {
                self.descriptor
            }
        }

        identity!($name);
        handles!($name);
    };
}

pipe_end! {
    /// The pipe that a child reads. It reads the end once this is dropped, or closed by
    /// [`AsyncWrite::poll_close`](futures_io::AsyncWrite::poll_close).
    ChildStdin
}
pipe_end! {
    /// The pipe that a child writes its output to.
    ChildStdout
}
pipe_end! {
    /// The pipe that a child writes its errors to.
    ChildStderr
}

writes!(ChildStdin);
reads!(ChildStdout);
reads!(ChildStderr);

impl ChildStdin {
    /// Closes the pipe, so that the child reads the end: as a drop, where the value is still held.
    ///
    /// # Errors
    ///
    /// It was closed before.
    pub fn close(&mut self) -> io::Result<()> {
        methods::close(&self.descriptor)
    }
}
