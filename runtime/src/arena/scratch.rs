//! [`Scratch`]: memory for the message in hand, had back all at once.
//!
//! Owns: the bump of a pointer through the lane's chunks. Whose arena it is and where chunks come from is told in `arena.rs`
//! and `tenancy.rs`.
//!
//! Upwards, so that what was allocated last grows where it is, as text does that is being written. Nothing is freed before
//! the reset. Up to [`KEPT`] bytes stay with the scratch, which the next message goes through again; where that is all there is, a
//! reset is three stores. What is more goes back to the vat, so that one long message costs memory while it is handled
//! and no longer.
//!
//! # Invariants
//! 1. `core` is null or a box's, set once, and freed when the scratch is dropped.
//! 2. `inner` of a core is touched through a shared reference only where `context::runs(lane)` is true, that is, by one
//!    thread at a time, one ordered after the other; and by whoever has the scratch by `&mut`. No code of others runs
//!    within but the process's allocator, so it is not touched twice at a time. That is why a scratch may be `Send` and
//!    `Sync`, as its pointer makes it.
//! 3. `left` bytes from `at` on are part of the chunk `current` and were not handed out since the last reset; nor was
//!    anything of the chunks after it.
//! 4. What is handed out borrows the scratch, or is used by an allocator's user while the allocator, a reference to the
//!    scratch, lives. A reset and the drop need the scratch whole. So no chunk leaves `chunks`, and nothing is handed out
//!    twice, while somebody has something of it.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::needs_drop;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use allocator_api2::alloc::{AllocError, Allocator};

use super::sealed::Ours;
use super::tenancy::{self, Held, Tenancy};
use super::{ArenaError, Box, HashMap, String, Vec, answer, no_bytes};
use crate::context;
use crate::id::Id;
use crate::vat::mapping;

/// What a scratch keeps over a reset, at most.
const KEPT: u64 = 64 << 10;

/// Memory for a while: what is allocated in it cannot outlive it, nor its next reset, and a reset has all of it back in O(1).
///
/// It is the lane's that uses it first. Actors have one that is reset after each message, by `Context::scratch` of the
/// crate above; a function lane makes one for itself and resets it where it likes.
///
/// ```
/// use laneway_runtime::arena::Scratch;
/// use laneway_runtime::{Runtime, lane::Spawn, mailbox::Inbox};
///
/// let runtime = Runtime::builder().build()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// runtime.block_on(async {
///     Spawn::new().spawn(|_: Inbox<()>| async move {
///         let mut scratch = Scratch::new();
///         let mut words = scratch.vec();
///         words.extend("to be or not to be".split(' '));
///         words.sort_unstable();
///         words.dedup();
///         let text = scratch.format(format_args!("{words:?}"));
///         laneway_runtime::yield_now().await;
///         tell.send(text.to_owned()).unwrap();
///         drop(words);
///         scratch.reset();
///     })
/// })?;
/// assert_eq!(told.recv()?, r#"["be", "not", "or", "to"]"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Nothing that is in it outlives the reset:
///
/// ```compile_fail,E0502
/// use laneway_runtime::arena::Scratch;
/// let mut scratch = Scratch::new();
/// let word = scratch.alloc_str("kept");
/// scratch.reset();
/// println!("{word}");
/// ```
///
/// nor the scratch:
///
/// ```compile_fail,E0597
/// use laneway_runtime::arena::Scratch;
/// let numbers;
/// {
///     let scratch = Scratch::new();
///     numbers = scratch.vec::<u8>();
/// }
/// drop(numbers);
/// ```
///
/// nor goes to another lane:
///
/// ```compile_fail,E0597
/// use laneway_runtime::arena::Scratch;
/// use laneway_runtime::{lane::Spawn, mailbox::Inbox};
/// let scratch = Scratch::new();
/// let numbers = scratch.vec::<u8>();
/// Spawn::new().spawn(|_: Inbox<()>| async move { drop(numbers) }).unwrap();
/// ```
///
/// A value whose destructor must run has to be in a [`Box`], which runs it:
///
/// ```compile_fail,E0080
/// use laneway_runtime::arena::Scratch;
/// Scratch::new().alloc(vec![1]);
/// ```
pub struct Scratch {
    core: AtomicPtr<Core>,
}

struct Core {
    tenancy: Arc<Tenancy>,
    lane: Id,
    inner: UnsafeCell<Inner>,
}

