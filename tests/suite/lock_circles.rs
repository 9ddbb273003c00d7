//! Circles of waits over read-write locks, which several may be in the way of, and over permits, which anybody may give.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use laneway::runtime::WaitGraph;
use laneway::runtime::wait_graph::Awaits;
use laneway::sync::{LockError, Mutex, RwLock, Semaphore};
use laneway::{Address, AskError, Deadlock, Handle, Id, Lane, Reply, Spawn};

use crate::support::*;

type Shared = Arc<RwLock<u64>>;

fn shared() -> Shared {
    Arc::new(RwLock::new(7))
}

#[track_caller]
fn deadlock_of<G>(locked: Result<G, LockError<G>>) -> Deadlock {
    match locked {
        Err(LockError::Deadlock(deadlocked)) => deadlocked.deadlock().clone(),
        Err(error) => panic!("a deadlock was to be claimed: {error}"),
        Ok(_) => panic!("a deadlock was to be claimed, and the lock was got"),
    }
}

fn links(deadlock: &Deadlock) -> Vec<(Id, Awaits, Id)> {
    deadlock.chain().iter().map(|waiting| (waiting.lane, waiting.awaits, waiting.of.expect("a lane"))).collect()
}

fn deadlocks() -> u64 {
    Handle::current().expect("a runtime").metrics().deadlocks
}

/// A lane that runs this.
fn lane_that<F>(body: impl FnOnce(Lane<()>) -> F) -> Address<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    laneway::spawn(body).expect("a lane")
}

/// A lane that reads the lock until it is answered by the test's lane.
fn reads_until_answered(lock: &Shared, asks: Address<News>) -> Address<()> {
    let lock = lock.clone();
    lane_that(async move |_| {
        let held = lock.read().await.expect("it may be read");
        // The test may end before.
        let _: Result<u64, AskError> = asks.ask(News::Ask).no_timeout().await;
        drop(held);
    })
}

/// A lane that reads the lock for a second.
fn reads_for_a_second(lock: &Shared) -> Address<()> {
    let lock = lock.clone();
    lane_that(async move |_| {
        let _held = lock.read().await.expect("it may be read");
        laneway::sleep(Duration::from_secs(1)).await;
    })
}

#[test]
fn a_lane_that_would_write_what_it_reads_is_told_where_it_took_it() {
    test(async |lane: Lane<News>| {
        let lock = RwLock::new(7);
        let held = lock.read().await.expect("nobody has it");
        let (taken, asked) = (line!() - 1, line!() + 1);
        let Err(LockError::Deadlock(deadlocked)) = lock.write().await else { panic!("it was its own reader") };
        let deadlock = deadlocked.deadlock();
        assert_eq!(links(deadlock), [(lane.id(), Awaits::Write, lane.id())]);
        assert_eq!(deadlock.chain()[0].awaited_at.map(|at| at.line()), Some(asked));
        assert_eq!(deadlocked.holder().taken_at.line(), taken);
        assert_eq!((deadlocked.holder().lane, *held), (Some(lane.id()), 7));
        let text = deadlock.to_string();
        let words = format!("awaits the read-write lock, to write, of lane {}, taken at {}", lane.id(), file!());
        assert!(text.contains(&words) && text.contains(&format!("{}:{asked}:", file!())), "{text}");
        // Its place in line is given up, and others get in.
        assert_eq!((lock.waiting(), lock.try_read().is_ok()), (0, true));
        drop(held);
        // The same of one that writes.
        let held = lock.write().await.expect("nobody has it");
        assert_eq!(links(&deadlock_of(lock.read().await)), [(lane.id(), Awaits::Read, lane.id())]);
        assert_eq!(links(&deadlock_of(lock.write().await)), [(lane.id(), Awaits::Write, lane.id())]);
        drop(held);
        assert_eq!(*lock.write().await.expect("it is free"), 7);
        assert_eq!(deadlocks(), 3);
    });
}

