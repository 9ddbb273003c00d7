//! A lane that does what its dice say, and receives all the while, so that nobody waits for ever for a lane that lives.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use laneway_runtime::lane::{self, Spawn};
use laneway_runtime::mailbox::{Inbox, MailboxId, Received, SendFuture};
use laneway_runtime::reply::{self, Answer, Answerer};
use laneway_runtime::{ExitReason, Id, MonitorRef, inspect, time};

use crate::book::{Book, Busy, Dice, Framed, Msg, Token, Waits};

/// Lanes that a run may spawn.
const MOST: usize = 80;

/// The waker of one part of a lane: that part is polled only if it was woken, as in a set of futures.
struct Flag {
    woken: AtomicBool,
    lane: Mutex<Option<Waker>>,
}

impl Flag {
    fn new() -> Arc<Flag> {
        Arc::new(Flag { woken: AtomicBool::new(true), lane: Mutex::new(None) })
    }

    /// Whether to poll the part now; its waker leads to the lane from now on.
    fn take(&self, cx: &Context<'_>) -> bool {
        *self.lane.lock().unwrap() = Some(cx.waker().clone());
        self.woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let lane = self.lane.lock().unwrap().clone();
        if let Some(lane) = lane {
            lane.wake();
        }
    }
}

/// How a lane receives.
#[derive(Clone, Copy, PartialEq)]
enum How {
    All,
    /// What [`is_liked`] alone.
    Liked,
    Nothing,
}

/// Something under way.
enum Op {
    Send(SendFuture<Msg>),
    Answer(u64, Answer<u64>),
    Nap(Answer<()>),
    Join(Id, Pin<Box<dyn Future<Output = ExitReason> + Send>>),
    Other(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Op {
    fn poll(&mut self, book: &Book, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Op::Send(sending) => {
                if let Err(message) = ready!(Pin::new(sending).poll(cx)) {
                    take_back(message.into_message());
                }
            }
            Op::Answer(question, answer) => {
                if ready!(answer.poll_answer(cx)).is_ok_and(|answer| answer != *question + 1) {
                    book.fail("the answer is that to another question");
                }
            }
            Op::Nap(answer) => _ = ready!(answer.poll_answer(cx)),
            Op::Join(_, joining) => _ = ready!(joining.as_mut().poll(cx)),
            Op::Other(future) => ready!(future.as_mut().poll(cx)),
        }
        Poll::Ready(())
    }
}

/// All but odd numbers: a question that is skipped might be waited for by somebody who skips ours.
fn is_liked(message: &Msg) -> bool {
    !matches!(message, Msg::Number(token) if token.number % 2 == 1)
}

pub(crate) fn take_back(message: Msg) {
    let (Msg::Number(token) | Msg::Poke(token) | Msg::Nap(token, _) | Msg::Ask(token, ..) | Msg::Report(token, _)) =
        message;
    token.take_back();
}

struct Puppet {
    book: Arc<Book>,
    me: Id,
    inbox: Inbox<Msg>,
    dice: Dice,
    /// What it may still do of its own will.
    steps: u64,
    how: How,
    /// It has not been receiving, or not in the way in which it does now.
    looks_anew: bool,
    /// Receives by a waker of its own.
    receiver: Option<Arc<Flag>>,
    under_way: Vec<(Arc<Flag>, Op)>,
    numbers: u64,
    /// The last of each sender, of those that are liked and of those that may be skipped.
    last: BTreeMap<(Id, bool), u64>,
    watched: BTreeMap<u64, (MonitorRef, Id)>,
    to_answer: Vec<(u64, Answerer<u64>)>,
    /// Until it is done, and nothing is under way but what need never come.
    busy: Option<Busy>,
}

/// Spawns a lane, which may be linked with the spawner, unless there are too many.
pub(crate) fn spawn(book: &Arc<Book>, dice: &mut Dice, links: bool) {
    if book.spawned() >= MOST {
        return;
    }
    let (seed, steps) = (dice.next(), 5 + dice.below(60));
    let mut how = Spawn::new().mailbox(1 + dice.below(3) as u32);
    if links && book.links && dice.one_in(4) {
        how = how.link();
    }
    if dice.one_in(3) {
        how = how.trap_exits();
    }
    let busy = Busy::new(book);
    let of_the_lane = book.clone();
    let spawned = how.spawn(move |inbox: Inbox<Msg>| {
        Framed::new(Puppet {
            book: of_the_lane,
            me: inbox.mailbox().id(),
            inbox,
            dice: Dice(seed),
            steps,
            how: How::All,
            looks_anew: false,
            receiver: None,
            under_way: Vec::new(),
            numbers: 0,
            last: BTreeMap::new(),
            watched: BTreeMap::new(),
            to_answer: Vec::new(),
            busy: Some(busy),
        })
    });
    // There may be no slot left.
    if let Ok(lane) = spawned {
        book.note_lane(lane.mailbox);
    }
}

impl Future for Puppet {
    type Output = ExitReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ExitReason> {
        let me = &mut *self;
        let mut rounds = me.dice.below(6);
        loop {
            if let Some(reason) = me.receive(cx) {
                return Poll::Ready(reason);
            }
            me.go_on(cx);
            if me.steps == 0 {
                break;
            }
            // The last steps are taken without another look in between.
            while me.steps > 0 {
                me.steps -= 1;
                if let Some(reason) = me.act(cx) {
                    return Poll::Ready(reason);
                }
                if me.steps > 3 {
                    break;
                }
            }
            if me.steps == 0 {
                break;
            }
            if rounds == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            rounds -= 1;
        }
        // From here on the lane does nothing but what others want. It is not polled again for nothing, or it could not
        // be seen to sleep over something.
        me.to_answer.drain(..).for_each(answer);
        let naps = me.under_way.iter().any(|(_, op)| matches!(op, Op::Nap(_)));
        if !naps && std::mem::take(&mut me.looks_anew) {
            me.how = How::All;
            me.receiver = me.receiver.take().map(|_| Flag::new());
            cx.waker().wake_by_ref();
        }
        if me.under_way.iter().all(|(_, op)| matches!(op, Op::Join(..) | Op::Nap(_))) {
            me.busy = None;
        }
        Poll::Pending
    }
}

fn answer((question, answerer): (u64, Answerer<u64>)) {
    // Who asked may have left.
    let _ = answerer.answer(question + 1);
}

impl Puppet {
    /// Receives until there is nothing, or enough for now.
    fn receive(&mut self, cx: &mut Context<'_>) -> Option<ExitReason> {
        let flag = self.receiver.clone();
        if self.how == How::Nothing || flag.as_ref().is_some_and(|flag| !flag.take(cx)) {
            return None;
        }
        let waker = flag.map_or_else(|| cx.waker().clone(), Waker::from);
        let cx = &mut Context::from_waker(&waker);
        for _ in 0..=self.dice.below(4) {
            let polled = match self.how {
                How::Nothing => return None,
                How::Liked => self.inbox.poll_recv_match(cx, is_liked),
                How::All => self.inbox.poll_recv(cx),
            };
            let Poll::Ready(received) = polled else { return None };
            if let Some(reason) = self.take(received) {
                return Some(reason);
            }
        }
        cx.waker().wake_by_ref();
        None
    }

