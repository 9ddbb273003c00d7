//! A lane that does not leave its poll keeps its worker, and nobody else.
//!
//! In each program a lane blocks in its poll until another lane, for which no worker is left, lets it go on.

use std::future::poll_fn;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use laneway::net::TcpListener;
use laneway::{Address, ExitReason, Handle, Id, Lane, Runtime, Spawn, Stuck};

use crate::reports::Reports;
use crate::support::*;

fn watched(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).watchdog(Duration::from_millis(1)).build().expect("a runtime")
}

/// Blocks the thread until somebody lets go.
fn block_on_release(released: &Receiver<()>) {
    released.recv_timeout(LONG).expect("nobody but this lane runs");
}

/// A lane that blocks in its poll, and is there when this returns.
fn spawn_blocked(runtime: &Runtime, name: &'static str, released: Receiver<()>) -> Id {
    let (begin, begun) = mpsc::channel();
    let blocked = runtime.block_on(async {
        Spawn::new().name(name).spawn(async move |_: Lane<()>| {
            begin.send(()).expect("the test listens");
            block_on_release(&released);
        })
    });
    begun.recv_timeout(LONG).expect("it runs");
    blocked.expect("a lane").id()
}

/// A lane that lets another go on when it hears something.
fn spawn_releasing(release: Sender<()>) -> Address<()> {
    let lane = laneway::spawn(async move |mut lane: Lane<()>| {
        lane.recv().await;
        release.send(()).expect("a lane waits");
    });
    lane.expect("a lane")
}

#[test]
fn a_stand_in_runs_the_others_while_the_only_worker_is_stuck() {
    for _ in 0..20 {
        let runtime = watched(1);
        let (release, released) = mpsc::channel();
        spawn_blocked(&runtime, "stuck", released);
        runtime.block_on(async { laneway::spawn(async move |_: Lane<()>| release.send(())).expect("a lane") });
        end(runtime);
    }
}

/// The stand-in sleeps in the driver when it is sent away, and the worker goes to sleep in the same moment.
#[test]
fn timers_fire_after_the_stand_in_has_left() {
    let runtime = watched(1);
    for _ in 0..50 {
        let (release, released) = mpsc::channel();
        let stuck = spawn_blocked(&runtime, "stuck", released);
        let (fired, fires) = mpsc::channel();
        runtime.block_on(async {
            let sleeper = laneway::spawn(async move |_: Lane<()>| {
                release.send(()).expect("a lane waits");
                laneway::sleep(Duration::from_millis(2)).await;
                fired.send(()).expect("the test listens");
            });
            sleeper.expect("a lane");
        });
        fires.recv_timeout(LONG).expect("somebody minds the timers");
        // Its name is free again.
        runtime.block_on(laneway::join(stuck));
    }
    end(runtime);
}

/// With two drivers, for each of which there is a worker and sometimes the stand-in.
#[test]
fn sockets_of_each_driver_are_served_after_the_stand_in_has_left() {
    let builder = Runtime::builder().workers(2).drivers(2).watchdog(Duration::from_millis(1));
    let runtime = builder.build().expect("a runtime");
    let (tell, told) = mpsc::channel();
    let (hear, heard) = mpsc::channel();
    for _ in 0..2 {
        let (tell, hear) = (tell.clone(), hear.clone());
        runtime.block_on(async {
            let server = laneway::spawn(async move |_: Lane<()>| {
                let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
                tell.send(listener.local_addr().expect("an address")).expect("the test listens");
                // Sockets go round among the drivers.
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut said = [0; 1];
                    stream.read_exact(&mut said).await.expect("a byte");
                    hear.send(()).expect("the test listens");
                }
            });
            server.expect("a lane");
        });
    }
    let addresses = [(); 2].map(|()| told.recv_timeout(LONG).expect("it listens"));
    let talk = |first: usize| {
        for number in [first, 1 - first] {
            let address = addresses[number];
            TcpStream::connect(address).expect("a connection").write_all(b"x").expect("a byte is sent");
            heard.recv_timeout(LONG).expect("somebody minds each driver");
        }
    };
    for round in 0..100 {
        let (release, released) = mpsc::channel();
        let stuck = spawn_blocked(&runtime, "stuck", released);
        while runtime.handle().stuck().is_empty() {
            std::thread::yield_now();
        }
        talk(0);
        release.send(()).expect("a lane waits");
        runtime.block_on(laneway::join(stuck));
        // As a rule, all sleep by then.
        (0..1000).for_each(|_| std::thread::yield_now());
        talk(round % 2);
    }
    end(runtime);
}