#[test]
fn of_two_that_would_write_what_both_read_the_first_to_ask_lets_the_other_in() {
    race(200, async |mut lane: Lane<News>| {
        let lock = shared();
        let both = Arc::new(Semaphore::new(0));
        let upgrades = |tell: Address<News>| {
            let (lock, both) = (lock.clone(), both.clone());
            lane_that(async move |_| {
                let held = lock.read().await.expect("it may be read");
                both.acquire().await.expect("it is not closed").forget();
                let deadlock = deadlock_of(lock.write().await);
                assert!((1..=2).contains(&deadlock.chain().len()), "{deadlock}");
                drop(held);
                *lock.write().await.expect("the other lets go as well") += 1;
                tell.send(News::Number(1)).await.expect("the test waits");
            })
        };
        upgrades(lane.address());
        upgrades(lane.address());
        while lock.holders().len() < 2 {
            laneway::yield_now().await;
        }
        both.add_permits(2);
        assert_eq!((number(&mut lane).await, number(&mut lane).await), (1, 1));
        assert_eq!(*lock.read().await.expect("it is free"), 9);
    });
}

#[test]
fn a_reader_behind_a_writer_in_line_that_waits_for_it_is_told_of_both() {
    test(async |lane: Lane<News>| {
        let lock = shared();
        let theirs = lock.clone();
        let wrote = line!() + 3;
        let writer = lane_that(async move |_| {
            settle().await;
            *theirs.write().await.expect("its turn comes") += 1;
        });
        let (held, taken) = (lock.read().await.expect("nobody has it"), line!());
        settle().await;
        settle().await;
        assert_eq!(lock.waiting(), 1);
        let Err(LockError::Deadlock(deadlocked)) = lock.read().await else { panic!("it overtook a writer") };
        let deadlock = deadlocked.deadlock();
        assert_eq!(links(deadlock), [(lane.id(), Awaits::Read, writer.id()), (writer.id(), Awaits::Write, lane.id())]);
        let [first, second] = deadlock.chain() else { panic!("{deadlock}") };
        assert_eq!((first.in_line_since.map(|at| at.line()), first.held_since), (Some(wrote), None));
        assert_eq!((second.held_since.map(|at| at.line()), second.in_line_since), (Some(taken), None));
        // Who has it is not the one who is before it in line.
        assert_eq!((deadlocked.holder().lane, deadlocked.holder().taken_at.line()), (Some(lane.id()), taken));
        assert!(deadlock.to_string().contains(&format!("which is before it in line since {}:{wrote}:", file!())));
        drop(held);
        assert_eq!(*lock.read().await.expect("the writer is served"), 8);
    });
}

#[test]
fn a_circle_by_a_reader_in_line_is_broken_once_whoever_closes_it() {
    race(300, async |mut lane: Lane<News>| {
        let lock = shared();
        let tell = lane.address();
        let theirs = lock.clone();
        // It is asked by the one who reads, and would read behind the one who would write.
        let behind = laneway::spawn(async move |mut lane: Lane<Reply<bool>>| {
            let reply = lane.recv().await.expect("a question");
            while theirs.waiting() == 0 {
                laneway::yield_now().await;
            }
            let was_told = theirs.read().await.is_err();
            assert_eq!(reply.send(was_told), Ok(()));
        });
        let (theirs, behind) = (lock.clone(), behind.expect("a lane"));
        lane_that(async move |_| {
            let held = theirs.read().await.expect("it may be read");
            let was_told = match behind.ask(|reply| reply).no_timeout().await {
                Ok(other_was_told) => u64::from(other_was_told),
                Err(AskError::Deadlock(_)) => 1,
                Err(error) => panic!("{error}"),
            };
            drop(held);
            tell.send(News::Number(was_told)).await.expect("the test waits");
        });
        while lock.holders().is_empty() {
            laneway::yield_now().await;
        }
        let theirs = lock.clone();
        lane_that(async move |_| {
            let was_told = u64::from(theirs.write().await.is_err());
            tell.send(News::Number(was_told)).await.expect("the test waits");
        });
        assert_eq!(number(&mut lane).await + number(&mut lane).await, 1, "nobody was told, or two");
    });
}

