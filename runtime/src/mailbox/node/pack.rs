//! Packs: nodes with several messages in them, which one worker sends to a mailbox in which messages gather.
//!
//! What a message costs there is, for the most part, its node: it comes from a pool, goes to the receiver's cache, and comes
//! back by way of another pool. So a worker that has sent to such a mailbox, and nobody after it, pushes a pack next, and what
//! it sends then it adds to that for as long as the pack comes last in the mailbox: of the mailbox's word it takes no more
//! than a look. The places of a pack are counted under the bound when it is pushed, whether they are used or not; what is left of
//! them is given back by a packer that turns to another mailbox, if its pack comes last still.
//!
//! What one sends comes in order, and what he knows to have been sent before comes before it: had anybody pushed something,
//! the pack would not come last, and that is seen by whoever knows of it. A pack that was taken out of the mailbox since is
//! added to until its owner has received what is in it. Nobody can tell that from a take that came later.
//!
//! Owns: [`Packer`], who fills packs, and how messages come out of them. Knows nothing of turns.
//!
//! # Invariants
//! 1. The owner of a pack's number, as the module above has it, owns the messages that `fill` counts and `taken` does not; of
//!    these there is at least one, which it is known to see. What comes behind them is the packer's: it alone writes there,
//!    and adds to `fill` what it has written. A [`Packer`] is of one thread, and has one pack at a time.
//! 2. A pack is freed by whom `fill` says (`fill.rs`), and so never while its packer may write there. A pack that comes last in
//!    a mailbox and bears the number of the packer's own therefore is that one.
//! 3. No [`Node`] is a pack: out of a [`List`] its messages come one by one.
//!
//! Model: `model/pack.rs`.

use std::any::TypeId;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::atomic::Ordering;

use super::fill::{Fill, MOST, OnLeave};
use super::{Cache, Class, INLINE, Kind, KindOf, List, Node, allocate, copy_by_words, release, unit};
use crate::id::Id;
use crate::lane::word::{EMPTY, LaneWord, Pushed, Weight};
use crate::sched::hold::Mark;
use crate::slot::slot_of;

/// Of what the messages in a pack are.
#[derive(Clone, Copy)]
pub(super) struct Items {
    size: usize,
    room: u8,
    /// What each of them is in a node of its own.
    single: &'static Kind,
}

/// The type that the kind of a pack names: that of no message.
struct Pack<T>(PhantomData<T>);

impl<T: Send + 'static> KindOf<T> {
    const ROOM: u8 = {
        let size = size_of::<T>();
        let room = if KindOf::<T>::INLINE && size != 0 { INLINE / size } else { 0 };
        // Two are not worth a pack, and more than six would keep too many places for one sender.
        match room {
            0..3 => 0,
            3..6 => room as u8,
            _ => 6,
        }
    };
    const PACK: &'static Kind = &Kind {
        type_id: TypeId::of::<Pack<T>>(),
        drop_in_place: never_dropped,
        class: Class::Pack(Items { size: size_of::<T>(), room: Self::ROOM, single: KindOf::<T>::KIND }),
    };
}

const _: () = assert!(6 <= MOST);

fn never_dropped(_: *mut u8) {
    unreachable!("a pack is no node");
}

/// How many messages of the type a pack holds; 0 where they are not packed.
pub(crate) const fn room_of<T: Send + 'static>() -> u8 {
    KindOf::<T>::ROOM
}

/// A worker's own pack, to which it may add, and the mailbox that it has in mind.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// The bits of the id to which it sends; 0 for none.
    to: Cell<u64>,
    /// The node that it pushed there last.
    last: Cell<u32>,
    /// How many messages are in that, where it is a pack that is not full and the packer has not left; else 0.
    count: Cell<u8>,
    /// How many there is room for in a pack of that mailbox.
    room: Cell<u8>,
}

