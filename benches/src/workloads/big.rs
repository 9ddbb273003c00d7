//! `big`: everybody pings everybody.

use std::sync::Arc;
use std::time::Instant;

use actors::{Address, Lane, spawn};

use crate::check::expect_eq;
use crate::random::Random;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

enum Message {
    /// Comes first: who there is.
    All(Arc<[Address<Message>]>),
    Start,
    Ping {
        count: u64,
        from: Address<Message>,
    },
    Pong {
        count: u64,
    },
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let actors = keys.count("actors", 1000)?;
    let pings = keys.count("pings", 1000)?;
    Ok(on_lane(move |lane| measure(lane, actors, pings)))
}

async fn measure(mut main: Lane<u64>, actors: u64, pings: u64) -> Measured {
    let all: Arc<[_]> = (0..actors).map(|seed| member(seed, pings, main.address())).collect();
    // All know all before anybody may begin.
    for member in all.iter() {
        member.send(Message::All(all.clone())).await.expect("a member");
    }
    let start = Instant::now();
    for member in all.iter() {
        member.send(Message::Start).await.expect("a member");
    }
    let mut pongs = 0;
    for _ in 0..actors {
        pongs += main.recv().await.expect("a member's number of pongs");
    }
    let measured = Measured::since(start, pongs);
    expect_eq("the number of pongs", pongs, actors * pings);
    measured
}

fn member(seed: u64, pings: u64, done: Address<u64>) -> Address<Message> {
    let member = async move |mut lane: Lane<Message>| {
        let from = lane.address();
        let mut random = Random::seeded(seed);
        let Some(Message::All(all)) = lane.recv().await else { panic!("a ping before all were known") };
        loop {
            let count = match lane.recv().await {
                Some(Message::Ping { count, from }) => {
                    from.send(Message::Pong { count: count + 1 }).await.expect("who pinged");
                    continue;
                }
                Some(Message::Pong { count }) => count,
                Some(Message::Start) => 0,
                Some(Message::All(_)) => panic!("all were known"),
                None => return,
            };
            if count < pings {
                let whom = all[random.below(all.len() as u64) as usize];
                whom.send(Message::Ping { count, from }).await.expect("a member");
            } else {
                done.send(count).await.expect("the main program");
            }
        }
    };
    spawn(member).expect("a member")
}
