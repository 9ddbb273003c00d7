//! How children are stopped, and what is said of those that end otherwise.

use std::fmt::Write as _;
use std::sync::Mutex;

use actors::time::now;
use actors::{Actor, Context, Exit, ExitReason, Init, Outcome, is_alive};
use laneway_supervisor::{ChildSpec, Shutdown, Supervisor};

use crate::support::*;

#[test]
fn otp_062_each_child_is_stopped_as_its_own_spec_says() {
    in_virtual_time(async {
        let log = Log::default();
        let slow = |name, takes| Plan { end_takes: takes, ..Plan::new(name, &log) }.child();
        let supervisor = Supervisor::builder("s")
            .child(slow("patient", s(100)).shutdown(Shutdown::Infinite))
            .child(slow("late", s(100)).shutdown(s(3)))
            .child(slow("timely", s(1)).shutdown(s(3)))
            .child(slow("brutal", s(100)).shutdown(Shutdown::Brutal))
            .start()
            .await
            .unwrap();
        log.take();
        let since = now();
        assert_eq!(supervisor.shutdown().await, ExitReason::Shutdown);
        assert_eq!((now() - since).as_secs(), 1 + 3 + 100);
        assert_eq!(log.take(), ["-timely shutdown", "-patient shutdown"]);
    });
}

#[test]
fn exits_of_others_come_to_a_trapping_child_but_that_of_its_supervisor_ends_it() {
    struct Noting(Log);
    impl Actor for Noting {
        type Msg = ();
        async fn init(&mut self, cx: &mut Context<()>) -> Result<Init, ExitReason> {
            cx.trap_exits(true);
            Ok(Init::Ready)
        }
        async fn handle(&mut self, (): (), _: &mut Context<()>) -> Outcome {
            Ok(())
        }
        async fn exit(&mut self, exit: Exit, _: &mut Context<()>) -> Outcome {
            self.0.note(short(&exit.reason));
            Ok(())
        }
    }
    in_virtual_time(async {
        let log = Log::default();
        let kept = log.clone();
        let child = ChildSpec::actor("n", move || Noting(kept.clone()));
        let supervisor = Supervisor::builder("s").child(child).start().await.unwrap();
        let lane = lane_of(supervisor, "n").await.unwrap();
        actors::exit(lane, ExitReason::error("from outside"));
        settle().await;
        assert_eq!(log.take(), ["error"]);
        supervisor.terminate_child("n").await.unwrap();
        assert!(!is_alive(lane));
        assert!(log.take().is_empty());
    });
}

#[test]
fn otp_063_an_end_otherwise_than_asked_is_reported_once_and_is_no_failure() {
    let reports = Reports::of("otp_063");
    in_virtual_time(async {
        let log = Log::default();
        let late = Plan { end_takes: s(9), ..Plan::new("late", &log) }.child();
        let clumsy = Plan { ends: Some(ExitReason::error("tripped")), ..Plan::new("clumsy", &log) }.child();
        let supervisor =
            Supervisor::builder("otp_063").child(late).child(clumsy).child(worker("good", &log)).start().await.unwrap();
        assert_eq!(supervisor.shutdown().await, ExitReason::Shutdown);
    });
    let said = reports.take();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("\"clumsy\" ended otherwise than asked") && said[0].contains("tripped"), "{said:?}");
    assert!(said[1].contains("\"late\" ended otherwise than asked: killed"), "{said:?}");
}

#[test]
fn one_report_for_each_crash_names_child_reason_and_restarts() {
    let reports = Reports::of("crashes");
    in_virtual_time(async {
        let log = Log::default();
        let supervisor =
            Supervisor::builder("crashes").intensity(5, s(5)).child(worker("w", &log)).start().await.unwrap();
        tell(supervisor, "w", Word::Panic).await;
        tell(supervisor, "w", Word::Panic).await;
        supervisor.shutdown().await;
    });
    let said = reports.take();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|line| line.contains("child \"w\" ended: panicked") && line.contains("w was told to")));
    assert!(said[0].contains("restarts=0") && said[1].contains("restarts=1"), "{said:?}");
}

/// What supervisors of one label write into the log.
struct Reports(&'static str);

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Reports {
    fn of(label: &'static str) -> Reports {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Collect).unwrap());
        Reports(label)
    }

    fn take(&self) -> Vec<String> {
        let mut lines = LINES.lock().unwrap();
        let mark = format!("supervisor=\"{}\"", self.0);
        let (mine, others) = lines.drain(..).partition(|line| line.contains(&mark));
        *lines = others;
        mine
    }
}

struct Collect;

impl tracing::Subscriber for Collect {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("laneway_supervisor") && *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, " {field}={value:?}");
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
