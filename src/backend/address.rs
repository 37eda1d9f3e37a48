//! Parses a database's address.

use super::{Backend, KNOWN, Known, network_url};
use crate::config::{Secret, conninfo};

/// The maximum length of a scheme; a longer text may be a part of a password.
const LONGEST_SCHEME: usize = 20;

/// The address of a database that is compiled into this build.
#[derive(Debug, Clone)]
pub struct Address {
    database: &'static str,
    connection_string: Secret,
}

/// Why an address is not that of a database of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The scheme is unknown.
    #[error(
        "database_url has the unknown scheme `{0}`: use postgres://user:password@host:port/database, mysql://user:password@host:port/database or sqlite:PATH"
    )]
    UnknownScheme(String),
    /// It is neither a URL nor libpq's keyword form nor a path. It is not shown: it may contain a password.
    #[error(
        "database_url cannot be read (its value is not shown): use postgres://user:password@host:port/database, libpq's host=… user=… password=… dbname=…, mysql://user:password@host:port/database or sqlite:PATH"
    )]
    Unreadable,
    /// It is a URL, and the end of its password is ambiguous.
    #[error(
        "database_url cannot be read (its value is not shown): in a user, a password and a database's name write / as %2F, ? as %3F, # as %23, @ as %40 and % as %25; a port is a number, and parameters are name=value"
    )]
    Ambiguous,
    /// This build lacks the database's feature.
    #[error(
        "database_url names {database}, and this program was built without the feature `{feature}`: build it with --features {feature}"
    )]
    NotBuilt {
        /// The database's name.
        database: &'static str,
        /// The feature of this crate.
        feature: &'static str,
    },
    /// The program's callbacks work on another kind of database.
    #[error("database_url names {found}, and this program works on {expected}")]
    Other {
        /// What the address names.
        found: &'static str,
        /// What the program is made for.
        expected: &'static str,
    },
    /// An in-memory SQLite database, which each connection would have for itself.
    #[error(
        "database_url names an SQLite database in memory, which only one connection can see: name a file"
    )]
    InMemory,
}

impl Address {
    /// Parses a database's address.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it cannot be parsed, its scheme is unknown, or this build lacks its feature. An error
    /// contains no part of the address except its scheme.
    pub fn parse(url: &Secret) -> Result<Self, AddressError> {
        let text = url.expose().trim();
        let (scheme, rest) = scheme(text).unwrap_or_default();
        let named = scheme.to_ascii_lowercase();
        let by_scheme = |known: &&Known| known.schemes.contains(&named.as_str());
        if let Some(known) = KNOWN.iter().find(by_scheme) {
            return Self::of(known.name, text, Some(rest));
        }
        if rest.starts_with("//") && named.len() <= LONGEST_SCHEME {
            return Err(AddressError::UnknownScheme(named));
        }
        if text.starts_with(['/', '.']) || text == ":memory:" {
            return Self::of("SQLite", text, None);
        }
        if conninfo::is_keyword_form(text) {
            return Self::of("PostgreSQL", text, None);
        }
        // Not parts of an address whose scheme is missing.
        if named.is_empty() && !text.contains(['@', ':']) {
            return Self::of("SQLite", text, None);
        }
        Err(AddressError::Unreadable)
    }

    /// The address of this database, as its module parses it. `rest` is what follows the scheme.
    fn of(name: &'static str, text: &str, rest: Option<&str>) -> Result<Self, AddressError> {
        macro_rules! read {
            ($module:ident: $connection:ty) => {
                if name == <$connection as Backend>::NAME {
                    let address = super::$module::address::normalized(text, rest)?;
                    return Ok(Self {
                        database: name,
                        connection_string: Secret::new(address),
                    });
                }
            };
        }
        super::databases!(read);
        let feature = KNOWN.iter().find(|known| known.name == name);
        Err(AddressError::NotBuilt {
            database: name,
            feature: feature.map_or("", |known| known.feature),
        })
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &'static str {
        self.database
    }

    /// Whether it is for this kind of connection.
    #[must_use]
    pub fn is_for<C: Backend>(&self) -> bool {
        self.database == C::NAME
    }

    /// What Diesel's `establish` takes: a URL, libpq's keywords, or the path of SQLite.
    #[must_use]
    pub fn connection_string(&self) -> &Secret {
        &self.connection_string
    }

    /// The address, if it is for this kind of connection.
    pub(crate) fn for_backend<C: Backend>(self) -> Result<Self, AddressError> {
        if self.is_for::<C>() {
            return Ok(self);
        }
        Err(AddressError::Other {
            found: self.database(),
            expected: C::NAME,
        })
    }
}

/// The scheme of a URL, and what follows its colon.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_first = scheme.starts_with(|character: char| character.is_ascii_alphabetic());
    let fits =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '+' | '-');
    (is_first && scheme.chars().all(fits)).then_some((scheme, rest))
}

/// The URL of a server.
#[allow(dead_code)] // not every database needs it
pub(super) fn server_url(scheme: &str, rest: &str) -> Result<String, AddressError> {
    let rest = rest.strip_prefix("//").ok_or(AddressError::Unreadable)?;
    network_url::encoded(scheme, rest)
}

/// What to do about a connection's error, if the error itself does not say it.
pub(crate) fn advice(error: &str) -> Option<&'static str> {
    let text = error.to_ascii_lowercase();
    macro_rules! first {
        ($module:ident: $connection:ty) => {
            if let Some(advice) = super::$module::address::advice(&text) {
                return Some(advice);
            }
        };
    }
    super::databases!(first);
    None
}

