//! Facts about the machine; the test itself is the lane that carries out the actions.

use std::num::NonZeroU16;

use runtime::Namespace;

use super::*;
use crate::child_spec::ChildSpecBuilder;

type Pool = DynamicChildren<(), &'static str, u32>;

const NOW: Duration = Duration::from_secs(100);

fn lane(number: u32) -> Id {
    Id::new(number, Namespace::new(1).unwrap(), NonZeroU16::MIN)
}

fn broken() -> ExitReason {
    ExitReason::error("broken")
}

fn pool(restart: Restart) -> Pool {
    pool_of(DynamicFlags { intensity: 100, ..DynamicFlags::default() }, worker(restart))
}

fn worker(restart: Restart) -> ChildSpecBuilder<()> {
    ChildSpec::worker("w", ()).restart(restart)
}

fn pool_of(flags: DynamicFlags, spec: ChildSpecBuilder<()>) -> Pool {
    Pool::new(flags, spec.build().unwrap()).unwrap()
}

fn start_of(pool: &mut Pool) -> StartKey {
    match pool.poll_action() {
        Some(DynamicAction::Start { start }) => start,
        other => panic!("no start, but {other:?}"),
    }
}

/// Starts a child, answered to its number.
fn add(pool: &mut Pool, number: u32, arguments: &'static str) {
    pool.handle_start_child(NOW, number, arguments);
    let start = start_of(pool);
    pool.handle_started(NOW, start, lane(number));
    assert_eq!(said(pool), [format!("answer {number} Ok(Some({:?}))", lane(number))]);
}

/// All actions there are, in words.
fn said(pool: &mut Pool) -> Vec<String> {
    let words = std::iter::from_fn(|| pool.poll_action()).map(|action| match action {
        DynamicAction::Start { .. } => "start".to_owned(),
        DynamicAction::CancelStart { .. } => "cancel".to_owned(),
        DynamicAction::Stop { lane } => format!("stop {}", lane.key()),
        DynamicAction::Kill { lane } => format!("kill {}", lane.key()),
        DynamicAction::StopAll => "stop all".to_owned(),
        DynamicAction::KillAll => "kill all".to_owned(),
        DynamicAction::Answer { to, reply } => format!("answer {to} {reply:?}"),
        DynamicAction::Report(report) => format!("{:?} {}", report.kind, report.count),
        DynamicAction::Exit(why) => format!("exit {why:?}"),
    });
    words.collect()
}

#[test]
fn otp_051_a_dynamic_child_that_declines_is_never_kept() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        let mut pool = pool(restart);
        pool.handle_start_child(NOW, 1, "x");
        let start = start_of(&mut pool);
        pool.handle_ignored(NOW, start);
        assert_eq!(said(&mut pool), ["answer 1 Ok(None)"]);
        assert_eq!(pool.count(), ChildCounts { specs: 1, ..ChildCounts::default() });
    }
}

#[test]
fn otp_053_a_senseless_dynamic_supervisor_is_refused() {
    let new = |flags, spec: ChildSpecBuilder<()>| Pool::new(flags, spec.build().unwrap()).unwrap_err();
    let flags = DynamicFlags::default();
    let zero = DynamicFlags { period: Duration::ZERO, ..flags };
    assert_eq!(new(zero, worker(Restart::Permanent)), SpecError::ZeroPeriod);
    let significant = worker(Restart::Transient).significant(true);
    assert_eq!(new(flags, significant), SpecError::SignificantWithoutAutoShutdown("w".into()));
}

#[test]
fn otp_068_a_restart_gets_the_arguments_of_the_first_start() {
    let mut pool = pool(Restart::Permanent);
    add(&mut pool, 1, "one");
    add(&mut pool, 2, "two");
    assert!(pool.handle_exited(NOW, lane(2), ExitReason::Normal));
    assert!(matches!(pool.poll_action(), Some(DynamicAction::Report(_))));
    let again = start_of(&mut pool);
    assert_eq!(pool.arguments(again), Some(&"two"));
    assert_eq!(pool.count(), ChildCounts { specs: 1, active: 1, supervisors: 0, workers: 2 });
    pool.handle_start_failed(NOW, again, broken());
    assert!(matches!(pool.poll_action(), Some(DynamicAction::Report(_))));
    let again = start_of(&mut pool);
    assert_eq!(pool.arguments(again), Some(&"two"), "a second try, too");
    pool.handle_started(NOW, again, lane(3));
    assert_eq!(pool.count().active, 2);
}

#[test]
fn otp_068_terminate_is_by_lane_and_answers_when_the_child_is_gone() {
    let mut pool = pool(Restart::Permanent);
    add(&mut pool, 1, "one");
    pool.handle_terminate_child(NOW, 10, lane(1));
    pool.handle_terminate_child(NOW, 11, lane(1));
    assert_eq!(said(&mut pool), ["stop 1"]);
    assert!(pool.handle_exited(NOW, lane(1), ExitReason::Shutdown));
    assert_eq!(said(&mut pool), ["answer 10 Ok(None)", "answer 11 Ok(None)"], "and no restart");
    assert_eq!(pool.poll_timeout(), None);
    pool.handle_terminate_child(NOW, 12, lane(1));
    assert_eq!(said(&mut pool), ["answer 12 Err(NotFound)"]);
}

