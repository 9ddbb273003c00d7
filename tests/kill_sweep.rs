//! `laneway::testing`: lanes of all kinds, killed at each of their awaits; and scenarios that do wrong, to see the sweep
//! say so.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use laneway::net::tcp::{TcpListener, TcpStream};
use laneway::prelude::*;
use laneway::testing::{Canaries, Canary, KillSweep, SweepFailure, SweepReport, Victim, Violation, kill_sweep};
use laneway::{SpawnError, StartError, interval, join, link, spawn_blocking, timeout, yield_now};

#[cfg(target_os = "linux")]
#[path = "kill_sweep/descriptors.rs"]
mod descriptors;

#[path = "kill_sweep/arenas.rs"]
mod arenas;

#[path = "kill_sweep/destructors.rs"]
mod destructors;

#[path = "kill_sweep/groups.rs"]
mod groups;

/// Held for writing by a test that looks at the descriptors or the children of the whole process.
static PROCESS: RwLock<()> = RwLock::new(());

fn beside_others() -> RwLockReadGuard<'static, ()> {
    PROCESS.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const MS: Duration = Duration::from_millis(1);

type Spawned = Result<(), SpawnError>;

/// Each await of an undisturbed run was struck once, and each strike left a receipt.
fn assert_whole(report: &SweepReport, at_least: u64) {
    assert_eq!((report.kills, report.runs), (report.awaits, report.awaits + 2), "{report}");
    assert_eq!(report.victims.len() as u64, report.kills);
    assert!(report.victims.iter().all(|receipt| receipt.reason == ExitReason::Killed));
    assert!(report.kills >= at_least, "{report}");
}

fn failure(swept: Result<SweepReport, SweepFailure>) -> SweepFailure {
    match swept {
        Ok(report) => panic!("nothing was found: {report}"),
        Err(failure) => failure,
    }
}

#[test]
fn a_lane_with_names_timers_monitors_and_links_leaves_none_of_them() {
    let _beside = beside_others();
    let report = kill_sweep(Victim::named("holder"), || async {
        let friend = laneway::spawn(async |mut lane: Lane<()>| {
            lane.trap_exits(|_| ());
            while lane.recv().await.is_some() {}
        })?;
        let holder = Spawn::new().name("holder").spawn(async move |mut lane: Lane<()>| {
            let _taken = lane.register("another name");
            let _later = friend.send_after(Duration::from_secs(60), ());
            yield_now().await;
            lane.monitor(friend, |_| ());
            lane.link(friend);
            let mut ticks = interval(MS);
            for _ in 0..3 {
                ticks.tick().await;
            }
            lane.unlink(friend);
            sleep(MS).await;
            lane.link(friend);
            sleep(MS).await;
        })?;
        let watcher = laneway::spawn(async move |mut lane: Lane<()>| {
            lane.monitor(holder, |_| ());
            lane.monitor(holder, |_| ());
            lane.recv().await;
            lane.recv().await;
        })?;
        join(holder.id()).await;
        assert_eq!((runtime::lane::whereis("holder"), runtime::lane::whereis("another name")), (None, None));
        join(watcher.id()).await;
        assert!(friend.kill());
        join(friend.id()).await;
        Spawned::Ok(())
    });
    assert_whole(&report, 4);
    let most = |of: fn(&laneway::ExitReceipt) -> u64| report.victims.iter().map(of).max();
    assert_eq!((most(|r| r.names), most(|r| r.links), most(|r| r.monitors)), (Some(2), Some(1), Some(1)));
    // The call that was put off, and the sleep.
    assert!(most(|r| r.timers) >= Some(1), "{report}");
    assert!(most(|r| r.watchers) >= Some(2), "{report}");
}

enum Ask {
    Slow(Reply<u32>),
    /// The reply is handed on to a lane that answers later.
    HandOn(Reply<u32>),
}

