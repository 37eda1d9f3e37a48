//! How a relay and a subscriber start on the test's own PostgreSQL, and with the rights that
//! they have there.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_outbox::relay::Relay;
use diesel_outbox::{Message, Shutdown};

use crate::faults::Running;
use crate::own_postgres::Cluster;
use crate::own_postgres::{look, place};
use crate::place::{Subject, wait_until};
use crate::refusals::{ends_at_the_start, relay_ends, subscriber_ends};

/// A permanent failure ends a program at its start, in any language; a temporary one does not.
#[test]
fn a_refused_login_ends_a_program_at_its_start() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    let mut admin = cluster.admin();
    for statement in [
        "create role nologin",
        "create database closed",
        "revoke connect on database closed from public",
    ] {
        admin.batch_execute(statement).unwrap();
    }
    cluster.let_in(
        "host all other 127.0.0.1/32 reject
         host all nologin 127.0.0.1/32 trust
         host all nobody 127.0.0.1/32 trust
         host all app 127.0.0.1/32 scram-sha-256",
    );
    for (role, database, words) in [
        ("app:wrong", "app", "Passwort-Authentifizierung"),
        ("app", "app", "no password supplied"),
        (
            "app:secret",
            "missing",
            "Datenbank »missing« existiert nicht",
        ),
        ("app:secret", "closed", "keine Berechtigung für Datenbank"),
        ("nobody", "app", "Rolle »nobody« existiert nicht"),
        ("nologin", "app", "keine Berechtigung zum Einloggen"),
        ("other", "app", "pg_hba.conf lehnt Verbindung ab"),
        ("stranger", "app", "kein pg_hba.conf-Eintrag"),
    ] {
        ends_at_the_start::<PgConnection>(&place, &cluster.url(role, database), words);
    }
}

/// The start-up error for a database whose tables cannot be read.
#[test]
fn the_true_reason_is_told_at_the_start() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    let mut admin = PgConnection::establish(&look(&cluster)).unwrap();
    admin
        .batch_execute("create role reader login; create role owner login")
        .unwrap();
    let url = cluster.url("reader", "app");
    let lacks_rights =
        "the database user lacks rights on the outbox's tables in the schema `public`";
    ends_at_the_start::<PgConnection>(&place, &url, lacks_rights);
    ends_at_the_start::<PgConnection>(&place, &url, "keine Berechtigung für Tabelle published");
    admin
        .batch_execute("grant select on all tables in schema public to reader")
        .unwrap();
    // Any other error as the server reports it.
    admin
        .batch_execute(
            "alter role reader set row_security = off;
             alter table published enable row level security",
        )
        .unwrap();
    let policy = "Policy für Sicherheit auf Zeilenebene";
    ends_at_the_start::<PgConnection>(&place, &url, policy);
    admin
        .batch_execute("alter table published disable row level security")
        .unwrap();
    admin
        .batch_execute("alter table received rename msg_id to message_id")
        .unwrap();
    ends_at_the_start::<PgConnection>(&place, &url, "run `outbox migrate`");
    admin.batch_execute("drop table received").unwrap();
    ends_at_the_start::<PgConnection>(&place, &url, "run `outbox migrate`");
}

/// A right that the program needs and lacks ends it at its start.
#[test]
fn a_missing_right_ends_a_program_at_its_start() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    let mut admin = PgConnection::establish(&look(&cluster)).unwrap();
    admin
        .batch_execute(
            r#"create role "Shop" login; grant select, insert, update, delete on all tables in schema public to "Shop""#,
        )
        .unwrap();
    let url = cluster.url("Shop", "app");
    let mut may = |what: &str| admin.batch_execute(&format!("{what} \"Shop\"")).unwrap();
    may("revoke update on published from");
    for words in [
        "run `GRANT UPDATE ON public.published TO \"Shop\"`",
        "the database user \"Shop\" lacks UPDATE on the table published:",
    ] {
        relay_ends::<PgConnection>(&place, &url, words);
    }
    // The columns that a relay writes are enough.
    may("grant update (status, retry, due_at, lease_token, sent_at, last_error) on published to");
    Message::new(place.topic(), "x")
        .publish(&mut place.connect::<PgConnection>())
        .unwrap();
    let settings = place.settings().set("database_url", url.as_str()).build();
    let relay = Relay::<PgConnection>::new(&settings.unwrap()).unwrap();
    let stats = place
        .runtime
        .block_on(relay.run_once(&Shutdown::new()))
        .unwrap();
    assert_eq!(stats.sent, 1);
    for (table, right) in [
        ("received", "INSERT"),
        ("outbox_deliveries", "INSERT"),
        ("outbox_deliveries", "UPDATE"),
        ("outbox_deliveries", "DELETE"),
    ] {
        may(&format!("revoke {right} on {table} from"));
        let grant = format!("run `GRANT {right} ON public.{table} TO \"Shop\"`");
        subscriber_ends::<PgConnection>(&place, &url, &grant);
        may(&format!("grant {right} on {table} to"));
    }
}

