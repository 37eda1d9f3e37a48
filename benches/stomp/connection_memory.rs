//! The memory of an idle connection; its peer runs in a separate process.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use diesel_outbox::stomp::codec::{Decoder, Dialect};
use diesel_outbox::stomp::{Client, Limits, Options, SendFrame, Subscribe, Subscription, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_util::codec::Decoder as _;

use crate::report::{Goal, Report};

const PEER: &str = "BENCH_STOMP_PEER";
/// Connections made before the first measurement, so that shared memory is allocated already.
const FIRST: usize = 50;
const MORE: usize = 500;
/// Each connection has sent a body of this size, in bytes, so that its buffers have been used.
const BODY: usize = 10_000;

pub(crate) fn measure(report: &mut Report) {
    let mut peer = Command::new(std::env::current_exe().unwrap())
        .env(PEER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut output = BufReader::new(peer.stdout.take().unwrap());
    output.read_line(&mut address).unwrap();
    let options = Options::from_url(&format!("stomp://{}", address.trim())).unwrap();

    let runtime = Runtime::new().unwrap();
    let (before, after, clients) = runtime.block_on(async {
        let mut clients = Vec::with_capacity(FIRST + MORE);
        for _ in 0..FIRST {
            clients.push(connected(&options).await);
        }
        let before = resident();
        for _ in 0..MORE {
            clients.push(connected(&options).await);
        }
        // After the first heart-beat they are idle.
        tokio::time::sleep(Duration::from_secs(10)).await;
        (before, resident(), clients)
    });
    assert!(clients.iter().all(|(client, _)| !client.is_closed()));
    drop(clients);
    peer.kill().unwrap();
    peer.wait().unwrap();
    #[allow(clippy::cast_precision_loss)] // a figure for people
    let each = (after.saturating_sub(before) as f64) / 1024.0 / MORE as f64;
    report.add(
        "memory of a connection at rest, with a subscription",
        format!("{each:.1} KiB"),
        each,
        Goal::AtMost(64.0),
    );
}

async fn connected(options: &Options) -> (Client, Subscription) {
    let client = Client::connect(options).await.unwrap();
    let subscribe = Subscribe {
        destination: "/queue/a".to_owned(),
        ..Subscribe::default()
    };
    let subscription = client.subscribe(subscribe).await.unwrap();
    let frame = SendFrame::new("/queue/a", vec![b'x'; BODY]);
    client.send(frame).await.unwrap();
    (client, subscription)
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() * 1024
}

pub(crate) fn is_peer() -> bool {
    std::env::var_os(PEER).is_some()
}

/// The peer process's work, until it is killed.
pub(crate) fn peer() {
    Runtime::new().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream));
        }
    });
}

/// Accepts CONNECT, sends a receipt for each frame, and sends heart-beats.
async fn answer(mut stream: TcpStream) {
    let mut decoder = Decoder::new(Dialect::of(Version::V1_2), Limits::default());
    let mut input = BytesMut::new();
    let mut pace = tokio::time::interval(Duration::from_secs(10));
    loop {
        let said = tokio::select! {
            read = stream.read_buf(&mut input) => match read {
                Ok(1..) => String::new(),
                _ => return,
            },
            _ = pace.tick() => "\n".to_owned(),
        };
        let mut said = said.into_bytes();
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            let answer = match frame.header("receipt") {
                Some(receipt) => format!("RECEIPT\nreceipt-id:{receipt}\n\n\0\n"),
                None => "CONNECTED\nversion:1.2\nheart-beat:10000,10000\n\n\0\n".to_owned(),
            };
            said.extend_from_slice(answer.as_bytes());
        }
        if stream.write_all(&said).await.is_err() {
            return;
        }
    }
}
