//! Groups: joined and left by count, given up by death, found by name and by lane, and told of.

use std::sync::Arc;

use laneway::group::{self, Change, ChangeKind, GroupRef, LeaveError};
use laneway::{
    Actor, Address, Context, DemonitorError, ExitReason, Handle, Id, Lane, Metrics, NotInLane, Outcome, SendError,
    Spawn,
};

use crate::support::*;
use ChangeKind::{Joined, Left};

fn metrics() -> Metrics {
    Handle::current().expect("a runtime").metrics()
}

async fn join(puppet: Puppet, name: &'static str) {
    tell(puppet, move |_| group::join(name)).await.expect("a puppet is a lane");
}

async fn leave(puppet: Puppet, name: &'static str) -> Result<(), LeaveError> {
    tell(puppet, move |_| group::leave(name)).await
}

fn sorted<T: Ord>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    all.sort_unstable();
    all
}

fn of(id: impl Into<Id>) -> Vec<String> {
    group::of(id.into()).iter().map(|name| name.to_string()).collect()
}

fn all() -> Vec<String> {
    group::all().iter().map(|name| name.to_string()).collect()
}

async fn change(lane: &mut Lane<News>) -> Change {
    match news(lane).await {
        News::Change(change) => change,
        other => panic!("a change was to come; what came is {other:?}"),
    }
}

/// The next changes that come, of one monitor.
async fn assert_changes(lane: &mut Lane<News>, of: GroupRef, wanted: &[(Puppet, ChangeKind)]) {
    for (puppet, kind) in wanted {
        let came = change(lane).await;
        assert_eq!((came.reference, came.id, came.kind), (of, puppet.id(), *kind), "{came}");
    }
}

#[test]
fn otp_078_joining_twice_counts_twice_and_needs_two_leaves() {
    test(async |_: Lane<News>| {
        let (one, other) = (puppet(), puppet());
        for (puppet, name) in [(one, "a"), (one, "a"), (other, "a"), (one, "b")] {
            join(puppet, name).await;
        }
        assert_eq!(sorted(group::ids("a")), sorted([one.id(), one.id(), other.id()]));
        assert_eq!((of(one), of(other)), (["a", "a", "b"].map(String::from).to_vec(), vec!["a".to_owned()]));
        assert_eq!((metrics().memberships, metrics().groups_joined), (4, 4));
        assert_eq!(leave(one, "a").await, Ok(()));
        assert_eq!(sorted(group::ids("a")), sorted([one.id(), other.id()]));
        assert_eq!(leave(one, "a").await, Ok(()));
        for (puppet, name) in [(one, "a"), (other, "b"), (one, "never was")] {
            assert_eq!(leave(puppet, name).await, Err(LeaveError::NotJoined));
        }
        assert_eq!((group::ids("a"), of(one)), (vec![other.id()], vec!["b".to_owned()]));
        assert_eq!((metrics().memberships, metrics().groups_left, metrics().groups_released), (2, 2, 0));
    });
}

#[test]
fn otp_079_death_removes_all_memberships_and_only_groups_with_members_are_listed() {
    test(async |mut lane: Lane<News>| {
        let (one, other) = (puppet(), puppet());
        for (puppet, name) in [(one, "a"), (one, "a"), (other, "a"), (one, "b"), (one, "c")] {
            join(puppet, name).await;
        }
        leave(one, "c").await.expect("it had joined");
        lane.monitor_group("d", News::Change);
        assert_eq!(all(), ["a", "b"], "a group that is empty, or watched, or never was, is none");
        let reference = lane.monitor_with_receipt(one, News::Down);
        one.kill();
        let down = down(&mut lane).await;
        assert_eq!(down.reference, reference);
        // Whoever hears of the death finds the groups without it.
        assert_eq!(
            (group::ids("a"), group::ids("b"), of(one), all()),
            (vec![other.id()], vec![], vec![], vec!["a".into()])
        );
        assert_eq!(down.receipt.expect("it was asked for").memberships, 3);
        assert_eq!((metrics().memberships, metrics().groups_left, metrics().groups_released), (1, 4, 3));
        assert_eq!(Handle::current().unwrap().held_by(one.id()).groups, 0);
    });
}

