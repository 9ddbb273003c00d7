//! A worker that panics, and the supervisor that starts it again: whoever uses the worker knows only its role, and goes
//! on as if nothing had happened. Ends by itself, with an error where it did not go as it should.

use std::time::Duration;

use laneway::prelude::*;

/// What the divider is asked: how often the second number is in the first.
struct Divide(u64, u64, Reply<u64>);

/// Counts what it has divided; the count goes with each incarnation.
#[derive(Default)]
struct Divider(u64);

impl Actor for Divider {
    type Msg = Divide;

    async fn init(&mut self, cx: &mut Context<Divide>) -> Result<Init, ExitReason> {
        println!("divider {} starts", cx.id());
        Ok(Init::Ready)
    }

    async fn handle(&mut self, Divide(number, by, reply): Divide, _: &mut Context<Divide>) -> Outcome {
        // Nobody checks for zero: let it crash.
        let quotient = number / by;
        self.0 += 1;
        println!("{number} / {by} = {quotient}, division {} of this incarnation", self.0);
        // Whoever asked may have left.
        let _ = reply.send(quotient);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().workers(2).build()?;
    runtime.block_on(async {
        let divider = Role::new();
        let supervisor = Supervisor::builder("arithmetic")
            .strategy(Strategy::OneForOne)
            .intensity(3, Duration::from_secs(5))
            .child(ChildSpec::actor("divider", Divider::default).role(divider))
            .start()
            .await?;
        let first = divider.filled().await?;
        assert_eq!(divider.ask(|reply| Divide(84, 2, reply)).await?, 42);

        let crash = divider.ask(|reply| Divide(1, 0, reply)).await;
        println!("1 / 0: {}", crash.as_ref().expect_err("there is no such number"));
        let reason = laneway::join(first.id()).await;
        assert!(matches!(reason, ExitReason::Panicked { .. } | ExitReason::NoProc), "{reason}");

        // The same role leads to the next incarnation, as soon as there is one.
        assert_eq!(divider.ask(|reply| Divide(126, 3, reply)).await?, 42);
        assert_ne!(divider.filled().await?, first);
        assert!(!first.is_alive());

        assert_eq!(supervisor.count_children().await?.active, 1);
        assert_eq!(supervisor.shutdown().await, ExitReason::Shutdown);
        assert!(divider.address().is_err(), "nobody will fill the role any more");
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    let report = runtime.shutdown(Duration::from_secs(5));
    if report.is_clean() { Ok(()) } else { Err(format!("lanes were left behind: {:?}", report.late).into()) }
}
