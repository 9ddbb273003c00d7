use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::Namespace;

#[test]
fn instants_saturate_at_both_ends() {
    assert_eq!(Instant::MAX + Duration::from_nanos(1), Instant::MAX);
    assert_eq!(Instant::ZERO + Duration::MAX, Instant::MAX);
    assert_eq!(Instant::from_nanos(5) - Duration::from_nanos(6), Instant::ZERO);
    assert_eq!(Instant::from_nanos(5) - Instant::from_nanos(6), Duration::ZERO);
    let mut now = Instant::from_nanos(5);
    now += Duration::from_micros(1);
    assert_eq!(now.as_nanos(), 1005);
}

#[test]
fn the_clock_of_the_os_does_not_go_back() {
    let env = OsEnv::new();
    let first = env.now();
    assert!(env.now() >= first);
    assert_eq!(env.idle_until(Some(first)), Idle::Block);
    assert_eq!(env.idle_until(None), Idle::Block);
    let year_2020 = Duration::from_secs(1_577_836_800);
    assert!(env.unix_time() > year_2020);
}

#[test]
fn the_entropy_of_the_os_differs_each_time() {
    let (mut one, mut two) = ([0; 32], [0; 32]);
    OsEnv::new().fill_entropy(&mut one);
    OsEnv::new().fill_entropy(&mut two);
    assert_ne!(one, two);
}

#[test]
fn a_thread_has_its_name_and_runs_its_work() {
    let ran = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&ran);
    let work = move || theirs.store(std::thread::current().name() == Some("worker 3"), Ordering::Release);
    OsEnv::new().spawn_thread("worker 3", Box::new(work)).unwrap().join().unwrap();
    assert!(ran.load(Ordering::Acquire));
}

#[test]
fn a_virtual_clock_moves_only_when_told_to() {
    let env = VirtualEnv::new(1);
    assert_eq!(env.now(), Instant::ZERO);
    assert_eq!(env.idle_until(None), Idle::Block);
    assert_eq!(env.now(), Instant::ZERO);
    let unix = env.unix_time();

    env.advance(Duration::from_secs(2));
    assert_eq!(env.now(), Instant::from_nanos(2_000_000_000));
    assert_eq!(env.unix_time() - unix, Duration::from_secs(2));

    // A deadline that has passed does not turn the clock back.
    assert_eq!(env.idle_until(Some(Instant::from_nanos(1))), Idle::Advanced);
    assert_eq!(env.now(), Instant::from_nanos(2_000_000_000));
}

#[test]
fn one_seed_gives_one_sequence() {
    let draw = |seed| {
        let env = VirtualEnv::new(seed);
        let mut bytes = [0; 20];
        env.fill_entropy(&mut bytes);
        let mut more = [0; 8];
        env.fill_entropy(&mut more);
        (bytes, more)
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1).0[..8], draw(1).1);
}

#[test]
fn an_idle_driver_jumps_to_the_deadline_or_blocks_until_unparked() {
    let env = VirtualEnv::new(1);
    let (_table, mut drivers) = Driver::start(&env, Namespace::new(2).unwrap(), NonZeroUsize::MIN).unwrap();
    let driver = &mut drivers[0];
    let tomorrow = env.now() + Duration::from_secs(86_400);
    assert_eq!(driver.idle(&env, Some(tomorrow), &mut Vec::new()).unwrap(), 0);
    assert_eq!(env.now(), tomorrow);

    driver.unparker().unpark();
    assert_eq!(driver.idle(&env, None, &mut Vec::new()).unwrap(), 0);
    assert_eq!(env.now(), tomorrow);

    // On the OS a deadline that has passed does not block.
    let env = OsEnv::new();
    assert_eq!(driver.idle(&env, Some(Instant::ZERO), &mut Vec::new()).unwrap(), 0);
}
