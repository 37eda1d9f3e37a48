//! TLS to the broker: trusted authorities and the client certificate.

#[cfg(feature = "cli")]
mod certificate;
mod error;
mod files;
mod verifier;

use std::fmt;
#[cfg(feature = "cli")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, rustls};

#[cfg(feature = "cli")]
pub(crate) use certificate::expiry as certificate_expiry;
pub use error::TlsError;
pub use verifier::ServerCertificate;

use error::FileKind;
use verifier::{Validator, Verifier};

/// The TLS settings for `stomp+ssl://` URLs: trusted authorities and the client certificate.
/// Supports TLS 1.2 and 1.3.
///
/// The broker's certificate and its name are verified, unless
/// [`accept_any_certificate`](Self::accept_any_certificate) is set. All files are PEM and are read
/// at each connect, so renewed files apply to the next connection.
///
/// ```
/// use diesel_outbox::stomp::{Options, Tls};
///
/// let tls = Tls::new()
///     .ca_file("/etc/shop/ca.pem")
///     .client_certificate("/etc/shop/client.pem", "/etc/shop/client.key");
/// let options = Options::from_url("stomp+ssl://broker.example/")?.tls(tls);
/// assert_eq!(options.address(), "broker.example:61614");
/// # Ok::<(), diesel_outbox::stomp::UrlError>(())
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    ca_file: Option<PathBuf>,
    identity: Option<Identity>,
    accepts_any: bool,
    validator: Option<Arc<Validator>>,
}

/// The client certificate in a file and those that follow it, in DER.
#[cfg(feature = "cli")]
pub(crate) fn certificates_in(path: &Path) -> Result<Vec<Vec<u8>>, TlsError> {
    let certificates = files::certificates(path, FileKind::Certificate)?;
    Ok(certificates.iter().map(|one| one.to_vec()).collect())
}

/// The files of a client certificate.
#[derive(Clone)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    password: Option<String>,
}

impl Tls {
    /// Trusts the system's certificate authorities and has no client certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificate authorities in this file and no others.
    #[must_use]
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self {
            ca_file: Some(path.into()),
            ..self
        }
    }

    /// Sends this certificate to brokers that ask for one. The first certificate in the file is the
    /// client's; the intermediate certificates follow. The key is PKCS#8, PKCS#1 or SEC1 and must
    /// match the certificate; both may be in the same file.
    #[must_use]
    pub fn client_certificate(
        self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let identity = Identity {
            certificate: certificate.into(),
            key: key.into(),
            password: self.identity.and_then(|identity| identity.password),
        };
        Self {
            identity: Some(identity),
            ..self
        }
    }

    /// The password of the client certificate's key, if that is encrypted PKCS#8 (RFC 5958, PBES2).
    /// Call [`client_certificate`](Self::client_certificate) first: without it this does nothing.
    #[must_use]
    pub fn key_password(mut self, password: &str) -> Self {
        if let Some(identity) = &mut self.identity {
            identity.password = Some(password.to_owned());
        }
        self
    }

    /// Accepts any certificate of the broker, an attacker's too: the password and the messages are
    /// not protected from anyone on the network. Each connect logs a warning.
    #[must_use]
    pub fn accept_any_certificate(self) -> Self {
        Self {
            accepts_any: true,
            ..self
        }
    }

    /// Adds a check of the broker's certificate after all other checks have passed. An error
    /// refuses the connection. Corresponds to `CERT_VALIDATOR` of django-outbox-pattern.
    #[must_use]
    pub fn validator<F, E>(self, validator: F) -> Self
    where
        F: Fn(&ServerCertificate<'_>) -> Result<(), E> + Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self {
            validator: Some(Arc::new(move |certificate: &_| {
                validator(certificate).map_err(Into::into)
            })),
            ..self
        }
    }

    /// Whether any certificate is accepted.
    pub(super) fn accepts_any(&self) -> bool {
        self.accepts_any
    }

    pub(super) fn has_client_certificate(&self) -> bool {
        self.identity.is_some()
    }

    /// Reads the files outside the runtime's threads: decrypting a key takes time.
    pub(crate) async fn prepare(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let tls = self.clone();
        match tokio::task::spawn_blocking(move || tls.config()).await {
            Ok(config) => config,
            // Only a runtime that shuts down cancels it.
            Err(_) => Err(TlsError::Stopped),
        }
    }

    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(default_provider());
        let roots = match &self.ca_file {
            _ if self.accepts_any => None,
            Some(path) => Some(files::authorities(path)?),
            None => Some(files::system_authorities()?),
        };
        let verifier = Verifier::new(roots, self.validator.clone(), &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = files::certificates(&identity.certificate, FileKind::Certificate)?;
                let key = files::key(&identity.key, identity.password.as_deref())?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| match error {
                        rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch {
                            certificate: identity.certificate.clone(),
                            key: identity.key.clone(),
                        },
                        error => TlsError::Unusable {
                            certificate: identity.certificate.clone(),
                            key: identity.key.clone(),
                            source: error,
                        },
                    })?
            }
        };
        Ok(Arc::new(config))
    }

    /// Starts TLS on a connection to `host`.
    pub(crate) async fn connect(
        &self,
        config: Arc<ClientConfig>,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name {
            name: host.to_owned(),
        })?;
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| TlsError::of_handshake(error, self.has_client_certificate()))
    }
}

// Not derived: hides the key's password and path.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca_file", &self.ca_file)
            .field(
                "certificate",
                &self.identity.as_ref().map(|identity| &identity.certificate),
            )
            .field("accepts_any", &self.accepts_any)
            .field("has_validator", &self.validator.is_some())
            .finish_non_exhaustive()
    }
}
