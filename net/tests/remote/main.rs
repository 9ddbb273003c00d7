//! Two nodes over loopback TCP: what a remote address takes, and what is told when something goes.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use actors::remote::peer_address;
use actors::{Address, AskError, ExitReason, Id, Lane, Reply, Runtime, SendError, Spawn, join, spawn, timeout};
use futures_util::future::join as both;
use laneway_net::link::frame::MAX_MESSAGE;
use laneway_net::link::hello::Refusal;
use laneway_net::node::{ConnectError, LookupError, Node, PeerHandle, PublishError, StartError};
use laneway_net::peer::{PeerError, PeerState};
use serde::{Deserialize, Serialize};

mod strangers;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What the lanes of these tests take.
#[derive(Debug, Serialize, Deserialize)]
enum Msg {
    Put(u32),
    All(Reply<Vec<u32>>),
    Double(u32, Reply<u32>),
    /// Answers with the address of a new lane of the same kind.
    Another(Reply<Address<Msg>>),
    /// Passes the question on to this lane.
    Pass(Address<Msg>, u32, Reply<u32>),
    /// Is never answered.
    Keep(Reply<()>),
    Forget(Reply<()>),
    Blob(Vec<u8>),
    Panic,
}

/// Apart, since a future cannot hold its own kind.
fn new_worker() -> Address<Msg> {
    fn start(lane: Lane<Msg>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(worker(lane))
    }
    spawn(start).unwrap()
}

async fn worker(mut lane: Lane<Msg>) {
    let (mut put, mut kept) = (Vec::new(), Vec::new());
    while let Some(message) = lane.recv().await {
        match message {
            Msg::Put(number) => put.push(number),
            Msg::All(reply) => _ = reply.send(put.clone()),
            Msg::Double(number, reply) => _ = reply.send(number * 2),
            Msg::Another(reply) => _ = reply.send(new_worker()),
            Msg::Pass(to, number, reply) => to.send(Msg::Double(number, reply)).await.unwrap(),
            Msg::Keep(port) => kept.push(port),
            Msg::Forget(port) => drop(port),
            Msg::Blob(_) => {}
            Msg::Panic => panic!("on purpose"),
        }
    }
}

/// Two nodes with a link, and the address at the first of a worker at the second.
struct Pair {
    here: Node,
    there: Node,
    peer: PeerHandle,
    /// As it is known there.
    local: Address<Msg>,
    remote: Address<Msg>,
}

async fn pair() -> Result<Pair, Box<dyn std::error::Error>> {
    pair_with(Spawn::new().unbounded().spawn(worker)?).await
}

async fn pair_with(local: Address<Msg>) -> Result<Pair, Box<dyn std::error::Error>> {
    let here = Node::builder("here").start().await?;
    let there = Node::builder("there").listen("127.0.0.1:0").start().await?;
    there.publish("worker", local)?;
    let peer = here.connect(there.address().unwrap()).await?;
    let remote = here.lookup(&peer, "worker").await?;
    Ok(Pair { here, there, peer, local, remote })
}

/// Runs a test in a runtime of two workers. Whatever hangs fails.
fn run(test: impl Future<Output = Outcome>) -> Outcome {
    let runtime = Runtime::builder().workers(2).build()?;
    runtime.block_on(async { timeout(Duration::from_secs(30), test).await? })
}

/// Watches a lane; the monitor stands when this is ready, and the reason comes as the answer.
async fn watch(target: Address<Msg>) -> runtime::reply::Answer<ExitReason> {
    let (answerer, answer) = runtime::reply::port();
    let (ready, mut is_ready) = runtime::reply::port();
    spawn(async move |mut lane: Lane<ExitReason>| {
        lane.monitor(target, |down| down.reason);
        // What is asked after it comes after it. A lane that is gone already tells by the monitor.
        let _ = target.ask(|reply| Msg::Double(1, reply)).await;
        ready.answer(()).unwrap();
        let _ = answerer.answer(lane.recv().await.unwrap());
    })
    .unwrap();
    std::future::poll_fn(|cx| is_ready.poll_answer(cx)).await.unwrap();
    answer
}

async fn heard(mut answer: runtime::reply::Answer<ExitReason>) -> ExitReason {
    std::future::poll_fn(|cx| answer.poll_answer(cx)).await.unwrap()
}

