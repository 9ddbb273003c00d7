//! Lanes that wait for each other in a circle: which of them hears of it, what it hears, and where nothing is claimed.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use laneway::runtime::wait_graph::{self, Awaits};
use laneway::sync::{self, LockError};
use laneway::time::now;
use laneway::{
    Address, Ask, AskError, Deadlock, Elapsed, ExitReason, Handle, Id, JoinError, Lane, Reply, SendError, Spawn,
};

use crate::support::*;

/// What came of a question to a lane that has one of its own first.
pub(crate) type Heard = Result<u64, AskError>;

fn links(deadlock: &Deadlock) -> Vec<(Id, Awaits, Id)> {
    deadlock.chain().iter().map(|waiting| (waiting.lane, waiting.awaits, waiting.of.expect("a lane"))).collect()
}

#[track_caller]
fn deadlock_of<T: std::fmt::Debug>(asked: Result<T, AskError>) -> Deadlock {
    match asked {
        Err(AskError::Deadlock(deadlock)) => deadlock,
        other => panic!("a deadlock was to be claimed; what came is {other:?}"),
    }
}

/// A lane that is asked and asks this one before it answers, with what it heard.
pub(crate) fn asks_back(other: Address<News>) -> Address<Reply<Heard>> {
    let lane = laneway::spawn(async move |mut lane: Lane<Reply<Heard>>| {
        while let Some(reply) = lane.recv().await {
            let heard = other.ask(News::Ask).await;
            // Whoever asked may have given up.
            let _: Result<(), Heard> = reply.send(heard);
        }
    });
    lane.expect("a lane")
}

/// What a lane of a circle is told.
pub(crate) enum Step {
    /// This is the lane that you wait for, where you meet the others, the locks that are yours, and those of the next.
    Next(Address<Step>, Arc<Meeting>, [Locks; 2]),
    #[expect(dead_code, reason = "nobody answers")]
    Ask(Reply<u64>),
    Fill,
}

/// What each lane of a circle has, and the one before it may wait for.
#[derive(Clone, Default)]
pub(crate) struct Locks {
    mutex: Arc<sync::Mutex<()>>,
    shared: Arc<sync::RwLock<()>>,
}

/// Where so many lanes meet.
pub(crate) struct Meeting(u32, AtomicU32);

impl Meeting {
    /// The n-th time.
    async fn meet(&self, time: u32) {
        self.1.fetch_add(1, Ordering::AcqRel);
        while self.1.load(Ordering::Acquire) < time * self.0 {
            laneway::yield_now().await;
        }
    }
}

/// How a lane of a circle waits for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Asking,
    Sending,
    Joining,
    Locking,
    Reading,
    Writing,
    /// Which cannot end with an error.
    MuteJoining,
}

