//! Calls whose arguments are bytes in the column `payload`, from the row to the execution.

use std::sync::{Arc, Mutex};

use diesel_outbox::BoxError;
use diesel_outbox::calls::{
    self, Call, Calls, Codec, Encoding, Execute, Executor, ExecutorStats, Function, Immediate,
    MessagePack, StateKey,
};
use diesel_outbox::config::Builder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::place::{Place, Subject};

/// JSON after a byte that is in no text.
#[derive(Debug)]
struct Marked;

impl Codec for Marked {
    const NAME: &'static str = "marked";

    fn encode<T: Serialize>(arguments: &T) -> Result<Vec<u8>, BoxError> {
        let mut bytes = vec![0xff, 0];
        serde_json::to_writer(&mut bytes, arguments)?;
        Ok(bytes)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
        match bytes {
            [0xff, 0, json @ ..] => Ok(serde_json::from_slice(json)?),
            _ => Err("no mark".into()),
        }
    }
}

/// What both functions take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Given {
    n: i64,
    text: Option<String>,
    bytes: Vec<u8>,
}

impl Given {
    fn new(n: i64) -> Self {
        Self {
            n,
            text: (n % 2 == 0).then(|| "é \u{1F600} \0".to_owned()),
            bytes: vec![0, 0x27, 0x5c, 0xff],
        }
    }
}

