//! Messages to bytes and back, at the border of one link.
//!
//! Owns: what happens to the addresses and reply ports in a message on its way, and the promise that each port gets
//! exactly one word: an answer, a refusal, or the end of the link. Runs code of the user's, and so holds no lock.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actors::remote::{Border, DeliverError, PendingReply, ReplyRoute, Schema, schema_for, with_border};
use erased_serde::{Deserializer as ErasedDeserializer, Serialize as ErasedSerialize};
use parking_lot::Mutex;
use runtime::Id;
use runtime::peer::PeerError as RouteError;
use runtime::reply::NoAnswer;

use super::{Link, count};
use crate::codec::{self, Limits};
use crate::link::frame::{Asks, Frame, RefusedTell, WireAskError};
use crate::peer::{Peer, PeerError};
use crate::schema;
use crate::wire_id::{WireId, WireNode, WireSlot};

type Ports = Rc<RefCell<Vec<Box<dyn PendingReply>>>>;

/// One message on its way over a link.
struct Crossing {
    link: Arc<Link>,
    ports: Direction,
}

/// What becomes of reply ports.
enum Direction {
    /// They leave with a message.
    Out(Ports),
    /// They arrived with a message, if it said that it has any.
    In(Option<Arc<Arrived>>),
    /// They do not travel in answers.
    Answer,
}

impl Border for Crossing {
    fn export(&mut self, id: Id, schema: &'static Schema) -> Result<Box<dyn ErasedSerialize>, String> {
        let wire = self.link.node.wire(id, self.link.peer).map_err(|error| error.to_string())?;
        if wire.node == WireNode::Sender {
            let entered = self.link.exports.lock().enter(id, schema);
            entered.map_err(|_full| format!("too many lanes are open to {}", self.link.identity))?;
        }
        Ok(Box::new(wire))
    }

    fn import(&mut self, from: &mut dyn ErasedDeserializer<'_>) -> Result<Id, erased_serde::Error> {
        let wire = erased_serde::deserialize::<WireId>(from)?;
        self.link.import(&wire).map_err(serde::de::Error::custom)
    }

    fn export_reply(&mut self, port: Box<dyn PendingReply>) -> Result<u64, String> {
        let refused = match &self.ports {
            Direction::Out(ports) => {
                let count = ports.borrow().len();
                if count < usize::from(u16::MAX) && self.link.has_room_for_asks(count + 1) {
                    ports.borrow_mut().push(port);
                    return Ok(count as u64);
                }
                format!("too many asks are open to {}", self.link.identity)
            }
            Direction::In(_) | Direction::Answer => "a reply port travels in messages only, not in answers".to_owned(),
        };
        port.fail(NoAnswer::Dropped);
        Err(refused)
    }

    fn import_reply(&mut self, number: u64) -> Result<Box<dyn ReplyRoute>, String> {
        match &self.ports {
            Direction::In(Some(arrived)) => match arrived.claim(number) {
                true => {
                    Ok(Box::new(Way { of: arrived.clone(), ask: arrived.asks.first.wrapping_add(number), used: false }))
                }
                false => Err("a reply port that was not announced, or twice".to_owned()),
            },
            _ => Err("a reply port where none may be".to_owned()),
        }
    }
}

impl Link {
    /// The id that the peer means. One of this node's that the peer was never given leads nowhere.
    pub(super) fn import(&self, wire: &WireId) -> Result<Id, PeerError> {
        let id = self.node.import(wire, self.peer)?;
        if id.namespace() == self.node.lanes && self.exports.lock().find(id).is_none() {
            return Ok(wire.slot.id(Peer::LOST.namespace()));
        }
        Ok(id)
    }
}

/// Encodes a message and queues it for the peer.
pub(super) fn send(link: &Arc<Link>, to: Id, message: &(dyn Any + Send)) -> Result<(), RouteError> {
    let schema = schema_for(message).ok_or(RouteError::Unsendable)?;
    let ports = Ports::default();
    let crossing = Crossing { link: link.clone(), ports: Direction::Out(ports.clone()) };
    let encode = || codec::encode((schema.encode)(message)?, link.max_body).ok();
    let (body, _crossed) = with_border(crossing, encode);
    let ports = ports.take();
    let Some(body) = body else {
        ports.into_iter().for_each(|port| port.fail(NoAnswer::Dropped));
        return Err(RouteError::Unsendable);
    };
    link.post(to, schema::fingerprint_of(schema), ports, body).map_err(|ports| {
        ports.into_iter().for_each(|port| port.fail(NoAnswer::NodeDown));
        RouteError::NodeDown
    })
}

