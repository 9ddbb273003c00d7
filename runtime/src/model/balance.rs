//! An account of memory: a lane that charges, credits and ends, while others free what it has left with them.
//!
//! Who has the account next reads, `Relaxed`, what the lane wrote last, and writes over what others knew of it.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::explore;
use crate::alloc::balance::Balance;

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
            if account.balance.credit_elsewhere(size) {
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
