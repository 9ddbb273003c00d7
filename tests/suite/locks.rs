//! Green locks: in order, passed on where nobody polls, given back by every death, and never lost.

use std::future::{pending, poll_fn};
use std::mem::forget;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use laneway::sync::{LockError, Mutex, Rollback, RwLock, Semaphore};
use laneway::testing::{KillSweep, Victim, kill_sweep};
use laneway::{ExitReason, Lane, Runtime, Spawn, SpawnError, yield_now};

use crate::support::*;

/// One poll, whatever comes of it.
async fn glance<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

async fn until(mut fact: impl FnMut() -> bool) {
    while !fact() {
        yield_now().await;
    }
}

/// A draw from a seeded generator.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

#[test]
fn a_lane_that_waits_by_a_future_it_does_not_poll_gets_the_lock_by_another() {
    test(async |mut lane: Lane<News>| {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock().await.unwrap();
        let theirs = mutex.clone();
        let waiter = laneway::spawn(async move |_: Lane<()>| {
            let mut first = pin!(theirs.lock());
            assert!(glance(first.as_mut()).await.is_none());
            // Alive, first in line, and not polled.
            *theirs.lock().await.unwrap() += 1;
            *first.await.unwrap() += 1;
        });
        until(|| mutex.waiting() == 2).await;
        drop(held);
        assert_eq!(reason_of(&mut lane, waiter.unwrap()).await, ExitReason::Normal);
        assert_eq!(*mutex.lock().await.unwrap(), 2);
    });
}

#[test]
fn a_lane_that_looks_elsewhere_while_first_in_line_holds_up_no_other_lane() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        in_lane(&runtime, async |mut lane: Lane<News>| {
            let mutex = Arc::new(Mutex::new(0));
            let held = mutex.lock().await.unwrap();
            let (theirs, me) = (mutex.clone(), lane.address());
            let idle = laneway::spawn(async move |mut idle: Lane<()>| {
                let mut first = pin!(theirs.lock());
                assert!(glance(first.as_mut()).await.is_none());
                // It waits for a message, and has its turns for others.
                idle.recv().await;
                assert_eq!(*first.await.unwrap(), 1, "it keeps its place for when it comes back");
                me.send(News::Number(2)).await.unwrap();
            });
            until(|| mutex.waiting() == 1).await;
            let (theirs, me) = (mutex.clone(), lane.address());
            laneway::spawn(async move |_: Lane<()>| {
                *theirs.lock().await.unwrap() += 1;
                me.send(News::Number(1)).await.unwrap();
            })
            .unwrap();
            until(|| mutex.waiting() == 2).await;
            drop(held);
            assert_eq!(number(&mut lane).await, 1);
            idle.unwrap().send(()).await.unwrap();
            assert_eq!(number(&mut lane).await, 2);
        });
        end(runtime);
    }
}

/// Lanes that lock by several futures at once, of which they poll one or another, and drop some.
async fn jumble(mutex: Arc<Mutex<u64>>, mut seed: u64) -> u64 {
    let mut taken = 0;
    let mut futures: Vec<_> = (0..3).map(|_| Some(Box::pin(mutex.lock()))).collect();
    for _ in 0..40 {
        let which = draw(&mut seed, 3) as usize;
        match draw(&mut seed, 4) {
            0 => futures[which] = None,
            1 => yield_now().await,
            _ => {
                let future = futures[which].get_or_insert_with(|| Box::pin(mutex.lock()));
                if let Some(guard) = glance(future.as_mut()).await {
                    futures[which] = None;
                    let mut guard = guard.unwrap();
                    let before = *guard;
                    if draw(&mut seed, 2) == 0 {
                        yield_now().await;
                    }
                    *guard = before + 1;
                    taken += 1;
                }
            }
        }
    }
    // Whatever else is in line, one that is awaited comes to the lock.
    *mutex.lock().await.unwrap() += 1;
    taken + 1
}