/// A lane that waits for the next one, for ever or until it is told not to, and then ends.
pub(crate) fn waits_for_next(by: By, tell: Address<News>, told: fn(Deadlock) -> u64) -> Address<Step> {
    let lane = Spawn::new().mailbox(1).spawn(async move |mut lane: Lane<Step>| {
        let Some(Step::Next(next, all, [mine, others])) = lane.recv().await else {
            panic!("the next lane comes first");
        };
        // A lane that still hands out messages when it is asked might hand on what it was asked: mailboxes are filled
        // before that, and after all have taken out what was in theirs.
        all.meet(1).await;
        if by == By::Sending {
            while next.try_send(Step::Fill).is_ok() {}
        }
        let _mine = mine.mutex.try_lock_owned().expect("nobody else takes it before");
        let _mine = mine.shared.try_write_owned().expect("nobody else takes it before");
        all.meet(2).await;
        let deadlock = match by {
            By::Asking => match next.ask(Step::Ask).no_timeout().await {
                Err(AskError::Ended(reason)) => return reason,
                asked => deadlock_of(asked),
            },
            By::Sending => loop {
                match next.send(Step::Fill).await {
                    Ok(()) => {}
                    Err(SendError::Deadlock(undelivered)) => {
                        assert!(matches!(undelivered.message, Step::Fill), "another message came back");
                        break undelivered.deadlock;
                    }
                    Err(error) => return ExitReason::error(error),
                }
            },
            By::Joining => match laneway::try_join(next.id()).await {
                Ok(_) => return ExitReason::Normal,
                Err(JoinError::Deadlock(deadlock)) => deadlock,
                Err(error) => panic!("{error}"),
            },
            By::Locking => match told_instead(others.mutex.lock().await, next.id()) {
                Some(deadlock) => deadlock,
                None => return ExitReason::Normal,
            },
            By::Reading => match told_instead(others.shared.read().await, next.id()) {
                Some(deadlock) => deadlock,
                None => return ExitReason::Normal,
            },
            By::Writing => match told_instead(others.shared.write().await, next.id()) {
                Some(deadlock) => deadlock,
                None => return ExitReason::Normal,
            },
            By::MuteJoining => {
                laneway::join(next.id()).await;
                return ExitReason::Normal;
            }
        };
        assert_eq!(deadlock.chain()[0].lane, lane.id(), "whoever is told comes first");
        tell.send(News::Number(told(deadlock))).await.expect("the test waits");
        // Its end is what the others wait for.
        ExitReason::Normal
    });
    lane.expect("a lane")
}

/// The deadlock, where the lock that `holder` has was not got because of one.
fn told_instead<G>(locked: Result<G, LockError<G>>, holder: Id) -> Option<Deadlock> {
    let Err(LockError::Deadlock(deadlocked)) = locked else { return None };
    assert_eq!(deadlocked.holder().lane, Some(holder));
    assert_eq!(deadlocked.deadlock().chain()[0].held_since, Some(deadlocked.holder().taken_at));
    Some(deadlocked.deadlock().clone())
}

pub(crate) fn length(deadlock: Deadlock) -> u64 {
    deadlock.chain().len() as u64
}

/// Lanes of which each waits for the next in its way, and the last for the first.
async fn circle(ways: &[By], tell: Address<News>) -> Vec<Address<Step>> {
    let lanes: Vec<_> = ways.iter().map(|way| waits_for_next(*way, tell, length)).collect();
    close(&lanes).await;
    lanes
}

/// Goes on once they all are about to wait.
pub(crate) async fn close(lanes: &[Address<Step>]) {
    let count = lanes.len() as u32;
    let all = Arc::new(Meeting(count, AtomicU32::new(0)));
    let locks: Vec<Locks> = lanes.iter().map(|_| Locks::default()).collect();
    let locks_of = |lane: usize| locks[lane % lanes.len()].clone();
    for (at, (lane, next)) in lanes.iter().zip(lanes.iter().cycle().skip(1)).enumerate() {
        lane.send(Step::Next(*next, all.clone(), [locks_of(at), locks_of(at + 1)])).await.expect("it waits for that");
    }
    while all.1.load(Ordering::Acquire) < 2 * count {
        laneway::yield_now().await;
    }
}

/// Sees that of the lanes of such a circle exactly one is told, and that all end.
pub(crate) async fn assert_broken_once(lane: &mut Lane<News>, ways: &[By]) {
    let lanes = circle(ways, lane.address()).await;
    match lane.recv_timeout(LONG).await {
        Ok(Some(News::Number(length))) => assert_eq!(length, ways.len() as u64, "{ways:?}"),
        _ => panic!("nobody was told: {ways:?}\n{}", Handle::current().expect("a runtime").wait_graph()),
    }
    for one in lanes {
        laneway::join(one.id()).await;
    }
    assert!(lane.try_recv().is_none(), "two were told: {ways:?}");
}

