//! libpq's TLS settings, for a client that is not libpq.
//!
//! The listener's client must not send a password unencrypted if libpq would encrypt it. So the
//! parameters of the address, the environment and the files in the home directory have the same meaning as for
//! libpq (PostgreSQL, "libpq - C Library", sections "Connection Parameters", "Environment Variables"
//! and "SSL Support"). An unknown parameter is an error and never leads to a weaker connection.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, SslMode};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Never TLS.
    Disable,
    /// TLS only if the server demands it.
    Allow,
    /// TLS if the server supports it.
    Prefer,
    /// TLS.
    Require,
    /// TLS with a server whose certificate is signed by a known authority.
    VerifyCa,
    /// The same, with a certificate for the server's name.
    VerifyFull,
}

/// Why the listener's client cannot connect as libpq would.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsupported {
    #[error("the address is not a URL")]
    NoUrl,
    #[error("only libpq supports the parameter `{0}`")]
    Parameter(&'static str),
    #[error("only libpq supports the environment variable {0}")]
    Variable(&'static str),
    #[error("sslmode has a value that libpq does not know")]
    Mode,
    #[error("the file {} has revoked certificates, which only libpq reads", .0.display())]
    Revocations(PathBuf),
    #[error("the file {} is needed to verify the server's certificate: {reason}", .path.display())]
    Authorities { path: PathBuf, reason: String },
    #[error("{0}")]
    Address(#[from] tokio_postgres::Error),
}

/// How to connect.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: tokio_postgres::Config,
    pub(super) mode: Mode,
    /// The authorities one of which must have signed the server's certificate; if none, it is not verified.
    pub(super) authorities: Option<RootCertStore>,
}

/// Parameters by which libpq may refuse a server or identify the client.
const PARAMETERS: [&str; 16] = [
    "gssencmode",
    "passfile",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslnegotiation",
    "sslpassword",
];

/// The same as environment variables.
const VARIABLES: [&str; 15] = [
    "PGCHANNELBINDING",
    "PGGSSENCMODE",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGREQUIRESSL",
    "PGSERVICE",
    "PGSSLCERT",
    "PGSSLCERTMODE",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLKEY",
    "PGSSLMAXPROTOCOLVERSION",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLNEGOTIATION",
    "PGSSLPASSWORD",
];

/// Values that request nothing.
const HARMLESS: [(&str, &[&str]); 3] = [
    ("PGCHANNELBINDING", &["prefer", "disable"]),
    ("PGGSSENCMODE", &["prefer", "disable"]),
    ("PGREQUIRESSL", &["0"]),
];

impl Plan {
    /// How libpq would connect to this address, in this process.
    pub(super) fn of(url: &str) -> Result<Self, Unsupported> {
        let variable = |name: &str| std::env::var(name).ok();
        Self::new(url, variable, std::env::home_dir().as_deref())
    }

    fn new(
        url: &str,
        variable: impl Fn(&str) -> Option<String>,
        home: Option<&Path>,
    ) -> Result<Self, Unsupported> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(Unsupported::NoUrl);
        }
        // An empty variable counts as unset.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        for name in VARIABLES {
            let harmless = HARMLESS.iter().find(|(other, _)| *other == name);
            let is_harmless =
                |value: &String| harmless.is_some_and(|(_, values)| values.contains(&&**value));
            if variable(name).is_some_and(|value| !is_harmless(&value)) {
                return Err(Unsupported::Variable(name));
            }
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut root) = (variable("PGSSLMODE"), variable("PGSSLROOTCERT"));
        let mut rest: Vec<&str> = Vec::new();
        // If a parameter is given twice, the last one counts.
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match &*name {
                "sslmode" => mode = Some(value),
                // As in JDBC.
                "ssl" if value == "true" => mode = Some("require".to_owned()),
                "sslrootcert" => root = Some(value),
                name => {
                    if let Some(other) = PARAMETERS.iter().find(|other| **other == name) {
                        return Err(Unsupported::Parameter(other));
                    }
                    rest.push(pair);
                }
            }
        }
        let mut config: tokio_postgres::Config = format!("{place}?{}", rest.join("&")).parse()?;
        let is_local = |host: &Host| !matches!(host, Host::Tcp(_));
        let hosts = config.get_hosts();
        let mode = if !hosts.is_empty() && hosts.iter().all(is_local) {
            // Unix-domain sockets have no TLS, whatever the mode is.
            Mode::Disable
        } else {
            read_mode(mode.as_deref())?
        };
        config.ssl_mode(match mode {
            Mode::Disable | Mode::Allow => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        let authorities = if mode == Mode::Disable {
            None
        } else {
            authorities(mode, root.filter(|path| !path.is_empty()), home)?
        };
        Ok(Self {
            config,
            mode,
            authorities,
        })
    }
}

fn read_mode(mode: Option<&str>) -> Result<Mode, Unsupported> {
    Ok(match mode {
        None | Some("prefer" | "") => Mode::Prefer,
        Some("disable") => Mode::Disable,
        Some("allow") => Mode::Allow,
        Some("require") => Mode::Require,
        Some("verify-ca") => Mode::VerifyCa,
        Some("verify-full") => Mode::VerifyFull,
        Some(_) => return Err(Unsupported::Mode),
    })
}

