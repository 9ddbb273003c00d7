//! Facts about the machine, driven by a supervisor's lane in miniature that carries out every action at once and keeps
//! a log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

use runtime::{ExitReason, Id, Namespace};

use super::*;
use crate::child_spec::{ChildSpecBuilder, Restart, Shutdown};
use Restart::{Permanent, Temporary, Transient};

pub(super) fn lane(number: u32) -> Id {
    Id::new(number, Namespace::new(1).unwrap(), NonZeroU16::MIN)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn broken() -> ExitReason {
    ExitReason::error("broken")
}

/// What comes of a start.
enum Outcome {
    Runs,
    Ignores,
    Fails,
    /// Nothing, until the test says so.
    Hangs,
}

struct World {
    children: Children<(), u32>,
    now: Duration,
    log: Vec<String>,
    reports: Vec<(ReportKind, String)>,
    replies: BTreeMap<u32, Result<Option<Id>, ChildError>>,
    /// What comes of the next starts of a child; it runs where nothing is said.
    script: BTreeMap<&'static str, VecDeque<Outcome>>,
    /// Those that do not heed a request to end.
    deaf: BTreeSet<&'static str>,
    /// With which reason those end that are asked to.
    manners: BTreeMap<&'static str, ExitReason>,
    ending: Option<Ending>,
    lanes: u32,
    names: BTreeMap<Id, String>,
    hanging: Option<ChildKey>,
    asked: u32,
}

impl World {
    fn new(flags: Flags, specs: Vec<ChildSpecBuilder<()>>) -> World {
        let specs = specs.into_iter().map(|spec| spec.build().unwrap()).collect();
        World {
            children: Children::new(flags, specs).unwrap(),
            now: s(100),
            log: Vec::new(),
            reports: Vec::new(),
            replies: BTreeMap::new(),
            script: BTreeMap::new(),
            deaf: BTreeSet::new(),
            manners: BTreeMap::new(),
            ending: None,
            lanes: 0,
            names: BTreeMap::new(),
            hanging: None,
            asked: 0,
        }
    }

    /// Permanent children of these names, started, with much patience.
    fn started(strategy: Strategy, names: &[&'static str]) -> World {
        let flags = Flags { strategy, intensity: 100, ..Flags::default() };
        World::new(flags, names.iter().map(|&name| ChildSpec::worker(name, ())).collect()).start()
    }

    fn start(mut self) -> World {
        self.children.handle_start(self.now);
        self.run();
        self
    }

    fn will(&mut self, name: &'static str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.script.entry(name).or_default().extend(outcomes);
    }

    fn run(&mut self) {
        while let Some(action) = self.children.poll_action() {
            assert!(self.ending.is_none(), "nothing follows the exit");
            match action {
                Action::Start { child } => {
                    let name = self.children.spec(child).unwrap().id().to_string();
                    self.log.push(format!("start {name}"));
                    let script = self.script.get_mut(name.as_str());
                    let outcome = script.and_then(VecDeque::pop_front).unwrap_or(Outcome::Runs);
                    self.started_with(child, outcome);
                }
                Action::CancelStart { child, .. } => {
                    self.log.push(format!("cancel {}", self.children.spec(child).unwrap().id()));
                }
                Action::Stop { lane } => {
                    let name = self.names[&lane].clone();
                    self.log.push(format!("stop {name}"));
                    if !self.deaf.contains(name.as_str()) {
                        let reason = self.manners.get(name.as_str()).cloned().unwrap_or(ExitReason::Shutdown);
                        assert!(self.children.handle_exited(self.now, lane, reason));
                    }
                }
                Action::Kill { lane } => {
                    self.log.push(format!("kill {}", self.names[&lane]));
                    assert!(self.children.handle_exited(self.now, lane, ExitReason::Killed));
                }
                Action::Ready => self.log.push("ready".to_owned()),
                Action::Answer { to, reply } => {
                    assert!(self.replies.insert(to, reply).is_none(), "a command is answered once");
                }
                Action::Report(report) => self.reports.push((report.kind, report.child.to_string())),
                Action::Exit(ending) => {
                    self.log.push("exit".to_owned());
                    self.ending = Some(ending);
                }
            }
        }
    }

    fn started_with(&mut self, child: ChildKey, outcome: Outcome) {
        match outcome {
            Outcome::Runs => {
                self.lanes += 1;
                let name = self.children.spec(child).unwrap().id().to_string();
                self.names.insert(lane(self.lanes), name);
                self.children.handle_started(self.now, child, lane(self.lanes));
            }
            Outcome::Ignores => self.children.handle_ignored(self.now, child),
            Outcome::Fails => self.children.handle_start_failed(self.now, child, broken()),
            Outcome::Hangs => self.hanging = Some(child),
        }
    }

    fn unhang(&mut self, outcome: Outcome) {
        let child = self.hanging.take().unwrap();
        self.started_with(child, outcome);
        self.run();
    }

    fn lane_of(&self, name: &str) -> Id {
        match self.children.find(name).map(|child| child.presence) {
            Some(Presence::Running(lane)) => lane,
            other => panic!("{name} does not run: {other:?}"),
        }
    }

    fn presence(&self, name: &str) -> Option<Presence> {
        self.children.find(name).map(|child| child.presence)
    }

    /// The child ends of its own; the log begins anew.
    fn exit(&mut self, name: &str, reason: ExitReason) {
        self.log.clear();
        let lane = self.lane_of(name);
        assert!(self.children.handle_exited(self.now, lane, reason));
        self.run();
    }

    fn begin(&mut self, command: Command<()>) -> u32 {
        self.log.clear();
        self.asked += 1;
        self.children.handle_command(self.now, self.asked, command);
        self.run();
        self.asked
    }

    fn ask(&mut self, command: Command<()>) -> Result<Option<Id>, ChildError> {
        let ticket = self.begin(command);
        self.replies.remove(&ticket).expect("the command is answered")
    }

    fn add(&mut self, spec: ChildSpecBuilder<()>) -> Result<Option<Id>, ChildError> {
        self.ask(Command::Start(spec.build().unwrap()))
    }

    fn shut_down(&mut self) {
        self.log.clear();
        self.children.handle_shutdown(self.now, ExitReason::Shutdown);
        self.run();
    }

    fn time_passes(&mut self, by: Duration) {
        self.now += by;
        self.children.handle_timeout(self.now);
        self.run();
    }
}

fn child(name: &str, restart: Restart) -> ChildSpecBuilder<()> {
    ChildSpec::worker(name, ()).restart(restart)
}

fn significant(name: &str, restart: Restart) -> ChildSpecBuilder<()> {
    child(name, restart).significant(true)
}

#[test]
fn otp_049_children_start_in_order_each_after_the_one_before_is_there() {
    let mut world = World::new(Flags::default(), vec![child("a", Permanent), child("b", Permanent)]);
    world.will("a", [Outcome::Hangs]);
    let mut world = world.start();
    assert_eq!(world.log, ["start a"], "b and the report wait for a");
    world.unhang(Outcome::Runs);
    assert_eq!(world.log, ["start a", "start b", "ready"]);
}

#[test]
fn otp_050_a_failed_start_stops_those_before_in_reverse_and_names_the_child() {
    let mut world = World::new(
        Flags::default(),
        ["a", "b", "c", "d"].map(|name| ChildSpec::worker(name, ())).into_iter().collect(),
    );
    world.will("c", [Outcome::Fails]);
    let world = world.start();
    assert_eq!(world.log, ["start a", "start b", "start c", "stop b", "stop a", "exit"]);
    let ending = world.ending.unwrap();
    assert_eq!(ending, Ending::FailedToStart { child: "c".into(), reason: broken() });
    assert!(matches!(ending.reason(), ExitReason::ShutdownWith(_)));
    assert_eq!(world.reports, [(ReportKind::StartError, "c".to_owned())]);
}

#[test]
fn otp_051_a_child_that_declines_keeps_its_spec_unless_temporary() {
    let mut world =
        World::new(Flags::default(), vec![child("p", Permanent), child("t", Transient), child("x", Temporary)]);
    for name in ["p", "t", "x"] {
        world.will(name, [Outcome::Ignores]);
    }
    let mut world = world.start();
    assert_eq!(world.log.last().unwrap(), "ready");
    assert_eq!(world.presence("p"), Some(Presence::Absent));
    assert_eq!(world.presence("t"), Some(Presence::Absent));
    assert_eq!(world.presence("x"), None);
    world.will("y", [Outcome::Ignores]);
    assert_eq!(world.add(child("y", Temporary)), Ok(None));
    assert_eq!(world.presence("y"), None);
    assert!(world.ask(Command::Restart("p".into())).unwrap().is_some());
}

#[test]
fn otp_052_defaults_of_a_supervisor() {
    let flags = Flags::default();
    assert_eq!(flags.strategy, Strategy::OneForOne);
    assert_eq!((flags.intensity, flags.period), (1, s(5)));
    assert_eq!(flags.auto_shutdown, AutoShutdown::Never);
}

#[test]
fn otp_053_senseless_sets_of_specs_are_refused() {
    let new = |flags, specs: Vec<ChildSpecBuilder<()>>| {
        let specs = specs.into_iter().map(|spec| spec.build().unwrap()).collect();
        Children::<(), u32>::new(flags, specs).unwrap_err()
    };
    let flags = Flags::default();
    assert_eq!(new(flags, vec![child("a", Permanent), child("a", Transient)]), SpecError::DuplicateId("a".into()));
    assert_eq!(new(Flags { period: Duration::ZERO, ..flags }, vec![]), SpecError::ZeroPeriod);
    let refused = SpecError::SignificantWithoutAutoShutdown("a".into());
    assert_eq!(new(flags, vec![significant("a", Transient)]), refused);
    let mut world = World::started(Strategy::OneForOne, &[]);
    assert_eq!(world.add(significant("a", Transient)), Err(ChildError::Spec(refused)));
}

#[test]
fn otp_054_permanent_restarts_after_any_end() {
    let mut world = World::started(Strategy::OneForOne, &["a"]);
    for reason in [
        ExitReason::Normal,
        ExitReason::Shutdown,
        ExitReason::ShutdownWith("x".into()),
        ExitReason::Killed,
        ExitReason::NoProc,
        broken(),
    ] {
        let before = world.lane_of("a");
        world.exit("a", reason);
        assert_eq!(world.log, ["start a"]);
        assert_ne!(world.lane_of("a"), before);
    }
}

#[test]
fn otp_055_transient_restarts_only_after_failure_and_keeps_its_spec() {
    let mut world = World::new(Flags { intensity: 9, ..Flags::default() }, vec![child("a", Transient)]).start();
    world.exit("a", broken());
    assert_eq!(world.log, ["start a"]);
    for reason in [ExitReason::Normal, ExitReason::Shutdown, ExitReason::ShutdownWith("x".into())] {
        world.exit("a", reason);
        assert!(world.log.is_empty());
        assert_eq!(world.presence("a"), Some(Presence::Absent));
        assert!(world.ask(Command::Restart("a".into())).unwrap().is_some());
    }
}

#[test]
fn otp_056_temporary_never_restarts_and_its_id_is_free_again() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let flags = Flags { strategy, ..Flags::default() };
        let mut world = World::new(flags, vec![child("p", Permanent), child("t", Temporary)]).start();
        world.exit("t", broken());
        assert!(world.log.is_empty());
        assert_eq!(world.presence("t"), None);
        assert!(world.add(child("t", Temporary)).unwrap().is_some());
        world.exit("p", broken());
        let bystander_lives = strategy == Strategy::OneForOne;
        assert_eq!(world.presence("t").is_some(), bystander_lives, "{strategy:?}");
        assert!(!world.log.contains(&"start t".to_owned()));
    }
}

