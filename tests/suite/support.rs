//! What every test of the suite uses: runtimes, a lane to test in, and lanes that do as they are told.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use laneway::group::Change;
use laneway::{Address, Down, Exit, ExitReason, Id, Lane, Reply, Runtime};

/// One worker, and time that jumps.
pub(crate) fn virtual_runtime() -> Runtime {
    Runtime::builder().workers(1).virtual_time(7).build().expect("a runtime")
}

/// So many workers, and time that passes.
pub(crate) fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().expect("a runtime")
}

/// Runs a lane to its end: what its body came to.
pub(crate) fn in_lane<M, T, F>(runtime: &Runtime, body: impl FnOnce(Lane<M>) -> F) -> T
where
    M: Send + 'static,
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = mpsc::channel();
    let reason = runtime.block_on(async move {
        let lane = laneway::spawn(move |lane| {
            let running = body(lane);
            async move { _ = tell.send(running.await) }
        });
        laneway::join(lane.expect("the test's lane").id()).await
    });
    told.try_recv().unwrap_or_else(|_| panic!("the test's lane ended before its time: {reason}"))
}

/// Runs a test in a lane under virtual time, then sees that the runtime ends with nothing left.
pub(crate) fn test<F>(body: impl FnOnce(Lane<News>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = virtual_runtime();
    in_lane(&runtime, body);
    end(runtime);
}

/// As [`test`], again and again with one worker and with two, while time passes.
pub(crate) fn race<F>(times: u32, body: impl Fn(Lane<News>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for _ in 0..times {
            in_lane(&runtime, &body);
        }
        end(runtime);
    }
}

/// Ends a runtime and sees that nothing is left.
pub(crate) fn end(runtime: Runtime) {
    let report = runtime.shutdown(Duration::from_secs(30));
    assert!(report.is_clean(), "late: {:?}, stuck: {:?}", report.late, report.stuck);
    let left = &report.metrics;
    assert_eq!((left.alive, left.timers, left.names, left.descriptors), (0, 0, 0, 0), "{left:?}");
    assert_eq!((left.memberships, left.groups_left), (0, left.groups_joined), "{left:?}");
    assert_eq!((left.arena_bytes, left.arenas_quarantined), (0, 0), "{left:?}");
}

/// What a test's lane hears.
pub(crate) enum News {
    Down(Down),
    Exit(Exit),
    Number(u64),
    Ask(Reply<u64>),
    Change(Change),
}

/// One worker, time that jumps, and at most so many lanes, in slots that no runtime has used.
pub(crate) fn runtime_with_fresh_slots(max_lanes: u32) -> Runtime {
    let mut used = Vec::new();
    loop {
        let runtime = Runtime::builder().workers(1).virtual_time(7).max_lanes(max_lanes).build().expect("a runtime");
        // Slots are used again in turn: one that comes twice in a row is the only one that the runtime has so far.
        let [first, second] = [(); 2].map(|()| in_lane(&runtime, async |lane: Lane<()>| lane.id()));
        if first.key() == second.key() && (first.generation().get(), second.generation().get()) == (1, 2) {
            return runtime;
        }
        // Kept for now, since an ended runtime's slots are what the next one gets.
        used.push(runtime);
        assert!(used.len() < 1000, "no fresh slots");
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Down(down) => write!(f, "a Down of {}: {}", down.id, down.reason),
            News::Exit(exit) => write!(f, "an exit from {}: {}", exit.from, exit.reason),
            News::Number(number) => write!(f, "{number}"),
            News::Change(change) => write!(f, "{change}"),
            News::Ask(reply) => write!(f, "a question that is awaited: {}", reply.is_awaited()),
        }
    }
}

/// More than anything here takes, on any clock.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The next that the lane hears, in any case something.
pub(crate) async fn news(lane: &mut Lane<News>) -> News {
    match lane.recv_timeout(LONG).await {
        Ok(Some(news)) => news,
        Ok(None) => panic!("the test's lane was asked to stop"),
        Err(_) => panic!("something was to come, and nothing came"),
    }
}

pub(crate) async fn down(lane: &mut Lane<News>) -> Down {
    match news(lane).await {
        News::Down(down) => down,
        other => panic!("a Down was to come; what came is {other:?}"),
    }
}

pub(crate) async fn exit(lane: &mut Lane<News>) -> Exit {
    match news(lane).await {
        News::Exit(exit) => exit,
        other => panic!("an exit was to come; what came is {other:?}"),
    }
}

pub(crate) async fn number(lane: &mut Lane<News>) -> u64 {
    match news(lane).await {
        News::Number(number) => number,
        other => panic!("a number was to come; what came is {other:?}"),
    }
}

/// Watches a lane and waits for its end.
pub(crate) async fn reason_of(lane: &mut Lane<News>, id: impl Into<Id>) -> ExitReason {
    let reference = lane.monitor(id, News::Down);
    let down = down(lane).await;
    assert_eq!(down.reference, reference, "the notice is that of another monitor: {down:?}");
    down.reason
}

/// Under virtual time: goes on once nothing else can run.
pub(crate) async fn settle() {
    laneway::sleep(Duration::from_millis(1)).await;
}

/// Sees, under virtual time, that nothing more comes.
pub(crate) async fn assert_silence(lane: &mut Lane<News>) {
    settle().await;
    let heard = lane.try_recv();
    assert!(heard.is_none(), "nothing was to come; what came is {heard:?}");
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// An error that a lane may end with.
pub(crate) fn oops() -> ExitReason {
    ExitReason::error("oops")
}

/// An order to a puppet.
pub(crate) struct Do(Box<Deed>);

type Deed = dyn FnOnce(&mut Lane<Do>) + Send;

/// A lane that does as it is told.
pub(crate) type Puppet = Address<Do>;

pub(crate) async fn obey(mut lane: Lane<Do>) {
    while let Some(Do(what)) = lane.recv().await {
        what(&mut lane);
    }
}

pub(crate) fn puppet() -> Puppet {
    laneway::spawn(obey).expect("a puppet")
}

pub(crate) fn order(what: impl FnOnce(&mut Lane<Do>) + Send + 'static) -> Do {
    Do(Box::new(what))
}

/// Has a puppet do something: what came of it.
pub(crate) async fn tell<T: Send + 'static>(
    puppet: Puppet,
    what: impl FnOnce(&mut Lane<Do>) -> T + Send + 'static,
) -> T {
    let asked = puppet.ask(|reply: Reply<T>| {
        order(move |lane| {
            let outcome = what(lane);
            assert!(reply.send(outcome).is_ok(), "the test waits for its puppet");
        })
    });
    asked.await.unwrap_or_else(|error| panic!("the puppet {puppet:?} does not obey: {error}"))
}

/// A puppet that sends the exits it traps to the test's lane, but for that of the runtime, at which it ends.
pub(crate) async fn trapping_puppet(told: Address<News>) -> Puppet {
    let puppet = puppet();
    tell(puppet, move |lane| {
        lane.trap_exits(move |exit| {
            order(move |lane| {
                if exit.from == lane.id() {
                    lane.address().stop().expect("it is at work");
                } else {
                    // The test may be over.
                    let _ = told.try_send(News::Exit(exit));
                }
            })
        });
    })
    .await;
    puppet
}
