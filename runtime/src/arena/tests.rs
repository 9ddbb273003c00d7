//! Arenas in lanes: what is in them stays as it was written, what there is not is refused, and what is left is counted.

use std::fmt::Debug;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::exit::ExitReason;
use crate::lane::{self, Spawn};
use crate::mailbox::Inbox;
use crate::runtime::Runtime;
use crate::sched::turn::yield_now;
use crate::sync::oneshot;

mod edges;

const PAGE: u64 = 4096;
/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Runtime::builder().workers(2).build().unwrap()
}

/// Runs a lane to its end, with a budget of so many pages besides its future.
fn run_with(runtime: &Runtime, pages: Option<u64>, future: impl Future<Output = ()> + Send + 'static) -> ExitReason {
    let (open, gate) = oneshot::channel::<()>();
    let future = async move {
        gate.await.unwrap();
        future.await;
    };
    runtime.block_on(async {
        let spawn = Spawn::new();
        let spawn = match pages {
            Some(pages) => spawn.memory(size_of_val(&future) as u64 + pages * PAGE),
            None => spawn,
        };
        let mut end = pin!(lane::join(spawn.spawn(|_: Inbox<()>| future).unwrap().mailbox.id()));
        // It goes on once somebody waits for its end.
        let waits = poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        open.send(()).unwrap();
        end.await
    })
}

/// Runs a lane without a budget, which must end well; nothing of its arenas may be left.
fn run(future: impl Future<Output = ()> + Send + 'static) {
    let runtime = runtime();
    assert_eq!(run_with(&runtime, None, future), ExitReason::Normal);
    let metrics = runtime.handle().metrics();
    assert_eq!((metrics.arena_bytes, metrics.arenas_quarantined, metrics.arena_bytes_quarantined), (0, 0, 0));
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize >> 3
}

/// A vector and what must be in it.
struct Patterned {
    bytes: Vec<u8, Heap>,
    pattern: u8,
}

impl Patterned {
    fn check(&self, seed: u64) {
        assert!(self.bytes.iter().all(|byte| *byte == self.pattern), "seed {seed}: somebody wrote here");
    }
}

/// Aligned like nothing that comes up by itself.
#[repr(align(256))]
struct Aligned([u8; 300]);

#[repr(align(65536))]
struct AlignedFar(u64);

/// One random step in a heap.
fn step(heap: &Heap, held: &mut std::vec::Vec<Patterned>, state: &mut u64, seed: u64) {
    let length = match random(state) % 20 {
        0 => random(state) % 200_000,
        1..5 => random(state) % 5000,
        _ => random(state) % 200,
    };
    let pattern = random(state) as u8;
    let at = random(state) % held.len().max(1);
    match random(state) % 6 {
        0 | 1 => {
            let mut bytes = heap.vec();
            bytes.resize(length, pattern);
            held.push(Patterned { bytes, pattern });
        }
        _ if held.is_empty() => {}
        2 | 3 => held.swap_remove(at).check(seed),
        4 => {
            let Patterned { bytes, pattern } = &mut held[at];
            bytes.resize(bytes.len() + length, *pattern);
        }
        _ => {
            let Patterned { bytes, .. } = &mut held[at];
            bytes.truncate(length);
            bytes.shrink_to_fit();
            assert_eq!(bytes.capacity(), bytes.len());
        }
    }
}

#[test]
fn a_heap_keeps_what_is_in_it_whatever_is_freed_around_it() {
    for seed in 1..=12_u64 {
        run(async move {
            let heap = heap().unwrap();
            let (mut state, mut held) = (seed * 0x9E37_79B9, std::vec::Vec::new());
            let mut aligned = std::vec::Vec::new();
            for round in 0..2500 {
                step(&heap, &mut held, &mut state, seed);
                if round % 100 == 0 {
                    let (near, far) = (heap.boxed(Aligned([7; 300])), heap.boxed(AlignedFar(seed)));
                    assert!(
                        (&raw const *near).addr().is_multiple_of(256) && (&raw const *far).addr().is_multiple_of(65536)
                    );
                    aligned.push((near, far));
                    yield_now().await;
                }
            }
            held.iter().for_each(|one| one.check(seed));
            assert!(aligned.iter().all(|(near, far)| near.0 == [7; 300] && far.0 == seed));
        });
    }
}

