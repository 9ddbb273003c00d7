//! Signals of the OS, by pipes of their own.
//!
//! Owns: the pipe of one subscription to one signal. Knows nothing of who reads it: it is a stream of bytes, one for each
//! time that the signal came.
//!
//! The handler that the crate `signal-hook` puts in place writes a byte into the pipe of each subscription, which is all
//! that it does. A pipe that is full takes no more: it holds thousands, and the OS itself keeps only one of each kind of
//! those that are still to be delivered.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::Interest;
use mio::unix::pipe;
use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
use signal_hook::low_level;

use super::reactor::{Registrar, Token};
use super::socket::{EventSource, StreamSource};

/// Has the signal of this number come as bytes of a stream, until that is dropped.
///
/// # Errors
///
/// `InvalidInput` for a signal that cannot be caught, or only by who knows what it does; or as the OS gives them.
pub(crate) fn subscribe(number: i32) -> io::Result<Box<dyn StreamSource>> {
    let (writer, reader) = pipe::new()?;
    let registered = register(number, writer.into())?;
    Ok(Box::new(Subscription { reader, registered }))
}

/// Has a byte written to `pipe` each time that the signal of this number comes.
pub(super) fn register(number: i32, pipe: OwnedFd) -> io::Result<Registered> {
    check(number)?;
    low_level::pipe::register(number, pipe).map(Registered)
}

/// Raises a signal for this process; what has subscribed to it has its byte when this returns.
pub(crate) fn raise(number: i32) -> io::Result<()> {
    low_level::raise(number)
}

pub(super) fn check(number: i32) -> io::Result<()> {
    if number <= 0 || FORBIDDEN.contains(&number) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {number} cannot be subscribed to")));
    }
    Ok(())
}

/// A pipe that a handler writes to. Its end of the pipe is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Registered(SigId);

impl Drop for Registered {
    fn drop(&mut self) {
        low_level::unregister(self.0);
    }
}

#[derive(Debug)]
struct Subscription {
    reader: pipe::Receiver,
    /// Dropped after the reader: a byte that nobody can read is an error to the handler, which minds none.
    #[expect(dead_code, reason = "held for its drop")]
    registered: Registered,
}

impl EventSource for Subscription {
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        registrar.mio().register(&mut self.reader, token.to_mio(), Interest::READABLE)
    }

    fn deregister(&mut self, registrar: &Registrar) -> io::Result<()> {
        registrar.mio().deregister(&mut self.reader)
    }

    fn raw_fd(&self) -> Option<i32> {
        Some(self.reader.as_raw_fd())
    }
}

impl StreamSource for Subscription {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.reader).read(buffer)
    }

    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.reader).read_vectored(buffers)
    }

    fn write(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_vectored(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGKILL, SIGURG, SIGUSR2, SIGWINCH};

    use super::*;

    #[test]
    fn each_subscription_gets_a_byte_for_each_time_and_none_after_it_is_dropped() {
        // Signals that no other test here raises.
        let one = subscribe(SIGWINCH).unwrap();
        let two = subscribe(SIGWINCH).unwrap();
        let other = subscribe(SIGURG).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(one.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for _ in 0..3 {
            raise(SIGWINCH).unwrap();
        }
        assert_eq!((one.read(&mut buffer).unwrap(), two.read(&mut buffer[..2]).unwrap()), (3, 2));
        assert_eq!(other.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(one);
        raise(SIGWINCH).unwrap();
        assert_eq!(two.read(&mut buffer).unwrap(), 2);
    }

    #[test]
    fn a_full_pipe_loses_signals_and_blocks_nobody() {
        let all = subscribe(SIGUSR2).unwrap();
        for _ in 0..100_000 {
            raise(SIGUSR2).unwrap();
        }
        let mut buffer = vec![0; 100_000];
        let count = all.read(&mut buffer).unwrap();
        assert!((1000..100_000).contains(&count), "{count}");
        raise(SIGUSR2).unwrap();
        assert_eq!(all.read(&mut buffer).unwrap(), 1);
    }

    #[test]
    fn what_cannot_be_caught_is_refused() {
        for number in [SIGKILL, 0, -1, signal_hook::consts::SIGSEGV] {
            assert_eq!(subscribe(number).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{number}");
        }
        assert!(subscribe(4711).is_err());
    }
}
