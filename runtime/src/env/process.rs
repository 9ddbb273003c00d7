//! Processes that this one starts, as an env offers them.
//!
//! Owns: [`ChildSource`], and what comes with one: its pipes, and what is to become of it when nobody has it any more. The
//! processes of the OS are in `os_process`.

use std::io;
use std::process::ExitStatus;

use super::socket::{EventSource, StreamSource};

/// A process that this one has started. Ready to be read once it has ended.
///
/// Dropped, it goes as [`Leaving`] says; in any case the OS is rid of it once it has ended.
pub trait ChildSource: EventSource {
    /// How it ended; the same at each call.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while it runs; or as the OS gives them, as where somebody else has asked for it.
    fn try_wait(&self) -> io::Result<ExitStatus>;

    /// Sends it the signal of this number, if it runs.
    ///
    /// # Errors
    ///
    /// It has ended (`NotFound`), there is no such signal (`InvalidInput`), or as the OS gives them.
    fn signal(&self, number: i32) -> io::Result<()>;

    /// Ends it at once, if it runs; that it does not any more is no error.
    ///
    /// # Errors
    ///
    /// As the OS gives them.
    fn kill(&self) -> io::Result<()>;

    /// The OS's number for it, which is another's once it has ended and was waited for.
    fn pid(&self) -> u32;
}

/// What becomes of a child process when nobody has it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leaving {
    /// It is killed: the default.
    #[default]
    Kill,
    /// It goes on, and the OS is rid of it when it has ended.
    LetRun,
}

/// A process that was started, and our ends of those of its pipes that were asked for.
#[derive(Debug)]
pub struct StartedProcess {
    /// The process.
    pub child: Box<dyn ChildSource>,
    /// What is written to it.
    pub stdin: Option<Box<dyn StreamSource>>,
    /// What it writes.
    pub stdout: Option<Box<dyn StreamSource>>,
    /// What it writes of errors.
    pub stderr: Option<Box<dyn StreamSource>>,
}
