//! An account of memory: a lane that charges, credits and ends, while others free what it has left with them.
//!
//! Who has the account next reads, `Relaxed`, what the lane wrote last, and writes over what others knew of it.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::explore;
use crate::alloc::balance::{Balance, Credited};

struct Account {
    balance: Balance,
    /// Written by the lane, and by each who frees, before he does: nobody may have to do with it later.
    written: [AtomicU64; 3],
    owners: AtomicUsize,
}

impl Account {
    /// As `Budget::new`.
    fn open() -> Arc<Account> {
        let balance = Balance::new();
        balance.open(0);
        let written = std::array::from_fn(|_| AtomicU64::new(0));
        Arc::new(Account { balance, written, owners: AtomicUsize::new(0) })
    }

    /// As `Account::credit` on another thread.
    fn freer(account: &Arc<Account>, number: usize, size: u64) -> thread::JoinHandle<()> {
        let account = account.clone();
        thread::spawn(move || {
            account.written[number].store(1, Relaxed);
            if account.balance.credit_elsewhere(size) == Credited::Last {
                account.is_ours();
            }
        })
    }

    /// As `Account::give_back`, and what the next owner does.
    fn is_ours(&self) {
        assert_eq!(self.owners.fetch_add(1, Relaxed), 0, "the account is had by two");
        assert!(self.written.iter().all(|written| written.load(Relaxed) == 1), "somebody still knows of it");
        self.balance.open(0);
        assert_eq!(self.balance.sum(), 0);
    }
}

#[test]
fn an_account_is_free_once_when_the_last_block_is() {
    explore(|| {
        let account = Account::open();
        account.balance.charge(6);
        let freers = [Account::freer(&account, 1, 1), Account::freer(&account, 2, 2)];
        account.balance.credit_here(3);
        account.written[0].store(1, Relaxed);
        if account.balance.close() == 0 {
            account.is_ours();
        }
        for freer in freers {
            freer.join().unwrap();
        }
        assert_eq!(account.owners.load(Relaxed), 1);
    });
}

/// The slot's account: nobody gives it to the next tenant, who looks whether it is nobody's.
#[test]
fn the_next_tenant_has_the_account_only_when_nobody_knows_of_it_any_more() {
    explore(|| {
        let account = Account::open();
        account.balance.charge(6);
        let frees = |number: usize, size| {
            let account = account.clone();
            thread::spawn(move || {
                account.written[number].store(1, Relaxed);
                // Where it was the last, the account is left as it is.
                account.balance.credit_elsewhere(size);
            })
        };
        let freers = [frees(1, 1), frees(2, 2)];
        account.balance.credit_here(3);
        account.written[0].store(1, Relaxed);
        let left = account.balance.close();
        assert!(left <= 3);
        // The slot is handed on.
        let next = account.clone();
        let next = thread::spawn(move || {
            if next.balance.is_nobodys() {
                assert!(next.written.iter().all(|written| written.load(Relaxed) == 1), "somebody knows of it");
                next.balance.open(5);
                assert_eq!(next.balance.close(), 5);
            }
        });
        freers.into_iter().for_each(|freer| freer.join().unwrap());
        next.join().unwrap();
    });
}

#[test]
fn no_credit_is_lost_while_the_lane_settles() {
    explore(|| {
        let account = Account::open();
        account.balance.charge(10);
        let freers = [Account::freer(&account, 1, 1), Account::freer(&account, 2, 2)];
        let settled = account.balance.settle();
        assert!([7, 8, 9, 10].contains(&settled));
        for freer in freers {
            freer.join().unwrap();
        }
        assert_eq!((account.balance.settle(), account.balance.sum()), (7, 7));
        assert_eq!(account.owners.load(Relaxed), 0);
    });
}
