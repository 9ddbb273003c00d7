//! A broadcast's ring and its line: who finds nothing and comes into line, while others send and tell only where somebody
//! waits.

use std::num::NonZeroU16;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::Mutex;
use loom::thread;

use super::explore;
use crate::id::{Id, Namespace};
use crate::shim::Unparker;
use crate::sync::broadcast::ring::{Next, Ring};
use crate::sync::crowd::{Count, raise};
use crate::wait_list::line::Line;
use crate::wait_list::{By, Party, Ticket};

/// A waker for which a thread can wait.
#[derive(Default)]
struct Woken(Unparker);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As `Shared`.
struct Channel {
    ring: Mutex<Ring<u32>>,
    news: Line<Count>,
}

impl Channel {
    fn new() -> Arc<Channel> {
        Arc::new(Channel { ring: Mutex::new(Ring::new(2)), news: Line::default() })
    }

    /// As `Sender::send`.
    fn send(&self, message: u32) {
        let (oldest, sent) = self.ring.lock().unwrap().push(message);
        assert!(oldest.is_none(), "there was room");
        if let Some(sent) = sent {
            raise(&self.news, sent);
        }
    }

    /// As the drop of the last `Sender`.
    fn end(&self) {
        self.ring.lock().unwrap().senders -= 1;
        raise(&self.news, u64::MAX);
    }

    /// As `Recv::poll`, until there is a message, or never will be.
    fn recv(&self, key: u32, next: &mut u64) -> Option<u32> {
        let by = By::Lane(Id::new(key, Namespace::new(1).expect("it is not 0"), NonZeroU16::MIN));
        let (woken, mut ticket) = (Arc::<Woken>::default(), None::<Ticket>);
        loop {
            let found = self.ring.lock().unwrap().take_or_await(next);
            match found {
                Next::Message(message) => {
                    if let Some(ticket) = ticket {
                        self.news.leave(ticket);
                    }
                    return Some(*message);
                }
                Next::Missed(count) => panic!("{count} were missed"),
                Next::Never => return None,
                Next::Nothing => {}
            }
            let party = Party { by, waker: Waker::from(woken.clone()), also: None, place: Location::caller() };
            match self.news.poll(&mut ticket, *next, party) {
                Poll::Ready(Ok(()) | Err(_)) => {}
                Poll::Pending => woken.0.wait(),
            }
        }
    }
}

#[test]
fn what_is_sent_wakes_all_who_found_nothing() {
    explore(|| {
        let channel = Channel::new();
        let receivers = [1, 2].map(|key| {
            let channel = channel.clone();
            let mut next = channel.ring.lock().unwrap().enter();
            thread::spawn(move || assert_eq!(channel.recv(key, &mut next), Some(7)))
        });
        channel.send(7);
        for receiver in receivers {
            receiver.join().unwrap();
        }
        assert_eq!((channel.ring.lock().unwrap().len(), channel.news.waiting()), (0, 0));
    });
}

#[test]
fn of_two_who_send_at_once_one_may_tell_of_both_and_the_end_is_told() {
    explore(|| {
        let channel = Channel::new();
        let mut next = channel.ring.lock().unwrap().enter();
        let senders = [1, 2].map(|message| {
            let channel = channel.clone();
            channel.ring.lock().unwrap().senders += 1;
            thread::spawn(move || channel.send(message))
        });
        let received = [(); 2].map(|()| channel.recv(1, &mut next));
        assert!(matches!(received, [Some(1), Some(2)] | [Some(2), Some(1)]), "{received:?}");
        for sender in senders {
            sender.join().unwrap();
        }
        channel.ring.lock().unwrap().senders = 1;
        let ends = thread::spawn({
            let channel = channel.clone();
            move || channel.end()
        });
        assert_eq!(channel.recv(1, &mut next), None);
        ends.join().unwrap();
    });
}
