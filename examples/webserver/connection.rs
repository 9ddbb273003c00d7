//! One connection: hyper reads requests off it and writes answers to it, one after the other.
//!
//! Owns: the socket, and what makes a connection's memory a number. hyper gets the smallest buffers that it takes, the
//! header fields are counted, and bodies are not read. A client that is slow to ask, slow to read or silent is put out.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::select_biased;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use laneway::net::TcpStream;
use laneway::net::http::LaneTimer;
use laneway::{ExitReason, Lane, sleep, timeout};

use crate::answer::Answer;
use crate::request::{Requests, Said};
use crate::routes::{Route, route};
use crate::server::Server;

/// What hyper may keep of what it reads, and of what it has to write: the least that it allows. A request whose head is
/// longer gets 431.
const BUFFER: usize = 8 << 10;
/// Header fields of a request; with more it gets 431.
const FIELDS: usize = 48;
/// How much of a request's path goes into the log.
const PATH: usize = 100;

/// A connection, as the service of its requests sees it.
struct Visit {
    server: Arc<Server>,
    /// Taken out while a request is under way, of which HTTP/1 has one at a time.
    requests: Mutex<Option<Requests>>,
    /// How many requests have come.
    count: AtomicU64,
}

/// The lane of a connection.
pub(crate) async fn connection(lane: Lane<Said>, stream: TcpStream, server: Arc<Server>) -> ExitReason {
    // The listener's lane accepted it; from here on its life is this lane's.
    if stream.adopt().is_err() {
        return ExitReason::Normal;
    }
    let _ = stream.set_nodelay(true);
    let _counted = server.board.connections.enter();
    let mut closing = server.closing.subscribe();
    let visit =
        Visit { server: server.clone(), requests: Mutex::new(Some(Requests::new(lane))), count: AtomicU64::new(0) };
    let mut protocol = http1::Builder::new();
    protocol.timer(LaneTimer::new()).header_read_timeout(server.idle).max_buf_size(BUFFER).max_headers(FIELDS);
    let mut serving = pin!(protocol.serve_connection(stream, service_fn(|request| visit.answer(request))));
    let outcome = select_biased! {
        outcome = (&mut serving).fuse() => outcome,
        _ = closing.changed().fuse() => {
            // The request under way is answered; a connection without one ends here.
            serving.as_mut().graceful_shutdown();
            timeout(server.wait + server.deadline, serving).await.unwrap_or(Ok(()))
        }
        () = visit.stalled().fuse() => Ok(()),
    };
    if let Err(error) = outcome {
        // Clients go as they please.
        tracing::debug!(%error, "a connection broke");
        server.board.connections_broken.add(1);
    }
    ExitReason::Normal
}

impl Visit {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let server = &self.server;
        self.count.fetch_add(1, Ordering::Relaxed);
        let uri = request.uri();
        let answer = match route(request.method(), uri.path(), uri.query()) {
            Err(refusal) => Answer::refusal(&refusal),
            Ok(Route::Metrics) => Answer::exposition(server.page()),
            Ok(Route::Job(job)) => {
                let path: String = uri.path_and_query().map_or("", |path| path.as_str()).chars().take(PATH).collect();
                // Its header fields are not needed any more, and its body is not read.
                drop(request);
                let taken = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
                let mut requests = taken.expect("one request at a time");
                let answer = requests.run(server, job, &path).await;
                *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = Some(requests);
                answer
            }
        };
        server.board.note_status(answer.status);
        // Where others wait for a place, nobody keeps one for his next request.
        Ok(answer.into_response(server.is_crowded() || *server.closing.borrow()))
    }

    /// Ready once no request has come for longer than one can take. hyper minds who is slow to ask, and nobody who is slow to
    /// read what he is told.
    async fn stalled(&self) {
        let server = &self.server;
        let longest = server.idle + server.wait + server.deadline + Duration::from_secs(1);
        let mut before = u64::MAX;
        loop {
            let count = self.count.load(Ordering::Relaxed);
            if count == before {
                return;
            }
            before = count;
            sleep(longest).await;
        }
    }
}
