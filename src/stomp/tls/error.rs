//! TLS errors.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use super::verifier::Rejected;

/// The kind of file that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Authorities,
    Certificate,
    Key,
}

impl FileKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Authorities => "file of certificate authorities",
            Self::Certificate => "client certificate",
            Self::Key => "client certificate's key",
        }
    }
}

/// Why TLS could not be set up. It contains no password and no part of a key.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    File {
        /// The kind of file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// A file is empty.
    #[error("the {what} {} is empty", path.display())]
    Empty {
        /// The kind of file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// A file is of another kind.
    #[error("the {what} {} contains {found}; expected a {wanted} in PEM", path.display())]
    OtherKind {
        /// The kind of file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What it contains.
        found: &'static str,
        /// What it should contain.
        wanted: &'static str,
    },
    /// A file begins correctly but cannot be parsed to its end.
    #[error("the {what} {} is damaged: {reason}", path.display())]
    Damaged {
        /// The kind of file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is encrypted, and no password is set.
    #[error("the client certificate's key {} is encrypted: set its password", path.display())]
    PasswordMissing {
        /// The key's path.
        path: PathBuf,
    },
    /// The password is wrong, or the encryption is not supported.
    #[error(
        "cannot decrypt the client certificate's key {}: the password is wrong, or the \
         encryption is not PBES2 ({reason})", path.display()
    )]
    Password {
        /// The key's path.
        path: PathBuf,
        /// The reason from the decryption.
        reason: String,
    },
    /// The key is encrypted in OpenSSL's traditional format.
    #[error(
        "the client certificate's key {} is encrypted in OpenSSL's traditional format: convert it with \
         `openssl pkcs8 -topk8`", path.display()
    )]
    OldEncryption {
        /// The key's path.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error(
        "the key {} does not match the client certificate {}", key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The certificate's path.
        certificate: PathBuf,
        /// The key's path.
        key: PathBuf,
    },
    /// The certificate or its key is of an unsupported kind.
    #[error(
        "the client certificate {} with the key {} cannot be used: {source}",
        certificate.display(), key.display()
    )]
    Unusable {
        /// The certificate's path.
        certificate: PathBuf,
        /// The key's path.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The system has no certificate authorities.
    #[error(
        "this system has no certificate authorities: install ca-certificates, or set a file of \
         authorities{reason}"
    )]
    NoAuthorities {
        /// The reason from the system; may be empty.
        reason: String,
    },
    /// The broker's host is neither a DNS name nor an IP address.
    #[error("{name:?} is neither a DNS name nor an IP address, so no certificate can be for it")]
    Name {
        /// The host in the URL.
        name: String,
    },
    /// The broker's certificate is not signed by a trusted authority.
    #[error(
        "the broker's certificate is not signed by a trusted certificate authority: set the file of \
         the authority that signed it"
    )]
    UnknownIssuer {
        /// The error from the TLS library.
        source: rustls::Error,
    },
    /// The broker's certificate is for another name.
    #[error("the broker's certificate is not for the name in the URL: {source}")]
    WrongName {
        /// The error from the TLS library, with the names.
        source: rustls::Error,
    },
    /// The broker's certificate has expired.
    #[error("the broker's certificate has expired{}", at(source))]
    Expired {
        /// The error from the TLS library, with the times.
        source: rustls::Error,
    },
    /// The broker's certificate is not valid yet.
    #[error(
        "the broker's certificate is not valid yet (check this machine's clock){}",
        at(source)
    )]
    NotYetValid {
        /// The error from the TLS library, with the times.
        source: rustls::Error,
    },
    /// The broker's certificate is refused for another reason.
    #[error("the broker's certificate is not valid: {source}")]
    InvalidCertificate {
        /// The error from the TLS library.
        source: rustls::Error,
    },
    /// The validator refused the broker's certificate.
    #[error("the validator refused the broker's certificate: {source}")]
    Rejected {
        /// The validator's reason.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The broker requires a client certificate, and none is set.
    #[error("the broker requires a client certificate, and none is set ({source})")]
    ClientCertificateMissing {
        /// The broker's alert.
        source: rustls::Error,
    },
    /// The broker refused the client certificate.
    #[error("the broker refused the client certificate: {source}")]
    ClientCertificateRefused {
        /// The broker's alert.
        source: rustls::Error,
    },
    /// The peer does not speak TLS.
    #[error("this port does not speak TLS (is it for stomp://?): {source}")]
    NotTls {
        /// The error from the TLS library.
        source: rustls::Error,
    },
    /// The connection failed during the handshake.
    #[error("the connection ended (does this port speak TLS, or is it for stomp://?): {source}")]
    Io {
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// Any other failure of the handshake.
    #[error("{source}")]
    Other {
        /// The error from the TLS library.
        source: rustls::Error,
    },
    /// The runtime is shutting down.
    #[error("the program is shutting down")]
    Stopped,
}

impl TlsError {
    pub(super) fn other(source: rustls::Error) -> Self {
        Self::Other { source }
    }

    /// Whether this side's own files or settings are at fault: a retry does not help.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(
            self,
            Self::File { .. }
                | Self::Empty { .. }
                | Self::OtherKind { .. }
                | Self::Damaged { .. }
                | Self::PasswordMissing { .. }
                | Self::Password { .. }
                | Self::OldEncryption { .. }
                | Self::KeyMismatch { .. }
                | Self::Unusable { .. }
                | Self::NoAuthorities { .. }
                | Self::Name { .. }
        )
    }

    /// Whether one side does not trust the other: a retry with the same settings is unlikely to
    /// help.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        matches!(
            self,
            Self::UnknownIssuer { .. }
                | Self::WrongName { .. }
                | Self::Expired { .. }
                | Self::NotYetValid { .. }
                | Self::InvalidCertificate { .. }
                | Self::Rejected { .. }
                | Self::ClientCertificateMissing { .. }
                | Self::ClientCertificateRefused { .. }
                | Self::NotTls { .. }
        )
    }

    /// The error of a failed handshake.
    pub(in crate::stomp) fn of_handshake(error: io::Error, has_certificate: bool) -> Self {
        Self::of_first_read(&Arc::new(error), has_certificate)
    }

    /// The error of a failed first read after the handshake: in TLS 1.3 a client learns only then
    /// that its certificate is missing or refused.
    pub(in crate::stomp) fn of_first_read(error: &Arc<io::Error>, has_certificate: bool) -> Self {
        match Self::of_tls(error) {
            Some(source) => Self::of(source, has_certificate),
            None => Self::Io {
                source: error.clone(),
            },
        }
    }

    /// The TLS library's error inside an I/O error.
    pub(in crate::stomp) fn of_tls(error: &io::Error) -> Option<rustls::Error> {
        error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
    }

    fn of(source: rustls::Error, has_certificate: bool) -> Self {
        match &source {
            rustls::Error::InvalidCertificate(reason) => match reason {
                // `BadSignature`: signed by a different authority of the same name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownIssuer { source }
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName { source },
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired { source }
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid { source }
                }
                CertificateError::Other(other) => match other.0.downcast_ref::<Rejected>() {
                    Some(rejected) => Self::Rejected {
                        source: rejected.0.clone(),
                    },
                    None => Self::InvalidCertificate { source },
                },
                _ => Self::InvalidCertificate { source },
            },
            rustls::Error::AlertReceived(alert) => match alert {
                AlertDescription::CertificateRequired => Self::ClientCertificateMissing { source },
                // RabbitMQ sends the first in TLS 1.2, where it may have other causes. Java 17, and so
                // ActiveMQ, sends the second in each version.
                AlertDescription::HandshakeFailure | AlertDescription::BadCertificate
                    if !has_certificate =>
                {
                    Self::ClientCertificateMissing { source }
                }
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied
                    if has_certificate =>
                {
                    Self::ClientCertificateRefused { source }
                }
                _ => Self::Other { source },
            },
            rustls::Error::InvalidMessage(_) => Self::NotTls { source },
            _ => Self::Other { source },
        }
    }
}