#[test]
fn a_lane_that_asks_back_whose_question_it_handles_is_told_at_once_and_where() {
    test(async |lane: Lane<News>| {
        let peer = asks_back(lane.address());
        let before = now();
        let line = line!() + 1;
        let deadlock = deadlock_of(peer.ask(|reply| reply).await.expect("it answers"));
        assert_eq!(now(), before, "the claim waited");
        assert_eq!(links(&deadlock), [(peer.id(), Awaits::Answer, lane.id()), (lane.id(), Awaits::Answer, peer.id())]);
        let place = |link: usize| deadlock.chain()[link].awaited_at.map(Location::line);
        assert_eq!(place(1), Some(line));
        assert!(place(0).is_some_and(|line| line < 60), "{deadlock}");
        let text = deadlock.to_string();
        assert!(text.contains(&format!("lane {} awaits an answer of lane {}", lane.id(), peer.id())), "{text}");
        assert!(text.contains(&format!("deadlocks.rs:{line}:")), "{text}");
        // It can be asked again.
        deadlock_of(peer.ask(|reply| reply).await.expect("it answers"));
    });
}

#[test]
fn of_lanes_that_wait_for_each_other_exactly_one_is_told() {
    race(200, async |mut lane: Lane<News>| {
        for count in 2..=5 {
            assert_broken_once(&mut lane, &vec![By::Asking; count]).await;
        }
    });
    race(200, async |mut lane: Lane<News>| {
        for count in 1..=4 {
            assert_broken_once(&mut lane, &vec![By::Sending; count]).await;
            assert_broken_once(&mut lane, &vec![By::Joining; count]).await;
            assert_broken_once(&mut lane, &vec![By::Locking; count]).await;
            assert_broken_once(&mut lane, &vec![By::Reading; count]).await;
            assert_broken_once(&mut lane, &vec![By::Writing; count]).await;
        }
    });
}

#[test]
fn questions_full_mailboxes_joins_and_locks_are_links_of_one_chain() {
    race(20, async |mut lane: Lane<News>| {
        let ways = [By::Asking, By::Sending, By::Joining, By::Locking, By::Reading, By::Writing, By::MuteJoining];
        for one in ways {
            for two in ways {
                for three in ways {
                    if [one, two, three] != [By::MuteJoining; 3] {
                        assert_broken_once(&mut lane, &[one, two, three]).await;
                    }
                }
            }
        }
    });
}

#[test]
fn a_lane_that_waits_for_itself_is_told() {
    test(async |lane: Lane<News>| {
        let id = lane.id();
        let Err(JoinError::Deadlock(deadlock)) = laneway::try_join(id).await else { panic!("it outlived itself") };
        assert_eq!(links(&deadlock), [(id, Awaits::End, id)]);
        assert_eq!(lane.address().ask(News::Ask).await, Err(AskError::ToSelf));
        while lane.address().try_send(News::Number(1)).is_ok() {}
        let Err(SendError::Deadlock(undelivered)) = lane.address().send(News::Number(2)).await else {
            panic!("it made room for itself");
        };
        assert!(matches!(undelivered.message, News::Number(2)), "another message came back");
        assert_eq!(links(&undelivered.deadlock), [(id, Awaits::Room, id)]);
    });
}

#[test]
fn a_lane_that_locks_what_it_holds_is_told_where_it_took_it() {
    test(async |lane: Lane<News>| {
        let mutex = sync::Mutex::new(7);
        let held = mutex.lock().await.expect("nobody has it");
        let line = line!() - 1;
        let Err(LockError::Deadlock(deadlocked)) = mutex.lock().await else { panic!("it has it twice") };
        assert_eq!(links(deadlocked.deadlock()), [(lane.id(), Awaits::Lock, lane.id())]);
        assert_eq!(deadlocked.holder().taken_at.line(), line);
        assert!(deadlocked.to_string().contains(&format!("taken at tests/suite/deadlocks.rs:{line}:")), "{deadlocked}");
        // Its place in line is given up.
        assert_eq!(mutex.waiting(), 0);
        drop(held);
        assert_eq!(*mutex.lock().await.expect("it is free"), 7);
    });
}

