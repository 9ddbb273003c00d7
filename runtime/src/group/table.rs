//! The groups of a runtime: who is in which, and who is told of which.
//!
//! Owns: [`Groups`], two maps in shards, by group and by lane. Knows nothing of what runs.
//!
//! # Invariants
//! 1. What the map by lane has of a lane is changed by that lane alone, while it lives, and by its death, which takes it out
//!    whole. So each membership and each monitor is given back once.
//! 2. A group's members change, and its watchers are told and counted in, under the lock of its shard. So all watchers
//!    hear of the same changes in the same order, and none is missed between the members that a watcher is given and the
//!    first change that it hears of.
//! 3. The lock of a lane's shard comes before that of a group's, and under the latter nothing is done but to put signals in
//!    mailboxes. Memory of users is not dropped there: a name is text.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxBuildHasher;

use super::{ChangeKind, GroupRef, Notice};
use crate::id::Id;
use crate::lane::few::Few;
use crate::lane::watch;
use crate::metrics::Metrics;

const SHARDS: usize = 16;

/// The groups of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_name: [Mutex<ByName>; SHARDS],
    by_lane: [Mutex<ByLane>; SHARDS],
}

/// Some of the groups, each with a member or a watcher.
#[derive(Debug, Default)]
struct ByName {
    groups: HashMap<Arc<str>, Group, FxBuildHasher>,
    /// How often a lane joined, left in whatever way, and left by its death.
    joined: u64,
    left: u64,
    released: u64,
}

#[derive(Debug, Default)]
struct Group {
    /// The members, with how often each has joined.
    members: Few<Id, u32>,
    /// Who is told of changes, by its numbers for that.
    watchers: Few<(Id, u64), ()>,
}

/// Some of the lanes, each with a membership or a monitor.
#[derive(Debug, Default)]
struct ByLane {
    lanes: HashMap<Id, OfLane, FxBuildHasher>,
    /// The number of the last monitor.
    last: u64,
}

#[derive(Debug, Default)]
struct OfLane {
    /// The groups that the lane is in, with how often it has joined each.
    groups: Few<Arc<str>, u32>,
    /// The groups that it monitors.
    monitors: Few<u64, Arc<str>>,
}

/// What a death gave back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) memberships: u64,
    pub(crate) monitors: u64,
}

impl Group {
    fn members(&self) -> Vec<Id> {
        self.members.iter().flat_map(|(id, times)| std::iter::repeat_n(*id, *times as usize)).collect()
    }

    fn tell(&self, name: &Arc<str>, id: Id, kind: ChangeKind) {
        for (watcher, number) in self.watchers.keys() {
            watch::send_change(*watcher, Notice { number: *number, group: name.clone(), id, kind });
        }
    }
}

impl ByName {
    fn add(&mut self, name: &Arc<str>, id: Id) {
        let group = self.groups.entry(name.clone()).or_default();
        let times = group.members.remove(&id).unwrap_or(0);
        group.members.insert(id, times + 1);
        group.tell(name, id, ChangeKind::Joined);
        self.joined += 1;
    }

    /// Takes so many joins of a lane back, that it has made.
    fn subtract(&mut self, name: &Arc<str>, id: Id, times: u32) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let had = group.members.remove(&id).unwrap_or(0);
        debug_assert!(had >= times, "a lane leaves what it has joined");
        if had > times {
            group.members.insert(id, had - times);
        }
        for _ in 0..times {
            group.tell(name, id, ChangeKind::Left);
        }
        self.left += u64::from(times);
        self.forget_if_empty(name);
    }

    fn forget_watcher(&mut self, name: &Arc<str>, watcher: Id, number: u64) {
        if let Some(group) = self.groups.get_mut(name) {
            group.watchers.remove(&(watcher, number));
            self.forget_if_empty(name);
        }
    }

    fn forget_if_empty(&mut self, name: &Arc<str>) {
        let is_empty = |group: &Group| group.members.len() + group.watchers.len() == 0;
        if self.groups.get(name).is_some_and(is_empty) {
            self.groups.remove(name);
        }
    }
}

impl ByLane {
    fn forget_if_empty(&mut self, id: Id) {
        if self.lanes.get(&id).is_some_and(|lane| lane.groups.len() + lane.monitors.len() == 0) {
            self.lanes.remove(&id);
        }
    }
}

