//! How many lanes fit under a limit.
//!
//! Owns: [`MemoryPlan`], and sizes as people write them. Pure: it asks no runtime.

use std::alloc::Layout;
use std::fmt;

use crate::admission::cost::{Cost, LANE};
use crate::admission::ledger::MOST;
use crate::admission::{self, DEFAULT_LANE_MEMORY};
use crate::mailbox::{DEFAULT_BOUND, MAX_BOUND};

/// How many lanes of a kind fit under a [memory limit](crate::Builder::memory_limit).
///
/// ```
/// use laneway_runtime::memory_bound::MemoryPlan;
///
/// let plan = MemoryPlan::new(64 << 20).budget(256 << 10).mailbox(16);
/// assert_eq!(plan.lanes(), 250);
/// assert!(plan.lane() > 256 << 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a plan answers when it is asked"]
pub struct MemoryPlan {
    limit: u64,
    budget: u64,
    mailbox: u32,
    message: usize,
    future: usize,
}

impl MemoryPlan {
    /// Under this limit, for lanes with the default [budget](DEFAULT_LANE_MEMORY), a mailbox of [`DEFAULT_BOUND`] short
    /// messages, and a future of up to a kibibyte. A limit of 2^62 bytes and more is one of 2^62 - 1, as the runtime's is.
    pub const fn new(limit: u64) -> MemoryPlan {
        let limit = if limit > MOST { MOST } else { limit };
        MemoryPlan { limit, budget: DEFAULT_LANE_MEMORY, mailbox: DEFAULT_BOUND, message: 8, future: 1024 }
    }

    /// The budget of each lane, in bytes.
    pub const fn budget(mut self, bytes: u64) -> MemoryPlan {
        self.budget = bytes;
        self
    }

    /// The bound of each mailbox, up to [`MAX_BOUND`].
    pub const fn mailbox(mut self, bound: u32) -> MemoryPlan {
        self.mailbox = if bound > MAX_BOUND { MAX_BOUND } else { bound };
        self
    }

    /// The length of the lanes' type of messages: one of more than 48 bytes takes memory beside its node.
    pub const fn messages_of(mut self, bytes: usize) -> MemoryPlan {
        self.message = bytes;
        self
    }

    /// The length of the lanes' future.
    pub const fn futures_of(mut self, bytes: usize) -> MemoryPlan {
        self.future = bytes;
        self
    }

    /// What is reserved for one lane, in bytes. [`u64::MAX`] where no number is large enough.
    pub fn lane(&self) -> u64 {
        let layout = |bytes: usize| Layout::from_size_align(bytes.max(1), 8).ok();
        let cost = || {
            let shape = admission::shape_of(layout(self.future)?, layout(self.message)?);
            Cost::of(shape, self.budget, self.mailbox)
        };
        cost().map_or(u64::MAX, |cost| cost.total())
    }

    /// How many fit.
    pub fn lanes(&self) -> u64 {
        self.limit / self.lane()
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lanes, lane) = (self.lanes(), self.lane());
        let beside = lane.saturating_sub(self.budget);
        write!(
            f,
            "{lanes} lanes fit in {}: {} each, of which {} are beside the budget; {} are left over",
            display_bytes(self.limit),
            display_bytes(lane),
            display_bytes(beside),
            display_bytes(self.limit - lanes * lane),
        )
    }
}

/// More lanes than fit under a limit.
pub(super) fn most_lanes(limit: u64) -> u64 {
    limit / LANE
}

/// A size in bytes was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseBytesError {
    /// It does not begin with a number.
    NoNumber(String),
    /// What follows the number is no unit: `B`, `KiB`, `MiB`, `GiB`, `TiB`.
    BadUnit(String),
    /// It is more than 64 bits hold.
    TooLarge(String),
}

impl fmt::Display for ParseBytesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseBytesError::NoNumber(text) => write!(f, "{text:?} does not begin with a number"),
            ParseBytesError::BadUnit(text) => write!(f, "{text:?} does not end in B, KiB, MiB, GiB or TiB"),
            ParseBytesError::TooLarge(text) => write!(f, "{text:?} is more bytes than 64 bits hold"),
        }
    }
}

impl std::error::Error for ParseBytesError {}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A number of bytes as people write it: `512`, `256KiB`, `64 MiB`.
///
/// ```
/// use laneway_runtime::memory_bound::{ParseBytesError, parse_bytes};
///
/// assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
/// assert_eq!(parse_bytes("64MB"), Err(ParseBytesError::BadUnit("64MB".to_owned())));
/// ```
///
/// # Errors
/// [`ParseBytesError`].
pub fn parse_bytes(text: &str) -> Result<u64, ParseBytesError> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err(ParseBytesError::NoNumber(text.to_owned()));
    }
    let unit = unit.trim_start();
    let power = if unit.is_empty() { Some(0) } else { UNITS.iter().position(|known| *known == unit) };
    let power = power.ok_or_else(|| ParseBytesError::BadUnit(text.to_owned()))?;
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << (10 * power)));
    bytes.ok_or_else(|| ParseBytesError::TooLarge(text.to_owned()))
}

/// A number of bytes as people read it: exact where it is less than ten of the next unit, else with one decimal.
pub fn display_bytes(bytes: u64) -> String {
    let power = (0..UNITS.len() - 1).find(|power| bytes >> (10 * power) < 10 << 10).unwrap_or(UNITS.len() - 1);
    let unit = 1_u64 << (10 * power);
    if bytes.is_multiple_of(unit) {
        return format!("{} {}", bytes / unit, UNITS[power]);
    }
    // Rounded up: what is shown as a bound is one.
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(unit));
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("7B"), Ok(7));
        assert_eq!(parse_bytes("3 KiB"), Ok(3 << 10));
        assert_eq!(parse_bytes("2TiB"), Ok(2 << 40));
        for bad in ["", "KiB", "-1", " 1"] {
            assert_eq!(parse_bytes(bad), Err(ParseBytesError::NoNumber(bad.to_owned())));
        }
        for bad in ["1K", "1kib", "1.5MiB", "1MiB "] {
            assert_eq!(parse_bytes(bad), Err(ParseBytesError::BadUnit(bad.to_owned())));
        }
        for bad in ["99999999999999999999", "99999999TiB"] {
            assert_eq!(parse_bytes(bad), Err(ParseBytesError::TooLarge(bad.to_owned())));
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits_and_rounded_up() {
        let shown = [0, 10_239, 10_240, 10_241, 64 << 20, u64::MAX].map(display_bytes);
        assert_eq!(shown, ["0 B", "10239 B", "10 KiB", "10.1 KiB", "64 MiB", "16777216.0 TiB"]);
    }

    #[test]
    fn no_lane_fits_where_one_costs_more_than_there_is() {
        let plan = MemoryPlan::new(1 << 20);
        assert_eq!(plan.budget(2 << 20).lanes(), 0);
        assert_eq!(plan.budget(u64::MAX).lane(), u64::MAX);
        assert!(plan.mailbox(1).lane() < plan.mailbox(2).lane());
        assert_eq!(plan.mailbox(u32::MAX), plan.mailbox(MAX_BOUND));
        assert!(plan.messages_of(100).lane() > plan.lane() && plan.futures_of(2048).lane() < plan.lane());
    }
}
