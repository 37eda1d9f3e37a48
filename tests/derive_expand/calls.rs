//! What `outboxed` writes: the struct, its names and options, and the function that an executor calls.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel_outbox::calls::{
    Call, CallInfo, CallResult, Codec, Context, Execute, Function, RetryPolicy, State, States,
    WhenExhausted, decode,
};
use diesel_outbox::migrations::Migrate;
use diesel_outbox::{BoxError, outboxed};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What the functions did.
#[derive(Default)]
pub(crate) struct Log(std::sync::Mutex<Vec<String>>);

impl Log {
    fn say(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[outboxed]
fn plain(order: i64, email: &str, tags: &[String], day: &chrono::NaiveDate, log: State<Log>) {
    log.say(format!("plain {order} {email} {tags:?} {day}"));
}

#[outboxed(
    name = "shop.charge",
    alias = "shop.bill",
    alias = "bill",
    stream = "billing",
    ordered,
    key = customer,
    retry(
        attempts = 7,
        first_delay = "1s 500ms",
        factor = 2,
        maximum_delay = "1h",
        jitter = 0.5,
        when_exhausted = "park"
    ),
    timeout = "1m 30s"
)]
fn charge(
    conn: &mut SqliteConnection,
    mut order: i64,
    #[serde(default)] customer: Option<String>,
    info: &CallInfo,
) -> Result<usize, diesel::result::Error> {
    order += 1;
    let note = format!("{order} {customer:?} {}", info.attempt);
    diesel::sql_query("insert into notes (note) values (?)")
        .bind::<diesel::sql_types::Text, _>(note)
        .execute(conn)
}

