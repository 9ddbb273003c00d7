//! What the changes of groups turn into, by the numbers of the lane's monitors on groups.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::group::Change;

/// Makes messages of the changes of a group.
pub(super) type MakeChange<M> = Box<dyn FnMut(Change) -> M + Send>;

/// The makers of a lane; one pointer in those that watch no group. They are the user's code: what is not needed any more is
/// given back, to be dropped elsewhere.
pub(super) struct Groups<M>(Option<Box<Makers<M>>>);

struct Makers<M> {
    by_number: HashMap<u64, MakeChange<M>, FxBuildHasher>,
}

impl<M> Default for Groups<M> {
    fn default() -> Groups<M> {
        Groups(None)
    }
}

impl<M> Groups<M> {
    /// Keeps a maker: the one that was kept for this number before.
    pub(super) fn insert(&mut self, number: u64, make: MakeChange<M>) -> Option<MakeChange<M>> {
        let makers = self.0.get_or_insert_with(|| Box::new(Makers { by_number: HashMap::default() }));
        makers.by_number.insert(number, make)
    }

    /// Takes a maker out.
    pub(super) fn remove(&mut self, number: u64) -> Option<MakeChange<M>> {
        self.0.as_mut()?.by_number.remove(&number)
    }
}
