//! Facts about the wheel, and a model that it is held against.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The values of what came out.
fn values<T>(out: Vec<Due<T>>) -> Vec<T> {
    let value = |due| match due {
        Due::Value(value) => value,
        Due::Owner(owner) => panic!("owner {owner} came out for a timer with a value"),
    };
    out.into_iter().map(value).collect()
}

/// Everything due at `now`, in one go.
fn fire<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<T> {
    let mut expired = Vec::new();
    assert!(!wheel.advance(now, usize::MAX, &mut expired), "stopped before the limit");
    values(expired)
}

#[test]
fn a_new_wheel_allocates_nothing_and_is_empty() {
    let mut wheel = Wheel::<u8>::new(5);
    assert!(wheel.is_empty());
    assert_eq!(wheel.next_expiry(), None);
    assert_eq!(fire(&mut wheel, u64::MAX), []);
    assert_eq!((wheel.lists.capacity(), wheel.entries.capacity(), wheel.owners.capacity()), (0, 0, 0));
}

#[test]
fn two_entries_fit_a_cache_line() {
    assert_eq!(size_of::<Entry>(), 32);
    assert_eq!(size_of::<Option<TimerKey>>(), 8);
}

#[test]
fn a_timer_fires_at_its_tick_and_not_before_at_every_distance() {
    for start in [0, 1, 63, 64, 4_095, 1 << 40, u64::MAX / 2] {
        for bits in 0..63 {
            for distance in [1u64 << bits, (1 << bits) + 1, (2 << bits) - 1] {
                let Some(deadline) = u64::checked_add(start, distance) else { continue };
                let mut wheel = Wheel::new(start);
                wheel.insert(deadline, None, ());
                assert_eq!(fire(&mut wheel, deadline - 1), [], "{start} + {distance}");
                assert_eq!(fire(&mut wheel, deadline), [()], "{start} + {distance}");
                assert!(wheel.is_empty());
            }
        }
    }
}

#[test]
fn the_last_tick_of_all_is_a_deadline_like_any_other() {
    let mut wheel = Wheel::new(0);
    wheel.insert(u64::MAX, None, "never");
    wheel.insert(u64::MAX - 1, None, "hardly");
    assert_eq!(fire(&mut wheel, u64::MAX - 1), ["hardly"]);
    assert_eq!(wheel.next_expiry(), Some(u64::MAX));
    assert_eq!(fire(&mut wheel, u64::MAX), ["never"]);
    wheel.insert(u64::MAX, None, "again");
    assert_eq!(fire(&mut wheel, u64::MAX), ["again"]);
}

#[test]
fn a_past_deadline_fires_at_the_next_advance() {
    let mut wheel = Wheel::new(100);
    wheel.insert(100, None, "now");
    wheel.insert(3, None, "past");
    assert_eq!(wheel.next_expiry(), Some(100));
    assert_eq!(fire(&mut wheel, 100), ["now", "past"]);
}

#[test]
fn time_that_goes_backwards_stands_still() {
    let mut wheel = Wheel::new(70);
    wheel.insert(100, None, "late");
    wheel.insert(70, None, "due");
    assert_eq!(fire(&mut wheel, 10), ["due"]);
    assert_eq!(wheel.next_expiry(), Some(100));
    assert_eq!(fire(&mut wheel, 99), Vec::<&str>::new());
    assert_eq!(fire(&mut wheel, 100), ["late"]);
}

