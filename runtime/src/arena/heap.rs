//! [`Heap`]: an allocator for what stays with a lane.
//!
//! Owns: the blocks of one heap. Free ones are found and merged by `rlsf`, in constant time; whatever is longer than
//! [`LONG`] has a chunk of its own, which goes back to the vat when it is freed. Other chunks stay with the heap, so that
//! what is freed in a lane is used again in that lane. Whose arena it is and where chunks come from is told in `arena.rs`
//! and `tenancy.rs`.
//!
//! What is freed where the lane does not run is put on a list (`elsewhere.rs`), through the blocks themselves. The lane
//! takes the whole list when it would need a further chunk.
//!
//! # Invariants
//! 1. `inner` of a core is touched through a shared reference only where `context::runs(lane)` is true, that is, by one
//!    thread at a time, one ordered after the other; and by whoever drops the core. No code of others runs within but the
//!    process's allocator, so it is not touched twice at a time.
//! 2. All blocks lie in chunks of `chunks` or `long`, and stay there until the core is dropped: each handle, and so each
//!    collection, has a share in the core.
//! 3. A block on the list `elsewhere` is free, and belongs to the list: it begins with a [`Freed`]. No block is shorter
//!    than that, or less aligned.
//! 4. A block is asked for and freed with the same layout of [`of_block`], which follows from the one that its user has.
//!    What has no bytes has no block: its users may have never asked for one, and give back what they were not given.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use allocator_api2::alloc::{AllocError, Allocator};
use hashbrown::HashMap;
use rlsf::Tlsf;
use rustc_hash::FxBuildHasher;

use super::elsewhere::Elsewhere;
use super::sealed::Ours;
use super::tenancy::{Held, Tenancy};
use super::{ArenaError, String, Vec, answer, no_bytes};
use crate::context;
use crate::id::Id;
use crate::vat::class::{PAGE, in_pages};

/// The longest block that shares a chunk.
const LONG: usize = 32 << 10;

/// Lists of free blocks: of thirteen powers of two, which is up to 256 KiB, in eighths.
type Blocks = Tlsf<'static, u16, u8, 13, 8>;

/// Memory for as long as a lane lives, as an allocator for collections that its state is made of. What is freed is used
/// again.
///
/// A handle is 8 bytes, and cloned by counting. All handles are the same heap, of the lane that it was made in. Only there
/// memory is taken from it; what is in it may be dropped anywhere.
///
/// ```
/// use laneway_runtime::arena::{self, Heap, HashMap, Vec};
/// use laneway_runtime::{Runtime, lane::Spawn, mailbox::Inbox};
///
/// /// What an actor would have as its state.
/// struct Index {
///     by_length: HashMap<usize, Vec<u32, Heap>, Heap>,
/// }
///
/// let runtime = Runtime::builder().build()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// runtime.block_on(async {
///     Spawn::new().memory(1 << 20).spawn(|_: Inbox<()>| async move {
///         let heap = arena::heap().unwrap();
///         let mut index = Index { by_length: heap.map() };
///         for (number, word) in ["one", "two", "three"].into_iter().enumerate() {
///             let list = index.by_length.entry(word.len()).or_insert_with(|| heap.vec());
///             list.push(number as u32);
///         }
///         tell.send(index.by_length[&3].len()).unwrap();
///     })
/// })?;
/// assert_eq!(told.recv()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Heap {
    core: Arc<Core>,
}

struct Core {
    tenancy: Arc<Tenancy>,
    lane: Id,
    inner: UnsafeCell<Inner>,
    /// What was freed where the lane does not run.
    elsewhere: Elsewhere<Freed>,
}

struct Inner {
    blocks: Blocks,
    chunks: std::vec::Vec<Held>,
    /// Blocks with a chunk of their own, by address.
    long: HashMap<usize, Held, FxBuildHasher>,
    /// What `chunks` have.
    bytes: u64,
}

/// At the beginning of a block that was freed elsewhere.
struct Freed {
    next: *mut Freed,
    /// That of the block.
    align: usize,
}

