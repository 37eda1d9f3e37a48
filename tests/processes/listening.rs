//! The connection on which a relay waits for notifications is encrypted as libpq's connections are.

use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_outbox::Message;
use diesel_outbox::admin;
use diesel_outbox::migrations::Migrate;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::own::Cluster;
use super::program::{Program, wait_until};
use super::support;

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const PASSWORD: &str = "hunter2";

/// Any user with a password over an unencrypted connection; `careful` with TLS only.
const HBA: &str = "\
local all all trust
host all postgres 127.0.0.1/32 trust
hostssl all careful 127.0.0.1/32 password
host all app 127.0.0.1/32 password
";

/// The last query of a session that waits for notifications: it checks the server.
const LISTENS: &str = "a.query in ('listen outbox', 'select 1')";

/// A server with TLS, for `localhost` and not for 127.0.0.1.
struct Server {
    server: Cluster<PgConnection>,
    authority: tempfile::NamedTempFile,
}

impl Server {
    fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        let server = Cluster::with_files(
            "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'",
            &[
                ("pg_hba.conf", HBA),
                ("server.pem", &certificate),
                ("server.key", &key.serialize_pem()),
            ],
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority).unwrap();
        let server = Self {
            server,
            authority: file,
        };
        let conn = &mut server.connect();
        conn.migrate().unwrap();
        conn.batch_execute(&format!(
            "create role app login password '{PASSWORD}'; create role careful login password '{PASSWORD}';
             grant all on all tables in schema public to app, careful;
             grant all on all sequences in schema public to app, careful"
        ))
        .unwrap();
        server
    }

    fn connect(&self) -> PgConnection {
        self.server.admin()
    }

    /// The number of sessions of this user that meet the condition.
    fn sessions(&self, user: &str, condition: &str) -> i64 {
        let count = format!(
            "(select count(*) from pg_stat_ssl s join pg_stat_activity a using (pid)
              where a.usename = '{user}' and {condition})"
        );
        diesel::select(diesel::dsl::sql::<BigInt>(&count))
            .get_result(&mut self.connect())
            .unwrap()
    }
}

/// Wakes a relay with this address and environment. Returns how many of its sessions had TLS, how many
/// did not, how many waited for notifications, and whether it logged why it polls.
fn woken(
    server: &Server,
    broker: &str,
    user: &str,
    address: &str,
    env: &[(&str, &str)],
) -> (i64, i64, i64, bool) {
    let (host, query) = match address.split_once('?') {
        Some((host, query)) => (host, format!("?{query}")),
        None => (address, String::new()),
    };
    let url = format!(
        "postgres://{user}:{PASSWORD}@{host}:{}/postgres{query}",
        server.server.port()
    );
    let mut command = Command::new(PUBLISH);
    command
        .args(["--poll-interval", "1h"])
        .env("DATABASE_URL", url)
        .env("STOMP_URL", broker)
        // No certificates but the test's.
        .env("HOME", "/nonexistent")
        .envs(env.iter().copied());
    let mut relay = Program::spawn(&mut command);
    relay.wait_for_line("connected");
    wait_until("it listens", || server.sessions(user, LISTENS) > 0);
    let mut conn = server.connect();
    let before = admin::totals(&mut conn).unwrap().sent;
    for n in 1..=3 {
        Message::new("/topic/outbox-test-listening", n)
            .publish(&mut conn)
            .unwrap();
        wait_until("it is woken", || {
            admin::totals(&mut conn).unwrap().sent == before + n
        });
    }
    let with = server.sessions(user, "s.ssl");
    let without = server.sessions(user, "not s.ssl");
    let listening = server.sessions(user, LISTENS);
    relay.signal("TERM");
    assert!(relay.ended().success(), "{:#?}", relay.lines());
    let log = relay.lines().join("\n");
    assert!(!log.contains(PASSWORD), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    let notices = log
        .matches("no connection of its own for notifications")
        .count();
    assert!(notices <= 1, "{log}");
    (with, without, listening, notices == 1)
}

#[test]
fn it_has_tls_where_libpq_has_it() {
    let Some(broker) = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ") else {
        return;
    };
    let server = Server::start();
    let authority = server.authority.path().to_str().unwrap();
    let verified = format!("sslrootcert={authority}");
    let woken = |user: &str, address: &str, env: &[(&str, &str)]| {
        woken(&server, &broker, user, address, env)
    };
    let of_libpq = "127.0.0.1?sslmode=require&ssl_min_protocol_version=TLSv1.2";
    for (user, address, env, has_tls, has_notice) in [
        (
            "app",
            "127.0.0.1",
            vec![("PGSSLMODE", "require")],
            true,
            false,
        ),
        ("app", "127.0.0.1", vec![], true, false),
        (
            "app",
            "127.0.0.1?sslmode=disable",
            vec![("PGSSLMODE", "require")],
            false,
            false,
        ),
        ("app", "127.0.0.1?sslmode=allow", vec![], false, false),
        ("careful", "127.0.0.1?sslmode=allow", vec![], true, false),
        // The certificate is not for this name.
        (
            "app",
            &format!("127.0.0.1?sslmode=verify-ca&{verified}"),
            vec![],
            true,
            false,
        ),
        (
            "app",
            &format!("localhost?sslmode=verify-full&{verified}"),
            vec![],
            true,
            false,
        ),
        (
            "app",
            "localhost",
            vec![("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", authority)],
            true,
            false,
        ),
        // If only libpq supports the settings, libpq listens.
        ("app", of_libpq, vec![], true, true),
        (
            "app",
            "127.0.0.1?sslmode=require",
            vec![("PGSSLMINPROTOCOLVERSION", "TLSv1.3")],
            true,
            true,
        ),
    ] {
        let case = format!("{user} at {address} with {env:?}");
        let (with, without, listening, notices) = woken(user, address, &env);
        let (ours, others) = if has_tls {
            (with, without)
        } else {
            (without, with)
        };
        assert!(
            ours > 1 && others == 0,
            "{case}: {with} with TLS, {without} without"
        );
        assert_eq!((listening, notices), (1, has_notice), "{case}");
    }
}
