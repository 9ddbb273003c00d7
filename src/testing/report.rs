//! What a sweep found.

use std::fmt;

use runtime::ExitReceipt;

use super::violation::Violation;

/// A sweep in which all was as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Runs of the scenario: one for each kill, one undisturbed before them, and a last one that outlived its kill.
    pub runs: u64,
    /// Runs in which a victim was killed.
    pub kills: u64,
    /// The awaits of the victim until the scenario ended, in the last run, which it outlived; of all victims together,
    /// where every one was swept. 0 where [`only`](super::KillSweep::only) one kill was tried and struck.
    pub awaits: u64,
    /// What each victim's death released, in the order of the kills.
    pub victims: Vec<ExitReceipt>,
    /// What all deaths of all runs released.
    pub released: Totals,
}

/// The sums of many receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Lanes that ended.
    pub lanes: u64,
    /// Bytes of their futures.
    pub bytes: u64,
    /// Timers cancelled.
    pub timers: u64,
    /// Descriptors closed.
    pub descriptors: u64,
    /// Names given up.
    pub names: u64,
    /// Memberships of groups given up.
    pub memberships: u64,
    /// Green locks and permits given back or left to others.
    pub locks: u64,
    /// Places in line for green locks given up.
    pub wait_entries: u64,
    /// Links cut.
    pub links: u64,
    /// Watchers told.
    pub watchers: u64,
    /// Monitors on others taken back.
    pub monitors: u64,
    /// Messages that were queued and not handled.
    pub messages_dropped: u64,
    /// Senders that waited for room and got their message back.
    pub senders_refused: u64,
}

impl Totals {
    pub(super) fn add_receipt(&mut self, receipt: &ExitReceipt) {
        self.add(&Totals {
            lanes: 1,
            bytes: receipt.bytes,
            timers: receipt.timers,
            descriptors: receipt.descriptors,
            names: receipt.names,
            memberships: receipt.memberships,
            locks: receipt.locks,
            wait_entries: receipt.wait_entries,
            links: receipt.links,
            watchers: receipt.watchers,
            monitors: receipt.monitors,
            messages_dropped: receipt.messages_dropped,
            senders_refused: receipt.senders_refused,
        });
    }

    pub(super) fn add(&mut self, more: &Totals) {
        self.lanes += more.lanes;
        self.bytes += more.bytes;
        self.timers += more.timers;
        self.descriptors += more.descriptors;
        self.names += more.names;
        self.memberships += more.memberships;
        self.locks += more.locks;
        self.wait_entries += more.wait_entries;
        self.links += more.links;
        self.watchers += more.watchers;
        self.monitors += more.monitors;
        self.messages_dropped += more.messages_dropped;
        self.senders_refused += more.senders_refused;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { lanes, bytes, timers, descriptors, names, locks, wait_entries, links, watchers, monitors, .. } =
            self;
        write!(f, "{lanes} lanes, {bytes} bytes, {timers} timers, {descriptors} descriptors, {names} names, ")?;
        write!(f, "{} memberships, {locks} locks, {wait_entries} places in line, ", self.memberships)?;
        write!(f, "{links} links, {watchers} watchers, {monitors} monitors, ")?;
        write!(f, "{} messages, {} waiting senders", self.messages_dropped, self.senders_refused)
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SweepReport { runs, kills, awaits, released, .. } = self;
        write!(f, "{kills} kills in {runs} runs, over {awaits} awaits; all deaths released {released}")
    }
}

/// A run of a sweep in which something was not as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub struct SweepFailure {
    /// At which of its awaits the victim was to be killed in this run, counted from 1; `None` in the undisturbed run.
    pub at_await: Option<u64>,
    /// Whether it was killed there. If not, the scenario is wrong also where nobody is killed.
    pub killed: bool,
    /// What was wrong, in the order in which it was found; not empty.
    pub violations: Vec<Violation>,
    /// The victim, in words.
    pub victim: String,
    /// Workers, time and seed, in words.
    pub setting: String,
}

impl fmt::Display for SweepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SweepFailure { victim, setting, .. } = self;
        match self.at_await {
            None => write!(f, "the undisturbed run of the sweep for {victim} failed")?,
            Some(at) if self.killed => write!(f, "killing {victim} at its await {at} left things wrong")?,
            Some(at) => write!(f, "the run that was to kill {victim} at its await {at}, and did not, failed")?,
        }
        for violation in &self.violations {
            write!(f, "\n  - {violation}")?;
        }
        write!(f, "\n  ({setting}")?;
        if let Some(at) = self.at_await {
            write!(f, "; to see this run alone: KillSweep::only({at})")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for SweepFailure {}
