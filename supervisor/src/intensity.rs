//! Restart intensity: whether one more restart is still a cure.
//!
//! Owns: the times of the restarts that still count. Knows nothing of children, and reads no clock.
//!
//! # Invariants
//! 1. At most `intensity` times are kept, each no older than `period` when the last restart was admitted.
//! 2. The times stand in the order in which they were admitted.

use std::collections::VecDeque;
use std::time::Duration;

/// Counts restarts within a sliding window of time.
///
/// ```
/// use laneway_supervisor::Intensity;
/// use std::time::Duration;
///
/// let mut restarts = Intensity::new(1, Duration::from_secs(5));
/// assert!(restarts.admit(Duration::from_secs(10)));
/// assert!(!restarts.admit(Duration::from_secs(12)));
/// assert!(restarts.admit(Duration::from_secs(16)));
/// ```
#[derive(Clone, Debug)]
pub struct Intensity {
    intensity: u32,
    period: Duration,
    admitted: VecDeque<Duration>,
}

impl Intensity {
    /// Allows `intensity` restarts within any `period`; none at all where `intensity` is 0.
    pub const fn new(intensity: u32, period: Duration) -> Intensity {
        Intensity { intensity, period, admitted: VecDeque::new() }
    }

    /// Counts one restart at `now`, a time since any fixed start. False where it is one too many: it is not counted then.
    ///
    /// A restart exactly `period` ago still counts. A `now` before the last one is taken as just after it.
    #[must_use]
    pub fn admit(&mut self, now: Duration) -> bool {
        let now = self.admitted.back().map_or(now, |&last| last.max(now));
        while self.admitted.front().is_some_and(|&then| now - then > self.period) {
            self.admitted.pop_front();
        }
        if self.admitted.len() >= self.intensity as usize {
            return false;
        }
        self.admitted.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn otp_057_the_restart_after_the_last_allowed_one_is_refused() {
        for intensity in [0, 1, 2, 10] {
            let mut restarts = Intensity::new(intensity, s(5));
            for _ in 0..intensity {
                assert!(restarts.admit(s(1)), "intensity {intensity}");
            }
            assert!(!restarts.admit(s(1)), "intensity {intensity}");
        }
    }

    #[test]
    fn otp_058_restarts_older_than_the_period_do_not_count() {
        let mut restarts = Intensity::new(2, s(5));
        assert!(restarts.admit(s(0)));
        assert!(restarts.admit(s(3)));
        assert!(!restarts.admit(s(5)), "exactly a period ago still counts");
        assert!(restarts.admit(s(6)));
        assert!(!restarts.admit(s(8)), "the one at 3 counts until 8");
        assert!(restarts.admit(s(9)));
    }

    #[test]
    fn memory_is_bounded_by_the_intensity() {
        let mut restarts = Intensity::new(3, s(5));
        for second in 0..10_000 {
            let _admitted = restarts.admit(s(second));
            assert!(restarts.admitted.len() <= 3);
        }
        assert!(restarts.admitted.capacity() <= 8);
    }

    #[test]
    fn a_clock_that_steps_back_forgets_no_restart() {
        let mut restarts = Intensity::new(1, s(5));
        assert!(restarts.admit(s(100)));
        assert!(!restarts.admit(s(1)));
        assert!(restarts.admit(s(106)));
    }
}
