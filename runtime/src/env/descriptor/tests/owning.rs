//! Closing, owning and rebinding, on sockets of the OS.

use std::io::{Read, Write};

use super::*;

#[test]
fn closing_wakes_who_waits_and_makes_every_handle_stale() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let id = ours.id();
    let other = rig.table.lookup(id).unwrap();
    let (woken, waker) = counting_waker();
    let cx = &mut Context::from_waker(&waker);
    assert!(other.poll_read(cx, &mut [0; 8]).is_pending());

    ours.close().unwrap();
    assert_eq!(woken.get(), 1);
    assert!(matches!(other.poll_read(cx, &mut [0; 8]), Poll::Ready(Err(error)) if is_stale(&error, id)));
    assert!(matches!(other.poll_write(cx, b"x"), Poll::Ready(Err(error)) if is_stale(&error, id)));
    assert!(is_stale(&other.local_addr().unwrap_err(), id));
    assert!(is_stale(&other.shutdown(Shutdown::Both).unwrap_err(), id));
    assert_eq!(rig.table.close(id), Err(StaleId(id)));
    assert_eq!(rig.table.transfer(id, lane(2)), Err(StaleId(id)));
    assert!(is_stale(&rig.table.rebind(id, 0).unwrap_err(), id));
    assert_eq!(rig.table.lookup(id).unwrap_err(), StaleId(id));
    assert_eq!((other.owner(), other.raw_fd(), other.is_open()), (None, None, false));
    // The peer sees the end although a handle is left.
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    let counts = rig.table.counts();
    assert_eq!((counts.opened, counts.closed, counts.open, counts.close_errors), (1, 1, 0, 0));
}

#[test]
fn a_waiter_that_comes_after_the_close_does_not_stay() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.idle_stream(lane(1));
    let other = rig.table.lookup(ours.id()).unwrap();
    ours.close().unwrap();
    let (count, waker) = counting_waker();
    assert!(other.poll_read_ready(&mut Context::from_waker(&waker)).is_ready());
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn releasing_an_owner_closes_its_sockets_in_the_os_and_no_others() {
    // What the OS's number leads to, as `socket:[inode]`, which is not used again as the number is.
    let links = || -> Vec<std::path::PathBuf> {
        let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
        numbers.filter_map(|number| std::fs::read_link(number.unwrap().path()).ok()).collect()
    };
    let link = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();

    let mut rig = Rig::new(1);
    let peers: Vec<_> = (0..3).map(|_| rig.stream(lane(1))).collect();
    let (kept, _peer) = rig.stream(lane(2));
    let fds = rig.table.raw_fds();
    assert_eq!(fds.len(), 4);
    let (theirs, ours): (Vec<_>, Vec<_>) = fds.into_iter().partition(|(id, _)| *id == kept.id());
    let gone: Vec<_> = ours.iter().map(|(_, fd)| link(*fd)).collect();
    assert!(gone.iter().all(|link| links().contains(link)));
    let mut owned = rig.table.owned_by(lane(1));
    owned.sort();
    assert_eq!(owned, peers.iter().map(|(ours, _)| ours.id()).collect::<Vec<_>>());

    // The handles are still about.
    assert_eq!(rig.table.release_owner(lane(1)), ReleaseCount { descriptors: 3, errors: 0 });
    let links = links();
    assert!(gone.iter().all(|link| !links.contains(link)));
    assert!(links.contains(&link(theirs[0].1)));
    assert_eq!(rig.table.raw_fds(), theirs);
    assert!(rig.table.owned_by(lane(1)).is_empty());
    assert_eq!(rig.table.release_owner(lane(1)), ReleaseCount::default());
    drop(peers);
    assert_eq!(rig.table.counts().closed, 3, "nothing is closed twice");
    assert_eq!(rig.table.close_all(), ReleaseCount { descriptors: 1, errors: 0 });
    assert_eq!(rig.table.counts().open, 0);
}

#[test]
fn who_owns_a_descriptor_decides_whose_death_closes_it() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.stream(lane(1));
    let id = ours.id();
    rig.table.transfer(id, lane(2)).unwrap();
    assert_eq!(ours.owner(), Some(lane(2)));
    assert!(rig.table.owned_by(lane(1)).is_empty());
    assert_eq!(rig.table.owned_by(lane(2)), [id]);
    assert_eq!(rig.table.release_owner(lane(1)).descriptors, 0);
    drop(ours);
    let other = rig.table.lookup(id).expect("the handle of an owner before leaves it open");
    assert_eq!(rig.table.release_owner(lane(2)).descriptors, 1);
    assert!(!other.is_open());
}

#[test]
fn a_handle_that_goes_along_with_the_transfer_closes_for_the_new_owner() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.stream(lane(1));
    let id = ours.id();
    ours.transfer(lane(2)).unwrap();
    assert_eq!(rig.table.owned_by(lane(2)), [id]);
    drop(ours);
    assert_eq!(rig.table.lookup(id).unwrap_err(), StaleId(id));
    assert!(rig.table.owned_by(lane(2)).is_empty());
}

#[test]
fn an_adopted_descriptor_closes_with_the_handle_of_its_new_owner() {
    let mut rig = Rig::new(1);
    let (ours, _theirs) = rig.stream(lane(1));
    let id = ours.into_id();
    assert_eq!(rig.table.owned_by(lane(1)), [id], "giving up the handle leaves it to its owner");
    let adopted = rig.table.adopt(id, lane(2)).unwrap();
    assert_eq!(rig.table.release_owner(lane(1)).descriptors, 0);
    drop(adopted);
    assert_eq!(rig.table.adopt(id, lane(2)).unwrap_err(), StaleId(id));
}

#[test]
fn transfer_leaves_who_waits_waiting() {
    let mut rig = Rig::new(1);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let (woken, waker) = counting_waker();
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    ours.transfer(lane(2)).unwrap();
    theirs.write_all(b"x").unwrap();
    rig.turn_until(|| woken.get() == 1);
}

#[test]
fn rebinding_loses_no_edge() {
    let mut rig = Rig::new(2);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let id = ours.id();
    assert_eq!(rig.table.driver_of(id), Ok(0));
    // The edge comes while driver 0 has it, and nobody polls that driver any more.
    theirs.write_all(b"x").unwrap();
    rig.table.rebind(id, 1).unwrap();
    assert_eq!(rig.table.driver_of(id), Ok(1));
    let (woken, waker) = counting_waker();
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    assert!(rig.turn(1, LIMIT) > 0);
    assert_eq!(woken.get(), 1);
    assert!(matches!(ours.poll_read(&mut Context::from_waker(&waker), &mut [0; 8]), Poll::Ready(Ok(1))));
    // Later edges come there as well, and it closes without an error.
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    theirs.write_all(b"y").unwrap();
    assert!(rig.turn(1, LIMIT) > 0);
    assert_eq!(woken.get(), 2);
    drop(ours);
    assert_eq!(rig.table.counts().close_errors, 0);
}

#[test]
fn rebinding_is_refused_while_somebody_waits() {
    let mut rig = Rig::new(2);
    let (ours, mut theirs) = rig.idle_stream(lane(1));
    let (woken, waker) = counting_waker();
    assert!(ours.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    assert!(is_busy(&rig.table.rebind(ours.id(), 1).unwrap_err()));
    assert_eq!(rig.table.driver_of(ours.id()), Ok(0));
    theirs.write_all(b"x").unwrap();
    rig.turn_until(|| woken.get() == 1);
    assert_eq!(rig.table.rebind(ours.id(), 2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
