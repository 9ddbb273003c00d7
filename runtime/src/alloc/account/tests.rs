use super::*;

#[test]
fn the_first_that_passes_the_limit_is_noted() {
    let budget = Budget::new(100, 10);
    let account = budget.account();
    charge(Some(account));
    account.charge(90);
    assert_eq!((account.used(), account.overrun()), (100, None));
    account.charge(7);
    account.charge(8);
    account.credit(105);
    charge(None);
    assert_eq!(account.overrun(), Some(ExitReason::OutOfMemory { budget: 100, requested: 7 }));
    assert_eq!(budget.close(), 0);
}

#[test]
fn what_others_have_freed_is_room_again() {
    let budget = Budget::new(100, 0);
    let account = budget.account();
    for _ in 0..10 {
        account.charge(80);
        std::thread::scope(|threads| _ = threads.spawn(|| account.credit(80)));
        assert_eq!((account.used(), account.overrun()), (0, None));
    }
    assert_eq!(budget.close(), 0);
}

#[test]
fn an_account_begins_anew() {
    let first = Budget::new(10, 20);
    assert!(first.account().overrun().is_some());
    drop(first);
    let budgets: Vec<_> = (0..100).map(|_| Budget::new(30, 20)).collect();
    assert!(budgets.iter().all(|budget| budget.account().overrun().is_none() && budget.account().used() == 20));
}

#[test]
fn nobody_pays_for_what_is_for_all_also_where_it_panics() {
    let budget = Budget::new(10, 0);
    charge(Some(budget.account()));
    let inside = std::panic::catch_unwind(|| {
        uncharged(|| {
            assert!(charged().is_none());
            std::panic::panic_any(7);
        });
    });
    assert!(inside.is_err() && charged().is_some());
    charge(None);
}

#[test]
fn a_charge_that_does_not_fit_to_the_byte_is_refused_and_not_made() {
    let budget = Budget::new(100, 10);
    let account = budget.account();
    charge(Some(account));
    assert_eq!(account.try_charge(91), Err(Overrun { requested: 91, used: 10, limit: 100 }));
    assert_eq!((account.try_charge(90), account.used()), (Ok(()), 100));
    assert_eq!(account.try_charge(1), Err(Overrun { requested: 1, used: 100, limit: 100 }));
    assert!(account.try_charge(u64::MAX).is_err());
    let boundless = Budget::new(u64::MAX, 0);
    assert!(boundless.account().try_charge(u64::MAX).is_err());
    assert_eq!(account.try_charge(0), Ok(()));
    // What another frees is room at once.
    std::thread::scope(|threads| _ = threads.spawn(|| account.credit(40)));
    assert_eq!(account.try_charge(41), Err(Overrun { requested: 41, used: 60, limit: 100 }));
    assert_eq!((account.try_charge(40), account.used()), (Ok(()), 100));
    assert_eq!(account.overrun(), None, "what is refused is no overrun");
    // What passed the limit otherwise leaves no room.
    account.charge(50);
    assert_eq!(account.try_charge(0), Err(Overrun { requested: 0, used: 150, limit: 100 }));
    account.credit(140);
    charge(None);
    assert_eq!(budget.close(), 0);
}
