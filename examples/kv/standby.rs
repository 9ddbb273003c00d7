//! The standby of a shard: a copy of its primary's data that is complete before any client hears of a write.
//!
//! Owns: the copy, and which messages of which primary it takes. It never acts of itself: a primary loads it, feeds it,
//! and, if it was started after another's end, pulls everything from it.
//!
//! # Invariants
//! 1. A primary numbers what it sends, from 1 on in its own term. The standby takes number n + 1 after n, of the newest
//!    term that it has heard of, and refuses the rest: what an ended primary left behind changes nothing.
//! 2. `complete` is true exactly while the copy equals what its primary's log says. Only a complete copy may be pulled.

use std::sync::Arc;

use laneway::{ExitReason, Lane, Reply as Port};

use crate::pair::Pair;
use crate::store::{Chunk, Cursor, Effect, Store};

/// Where in the stream of a primary a message stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    /// Of the primary; a later one has a higher term.
    pub(crate) term: u64,
    /// Of the message in that term; 0 is before the first.
    pub(crate) number: u64,
}

impl Stamp {
    /// The stamp of the next message.
    pub(crate) fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }
}

/// What a standby is told. A port that is dropped says that the message was refused, and nothing was changed.
#[derive(Debug)]
pub(crate) enum StandbyMsg {
    /// A piece of all that the primary holds. The first one begins with [`Effect::Clear`].
    Load { stamp: Stamp, effects: Vec<Effect>, is_first: bool, is_last: bool, done: Port<()> },
    /// What a run of commands changed. Answered with the list, emptied, so that it can be used again.
    Apply { stamp: Stamp, effects: Vec<Effect>, done: Port<Vec<Effect>> },
    /// A new primary of this term asks for all that there is, a piece at a time. `None`: this copy is not complete.
    Pull { term: u64, from: Cursor, done: Port<Option<Chunk>> },
}

/// Bytes of keys and values in one piece of a snapshot.
pub(crate) const PIECE: usize = 256 << 10;

/// The lane of a standby.
pub(crate) async fn standby(mut lane: Lane<StandbyMsg>, pair: Arc<Pair>, longest_value: usize) -> ExitReason {
    pair.note_standby();
    let mut copy = Replica { store: Store::new(longest_value), heard: Stamp::default(), complete: false };
    while let Some(message) = lane.recv().await {
        copy.handle(message);
    }
    lane.stop_reason().unwrap_or(ExitReason::Normal)
}

#[derive(Debug)]
struct Replica {
    store: Store,
    heard: Stamp,
    complete: bool,
}

impl Replica {
    fn handle(&mut self, message: StandbyMsg) {
        // An asker that has gone needs no answer.
        match message {
            StandbyMsg::Load { stamp, effects, is_first, is_last, done } => {
                let fits = if is_first { stamp > self.heard } else { self.follows(stamp) && !self.complete };
                if fits {
                    self.replay(&effects);
                    (self.heard, self.complete) = (stamp, is_last);
                    _ = done.send(());
                }
            }
            StandbyMsg::Apply { stamp, mut effects, done } => {
                if self.follows(stamp) && self.complete {
                    self.replay(&effects);
                    self.heard = stamp;
                    effects.clear();
                    _ = done.send(effects);
                }
            }
            StandbyMsg::Pull { term, from, done } => {
                if term >= self.heard.term {
                    self.heard = Stamp { term, number: 0 };
                    _ = done.send(self.complete.then(|| self.store.snapshot(&from, PIECE)));
                }
            }
        }
    }

    fn follows(&self, stamp: Stamp) -> bool {
        stamp == self.heard.next()
    }

    fn replay(&mut self, effects: &[Effect]) {
        effects.iter().for_each(|effect| self.store.replay(effect));
    }
}

#[cfg(test)]
mod tests {
    use laneway::prelude::*;

    use super::*;
    use crate::command::Read;

    fn set(key: &'static str) -> Effect {
        Effect::Set { key: key.into(), value: "v".into(), expires_at: None }
    }

    /// Runs `scenario` against a standby in a lane of its own.
    fn with_standby<T>(scenario: impl AsyncFnOnce(Address<StandbyMsg>) -> T) -> T {
        let runtime = Runtime::builder().workers(1).virtual_time(1).build().unwrap();
        runtime.block_on(async {
            let pair = Arc::new(Pair::new());
            let address = laneway::spawn(async move |lane| standby(lane, pair, 100).await).unwrap();
            scenario(address).await
        })
    }

    async fn load(to: Address<StandbyMsg>, stamp: Stamp, effects: Vec<Effect>) -> Result<(), AskError> {
        to.ask(|done| StandbyMsg::Load { stamp, effects, is_first: true, is_last: true, done }).await
    }

    async fn apply(to: Address<StandbyMsg>, stamp: Stamp, effects: Vec<Effect>) -> Result<Vec<Effect>, AskError> {
        to.ask(|done| StandbyMsg::Apply { stamp, effects, done }).await
    }

    #[test]
    fn messages_are_taken_in_order_once_and_of_the_newest_term_only() {
        with_standby(async |to| {
            let at = |term, number| Stamp { term, number };
            assert_eq!(apply(to, at(1, 1), vec![set("a")]).await, Err(AskError::NoReply), "before it is loaded");
            assert_eq!(load(to, at(1, 1), vec![Effect::Clear]).await, Ok(()));
            assert_eq!(apply(to, at(1, 2), vec![set("a")]).await, Ok(vec![]));
            assert_eq!(apply(to, at(1, 2), vec![set("b")]).await, Err(AskError::NoReply), "twice");
            assert_eq!(apply(to, at(1, 4), vec![set("b")]).await, Err(AskError::NoReply), "one is missing");
            let pull = |term| to.ask(move |done| StandbyMsg::Pull { term, from: Cursor::default(), done });
            let chunk = pull(2).await.unwrap().expect("the copy is complete");
            assert_eq!(chunk.effects, [Effect::Clear, set("a")]);
            assert_eq!(apply(to, at(1, 3), vec![set("b")]).await, Err(AskError::NoReply), "of a primary that ended");
            assert_eq!(load(to, at(1, 3), vec![Effect::Clear]).await, Err(AskError::NoReply), "of one that ended");
            assert_eq!(apply(to, at(2, 1), vec![set("b")]).await, Ok(vec![]));
        });
    }

    #[test]
    fn a_copy_that_is_half_loaded_is_not_given_away() {
        with_standby(async |to| {
            let piece = |number, is_first, is_last| {
                let stamp = Stamp { term: 1, number };
                to.ask(move |done| StandbyMsg::Load { stamp, effects: vec![set("a")], is_first, is_last, done })
            };
            let pull = || to.ask(|done| StandbyMsg::Pull { term: 1, from: Cursor::default(), done });
            piece(1, true, false).await.unwrap();
            assert!(pull().await.unwrap().is_none());
            piece(2, true, false).await.unwrap();
            piece(3, false, true).await.unwrap();
            assert!(pull().await.unwrap().is_some());
        });
    }

    #[test]
    fn a_replica_keeps_keys_whose_time_has_come_until_it_is_told() {
        let mut copy = Replica { store: Store::new(100), heard: Stamp::default(), complete: true };
        copy.replay(&[Effect::Set { key: "k".into(), value: "v".into(), expires_at: Some(5) }]);
        assert_eq!(copy.store.read(9, &Read::Dbsize), crate::resp::Reply::Integer(1));
    }
}
