//! The accounts of one run: what was made must have come to one end, and who waits must wait for somebody who lives.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use laneway_runtime::fault::{Ended, FaultPlan, Spawned};
use laneway_runtime::mailbox::MailboxId;
use laneway_runtime::reply::{Answer, Answerer};
use laneway_runtime::{ExitReason, Id, Metrics, MonitorRef, lane};

/// What the lanes of a run send to each other.
pub(crate) enum Msg {
    Number(Token),
    /// Gives the lane a little more to do.
    Poke(Token),
    /// The lane receives nothing until this is answered.
    Nap(Token, Answer<()>),
    /// To be answered with one more.
    Ask(Token, u64, Answerer<u64>),
    /// To be answered with what the lane still waits for.
    Report(Token, Answerer<Waits>),
}

/// What a lane waits for that is not up to itself.
pub(crate) struct Waits {
    pub(crate) monitors: Vec<(MonitorRef, Id)>,
    pub(crate) joins: Vec<Id>,
}

/// A generator of small numbers (splitmix64).
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

#[derive(Default)]
pub(crate) struct Book {
    made: AtomicU64,
    received: AtomicU64,
    handed_back: AtomicU64,
    /// Dropped by a sender that gave up or ended.
    withdrawn: AtomicU64,
    /// Dropped by the death of the lane to which it was sent.
    dropped: AtomicU64,
    /// Lanes that have yet to do something, and who waits until there is none.
    busy: Mutex<(usize, Option<Waker>)>,
    /// All that were ever spawned, dead or alive.
    lanes: Mutex<Vec<MailboxId<Msg>>>,
    /// Whether they may be linked, so that one is killed for another.
    pub(crate) links: bool,
    /// Those that somebody killed.
    killed: Mutex<BTreeSet<Id>>,
    failures: Mutex<Vec<String>>,
}

impl Book {
    pub(crate) fn new(links: bool) -> Arc<Book> {
        Arc::new(Book { links, ..Book::default() })
    }

    pub(crate) fn fail(&self, what: impl Into<String>) {
        self.failures.lock().unwrap().push(what.into());
    }

    pub(crate) fn note_lane(&self, lane: MailboxId<Msg>) {
        self.lanes.lock().unwrap().push(lane);
    }

    pub(crate) fn kill(&self, id: Id) {
        self.killed.lock().unwrap().insert(id);
        lane::kill(id);
    }

    pub(crate) fn lanes(&self) -> Vec<MailboxId<Msg>> {
        self.lanes.lock().unwrap().clone()
    }

    pub(crate) fn spawned(&self) -> usize {
        self.lanes.lock().unwrap().len()
    }

    /// Some lane, rather a young one.
    pub(crate) fn some_lane(&self, dice: &mut Dice) -> Option<MailboxId<Msg>> {
        let lanes = self.lanes.lock().unwrap();
        let count = lanes.len() as u64;
        let back = if dice.one_in(4) { dice.below(count.max(1)) } else { dice.below(count.clamp(1, 6)) };
        lanes.iter().rev().nth(back as usize).copied()
    }