#[test]
fn what_is_freed_in_a_heap_is_used_again() {
    run(async {
        let heap = heap().unwrap();
        let mut list: std::vec::Vec<_> = (0..1000_u32).map(|number| heap.boxed([number; 20])).collect();
        let full = heap.held().unwrap();
        for round in 0..50 {
            list.retain(|boxed| boxed[0] % 3 != round % 3);
            let missing = 1000 - list.len();
            list.extend((0..missing as u32).map(|number| heap.boxed([number; 20])));
        }
        assert_eq!(heap.held().unwrap(), full, "no chunk was needed after the first thousand");
        // Of another size: what is free is merged.
        list.clear();
        let _long: std::vec::Vec<_> = (0..200_u32).map(|number| heap.boxed([number; 80])).collect();
        assert_eq!(heap.held().unwrap(), full);
    });
}

#[test]
fn what_is_long_in_a_heap_goes_back_as_it_is_freed() {
    run(async {
        let heap = heap().unwrap();
        let mut long = heap.vec::<u8>();
        long.resize(1 << 20, 1);
        assert_eq!(heap.held(), Some(1 << 20));
        // Shortened by little, it stays where it is, and is freed from there.
        long.truncate(900 << 10);
        long.shrink_to_fit();
        assert_eq!(heap.held(), Some(1 << 20));
        long.truncate(10);
        long.shrink_to_fit();
        assert!(heap.held().unwrap() < 64 << 10);
        assert_eq!(*long, [1; 10]);
    });
}

#[test]
fn a_scratch_keeps_what_is_in_it_until_it_is_reset() {
    for seed in 1..=12_u64 {
        run(async move {
            let (mut scratch, mut state) = (Scratch::new(), seed * 0x9E37_79B9);
            for _ in 0..40 {
                let (mut vectors, mut slices) = (std::vec::Vec::new(), std::vec::Vec::new());
                for _ in 0..random(&mut state) % 300 {
                    let (length, pattern) = (random(&mut state) % 400, random(&mut state) as u8);
                    let mut bytes = scratch.vec();
                    bytes.resize(length, pattern);
                    if random(&mut state).is_multiple_of(3) {
                        bytes.resize(2 * length, pattern);
                    }
                    vectors.push((bytes, pattern));
                    slices.push((
                        scratch.alloc_slice(&[u64::from(pattern); 9]),
                        scratch.alloc(Aligned([pattern; 300])),
                        pattern,
                    ));
                    if random(&mut state).is_multiple_of(50) {
                        yield_now().await;
                    }
                }
                assert!(vectors.iter().all(|(bytes, pattern)| bytes.iter().all(|byte| byte == pattern)), "seed {seed}");
                for (slice, aligned, pattern) in slices {
                    assert!(slice.iter().all(|word| *word == u64::from(pattern)), "seed {seed}");
                    assert!(aligned.0.iter().all(|byte| *byte == pattern), "seed {seed}");
                    assert!((&raw const *aligned).addr().is_multiple_of(256));
                }
                drop(vectors);
                scratch.reset();
                assert!(scratch.held() <= 64 << 10, "seed {seed}: kept {}", scratch.held());
            }
        });
    }
}

#[test]
fn collections_and_text_live_in_a_scratch() {
    run(async {
        let scratch = Scratch::new();
        let mut counts = scratch.map::<&str, u32>();
        for word in "to be or not to be".split(' ') {
            *counts.entry(word).or_default() += 1;
        }
        assert_eq!((counts["to"], counts["not"], counts.len()), (2, 1, 4));
        let mut text = scratch.string();
        for number in 0..300 {
            text.append(format_args!("{number},"));
        }
        assert_eq!(text.len(), 10 * 2 + 90 * 3 + 200 * 4);
        assert!(text.starts_with("0,1,2,") && text.ends_with(",299,"));
        let witness = Arc::new(());
        drop(scratch.boxed(witness.clone()));
        assert_eq!(Arc::strong_count(&witness), 1, "a box runs destructors");
        assert_eq!(
            (scratch.alloc_str("ß"), scratch.format(format_args!("plain"))),
            (&mut *std::string::String::from("ß"), "plain")
        );
    });
}