impl Packer {
    /// Whether this is the mailbox, by the bits of its id, that the packer has in mind.
    #[inline(always)]
    pub(crate) fn is_for<T: Send + 'static>(&self, to: u64) -> bool {
        KindOf::<T>::ROOM != 0 && self.to.get() == to
    }

    /// Adds a message to the worker's pack, where that still comes last in the mailbox.
    ///
    /// # Safety
    /// The packer [is for](Packer::is_for) the mailbox, which takes messages of type `T` as long as the word has its generation
    /// (who is gone can be named by any type, [`MailboxId::of_gone`](crate::mailbox::MailboxId::of_gone)), and the word is that
    /// of its slot. Of the message, what was added alone is used from then on; where nothing was, the message alone.
    #[inline(always)]
    pub(crate) unsafe fn add<T: Send + 'static>(&self, word: &LaneWord, generation: u16, message: *const T) -> bool {
        let (last, count) = (self.last.get(), self.count.get());
        if count == 0 || !word.ends_with(generation, last) {
            return false;
        }
        let unit = unit(last);
        // SAFETY: invariants 1 and 2: the packer has not left, so the pack is its own, whose messages are of type `T` as the
        // mailbox's are, and there is room.
        unsafe { copy_by_words(message, unit.payload.get().cast::<T>().wrapping_add(usize::from(count))) };
        if !Fill(&unit.fill).add(count) {
            return self.is_left();
        }
        self.count.set(if count + 1 == KindOf::<T>::ROOM { 0 } else { count + 1 });
        true
    }

    /// The owner had left the pack, which is taken.
    #[cold]
    fn is_left(&self) -> bool {
        self.count.set(0);
        self.to.set(0);
        release(self.last.get());
        false
    }

    /// Pushes a pack that begins with this message, where the packer has no other and nobody else has pushed anything since it
    /// last did. Else it leaves what it has.
    ///
    /// # Safety
    /// As for [`Packer::add`].
    #[inline(never)]
    pub(crate) unsafe fn open<T: Send + 'static>(
        &self,
        free: &Cache,
        word: &LaneWord,
        generation: u16,
        bound: impl Fn() -> u32,
        message: *const T,
    ) -> Option<Pushed> {
        if self.count.get() != 0 || !word.ends_with(generation, self.last.get()) {
            self.leave(free);
            return None;
        }
        let index = free.take();
        // It will be soon, and was in use by another worker.
        free.prefetch_next();
        let unit = unit(index);
        // SAFETY: invariant 1 of the module above: the node is ours.
        unsafe { *unit.kind.get() = Some(KindOf::<T>::PACK) };
        // SAFETY: as above.
        unsafe { *unit.taken.get() = 0 };
        // SAFETY: as above; a type that has room is stored inline.
        unsafe { copy_by_words(message, unit.payload.get().cast::<T>()) };
        Fill(&unit.fill).begin();
        let weigh = || Weight::Pack { bound: bound(), room: u32::from(KindOf::<T>::ROOM) };
        // ORDER: Relaxed: the push publishes it.
        let pushed = word.push(generation, index, weigh, |next| unit.next.store(next, Ordering::Relaxed));
        match pushed {
            Ok(pushed) => {
                self.last.set(index);
                self.count.set(1);
                Some(pushed)
            }
            Err(_) => {
                free.release(index);
                self.leave(free);
                None
            }
        }
    }

    /// The worker has pushed `node` to a mailbox in which much has gathered.
    #[inline(never)]
    pub(crate) fn has_in_mind<T: Send + 'static>(&self, free: &Cache, to: u64, node: u32) {
        if KindOf::<T>::ROOM != 0 {
            self.close(free);
            self.to.set(to);
            self.last.set(node);
            self.room.set(KindOf::<T>::ROOM);
        }
    }

    /// Leaves the pack that there may be, and has no mailbox in mind. Where the pack comes last, what is left of its places is
    /// for others.
    pub(crate) fn close(&self, free: &Cache) {
        let count = self.count.get();
        if count != 0
            && let Some(to) = Id::from_bits(self.to.get())
            && let Some(slot) = slot_of(to)
        {
            let places = u32::from(self.room.get() - count);
            slot.word.give_places_back(to.generation_number(), self.last.get(), places);
        }
        self.leave(free);
    }

    /// As `close`, where others have pushed something since, or the mailbox is gone.
    fn leave(&self, free: &Cache) {
        self.to.set(0);
        if self.count.replace(0) != 0 && Fill(&unit(self.last.get()).fill).give_up() {
            free.release(self.last.get());
        }
    }
}

