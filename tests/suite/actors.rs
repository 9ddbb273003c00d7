//! Actors: how they start, what ends them, and what runs last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use laneway::runtime::lane::whereis;
use laneway::time::now;
use laneway::{
    Actor, Address, Context, Down, Exit, ExitReason, Init, Lane, Outcome, Reply, Spawn, StartError, StopError,
};

use crate::support::*;

/// What an actor of these tests does, and whom it tells.
#[derive(Clone)]
struct Script {
    told: Address<News>,
    init: Result<Init, ExitReason>,
    init_takes: Duration,
    traps: bool,
    idle_after: Option<Duration>,
    panics_at_stop: bool,
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Script {
    fn new(lane: &Lane<News>) -> Script {
        Script {
            told: lane.address(),
            init: Ok(Init::Ready),
            init_takes: Duration::ZERO,
            traps: false,
            idle_after: None,
            panics_at_stop: false,
            log: Log::default(),
        }
    }

    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    fn noted(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

enum Order {
    Note(&'static str),
    Stop(ExitReason),
    Fail,
    Panic,
    Watch(laneway::Id),
    Link(laneway::Id),
    Echo(Reply<u64>),
}

impl Actor for Script {
    type Msg = Order;

    async fn init(&mut self, cx: &mut Context<Order>) -> Result<Init, ExitReason> {
        self.note("init");
        cx.trap_exits(self.traps);
        cx.idle_after(self.idle_after);
        if !self.init_takes.is_zero() {
            laneway::sleep(self.init_takes).await;
        }
        self.note("init is through");
        self.init.clone()
    }

    async fn started(&mut self, _: &mut Context<Order>) -> Outcome {
        laneway::yield_now().await;
        self.note("started");
        Ok(())
    }

    async fn handle(&mut self, order: Order, cx: &mut Context<Order>) -> Outcome {
        match order {
            Order::Note(what) => self.note(what),
            Order::Stop(reason) => cx.stop_with(reason),
            Order::Fail => return Err(oops()),
            Order::Panic => panic!("on purpose"),
            Order::Watch(id) => _ = cx.monitor(id),
            Order::Link(id) => cx.link(id),
            Order::Echo(reply) => _ = reply.send(1),
        }
        Ok(())
    }

    async fn down(&mut self, down: Down, _: &mut Context<Order>) -> Outcome {
        self.note(format!("down: {}", down.reason));
        Ok(())
    }

    async fn exit(&mut self, exit: Exit, _: &mut Context<Order>) -> Outcome {
        self.note(format!("exit: {}", exit.reason));
        Ok(())
    }

    async fn stopped(&mut self, reason: &ExitReason, _: &mut Context<Order>) {
        self.note(format!("stopped: {reason}"));
        if self.panics_at_stop {
            panic!("at the stop");
        }
        self.told.send(News::Number(99)).await.unwrap();
    }
}

#[test]
fn otp_030_start_returns_once_init_is_through() {
    test(async |lane: Lane<News>| {
        let script = Script { init_takes: Duration::from_secs(1), ..Script::new(&lane) };
        let before = now();
        let actor = laneway::start(script.clone()).await.unwrap();
        assert_eq!(now() - before, Duration::from_secs(1));
        assert_eq!(script.noted()[..2], ["init", "init is through"]);
        assert_eq!(actor.ask(Order::Echo).await, Ok(1));
    });
}

#[test]
fn otp_030_an_init_that_fails_is_the_result_and_neither_lane_nor_name_remain() {
    race(200, async |lane: Lane<News>| {
        let script = Script { init: Err(oops()), ..Script::new(&lane) };
        let failed = Spawn::new().name("never").start(script.clone()).await;
        assert_eq!(failed, Err(StartError::Failed(oops())));
        assert_eq!(whereis("never"), None, "the name remains");
        assert_eq!(script.noted(), ["init", "init is through"], "more than init ran");
    });
}

#[test]
fn otp_030_an_init_that_panics_is_a_failed_start() {
    struct Panics;
    impl Actor for Panics {
        type Msg = ();
        async fn init(&mut self, _: &mut Context<()>) -> Result<Init, ExitReason> {
            panic!("in init");
        }
        async fn handle(&mut self, (): (), _: &mut Context<()>) -> Outcome {
            Ok(())
        }
    }
    test(async |_: Lane<News>| {
        let failed = Spawn::new().name("never").start(Panics).await;
        let Err(StartError::Failed(ExitReason::Panicked { message, .. })) = &failed else { panic!("{failed:?}") };
        assert_eq!((&**message, whereis("never")), ("in init", None));
    });
}

#[test]
fn otp_030_a_start_that_is_dropped_leaves_no_lane() {
    test(async |lane: Lane<News>| {
        let script = Script { init_takes: LONG, ..Script::new(&lane) };
        let mut starting = Spawn::new().name("half").start(script.clone());
        assert!(poll_once(&mut starting).await.is_pending());
        settle().await;
        let half = whereis("half").expect("it is in its init");
        drop(starting);
        settle().await;
        assert!(!laneway::is_alive(half));
        assert_eq!((whereis("half"), script.noted()), (None, vec!["init".to_owned()]));
    });
}

#[test]
fn otp_031_an_init_may_decline_and_the_lane_ends_normally() {
    test(async |mut lane: Lane<News>| {
        let script = Script { init: Ok(Init::Ignore), ..Script::new(&lane) };
        let ignored = Spawn::new().name("declines").start(script.clone()).await;
        assert_eq!((ignored, whereis("declines")), (Err(StartError::Ignored), None));

        lane.trap_exits(News::Exit);
        let actor = Spawn::new().link().spawn_actor(script).unwrap();
        let exit = exit(&mut lane).await;
        assert_eq!((exit.from, exit.reason), (actor.id(), ExitReason::Normal));
    });
}

#[test]
fn otp_032_a_start_with_a_time_limit_kills_what_is_late() {
    test(async |lane: Lane<News>| {
        let limit = Duration::from_millis(100);
        let script = Script { init_takes: Duration::from_secs(1), ..Script::new(&lane) };
        let before = now();
        let late = Spawn::new().name("late").start(script.clone()).timeout(limit).await;
        assert_eq!((late, now() - before), (Err(StartError::Timeout(limit)), limit));
        assert_eq!(whereis("late"), None);
        laneway::sleep(Duration::from_secs(2)).await;
        assert_eq!(script.noted(), ["init"], "it went on after its time was over");

        let default = laneway::start(Script { init_takes: LONG, ..script.clone() }).await;
        assert_eq!(default, Err(StartError::Timeout(Duration::from_secs(5))));
        let patient = laneway::start(Script { init_takes: LONG, ..script }).no_timeout().await;
        assert!(patient.is_ok(), "{patient:?}");
    });
}

#[test]
fn otp_033_a_start_under_a_taken_name_gives_its_holder_and_runs_no_init() {
    test(async |lane: Lane<News>| {
        let first = Spawn::new().name("only").start(Script::new(&lane)).await.unwrap();
        let second = Script::new(&lane);
        let refused = Spawn::new().name("only").start(second.clone()).await;
        assert_eq!(refused, Err(StartError::AlreadyStarted(first.id())));
        assert_eq!(second.noted(), [""; 0]);
        assert!(first.is_alive());
    });
}

#[test]
fn otp_041_stop_and_wait_returns_once_the_lane_is_gone() {
    test(async |mut lane: Lane<News>| {
        let script = Script::new(&lane);
        let actor = Spawn::new().name("stops").start(script.clone()).await.unwrap();
        actor.send(Order::Note("queued")).await.unwrap();
        let reason = ExitReason::ShutdownWith("enough".into());
        assert_eq!(actor.stop_and_wait(reason.clone(), LONG).await, Ok(reason));
        assert_eq!((actor.is_alive(), whereis("stops")), (false, None));
        let noted = script.noted();
        assert_eq!(noted[noted.len() - 2..], ["queued", "stopped: shutdown: enough"]);
        assert_eq!(number(&mut lane).await, 99);

        assert_eq!(actor.stop_and_wait(ExitReason::Normal, LONG).await, Err(StopError::NoProc));
    });
}

#[test]
fn otp_041_stop_and_wait_gives_up_after_its_time_and_tells_another_reason() {
    test(async |lane: Lane<News>| {
        let limit = Duration::from_secs(1);
        let deaf = laneway::spawn(async |_: Lane<()>| std::future::pending::<()>().await).unwrap();
        let before = now();
        let stopped = deaf.stop_and_wait(ExitReason::Normal, limit).await;
        assert_eq!((stopped, now() - before), (Err(StopError::Timeout(limit)), limit));
        assert!(deaf.is_alive(), "it is only asked to stop");

        let fails = laneway::spawn(async |mut lane: Lane<()>| {
            lane.recv().await;
            oops()
        })
        .unwrap();
        assert_eq!(fails.stop_and_wait(ExitReason::Shutdown, limit).await, Ok(oops()));

        let before = now();
        let me = lane.address().stop_and_wait(ExitReason::Normal, limit).await;
        assert_eq!((me, now()), (Err(StopError::ToSelf), before));
    });
}

#[test]
fn otp_042_stopped_runs_after_whatever_ended_the_actor_from_within() {
    test(async |mut lane: Lane<News>| {
        let orders = [(Order::Stop(ExitReason::Shutdown), "stopped: shutdown"), (Order::Fail, "stopped: error: oops")];
        for (order, last) in orders {
            let script = Script::new(&lane);
            let actor = laneway::start(script.clone()).await.unwrap();
            lane.monitor(actor, News::Down);
            actor.send(order).await.unwrap();
            assert_eq!(number(&mut lane).await, 99);
            let reason = down(&mut lane).await.reason;
            assert_eq!(format!("stopped: {reason}"), last);
            assert_eq!(script.noted().last().unwrap(), last);
        }
        let script = Script::new(&lane);
        let actor = laneway::start(script.clone()).await.unwrap();
        lane.monitor(actor, News::Down);
        actor.send(Order::Panic).await.unwrap();
        assert_eq!(number(&mut lane).await, 99);
        let reason = down(&mut lane).await.reason;
        assert!(matches!(&reason, ExitReason::Panicked { message, .. } if &**message == "on purpose"), "{reason:?}");
        assert!(script.noted().last().unwrap().starts_with("stopped: panicked at "));
    });
}

#[test]
fn otp_042_stopped_does_not_run_after_a_kill_or_an_exit_that_is_not_trapped() {
    test(async |mut lane: Lane<News>| {
        for kill in [true, false] {
            for traps in [true, false] {
                if !kill && traps {
                    continue;
                }
                let script = Script { traps, ..Script::new(&lane) };
                let actor = laneway::start(script.clone()).await.unwrap();
                lane.monitor(actor, News::Down);
                let expected = if kill { ExitReason::Killed } else { oops() };
                laneway::exit(actor.id(), if kill { ExitReason::Kill } else { oops() });
                assert_eq!(down(&mut lane).await.reason, expected);
                assert!(!script.noted().iter().any(|note| note.starts_with("stopped")), "kill {kill}, traps {traps}");
            }
        }
    });
}

#[test]
fn otp_043_the_parents_exit_ends_a_trapping_actor_and_any_other_is_news() {
    test(async |mut lane: Lane<News>| {
        let script = Script { traps: true, ..Script::new(&lane) };
        let (told, starts) = (lane.address(), script.clone());
        let parent = laneway::spawn(async move |mut lane: Lane<()>| {
            let child = Spawn::new().link().spawn_actor(starts).unwrap();
            told.send(News::Number(u64::from(child.id().key()))).await.unwrap();
            lane.recv().await;
            oops()
        })
        .unwrap();
        let key = number(&mut lane).await;
        settle().await;
        let lanes = laneway::Handle::current().unwrap().lanes();
        let child = lanes.iter().find(|info| u64::from(info.id.key()) == key).expect("the actor lives").id;
        let actor = Address::<Order>::of(child).unwrap();
        lane.monitor(actor, News::Down);

        let other = puppet();
        actor.send(Order::Link(other.id())).await.unwrap();
        settle().await;
        laneway::exit(other.id(), oops());
        settle().await;
        assert_eq!(script.noted().last().unwrap(), "exit: error: oops");
        assert!(actor.is_alive(), "the exit of another than its parent ended it");

        parent.send(()).await.unwrap();
        assert_eq!(number(&mut lane).await, 99);
        assert_eq!(down(&mut lane).await.reason, oops());
        assert_eq!(script.noted(), ["stopped: error: oops"], "the parent's exit is no news to the actor's code");
    });
}

#[test]
fn otp_044_a_panic_in_stopped_replaces_the_reason() {
    test(async |mut lane: Lane<News>| {
        let script = Script { panics_at_stop: true, ..Script::new(&lane) };
        let actor = laneway::start(script.clone()).await.unwrap();
        lane.monitor(actor, News::Down);
        actor.send(Order::Fail).await.unwrap();
        let reason = down(&mut lane).await.reason;
        assert!(matches!(&reason, ExitReason::Panicked { message, .. } if &**message == "at the stop"), "{reason:?}");
    });
}

#[test]
fn otp_045_idle_comes_only_where_no_message_came() {
    struct Idles(Arc<AtomicU64>);
    impl Actor for Idles {
        type Msg = ();
        async fn init(&mut self, cx: &mut Context<()>) -> Result<Init, ExitReason> {
            cx.idle_after(Some(Duration::from_secs(10)));
            Ok(Init::Ready)
        }
        async fn handle(&mut self, (): (), _: &mut Context<()>) -> Outcome {
            Ok(())
        }
        async fn idle(&mut self, cx: &mut Context<()>) -> Outcome {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                1 => {
                    cx.idle_after(None);
                    Ok(())
                }
                _ => panic!("idle was called though it was turned off"),
            }
        }
    }
    test(async |mut lane: Lane<News>| {
        let idled = Arc::new(AtomicU64::new(0));
        let actor = laneway::start(Idles(idled.clone())).await.unwrap();
        for _ in 0..10 {
            laneway::sleep(Duration::from_secs(9)).await;
            actor.send(()).await.unwrap();
        }
        assert_eq!(idled.load(Ordering::Relaxed), 0, "a message is to begin the time anew");
        laneway::sleep(Duration::from_secs(11)).await;
        assert_eq!(idled.load(Ordering::Relaxed), 1);
        laneway::sleep(Duration::from_secs(1000)).await;
        assert_eq!(idled.load(Ordering::Relaxed), 2);

        // Where it is not written, idleness ends the actor normally.
        let script = Script { idle_after: Some(Duration::from_secs(10)), ..Script::new(&lane) };
        let before = now();
        let actor = laneway::start(script).await.unwrap();
        assert_eq!(reason_of_told(&mut lane, actor).await, ExitReason::Normal);
        assert_eq!(now() - before, Duration::from_secs(10));
    });
}

/// The reason of an actor that says 99 last.
async fn reason_of_told(lane: &mut Lane<News>, actor: Address<Order>) -> ExitReason {
    lane.monitor(actor, News::Down);
    assert_eq!(number(lane).await, 99);
    down(lane).await.reason
}

#[test]
fn otp_045_what_follows_init_runs_before_any_message() {
    test(async |lane: Lane<News>| {
        let script = Script { init_takes: Duration::from_secs(1), ..Script::new(&lane) };
        let actor = Spawn::new().spawn_actor(script.clone()).unwrap();
        actor.send(Order::Note("queued before init was through")).await.unwrap();
        assert_eq!(actor.ask(Order::Echo).await, Ok(1));
        assert_eq!(script.noted(), ["init", "init is through", "started", "queued before init was through"]);
    });
}

#[test]
fn an_actor_hears_of_those_it_watches() {
    test(async |lane: Lane<News>| {
        let script = Script::new(&lane);
        let actor = laneway::start(script.clone()).await.unwrap();
        let target = puppet();
        actor.send(Order::Watch(target.id())).await.unwrap();
        settle().await;
        laneway::exit(target.id(), oops());
        settle().await;
        assert_eq!(script.noted().last().unwrap(), "down: error: oops");
    });
}
