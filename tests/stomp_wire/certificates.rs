//! Certificates made by a test.

use std::path::PathBuf;
use std::sync::Arc;

use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub(crate) const PASSWORD: &str = "open sesame";

/// A certificate authority and a folder for its files.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    folder: TempDir,
}

/// A certificate and its key.
pub(crate) struct Signed {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("the authority")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The file of the authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.write("ca.pem", self.certificate.pem())
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Signs a certificate for these names and addresses.
    pub(crate) fn sign(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        }
    }

    /// The broker's side of TLS. With `asks` it requires a client certificate from this authority.
    pub(crate) fn acceptor(
        &self,
        signed: &Signed,
        version: &'static SupportedProtocolVersion,
        asks: bool,
    ) -> TlsAcceptor {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(signed.key.serialize_der());
        let config = builder
            .with_single_cert(vec![signed.certificate.clone()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Signed {
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The key, encrypted with [`PASSWORD`].
    pub(crate) fn encrypted_key_pem(&self) -> String {
        let parameters =
            pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(1000, b"salt salt salt", [7; 16])
                .unwrap();
        let key = self.key.serialize_der();
        let info = pkcs8::PrivateKeyInfoRef::try_from(&key[..]).unwrap();
        let document = info.encrypt_with_params(parameters, PASSWORD).unwrap();
        let pem = document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF);
        pem.unwrap().to_string()
    }
}

/// Long expired, or not valid for a long time.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2001, 1, 1);
}

pub(crate) fn not_yet(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(3001, 1, 1);
}

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