/// Row-level security without a policy for the user ends a program; with one it is only logged.
#[test]
fn hidden_rows_end_a_program_at_its_start() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    let mut admin = PgConnection::establish(&look(&cluster)).unwrap();
    admin
        .batch_execute(
            "create role shop login; grant select, insert, update, delete on all tables in schema public to shop;
             alter table published enable row level security; alter table received enable row level security",
        )
        .unwrap();
    let url = cluster.url("shop", "app");
    let policy = "has no policy for the database user shop for SELECT, UPDATE on the table published: as the owner \
                  of the tables, run `CREATE POLICY outbox ON public.published TO shop USING (true)`";
    relay_ends::<PgConnection>(&place, &url, policy);
    let policy = "run `CREATE POLICY outbox ON public.received TO shop USING (true)`";
    subscriber_ends::<PgConnection>(&place, &url, policy);
    admin
        .batch_execute("CREATE POLICY outbox ON public.published TO shop USING (true)")
        .unwrap();
    Message::new(place.topic(), "x")
        .publish(&mut admin)
        .unwrap();
    let settings = place.settings().set("database_url", url);
    let (relay, log) = Running::logged::<PgConnection>(settings);
    wait_until("it is sent", || {
        admin.number("select count(*) from published where status = 2") == 1
    });
    relay.stop();
    let warning = "row-level security applies to the database user";
    assert_eq!(log.count(warning), 1, "{}", log.text());
}

/// A right that is revoked later is waited for, and the log does not blame the server.
#[test]
fn a_right_that_is_revoked_later_is_waited_for() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    let mut admin = PgConnection::establish(&look(&cluster)).unwrap();
    let url = cluster.url("app", "app");
    let settings = place.settings().set("database_url", url);
    let (relay, log) = Running::logged::<PgConnection>(settings);
    let write = |admin: &mut PgConnection| {
        let message = Message::new(place.topic(), "x");
        message.publish(admin).unwrap();
    };
    let sent =
        |admin: &mut PgConnection| admin.number("select count(*) from published where status = 2");
    write(&mut admin);
    wait_until("it is sent", || sent(&mut admin) == 1);
    admin
        .batch_execute(
            "alter table published owner to postgres; grant select, insert, delete on published to app",
        )
        .unwrap();
    write(&mut admin);
    wait_until("it is logged", || {
        log.count("the database refuses a statement; retrying") > 0
    });
    assert!(
        log.text()
            .contains("keine Berechtigung für Tabelle published")
    );
    assert_eq!(log.count("is not available; retrying"), 0, "{}", log.text());
    admin
        .batch_execute("grant update on published to app")
        .unwrap();
    wait_until("it is sent", || sent(&mut admin) == 2);
    relay.stop();
}

/// Failures of a clean-up are logged, and it is retried within the hour.
#[test]
fn a_clean_up_without_rights_is_logged_and_tried_again() {
    let cluster = Cluster::start("");
    let place = place(cluster.database());
    let mut admin = PgConnection::establish(&look(&cluster)).unwrap();
    admin
        .batch_execute(
            "create role writer login;
             grant select, insert, update on all tables in schema public to writer;
             grant usage on all sequences in schema public to writer",
        )
        .unwrap();
    let settings = place
        .settings()
        .set("database_url", cluster.url("writer", "app"))
        .set("cleanup_interval", "24h");
    let (relay, log) = Running::logged::<PgConnection>(settings);
    wait_until("it is logged", || {
        log.count("trying again within the hour") == 1
    });
    relay.stop();
    assert!(
        log.text()
            .contains("keine Berechtigung für Tabelle published")
    );
    let due = "select extract(epoch from begun + interval '24 hours' - clock_timestamp())
        from outbox_jobs where name = 'clean'";
    let due = admin.number(due);
    assert!((3_000..=3_600).contains(&due), "{due} s");
}