#[test]
fn nothing_is_claimed_of_a_mutex_whose_guard_was_handed_on() {
    test(async |_: Lane<News>| {
        let mutex = Arc::new(sync::Mutex::new(7));
        let guard = mutex.clone().lock_owned().await.expect("nobody has it");
        laneway::spawn(async move |_: Lane<()>| {
            laneway::sleep(Duration::from_secs(1)).await;
            drop(guard);
        })
        .expect("a lane");
        assert_eq!(*mutex.lock().await.expect("it comes back"), 7);
        assert_eq!(Handle::current().expect("a runtime").metrics().deadlocks, 0);
    });
}

#[test]
fn nothing_is_claimed_of_locks_that_anybody_may_give_back() {
    test(async |lane: Lane<News>| {
        let permits = Arc::new(sync::Semaphore::new(1));
        let _held = permits.acquire().await.expect("it is free");
        let adds = permits.clone();
        laneway::spawn(async move |_: Lane<()>| {
            laneway::sleep(Duration::from_secs(1)).await;
            adds.add_permits(1);
        })
        .expect("a lane");
        let second = permits.acquire().await;
        assert!(second.is_ok(), "{second:?}");
        // It is certain again of what it waits for from then on.
        let peer = asks_back(lane.address());
        deadlock_of(peer.ask(|reply| reply).await.expect("it answers"));
    });
}

/// A future as another crate might have it, which the runtime does not know: ready once it is set. It keeps its waker where
/// that would wake the same.
#[derive(Clone, Default)]
struct Foreign(Arc<Mutex<(bool, Option<Waker>)>>);

impl Foreign {
    fn set(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn is_set(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            if !state.1.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.1 = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// The test's lane asks a lane that asks it back while it waits for something else as well, by `wait`: nothing is claimed
/// and the outcome is as it would be.
fn assert_nothing_is_claimed<F>(wait: impl FnOnce(Address<Reply<Heard>>, Address<News>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    test(async move |mut lane: Lane<News>| {
        let peer = asks_back(lane.address());
        wait(peer, lane.address()).await;
        // The peer's question is still there: it goes on.
        match news(&mut lane).await {
            News::Ask(reply) => assert_eq!(reply.send(7), Ok(())),
            other => panic!("{other:?}"),
        }
        settle().await;
        assert!(peer.is_alive() && Handle::current().expect("a runtime").metrics().deadlocks == 0);
    });
}

/// Ready with whichever of two is ready first.
async fn either<A: Future, B: Future>(one: A, other: B) -> Option<A::Output> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => other.as_mut().poll(cx).map(|_| None),
    })
    .await
}

#[test]
fn nothing_is_claimed_of_a_lane_that_a_timer_may_wake() {
    assert_nothing_is_claimed(async |peer, _| {
        let asked = laneway::timeout(Duration::from_secs(1), peer.ask(|reply| reply)).await;
        assert!(asked.is_err(), "{asked:?}");
    });
    assert_nothing_is_claimed(async |peer, _| {
        assert!(either(peer.ask(|reply| reply), laneway::sleep(Duration::from_secs(1))).await.is_none());
    });
}

#[test]
fn nothing_is_claimed_of_a_lane_that_waits_for_two_others() {
    let late = || {
        let late = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            while let Some(reply) = lane.recv().await {
                laneway::sleep(Duration::from_secs(1)).await;
                // Whoever asked may have what it wanted from the other.
                let _: Result<(), u64> = reply.send(1);
            }
        });
        late.expect("a lane")
    };
    // With an alarm that an earlier ask has left, and without one.
    for asked_before in [false, true] {
        for limit in [None, Some(Duration::from_secs(4))] {
            for comes_first in [false, true] {
                assert_nothing_is_claimed(async move |peer, _| {
                    let late = late();
                    if asked_before {
                        assert_eq!(late.ask(|reply| reply).await, Ok(1));
                    }
                    let (mut one, mut other) = (peer.ask(|reply| reply), late.ask(|reply| reply));
                    (one, other) = match limit {
                        Some(limit) => (one.timeout(limit), other.timeout(limit)),
                        None => (one.no_timeout(), other.no_timeout()),
                    };
                    if comes_first {
                        assert!(either(one, other).await.is_none());
                    } else {
                        assert_eq!(either(other, one).await, Some(Ok(1)));
                    }
                });
            }
        }
    }
}

