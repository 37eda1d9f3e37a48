//! Connection options: address, credentials, timeouts and limits.

use std::fmt;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::limits::Limits;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::url_error::UrlError;
use super::version::Version;
use crate::broker::Broker;

/// Connection options: address, credentials, timeouts and limits.
///
/// ```
/// use diesel_outbox::stomp::Options;
///
/// let options = Options::from_url("stomp://shop:secret@broker.example/orders")?;
/// assert_eq!(options.address(), "broker.example:61613");
/// # Ok::<(), diesel_outbox::stomp::UrlError>(())
/// ```
#[derive(Clone)]
pub struct Options {
    /// At least one, in the order of the attempts.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) connect_timeout: Duration,
    resolve_timeout: Option<Duration>,
    tls_timeout: Option<Duration>,
    connected_timeout: Option<Duration>,
    pub(super) receipt_timeout: Duration,
    /// How often the client can send, and wants to receive, a heart-beat.
    pub(super) heartbeat: (Duration, Duration),
    pub(super) broker: Option<Broker>,
    pub(super) client_id: Option<String>,
    /// At least one, in ascending order.
    pub(super) versions: Vec<Version>,
    pub(super) limits: Limits,
    pub(super) receive_budget: usize,
    #[cfg(feature = "tls")]
    pub(super) tls: Tls,
}

