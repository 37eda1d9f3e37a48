//! How to reach a broker, and how long to wait for it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::broker::Broker;
use super::url_error::UrlError;

const DEFAULT_PORT: u16 = 61613;

/// How to reach a broker, and how long to wait for it.
///
/// ```
/// use diesel_outbox::stomp::Options;
///
/// let options = Options::from_url("stomp://shop:secret@broker.example/orders")?;
/// assert_eq!(options.address(), "broker.example:61613");
/// # Ok::<(), diesel_outbox::stomp::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: String,
    pub(super) passcode: String,
    pub(super) virtual_host: String,
    pub(super) connect_timeout: Duration,
    pub(super) receipt_timeout: Duration,
    /// What we can send, and what we want to receive.
    pub(super) heartbeat: (Duration, Duration),
    pub(super) broker: Option<Broker>,
    pub(super) client_id: Option<String>,
}

impl Options {
    /// Reads `stomp://user:password@host:port/vhost`.
    ///
    /// User, password, host and virtual host are percent-decoded. Without a user, `guest` with
    /// password `guest`; without a port, 61613; an empty path or `/` means the virtual host `/`
    /// (the `host` header of CONNECT). A user without a password has an empty one.
    ///
    /// # Errors
    ///
    /// [`UrlError`], which never shows a part of the URL. TLS, `failover:` and query strings are
    /// refused, and so is a user, password or virtual host with CR, LF or NUL: a CONNECT frame has
    /// no escape sequences for them (STOMP 1.2, "Value Encoding").
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        let url = url.trim();
        let scheme = url.split(':').next().unwrap_or_default();
        match scheme.to_ascii_lowercase().as_str() {
            "stomp" => {}
            "failover" => return Err(UrlError::FailoverNotSupported),
            "stomp+tls" | "stomp+ssl" | "stomps" | "ssl" | "tls" => {
                return Err(UrlError::TlsNotSupported);
            }
            _ => return Err(UrlError::Scheme),
        }
        // Before the parser, which would take a part of such a password for the host or the port.
        if url.contains('#') {
            return Err(UrlError::Fragment);
        }
        if url.contains('?') {
            return Err(UrlError::Query);
        }
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        if path.contains('@') {
            return Err(UrlError::AtInPath);
        }
        let url = Url::parse(url)?;
        let host = match url.host() {
            Some(Host::Domain(name)) => decode("host", name)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        if host.is_empty() {
            return Err(UrlError::MissingHost);
        }
        let port = url.port().unwrap_or(DEFAULT_PORT);
        if port == 0 {
            return Err(UrlError::PortZero);
        }
        let (login, passcode) = match (url.username(), url.password()) {
            ("", None) => ("guest", "guest"),
            (login, passcode) => (login, passcode.unwrap_or_default()),
        };
        let virtual_host = match url.path() {
            "" | "/" => "/",
            path => path.strip_prefix('/').unwrap_or(path),
        };
        Ok(Self {
            host,
            port,
            login: decode("user", login)?,
            passcode: decode("password", passcode)?,
            virtual_host: decode("virtual host", virtual_host)?,
            connect_timeout: Duration::from_secs(10),
            receipt_timeout: Duration::from_secs(30),
            heartbeat: (Duration::from_secs(10), Duration::from_secs(10)),
            broker: None,
            client_id: None,
        })
    }

    /// How long a connection may take from the name's resolution to the broker's CONNECTED.
    /// Default 10 s.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            ..self
        }
    }

    /// How long to wait for a receipt, from the moment its frame is queued. Default 30 s.
    #[must_use]
    pub fn receipt_timeout(self, receipt_timeout: Duration) -> Self {
        Self {
            receipt_timeout,
            ..self
        }
    }

    /// How often we can send a heart-beat, and how often we want one from the broker; zero means
    /// never, and so does a broker that has none. Default 10 s each. The longer of both sides'
    /// wishes counts (STOMP 1.2, "Heart-beating"); RabbitMQ rounds down to seconds.
    #[must_use]
    pub fn heartbeat(self, send: Duration, receive: Duration) -> Self {
        Self {
            heartbeat: (send, receive),
            ..self
        }
    }

    /// The broker's make, where its CONNECTED does not tell it. Default `None`.
    #[must_use]
    pub fn broker(self, broker: Option<Broker>) -> Self {
        Self { broker, ..self }
    }

    /// The `client-id` of CONNECT, by which ActiveMQ knows durable subscriptions; one connection
    /// at a time may have it. RabbitMQ does not read it. Default none.
    #[must_use]
    pub fn client_id(self, client_id: &str) -> Self {
        Self {
            client_id: Some(client_id.to_owned()),
            ..self
        }
    }

    /// `host:port`, for logs; it holds no secret.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address())
            .field("virtual_host", &self.virtual_host)
            .field("connect_timeout", &self.connect_timeout)
            .field("receipt_timeout", &self.receipt_timeout)
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}