/// Takes a message from the peer to its lane, or tells the peer why not.
pub(crate) fn receive(link: &Arc<Link>, to: WireSlot, fingerprint: u64, asks: Asks, body: &[u8]) {
    let arrived = (asks.count > 0)
        .then(|| Arc::new(Arrived { link: link.clone(), asks, fate: Mutex::new(Fate::Open(Held::default())) }));
    match take_in(link, to, fingerprint, arrived.as_ref(), body) {
        Ok(()) => {
            count(&link.counters.received);
            if let Some(arrived) = arrived {
                arrived.delivered();
            }
        }
        Err(why) => {
            count(&link.counters.refused_here);
            link.say(Frame::Refused { to, asks, why });
        }
    }
}

fn take_in(
    link: &Arc<Link>,
    to: WireSlot,
    fingerprint: u64,
    arrived: Option<&Arc<Arrived>>,
    body: &[u8],
) -> Result<(), RefusedTell> {
    let id = to.id(link.node.lanes);
    let export = link.exports.lock().find(id).ok_or(RefusedTell::NotExported)?;
    if export.fingerprint != fingerprint {
        return Err(RefusedTell::SchemaMismatch);
    }
    let crossing = Crossing { link: link.clone(), ports: Direction::In(arrived.cloned()) };
    let decode = || codec::decode_with(body, Limits::default(), |from| (export.schema.decode)(from));
    let (message, _crossed) = with_border(crossing, decode);
    let message = message.map_err(|_| RefusedTell::Undecodable)?;
    if arrived.is_some_and(|arrived| !arrived.is_whole()) {
        return Err(RefusedTell::Undecodable);
    }
    (export.schema.deliver)(id, message).map_err(|error| match error {
        DeliverError::Full => RefusedTell::Full,
        DeliverError::OtherType => RefusedTell::SchemaMismatch,
        _ => RefusedTell::NoProc,
    })
}

/// Takes the answer to an ask from the peer to who asked.
pub(crate) fn receive_reply(link: &Arc<Link>, ask: u64, body: &[u8]) {
    let Some(port) = link.take_ask(ask) else { return };
    let crossing = Crossing { link: link.clone(), ports: Direction::Answer };
    let (answered, _crossed) =
        with_border(crossing, || codec::decode_with(body, Limits::default(), |from| port.answer(from)));
    if answered.is_err() {
        // Whoever asked has been told; here it is only counted.
        link.counters.refused_here.fetch_add(1, Ordering::Relaxed);
    }
}

/// The ports that arrived with one message. Whether the message reaches its lane decides what the peer hears of them.
struct Arrived {
    link: Arc<Link>,
    asks: Asks,
    fate: Mutex<Fate>,
}

enum Fate {
    /// The message is not delivered yet.
    Open(Held),
    /// It is: each port speaks for itself.
    Delivered,
}

#[derive(Default)]
struct Held {
    claimed: BTreeSet<u64>,
    /// What ports had to say meanwhile.
    words: Vec<(u64, WireAskError)>,
}

impl Arrived {
    fn claim(&self, number: u64) -> bool {
        match &mut *self.fate.lock() {
            Fate::Open(held) => number < u64::from(self.asks.count) && held.claimed.insert(number),
            Fate::Delivered => false,
        }
    }

    /// Whether the message held every port that it announced.
    fn is_whole(&self) -> bool {
        matches!(&*self.fate.lock(), Fate::Open(held) if held.claimed.len() == usize::from(self.asks.count))
    }

    fn delivered(&self) {
        let Fate::Open(held) = std::mem::replace(&mut *self.fate.lock(), Fate::Delivered) else { return };
        for (ask, error) in held.words {
            self.link.say(Frame::ReplyErr { ask, error });
        }
    }

    /// Says that there is no answer. Where the message is not delivered, the peer hears of all its ports at once.
    fn refuse(&self, ask: u64, error: WireAskError) {
        if let Fate::Open(held) = &mut *self.fate.lock() {
            held.words.push((ask, error));
            return;
        }
        self.link.say(Frame::ReplyErr { ask, error });
    }
}

/// The way back to one ask of the peer's.
struct Way {
    of: Arc<Arrived>,
    ask: u64,
    used: bool,
}

impl ReplyRoute for Way {
    fn answer(mut self: Box<Self>, value: &dyn ErasedSerialize) {
        let link = &self.of.link;
        let crossing = Crossing { link: link.clone(), ports: Direction::Answer };
        let (body, _crossed) = with_border(crossing, || codec::encode(value, link.max_body));
        match body {
            Ok(body) => link.say_reply(self.ask, body),
            Err(_) => link.say(Frame::ReplyErr { ask: self.ask, error: WireAskError::Unsendable }),
        }
        self.used = true;
    }

    fn refuse(mut self: Box<Self>, why: NoAnswer) {
        self.used = true;
        self.of.refuse(
            self.ask,
            match why {
                NoAnswer::Ended(reason) => WireAskError::Ended(reason),
                NoAnswer::NodeDown => WireAskError::NodeDown,
                _ => WireAskError::Dropped,
            },
        );
    }
}

impl Drop for Way {
    /// Where encoding the answer panicked.
    fn drop(&mut self) {
        if !self.used {
            self.of.refuse(self.ask, WireAskError::Dropped);
        }
    }
}
