//! A node: a name, an incarnation, and links to other nodes.
//!
//! Owns: [`Node`] and the lane behind it, which listens and starts the lane of each link (`link/lane`). What those lanes
//! share is in `node/shared`.
//!
//! Without TLS a node keeps to itself: it listens and dials on loopback addresses only. Nobody proves a name there:
//! whatever process of this machine says hello under a peer's name, with a new incarnation, takes that peer's place.
//!
//! # What a remote address promises
//!
//! An [`Address`] of a lane of another node, as [`Node::lookup`] gives it or as it comes in a message, takes `send`,
//! `ask`, `monitor`, `stop` and `kill` like a local one. Messages arrive at most once, and in order for each pair of lanes
//! while the link is up. Where a mailbox is full, the message is dropped there and an ask in it fails at once. When the
//! link goes, monitors hear [`NodeDown`](runtime::ExitReason::NodeDown) and open asks fail at once; when the same
//! incarnation links again, its addresses lead there again. Those of an earlier incarnation are stale for good. Links
//! (shared fates) do not reach across nodes yet: one ends at once with `NodeDown`.
//!
//! A peer reaches only lanes that it was given, by [`Node::publish`] or in a message.
//!
//! ```
//! use actors::{Lane, Reply, Runtime, spawn};
//! use laneway_net::node::Node;
//!
//! let runtime = Runtime::builder().workers(1).build()?;
//! runtime.block_on(async {
//!     let here = Node::builder("here").start().await?;
//!     let there = Node::builder("there").listen("127.0.0.1:0").start().await?;
//!     let doubler = spawn(async |mut lane: Lane<(u32, Reply<u32>)>| {
//!         while let Some((number, reply)) = lane.recv().await {
//!             let _gone = reply.send(number * 2);
//!         }
//!     })?;
//!     there.publish("doubler", doubler)?;
//!
//!     let peer = here.connect(there.address().ok_or("it listens")?).await?;
//!     let remote = here.lookup::<(u32, Reply<u32>)>(&peer, "doubler").await?;
//!     assert_eq!(remote.ask(|reply| (21, reply)).await?, 42);
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use actors::remote::{Remote, peer_address, schema_of};
use actors::{Address, Lane, Reply, Spawn, SpawnError, timeout};
use runtime::reply::{self, NoAnswer};
use runtime::{ExitReason, Handle, Id, lane};

pub(crate) mod shared;

use crate::link::frame::LookupError as Unfound;
use crate::link::hello::Refusal;
use crate::link::lane::{LinkMsg, Start, run as run_link};
use crate::link::proto::{self, CloseReason};
use crate::peer::{NameError, NodeIdentity, Peer, PeerState};
use crate::schema::fingerprint;
use crate::tcp::{TcpListener, TcpStream};
pub use shared::PublishError;
use shared::Shared;

/// How long links may take to say goodbye when their node stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How a node behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) link: proto::Config,
    pub(crate) max_links: usize,
}

/// How to start a [`Node`].
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct Builder {
    name: Arc<str>,
    listen: Option<String>,
    config: Config,
}

impl Builder {
    /// Listens on this loopback address, as `127.0.0.1:0` for a free port. By default the node only dials.
    pub fn listen(mut self, address: impl fmt::Display) -> Builder {
        self.listen = Some(address.to_string());
        self
    }

    /// How its links behave: sizes, bounds and times.
    pub fn link(mut self, config: proto::Config) -> Builder {
        self.config.link = config;
        self
    }

    /// How many links it has at most, those that are being made included; 1024 by default. Connections beyond are closed.
    pub fn max_links(mut self, count: usize) -> Builder {
        self.config.max_links = count;
        self
    }

