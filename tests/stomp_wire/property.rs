//! Properties that hold for any frame and any bytes, however they are split. `PROPTEST_CASES` sets
//! the number of cases (default 256).

use bytes::{Bytes, BytesMut};
use diesel_outbox::stomp::codec::{DecodeError, Dialect, Frame, encode, encode_frame};
use diesel_outbox::stomp::{Broker, Limits, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;
use tokio_stomp_2::{AckMode, Message, ToServer};

use crate::pieces::{decode, go_round};

/// Each version's own dialect, and the brokers' if encoding and decoding agree: ActiveMQ decodes in
/// 1.0 what it does not encode.
fn dialects() -> Vec<Dialect> {
    let all = [Version::V1_0, Version::V1_1, Version::V1_2];
    let plain = all.map(Dialect::of);
    let rabbitmq = all.map(|version| Dialect::of_broker(version, Broker::RabbitMq));
    let activemq =
        [Version::V1_1, Version::V1_2].map(|version| Dialect::of_broker(version, Broker::ActiveMq));
    [&plain[..], &rabbitmq, &activemq].concat()
}

/// Any text, with many characters that are special in STOMP.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => select(vec!['\n', '\r', ':', '\\', ' ', 'n', 'r', 'c', 't', '\u{e9}']),
        4 => prop::char::range('a', 'z'),
        1 => any::<char>(),
    ];
    vec(character, 0..12).prop_map(String::from_iter)
}

/// Any bytes, with many that are special in STOMP.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        1 => select(b"\0\n\r:\\".to_vec()),
        2 => any::<u8>(),
    ];
    // A body of 32 KiB and more shares its buffer.
    prop_oneof![
        8 => vec(byte, 0..200),
        1 => (any::<u8>(), 30_000_usize..70_000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn command() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["CONNECTED", "MESSAGE", "RECEIPT", "ERROR", "CONNECT", "STOMP", "SEND",
            "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "DISCONNECT"]).prop_map(str::to_owned),
        1 => "[A-Z]{1,10}",
    ]
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug)]
enum Counted {
    /// By the encoder's own `content-length`.
    ByEncoder,
    /// By a `content-length` among the headers, with this many leading zeros.
    ByHand(usize),
    /// By its NUL.
    Never,
}

/// A frame and the number of heart-beats before it.
#[derive(Clone, Debug)]
struct Part {
    frame: Frame,
    counted: Counted,
    beats: Vec<&'static str>,
}

fn part() -> impl Strategy<Value = Part> {
    let counted = prop_oneof![
        Just(Counted::ByEncoder),
        (0_usize..3).prop_map(Counted::ByHand),
        Just(Counted::Never),
    ];
    let beats = vec(select(vec!["\n", "\r\n"]), 0..4);
    let headers = vec((text(), text()), 0..6);
    (command(), headers, body(), counted, beats).prop_map(
        |(command, mut headers, mut body, counted, beats)| {
            match counted {
                Counted::ByHand(zeros) => {
                    let length = format!("{}{}", "0".repeat(zeros), body.len());
                    headers.insert(headers.len() / 2, ("content-length".to_owned(), length));
                }
                Counted::Never => body.retain(|byte| *byte != 0),
                Counted::ByEncoder => {}
            }
            let frame = Frame {
                command,
                headers: headers.into_iter().collect(),
                body: body.into(),
                ..Frame::default()
            };
            Part {
                frame,
                counted,
                beats,
            }
        },
    )
}

impl Part {
    /// Appends its bytes and returns the expected frame; `None` if it cannot be encoded.
    fn put(&self, dialect: Dialect, dst: &mut BytesMut) -> Option<Frame> {
        let before = dst.clone();
        for beat in &self.beats {
            dst.extend_from_slice(beat.as_bytes());
        }
        let mut frame = self.frame.clone();
        let body = match self.counted {
            Counted::Never => std::mem::take(&mut frame.body),
            _ => Bytes::new(),
        };
        if encode_frame(&frame, dialect, dst).is_err() {
            *dst = before;
            return None;
        }
        match self.counted {
            Counted::Never => {
                dst.truncate(dst.len() - 1);
                dst.extend_from_slice(&body);
                dst.extend_from_slice(b"\0");
                frame.body = body;
            }
            Counted::ByEncoder if !frame.body.is_empty() => {
                let length = frame.body.len().to_string();
                frame = frame.with("content-length", length);
            }
            _ => {}
        }
        Some(frame)
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        // Next to this file; tests run in the package's directory.
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/stomp_wire/property.regressions",
        ))),
        ..ProptestConfig::default()
    }
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        1 => Just(vec![1]),
        3 => vec(prop_oneof![1_usize..8, 1_usize..300, 1_usize..70_000], 1..20),
    ]
}

