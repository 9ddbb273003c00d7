//! Lanes that share, give and take what they have of the system, killed at each of their awaits.

use std::io;

use laneway::fs::{self, File};
use laneway::net::OnStale;
use laneway::process::{self, Command, Stdio};
use laneway::signal::{self, SignalKind};
use laneway::{Address, Id};

use super::*;

type Done = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The one that has the process to itself.
fn alone() -> std::sync::RwLockWriteGuard<'static, ()> {
    PROCESS.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Two ends of one connection, of the lane that calls.
async fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0))?;
    let ours = TcpStream::connect(listener.local_addr()?).await?;
    Ok((ours, listener.accept().await?.0))
}

/// What the giver tells the taker.
enum Given {
    Shared(Id),
    ForGood(Id),
}

async fn take(mut lane: Lane<Given>) -> io::Result<()> {
    let mut kept = Vec::new();
    while let Some(given) = lane.recv().await {
        let mut stream = match given {
            Given::Shared(id) | Given::ForGood(id) => TcpStream::from_id(id)?,
        };
        stream.write_all(b"taken").await?;
        yield_now().await;
        // An id of an id.
        kept.push(stream.dup()?);
        kept.push(stream);
    }
    Ok(())
}

async fn give(to: Address<Given>) -> io::Result<()> {
    let (first, mut other) = connection().await?;
    let shared = first.dup_for(to)?;
    yield_now().await;
    let _dead_or_not = to.send(Given::Shared(shared)).await;
    let mut five = [0; 5];
    other.read_exact(&mut five).await?;
    let own = first.transfer_to(to)?;
    yield_now().await;
    let _dead_or_not = to.send(Given::ForGood(own)).await;
    other.read_exact(&mut five).await?;
    Ok(())
}

async fn give_and_take() -> Done {
    let taker = Spawn::new().name("taker").spawn(take)?;
    let giver = Spawn::new().name("giver").spawn(move |lane: Lane<()>| async move {
        // The stream stays open by its own id: nothing else would tell it that nobody answers any more.
        lane.link(taker);
        give(taker).await
    })?;
    join(giver.id()).await;
    let _dead_or_not = taker.stop();
    join(taker.id()).await;
    Ok(())
}

#[test]
fn whoever_gives_or_takes_a_stream_leaves_none_open() {
    let _alone = alone();
    for victim in ["giver", "taker"] {
        let swept = KillSweep::new(Victim::named(victim)).real_time().alone().run(give_and_take);
        let report = swept.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.kills >= 4, "{victim}: {report}");
        assert!(report.victims.iter().any(|receipt| receipt.descriptors > 0), "{victim}");
    }
}

async fn borrow() -> Done {
    let (tell, mut id) = runtime::reply::port();
    let lender = Spawn::new().name("lender").spawn(move |_: Lane<()>| async move {
        let Ok((ours, mut theirs)) = connection().await else { return };
        let _heard = tell.answer(ours.id());
        let mut byte = [0; 1];
        for _ in 0..3 {
            if theirs.read_exact(&mut byte).await.is_err() || theirs.write_all(&byte).await.is_err() {
                return;
            }
        }
    })?;
    let Ok(id) = poll_fn(|cx| id.poll_answer(cx)).await else { return Ok(()) };
    let borrower = Spawn::new().name("borrower").spawn(move |_: Lane<()>| async move {
        let mut borrowed = TcpStream::lookup(id)?.on_stale(OnStale::Die);
        let mut byte = [0; 1];
        loop {
            borrowed.write_all(b"?").await?;
            if borrowed.read(&mut byte).await? == 0 {
                return io::Result::Ok(());
            }
        }
    })?;
    // It lives no longer than what it borrows, of which the lender makes an end, or its death.
    join(borrower.id()).await;
    lender.kill();
    join(lender.id()).await;
    Ok(())
}

#[test]
fn a_borrower_ends_with_the_lender_wherever_either_is_killed() {
    let _beside = beside_others();
    for victim in ["lender", "borrower"] {
        let swept = KillSweep::new(Victim::named(victim)).real_time().run(borrow);
        let report = swept.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.kills >= 2, "{victim}: {report}");
    }
}

/// Waits for all of its children to be gone, and for what is left of descriptors to be those that there were `before`.
async fn with_child(before: usize) -> Done {
    let keeper = Spawn::new().name("keeper").spawn(async |_: Lane<()>| {
        let mut cat = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
        let _sleeps = Command::new("/bin/sleep").arg("1000").spawn().await?;
        yield_now().await;
        if let (Some(mut stdin), Some(stdout)) = (cat.stdin.take(), &mut cat.stdout) {
            stdin.write_all(b"purr").await?;
            let mut four = [0; 4];
            stdout.read_exact(&mut four).await?;
            assert_eq!(&four, b"purr");
        }
        assert!(cat.wait().await?.success());
        io::Result::Ok(())
    })?;
    let reason = join(keeper.id()).await;
    assert!(!matches!(reason, ExitReason::Panicked { .. } | ExitReason::Error(_)), "{reason}");
    // One whose start was not waited for may come only now, on a thread that holds its pipes until it is gone. What is
    // killed ends when the system lets it.
    while children() + process::processes_left()? != 0 || of_children() > before {
        yield_now().await;
    }
    Ok(())
}

