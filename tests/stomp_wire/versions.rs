//! The differences between the versions, in bytes, and the specifications' own examples.

use bytes::BytesMut;
use diesel_outbox::stomp::codec::{DecodeError, Decoder, Dialect, Frame};
use diesel_outbox::stomp::{
    Client, Delivery, Error, Limits, NotSentReason, SendFrame, Subscribe, Subscription, Version,
};
use tokio_util::codec::Decoder as _;

use crate::{Peer, listener, message, not_sent, options, within};

/// A connection in this version, with this `server` header.
pub(crate) async fn pair(version: Version, server: &str) -> (Client, Peer) {
    let listener = listener().await;
    let options = options(&listener).versions(&[version]);
    let broker = async {
        let mut peer = Peer::accept(&listener).await;
        peer.expect(format!(
            "CONNECT\naccept-version:{version}\nhost:/\nheart-beat:0,0\nlogin:u\npasscode:p\n\n\0"
        ))
        .await;
        // STOMP 1.0 has no `version`.
        let version = match version {
            Version::V1_0 => String::new(),
            version => format!("version:{version}\n"),
        };
        peer.send(format!(
            "CONNECTED\n{version}server:{server}\nsession:x\n\n\0\n"
        ))
        .await;
        peer
    };
    let (client, peer) = tokio::join!(within(Client::connect(&options)), broker);
    let client = client.unwrap();
    assert_eq!(client.version(), version);
    (client, peer)
}

async fn subscribe(client: &Client, peer: &mut Peer, delivery: &[u8]) -> (Subscription, Delivery) {
    let subscribe = Subscribe {
        destination: "/queue/a".to_owned(),
        headers: Vec::new(),
    };
    let broker = async {
        peer.expect(
            "SUBSCRIBE\ndestination:/queue/a\nid:sub-1\nack:client-individual\nreceipt:1\n\n\0",
        )
        .await;
        peer.receipt(1).await;
        peer.send(delivery).await;
    };
    let (subscription, ()) = tokio::join!(within(client.subscribe(subscribe)), broker);
    let mut subscription = subscription.unwrap();
    let delivery = within(subscription.next()).await.unwrap();
    (subscription, delivery)
}

/// STOMP 1.1, "ACK" and "NACK": the message's id and its subscription.
#[tokio::test]
async fn acks_of_1_1() {
    let (client, mut peer) = pair(Version::V1_1, "Peer/1").await;
    // A carriage return belongs to the value, and `ack` has no special meaning.
    let bytes =
        b"MESSAGE\nsubscription:sub-1\nmessage-id:m\\c1\\\\2\ndestination:/queue/a\nx:y\r\n\
                  ack:no\n\nbody\0";
    let (_subscription, delivery) = subscribe(&client, &mut peer, bytes).await;
    assert_eq!(delivery.message_id, "m:1\\2");
    assert_eq!(delivery.header("x"), Some("y\r"));
    client.ack_unconfirmed(&delivery).unwrap();
    let ack = client.ack(&delivery);
    let nack = client.nack(&delivery, false);
    peer.expect(
        "ACK\nmessage-id:m\\c1\\\\2\nsubscription:sub-1\n\n\0\
         ACK\nmessage-id:m\\c1\\\\2\nsubscription:sub-1\nreceipt:2\n\n\0\
         NACK\nmessage-id:m\\c1\\\\2\nreceipt:3\nsubscription:sub-1\nrequeue:false\n\n\0",
    )
    .await;
    peer.receipt(2).await;
    peer.receipt(3).await;
    within(ack).await.unwrap();
    within(nack).await.unwrap();
}

/// STOMP 1.0 has neither escape sequences nor NACK, and its messages may lack `subscription`.
#[tokio::test]
async fn acks_of_1_0() {
    let (client, mut peer) = pair(Version::V1_0, "Peer/1").await;
    let bytes = b"MESSAGE\nmessage-id:m:1\\c\ndestination:/queue/a\n\nbody\0";
    let (_subscription, delivery) = subscribe(&client, &mut peer, bytes).await;
    assert_eq!(delivery.message_id, "m:1\\c");
    let nack = within(client.nack(&delivery, false)).await;
    assert_eq!(not_sent(nack), "STOMP 1.0 has no NACK");
    let ack = client.ack(&delivery);
    peer.expect("ACK\nmessage-id:m:1\\c\nsubscription:sub-1\nreceipt:2\n\n\0")
        .await;
    peer.receipt(2).await;
    within(ack).await.unwrap();

    let with = |name: &str, value: &str| SendFrame {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..message("/queue/a")
    };
    let refused = within(client.send(with("x", "one\ntwo")))
        .await
        .unwrap_err();
    assert!(matches!(
        &refused,
        Error::NotSent {
            reason: NotSentReason::Encode(_)
        }
    ));
    assert!(refused.to_string().contains("header \"x\""), "{refused}");
    assert!(within(client.send(with("a:b", "x"))).await.is_err());
    let sent = client.send(with("x", "a:b\\c"));
    peer.expect("SEND\ndestination:/queue/a\nreceipt:3\nx:a:b\\c\ncontent-length:0\n\n\0")
        .await;
    peer.receipt(3).await;
    within(sent).await.unwrap();
}