// SAFETY: what is in it is memory, and what is known of it; whose code may touch that is invariant 1, whichever thread has a
// share. The last share is dropped after all others, and after what was done with them.
unsafe impl Send for Core {}
// SAFETY: invariant 1: of all threads that have a reference, only the one on which the lane runs touches `inner`;
// `elsewhere` is atomic.
unsafe impl Sync for Core {}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("lane", &self.core.lane).finish_non_exhaustive()
    }
}

impl Heap {
    /// Of the lane that the tenancy is of.
    pub(super) fn new(tenancy: Arc<Tenancy>) -> Heap {
        tenancy.enter();
        let lane = tenancy.lane();
        let inner = Inner { blocks: Blocks::new(), chunks: std::vec::Vec::new(), long: HashMap::default(), bytes: 0 };
        let (inner, elsewhere) = (UnsafeCell::new(inner), Elsewhere::new());
        Heap { core: Arc::new(Core { tenancy, lane, inner, elsewhere }) }
    }

    /// The lane whose heap it is.
    pub fn lane(&self) -> Id {
        self.core.lane
    }

    /// An empty vector.
    pub fn vec<T>(&self) -> Vec<T, Heap> {
        Vec::new_in(self.clone())
    }

    /// An empty map.
    pub fn map<K, V>(&self) -> super::HashMap<K, V, Heap> {
        super::HashMap::with_hasher_in(FxBuildHasher, self.clone())
    }

    /// An empty text.
    pub fn string(&self) -> String<Heap> {
        String::new_in(self.clone())
    }

    /// A value in a box.
    ///
    /// # Panics
    /// Where there is no more memory, and outside of the heap's lane: see [`arena`](super).
    pub fn boxed<T>(&self, value: T) -> super::Box<T, Heap> {
        super::Box::new_in(value, self.clone())
    }

    /// Text as by `format!`: `heap.format(format_args!("{a} {b}"))`.
    ///
    /// # Panics
    /// As [`Heap::boxed`], and where something that is formatted says that it failed.
    pub fn format(&self, text: fmt::Arguments<'_>) -> String<Heap> {
        let mut string = self.string();
        string.append(text);
        string
    }

    /// Bytes that it has from the vat now; `None` outside of its lane.
    pub fn held(&self) -> Option<u64> {
        self.with(|_, inner| inner.bytes + inner.long.values().map(|held| held.chunk.bytes()).sum::<u64>()).ok()
    }

    /// Runs `f`, which calls no code of others, on what the lane that runs here may touch.
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&Core, &mut Inner) -> R) -> Result<R, ArenaError> {
        let core = &*self.core;
        if !context::runs(core.lane) {
            return Err(ArenaError::NotHere);
        }
        // SAFETY: invariant 1: the lane runs here, and this is not within itself.
        let inner = unsafe { &mut *core.inner.get() };
        Ok(f(core, inner))
    }
}

/// The layout of the block that a user with this one has: it holds a [`Freed`].
#[inline]
fn of_block(layout: Layout) -> Layout {
    let size = layout.size().max(size_of::<Freed>());
    // What is so long that this overflows is longer than any memory.
    Layout::from_size_align(size, layout.align().max(align_of::<Freed>())).unwrap_or(layout)
}

impl Inner {
    /// A block, from what the heap has.
    #[inline]
    fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() > LONG {
            return None;
        }
        self.blocks.allocate(layout)
    }

    /// Frees a block.
    ///
    /// # Safety
    /// It is a block of this heap with this alignment, and nobody uses it any more.
    #[inline]
    unsafe fn free(&mut self, core: &Core, block: NonNull<u8>, align: usize) {
        if self.is_long(block) {
            self.free_long(core, block);
        } else {
            // SAFETY: the caller's promise: all others are from there.
            unsafe { self.blocks.deallocate(block, align) };
        }
    }

    /// Whether a block has a chunk of its own. Few others begin at a page: only what is aligned so.
    #[inline]
    fn is_long(&self, block: NonNull<u8>) -> bool {
        block.addr().get().is_multiple_of(PAGE as usize) && self.long.contains_key(&block.addr().get())
    }

    /// How long the chunk is that a block has for itself.
    fn long_bytes(&self, block: NonNull<u8>) -> Option<u64> {
        self.long.get(&block.addr().get()).map(|held| held.chunk.bytes())
    }

    /// Frees a block that has a chunk of its own.
    #[cold]
    fn free_long(&mut self, core: &Core, block: NonNull<u8>) {
        if let Some(held) = self.long.remove(&block.addr().get()) {
            core.tenancy.give(held);
        }
    }
}

