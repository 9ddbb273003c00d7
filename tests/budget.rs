//! Budgets of memory, under the allocator that keeps them: a program of its own, as a process has one allocator.

#[path = "budget/shared.rs"]
mod shared;

use std::alloc::System;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::time::Duration;

use laneway::alloc::Accounting;
use laneway::arena::TryGrow;
use laneway::prelude::*;
use laneway::runtime::lane::monitor_with_receipt;
use laneway::sync::{LockError, Mutex};
use laneway::testing::{Victim, kill_sweep};
use laneway::{
    ExitReceipt, Memory, SpawnError, StartError, check_memory, join, memory, spawn_blocking, timeout, try_charge,
    yield_now,
};

#[global_allocator]
static ALLOCATOR: Accounting<System> = Accounting::new(System);

const KIB: u64 = 1 << 10;
const BUDGET: u64 = 64 * KIB;

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().expect("a runtime")
}

/// Runs a lane that has no budget to its end: what its body came to.
fn in_lane<T, F>(runtime: &Runtime, body: impl FnOnce(Lane<Option<ExitReceipt>>) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = mpsc::channel();
    let reason = runtime.block_on(async move {
        let lane = laneway::spawn(move |lane| {
            let running = body(lane);
            async move { _ = tell.send(running.await) }
        });
        join(lane.expect("the test's lane").id()).await
    });
    told.try_recv().unwrap_or_else(|_| panic!("the test's lane ended before its time: {reason}"))
}

/// Runs a lane to its end, and watches it: its receipt.
macro_rules! receipt_of {
    ($main:ident, $spawn:expr, $body:expr) => {{
        let (_, reference) = $spawn.monitor_with_receipt().spawn_monitored($body).expect("a lane");
        let downs = |down: Down| down.receipt.map(|receipt| receipt.as_ref().clone());
        $main.on_down(reference.expect("a monitor"), downs);
        $main.recv().await.flatten().expect("a receipt")
    }};
}

fn with_budget(bytes: u64) -> Spawn {
    Spawn::new().memory(bytes)
}

fn block(bytes: u64) -> Vec<u8> {
    black_box(vec![1; bytes as usize])
}

fn used() -> u64 {
    memory().expect("a budget").used
}

#[track_caller]
fn assert_out_of_memory(reason: &ExitReason, of: u64, at_least: u64) {
    match reason {
        ExitReason::OutOfMemory { budget, requested } => {
            assert_eq!(*budget, of);
            assert!((at_least..at_least + 64).contains(requested), "{reason}");
        }
        other => panic!("it ended otherwise: {other}"),
    }
}

#[test]
fn arenas_are_charged_by_the_chunk_beside_what_the_allocator_gives() {
    let runtime = runtime(1);
    let receipt = in_lane(&runtime, async move |mut main: Lane<_>| {
        receipt_of!(main, with_budget(BUDGET), async move |lane: Lane<()>| {
            let (boxed, scratch) = (block(20 * KIB), lane.scratch());
            let before = used();
            scratch.alloc_slice(&[1_u8; 100]);
            // A page, and what is known of the arena.
            assert!((before + 4 * KIB..before + 5 * KIB).contains(&used()), "{} and then {}", before, used());
            let rest = (BUDGET - used()) / (4 * KIB) * 4 * KIB;
            let mut heap = lane.heap().vec::<u8>();
            assert!(heap.try_grow(BUDGET as usize).is_err(), "it is more than there is");
            drop(boxed);
            heap.try_grow(rest as usize).expect("there is room for it now");
            drop(scratch);
            let kept = used();
            drop(heap);
            assert_eq!(kept - used(), rest);
        })
    });
    assert_eq!((receipt.reason, receipt.memory_left), (ExitReason::Normal, 0));
    assert_eq!(runtime.handle().metrics().arena_bytes, 0);
}

