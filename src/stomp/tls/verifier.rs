//! Verifies the broker's certificate.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};

use super::error::TlsError;

type Reason = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Validator =
    dyn Fn(&ServerCertificate<'_>) -> Result<(), Reason> + Send + Sync + 'static;

/// The certificate that a validator checks.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServerCertificate<'a> {
    /// The broker's certificate, in DER.
    pub certificate: &'a [u8],
    /// The certificates that the broker sent with it, in DER: those of the authorities between the broker's and a
    /// trusted one.
    pub intermediates: &'a [&'a [u8]],
    /// The host in the URL: a name or an address.
    pub host: &'a str,
}

/// A validator's error, passed through the TLS library.
#[derive(Debug)]
pub(super) struct Rejected(pub(super) Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Rejected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// Runs the usual verification, unless it is turned off, then the user's validator. Signatures of
/// the handshake are always verified.
pub(super) struct Verifier {
    usual: Option<Arc<WebPkiServerVerifier>>,
    validator: Option<Arc<Validator>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(
        roots: Option<RootCertStore>,
        validator: Option<Arc<Validator>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let usual = roots
            .map(|roots| {
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
            })
            .transpose()
            .map_err(|error| TlsError::other(rustls::Error::General(error.to_string())))?;
        Ok(Self {
            usual,
            validator,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("usual", &self.usual)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(usual) = &self.usual {
            usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        if let Some(validator) = &self.validator {
            let intermediates: Vec<&[u8]> = intermediates.iter().map(|one| &one[..]).collect();
            let certificate = ServerCertificate {
                certificate: end_entity,
                intermediates: &intermediates,
                host: &server_name.to_str(),
            };
            validator(&certificate).map_err(|reason| {
                let rejected = Arc::new(Rejected(reason.into()));
                rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(rejected)))
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