impl Core {
    /// A block for a layout of [`of_block`].
    #[inline]
    fn allocate(&self, inner: &mut Inner, layout: Layout) -> Result<NonNull<u8>, ArenaError> {
        match inner.take(layout) {
            Some(block) => Ok(block),
            None => self.allocate_further(inner, layout),
        }
    }

    /// As [`Core::allocate`], where what the heap has does not do.
    #[cold]
    #[inline(never)]
    fn allocate_further(&self, inner: &mut Inner, layout: Layout) -> Result<NonNull<u8>, ArenaError> {
        if self.take_back(inner)
            && let Some(block) = inner.take(layout)
        {
            return Ok(block);
        }
        let room = layout.size().checked_add(layout.align()).ok_or(ArenaError::TooLong)?;
        if layout.size() > LONG || layout.align() > LONG {
            return self.allocate_long(inner, layout, room);
        }
        // Room for the block's header and the chunk's, and for the eighth by which the search rounds up.
        let least = room + room / 8 + 4 * rlsf::GRANULARITY;
        let held = self.tenancy.grow(inner.bytes, least as u64)?;
        let chunk = NonNull::slice_from_raw_parts(held.chunk.start().pointer(), held.chunk.length());
        inner.bytes += held.chunk.bytes();
        inner.chunks.push(held);
        // SAFETY: invariant 2: the chunk is ours until the core is dropped, and `inner` with it.
        unsafe { inner.blocks.insert_free_block_ptr(chunk) };
        inner.take(layout).ok_or(ArenaError::TooLong)
    }

    /// A block with a chunk of its own.
    fn allocate_long(&self, inner: &mut Inner, layout: Layout, room: usize) -> Result<NonNull<u8>, ArenaError> {
        // A chunk is aligned to a page; what is aligned further is moved up within.
        let length = if layout.align() as u64 <= PAGE { layout.size() } else { room };
        let held = self.tenancy.take(in_pages(length as u64).ok_or(ArenaError::TooLong)?)?;
        let start = held.chunk.start().pointer();
        let padding = start.addr().get().wrapping_neg() & (layout.align() - 1);
        // SAFETY: the chunk has room for the block and its alignment.
        let block = unsafe { start.add(padding) };
        inner.long.insert(block.addr().get(), held);
        Ok(block)
    }

    /// Frees what was freed elsewhere; false where nothing was.
    fn take_back(&self, inner: &mut Inner) -> bool {
        let mut freed = self.elsewhere.take_all();
        let was_empty = freed.is_null();
        while let Some(block) = NonNull::new(freed) {
            // SAFETY: invariant 3; the list is ours now.
            let Freed { next, align } = unsafe { block.read() };
            freed = next;
            // SAFETY: invariants 3 and 4: it is a block of ours with this alignment, and of no one else.
            unsafe { inner.free(self, block.cast(), align) };
        }
        !was_empty
    }

    /// Puts a block on the list of what was freed elsewhere.
    ///
    /// # Safety
    /// It is a block of this heap with a layout of [`of_block`] that has this alignment, and nobody uses it any more.
    #[cold]
    unsafe fn free_elsewhere(&self, block: NonNull<u8>, align: usize) {
        let freed = block.cast::<Freed>();
        self.elsewhere.push(freed.as_ptr(), |next| {
            // SAFETY: the caller's promise, and invariant 3: there is room.
            unsafe { freed.write(Freed { next, align }) };
        });
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        // Invariant 2: no handle is left, so no collection; what is on the list, and what was leaked without one, goes as
        // well.
        for held in inner.chunks.drain(..).chain(inner.long.drain().map(|(_, held)| held)) {
            self.tenancy.give(held);
        }
        self.tenancy.leave();
    }
}