#[test]
fn a_reset_has_one_long_message_go_back_to_the_vat() {
    run(async {
        let mut scratch = Scratch::new();
        scratch.alloc_slice(&[1_u8; 100]);
        scratch.reset();
        assert_eq!(scratch.held(), PAGE, "the first chunk stays");
        scratch.alloc_slice(&vec![1_u8; 1 << 20]);
        scratch.reset();
        assert_eq!(scratch.held(), PAGE);
        scratch.alloc_slice(&vec![1_u8; 50 << 10]);
        scratch.reset();
        assert_eq!(scratch.held(), 56 << 10, "what may stay");
        // A message like that one needs nothing of the vat.
        let at = std::ptr::from_ref(scratch.alloc(0_u8)).addr();
        scratch.alloc_slice(&vec![1_u8; 50 << 10]);
        scratch.reset();
        assert_eq!((scratch.held(), std::ptr::from_ref(scratch.alloc(0_u8)).addr()), (56 << 10, at));
    });
}

/// Ends with the reason that an arena gave for a lane with so many pages.
fn overrun(pages: u64, fill: impl FnOnce() + Send + 'static) -> (u64, u64) {
    let runtime = runtime();
    // A neighbour in the same runtime goes on.
    let neighbour = runtime.block_on(async { Spawn::new().spawn(|_: Inbox<()>| std::future::pending::<()>()) });
    let reason = run_with(&runtime, Some(pages), async move { fill() });
    let ExitReason::OutOfMemory { budget, requested } = reason else { panic!("{reason}") };
    assert!(lane::is_alive(neighbour.unwrap().mailbox.id()));
    let metrics = runtime.handle().metrics();
    assert_eq!((metrics.arena_bytes, metrics.arenas_quarantined), (0, 0));
    (budget, requested)
}

#[test]
fn a_lane_that_needs_more_than_its_budget_ends_alone() {
    let (budget, requested) = overrun(10, || {
        let mut bytes = heap().unwrap().vec();
        loop {
            bytes.push(1_u8);
        }
    });
    assert!(budget > 10 * PAGE && budget < 11 * PAGE, "{budget}");
    assert!(requested.is_multiple_of(PAGE) && requested > PAGE, "{requested}");
    overrun(10, || {
        let scratch = Scratch::new();
        loop {
            scratch.alloc(1_u64);
        }
    });
    overrun(10, || {
        let mut map = heap().unwrap().map();
        for number in 0_u64.. {
            map.insert(number, number);
        }
    });
    overrun(10, || {
        let scratch = Scratch::new();
        let mut text = scratch.string();
        for number in 0_u64.. {
            text.append(format_args!("{number}"));
        }
    });
    overrun(10, || {
        let heap = heap().unwrap();
        let mut all = std::vec::Vec::new();
        for number in 0_u64.. {
            all.push(heap.boxed(number));
        }
    });
}

#[test]
fn the_last_chunk_is_what_is_left_of_the_budget() {
    let (told, all) = mpsc::channel();
    let reason = run_with(&runtime(), Some(11), async move {
        let scratch = Scratch::new();
        let mut taken = 0_u64;
        while scratch.try_alloc([0_u8; 1024]).is_ok() {
            taken += 1024;
        }
        told.send(taken).unwrap();
        assert!(matches!(scratch.try_alloc(0_u64), Err(ArenaError::Budget(_))), "not a byte is left");
    });
    assert_eq!(reason, ExitReason::Normal);
    assert_eq!(all.recv_timeout(PATIENCE), Ok(11 * PAGE));
}

