//! One connection: received frames, sent frames and heart-beats.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::codec::Decoder as _;

use crate::stomp::codec::{Decoder, Dialect, Frame, encode_frame};
use crate::stomp::{Broker, Limits, Version};

use super::broker::Shared;
use super::core::Out;
use super::version;

/// A client is disconnected after this many missed heart-beats, as by RabbitMQ.
const MISSED: u32 = 3;

pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let (mut reader, mut writer) = socket.into_split();
    let mut decoder = decoder();
    let mut buffer = BytesMut::new();
    let Some(frame) = next(&mut reader, &mut decoder, &mut buffer).await else {
        return;
    };
    let Login {
        version,
        send,
        receive,
    } = match login(&shared, frame) {
        Ok(login) => login,
        Err(error) => {
            let mut bytes = BytesMut::new();
            encode(&error, &mut bytes);
            let _ = writer.write_all(&bytes).await;
            return;
        }
    };
    let (out, queue) = unbounded_channel();
    let number = shared.with(|core| core.connect(out.clone(), version));
    let connected = Frame::new("CONNECTED")
        .with(
            "server",
            concat!("diesel-outbox-loopback/", env!("CARGO_PKG_VERSION")),
        )
        .with("session", format!("session-{number}"))
        .with(
            "heart-beat",
            format!("{},{}", milliseconds(send), milliseconds(receive)),
        )
        .with("version", version.as_str());
    let _ = out.send(Out::Frame(connected));
    drop(out);
    let stalled = shared.stalled.subscribe();
    let writing = tokio::spawn(write(writer, queue, send, stalled.clone()));
    read(&shared, number, reader, decoder, buffer, receive, stalled).await;
    shared.with(|core| core.disconnect(number));
    // The last frames may still be written.
    let _ = writing.await;
}

/// RabbitMQ encodes and decodes frames alike in each version.
fn dialect() -> Dialect {
    Dialect::of_broker(Version::V1_2, Broker::Loopback)
}

fn decoder() -> Decoder {
    Decoder::new(dialect(), Limits::default())
}

fn encode(frame: &Frame, bytes: &mut BytesMut) {
    // The broker's own frames contain nothing that STOMP cannot carry.
    let _ = encode_frame(frame, dialect(), bytes);
}

/// The parameters of an accepted login.
struct Login {
    version: Version,
    /// The heart-beats that the broker sends and expects.
    send: Option<Duration>,
    receive: Option<Duration>,
}

fn login(shared: &Shared, frame: Frame) -> Result<Login, Frame> {
    let refusal = |message: &str, body: String| {
        Frame::new("ERROR")
            .with("message", message)
            .with("content-type", "text/plain")
            .with("version", version::ALL)
            .with_body(body)
    };
    if !matches!(frame.command.as_str(), "CONNECT" | "STOMP") {
        return Err(refusal(
            "Illegal command",
            "You must log in using CONNECT first".to_owned(),
        ));
    }
    let Some(version) = version::agree(frame.header("accept-version")) else {
        return Err(refusal(
            "Version mismatch",
            format!("Supported versions are {}\n", version::ALL),
        ));
    };
    let frame = version::read(version, frame);
    let header = |name, otherwise| frame.header(name).unwrap_or(otherwise);
    let user = header("login", "guest");
    let knows = user == "guest" && header("passcode", "guest") == "guest";
    if !knows || shared.with(|core| core.faults.refuse_logins) {
        return Err(refusal(
            "Bad CONNECT",
            format!("Access refused for user '{user}'\n"),
        ));
    }
    let host = header("host", "/");
    if host != "/" {
        return Err(refusal(
            "Bad CONNECT",
            format!("Virtual host '{host}' access denied"),
        ));
    }
    let beats = header("heart-beat", "0,0").split_once(',');
    let (can, wants) = beats.unwrap_or(("0", "0"));
    let interval = |text: &str| {
        let milliseconds = text.trim().parse().unwrap_or(0);
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    };
    Ok(Login {
        version,
        send: interval(wants),
        receive: interval(can),
    })
}

fn milliseconds(interval: Option<Duration>) -> u128 {
    interval.map_or(0, |interval| interval.as_millis())
}

async fn next(
    reader: &mut OwnedReadHalf,
    decoder: &mut Decoder,
    buffer: &mut BytesMut,
) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.decode(buffer).ok()? {
            return Some(frame);
        }
        if reader.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads until the client disconnects, is silent for too long, or is disconnected.
async fn read(
    shared: &Shared,
    number: u64,
    mut reader: OwnedReadHalf,
    mut decoder: Decoder,
    mut buffer: BytesMut,
    expected: Option<Duration>,
    mut stalled: watch::Receiver<bool>,
) {
    let mut last_sign = Instant::now();
    loop {
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => shared.with(|core| core.take(number, frame)),
                Ok(None) => break,
                // RabbitMQ closes without an ERROR.
                Err(_) => return,
            }
        }
        if !shared.with(|core| core.connections.contains_key(&number)) {
            return;
        }
        tokio::select! {
            count = reader.read_buf(&mut buffer) => {
                if !matches!(count, Ok(1..)) {
                    return;
                }
                last_sign = Instant::now();
            }
            () = deadline(expected.map(|interval| last_sign + interval * MISSED)) => return,
            () = shared.disconnected(number) => return,
            changed = stalled.changed() => {
                if changed.is_err() {
                    return;
                }
                last_sign = Instant::now();
            }
        }
    }
}

/// Writes until the session ends.
async fn write(
    mut writer: OwnedWriteHalf,
    mut queue: UnboundedReceiver<Out>,
    beat: Option<Duration>,
    mut stalled: watch::Receiver<bool>,
) {
    let mut bytes = BytesMut::new();
    loop {
        let next = tokio::select! {
            next = queue.recv() => match next {
                Some(next) => Some(next),
                None => return,
            },
            () = deadline(beat.map(|interval| Instant::now() + interval.mul_f32(0.8))) => None,
        };
        match next {
            Some(Out::Close) => {
                let _ = writer.shutdown().await;
                return;
            }
            Some(Out::Frame(frame)) => encode(&frame, &mut bytes),
            None => bytes.extend_from_slice(b"\n"),
        }
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

async fn deadline(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
