//! Nodes in a row, and how those of a mailbox's word become one.
//!
//! Owns: [`List`]. Invariant 1 of the module above: who has the list has its nodes.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;

use super::{Class, Node, NodeOf, kind_of, unit};
use crate::id::Id;
use crate::lane::word::{EMPTY, LaneWord, Pushed, Weight};
use crate::sched::notices::{Kept, Notices};

/// Nodes in a row. All-zero bytes are an empty list.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl List {
    pub(crate) fn is_empty(&self) -> bool {
        self.head == EMPTY
    }

    #[inline]
    pub(crate) fn push_back(&mut self, node: Node) {
        let index = node.into_index();
        // ORDER: Relaxed, here and below: invariant 1, we own all nodes of the list.
        unit(index).next.store(EMPTY, Ordering::Relaxed);
        self.push_last(Node(index));
    }

    /// As `push_back`, of a node that has none behind it.
    #[inline]
    pub(crate) fn push_last(&mut self, node: Node) {
        let index = node.into_index();
        debug_assert_eq!(unit(index).next.load(Ordering::Relaxed), EMPTY);
        if self.head == EMPTY {
            self.head = index;
        } else {
            unit(self.tail).next.store(index, Ordering::Relaxed);
        }
        self.tail = index;
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Node> {
        if self.head == EMPTY {
            return None;
        }
        if let Class::Pack(items) = kind_of(self.head).class {
            return Some(self.pop_of_pack(items));
        }
        let node = Node(self.head);
        self.head = unit(self.head).next.load(Ordering::Relaxed);
        Some(node)
    }

    /// As `pop_front`, where the first node holds a message that is seen at once to be a `T`.
    #[inline(always)]
    pub(crate) fn pop_front_of<T: Send + 'static>(&mut self) -> Option<NodeOf<T>> {
        if self.head == EMPTY {
            return None;
        }
        // The list stays its owner where it is another.
        let first = ManuallyDrop::new(Node(self.head));
        if !first.is_seen_as::<T>() {
            return None;
        }
        self.head = unit(self.head).next.load(Ordering::Relaxed);
        Some(NodeOf(ManuallyDrop::into_inner(first), PhantomData))
    }

    /// As `pop_front`, where `wanted` likes the first node.
    #[inline]
    pub(crate) fn pop_front_if(&mut self, wanted: impl FnOnce(&Node) -> bool) -> Option<Node> {
        if self.head == EMPTY {
            return None;
        }
        // The list stays its owner where it is not wanted, or should `wanted` panic.
        let first = ManuallyDrop::new(Node(self.head));
        if !wanted(&first) {
            return None;
        }
        self.head = unit(self.head).next.load(Ordering::Relaxed);
        Some(ManuallyDrop::into_inner(first))
    }

    /// Its first node and its last.
    pub(super) fn into_ends(self) -> (u32, u32) {
        // They are the caller's from here on.
        let list = ManuallyDrop::new(self);
        (list.head, list.tail)
    }

    /// Puts all nodes of another list behind those of this one.
    #[inline]
    pub(crate) fn append(&mut self, other: List) {
        // Its nodes are ours from here on.
        let (head, tail) = other.into_ends();
        if head == EMPTY {
            return;
        }
        if self.head == EMPTY {
            self.head = head;
        } else {
            unit(self.tail).next.store(head, Ordering::Relaxed);
        }
        self.tail = tail;
    }

    /// Takes out the first node that `wanted` likes.
    pub(crate) fn remove_first(&mut self, mut wanted: impl FnMut(&Node) -> bool) -> Option<Node> {
        let (mut before, mut index) = (EMPTY, self.head);
        while index != EMPTY {
            if let Class::Pack(_) = kind_of(index).class {
                index = self.unpack(before, index);
            }
            let next = unit(index).next.load(Ordering::Relaxed);
            // The list stays the owner should `wanted` panic.
            let node = ManuallyDrop::new(Node(index));
            if wanted(&node) {
                if before == EMPTY {
                    self.head = next;
                } else {
                    unit(before).next.store(next, Ordering::Relaxed);
                }
                if self.tail == index {
                    self.tail = before;
                }
                return Some(ManuallyDrop::into_inner(node));
            }
            (before, index) = (index, next);
        }
        None
    }

    /// Takes out all nodes that `wanted` likes; both lists keep the order.
    pub(crate) fn remove_all(&mut self, mut wanted: impl FnMut(&Node) -> bool) -> List {
        let (mut removed, mut kept) = (List::default(), List::default());
        while let Some(node) = self.pop_front() {
            let list = if wanted(&node) { &mut removed } else { &mut kept };
            list.push_back(node);
        }
        self.append(kept);
        removed
    }
}

