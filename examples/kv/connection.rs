//! One connection: commands in, replies out, in order.
//!
//! Owns: a socket, and the cycle that a connection lives by. Each cycle reads what has come, cuts it into commands, gives
//! each shard all of its commands in one message, waits for the shards, and writes the replies together.
//!
//! # Invariants
//! 1. Replies leave in the order of the commands. So do the commands that go to one shard, since there is one message a
//!    shard and cycle, and the next cycle begins when the last is answered and written. A client that does not read its
//!    replies is not read from.
//! 2. Nothing is sent to a shard twice. Where a shard ended with a command, the client is told that it is not known
//!    whether it was carried out; what to do about that is for the client to say.
//! 3. What one cycle holds is bounded: by [`PIPELINE`] commands, one command's size, and [`LONGEST_REPLY`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use laneway::net::TcpStream;
use laneway::{AskError, ExitReason};

use crate::command::Command;
use crate::resp::{Decoder, Protocol, ProtocolError, Reply, encode};
use crate::route::{Join, Plan, Request};
use crate::server::{Guest, Server};
use crate::session::{Next, Session};
use crate::shard::ShardMsg;

/// Commands of one connection that are under way at a time.
const PIPELINE: usize = 1024;
/// Bytes of one reply: one `MGET` can name a large value many times.
const LONGEST_REPLY: usize = 128 << 20;
/// Bytes of replies that are written at once, give or take one reply.
const WRITE: usize = 256 << 10;
/// Bytes that are read at once; while a large command is under way, four times as many.
const READ: usize = 16 << 10;
/// How long a shard may take, its restart included. Whoever asks waits this long only if something is very wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lane of a connection.
pub(crate) async fn connection(stream: TcpStream, server: Arc<Server>) -> ExitReason {
    // The listener's lane accepted it; from here on its life is this lane's.
    if stream.adopt().is_err() {
        return ExitReason::Normal;
    }
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().map_or_else(|_| "unknown".into(), |peer| peer.to_string());
    let guest = server.enter();
    let mut connection = Connection {
        session: Session::new(guest.number(), peer),
        decoder: Decoder::new(server.limits()),
        slots: Vec::new(),
        batches: server.pairs().iter().map(|_| Vec::new()).collect(),
        input: BytesMut::new(),
        output: BytesMut::new(),
        stream,
        server,
        _guest: guest,
    };
    // A client that goes is no failure.
    let _gone = connection.serve().await;
    ExitReason::Normal
}

/// A command of this cycle, and how to encode its reply.
struct Slot {
    reply: Awaited,
    protocol: Protocol,
}

/// Where the reply of a command comes from.
enum Awaited {
    Here(Reply),
    Info(Vec<Bytes>),
    /// The next one of this shard.
    One(usize),
    /// The next one of each of these.
    Many(Vec<usize>, Join),
}