#[test]
fn nothing_is_claimed_of_a_lane_that_a_future_of_another_crate_may_wake() {
    for registers_before in [false, true] {
        assert_nothing_is_claimed(async move |peer, _| {
            let foreign = Foreign::default();
            let set = foreign.clone();
            laneway::spawn(async move |_: Lane<()>| {
                laneway::sleep(Duration::from_secs(1)).await;
                set.set();
            })
            .expect("a lane");
            let mut is_set = pin!(foreign.is_set());
            if registers_before {
                assert!(poll_once(&mut is_set).await.is_pending());
                laneway::yield_now().await;
            }
            assert!(either(peer.ask(|reply| reply), is_set).await.is_none());
        });
    }
}

#[test]
fn nothing_is_claimed_of_a_wait_that_other_wakers_poll() {
    use futures_util::stream::{FuturesUnordered, StreamExt};

    assert_nothing_is_claimed(async |peer, _| {
        let late = async {
            laneway::sleep(Duration::from_secs(1)).await;
            None
        };
        let asked = async { Some(peer.ask(|reply| reply).no_timeout().await) };
        let mut set = FuturesUnordered::<std::pin::Pin<Box<dyn Future<Output = _> + Send>>>::new();
        set.push(Box::pin(late));
        set.push(Box::pin(asked));
        assert!(set.next().await.expect("two futures").is_none());
    });
}

#[test]
fn nothing_is_claimed_of_a_lane_that_waits_for_mail_as_well() {
    test(async |mut lane: Lane<News>| {
        let peer = asks_back(lane.address());
        let mut ask = pin!(peer.ask(|reply| reply));
        let asked = loop {
            match either(&mut ask, lane.recv()).await {
                Some(answer) => break answer,
                // `either` says no more: what came is lost, and was the question.
                None => laneway::yield_now().await,
            }
        };
        // The question was dropped with its port.
        assert_eq!(asked, Ok(Err(AskError::NoReply)));
    });
}

/// The test's lane asks a lane that hands the port on, by `hand_on`, and asks the test's lane back. Whoever has the port
/// answers.
pub(crate) fn assert_handing_on_is_seen(hand_on: impl FnOnce(Reply<u64>) + Send + 'static) {
    test(async move |mut lane: Lane<News>| {
        let me = lane.address();
        let peer = laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            hand_on(lane.recv().await.expect("a question"));
            assert_eq!(me.ask(News::Ask).await, Ok(2));
        });
        let peer = peer.expect("a lane");
        assert_eq!(peer.ask(|reply| reply).await, Ok(1));
        match news(&mut lane).await {
            News::Ask(reply) => assert_eq!(reply.send(2), Ok(())),
            other => panic!("{other:?}"),
        }
        assert_eq!(reason_of(&mut lane, peer).await, ExitReason::Normal);
    });
}

/// Answers after a while.
pub(crate) async fn answers_late(reply: Reply<u64>) {
    laneway::sleep(Duration::from_secs(1)).await;
    assert_eq!(reply.send(1), Ok(()));
}

