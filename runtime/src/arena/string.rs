//! [`String`]: a vector in an arena that is text.
//!
//! Owns: the promise that it is. The vector is `allocator-api2`'s; neither that crate nor the standard library on stable
//! Rust has text in an allocator.
//!
//! # Invariants
//! 1. `bytes` is UTF-8, also when something unwinds. Nobody else can change them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use allocator_api2::alloc::Allocator;

use super::Vec;

/// Text in an arena.
///
/// ```
/// use std::fmt::Write;
///
/// use laneway_runtime::arena;
/// use laneway_runtime::{Runtime, lane::Spawn, mailbox::Inbox};
///
/// let runtime = Runtime::builder().build()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// runtime.block_on(async {
///     Spawn::new().spawn(|_: Inbox<()>| async move {
///         let mut text = arena::heap().unwrap().string();
///         write!(text, "{} and ", 1).unwrap();
///         text.push_str("two");
///         text.push('!');
///         tell.send(text.to_string()).unwrap();
///     })
/// })?;
/// assert_eq!(told.recv()?, "1 and two!");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct String<A: Allocator> {
    bytes: Vec<u8, A>,
}

impl<A: Allocator> String<A> {
    /// Text of no length, which has no memory yet.
    pub fn new_in(arena: A) -> String<A> {
        String { bytes: Vec::new_in(arena) }
    }

    /// As [`String::new_in`], with room for so many bytes.
    ///
    /// # Panics
    /// Where there is no more memory, and outside of the arena's lane: see [`arena`](super). So do all that make it longer.
    pub fn with_capacity_in(bytes: usize, arena: A) -> String<A> {
        String { bytes: Vec::with_capacity_in(bytes, arena) }
    }

    /// A copy of a text.
    pub fn from_str_in(text: &str, arena: A) -> String<A> {
        let mut copy = String::with_capacity_in(text.len(), arena);
        copy.push_str(text);
        copy
    }

    /// Appends a text.
    pub fn push_str(&mut self, text: &str) {
        // First, as it may unwind; within, that would be in the middle of a character.
        self.bytes.reserve(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Appends a character.
    pub fn push(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }

    /// Appends what `format_args!` describes.
    ///
    /// # Panics
    /// Where something that is formatted says that it failed.
    pub fn append(&mut self, text: fmt::Arguments<'_>) {
        match text.as_str() {
            Some(text) => self.push_str(text),
            None => fmt::Write::write_fmt(self, text).expect("what is formatted does not fail"),
        }
    }

    /// Makes it the empty text; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// How many bytes fit in without another look for memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8, A> {
        self.bytes
    }

    /// The text for as long as its arena: it is not freed before. For texts in a scratch; in a heap the text, and the heap
    /// with it, then stay for ever.
    pub fn leak<'a>(self) -> &'a str
    where
        A: 'a,
    {
        // SAFETY: invariant 1.
        unsafe { std::str::from_utf8_unchecked(self.bytes.leak()) }
    }

    /// For whoever only makes room.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8, A> {
        &mut self.bytes
    }
}

impl<A: Allocator> Deref for String<A> {
    type Target = str;

    fn deref(&self) -> &str {
        // SAFETY: invariant 1.
        unsafe { std::str::from_utf8_unchecked(&self.bytes) }
    }
}

impl<A: Allocator> fmt::Write for String<A> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

impl<A: Allocator> fmt::Display for String<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<A: Allocator> fmt::Debug for String<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<A: Allocator> AsRef<str> for String<A> {
    fn as_ref(&self) -> &str {
        self
    }
}

impl<A: Allocator> Borrow<str> for String<A> {
    fn borrow(&self) -> &str {
        self
    }
}

impl<A: Allocator> PartialEq for String<A> {
    fn eq(&self, other: &String<A>) -> bool {
        **self == **other
    }
}

impl<A: Allocator> PartialEq<str> for String<A> {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl<A: Allocator> PartialEq<&str> for String<A> {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl<A: Allocator> Eq for String<A> {}

impl<A: Allocator> PartialOrd for String<A> {
    fn partial_cmp(&self, other: &String<A>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<A: Allocator> Ord for String<A> {
    fn cmp(&self, other: &String<A>) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// As that of `str`, which it is borrowed as.
impl<A: Allocator> Hash for String<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}
