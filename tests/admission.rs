//! Admission under a memory limit, with the allocator that keeps budgets: a program of its own, as a process has one allocator.

use std::alloc::System;
use std::hint::black_box;
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::time::Duration;

use laneway::admission::NoRoom;
use laneway::alloc::Accounting;
use laneway::prelude::*;
use laneway::testing::{KillSweep, Victim};
use laneway::{ExitReceipt, Handle, SpawnError, StartError, join, timeout, yield_now};

#[path = "admission/edges.rs"]
mod edges;

#[global_allocator]
static ALLOCATOR: Accounting<System> = Accounting::new(System);

const KIB: u64 = 1 << 10;
const LIMIT: u64 = 1 << 20;
/// A third of the limit, and not quite: three lanes fit.
const THIRD: u64 = 300 * KIB;

/// With one worker, for which nobody stands in however slow the machine is.
fn builder() -> laneway::Builder {
    Runtime::builder().workers(1).watchdog(None).memory_limit(LIMIT)
}

fn runtime() -> Runtime {
    builder().build().expect("a runtime")
}

fn sized(bytes: u64) -> Spawn {
    Spawn::new().mailbox(4).memory(bytes)
}

async fn waits(mut lane: Lane<()>) {
    while lane.recv().await.is_some() {}
}

