//! Groups against a model of them: at random by seeds, one step at a time and with lanes on several threads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use laneway::group::{self, Change, ChangeKind, GroupRef};
use laneway::{Address, Handle, Id, Lane, Spawn};

use crate::support::*;
use ChangeKind::{Joined, Left};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A generator of small numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) % end as u64) as usize
    }
}

/// Who is in a group, and how often.
type Members = BTreeMap<Id, usize>;

fn counted(ids: impl IntoIterator<Item = Id>) -> Members {
    let mut members = Members::new();
    for id in ids {
        *members.entry(id).or_default() += 1;
    }
    members
}

fn apply(members: &mut Members, id: Id, kind: ChangeKind) {
    match kind {
        Joined => *members.entry(id).or_default() += 1,
        Left => {
            let times = members.get_mut(&id).expect("one leaves that had joined");
            *times -= 1;
            if *times == 0 {
                members.remove(&id);
            }
        }
    }
}

/// A group as it should be, and what its watcher is still to hear.
#[derive(Default)]
struct Model {
    members: Members,
    monitor: Option<(GroupRef, VecDeque<(Id, ChangeKind)>)>,
}

impl Model {
    fn change(&mut self, id: Id, kind: ChangeKind) {
        apply(&mut self.members, id, kind);
        if let Some((_, expected)) = &mut self.monitor {
            expected.push_back((id, kind));
        }
    }
}

type Groups = [Model; NAMES.len()];

/// One step at random.
async fn step(lane: &mut Lane<News>, random: &mut Random, puppets: &mut [Puppet], groups: &mut Groups) {
    let (who, which) = (random.below(puppets.len()), random.below(NAMES.len()));
    let (puppet, name, model) = (puppets[who], NAMES[which], &mut groups[which]);
    match random.below(10) {
        0..=3 => {
            tell(puppet, move |_| group::join(name)).await.expect("a puppet is a lane");
            model.change(puppet.id(), Joined);
        }
        4..=6 => {
            let left = tell(puppet, move |_| group::leave(name)).await.is_ok();
            assert_eq!(left, model.members.contains_key(&puppet.id()));
            if left {
                model.change(puppet.id(), Left);
            }
        }
        7 => {
            puppet.kill();
            laneway::join(puppet.id()).await;
            for model in groups {
                for _ in 0..model.members.get(&puppet.id()).copied().unwrap_or(0) {
                    model.change(puppet.id(), Left);
                }
            }
            puppets[who] = self::puppet();
        }
        8 => match model.monitor.take() {
            // What it was still to hear it does not.
            Some((reference, _)) => assert_eq!(lane.demonitor_group(reference), Ok(true)),
            None => {
                let (reference, members) = lane.monitor_group(name, News::Change);
                assert_eq!(counted(members), model.members);
                model.monitor = Some((reference, VecDeque::new()));
            }
        },
        _ => hear(lane, groups),
    }
}

/// Hears all that there is to hear.
fn hear(lane: &mut Lane<News>, groups: &mut Groups) {
    while let Some(news) = lane.try_recv() {
        let News::Change(change) = news else { panic!("{news:?} came") };
        let which = NAMES.iter().position(|name| **name == *change.group).expect("one of the groups");
        let Some((reference, expected)) = &mut groups[which].monitor else {
            panic!("nobody watches, and yet: {change}")
        };
        assert_eq!((*reference, expected.pop_front()), (change.reference, Some((change.id, change.kind))));
    }
    assert!(groups.iter().all(|model| model.monitor.as_ref().is_none_or(|(_, expected)| expected.is_empty())));
}

fn compare(puppets: &[Puppet], groups: &Groups) {
    let inhabited = NAMES.iter().zip(groups).filter(|(_, model)| !model.members.is_empty());
    assert!(group::all().iter().map(|name| &**name).eq(inhabited.map(|(name, _)| *name)));
    for (name, model) in NAMES.iter().zip(groups) {
        assert_eq!(counted(group::ids(name)), model.members);
    }
    for puppet in puppets {
        let times = |model: &Model| model.members.get(&puppet.id()).copied().unwrap_or(0);
        let of = NAMES.iter().zip(groups).flat_map(|(name, model)| std::iter::repeat_n(*name, times(model)));
        assert!(group::of(puppet.id()).iter().map(|name| &**name).eq(of));
    }
    let memberships: usize = groups.iter().flat_map(|model| model.members.values()).sum();
    assert_eq!(Handle::current().expect("a runtime").metrics().memberships, memberships as u64);
}

#[test]
fn groups_do_step_by_step_what_their_model_does() {
    for seed in 0..20 {
        test(async move |mut lane: Lane<News>| {
            let mut random = Random(seed);
            let mut puppets = [(); 5].map(|()| puppet());
            let mut groups = Groups::default();
            for _ in 0..300 {
                step(&mut lane, &mut random, &mut puppets, &mut groups).await;
                compare(&puppets, &groups);
            }
            hear(&mut lane, &mut groups);
        });
    }
}