    /// Ready once no lane has anything to do.
    pub(crate) async fn settled(&self) {
        poll_fn(|cx| {
            let mut busy = self.busy.lock().unwrap();
            if busy.0 == 0 {
                return Poll::Ready(());
            }
            busy.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy.lock().unwrap().0
    }

    /// Sees that no message is under way.
    pub(crate) fn check_messages(&self) {
        let ends = [&self.received, &self.handed_back, &self.withdrawn, &self.dropped];
        let ends = ends.map(|count| count.load(Relaxed));
        let made = self.made.load(Relaxed);
        if made != ends.iter().sum() {
            self.fail(format!("{made} messages were made, and {ends:?} have come to an end"));
        }
    }

    /// Sees that all sums agree, once the runtime has ended.
    pub(crate) fn check(&self, metrics: &Metrics, plan: &Plan) {
        let dropped = self.dropped.load(Relaxed);
        self.check_messages();
        // A sender that leaves while it is sent away leaves its message to the lane's death, which does not count it.
        let uncounted = dropped.wrapping_sub(metrics.messages_dropped);
        if uncounted > metrics.senders_refused {
            self.fail(format!("{dropped} messages were dropped by deaths: {metrics:?}"));
        }
        let sums = plan.sums.lock().unwrap();
        let counted = (metrics.ended, metrics.messages_dropped, metrics.senders_refused);
        if (sums.ended, sums.messages_dropped, sums.senders_refused) != counted {
            self.fail(format!("the receipts say {sums:?}, the counters {metrics:?}"));
        }
        if metrics.spawned != metrics.ended || metrics.alive + metrics.timers + metrics.names != 0 {
            self.fail(format!("something is left: {metrics:?}"));
        }
        if metrics.destructor_panics != 0 {
            self.fail("a destructor panicked");
        }
        if let Some(twice) = sums.twice {
            self.fail(format!("{twice} has ended twice"));
        }
        if let Some(id) = sums.killed.difference(&self.killed.lock().unwrap()).next().filter(|_| !self.links) {
            self.fail(format!("{id} was killed, and nobody wanted that"));
        }
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }
}

/// Counts a lane as busy.
pub(crate) struct Busy(Arc<Book>);

impl Busy {
    pub(crate) fn new(book: &Arc<Book>) -> Busy {
        book.busy.lock().unwrap().0 += 1;
        Busy(book.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.0.busy.lock().unwrap();
        busy.0 -= 1;
        let waker = if busy.0 == 0 { busy.1.take() } else { None };
        drop(busy);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The load of a message, which counts its own end.
pub(crate) struct Token {
    book: Arc<Book>,
    settled: bool,
    /// Who sent it, and which of his it is, in the order in which he sent them; 0 for one that may come at any time.
    pub(crate) from: Id,
    pub(crate) number: u64,
}

impl Token {
    pub(crate) fn new(book: &Arc<Book>, from: Id, number: u64) -> Token {
        book.made.fetch_add(1, Relaxed);
        Token { book: book.clone(), settled: false, from, number }
    }

    pub(crate) fn receive(mut self) {
        self.settled = true;
        self.book.received.fetch_add(1, Relaxed);
    }

    pub(crate) fn take_back(mut self) {
        self.settled = true;
        self.book.handed_back.fetch_add(1, Relaxed);
    }
}

thread_local! {
    /// Whether what is dropped belongs to a lane's future, not to its mailbox.
    static IN_FUTURE: Cell<bool> = const { Cell::new(false) };
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.settled {
        } else if lane::ending().is_none() || IN_FUTURE.get() {
            self.book.withdrawn.fetch_add(1, Relaxed);
        } else {
            self.book.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// A future that says when it is being dropped.
pub(crate) struct Framed<F> {
    _before: Mark<true>,
    future: F,
    _after: Mark<false>,
}

struct Mark<const ON: bool>;

impl<const ON: bool> Drop for Mark<ON> {
    fn drop(&mut self) {
        IN_FUTURE.set(ON);
    }
}

impl<F> Framed<F> {
    pub(crate) fn new(future: F) -> Framed<F> {
        Framed { _before: Mark, future, _after: Mark }
    }
}

impl<F: Future + Unpin> Future for Framed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.future).poll(cx)
    }
}

/// Kills some lanes at one of their awaits, and adds up all receipts.
#[derive(Debug)]
pub(crate) struct Plan {
    seed: u64,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    ended: u64,
    messages_dropped: u64,
    senders_refused: u64,
    seen: BTreeSet<Id>,
    /// Those that were killed, and not by the plan.
    killed: BTreeSet<Id>,
    twice: Option<Id>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Arc<Plan> {
        Arc::new(Plan { seed, sums: Mutex::default() })
    }
}

impl FaultPlan for Plan {
    fn kill_at_await(&self, lane: Spawned<'_>) -> Option<u64> {
        if lane.message != std::any::type_name::<Msg>() {
            return None;
        }
        let mut dice = Dice(self.seed ^ lane.id.to_bits());
        dice.one_in(8).then(|| 1 + dice.below(40))
    }

    fn ended(&self, lane: Ended<'_>) {
        let mut sums = self.sums.lock().unwrap();
        sums.ended += 1;
        sums.messages_dropped += lane.receipt.messages_dropped;
        sums.senders_refused += lane.receipt.senders_refused;
        if lane.receipt.reason == ExitReason::Killed && lane.awaits_left != Some(0) {
            sums.killed.insert(lane.id);
        }
        if !sums.seen.insert(lane.id) {
            sums.twice = Some(lane.id);
        }
    }
}