struct Connection {
    /// Before the stream, so that it is gone when the client sees the end.
    _guest: Guest,
    stream: TcpStream,
    server: Arc<Server>,
    session: Session,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    /// The commands of this cycle, in order.
    slots: Vec<Slot>,
    /// By shard, what it is to be asked in this cycle.
    batches: Vec<Vec<Request>>,
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        while self.read().await? {
            loop {
                let (next, more) = self.cut();
                let replies = self.ask_shards().await;
                self.write(replies).await?;
                if next == Next::Close {
                    return self.close().await;
                }
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads what has come; false at the end of the stream.
    async fn read(&mut self) -> io::Result<bool> {
        let held = self.input.len();
        self.input.resize(held + if held < READ { READ } else { 4 * READ }, 0);
        let read = self.stream.read(&mut self.input[held..]).await;
        self.input.truncate(held + read.as_ref().copied().unwrap_or(0));
        Ok(read? > 0)
    }

    /// Cuts what was read into commands and says where each goes; true if there may be more to cut.
    fn cut(&mut self) -> (Next, bool) {
        while self.slots.len() < PIPELINE {
            let args = match self.decoder.decode(&mut self.input) {
                Ok(Some(args)) => args,
                Ok(None) => return (Next::Continue, false),
                Err(error) => return (self.refuse(&error), false),
            };
            let (reply, next) = self.dispatch(args);
            self.slots.push(Slot { reply, protocol: self.session.protocol() });
            if next == Next::Close {
                return (next, false);
            }
        }
        (Next::Continue, true)
    }

    fn refuse(&mut self, error: &ProtocolError) -> Next {
        self.slots.push(Slot { reply: Awaited::Here(error.reply()), protocol: self.session.protocol() });
        Next::Close
    }

    fn dispatch(&mut self, args: Vec<Bytes>) -> (Awaited, Next) {
        let router = self.server.router();
        let plan = match Command::parse(args) {
            Err(reply) => return (Awaited::Here(reply), Next::Continue),
            Ok(Command::Session(command)) => {
                let (reply, next) = self.session.answer(command);
                return (Awaited::Here(reply), next);
            }
            Ok(Command::Info(sections)) => return (Awaited::Info(sections), Next::Continue),
            Ok(Command::Read(read)) => router.read(read),
            Ok(Command::Write(write)) => router.write(write),
        };
        let awaited = match plan {
            Plan::One(shard, request) => {
                self.batches[shard].push(request);
                Awaited::One(shard)
            }
            Plan::Many(parts, join) => {
                let ask = |(shard, request): (usize, Request)| {
                    self.batches[shard].push(request);
                    shard
                };
                Awaited::Many(parts.into_iter().map(ask).collect(), join)
            }
        };
        (awaited, Next::Continue)
    }

    /// What the shards say to the commands of this cycle, by shard.
    async fn ask_shards(&mut self) -> Vec<Said> {
        let mut said: Vec<Said> = self.batches.iter().map(|_| Said::Replies(Vec::new().into_iter())).collect();
        let mut asked: Vec<(usize, Asking<'_>)> = Vec::new();
        for (shard, batch) in self.batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            let requests = std::mem::take(batch);
            let role = self.server.pairs()[shard].primary;
            let asking = role.ask_within(PATIENCE, |replies| ShardMsg::Run { requests, replies });
            asked.push((shard, Box::pin(asking)));
        }
        let (shards, asking): (Vec<usize>, Vec<_>) = asked.into_iter().unzip();
        for (shard, answer) in shards.into_iter().zip(join_all(asking).await) {
            said[shard] = match answer {
                Ok(replies) => Said::Replies(replies.into_iter()),
                Err(error) => Said::Nothing(error),
            };
        }
        said
    }

    /// Writes the replies of this cycle.
    async fn write(&mut self, mut said: Vec<Said>) -> io::Result<()> {
        self.server.note_commands(self.slots.len());
        for slot in std::mem::take(&mut self.slots) {
            let mut reply = match slot.reply {
                Awaited::Here(reply) => reply,
                Awaited::Info(sections) => self.server.info(&sections),
                Awaited::One(shard) => said[shard].next(),
                Awaited::Many(shards, join) => join.finish(shards.iter().map(|shard| said[*shard].next()).collect()),
            };
            if reply.encoded_bound() > LONGEST_REPLY {
                reply = Reply::error("ERR the reply is too long (proto-max-bulk-len)");
            }
            encode(&reply, slot.protocol, &mut self.output);
            if self.output.len() >= WRITE {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        // A long reply is no reason to hold that much memory from now on.
        if self.output.capacity() > 2 * WRITE {
            self.output = BytesMut::new()
        } else {
            self.output.clear()
        }
        Ok(())
    }

    /// Ends the connection so that the client gets what was written: a socket that is closed while something unread is in
    /// it would be reset, and the last reply with it.
    async fn close(&mut self) -> io::Result<()> {
        const UNREAD: usize = 1 << 20;
        self.stream.shutdown(std::net::Shutdown::Write)?;
        let mut rest = vec![0; READ];
        let drained = async {
            let mut read = 0;
            while read < UNREAD {
                match self.stream.read(&mut rest).await? {
                    0 => break,
                    count => read += count,
                }
            }
            Ok(())
        };
        laneway::timeout(Duration::from_secs(1), drained).await.unwrap_or(Ok(()))
    }
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Vec<Reply>, AskError>> + Send + 'a>>;

/// What a shard said to its part of a cycle.
enum Said {
    Replies(std::vec::IntoIter<Reply>),
    Nothing(AskError),
}

impl Said {
    fn next(&mut self) -> Reply {
        match self {
            Self::Replies(replies) => {
                replies.next().unwrap_or(Reply::error("ERR a shard gave fewer replies than it was asked for"))
            }
            // Nothing was asked, so nothing was done.
            Self::Nothing(AskError::NoProc | AskError::Retired) => Reply::error("ERR the server is shutting down"),
            Self::Nothing(why) => Reply::Error(format!("ERR not known whether this was carried out: {why}").into()),
        }
    }
}