#[test]
fn an_error_says_what_was_asked_for_and_what_there_is() {
    let reason = run_with(&runtime(), Some(4), async {
        let scratch = Scratch::new();
        let Err(ArenaError::Budget(no_memory)) = scratch.try_alloc_slice(&[0_u8; 5 * 4096]) else { panic!("it fits") };
        assert_eq!(no_memory.requested, 5 * PAGE);
        assert_eq!(no_memory.memory.limit - no_memory.memory.used, 4 * PAGE);
        // What is there is there.
        assert_eq!(scratch.try_alloc_str("more").unwrap(), "more");
    });
    assert_eq!(reason, ExitReason::Normal);
    let runtime = Runtime::builder().workers(1).arena_limit(8 * PAGE).build().unwrap();
    let reason = run_with(&runtime, None, async {
        let scratch = Scratch::new();
        let refused = scratch.try_alloc_slice(&[0_u8; 9 * 4096]).map(|_| ());
        assert_eq!(refused, Err(ArenaError::Limit { requested: 9 * PAGE, available: 8 * PAGE, limit: 8 * PAGE }));
        scratch.alloc_slice(&[0_u8; 9 * 4096]);
    });
    assert_eq!(reason, ExitReason::OutOfMemory { budget: 8 * PAGE, requested: 9 * PAGE });
    assert!(runtime.handle().metrics().arena_refusals > 0);
}

/// A key whose hasher asks the arena that the map is in.
struct Greedy<'a>(u32, &'a Scratch);

impl PartialEq for Greedy<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Greedy<'_> {}

impl Hash for Greedy<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.1.alloc(0_u8);
        let mut bytes = self.1.vec();
        bytes.push(1_u8);
        self.0.hash(state);
    }
}

#[test]
fn room_that_is_asked_for_is_given_or_refused_and_what_was_there_stays() {
    fn fill<A: Arena + Debug>(arena: A) {
        let mut numbers = Vec::new_in(arena.clone());
        let mut map = HashMap::with_hasher_in(rustc_hash::FxBuildHasher, arena.clone());
        let mut text = String::new_in(arena);
        let mut round = 0_u64;
        let refused = loop {
            let grown = numbers.try_grow(1).and_then(|()| map.try_grow(1)).and_then(|()| text.try_grow(2));
            if let Err(refused) = grown {
                break refused;
            }
            numbers.push(round);
            map.insert(round, round);
            text.push_str("ab");
            round += 1;
        };
        assert!(matches!(refused, ArenaError::Budget(_)), "{refused}");
        assert!(round > 500, "{round}");
        assert!(numbers.iter().copied().eq(0..round) && (0..round).all(|number| map[&number] == number));
        assert_eq!(text.len() as u64, 2 * round);
        assert_eq!(numbers.try_grow(usize::MAX), Err(ArenaError::TooLong));
    }
    assert_eq!(run_with(&runtime(), Some(16), async { fill(heap().unwrap()) }), ExitReason::Normal);
    assert_eq!(run_with(&runtime(), Some(16), async { fill(&Scratch::new()) }), ExitReason::Normal);
    let reason = run_with(&runtime(), Some(16), async {
        let scratch = Scratch::new();
        let mut map = scratch.map();
        for number in 0.. {
            // Either refuses in a word, or the hasher unwinds; the process lives.
            if map.try_grow(1).is_err() {
                break;
            }
            map.insert(Greedy(number, &scratch), ());
        }
    });
    assert!(matches!(reason, ExitReason::Normal | ExitReason::OutOfMemory { .. }), "{reason}");
}

/// Fills a heap in its destructor.
struct Greed(Vec<u8, Heap>);

impl Drop for Greed {
    fn drop(&mut self) {
        self.0.resize(self.0.len() + 20 * 4096, 1);
    }
}

