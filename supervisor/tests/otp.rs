//! The cases of Erlang/OTP's supervisors, by number, on real lanes in virtual time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

use actors::time::now;
use actors::{
    Actor, Address, Context, Exit, ExitReason, Id, Init, Lane, NotAMailbox, Outcome, Role, Runtime, Spawn, StartError,
    is_alive, join, kill, sleep, spawn, timeout, whereis, yield_now,
};
use laneway_supervisor::{
    AutoShutdown, Chaos, ChildCounts, ChildError, ChildSpec, CommandError, DynamicSupervisor, IntoChild, LaneStart,
    Presence, Restart, Shutdown, SpecError, Strategy, Supervisor, SupervisorError,
};

type Builder = laneway_supervisor::ChildSpecBuilder<LaneStart<Word>>;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn in_virtual_time(test: impl Future<Output = ()>) {
    let runtime = Runtime::builder().workers(1).virtual_time(49).build().unwrap();
    runtime.block_on(test);
    let report = runtime.shutdown(s(10));
    assert!(report.is_clean(), "{report:?}");
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What the worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Panic,
    Normal,
    Shutdown,
    Note,
}

/// How the worker is made.
#[derive(Clone)]
struct Plan {
    name: &'static str,
    log: Log,
    init: fn(u32) -> Result<Init, ExitReason>,
    init_takes: Duration,
    end_takes: Duration,
    ends: Option<ExitReason>,
    starts: u32,
}

impl Plan {
    fn new(name: &'static str, log: &Log) -> Plan {
        let log = log.clone();
        let (init_takes, end_takes) = (Duration::ZERO, Duration::ZERO);
        Plan { name, log, init: |_| Ok(Init::Ready), init_takes, end_takes, ends: None, starts: 0 }
    }

    fn child(mut self) -> Builder {
        let name = self.name;
        ChildSpec::actor(name, move || {
            self.starts += 1;
            Worker(self.clone())
        })
    }
}

fn worker(name: &'static str, log: &Log) -> Builder {
    Plan::new(name, log).child()
}

struct Worker(Plan);

impl Actor for Worker {
    type Msg = Word;

    async fn init(&mut self, cx: &mut Context<Word>) -> Result<Init, ExitReason> {
        cx.trap_exits(true);
        if !self.0.init_takes.is_zero() {
            self.0.log.note(format!("init {}", self.0.name));
            sleep(self.0.init_takes).await;
        }
        let decided = (self.0.init)(self.0.starts);
        if decided == Ok(Init::Ready) {
            self.0.log.note(format!("+{}", self.0.name));
        }
        decided
    }

    async fn handle(&mut self, word: Word, _: &mut Context<Word>) -> Outcome {
        match word {
            Word::Panic => panic!("{} was told to", self.0.name),
            Word::Normal => Err(ExitReason::Normal),
            Word::Shutdown => Err(ExitReason::ShutdownWith("done".into())),
            Word::Note => {
                self.0.log.note(format!("{} notes", self.0.name));
                Ok(())
            }
        }
    }

    async fn stopped(&mut self, reason: &ExitReason, _: &mut Context<Word>) {
        sleep(self.0.end_takes).await;
        self.0.log.note(format!("-{} {}", self.0.name, short(self.0.ends.as_ref().unwrap_or(reason))));
        if let Some(ExitReason::Error(what)) = &self.0.ends {
            panic!("{what}");
        }
    }
}

fn short(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => "normal",
        ExitReason::Shutdown => "shutdown",
        ExitReason::ShutdownWith(_) => "shutdown with",
        ExitReason::Panicked { .. } => "panicked",
        ExitReason::Error(_) => "error",
        ExitReason::Killed => "killed",
        _ => "other",
    }
}

async fn lane_of(supervisor: Supervisor, id: &str) -> Option<Id> {
    match supervisor.find_child(id).await.unwrap()?.presence {
        Presence::Running(lane) => Some(lane),
        _ => None,
    }
}

/// Why a lane ends for which `cause` is the reason to do so, however soon.
async fn end_of(lane: Id, cause: impl Future<Output = ()>) -> ExitReason {
    let mut ended = pin!(join(lane));
    let early = poll_fn(|cx| Poll::Ready(ended.as_mut().poll(cx))).await;
    assert!(early.is_pending(), "it ended before");
    cause.await;
    ended.await
}

/// Tells a worker how to end, and waits until its supervisor has done what it does.
async fn tell(supervisor: Supervisor, id: &str, word: Word) {
    let lane = lane_of(supervisor, id).await.expect("a child that runs");
    Address::<Word>::of(lane).unwrap().send(word).await.unwrap();
    join(lane).await;
    settle().await;
}

/// Lets all that can run run: in virtual time, the clock only moves when nothing can.
async fn settle() {
    sleep(Duration::from_millis(20)).await;
}