    /// Starts the node in the runtime that this code runs in. It lives until [`Node::stop`], or until whoever started
    /// it ends, if that is a lane: dropping the handle does not end it.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    ///
    /// # Cancellation
    /// Dropped before it is ready, the node may run all the same, with nobody to stop it but its runtime.
    pub async fn start(self) -> Result<Node, StartError> {
        let handle = Handle::current().map_err(|_| StartError::Spawn(SpawnError::NotInRuntime))?;
        let mut number = [0; 8];
        handle.env().fill_entropy(&mut number);
        let identity = NodeIdentity::new(self.name, u64::from_le_bytes(number)).map_err(StartError::Name)?;
        let listen = self.listen.map(|text| loopback(&text)).transpose()?;
        let (answerer, mut answer) = reply::port();
        let config = self.config;
        let lane = Spawn::new().spawn(move |lane: Lane<Control>| async move {
            let shared = Arc::new(Shared::new(identity, config, lane.id().namespace()));
            let listener = match listen.map(bind).transpose() {
                Ok(listener) => listener,
                Err(error) => {
                    // Whoever started it may have left.
                    let _ = answerer.answer(Err(StartError::Listen(error)));
                    return ExitReason::Normal;
                }
            };
            let (listener, address) = listener.unzip();
            let _ = answerer.answer(Ok((shared.clone(), address)));
            run(lane, shared, listener).await
        });
        let lane = lane.map_err(StartError::Spawn)?;
        match poll_fn(|cx| answer.poll_answer(cx)).await {
            Ok(Ok((shared, address))) => Ok(Node { shared, lane, address }),
            Ok(Err(error)) => Err(error),
            Err(_ended) => Err(StartError::Stopped),
        }
    }
}

fn loopback(text: &str) -> Result<SocketAddr, StartError> {
    let address: SocketAddr = text.parse().map_err(|_| StartError::BadAddress(text.to_owned()))?;
    if address.ip().is_loopback() { Ok(address) } else { Err(StartError::NotLoopback(address)) }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Why a node was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Its name is none.
    Name(NameError),
    /// What it should listen on is no address with a port.
    BadAddress(String),
    /// What it should listen on can be reached from other machines, for which links must be encrypted.
    NotLoopback(SocketAddr),
    /// The system refused to listen there.
    Listen(io::Error),
    /// There was no place for its lane.
    Spawn(SpawnError),
    /// Its lane was ended at once.
    Stopped,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Name(error) => error.fmt(f),
            StartError::BadAddress(text) => write!(f, "{text:?} is no IP address with a port"),
            StartError::NotLoopback(address) => {
                write!(f, "{address} is no loopback address, and links without TLS are for those only")
            }
            StartError::Listen(error) => write!(f, "the node cannot listen: {error}"),
            StartError::Spawn(error) => error.fmt(f),
            StartError::Stopped => f.write_str("the node's lane was ended before it had begun"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Name(error) => Some(error),
            StartError::Listen(error) => Some(error),
            StartError::Spawn(error) => Some(error),
            _ => None,
        }
    }
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address can be reached only from other machines, for which links must be encrypted.
    NotLoopback(SocketAddr),
    /// The connection failed.
    Io(io::ErrorKind),
    /// The connection or the two hellos took too long.
    Timeout,
    /// This node refused the other.
    Refused(Refusal),
    /// The other node refused this one.
    RefusedByPeer(Refusal),
    /// The link closed before it was up, for this reason.
    Closed(CloseReason),
    /// The node has as many links as it may.
    TooManyLinks {
        /// The limit, set by [`Builder::max_links`].
        limit: usize,
    },
    /// This node has stopped.
    Stopped,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::NotLoopback(address) => {
                write!(f, "{address} is no loopback address, and links without TLS are for those only")
            }
            ConnectError::Io(kind) => write!(f, "the connection failed: {kind}"),
            ConnectError::Timeout => f.write_str("the other side took too long"),
            ConnectError::Refused(refusal) => write!(f, "the other node was refused: {refusal}"),
            ConnectError::RefusedByPeer(refusal) => write!(f, "the other node refused: {refusal}"),
            ConnectError::Closed(reason) => reason.fmt(f),
            ConnectError::TooManyLinks { limit } => write!(f, "the node has its {limit} links"),
            ConnectError::Stopped => f.write_str("the node has stopped"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<CloseReason> for ConnectError {
    fn from(reason: CloseReason) -> ConnectError {
        match reason {
            CloseReason::Refused(refusal) => ConnectError::Refused(refusal),
            CloseReason::RefusedByPeer(refusal) => ConnectError::RefusedByPeer(refusal),
            CloseReason::HandshakeTimeout => ConnectError::Timeout,
            other => ConnectError::Closed(other),
        }
    }
}

/// Why a name gave no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// The peer has published nothing under that name, or the lane is gone.
    NotFound,
    /// The lane of that name takes messages of another type.
    SchemaMismatch,
    /// The lane of that name cannot be opened to this node, as too many are open.
    NotExported,
    /// There is no link to the peer, or it went before the answer came.
    NodeDown,
    /// Too many lookups are open.
    TooMany,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LookupError::NotFound => Unfound::NotFound.fmt(f),
            LookupError::SchemaMismatch => Unfound::SchemaMismatch.fmt(f),
            LookupError::NotExported => Unfound::NotExported.fmt(f),
            LookupError::NodeDown => f.write_str("there is no link to the node"),
            LookupError::TooMany => f.write_str("too many lookups are open on the link"),
        }
    }
}