/// Runs a lane to its end.
fn in_lane<F>(runtime: &Runtime, body: impl FnOnce(Lane<()>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let end = runtime.block_on(async { join(sized(16 * KIB).spawn(body).expect("it fits").id()).await });
    assert!(matches!(end, ExitReason::Normal | ExitReason::NoProc), "the test's lane ended: {end}");
}

fn no_room<T: std::fmt::Debug>(spawned: Result<T, SpawnError>) -> NoRoom {
    match spawned {
        Err(SpawnError::NoMemory(no_room)) => no_room,
        other => panic!("there is room: {other:?}"),
    }
}

/// Nothing is reserved but what pools keep, and nobody waits.
#[track_caller]
fn assert_settled(handle: &Handle) {
    let metrics = handle.metrics();
    assert_eq!((metrics.memory_reserved - metrics.memory_left, metrics.memory_waiting), (0, 0), "{metrics:?}");
}

#[test]
fn what_does_not_fit_is_refused_with_what_is_there() {
    let runtime = runtime();
    runtime.block_on(async {
        let lanes: Vec<_> = (0..3).map(|_| sized(THIRD).spawn(waits).expect("it fits")).collect();
        let error = no_room(sized(THIRD).spawn(waits));
        assert!(error.requested > THIRD && error.requested < THIRD + 4 * KIB, "{error:?}");
        assert!(error.free < THIRD && error.limit == LIMIT && !error.is_final(), "{error:?}");
        sized(KIB).spawn(async |_: Lane<()>| {}).expect("a small one fits");
        lanes[0].kill();
        join(lanes[0].id()).await;
        sized(THIRD).spawn(waits).expect("the dead make room, before anybody hears of it");
    });
    assert!(runtime.handle().metrics().memory_refused >= 1);
}

#[test]
fn the_refused_body_is_dropped() {
    let runtime = runtime();
    let token = Arc::new(());
    let owned = token.clone();
    let _entered = runtime.handle().enter();
    let error = no_room(sized(2 * LIMIT).spawn(async move |_: Lane<()>| drop(owned)));
    assert!(error.is_final());
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn under_a_limit_all_lanes_have_a_budget_and_a_mailbox_with_a_bound() {
    let runtime = builder().memory_limit(8 << 20).build().expect("a runtime");
    runtime.block_on(async {
        let (tell, told) = mpsc::channel();
        let lane = laneway::spawn(async move |_: Lane<()>| _ = tell.send(laneway::memory().map(|memory| memory.limit)));
        join(lane.expect("it fits").id()).await;
        assert_eq!(told.try_recv(), Ok(Some(laneway::admission::DEFAULT_LANE_MEMORY)));
        for none in [sized(KIB).unlimited_memory(), sized(KIB).unbounded(), sized(u64::MAX)] {
            assert_eq!(no_room(none.clone().spawn(waits)).requested, u64::MAX);
            assert_eq!(no_room(none.spawn_when_admitted(waits).await).requested, u64::MAX);
        }
    });
}

#[test]
fn without_a_limit_nothing_is_refused_nor_waited_for() {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime");
    runtime.block_on(async {
        let lane = Spawn::new().unbounded().unlimited_memory().spawn_when_admitted(waits).await.expect("it fits");
        assert!(lane.is_alive());
    });
    let metrics = runtime.handle().metrics();
    assert_eq!((metrics.memory_reserved, metrics.memory_waited), (0, 0));
}

#[test]
fn what_never_fits_is_an_error_at_once() {
    let runtime = runtime();
    runtime.block_on(async {
        let _full = sized(3 * THIRD).spawn(waits).expect("it fits");
        let error = no_room(sized(LIMIT).spawn_when_admitted(waits).await);
        assert!(error.is_final(), "{error:?}");
        let waiting = timeout(Duration::from_millis(1), sized(THIRD).spawn_when_admitted(waits)).await;
        assert!(waiting.is_err(), "it might fit later");
    });
    assert_eq!(runtime.handle().metrics().memory_waiting, 0);
}

#[test]
fn who_came_first_is_not_overtaken_by_who_wants_less() {
    let runtime = runtime();
    let order = Arc::new(StdMutex::new(Vec::new()));
    runtime.block_on(async {
        let full = sized(2 * THIRD).spawn(waits).expect("it fits");
        let mut waiters = Vec::new();
        for (number, bytes) in [(0, 2 * THIRD), (1, 2 * THIRD), (2, 2 * THIRD), (3, KIB)] {
            let order = order.clone();
            let waiter = Spawn::new().mailbox(1).memory(KIB).spawn(async move |mut begins: Lane<()>| {
                begins.recv().await;
                let lane = sized(bytes).spawn_when_admitted(waits).await.expect("admitted");
                order.lock().unwrap().push(number);
                lane.kill();
                join(lane.id()).await;
            });
            waiters.push(waiter.unwrap_or_else(|error| panic!("waiter {number}: {error}")));
        }
        for (before, waiter) in waiters.iter().enumerate() {
            waiter.send(()).await.expect("it waits");
            yield_until_waiting(before as u64 + 1).await;
        }
        let error = no_room(sized(KIB).spawn(waits));
        assert!(error.waiting == 4 && error.free > error.requested, "who does not wait is not served either: {error}");
        full.kill();
        for waiter in waiters {
            join(waiter.id()).await;
        }
    });
    // The last two fit beside each other.
    assert_eq!(order.lock().unwrap()[..2], [0, 1]);
    assert_settled(runtime.handle());
}

#[test]
fn a_waiter_that_dies_or_is_dropped_lets_the_next_one_in() {
    let runtime = runtime();
    runtime.block_on(async {
        let _two = [sized(THIRD).spawn(waits).expect("it fits"), sized(THIRD).spawn(waits).expect("it fits")];
        // Nobody fits who wants more than is left; who is behind him would.
        let first = sized(KIB).spawn(async |_: Lane<()>| _ = sized(2 * THIRD).spawn_when_admitted(waits).await);
        let first = first.expect("a small lane fits");
        yield_until_waiting(1).await;
        let mut dropped = Box::pin(sized(2 * THIRD).spawn_when_admitted(waits));
        assert!(timeout(Duration::ZERO, dropped.as_mut()).await.is_err());
        let mut last = Box::pin(sized(THIRD).spawn_when_admitted(waits));
        assert!(timeout(Duration::ZERO, last.as_mut()).await.is_err());
        yield_until_waiting(3).await;
        first.kill();
        yield_until_waiting(2).await;
        drop(dropped);
        last.await.expect("there was room behind the others");
    });
    assert_eq!(runtime.handle().metrics().memory_waiting, 0);
}

async fn yield_until_waiting(count: u64) {
    while Handle::current().unwrap().metrics().memory_waiting != count {
        yield_now().await;
    }
}

#[test]
fn whatever_way_a_lane_ends_its_room_comes_back() {
    let runtime = runtime();
    in_lane(&runtime, async |_: Lane<()>| {
        for _ in 0..3 {
            let normal = sized(2 * THIRD).spawn(async |_: Lane<()>| {}).expect("it fits");
            assert_eq!(join(normal.id()).await, ExitReason::Normal);
            let panics = sized(2 * THIRD).spawn(async |_: Lane<()>| {
                if black_box(true) {
                    panic!("as it must")
                }
            });
            assert!(matches!(join(panics.expect("it fits").id()).await, ExitReason::Panicked { .. }));
            let killed = sized(2 * THIRD).spawn(waits).expect("it fits");
            killed.kill();
            assert_eq!(join(killed.id()).await, ExitReason::Killed);
            let hog = sized(2 * THIRD).spawn(async |_: Lane<()>| {
                let _hoard = black_box(vec![1_u8; 3 * THIRD as usize]);
                yield_now().await;
            });
            assert!(matches!(join(hog.expect("it fits").id()).await, ExitReason::OutOfMemory { .. }));
            let taken = Spawn::new().mailbox(4).memory(KIB).name("one").spawn(waits).expect("named");
            assert!(matches!(sized(2 * THIRD).name("one").spawn(waits), Err(SpawnError::NameTaken(_))));
            taken.kill();
            join(taken.id()).await;
        }
    });
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _entered = runtime.handle().enter();
        let spawn = runtime::lane::Spawn::new().memory(2 * THIRD).mailbox(4);
        let _never = spawn.spawn(|_: runtime::mailbox::Inbox<()>| -> std::future::Ready<()> { panic!("made") });
    }));
    assert!(made.is_err());
    assert_settled(runtime.handle());
}

