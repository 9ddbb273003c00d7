//! Notices of death that a worker keeps for a moment, so that those for one watcher come to it together.
//!
//! Where many lanes are killed, as when a supervisor ends, each death would have a step of its own at the watcher's word,
//! which two workers would take from each other; and the watcher would be given a turn for each, or find them when all are
//! dead and nothing of them is in a cache any more. So the worker keeps them while it does nothing else than to end lanes
//! that were killed, and pushes them as one before it does something else (`killed.rs`): at the latest when it looks at what
//! comes from outside, or when they have been kept for a tenth of a millisecond.
//!
//! Owns: [`Notices`], one a worker. What a node holds is opaque here: it is a number, and the caller links it.
//!
//! # Invariants
//! 1. The worker alone adds, and all that it has added is for one watcher until it is taken.
//! 2. Whoever takes the chain has it, by one exchange. So each notice goes out once, by its worker or by the robber of one
//!    that is stuck in a destructor (`watchdog.rs`).
//! 3. `watcher` changes only when nobody is about to read it: a robber does so under the lock, and a worker that finds its
//!    chain gone waits for that.
//!
//! Model: `model/notices.rs`.

use crate::shim::{AtomicU32, AtomicU64, Mutex, Ordering};

/// What a worker keeps.
#[derive(Debug)]
pub(crate) struct Notices {
    /// The node added last, and the first one in the upper half; 0 where there is none.
    chain: AtomicU64,
    /// The bits of whom they are for.
    watcher: AtomicU64,
    /// How many the worker has added since it last took them.
    count: AtomicU32,
    robbing: Mutex<()>,
}

/// Nodes that were kept, each of which names the one that was added before it; who has this has them.
#[derive(Debug)]
#[must_use]
pub(crate) struct Kept {
    pub(crate) watcher: u64,
    pub(crate) last: u32,
    pub(crate) first: u32,
}

impl Kept {
    fn of(chain: u64, watcher: &AtomicU64) -> Kept {
        // ORDER: Relaxed: written before the chain was.
        Kept { watcher: watcher.load(Ordering::Relaxed), last: chain as u32, first: (chain >> 32) as u32 }
    }
}

impl Notices {
    pub(crate) fn new() -> Notices {
        Notices {
            chain: AtomicU64::new(0),
            watcher: AtomicU64::new(0),
            count: AtomicU32::new(0),
            robbing: Mutex::new(()),
        }
    }

    /// How many the worker keeps, as far as nobody has robbed it.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        // ORDER: Relaxed, here and below: the worker's own.
        self.count.load(Ordering::Relaxed)
    }

    /// Whether the worker may add one for this watcher.
    #[inline]
    pub(crate) fn may_be_for(&self, watcher: u64) -> bool {
        self.count() == 0 || self.watcher.load(Ordering::Relaxed) == watcher
    }

    /// Adds a notice; `link` is told after which node it comes. For the worker, if [it may](Notices::may_be_for).
    #[inline]
    pub(crate) fn add(&self, watcher: u64, node: u32, link: impl FnOnce(u32)) {
        debug_assert!(self.may_be_for(watcher), "invariant 1");
        let count = self.count();
        let mut chain = 0;
        if count != 0 {
            chain = self.exchange();
            if chain == 0 {
                self.wait_for_robber();
            }
        }
        self.count.store(count + 1, Ordering::Relaxed);
        self.watcher.store(watcher, Ordering::Relaxed);
        link(chain as u32);
        let first = if chain == 0 { node } else { (chain >> 32) as u32 };
        // ORDER: Release publishes the nodes to a robber. A plain store is right: a robber that came since the exchange has
        // found nothing, and left that.
        self.chain.store(u64::from(first) << 32 | u64::from(node), Ordering::Release);
    }

    /// Takes all there are. For the worker.
    pub(crate) fn take(&self) -> Option<Kept> {
        if self.count() == 0 {
            return None;
        }
        self.count.store(0, Ordering::Relaxed);
        match self.exchange() {
            0 => {
                self.wait_for_robber();
                None
            }
            chain => Some(Kept::of(chain, &self.watcher)),
        }
    }

    /// Takes all there are from a worker that is stuck.
    pub(crate) fn rob(&self) -> Option<Kept> {
        let _robbing = self.robbing.lock();
        match self.exchange() {
            0 => None,
            chain => Some(Kept::of(chain, &self.watcher)),
        }
    }

    #[inline]
    fn exchange(&self) -> u64 {
        // ORDER: Acquire pairs with the Release in `add`.
        self.chain.swap(0, Ordering::Acquire)
    }

    /// Invariant 3.
    #[cold]
    fn wait_for_robber(&self) {
        drop(self.robbing.lock());
    }
}