/// What the watchers of the test with threads have to say.
struct Heard {
    /// In the order of `NAMES`: who was in the group at first, and what changed.
    groups: Vec<(Members, Vec<(Id, ChangeKind)>)>,
}

enum Told {
    Change(Change),
    Enough,
}

/// Watches all groups until it is told that it is enough: then it has all that was done before.
fn watcher(to: Address<Heard>) -> Address<Told> {
    let (watches, is_watching) = std::sync::mpsc::channel();
    let watcher = Spawn::new().unbounded().spawn(async move |mut lane: Lane<Told>| {
        let members = NAMES.map(|name| lane.monitor_group(name, Told::Change).1);
        watches.send(()).expect("the test waits");
        let mut groups: Vec<_> = members.into_iter().map(|members| (counted(members), Vec::new())).collect();
        while let Some(Told::Change(Change { group, id, kind, .. })) = lane.recv().await {
            let which = NAMES.iter().position(|name| **name == *group).expect("one of the groups");
            groups[which].1.push((id, kind));
        }
        to.send(Heard { groups }).await.expect("the test listens");
    });
    // The other worker runs it meanwhile.
    is_watching.recv_timeout(LONG).expect("it watches");
    watcher.expect("a lane")
}

/// A lane that joins and leaves at random, knows in what it is, and ends at some time.
async fn wander(lane: Lane<()>, mut random: Random) {
    let mut mine: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..random.below(60) {
        let name = NAMES[random.below(NAMES.len())];
        if random.below(5) < 3 {
            group::join(name).expect("it is a lane");
            *mine.entry(name).or_default() += 1;
        } else {
            let times = mine.entry(name).or_default();
            assert_eq!(group::leave(name).is_ok(), *times != 0);
            *times = times.saturating_sub(1);
        }
        let wanted = mine.iter().flat_map(|(name, times)| std::iter::repeat_n(*name, *times));
        assert!(group::of(lane.id()).iter().map(|name| &**name).eq(wanted), "nobody else changes that");
        let times = group::ids(name).iter().filter(|id| **id == lane.id()).count();
        assert_eq!(times, mine[name]);
        if random.below(8) == 0 {
            laneway::yield_now().await;
        }
    }
}

#[test]
fn watchers_of_lanes_on_several_threads_hear_the_same_and_miss_nothing() {
    for seed in 0..30 {
        let runtime = runtime(3);
        let heard = in_lane(&runtime, async move |mut lane: Lane<Heard>| {
            let mut random = Random(seed);
            let mut watchers = vec![watcher(lane.address()), watcher(lane.address())];
            let mut lanes = Vec::new();
            for number in 0..24 {
                let random_of_it = Random(seed << 8 | number);
                let wanders = laneway::spawn(async move |lane: Lane<()>| wander(lane, random_of_it).await);
                lanes.push(wanders.expect("a lane").id());
                match random.below(4) {
                    0 => _ = laneway::kill(lanes[random.below(lanes.len())]),
                    1 => laneway::yield_now().await,
                    _ => {}
                }
                if number == 12 {
                    // One that comes in the middle.
                    watchers.push(watcher(lane.address()));
                }
            }
            for id in lanes {
                laneway::join(id).await;
                assert!(group::of(id).is_empty());
            }
            assert!(group::all().is_empty());
            let mut heard = Vec::new();
            for watcher in watchers {
                watcher.send(Told::Enough).await.expect("it listens");
                heard.push(lane.recv().await.expect("it tells"));
            }
            heard
        });
        let (mut joined, mut changes) = (0, BTreeSet::new());
        for (which, name) in NAMES.iter().enumerate() {
            let [first, second, late] = [0, 1, 2].map(|watcher| &heard[watcher].groups[which]);
            assert_eq!(first, second, "seed {seed}, group {name}");
            assert!(first.0.is_empty() && first.1.ends_with(&late.1), "seed {seed}, group {name}");
            for (members, heard) in [first, late] {
                let mut members = members.clone();
                heard.iter().for_each(|(id, kind)| apply(&mut members, *id, *kind));
                assert!(members.is_empty(), "seed {seed}, group {name}: {members:?}");
            }
            joined += first.1.iter().filter(|(_, kind)| *kind == Joined).count();
            changes.extend(first.1.iter().map(|(id, _)| *id));
        }
        let metrics = runtime.handle().metrics();
        assert_eq!(metrics.groups_joined, joined as u64, "seed {seed}");
        assert!(changes.len() > 1, "seed {seed}: too little happened");
        end(runtime);
    }
}
