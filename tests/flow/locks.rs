//! Rows that another database session has locked.

use std::collections::BTreeSet;

use diesel_outbox::Message;

use crate::faults::Running;
use crate::place::{Place, Subject, wait_until};

/// The bodies that the broker has received, in the order of their arrival.
fn arrived(place: &Place) -> Vec<i64> {
    place.loopback().view(|view| {
        let bodies = view.sent().iter().map(|sent| sent.body.clone());
        bodies
            .map(|body| std::str::from_utf8(&body).unwrap().parse().unwrap())
            .collect()
    })
}

/// A session that has locked these rows, one by one: MySQL locks all rows that a range reads.
fn lock<C: Subject>(place: &Place, rows: impl IntoIterator<Item = i64>) -> C {
    let mut other = place.connect::<C>();
    other.batch_execute("begin").unwrap();
    for seq in rows {
        let row = format!("select id from published where seq = {seq} for update");
        other.batch_execute(&row).unwrap();
    }
    other
}

/// More locked rows than a claim returns, before all others.
pub(crate) fn locked_rows_stop_no_other<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    for n in 1..=60 {
        // The first of each key is locked.
        let key = (n % 2 == 0).then(|| format!("k{}", n % 40));
        let message = Message::new(place.topic(), n).key(key);
        message.publish(&mut conn).unwrap();
    }
    let mut other = lock::<C>(place, 1..=40);
    let relay = Running::start::<C>(place.settings().set("chunk_size", 7));
    wait_until("the others are sent", || place.counts::<C>().sent == 10);
    assert_eq!(
        arrived(place),
        (41..=60).step_by(2).collect::<Vec<i64>>(),
        "and none behind a locked one of its key"
    );
    for n in 61..=70 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    wait_until("later ones too", || place.counts::<C>().sent == 20);
    other.batch_execute("commit").unwrap();
    wait_until("all is sent", || place.counts::<C>().sent == 70);
    relay.stop();
    let arrived = arrived(place);
    assert_eq!(arrived.len(), 70, "each once");
    for n in (42..=60).step_by(2) {
        let place_of = |wanted: i64| arrived.iter().position(|n| *n == wanted).unwrap();
        assert!(place_of(n - 40) < place_of(n), "{n} follows {}", n - 40);
    }
}

pub(crate) fn what_became_of_a_locked_row_is_recorded_later<C: Subject>(place: &Place) {
    let broker = place.loopback();
    let mut conn = place.connect::<C>();
    Message::new(place.topic(), 0).publish(&mut conn).unwrap();
    let relay = Running::start::<C>(place.settings());
    wait_until("it is connected", || place.counts::<C>().sent == 1);
    broker.stall(true);
    // At once: while nothing can be settled, a relay that has found nothing more does not claim again.
    conn.transaction::<(), diesel_outbox::Error, _>(|conn| {
        (1..=20).try_for_each(|n| Message::new(place.topic(), n).publish(conn).map(drop))
    })
    .unwrap();
    let leased = "select count(*) from published where lease_token is not null";
    wait_until("they are claimed", || conn.number(leased) == 20);
    let mut other = lock::<C>(place, [2, 3, 21]);
    broker.stall(false);
    wait_until("the others are recorded", || place.counts::<C>().sent == 18);
    for n in 21..=25 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    wait_until("more are sent", || place.counts::<C>().sent == 23);
    other.batch_execute("commit").unwrap();
    wait_until("all are recorded", || place.counts::<C>().sent == 26);
    relay.stop();
    assert_eq!(arrived(place).len(), 26, "each was sent once");
}

/// It has sent all rows that are due and not locked, and ends.
pub(crate) fn a_relay_that_runs_once_does_not_wait_for_locks<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    for n in 0..30 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
    }
    let _other = lock::<C>(place, 1..=15);
    let config = place.settings().set("chunk_size", 4).build().unwrap();
    assert_eq!(place.relay_with::<C>(&config).sent, 15);
    let sent: BTreeSet<i64> = arrived(place).into_iter().collect();
    assert_eq!(sent, (15..30).collect());
}
