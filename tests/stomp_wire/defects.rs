//! Messages that can be decoded only in part: they are delivered with their defects and can be
//! acknowledged. The frames after them are not affected.

use diesel_outbox::stomp::codec::DecodeError;
use diesel_outbox::stomp::{Client, Defect, Error, Limits, Subscribe, Subscription, Version};

use crate::{Peer, pair, pair_with, within};

const SMALL: Limits = Limits {
    head: 256,
    headers: 8,
    body: 16,
};

async fn subscribed(client: &Client, peer: &mut Peer) -> Subscription {
    let subscribe = Subscribe {
        destination: "/s".to_owned(),
        ..Subscribe::default()
    };
    let broker = async {
        peer.expect(b"SUBSCRIBE\ndestination:/s\nid:sub-1\nack:client-individual\nreceipt:1\n\n\0")
            .await;
        peer.receipt(1).await;
    };
    let (subscription, ()) = tokio::join!(within(client.subscribe(subscribe)), broker);
    subscription.unwrap()
}

/// A MESSAGE with these extra header lines, this body and what follows it.
fn message(number: usize, lines: &[u8], body: &[u8]) -> Vec<u8> {
    let head =
        format!("MESSAGE\nsubscription:sub-1\ndestination:/s\nmessage-id:{number}\nack:{number}\n");
    [head.as_bytes(), lines, b"\n", body, b"\0\n"].concat()
}

#[tokio::test]
async fn a_message_with_defects_arrives_and_can_be_acknowledged() {
    let long = "y".repeat(300);
    let many = "a:b\n".repeat(50);
    let long_line = format!("x:{long}\nredelivered:true\n");
    let many_lines = format!("{many}redelivered:true\n");
    let counted = format!("content-length:{}\n", long.len());
    let wrong = b"content-length:2\n";
    type Case<'a> = (&'a [u8], &'a [u8], &'a [Defect], &'a [u8]);
    let cases: &[Case<'_>] = &[
        (b"x:\xff\n", b"1", &[Defect::NotUtf8], b"1"),
        (b"\xc3:x\n", b"1", &[Defect::NotUtf8], b"1"),
        (b":x\n", b"1", &[Defect::MalformedHeader], b"1"),
        (b"x\n", b"1", &[Defect::MalformedHeader], b"1"),
        (b"x:\\t\n", b"1", &[Defect::UndefinedEscape], b"1"),
        (
            b"x:\\t\n:y\nz:\xff\n",
            b"1",
            &[
                Defect::UndefinedEscape,
                Defect::MalformedHeader,
                Defect::NotUtf8,
            ],
            b"1",
        ),
        (
            long_line.as_bytes(),
            b"1",
            &[Defect::HeadersTooLong(256)],
            b"1",
        ),
        (
            many_lines.as_bytes(),
            b"1",
            &[Defect::TooManyHeaders(8)],
            b"1",
        ),
        (
            b"",
            long.as_bytes(),
            &[Defect::BodyTooLong(16)],
            b"yyyyyyyyyyyyyyyy",
        ),
        (
            counted.as_bytes(),
            long.as_bytes(),
            &[Defect::BodyTooLong(16)],
            b"yyyyyyyyyyyyyyyy",
        ),
        (wrong, b"longer", &[Defect::WrongContentLength], b"longer"),
        (
            b"content-length:two\n",
            b"1",
            &[Defect::WrongContentLength],
            b"1",
        ),
    ];
    let (client, mut peer) = pair_with(|options| options.limits(SMALL)).await;
    let mut subscription = subscribed(&client, &mut peer).await;
    for (number, (lines, body, defects, expected)) in cases.iter().enumerate() {
        peer.send(message(number, lines, body)).await;
        peer.send(message(1000 + number, b"", b"well")).await;
        let delivery = within(subscription.next()).await.unwrap();
        let shown = lines.escape_ascii();
        assert_eq!(delivery.defects(), *defects, "{shown}");
        assert_eq!(&delivery.body[..], *expected, "{shown}");
        assert_eq!(delivery.message_id, number.to_string());
        assert_eq!(
            delivery.is_redelivered(),
            lines.ends_with(b"redelivered:true\n"),
            "what follows the limit, {shown}"
        );
        client.ack_unconfirmed(&delivery).unwrap();
        peer.expect(format!("ACK\nid:{number}\n\n\0")).await;
        let well = within(subscription.next()).await.unwrap();
        assert!(well.defects().is_empty(), "after {shown}");
        assert_eq!(&well.body[..], b"well");
    }
    assert!(!client.is_closed());
}

