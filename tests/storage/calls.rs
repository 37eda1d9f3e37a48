//! Writing calls.

use std::time::Instant;

use chrono::{DateTime, Utc};
use diesel_outbox::Error;
use diesel_outbox::backend::{CALLS, Scope};
use diesel_outbox::calls::{Call, CallError, write_all};
use diesel_outbox::correlation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

/// A call without options.
#[derive(Serialize, Deserialize)]
struct Mail {
    to: String,
}

impl Call for Mail {
    const NAME: &'static str = "mail";
}

fn mail(to: &str) -> Mail {
    Mail { to: to.to_owned() }
}

/// A call whose constants give it a stream and a key.
#[derive(Serialize, Deserialize)]
struct Ordered(Option<u8>);

impl Call for Ordered {
    const NAME: &'static str = "ordered";
    const ORDERED: bool = true;

    fn ordering_key(&self) -> Option<String> {
        self.0.map(|number| number.to_string())
    }
}

fn details<C: Subject>(conn: &mut C, id: Uuid) -> admin::RowDetails {
    let found = diesel_outbox::backend::Listing::find(conn, CALLS, &id.to_string());
    found.unwrap().unwrap()
}

fn written<C: Subject>(conn: &mut C) -> i64 {
    conn.count(CALLS).unwrap().waiting
}

pub(crate) fn a_claim_of_known_names_is_quick_behind_a_blocked_key<C: Subject>(url: &str) {
    const BEHIND: usize = 10_000;
    let mut conn = connect::<C>(url);
    mail("ann").key("k").write(&mut conn).unwrap();
    let leased = conn.claim(CALLS, Uuid::new_v4(), MINUTE, 1).unwrap();
    assert_eq!(leased.len(), 1);
    write_all(&mut conn, (0..BEHIND).map(|_| mail("ann").key("k"))).unwrap();
    let free = mail("bob").write(&mut conn).unwrap();
    let names = Scope {
        destinations: vec![Mail::NAME.to_owned()],
        ..Scope::default()
    };
    let began = Instant::now();
    let rows = conn
        .claim_in(CALLS, &names, Uuid::new_v4(), MINUTE, 9)
        .unwrap();
    let took = began.elapsed();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, [free]);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

pub(crate) fn a_call_is_written_with_its_options<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let before = conn.count(PUBLISHED).unwrap();
    let due: DateTime<Utc> = "2500-01-01T00:00:00Z".parse().unwrap();
    let plain = correlation::scope("chain-7", || mail("ann").write(conn).unwrap());
    let id = Uuid::from_u128(7);
    let call = mail("bob").id(id).key(12).stream("mails").header("x", "y");
    let taken = call.due_at(due).expires_in(MINUTE).write(conn).unwrap();
    assert_eq!(taken, id);

    let found = details(conn, plain);
    assert_eq!(found.row.destination, "mail");
    assert_eq!((found.row.stream, found.row.key), (None, None));
    assert_eq!((found.row.due_at, found.row.expires_at), (None, None));
    assert_eq!(plain.get_version_num(), 7);
    let body: Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!(body, json!({"to": "ann"}));
    let headers: Value = serde_json::from_str(&found.headers).unwrap();
    assert_eq!(headers, json!({"dop-correlation-id": "chain-7"}));

    let found = details(conn, id);
    assert_eq!(found.row.stream.as_deref(), Some("mails"));
    assert_eq!(found.row.key.as_deref(), Some("12"));
    assert_eq!(found.row.due_at, Some(due));
    let now = conn.now().unwrap();
    let expires = found.row.expires_at.unwrap();
    assert!(now < expires && expires <= now + MINUTE, "{expires}");
    let headers: Value = serde_json::from_str(&found.headers).unwrap();
    assert_eq!(headers["x"], "y");
    assert!(headers["dop-correlation-id"].is_string());

    // The key of the constants; that of the call replaces it.
    for (call, key) in [
        (Ordered(Some(3)).key("own"), "own"),
        (Ordered(Some(3)).header("x", "y"), "3"),
        (Ordered(None).header("x", "y"), "call:ordered"),
        (Ordered(None).stream("s"), "stream:s"),
    ] {
        let id = call.write(conn).unwrap();
        assert_eq!(details(conn, id).row.key.as_deref(), Some(key));
    }
    // Never a row that a publisher could send.
    assert_eq!(conn.count(PUBLISHED).unwrap(), before);
}

pub(crate) fn a_call_is_of_its_writers_transaction<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let id = Uuid::from_u128(7);
    let rolled_back: Result<(), Error> = conn.transaction(|conn| {
        mail("ann").id(id).write(conn)?;
        Err(diesel::result::Error::RollbackTransaction.into())
    });
    assert!(rolled_back.is_err());
    assert_eq!(written(conn), 0);
    // An id that is taken is no error of the transaction.
    conn.transaction(|conn| {
        assert!(mail("ann").id(id).write_if_new(conn)?);
        assert!(!mail("ann").id(id).write_if_new(conn)?);
        let taken = mail("ann").id(id).write(conn).unwrap_err();
        assert!(matches!(taken, Error::IdTaken(it) if it == id), "{taken:?}");
        let taken = write_all(
            conn,
            [mail("new").id(Uuid::from_u128(8)), mail("ann").id(id)],
        );
        assert!(
            matches!(taken, Err(Error::IdTaken(it)) if it == id),
            "{taken:?}"
        );
        mail("bob").write(conn)
    })
    .unwrap();
    assert_eq!(written(conn), 2);
}

pub(crate) fn calls_are_written_in_their_order<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    assert!(write_all(conn, Vec::<Mail>::new()).unwrap().is_empty());
    // More than one statement holds.
    let mut expected = Vec::new();
    for count in [1_usize, 2, 3, 600] {
        let calls = (0..count).map(|number| mail(&number.to_string()).key(number % 7));
        let ids = write_all(conn, calls).unwrap();
        assert_eq!(ids.len(), count);
        expected.extend(ids);
    }
    let token = Uuid::new_v4();
    let mut found = Vec::new();
    loop {
        let rows = conn.claim(CALLS, token, MINUTE, 100).unwrap();
        if rows.is_empty() {
            break;
        }
        let keys: Vec<RowKey> = rows.iter().map(|row| row.row()).collect();
        found.extend(rows.iter().map(|row| row.id));
        conn.settle_sent(CALLS, token, &keys).unwrap();
    }
    assert_eq!(found.len(), expected.len());
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

pub(crate) fn an_invalid_call_is_not_written<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    for (call, expected) in [
        (mail("a").key("k".repeat(256)), "the key has 256 characters"),
        (
            mail("a").stream("s".repeat(101)),
            "the stream has 101 characters",
        ),
        (mail("a").key("a\0b"), "the key holds the character U+0000"),
        (mail("a").header("", "b"), "empty name"),
        (mail("a").header("x", "a\0b"), "the header `x` holds"),
    ] {
        let error = call.write(conn).unwrap_err();
        assert!(matches!(error, Error::Call(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let nul = mail("a\0b").write(conn);
    if conn.refuses_nul() {
        let refused = matches!(nul, Err(Error::Call(CallError::Nul { .. })));
        assert!(refused, "{nul:?}");
    } else {
        nul.unwrap();
    }
    let valid = mail("a").key("é".repeat(255)).stream("é".repeat(100));
    valid.write(conn).unwrap();
}
