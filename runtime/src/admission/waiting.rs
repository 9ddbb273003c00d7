//! How a spawn waits until there is room for its lane.
//!
//! Owns: [`SpawnWhenAdmitted`]. Who is next in line is `wait_list.rs`'s business. What is reserved for whoever is first
//! becomes a lane in the very poll that takes it: nobody can be killed in between.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use super::{Admission, Admitted, Gate, Refusal};
use crate::context;
use crate::exit::IntoExit;
use crate::lane::{NewLane, Spawn, SpawnError};
use crate::mailbox::Inbox;
use crate::sched::Scheduler;
use crate::sched::turn::poll_share;
use crate::sync::seat::Seat;
use crate::wait_graph::note::hands_out_of;

/// The future of [`Spawn::spawn_when_admitted`].
#[must_use = "nothing is spawned before it is awaited"]
pub struct SpawnWhenAdmitted<M, F, Make> {
    /// Until the lane is spawned, or will not be.
    wish: Option<(Spawn, Make)>,
    at: &'static Location<'static>,
    waiting: Option<Waiting>,
    lane: PhantomData<fn() -> (M, F)>,
}

/// A place in line.
struct Waiting {
    admission: &'static Admission,
    seat: Seat<Gate>,
    cost: super::cost::Cost,
}

// Nothing in it is pinned.
impl<M, F, Make> Unpin for SpawnWhenAdmitted<M, F, Make> {}

impl<M, F, Make> SpawnWhenAdmitted<M, F, Make>
where
    M: Send + 'static,
    F: Future<Output: IntoExit> + Send + 'static,
    Make: FnOnce(Inbox<M>) -> F,
{
    pub(crate) fn new(spawn: Spawn, make: Make, at: &'static Location<'static>) -> SpawnWhenAdmitted<M, F, Make> {
        SpawnWhenAdmitted { wish: Some((spawn, make)), at, waiting: None, lane: PhantomData }
    }

    /// As it was made, in the name of another place in the source.
    pub fn at(mut self, at: &'static Location<'static>) -> SpawnWhenAdmitted<M, F, Make> {
        self.at = at;
        self
    }

    /// Waits for what the lane costs; `None` where there is no limit.
    fn poll_admitted(
        &mut self,
        cx: &mut Context<'_>,
        spawn: &mut Spawn,
        scheduler: &Arc<Scheduler>,
    ) -> Poll<Result<Option<Admitted>, SpawnError>> {
        let Some(admission) = scheduler.admission() else { return Poll::Ready(Ok(None)) };
        // It may be polled in another runtime than before.
        if self.waiting.as_ref().is_none_or(|waiting| !ptr::eq(waiting.admission, admission)) {
            let Some(cost) = spawn.cost::<M, F>(scheduler) else {
                return Poll::Ready(Err(SpawnError::NoMemory(admission.refuse_unbounded())));
            };
            // What is waited for is what the lane gets, in whichever lane this is polled next.
            spawn.settle_memory(scheduler);
            self.waiting = Some(Waiting { admission, seat: Seat::new(&admission.line), cost });
        }
        let Some(Waiting { seat, cost, .. }) = &mut self.waiting else { unreachable!("it was put there just now") };
        let had_waited = seat.has_waited();
        // An offer is taken whatever is left of the turn, or it would be passed on.
        if !had_waited {
            ready!(poll_share(cx));
        }
        match seat.poll(cx, *cost, self.at) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Some(Admitted { admission, cost: *cost }))),
            Poll::Ready(Err(Refusal::ShuttingDown)) => Poll::Ready(Err(SpawnError::ShuttingDown)),
            Poll::Ready(Err(Refusal::NeverFits)) => Poll::Ready(Err(SpawnError::NoMemory(admission.refuse(cost)))),
            Poll::Pending => {
                if !had_waited {
                    // ORDER: Relaxed: it counts.
                    admission.waited.fetch_add(1, Ordering::Relaxed);
                    scheduler.look_sooner();
                }
                Poll::Pending
            }
        }
    }
}

impl<M, F, Make> Future for SpawnWhenAdmitted<M, F, Make>
where
    M: Send + 'static,
    F: Future<Output: IntoExit> + Send + 'static,
    Make: FnOnce(Inbox<M>) -> F,
{
    type Output = Result<NewLane<M>, SpawnError>;

    /// # Panics
    /// Where it was ready before.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some((mut spawn, make)) = this.wish.take() else { panic!("it is polled after it was ready") };
        let Some(scheduler) = context::scheduler() else {
            this.waiting = None;
            return Poll::Ready(Err(SpawnError::NotInRuntime));
        };
        spawn.check_bound()?;
        let admitted = match this.poll_admitted(cx, &mut spawn, &scheduler) {
            Poll::Ready(admitted) => {
                // What the seat waited for is taken.
                this.waiting = None;
                admitted?
            }
            Poll::Pending => {
                this.wish = Some((spawn, make));
                return Poll::Pending;
            }
        };
        hands_out_of::<_, F>(&make);
        let lane = spawn.spawn_now(&scheduler, this.at, make)?;
        if let Some(admitted) = admitted {
            admitted.belong_to_lane();
        }
        Poll::Ready(Ok(lane))
    }
}

impl<M, F, Make> fmt::Debug for SpawnWhenAdmitted<M, F, Make> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seat = self.waiting.as_ref().map(|waiting| &waiting.seat);
        f.debug_struct("SpawnWhenAdmitted").field("seat", &seat).finish_non_exhaustive()
    }
}
