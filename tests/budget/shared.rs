//! What the code of one lane has the runtime allocate for all of them is charged to none.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::mpsc;

use futures_util::future::{Either, select};
use hyper::rt::{Read, ReadBuf};
use laneway::arena::Scratch;
use laneway::join;
use laneway::net::{TcpListener, TcpStream};
use laneway::prelude::*;

use crate::{BUDGET, in_lane, runtime, used, with_budget};

#[test]
fn what_hyper_reads_first_costs_its_lane_nothing() {
    let runtime = runtime(1);
    in_lane(&runtime, async |_: Lane<_>| {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let reader = with_budget(BUDGET).spawn(async move |_: Lane<()>| {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let before = used();
            let mut room = [0; 8];
            let mut buffer = ReadBuf::new(&mut room);
            poll_fn(|cx| Read::poll_read(Pin::new(&mut stream), cx, buffer.unfilled())).await.expect("bytes");
            assert_eq!((buffer.filled(), used()), (&b"hello"[..], before));
        });
        let reader = join(reader.expect("a lane").id());
        let hello = async {
            let (mut stream, _) = listener.accept().await.expect("the reader");
            stream.write_all(b"hello").await.expect("the reader reads");
            pending::<()>().await;
        };
        match select(pin!(reader), pin!(hello)).await {
            Either::Left((ended, _)) => assert_eq!(ended, ExitReason::Normal),
            Either::Right(_) => unreachable!("it is pending"),
        }
    });
}

#[test]
fn what_the_vat_notes_of_its_chunks_is_nobodys() {
    let runtime = runtime(1);
    let (tell, told) = mpsc::channel();
    in_lane(&runtime, async move |_: Lane<_>| {
        let takers: Vec<_> = (0..200)
            .map(|_| {
                let tell = tell.clone();
                let body = async move |mut lane: Lane<()>| {
                    let arena = Scratch::new();
                    arena.alloc_slice(&[0_u8; 20 << 10]);
                    tell.send(used()).expect("the test waits");
                    lane.recv().await;
                };
                with_budget(BUDGET).spawn(body).expect("a lane")
            })
            .collect();
        for taker in takers {
            taker.send(()).await.expect("it waits");
        }
    });
    let used: Vec<u64> = told.iter().collect();
    assert!(used.len() == 200 && used.iter().all(|one| *one == used[0]), "{used:?}");
}