impl std::error::Error for LookupError {}

/// Another node, in one of its incarnations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHandle {
    pub(crate) identity: NodeIdentity,
    pub(crate) peer: Peer,
}

impl PeerHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        self.identity.name()
    }

    /// Which of its runs.
    pub fn incarnation(&self) -> u64 {
        self.identity.incarnation()
    }

    /// The peer as the namespace of its lanes here.
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

/// A link as it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkInfo {
    /// Who is at the other end.
    pub peer: PeerHandle,
    /// The lane that owns the connection: its end is the link's.
    pub lane: Id,
    /// Messages that were queued for the peer.
    pub sent: u64,
    /// Messages of the peer's that reached their lanes.
    pub received: u64,
    /// Messages and answers of the peer's that did not.
    pub refused_here: u64,
    /// Messages that the peer says did not reach its lanes.
    pub refused_there: u64,
}

/// A node, as those know it who started it. It is not ended when this is dropped.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
    lane: Address<Control>,
    address: Option<SocketAddr>,
}

impl Node {
    /// A node of this name, which must be visible ASCII of at most 128 bytes, and its peers' alone.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        let config = Config { link: proto::Config::default(), max_links: 1024 };
        Builder { name: name.into(), listen: None, config }
    }

    /// Its name and incarnation.
    pub fn identity(&self) -> &NodeIdentity {
        &self.shared.identity
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The lane that listens. The links end with it.
    pub fn lane(&self) -> Id {
        self.lane.id()
    }

    /// Links to the node that listens on a loopback address.
    ///
    /// # Errors
    /// [`ConnectError`]. A link to that incarnation stands already: [`Refused`](ConnectError::Refused) or
    /// [`RefusedByPeer`](ConnectError::RefusedByPeer), with
    /// [`AlreadyLinked`](crate::peer::PeerError::AlreadyLinked) inside.
    ///
    /// # Cancellation
    /// The link may come up all the same.
    pub async fn connect(&self, address: impl Into<SocketAddr>) -> Result<PeerHandle, ConnectError> {
        let address = address.into();
        if !address.ip().is_loopback() {
            return Err(ConnectError::NotLoopback(address));
        }
        let asked = self.lane.ask(|reply| Control::Connect(address, reply)).no_timeout().await;
        asked.unwrap_or(Err(ConnectError::Stopped))
    }

    /// Lets peers find a lane of this node under a name, and so reach it. A name whose lane has ended can be used again.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish<M: Remote>(&self, name: &str, address: Address<M>) -> Result<(), PublishError> {
        self.shared.publish(name, address.id(), schema_of::<M>())
    }

    /// Takes a name back: true if there was one. Who has found the lane under it keeps its address.
    pub fn unpublish(&self, name: &str) -> bool {
        self.shared.unpublish(name)
    }

    /// The lane that a peer has published under a name.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn lookup<M: Remote>(&self, peer: &PeerHandle, name: &str) -> Result<Address<M>, LookupError> {
        let link = self.shared.link(peer.peer).ok_or(LookupError::NodeDown)?;
        let mut answer = link.look_up(name, fingerprint::<M>());
        let found = poll_fn(|cx| answer.poll_answer(cx)).await.map_err(|why| match why {
            NoAnswer::Refused(_) => LookupError::TooMany,
            _ => LookupError::NodeDown,
        })?;
        let id = found.map_err(|why| match why {
            Unfound::SchemaMismatch => LookupError::SchemaMismatch,
            Unfound::NotExported => LookupError::NotExported,
            Unfound::NotFound => LookupError::NotFound,
        })?;
        // An id that is not the peer's is no answer.
        peer_address(id).ok_or(LookupError::NotFound)
    }

    /// The links that stand, or are about to.
    pub fn links(&self) -> Vec<LinkInfo> {
        let info = |link: Arc<crate::remote::Link>| {
            let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            LinkInfo {
                peer: PeerHandle { identity: link.identity.clone(), peer: link.peer },
                lane: link.lane.id(),
                sent: load(&link.counters.sent),
                received: load(&link.counters.received),
                refused_here: load(&link.counters.refused_here),
                refused_there: load(&link.counters.refused_there),
            }
        };
        self.shared.links().into_iter().map(info).collect()
    }

    /// The peers that are linked.
    pub fn peers(&self) -> Vec<PeerHandle> {
        self.links().into_iter().map(|link| link.peer).collect()
    }

    /// How things stand with a peer.
    pub fn state(&self, peer: &PeerHandle) -> Option<PeerState> {
        self.shared.state(peer.peer)
    }

    /// Closes the link to a peer, if there is one: true if so. Either side may link again.
    pub fn disconnect(&self, peer: &PeerHandle) -> bool {
        self.shared.link(peer.peer).is_some_and(|link| link.lane.stop().is_ok())
    }

    /// Ends the node: it listens no more, and each link says goodbye and closes, two seconds at most.
    pub async fn stop(&self) {
        // It may be gone already.
        let _ = self.lane.stop();
        lane::join(self.lane.id()).await;
    }
}

