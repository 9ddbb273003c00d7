//! The decision, with a clock and a load made up.

use super::*;

/// Runs a crew for a time under a load that gets `pace(size)` operations a second done; the share of that time, in
/// percent, in which each size was at work.
fn shares(crew: &mut Crew, now: &mut Instant, length: Duration, pace: impl Fn(usize) -> u64) -> Vec<u64> {
    let step = Duration::from_micros(50);
    let mut operations = 0;
    let mut at_work = vec![0; crew.all + 1];
    let steps = length.as_micros() as u64 / 50;
    for _ in 0..steps {
        *now += step;
        at_work[crew.size] += 1;
        operations += pace(crew.size) / 20_000;
        crew.observe(*now, operations);
    }
    at_work.iter().map(|count| count * 100 / steps).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_load_that_one_worker_does_best_is_left_to_one() {
    let mut now = Instant::ZERO;
    let mut crew = Crew::new(2, now);
    let shares = shares(&mut crew, &mut now, SECOND, |size| [0, 30_000_000, 20_000_000][size]);
    assert!(shares[1] >= 95, "{shares:?}");
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
    assert!(shares[2] >= 85, "{shares:?}");
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
    assert_eq!(crew.size, 1);
    // Within the longest pause, when the next pace is taken.
    shares(&mut crew, &mut now, 2 * SECOND, |_| 1_000_000);
    assert_eq!(crew.size, 2);
    shares(&mut crew, &mut now, SECOND, |size| [0, 30_000_000, 20_000_000][size]);
    assert_eq!(crew.size, 1);
    crew.all_hands(now);
    assert_eq!(crew.size, 2);
}

#[test]
fn a_pace_with_a_pause_in_it_decides_nothing() {
    let mut crew = Crew::new(2, Instant::ZERO);
    let at = |milliseconds| Instant::ZERO + Duration::from_millis(milliseconds);
    crew.observe(at(1), 0);
    assert_eq!(crew.observe(at(3), 1_000_000), 1, "a trial");
    crew.observe(at(4), 2_000_000);
    assert_eq!(crew.observe(at(900), 900_000_000), 2, "whoever slept in between, it is over");
}

#[test]
fn who_stands_by_is_let_in_when_the_crew_grows() {
    let stand_by = StandBy::new(2, true, Instant::ZERO);
    stand_by.set(1);
    assert!(stand_by.includes(0) && !stand_by.includes(1));
    stand_by.all_hands(|| Instant::ZERO);
    assert!(stand_by.includes(1));
    // Nobody waits where there is nothing to wait for.
    assert!(stand_by.wait(|| 2, || ()));
}
