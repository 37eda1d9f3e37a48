//! From an address to a connection that has seen CONNECTED.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_stomp_2::{Message, ToServer};
use tokio_util::codec::Decoder as _;
use tracing::{debug, warn};

use super::broker::Broker;
use super::client::Peer;
use super::decoder::Decoder;
use super::dialect::Dialect;
use super::encoder;
use super::endpoint::Endpoint;
use super::error::{Error, NotSentReason};
use super::error_frame::{ErrorFrame, flatten};
use super::frame::Frame;
use super::heartbeat::{Heartbeat, milliseconds};
use super::mask::Mask;
use super::options::Options;
use super::tls::TlsError;
use super::version::Version;

/// The first byte of a TLS alert, with which a port of TLS answers what is none.
const TLS_ALERT: u8 = 0x15;

/// The socket, with or without TLS.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that the broker has accepted.
pub(super) struct Connected {
    pub(super) transport: Transport,
    pub(super) decoder: Decoder,
    /// What came after CONNECTED.
    pub(super) input: BytesMut,
    pub(super) server: String,
    pub(super) peer: Peer,
    pub(super) dialect: Dialect,
    pub(super) heartbeat: Heartbeat,
    pub(super) mask: Mask,
}

/// What the broker has said in CONNECTED.
struct Greeted {
    decoder: Decoder,
    input: BytesMut,
    server: String,
    peer: Peer,
    heartbeat: Heartbeat,
}

/// Tries the brokers in their order.
pub(super) async fn connect(options: &Options) -> Result<Connected, Error> {
    let mut failure = None;
    for endpoint in &options.endpoints {
        let error = match attempt(endpoint, options).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        debug!(address = endpoint.address(), %error, "not connected");
        // What settings are to blame for says more than a broker that is away.
        if !failure.as_ref().is_some_and(Error::is_final) {
            failure = Some(error);
        }
    }
    Err(failure.unwrap_or(Error::Disconnected))
}

