//! The life of one request: it waits for a bucket, gets a lane that has it, and ends by an answer, by a reason, or by the
//! clock.
//!
//! Owns: a connection's mailbox, in which its requests' lanes answer, one at a time. The lane of a request is watched from
//! before it runs, so that the true reason of its end is known however early it comes; its answer, if there is one, comes
//! before that, as one mailbox keeps the order of one sender.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use laneway::arena::Scratch;
use laneway::{Address, ExitReason, Id, Lane, Spawn, kill, memory, time, timeout};

use crate::answer::Answer;
use crate::metrics::Death;
use crate::routes::Job;
use crate::server::Server;
use crate::work::work;

/// The mailbox of a request's lane, to which nobody sends: the least that there is.
pub(crate) const MAILBOX: u32 = 1;

/// What a connection is told by the lanes of its requests.
#[derive(Debug)]
pub(crate) enum Said {
    /// The answer of the request of this number, and what it used of its bucket.
    Answer(u64, Answer, u64),
    /// The lane of the request of this number has ended.
    Ended(u64, ExitReason),
}

/// Where a connection's requests come from and go to.
#[derive(Debug)]
pub(crate) struct Requests {
    lane: Lane<Said>,
    /// The last request's number on this connection: what earlier ones still say is nobody's business any more.
    last: u64,
}

/// A request's lane, which is killed if nobody waits for it any more: where its connection ends, its work is for nobody.
struct Running(Option<Id>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(id) = self.0.take() {
            kill(id);
        }
    }
}

impl Requests {
    pub(crate) fn new(lane: Lane<Said>) -> Requests {
        Requests { lane, last: 0 }
    }

    /// A lane with a bucket for a job, as soon as there is one.
    ///
    /// There are as many buckets as the memory is enough for beside all connections, and one line for them. A bucket whose
    /// last lane was killed while it was stuck comes back before its memory does, as the connection may be gone: for that the
    /// spawn itself waits, as nothing is spawned for which there is no memory.
    ///
    /// # Errors
    /// What the client is told: there was none in time.
    async fn admit(&mut self, server: &Server, job: Job) -> Result<Id, Answer> {
        let (connection, number) = (self.lane.address(), self.last);
        let admission = async {
            let Ok(bucket) = server.buckets.clone().acquire_owned().await else {
                unreachable!("the semaphore is never closed")
            };
            let body = async move |_: Lane<()>| {
                let _until_the_end = bucket;
                answer_to(connection, number, job).await;
            };
            let spawn = Spawn::new().mailbox(MAILBOX).memory(server.plan.bucket).monitor();
            spawn.spawn_monitored_when_admitted(body).await
        };
        match timeout(server.wait, admission).await {
            Ok(Ok((lane, monitor))) => {
                if let Some(monitor) = monitor {
                    self.lane.on_down(monitor, move |down| Said::Ended(number, down.reason));
                }
                Ok(lane.id())
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "no lane for a request");
                Err(Answer::busy("the server stops\n", server.wait))
            }
            Err(_elapsed) => {
                server.board.refused.add(1);
                Err(Answer::busy("no bucket is free: come again\n", server.wait))
            }
        }
    }

    /// Does a job in a lane of its own: what the client is told. `path` is for the log.
    pub(crate) async fn run(&mut self, server: &Server, job: Job, path: &str) -> Answer {
        let request = server.numbers.fetch_add(1, Ordering::Relaxed);
        self.last += 1;
        let lane = match self.admit(server, job).await {
            Ok(lane) => lane,
            Err(answer) => {
                tracing::warn!(request, path, waited = ?server.wait, "no bucket");
                return answer;
            }
        };
        let mut running = Running(Some(lane));
        let until = time::now() + server.deadline;
        loop {
            let left = until.duration_since(time::now());
            match self.lane.recv_timeout(left).await {
                Ok(Some(Said::Answer(number, answer, used))) if number == self.last => {
                    running.0 = None;
                    server.board.note_death(Death::Normal);
                    server.board.given.add(1);
                    server.board.bytes_used.add(used);
                    return answer;
                }
                Ok(Some(Said::Ended(number, reason))) if number == self.last => {
                    running.0 = None;
                    server.board.note_death(Death::of(&reason));
                    return ended(request, path, lane, &reason);
                }
                Ok(Some(_of_earlier_ones)) => {}
                // Nobody asks a connection to stop by its mailbox; if somebody does, this is its end.
                Ok(None) => return Answer::busy("the server stops\n", server.wait),
                Err(_elapsed) => {
                    tracing::warn!(request, path, %lane, after = ?server.deadline, "late: killed");
                    server.board.note_death(Death::Killed);
                    // By the drop of `running`. Its bucket is free once its poll returns, and not before.
                    return Answer::text(StatusCode::GATEWAY_TIMEOUT, "it took too long, and was ended\n");
                }
            }
        }
    }
}

/// The body of a request's lane.
async fn answer_to(connection: Address<Said>, number: u64, job: Job) {
    let arena = Scratch::new();
    let answer = work(job, &arena).await;
    // A scratch gives nothing back before it is dropped, so this is what it came to.
    let used = memory().map_or(0, |memory| memory.used);
    // A connection that is gone has no use for it.
    let _gone = connection.try_send(Said::Answer(number, answer, used));
}

/// What the client of a lane is told that has ended without an answer.
fn ended(request: u64, path: &str, lane: Id, reason: &ExitReason) -> Answer {
    let text = match reason {
        ExitReason::OutOfMemory { budget, requested } => {
            tracing::warn!(request, path, %lane, budget, requested, "over its bucket");
            format!("over its bucket: {requested} bytes asked for with a budget of {budget}\n")
        }
        reason => {
            tracing::warn!(request, path, %lane, %reason, "ended without an answer");
            "it ended without an answer\n".to_owned()
        }
    };
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}
