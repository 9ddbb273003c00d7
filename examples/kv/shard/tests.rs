use bytes::Bytes;
use laneway::{AskError, Runtime, join, spawn, timeout};

use super::*;
use crate::command::{Expiry, Read, Set, SetExpiry, Write};
use crate::standby::standby;

const LONGEST: usize = 1 << 20;

/// Runs `scenario` with a pair of which no member has been started.
fn with_pair(scenario: impl AsyncFnOnce(Arc<Pair>)) {
    let runtime = Runtime::builder().workers(1).virtual_time(1).build().unwrap();
    runtime.block_on(scenario(Arc::new(Pair::new())));
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean(), "{report:?}");
}

fn start_primary(pair: &Arc<Pair>) -> Address<ShardMsg> {
    let of = pair.clone();
    let address = spawn(async move |lane| primary(lane, of, LONGEST).await).unwrap();
    pair.primary.fill(address).unwrap();
    address
}

fn start_standby(pair: &Arc<Pair>) -> Address<StandbyMsg> {
    let of = pair.clone();
    let address = spawn(async move |lane| standby(lane, of, LONGEST).await).unwrap();
    pair.standby.fill(address).unwrap();
    address
}

async fn end(lane: impl Into<Id>) {
    let lane = lane.into();
    laneway::kill(lane);
    join(lane).await;
}

async fn run(pair: &Pair, requests: Vec<Request>) -> Result<Vec<Reply>, AskError> {
    pair.primary.ask(|replies| ShardMsg::Run { requests, replies }).await
}

fn set(key: &str, value: &str, expiry: SetExpiry) -> Request {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    Request::Write(Write::Set(Set { key, value, only_if: None, expiry, get: false }))
}

fn get(key: &'static str) -> Request {
    Request::Read(Read::Get(key.into()))
}

fn incr(key: &'static str) -> Request {
    Request::Write(Write::IncrBy(key.into(), 1))
}

#[test]
fn a_primary_that_is_started_again_has_every_acknowledged_write() {
    with_pair(async |pair| {
        start_standby(&pair);
        for number in 1..=20 {
            let primary = start_primary(&pair);
            assert_eq!(run(&pair, vec![incr("n")]).await, Ok(vec![Reply::Integer(number)]));
            assert!(pair.is_redundant());
            end(primary).await;
        }
        assert_eq!(pair.starts().losses, 0);
    });
}

#[test]
fn data_outlives_both_members_where_they_end_in_turn() {
    with_pair(async |pair| {
        let (mut standby, mut primary) = (start_standby(&pair), start_primary(&pair));
        // More than one piece of a snapshot.
        let large = "x".repeat(100_000);
        let all = (0..20).map(|key| set(&format!("large {key}"), &large, SetExpiry::Never)).collect();
        assert_eq!(run(&pair, all).await.unwrap().len(), 20);
        for number in 1..=5 {
            end(standby).await;
            standby = start_standby(&pair);
            assert_eq!(run(&pair, vec![incr("n")]).await, Ok(vec![Reply::Integer(2 * number - 1)]));
            end(primary).await;
            primary = start_primary(&pair);
            let said = vec![Reply::Integer(2 * number), Reply::Integer(21)];
            assert_eq!(run(&pair, vec![incr("n"), Request::Read(Read::Dbsize)]).await, Ok(said));
        }
        assert_eq!(pair.starts(), crate::pair::Starts { primaries: 6, standbys: 6, losses: 0 });
    });
}

#[test]
fn nothing_is_answered_while_there_is_no_standby() {
    with_pair(async |pair| {
        let first = start_standby(&pair);
        start_primary(&pair);
        run(&pair, vec![set("k", "v", SetExpiry::Never)]).await.unwrap();
        end(first).await;
        let write = run(&pair, vec![incr("n")]);
        let mut write = std::pin::pin!(write);
        assert!(timeout(Duration::from_secs(3), &mut write).await.is_err(), "acknowledged by one member alone");
        assert!(!pair.is_redundant());
        start_standby(&pair);
        assert_eq!(write.await, Ok(vec![Reply::Integer(1)]), "it was held, and carried out once");
        assert!(pair.is_redundant());
    });
}

#[test]
fn a_standby_that_ends_is_replaced_before_anybody_asks() {
    with_pair(async |pair| {
        let first = start_standby(&pair);
        start_primary(&pair);
        run(&pair, vec![incr("n")]).await.unwrap();
        assert!(pair.take_redundancy());
        end(first).await;
        start_standby(&pair);
        while !pair.is_redundant() {
            laneway::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_question_that_a_primary_took_with_it_fails_at_once() {
    with_pair(async |pair| {
        // Without a standby it takes questions and holds them.
        let primary = start_primary(&pair);
        let (asked, ()) = futures_util::join!(run(&pair, vec![incr("n")]), async {
            laneway::sleep(Duration::from_millis(5)).await;
            end(primary).await;
        });
        assert_eq!(asked, Err(AskError::Ended(ExitReason::Killed)));
    });
}

#[test]
fn members_that_end_together_lose_the_data_and_say_so() {
    with_pair(async |pair| {
        let (standby, primary) = (start_standby(&pair), start_primary(&pair));
        run(&pair, vec![incr("n")]).await.unwrap();
        end(primary).await;
        end(standby).await;
        start_standby(&pair);
        start_primary(&pair);
        assert_eq!(run(&pair, vec![get("n"), incr("n")]).await, Ok(vec![Reply::Null, Reply::Integer(1)]));
        assert_eq!(pair.starts().losses, 1);
    });
}

#[test]
fn a_key_whose_time_has_come_is_removed_from_both_members() {
    with_pair(async |pair| {
        let (standby, primary) = (start_standby(&pair), start_primary(&pair));
        let brief = SetExpiry::At(Expiry::In(50));
        run(&pair, vec![set("brief", "v", brief), set("lasting", "v", SetExpiry::Never)]).await.unwrap();
        assert_eq!(run(&pair, vec![get("brief")]).await, Ok(vec![Reply::bulk("v")]));
        laneway::sleep(Duration::from_millis(60)).await;
        assert_eq!(pair.usage().keys, 1, "nobody had to ask for it");
        end(primary).await;
        let held =
            standby.ask(|done| StandbyMsg::Pull { term: 9, from: Cursor::default(), done }).await.unwrap().unwrap();
        assert_eq!(held.effects.len(), 2, "{held:?}");
    });
}
