//! What one thread can see of the word.

use super::*;

fn bound(bound: u32) -> impl Fn() -> Weight {
    move || Weight::Counted { bound }
}

/// The word of a lane of generation 1 that has had its first turn and waits for mail.
fn parked() -> LaneWord {
    let word = LaneWord::new();
    word.open(1);
    let _ = word.transition_to_running();
    assert_eq!(word.transition_to_idle(true), OnIdle::Parked);
    word
}

#[test]
fn a_zeroed_word_is_dead_and_schedules_nobody() {
    let word = LaneWord(AtomicU64::new(0));
    assert!(!word.is_live(0));
    assert_eq!((word.generation(), word.next_generation()), (0, 0));
    assert_eq!(word.wake(), OnWake::Stale);
    assert_eq!(word.kill(1), OnWake::Stale);
    assert_eq!(word.push(1, 5, bound(9), |_| ()), Err(Refused::Stale));
    assert!(!word.transition_to_awaited(1) && !word.transition_to_awaited(u16::MAX));
}

#[test]
fn a_push_under_another_generation_is_refused() {
    let word = parked();
    assert_eq!(word.push(2, 5, bound(9), |_| ()), Err(Refused::Stale));
    assert_eq!(word.push(1, 5, bound(9), |_| ()), Ok(Pushed::Schedule));
    assert!(!word.is_past(1));
    let _ = word.transition_to_running();
    assert_eq!(word.push(1, 6, bound(9), |next| assert_eq!(next, EMPTY)), Ok(Pushed::Nothing));
    assert_eq!(word.close(2).head, 6);
    assert!(word.is_past(1) && !word.is_past(2));
    assert_eq!(word.push(1, 6, bound(9), |_| ()), Err(Refused::Stale));
    assert!(word.is_live(1), "it is ending");
    assert!(!word.transition_to_dead());
    assert!(!word.is_live(1));
    assert_eq!(word.push(2, 6, bound(9), |_| ()), Err(Refused::Stale), "closed until it is opened");
    word.open(2);
    assert_eq!(word.push(2, 6, bound(9), |_| ()), Ok(Pushed::Nothing), "who opened it queues it");
    assert!(word.is_past(1) && !word.is_past(2) && word.is_live(2));
}

#[test]
fn the_first_push_to_a_lane_that_waits_for_mail_schedules_it_and_is_taken_with_its_turn() {
    let word = parked();
    assert_eq!(word.push(1, 7, bound(9), |next| assert_eq!(next, EMPTY)), Ok(Pushed::Schedule));
    assert_eq!(word.push(1, 8, bound(9), |next| assert_eq!(next, 7)), Ok(Pushed::Nothing));
    let on = word.transition_to_running();
    assert!(!on.kill());
    assert!(matches!(on.taken(), Some(Taken { head: 8, count: 2, waiters: false, had_waited: true })));
    assert!(!word.has_mail());
}

