//! How long rows are kept, and which program decides it.

use diesel_outbox::{Message, Registry};

use crate::place::{Place, Subject, wait_until};

/// A row of the inbox with this age in hours.
fn received<C: Subject>(place: &Place, msg_id: &str, hours: i64) {
    let added = chrono::Utc::now() - chrono::TimeDelta::hours(hours);
    place
        .connect::<C>()
        .batch_execute(&format!(
            "insert into received (id, msg_id, added) values ('{}', '{msg_id}', '{}')",
            uuid::Uuid::new_v4(),
            added.format("%Y-%m-%d %H:%M:%S%.6f")
        ))
        .unwrap();
}

fn is_there<C: Subject>(place: &Place, msg_id: &str) -> bool {
    place.connect::<C>().is_received(msg_id, "").unwrap()
}

/// A sending program decides nothing for receiving programs, and the other way round.
pub(crate) fn a_relay_leaves_the_inbox_alone<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    Message::new(place.topic(), 1).publish(&mut conn).unwrap();
    received::<C>(place, "old", 24_000);
    conn.batch_execute(
        "insert into outbox_deliveries (msg_id, consumer, begun) values ('deadly', '', 3)",
    )
    .unwrap();
    let config = place.settings().set("days_to_keep", 0).build().unwrap();
    assert_eq!(place.relay_with::<C>(&config).sent, 1);
    let counts = place.counts::<C>();
    assert_eq!((counts.sent, counts.received), (0, 1));
    assert_eq!(conn.number("select count(*) from outbox_deliveries"), 1);

    Message::new(place.topic(), 2).publish(&mut conn).unwrap();
    conn.batch_execute("update published set status = 2, added = '2001-01-01 00:00:00.000000'")
        .unwrap();
    let consumer = place.subscribe_with::<C>(&Registry::new(), "log", &config);
    wait_until("the subscriber has cleaned", || {
        !is_there::<C>(place, "old")
    });
    consumer.stop();
    assert_eq!(place.counts::<C>().sent, 1);
}

pub(crate) fn the_inbox_is_kept_as_long_as_any_subscriber_wants<C: Subject>(place: &Place) {
    received::<C>(place, "hundred days", 100 * 24);
    let days = |days: u32| {
        let settings = place.settings().set("inbox_days_to_keep", days);
        settings.set("cleanup_interval", "1s").build().unwrap()
    };
    let cleans = |config, what: &str, hours| {
        received::<C>(place, what, hours);
        let consumer = place.subscribe_with::<C>(&Registry::new(), "log", &config);
        wait_until(what, || !is_there::<C>(place, what));
        consumer.stop();
    };
    cleans(days(365), "by the one that wants a year", 366 * 24);
    cleans(days(1), "by the other one", 366 * 24);
    assert!(is_there::<C>(place, "hundred days"));
    // The first one did not run for a week.
    place
        .connect::<C>()
        .batch_execute(
            "update outbox_jobs set begun = '2001-01-01 00:00:00.000000' where name like 'keep_inbox%'",
        )
        .unwrap();
    cleans(days(1), "hundred days too", 100 * 24);
    assert!(!is_there::<C>(place, "hundred days"));
}

/// Without its row a redelivered message would have its effect again.
pub(crate) fn the_inbox_is_never_emptied_at_once<C: Subject>(place: &Place) {
    received::<C>(place, "hours", 4);
    received::<C>(place, "days", 60);
    let registry = Registry::<C>::new().on(
        "it",
        |_: &mut C,
         _: &diesel_outbox::Payload|
         -> Result<diesel_outbox::Outcome, diesel_outbox::BoxError> {
            Ok(diesel_outbox::Outcome::Done)
        },
    );
    let log = crate::log::Log::default();
    let guard = log.collect(tracing::Level::WARN);
    let settings = place.settings().set("inbox_days_to_keep", 0);
    let consumer = place.subscribe_with(&registry, "it", &settings.build().unwrap());
    drop(guard);
    wait_until("what is old is deleted", || !is_there::<C>(place, "days"));
    consumer.stop();
    assert!(is_there::<C>(place, "hours"));
    assert_eq!(log.count("the inbox is kept for 1 day"), 1);
}

/// With `days_to_keep = 0` all sent rows are old, and more are sent while they are deleted.
pub(crate) fn cleaning_ends_whatever_is_sent_meanwhile<C: Subject>(place: &Place) {
    use std::sync::atomic::{AtomicBool, Ordering};

    let is_over = AtomicBool::new(false);
    let mut conn = place.connect::<C>();
    let config = place.settings().set("days_to_keep", 0).build().unwrap();
    let relay = diesel_outbox::relay::Relay::<C>::new(&config).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let shutdown = diesel_outbox::Shutdown::new();
    std::thread::scope(|scope| {
        // As other relays of this outbox would leave them.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                conn.batch_execute(&format!(
                    "insert into published (id, destination, body, headers, status)
                     values ('{}', '/queue/it', '1', '{{}}', 2)",
                    uuid::Uuid::new_v4()
                ))
                .unwrap();
            }
        });
        wait_until("some are there", || place.counts::<C>().sent > 0);
        let signal = shutdown.clone();
        scope.spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _ = sender.send(runtime.block_on(relay.run_once(&signal)));
        });
        let ended = receiver.recv_timeout(std::time::Duration::from_secs(20));
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.is_ok(), "it never ends");
    });
}