#[test]
fn a_lane_past_its_budget_ends_at_its_next_await() {
    let runtime = runtime(1);
    let reached = Arc::new(AtomicU64::new(0));
    let counts = reached.clone();
    let receipt = in_lane(&runtime, async move |mut main: Lane<_>| {
        receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
            let mut hoard = Vec::new();
            for number in 1.. {
                hoard.push(block(KIB));
                counts.store(number, SeqCst);
                yield_now().await;
            }
        })
    });
    assert_out_of_memory(&receipt.reason, BUDGET, KIB);
    assert!((55..=64).contains(&reached.load(SeqCst)), "{reached:?} blocks fitted");
    assert!(receipt.memory > BUDGET && receipt.memory < BUDGET + 2 * KIB, "{receipt:?}");
    assert_eq!(receipt.memory_left, 0);
    let metrics = runtime.handle().metrics();
    assert_eq!((metrics.out_of_memory, metrics.abnormal), (1, 1));
}

#[test]
fn one_poll_may_take_more_and_its_own_end_stands() {
    let runtime = runtime(1);
    let ends = in_lane(&runtime, async |_: Lane<_>| {
        let own = with_budget(BUDGET).spawn(async |_: Lane<()>| {
            let much = block(10 * BUDGET);
            assert!(used() > 10 * BUDGET);
            ExitReason::error(much.len())
        });
        let own = join(own.expect("a lane").id()).await;
        let freed = with_budget(BUDGET).spawn(async |_: Lane<()>| {
            drop(block(10 * BUDGET));
            assert!(used() < KIB);
            yield_now().await;
        });
        [own, join(freed.expect("a lane").id()).await]
    });
    assert_eq!(ends[0], ExitReason::error(10 * BUDGET));
    assert_out_of_memory(&ends[1], BUDGET, 10 * BUDGET);
    assert_eq!(runtime.handle().metrics().out_of_memory, 1);
}

#[test]
fn a_lane_whose_future_alone_is_too_long_never_runs() {
    let runtime = runtime(1);
    let ran = Arc::new(AtomicUsize::new(0));
    let runs = ran.clone();
    let receipt = in_lane(&runtime, async move |mut main: Lane<_>| {
        receipt_of!(main, with_budget(KIB), async move |_: Lane<()>| {
            runs.fetch_add(1, SeqCst);
            let large = black_box([1_u8; 2048]);
            yield_now().await;
            black_box(large);
        })
    });
    assert!(receipt.bytes > 2048);
    assert_out_of_memory(&receipt.reason, KIB, receipt.bytes);
    assert_eq!((ran.load(SeqCst), receipt.memory, receipt.memory_left), (0, receipt.bytes, 0));
}

/// An actor that takes this much in `init`, and keeps it or not.
struct Takes {
    bytes: u64,
    hoard: Vec<u8>,
    waits: bool,
}

impl Actor for Takes {
    type Msg = Reply<u64>;

    async fn init(&mut self, _: &mut Context<Reply<u64>>) -> Result<Init, ExitReason> {
        self.hoard = block(self.bytes);
        if self.waits {
            yield_now().await;
        }
        Ok(Init::Ready)
    }

    async fn handle(&mut self, reply: Reply<u64>, _: &mut Context<Reply<u64>>) -> Outcome {
        // Whoever asked may have left.
        _ = reply.send(used());
        Ok(())
    }
}

#[test]
fn init_past_the_budget_fails_the_start_where_it_waits() {
    let runtime = runtime(1);
    let (waits, does_not, fits) = in_lane(&runtime, async |_: Lane<_>| {
        let takes = |bytes, waits| with_budget(BUDGET).start(Takes { bytes, hoard: Vec::new(), waits });
        let waits = takes(BUDGET, true).await;
        // This one is through with its `init` before the poll in which it ends.
        let does_not = takes(BUDGET, false).await.expect("it is started");
        let does_not = does_not.ask(|reply| reply).await;
        let fits = takes(BUDGET / 2, true).await.expect("it is started");
        (waits, does_not, fits.ask(|reply| reply).await)
    });
    match waits {
        Err(StartError::Failed(reason)) => assert_out_of_memory(&reason, BUDGET, BUDGET),
        other => panic!("{other:?}"),
    }
    assert!(matches!(does_not, Err(AskError::NoProc | AskError::Ended(_) | AskError::NoReply)), "{does_not:?}");
    assert!((BUDGET / 2..BUDGET).contains(&fits.expect("an answer")));
}

