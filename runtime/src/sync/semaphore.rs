//! A number of permits, handed out in order.
//!
//! Owns: [`Semaphore`] and its guards. Its state is [`Permits`], under the lock of its line.
//!
//! | permits | become | when |
//! | --- | --- | --- |
//! | free | set aside | somebody in line is offered them |
//! | set aside | held, under a record of who holds them | he is polled |
//! | set aside | free | he leaves, dies, or is passed over |
//! | held | free | the guard is dropped, or the lane that took them dies, whichever is first |
//! | held | gone | the guard is told to forget them |
//!
//! The record ends with the permits' return, so that they come back once.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::hold::Hold;
use super::pool::{Lasting, Pool};
use super::records::{self, Records};
use super::seat::Seat;
use super::{Holder, Waiter, waiters};
use crate::lane::index;
use crate::sched::turn::poll_share;
use crate::slab::Slab;
use crate::wait_graph::Awaits;
use crate::wait_graph::lock::{Awaited, Obstacle};
use crate::wait_graph::note::{self, Number};
use crate::wait_list::Ticket;
use crate::wait_list::line::{Source, Taker};

/// The permits of a semaphore.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    free: usize,
    closed: bool,
    held: Slab<Record>,
}

/// Permits that one has.
#[derive(Debug)]
struct Record {
    number: u64,
    taker: Taker,
    count: u32,
}

impl Permits {
    fn add(&mut self, count: usize) {
        self.free = self.free.saturating_add(count);
    }

    fn record(&self, grant: Ticket) -> Option<&Record> {
        self.held.at(grant.at).filter(|record| record.number == grant.number)
    }

    /// Ends a record, where it stands: how many permits it was of.
    fn forget(&mut self, grant: Ticket) -> Option<u32> {
        self.held.remove_if(grant.at, |record| record.number == grant.number).map(|record| record.count)
    }
}

impl Source for Permits {
    type Fast = ();
    type Want = u32;
    type Grant = Ticket;
    type Refusal = Closed;

    const KIND: &'static str = "semaphore";

    fn refusal(&self, (): &(), _: u32) -> Option<Closed> {
        self.closed.then_some(Closed(()))
    }

    fn set_aside(&mut self, (): &(), want: u32) -> bool {
        let left = self.free.checked_sub(want as usize);
        self.free = left.unwrap_or(self.free);
        left.is_some()
    }

    fn put_back(&mut self, (): &(), want: u32) {
        self.add(want as usize);
    }

    fn take(&mut self, (): &(), count: u32, taker: Taker, number: u64) -> Ticket {
        Ticket { at: self.held.insert(Record { number, taker, count }), number }
    }

    fn renew(&mut self, (): &()) {
        *self = Permits::default();
    }
}

type Core = records::Core<Permits>;

static POOL: Pool<Core> = Pool::new();

impl Records for Permits {
    fn pool() -> &'static Pool<Core> {
        &POOL
    }

    fn taker(&self, grant: Ticket) -> Option<Taker> {
        self.record(grant).map(|record| record.taker)
    }

    fn takers(&self) -> impl Iterator<Item = Taker> {
        self.held.iter().map(|(_, record)| record.taker)
    }

    /// The permits come back.
    fn end(&mut self, grant: Ticket) -> bool {
        let count = self.forget(grant);
        self.add(count.unwrap_or(0) as usize);
        count.is_some()
    }
}

impl Awaited for Core {
    /// Those who have permits, and whoever is first in line. Of none of them it is certain: anybody may add permits.
    fn in_the_way(&self, seat: Ticket, tell: &mut dyn FnMut(Obstacle)) {
        self.line.look_from(seat, |permits, _, before| {
            permits.takers().for_each(|taker| tell(Obstacle::one_of_many(taker)));
            before.take(1).for_each(|first| tell(Obstacle::first(&first)));
        });
    }
}

/// A number of permits. Whoever takes some has them until he drops them; whoever finds too few waits in line.
///
/// Fair: who asks for many is not overtaken by those who ask for few. Lanes that wait for each other's permits in a circle are
/// not told so, as with locks: anybody may [add](Semaphore::add_permits) some. [`WaitGraph`](crate::WaitGraph) shows them.
/// Permits guard no data, so those of a lane that dies
/// come back at its death, also where a guard was leaked or moved to another lane.
///
/// ```
/// use laneway_runtime::sync::Semaphore;
///
/// let runtime = laneway_runtime::Runtime::builder().workers(1).build()?;
/// static SEATS: Semaphore = Semaphore::new(2);
/// runtime.block_on(async {
///     let (one, two) = (SEATS.acquire().await?, SEATS.acquire().await?);
///     assert!(SEATS.try_acquire().is_err());
///     drop((one, two));
///     assert_eq!(SEATS.available_permits(), 2);
///     Ok::<(), laneway_runtime::sync::Closed>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Semaphore {
    initial: usize,
    core: Lasting<Core>,
}

