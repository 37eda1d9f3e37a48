//! TLS against the tests' own peer; tests/stomp_broker uses the brokers.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use diesel_outbox::stomp::{Client, Error, Options, Tls, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::server::TlsStream;

use crate::certificates::{Authority, PASSWORD, VERSIONS, expired, not_yet};
use crate::{listener, message, sent, within};

const CONNECT: &[u8] =
    b"CONNECT\naccept-version:1.1,1.2\nhost:/\nheart-beat:10000,10000\nlogin:u\npasscode:p\n\n\0";

fn options(listener: &TcpListener, host: &str, tls: Tls) -> Options {
    let port = listener.local_addr().unwrap().port();
    Options::from_url(&format!("stomp+ssl://u:p@{host}:{port}/"))
        .unwrap()
        .tls(tls)
}

async fn expect(stream: &mut TlsStream<tokio::net::TcpStream>, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(
        bytes.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

/// The broker's side up to CONNECTED; `None` if the handshake fails.
async fn serve(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
) -> Option<TlsStream<tokio::net::TcpStream>> {
    let (stream, _) = within(listener.accept()).await.unwrap();
    let mut stream = within(acceptor.accept(stream)).await.ok()?;
    expect(&mut stream, CONNECT).await;
    within(stream.write_all(b"CONNECTED\nversion:1.2\n\n\0"))
        .await
        .unwrap();
    within(stream.flush()).await.unwrap();
    Some(stream)
}

/// A connection with TLS and its peer.
pub(crate) async fn pair() -> (Client, TlsStream<tokio::net::TcpStream>) {
    let authority = Authority::new();
    let signed = authority.sign(&["localhost"], |_| ());
    let acceptor = authority.acceptor(&signed, &TLS13, false);
    let listener = listener().await;
    let options = options(&listener, "localhost", Tls::new().ca_file(authority.file()));
    let (client, stream) = tokio::join!(
        within(Client::connect(&options)),
        serve(&listener, &acceptor)
    );
    (client.unwrap(), stream.unwrap())
}

/// The result of connecting if the broker has this certificate.
async fn outcome(acceptor: &TlsAcceptor, host: &str, tls: Tls) -> Result<Client, Error> {
    let listener = listener().await;
    let options = options(&listener, host, tls);
    let (client, _) = tokio::join!(
        within(Client::connect(&options)),
        serve(&listener, acceptor)
    );
    client
}

fn reason(result: Result<Client, Error>) -> TlsError {
    let error = result.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    match &error {
        Error::Tls { source, address } => {
            assert!(error.source().is_some() && error.is_final(), "{error}");
            assert!(error.to_string().contains(address.as_str()));
            TlsError::clone(source)
        }
        _ => panic!("{error}"),
    }
}

#[tokio::test]
async fn frames_go_both_ways() {
    let authority = Authority::new();
    let signed = authority.sign(&["localhost", "127.0.0.1", "::1"], |_| ());
    for version in VERSIONS {
        for (host, bound) in [
            ("localhost", "127.0.0.1:0"),
            ("127.0.0.1", "127.0.0.1:0"),
            ("[::1]", "[::1]:0"),
        ] {
            let acceptor = authority.acceptor(&signed, version, false);
            let listener = TcpListener::bind(bound).await.unwrap();
            let tls = Tls::new().ca_file(authority.file());
            let options = options(&listener, host, tls);
            let (client, stream) = tokio::join!(
                within(Client::connect(&options)),
                serve(&listener, &acceptor)
            );
            let (client, mut stream) = (client.unwrap(), stream.unwrap());
            // More than the socket and TLS hold at a time.
            let mut large = message("/large");
            large.body = vec![b'x'; 4 << 20].into();
            let receipts = [client.send(message("/small")), client.send(large)];
            expect(&mut stream, sent("/small", 1).as_bytes()).await;
            let head = b"SEND\ndestination:/large\nreceipt:2\ncontent-length:4194304\n\n";
            expect(&mut stream, head).await;
            let mut body = vec![0; (4 << 20) + 1];
            within(stream.read_exact(&mut body)).await.unwrap();
            stream
                .write_all(b"RECEIPT\nreceipt-id:2\n\n\0RECEIPT\nreceipt-id:1\n\n\0")
                .await
                .unwrap();
            for receipt in receipts {
                within(receipt).await.unwrap();
            }
            let broker = async {
                expect(&mut stream, b"DISCONNECT\nreceipt:3\n\n\0").await;
                let receipt = b"RECEIPT\nreceipt-id:3\n\n\0";
                stream.write_all(receipt).await.unwrap();
                // The peer sends close_notify: without it this read would fail.
                within(stream.read(&mut [0])).await.unwrap()
            };
            let (disconnected, rest) = tokio::join!(within(client.disconnect()), broker);
            disconnected.unwrap();
            assert_eq!(rest, 0);
        }
    }
}

#[tokio::test]
async fn the_brokers_certificate_is_verified() {
    let (authority, same_name) = (Authority::new(), Authority::new());
    let other = Authority::named("another authority");
    let trusting = || Tls::new().ca_file(authority.file());
    for version in VERSIONS {
        let good = authority.sign(&["localhost"], |_| ());
        let good = authority.acceptor(&good, version, false);
        for other in [&other, &same_name] {
            let tls = Tls::new().ca_file(other.file());
            let error = reason(outcome(&good, "localhost", tls).await);
            assert!(matches!(error, TlsError::UnknownIssuer { .. }), "{error}");
        }
        // The system's authorities did not sign it either.
        let error = reason(outcome(&good, "localhost", Tls::new()).await);
        let is_expected = matches!(
            error,
            TlsError::UnknownIssuer { .. } | TlsError::NoAuthorities { .. }
        );
        assert!(is_expected, "{error}");
        let error = reason(outcome(&good, "127.0.0.1", trusting()).await);
        assert!(matches!(error, TlsError::WrongName { .. }), "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");

        let old = authority.sign(&["localhost"], expired);
        let old = authority.acceptor(&old, version, false);
        let error = reason(outcome(&old, "localhost", trusting()).await);
        assert!(matches!(error, TlsError::Expired { .. }), "{error}");
        let young = authority.sign(&["localhost"], not_yet);
        let young = authority.acceptor(&young, version, false);
        let error = reason(outcome(&young, "localhost", trusting()).await);
        assert!(matches!(error, TlsError::NotYetValid { .. }), "{error}");

        // The options require all of these.
        for (acceptor, host) in [(&good, "127.0.0.1"), (&old, "localhost")] {
            let anything = Tls::new().accept_any_certificate();
            outcome(acceptor, host, anything).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_validator_decides_last() {
    let authority = Authority::new();
    let signed = authority.sign(&["localhost"], |_| ());
    let acceptor = authority.acceptor(&signed, &TLS13, false);
    let refusing = |tls: Tls| tls.validator(|_| Err("not our broker"));
    for tls in [
        Tls::new().ca_file(authority.file()),
        Tls::new().accept_any_certificate(),
    ] {
        let error = reason(outcome(&acceptor, "localhost", refusing(tls)).await);
        assert!(matches!(error, TlsError::Rejected { .. }), "{error}");
        assert!(error.to_string().ends_with("not our broker"), "{error}");
    }
    let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let noted = seen.clone();
    let tls = Tls::new()
        .ca_file(authority.file())
        .validator(move |certificate| {
            assert!(certificate.certificate.len() > 100);
            certificate.host.clone_into(&mut noted.lock().unwrap());
            Ok::<_, std::convert::Infallible>(())
        });
    outcome(&acceptor, "localhost", tls).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), "localhost");
    // It runs after the usual verification, not instead of it.
    let tls = Tls::new().validator(|_| Ok::<_, std::convert::Infallible>(()));
    assert!(outcome(&acceptor, "localhost", tls).await.is_err());
}

#[tokio::test]
async fn client_certificates() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.sign(&["localhost"], |_| ());
    let ours = authority.sign(&["shop"], |_| ());
    let trusting = || Tls::new().ca_file(authority.file());
    let certificate = authority.write("client.pem", ours.pem());
    let key = authority.write("client.key", ours.key_pem());
    let both = authority.write("both.pem", ours.key_pem() + ours.pem());
    let encrypted = authority.write("encrypted.key", ours.encrypted_key_pem());
    for version in VERSIONS {
        let acceptor = authority.acceptor(&server, version, true);
        for tls in [
            trusting().client_certificate(&certificate, &key),
            trusting().client_certificate(&both, &both),
            trusting()
                .client_certificate(&certificate, &encrypted)
                .key_password(PASSWORD),
        ] {
            outcome(&acceptor, "localhost", tls).await.unwrap();
        }
        let error = reason(outcome(&acceptor, "localhost", trusting()).await);
        let is_missing = matches!(error, TlsError::ClientCertificateMissing { .. });
        assert!(is_missing, "{version:?}: {error}");
        let theirs = other.sign(&["shop"], |_| ());
        let tls = trusting().client_certificate(
            authority.write("theirs.pem", theirs.pem()),
            authority.write("theirs.key", theirs.key_pem()),
        );
        let error = reason(outcome(&acceptor, "localhost", tls).await);
        let is_refused = matches!(error, TlsError::ClientCertificateRefused { .. });
        assert!(is_refused, "{version:?}: {error}");
    }
}

/// Each unusable file has its own error, found at connect.
#[tokio::test]
async fn wrong_files() {
    let authority = Authority::new();
    let server = authority.sign(&["localhost"], |_| ());
    let (ours, other) = (
        authority.sign(&["shop"], |_| ()),
        authority.sign(&["shop"], |_| ()),
    );
    let acceptor = authority.acceptor(&server, &TLS13, true);
    let ca = authority.file();
    let certificate = authority.write("client.pem", ours.pem());
    let key = authority.write("client.key", ours.key_pem());
    let empty = authority.write("empty", " \n");
    let text = authority.write("text", "hello");
    let missing = authority.write("x", "").with_file_name("missing");
    let cut = authority.write("cut.pem", &ours.pem()[..ours.pem().len() / 2]);
    let damaged = authority.write("damaged.pem", ours.pem().replace('M', "!"));
    let wrong = authority.write("wrong.key", other.key_pem());
    let encrypted = authority.write("encrypted.key", ours.encrypted_key_pem());
    let old = authority.write(
        "old.key",
        ours.key_pem()
            .replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
    );
    let cases: [(&Path, &Path, &Path, Option<&str>, &str); 19] = [
        (
            &missing,
            &certificate,
            &key,
            None,
            "cannot read the file of certificate authorities",
        ),
        (
            &empty,
            &certificate,
            &key,
            None,
            "the file of certificate authorities",
        ),
        (
            &text,
            &certificate,
            &key,
            None,
            "contains no PEM; expected a certificate",
        ),
        (
            &key,
            &certificate,
            &key,
            None,
            "contains a private key; expected a certificate",
        ),
        (&cut, &certificate, &key, None, "is damaged"),
        (&damaged, &certificate, &key, None, "is damaged"),
        (
            &ca,
            &missing,
            &key,
            None,
            "cannot read the client certificate",
        ),
        (&ca, &empty, &key, None, "is empty"),
        (
            &ca,
            &key,
            &key,
            None,
            "contains a private key; expected a certificate",
        ),
        (
            &ca,
            &encrypted,
            &key,
            None,
            "contains an encrypted private key; expected a certificate",
        ),
        (&ca, &damaged, &key, None, "is damaged"),
        (
            &ca,
            &certificate,
            &missing,
            None,
            "cannot read the client certificate's key",
        ),
        (&ca, &certificate, &empty, None, "is empty"),
        (
            &ca,
            &certificate,
            &certificate,
            None,
            "contains a certificate; expected a private key",
        ),
        (
            &ca,
            &certificate,
            &wrong,
            None,
            "does not match the client certificate",
        ),
        (
            &ca,
            &certificate,
            &encrypted,
            None,
            "is encrypted: set its password",
        ),
        (
            &ca,
            &certificate,
            &encrypted,
            Some("wrong"),
            "the password is wrong",
        ),
        (&ca, &certificate, &old, None, "openssl pkcs8 -topk8"),
        (
            &ca,
            &certificate,
            &text,
            None,
            "contains no PEM; expected a private key",
        ),
    ];
    for (ca, certificate, key, password, expected) in cases {
        let mut tls = Tls::new().ca_file(ca).client_certificate(certificate, key);
        if let Some(password) = password {
            tls = tls.key_password(password);
        }
        let listener = listener().await;
        let error = Client::connect(&options(&listener, "localhost", tls)).await;
        let error = reason(error);
        assert!(error.is_local(), "{error}");
        let text = error.to_string();
        assert!(text.contains(expected), "{text:?} without {expected:?}");
    }
    // Files are read again at each connect: a corrected file works.
    let late = authority.write("late.key", "");
    let tls = || {
        Tls::new()
            .ca_file(&ca)
            .client_certificate(&certificate, &late)
    };
    reason(outcome_of(&acceptor, tls()).await);
    authority.write("late.key", ours.key_pem());
    outcome(&acceptor, "localhost", tls()).await.unwrap();
}

/// As [`outcome`], without waiting for a connection on the broker's side.
async fn outcome_of(_: &TlsAcceptor, tls: Tls) -> Result<Client, Error> {
    let listener = listener().await;
    within(Client::connect(&options(&listener, "localhost", tls))).await
}

#[tokio::test]
async fn peers_without_tls() {
    let listener = listener().await;
    let tls = Tls::new().accept_any_certificate();
    let options = options(&listener, "localhost", tls);
    let broker = async {
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        within(stream.write_all(b"ERROR\nmessage:no\n\n\0"))
            .await
            .unwrap();
        stream
    };
    let (client, stream) = tokio::join!(within(Client::connect(&options)), broker);
    let error = reason(client);
    assert!(matches!(error, TlsError::NotTls { .. }), "{error}");
    drop(stream);

    // A peer that sends nothing.
    let options = options.tls_timeout(Duration::from_millis(50));
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(matches!(error, Error::TlsTimeout { .. }), "{error}");

    // TLS at a port for plain text.
    let authority = Authority::new();
    let signed = authority.sign(&["localhost"], |_| ());
    let acceptor = authority.acceptor(&signed, &TLS13, false);
    let plain = crate::options(&listener);
    drop(within(listener.accept()).await);
    let broker = async {
        let (stream, _) = within(listener.accept()).await.unwrap();
        assert!(within(acceptor.accept(stream)).await.is_err());
    };
    let (client, ()) = tokio::join!(within(Client::connect(&plain)), broker);
    let error = client.unwrap_err().to_string();
    assert!(error.contains("use stomp+ssl://"), "{error}");
}

/// Bytes that TLS accepted before a write failed may have been sent, in part or in full.
#[tokio::test]
async fn bytes_accepted_by_tls_before_a_failed_write_have_an_unknown_fate() {
    let authority = Authority::new();
    let signed = authority.sign(&["localhost"], |_| ());
    for version in VERSIONS {
        let acceptor = authority.acceptor(&signed, version, false);
        let listener = listener().await;
        let tls = Tls::new().ca_file(authority.file());
        let options =
            options(&listener, "localhost", tls).heartbeat(Duration::ZERO, Duration::ZERO);
        let broker = async {
            let (stream, _) = within(listener.accept()).await.unwrap();
            let mut stream = within(acceptor.accept(stream)).await.unwrap();
            let connect = String::from_utf8_lossy(CONNECT).replace("10000,10000", "0,0");
            expect(&mut stream, connect.as_bytes()).await;
            within(stream.write_all(b"CONNECTED\nversion:1.2\n\n\0"))
                .await
                .unwrap();
            within(stream.flush()).await.unwrap();
            stream
        };
        let (client, stream) = tokio::join!(within(Client::connect(&options)), broker);
        let client = client.unwrap();
        // It keeps reading for receipts.
        tokio::task::yield_now().await;
        let (stream, _) = stream.into_inner();
        stream.set_zero_linger().unwrap();
        drop(stream);
        // The runtime has one thread: the end is noticed only after this is written.
        let error = within(client.send(message("/a"))).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{error:?}");
    }
}

/// A file on a network file system that hangs: here a pipe without a writer.
#[tokio::test]
async fn a_file_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("ca.pem");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let listener = listener().await;
    let options = options(&listener, "localhost", Tls::new().ca_file(&pipe))
        .tls_timeout(Duration::from_millis(50));
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(matches!(error, Error::TlsTimeout { .. }), "{error}");
    // Let the reading thread end.
    std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
}
