//! Servers whose version or settings are not sufficient.

/// A server whose version is too old for the outbox's statements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server is {found}, and the outbox needs {needed} or a later one: upgrade the server")]
pub struct TooOld {
    /// The server's name and version.
    pub found: String,
    /// The first version that is sufficient.
    pub needed: &'static str,
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

/// Compares the number at the start of a version with the one at the end of `needed`. A version that
/// cannot be parsed is accepted.
#[allow(dead_code)] // not every database needs it
pub(super) fn check(number: &str, name: &str, needed: &'static str) -> Result<(), TooOld> {
    let digits = |text: &str| -> Vec<u32> {
        text.split(|c: char| c != '.' && !c.is_ascii_digit())
            .next()
            .unwrap_or_default()
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect()
    };
    let found = digits(number);
    let wanted = digits(needed.rsplit(' ').next().unwrap_or_default());
    if found.is_empty() || found >= wanted {
        return Ok(());
    }
    let found: Vec<String> = found.iter().map(u32::to_string).collect();
    Err(TooOld {
        found: format!("{name} {}", found.join(".")),
        needed,
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
}
