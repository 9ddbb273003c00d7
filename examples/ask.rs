//! Asks: an answer, one that another lane gives, one that never comes, and a lane that is gone.

use std::time::Duration;

use laneway::prelude::*;

enum Desk {
    /// Answered here.
    Double(u64, Reply<u64>),
    /// Handed on, with its reply port, to a lane of its own, so that the desk is free meanwhile.
    Slowly(u64, Reply<u64>),
    /// Kept and never answered.
    Never(Reply<u64>),
}

async fn desk(mut lane: Lane<Desk>) {
    let mut kept = Vec::new();
    while let Some(question) = lane.recv().await {
        match question {
            Desk::Double(number, reply) => _ = reply.send(2 * number),
            Desk::Slowly(number, reply) => {
                let worked = laneway::spawn(move |_: Lane<()>| async move {
                    sleep(Duration::from_millis(20)).await;
                    let _ = reply.send(2 * number);
                });
                // Where it could not be spawned, its reply port was dropped, and the asker has heard so.
                drop(worked);
            }
            Desk::Never(reply) => kept.push(reply),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().build()?;
    runtime.block_on(async {
        let desk = laneway::spawn(desk)?;
        println!("at once: {}", desk.ask(|reply| Desk::Double(21, reply)).await?);
        println!("by another lane: {}", desk.ask(|reply| Desk::Slowly(4, reply)).await?);

        let late = desk.ask(Desk::Never).timeout(Duration::from_millis(50)).await;
        println!("never: {}", late.expect_err("nobody answers this"));

        desk.kill();
        laneway::join(desk.id()).await;
        // Five seconds would be the timeout; that the lane is gone is known at once.
        let gone = desk.ask(Desk::Never).await;
        println!("afterwards: {}", gone.expect_err("the lane is gone"));
        Ok(())
    })
}
