//! A global allocator that knows for whom it allocates: what the code of a lane takes is charged to the lane, and credited
//! to it wherever it is freed.
//!
//! Owns: [`Accounting`], and the header of each block. Whose account is charged is `account.rs`'s business, and what an
//! account adds up to `balance.rs`'s.
//!
//! # A block
//!
//! ```text
//!  start               user's pointer
//!  │ padding │ account │ what was asked for …
//!  └──── offset ───────┘
//! ```
//!
//! The word before what the user has names the account that pays, or none. The offset follows from the layout, which
//! whoever frees a block gives again, so it is written nowhere.
//!
//! # Invariants
//! 1. Each block that was handed out has such a word, written before it was handed out; only this file writes there.
//! 2. `outer` of a layout is at least as strictly aligned as a pointer, and `offset` bytes longer; `offset` is a multiple of
//!    the layout's alignment and of a pointer's, and no less than a pointer is long.
//! 3. Nothing here allocates, panics, waits, or has a thread-local with a destructor: it runs on all threads, from before
//!    `main` until they have ended.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};

pub(crate) mod account;
pub(crate) mod balance;

use crate::region::Zeroed;
use account::{Account, payer};
pub(crate) use account::{Budget, charge, charge_nobody, charged, is_installed, of_slot, uncharged};

// SAFETY: atomics, each of which may be zero: numbers, and a pointer to nothing.
unsafe impl Zeroed for Account {}

/// What stands before each block.
type Payer = Option<&'static Account>;

/// A global allocator that charges to lanes what their code allocates, so that their [budgets](crate::lane::Spawn::memory)
/// hold for it. One line of the program, in whichever crate, puts it over another allocator:
///
/// ```
/// use std::alloc::System;
///
/// use laneway_runtime::alloc::Accounting;
/// use laneway_runtime::lane::{self, Spawn};
/// use laneway_runtime::mailbox::Inbox;
/// use laneway_runtime::{ExitReason, Runtime};
///
/// #[global_allocator]
/// static ALLOCATOR: Accounting<System> = Accounting::new(System);
///
/// let runtime = Runtime::builder().build()?;
/// let ended = runtime.block_on(async {
///     let hog = Spawn::new().memory(64 << 10).spawn(|_: Inbox<()>| async {
///         let mut hoard = Vec::new();
///         loop {
///             hoard.push(vec![0_u8; 1024]);
///             laneway_runtime::yield_now().await;
///         }
///     })?;
///     Ok::<_, lane::SpawnError>(lane::join(hog.mailbox.id()).await)
/// })?;
/// // It may be gone before anybody asks.
/// assert!(matches!(ended, ExitReason::OutOfMemory { budget: 65_536, .. } | ExitReason::NoProc));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is charged
///
/// Whatever code of a lane with a budget allocates, by `Box`, `Vec` or a crate that knows nothing of lanes, with a word
/// more a block: in its polls, and in its destructors as it ends. It stays charged until it is freed, wherever that is: what a lane
/// sends to others, or leaves in a cache that all share, is its own until they drop it. A block that is resized belongs
/// to whoever resized it last. The lane's future is charged as well. Once the lane is dead, nobody pays for what it has left.
///
/// So are descriptors, from their creation until the last who knows of them lets go, and a sender's place in line for a full mailbox.
/// What does not come from the global allocator, as mapped memory or that of C libraries, is charged where the lane says
/// so, by [`lane::try_charge`](crate::lane::try_charge).
///
/// Not charged is what the runtime keeps in tables and pools that all lanes share:
///
/// | what | how much there can be of it |
/// | --- | --- |
/// | the mailbox | [`Spawn::mailbox_bytes`](crate::lane::Spawn::mailbox_bytes): twice its bound, 64 bytes each or more |
/// | a timer | under 128 bytes, one for each future that waits for it, which is charged as all else of the lane's |
/// | a place in line for a lock, or a hold of one | under 256 bytes for each future that waits and each guard, which are charged likewise |
/// | a reply port | a few lines of 64 bytes, by the size of the answer, for each question under way |
/// | a name, a link, a monitor, a membership of a group | under 128 bytes each, and the name; nothing bounds their number |
/// | the lane itself | its slot, its account and its record of waits, 256 bytes together, and 320 once it has links, names or several watchers |
///
/// Nor is what other threads allocate for a lane, as in [`spawn_blocking`](crate::spawn_blocking); stacks; what a panic's
/// hook keeps.
///
/// # What it can stop, and what not
///
/// It never refuses memory: the code that asked would abort the process. A lane that has gone past its budget ends when its
/// poll returns [`Pending`](std::task::Poll::Pending), which is at its next await that waits; so in one poll it may take
/// as much as there is. [`lane::check_memory`](crate::lane::check_memory) is for code that wants to know before, and
/// [`NoMemory::unwind`](crate::lane::NoMemory::unwind) for code that wants to end the lane there and then. A lane
/// whose future is ready in that very poll ends with its own reason, and what it takes in destructors as it ends ends
/// nothing. A lane that went past its budget ends also if it has freed enough by the end of its poll. The end itself takes
/// no memory that is counted.
///
/// # Over which allocator
///
/// Any: `Accounting::new(mimalloc::MiMalloc)` puts it over mimalloc. What that one rounds up is not charged.
///
/// # What it costs
///
/// Each block of the process is longer by a word, or by its alignment where that is stricter. Lanes without a budget, and
/// code outside of lanes, pay for writing and reading that word. A lane with a budget pays for counting: an addition on
/// its own cache line, and an atomic one where others free what is its own; some 25 instructions a turn, and 100 for its
/// beginning and its end. Each slot keeps 64 bytes once a lane with a budget has had it, and a lane that is dead and has left a block
/// behind 64 more until that is freed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accounting<A = System>(A);