/// RabbitMQ 3.10 escapes in each version and has NACK in each.
#[tokio::test]
async fn rabbitmq_in_1_0() {
    let (client, mut peer) = pair(Version::V1_0, "RabbitMQ/3.10.8").await;
    let bytes = b"MESSAGE\nsubscription:sub-1\nmessage-id:m\\c1\\r\ndestination:/queue/a\n\n\0";
    let (_subscription, delivery) = subscribe(&client, &mut peer, bytes).await;
    assert_eq!(delivery.message_id, "m:1\r");
    let nack = client.nack(&delivery, true);
    peer.expect("NACK\nmessage-id:m\\c1\\r\nreceipt:2\nsubscription:sub-1\nrequeue:true\n\n\0")
        .await;
    peer.receipt(2).await;
    within(nack).await.unwrap();
}

#[tokio::test]
async fn the_broker_chooses_among_the_versions() {
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let listener = listener().await;
        let all = [Version::V1_2, Version::V1_1, Version::V1_0];
        let options = options(&listener).versions(&all);
        let broker = async {
            let mut peer = Peer::accept(&listener).await;
            peer.expect("CONNECT\naccept-version:1.0,1.1,1.2\nhost:/\n")
                .await;
            peer.send(format!("CONNECTED\nversion:{version}\n\n\0"))
                .await;
            peer
        };
        let (client, _peer) = tokio::join!(within(Client::connect(&options)), broker);
        assert_eq!(client.unwrap().version(), version);
    }
}

fn frames(bytes: &[u8], version: Version) -> Result<Vec<Frame>, DecodeError> {
    let mut decoder = Decoder::new(Dialect::of(version), Limits::default());
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut buffer)? {
        frames.push(frame);
    }
    assert!(buffer.is_empty(), "{} bytes are left", buffer.len());
    Ok(frames)
}

/// The examples as printed in the specifications.
#[test]
fn the_specifications_examples() {
    let bytes = b"CONNECTED\nversion:1.1\n\n\0\
        MESSAGE\nsubscription:0\nmessage-id:007\ndestination:/queue/a\ncontent-type:text/plain\n\n\
        hello queue a\0\
        RECEIPT\nreceipt-id:message-12345\n\n\0\
        ERROR\nreceipt-id:message-12345\ncontent-type:text/plain\ncontent-length:171\n\
        message: malformed frame received\n\nThe message:\n-----\nMESSAGE\n\
        destined:/queue/a\nreceipt:message-12345\n\nHello queue a!\n-----\n\
        Did not contain a destination header, which is REQUIRED\nfor message propagation.\n\0";
    // STOMP 1.2 prints a length for its example that is one more than its text has here.
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = text.rsplit_once("received\n\n").unwrap().1.len() - 1;
    let text = text.replace("content-length:171", &format!("content-length:{body}"));
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let frames = frames(text.as_bytes(), version).unwrap();
        assert_eq!(frames.len(), 4, "{version}");
        assert_eq!(frames[0].header("version"), Some("1.1"));
        assert_eq!(frames[1].header("message-id"), Some("007"));
        assert_eq!(&frames[1].body[..], b"hello queue a");
        assert_eq!(frames[2].header("receipt-id"), Some("message-12345"));
        // STOMP 1.2: no white space is removed from a header.
        let message = frames[3].header("message");
        assert_eq!(message, Some(" malformed frame received"));
        assert_eq!(frames[3].body.len(), body);
    }
    // "Repeated Header Entries": the first counts.
    let repeated = b"MESSAGE\nfoo:World\nfoo:Hello\n\n\0";
    let frames = frames(repeated, Version::V1_2).unwrap();
    assert_eq!(frames[0].header("foo"), Some("World"));
}

/// "Augmented BNF": EOL is LF, since 1.2 with an optional CR. NUL ends a frame, and any number of
/// EOLs may follow. `content-length` octets may be anything.
#[test]
fn the_grammar() {
    let crlf =
        b"\r\nMESSAGE\r\na:1\r\nb:\r\n\r\n\r\nx\0\r\n\n\r\nRECEIPT\r\nreceipt-id:1\r\n\r\n\0";
    let found = frames(crlf, Version::V1_2).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].header("a"), Some("1"));
    assert_eq!(found[0].header("b"), Some(""));
    assert_eq!(&found[0].body[..], b"\r\nx");
    // Before 1.2 the CR belongs to the line, which then has no colon.
    let error = frames(crlf, Version::V1_1).unwrap_err();
    assert!(matches!(error, DecodeError::MalformedHeader), "{error}");
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let bytes = b"MESSAGE\ncontent-length:5\n\n\0\n\0\n\0\0\n\n\nRECEIPT\n\n\0";
        let found = frames(bytes, version).unwrap();
        assert_eq!(&found[0].body[..], b"\0\n\0\n\0");
        assert_eq!(found[1].command, "RECEIPT");
    }
}