#[test]
fn otp_080_lanes_alone_join_and_each_runtime_has_groups_of_its_own() {
    assert_eq!((group::join("a"), group::leave("a")), (Err(NotInLane), Err(LeaveError::NotInLane)));
    assert!(runtime::group::monitor("a").is_err() && group::ids("a").is_empty() && group::all().is_empty());
    let [here, elsewhere] = [(); 2].map(|()| runtime(1));
    let member = in_lane(&here, async |_: Lane<News>| {
        let member = puppet();
        join(member, "a").await;
        member
    });
    in_lane(&elsewhere, async move |mut lane: Lane<News>| {
        let (_, members) = lane.monitor_group("a", News::Change);
        assert!(members.is_empty() && group::ids("a").is_empty() && all().is_empty() && of(member).is_empty());
        // A lane of the other runtime, told from here, joins a group there.
        join(member, "a").await;
        assert_eq!(leave(member, "a").await, Ok(()));
        assert_eq!((metrics().groups_joined, metrics().memberships), (0, 0));
        assert_silence(&mut lane).await;
        group::join("a").expect("it is a lane");
        assert_eq!(change(&mut lane).await.id, lane.id());
        assert_eq!(group::ids("a"), [lane.id()]);
    });
    in_lane(&here, async move |_: Lane<News>| assert_eq!(group::ids("a"), [member.id()]));
    end(elsewhere);
    end(here);
}

#[test]
fn otp_081_a_monitor_gives_the_members_and_then_every_change_once_and_in_order() {
    test(async |mut lane: Lane<News>| {
        let (one, other) = (puppet(), puppet());
        join(one, "a").await;
        let (first, members) = lane.monitor_group("a", News::Change);
        assert_eq!((first.watcher, members), (lane.id(), vec![one.id()]));
        assert_silence(&mut lane).await;
        join(other, "a").await;
        join(other, "b").await;
        join(one, "a").await;
        leave(one, "a").await.expect("it had joined");
        leave(other, "b").await.expect("it had joined");
        assert!(leave(other, "b").await.is_err());
        assert_changes(&mut lane, first, &[(other, Joined), (one, Joined), (one, Left)]).await;
        // A second monitor has what the first has, from then on.
        let (second, members) = lane.monitor_group("a", News::Change);
        assert_eq!((sorted(members), first == second), (sorted([one.id(), other.id()]), false));
        leave(one, "a").await.expect("it had joined");
        let both = sorted([change(&mut lane).await, change(&mut lane).await].map(|change| change.reference.number));
        assert_eq!(both, [first.number, second.number]);
        assert_eq!(lane.demonitor_group(second), Ok(true));
        // One that is in it several times leaves as often when it dies, before the notice of its death.
        join(other, "a").await;
        lane.monitor(other, News::Down);
        other.kill();
        assert_changes(&mut lane, first, &[(other, Joined), (other, Left), (other, Left)]).await;
        assert_eq!(down(&mut lane).await.id, other.id());
        assert_silence(&mut lane).await;
    });
}

#[test]
fn otp_081_what_a_monitor_brought_is_gone_once_it_is_taken_back() {
    test(async |mut lane: Lane<News>| {
        let (me, one) = (lane.address(), puppet());
        let (first, _) = lane.monitor_group("a", News::Change);
        let (second, _) = lane.monitor_group("a", News::Change);
        me.try_send(News::Number(1)).expect("there is room");
        join(one, "a").await;
        me.try_send(News::Number(2)).expect("there is room");
        // Part of it is in the inbox by now, part in the mailbox.
        assert_eq!(number(&mut lane).await, 1);
        leave(one, "a").await.expect("it had joined");
        me.try_send(News::Number(3)).expect("there is room");
        assert_eq!(tell(one, move |_| runtime::group::demonitor(first)).await, Err(DemonitorError::NotYours));
        assert_eq!((lane.demonitor_group(first), lane.demonitor_group(first)), (Ok(true), Ok(false)));
        join(one, "a").await;
        assert_changes(&mut lane, second, &[(one, Joined)]).await;
        assert_eq!(number(&mut lane).await, 2);
        assert_changes(&mut lane, second, &[(one, Left)]).await;
        assert_eq!(number(&mut lane).await, 3);
        assert_changes(&mut lane, second, &[(one, Joined)]).await;
        assert_silence(&mut lane).await;
    });
}