    fn take(&mut self, received: Received<Msg>) -> Option<ExitReason> {
        match received {
            Received::Message(Msg::Number(token)) => {
                let is_liked = token.number % 2 == 0;
                self.take_token(token, is_liked);
            }
            Received::Message(Msg::Poke(token)) => {
                token.receive();
                self.steps += 1 + self.dice.below(3);
                self.busy = self.busy.take().or_else(|| Some(Busy::new(&self.book)));
            }
            Received::Message(Msg::Nap(token, answer)) => {
                token.receive();
                let flag = Flag::new();
                self.under_way.push((flag, Op::Nap(answer)));
                self.how = How::Nothing;
            }
            Received::Message(Msg::Ask(token, question, answerer)) => {
                self.take_token(token, true);
                match self.dice.below(8) {
                    0 => drop(answerer),
                    1..4 if self.steps > 0 => self.to_answer.push((question, answerer)),
                    _ => answer((question, answerer)),
                }
            }
            Received::Message(Msg::Report(token, answerer)) => {
                token.receive();
                let joins = self.under_way.iter().filter_map(|(_, op)| match op {
                    Op::Join(id, _) => Some(*id),
                    _ => None,
                });
                let waits = Waits { monitors: self.watched.values().copied().collect(), joins: joins.collect() };
                // It was asked for by somebody who waits.
                let _ = answerer.answer(waits);
            }
            Received::Down(notified) => {
                let down = notified.into_down();
                match self.watched.remove(&down.reference.number) {
                    Some(watched) if watched == (down.reference, down.id) => {
                        if lane::is_alive(down.id) {
                            self.book.fail(format!("{} is said to be gone and lives", down.id));
                        }
                    }
                    _ => self.book.fail(format!("nobody waits for this notice: {down:?}")),
                }
            }
            Received::Exit(_) => {}
            Received::Stop(reason) => return Some(reason),
            other => self.book.fail(format!("what is this? {other:?}", other = std::any::type_name_of_val(&other))),
        }
        None
    }