#[test]
fn otp_057_one_restart_too_many_stops_all_in_reverse_and_the_supervisor_with_shutdown() {
    for intensity in [0, 1, 3] {
        let specs = vec![child("a", Permanent), child("b", Permanent), child("c", Permanent)];
        let mut world = World::new(Flags { intensity, ..Flags::default() }, specs).start();
        for _ in 0..intensity {
            world.exit("b", broken());
            assert_eq!(world.log, ["start b"]);
        }
        world.exit("b", broken());
        assert_eq!(world.log, ["stop c", "stop a", "exit"], "intensity {intensity}");
        let ending = world.ending.unwrap();
        assert_eq!((&ending, ending.reason()), (&Ending::IntensityReached, ExitReason::Shutdown));
        assert_eq!(world.reports.last().unwrap().0, ReportKind::IntensityReached);
    }
}

#[test]
fn otp_058_old_restarts_do_not_count() {
    let mut world = World::new(Flags::default(), vec![child("a", Permanent)]).start();
    for _ in 0..20 {
        world.exit("a", broken());
        assert_eq!(world.log, ["start a"]);
        world.time_passes(Duration::from_millis(5001));
    }
    assert!(world.ending.is_none());
}

#[test]
fn otp_059_one_for_all_stops_in_reverse_and_restarts_in_start_order() {
    let specs = vec![child("a", Permanent), child("b", Transient), child("x", Temporary), child("c", Permanent)];
    let flags = Flags { strategy: Strategy::OneForAll, intensity: 1, ..Flags::default() };
    let mut world = World::new(flags, specs).start();
    world.exit("b", broken());
    assert_eq!(world.log, ["stop c", "stop x", "stop a", "start a", "start b", "start c"]);
    assert!(world.ending.is_none(), "the whole round is one restart");
    world.time_passes(s(6));
    world.exit("a", ExitReason::Normal);
    assert_eq!(world.log, ["stop c", "stop b", "start a", "start b", "start c"]);
}

