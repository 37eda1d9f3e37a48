//! Servers whose version or settings are not sufficient.

/// A server whose version is too old for the outbox's statements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} is too old: it lacks {lacks}; the outbox needs {needed} or later: upgrade the server"
)]
pub struct TooOld {
    /// The server's name and version.
    pub found: String,
    /// What the outbox's statements use and this version does not have.
    pub lacks: String,
    /// The first version that is sufficient.
    pub needed: String,
}

/// What the outbox's statements use, and the first version that has it.
#[allow(dead_code)] // not every database needs it
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) since: &'static [u32],
}

/// A server or a pooler whose settings prevent a program from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsuitable {
    /// A pooler that gives a session to one transaction after another.
    #[error(
        "the database's address leads to a pooler in transaction mode (such as PgBouncer with pool_mode = \
         transaction), and this program needs sessions of its own: use the address of the server \
         itself, or of a pool in session mode. Services that write messages may use this pooler"
    )]
    TransactionPooler,
    /// MySQL and MariaDB with statement-based binary logging refuse changes at READ COMMITTED, which claims use.
    #[error(
        "the server writes its binary log with binlog_format = STATEMENT, and then refuses the changes \
         at READ COMMITTED by which rows are claimed: set binlog_format = ROW or MIXED in the server"
    )]
    BinlogFormat,
}

/// Compares the number at the start of a version with those from which on a server has what is needed. A version that
/// cannot be parsed is accepted.
#[allow(dead_code)] // not every database needs it
pub(super) fn check(number: &str, name: &str, features: &[Feature]) -> Result<(), TooOld> {
    let found: Vec<u32> = number
        .split(|c: char| c != '.' && !c.is_ascii_digit())
        .next()
        .unwrap_or_default()
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    let lacks: Vec<&Feature> = features
        .iter()
        .filter(|feature| found.as_slice() < feature.since)
        .collect();
    let Some(needed) = lacks.iter().map(|feature| feature.since).max() else {
        return Ok(());
    };
    if found.is_empty() {
        return Ok(());
    }
    let version = |number: &[u32]| {
        let parts: Vec<String> = number.iter().map(u32::to_string).collect();
        format!("{name} {}", parts.join("."))
    };
    let names: Vec<&str> = lacks.iter().map(|feature| feature.name).collect();
    Err(TooOld {
        found: version(&found),
        lacks: names.join(", "),
        needed: version(needed),
    })
}

#[cfg(test)]
mod tests {
    use crate::backend::Dialect;

    fn check<C: Dialect>(versions: &[(&str, Option<&str>)]) {
        for (version, found) in versions {
            let outcome = C::check_version(version).err().map(|old| old.found);
            assert_eq!(outcome.as_deref(), *found, "{version}");
        }
    }

    #[test]
    fn versions_are_read_as_servers_write_them() {
        #[cfg(feature = "mysql")]
        check::<diesel::MysqlConnection>(&[
            ("10.11.19-MariaDB-0+deb12u1", None),
            ("5.5.5-10.6.0-MariaDB", None),
            ("5.5.5-10.5.9-MariaDB-log", Some("MariaDB 10.5.9")),
            ("10.4.34-MariaDB", Some("MariaDB 10.4.34")),
            ("8.0.36", None),
            ("8.4.0-commercial", None),
            ("8.0.12", Some("MySQL 8.0.12")),
            ("5.7.44-log", Some("MySQL 5.7.44")),
            ("something else", None),
        ]);
        #[cfg(feature = "postgres")]
        check::<diesel::PgConnection>(&[
            ("PostgreSQL 15.19 (Debian 15.19-0+deb12u1) on x86_64", None),
            ("PostgreSQL 11.22 on aarch64", Some("PostgreSQL 11.22")),
            ("something else", None),
        ]);
    }

    #[test]
    fn the_error_names_what_an_old_server_lacks() {
        fn error<C: Dialect>(version: &str) -> String {
            C::check_version(version).unwrap_err().to_string()
        }
        #[cfg(feature = "mysql")]
        for (version, expected) in [
            (
                "5.7.44-log",
                "MySQL 5.7.44 is too old: it lacks SKIP LOCKED, window functions, JSON_TABLE, expressions as defaults \
                 of columns; the outbox needs MySQL 8.0.13 or later: upgrade the server",
            ),
            (
                "8.0.12",
                "MySQL 8.0.12 is too old: it lacks expressions as defaults of columns; the outbox needs MySQL 8.0.13 \
                 or later: upgrade the server",
            ),
            (
                "10.5.9-MariaDB",
                "MariaDB 10.5.9 is too old: it lacks SKIP LOCKED, JSON_TABLE; the outbox needs MariaDB 10.6 or \
                 later: upgrade the server",
            ),
        ] {
            assert_eq!(error::<diesel::MysqlConnection>(version), expected);
        }
        #[cfg(feature = "postgres")]
        assert_eq!(
            error::<diesel::PgConnection>("PostgreSQL 11.22 on aarch64"),
            "PostgreSQL 11.22 is too old: it lacks WITH … AS MATERIALIZED; the outbox needs PostgreSQL 12 or later: \
             upgrade the server"
        );
    }
}