#[test]
fn a_lane_that_the_stuck_one_had_woken_or_spawned_runs() {
    for _ in 0..20 {
        let runtime = watched(1);
        let (end_well, ended_well) = mpsc::channel();
        runtime.block_on(async {
            let stuck = laneway::spawn(async move |_: Lane<()>| {
                let (release, released) = mpsc::channel();
                let [one, two, three] = [(); 3].map(|()| spawn_releasing(release.clone()));
                // All three run and wait for what comes.
                laneway::yield_now().await;
                laneway::yield_now().await;
                // To the hand-over place, and before the worker is found stuck.
                one.try_send(()).expect("it waits");
                block_on_release(&released);
                // While it is stuck.
                two.try_send(()).expect("it waits");
                block_on_release(&released);
                three.try_send(()).expect("it waits");
                laneway::spawn(async move |_: Lane<()>| release.send(())).expect("a lane");
                block_on_release(&released);
                block_on_release(&released);
                end_well.send(()).expect("the test listens");
            });
            stuck.expect("a lane");
        });
        ended_well.recv_timeout(LONG).expect("it goes on to its end");
        end(runtime);
    }
}

#[test]
fn lanes_in_the_queue_of_a_stuck_worker_run() {
    for workers in [1, 2] {
        let runtime = watched(workers);
        let (end_well, ended_well) = mpsc::channel();
        runtime.block_on(async {
            let stuck = laneway::spawn(async move |_: Lane<()>| {
                let (release, released) = mpsc::channel();
                let spawned = (0..100).map(|_| {
                    let release = release.clone();
                    laneway::spawn(async move |_: Lane<()>| release.send(()))
                });
                spawned.for_each(|lane| assert!(lane.is_ok()));
                (0..100).for_each(|_| block_on_release(&released));
                end_well.send(()).expect("the test listens");
            });
            stuck.expect("a lane");
        });
        ended_well.recv_timeout(LONG).expect("it goes on to its end");
        end(runtime);
    }
}

#[test]
fn timers_and_sockets_are_minded_while_the_only_worker_is_stuck() {
    let runtime = watched(1);
    let (release, released) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let (wait, waits) = mpsc::channel();
    let by_timer = release.clone();
    let stuck = Arc::new(Mutex::new(()));
    let is_stuck = stuck.clone();
    runtime.block_on(async move {
        laneway::spawn(async move |_: Lane<()>| {
            wait.send(()).expect("the test listens");
            while is_stuck.try_lock().is_ok() {
                laneway::sleep(Duration::from_millis(1)).await;
            }
            by_timer.send(()).expect("a lane waits");
        })
        .expect("a lane");
        laneway::spawn(async move |_: Lane<()>| {
            let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
            tell.send(listener.local_addr().expect("an address")).expect("the test listens");
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut said = [0; 1];
            stream.read_exact(&mut said).await.expect("a byte");
            release.send(()).expect("a lane waits");
        })
        .expect("a lane");
    });
    waits.recv_timeout(LONG).expect("it runs");
    let address = told.recv_timeout(LONG).expect("it listens");
    let (begin, begun) = mpsc::channel();
    runtime.block_on(async {
        laneway::spawn(async move |_: Lane<()>| {
            let _stuck = stuck.lock().expect("nobody panics");
            begin.send(()).expect("the test listens");
            block_on_release(&released);
            block_on_release(&released);
        })
        .expect("a lane");
    });
    begun.recv_timeout(LONG).expect("it runs");
    TcpStream::connect(address).expect("a connection").write_all(b"x").expect("a byte is sent");
    end(runtime);
}

