//! How many messages a pack holds, and who still has to do with it.
//!
//! Owns: the byte. Knows nothing of memory.
//!
//! The low bits count the messages that are there. The packer, who alone adds to them, and the owner, who takes messages out,
//! each leave a pack that is not full once: the packer when it adds no more, the owner when it has taken what there is. Who
//! leaves last frees it. From a full one the packer has gone, and nobody need say so: it is the owner's.
//!
//! Model: `model/pack.rs`.

use crate::shim::{AtomicU8, Ordering};

const COUNT: u8 = 0x0F;
const PACKER_LEFT: u8 = 0x40;
const OWNER_LEFT: u8 = 0x80;

/// The most messages in a pack.
pub(crate) const MOST: usize = COUNT as usize;

/// The byte of a pack, wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill<'a>(pub(crate) &'a AtomicU8);

/// What becomes of a pack that its owner wants to leave.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLeave {
    /// It is the packer's.
    Left,
    /// The packer had left: free it.
    Alone,
    /// There is more in it.
    More,
}

impl Fill<'_> {
    /// A fresh pack, with one message in it. The caller owns it whole.
    pub(crate) fn begin(self) {
        // ORDER: Relaxed: the push publishes it.
        self.0.store(1, Ordering::Relaxed);
    }

    /// The packer has written one more message behind these: false where the owner has left, and the pack is the packer's.
    #[must_use]
    #[inline(always)]
    pub(crate) fn add(self, count: u8) -> bool {
        // ORDER: Release publishes the message; Acquire on failure, so that the pack can be used for something else.
        self.0.compare_exchange(count, count + 1, Ordering::Release, Ordering::Acquire).is_ok()
    }

    /// How many messages there are, for the owner.
    #[inline(always)]
    pub(crate) fn count(self) -> u8 {
        // ORDER: Acquire sees the messages.
        self.0.load(Ordering::Acquire) & COUNT
    }

    /// The owner has taken these messages out, which are not as many as there is room for, and wants no others of this pack.
    pub(crate) fn leave(self, count: u8) -> OnLeave {
        // ORDER: Release, so that the packer does not use the pack again before what was there is taken; Acquire on failure sees
        // what it has added, or that it has left.
        match self.0.compare_exchange(count, count | OWNER_LEFT, Ordering::Release, Ordering::Acquire) {
            Ok(_) => OnLeave::Left,
            Err(seen) if seen & COUNT == count => OnLeave::Alone,
            Err(_) => OnLeave::More,
        }
    }

    /// The packer adds no more to a pack that is not full: whether the owner had left, and it is to be freed.
    #[must_use]
    pub(crate) fn give_up(self) -> bool {
        // ORDER: Acquire, as in `add`. Release, so that the owner does not use it again before the packer has done with it.
        self.0.fetch_or(PACKER_LEFT, Ordering::AcqRel) & OWNER_LEFT != 0
    }
}
