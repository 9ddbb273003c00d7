//! `ask`: clients call a server and wait for its answers.

use std::time::{Duration, Instant};

use actors::{Address, Lane, Reply, spawn};

use crate::check::{expect_eq, shares, sum_below};
use crate::run::{Keys, Measured, Usage, Work, on_lane};

struct Question {
    number: u64,
    reply: Reply<u64>,
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let clients = keys.count("clients", 64)?;
    let n = keys.count("n", 1_280_000)?;
    Ok(on_lane(move |lane| measure(lane, clients, n, None)))
}

/// With the time that a client waits for one answer; where there is none, it is the default.
pub(super) async fn measure(mut main: Lane<u64>, clients: u64, n: u64, timeout: Option<Duration>) -> Measured {
    let server = spawn(async |mut lane: Lane<Question>| {
        while let Some(Question { number, reply }) = lane.recv().await {
            reply.send(number + 1).expect("a client that waits");
        }
    });
    let server = server.expect("the server");
    let start = Instant::now();
    let mut expected = 0;
    for share in shares(n, clients) {
        expected += sum_below(share) + share;
        client(server, share, timeout, main.address());
    }
    let mut sum = 0;
    for _ in 0..clients {
        sum += main.recv().await.expect("a client's sum");
    }
    let measured = Measured::since(start, n);
    expect_eq("the sum", sum, expected);
    measured
}

fn client(server: Address<Question>, share: u64, timeout: Option<Duration>, done: Address<u64>) {
    let client = async move |_: Lane<()>| {
        let mut sum = 0;
        for number in 0..share {
            let ask = server.ask(|reply| Question { number, reply });
            let answer = match timeout {
                Some(length) => ask.timeout(length).await,
                None => ask.await,
            };
            sum += answer.expect("an answer");
        }
        done.send(sum).await.expect("the main program");
    };
    spawn(client).expect("a client");
}