#[test]
fn whatever_lanes_poll_and_drop_nobody_who_awaits_the_lock_waits_for_ever() {
    for seed in 1..=200_u64 {
        let runtime = Runtime::builder().workers(1 + (seed % 2) as usize).build().unwrap();
        in_lane(&runtime, async move |mut lane: Lane<News>| {
            let mutex = Arc::new(Mutex::new(0));
            let me = lane.address();
            for number in 0..4 {
                let mutex = mutex.clone();
                laneway::spawn(async move |_: Lane<()>| {
                    let taken = jumble(mutex, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | (number + 1)).await;
                    me.send(News::Number(taken)).await.unwrap();
                })
                .unwrap();
            }
            let mut all = 0;
            for _ in 0..4 {
                all += number(&mut lane).await;
            }
            assert_eq!((*mutex.lock().await.unwrap(), mutex.waiting()), (all, 0), "seed {seed}");
        });
        end(runtime);
    }
}

#[test]
fn a_lane_killed_with_the_lock_at_any_await_leaves_it_to_the_next_with_that_word() {
    let died = Arc::new(AtomicU64::new(0));
    let count = died.clone();
    let report = kill_sweep(Victim::named("holder"), move || {
        let count = count.clone();
        async move {
            let mutex = Arc::new(Mutex::new(0));
            let theirs = mutex.clone();
            let holder = Spawn::new().name("holder").spawn(async move |_: Lane<()>| {
                for _ in 0..2 {
                    let mut value = theirs.lock().await.expect("nobody else dies");
                    *value += 1;
                    yield_now().await;
                    *value += 1;
                    drop(value);
                    yield_now().await;
                }
            })?;
            let theirs = mutex.clone();
            let waiter = laneway::spawn(async move |_: Lane<()>| {
                yield_now().await;
                match theirs.lock().await {
                    Ok(value) => assert_eq!(*value % 2, 0),
                    Err(LockError::OwnerDied(died)) => {
                        assert_eq!(died.holder().name.as_deref(), Some("holder"));
                        count.fetch_add(1, Ordering::Relaxed);
                        let mut value = died.recover();
                        *value += *value % 2;
                    }
                    Err(other) => panic!("{other}"),
                }
            })?;
            laneway::join(holder.id()).await;
            laneway::join(waiter.id()).await;
            match mutex.lock().await {
                Ok(value) => assert_eq!(*value % 2, 0),
                Err(error) => assert!(matches!(error, LockError::OwnerDied(_)), "{error}"),
            }
            Ok::<(), SpawnError>(())
        }
    });
    assert!(report.kills >= 3 && report.released.locks >= 2, "{report}");
    assert!(died.load(Ordering::Relaxed) >= 1);
}

#[test]
fn a_lane_killed_in_line_at_any_await_leaves_no_place_in_it() {
    let report = kill_sweep(Victim::named("waiter"), || async {
        let (mutex, lock, semaphore) = (Arc::new(Mutex::new(0)), Arc::new(RwLock::new(0)), Arc::new(Semaphore::new(1)));
        let all = (mutex.clone(), lock.clone(), semaphore.clone());
        let waiter = Spawn::new().name("waiter").spawn(async move |_: Lane<()>| {
            let (mutex, lock, semaphore) = all;
            let mut leaked = Box::pin(mutex.clone().lock_owned());
            assert!(glance(leaked.as_mut()).await.is_none());
            forget(leaked);
            drop(mutex.lock().await.unwrap());
            drop(lock.write().await.unwrap());
            drop(lock.read().await.unwrap());
            drop(semaphore.acquire().await.unwrap());
        })?;
        let (first, second, third) = (mutex.lock().await, lock.write().await, semaphore.acquire().await);
        yield_now().await;
        yield_now().await;
        drop(first);
        yield_now().await;
        drop(second);
        yield_now().await;
        drop(third);
        laneway::join(waiter.id()).await;
        // What the leaked future is offered goes on when a turn ends without it, or its lane has died.
        drop(mutex.lock().await.unwrap());
        drop(lock.write().await.unwrap());
        drop(semaphore.acquire().await.unwrap());
        assert_eq!((mutex.waiting(), lock.waiting(), semaphore.waiting()), (0, 0, 0));
        Ok::<(), SpawnError>(())
    });
    assert!(report.kills >= 3 && report.released.wait_entries >= 3, "{report}");
}

