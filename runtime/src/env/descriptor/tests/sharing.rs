//! Several ids that lead to one thing.

use std::io::{Read, Write};

use super::*;
use crate::env::reactor::Token;

#[test]
fn the_thing_closes_with_the_last_of_its_ids_whichever_that_is() {
    for last in 0..3 {
        let mut rig = Rig::new(1);
        let (first, mut theirs) = rig.stream(lane(1));
        let second = first.dup(Some(lane(2))).unwrap();
        let third = second.dup(None).unwrap();
        let fd = first.raw_fd();
        assert!(fd.is_some());
        let mut all = [Some(first), Some(second), Some(third)];
        for (closed, at) in (0..3).filter(|at| *at != last).enumerate() {
            let gone = all[at].take().unwrap();
            let id = gone.id();
            assert_eq!(gone.shared_by(), 3 - closed);
            drop(gone);
            assert_eq!(rig.table.lookup(id).unwrap_err(), StaleId(id));
        }
        let kept = all[last].take().unwrap();
        assert_eq!((kept.shared_by(), kept.raw_fd()), (1, fd));
        assert_eq!(rig.table.raw_fds(), [(kept.id(), fd.unwrap())]);
        // It works as before, events included.
        rig.settle();
        let mut buffer = [0; 8];
        assert!(kept.poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer).is_pending());
        kept.entry.slot(Direction::Read).leave(kept.waiter);
        theirs.write_all(b"still").unwrap();
        assert_eq!(rig.run(kept.read(&mut buffer)).unwrap(), 5);
        drop(kept);
        assert_eq!(theirs.read(&mut buffer).unwrap(), 0, "the end of the stream");
        let counts = rig.table.counts();
        assert_eq!((counts.opened, counts.duplicated, counts.closed, counts.open), (3, 2, 3, 0));
        assert_eq!(counts.close_errors, 0);
    }
}

#[test]
fn the_key_of_the_first_id_has_no_other_tenant_before_the_thing_closes() {
    let mut rig = Rig::new(1);
    let (first, mut theirs) = rig.stream(lane(1));
    let key = first.id().key();
    let second = first.dup(None).unwrap();
    drop(first);
    // Events still come under it.
    let (other, _peer) = rig.stream(lane(1));
    assert_ne!(other.id().key(), key);
    rig.settle();
    assert!(second.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0]).is_pending());
    second.entry.slot(Direction::Read).leave(second.waiter);
    theirs.write_all(b"x").unwrap();
    assert_eq!(rig.run(second.read(&mut [0; 8])).unwrap(), 1);
    let own = second.id().key();
    drop(second);
    // Both are free now, the second one's first.
    let again = rig.stream(lane(1)).0.into_id();
    let once_more = rig.stream(lane(1)).0.into_id();
    assert_eq!([again.key(), once_more.key()], [own, key]);
    assert_eq!(again.generation().get(), 2);
}

#[test]
fn one_reader_waits_by_whichever_id_and_a_second_is_busy() {
    let mut rig = Rig::new(1);
    let (first, mut theirs) = rig.idle_stream(lane(1));
    let second = first.dup(Some(lane(2))).unwrap();
    let (woken, waker) = counting_waker();
    let cx = &mut Context::from_waker(&waker);
    assert!(first.poll_read(cx, &mut [0; 8]).is_pending());
    assert!(matches!(second.poll_read(cx, &mut [0; 8]), Poll::Ready(Err(error)) if is_busy(&error)));
    // The other direction is free.
    assert!(matches!(second.poll_write(cx, b"x"), Poll::Ready(Ok(1))));
    theirs.write_all(b"y").unwrap();
    rig.turn_until(|| woken.get() == 1);
    // Whoever is first reads it.
    assert!(matches!(second.poll_read(cx, &mut [0; 8]), Poll::Ready(Ok(1))));
    assert!(first.poll_read(cx, &mut [0; 8]).is_pending());
}