#[test]
fn a_receipt_says_what_was_reserved() {
    let runtime = runtime();
    let (tell, told) = mpsc::channel();
    runtime.block_on(async {
        let watcher = sized(64 * KIB).spawn(async move |mut lane: Lane<Arc<ExitReceipt>>| {
            let spawn = sized(THIRD).monitor_with_receipt();
            let (_, reference) = spawn.spawn_monitored(async |_: Lane<()>| {}).expect("it fits");
            lane.on_down(reference.expect("a monitor"), |down| down.receipt.expect("it was asked for"));
            tell.send(lane.recv().await.expect("a notice")).expect("the test waits");
        });
        join(watcher.expect("it fits").id()).await;
    });
    let reserved = told.recv().expect("a receipt").memory_reserved;
    assert!((THIRD..THIRD + 4 * KIB).contains(&reserved), "{reserved}");
}

#[test]
fn what_the_dead_leave_stays_reserved_until_it_is_freed() {
    let runtime = runtime();
    let (tell, told) = mpsc::channel();
    runtime.block_on(async {
        let lane = sized(2 * THIRD).spawn(async move |_: Lane<()>| {
            tell.send([vec![1_u8; THIRD as usize], vec![2_u8; THIRD as usize / 2]]).expect("the test waits");
        });
        join(lane.expect("it fits").id()).await;
        let [most, rest] = told.try_recv().expect("it sent them");
        let error = no_room(sized(2 * THIRD).spawn(waits));
        assert!(error.free < LIMIT - THIRD * 3 / 2, "{error}");
        // Here, on a thread that is no worker, and within the allocator.
        drop(most);
        let _now = sized(2 * THIRD).spawn(waits).expect("that much was freed");
        let mut waiting = Box::pin(sized(THIRD).spawn_when_admitted(waits));
        assert!(timeout(Duration::from_millis(1), waiting.as_mut()).await.is_err());
        drop(rest);
        waiting.await.expect("a look sees to it");
    });
}

#[test]
fn what_was_leaked_is_never_given_to_another() {
    let runtime = runtime();
    runtime.block_on(async {
        let lane = sized(2 * THIRD).spawn(async |_: Lane<()>| {
            std::mem::forget(black_box(vec![1_u8; THIRD as usize]));
        });
        join(lane.expect("it fits").id()).await;
        sized(LIMIT - 2 * THIRD).spawn(async |_: Lane<()>| {}).expect("it fits beside that");
        assert!(no_room(sized(LIMIT - THIRD).spawn(waits)).free < LIMIT - THIRD);
    });
}

#[test]
fn a_lane_that_is_stuck_keeps_its_room_until_its_poll_returns() {
    let runtime = builder().watchdog(Duration::from_millis(1)).build().expect("a runtime");
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    runtime.block_on(async {
        let stuck = sized(2 * THIRD).spawn(async move |_: Lane<()>| {
            begin.send(()).expect("the test waits");
            released.recv().expect("the test lets go");
        });
        let stuck = stuck.expect("it fits");
        begun.recv().expect("it runs");
        stuck.kill();
        assert_eq!(join(stuck.id()).await, ExitReason::Killed);
        no_room(sized(2 * THIRD).spawn(waits));
        let waiting = sized(2 * THIRD).spawn_when_admitted(waits);
        release.send(()).expect("it waits");
        waiting.await.expect("it has left");
    });
}

