//! Chunks between workers: nobody gets one that another has, nobody is refused below the limit, and nobody looks for ever for
//! room that is not there.

use std::collections::BTreeSet;
use std::sync::Mutex;

use loom::sync::Arc;
use loom::thread;

use super::explore;
use crate::vat::class::PAGE;
use crate::vat::stock::{Refused, Source, Stock};

/// Names, and who has pages, which only the stock's own steps order.
#[derive(Default)]
struct Names {
    last: Mutex<u32>,
    in_hands: Mutex<BTreeSet<u32>>,
}

impl Source<u32> for Names {
    fn map(&self, _: usize) -> Option<Vec<u32>> {
        let mut last = self.last.lock().unwrap();
        *last += 1;
        Some(vec![*last])
    }

    fn cool(&self, _: u32, _: u64) {}
}

struct Vat {
    names: Names,
    stock: Stock<u32>,
}

impl Vat {
    fn new(limit: u64) -> Arc<Vat> {
        Arc::new(Vat { names: Names::default(), stock: Stock::new(limit, limit, 2) })
    }

    fn take(&self, worker: usize, bytes: u64) -> Result<u32, Refused> {
        let chunk = self.stock.take(&self.names, Some(worker), bytes, false)?;
        assert!(self.names.in_hands.lock().unwrap().insert(chunk), "a chunk in two pairs of hands");
        let level = self.stock.level();
        assert!(level.resident <= self.stock.limit(), "{level:?}");
        Ok(chunk)
    }

    fn give(&self, worker: usize, chunk: u32, bytes: u64) {
        assert!(self.names.in_hands.lock().unwrap().remove(&chunk));
        self.stock.give(&self.names, Some(worker), chunk, bytes);
    }
}

/// One worker takes and gives a short chunk that is warm with it while another needs all there is but that.
#[test]
fn nobody_is_refused_what_is_there() {
    explore(|| {
        let vat = Vat::new(3 * PAGE);
        for chunk in [vat.take(0, PAGE).unwrap(), vat.take(0, PAGE).unwrap()] {
            vat.give(0, chunk, PAGE);
        }
        let other = {
            let vat = vat.clone();
            thread::spawn(move || {
                let chunk = vat.take(0, PAGE).expect("a page is left besides the other's two");
                vat.give(0, chunk, PAGE);
            })
        };
        let chunk = vat.take(1, 2 * PAGE).expect("two pages are left besides the other's one");
        vat.give(1, chunk, 2 * PAGE);
        other.join().unwrap();
        let level = vat.stock.level();
        assert_eq!(level.used, 0);
        assert!(level.resident <= 3 * PAGE);
    });
}

/// Two who want the last pages, in different lengths: one of them at least gets them.
#[test]
fn of_two_who_want_the_rest_one_gets_it() {
    explore(|| {
        let vat = Vat::new(2 * PAGE);
        let warm = vat.take(0, PAGE).unwrap();
        vat.give(0, warm, PAGE);
        let other = {
            let vat = vat.clone();
            thread::spawn(move || vat.take(0, PAGE))
        };
        let long = vat.take(1, 2 * PAGE);
        let short = other.join().unwrap();
        match (&long, &short) {
            (Ok(_), Err(Refused::Limit { available: 0 })) | (Err(Refused::Limit { available: PAGE }), Ok(_)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(vat.stock.level().used, if long.is_ok() { 2 * PAGE } else { PAGE });
    });
}