impl<A> Accounting<A> {
    /// Over another allocator.
    pub const fn new(inner: A) -> Accounting<A> {
        Accounting(inner)
    }
}

/// The layout of a block with its header, and where in it the user's part begins; `None` where that is too long.
#[inline]
fn with_header(layout: Layout) -> Option<(Layout, usize)> {
    let align = layout.align().max(align_of::<Payer>());
    // Both are powers of two.
    let offset = align.max(size_of::<Payer>());
    let size = layout.size().checked_add(offset)?;
    Layout::from_size_align(size, align).ok().map(|outer| (outer, offset))
}

/// The place of the word before a block.
#[inline]
fn header(block: *mut u8) -> *mut Payer {
    block.wrapping_sub(size_of::<Payer>()).cast()
}

/// Makes a block of memory of the inner allocator: charges it, and notes to whom. Null stays null.
///
/// # Safety
/// `start` is null, or memory of layout `outer` that is the caller's, and `offset` goes with it (invariant 2).
#[inline]
unsafe fn hand_out(start: *mut u8, outer: Layout, offset: usize) -> *mut u8 {
    if start.is_null() {
        return start;
    }
    let payer = payer();
    if let Some(account) = payer {
        account.charge(outer.size() as u64);
    }
    // SAFETY: invariant 2: `offset` is within the block, or at its end.
    let block = unsafe { start.add(offset) };
    // SAFETY: invariant 2: the word lies in the first `offset` bytes, aligned, and the memory is the caller's.
    unsafe { header(block).write(payer) };
    block
}

/// Who pays for a block.
///
/// # Safety
/// `block` was handed out and not taken back.
#[inline]
unsafe fn payer_of(block: *mut u8) -> Payer {
    // SAFETY: invariant 1, and the caller's promise.
    unsafe { header(block).read() }
}

// SAFETY: blocks are parts of the inner allocator's, which keeps them apart; they are aligned and as long as was asked for
// (invariant 2), and a layout gives the same outer one each time. Nothing unwinds (invariant 3).
unsafe impl<A: GlobalAlloc> GlobalAlloc for Accounting<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((outer, offset)) = with_header(layout) else { return ptr::null_mut() };
        // SAFETY: it is longer than nothing.
        let start = unsafe { self.0.alloc(outer) };
        // SAFETY: fresh memory of this layout, or null.
        unsafe { hand_out(start, outer, offset) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((outer, offset)) = with_header(layout) else { return ptr::null_mut() };
        // SAFETY: it is longer than nothing.
        let start = unsafe { self.0.alloc_zeroed(outer) };
        // SAFETY: fresh memory of this layout, or null.
        unsafe { hand_out(start, outer, offset) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // It was handed out with this layout, so there is one.
        let Some((outer, offset)) = with_header(layout) else { return };
        // SAFETY: the caller's promise: it was handed out.
        if let Some(account) = unsafe { payer_of(block) } {
            account.credit(outer.size() as u64);
        }
        // SAFETY: `hand_out` added it.
        let start = unsafe { block.sub(offset) };
        // SAFETY: it came from the inner allocator with this layout, and nobody uses it any more.
        unsafe { self.0.dealloc(start, outer) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some((outer, offset)) = with_header(layout) else { return ptr::null_mut() };
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else { return ptr::null_mut() };
        let Some((new_outer, _)) = with_header(new_layout) else { return ptr::null_mut() };
        // SAFETY: the caller's promise: it was handed out.
        let before = unsafe { payer_of(block) };
        // SAFETY: `hand_out` added it.
        let start = unsafe { block.sub(offset) };
        // SAFETY: it came from the inner allocator with this layout, of which the new one has the alignment.
        let start = unsafe { self.0.realloc(start, outer, new_outer.size()) };
        // Where there is no more memory, the block stays as it was and whose it was.
        if let (Some(account), Some(_)) = (before, NonNull::new(start)) {
            account.credit(outer.size() as u64);
        }
        // SAFETY: memory of this layout, or null; the offset depends on the alignment alone.
        unsafe { hand_out(start, new_outer, offset) }
    }
}

#[cfg(test)]
mod tests;