#[test]
fn one_of_several_readers_that_waits_for_the_writer_is_enough() {
    test(async |mut lane: Lane<News>| {
        let lock = shared();
        // Twenty read for a second, and go; one of them in the middle reads and waits for the one who would write.
        for _ in 0..10 {
            reads_for_a_second(&lock);
        }
        let reads = reads_until_answered(&lock, lane.address());
        for _ in 0..10 {
            reads_for_a_second(&lock);
        }
        settle().await;
        let before = laneway::time::now();
        let deadlock = deadlock_of(lock.write().await);
        assert_eq!(links(&deadlock), [(lane.id(), Awaits::Write, reads.id()), (reads.id(), Awaits::Answer, lane.id())]);
        assert_eq!(before, laneway::time::now(), "the claim waited");
        let News::Ask(reply) = news(&mut lane).await else { panic!("it asks") };
        assert_eq!(reply.send(1), Ok(()));
        assert_eq!(*lock.write().await.expect("the others go"), 7);
    });
}

#[test]
fn the_chain_says_what_is_held_and_awaited_and_where() {
    test(async |mut lane: Lane<News>| {
        let (lock, mutex) = (shared(), Arc::new(Mutex::new(())));
        let (theirs, others, me) = (lock.clone(), mutex.clone(), lane.address());
        // It has the mutex, and would write what the next one reads.
        let writes = lane_that(async move |_| {
            let _held = others.lock().await.expect("nobody has it");
            settle().await;
            *theirs.write().await.expect("the reader goes") += 1;
        });
        let reads = reads_until_answered(&lock, me);
        settle().await;
        settle().await;
        let deadlock = deadlock_of(mutex.lock().await);
        let expected = [
            (lane.id(), Awaits::Lock, writes.id()),
            (writes.id(), Awaits::Write, reads.id()),
            (reads.id(), Awaits::Answer, lane.id()),
        ];
        assert_eq!(links(&deadlock), expected);
        assert!(deadlock.chain()[..2].iter().all(|link| link.held_since.is_some() && link.awaited_at.is_some()));
        let News::Ask(reply) = news(&mut lane).await else { panic!("it asks") };
        assert_eq!(reply.send(1), Ok(()));
        laneway::join(writes.id()).await;
        assert_eq!(*lock.read().await.expect("it is free"), 8);
    });
}

#[test]
fn one_who_closes_two_circles_is_told_and_a_policy_is_asked_of_both() {
    let asked: Arc<std::sync::Mutex<Vec<Vec<Id>>>> = Arc::default();
    let seen = asked.clone();
    let policy = laneway::DeadlockPolicy::choose(move |deadlock| {
        seen.lock().unwrap().push(deadlock.chain().iter().map(|link| link.lane).collect());
        deadlock.chain().get(1).map(|link| link.lane)
    });
    let runtime =
        laneway::Runtime::builder().workers(1).virtual_time(7).on_deadlock(policy).build().expect("a runtime");
    in_lane(&runtime, async move |lane: Lane<News>| {
        let lock = shared();
        let readers = [(); 2].map(|()| reads_until_answered(&lock, lane.address()));
        settle().await;
        assert_eq!(*lock.write().await.expect("both readers are killed"), 7);
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        let mut expected = readers.map(|reader| vec![lane.id(), reader.id()]);
        expected.sort();
        assert_eq!(asked, expected);
        assert!(readers.iter().all(|reader| !reader.is_alive()) && deadlocks() == 2);
    });
    end(runtime);
}

/// One lane reads and waits, in a way that leaves it something else to wait for, for the test's lane, which would write:
/// nothing is claimed, and the lock is got in the end.
fn assert_nothing_is_claimed<F>(waits: impl FnOnce(Shared, Address<News>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    test(async move |mut lane: Lane<News>| {
        let (lock, me) = (shared(), lane.address());
        let theirs = lock.clone();
        lane_that(move |_| waits(theirs, me));
        settle().await;
        assert_eq!(lock.holders().len(), 1);
        assert_eq!(*lock.write().await.expect("it comes back"), 7);
        assert_eq!(deadlocks(), 0);
        // The question, if one was asked.
        drop(lane.try_recv());
    });
}

/// Ready with whichever of two is ready first.
async fn either(one: impl Future, other: impl Future) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => other.as_mut().poll(cx).map(|_| ()),
    })
    .await;
}

