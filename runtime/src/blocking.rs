//! Work that blocks, on threads of its own.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::context;
use crate::sched::Scheduler;
use crate::wait_graph::note::hands_out;

/// Runs `work` on a thread where it may block; ready with its result.
///
/// The threads are those of the crate `blocking`, shared by the process: up to 500, started as needed.
///
/// # Cancellation
/// The work cannot be interrupted. Once started it goes on, though the lane that waited is gone; its result is dropped.
/// Let it own what it works on.
///
/// # Panics
/// Where `work` panics, whoever awaits panics with the same payload.
pub async fn spawn_blocking<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    hands_out::<F>();
    let busy = context::scheduler().map(Busy::new);
    // The thread is busy until whoever waits has the result, not only until the work is done: the wake-up is between.
    let work = move || (catch_unwind(AssertUnwindSafe(work)), busy);
    let (result, _busy) = blocking::unblock(work).await;
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Says, for as long as it lives, that a thread outside of the workers is about to give them work.
pub(crate) struct Busy(Arc<Scheduler>);

impl Busy {
    pub(crate) fn new(scheduler: Arc<Scheduler>) -> Busy {
        // ORDER: AcqRel, here and below: a clock that jumps sees what the thread did before it fell idle.
        scheduler.busy_outside.fetch_add(1, Ordering::AcqRel);
        Busy(scheduler)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy_outside.fetch_sub(1, Ordering::AcqRel) == 1 && self.0.clock_jumps {
            // A worker may have gone to sleep for real because of us.
            self.0.unpark_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lane::{self, Spawn};
    use crate::mailbox::Inbox;
    use crate::{ExitReason, Runtime, time};

    #[test]
    fn a_clock_that_jumps_waits_for_blocking_work_and_its_result() {
        let runtime = Runtime::builder().workers(1).virtual_time(1).build().unwrap();
        let reason = runtime.block_on(async {
            let lane = Spawn::new().spawn(|_: Inbox<()>| async {
                for number in 0..1000 {
                    let result = time::timeout(Duration::from_secs(3600), spawn_blocking(move || number)).await;
                    assert_eq!(result, Ok(number));
                }
            });
            lane::join(lane.unwrap().mailbox.id()).await
        });
        assert_eq!(reason, ExitReason::Normal);
    }
}