#[test]
fn otp_060_rest_for_one_leaves_earlier_children_alone() {
    let mut world = World::started(Strategy::RestForOne, &["a", "b", "c", "d"]);
    let before = ["a", "b", "c", "d"].map(|name| world.lane_of(name));
    world.exit("b", broken());
    assert_eq!(world.log, ["stop d", "stop c", "start b", "start c", "start d"]);
    let after = ["a", "b", "c", "d"].map(|name| world.lane_of(name));
    assert_eq!(before[0], after[0]);
    assert!((1..4).all(|at| before[at] != after[at]));
}

#[test]
fn otp_061_one_for_one_leaves_siblings_alone() {
    let mut world = World::started(Strategy::OneForOne, &["a", "b", "c"]);
    let before = (world.lane_of("a"), world.lane_of("c"));
    world.exit("b", broken());
    assert_eq!(world.log, ["start b"]);
    assert_eq!((world.lane_of("a"), world.lane_of("c")), before);
}

#[test]
fn otp_062_each_child_is_stopped_as_its_own_spec_says() {
    let specs = vec![
        ChildSpec::worker("endless", ()).shutdown(Shutdown::Infinite),
        ChildSpec::worker("slow", ()).shutdown(s(7)),
        ChildSpec::worker("brutal", ()).shutdown(Shutdown::Brutal),
    ];
    let mut world = World::new(Flags::default(), specs).start();
    world.deaf.extend(["slow", "endless"]);
    world.shut_down();
    assert_eq!(world.log, ["kill brutal", "stop slow"]);
    assert_eq!(world.children.poll_timeout(), Some(s(107)));
    world.time_passes(s(6));
    assert_eq!(world.log, ["kill brutal", "stop slow"], "the limit has not passed");
    world.time_passes(s(1));
    assert_eq!(world.log, ["kill brutal", "stop slow", "kill slow", "stop endless"]);
    assert_eq!(world.children.poll_timeout(), None);
    world.time_passes(s(1_000_000));
    assert_eq!(world.log.len(), 4, "infinite waits");
    let endless = world.lane_of("endless");
    assert!(world.children.handle_exited(world.now, endless, ExitReason::Shutdown));
    world.run();
    assert_eq!(world.ending, Some(Ending::Asked(ExitReason::Shutdown)));
    assert_eq!(world.reports, [(ReportKind::ShutdownError, "slow".to_owned())]);
}