/// How many descriptors the process has that are processes' or pipes'.
fn of_children() -> usize {
    let folder = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let names = folder.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    names.filter(|name| name.to_str().is_some_and(|name| name.starts_with("pipe:") || name.contains("pidfd"))).count()
}

/// How many processes have this one as their parent, be they zombies.
fn children() -> usize {
    let me = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(&me)).count()
}

#[test]
fn whoever_is_killed_with_a_child_process_leaves_no_process_and_no_zombie() {
    let _alone = alone();
    let before = of_children();
    // Not by the sweep's own look at the process: a thread that started a child for the dead may still hold the runtime.
    let swept = KillSweep::new(Victim::named("keeper")).real_time().run(move || with_child(before));
    let report = swept.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.kills >= 1, "{report}");
    // Two children and two pipes.
    assert!(report.victims.iter().any(|receipt| receipt.descriptors >= 3), "{report}");
}

#[test]
fn whoever_is_killed_at_a_file_leaves_it_closed() {
    let _beside = beside_others();
    let path = std::env::temp_dir().join(format!("laneway-sweep-{}", std::process::id()));
    let for_runs = path.clone();
    let report = kill_sweep(Victim::named("writer"), move || {
        let path = for_runs.clone();
        async move {
            let for_writer = path.clone();
            let writer = Spawn::new().name("writer").spawn(move |_: Lane<()>| async move {
                let mut file = File::create(&for_writer).await?;
                file.write_all(b"one").await?;
                let copy = file.dup()?;
                // A disk may be so fast that nothing else is an await.
                yield_now().await;
                file.write_all(b"two").await?;
                file.sync_all().await?;
                drop(copy);
                yield_now().await;
                let all = fs::read(&for_writer).await?;
                assert_eq!(all, b"onetwo");
                io::Result::Ok(())
            })?;
            let reason = join(writer.id()).await;
            assert!(matches!(reason, ExitReason::Normal | ExitReason::Killed), "{reason}");
            // What ran on when the lane was killed ends, and closes the file.
            while is_open(&path) {
                yield_now().await;
            }
            Spawned::Ok(())
        }
    });
    assert!(report.kills >= 2, "{report}");
    assert!(report.victims.iter().any(|receipt| receipt.descriptors >= 1), "{report}");
    let _gone = std::fs::remove_file(path);
}

fn is_open(path: &std::path::Path) -> bool {
    let folder = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    folder.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|name| name == path)
}

async fn hear_signals() -> Done {
    let kind = SignalKind::hangup();
    let target = Spawn::new().name("target").spawn(async |mut lane: Lane<SignalKind>| {
        let Some(_) = lane.recv().await else { return };
        yield_now().await;
        let _second = lane.recv().await;
    })?;
    let subscriber = Spawn::new().name("subscriber").spawn(async move |_: Lane<()>| {
        let mut signals = signal::subscribe(kind)?;
        signals.recv().await?;
        let mut again = signals.dup()?;
        drop(signals);
        again.recv().await?;
        signal::ctrl_c().await
    })?;
    let forwarder = signal::forward(kind, target, |kind| kind)?;
    // Until both have heard all that they hear, or are dead.
    while laneway::is_alive(subscriber.id()) || laneway::is_alive(target.id()) {
        signal::raise(kind)?;
        signal::raise(SignalKind::interrupt())?;
        yield_now().await;
    }
    join(forwarder).await;
    Ok(())
}

#[test]
fn whoever_is_killed_at_a_signal_leaves_no_subscription() {
    let _beside = beside_others();
    let subscriber = kill_sweep(Victim::named("subscriber"), hear_signals);
    assert_whole(&subscriber, 2);
    // The second lane without a name that receives nothing is the one that forwards.
    let forwarder = Victim::matching(|lane| lane.name.is_none() && lane.spawned_at.file().ends_with("descriptors.rs"));
    for victim in [Victim::named("target"), forwarder] {
        let swept = KillSweep::new(victim.clone()).run(hear_signals_while_forwarded);
        let report = swept.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.kills >= 1, "{victim}: {report}");
    }
}

/// As `hear_signals`, where whoever forwards may be the one that is killed.
async fn hear_signals_while_forwarded() -> Done {
    let target = Spawn::new().name("target").spawn(async |mut lane: Lane<SignalKind>| {
        let Some(_) = lane.recv().await else { return };
        let _second = lane.recv().await;
    })?;
    let forwarder = signal::forward(SignalKind::hangup(), target, |kind| kind)?;
    while laneway::is_alive(forwarder) && laneway::is_alive(target.id()) {
        signal::raise(SignalKind::hangup())?;
        yield_now().await;
    }
    let _dead_or_not = target.stop();
    join(target.id()).await;
    join(forwarder).await;
    Ok(())
}
