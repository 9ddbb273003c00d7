//! Child processes that belong to lanes.
//!
//! Owns: [`Command`], [`Child`] and our ends of its pipes. Knows nothing of how the env starts a process.
//!
//! # Who has a child
//!
//! A [`Child`] is a descriptor of the lane that started it, and so is each of its pipes. When the last of its ids closes, be
//! it by a drop or by the death of the lane, the process is killed (`SIGKILL`), unless
//! [`let_run`](Command::let_run) says otherwise, and the system is rid of it in any case: no zombie stays. A process that
//! was killed ends when the system lets it, which is soon, but may be after the death of the lane was told of;
//! [`processes_left`] counts those that are not through. What a child has started itself is its own.
//!
//! ```
//! use laneway_net::process::{Command, Stdio};
//!
//! let node = runtime::Runtime::builder().workers(1).build()?;
//! let said = node.block_on(async {
//!     let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
//!     let (Some(mut stdin), Some(mut stdout)) = (cat.stdin.take(), cat.stdout.take()) else { unreachable!() };
//!     stdin.write_all(b"meow").await?;
//!     // What reads to the end waits for this.
//!     drop(stdin);
//!     let mut said = [0; 4];
//!     stdout.read_exact(&mut said).await?;
//!     assert!(cat.wait().await?.success());
//!     std::io::Result::Ok(said)
//! })?;
//! assert_eq!(&said, b"meow");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod child;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process;

use runtime::env::{Leaving, StartedProcess};
use runtime::spawn_blocking;

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{ExitStatus, Stdio};

use crate::handle::{self, here};

/// How to start a process: what [`std::process::Command`] says, and what becomes of it when nobody has it any more.
#[derive(Debug)]
#[must_use = "nothing is started before `spawn`"]
pub struct Command {
    command: process::Command,
    leaving: Leaving,
}

impl Command {
    /// A program, with no arguments, in the environment and the folder of this process, and with its standard input and
    /// outputs.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from(process::Command::new(program))
    }

    /// One argument more.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Command {
        self.command.arg(argument);
        self
    }

    /// Some arguments more.
    pub fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Command {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.command.env(name, value);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Command {
        self.command.env_remove(name);
        self
    }

    /// Takes all variables out of its environment.
    pub fn env_clear(mut self) -> Command {
        self.command.env_clear();
        self
    }

    /// The folder that it starts in.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Command {
        self.command.current_dir(folder);
        self
    }

    /// Where its input comes from; [`Stdio::piped`] for [`Child::stdin`].
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Command {
        self.command.stdin(from);
        self
    }

    /// Where its output goes; [`Stdio::piped`] for [`Child::stdout`].
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Command {
        self.command.stdout(to);
        self
    }

    /// Where its errors go; [`Stdio::piped`] for [`Child::stderr`].
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Command {
        self.command.stderr(to);
        self
    }

    /// Whether it goes on when nobody has it any more, as when the lane that started it dies; `false` at first: it is killed
    /// then.
    pub fn let_run(mut self, let_run: bool) -> Command {
        self.leaving = if let_run { Leaving::LetRun } else { Leaving::Kill };
        self
    }

    /// Starts the process, for the lane that calls. Ready once the program runs, or could not be started.
    ///
    /// *Cancellation*: it may be started all the same, and then goes the way of a child that nobody has.
    ///
    /// # Errors
    ///
    /// `NotFound` for a program that is not there, and others as the OS gives them;
    /// [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`. Nothing runs then; but where only the descriptors were
    /// not to be had, the process was started and is killed.
    pub async fn spawn(self) -> io::Result<Child> {
        let node = here()?;
        let env = node.env();
        let Command { mut command, leaving } = self;
        let started = spawn_blocking(move || env.start_process(&mut command, leaving)).await?;
        let StartedProcess { child, stdin, stdout, stderr } = started;
        let pid = child.pid();
        // The child first: should one of the others fail, its drop ends it.
        let mut child = Child::new(handle::open(&node, child)?, Some(pid));
        child.stdin = stdin.map(|pipe| handle::open(&node, pipe).map(ChildStdin::of)).transpose()?;
        child.stdout = stdout.map(|pipe| handle::open(&node, pipe).map(ChildStdout::of)).transpose()?;
        child.stderr = stderr.map(|pipe| handle::open(&node, pipe).map(ChildStderr::of)).transpose()?;
        Ok(child)
    }
}

/// For what is not said here, as the user that it runs as.
impl From<process::Command> for Command {
    fn from(command: process::Command) -> Command {
        Command { command, leaving: Leaving::Kill }
    }
}

/// How many child processes nobody has any more that have not ended yet: killed just now, or [let run](Command::let_run). Those
/// of this whole process, as the system counts them.
///
/// # Errors
///
/// [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`.
pub fn processes_left() -> io::Result<usize> {
    Ok(here()?.env().processes_left())
}
