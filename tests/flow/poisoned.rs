//! Rows that every broker refuses, among valid rows to the same destination.

use diesel_outbox::Message;

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