/// The authorities by which libpq verifies the server's certificate. It does so in each mode if the
/// file is there.
fn authorities(
    mode: Mode,
    named: Option<String>,
    home: Option<&Path>,
) -> Result<Option<RootCertStore>, Unsupported> {
    // From libpq 16 on this value is not a file.
    if named.as_deref() == Some("system") {
        return Err(Unsupported::Parameter("sslrootcert=system"));
    }
    let of_home = |name: &str| Some(home?.join(".postgresql").join(name));
    let path = named.map(PathBuf::from).or_else(|| of_home("root.crt"));
    let is_needed = matches!(mode, Mode::VerifyCa | Mode::VerifyFull);
    let Some(path) = path.filter(|path| is_needed || path.exists()) else {
        // Without a home directory it is unknown what libpq would find there.
        return if is_needed {
            Err(Unsupported::Parameter("sslrootcert"))
        } else {
            Ok(None)
        };
    };
    if let Some(revoked) = of_home("root.crl").filter(|path| path.exists()) {
        return Err(Unsupported::Revocations(revoked));
    }
    read_authorities(&path)
        .map(Some)
        .map_err(|reason| Unsupported::Authorities { path, reason })
}

fn read_authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgres://u:p@db.example/d";

    fn plan(url: &str, variables: &[(&str, &str)]) -> Result<Plan, Unsupported> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Plan::new(url, variable, None)
    }

    fn mode(url: &str, variables: &[(&str, &str)]) -> (Mode, SslMode) {
        let plan = plan(url, variables).unwrap();
        (plan.mode, plan.config.get_ssl_mode())
    }

    #[test]
    fn the_mode_is_that_of_the_address_then_of_the_environment_then_prefer() {
        let require = (Mode::Require, SslMode::Require);
        let disable = (Mode::Disable, SslMode::Disable);
        assert_eq!(mode(URL, &[]), (Mode::Prefer, SslMode::Prefer));
        assert_eq!(mode(URL, &[("PGSSLMODE", "require")]), require);
        let url = format!("{URL}?sslmode=disable&connect_timeout=3");
        assert_eq!(mode(&url, &[("PGSSLMODE", "require")]), disable);
        assert_eq!(
            mode(&format!("{URL}?sslmode=allow"), &[]),
            (Mode::Allow, SslMode::Disable)
        );
        assert_eq!(
            mode(&format!("{URL}?sslmode=allow&ssl%6dode=require"), &[]),
            require
        );
        assert_eq!(mode(&format!("{URL}?ssl=true"), &[]), require);
        // A Unix-domain socket.
        let url = "postgres://u@%2Frun%2Fpostgresql/d?sslmode=verify-full";
        assert_eq!(mode(url, &[]), disable);
    }

    #[test]
    fn what_only_libpq_does_is_an_error() {
        for parameter in PARAMETERS {
            let refused = plan(&format!("{URL}?{parameter}=x"), &[]);
            assert!(
                matches!(refused, Err(Unsupported::Parameter(_))),
                "{parameter}"
            );
        }
        for variable in VARIABLES {
            let refused = plan(URL, &[(variable, "x")]);
            assert!(
                matches!(refused, Err(Unsupported::Variable(_))),
                "{variable}"
            );
            assert!(plan(URL, &[(variable, "")]).is_ok(), "{variable}");
        }
        assert!(plan(URL, &[("PGGSSENCMODE", "prefer")]).is_ok());
        for url in [
            "host=db.example user=u",
            "postgres://u@db.example/d?sslmode=sometimes",
            "postgres://u@db.example/d?krbsrvname=x",
            // Without a file of authorities libpq refuses these.
            "postgres://u@db.example/d?sslmode=verify-ca",
            "postgres://u@db.example/d?sslmode=verify-full",
            "postgres://u@db.example/d?sslmode=verify-full&sslrootcert=/no/such/file",
            "postgres://u@db.example/d?sslmode=verify-full&sslrootcert=system",
        ] {
            assert!(plan(url, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn a_file_of_authorities_in_the_home_counts_in_each_mode() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".postgresql");
        std::fs::create_dir(&folder).unwrap();
        let authority = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
        std::fs::write(folder.join("root.crt"), authority.cert.pem()).unwrap();
        let plan = |mode: &str| {
            Plan::new(
                &format!("{URL}?sslmode={mode}"),
                |_| None,
                Some(home.path()),
            )
        };
        for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
            assert!(plan(mode).unwrap().authorities.is_some(), "{mode}");
        }
        assert!(plan("disable").unwrap().authorities.is_none());
        std::fs::write(folder.join("root.crl"), "").unwrap();
        assert!(matches!(plan("prefer"), Err(Unsupported::Revocations(_))));
        std::fs::write(folder.join("root.crt"), "nothing").unwrap();
        std::fs::remove_file(folder.join("root.crl")).unwrap();
        assert!(matches!(
            plan("prefer"),
            Err(Unsupported::Authorities { .. })
        ));
    }
}