/// The semaphore is closed: nobody gets a permit any more, and nobody who waited has got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed(());

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl std::error::Error for Closed {}

/// Why there was no permit at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// There never will be.
    Closed,
    /// Too few are free, or somebody else is first in line.
    NoPermits,
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryAcquireError::Closed => Closed(()).fmt(f),
            TryAcquireError::NoPermits => f.write_str("there are too few permits for now"),
        }
    }
}

impl std::error::Error for TryAcquireError {}

impl Semaphore {
    /// A semaphore with so many permits. It may be a static.
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore { initial: permits, core: Lasting::new() }
    }

    fn core(&self) -> &'static Core {
        self.core.get_or(|core| core.line.change(|permits, ()| permits.add(self.initial)))
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Closed`].
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in line.
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_> {
        self.acquire_many(1)
    }

    /// Waits for several permits at once.
    ///
    /// # Errors
    /// [`Closed`].
    ///
    /// # Cancellation
    /// As [`Semaphore::acquire`].
    #[track_caller]
    pub fn acquire_many(&self, count: u32) -> Acquire<'_> {
        Acquire { waiting: Waiting::new(self.core(), count, Location::caller()), semaphore: self }
    }

    /// As [`Semaphore::acquire`], for a guard that owns its share of the semaphore.
    ///
    /// # Errors
    /// [`Closed`].
    ///
    /// # Cancellation
    /// As [`Semaphore::acquire`].
    #[track_caller]
    pub fn acquire_owned(self: Arc<Self>) -> AcquireOwned {
        self.acquire_many_owned(1)
    }

    /// As [`Semaphore::acquire_many`], for a guard that owns its share of the semaphore.
    ///
    /// # Errors
    /// [`Closed`].
    ///
    /// # Cancellation
    /// As [`Semaphore::acquire`].
    #[track_caller]
    pub fn acquire_many_owned(self: Arc<Self>, count: u32) -> AcquireOwned {
        AcquireOwned { waiting: Waiting::new(self.core(), count, Location::caller()), semaphore: self }
    }

    /// A permit, if there is one and nobody waits.
    ///
    /// # Errors
    /// [`TryAcquireError`].
    #[track_caller]
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Several permits, if there are so many and nobody waits.
    ///
    /// # Errors
    /// [`TryAcquireError`].
    #[track_caller]
    pub fn try_acquire_many(&self, count: u32) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        let hold = try_take(self.core(), count, Location::caller())?;
        Ok(SemaphorePermit { hold, semaphore: self })
    }

    /// As [`Semaphore::try_acquire`], for a guard that owns its share of the semaphore.
    ///
    /// # Errors
    /// [`TryAcquireError`].
    #[track_caller]
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// As [`Semaphore::try_acquire_many`], for a guard that owns its share of the semaphore.
    ///
    /// # Errors
    /// [`TryAcquireError`].
    #[track_caller]
    pub fn try_acquire_many_owned(self: Arc<Self>, count: u32) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        let hold = try_take(self.core(), count, Location::caller())?;
        Ok(OwnedSemaphorePermit { hold, semaphore: self })
    }

    /// Adds permits, up to `usize::MAX` in all.
    pub fn add_permits(&self, count: usize) {
        self.core().line.change(|permits, ()| permits.add(count));
    }

    /// Takes up to so many free permits out of the world: how many.
    pub fn forget_permits(&self, count: usize) -> usize {
        self.core().line.change(|permits, ()| {
            let forgotten = count.min(permits.free);
            permits.free -= forgotten;
            forgotten
        })
    }

    /// Free permits, those aside that were just offered to somebody.
    pub fn available_permits(&self) -> usize {
        self.core.get().map_or(self.initial, |core| core.line.look(|permits| permits.free))
    }

    /// Hands out no more permits: who waits, and who comes, gets [`Closed`]. Those who have some keep them.
    pub fn close(&self) {
        self.core().line.close(|permits, ()| permits.closed = true);
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.core.get().is_some_and(|core| core.line.look(|permits| permits.closed))
    }

    /// Who has permits, and since where, for people who look into it.
    pub fn holders(&self) -> Vec<Holder> {
        self.core.get().map_or_else(Vec::new, Core::holders)
    }

    /// Who waits, in order, for people who look into it.
    pub fn waiters(&self) -> Vec<Waiter> {
        self.core.get().map_or_else(Vec::new, |core| waiters(&core.line))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.core.get().map_or(0, |core| core.line.waiting())
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available_permits()).finish_non_exhaustive()
    }
}

fn try_take(core: &'static Core, count: u32, place: &'static Location<'static>) -> Result<Hold<Core>, TryAcquireError> {
    match core.line.try_take(count, Taker { by: index::who_runs(), place }) {
        Some(Ok(grant)) => Ok(Hold::new(core, grant)),
        Some(Err(Closed(()))) => Err(TryAcquireError::Closed),
        None => Err(TryAcquireError::NoPermits),
    }
}

/// One who waits for permits.
#[derive(Debug)]
struct Waiting {
    core: &'static Core,
    seat: Seat<Permits>,
    count: u32,
    place: &'static Location<'static>,
    /// Which wait it is.
    number: Number,
}

impl Waiting {
    fn new(core: &'static Core, count: u32, place: &'static Location<'static>) -> Waiting {
        Waiting { core, seat: Seat::new(&core.line), count, place, number: Number::default() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Hold<Core>, Closed>> {
        // An offer is taken whatever is left of the turn, or it would be passed on.
        if !self.seat.has_waited() {
            ready!(poll_share(cx));
        }
        let Poll::Ready(granted) = self.seat.poll_parking(cx, self.count, self.place) else {
            if let Some(wait) = self.seat.wait(Awaits::Permits, self.core.face(), self.place) {
                note::park_among_others(cx, &mut self.number, wait);
            }
            return Poll::Pending;
        };
        Poll::Ready(granted.map(|grant| Hold::new(self.core, grant)))
    }
}

/// The future of [`Semaphore::acquire`] and [`Semaphore::acquire_many`].
#[derive(Debug)]
#[must_use = "nothing is acquired before it is awaited"]
pub struct Acquire<'a> {
    // The seat is left before the semaphore is let go of.
    waiting: Waiting,
    semaphore: &'a Semaphore,
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<SemaphorePermit<'a>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let hold = ready!(self.waiting.poll(cx))?;
        Poll::Ready(Ok(SemaphorePermit { hold, semaphore: self.semaphore }))
    }
}

/// The future of [`Semaphore::acquire_owned`] and [`Semaphore::acquire_many_owned`].
#[derive(Debug)]
#[must_use = "nothing is acquired before it is awaited"]
pub struct AcquireOwned {
    // The seat is left before the semaphore is let go of.
    waiting: Waiting,
    semaphore: Arc<Semaphore>,
}

impl Future for AcquireOwned {
    type Output = Result<OwnedSemaphorePermit, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let hold = ready!(self.waiting.poll(cx))?;
        Poll::Ready(Ok(OwnedSemaphorePermit { hold, semaphore: self.semaphore.clone() }))
    }
}

/// Permits; given back when it is dropped.
#[derive(Debug)]
#[must_use = "the permits are given back when this is dropped"]
pub struct SemaphorePermit<'a> {
    hold: Hold<Core>,
    semaphore: &'a Semaphore,
}

/// Permits that are tied to no borrow; given back when it is dropped.
#[derive(Debug)]
#[must_use = "the permits are given back when this is dropped"]
pub struct OwnedSemaphorePermit {
    // Given back before the semaphore is let go of.
    hold: Hold<Core>,
    semaphore: Arc<Semaphore>,
}

impl SemaphorePermit<'_> {
    /// The permits do not come back: the semaphore has so many less.
    pub fn forget(self) {
        forget(&self.hold);
    }

    /// The semaphore they are of.
    pub fn semaphore(&self) -> &Semaphore {
        self.semaphore
    }
}

impl OwnedSemaphorePermit {
    /// As [`SemaphorePermit::forget`].
    pub fn forget(self) {
        forget(&self.hold);
    }

    /// The semaphore they are of.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }
}

/// Ends the record, so that the drop finds nothing to give back.
fn forget(hold: &Hold<Core>) {
    hold.core().line.change(|permits, ()| permits.forget(hold.grant()));
}

#[cfg(test)]
mod tests;