struct Inner {
    at: NonNull<u8>,
    left: usize,
    chunks: std::vec::Vec<Held>,
    /// Which of them is in use.
    current: usize,
    /// What all of them have.
    bytes: u64,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("lane", &self.core().map(|core| core.lane)).finish_non_exhaustive()
    }
}

impl Scratch {
    /// One that has nothing yet: it takes its first memory with the first byte.
    pub const fn new() -> Scratch {
        Scratch { core: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Puts a value in. Its destructor would not run, so it may have none.
    ///
    /// # Panics
    /// Where there is no more memory, and outside of the scratch's lane: see [`arena`](super).
    #[inline]
    pub fn alloc<T>(&self, value: T) -> &mut T {
        match self.try_alloc(value) {
            Ok(place) => place,
            Err(error) => error.unwind(),
        }
    }

    /// As [`Scratch::alloc`].
    ///
    /// # Errors
    /// [`ArenaError`]; the value is dropped.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "each value is one that nobody had before")]
    pub fn try_alloc<T>(&self, value: T) -> Result<&mut T, ArenaError> {
        const { assert!(!needs_drop::<T>(), "its destructor would not run: put it in a box in the scratch") };
        let place = self.bump(Layout::new::<T>())?.cast::<T>();
        // SAFETY: fresh memory of the layout of `T` (invariant 3).
        unsafe { place.write(value) };
        // SAFETY: written just now, and lent with the scratch (invariant 4).
        Ok(unsafe { &mut *place.as_ptr() })
    }

    /// Copies a slice into the scratch.
    ///
    /// # Panics
    /// As [`Scratch::alloc`].
    #[inline]
    pub fn alloc_slice<T: Copy>(&self, slice: &[T]) -> &mut [T] {
        match self.try_alloc_slice(slice) {
            Ok(copy) => copy,
            Err(error) => error.unwind(),
        }
    }

    /// As [`Scratch::alloc_slice`].
    ///
    /// # Errors
    /// [`ArenaError`].
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "each copy is one that nobody had before")]
    pub fn try_alloc_slice<T: Copy>(&self, slice: &[T]) -> Result<&mut [T], ArenaError> {
        let place = self.bump(Layout::for_value(slice))?.cast::<T>();
        // SAFETY: fresh memory of the layout of the slice, so the two do not overlap (invariant 3).
        unsafe { place.copy_from_nonoverlapping(NonNull::from(slice).cast(), slice.len()) };
        // SAFETY: written just now, and lent with the scratch (invariant 4).
        Ok(unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), slice.len()) })
    }

    /// Copies text into the scratch.
    ///
    /// # Panics
    /// As [`Scratch::alloc`].
    #[inline]
    pub fn alloc_str(&self, text: &str) -> &mut str {
        match self.try_alloc_str(text) {
            Ok(copy) => copy,
            Err(error) => error.unwind(),
        }
    }

    /// As [`Scratch::alloc_str`].
    ///
    /// # Errors
    /// [`ArenaError`].
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "each copy is one that nobody had before")]
    pub fn try_alloc_str(&self, text: &str) -> Result<&mut str, ArenaError> {
        let bytes = self.try_alloc_slice(text.as_bytes())?;
        // SAFETY: a copy of text.
        Ok(unsafe { std::str::from_utf8_unchecked_mut(bytes) })
    }

    /// Puts a value in, in a box that runs its destructor.
    ///
    /// # Panics
    /// As [`Scratch::alloc`].
    pub fn boxed<T>(&self, value: T) -> Box<T, &Scratch> {
        Box::new_in(value, self)
    }

    /// An empty vector.
    pub fn vec<T>(&self) -> Vec<T, &Scratch> {
        Vec::new_in(self)
    }

    /// An empty map.
    pub fn map<K, V>(&self) -> HashMap<K, V, &Scratch> {
        HashMap::with_hasher_in(rustc_hash::FxBuildHasher, self)
    }

    /// An empty text.
    pub fn string(&self) -> String<&Scratch> {
        String::new_in(self)
    }

    /// Text as by `format!`: `scratch.format(format_args!("{a} {b}"))`.
    ///
    /// # Panics
    /// As [`Scratch::alloc`], and where something that is formatted says that it failed.
    pub fn format(&self, text: fmt::Arguments<'_>) -> &str {
        let mut string = self.string();
        string.append(text);
        string.leak()
    }

    /// Has all memory back. One chunk of up to 64 KiB stays with the scratch, the rest goes back to the vat.
    #[inline]
    pub fn reset(&mut self) {
        if let Some(core) = self.core_mut() {
            core.reset();
        }
    }

    /// Bytes that it has from the vat now.
    pub fn held(&mut self) -> u64 {
        self.core_mut().map_or(0, |core| core.inner.get_mut().bytes)
    }

    #[inline]
    fn core(&self) -> Option<&Core> {
        // ORDER: Acquire pairs with the Release in `make_core`: the core that is seen was made before.
        let core = NonNull::new(self.core.load(Ordering::Acquire))?;
        // SAFETY: invariant 1.
        Some(unsafe { core.as_ref() })
    }

    #[inline]
    fn core_mut(&mut self) -> Option<&mut Core> {
        let core = *self.core.get_mut();
        // SAFETY: invariant 1; we have the scratch whole.
        unsafe { core.as_mut() }
    }

    /// The core, where there was none or one that may not be touched here.
    #[cold]
    #[inline(never)]
    fn make_core(&self) -> Result<&Core, ArenaError> {
        if self.core().is_some() {
            return Err(ArenaError::NotHere);
        }
        let tenancy = tenancy::current().ok_or(ArenaError::NotHere)?;
        tenancy.enter();
        let lane = tenancy.lane();
        let inner = Inner { at: NonNull::dangling(), left: 0, chunks: std::vec::Vec::new(), current: 0, bytes: 0 };
        let core = std::boxed::Box::new(Core { tenancy, lane, inner: UnsafeCell::new(inner) });
        let core = std::boxed::Box::into_raw(core);
        // ORDER: AcqRel, see `core`.
        match self.core.compare_exchange(ptr::null_mut(), core, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: invariant 1.
            Ok(_) => Ok(unsafe { &*core }),
            Err(_) => {
                // Another lane was first.
                // SAFETY: ours, and nobody has seen it.
                drop(unsafe { std::boxed::Box::from_raw(core) });
                Err(ArenaError::NotHere)
            }
        }
    }

    /// Runs `f`, which calls no code of others, on what the lane that runs here may touch.
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&Core, &mut Inner) -> R) -> Result<R, ArenaError> {
        let core = match self.core() {
            Some(core) if context::runs(core.lane) => core,
            _ => self.make_core()?,
        };
        // SAFETY: invariant 2: the lane runs here, and this is not within itself.
        let inner = unsafe { &mut *core.inner.get() };
        Ok(f(core, inner))
    }

    /// Memory for a layout, which nobody has.
    #[inline]
    fn bump(&self, layout: Layout) -> Result<NonNull<u8>, ArenaError> {
        if layout.size() == 0 {
            return Ok(no_bytes(layout));
        }
        self.with(|core, inner| match inner.bump(layout) {
            Some(place) => Ok(place),
            None => core.bump_further(inner, layout),
        })?
    }
}

