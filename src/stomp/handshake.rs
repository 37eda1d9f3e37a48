//! Opens a connection: name resolution, TCP, TLS, CONNECT and CONNECTED.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
#[cfg(feature = "tls")]
use tokio_rustls::client::TlsStream;
#[cfg(feature = "tls")]
use tokio_rustls::rustls::ClientConfig;
use tokio_stomp_2::{Message, ToServer};
use tokio_util::codec::Decoder as _;
use tracing::{debug, warn};

use super::client::Peer;
use super::decoder::Decoder;
use super::dialect::Dialect;
use super::encoder;
use super::endpoint::Endpoint;
use super::error::{Error, NotSentReason};
use super::error_frame::{ErrorFrame, flatten};
use super::frame::Frame;
use super::heartbeat::{Heartbeat, milliseconds};
use super::options::Options;
use super::redaction::Redaction;
#[cfg(feature = "tls")]
use super::tls::TlsError;
use super::version::Version;
use crate::broker::Broker;

/// The first byte of a TLS alert: the answer of a TLS port to plain text.
const TLS_ALERT: u8 = 0x15;

/// The socket, with or without TLS.
pub(super) enum Transport {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    pub(super) fn has_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// A connection that the broker has accepted.
pub(super) struct Connected {
    pub(super) transport: Transport,
    pub(super) decoder: Decoder,
    /// Bytes that arrived after CONNECTED.
    pub(super) input: BytesMut,
    pub(super) server: String,
    pub(super) peer: Peer,
    pub(super) dialect: Dialect,
    pub(super) heartbeat: Heartbeat,
    pub(super) redaction: Redaction,
}

/// The result of CONNECT and CONNECTED.
struct Handshake {
    decoder: Decoder,
    input: BytesMut,
    server: String,
    peer: Peer,
    heartbeat: Heartbeat,
}

/// Tries the brokers in the order of the URLs.
pub(super) async fn connect(options: &Options) -> Result<Connected, Error> {
    let mut failure = None;
    for endpoint in &options.endpoints {
        let error = match attempt(endpoint, options).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        debug!(address = endpoint.address(), %error, "not connected");
        // A wrong setting is a better explanation than an unreachable broker.
        if !failure.as_ref().is_some_and(Error::is_final) {
            failure = Some(error);
        }
    }
    Err(failure.unwrap_or(Error::Disconnected))
}

async fn attempt(endpoint: &Endpoint, options: &Options) -> Result<Connected, Error> {
    // First, so that an unusable file is reported even if the broker is unreachable.
    #[cfg(feature = "tls")]
    let tls = match endpoint.has_tls {
        true => Some(prepare(endpoint, options).await?),
        false => None,
    };
    let mut stream = dial(endpoint, options).await?;
    // The client already writes frames in batches.
    stream
        .set_nodelay(true)
        .map_err(|error| lost(endpoint, error.into()))?;
    #[cfg(feature = "tls")]
    if let Some(tls) = tls {
        let mut stream = Box::new(secure(stream, tls, endpoint, options).await?);
        let handshake = log_in(&mut stream, endpoint, options).await?;
        return Ok(connected(handshake, Transport::Tls(stream), endpoint));
    }
    let handshake = log_in(&mut stream, endpoint, options).await?;
    Ok(connected(handshake, Transport::Plain(stream), endpoint))
}

fn connected(handshake: Handshake, transport: Transport, endpoint: &Endpoint) -> Connected {
    Connected {
        transport,
        decoder: handshake.decoder,
        input: handshake.input,
        server: handshake.server,
        dialect: handshake.peer.dialect,
        peer: handshake.peer,
        heartbeat: handshake.heartbeat,
        redaction: Redaction::new(&endpoint.passcode),
    }
}

fn lost(endpoint: &Endpoint, source: Error) -> Error {
    Error::ConnectLost {
        address: endpoint.address(),
        source: Arc::new(source),
    }
}

async fn dial(endpoint: &Endpoint, options: &Options) -> Result<TcpStream, Error> {
    let resolve = |source: io::Error| Error::Resolve {
        address: endpoint.address(),
        source: Arc::new(source),
    };
    let after = options.time_to_resolve();
    let lookup = lookup_host((endpoint.host.as_str(), endpoint.port));
    let addresses: Vec<SocketAddr> = match timeout(after, lookup).await {
        Ok(addresses) => addresses.map_err(resolve)?.collect(),
        Err(_) => {
            return Err(Error::ResolveTimeout {
                address: endpoint.address(),
                after,
            });
        }
    };
    let after = options.connect_timeout;
    let deadline = Instant::now() + after.min(super::pending::FOREVER);
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        // Divide the remaining time among the remaining addresses, so that one that does not
        // respond leaves time for the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let tries = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        last = Some(
            match timeout(left / tries, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => Error::Connect {
                    address: endpoint.address(),
                    source: Arc::new(error),
                },
                Err(_) => Error::ConnectTimeout {
                    address: endpoint.address(),
                    after,
                },
            },
        );
    }
    Err(last.unwrap_or_else(|| resolve(io::Error::new(io::ErrorKind::NotFound, "no address"))))
}