#[test]
fn a_watcher_that_dies_takes_its_monitors_back() {
    test(async |mut lane: Lane<News>| {
        let watcher = laneway::spawn(async |mut lane: Lane<News>| {
            for name in ["a", "a", "b"] {
                lane.monitor_group(name, News::Change);
            }
            let watched = lane.resources().group_monitors;
            let watched: Vec<_> = watched.iter().map(|(reference, name)| (reference.watcher, &**name)).collect();
            assert_eq!(watched, ["a", "a", "b"].map(|name| (lane.id(), name)));
            std::future::pending::<()>().await;
        });
        let watcher = watcher.expect("a lane").id();
        settle().await;
        let held = || Handle::current().unwrap().held_by(watcher).groups;
        assert_eq!(held(), 3);
        lane.monitor_with_receipt(watcher, News::Down);
        laneway::kill(watcher);
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!((receipt.monitors, receipt.memberships, held()), (3, 0, 0));
        // Nobody is told.
        group::join("a").expect("it is a lane");
        assert_eq!(group::ids("a"), [lane.id()]);
    });
}

#[test]
fn what_a_lane_is_in_is_listed_and_its_receipt_gives_back_as_much() {
    test(async |mut lane: Lane<News>| {
        let puppet = puppet();
        for name in ["b", "a", "b"] {
            join(puppet, name).await;
        }
        let listed = tell(puppet, |lane| {
            lane.monitor_group("a", |change| order(move |_| panic!("nothing changes, and yet: {change}")));
            lane.resources()
        });
        let listed = listed.await;
        assert_eq!(listed.groups, ["a", "b", "b"].map(Arc::<str>::from));
        assert_eq!((listed.group_monitors.len(), listed.count()), (1, 4), "{listed}");
        let words = listed.to_string();
        assert!(words.contains("is in group \"a\"") && words.contains("watches group \"a\""), "{words}");
        lane.monitor_with_receipt(puppet, News::Down);
        puppet.stop().expect("it lives");
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!((receipt.memberships, receipt.monitors, receipt.errors), (3, 1, 0));
    });
}

#[test]
fn a_member_that_dies_while_others_go_through_the_group_is_refused() {
    test(async |_: Lane<News>| {
        let puppets = [(); 3].map(|()| puppet());
        for puppet in puppets {
            join(puppet, "a").await;
        }
        let mut members = group::members::<Do>("a");
        assert_eq!(members.len(), 3);
        puppets[1].kill();
        laneway::join(puppets[1].id()).await;
        members.retain(|member| match member.try_send(order(|_| ())) {
            Ok(()) => true,
            Err(SendError::NoProc(_)) => false,
            Err(other) => panic!("{other}"),
        });
        assert_eq!(sorted(members.iter().map(|member| member.id())), sorted([puppets[0].id(), puppets[2].id()]));
        assert_eq!(group::members::<Do>("a").len(), 2);
    });
}

/// Joins twice and counts up to `most` what it gets.
fn member(told: Address<News>, bound: u32, most: u64) -> Id {
    let member = Spawn::new().mailbox(bound).spawn(async move |mut lane: Lane<u64>| {
        for _ in 0..2 {
            group::join("numbers").expect("it is a lane");
        }
        settle().await;
        let mut sum = 0;
        while sum < most {
            sum += lane.recv().await.unwrap_or(most);
        }
        told.send(News::Number(sum)).await.expect("the test listens");
    });
    member.expect("a lane").id()
}

#[test]
fn a_broadcast_reaches_each_member_that_takes_it_once_and_says_how_many() {
    test(async |mut lane: Lane<News>| {
        let me = lane.address();
        let wide = [(); 3].map(|()| member(me, 10, 7));
        let narrow = member(me, 1, 3);
        laneway::yield_now().await;
        group::join("numbers").expect("it is a lane");
        assert_eq!(group::ids("numbers").len(), 9);
        assert_eq!(group::members::<u64>("numbers").len(), 8, "one takes another type");
        let counts = |sent: group::Broadcast| (sent.sent, sent.full, sent.passed_over);
        assert_eq!(counts(group::broadcast("numbers", &3_u64)), (4, 0, 1));
        assert_eq!(counts(group::broadcast("numbers", &4_u64)), (3, 1, 1));
        assert_eq!(counts(group::broadcast("nobody's", &4_u64)), (0, 0, 0));
        let mut sums = Vec::new();
        for _ in 0..4 {
            sums.push(number(&mut lane).await);
        }
        assert_eq!(sorted(sums), [3, 7, 7, 7]);
        for id in wide.into_iter().chain([narrow]) {
            laneway::join(id).await;
        }
        assert_eq!(group::ids("numbers"), [lane.id()]);
    });
}

