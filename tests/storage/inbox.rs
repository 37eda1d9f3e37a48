//! The rule of the inbox.

use diesel::result::{DatabaseErrorKind, Error};

use super::*;

pub(crate) fn a_message_is_remembered_once_for_each_consumer<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let remember = |conn: &mut C, msg_id: &str, consumer: &str| {
        let id = Uuid::new_v4();
        let statement = format!(
            "insert into received (id, msg_id, consumer) values ('{id}', '{msg_id}', '{consumer}')"
        );
        C::run(conn, &statement)
    };
    assert!(!conn.is_received("m1", "").unwrap());
    remember(&mut conn, "m1", "").unwrap();
    assert!(conn.is_received("m1", "").unwrap());
    assert!(!conn.is_received("m1", "audit").unwrap());
    remember(&mut conn, "m1", "audit").unwrap();
    let again = conn.transaction(|conn| remember(conn, "m1", ""));
    assert!(matches!(
        again,
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
    ));
    assert_eq!(admin::totals(&mut conn).unwrap().received, 2);
}
