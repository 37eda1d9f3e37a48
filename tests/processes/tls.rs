//! The programs over TLS, to a RabbitMQ that requires a client certificate.

use std::path::Path;
use std::process::{Command, Stdio};

use diesel::prelude::*;
use diesel_outbox::schema::received;

use super::program::{Program, wait_until};
use super::{World, support};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
/// The password that scripts/servers sets on the key.
const PASSWORD: &str = "test-key-password";

/// A world at the broker with TLS, and the folder of its certificates.
fn world() -> Option<(World, String)> {
    let broker = support::server("OUTBOX_TEST_RABBITMQ_TLS", "RabbitMQ with TLS")?;
    let folder = support::server("OUTBOX_TEST_CERTIFICATES", "brokers with TLS")?;
    Some((
        World {
            broker,
            ..World::new()?
        },
        folder,
    ))
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    let flag = |(name, value): &(&str, &str)| [format!("--{name}"), (*value).to_owned()];
    pairs.iter().flat_map(flag).collect()
}

fn start(world: &World, path: &str, arguments: &[String]) -> Program {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::start(world, path, &arguments)
}

#[test]
fn rows_go_from_the_outbox_to_the_inbox() {
    let Some((world, folder)) = world() else {
        return;
    };
    let file = |name: &str| format!("{folder}/{name}");
    let (ca, certificate) = (file("ca.pem"), file("client.pem"));
    let plain = flags(&[
        ("tls-ca-file", &ca),
        ("tls-cert-file", &certificate),
        ("tls-key-file", &file("client.key")),
    ]);
    let encrypted = flags(&[
        ("tls-ca-file", &ca),
        ("tls-cert-file", &certificate),
        ("tls-key-file", &file("client-encrypted.key")),
        ("tls-key-password", PASSWORD),
    ]);
    let topic = world.topic();
    let arguments = [&["store".to_owned(), topic, world.name.clone()][..], &plain].concat();
    let mut subscriber = start(&world, SUBSCRIBE, &arguments);
    subscriber.wait_for_line("subscribed");
    world.write(50);
    let arguments = [&["--once".to_owned()][..], &encrypted].concat();
    let mut relay = start(&world, PUBLISH, &arguments);
    assert!(relay.ended().success(), "{:#?}", relay.lines());
    assert_eq!(world.counts().sent, 50);
    wait_until("all have arrived", || {
        let count = received::table.count().get_result(&mut world.connect());
        count == Ok(50)
    });
    subscriber.signal("TERM");
    assert!(subscriber.ended().success(), "{:#?}", subscriber.lines());
    let lines = [relay.lines(), subscriber.lines()].concat().join("\n");
    assert!(!lines.contains(PASSWORD), "{lines}");
}

#[test]
fn what_is_wrong_is_told_at_the_start() {
    let Some((world, folder)) = world() else {
        return;
    };
    let file = |name: &str| format!("{folder}/{name}");
    let (ca, other, certificate, key, encrypted) = (
        file("ca.pem"),
        file("other-ca.pem"),
        file("client.pem"),
        file("client.key"),
        file("client-encrypted.key"),
    );
    let missing = file("missing.pem");
    assert!(!Path::new(&missing).exists());
    let identity = [
        ("tls-cert-file", certificate.as_str()),
        ("tls-key-file", key.as_str()),
    ];
    let with = |more: &[(&'static str, &str)], identity: &[(&'static str, &str)]| {
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        let all: Vec<(&str, String)> = more.iter().chain(identity).map(owned).collect();
        all
    };
    let cases = [
        // Our own files: nothing was connected.
        (
            with(&[("tls-ca-file", &missing)], &identity),
            2,
            "cannot read the file of certificate",
        ),
        (
            with(&[("tls-ca-file", &key)], &identity),
            2,
            "contains a private key; expected a certificate",
        ),
        (
            with(
                &[("tls-ca-file", &ca)],
                &[
                    ("tls-cert-file", &certificate),
                    ("tls-key-file", &encrypted),
                ],
            ),
            2,
            "is encrypted: set its password",
        ),
        (
            with(
                &[("tls-ca-file", &ca)],
                &[("tls-cert-file", &ca), ("tls-key-file", &key)],
            ),
            2,
            "does not match the client certificate",
        ),
        (
            with(&[("tls-ca-file", &ca)], &identity[..1]),
            2,
            "must be set together with",
        ),
        // Client and broker refuse each other's certificate.
        (
            with(&[("tls-ca-file", &other)], &identity),
            1,
            "not signed by a trusted certificate authority",
        ),
        (
            with(&[("tls-ca-file", &ca)], &[]),
            1,
            "requires a client certificate, and none is set",
        ),
    ];
    for (pairs, code, expected) in cases {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let flags = flags(&pairs);
        for (path, arguments) in [
            (PUBLISH, vec![]),
            (PUBLISH, vec!["--once".to_owned()]),
            (SUBSCRIBE, vec!["log".to_owned(), world.topic()]),
        ] {
            let mut program = start(&world, path, &[arguments, flags.clone()].concat());
            let status = program.ended();
            let lines = program.lines().join("\n");
            assert_eq!(status.code(), Some(code), "{lines}");
            assert!(lines.contains(expected), "no {expected:?} in\n{lines}");
            assert!(!lines.contains("panicked"), "{lines}");
        }
    }
}

/// Each connect warns of it.
#[test]
fn an_unverified_broker_is_warned_of() {
    let Some((world, folder)) = world() else {
        return;
    };
    let flags = flags(&[
        ("tls-cert-file", &format!("{folder}/client.pem")),
        ("tls-key-file", &format!("{folder}/client.key")),
    ]);
    let arguments = [
        &["--once", "--tls-verify=false"].map(str::to_owned)[..],
        &flags,
    ]
    .concat();
    let mut program = start(&world, PUBLISH, &arguments);
    program.wait_for_line("accepting any broker certificate");
    assert!(program.ended().success(), "{:#?}", program.lines());
}

/// Without a file of ours the system's authorities count; here the system's file is that of the tests.
#[test]
fn the_systems_authorities_count() {
    let Some((world, folder)) = world() else {
        return;
    };
    let publish = |authorities: &str| {
        let mut command = Command::new(PUBLISH);
        command
            .args(["--once", "--tls-cert-file"])
            .arg(format!("{folder}/client.pem"))
            .arg("--tls-key-file")
            .arg(format!("{folder}/client.key"))
            .env("DATABASE_URL", &world.database.url)
            .env("STOMP_URL", &world.broker)
            .env("SSL_CERT_FILE", format!("{folder}/{authorities}"))
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null());
        let mut program = Program::spawn(&mut command);
        let code = program.ended().code();
        (code, program.lines().join("\n"))
    };
    let (code, lines) = publish("ca.pem");
    assert_eq!(code, Some(0), "{lines}");
    let (code, lines) = publish("other-ca.pem");
    assert_eq!(code, Some(1), "{lines}");
    assert!(
        lines.contains("not signed by a trusted certificate authority"),
        "{lines}"
    );
}