#[test]
fn a_remote_address_takes_send_and_ask_like_a_local_one() -> Outcome {
    run(async {
        let Pair { remote, local, .. } = pair().await?;
        assert!(remote.id().namespace().is_peer());
        assert_ne!(remote.id(), local.id());
        remote.send(Msg::Put(7)).await?;
        remote.try_send(Msg::Put(8))?;
        assert_eq!(remote.ask(Msg::All).await?, [7, 8]);
        assert_eq!(remote.ask(|reply| Msg::Double(21, reply)).await?, 42);
        Ok(())
    })
}

#[test]
fn two_runtimes_link_as_two_nodes() -> Outcome {
    let other = Runtime::builder().workers(1).build()?;
    let (there, local) = other.block_on(async {
        let there = Node::builder("there").listen("127.0.0.1:0").start().await.unwrap();
        let local = spawn(worker).unwrap();
        there.publish("worker", local).unwrap();
        (there, local)
    });
    run(async {
        let here = Node::builder("here").start().await?;
        let peer = here.connect(there.address().unwrap()).await?;
        let remote = here.lookup::<Msg>(&peer, "worker").await?;
        assert_eq!(remote.ask(|reply| Msg::Double(4, reply)).await?, 8);
        let down = watch(remote).await;
        local.kill();
        assert_eq!(heard(down).await, ExitReason::Killed);
        // A lane of another runtime is no lane of this node, though it is of this process.
        assert_eq!(here.publish("worker", local), Err(PublishError::NotLocal));
        Ok(())
    })
}

#[test]
fn an_address_that_came_in_an_answer_takes_asks_and_ends_by_kill_and_stop() -> Outcome {
    run(async {
        let Pair { remote, .. } = pair().await?;
        let another = remote.ask(Msg::Another).await?;
        assert_eq!(another.ask(|reply| Msg::Double(3, reply)).await?, 6);
        let (down, third) = (watch(another).await, another.ask(Msg::Another).await?);
        assert!(another.kill());
        assert_eq!(heard(down).await, ExitReason::Killed);

        let down = watch(third).await;
        third.send(Msg::Put(1)).await?;
        third.stop()?;
        assert_eq!(heard(down).await, ExitReason::Normal);
        Ok(())
    })
}

#[test]
fn a_reply_port_is_handed_on_at_the_other_node_and_back_to_the_first() -> Outcome {
    run(async {
        let Pair { remote, .. } = pair().await?;
        let other = remote.ask(Msg::Another).await?;
        assert_eq!(remote.ask(|reply| Msg::Pass(other, 5, reply)).await?, 10);
        // The port goes there in a message, back in another, and its answer there and back again.
        let home = spawn(worker)?;
        assert_eq!(remote.ask(|reply| Msg::Pass(home, 6, reply)).await?, 12);
        Ok(())
    })
}

#[test]
fn two_ports_in_one_message_get_an_answer_each() -> Outcome {
    #[derive(Serialize, Deserialize)]
    struct Two(Reply<u32>, Reply<u32>);
    run(async {
        let Pair { here, there, peer, .. } = pair().await?;
        let counter = spawn(async |mut lane: Lane<Two>| {
            let mut last = 0;
            while let Some(Two(first, second)) = lane.recv().await {
                let _ = (second.send(last + 2), first.send(last + 1));
                last += 2;
            }
        })?;
        there.publish("counter", counter)?;
        let remote = here.lookup::<Two>(&peer, "counter").await?;
        let collector = spawn(async move |mut lane: Lane<Reply<u32>>| {
            while let (Some(first), Some(second)) = (lane.recv().await, lane.recv().await) {
                remote.send(Two(first, second)).await.unwrap();
            }
        })?;
        for round in 0..3 {
            let answers = both(collector.ask(|reply| reply), collector.ask(|reply| reply)).await;
            assert_eq!(answers, (Ok(round * 2 + 1), Ok(round * 2 + 2)));
        }
        Ok(())
    })
}

#[test]
fn an_address_of_ones_own_comes_back_as_itself() -> Outcome {
    #[derive(Serialize, Deserialize)]
    struct Mirror(Address<Msg>, Reply<Address<Msg>>);
    run(async {
        let Pair { here, there, peer, .. } = pair().await?;
        let mirror = spawn(async |mut lane: Lane<Mirror>| {
            while let Some(Mirror(address, reply)) = lane.recv().await {
                let _ = reply.send(address);
            }
        })?;
        there.publish("mirror", mirror)?;
        let mirror = here.lookup::<Mirror>(&peer, "mirror").await?;
        let own = spawn(worker)?;
        assert_eq!(mirror.ask(|reply| Mirror(own, reply)).await?, own);
        let theirs = here.lookup::<Msg>(&peer, "worker").await?;
        assert_eq!(mirror.ask(|reply| Mirror(theirs, reply)).await?, theirs);
        Ok(())
    })
}

