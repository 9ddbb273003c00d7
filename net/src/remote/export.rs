//! Which local lanes are open to a peer.
//!
//! Owns: [`Exports`]. An id that comes from a peer is looked up here and nowhere else: what was never given to that
//! incarnation of it, by name or in a message, it can neither send to, nor watch, nor end.

use std::collections::BTreeMap;

use actors::remote::Schema;
use runtime::{Id, lane};

use crate::schema;

/// How many lanes may be open to one peer.
const MAX: usize = 65_536;
/// The number of entries at which those of dead lanes are first looked for.
const FIRST_SWEEP: usize = 1024;

/// The lanes that were given to one incarnation of a peer. They outlive its links: a link that comes back finds them.
#[derive(Debug)]
pub(crate) struct Exports {
    lanes: BTreeMap<Id, Export>,
    sweep_at: usize,
}

/// One lane that is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export {
    pub(crate) schema: &'static Schema,
    pub(crate) fingerprint: u64,
}

/// As many living lanes are open to the peer as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Default for Exports {
    fn default() -> Exports {
        Exports { lanes: BTreeMap::new(), sweep_at: FIRST_SWEEP }
    }
}

impl Exports {
    /// Opens a lane, which takes messages of this schema.
    pub(crate) fn enter(&mut self, id: Id, schema: &'static Schema) -> Result<(), Full> {
        if self.lanes.contains_key(&id) {
            return Ok(());
        }
        if self.lanes.len() >= self.sweep_at {
            // At twice what lived the last time, so that an entry costs a constant on the average.
            self.lanes.retain(|id, _| lane::is_alive(*id));
            self.sweep_at = (self.lanes.len() * 2).clamp(FIRST_SWEEP, MAX);
            if self.lanes.len() >= MAX {
                return Err(Full);
            }
        }
        self.lanes.insert(id, Export { schema, fingerprint: schema::fingerprint_of(schema) });
        Ok(())
    }

    pub(crate) fn find(&self, id: Id) -> Option<Export> {
        self.lanes.get(&id).copied()
    }
}
