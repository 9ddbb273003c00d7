//! Message nodes: 64-byte units named by 32-bit numbers, and the pools they come from and go back to.
//!
//! Owns: the region of all nodes of the process, [`Node`] (one that holds a payload), [`List`] (several in a row) and
//! the only places where a node goes into a mailbox's word or comes out of it. Knows nothing of bounds or lanes.
//!
//! # Invariants
//! 1. A node's number is owned by exactly one of: a free list, a [`Node`], a [`List`], or a mailbox's word. Only the
//!    owner touches its payload; only the owner, or the pusher that is about to hand it over, touches its link.
//! 2. A node outside the free lists holds one value of the type that its `kind` names, or it is a pack (`pack.rs`).
//! 3. A number that was ever given out by `Pool::fresh` has its unit in the region, for ever; no other number is used.

use std::alloc::Layout;
use std::any::TypeId;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

pub(crate) mod fill;
mod list;
mod pack;
mod pool;

pub(crate) use list::{List, drain, drop_kept, keep, list, messages, only_message, push_kept};
use pack::Items;
pub(crate) use pack::{Packed, Packer, room_of};
pub(crate) use pool::{CACHED_MAX, Cache, made};
use pool::{allocate, release};

use crate::lane::word::{EMPTY, LaneWord, Pushed, Refused, Weight};
use crate::lane::{Pooled, memory};
use crate::region::{Region, Zeroed};

/// Bytes of a payload that lies in the node itself; a larger one is [`Pooled`].
const INLINE: usize = 48;

#[repr(C, align(64))]
struct Unit {
    next: AtomicU32,
    /// Of a pack: see `fill.rs`.
    fill: AtomicU8,
    /// Of a pack: how many of its messages have been taken out.
    taken: UnsafeCell<u8>,
    kind: UnsafeCell<Option<&'static Kind>>,
    payload: UnsafeCell<MaybeUninit<[u64; INLINE / 8]>>,
}

const _: () = assert!(size_of::<Unit>() == 64, "a node is one cache line");

// SAFETY: `next` and `fill` are atomic; `taken`, `kind` and `payload` are touched by the owner only (invariant 1), but for what
// the packer adds to a pack (`pack.rs`), and what is put in is `Send` (`Node::new`).
unsafe impl Sync for Unit {}

// SAFETY: a zero number, no kind, and bytes of no meaning.
unsafe impl Zeroed for Unit {}

static UNITS: Region<Unit> = Region::new();

/// What a payload is.
struct Kind {
    type_id: TypeId,
    drop_in_place: unsafe fn(*mut u8),
    class: Class,
}

/// What a node is to who finds it in a mailbox.
#[derive(Clone, Copy)]
enum Class {
    Message,
    Signal,
    /// Several messages (`pack.rs`).
    Pack(Items),
}

/// Whether a payload of this layout lies in the node itself.
pub(crate) const fn is_inline(layout: Layout) -> bool {
    layout.size() <= INLINE && layout.align() <= align_of::<u64>()
}

struct KindOf<T>(T);

impl<T: Send + 'static> KindOf<T> {
    const INLINE: bool = is_inline(Layout::new::<T>());
    const KIND: &'static Kind = &KindOf::<T>::kind(Class::Message);
    const SIGNAL: &'static Kind = &KindOf::<T>::kind(Class::Signal);

    const fn kind(class: Class) -> Kind {
        Kind { type_id: TypeId::of::<T>(), drop_in_place: drop_payload::<T>, class }
    }
}

/// The memory that a message of this type takes while it is queued, without what it owns.
pub(crate) fn bytes_of<T: Send + 'static>() -> u64 {
    let beside = if KindOf::<T>::INLINE { 0 } else { memory::taken_by(Layout::new::<T>()) };
    (size_of::<Unit>() + beside) as u64
}

/// # Safety
/// `payload` holds a `T`, in itself or pooled as [`KindOf::INLINE`] says, which is not used again.
unsafe fn drop_payload<T: Send + 'static>(payload: *mut u8) {
    if KindOf::<T>::INLINE {
        // SAFETY: the caller's promise.
        unsafe { payload.cast::<T>().drop_in_place() }
    } else {
        // SAFETY: the caller's promise.
        unsafe { payload.cast::<Pooled<T>>().drop_in_place() }
    }
}

