//! The primary of a shard: the lane that clients' commands go to.
//!
//! Owns: the data of one shard, and its bond with the standby. A turn takes all the commands that are queued, carries
//! them out, gives what they changed to the standby in one message, and answers when the standby has it.
//!
//! # Invariants
//! 1. No reply leaves before the standby has all that the reply tells of: that of a write waits for its own change, that
//!    of a read for the changes before it, so that nobody is told a value that a failure could take back.
//! 2. While there is no standby in step, everything waits: commands stay in the mailbox, whose bound holds clients back.
//! 3. A command that was taken is never carried out twice. If the primary ends first, its port says so to the asker.
//!
//! A primary that is not the first of its shard begins by pulling everything from the standby. It does so as its first
//! work and not before it counts as started: the supervisor must stay free to start the standby meanwhile.

use std::sync::Arc;
use std::time::Duration;

use laneway::runtime::env::Env;
use laneway::{Address, AskError, ExitReason, Handle, Id, Lane, Reply as Port};

use crate::pair::Pair;
use crate::resp::Reply;
use crate::route::Request;
use crate::standby::{PIECE, Stamp, StandbyMsg};
use crate::store::{Cursor, Effect, Store};

/// What a primary is told.
#[derive(Debug)]
pub(crate) enum ShardMsg {
    /// Commands of one connection, in order; as many replies come back, in that order.
    Run { requests: Vec<Request>, replies: Port<Vec<Reply>> },
    /// A standby has ended.
    StandbyEnded(Id),
}

/// Commands that one turn takes before the standby is told, give or take those of one message.
const TURN: usize = 4096;
/// Keys that one turn removes because their time has come.
const EXPIRIES: usize = 1024;

/// The lane of a primary.
pub(crate) async fn primary(lane: Lane<ShardMsg>, pair: Arc<Pair>, longest_value: usize) -> ExitReason {
    let Ok(node) = Handle::current() else { return ExitReason::error("a shard needs a runtime") };
    let shard = Primary {
        stamp: Stamp { term: pair.begin_term(), number: 0 },
        store: Store::new(longest_value),
        log: Vec::new(),
        answers: Vec::new(),
        standby: None,
        env: node.env(),
        lane,
        pair,
    };
    match shard.serve(longest_value).await {
        Err(reason) => reason,
        Ok(never) => match never {},
    }
}

struct Primary {
    lane: Lane<ShardMsg>,
    pair: Arc<Pair>,
    store: Store,
    /// Of the last message to the standby.
    stamp: Stamp,
    /// Who has all that the store holds but for `log`; `None` while nobody does.
    standby: Option<Address<StandbyMsg>>,
    /// Changes that the standby has not been told.
    log: Vec<Effect>,
    /// What is to be said when it has been told.
    answers: Vec<(Port<Vec<Reply>>, Vec<Reply>)>,
    env: Arc<dyn Env>,
}

/// Never: a primary serves until something ends it.
enum Never {}

impl Primary {
    async fn serve(mut self, longest_value: usize) -> Result<Never, ExitReason> {
        if self.pair.is_founded() {
            self.take_over(longest_value).await?;
        }
        if self.standby.is_none() {
            self.find_standby().await?;
        }
        loop {
            let first = match self.store.next_deadline() {
                None => Some(self.lane.recv().await),
                Some(at) => {
                    let left = Duration::from_millis(at.saturating_sub(self.now()));
                    self.lane.recv_timeout(left).await.ok()
                }
            };
            match first {
                Some(None) => return Err(self.lane.stop_reason().unwrap_or(ExitReason::Normal)),
                Some(Some(message)) => self.take(message),
                None => {}
            }
            let now = self.now();
            self.store.expire_due(now, EXPIRIES, &mut self.log);
            self.replicate().await?;
            if self.standby.is_none() {
                self.find_standby().await?;
            }
            self.pair.publish(self.store.usage());
            for (port, replies) in self.answers.drain(..) {
                // A connection that has gone needs no answer.
                _ = port.send(replies);
            }
        }
    }

    /// Milliseconds of the Unix epoch.
    fn now(&self) -> u64 {
        self.env.unix_time().as_millis() as u64
    }

