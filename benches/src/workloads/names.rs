//! `names`: many lanes give themselves names, look each other's up, and give theirs up again.

use std::time::Instant;

use actors::{Address, Handle, Lane, NameTaken, spawn, whereis};
use runtime::lane::NameError;

use crate::check::{expect_eq, shares};
use crate::random::Random;
use crate::run::{Keys, Measured, Usage, Work, on_lane};

/// The name of a lane that has it all the time, which the others try to take.
const TAKEN: &str = "taken";

/// What one lane of many has to say at its end.
#[derive(Default)]
struct Told {
    calls: u64,
    found: u64,
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let lanes = keys.count("lanes", 64)?;
    let n = keys.count("n", 1_000_000)?;
    Ok(on_lane(move |lane| measure(lane, lanes, n)))
}

/// A name a lane, `n` rounds in all; an operation is a call.
async fn measure(mut main: Lane<Told>, lanes: u64, n: u64) -> Measured {
    main.register(TAKEN).expect("a free name");
    let start = Instant::now();
    for (number, rounds) in (0..lanes).zip(shares(n, lanes)) {
        named(number, lanes, rounds, main.address());
    }
    let mut all = Told::default();
    for _ in 0..lanes {
        let told = main.recv().await.expect("a lane's report");
        all.calls += told.calls;
        all.found += told.found;
    }
    let measured = Measured::since(start, all.calls);
    expect_eq("the number of names that are left", Handle::current().expect("a runtime").metrics().names, 1);
    measured.with("lanes", lanes).with("others_found", all.found)
}

fn named(number: u64, lanes: u64, rounds: u64, main: Address<Told>) {
    let named = async move |lane: Lane<()>| {
        let name = name(number);
        let others: Vec<String> = (0..lanes).filter(|other| *other != number).map(self::name).collect();
        let mut random = Random::seeded(number);
        let mut told = Told::default();
        for round in 0..rounds {
            lane.register(&name).expect("a name of its own");
            expect_eq("who has the name", whereis::<()>(&name), Ok(Some(lane.address())));
            told.calls += 3;
            if !others.is_empty() {
                let other = &others[random.below(others.len() as u64) as usize];
                let found = whereis::<()>(other).expect("a lane of the same type");
                expect_eq("whether another's name leads here", found == Some(lane.address()), false);
                told.found += u64::from(found.is_some());
                told.calls += 1;
            }
            if round % 16 == 0 {
                let taken = NameTaken { name: TAKEN.into(), holder: main.id() };
                expect_eq("a second registration", lane.register(TAKEN), Err(NameError::Taken(taken)));
                told.calls += 1;
                actors::yield_now().await;
            }
            expect_eq("whether the name was given up", lane.unregister(&name), true);
        }
        main.send(told).await.expect("the main program");
    };
    spawn(named).expect("a lane");
}

fn name(number: u64) -> String {
    format!("lane-{number}")
}
