//! A lane that is killed while it is stuck ends at once for all others; its code is left alone until its poll returns.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use laneway::group::{self, ChangeKind};
use laneway::net::TcpListener;
use laneway::prelude::{ChildSpec, Supervisor};
use laneway::runtime::{inspect, lane as bare};
use laneway::{
    Address, AskError, ExitReason, Handle, Id, Lane, Metrics, MonitorRef, NameError, NotInLane, Reply, Runtime,
    SendError, Spawn, SpawnError,
};

use crate::support::*;

fn watched(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).watchdog(Duration::from_millis(1)).build().expect("a runtime")
}

fn metrics() -> Metrics {
    Handle::current().expect("a runtime").metrics()
}

/// Goes on once `is_so`, while others run.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        laneway::yield_now().await;
    }
}

/// Goes on once the poll of each lane that was abandoned has returned.
async fn until_none_is_abandoned() {
    until(|| metrics().abandoned_lanes == 0).await;
}

/// What a lane that is stuck waits for, and says when it begins to.
struct Stuck {
    begun: Arc<AtomicBool>,
    released: Receiver<()>,
}

/// The other end.
struct Releases {
    begun: Arc<AtomicBool>,
    release: Sender<()>,
}

fn stuck() -> (Stuck, Releases) {
    let begun = Arc::<AtomicBool>::default();
    let (release, released) = mpsc::channel();
    (Stuck { begun: begun.clone(), released }, Releases { begun, release })
}

impl Stuck {
    /// Blocks the thread until somebody lets go.
    fn block(&self) {
        self.begun.store(true, SeqCst);
        self.released.recv_timeout(LONG).expect("somebody lets go");
    }
}

impl Releases {
    async fn begun(&self) {
        until(|| self.begun.load(SeqCst)).await;
    }

    fn release(&self) {
        self.release.send(()).expect("it is stuck");
    }
}

/// Goes on once the watchdog has found the lane.
async fn until_found(lane: Id) {
    let handle = Handle::current().expect("a runtime");
    until(|| handle.stuck().iter().any(|stuck| stuck.lane.as_ref().is_some_and(|found| found.id == lane))).await;
}

#[test]
fn a_stuck_lane_that_is_killed_ends_at_once_for_all_others() {
    for workers in [1, 2] {
        for is_found_first in [false, true] {
            let runtime = watched(workers);
            in_lane(&runtime, async move |mut lane: Lane<News>| {
                let memory = Arc::new(());
                let held = memory.clone();
                let (blocks, releases) = stuck();
                let it = Spawn::new().name("stuck").spawn(async move |_: Lane<()>| {
                    let _held = held;
                    blocks.block();
                });
                let it = it.expect("a lane");
                releases.begun().await;
                let reference = lane.monitor(it, News::Down);
                if is_found_first {
                    until_found(it.id()).await;
                }
                assert!(it.kill() && it.kill(), "it lives");
                let down = down(&mut lane).await;
                assert_eq!((down.reference, down.id, &down.reason), (reference, it.id(), &ExitReason::Killed));
                // Its poll goes on.
                assert_eq!(Arc::strong_count(&memory), 2);
                assert!(!laneway::is_alive(it.id()) && !it.kill());
                assert_eq!(it.try_send(()), Err(SendError::NoProc(())));
                assert_eq!(laneway::join(it.id()).await, ExitReason::NoProc);
                assert_eq!(reason_of(&mut lane, it).await, ExitReason::NoProc);
                assert_eq!((metrics().abandoned_lanes, metrics().abandoned_total), (1, 1));
                assert!(!Handle::current().expect("a runtime").lanes().iter().any(|lane| lane.id == it.id()));
                lane.register("stuck").expect("the name is free");
                releases.release();
                until_none_is_abandoned().await;
                assert_eq!((Arc::strong_count(&memory), metrics().abandoned_total), (1, 1));
            });
            end(runtime);
        }
    }
}

