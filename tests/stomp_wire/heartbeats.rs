//! Heart-beats both ways.

use std::time::Duration;

use diesel_outbox::stomp::{Client, Error};

use crate::{Peer, listener, message, options, sent, within};

const INTERVAL: Duration = Duration::from_millis(100);

/// A connection with heart-beats of 100 ms as far as the broker has them too.
async fn beating(theirs: &str) -> (Client, Peer) {
    let listener = listener().await;
    let options = options(&listener).heartbeat(INTERVAL, INTERVAL);
    let broker = async {
        let mut peer = Peer::accept(&listener).await;
        peer.expect(
            b"CONNECT\naccept-version:1.1,1.2\nhost:/\nheart-beat:100,100\n\
              login:u\npasscode:p\n\n\0",
        )
        .await;
        peer.send(format!("CONNECTED\nversion:1.2\nheart-beat:{theirs}\n\n\0"))
            .await;
        peer
    };
    let (client, peer) = tokio::join!(within(Client::connect(&options)), broker);
    (client.unwrap(), peer)
}

#[tokio::test]
async fn ours_are_sent_while_nothing_else_is() {
    let (client, mut peer) = beating("0,50").await;
    peer.expect(b"\n\n\n").await;
    let receipt = client.send(message("/a"));
    peer.expect_after_beats(sent("/a", 1)).await;
    peer.expect(b"\n\n").await;
    peer.receipt(1).await;
    within(receipt).await.unwrap();
}

#[tokio::test]
async fn theirs_keep_the_connection_and_their_lack_ends_it() {
    let (client, mut peer) = beating("50,50").await;
    let pending = client.send(message("/a"));
    peer.expect_after_beats(sent("/a", 1)).await;
    // 100 ms are agreed on; the client waits for 700 ms.
    let started = tokio::time::Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        // Ours are what the peer waits for, so that nothing here sleeps.
        peer.expect(b"\n").await;
        peer.send(b"\n").await;
    }
    assert!(!client.is_closed());

    let error = within(client.closed()).await;
    let Error::ConnectionLost { source: cause, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**cause, Error::HeartbeatLost { .. }), "{error}");
    assert!(!error.is_closed_by_us());
    assert!(within(pending).await.unwrap_err().is_fate_unknown());
    peer.rest().await;
}
