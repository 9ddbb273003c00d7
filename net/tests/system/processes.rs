//! Child processes.

use std::future::pending;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;

use futures_util::AsyncWriteExt;
use laneway_net::process::{self, Child, Command, Stdio};
use laneway_net::signal::SignalKind;
use runtime::{Handle, StaleId};

use super::*;

fn sleeper() -> Command {
    Command::new("/bin/sleep").arg("1000")
}

/// Whether the system still knows the process, as one that runs or as a zombie.
fn is_known(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/stat")).is_ok()
}

async fn until_gone(pid: u32) {
    until(|| !is_known(pid)).await;
}

#[test]
fn what_a_child_reads_writes_and_answers() {
    on_all_nodes(async |_| {
        let mut cat = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await.unwrap();
        let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        assert!(cat.stderr.is_none());
        // More than a pipe holds, so that both directions wait.
        let all: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        let write = async {
            stdin.write_all(&all).await.unwrap();
            AsyncWriteExt::close(&mut stdin).await.unwrap();
            assert_eq!(stdin.write(b"x").await.unwrap_err().kind(), ErrorKind::NotConnected);
        };
        let read = async {
            let mut back = Vec::new();
            futures_util::AsyncReadExt::read_to_end(&mut stdout, &mut back).await.unwrap();
            back
        };
        let ((), back) = futures_util::join!(write, read);
        assert_eq!(back, all);
        assert!(cat.wait().await.unwrap().success());
        assert!(cat.wait().await.unwrap().success(), "asked again");

        let script = "read line; echo \"$line\" >&2; exit $CODE";
        let shell = Command::new("/bin/sh").args(["-c", script]).env_clear().env("CODE", "3").current_dir("/");
        let mut shell = shell.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().await.unwrap();
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(b"hear\n").await.unwrap();
        let mut five = [0; 5];
        shell.stderr.as_mut().unwrap().read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"hear\n");
        assert_eq!(shell.wait().await.unwrap().code(), Some(3));
        assert_eq!(shell.try_wait().unwrap().and_then(|status| status.code()), Some(3));
        let pid = shell.pid().unwrap();
        until_gone(pid).await;
        assert_eq!(shell.signal(SignalKind::terminate()).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_child_ends_by_kill_and_by_signal() {
    on_all_nodes(async |_| {
        let mut child = sleeper().spawn().await.unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
        child.kill().unwrap();
        let mut child = sleeper().spawn().await.unwrap();
        child.signal(SignalKind::terminate()).unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(15));
        assert_eq!(Command::new("/no/such/program").spawn().await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_killed_lane_leaves_no_process_no_zombie_and_no_pipe() {
    on_all_nodes(async |_| {
        for _ in 0..10 {
            let (tell, pids) = reply::port();
            let lane = Spawn::new().spawn(|_: Lane<()>| async move {
                let piped = || sleeper().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut waits = piped().spawn().await.unwrap();
                let forgotten = piped().spawn().await.unwrap();
                let _heard = tell.answer([waits.pid().unwrap(), forgotten.pid().unwrap()]);
                std::mem::forget(forgotten);
                waits.wait().await.map(drop)
            });
            let pids = answered(pids).await;
            assert!(pids.iter().all(|pid| is_known(*pid)));
            let pipes: Vec<String> = pipes_of(pids[0]);
            assert!(!pipes.is_empty() && pipes.iter().all(|pipe| open_under(pipe) == 1), "{pipes:?}");
            kill_and_join(lane.unwrap().id()).await;
            // The descriptors are gone by the time that anybody hears of the death.
            assert_eq!(Handle::current().unwrap().metrics().descriptors, 0);
            assert!(pipes.iter().all(|pipe| open_under(pipe) == 0));
            for pid in pids {
                until_gone(pid).await;
            }
        }
        until(|| process::processes_left().unwrap() == 0).await;
    });
}

/// What the system calls the pipes that are the standard input and outputs of a process.
fn pipes_of(pid: u32) -> Vec<String> {
    let link = |number| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
    (0..3).map(|number| link(number).to_string_lossy().into_owned()).collect()
}

#[test]
fn a_child_is_shared_and_handed_on_like_a_socket() {
    on_all_nodes(async |_| {
        let (tell, given) = reply::port();
        let heir = idle_lane();
        let starter = Spawn::new().spawn(move |_: Lane<()>| async move {
            let child = sleeper().spawn().await.unwrap();
            let pid = child.pid().unwrap();
            let shared = child.dup_for(heir).unwrap();
            let own = child.transfer_to(heir).unwrap();
            let _heard = tell.answer((pid, shared, own));
        });
        let (pid, shared, own) = answered(given).await;
        actors::join(starter.unwrap().id()).await;
        let mut child = Child::lookup(own).unwrap();
        assert_eq!((child.pid().unwrap(), is_known(pid)), (pid, true));
        // One of two ids.
        drop(Child::from_id(shared).unwrap());
        assert!(Child::lookup(shared).is_err() && child.try_wait().unwrap().is_none());
        let ends = async {
            let error = child.wait().await.unwrap_err();
            assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&StaleId(own)));
        };
        futures_util::join!(ends, kill_and_join(heir));
        until_gone(pid).await;
    });
}

#[test]
fn a_child_that_is_let_run_outlives_its_lane_and_leaves_no_zombie() {
    on_all_nodes(async |_| {
        let (tell, started) = reply::port();
        let heir = idle_lane();
        let lane = Spawn::new().spawn(move |_: Lane<()>| async move {
            let cat = Command::new("/bin/cat").stdin(Stdio::piped()).let_run(true);
            let mut cat = cat.spawn().await.unwrap();
            let stdin = cat.stdin.take().unwrap().transfer_to(heir).unwrap();
            let _heard = tell.answer((cat.pid().unwrap(), stdin));
            pending::<()>().await;
        });
        let (pid, stdin) = answered(started).await;
        kill_and_join(lane.unwrap().id()).await;
        let mut stdin = process::ChildStdin::lookup(stdin).unwrap();
        stdin.write_all(b"").await.unwrap();
        assert!(is_known(pid) && process::processes_left().unwrap() >= 1);
        // It ends with its input.
        kill_and_join(heir).await;
        until_gone(pid).await;
    });
}

#[test]
fn a_child_that_was_being_started_when_its_lane_was_killed_does_not_stay() {
    on_all_nodes(async |_| {
        let file = std::env::temp_dir().join(format!("laneway-{}-half-started", std::process::id()));
        for _ in 0..10 {
            let (tell, begun) = reply::port();
            let mark = file.clone();
            let lane = Spawn::new().spawn(move |_: Lane<()>| async move {
                // Says that it ran, and then sleeps for ever.
                let shell =
                    Command::new("/bin/sh").args(["-c", "echo $$ > \"$MARK\"; exec sleep 1000"]).env("MARK", mark);
                let mut spawn = std::pin::pin!(shell.spawn());
                let mut tell = Some(tell);
                poll_fn(|cx| {
                    let polled = spawn.as_mut().poll(cx);
                    if let Some(tell) = tell.take() {
                        let _heard = tell.answer(());
                    }
                    polled
                })
                .await
                .map(drop)
            });
            answered(begun).await;
            kill_and_join(lane.unwrap().id()).await;
            until(|| children_of_ours("sleep") + children_of_ours("sh") == 0).await;
        }
        let _gone = std::fs::remove_file(file);
    });
}

/// How many children of this process are called so and were told the mark, be they zombies.
fn children_of_ours(name: &str) -> usize {
    let me = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let marked = environment.windows(12).any(|part| part == b"half-started");
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let mut rest = rest.split(' ');
        let is_zombie = rest.next()? == "Z";
        Some((name.to_owned(), rest.next()?.to_owned(), marked || is_zombie))
    });
    stats.filter(|(called, parent, marked)| called == name && *parent == me && *marked).count()
}
