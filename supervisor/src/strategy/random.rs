//! Random exits, failures, commands and clocks against the machine, checked by a model that knows only what must never
//! happen. `LANEWAY_SEED=<seed> cargo test -p laneway-supervisor random` replays one run.

use std::collections::{BTreeMap, BTreeSet};

use runtime::{ExitReason, Id};

use super::tests::lane;
use super::*;
use crate::child_spec::{Restart, Shutdown};

/// A small generator of numbers; good enough to shuffle a test, the same for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // Marsaglia's xorshift; never 0 once it is not.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_of<X: Clone>(&mut self, choices: &[X]) -> X {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    fn reason(&mut self) -> ExitReason {
        self.one_of(&[ExitReason::Normal, ExitReason::Shutdown, ExitReason::Killed, ExitReason::error("broken")])
    }

    fn spec(&mut self, flags: &Flags) -> ChildSpec<()> {
        let name = self.name();
        let restart = self.one_of(&[Restart::Permanent, Restart::Transient, Restart::Temporary]);
        let shutdown =
            self.one_of(&[Shutdown::Brutal, Shutdown::Infinite, Shutdown::Timeout(Duration::from_millis(50))]);
        let may_be_significant = restart != Restart::Permanent && flags.auto_shutdown != AutoShutdown::Never;
        let significant = may_be_significant && self.below(3) == 0;
        ChildSpec::worker(name, ()).restart(restart).shutdown(shutdown).significant(significant).build().unwrap()
    }

    fn name(&mut self) -> Arc<str> {
        self.one_of(&["a", "b", "c", "d", "e", "f"]).into()
    }
}

/// What the world knows, apart from the machine.
struct Model {
    flags: Flags,
    now: Duration,
    lanes: u32,
    starting: Option<ChildKey>,
    running: BTreeMap<ChildKey, Id>,
    stopping: Option<Id>,
    /// Commands not answered yet, with the child they name and whether they stop it.
    open: BTreeMap<u32, (Arc<str>, bool)>,
    first_start: bool,
    restarts: Vec<Duration>,
    closing: bool,
    over: bool,
}

impl Model {
    fn key_of(&self, lane: Id) -> ChildKey {
        *self.running.iter().find(|(_, running)| **running == lane).expect("only lanes that run are stopped").0
    }

    fn is_asked(&self, name: &str, stops: bool) -> bool {
        self.open.values().any(|(asked, is_stop)| &**asked == name && *is_stop == stops)
    }

    fn check(&mut self, children: &Children<(), u32>, action: Action<u32>) {
        assert!(!self.over, "nothing follows the exit");
        match action {
            Action::Start { child } => {
                assert!(!self.closing, "no start while shutting down");
                assert!(self.starting.is_none() && self.stopping.is_none(), "one thing at a time");
                assert!(!self.running.contains_key(&child), "at most one lane a child");
                self.starting = Some(child);
                let name = children.spec(child).unwrap().id();
                if !self.first_start && !self.is_asked(name, false) && self.flags.strategy == Strategy::OneForOne {
                    self.restarts.push(self.now);
                    let recent = self.restarts.iter().filter(|&&then| self.now - then <= self.flags.period).count();
                    assert!(recent <= self.flags.intensity as usize, "the intensity is respected");
                }
            }
            Action::CancelStart { child, .. } => assert_eq!(self.starting, Some(child)),
            Action::Stop { lane } => {
                assert!(self.starting.is_none() && self.stopping.is_none(), "one thing at a time");
                self.check_order(children, lane);
                self.stopping = Some(lane);
            }
            Action::Kill { lane } => {
                assert!(self.starting.is_none(), "one thing at a time");
                // The last word of a stop that may have begun before the order to shut down.
                if self.stopping != Some(lane) {
                    assert!(self.stopping.is_none(), "one thing at a time");
                    self.check_order(children, lane);
                    self.stopping = Some(lane);
                }
            }
            Action::Ready => {
                assert!(self.first_start, "ready comes once");
                self.first_start = false;
            }
            Action::Answer { to, .. } => assert!(self.open.remove(&to).is_some(), "each command is answered once"),
            Action::Report(report) => self.closing |= report.kind == ReportKind::IntensityReached,
            Action::Exit(_) => {
                assert!(self.running.is_empty() && self.starting.is_none(), "no child is left behind");
                self.over = true;
            }
        }
    }

    /// But for a child that someone wants gone, the last started of those that run is stopped first.
    fn check_order(&self, children: &Children<(), u32>, lane: Id) {
        let child = self.key_of(lane);
        let is_last = self.running.keys().next_back() == Some(&child);
        let name = children.spec(child).unwrap().id();
        assert!(is_last || (!self.closing && self.is_asked(name, true)), "stops go in reverse start order");
    }

