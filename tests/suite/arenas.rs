//! The memory of actors: a scratch that is reset after each message, a heap for the state, and what becomes of an actor
//! that needs more than its budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join;
use laneway::arena::{HashMap, Heap, TryGrow, Vec};
use laneway::{
    Actor, AskError, Context, ExitReason, Handle, Init, Lane, Outcome, Reply, Runtime, Spawn, StartError, start,
};

use crate::support::*;

const PAGE: u64 = 4096;
/// For the future of an actor, and a dozen pages of arenas.
const BUDGET: u64 = 16 * PAGE;

fn arena_bytes() -> u64 {
    Handle::current().expect("a runtime").metrics().arena_bytes
}

/// What is asked of an actor with arenas.
enum Ask {
    /// Work with the scratch for so many bytes; how many bytes all arenas have then.
    Scratch(usize, Reply<u64>),
    /// Keep a pair in the heap; how many there are.
    Keep(u64, Reply<usize>),
    /// Keep pairs until there is no more room; how many there are.
    Fill(Reply<usize>),
    /// Take more than there is, in one of two futures.
    Overrun,
    /// End by unwinding with a destructor that needs memory.
    OverrunTwice,
}

#[derive(Default)]
struct Worker {
    kept: Option<HashMap<u64, Vec<u8, Heap>, Heap>>,
    stopped: Arc<AtomicUsize>,
}

struct Late(Heap);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.vec::<u8>().resize(BUDGET as usize, 0);
    }
}

impl Worker {
    fn kept(&mut self, cx: &Context<Ask>) -> &mut HashMap<u64, Vec<u8, Heap>, Heap> {
        self.kept.get_or_insert_with(|| cx.heap().map())
    }

    fn keep(&mut self, number: u64, cx: &Context<Ask>) -> usize {
        let mut bytes = cx.heap().vec();
        bytes.resize(50, number as u8);
        let kept = self.kept(cx);
        kept.insert(number, bytes);
        kept.len()
    }
}

impl Actor for Worker {
    type Msg = Ask;

    async fn handle(&mut self, ask: Ask, cx: &mut Context<Ask>) -> Outcome {
        match ask {
            Ask::Scratch(bytes, reply) => {
                let scratch = cx.scratch();
                let mut buffer = scratch.vec();
                while buffer.len() < bytes {
                    buffer.extend_from_slice(&[7_u8; 100]);
                    if buffer.len().is_multiple_of(1000) {
                        laneway::yield_now().await;
                    }
                }
                assert!(buffer.iter().all(|byte| *byte == 7));
                let _ = reply.send(arena_bytes());
            }
            Ask::Keep(number, reply) => _ = reply.send(self.keep(number, cx)),
            Ask::Fill(reply) => {
                let heap = cx.heap();
                let kept = self.kept(cx);
                for number in 0.. {
                    let mut bytes = heap.vec();
                    if bytes.try_grow(50).and_then(|()| kept.try_grow(1)).is_err() {
                        break;
                    }
                    bytes.resize(50, number as u8);
                    kept.insert(number, bytes);
                }
                let _ = reply.send(kept.len());
                // What is freed is room again.
                kept.remove(&0);
            }
            Ask::Overrun => {
                let scratch = cx.scratch();
                let one = async { scratch.vec::<u8>().resize(BUDGET as usize, 0) };
                join(std::future::pending::<()>(), one).await;
            }
            Ask::OverrunTwice => {
                let _late = Late(cx.heap());
                cx.scratch().vec::<u8>().resize(BUDGET as usize, 0);
            }
        }
        Ok(())
    }

    async fn stopped(&mut self, reason: &ExitReason, cx: &mut Context<Ask>) {
        assert_eq!(cx.scratch().format(format_args!("{}", self.stopped.load(Ordering::SeqCst))), "0");
        self.stopped.fetch_add(1 + usize::from(matches!(reason, ExitReason::OutOfMemory { .. })), Ordering::SeqCst);
    }
}

#[test]
fn an_actors_scratch_is_reset_after_each_message() {
    let runtime = runtime(2);
    runtime.block_on(async {
        let worker = start(Worker::default()).await.expect("an actor");
        for _ in 0..200 {
            let held = worker.ask(|reply| Ask::Scratch(20_000, reply)).await.expect("an answer");
            assert!(held <= 64 << 10, "{held}");
        }
        // Nor does one long message stay.
        worker.ask(|reply| Ask::Scratch(1 << 20, reply)).await.expect("an answer");
        let held = worker.ask(|reply| Ask::Scratch(100, reply)).await.expect("an answer");
        assert!(held <= 64 << 10, "{held}");
        worker.kill();
        laneway::join(worker.id()).await;
        assert_eq!(arena_bytes(), 0);
    });
}