#[test]
fn closing_an_id_wakes_who_waits_by_it_and_nobody_else() {
    let mut rig = Rig::new(1);
    let (first, mut theirs) = rig.idle_stream(lane(1));
    let second = first.dup(Some(lane(2))).unwrap();
    let by_first = rig.table.lookup(first.id()).unwrap();
    let (reader_woken, reader) = counting_waker();
    let cx = &mut Context::from_waker(&reader);
    assert!(by_first.poll_read(cx, &mut [0; 8]).is_pending());

    // Who waits by the first id goes on waiting.
    assert_eq!(rig.table.release_owner(lane(2)), ReleaseCount { descriptors: 1, errors: 0 });
    assert!(!second.is_open() && reader_woken.get() == 0);
    assert!(is_stale(&second.local_addr().unwrap_err(), second.id()));
    assert!(matches!(second.poll_write(cx, b"x"), Poll::Ready(Err(error)) if is_stale(&error, second.id())));
    theirs.write_all(b"x").unwrap();
    rig.turn_until(|| reader_woken.get() == 1);
    assert!(matches!(by_first.poll_read(cx, &mut [0; 8]), Poll::Ready(Ok(1))));

    // Who waits by the id that closes finds it stale, and leaves the place to others.
    let third = first.dup(Some(lane(3))).unwrap();
    assert!(by_first.poll_read(cx, &mut [0; 8]).is_pending());
    first.close_now().unwrap();
    assert_eq!(reader_woken.get(), 2);
    assert!(matches!(by_first.poll_read(cx, &mut [0; 8]), Poll::Ready(Err(error)) if is_stale(&error, first.id())));
    assert!(third.poll_read(cx, &mut [0; 8]).is_pending());
    theirs.write_all(b"z").unwrap();
    rig.turn_until(|| reader_woken.get() == 3);
}

#[test]
fn a_duplicate_of_what_is_closed_is_refused() {
    let mut rig = Rig::new(1);
    let (first, _theirs) = rig.stream(lane(1));
    let second = first.dup(None).unwrap();
    first.close_now().unwrap();
    assert!(is_stale(&first.dup(None).unwrap_err(), first.id()));
    assert_eq!(second.dup(Some(lane(2))).unwrap().shared_by(), 2);
    assert_eq!(rig.table.close_all(), ReleaseCount { descriptors: 1, errors: 0 });
    assert!(is_stale(&second.dup(None).unwrap_err(), second.id()));
    assert_eq!(rig.table.counts().open, 0);
}

#[test]
fn duplicates_move_to_another_driver_together() {
    let mut rig = Rig::new(2);
    let (first, mut theirs) = rig.idle_stream(lane(1));
    let second = first.dup(None).unwrap();
    first.close_now().unwrap();
    rig.table.rebind(second.id(), 1).unwrap();
    assert_eq!(rig.table.driver_of(second.id()), Ok(1));
    let (woken, waker) = counting_waker();
    assert!(second.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    theirs.write_all(b"x").unwrap();
    assert!(rig.turn(1, LIMIT) > 0);
    assert_eq!(woken.get(), 1);
}

#[test]
fn an_event_for_a_thing_reaches_it_under_its_first_token_alone() {
    let mut rig = Rig::new(1);
    let (first, _theirs) = rig.idle_stream(lane(1));
    let second = first.dup(None).unwrap();
    let deliver = |id| {
        let mut wakers = Vec::new();
        rig.table.deliver([(Token::of(id), Ready::READABLE)].into_iter(), &mut wakers)
    };
    assert_eq!(deliver(first.id()), 1);
    let id = first.id();
    first.close_now().unwrap();
    assert_eq!(deliver(id), 1);
    second.close_now().unwrap();
    assert_eq!(deliver(id), 0);
}

/// Threads that duplicate and close what others close: at the end nothing is open, and the thing closed once.
#[test]
fn duplicating_while_others_close_revives_nothing() {
    for _ in 0..200 {
        let mut rig = Rig::new(1);
        let (first, mut theirs) = rig.stream(lane(1));
        let table = &rig.table;
        let (first, made) = (&first, &AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(move || {
                    for _ in 0..10 {
                        let Ok(dup) = first.dup(None) else { break };
                        made.fetch_add(1, Ordering::Relaxed);
                        let Ok(of_dup) = dup.dup(Some(lane(2))) else { panic!("nobody else has it") };
                        made.fetch_add(1, Ordering::Relaxed);
                        drop(dup);
                        assert!(of_dup.is_open());
                    }
                });
            }
            first.close_now().unwrap();
        });
        let (counts, made) = (table.counts(), made.load(Ordering::Relaxed) as u64);
        assert_eq!((counts.open, counts.opened, counts.duplicated), (0, made + 1, made));
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    }
}
