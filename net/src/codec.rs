//! User messages as bytes and back, in postcard's format, with every cost bounded before it is paid.
//!
//! Owns: [`encode`] and [`decode`], their [`Limits`] and errors. Knows nothing of frames, links or ids.
//!
//! What comes off a link was written by somebody else. Plain postcard fed a megabyte for a recursive type overflows
//! the stack, which ends the process; fed five bytes for a map it allocates two megabytes; fed five bytes for a
//! sequence of units it loops four billion times. Here each of them is a [`DecodeError`].
//!
//! # Invariants
//! 1. The decoder recurses at most [`Limits::max_depth`] deep, whatever the type.
//! 2. Sequences and maps have at most [`Limits::max_elements`] elements together, those without a size included.
//! 3. The bytes that the value takes beyond its own `size_of` are charged as they are decoded, before they are
//!    allocated, and the charge never passes [`Limits::max_expansion`] times the input (or [`Limits::SMALL`]).
//! 4. The capacities asked for ahead by length prefixes add up to at most one element a byte of input.
//! 5. A value is given out only if it used up the input to its last byte.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod decoder;
#[cfg(test)]
mod tests;

/// What decoding one message may cost at most.
///
/// ```
/// use laneway_net::codec::{self, DecodeError, Limits};
/// let bytes = codec::encode(&vec![1_u32, 2, 3], 64).unwrap();
/// assert_eq!(codec::decode::<Vec<u32>>(&bytes, Limits::default()), Ok(vec![1, 2, 3]));
/// let two = Limits { max_elements: 2, ..Limits::default() };
/// assert_eq!(codec::decode::<Vec<u32>>(&bytes, two), Err(DecodeError::TooManyElements { max: 2 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep structs, enums, options, tuples, sequences and maps may lie within each other. Default 64.
    pub max_depth: u32,
    /// How many elements all sequences and maps may have together; an entry of a map is one. Default 2^20.
    pub max_elements: u64,
    /// How many bytes of memory each byte of input may turn into. Default 32.
    pub max_expansion: u32,
}

impl Limits {
    /// The charge, in bytes, that every message may reach however short it is: a few bytes rightly decode into a few
    /// large elements.
    pub const SMALL: u64 = 16 * 1024;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_depth: 64, max_elements: 1 << 20, max_expansion: 32 }
    }
}

/// Why a value was not encoded; nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value takes more bytes than allowed.
    TooLarge {
        /// What was allowed, in bytes.
        max: usize,
    },
    /// The value's `Serialize` asked for what the format does not have, or failed by itself.
    Unsupported(String),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::TooLarge { max } => write!(f, "the value takes more than {max} bytes"),
            EncodeError::Unsupported(why) => write!(f, "the value cannot be encoded: {why}"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why bytes gave no value; what had been decoded of it was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ended before the value did.
    Truncated,
    /// The value was whole, but bytes were left over.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The value lies deeper within itself than allowed.
    TooDeep {
        /// The depth that was allowed.
        max: u32,
    },
    /// The sequences and maps of the value have more elements than allowed.
    TooManyElements {
        /// How many were allowed.
        max: u64,
    },
    /// The value would take far more memory than the input that describes it.
    TooLarge {
        /// What was allowed for this input, in bytes.
        max: u64,
    },
    /// The bytes are not what the type needs, or the type's own `Deserialize` refused them; at most 256 bytes of why.
    Malformed(String),
    /// The type asks for what the format does not have: it is not self-describing.
    Unsupported,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated => f.write_str("the bytes end before the value"),
            DecodeError::Trailing { bytes } => write!(f, "{bytes} bytes are left over after the value"),
            DecodeError::TooDeep { max } => write!(f, "the value is nested more than {max} deep"),
            DecodeError::TooManyElements { max } => write!(f, "the value has more than {max} elements"),
            DecodeError::TooLarge { max } => write!(f, "the value would take more than {max} bytes of memory"),
            DecodeError::Malformed(why) => write!(f, "the bytes are not of this type: {why}"),
            DecodeError::Unsupported => f.write_str("the type needs a self-describing format"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Encodes `value` in at most `max_bytes` bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] as soon as the limit is passed, without a larger allocation; [`EncodeError::Unsupported`]
/// where the value's `Serialize` fails.
pub fn encode<T: Serialize + ?Sized>(value: &T, max_bytes: usize) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode_into(value, &mut out, max_bytes)?;
    Ok(out)
}

/// Encodes `value` at the end of `out`, in at most `max_bytes` further bytes. On an error `out` is as it was.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>, max_bytes: usize) -> Result<(), EncodeError> {
    let start = out.len();
    let end = start.saturating_add(max_bytes);
    postcard::serialize_with_flavor(value, Appender { out, end }).map_err(|error| {
        out.truncate(start);
        match error {
            postcard::Error::SerializeBufferFull => EncodeError::TooLarge { max: max_bytes },
            other => EncodeError::Unsupported(other.to_string()),
        }
    })
}

/// Decodes one value from all of `bytes`.
///
/// # Errors
/// See [`DecodeError`]; each limit has its own.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, DecodeError> {
    let (value, rest) = decode_prefix(bytes, limits)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing { bytes: rest.len() }) }
}

/// Decodes one value from the beginning of `bytes` and gives back what comes after it.
///
/// # Errors
/// As [`decode`], but for [`DecodeError::Trailing`].
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<(T, &[u8]), DecodeError> {
    decoder::decode_prefix(bytes, limits)
}

/// Lends a deserializer over all of `bytes` to `read`, for values whose type only `read` knows.
///
/// Such a deserializer does not see how large the values are, so here invariant 3 is weaker: an element costs 8 bytes
/// whatever its type, and what the value takes is bounded by the number of elements times the largest element's size.
///
/// # Errors
/// As [`decode`]; what is no limit comes out as [`DecodeError::Malformed`], in words.
pub fn decode_with<R>(
    bytes: &[u8],
    limits: Limits,
    read: impl FnOnce(&mut dyn erased_serde::Deserializer<'_>) -> Result<R, erased_serde::Error>,
) -> Result<R, DecodeError> {
    decoder::decode_with(bytes, limits, read)
}

/// Where postcard writes: the end of a vector, up to a limit.
struct Appender<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl Appender<'_> {
    /// Makes room for `more` bytes. Doubles as `Vec` does, but never beyond the limit.
    fn reserve(&mut self, more: usize) -> postcard::Result<()> {
        let need = self.out.len().checked_add(more).filter(|need| *need <= self.end);
        let need = need.ok_or(postcard::Error::SerializeBufferFull)?;
        if need > self.out.capacity() {
            let target = self.out.capacity().saturating_mul(2).max(64).min(self.end).max(need);
            self.out.reserve_exact(target - self.out.len());
        }
        Ok(())
    }
}

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.reserve(data.len())?;
        self.out.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.reserve(1)?;
        self.out.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