#[test]
fn otp_049_children_start_in_order_each_after_the_inits_before_it() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = |name| Plan { init_takes: s(1), ..Plan::new(name, &log) }.child();
        let supervisor = Supervisor::builder("s").child(slow("a")).child(slow("b")).start().await.unwrap();
        assert_eq!(log.take(), ["init a", "+a", "init b", "+b"]);
        supervisor.shutdown().await;
        assert_eq!(log.take(), ["-b shutdown", "-a shutdown"]);
    });
}

#[test]
fn otp_050_a_child_that_fails_stops_those_before_it_in_reverse_and_the_starter_is_told() {
    in_virtual_time(async {
        let log = Log::default();
        let bad = Plan { init: |_| Err(ExitReason::error("no luck")), ..Plan::new("bad", &log) }.child();
        let starting = Supervisor::builder("s")
            .name("fails")
            .child(worker("a", &log))
            .child(worker("b", &log))
            .child(bad)
            .child(worker("c", &log))
            .start();
        let error = starting.await.unwrap_err();
        let reason = ExitReason::error("no luck");
        assert_eq!(error, SupervisorError::FailedToStart { child: "bad".into(), reason });
        assert_eq!(log.take(), ["+a", "+b", "-b shutdown", "-a shutdown"]);
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0);
    });
}

#[test]
fn otp_050_a_starter_that_is_a_lane_outlives_the_start_that_failed() {
    in_virtual_time(async {
        let starter = spawn(async |_: Lane<()>| {
            let never = ChildSpec::worker("never", || async { Err::<Id, _>(StartError::Failed(ExitReason::Killed)) });
            assert!(Supervisor::builder("s").child(never).start().await.is_err());
            sleep(s(1)).await;
            ExitReason::ShutdownWith("it lived".into())
        });
        assert_eq!(join(starter.unwrap().id()).await, ExitReason::ShutdownWith("it lived".into()));
    });
}

#[test]
fn otp_051_a_child_that_declines_keeps_its_spec_unless_temporary() {
    in_virtual_time(async {
        let log = Log::default();
        let shy = |name| Plan { init: |_| Ok(Init::Ignore), ..Plan::new(name, &log) }.child();
        let supervisor = Supervisor::builder("s")
            .child(shy("kept"))
            .child(shy("dropped").restart(Restart::Temporary))
            .start()
            .await
            .unwrap();
        let children = supervisor.which_children().await.unwrap();
        assert_eq!(children.len(), 1);
        assert_eq!((&*children[0].id, children[0].presence), ("kept", Presence::Absent));
        assert_eq!(supervisor.start_child(shy("later")).await, Ok(None));
        let pool = DynamicSupervisor::actor("shy", |plan: Plan| Worker(plan)).start().unwrap();
        let plan = Plan { init: |_| Ok(Init::Ignore), ..Plan::new("shy", &log) };
        assert_eq!(pool.start_child(plan).await, Err(CommandError::Ignored));
        assert_eq!(pool.count_children().await.unwrap().active, 0);
    });
}

#[test]
fn otp_053_senseless_specs_are_refused_before_anything_starts() {
    in_virtual_time(async {
        let log = Log::default();
        let twice = Supervisor::builder("s").child(worker("a", &log)).child(worker("a", &log)).start().await;
        assert_eq!(twice, Err(SupervisorError::Spec(SpecError::DuplicateId("a".into()))));
        let unnamed = Supervisor::builder("s").child(worker("", &log)).start().await;
        assert_eq!(unnamed, Err(SupervisorError::Spec(SpecError::EmptyId)));
        let no_period = Supervisor::builder("s").intensity(1, Duration::ZERO).start().await;
        assert_eq!(no_period, Err(SupervisorError::Spec(SpecError::ZeroPeriod)));
        assert!(log.take().is_empty());
    });
}

#[test]
fn otp_054_to_056_who_is_started_again_after_what() {
    use Restart::{Permanent, Temporary, Transient};
    in_virtual_time(async {
        for (restart, word, again, kept) in [
            (Permanent, Word::Normal, true, true),
            (Permanent, Word::Shutdown, true, true),
            (Permanent, Word::Panic, true, true),
            (Transient, Word::Normal, false, true),
            (Transient, Word::Shutdown, false, true),
            (Transient, Word::Panic, true, true),
            (Temporary, Word::Normal, false, false),
            (Temporary, Word::Panic, false, false),
        ] {
            let log = Log::default();
            let supervisor = Supervisor::builder("s").child(worker("w", &log).restart(restart)).start().await.unwrap();
            tell(supervisor, "w", word).await;
            assert_eq!(lane_of(supervisor, "w").await.is_some(), again, "{restart:?} {word:?}");
            let specs = supervisor.count_children().await.unwrap().specs;
            assert_eq!(specs == 1, kept, "{restart:?} {word:?}");
            if kept && !again {
                assert!(supervisor.restart_child("w").await.unwrap().is_some());
            }
            if !kept {
                assert!(supervisor.start_child(worker("w", &log)).await.unwrap().is_some(), "the id is free again");
            }
            supervisor.shutdown().await;
        }
    });
}

