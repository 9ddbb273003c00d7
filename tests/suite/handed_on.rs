//! Ports of questions that leave a lane by ways that are easily overlooked: no deadlock is claimed of it then.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join;
use laneway::{Address, AskError, ExitReason, Lane, Reply, Spawn};

use crate::deadlocks::{answers_late, assert_handing_on_is_seen};
use crate::support::*;

/// As [`assert_handing_on_is_seen`], where handing on takes a while, and what comes of it is kept until the end.
fn assert_slow_handing_on_is_seen<F>(hand_on: impl FnOnce(Reply<u64>) -> F + Send + 'static)
where
    F: Future<Output: Send> + Send + 'static,
{
    test(async move |mut lane: Lane<News>| {
        let me = lane.address();
        let peer = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            let _kept = hand_on(lane.recv().await.expect("the question comes first")).await;
            assert_eq!(me.ask(News::Ask).await, Ok(2));
        });
        assert_eq!(peer.expect("a lane").ask(|reply| reply).await, Ok(1));
        match news(&mut lane).await {
            News::Ask(reply) => assert_eq!(reply.send(2), Ok(())),
            other => panic!("{other:?}"),
        }
    });
}

/// A lane that gets a port with a question, which it answers at once.
fn answers_the_first_late() -> Address<(Reply<u64>, Reply<()>)> {
    let lane = laneway::spawn(async |mut lane: Lane<(Reply<u64>, Reply<()>)>| {
        let (first, second) = lane.recv().await.expect("a port");
        assert_eq!(second.send(()), Ok(()));
        answers_late(first).await;
    });
    lane.expect("a lane")
}

#[test]
fn nothing_is_claimed_where_a_closure_took_the_port_out_of_what_it_borrowed() {
    // By a question.
    assert_slow_handing_on_is_seen(async |reply| {
        let mut kept = Some(reply);
        let asked = answers_the_first_late().ask(|second| (kept.take().expect("a port"), second)).await;
        assert_eq!(asked, Ok(()));
    });
    // By a question to several.
    assert_slow_handing_on_is_seen(async |reply| {
        let mut kept = vec![reply];
        let other = answers_the_first_late();
        let question = move |second| (kept.pop().expect("a port"), second);
        let asked = laneway::ask_all([other], Duration::from_secs(1), question).await;
        assert_eq!(asked, [(other, Ok(()))]);
    });
    // By a spawn.
    assert_handing_on_is_seen(|reply| {
        let mut kept = Some(reply);
        let born = laneway::spawn(|_: Lane<()>| answers_late(kept.take().expect("a port")));
        born.expect("a lane");
    });
}

#[test]
fn nothing_is_claimed_where_the_port_waits_for_room_in_a_send_that_is_not_awaited_just_now() {
    assert_slow_handing_on_is_seen(async |reply| {
        let other = Spawn::new().mailbox(1).spawn(async |mut lane: Lane<Option<Reply<u64>>>| {
            // By itself: whoever fills it may hand on what it was asked.
            lane.address().try_send(None).expect("room");
            laneway::sleep(Duration::from_millis(1)).await;
            while let Some(message) = lane.recv().await {
                if let Some(reply) = message {
                    answers_late(reply).await;
                }
            }
        });
        let other = other.expect("a lane");
        laneway::sleep(Duration::from_micros(1)).await;
        let mut sending = Box::pin(other.send(Some(reply)));
        poll_fn(|cx| {
            assert!(sending.as_mut().poll(cx).is_pending(), "there is no room");
            Poll::Ready(())
        })
        .await;
        // In a tuple, as it is not to be awaited.
        (sending,)
    });
}

#[test]
fn of_two_that_ask_each_other_by_closures_that_may_hand_something_out_neither_is_told() {
    enum Talk {
        Other(Address<Talk>),
        #[expect(dead_code, reason = "nobody answers")]
        Ask(u64, Reply<u64>),
    }
    test(async |_: Lane<News>| {
        let talks = async |mut lane: Lane<Talk>| {
            let Some(Talk::Other(other)) = lane.recv().await else { panic!("whom to ask comes first") };
            let number = 1;
            let ask = other.ask(|reply| Talk::Ask(number, reply));
            // Both are made before either is sent.
            settle().await;
            let heard = ask.timeout(Duration::from_millis(10)).await;
            // The other may have ended first, for the same reason.
            assert!(matches!(heard, Err(AskError::Timeout(_) | AskError::Ended(_))), "{heard:?}");
        };
        let [one, other] = [(); 2].map(|()| laneway::spawn(talks).expect("a lane"));
        one.send(Talk::Other(other)).await.expect("it waits");
        other.send(Talk::Other(one)).await.expect("it waits");
        let reasons = join(laneway::join(one.id()), laneway::join(other.id())).await;
        assert_eq!(reasons, (ExitReason::Normal, ExitReason::Normal));
    });
}
