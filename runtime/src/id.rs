//! Ids: 64 bits that name a lane, a descriptor or a role, here or on a peer node.
//!
//! Owns: the layout of [`Id`] and the ranges of [`Namespace`]. Knows nothing of tables, slots or what an id names.
//!
//! # Layout
//!
//! | bits | field | meaning |
//! | --- | --- | --- |
//! | 0..32 | key | the slot's place in its table |
//! | 32..48 | namespace | the table: 0 never; below [`Namespace::FIRST_PEER`] local; from there on a peer incarnation |
//! | 48..64 | generation | which tenant of the slot; never 0, so `Option<Id>` is 8 bytes too |

use std::fmt;
use std::num::{NonZeroU16, NonZeroU64};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The table in which an id's key is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Namespace(u16);

impl Namespace {
    /// The first namespace of the range that names peer incarnations.
    pub const FIRST_PEER: u16 = 0x8000;

    /// The namespace with this number; `None` for 0, which is never valid.
    pub const fn new(number: u16) -> Option<Namespace> {
        if number == 0 { None } else { Some(Namespace(number)) }
    }

    /// The number that stands in the id.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether ids of this namespace name things of a peer node.
    pub const fn is_peer(self) -> bool {
        self.0 >= Namespace::FIRST_PEER
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({:#x})", self.0)
    }
}

/// The name of a lane, a descriptor or a role: plain data, copied freely, checked at every use, never counted.
///
/// Two ids are equal exactly when they name the same tenant of the same slot. An id that outlived what it named is
/// *stale*: every use of it says so, for ever.
///
/// ```
/// use laneway_runtime::Id;
/// assert_eq!(size_of::<Option<Id>>(), 8);
/// let id: Id = "7.2@1".parse().unwrap();
/// assert_eq!((id.key(), id.generation().get(), id.namespace().number()), (7, 2, 1));
/// assert_eq!(id.to_string(), "7.2@1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Id(NonZeroU64);

impl Id {
    /// Puts an id together.
    pub const fn new(key: u32, namespace: Namespace, generation: NonZeroU16) -> Id {
        let bits = (key as u64) | (namespace.0 as u64) << 32 | (generation.get() as u64) << 48;
        match NonZeroU64::new(bits) {
            Some(bits) => Id(bits),
            None => unreachable!(),
        }
    }

    /// The id with these bits; `None` where the namespace or the generation is 0.
    pub const fn from_bits(bits: u64) -> Option<Id> {
        match (NonZeroU64::new(bits), NonZeroU16::new((bits >> 48) as u16)) {
            (Some(all), Some(_)) if (bits >> 32) as u16 != 0 => Some(Id(all)),
            _ => None,
        }
    }

    /// The 64 bits.
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The slot's place in its table.
    pub const fn key(self) -> u32 {
        self.to_bits() as u32
    }

    /// The table in which the key is looked up.
    pub const fn namespace(self) -> Namespace {
        Namespace((self.to_bits() >> 32) as u16)
    }

    /// The number of [`Id::generation`].
    #[inline]
    pub(crate) const fn generation_number(self) -> u16 {
        (self.to_bits() >> 48) as u16
    }

    /// Which tenant of the slot is meant.
    pub const fn generation(self) -> NonZeroU16 {
        match NonZeroU16::new((self.to_bits() >> 48) as u16) {
            Some(generation) => generation,
            None => unreachable!(),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.key(), self.generation(), self.namespace().number())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// The text is not an id of the form `key.generation@namespace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseIdError(());

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id of the form key.generation@namespace, with namespace and generation above 0")
    }
}

impl std::error::Error for ParseIdError {}

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Id, ParseIdError> {
        let parts = || {
            let (key, rest) = text.split_once('.')?;
            let (generation, namespace) = rest.split_once('@')?;
            let namespace = Namespace::new(namespace.parse().ok()?)?;
            Some(Id::new(key.parse().ok()?, namespace, generation.parse().ok()?))
        };
        parts().ok_or(ParseIdError(()))
    }
}

/// What the id named is gone; using it will never succeed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleId(pub Id);

impl fmt::Display for StaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what {} named is gone", self.0)
    }
}

impl std::error::Error for StaleId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_with_a_zero_generation_or_namespace_are_no_id() {
        assert_eq!(Id::from_bits(0), None);
        assert_eq!(Id::from_bits(1 << 32), None);
        assert_eq!(Id::from_bits(1 << 48), None);
        assert!(Id::from_bits(1 << 32 | 1 << 48).is_some());
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "1", "1.0@1", "1.1@0", "1.1", "x.1@1", "4294967296.1@1", "1.1@65536"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn display_and_parse_are_inverse() {
        let id = Id::new(u32::MAX, Namespace::new(u16::MAX).unwrap(), NonZeroU16::MAX);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(Id::from_bits(id.to_bits()), Some(id));
    }
}