#[test]
fn an_actor_hears_of_changes_by_a_callback_until_it_wants_no_more() {
    struct Watches(Address<News>, Option<GroupRef>);

    impl Actor for Watches {
        type Msg = &'static str;

        async fn handle(&mut self, name: &'static str, cx: &mut Context<&'static str>) -> Outcome {
            if let Some(reference) = self.1.take() {
                assert_eq!(cx.demonitor_group(reference), Ok(true));
            }
            let (reference, members) = cx.monitor_group(name);
            self.1 = Some(reference);
            self.0.send(News::Number(members.len() as u64)).await?;
            Ok(())
        }

        async fn group(&mut self, change: Change, _: &mut Context<&'static str>) -> Outcome {
            assert_eq!(Some(change.reference), self.1);
            self.0.send(News::Change(change)).await?;
            Ok(())
        }
    }

    test(async |mut lane: Lane<News>| {
        let (one, watches) = (puppet(), laneway::start(Watches(lane.address(), None)).await.expect("an actor"));
        join(one, "a").await;
        watches.send("a").await.expect("it lives");
        assert_eq!(number(&mut lane).await, 1);
        leave(one, "a").await.expect("it had joined");
        let heard = change(&mut lane).await;
        assert_eq!((&*heard.group, heard.id, heard.kind), ("a", one.id(), Left));
        // What came before the wish to hear no more is not heard after it.
        let blocked = watches.send("b");
        join(one, "a").await;
        blocked.await.expect("it lives");
        assert!(matches!(news(&mut lane).await, News::Change(change) if change.kind == Joined));
        assert_eq!(number(&mut lane).await, 0);
        leave(one, "a").await.expect("it had joined");
        assert_silence(&mut lane).await;
        join(one, "b").await;
        assert_eq!(&*change(&mut lane).await.group, "b");
    });
}

#[test]
fn what_a_lane_does_itself_it_hears_of_as_well_and_what_it_makes_of_it_may_panic() {
    test(async |mut lane: Lane<News>| {
        let (reference, _) = lane.monitor_group("a", News::Change);
        group::join("a").expect("it is a lane");
        group::leave("a").expect("it has joined");
        for kind in [Joined, Left] {
            let came = change(&mut lane).await;
            assert_eq!((came.reference, came.id, came.kind), (reference, lane.id(), kind));
        }
        let it = laneway::spawn(async |mut lane: Lane<News>| {
            lane.monitor_group("a", |change| panic!("{change}"));
            group::join("a").expect("it is a lane");
            lane.recv().await;
        });
        let it = it.expect("a lane");
        let reason = laneway::join(it.id()).await;
        assert!(matches!(reason, ExitReason::Panicked { .. }) && reason.to_string().contains("joined the group \"a\""));
        assert_changes(&mut lane, reference, &[]).await;
        for kind in [Joined, Left] {
            assert_eq!(change(&mut lane).await.kind, kind);
        }
    });
}

#[test]
fn a_destructor_of_a_lane_that_ends_joins_nothing_and_finds_it_in_its_groups() {
    struct Last(Address<News>);

    impl Drop for Last {
        fn drop(&mut self) {
            let refused = group::join("a") == Err(NotInLane) && group::leave("a") == Err(LeaveError::NotInLane);
            let members = group::ids("a").len() as u64;
            self.0.try_send(News::Number(if refused { members } else { 99 })).expect("there is room");
        }
    }

    test(async |mut lane: Lane<News>| {
        let last = Last(lane.address());
        let it = laneway::spawn(async move |_: Lane<()>| {
            let _last = last;
            group::join("a").expect("it is a lane");
            std::future::pending::<()>().await;
        });
        let it = it.expect("a lane").id();
        settle().await;
        laneway::kill(it);
        laneway::join(it).await;
        assert_eq!((number(&mut lane).await, group::ids("a").len()), (1, 0));
    });
}
