//! A copy of a thread's registers and of the top of its stack, taken by the thread itself in a signal handler.
//!
//! Owns: the signal, its handler and the one place into which the handler copies. The signal is the last of the real-time
//! signals that nobody has a handler for when the first runtime asks; it interrupts the thread, whose system calls are
//! restarted where the system does that (`SA_RESTART`), and fail with `EINTR` where it does not.
//!
//! # Invariants
//! 1. The handler only reads its arguments, asks the system for the thread's number and for a copy of memory, and
//!    changes atomics: all of it is safe in a handler, none of it waits, and `errno` is as before. The copy is made by the
//!    system (`process_vm_readv`), for which an address that is not mapped is an error and no fault.
//! 2. `COPY` is touched by the handler that has brought `STATE` from `ASKED` to `BUSY`, until it stores `DONE`; and by
//!    the thread that holds `TAKER`, while `STATE` is `IDLE` or `DONE`.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Bytes of a stack that are copied: those of some hundred frames.
const COPIED_MAX: usize = 64 * 1024;
/// Pieces in which they are copied: what is not mapped ends the copy at a page, not before it begins.
const PIECES: usize = 17;
const PAGE: usize = 4096;
/// How long, and how often, a thread is waited for. One that has no processor does not come to its handler.
const PATIENCE: Duration = Duration::from_micros(50);
const LOOKS: u32 = 60;

const IDLE: u32 = 0;
const BUSY: u32 = 1;
const DONE: u32 = 2;
/// And above: this bit with the number of the thread that is asked.
const ASKED: u32 = 1 << 31;

static STATE: AtomicU32 = AtomicU32::new(IDLE);
static TAKER: Mutex<()> = Mutex::new(());
static REGISTERS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static LENGTH: AtomicU64 = AtomicU64::new(0);
static COPY: Copy = Copy(UnsafeCell::new([0; COPIED_MAX]));

struct Copy(UnsafeCell<[u8; COPIED_MAX]>);

// SAFETY: invariant 2 says who touches it when.
unsafe impl Sync for Copy {}

/// What a thread had at one moment.
pub(super) struct Snapshot {
    pub(super) instruction: u64,
    pub(super) stack_pointer: u64,
    pub(super) frame_pointer: u64,
    /// The return address, on machines that have it in a register.
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "the return address is on the stack there"))]
    pub(super) link: u64,
    /// What lies at the stack pointer and above it.
    pub(super) stack: Vec<u8>,
}

/// Has a thread of this process copy what it is about; `None` where it does not come to it in time.
pub(super) fn take(thread: u32) -> Option<Snapshot> {
    let signal = (*SIGNAL.get_or_init(install))?;
    let _taker = TAKER.lock();
    // Somebody may have taken it since, or reset all signals: by default this one ends the process.
    action_of(signal).filter(|action| action.sa_sigaction == handler())?;
    // One that came late may be at it still.
    if STATE.load(Ordering::Acquire) == BUSY {
        return None;
    }
    // ORDER: Release: whoever copies next does so after the last copy was made and read; pairs with the Acquire in `handle`.
    STATE.store(ASKED | thread, Ordering::Release);
    let sent = send(thread, signal);
    for _ in 0..LOOKS {
        // ORDER: Acquire pairs with the Release of `DONE`: all that was copied is seen.
        if !sent || STATE.load(Ordering::Acquire) == DONE {
            break;
        }
        std::thread::park_timeout(PATIENCE);
    }
    // ORDER: Relaxed: from `ASKED` back to `IDLE`, a handler that comes later does nothing. Acquire: as above.
    if STATE.compare_exchange(ASKED | thread, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        || STATE.load(Ordering::Acquire) != DONE
    {
        return None;
    }
    let [instruction, stack_pointer, frame_pointer, link] =
        REGISTERS.each_ref().map(|register| register.load(Ordering::Relaxed));
    let length = (LENGTH.load(Ordering::Relaxed) as usize).min(COPIED_MAX);
    // SAFETY: invariant 2: the state is `DONE`, and we hold `TAKER`.
    let copy = unsafe { &*COPY.0.get() };
    let stack = copy[..length].to_vec();
    STATE.store(IDLE, Ordering::Relaxed);
    Some(Snapshot { instruction, stack_pointer, frame_pointer, link, stack })
}

/// The signal, where one was free.
static SIGNAL: OnceLock<Option<c_int>> = OnceLock::new();

/// Puts the handler in for the last real-time signal that has none.
fn install() -> Option<c_int> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev().find(|signal| {
        let Some(mut action) = action_of(*signal).filter(|action| action.sa_sigaction == libc::SIG_DFL) else {
            return false;
        };
        action.sa_sigaction = handler();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        // SAFETY: the handler has the signature that `SA_SIGINFO` asks for, and keeps what handlers must (invariant 1).
        let put = unsafe { libc::sigaction(*signal, &raw const action, std::ptr::null_mut()) };
        put == 0
    })
}

