//! Where ids of peer nodes lead: the table that `net` fills and that sends, monitors and exits look into.
//!
//! Owns: the namespaces of peer incarnations and the [`PeerRoute`] of each. Knows nothing of sockets or formats.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use rustc_hash::FxBuildHasher;

use crate::exit::ExitReason;
use crate::id::{Id, Namespace};
use crate::signal::MonitorRef;

/// Why a message did not leave for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// The link to the node is gone, and with it every id of that incarnation.
    NodeDown,
    /// More is queued for the link than it may hold.
    Congested,
    /// The message cannot be encoded, or is larger than a frame may be.
    Unsendable,
}

/// One peer incarnation, as local lanes reach it. Calls come from any thread, and must not block.
pub trait PeerRoute: Send + Sync + fmt::Debug {
    /// Sends a message to a lane of the peer, or hands it back.
    fn tell(&self, to: Id, message: Box<dyn Any + Send>) -> Result<(), (PeerError, Box<dyn Any + Send>)>;

    /// Watches a lane of the peer for `reference.watcher`; the answer is [`deliver_down`].
    fn monitor(&self, target: Id, reference: MonitorRef);

    /// Takes a monitor back.
    fn demonitor(&self, target: Id, reference: MonitorRef);

    /// Sends an exit signal to a lane of the peer.
    fn exit(&self, to: Id, from: Id, reason: ExitReason);

    /// Asks a lane of the peer to stop in order.
    fn stop(&self, to: Id, reason: ExitReason);
}

struct Peers {
    routes: HashMap<u16, Arc<dyn PeerRoute>, FxBuildHasher>,
    next: u16,
}

static PEERS: RwLock<Peers> =
    RwLock::new(Peers { routes: HashMap::with_hasher(FxBuildHasher), next: Namespace::FIRST_PEER });

/// A namespace for a peer incarnation that no other, of this or any runtime of the process, has had. `None` once all
/// 32 767 are used up.
pub fn fresh_namespace() -> Option<Namespace> {
    let mut peers = PEERS.write();
    if peers.next == u16::MAX {
        return None;
    }
    let namespace = Namespace::new(peers.next);
    peers.next += 1;
    namespace
}

/// Makes ids of `namespace` lead to `route`.
pub fn connect(namespace: Namespace, route: Arc<dyn PeerRoute>) {
    let old = PEERS.write().routes.insert(namespace.number(), route);
    drop(old);
}

/// Makes ids of `namespace` stale, for ever.
pub fn disconnect(namespace: Namespace) {
    let old = PEERS.write().routes.remove(&namespace.number());
    drop(old);
}

/// The way to the node of an id; `None` for local ids and where the link is gone.
pub fn route(id: Id) -> Option<Arc<dyn PeerRoute>> {
    if !id.namespace().is_peer() {
        return None;
    }
    PEERS.read().routes.get(&id.namespace().number()).cloned()
}

/// Tells a local watcher that the remote lane it watches is gone or out of reach.
pub fn deliver_down(reference: MonitorRef, id: Id, reason: ExitReason) {
    crate::lane::watch::send_down(reference, id, reason, None);
}
