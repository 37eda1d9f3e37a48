//! Misbehaviour after CONNECTED.

use super::*;

#[tokio::test]
async fn connected_twice() {
    let error = said(|options| options, b"CONNECTED\nversion:1.2\n\n\0").await;
    assert_eq!(error.to_string(), "unexpected frame \"CONNECTED\"");
    assert!(matches!(error, Error::UnexpectedFrame { .. }));
}

#[tokio::test]
async fn frames_that_no_broker_sends() {
    let long = [&b"X".repeat(100_000)[..], b"\n\n\0"].concat();
    for bytes in [
        &b"SEND\ndestination:/a\n\n\0"[..],
        b"message\nsubscription:sub-1\n\n\0",
        b"\x1b[31m\x07\n\n\0",
        b"\0\n\n\0",
        &long,
    ] {
        let error = said(|options| options, bytes).await;
        assert!(matches!(error, Error::UnexpectedFrame { .. }), "{error:?}");
        let shown = error.to_string();
        assert!(shown.chars().count() < 100, "{shown}");
        assert!(!shown.contains(char::is_control), "{shown}");
    }
}

#[tokio::test]
async fn endless_heartbeats_delay_nothing() {
    let (client, mut peer) = pair().await;
    let flood = vec![b'\n'; 1 << 18];
    for number in 1..=8 {
        peer.send(&flood).await;
        works(&client, &mut peer, number).await;
    }
    let last = client.send(message("/last"));
    let broker = tokio::spawn(async move { peer.flood(&flood).await });
    client.abort();
    within(last).await.unwrap_err();
    assert!(within(client.closed()).await.is_closed_by_us());
    within(broker).await.unwrap();
}

#[tokio::test]
async fn a_length_of_four_gigabytes() {
    for length in [
        "134217729",
        "4294967296",
        "18446744073709551614",
        "18446744073709551615",
        "18446744073709551616",
        &"9".repeat(300),
    ] {
        let bytes = format!("MESSAGE\ncontent-length:{length}\n\nbody");
        let error = said(|options| options, bytes.as_bytes()).await;
        assert_decode(&error, &DecodeError::BodyTooLong(128 << 20));
    }
}