    /// Carries out a message and those that are queued behind it.
    fn take(&mut self, first: ShardMsg) {
        let now = self.now();
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                ShardMsg::StandbyEnded(id) if self.standby.is_some_and(|standby| standby.id() == id) => {
                    self.standby = None;
                }
                ShardMsg::StandbyEnded(_) => {}
                ShardMsg::Run { requests, replies } => {
                    taken += requests.len();
                    let said = requests.iter().map(|request| self.run(now, request)).collect();
                    self.answers.push((replies, said));
                }
            }
            next = if taken < TURN { self.lane.try_recv() } else { None };
        }
    }

    fn run(&mut self, now: u64, request: &Request) -> Reply {
        match request {
            Request::Read(read) => self.store.read(now, read),
            Request::Write(write) => self.store.apply(now, write, &mut self.log),
        }
    }

    /// Waits until the standby has what was changed.
    async fn replicate(&mut self) -> Result<(), ExitReason> {
        if self.log.is_empty() {
            return Ok(());
        }
        let Some(standby) = self.standby else { return Ok(()) };
        let effects = std::mem::take(&mut self.log);
        self.stamp = self.stamp.next();
        let stamp = self.stamp;
        match standby.ask(|done| StandbyMsg::Apply { stamp, effects, done }).no_timeout().await {
            Ok(emptied) => self.log = emptied,
            Err(AskError::NoReply) => return Err(deposed()),
            // It has ended. All that the store holds goes to the next one, with what it has just missed.
            Err(_) => self.standby = None,
        }
        Ok(())
    }

    /// Waits for a standby and gives it all that there is.
    async fn find_standby(&mut self) -> Result<(), ExitReason> {
        // Whoever means to kill a member must not take this one for the spare.
        _ = self.pair.take_redundancy();
        // The snapshot has these changes too.
        self.log.clear();
        'standby: loop {
            let standby = self.pair.standby.filled().await?;
            let mut from = Some(Cursor::default());
            while let Some(cursor) = from {
                let is_first = cursor == Cursor::default();
                let chunk = self.store.snapshot(&cursor, PIECE);
                let (effects, is_last) = (chunk.effects, chunk.next.is_none());
                from = chunk.next;
                self.stamp = self.stamp.next();
                let stamp = self.stamp;
                let loading = standby.ask(|done| StandbyMsg::Load { stamp, effects, is_first, is_last, done });
                match loading.no_timeout().await {
                    Ok(()) => {}
                    Err(AskError::NoReply) => return Err(deposed()),
                    Err(_) => continue 'standby,
                }
            }
            self.bond(standby);
            return Ok(());
        }
    }

    /// Pulls everything from the standby that an earlier primary left.
    async fn take_over(&mut self, longest_value: usize) -> Result<(), ExitReason> {
        let term = self.stamp.term;
        let standby = self.pair.standby.filled().await?;
        let mut from = Cursor::default();
        loop {
            let cursor = from;
            match standby.ask(|done| StandbyMsg::Pull { term, from: cursor, done }).no_timeout().await {
                Ok(Some(chunk)) => {
                    chunk.effects.iter().for_each(|effect| self.store.replay(effect));
                    match chunk.next {
                        Some(next) => from = next,
                        None => {
                            self.bond(standby);
                            return Ok(());
                        }
                    }
                }
                Err(AskError::NoReply) => return Err(deposed()),
                Ok(None) | Err(_) => {
                    // Both members ended at once, and nobody has the data. Half of it would be worse than none.
                    self.pair.note_loss();
                    self.store = Store::new(longest_value);
                    return Ok(());
                }
            }
        }
    }

    /// The standby has all that the store holds.
    fn bond(&mut self, standby: Address<StandbyMsg>) {
        self.standby = Some(standby);
        self.lane.monitor(standby, |down| ShardMsg::StandbyEnded(down.id));
        self.pair.transition_to_redundant();
    }
}

fn deposed() -> ExitReason {
    ExitReason::error("the standby follows a newer primary")
}

#[cfg(test)]
mod tests;
