//! Files.

use std::io::{ErrorKind, SeekFrom};
use std::path::PathBuf;

use futures_util::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use laneway_net::fs::{self, File, FileOptions};
use runtime::{Handle, StaleId};

use super::*;

/// A path of this test's own, gone when this is dropped.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Path {
        Path(std::env::temp_dir().join(format!("laneway-{}-{name}", std::process::id())))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_written_is_read_by_methods_traits_and_helpers() {
    on_all_nodes(async |_| {
        let path = Path::new("written");
        let mut file = File::create(&path.0).await.unwrap();
        // More than one operation moves.
        let all: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        file.write_all(&all).await.unwrap();
        assert_eq!(file.position(), 300_000);
        file.sync_all().await.unwrap();
        file.sync_data().await.unwrap();
        assert_eq!(fs::read(&path.0).await.unwrap(), all);

        let mut file = File::open(&path.0).await.unwrap();
        let mut some = vec![0; 200_000];
        file.read_exact(&mut some).await.unwrap();
        assert_eq!(some, all[..200_000]);
        assert_eq!(File::seek(&mut file, SeekFrom::End(-1)).await.unwrap(), 299_999);
        assert_eq!(File::read(&mut file, &mut some).await.unwrap(), 1);
        assert_eq!(File::read(&mut file, &mut some).await.unwrap(), 0);
        assert_eq!(file.read_exact(&mut some).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(File::seek(&mut file, SeekFrom::Current(-2)).await.unwrap(), 299_998);
        assert_eq!(File::seek(&mut file, SeekFrom::Start(7)).await.unwrap(), 7);
        assert_eq!(File::seek(&mut file, SeekFrom::Current(-8)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(file.position(), 7);

        // The traits.
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, all[7..]);
        assert_eq!(AsyncSeekExt::seek(&mut file, SeekFrom::End(-3)).await.unwrap(), 299_997);
        let mut three = [0; 3];
        AsyncReadExt::read_exact(&mut file, &mut three).await.unwrap();
        assert_eq!(three, all[299_997..]);
        let both = FileOptions::new().read(true).write(true);
        let mut file = File::open_with(&path.0, both).await.unwrap();
        AsyncWriteExt::write_all(&mut file, &all[1..]).await.unwrap();
        AsyncWriteExt::close(&mut file).await.unwrap();
        file.set_len(299_999).await.unwrap();
        let metadata = file.metadata().await.unwrap();
        assert!(metadata.is_file && !metadata.is_folder && metadata.modified.is_some());
        assert_eq!(metadata.length, 299_999);
        assert_eq!(fs::read(&path.0).await.unwrap(), all[1..]);

        fs::write(&path.0, "short").await.unwrap();
        assert_eq!(fs::read_to_string(&path.0).await.unwrap(), "short");
        let mut file = File::open_with(&path.0, FileOptions::new().append(true)).await.unwrap();
        file.write_all(b" and long").await.unwrap();
        assert_eq!(fs::read_to_string(&path.0).await.unwrap(), "short and long");
        fs::write(&path.0, [0xff]).await.unwrap();
        assert_eq!(fs::read_to_string(&path.0).await.unwrap_err().kind(), ErrorKind::InvalidData);
        // Of no known length.
        assert!(fs::read_to_string("/proc/self/status").await.unwrap().starts_with("Name:"));
    });
}

#[test]
fn errors_are_those_of_the_system() {
    on_all_nodes(async |_| {
        let path = Path::new("missing");
        assert_eq!(File::open(&path.0).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs::read(&path.0).await.unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&path.0, "").await.unwrap();
        let new = FileOptions::new().write(true).create_new(true);
        assert_eq!(File::open_with(&path.0, new).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let mut file = File::open(&path.0).await.unwrap();
        assert!(file.write(b"x").await.is_err());
        let mut file = File::create(&path.0).await.unwrap();
        assert!(file.read(&mut [0]).await.is_err());
        assert_eq!(Handle::current().unwrap().metrics().descriptors, 2);
    });
}

#[test]
fn two_ids_of_a_file_have_positions_of_their_own_and_take_turns() {
    on_all_nodes(async |_| {
        let path = Path::new("two");
        fs::write(&path.0, "abcdef").await.unwrap();
        let mut first = File::open(&path.0).await.unwrap();
        let mut second = first.dup().unwrap();
        let (mut from_first, mut from_second) = ([0; 3], [0; 6]);
        let (one, two) = futures_util::join!(first.read_exact(&mut from_first), second.read_exact(&mut from_second));
        assert_eq!((one.unwrap(), two.unwrap()), ((), ()));
        assert_eq!((&from_first, &from_second), (b"abc", b"abcdef"));
        assert_eq!(open_under(path.0.to_str().unwrap()), 1);
        let id = first.id();
        drop(first);
        let stale = File::lookup(id).unwrap_err();
        assert_eq!(stale.get_ref().and_then(|inner| inner.downcast_ref()), Some(&StaleId(id)));
        assert_eq!(second.metadata().await.unwrap().length, 6);
        drop(second);
        assert_eq!(open_under(path.0.to_str().unwrap()), 0);
    });
}

#[test]
fn a_clock_that_jumps_waits_for_the_disk() {
    let path = Path::new("virtual");
    std::fs::write(&path.0, "x").unwrap();
    let node = Runtime::builder().workers(1).virtual_time(7).build().unwrap();
    let for_lane = path.0.clone();
    on(&node, async move |_| {
        for _ in 0..50 {
            let read = runtime::time::timeout(Duration::from_secs(1), fs::read(&for_lane)).await;
            assert_eq!(read.unwrap().unwrap(), b"x");
        }
    });
}
