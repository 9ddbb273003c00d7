//! Fingerprints of message types, by which two nodes see that they mean the same type.
//!
//! Owns: [`fingerprint`]. Knows nothing of links.

use std::any::type_name;

use actors::remote::Schema;

/// The fingerprint of the message type `M`: equal for the same type on both sides, different for different ones.
///
/// It is the FNV-1a hash of the type's name with its path. That is weak in two ways, until the shape of the type is
/// walked: fields that were changed under the same name go unnoticed here (decoding may notice them), and the same type
/// in another crate or module counts as another. Nodes built from one program, or from one crate of messages, agree.
///
/// ```
/// use laneway_net::schema::fingerprint;
/// assert_eq!(fingerprint::<Vec<u8>>(), fingerprint::<Vec<u8>>());
/// assert_ne!(fingerprint::<Vec<u8>>(), fingerprint::<Vec<u16>>());
/// ```
pub fn fingerprint<M: ?Sized>() -> u64 {
    fnv1a(type_name::<M>().as_bytes())
}

/// The fingerprint of the type that `schema` is of.
pub fn fingerprint_of(schema: &Schema) -> u64 {
    fnv1a((schema.name)().as_bytes())
}

/// The 64-bit FNV-1a hash: the same on every machine and in every version, which `std`'s hashers do not promise.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01B3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn types_of_one_name_in_two_modules_differ() {
        mod one {
            pub(super) struct Message;
        }
        mod two {
            pub(super) struct Message;
        }
        assert_ne!(fingerprint::<one::Message>(), fingerprint::<two::Message>());
    }
}
