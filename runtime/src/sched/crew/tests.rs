//! The decision, with a clock and a load made up.

use super::*;

/// Runs a crew for a time under a load that gets `pace(plan)` operations a second done, and in which workers run dry or
/// do not; how many percent of that time each plan was at work for which `what` gives this index.
fn run<const N: usize>(
    (crew, now): (&mut Crew, &mut Instant),
    length: Duration,
    runs_dry: bool,
    pace: impl Fn(Plan) -> u64,
    what: impl Fn(Plan) -> usize,
) -> [u64; N] {
    let step = Duration::from_micros(50);
    // As a count goes on, also from one load to the next.
    let mut operations = (*now - Instant::ZERO).as_micros() as u64 * 100;
    let mut dry = 0;
    let mut at_work = [0; N];
    let steps = length.as_micros() as u64 / 50;
    for _ in 0..steps {
        *now += step;
        at_work[what(crew.plan)] += 1;
        operations += pace(crew.plan) / 20_000;
        dry += u64::from(runs_dry);
        crew.observe(*now, operations, dry);
    }
    at_work.map(|count| count * 100 / steps)
}

/// The shares of sizes, where nobody runs dry.
fn shares(crew: &mut Crew, now: &mut Instant, length: Duration, pace: impl Fn(usize) -> u64) -> [u64; 9] {
    run((crew, now), length, false, |plan| pace(plan.size), |plan| plan.size)
}

