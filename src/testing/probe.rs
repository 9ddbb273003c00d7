//! The lane that watches victims as any lane could, and asks the others whether they are still tied to the dead.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use actors::{Down, Handle, Id, Lane};
use runtime::inspect::inspect;
use runtime::lane::monitor_with_receipt;

use super::plan::Plan;
use super::violation::{Tie, Violation};

/// What the probe is told.
#[derive(Debug)]
pub(super) enum Probe {
    /// A victim is about to run for the first time.
    Watch(Id),
    /// It has ended, and all who had to hear of it have been told.
    Ended(Id),
    /// It has ended, as the probe's own monitor says.
    Down(Down),
    /// Say what your monitors told, once you have received all that they have.
    Report(Sender<Vec<Down>>),
    /// Say it now.
    ReportNow(Sender<Vec<Down>>),
}

pub(super) async fn watch(mut lane: Lane<Probe>, plan: Arc<Plan>) {
    let mut told = Vec::new();
    while let Some(message) = lane.recv().await {
        match message {
            Probe::Watch(victim) => {
                if let Ok(monitor) = monitor_with_receipt(victim) {
                    lane.on_down(monitor, Probe::Down);
                }
            }
            Probe::Ended(dead) => look_for_ties(lane.id(), dead, &plan).await,
            Probe::Down(down) => told.push(down),
            // A victim that was gone before it was watched is told of behind the question, but before this.
            Probe::Report(to) => _ = lane.address().try_send(Probe::ReportNow(to)),
            // Whoever asked may have given up.
            Probe::ReportNow(to) => _ = to.send(told.clone()),
        }
    }
}

/// Each lane answers after it has heard of the death, which was in its mailbox before the question.
async fn look_for_ties(me: Id, dead: Id, plan: &Plan) {
    let Ok(handle) = Handle::current() else { return };
    let others: Vec<Id> = handle.lanes().into_iter().map(|info| info.id).filter(|id| *id != me).collect();
    for of in others {
        // One that has ended since is tied to nobody.
        let Some(found) = inspect(of).await else { continue };
        let ties = [(Tie::Link, &found.links), (Tie::WatchedBy, &found.watchers), (Tie::Watching, &found.watching)];
        for (tie, _) in ties.into_iter().filter(|(_, ids)| ids.contains(&dead)) {
            plan.note(Violation::TieLeft { of, to: dead, tie });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc;

    use actors::{Runtime, Spawn, join};

    use super::super::Victim;
    use super::*;

    #[test]
    fn whoever_is_tied_to_a_lane_that_lives_is_found() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let plan = Arc::new(Plan::new(Victim::named("nobody"), None, mpsc::channel().0));
        let for_lane = plan.clone();
        let ids = runtime.block_on(async {
            let target = Spawn::new().spawn(async |_: Lane<()>| pending::<()>().await).unwrap();
            let asker = Spawn::new().spawn(move |mut lane: Lane<()>| async move {
                let (me, plan) = (lane.id(), for_lane);
                lane.link(target);
                lane.monitor(target, |_| ());
                let looks = Spawn::new().spawn(move |lane: Lane<()>| async move {
                    look_for_ties(lane.id(), target.id(), &plan).await;
                    look_for_ties(lane.id(), me, &plan).await;
                });
                join(looks.unwrap().id()).await;
            });
            let asker = asker.unwrap();
            join(asker.id()).await;
            (asker.id(), target.id())
        });
        let (asker, target) = ids;
        let seen = plan.seen();
        let tie_of = |violation: &Violation| match violation {
            Violation::TieLeft { of, to, tie } => (*of, *to, *tie),
            other => panic!("{other}"),
        };
        let found: Vec<_> = seen.violations.iter().map(tie_of).collect();
        let right = [
            (asker, target, Tie::Link),
            (asker, target, Tie::Watching),
            (target, asker, Tie::Link),
            (target, asker, Tie::WatchedBy),
        ];
        assert_eq!(found, right);
    }
}
