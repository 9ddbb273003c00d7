//! Canaries: values that count how many of them live.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts its [`Canary`] values that are alive.
///
/// ```
/// use laneway::testing::Canaries;
/// let canaries = Canaries::new();
/// let one = canaries.canary();
/// let two = one.clone();
/// assert_eq!(canaries.alive(), 2);
/// drop((one, two));
/// assert_eq!(canaries.alive(), 0);
/// ```
#[derive(Clone, Default)]
pub struct Canaries(Arc<AtomicUsize>);

/// A value to put in messages, in a lane's state, wherever something might be forgotten. Its clone counts as another.
pub struct Canary(Arc<AtomicUsize>);

impl Canaries {
    /// Counts from zero.
    pub fn new() -> Canaries {
        Canaries::default()
    }

    /// One more.
    pub fn canary(&self) -> Canary {
        Canary::hatch(&self.0)
    }

    /// How many are alive.
    pub fn alive(&self) -> usize {
        // ORDER: Acquire pairs with the Release of a drop: who sees none sees what went before their end.
        self.0.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Canaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canaries({} alive)", self.alive())
    }
}

impl Canary {
    fn hatch(count: &Arc<AtomicUsize>) -> Canary {
        // ORDER: Relaxed: only the sum matters.
        count.fetch_add(1, Ordering::Relaxed);
        Canary(count.clone())
    }
}

impl Clone for Canary {
    fn clone(&self) -> Canary {
        Canary::hatch(&self.0)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canary")
    }
}
