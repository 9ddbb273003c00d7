//! Memory for what the indices of lanes name: made once, used again, never freed.
//!
//! Owns: [`Pool`], and [`Lasting`], a lock's share in it. A lane's index may name a lock that is gone, as where a guard was
//! leaked; what it finds then is the same lock's remains or another lock, and by the number of its entry that it means
//! neither.
//!
//! # Invariants
//! 1. Nothing that was made is ever freed: what is given back is renewed, and its next owner's.

use std::sync::OnceLock;

use parking_lot::Mutex;

/// What is made at a time.
const BATCH: usize = 16;

/// What lies in a pool.
pub(crate) trait Pooled: Default + Sync + 'static {
    /// Where the free ones of its kind are.
    fn pool() -> &'static Pool<Self>;

    /// Its owner is gone: all that he and others noted of it by number is void.
    fn renew(&'static self);
}

/// The free ones of a kind.
pub(crate) struct Pool<C: 'static>(Mutex<Vec<&'static C>>);

impl<C: Pooled> Pool<C> {
    pub(crate) const fn new() -> Pool<C> {
        Pool(Mutex::new(Vec::new()))
    }

    fn take(&self) -> &'static C {
        if let Some(free) = self.0.lock().pop() {
            return free;
        }
        let batch: &'static [C] = Box::leak((0..BATCH).map(|_| C::default()).collect());
        let (first, others) = batch.split_first().expect("a batch is not empty");
        self.0.lock().extend(others);
        first
    }
}

/// One that is its owner's until he is dropped; taken from the pool when it is first wanted.
#[derive(Debug)]
pub(crate) struct Lasting<C: Pooled>(OnceLock<&'static C>);

impl<C: Pooled> Lasting<C> {
    pub(crate) const fn new() -> Lasting<C> {
        Lasting(OnceLock::new())
    }

    /// It, after `begin` where this is the first use.
    #[inline]
    pub(crate) fn get_or(&self, begin: impl FnOnce(&'static C)) -> &'static C {
        if let Some(core) = self.0.get() {
            return core;
        }
        self.0.get_or_init(|| {
            let core = C::pool().take();
            begin(core);
            core
        })
    }

    /// It, where it was used.
    pub(crate) fn get(&self) -> Option<&'static C> {
        self.0.get().copied()
    }
}

impl<C: Pooled> Drop for Lasting<C> {
    fn drop(&mut self) {
        if let Some(core) = self.0.take() {
            core.renew();
            C::pool().0.lock().push(core);
        }
    }
}