#[test]
fn otp_057_one_restart_too_many_stops_all_in_reverse_and_the_supervisor_with_shutdown() {
    in_virtual_time(async {
        for intensity in [0, 1, 3] {
            let log = Log::default();
            let supervisor = Supervisor::builder("s")
                .intensity(intensity, s(5))
                .child(worker("a", &log))
                .child(worker("b", &log))
                .child(worker("c", &log))
                .start()
                .await
                .unwrap();
            for _ in 0..intensity {
                tell(supervisor, "b", Word::Panic).await;
                assert!(lane_of(supervisor, "b").await.is_some());
            }
            log.take();
            let b = lane_of(supervisor, "b").await.unwrap();
            let cause = async { Address::<Word>::of(b).unwrap().send(Word::Panic).await.unwrap() };
            assert_eq!(end_of(supervisor.id(), cause).await, ExitReason::Shutdown);
            assert_eq!(log.take(), ["-b panicked", "-c shutdown", "-a shutdown"]);
        }
    });
}

#[test]
fn otp_058_restarts_older_than_the_period_do_not_count() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").intensity(1, s(5)).child(worker("a", &log)).start().await.unwrap();
        for _ in 0..5 {
            tell(supervisor, "a", Word::Panic).await;
            sleep(s(6)).await;
        }
        assert!(lane_of(supervisor, "a").await.is_some());
        assert_eq!(log.take().iter().filter(|what| *what == "+a").count(), 6);
    });
}

/// A supervisor of `a`, `b` and `c`, and their lanes.
async fn three(strategy: Strategy, log: &Log) -> (Supervisor, [Id; 3]) {
    let supervisor = Supervisor::builder("s")
        .strategy(strategy)
        .child(worker("a", log))
        .child(worker("b", log))
        .child(worker("c", log))
        .start()
        .await
        .unwrap();
    log.take();
    (supervisor, three_lanes(supervisor).await)
}

async fn three_lanes(supervisor: Supervisor) -> [Id; 3] {
    let mut lanes = [supervisor.id(); 3];
    for (lane, name) in lanes.iter_mut().zip(["a", "b", "c"]) {
        *lane = lane_of(supervisor, name).await.expect("it runs");
    }
    lanes
}

#[test]
fn otp_059_one_for_all_stops_in_reverse_and_restarts_in_order() {
    in_virtual_time(async {
        let log = Log::default();
        let (supervisor, before) = three(Strategy::OneForAll, &log).await;
        tell(supervisor, "b", Word::Panic).await;
        assert_eq!(log.take(), ["-b panicked", "-c shutdown", "-a shutdown", "+a", "+b", "+c"]);
        let after = three_lanes(supervisor).await;
        assert!(before.iter().all(|lane| !after.contains(lane) && !is_alive(*lane)));
        assert!(is_alive(supervisor.id()), "the whole round is one restart");
    });
}

#[test]
fn otp_060_rest_for_one_leaves_earlier_children_alone() {
    in_virtual_time(async {
        let log = Log::default();
        let (supervisor, before) = three(Strategy::RestForOne, &log).await;
        tell(supervisor, "b", Word::Panic).await;
        assert_eq!(log.take(), ["-b panicked", "-c shutdown", "+b", "+c"]);
        let after = three_lanes(supervisor).await;
        assert_eq!(before[0], after[0]);
        assert!(before[1] != after[1] && before[2] != after[2]);
    });
}

#[test]
fn otp_061_one_for_one_leaves_siblings_alone() {
    in_virtual_time(async {
        let log = Log::default();
        let (supervisor, before) = three(Strategy::OneForOne, &log).await;
        tell(supervisor, "b", Word::Panic).await;
        assert_eq!(log.take(), ["-b panicked", "+b"]);
        let after = three_lanes(supervisor).await;
        assert_eq!((before[0], before[2]), (after[0], after[2]));
        assert!(before[1] != after[1]);
    });
}

#[test]
fn otp_062_each_child_is_stopped_as_its_own_spec_says() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = |name, takes| Plan { end_takes: takes, ..Plan::new(name, &log) }.child();
        let supervisor = Supervisor::builder("s")
            .child(slow("patient", s(100)).shutdown(Shutdown::Infinite))
            .child(slow("late", s(100)).shutdown(s(3)))
            .child(slow("timely", s(1)).shutdown(s(3)))
            .child(slow("brutal", s(100)).shutdown(Shutdown::Brutal))
            .start()
            .await
            .unwrap();
        log.take();
        let since = now();
        assert_eq!(supervisor.shutdown().await, ExitReason::Shutdown);
        assert_eq!((now() - since).as_secs(), 1 + 3 + 100);
        assert_eq!(log.take(), ["-timely shutdown", "-patient shutdown"]);
    });
}