/// Takes memory when it is dropped, and says whether it was charged.
struct Hoards(mpsc::SyncSender<Option<Memory>>);

impl Drop for Hoards {
    fn drop(&mut self) {
        let hoard = block(2 * BUDGET);
        self.0.send(memory()).expect("the test waits");
        drop(hoard);
    }
}

#[test]
fn a_destructor_past_the_budget_ends_the_lane_that_lives_and_not_one_that_ends() {
    let runtime = runtime(1);
    // It has its memory from the start: what it took with a send would be the lane's.
    let (tell, told) = mpsc::sync_channel(3);
    let [lives, ends, killed] = in_lane(&runtime, async move |mut main: Lane<_>| {
        let hoards = [(); 3].map(|()| Hoards(tell.clone()));
        let [one, two, three] = hoards;
        let lives = receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
            drop(one);
            yield_now().await;
        });
        let ends = receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| drop(black_box(two)));
        let spawn = with_budget(BUDGET).monitor_with_receipt();
        let (killed, reference) = spawn
            .spawn_monitored(async move |mut lane: Lane<()>| {
                let _three = three;
                lane.recv().await;
            })
            .expect("a lane");
        main.on_down(reference.expect("a monitor"), |down| down.receipt.map(|receipt| receipt.as_ref().clone()));
        yield_now().await;
        killed.kill();
        [lives, ends, main.recv().await.flatten().expect("a receipt")]
    });
    assert_out_of_memory(&lives.reason, BUDGET, 2 * BUDGET);
    assert_eq!((ends.reason, killed.reason), (ExitReason::Normal, ExitReason::Killed));
    assert_eq!((lives.memory_left, ends.memory_left, killed.memory_left), (0, 0, 0));
    let charged: Vec<_> = told.iter().collect();
    assert_eq!(charged.len(), 3);
    assert!(charged.iter().all(|memory| memory.is_some_and(|memory| memory.used > 2 * BUDGET)), "{charged:?}");
    assert_eq!(runtime.handle().metrics().out_of_memory, 1);
}

