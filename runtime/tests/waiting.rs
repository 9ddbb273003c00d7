//! Who goes ahead of lanes that wait for their turn, and by how much. The clock is moved by the lanes themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use laneway_runtime::env::VirtualEnv;
use laneway_runtime::lane::Spawn;
use laneway_runtime::mailbox::Inbox;
use laneway_runtime::{Runtime, time, yield_now};

const MILLISECOND: Duration = Duration::from_millis(1);
/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> (Runtime, Arc<VirtualEnv>) {
    let env = Arc::new(VirtualEnv::new(7));
    let runtime = Runtime::builder().workers(workers).watchdog(None).env(env.clone());
    (runtime.build().expect("a runtime"), env)
}

fn spawn<F: Future<Output = ()> + Send + 'static>(runtime: &Runtime, body: impl FnOnce(Inbox<u64>) -> F) {
    let _entered = runtime.handle().enter();
    Spawn::new().spawn(body).expect("a lane");
}

/// Lanes that do nothing but take their turns, each of which takes so long, until told that it is over.
fn busy(
    runtime: &Runtime,
    env: &Arc<VirtualEnv>,
    lanes: u32,
    turn: Duration,
    over: &Arc<AtomicBool>,
) -> Arc<AtomicU64> {
    let turns = Arc::new(AtomicU64::new(0));
    for _ in 0..lanes {
        let (env, over, turns) = (env.clone(), over.clone(), turns.clone());
        spawn(runtime, |_| async move {
            while !over.load(Ordering::Relaxed) {
                env.advance(turn);
                turns.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
    }
    turns
}

#[test]
fn lanes_whose_time_has_come_do_not_wait_for_a_round_of_the_queue() {
    const TICKERS: usize = 8;
    let (runtime, env) = runtime(1);
    let over = Arc::new(AtomicBool::new(false));
    // A round takes 3.2 ms.
    busy(&runtime, &env, 64, Duration::from_micros(50), &over);
    let (tell, told) = mpsc::channel();
    for _ in 0..TICKERS {
        let tell = tell.clone();
        spawn(&runtime, |_| async move {
            // Until the worker knows how long the turns are.
            time::sleep(50 * MILLISECOND).await;
            let mut worst = Duration::ZERO;
            for _ in 0..200 {
                let deadline = time::now() + MILLISECOND;
                time::sleep_until(deadline).await;
                worst = worst.max(time::now() - deadline);
            }
            tell.send(worst).expect("the test listens");
        });
    }
    let worst = (0..TICKERS).map(|_| told.recv_timeout(LONG).expect("it ticks")).max();
    over.store(true, Ordering::Relaxed);
    // A tick of the wheel, the time between two looks at it, and a turn.
    assert!(worst < Some(Duration::from_micros(1500)), "{worst:?}");
}

#[test]
fn lanes_whose_time_has_always_come_leave_the_others_turns() {
    let (runtime, env) = runtime(1);
    let over = Arc::new(AtomicBool::new(false));
    let others = busy(&runtime, &env, 4, Duration::from_micros(100), &over);
    let (tell, told) = mpsc::channel();
    for _ in 0..16 {
        let (env, others, over, tell) = (env.clone(), others.clone(), over.clone(), tell.clone());
        spawn(&runtime, |_| async move {
            for _ in 0..200 {
                time::sleep(MILLISECOND).await;
                env.advance(MILLISECOND);
            }
            if !over.swap(true, Ordering::Relaxed) {
                tell.send(others.load(Ordering::Relaxed)).expect("the test listens");
            }
        });
    }
    let others = told.recv_timeout(LONG).expect("they end");
    // The first that ends has had 200 turns, as about the others of its kind. Every other turn is for who waits, and of a
    // round of the queue four of twenty are theirs.
    assert!(others >= 16 * 200 / 2 * 4 / 20, "{others} turns");
}

/// The first worker's lane blocks, and the one that is to release it waits behind it; the second is never idle.
#[test]
fn a_busy_worker_takes_what_waits_behind_a_long_poll() {
    let (runtime, env) = runtime(2);
    let over = Arc::new(AtomicBool::new(false));
    let turns = busy(&runtime, &env, 4, Duration::from_micros(100), &over);
    let (tell, told) = mpsc::channel();
    spawn(&runtime, |_| async move {
        let so_far = turns.load(Ordering::Relaxed);
        // From here on the busy ones are with the other worker.
        while turns.load(Ordering::Relaxed) < so_far + 1000 {
            std::thread::yield_now();
        }
        let (release, released) = mpsc::channel();
        Spawn::new().spawn(|_: Inbox<u64>| async move { release.send(()).expect("it waits") }).expect("a lane");
        tell.send(released.recv_timeout(LONG)).expect("the test listens");
    });
    let released = told.recv_timeout(2 * LONG).expect("it goes on");
    over.store(true, Ordering::Relaxed);
    released.expect("somebody runs the lane");
}