#[test]
fn the_arenas_of_an_abandoned_lane_are_its_own_until_its_poll_returns() {
    let runtime = watched(2);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let (blocks, releases) = stuck();
        let it = laneway::spawn(async move |lane: Lane<()>| {
            let (scratch, heap) = (lane.scratch(), lane.heap());
            let mut kept = heap.vec();
            kept.resize(5000, 1_u8);
            let text = scratch.format(format_args!("before {}", 1));
            blocks.block();
            // It has ended for all others. What it had is as it was, and there is more.
            assert!(laneway::is_abandoned());
            kept.resize(100_000, 1);
            let mut list = heap.vec();
            list.extend((0..500).map(|number| lane.heap().boxed(number)));
            assert!(kept.iter().all(|byte| *byte == 1) && list.iter().map(|number| **number).eq(0..500));
            assert_eq!((text, scratch.format(format_args!("after {}", 2))), ("before 1", "after 2"));
            // A scratch of its own it may still make.
            assert_eq!(lane.scratch().alloc_str("late"), "late");
        });
        let it = it.expect("a lane");
        releases.begun().await;
        lane.monitor(it, News::Down);
        assert!(it.kill(), "it lives");
        down(&mut lane).await;
        let held = metrics();
        assert_eq!(held.arenas_quarantined, 2);
        assert!(held.arena_bytes > 0 && held.arena_bytes == held.arena_bytes_quarantined, "{held:?}");
        // Others take what is free meanwhile.
        for _ in 0..20 {
            lane.heap().vec::<u8>().resize(20_000, 9);
        }
        releases.release();
        until_none_is_abandoned().await;
        let left = metrics();
        assert_eq!((left.arenas_quarantined, left.arena_bytes_quarantined), (0, 0));
    });
    end(runtime);
}

#[test]
fn a_kill_by_exit_signal_reaches_a_stuck_lane_and_its_links_hear() {
    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        lane.trap_exits(News::Exit);
        let (blocks, releases) = stuck();
        let it = Spawn::new().link().spawn(async move |mut it: Lane<News>| {
            it.trap_exits(News::Exit);
            blocks.block();
        });
        let it = it.expect("a lane");
        releases.begun().await;
        laneway::exit(it.id(), ExitReason::Shutdown);
        laneway::exit(it.id(), ExitReason::Kill);
        let exit = exit(&mut lane).await;
        assert_eq!((exit.from, exit.reason), (it.id(), ExitReason::Killed));
        releases.release();
        until_none_is_abandoned().await;
    });
    end(runtime);
}

#[test]
fn what_an_abandoned_lane_held_is_free_while_its_poll_goes_on() {
    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let (blocks, releases) = stuck();
        let (tell, told) = mpsc::channel();
        let it = laneway::spawn(async move |it: Lane<()>| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
            it.register("one").expect("a free name");
            it.register("another").expect("a free name");
            group::join("some").expect("it is a lane");
            group::join("some").expect("it is a lane");
            laneway::time::call_at(laneway::time::now() + LONG, || ());
            tell.send(listener.local_addr().expect("an address")).expect("the test listens");
            blocks.block();
            assert!(listener.local_addr().is_err(), "it was closed");
            assert_eq!(group::join("some"), Err(NotInLane));
            assert!(group::ids("some").is_empty(), "it was taken out");
        });
        let it = it.expect("a lane");
        releases.begun().await;
        let address = told.recv().expect("an address");
        let (_, members) = lane.monitor_group("some", News::Change);
        assert_eq!(members, [it.id(), it.id()]);
        lane.monitor(it, News::Down);
        it.kill();
        for _ in 0..2 {
            assert!(matches!(news(&mut lane).await, News::Change(change) if change.kind == ChangeKind::Left));
        }
        assert_eq!(down(&mut lane).await.reason, ExitReason::Killed);
        let held = Handle::current().expect("a runtime").held_by(it.id());
        assert_eq!((held.timers, held.descriptors, held.names, held.groups), (0, 0, 0, 0));
        assert_eq!((bare::whereis("one"), bare::whereis("another")), (None, None));
        assert!(group::ids("some").is_empty() && group::of(it.id()).is_empty());
        drop(TcpListener::bind(address).expect("the port is free"));
        assert_eq!((metrics().names_released, metrics().descriptors_released, metrics().timers_released), (2, 1, 1));
        assert_eq!((metrics().groups_released, metrics().memberships), (2, 0));
        releases.release();
        until_none_is_abandoned().await;
    });
    end(runtime);
}

