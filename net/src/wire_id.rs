//! Ids that cross the border: an id means something only on its node, so it travels with whose it is.
//!
//! Owns: [`WireId`], and the re-basing of ids from and to it. Knows peers only through [`PeerTable`].
//!
//! | on the sender | on the wire | on the receiver |
//! | --- | --- | --- |
//! | a lane of its own | [`WireNode::Sender`] | in the sender's namespace |
//! | in the receiver's namespace | [`WireNode::Receiver`] | a lane of its own |
//! | in the namespace of a third | [`WireNode::Other`] | in that node's namespace there |
//! | of a node that cannot be told | [`WireNode::Lost`] | the same |
//!
//! Only lanes travel. A role is a matter of the node that keeps it, and a descriptor stays with its lane.

use std::fmt;
use std::num::NonZeroU16;

use runtime::{Id, Namespace};
use serde::{Deserialize, Serialize};

use crate::peer::{NodeIdentity, Peer, PeerError};

/// One lane of a node that both sides know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WireSlot {
    /// The place in the node's table.
    pub key: u32,
    /// Which tenant of that place.
    pub generation: NonZeroU16,
}

impl WireSlot {
    /// The slot of `id`.
    pub fn of(id: Id) -> WireSlot {
        WireSlot { key: id.key(), generation: id.generation() }
    }

    /// The id of this slot in `namespace`.
    pub fn id(self, namespace: Namespace) -> Id {
        Id::new(self.key, namespace, self.generation)
    }
}

/// The node of an id on its way, as seen from the link on which it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WireNode {
    /// The node that sends the frame.
    Sender,
    /// The node that receives the frame.
    Receiver,
    /// A third one.
    Other(NodeIdentity),
    /// One that the sender itself cannot tell any more.
    Lost,
}

/// An id as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WireId {
    /// Whose it is.
    pub node: WireNode,
    /// What it names there.
    pub slot: WireSlot,
}

/// Whose an identity is, from where this node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This node's own.
    Own,
    /// That of a peer.
    Peer(Peer),
}

/// What re-basing must know of this node and its peers. [`Peers`](crate::peer::Peers) is the table in use.
pub trait PeerTable {
    /// The namespace of this node's own lanes.
    fn local(&self) -> Namespace;

    /// The identity of a peer; `None` if it is [`Peer::LOST`] or not in the table.
    fn identity(&self, peer: Peer) -> Option<&NodeIdentity>;

    /// Whose this identity is. One that is new gets a place in the table.
    ///
    /// # Errors
    /// There is no place left for it.
    fn whose(&mut self, identity: &NodeIdentity) -> Result<Whose, PeerError>;
}

/// The id does not travel: it names a descriptor, a role, or a lane of another runtime in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotForTravel(pub Id);

impl fmt::Display for NotForTravel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} names no lane of a node", self.0)
    }
}

impl std::error::Error for NotForTravel {}

/// The form in which `id` travels on the link to the peer `to`.
///
/// # Errors
/// The id is of a local namespace that is not that of the node's lanes.
pub fn to_wire(id: Id, to: Peer, peers: &impl PeerTable) -> Result<WireId, NotForTravel> {
    let namespace = id.namespace();
    let node = match Peer::of(namespace) {
        Some(peer) => match peers.identity(peer) {
            None => WireNode::Lost,
            Some(_) if peer == to => WireNode::Receiver,
            Some(identity) => WireNode::Other(identity.clone()),
        },
        None if namespace == peers.local() => WireNode::Sender,
        None => return Err(NotForTravel(id)),
    };
    Ok(WireId { node, slot: WireSlot::of(id) })
}