#[test]
fn a_monitor_tells_the_true_reason() -> Outcome {
    run(async {
        let Pair { remote, local, .. } = pair().await?;
        let panicking = remote.ask(Msg::Another).await?;
        let down = watch(panicking).await;
        panicking.send(Msg::Panic).await?;
        let reason = heard(down).await;
        assert!(matches!(&reason, ExitReason::Panicked { message, .. } if &**message == "on purpose"), "{reason}");

        let down = watch(remote).await;
        local.kill();
        assert_eq!(heard(down).await, ExitReason::Killed);
        assert_eq!(heard(watch(remote).await).await, ExitReason::NoProc, "it was gone before");
        Ok(())
    })
}

#[test]
fn a_monitor_that_was_taken_back_says_nothing() -> Outcome {
    run(async {
        let Pair { remote, .. } = pair().await?;
        let target = remote.ask(Msg::Another).await?;
        let (answerer, answer) = runtime::reply::port();
        spawn(async move |mut lane: Lane<&'static str>| {
            let taken_back = lane.monitor(target, |_| "taken back");
            lane.monitor(target, |_| "stands");
            assert!(lane.demonitor(taken_back).unwrap());
            let _ = target.ask(|reply| Msg::Double(1, reply)).await;
            target.kill();
            let first = lane.recv().await.unwrap();
            // Both would have come before the answer to this.
            let _ = remote.ask(|reply| Msg::Double(1, reply)).await;
            let _ = answerer.answer((first, lane.try_recv()));
        })?;
        let mut answer = answer;
        assert_eq!(std::future::poll_fn(|cx| answer.poll_answer(cx)).await.unwrap(), ("stands", None));
        Ok(())
    })
}

#[test]
fn when_the_link_is_cut_monitors_hear_node_down_and_callers_get_an_error_at_once() -> Outcome {
    run(async {
        let Pair { here, remote, peer, .. } = pair().await?;
        let down = watch(remote).await;
        let link = here.links()[0].lane;
        let cut = async {
            // Behind the question that is kept.
            remote.ask(|reply| Msg::Double(1, reply)).await?;
            actors::kill(link);
            Ok::<(), AskError>(())
        };
        let (kept, cut) = both(remote.ask(Msg::Keep).no_timeout(), cut).await;
        cut?;
        assert_eq!(kept, Err(AskError::NodeDown));
        assert_eq!(heard(down).await, ExitReason::NodeDown);
        assert!(matches!(remote.try_send(Msg::Put(1)), Err(SendError::NodeDown(Msg::Put(1)))));
        assert_eq!(remote.ask(Msg::All).await, Err(AskError::NodeDown));
        assert_eq!(heard(watch(remote).await).await, ExitReason::NodeDown);
        assert_eq!(here.state(&peer), Some(PeerState::Down));
        assert_eq!(here.lookup::<Msg>(&peer, "worker").await, Err(LookupError::NodeDown));
        Ok(())
    })
}

#[test]
fn the_same_incarnation_linked_again_has_its_old_addresses_and_monitors_stay_spent() -> Outcome {
    run(async {
        let Pair { here, there, remote, peer, .. } = pair().await?;
        let down = watch(remote).await;
        remote.send(Msg::Put(1)).await?;
        assert_eq!(remote.ask(Msg::All).await?, [1]);
        let link = there.links()[0].lane;
        assert!(there.disconnect(&there.peers()[0]));
        join(link).await;
        assert_eq!(heard(down).await, ExitReason::NodeDown);

        let again = here.connect(there.address().unwrap()).await?;
        assert_eq!(again, peer);
        assert_eq!(remote.ask(Msg::All).await?, [1]);
        Ok(())
    })
}