#[test]
fn otp_063_an_end_otherwise_than_asked_is_reported_once_and_is_no_failure() {
    let reports = Reports::of("otp_063");
    in_virtual_time(async {
        let log = Log::default();
        let late = Plan { end_takes: s(9), ..Plan::new("late", &log) }.child();
        let clumsy = Plan { ends: Some(ExitReason::error("tripped")), ..Plan::new("clumsy", &log) }.child();
        let supervisor =
            Supervisor::builder("otp_063").child(late).child(clumsy).child(worker("good", &log)).start().await.unwrap();
        assert_eq!(supervisor.shutdown().await, ExitReason::Shutdown);
    });
    let said = reports.take();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("\"clumsy\" ended otherwise than asked") && said[0].contains("tripped"), "{said:?}");
    assert!(said[1].contains("\"late\" ended otherwise than asked: killed"), "{said:?}");
}

#[test]
fn one_report_for_each_crash_names_child_reason_and_restarts() {
    let reports = Reports::of("crashes");
    in_virtual_time(async {
        let log = Log::default();
        let supervisor =
            Supervisor::builder("crashes").intensity(5, s(5)).child(worker("w", &log)).start().await.unwrap();
        tell(supervisor, "w", Word::Panic).await;
        tell(supervisor, "w", Word::Panic).await;
        supervisor.shutdown().await;
    });
    let said = reports.take();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|line| line.contains("child \"w\" ended: panicked") && line.contains("w was told to")));
    assert!(said[0].contains("restarts=0") && said[1].contains("restarts=1"), "{said:?}");
}

#[test]
fn otp_064_start_child_with_a_used_id() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").child(worker("a", &log)).start().await.unwrap();
        let lane = lane_of(supervisor, "a").await.unwrap();
        let error = supervisor.start_child(worker("a", &log)).await.unwrap_err();
        assert_eq!(error, ChildError::AlreadyStarted(lane).into());
        supervisor.terminate_child("a").await.unwrap();
        let error = supervisor.start_child(worker("a", &log)).await.unwrap_err();
        assert_eq!(error, ChildError::AlreadyPresent.into());
    });
}

#[test]
fn otp_065_restart_child_and_delete_child_refuse_what_runs_or_is_unknown() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").child(worker("a", &log)).start().await.unwrap();
        let lane = lane_of(supervisor, "a").await.unwrap();
        assert_eq!(supervisor.restart_child("a").await, Err(ChildError::Running(lane).into()));
        assert_eq!(supervisor.delete_child("a").await, Err(ChildError::Running(lane).into()));
        assert_eq!(supervisor.delete_child("b").await, Err(ChildError::NotFound.into()));
        assert_eq!(supervisor.restart_child("b").await, Err(ChildError::NotFound.into()));
        supervisor.terminate_child("a").await.unwrap();
        assert!(supervisor.restart_child("a").await.unwrap().is_some_and(|new| new != lane));
        supervisor.terminate_child("a").await.unwrap();
        supervisor.delete_child("a").await.unwrap();
        assert_eq!(supervisor.count_children().await.unwrap(), ChildCounts::default());
    });
}

#[test]
fn otp_066_terminate_child_keeps_the_spec_and_does_not_count() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = Supervisor::builder("s").intensity(0, s(5)).child(worker("a", &log)).start().await.unwrap();
        for _ in 0..3 {
            supervisor.terminate_child("a").await.unwrap();
            assert_eq!(supervisor.find_child("a").await.unwrap().unwrap().presence, Presence::Absent);
            supervisor.restart_child("a").await.unwrap();
        }
        supervisor.start_child(worker("t", &log).restart(Restart::Temporary)).await.unwrap();
        supervisor.terminate_child("t").await.unwrap();
        assert_eq!(supervisor.find_child("t").await, Ok(None));
    });
}

#[test]
fn otp_067_counts_are_right_also_while_a_child_is_being_restarted() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = Plan { init_takes: s(2), ..Plan::new("slow", &log) }.child();
        let inner = ChildSpec::supervisor("inner", || Supervisor::builder("inner"));
        let supervisor =
            Supervisor::builder("s").child(worker("a", &log)).child(slow).child(inner).start().await.unwrap();
        let all = ChildCounts { specs: 3, active: 3, supervisors: 1, workers: 2 };
        assert_eq!(supervisor.count_children().await, Ok(all));
        tell(supervisor, "slow", Word::Panic).await;
        assert_eq!(supervisor.count_children().await, Ok(ChildCounts { active: 2, ..all }));
        assert_eq!(supervisor.find_child("slow").await.unwrap().unwrap().presence, Presence::Restarting);
        sleep(s(3)).await;
        assert_eq!(supervisor.count_children().await, Ok(all));
    });
}

#[test]
fn otp_068_a_dynamic_child_restarts_with_its_arguments_and_is_terminated_by_its_lane() {
    in_virtual_time(async {
        let log = Log::default();
        let pool =
            DynamicSupervisor::actor("w", |plan: Plan| Worker(plan)).restart(Restart::Permanent).start().unwrap();
        let x = pool.start_child(Plan::new("x", &log)).await.unwrap();
        let y = pool.start_child(Plan::new("y", &log)).await.unwrap();
        x.send(Word::Panic).await.unwrap();
        join(x.id()).await;
        settle().await;
        assert_eq!(log.take(), ["+x", "+y", "-x panicked", "+x"]);
        let lanes = pool.which_children().await.unwrap();
        assert!(lanes.len() == 2 && lanes.contains(&y.id()) && !lanes.contains(&x.id()));
        pool.terminate_child(y).await.unwrap();
        assert!(!y.is_alive());
        assert_eq!(log.take(), ["-y shutdown"]);
        assert_eq!(pool.terminate_child(y).await, Err(ChildError::NotFound.into()));
        assert_eq!(pool.count_children().await.unwrap().active, 1);
    });
}

