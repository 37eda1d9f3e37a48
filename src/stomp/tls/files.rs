//! Reads certificates and keys from PEM files.

use std::path::Path;
use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::SecretDocument;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::error::{FileKind, TlsError};

/// RFC 7468, section 11: the label of an encrypted PKCS#8 key.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// The end of the label of every kind of key.
const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";

/// Reads the certificate authorities from a file.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, FileKind::Authorities)? {
        roots
            .add(certificate)
            .map_err(|error| damaged(FileKind::Authorities, path, error.to_string()))?;
    }
    Ok(roots)
}

/// Reads the system's certificate authorities.
pub(super) fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // The system's store may contain old certificates that rustls cannot use.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(|error| format!(": {error}"));
        return Err(TlsError::NoAuthorities {
            reason: reason.unwrap_or_default(),
        });
    }
    Ok(roots)
}

/// Reads the certificates of a file, at least one.
pub(super) fn certificates(
    path: &Path,
    kind: FileKind,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path, kind)?;
    let mut certificates = Vec::new();
    for section in CertificateDer::pem_slice_iter(text.as_bytes()) {
        certificates.push(section.map_err(|error| damaged(kind, path, error.to_string()))?);
    }
    if certificates.is_empty() {
        return Err(other_kind(path, kind, &text, "certificate"));
    }
    Ok(certificates)
}

/// Reads the first key of a file and decrypts it if necessary.
pub(super) fn key(path: &Path, password: Option<&str>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path, FileKind::Key)?;
    if let Some(section) = encrypted_section(&text) {
        return decrypt(section, path, password);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::OldEncryption {
            path: path.to_owned(),
        });
    }
    match PrivateKeyDer::pem_slice_iter(text.as_bytes()).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(damaged(FileKind::Key, path, error.to_string())),
        None => Err(other_kind(path, FileKind::Key, &text, "private key")),
    }
}

fn encrypted_section(text: &str) -> Option<&str> {
    let section = &text[text.find(&begin(ENCRYPTED))?..];
    let end = format!("-----END {ENCRYPTED}-----");
    Some(match section.find(&end) {
        Some(at) => &section[..at + end.len()],
        None => section,
    })
}

fn begin(label: &str) -> String {
    format!("-----BEGIN {label}-----")
}

fn decrypt(
    section: &str,
    path: &Path,
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (_, document) = SecretDocument::from_pem(section)
        .map_err(|error| damaged(FileKind::Key, path, error.to_string()))?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| damaged(FileKind::Key, path, error.to_string()))?;
    let Some(password) = password else {
        return Err(TlsError::PasswordMissing {
            path: path.to_owned(),
        });
    };
    let key = info.decrypt(password).map_err(|error| TlsError::Password {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn read(path: &Path, kind: FileKind) -> Result<String, TlsError> {
    let what = kind.name();
    let path = path.to_owned();
    match std::fs::read(&path) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {
            Err(TlsError::Empty { what, path })
        }
        // Any text may be between the sections, in any encoding.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(TlsError::File {
            what,
            path,
            source: Arc::new(error),
        }),
    }
}

/// The error for a file that contains something else than it should.
fn other_kind(path: &Path, kind: FileKind, text: &str, wanted: &'static str) -> TlsError {
    // A truncated section, or one with damaged markers, is not a section.
    let found = if text.contains(&begin(ENCRYPTED)) {
        "an encrypted private key"
    } else if text.contains(&format!("{KEY}-----")) {
        "a private key"
    } else if text.contains(&begin(CERTIFICATE)) {
        "a certificate"
    } else if text.contains("-----BEGIN ") {
        "something else"
    } else {
        "no PEM"
    };
    TlsError::OtherKind {
        what: kind.name(),
        path: path.to_owned(),
        found,
        wanted,
    }
}

fn damaged(kind: FileKind, path: &Path, reason: String) -> TlsError {
    TlsError::Damaged {
        what: kind.name(),
        path: path.to_owned(),
        reason,
    }
}