impl Inner {
    #[inline]
    fn bump(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let at = self.at.addr().get();
        let padding = at.wrapping_neg() & (layout.align() - 1);
        // A layout is less than half of all addresses, and so is an alignment.
        let taken = padding + layout.size();
        if taken > self.left {
            return None;
        }
        // SAFETY: `padding` is within the `left` bytes (invariant 3).
        let place = unsafe { self.at.add(padding) };
        // SAFETY: as above, with the size.
        self.at = unsafe { self.at.add(taken) };
        self.left -= taken;
        mapping::unpoison_at(place, layout.size());
        Some(place)
    }

    /// Lengthens what was handed out last, if that is what ends where the rest begins.
    #[inline]
    fn lengthen(&mut self, block: NonNull<u8>, old: usize, new: usize) -> bool {
        let more = new - old;
        // One that ends where the chunk begins is of another chunk.
        let is_of_chunk = self.chunks.get(self.current).is_some_and(|held| held.chunk.start().pointer() != self.at);
        if !is_of_chunk || block.addr().get() + old != self.at.addr().get() || more > self.left {
            return false;
        }
        mapping::unpoison_at(self.at, more);
        // SAFETY: within the `left` bytes (invariant 3).
        self.at = unsafe { self.at.add(more) };
        self.left -= more;
        true
    }

    /// Goes on in a chunk, if there is that one.
    fn begin_chunk(&mut self, chunk: usize) -> bool {
        let Some(held) = self.chunks.get(chunk) else { return false };
        self.current = chunk;
        self.at = held.chunk.start().pointer();
        self.left = held.chunk.length();
        mapping::poison_at(self.at, self.left);
        true
    }
}

