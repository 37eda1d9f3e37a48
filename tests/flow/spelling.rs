//! Rows of other writers, whose ids have another spelling or are no UUIDs; and rows whose
//! outcome the database does not store.

use diesel_outbox::Message;

use crate::faults::Running;
use crate::log::Log;
use crate::place::{Place, Subject, wait_until};

fn arrivals(place: &Place, body: &str) -> usize {
    place.loopback().view(|view| {
        let sent = view.sent().iter();
        sent.filter(|sent| *sent.body == *body.as_bytes()).count()
    })
}

/// Each is sent once, or parked with the reason.
pub(crate) fn an_id_in_another_spelling_is_sent_once<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let mut ids = vec![
        "'0192F0AA-0000-7000-8000-000000000001'",
        "'0192f0aa000070008000000000000002'",
        "'0192F0AA000070008000000000000003'",
    ];
    let mut bad = 0;
    if C::NAME != "PostgreSQL" {
        ids.push("'order-7'");
        bad += 1;
    }
    if C::NAME == "SQLite" {
        ids.extend([
            "'{0192f0aa-0000-7000-8000-000000000004}'",
            "'urn:uuid:0192f0aa-0000-7000-8000-000000000005'",
            "x'0192f0aa00007000800000000000ffff'",
        ]);
        bad += 1;
    }
    for (n, id) in ids.iter().enumerate() {
        conn.batch_execute(&format!(
            "insert into published (id, destination, body) values ({id}, '{}', '{n}')",
            place.topic()
        ))
        .unwrap();
    }
    Message::new(place.topic(), 99).publish(&mut conn).unwrap();
    let sent = place.relay::<C>();
    let good = ids.len() as u64 + 1 - bad;
    assert_eq!((sent.sent, sent.parked), (good, bad));
    let counts = place.counts::<C>();
    assert_eq!((counts.waiting, counts.sent), (0, good as i64));
    assert_eq!(counts.parked, bad as i64);
    if bad > 0 {
        let reasons = conn.text("select min(last_error) from published where status = -1");
        assert!(reasons.unwrap().contains("is not a UUID"));
    }
    assert_eq!(place.relay::<C>().sent, 0, "nothing is left");
}

/// A trigger keeps the row unchanged: it would be sent again at the end of each lease.
pub(crate) fn a_row_that_takes_no_outcome_is_left_alone<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    Message::new(place.topic(), 1).publish(&mut conn).unwrap();
    Message::new(place.topic(), 2).publish(&mut conn).unwrap();
    conn.batch_execute(
        "create function keep() returns trigger language plpgsql as $$
         begin
             if new.status = 2 and new.seq = 1 then return null; end if;
             return new;
         end $$;
         create trigger keep before update on published for each row execute function keep()",
    )
    .unwrap();
    let log = Log::default();
    let collected = log.clone();
    let settings = place
        .settings()
        .set("lease", "1s")
        .set("receipt_timeout", "900ms");
    let relay =
        Running::start_with::<C, _>(settings, move || collected.collect(tracing::Level::WARN));
    wait_until("it is noticed", || {
        log.count("does not change this row") == 1
    });
    let due = "select count(*) from published where status = 1 and due_at <= clock_timestamp()";
    wait_until("its lease has ended", || conn.number(due) == 1);
    for n in 3..6 {
        Message::new(place.topic(), n).publish(&mut conn).unwrap();
        wait_until("another is sent", || place.counts::<C>().sent == n - 1);
    }
    relay.stop();
    assert_eq!(arrivals(place, "1"), 1, "{}", log.text());
    assert_eq!(log.count("does not change this row"), 1);
}