#[test]
fn nothing_is_claimed_where_the_port_was_handed_on() {
    // By a message.
    assert_handing_on_is_seen(|reply| {
        let other = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            answers_late(lane.recv().await.expect("a port")).await;
        });
        other.expect("a lane").try_send(reply).expect("room");
    });
    // By a spawn.
    assert_handing_on_is_seen(|reply| {
        laneway::spawn(async move |_: Lane<()>| answers_late(reply).await).expect("a lane");
    });
    // By a timer.
    assert_handing_on_is_seen(|reply| {
        laneway::time::call_at(now() + Duration::from_secs(1), move || assert_eq!(reply.send(1), Ok(())));
    });
    // By a question.
    assert_handing_on_is_seen(|reply| {
        let other = laneway::spawn(async |mut lane: Lane<(Reply<u64>, Reply<()>)>| {
            answers_late(lane.recv().await.expect("a port").0).await;
        });
        let other = other.expect("a lane");
        laneway::spawn(async move |mut lane: Lane<Reply<u64>>| {
            let reply = lane.recv().await.expect("a port");
            let _: Result<(), AskError> = other.ask(|second| (reply, second)).await;
        })
        .expect("a lane")
        .try_send(reply)
        .expect("room");
    });
    // By an answer.
    test(async move |mut lane: Lane<News>| {
        let me = lane.address();
        let peer = laneway::spawn(async move |mut lane: Lane<Result<Reply<u64>, Reply<Reply<u64>>>>| {
            let Some(Err(asks_for_port)) = lane.recv().await else { panic!("whoever answers asks first") };
            let Some(Ok(reply)) = lane.recv().await else { panic!("then comes the question") };
            assert!(asks_for_port.send(reply).is_ok());
            assert_eq!(me.ask(News::Ask).await, Ok(2));
        });
        let peer = peer.expect("a lane");
        laneway::spawn(async move |_: Lane<()>| {
            answers_late(peer.ask(Err).await.expect("a port")).await;
        })
        .expect("a lane");
        settle().await;
        assert_eq!(peer.ask(Ok).await, Ok(1));
        let News::Ask(reply) = news(&mut lane).await else { panic!("the question comes first") };
        assert_eq!(reply.send(2), Ok(()));
    });
    // By ways that the runtime does not see, with a word.
    assert_handing_on_is_seen(|reply| {
        let (give, take) = std::sync::mpsc::channel();
        laneway::spawn(async move |_: Lane<()>| {
            laneway::sleep(Duration::from_secs(1)).await;
            let reply: Reply<u64> = take.recv().expect("a port");
            assert_eq!(reply.send(1), Ok(()));
        })
        .expect("a lane");
        give.send(reply).expect("the lane lives");
        wait_graph::hand_over();
    });
}

#[test]
fn what_was_handed_on_before_the_question_came_does_not_matter() {
    test(async |lane: Lane<News>| {
        let peer = asks_back(lane.address());
        let other =
            laneway::spawn(async |mut lane: Lane<String>| while lane.recv().await.is_some() {}).expect("a lane");
        for _ in 0..3 {
            other.send("words".to_owned()).await.expect("it lives");
            deadlock_of(peer.ask(|reply| reply).await.expect("it answers"));
        }
    });
}

#[test]
fn a_question_is_a_link_wherever_in_a_turn_it_is_sent_and_whenever_it_was_made() {
    test(async |lane: Lane<News>| {
        let sink = Spawn::new().mailbox(4000).spawn(async |mut lane: Lane<u64>| while lane.recv().await.is_some() {});
        let sink = sink.expect("a lane");
        let peer = asks_back(lane.address());
        let mut made_before = Some(peer.ask(|reply| reply));
        // Also where it is time to look at the clock, and where the turn is over.
        for used in (0..40).chain([1000, 1023, 1024, 2000]) {
            let mut ask = made_before.take().unwrap_or_else(|| peer.ask(|reply| reply));
            let mut sends: Vec<_> = (0..used).map(|number| Box::pin(sink.send(number))).collect();
            let asked = poll_fn(|cx| {
                while sends.pop_if(|send| send.as_mut().poll(cx).is_ready()).is_some() {}
                pin!(&mut ask).poll(cx)
            });
            deadlock_of(asked.await.expect("it answers"));
        }
    });
}

