//! Signed calls: one that was changed is parked before it is decoded.

use std::sync::Mutex;

use diesel_outbox::calls::{Call, Calls, Execute, Executor, Function, Immediate};
use diesel_outbox::signing::{self, Keys};
use serde::{Deserialize, Deserializer, Serialize};

use crate::place::{Block, Place, Stage, Subject};
use crate::support::log::Log;

const KEYS: &str = "a:0123456789abcdef";

fn write_signed<C: Subject>(place: &Place<C>, n: i64) {
    let keys = Keys::parse(KEYS).unwrap();
    let mut conn = place.connect();
    signing::with_keys(&keys, || Block { n }.write(&mut conn)).unwrap();
}

pub(crate) fn a_changed_call_is_parked_and_not_run<C: Subject>(place: &Place<C>) {
    for n in 1..=4 {
        write_signed(place, n);
    }
    let mut conn = place.connect();
    let second =
        "(select seq from (select seq from outbox_calls) as s order by seq limit 1 offset 1)";
    let json = if C::NAME == "PostgreSQL" {
        "::jsonb"
    } else {
        ""
    };
    let args = format!("update outbox_calls set args = '{{\"n\": 9}}'{json} where seq = {second}");
    conn.run(&args).unwrap();
    let name = second.replace("offset 1", "offset 2");
    conn.run(&format!(
        "update outbox_calls set name = 'test.twice' where seq = {name}"
    ))
    .unwrap();
    let signature = second.replace("offset 1", "offset 3");
    conn.run(&format!(
        "update outbox_calls set signature = null where seq = {signature}"
    ))
    .unwrap();
    let stage = Stage::quiet();
    let stats = place.once_with(
        place
            .settings()
            .set("signing_keys", KEYS)
            .set("verify_signatures", "require"),
        &stage,
    );
    assert_eq!((stats.executed, stats.parked), (1, 3));
    assert_eq!(stage.started(), [1]);
    assert_eq!(place.statuses(), [2, -1, -1, -1]);
    let reasons: Vec<String> = conn
        .rows()
        .into_iter()
        .filter_map(|row| row.last_error)
        .collect();
    assert!(reasons[0].contains("does not match"), "{reasons:?}");
    assert!(reasons[1].contains("does not match"), "{reasons:?}");
    assert!(reasons[2].contains("not signed"), "{reasons:?}");
}

pub(crate) fn unsigned_calls_run_unless_signatures_are_required<C: Subject>(place: &Place<C>) {
    Block { n: 1 }.write(&mut place.connect()).unwrap();
    let settings = place
        .settings()
        .set("signing_keys", KEYS)
        .set("verify_signatures", "warn");
    assert_eq!(place.once_with(settings, &Stage::quiet()).executed, 1);
}

pub(crate) fn calls_without_a_valid_signature_are_logged<C: Subject>(place: &Place<C>) {
    let words = "rows without a valid signature are sent or executed";
    let stage = Stage::quiet();
    let settings = || {
        let settings = place.settings().set("signing_keys", KEYS);
        settings.set("verify_signatures", "warn")
    };
    let mut conn = place.connect();
    let log = Log::default();
    let collecting = log.collect(tracing::Level::WARN);
    let unsigned = Block { n: 1 }.write(&mut conn).unwrap();
    assert_eq!(place.once_with(settings(), &stage).executed, 1);
    assert_eq!(log.count(words), 1, "{}", log.text());
    assert!(log.text().contains(&unsigned.to_string()));
    // After the commit too: one line for all calls of some seconds.
    let functions = place.functions(&stage);
    let handle = Immediate::new(&settings().build().unwrap(), functions).unwrap();
    let mut last = None;
    for n in [2, 4] {
        let written = handle.transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            let first = Block { n }.write(conn)?;
            Block { n: n + 1 }.write(conn)?;
            Ok(first)
        });
        last = last.or(Some(written.unwrap()));
    }
    assert_eq!(stage.started(), [1, 2, 3, 4, 5]);
    assert_eq!(log.count(words), 2, "{}", log.text());
    let line = log.text().lines().last().unwrap().to_owned();
    assert!(line.contains(&last.unwrap().to_string()), "{line}");
    assert!(
        line.contains("rows=2") && line.contains("not signed"),
        "{line}"
    );
    drop(collecting);
}

pub(crate) fn changed_calls_run_unless_signatures_are_required<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    for (n, verify) in [(1, "off"), (2, "warn")] {
        write_signed(place, n);
        let changed = format!(
            "update outbox_calls set args = '{{\"n\": {}}}' where status = 1",
            n + 10
        );
        assert_eq!(conn.run(&changed).unwrap(), 1);
        let settings = place.settings().set("verify_signatures", verify);
        let settings = settings.set("signing_keys", KEYS);
        assert_eq!(place.once_with(settings, &stage).executed, 1, "{verify}");
    }
    assert_eq!(stage.started(), [11, 12]);
}

pub(crate) fn calls_are_signed_only_with_keys<C: Subject>(place: &Place<C>) {
    let signed = "select count(*) as n from outbox_calls where signature is not null";
    let mut conn = place.connect();
    Block { n: 1 }.write(&mut conn).unwrap();
    assert_eq!(conn.number(signed), 0);
    write_signed(place, 2);
    assert_eq!(conn.number(signed), 1);
}

/// The decoded arguments of all calls of the next type.
static DECODED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Its arguments are noted when they are decoded.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    #[serde(deserialize_with = "noted")]
    place: u64,
}

fn noted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let place = u64::deserialize(deserializer)?;
    DECODED.lock().unwrap().push(place);
    Ok(place)
}

impl Call for Noted {
    const NAME: &'static str = "test.noted";
}

impl<C> Execute<C> for Noted {
    const FUNCTION: Function<Self, C> = Function::Blocking(|_, _| Ok(()));
}

pub(crate) fn nothing_is_decoded_before_it_is_verified<C: Subject>(place: &Place<C>) {
    let keys = Keys::parse(KEYS).unwrap();
    let mut conn = place.connect();
    // Numbers of this test alone: all databases are tested in one process.
    let (valid, changed) = (rand_number(), rand_number());
    signing::with_keys(&keys, || {
        Noted { place: valid }.write(&mut conn)?;
        Noted { place: 0 }.write(&mut conn)
    })
    .unwrap();
    let change = format!(
        "update outbox_calls set args = '{{\"place\": {changed}}}' where seq = {}",
        conn.number("select max(seq) as n from outbox_calls")
    );
    assert_eq!(conn.run(&change).unwrap(), 1);
    let settings = place
        .settings()
        .set("signing_keys", KEYS)
        .set("verify_signatures", "require");
    let calls = Calls::<C>::new().add::<Noted>();
    let executor = Executor::new(&settings.build().unwrap(), calls).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stats = runtime
        .block_on(executor.run_once(&diesel_outbox::Shutdown::new()))
        .unwrap();
    assert_eq!((stats.executed, stats.parked), (1, 1));
    let decoded = DECODED.lock().unwrap();
    assert!(decoded.contains(&valid));
    assert!(!decoded.contains(&changed));
}

/// A number that JSON keeps, from the random part of an id.
fn rand_number() -> u64 {
    u64::from(uuid::Uuid::new_v4().as_fields().0) + 1
}