#[test]
fn otp_063_an_end_otherwise_than_asked_is_reported_once_and_no_failure() {
    let mut world = World::started(Strategy::OneForOne, &["a", "b", "c"]);
    world.manners.insert("b", broken());
    world.shut_down();
    assert_eq!(world.log, ["stop c", "stop b", "stop a", "exit"]);
    assert_eq!(world.reports, [(ReportKind::ShutdownError, "b".to_owned())]);
    assert_eq!(world.ending, Some(Ending::Asked(ExitReason::Shutdown)));
}

#[test]
fn otp_064_start_child_with_a_used_id() {
    let mut world = World::started(Strategy::OneForOne, &["a"]);
    let running = world.lane_of("a");
    assert_eq!(world.add(child("a", Permanent)), Err(ChildError::AlreadyStarted(running)));
    assert_eq!(world.ask(Command::Terminate("a".into())), Ok(None));
    assert_eq!(world.add(child("a", Permanent)), Err(ChildError::AlreadyPresent));
    world.will("b", [Outcome::Fails]);
    assert_eq!(world.add(child("b", Permanent)), Err(ChildError::Failed(broken())));
    assert_eq!(world.presence("b"), None, "a child that failed to start is not kept");
}

#[test]
fn otp_065_restart_child_and_delete_child_refuse_what_runs_or_is_unknown() {
    let mut world = World::started(Strategy::OneForOne, &["a"]);
    let running = world.lane_of("a");
    assert_eq!(world.ask(Command::Restart("a".into())), Err(ChildError::Running(running)));
    assert_eq!(world.ask(Command::Delete("a".into())), Err(ChildError::Running(running)));
    for command in [Command::Restart("z".into()), Command::Delete("z".into()), Command::Terminate("z".into())] {
        assert_eq!(world.ask(command), Err(ChildError::NotFound));
    }
    world.ask(Command::Terminate("a".into())).unwrap();
    world.will("a", [Outcome::Fails]);
    assert_eq!(world.ask(Command::Restart("a".into())), Err(ChildError::Failed(broken())));
    assert_eq!(world.ask(Command::Delete("a".into())), Ok(None));
    assert_eq!(world.presence("a"), None);
}

