//! The first words on a link: who speaks, in what version, and what both can do.
//!
//! Owns: [`Hello`], its bytes, and every ground of [`Refusal`] that needs no knowledge of other links. (Whether that
//! incarnation is welcome is for [`Peers`](crate::peer::Peers) to say.)
//!
//! # Bytes
//!
//! | bytes | field | |
//! | --- | --- | --- |
//! | 0..8 | magic | `laneway` and a zero |
//! | 8..10 | version | u16, little-endian |
//! | 10.. | the rest | postcard, in the layout of that version |
//!
//! Magic and version stand bare in front, so that nodes of any two versions can tell each other why they do not link.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{self, Limits};
use crate::peer::{NameError, NodeIdentity, PeerError};

const MAGIC: [u8; 8] = *b"laneway\0";

/// The version of the protocol that this crate speaks. Others are refused.
pub const VERSION: u16 = 1;

/// A set of things that a node can do on a link.
///
/// A node *offers* a set and *requires* a part of it. What only one side offers is not used; bits without a meaning here
/// are ignored where they are offered and refused where they are required, as with Erlang's distribution flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features(pub u64);

impl Features {
    /// Messages and the answers to them.
    pub const MESSAGES: Features = Features(1);
    /// Monitors and downs.
    pub const MONITORS: Features = Features(1 << 1);
    /// Links: fates that are tied. Nobody offers it yet.
    pub const LINKS: Features = Features(1 << 2);
    /// Looking a lane up by its name.
    pub const NAMES: Features = Features(1 << 3);
    /// Ending a lane: exit signals, kills and stops.
    pub const SIGNALS: Features = Features(1 << 4);

    const NAMED: [(Features, &str); 5] = [
        (Features::MESSAGES, "messages"),
        (Features::MONITORS, "monitors"),
        (Features::LINKS, "links"),
        (Features::NAMES, "names"),
        (Features::SIGNALS, "signals"),
    ];

    /// What is in this set or in `other`.
    pub const fn with(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }

    /// What is in both.
    pub const fn and(self, other: Features) -> Features {
        Features(self.0 & other.0)
    }