#[test]
fn the_lock_of_a_lane_that_ran_out_comes_back_with_the_word_of_its_death() {
    let runtime = runtime(1);
    let (dead, holder) = in_lane(&runtime, async |_: Lane<_>| {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let takes = mutex.clone();
        let hog = with_budget(BUDGET).spawn(async move |_: Lane<()>| {
            let mut guard = takes.lock().await.expect("nobody else");
            loop {
                guard.push(block(KIB));
                yield_now().await;
            }
        });
        let hog = hog.expect("a lane");
        yield_now().await;
        match timeout(Duration::from_secs(60), mutex.lock()).await.expect("it comes back") {
            Err(LockError::OwnerDied(died)) => (hog.id(), died.holder().lane),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(Some(dead), holder);
}

#[test]
fn what_is_freed_elsewhere_is_credited() {
    let runtime = runtime(2);
    let receipt = in_lane(&runtime, async |mut main: Lane<_>| {
        let eats = laneway::spawn(async |mut lane: Lane<(Vec<u8>, Reply<()>)>| {
            while let Some((food, reply)) = lane.recv().await {
                drop(food);
                _ = reply.send(());
            }
        });
        let eats = eats.expect("a lane");
        receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
            let before = used();
            // Ten times the budget, a quarter of it at a time.
            for _ in 0..20 {
                let food = block(BUDGET / 4);
                eats.ask(|reply| (food, reply)).await.expect("it eats");
                let food = block(BUDGET / 4);
                assert!(used() >= before + BUDGET / 4);
                spawn_blocking(move || drop(food)).await;
            }
            assert!(used() < before + 4 * KIB, "{before} and then {}", used());
        })
    });
    assert_eq!(receipt.reason, ExitReason::Normal);
    // The name of a thread that it had started, and the like.
    assert!(receipt.memory_left < KIB, "{receipt:?}");
}

#[test]
fn what_a_lane_leaves_to_others_is_on_its_receipt_and_then_nobodys() {
    static CACHE: StdMutex<Vec<Vec<u8>>> = StdMutex::new(Vec::new());
    let runtime = runtime(1);
    let receipts = in_lane(&runtime, async |mut main: Lane<_>| {
        let mut receipts = Vec::new();
        // Many lives, so that accounts are used again while blocks of the dead are about.
        for number in 0..50 {
            receipts.push(receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
                CACHE.lock().unwrap().push(block(KIB));
                if number % 2 == 1 {
                    let of_others = CACHE.lock().unwrap().remove(0);
                    let before = used();
                    drop(of_others);
                    assert_eq!(used(), before, "it is not this lane's");
                }
            }));
        }
        receipts
    });
    assert!(receipts.iter().all(|receipt| receipt.reason == ExitReason::Normal), "{receipts:?}");
    assert!(receipts.iter().all(|receipt| receipt.memory_left >= KIB && receipt.memory_left < 4 * KIB));
    assert_eq!(CACHE.lock().unwrap().len(), 25);
}

#[test]
fn a_budget_is_inherited_down_the_tree_until_somebody_says_otherwise() {
    let runtime = Runtime::builder().workers(1).lane_memory(BUDGET).build().expect("a runtime");
    let found = in_lane(&runtime, async |mut lane: Lane<_>| {
        let limit = || memory().map(|memory| memory.limit);
        let mut found = vec![limit(), lane.resources().memory.map(|memory| memory.limit)];
        let (tell, told) = mpsc::channel();
        for spawn in [Spawn::new(), with_budget(BUDGET / 2), Spawn::new().unlimited_memory()] {
            let tell = tell.clone();
            let child = spawn.spawn(async move |_: Lane<()>| {
                tell.send(limit()).expect("the test waits");
                let child = laneway::spawn(async move |_: Lane<()>| tell.send(limit()).expect("the test waits"));
                join(child.expect("a lane").id()).await;
            });
            join(child.expect("a lane").id()).await;
        }
        drop(tell);
        found.extend(told);
        assert!(lane.try_recv().is_none());
        found
    });
    let half = Some(BUDGET / 2);
    let all = Some(BUDGET);
    assert_eq!(found, [all, all, all, all, half, half, None, None]);
    assert_eq!(memory(), None);
}

#[test]
fn each_lane_has_a_budget_of_its_own_and_neighbours_notice_nothing() {
    let runtime = runtime(2);
    let (good, hogs) = in_lane(&runtime, async |_: Lane<_>| {
        let (mut good, mut hogs) = (Vec::new(), Vec::new());
        for number in 0..40 {
            let lane = with_budget(BUDGET).spawn(async move |_: Lane<()>| {
                let mut hoard = Vec::new();
                for _ in 0..40 {
                    hoard.push(block(KIB));
                    if number % 2 == 1 {
                        hoard.push(block(KIB));
                    }
                    yield_now().await;
                }
                ExitReason::error(hoard.len())
            });
            if number % 2 == 0 { &mut good } else { &mut hogs }.push(lane.expect("a lane").id());
        }
        let mut ends = Vec::new();
        for id in good.into_iter().chain(hogs) {
            ends.push(join(id).await);
        }
        let hogs = ends.split_off(20);
        (ends, hogs)
    });
    // Whoever has ended before the join is known no more.
    assert!(good.iter().all(|end| [ExitReason::error(40), ExitReason::NoProc].contains(end)), "{good:?}");
    for end in hogs.iter().filter(|end| **end != ExitReason::NoProc) {
        assert_out_of_memory(end, BUDGET, KIB);
    }
    assert_eq!(runtime.handle().metrics().out_of_memory, 20);
}