#[inline]
fn unit(index: u32) -> &'static Unit {
    debug_assert!(UNITS.at(index).is_some(), "invariant 3");
    // SAFETY: invariant 3: `fresh` reached it before it gave the number out, and numbers travel by ways that publish.
    unsafe { UNITS.at_unchecked(index) }
}

/// Has the processor fetch a node, whosever it is.
#[inline]
pub(crate) fn prefetch(number: u32) {
    memory::prefetch(UNITS.address_of(number));
}

/// The kind of a node that is the caller's and not free.
#[inline]
fn kind_of(index: u32) -> &'static Kind {
    // SAFETY: invariant 1: the caller owns the node.
    let kind = unsafe { *unit(index).kind.get() };
    kind.expect("invariant 2")
}

/// A node with its payload; dropping it drops the payload and frees the node.
#[repr(transparent)]
pub(crate) struct Node(u32);

impl Node {
    /// Puts a message in a node.
    #[inline]
    pub(crate) fn new<T: Send + 'static>(message: T) -> Node {
        Node::of_kind(KindOf::<T>::KIND, message)
    }

    /// As [`Node::new`], of the bits of a message and with a node of these free ones.
    ///
    /// # Safety
    /// Of the message and the node one alone is used from then on; the other is forgotten ([`Node::forget_copy`]).
    #[inline(always)]
    pub(crate) unsafe fn of_copy<T: Send + 'static>(free: &Cache, message: *const T) -> Node {
        let index = free.take();
        let unit = unit(index);
        // SAFETY: invariant 1: the node is ours.
        unsafe { *unit.kind.get() = Some(KindOf::<T>::KIND) };
        let payload = unit.payload.get();
        if KindOf::<T>::INLINE {
            // SAFETY: as above, and the payload is large and aligned enough, which `INLINE` says.
            unsafe { copy_by_words(message, payload.cast::<T>()) };
        } else {
            // SAFETY: the caller's promise makes the copy a message.
            let message = Pooled::new(unsafe { ptr::read(message) });
            // SAFETY: as above; it is one word.
            unsafe { payload.cast::<Pooled<T>>().write(message) };
        }
        Node(index)
    }

    /// Frees a node of a copy of what is still in use.
    ///
    /// # Safety
    /// The node was made by [`Node::of_copy`] from a `T`.
    #[cold]
    pub(crate) unsafe fn forget_copy<T: Send + 'static>(self) {
        let index = self.into_index();
        // SAFETY: the caller's promise; it is forgotten at once.
        mem::forget(unsafe { take_payload::<T>(index) });
        release(index);
    }

    /// Puts what is no message in a node, to be told from those by [`Node::is_signal`].
    pub(crate) fn new_signal<T: Send + 'static>(signal: T) -> Node {
        Node::of_kind(KindOf::<T>::SIGNAL, signal)
    }

    /// `kind` is one of `T`'s.
    #[inline]
    fn of_kind<T: Send + 'static>(kind: &'static Kind, value: T) -> Node {
        let index = allocate();
        let unit = unit(index);
        // SAFETY: invariant 1: `allocate` made us the owner.
        unsafe { *unit.kind.get() = Some(kind) };
        let payload = unit.payload.get();
        if KindOf::<T>::INLINE {
            // SAFETY: as above, and the payload is large and aligned enough, which `INLINE` says.
            unsafe { payload.cast::<T>().write(value) };
        } else {
            // SAFETY: as above; it is one word.
            unsafe { payload.cast::<Pooled<T>>().write(Pooled::new(value)) };
        }
        Node(index)
    }

    #[inline]
    fn kind(&self) -> &'static Kind {
        kind_of(self.0)
    }

    /// Whether the payload is a `T`.
    #[inline]
    fn is<T: Send + 'static>(&self) -> bool {
        // The address alone says so most often; that of another copy of the same kind may be another.
        self.is_seen_as::<T>() || ptr::eq(self.kind(), KindOf::<T>::SIGNAL) || self.kind().type_id == TypeId::of::<T>()
    }

    /// Whether it is seen at once that the payload is a message of type `T`.
    #[inline(always)]
    fn is_seen_as<T: Send + 'static>(&self) -> bool {
        // SAFETY: invariant 1: we own the node.
        let kind = unsafe { *unit(self.0).kind.get() };
        // Not by way of `kind`: a node without one is not seen as anything.
        ptr::eq(kind.map_or(ptr::null(), ptr::from_ref), KindOf::<T>::KIND)
    }

    /// Whether it was made by [`Node::new_signal`].
    #[inline]
    pub(crate) fn is_signal(&self) -> bool {
        matches!(self.kind().class, Class::Signal)
    }

    /// The payload, where it is a `T`.
    pub(crate) fn peek<T: Send + 'static>(&self) -> Option<&T> {
        if !self.is::<T>() {
            return None;
        }
        let payload = unit(self.0).payload.get();
        if KindOf::<T>::INLINE {
            // SAFETY: invariant 2 and the check above; the borrow of `self` keeps it ours.
            Some(unsafe { &*payload.cast::<T>() })
        } else {
            // SAFETY: as above.
            let boxed = unsafe { &*payload.cast::<Pooled<T>>() };
            Some(boxed)
        }
    }

    /// As [`Node::peek`], for a change.
    pub(crate) fn peek_mut<T: Send + 'static>(&mut self) -> Option<&mut T> {
        if !self.is::<T>() {
            return None;
        }
        let payload = unit(self.0).payload.get();
        if KindOf::<T>::INLINE {
            // SAFETY: invariant 2 and the check above; the borrow of `self`, which is the only one, keeps it ours.
            Some(unsafe { &mut *payload.cast::<T>() })
        } else {
            // SAFETY: as above.
            let boxed = unsafe { &mut *payload.cast::<Pooled<T>>() };
            Some(boxed)
        }
    }

    /// Takes the payload out where it is a `T`, else gives the node back.
    #[inline]
    pub(crate) fn take<T: Send + 'static>(self) -> Result<T, Node> {
        if !self.is::<T>() {
            return Err(self);
        }
        let index = self.into_index();
        // SAFETY: invariant 2 and the check above; the node is freed below without dropping it again.
        let value = unsafe { take_payload(index) };
        release(index);
        Ok(value)
    }

    /// By which it is told from all others while it lives.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.0
    }

    /// Gives up the node for its number, which owns it from now on.
    fn into_index(self) -> u32 {
        ManuallyDrop::new(self).0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        /// Frees the node also where the payload's destructor panics.
        struct Release(u32);
        impl Drop for Release {
            fn drop(&mut self) {
                release(self.0);
            }
        }
        let kind = self.kind();
        let _release = Release(self.0);
        // SAFETY: invariant 2; nobody looks at the payload again before the node is filled anew.
        unsafe { (kind.drop_in_place)(unit(self.0).payload.get().cast()) };
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.0)
    }
}

