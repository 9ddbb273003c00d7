//! What the lanes of one node share: who the peers are, which links stand, and what is published.
//!
//! Owns: [`Shared`] and its tables. No lock of this module is held while a link's book is locked, and none while code of
//! the user's runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::Address;
use actors::remote::Schema;
use parking_lot::Mutex;
use runtime::{Id, Namespace, lane, peer};

use super::Config;
use crate::link::frame::LookupError as Unfound;
use crate::link::hello::{Accepted, Hello};
use crate::link::lane::LinkMsg;
use crate::peer::{NodeIdentity, Peer, PeerError, PeerState, Peers};
use crate::remote::Link;
use crate::remote::export::Exports;
use crate::schema;
use crate::wire_id::{NotForTravel, WireId, from_wire, to_wire};

/// How many names may be published at a time.
const MAX_NAMES: usize = 65_536;
/// How long a published name may be, in bytes.
const MAX_NAME: usize = 1024;

/// What the lanes of one node share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: NodeIdentity,
    pub(crate) config: Config,
    /// The namespace of the node's own lanes.
    pub(crate) lanes: Namespace,
    tables: Mutex<Tables>,
    names: Mutex<BTreeMap<Arc<str>, (Id, &'static Schema)>>,
}

#[derive(Debug)]
struct Tables {
    peers: Peers,
    links: BTreeMap<Peer, Arc<Link>>,
    exports: BTreeMap<Peer, Arc<Mutex<Exports>>>,
}

/// Why nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// A lane that lives is published under that name.
    NameTaken,
    /// The name is longer than 1024 bytes.
    NameTooLong,
    /// The lane is not of this node.
    NotLocal,
    /// 65 536 names are published.
    TooMany,
}

impl std::fmt::Display for PublishError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PublishError::NameTaken => f.write_str("another lane is published under that name"),
            PublishError::NameTooLong => write!(f, "the name has more than {MAX_NAME} bytes"),
            PublishError::NotLocal => f.write_str("only lanes of the node itself can be published"),
            PublishError::TooMany => write!(f, "{MAX_NAMES} names are published already"),
        }
    }
}

impl std::error::Error for PublishError {}

impl Shared {
    pub(crate) fn new(identity: NodeIdentity, config: Config, lanes: Namespace) -> Shared {
        let peers = Peers::new(identity.clone(), lanes, Box::new(peer::fresh_namespace));
        let tables = Tables { peers, links: BTreeMap::new(), exports: BTreeMap::new() };
        Shared { identity, config, lanes, tables: Mutex::new(tables), names: Mutex::default() }
    }

    pub(crate) fn hello(&self) -> Hello {
        self.config.link.hello(self.identity.clone())
    }

    /// Takes in the peer that said hello to the link lane `lane`. The second is the link of an earlier incarnation, which
    /// is to be closed.
    pub(crate) fn admit(
        self: &Arc<Shared>,
        terms: &Accepted,
        lane: Address<LinkMsg>,
    ) -> Result<(Arc<Link>, Option<Arc<Link>>), PeerError> {
        let mut tables = self.tables.lock();
        let before = tables.peers.latest(terms.identity.name()).map(|(peer, _)| peer);
        let admitted = tables.peers.admit(&terms.identity)?;
        if let Some(before) = before.filter(|before| *before != admitted.peer) {
            tables.exports.remove(&before);
        }
        let exports = tables.exports.entry(admitted.peer).or_default().clone();
        let link = Arc::new(Link::new(self.clone(), admitted.peer, terms, lane, exports));
        tables.links.insert(admitted.peer, link.clone());
        let old = admitted.supersedes.and_then(|old| tables.links.remove(&old));
        Ok((link, old))
    }

    /// Forgets a link that is closed: the peer may link again.
    pub(crate) fn link_closed(&self, link: &Arc<Link>) {
        let mut tables = self.tables.lock();
        let gone = match tables.links.get(&link.peer) {
            Some(present) if Arc::ptr_eq(present, link) => tables.links.remove(&link.peer),
            _ => None,
        };
        if gone.is_some() {
            tables.peers.link_down(link.peer);
        }
        drop(tables);
        drop(gone);
    }

    pub(crate) fn link(&self, peer: Peer) -> Option<Arc<Link>> {
        self.tables.lock().links.get(&peer).cloned()
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.tables.lock().links.values().cloned().collect()
    }

    /// How things stand with a peer.
    pub(crate) fn state(&self, peer: Peer) -> Option<PeerState> {
        self.tables.lock().peers.state(peer)
    }

    /// The form in which an id travels to a peer.
    pub(crate) fn wire(&self, id: Id, to: Peer) -> Result<WireId, NotForTravel> {
        to_wire(id, to, &self.tables.lock().peers)
    }

    /// The id that came from a peer.
    pub(crate) fn import(&self, wire: &WireId, from: Peer) -> Result<Id, PeerError> {
        from_wire(wire, from, &mut self.tables.lock().peers)
    }

    pub(crate) fn publish(&self, name: &str, id: Id, schema: &'static Schema) -> Result<(), PublishError> {
        if name.len() > MAX_NAME {
            return Err(PublishError::NameTooLong);
        }
        if id.namespace() != self.lanes {
            return Err(PublishError::NotLocal);
        }
        let mut names = self.names.lock();
        if names.get(name).is_some_and(|(holder, _)| *holder != id && lane::is_alive(*holder)) {
            return Err(PublishError::NameTaken);
        }
        if names.len() >= MAX_NAMES {
            names.retain(|_, (holder, _)| lane::is_alive(*holder));
            if names.len() >= MAX_NAMES {
                return Err(PublishError::TooMany);
            }
        }
        names.insert(name.into(), (id, schema));
        Ok(())
    }

    pub(crate) fn unpublish(&self, name: &str) -> bool {
        self.names.lock().remove(name).is_some()
    }

    /// The lane that is published under a name and takes messages of this fingerprint.
    pub(crate) fn published(&self, name: &str, fingerprint: u64) -> Result<(Id, &'static Schema), Unfound> {
        let found = self.names.lock().get(name).copied();
        let (id, schema) = found.filter(|(id, _)| lane::is_alive(*id)).ok_or(Unfound::NotFound)?;
        if schema::fingerprint_of(schema) != fingerprint {
            return Err(Unfound::SchemaMismatch);
        }
        Ok((id, schema))
    }
}
