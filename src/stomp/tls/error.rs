//! Why there is no TLS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use super::verifier::Rejected;

/// Which file it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Authorities,
    Certificate,
    Key,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Authorities => "file of certificate authorities",
            Self::Certificate => "client certificate",
            Self::Key => "client certificate's key",
        }
    }
}

/// Why there is no TLS. It holds no password and no part of a key.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    File {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// A file is empty.
    #[error("the {what} {} is empty", path.display())]
    Empty {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// A file is of another kind.
    #[error("the {what} {} holds {found}, and no {wanted} in PEM", path.display())]
    OtherKind {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A file begins right and cannot be read to its end.
    #[error("the {what} {} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is encrypted, and there is no password.
    #[error("the client certificate's key {} is encrypted: set its password", path.display())]
    PasswordMissing {
        /// The key's path.
        path: PathBuf,
    },
    /// The key is encrypted with another password, or in a way that is not known.
    #[error(
        "the client certificate's key {} cannot be decrypted: the password is wrong, or its \
         encryption is not one of PBES2 ({reason})", path.display()
    )]
    Password {
        /// The key's path.
        path: PathBuf,
        /// What the decryption says.
        reason: String,
    },
    /// The key is encrypted in OpenSSL's old way.
    #[error(
        "the client certificate's key {} is encrypted in OpenSSL's old format: convert it by \
         `openssl pkcs8 -topk8`", path.display()
    )]
    OldEncryption {
        /// The key's path.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error(
        "the key {} does not fit the client certificate {}", key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The certificate's path.
        certificate: PathBuf,
        /// The key's path.
        key: PathBuf,
    },
    /// The certificate or its key is of a kind that cannot be used.
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
        "this system has no certificate authorities (install ca-certificates, or name a file of \
         them){reason}"
    )]
    NoAuthorities {
        /// What the system says, where it says something.
        reason: String,
    },
    /// The broker's host is neither a name nor an address that a certificate can be for.
    #[error("{name:?} is no name that a certificate can be for")]
    Name {
        /// The host in the URL.
        name: String,
    },
    /// The broker's certificate is not signed by an authority that is trusted.
    #[error(
        "the broker's certificate is not signed by a certificate authority that we trust: name \
         the file of the one that signed it"
    )]
    UnknownIssuer {
        /// As the library says it.
        source: rustls::Error,
    },
    /// The broker's certificate is for another name.
    #[error("the broker's certificate is not for the name in the URL: {source}")]
    WrongName {
        /// As the library says it, with the names.
        source: rustls::Error,
    },
    /// The broker's certificate has expired.
    #[error("the broker's certificate has expired: {source}")]
    Expired {
        /// As the library says it, with the times.
        source: rustls::Error,
    },
    /// The broker's certificate is not valid yet.
    #[error("the broker's certificate is not valid yet (is this machine's clock right?): {source}")]
    NotYetValid {
        /// As the library says it, with the times.
        source: rustls::Error,
    },
    /// The broker's certificate is refused for another reason.
    #[error("the broker's certificate cannot be accepted: {source}")]
    InvalidCertificate {
        /// As the library says it.
        source: rustls::Error,
    },
    /// The validator refused the broker's certificate.
    #[error("the validator refused the broker's certificate: {source}")]
    Rejected {
        /// The validator's reason.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The broker wants a client certificate, and there is none.
    #[error("the broker wants a client certificate, and none is set ({source})")]
    ClientCertificateMissing {
        /// The broker's alert.
        source: rustls::Error,
    },
    /// The broker does not accept our client certificate.
    #[error("the broker refused the client certificate: {source}")]
    ClientCertificateRefused {
        /// The broker's alert.
        source: rustls::Error,
    },
    /// What answers does not speak TLS.
    #[error("what answers there does not speak TLS (is it the port of stomp://?): {source}")]
    NotTls {
        /// As the library says it.
        source: rustls::Error,
    },
    /// The connection failed before both sides agreed.
    #[error("the connection ended: {source}")]
    Io {
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// Anything else that both sides could not agree on.
    #[error("{source}")]
    Other {
        /// As the library says it.
        source: rustls::Error,
    },
    /// The program's runtime is ending.
    #[error("the program is ending")]
    Stopped,
}

impl TlsError {
    pub(super) fn other(source: rustls::Error) -> Self {
        Self::Other { source }
    }

    /// Whether our own files or settings are at fault: trying again does not help.
    #[must_use]
    pub fn is_ours(&self) -> bool {
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

    /// Whether one side does not trust the other: trying again with the same settings is unlikely
    /// to help.
    #[must_use]
    pub fn is_distrust(&self) -> bool {
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

    /// Why a handshake failed.
    pub(in crate::stomp) fn of_handshake(error: io::Error, has_certificate: bool) -> Self {
        Self::of_first_read(&Arc::new(error), has_certificate)
    }

    /// Why the first read after it failed: in TLS 1.3 a client learns only then that its
    /// certificate is missed or refused.
    pub(in crate::stomp) fn of_first_read(error: &Arc<io::Error>, has_certificate: bool) -> Self {
        match Self::of_tls(error) {
            Some(source) => Self::of(source, has_certificate),
            None => Self::Io {
                source: error.clone(),
            },
        }
    }

    /// What TLS itself says in an error of a socket.
    pub(in crate::stomp) fn of_tls(error: &io::Error) -> Option<rustls::Error> {
        error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
    }

    fn of(source: rustls::Error, has_certificate: bool) -> Self {
        match &source {
            rustls::Error::InvalidCertificate(reason) => match reason {
                // The other: signed by another authority of the same name.
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
                // RabbitMQ's answer in TLS 1.2, which may have other reasons, and that of Java 17, and
                // so of ActiveMQ, in each version.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broker_has_its_own_alert_for_a_missing_certificate() {
        for alert in [
            AlertDescription::CertificateRequired,
            AlertDescription::HandshakeFailure,
            AlertDescription::BadCertificate,
        ] {
            let error = TlsError::of(rustls::Error::AlertReceived(alert), false);
            let is_missing = matches!(error, TlsError::ClientCertificateMissing { .. });
            assert!(is_missing && error.is_distrust(), "{error}");
        }
        let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
        let error = TlsError::of(alert, true);
        let is_refused = matches!(error, TlsError::ClientCertificateRefused { .. });
        assert!(is_refused, "{error}");
    }
}