/// The shares of plans of two workers without naps and with them, where such workers as nap or sleep are many.
fn shares_of_naps(crew: &mut Crew, now: &mut Instant, length: Duration, pace: impl Fn(bool) -> u64) -> [u64; 2] {
    run((crew, now), length, true, |plan| pace(plan.naps), |plan| usize::from(plan.naps))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_load_that_one_worker_does_best_is_left_to_one() {
    let mut now = Instant::ZERO;
    let mut crew = Crew::new(2, now);
    let shares = shares(&mut crew, &mut now, SECOND, |size| [0, 30_000_000, 20_000_000][size]);
    assert!(shares[1] >= 90, "{shares:?}");
}

#[test]
fn a_load_that_gains_by_more_workers_has_all() {
    let mut now = Instant::ZERO;
    let mut crew = Crew::new(2, now);
    let shares = shares(&mut crew, &mut now, SECOND, |size| [0, 20_000_000, 38_000_000][size]);
    assert!(shares[2] >= 95, "{shares:?}");
}

#[test]
fn where_it_makes_no_difference_all_are_of_the_crew() {
    let mut now = Instant::ZERO;
    let mut crew = Crew::new(4, now);
    let shares = shares(&mut crew, &mut now, SECOND, |_| 20_000_000);
    assert!(shares[4] >= 95, "{shares:?}");
}

#[test]
fn among_many_sizes_the_best_is_found() {
    let mut now = Instant::ZERO;
    let mut crew = Crew::new(8, now);
    let best_is_two = |size| [0, 20_000_000, 30_000_000, 0, 24_000_000, 0, 0, 0, 12_000_000][size];
    let shares = shares(&mut crew, &mut now, SECOND, best_is_two);
    assert!(shares[2] >= 75, "{shares:?}");
}

#[test]
fn naps_stay_where_they_get_more_done() {
    let (mut now, mut crew) = (Instant::ZERO, Crew::new(2, Instant::ZERO));
    let pace = |naps| if naps { 40_000_000 } else { 20_000_000 };
    let shares = shares_of_naps(&mut crew, &mut now, SECOND, pace);
    assert!(shares[1] >= 95, "{shares:?}");
}

#[test]
fn nobody_naps_where_that_gets_less_done_or_makes_no_difference() {
    for with_naps in [20_000_000, 40_000_000] {
        let (mut now, mut crew) = (Instant::ZERO, Crew::new(2, Instant::ZERO));
        let pace = |naps| if naps { with_naps } else { 40_000_000 };
        let shares = shares_of_naps(&mut crew, &mut now, SECOND, pace);
        assert!(shares[0] >= 95, "{shares:?}");
    }
}

#[test]
fn naps_are_not_tried_where_nobody_runs_dry() {
    let (mut now, mut crew) = (Instant::ZERO, Crew::new(2, Instant::ZERO));
    let shares: [u64; 2] = run((&mut crew, &mut now), SECOND, false, |_| 40_000_000, |plan| usize::from(plan.naps));
    assert_eq!(shares, [0, 100]);
}

#[test]
fn what_is_best_is_found_again_when_the_load_changes() {
    let (mut now, mut crew) = (Instant::ZERO, Crew::new(2, Instant::ZERO));
    shares_of_naps(&mut crew, &mut now, SECOND, |naps| if naps { 40_000_000 } else { 20_000_000 });
    let shares = shares_of_naps(&mut crew, &mut now, 4 * SECOND, |naps| if naps { 20_000_000 } else { 40_000_000 });
    assert!(shares[0] >= 70, "{shares:?}");
}

#[test]
fn long_operations_are_for_all_and_are_never_tried_with_fewer() {
    let mut now = Instant::ZERO;
    let mut crew = Crew::new(2, now);
    let shares = shares(&mut crew, &mut now, SECOND, |_| BUSY - 1_000_000);
    assert_eq!(shares[2], 100);
}

#[test]
fn the_crew_is_whole_again_once_operations_take_long_or_stop() {
    let mut now = Instant::ZERO;
    let mut crew = Crew::new(2, now);
    shares(&mut crew, &mut now, SECOND, |size| [0, 30_000_000, 20_000_000][size]);
    assert_eq!(crew.plan.size, 1);
    // Within the longest pause, when the next pace is taken.
    shares(&mut crew, &mut now, 2 * SECOND, |_| 1_000_000);
    assert_eq!(crew.plan.size, 2);
    shares(&mut crew, &mut now, SECOND, |size| [0, 30_000_000, 20_000_000][size]);
    assert_eq!(crew.plan.size, 1);
    crew.all_hands(now);
    assert_eq!(crew.plan.size, 2);
}

#[test]
fn a_pace_with_a_pause_in_it_decides_nothing() {
    let mut crew = Crew::new(2, Instant::ZERO);
    let at = |milliseconds| Instant::ZERO + Duration::from_millis(milliseconds);
    crew.observe(at(100), 0, 0);
    assert_eq!(crew.observe(at(102), 1_000_000, 0).size, 1, "a trial");
    crew.observe(at(103), 2_000_000, 0);
    assert_eq!(crew.observe(at(900), 900_000_000, 0).size, 2, "whoever slept in between, it is over");
    crew.observe(at(905), 900_000_000, 0);
    assert!(!crew.observe(at(907), 901_000_000, 1).naps, "a trial");
    crew.observe(at(908), 902_000_000, 1);
    assert!(crew.observe(at(1900), 900_000_000_000, 1).naps);
}

#[test]
fn a_trial_that_is_far_back_is_over_before_it_has_settled() {
    let at = |microseconds| Instant::ZERO + Duration::from_micros(microseconds);
    for (operations, goes_on) in [(25_000, true), (20_000, false)] {
        let mut crew = Crew::new(2, Instant::ZERO);
        crew.observe(at(0), 0, 0);
        assert!(!crew.observe(at(1000), 150_000, 1).naps, "a trial");
        assert!(!crew.observe(at(1200), 150_000, 1).naps, "it has hardly begun");
        assert_eq!(!crew.observe(at(1260), 150_000 + operations, 1).naps, goes_on);
    }
}

#[test]
fn a_nap_is_longer_where_little_was_to_do_since_the_last() {
    let mut naps = Naps::default();
    let looks = [0, 10, 20, 30, 40, 40 + WORTH, 50 + WORTH].map(|turns| naps.next(turns));
    assert_eq!(looks, [1, 2, 4, 4, 4, 1, 2]);
}

#[test]
fn a_nap_ends_once_nothing_gets_done_or_nobody_is_to_nap() {
    let stand_by = StandBy::new(2, true, Instant::ZERO);
    stand_by.brisk.store(true, Ordering::Relaxed);
    assert!(stand_by.nap(u32::MAX, || 2, || ()), "nobody reports anything");
    assert!(!stand_by.nap(u32::MAX, || 2, || ()), "so nobody naps any more");
    stand_by.brisk.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let nap = scope.spawn(|| stand_by.nap(u32::MAX, || 2, || ()));
        while !nap.is_finished() {
            stand_by.operations.fetch_add(1, Ordering::Relaxed);
            stand_by.set(Plan { size: 2, naps: false });
        }
    });
    assert!(!stand_by.nap(u32::MAX, || 2, || ()));
}

#[test]
fn who_stands_by_is_let_in_when_the_crew_grows() {
    let stand_by = StandBy::new(2, true, Instant::ZERO);
    stand_by.set(Plan { size: 1, naps: true });
    assert!(stand_by.includes(0) && !stand_by.includes(1));
    stand_by.all_hands(|| Instant::ZERO);
    assert!(stand_by.includes(1));
    // Nobody waits where there is nothing to wait for.
    assert!(stand_by.wait(|| 2, || ()));
}