/// What to do if a client library cannot parse the address; it replaces the library's error.
pub(crate) fn advice_about_itself(error: &str) -> Option<&'static str> {
    macro_rules! first {
        ($module:ident: $connection:ty) => {
            if let Some(advice) = super::$module::address::advice_about_itself(error) {
                return Some(advice);
            }
        };
    }
    super::databases!(first);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_finds_its_database() {
        let parse = |url: &str| Address::parse(&Secret::new(url)).map(|a| a.database());
        #[cfg(feature = "sqlite")]
        for path in [
            "a.db",
            "sqlite:a.db",
            "sqlite:///tmp/a.db",
            "file:a.db?mode=ro",
            "./a:b",
            "./host=db",
            "/tmp/a b=c@d.db",
        ] {
            assert_eq!(parse(path), Ok("SQLite"), "{path}");
        }
        #[cfg(feature = "sqlite")]
        for memory in [
            ":memory:",
            "sqlite:",
            "sqlite::memory:",
            "file::memory:?mode=memory",
        ] {
            assert_eq!(parse(memory), Err(AddressError::InMemory), "{memory}");
        }
        #[cfg(feature = "postgres")]
        for url in [
            "postgresql://h/d",
            "POSTGRES://h/d",
            "host=db user=app password='a:b' options='-c a:b'",
            " password = x",
        ] {
            assert_eq!(parse(url), Ok("PostgreSQL"), "{url}");
        }
        assert_eq!(
            parse("oracle://h/d"),
            Err(AddressError::UnknownScheme("oracle".to_owned()))
        );
        #[cfg(feature = "mysql")]
        assert_eq!(parse("mariadb://h/d"), Ok("MySQL/MariaDB"));
        #[cfg(not(feature = "mysql"))]
        assert!(matches!(
            parse("mysql://h/d"),
            Err(AddressError::NotBuilt {
                feature: "mysql",
                ..
            })
        ));
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for address in [
            "host=db password='hunter2",
            "host db password=hunter2",
            "host=db password=hun ter2",
            "pasword=hunter2:x y",
            "postgres:app:hunter2@h/d",
            "postgres:/app:hunter2@h/d",
            "postgres://app:hun/ter2@h/d",
            "postgres://app:5432/hunter2@h/d",
            "postgres://app:hunter2",
            "mysql://app:hun?ter2@h/d",
            "mysql:app:hunter2@h/d",
            "app:hunter2@h/d",
            "hunter2@h.example:5432/d",
            "app:hunter2",
            "h:5432/d",
            "hunter2@h",
            "hunter2-that-is-much-longer-than-a-scheme://h",
        ] {
            let error = Address::parse(&Secret::new(address)).unwrap_err();
            let shown = format!("{error} {error:?}");
            for part in ["hun", "ter2", "app"] {
                assert!(!shown.contains(part), "{address}: {shown}");
            }
        }
    }

    #[test]
    fn each_refusal_has_its_advice() {
        for (error, expected) in [
            (r#"FATAL:  role "nobody" does not exist"#, "the user"),
            (
                r#"FATAL:  password authentication failed for user "a""#,
                "the user",
            ),
            (
                "Access denied for user 'a'@'localhost' (using password: YES)",
                "the user",
            ),
            (
                r#"FATAL:  database "nope" does not exist"#,
                "create the database",
            ),
            ("Unknown database 'nope'", "create the database"),
            (
                "Access denied for user 'a'@'%' to database 'nope'",
                "rights on the database",
            ),
            (
                "Authentication plugin 'caching_sha2_password' reported error: Authentication requires secure connection.",
                "log in with TLS",
            ),
            (
                "SSL connection error: SSL is required but the server doesn't support it",
                "turn TLS on in the server",
            ),
            (
                "SSL connection error: CA certificate is required if ssl-mode is VERIFY_CA or VERIFY_IDENTITY",
                "set ssl_ca",
            ),
            (
                "Connections using insecure transport are prohibited while --require_secure_transport=ON.",
                "set ssl_ca",
            ),
            (
                "Your password has expired. To log in you must change it using a client that supports expired passwords.",
                "a new password",
            ),
            (
                "You must SET PASSWORD before executing this statement",
                "a new password",
            ),
            ("Plugin 'ed25519' is not loaded", "that the server has"),
            (
                "Client does not support authentication protocol requested by server; consider upgrading MariaDB client",
                "that the client library has",
            ),
            (
                "TLS/SSL error: self-signed certificate in certificate chain",
                "check ssl_ca",
            ),
            (
                "SSL connection error: error:0A000086:SSL routines::certificate verify failed",
                "check ssl_ca",
            ),
            (
                "connection to server at \"localhost\" (127.0.0.1), port 5432 failed: SSL error: certificate verify failed",
                "check sslrootcert",
            ),
            (
                "server certificate for \"db\" does not match host name \"localhost\"",
                "check sslrootcert",
            ),
            (
                "connection to server at \"localhost\" (127.0.0.1), port 5432 failed: server does not support SSL, but SSL was required",
                "check sslmode",
            ),
            (
                r#"FATAL:  no pg_hba.conf entry for host "::1""#,
                "pg_hba.conf",
            ),
        ] {
            let advice = advice(error).unwrap();
            assert!(advice.contains(expected), "{error}: {advice}");
        }
        assert_eq!(advice("connection refused"), None);
    }
}