#[tokio::test]
async fn defective_headers_are_kept_as_far_as_possible() {
    let (client, mut peer) = pair().await;
    let mut subscription = subscribed(&client, &mut peer).await;
    let lines = b"x:a\xffb\nt:\\t\\c\nok:\\c\n:left out\nlast:\\n\n";
    peer.send(message(1, lines, b"")).await;
    let delivery = within(subscription.next()).await.unwrap();
    assert_eq!(delivery.header("x"), Some("a\u{fffd}b"));
    assert_eq!(delivery.header("t"), Some("\\t\\c"));
    assert_eq!(delivery.header("ok"), Some(":"));
    assert_eq!(delivery.header("last"), Some("\n"));
    assert_eq!(delivery.header(""), None);
}

/// The body is many times as long as what is kept.
#[tokio::test]
async fn a_long_body_is_not_kept_in_memory() {
    let (client, mut peer) = pair_with(|options| options.limits(SMALL)).await;
    let mut subscription = subscribed(&client, &mut peer).await;
    let piece = vec![b'y'; 1 << 20];
    for lines in ["", "content-length:33554432\n"] {
        let whole = message(1, lines.as_bytes(), b"");
        let (head, end) = whole.split_at(whole.len() - 2);
        peer.send(head).await;
        for _ in 0..32 {
            peer.send(&piece).await;
        }
        peer.send(end).await;
        let delivery = within(subscription.next()).await.unwrap();
        assert_eq!(delivery.defects(), [Defect::BodyTooLong(16)]);
        assert_eq!(delivery.body.len(), 16);
    }
}

/// It cannot be acknowledged, or the next frame cannot be found.
#[tokio::test]
async fn without_what_an_ack_needs_the_connection_ends() {
    let endless = "a:b\n".repeat(1 << 12);
    let cases: [(&[u8], DecodeError); 6] = [
        (
            b"MESSAGE\nsubscription:sub-1\ndestination:/s\nmessage-id:1\nx:\xff\n\n\0",
            DecodeError::NotUtf8,
        ),
        (
            b"MESSAGE\nsubscription:sub-1\ndestination:/s\nmessage-id:1\nack:\xff\n\n\0",
            DecodeError::NotUtf8,
        ),
        (
            b"MESSAGE\nsubscription:sub-1\ndestination:/s\nack:1\n:x\n\n\0",
            DecodeError::MalformedHeader,
        ),
        (
            &message(1, endless.as_bytes(), b""),
            DecodeError::TooManyHeaders(8),
        ),
        (
            &message(1, b"content-length:4294967296\n", b""),
            DecodeError::BodyTooLong(16),
        ),
        (
            b"RECEIPT\nsubscription:sub-1\ndestination:/s\nmessage-id:1\nack:1\nreceipt-id:\xff\n\n\0",
            DecodeError::NotUtf8,
        ),
    ];
    for (bytes, expected) in cases {
        let (client, mut peer) = pair_with(|options| options.limits(SMALL)).await;
        let _subscription = subscribed(&client, &mut peer).await;
        peer.send(bytes).await;
        let error = within(client.closed()).await;
        assert!(error.is_decode_error());
        let Error::ConnectionLost { source, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(source.to_string(), expected.to_string());
    }
}

/// Before STOMP 1.2 an ACK needs no more than that.
#[tokio::test]
async fn before_1_2_the_message_id_is_enough() {
    let (client, mut peer) = crate::versions::pair(Version::V1_1, "Peer/1").await;
    let mut subscription = subscribed(&client, &mut peer).await;
    peer.send(b"MESSAGE\nsubscription:sub-1\ndestination:/s\nmessage-id:1\nx:\xff\n\n\0")
        .await;
    let delivery = within(subscription.next()).await.unwrap();
    assert_eq!(delivery.defects(), [Defect::NotUtf8]);
    client.ack_unconfirmed(&delivery).unwrap();
    peer.expect(b"ACK\nmessage-id:1\nsubscription:sub-1\n\n\0")
        .await;
}