/// Without a limit, an announced length must not reserve the memory either.
#[tokio::test]
async fn a_length_of_all_memory_without_a_limit() {
    let unlimited = Limits {
        body: usize::MAX,
        ..Limits::default()
    };
    let (client, mut peer) = pair_with(|options| options.limits(unlimited)).await;
    peer.send(b"MESSAGE\ncontent-length:18446744073709551614\n\n")
        .await;
    peer.send(vec![b'x'; 1 << 20]).await;
    // The client is reading: it receives these bytes.
    drop(client.send(message("/a")));
    peer.expect(sent("/a", 1)).await;
    drop(peer);
    let error = cause(within(client.closed()).await);
    assert!(
        matches!(error, Error::Disconnected | Error::Io(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn malformed_headers() {
    let cases: [(&[u8], DecodeError); 6] = [
        (b"MESSAGE\nx:\xff\xfe\n\n\0", DecodeError::NotUtf8),
        (b"RECEIPT\nreceipt-id:\xc3\n\n\0", DecodeError::NotUtf8),
        (b"\x80\n\n\0", DecodeError::NotUtf8),
        (b"MESSAGE\nx\n\n\0", DecodeError::MalformedHeader),
        (b"MESSAGE\n:\n\n\0", DecodeError::MalformedHeader),
        (b"MESSAGE\nx:\\t\n\n\0", DecodeError::UndefinedEscape),
    ];
    for (bytes, expected) in cases {
        let error = said(|options| options, bytes).await;
        assert_decode(&error, &expected);
    }
}

#[tokio::test]
async fn endless_frames() {
    let cases: [(&[u8], &[u8], DecodeError); 4] = [
        (b"", b"MESSAGE", DecodeError::HeadersTooLong(4096)),
        (b"MESSAGE\nx:", b"y", DecodeError::HeadersTooLong(4096)),
        (b"MESSAGE\n", b"x:y\n", DecodeError::TooManyHeaders(16)),
        (b"MESSAGE\n\n", b"y", DecodeError::BodyTooLong(64 * 1024)),
    ];
    for (first, again, expected) in cases {
        let (client, mut peer) = pair_with(|options| options.limits(SMALL)).await;
        peer.send(first).await;
        let length = peer.flood(&again.repeat(1024)).await;
        assert_decode(&ends(&client, &mut peer).await, &expected);
        assert!(length < IN_SOCKETS, "{length} bytes for {expected}");
    }
}

#[tokio::test]
async fn error_while_the_broker_keeps_sending() {
    let cases: [&'static [u8]; 4] = [
        b"\n",
        b"ERROR\nmessage:again\n\n\0",
        b"RECEIPT\nreceipt-id:7\n\n\0",
        b"MESSAGE\nsubscription:sub-1\ndestination:/s\nmessage-id:1\n\n\0",
    ];
    let each = async |again: &'static [u8]| {
        let (client, mut peer) = pair().await;
        let pending = client.send(message("/a"));
        peer.expect(sent("/a", 1)).await;
        peer.send(b"ERROR\nmessage:first\n\n\0").await;
        let began = Instant::now();
        peer.flood(&again.repeat(512)).await;
        // Nothing it sent extended the time.
        assert!(began.elapsed() < Duration::from_secs(10));
        let error = within(pending).await.unwrap_err();
        assert_eq!(error.error_frame().unwrap().message, "first");
        let error = ends(&client, &mut peer).await;
        assert!(matches!(error, Error::LeftOpen), "{error:?}");
    };
    // In separate tasks, because a flooding peer leaves the other futures of its task no time.
    for task in cases.map(|again| tokio::spawn(each(again))) {
        within(task).await.unwrap();
    }
}

#[tokio::test]
async fn closed_in_the_middle_of_a_frame() {
    let whole = delivery("sub-1", b"body");
    // Up to its NUL.
    for length in [1, 8, 20, whole.len() - 6, whole.len() - 2] {
        let (client, mut peer) = pair().await;
        let mut subscription = subscribed(&client, &mut peer).await;
        peer.send(&whole[..length]).await;
        drop(peer);
        let error = cause(within(client.closed()).await);
        assert!(matches!(error, Error::Disconnected), "{error:?}");
        assert!(within(subscription.next()).await.is_none(), "half a frame");
    }
}

#[tokio::test]
async fn reset() {
    let (client, mut peer) = pair().await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    peer.stream.set_zero_linger().unwrap();
    drop(peer);
    let error = within(pending).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    let error = cause(error);
    assert!(matches!(error, Error::Io(_)), "{error:?}");
}

#[tokio::test]
async fn unexpected_receipts() {
    let (client, mut peer) = pair().await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    for id in [
        "",
        "0",
        "2",
        "-1",
        " 1",
        "1 ",
        "1.begin",
        "one",
        "18446744073709551615",
        "18446744073709551617",
    ] {
        peer.send(format!("RECEIPT\nreceipt-id:{id}\n\n\0")).await;
    }
    works(&client, &mut peer, 2).await;
    // None of them completed this frame.
    assert!(timeout(SHORT, pending).await.is_err());
    // A repeated receipt does no harm.
    peer.receipt(2).await;
    peer.receipt(1).await;
    peer.receipt(1).await;
    works(&client, &mut peer, 3).await;
}

/// A receipt for a frame that the broker cannot have proves nothing.
#[tokio::test]
async fn a_receipt_for_an_unwritten_frame() {
    let (client, mut peer) = pair().await;
    let mut big = message("/big");
    big.body = vec![b'x'; 1 << 20].into();
    let mut receipts: Vec<_> = (0..64).map(|_| client.send(big.clone())).collect();
    let last = client.send(message("/last"));
    // The first is being written; the last waits behind more than the sockets' buffers hold.
    peer.expect(b"SEND\ndestination:/big\nreceipt:1\n").await;
    peer.receipt(65).await;
    peer.receipt(1).await;
    // They are read in order.
    within(&mut receipts[0]).await.unwrap();
    client.abort();
    not_sent(within(last).await);
}

#[tokio::test]
async fn silence_without_a_fin() {
    for mode in [Mode::Swallowing, Mode::Stalled] {
        let listener = listener().await;
        let url = format!("stomp://u:p@{}", listener.local_addr().unwrap());
        let network = Network::to(&url);
        let options = Options::from_url(&network.address_for(&url))
            .unwrap()
            .heartbeat(SHORT / 3, SHORT / 3);
        // It sends heart-beats all the time; the results do not matter.
        let broker = tokio::spawn(async move {
            let mut peer = asked(&listener).await;
            peer.send(b"CONNECTED\nversion:1.2\nheart-beat:50,50\n\n\0")
                .await;
            let (mut reader, mut writer) = peer.stream.into_split();
            let beats = tokio::spawn(async move {
                let mut pace = tokio::time::interval(SHORT / 6);
                while writer.write_all(b"\n").await.is_ok() {
                    pace.tick().await;
                }
            });
            let mut seen = 0;
            let mut byte = [0];
            // Longer than the 700 ms that silence may last.
            while seen < 12 {
                within(reader.read_exact(&mut byte)).await.unwrap();
                seen += 1;
            }
            (reader, beats)
        });
        let client = within(Client::connect(&options)).await.unwrap();
        let (_reader, beats) = within(broker).await.unwrap();
        assert!(!client.is_closed());
        let pending = client.send(message("/a"));
        network.set(mode);
        let began = Instant::now();
        let error = within(client.closed()).await;
        assert!(error.is_heartbeat_timeout(), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "{mode:?}");
        within(pending).await.unwrap_err();
        network.set(Mode::Away);
        within(beats).await.unwrap();
    }
}

#[tokio::test]
async fn unprocessed_messages_stop_reading() {
    const LIMIT: usize = 1 << 20;
    let (client, mut peer) = pair_with(|options| options.receive_budget(LIMIT)).await;
    let mut subscription = subscribed(&client, &mut peer).await;
    let piece = delivery("sub-1", &[b'x'; 64 * 1024]);
    let (count, left) = peer.until_stalled(&piece).await;
    assert!(count * piece.len() < LIMIT + IN_SOCKETS, "{count} messages");
    // Nothing is lost, and reading continues.
    for _ in 0..count {
        let delivery = within(subscription.next()).await.unwrap();
        assert_eq!(delivery.body.len(), 64 * 1024);
    }
    peer.send(left).await;
    within(subscription.next()).await.unwrap();
    works(&client, &mut peer, 2).await;

    // Again, but now they are dropped with their subscription.
    let (count, left) = peer.until_stalled(&piece).await;
    assert!(count > 1);
    drop(subscription);
    peer.send(left).await;
    works(&client, &mut peer, 3).await;
    // Messages without a subscription are not kept, whatever their size.
    for _ in 0..4 * IN_SOCKETS / piece.len() {
        peer.send(&piece).await;
    }
    works(&client, &mut peer, 4).await;
}

/// While a client does not read, it must not take that for silence of the broker, and must keep
/// sending heart-beats.
#[tokio::test]
async fn unprocessed_messages_do_not_end_the_connection() {
    let listener = listener().await;
    let options = options(&listener)
        .heartbeat(SHORT / 3, SHORT / 3)
        .receive_budget(1 << 16);
    let broker = async {
        let mut peer = asked(&listener).await;
        peer.send(b"CONNECTED\nversion:1.2\nheart-beat:50,50\n\n\0")
            .await;
        peer
    };
    let (client, mut peer) = tokio::join!(within(Client::connect(&options)), broker);
    let client = client.unwrap();
    let mut subscription = subscribed(&client, &mut peer).await;
    let piece = delivery("sub-1", &[b'x'; 16 * 1024]);
    let (count, left) = peer.until_stalled(&piece).await;
    // The client's heart-beats arrive for longer than the 700 ms that silence may last.
    for _ in 0..12 {
        peer.expect(b"\n").await;
    }
    assert!(!client.is_closed());
    for _ in 0..count {
        within(subscription.next()).await.unwrap();
    }
    // From here on it reads again, and silence counts.
    peer.send(left).await;
    within(subscription.next()).await.unwrap();
    let error = within(client.closed()).await;
    assert!(error.is_heartbeat_timeout(), "{error:?}");
}

#[tokio::test]
async fn messages_without_a_subscription() {
    for bytes in [
        &b"MESSAGE\ndestination:/s\nmessage-id:1\n\n\0"[..],
        b"MESSAGE\nsubscription:\ndestination:/s\nmessage-id:1\n\n\0",
        b"MESSAGE\nsubscription:sub-1\nmessage-id:1\n\n\0",
        b"MESSAGE\nsubscription:sub-1\ndestination:/s\n\n\0",
    ] {
        let error = said(|options| options, bytes).await;
        assert_eq!(
            error.to_string(),
            "unexpected frame \"MESSAGE without destination, message-id or subscription\""
        );
    }
    // A subscription that does not exist may have existed before.
    let (client, mut peer) = pair().await;
    let mut subscription = subscribed(&client, &mut peer).await;
    for id in ["sub-2", "sub-1 ", "SUB-1"] {
        peer.send(delivery(id, b"not ours")).await;
    }
    peer.send(delivery("sub-1", b"ours")).await;
    let delivery = within(subscription.next()).await.unwrap();
    assert_eq!(&delivery.body[..], b"ours");
    works(&client, &mut peer, 2).await;
}

#[tokio::test]
async fn disconnect_is_never_answered() {
    let (client, mut peer) = pair_with(|options| options.receipt_timeout(SHORT)).await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    let error = within(client.disconnect()).await.unwrap_err();
    assert!(matches!(error, Error::ReceiptTimeout { .. }), "{error:?}");
    within(pending).await.unwrap_err();
    peer.expect(b"DISCONNECT\nreceipt:2\n\n\0").await;
    assert!(peer.rest().await.is_empty());
    assert!(client.is_closed());
}

#[tokio::test]
async fn nothing_is_answered_after_the_last_handle_is_dropped() {
    let (client, mut peer) = pair_with(|options| options.receipt_timeout(SHORT)).await;
    drop(client.send(message("/a")));
    drop(client);
    peer.expect(sent("/a", 1) + "DISCONNECT\nreceipt:2\n\n\0")
        .await;
    assert!(peer.rest().await.is_empty());
}

#[tokio::test]
async fn an_error_of_the_maximum_length() {
    let text = "no ".repeat(30_000);
    let bytes = format!("ERROR\nmessage:{text}\nreceipt-id:1{text}\n\n{text}\0");
    let (client, mut peer) = pair().await;
    let pending = client.send(message("/a"));
    peer.expect(sent("/a", 1)).await;
    peer.send(bytes).await;
    let error = within(pending).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.chars().count() < 5000, "{}", shown.len());
}

/// Neither in Display nor in Debug, wherever the broker puts it.
#[tokio::test]
async fn an_echoed_password_does_not_show() {
    const PASSWORD: &str = "hunter2-of-the-shop";
    let url = |listener: &TcpListener| {
        let address = listener.local_addr().unwrap();
        Options::from_url(&format!("stomp://u:{PASSWORD}@{address}")).unwrap()
    };
    let assert_hidden = |error: &Error, bytes: &str| {
        let shown = format!("{error} {error:?} {error:#?}");
        // Not even its first half.
        assert!(!shown.contains("hunter2"), "{shown} for {bytes:.80}");
    };
    let cut = format!("{}{PASSWORD}", " ".repeat(1990));
    let many = PASSWORD.repeat(300);
    let everywhere = [
        format!("ERROR\nmessage:{PASSWORD}\nreceipt-id:{PASSWORD}\n\n{PASSWORD}\0"),
        format!("ERROR\nmessage:{cut}\n\n{cut}\0"),
        format!("ERROR\nmessage:{many}\n\n{many}\0"),
        format!("{PASSWORD}\n\n\0"),
        format!("{PASSWORD}\n{PASSWORD}\n\n\0"),
        format!("ERROR\ncontent-length:{PASSWORD}\n\n\0"),
    ];
    let at_connect = [
        format!("CONNECTED\nversion:{PASSWORD}\n\n\0"),
        format!("RECEIPT\nreceipt-id:{PASSWORD}\n\n\0"),
    ];
    for bytes in everywhere.iter().chain(&at_connect) {
        let listener = listener().await;
        let options = url(&listener);
        let broker = async {
            let mut peer = asked(&listener).await;
            peer.send(bytes).await;
            peer.until_closed().await;
        };
        let (result, ()) = tokio::join!(within(Client::connect(&options)), broker);
        assert_hidden(&result.map(drop).unwrap_err(), bytes);
    }
    let later = everywhere.iter().map(async |bytes| {
        let listener = listener().await;
        let options = url(&listener);
        let broker = async {
            let mut peer = asked(&listener).await;
            peer.send(format!("CONNECTED\nversion:1.2\nserver:{PASSWORD}\n\n\0"))
                .await;
            peer
        };
        let (client, mut peer) = tokio::join!(within(Client::connect(&options)), broker);
        let client = client.unwrap();
        assert_eq!(client.server(), "***");
        assert!(!format!("{client:?} {options:?}").contains("hunter2"));
        let pending = client.send(message("/a"));
        peer.expect(sent("/a", 1)).await;
        peer.send(bytes).await;
        let error = within(pending).await.unwrap_err();
        assert_hidden(&error, bytes);
        assert_hidden(&within(client.closed()).await, bytes);
    });
    join_all(later).await;
}
