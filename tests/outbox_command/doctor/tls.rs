//! Certificates: a server of the test speaks TLS, and passes everything on to a broker inside the test.

use diesel_outbox::testing::LoopbackBroker;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::version::TLS13;

use super::Doctor;
use super::certificates::{Authority, Signed, expired};
use crate::support;

/// A broker with TLS: the thread that passes connections on ends with the test's process.
fn broker_with(authority: &Authority, signed: &Signed, plain: &LoopbackBroker) -> String {
    let acceptor = authority.acceptor(signed, &TLS13, false);
    let url = plain.url();
    let place = url
        .rsplit(['@', '/'])
        .find(|part| part.contains(':'))
        .unwrap()
        .to_owned();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, place) = (acceptor.clone(), place.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate is gone by now.
                    if let Ok(mut client) = acceptor.accept(stream).await {
                        let mut broker = TcpStream::connect(place).await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut broker).await;
                    }
                });
            }
        });
    });
    format!("stomp+ssl://guest:guest@localhost:{port}/")
}

/// A time after this number of days, without a clock of its own in this test.
fn in_days(params: &mut rcgen::CertificateParams, days: u64) {
    let seconds = std::time::Duration::from_secs(days * 24 * 3600 + 3600);
    params.not_after = (std::time::SystemTime::now() + seconds).into();
}

#[test]
fn the_broker_s_certificate_is_checked() {
    let broker = LoopbackBroker::start().unwrap();
    let authority = Authority::new();
    let ca = authority.file();
    let run = |url: &str, ca: &std::path::Path| {
        Doctor::of("", url)
            .set("OUTBOX_TLS_CA_FILE", ca.to_str().unwrap())
            .run()
    };
    let url = broker_with(
        &authority,
        &authority.sign(&["localhost"], expired),
        &broker,
    );
    run(&url, &ca)
        .only(&["settings", "broker.tls"])
        .has(
            "broker.tls",
            "error",
            "the broker's certificate has expired",
        )
        .has("broker.tls", "error", "renew the broker's certificate");
    // Even if nothing is verified.
    Doctor::of("", &url)
        .set("OUTBOX_TLS_VERIFY", "false")
        .run()
        .only(&["settings", "settings", "broker.tls"])
        .has("settings", "warning", "tls_verify is false")
        .has("broker.tls", "error", "expired on 2001-01-01");

    let soon = authority.sign(&["localhost"], |params| in_days(params, 10));
    let url = broker_with(&authority, &soon, &broker);
    run(&url, &ca).only(&["settings", "broker.tls"]).has(
        "broker.tls",
        "warning",
        "expires in 10 days",
    );

    let good = authority.sign(&["localhost"], |params| in_days(params, 90));
    let url = broker_with(&authority, &good, &broker);
    run(&url, &ca).only(&["settings"]).has(
        "broker.tls",
        "ok",
        "the broker's certificate expires in 90 days",
    );
    let other = Authority::named("another one");
    run(&url, &other.file())
        .only(&["settings", "broker.tls"])
        .has(
            "broker.tls",
            "error",
            "set tls_ca_file to the file of the authority",
        );

    // The client's own certificate, and a wrong name.
    let (certificate, key) = (soon.pem().to_owned(), soon.key_pem());
    let (certificate, key) = (
        authority.write("client.pem", certificate),
        authority.write("client.key", key),
    );
    Doctor::of("", &url.replace("localhost", "127.0.0.1"))
        .set("OUTBOX_TLS_CA_FILE", ca.to_str().unwrap())
        .set("OUTBOX_TLS_CERT_FILE", certificate.to_str().unwrap())
        .set("OUTBOX_TLS_KEY_FILE", key.to_str().unwrap())
        .run()
        .only(&["settings", "broker.client_certificate", "broker.tls"])
        .has(
            "broker.client_certificate",
            "warning",
            "the client certificate expires in 10 days",
        )
        .has(
            "broker.tls",
            "error",
            "use one of the certificate's names in stomp_url",
        );
}

#[test]
fn rabbitmq_with_tls_is_checked() {
    let Some(url) = support::server("OUTBOX_TEST_RABBITMQ_TLS", "RabbitMQ with TLS") else {
        return;
    };
    let folder = support::server("OUTBOX_TEST_CERTIFICATES", "brokers with TLS").unwrap();
    let ca = format!("{folder}/ca.pem");
    Doctor::of("", &url)
        .set("OUTBOX_TLS_CA_FILE", &ca)
        .run()
        .only(&["settings", "broker.tls"])
        .has("broker.tls", "error", "set tls_cert_file and tls_key_file");
    let (certificate, key) = (
        format!("{folder}/client.pem"),
        format!("{folder}/client.key"),
    );
    let doctor = || {
        Doctor::of("", &url)
            .set("OUTBOX_TLS_CA_FILE", &ca)
            .set("OUTBOX_TLS_CERT_FILE", &certificate)
            .set("OUTBOX_TLS_KEY_FILE", &key)
    };
    let report = doctor().run();
    report
        .has("broker.login", "ok", "accepted by RabbitMQ/")
        // At its usual port there is none.
        .has(
            "broker.management",
            "warning",
            "rabbitmq-plugins enable rabbitmq_management",
        )
        .has(
            "broker.alarms",
            "ok",
            "none: the broker answers after a message",
        );
    let management = "RabbitMQ's management API with TLS";
    let Some(management) = support::server("OUTBOX_TEST_RABBITMQ_TLS_MANAGEMENT", management)
    else {
        return;
    };
    let report = doctor()
        .set("OUTBOX_MANAGEMENT_URL", &management)
        .with(&["--subscription", "/topic/a", "outbox-nowhere"])
        .run();
    report
        .has("broker.management", "ok", "answers")
        .has("broker.alarms", "ok", "none")
        .has("queue", "warning", "does not exist");
    let alarms = report.checks().iter();
    let mut alarms = alarms.filter(|check| check["check"] == "broker.alarms");
    assert_eq!(
        alarms.next().unwrap()["text"],
        "none",
        "not from the answer to a message"
    );
    // Without `tls_ca_file` the authority of its certificate is not trusted.
    let plain = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ").unwrap();
    Doctor::of("", &plain)
        .set("OUTBOX_MANAGEMENT_URL", &management)
        .run()
        .has("broker.management", "warning", "certificate");
}