#[test]
fn otp_068_a_child_being_restarted_is_terminated_by_its_last_lane() {
    for comes_up in [false, true] {
        let mut pool = pool(Restart::Permanent);
        add(&mut pool, 1, "one");
        pool.handle_exited(NOW, lane(1), broken());
        assert!(matches!(pool.poll_action(), Some(DynamicAction::Report(_))));
        let start = start_of(&mut pool);
        pool.handle_terminate_child(NOW, 10, lane(1));
        assert_eq!(said(&mut pool), ["cancel"]);
        if comes_up {
            pool.handle_started(NOW, start, lane(2));
            assert_eq!(said(&mut pool), ["stop 2"]);
            pool.handle_exited(NOW, lane(2), ExitReason::Shutdown);
        } else {
            pool.handle_start_failed(NOW, start, ExitReason::Killed);
        }
        assert_eq!(said(&mut pool), ["answer 10 Ok(None)"]);
        assert_eq!(pool.count().workers, 0);
    }
}

#[test]
fn otp_062_a_terminated_child_that_does_not_heed_is_killed_at_its_limit() {
    let mut pool = pool_of(DynamicFlags::default(), worker(Restart::Temporary).shutdown(Duration::from_secs(2)));
    add(&mut pool, 1, "one");
    add(&mut pool, 2, "two");
    pool.handle_terminate_child(NOW, 10, lane(1));
    pool.handle_terminate_child(NOW + Duration::from_secs(1), 11, lane(2));
    assert_eq!(said(&mut pool), ["stop 1", "stop 2"]);
    assert_eq!(pool.poll_timeout(), Some(NOW + Duration::from_secs(2)));
    pool.handle_timeout(NOW + Duration::from_secs(2));
    assert_eq!(said(&mut pool), ["kill 1"]);
    pool.handle_exited(NOW, lane(1), ExitReason::Killed);
    assert_eq!(said(&mut pool), ["ShutdownError 1", "answer 10 Ok(None)"]);
    pool.handle_exited(NOW, lane(2), ExitReason::Shutdown);
    assert_eq!(pool.poll_timeout(), None);
}

#[test]
fn otp_054_to_056_restart_by_kind_and_reason() {
    for (restart, reason, restarts) in [
        (Restart::Permanent, ExitReason::Normal, true),
        (Restart::Permanent, broken(), true),
        (Restart::Transient, ExitReason::Shutdown, false),
        (Restart::Transient, broken(), true),
        (Restart::Temporary, ExitReason::Normal, false),
        (Restart::Temporary, broken(), false),
    ] {
        let mut pool = pool(restart);
        add(&mut pool, 1, "one");
        pool.handle_exited(NOW, lane(1), reason);
        assert_eq!(said(&mut pool).contains(&"start".to_owned()), restarts);
        assert_eq!(pool.count().workers, usize::from(restarts));
    }
}

#[test]
fn otp_057_one_restart_too_many_among_all_children_ends_the_dynamic_supervisor() {
    let mut pool = pool_of(DynamicFlags::default(), worker(Restart::Permanent));
    for number in 1..=3 {
        add(&mut pool, number, "x");
    }
    pool.handle_exited(NOW, lane(1), broken());
    assert_eq!(said(&mut pool), ["ChildTerminated 1", "start"]);
    pool.handle_exited(NOW, lane(2), broken());
    assert_eq!(said(&mut pool), ["ChildTerminated 1", "IntensityReached 1", "stop all", "cancel"]);
    pool.handle_start_failed(NOW, StartKey(3), ExitReason::Killed);
    assert!(said(&mut pool).is_empty(), "lane 3 is still there");
    pool.handle_exited(NOW, lane(3), ExitReason::Shutdown);
    assert_eq!(said(&mut pool), ["exit IntensityReached"]);
}

#[test]
fn otp_069_all_children_are_stopped_side_by_side_within_one_limit() {
    let mut pool = pool(Restart::Temporary);
    for number in 1..=4 {
        add(&mut pool, number, "x");
    }
    pool.handle_shutdown(NOW, ExitReason::Shutdown);
    assert_eq!(said(&mut pool), ["stop all"]);
    let mut lanes: Vec<_> = pool.lanes().map(Id::key).collect();
    lanes.sort_unstable();
    assert_eq!(lanes, [1, 2, 3, 4]);
    for number in 1..=2 {
        pool.handle_exited(NOW, lane(number), ExitReason::Shutdown);
    }
    let limit = NOW + Duration::from_secs(5);
    assert_eq!(pool.poll_timeout(), Some(limit));
    pool.handle_timeout(limit);
    assert_eq!(said(&mut pool), ["kill all"]);
    assert_eq!(pool.lanes().count(), 2);
    for number in 3..=4 {
        pool.handle_exited(limit, lane(number), ExitReason::Killed);
    }
    assert_eq!(said(&mut pool), ["ShutdownError 2", "exit Asked(Shutdown)"], "one report a reason");
    assert_eq!(pool.poll_timeout(), None);
}