#[test]
fn otp_069_a_dynamic_supervisor_stops_its_children_side_by_side() {
    in_virtual_time(async {
        let log = Log::default();
        let pool = DynamicSupervisor::actor("w", |plan: Plan| Worker(plan)).shutdown(s(5)).start().unwrap();
        for takes in [1, 2, 3, 4, 100, 200, 300] {
            pool.start_child(Plan { end_takes: s(takes), ..Plan::new("w", &log) }).await.unwrap();
        }
        log.take();
        let since = now();
        pool.shutdown().await;
        assert_eq!((now() - since).as_secs(), 5, "one limit, not the sum");
        assert_eq!(log.take().len(), 4, "the others were killed");
    });
}

#[test]
fn otp_070_the_arguments_of_temporary_children_are_not_kept() {
    in_virtual_time(async {
        let pool = DynamicSupervisor::lane("w", |_held: Arc<()>| async |_: Lane<()>| pending::<()>().await);
        let pool = pool.start().unwrap();
        let argument = Arc::new(());
        for _ in 0..1000 {
            pool.start_child(argument.clone()).await.unwrap();
        }
        assert_eq!(Arc::strong_count(&argument), 1);
        assert_eq!(pool.count_children().await.unwrap().active, 1000);
    });
}

#[test]
fn otp_071_a_hundred_thousand_children_start_and_stop() {
    in_virtual_time(async {
        let pool = DynamicSupervisor::lane("w", |number: u32| {
            async move |mut lane: Lane<u32>| while lane.recv().await.is_some_and(|other| other != number) {}
        });
        let pool = pool.start().unwrap();
        let mut some = Vec::new();
        for number in 0..100_000 {
            let child = pool.start_child(number).await.unwrap();
            if number % 1000 == 0 {
                some.push((child, number));
            }
        }
        for (child, number) in some {
            child.send(number).await.unwrap();
            join(child.id()).await;
        }
        settle().await;
        assert_eq!(pool.count_children().await.unwrap().active, 99_900);
        let since = now();
        assert_eq!(pool.shutdown().await, ExitReason::Shutdown);
        assert!(now() - since < s(5), "nobody had to be killed");
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0);
    });
}

async fn significant(auto: AutoShutdown, log: &Log, children: &[(&'static str, Restart)]) -> Supervisor {
    let mut builder = Supervisor::builder("s").auto_shutdown(auto).intensity(9, s(5)).child(worker("plain", log));
    for &(name, restart) in children {
        builder = builder.child(worker(name, log).restart(restart).significant(true));
    }
    builder.start().await.unwrap()
}

#[test]
fn otp_072_auto_shutdown_at_any_significant_end() {
    use Restart::{Temporary, Transient};
    in_virtual_time(async {
        let log = Log::default();
        for (restart, word, ends) in [
            (Transient, Word::Normal, true),
            (Transient, Word::Panic, false),
            (Temporary, Word::Normal, true),
            (Temporary, Word::Panic, true),
        ] {
            let supervisor = significant(AutoShutdown::AnySignificant, &log, &[("w", restart)]).await;
            tell(supervisor, "w", word).await;
            assert_eq!(is_alive(supervisor.id()), !ends, "{restart:?} {word:?}");
            supervisor.shutdown().await;
        }
    });
}

#[test]
fn otp_073_auto_shutdown_at_the_last_significant_end() {
    in_virtual_time(async {
        let log = Log::default();
        let children = [("a", Restart::Transient), ("b", Restart::Temporary)];
        let supervisor = significant(AutoShutdown::AllSignificant, &log, &children).await;
        tell(supervisor, "a", Word::Normal).await;
        let lane = lane_of(supervisor, "b").await.expect("the supervisor goes on");
        log.take();
        let cause = async { Address::<Word>::of(lane).unwrap().send(Word::Normal).await.unwrap() };
        assert_eq!(end_of(supervisor.id(), cause).await, ExitReason::Shutdown);
        assert_eq!(log.take(), ["-b normal", "-plain shutdown"]);
    });
}

#[test]
fn otp_074_significant_children_that_the_supervisor_stops_do_not_end_it() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = significant(AutoShutdown::AnySignificant, &log, &[("w", Restart::Transient)]).await;
        supervisor.terminate_child("w").await.unwrap();
        settle().await;
        assert!(is_alive(supervisor.id()));
    });
}

