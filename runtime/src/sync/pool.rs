//! Memory for what the indices of lanes name: made once, used again, never freed.
//!
//! Owns: [`Pool`], and [`Lasting`], a lock's share in it. A lane's index may name a lock that is gone, as where a guard was
//! leaked; what it finds then is the same lock's remains or another lock, and by the number of its entry that it means
//! neither.
//!
//! # Invariants
//! 1. Nothing that was made is ever freed: what is given back is renewed, and its next owner's.

use std::ptr;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::alloc;
use crate::slot::AtomicStatic;
use crate::wait_list::By;

/// What is made at a time.
const BATCH: usize = 16;

/// What lies in a pool.
pub(crate) trait Pooled: Default + Sync + 'static {
    /// Where the free ones of its kind are.
    fn pool() -> &'static Pool<Self>;

    /// Its owner is gone: all that he and others noted of it by number is void.
    fn renew(&'static self);

    /// How many holds of it are a lane's, those aside that its death left behind, and how many places in its line.
    fn had_by(&self, by: By) -> (usize, usize);
}

/// All of a kind.
pub(crate) struct Pool<C: 'static>(Mutex<Batches<C>>);

struct Batches<C: 'static> {
    free: Vec<&'static C>,
    all: Vec<&'static [C]>,
}

impl<C: Pooled> Pool<C> {
    pub(crate) const fn new() -> Pool<C> {
        Pool(Mutex::new(Batches { free: Vec::new(), all: Vec::new() }))
    }

    pub(crate) fn take(&self) -> &'static C {
        let mut batches = self.0.lock();
        if let Some(free) = batches.free.pop() {
            return free;
        }
        // They stay, whichever lane it was that needed the first.
        alloc::uncharged(|| {
            let batch: &'static [C] = Box::leak((0..BATCH).map(|_| C::default()).collect());
            let (first, others) = batch.split_first().expect("a batch is not empty");
            batches.all.push(batch);
            batches.free.extend(others);
            first
        })
    }

    fn give_back(&self, core: &'static C) {
        let mut batches = self.0.lock();
        alloc::uncharged(|| batches.free.push(core));
    }

    /// How much of all there is a lane has, and in how many lines it waits.
    fn had_by(&self, by: By) -> (usize, usize) {
        let all = self.0.lock().all.clone();
        let had = all.into_iter().flatten().map(|core| core.had_by(by));
        had.fold((0, 0), |(locks, waits), (more_locks, more_waits)| (locks + more_locks, waits + more_waits))
    }
}

/// How much of all that there is of some kind a lane has, and in how many lines it waits.
pub(crate) fn had_by<C: Pooled>(by: By) -> (usize, usize) {
    C::pool().had_by(by)
}

/// One that is its owner's until he is dropped; taken from the pool when it is first wanted.
#[derive(Debug)]
pub(crate) struct Lasting<C: Pooled>(AtomicStatic<C>);

impl<C: Pooled> Lasting<C> {
    pub(crate) const fn new() -> Lasting<C> {
        Lasting(AtomicStatic::empty())
    }

    /// It, after `begin` where this is the first use.
    #[inline(always)]
    pub(crate) fn get_or(&self, begin: impl FnOnce(&'static C)) -> &'static C {
        match self.get() {
            Some(core) => core,
            None => self.begin(begin),
        }
    }

    #[cold]
    #[inline(never)]
    fn begin(&self, begin: impl FnOnce(&'static C)) -> &'static C {
        let core = C::pool().take();
        begin(core);
        let first = self.0.store_first(core);
        if !ptr::eq(first, core) {
            // Somebody else was here at the same time.
            give_back(core);
        }
        first
    }

    /// It, where it was used.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&'static C> {
        // ORDER: Acquire: with it comes what `begin` did.
        self.0.load(Ordering::Acquire)
    }
}

impl<C: Pooled> Drop for Lasting<C> {
    fn drop(&mut self) {
        if let Some(core) = self.get() {
            give_back(core);
        }
    }
}

/// Its owner has no use for it any more.
pub(crate) fn give_back<C: Pooled>(core: &'static C) {
    core.renew();
    C::pool().give_back(core);
}