/// What no lane but those of the test below receives.
enum Nothing {}

#[test]
fn whichever_of_holders_and_waiters_are_killed_the_locks_come_back() {
    for lanes in 1..=3 {
        let one_of_them = (1..=lanes).map(|number| Victim::receiving::<Nothing>().nth(number));
        for victim in one_of_them.chain([Victim::receiving::<Nothing>().every()]) {
            let report = KillSweep::new(victim).virtual_time(lanes).run(move || hold_and_wait(lanes));
            let report = report.unwrap_or_else(|failure| panic!("of {lanes} lanes: {failure}"));
            assert!(report.kills >= 2, "{report}");
        }
    }
}

async fn hold_and_wait(lanes: u64) -> Result<(), SpawnError> {
    let mutex = Arc::new(Mutex::with_rollback(0_u64, Rollback::snapshot()));
    let (lock, semaphore) = (Arc::new(RwLock::new(())), Arc::new(Semaphore::new(2)));
    let mut spawned = Vec::new();
    for number in 0..lanes {
        let (mutex, lock, semaphore) = (mutex.clone(), lock.clone(), semaphore.clone());
        let body = async move |_: Lane<Nothing>| {
            for _ in 0..2 {
                let permit = semaphore.acquire().await.unwrap();
                let read = lock.read().await.or_else(LockError::recover).unwrap();
                let mut value = mutex.lock().await.unwrap();
                *value += 1;
                yield_now().await;
                *value += 1;
                drop((value, read));
                forget(semaphore.try_acquire());
                if number % 2 == 0 {
                    let _write = lock.write().await.or_else(LockError::recover).unwrap();
                    yield_now().await;
                }
                drop(permit);
            }
        };
        spawned.push(laneway::spawn(body)?);
    }
    for lane in spawned {
        laneway::join(lane.id()).await;
    }
    assert_eq!(*mutex.lock().await.unwrap() % 2, 0, "half of a change is rolled back");
    assert!(lock.try_write().is_ok() || lock.dead_holder().is_some());
    assert_eq!((semaphore.available_permits(), semaphore.holders()), (2, vec![]));
    assert_eq!((mutex.waiting(), lock.waiting(), semaphore.waiting()), (0, 0, 0));
    Ok(())
}

#[test]
fn what_was_acquired_equals_what_was_given_back_and_what_deaths_released() {
    const LANES: u64 = 200;
    for workers in [1, 2] {
        let runtime = runtime(workers);
        in_lane(&runtime, async |mut lane: Lane<News>| {
            let locks: Arc<Vec<Mutex<u64>>> = Arc::new((0..8).map(Mutex::new).collect());
            let permits = Arc::new(Semaphore::new(8));
            for number in 0..LANES {
                let (locks, permits) = (locks.clone(), permits.clone());
                let user = laneway::spawn(async move |_: Lane<()>| {
                    let _permit = permits.acquire().await.unwrap();
                    let lock = &locks[(number % 8) as usize];
                    let mut value = lock.lock().await.or_else(LockError::recover).unwrap();
                    *value += 1;
                    if number % 3 == 0 {
                        pending::<()>().await;
                    }
                });
                let user = user.unwrap();
                if number % 3 == 0 {
                    user.kill();
                }
                lane.monitor(user, News::Down);
            }
            for _ in 0..LANES {
                down(&mut lane).await;
            }
            assert_eq!((permits.available_permits(), permits.waiting()), (8, 0));
            for lock in locks.iter() {
                drop(lock.lock().await.or_else(LockError::recover).unwrap());
                assert!(lock.holder().is_none() && lock.dead_holder().is_none());
            }
        });
        end(runtime);
    }
}