#[test]
fn otp_075_the_end_of_the_parent_ends_the_tree_in_order_and_strangers_do_not() {
    in_virtual_time(async {
        let log = Log::default();
        let kept = log.clone();
        let cell = Arc::new(OnceLock::new());
        let there = cell.clone();
        let parent = spawn(async move |mut lane: Lane<()>| {
            let builder = Supervisor::builder("s").child(worker("a", &kept)).child(worker("b", &kept));
            there.set(builder.start().await.unwrap()).unwrap();
            let _ = lane.recv().await;
            ExitReason::error("the parent's own")
        });
        settle().await;
        let supervisor = *cell.get().unwrap();
        // One that is linked with it, and one that only signals.
        let stranger = spawn(async move |lane: Lane<()>| {
            lane.link(supervisor);
            yield_now().await;
            actors::exit(supervisor.id(), ExitReason::Shutdown);
            ExitReason::error("the stranger's")
        });
        join(stranger.unwrap().id()).await;
        settle().await;
        assert!(is_alive(supervisor.id()));
        log.take();
        let cause = async { parent.unwrap().send(()).await.unwrap() };
        assert_eq!(end_of(supervisor.id(), cause).await, ExitReason::error("the parent's own"));
        assert_eq!(log.take(), ["-b shutdown", "-a shutdown"]);
    });
}

#[test]
fn otp_076_a_middle_supervisor_is_rebuilt_from_its_first_specs() {
    in_virtual_time(async {
        let log = Log::default();
        let kept = log.clone();
        let role = Role::<Word>::new();
        let middle = ChildSpec::supervisor("middle", move || {
            Supervisor::builder("middle").child(worker("a", &kept).role(role)).child(worker("b", &kept))
        });
        let root = Supervisor::builder("root").child(middle).start().await.unwrap();
        let before = Supervisor::of(lane_of(root, "middle").await.unwrap()).unwrap();
        before.start_child(worker("added", &log)).await.unwrap();
        let old: Vec<Id> = lanes(before).await.into_values().collect();
        assert_eq!(old.len(), 3);
        assert!(kill(before.id()));
        join(before.id()).await;
        settle().await;
        assert!(old.iter().all(|lane| !is_alive(*lane)), "those of the dead went with it");
        let after = Supervisor::of(lane_of(root, "middle").await.unwrap()).unwrap();
        let new = lanes(after).await;
        assert_eq!(new.keys().map(|id| &**id).collect::<Vec<_>>(), ["a", "b"]);
        assert!(new.values().all(|lane| !old.contains(lane)));
        assert!(matches!(Supervisor::of(before.id()), Err(NotAMailbox::Stale(_))));
        log.take();
        role.send(Word::Note).await.expect("a role outlives the middle supervisor");
        settle().await;
        assert_eq!(log.take(), ["a notes"]);
        root.shutdown().await;
        assert!(role.address().is_err(), "nobody will fill it any more");
    });
}

async fn lanes(supervisor: Supervisor) -> BTreeMap<Arc<str>, Id> {
    let children = supervisor.which_children().await.unwrap().into_iter();
    let running = children.filter_map(|child| match child.presence {
        Presence::Running(lane) => Some((child.id, lane)),
        _ => None,
    });
    running.collect()
}

#[test]
fn otp_077_what_a_supervisor_does_not_understand_does_not_reach_it() {
    in_virtual_time(async {
        let supervisor = Supervisor::builder("s").name("s").start().await.unwrap();
        assert!(matches!(whereis::<String>("s"), Err(NotAMailbox::OtherType { .. })));
        assert!(matches!(Address::<String>::of(supervisor.id()), Err(NotAMailbox::OtherType { .. })));
        assert_eq!(supervisor.count_children().await, Ok(ChildCounts::default()));
    });
}

#[test]
fn a_role_survives_restarts_and_what_is_sent_in_the_gap_reaches_the_next_incarnation() {
    in_virtual_time(async {
        let log = Log::default();
        let role = Role::<Word>::new();
        let slow = Plan { init_takes: s(2), ..Plan::new("w", &log) }.child().role(role);
        let supervisor = Supervisor::builder("s").child(slow).start().await.unwrap();
        role.send(Word::Panic).await.unwrap();
        settle().await;
        assert_eq!(role.address(), Ok(None), "it is being started again");
        log.take();
        role.send(Word::Note).await.unwrap();
        settle().await;
        assert_eq!(log.take(), ["+w", "w notes"]);
        supervisor.terminate_child("w").await.unwrap();
        assert_eq!(role.address(), Ok(None));
        supervisor.delete_child("w").await.unwrap();
        assert!(role.address().is_err());
    });
}

#[test]
fn a_child_killed_in_init_is_a_start_that_failed() {
    in_virtual_time(async {
        let log = Log::default();
        let killed = ChildSpec::actor("k", {
            let log = log.clone();
            move || Worker(Plan { init_takes: s(1), ..Plan::new("k", &log) })
        });
        let cut = async {
            sleep(Duration::from_millis(500)).await;
            let handle = actors::Handle::current().unwrap();
            let lane = handle.lanes().into_iter().max_by_key(|lane| lane.parent.is_some()).unwrap();
            assert!(kill(lane.id));
        };
        let starting = Supervisor::builder("s").child(killed).start();
        let killer = spawn(async move |_: Lane<()>| {
            sleep(Duration::from_millis(1)).await;
            cut.await;
        });
        let error = starting.await.unwrap_err();
        assert_eq!(error, SupervisorError::FailedToStart { child: "k".into(), reason: ExitReason::Killed });
        assert!(killer.is_ok());
    });
}

