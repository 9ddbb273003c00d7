//! Why there is no runtime: none was built, or none is here.

use std::fmt;
use std::io;

use crate::sched::idle::MAX_WORKERS;

/// The code runs in no runtime: neither in a lane nor inside [`Runtime::block_on`](super::Runtime::block_on) or
/// [`Handle::enter`](super::Handle::enter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRuntime;

impl fmt::Display for NotInRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no runtime here: call this in a lane, in block_on, or after Handle::enter")
    }
}

impl std::error::Error for NotInRuntime {}

/// Why a runtime was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of workers is not from 1 to 48.
    BadWorkers(usize),
    /// The number of drivers is not from 1 to the number of workers.
    BadDrivers(usize),
    /// The process has used up its namespaces, as by building tens of thousands of runtimes.
    OutOfNamespaces,
    /// The OS refused a thread or a poller.
    Os(io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::BadWorkers(count) => write!(f, "a runtime has 1 to {MAX_WORKERS} workers, not {count}"),
            BuildError::BadDrivers(count) => write!(f, "a runtime has 1 driver to one a worker, not {count}"),
            BuildError::OutOfNamespaces => f.write_str("the process is out of namespaces for ids"),
            BuildError::Os(error) => write!(f, "the system refused what a runtime needs: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> BuildError {
        BuildError::Os(error)
    }
}
