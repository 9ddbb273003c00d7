//! What all lanes of the server share, and the lane that listens.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use laneway::net::TcpListener;
use laneway::runtime::memory_bound::MemoryPlan;
use laneway::sync::{Semaphore, watch};
use laneway::{Down, ExitReason, Handle, Lane, Spawn};

use crate::connection::connection;
use crate::metrics::{Board, Page};
use crate::options::Options;
use crate::plan::{CONNECTION, CONNECTION_MAILBOX, Plan, Term};

/// A server, as all its lanes know it.
pub(crate) struct Server {
    pub(crate) plan: Plan,
    pub(crate) bound: Vec<Term>,
    pub(crate) handle: Handle,
    pub(crate) board: Board,
    /// A permit a bucket, first come, first served.
    pub(crate) buckets: Arc<Semaphore>,
    /// Requests, numbered for the log.
    pub(crate) numbers: AtomicU64,
    pub(crate) wait: Duration,
    pub(crate) deadline: Duration,
    pub(crate) idle: Duration,
    /// True when it stops.
    pub(crate) closing: watch::Sender<bool>,
    is_crowded: AtomicBool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn new(plan: Plan, options: &Options, handle: Handle) -> Server {
        Server {
            plan,
            bound: plan.bound(&handle),
            handle,
            board: Board::default(),
            buckets: Arc::new(Semaphore::new(plan.buckets() as usize)),
            numbers: AtomicU64::new(1),
            wait: options.wait,
            deadline: options.deadline,
            idle: options.idle,
            closing: watch::Sender::new(false),
            is_crowded: AtomicBool::new(false),
        }
    }

    /// Whether a connection waits for the place of another.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// The page of metrics.
    pub(crate) fn page(&self) -> String {
        let page = Page {
            board: &self.board,
            handle: &self.handle,
            buckets: self.plan.buckets(),
            free: self.buckets.available_permits() as u64,
            waiting: self.buckets.waiting() as u64,
            bound: &self.bound,
            used: &self.plan.used(&self.handle),
        };
        page.render()
    }
}

/// The budget of the lane that listens: it notes of each connection what to make of its end.
pub(crate) fn budget(connections: u64) -> u64 {
    (64 << 10) + connections * (1 << 10)
}

/// The mailbox of the lane that listens, to which nobody sends.
pub(crate) const MAILBOX: u32 = 1;

/// What is reserved for it.
pub(crate) fn cost(connections: u64) -> u64 {
    MemoryPlan::new(0).budget(budget(connections)).mailbox(MAILBOX).lane()
}

/// A connection's lane has ended.
pub(crate) struct Left;

/// The lane that listens: each connection gets a lane with a budget of its own, and there are no more of them than the plan
/// has. Who comes then waits in the backlog, behind one that was accepted, and connections end with their next answer.
pub(crate) async fn listen(mut lane: Lane<Left>, mut socket: TcpListener, server: Arc<Server>) -> ExitReason {
    if let Err(error) = socket.adopt() {
        return error.into();
    }
    let mut open = 0;
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return error.into(),
            // As when the process is out of descriptors: the listener has rested, and tries again.
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                continue;
            }
        };
        while lane.try_recv().is_some() {
            open -= 1;
        }
        while open == server.plan.connections {
            server.is_crowded.store(true, Ordering::Relaxed);
            if lane.recv().await.is_none() {
                return ExitReason::Shutdown;
            }
            open -= 1;
        }
        server.is_crowded.store(false, Ordering::Relaxed);
        let body = {
            let server = server.clone();
            |lane| connection(lane, stream, server)
        };
        // There is room for it, but for what is left for a moment by one that is about to be dead.
        let spawn = Spawn::new().mailbox(CONNECTION_MAILBOX).memory(CONNECTION).monitor();
        match spawn.spawn_monitored_when_admitted(body).await {
            Ok((_, monitor)) => {
                open += 1;
                if let Some(monitor) = monitor {
                    lane.on_down(monitor, |_: Down| Left);
                }
            }
            Err(error) => tracing::warn!(%error, "no lane for a connection"),
        }
    }
}
