//! Servers that are too old.

/// A server that lacks what the outbox's statements need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server is {found}, and the outbox needs {needed} or a later one: upgrade the server")]
pub struct TooOld {
    /// The server's name and version.
    pub found: String,
    /// The first version that serves.
    pub needed: &'static str,
}

/// Reads what `select version()` gives. What it cannot read it lets pass.
pub(crate) fn check(version: &str) -> Result<(), TooOld> {
    // Old replication clients were told a version that they could understand first.
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    let (name, needed, number) = if version.contains("MariaDB") {
        ("MariaDB", "MariaDB 10.6", version)
    } else if let Some(number) = version.strip_prefix("PostgreSQL ") {
        ("PostgreSQL", "PostgreSQL 12", number)
    } else {
        ("MySQL", "MySQL 8.0.13", version)
    };
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
    use super::*;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        for (version, found) in [
            ("10.11.19-MariaDB-0+deb12u1", None),
            ("5.5.5-10.6.0-MariaDB", None),
            ("5.5.5-10.5.9-MariaDB-log", Some("MariaDB 10.5.9")),
            ("10.4.34-MariaDB", Some("MariaDB 10.4.34")),
            ("8.0.36", None),
            ("8.4.0-commercial", None),
            ("8.0.12", Some("MySQL 8.0.12")),
            ("5.7.44-log", Some("MySQL 5.7.44")),
            ("PostgreSQL 15.19 (Debian 15.19-0+deb12u1) on x86_64", None),
            ("PostgreSQL 11.22 on aarch64", Some("PostgreSQL 11.22")),
            ("something else", None),
        ] {
            let outcome = check(version).err().map(|old| old.found);
            assert_eq!(outcome.as_deref(), found, "{version}");
        }
    }
}
