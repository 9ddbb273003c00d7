//! Signals that never leave the process's memory, for tests.
//!
//! Owns: who has subscribed to which signal of one [`VirtualEnv`](super::VirtualEnv). Knows nothing of the OS.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::reactor::{Registrar, Token};
use super::readiness::Ready;
use super::socket::{EventSource, StreamSource};

/// As many as a pipe of the OS would hold, or so; what comes then is lost, as there.
const HELD_MAX: usize = 65_536;

/// Who has subscribed to what.
#[derive(Debug, Default)]
pub(super) struct Signals(Mutex<Vec<(i32, Weak<Pipe>)>>);

/// What one subscription was sent and has not read.
#[derive(Debug, Default)]
struct Pipe(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    count: usize,
    reports_to: Option<(Registrar, Token)>,
}

impl Signals {
    pub(super) fn subscribe(&self, number: i32) -> Box<dyn StreamSource> {
        let pipe = Arc::<Pipe>::default();
        let mut subscribers = self.0.lock();
        subscribers.retain(|(_, pipe)| pipe.strong_count() > 0);
        subscribers.push((number, Arc::downgrade(&pipe)));
        Box::new(Subscription(pipe))
    }

    /// Gives the signal to all who have subscribed to it.
    pub(super) fn raise(&self, number: i32) {
        let pipes: Vec<Arc<Pipe>> = {
            let subscribers = self.0.lock();
            subscribers.iter().filter(|(of, _)| *of == number).filter_map(|(_, pipe)| pipe.upgrade()).collect()
        };
        for pipe in pipes {
            let mut held = pipe.0.lock();
            held.count = (held.count + 1).min(HELD_MAX);
            let reports_to = held.reports_to.clone();
            drop(held);
            if let Some((registrar, token)) = reports_to {
                registrar.post(token, Ready::READABLE);
            }
        }
    }
}

#[derive(Debug)]
struct Subscription(Arc<Pipe>);

impl EventSource for Subscription {
    fn register(&mut self, registrar: &Registrar, token: Token) -> io::Result<()> {
        // What is there already is found by the first attempt, or was read before.
        self.0.0.lock().reports_to = Some((registrar.clone(), token));
        Ok(())
    }

    fn deregister(&mut self, _: &Registrar) -> io::Result<()> {
        self.0.0.lock().reports_to = None;
        Ok(())
    }

    fn raw_fd(&self) -> Option<i32> {
        None
    }
}

impl StreamSource for Subscription {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut held = self.0.0.lock();
        if held.count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = held.count.min(buffer.len());
        held.count -= count;
        buffer[..count].fill(b'X');
        Ok(count)
    }

    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        buffers.first_mut().map_or(Ok(0), |buffer| self.read(buffer))
    }

    fn write(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_vectored(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
