//! Which worker has been in one section for long, and for too long. Pure: looks and `now` go in, verdicts come out.

use std::time::Duration;

use crate::env::Instant;
use crate::sched::pulse::Section;

/// Rounds of looks in a row in which nothing moved before the watchdog may sleep.
const QUIET_ROUNDS: u32 = 2;

/// What the watchdog remembers of its looks.
#[derive(Debug)]
pub(crate) struct Watch {
    limit: Duration,
    seen: Vec<Option<Seen>>,
    moved: bool,
    beats: u64,
    quiet: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    section: Section,
    since: Instant,
    done: Done,
}

/// What was done about a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Nothing,
    Robbed,
    Reported,
}

/// What a look at a worker means.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is to be done.
    Fine,
    /// It has been in this section for a quarter of the limit, since this time or somewhat before; to be robbed.
    Long(Section, Instant),
    /// It has been in this section, in which it was robbed, for the limit; to be reported.
    TooLong(Section),
}

/// See [`Watch::period`].
pub(crate) fn period(limit: Duration) -> Duration {
    limit / 4
}

impl Watch {
    pub(crate) fn new(workers: usize, limit: Duration) -> Watch {
        Watch { limit, seen: vec![None; workers], moved: false, beats: 0, quiet: 0 }
    }

    /// The time between two rounds of looks: a section is found long when it has lasted for half of the limit, and
    /// too long when it has for the limit and a quarter of it again, at the latest.
    pub(crate) fn period(&self) -> Duration {
        period(self.limit)
    }

    /// A look at a worker. One that is long is said to be so at each look until it was [`robbed`](Watch::robbed), and only then
    /// that it is too long, until that was [`reported`](Watch::reported).
    pub(crate) fn look(&mut self, now: Instant, worker: usize, section: Option<Section>) -> Verdict {
        let seen = &mut self.seen[worker];
        let Some(section) = section else {
            *seen = None;
            return Verdict::Fine;
        };
        self.moved = true;
        match seen {
            Some(seen) if seen.section == section => match (seen.done, now - seen.since) {
                (Done::Nothing, lasts) if lasts >= self.limit / 4 => Verdict::Long(section, seen.since),
                (Done::Robbed, lasts) if lasts >= self.limit => Verdict::TooLong(section),
                _ => Verdict::Fine,
            },
            _ => {
                *seen = Some(Seen { section, since: now, done: Done::Nothing });
                Verdict::Fine
            }
        }
    }

    /// What waits for the worker was taken.
    pub(crate) fn robbed(&mut self, worker: usize) {
        self.note(worker, Done::Robbed);
    }

    /// The worker's section was reported.
    pub(crate) fn reported(&mut self, worker: usize) {
        self.note(worker, Done::Reported);
    }

    fn note(&mut self, worker: usize, done: Done) {
        if let Some(seen) = &mut self.seen[worker] {
            seen.done = done;
        }
    }

    /// All workers were looked at; `all_asleep` says what they did at the end, and `beats` changes with whatever they ran
    /// since the last round. True where the watchdog may sleep: not among short turns that it does not meet, or each of
    /// them would wake it.
    pub(crate) fn end_round(&mut self, all_asleep: bool, beats: u64) -> bool {
        let moved = std::mem::take(&mut self.moved) || !all_asleep || beats != self.beats;
        self.beats = beats;
        self.quiet = if moved { 0 } else { self.quiet + 1 };
        self.quiet >= QUIET_ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::pulse::Pulse;

    const LIMIT: Duration = Duration::from_millis(20);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn sections() -> [Section; 2] {
        let pulse = Pulse::<()>::new();
        [(); 2].map(|()| {
            pulse.begin(None);
            let section = pulse.section().unwrap();
            pulse.end();
            section
        })
    }

    #[test]
    fn a_section_is_long_after_a_quarter_of_the_limit_until_it_is_robbed_and_too_long_after_it_until_it_is_reported() {
        let [one, other] = sections();
        let mut watch = Watch::new(2, LIMIT);
        assert_eq!(watch.look(at(5), 0, Some(one)), Verdict::Fine);
        assert_eq!(watch.look(at(9), 0, Some(one)), Verdict::Fine);
        assert_eq!(watch.look(at(10), 0, Some(one)), Verdict::Long(one, at(5)));
        assert_eq!(watch.look(at(26), 0, Some(one)), Verdict::Long(one, at(5)), "it was not robbed");
        watch.robbed(0);
        assert_eq!(watch.look(at(26), 1, Some(other)), Verdict::Fine);
        assert_eq!(watch.look(at(27), 0, Some(one)), Verdict::TooLong(one));
        assert_eq!(watch.look(at(35), 0, Some(one)), Verdict::TooLong(one));
        watch.reported(0);
        assert_eq!(watch.look(at(45), 0, Some(one)), Verdict::Fine);
        assert_eq!(watch.look(at(45), 1, Some(other)), Verdict::Long(other, at(26)));
        watch.robbed(1);
        assert_eq!(watch.look(at(45), 1, Some(other)), Verdict::Fine);
        assert_eq!(watch.look(at(46), 1, Some(other)), Verdict::TooLong(other));
    }

    #[test]
    fn another_section_or_a_pause_starts_from_the_beginning() {
        let [one, other] = sections();
        let mut watch = Watch::new(1, LIMIT);
        assert_eq!(watch.look(at(0), 0, Some(one)), Verdict::Fine);
        assert_eq!(watch.look(at(30), 0, Some(other)), Verdict::Fine);
        assert_eq!(watch.look(at(60), 0, None), Verdict::Fine);
        assert_eq!(watch.look(at(90), 0, Some(other)), Verdict::Fine);
        assert_eq!(watch.look(at(94), 0, Some(other)), Verdict::Fine);
        assert_eq!(watch.look(at(95), 0, Some(other)), Verdict::Long(other, at(90)));
    }

    #[test]
    fn the_watchdog_sleeps_after_rounds_in_which_all_slept() {
        let [one, _] = sections();
        let mut watch = Watch::new(1, LIMIT);
        assert!(!watch.end_round(true, 0));
        assert!(watch.end_round(true, 0));
        let _ = watch.look(at(0), 0, Some(one));
        assert!(!watch.end_round(true, 0), "a section was seen");
        assert!(!watch.end_round(false, 0), "somebody was awake");
        assert!(!watch.end_round(true, 3), "a section was missed");
        assert!(!watch.end_round(true, 3));
        assert!(watch.end_round(true, 3));
    }
}
