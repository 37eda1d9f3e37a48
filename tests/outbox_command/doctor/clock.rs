//! The clock of this machine and that of the database.

use diesel_outbox::backend::Backend;
use diesel_outbox::migrations::Migrate;
use diesel_outbox::testing::LoopbackBroker;

use super::Doctor;
use crate::support::{self, TestDatabase, clock};

/// Seconds.
const HOUR: i64 = 3_600;

/// Runs the program with another clock than that of the server.
fn a_clock_that_differs_is_a_warning<C: Backend + Migrate>(database: Option<TestDatabase>) {
    let Some(database) = database else { return };
    let broker = LoopbackBroker::start().unwrap();
    let url = broker.url();
    C::establish(&database.url).unwrap().migrate().unwrap();
    for (seconds, words) in [
        (HOUR, "behind that of this machine"),
        (-HOUR, "ahead of that of this machine"),
    ] {
        let shifted = clock::shifted(seconds);
        let doctor = shifted
            .iter()
            .fold(Doctor::of(&database.url, &url), |doctor, (name, value)| {
                doctor.set(name, value)
            });
        let report = doctor.run();
        report
            .only(&["database.clock"])
            .has("database.clock", "warning", words)
            .has("database.clock", "warning", "synchronise the clocks");
        let mut checks = report.checks().iter();
        let check = checks.find(|check| check["check"] == "database.clock");
        let text = check.unwrap()["text"].as_str().unwrap();
        let difference = text.split(' ').find_map(|word| word.parse::<f64>().ok());
        // The statement takes some time.
        let expected = HOUR as f64;
        assert!(
            (expected - 60.0..=expected).contains(&difference.unwrap()),
            "{text}"
        );
    }
}

#[cfg(feature = "postgres")]
#[test]
fn on_postgres() {
    type C = diesel::PgConnection;
    a_clock_that_differs_is_a_warning::<C>(support::postgres::<C>());
}

#[cfg(feature = "mysql")]
#[test]
fn on_mysql() {
    type C = diesel::MysqlConnection;
    a_clock_that_differs_is_a_warning::<C>(support::mysql::<C>());
}