/// What a node's lane is told.
#[derive(Debug)]
pub(crate) enum Control {
    Connect(SocketAddr, Reply<Result<PeerHandle, ConnectError>>),
    /// A lane that is linked to it ended, or an exit signal came from elsewhere.
    Exited(Id, ExitReason),
}

enum Next {
    Told(Option<Control>),
    Accepted(io::Result<(TcpStream, SocketAddr)>),
}

/// The node's lane: listens, and starts the lane of each link, which is linked to it.
async fn run(mut lane: Lane<Control>, shared: Arc<Shared>, mut listener: Option<TcpListener>) -> ExitReason {
    lane.trap_exits(|exit| Control::Exited(exit.from, exit.reason));
    let mut links = BTreeSet::new();
    let mut reason = ExitReason::Shutdown;
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(told) = lane.poll_recv(cx) {
                return Poll::Ready(Next::Told(told));
            }
            match &mut listener {
                Some(listener) => listener.poll_accept(cx).map(Next::Accepted),
                None => Poll::Pending,
            }
        });
        let start = match next.await {
            Next::Told(None) => break,
            Next::Told(Some(Control::Exited(from, _))) if links.remove(&from) => continue,
            // A link's lane that had been taken off the list can only be one that never got on it: there is none.
            Next::Told(Some(Control::Exited(_, why))) => {
                reason = why;
                break;
            }
            Next::Told(Some(Control::Connect(address, reply))) => Start::Dial(address, reply),
            Next::Accepted(Ok((stream, _from))) => Start::Accepted(stream),
            Next::Accepted(Err(error)) => {
                tracing::warn!(node = %shared.identity, %error, "a connection was not accepted");
                continue;
            }
        };
        if links.len() >= shared.config.max_links {
            start.refuse(ConnectError::TooManyLinks { limit: shared.config.max_links });
            continue;
        }
        let node = shared.clone();
        // Where there is no place for a lane, `start` is dropped, which tells whoever dialled.
        if let Ok(link) = Spawn::new().link().spawn(move |lane: Lane<LinkMsg>| run_link(lane, node, start)) {
            links.insert(link.id());
        }
    }
    drop(listener);
    for link in &links {
        // It may be gone already.
        let _ = lane::stop(*link, ExitReason::Shutdown);
    }
    let all = async {
        for link in &links {
            lane::join(*link).await;
        }
    };
    if timeout(STOP_GRACE, all).await.is_err() {
        // They are linked to this lane, whose end is theirs.
        tracing::warn!(node = %shared.identity, "links did not close in time");
    }
    match reason {
        // Links' lanes would not hear of an end that is `Normal`.
        ExitReason::Normal => ExitReason::Shutdown,
        other => other,
    }
}