/// A node that [is seen](Node::is_seen_as) to hold a message of type `T`.
pub(crate) struct NodeOf<T>(Node, PhantomData<T>);

impl<T: Send + 'static> NodeOf<T> {
    /// Takes the message out; the node goes to these free ones.
    #[inline(always)]
    pub(crate) fn into_message(self, free: &Cache) -> T {
        let index = self.0.into_index();
        free.release(index);
        // It comes last, so that the compiler may read it to where it is wanted, and need not to a place before that.
        // SAFETY: it was seen to hold a `T`, which a free node keeps until it is taken again: this one is the next that this
        // thread takes, which does nothing else here, and is not given to others before. Nobody drops what is in a free node.
        unsafe { take_payload(index) }
    }
}

/// # Safety
/// The node is the caller's and holds a `T`, which is not used again.
#[inline(always)]
unsafe fn take_payload<T: Send + 'static>(index: u32) -> T {
    let payload = unit(index).payload.get();
    if KindOf::<T>::INLINE {
        // SAFETY: the caller's promise.
        unsafe { payload.cast::<T>().read() }
    } else {
        // SAFETY: as above.
        unsafe { payload.cast::<Pooled<T>>().read() }.into_inner()
    }
}

/// Copies a value a word at a time. Its fields may have been stored a moment ago, one by one: a load of several at a time, by
/// which compilers like to copy, would have to wait until all of them have reached the cache.
///
/// # Safety
/// As for [`ptr::copy_nonoverlapping`], of one.
#[inline(always)]
unsafe fn copy_by_words<T>(from: *const T, to: *mut T) {
    const WORD: usize = size_of::<u64>();
    let words = if align_of::<T>().is_multiple_of(WORD) { size_of::<T>() / WORD } else { 0 };
    let (from, to) = (from.cast::<MaybeUninit<u64>>(), to.cast::<MaybeUninit<u64>>());
    for word in 0..words {
        // SAFETY: the caller's promise; it is aligned, as was checked. Volatile, so that the loads stay apart.
        let bits = unsafe { from.wrapping_add(word).read_volatile() };
        // SAFETY: as above.
        unsafe { to.wrapping_add(word).write(bits) };
    }
    let rest = size_of::<T>() - words * WORD;
    let (from, to) = (from.wrapping_add(words).cast::<u8>(), to.wrapping_add(words).cast::<u8>());
    // SAFETY: as above, of the bytes that are left.
    unsafe { ptr::copy_nonoverlapping(from, to, rest) };
}

