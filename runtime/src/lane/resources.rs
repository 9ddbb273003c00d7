//! What a lane holds, as it can be listed while it lives; its death gives all of it back.
//!
//! Owns: [`Resources`] and how they are gathered, from the lane's own index and from the tables of its runtime.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::context;
use crate::group::GroupRef;
use crate::id::Id;
use crate::lane::NotInLane;
use crate::lane::budget::Memory;
use crate::lane::own::Own;
use crate::sched::Scheduler;
use crate::signal::MonitorRef;
use crate::slot::SlotRef;
use crate::wait_graph::{Awaits, note};
use crate::wait_list::By;

/// A green lock, or a place in the line for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockUse {
    /// What it is, in a word: `mutex`, `read-write lock`, `semaphore`, …
    pub kind: &'static str,
    /// Where it was taken, or asked for.
    pub at: &'static Location<'static>,
}

impl fmt::Display for LockUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind, self.at)
    }
}

/// An operation of a lane that waits for another lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneWait {
    /// The other lane.
    pub of: Id,
    /// What it is to do. Of an ask this is [room](Awaits::Room) in its mailbox first, where there is none, and then an answer.
    pub awaits: Awaits,
    /// Where it was asked, where that is known.
    pub at: Option<&'static Location<'static>>,
}

impl fmt::Display for LaneWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of lane {}", self.awaits, self.of)?;
        self.at.iter().try_for_each(|at| write!(f, " at {at}"))
    }
}

/// What a lane holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resources {
    /// The lane.
    pub id: Id,
    /// Green locks and permits that it has.
    pub locks: Vec<LockUse>,
    /// Lines in which it waits.
    pub waits: Vec<LockUse>,
    /// How many timers stand for it.
    pub timers: usize,
    /// Sockets, files, processes and whatever else a runtime counts as a descriptor, sorted.
    pub descriptors: Vec<Id>,
    /// What is charged to it, where it has a [budget](crate::lane::Spawn::memory).
    pub memory: Option<Memory>,
    /// Its names, sorted.
    pub names: Vec<Arc<str>>,
    /// The groups that it is in, sorted; one that it joined several times is named as often.
    pub groups: Vec<Arc<str>>,
    /// Lanes linked with it, sorted.
    pub links: Vec<Id>,
    /// Its monitors, and whom each watches.
    pub monitors: Vec<(MonitorRef, Id)>,
    /// Its monitors on groups, and which each watches, in the order in which they were set.
    pub group_monitors: Vec<(GroupRef, Arc<str>)>,
    /// Lanes that watch it, sorted; one that watches it twice is named twice.
    pub watchers: Vec<Id>,
    /// Asks, sends and joins that are under way, of those that had to wait once, in no order. They hold nothing but a
    /// deadline, which is one of the timers, and a place in line for room. One is that lane's which was the first to poll it.
    pub pending: Vec<LaneWait>,
    /// Lanes that it has spawned and that live, sorted. They outlive it unless they are linked or supervised.
    pub children: Vec<Id>,
}

impl Resources {
    /// Of a lane that holds nothing, as one that [is abandoned](crate::lane::is_abandoned).
    pub fn of_nothing(id: Id) -> Resources {
        Resources {
            id,
            locks: Vec::new(),
            waits: Vec::new(),
            timers: 0,
            descriptors: Vec::new(),
            memory: None,
            names: Vec::new(),
            groups: Vec::new(),
            links: Vec::new(),
            monitors: Vec::new(),
            group_monitors: Vec::new(),
            watchers: Vec::new(),
            pending: Vec::new(),
            children: Vec::new(),
        }
    }

