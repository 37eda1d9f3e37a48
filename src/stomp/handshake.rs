//! From an address to a connection that has seen CONNECTED.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_stomp_2::{Message, ToServer};
use tokio_util::codec::Decoder as _;
use tracing::debug;

use super::decoder::Decoder;
use super::encoder;
use super::endpoint::Endpoint;
use super::error::{Error, NotSentReason};
use super::error_frame::{ErrorFrame, flatten};
use super::frame::Frame;
use super::heartbeat::{Heartbeat, milliseconds};
use super::options::Options;

/// A connection that the broker has accepted.
pub(super) struct Connected {
    pub(super) stream: TcpStream,
    pub(super) decoder: Decoder,
    /// What came after CONNECTED.
    pub(super) input: BytesMut,
    pub(super) server: String,
    pub(super) heartbeat: Heartbeat,
}

/// Tries the brokers in their order, each for so long.
pub(super) async fn connect(options: &Options) -> Result<Connected, Error> {
    let after = options.connect_timeout;
    let mut failure = None;
    for endpoint in &options.endpoints {
        let error = match timeout(after, attempt(endpoint, options)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => error,
            Err(_) => Error::ConnectTimeout {
                address: endpoint.address(),
                after,
            },
        };
        debug!(address = endpoint.address(), %error, "not connected");
        // A refused login says more than a broker that is away.
        if !failure.as_ref().is_some_and(Error::is_refused_login) {
            failure = Some(error);
        }
    }
    Err(failure.unwrap_or(Error::Disconnected))
}

async fn attempt(endpoint: &Endpoint, options: &Options) -> Result<Connected, Error> {
    let stream = dial(endpoint, options).await?;
    let lost = |cause: Error| Error::ConnectLost {
        address: endpoint.address(),
        cause: Arc::new(cause),
    };
    // Frames are written in batches of our own making.
    stream.set_nodelay(true).map_err(|e| lost(e.into()))?;
    let shaken = shake(stream, endpoint, options).await;
    shaken.map_err(|error| match error {
        Error::Io(_) | Error::Decode(_) | Error::Disconnected => lost(error),
        other => other,
    })
}

async fn dial(endpoint: &Endpoint, options: &Options) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + options.connect_timeout.min(super::pending::FAR);
    let resolve = |source: io::Error| Error::Resolve {
        address: endpoint.address(),
        source: Arc::new(source),
    };
    let addresses: Vec<SocketAddr> = lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(resolve)?
        .collect();
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        // An address that swallows everything leaves its share of the time to the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let tries = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match timeout(left / tries, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(match last {
        Some(source) => Error::Connect {
            address: endpoint.address(),
            source: Arc::new(source),
        },
        None => resolve(io::Error::new(io::ErrorKind::NotFound, "no address")),
    })
}

async fn shake(
    mut stream: TcpStream,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Connected, Error> {
    let (send, receive) = options.heartbeat;
    let ours = (milliseconds(send), milliseconds(receive));
    let mut output = BytesMut::new();
    encoder::encode(greeting(endpoint, options, ours), None, &mut output)
        .map_err(|error| NotSentReason::Encode(error.to_string()))?;
    stream.write_all(&output).await?;

    let mut decoder = Decoder::default();
    let mut input = BytesMut::new();
    let frame = loop {
        if let Some(frame) = decoder.decode(&mut input)? {
            break frame;
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Err(Error::Disconnected);
        }
    };
    let (server, heartbeat) = judge(&frame, ours)?;
    Ok(Connected {
        stream,
        decoder,
        input,
        server,
        heartbeat,
    })
}

/// STOMP 1.2 says that CONNECT has no escape sequences, so that a backslash stands for itself.
/// RabbitMQ 3.10.8 reads them in CONNECT too, and closes without ERROR at one that it does not
/// know: password `p\a` needs `p\\a` on the wire. A colon it takes either way, as `:` and as `\c`.
/// So the colon stays as it is, as the specification wants, and the backslash is doubled for
/// RabbitMQ; another broker would see two of them.
fn greeting(endpoint: &Endpoint, options: &Options, heartbeat: (u32, u32)) -> Message<ToServer> {
    let double = |text: &str| text.replace('\\', "\\\\").into_bytes();
    let mut extra_headers = vec![
        (b"login".to_vec(), double(&endpoint.login)),
        (b"passcode".to_vec(), double(&endpoint.passcode)),
    ];
    if let Some(id) = &options.client_id {
        extra_headers.push((b"client-id".to_vec(), double(id)));
    }
    Message {
        content: ToServer::Connect {
            accept_version: "1.2".to_owned(),
            // The virtual host, not the address. tokio-stomp-2 writes it with escape sequences.
            host: endpoint.virtual_host.clone(),
            login: None,
            passcode: None,
            heartbeat: Some(heartbeat),
        },
        extra_headers,
    }
}

fn judge(frame: &Frame, ours: (u32, u32)) -> Result<(String, Heartbeat), Error> {
    match frame.command.as_str() {
        "CONNECTED" => {}
        "ERROR" => return Err(Error::Refused(Arc::new(ErrorFrame::new(frame)))),
        command => {
            return Err(Error::UnexpectedFrame {
                command: flatten(command, 40),
            });
        }
    }
    // STOMP 1.0 has no `version`.
    let version = frame.header("version").unwrap_or("1.0");
    if version != "1.2" {
        return Err(Error::UnsupportedVersion {
            version: flatten(version, 40),
        });
    }
    Ok((
        flatten(frame.header("server").unwrap_or_default(), 200),
        Heartbeat::negotiate(ours, frame.header("heart-beat")),
    ))
}