async fn attempt(endpoint: &Endpoint, options: &Options) -> Result<Connected, Error> {
    // A file that cannot be used is told whether the broker is there or not.
    let tls = match endpoint.has_tls {
        true => Some(prepare(endpoint, options).await?),
        false => None,
    };
    let mut stream = dial(endpoint, options).await?;
    // Frames are written in batches of our own making.
    stream
        .set_nodelay(true)
        .map_err(|error| lost(endpoint, error.into()))?;
    let (greeted, transport) = if let Some(tls) = tls {
        let mut stream = Box::new(secure(stream, tls, endpoint, options).await?);
        let greeted = greet(&mut stream, endpoint, options).await?;
        (greeted, Transport::Tls(stream))
    } else {
        let greeted = greet(&mut stream, endpoint, options).await?;
        (greeted, Transport::Plain(stream))
    };
    Ok(Connected {
        transport,
        decoder: greeted.decoder,
        input: greeted.input,
        server: greeted.server,
        dialect: greeted.peer.dialect,
        peer: greeted.peer,
        heartbeat: greeted.heartbeat,
        mask: Mask::new(&endpoint.passcode),
    })
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
    let deadline = Instant::now() + after.min(super::pending::FAR);
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        // An address that swallows everything leaves its share of the time to the others.
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

fn no_tls(endpoint: &Endpoint, source: TlsError) -> Error {
    Error::Tls {
        address: endpoint.address(),
        source: Arc::new(source),
    }
}

async fn prepare(endpoint: &Endpoint, options: &Options) -> Result<Arc<ClientConfig>, Error> {
    let tls = &options.tls;
    if tls.accepts_any() {
        warn!(
            address = endpoint.address(),
            "any certificate of the broker is accepted: the connection can be read and changed by \
             whoever is between"
        );
    }
    // A file may lie behind a network that hangs.
    let after = options.time_for_tls();
    match timeout(after, tls.prepare()).await {
        Ok(config) => config.map_err(|error| no_tls(endpoint, error)),
        Err(_) => Err(Error::TlsTimeout {
            address: endpoint.address(),
            after,
        }),
    }
}

/// Agrees on TLS.
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

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Greeted, Error> {
    let after = options.time_to_answer();
    let greeted = timeout(after, shake(stream, endpoint, options)).await;
    let error = match greeted {
        Ok(Ok(greeted)) => return Ok(greeted),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(Error::ConnectedTimeout {
                address: endpoint.address(),
                after,
            });
        }
    };
    Err(match error {
        // In TLS 1.3 a broker that misses our certificate says so only now.
        Error::Io(error) if TlsError::of_tls(&error).is_some() => {
            let has_certificate = options.tls.has_client_certificate();
            no_tls(endpoint, TlsError::of_first_read(&error, has_certificate))
        }
        Error::Io(_) | Error::Decode(_) | Error::Disconnected | Error::SpeaksTls => {
            lost(endpoint, error)
        }
        other => other,
    })
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Greeted, Error> {
    let (send, receive) = options.heartbeat;
    let ours = (milliseconds(send), milliseconds(receive));
    // CONNECT and CONNECTED are the same in each version.
    let dialect = Dialect::of(Version::V1_2);
    let mut output = BytesMut::new();
    encoder::encode(
        &greeting(endpoint, options, ours),
        None,
        dialect,
        &mut output,
    )
    .map_err(NotSentReason::from)?;
    // One that refuses us may close before it has read all; what it says is the better reason.
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
                (Some(&TLS_ALERT), _) => Error::SpeaksTls,
                (_, Err(error)) => error.into(),
                (_, Ok(())) => Error::Disconnected,
            });
        }
        if input.first() == Some(&TLS_ALERT) && !endpoint.has_tls {
            return Err(Error::SpeaksTls);
        }
    };
    let mask = Mask::new(&endpoint.passcode);
    judge(&frame, endpoint, &mask)?;
    // STOMP 1.0 has no `version`.
    let named = frame.header("version").unwrap_or("1.0");
    let version = Version::parse(named)
        .filter(|version| options.versions.contains(version))
        .ok_or_else(|| Error::UnsupportedVersion {
            address: endpoint.address(),
            version: flatten(&mask.hide(named), 40),
            asked: asked(options),
        })?;
    let server = frame.header("server").unwrap_or_default();
    let broker = options.broker.unwrap_or_else(|| Broker::of(server));
    let peer = Peer {
        dialect: Dialect::of_broker(version, broker),
        broker,
    };
    decoder.set_dialect(peer.dialect);
    Ok(Greeted {
        decoder,
        input,
        server: flatten(&mask.hide(server), 200),
        peer,
        heartbeat: Heartbeat::negotiate(ours, frame.header("heart-beat")),
    })
}

fn asked(options: &Options) -> String {
    let versions: Vec<&str> = options.versions.iter().map(|v| v.as_str()).collect();
    versions.join(",")
}

/// The command is CONNECT, which each version knows; STOMP is for brokers of 1.2, and some of 1.1,
/// only (STOMP 1.2, "CONNECT or STOMP Frame").
///
/// STOMP 1.2 says that CONNECT has no escape sequences, so that a backslash stands for itself.
/// RabbitMQ 3.10.8 reads them in CONNECT too, and closes without ERROR at one that it does not
/// know: password `p\a` needs `p\\a` on the wire. A colon it takes either way, as `:` and as `\c`.
/// So the colon stays as it is, as the specification wants, and the backslash is doubled for
/// RabbitMQ; another broker would see two of them.
fn greeting(endpoint: &Endpoint, options: &Options, heartbeat: (u32, u32)) -> Message<ToServer> {
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

/// Whether the frame is CONNECTED.
fn judge(frame: &Frame, endpoint: &Endpoint, mask: &Mask) -> Result<(), Error> {
    match frame.command.as_str() {
        "CONNECTED" => Ok(()),
        "ERROR" => Err(Error::Refused {
            address: endpoint.address(),
            error_frame: Arc::new(ErrorFrame::new(frame, mask)),
        }),
        command => Err(Error::UnexpectedFrame {
            command: flatten(&mask.hide(command), 40),
        }),
    }
}
