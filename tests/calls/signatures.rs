//! Signed calls: one that was changed is parked before it is decoded.

use diesel_outbox::calls::Call;
use diesel_outbox::signing::{self, Keys};

use crate::place::{Block, Place, Stage, Subject};

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