#[cfg(feature = "tls")]
fn no_tls(endpoint: &Endpoint, source: TlsError) -> Error {
    Error::Tls {
        address: endpoint.address(),
        source: Arc::new(source),
    }
}

#[cfg(feature = "tls")]
async fn prepare(endpoint: &Endpoint, options: &Options) -> Result<Arc<ClientConfig>, Error> {
    let tls = &options.tls;
    if tls.accepts_any() {
        warn!(
            address = endpoint.address(),
            "accepting any broker certificate; anyone on the network can read and change this \
            connection"
        );
    }
    // A file may be on a network file system that hangs.
    let after = options.time_for_tls();
    match timeout(after, tls.prepare()).await {
        Ok(config) => config.map_err(|error| no_tls(endpoint, error)),
        Err(_) => Err(Error::TlsTimeout {
            address: endpoint.address(),
            after,
        }),
    }
}

/// Negotiates TLS.
#[cfg(feature = "tls")]
async fn secure(
    stream: TcpStream,
    tls: Arc<ClientConfig>,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<TlsStream<TcpStream>, Error> {
    let after = options.time_for_tls();
    let stream = options.tls.connect(tls, &endpoint.host, stream);
    match timeout(after, stream).await {
        Ok(stream) => stream.map_err(|error| no_tls(endpoint, error)),
        Err(_) => Err(Error::TlsTimeout {
            address: endpoint.address(),
            after,
        }),
    }
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Handshake, Error> {
    let after = options.time_to_answer();
    let handshake = timeout(after, exchange(stream, endpoint, options)).await;
    let error = match handshake {
        Ok(Ok(handshake)) => return Ok(handshake),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(Error::ConnectedTimeout {
                address: endpoint.address(),
                after,
            });
        }
    };
    Err(match error {
        // In TLS 1.3 the broker reports a missing client certificate only now.
        #[cfg(feature = "tls")]
        Error::Io(error) if TlsError::of_tls(&error).is_some() => {
            let has_certificate = options.tls.has_client_certificate();
            no_tls(endpoint, TlsError::of_first_read(&error, has_certificate))
        }
        Error::Io(_) | Error::Decode(_) | Error::Disconnected | Error::PeerSpeaksTls => {
            lost(endpoint, error)
        }
        other => other,
    })
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Handshake, Error> {
    let (send, receive) = options.heartbeat;
    let ours = (milliseconds(send), milliseconds(receive));
    // CONNECT and CONNECTED are the same in each version.
    let dialect = Dialect::of(Version::V1_2);
    let mut output = BytesMut::new();
    encoder::encode(
        &connect_frame(endpoint, options, ours),
        None,
        dialect,
        &mut output,
    )
    .map_err(NotSentReason::from)?;
    // A broker that refuses the login may close before it has read everything; its ERROR is the
    // better explanation.
    let written = async {
        stream.write_all(&output).await?;
        stream.flush().await
    };
    let written = written.await;

    let mut decoder = Decoder::new(dialect, options.limits);
    let mut input = BytesMut::new();
    let frame = loop {
        if let Some(frame) = decoder.decode(&mut input)? {
            break frame;
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Err(match (input.first(), written) {
                (Some(&TLS_ALERT), _) => Error::PeerSpeaksTls,
                (_, Err(error)) => error.into(),
                (_, Ok(())) => Error::Disconnected,
            });
        }
        if input.first() == Some(&TLS_ALERT) && !endpoint.has_tls {
            return Err(Error::PeerSpeaksTls);
        }
    };
    let redaction = Redaction::new(&endpoint.passcode);
    check_connected(&frame, endpoint, &redaction)?;
    // STOMP 1.0 has no `version`.
    let named = frame.header("version").unwrap_or("1.0");
    let version = Version::parse(named)
        .filter(|version| options.versions.contains(version))
        .ok_or_else(|| Error::UnsupportedVersion {
            address: endpoint.address(),
            version: flatten(&redaction.hide(named), 40),
            asked: asked(options),
        })?;
    let server = frame.header("server").unwrap_or_default();
    let broker = options.broker.unwrap_or_else(|| Broker::of(server));
    let peer = Peer {
        dialect: Dialect::of_broker(version, broker),
        broker,
    };
    decoder.set_dialect(peer.dialect);
    Ok(Handshake {
        decoder,
        input,
        server: flatten(&redaction.hide(server), 200),
        peer,
        heartbeat: Heartbeat::negotiate(ours, frame.header("heart-beat")),
    })
}

fn asked(options: &Options) -> String {
    let versions: Vec<&str> = options.versions.iter().map(|v| v.as_str()).collect();
    versions.join(",")
}

/// Builds CONNECT. Each version has this command; STOMP exists only in brokers of 1.2 and some of
/// 1.1 (STOMP 1.2, "CONNECT or STOMP Frame").
///
/// STOMP 1.2 defines no escape sequences in CONNECT, so a backslash stands for itself. RabbitMQ
/// 3.10.8 decodes escape sequences in CONNECT too and closes without ERROR if one is undefined: the
/// password `p\a` must be `p\\a` on the wire. It accepts a colon both as `:` and as `\c`. Therefore
/// colons are not escaped, as the specification says, and backslashes are doubled for RabbitMQ;
/// other brokers see two of them.
fn connect_frame(
    endpoint: &Endpoint,
    options: &Options,
    heartbeat: (u32, u32),
) -> Message<ToServer> {
    let double = |text: &str| text.replace('\\', "\\\\");
    let mut extra_headers = vec![
        (b"login".to_vec(), double(&endpoint.login).into_bytes()),
        (
            b"passcode".to_vec(),
            double(&endpoint.passcode).into_bytes(),
        ),
    ];
    if let Some(id) = &options.client_id {
        extra_headers.push((b"client-id".to_vec(), double(id).into_bytes()));
    }
    Message {
        content: ToServer::Connect {
            accept_version: asked(options),
            // The virtual host, not the address.
            host: double(&endpoint.virtual_host),
            login: None,
            passcode: None,
            heartbeat: Some(heartbeat),
        },
        extra_headers,
    }
}

/// Checks that the frame is CONNECTED.
fn check_connected(frame: &Frame, endpoint: &Endpoint, redaction: &Redaction) -> Result<(), Error> {
    match frame.command.as_str() {
        "CONNECTED" => Ok(()),
        "ERROR" => Err(Error::Refused {
            address: endpoint.address(),
            error_frame: Arc::new(ErrorFrame::new(frame, redaction)),
        }),
        command => Err(Error::UnexpectedFrame {
            command: flatten(&redaction.hide(command), 40),
        }),
    }
}
