//! A worker that notes what happens to it, and the little that every test here needs.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use actors::{Actor, Address, Context, ExitReason, Id, Init, Outcome, Runtime, join, sleep};
use laneway_supervisor::{ChildSpec, ChildSpecBuilder, LaneStart, Presence, Supervisor};

pub(crate) type Builder = ChildSpecBuilder<LaneStart<Word>>;

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn in_virtual_time(test: impl Future<Output = ()>) {
    let runtime = Runtime::builder().workers(1).virtual_time(49).build().unwrap();
    runtime.block_on(test);
    let report = runtime.shutdown(s(10));
    assert!(report.is_clean(), "{report:?}");
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What the worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Panic,
    Normal,
    Shutdown,
    Note,
}

/// How the worker is made.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
    pub(crate) init: fn(u32) -> Result<Init, ExitReason>,
    pub(crate) init_takes: Duration,
    pub(crate) end_takes: Duration,
    pub(crate) ends: Option<ExitReason>,
    pub(crate) starts: u32,
}

impl Plan {
    pub(crate) fn new(name: &'static str, log: &Log) -> Plan {
        let log = log.clone();
        let (init_takes, end_takes) = (Duration::ZERO, Duration::ZERO);
        Plan { name, log, init: |_| Ok(Init::Ready), init_takes, end_takes, ends: None, starts: 0 }
    }

    pub(crate) fn child(mut self) -> Builder {
        let name = self.name;
        ChildSpec::actor(name, move || {
            self.starts += 1;
            Worker(self.clone())
        })
    }
}

pub(crate) fn worker(name: &'static str, log: &Log) -> Builder {
    Plan::new(name, log).child()
}

pub(crate) struct Worker(pub(crate) Plan);

impl Actor for Worker {
    type Msg = Word;

    async fn init(&mut self, cx: &mut Context<Word>) -> Result<Init, ExitReason> {
        cx.trap_exits(true);
        if !self.0.init_takes.is_zero() {
            self.0.log.note(format!("init {}", self.0.name));
            sleep(self.0.init_takes).await;
        }
        let decided = (self.0.init)(self.0.starts);
        if decided == Ok(Init::Ready) {
            self.0.log.note(format!("+{}", self.0.name));
        }
        decided
    }

    async fn handle(&mut self, word: Word, _: &mut Context<Word>) -> Outcome {
        match word {
            Word::Panic => panic!("{} was told to", self.0.name),
            Word::Normal => Err(ExitReason::Normal),
            Word::Shutdown => Err(ExitReason::ShutdownWith("done".into())),
            Word::Note => {
                self.0.log.note(format!("{} notes", self.0.name));
                Ok(())
            }
        }
    }

    async fn stopped(&mut self, reason: &ExitReason, _: &mut Context<Word>) {
        sleep(self.0.end_takes).await;
        self.0.log.note(format!("-{} {}", self.0.name, short(self.0.ends.as_ref().unwrap_or(reason))));
        if let Some(ExitReason::Error(what)) = &self.0.ends {
            panic!("{what}");
        }
    }
}

pub(crate) fn short(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => "normal",
        ExitReason::Shutdown => "shutdown",
        ExitReason::ShutdownWith(_) => "shutdown with",
        ExitReason::Panicked { .. } => "panicked",
        ExitReason::Error(_) => "error",
        ExitReason::Killed => "killed",
        _ => "other",
    }
}

pub(crate) async fn lane_of(supervisor: Supervisor, id: &str) -> Option<Id> {
    match supervisor.find_child(id).await.unwrap()?.presence {
        Presence::Running(lane) => Some(lane),
        _ => None,
    }
}

/// Why a lane ends for which `cause` is the reason to do so, however soon.
pub(crate) async fn end_of(lane: Id, cause: impl Future<Output = ()>) -> ExitReason {
    let mut ended = pin!(join(lane));
    let early = poll_fn(|cx| Poll::Ready(ended.as_mut().poll(cx))).await;
    assert!(early.is_pending(), "it ended before");
    cause.await;
    ended.await
}

/// Tells a worker how to end, and waits until its supervisor has done what it does.
pub(crate) async fn tell(supervisor: Supervisor, id: &str, word: Word) {
    let lane = lane_of(supervisor, id).await.expect("a child that runs");
    Address::<Word>::of(lane).unwrap().send(word).await.unwrap();
    join(lane).await;
    settle().await;
}

/// Lets all that can run run: in virtual time, the clock only moves when nothing can.
pub(crate) async fn settle() {
    sleep(Duration::from_millis(20)).await;
}

pub(crate) async fn lanes(supervisor: Supervisor) -> BTreeMap<Arc<str>, Id> {
    let children = supervisor.which_children().await.unwrap().into_iter();
    let running = children.filter_map(|child| match child.presence {
        Presence::Running(lane) => Some((child.id, lane)),
        _ => None,
    });
    running.collect()
}
