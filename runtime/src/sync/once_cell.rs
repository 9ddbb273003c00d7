//! A value that is made once, by code that may wait.
//!
//! Owns: [`OnceCell`]. Whose turn it is to make the value is a [`Semaphore`] of one permit, which comes back from whoever
//! fails, panics, stops or dies; it is closed when the value is there, so that all go on at once.

use std::convert::Infallible;
use std::fmt;
use std::sync::OnceLock;

use super::semaphore::{Semaphore, TryAcquireError};
use crate::wait_graph::note::hands_out;

/// A place for a value that the first to need it makes.
///
/// While one makes the value the others wait, in order. Where he fails, panics, is dropped or dies, the next makes it.
///
/// ```
/// use laneway_runtime::sync::OnceCell;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// static CONFIG: OnceCell<String> = OnceCell::new();
/// runtime.block_on(async {
///     assert_eq!(CONFIG.get_or_try_init(async || Err("not now")).await, Err("not now"));
///     assert_eq!(CONFIG.get_or_init(async || "yes".to_owned()).await, "yes");
///     assert_eq!(CONFIG.get_or_init(async || "no".to_owned()).await, "yes");
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OnceCell<T> {
    value: OnceLock<T>,
    turn: Semaphore,
}

impl<T> OnceCell<T> {
    /// A cell without a value. It may be a static.
    pub const fn new() -> OnceCell<T> {
        OnceCell { value: OnceLock::new(), turn: Semaphore::new(1) }
    }

    /// A cell that has its value.
    pub fn new_with(value: T) -> OnceCell<T> {
        OnceCell { value: value.into(), turn: Semaphore::new(1) }
    }

    /// The value, once it is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, once it is there.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Whether the value is there.
    pub fn is_initialized(&self) -> bool {
        self.value.get().is_some()
    }

    /// Puts the value in.
    ///
    /// # Errors
    /// [`SetError`], with the value.
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), SetError<T>> {
        hands_out::<T>();
        if self.is_initialized() {
            return Err(SetError::AlreadyInitialized(value));
        }
        match self.turn.try_acquire() {
            Ok(_turn) => self.fill(value).map_err(SetError::AlreadyInitialized),
            Err(TryAcquireError::Closed) => Err(SetError::AlreadyInitialized(value)),
            Err(TryAcquireError::NoPermits) => Err(SetError::Initializing(value)),
        }
    }

    /// The value, made by `init` where it is not there.
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in line, or leaves it to the next to make the value.
    #[track_caller]
    pub fn get_or_init<F>(&self, init: impl FnOnce() -> F) -> impl Future<Output = &T>
    where
        F: Future<Output = T>,
    {
        let made = self.get_or_try_init(|| {
            let made = init();
            async { Ok::<T, Infallible>(made.await) }
        });
        async {
            match made.await {
                Ok(value) => value,
                Err(never) => match never {},
            }
        }
    }

    /// As [`OnceCell::get_or_init`], with an `init` that may fail.
    ///
    /// # Errors
    /// Those of `init`; it is the next one's turn then.
    ///
    /// # Cancellation
    /// As [`OnceCell::get_or_init`].
    #[track_caller]
    pub fn get_or_try_init<E, F>(&self, init: impl FnOnce() -> F) -> impl Future<Output = Result<&T, E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        // Taken here, as an async block would not know its caller.
        let turn = (!self.is_initialized()).then(|| self.turn.acquire());
        async move {
            if let Some(value) = self.get() {
                return Ok(value);
            }
            let turn = match turn {
                Some(turn) => turn.await,
                None => self.turn.acquire().await,
            };
            if let Some(value) = self.get() {
                return Ok(value);
            }
            let value = init().await?;
            hands_out::<T>();
            // Where his turn was taken from him, as his lane died after the future had moved to another, somebody else may
            // have been quicker.
            let _second = self.fill(value);
            drop(turn);
            Ok(self.get().expect("a cell that was filled has a value"))
        }
    }

    /// Whoever has the turn puts the value in, and all go on.
    fn fill(&self, value: T) -> Result<(), T> {
        let filled = self.value.set(value);
        self.turn.close();
        filled
    }

    /// Takes the value out; the cell is as new.
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into_inner()
    }

    /// The value, if it is there.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> OnceCell<T> {
        OnceCell::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> OnceCell<T> {
        OnceCell::new_with(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceCell").field("value", &self.get()).finish_non_exhaustive()
    }
}

/// Why a value was not put in; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetError<T> {
    /// The cell has a value.
    AlreadyInitialized(T),
    /// Somebody is making the value, or waits for his turn to do so.
    Initializing(T),
}

impl<T> SetError<T> {
    /// The value that was not put in.
    pub fn into_inner(self) -> T {
        match self {
            SetError::AlreadyInitialized(value) | SetError::Initializing(value) => value,
        }
    }
}

impl<T> fmt::Debug for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetError::AlreadyInitialized(_) => "AlreadyInitialized",
            SetError::Initializing(_) => "Initializing",
        })
    }
}

impl<T> fmt::Display for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetError::AlreadyInitialized(_) => "the cell has a value; this one came back",
            SetError::Initializing(_) => "somebody is making the cell's value; this one came back",
        })
    }
}

impl<T> std::error::Error for SetError<T> {}

#[cfg(test)]
mod tests;
