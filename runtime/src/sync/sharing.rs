//! What many may have to read or one to write: the state of a read-write lock, and what its guards hold.
//!
//! Owns: [`Sharing`], the source for a line; [`Core`], the lasting part of a lock; [`Share`] and [`Sole`], the holds of
//! those who read and of the one who writes.
//!
//! # Invariants
//! 1. `readers` counts the shares that are held or set aside, `writing` says that the whole is. Never both.
//! 2. A record stands for each share, and for the whole, from when it was taken to when its guard is dropped. Only that ends
//!    it: the death of a lane marks its record as lost, since the guard may be in use.

use std::panic::Location;
use std::ptr;
use std::sync::Arc;

use super::guarded::{Excludes, Opens};
use super::hold::Hold;
use super::holder::Holder;
use super::owner::Trouble;
use super::pool::Pool;
use super::records::{self, Records};
use crate::slab::Slab;
use crate::wait_graph::lock::{Awaited, Obstacle};
use crate::wait_graph::note::{UNKNOWN, handed_out_by};
use crate::wait_list::line::{Source, Taker};
use crate::wait_list::{By, Ticket};

/// In which way the lock is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Read,
    Write,
}

/// The state of a read-write lock.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    readers: usize,
    writing: bool,
    records: Slab<Record>,
    /// Records that are lost: of readers, and of the one who writes.
    lost_readers: usize,
    lost_writer: bool,
    /// A writer has died, and nobody has put right what he left.
    marked: bool,
    /// The last writer who died and was not done. He matters while it is marked, or his record is lost.
    died: Option<Arc<Holder>>,
    /// The last reader whose record was lost. He matters while there is one.
    lost_reader: Option<Arc<Holder>>,
}

/// One who holds.
#[derive(Debug)]
struct Record {
    number: u64,
    taker: Taker,
    /// What the lane had handed out when it took it: while that is all, the guard is in its hands.
    handed_out: u32,
    want: Want,
    is_lost: bool,
}

/// What was granted.
#[derive(Debug)]
pub(crate) struct Granted {
    grant: Ticket,
    /// Who left it marked.
    pub(crate) died: Option<Arc<Holder>>,
}

impl Sharing {
    fn record(&self, grant: Ticket) -> Option<&Record> {
        self.records.at(grant.at).filter(|record| record.number == grant.number)
    }

    /// The guard is dropped; by a `death` where it says so. False where the record had ended before.
    fn finish(&mut self, grant: Ticket, death: Option<Holder>) -> bool {
        let Some(Record { want, is_lost, .. }) =
            self.records.remove_if(grant.at, |record| record.number == grant.number)
        else {
            return false;
        };
        match want {
            Want::Read => {
                self.readers -= 1;
                self.lost_readers -= usize::from(is_lost);
            }
            Want::Write => {
                self.writing = false;
                self.lost_writer = false;
                self.marked |= is_lost || death.is_some();
                if let Some(death) = death {
                    self.died = Some(Arc::new(death));
                }
            }
        }
        true
    }

    /// The holder has died, and the guard may be in use: false where it is not.
    fn lose(&mut self, grant: Ticket, by: By, holder: Holder) -> bool {
        let stands = |record: &&mut Record| record.number == grant.number && record.taker.by == by && !record.is_lost;
        let Some(record) = self.records.at_mut(grant.at).filter(stands) else { return false };
        record.is_lost = true;
        match record.want {
            Want::Read => {
                self.lost_readers += 1;
                self.lost_reader = Some(Arc::new(holder));
            }
            Want::Write => {
                self.lost_writer = true;
                self.died = Some(Arc::new(holder));
            }
        }
        true
    }
}

impl Source for Sharing {
    type Fast = ();
    type Want = Want;
    type Grant = Granted;
    type Refusal = Arc<Holder>;

    const KIND: &'static str = "read-write lock";

    fn refusal(&self, (): &(), want: Want) -> Option<Arc<Holder>> {
        match want {
            _ if self.lost_writer => self.died.clone(),
            Want::Write if self.lost_readers != 0 => self.lost_reader.clone(),
            _ => None,
        }
    }

    fn set_aside(&mut self, (): &(), want: Want) -> bool {
        match want {
            Want::Read if !self.writing => self.readers += 1,
            Want::Write if !self.writing && self.readers == 0 => self.writing = true,
            _ => return false,
        }
        true
    }

    fn put_back(&mut self, (): &(), want: Want) {
        match want {
            Want::Read => self.readers -= 1,
            Want::Write => self.writing = false,
        }
    }

    fn take(&mut self, (): &(), want: Want, taker: Taker, number: u64) -> Granted {
        let handed_out = taker.by.lane().map_or(UNKNOWN, handed_out_by);
        let at = self.records.insert(Record { number, taker, handed_out, want, is_lost: false });
        Granted { grant: Ticket { at, number }, died: self.died.clone().filter(|_| self.marked) }
    }

