//! Two nodes, each a process of its own: this program starts itself a second time and talks to a lane over there as to
//! one of its own, until it kills that process and hears of it.
//!
//! ```sh
//! cargo run --example two_nodes
//! ```
//!
//! Ends with an error if anything is not as it should be.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use laneway::net::Node;
use laneway::prelude::*;
use serde::{Deserialize, Serialize};

/// What a counter takes. A port and an address in a message work across nodes like any other field.
#[derive(Serialize, Deserialize)]
enum Count {
    Add(u64),
    Total(Reply<u64>),
    /// Adds at that counter instead.
    AddAt(Address<Count>, u64),
}

async fn counter(mut lane: Lane<Count>) {
    let mut total = 0;
    while let Some(message) = lane.recv().await {
        match message {
            Count::Add(number) => total += number,
            Count::Total(reply) => _ = reply.send(total),
            Count::AddAt(other, number) => _ = other.send(Count::Add(number)).await,
        }
    }
}

/// What a lane takes that watches a counter.
enum Watch {
    /// The counter is gone, and why.
    Heard(ExitReason),
    What(Reply<ExitReason>),
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder().build()?;
    match std::env::args().nth(1).as_deref() {
        Some("there") => runtime.block_on(there()),
        _ => runtime.block_on(async { timeout(Duration::from_secs(30), here()).await? }),
    }
}

/// The second process: publishes a counter, says where it listens, and stays until its standard input ends.
async fn there() -> Result<(), Box<dyn Error>> {
    let node = Node::builder("there").listen("127.0.0.1:0").start().await?;
    node.publish("counter", laneway::spawn(counter)?)?;
    println!("{}", node.address().ok_or("the node does not listen")?);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Ends the second process however the first one ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn here() -> Result<(), Box<dyn Error>> {
    let command = &mut Command::new(std::env::current_exe()?);
    let mut process = Process(command.arg("there").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address: SocketAddr = line.trim().parse()?;

    let node = Node::builder("here").start().await?;
    let peer = node.connect(address).await?;
    println!("process {} is node {:?}, incarnation {:x}", process.0.id(), peer.name(), peer.incarnation());
    let remote: Address<Count> = node.lookup(&peer, "counter").await?;

    remote.send(Count::Add(40)).await?;
    remote.send(Count::Add(2)).await?;
    let total = remote.ask(Count::Total).await?;
    println!("send and ask: the counter over there stands at {total}");
    // The counter here is reached from there, by the address that came in a message.
    let local = laneway::spawn(counter)?;
    remote.send(Count::AddAt(local, 7)).await?;
    // By the time that the counter there answers again, what it sent is here: it came before the answer on the same link.
    remote.ask(Count::Total).await?;
    let total_here = local.ask(Count::Total).await?;
    println!("an address in a message: the counter over here stands at {total_here}");

    let watcher = laneway::spawn(async move |mut lane: Lane<Watch>| {
        lane.monitor(remote, |down| Watch::Heard(down.reason));
        // Whichever comes first.
        let heard = lane.recv_match(|message| matches!(message, Watch::Heard(_))).await;
        let what = lane.recv_match(|message| matches!(message, Watch::What(_))).await;
        if let (Some(Watch::Heard(reason)), Some(Watch::What(reply))) = (heard, what) {
            let _ = reply.send(reason);
        }
    })?;
    process.0.kill()?;
    let reason = watcher.ask(Watch::What).await?;
    println!("the process is killed: the monitor says that {reason}");
    let asked = remote.ask(Count::Total).await;
    println!("and an ask gets at once: {}", asked.as_ref().err().ok_or("it was answered")?);
    if (total, total_here, &reason, &asked) != (42, 7, &ExitReason::NodeDown, &Err(AskError::NodeDown)) {
        return Err("that is not as it should be".into());
    }
    Ok(())
}
