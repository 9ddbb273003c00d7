//! Significant children, whose ends end the supervisor.

use actors::{Address, ExitReason, is_alive};
use laneway_supervisor::{AutoShutdown, Restart, Supervisor};

use crate::support::*;

async fn significant(auto: AutoShutdown, log: &Log, children: &[(&'static str, Restart)]) -> Supervisor {
    let mut builder = Supervisor::builder("s").auto_shutdown(auto).intensity(9, s(5)).child(worker("plain", log));
    for &(name, restart) in children {
        builder = builder.child(worker(name, log).restart(restart).significant(true));
    }
    builder.start().await.unwrap()
}

#[test]
fn otp_072_auto_shutdown_at_any_significant_end() {
    use Restart::{Temporary, Transient};
    in_virtual_time(async {
        let log = Log::default();
        for (restart, word, ends) in [
            (Transient, Word::Normal, true),
            (Transient, Word::Panic, false),
            (Temporary, Word::Normal, true),
            (Temporary, Word::Panic, true),
        ] {
            let supervisor = significant(AutoShutdown::AnySignificant, &log, &[("w", restart)]).await;
            tell(supervisor, "w", word).await;
            assert_eq!(is_alive(supervisor.id()), !ends, "{restart:?} {word:?}");
            supervisor.shutdown().await;
        }
    });
}

#[test]
fn otp_073_auto_shutdown_at_the_last_significant_end() {
    in_virtual_time(async {
        let log = Log::default();
        let children = [("a", Restart::Transient), ("b", Restart::Temporary)];
        let supervisor = significant(AutoShutdown::AllSignificant, &log, &children).await;
        tell(supervisor, "a", Word::Normal).await;
        let lane = lane_of(supervisor, "b").await.expect("the supervisor goes on");
        log.take();
        let cause = async { Address::<Word>::of(lane).unwrap().send(Word::Normal).await.unwrap() };
        assert_eq!(end_of(supervisor.id(), cause).await, ExitReason::Shutdown);
        assert_eq!(log.take(), ["-b normal", "-plain shutdown"]);
    });
}

#[test]
fn otp_074_significant_children_that_the_supervisor_stops_do_not_end_it() {
    in_virtual_time(async {
        let log = Log::default();
        let supervisor = significant(AutoShutdown::AnySignificant, &log, &[("w", Restart::Transient)]).await;
        supervisor.terminate_child("w").await.unwrap();
        settle().await;
        assert!(is_alive(supervisor.id()));
    });
}
