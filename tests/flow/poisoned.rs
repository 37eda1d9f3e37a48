//! Rows that every broker refuses, among valid rows to the same destination.

use diesel_outbox::Message;
use diesel_outbox::stomp::{Client, Options};

use crate::faults::Running;
use crate::place::{Place, Subject, wait_until};

/// RabbitMQ closes the connection at this header. There are more of these rows than it takes to
/// open the destination's circuit, for longer than this test runs.
pub(crate) fn bad_rows_do_not_starve_good_ones<C: Subject>(place: &Place) {
    const BAD: i64 = 6;
    let mut conn = place.connect::<C>();
    let good = |conn: &mut C, count: i64| {
        for n in 0..count {
            let key = (n % 3 == 0).then(|| "k".to_owned());
            let message = Message::new(place.topic(), n).key(key);
            message.publish(conn).unwrap();
        }
    };
    for n in 0..BAD {
        Message::new(place.topic(), n)
            .header("expiration", "60s")
            .publish(&mut conn)
            .unwrap();
    }
    good(&mut conn, 20);
    let settings = place
        .settings()
        .set("retry_first_delay", "200ms")
        .set("breaker_pause", "1h");
    let relay = Running::start::<C>(settings);
    wait_until("the good ones are sent", || place.counts::<C>().sent == 20);
    let failed = "select count(*) from published where retry > 0";
    wait_until("the bad ones have failed", || conn.number(failed) == BAD);
    let again = "select count(*) from published where retry > 1";
    wait_until("and again", || conn.number(again) > 0);
    good(&mut conn, 5);
    wait_until("later ones too", || place.counts::<C>().sent == 25);
    assert_eq!(conn.number(failed), BAD, "no other is blamed");
    relay.stop();
}

/// From version 4.0 on RabbitMQ closes the connection at a frame longer than `stomp.max_frame_size` (4 MiB by
/// default), without an ERROR, and refuses a body longer than `max_message_size` (16 MiB by default) with one. The
/// lengths are for the settings of scripts/current-servers, 40 and 32 MiB, and are refused by the defaults too.
pub(crate) fn rows_that_are_too_long_fail_alone<C: Subject>(place: &Place) {
    let options = Options::from_url(place.broker_url()).unwrap();
    let server = place.runtime.block_on(async {
        let client = Client::connect(&options).await.unwrap();
        let server = client.server().to_owned();
        client.disconnect().await.unwrap();
        server
    });
    if server.starts_with("RabbitMQ/3.") {
        eprintln!("skipped: {server} accepts bodies of 128 MiB");
        return;
    }
    let mut conn = place.connect::<C>();
    for length in [33_usize << 20, 41 << 20] {
        let body = "x".repeat(length);
        Message::new(place.topic(), body)
            .publish(&mut conn)
            .unwrap();
    }
    for n in 0..20 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    let settings = place
        .settings()
        .set("retry_first_delay", "1h")
        .set("retry_maximum_delay", "1h")
        .set("breaker_pause", "1s");
    let relay = Running::start::<C>(settings);
    wait_until("the short ones are sent", || place.counts::<C>().sent == 20);
    let failed = "select count(*) from published where retry = 1 and (last_error like
        '%is larger than configured max size%max_message_size%' or last_error like '%stomp.max_frame_size%')";
    wait_until("the long ones have failed", || conn.number(failed) == 2);
    relay.stop();
}
