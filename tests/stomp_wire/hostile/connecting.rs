//! Misbehaviour instead of CONNECTED.

use super::*;

#[tokio::test]
async fn connect_is_never_answered() {
    let error = answered(|options| options.connected_timeout(SHORT), b"").await;
    assert!(
        matches!(error, Error::ConnectedTimeout { after, .. } if after == SHORT),
        "{error:?}"
    );
    assert!(!error.is_final());
}

#[tokio::test]
async fn connect_is_answered_byte_by_byte_forever() {
    let listener = listener().await;
    let options = options(&listener).connected_timeout(SHORT);
    let broker = tokio::spawn(async move {
        let mut peer = asked(&listener).await;
        let mut pace = tokio::time::interval(SHORT / 10);
        peer.send(b"CONNECTED\nx:").await;
        while within(peer.stream.write_all(b"y")).await.is_ok() {
            pace.tick().await;
        }
    });
    let began = Instant::now();
    let error = within(Client::connect(&options)).await.unwrap_err();
    assert!(matches!(error, Error::ConnectedTimeout { .. }), "{error:?}");
    // No byte extended the time.
    assert!(began.elapsed() < 5 * SHORT, "{:?}", began.elapsed());
    within(broker).await.unwrap();
}

#[tokio::test]
async fn connect_is_answered_by_heartbeats_forever() {
    let (error, _) = flooded(SMALL, b"", &[b'\n'; 8192]).await;
    assert!(matches!(error, Error::ConnectedTimeout { .. }), "{error:?}");
}

#[tokio::test]
async fn connected_never_ends() {
    let cases: [(&[u8], &[u8], DecodeError); 4] = [
        (b"", b"CONNECTED", DecodeError::HeadersTooLong(4096)),
        (
            b"CONNECTED\nx:",
            b"yyyyyyyy",
            DecodeError::HeadersTooLong(4096),
        ),
        (b"CONNECTED\n", b"x:y\n", DecodeError::TooManyHeaders(16)),
        (
            b"CONNECTED\nversion:1.2\n\n",
            b"yyyyyyyy",
            DecodeError::BodyTooLong(64 * 1024),
        ),
    ];
    for (first, again, expected) in cases {
        let (error, length) = flooded(SMALL, first, &again.repeat(512)).await;
        assert_decode(&cause(error), &expected);
        assert!(length < IN_SOCKETS, "{length} bytes for {expected}");
    }
}

#[tokio::test]
async fn malformed_connected() {
    let cases: [(&[u8], DecodeError); 5] = [
        (b"CONNECTED\nserver:\xff\n\n\0", DecodeError::NotUtf8),
        (b"CONNECTED\nserver\n\n\0", DecodeError::MalformedHeader),
        (
            b"CONNECTED\ncontent-length:1e3\n\n\0",
            DecodeError::MalformedContentLength,
        ),
        (
            b"CONNECTED\ncontent-length:4294967296\n\n",
            DecodeError::BodyTooLong(128 << 20),
        ),
        (
            b"CONNECTED\ncontent-length:1\n\nabc\0",
            DecodeError::MissingNul,
        ),
    ];
    for (bytes, expected) in cases {
        let error = answered(|options| options, bytes).await;
        assert_decode(&cause(error), &expected);
    }
}

#[tokio::test]
async fn closed_in_the_middle_of_connected() {
    for bytes in [&b""[..], b"CONN", b"CONNECTED\nversion:1.2\n\n"] {
        let listener = listener().await;
        let options = options(&listener);
        let broker = async { asked(&listener).await.send(bytes).await };
        let (result, ()) = tokio::join!(within(Client::connect(&options)), broker);
        let error = cause(result.unwrap_err());
        assert!(matches!(error, Error::Disconnected), "{error:?}");
    }
}

#[tokio::test]
async fn refused_by_error_and_left_open() {
    let error = answered(|options| options, b"ERROR\nmessage:no\n\n\0").await;
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(error.error_frame().unwrap().message, "no");
}

#[tokio::test]
async fn an_invalid_heart_beat_header_is_ignored() {
    for garbage in [
        "",
        ",",
        "1",
        "a,b",
        "-1,100",
        "1,2,3",
        "0x10,0x10",
        "1.5,1.5",
        "99999999999999999999,1",
        "\u{e9},\u{2028}",
        // The largest values, without an overflow.
        "4294967295,4294967295",
    ] {
        let listener = listener().await;
        let options = options(&listener).heartbeat(SHORT, SHORT);
        let broker = async {
            let mut peer = asked(&listener).await;
            peer.send(format!(
                "CONNECTED\nversion:1.2\nheart-beat:{garbage}\n\n\0"
            ))
            .await;
            peer
        };
        let (client, mut peer) = tokio::join!(within(Client::connect(&options)), broker);
        let client = client.unwrap();
        works(&client, &mut peer, 1).await;
    }
}