#[test]
fn otp_065_between_two_tries_a_child_is_restarting_and_commands_say_so() {
    let mut world = World::started(Strategy::OneForOne, &["a"]);
    world.will("a", [Outcome::Hangs, Outcome::Hangs]);
    world.exit("a", broken());
    assert_eq!(world.presence("a"), Some(Presence::Restarting));
    let tickets = [Command::Restart("a".into()), Command::Delete("a".into()), Command::Start(a_spec())]
        .map(|command| world.begin(command));
    assert!(world.replies.is_empty(), "commands wait for the start under way");
    // The failure puts the next try behind the commands that came first.
    world.unhang(Outcome::Fails);
    let replies = tickets.map(|ticket| world.replies.remove(&ticket).unwrap());
    use ChildError::{AlreadyPresent, Restarting};
    assert_eq!(replies, [Err(Restarting), Err(Restarting), Err(AlreadyPresent)]);
    world.unhang(Outcome::Runs);
    assert!(matches!(world.presence("a"), Some(Presence::Running(_))));
}

fn a_spec() -> ChildSpec<()> {
    ChildSpec::worker("a", ()).build().unwrap()
}

#[test]
fn terminate_child_ends_the_tries_to_restart() {
    let mut world = World::started(Strategy::OneForOne, &["a"]);
    world.will("a", [Outcome::Hangs]);
    world.exit("a", broken());
    let ticket = world.begin(Command::Terminate("a".into()));
    world.unhang(Outcome::Fails);
    assert_eq!(world.replies[&ticket], Ok(None));
    assert!(world.log.is_empty(), "no further try");
    assert_eq!(world.presence("a"), Some(Presence::Absent));
}