impl Drop for List {
    fn drop(&mut self) {
        while let Some(node) = self.pop_front() {
            drop(node);
        }
    }
}

/// Adds a node to those that a worker keeps for a lane.
#[inline]
pub(crate) fn keep(notices: &Notices, watcher: Id, node: Node) {
    let index = node.into_index();
    // ORDER: Relaxed: published with the chain.
    notices.add(watcher.to_bits(), index, |before| unit(index).next.store(before, Ordering::Relaxed));
}

/// Pushes nodes that were kept into their watcher's mailbox, or drops them where it is gone.
pub(crate) fn push_kept(word: &LaneWord, generation: u16, kept: Kept) -> Option<Pushed> {
    let Kept { last, first, .. } = kept;
    // ORDER: Relaxed: the push publishes it.
    let link = |next| unit(first).next.store(next, Ordering::Relaxed);
    let pushed = word.push(generation, last, || Weight::Exempt, link);
    if pushed.is_err() {
        drop_kept(kept);
    }
    pushed.ok()
}

/// Frees nodes that were kept for somebody who is gone.
pub(crate) fn drop_kept(Kept { last, first, .. }: Kept) {
    unit(first).next.store(EMPTY, Ordering::Relaxed);
    drop(list(List::default(), last, |_| true));
}

/// The node of a mailbox that held one alone, and that a message; else the mailbox's nodes are still the caller's.
#[inline]
pub(crate) fn only_message(head: u32) -> Option<Node> {
    if head == EMPTY || unit(head).next.load(Ordering::Relaxed) != EMPTY {
        return None;
    }
    if let Class::Message = kind_of(head).class { Some(Node(head)) } else { None }
}

/// Takes all nodes of a mailbox in the order in which they were pushed, each passed to `each`.
#[inline]
pub(crate) fn drain(head: u32, mut each: impl FnMut(Node)) {
    let mut list = list(List::default(), head, |_| true);
    while let Some(node) = list.pop_front() {
        each(node);
    }
}

/// The last messages of a mailbox in the order in which they were pushed, and the head of what comes before them, which is a
/// signal and still the caller's; [`EMPTY`] where there is none.
#[inline]
pub(crate) fn messages(head: u32) -> (List, u32) {
    let mut list = List { head: EMPTY, tail: head };
    let mut index = head;
    while index != EMPTY {
        if let Class::Signal = kind_of(index).class {
            break;
        }
        let next = unit(index).next.load(Ordering::Relaxed);
        unit(index).next.store(list.head, Ordering::Relaxed);
        list.head = index;
        index = next;
    }
    (list, index)
}

/// The nodes of a mailbox in the order in which they were pushed, but for the signals that `keeps` does not like, which is
/// shown them in the opposite order. `list` has the last of them ([`messages`]).
pub(crate) fn list(mut list: List, head: u32, mut keeps: impl FnMut(&Node) -> bool) -> List {
    let mut index = head;
    while index != EMPTY {
        // The list owns what it has got so far; what comes next is ours.
        let unit = unit(index);
        let next = unit.next.load(Ordering::Relaxed);
        let is_kept = if let Class::Signal = kind_of(index).class {
            let node = Node(index);
            let is_kept = keeps(&node);
            if is_kept {
                node.into_index();
            }
            is_kept
        } else {
            true
        };
        if is_kept {
            unit.next.store(list.head, Ordering::Relaxed);
            if list.is_empty() {
                list.tail = index;
            }
            list.head = index;
        }
        index = next;
    }
    list
}