#[outboxed(key = format!("{}/{kind}", r#type.len()))]
pub(crate) async fn send(
    log: State<Log>,
    r#type: &str,
    /// Documented.
    kind: u8,
    info: CallInfo,
) -> Result<(), BoxError> {
    if kind == 0 {
        return Err("no kind".into());
    }
    log.say(format!("send {} {kind} {}", r#type, info.name));
    Ok(())
}

#[outboxed]
fn nothing() {}

/// Bytes with a number in front.
struct Numbered;

impl Codec for Numbered {
    const NAME: &'static str = "numbered";

    fn encode<T: Serialize>(arguments: &T) -> Result<Vec<u8>, BoxError> {
        let mut bytes = vec![7];
        serde_json::to_writer(&mut bytes, arguments)?;
        Ok(bytes)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
        match bytes {
            [7, json @ ..] => Ok(serde_json::from_slice(json)?),
            _ => Err("no number".into()),
        }
    }
}

#[outboxed(encoding = Numbered, retry(jitter = 0, when_exhausted = "block"))]
fn numbered(amount: f32) -> Result<(), String> {
    let _ = amount;
    Ok(())
}

#[outboxed(encoding = "msgpack")]
fn packed(amount: f32, note: Option<String>) {
    let _ = (amount, note);
}

/// What stands in the user's module has no effect on the generated code.
mod surrounded {
    #![allow(dead_code, non_snake_case)]
    use diesel_outbox as outbox;

    struct Option;
    struct Result;
    struct String;
    struct Vec;
    struct Box;
    mod std {}
    mod core {}
    mod serde {}
    trait ToOwned {}
    trait Clone {}

    #[outbox::outboxed(crate = outbox, key = conn)]
    pub(super) fn odd(conn: &str, call: u8, context: u8, __C: u8) {
        let _ = (conn, call, context, __C);
    }
}

fn context(log: &Arc<Log>) -> Context {
    let info: CallInfo = info();
    let mut states = States::default();
    states.insert(Arc::clone(log));
    Context::new(info, Arc::new(states))
}

fn info() -> CallInfo {
    CallInfo::new(uuid::Uuid::from_u128(7), "shop.charge", 3)
}

fn connection() -> SqliteConnection {
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    conn.migrate().unwrap();
    diesel::connection::SimpleConnection::batch_execute(
        &mut conn,
        "create table notes (note text not null)",
    )
    .unwrap();
    conn
}

fn column(conn: &mut SqliteConnection, table: &str, column: &str) -> Vec<Option<String>> {
    use diesel::dsl::sql;
    use diesel::sql_types::{Nullable, Text};
    diesel::select(sql::<Nullable<Text>>(&format!(
        "cast({column} as text) from {table} order by rowid"
    )))
    .load(conn)
    .unwrap()
}

#[test]
fn the_function_stays_and_later_writes_a_call() {
    let conn = &mut connection();
    nothing();
    assert_eq!(charge(conn, 1, None, &info()).unwrap(), 1);
    assert_eq!(column(conn, "notes", "note"), [Some("2 None 3".to_owned())]);

    let id = charge::later(conn, 7, Some("ann".to_owned())).unwrap();
    let day = chrono::NaiveDate::from_ymd_opt(2026, 11, 28).unwrap();
    plain::later(conn, 1, "a@b", &["x".to_owned()], &day).unwrap();
    nothing::later(conn).unwrap();
    surrounded::odd::later(conn, "k", 1, 2, 3).unwrap();
    let text = |all: &[&str]| -> Vec<Option<String>> {
        all.iter().map(|it| Some((*it).to_owned())).collect()
    };
    assert_eq!(column(conn, "outbox_calls", "id")[0], Some(id.to_string()));
    assert_eq!(
        column(conn, "outbox_calls", "name"),
        text(&["shop.charge", "plain", "nothing", "odd"])
    );
    let args: Vec<Value> = column(conn, "outbox_calls", "args")
        .iter()
        .map(|it| serde_json::from_str(it.as_deref().unwrap()).unwrap())
        .collect();
    assert_eq!(args[0], json!({"order": 7, "customer": "ann"}));
    assert_eq!(
        args[1],
        json!({"order": 1, "email": "a@b", "tags": ["x"], "day": "2026-11-28"})
    );
    assert_eq!(args[2], json!({}));
    assert_eq!(
        column(conn, "outbox_calls", "key"),
        [Some("ann".to_owned()), None, None, Some("k".to_owned())]
    );
    assert_eq!(
        column(conn, "outbox_calls", "stream"),
        [Some("billing".to_owned()), None, None, None]
    );
    // Nothing that a publisher could send.
    assert!(column(conn, "published", "id").is_empty());
}

#[test]
fn the_options_are_those_of_the_attribute() {
    assert_eq!(charge::NAME, "shop.charge");
    assert_eq!(charge::ALIASES, ["shop.bill", "bill"]);
    assert_eq!(charge::STREAM, Some("billing"));
    assert_eq!((charge::ORDERED, plain::ORDERED), (true, false));
    let policy = RetryPolicy::new()
        .attempts(7)
        .first_delay(Duration::from_millis(1500))
        .factor(2.0)
        .maximum_delay(Duration::from_secs(3600))
        .jitter(0.5)
        .when_exhausted(WhenExhausted::Park);
    assert_eq!(charge::RETRY, policy);
    assert_eq!(
        numbered::RETRY,
        RetryPolicy::new()
            .jitter(0.0)
            .when_exhausted(WhenExhausted::Block)
    );
    assert_eq!(charge::TIMEOUT, Some(Duration::from_secs(90)));
    assert_eq!(charge::ENCODING.name(), "json");
    assert_eq!((plain::NAME, plain::STREAM), ("plain", None));
    assert_eq!((plain::RETRY, plain::TIMEOUT), (RetryPolicy::new(), None));
    let call = send {
        r#type: "four".to_owned(),
        kind: 2,
    };
    assert_eq!(call.ordering_key().as_deref(), Some("4/2"));
    assert_eq!(numbered::ENCODING.name(), "numbered");
    assert_eq!(packed::ENCODING.name(), "msgpack");
}

#[test]
fn a_function_is_executed_by_its_kind() {
    let conn = &mut connection();
    let log = Arc::new(Log::default());
    let run = |function: Function<charge, SqliteConnection>, conn: &mut SqliteConnection| {
        let Function::Transactional(function) = function else {
            panic!("{function:?}")
        };
        let call = charge {
            order: 7,
            customer: None,
        };
        function(call, conn, &context(&log))
    };
    run(charge::FUNCTION, conn).unwrap();
    assert_eq!(column(conn, "notes", "note"), [Some("8 None 3".to_owned())]);

    let function = <plain as Execute<SqliteConnection>>::FUNCTION;
    let Function::Blocking(function) = function else {
        panic!("{function:?}")
    };
    let call = plain {
        order: 1,
        email: "a@b".to_owned(),
        tags: vec!["x".to_owned()],
        day: chrono::NaiveDate::from_ymd_opt(2026, 11, 28).unwrap(),
    };
    function(call, &context(&log)).unwrap();
    assert_eq!(log.taken(), ["plain 1 a@b [\"x\"] 2026-11-28"]);

    // State that is not there is an error, which an executor sees at its start.
    let states = <plain as Execute<SqliteConnection>>::STATES;
    assert_eq!(states.len(), 1);
    assert!(!States::default().has(states[0]));
    assert!(<nothing as Execute<SqliteConnection>>::STATES.is_empty());
}

#[tokio::test]
async fn an_async_function_owns_its_arguments() {
    let log = Arc::new(Log::default());
    let function = <send as Execute<SqliteConnection>>::FUNCTION;
    let Function::Async(function) = function else {
        panic!("{function:?}")
    };
    let call = |kind| send {
        r#type: "four".to_owned(),
        kind,
    };
    let result: CallResult = tokio::spawn(function(call(2), context(&log)))
        .await
        .unwrap();
    result.unwrap();
    assert_eq!(log.taken(), ["send four 2 shop.charge"]);
    let error = function(call(0), context(&log)).await.unwrap_err();
    assert_eq!(error.to_string(), "no kind");
}

#[test]
fn rows_are_read_after_the_parameters_changed() {
    let args = |text: &str| decode::<charge>("json", Some(text), None);
    // Before `customer` was added, and another parameter removed.
    let call = args(r#"{"order": 3, "gone": [1]}"#).unwrap();
    assert_eq!((call.order, call.customer), (3, None));
    for (text, reason) in [
        (r#"{"customer": "x"}"#, "missing field `order`"),
        (r#"{"order": "x"}"#, "invalid type"),
        ("[", "EOF"),
    ] {
        let error = args(text).map(drop).unwrap_err().to_string();
        assert!(
            error.contains("decoded as json") && error.contains(reason),
            "{error}"
        );
    }
    let error = decode::<charge>("other\n", None, Some(b"x"))
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().ends_with(r"encoding `other\n`"),
        "{error}"
    );
    let error = decode::<charge>("json", None, None).map(drop).unwrap_err();
    assert!(error.to_string().contains("no arguments"), "{error}");
}

#[test]
fn other_encodings_are_stored_as_bytes_and_read_again() {
    let conn = &mut connection();
    numbered::later(conn, 0.1).unwrap();
    packed::later(conn, 0.1, None).unwrap();
    assert_eq!(column(conn, "outbox_calls", "args"), [None, None]);
    let encodings = column(conn, "outbox_calls", "encoding");
    assert_eq!(
        encodings,
        [Some("numbered".to_owned()), Some("msgpack".to_owned())]
    );
    let payloads: Vec<Vec<u8>> = diesel::select(diesel::dsl::sql::<diesel::sql_types::Binary>(
        "payload from outbox_calls order by seq",
    ))
    .load(conn)
    .unwrap();
    assert_eq!(payloads[0][0], 7);
    let call = decode::<numbered>("numbered", None, Some(&payloads[0])).unwrap();
    assert_eq!(call.amount, 0.1);
    let call = decode::<packed>("msgpack", None, Some(&payloads[1])).unwrap();
    assert_eq!((call.amount, call.note), (0.1, None));
    // The encoding of a function may change while rows wait.
    assert!(decode::<packed>("json", Some(r#"{"amount": 1}"#), None).is_ok());
    assert!(decode::<numbered>("msgpack", None, Some(&payloads[1])).is_ok());
    let error = decode::<numbered>("numbered", None, Some(b"x")).map(drop);
    assert!(error.unwrap_err().to_string().contains("no number"));
}