#[test]
fn a_timer_that_is_set_while_its_lane_is_taken_away_is_not_the_dead_ones() {
    /// Blocks when it is dropped.
    struct Last(Mutex<Stuck>);

    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Last {
        fn drop(&mut self) {
            self.0.lock().expect("a mutex").block();
        }
    }

    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let (in_drop, releases_drop) = stuck();
        let (blocks, releases) = stuck();
        let it = laneway::spawn(async move |_: Lane<()>| {
            let mut sleep = Box::pin(laneway::sleep(LONG));
            let last = Waker::from(Arc::new(Last(Mutex::new(in_drop))));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&last)).is_pending());
            // What was set has it from now on, and goes when the sleep is polled with another.
            drop(last);
            poll_fn(|cx| {
                assert!(sleep.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            blocks.block();
        });
        let it = it.expect("a lane");
        releases_drop.begun().await;
        it.kill();
        assert_eq!(reason_of(&mut lane, it).await, ExitReason::Killed);
        releases_drop.release();
        releases.begun().await;
        // It stands, for the code that goes on, and is nobody's.
        let held = Handle::current().expect("a runtime").held_by(it.id());
        assert_eq!(held.timers, 0);
        releases.release();
        until_none_is_abandoned().await;
    });
    end(runtime);
}

#[test]
fn a_lock_that_an_abandoned_lane_holds_is_not_handed_on_before_its_poll_returns() {
    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let lock = Arc::new(laneway::sync::Mutex::new(7));
        let held = lock.clone();
        let (blocks, releases) = stuck();
        let it = laneway::spawn(async move |_: Lane<()>| {
            let _guard = held.lock_owned().await.expect("it is free");
            blocks.block();
            std::future::pending::<()>().await;
        });
        let it = it.expect("a lane");
        releases.begun().await;
        it.kill();
        assert_eq!(reason_of(&mut lane, it).await, ExitReason::Killed);
        assert!(lock.try_lock().is_err(), "its code is at what the lock guards");
        releases.release();
        until_none_is_abandoned().await;
        let died = lock.lock().await;
        assert!(matches!(died, Err(laneway::sync::LockError::OwnerDied(_))), "{died:?}");
    });
    end(runtime);
}

#[test]
fn a_place_in_a_line_that_an_abandoned_lane_has_is_given_up_while_its_poll_goes_on() {
    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let lock = Arc::new(laneway::sync::Mutex::new(7));
        let guard = lock.clone().lock_owned().await.expect("it is free");
        let wanted = lock.clone();
        let (blocks, releases) = stuck();
        let it = laneway::spawn(async move |_: Lane<()>| {
            let mut waits = Box::pin(wanted.lock());
            assert!(poll_once(&mut waits).await.is_pending(), "it is taken");
            blocks.block();
            std::future::pending::<()>().await;
            drop(waits);
        });
        let it = it.expect("a lane");
        releases.begun().await;
        let reference = lane.monitor_with_receipt(it, News::Down);
        it.kill();
        let down = down(&mut lane).await;
        assert_eq!((down.reference, down.reason), (reference, ExitReason::Killed));
        assert_eq!(down.receipt.map(|receipt| receipt.wait_entries), Some(1));
        drop(guard);
        assert_eq!(lock.try_lock().map(|held| *held).ok(), Some(7), "it was offered to one who has ended");
        releases.release();
        until_none_is_abandoned().await;
        assert_eq!(lock.lock().await.map(|held| *held).ok(), Some(7));
    });
    end(runtime);
}

#[test]
fn callers_and_senders_of_an_abandoned_lane_hear_at_once() {
    let runtime = watched(1);
    in_lane(&runtime, async move |_: Lane<News>| {
        let (blocks, releases) = stuck();
        let it = Spawn::new().mailbox(1).spawn(async move |_: Lane<Reply<u64>>| blocks.block());
        let it = it.expect("a lane");
        releases.begun().await;
        let told = Arc::<Mutex<Vec<_>>>::default();
        for _ in 0..3 {
            let tell = told.clone();
            laneway::spawn(async move |_: Lane<()>| {
                let answer = it.ask(|reply| reply).timeout(LONG).await;
                tell.lock().expect("nobody panics").push(answer);
            })
            .expect("a lane");
        }
        // One question is queued, the others wait for room.
        until(|| Handle::current().expect("a runtime").held_by(it.id()).senders == 2).await;
        it.kill();
        until(|| told.lock().expect("nobody panics").len() == 3).await;
        let answers = told.lock().expect("nobody panics").clone();
        let ended = answers.iter().filter(|answer| **answer == Err(AskError::Ended(ExitReason::Killed))).count();
        let gone = answers.iter().filter(|answer| **answer == Err(AskError::NoProc)).count();
        assert_eq!((ended, gone), (1, 2), "{answers:?}");
        releases.release();
        until_none_is_abandoned().await;
    });
    end(runtime);
}