#[test]
fn a_supervisor_starts_what_ran_out_again_and_can_tell_it_apart() {
    let runtime = runtime(1);
    let receipt = in_lane(&runtime, async |mut main: Lane<_>| {
        let role: Role<Reply<u64>> = Role::new();
        let mut lives = 0;
        let child = ChildSpec::lane("takes", move || {
            lives += 1;
            let bytes = if lives == 1 { BUDGET } else { KIB };
            async move |mut lane: Lane<Reply<u64>>| {
                while let Some(reply) = lane.recv().await {
                    let hoard = block(bytes);
                    yield_now().await;
                    _ = reply.send(used());
                    drop(hoard);
                }
            }
        });
        let child = child.restart(Restart::Transient).memory(BUDGET).role(role);
        let tree = Supervisor::builder("tree").child(child).start().await.expect("a tree");
        let first = role.filled().await.expect("a child");
        let reference = monitor_with_receipt(first.id()).expect("a lane");
        main.on_down(reference, |down| down.receipt.map(|receipt| receipt.as_ref().clone()));
        assert!(matches!(first.ask(|reply| reply).await, Err(AskError::Ended(ExitReason::OutOfMemory { .. }))));
        let receipt = main.recv().await.flatten().expect("a receipt");
        let answer = loop {
            match role.ask(|reply| reply).await {
                Ok(answer) => break answer,
                Err(_) => yield_now().await,
            }
        };
        assert!((KIB..4 * KIB).contains(&answer), "{answer}");
        tree.stop().expect("it lives");
        receipt
    });
    assert_out_of_memory(&receipt.reason, BUDGET, BUDGET);
    assert_eq!(runtime.handle().metrics().out_of_memory, 1);
}

#[test]
fn a_lane_that_frees_all_is_back_where_it_was() {
    for workers in [1, 2, 4] {
        a_balanced_life(&runtime(workers));
    }
}

fn a_balanced_life(runtime: &Runtime) {
    let receipt = in_lane(runtime, async |mut main: Lane<_>| {
        let spawn = with_budget(4 * BUDGET).name("balanced");
        receipt_of!(main, spawn, async move |mut lane: Lane<u64>| {
            let before = used();
            let me = lane.address();
            for round in 0..200_u64 {
                let mut texts: Vec<String> = (0..round % 17).map(|number| format!("{number} of {round}")).collect();
                texts.resize(texts.len() * 2, String::from("more"));
                texts.shrink_to(round as usize % 5);
                // What the runtime keeps for it is not its own.
                me.send(round).await.expect("room");
                assert_eq!(lane.recv().await, Some(round));
                sleep(Duration::from_micros(1)).await;
                let child = Spawn::new().spawn(async |_: Lane<()>| {});
                join(child.expect("a lane").id()).await;
                let boxed: Box<dyn Fn() -> usize + Send> = Box::new(move || texts.len());
                yield_now().await;
                black_box(boxed());
            }
            assert_eq!(used(), before);
        })
    });
    assert_eq!(receipt.reason, ExitReason::Normal);
    assert_eq!((receipt.memory, receipt.memory_left), (receipt.bytes, 0));
}

