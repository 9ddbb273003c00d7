//! The first program: a lane that counts, told twice and asked once.

use laneway::prelude::*;

enum Msg {
    Add(u64),
    Total(Reply<u64>),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().build()?;
    runtime.block_on(async {
        let counter = laneway::spawn(async |mut lane: Lane<Msg>| {
            let mut total = 0;
            while let Some(msg) = lane.recv().await {
                match msg {
                    Msg::Add(n) => total += n,
                    Msg::Total(reply) => _ = reply.send(total),
                }
            }
        })?;
        counter.send(Msg::Add(40)).await?;
        counter.send(Msg::Add(2)).await?;
        println!("the answer is {}", counter.ask(Msg::Total).await?);
        Ok(())
    })
}