#[test]
fn a_question_that_was_sent_outside_of_lanes_is_a_link_of_the_lane_that_waits_for_the_answer() {
    let runtime = virtual_runtime();
    let asked = Arc::<Mutex<Option<Ask<Reply<Heard>, Heard>>>>::default();
    let (tell, told) = std::sync::mpsc::channel();
    let takes = asked.clone();
    runtime.block_on(async move {
        let lane = laneway::spawn(async move |_lane: Lane<News>| {
            let ask = loop {
                if let Some(ask) = takes.lock().unwrap().take() {
                    break ask;
                }
                laneway::sleep(Duration::from_millis(1)).await;
            };
            tell.send(ask.no_timeout().await).expect("the test waits");
        });
        let lane = lane.expect("a lane");
        let mut ask = asks_back(lane).ask(|reply| reply);
        assert!(poll_once(&mut ask).await.is_pending());
        *asked.lock().unwrap() = Some(ask);
        laneway::join(lane.id()).await;
    });
    deadlock_of(told.recv().expect("it ended").and_then(|heard| heard));
    end(runtime);
}

#[test]
fn a_join_that_closes_a_circle_is_what_is_told() {
    test(async |lane: Lane<News>| {
        let me = lane.address();
        let peer = laneway::spawn(async move |_: Lane<()>| {
            let asked: Result<u64, AskError> = me.ask(News::Ask).no_timeout().await;
            panic!("it waited first, and heard {asked:?}");
        });
        let peer = peer.expect("a lane").id();
        settle().await;
        let Err(JoinError::Deadlock(deadlock)) = laneway::try_join(peer).await else { panic!("it waits for this one") };
        assert_eq!(links(&deadlock), [(lane.id(), Awaits::End, peer), (peer, Awaits::Answer, lane.id())]);
        laneway::kill(peer);
    });
}

#[test]
fn the_graph_lists_who_waits_for_whom_and_speaks_graphviz() {
    test(async |_: Lane<News>| {
        let runtime = Handle::current().expect("a runtime");
        assert!(runtime.wait_graph().waits().is_empty());
        let mute = laneway::spawn(async |_: Lane<Reply<u64>>| laneway::sleep(LONG).await).expect("a lane");
        let asks = Spawn::new().name("asker").spawn(async move |_: Lane<()>| _ = mute.ask(|reply| reply).await);
        let times = laneway::spawn(async move |_: Lane<()>| {
            let _: Result<_, Elapsed> = laneway::timeout(LONG, laneway::try_join(mute.id())).await;
        });
        let (asks, times) = (asks.expect("a lane").id(), times.expect("a lane").id());
        settle().await;
        let graph = runtime.wait_graph();
        let alone = |id| graph.waits().iter().find(|waiting| waiting.lane == id).map(|waiting| waiting.alone);
        assert_eq!((graph.waits().len(), alone(asks), alone(times)), (2, Some(true), Some(false)), "{graph}");
        let (text, dot) = (graph.to_string(), graph.to_dot());
        assert!(text.contains(&format!("lane {asks} \"asker\" awaits an answer of lane {} at ", mute.id())), "{text}");
        assert!(text.contains(&format!("lane {times} awaits the end of lane {} at ", mute.id())), "{text}");
        assert!(text.contains(", among others"), "{text}");
        assert!(dot.starts_with("digraph waits {\n") && dot.ends_with("}\n"), "{dot}");
        assert!(dot.contains(&format!("\"{asks}\" -> \"{}\" [label=\"an answer\\n", mute.id())), "{dot}");
        assert!(dot.contains("style=dashed"), "{dot}");
        mute.kill();
        settle().await;
        assert!(runtime.wait_graph().waits().is_empty(), "{}", runtime.wait_graph());
    });
}

#[test]
fn a_claim_and_a_kill_at_the_same_time_leave_nobody_waiting() {
    race(300, async |mut lane: Lane<News>| {
        for victim in 0..3 {
            let lanes = circle(&[By::Asking, By::Sending, By::Joining], lane.address()).await;
            lanes[victim].kill();
            for one in lanes {
                laneway::join(one.id()).await;
            }
            // One may have been told before.
            let _ = lane.try_recv();
        }
    });
}
