//! What `outbox status` shows.

use diesel_outbox::backend::Backend;

use crate::ran::outbox;
use crate::support::TestDatabase;
use crate::{FAILED, SENT, WAITING};

pub(crate) fn the_status_shows_reasons_leases_and_streams<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    let columns = "id, destination, body, stream, retry, last_error, due_at, lease_token";
    let later = "'8000-01-01 00:00:00.000000'";
    // A UUIDv7 of 2030-03-17 that ends with the holder's name.
    let token = "01ba5d02-a800-7707-8707-070707070707";
    let mut conn = C::establish(&database.url).unwrap();
    conn.batch_execute(&format!(
        "insert into published ({columns}) values
         ('{FAILED}', '/queue/a', '{{}}', null, 2, 'it is refused', {later}, null),
         ('{WAITING}', '/queue/a', '{{}}', 'mail', 0, null, '1970-01-01 00:00:00.000000', null),
         ('{SENT}', '/queue/a', '{{}}', null, 0, null, {later}, '{token}')"
    ))
    .unwrap();
    outbox(database, &["status"])
        .says("waiting   3\n  not due 2\n  due     1\n")
        .says("  leased  1\n  retrying 1\n    reason 1 times: it is refused\n")
        .says("    failing /queue/a: 1 row\n")
        .says("leased by 070707070707: 1 row, since 2030-")
        .says(", until 8000-01-01T00:00:00+00:00")
        .says("overdue   1 row of stream mail, the first for ");
}

pub(crate) fn the_status_shows_calls_that_nobody_claims<C: Backend>(database: &TestDatabase) {
    outbox(database, &["migrate"]).says("applied");
    let mut conn = C::establish(&database.url).unwrap();
    let old = "'2001-01-01 00:00:00.000000'";
    conn.batch_execute(&format!(
        "insert into outbox_calls (id, name, args, added) values
         ('{WAITING}', 'shop.\u{1b}charge', '{{}}', {old}), ('{SENT}', 'shop.\u{1b}charge', '{{}}', {old})"
    ))
    .unwrap();
    outbox(database, &["status", "--calls"])
        .says("unclaimed 2 calls of shop.\u{1b}charge, the first for ")
        .says(": no executor claims them\n");
    let shown = outbox(database, &["status", "--calls", "--json"]).says("");
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    let unclaimed = &shown["unclaimed"][0];
    assert_eq!(unclaimed["name"], "shop.\u{1b}charge");
    assert_eq!(unclaimed["rows"], 2);
    assert!(unclaimed["oldest_seconds"].as_f64().unwrap() > 1e8);
    let mut change = |changes: &str| {
        let change = format!("update outbox_calls set {changes} where id = '{SENT}'");
        conn.batch_execute(&change).unwrap();
        outbox(database, &["status", "--calls"])
    };
    // A failed attempt of an executor that does not run any more.
    change("retry = 1")
        .says("    failing shop.\u{1b}charge: 1")
        .says("unclaimed 2 calls of ");
    let status = change("due_at = '8000-01-01 00:00:00.000000', lease_token = id");
    assert!(!status.out.contains("unclaimed"), "{status:?}");
}