#[test]
fn an_actors_heap_keeps_its_state_and_goes_with_it() {
    let runtime = runtime(2);
    runtime.block_on(async {
        let worker = start(Worker::default()).await.expect("an actor");
        for number in 0..500 {
            assert_eq!(worker.ask(|reply| Ask::Keep(number, reply)).await.expect("an answer"), number as usize + 1);
        }
        assert!(arena_bytes() >= 500 * 50);
        worker.stop().expect("it lives");
        laneway::join(worker.id()).await;
        assert_eq!(arena_bytes(), 0);
    });
}

#[test]
fn what_an_actor_cannot_have_by_try_it_can_do_without() {
    let runtime = runtime(2);
    runtime.block_on(async {
        let worker = Spawn::new().memory(BUDGET).start(Worker::default()).await.expect("an actor");
        let kept = worker.ask(Ask::Fill).await.expect("an answer");
        assert!((100..=BUDGET as usize / 50).contains(&kept), "{kept}");
        assert_eq!(worker.ask(|reply| Ask::Keep(0, reply)).await.expect("it lives"), kept);
    });
}

#[test]
fn an_actor_that_needs_more_than_its_budget_ends_with_that_reason() {
    let runtime = runtime(2);
    for ask in [Ask::Overrun, Ask::OverrunTwice] {
        let stopped = Arc::<AtomicUsize>::default();
        let worker = Worker { kept: None, stopped: stopped.clone() };
        in_lane(&runtime, async move |mut lane: Lane<ExitReason>| {
            let worker = Spawn::new().memory(BUDGET).start(worker).await.expect("an actor");
            lane.monitor(worker, |down| down.reason);
            worker.send(ask).await.expect("it lives");
            let Some(ExitReason::OutOfMemory { budget, requested }) = lane.recv().await else { panic!("another end") };
            assert_eq!(budget, BUDGET);
            assert!(requested >= BUDGET, "{requested}");
            assert_eq!(worker.ask(|reply| Ask::Keep(1, reply)).await, Err(AskError::NoProc));
        });
        assert_eq!(stopped.load(Ordering::SeqCst), 2, "`stopped` ran, and knew");
    }
    assert_eq!(runtime.handle().metrics().arena_bytes, 0);
}

/// Takes too much before it is there.
struct Unborn;

impl Actor for Unborn {
    type Msg = ();

    async fn init(&mut self, cx: &mut Context<()>) -> Result<Init, ExitReason> {
        cx.heap().vec::<u8>().resize(BUDGET as usize, 0);
        Ok(Init::Ready)
    }

    async fn handle(&mut self, (): (), _: &mut Context<()>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_start_that_needs_too_much_fails_with_that_reason() {
    let runtime = runtime(2);
    let started = runtime.block_on(async { Spawn::new().memory(BUDGET).start(Unborn).await });
    assert!(matches!(started, Err(StartError::Failed(ExitReason::OutOfMemory { .. }))), "{started:?}");
    assert_eq!(runtime.handle().metrics().arena_bytes, 0);
}

#[test]
fn lanes_share_the_limit_of_arenas_and_have_it_again_when_one_is_gone() {
    let runtime = Runtime::builder().workers(2).arena_limit(64 * PAGE).build().expect("a runtime");
    in_lane(&runtime, async |mut lane: Lane<ExitReason>| {
        let hog = laneway::spawn(async |mut lane: Lane<Reply<()>>| {
            let mut bytes = lane.heap().vec::<u8>();
            bytes.resize(60 * PAGE as usize, 1);
            lane.recv().await.expect("a question").send(()).expect("somebody asks");
            let _ = lane.recv().await;
        });
        let hog = hog.expect("a lane");
        hog.ask(|reply| reply).await.expect("an answer");
        let second = laneway::spawn(async |lane: Lane<()>| lane.heap().vec::<u8>().resize(10 * PAGE as usize, 1));
        lane.monitor(second.expect("a lane"), |down| down.reason);
        let reason = lane.recv().await.expect("a notice");
        let none_left = ExitReason::OutOfMemory { budget: 64 * PAGE, requested: 10 * PAGE };
        // It may have ended before it was watched.
        assert!(reason == none_left || reason == ExitReason::NoProc, "{reason}");
        assert!(Handle::current().expect("a runtime").metrics().arena_refusals > 0);
        hog.kill();
        laneway::join(hog.id()).await;
        lane.heap().vec::<u8>().resize(60 * PAGE as usize, 1);
    });
}