/// The id that `wire` is here, having come on the link from the peer `from`.
///
/// Whether it names something alive is not looked at. An id of an earlier run of this node, or of a node that the
/// sender could not tell, comes out in the namespace of [`Peer::LOST`] and is stale for good.
///
/// # Errors
/// It is of a third node that is new here and for which there is no place left.
pub fn from_wire(wire: &WireId, from: Peer, peers: &mut impl PeerTable) -> Result<Id, PeerError> {
    let whose = match &wire.node {
        WireNode::Sender => Whose::Peer(from),
        WireNode::Receiver => Whose::Own,
        WireNode::Other(identity) => peers.whose(identity)?,
        WireNode::Lost => Whose::Peer(Peer::LOST),
    };
    let namespace = match whose {
        Whose::Own => peers.local(),
        Whose::Peer(peer) => peer.namespace(),
    };
    Ok(wire.slot.id(namespace))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::Peers;
    use crate::peer::tests::peers;

    fn identity(name: &str, incarnation: u64) -> NodeIdentity {
        NodeIdentity::new(name, incarnation).unwrap()
    }

    fn namespace(number: u16) -> Namespace {
        Namespace::new(number).unwrap()
    }

    /// Three nodes that know each other, with different local namespaces and in different order.
    fn three() -> [Peers; 3] {
        let names = ["a", "b", "c"];
        let mut all = [(0, 1), (1, 5), (2, 1)].map(|(n, lanes)| peers(identity(names[n], 1), lanes));
        for (n, order) in [(0, [1, 2]), (1, [2, 0]), (2, [0, 1])] {
            for other in order {
                let _admitted = all[n].admit(&identity(names[other], 1)).unwrap();
            }
        }
        all
    }

    /// Carries `id` from node `a` to node `b` as bytes.
    fn carry(id: Id, a: usize, b: usize, all: &mut [Peers; 3]) -> Id {
        let (own_a, own_b) = (all[a].own().clone(), all[b].own().clone());
        let wire = to_wire(id, all[a].find(&own_b).unwrap(), &all[a]).unwrap();
        let bytes = crate::codec::encode(&wire, 1024).unwrap();
        let wire: WireId = crate::codec::decode(&bytes, crate::codec::Limits::default()).unwrap();
        let from = all[b].find(&own_a).unwrap();
        from_wire(&wire, from, &mut all[b]).unwrap()
    }

    proptest! {
        #[test]
        fn an_id_carried_round_a_circle_of_nodes_is_itself_again(
            key: u32, generation: NonZeroU16, path in prop::collection::vec(1..3_usize, 0..8)
        ) {
            let mut all = three();
            let id = Id::new(key, all[0].local(), generation);
            let (mut here, mut at) = (id, 0);
            for step in path {
                let next = (at + step) % 3;
                here = carry(here, at, next, &mut all);
                at = next;
                prop_assert_eq!(here.namespace().is_peer(), at != 0);
            }
            if at != 0 {
                here = carry(here, at, 0, &mut all);
            }
            prop_assert_eq!(here, id);
        }
    }

    #[test]
    fn an_id_of_an_earlier_run_of_the_receiver_is_lost_and_stays_lost() {
        let mut all = three();
        let id = Id::new(7, namespace(1), NonZeroU16::MIN);
        let at_b = carry(id, 0, 1, &mut all);
        // `a` restarts: same name, another incarnation, nothing known of its past.
        all[0] = peers(identity("a", 2), 1);
        let _admitted = all[0].admit(&identity("b", 1)).unwrap();
        let _admitted = all[1].admit(&identity("a", 2)).unwrap();
        let back = carry(at_b, 1, 0, &mut all);
        assert_eq!(Peer::of(back.namespace()), Some(Peer::LOST));
        assert_eq!(Peer::of(carry(back, 0, 1, &mut all).namespace()), Some(Peer::LOST));
    }

    #[test]
    fn an_id_of_a_node_never_met_gets_a_namespace_of_its_own() {
        let mut all = three();
        all[1] = peers(identity("b", 1), 5);
        let _admitted = all[1].admit(&identity("a", 1)).unwrap();
        let of_c = Id::new(3, all[0].find(&identity("c", 1)).unwrap().namespace(), NonZeroU16::MIN);
        let at_b = carry(of_c, 0, 1, &mut all);
        assert_eq!(Peer::of(at_b.namespace()), all[1].find(&identity("c", 1)));
    }

    #[test]
    fn the_two_nodes_of_a_link_are_not_named_on_it() {
        let all = three();
        let b = all[0].find(&identity("b", 1)).unwrap();
        let own = Id::new(7, namespace(1), NonZeroU16::MIN);
        assert_eq!(to_wire(own, b, &all[0]).unwrap().node, WireNode::Sender);
        let theirs = Id::new(7, b.namespace(), NonZeroU16::MIN);
        let slot = WireSlot { key: 7, generation: NonZeroU16::MIN };
        assert_eq!(to_wire(theirs, b, &all[0]), Ok(WireId { node: WireNode::Receiver, slot }));
    }

    #[test]
    fn an_id_of_another_table_does_not_travel() {
        let all = three();
        let id = Id::new(7, namespace(3), NonZeroU16::MIN);
        assert_eq!(to_wire(id, Peer::LOST, &all[0]), Err(NotForTravel(id)));
    }
}
