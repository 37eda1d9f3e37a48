//! `admin::dead_letters`, as a service calls it.

use std::ops::ControlFlow;
use std::time::Duration;

use diesel_outbox::admin::dead_letters::{
    DeadLetter, DeadLetters, DeadLettersError, Selection, Summary,
};
use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry};

use crate::place::{Place, Subject, wait_until};

/// How many were selected, of how many.
fn numbers(found: Result<Summary, DeadLettersError>) -> (usize, usize) {
    let found = found.unwrap();
    (found.selected, found.total)
}

fn require_send<T: Send>(future: T) -> T {
    future
}

pub(crate) fn a_service_lists_replays_and_deletes<C: Subject>(place: &Place) {
    const ROWS: usize = 30;
    place.declare::<C>();
    let fails = Registry::<C>::new().on(
        "it",
        |_: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
            let kind = payload.body().as_u64().unwrap_or(0) % 3;
            Err(Permanent::new(format!("of the kind {kind}")).into())
        },
    );
    let settings = place.settings().set("dead_letter", "outbox");
    let settings = settings.build().unwrap();
    let ids: Vec<String> = (0..ROWS)
        .map(|n| place.send(Message::new(place.topic(), n)).to_string())
        .collect();
    let consumer = place.subscribe_with(&fails, "it", &settings);
    let mut letters = DeadLetters::of(&settings, &place.name).unwrap();
    assert_eq!(letters.dead_letter_queue(), format!("DLQ.{}", place.name));
    wait_until("all are dead letters", || {
        let all = Selection::all();
        let found = place.runtime.block_on(letters.list(&all));
        found.is_ok_and(|found| found.len() == ROWS)
    });
    assert_eq!(consumer.stop().dead, ROWS as u64);

    place.runtime.block_on(async {
        // What one operation leaves, the next one finds.
        for _ in 0..3 {
            let kind = Selection::all().error("kind 1").limit(7);
            let found = require_send(letters.list(&kind)).await.unwrap();
            assert_eq!(found.len(), 7);
            for letter in &found {
                assert_eq!(letter.error(), "of the kind 1");
                assert_eq!(letter.attempts(), Some(1));
                assert!(letter.failed_at().is_some() && letter.is_complete());
                assert_eq!(letter.destination(), Some(place.topic().as_str()));
            }
        }
        let one = letters.list(&Selection::all().id(&ids[4])).await.unwrap();
        let [one] = one.as_slice() else {
            panic!("{one:?}");
        };
        assert_eq!((one.id(), one.body()), (ids[4].as_str(), &b"4"[..]));
        assert_eq!(one.header("outbox-queue"), Some(place.name.as_str()));

        let mut seen = 0;
        let stop = |_: &DeadLetter| {
            seen += 1;
            ControlFlow::Break(())
        };
        let found = letters.read(&Selection::all(), stop).await.unwrap();
        assert_eq!((found.selected, seen), (1, 1));
        let recent = Selection::all().older_than(Duration::from_secs(3600));
        assert_eq!(numbers(letters.delete(&recent).await), (0, ROWS));
        let kind = Selection::all().error("kind 2");
        assert_eq!(
            numbers(require_send(letters.delete(&kind)).await),
            (10, ROWS)
        );
        let five = Selection::all().limit(5);
        assert_eq!(numbers(require_send(letters.replay(&five)).await), (5, 20));
        let all = Selection::all();
        assert_eq!(numbers(letters.replay(&all).await), (15, 15));
        assert_eq!(letters.list(&all).await.unwrap().len(), 0);
    });

    let calm = Registry::<C>::new().on(
        "it",
        |conn: &mut C, payload: &Payload| -> Result<Outcome, BoxError> {
            let id = payload.msg_id();
            conn.batch_execute(&format!("insert into effects (note) values ('{id}')"))?;
            Ok(Outcome::Done)
        },
    );
    let consumer = place.subscribe_with(&calm, "it", &settings);
    let effects = || place.connect::<C>().number("select count(*) from effects");
    wait_until("all effects", || effects() == 20);
    assert_eq!(consumer.stop().dead, 0);
}

pub(crate) fn what_cannot_be_is_an_error_of_its_own<C: Subject>(place: &Place) {
    let config = place.config();
    let topic = DeadLetters::of(&config, &place.topic()).unwrap_err();
    assert!(matches!(topic, DeadLettersError::NotAQueue(_)), "{topic:?}");
    assert!(
        !topic.to_string().contains("outbox dead-letters"),
        "{topic}"
    );
    let other = DeadLetters::in_queue(&config, &place.name, "/queue/elsewhere").unwrap();
    assert_eq!(other.dead_letter_queue(), "elsewhere");
    // The other end of this address refuses connections.
    let away = place.settings().set("stomp_url", "stomp://127.0.0.1:1/");
    let mut away = DeadLetters::of(&away.build().unwrap(), &place.name).unwrap();
    let listed = place.runtime.block_on(away.list(&Selection::all()));
    assert!(
        matches!(listed, Err(DeadLettersError::Broker(_))),
        "{listed:?}"
    );
}
