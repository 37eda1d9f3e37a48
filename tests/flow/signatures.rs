//! Signed rows: what a relay sends, and what it parks.

use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use diesel_outbox::config::Builder;
use diesel_outbox::signing::{Keys, with_keys};
use diesel_outbox::{BoxError, Error, Message, MessageError, Outcome, Payload, Registry, admin};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::faults::Running;
use crate::log::Log;
use crate::place::{Place, Subject, next, wait_until};

const OLD: &str = "old:a-secret-of-many-bytes";
const NEW: &str = "new:another-secret-of-many";
const BOTH: &str = "new:another-secret-of-many,old:a-secret-of-many-bytes";

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::parse(OLD).unwrap());

/// A relay with these settings.
fn verifying(place: &Place, verify: &str, keys: &str) -> Builder {
    let settings = place.settings().set("verify_signatures", verify);
    settings.set("signing_keys", keys)
}

fn publish<C: Subject>(conn: &mut C, message: Message) -> Uuid {
    with_keys(&KEYS, || message.publish(conn).unwrap())
}

fn signature<C: Subject>(conn: &mut C, id: Uuid) -> String {
    let row = admin::show(conn, id).unwrap().unwrap();
    row.signature.unwrap()
}

fn key_column<C: Subject>() -> &'static str {
    match C::NAME {
        "MySQL/MariaDB" => "`key`",
        _ => "key",
    }
}

