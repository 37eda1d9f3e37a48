//! Encoding, compared with tokio-stomp-2.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use diesel_outbox::stomp::Version;
use diesel_outbox::stomp::codec::{Dialect, encode};
use tokio_stomp_2::client::ClientCodec;
use tokio_stomp_2::{Message, ToServer};
use tokio_util::codec::Encoder as _;

use crate::bodies::{SIZES, TOTAL, body, headers, ratio, speed};
use crate::median;
use crate::report::{Goal, Report};

/// The buffer is written to the socket when it exceeds this size, in bytes.
const OUTPUT: usize = 256 * 1024;

pub(crate) fn measure(rounds: usize, report: &mut Report) {
    for (size, name) in SIZES {
        let body = body(size);
        let length = own_frame(&body).len();
        assert_eq!(own_frame(&body), other_frame(&body));
        let frames = (TOTAL / length).max(1);
        let mut times: [Vec<Duration>; 2] = Default::default();
        for _ in 0..rounds {
            let message = own();
            times[0].push(timed(frames, size, vec![(); frames], |(), output| {
                let dialect = Dialect::of(Version::V1_2);
                encode(black_box(&message), Some(&body), dialect, output).unwrap();
            }));
            // tokio-stomp-2 takes owned messages, bodies included.
            let messages = (0..frames).map(|_| other(&body)).collect();
            times[1].push(timed(frames, size, messages, |message, output| {
                ClientCodec.encode(black_box(message), output).unwrap();
            }));
        }
        let than_other = ratio(&times[1], &times[0]);
        let [own, other] = times.map(median);
        let speed = |time| speed(frames * length, frames, time);
        report.add(
            &format!("encode {name}: times tokio-stomp-2"),
            format!("{} beside {}", speed(own), speed(other)),
            than_other,
            Goal::AtLeast(0.9),
        );
    }
}

fn timed<M>(
    frames: usize,
    size: usize,
    messages: Vec<M>,
    mut put: impl FnMut(M, &mut BytesMut),
) -> Duration {
    let mut output = BytesMut::with_capacity(OUTPUT + size + 1024);
    let mut written = 0;
    let began = Instant::now();
    for message in messages {
        put(message, &mut output);
        if output.len() > OUTPUT {
            written += black_box(&output).len();
            output.clear();
        }
    }
    let time = began.elapsed();
    assert!(written + output.len() >= frames * size);
    time
}

/// The message as the client encodes it.
fn own() -> Message<ToServer> {
    let mut message = send(None, None);
    message.extra_headers = extra()
        .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
        .collect();
    message
}

/// The message as tokio-stomp-2 encodes it: the length must be a header.
fn other(body: &[u8]) -> Message<ToServer> {
    let length = ("content-length".to_owned(), body.len().to_string());
    send(Some(extra().chain([length]).collect()), Some(body.to_vec()))
}

fn extra() -> impl Iterator<Item = (String, String)> {
    [("receipt".to_owned(), "12345".to_owned())]
        .into_iter()
        .chain(headers())
}

fn send(headers: Option<Vec<(String, String)>>, body: Option<Vec<u8>>) -> Message<ToServer> {
    ToServer::Send {
        destination: "/topic/orders.created.v1".to_owned(),
        transaction: None,
        headers,
        body,
    }
    .into()
}

fn own_frame(body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    let dialect = Dialect::of(Version::V1_2);
    encode(&own(), Some(body), dialect, &mut bytes).unwrap();
    bytes
}

fn other_frame(body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    ClientCodec.encode(other(body), &mut bytes).unwrap();
    bytes
}