async fn server(mut lane: Lane<Ask>) {
    while let Some(ask) = lane.recv().await {
        match ask {
            Ask::Slow(reply) => {
                sleep(MS).await;
                let _ = reply.send(1);
            }
            Ask::HandOn(reply) => {
                let _spawned = laneway::spawn(async move |_: Lane<()>| {
                    sleep(MS).await;
                    let _ = reply.send(2);
                });
            }
        }
    }
}

async fn ask_a_server() -> Result<(), SpawnError> {
    let server = Spawn::new().name("server").spawn(server)?;
    let client = Spawn::new().name("client").spawn(async move |_: Lane<()>| {
        for _ in 0..2 {
            for (ask, right) in [(Ask::Slow as fn(Reply<u32>) -> Ask, 1_u32), (Ask::HandOn, 2)] {
                match server.ask(ask).no_timeout().await {
                    Ok(answer) => assert_eq!(answer, right),
                    Err(error) => assert!(matches!(error, AskError::NoProc | AskError::Ended(_)), "{error}"),
                }
            }
        }
    })?;
    // A bystander, who is never killed, is answered or told.
    let told = server.ask(Ask::Slow).no_timeout().await;
    assert!(matches!(told, Ok(1) | Err(AskError::NoProc | AskError::Ended(_))), "{told:?}");
    let reason = join(client.id()).await;
    assert!(matches!(reason, ExitReason::Normal | ExitReason::Killed | ExitReason::NoProc), "{reason}");
    let _gone_or_not = server.stop();
    join(server.id()).await;
    Ok(())
}

#[test]
fn callers_of_a_server_that_is_killed_are_told() {
    let _beside = beside_others();
    assert_whole(&kill_sweep(Victim::named("server"), ask_a_server), 4);
}

#[test]
fn a_caller_that_is_killed_leaves_its_server_alone() {
    let _beside = beside_others();
    assert_whole(&kill_sweep(Victim::named("client"), ask_a_server), 4);
}

#[test]
fn several_workers_change_nothing() {
    let _beside = beside_others();
    // How many awaits there are is not settled with two workers: there are runs in which the server is through before the
    // one at which it is to be killed.
    let kills = (0..20).map(|_| {
        let swept = KillSweep::new(Victim::named("server")).workers(2).run(ask_a_server);
        swept.unwrap_or_else(|failure| panic!("{failure}")).kills
    });
    assert!(kills.sum::<u64>() > 0);
}