#[test]
fn what_an_abandoned_lane_asks_of_the_runtime_fails_and_panics_nowhere() {
    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let (me, other) = (lane.address(), laneway::spawn(async |mut lane: Lane<()>| _ = lane.recv().await));
        let other: Address<()> = other.expect("a lane");
        let (blocks, releases) = stuck();
        let (tell, told) = mpsc::channel();
        let it = laneway::spawn(async move |mut it: Lane<News>| {
            assert!(!laneway::is_abandoned());
            blocks.block();
            let say = |what: &str, is_so: bool| tell.send((what.to_owned(), is_so)).expect("the test listens");
            say("it knows", laneway::is_abandoned() && laneway::current().is_none());
            say("spawn", matches!(laneway::spawn(async |_: Lane<()>| ()), Err(SpawnError::Abandoned)));
            say("try_send", matches!(me.try_send(News::Number(1)), Err(SendError::NoProc(_))));
            say("send", matches!(me.send(News::Number(2)).await, Err(SendError::NoProc(_))));
            say("ask", me.ask(News::Ask).timeout(LONG).await == Err(AskError::NoProc));
            me.send_after(Duration::ZERO, News::Number(3));
            say("register", bare::register("name") == Err(NameError::NotInLane));
            say("unregister", !it.unregister("name"));
            say("kill", !other.kill());
            laneway::exit(other.id(), ExitReason::Kill);
            say("stop", laneway::stop(other.id(), ExitReason::Shutdown).is_err());
            say("bare link", bare::link(other.id()).is_err() && bare::unlink(other.id()).is_err());
            say("bare monitor", bare::monitor(other.id()).is_err() && bare::trap_exits(true).is_err());
            it.link(other);
            it.unlink(other);
            it.trap_exits(News::Exit);
            let reference = it.monitor(other, News::Down);
            say("monitor", reference == MonitorRef::of_nothing(it.id()));
            say("demonitor", it.demonitor(reference).is_err());
            say("try_recv", it.try_recv().is_none());
            say("recv", poll_once(&mut Box::pin(it.recv())).await.is_pending());
            say("bind", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_err());
            say("still", laneway::is_abandoned());
        });
        let it = it.expect("a lane");
        it.try_send(News::Number(0)).expect("room");
        releases.begun().await;
        it.kill();
        assert_eq!(reason_of(&mut lane, it).await, ExitReason::Killed);
        releases.release();
        until_none_is_abandoned().await;
        let said: Vec<_> = told.try_iter().collect();
        assert!(said.iter().all(|(_, is_so)| *is_so), "{said:?}");
        assert_eq!(said.last().map(|(what, _)| &**what), Some("still"), "{said:?}");
        assert!(laneway::is_alive(other.id()), "it was killed by one who has ended");
        other.kill();
        // It may have been about to call a timer.
        laneway::sleep(Duration::from_millis(2)).await;
        assert!(lane.try_recv().is_none(), "something came from one who has ended");
    });
    end(runtime);
}

#[test]
fn a_supervisor_starts_another_under_the_same_name_while_the_first_is_stuck() {
    let runtime = watched(1);
    in_lane(&runtime, async move |_: Lane<()>| {
        let (blocks, releases) = stuck();
        let mut blocks = Some(blocks);
        let child = ChildSpec::lane("worker", move || {
            let blocks = blocks.take();
            async move |mut lane: Lane<()>| {
                lane.register("worker").expect("the name is free");
                if let Some(blocks) = blocks {
                    blocks.block();
                }
                lane.recv().await;
            }
        });
        let tree = Supervisor::builder("tree").child(child).start().await.expect("a tree");
        releases.begun().await;
        let first = bare::whereis("worker").expect("it runs");
        laneway::kill(first);
        until(|| bare::whereis("worker").is_some_and(|id| id != first)).await;
        assert_eq!(metrics().abandoned_lanes, 1);
        releases.release();
        until_none_is_abandoned().await;
        tree.stop().expect("it lives");
    });
    end(runtime);
}

