//! Whether a result is right, and the sums that say so.

use std::fmt::Debug;
use std::process::exit;

/// Ends the process with status 1 unless the result is the one expected.
pub(crate) fn expect_eq<T: PartialEq + Debug>(what: &str, result: T, expected: T) {
    if result != expected {
        wrong(format_args!("{what} is {result:?}, not {expected:?}"));
    }
}

/// Ends the process with status 1.
pub(crate) fn wrong(what: impl std::fmt::Display) -> ! {
    eprintln!("wrong: {what}");
    exit(1)
}

/// The sum of the numbers below `n`.
pub(crate) fn sum_below(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}

/// How much of `n` falls to each of `parts`, in order: as even as can be, the first ones get what is left over.
pub(crate) fn shares(n: u64, parts: u64) -> impl Iterator<Item = u64> {
    let (each, over) = (n / parts, n % parts);
    (0..parts).map(move |part| if part < over { each + 1 } else { each })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        for (n, parts) in [(10, 3), (3, 10), (0, 2), (12, 4)] {
            let all: Vec<u64> = shares(n, parts).collect();
            assert_eq!(all.len() as u64, parts);
            assert_eq!(all.iter().sum::<u64>(), n);
            assert!(all.iter().max().unwrap() - all.iter().min().unwrap() <= 1, "{all:?}");
        }
    }

    #[test]
    fn the_sum_below_is_that_of_the_numbers() {
        for n in [0, 1, 2, 10, 1000] {
            assert_eq!(sum_below(n), (0..n).sum::<u64>());
        }
    }
}