impl Options {
    /// Parses `stomp://user:password@host:port/vhost`, or a comma-separated list of URLs, which are
    /// tried in order: `stomp://a:61613,stomp+ssl://b:61614`. ActiveMQ's form
    /// `failover:(stomp://a,stomp://b)` means the same.
    ///
    /// `stomp+ssl://`, `stomp+tls://` and `stomps://` use TLS, configured with [`tls`](Self::tls).
    /// User, password, host and virtual host are percent-decoded. Without a user, the login is
    /// `guest` with password `guest`; a user without a password has an empty one. The default port
    /// is 61613, with TLS 61614. An empty path or `/` means the virtual host `/`, which is the
    /// `host` header of CONNECT.
    ///
    /// # Errors
    ///
    /// [`UrlError`], which never contains a part of the URL. Query strings are refused. A user,
    /// password or virtual host with CR, LF or NUL is refused because CONNECT has no escape
    /// sequences for them (STOMP 1.2, "Value Encoding").
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            endpoints: Endpoint::list(url)?,
            connect_timeout: Duration::from_secs(10),
            resolve_timeout: None,
            tls_timeout: None,
            connected_timeout: None,
            receipt_timeout: Duration::from_secs(30),
            heartbeat: (Duration::from_secs(10), Duration::from_secs(10)),
            broker: None,
            client_id: None,
            versions: vec![Version::V1_1, Version::V1_2],
            limits: Limits::default(),
            receive_budget: 64 << 20,
            #[cfg(feature = "tls")]
            tls: Tls::default(),
        })
    }

    /// The default timeout for each step of connecting to one broker: name resolution, TCP (all
    /// addresses together), TLS, and the answer to CONNECT. Default 10 s.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            ..self
        }
    }

    /// The timeout for name resolution. Default: [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn resolve_timeout(self, resolve_timeout: Duration) -> Self {
        Self {
            resolve_timeout: Some(resolve_timeout),
            ..self
        }
    }

    /// The timeout for setting up TLS. Default: [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn tls_timeout(self, tls_timeout: Duration) -> Self {
        Self {
            tls_timeout: Some(tls_timeout),
            ..self
        }
    }

    /// The timeout for the answer to CONNECT. Default: [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn connected_timeout(self, connected_timeout: Duration) -> Self {
        Self {
            connected_timeout: Some(connected_timeout),
            ..self
        }
    }

    /// The timeout for a receipt, from the moment its frame is queued. Default 30 s.
    #[must_use]
    pub fn receipt_timeout(self, receipt_timeout: Duration) -> Self {
        Self {
            receipt_timeout,
            ..self
        }
    }

    /// How often the client can send a heart-beat, and how often it wants one from the broker.
    /// Default 10 s each. Zero means never; a broker may turn them off too. The longer of both
    /// sides' intervals applies (STOMP 1.2, "Heart-beating"); RabbitMQ rounds down to seconds.
    #[must_use]
    pub fn heartbeat(self, send: Duration, receive: Duration) -> Self {
        Self {
            heartbeat: (send, receive),
            ..self
        }
    }

    /// The kind of broker, if its CONNECTED does not name it. Default `None`.
    #[must_use]
    pub fn broker(self, broker: Option<Broker>) -> Self {
        Self { broker, ..self }
    }

    /// The `client-id` of CONNECT, by which ActiveMQ identifies durable subscriptions. Only one
    /// connection at a time may use it. RabbitMQ ignores it. Default none.
    #[must_use]
    pub fn client_id(self, client_id: &str) -> Self {
        Self {
            client_id: Some(client_id.to_owned()),
            ..self
        }
    }

    /// The versions that the client offers (STOMP 1.2, "Protocol Negotiation"). An empty list means
    /// the default: 1.1 and 1.2.
    #[must_use]
    pub fn versions(self, versions: &[Version]) -> Self {
        let mut versions = versions.to_vec();
        if versions.is_empty() {
            versions = vec![Version::V1_1, Version::V1_2];
        }
        versions.sort_unstable();
        versions.dedup();
        Self { versions, ..self }
    }

    /// The maximum size of the broker's frames.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The maximum number of bytes of messages that [`Subscription::next`] has not returned yet.
    /// While they exceed it, the socket is not read, which delays receipts too. This bounds memory
    /// if a broker ignores `prefetch-count`. Default 64 MiB.
    ///
    /// [`Subscription::next`]: super::Subscription::next
    #[must_use]
    pub fn receive_budget(self, bytes: usize) -> Self {
        Self {
            receive_budget: bytes,
            ..self
        }
    }

    /// The TLS settings for `stomp+ssl://` URLs.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// `host:port` of each broker, for logs. Contains no secret.
    #[must_use]
    pub fn address(&self) -> String {
        let addresses: Vec<String> = self.endpoints.iter().map(Endpoint::address).collect();
        addresses.join(", ")
    }

    /// Whether one of the URLs uses TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.has_tls)
    }

    /// The options for each of the brokers alone.
    #[cfg(feature = "cli")]
    pub(crate) fn of_each(&self) -> Vec<Self> {
        let one = |endpoint: &Endpoint| Self {
            endpoints: vec![endpoint.clone()],
            ..self.clone()
        };
        self.endpoints.iter().map(one).collect()
    }

    /// The first broker.
    #[cfg(feature = "cli")]
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoints.first()
    }

    pub(super) fn time_to_resolve(&self) -> Duration {
        self.resolve_timeout.unwrap_or(self.connect_timeout)
    }

    #[cfg(feature = "tls")]
    pub(super) fn time_for_tls(&self) -> Duration {
        self.tls_timeout.unwrap_or(self.connect_timeout)
    }

    pub(super) fn time_to_answer(&self) -> Duration {
        self.connected_timeout.unwrap_or(self.connect_timeout)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = f.debug_struct("Options");
        #[cfg(feature = "tls")]
        options.field("tls", &self.tls);
        options
            .field("address", &self.address())
            .field("connect_timeout", &self.connect_timeout)
            .field("receipt_timeout", &self.receipt_timeout)
            .field("heartbeat", &self.heartbeat)
            .field("versions", &self.versions)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
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
            let endpoint = &options.endpoints[0];
            assert_eq!(endpoint.login, login, "{url}");
            assert_eq!(endpoint.passcode, passcode, "{url}");
            assert_eq!(endpoint.virtual_host, virtual_host, "{url}");
        }
    }

    #[test]
    fn tls_has_its_own_scheme_and_port() {
        let url = "stomp://a,stomp+ssl://u:p@b/v,STOMPS://[::1]:7,stomp+tls://d:61613";
        let options = Options::from_url(url).unwrap();
        assert_eq!(options.address(), "a:61613, b:61614, [::1]:7, d:61613");
        let has_tls = |endpoint: &Endpoint| endpoint.has_tls;
        let with: Vec<bool> = options.endpoints.iter().map(has_tls).collect();
        assert_eq!(with, [false, true, true, true]);
    }

    #[test]
    fn versions_are_in_order() {
        let options = Options::from_url("stomp://a").unwrap();
        let versions = options.versions(&[Version::V1_2, Version::V1_0, Version::V1_2]);
        assert_eq!(versions.versions, [Version::V1_0, Version::V1_2]);
        assert_eq!(versions.versions(&[]).versions.len(), 2);
    }

    #[test]
    fn a_list_of_brokers_is_parsed() {
        for url in [
            "stomp://u:a,b@one:1/v,stomp://two",
            "failover:(stomp://u:a,b@one:1/v, stomp://two)",
            "failover://(stomp://u:a,b@one:1/v,stomp://two)",
            "failover:stomp://u:a,b@one:1/v,stomp://two",
        ] {
            let options = Options::from_url(url).unwrap();
            assert_eq!(options.address(), "one:1, two:61613", "{url}");
            let [one, two] = &options.endpoints[..] else {
                panic!("{url}");
            };
            assert_eq!(
                (one.passcode.as_str(), one.virtual_host.as_str()),
                ("a,b", "v")
            );
            assert_eq!(
                (two.login.as_str(), two.virtual_host.as_str()),
                ("guest", "/")
            );
        }
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        let cases = [
            ("", UrlError::Scheme),
            ("broker:61613", UrlError::Scheme),
            ("amqp://u:hunter2@broker", UrlError::Scheme),
            ("ssl://u:hunter2@broker", UrlError::Scheme),
            ("stomp+ssl:hunter2", UrlError::MissingHost),
            ("failover:(stomp://u:hunter2@a", UrlError::Failover),
            ("failover:(stomp://a)?hunter2", UrlError::Failover),
            ("stomp://a,amqp://u:hunter2@b", UrlError::Scheme),
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