#[test]
fn ids_of_an_earlier_incarnation_are_stale_for_good() -> Outcome {
    run(async {
        let Pair { here, there, remote, peer, local } = pair().await?;
        let down = watch(remote).await;
        // A node that comes under the same name while the link to the earlier one stands takes its place at once.
        let reborn = Node::builder("there").listen("127.0.0.1:0").start().await?;
        reborn.publish("worker", local)?;
        let new_peer = here.connect(reborn.address().unwrap()).await?;
        assert_eq!(heard(down).await, ExitReason::NodeDown);
        assert_ne!(new_peer.incarnation(), peer.incarnation());
        assert_eq!(remote.ask(Msg::All).await, Err(AskError::NodeDown));
        assert_eq!(here.state(&peer), Some(PeerState::Superseded));
        let new = here.lookup::<Msg>(&new_peer, "worker").await?;
        assert_ne!(new, remote);
        new.send(Msg::Put(5)).await?;
        assert_eq!(new.ask(Msg::All).await?, [5]);
        // The earlier one does not come back.
        let refused = here.connect(there.address().unwrap()).await;
        let superseded = Refusal::Peer(PeerError::Superseded);
        assert!(
            refused == Err(ConnectError::Refused(superseded.clone()))
                || refused == Err(ConnectError::RefusedByPeer(superseded)),
            "{refused:?}"
        );
        assert_eq!(remote.ask(Msg::All).await, Err(AskError::NodeDown));
        Ok(())
    })
}

#[test]
fn a_node_that_stops_says_goodbye_and_its_name_can_be_used_again() -> Outcome {
    run(async {
        let Pair { here, there, remote, .. } = pair().await?;
        let down = watch(remote).await;
        there.stop().await;
        assert_eq!(heard(down).await, ExitReason::NodeDown);
        assert!(there.links().is_empty());
        assert!(matches!(here.connect(there.address().unwrap()).await, Err(ConnectError::Io(_))));
        assert_eq!(there.connect(([127, 0, 0, 1], 9)).await, Err(ConnectError::Stopped));
        Ok(())
    })
}

#[test]
fn what_was_sent_before_a_node_stops_arrives() -> Outcome {
    run(async {
        let Pair { here, remote, local, .. } = pair().await?;
        for number in 0..100 {
            remote.try_send(Msg::Put(number))?;
        }
        here.stop().await;
        assert_eq!(local.ask(Msg::All).await?.len(), 100);
        Ok(())
    })
}

#[test]
fn a_node_whose_lane_is_killed_takes_its_links_with_it() -> Outcome {
    run(async {
        let Pair { there, remote, .. } = pair().await?;
        let down = watch(remote).await;
        let link = there.links()[0].lane;
        actors::kill(there.lane());
        assert_eq!(heard(down).await, ExitReason::NodeDown);
        join(link).await;
        assert!(there.links().is_empty());
        Ok(())
    })
}

#[test]
fn an_ask_on_a_dead_lane_or_one_that_dies_fails_at_once_with_the_reason() -> Outcome {
    run(async {
        let Pair { here, remote, local, .. } = pair().await?;
        assert_eq!(remote.ask(Msg::Forget).no_timeout().await, Err(AskError::NoReply));
        let kill = async {
            remote.ask(|reply| Msg::Double(1, reply)).await.unwrap();
            local.kill();
        };
        let (kept, ()) = both(remote.ask(Msg::Keep).no_timeout(), kill).await;
        assert_eq!(kept, Err(AskError::Ended(ExitReason::Killed)));
        join(local.id()).await;
        assert_eq!(remote.ask(Msg::Keep).no_timeout().await, Err(AskError::Ended(ExitReason::NoProc)));
        assert_eq!(here.links()[0].refused_there, 1);
        Ok(())
    })
}

#[test]
fn an_ask_on_a_full_mailbox_fails_at_once() -> Outcome {
    run(async {
        let Pair { here, remote, .. } = pair_with(Spawn::new().mailbox(1).spawn(|_| pending::<()>())?).await?;
        remote.send(Msg::Put(1)).await?;
        let full = remote.ask(Msg::All).no_timeout().await;
        assert_eq!(full, Err(AskError::Refused("the lane's mailbox is full")));
        assert_eq!(here.links()[0].refused_there, 1);
        Ok(())
    })
}