#[test]
fn otp_063_any_number_of_reasons_gives_a_bounded_number_of_reports() {
    let mut pool = pool(Restart::Temporary);
    for number in 1..=100 {
        add(&mut pool, number, "x");
    }
    pool.handle_shutdown(NOW, ExitReason::Shutdown);
    for number in 1..=100 {
        pool.handle_exited(NOW, lane(number), ExitReason::error(number));
    }
    let said = said(&mut pool);
    assert_eq!(said.len(), 1 + REASONS_MAX + 1);
    assert_eq!(said[REASONS_MAX], format!("ShutdownError {}", 100 - REASONS_MAX + 1), "none goes uncounted");
}

#[test]
fn otp_070_a_temporary_child_leaves_only_its_id() {
    let mut pool: DynamicChildren<(), std::rc::Rc<()>, u32> =
        DynamicChildren::new(DynamicFlags::default(), worker(Restart::Temporary).build().unwrap()).unwrap();
    let arguments = std::rc::Rc::new(());
    for number in 0..100_000 {
        pool.handle_start_child(NOW, number, arguments.clone());
        let Some(DynamicAction::Start { start }) = pool.poll_action() else { panic!("no start") };
        pool.handle_started(NOW, start, lane(number));
        assert!(matches!(pool.poll_action(), Some(DynamicAction::Answer { .. })));
    }
    assert_eq!(std::rc::Rc::strong_count(&arguments), 1);
    let Lanes::Temporary(ids) = &pool.lanes else { panic!("temporary children are a set") };
    assert!(ids.allocation_size() <= 100_000 * 24, "{} bytes", ids.allocation_size());
    assert!(pool.starts.is_empty() && pool.deadlines.is_empty());
}

#[test]
fn otp_072_and_073_auto_shutdown_of_a_dynamic_supervisor() {
    for (auto_shutdown, ends_at) in [(AutoShutdown::AnySignificant, 1), (AutoShutdown::AllSignificant, 2)] {
        let flags = DynamicFlags { auto_shutdown, ..DynamicFlags::default() };
        let mut pool = pool_of(flags, worker(Restart::Transient).significant(true));
        add(&mut pool, 1, "x");
        add(&mut pool, 2, "x");
        let mut told = Vec::new();
        for number in 1..=2 {
            pool.handle_exited(NOW, lane(number), ExitReason::Normal);
            told.push(said(&mut pool));
        }
        let first: &[&str] = if ends_at == 1 { &["stop all"] } else { &[] };
        assert_eq!(told[0], first);
        assert_eq!(told[1], ["exit AutoShutdown"]);
    }
}

#[test]
fn a_dynamic_supervisor_takes_no_more_children_than_it_may_have() {
    let mut pool = pool_of(DynamicFlags { children_max: 2, ..DynamicFlags::default() }, worker(Restart::Temporary));
    add(&mut pool, 1, "x");
    pool.handle_start_child(NOW, 2, "x");
    let second = start_of(&mut pool);
    pool.handle_start_child(NOW, 3, "x");
    assert_eq!(said(&mut pool), ["answer 3 Err(TooManyChildren)"], "a start under way counts");
    pool.handle_start_failed(NOW, second, broken());
    assert_eq!(said(&mut pool), [format!("answer 2 Err(Failed({:?}))", broken())]);
    add(&mut pool, 4, "x");
}

#[test]
fn otp_075_shutdown_cancels_starts_refuses_new_ones_and_ignores_strangers() {
    let mut pool = pool(Restart::Permanent);
    pool.handle_start_child(NOW, 1, "x");
    let start = start_of(&mut pool);
    pool.handle_shutdown(NOW, ExitReason::Shutdown);
    assert_eq!(said(&mut pool), ["cancel"]);
    pool.handle_start_child(NOW, 2, "x");
    assert_eq!(said(&mut pool), ["answer 2 Err(ShuttingDown)"]);
    assert!(!pool.handle_exited(NOW, lane(77), broken()));
    pool.handle_started(NOW, start, lane(1));
    assert_eq!(said(&mut pool), ["answer 1 Err(ShuttingDown)", "stop 1"]);
    pool.handle_timeout(NOW + Duration::from_secs(5));
    assert_eq!(said(&mut pool), ["kill 1"]);
    pool.handle_exited(NOW, lane(1), ExitReason::Killed);
    assert_eq!(said(&mut pool), ["ShutdownError 1", "exit Asked(Shutdown)"]);
}

#[test]
fn a_terminated_child_that_ended_in_time_is_not_killed_later() {
    let mut pool = pool(Restart::Temporary);
    for number in 1..=3 {
        add(&mut pool, number, "x");
    }
    for number in 1..=3 {
        pool.handle_terminate_child(NOW, number + 10, lane(number));
    }
    pool.handle_exited(NOW, lane(2), ExitReason::Shutdown);
    assert_eq!(said(&mut pool), ["stop 1", "stop 2", "stop 3", "answer 12 Ok(None)"]);
    pool.handle_timeout(NOW + Duration::from_secs(5));
    assert_eq!(said(&mut pool), ["kill 1", "kill 3"]);
}