#[test]
fn a_shutdown_tells_those_who_wait() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let (tell, told) = mpsc::channel();
    let _full = runtime.block_on(async { sized(3 * THIRD).spawn(waits).expect("it fits") });
    #[expect(clippy::disallowed_methods, reason = "a thread that no runtime knows is what is tested")]
    let waiter = std::thread::spawn(move || {
        let _entered = handle.enter();
        tell.send(()).expect("the test waits");
        block_on(sized(THIRD).spawn_when_admitted(waits))
    });
    told.recv().expect("it begins");
    while runtime.handle().metrics().memory_waiting == 0 {
        std::thread::yield_now();
    }
    drop(runtime.shutdown(Duration::from_secs(5)));
    assert_eq!(waiter.join().expect("no panic").err(), Some(SpawnError::ShuttingDown));
}

/// Polls a future on this thread until it is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_waiter_is_killed_at_each_of_its_awaits_and_leaves_its_place() {
    const UNIT: u64 = 600 * KIB;
    let sweep = KillSweep::new(Victim::named("waiter")).memory_limit(4 << 20);
    let report = sweep.run(|| async {
        let full = sized(3 * UNIT).spawn(waits)?;
        let waiter = Spawn::new().mailbox(4).memory(KIB).name("waiter").spawn(async |_: Lane<()>| {
            let first = sized(UNIT * 3 / 2).spawn_when_admitted(waits).await?;
            let second = timeout(Duration::from_secs(1), sized(3 * UNIT).spawn_when_admitted(waits)).await;
            assert!(second.is_err(), "the first is there");
            first.kill();
            let third = sized(3 * UNIT).spawn_when_admitted(waits).await?;
            third.kill();
            Ok::<(), SpawnError>(())
        })?;
        let behind = Spawn::new().mailbox(4).memory(KIB).spawn(async |_: Lane<()>| {
            sized(UNIT).spawn_when_admitted(async |_: Lane<()>| {}).await?;
            Ok::<(), SpawnError>(())
        })?;
        sleep(Duration::from_millis(1)).await;
        full.kill();
        join(waiter.id()).await;
        for lane in Handle::current().expect("a runtime").lanes() {
            // What the waiter has spawned and could not end any more.
            if lane.parent == Some(waiter.id()) {
                laneway::kill(lane.id);
            }
        }
        let end = join(behind.id()).await;
        assert!(matches!(end, ExitReason::Normal | ExitReason::NoProc), "{end}");
        Ok::<(), SpawnError>(())
    });
    let report = report.unwrap_or_else(|failure| panic!("{failure}"));
    // It waits three times.
    assert!(report.kills >= 3, "{report}");
}

struct Big(Vec<u8>);

impl Actor for Big {
    type Msg = ();

    async fn init(&mut self, _: &mut Context<()>) -> Result<Init, ExitReason> {
        self.0 = vec![1; KIB as usize];
        Ok(Init::Ready)
    }

    async fn handle(&mut self, (): (), _: &mut Context<()>) -> Outcome {
        Ok(())
    }
}

