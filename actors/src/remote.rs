//! What lets messages cross to another node: how they are encoded, and how the addresses and reply ports in them are
//! re-based at the border.
//!
//! Owns: [`Schema`] (what is known of a message type), the registry of schemas, and the [`Border`] through which an
//! address or a port passes while the message around it is encoded or decoded. Knows no format and no link: `net` does.
//!
//! Any message that serde can take may travel. An address of a peer's lane can only be had through a bound that
//! registers its schema, so that a link always finds the schema of what it is given to send.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::fmt;

use erased_serde::{Deserializer as ErasedDeserializer, Serialize as ErasedSerialize};
use hashbrown::HashMap;
use parking_lot::RwLock;
use runtime::reply::{Answerer, NoAnswer};
use runtime::{Id, mailbox::NotAMailbox};
use rustc_hash::FxBuildHasher;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::Address;
use crate::error::SendError;
use crate::reply::{Port, RemotePort, Reply};

/// A message that may travel to another node.
pub trait Remote: Serialize + DeserializeOwned + Send + 'static {}

impl<M: Serialize + DeserializeOwned + Send + 'static> Remote for M {}

/// What is known of a type of messages that may travel.
pub struct Schema {
    /// The type.
    pub type_id: fn() -> TypeId,
    /// Its name.
    pub name: fn() -> &'static str,
    /// The message, as serde takes it; `None` where it is of another type.
    pub encode: fn(&(dyn Any + Send)) -> Option<&dyn ErasedSerialize>,
    /// Reads a message.
    pub decode: Decode,
    /// Gives a message that was read to a local lane.
    pub deliver: fn(Id, Box<dyn Any + Send>) -> Result<(), DeliverError>,
}

type Decode = fn(&mut dyn ErasedDeserializer<'_>) -> Result<Box<dyn Any + Send>, erased_serde::Error>;

/// Why a message from another node did not reach its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliverError {
    /// The lane is gone.
    NoProc,
    /// Its mailbox is full.
    Full,
    /// It takes messages of another type.
    OtherType,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", (self.name)())
    }
}

struct SchemaOf<M>(M);

impl<M: Remote> SchemaOf<M> {
    const SCHEMA: &'static Schema = &Schema {
        type_id: TypeId::of::<M>,
        name: type_name::<M>,
        encode: |message| message.downcast_ref::<M>().map(|message| message as &dyn ErasedSerialize),
        decode: |from| Ok(Box::new(erased_serde::deserialize::<M>(from)?)),
        deliver: |id, message| {
            let Ok(message) = message.downcast::<M>() else { return Err(DeliverError::OtherType) };
            match Address::<M>::of(id) {
                Ok(address) => address.try_send(*message).map_err(|error| match error {
                    SendError::Full(_) => DeliverError::Full,
                    _ => DeliverError::NoProc,
                }),
                Err(NotAMailbox::OtherType { .. }) => Err(DeliverError::OtherType),
                Err(_) => Err(DeliverError::NoProc),
            }
        },
    };
}

static SCHEMAS: RwLock<HashMap<TypeId, &'static Schema, FxBuildHasher>> =
    RwLock::new(HashMap::with_hasher(FxBuildHasher));

/// The schema of a type, registered from now on.
pub fn schema_of<M: Remote>() -> &'static Schema {
    let schema = SchemaOf::<M>::SCHEMA;
    if !SCHEMAS.read().contains_key(&TypeId::of::<M>()) {
        SCHEMAS.write().insert(TypeId::of::<M>(), schema);
    }
    schema
}

/// The schema of a message, where its type is registered.
pub fn schema_for(message: &(dyn Any + Send)) -> Option<&'static Schema> {
    SCHEMAS.read().get(&message.type_id()).copied()
}

/// The address of a lane of a peer node; `None` for ids that are not a peer's. That the lane takes `M` is checked
/// there, message by message.
pub fn peer_address<M: Remote>(id: Id) -> Option<Address<M>> {
    schema_of::<M>();
    Address::of_peer(id)
}