#[test]
fn a_check_says_what_still_fits() {
    let runtime = runtime(1);
    let end = in_lane(&runtime, async |_: Lane<_>| {
        let lane = with_budget(BUDGET).spawn(async |_: Lane<()>| {
            let Memory { used, limit, .. } = memory().expect("a budget");
            assert!(check_memory(limit - used).is_ok());
            let refused = check_memory(limit - used + 1).expect_err("one too many");
            assert_eq!((refused.requested, refused.memory.limit), (limit - used + 1, limit));
            assert!(check_memory(u64::MAX).is_err());
            let _half = block(limit / 2);
            assert!(check_memory(limit / 2).is_err());
            assert!(check_memory(limit / 4).is_ok());
            yield_now().await;
        });
        assert!(check_memory(u64::MAX).is_ok(), "no budget");
        join(lane.expect("a lane").id()).await
    });
    assert_eq!(end, ExitReason::Normal);
    assert!(check_memory(u64::MAX).is_ok(), "no lane");
}

#[test]
fn a_lane_that_is_killed_while_it_is_stuck_is_charged_until_its_poll_returns() {
    let runtime = Runtime::builder().workers(1).watchdog(Duration::from_millis(1)).build().expect("a runtime");
    let (begin, begun) = mpsc::sync_channel(1);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::sync_channel(2);
    let receipt = in_lane(&runtime, async move |mut main: Lane<_>| {
        let spawn = with_budget(BUDGET).monitor_with_receipt();
        let (stuck, reference) = spawn
            .spawn_monitored(async move |_: Lane<()>| {
                let mut hoard = vec![block(KIB)];
                begin.send(()).expect("the test waits");
                released.recv().expect("the test lets go");
                // It has ended, and its account has not.
                hoard.push(block(KIB));
                tell.send(used()).expect("the test waits");
                drop(hoard);
                tell.send(used()).expect("the test waits");
            })
            .expect("a lane");
        main.on_down(reference.expect("a monitor"), |down| down.receipt.map(|receipt| receipt.as_ref().clone()));
        while begun.try_recv().is_err() {
            yield_now().await;
        }
        stuck.kill();
        main.recv().await.flatten().expect("a receipt")
    });
    assert_eq!(receipt.reason, ExitReason::Killed);
    assert!(receipt.memory >= KIB && receipt.memory_left == receipt.memory, "{receipt:?}");
    release.send(()).expect("it waits");
    let [with, without] = [told.recv().expect("it goes on"), told.recv().expect("it goes on")];
    assert!(with >= receipt.memory + KIB && without < with - 2 * KIB, "{with}, {without}, {receipt:?}");
    drop(runtime);
}

#[test]
fn a_spawn_that_fails_leaves_no_account_behind() {
    let runtime = runtime(1);
    in_lane(&runtime, async |lane: Lane<_>| {
        lane.register("taken").expect("it is free");
        for _ in 0..100 {
            let taken = with_budget(BUDGET).name("taken").spawn(async |_: Lane<()>| {});
            assert!(matches!(taken, Err(SpawnError::NameTaken(_))), "{taken:?}");
        }
        assert_eq!(memory(), None);
    });
}

/// A lane's future has fibers of its own: what `join` polls at once is one lane.
#[test]
fn a_fiber_past_the_budget_ends_the_lane_with_all_its_fibers() {
    let runtime = runtime(1);
    let (tell, told) = mpsc::sync_channel(1);
    let receipt = in_lane(&runtime, async move |mut main: Lane<_>| {
        receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
            let waits = async {
                // Its destructor is heard, though it waits for ever.
                let _hoards = Hoards(tell);
                std::future::pending::<()>().await;
            };
            let takes = async {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(block(KIB));
                    sleep(Duration::from_micros(1)).await;
                }
            };
            futures_util::future::join(waits, takes).await;
        })
    });
    assert_out_of_memory(&receipt.reason, BUDGET, KIB);
    assert_eq!((receipt.memory_left, receipt.timers), (0, 1));
    assert!(told.recv().expect("the other fiber is dropped").is_some());
}

