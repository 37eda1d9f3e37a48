//! Decoding, compared with tokio-stomp-2 and with a search for NUL.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use diesel_outbox::stomp::codec::{Decoder, Dialect};
use diesel_outbox::stomp::{Limits, Version};
use memchr::memchr_iter;
use tokio_stomp_2::client::ClientCodec;
use tokio_util::codec::Decoder as _;

use crate::bodies::{SIZES, TOTAL, body, headers, ratio, speed};
use crate::median;
use crate::report::{Goal, Report};

/// The size of one read from a socket.
const PIECE: usize = 64 * 1024;

/// How the bytes are passed to the decoder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feed {
    /// In buffers of complete frames, of `PIECE` bytes or one frame.
    Whole,
    /// In pieces that are appended to one buffer; the time includes the copying.
    Pieces,
}

pub(crate) fn measure(rounds: usize, report: &mut Report) {
    for (size, name) in SIZES {
        for is_counted in [true, false] {
            for feed in [Feed::Whole, Feed::Pieces] {
                of(size, name, is_counted, feed, rounds, report);
            }
        }
    }
}

fn of(size: usize, name: &str, is_counted: bool, feed: Feed, rounds: usize, report: &mut Report) {
    let frame = frame(size, is_counted);
    let frames = (TOTAL / frame.len()).max(1);
    let bytes = frame.repeat(frames);
    let chunk = match feed {
        Feed::Whole => (PIECE / frame.len()).max(1) * frame.len(),
        Feed::Pieces => PIECE,
    };
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..rounds {
        times[0].push(timed(&bytes, chunk, feed, frames, || {
            let mut decoder = Decoder::new(Dialect::of(Version::V1_2), Limits::default());
            move |buffer: &mut BytesMut| decoder.decode(buffer).unwrap().map(drop_used)
        }));
        times[1].push(timed(&bytes, chunk, feed, frames, || {
            |buffer: &mut BytesMut| ClientCodec.decode(buffer).unwrap().map(drop_used)
        }));
        times[2].push(match feed {
            Feed::Whole => {
                let began = Instant::now();
                for part in bytes.chunks(chunk) {
                    black_box(memchr_iter(0, part).count());
                }
                began.elapsed()
            }
            Feed::Pieces => search_in_pieces(&bytes),
        });
    }
    let than_other = ratio(&times[1], &times[0]);
    let than_scan = ratio(&times[0], &times[2]);
    let [own, other, scan] = times.map(median);
    let how = match (is_counted, feed) {
        (true, Feed::Whole) => "content-length, whole",
        (true, Feed::Pieces) => "content-length, in pieces",
        (false, Feed::Whole) => "up to NUL, whole",
        (false, Feed::Pieces) => "up to NUL, in pieces",
    };
    let speed = |time| speed(bytes.len(), frames, time);
    report.add(
        &format!("decode {name}, {how}: times tokio-stomp-2"),
        format!("{} beside {}", speed(own), speed(other)),
        than_other,
        match size {
            1024 => Goal::AtLeast(3.0),
            _ => Goal::None,
        },
    );
    report.add(
        &format!("decode {name}, {how}: time beside the search"),
        format!("the search: {}", speed(scan)),
        than_scan,
        match size {
            65536 => Goal::AtMost(3.0),
            _ => Goal::None,
        },
    );
}

/// A message as sent by RabbitMQ.
fn frame(size: usize, is_counted: bool) -> Vec<u8> {
    let mut frame = String::from(
        "MESSAGE\nsubscription:sub-1\ndestination:/topic/orders.created.v1\n\
         message-id:T_sub-1@@session-Yw_OiqvSWI5yW8eqvPAwhw@@12345\nredelivered:false\n\
         ack:T_sub-1@@session-Yw_OiqvSWI5yW8eqvPAwhw@@12345\n",
    );
    for (name, value) in headers() {
        frame.push_str(&format!("{name}:{}\n", value.replace(':', "\\c")));
    }
    if is_counted {
        frame.push_str(&format!("content-length:{size}\n"));
    }
    [frame.as_bytes(), b"\n", &body(size), b"\0\n"].concat()
}

/// Drops a frame like its consumer: after it was built completely.
fn drop_used<T>(frame: T) {
    drop(black_box(frame));
}

/// The time to decode everything with the decoder that `start` returns.
fn timed<D>(
    bytes: &[u8],
    chunk: usize,
    feed: Feed,
    frames: usize,
    start: impl FnOnce() -> D,
) -> Duration
where
    D: FnMut(&mut BytesMut) -> Option<()>,
{
    let mut decode = start();
    let mut count = 0;
    let mut all = |buffer: &mut BytesMut| {
        while !buffer.is_empty() && decode(buffer).is_some() {
            count += 1;
        }
    };
    let time = match feed {
        Feed::Whole => {
            let mut buffers: Vec<BytesMut> = bytes.chunks(chunk).map(BytesMut::from).collect();
            let began = Instant::now();
            buffers.iter_mut().for_each(&mut all);
            began.elapsed()
        }
        Feed::Pieces => {
            let mut buffer = BytesMut::new();
            let began = Instant::now();
            for piece in bytes.chunks(chunk) {
                buffer.extend_from_slice(piece);
                all(&mut buffer);
            }
            began.elapsed()
        }
    };
    assert_eq!(count, frames);
    time
}

/// The same search for bytes in pieces: each is appended and searched, and everything up to its
/// last NUL is dropped.
fn search_in_pieces(bytes: &[u8]) -> Duration {
    let mut buffer = BytesMut::new();
    let mut searched = 0;
    let began = Instant::now();
    for piece in bytes.chunks(PIECE) {
        buffer.extend_from_slice(piece);
        // All of it, and not from the end.
        let last = memchr_iter(0, &buffer[searched..]).fold(None, |_, at| Some(at));
        if let Some(at) = black_box(last) {
            buffer.advance(searched + at + 1);
        }
        searched = buffer.len();
    }
    began.elapsed()
}