#[test]
fn a_lane_of_another_type_is_found_out_by_lookup_and_by_ask() -> Outcome {
    run(async {
        let Pair { here, peer, remote, .. } = pair().await?;
        assert_eq!(here.lookup::<u64>(&peer, "worker").await, Err(LookupError::SchemaMismatch));
        assert_eq!(here.lookup::<Msg>(&peer, "nobody").await, Err(LookupError::NotFound));
        let wrong = peer_address::<Reply<u64>>(remote.id()).unwrap();
        let refused = wrong.ask(|reply| reply).no_timeout().await;
        assert_eq!(refused, Err(AskError::Refused("the lane takes messages of another type")));
        Ok(())
    })
}

#[test]
fn a_lane_that_was_not_given_to_a_peer_is_out_of_its_reach() -> Outcome {
    run(async {
        let Pair { peer, remote, .. } = pair().await?;
        let secret = spawn(worker)?;
        let id = secret.id();
        let guessed = Id::new(id.key(), peer.peer().namespace(), id.generation());
        let guessed = peer_address::<Msg>(guessed).unwrap();
        let refused = guessed.ask(Msg::All).no_timeout().await;
        assert_eq!(refused, Err(AskError::Refused("the lane is not open to this peer")));
        assert_eq!(heard(watch(guessed).await).await, ExitReason::NoProc);
        guessed.kill();
        guessed.stop()?;
        // What was sent before this has been looked at.
        remote.ask(|reply| Msg::Double(1, reply)).await?;
        assert_eq!(secret.ask(|reply| Msg::Double(2, reply)).await?, 4);
        Ok(())
    })
}

#[test]
fn ten_thousand_messages_arrive_in_order() -> Outcome {
    run(async {
        let Pair { remote, .. } = pair().await?;
        for number in 0..10_000 {
            remote.send(Msg::Put(number)).await?;
        }
        assert_eq!(remote.ask(Msg::All).await?, (0..10_000).collect::<Vec<_>>());
        Ok(())
    })
}

#[test]
fn a_message_too_large_for_the_link_comes_back_and_harms_nobody() -> Outcome {
    run(async {
        let Pair { here, remote, .. } = pair().await?;
        let large = remote.try_send(Msg::Blob(vec![7; MAX_MESSAGE as usize]));
        assert!(matches!(large, Err(SendError::Unsendable(Msg::Blob(bytes))) if bytes.len() == MAX_MESSAGE as usize));
        remote.try_send(Msg::Blob(vec![7; MAX_MESSAGE as usize / 2]))?;
        assert_eq!(remote.ask(|reply| Msg::Double(1, reply)).await?, 2);
        let link = &here.links()[0];
        assert_eq!((link.sent, link.refused_there), (2, 0), "the one of half that size arrived");
        Ok(())
    })
}

#[test]
fn two_nodes_that_dial_each_other_at_once_end_up_with_one_link() -> Outcome {
    run(async {
        for _ in 0..20 {
            let a = Node::builder("a").listen("127.0.0.1:0").start().await?;
            let b = Node::builder("b").listen("127.0.0.1:0").start().await?;
            let (one, other) = both(a.connect(b.address().unwrap()), b.connect(a.address().unwrap())).await;
            assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
            assert_eq!((a.peers().len(), b.peers().len()), (1, 1));
            a.stop().await;
            b.stop().await;
        }
        Ok(())
    })
}

#[test]
fn bad_names_bad_addresses_and_second_links_are_typed_errors() -> Outcome {
    run(async {
        assert!(matches!(Node::builder("two words").start().await, Err(StartError::Name(_))));
        assert!(matches!(Node::builder("a").listen("nowhere").start().await, Err(StartError::BadAddress(_))));
        assert!(matches!(Node::builder("a").listen("0.0.0.0:0").start().await, Err(StartError::NotLoopback(_))));
        let Pair { here, there, local, .. } = pair().await?;
        let taken = there.address().unwrap();
        assert!(matches!(Node::builder("a").listen(taken).start().await, Err(StartError::Listen(_))));
        let outside = ([192, 0, 2, 1], 1).into();
        assert_eq!(here.connect(outside).await, Err(ConnectError::NotLoopback(outside)));
        let already = Refusal::Peer(PeerError::AlreadyLinked);
        assert_eq!(here.connect(taken).await, Err(ConnectError::Refused(already)));
        assert_eq!(there.connect(taken).await, Err(ConnectError::Refused(Refusal::Peer(PeerError::SelfConnection))));
        assert_eq!(there.publish("worker", local), Ok(()), "it has that name already");
        assert_eq!(there.publish("worker", spawn(worker)?), Err(PublishError::NameTaken));
        Ok(())
    })
}