// SAFETY: blocks do not overlap, by `rlsf` or as they have chunks of their own, and stay valid while a handle lives
// (invariant 2); all clones are the same core. A block is freed by whoever has it, once. Where a request is refused, by an
// error or by unwinding, the block that it is about is as it was.
unsafe impl Allocator for Heap {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(NonNull::slice_from_raw_parts(no_bytes(layout), 0));
        }
        let block = self.with(|core, inner| core.allocate(inner, of_block(layout)));
        answer(layout, block.and_then(|block| block))
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        let layout = of_block(layout);
        let here = self.with(|core, inner| {
            // SAFETY: invariant 4, and the caller's promise.
            unsafe { inner.free(core, block, layout.align()) }
        });
        if here.is_err() {
            // SAFETY: as above.
            unsafe { self.core.free_elsewhere(block, layout.align()) };
        }
    }

    #[inline]
    unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 {
            return self.allocate(new);
        }
        let (old, of_new) = (of_block(old), of_block(new));
        let grown = self.with(|core, inner| {
            if old.align() == of_new.align() && of_new.size() <= LONG && !inner.is_long(block) {
                // SAFETY: invariant 4: it came from there with this alignment.
                if let Some(grown) = unsafe { inner.blocks.reallocate(block, of_new) } {
                    return Ok(grown);
                }
            }
            let grown = core.allocate(inner, of_new)?;
            // SAFETY: the caller's promise: `block` has so many bytes, no more than the new ones, which nobody has.
            unsafe { grown.copy_from_nonoverlapping(block, old.size()) };
            // SAFETY: invariant 4, and the caller's promise.
            unsafe { inner.free(core, block, old.align()) };
            Ok(grown)
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

    #[inline]
    unsafe fn shrink(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if new.size() == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.deallocate(block, old) };
            return Ok(NonNull::slice_from_raw_parts(no_bytes(new), 0));
        }
        let (of_old, of_new) = (of_block(old), of_block(new));
        let shrunk = self.with(|core, inner| {
            let is_aligned = block.addr().get() & (of_new.align() - 1) == 0;
            if of_old.align() == of_new.align() && !inner.is_long(block) {
                // SAFETY: invariant 4: it came from there with this alignment. A shorter one always stays where it is.
                let shrunk = unsafe { inner.blocks.reallocate(block, of_new) };
                return Ok(shrunk.unwrap_or(block));
            }
            // What has a chunk of its own moves once it takes less than half of that.
            if is_aligned && inner.long_bytes(block).is_some_and(|bytes| new.size() as u64 >= bytes / 2) {
                return Ok(block);
            }
            let shrunk = match core.allocate(inner, of_new) {
                Ok(shrunk) => shrunk,
                // It is long enough as it is, and freed by its address, not by its length.
                Err(_) if is_aligned && inner.is_long(block) => return Ok(block),
                Err(error) => return Err(error),
            };
            // SAFETY: the caller's promise: `block` has no less bytes than the new ones, which nobody has.
            unsafe { shrunk.copy_from_nonoverlapping(block, new.size()) };
            // SAFETY: invariant 4, and the caller's promise.
            unsafe { inner.free(core, block, of_old.align()) };
            Ok(shrunk)
        });
        match shrunk {
            // Nothing need be done, which can be done anywhere.
            Err(_) if block.addr().get() & (of_new.align() - 1) == 0 && of_old.align() == of_new.align() => {
                Ok(NonNull::slice_from_raw_parts(block, new.size()))
            }
            shrunk => answer(new, shrunk.and_then(|shrunk| shrunk)),
        }
    }
}

impl Ours for Heap {
    fn is_here(&self) -> Result<(), ArenaError> {
        self.with(|_, _| ())
    }
}
