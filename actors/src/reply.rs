//! [`Reply<T>`]: the port of an ask, which always answers.

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;

use runtime::reply::{Answerer, NoAnswer};
use runtime::wait_graph;

use crate::remote::ReplyRoute;

/// The port of an ask. It may be handed on, to be answered later and by another lane; dropped, it tells the asker that
/// there will be no answer, and where a lane's end dropped it, why that lane ended.
pub struct Reply<T> {
    // In a cell, since a reply that is serialized moves on to the other node.
    pub(crate) port: Cell<Option<Port<T>>>,
}

pub(crate) enum Port<T> {
    Local(Answerer<T>),
    /// The asker is on another node. Boxed, so that all questions are smaller for it.
    Remote(Box<RemotePort<T>>),
}

pub(crate) struct RemotePort<T> {
    pub(crate) route: Box<dyn ReplyRoute>,
    pub(crate) encode: fn(&T) -> &dyn erased_serde::Serialize,
}

impl<T> RemotePort<T> {
    #[cold]
    fn answer(self, value: T) {
        wait_graph::hands_over_by::<T>();
        self.route.answer((self.encode)(&value));
    }
}

impl<T> Reply<T> {
    pub(crate) fn local(answerer: Answerer<T>) -> Reply<T> {
        Reply { port: Cell::new(Some(Port::Local(answerer))) }
    }

    /// Answers.
    ///
    /// # Errors
    /// Gives the value back where the asker is known not to wait any more.
    // Always: with it the whole way of an answer is part of the lane's own code.
    #[inline(always)]
    pub fn send(self, value: T) -> Result<(), T> {
        // Nothing is left to drop.
        match ManuallyDrop::new(self).port.take() {
            Some(Port::Local(answerer)) => answerer.answer(value),
            Some(Port::Remote(port)) => {
                port.answer(value);
                Ok(())
            }
            None => Err(value),
        }
    }

    /// Whether the asker still waits, as far as can be told without asking another node.
    pub fn is_awaited(&self) -> bool {
        let port = self.port.take();
        let awaited = match &port {
            Some(Port::Local(answerer)) => answerer.is_awaited(),
            Some(Port::Remote(_)) => true,
            None => false,
        };
        self.port.set(port);
        awaited
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(Port::Remote(port)) = self.port.take() {
            port.route.refuse(runtime::lane::ending().map_or(NoAnswer::Dropped, NoAnswer::Ended));
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply<{}>", std::any::type_name::<T>())
    }
}