#[test]
fn equal_deadlines_fire_in_the_order_of_insertion_even_when_set_at_different_levels() {
    let mut wheel = Wheel::new(0);
    let deadline = 5_000_000;
    for (order, now) in [0, 1, 4_000_000, 4_999_000, 4_999_990, 4_999_999].into_iter().enumerate() {
        assert_eq!(fire(&mut wheel, now), []);
        wheel.insert(deadline, None, order);
    }
    assert_eq!(fire(&mut wheel, deadline + 1), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_lone_timer_is_announced_exactly_however_far() {
    for deadline in [1, 64, 70, 5_000, 1 << 50, u64::MAX] {
        let mut wheel = Wheel::new(0);
        wheel.insert(deadline, None, ());
        assert_eq!(wheel.next_expiry(), Some(deadline));
    }
}

#[test]
fn following_next_expiry_reaches_a_timer_in_a_step_a_level() {
    let deadline = 0x0fed_cba9_8765_4321;
    let mut wheel = Wheel::new(0);
    wheel.insert(deadline, None, 1);
    wheel.insert(deadline, None, 2);
    let mut steps = 0;
    loop {
        steps += 1;
        let next = wheel.next_expiry().expect("two timers are set");
        assert!(next <= deadline);
        let fired = fire(&mut wheel, next);
        if next == deadline {
            assert_eq!(fired, [1, 2]);
            break;
        }
        assert_eq!(fired, [], "early, at {next}");
    }
    assert!(steps <= LEVELS, "{steps} steps");
}

#[test]
fn a_cancelled_timer_is_handed_back_once_and_never_fires() {
    let mut wheel = Wheel::new(0);
    let key = wheel.insert(10, None, "a");
    let other = wheel.insert(10, None, "b");
    assert_eq!(wheel.deadline_of(key), Some(10));
    assert_eq!(wheel.cancel(key), Some((10, Due::Value("a"))));
    assert_eq!(wheel.cancel(key), None);
    assert_eq!(wheel.deadline_of(key), None);
    assert_eq!(wheel.len(), 1);
    assert_eq!(fire(&mut wheel, 10), ["b"]);
    assert_eq!(wheel.cancel(other), None);
}

#[test]
fn the_last_timer_of_a_slot_takes_its_announcement_along() {
    let mut wheel = Wheel::new(0);
    let keys = [5, 100, 100, 1 << 30].map(|deadline| wheel.insert(deadline, None, ()));
    assert_eq!(wheel.next_expiry(), Some(5));
    wheel.cancel(keys[0]);
    assert_eq!(wheel.next_expiry(), Some(64), "where the slot of two begins");
    wheel.cancel(keys[1]);
    assert_eq!(wheel.next_expiry(), Some(100));
    wheel.cancel(keys[2]);
    assert_eq!(wheel.next_expiry(), Some(1 << 30));
    wheel.cancel(keys[3]);
    assert_eq!(wheel.next_expiry(), None);
}

#[test]
fn an_old_key_does_not_reach_the_next_tenant_of_its_entry() {
    let mut wheel = Wheel::new(0);
    let old = wheel.insert(10, None, "old");
    wheel.cancel(old);
    let new = wheel.insert(10, None, "new");
    assert_eq!(new.index, old.index);
    assert_ne!(new, old);
    assert_eq!(wheel.cancel(old), None);
    assert_eq!(wheel.cancel(new), Some((10, Due::Value("new"))));
}

#[test]
fn a_key_of_an_entry_that_never_was_names_nothing() {
    let mut wheel = Wheel::<()>::new(0);
    assert_eq!(wheel.cancel(TimerKey::from_bits(u64::MAX).unwrap()), None);
    assert_eq!(wheel.deadline_of(TimerKey::from_bits(1 << 32).unwrap()), None);
}

#[test]
fn an_entry_without_generations_left_is_retired() {
    let mut wheel = Wheel::new(0);
    let key = wheel.insert(1, None, ());
    wheel.cancel(key);
    wheel.entries[0].generation = u32::MAX;
    let last = wheel.insert(1, None, ());
    assert_eq!((last.index, last.generation), (0, NonZeroU32::MAX));
    assert_eq!(fire(&mut wheel, 1), [()]);
    assert_eq!(wheel.cancel(last), None);
    assert_eq!(wheel.insert(2, None, ()).index, 1, "a fresh entry, not the retired one");
    assert_eq!(wheel.deadline_of(last), None);
}

#[test]
fn key_and_bits_are_inverse_and_generation_0_is_no_key() {
    let key = TimerKey { index: 7, generation: NonZeroU32::new(9).unwrap() };
    assert_eq!(key.to_bits(), 7 | 9 << 32);
    assert_eq!(TimerKey::from_bits(key.to_bits()), Some(key));
    assert_eq!(TimerKey::from_bits(u64::from(u32::MAX)), None);
}

#[test]
fn an_owner_loses_all_its_timers_and_nobody_else_does() {
    let mut wheel = Wheel::new(0);
    let mine: Vec<_> = [10, 1_000_000, 10, 0].into_iter().map(|at| wheel.insert(at, Some(3), at)).collect();
    wheel.insert(10, Some(0), 77);
    wheel.insert(10, None, 88);
    wheel.cancel(mine[2]);
    assert_eq!(wheel.owned(3).collect::<Vec<_>>(), [(mine[3], 0), (mine[1], 1_000_000), (mine[0], 10)]);
    let mut released = Vec::new();
    assert_eq!(wheel.release_owner(3, 2, &mut released), 2);
    assert_eq!(wheel.owned_by(3), 1);
    assert_eq!(wheel.release_owner(3, 2, &mut released), 1);
    assert_eq!(wheel.release_owner(3, 2, &mut released), 0);
    assert_eq!(wheel.release_owner(4_000_000, 2, &mut released), 0, "an owner that never had one");
    assert_eq!(values(released), [0, 1_000_000, 10]);
    assert_eq!((wheel.owned_by(3), wheel.owned_by(0), wheel.len()), (0, 1, 2));
    assert_eq!(fire(&mut wheel, 10), [77, 88]);
    assert_eq!(wheel.owned_by(0), 0);
}

#[test]
#[should_panic(expected = "no owner has the number")]
fn the_owner_number_that_means_none_is_refused() {
    Wheel::new(0).insert(1, Some(u32::MAX), ());
}

#[test]
#[should_panic(expected = "a limit of 0")]
fn a_limit_of_nothing_is_refused() {
    let _ = Wheel::<()>::new(0).advance(1, 0, &mut Vec::new());
}

#[test]
fn a_cascade_may_be_interrupted_cancelled_and_joined_without_anyone_overtaking() {
    let mut wheel = Wheel::new(0);
    let first = wheel.insert(100, None, "first");
    wheel.insert(90, None, "before");
    wheel.insert(100, None, "second");
    wheel.insert(127, None, "last of the slot");
    let mut expired = Vec::new();
    assert!(wheel.advance(1_000, 1, &mut expired), "one of four was moved");
    assert!(wheel.is_cascading());
    wheel.insert(100, None, "third");
    wheel.insert(127, None, "after the last");
    wheel.insert(1, None, "overdue");
    wheel.insert(200, None, "beyond the slot");
    assert_eq!(wheel.next_expiry(), Some(64));
    assert_eq!(wheel.cancel(first), Some((100, Due::Value("first"))));
    assert!(expired.is_empty());
    while wheel.advance(1_000, 1, &mut expired) {}
    let order = ["overdue", "before", "second", "third", "last of the slot", "after the last", "beyond the slot"];
    assert_eq!(values(expired), order);
}

#[test]
fn no_call_touches_more_timers_than_its_limit() {
    let mut wheel = Wheel::new(0);
    for n in 0..1_000 {
        wheel.insert(5_000, None, n);
    }
    let mut expired = Vec::new();
    let mut calls = 1;
    while wheel.advance(5_000, 10, &mut expired) {
        calls += 1;
        assert!(expired.len() <= 10 * calls);
    }
    // From level 2 to 1, to 0, to due, and out: each timer is touched three or four times.
    assert!((300..=400).contains(&calls), "{calls} calls");
    assert!(values(expired).into_iter().eq(0..1_000));
}

#[test]
fn entries_are_used_again() {
    let mut wheel = Wheel::new(0);
    for round in 0..100 {
        for n in 0..10 {
            wheel.insert(round * 100 + n, Some(n as u32), ());
        }
        assert_eq!(fire(&mut wheel, round * 100 + 50).len(), 10);
    }
    assert_eq!(wheel.entries.len(), 10);
}

#[test]
fn a_bare_timer_gives_out_its_owner_and_keeps_no_value() {
    let mut wheel = Wheel::<&str>::new(0);
    let bare = wheel.insert_bare(10, 7);
    wheel.insert(10, Some(7), "value");
    let cancelled = wheel.insert_bare(10, 8);
    assert_eq!(wheel.owned(7).last(), Some((bare, 10)));
    assert_eq!(wheel.cancel(cancelled), Some((10, Due::Owner(8))));
    let mut expired = Vec::new();
    assert!(!wheel.advance(10, usize::MAX, &mut expired));
    assert_eq!(expired, [Due::Owner(7), Due::Value("value")]);
    assert_eq!(wheel.owned_by(7), 0);
}

#[test]
fn timers_that_are_set_and_cancelled_leave_no_keys() {
    let mut wheel = Wheel::new(0);
    wheel.insert(5_000, None, 0);
    let mut last = Vec::new();
    for n in 0..10_000 {
        last.push(wheel.insert(5_000, None, n));
        if last.len() > 3 {
            wheel.cancel(last.remove(0));
        }
    }
    let room: usize = wheel.lists.iter().map(|list| list.keys().len()).sum();
    assert!(room <= 2 * wheel.len() + list::IDLE, "{room} keys of {} timers", wheel.len());
}

/// What can be done to a wheel. Distances are from the tick at which it stands.
#[derive(Clone, Debug)]
enum Op {
    Insert {
        distance: i64,
        owner: Option<u32>,
    },
    /// One of the keys there ever were.
    Cancel(prop::sample::Index),
    Advance {
        distance: i64,
        limit: usize,
    },
    /// To the tick that the wheel announces.
    Follow,
    Release {
        owner: u32,
        limit: usize,
    },
}

/// From a tick to some million years, each magnitude as likely as the next.
fn distance() -> impl Strategy<Value = u64> {
    (0u32..62, any::<u64>()).prop_map(|(bits, noise)| noise & ((1 << bits) - 1))
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..8, Just(usize::MAX)]
}

fn op() -> impl Strategy<Value = Op> {
    // Short ones come up more often than `distance` has them, so that slots are shared.
    let near = || prop_oneof![-20i64..200, -20i64..10_000, distance().prop_map(|far| far as i64)];
    prop_oneof![
        8 => (near(), prop::option::of(0u32..4)).prop_map(|(distance, owner)| Op::Insert { distance, owner }),
        3 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        2 => (near(), limit()).prop_map(|(distance, limit)| Op::Advance { distance, limit }),
        2 => Just(Op::Follow),
        1 => (0u32..4, limit()).prop_map(|(owner, limit)| Op::Release { owner, limit }),
    ]
}

struct Timer {
    key: TimerKey,
    deadline: u64,
    owner: Option<u32>,
}

/// The wheel as a sorted map: by the tick from which a timer can fire, then by its number, which is the wheel's value.
#[derive(Default)]
struct Model {
    set: BTreeMap<(u64, usize), Timer>,
    /// Every key there ever was, and where in `set` it stands or stood.
    keys: Vec<(TimerKey, (u64, usize))>,
}

impl Model {
    /// The values due at `now`, in their order.
    fn due(&self, now: u64) -> Vec<usize> {
        self.set.range(..=(now, usize::MAX)).map(|((_, number), _)| *number).collect()
    }

    fn remove(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.set.remove(&self.keys[*number].1).expect("what came out was set");
        }
    }

    fn newest_first(&self, owner: u32) -> Vec<(usize, &Timer)> {
        let mut owned: Vec<_> =
            self.set.iter().filter(|(_, t)| t.owner == Some(owner)).map(|((_, number), t)| (*number, t)).collect();
        owned.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        owned
    }

    /// All that can be seen of the wheel from outside, and the bitmaps against the lists.
    fn check(&self, wheel: &Wheel<usize>) {
        assert_eq!(wheel.len(), self.set.len());
        assert_eq!(wheel.is_empty(), self.set.is_empty());
        match self.set.first_key_value() {
            None => assert_eq!(wheel.next_expiry(), None),
            Some(((first, _), _)) => {
                let next = wheel.next_expiry().expect("a timer is set");
                assert!(wheel.elapsed <= next && next <= *first, "{} <= {next} <= {first}", wheel.elapsed);
            }
        }
        for timer in self.set.values() {
            assert_eq!(wheel.deadline_of(timer.key), Some(timer.deadline));
        }
        for owner in 0..4 {
            let owned: Vec<_> = self.newest_first(owner).into_iter().map(|(_, t)| (t.key, t.deadline)).collect();
            assert_eq!(wheel.owned_by(owner), owned.len());
            assert_eq!(wheel.owned(owner).collect::<Vec<_>>(), owned);
        }
        let mut on_lists = 0;
        for (list, keys) in wheel.lists.iter().enumerate() {
            assert_eq!(wheel.has_any(list), !keys.is_empty(), "list {list}");
            let mut set = 0;
            for entry in keys.keys().iter().filter_map(|key| wheel.entry(*key)) {
                assert_eq!(wheel.moved_to(entry.list), list, "deadline {}", entry.deadline);
                if list == CASCADING {
                    assert!(entry.deadline <= wheel.cascade_end);
                } else {
                    assert_eq!(list, wheel.list_for(entry.deadline), "deadline {}", entry.deadline);
                }
                set += 1;
            }
            assert_eq!(set == 0, keys.keys().is_empty(), "list {list}");
            assert!(keys.keys().len() <= 2 * set + list::IDLE, "list {list}: {set} of {}", keys.keys().len());
            on_lists += set;
        }
        assert_eq!(on_lists, self.set.len());
        for row in 0..=LEVELS {
            assert_eq!(wheel.rows & (1 << row) != 0, wheel.occupied[row] != 0, "row {row}");
        }
    }
}

