//! The memory of a lane's future: placed once, polled and dropped through a static table.
//!
//! Owns: [`Frame`] and [`LaneType`]. Knows nothing of slots, schedulers or mailboxes.
//!
//! # Invariants
//! 1. `memory` holds a live future of the type for which `kind` was made, from `Frame::new` to `drop`.
//! 2. The future never moves: `Frame` owns the memory and gives no access to it but `poll`.

use std::alloc::Layout;
use std::any::TypeId;
use std::fmt;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::memory;
use crate::admission;
use crate::admission::cost::Shape;
use crate::exit::{ExitReason, IntoExit};

/// What a poll brought. The reason is `None` for [`ExitReason::Normal`], so that what is returned fits in registers.
pub(crate) type Polled = Poll<Option<Box<ExitReason>>>;

/// What the runtime must know of the type of a lane.
pub(crate) struct LaneType {
    poll: unsafe fn(NonNull<u8>, &mut Context<'_>) -> Polled,
    drop_in_place: unsafe fn(NonNull<u8>),
    layout: Layout,
    /// What a lane of this type takes of pools.
    pub(crate) shape: Shape,
    /// The type of the messages.
    pub(crate) message: TypeId,
    /// Its name, for people.
    pub(crate) message_name: fn() -> &'static str,
}

struct TypeOf<F, M>(F, M);

impl<F, M> TypeOf<F, M>
where
    F: Future<Output: IntoExit> + Send + 'static,
    M: Send + 'static,
{
    const LAYOUT: Layout = if size_of::<F>() == 0 { Layout::new::<u8>() } else { Layout::new::<F>() };
    const TYPE: &'static LaneType = &LaneType {
        poll: poll_future::<F>,
        drop_in_place: drop_future::<F>,
        layout: Self::LAYOUT,
        shape: admission::shape_of(Self::LAYOUT, Layout::new::<M>()),
        message: TypeId::of::<M>(),
        message_name: std::any::type_name::<M>,
    };
}

impl LaneType {
    /// The type of lanes that run an `F` and take messages of type `M`.
    pub(crate) fn of<F, M>() -> &'static LaneType
    where
        F: Future<Output: IntoExit> + Send + 'static,
        M: Send + 'static,
    {
        TypeOf::<F, M>::TYPE
    }
}

/// # Safety
/// `memory` holds a live `F` that does not move until it is dropped, and nobody else touches it meanwhile.
unsafe fn poll_future<F: Future<Output: IntoExit>>(memory: NonNull<u8>, cx: &mut Context<'_>) -> Polled {
    // SAFETY: the caller's promise.
    let future = unsafe { memory.cast::<F>().as_mut() };
    // SAFETY: the caller's promise: it does not move.
    let future = unsafe { Pin::new_unchecked(future) };
    future.poll(cx).map(|output| match output.into_exit() {
        ExitReason::Normal => None,
        reason => Some(Box::new(reason)),
    })
}

/// # Safety
/// `memory` holds a live `F`, which is not used again.
unsafe fn drop_future<F>(memory: NonNull<u8>) {
    // SAFETY: the caller's promise.
    unsafe { memory.cast::<F>().drop_in_place() }
}

/// A lane's future in its memory.
pub(crate) struct Frame {
    memory: NonNull<u8>,
    kind: &'static LaneType,
}

// SAFETY: `Frame::new` takes only futures that are `Send`; the frame is their owner.
unsafe impl Send for Frame {}

impl Frame {
    /// Places a future whose lane takes messages of type `M`.
    pub(crate) fn new<F, M>(future: F) -> Frame
    where
        F: Future<Output: IntoExit> + Send + 'static,
        M: Send + 'static,
    {
        let kind = TypeOf::<F, M>::TYPE;
        let memory = memory::allocate(kind.layout);
        // SAFETY: fresh memory of the layout of `F`.
        unsafe { memory.cast::<F>().write(future) };
        Frame { memory, kind }
    }

    /// Polls the future. It must not be polled again after it was ready.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        // SAFETY: invariants 1 and 2; `&mut self` keeps others out.
        unsafe { (self.kind.poll)(self.memory, cx) }
    }

    /// Has the processor fetch the future, which is about to be polled.
    pub(crate) fn prefetch(&self) {
        memory::prefetch_lines(self.memory.as_ptr(), self.size());
    }

    /// Bytes that the frame takes.
    pub(crate) fn size(&self) -> usize {
        self.kind.layout.size()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        /// Frees the memory also where the future's destructor panics.
        struct Free(NonNull<u8>, Layout);
        impl Drop for Free {
            fn drop(&mut self) {
                // SAFETY: `Frame::new` allocated it with this layout, and what was in it is dropped.
                unsafe { memory::release(self.0, self.1) }
            }
        }
        let _free = Free(self.memory, self.kind.layout);
        // SAFETY: invariant 1, for the last time.
        unsafe { (self.kind.drop_in_place)(self.memory) }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("bytes", &self.size()).field("message", &(self.kind.message_name)()).finish()
    }
}
