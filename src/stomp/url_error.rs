//! Errors in a broker's URL.

/// Why a broker's URL cannot be used. No variant contains a part of the URL, which may contain a
/// password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It is not a URL.
    #[error("the broker's URL is malformed: {0} (expected stomp://user:password@host:61613/vhost)")]
    Malformed(#[from] url::ParseError),
    /// It is neither `stomp://` nor `stomp+ssl://`.
    #[error("the broker's URL must begin with stomp://, or with stomp+ssl:// for TLS")]
    Scheme,
    /// It uses TLS, but the crate was built without the feature `tls`.
    #[error(
        "the broker's URL asks for TLS, which this program was built without: enable the feature `tls` of diesel-outbox"
    )]
    WithoutTls,
    /// It begins with `failover:(` and does not end with `)`.
    #[error(
        "the list of brokers must be failover:(stomp://a,stomp://b) without options: \
         how often they are tried is set by maximum_backoff"
    )]
    Failover,
    /// It names no host.
    #[error("the broker's URL names no host")]
    MissingHost,
    /// Its port is 0.
    #[error("the broker's URL has port 0")]
    PortZero,
    /// It has a query string.
    #[error(
        "the broker's URL has a query string (?…), which is not supported; \
         a ? in the password or the virtual host is written %3F"
    )]
    Query,
    /// It has a fragment.
    #[error(
        "the broker's URL has a fragment (#…); \
         a # in the password or the virtual host is written %23"
    )]
    Fragment,
    /// Its path has an `@`, probably from a password with an unescaped slash.
    #[error(
        "the broker's URL has an @ in its path; a / in the password is written %2F, \
         and an @ in the virtual host %40"
    )]
    AtInPath,
    /// A part is not UTF-8 after percent-decoding.
    #[error("the {0} in the broker's URL is not UTF-8 when decoded")]
    NotUtf8(&'static str),
    /// A part contains a character that CONNECT cannot carry.
    #[error("the {0} in the broker's URL holds a line break or a NUL")]
    ControlCharacter(&'static str),
}