#[test]
fn an_actor_waits_for_room_if_it_is_told_to() {
    let runtime = runtime();
    runtime.block_on(async {
        let full = sized(3 * THIRD).spawn(waits).expect("it fits");
        let refused = sized(THIRD).start(Big(Vec::new())).await;
        assert!(matches!(refused, Err(StartError::Spawn(SpawnError::NoMemory(_)))), "{refused:?}");
        let mut starting = sized(THIRD).start(Big(Vec::new())).timeout(Duration::ZERO + 5 * MS).when_admitted();
        assert!(timeout(10 * MS, &mut starting).await.is_err());
        full.kill();
        let actor = starting.await.expect("it was admitted, and `init` has its own time");
        actor.send(()).await.expect("it lives");
    });
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_child_for_which_there_is_no_room_is_a_start_that_failed() {
    let runtime = builder().memory_limit(4 << 20).build().expect("a runtime");
    runtime.block_on(async {
        let child = || ChildSpec::lane("child", || waits).memory(3 << 20).mailbox(4);
        let full = sized(2 << 20).spawn(waits).expect("it fits");
        let refused = Supervisor::builder("tree").child(child()).start().await;
        let said = format!("{:?}", refused.expect_err("there is no room"));
        assert!(said.contains("NoMemory") || said.contains("bytes"), "{said}");
        full.kill();
        join(full.id()).await;
        Supervisor::builder("tree").child(child()).start().await.expect("there is room");
    });
}

/// Xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Takes what it is told, leaves some of it with others, and ends when it is told.
async fn puppet(mut lane: Lane<Told>, leave: mpsc::Sender<Vec<u8>>) {
    let mut hoard = Vec::new();
    while let Some(told) = lane.recv().await {
        match told {
            Told::Take(bytes) if laneway::check_memory(bytes + 4096).is_ok() => hoard.push(vec![1; bytes as usize]),
            Told::Leave => hoard.pop().into_iter().for_each(|block| _ = leave.send(block)),
            Told::Take(_) => {}
            Told::Panic => panic!("as it is told"),
            Told::Spoil => hoard.push(vec![1; laneway::memory().expect("a budget").limit as usize]),
            Told::End => return,
        }
    }
}

enum Told {
    Take(u64),
    Leave,
    Panic,
    Spoil,
    End,
}

#[test]
fn whatever_lanes_do_the_limit_holds_and_all_of_it_comes_back() {
    const LIMIT: u64 = 4 << 20;
    const BUDGET_MAX: u64 = 404 * KIB;
    for seed in 1..=12 {
        let workers = 1 + seed as usize % 2;
        let runtime = Runtime::builder().workers(workers).memory_limit(LIMIT).build().expect("a runtime");
        let mut random = Random(seed * 0x9E37_79B9);
        let (leave, left) = mpsc::channel();
        runtime.block_on(async {
            let (mut lanes, mut waiting, mut held) = (Vec::new(), Vec::new(), Vec::new());
            for step in 0..400 {
                let budget = 4 * KIB + random.below((BUDGET_MAX - 4 * KIB) / KIB) * KIB;
                let spawn = Spawn::new().mailbox(1 + random.below(8) as u32).memory(budget);
                let leave = leave.clone();
                match random.below(12) {
                    0..3 => lanes.extend(spawn.spawn(|lane| puppet(lane, leave)).ok()),
                    3 => waiting.push(Box::pin(spawn.spawn_when_admitted(|lane| puppet(lane, leave)))),
                    4 if !waiting.is_empty() => {
                        drop(waiting.swap_remove(random.below(waiting.len() as u64) as usize));
                    }
                    5 if !lanes.is_empty() => {
                        let lane: Address<Told> = lanes.swap_remove(random.below(lanes.len() as u64) as usize);
                        lane.kill();
                    }
                    6 => held.extend(left.try_recv().ok()),
                    7 => drop(held.pop()),
                    _ if !lanes.is_empty() => {
                        let told = match random.below(20) {
                            0 => Told::Panic,
                            1 => Told::Spoil,
                            2 => Told::End,
                            3..8 => Told::Leave,
                            _ => Told::Take(random.below(100) * KIB),
                        };
                        // It may be full, or gone.
                        let _ = lanes[random.below(lanes.len() as u64) as usize].try_send(told);
                    }
                    _ => yield_now().await,
                }
                let mut number = 0;
                while number < waiting.len() {
                    match timeout(Duration::ZERO, waiting[number].as_mut()).await {
                        Ok(admitted) => {
                            lanes.extend(admitted.ok());
                            drop(waiting.swap_remove(number));
                        }
                        Err(_) => number += 1,
                    }
                }
                let bound = runtime.memory_bound().get("lanes").and_then(|term| term.bytes).expect("a limit");
                let used = runtime.memory_used().get("lanes").and_then(|term| term.bytes).expect("a number");
                // Who has passed its budget may have passed the limit with it, until all is freed that it took.
                let beyond = runtime.handle().metrics().out_of_memory * BUDGET_MAX;
                assert!(used <= bound + beyond, "seed {seed}, step {step}: {used} of {bound}");
            }
            drop(waiting);
            for lane in lanes {
                lane.kill();
                join(lane.id()).await;
            }
        });
        drop((leave, left));
        let report = runtime.shutdown(Duration::from_secs(5));
        let metrics = report.metrics;
        assert_eq!((metrics.memory_reserved, metrics.memory_left), (0, 0), "seed {seed}: {metrics:?}");
        assert_eq!((metrics.memory_waiting, metrics.alive), (0, 0), "seed {seed}");
    }
}