    /// What is in this set but not in `other`.
    pub const fn without(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for bit in (0..64).map(|n| Features(1 << n)).filter(|bit| !self.and(*bit).is_empty()) {
            f.write_str(separator)?;
            match Features::NAMED.iter().find(|(named, _)| *named == bit) {
                Some((_, name)) => f.write_str(name)?,
                None => write!(f, "bit {}", bit.0.trailing_zeros())?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub identity: NodeIdentity,
    /// What it can do.
    pub offered: Features,
    /// What the other must be able to do.
    pub required: Features,
    /// The longest frame it takes, in bytes without the header.
    pub max_frame: u32,
}

/// What both sides agreed on, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The other node.
    pub identity: NodeIdentity,
    /// What both can do.
    pub features: Features,
    /// The longest frame that may be sent to it, in bytes without the header.
    pub max_frame: u32,
}

/// Why a node does not link to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The other side does not speak this protocol at all.
    BadMagic,
    /// The versions of the protocol differ.
    Version {
        /// That of the node that refuses.
        ours: u16,
        /// That of the node that is refused.
        theirs: u16,
    },
    /// The hello could not be read, although the version is right.
    Malformed,
    /// The node's name is none.
    Name(NameError),
    /// The node that is refused cannot do what the one that refuses requires.
    TheyLack(Features),
    /// The node that refuses cannot do what the one that is refused requires.
    WeLack(Features),
    /// That incarnation is not welcome.
    Peer(PeerError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadMagic => f.write_str("the other side is no Laneway node"),
            Refusal::Version { ours, theirs } => write!(f, "protocol version {theirs} met version {ours}"),
            Refusal::Malformed => f.write_str("the hello cannot be read"),
            Refusal::Name(error) => error.fmt(f),
            Refusal::TheyLack(features) => write!(f, "the refused node lacks what is required: {features}"),
            Refusal::WeLack(features) => write!(f, "the refusing node lacks what is required: {features}"),
            Refusal::Peer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// The rest of a hello of version 1. The name is bare text here, so that a bad one has its own refusal.
type Rest = (String, u64, Features, Features, u32);

impl Hello {
    /// The bytes of this hello.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        let identity = &self.identity;
        let rest = (identity.name(), identity.incarnation(), self.offered, self.required, self.max_frame);
        codec::encode_into(&rest, &mut out, NodeIdentity::MAX_NAME + 64).expect("a name of limited length and numbers");
        out
    }

    /// Reads a hello. Bytes after its last field are ignored: they are room to grow within a version.
    ///
    /// # Errors
    /// The first that applies: [`Refusal::BadMagic`], [`Refusal::Version`], [`Refusal::Malformed`], [`Refusal::Name`].
    pub fn decode(bytes: &[u8]) -> Result<Hello, Refusal> {
        let bytes = bytes.strip_prefix(&MAGIC).ok_or(Refusal::BadMagic)?;
        let (version, bytes) = bytes.split_first_chunk().ok_or(Refusal::Malformed)?;
        let theirs = u16::from_le_bytes(*version);
        if theirs != VERSION {
            return Err(Refusal::Version { ours: VERSION, theirs });
        }
        let rest = codec::decode_prefix::<Rest>(bytes, Limits::default());
        let ((name, incarnation, offered, required, max_frame), _room_to_grow) =
            rest.map_err(|_| Refusal::Malformed)?;
        let identity = NodeIdentity::new(name, incarnation).map_err(Refusal::Name)?;
        Ok(Hello { identity, offered, required, max_frame })
    }

    /// Whether the node that said this and the node `own` can link, and on what terms.
    ///
    /// # Errors
    /// [`Refusal::Peer`] if both are the same node, [`Refusal::TheyLack`] and [`Refusal::WeLack`] by name of what is
    /// lacking.
    pub fn check(&self, own: &Hello) -> Result<Accepted, Refusal> {
        if self.identity == own.identity {
            return Err(Refusal::Peer(PeerError::SelfConnection));
        }
        let they_lack = own.required.without(self.offered);
        if !they_lack.is_empty() {
            return Err(Refusal::TheyLack(they_lack));
        }
        let we_lack = self.required.without(own.offered);
        if !we_lack.is_empty() {
            return Err(Refusal::WeLack(we_lack));
        }
        let features = self.offered.and(own.offered);
        Ok(Accepted { identity: self.identity.clone(), features, max_frame: self.max_frame })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(name: &str) -> Hello {
        Hello {
            identity: NodeIdentity::new(name, 1).unwrap(),
            offered: Features::MESSAGES.with(Features::MONITORS),
            required: Features::MESSAGES,
            max_frame: 1000,
        }
    }

    #[test]
    fn another_magic_and_another_version_are_refused_before_the_rest_is_read() {
        let mut bytes = hello("a").encode();
        bytes[8..10].copy_from_slice(&7_u16.to_le_bytes());
        bytes.truncate(10);
        assert_eq!(Hello::decode(&bytes), Err(Refusal::Version { ours: VERSION, theirs: 7 }));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n"), Err(Refusal::BadMagic));
        assert_eq!(Hello::decode(b"lane"), Err(Refusal::BadMagic));
        assert_eq!(Hello::decode(&hello("a").encode()[..12]), Err(Refusal::Malformed));
    }

    #[test]
    fn a_bad_name_has_its_own_refusal() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let rest = ("x".repeat(200), 1_u64, Features(0), Features(0), 1_u32);
        codec::encode_into(&rest, &mut bytes, 1000).unwrap();
        assert_eq!(Hello::decode(&bytes), Err(Refusal::Name(NameError::TooLong { len: 200, max: 128 })));
    }

    #[test]
    fn a_node_that_hears_its_own_hello_refuses() {
        assert_eq!(hello("a").check(&hello("a")), Err(Refusal::Peer(PeerError::SelfConnection)));
    }

    #[test]
    fn features_required_and_lacking_are_refused_by_name_and_unknown_offers_ignored() {
        let own = hello("own");
        let bare = Hello { offered: Features::MONITORS, ..hello("bare") };
        let refusal = bare.check(&own).unwrap_err();
        assert_eq!(refusal, Refusal::TheyLack(Features::MESSAGES));
        assert!(refusal.to_string().ends_with(": messages"), "{refusal}");

        let strict = Hello { required: Features::NAMES.with(Features(1 << 40)), ..hello("strict") };
        let refusal = strict.check(&own).unwrap_err();
        assert!(refusal.to_string().ends_with(": names, bit 40"), "{refusal}");

        let newer = Hello { offered: Features(u64::MAX), max_frame: 5, ..hello("newer") };
        let accepted = newer.check(&own).unwrap();
        assert_eq!((accepted.features, accepted.max_frame), (own.offered, 5));
        assert_eq!(accepted.identity, newer.identity);
    }

    #[test]
    fn bytes_after_the_last_field_are_room_to_grow() {
        let mut bytes = hello("a").encode();
        bytes.extend_from_slice(&[1, 2, 3]);
        assert_eq!(Hello::decode(&bytes), Ok(hello("a")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_a_refusal(bytes: Vec<u8>) {
            let _either = Hello::decode(&bytes);
            let _either = Hello::decode(&[&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat());
        }
    }
}