fn decode(part: &'static str, text: &str) -> Result<String, UrlError> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| UrlError::NotUtf8(part))?;
    if text.contains(['\r', '\n', '\0']) {
        return Err(UrlError::ControlCharacter(part));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let cases = [
            ("stomp://broker", "broker:61613", "guest", "guest", "/"),
            (" stomp://broker:1/ ", "broker:1", "guest", "guest", "/"),
            ("STOMP://u@broker/v", "broker:61613", "u", "", "v"),
            ("stomp://u:p@[::1]:7/%2F", "[::1]:7", "u", "p", "/"),
            (
                "stomp://u%3A%40:p%2F%5C%25@10.0.0.1/a%2Fb%40%C3%A9",
                "10.0.0.1:61613",
                "u:@",
                "p/\\%",
                "a/b@\u{e9}",
            ),
            ("stomp://a_b.c:61/", "a_b.c:61", "guest", "guest", "/"),
            ("stomp://u:p@q@broker/", "broker:61613", "u", "p@q", "/"),
        ];
        for (url, address, login, passcode, virtual_host) in cases {
            let options = Options::from_url(url).unwrap();
            assert_eq!(options.address(), address, "{url}");
            assert_eq!(options.login, login, "{url}");
            assert_eq!(options.passcode, passcode, "{url}");
            assert_eq!(options.virtual_host, virtual_host, "{url}");
        }
    }

    #[test]
    fn mistakes_are_named_without_the_password() {
        let cases = [
            ("", UrlError::Scheme),
            ("broker:61613", UrlError::Scheme),
            ("amqp://u:hunter2@broker", UrlError::Scheme),
            ("stomp+tls://u:hunter2@broker", UrlError::TlsNotSupported),
            ("stomp+ssl://u:hunter2@broker", UrlError::TlsNotSupported),
            (
                "failover:(stomp://u:hunter2@a,stomp://b)",
                UrlError::FailoverNotSupported,
            ),
            ("stomp:hunter2", UrlError::MissingHost),
            ("stomp:///hunter2", UrlError::MissingHost),
            ("stomp://u:hunter2@broker:0", UrlError::PortZero),
            ("stomp://u:hunter2@broker?a=b", UrlError::Query),
            ("stomp://u:hunter2@broker/?hunter2", UrlError::Query),
            ("stomp://u:hun#ter2@broker", UrlError::Fragment),
            ("stomp://u:p@ss/hunter2@broker", UrlError::AtInPath),
            ("stomp://u:hunter2/x@broker", UrlError::AtInPath),
            ("stomp://u:hunter2%FF@broker", UrlError::NotUtf8("password")),
            (
                "stomp://u:hunter2%0A@broker",
                UrlError::ControlCharacter("password"),
            ),
            (
                "stomp://u%00:hunter2@broker",
                UrlError::ControlCharacter("user"),
            ),
            (
                "stomp://u:hunter2@broker/a%0Db",
                UrlError::ControlCharacter("virtual host"),
            ),
        ];
        for (url, expected) in cases {
            let error = Options::from_url(url).unwrap_err();
            assert_eq!(error, expected, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}");
        }
        let error = Options::from_url("stomp://u:hunter2@broker:port").unwrap_err();
        assert!(matches!(error, UrlError::Malformed(_)));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn secrets_do_not_show() {
        let options = Options::from_url("stomp://shop:hunter2@broker").unwrap();
        let shown = format!("{options:?} {}", options.address());
        assert!(!shown.contains("hunter2") && !shown.contains("shop"));
    }
}