#[test]
fn a_lane_that_waits_for_something_else_is_left_alone_by_messages() {
    let word = parked();
    assert_eq!(word.wake(), OnWake::Schedule);
    assert!(word.transition_to_running().taken().is_none(), "there was nothing");
    // The wish for mail stands until mail comes.
    assert_eq!(word.transition_to_idle(false), OnIdle::Parked);
    assert_eq!(word.push(1, 7, bound(9), |_| ()), Ok(Pushed::Schedule));
    assert_eq!(word.transition_to_running().taken().unwrap().head, 7);
    assert_eq!(word.transition_to_idle(false), OnIdle::Parked);
    assert_eq!(word.push(1, 8, bound(9), |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.wake(), OnWake::Schedule);
    assert!(word.transition_to_running().taken().is_none(), "nobody has asked for it");
    assert_eq!(word.take(true).head, 8);
}

#[test]
fn mail_that_came_during_the_turn_brings_another() {
    let word = parked();
    assert_eq!(word.wake(), OnWake::Schedule);
    let _ = word.transition_to_running();
    assert_eq!(word.push(1, 7, bound(9), |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.transition_to_idle(true), OnIdle::Schedule);
    assert_eq!(word.transition_to_running().taken().unwrap().head, 7);
}

#[test]
fn a_wake_while_running_queues_again() {
    let word = LaneWord::new();
    word.open(1);
    assert_eq!(word.wake(), OnWake::Nothing);
    let _ = word.transition_to_running();
    assert_eq!(word.wake(), OnWake::Nothing);
    assert_eq!(word.transition_to_idle(false), OnIdle::Schedule);
    let _ = word.transition_to_running();
    assert_eq!(word.transition_to_idle(false), OnIdle::Parked);
    assert_eq!(word.wake(), OnWake::Schedule);
}

#[test]
fn an_urgent_push_is_taken_though_nobody_waits_for_mail() {
    let word = LaneWord::new();
    word.open(1);
    let _ = word.transition_to_running();
    assert_eq!(word.transition_to_idle(false), OnIdle::Parked);
    assert_eq!(word.push(1, 7, || Weight::Exempt, |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.push(1, 8, || Weight::Urgent, |_| ()), Ok(Pushed::Schedule));
    assert!(matches!(
        word.transition_to_running().taken(),
        Some(Taken { head: 8, count: 0, waiters: false, had_waited: false })
    ));
    assert_eq!(word.transition_to_idle(false), OnIdle::Parked);
}

#[test]
fn a_kill_for_an_earlier_tenant_misses_and_one_for_the_ending_does_nothing() {
    let word = parked();
    assert_eq!(word.kill(2), OnWake::Stale);
    assert_eq!(word.kill(1), OnWake::Schedule);
    assert!(word.is_killed());
    let on = word.transition_to_running();
    assert!(on.kill() && on.taken().is_none());
    assert_eq!(word.close(2).head, EMPTY);
    assert_eq!((word.kill(1), word.kill(2), word.wake()), (OnWake::Nothing, OnWake::Stale, OnWake::Stale));
    assert!(word.transition_to_awaited(1) && !word.transition_to_awaited(2));
    assert!(word.transition_to_dead(), "somebody wants to hear of it");
    assert!(!word.transition_to_awaited(1));
    assert_eq!(word.next_generation(), 2);
}

#[test]
fn the_last_generation_ends_like_the_others() {
    let word = LaneWord(AtomicU64::new(u64::from(u16::MAX)));
    word.open(u16::MAX);
    let _ = word.transition_to_running();
    let _ = word.close(0);
    assert!(word.is_live(u16::MAX) && word.is_past(u16::MAX));
    assert!(word.transition_to_awaited(u16::MAX));
    assert!(word.transition_to_dead());
    assert!(!word.is_live(u16::MAX) && word.next_generation() == 0);
}

#[test]
fn the_bound_counts_messages_and_not_signals() {
    let word = parked();
    assert_eq!(word.push(1, 2, bound(1), |_| ()), Ok(Pushed::Schedule));
    assert_eq!(word.push(1, 3, || Weight::Exempt, |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.push(1, 4, bound(1), |_| ()), Err(Refused::Full));
    assert_eq!(word.transition_to_running().taken().unwrap().head, 3);
    assert_eq!(word.push(1, 4, bound(1), |_| ()), Ok(Pushed::Nothing));
}

#[test]
fn what_is_taken_for_its_signals_makes_no_room() {
    let word = LaneWord::new();
    word.open(1);
    let _ = word.transition_to_running();
    assert_eq!(word.push(1, 2, bound(1), |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.announce_waiter(1, 1), Announced::Waiting);
    assert!(matches!(word.take(false), Taken { head: 2, waiters: false, .. }));
    assert_eq!(word.push(1, 3, || Weight::Urgent, |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.transition_to_idle(false), OnIdle::Schedule);
    assert!(matches!(word.transition_to_running().taken(), Some(Taken { head: 3, waiters: false, .. })));
    word.no_more_waiters(1);
    assert_eq!(word.push(1, 4, bound(1), |_| ()), Err(Refused::Full));
    assert!(word.has_mail(), "the receiver has room to make");
    assert_eq!(word.take(true).head, EMPTY);
    assert_eq!(word.push(1, 4, bound(1), |_| ()), Ok(Pushed::Nothing));
    let _ = word.take(false);
    assert_eq!(word.transition_to_idle(true), OnIdle::Parked);
    assert_eq!(word.push(1, 5, bound(1), |_| ()), Ok(Pushed::Schedule), "who waits for mail has room");
}

#[test]
fn nobody_overtakes_a_waiter() {
    let word = parked();
    assert_eq!(word.announce_waiter(1, 1), Announced::Room);
    assert_eq!(word.push(1, 2, bound(1), |_| ()), Ok(Pushed::Schedule));
    assert_eq!(word.announce_waiter(1, 1), Announced::Waiting);
    assert!(word.transition_to_running().taken().unwrap().waiters);
    assert_eq!(word.push(1, 3, bound(1), |_| ()), Err(Refused::Full));
    assert_eq!(word.transition_to_idle(true), OnIdle::Schedule, "somebody waits to be let in");
    assert!(word.transition_to_running().taken().unwrap().waiters);
    word.no_more_waiters(1);
    assert_eq!(word.push(1, 3, bound(1), |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.announce_waiter(2, 1), Announced::Stale);
}

#[test]
fn an_unbounded_mailbox_outgrows_the_counter() {
    let word = parked();
    for node in 0..=MAX_BOUND + 1 {
        assert!(word.push(1, FIRST_NODE + node, bound(UNBOUNDED), |_| ()).is_ok());
    }
    assert_eq!(word.generation(), 1);
    assert!(!word.take(true).waiters);
}

fn pack(bound: u32, room: u32) -> impl Fn() -> Weight {
    move || Weight::Pack { bound, room }
}

#[test]
fn a_mailbox_ends_with_a_node_until_something_happens_to_it() {
    let word = parked();
    assert_eq!(word.push(1, 5, pack(6, 6), |_| ()), Ok(Pushed::Schedule));
    assert!(word.ends_with(1, 5) && !word.ends_with(1, 6) && !word.ends_with(2, 5));
    assert_eq!(word.announce_waiter(1, 6), Announced::Waiting);
    assert!(!word.ends_with(1, 5), "nobody overtakes those who wait");
    word.no_more_waiters(1);
    assert!(word.ends_with(1, 5));
    assert_eq!(word.push(1, 6, || Weight::Exempt, |_| ()), Ok(Pushed::Nothing));
    assert!(!word.ends_with(1, 5));
    let _ = word.take(false);
    assert!(!word.ends_with(1, 6));
    // What a closed word says of its next tenant could be the number of a node.
    assert_eq!(word.push(1, 2, || Weight::Exempt, |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.close(2).head, 2);
    assert!(!word.ends_with(1, 2) && !word.ends_with(2, 2));
    assert!(!word.transition_to_dead());
    word.open(2);
    assert_eq!(word.push(2, 2, || Weight::Exempt, |_| ()), Ok(Pushed::Nothing));
    assert!(!word.ends_with(1, 2) && word.ends_with(2, 2));
}

#[test]
fn a_pack_takes_its_places_and_none_where_there_are_not_so_many() {
    let word = parked();
    assert_eq!(word.push(1, 5, pack(10, 6), |_| ()), Ok(Pushed::Schedule));
    assert!(word.has_at_least(6) && !word.has_at_least(7));
    assert_eq!(word.push(1, 6, pack(11, 6), |_| ()), Err(Refused::Full));
    assert_eq!(word.push(1, 6, pack(12, 6), |_| ()), Ok(Pushed::Nothing));
    assert_eq!(word.push(1, 7, bound(12), |_| ()), Err(Refused::Full));
    assert_eq!(word.take(true).count, 12);
    for node in 1..=1000 {
        assert!(word.push(1, node, pack(UNBOUNDED, 6), |_| ()).is_ok());
    }
    assert_eq!(word.take(true).count, MAX_BOUND, "more cannot be counted");
}

#[test]
fn places_are_given_back_by_whom_is_last_and_while_they_count() {
    let word = parked();
    assert_eq!(word.push(1, 5, pack(6, 6), |_| ()), Ok(Pushed::Schedule));
    word.give_places_back(2, 5, 4);
    word.give_places_back(1, 6, 4);
    assert!(word.has_at_least(6), "they are not of that node");
    assert_eq!(word.announce_waiter(1, 6), Announced::Waiting);
    word.give_places_back(1, 5, 4);
    assert_eq!(word.push(1, 6, bound(6), |_| ()), Err(Refused::Full), "others wait");
    word.no_more_waiters(1);
    assert!(word.has_at_least(2) && !word.has_at_least(3));
    assert_eq!(word.push(1, 6, bound(6), |_| ()), Ok(Pushed::Nothing));
    word.give_places_back(1, 5, 2);
    assert_eq!(word.take(true).count, 3, "it was not last");
    word.give_places_back(1, 6, 1);
    assert_eq!(word.push(1, 5, pack(6, 6), |_| ()), Ok(Pushed::Nothing));
    // Only signals were wanted: the places still count, and the node is gone.
    assert_eq!(word.take(false).head, 5);
    word.give_places_back(1, 5, 4);
    assert_eq!(word.take(true).count, 6);
}