    /// How many things that its death gives back or takes back, memory aside; watchers and children are others' own, and what is pending
    /// just ends.
    pub fn count(&self) -> usize {
        let Resources { locks, waits, timers, descriptors, names, groups, links, monitors, group_monitors, .. } = self;
        let watched = monitors.len() + group_monitors.len();
        locks.len() + waits.len() + timers + descriptors.len() + names.len() + groups.len() + links.len() + watched
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}: {} timers, {} descriptors", self.id, self.timers, self.descriptors.len())?;
        write!(f, ", {} links, {} monitors", self.links.len(), self.monitors.len())?;
        self.memory.iter().try_for_each(|memory| write!(f, ", {memory}"))?;
        for name in &self.names {
            write!(f, "; is {name:?}")?;
        }
        for group in &self.groups {
            write!(f, "; is in group {group:?}")?;
        }
        for (_, group) in &self.group_monitors {
            write!(f, "; watches group {group:?}")?;
        }
        for lock in &self.locks {
            write!(f, "; has a {lock}")?;
        }
        for wait in &self.waits {
            write!(f, "; waits for a {wait}")?;
        }
        for pending in &self.pending {
            write!(f, "; waits for {pending}")?;
        }
        Ok(())
    }
}

/// What the current lane holds.
///
/// For people who look into a program: it goes through the lanes and the names of the runtime.
///
/// ```
/// use laneway_runtime::{lane, mailbox::Inbox, sync::Mutex};
/// # let runtime = laneway_runtime::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let looks = lane::Spawn::new().name("looks").spawn(|_: Inbox<()>| async {
///     let mutex = Mutex::new(7);
///     let _guard = mutex.lock().await.unwrap();
///     let held = lane::resources().unwrap();
///     assert_eq!((held.locks.len(), &*held.names[0], held.count()), (1, "looks", 2));
/// })?;
/// # lane::join(looks.mailbox.id()).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`NotInLane`].
pub fn resources() -> Result<Resources, NotInLane> {
    let own = context::with_current(|local, slot, own| {
        let id = slot.tenant()?;
        let mut found = Resources::of_owner(id, own);
        found.memory = own.account(slot).map(Memory::of);
        found.pending = note::pending(slot, own);
        Some((local.scheduler.clone(), slot, found))
    });
    let (scheduler, slot, mut found) = own.flatten().ok_or(NotInLane)?;
    found.add_what_tables_say(&scheduler, slot);
    Ok(found)
}

impl Resources {
    /// What the lane itself knows.
    fn of_owner(id: Id, own: &Own) -> Resources {
        let by = By::Lane(id);
        let mut found = Resources::of_nothing(id);
        let lock_use = |(kind, at)| LockUse { kind, at };
        if let Some(index) = &own.index {
            let holds = index.holds().filter_map(|hold| hold.lock.describe(hold.grant, by));
            found.locks.extend(holds.map(lock_use));
            let waits = index.waits.iter().filter_map(|(_, wait)| wait.line.describe(wait.ticket, by));
            found.waits.extend(waits.map(lock_use));
        }
        found.watchers.extend(own.watchers());
        if let Some(more) = &own.more {
            found.names.extend(more.names.iter().cloned());
            found.links.extend(more.links.keys());
            let monitors = more.watching.iter().map(|(number, target)| (MonitorRef { watcher: id, number }, target));
            found.monitors.extend(monitors);
        }
        found.names.sort_unstable();
        found.links.sort_unstable();
        found.watchers.sort_unstable();
        found
    }

    /// What the tables of the runtime know of the lane, which runs here and so lives.
    fn add_what_tables_say(&mut self, scheduler: &Scheduler, slot: SlotRef) {
        self.timers = scheduler.timers.owned_by(slot.key());
        self.descriptors = scheduler.descriptors.owned_by(self.id);
        self.descriptors.sort_unstable();
        self.groups = scheduler.groups.of(self.id);
        self.group_monitors = scheduler.groups.monitors_of(self.id);
        let is_child = |slot: &SlotRef| slot.parent() == Some(self.id);
        self.children = scheduler.table.slots().filter(is_child).filter_map(|slot| live_child(slot, self.id)).collect();
        self.children.sort_unstable();
    }
}

/// The tenant of a slot, if it lives and is a child of `parent`.
fn live_child(slot: SlotRef, parent: Id) -> Option<Id> {
    let id = slot.id()?;
    // What was read belongs to this tenant if it still lives.
    let is_child = slot.parent() == Some(parent);
    (is_child && slot.word.is_live(id.generation().get())).then_some(id)
}