#[test]
fn a_restart_that_fails_counts_again_and_is_tried_until_the_intensity_is_reached() {
    let mut world =
        World::new(Flags { intensity: 3, ..Flags::default() }, vec![child("s", Permanent), child("a", Permanent)])
            .start();
    world.will("a", [Outcome::Fails, Outcome::Fails, Outcome::Fails]);
    world.exit("a", broken());
    assert_eq!(world.log, ["start a", "start a", "start a", "stop s", "exit"]);
    assert_eq!(world.ending, Some(Ending::IntensityReached));
}

#[test]
fn a_group_restart_that_fails_is_tried_again_from_the_child_that_failed() {
    let mut world = World::started(Strategy::RestForOne, &["a", "b", "c"]);
    world.will("b", [Outcome::Fails]);
    world.exit("a", broken());
    assert_eq!(world.log, ["stop c", "stop b", "start a", "start b", "start b", "start c"]);
    let mut world = World::started(Strategy::OneForAll, &["a", "b", "c"]);
    world.will("b", [Outcome::Fails]);
    world.exit("c", broken());
    assert_eq!(world.log, ["stop b", "stop a", "start a", "start b", "stop a", "start a", "start b", "start c"]);
}

#[test]
fn otp_066_terminate_child_keeps_the_spec_and_does_not_count() {
    let flags = Flags { intensity: 0, ..Flags::default() };
    let mut world = World::new(flags, vec![child("a", Permanent), child("t", Temporary)]).start();
    for _ in 0..5 {
        assert_eq!(world.ask(Command::Terminate("a".into())), Ok(None));
        assert_eq!(world.log, ["stop a"]);
        assert_eq!(world.presence("a"), Some(Presence::Absent));
        assert_eq!(world.ask(Command::Terminate("a".into())), Ok(None), "a second time is no error");
        assert!(world.ask(Command::Restart("a".into())).unwrap().is_some());
    }
    assert_eq!(world.ask(Command::Terminate("t".into())), Ok(None));
    assert_eq!(world.presence("t"), None);
    assert!(world.ending.is_none());
}

#[test]
fn otp_067_counts_are_right_also_while_some_restart() {
    let specs = vec![child("a", Permanent), ChildSpec::supervisor("b", ()), child("c", Transient)];
    let mut world = World::new(Flags::default(), specs).start();
    let counts = |active| ChildCounts { specs: 3, active, supervisors: 1, workers: 2 };
    assert_eq!(world.children.count(), counts(3));
    world.will("b", [Outcome::Hangs]);
    world.exit("b", broken());
    assert_eq!(world.children.count(), counts(2));
    let names: Vec<_> = world.children.list().map(|child| child.id.to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    world.unhang(Outcome::Runs);
    world.exit("c", ExitReason::Normal);
    assert_eq!(world.children.count(), counts(2));
}

#[test]
fn otp_072_auto_shutdown_any() {
    let flags = Flags { auto_shutdown: AutoShutdown::AnySignificant, intensity: 5, ..Flags::default() };
    let specs = || {
        vec![significant("t", Transient), significant("x", Temporary), child("plain", Transient), child("p", Permanent)]
    };
    let mut world = World::new(flags, specs()).start();
    world.exit("plain", ExitReason::Normal);
    assert!(world.ending.is_none(), "only significant children end the supervisor");
    world.exit("t", broken());
    assert_eq!(world.log, ["start t"], "a transient that fails restarts instead");
    world.exit("t", ExitReason::Normal);
    assert_eq!(world.log, ["stop p", "stop x", "exit"]);
    let ending = world.ending.unwrap();
    assert_eq!((&ending, ending.reason()), (&Ending::AutoShutdown, ExitReason::Shutdown));
    let mut world = World::new(flags, specs()).start();
    world.exit("x", broken());
    assert_eq!(world.ending, Some(Ending::AutoShutdown), "a significant temporary ends it anyhow");
}

#[test]
fn otp_073_auto_shutdown_all_ends_at_the_last_significant_child() {
    let flags = Flags { auto_shutdown: AutoShutdown::AllSignificant, ..Flags::default() };
    let specs = vec![significant("a", Transient), significant("b", Temporary), child("p", Permanent)];
    let mut world = World::new(flags, specs).start();
    world.exit("a", ExitReason::Normal);
    assert!(world.ending.is_none());
    world.exit("b", ExitReason::Normal);
    assert_eq!(world.log, ["stop p", "exit"]);
    assert_eq!(world.ending, Some(Ending::AutoShutdown));
}

#[test]
fn otp_074_significant_children_that_the_supervisor_stops_do_not_end_it() {
    for auto_shutdown in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        let flags = Flags { auto_shutdown, strategy: Strategy::OneForAll, ..Flags::default() };
        let specs = vec![significant("a", Transient), significant("b", Temporary), child("p", Permanent)];
        let mut world = World::new(flags, specs).start();
        world.ask(Command::Terminate("a".into())).unwrap();
        world.exit("p", broken());
        assert_eq!(world.log, ["stop b", "start a", "start p"]);
        assert!(world.ending.is_none());
    }
}

