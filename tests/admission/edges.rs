//! What must not upset the sums: charges of nothing, spawns that wait in two lanes, and what pools keep for good.

use laneway::runtime::lane;

use super::*;

/// The reservation and the lane are of one budget, whichever lane polls.
#[test]
fn a_spawn_that_waits_in_two_lanes_gets_the_budget_that_it_asked_for_in_the_first() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    runtime.block_on(async {
        let hog = sized(850 * KIB).spawn(waits).expect("it fits");
        let passed = Arc::new(StdMutex::new(None));
        let (first, limits) = (passed.clone(), Arc::new(StdMutex::new(Vec::new())));
        let told = limits.clone();
        let lane = sized(64 * KIB).spawn(async move |_: Lane<()>| {
            let mut spawning = Box::pin(Spawn::new().mailbox(4).spawn_when_admitted(async move |_: Lane<()>| {
                told.lock().unwrap().push(laneway::memory().map(|memory| memory.limit));
            }));
            assert!(timeout(Duration::from_millis(1), spawning.as_mut()).await.is_err(), "there is no room");
            *first.lock().unwrap() = Some(spawning);
        });
        join(lane.expect("it fits").id()).await;
        hog.kill();
        join(hog.id()).await;
        let lane = sized(400 * KIB).spawn(async move |_: Lane<()>| {
            let spawning = passed.lock().unwrap().take().expect("it was put there");
            join(spawning.await.expect("there is room").id()).await;
        });
        join(lane.expect("it fits").id()).await;
        assert_eq!(*limits.lock().unwrap(), [Some(64 * KIB)]);
    });
    assert_settled(&handle);
}

#[test]
fn a_charge_of_nothing_gives_nothing_back() {
    let runtime = runtime();
    let kept = Arc::new(StdMutex::new(Vec::with_capacity(100)));
    runtime.block_on(async {
        for _ in 0..100 {
            let kept = kept.clone();
            let lane = sized(16 * KIB).spawn(async move |_: Lane<()>| {
                kept.lock().unwrap().push(lane::try_charge(0).expect("nothing fits"));
            });
            join(lane.expect("it fits").id()).await;
        }
    });
    let before = runtime.handle().metrics().memory_reserved;
    kept.lock().unwrap().clear();
    assert_eq!(runtime.handle().metrics().memory_reserved, before);
    runtime.block_on(async { sized(16 * KIB).spawn(waits).expect("it fits") });
}

/// Nodes of a mailbox that was full once are of no use to a lane with a budget of nearly the limit.
#[test]
fn who_waits_for_what_pools_keep_for_good_is_told() {
    let runtime = builder().memory_limit(4 << 20).build().expect("a runtime");
    runtime.block_on(async {
        let large = || sized(3900 * KIB);
        let (tell, told) = mpsc::channel();
        let full =
            Spawn::new().mailbox(4000).memory(64 * KIB).spawn(async |_: Lane<u64>| std::future::pending::<()>().await);
        let full = full.expect("it fits");
        let waiter = sized(16 * KIB).spawn(async move |_: Lane<()>| {
            let spawned = large().spawn_when_admitted(waits).await;
            tell.send(spawned.map(|lane| lane.id())).unwrap();
        });
        let waiter = waiter.expect("it fits");
        yield_until_waiting(1).await;
        for number in 0..4000 {
            full.try_send(number).expect("there is a place");
        }
        full.kill();
        join(full.id()).await;
        join(waiter.id()).await;
        let error = no_room(told.recv().unwrap());
        assert!(error.is_final() && error.requested <= error.limit && error.kept > 0, "{error:?}");
        assert!(error.to_string().contains("taken for good"), "{error}");
        // At once, where it is known; and nobody is kept out meanwhile.
        assert!(no_room(large().spawn_when_admitted(waits).await).is_final());
        sized(16 * KIB).spawn(waits).expect("it fits");
    });
}

#[test]
fn absurd_sizes_are_typed_errors() {
    let runtime = runtime();
    runtime.block_on(async {
        for bytes in [u64::MAX / 4, u64::MAX / 2, u64::MAX - 3, u64::MAX] {
            assert!(no_room(sized(bytes).spawn(waits)).is_final());
            assert!(no_room(sized(bytes).spawn_when_admitted(waits).await).is_final());
        }
        let lane = sized(16 * KIB).spawn(async |_: Lane<()>| {
            for bytes in [17 * KIB, 1 << 61, u64::MAX] {
                assert!(lane::try_charge(bytes).is_err());
            }
        });
        assert!(!matches!(join(lane.expect("it fits").id()).await, ExitReason::Panicked { .. }));
    });
    assert_eq!(lane::Spawn::new().mailbox(u32::MAX).mailbox_bytes::<[u8; 1 << 40]>(), Some(u64::MAX));
    let plan = laneway::memory_bound::MemoryPlan::new(u64::MAX);
    assert_eq!(plan.budget(u64::MAX).lanes(), 0);
}

#[test]
fn a_full_node_that_shuts_down_says_so() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let ends = runtime.block_on(async {
        let (tell, told) = mpsc::channel::<()>();
        // It holds the shutdown up for as long as nobody hangs up.
        sized(900 * KIB).spawn(async move |_: Lane<()>| _ = told.recv()).expect("it fits");
        tell
    });
    std::thread::scope(|scope| {
        scope.spawn(move || runtime.shutdown(Duration::from_secs(30)));
        let _entered = handle.enter();
        loop {
            match sized(900 * KIB).spawn(waits) {
                Err(SpawnError::ShuttingDown) => break,
                Err(SpawnError::NoMemory(_)) => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
        drop(ends);
    });
}
