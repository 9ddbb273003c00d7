//! Random runs of the real scheduler: lanes spawn, send, ask, watch, link and kill each other in a few slots that are
//! used again at once, and in the end every message, question and monitor must be accounted for.
//!
//! `LANEWAY_SEED=n` runs one seed (a hundred times, since workers race), `LANEWAY_SEEDS=n` so many seeds, of
//! which a process has namespaces for some 32 000.

mod book;
mod puppet;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use laneway_runtime::lane::{self, Spawn};
use laneway_runtime::mailbox::{Inbox, MailboxId};
use laneway_runtime::reply;
use laneway_runtime::{ExitReason, Id, Runtime, inspect, time};

use book::{Book, Dice, Msg, Plan, Token, Waits};

/// Whatever takes so long under virtual time is stuck.
const LONG: Duration = Duration::from_secs(3600);
/// What nothing takes on the wall's clock.
const STUCK: Duration = Duration::from_secs(60);

#[test]
fn random_runs_account_for_every_message_and_leave_nobody_waiting() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds: Box<dyn Iterator<Item = u64>> = match number("LANEWAY_SEED") {
        Some(seed) => Box::new(std::iter::repeat_n(seed, 100)),
        None => Box::new(1..=number("LANEWAY_SEEDS").unwrap_or(400)),
    };
    for seed in seeds {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("replay: LANEWAY_SEED={seed} cargo test -p laneway-runtime --test random");
            resume_unwind(cause);
        }
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let plan = Plan::new(seed);
    let runtime = Runtime::builder()
        .virtual_time(seed)
        .workers(1 + dice.below(3) as usize)
        .max_lanes(4 + dice.below(20) as u32)
        .faults(plan.clone())
        .build()
        .expect("a runtime");
    let book = Book::new(dice.one_in(2));
    let (tell, told) = mpsc::channel();
    let entered = runtime.handle().enter();
    let conductor = Spawn::new().spawn({
        let book = book.clone();
        move |_: Inbox<()>| async move {
            if time::timeout(LONG, conduct(&book, dice)).await.is_err() {
                book.fail(format!("{} lanes wait for ever", book.busy()));
            }
            let _ = tell.send(());
        }
    });
    conductor.expect("there is room for one");
    drop(entered);
    if let Err(error) = told.recv_timeout(STUCK) {
        // What hangs would hang the end of the runtime, too.
        std::mem::forget(runtime);
        panic!("the run does not come to its end: {error}, {:?}", book.failures());
    }
    let report = runtime.shutdown(if book.failures().is_empty() { STUCK } else { Duration::ZERO });
    if report.is_clean() {
        book.check(&report.metrics, &plan);
    } else {
        book.fail(format!("{report:?}"));
    }
    let failures = book.failures();
    assert!(failures.is_empty(), "seed {seed}: {failures:#?}");
}

/// Sets all going, waits until they have done what they wanted, and sees that nobody waits in vain.
async fn conduct(book: &Arc<Book>, mut dice: Dice) {
    for _ in 0..3 {
        puppet::spawn(book, &mut dice, false);
    }
    for _ in 0..4 {
        book.settled().await;
        for lane in check(book).await {
            let poke = Msg::Poke(Token::new(book, lane.id(), 0));
            let _ = lane.send_exempt(poke).map_err(|gone| puppet::take_back(gone.into_message()));
        }
    }
    book.settled().await;
    nap(book, check(book).await).await;
    let alive = check(book).await;
    // Half of them go, and the other half must hear of it.
    for lane in &alive {
        if dice.one_in(2) {
            book.kill(lane.id());
            lane::join(lane.id()).await;
        }
    }
    let alive = check(book).await;
    for lane in &alive {
        // It may have ended with a lane that was linked with it.
        let _ = lane::stop(lane.id(), ExitReason::Shutdown);
    }
    for lane in book.lanes() {
        lane::join(lane.id()).await;
    }
}

/// Sees, once nothing can run, that whatever a lane waits for is alive, and that each monitor stands on both sides: the
/// lanes that live.
async fn check(book: &Arc<Book>) -> Vec<MailboxId<Msg>> {
    loop {
        quiet().await;
        book.check_messages();
        let mut alive = book.lanes();
        alive.retain(|lane| lane::is_alive(lane.id()));
        let (mut waits, mut found) = (Vec::new(), Vec::new());
        for lane in &alive {
            waits.extend(waits_of(book, *lane).await);
            found.extend(inspect::inspect(lane.id()).await);
        }
        quiet().await;
        // To be asked is a turn, and may be the last.
        if alive.iter().all(|lane| lane::is_alive(lane.id())) {
            if (waits.len(), found.len()) != (alive.len(), alive.len()) {
                book.fail("a lane lives and does not answer");
            }
            check_waits(book, &waits);
            check_ties(book, &found);
            return alive;
        }
    }
}

/// Sees that lanes which wait for something else than mail keep what is sent to them, and hear signals all the same.
async fn nap(book: &Arc<Book>, alive: Vec<MailboxId<Msg>>) {
    let mut naps = Vec::new();
    for lane in &alive {
        let (answerer, answer) = reply::port();
        naps.push(answerer);
        for message in [Msg::Nap(Token::new(book, lane.id(), 0), answer), Msg::Number(Token::new(book, lane.id(), 0))] {
            let _ = lane.send_exempt(message).map_err(|gone| puppet::take_back(gone.into_message()));
        }
    }
    quiet().await;
    let mut found = Vec::new();
    for lane in &alive {
        found.extend(inspect::inspect(lane.id()).await);
    }
    quiet().await;
    if alive.iter().all(|lane| lane::is_alive(lane.id())) {
        check_ties(book, &found);
    }
    for answerer in naps {
        let _ = answerer.answer(());
    }
}

/// Virtual time passes only when nothing can run. By then also the alarms have rung of those who have slept, and may have
/// been killed at that.
async fn quiet() {
    time::sleep(Duration::from_millis(10)).await;
}

async fn waits_of(book: &Arc<Book>, lane: MailboxId<Msg>) -> Option<Waits> {
    let (answerer, mut answer) = reply::port();
    let question = Msg::Report(Token::new(book, lane.id(), 0), answerer);
    lane.send_exempt(question).map_err(|gone| puppet::take_back(gone.into_message())).ok()?;
    std::future::poll_fn(|cx| answer.poll_answer(cx)).await.ok()
}

fn check_waits(book: &Book, waits: &[Waits]) {
    for waits in waits {
        for (reference, target) in &waits.monitors {
            if !lane::is_alive(*target) {
                book.fail(format!("nobody says that {target} is gone: {reference:?}"));
            }
        }
        for target in &waits.joins {
            if !lane::is_alive(*target) {
                book.fail(format!("somebody waits for the end of {target}, which is over"));
            }
        }
    }
}

fn check_ties(book: &Book, found: &[inspect::Inspection]) {
    let count = |ids: &[Id], wanted: Id| ids.iter().filter(|id| **id == wanted).count();
    for watcher in found {
        for target in found {
            let watches = (count(&watcher.watching, target.id), count(&target.watchers, watcher.id));
            if watches.0 != watches.1 {
                book.fail(format!("{} watches {} and is known there {watches:?} times", watcher.id, target.id));
            }
        }
    }
}
