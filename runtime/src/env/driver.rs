//! Where a worker waits: a reactor with the descriptors that it serves.
//!
//! Owns: nothing but the pair. Knows nothing of workers and timers: whoever turns it passes the nearest deadline.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::{Descriptors, Env, Idle, Instant, Reactor, Unparker};
use crate::Namespace;

/// The part of an env that waits for I/O and timers, for a group of workers. One thread at a time turns it.
#[derive(Debug)]
pub struct Driver {
    reactor: Reactor,
    descriptors: Arc<Descriptors>,
    index: usize,
}

impl Driver {
    /// As many drivers as `count`, numbered from 0, and the table of descriptors that they serve together.
    ///
    /// # Errors
    ///
    /// The env cannot make that many reactors.
    pub fn start(
        env: &dyn Env,
        namespace: Namespace,
        count: NonZeroUsize,
    ) -> io::Result<(Arc<Descriptors>, Vec<Driver>)> {
        let reactors = (0..count.get()).map(|_| env.reactor()).collect::<io::Result<Vec<Reactor>>>()?;
        let descriptors = Descriptors::new(namespace, reactors.iter().map(Reactor::registrar));
        let drivers = reactors.into_iter().enumerate();
        let drivers =
            drivers.map(|(index, reactor)| Driver { reactor, descriptors: Arc::clone(&descriptors), index }).collect();
        Ok((descriptors, drivers))
    }

    /// The number under which descriptors are bound to this driver.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The way to end a park from elsewhere.
    pub fn unparker(&self) -> Unparker {
        self.reactor.unparker()
    }

    /// Waits for I/O until `timeout`, for ever if there is none; else as [`Reactor::poll`].
    ///
    /// # Errors
    ///
    /// As [`Reactor::poll`].
    pub fn park(&mut self, timeout: Option<Duration>, wakers: &mut Vec<Waker>) -> io::Result<usize> {
        self.reactor.poll(timeout, &self.descriptors, wakers)
    }

    /// Takes what I/O there is, without waiting.
    ///
    /// # Errors
    ///
    /// As [`Reactor::poll`].
    pub fn poll_now(&mut self, wakers: &mut Vec<Waker>) -> io::Result<usize> {
        self.park(Some(Duration::ZERO), wakers)
    }

    /// Nothing can run: waits, as `env` sees fit, until `next`, the nearest deadline of any timer. The caller then fires
    /// what is due by `env.now()`.
    ///
    /// See [`Env::idle_until`] for who may call this.
    ///
    /// # Errors
    ///
    /// As [`Reactor::poll`].
    pub fn idle(&mut self, env: &dyn Env, next: Option<Instant>, wakers: &mut Vec<Waker>) -> io::Result<usize> {
        match env.idle_until(next) {
            Idle::Block => self.park(next.map(|next| next - env.now()), wakers),
            Idle::Advanced => self.poll_now(wakers),
        }
    }
}