    fn exited(&mut self, children: &mut Children<(), u32>, lane: Id, reason: ExitReason) {
        let child = self.key_of(lane);
        self.running.remove(&child);
        if self.stopping == Some(lane) {
            self.stopping = None;
        }
        assert!(children.handle_exited(self.now, lane, reason));
    }
}

fn run(seed: u64) -> u64 {
    // Neighbouring seeds must not begin alike.
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let flags = Flags {
        strategy: dice.one_of(&[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]),
        intensity: dice.below(20) as u32,
        period: Duration::from_millis(200),
        auto_shutdown: dice.one_of(&[AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant]),
    };
    let mut specs: Vec<_> = (0..dice.below(7)).map(|_| dice.spec(&flags)).collect();
    specs.sort_by(|a, b| a.id().cmp(b.id()));
    specs.dedup_by(|a, b| a.id() == b.id());
    let mut children = Children::<(), u32>::new(flags, specs).unwrap();
    let mut model = Model {
        flags,
        now: Duration::from_secs(1),
        lanes: 0,
        starting: None,
        running: BTreeMap::new(),
        stopping: None,
        open: BTreeMap::new(),
        first_start: true,
        restarts: Vec::new(),
        closing: false,
        over: false,
    };
    children.handle_start(model.now);
    let mut steps = 0;
    for step in 0..2_000_u32 {
        while let Some(action) = children.poll_action() {
            model.check(&children, action);
        }
        if model.over {
            break;
        }
        steps += 1;
        let present: BTreeSet<_> = model.running.values().copied().collect();
        let listed = children.list().filter_map(|child| match child.presence {
            Presence::Running(lane) => Some(lane),
            Presence::Restarting | Presence::Absent => None,
        });
        assert_eq!(listed.collect::<BTreeSet<_>>(), present, "the list is right at any moment");
        model.now += Duration::from_millis(dice.below(20));
        match dice.below(10) {
            0..=2 if model.starting.is_some() => {
                let child = model.starting.take().unwrap();
                match dice.below(8) {
                    0 => children.handle_ignored(model.now, child),
                    1 => children.handle_start_failed(model.now, child, ExitReason::error("no start")),
                    _ => {
                        model.lanes += 1;
                        model.running.insert(child, lane(model.lanes));
                        children.handle_started(model.now, child, lane(model.lanes));
                    }
                }
            }
            3..=4 if model.stopping.is_some() => {
                let reason = dice.reason();
                model.exited(&mut children, model.stopping.unwrap(), reason);
            }
            5 if !model.running.is_empty() => {
                let victim = dice.one_of(&model.running.values().copied().collect::<Vec<_>>());
                let reason = dice.reason();
                model.exited(&mut children, victim, reason);
            }
            6..=7 => {
                let (command, stops) = match dice.below(4) {
                    0 => (Command::Start(dice.spec(&flags)), false),
                    1 => (Command::Terminate(dice.name()), true),
                    2 => (Command::Restart(dice.name()), false),
                    _ => (Command::Delete(dice.name()), false),
                };
                let name = match &command {
                    Command::Start(spec) => spec.id().clone(),
                    Command::Terminate(name) | Command::Restart(name) | Command::Delete(name) => name.clone(),
                };
                model.open.insert(step, (name, stops));
                children.handle_command(model.now, step, command);
            }
            8 if children.poll_timeout().is_some_and(|at| at <= model.now) => children.handle_timeout(model.now),
            9 if step > 1_000 || dice.below(40) == 0 => {
                model.closing = true;
                children.handle_shutdown(model.now, ExitReason::Shutdown);
            }
            _ => {}
        }
    }
    assert!(model.over, "it comes to an end");
    assert!(model.open.is_empty(), "each command is answered");
    assert_eq!(children.count().active, 0);
    steps
}

#[test]
fn random_runs_never_break_an_invariant() {
    let seeds = match std::env::var("LANEWAY_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("LANEWAY_SEED is a number"),
        Err(_) => 1..2_001,
    };
    let is_whole = seeds.end - seeds.start > 1;
    let mut steps = 0;
    for seed in seeds {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(taken) => steps += taken,
            Err(cause) => {
                eprintln!("replay: LANEWAY_SEED={seed} cargo test -p laneway-supervisor random");
                std::panic::resume_unwind(cause);
            }
        }
    }
    assert!(!is_whole || steps > 100_000, "the runs are long enough to mean something: {steps} steps");
}
