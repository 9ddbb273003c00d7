//! What the OS says of this process, by way of `/proc/self`. Zero where there is no such thing.

use std::fs;
use std::time::Duration;

/// The unit of times in `/proc/self/stat`, the same on every Linux.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// The memory that is resident now, in KiB.
pub(crate) fn resident_kib() -> u64 {
    status("VmRSS:")
}

/// The most memory that ever was resident, in KiB.
pub(crate) fn resident_peak_kib() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let all = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The time that all threads spent so far, as users and in the kernel, to a [`CLOCK_TICK`] each.
pub(crate) fn cpu_time() -> Duration {
    let all = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    CLOCK_TICK * ticks(&all).unwrap_or(0)
}

/// `utime` and `stime`, the 14th and 15th word of a line whose second word, in brackets, may hold spaces.
fn ticks(stat: &str) -> Option<u32> {
    let (_, from_third) = stat.rsplit_once(')')?;
    let mut words = from_third.split_whitespace().skip(11);
    let user: u32 = words.next()?.parse().ok()?;
    let system: u32 = words.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "12 (a ) name) S 1 12 12 0 -1 4194560 103 0 0 0 42 7 0 0 20 0 1 0 5";
        assert_eq!(ticks(stat), Some(49));
        assert_eq!(ticks("nonsense"), None);
    }
}