proptest! {
    #[test]
    fn the_wheel_does_what_a_sorted_map_does(start in prop_oneof![Just(0), distance()],
        ops in prop::collection::vec(op(), 1..120)) {
        let mut wheel = Wheel::new(start);
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Insert { distance, owner } => {
                    let deadline = wheel.elapsed.saturating_add_signed(distance);
                    let at = (deadline.max(wheel.elapsed), model.keys.len());
                    let key = wheel.insert(deadline, owner, at.1);
                    prop_assert!(model.keys.iter().all(|(old, _)| *old != key), "a key was given twice");
                    model.keys.push((key, at));
                    model.set.insert(at, Timer { key, deadline, owner });
                }
                Op::Cancel(which) => {
                    if !model.keys.is_empty() {
                        let (key, at) = model.keys[which.index(model.keys.len())];
                        let expected = model.set.remove(&at).map(|timer| (timer.deadline, Due::Value(at.1)));
                        prop_assert_eq!(wheel.cancel(key), expected);
                    }
                }
                Op::Advance { distance, limit } => {
                    let now = wheel.elapsed.saturating_add_signed(distance);
                    let stands_at = now.max(wheel.elapsed);
                    let due = model.due(stands_at);
                    let mut expired = Vec::new();
                    let more = wheel.advance(now, limit, &mut expired);
                    let expired = values(expired);
                    prop_assert!(expired.len() <= limit);
                    prop_assert!(due.starts_with(&expired), "{:?} is no beginning of {:?}", expired, due);
                    prop_assert!(wheel.elapsed <= stands_at);
                    if !more {
                        prop_assert_eq!(expired.len(), due.len());
                        prop_assert_eq!(wheel.elapsed, stands_at);
                    }
                    model.remove(&expired);
                }
                Op::Follow => {
                    if let Some(next) = wheel.next_expiry() {
                        let due = model.due(next);
                        let expired = fire(&mut wheel, next);
                        prop_assert_eq!(&expired, &due);
                        prop_assert_eq!(wheel.elapsed, next);
                        model.remove(&expired);
                        // A clock that jumps from one announcement to the next must get on.
                        prop_assert!(wheel.next_expiry().is_none_or(|after| after > next));
                    }
                }
                Op::Release { owner, limit } => {
                    let mut owned: Vec<_> = model.newest_first(owner).into_iter().map(|(number, _)| number).collect();
                    owned.truncate(limit);
                    let mut released = Vec::new();
                    prop_assert_eq!(wheel.release_owner(owner, limit, &mut released), owned.len());
                    let released = values(released);
                    prop_assert_eq!(&released, &owned);
                    model.remove(&released);
                }
            }
            model.check(&wheel);
        }
        let due = model.due(u64::MAX);
        prop_assert_eq!(fire(&mut wheel, u64::MAX), due);
        prop_assert!(wheel.is_empty());
    }
}
