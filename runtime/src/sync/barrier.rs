//! A place where lanes wait until so many are there.
//!
//! Owns: [`Barrier`] and its future. Its state is [`Gate`], under the lock of its line.
//!
//! | a place | is given back | |
//! | --- | --- | --- |
//! | taken | when its future is dropped, or the lane that polled it last dies | the round needs another in its stead |
//! | of a round that is over | never | all of that round go on |
//!
//! # Invariants
//! 1. `arrived` has a record for each who waits for the present round, and for no other: a round that is over has none.
//! 2. A record is of whoever polled the future last. So a lane's death gives back only what nobody waits for any more.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::hold::Hold;
use super::pool::{Lasting, Pool};
use super::records::{self, Records};
use super::seat::Seat;
use crate::lane::index;
use crate::sched::turn::poll_share;
use crate::slab::Slab;
use crate::wait_list::line::{Source, Taker};
use crate::wait_list::{By, Ticket};

/// Who is there.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many rounds are over.
    rounds: u64,
    arrived: Slab<Arrival>,
    next_number: u64,
}

#[derive(Debug)]
struct Arrival {
    number: u64,
    taker: Taker,
}

impl Gate {
    /// One more is there: his place, or `None` where he was the last, and the round is over.
    fn arrive(&mut self, parties: usize, taker: Taker) -> Option<Ticket> {
        if self.arrived.len() + 1 >= parties {
            self.arrived.retain(|_| false);
            self.rounds += 1;
            return None;
        }
        self.next_number += 1;
        let number = self.next_number;
        Some(Ticket { at: self.arrived.insert(Arrival { number, taker }), number })
    }
}

/// All of the round go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundIsOver;

impl Source for Gate {
    type Fast = ();
    /// The round.
    type Want = u64;
    type Grant = ();
    type Refusal = RoundIsOver;

    const KIND: &'static str = "barrier";

    /// As in `crowd.rs`: one of an older round may come into line after those of the next.
    fn refusal(&self, (): &(), round: u64) -> Option<RoundIsOver> {
        (round < self.rounds).then_some(RoundIsOver)
    }

    fn set_aside(&mut self, (): &(), _: u64) -> bool {
        false
    }

    fn put_back(&mut self, (): &(), _: u64) {}

    fn take(&mut self, (): &(), _: u64, _: Taker, _: u64) {}

    fn renew(&mut self, (): &()) {
        // The numbers go on, so that a place that was leaked is nobody's.
        self.arrived.retain(|_| false);
        self.rounds = 0;
    }
}

type Core = records::Core<Gate>;

static POOL: Pool<Core> = Pool::new();

impl Records for Gate {
    fn pool() -> &'static Pool<Core> {
        &POOL
    }

    fn taker(&self, place: Ticket) -> Option<Taker> {
        self.arrived.at(place.at).filter(|arrival| arrival.number == place.number).map(|arrival| arrival.taker)
    }

    fn takers(&self) -> impl Iterator<Item = Taker> {
        self.arrived.iter().map(|(_, arrival)| arrival.taker)
    }

    fn end(&mut self, place: Ticket) -> bool {
        self.arrived.remove_if(place.at, |arrival| arrival.number == place.number).is_some()
    }
}

/// Lets nobody through before so many have come; then all of them, and it starts anew.
///
/// A lane that dies or stops waiting before the last has come gives its place back, so that the others go on waiting for
/// somebody in its stead. Nobody is let through by one who has gone. (With Tokio's barrier one who stopped waiting counts.)
///
/// ```
/// use laneway_runtime::sync::Barrier;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// static START: Barrier = Barrier::new(2);
/// # use laneway_runtime::{lane::Spawn, mailbox::Inbox};
/// runtime.block_on(async {
///     let (say, said) = laneway_runtime::sync::oneshot::channel();
///     let other = async { say.send(START.wait().await.is_leader()).unwrap() };
///     Spawn::new().spawn(|_: Inbox<()>| other).unwrap();
///     let leads = START.wait().await.is_leader();
///     assert_eq!(said.await, Ok(!leads));
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Barrier {
    parties: usize,
    core: Lasting<Core>,
}

/// What a wait at a barrier came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Whether this was the last to come, who let the others through: one in each round.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl Barrier {
    /// A barrier for so many; none means one. It may be a static.
    pub const fn new(parties: usize) -> Barrier {
        Barrier { parties, core: Lasting::new() }
    }

    /// Waits until as many are there as the barrier is for.
    ///
    /// # Cancellation
    /// Dropped before the last has come, it gives its place back.
    #[track_caller]
    pub fn wait(&self) -> BarrierWait<'_> {
        let core = self.core.get_or(|_| ());
        BarrierWait { barrier: self, core, seat: Seat::new(&core.line), here: None, caller: Location::caller() }
    }

    /// How many are there and wait for the others.
    pub fn waiting(&self) -> usize {
        self.core.get().map_or(0, |core| core.line.look(|gate| gate.arrived.len()))
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Barrier");
        fields.field("parties", &self.parties).field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// A place in a round.
#[derive(Debug)]
struct Here {
    round: u64,
    by: By,
    hold: Hold<Core>,
}

/// The future of [`Barrier::wait`].
#[derive(Debug)]
#[must_use = "nobody has come before it is awaited"]
pub struct BarrierWait<'a> {
    // Places are left before the barrier is let go of.
    here: Option<Here>,
    seat: Seat<Gate>,
    core: &'static Core,
    caller: &'static Location<'static>,
    barrier: &'a Barrier,
}

impl BarrierWait<'_> {
    /// Comes, or comes again in another lane; true where that let all through.
    fn arrive(&mut self, by: By) -> bool {
        let before = self.here.take();
        let old = before.as_ref().map(|here| (here.round, here.hold.grant()));
        let (parties, caller) = (self.barrier.parties, self.caller);
        let (round, place) = self.core.line.change(|gate, ()| {
            if let Some((round, place)) = old {
                if round < gate.rounds {
                    return (round, Some(place));
                }
                gate.end(place);
            }
            let round = gate.rounds;
            (round, gate.arrive(parties, Taker { by, place: caller }))
        });
        let Some(place) = place else {
            self.core.line.wake_all();
            return true;
        };
        self.here = Some(Here { round, by, hold: Hold::new(self.core, place) });
        false
    }
}

impl Future for BarrierWait<'_> {
    type Output = BarrierWaitResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BarrierWaitResult> {
        let by = index::who_runs();
        if self.here.is_none() {
            ready!(poll_share(cx));
        }
        if self.here.as_ref().is_none_or(|here| here.by != by) && self.arrive(by) {
            return Poll::Ready(BarrierWaitResult { is_leader: true });
        }
        let this = &mut *self;
        if let Some(Here { round, .. }) = this.here {
            let (Ok(()) | Err(RoundIsOver)) = ready!(this.seat.poll(cx, round, this.caller));
            this.here = None;
        }
        Poll::Ready(BarrierWaitResult { is_leader: false })
    }
}

#[cfg(test)]
mod tests;