/// What an address or a port passes through on its way between this node and a peer, while a message is encoded or
/// decoded: one link's books.
pub trait Border {
    /// Enters a local lane as exported to the peer, or finds how a lane of a peer is called there.
    ///
    /// # Errors
    /// The id cannot travel; in words.
    fn export(&mut self, id: Id, schema: &'static Schema) -> Result<Box<dyn ErasedSerialize>, String>;

    /// Reads what [`Border::export`] wrote on the other side, as an id of this side.
    ///
    /// # Errors
    /// It is malformed, or no more peers can be told apart.
    fn import(&mut self, from: &mut dyn ErasedDeserializer<'_>) -> Result<Id, erased_serde::Error>;

    /// Enters a port whose answer will come from the peer: its number.
    ///
    /// # Errors
    /// Too many stand open; in words.
    fn export_reply(&mut self, port: Box<dyn PendingReply>) -> Result<u64, String>;

    /// The way back for the answer to the peer's port of this number.
    ///
    /// # Errors
    /// The number is not one that the peer may use here; in words.
    fn import_reply(&mut self, number: u64) -> Result<Box<dyn ReplyRoute>, String>;
}

/// A local port whose answer comes from a peer.
pub trait PendingReply: Send {
    /// Reads the answer and passes it on; where it cannot be read, the asker hears that there is none.
    ///
    /// # Errors
    /// What was wrong with it.
    fn answer(self: Box<Self>, from: &mut dyn ErasedDeserializer<'_>) -> Result<(), erased_serde::Error>;

    /// Says that there will be no answer.
    fn fail(self: Box<Self>, why: NoAnswer);
}

/// The way of an answer back to a peer. Dropped unused, it tells nothing: [`Reply`] sees to that.
pub trait ReplyRoute: Send {
    /// Sends the answer.
    fn answer(self: Box<Self>, value: &dyn ErasedSerialize);

    /// Says that there will be no answer.
    fn refuse(self: Box<Self>, why: NoAnswer);
}

struct Pending<T>(Answerer<T>);

impl<T: DeserializeOwned + Send> PendingReply for Pending<T> {
    fn answer(self: Box<Self>, from: &mut dyn ErasedDeserializer<'_>) -> Result<(), erased_serde::Error> {
        match erased_serde::deserialize::<T>(from) {
            Ok(value) => {
                // Whoever asked may have left.
                let _ = self.0.answer(value);
                Ok(())
            }
            Err(error) => {
                self.0.refuse(NoAnswer::Dropped);
                Err(error)
            }
        }
    }

    fn fail(self: Box<Self>, why: NoAnswer) {
        self.0.refuse(why);
    }
}

thread_local! {
    static BORDER: RefCell<Option<Box<dyn Border>>> = const { RefCell::new(None) };
}

/// Runs `f`, which encodes or decodes one message, with all that it holds passing through `border`; gives the border
/// back with the result. Within, another message may cross another border, as an answer does that is passed on at once.
pub fn with_border<B: Border + 'static, R>(border: B, f: impl FnOnce() -> R) -> (R, Box<dyn Border>) {
    /// Puts the border of before back, also where `f` panics.
    struct Guard(Option<Box<dyn Border>>);
    impl Guard {
        fn put_back(&mut self) -> Option<Box<dyn Border>> {
            BORDER.replace(self.0.take())
        }
    }
    impl Drop for Guard {
        fn drop(&mut self) {
            drop(self.put_back());
        }
    }
    let mut guard = Guard(BORDER.replace(Some(Box::new(border))));
    let result = f();
    let border = guard.put_back().unwrap_or_else(|| unreachable!("whoever crosses within puts it back"));
    std::mem::forget(guard);
    (result, border)
}

/// The word for addresses and ports that are encoded where no link is.
const NO_BORDER: &str = "addresses and reply ports travel only in messages to other nodes";

fn at_border<R>(f: impl FnOnce(&mut dyn Border) -> R) -> Option<R> {
    BORDER.with_borrow_mut(|border| border.as_mut().map(|border| f(&mut **border)))
}

impl<M: Remote> Serialize for Address<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match at_border(|border| border.export(self.id(), schema_of::<M>())) {
            Some(Ok(wire)) => wire.serialize(serializer),
            Some(Err(why)) => Err(S::Error::custom(why)),
            None => Err(S::Error::custom(NO_BORDER)),
        }
    }
}

impl<'de, M: Remote> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut erased = <dyn ErasedDeserializer<'_>>::erase(deserializer);
        let id = match at_border(|border| border.import(&mut erased)) {
            Some(Ok(id)) => id,
            Some(Err(error)) => return Err(D::Error::custom(error)),
            None => return Err(D::Error::custom(NO_BORDER)),
        };
        if let Some(address) = peer_address(id) {
            return Ok(address);
        }
        // One of our own lanes came back. It may be gone, which shows when it is used; of another type it must not be.
        match Address::of(id) {
            Ok(address) => Ok(address),
            Err(NotAMailbox::OtherType { takes }) => {
                Err(D::Error::custom(format_args!("the address is of a lane that takes {takes}")))
            }
            Err(_) => Address::of_gone(id).ok_or_else(|| D::Error::custom(format_args!("there never was a lane {id}"))),
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Serialize for Reply<T> {
    /// Moves the port to the other node: this end is used up by it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let port = match self.port.take() {
            Some(Port::Local(answerer)) => Box::new(Pending(answerer)) as Box<dyn PendingReply>,
            Some(Port::Remote(port)) => Box::new(Forward::<T> { route: Some(port.route), value: |value| value }),
            None => return Err(S::Error::custom("the reply port is used up")),
        };
        match at_border(|border| border.export_reply(port)) {
            Some(Ok(number)) => number.serialize(serializer),
            Some(Err(why)) => Err(S::Error::custom(why)),
            None => Err(S::Error::custom(NO_BORDER)),
        }
    }
}

/// A port of a third node's: the answer passes through here.
struct Forward<T> {
    route: Option<Box<dyn ReplyRoute>>,
    value: fn(&T) -> &dyn ErasedSerialize,
}

impl<T: DeserializeOwned> PendingReply for Forward<T> {
    fn answer(mut self: Box<Self>, from: &mut dyn ErasedDeserializer<'_>) -> Result<(), erased_serde::Error> {
        let value = erased_serde::deserialize::<T>(from);
        match (self.route.take(), value) {
            (Some(route), Ok(value)) => route.answer((self.value)(&value)),
            (Some(route), Err(error)) => {
                route.refuse(NoAnswer::Dropped);
                return Err(error);
            }
            (None, _) => {}
        }
        Ok(())
    }

    fn fail(mut self: Box<Self>, why: NoAnswer) {
        if let Some(route) = self.route.take() {
            route.refuse(why);
        }
    }
}

impl<'de, T: Serialize + DeserializeOwned + Send + 'static> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        match at_border(|border| border.import_reply(number)) {
            Some(Ok(route)) => {
                Ok(Reply { port: Some(Port::Remote(Box::new(RemotePort { route, encode: |value| value }))).into() })
            }
            Some(Err(why)) => Err(D::Error::custom(why)),
            None => Err(D::Error::custom(NO_BORDER)),
        }
    }
}