impl Core {
    /// As [`Inner::bump`], in a further chunk.
    #[cold]
    #[inline(never)]
    fn bump_further(&self, inner: &mut Inner, layout: Layout) -> Result<NonNull<u8>, ArenaError> {
        // What the last message had may do.
        while inner.begin_chunk(inner.current + 1) {
            if let Some(place) = inner.bump(layout) {
                return Ok(place);
            }
        }
        let least = layout.size().checked_add(layout.align()).ok_or(ArenaError::TooLong)?;
        // A chunk is aligned to a page; what is aligned further is moved up within.
        let least = if layout.align() as u64 <= crate::vat::class::PAGE { layout.size() } else { least };
        let held = self.tenancy.grow(inner.bytes, least as u64)?;
        inner.bytes += held.chunk.bytes();
        inner.chunks.push(held);
        inner.begin_chunk(inner.chunks.len() - 1);
        inner.bump(layout).ok_or(ArenaError::TooLong)
    }

    #[inline]
    fn reset(&mut self) {
        let inner = self.inner.get_mut();
        if inner.bytes > KEPT {
            self.give_back();
        }
        // Invariant 4: we have the scratch whole.
        self.inner.get_mut().begin_chunk(0);
    }

    /// Gives back chunks until no more is left than may be kept, the last first: they are the longest.
    #[cold]
    fn give_back(&mut self) {
        let inner = self.inner.get_mut();
        (inner.at, inner.left) = (NonNull::dangling(), 0);
        while inner.bytes > KEPT
            && let Some(held) = inner.chunks.pop()
        {
            inner.bytes -= held.chunk.bytes();
            self.tenancy.give(held);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        for held in self.inner.get_mut().chunks.drain(..) {
            self.tenancy.give(held);
        }
        self.tenancy.leave();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let core = *self.core.get_mut();
        if !core.is_null() {
            // SAFETY: invariant 1, for the last time; invariant 4: nobody has anything of it.
            drop(unsafe { std::boxed::Box::from_raw(core) });
        }
    }
}

// SAFETY: memory that is handed out is nobody else's until a reset, which needs the scratch whole and so no reference to it, which
// is the allocator (invariants 3 and 4). All copies of the reference are the same allocator. Where a request is refused, by an error or by
// unwinding, the block that it is about is as it was.
unsafe impl Allocator for &Scratch {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        answer(layout, self.bump(layout))
    }

    /// It is had back by the reset.
    #[inline]
    unsafe fn deallocate(&self, _: NonNull<u8>, _: Layout) {}

    #[inline]
    unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let grown = self.with(|core, inner| {
            let is_aligned = block.addr().get() & (new.align() - 1) == 0;
            if old.size() != 0 && is_aligned && inner.lengthen(block, old.size(), new.size()) {
                return Ok(block);
            }
            let place = match inner.bump(new) {
                Some(place) => place,
                None => core.bump_further(inner, new)?,
            };
            // SAFETY: the caller's promise: `block` has `old` bytes, which are no more than the new ones, which nobody has.
            unsafe { place.copy_from_nonoverlapping(block, old.size()) };
            Ok(place)
        });
        answer(new, grown.and_then(|grown| grown))
    }

    #[inline]
    unsafe fn grow_zeroed(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promises are the same.
        let grown = unsafe { self.grow(block, old, new) }?;
        // SAFETY: it has `new` bytes, of which the first are as they were.
        let rest = unsafe { grown.cast::<u8>().add(old.size()) };
        // SAFETY: as above.
        unsafe { rest.write_bytes(0, new.size() - old.size()) };
        Ok(grown)
    }

    /// It stays where it is.
    #[inline]
    unsafe fn shrink(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if block.addr().get() & (new.align() - 1) == 0 {
            return Ok(NonNull::slice_from_raw_parts(block, new.size()));
        }
        let moved = self.allocate(new)?;
        // SAFETY: the caller's promise: `block` has `old` bytes, which are no less than the new ones, which nobody has.
        unsafe { moved.cast::<u8>().copy_from_nonoverlapping(block, new.size().min(old.size())) };
        Ok(moved)
    }
}

impl Ours for &Scratch {
    fn is_here(&self) -> Result<(), ArenaError> {
        self.with(|_, _| ())
    }
}