#[test]
fn start_child_while_another_restarts_waits_its_turn() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = Plan { init_takes: s(2), ..Plan::new("slow", &log) }.child();
        let supervisor = Supervisor::builder("s").child(slow).start().await.unwrap();
        tell(supervisor, "slow", Word::Panic).await;
        log.take();
        let since = now();
        assert!(supervisor.start_child(worker("next", &log)).await.unwrap().is_some());
        assert_eq!(log.take(), ["+slow", "+next"]);
        assert!(now() - since > s(1));
    });
}

#[test]
fn a_command_ends_the_tries_to_restart_a_child() {
    in_virtual_time(async {
        let log = Log::default();
        let init = |start| if start == 1 { Ok(Init::Ready) } else { Err(ExitReason::error("never again")) };
        let plan = Plan { init, init_takes: s(1), ..Plan::new("w", &log) };
        let supervisor = Supervisor::builder("s").intensity(1000, s(5)).child(plan.child()).start().await.unwrap();
        tell(supervisor, "w", Word::Panic).await;
        supervisor.terminate_child("w").await.unwrap();
        assert_eq!(supervisor.find_child("w").await.unwrap().unwrap().presence, Presence::Absent);
        assert!(is_alive(supervisor.id()));
    });
}

/// A supervisor three deep, with a worker before and after the next one at each depth.
fn nested(depth: u32, log: &Log) -> laneway_supervisor::SupervisorBuilder {
    const NAMES: [[&str; 2]; 3] = [["a1", "z1"], ["a2", "z2"], ["a3", "z3"]];
    let [first, last] = NAMES[depth as usize];
    let mut builder = Supervisor::builder(first).child(worker(first, log));
    if depth < 2 {
        let log = log.clone();
        builder = builder.child(ChildSpec::supervisor("next", move || nested(depth + 1, &log)));
    }
    builder.child(worker(last, log))
}

const NESTED_STARTS: [&str; 6] = ["+a1", "+a2", "+a3", "+z3", "+z2", "+z1"];
const NESTED_ENDS: [&str; 6] =
    ["-z1 shutdown", "-z2 shutdown", "-z3 shutdown", "-a3 shutdown", "-a2 shutdown", "-a1 shutdown"];

#[test]
fn supervisors_three_deep_shut_down_in_order() {
    in_virtual_time(async {
        let log = Log::default();
        let root = nested(0, &log).start().await.unwrap();
        assert_eq!(log.take(), NESTED_STARTS);
        assert_eq!(root.shutdown().await, ExitReason::Shutdown);
        assert_eq!(log.take(), NESTED_ENDS);
    });
}

#[test]
fn the_end_of_the_runtime_takes_a_tree_down_in_order() {
    let log = Log::default();
    let runtime = Runtime::builder().workers(1).virtual_time(49).build().unwrap();
    runtime.block_on(async { nested(0, &log).start().await.unwrap() });
    log.take();
    let report = runtime.shutdown(s(10));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(log.take(), NESTED_ENDS);
}

#[test]
fn children_of_a_supervisor_that_is_killed_die_with_it() {
    in_virtual_time(async {
        let log = Log::default();
        let root = nested(0, &log).start().await.unwrap();
        assert_eq!(end_of(root.id(), async { assert!(kill(root.id())) }).await, ExitReason::Killed);
        sleep(s(20)).await;
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0);
    });
}

#[test]
fn shutdown_cancels_the_start_under_way_and_leaves_nothing() {
    in_virtual_time(async {
        let log = Log::default();
        let deaf = Plan { init_takes: s(1000), ..Plan::new("deaf", &log) }.child().start_timeout(None).shutdown(s(3));
        let inner = deaf.into_child().unwrap();
        let mut inner = Some(inner);
        let middle = ChildSpec::supervisor("middle", move || {
            Supervisor::builder("middle").child(inner.take().expect("one start"))
        });
        let root = Supervisor::builder("root").name("root").child(middle);
        let since = now();
        let gave_up = timeout(s(10), root.start()).await;
        assert!(gave_up.is_err());
        sleep(s(5)).await;
        assert_eq!(actors::Handle::current().unwrap().lanes().len(), 0, "the start was dropped, and all ended");
        assert!(now() - since < s(20));
        assert_eq!(log.take(), ["init deaf"]);
    });
}