#[test]
fn a_stuck_lane_is_told_of_while_it_is_stuck_and_when_it_is_not_any_more() {
    let reports = Reports::installed();
    let runtime = watched(1);
    let handle = runtime.handle().clone();
    let (release, released) = mpsc::channel();
    let stuck = spawn_blocked(&runtime, "never yields", released);
    let (tell, told) = mpsc::channel::<Vec<Stuck>>();
    runtime.block_on(async {
        // This lane runs on a stand-in, if it runs.
        laneway::spawn(async move |_: Lane<()>| {
            while reports.of(stuck).is_empty() {
                laneway::yield_now().await;
            }
            tell.send(Handle::current().expect("a runtime").stuck()).expect("the test listens");
            release.send(()).expect("a lane waits");
        })
        .expect("a lane");
    });
    let told = told.recv_timeout(LONG).expect("a stand-in");
    let lane = told.iter().filter_map(|told| told.lane.as_ref()).find(|lane| lane.id == stuck);
    let lane = lane.unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(&*lane.names[0], "never yields");
    assert!(lane.spawned_at.file().ends_with("watchdog.rs"), "{lane}");
    end(runtime);
    assert!(handle.stuck().is_empty(), "{:?}", handle.stuck());
    assert!(handle.metrics().polls_too_long >= 1);
    let [begins, ends] = &*reports.of(stuck) else { panic!("{:?}", reports.of(stuck)) };
    assert!(begins.contains("a poll takes too long"), "{begins}");
    assert!(ends.contains("a poll that took too long is over"), "{ends}");
    for report in [begins, ends] {
        let says = |what| report.contains(what);
        assert!(says("never yields") && says("watchdog.rs") && says("worker=") && says("for_ms="), "{report}");
    }
}

#[test]
fn a_destructor_that_blocks_is_told_of_as_its_lane() {
    struct Blocks(Receiver<()>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            block_on_release(&self.0);
        }
    }
    let runtime = watched(1);
    let (release, released) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let blocks = Blocks(released);
    let ending = runtime.block_on(async {
        let ending = laneway::spawn(async move |_: Lane<()>| {
            let _blocks = blocks;
            std::future::pending::<()>().await;
        });
        let ending = ending.expect("a lane");
        ending.kill();
        laneway::spawn(async move |_: Lane<()>| {
            while Handle::current().expect("a runtime").stuck().is_empty() {
                laneway::yield_now().await;
            }
            tell.send(Handle::current().expect("a runtime").stuck()).expect("the test listens");
            release.send(()).expect("a lane waits");
        })
        .expect("a lane");
        ending.id()
    });
    let told = told.recv_timeout(LONG).expect("a stand-in");
    assert!(told.iter().any(|told| told.lane.as_ref().is_some_and(|lane| lane.id == ending)), "{told:?}");
    end(runtime);
}

/// One worker ends all of them, one after the other.
#[test]
fn those_who_were_killed_before_and_after_one_whose_destructor_blocks_are_told_of() {
    struct Blocks(Receiver<()>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            block_on_release(&self.0);
        }
    }
    let runtime = watched(1);
    in_lane(&runtime, async move |mut lane: Lane<News>| {
        let (release, released) = mpsc::channel();
        let blocks = Blocks(released);
        let blocking = laneway::spawn(async move |mut it: Lane<()>| {
            let _blocks = blocks;
            it.recv().await;
        });
        let mut killed: Vec<_> = (0..5).map(|_| puppet().id()).collect();
        killed.extend([blocking.expect("a lane").id(), puppet().id()]);
        for id in &killed {
            lane.monitor(*id, News::Down);
        }
        // All of them wait from here on.
        laneway::yield_now().await;
        for id in &killed {
            assert!(laneway::kill(*id));
        }
        let mut told = Vec::new();
        for _ in &killed {
            told.push(down(&mut lane).await.id);
        }
        release.send(()).expect("a lane waits");
        told.sort_unstable();
        killed.sort_unstable();
        assert_eq!(told, killed);
    });
    end(runtime);
}