fn handler() -> libc::sighandler_t {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle;
    handler as libc::sighandler_t
}

/// What a signal does.
fn action_of(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: zeroes are a `sigaction`: a structure of numbers, without flags, by default.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: it asks for what is there, and `action` has room for it.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    (asked == 0).then_some(action)
}

/// True where the signal is under way.
fn send(thread: u32, signal: c_int) -> bool {
    // SAFETY: it reads the process's number.
    let process = unsafe { libc::getpid() };
    // SAFETY: it sends a signal for which there is a handler to a thread of this process, or to none.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread as libc::pid_t, signal) == 0 }
}

/// The handler (invariant 1).
extern "C" fn handle(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: it reads the thread's number.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
    // ORDER: Acquire pairs with the Release of `ASKED`. What is copied is published by `DONE`.
    if STATE.compare_exchange(ASKED | thread, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    // SAFETY: it is the place of the thread's own `errno`.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above, which is valid for as long as the thread is.
    let before = unsafe { errno.read() };
    // SAFETY: with `SA_SIGINFO` the system passes what was interrupted, valid until the handler returns.
    let interrupted = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    let registers = registers(interrupted);
    for (place, register) in REGISTERS.iter().zip(registers) {
        place.store(register, Ordering::Relaxed);
    }
    LENGTH.store(copy(registers[1] as usize) as u64, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe { errno.write(before) };
    // ORDER: Release publishes the copy to `take`.
    STATE.store(DONE, Ordering::Release);
}

/// Copies what lies at an address and above it, as far as it is mapped: how many bytes.
fn copy(from: usize) -> usize {
    let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut pieces = [none; PIECES];
    let (mut at, mut left) = (from, COPIED_MAX);
    for piece in &mut pieces {
        let length = (PAGE - at % PAGE).min(left);
        *piece = libc::iovec { iov_base: std::ptr::without_provenance_mut(at), iov_len: length };
        (at, left) = (at.wrapping_add(length), left - length);
    }
    let into = libc::iovec { iov_base: COPY.0.get().cast(), iov_len: COPIED_MAX };
    // SAFETY: it reads the process's number.
    let process = unsafe { libc::getpid() };
    // SAFETY: the system writes at most `COPIED_MAX` bytes to `COPY`, which is ours (invariant 2), and checks by itself what it
    // reads.
    let copied = unsafe { libc::process_vm_readv(process, &raw const into, 1, pieces.as_ptr(), PIECES as _, 0) };
    usize::try_from(copied).unwrap_or(0)
}

#[cfg(target_arch = "x86_64")]
fn registers(interrupted: &libc::mcontext_t) -> [u64; 4] {
    let register = |which: c_int| interrupted.gregs[which as usize] as u64;
    [register(libc::REG_RIP), register(libc::REG_RSP), register(libc::REG_RBP), 0]
}

#[cfg(target_arch = "aarch64")]
fn registers(interrupted: &libc::mcontext_t) -> [u64; 4] {
    [interrupted.pc, interrupted.sp, interrupted.regs[29], interrupted.regs[30]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_somebody_else_has_taken_since_is_not_sent() {
        let number = crate::sched::watchdog::this_thread();
        while take(number).is_none() {}
        let signal = SIGNAL.get().copied().flatten().expect("it was sent");
        // SAFETY: zeroes are a `sigaction`, that of the default; here it has the process end.
        let default: libc::sigaction = unsafe { std::mem::zeroed() };
        let mut ours = default;
        // SAFETY: both are valid; the handler that was there comes back below.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const default, &raw mut ours) }, 0);
        assert!(take(number).is_none());
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const ours, std::ptr::null_mut()) }, 0);
        while take(number).is_none() {}
    }
}