#[test]
fn otp_075_the_exit_of_an_unknown_lane_changes_nothing() {
    let mut world = World::started(Strategy::OneForAll, &["a"]);
    world.log.clear();
    assert!(!world.children.handle_exited(world.now, lane(4711), broken()));
    world.run();
    assert!(world.log.is_empty());
}

#[test]
fn otp_075_shutdown_cancels_the_start_under_way() {
    let mut world = World::new(Flags::default(), ["a", "b", "c"].map(|name| child(name, Permanent)).into());
    world.will("b", [Outcome::Hangs]);
    let mut world = world.start();
    world.shut_down();
    assert_eq!(world.log, ["cancel b"]);
    world.unhang(Outcome::Runs);
    assert_eq!(world.log, ["cancel b", "stop b", "stop a", "exit"], "what was there after all is stopped");
}

#[test]
fn shutdown_before_the_start_ends_at_once() {
    let mut world = World::new(Flags::default(), vec![child("a", Permanent)]);
    world.shut_down();
    let world = world.start();
    assert_eq!(world.log, ["exit"]);
}

#[test]
fn shutdown_answers_the_commands_that_wait() {
    let mut world = World::started(Strategy::OneForOne, &["a", "b"]);
    world.deaf.insert("b");
    let terminate = world.begin(Command::Terminate("b".into()));
    let start = world.begin(Command::Start(ChildSpec::worker("c", ()).build().unwrap()));
    world.shut_down();
    assert_eq!(world.replies[&start], Err(ChildError::ShuttingDown));
    assert!(world.log.is_empty(), "the stop under way is waited for");
    world.time_passes(s(5));
    assert_eq!(world.replies[&terminate], Ok(None));
    assert_eq!(world.log, ["kill b", "stop a", "exit"]);
    let late = world.children.count();
    assert_eq!(late.active, 0);
}

#[test]
fn a_child_that_dies_while_a_group_is_stopped_is_not_stopped_again() {
    let mut world = World::started(Strategy::OneForAll, &["a", "b", "c"]);
    world.deaf.insert("c");
    world.exit("b", broken());
    assert_eq!(world.log, ["stop c"]);
    let a = world.lane_of("a");
    assert!(world.children.handle_exited(world.now, a, broken()));
    world.time_passes(s(5));
    assert_eq!(world.log, ["stop c", "kill c", "start a", "start b", "start c"]);
    use ReportKind::{ChildTerminated, ShutdownError};
    let reports: Vec<_> = world.reports.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
    assert_eq!(reports, [(ChildTerminated, "b"), (ShutdownError, "c"), (ShutdownError, "a")]);
}

#[test]
fn otp_071_ten_thousand_children_start_and_stop_in_one_step_each() {
    let specs = (0..10_000).map(|number| ChildSpec::worker(number.to_string(), ())).collect();
    let mut world = World::new(Flags::default(), specs).start();
    assert_eq!(world.log.len(), 10_001);
    world.shut_down();
    assert_eq!(world.log.len(), 10_001);
    assert_eq!((world.log[0].as_str(), world.log[9_999].as_str()), ("stop 9999", "stop 0"));
}