#[test]
fn a_call_of_a_timer_that_blocks_keeps_nobody() {
    let runtime = watched(1);
    let (release, released) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let released = Mutex::new(released);
    runtime.block_on(async {
        laneway::time::call_at(laneway::time::now(), move || {
            begin.send(()).expect("the test listens");
            block_on_release(&released.lock().expect("nobody panics"));
        });
    });
    begun.recv_timeout(LONG).expect("it is called");
    let (tell, told) = mpsc::channel();
    runtime.block_on(async {
        laneway::spawn(async move |_: Lane<()>| {
            let runtime = Handle::current().expect("a runtime");
            while runtime.stuck().is_empty() {
                laneway::yield_now().await;
            }
            tell.send(runtime.stuck()).expect("the test listens");
            release.send(()).expect("the call waits");
        })
        .expect("a lane");
    });
    let told = told.recv_timeout(LONG).expect("a stand-in");
    assert!(told.iter().any(|told| told.lane.is_none()), "{told:?}");
    end(runtime);
}

#[test]
fn stand_ins_that_are_stuck_have_stand_ins_as_long_as_there_are_seats() {
    let runtime = watched(2);
    let (releases, stuck): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| {
            let (release, released) = mpsc::channel();
            (release, spawn_blocked_unnamed(&runtime, released))
        })
        .unzip();
    // The last seat is left for this one.
    let (tell, told) = mpsc::channel();
    runtime.block_on(async {
        laneway::spawn(async move |_: Lane<()>| {
            while Handle::current().expect("a runtime").stuck().len() < 3 {
                laneway::yield_now().await;
            }
            tell.send(Handle::current().expect("a runtime").stuck()).expect("the test listens");
            releases.iter().for_each(|release| release.send(()).expect("a lane waits"));
        })
        .expect("a lane");
    });
    let told = told.recv_timeout(LONG).expect("a stand-in");
    let lanes: Vec<_> = told.iter().filter_map(|stuck| Some(stuck.lane.as_ref()?.id)).collect();
    assert!(stuck.iter().all(|lane| lanes.contains(lane)), "{told:?}");
    assert!(told.iter().all(|stuck| stuck.worker < 4), "{told:?}");
    end(runtime);
}

/// As [`spawn_blocked`], of which there may be several.
fn spawn_blocked_unnamed(runtime: &Runtime, released: Receiver<()>) -> Id {
    let (begin, begun) = mpsc::channel();
    let blocked = runtime.block_on(async {
        laneway::spawn(async move |_: Lane<()>| {
            begin.send(()).expect("the test listens");
            block_on_release(&released);
        })
    });
    begun.recv_timeout(LONG).expect("it runs");
    blocked.expect("a lane").id()
}

#[test]
fn stand_ins_are_used_again_and_lose_no_lane_when_they_leave() {
    for workers in [1, 2] {
        let runtime = watched(workers);
        let ended = in_lane(&runtime, async |mut lane: Lane<News>| {
            let me = lane.address();
            for round in 0..50 {
                let (release, released) = mpsc::channel();
                laneway::spawn(async move |_: Lane<()>| block_on_release(&released)).expect("a lane");
                for number in 0..20 {
                    laneway::spawn(async move |_: Lane<()>| {
                        for _ in 0..round {
                            laneway::yield_now().await;
                        }
                        me.send(News::Number(number)).await.expect("the test listens");
                    })
                    .expect("a lane");
                }
                for heard in 0..20 {
                    number(&mut lane).await;
                    if heard == 10 {
                        release.send(()).expect("a lane waits");
                    }
                }
            }
            true
        });
        assert!(ended);
        end(runtime);
    }
}

/// Blocks, when it is dropped, until another lane runs.
struct BlocksInDrop(Receiver<()>);

impl Drop for BlocksInDrop {
    fn drop(&mut self) {
        block_on_release(&self.0);
    }
}