/// Three senders at a mailbox for one, whose owner sleeps between two receives.
fn crowd(canaries: &Canaries) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Spawned> + Send>> + use<> {
    let canaries = canaries.clone();
    move || {
        let canaries = canaries.clone();
        Box::pin(async move {
            let receiver = Spawn::new().name("receiver").mailbox(1).spawn(async |mut lane: Lane<Canary>| {
                sleep(MS).await;
                while let Some(_canary) = lane.recv().await {
                    sleep(MS).await;
                }
            })?;
            let mut senders = Vec::new();
            for number in 0..3 {
                let canaries = canaries.clone();
                senders.push(Spawn::new().name(format!("sender {number}")).spawn(async move |_: Lane<()>| {
                    for _ in 0..3 {
                        match receiver.send(canaries.canary()).await {
                            Ok(()) => {}
                            Err(SendError::NoProc(_canary)) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })?);
            }
            for sender in senders {
                join(sender.id()).await;
            }
            let _gone_or_not = receiver.stop();
            join(receiver.id()).await;
            assert_eq!(canaries.alive(), 0);
            Ok(())
        })
    }
}

#[test]
fn a_sender_that_is_killed_while_it_waits_gives_up_its_place_and_its_message() {
    let _beside = beside_others();
    let canaries = Canaries::new();
    let swept = KillSweep::new(Victim::named("sender 1")).canaries(&canaries).run(crowd(&canaries));
    assert_whole(&swept.unwrap_or_else(|failure| panic!("{failure}")), 2);
}

#[test]
fn senders_that_wait_for_a_lane_that_is_killed_get_their_message_back() {
    let _beside = beside_others();
    let canaries = Canaries::new();
    let swept = KillSweep::new(Victim::named("receiver")).canaries(&canaries).run(crowd(&canaries));
    let report = swept.unwrap_or_else(|failure| panic!("{failure}"));
    assert_whole(&report, 4);
    assert!(report.victims.iter().any(|receipt| receipt.senders_refused > 0 && receipt.messages_dropped > 0));
}

struct Slow(Canary);

enum SlowMsg {
    Tick,
    Ask(Reply<u32>),
}

impl Actor for Slow {
    type Msg = SlowMsg;

    async fn init(&mut self, cx: &mut Context<SlowMsg>) -> Result<Init, ExitReason> {
        let _also = self.0.clone();
        sleep(MS).await;
        cx.address().send_after(MS * 20, SlowMsg::Tick);
        sleep(MS).await;
        Ok(Init::Ready)
    }

    async fn handle(&mut self, message: SlowMsg, _: &mut Context<SlowMsg>) -> Outcome {
        let _also = self.0.clone();
        sleep(MS).await;
        if let SlowMsg::Ask(reply) = message {
            let _ = reply.send(7);
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &ExitReason, _: &mut Context<SlowMsg>) {
        sleep(MS).await;
    }
}

#[test]
fn an_actor_may_be_killed_in_init_in_handle_and_in_stopped() {
    let _beside = beside_others();
    let canaries = Canaries::new();
    let for_runs = canaries.clone();
    let refused = Arc::new(AtomicU64::new(0));
    let count = refused.clone();
    let swept = KillSweep::new(Victim::named("slow")).canaries(&canaries).run(move || {
        let (canary, count) = (for_runs.canary(), count.clone());
        async move {
            let slow = match Spawn::new().name("slow").start(Slow(canary)).no_timeout().await {
                Ok(slow) => slow,
                Err(StartError::Failed(ExitReason::Killed)) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => panic!("{error}"),
            };
            let answer = slow.ask(SlowMsg::Ask).no_timeout().await;
            assert!(
                matches!(answer, Ok(7) | Err(AskError::NoProc | AskError::Ended(ExitReason::Killed))),
                "{answer:?}"
            );
            let _gone_or_not = slow.stop();
            join(slow.id()).await;
        }
    });
    assert_whole(&swept.unwrap_or_else(|failure| panic!("{failure}")), 5);
    assert_eq!(refused.load(Ordering::Relaxed), 2, "two awaits in `init`, each of whose starters is told");
}

#[test]
fn a_lane_that_waits_for_several_things_at_once_leaves_none_of_them() {
    let _beside = beside_others();
    let report = kill_sweep(Victim::named("juggler"), || async {
        let server = laneway::spawn(server)?;
        let juggler = Spawn::new().name("juggler").spawn(async move |mut lane: Lane<u32>| {
            lane.address().send_after(MS * 5, 1);
            let joined = futures_util::future::join(server.ask(Ask::Slow), timeout(MS * 3, pending::<()>()));
            let _ = joined.await;
            let either = futures_util::future::select(Box::pin(lane.recv()), Box::pin(sleep(MS * 9)));
            drop(either.await);
            let _ = lane.recv_timeout(MS * 3).await;
            let _ = spawn_blocking(|| 3).await;
        })?;
        join(juggler.id()).await;
        Spawned::Ok(())
    });
    assert!(report.kills >= 4, "{report}");
    assert!(report.victims.iter().any(|receipt| receipt.timers > 0), "{report}");
}

#[test]
fn every_incarnation_may_be_swept() {
    let _beside = beside_others();
    let report = kill_sweep(Victim::matching(|lane| lane.name == Some("again")).every(), || async {
        for _ in 0..3 {
            let again = Spawn::new().name("again").spawn(async |_: Lane<()>| sleep(MS).await)?;
            join(again.id()).await;
        }
        Spawned::Ok(())
    });
    assert_eq!((report.kills, report.awaits, report.victims.len()), (1, 3, 3), "{report}");
}

#[test]
fn the_nth_that_fits_is_the_victim() {
    let _beside = beside_others();
    struct Only;
    let second = Arc::new(AtomicU64::new(0));
    let count = second.clone();
    let report = kill_sweep(Victim::receiving::<Only>().nth(2), move || {
        let count = count.clone();
        async move {
            for number in 1..=3 {
                let lane = laneway::spawn(async |_: Lane<Only>| yield_now().await)?;
                let killed = join(lane.id()).await == ExitReason::Killed;
                assert!(!killed || number == 2);
                count.fetch_add(u64::from(killed), Ordering::Relaxed);
            }
            Spawned::Ok(())
        }
    });
    assert_whole(&report, 1);
    assert_eq!(second.load(Ordering::Relaxed), 1);
}

async fn echo_over_tcp() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (tell, port) = runtime::reply::port();
    let listener = Spawn::new().name("listener").spawn(move |_: Lane<()>| async move {
        let Ok(mut listener) = TcpListener::bind(([127, 0, 0, 1], 0)) else { return };
        let Ok(address) = listener.local_addr() else { return };
        let _ = tell.answer(address);
        while let Ok((mut stream, _)) = listener.accept().await {
            let _spawned = Spawn::new().name("connection").spawn(move |_: Lane<()>| async move {
                let Ok(()) = stream.adopt() else { return };
                let mut buffer = [0; 4];
                while stream.read_exact(&mut buffer).await.is_ok() && stream.write_all(&buffer).await.is_ok() {}
            });
        }
    })?;
    let mut port = port;
    let Ok(address) = poll_fn(|cx| port.poll_answer(cx)).await else { return Ok(()) };
    let client = Spawn::new().name("client").spawn(move |_: Lane<()>| async move {
        let Ok(mut stream) = TcpStream::connect(address).await else { return };
        for round in 0..3_u32 {
            let (sent, mut got) = (round.to_be_bytes(), [0; 4]);
            // Whoever is killed, the other gets its bytes, or an error or the end of the stream.
            if stream.write_all(&sent).await.is_err() || stream.read_exact(&mut got).await.is_err() {
                return;
            }
            assert_eq!(sent, got);
        }
    })?;
    let reason = join(client.id()).await;
    assert!(!matches!(reason, ExitReason::Panicked { .. }), "{reason}");
    listener.kill();
    join(listener.id()).await;
    Ok(())
}

#[test]
fn whoever_is_killed_at_a_socket_leaves_none_open() {
    let _beside = beside_others();
    for victim in ["connection", "client", "listener"] {
        let swept = KillSweep::new(Victim::named(victim)).real_time().run(echo_over_tcp);
        let report = swept.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.kills >= 1, "{victim}: {report}");
        assert!(report.victims.iter().any(|receipt| receipt.descriptors > 0 || receipt.bytes > 0), "{victim}");
    }
}

// From here on, what a sweep must find.

#[test]
fn a_canary_that_is_forgotten_is_found_at_the_await_at_which_it_is_forgotten() {
    /// Forgets the canary when dropped, unless told not to: a destructor that leaks.
    struct Leaky(Option<Canary>);
    impl Drop for Leaky {
        fn drop(&mut self) {
            std::mem::forget(self.0.take());
        }
    }
    let _beside = beside_others();
    let canaries = Canaries::new();
    let for_runs = canaries.clone();
    let swept = KillSweep::new(Victim::named("leaky")).canaries(&canaries).run(move || {
        let canary = for_runs.canary();
        async move {
            let leaky = Spawn::new().name("leaky").spawn(async move |_: Lane<()>| {
                yield_now().await;
                yield_now().await;
                let mut leaky = Leaky(Some(canary));
                yield_now().await;
                drop(leaky.0.take());
            })?;
            join(leaky.id()).await;
            Spawned::Ok(())
        }
    });
    let failure = failure(swept);
    assert_eq!((failure.at_await, failure.killed), (Some(3), true), "{failure}");
    assert!(matches!(failure.violations[..], [Violation::CanariesAlive(1)]), "{failure}");
    assert!(failure.to_string().contains("KillSweep::only(3)"), "{failure}");
}

/// A caller whose reply is forgotten where the server is killed at its second await.
async fn forgetful() -> Result<(), SpawnError> {
    struct Forget(Option<Reply<u32>>);
    impl Drop for Forget {
        fn drop(&mut self) {
            std::mem::forget(self.0.take());
        }
    }
    let server = Spawn::new().name("forgetful").spawn(async |mut lane: Lane<Reply<u32>>| {
        while let Some(reply) = lane.recv().await {
            let mut held = Forget(Some(reply));
            sleep(MS).await;
            if let Some(reply) = held.0.take() {
                let _ = reply.send(1);
            }
        }
    })?;
    sleep(MS).await;
    let _ = server.ask(|reply| reply).no_timeout().await;
    Ok(())
}

#[test]
fn a_caller_who_waits_for_ever_is_found_and_so_is_the_run_alone() {
    let _beside = beside_others();
    let sweep = KillSweep::new(Victim::named("forgetful")).virtual_time(7);
    let failure_of_all = failure(sweep.run(forgetful));
    assert_eq!((failure_of_all.at_await, failure_of_all.killed), (Some(2), true), "{failure_of_all}");
    let [Violation::Hung { after, alive }] = &failure_of_all.violations[..] else { panic!("{failure_of_all}") };
    assert_eq!((*after, alive.len()), (Duration::from_secs(3600), 0));
    let failure_alone = failure(sweep.clone().only(2).run(forgetful));
    assert_eq!(failure_alone.to_string(), failure_of_all.to_string());
    assert!(sweep.only(1).run(forgetful).is_ok());
}

#[test]
fn a_scenario_that_is_wrong_by_itself_is_told_from_one_that_a_kill_breaks() {
    let _beside = beside_others();
    let undisturbed = failure(KillSweep::new(Victim::named("any")).run(|| async {
        Spawn::new().name("any").spawn(async |_: Lane<()>| yield_now().await)?;
        assert_eq!(1 + 1, 3);
        Spawned::Ok(())
    }));
    assert_eq!((undisturbed.at_await, undisturbed.killed), (None, false));
    let [Violation::Scenario(ExitReason::Panicked { .. })] = &undisturbed.violations[..] else {
        panic!("{undisturbed}")
    };

    let linked = failure(KillSweep::new(Victim::named("any")).run(|| async {
        let any = Spawn::new().name("any").spawn(async |_: Lane<()>| yield_now().await)?;
        link(any.id()).map_err(|_| SpawnError::NotInLane)?;
        join(any.id()).await;
        sleep(MS).await;
        Spawned::Ok(())
    }));
    assert_eq!((linked.at_await, linked.killed), (Some(1), true));
    assert!(matches!(linked.violations[..], [Violation::Scenario(ExitReason::Killed)]), "{linked}");
}

#[test]
fn a_sweep_that_would_kill_nobody_fails() {
    let _beside = beside_others();
    let nobody = failure(KillSweep::new(Victim::named("nobody")).run(|| async {}));
    assert!(matches!(nobody.violations[..], [Violation::NoVictim]), "{nobody}");
    assert!(nobody.to_string().contains("the lane named \"nobody\""), "{nobody}");
}

#[test]
fn a_victim_with_too_many_awaits_fails_the_sweep() {
    let _beside = beside_others();
    let endless = failure(KillSweep::new(Victim::named("ten")).limit(4).run(|| async {
        let ten = Spawn::new().name("ten").spawn(async |_: Lane<()>| {
            for _ in 0..10 {
                yield_now().await;
            }
        })?;
        join(ten.id()).await;
        Spawned::Ok(())
    }));
    assert_eq!(endless.at_await, Some(4));
    assert!(matches!(endless.violations[..], [Violation::TooManyAwaits { limit: 4 }]), "{endless}");
}

#[test]
fn a_destructor_that_panics_and_a_timer_that_a_destructor_sets_are_found() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            let later = laneway::time::now() + Duration::from_secs(1_000_000);
            laneway::time::call_at(later, || {});
            panic!("on purpose");
        }
    }
    let _beside = beside_others();
    let bad = failure(KillSweep::new(Victim::named("bad")).real_time().run(|| async {
        let bad = Spawn::new().name("bad").spawn(async |_: Lane<()>| {
            yield_now().await;
            let bad = Bad;
            yield_now().await;
            std::mem::forget(bad);
        })?;
        join(bad.id()).await;
        Spawned::Ok(())
    }));
    assert_eq!(bad.at_await, Some(2), "{bad}");
    let [Violation::BadRelease { panics: 1, errors: 0, .. }, Violation::Count { what: "timers left", is: 1, .. }] =
        bad.violations[..]
    else {
        panic!("{bad}");
    };
}

