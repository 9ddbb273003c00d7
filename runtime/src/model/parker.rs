//! The hand-shake of one sleeper with its wakers, on the condition variable and in a driver.
//!
//! A sleeper that sleeps for ever is what loom calls a deadlock.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::thread;

use super::explore;
use crate::env::Unparker;
use crate::sched::parker::Parker;

struct Place {
    parker: Parker,
    drivers: [Unparker; 2],
    news: [AtomicBool; 2],
}

impl Place {
    fn new() -> Arc<Place> {
        Arc::new(Place {
            parker: Parker::default(),
            drivers: [Unparker::default(), Unparker::default()],
            news: [AtomicBool::new(false), AtomicBool::new(false)],
        })
    }

    fn waker(place: &Arc<Place>, news: usize) -> thread::JoinHandle<()> {
        let place = place.clone();
        thread::spawn(move || {
            place.news[news].store(true, Relaxed);
            place.parker.unpark(&place.drivers);
        })
    }

    fn has_all_news(&self) -> bool {
        self.news.iter().all(|news| news.load(Relaxed))
    }

    fn park_in(&self, driver: usize) {
        self.parker.park_in(driver, || self.drivers[driver].wait());
    }
}

#[test]
fn no_unpark_is_lost_on_the_condition_variable() {
    explore(|| {
        let place = Place::new();
        let wakers = [0, 1].map(|news| Place::waker(&place, news));
        while !place.has_all_news() {
            place.parker.park();
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}

#[test]
fn no_unpark_is_lost_in_a_driver() {
    explore(|| {
        let place = Place::new();
        let wakers = [0, 1].map(|news| Place::waker(&place, news));
        while !place.has_all_news() {
            place.park_in(1);
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}

#[test]
fn no_unpark_is_lost_by_a_sleeper_that_changes_its_place() {
    explore(|| {
        let place = Place::new();
        let wakers = [0, 1].map(|news| Place::waker(&place, news));
        for park in 0_usize.. {
            if place.has_all_news() {
                break;
            }
            match park % 3 {
                0 => place.park_in(0),
                1 => place.parker.park(),
                _ => place.park_in(1),
            }
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}
