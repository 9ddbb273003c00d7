//! Readers and writers, and what their deaths leave.

use std::future::pending;
use std::mem::forget;

use super::*;
use crate::sync::testing::{ended, runtime, spawn, until};

fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn guards_and_futures_go_where_the_value_may() {
    is_send_and_sync::<RwLock<u8>>();
    is_send_and_sync::<RwLockReadGuard<'_, u8>>();
    is_send_and_sync::<OwnedRwLockWriteGuard<u8>>();
    is_send_and_sync::<WriteOwned<u8>>();
}

#[test]
fn readers_share_and_do_not_overtake_a_writer_in_line() {
    runtime().block_on(async {
        let lock = Arc::new(RwLock::new(vec![0]));
        let first = lock.clone().read_owned().await.unwrap();
        let second = lock.read().await.unwrap();
        let theirs = lock.clone();
        let writer = spawn(async move { theirs.write().await.unwrap().push(1) });
        until(|| lock.waiting() == 1).await;
        assert!(matches!(lock.try_read(), Err(TryLockError::Locked)), "a writer is first");
        let theirs = lock.clone();
        let reader = spawn(async move { assert_eq!(**theirs.read().await.unwrap(), [0, 1]) });
        until(|| lock.waiting() == 2).await;
        assert_eq!((lock.holders().len(), &**first, &**second), (2, &[0][..], &[0][..]));
        drop((first, second));
        writer.finish().await;
        reader.finish().await;
        assert!(lock.holders().is_empty() && lock.try_write().is_ok());
    });
}

#[test]
fn a_dead_writer_leaves_a_mark_and_a_dead_reader_none() {
    runtime().block_on(async {
        let lock = Arc::new(RwLock::new(0));
        let theirs = lock.clone();
        let reader = spawn(async move {
            let _held = theirs.read().await.unwrap();
            pending::<()>().await;
        });
        until(|| lock.holders().len() == 1).await;
        reader.kill().await;
        *lock.write().await.unwrap() = 1;
        let theirs = lock.clone();
        let writer = spawn(async move {
            *theirs.write().await.unwrap() += 1;
            let _held = theirs.write().await.unwrap();
            pending::<()>().await;
        });
        until(|| lock.holders().len() == 1).await;
        writer.kill().await;
        assert_eq!(lock.dead_holder().and_then(|holder| holder.lane), Some(writer.id));
        let Err(LockError::OwnerDied(died)) = lock.read().await else { panic!("the writer died") };
        drop(died);
        let recovered = lock.write().await.unwrap_err().recover().unwrap();
        assert_eq!(*recovered, 2);
        drop(recovered);
        assert!(lock.read().await.is_ok() && lock.dead_holder().is_none());
    });
}

#[test]
fn a_leaked_guard_to_write_abandons_the_lock_and_one_to_read_only_for_writers() {
    let runtime = runtime();
    runtime.block_on(async {
        for writes in [false, true] {
            let lock = Arc::new(RwLock::new(0));
            let theirs = lock.clone();
            let lane = spawn(async move {
                if writes {
                    forget(theirs.write().await.unwrap());
                } else {
                    forget(theirs.read().await.unwrap());
                }
                pending::<()>().await;
            });
            until(|| lock.holders().len() == 1).await;
            let theirs = lock.clone();
            let writer = spawn(async move {
                let error = theirs.write().await.unwrap_err();
                assert!(matches!(error, LockError::Abandoned(_)));
            });
            until(|| lock.waiting() == 1).await;
            let theirs = lock.clone();
            let reader = spawn(async move {
                let read = theirs.read().await;
                assert_eq!(matches!(read, Err(LockError::Abandoned(_))), writes);
                assert_eq!(read.is_ok(), !writes);
            });
            until(|| lock.waiting() == 2).await;
            lane.kill().await;
            // Before they are asked to tell, which would wake them.
            until(|| lock.waiting() == 0).await;
            writer.finish().await;
            reader.finish().await;
            assert_eq!(lock.waiting(), 0);
        }
    });
    assert_eq!(ended(runtime).locks_released, 2);
}

#[test]
fn a_guard_that_was_moved_ends_what_the_death_of_its_taker_abandoned() {
    runtime().block_on(async {
        let lock = Arc::new(RwLock::new(0));
        let readers = Arc::new(parking_lot::Mutex::new(None));
        let writers = Arc::new(parking_lot::Mutex::new(None));
        let (theirs, moved) = (lock.clone(), readers.clone());
        let reader = spawn(async move {
            *moved.lock() = Some(theirs.read_owned().await.unwrap());
            pending::<()>().await;
        });
        until(|| readers.lock().is_some()).await;
        reader.kill().await;
        assert!(matches!(lock.write().await, Err(LockError::Abandoned(_))) && lock.read().await.is_ok());
        drop(readers.lock().take());
        let (theirs, moved) = (lock.clone(), writers.clone());
        let writer = spawn(async move {
            *moved.lock() = Some(theirs.write_owned().await.unwrap());
            pending::<()>().await;
        });
        until(|| writers.lock().is_some()).await;
        writer.kill().await;
        assert!(matches!(lock.try_read(), Err(TryLockError::Failed(LockError::Abandoned(_)))));
        drop(writers.lock().take());
        assert!(matches!(lock.try_read(), Err(TryLockError::Failed(LockError::OwnerDied(_)))));
    });
}

#[test]
fn a_destructor_that_panics_while_it_writes_at_the_death_of_its_lane_marks_the_lock() {
    struct Writes(Arc<RwLock<u32>>);
    impl Drop for Writes {
        fn drop(&mut self) {
            let _half_done = self.0.try_write().unwrap();
            panic!("as it was to be");
        }
    }
    runtime().block_on(async {
        let lock = Arc::new(RwLock::new(0));
        let writes = Writes(lock.clone());
        let lane = spawn(async move {
            let _writes = writes;
            pending::<()>().await;
        });
        crate::yield_now().await;
        lane.kill().await;
        assert!(matches!(lock.try_read(), Err(TryLockError::Failed(LockError::OwnerDied(_)))));
    });
}

#[test]
fn a_reader_who_died_is_not_named_for_what_a_writer_left() {
    runtime().block_on(async {
        let lock = Arc::new(RwLock::new(0));
        let theirs = lock.clone();
        let writer = spawn(async move {
            let _held = theirs.write().await.unwrap();
            pending::<()>().await;
        });
        until(|| lock.holders().len() == 1).await;
        writer.kill().await;
        let theirs = lock.clone();
        let reader = spawn(async move {
            let Err(LockError::OwnerDied(died)) = theirs.read().await else { panic!("the writer died with it") };
            forget(died.into_inner());
            pending::<()>().await;
        });
        until(|| lock.holders().len() == 1).await;
        reader.kill().await;
        let named = |error: LockError<()>| error.holder().and_then(|holder| holder.lane);
        assert_eq!(lock.read().await.err().and_then(|error| named(error.without_guard())), Some(writer.id));
        assert_eq!(lock.write().await.err().and_then(|error| named(error.without_guard())), Some(reader.id));
        assert_eq!(lock.dead_holder().and_then(|holder| holder.lane), Some(writer.id));
    });
}
