//! A relay and a subscriber whose MariaDB has no free connections, becomes
//! read-only or refuses logins, on the test's own servers with German error texts.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::place::{Place, Subject, brokers, wait_until};
use crate::refusals::{ends_at_the_start, relay_ends, subscriber_ends};
use crate::survivors::Survivors;

type MariaDb = outbox_test_support::own::MariaDb<MysqlConnection>;

fn place(server: &MariaDb) -> Place {
    let place = Place::new::<MysqlConnection>(server.database(), brokers::loopback().unwrap());
    place.declare::<MysqlConnection>();
    place
}

/// Ends the sessions of `app` that are not among these, and those that are still logging in. Returns whether
/// there were any.
fn cut(admin: &mut MysqlConnection, but: &[(MysqlConnection, i64)]) -> bool {
    let ids = admin
        .text(
            "select group_concat(id) from information_schema.processlist
             where user in ('app', 'unauthenticated user')",
        )
        .unwrap_or_default();
    let is_ours = |id: &str| but.iter().any(|(_, ours)| ours.to_string() == id);
    let others = ids.split(',').filter(|id| !id.is_empty() && !is_ours(id));
    let mut were_any = false;
    for id in others {
        were_any = true;
        // It may have ended by itself.
        let _ = admin.batch_execute(&format!("kill {id}"));
    }
    were_any
}

/// Opens connections as `app` until no more are available; other clients lose theirs.
fn take_all(admin: &mut MysqlConnection, url: &str) -> Vec<(MysqlConnection, i64)> {
    let mut taken = Vec::new();
    wait_until("no more can be had", || {
        cut(admin, &taken);
        match MysqlConnection::establish(url) {
            Ok(mut conn) => {
                let id = conn.number("select connection_id()");
                taken.push((conn, id));
                false
            }
            // Other clients may have been faster.
            Err(_) => !taken.is_empty() && !cut(admin, &taken),
        }
    });
    taken
}

#[test]
fn a_server_that_becomes_read_only_is_left_until_it_is_not() {
    let server = MariaDb::start();
    let place = place(&server);
    let url = place.database_url().to_owned();
    let mut admin = server.admin();
    let mut both = Survivors::<MysqlConnection>::start(&place, &url, server.url("root", "app"));
    both.write(5);
    both.recover();
    let newest = "select max(id) from information_schema.processlist where user = 'app'";
    let before = admin.number(newest);
    admin.batch_execute("set global read_only = 1").unwrap();
    both.write(5);
    both.send();
    both.suffer("--read-only");
    admin.batch_execute("set global read_only = 0").unwrap();
    both.recover();
    // Connections that were open before are not used again: they may lead to a former primary.
    let old = format!(
        "select count(*) from information_schema.processlist where user = 'app' and id <= {before}
         and command <> 'Killed'"
    );
    wait_until("the former sessions are gone", || admin.number(&old) == 0);
    both.end();
}

#[test]
fn too_many_connections_are_nobodys_fault() {
    let server = MariaDb::start();
    let place = place(&server);
    let (url, look) = (place.database_url().to_owned(), server.url("root", "app"));
    let mut admin = server.admin();
    // Nobody else may log in, except root.
    admin
        .batch_execute("set global max_user_connections = 1")
        .unwrap();
    let taken = take_all(&mut admin, &url);
    // At the start, too.
    let mut both = Survivors::<MysqlConnection>::start(&place, &url, look);
    both.send();
    both.suffer("max_user_connections");
    admin
        .batch_execute("set global max_user_connections = 0")
        .unwrap();
    drop(taken);
    both.recover();
    for (limit, end, words) in [
        (
            "alter user app@'%' with max_user_connections 1",
            "alter user app@'%' with max_user_connections 0",
            "Ressourcenbeschränkung",
        ),
        (
            "set global max_connections = 10",
            "set global max_connections = 151",
            "Zu viele Verbindungen",
        ),
    ] {
        both.write(5);
        admin.batch_execute(limit).unwrap();
        let taken = take_all(&mut admin, &url);
        both.send();
        both.suffer(words);
        admin.batch_execute(end).unwrap();
        drop(taken);
        both.recover();
    }
    both.end();
}

#[test]
fn a_refused_login_ends_a_program_at_its_start() {
    let server = MariaDb::start();
    let place = place(&server);
    let mut admin = server.admin();
    admin
        .batch_execute(
            "create database closed; install soname 'auth_ed25519';
             create user strange@'%' identified via ed25519 using password('x'); grant all on app.* to strange@'%';
             uninstall soname 'auth_ed25519'; set global disconnect_on_expired_password = on;
             create user late@'%' identified by 'x' password expire; grant all on app.* to late@'%'",
        )
        .unwrap();
    for (user, database, words) in [
        ("app:wrong", "app", "hat keine Zugriffsberechtigung"),
        ("app", "app", "hat keine Zugriffsberechtigung"),
        ("nobody:x", "app", "hat keine Zugriffsberechtigung"),
        ("app:secret", "closed", "Datenbank 'closed'"),
        ("root", "missing", "Unbekannte Datenbank 'missing'"),
        ("strange:x", "app", "Plugin 'ed25519' ist nicht geladen"),
        ("late:x", "app", "Your password has expired"),
    ] {
        ends_at_the_start::<MysqlConnection>(&place, &server.url(user, database), words);
    }
}

/// A right that the program needs and lacks ends it at its start.
#[test]
fn a_missing_right_ends_a_program_at_its_start() {
    let server = MariaDb::start();
    let place = place(&server);
    let mut admin = server.admin();
    admin
        .batch_execute(
            "create user 'a@b'@'%' identified by 'x'; grant select, insert on app.* to 'a@b'@'%';
             create user reader@'%' identified by 'x'; grant select on app.* to reader@'%'",
        )
        .unwrap();
    let url = server.url("a%40b:x", "app");
    for words in [
        "the database user 'a@b'@'%' lacks UPDATE on the table published",
        "`GRANT UPDATE ON app.published TO 'a@b'@'%'`",
        "`GRANT UPDATE ON app.outbox_jobs TO 'a@b'@'%'`",
    ] {
        relay_ends::<MysqlConnection>(&place, &url, words);
    }
    let grant = "run `GRANT UPDATE, DELETE ON app.outbox_deliveries TO 'a@b'@'%'`";
    subscriber_ends::<MysqlConnection>(&place, &url, grant);
    let grant = "`GRANT INSERT ON app.received TO 'reader'@'%'`";
    subscriber_ends::<MysqlConnection>(&place, &server.url("reader:x", "app"), grant);
}
