//! Who the other nodes are, and which namespaces their ids have here.
//!
//! Owns: [`NodeIdentity`] and the table [`Peers`] of peer incarnations. Knows nothing of sockets, frames or lanes.
//!
//! # Namespaces
//!
//! Each incarnation of a peer has a [`Peer`], which is a namespace of the high range: that of its lanes. Several nodes may
//! live in one process, so namespaces come from whoever keeps them for the process. The last one, [`Peer::LOST`], is for
//! ids whose node cannot be told any more; it never leads anywhere.
//!
//! # Invariants
//! 1. A namespace, once allotted, names the same incarnation for as long as the process lives.
//! 2. At most one incarnation of a name is up; whoever comes up under a name supersedes the one before, for ever.
//! 3. No more than [`Peers::MAX_HEARD`] incarnations are in the table that never had a link to this node, so what peers
//!    claim in passing cannot use up the range.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use runtime::Namespace;
use serde::{Deserialize, Serialize};

use crate::wire_id::{PeerTable, Whose};

#[cfg(test)]
pub(crate) mod tests;

/// One run of one node: its name, and a number drawn at random when it started.
///
/// A node that restarts has the same name and another incarnation, and so other ids. Numbers of incarnations have no
/// order; which came later is known only to who saw them come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(String, u64)", into = "(Arc<str>, u64)")]
pub struct NodeIdentity {
    name: Arc<str>,
    incarnation: u64,
}

impl NodeIdentity {
    /// The length of a name in bytes, at most.
    pub const MAX_NAME: usize = 128;

    /// An identity with this name.
    ///
    /// # Errors
    /// The name is empty, longer than [`MAX_NAME`](NodeIdentity::MAX_NAME), or holds something else than visible ASCII.
    ///
    /// ```
    /// use laneway_net::peer::{NameError, NodeIdentity};
    /// assert_eq!(NodeIdentity::new("db@east-1", 7).unwrap().to_string(), "db@east-1#7");
    /// assert_eq!(NodeIdentity::new("two words", 7), Err(NameError::BadCharacter { at: 3 }));
    /// ```
    pub fn new(name: impl Into<Arc<str>>, incarnation: u64) -> Result<NodeIdentity, NameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NodeIdentity::MAX_NAME {
            return Err(NameError::TooLong { len: name.len(), max: NodeIdentity::MAX_NAME });
        }
        match name.bytes().position(|byte| !byte.is_ascii_graphic()) {
            Some(at) => Err(NameError::BadCharacter { at }),
            None => Ok(NodeIdentity { name, incarnation }),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which run of the node.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:x}", self.name, self.incarnation)
    }
}

impl TryFrom<(String, u64)> for NodeIdentity {
    type Error = NameError;

    fn try_from((name, incarnation): (String, u64)) -> Result<NodeIdentity, NameError> {
        NodeIdentity::new(name, incarnation)
    }
}

impl From<NodeIdentity> for (Arc<str>, u64) {
    fn from(identity: NodeIdentity) -> (Arc<str>, u64) {
        (identity.name, identity.incarnation)
    }
}

/// Why a text is not the name of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NameError {
    /// It has no characters.
    Empty,
    /// It is too long.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The length that is allowed, in bytes.
        max: usize,
    },
    /// It holds something else than visible ASCII.
    BadCharacter {
        /// The place of the first such byte.
        at: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("the node's name is empty"),
            NameError::TooLong { len, max } => write!(f, "the node's name has {len} bytes, more than {max}"),
            NameError::BadCharacter { at } => write!(f, "byte {at} of the node's name is not visible ASCII"),
        }
    }
}

impl std::error::Error for NameError {}

/// A peer incarnation as this node knows it: the namespace of its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(Namespace);

impl Peer {
    /// The namespace of ids whose node cannot be told any more; what they named is stale for good.
    pub const LOST: Peer = match Namespace::new(u16::MAX) {
        Some(last) => Peer(last),
        None => unreachable!(),
    };

    /// The peer whose namespace this is, of whatever node in this process; `None` for a local namespace.
    pub fn of(namespace: Namespace) -> Option<Peer> {
        namespace.is_peer().then_some(Peer(namespace))
    }

    /// The namespace that ids of the peer's lanes have here.
    pub fn namespace(self) -> Namespace {
        self.0
    }
}

/// How things stand with a peer incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerState {
    /// Another node spoke of it; there never was a link.
    Heard,
    /// There is a link.
    Up,
    /// The link went down, and may come back: the lanes there may live on.
    Down,
    /// A later incarnation of the name took its place: its ids are stale for good.
    Superseded,
}

/// Why an identity gets no (new) place in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PeerError {
    /// It is this very node, talking to itself.
    SelfConnection,
    /// It is another node under the name of this one.
    NameTaken,
    /// There is a link to that incarnation already.
    AlreadyLinked,
    /// A later incarnation of that name has been here.
    Superseded,
    /// All namespaces of peers are used up; this node meets no new ones until it restarts.
    Exhausted,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerError::SelfConnection => "a node cannot link to itself",
            PeerError::NameTaken => "the name is that of the node itself",
            PeerError::AlreadyLinked => "there is a link to this incarnation already",
            PeerError::Superseded => "a later incarnation of this node has been linked",
            PeerError::Exhausted => "the namespaces of peers are used up",
        })
    }
}