/// The watchdog would notice nothing for an hour: the worker itself says that it will take long.
#[test]
fn a_death_with_much_to_release_keeps_nobody() {
    for workers in [1, 2] {
        let runtime =
            Runtime::builder().workers(workers).watchdog(Duration::from_secs(3600)).build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (release, released) = mpsc::channel();
        runtime.block_on(async move {
            let (hold, mut holds) = runtime::reply::port();
            let rich = laneway::spawn(async move |_: Lane<()>| {
                let _blocks = BlocksInDrop(released);
                let mut timers = Vec::new();
                for _ in 0..10_000 {
                    let mut timer = Box::pin(laneway::sleep(Duration::from_secs(3600)));
                    let is_set = poll_fn(|cx| Poll::Ready(timer.as_mut().poll(cx).is_pending())).await;
                    assert!(is_set);
                    timers.push(timer);
                }
                hold.answer(()).expect("the test waits");
                std::future::pending::<()>().await;
            });
            let rich = rich.expect("a lane");
            poll_fn(|cx| holds.poll_answer(cx)).await.expect("it holds them");
            rich.kill();
            laneway::spawn(async move |_: Lane<()>| release.send(())).expect("a lane");
            let reason = laneway::join(rich.id()).await;
            assert!(
                matches!(reason, ExitReason::Killed | ExitReason::NoProc),
                "it has ended by now, or before: {reason}"
            );
        });
        assert!(handle.stuck().is_empty(), "it is not stuck");
        assert_eq!(handle.metrics().polls_too_long, 0);
        end(runtime);
        assert_eq!((handle.metrics().timers, handle.metrics().timers_released), (0, 10_000));
    }
}

#[test]
fn a_lane_that_is_stuck_when_the_runtime_ends_keeps_no_other_from_ending_in_order() {
    struct Says(Sender<()>);
    impl Drop for Says {
        fn drop(&mut self) {
            self.0.send(()).expect("a lane waits");
        }
    }
    let runtime = watched(1);
    let (release, released) = mpsc::channel();
    let says = Says(release);
    runtime.block_on(async {
        laneway::spawn(async move |_: Lane<()>| {
            let _says = says;
            std::future::pending::<()>().await;
        })
        .expect("a lane");
    });
    spawn_blocked(&runtime, "ends late", released);
    end(runtime);
}

/// Computes until it is told to stop.
#[inline(never)]
fn computes_in_a_named_place(stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        std::hint::spin_loop();
    }
}

/// Blocks until it is told to stop.
#[inline(never)]
fn blocks_in_a_named_place(released: &Receiver<()>) {
    block_on_release(released);
    std::hint::black_box(());
}

/// What the watchdog finds of a lane that calls a function in its poll, and the lane.
fn stuck_in(
    reports: &Reports,
    call: impl FnOnce() + Send + 'static,
    release: impl FnOnce() + Send + 'static,
) -> (Stuck, Id) {
    let runtime = Runtime::builder().workers(1).watchdog(Duration::from_millis(1)).stuck_stacks(true);
    let runtime = runtime.build().expect("a runtime");
    let found = runtime.block_on(async {
        let lane = laneway::spawn(async move |_: Lane<()>| call()).expect("a lane").id();
        let handle = runtime.handle();
        loop {
            let is_it = |stuck: &Stuck| stuck.lane.as_ref().is_some_and(|found| found.id == lane);
            let stuck = handle.stuck().into_iter().find(|stuck| is_it(stuck) && stuck.stack().is_some());
            if let Some(stuck) = stuck
                && !reports.of(lane).is_empty()
            {
                break (stuck, lane);
            }
            laneway::yield_now().await;
        }
    });
    release();
    end(runtime);
    found
}

#[test]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn a_stuck_lane_is_reported_with_its_stack_whether_it_computes_or_blocks() {
    let reports = Reports::installed();
    let stop = Arc::<AtomicBool>::default();
    let stopped = stop.clone();
    let (release, released) = mpsc::channel();
    let computes = stuck_in(reports, move || computes_in_a_named_place(&stopped), move || stop.store(true, SeqCst));
    let blocks =
        stuck_in(reports, move || blocks_in_a_named_place(&released), move || release.send(()).expect("it waits"));
    for ((stuck, lane), place) in [(computes, "computes_in_a_named_place"), (blocks, "blocks_in_a_named_place")] {
        let functions = stuck.stack().expect("seen a moment ago").functions();
        let at = functions.iter().position(|function| function.contains(place));
        let at = at.unwrap_or_else(|| panic!("no {place} in {functions:#?}"));
        // From there down to the worker's loop.
        let below = functions[at..].iter().any(|function| function.contains("worker::work"));
        assert!(below, "{functions:#?}");
        assert!(stuck.thread.is_some(), "{stuck:?}");
        let reports = reports.of(lane);
        assert!(reports[0].contains("thread="), "{reports:?}");
    }
}
