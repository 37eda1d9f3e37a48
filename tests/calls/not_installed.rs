//! The function `transaction` in a process that has installed no handle. No test of this program installs one.

use diesel_outbox::calls::Call;

use crate::place::{Block, OnFailure, Place, Stage, Subject};
use crate::support::log::Log;

fn writes<C: Subject>(place: &Place<C>, n: i64) {
    diesel_outbox::transaction::<_, _, diesel_outbox::Error>(&mut place.connect(), |conn| {
        Block { n }.write(conn)?;
        OnFailure { n: n + 1 }.write(conn)?;
        Ok(())
    })
    .unwrap();
}

pub(crate) fn calls_wait_for_an_executor<C: Subject>(place: &Place<C>) {
    writes(place, 1);
    let failed =
        diesel_outbox::transaction::<_, (), diesel_outbox::Error>(&mut place.connect(), |conn| {
            Block { n: 3 }.write(conn)?;
            Err(diesel::result::Error::RollbackTransaction.into())
        });
    assert!(failed.is_err());
    assert_eq!(place.statuses(), [1, 1]);
    let leased = "select count(*) as n from outbox_calls where lease_token is not null";
    assert_eq!(place.connect().number(leased), 0);
    let stage = Stage::quiet();
    assert_eq!(place.once(&stage).executed, 2);
}

const CHILD: &str = "OUTBOX_TEST_WARNS";

/// The warning is logged once in a process: a child process has no other tests.
#[cfg(feature = "sqlite")]
#[test]
fn one_warning_says_so() {
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "not_installed::one_warning_says_so"])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let place = Place::<diesel::SqliteConnection>::new(crate::place::sqlite().unwrap());
    let log = Log::default();
    let _collecting = log.collect(tracing::Level::WARN);
    writes(&place, 1);
    writes(&place, 3);
    let words = "executes no calls, because no `Immediate` was installed";
    assert_eq!(log.count(words), 1, "{}", log.text());
}