impl std::error::Error for PeerError {}

/// What came of [`Peers::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Admitted {
    /// The peer, now up.
    pub peer: Peer,
    /// The incarnation whose place it took while that one was still up: its link must be closed now.
    pub supersedes: Option<Peer>,
}

/// Where the namespaces of peers come from: one that nothing else in the process has, or `None` once they are used up.
pub type Allot = Box<dyn FnMut() -> Option<Namespace> + Send>;

/// All incarnations of peers that this node has met or heard of.
pub struct Peers {
    own: NodeIdentity,
    lanes: Namespace,
    allot: Allot,
    /// Without [`Peer::LOST`].
    entries: BTreeMap<Peer, (NodeIdentity, PeerState)>,
    by_identity: BTreeMap<NodeIdentity, Peer>,
    /// The latest incarnation of each name that was linked.
    latest: BTreeMap<Arc<str>, Peer>,
    heard: usize,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("own", &self.own).field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Peers {
    /// How many incarnations may be known from hearsay alone.
    pub const MAX_HEARD: usize = 1024;

    /// An empty table of the node `own`, whose lanes have this namespace.
    pub fn new(own: NodeIdentity, lanes: Namespace, allot: Allot) -> Peers {
        let (entries, by_identity, latest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Peers { own, lanes, allot, entries, by_identity, latest, heard: 0 }
    }

    /// This node itself.
    pub fn own(&self) -> &NodeIdentity {
        &self.own
    }

    /// Takes a peer in that said hello: from now on it is up.
    ///
    /// # Errors
    /// See [`PeerError`]; nothing has changed then.
    pub fn admit(&mut self, identity: &NodeIdentity) -> Result<Admitted, PeerError> {
        if *identity == self.own {
            return Err(PeerError::SelfConnection);
        }
        if identity.name == self.own.name {
            return Err(PeerError::NameTaken);
        }
        let peer = match self.by_identity.get(identity) {
            None => self.allot(identity, PeerState::Up)?,
            Some(&peer) => {
                match self.state(peer) {
                    Some(PeerState::Up) => return Err(PeerError::AlreadyLinked),
                    Some(PeerState::Superseded) => return Err(PeerError::Superseded),
                    Some(PeerState::Heard) => self.heard -= 1,
                    Some(PeerState::Down) | None => {}
                }
                self.change(peer, PeerState::Up);
                peer
            }
        };
        let before = self.latest.insert(identity.name.clone(), peer).filter(|before| *before != peer);
        let supersedes = before.and_then(|before| {
            let was_up = self.state(before) == Some(PeerState::Up);
            self.change(before, PeerState::Superseded);
            was_up.then_some(before)
        });
        Ok(Admitted { peer, supersedes })
    }

    /// Notes that the link to `peer` is gone. One that is not up stays as it is.
    pub fn link_down(&mut self, peer: Peer) {
        if self.state(peer) == Some(PeerState::Up) {
            self.change(peer, PeerState::Down);
        }
    }

    /// How things stand with `peer`; `None` for [`Peer::LOST`] and for one that is not in the table.
    pub fn state(&self, peer: Peer) -> Option<PeerState> {
        self.entry(peer).map(|(_, state)| *state)
    }

    /// The peer with this identity, if it is in the table.
    pub fn find(&self, identity: &NodeIdentity) -> Option<Peer> {
        self.by_identity.get(identity).copied()
    }

    /// The latest incarnation that was linked under this name, and how things stand with it.
    pub fn latest(&self, name: &str) -> Option<(Peer, PeerState)> {
        let peer = *self.latest.get(name)?;
        Some((peer, self.state(peer)?))
    }

    fn entry(&self, peer: Peer) -> Option<&(NodeIdentity, PeerState)> {
        self.entries.get(&peer)
    }

    fn change(&mut self, peer: Peer, to: PeerState) {
        if let Some((_, state)) = self.entries.get_mut(&peer) {
            *state = to;
        }
    }

    fn allot(&mut self, identity: &NodeIdentity, state: PeerState) -> Result<Peer, PeerError> {
        let peer = (self.allot)().and_then(Peer::of).filter(|peer| *peer != Peer::LOST).ok_or(PeerError::Exhausted)?;
        let before = self.entries.insert(peer, (identity.clone(), state));
        assert!(before.is_none(), "a namespace was allotted twice");
        self.by_identity.insert(identity.clone(), peer);
        Ok(peer)
    }
}

impl PeerTable for Peers {
    fn local(&self) -> Namespace {
        self.lanes
    }

    fn identity(&self, peer: Peer) -> Option<&NodeIdentity> {
        self.entry(peer).map(|(identity, _)| identity)
    }

    fn whose(&mut self, identity: &NodeIdentity) -> Result<Whose, PeerError> {
        if *identity == self.own {
            return Ok(Whose::Own);
        }
        if identity.name == self.own.name {
            // An earlier run of this very node: whatever ran there is gone.
            return Ok(Whose::Peer(Peer::LOST));
        }
        if let Some(peer) = self.find(identity) {
            return Ok(Whose::Peer(peer));
        }
        if self.heard == Peers::MAX_HEARD {
            return Err(PeerError::Exhausted);
        }
        let peer = self.allot(identity, PeerState::Heard)?;
        self.heard += 1;
        Ok(Whose::Peer(peer))
    }
}
