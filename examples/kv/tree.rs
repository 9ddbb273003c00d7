//! The tree of a server's lanes, and who starts whom again.
//!
//! ```text
//! kv (rest for one)
//! ├── shards (one for one): a primary and a standby a shard, each with a role that leads to its present incarnation
//! ├── connections (dynamic): a lane a client, never started again, since its socket goes with it
//! └── listener: accepts, and hands each stream to the group of connections
//! ```
//!
//! The listener finds the group by its name, and a group that is started again has a listener that is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use laneway::net::{TcpListener, TcpStream};
use laneway::supervisor::{
    ChildSpec, DynamicBuilder, DynamicSupervisor, Shutdown, Strategy, Supervisor, SupervisorBuilder, SupervisorError,
};
use laneway::{ExitReason, Lane};

use crate::connection::connection;
use crate::server::Server;
use crate::shard::primary;
use crate::standby::standby;

/// The group of connections: started with a stream each, sent nothing.
type Connections = DynamicSupervisor<TcpStream, ()>;

/// What the group of connections is called.
const CONNECTIONS: &str = "kv.connections";
/// Restarts of shard members that are borne in a second without chaos.
const RESTARTS: u32 = 50;
/// How long a lane may take to end when it is asked to.
const PATIENCE: Shutdown = Shutdown::Timeout(Duration::from_secs(1));

/// Listens on the loopback address.
///
/// # Errors
/// As the system gives them.
pub(crate) fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(([127, 0, 0, 1], port))
}

/// Starts everything, on a socket that listens on the server's port. `chaos` is how many kills a second there will be.
///
/// # Errors
/// What did not start.
pub(crate) async fn start(
    server: &Arc<Server>,
    socket: TcpListener,
    chaos: u32,
) -> Result<Supervisor, SupervisorError> {
    let restarts = RESTARTS.saturating_add(chaos.saturating_mul(4));
    let shards = {
        let server = server.clone();
        move || shards(&server, restarts)
    };
    let connections = {
        let server = server.clone();
        move || connections(&server)
    };
    let listener = {
        let server = server.clone();
        let mut first = Some(socket);
        move || {
            let (server, socket) = (server.clone(), first.take());
            async move |_: Lane<()>| match listen(server, socket).await {
                Ok(never) => match never {},
                Err(reason) => reason,
            }
        }
    };
    Supervisor::builder("kv")
        .strategy(Strategy::RestForOne)
        .intensity(5, Duration::from_secs(10))
        .child(ChildSpec::supervisor("shards", shards))
        .child(ChildSpec::supervisor("connections", connections))
        .child(ChildSpec::lane("listener", listener).shutdown(PATIENCE))
        .start()
        .await
}

fn shards(server: &Arc<Server>, restarts: u32) -> SupervisorBuilder {
    let mut tree = Supervisor::builder("kv.shards").intensity(restarts, Duration::from_secs(1));
    let longest_value = server.limits().bulk;
    for (number, pair) in server.pairs().iter().enumerate() {
        let of = pair.clone();
        let start = move || {
            let pair = of.clone();
            async move |lane| standby(lane, pair, longest_value).await
        };
        let spec = ChildSpec::lane(format!("standby {number}"), start).role(pair.standby);
        tree = tree.child(spec.shutdown(PATIENCE));
        let of = pair.clone();
        let start = move || {
            let pair = of.clone();
            async move |lane| primary(lane, pair, longest_value).await
        };
        let spec = ChildSpec::lane(format!("primary {number}"), start).role(pair.primary);
        tree = tree.child(spec.shutdown(PATIENCE));
    }
    tree
}

fn connections(server: &Arc<Server>) -> DynamicBuilder<TcpStream, ()> {
    let server = server.clone();
    let start = move |stream| {
        let server = server.clone();
        async move |_: Lane<()>| connection(stream, server).await
    };
    Connections::lane("connection", start).name(CONNECTIONS).shutdown(PATIENCE)
}

/// Never: a listener listens until something ends it.
enum Never {}

async fn listen(server: Arc<Server>, socket: Option<TcpListener>) -> Result<Never, ExitReason> {
    let mut socket = match socket {
        Some(socket) => {
            socket.adopt()?;
            socket
        }
        None => bind(server.port())?,
    };
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Err(error.into()),
            // As when the process is out of descriptors: the listener has rested, and tries again.
            Err(_) => continue,
        };
        let group = Connections::whereis(CONNECTIONS)?.ok_or(ExitReason::NoProc)?;
        // A connection that is not started is closed; its client may come again.
        let _ = group.start_child(stream).await;
    }
}

#[cfg(test)]
mod tests;