#[test]
fn a_lane_that_does_not_end_when_asked_is_named() {
    let _beside = beside_others();
    let late = failure(KillSweep::new(Victim::named("deaf")).grace(MS * 500).run(|| async {
        Spawn::new().name("deaf").trap_exits().spawn(async |_: Lane<()>| pending::<()>().await)?;
        Spawned::Ok(())
    }));
    let is_deaf = |violation: &Violation| matches!(violation, Violation::Late(lane) if lane.names == ["deaf".into()]);
    assert!(late.violations.iter().any(is_deaf), "{late}");
    assert_eq!((late.at_await, late.killed), (None, false), "the undisturbed run shows it");
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_no_runtime_knows_of_is_found_by_a_sweep_that_is_alone() {
    /// Forgets its socket when dropped: a destructor that leaks.
    struct Leaky(Option<std::net::TcpListener>);
    impl Drop for Leaky {
        fn drop(&mut self) {
            std::mem::forget(self.0.take());
        }
    }
    let _alone = PROCESS.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    let leak = failure(KillSweep::new(Victim::named("leaky")).alone().run(|| async {
        let leaky = Spawn::new().name("leaky").spawn(async |_: Lane<()>| {
            yield_now().await;
            let mut leaky = Leaky(std::net::TcpListener::bind("127.0.0.1:0").ok());
            yield_now().await;
            drop(leaky.0.take());
        })?;
        join(leaky.id()).await;
        Spawned::Ok(())
    }));
    assert_eq!((leak.at_await, leak.killed), (Some(2), true), "{leak}");
    let [Violation::ProcessDescriptor(what)] = &leak.violations[..] else { panic!("{leak}") };
    assert!(what.starts_with("socket:["), "{what}");
}

#[test]
fn what_a_victim_does_after_the_scenario_does_not_count() {
    let _beside = beside_others();
    let ticker = || async {
        let _ticks = Spawn::new().name("ticker").spawn(async |_: Lane<()>| {
            let mut ticks = interval(MS);
            loop {
                ticks.tick().await;
            }
        })?;
        sleep(10 * MS).await;
        Spawned::Ok(())
    };
    let sweep = || KillSweep::new(Victim::named("ticker"));
    let reports: Vec<SweepReport> = (0..5).map(|_| sweep().run(ticker).unwrap()).collect();
    assert_whole(&reports[0], 10);
    let counts: Vec<_> = reports.iter().map(|report| (report.kills, report.awaits)).collect();
    assert_eq!(counts, [counts[0]; 5]);
    let last = reports[0].awaits;
    assert_eq!(sweep().only(last).run(ticker).unwrap().kills, 1);
    let beyond = sweep().only(last + 1).run(ticker).unwrap();
    assert_eq!((beyond.kills, beyond.awaits), (0, last));
}