/// When a certificate has expired, or becomes valid, and what time it is now, if the TLS library says so. Its own text
/// has seconds since 1970.
fn at(source: &rustls::Error) -> String {
    let date = |time: rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).ok();
        let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        time.map_or_else(String::new, |time| {
            time.to_rfc3339_opts(SecondsFormat::Secs, true)
        })
    };
    let rustls::Error::InvalidCertificate(reason) = source else {
        return String::new();
    };
    match reason {
        CertificateError::ExpiredContext { time, not_after } => {
            format!(" at {}; it is {} now", date(*not_after), date(*time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!(": from {} on; it is {} now", date(*not_before), date(*time))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates_are_dates() {
        let time = |seconds| {
            rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
        };
        let reason = CertificateError::ExpiredContext {
            time: time(1_796_000_000),
            not_after: time(1_793_923_200),
        };
        let error = TlsError::of(rustls::Error::InvalidCertificate(reason), false);
        assert_eq!(
            error.to_string(),
            "the broker's certificate has expired at 2026-11-06T00:00:00Z; it is 2026-11-30T00:53:20Z now"
        );
    }

    #[test]
    fn alerts_for_a_missing_certificate_differ_between_brokers() {
        for alert in [
            AlertDescription::CertificateRequired,
            AlertDescription::HandshakeFailure,
            AlertDescription::BadCertificate,
        ] {
            let error = TlsError::of(rustls::Error::AlertReceived(alert), false);
            let is_missing = matches!(error, TlsError::ClientCertificateMissing { .. });
            assert!(is_missing && error.is_untrusted(), "{error}");
        }
        let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
        let error = TlsError::of(alert, true);
        let is_refused = matches!(error, TlsError::ClientCertificateRefused { .. });
        assert!(is_refused, "{error}");
    }
}