    fn take_token(&mut self, token: Token, is_liked: bool) {
        if token.number != 0 {
            let before = self.last.insert((token.from, is_liked), token.number);
            if before.is_some_and(|before| before >= token.number) {
                self.book.fail(format!("of {}: {} came after {before:?}", token.from, token.number));
            }
        }
        token.receive();
    }

    /// Polls what is under way and was woken.
    fn go_on(&mut self, cx: &Context<'_>) {
        let (book, mut is_up) = (&self.book, false);
        self.under_way.retain_mut(|(flag, op)| {
            let waker = Waker::from(flag.clone());
            let goes_on = !flag.take(cx) || op.poll(book, &mut Context::from_waker(&waker)).is_pending();
            is_up |= !goes_on && matches!(op, Op::Nap(_));
            goes_on
        });
        self.looks_anew |= is_up;
    }

    /// Begins something, polling it once, so that sends are queued in the order of their numbers.
    fn begin(&mut self, cx: &Context<'_>, mut op: Op) {
        let flag = Flag::new();
        flag.take(cx);
        let waker = Waker::from(flag.clone());
        if op.poll(&self.book, &mut Context::from_waker(&waker)).is_pending() {
            self.under_way.push((flag, op));
        }
    }

    fn token(&mut self) -> Token {
        self.numbers += 1;
        Token::new(&self.book, self.me, self.numbers)
    }

    fn act(&mut self, cx: &Context<'_>) -> Option<ExitReason> {
        let to = self.book.some_lane(&mut self.dice)?;
        let id = to.id();
        match self.dice.below(32) {
            0..4 => self.try_send(to),
            4..10 if self.under_way.len() < 4 => {
                let message = Msg::Number(self.token());
                self.begin(cx, Op::Send(to.send(message)));
            }
            10..14 if self.under_way.len() < 4 => {
                let (answerer, answer) = reply::port();
                let question = self.dice.next() >> 1;
                let message = Msg::Ask(self.token(), question, answerer);
                self.begin(cx, Op::Send(to.send(message)));
                self.begin(cx, Op::Answer(question, answer));
            }
            14..17 => spawn(&self.book, &mut self.dice, true),
            17 | 18 => {
                let reference = lane::monitor(id).ok()?;
                self.watched.insert(reference.number, (reference, id));
            }
            19 => self.demonitor(),
            20 if self.book.links => lane::link(id).ok()?,
            21 => lane::unlink(id).ok()?,
            22 => match self.dice.below(4) {
                0 => self.book.kill(id),
                1 => lane::exit(id, ExitReason::error("told to")),
                2 => _ = lane::stop(id, ExitReason::Shutdown),
                _ => lane::trap_exits(self.dice.one_in(2)).ok()?,
            },
            23 | 24 => {
                self.how = [How::All, How::All, How::Liked, How::Nothing][self.dice.below(4) as usize];
                self.receiver = self.dice.one_in(2).then(Flag::new);
                self.looks_anew = true;
            }
            25 if !self.under_way.is_empty() => {
                let which = self.dice.below(self.under_way.len() as u64) as usize;
                drop(self.under_way.swap_remove(which));
            }
            26 => self.begin(cx, Op::Join(id, Box::pin(lane::join(id)))),
            27 => self.begin(cx, Op::Other(Box::pin(async move { _ = inspect::inspect(id).await }))),
            28 => {
                let length = Duration::from_micros(self.dice.below(2000));
                self.begin(cx, Op::Other(Box::pin(time::sleep(length))));
            }
            29 => {
                if let Some(received) = self.inbox.try_recv() {
                    return self.take(received);
                }
            }
            30 => self.to_answer.drain(..).for_each(answer),
            31 => match self.dice.below(16) {
                0 => return Some(ExitReason::Normal),
                1 => return Some(ExitReason::error("had enough")),
                _ => self.inbox.flush_exit(id),
            },
            _ => {}
        }
        None
    }

    fn try_send(&mut self, to: MailboxId<Msg>) {
        let sent = if self.dice.one_in(4) {
            // It does not queue behind those that wait for room.
            to.send_exempt(Msg::Number(Token::new(&self.book, self.me, 0)))
        } else {
            let message = Msg::Number(self.token());
            to.try_send(message)
        };
        if let Err(refused) = sent {
            take_back(refused.into_message());
        }
    }

    fn demonitor(&mut self) {
        let Some((reference, _)) = self.watched.values().next().copied() else { return };
        let flushes = self.dice.one_in(2);
        match lane::demonitor(reference) {
            Ok(stood) => {
                if flushes {
                    self.inbox.flush_down(reference);
                }
                // Without a flush, a notice that is queued is still to come.
                if stood || flushes {
                    self.watched.remove(&reference.number);
                }
            }
            Err(error) => self.book.fail(format!("{error}")),
        }
    }
}