/// Each kind of change is found, the row waits for an operator, and it is sent when it is as it was signed.
pub(crate) fn a_row_that_was_changed_is_parked<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let key = key_column::<C>();
    let row = || Message::new(place.topic(), json!({"n": 1}));
    let other = publish(&mut conn, row());
    let of_other = signature(&mut conn, other);
    // MySQL would store 1.0, which is the same number as before.
    let near_one = if parses_json(&mut conn) {
        "1.0000000001"
    } else {
        "1.00000000000000000001"
    };
    let changes = [
        (format!("id = '{}'", Uuid::now_v7()), "does not match"),
        (
            "destination = '/queue/elsewhere'".to_owned(),
            "does not match",
        ),
        (r#"body = '{"n": 2}'"#.to_owned(), "does not match"),
        (r#"body = '{"n": "1"}'"#.to_owned(), "does not match"),
        (format!(r#"body = '{{"n": {near_one}}}'"#), "does not match"),
        (r#"headers = '{"a": "b"}'"#.to_owned(), "does not match"),
        ("stream = 'audit'".to_owned(), "does not match"),
        (format!("{key} = 'another'"), "does not match"),
        (format!("{key} = null"), "does not match"),
        (format!("signature = '{of_other}'"), "does not match"),
        (
            "signature = replace(signature, ':old:', ':new:')".to_owned(),
            "does not match",
        ),
        (
            "signature = replace(signature, 'old::', 'old:1:')".to_owned(),
            "does not match",
        ),
        (
            "signature = replace(signature, ':old:', ':lost:')".to_owned(),
            "the key `lost`",
        ),
        ("signature = ''".to_owned(), "not of the form"),
        ("signature = null".to_owned(), "is not signed"),
    ];
    let ids: Vec<Uuid> = (0..changes.len())
        .map(|n| publish(&mut conn, row().key(format!("key {n}"))))
        .collect();
    conn.batch_execute("create table signed as select * from published")
        .unwrap();
    for (id, (change, _)) in ids.iter().zip(&changes) {
        let change = format!("update published set {change} where id = '{id}'");
        conn.batch_execute(&change).unwrap();
    }
    let unsigned = row().publish(&mut conn).unwrap();
    // They wait behind a row that is parked, and behind none.
    let (last, last_key) = (changes.len() - 1, format!("key {}", changes.len() - 1));
    publish(
        &mut conn,
        Message::new(place.topic(), "behind").key(last_key),
    );
    publish(
        &mut conn,
        Message::new(place.topic(), "free").key("free".to_owned()),
    );

    let config = verifying(place, "require", BOTH).build().unwrap();
    let log = Log::default();
    let sent = {
        let _guard = log.collect(tracing::Level::TRACE);
        place.relay_with::<C>(&config)
    };
    let bad = changes.len() as u64 + 1;
    assert_eq!((sent.sent, sent.parked), (2, bad), "{}", log.text());
    assert_eq!(bodies(place), ["\"free\"", r#"{"n":1}"#]);
    assert_eq!(place.counts::<C>().waiting, 1, "its key is blocked");
    for (n, (change, reason)) in changes.iter().enumerate() {
        let seq = n + 2;
        let query = format!("select last_error from published where seq = {seq}");
        let error = conn.text(&query).unwrap();
        assert!(error.contains(reason), "{change}: {error}");
    }
    let shown = format!("{}{config:?}{:?}", log.text(), *KEYS);
    assert!(!shown.contains("secret-of-many"), "{shown}");

    // They are verified again after a command.
    assert_eq!(admin::retry_all(&mut conn).unwrap() as u64, bad);
    let again = place.relay_with::<C>(&config);
    assert_eq!((again.sent, again.parked), (0, bad));
    let columns = [
        "id",
        "destination",
        "body",
        "headers",
        "stream",
        key,
        "signature",
    ];
    let columns = columns.map(|column| {
        format!("{column} = (select s.{column} from signed s where s.seq = published.seq)")
    });
    conn.batch_execute(&format!(
        "update published set {} where seq in (select seq from signed)",
        columns.join(", ")
    ))
    .unwrap();
    assert_eq!(admin::retry_all(&mut conn).unwrap() as u64, bad);
    let sent = place.relay_with::<C>(&config);
    assert_eq!(
        (sent.sent, sent.parked),
        (bad, 1),
        "row {last} and what is behind it too"
    );
    let shown = admin::show(&mut conn, unsigned).unwrap().unwrap();
    assert_eq!(shown.row.error.as_deref(), Some("the row is not signed"));
    assert_eq!(shown.signature, None);
}

/// The bodies that arrived, in alphabetical order, without white space.
fn bodies(place: &Place) -> Vec<String> {
    let mut bodies: Vec<String> = place.loopback().view(|view| {
        let texts = view
            .sent()
            .iter()
            .map(|sent| String::from_utf8_lossy(&sent.body).into_owned());
        texts.map(|text| text.replace(' ', "")).collect()
    });
    bodies.sort();
    bodies
}

/// Whether the server stores JSON as it parsed it, with doubles and without names that are there twice: MySQL.
fn parses_json<C: Subject>(conn: &mut C) -> bool {
    C::NAME.starts_with("MySQL") && !conn.is_mariadb()
}

/// The parsers of consumers differ about a name that is there twice. jsonb and MySQL keep the last one only.
pub(crate) fn a_name_that_is_there_twice_is_not_sent<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    publish(&mut conn, Message::new(place.topic(), json!({"n": 1})));
    conn.batch_execute(r#"update published set body = '{"n": 2, "n": 1}'"#)
        .unwrap();
    let config = verifying(place, "require", OLD).build().unwrap();
    let sent = place.relay_with::<C>(&config);
    let expected = if C::NAME == "PostgreSQL" || parses_json(&mut conn) {
        (1, 0)
    } else {
        (0, 1)
    };
    assert_eq!((sent.sent, sent.parked), expected);
}

/// Whoever can write to the table cannot bring a delayed message forward; nor can a command.
pub(crate) fn a_row_is_not_sent_before_its_signed_time<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let delayed = |time| Message::new(place.topic(), 1).delay(time);
    let far = publish(
        &mut conn,
        delayed(Duration::from_secs(3600)).key("k".to_owned()),
    );
    publish(
        &mut conn,
        Message::new(place.topic(), "behind").key("k".to_owned()),
    );
    let cancelled = publish(&mut conn, delayed(Duration::from_secs(3600)));
    assert!(diesel_outbox::cancel(&mut conn, cancelled).unwrap());
    admin::retry(&mut conn, [cancelled]).unwrap();
    let due_at = "select due_at from published where seq = 1";
    let due = conn.text(due_at);
    conn.batch_execute("update published set due_at = '1970-01-01 00:00:00.000000'")
        .unwrap();
    let config = verifying(place, "require", OLD).build().unwrap();
    let sent = place.relay_with::<C>(&config);
    assert_eq!((sent.sent, sent.failed, sent.parked), (0, 0, 0));
    assert_eq!(conn.text(due_at), due, "the signed time");
    for id in [far, cancelled] {
        let row = admin::show(&mut conn, id).unwrap().unwrap().row;
        assert!(row.error.unwrap().contains("is signed to be sent at"));
        assert_eq!(row.attempts, 0);
        let waits = row.due_at.unwrap() - Utc::now();
        assert!((3500..=3600).contains(&waits.num_seconds()), "{waits}");
    }
    // It is sent when its time comes.
    publish(&mut conn, delayed(Duration::from_millis(300)));
    let began = std::time::Instant::now();
    let relay = Running::start::<C>(verifying(place, "require", OLD));
    wait_until("it is sent", || place.counts::<C>().sent == 1);
    assert!(began.elapsed() < Duration::from_secs(10));
    relay.stop();
    let early = "select count(*) from published where status = 2 and last_error is not null";
    assert_eq!(conn.number(early), 0);
    // A time in the past is none.
    publish(
        &mut conn,
        Message::new(place.topic(), 1).due_at(Utc::now() - TimeDelta::days(1)),
    );
    publish(
        &mut conn,
        Message::new(place.topic(), 1).due_at(chrono::DateTime::UNIX_EPOCH),
    );
    assert_eq!(place.relay_with::<C>(&config).sent, 2);
}

pub(crate) fn without_require_a_row_is_sent_whatever_its_signature<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let write = |conn: &mut C| {
        for n in 0..150 {
            Message::new(place.topic(), n).publish(conn).unwrap();
        }
        publish(conn, Message::new(place.topic(), "signed"));
        publish(
            conn,
            Message::new(place.topic(), 1).delay(Duration::from_secs(3600)),
        );
        conn.batch_execute(
            "update published set due_at = '1970-01-01 00:00:00.000000' where status = 1",
        )
        .unwrap();
    };
    for (verify, keys, warnings) in [("off", "none", 0), ("off", OLD, 0), ("warn", NEW, 1)] {
        write(&mut conn);
        let config = verifying(place, verify, keys).set("chunk_size", 10);
        let config = config.build().unwrap();
        let log = Log::default();
        let _guard = log.collect(tracing::Level::DEBUG);
        let sent = place.relay_with::<C>(&config);
        assert_eq!((sent.sent, sent.parked), (152, 0), "{verify}");
        let lines = log.count("rows without a valid signature are sent or executed");
        assert_eq!(lines, warnings, "{verify}: {}", log.text());
    }
}

/// A new key is made known to the relays, then it signs, then the old one is taken away.
pub(crate) fn keys_are_replaced_while_rows_wait<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let old = |conn: &mut C| publish(conn, Message::new(place.topic(), "old"));
    let both = Keys::parse(BOTH).unwrap();
    let new = |conn: &mut C| {
        let message = Message::new(place.topic(), "new");
        with_keys(&both, || message.publish(conn).unwrap())
    };
    let relay = |keys: &str| {
        let config = verifying(place, "require", keys).build().unwrap();
        let sent = place.relay_with::<C>(&config);
        (sent.sent, sent.parked)
    };
    old(&mut conn);
    let by_new = new(&mut conn);
    assert!(signature(&mut conn, by_new).starts_with("v1:new::"));
    assert_eq!(relay(BOTH), (2, 0));
    old(&mut conn);
    new(&mut conn);
    assert_eq!(relay(NEW), (1, 1));
    let reason = conn.text("select last_error from published where status = -1");
    let expected = "the row is signed with the key `old`, which is not in signing_keys";
    assert_eq!(reason.as_deref(), Some(expected));
    admin::retry_all(&mut conn).unwrap();
    assert_eq!(relay(BOTH), (1, 0));
}

/// A rule gives a row its key after it was signed; other keys are not accepted.
pub(crate) fn a_key_that_a_rule_gives_is_no_change<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let key = key_column::<C>();
    let ruled = |settings: Builder| settings.set("ordered_destination", place.topic());
    publish(&mut conn, Message::new(place.topic(), 1));
    publish(
        &mut conn,
        Message::new(place.topic(), 2).key("own".to_owned()),
    );
    let config = ruled(verifying(place, "require", OLD)).build().unwrap();
    assert_eq!(place.relay_with::<C>(&config).sent, 2);
    // As a relay leaves it that could not send it.
    for (n, given) in [place.topic(), "/topic/other".to_owned()]
        .iter()
        .enumerate()
    {
        let id = publish(&mut conn, Message::new(place.topic(), n));
        conn.batch_execute(&format!(
            "update published set {key} = 'destination:{given}' where id = '{id}'"
        ))
        .unwrap();
    }
    let sent = place.relay_with::<C>(&config);
    assert_eq!((sent.sent, sent.parked), (1, 1));
}

/// What a callback writes is signed with the settings of its subscriber.
pub(crate) fn what_a_callback_publishes_is_signed<C: Subject>(place: &Place) {
    let (sender, done) = mpsc::channel();
    let answers = place.topic() + ".answers";
    let registry = Registry::<C>::new().on(
        "it",
        move |conn: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            Message::new(&answers, "answer").publish(conn)?;
            sender.send(())?;
            Ok(Outcome::Done)
        },
    );
    place.declare::<C>();
    let signing = place.settings().set("signing_keys", OLD).set("sign", true);
    let consumer = place.subscribe_with(&registry, "it", &signing.build().unwrap());
    place.send(Message::new(place.topic(), 1));
    next(&done);
    assert_eq!(consumer.stop().done, 1);
    let config = verifying(place, "require", OLD).build().unwrap();
    assert_eq!(place.relay_with::<C>(&config).sent, 1);
}

/// Whatever the database makes of a document, its signature stays valid.
pub(crate) fn any_document_is_valid_as_it_is_stored<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let mut documents = vec![
        json!(1.0),
        json!(1e2),
        json!(-0.0),
        json!([0, -1, 0.1 + 0.2, 1e22, 1e23, 1e-7, 123_456_789.125]),
        json!([f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, f64::EPSILON]),
        json!([
            u64::MAX,
            i64::MIN,
            9_007_199_254_740_993_u64,
            18_446_744_073_709_551_616.0
        ]),
        json!({"b": 1, "a": {"zz": [], "y": {}, "": null}, "ä": [true, false], "aa": "", "B": 0}),
        json!("\u{1}\u{1f}\"\\/\u{7f}\u{2028}\u{feff}\u{ffff}é\u{65}\u{301}😀\u{10ffff}\t\r\n"),
        json!({"\u{1}\"\\😀": "\\u0041", "\u{e9}": 1, "e\u{301}": 2}),
        json!(" leading and trailing "),
        Value::from_iter((0..30).map(|n| (format!("name {n}"), Value::from(n)))),
        (0..30).fold(json!(1), |inner, n| {
            if n % 2 == 0 {
                json!([inner])
            } else {
                json!({"a": inner})
            }
        }),
    ];
    let mut runner = TestRunner::deterministic();
    let strategy = any_document();
    documents.extend((0..400).map(|_| strategy.new_tree(&mut runner).unwrap().current()));
    let rounds = parses_json(&mut conn);
    let total = documents.len();
    let mut ids = Vec::new();
    documents.retain(|document| {
        let header = document.to_string();
        let message = Message::new(place.topic(), document).header("x", header);
        let message = message.key("kéy ".to_owned()).stream("ström");
        match with_keys(&KEYS, || message.publish(&mut conn)) {
            Ok(id) => ids.push(id),
            // A document that the server may change is an error of its writer.
            Err(error) if rounds && error.to_string().contains("may round") => return false,
            Err(error) => panic!("{document}: {error}"),
        }
        true
    });
    assert!(documents.len() > if rounds { total / 4 } else { total - 1 });
    let config = verifying(place, "require", OLD).build().unwrap();
    let sent = place.relay_with::<C>(&config);
    for (id, document) in ids.iter().zip(&documents) {
        let query = format!("select status from published where id = '{id}'");
        assert_eq!(conn.number(&query), 2, "{document}");
    }
    assert_eq!(sent.sent, documents.len() as u64);
}

fn any_document() -> impl Strategy<Value = Value> {
    // jsonb cannot hold U+0000.
    let text = || any::<String>().prop_map(|text| text.replace('\0', ""));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u64>().prop_map(|bits| json!(f64::from_bits(bits))),
        (any::<i32>(), -30..30_i32).prop_map(|(n, power)| json!(f64::from(n) * 10_f64.powi(power))),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(text(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A body that could not be verified later is an error of its writer.
pub(crate) fn a_document_that_is_too_deep_is_not_signed<C: Subject>(place: &Place) {
    let mut conn = place.connect::<C>();
    let deep = (0..128).fold(json!(1), |inner, _| json!([inner]));
    let message = Message::new(place.topic(), &deep);
    let error = with_keys(&KEYS, || message.publish(&mut conn).unwrap_err());
    assert!(matches!(error, Error::Message(MessageError::Unsignable(_))));
    assert_eq!(
        error.to_string(),
        "invalid message: the body cannot be signed: it has more than 127 \
         levels of arrays and objects"
    );
    assert_eq!(place.counts::<C>().waiting, 0);
}