/// Bytes that resemble frames.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        &b"MESSAGE"[..],
        b"CONNECTED",
        b"ERROR",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b":",
        b"\0",
        b"\0\n",
        b"a:b\n",
        b"content-length:",
        b"content-length:3\n",
        b"content-length:3\n\nabc\0",
        b"content-length:18446744073709551615\n",
        b"content-length: 2 \n",
        b"content-length:-1\n",
        b"0",
        b"17",
        b"\\n",
        b"\\c",
        b"\\\\",
        b"\\r",
        b"\\t",
        b"\xff",
        b"\xc3\xa9",
        b"MESSAGE\na:b\n\nbody\0",
        b"MESSAGE\nsubscription:s\ndestination:d\nmessage-id:m\nack:a\n",
        b"MESSAGE\nsubscription:s\ndestination:d\nmessage-id:m\nack:a\n",
        b"subscription:s\ndestination:d\nmessage-id:m\nack:a\n",
        b":v\n",
        b"x:\xff\n",
        b"RECEIPT\nreceipt-id:1\n\n\0\n",
        b"                                        ",
    ])
    .prop_map(<[u8]>::to_vec);
    let part = prop_oneof![
        6 => token,
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Limits from 0 to the defaults.
fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![
        (0_usize..120, 0_usize..6, 0_usize..60).prop_map(|(head, headers, body)| Limits {
            head,
            headers,
            body
        }),
        Just(Limits::default()),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_frame_that_can_be_encoded_decodes_to_itself(
        parts in vec(part(), 1..5),
        sizes in pieces(),
        dialect in select(dialects()),
    ) {
        let mut bytes = BytesMut::new();
        let expected: Vec<Frame> = parts.iter().filter_map(|part| part.put(dialect, &mut bytes)).collect();
        let (frames, error) = decode(&bytes, &sizes, dialect, Limits::default());
        prop_assert_eq!(error, None);
        // Compared as a whole, because Debug leaves the body out.
        prop_assert!(frames == expected, "{:?} instead of {:?}", frames, expected);
    }

    #[test]
    fn a_clients_frame_decodes_to_its_content(
        destination in text(),
        id in text(),
        headers in vec((text(), text()), 0..5),
        body in body(),
        sizes in pieces(),
        dialect in select(dialects()),
    ) {
        let extra: Vec<(Vec<u8>, Vec<u8>)> = headers
            .iter()
            .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()))
            .collect();
        let send = ToServer::Send {
            destination: destination.clone(),
            transaction: None,
            headers: None,
            body: None,
        };
        let subscribe = ToServer::Subscribe {
            destination: destination.clone(),
            id: id.clone(),
            ack: Some(AckMode::ClientIndividual),
        };
        let (mut bytes, mut expected) = (BytesMut::new(), Vec::new());
        for (content, body) in [(send, Some(&body[..])), (subscribe, None)] {
            let is_send = body.is_some();
            let message = Message { content, extra_headers: extra.clone() };
            if encode(&message, body, dialect, &mut bytes).is_err() {
                continue;
            }
            let mut frame = Frame::new(if is_send { "SEND" } else { "SUBSCRIBE" })
                .with("destination", &destination);
            if !is_send {
                frame = frame.with("id", &id).with("ack", "client-individual");
            }
            frame.headers.extend(headers.iter().cloned());
            if let Some(body) = body {
                frame = frame.with("content-length", body.len().to_string()).with_body(body.to_vec());
            }
            expected.push(frame);
        }
        let (frames, error) = decode(&bytes, &sizes, dialect, Limits::default());
        prop_assert_eq!(error, None);
        prop_assert!(frames == expected, "{:?} instead of {:?}", frames, expected);
    }

    #[test]
    fn decoding_does_not_depend_on_the_pieces(
        bytes in noise(),
        sizes in pieces(),
        dialect in select(dialects()),
        limits in limits(),
    ) {
        let whole = decode(&bytes, &[bytes.len().max(1)], dialect, limits);
        let cut = decode(&bytes, &sizes, dialect, limits);
        prop_assert!(whole == cut, "{:?} in pieces, {:?} whole", cut, whole);
    }

    #[test]
    fn decoded_frames_can_be_encoded_again(bytes in noise(), dialect in select(dialects())) {
        let (frames, _) = decode(&bytes, &[1 << 20], dialect, Limits::default());
        for frame in frames {
            go_round(frame, dialect);
        }
    }
}

/// A decoder that examined a body's bytes more than once would take minutes.
#[test]
fn decoding_takes_linear_time() {
    let body = vec![b'x'; 2 << 20];
    for head in ["MESSAGE\n\n", "MESSAGE\ncontent-length:2097152\n\n"] {
        let bytes = [head.as_bytes(), &body, b"\0"].concat();
        let began = std::time::Instant::now();
        let dialect = Dialect::of(Version::V1_2);
        let (frames, error) = decode(&bytes, &[1], dialect, Limits::default());
        assert!(frames.len() == 1 && error.is_none());
        assert!(began.elapsed() < crate::LIMIT, "{:?}", began.elapsed());
    }
}

/// A length equal to the limit is accepted; one more is not.
#[test]
fn limits_are_exact() {
    let dialect = Dialect::of(Version::V1_2);
    let bytes = b"MESSAGE\na:b\nc:d\n\nbody\0MESSAGE\ncontent-length:4\n\nbody\0";
    let fits = Limits {
        // The second head: 26 bytes and its empty line.
        head: 26,
        headers: 2,
        body: 4,
    };
    let small = [
        (Limits { head: 25, ..fits }, DecodeError::HeadersTooLong(25)),
        (
            Limits { headers: 1, ..fits },
            DecodeError::TooManyHeaders(1),
        ),
        (Limits { body: 3, ..fits }, DecodeError::BodyTooLong(3)),
    ];
    for step in 1..=bytes.len() {
        let (frames, error) = decode(bytes, &[step], dialect, fits);
        assert_eq!((frames.len(), error), (2, None), "in pieces of {step}");
        for (limits, expected) in &small {
            let (_, error) = decode(bytes, &[step], dialect, *limits);
            assert_eq!(error, Some(expected.to_string()), "in pieces of {step}");
        }
    }
}