#[test]
fn a_map_that_grows_past_the_budget_under_a_lock_ends_the_lane_and_the_lock_tells() {
    let runtime = runtime(2);
    let (receipt, left) = in_lane(&runtime, async |mut main: Lane<_>| {
        let map = Arc::new(Mutex::new(std::collections::BTreeMap::new()));
        let grows = map.clone();
        let receipt = receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
            let mut guard = grows.lock().await.expect("nobody else");
            for number in 0_u64.. {
                guard.insert(number, number.to_string());
                if number % 16 == 0 {
                    yield_now().await;
                }
            }
        });
        let left = match map.lock().await {
            Err(LockError::OwnerDied(died)) => died.recover().len(),
            other => panic!("{other:?}"),
        };
        (receipt, left)
    });
    assert!(matches!(receipt.reason, ExitReason::OutOfMemory { budget: BUDGET, .. }), "{receipt:?}");
    assert_eq!(receipt.locks, 1);
    // The map lives on with the lock, and is the dead lane's until somebody drops it.
    assert!(left > 500 && receipt.memory_left > BUDGET / 2, "{left} entries, {receipt:?}");
}

#[test]
fn what_is_charged_by_hand_fits_to_the_byte_and_may_end_the_lane_at_once() {
    let runtime = runtime(1);
    let reached = Arc::new(AtomicU64::new(0));
    let counts = reached.clone();
    let receipt = in_lane(&runtime, async move |mut main: Lane<_>| {
        assert_eq!(try_charge(u64::MAX).expect("no budget").bytes(), 0);
        receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
            let free = BUDGET - used();
            let all = try_charge(free).expect("it fits");
            let refused = try_charge(1).expect_err("one too many");
            assert_eq!((refused.requested, refused.memory.used, refused.memory.limit), (1, BUDGET, BUDGET));
            drop(all);
            // Another drops it: it is room again, for this lane.
            let most = try_charge(free - 8 * KIB).expect("it fits");
            spawn_blocking(move || drop(most)).await;
            let half = try_charge(free / 2).expect("it fits");
            counts.store(half.bytes(), SeqCst);
            // Without an await: nothing after it runs.
            if let Err(refused) = try_charge(BUDGET) {
                refused.unwind();
            }
            counts.store(0, SeqCst);
        })
    });
    assert_eq!(receipt.reason, ExitReason::OutOfMemory { budget: BUDGET, requested: BUDGET });
    assert!(reached.load(SeqCst) > BUDGET / 4, "the lane ended before, or went on");
    assert_eq!(runtime.handle().metrics().out_of_memory, 1);
}

#[test]
fn a_panic_past_the_budget_is_a_panic() {
    let runtime = runtime(1);
    let receipt = in_lane(&runtime, async |mut main: Lane<_>| {
        receipt_of!(main, with_budget(BUDGET), async move |_: Lane<()>| {
            let _hoard = block(2 * BUDGET);
            std::panic::panic_any("on purpose");
        })
    });
    assert!(
        matches!(&receipt.reason, ExitReason::Panicked { message, .. } if &**message == "on purpose"),
        "{receipt:?}"
    );
    assert_eq!(receipt.memory_left, 0);
}

/// Strikes lanes that have budgets at each of their awaits: what the victims held of memory, they give back.
#[test]
fn a_lane_with_a_budget_that_is_killed_at_any_await_leaves_nothing_charged() {
    let report = kill_sweep(Victim::named("holder"), || async {
        let holder = with_budget(4 * BUDGET).name("holder").spawn(async |mut lane: Lane<u64>| {
            let mut hoard = std::collections::BTreeMap::new();
            let mutex = Mutex::new(Vec::new());
            for round in 0..8 {
                hoard.insert(round, block(2 * KIB));
                lane.address().send(round).await.expect("room");
                mutex.lock().await.expect("nobody else").push(lane.recv().await);
                sleep(Duration::from_millis(1)).await;
                hoard.remove(&(round / 2));
            }
        });
        join(holder?.id()).await;
        Ok::<_, SpawnError>(())
    });
    assert!(report.kills >= 8, "{report}");
    assert!(report.victims.iter().all(|receipt| receipt.memory > KIB && receipt.memory_left == 0), "{report}");
}
