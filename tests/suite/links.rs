//! Links: two lanes that share their fate.

use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};

use laneway::{ExitReason, Id, Lane, Spawn};

use crate::support::*;

#[test]
fn otp_014_a_link_is_symmetric() {
    test(async |mut lane: Lane<News>| {
        for first_dies in [true, false] {
            let (one, other) = (puppet(), puppet());
            tell(one, move |lane| lane.link(other)).await;
            settle().await;
            let (dies, follows) = if first_dies { (one, other) } else { (other, one) };
            lane.monitor(follows, News::Down);
            laneway::exit(dies.id(), oops());
            assert_eq!(down(&mut lane).await.reason, oops());
        }
    });
}

#[test]
fn otp_014_linking_twice_makes_one_link_that_either_side_removes() {
    test(async |_: Lane<News>| {
        for by_the_first in [true, false] {
            let (one, other) = (puppet(), puppet());
            tell(one, move |lane| {
                lane.link(other);
                lane.link(other);
            })
            .await;
            tell(other, move |lane| lane.link(one)).await;
            let (takes_back, of) = if by_the_first { (one, other) } else { (other, one) };
            tell(takes_back, move |lane| lane.unlink(of)).await;
            settle().await;
            laneway::exit(of.id(), oops());
            settle().await;
            assert!(!of.is_alive());
            assert!(takes_back.is_alive(), "the link held though it was taken back");

            let (one, other) = (puppet(), puppet());
            tell(one, move |lane| lane.link(other)).await;
            tell(one, move |lane| lane.unlink(other)).await;
            settle().await;
            laneway::exit(one.id(), oops());
            settle().await;
            assert!(other.is_alive(), "the link held on the other side");
        }
    });
}

#[test]
fn a_lane_may_link_and_monitor_itself_to_no_harm() {
    test(async |mut lane: Lane<News>| {
        let target = puppet();
        tell(target, |lane| {
            let me = lane.id();
            lane.link(me);
            lane.monitor(me, |_| order(|_| ()));
            lane.unlink(me);
            lane.link(me);
        })
        .await;
        laneway::exit(target.id(), oops());
        assert_eq!(reason_of(&mut lane, target).await, oops());
    });
}

#[test]
fn otp_015_linking_a_dead_or_unknown_id_answers_with_no_proc() {
    test(async |mut lane: Lane<News>| {
        let dead = puppet();
        dead.kill();
        reason_of(&mut lane, dead).await;
        let namespace = lane.id().namespace();
        let unknown = Id::new(u32::MAX - 7, namespace, NonZeroU16::MAX);
        for gone in [dead.id(), unknown] {
            let meek = puppet();
            lane.monitor(meek, News::Down);
            meek.try_send(order(move |lane| lane.link(gone))).unwrap();
            let down = down(&mut lane).await;
            assert_eq!((down.id, down.reason), (meek.id(), ExitReason::NoProc));

            let trapping = trapping_puppet(lane.address()).await;
            tell(trapping, move |lane| lane.link(gone)).await;
            let exit = exit(&mut lane).await;
            assert_eq!((exit.from, exit.reason), (gone, ExitReason::NoProc));
            assert!(trapping.is_alive());
        }
    });
}

#[test]
fn what_exits_turn_into_outlives_its_own_panic() {
    test(async |mut lane: Lane<News>| {
        let mut heard = 0;
        lane.trap_exits(move |exit| {
            heard += 1;
            assert!(heard > 1, "the first time, on purpose");
            News::Exit(exit)
        });
        let me = lane.id();
        laneway::exit(me, oops());
        laneway::exit(me, ExitReason::Shutdown);
        assert!(catch_unwind(AssertUnwindSafe(|| lane.try_recv())).is_err());
        assert_eq!(exit(&mut lane).await.reason, ExitReason::Shutdown);
    });
}

#[test]
fn otp_016_spawn_link_is_atomic() {
    race(300, async |mut lane: Lane<News>| {
        lane.trap_exits(News::Exit);
        let fails = Spawn::new().link().spawn(async |_: Lane<()>| oops()).unwrap();
        let heard = exit(&mut lane).await;
        assert_eq!((heard.from, heard.reason), (fails.id(), oops()));
        let returns = Spawn::new().link().spawn(async |_: Lane<()>| {}).unwrap();
        let heard = exit(&mut lane).await;
        assert_eq!((heard.from, heard.reason), (returns.id(), ExitReason::Normal));
    });
}

#[test]
fn otp_017_after_unlink_a_link_has_no_effect_though_the_other_side_is_just_dying() {
    race(500, async |mut lane: Lane<News>| {
        let dying = puppet();
        let (unlinks, reference) = Spawn::new()
            .monitor()
            .spawn_monitored(async move |mut lane: Lane<()>| {
                lane.link(dying);
                lane.unlink(dying);
                for _ in 0..10 {
                    laneway::yield_now().await;
                }
            })
            .unwrap();
        lane.on_down(reference.unwrap(), News::Down);
        laneway::exit(dying.id(), oops());
        let down = down(&mut lane).await;
        assert_eq!((down.id, down.reason), (unlinks.id(), ExitReason::Normal));
    });
}

#[test]
fn otp_017_unlink_flushes_the_exit_that_is_queued_and_no_other() {
    test(async |mut lane: Lane<News>| {
        lane.trap_exits(News::Exit);
        let (one, other) = (puppet(), puppet());
        lane.link(one);
        lane.link(other);
        laneway::exit(one.id(), oops());
        laneway::exit(other.id(), oops());
        settle().await;
        assert!(!one.is_alive() && !other.is_alive());
        lane.unlink(one);
        assert_eq!(exit(&mut lane).await.from, other.id());
        assert_silence(&mut lane).await;
    });
}

#[test]
fn otp_018_an_exit_reaches_all_that_are_linked_until_one_traps() {
    test(async |mut lane: Lane<News>| {
        // A tree: the first has two, of which one has two more; one that traps; one behind that.
        let [root, left, right, leaf, behind] = [(); 5].map(|()| puppet());
        let trapping = trapping_puppet(lane.address()).await;
        for (one, other) in [(root, left), (root, right), (left, leaf), (right, trapping), (trapping, behind)] {
            tell(one, move |lane| lane.link(other)).await;
        }
        for one in [left, right, leaf] {
            lane.monitor(one, News::Down);
        }
        laneway::exit(root.id(), oops());
        let mut trapped = 0;
        for _ in 0..4 {
            match news(&mut lane).await {
                News::Down(down) => assert_eq!(down.reason, oops()),
                News::Exit(exit) => {
                    assert_eq!((exit.from, exit.reason), (right.id(), oops()));
                    trapped += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        settle().await;
        assert_eq!(trapped, 1);
        assert!(trapping.is_alive() && behind.is_alive());
    });
}

#[test]
fn otp_019_a_normal_exit_kills_no_link_but_is_told_to_one_that_traps() {
    test(async |mut lane: Lane<News>| {
        let (ends, meek) = (puppet(), puppet());
        let trapping = trapping_puppet(lane.address()).await;
        tell(ends, move |lane| {
            lane.link(meek);
            lane.link(trapping);
        })
        .await;
        ends.stop().unwrap();
        let exit = exit(&mut lane).await;
        assert_eq!((exit.from, exit.reason), (ends.id(), ExitReason::Normal));
        settle().await;
        assert!(meek.is_alive());
    });
}
