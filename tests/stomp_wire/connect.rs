//! CONNECT and its possible answers.

use std::time::Duration;

use diesel_outbox::stomp::{Broker, Client, Error, Options};

use tokio::io::AsyncReadExt;

use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::{Peer, accept, listener, options, within};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn connect() {
    let listener = listener().await;
    let port = listener.local_addr().unwrap().port();
    let url = format!("stomp://sh%3Aop:p%3Aa%5Cb%C3%A9@127.0.0.1:{port}/orders");
    let options = Options::from_url(&url).unwrap();
    let broker = async {
        let mut peer = Peer::accept(&listener).await;
        peer.expect(
            b"CONNECT\naccept-version:1.1,1.2\nhost:orders\nheart-beat:10000,10000\n\
              login:sh:op\npasscode:p:a\\\\b\xc3\xa9\n\n\0",
        )
        .await;
        // The beginning of a later frame may arrive with it.
        peer.send(b"CONNECTED\nversion:1.2\nserver:ActiveMQ/5.17\nsession:x\n\n\0\nRECE")
            .await;
        peer.send(b"IPT\nreceipt-id:1\n\n\0").await;
        peer
    };
    let (client, _peer) = tokio::join!(within(Client::connect(&options)), broker);
    let client = client.unwrap();
    assert_eq!(client.server(), "ActiveMQ/5.17");
    assert_eq!(client.broker(), Broker::ActiveMq);
    assert!(!client.is_closed());
}

async fn answer(bytes: &[u8]) -> Error {
    let listener = listener().await;
    let options = options(&listener);
    let broker = async {
        let mut peer = Peer::accept(&listener).await;
        peer.expect(
            b"CONNECT\naccept-version:1.1,1.2\nhost:/\nheart-beat:0,0\nlogin:u\npasscode:p\n\n\0",
        )
        .await;
        peer.send(bytes).await;
    };
    let (client, ()) = tokio::join!(within(Client::connect(&options)), broker);
    client.unwrap_err()
}

#[tokio::test]
async fn answers_other_than_connected() {
    let error = answer(b"ERROR\nmessage:Bad CONNECT\n\nAccess refused for user 'u'\n\0").await;
    assert!(error.is_refused_login(), "{error}");
    let text = error.to_string();
    let (address, text) = text.split_once(' ').unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert_eq!(
        text,
        "refused the connection: Bad CONNECT: Access refused for user 'u' (check the user and \
         the password in STOMP_URL)"
    );
    let error = answer(b"ERROR\nmessage:Bad CONNECT\n\nVirtual host '/' access denied\0").await;
    assert!(error.is_refused_login(), "{error}");
    let error = answer(b"ERROR\nmessage:busy\n\n\0").await;
    assert!(!error.is_refused_login() && error.error_frame().is_some());
    for version in [
        "CONNECTED\nversion:2.0\n\n\0",
        "CONNECTED\nsession:1.0\n\n\0",
    ] {
        let error = answer(version.as_bytes()).await;
        assert!(matches!(error, Error::UnsupportedVersion { .. }), "{error}");
        assert!(error.is_final() && !error.is_misconfigured());
    }
    let error = answer(b"\x15\x03\x03\0\x02\x02\x46").await;
    assert!(error.to_string().contains("use stomp+ssl://"), "{error}");
    let error = answer(b"RECEIPT\nreceipt-id:1\n\n\0").await;
    assert!(matches!(error, Error::UnexpectedFrame { .. }), "{error}");
    for bytes in [&b""[..], b"ERROR\nmessage:cut", b"AMQP\0\0\x09\x01\n\n\n"] {
        let error = answer(bytes).await;
        assert!(matches!(error, Error::ConnectLost { .. }), "{error}");
    }
}

#[tokio::test]
async fn no_answer() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let options = options(&listener).connect_timeout(Duration::from_millis(50));
    // The operating system accepts; nothing answers.
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(matches!(error, Error::ConnectedTimeout { .. }));
    assert_eq!(
        error.to_string(),
        format!("{address} did not answer CONNECT within 50ms")
    );
    drop(listener);
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let options = Options::from_url("stomp://broker.invalid").unwrap();
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(
        matches!(error, Error::Resolve { .. } | Error::ResolveTimeout { .. }),
        "{error}"
    );
}

/// The broker's ERROR counts, not that it does not read everything.
#[tokio::test]
async fn refused_before_connect_was_written() {
    let listener = listener().await;
    // More than the sockets' buffers hold.
    let options = options(&listener).client_id(&"x".repeat(32 << 20));
    let broker = async {
        let mut peer = Peer::accept(&listener).await;
        within(peer.stream.read_exact(&mut [0; 7])).await.unwrap();
        peer.send(b"ERROR\nmessage:Bad CONNECT\n\nAccess refused for user 'u'\n\0")
            .await;
    };
    let (client, ()) = tokio::join!(within(Client::connect(&options)), broker);
    let error = client.unwrap_err();
    assert!(error.is_refused_login(), "{error}");
}

/// A retry would not help.
#[tokio::test]
async fn a_client_id_that_connect_cannot_carry() {
    let listener = listener().await;
    let options = options(&listener).client_id("two\nlines");
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(error.to_string().contains("client-id"), "{error}");
    assert!(error.is_final());
}

/// Linux accepts no more connections than the backlog holds; further ones hang.
#[tokio::test]
async fn a_connection_that_hangs() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "no connection hangs");
    }
    let options = options(&listener).connect_timeout(SHORT);
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error}");
    let expected = format!("cannot connect to {address} within {SHORT:?}");
    assert_eq!(error.to_string(), expected);
}

/// IPv6, and a name with several addresses of which one refuses.
#[tokio::test]
async fn addresses_of_both_kinds() {
    for (bound, url) in [
        ("[::1]:0", "stomp://u:p@[::1]"),
        ("127.0.0.1:0", "stomp://u:p@localhost"),
    ] {
        let listener = TcpListener::bind(bound).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = Options::from_url(&format!("{url}:{port}/")).unwrap();
        let options = options.heartbeat(Duration::ZERO, Duration::ZERO);
        let (client, _peer) = tokio::join!(within(Client::connect(&options)), accept(&listener));
        client.unwrap();
    }
}