/// The arguments of the executed calls, with the name of the function.
type Seen = Mutex<Vec<(&'static str, Given)>>;

macro_rules! call {
    ($call:ident, $name:literal, $codec:ty) => {
        #[derive(Debug, Serialize, Deserialize)]
        struct $call(Given);

        impl Call for $call {
            const NAME: &'static str = $name;
            const ENCODING: Encoding<Self> = Encoding::of::<$codec>();
        }

        impl<C> Execute<C> for $call {
            const FUNCTION: Function<Self, C> = Function::Blocking(|call, context| {
                let seen = context.state::<Seen>()?;
                seen.lock().unwrap().push(($name, call.0));
                Ok(())
            });
            const STATES: &'static [StateKey] = &[StateKey::of::<Seen>()];
        }
    };
}

call!(Packed, "test.packed", MessagePack);
call!(Own, "test.own", Marked);

const KEYS: &str = "a:0123456789abcdef";

/// Rows whose arguments are in `payload` alone, by their encoding.
fn stored<C: Subject>(conn: &mut C, encoding: &str) -> i64 {
    conn.number(&format!(
        "select count(*) as n from outbox_calls
         where args is null and payload is not null and encoding = '{encoding}'"
    ))
}

fn signed<C: Subject>(place: &Place<C>) -> Builder {
    place
        .settings()
        .set("signing_keys", KEYS)
        .set("sign", true)
        .set("verify_signatures", "require")
}

fn registry<C: Subject>(seen: &Arc<Seen>) -> Calls<C> {
    Calls::new()
        .add::<Packed>()
        .add::<Own>()
        .state(Arc::clone(seen))
}

fn once<C: Subject>(_: &Place<C>, settings: Builder, seen: &Arc<Seen>) -> ExecutorStats {
    let config = settings.set("call_workers", 1).build().unwrap();
    let executor = Executor::<C>::new(&config, registry(seen)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stats = runtime.block_on(executor.run_once(&diesel_outbox::Shutdown::new()));
    stats.unwrap()
}

/// Gives a row the payload of another call of its function.
fn change_payload<C: Subject>(conn: &mut C, name: &str, payload: &[u8]) {
    let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    let literal = match C::NAME {
        "PostgreSQL" => format!("decode('{hex}', 'hex')"),
        _ => format!("x'{hex}'"),
    };
    let change = format!(
        "update outbox_calls set payload = {literal}
         where status = 1 and name = '{name}'
             and seq = (select seq from (select max(seq) as seq from outbox_calls where name = '{name}') s)"
    );
    assert_eq!(conn.run(&change).unwrap(), 1);
}

pub(crate) fn bytes_are_executed<C: Subject>(place: &Place<C>) {
    let mut conn = place.connect();
    Packed(Given::new(1)).write(&mut conn).unwrap();
    calls::write_all(&mut conn, [2, 3].map(|n| Own(Given::new(n)))).unwrap();
    Packed(Given::new(4)).write(&mut conn).unwrap();
    assert_eq!(stored(&mut conn, "msgpack"), 2);
    assert_eq!(stored(&mut conn, "marked"), 2);
    let seen = Arc::default();
    assert_eq!(once(place, place.settings(), &seen).executed, 4);
    assert_eq!(place.statuses(), [2; 4]);
    let expected = [
        ("test.packed", Given::new(1)),
        ("test.own", Given::new(2)),
        ("test.own", Given::new(3)),
        ("test.packed", Given::new(4)),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

pub(crate) fn bytes_are_executed_after_the_commit<C: Subject>(place: &Place<C>) {
    let mut conn = place.connect();
    let seen: Arc<Seen> = Arc::default();
    let config = place.settings().build().unwrap();
    let handle = Immediate::<C>::new(&config, registry(&seen)).unwrap();
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            Packed(Given::new(1)).write(conn)?;
            calls::write_all(conn, [2, 3].map(|n| Own(Given::new(n))))?;
            assert_eq!(stored(conn, "msgpack"), 1);
            assert_eq!(stored(conn, "marked"), 2);
            Ok(())
        })
        .unwrap();
    let expected = [
        ("test.packed", Given::new(1)),
        ("test.own", Given::new(2)),
        ("test.own", Given::new(3)),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(place.statuses(), [2; 3]);
}

pub(crate) fn changed_bytes_are_parked<C: Subject>(place: &Place<C>) {
    let keys = diesel_outbox::signing::Keys::parse(KEYS).unwrap();
    let mut conn = place.connect();
    diesel_outbox::signing::with_keys(&keys, || {
        for n in 1..=2 {
            Packed(Given::new(n)).write(&mut conn)?;
            Own(Given::new(n)).write(&mut conn)?;
        }
        Ok::<_, diesel_outbox::Error>(())
    })
    .unwrap();
    // Each can be decoded: only the signature tells.
    let other = Given::new(9);
    let packed = MessagePack::encode(&other).unwrap();
    change_payload(&mut conn, "test.packed", &packed);
    change_payload(&mut conn, "test.own", &Marked::encode(&other).unwrap());
    let seen = Arc::default();
    let stats = once(place, signed(place), &seen);
    assert_eq!((stats.executed, stats.parked), (2, 2));
    assert_eq!(place.statuses(), [2, 2, -1, -1]);
    for row in &conn.rows()[2..] {
        let reason = row.last_error.as_deref().unwrap();
        assert!(reason.contains("does not match"), "{reason}");
    }
    let expected = [("test.packed", Given::new(1)), ("test.own", Given::new(1))];
    assert_eq!(*seen.lock().unwrap(), expected);
    // Without the check they are executed.
    let retried = "update outbox_calls set status = 1, due_at = added where status = -1";
    assert_eq!(conn.run(retried).unwrap(), 2);
    assert_eq!(once(place, place.settings(), &seen).executed, 2);
    assert_eq!(seen.lock().unwrap()[3], ("test.own", other));
}

pub(crate) fn changed_bytes_are_parked_after_the_commit<C: Subject>(place: &Place<C>) {
    let mut conn = place.connect();
    let seen: Arc<Seen> = Arc::default();
    let config = signed(place).build().unwrap();
    let handle = Immediate::<C>::new(&config, registry(&seen)).unwrap();
    let other = MessagePack::encode(&Given::new(9)).unwrap();
    handle
        .transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            Own(Given::new(1)).write(conn)?;
            Packed(Given::new(2)).write(conn)?;
            Packed(Given::new(3)).write(conn)?;
            change_payload(conn, "test.packed", &other);
            Ok(())
        })
        .unwrap();
    assert_eq!(place.statuses(), [2, 2, -1]);
    let expected = [("test.own", Given::new(1)), ("test.packed", Given::new(2))];
    assert_eq!(*seen.lock().unwrap(), expected);
}

pub(crate) fn bytes_that_cannot_be_decoded_are_parked<C: Subject>(place: &Place<C>) {
    let mut conn = place.connect();
    Packed(Given::new(1)).write(&mut conn).unwrap();
    Own(Given::new(2)).write(&mut conn).unwrap();
    Own(Given::new(3)).write(&mut conn).unwrap();
    change_payload(&mut conn, "test.packed", b"\xc1");
    change_payload(&mut conn, "test.own", b"{}");
    let seen = Arc::default();
    let stats = once(place, place.settings(), &seen);
    assert_eq!((stats.executed, stats.parked), (1, 2));
    assert_eq!(place.statuses(), [-1, 2, -1]);
    let rows = conn.rows();
    for (row, reason) in [(0, "decoded as msgpack"), (2, "no mark")] {
        let found = rows[row].last_error.as_deref().unwrap();
        assert!(found.contains(reason), "{found}");
    }
    assert_eq!(*seen.lock().unwrap(), [("test.own", Given::new(2))]);
}