impl Groups {
    fn named(&self, name: &str) -> MutexGuard<'_, ByName> {
        // The upper bits, as the maps go by the others.
        let hash = FxBuildHasher.hash_one(name);
        self.by_name[(hash >> 32) as usize % SHARDS].lock()
    }

    fn of_lane(&self, id: Id) -> MutexGuard<'_, ByLane> {
        self.by_lane[id.key() as usize % SHARDS].lock()
    }

    /// Puts a lane in a group; called by the lane, as all that changes something but [`Groups::release`].
    pub(crate) fn join(&self, name: &Arc<str>, id: Id) {
        let mut lanes = self.of_lane(id);
        let groups = &mut lanes.lanes.entry(id).or_default().groups;
        let times = groups.remove(name).unwrap_or(0);
        groups.insert(name.clone(), times + 1);
        self.named(name).add(name, id);
    }

    /// Takes one join back: false where there is none.
    pub(crate) fn leave(&self, name: &str, id: Id) -> bool {
        let mut lanes = self.of_lane(id);
        let name: Arc<str> = name.into();
        let Some(lane) = lanes.lanes.get_mut(&id) else { return false };
        match lane.groups.remove(&name) {
            None => return false,
            Some(1) => lanes.forget_if_empty(id),
            Some(times) => _ = lane.groups.insert(name.clone(), times - 1),
        }
        self.named(&name).subtract(&name, id, 1);
        true
    }

    /// Has a lane told of what changes in a group: its number for that, and who is in it now.
    pub(crate) fn monitor(&self, name: &Arc<str>, id: Id) -> (GroupRef, Vec<Id>) {
        let mut lanes = self.of_lane(id);
        lanes.last += 1;
        let number = lanes.last;
        lanes.lanes.entry(id).or_default().monitors.insert(number, name.clone());
        let mut named = self.named(name);
        let group = named.groups.entry(name.clone()).or_default();
        group.watchers.insert((id, number), ());
        (GroupRef { watcher: id, number }, group.members())
    }

    /// Takes a monitor back: false where there is none.
    pub(crate) fn demonitor(&self, id: Id, number: u64) -> bool {
        let mut lanes = self.of_lane(id);
        let Some(name) = lanes.lanes.get_mut(&id).and_then(|lane| lane.monitors.remove(&number)) else { return false };
        lanes.forget_if_empty(id);
        self.named(&name).forget_watcher(&name, id, number);
        true
    }

    /// Takes a lane that dies out of all groups, and its monitors back. Watchers hear of it.
    pub(crate) fn release(&self, id: Id) -> Released {
        let mut released = Released::default();
        let Some(lane) = self.of_lane(id).lanes.remove(&id) else { return released };
        for (number, name) in lane.monitors {
            self.named(&name).forget_watcher(&name, id, number);
            released.monitors += 1;
        }
        for (name, times) in lane.groups {
            let mut named = self.named(&name);
            named.subtract(&name, id, times);
            named.released += u64::from(times);
            released.memberships += u64::from(times);
        }
        released
    }

    /// How much a lane's death will take back.
    pub(crate) fn weight_of(&self, id: Id) -> u64 {
        let lanes = self.of_lane(id);
        lanes.lanes.get(&id).map_or(0, |lane| (lane.groups.len() + lane.monitors.len()) as u64)
    }

    pub(crate) fn members(&self, name: &str) -> Vec<Id> {
        self.named(name).groups.get(name).map(Group::members).unwrap_or_default()
    }

    /// The groups of a lane. It takes no longer where there are many lanes.
    pub(crate) fn of(&self, id: Id) -> Vec<Arc<str>> {
        let lanes = self.of_lane(id);
        let groups = lanes.lanes.get(&id).into_iter().flat_map(|lane| lane.groups.iter());
        let mut groups: Vec<_> =
            groups.flat_map(|(name, times)| std::iter::repeat_n(name.clone(), *times as usize)).collect();
        groups.sort_unstable();
        groups
    }

    /// The monitors of a lane, in the order in which they were set.
    pub(crate) fn monitors_of(&self, id: Id) -> Vec<(GroupRef, Arc<str>)> {
        let lanes = self.of_lane(id);
        let monitors = lanes.lanes.get(&id).into_iter().flat_map(|lane| lane.monitors.iter());
        let mut monitors: Vec<_> =
            monitors.map(|(number, name)| (GroupRef { watcher: id, number: *number }, name.clone())).collect();
        monitors.sort_unstable_by_key(|(reference, _)| reference.number);
        monitors
    }

    pub(crate) fn all(&self) -> Vec<Arc<str>> {
        let mut all = Vec::new();
        for named in &self.by_name {
            let named = named.lock();
            let inhabited = named.groups.iter().filter(|(_, group)| group.members.len() != 0);
            all.extend(inhabited.map(|(name, _)| name.clone()));
        }
        all.sort_unstable();
        all
    }

    /// Memberships and monitors of a lane, living or dead, as the groups themselves have them: it takes a look at all there
    /// are.
    pub(crate) fn had_by(&self, id: Id) -> usize {
        let of_group = |group: &Group| {
            let times = group.members.iter().find(|(member, _)| **member == id).map_or(0, |(_, times)| *times as usize);
            times + group.watchers.keys().filter(|(watcher, _)| *watcher == id).count()
        };
        self.by_name.iter().map(|named| named.lock().groups.values().map(of_group).sum::<usize>()).sum()
    }

    /// Adds what is counted here.
    pub(crate) fn count(&self, mut metrics: Metrics) -> Metrics {
        for named in &self.by_name {
            let named = named.lock();
            metrics.groups_joined += named.joined;
            metrics.groups_left += named.left;
            metrics.groups_released += named.released;
            metrics.memberships += named.joined - named.left;
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bits: u64) -> Id {
        Id::from_bits(1 << 48 | 1 << 32 | bits).expect("an id")
    }

    fn name(name: &str) -> Arc<str> {
        name.into()
    }

    /// Whether nothing is kept of anybody.
    fn is_bare(groups: &Groups) -> bool {
        groups.by_name.iter().all(|named| named.lock().groups.is_empty())
            && groups.by_lane.iter().all(|lanes| lanes.lock().lanes.is_empty())
    }

    #[test]
    fn groups_are_found_both_ways_until_they_are_left_as_often_as_joined() {
        let groups = Groups::default();
        let [one, other] = [id(1), id(17)];
        for (lane, joined) in [(one, "a"), (other, "a"), (one, "b"), (one, "a")] {
            groups.join(&name(joined), lane);
        }
        let mut of_a = groups.members("a");
        of_a.sort_unstable();
        assert_eq!((of_a, groups.members("b")), (vec![one, one, other], vec![one]));
        assert_eq!(groups.of(one), [name("a"), name("a"), name("b")]);
        assert_eq!((groups.all(), groups.members("c")), (vec![name("a"), name("b")], vec![]));
        assert!(groups.leave("a", one) && groups.leave("a", one));
        assert!(!groups.leave("a", one) && !groups.leave("b", other) && !groups.leave("c", id(2)));
        assert_eq!((groups.members("a"), groups.of(one)), (vec![other], vec![name("b")]));
        assert_eq!((groups.had_by(one), groups.had_by(other)), (1, 1));
        assert!(groups.leave("b", one) && groups.leave("a", other));
        assert!(is_bare(&groups) && groups.all().is_empty());
    }

    #[test]
    fn a_death_gives_back_each_membership_and_monitor_once() {
        let groups = Groups::default();
        let [one, other] = [id(1), id(2)];
        groups.join(&name("a"), one);
        groups.join(&name("a"), one);
        groups.join(&name("a"), other);
        let (first, there) = groups.monitor(&name("b"), one);
        let (second, _) = groups.monitor(&name("a"), one);
        assert!(there.is_empty() && groups.all() == [name("a")], "a group that is only watched is none");
        assert_eq!(groups.monitors_of(one), [(first, name("b")), (second, name("a"))]);
        assert!(groups.demonitor(one, first.number) && !groups.demonitor(one, first.number));
        assert!(!groups.demonitor(other, second.number));
        assert_eq!((groups.weight_of(one), groups.had_by(one)), (2, 3));
        assert_eq!(groups.release(one), Released { memberships: 2, monitors: 1 });
        assert_eq!(groups.release(one), Released::default());
        assert_eq!((groups.had_by(one), groups.members("a")), (0, vec![other]));
        let counted = groups.count(Metrics::default());
        let sums = (counted.groups_joined, counted.groups_left, counted.groups_released, counted.memberships);
        assert_eq!(sums, (3, 2, 2, 1));
        groups.release(other);
        assert!(is_bare(&groups));
    }
}
