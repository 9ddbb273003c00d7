//! What has no bytes, what is refused in the middle, and what is taken at the end.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn what_has_no_bytes_is_no_block_of_a_heap() {
    run(async {
        let heap = heap().unwrap();
        drop(heap.boxed(()));
        drop(heap.vec::<u8>().into_boxed_slice());
        Box::into_inner(heap.boxed([0_u64; 0]));
        let sent = (heap.boxed(()), heap.vec::<u8>().into_boxed_slice());
        std::thread::scope(|scope| {
            scope.spawn(move || drop(sent));
        });
        // What was freed by shrinking is used again.
        let before = heap.held();
        for _ in 0..10_000 {
            let mut bytes = heap.vec::<u8>();
            bytes.push(1);
            bytes.clear();
            bytes.shrink_to_fit();
        }
        assert_eq!(heap.held().map(|held| held.max(PAGE)), before.map(|held| held.max(PAGE)));
        // Also what had a chunk of its own, however small the steps are.
        let mut long = heap.vec::<u8>();
        long.resize(400 << 10, 1);
        let held = heap.held().unwrap();
        for kib in [200, 100, 50, 25, 12, 6, 3, 1] {
            long.truncate(kib << 10);
            long.shrink_to_fit();
        }
        assert!(heap.held().unwrap() + (300 << 10) < held);
    });
    // A scratch has no blocks.
    run(async {
        let scratch = Scratch::new();
        drop((scratch.boxed(()), scratch.vec::<u8>().into_boxed_slice()));
    });
}

#[test]
fn a_text_that_found_no_room_is_text() {
    run(async {
        let mut text = heap().unwrap().string();
        text.push_str(&"a".repeat(text.capacity().max(8) - 1));
        text.push_str(&"a".repeat(text.capacity() - 1 - text.len()));
        let text = std::thread::scope(|scope| {
            let elsewhere = scope.spawn(move || {
                assert!(catch_unwind(AssertUnwindSafe(|| text.push('é'))).is_err(), "it is not its lane");
                text
            });
            elsewhere.join().unwrap()
        });
        assert!(text.chars().all(|char| char == 'a'));
    });
    let reason = run_with(&runtime(), Some(6), async {
        let mut text = heap().unwrap().string();
        text.push('a');
        let overrun = catch_unwind(AssertUnwindSafe(|| {
            loop {
                text.push('é');
            }
        }));
        assert!(text.len() > 1000 && text.chars().skip(1).all(|char| char == 'é'));
        resume_unwind(overrun.unwrap_err());
    });
    assert!(matches!(reason, ExitReason::OutOfMemory { .. }), "{reason}");
}

/// A key whose hasher takes so many bytes from a heap.
struct Hungry(u32, Heap, Arc<AtomicUsize>);

impl PartialEq for Hungry {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Hungry {}

impl Hash for Hungry {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.1.vec::<u8>().resize(self.2.load(Ordering::Relaxed), 1);
        // All alike, so that what is removed leaves its mark.
        0_u32.hash(state);
    }
}

/// A map with many such marks moves its elements where they are, and asks for nothing itself.
#[test]
fn a_hasher_that_is_refused_ends_no_process() {
    let reason = run_with(&runtime(), Some(64), async {
        let heap = heap().unwrap();
        let hunger = Arc::new(AtomicUsize::new(0));
        let key = |number| Hungry(number, heap.clone(), hunger.clone());
        let mut map = heap.map();
        map.try_grow(448).unwrap();
        let all = map.capacity() as u32;
        for number in 0..all {
            map.insert(key(number), ());
        }
        for number in 0..all - 3 {
            map.remove(&key(number));
        }
        hunger.store(1 << 20, Ordering::Relaxed);
        let refused = map.try_grow(map.capacity() - map.len() + 1);
        assert!(matches!(refused, Err(ArenaError::Budget(_))), "{refused:?}");
        hunger.store(0, Ordering::Relaxed);
        assert!(map.len() <= 3);
    });
    assert_eq!(reason, ExitReason::Normal);
}

#[test]
fn what_a_dying_lane_takes_is_wiped() {
    /// Looks at the arenas of its destructor.
    struct Late(mpsc::Sender<bool>);

    impl Drop for Late {
        fn drop(&mut self) {
            self.0.send(tenancy::current().unwrap().wipes()).unwrap();
        }
    }
    let (tell, told) = mpsc::channel();
    run(async move {
        let _late = Late(tell);
        assert!(!tenancy::current().unwrap().wipes());
    });
    // Dropped by the poll that returns, it runs in the lane; by its death, it does not.
    assert!(!told.recv().unwrap());
    let (tell, told) = mpsc::channel();
    let runtime = runtime();
    runtime.block_on(async move {
        let late = Late(tell);
        let lane = Spawn::new().spawn(move |_: Inbox<()>| async move {
            std::future::pending::<()>().await;
            drop(late);
        });
        let id = lane.unwrap().mailbox.id();
        let mut end = pin!(lane::join(id));
        let waits = poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        lane::kill(id);
        end.await
    });
    assert_eq!(told.recv(), Ok(true));
}