/// A message in the first pack of a list, which has been taken out of it but for its bits.
pub(crate) struct Packed<T> {
    message: *const T,
    /// The pack, where it was the last in it; else [`EMPTY`].
    emptied: u32,
}

impl<T: Send + 'static> Packed<T> {
    /// Takes the message out; a pack that is empty goes to these free ones. The mark is that under which it was popped: who takes
    /// the lane away frees the pack, and has to wait for it.
    #[inline(always)]
    pub(crate) fn into_message(self, free: &Cache, mark: Mark<'_>) -> T {
        if self.emptied != EMPTY {
            free.release(self.emptied);
        }
        // SAFETY: `pop_packed` made it ours, and nobody else looks at it. As in `NodeOf::into_message`, a free node keeps it
        // until it is taken again, which this thread does not do before; one that is not free is in the list.
        let message = unsafe { ptr::read(self.message) };
        drop(mark);
        message
    }
}

impl List {
    /// The first message, where it lies in a pack that is seen at once to hold messages of type `T`, and is not the last in a
    /// pack to which others may come.
    #[inline(always)]
    pub(crate) fn pop_packed<T: Send + 'static>(&mut self) -> Option<Packed<T>> {
        let (index, room) = (self.head, KindOf::<T>::ROOM);
        if room == 0 || index == EMPTY {
            return None;
        }
        let unit = unit(index);
        // SAFETY: invariant 1 of the module above: the list has the node.
        let kind = unsafe { *unit.kind.get() };
        if !ptr::eq(kind.map_or(ptr::null(), ptr::from_ref), KindOf::<T>::PACK) {
            return None;
        }
        // SAFETY: as above.
        let taken = unsafe { &mut *unit.taken.get() };
        let mut emptied = EMPTY;
        if *taken + 1 == room {
            // Full, or there would be a message less than the list must have.
            self.head = unit.next.load(Ordering::Relaxed);
            emptied = index;
        } else if *taken + 1 == Fill(&unit.fill).count() {
            return None;
        }
        let message = unit.payload.get().cast::<T>().wrapping_add(usize::from(*taken));
        *taken += 1;
        Some(Packed { message, emptied })
    }

    /// The first message, where the first node is a pack, in a node of its own.
    #[cold]
    pub(super) fn pop_of_pack(&mut self, items: Items) -> Node {
        let (pack, index) = (unit(self.head), allocate());
        let Items { size, room, single } = items;
        // SAFETY: invariant 1 of the module above: the list has the pack, and the node is fresh.
        let taken = unsafe { &mut *pack.taken.get() };
        let one = unit(index);
        // SAFETY: as above.
        unsafe { *one.kind.get() = Some(single) };
        let from = pack.payload.get().cast::<u8>().wrapping_add(size * usize::from(*taken));
        // Whether there is one behind it is seen before it is moved, and sees it written.
        let count = Fill(&pack.fill).count();
        debug_assert!(*taken < count);
        // SAFETY: a message that is the list's, which is used in its new place alone.
        unsafe { ptr::copy_nonoverlapping(from, one.payload.get().cast::<u8>(), size) };
        *taken += 1;
        let next = pack.next.load(Ordering::Relaxed);
        if *taken == room {
            release(mem::replace(&mut self.head, next));
        } else if *taken == count {
            match Fill(&pack.fill).leave(count) {
                OnLeave::Left => self.head = next,
                OnLeave::Alone => release(mem::replace(&mut self.head, next)),
                OnLeave::More => {}
            }
        }
        Node(index)
    }

    /// Has the messages of a pack, which comes behind the node `before` of the list, lie in nodes of their own: the first of
    /// them.
    pub(super) fn unpack(&mut self, before: u32, pack: u32) -> u32 {
        let behind = unit(pack).next.swap(EMPTY, Ordering::Relaxed);
        // It stays this list's should there be no memory for one more: then what comes behind is lost, and nothing is freed
        // twice.
        let mut packed = mem::ManuallyDrop::new(List { head: pack, tail: pack });
        let mut singles = List::default();
        while let Some(node) = packed.pop_front() {
            singles.push_back(node);
        }
        let (first, last) = singles.into_ends();
        unit(last).next.store(behind, Ordering::Relaxed);
        if before == EMPTY {
            self.head = first;
        } else {
            unit(before).next.store(first, Ordering::Relaxed);
        }
        if self.tail == pack {
            self.tail = last;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{drain, kind_of, made, messages, push};
    use super::*;
    use crate::sched::hold::Hold;

    const TO: u64 = 7;

    /// A mailbox, and a worker whose lanes send to it.
    struct Post {
        word: LaneWord,
        packer: Packer,
        free: Cache,
        bound: u32,
    }

    impl Drop for Post {
        fn drop(&mut self) {
            self.packer.close(&self.free);
            self.free.flush();
        }
    }

    impl Post {
        fn new(bound: u32) -> Post {
            let word = LaneWord::new();
            word.open(1);
            Post { word, packer: Packer::default(), free: Cache::default(), bound }
        }

        /// As a send, to a mailbox in which much has gathered: whether it was accepted.
        fn send<T: Send + 'static>(&self, message: T) -> bool {
            let message = mem::ManuallyDrop::new(message);
            let at: *const T = &*message;
            if self.packer.is_for::<T>(TO) {
                // SAFETY: all messages of a test are of one type, and the caller's is forgotten where it is sent.
                if unsafe { self.packer.add(&self.word, 1, at) } {
                    return true;
                }
                // SAFETY: as above.
                if unsafe { self.packer.open(&self.free, &self.word, 1, || self.bound, at) }.is_some() {
                    return true;
                }
            }
            self.push(mem::ManuallyDrop::into_inner(message))
        }

        /// As somebody else's send, if it is not for `send`.
        fn push<T: Send + 'static>(&self, message: T) -> bool {
            let node = Node::new(message);
            let number = node.number();
            let pushed = push(&self.word, 1, || Weight::Counted { bound: self.bound }, node);
            if pushed.is_ok() && !self.packer.is_for::<T>(TO) {
                self.packer.has_in_mind::<T>(&self.free, TO, number);
            }
            pushed.is_ok()
        }

        fn take(&self) -> List {
            let (list, rest) = messages(self.word.take(true).head);
            assert_eq!(rest, EMPTY);
            list
        }
    }

    /// How many of the nodes are packs.
    fn packs(list: &List) -> usize {
        let next = |index: &u32| Some(unit(*index).next.load(Ordering::Relaxed));
        let nodes = std::iter::successors(Some(list.head), next).take_while(|index| *index != EMPTY);
        nodes.filter(|index| matches!(kind_of(*index).class, Class::Pack(_))).count()
    }

    fn numbers(list: &mut List) -> Vec<u64> {
        std::iter::from_fn(|| list.pop_front()).map(|node| node.take().unwrap()).collect()
    }

    #[test]
    fn messages_come_out_of_packs_in_their_order() {
        for many in 1..40 {
            let post = Post::new(100);
            assert!((0..many).all(|number| post.send(number)));
            let mut list = post.take();
            assert_eq!(packs(&list), (many as usize - 1).div_ceil(6));
            assert_eq!(numbers(&mut list), Vec::from_iter(0..many));
            assert!(list.is_empty());
        }
    }

    #[test]
    fn what_is_small_is_packed_and_what_is_not_is_not() {
        assert_eq!([room_of::<u8>(), room_of::<u64>(), room_of::<[u32; 3]>(), room_of::<u128>()], [6, 6, 4, 0]);
        assert_eq!(
            [room_of::<(u64, u64)>(), room_of::<[u64; 3]>(), room_of::<[u64; 9]>(), room_of::<()>()],
            [3, 0, 0, 0]
        );
        let post = Post::new(100);
        assert!((0..20_u64).all(|number| post.send([number; 9])));
        let mut list = post.take();
        assert_eq!(packs(&list), 0);
        let firsts = std::iter::from_fn(|| list.pop_front()).map(|node| node.take::<[u64; 9]>().unwrap()[0]);
        assert!(firsts.eq(0..20));
    }

    #[test]
    fn a_pack_that_has_been_received_from_is_added_to_no_more() {
        let post = Post::new(100);
        assert!((0..4_u64).all(|number| post.send(number)));
        let mut list = post.take();
        // One alone, as it is another mailbox now: the pack has room yet.
        assert!((4..6_u64).all(|number| post.send(number)));
        assert_eq!(numbers(&mut list), [0, 1, 2, 3]);
        assert_eq!(numbers(&mut post.take()), [4, 5]);
    }

    #[test]
    fn a_pack_is_freed_whoever_leaves_it_first() {
        for packer_first in [true, false] {
            let post = Post::new(100);
            assert!((0..4_u64).all(|number| post.send(number)));
            let mut list = post.take();
            let pack = post.packer.last.get();
            if packer_first {
                post.packer.close(&post.free);
                assert_eq!(numbers(&mut list), [0, 1, 2, 3]);
            } else {
                assert_eq!(numbers(&mut list), [0, 1, 2, 3]);
                post.packer.close(&post.free);
                assert_eq!(post.free.take(), pack, "it is the packer's, and the next that is used");
                post.free.release(pack);
            }
        }
    }

    #[test]
    fn no_pack_is_lost_whoever_leaves_it_and_why() {
        const MANY: u32 = 30_000;
        let end = |post: &Post| {
            assert_eq!(post.word.close(2).head, EMPTY);
            assert!(!post.send(7_u64));
            assert!(!post.word.transition_to_dead());
            post.word.open(2);
        };
        let receive = |post: &Post| drop(post.take());
        let close = |post: &Post| post.packer.close(&post.free);
        let turn_to_others = |post: &Post| {
            let node = Node::new(7_u64);
            post.packer.has_in_mind::<u64>(&post.free, TO + 1, node.number());
        };
        let add = |post: &Post| assert!(post.send(7_u64));
        let push_behind = |post: &Post| assert!(post.push(7_u64));
        let push_and_add = |post: &Post| {
            push_behind(post);
            add(post);
        };
        let add_as_it_is_left = |post: &Post| {
            // As if the packer had looked before the owner took it.
            let last = post.packer.last.get();
            assert!(post.word.push(1, last, || Weight::Exempt, |_| ()).is_ok());
            assert!(post.send(7_u64));
            let head = post.word.take(true).head;
            assert_ne!(head, last, "the pack is free");
            unit(head).next.store(EMPTY, Ordering::Relaxed);
            assert_eq!(numbers(&mut messages(head).0), [7]);
        };
        type Step<'a> = &'a dyn Fn(&Post);
        let fill_up = |post: &Post| assert!((0..4_u64).all(|number| post.send(number)));
        let ways: [(&str, [Step<'_>; 2]); 8] = [
            ("the packer closes", [&close, &receive]),
            ("the packer closes, received before", [&receive, &close]),
            ("another mailbox", [&receive, &turn_to_others]),
            ("it is added to", [&receive, &add]),
            ("it is added to as it is left", [&receive, &add_as_it_is_left]),
            ("others push", [&push_and_add, &receive]),
            ("there is room for one, and for no pack", [&fill_up, &receive]),
            ("the mailbox closes", [&receive, &end]),
        ];
        for (why, steps) in ways {
            let before = made();
            for _ in 0..MANY {
                let post = Post::new(12);
                assert!((0..4_u64).all(|number| post.send(number)));
                steps.iter().for_each(|step| step(&post));
                receive(&post);
            }
            let more = made() - before;
            assert!(more < MANY / 2, "{why}: {more} nodes more");
        }
    }

    #[test]
    fn what_somebody_else_sends_comes_between() {
        let post = Post::new(100);
        assert!((0..4_u64).all(|number| post.send(number)));
        assert!(post.push(4_u64));
        assert!((5..30_u64).all(|number| post.send(number)));
        assert_eq!(numbers(&mut post.take()), Vec::from_iter(0..30));
    }

    #[test]
    fn nobody_pushes_packs_where_others_push_in_between() {
        let post = Post::new(100);
        assert!((0..20_u64).all(|number| if number % 2 == 0 { post.send(number) } else { post.push(number) }));
        let mut list = post.take();
        assert_eq!(packs(&list), 0);
        assert_eq!(numbers(&mut list), Vec::from_iter(0..20));
    }

    #[test]
    fn a_bound_counts_the_places_of_packs() {
        for bound in 1..30_u32 {
            let post = Post::new(bound);
            let sent = (0..100_u32).take_while(|number| post.send(u64::from(*number))).count();
            assert_eq!(sent, bound as usize, "as nobody comes between, all places are used");
            assert_eq!(numbers(&mut post.take()).len(), sent);
            let unbounded = Post::new(u32::MAX);
            assert!((0..5000_u64).all(|number| unbounded.send(number)));
            assert_eq!(numbers(&mut unbounded.take()).len(), 5000);
        }
        let post = Post::new(20);
        assert!((0..4_u64).all(|number| post.send(number)) && post.push(4_u64));
        let sent = (5..100).take_while(|number| post.push(*number)).count();
        assert_eq!(sent, 20 - (1 + 6 + 1), "what the packer has kept, it has kept");
    }

    #[test]
    fn what_is_in_packs_is_found_and_removed_like_the_rest() {
        for out in 0..20_u64 {
            let post = Post::new(100);
            assert!((0..9_u64).all(|number| post.send(number)));
            assert!(post.push(9_u64));
            assert!((10..20_u64).all(|number| post.send(number)));
            let mut list = post.take();
            let node = list.remove_first(|node| node.peek::<u64>() == Some(&out)).unwrap();
            assert_eq!(node.take::<u64>().unwrap(), out);
            list.push_back(Node::new(20_u64));
            let mut odd = list.remove_all(|node| node.peek::<u64>().is_some_and(|number| number % 2 == 1));
            let rest = |parity: u64| Vec::from_iter((0..=20).filter(|number| number % 2 == parity && *number != out));
            assert_eq!((numbers(&mut odd), numbers(&mut list)), (rest(1), rest(0)));
        }
    }

    #[test]
    fn a_message_of_a_pack_that_is_received_quickly_leaves_the_others() {
        let post = Post::new(100);
        assert!((0..30_u64).all(|number| post.send(number)));
        let mut list = post.take();
        let hold = Hold::new();
        let mut received = Vec::new();
        while !list.is_empty() {
            match list.pop_packed::<u64>() {
                Some(packed) => received.push(packed.into_message(&post.free, hold.borrow())),
                None => received.push(list.pop_front().unwrap().take().unwrap()),
            }
        }
        assert_eq!(received, Vec::from_iter(0..30));
        assert!(post.send(1_u64));
        let mut list = post.take();
        assert!(list.pop_packed::<u32>().is_none() && list.pop_packed::<u64>().is_none(), "it is no pack");
    }

    #[test]
    fn what_nobody_received_is_dropped_once() {
        let witness = Arc::new(());
        let post = Post::new(100);
        assert!((0..30).all(|_| post.send(witness.clone())));
        let mut list = post.take();
        assert!((0..9).all(|_| post.send(witness.clone())));
        for _ in 0..8 {
            drop(list.pop_front());
        }
        assert_eq!(Arc::strong_count(&witness), 1 + 22 + 9);
        drop(list);
        drain(post.word.close(2).head, drop);
        assert_eq!(Arc::strong_count(&witness), 1);
        assert!(!post.send(witness.clone()), "there is nobody any more");
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