/// A place for a node. All-zero bytes are an empty one.
#[derive(Debug, Default)]
pub(crate) struct Place(u32);

impl Place {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == EMPTY
    }

    /// Puts a node in a place that is empty.
    ///
    /// # Panics
    /// Where it is not.
    pub(crate) fn put(&mut self, node: Node) {
        assert!(self.is_empty(), "there is a node");
        self.0 = node.into_index();
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<Node> {
        let index = mem::replace(&mut self.0, EMPTY);
        (index != EMPTY).then(|| Node(index))
    }

    /// Has the processor fetch the node, which is about to be needed.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if !self.is_empty() {
            memory::prefetch(unit(self.0));
        }
    }

    /// The node, which stays.
    pub(crate) fn get(&self) -> Option<&Node> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: a `Node` is its number, in the same layout, and the place owns that number.
        Some(unsafe { &*ptr::from_ref(&self.0).cast::<Node>() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Bytes of a lent unit that are free to use.
pub(crate) const LENT_BYTES: usize = INLINE;

/// A unit in use for something else than a message, shared by two: whoever of them is last takes it back. One word, so that
/// it is stored and loaded as one (see [`copy_by_words`]).
pub(crate) struct Lent(&'static Unit);

/// Lends a fresh unit to two.
pub(crate) fn lend() -> (Lent, Lent) {
    lend_of(allocate())
}

/// As [`lend`], for a worker with these free nodes.
#[inline(always)]
pub(crate) fn lend_from(free: &Cache) -> (Lent, Lent) {
    lend_of(free.take())
}

#[inline(always)]
fn lend_of(index: u32) -> (Lent, Lent) {
    let unit = unit(index);
    (Lent(unit), Lent(unit))
}

/// Ends a loan. The other of the two must not use its half again.
#[inline]
pub(crate) fn take_back(lent: Lent) {
    release(UNITS.index_of(lent.0));
}

impl Lent {
    /// The unit's atomic word.
    #[inline]
    pub(crate) fn word(&self) -> &'static AtomicU32 {
        &self.0.next
    }

    /// The unit's bytes, [`LENT_BYTES`] of them, aligned for a `u64`.
    #[inline]
    pub(crate) fn bytes(&self) -> *mut u8 {
        self.0.payload.get().cast()
    }
}

/// Pushes a node into a mailbox, or gives it back.
#[inline]
pub(crate) fn push(
    word: &LaneWord,
    generation: u16,
    weigh: impl Fn() -> Weight,
    node: Node,
) -> Result<Pushed, (Refused, Node)> {
    let unit = unit(node.0);
    // ORDER: Relaxed: the push publishes it.
    let pushed = word.push(generation, node.0, weigh, |next| unit.next.store(next, Ordering::Relaxed));
    match pushed {
        Ok(pushed) => {
            node.into_index();
            Ok(pushed)
        }
        Err(refused) => Err((refused, node)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn small_and_large_payloads_come_out_as_they_went_in() {
        assert_eq!(Node::new(7_u64).take::<u64>().unwrap(), 7);
        assert_eq!(Node::new([9_u8; 1000]).take::<[u8; 1000]>().unwrap(), [9; 1000]);
        assert_eq!(Node::new(u128::MAX).peek::<u128>(), Some(&u128::MAX));
    }

    #[test]
    fn a_payload_of_no_bytes_comes_out_as_it_went_in_however_it_is_aligned() {
        #[derive(Debug, PartialEq)]
        #[repr(align(16))]
        struct Wide;
        #[derive(Debug, PartialEq)]
        #[repr(align(4096))]
        struct Wider;
        assert!(Node::new(()).take::<()>().is_ok());
        assert_eq!(Node::new(Wide).take::<Wide>().unwrap(), Wide);
        assert_eq!(Node::new(Wider).take::<Wider>().unwrap(), Wider);
        drop(Node::new(Wider));
    }

    #[test]
    fn a_payload_of_another_type_stays_in() {
        let node = Node::new(String::from("x")).take::<u64>().unwrap_err();
        assert_eq!(node.peek::<u64>(), None);
        assert_eq!(node.take::<String>().unwrap(), "x");
    }

    #[test]
    fn dropping_a_node_drops_its_payload_once() {
        let witness = Arc::new(());
        drop(Node::new(witness.clone()));
        drop(Node::new((witness.clone(), [0_u8; 100])));
        let mut list = List::default();
        list.push_back(Node::new(witness.clone()));
        list.push_back(Node::new(witness.clone()));
        drop(list);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn a_mailbox_gives_what_was_pushed_in_its_order() {
        let word = LaneWord::new();
        word.open(1);
        for number in 0..5_u64 {
            assert_eq!(push(&word, 1, || Weight::Exempt, Node::new(number)).unwrap(), Pushed::Nothing);
        }
        let mut seen = Vec::new();
        drain(word.take(true).head, |node| seen.push(node.take::<u64>().unwrap()));
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_list_of_a_mailbox_has_its_order_and_not_what_was_not_kept() {
        let word = LaneWord::new();
        word.open(1);
        let numbers = |list: &mut List| -> Vec<u64> {
            std::iter::from_fn(|| list.pop_front()).map(|node| node.take().unwrap()).collect()
        };
        for unwanted in 0..6_u64 {
            for number in 0..5_u64 {
                // Who is asked about signals is not asked about messages.
                let node = if number == 2 { Node::new(number) } else { Node::new_signal(number) };
                assert_eq!(push(&word, 1, || Weight::Exempt, node).unwrap(), Pushed::Nothing);
            }
            let mut seen = Vec::new();
            let (last, head) = messages(word.take(true).head);
            let more = list(last, head, |node| {
                seen.push(*node.peek::<u64>().unwrap());
                seen.last() != Some(&unwanted)
            });
            assert_eq!(seen, [4, 3, 1, 0]);
            let expected: Vec<_> = (0..5).filter(|number| *number == 2 || *number != unwanted).collect();
            let mut inbox = List::default();
            inbox.append(List::default());
            inbox.append(more);
            inbox.append(List::default());
            inbox.push_back(Node::new(9_u64));
            assert_eq!(numbers(&mut inbox), [&expected[..], &[9]].concat());
        }
        let mut rest = list(List::default(), EMPTY, |_| true);
        assert!(numbers(&mut rest).is_empty());
    }

    #[test]
    fn what_lies_in_a_place_is_changed_there_taken_or_dropped_once() {
        let witness = Arc::new(());
        let mut place = Place::default();
        assert!(place.is_empty() && place.get().is_none() && place.take().is_none());
        place.put(Node::new(witness.clone()));
        assert!(place.get().is_some_and(|node| node.is::<Arc<()>>()));
        let mut node = place.take().unwrap();
        assert!(node.peek_mut::<u64>().is_none());
        *node.peek_mut::<Arc<()>>().unwrap() = Arc::new(());
        assert_eq!(Arc::strong_count(&witness), 1);
        let mut large = Node::new((witness.clone(), [0_u8; 100]));
        large.peek_mut::<(Arc<()>, [u8; 100])>().unwrap().1[99] = 7;
        place.put(large);
        assert_eq!((Arc::strong_count(&witness), place.get().is_some()), (2, true));
        drop(place);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn removing_keeps_the_order_of_the_rest() {
        for out in 0..4_u64 {
            let mut list = List::default();
            (0..4_u64).for_each(|number| list.push_back(Node::new(number)));
            let node = list.remove_first(|node| node.peek::<u64>() == Some(&out)).unwrap();
            assert_eq!(node.take::<u64>().unwrap(), out);
            list.push_back(Node::new(9_u64));
            let rest: Vec<_> = std::iter::from_fn(|| list.pop_front()).map(|n| n.take::<u64>().unwrap()).collect();
            let expected: Vec<_> = (0..4).filter(|n| *n != out).chain([9]).collect();
            assert_eq!(rest, expected);
        }
    }
}
