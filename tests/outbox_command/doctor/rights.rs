//! Rights on columns and row-level security of PostgreSQL.

use diesel::{Connection, PgConnection};
use diesel_outbox::migrations::Migrate;
use diesel_outbox::testing::LoopbackBroker;

use super::Doctor;
use super::databases::User;
use crate::support::{self, TestDatabase};

/// A database with an outbox, and a user with all rights on it.
fn outbox() -> Option<(TestDatabase, User<PgConnection>)> {
    let database = support::postgres::<PgConnection>()?;
    let mut conn = PgConnection::establish(&database.url).unwrap();
    conn.migrate().unwrap();
    let create = "create role {} login password 'secret'";
    let mut user = User::new(&database.url, create, "drop owned by {}; drop role {}");
    user.may("grant select, insert, update, delete on all tables in schema public to {}");
    Some((database, user))
}

#[test]
fn a_right_on_some_columns_is_told() {
    let Some((database, mut user)) = outbox() else {
        return;
    };
    let broker = LoopbackBroker::start().unwrap();
    let (own, url) = (user.url(&database.url), broker.url());
    let doctor = Doctor::of(&own, &url);
    for (table, right, columns, severity) in [
        ("published", "update", "status", "warning"),
        ("received", "insert", "id", "warning"),
        ("published", "select", "id, seq, status", "error"),
    ] {
        user.may(&format!(
            "revoke {right} on {table} from {{}}; grant {right} ({columns}) on {table} to {{}}"
        ));
        doctor.run().only(&["database.rights"]).has(
            "database.rights",
            severity,
            &format!("`grant {right} on {table} to …`"),
        );
        user.may(&format!("grant {right} on {table} to {{}}"));
    }
    user.may("revoke update on outbox_streams from {}; grant update (name, paused) on outbox_streams to {}");
    doctor.run().only(&[]);
    user.may("revoke delete on outbox_deliveries from {}");
    doctor
        .run()
        .has("database.rights", "error", "the user lacks delete");
}

#[test]
fn rows_that_row_level_security_hides_are_an_error() {
    let Some((database, mut user)) = outbox() else {
        return;
    };
    let broker = LoopbackBroker::start().unwrap();
    let (own, url) = (user.url(&database.url), broker.url());
    let doctor = Doctor::of(&own, &url);
    let check = "database.row_security";
    user.may("alter table published enable row level security");
    doctor
        .run()
        .only(&[check])
        .has(
            check,
            "error",
            "no policy for the user for select, insert, update, delete",
        )
        .has(check, "error", "create policy outbox on published to …");
    user.may("create policy others on published to pg_monitor using (true)");
    user.may("create policy reads on published for select using (true)");
    doctor.run().only(&[check]).has(
        check,
        "error",
        "no policy for the user for insert, update, delete",
    );
    user.may("create policy outbox on published to {} using (true)");
    doctor
        .run()
        .only(&[check])
        .has(check, "warning", "applies to the user");
    user.may("alter role {} bypassrls");
    doctor.run().only(&[]);
    // The owner is not affected.
    Doctor::of(&database.url, &url).run().only(&[]);
}