#[test]
fn a_lane_that_is_killed_and_stuck_in_its_destructors_is_told_of_at_once() {
    struct Blocks(Stuck, Address<News>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            self.0.block();
            // As from any destructor: it is no lane's any more.
            assert!(!laneway::is_abandoned() && laneway::current().is_none());
            self.1.try_send(News::Number(7)).expect("room");
        }
    }
    // Killed before its end, and in it.
    for is_killed_first in [true, false] {
        let runtime = watched(1);
        in_lane(&runtime, async move |mut lane: Lane<News>| {
            let (blocks, releases) = stuck();
            let blocks = Blocks(blocks, lane.address());
            let it = Spawn::new().name("stuck").spawn(async move |mut it: Lane<()>| {
                let _blocks = blocks;
                it.recv().await;
            });
            let it = it.expect("a lane");
            let reference = lane.monitor(it, News::Down);
            if is_killed_first {
                it.kill();
            } else {
                laneway::exit(it.id(), ExitReason::Shutdown);
            }
            releases.begun().await;
            it.kill();
            let told = down(&mut lane).await;
            assert_eq!((told.reference, told.reason), (reference, ExitReason::Killed));
            assert_eq!((bare::whereis("stuck"), laneway::is_alive(it.id())), (None, false));
            assert_eq!(metrics().abandoned_lanes, 1);
            releases.release();
            assert_eq!(number(&mut lane).await, 7);
            until_none_is_abandoned().await;
        });
        end(runtime);
    }
}

/// Its timers and its lock are dropped before the destructor in which it is stuck.
#[test]
fn the_receipt_of_a_lane_that_is_stuck_in_its_destructors_counts_what_went_before() {
    struct Blocks(Stuck);
    impl Drop for Blocks {
        fn drop(&mut self) {
            self.0.block();
        }
    }
    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let (blocks, releases) = stuck();
        let blocks = Blocks(blocks);
        let me = lane.address();
        let it = laneway::spawn(async move |_: Lane<()>| {
            let _blocks = blocks;
            let mut timers = [(); 3].map(|()| Box::pin(laneway::sleep(Duration::from_secs(3600))));
            for timer in &mut timers {
                assert!(poll_fn(|cx| Poll::Ready(timer.as_mut().poll(cx).is_pending())).await);
            }
            let _guard = Arc::new(laneway::sync::Mutex::new(())).lock_owned().await.expect("nobody else has it");
            me.try_send(News::Number(1)).expect("room");
            std::future::pending::<()>().await;
        });
        let it = it.expect("a lane");
        lane.monitor_with_receipt(it, News::Down);
        assert_eq!(number(&mut lane).await, 1);
        it.kill();
        releases.begun().await;
        let receipt = down(&mut lane).await.receipt.expect("it was asked for");
        assert_eq!((receipt.timers, receipt.locks), (3, 1));
        releases.release();
        until_none_is_abandoned().await;
        assert_eq!((metrics().timers_released, metrics().locks_released), (3, 1));
    });
    end(runtime);
}

#[test]
fn a_panic_after_a_lane_was_abandoned_is_contained_and_the_worker_lives_on() {
    struct PanicsToo;
    impl Drop for PanicsToo {
        fn drop(&mut self) {
            panic!("a destructor of an abandoned lane");
        }
    }
    let runtime = watched(2);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let (blocks, releases) = stuck();
        let held = PanicsToo;
        let it = laneway::spawn(async move |_: Lane<()>| {
            let _held = held;
            blocks.block();
            std::future::pending::<()>().await;
        });
        let it = it.expect("a lane");
        let (blocks_too, releases_too) = stuck();
        let other = laneway::spawn(async move |_: Lane<()>| {
            blocks_too.block();
            panic!("the poll of an abandoned lane");
        });
        let other = other.expect("a lane");
        for (lane_of, releases) in [(it.id(), &releases), (other.id(), &releases_too)] {
            releases.begun().await;
            laneway::kill(lane_of);
            assert_eq!(reason_of(&mut lane, lane_of).await, ExitReason::Killed);
            releases.release();
        }
        until_none_is_abandoned().await;
        assert_eq!((metrics().destructor_panics, metrics().abandoned_total), (1, 2));
    });
    end(runtime);
}

