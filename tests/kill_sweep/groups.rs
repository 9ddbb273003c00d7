//! Lanes that join, leave and watch groups, killed at each of their awaits.

use laneway::group::{self, Change, ChangeKind};
use laneway::prelude::*;
use laneway::testing::{Victim, kill_sweep};
use laneway::{join, yield_now};

use super::{Spawned, assert_whole, beside_others};

enum Heard {
    Change(Change),
    Died,
}

/// Joins, leaves, and watches what others do.
async fn wander(mut lane: Lane<Heard>) {
    for name in ["a", "b", "a"] {
        group::join(name).expect("it is a lane");
        yield_now().await;
    }
    let (reference, _) = lane.monitor_group("b", Heard::Change);
    yield_now().await;
    group::leave("a").expect("it had joined");
    group::join("c").expect("it is a lane");
    yield_now().await;
    group::leave("b").expect("it had joined");
    yield_now().await;
    lane.demonitor_group(reference).expect("it is its own");
    yield_now().await;
}

/// Watches `a` and the lane: how often it was in the group when it died.
async fn watch(mut lane: Lane<Heard>, wanders: Address<Heard>) {
    let (_, members) = lane.monitor_group("a", Heard::Change);
    lane.monitor(wanders, |_| Heard::Died);
    let mut times = members.len();
    while let Some(heard) = lane.recv().await {
        match heard {
            Heard::Change(change) => {
                assert_eq!(change.id, wanders.id());
                times = match change.kind {
                    ChangeKind::Joined => times + 1,
                    ChangeKind::Left => times.checked_sub(1).expect("it had joined"),
                };
            }
            Heard::Died => break,
        }
    }
    assert_eq!(times, 0, "the notice of its death came before that of its leaving");
    assert!(group::ids("a").is_empty() && group::of(wanders.id()).is_empty());
}

async fn groups() -> Spawned {
    let wanders = Spawn::new().name("wanders").spawn(wander)?;
    let watches = Spawn::new().name("watches").spawn(async move |lane: Lane<Heard>| watch(lane, wanders).await)?;
    join(wanders.id()).await;
    assert!(group::all().is_empty());
    let reason = join(watches.id()).await;
    assert!(matches!(reason, ExitReason::Normal | ExitReason::Killed | ExitReason::NoProc), "{reason}");
    Ok(())
}

#[test]
fn a_lane_in_groups_leaves_all_of_them_and_a_watcher_its_monitors() {
    let _beside = beside_others();
    let report = kill_sweep(Victim::named("wanders"), groups);
    assert_whole(&report, 6);
    let most = |of: fn(&laneway::ExitReceipt) -> u64| report.victims.iter().map(of).max();
    assert_eq!((most(|receipt| receipt.memberships), most(|receipt| receipt.monitors)), (Some(3), Some(1)), "{report}");
    let report = kill_sweep(Victim::named("watches"), groups);
    assert_whole(&report, 1);
    assert!(report.victims.iter().any(|receipt| receipt.monitors == 2), "a monitor of a lane and one of a group");
}