#[test]
fn a_start_function_that_panics_or_forgets_the_link_is_borne() {
    in_virtual_time(async {
        let panics = ChildSpec::worker("p", || async {
            yield_now().await;
            if is_alive(actors::current().expect("a start function runs in the supervisor's lane")) {
                panic!("in the start");
            }
            Err::<Id, _>(StartError::Ignored)
        });
        let error = Supervisor::builder("s").child(panics).start().await.unwrap_err();
        let SupervisorError::FailedToStart { reason: ExitReason::Panicked { message, .. }, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(&*message, "in the start");
        let forgets = ChildSpec::worker("f", || async {
            Ok::<_, StartError>(Spawn::new().name("f").spawn(async |mut lane: Lane<()>| _ = lane.recv().await)?)
        });
        let supervisor = Supervisor::builder("s").child(forgets).start().await.unwrap();
        let before = lane_of(supervisor, "f").await.unwrap();
        kill(before);
        join(before).await;
        settle().await;
        assert!(lane_of(supervisor, "f").await.is_some_and(|after| after != before));
        supervisor.shutdown().await;
        assert_eq!(whereis::<()>("f"), Ok(None));
    });
}

#[test]
fn a_lane_that_ends_at_once_is_still_noticed() {
    in_virtual_time(async {
        let hasty = ChildSpec::lane("hasty", || async |_: Lane<()>| ExitReason::error("at once"));
        let supervisor = Supervisor::builder("s").intensity(3, s(5)).child(hasty).start().await.unwrap();
        // It may be gone before it is asked.
        assert!(matches!(join(supervisor.id()).await, ExitReason::Shutdown | ExitReason::NoProc));
    });
}

#[test]
fn exits_of_others_come_to_a_trapping_child_but_that_of_its_supervisor_ends_it() {
    struct Noting(Log);
    impl Actor for Noting {
        type Msg = ();
        async fn init(&mut self, cx: &mut Context<()>) -> Result<Init, ExitReason> {
            cx.trap_exits(true);
            Ok(Init::Ready)
        }
        async fn handle(&mut self, (): (), _: &mut Context<()>) -> Outcome {
            Ok(())
        }
        async fn exit(&mut self, exit: Exit, _: &mut Context<()>) -> Outcome {
            self.0.note(short(&exit.reason));
            Ok(())
        }
    }
    in_virtual_time(async {
        let log = Log::default();
        let kept = log.clone();
        let child = ChildSpec::actor("n", move || Noting(kept.clone()));
        let supervisor = Supervisor::builder("s").child(child).start().await.unwrap();
        let lane = lane_of(supervisor, "n").await.unwrap();
        actors::exit(lane, ExitReason::error("from outside"));
        settle().await;
        assert_eq!(log.take(), ["error"]);
        supervisor.terminate_child("n").await.unwrap();
        assert!(!is_alive(lane));
        assert!(log.take().is_empty());
    });
}

#[test]
fn a_tree_under_chaos_has_all_its_children_in_the_end() {
    in_virtual_time(async {
        let log = Log::default();
        let roles: Vec<Role<Word>> = (0..8).map(|_| Role::new()).collect();
        let (few, many) = roles.split_at(2);
        let of = |roles: &[Role<Word>], log: &Log| {
            let names = ["a", "b", "c", "d", "e", "f"];
            let children = roles.iter().zip(names).map(|(role, name)| worker(name, log).role(*role));
            children.fold(Supervisor::builder("calm").intensity(1 << 20, s(5)), |builder, child| builder.child(child))
        };
        let (inner, kept) = (few.to_vec(), log.clone());
        let middle = ChildSpec::supervisor("middle", move || of(&inner, &kept).strategy(Strategy::OneForAll));
        let root = of(many, &log).child(middle).start().await.unwrap();
        let handle = actors::Handle::current().unwrap();
        let targets = move || handle.lanes().iter().map(|lane| lane.id).filter(|&id| id != root.id()).collect();
        let chaos = Chaos::builder().rate(200.0).seed(3).targets(targets).start().unwrap();
        for round in 0..100 {
            let role = roles[round % roles.len()];
            role.send(Word::Note).await.expect("a role is there until the root is gone");
            sleep(Duration::from_millis(30)).await;
        }
        let report = chaos.stop().await.unwrap();
        assert!(report.kills > 300, "{report:?}");
        settle().await;
        let middle = Supervisor::of(lane_of(root, "middle").await.unwrap()).unwrap();
        assert_eq!((lanes(root).await.len(), lanes(middle).await.len()), (7, 2), "{report:?}");
        for role in roles {
            assert!(role.address().unwrap().is_some_and(Address::is_alive), "{report:?}");
        }
    });
}

/// What supervisors of one label write into the log.
struct Reports(&'static str);

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Reports {
    fn of(label: &'static str) -> Reports {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Collect).unwrap());
        Reports(label)
    }

    fn take(&self) -> Vec<String> {
        let mut lines = LINES.lock().unwrap();
        let mark = format!("supervisor=\"{}\"", self.0);
        let (mine, others) = lines.drain(..).partition(|line| line.contains(&mark));
        *lines = others;
        mine
    }
}

struct Collect;

impl tracing::Subscriber for Collect {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("laneway_supervisor") && *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, " {field}={value:?}");
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
