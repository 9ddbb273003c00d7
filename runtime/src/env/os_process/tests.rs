use std::num::NonZeroUsize;
use std::process::Stdio;
use std::sync::{Mutex as StdMutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::Namespace;
use crate::env::{Driver, Env, Instant, OsEnv};

/// Longer than any event takes.
const LIMIT: Duration = Duration::from_secs(20);

/// The reaper is the process's, so tests that look at it go one after the other.
static ALONE: StdMutex<()> = StdMutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn no_descriptor(_: Pid) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Both ways to hear of an end.
const WAYS: [fn(Pid) -> io::Result<OwnedFd>; 2] = [watch_by_descriptor, no_descriptor];

fn sleeper() -> Command {
    let mut command = Command::new("/bin/sleep");
    command.arg("1000");
    command
}

/// What the system says of a process: `None` where it is rid of it.
#[cfg(target_os = "linux")]
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until the reaper has none.
fn until_reaped() {
    while lingering() != 0 {
        std::thread::yield_now();
    }
}

/// Waits for the end as whoever has no reactor.
fn wait(child: &dyn ChildSource) -> ExitStatus {
    loop {
        match child.try_wait() {
            Ok(status) => return status,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_that_is_dropped_is_killed_and_the_system_is_rid_of_it() {
    let _alone = alone();
    for way in WAYS {
        let started: Vec<StartedProcess> =
            (0..5).map(|_| start_with(&mut sleeper(), Leaving::Kill, way).unwrap()).collect();
        let pids: Vec<u32> = started.iter().map(|process| process.child.pid()).collect();
        assert!(pids.iter().all(|pid| state_of(*pid).is_some()));
        drop(started);
        until_reaped();
        assert!(pids.iter().all(|pid| state_of(*pid).is_none()));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_that_is_let_run_goes_on_and_is_reaped_at_its_end() {
    let _alone = alone();
    for way in WAYS {
        let mut cat = Command::new("/bin/cat");
        cat.stdin(Stdio::piped());
        let StartedProcess { child, stdin, .. } = start_with(&mut cat, Leaving::LetRun, way).unwrap();
        let pid = child.pid();
        drop(child);
        assert_eq!(lingering(), 1);
        assert!(state_of(pid).is_some_and(|state| state != 'Z'));
        // It ends with its input.
        drop(stdin);
        until_reaped();
        assert_eq!(state_of(pid), None);
    }
}

#[test]
fn how_a_child_ended_is_told_at_each_question_and_signals_find_nobody() {
    use std::os::unix::process::ExitStatusExt;

    for way in WAYS {
        let process = start_with(Command::new("/bin/sh").args(["-c", "exit 7"]), Leaving::Kill, way).unwrap();
        for _ in 0..2 {
            assert_eq!(wait(&*process.child).code(), Some(7));
        }
        assert_eq!(process.child.signal(15).unwrap_err().kind(), io::ErrorKind::NotFound);
        process.child.kill().unwrap();

        let process = start_with(&mut sleeper(), Leaving::Kill, way).unwrap();
        assert_eq!(process.child.try_wait().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(process.child.signal(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        process.child.signal(15).unwrap();
        assert_eq!(wait(&*process.child).signal(), Some(15));
    }
}

#[test]
fn the_end_of_a_child_wakes_who_waits_by_either_way() {
    for way in WAYS {
        let (env, namespace) = (OsEnv::new(), Namespace::new(2).unwrap());
        let (table, mut drivers) = Driver::start(&env, namespace, NonZeroUsize::MIN).unwrap();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read line; exit 4"]).stdin(Stdio::piped());
        let StartedProcess { child, stdin, .. } = start_with(&mut shell, Leaving::Kill, way).unwrap();
        let child = table.insert(child, None, 0).unwrap();
        let mut ended = std::pin::pin!(child.ended());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(ended.as_mut().poll(cx).is_pending());
        drop(stdin);
        let status = loop {
            // It may also be the end of a child of another test, or the signal of that, which ends a park.
            if let Poll::Ready(status) = ended.as_mut().poll(cx) {
                break status.unwrap();
            }
            drivers[0].park(Some(LIMIT), &mut Vec::new()).unwrap();
            assert!(env.now() < Instant::ZERO + LIMIT, "nobody was told");
        };
        assert_eq!(status.code(), Some(4));
    }
}

#[test]
fn a_program_that_is_not_there_starts_nothing() {
    let error = start(&mut Command::new("/nowhere/to/be/found"), Leaving::Kill).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// As where no signal can be heard of.
#[cfg(target_os = "linux")]
#[test]
fn the_reaper_waits_for_one_after_the_other_where_it_hears_of_none() {
    let _alone = alone();
    let mut child = sleeper().spawn().unwrap();
    let pid = child.id();
    child.kill().unwrap();
    REAPER.lock().children.push(child);
    wait_for_one();
    assert_eq!((state_of(pid), lingering()), (None, 0));
    wait_for_one();
}
