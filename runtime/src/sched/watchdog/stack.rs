//! Where the code of a stuck worker is: the stack of its thread, and what the system says of the thread.
//!
//! Owns: [`Stack`] and [`Thread`]. A stack is had in three steps, of which only the first disturbs the thread: `snapshot`
//! copies its registers and the top of its stack, in a handler that does nothing else; `unwind` finds the return addresses
//! in the copy; and the names of the functions are looked up by the watchdog's thread, which reads the debug information of
//! the process for the first one.
//!
//! Unwinding within the handler, as profilers do it, is not for a runtime: the unwinder of the system may take a lock that
//! the thread itself holds, or follow a stack that it does not understand. This one works on a copy, in a thread of its
//! own, with an unwinder that reads nothing else: at worst there are too few frames.

use std::fmt;
use std::fs;
use std::sync::{Arc, OnceLock};

#[cfg(all(feature = "stacks", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod snapshot;
#[cfg(all(feature = "stacks", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod unwind;

/// The stack of a thread at one moment, innermost frame first.
#[derive(Clone)]
pub struct Stack(Arc<Frames>);

struct Frames {
    /// Addresses within the calls, not those to which they return.
    addresses: Vec<usize>,
    /// The names, once somebody has asked for them.
    functions: OnceLock<Vec<String>>,
}

impl Stack {
    /// The stack of a thread of this process; `None` where it is not to be had.
    #[cfg(all(feature = "stacks", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn of(thread: u32) -> Option<Stack> {
        let addresses = unwind::addresses(&snapshot::take(thread)?);
        Some(Stack(Arc::new(Frames { addresses, functions: OnceLock::new() })))
    }

    /// There are none here.
    #[cfg(not(all(feature = "stacks", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    pub(super) fn of(_: u32) -> Option<Stack> {
        None
    }

    /// The addresses of the frames, innermost first.
    pub fn addresses(&self) -> &[usize] {
        &self.0.addresses
    }

    /// The functions, innermost first, those included that the compiler has put into others; one that has no name by its
    /// address.
    pub fn functions(&self) -> &[String] {
        let Frames { addresses, functions } = &*self.0;
        functions.get_or_init(|| addresses.iter().flat_map(|address| names_at(*address)).collect())
    }
}

#[cfg(feature = "stacks")]
fn names_at(address: usize) -> Vec<String> {
    let mut names = Vec::new();
    backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
        names.extend(symbol.name().map(|name| format!("{name:#}")));
    });
    if names.is_empty() {
        names.push(format!("{address:#x}"));
    }
    names
}

#[cfg(not(feature = "stacks"))]
fn names_at(address: usize) -> Vec<String> {
    vec![format!("{address:#x}")]
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.functions()).finish()
    }
}

/// The functions, one after the other.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, function) in self.functions().iter().enumerate() {
            write!(f, "{}{function}", if at == 0 { "" } else { " < " })?;
        }
        Ok(())
    }
}

/// A thread, as the system sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Thread {
    /// The system's number for it.
    pub number: u32,
    /// What it did when it was looked at.
    pub does: Does,
}

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Does {
    /// It computes, or waits for a processor to compute on.
    Compute,
    /// It waits in the system, in this function of the kernel where that is told.
    Wait(Option<Arc<str>>),
    /// The system does not tell.
    Unknown,
}

impl Thread {
    /// What is known of a thread of this process for the mere asking.
    pub(super) fn of(number: u32) -> Thread {
        let read = |what: &str| fs::read_to_string(format!("/proc/self/task/{number}/{what}")).ok();
        // The state comes after the name, which is in brackets and may have brackets in it.
        let state = read("stat").and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
        let place = || read("wchan").filter(|place| !matches!(place.trim(), "" | "0")).map(|place| place.trim().into());
        let does = match state {
            Some('R') => Does::Compute,
            Some('S' | 'D') => Does::Wait(place()),
            _ => Does::Unknown,
        };
        Thread { number, does }
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {}", self.number)?;
        match &self.does {
            Does::Compute => f.write_str(", computes"),
            Does::Wait(Some(place)) => write!(f, ", waits in {place}"),
            Does::Wait(None) => f.write_str(", waits"),
            Does::Unknown => Ok(()),
        }
    }
}