#[test]
fn nothing_is_claimed_of_a_holder_that_something_else_may_wake() {
    // In a select.
    assert_nothing_is_claimed(async |lock, me| {
        let _held = lock.read().await.expect("it may be read");
        let other = laneway::spawn(async |mut lane: Lane<Reply<u64>>| {
            let reply = lane.recv().await.expect("a question");
            laneway::sleep(Duration::from_secs(1)).await;
            assert_eq!(reply.send(1), Ok(()));
        });
        either(me.ask(News::Ask).no_timeout(), other.expect("a lane").ask(|reply| reply)).await;
    });
    // With a timer.
    assert_nothing_is_claimed(async |lock, me| {
        let _held = lock.read().await.expect("it may be read");
        either(me.ask(News::Ask).no_timeout(), laneway::sleep(Duration::from_secs(1))).await;
    });
    assert_nothing_is_claimed(async |lock, me| {
        let _held = lock.write().await.expect("nobody has it");
        let asked = laneway::timeout(Duration::from_secs(1), me.ask(News::Ask)).await;
        assert!(asked.is_err(), "{asked:?}");
    });
}

#[test]
fn nothing_is_claimed_of_a_guard_that_was_handed_on() {
    for writes in [false, true] {
        assert_nothing_is_claimed(async move |lock, me| {
            let held: Box<dyn Send> = if writes {
                Box::new(lock.clone().write_owned().await.expect("nobody has it"))
            } else {
                Box::new(lock.clone().read_owned().await.expect("it may be read"))
            };
            lane_that(async move |_| {
                laneway::sleep(Duration::from_secs(1)).await;
                drop(held);
            });
            // Nobody answers before the test's lane ends.
            let _: Result<u64, AskError> = me.ask(News::Ask).no_timeout().await;
        });
    }
}

#[test]
fn nothing_is_claimed_of_a_guard_whose_lane_died() {
    test(async |_: Lane<News>| {
        let lock = shared();
        let theirs = lock.clone();
        let leaks = lane_that(async move |_| std::mem::forget(theirs.read_owned().await.expect("it may be read")));
        laneway::join(leaks.id()).await;
        let held = lock.read().await.expect("it may still be read");
        match lock.write().await {
            Err(LockError::Abandoned(abandoned)) => assert_eq!(abandoned.holder().lane, Some(leaks.id())),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was got while others read"),
        }
        drop(held);
        assert_eq!(deadlocks(), 0);
    });
}

#[test]
fn nothing_is_claimed_by_one_before_in_line_who_does_not_wait_there_alone() {
    test(async |mut lane: Lane<News>| {
        let lock = shared();
        let held = lock.read().await.expect("nobody has it");
        let (theirs, me) = (lock.clone(), lane.address());
        // It keeps a place in line which it does not look at any more, and waits alone, for an answer of the test's lane.
        let keeps = lane_that(async move |_| {
            let mut write = Box::pin(theirs.write());
            assert!(poll_once(&mut write).await.is_pending());
            let _: Result<u64, AskError> = me.ask(News::Ask).no_timeout().await;
            drop(write);
        });
        settle().await;
        let News::Ask(reply) = news(&mut lane).await else { panic!("it asks") };
        let answers = lane_that(async move |_| {
            laneway::sleep(Duration::from_secs(1)).await;
            assert_eq!(reply.send(1), Ok(()));
        });
        assert_eq!(lock.waiting(), 1);
        drop(lock.read().await.expect("who is before it leaves"));
        drop(held);
        laneway::join(keeps.id()).await;
        laneway::join(answers.id()).await;
        assert_eq!(deadlocks(), 0);
        // The same of one whose wait in line has an end.
        let held = lock.read().await.expect("nobody has it");
        let theirs = lock.clone();
        lane_that(async move |_| either(theirs.write(), laneway::sleep(Duration::from_secs(1))).await);
        settle().await;
        assert_eq!(lock.waiting(), 1);
        drop(lock.read().await.expect("who is before it leaves"));
        drop(held);
        assert_eq!(deadlocks(), 0);
    });
}

