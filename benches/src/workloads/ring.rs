//! `ring`: tokens go round.

use std::time::Instant;

use actors::{Address, Lane, spawn};

use crate::check::expect_eq;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

enum Message {
    /// Comes first: who is next in the ring.
    Next(Address<Message>),
    Token {
        id: u64,
        hops_left: u64,
    },
}

/// Where a token came to rest.
struct Rest {
    token: u64,
    actor: u64,
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let actors = keys.count("actors", 1000)?;
    let tokens = keys.count("tokens", 100)?;
    let hops = keys.count("hops", 10_000)?;
    Ok(on_lane(move |lane| measure(lane, actors, tokens, hops)))
}

async fn measure(mut main: Lane<Rest>, actors: u64, tokens: u64, hops: u64) -> Measured {
    let ring: Vec<_> = (0..actors).map(|place| link(place, main.address())).collect();
    for (place, link) in ring.iter().enumerate() {
        let next = ring[(place + 1) % ring.len()];
        link.send(Message::Next(next)).await.expect("a link of the ring");
    }
    // Spread evenly.
    let first = |token: u64| token * actors / tokens % actors;
    let start = Instant::now();
    for id in 0..tokens {
        let token = Message::Token { id, hops_left: hops };
        ring[first(id) as usize].send(token).await.expect("a link of the ring");
    }
    let mut rests = Vec::new();
    for _ in 0..tokens {
        let Rest { token, actor } = main.recv().await.expect("a token's rest");
        rests.push((token, actor));
    }
    let measured = Measured::since(start, tokens * hops);
    rests.sort_unstable();
    let expected: Vec<_> = (0..tokens).map(|token| (token, (first(token) + hops) % actors)).collect();
    expect_eq("where the tokens rest", rests, expected);
    measured
}

fn link(place: u64, done: Address<Rest>) -> Address<Message> {
    let link = async move |mut lane: Lane<Message>| {
        let Some(Message::Next(next)) = lane.recv().await else { panic!("a token before the ring was closed") };
        while let Some(Message::Token { id, hops_left }) = lane.recv().await {
            if hops_left > 0 {
                let token = Message::Token { id, hops_left: hops_left - 1 };
                next.send(token).await.expect("the next of the ring");
            } else {
                done.send(Rest { token: id, actor: place }).await.expect("the main program");
            }
        }
    };
    spawn(link).expect("a link of the ring")
}