    fn renew(&mut self, (): &()) {
        *self = Sharing::default();
    }
}

/// The lasting part of a read-write lock.
pub(crate) type Core = records::Core<Sharing>;

static POOL: Pool<Core> = Pool::new();

impl Records for Sharing {
    fn pool() -> &'static Pool<Core> {
        &POOL
    }

    fn taker(&self, grant: Ticket) -> Option<Taker> {
        self.record(grant).map(|record| record.taker)
    }

    fn takers(&self) -> impl Iterator<Item = Taker> {
        self.records.iter().map(|(_, record)| record.taker)
    }

    fn held_by(&self, by: By) -> usize {
        self.records.iter().filter(|(_, record)| record.taker.by == by && !record.is_lost).count()
    }

    fn end(&mut self, grant: Ticket) -> bool {
        self.finish(grant, None)
    }

    /// The record stays, as a lost one.
    fn abandon(core: &Core, grant: Ticket, by: By) -> bool {
        let Some(holder) = core.taker(grant).map(Holder::of) else { return false };
        let lost = core.line.change(|sharing, ()| sharing.lose(grant, by, holder));
        if lost {
            // Some of them will be refused.
            core.line.wake_all();
        }
        lost
    }
}

impl Core {
    /// What a writer left who died is put right.
    pub(crate) fn recover(&self) {
        self.line.change(|sharing, ()| sharing.marked = false);
    }

    /// Who left it marked, or with a guard that may be in use.
    pub(crate) fn died(&self) -> Option<Arc<Holder>> {
        self.line.look(|sharing| {
            let writer = sharing.died.as_ref().filter(|_| sharing.marked || sharing.lost_writer);
            writer.or(sharing.lost_reader.as_ref().filter(|_| sharing.lost_readers != 0)).cloned()
        })
    }
}

impl Awaited for Core {
    /// Who would write waits for all who have it. Who would read waits for the one who writes, or, where others read, for
    /// those before him in line who would write. These wait for all who have it, and he does not go on before them; so of
    /// any of them who waits for nothing else it is certain.
    ///
    /// A guard that was lost with its lane is nobody's: he is refused the lock, or does not mind.
    fn in_the_way(&self, seat: Ticket, tell: &mut dyn FnMut(Obstacle)) {
        self.line.look_from(seat, |sharing, want, before| {
            if want == Want::Read && !sharing.writing {
                before.filter(|other| other.want == Want::Write).for_each(|other| tell(Obstacle::first(&other)));
                return;
            }
            for (_, Record { taker, handed_out, .. }) in sharing.records.iter().filter(|(_, record)| !record.is_lost) {
                tell(Obstacle::holder(taker.by.lane(), taker.place, *handed_out));
            }
        });
    }
}

/// The hold of one who reads.
#[derive(Debug)]
pub(crate) struct Share(Hold<Core>);

/// The hold of the one who writes.
#[derive(Debug)]
pub(crate) struct Sole {
    hold: Hold<Core>,
    /// That of which this hold is not a part.
    began_in: Trouble,
}

/// A hold, of what was granted.
pub(crate) trait OfGrant: Opens {
    const WANT: Want;

    fn granted(core: &'static Core, granted: &Granted) -> Self;

    fn core(&self) -> &'static Core;
}

impl OfGrant for Share {
    const WANT: Want = Want::Read;

    fn granted(core: &'static Core, granted: &Granted) -> Share {
        Share(Hold::new(core, granted.grant))
    }

    fn core(&self) -> &'static Core {
        self.0.core()
    }
}

impl OfGrant for Sole {
    const WANT: Want = Want::Write;

    fn granted(core: &'static Core, granted: &Granted) -> Sole {
        Sole { hold: Hold::new(core, granted.grant), began_in: Trouble::now() }
    }

    fn core(&self) -> &'static Core {
        self.hold.core()
    }
}

impl Opens for Share {
    fn of(&self) -> *const () {
        self.0.of()
    }
}

impl Opens for Sole {
    fn of(&self) -> *const () {
        self.hold.of()
    }
}

impl Excludes for Sole {}

impl Drop for Sole {
    fn drop(&mut self) {
        if Trouble::now().is_beyond(self.began_in) {
            let core = self.hold.core();
            let death = core.taker(self.hold.grant()).map(Holder::of);
            // The hold then finds its record gone.
            core.line.change(|sharing, ()| sharing.finish(self.hold.grant(), death));
        }
    }
}

/// Who takes here and now.
pub(crate) fn taker(place: &'static Location<'static>) -> Taker {
    Taker { by: crate::lane::index::who_runs(), place }
}

/// Where a lock's lasting part is.
pub(crate) fn address(core: &'static Core) -> *const () {
    ptr::from_ref(core).cast()
}
