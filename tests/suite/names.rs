//! Names: one lane a name, free again at its death.

use laneway::runtime::lane::whereis;
use laneway::{Lane, NameError, NotAMailbox, Spawn, SpawnError};

use crate::support::*;

#[test]
fn otp_029_a_taken_name_is_refused_and_death_frees_it() {
    test(async |mut lane: Lane<News>| {
        let first = Spawn::new().name("one").spawn(obey).unwrap();
        let Err(SpawnError::NameTaken(taken)) = Spawn::new().name("one").spawn(obey) else {
            panic!("a second lane got the name");
        };
        assert_eq!((&*taken.name, taken.holder), ("one", first.id()));
        assert_eq!(lane.register("one"), Err(NameError::Taken(taken.clone())));
        assert!(taken.to_string().contains(&first.id().to_string()), "{taken}");
        assert!(!lane.unregister("one"), "the name of another lane was given up");
        assert_eq!(whereis("one"), Some(first.id()));

        lane.monitor(first, News::Down);
        first.kill();
        down(&mut lane).await;
        assert_eq!(whereis("one"), None);
        let second = Spawn::new().name("one").spawn(obey).unwrap();
        assert_eq!(whereis("one"), Some(second.id()));
    });
}

#[test]
fn otp_029_a_lane_may_have_several_names_and_gives_up_each_once() {
    test(async |mut lane: Lane<News>| {
        lane.register("this").unwrap();
        lane.register("that").unwrap();
        assert!(matches!(lane.register("this"), Err(NameError::Taken(_))), "a name was registered twice");
        assert!(lane.unregister("this"));
        assert!(!lane.unregister("this"));
        assert_eq!((whereis("this"), whereis("that")), (None, Some(lane.id())));
        let other = puppet();
        tell(other, |lane| lane.register("this")).await.unwrap();
        // It was ours once, and is not now.
        assert!(!lane.unregister("this"));
        assert_eq!(whereis("this"), Some(other.id()));
        other.stop().unwrap();
        reason_of(&mut lane, other).await;
        assert_eq!(whereis("this"), None);
    });
}

#[test]
fn otp_029_one_of_many_lanes_that_register_at_once_gets_the_name() {
    race(100, async |mut lane: Lane<News>| {
        let me = lane.address();
        for _ in 0..8 {
            laneway::spawn(async move |mut lane: Lane<()>| {
                let got = lane.register("wanted").is_ok();
                me.send(News::Number(u64::from(got))).await.unwrap();
                lane.recv().await;
            })
            .unwrap();
        }
        let mut got = 0;
        for _ in 0..8 {
            got += number(&mut lane).await;
        }
        let holder = whereis("wanted").expect("one of them has it");
        laneway::kill(holder);
        laneway::join(holder).await;
        assert_eq!((got, whereis("wanted")), (1, None));
        // The others end with the runtime.
    });
}

#[test]
fn a_name_gives_an_address_only_of_the_type_that_its_lane_takes() {
    test(async |mut lane: Lane<News>| {
        lane.register("typed").unwrap();
        assert_eq!(laneway::whereis::<News>("typed"), Ok(Some(lane.address())));
        let Err(NotAMailbox::OtherType { takes }) = laneway::whereis::<u64>("typed") else {
            panic!("an address of another type was given out");
        };
        assert!(takes.contains("News"), "{takes}");
        assert_eq!(laneway::whereis::<News>("nobody's"), Ok(None));
        lane.address().try_send(News::Number(1)).unwrap();
        assert_eq!(number(&mut lane).await, 1);
    });
}

#[test]
fn a_lane_that_failed_to_spawn_for_its_name_leaves_nothing() {
    test(async |lane: Lane<News>| {
        lane.register("mine").unwrap();
        let before = laneway::Handle::current().unwrap().metrics();
        let owned = std::sync::Arc::new(());
        for _ in 0..1000 {
            let owns = owned.clone();
            let refused = Spawn::new().name("mine").spawn(async move |_: Lane<()>| drop(owns));
            assert!(matches!(refused, Err(SpawnError::NameTaken(_))), "{refused:?}");
        }
        settle().await;
        let after = laneway::Handle::current().unwrap().metrics();
        assert_eq!(std::sync::Arc::strong_count(&owned), 1, "what the futures owned is not dropped");
        assert_eq!((after.alive, after.names), (before.alive, before.names));
    });
}
