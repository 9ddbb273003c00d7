//! How late things were, by quantiles.

use std::time::Duration;

use crate::run::rounded;

/// Durations of one kind.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    nanos: Vec<u64>,
}

/// What is said of them, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Lateness {
    /// Adds one.
    pub(crate) fn note(&mut self, late: Duration) {
        self.nanos.push(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    pub(crate) fn join(&mut self, other: Lateness) {
        self.nanos.extend(other.nanos);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.nanos.len() as u64
    }

    /// All zero where there are none.
    pub(crate) fn quantiles(&mut self) -> Quantiles {
        self.nanos.sort_unstable();
        // The smallest that so many of a thousand do not surpass.
        let of_1000 = |part: usize| {
            let rank = (self.nanos.len() * part).div_ceil(1000);
            let nanos = self.nanos.get(rank.saturating_sub(1)).copied().unwrap_or(0);
            rounded(nanos as f64 / 1000.0, 1)
        };
        Quantiles { p50: of_1000(500), p99: of_1000(990), p999: of_1000(999), max: of_1000(1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut late = Lateness::default();
        assert_eq!(late.quantiles(), Quantiles::default());
        (1..=1000).rev().for_each(|micros| late.note(Duration::from_micros(micros)));
        assert_eq!(late.quantiles(), Quantiles { p50: 500.0, p99: 990.0, p999: 999.0, max: 1000.0 });
        let mut one = Lateness::default();
        one.note(Duration::from_nanos(7100));
        assert_eq!(one.quantiles(), Quantiles { p50: 7.1, p99: 7.1, p999: 7.1, max: 7.1 });
    }
}