#[test]
fn a_runtime_that_ends_names_the_lanes_that_it_abandoned() {
    let runtime = watched(1);
    let (blocks, releases) = stuck();
    let it = runtime.block_on(async {
        Spawn::new().name("never yields").spawn(async move |_: Lane<()>| blocks.block()).expect("a lane").id()
    });
    runtime.block_on(releases.begun());
    let report = runtime.shutdown(Duration::ZERO);
    assert!(!report.is_clean());
    let named = report.stuck.iter().find(|lane| lane.id == it);
    assert_eq!(named.map(|lane| &*lane.names[0]), Some("never yields"), "{report:?}");
    assert_eq!((report.metrics.alive, report.metrics.abandoned_lanes), (0, 1));
    releases.release();
}

#[test]
fn a_lane_whose_poll_returns_while_the_runtime_ends_keeps_it_clean() {
    struct Says(Sender<()>);
    impl Drop for Says {
        fn drop(&mut self) {
            self.0.send(()).expect("a lane waits");
        }
    }
    let runtime = watched(1);
    let (blocks, releases) = stuck();
    let it = runtime.block_on(async {
        let it = laneway::spawn(async move |_: Lane<()>| blocks.block()).expect("a lane");
        releases.begun().await;
        it.kill();
        assert_eq!(laneway::join(it.id()).await, ExitReason::Killed);
        it.id()
    });
    // This one ends in order, on a stand-in, and lets the other go on.
    let says = Says(releases.release);
    runtime.block_on(async {
        laneway::spawn(async move |_: Lane<()>| {
            let _says = says;
            std::future::pending::<()>().await;
        })
        .expect("a lane");
    });
    assert!(!laneway::is_alive(it));
    end(runtime);
}

/// The lane calls the runtime all the time, so that it is taken in the midst of a call, or between two.
#[test]
fn nothing_that_an_abandoned_lane_did_is_heard_after_its_end_or_cut_in_two() {
    for workers in [1, 2] {
        let runtime = watched(workers);
        in_lane(&runtime, async move |mut lane: Lane<News>| {
            let me = lane.address();
            let other = laneway::spawn(async |mut lane: Lane<News>| {
                lane.trap_exits(News::Exit);
                while lane.recv().await.is_some() {}
            });
            let other = other.expect("a lane");
            for _ in 0..40 {
                let begun = Arc::<AtomicBool>::default();
                let begin = begun.clone();
                let it = laneway::spawn(async move |mut it: Lane<News>| {
                    for sent in 0.. {
                        if laneway::is_abandoned() {
                            break;
                        }
                        let _ = me.try_send(News::Number(sent));
                        begin.store(true, SeqCst);
                        let _ = poll_once(&mut me.ask(News::Ask)).await;
                        let reference = it.monitor(other, News::Down);
                        it.link(other);
                        let _ = it.register("calls");
                        it.unregister("calls");
                        let _ = it.demonitor(reference);
                        it.unlink(other);
                        let _ = it.try_recv();
                    }
                });
                let it = it.expect("a lane");
                until(|| begun.load(SeqCst)).await;
                let reference = lane.monitor(it, News::Down);
                it.kill();
                let mut numbers = 0;
                loop {
                    match news(&mut lane).await {
                        News::Number(_) | News::Ask(_) => numbers += 1,
                        News::Down(down) => {
                            assert_eq!((down.reference, down.reason), (reference, ExitReason::Killed));
                            break;
                        }
                        heard => panic!("{heard:?}"),
                    }
                }
                assert!(numbers != 0, "it had begun");
                until_none_is_abandoned().await;
                let late = lane.try_recv();
                assert!(late.is_none(), "after the word of its end: {late:?}");
                assert_eq!(bare::whereis("calls"), None);
                // Those whom it watched hear last, and then it is counted.
                until(|| metrics().alive == 2).await;
                let ties = inspect::inspect(other.id()).await.expect("it lives");
                assert!(ties.links.is_empty() && ties.watchers.is_empty(), "{ties:?}");
            }
            other.kill();
        });
        end(runtime);
    }
}