#[test]
fn nothing_is_claimed_of_permits_and_the_graph_shows_who_has_them() {
    test(async |lane: Lane<News>| {
        let (permits, me) = (Arc::new(Semaphore::new(2)), lane.id());
        let line = line!() + 1;
        let held = permits.acquire_many(2).await.expect("they are free");
        let theirs = permits.clone();
        let first = lane_that(async move |_| drop(theirs.acquire_many(2).await.expect("they come back")));
        settle().await;
        let theirs = permits.clone();
        let second = lane_that(async move |_| drop(theirs.acquire().await.expect("it comes back")));
        settle().await;
        let graph = Handle::current().expect("a runtime").wait_graph();
        let edges: Vec<_> = graph.waits().iter().map(|wait| (wait.lane, wait.awaits, wait.of, wait.alone)).collect();
        let expected = [(first.id(), Some(me)), (second.id(), Some(me)), (second.id(), Some(first.id()))];
        for (lane, of) in expected {
            assert!(edges.contains(&(lane, Awaits::Permits, of, false)), "{graph}");
        }
        assert_eq!(edges.len(), 3, "{graph}");
        assert!(
            graph.to_string().contains(&format!("awaits permits of lane {me}, taken at {}:{line}:", file!())),
            "{graph}"
        );
        // One that waits for what it has itself waits for somebody to add more.
        let adds = permits.clone();
        lane_that(async move |_| {
            laneway::sleep(Duration::from_secs(1)).await;
            adds.add_permits(5);
        });
        assert!(permits.acquire().await.is_ok());
        drop(held);
        assert_eq!(deadlocks(), 0);
    });
}

#[test]
fn the_graph_shows_all_who_are_in_the_way_of_a_writer_and_of_a_reader() {
    test(async |_: Lane<News>| {
        let lock = shared();
        let readers = [(); 3].map(|()| reads_for_a_second(&lock).id());
        settle().await;
        let theirs = lock.clone();
        let writer = Spawn::new().name("writer").spawn(async move |_: Lane<()>| drop(theirs.write().await));
        let writer = writer.expect("a lane").id();
        settle().await;
        let theirs = lock.clone();
        let behind = lane_that(async move |_| drop(theirs.read().await)).id();
        settle().await;
        let graph = Handle::current().expect("a runtime").wait_graph();
        let edges: Vec<_> = graph.waits().iter().map(|wait| (wait.lane, wait.awaits, wait.of, wait.alone)).collect();
        for reader in readers {
            assert!(edges.contains(&(writer, Awaits::Write, Some(reader), true)), "{graph}");
        }
        assert!(edges.contains(&(behind, Awaits::Read, Some(writer), true)) && edges.len() == 4, "{graph}");
        let (text, dot) = (graph.to_string(), graph.to_dot());
        let words =
            format!("lane {writer} \"writer\" awaits the read-write lock, to write, of lane {}, taken at", readers[0]);
        assert!(text.contains(&words) && text.contains(", which is before it in line since "), "{text}");
        let arrow = format!("\"{writer}\" -> \"{}\" [label=\"the read-write lock, to write\\n{}", readers[1], file!());
        assert!(dot.contains(&arrow), "{dot}");
        // So many have it that the graph does not show all.
        let many = shared();
        (0..100).for_each(|_| _ = reads_for_a_second(&many));
        settle().await;
        let theirs = many.clone();
        let writer = lane_that(async move |_| drop(theirs.write().await)).id();
        settle().await;
        let graph = Handle::current().expect("a runtime").wait_graph();
        let shown = graph.waits().iter().filter(|wait| wait.lane == writer).count();
        assert_eq!(shown, WaitGraph::MOST_OF_ONE, "{graph}");
        assert_eq!((many.holders().len(), deadlocks()), (100, 0));
    });
}