#[test]
fn destructors_of_a_lane_that_unwinds_have_what_they_ask_for() {
    let runtime = runtime();
    // Out of memory, and a panic, and each with a destructor that needs more than the budget.
    let overrun = run_with(&runtime, Some(4), async {
        let heap = heap().unwrap();
        let _greed = Greed(heap.vec());
        heap.vec::<u8>().resize(1 << 20, 1);
    });
    assert!(matches!(overrun, ExitReason::OutOfMemory { requested: 1_048_576, .. }), "{overrun}");
    let panicked = run_with(&runtime, Some(4), async {
        let _greed = Greed(heap().unwrap().vec());
        panic!("on purpose");
    });
    assert!(matches!(panicked, ExitReason::Panicked { .. }), "{panicked}");
    // At a death without unwinding, a destructor that asks for too much is one that panicked.
    let (told, ready) = mpsc::channel();
    runtime.block_on(async {
        let lane = Spawn::new().memory(5 * PAGE).spawn(|_: Inbox<()>| async move {
            let _greed = (Greed(heap().unwrap().vec()), Greed(heap().unwrap().vec()));
            told.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        let id = lane.unwrap().mailbox.id();
        ready.recv_timeout(PATIENCE).unwrap();
        let mut end = pin!(lane::join(id));
        let waits = poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await;
        assert!(waits && lane::kill(id));
        assert_eq!(end.await, ExitReason::Killed);
    });
    let metrics = runtime.shutdown(PATIENCE).metrics;
    assert_eq!((metrics.destructor_panics, metrics.arena_bytes, metrics.arenas_quarantined), (1, 0, 0));
}

#[test]
fn a_mutex_is_left_by_a_lane_that_is_out_of_memory() {
    let runtime = runtime();
    let mutex = Arc::new(crate::sync::Mutex::new(0));
    let other = mutex.clone();
    let reason = run_with(&runtime, Some(4), async move {
        let _guard = other.lock().await;
        heap().unwrap().vec::<u8>().resize(1 << 20, 1);
    });
    assert!(matches!(reason, ExitReason::OutOfMemory { .. }));
    assert_eq!(
        run_with(&runtime, None, async move { assert!(mutex.lock().await.is_err(), "its owner died") }),
        ExitReason::Normal
    );
}

/// A lane that hands out what `make` makes of its heap, and has ended then.
fn handed_out<T: Send + 'static>(runtime: &Runtime, make: impl FnOnce(&Heap) -> T + Send + 'static) -> T {
    let (give, take): (_, Receiver<T>) = mpsc::channel();
    assert_eq!(run_with(runtime, None, async move { give.send(make(&heap().unwrap())).unwrap() }), ExitReason::Normal);
    take.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn what_a_dead_lane_has_given_away_stays_valid_and_counts_as_quarantined() {
    let runtime = runtime();
    let given = handed_out(&runtime, |heap| {
        let mut list = heap.vec();
        list.extend((0..2000_u32).map(|number| heap.format(format_args!("text {number}"))));
        list
    });
    let metrics = runtime.handle().metrics();
    assert_eq!(metrics.arenas_quarantined, 1);
    assert!(metrics.arena_bytes > 0 && metrics.arena_bytes == metrics.arena_bytes_quarantined);
    // Another lane has it, and lets go of half.
    let rest = run_with(&runtime, None, async move {
        let mut given = given;
        given.truncate(1000);
        assert!(given.iter().enumerate().all(|(number, text)| *text == *std::format!("text {number}")));
        assert_eq!(given.try_grow(10_000), Err(ArenaError::NotHere));
    });
    assert_eq!(rest, ExitReason::Normal);
    let metrics = runtime.handle().metrics();
    assert_eq!((metrics.arenas_quarantined, metrics.arena_bytes, metrics.arena_bytes_quarantined), (0, 0, 0));
}

#[test]
fn a_handle_that_was_leaked_keeps_its_arena_in_quarantine() {
    let runtime = runtime();
    let text: &'static str = handed_out(&runtime, |heap| heap.format(format_args!("kept {}", 1)).leak());
    assert_eq!(handed_out(&runtime, |heap| mem::forget(heap.clone())), ());
    // As many lanes as would overwrite it.
    for _ in 0..50 {
        run_with(&runtime, None, async { drop(heap().unwrap().boxed([0xAA_u8; 4000])) });
    }
    assert_eq!(text, "kept 1");
    let metrics = runtime.handle().metrics();
    assert_eq!((metrics.arenas_quarantined, metrics.arena_bytes), (2, metrics.arena_bytes_quarantined));
    // Nor does the end of the runtime take it.
    drop(runtime);
    assert_eq!(text, "kept 1");
}

#[test]
fn what_others_free_of_a_heap_its_lane_has_again() {
    let runtime = runtime();
    let (give, take) = mpsc::channel::<Vec<u8, Heap>>();
    let (done, freed) = mpsc::channel();
    let ended = std::thread::scope(|scope| {
        scope.spawn(move || {
            for bytes in take {
                assert!(bytes.iter().all(|byte| *byte == 3));
                drop(bytes);
                done.send(()).unwrap();
            }
        });
        run_with(&runtime, None, async move {
            let heap = heap().unwrap();
            let mut most = 0;
            for round in 0..400 {
                let mut bytes = heap.vec();
                bytes.resize(if round % 2 == 0 { 3000 } else { 40_000 }, 3);
                give.send(bytes).unwrap();
                freed.recv_timeout(PATIENCE).unwrap();
                most = most.max(heap.held().unwrap());
            }
            assert!(most <= 128 << 10, "{most}");
        })
    });
    assert_eq!(ended, ExitReason::Normal);
    assert_eq!(runtime.handle().metrics().arena_bytes, 0);
}

#[test]
fn memory_is_taken_from_an_arena_only_where_its_lane_runs() {
    assert_eq!(Scratch::new().try_alloc(1).map(|_| ()), Err(ArenaError::NotHere), "no lane runs here");
    run(async {
        let (scratch, heap) = (Scratch::new(), heap().unwrap());
        let mut own = scratch.vec();
        own.push(1_u32);
        std::thread::scope(|scope| {
            let (scratch, heap) = (&scratch, &heap);
            let elsewhere = scope.spawn(move || {
                // What is there may be read and dropped, not made more.
                assert_eq!(*own, [1]);
                assert_eq!(own.try_grow(1000), Err(ArenaError::NotHere));
                assert_eq!(scratch.try_alloc(1).map(|_| ()), Err(ArenaError::NotHere));
                assert_eq!(heap.held(), None);
                drop(own);
                catch_unwind(AssertUnwindSafe(|| heap.boxed(1))).map(|_| ())
            });
            assert!(elsewhere.join().unwrap().is_err(), "what does not try panics");
        });
        // A lane that was not the first may not, either.
        let shared = Arc::new(scratch);
        let other = shared.clone();
        let (tell, told) = oneshot::channel();
        let lane = Spawn::new().spawn(|_: Inbox<()>| async move {
            tell.send(other.try_alloc_str("no").map(|_| ())).unwrap();
        });
        assert!(lane.is_ok());
        assert_eq!(told.await.unwrap(), Err(ArenaError::NotHere));
        assert_eq!(shared.try_alloc_str("yes").unwrap(), "yes");
    });
}

#[test]
fn arenas_go_with_their_lane_from_worker_to_worker() {
    let runtime = Runtime::builder().workers(3).build().unwrap();
    runtime.block_on(async {
        let lanes: std::vec::Vec<_> = (0..30_u64)
            .map(|lane| {
                let body = async move {
                    let (mut scratch, mut state) = (Scratch::new(), heap().unwrap().vec());
                    for round in 0..60 {
                        let mut list = scratch.vec();
                        for step in 0..20 {
                            list.push(lane * step);
                            if step % 5 == 0 {
                                yield_now().await;
                            }
                        }
                        assert!(list.iter().copied().eq((0..20).map(|step| lane * step)));
                        drop(list);
                        scratch.reset();
                        state.push(lane + round);
                    }
                    assert!(state.iter().copied().eq((0..60).map(|round| lane + round)));
                };
                Spawn::new().spawn(|_: Inbox<()>| body).unwrap().mailbox.id()
            })
            .collect();
        for lane in lanes {
            lane::join(lane).await;
        }
    });
    let metrics = runtime.handle().metrics();
    assert_eq!((metrics.abnormal, metrics.arena_bytes), (0, 0));
}

#[test]
fn a_lane_that_wipes_says_so_for_all_its_arenas() {
    assert_eq!(wipe(), Err(NotInLane));
    run(async {
        wipe().unwrap();
        // The vat's own test looks at what is left: nobody can by safe code.
        Scratch::new().alloc_slice(&[0x5A_u8; 4096]);
        heap().unwrap().vec::<u8>().resize(100_000, 1);
    });
}
